//! The vocabulary every module shares: identifiers, paths, hashes, games, manifests.
//!
//! Everything here is plain data: no I/O, no clock, no randomness. A value that exists is valid: identifiers and
//! paths can only be made by their parsers.

mod catalog;
mod download;
mod error;
mod finding;
mod game;
mod hash;
mod id;
mod interface;
mod job;
mod library;
mod manifest;
mod mirror;
mod packing;
mod path;
mod program;
mod source;
mod text;

pub use catalog::CatalogSource;
pub use download::{DownloadId, DownloadPlan, KeptAside, KeptFiles, KnownContent, PreparedDownload};
pub(crate) use error::directory_is_gone;
pub use error::{JobError, JobErrorKind};
pub use finding::{Finding, FindingCode};
pub use game::{
    Availability, DISCARDED_SENTINEL, Epoch, GameSummary, LibraryStamp, MAX_GAMES, MAX_NAME_BYTES, MAX_REASON_BYTES,
    MAX_SENTINEL_BYTES, MAX_SUPERSEDED, MAX_VERSION_BYTES, NEW_SENTINEL, Revision, SENTINEL, library_digest,
    superseded,
};
pub use hash::{
    CatalogKey, CatalogSignature, ChunkHash, ContentHash, HashParseError, LibraryDigest, ManifestHash, PartyProof,
    PartyProofs,
};
pub use id::{GameId, GameIdError, MAX_HOSTNAME_BYTES, PeerId, PeerIdError};
pub use interface::InterfaceKind;
pub use job::{Job, JobDone, JobLane, VerifiedFiles};
pub use library::{Fingerprint, InstalledBy, LeftOut, LibraryIndex, OpenedLibrary, ScannedGame, Seen, Times};
pub use manifest::{
    Batch, CHUNK_SIZE, Chunk, ChunkIndex, ChunkRange, FileEntry, MAX_BATCH_CHUNKS, MAX_ENTRIES, MAX_LIST_BYTES,
    Manifest, ManifestError, content_hash,
};
pub use mirror::{MIRROR_MANIFEST, MIRROR_MARKER, MirrorAsk, MirrorFault, MirrorNews, MirrorUrl};
pub use packing::Packing;
pub use path::{MAX_DEPTH, MAX_PATH_BYTES, PathError, RelPath, is_of_a_desktop, is_reserved_at_root};
pub use program::{
    Launch, LaunchError, OpenedFolder, Personal, ProgramAnswer, ProgramAsk, ProgramList, RawLaunch, StartedProgram,
};
pub use source::{MirrorId, SourceId};
pub use text::{is_utf16, shortened, without_mark};
