//! Every message of the protocol. Unknown fields are ignored, so that newer peers can add some.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::WireErrorCode;
use crate::types::{
    ChunkRange, ContentHash, Epoch, FileEntry, GameId, GameSummary, LibraryDigest, LibraryStamp, ManifestHash,
    PartyProof, PeerId, RelPath, Revision,
};

/// What a peer can do beyond the basics.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// Serves verified chunks of a game that it is still downloading.
    Swarm,
    /// A feature of a newer version.
    #[serde(other)]
    Other,
}

/// First message of both sides: who, where, and the state of the library.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The sender; must be the one its certificate proves.
    pub peer_id: PeerId,
    /// [`PROTO_VER`](super::PROTO_VER).
    pub proto_ver: u32,
    /// Where the sender listens. Only its port is trusted.
    pub listen_addr: SocketAddr,
    /// Name for people; at most 64 bytes are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// History and revision of the sender's library.
    pub library_epoch: Epoch,
    /// See `library_epoch`.
    pub library_rev: Revision,
    /// Digest of that revision.
    pub library_digest: LibraryDigest,
    /// Number of games in it.
    pub game_count: u32,
    /// What the sender can do.
    #[serde(default)]
    pub features: Vec<Feature>,
}

/// One state of a library, in short.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct LibraryState {
    /// History.
    pub epoch: Epoch,
    /// Revision.
    pub rev: Revision,
    /// Digest of the games at that revision.
    pub digest: LibraryDigest,
    /// Number of games.
    pub game_count: u32,
}

impl LibraryState {
    /// Epoch and revision.
    pub fn stamp(&self) -> LibraryStamp {
        LibraryStamp { epoch: self.epoch, rev: self.rev }
    }
}

/// A whole library.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// History.
    pub epoch: Epoch,
    /// Revision.
    pub rev: Revision,
    /// Every game, ascending by id.
    pub games: Vec<Arc<GameSummary>>,
}

/// What changed between two revisions of one epoch.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Delta {
    /// History.
    pub epoch: Epoch,
    /// Applies to this revision only.
    pub from_rev: Revision,
    /// Leads to this one.
    pub to_rev: Revision,
    /// Digest of the library afterwards.
    pub to_digest: LibraryDigest,
    /// Games that were not there.
    #[serde(default)]
    pub added: Vec<Arc<GameSummary>>,
    /// Games that were, with new values.
    #[serde(default)]
    pub updated: Vec<Arc<GameSummary>>,
    /// Games that are gone.
    #[serde(default)]
    pub removed: Vec<GameId>,
}

/// The files of a game, please.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GetManifest {
    /// The game.
    pub game_id: GameId,
    /// Exactly this list of files.
    pub manifest_hash: ManifestHash,
    /// Whether the requester knows [`ManifestAnswer::dirs`]: else it is refused a game that has some.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dirs: bool,
}

/// A run of consecutive chunks, please.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GetChunks {
    /// The game.
    pub game_id: GameId,
    /// Its list of files.
    pub manifest_hash: ManifestHash,
    /// Its bytes, when the requester knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<ContentHash>,
    /// First chunk.
    pub first: u32,
    /// Number of chunks, at least 1.
    pub count: u32,
}

/// Header of the raw bytes of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ChunkRun {
    /// As asked.
    pub first: u32,
    /// As asked.
    pub count: u32,
    /// Sum of the lengths of these chunks in bytes, without hashes.
    pub bytes: u64,
    /// Whether each chunk is followed by its 32-byte BLAKE3: so when the request named no `content_hash`.
    pub hashed: bool,
}

/// The files of a game; when `content_hash` is there, `chunk_count` × 32 raw bytes (BLAKE3 of each chunk) follow.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ManifestAnswer {
    /// The game.
    pub game_id: GameId,
    /// As asked.
    pub manifest_hash: ManifestHash,
    /// The files in canonical order.
    pub files: Vec<FileEntry>,
    /// The directories that hold nothing, in canonical order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dirs: Vec<RelPath>,
    /// Chunk size in bytes: 1,048,576.
    pub chunk_size: u64,
    /// Number of chunks.
    pub chunk_count: u32,
    /// Names the bytes; `None` while the owner has not hashed them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<ContentHash>,
}

/// A request was refused.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WireError {
    /// Which kind.
    pub code: WireErrorCode,
    /// For people.
    pub message: String,
}

/// Asks for an [`Answer`]; one bidirectional stream each.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Request {
    /// Where a party key is set: comes before Hello. Answered by [`Answer::Proved`].
    Prove {
        /// That the sender, who dialled, holds the key.
        proof: PartyProof,
    },
    /// Answered by [`Answer::HelloAck`].
    Hello(Hello),
    /// Answered by [`Answer::Pong`].
    Ping {
        /// Any number; comes back.
        nonce: u64,
    },
    /// Answered by [`Answer::LibrarySnapshot`].
    GetLibrary {
        /// The requester.
        peer_id: PeerId,
    },
    /// Answered by [`Answer::LibraryDelta`] or [`Answer::LibrarySnapshot`].
    GetLibraryDelta {
        /// History that the requester knows.
        epoch: Epoch,
        /// Revision that it knows.
        from_rev: Revision,
    },
    /// Answered by [`Answer::Manifest`] and raw hashes.
    GetManifest(GetManifest),
    /// Answered by [`Answer::ChunkRun`] and raw bytes.
    GetChunks(GetChunks),
}

/// Answers a [`Request`] on the same stream.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Answer {
    /// To Prove.
    Proved {
        /// That the listener holds the key too.
        proof: PartyProof,
    },
    /// To Hello: accepted.
    HelloAck(Hello),
    /// To Ping.
    Pong {
        /// The ping's.
        nonce: u64,
    },
    /// A whole library.
    LibrarySnapshot {
        /// The owner.
        peer_id: PeerId,
        /// The library.
        snapshot: Snapshot,
    },
    /// The changes since the revision asked for.
    LibraryDelta {
        /// The owner.
        peer_id: PeerId,
        /// The changes.
        delta: Delta,
    },
    /// The files of a game.
    Manifest(ManifestAnswer),
    /// Chunks follow.
    ChunkRun(ChunkRun),
    /// Refused.
    Error(WireError),
}

/// Needs no answer; one unidirectional stream each.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Notification {
    /// The sender stops. A hint.
    Goodbye {
        /// The sender.
        peer_id: PeerId,
    },
    /// The sender's library is now this.
    LibrarySummary {
        /// The sender.
        peer_id: PeerId,
        /// State of its library.
        summary: LibraryState,
    },
    /// The sender's library changed so.
    LibraryDelta {
        /// The sender.
        peer_id: PeerId,
        /// The changes.
        delta: Delta,
    },
    /// What a peer that is still downloading can already serve (feature `swarm`).
    HaveChunks(HaveChunks),
    /// Chunks of the receiver did not match the hashes that it has told itself: its files may have been changed unseen.
    BadChunks {
        /// The game.
        game_id: GameId,
        /// What it said its bytes are.
        content_hash: ContentHash,
    },
}

/// Chunks of a peer that is still downloading. Adds to what it said before over the same connection.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HaveChunks {
    /// The game.
    pub game_id: GameId,
    /// Its bytes.
    pub content_hash: ContentHash,
    /// Verified chunks that were not named before.
    pub ranges: Vec<ChunkRange>,
    /// Chunks that it has asked for where they are scarce: what was said of these before is void.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coming: Vec<ChunkRange>,
    /// The sender does not know what the receiver has: to be answered with all of it, if it is downloading the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub introduce: bool,
}
