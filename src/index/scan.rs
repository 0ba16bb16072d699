//! Looking at one game: first its root (one directory read), which gives the fingerprint; then, only when that differs
//! from the one known, everything beneath it.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::Xxh3;

use super::ownership::BroughtList;
use super::seen::Clock;
use super::version::parse_version;
use crate::fs::{Dir, Entry, EntryKind, FsError};
use crate::install::archive::is_archive;
use crate::install::{
    BACKUP, INSTALL, Intent, IntentLog, LOG, LOG_TMP, Made, STAGING, describes_mirror, made_by_lanspread,
};
use crate::types::{
    ContentHash, DISCARDED_SENTINEL, FileEntry, Fingerprint, GameId, InstalledBy, JobErrorKind, LeftOut, MAX_ENTRIES,
    MAX_LIST_BYTES, MAX_SENTINEL_BYTES, MIRROR_MANIFEST, Manifest, ManifestHash, NEW_SENTINEL, Packing, RelPath,
    SENTINEL, ScannedGame, Seen, is_reserved_at_root,
};

/// What an interrupted write or download leaves; swept, never restored.
const LEFTOVERS: [&str; 3] = [NEW_SENTINEL, DISCARDED_SENTINEL, LOG_TMP];

/// The root of a game as one directory read and the sentinel's bytes show it.
pub(super) struct GameRoot {
    dir: Dir,
    /// Without reserved names, ascending by name.
    entries: Vec<Entry>,
    sentinel: Sentinel,
    /// The bytes of the sentinel, if they could be read.
    sentinel_bytes: Vec<u8>,
    /// There is a `local/`.
    has_local: bool,
    /// Who made `local/`.
    installed_by: Option<InstalledBy>,
    /// The log says that something was installed there, by whomever what is there now was made.
    made_local: bool,
    /// What has the name of installations, in whatever spelling, and was not installed as far as the log says.
    own_local: Option<String>,
    /// That is a link.
    local_is_link: bool,
    /// Reserved names of which lanspread has no use: somebody else's.
    reserved: Vec<String>,
    /// The version in `local/`, as the log of installs remembers it.
    installed_version: Option<String>,
    /// An install or uninstall was interrupted, or is under way.
    needs_recovery: bool,
    /// Which of [`LEFTOVERS`] are there.
    leftovers: Vec<&'static str>,
    /// See [`Fingerprint`].
    pub(super) fingerprint: Fingerprint,
}

enum Sentinel {
    Absent,
    /// A regular file; the version that it states, or why that cannot be said.
    Present(Result<String, String>),
}

/// Every file and every empty directory of a game.
pub(super) struct Listing {
    /// What there is, or why the game cannot be offered.
    pub(super) manifest: Result<Manifest, Unportable>,
    /// Time of last change of each file of the manifest, in nanoseconds since 1970.
    pub(super) mtimes_ns: Vec<i128>,
    /// Names the bytes that a download brought of it.
    pub(super) brought: Option<ContentHash>,
    /// What is no part of it.
    pub(super) left_out: Option<LeftOut>,
    /// What desktops put there.
    pub(super) of_desktops: Option<LeftOut>,
    /// Of everything beneath the root; the root's own time is not in it.
    pub(super) seen: Seen,
}

/// A game that has no manifest.
pub(super) struct Unportable {
    /// The first reason that was found, in words that name the entry.
    pub(super) reason: String,
    /// Sum of the sizes of what could be listed, in bytes.
    size: u64,
    /// Tells states of the game from each other. Never equal to a manifest's hash.
    hash: ManifestHash,
}

impl GameRoot {
    /// Reads the root of `game`. `None`: there is no such directory (any more).
    ///
    /// # Errors
    /// Whatever else the system says; see [`is_exhaustion`].
    pub(super) fn read(game_dir: &Dir, game: &GameId, reads: &AtomicU64) -> Result<Option<Self>, FsError> {
        let dir = match game_dir.subdir(game.as_str()) {
            Ok(dir) => dir,
            Err(e) if is_gone(&e) => return Ok(None),
            Err(e) => return Err(e),
        };
        Self::of(dir, reads)
    }

