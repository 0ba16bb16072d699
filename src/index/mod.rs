//! The library on disk: which games lie in the game directory, what they hold, and what was known of them last time.
//!
//! ```text
//! <game_dir>/<id>/version.ini, …      a game: any directory here whose name is a valid id
//! <game_dir>/.lanspread/lock          held while a daemon runs on this directory
//! <game_dir>/.lanspread/index.json    what was announced last (store.rs)
//! <game_dir>/.lanspread/content/<id>  the hashes of a game's chunks (content.rs)
//! <game_dir>/.lanspread/brought/<id>  what a download brought (ownership.rs)
//! ```
//!
//! Looking at a game costs one directory read while its fingerprint is the known one; everything beneath the root is
//! listed only when it is not, when the game could not be offered last time, or after [`GameDir::distrust`]. A change
//! deep in a tree that leaves the root as it is stays unseen until the game is served or hashed: every file is compared
//! with its listed size and time then, the answer is `changed`, and the next look lists everything.
//!
//! All of it blocks on the disk and belongs on worker threads. [`watch`] tells when to look.

mod content;
mod examine;
mod hash;
mod ownership;
mod presence;
mod scan;
mod seen;
mod store;
#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests change the disk behind the daemon's back")]
mod tests;
mod twins;
mod verify;
mod version;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use xxhash_rust::xxh3::xxh3_128;

use self::content::{HEADER_BYTES, Head, Header, Known};
pub use self::examine::{Examined, Holds, examine, may_be_game, what_it_holds};
pub use self::ownership::{Ownership, Records};
pub use self::presence::look_for;
use self::scan::{GameRoot, Listing, is_exhaustion, unreadable};
pub use self::seen::wall_ns;
pub use self::store::{IndexError, MAX_INDEX_BYTES, decode as decode_index, encode as encode_index};
pub use self::version::parse_version;
use crate::fs::{Dir, DirLock, EntryKind, File, FsError};
use crate::install::{finish_removal, recover_game};
use crate::types::{
    CHUNK_SIZE, ChunkHash, ContentHash, FileEntry, GameId, JobError, JobErrorKind, KnownContent, LibraryIndex,
    MAX_GAMES, Manifest, ManifestHash, OpenedLibrary, RelPath, SENTINEL, ScannedGame, content_hash,
};

/// Directory for everything that is not a game.
const META: &str = ".lanspread";
const LOCK: &str = "lock";
/// Written and removed to see whether the disk still takes anything.
const PROBE: &str = "probe";
const INDEX: &str = "index.json";
const CONTENT: &str = "content";
/// Unreadable indexes that are kept for whoever wants to know; the last one is then written over.
const MAX_SET_ASIDE: u32 = 9;
/// Odd folder names that are remembered so that each is reported once.
const MAX_REPORTED: usize = 1_000;
/// Valid ids that are never games, when the game directory is the root of a drive.
const NOT_GAMES: [&str; 4] = ["$RECYCLE.BIN", "RECYCLER", "System Volume Information", "lost+found"];
/// Why a link with a game's name is no game.
const LINKED: &str = "its folder is a link, and links are not followed: move the folder itself here, or let --game-dir name the directory \
                      that it lies in";
/// A longer id cannot be a file name together with what an atomic replacement appends.
const MAX_RECORD_NAME: usize = 200;

/// A game directory that this process has locked. Shared by the workers; every method may run on any thread.
#[derive(Debug)]
pub struct GameDir {
    dir: Dir,
    meta: Dir,
    content: Dir,
    records: Records,
    directory_reads: AtomicU64,
    /// Games whose files are listed at the next look, whatever their fingerprint.
    distrusted: Mutex<BTreeSet<GameId>>,
    /// Whether case does not count in the game directory.
    folds_case: bool,
    /// Which game has a name, by its [`GameId::collision_key`].
    firsts: Mutex<HashMap<String, GameId>>,
    /// Folder names, and what is not shared of games, that were reported.
    reported: Mutex<BTreeSet<String>>,
    /// Held while [`PROBE`] is written.
    probing: Mutex<()>,
    _lock: DirLock,
}

/// The files of a game as they are now, and what their bytes hash to if that is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServedManifest {
    /// The files.
    pub manifest: Manifest,
    /// Time of last change of each file of the manifest, in nanoseconds since 1970.
    pub mtimes_ns: Vec<i128>,
    /// The hashes, if they are known for exactly these sizes and times.
    pub content: Option<KnownContent>,
}

