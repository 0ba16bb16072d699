//! Before the first byte: is there room, the old sentinel is durably gone, what is here already is kept, the way is free.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use super::reuse::{Watch, keep_in_place};
use super::{DISCARDED, Handles, Landing, MAX_SENTINEL, Phase, Progress, SENTINEL, Undo};
use crate::fs::{Dir, Entry, EntryKind, FsError, SpaceLedger};
use crate::index::Previous;
use crate::install::forget_removal;
use crate::types::{DownloadPlan, FileEntry, GameId, JobError, JobErrorKind, Manifest, RelPath};

/// File systems give space in blocks: what a file takes is rounded up to this many bytes.
const BLOCK: u64 = 4096;

impl Landing {
    /// Makes ready to write `plan` beneath `game_dir`, and keeps what of it is there already: see [`Landing::kept`].
    /// `previous`: the game as it was hashed last, when that is known. `space`: where the room for it is promised.
    ///
    /// # Errors
    /// Nothing of the game has changed when it fails, but for directories, old files that had to make way, and old files
    /// into which chunks were copied from elsewhere in the old game.
    /// [`JobErrorKind::Cancelled`] within a chunk; [`JobErrorKind::DiskFull`] names what is needed and what is free; [`JobErrorKind::UnsafePath`]: a link or a
    /// special file lies where a file or directory belongs; [`JobErrorKind::Verification`]: not a plan.
    pub fn prepare(
        game_dir: &Dir,
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
        let replaced = Replaced::new(&plan, previous)?;
        let mut needed = Survey::default();
        if made_root {
            plan.manifest.files().iter().for_each(|file| needed.add(file.size, None));
        } else {
            needed.look(&game_dir.subdir(name)?, &plan, &replaced)?;
        }
        let bytes = needed.files.iter().sum();
        let space = space.reserve(game_dir, bytes, &format!("for {}", plan.game))?;

        let root = game_dir.make_subdir(name)?;
        let mut undo = Undo { made_root, ..Undo::default() };
        let mut progress = Progress::new(&plan);
        // In this order: while it reads, which may take minutes, all can still be undone.
        let begun = set_aside(&root, &mut undo)
            .map_err(JobError::from)
            .and_then(|()| keep_in_place(&root, &plan, sentinel, &needed.present, &mut progress, watch))
            .and_then(|()| Ok(make_way(&root, &plan.manifest, &needed.shared, &replaced.in_way, &mut undo)?));
        if let Err(error) = begun {
            // The error that stopped it matters more than one met while tidying up.
            let _ = undo.roll_back(game_dir, &root, &plan.game);
            return Err(error);
        }
        let landing = Self {
            learned: OnceLock::new(),
            game_dir: game_dir.clone(),
            root,
            sentinel,
            undo,
            stale: replaced.stale,
            present: needed.present,
            handles: Handles::default(),
            space,
            to_fill: needed.files,
            progress: Mutex::new(progress),
            phase: RwLock::new(Phase::Writing),
            plan,
        };
        if let Err(error) = landing.copy_moved(previous, watch) {
            let _ = landing.abandon(false);
            return Err(error);
        }
        Ok(landing)
    }
}

impl Undo {
    /// Back to where `prepare` began. The old sentinel comes back only if nothing that it speaks for was touched.
    pub(super) fn roll_back(&self, game_dir: &Dir, root: &Dir, game: &GameId) -> Result<(), FsError> {
        for dir in self.made_dirs.iter().rev() {
            root.remove_dir_if_empty(dir)?;
        }
        if self.sentinel_aside {
            if self.removed {
                root.remove_file(DISCARDED)?;
            } else {
                root.rename(DISCARDED, SENTINEL)?;
            }
        }
        root.sync()?;
        if self.made_root && game_dir.remove_subdir_if_empty(game.as_str())? {
            game_dir.sync()?;
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
        Some((_, file)) if file.size > MAX_SENTINEL => fail("its version.ini is larger than 64 KiB"),
        Some((index, _)) => Ok(index),
    }
}

/// What becomes of the files that a download brought and the new list lacks. Those that the user added or changed stay.
struct Replaced {
    /// Must go before the new files come: the same name in another spelling, or a file where a directory is needed or
    /// the other way round.
    in_way: Vec<RelPath>,
    /// Go when the new files are complete.
    stale: Vec<RelPath>,
}

impl Replaced {
    fn new(plan: &DownloadPlan, previous: Option<&Previous>) -> Result<Self, JobError> {
        let new = &plan.manifest;
        let (mut in_way, mut stale) = (Vec::new(), Vec::new());
        if let Some(previous) = previous {
            let keep: HashSet<&RelPath> = new.files().iter().map(|file| &file.path).collect();
            let files: HashSet<String> = keep.iter().map(|path| path.collision_key()).collect();
            let dirs: HashSet<String> =
                directories(new.files().iter().map(|file| &file.path)).iter().map(RelPath::collision_key).collect();
            for file in previous.manifest.files().iter().filter(|file| !keep.contains(&file.path)) {
                let key = file.path.collision_key();
                let beneath_file = ancestors(&file.path).any(|dir| files.contains(&dir.collision_key()));
                let blocks = files.contains(&key) || dirs.contains(&key) || beneath_file;
                match (previous.brought.contains(&file.path), blocks) {
                    (true, true) => in_way.push(file.path.clone()),
                    (true, false) => stale.push(file.path.clone()),
                    (false, true) => {
                        let why =
                            format!("{} was not brought by a download and is in the way: move it away", file.path);
                        return Err(in_the_way(&plan.game, &why));
                    }
                    (false, false) => {}
                }
            }
        }
        Ok(Self { in_way, stale })
    }
}

/// A file that was here before the download, as it was then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present {
    pub(super) size: u64,
    pub(super) mtime_ns: i128,
    pub(super) exec: bool,
}

