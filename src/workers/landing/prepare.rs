//! Before the first byte: is there room, the old sentinel is durably gone, what is here already is kept, the way is free.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use super::aside::{keep_aside, put_back, set_sentinel_aside};
use super::reuse::{Foreign, Look, Watch, look_at_files};
use super::{Handles, Landing, Phase, Progress, Undo};
use crate::fs::{Dir, Entry, EntryKind, FsError, SpaceLedger};
use crate::index::{Ownership, Previous, Records};
use crate::install::forget_removal;
use crate::types::{
    DISCARDED_SENTINEL, DownloadPlan, FileEntry, GameId, JobError, JobErrorKind, KeptAside, MAX_SENTINEL_BYTES,
    Manifest, RelPath, SENTINEL,
};

/// File systems give space in blocks: what a file takes is rounded up to this many bytes.
const BLOCK: u64 = 4096;

impl Landing {
    /// Makes ready to write `plan` beneath `game_dir`, and keeps what of it is there already: see [`Landing::kept`].
    /// `records`: what proves which files are lanspread's. `previous`: the game as it was hashed last, when that is known.
    /// `space`: where the room for it is promised.
    ///
    /// # Errors
    /// Nothing of the game has changed when it fails, but for directories, old files that had to make way, and old files
    /// into which chunks were copied from elsewhere in the old game.
    /// [`JobErrorKind::Cancelled`] within a chunk; [`JobErrorKind::DiskFull`] names what is needed and what is free; [`JobErrorKind::UnsafePath`]: a link or a
    /// special file lies where a file or directory belongs; [`JobErrorKind::Verification`]: not a plan.
    pub fn prepare(
        game_dir: &Dir,
        records: &Records,
        plan: Arc<DownloadPlan>,
        previous: Option<&Previous>,
        space: &SpaceLedger,
        watch: &Watch<'_>,
    ) -> Result<Self, JobError> {
        let sentinel = check_plan(&plan)?;
        let name = plan.game.as_str();
        let made_root = match game_dir.entry(name)?.map(|entry| entry.kind) {
            None => true,
            Some(EntryKind::Dir) => false,
            Some(_) => return Err(in_the_way(&plan.game, "its folder's name is taken by something else")),
        };
        let old_root = if made_root { None } else { Some(game_dir.subdir(name)?) };
        let is_complete = old_root.as_ref().map_or(Ok(false), |root| root.exists(SENTINEL))?;
        let ownership = records.of(&plan.game, is_complete)?;
        let mut replaced = Replaced::default();
        let mut survey = Survey::default();
        match &old_root {
            None => plan.manifest.files().iter().for_each(|file| survey.add(file.size, None)),
            Some(root) => {
                replaced = Replaced::new(root, &plan, previous, &ownership)?;
                survey.look(root, &plan, &replaced, &ownership)?;
            }
        }
        let bytes = survey.files.iter().sum();
        let space = space.reserve(game_dir, bytes, &format!("for {}", plan.game))?;

        let root = game_dir.make_subdir(name)?;
        let landing = Self {
            learned: OnceLock::new(),
            game_dir: game_dir.clone(),
            root,
            sentinel,
            undo: Undo { made_root, ..Undo::default() },
            stale: replaced.stale,
            stale_dirs: replaced.stale_dirs,
            ownership,
            records: records.clone(),
            present: survey.present,
            handles: Handles::default(),
            opening: Default::default(),
            space,
            to_fill: survey.files,
            progress: Mutex::new(Progress::new(&plan)),
            phase: RwLock::new(Phase::Writing),
            plan,
        };
        landing.begin(&survey.makes_way, (&replaced.in_way, &replaced.dirs_in_way), survey.kept_aside, previous, watch)
    }