/// A game as it was when its hashes were kept last, whatever became of it since.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Previous {
    /// The files.
    pub manifest: Manifest,
    /// Time of last change of each file then, in nanoseconds since 1970.
    pub mtimes_ns: Vec<i128>,
    /// What their bytes hashed to; `None` when that part of the record is damaged.
    pub content: Option<KnownContent>,
}

impl Previous {
    /// Whether these bytes of a file, which `None` says cannot be read, are damage of the disk: size and time of the file are
    /// those that it was hashed with, and the bytes are not.
    pub fn is_damage(&self, path: &RelPath, size: u64, mtime_ns: i128, offset: u64, bytes: Option<&[u8]>) -> bool {
        let Ok(index) = self.manifest.files().binary_search_by(|file| file.path.cmp(path)) else { return false };
        let is_as_hashed = self.manifest.files().get(index).is_some_and(|file| file.size == size)
            && self.mtimes_ns.get(index) == Some(&mtime_ns);
        let number = self.manifest.chunks_of_file(index).nth((offset / CHUNK_SIZE) as usize);
        let hash = self.content.as_ref().zip(number).and_then(|(content, number)| content.chunks.get(number as usize));
        is_as_hashed && hash.is_some_and(|hash| bytes.is_none_or(|bytes| ChunkHash::of(bytes) != *hash))
    }
}

impl GameDir {
    /// Locks `dir`, removes what interrupted downloads left, ends interrupted installs, reads the index and looks at every
    /// game.
    ///
    /// An index that cannot be read is set aside as `index.json.unreadable-N` and reported in
    /// [`OpenedLibrary::notice`], as are folders that hold a game under a name that cannot be an id, and what became of
    /// interrupted installs.
    ///
    /// # Errors
    /// [`JobErrorKind::InUse`], naming the process, when another daemon runs on it; what the system says when `dir` is not
    /// there or not writable.
    pub fn open(dir: &Path) -> Result<(Self, OpenedLibrary), JobError> {
        let path = absolute(dir).map_err(FsError::at("open directory", dir))?;
        Self::open_in(Dir::open(&path)?)
    }

    /// The same for a directory that is open already. Its path must be absolute.
    pub fn open_in(dir: Dir) -> Result<(Self, OpenedLibrary), JobError> {
        let meta = make_durable(&dir, META)?;
        let lock = meta.lock(LOCK)?;
        let content = make_durable(&meta, CONTENT)?;
        let records = Records::open(&meta)?;
        let folds_case = twins::folds_case(&dir)?;
        let game_dir = Self {
            dir,
            meta,
            content,
            records,
            directory_reads: AtomicU64::new(0),
            distrusted: Mutex::default(),
            folds_case,
            firsts: Mutex::default(),
            reported: Mutex::default(),
            probing: Mutex::default(),
            _lock: lock,
        };
        let mut notices = Vec::new();
        let index = game_dir.load_index(&mut notices)?;
        let known = index.as_ref().map(|index| index.games.as_slice()).unwrap_or_default();
        let games = game_dir.look_at_all(known, Leftovers::Sweep, &mut notices)?;
        let notice = (!notices.is_empty()).then(|| notices.join("; "));
        let dir = game_dir.dir.path().to_owned();
        let opened = OpenedLibrary { dir, index, notice, was_open: false, games, wall_ns: wall_ns() };
        Ok((game_dir, opened))
    }

    /// The directory, open.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The root of a game, open.
    pub fn root(&self, game: &GameId) -> Result<Dir, JobError> {
        Ok(self.dir.subdir(game.as_str())?)
    }

    /// How many directories were read since this directory was opened.
    pub fn directory_reads(&self) -> u64 {
        self.directory_reads.load(Ordering::Relaxed)
    }

