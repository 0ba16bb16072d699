//! What a download puts on the disk, what it found there, and what it, or an installation, left of the user's files.

use serde::{Deserialize, Serialize};

use super::path::unreserved;
use super::{ChunkHash, ChunkRange, ContentHash, GameId, Manifest, ManifestHash, RelPath};

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
    /// Its name before; may be in `local/`.
    #[serde(deserialize_with = "unreserved::one")]
    pub file: RelPath,
    /// Its name now.
    #[serde(deserialize_with = "unreserved::one")]
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