    /// The changes, in an order that can be undone as long as no old file was removed: while it reads, which may take minutes,
    /// all can still be undone.
    fn begin(
        mut self,
        makes_way: &[RelPath],
        in_way: (&[RelPath], &[RelPath]),
        aside: Vec<usize>,
        previous: Option<&Previous>,
        watch: &Watch<'_>,
    ) -> Result<Self, JobError> {
        let mut undo = std::mem::take(&mut self.undo);
        let begun = self.set_aside(&mut undo).and_then(|()| {
            let foreign = self.find_in_place(&undo, previous, watch)?;
            self.keep_aside(&mut undo, &foreign, &aside)?;
            self.claim(&mut undo)?;
            make_way(&self.root, &self.plan.manifest, &self.ownership, makes_way, in_way, &mut undo)?;
            Ok(foreign)
        });
        self.undo = undo;
        match begun {
            Ok(foreign) => match self.copy_moved(previous, &foreign, watch) {
                Ok(()) => Ok(self),
                Err(error) => {
                    let _ = self.abandon(false);
                    Err(error)
                }
            },
            Err(error) => {
                // The error that stopped it matters more than one met while tidying up.
                let _ = self.roll_back(&self.undo);
                Err(error)
            }
        }
    }

    /// From here on the game does not count as complete.
    fn set_aside(&self, undo: &mut Undo) -> Result<(), JobError> {
        set_sentinel_aside(&self.root, &self.plan, self.sentinel, &self.ownership, undo)?;
        forget_removal(&self.root)?;
        // Also when there was none: that it is gone must be durable, whoever removed it.
        Ok(self.root.sync()?)
    }

    fn find_in_place(
        &self,
        undo: &Undo,
        previous: Option<&Previous>,
        watch: &Watch<'_>,
    ) -> Result<Vec<Foreign>, JobError> {
        let look = Look {
            root: &self.root,
            plan: &self.plan,
            sentinel: self.sentinel,
            old_sentinel: undo.sentinel_aside.as_deref(),
            present: &self.present,
            ownership: &self.ownership,
            previous,
        };
        look_at_files(&look, &mut self.progress(), watch)
    }

    /// Gives the user's files other names. The files of the game are made anew then.
    fn keep_aside(&mut self, undo: &mut Undo, foreign: &[Foreign], aside: &[usize]) -> Result<(), JobError> {
        let files = self.plan.manifest.files();
        let mut more = 0;
        for file in foreign.iter().map(|foreign| foreign.file) {
            let Some(entry) = files.get(file) else { continue };
            if let (Some(present), Some(to_fill)) = (self.present.get_mut(file), self.to_fill.get_mut(file)) {
                *present = None;
                more += rounded(entry.size).saturating_sub(*to_fill);
                *to_fill = rounded(entry.size);
            }
        }
        self.space.grow(&self.game_dir, more, &format!("for {}", self.plan.game))?;
        let all = foreign.iter().map(|foreign| foreign.file).chain(aside.iter().copied());
        let paths = all.filter_map(|file| files.get(file)).map(|entry| &entry.path);
        let first = undo.kept_aside.len();
        keep_aside(&self.root, &self.plan, paths, undo)?;
        let renamed = undo.kept_aside.get(first..).unwrap_or_default();
        self.sync_dirs(renamed.iter().map(|kept| &kept.file))?;
        if !renamed.is_empty() {
            self.root.sync()?;
        }
        Ok(())
    }

    /// Before the first byte: from here on what lies under these names is lanspread's.
    fn claim(&self, undo: &mut Undo) -> Result<(), JobError> {
        undo.claimed = true;
        Ok(self.records.claim(self.game(), &self.ownership, self.manifest())?)
    }

    /// Files of the user's that had to make way, and their names now, ascending.
    pub fn kept_aside(&self) -> Vec<KeptAside> {
        let mut kept = self.undo.kept_aside.clone();
        kept.sort_unstable_by(|a, b| a.file.cmp(&b.file));
        kept
    }