    /// Looks at one game. Its files are listed only when it does not look like `known`; `None` always lists them. A game
    /// that cannot be read is there all the same, with the reason why it cannot be offered. `Ok(None)`: it is gone.
    ///
    /// # Errors
    /// Only when the system is short of memory or handles.
    pub fn scan_game(&self, game: &GameId, known: Option<&ScannedGame>) -> Result<Option<Arc<ScannedGame>>, JobError> {
        let has_record = |game: &GameId| self.content.exists(&record_name(game)).unwrap_or(false);
        if !self.is_first_of_its_name(game)? {
            return Ok(None);
        }
        match self.look_at(game, known, None, has_record)? {
            Look::Gone => Ok(None),
            Look::AsKnown => Ok(known.cloned().map(Arc::new)),
            Look::Scanned(game) => Ok(Some(Arc::new(*game))),
        }
    }

    /// Looks at every game; the result is ascending by id. Games that look like those of `known` are handed back as they
    /// were given. At most 20,000 games are looked at.
    ///
    /// # Errors
    /// When the game directory itself cannot be read, or the system is short of memory or handles.
    pub fn scan_all(&self, known: &[Arc<ScannedGame>]) -> Result<Vec<Arc<ScannedGame>>, JobError> {
        let mut notices = Vec::new();
        let games = self.look_at_all(known, Leftovers::Keep, &mut notices);
        notices.iter().for_each(|notice| tracing::warn!("{notice}"));
        games
    }

    /// The next look at `game` lists all its files: somebody found them to be others than those listed.
    pub fn distrust(&self, game: &GameId) {
        let mut distrusted = lock(&self.distrusted);
        if distrusted.len() < MAX_GAMES {
            distrusted.insert(game.clone());
        }
    }

    /// Saves the index, atomically and durably.
    pub fn save_index(&self, index: &LibraryIndex) -> Result<(), JobError> {
        let bytes =
            store::encode(index).map_err(|e| JobError::new(JobErrorKind::Io, format!("cannot save the index: {e}")))?;
        Ok(self.meta.replace_file(INDEX, &bytes)?)
    }

    /// Hashes every chunk of a game and keeps the hashes; returns at once when they are known for the files as they are.
    ///
    /// # Errors
    /// [`JobErrorKind::Changed`] when its files are not those of `manifest_hash` or change meanwhile;
    /// [`JobErrorKind::Cancelled`] at the next chunk after `cancel` became true; what the system says.
    pub fn hash_game(
        &self,
        game: &GameId,
        manifest_hash: ManifestHash,
        cancel: &AtomicBool,
    ) -> Result<ContentHash, JobError> {
        let served = self.list_exactly(game, manifest_hash)?;
        match &served.content {
            Some(content) => Ok(content.hash),
            None => self.hash_files(game, served, cancel),
        }
    }

    /// The same whatever is known of the files as they are: somebody got other bytes.
    ///
    /// # Errors
    /// As of [`hash_game`](Self::hash_game).
    pub fn hash_game_anew(
        &self,
        game: &GameId,
        manifest_hash: ManifestHash,
        cancel: &AtomicBool,
    ) -> Result<ContentHash, JobError> {
        let served = self.list_exactly(game, manifest_hash)?;
        self.hash_files(game, served, cancel)
    }

    /// The files as they are now if they are those of `manifest_hash`; if not, the next look lists them all.
    fn list_exactly(&self, game: &GameId, manifest_hash: ManifestHash) -> Result<ServedManifest, JobError> {
        self.list_now(game, manifest_hash).inspect_err(|e| self.distrust_if_changed(game, e))
    }

    fn hash_files(&self, game: &GameId, served: ServedManifest, cancel: &AtomicBool) -> Result<ContentHash, JobError> {
        let root = self.root(game)?;
        let content = hash::hash_files(game, &root, &served.manifest, &served.mtimes_ns, cancel)
            .inspect_err(|e| self.distrust_if_changed(game, e))?;
        let hash = content.hash;
        self.save_content(game, &ServedManifest { content: Some(content), ..served })?;
        Ok(hash)
    }

    /// The files of a game as they are now, and their hashes if known.
    ///
    /// # Errors
    /// [`JobErrorKind::Changed`] when they are not those of `manifest_hash`; what the system says.
    pub fn read_manifest(&self, game: &GameId, manifest_hash: ManifestHash) -> Result<ServedManifest, JobError> {
        let served = self.list_exactly(game, manifest_hash)?;
        if served.content.is_none() {
            // If the library says otherwise, the next look puts it right.
            self.distrust(game);
        }
        Ok(served)
    }

