//! The daemon, its peers and its games as records.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{LimitState, is_zero, known};
use crate::types::{
    ChunkIndex, ContentHash, Epoch, GameId, InstalledBy, InterfaceKind, LeftOut, LibraryDigest, MirrorUrl, Packing,
    PeerId, Revision,
};

/// The daemon in one record.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: Cow<'static, str>,
    /// This peer.
    pub peer_id: PeerId,
    /// Where it listens.
    pub listen_addrs: Vec<SocketAddr>,
    /// Its directory of games.
    pub game_dir: PathBuf,
    /// Why that directory is not there, while it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub game_dir_gone: Option<String>,
    /// History of its library.
    pub library_epoch: Epoch,
    /// Durable revision of its library.
    pub library_rev: Revision,
    /// Digest of that revision.
    pub library_digest: LibraryDigest,
    /// Games in it.
    pub games: usize,
    /// Connected peers.
    pub peers_connected: usize,
    /// Peers with another protocol version that were seen.
    pub peers_incompatible: Vec<IncompatiblePeer>,
    /// Peers that the user blocked.
    pub peers_blocked: Vec<PeerId>,
    /// Sources that downloads gave up for good, the last 64, oldest first; also of downloads that have ended.
    pub sources_banned: Vec<BannedSource>,
    /// Connected peers whose libraries are left out, because those of all peers together take too much memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub libraries_too_large: Vec<LibraryTooLarge>,
    /// Running and queued operations.
    pub operations: Vec<OperationRow>,
    /// How the game directory is watched: `watching`, or `polling` when the system has no watches left.
    pub watch: WatchState,
    /// Bytes of game data received since the start.
    pub bytes_received: u64,
    /// Bytes of game data sent since the start.
    pub bytes_sent: u64,
    /// Games whose contents wait to be hashed.
    pub hash_queue: usize,
    /// How fast games may go out and come in.
    pub limits: LimitState,
    /// Whether all transfers are stopped.
    pub paused: bool,
    /// Web servers that hand out games, in the order of their URLs.
    pub mirrors: Vec<MirrorRow>,
}

/// A peer whose library is left out because it takes too much memory.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LibraryTooLarge {
    /// Who.
    pub peer_id: PeerId,
    /// Name for people.
    pub hostname: Option<String>,
    /// Where.
    pub addr: Option<SocketAddr>,
    /// What it would take.
    pub bytes: usize,
    /// Games in it.
    pub games: usize,
}

/// A web server that hands out games.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MirrorRow {
    /// Under which it is a source.
    pub peer_id: PeerId,
    /// Where it is.
    pub url: MirrorUrl,
    /// Whether it answered the last time it was asked what it has.
    pub reachable: bool,
    /// Games that it is known to have.
    pub games: usize,
}

/// How changes in the game directory are noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WatchState {
    /// By file events.
    #[default]
    Watching,
    /// By the fallback scan for some or all games: the system has no watches left.
    Polling,
    /// In a way of a later version, as a client reads it.
    #[serde(other)]
    Later,
}

/// A source that a download does not ask any more.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BannedSource {
    /// Of which game.
    pub game: GameId,
    /// Who.
    pub peer_id: PeerId,
    /// Why, in words.
    pub reason: String,
    /// The chunk whose bytes did not match its hash, if that was it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<ChunkIndex>,
    /// Milliseconds since then.
    pub when_ms: u64,
}

/// A peer that speaks another version.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct IncompatiblePeer {
    /// Who.
    pub peer_id: PeerId,
    /// What it speaks.
    pub proto_ver: u32,
}

/// One row of `list-peers`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PeerRow {
    /// Who.
    pub peer_id: PeerId,
    /// Name for people.
    pub hostname: Option<String>,
    /// Where it was reached last.
    pub addr: Option<SocketAddr>,
    /// Whether a connection stands.
    pub connected: bool,
    /// What is known of its library.
    pub library_epoch: Option<Epoch>,
    /// Revision that is known.
    pub library_rev: Option<Revision>,
    /// Games in it.
    pub game_count: usize,
    /// Milliseconds since the last sign of life.
    pub last_seen_ms: Option<u64>,
    /// The shortest time to it and back over the connection that stands, in milliseconds, to the microsecond.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// What that connection runs over at this end.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "known")]
    pub interface: Option<InterfaceKind>,
}

/// One row of `list-games`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GameRow {
    /// Which.
    pub id: GameId,
    /// Name for people.
    pub name: String,
    /// The version here, else the newest at a peer.
    pub version: Option<String>,
    /// Bytes of all its files.
    pub size: u64,
    /// Complete here.
    pub downloaded: bool,
    /// Installed here.
    pub installed: bool,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "known")]
    pub installed_by: Option<InstalledBy>,
    /// How it would be installed; missing while it is not here.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "known")]
    pub installs_by: Option<Packing>,
    /// What runs on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// How far a running operation is, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// Why it is offered to nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_only_reason: Option<String>,
    /// Its files here are still being copied.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub arriving: bool,
    /// A download brought the files here: `remove` may take them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub brought: bool,
    /// A newer version than the complete one here, that somebody hands out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_version: Option<String>,
    /// What the catalog says of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Kind of game, of the catalog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub genre: Option<String>,
    /// How many can play together, of the catalog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub players: Option<String>,
    /// Connected peers that can hand it out in the version that is complete here, but with another content.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub other_content_peers: usize,
    /// Why it cannot be fetched to this PC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unavailable_reason: Option<String>,
    /// A download brought it, and it was changed here since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changed: bool,
    /// Files in its folder that are no part of it, and are not shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaves_out: Option<LeftOut>,
    /// Names the bytes here, else of the newest version at a peer, when known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<ContentHash>,
    /// Peers whose library lists it.
    pub peer_count: usize,
    /// Connected peers that can hand it out.
    pub sources: Vec<PeerId>,
}

/// What can run on a game.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Waits for a free download slot.
    Queued,
    /// Bytes are being fetched.
    Downloading,
    /// `local/` is being made.
    Installing,
    /// `local/` is being replaced; the old one stays until the new one is complete.
    Updating,
    /// `local/` is being removed.
    Uninstalling,
    /// `local/`, made by somebody else, becomes lanspread's.
    Adopting,
    /// The downloaded files are being removed.
    Removing,
    /// The downloaded files are being hashed again.
    Verifying,
    /// One of a later version, as a client reads it.
    #[serde(other)]
    Later,
}

/// One running operation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OperationRow {
    /// On which game.
    pub game: GameId,
    /// Which.
    pub operation: Operation,
}
