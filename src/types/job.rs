//! Work that the engine asks of the workers, and what comes back. Bulk bytes do not pass here: reading, hashing and
//! writing chunks is between the reactor and the workers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::hash::{HashParseError, parse_hex, write_hex};
use super::{
    ChunkHash, ChunkIndex, ChunkRange, ContentHash, Epoch, GameId, LibraryDigest, LibraryStamp, Manifest, ManifestHash,
    Packing, RelPath, Revision,
};

/// Tells cheaply whether a game may have changed: XXH3-128 over the names, kinds, sizes and mtimes of what lies directly
/// in the game's root, `version.ini`'s content, and the presence of `local/`. Equal fingerprints mean: nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 16]);

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write_hex(&self.0, f)
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write_hex(&self.0, f)
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = HashParseError;
    fn from_str(text: &str) -> Result<Self, HashParseError> {
        parse_hex(text).map(Self)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Who made the `local/` that is there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstalledBy {
    /// Lanspread installed or adopted it, and may replace and remove it.
    Lanspread,
    /// Nothing proves that.
    SomebodyElse,
}

/// What one listing of all files of a game showed of their times. It never makes two games differ: it says when a game was
/// written, not what it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen(pub Option<Times>);

impl PartialEq for Seen {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Seen {}

/// See [`Seen`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// Over the paths, sizes and times of all files and directories: two listings with other stamps saw the game change.
    pub stamp: Fingerprint,
    /// The latest of these times, and that of the game's root, in nanoseconds since 1970.
    pub newest_ns: i128,
}

/// A game as it lies on this disk. What others see of it also depends on the catalog and on running operations.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ScannedGame {
    /// The folder name.
    pub id: GameId,
    /// The version that `version.ini` states; `None` without a sentinel.
    pub eti_version: Option<String>,
    /// Sum of the sizes of the manifest's files, in bytes.
    pub size: u64,
    /// The sentinel is there.
    pub downloaded: bool,
    /// `local/` is there.
    pub installed: bool,
    /// Who made it; `None`: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed_by: Option<InstalledBy>,
    /// The version that was installed there; `None` when it is not known (somebody else made `local/`) or there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed_version: Option<String>,
    /// How it would be installed; `None` where it has no list of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installs_by: Option<Packing>,
    /// Names the list of files.
    pub manifest_hash: ManifestHash,
    /// Names the bytes; `None` until hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<ContentHash>,
    /// See [`Fingerprint`].
    pub fingerprint: Fingerprint,
    /// Why it cannot be offered to others (a name that is not portable, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unportable: Option<String>,
    /// Its files were changing when it was looked at last, so it may be half a game: it is not offered yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub arriving: bool,
    /// Lists of files that were offered of it too early, in the same version, the last one first, at most
    /// [`MAX_SUPERSEDED`](super::MAX_SUPERSEDED).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supersedes: Vec<ManifestHash>,
    /// Filled in by a listing of all its files, and taken out by whoever keeps the game.
    #[serde(skip)]
    pub seen: Seen,
    /// Names the bytes that a download brought; `None`: none did, or the user made another version of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brought: Option<ContentHash>,
    /// Files in its folder that are no part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaves_out: Option<LeftOut>,
}

impl ScannedGame {
    /// Whether a download brought it, and the user changed it since. Not known before it is hashed.
    pub fn is_changed(&self) -> bool {
        matches!((self.brought, self.content_hash), (Some(brought), Some(now)) if brought != now)
    }
}

/// Files that are no part of a game.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LeftOut {
    /// How many.
    pub count: u64,
    /// The first that was found, beneath the game's folder.
    pub first: String,
}

/// What `<game_dir>/.lanspread/index.json` holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LibraryIndex {
    /// History of the library.
    pub epoch: Epoch,
    /// Last durable revision.
    pub rev: Revision,
    /// Digest of the library as it was announced at that revision.
    pub digest: LibraryDigest,
    /// Every game, ascending by id.
    pub games: Vec<Arc<ScannedGame>>,
}

impl LibraryIndex {
    /// Epoch and revision.
    pub fn stamp(&self) -> LibraryStamp {
        LibraryStamp { epoch: self.epoch, rev: self.rev }
    }
}

/// A game directory that was locked, swept and scanned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenedLibrary {
    /// The directory, absolute.
    pub dir: PathBuf,
    /// The index as it was found; `None`: there was none or it was unreadable, so a new epoch begins.
    pub index: Option<LibraryIndex>,
    /// What to tell the user about the index (set aside because …).
    pub notice: Option<String>,
    /// What lies on disk now, ascending by id.
    pub games: Vec<Arc<ScannedGame>>,
    /// The time of day then, in nanoseconds since 1970, for comparison with the times of files.
    pub wall_ns: i128,
}

/// Number of one download; never reused while the daemon runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DownloadId(pub u64);

/// Hashes that were known before the first byte came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownContent {
    /// Names the bytes; equals [`content_hash`](super::content_hash) of manifest and `chunks`.
    pub hash: ContentHash,
    /// One per chunk of the manifest.
    pub chunks: Vec<ChunkHash>,
}

/// What a download will put on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DownloadPlan {
    /// The game.
    pub game: GameId,
    /// Names the list of files.
    pub manifest_hash: ManifestHash,
    /// The files.
    pub manifest: Manifest,
    /// What every chunk must hash to; `None`: the (single) source hashes as it serves.
    pub content: Option<KnownContent>,
}

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
    /// Close the files; take them away unless `keep`.
    AbandonDownload {
        /// Which.
        download: DownloadId,
        /// Leave the files where they are, without a sentinel.
        keep: bool,
    },
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
    /// To [`Job::AbandonDownload`].
    DownloadAbandoned {
        /// Which.
        download: DownloadId,
        /// What lies there now.
        result: Result<Option<Arc<ScannedGame>>, JobError>,
    },
}

/// What [`Job::PrepareDownload`] found on the disk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PreparedDownload {
    /// Chunks that are there already, verified: ascending, neither empty nor touching each other.
    pub kept: Vec<ChunkRange>,
    /// Files of the user's that had to make way, ascending.
    pub kept_aside: Vec<KeptAside>,
}

/// A file that the user had changed, or put there, and that has another name now because the game has one of its name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeptAside {
    /// Its name before.
    pub file: RelPath,
    /// Its name now.
    pub kept_as: RelPath,
}

/// What became of the files in an installation that are the user's, when it was replaced or removed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeptFiles {
    /// So many have their place in the new installation.
    pub carried_over: usize,
    /// Those whose names the new installation has for files of its own, with paths from the game's root.
    pub kept_aside: Vec<KeptAside>,
    /// The directory in the game's root that holds what has no place in an installation.
    pub kept_in: Option<String>,
}

/// Kinds of failed jobs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum JobErrorKind {
    /// Not enough space, or a quota.
    DiskFull,
    /// Another process holds it.
    InUse,
    /// The files are not the ones that were listed.
    Changed,
    /// Bytes do not match their hash.
    Verification,
    /// A path leads outside, or through a link.
    UnsafePath,
    /// On request.
    Cancelled,
    /// An archive is damaged, encrypted, of an unknown kind, or hostile.
    BadArchive,
    /// It is the user's: nothing proves that lanspread made it.
    NotOurs,
    /// Everything else that the operating system refuses.
    Io,
}

/// A failed job, in words that name the operation and the path.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct JobError {
    /// Which kind.
    pub kind: JobErrorKind,
    /// What was tried, on what, and what the system said.
    pub message: String,
}

impl JobError {
    /// Kind and message.
    pub fn new(kind: JobErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}
