//! Work that the engine asks of the workers, and what comes back. Bulk bytes do not pass here: reading, hashing and
//! writing chunks is between the reactor and the workers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::{
    ChunkIndex, ContentHash, DownloadId, DownloadPlan, Epoch, Finding, GameId, JobError, KeptFiles, KnownContent,
    Launch, LibraryIndex, LibraryStamp, ManifestHash, OpenedLibrary, Personal, PreparedDownload, ProgramAnswer,
    ProgramAsk, RelPath, ScannedGame,
};

/// Work for the workers that the engine waits for.
#[derive(Clone, PartialEq, Debug)]
pub enum Job {
    /// Resolve `host:port`.
    Resolve {
        /// Comes back.
        token: u64,
        /// `host:port`.
        host: String,
    },
    /// Lock a game directory, sweep leftovers of interrupted downloads, read its index, look at every game.
    OpenLibrary {
        /// The directory.
        dir: PathBuf,
    },
    /// Close the game directory that is in use: locks and handles go.
    CloseLibrary,
    /// Whether the game directory that is in use is still the one at its path; where none is in use, whether one that may be used
    /// lies at `dir`.
    LookForLibrary {
        /// Where it is, or was.
        dir: PathBuf,
        /// The history of the library that was there: a directory without games is taken only if it has it.
        epoch: Epoch,
    },
    /// Look at one game; its files are listed again only when the fingerprint differs from `known`.
    ScanGame {
        /// Which.
        game: GameId,
        /// As it was seen last. `None` forces a full listing.
        known: Option<Arc<ScannedGame>>,
    },
    /// Look at every game.
    ScanAll {
        /// As they were seen last, ascending by id.
        known: Vec<Arc<ScannedGame>>,
    },
    /// Save the index durably.
    SaveIndex {
        /// The new index.
        index: LibraryIndex,
    },
    /// Hash every chunk of a game at low priority and keep the hashes.
    HashGame {
        /// Which.
        game: GameId,
        /// Only this list of files.
        manifest_hash: ManifestHash,
        /// Also where its hashes are known: somebody got other bytes.
        anew: bool,
    },
    /// Check the free space, set the old sentinel aside durably, find and keep what is on the disk already, make
    /// directories.
    PrepareDownload {
        /// Which.
        download: DownloadId,
        /// What it will write.
        plan: Arc<DownloadPlan>,
    },
    /// The content of a running download that its source had not hashed is known now: hold what was written, and what will
    /// be, against it.
    LearnContent {
        /// Which.
        download: DownloadId,
        /// One hash for each chunk of its plan.
        content: Arc<KnownContent>,
    },
    /// Make everything durable, then the sentinel.
    CommitDownload {
        /// Which.
        download: DownloadId,
    },
    /// Unpack the archives of a downloaded game, or copy its files, into `local/`; replaces an older `local/` when the new
    /// one is complete.
    Install {
        /// Which.
        game: GameId,
        /// What is put into the files that games keep it in.
        personal: Personal,
    },
    /// Remove `local/`.
    Uninstall {
        /// Which.
        game: GameId,
    },
    /// Make a `local/` lanspread's that somebody else made.
    Adopt {
        /// Which.
        game: GameId,
    },
    /// Remove the downloaded files, sentinel first. The game must not be installed.
    RemoveFiles {
        /// Which.
        game: GameId,
    },
    /// Hash every chunk again and hold it against what is known.
    VerifyFiles {
        /// Which.
        game: GameId,
        /// Only this list of files.
        manifest_hash: ManifestHash,
    },
    /// List, choose or start the programs of an installed game.
    Programs {
        /// Comes back.
        token: u64,
        /// Which.
        game: GameId,
        /// Where it is remembered what the user chose.
        state_dir: PathBuf,
        /// What the catalog says of it.
        launch: Option<Launch>,
        /// What to do.
        ask: ProgramAsk,
    },
    /// Look for what is wrong with the disk and the system.
    Diagnose {
        /// Comes back.
        token: u64,
        /// What is known already.
        findings: Vec<Finding>,
    },
    /// Close the files; take them away unless `keep`.
    AbandonDownload {
        /// Which.
        download: DownloadId,
        /// Leave the files where they are, without a sentinel.
        keep: bool,
    },
}

/// Which threads do a job. Lanes do not wait for each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobLane {
    /// Looking at the disk, and ending downloads.
    Jobs,
    /// Reading what a download finds on the disk.
    Prepare,
    /// Operations on one game, which take long.
    Local,
    /// Hashing when nothing else is to be done.
    Background,
    /// The system's resolver, which may take as long as it likes.
    Names,
}

impl Job {
    /// Where it is done.
    pub fn lane(&self) -> JobLane {
        match self {
            Self::Resolve { .. } => JobLane::Names,
            Self::HashGame { .. } => JobLane::Background,
            Self::Install { .. }
            | Self::Uninstall { .. }
            | Self::Adopt { .. }
            | Self::RemoveFiles { .. }
            | Self::VerifyFiles { .. } => JobLane::Local,
            Self::PrepareDownload { .. } => JobLane::Prepare,
            Self::OpenLibrary { .. }
            | Self::CloseLibrary
            | Self::LookForLibrary { .. }
            | Self::ScanGame { .. }
            | Self::ScanAll { .. }
            | Self::SaveIndex { .. }
            | Self::Programs { .. }
            | Self::Diagnose { .. }
            | Self::LearnContent { .. }
            | Self::CommitDownload { .. }
            | Self::AbandonDownload { .. } => JobLane::Jobs,
        }
    }
}

