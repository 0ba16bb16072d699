//! The receiving side: a game on its way to the disk.
//!
//! ```text
//! prepare ──► write, write, … ──► commit   (the sentinel is there, and everything under it is durable)
//!    │                       └──► abandon  (what was made is taken away, or all is kept without a sentinel)
//!    └ finds and keeps what is on the disk already (reuse.rs)
//! ```
//!
//! The order makes the promise hold at every instant: the old sentinel goes durably before the first byte is
//! overwritten, and the new one comes when every byte and every name is durable. `version.ini` itself is held in
//! memory until then. A chunk is written only after its bytes matched their hash.
//!
//! A file of the user's in a place where the game has one is renamed to `NAME.mine` before the first byte
//! ([`Ownership`](crate::index::Ownership) says whose a file is), and has its name again after a cancelled download.

mod aside;
mod commit;
mod prepare;
mod reuse;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use self::prepare::Present;
pub use self::reuse::Watch;
use super::handles::Handles;
use crate::fs::{Dir, File, SpaceReservation};
use crate::index::{Ownership, Records, ServedManifest};
use crate::types::{
    Batch, CHUNK_SIZE, Chunk, ChunkHash, ChunkIndex, ContentHash, DownloadPlan, FileEntry, GameId, JobError,
    JobErrorKind, KeptAside, KnownContent, Manifest, RelPath,
};

/// A sentinel of the user's that was set aside.
const SENTINEL_ASIDE: &str = "version.ini.mine";
/// Bytes of a file after which the system is asked to begin writing them, so that the last fsync has little to do.
const WRITEBACK_EVERY: u64 = 8 << 20;

/// A download's files. Shared by the threads that write its batches.
#[derive(Debug)]
pub struct Landing {
    plan: Arc<DownloadPlan>,
    /// What the plan did not know yet.
    learned: OnceLock<Arc<KnownContent>>,
    game_dir: Dir,
    root: Dir,
    /// Index of the sentinel in the manifest.
    sentinel: usize,
    undo: Undo,
    /// Files that the game had before and that the new list lacks; those that are still lanspread's are removed before the
    /// new sentinel comes.
    stale: Vec<RelPath>,
    /// Empty directories that came with the game before and that the new list lacks; removed likewise, if they are empty still.
    stale_dirs: Vec<RelPath>,
    /// The proofs, as they were when it began.
    ownership: Ownership,
    records: Records,
    /// What lay at each file of the plan before the download, and still lies there but for what was written over it.
    /// `None`: the download makes it.
    present: Vec<Option<Box<Present>>>,
    handles: Handles,
    /// Held while a file is opened for the first time, by its index: whether it is still as it was seen is decided once.
    opening: [Mutex<()>; 16],
    /// Room that was promised for it.
    space: SpaceReservation,
    /// Space that each file takes when it gets its length, in bytes.
    to_fill: Vec<u64>,
    progress: Mutex<Progress>,
    /// Held for reading while bytes are written; for writing by commit and abandon, which so never meet a late batch.
    phase: RwLock<Phase>,
}

/// What `prepare` did before the first byte.
#[derive(Clone, Debug, Default)]
struct Undo {
    /// The game's directory was not there.
    made_root: bool,
    /// Directories beneath it that were not there, outermost first.
    made_dirs: Vec<RelPath>,
    /// The name under which the old sentinel was set aside.
    sentinel_aside: Option<String>,
    /// Files of the user's that had to make way.
    kept_aside: Vec<KeptAside>,
    /// The files of the new list are claimed durably.
    claimed: bool,
    /// Old files that stood in the way were removed: the old sentinel must not come back.
    removed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Chunks are welcome.
    Writing,
    /// Committing failed. It is never tried again: a second fsync would report success for bytes that were lost.
    Failed,
    /// The sentinel is there.
    Committed,
    /// Given up.
    Abandoned,
}

/// Which chunks are where.
#[derive(Debug)]
struct Progress {
    /// For each chunk whether it is written (or held, for the sentinel).
    written: Vec<bool>,
    /// What each chunk hashed to, if the plan does not say.
    hashes: Option<Vec<ChunkHash>>,
    missing: u32,
    /// Files that were opened for writing: their length is set.
    begun: Vec<bool>,
    sentinel: Vec<u8>,
}

/// What is known of a chunk that comes with verified bytes.
enum ChunkState {
    Missing,
    /// It is written already.
    Same,
    /// Other bytes are written: its source has changed.
    Different,
}