    /// Back to where [`prepare`](Self::prepare) began. The old sentinel comes back only if nothing that it speaks for was
    /// touched.
    pub(super) fn roll_back(&self, undo: &Undo) -> Result<(), FsError> {
        let root = &self.root;
        put_back(root, &undo.kept_aside)?;
        self.sync_dirs(undo.kept_aside.iter().map(|kept| &kept.file))?;
        for dir in undo.made_dirs.iter().rev() {
            root.remove_dir_if_empty(dir)?;
        }
        if undo.sentinel_aside.is_some() && !undo.removed {
            // One that came back would be an empty directory that the old game lacks.
            self.sync_dirs(&undo.made_dirs)?;
        }
        // What was written to in part is neither the old file nor the new one, and stays claimed.
        if undo.claimed && !undo.removed {
            // Before the sentinel, beside which it would count for nothing.
            self.records.take_back(self.game(), &self.ownership)?;
        }
        match undo.sentinel_aside.as_deref() {
            // Unless the user has put another one there.
            Some(name) if !undo.removed && !root.exists(SENTINEL)? => root.rename(name, SENTINEL)?,
            Some(DISCARDED_SENTINEL) => drop(root.remove_file(DISCARDED_SENTINEL)?),
            Some(_) | None => {}
        }
        root.sync()?;
        if undo.made_root && self.game_dir.remove_subdir_if_empty(self.game().as_str())? {
            self.game_dir.sync()?;
        }
        Ok(())
    }
}

/// The index of the sentinel among the plan's files.
fn check_plan(plan: &DownloadPlan) -> Result<usize, JobError> {
    let fail =
        |why: &str| Err(JobError::new(JobErrorKind::Verification, format!("cannot download {}: {why}", plan.game)));
    if let Some(content) = &plan.content
        && content.chunks.len() != plan.manifest.chunk_count() as usize
    {
        return fail("the number of its hashes is not the number of its chunks");
    }
    match plan.manifest.files().iter().enumerate().find(|(_, file)| file.path.as_str() == SENTINEL) {
        None => fail("its list of files has no version.ini"),
        Some((_, file)) if file.size > MAX_SENTINEL_BYTES as u64 => fail("its version.ini is larger than 64 KiB"),
        Some((index, _)) => Ok(index),
    }
}

/// What becomes of the files that downloads brought and the new list lacks. Those that the user added or changed stay.
#[derive(Default)]
struct Replaced {
    /// Must go before the new files come: the same name in another spelling, or a file where a directory is needed or
    /// the other way round.
    in_way: Vec<RelPath>,
    /// Go when the new files are complete.
    stale: Vec<RelPath>,
    /// Empty directories that must go before; that go when the new files are complete.
    dirs_in_way: Vec<RelPath>,
    stale_dirs: Vec<RelPath>,
}

impl Replaced {
    fn new(
        root: &Dir,
        plan: &DownloadPlan,
        previous: Option<&Previous>,
        ownership: &Ownership,
    ) -> Result<Self, JobError> {
        let new = &plan.manifest;
        let mut replaced = Self::default();
        let keep: HashSet<&RelPath> = new.files().iter().map(|file| &file.path).collect();
        let files: HashSet<String> = keep.iter().map(|path| path.collision_key()).collect();
        let all_dirs = all_directories(new);
        let dirs: HashSet<String> = all_dirs.iter().map(RelPath::collision_key).collect();
        let seen = previous.iter().flat_map(|previous| previous.manifest.files()).map(|file| &file.path);
        let old: BTreeSet<&RelPath> = seen.chain(ownership.paths()).filter(|path| !keep.contains(path)).collect();
        for path in old {
            let entry = match root.entry_beneath(path) {
                Ok(Some(entry)) if entry.kind == EntryKind::File => entry,
                Err(e) if e.is_exhaustion() => return Err(e.into()),
                // Gone, or something else by now.
                Ok(_) | Err(_) => continue,
            };
            let key = path.collision_key();
            let beneath_file = ancestors(path).any(|dir| files.contains(&dir.collision_key()));
            let blocks = files.contains(&key) || dirs.contains(&key) || beneath_file;
            match (ownership.is_ours(root, path, &entry)?, blocks) {
                (true, true) => replaced.in_way.push(path.clone()),
                (true, false) => replaced.stale.push(path.clone()),
                (false, true) => {
                    let why = format!("{path} was not brought by a download and is in the way: move it away");
                    return Err(in_the_way(&plan.game, &why));
                }
                (false, false) => {}
            }
        }
        for dir in ownership.empty_dirs(root)?.into_iter().filter(|dir| !all_dirs.contains(dir)) {
            let mut itself_and_above = std::iter::successors(Some(dir.clone()), RelPath::parent);
            let blocks = itself_and_above.any(|dir| {
                let key = dir.collision_key();
                files.contains(&key) || (dirs.contains(&key) && !all_dirs.contains(&dir))
            });
            if blocks { &mut replaced.dirs_in_way } else { &mut replaced.stale_dirs }.push(dir);
        }
        Ok(replaced)
    }
}