    /// Keeps the hashes of a game's chunks, atomically and durably. Without `content` there is nothing to keep.
    ///
    /// After a download: [`read_manifest`](Self::read_manifest) once everything is durable, put the verified hashes into
    /// `content`, then this.
    ///
    /// # Errors
    /// [`JobErrorKind::Verification`] when the content hash is not that of the manifest and the chunks; what the system
    /// says.
    pub fn save_content(&self, game: &GameId, served: &ServedManifest) -> Result<(), JobError> {
        save_record(&self.content, game, served)
    }

    /// What proves which files are lanspread's.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// The files that a game had when its hashes were kept last, whatever became of them since.
    pub fn previous_manifest(&self, game: &GameId) -> Option<Manifest> {
        read_list(&self.content, game).map(|(manifest, _)| manifest)
    }

    /// Files and hashes of a game when they were kept last, whatever became of them since.
    ///
    /// # Errors
    /// What the system says of the record; one that is damaged is no error.
    pub fn previous(&self, game: &GameId) -> Result<Option<Previous>, FsError> {
        read_record(&self.content, game)
    }

    fn load_index(&self, notices: &mut Vec<String>) -> Result<Option<LibraryIndex>, JobError> {
        let reason = match self.meta.read_small(INDEX, MAX_INDEX_BYTES) {
            Ok(None) => return Ok(None),
            Ok(Some(bytes)) => match store::decode(&bytes) {
                Ok(index) => return Ok(Some(index)),
                Err(e) => e.to_string(),
            },
            Err(e) if is_exhaustion(&e) => return Err(e.into()),
            Err(e) => e.source.to_string(),
        };
        let aside = self.set_index_aside()?;
        notices.push(format!(
            "the index {} was not readable ({reason}) and was set aside as {aside}; every game was looked at again",
            self.meta.path().join(INDEX).display()
        ));
        Ok(None)
    }

    fn set_index_aside(&self) -> Result<String, JobError> {
        let name = |n| format!("{INDEX}.unreadable-{n}");
        let mut free = name(MAX_SET_ASIDE);
        for n in 1..MAX_SET_ASIDE {
            if !self.meta.exists(&name(n))? {
                free = name(n);
                break;
            }
        }
        self.meta.rename(INDEX, &free)?;
        self.meta.sync()?;
        Ok(free)
    }

    fn look_at_all(
        &self,
        known: &[Arc<ScannedGame>],
        leftovers: Leftovers,
        notices: &mut Vec<String>,
    ) -> Result<Vec<Arc<ScannedGame>>, JobError> {
        let mut ids = self.list_games(notices)?;
        ids.sort_unstable();
        let known: HashMap<&GameId, &Arc<ScannedGame>> = known.iter().map(|game| (&game.id, game)).collect();
        self.keep_firsts(&mut ids, |id| known.contains_key(id), notices);
        if leftovers == Leftovers::Sweep
            && let Err(e) = rename_old_records(&self.content, &ids).and_then(|()| self.records.rename_old(&ids))
        {
            // What they prove stays unproved until the next start.
            tracing::warn!("{e}");
        }
        let records = self.list_records()?;
        if leftovers == Leftovers::Sweep {
            self.sweep_records(&ids, &records);
        }
        if ids.len() > MAX_GAMES {
            notices.push(format!("there are {} games; the first {MAX_GAMES} are used", ids.len()));
            ids.truncate(MAX_GAMES);
        }
        let has_record = |game: &GameId| records.contains(OsStr::new(&record_name(game)));
        let mut games = Vec::with_capacity(ids.len());
        for id in &ids {
            let known = known.get(id).copied();
            let sweep = (leftovers == Leftovers::Sweep).then_some(&mut *notices);
            match self.look_at(id, known.map(Arc::as_ref), sweep, has_record)? {
                Look::Gone => {}
                Look::AsKnown => games.extend(known.cloned()),
                Look::Scanned(game) => games.push(Arc::new(*game)),
            }
        }
        Ok(games)
    }

