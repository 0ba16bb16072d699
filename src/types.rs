//! The vocabulary every module shares: identifiers, paths, hashes, games, manifests.
//!
//! Everything here is plain data: no I/O, no clock, no randomness. A value that exists is valid: identifiers and
//! paths can only be made by their parsers.

mod catalog;
mod game;
mod hash;
mod id;
mod interface;
mod job;
mod manifest;
mod mirror;
mod packing;
mod path;

pub use catalog::CatalogSource;
pub use game::{Availability, Epoch, GameSummary, LibraryStamp, MAX_SUPERSEDED, Revision, library_digest, superseded};
pub use hash::{
    CatalogKey, CatalogSignature, ChunkHash, ContentHash, HashParseError, LibraryDigest, ManifestHash, PartyProof,
    PartyProofs,
};
pub use id::{GameId, GameIdError, PeerId, PeerIdError};
pub use interface::InterfaceKind;
pub use job::{
    DownloadId, DownloadPlan, Fingerprint, InstalledBy, Job, JobDone, JobError, JobErrorKind, KeptAside, KeptFiles,
    KnownContent, LeftOut, LibraryIndex, OpenedLibrary, PreparedDownload, ScannedGame, Seen, Times, VerifiedFiles,
};
pub use manifest::{
    Batch, CHUNK_SIZE, Chunk, ChunkIndex, ChunkRange, FileEntry, MAX_BATCH_CHUNKS, Manifest, ManifestError,
    content_hash,
};
pub use mirror::{MIRROR_MANIFEST, MIRROR_MARKER, MirrorAsk, MirrorFault, MirrorNews, MirrorUrl};
pub use packing::Packing;
pub use path::{MAX_DEPTH, MAX_PATH_BYTES, PathError, RelPath, is_reserved_at_root};