    /// The same of a root that is open.
    pub(super) fn of(dir: Dir, reads: &AtomicU64) -> Result<Option<Self>, FsError> {
        reads.fetch_add(1, Ordering::Relaxed);
        let mut entries = match dir.entries() {
            Ok(entries) => entries,
            Err(e) if is_gone(&e) => return Ok(None),
            Err(e) => return Err(e),
        };
        let has_local = entries.iter().any(is_install_tree);
        let has = |name: &str| entries.iter().any(|entry| entry.name == name);
        // What the entries show costs no further look: almost no game has any of these.
        let log = if has(LOG) { IntentLog::read(&dir)? } else { Ok(None) };
        let made_local = log.as_ref().map_or(true, |log| log.as_ref().is_some_and(shows_installation));
        let is_interrupted = !matches!(&log, Ok(None) | Ok(Some(IntentLog { intent: Intent::None, .. })));
        let needs_recovery = is_interrupted || has(STAGING) || has(BACKUP);
        let made = if has_local { Some(made_by_lanspread(&dir, log.ok().flatten().as_ref())?) } else { None };
        let (installed_by, installed_version) = match made {
            None => (None, None),
            Some(Made::Here(version)) => (Some(InstalledBy::Lanspread), version),
            Some(Made::Elsewhere) => (Some(InstalledBy::SomebodyElse), None),
        };
        let leftovers = LEFTOVERS.into_iter().filter(|name| entries.iter().any(|entry| entry.name == *name)).collect();
        let (own_local, reserved) = reserved_of_others(&entries, made_local);
        let is_link = |entry: &Entry| entry.kind == EntryKind::Symlink && entry.name.to_str() == own_local.as_deref();
        let local_is_link = own_local.is_some() && entries.iter().any(is_link);
        entries.retain(|entry| !entry.name.to_str().is_some_and(is_reserved_at_root));
        if let Some(at) =
            entries.iter().position(|entry| entry.kind == EntryKind::File && entry.name == MIRROR_MANIFEST)
            && describes_mirror(&dir)?
        {
            entries.remove(at);
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let bytes = match entries.iter().find(|entry| entry.name == SENTINEL) {
            Some(entry) if entry.kind == EntryKind::File => read_sentinel(&dir)?,
            _ => Read::Absent,
        };
        if let Read::Absent = bytes {
            // It vanished between the two looks: then it is not part of the listing either.
            entries.retain(|entry| entry.kind != EntryKind::File || entry.name != SENTINEL);
        }
        let local = (installed_by, installed_version.as_deref(), own_local.as_deref());
        let fingerprint = fingerprint(&entries, &bytes, local, &reserved);
        let (sentinel, sentinel_bytes) = match bytes {
            Read::Absent => (Sentinel::Absent, Vec::new()),
            Read::Bytes(bytes) => (Sentinel::Present(parse_version(&bytes).map_err(str::to_owned)), bytes),
            Read::Failed(reason) => (Sentinel::Present(Err(reason)), Vec::new()),
        };
        Ok(Some(Self {
            dir,
            entries,
            sentinel,
            sentinel_bytes,
            has_local,
            installed_by,
            made_local,
            own_local,
            local_is_link,
            reserved,
            installed_version,
            needs_recovery,
            leftovers,
            fingerprint,
        }))
    }

    /// Whether [`recover_game`](crate::install::recover_game) has something to do or to say.
    pub(super) fn needs_recovery(&self) -> bool {
        self.needs_recovery
    }

    /// Whether the sentinel is there.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.sentinel, Sentinel::Present(_))
    }

    /// Why the version cannot be said.
    pub(super) fn version_fault(&self) -> Option<&str> {
        match &self.sentinel {
            Sentinel::Present(Err(reason)) => Some(reason),
            Sentinel::Absent | Sentinel::Present(Ok(_)) => None,
        }
    }

    /// Why what has the name of installations, and was not installed, keeps others from getting the game.
    pub(super) fn local_fault(&self) -> Option<String> {
        self.own_local.as_ref().map(|local| local_reason(local, self.local_is_link))
    }

    /// The root, open.
    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Removes what an interrupted write or download left in the root. Only for a caller that knows of no running download.
    pub(super) fn sweep(&self) -> Result<(), FsError> {
        self.leftovers.iter().try_for_each(|name| self.dir.remove_file(name).map(drop))
    }