/// What is on the disk already.
#[derive(Default)]
struct Survey {
    /// Space that each file of the plan still takes, in bytes.
    files: Vec<u64>,
    /// The file that lies there, unless it must make way.
    present: Vec<Option<Present>>,
    /// Files that must not be written through, and make way: with several names, of which writing through one would change
    /// what the others show, or in another spelling.
    shared: Vec<RelPath>,
}

impl Survey {
    fn look(&mut self, root: &Dir, plan: &DownloadPlan, replaced: &Replaced) -> Result<(), JobError> {
        // Where spellings do not matter, what lies there under the new name is the file that makes way under its old one.
        let in_way: HashSet<String> = replaced.in_way.iter().map(RelPath::collision_key).collect();
        let goes = |file: &FileEntry| in_way.contains(&file.path.collision_key());
        let makes_way = |dir: &RelPath| replaced.in_way.iter().any(|path| ancestors(path).any(|above| above == *dir));
        for file in plan.manifest.files() {
            let entry = match root.entry_beneath(&file.path) {
                // A file where a directory is needed: it is in the way, or making the directory will fail.
                Err(e) if e.source.kind() == io::ErrorKind::NotADirectory => None,
                other => other?,
            };
            match entry {
                None => self.add(file.size, None),
                Some(entry) if entry.kind == EntryKind::File && entry.links == 1 && !goes(file) => {
                    self.add(file.size, Some(&entry));
                }
                Some(entry) if entry.kind == EntryKind::File => {
                    self.add(file.size, None);
                    self.shared.push(file.path.clone());
                }
                Some(entry) if entry.kind == EntryKind::Dir && makes_way(&file.path) => self.add(file.size, None),
                Some(_) => {
                    return Err(in_the_way(&plan.game, &format!("{} is not a regular file there", file.path)));
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, size: u64, present: Option<&Entry>) {
        let taken = present.map_or(0, |entry| entry.size);
        self.files.push((size.div_ceil(BLOCK) * BLOCK).saturating_sub(taken));
        let present = present.map(|entry| Present { size: entry.size, mtime_ns: entry.mtime_ns, exec: entry.exec });
        self.present.push(present);
    }
}

/// From here on the game does not count as complete.
fn set_aside(root: &Dir, undo: &mut Undo) -> Result<(), FsError> {
    if root.exists(SENTINEL)? {
        root.rename(SENTINEL, DISCARDED)?;
        undo.sentinel_aside = true;
    }
    forget_removal(root)?;
    // Also when there was none: that it is gone must be durable, whoever removed it.
    root.sync()
}

/// The changes, in an order that can be undone as long as no old file was removed.
fn make_way(
    root: &Dir,
    manifest: &Manifest,
    shared: &[RelPath],
    in_way: &[RelPath],
    undo: &mut Undo,
) -> Result<(), FsError> {
    for path in shared.iter().chain(in_way).filter(|path| path.as_str() != SENTINEL) {
        undo.removed |= root.remove_file_beneath(path)?;
    }
    for dir in directories(in_way).iter().rev() {
        root.remove_dir_if_empty(dir)?;
    }
    for dir in directories(manifest.files().iter().map(|file| &file.path)) {
        if root.make_dir(&dir)? {
            undo.made_dirs.push(dir);
        }
    }
    Ok(())
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

fn ancestors(path: &RelPath) -> impl Iterator<Item = RelPath> {
    std::iter::successors(path.parent(), RelPath::parent)
}

fn in_the_way(game: &GameId, why: &str) -> JobError {
    JobError::new(JobErrorKind::UnsafePath, format!("cannot write {game}: {why}"))
}