    /// The ids of all games, in no order.
    fn list_games(&self, notices: &mut Vec<String>) -> Result<Vec<GameId>, JobError> {
        self.count_read();
        let mut ids = Vec::new();
        for entry in self.dir.entries()? {
            let is_aside = |name: &str| name == META || NOT_GAMES.contains(&name);
            let may_be_game = matches!(entry.kind, EntryKind::Dir | EntryKind::Symlink);
            if !may_be_game || entry.name.to_str().is_some_and(is_aside) {
                continue;
            }
            let reason = match entry.name.to_str().map(str::parse::<GameId>) {
                Some(Ok(id)) => {
                    ids.push(id);
                    continue;
                }
                _ if entry.kind == EntryKind::Symlink => continue,
                Some(Err(e)) => e.to_string(),
                None => "its name is not Unicode".to_owned(),
            };
            if self.is_unreported_game(&entry.name) {
                notices.push(format!("the folder {:?} cannot be listed as a game: {reason}", entry.name));
            }
        }
        Ok(ids)
    }

    /// Whether a folder whose name is not an id holds a game, and nobody was told yet.
    fn is_unreported_game(&self, name: &OsStr) -> bool {
        let has_sentinel = match name.to_str() {
            Some(name) => self.dir.subdir(name).and_then(|dir| dir.exists(SENTINEL)).unwrap_or(false),
            // Cannot be opened by such a name; the owner should know of it all the same.
            None => true,
        };
        has_sentinel && self.is_unreported(&name.to_string_lossy())
    }

    /// Whether nobody was told of this name yet; from now on somebody was.
    fn is_unreported(&self, name: &str) -> bool {
        let mut reported = lock(&self.reported);
        reported.len() < MAX_REPORTED && reported.insert(name.to_owned())
    }

    /// The names of all content records.
    fn list_records(&self) -> Result<BTreeSet<std::ffi::OsString>, JobError> {
        self.count_read();
        Ok(self.content.entries()?.into_iter().map(|entry| entry.name).collect())
    }

    /// Removes the records of games that are gone, and what an interrupted save left.
    fn sweep_records(&self, ids: &[GameId], records: &BTreeSet<std::ffi::OsString>) {
        let wanted: BTreeSet<String> = ids.iter().map(record_name).collect();
        for name in records.iter().filter_map(|name| name.to_str()).filter(|name| !wanted.contains(*name)) {
            if let Err(e) = self.content.remove_file(name) {
                tracing::debug!("{e}");
            }
        }
    }

    fn look_at(
        &self,
        id: &GameId,
        known: Option<&ScannedGame>,
        sweep: Option<&mut Vec<String>>,
        has_record: impl FnOnce(&GameId) -> bool,
    ) -> Result<Look, JobError> {
        let distrusted = lock(&self.distrusted).remove(id);
        let looked = self.look(id, known.filter(|_| !distrusted), sweep, has_record);
        if distrusted && looked.is_err() {
            self.distrust(id);
        }
        match looked {
            Ok(look) => Ok(look),
            Err(e) if is_exhaustion(&e) => Err(e.into()),
            Err(e) => Ok(Look::Scanned(Box::new(unreadable(id, e.to_string())))),
        }
    }

    fn look(
        &self,
        id: &GameId,
        known: Option<&ScannedGame>,
        sweep: Option<&mut Vec<String>>,
        has_record: impl FnOnce(&GameId) -> bool,
    ) -> Result<Look, FsError> {
        let Some(mut root) = GameRoot::read(&self.dir, id, &self.directory_reads)? else {
            return self.look_at_link(id);
        };
        if let Some(notices) = sweep {
            if let Err(e) = root.sweep() {
                // They take space and nothing else: never restored, never listed.
                tracing::warn!("{e}");
            }
            if root.is_complete() {
                // Of a download that was cut off when it had come to its end.
                self.records.release(id);
            }
            if root.needs_recovery() && (recover(id, root.dir(), notices) | self.end_removal(id, &root, notices)) {
                match GameRoot::read(&self.dir, id, &self.directory_reads)? {
                    Some(recovered) => root = recovered,
                    None => return Ok(Look::Gone),
                }
            }
        }
        let is_the_same = |known: &&ScannedGame| known.fingerprint == root.fingerprint && known.unportable.is_none();
        if let Some(known) = known.filter(is_the_same) {
            // Without its record a content hash could be announced but not served.
            if known.content_hash.is_some() && !has_record(id) {
                return Ok(Look::Scanned(Box::new(ScannedGame { content_hash: None, ..known.clone() })));
            }
            return Ok(Look::AsKnown);
        }
        let listing = root.list_for_others(self.records.brought_list(id)?.as_ref(), &self.directory_reads)?;
        let mut game = root.summary(id, &listing);
        game.seen = seen::with_root(listing.seen, &self.dir, id);
        if let Ok(manifest) = &listing.manifest {
            game.content_hash = self.known_content(id, manifest, &listing.mtimes_ns)?.map(|content| content.hash);
            game.installs_by = Some(root.packing(manifest)?);
        }
        self.say_what_is_missing(&game);
        Ok(Look::Scanned(Box::new(game)))
    }