impl JobDone {
    /// The error of the game directory that it ended in, if it did.
    pub fn error_mut(&mut self) -> Option<&mut JobError> {
        match self {
            // A name, or another directory.
            Self::Resolved { .. } | Self::LibraryOpened(_) | Self::LibraryClosed | Self::Diagnosed { .. } => None,
            Self::Programs { result, .. } => result.as_mut().err(),
            Self::LibraryLookedFor(result) | Self::IndexSaved { result, .. } => result.as_mut().err(),
            Self::GameScanned { result, .. } | Self::FilesChanged { result, .. } => result.as_mut().err(),
            Self::AllScanned(result) => result.as_mut().err(),
            Self::GameHashed { result, .. } => result.as_mut().err(),
            Self::ContentLearned { result, .. } => result.as_mut().err(),
            Self::DownloadPrepared { result, .. } => result.as_mut().err(),
            Self::DownloadCommitted { result, .. } => result.as_mut().err(),
            Self::FilesVerified { result, .. } => result.as_mut().err(),
            Self::DownloadAbandoned { result, .. } => result.as_mut().err(),
        }
    }

    /// Where it was done: that of its job.
    pub fn lane(&self) -> JobLane {
        match self {
            Self::Resolved { .. } => JobLane::Names,
            Self::GameHashed { .. } => JobLane::Background,
            Self::FilesChanged { .. } | Self::FilesVerified { .. } => JobLane::Local,
            Self::DownloadPrepared { .. } => JobLane::Prepare,
            Self::LibraryOpened(_)
            | Self::LibraryClosed
            | Self::LibraryLookedFor(_)
            | Self::GameScanned { .. }
            | Self::AllScanned(_)
            | Self::IndexSaved { .. }
            | Self::Programs { .. }
            | Self::Diagnosed { .. }
            | Self::ContentLearned { .. }
            | Self::DownloadCommitted { .. }
            | Self::DownloadAbandoned { .. } => JobLane::Jobs,
        }
    }
}

/// What [`Job::VerifyFiles`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedFiles {
    /// The chunks that do not match, or are missing, ascending.
    pub bad: Vec<ChunkIndex>,
    /// The empty directories that are not there, ascending.
    pub missing_dirs: Vec<RelPath>,
    /// How many chunks there are in all.
    pub chunks: u32,
    /// Names the bytes that they were compared with.
    pub content_hash: ContentHash,
}

/// A finished [`Job`].
#[derive(Clone, PartialEq, Debug)]
pub enum JobDone {
    /// To [`Job::Resolve`].
    Resolved {
        /// The job's.
        token: u64,
        /// Addresses in the resolver's order.
        result: Result<Vec<SocketAddr>, JobError>,
    },
    /// To [`Job::OpenLibrary`].
    LibraryOpened(Result<OpenedLibrary, JobError>),
    /// To [`Job::CloseLibrary`].
    LibraryClosed,
    /// To [`Job::LookForLibrary`]; why it is not there, in words.
    LibraryLookedFor(Result<(), JobError>),
    /// To [`Job::ScanGame`]; `None`: the game is gone.
    GameScanned {
        /// Which.
        game: GameId,
        /// What lies there now.
        result: Result<Option<Arc<ScannedGame>>, JobError>,
    },
    /// To [`Job::ScanAll`], ascending by id.
    AllScanned(Result<Vec<Arc<ScannedGame>>, JobError>),
    /// To [`Job::SaveIndex`].
    IndexSaved {
        /// Which state is durable now, or failed to become so.
        stamp: LibraryStamp,
        /// Whether it is.
        result: Result<(), JobError>,
    },
    /// To [`Job::HashGame`].
    GameHashed {
        /// Which.
        game: GameId,
        /// The list of files that was hashed.
        manifest_hash: ManifestHash,
        /// Names the bytes. [`JobErrorKind::Changed`]: scan again. [`JobErrorKind::Cancelled`]: on request.
        result: Result<ContentHash, JobError>,
    },
    /// To [`Job::LearnContent`].
    ContentLearned {
        /// Which.
        download: DownloadId,
        /// The chunks that were written and are other bytes, ascending: they count as missing now.
        result: Result<Vec<ChunkIndex>, JobError>,
    },
    /// To [`Job::PrepareDownload`].
    DownloadPrepared {
        /// Which.
        download: DownloadId,
        /// Ready for chunks.
        result: Result<PreparedDownload, JobError>,
    },
    /// To [`Job::CommitDownload`]: durable under its sentinel.
    DownloadCommitted {
        /// Which.
        download: DownloadId,
        /// The game as it lies there now, with its content hash.
        result: Result<Arc<ScannedGame>, JobError>,
    },
    /// To [`Job::Install`], [`Job::Uninstall`], [`Job::Adopt`] and [`Job::RemoveFiles`].
    FilesChanged {
        /// Which game.
        game: GameId,
        /// What lies there now (`None`: nothing); an error left the old state.
        result: Result<Option<Arc<ScannedGame>>, JobError>,
        /// What became of the user's files in an installation that was replaced or removed.
        kept: KeptFiles,
    },
    /// To [`Job::VerifyFiles`].
    FilesVerified {
        /// Which game.
        game: GameId,
        /// What was found.
        result: Result<VerifiedFiles, JobError>,
    },
    /// To [`Job::Programs`].
    Programs {
        /// The job's.
        token: u64,
        /// What came of it.
        result: Result<ProgramAnswer, JobError>,
    },
    /// To [`Job::Diagnose`].
    Diagnosed {
        /// The job's.
        token: u64,
        /// All that is known.
        findings: Vec<Finding>,
    },
    /// To [`Job::AbandonDownload`].
    DownloadAbandoned {
        /// Which.
        download: DownloadId,
        /// What lies there now.
        result: Result<Option<Arc<ScannedGame>>, JobError>,
    },
}