/// A file that was here before the download, as it was then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present {
    pub(super) size: u64,
    pub(super) mtime_ns: i128,
    pub(super) exec: bool,
    /// Size and time, or an unfinished download, say that it is lanspread's; else its bytes decide.
    pub(super) ours: bool,
}

/// What is on the disk already.
#[derive(Default)]
struct Survey {
    /// Space that each file of the plan still takes, in bytes.
    files: Vec<u64>,
    /// The file that lies there, unless it must make way.
    present: Vec<Option<Box<Present>>>,
    /// Files of lanspread's that must not be written through, and make way: with several names, of which writing through one
    /// would change what the others show, or in another spelling.
    makes_way: Vec<RelPath>,
    /// The same of the user's, as indexes.
    kept_aside: Vec<usize>,
}

impl Survey {
    fn look(
        &mut self,
        root: &Dir,
        plan: &DownloadPlan,
        replaced: &Replaced,
        ownership: &Ownership,
    ) -> Result<(), JobError> {
        // Where spellings do not matter, what lies there under the new name is the file that makes way under its old one.
        let in_way: HashSet<String> = replaced.in_way.iter().map(RelPath::collision_key).collect();
        let goes = |file: &FileEntry| in_way.contains(&file.path.collision_key());
        let is_emptied = |dir: &RelPath| {
            let mut going = replaced.in_way.iter().chain(&replaced.dirs_in_way);
            going.any(|path| path == dir || ancestors(path).any(|above| above == *dir))
        };
        for dir in plan.manifest.dirs() {
            let goes = || in_way.contains(&dir.collision_key());
            match root.entry_beneath(dir) {
                // As below.
                Err(e) if e.source.kind() == io::ErrorKind::NotADirectory => {}
                Err(e) => return Err(e.into()),
                Ok(Some(entry)) if entry.kind != EntryKind::Dir && !(entry.kind == EntryKind::File && goes()) => {
                    return Err(in_the_way(&plan.game, &format!("{dir} is not a folder there")));
                }
                Ok(_) => {}
            }
        }
        for (index, file) in plan.manifest.files().iter().enumerate() {
            let entry = match root.entry_beneath(&file.path) {
                // A file where a directory is needed: it is in the way, or making the directory will fail.
                Err(e) if e.source.kind() == io::ErrorKind::NotADirectory => None,
                other => other?,
            };
            match entry {
                None => self.add(file.size, None),
                Some(entry) if entry.kind == EntryKind::File => {
                    if entry.links == 1 && !goes(file) {
                        let ours =
                            ownership.is_as_left(&file.path, &entry) || ownership.is_incoming(&file.path, &entry);
                        self.add(file.size, Some((&entry, ours)));
                        continue;
                    }
                    self.add(file.size, None);
                    if file.path.as_str() == SENTINEL || !is_spelled_so(root, &file.path)? {
                        continue;
                    }
                    if ownership.is_ours(root, &file.path, &entry)? {
                        self.makes_way.push(file.path.clone());
                    } else {
                        self.kept_aside.push(index);
                    }
                }
                Some(entry) if entry.kind == EntryKind::Dir && is_emptied(&file.path) => self.add(file.size, None),
                Some(_) => {
                    return Err(in_the_way(&plan.game, &format!("{} is not a regular file there", file.path)));
                }
            }
        }
        Ok(())
    }