/// A committed download: what to keep of it in the index.
pub type Landed = ServedManifest;

impl Landing {
    /// Verifies the chunks of `batch`, whose bytes lie one after the other at the front of `bytes`, and writes the good
    /// ones. `hashes` came with them and count only when the plan does not know the content: one for each chunk.
    /// Returns the chunks that did not match. A chunk that was written before is left as it is.
    ///
    /// # Errors
    /// When the disk refuses; [`JobErrorKind::Cancelled`] after the end of the download.
    pub fn write(&self, batch: Batch, bytes: &[u8], hashes: Option<&[ChunkHash]>) -> Result<Vec<ChunkIndex>, JobError> {
        let _writing = self.writing()?;
        let mut bad = Vec::new();
        let mut rest = bytes;
        for (nth, index) in batch.range.iter().enumerate() {
            let chunk = self.manifest().chunk(index).ok_or_else(|| self.not_of_this_plan(batch))?;
            let (bytes, tail) =
                rest.split_at_checked(chunk.len as usize).ok_or_else(|| self.not_of_this_plan(batch))?;
            rest = tail;
            let expected = match self.content() {
                Some(content) => content.chunks.get(index.0 as usize),
                None => hashes.and_then(|hashes| hashes.get(nth)),
            };
            let hash = ChunkHash::of(bytes);
            if expected != Some(&hash) {
                bad.push(index);
                continue;
            }
            match self.progress().state(index, &hash) {
                ChunkState::Missing => {}
                ChunkState::Same => continue,
                ChunkState::Different => {
                    bad.push(index);
                    continue;
                }
            }
            self.store(chunk, bytes)?;
            self.progress().set_written(index, hash);
        }
        Ok(bad)
    }

    /// The content is known now, which the plan did not say: from here on chunks are held against it, and those that were
    /// written before and do not match count as missing. Returns them.
    ///
    /// # Errors
    /// When the plan knew another content, or has another number of chunks; [`JobErrorKind::Cancelled`] after the end of the
    /// download.
    pub fn learn(&self, content: Arc<KnownContent>) -> Result<Vec<ChunkIndex>, JobError> {
        // No batch is half-way between the old measure and the new one.
        let phase = self.ending();
        if *phase != Phase::Writing {
            return Err(self.is_over());
        }
        let mut progress = self.progress();
        let is_of_this_plan = content.chunks.len() == progress.written.len();
        let Some(hashes) = progress.hashes.take_if(|_| is_of_this_plan) else {
            let message = format!("the content of {} is another one", self.game());
            return Err(JobError::new(JobErrorKind::Io, message));
        };
        let mut bad = Vec::new();
        for ((number, hash), expected) in (0u32..).zip(&hashes).zip(&content.chunks) {
            if hash != expected && progress.forget(ChunkIndex(number)) {
                bad.push(ChunkIndex(number));
            }
        }
        // It was empty.
        let _ = self.learned.set(content);
        Ok(bad)
    }

    /// What every chunk must hash to, if that is known.
    fn content(&self) -> Option<&KnownContent> {
        self.plan.content.as_ref().or_else(|| self.learned.get().map(Arc::as_ref))
    }

    /// Names the bytes, if they are known.
    pub fn content_hash(&self) -> Option<ContentHash> {
        self.content().map(|content| content.hash)
    }

    /// Puts verified bytes where they belong.
    fn store(&self, chunk: Chunk, bytes: &[u8]) -> Result<(), JobError> {
        if chunk.file == self.sentinel {
            self.progress().sentinel = bytes.to_vec();
            return Ok(());
        }
        let file = self.file(chunk.file)?;
        file.write_all_at(bytes, chunk.offset)?;
        let end = chunk.offset + u64::from(chunk.len);
        if end.is_multiple_of(WRITEBACK_EVERY) {
            file.start_writeback(end - WRITEBACK_EVERY, WRITEBACK_EVERY);
        }
        Ok(())
    }

    /// Which game.
    pub fn game(&self) -> &GameId {
        &self.plan.game
    }

    /// What it writes.
    pub fn plan(&self) -> &DownloadPlan {
        &self.plan
    }

    fn manifest(&self) -> &Manifest {
        &self.plan.manifest
    }

    /// The files but the sentinel, with their index.
    fn data_files(&self) -> impl Iterator<Item = (usize, &FileEntry)> {
        self.manifest().files().iter().enumerate().filter(|(index, _)| *index != self.sentinel)
    }