    /// Lists every file and every empty directory beneath the root. `brought`: what a download brought of the game. While
    /// `version.ini` is the one that came with it, the game is the files that came, and the directories that came empty,
    /// whatever is in them by now; all else in its folder is the user's own, such as saves.
    ///
    /// # Errors
    /// Only [`is_exhaustion`]: whatever lies there gives a listing, if need be with a fault.
    pub(super) fn list(&self, brought: Option<&BroughtList>, reads: &AtomicU64) -> Result<Listing, FsError> {
        let brought = brought.filter(|list| self.is_complete() && list.has_sentinel(&self.sentinel_bytes));
        let part = brought.map(|list| list.manifest.files());
        let part_dirs = brought.map(|list| list.manifest.dirs()).unwrap_or_default();
        let mut walk = Walk { part, part_dirs, ..Walk::default() };
        if let Sentinel::Present(Err(reason)) = &self.sentinel {
            walk.fault(|| reason.clone());
        }
        for entry in &self.entries {
            if entry.kind != EntryKind::File && entry.name == SENTINEL {
                walk.fault(|| "version.ini is not a regular file".to_owned());
            } else if is_misspelt_sentinel(&entry.name) {
                // On a file system that ignores case it would be the sentinel there, written before the game is complete.
                walk.fault(|| format!("{:?} must be spelled version.ini", entry.name));
            } else {
                walk.visit(None, entry);
            }
        }
        self.reserved.iter().for_each(|name| walk.leave_out(|| name.clone()));
        if let Some(local) = self.own_local.as_ref().filter(|local| brought.is_some() && *local != INSTALL) {
            walk.leave_out(|| local.clone());
        }
        while let Some(path) = walk.dirs.pop() {
            if walk.is_full() {
                walk.fault(|| format!("it has more than {MAX_ENTRIES} files or directories"));
                break;
            }
            match self.entries_of(&path, reads) {
                Ok(entries) if entries.iter().all(|entry| walk.part.is_none() && entry.is_of_a_desktop()) => {
                    entries
                        .iter()
                        .for_each(|entry| walk.is_of_a_desktop(|| format!("{path}/{}", entry.name.display())));
                    walk.empty(path);
                }
                Ok(mut entries) => {
                    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
                    entries.iter().for_each(|entry| walk.visit(Some(&path), entry));
                }
                Err(e) if is_exhaustion(&e) => return Err(e),
                Err(e) if e.is_not_found() => {}
                Err(e) => walk.fault(|| e.to_string()),
            }
        }
        let Walk { mut files, empty, fault, left_out, of_desktops, clock, .. } = walk;
        files.sort_unstable_by(|a, b| a.0.path.cmp(&b.0.path));
        let seen = clock.read(&files);
        let (files, mtimes_ns): (Vec<_>, Vec<_>) = files.into_iter().unzip();
        let manifest =
            match fault {
                None => Manifest::with_dirs(files.clone(), empty)
                    .map_err(|e| e.to_string())
                    .and_then(|manifest| {
                        if manifest.list_bytes() > MAX_LIST_BYTES { Err(too_long(&manifest)) } else { Ok(manifest) }
                    })
                    .map_err(|reason| Unportable::new(reason, &files)),
                Some(reason) => Err(Unportable::new(reason, &files)),
            };
        Ok(Listing { manifest, mtimes_ns, brought: brought.map(|list| list.content), left_out, of_desktops, seen })
    }

    /// The same for others: a game that nobody brought, and that has something in the place of installations which was not
    /// installed, cannot be handed out. It may be part of the game, and would be lost.
    pub(super) fn list_for_others(&self, brought: Option<&BroughtList>, reads: &AtomicU64) -> Result<Listing, FsError> {
        let mut listing = self.list(brought, reads)?;
        if let (Some(reason), Ok(manifest)) = (self.local_fault(), &listing.manifest)
            && self.is_complete()
            && listing.brought.is_none()
        {
            listing.manifest = Err(Unportable::new(reason, manifest.files()));
        }
        Ok(listing)
    }

    /// Whether what is `local/` counts as an installation: not what may be a folder of the game's own.
    fn is_installed(&self, listing: &Listing) -> bool {
        self.has_local && (self.made_local || !self.is_complete() || listing.brought.is_some())
    }