    /// What has a game's name and is no folder: its owner may have linked one to here.
    fn look_at_link(&self, id: &GameId) -> Result<Look, FsError> {
        if self.dir.entry(id.as_str())?.is_none_or(|entry| entry.kind != EntryKind::Symlink) {
            return Ok(Look::Gone);
        }
        let game = unreadable(id, LINKED.to_owned());
        self.say_what_is_missing(&game);
        Ok(Look::Scanned(Box::new(game)))
    }

    /// Says in the log, once, what of a game's folder others do not get, and why.
    fn say_what_is_missing(&self, game: &ScannedGame) {
        let say = |what: String| {
            if self.is_unreported(&format!("{}: {what}", game.id)) {
                tracing::warn!(game = %game.id, "{what}");
            }
        };
        if let Some(reason) = &game.unportable {
            say(format!("the game is not shared: {reason}"));
        }
        if let Some(left_out) = &game.leaves_out {
            say(format!("what is no part of the game is not shared, such as {:?}", left_out.first));
        }
    }

    /// Ends an interrupted removal. Whether something changed.
    fn end_removal(&self, id: &GameId, root: &GameRoot, notices: &mut Vec<String>) -> bool {
        let list = || ours_among(root.dir(), &self.records.of(id, false)?);
        match finish_removal(&self.dir, id, list) {
            Ok(done) => {
                notices.extend(done.map(|what| format!("{id}: {what}")));
                done.is_some()
            }
            Err(e) => {
                notices.push(format!("{id}: an interrupted removal could not be finished: {e}"));
                true
            }
        }
    }

    /// The files of a game as they are now, whatever was known of them.
    ///
    /// # Errors
    /// [`JobErrorKind::Changed`] when it is gone; [`JobErrorKind::UnsafePath`], with the reason, when there is something that
    /// no list of files can name; what the system says.
    pub fn list_files(&self, game: &GameId) -> Result<Manifest, JobError> {
        let root = GameRoot::read(&self.dir, game, &self.directory_reads)?
            .ok_or_else(|| changed(game, format_args!("its folder is gone")))?;
        let Listing { manifest, .. } = root.list(None, &self.directory_reads)?;
        manifest.map_err(|unportable| {
            let message = format!("the files of {game} cannot be listed: {}", unportable.reason);
            JobError::new(JobErrorKind::UnsafePath, message)
        })
    }

    /// The files that a removal of the game takes: those that downloads brought, or left, and nobody changed. `version.ini` is
    /// among them if it is one.
    ///
    /// # Errors
    /// [`JobErrorKind::NotOurs`] when no download left a list; what the system says.
    pub fn files_to_remove(&self, game: &GameId) -> Result<Manifest, JobError> {
        let root = self.root(game)?;
        let ownership = self.records.of(game, root.exists(SENTINEL)?)?;
        if ownership.is_empty() {
            let message = format!(
                "no download brought {game}, so its files are not lanspread's to delete: delete {} by hand",
                root.path().display()
            );
            return Err(JobError::new(JobErrorKind::NotOurs, message));
        }
        ours_among(&root, &ownership)
    }

    /// Forgets the hashes of a game that was removed, and what of it was brought.
    pub fn forget_content(&self, game: &GameId) {
        self.records.forget(game);
        // Else it is swept at the next start.
        if let Err(e) = self.content.remove_file(&record_name(game)) {
            tracing::debug!("{e}");
        }
    }

    fn list_now(&self, game: &GameId, manifest_hash: ManifestHash) -> Result<ServedManifest, JobError> {
        let root = GameRoot::read(&self.dir, game, &self.directory_reads)?
            .ok_or_else(|| changed(game, format_args!("its folder is gone")))?;
        let brought = self.records.brought_list(game)?;
        let Listing { manifest, mtimes_ns, .. } = root.list_for_others(brought.as_ref(), &self.directory_reads)?;
        let manifest = manifest.map_err(|unportable| changed(game, format_args!("{}", unportable.reason)))?;
        if manifest.hash() != manifest_hash {
            return Err(changed(game, format_args!("its files are not the ones listed")));
        }
        let content = self.known_content(game, &manifest, &mtimes_ns)?;
        Ok(ServedManifest { manifest, mtimes_ns, content })
    }

