//! What a user interface hears by itself.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ErrorCode, GameRow, OperationRow, PeerRow, Status, is_zero};
use crate::types::{ChunkIndex, Epoch, GameId, KeptAside, MirrorUrl, PeerId, Revision};

/// What a user interface hears. `event` is the tag in JSON.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum PeerEvent {
    /// The daemon listens and its library is loaded.
    LocalPeerReady {
        /// This peer.
        peer_id: PeerId,
        /// Where it listens; one address that others can reach, if there is one.
        listen_addr: SocketAddr,
        /// Where the HTTP door is.
        #[serde(skip_serializing_if = "Option::is_none")]
        control: Option<String>,
    },
    /// A peer was seen for the first time.
    PeerDiscovered {
        /// Who.
        peer_id: PeerId,
        /// Where.
        addr: SocketAddr,
    },
    /// Hello was accepted by both sides.
    PeerConnected {
        /// Who.
        peer_id: PeerId,
        /// Where.
        addr: SocketAddr,
        /// Name for people.
        hostname: Option<String>,
        /// Games in its library.
        game_count: usize,
    },
    /// A peer's library is now this.
    PeerLibraryChanged {
        /// Whose.
        peer_id: PeerId,
        /// Its revision.
        rev: Revision,
        /// Its games.
        game_count: usize,
    },
    /// A peer is gone.
    PeerLost {
        /// Who.
        peer_id: PeerId,
        /// Why: `goodbye`, `stale`, `closed`, …
        reason: String,
    },
    /// The party key keeps a peer and this one apart. Once for each peer until it is let in.
    PeerRefused {
        /// Who.
        peer_id: PeerId,
        /// Where.
        addr: SocketAddr,
        /// In words: who lacks the key, or has another.
        reason: String,
    },
    /// The library here is now this, durably.
    LocalLibraryChanged {
        /// History.
        epoch: Epoch,
        /// Revision.
        rev: Revision,
        /// Number of games.
        games: usize,
    },
    /// The game directory is not there any more: its games are not offered, what ran on them has ended, and the daemon looks for
    /// its return.
    GameDirectoryGone {
        /// Where it was.
        path: PathBuf,
        /// In words: what was found in its place, and what to do.
        reason: String,
    },
    /// It is there again, and its games are offered.
    GameDirectoryBack {
        /// Where.
        path: PathBuf,
        /// Number of games.
        games: usize,
    },
    /// What runs now.
    ActiveOperationsChanged {
        /// Everything that runs or waits.
        operations: Vec<OperationRow>,
    },
    /// The files of a game arrived.
    GotGameFiles {
        /// Which.
        game: GameId,
        /// How many files.
        files: usize,
        /// How many bytes.
        bytes: u64,
    },
    /// What is on the disk already is looked for, before anything is fetched. At most every 500 ms.
    DownloadChecking {
        /// Which.
        game: GameId,
        /// Bytes that were looked at.
        bytes: u64,
        /// Of so many; grows when more turns up.
        total: u64,
    },
    /// Bytes begin to flow.
    DownloadBegin {
        /// Which.
        game: GameId,
        /// How many bytes in all.
        bytes: u64,
        /// From how many peers.
        sources: usize,
    },
    /// At most every 500 ms.
    DownloadProgress {
        /// Which.
        game: GameId,
        /// Verified bytes.
        bytes: u64,
        /// Of so many.
        total: u64,
        /// Rate of the last seconds.
        bytes_per_second: u64,
        /// Sources in use.
        sources: usize,
    },
    /// A command changed what the status says of limits, pause and blocked peers.
    SettingsChanged {
        /// To the peers, in bytes per second; `None`: as fast as it goes.
        max_upload: Option<u64>,
        /// From the peers.
        max_download: Option<u64>,
        /// All transfers are stopped.
        paused: bool,
        /// Peers that nothing is had to do with.
        peers_blocked: Vec<PeerId>,
    },
    /// How fast game data moves, over all connections: every second while it does, and once with zeros when it has stopped.
    Traffic {
        /// Bytes that landed since the start.
        bytes_received: u64,
        /// Bytes that were handed to the network since the start.
        bytes_sent: u64,
        /// Bytes per second that land.
        receiving: u64,
        /// Bytes per second that go out.
        sending: u64,
    },
    /// A source is not asked again for this game.
    DownloadSourceBanned {
        /// Which game.
        game: GameId,
        /// Who.
        peer_id: PeerId,
        /// Where it is, if it is a mirror.
        #[serde(skip_serializing_if = "Option::is_none")]
        url: Option<MirrorUrl>,
        /// Why.
        reason: String,
        /// The chunk whose bytes did not match its hash, if that was it.
        #[serde(skip_serializing_if = "Option::is_none")]
        chunk: Option<ChunkIndex>,
    },
    /// Complete, verified, durable.
    DownloadFinished {
        /// Which.
        game: GameId,
        /// Bytes of the game.
        bytes: u64,
        /// Chunks of the game.
        chunks: u32,
        /// From the command to the durable sentinel.
        duration_ms: u64,
        /// Rate over that time.
        mib_per_s: f64,
        /// The same in the network's unit.
        mbit_per_s: f64,
        /// Bytes that had to be fetched again.
        refetched_bytes: u64,
        /// Bytes that were already here.
        resumed_bytes: u64,
        /// Who gave what.
        sources: Vec<SourceBytes>,
        /// Files that the user had changed, or put there, and that had to make way.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        kept_aside: Vec<KeptAside>,
    },
    /// It ended otherwise; nothing unverified lies under a sentinel.
    DownloadFailed {
        /// Which.
        game: GameId,
        /// Why.
        code: ErrorCode,
        /// In words.
        message: String,
        /// As of `download-finished`. After a cancelled download they have their names again.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        kept_aside: Vec<KeptAside>,
    },
    /// An installation, or an update of one, begins.
    InstallBegin {
        /// Which.
        game: GameId,
    },
    /// At most every 500 ms.
    InstallProgress {
        /// Which.
        game: GameId,
        /// Bytes of the work that are done.
        bytes: u64,
        /// Of so many, as far as is known.
        total: u64,
    },
    /// The game is installed in the version that is downloaded.
    InstallFinished {
        /// Which.
        game: GameId,
        /// Files of the user's in the old installation that are in the new one, too.
        #[serde(default, skip_serializing_if = "is_zero")]
        carried_over: usize,
        /// Those that had to make way for files of the new one, with paths from the game's folder.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        kept_aside: Vec<KeptAside>,
        /// The directory in the game's folder that holds those which could not be carried over.
        #[serde(skip_serializing_if = "Option::is_none")]
        kept_in: Option<String>,
    },
    /// It ended otherwise; an older installation is as it was.
    InstallFailed {
        /// Which.
        game: GameId,
        /// Why.
        code: ErrorCode,
        /// In words.
        message: String,
    },
    /// The installation is being removed.
    UninstallBegin {
        /// Which.
        game: GameId,
    },
    /// It is gone.
    UninstallFinished {
        /// Which.
        game: GameId,
        /// The directory in the game's folder that holds the user's files, if there were any.
        #[serde(skip_serializing_if = "Option::is_none")]
        kept_in: Option<String>,
    },
    /// It is not.
    UninstallFailed {
        /// Which.
        game: GameId,
        /// Why.
        code: ErrorCode,
        /// In words.
        message: String,
    },
    /// An installation that somebody else made becomes lanspread's.
    AdoptBegin {
        /// Which.
        game: GameId,
    },
    /// It is: updates replace it, and it can be uninstalled.
    AdoptFinished {
        /// Which.
        game: GameId,
    },
    /// It is not, and is as it was.
    AdoptFailed {
        /// Which.
        game: GameId,
        /// Why.
        code: ErrorCode,
        /// In words.
        message: String,
    },
    /// The downloaded files are being removed.
    RemoveBegin {
        /// Which.
        game: GameId,
    },
    /// They are gone.
    RemoveFinished {
        /// Which.
        game: GameId,
    },
    /// They are not, or not all of them.
    RemoveFailed {
        /// Which.
        game: GameId,
        /// Why.
        code: ErrorCode,
        /// In words.
        message: String,
    },
    /// At most every 500 ms.
    VerifyProgress {
        /// Which.
        game: GameId,
        /// Bytes that were hashed.
        bytes: u64,
        /// Of so many.
        total: u64,
    },
    /// Every chunk was hashed. A game with bad chunks or missing folders no longer counts as downloaded.
    VerifyFinished {
        /// Which.
        game: GameId,
        /// Chunks that do not match, or are missing.
        bad_chunks: usize,
        /// Empty folders of the game that are not there; left out when there are none.
        #[serde(default, skip_serializing_if = "is_zero")]
        missing_dirs: usize,
        /// Chunks in all.
        chunks: u32,
    },
    /// It ended before every chunk was hashed.
    VerifyFailed {
        /// Which.
        game: GameId,
        /// Why.
        code: ErrorCode,
        /// In words.
        message: String,
    },
    /// Another catalog is in force from now on.
    CatalogChanged {
        /// Games that it lists.
        games: usize,
        /// Its serial number; 0 where it has none.
        serial: u64,
    },
    /// Something went wrong that no command asked for.
    RuntimeError {
        /// Which kind.
        code: ErrorCode,
        /// What happened, to what, and what to do.
        message: String,
    },
}

impl PeerEvent {
    /// Whether the next event of its kind says all that this one does: such events are shed first when nobody reads them.
    pub fn is_progress(&self) -> bool {
        matches!(
            self,
            Self::DownloadChecking { .. }
                | Self::DownloadProgress { .. }
                | Self::InstallProgress { .. }
                | Self::VerifyProgress { .. }
                | Self::Traffic { .. }
        )
    }
}

/// Bytes that one source contributed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SourceBytes {
    /// Who.
    pub peer_id: PeerId,
    /// Verified bytes from it.
    pub bytes: u64,
}

/// All a user interface needs to begin with, or to begin anew.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename = "snapshot")]
pub struct Snapshot {
    /// The daemon.
    pub status: Box<Status>,
    /// As of `list-peers`.
    pub peers: Vec<PeerRow>,
    /// As of `list-games`.
    pub games: Vec<GameRow>,
}

/// What the event stream of the HTTP door says.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(untagged)]
pub enum StreamEvent {
    /// Comes first, and again where events were lost.
    Snapshot(Snapshot),
    /// Something happened.
    Event(PeerEvent),
}