    /// How the game is installed. Looks at the first bytes of each file in the root.
    pub(super) fn packing(&self, manifest: &Manifest) -> Result<Packing, FsError> {
        let in_root = manifest.files().iter().map(|file| &file.path).filter(|path| path.parent().is_none());
        let mut archives = HashSet::new();
        for path in in_root {
            if is_archive(&self.dir, path)? {
                archives.insert(path);
            }
        }
        Ok(Packing::of(manifest, |path| archives.contains(path)))
    }

    /// The game as it lies here; its content hash is not known yet.
    pub(super) fn summary(&self, id: &GameId, listing: &Listing) -> ScannedGame {
        let (manifest_hash, size, unportable) = match &listing.manifest {
            Ok(manifest) => (manifest.hash(), manifest.bytes(), None),
            Err(unportable) => (unportable.hash, unportable.size, Some(unportable.reason.clone())),
        };
        ScannedGame {
            id: id.clone(),
            eti_version: match &self.sentinel {
                Sentinel::Absent => None,
                Sentinel::Present(version) => Some(version.clone().unwrap_or_default()),
            },
            size,
            downloaded: matches!(self.sentinel, Sentinel::Present(_)),
            installed: self.is_installed(listing),
            installed_by: self.installed_by,
            installed_version: self.installed_version.clone(),
            installs_by: None,
            manifest_hash,
            content_hash: None,
            fingerprint: self.fingerprint,
            unportable,
            brought: listing.brought,
            leaves_out: listing.left_out.clone(),
            arriving: false,
            supersedes: Vec::new(),
            seen: Seen::default(),
        }
    }

    fn entries_of(&self, path: &RelPath, reads: &AtomicU64) -> Result<Vec<Entry>, FsError> {
        let dir = self.dir.open_dir(path)?;
        reads.fetch_add(1, Ordering::Relaxed);
        dir.entries()
    }
}

impl Unportable {
    fn new(reason: String, files: &[FileEntry]) -> Self {
        let mut hash = Xxh3::new();
        hash.update(b"lanspread-listing-1\n");
        for file in files {
            hash.update(&(file.path.as_str().len() as u32).to_be_bytes());
            hash.update(file.path.as_str().as_bytes());
            hash.update(&file.size.to_be_bytes());
        }
        let size = files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.size));
        Self { reason, size, hash: ManifestHash(hash.digest128().to_be_bytes()) }
    }
}

/// A game that cannot even be opened, so that the user sees why. Its fingerprint equals no other: it is tried again.
pub(super) fn unreadable(id: &GameId, reason: String) -> ScannedGame {
    let Unportable { reason, size, hash } = Unportable::new(reason, &[]);
    ScannedGame {
        id: id.clone(),
        eti_version: None,
        size,
        downloaded: false,
        installed: false,
        installed_by: None,
        installed_version: None,
        installs_by: None,
        manifest_hash: hash,
        content_hash: None,
        fingerprint: Fingerprint([0; 16]),
        unportable: Some(reason),
        brought: None,
        leaves_out: None,
        arriving: false,
        supersedes: Vec::new(),
        seen: Seen::default(),
    }
}

/// To take a shortage of memory or handles for the state of a game would withdraw that game from everybody.
pub(super) fn is_exhaustion(error: &FsError) -> bool {
    error.is_exhaustion()
}

/// What is there is no directory (a link is none): no game.
fn is_gone(error: &FsError) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.source.kind(), NotFound | NotADirectory) || error.kind() == JobErrorKind::UnsafePath
}

enum Read {
    Absent,
    Bytes(Vec<u8>),
    Failed(String),
}

fn read_sentinel(dir: &Dir) -> Result<Read, FsError> {
    match dir.read_small(SENTINEL, MAX_SENTINEL_BYTES) {
        Ok(Some(bytes)) => Ok(Read::Bytes(bytes)),
        Ok(None) => Ok(Read::Absent),
        Err(e) if is_exhaustion(&e) => Err(e),
        Err(e) if e.source.kind() == std::io::ErrorKind::FileTooLarge => {
            Ok(Read::Failed(format!("version.ini is larger than {} KiB", MAX_SENTINEL_BYTES >> 10)))
        }
        Err(e) => Ok(Read::Failed(e.to_string())),
    }
}