    /// `present`: what lies there and may be kept, and whether it is lanspread's.
    fn add(&mut self, size: u64, present: Option<(&Entry, bool)>) {
        let taken = present.map_or(0, |(entry, _)| entry.size);
        self.files.push(rounded(size).saturating_sub(taken));
        // In a box, since a new game has none, and may have 200,000 files.
        self.present.push(present.map(|(entry, ours)| {
            Box::new(Present { size: entry.size, mtime_ns: entry.mtime_ns, exec: entry.exec, ours })
        }));
    }
}

/// Whether its directory has exactly this name: else, where case does not count, it is a file of another name.
fn is_spelled_so(root: &Dir, path: &RelPath) -> Result<bool, FsError> {
    Ok(directory_of(root, path)?.names()?.iter().any(|name| name == path.file_name()))
}

/// The space that a file of so many bytes takes.
fn rounded(size: u64) -> u64 {
    size.div_ceil(BLOCK) * BLOCK
}

/// Removes what stands in the way, and makes the directories.
fn make_way(
    root: &Dir,
    manifest: &Manifest,
    ownership: &Ownership,
    makes_way: &[RelPath],
    (in_way, dirs_in_way): (&[RelPath], &[RelPath]),
    undo: &mut Undo,
) -> Result<(), FsError> {
    for path in makes_way.iter().chain(in_way).filter(|path| path.as_str() != SENTINEL) {
        // The reading took a while: the user may have written to it since, and then making the new file says so.
        if let Some(entry) = root.entry_beneath(path)?
            && ownership.is_ours(root, path, &entry)?
        {
            undo.removed |= root.remove_file_beneath(path)?;
        }
    }
    let mut emptied = directories(in_way.iter().chain(dirs_in_way));
    emptied.extend(dirs_in_way.iter().cloned());
    for dir in emptied.iter().rev() {
        undo.removed |= root.remove_dir_if_empty(dir)?;
    }
    for dir in all_directories(manifest) {
        if root.make_dir(&dir)? {
            undo.made_dirs.push(dir);
        }
    }
    Ok(())
}

/// The directory that holds this path, open.
pub(super) fn directory_of(root: &Dir, path: &RelPath) -> Result<Dir, FsError> {
    path.parent().map_or_else(|| Ok(root.clone()), |dir| root.open_dir(&dir))
}

/// Every directory above these paths, each after the one that holds it.
pub(super) fn directories<'a>(paths: impl IntoIterator<Item = &'a RelPath>) -> BTreeSet<RelPath> {
    let mut all = BTreeSet::new();
    for path in paths {
        for dir in ancestors(path) {
            if !all.insert(dir) {
                break;
            }
        }
    }
    all
}

/// Every directory of a game, each after the one that holds it.
fn all_directories(manifest: &Manifest) -> BTreeSet<RelPath> {
    let mut all = directories(manifest.files().iter().map(|file| &file.path).chain(manifest.dirs()));
    all.extend(manifest.dirs().iter().cloned());
    all
}

fn ancestors(path: &RelPath) -> impl Iterator<Item = RelPath> {
    std::iter::successors(path.parent(), RelPath::parent)
}

pub(super) fn in_the_way(game: &GameId, why: &str) -> JobError {
    JobError::new(JobErrorKind::UnsafePath, format!("cannot write {game}: {why}"))
}
