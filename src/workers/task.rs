//! What the workers do, and what comes back.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::buffers::PooledBuf;
use super::serve::ServedGame;
use crate::catalog::{Catalog, CatalogError, Keeper};
use crate::types::{Batch, ChunkHash, ChunkIndex, DownloadId, GameId, Job, JobDone, JobError, ManifestHash};

/// Work. `C`: what [`Task::Compute`] returns.
#[derive(Debug)]
pub enum Task<C> {
    /// What the engine asked for.
    Job(Job),
    /// Verify and write chunks that landed.
    Write(WriteBatch),
    /// Make a game ready for sending.
    OpenServed(OpenServed),
    /// Read chunks for sending.
    Read(ReadBatch),
    /// Read or fetch the catalog anew.
    FetchCatalog(Box<Keeper>),
    /// Pure computing that is too long for the reactor: large frames.
    Compute(Compute<C>),
}

/// What came of a [`Task`]: exactly one for each.
#[derive(Debug)]
pub enum TaskDone<C> {
    /// To [`Task::Job`].
    Job(JobDone),
    /// To [`Task::Write`]. The buffer is back in its pool.
    Written(Written),
    /// To [`Task::OpenServed`].
    Opened(Opened),
    /// To [`Task::Read`].
    Read(ReadDone),
    /// To [`Task::FetchCatalog`]: the keeper, for the next time, and what [`Keeper::refresh`] says.
    CatalogFetched(Box<Keeper>, Result<Option<Arc<Catalog>>, CatalogError>),
    /// To [`Task::Compute`].
    Computed(C),
}

/// See [`Task::Write`].
#[derive(Debug)]
pub struct WriteBatch {
    /// The submitter's; comes back.
    pub token: u64,
    /// For this download, which was prepared.
    pub download: DownloadId,
    /// Which chunks.
    pub batch: Batch,
    /// Their bytes one after the other, at the front.
    pub buf: PooledBuf,
    /// The hashes that came with them, one for each chunk; used when the content is not known.
    pub hashes: Option<Vec<ChunkHash>>,
}

/// See [`TaskDone::Written`].
#[derive(Debug)]
pub struct Written {
    /// The submitter's.
    pub token: u64,
    /// For this download.
    pub download: DownloadId,
    /// Which chunks.
    pub batch: Batch,
    /// Those of them whose bytes did not match their hash. They were not written.
    pub bad: Vec<ChunkIndex>,
    /// The disk refused; none of the batch counts as written.
    pub error: Option<JobError>,
}

/// See [`Task::OpenServed`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenServed {
    /// The submitter's; comes back.
    pub token: u64,
    /// Which game.
    pub game: GameId,
    /// Exactly this list of files.
    pub manifest_hash: ManifestHash,
    /// The download that is writing them; `None`: the game is complete.
    pub download: Option<DownloadId>,
}

/// See [`TaskDone::Opened`].
#[derive(Debug)]
pub struct Opened {
    /// The submitter's.
    pub token: u64,
    /// Which game.
    pub game: GameId,
    /// [`JobErrorKind::Changed`](crate::types::JobErrorKind::Changed) when the list of files is another.
    pub result: Result<Arc<ServedGame>, JobError>,
}

/// See [`Task::Read`].
#[derive(Debug)]
pub struct ReadBatch {
    /// The submitter's; comes back.
    pub token: u64,
    /// From this game.
    pub game: Arc<ServedGame>,
    /// Which chunks.
    pub batch: Batch,
    /// Where to.
    pub buf: PooledBuf,
    /// Whether to hash each chunk.
    pub hash: bool,
}

/// See [`TaskDone::Read`].
#[derive(Debug)]
pub struct ReadDone {
    /// The submitter's.
    pub token: u64,
    /// Which chunks.
    pub batch: Batch,
    /// [`JobErrorKind::Changed`](crate::types::JobErrorKind::Changed) when a file is not the one that was listed.
    pub result: Result<ReadChunks, JobError>,
}

/// Chunks ready for sending.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadChunks {
    /// The chunks one after the other, exactly. Their buffer goes back to its pool with the last slice.
    pub bytes: Bytes,
    /// The hash of each, if asked for.
    pub hashes: Option<Vec<ChunkHash>>,
}

/// See [`Task::Compute`].
pub struct Compute<C>(Box<dyn FnOnce() -> C + Send>);

impl<C> Compute<C> {
    /// The closure must not block.
    pub fn new(work: impl FnOnce() -> C + Send + 'static) -> Self {
        Self(Box::new(work))
    }

    pub(super) fn run(self) -> C {
        (self.0)()
    }
}

impl<C> fmt::Debug for Compute<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compute")
    }
}