/// The bytes of version.ini are part of it, because a rewrite of the same length within the clock's grain changes neither
/// size nor time. Directories count with their time too: it betrays files that come and go directly in them.
fn fingerprint(
    entries: &[Entry],
    sentinel: &Read,
    (installed_by, installed_version, own_local): (Option<InstalledBy>, Option<&str>, Option<&str>),
    reserved: &[String],
) -> Fingerprint {
    let mut hash = Xxh3::new();
    hash.update(b"lanspread-fingerprint-3\n");
    let bytes = |hash: &mut Xxh3, bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    for entry in entries.iter().filter(|entry| !entry.is_of_a_desktop()) {
        let kind = match entry.kind {
            EntryKind::File => 1,
            EntryKind::Dir => 2,
            EntryKind::Symlink => 3,
            EntryKind::Other => 4,
        };
        hash.update(&[kind, u8::from(entry.exec && entry.kind == EntryKind::File)]);
        bytes(&mut hash, entry.name.as_encoded_bytes());
        if let EntryKind::File | EntryKind::Dir = entry.kind {
            hash.update(&entry.mtime_ns.to_be_bytes());
        }
        if let EntryKind::File = entry.kind {
            hash.update(&entry.size.to_be_bytes());
        }
    }
    let local = match installed_by {
        None => 0,
        Some(InstalledBy::Lanspread) => 1,
        Some(InstalledBy::SomebodyElse) => 2,
    };
    hash.update(&[0, local]);
    match sentinel {
        Read::Absent => hash.update(&[0]),
        Read::Bytes(content) => {
            hash.update(&[1]);
            bytes(&mut hash, content);
        }
        Read::Failed(reason) => {
            hash.update(&[2]);
            bytes(&mut hash, reason.as_bytes());
        }
    }
    if let Some(version) = installed_version {
        hash.update(&[3]);
        bytes(&mut hash, version.as_bytes());
    }
    for name in own_local.into_iter().chain(reserved.iter().map(String::as_str)) {
        hash.update(&[4]);
        bytes(&mut hash, name.as_bytes());
    }
    Fingerprint(hash.digest128().to_be_bytes())
}

fn is_install_tree(entry: &Entry) -> bool {
    let name = &entry.name;
    entry.kind == EntryKind::Dir && if cfg!(windows) { name.eq_ignore_ascii_case(INSTALL) } else { name == INSTALL }
}

/// The proof that what is `local/` was installed, or is being installed. A log that cannot be read is none of nothing.
fn shows_installation(log: &IntentLog) -> bool {
    log.installed_version.is_some()
        || log.installed_by.is_some()
        || !matches!(log.intent, Intent::None | Intent::Removing)
}

/// Of the reserved names of a root what lanspread did not make: what has the name of installations, and the others, ascending.
fn reserved_of_others(entries: &[Entry], made_local: bool) -> (Option<String>, Vec<String>) {
    const OURS: [&str; 3] = [LOG, STAGING, BACKUP];
    let (mut own_local, mut others) = (None, Vec::new());
    for entry in entries {
        let Some(name) = entry.name.to_str().filter(|name| is_reserved_at_root(name)) else { continue };
        if name.eq_ignore_ascii_case(INSTALL) {
            if !(made_local && is_install_tree(entry)) {
                own_local = Some(name.to_owned());
            }
        } else if !OURS.contains(&name) && !LEFTOVERS.contains(&name) {
            others.push(name.to_owned());
        }
    }
    others.sort_unstable();
    (own_local, others)
}

fn too_long(manifest: &Manifest) -> String {
    format!(
        "the list of its {} files is too long to be sent ({} MiB of names): pack them into an archive, or give them shorter names",
        manifest.files().len(),
        manifest.list_bytes() >> 20
    )
}

fn local_reason(name: &str, is_link: bool) -> String {
    if is_link {
        format!(
            "its {name:?} is a link, and links are not followed: delete the link; if it leads to an installation, move that here as \
             \"local\" and adopt it"
        )
    } else if name == INSTALL {
        "its folder \"local\" was not installed by lanspread, and may be one of the game's own, which others would lack: move \
         it away, or adopt it if it is an installation"
            .to_owned()
    } else {
        format!(
            "its own {name:?} has the name that is reserved for installations, so that others would lack it: move it away, \
             or give it another name"
        )
    }
}