    /// An open file of the plan. At its first use it gets its final length.
    ///
    /// # Errors
    /// [`JobErrorKind::Changed`] when somebody else has made or changed it since it was looked at.
    fn file(&self, index: usize) -> Result<Arc<File>, JobError> {
        self.handles.get(index, || {
            let Some(entry) = self.manifest().files().get(index) else {
                return Err(JobError::new(JobErrorKind::Io, format!("{} has no file {index}", self.game())));
            };
            let _first = self.opening.get(index % self.opening.len()).map(|opening| opening.lock());
            if !self.progress().is_begun(index) {
                self.check_as_seen(index, entry)?;
            }
            let file = self.root.create_write(&entry.path, entry.exec)?;
            if self.progress().begin(index) {
                // A small file is written in one piece anyway: only an old, longer one must be cut.
                if entry.size > CHUNK_SIZE {
                    file.reserve(entry.size)?
                } else {
                    file.set_len(entry.size)?
                }
                self.space.filled(self.to_fill.get(index).copied().unwrap_or(0));
            }
            Ok(file)
        })
    }

    /// Before the first byte of a file: nobody has put another one there.
    fn check_as_seen(&self, index: usize, file: &FileEntry) -> Result<(), JobError> {
        let seen = self.present.get(index).and_then(Option::as_ref);
        let is_as_seen = match (self.root.entry_beneath(&file.path)?, seen) {
            (None, _) => true,
            (Some(now), Some(seen)) => now.size == seen.size && now.mtime_ns == seen.mtime_ns,
            (Some(_), None) => false,
        };
        if is_as_seen { Ok(()) } else { Err(self.changed_by_others(file)) }
    }

    fn changed_by_others(&self, file: &FileEntry) -> JobError {
        let message = format!("{} of {} was changed by somebody else meanwhile", file.path, self.game());
        JobError::new(JobErrorKind::Changed, message)
    }

    fn writing(&self) -> Result<RwLockReadGuard<'_, Phase>, JobError> {
        let phase = self.phase.read().unwrap_or_else(PoisonError::into_inner);
        match *phase {
            Phase::Writing => Ok(phase),
            _ => Err(self.is_over()),
        }
    }

    fn is_over(&self) -> JobError {
        JobError::new(JobErrorKind::Cancelled, format!("the download of {} is over", self.game()))
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn not_of_this_plan(&self, batch: Batch) -> JobError {
        JobError::new(JobErrorKind::Io, format!("the plan of {} has no batch {batch:?}", self.game()))
    }
}

impl Progress {
    fn new(plan: &DownloadPlan) -> Self {
        let chunks = plan.manifest.chunk_count();
        Self {
            written: vec![false; chunks as usize],
            hashes: plan.content.is_none().then(|| vec![ChunkHash([0; 32]); chunks as usize]),
            missing: chunks,
            begun: vec![false; plan.manifest.files().len()],
            sentinel: Vec::new(),
        }
    }

    fn state(&self, index: ChunkIndex, hash: &ChunkHash) -> ChunkState {
        let at = index.0 as usize;
        if self.written.get(at) != Some(&true) {
            return ChunkState::Missing;
        }
        match &self.hashes {
            Some(hashes) if hashes.get(at) != Some(hash) => ChunkState::Different,
            _ => ChunkState::Same,
        }
    }

    fn set_written(&mut self, index: ChunkIndex, hash: ChunkHash) {
        let at = index.0 as usize;
        if let Some(written @ false) = self.written.get_mut(at) {
            *written = true;
            self.missing -= 1;
            if let Some(slot) = self.hashes.as_mut().and_then(|hashes| hashes.get_mut(at)) {
                *slot = hash;
            }
        }
    }

    /// A chunk is missing after all. Whether it was there.
    fn forget(&mut self, index: ChunkIndex) -> bool {
        let was_there = self.written.get_mut(index.0 as usize).is_some_and(std::mem::take);
        self.missing += u32::from(was_there);
        was_there
    }

    /// Whether the file was opened for writing.
    fn is_begun(&self, file: usize) -> bool {
        self.begun.get(file) == Some(&true)
    }

    /// Whether the file is used for the first time.
    fn begin(&mut self, file: usize) -> bool {
        self.begun.get_mut(file).is_some_and(|begun| !std::mem::replace(begun, true))
    }
}