    /// The hashes of exactly these files with exactly these times. A damaged record is removed. One that differs in empty
    /// directories only, which have no bytes, is written anew.
    fn known_content(
        &self,
        game: &GameId,
        manifest: &Manifest,
        mtimes_ns: &[i128],
    ) -> Result<Option<KnownContent>, FsError> {
        let name = record_name(game);
        // Bounded by what is there: a longer record is one of other files.
        let bytes = match self.content.read_small(&name, content::record_bytes(manifest) + content::MOST_OTHER_DIRS) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(e) if is_exhaustion(&e) => return Err(e),
            Err(e) => {
                tracing::debug!("{e}");
                return Ok(None);
            }
        };
        match content::known_of(&bytes, manifest, mtimes_ns) {
            Ok(Known::Other) => Ok(None),
            Ok(Known::Same(content)) => Ok(Some(content)),
            Ok(Known::OtherDirs(content)) => Ok(self.with_other_dirs(game, manifest, mtimes_ns, content)),
            Err(e) => {
                tracing::warn!("the hashes of {game} are damaged ({e}); it will be hashed again");
                if let Err(e) = self.content.remove_file(&name) {
                    tracing::warn!("{e}");
                }
                Ok(None)
            }
        }
    }

    /// The content of a game whose empty directories are others than those that were kept: its chunks are the same.
    fn with_other_dirs(
        &self,
        game: &GameId,
        manifest: &Manifest,
        mtimes_ns: &[i128],
        content: KnownContent,
    ) -> Option<KnownContent> {
        let hash = content_hash(manifest, &content.chunks);
        let content = Some(KnownContent { hash, ..content });
        let served = ServedManifest { manifest: manifest.clone(), mtimes_ns: mtimes_ns.to_vec(), content };
        match self.save_content(game, &served) {
            Ok(()) => served.content,
            Err(e) => {
                // Then it is hashed again: what is announced and what is kept must agree.
                tracing::warn!("{e}");
                None
            }
        }
    }

    fn distrust_if_changed(&self, game: &GameId, error: &JobError) {
        if error.kind == JobErrorKind::Changed {
            self.distrust(game);
        }
    }

    fn count_read(&self) {
        self.directory_reads.fetch_add(1, Ordering::Relaxed);
    }
}

/// What to do with the files of interrupted downloads: only before the first download begins is it known that nobody
/// needs them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leftovers {
    Keep,
    Sweep,
}

/// The outcome of looking at a game.
enum Look {
    Gone,
    /// Nothing to do.
    AsKnown,
    Scanned(Box<ScannedGame>),
}

/// The files beneath `root` that are lanspread's, as they lie there.
fn ours_among(root: &Dir, ownership: &Ownership) -> Result<Manifest, JobError> {
    let mut ours = BTreeMap::new();
    for path in ownership.paths() {
        match root.entry_beneath(path) {
            Ok(Some(entry)) if ownership.is_ours(root, path, &entry)? => {
                ours.insert(path.clone(), FileEntry { path: path.clone(), size: entry.size, exec: entry.exec });
            }
            Err(e) if is_exhaustion(&e) => return Err(e.into()),
            // What cannot be looked at is nobody's to delete.
            Ok(_) | Err(_) => {}
        }
    }
    Manifest::new(ours.into_values().collect()).map_err(|e| JobError::new(JobErrorKind::UnsafePath, e.to_string()))
}

/// Ends an interrupted install. Whether something changed; failing is no reason not to offer the game.
fn recover(game: &GameId, root: &Dir, notices: &mut Vec<String>) -> bool {
    let recovery = match recover_game(root) {
        Ok(recovery) => recovery,
        Err(e) => {
            notices.push(format!("{game}: an interrupted install could not be ended: {e}"));
            return true;
        }
    };
    notices.extend(recovery.done.iter().chain(&recovery.left).map(|what| format!("{game}: {what}")));
    !recovery.done.is_empty()
}