fn is_misspelt_sentinel(name: &OsStr) -> bool {
    name != SENTINEL && name.eq_ignore_ascii_case(SENTINEL)
}

#[derive(Default)]
struct Walk<'a> {
    /// The files that are the game; `None`: all of them.
    part: Option<&'a [FileEntry]>,
    /// The directories that came empty with these files.
    part_dirs: &'a [RelPath],
    files: Vec<(FileEntry, i128)>,
    /// Directories of the game that hold nothing, or held nothing when they came.
    empty: Vec<RelPath>,
    /// Still to be read.
    dirs: Vec<RelPath>,
    dirs_seen: usize,
    fault: Option<String>,
    left_out: Option<LeftOut>,
    of_desktops: Option<LeftOut>,
    clock: Clock,
}

impl<'a> Walk<'a> {
    /// The path of a file that a download brought, which is shared with its list.
    fn brought(&self, path: &str) -> Option<&'a RelPath> {
        let part = self.part?;
        let at = part.binary_search_by(|file| file.path.as_str().cmp(path)).ok()?;
        part.get(at).map(|file| &file.path)
    }

    fn visit(&mut self, parent: Option<&RelPath>, entry: &Entry) {
        if self.is_full() {
            return;
        }
        let shown = || match parent {
            Some(parent) => format!("{parent}/{}", entry.name.to_string_lossy()),
            None => entry.name.to_string_lossy().into_owned(),
        };
        let Some(name) = entry.name.to_str() else {
            return self.stray(None, shown, |shown| format!("the name {shown:?} is not Unicode"));
        };
        let text = parent.map_or_else(|| name.to_owned(), |parent| format!("{parent}/{name}"));
        let brought = self.brought(&text);
        let path = match brought.map_or_else(|| RelPath::parse(&text), |path| Ok(path.clone())) {
            Ok(path) => path,
            Err(e) => return self.stray(None, shown, |_| e.to_string()),
        };
        match entry.kind {
            EntryKind::File if entry.is_of_a_desktop() && brought.is_none() => self.is_of_a_desktop(shown),
            EntryKind::File if self.part.is_none() || brought.is_some() => {
                self.files.push((FileEntry { path, size: entry.size, exec: entry.exec }, entry.mtime_ns));
            }
            EntryKind::File => self.leave_out(shown),
            EntryKind::Dir => {
                self.clock.dir(&path, entry.mtime_ns);
                if self.part_dirs.binary_search(&path).is_ok() {
                    self.empty.push(path.clone());
                }
                self.dirs.push(path);
                self.dirs_seen += 1;
            }
            EntryKind::Symlink => self.stray(Some(&path), shown, |shown| format!("{shown:?} is a link")),
            EntryKind::Other => {
                self.stray(Some(&path), shown, |shown| format!("{shown:?} is neither a file nor a directory"));
            }
        }
    }

    /// What no list of files can name: a fault of the game, unless it is no part of it.
    fn stray(&mut self, path: Option<&RelPath>, shown: impl FnOnce() -> String, reason: impl FnOnce(String) -> String) {
        match self.part {
            Some(_) if path.is_none_or(|path| self.brought(path.as_str()).is_none()) => self.leave_out(shown),
            _ => self.fault(|| reason(shown())),
        }
    }

    /// There is nothing in it.
    fn empty(&mut self, path: RelPath) {
        if self.part.is_none() {
            self.empty.push(path);
        } else if self.part_dirs.binary_search(&path).is_err() {
            self.leave_out(|| path.to_string());
        }
    }

    fn leave_out(&mut self, shown: impl FnOnce() -> String) {
        count(&mut self.left_out, shown);
    }

    fn is_of_a_desktop(&mut self, shown: impl FnOnce() -> String) {
        count(&mut self.of_desktops, shown);
    }

    fn is_full(&self) -> bool {
        self.files.len() > MAX_ENTRIES || self.dirs_seen > MAX_ENTRIES
    }

    fn fault(&mut self, reason: impl FnOnce() -> String) {
        self.fault.get_or_insert_with(reason);
    }
}

fn count(what: &mut Option<LeftOut>, shown: impl FnOnce() -> String) {
    what.get_or_insert_with(|| LeftOut { count: 0, first: shown() }).count += 1;
}