fn changed(game: &GameId, what: fmt::Arguments<'_>) -> JobError {
    JobError::new(JobErrorKind::Changed, format!("the files of {game} have changed: {what}"))
}

/// Keeps a record of a game in `records`, atomically and durably. Without `content` there is nothing to keep.
fn save_record(records: &Dir, game: &GameId, served: &ServedManifest) -> Result<(), JobError> {
    let Some(content) = &served.content else { return Ok(()) };
    let bytes = content::encode(&served.manifest, &served.mtimes_ns, content)
        .map_err(|e| JobError::new(JobErrorKind::Verification, format!("cannot keep the hashes of {game}: {e}")))?;
    Ok(records.replace_file(&record_name(game), &bytes)?)
}

/// A record in `records`, without its hashes when that part is damaged; `None`: there is none that can be read.
///
/// # Errors
/// What the system says.
fn read_record(records: &Dir, game: &GameId) -> Result<Option<Previous>, FsError> {
    let Some((file, head)) = open_record(records, game) else { return Ok(None) };
    let mut tail = vec![0; head.tail_bytes()];
    let read = file.read_at(&mut tail, head.head_bytes())?;
    let content = head.content(tail.get(..read).unwrap_or_default()).ok();
    let Head { manifest, mtimes_ns, .. } = head;
    Ok(Some(Previous { manifest, mtimes_ns, content }))
}

/// The files of a record in `records` and their times, without the hashes; `None`: there is none that can be read.
fn read_list(records: &Dir, game: &GameId) -> Option<(Manifest, Vec<i128>)> {
    open_record(records, game).map(|(_, Head { manifest, mtimes_ns, .. })| (manifest, mtimes_ns))
}

fn open_record(records: &Dir, game: &GameId) -> Option<(File, Head)> {
    let file = records.open_read(&RelPath::parse(&record_name(game)).ok()?).ok()?;
    let mut head = vec![0; HEADER_BYTES];
    if file.read_at(&mut head, 0).ok()? != HEADER_BYTES {
        return None;
    }
    let header = Header::decode(&head).ok()?;
    // Against a length that only the header claims.
    if file.stat().ok()?.size != header.record_bytes() {
        return None;
    }
    head.resize(header.head_bytes(), 0);
    file.read_at(head.get_mut(HEADER_BYTES..)?, HEADER_BYTES as u64).ok()?;
    Some((file, Head::decode(&head).ok()?))
}

/// The file name of a game's records. Ids never begin with a dot; two ids have two names on every file system.
fn record_name(game: &GameId) -> String {
    let id = game.as_str();
    if id.len() > MAX_RECORD_NAME {
        format!(".long-{:032x}", xxh3_128(id.as_bytes()))
    } else if id != game.collision_key() {
        format!(".cased-{:032x}", xxh3_128(id.as_bytes()))
    } else {
        id.to_owned()
    }
}

/// The bare id was the name of every record once. Renames those of `ids` in `records`, durably.
fn rename_old_records(records: &Dir, ids: &[GameId]) -> Result<(), FsError> {
    let mut others = ids.iter().map(|id| (id, record_name(id))).filter(|(id, name)| name != id.as_str()).peekable();
    if others.peek().is_none() {
        return Ok(());
    }
    let names: HashSet<OsString> = records.names()?.into_iter().collect();
    let mut renamed = false;
    for (id, name) in others {
        // The names that are there tell: where case does not count every spelling opens a record.
        if names.contains(OsStr::new(id.as_str())) && !names.contains(OsStr::new(&name)) {
            records.rename(id.as_str(), &name)?;
            renamed = true;
        }
    }
    if renamed { records.sync() } else { Ok(()) }
}

fn make_durable(parent: &Dir, name: &str) -> Result<Dir, FsError> {
    let is_new = !parent.exists(name)?;
    let dir = parent.make_subdir(name)?;
    if is_new {
        parent.sync()?;
    }
    Ok(dir)
}

/// Absolute, so that messages and watches keep their meaning; links resolved, because events name the real path.
pub(crate) fn absolute(dir: &Path) -> std::io::Result<std::path::PathBuf> {
    // On Windows that would give a `\\?\` path, which few users would recognize as theirs.
    if cfg!(windows) { std::path::absolute(dir) } else { dir.canonicalize() }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
