//! The one vocabulary of every door: [`PeerCommand`] in, [`PeerEvent`] and [`CommandResult`] out.
//!
//! The shapes below are the JSON of the JSONL and HTTP doors; `docs/CONTROL.md` lists them.

mod explain;
mod metrics;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use explain::{DownloadState, Explanation, SourceExplanation, SourceState};
pub use metrics::{
    BufferMetrics, Metrics, NetworkMetrics, PeerMetrics, QueueMetrics, StallCause, StallMetrics, SyncMetrics,
};

use crate::types::{
    ChunkIndex, ContentHash, Epoch, Finding, GameId, InstalledBy, InterfaceKind, JobError, JobErrorKind, KeptAside,
    LeftOut, LibraryDigest, ManifestHash, MirrorUrl, OpenedFolder, Packing, PeerId, ProgramAnswer, ProgramList,
    RelPath, Revision, StartedProgram,
};

/// What a user interface asks for. `cmd` is the tag in JSON.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "kebab-case")]
pub enum PeerCommand {
    /// State of the daemon in one record.
    Status,
    /// What was moved, what is held, and what was waited for.
    Metrics,
    /// Every peer that is known.
    ListPeers,
    /// Every game, here or at a peer.
    ListGames,
    /// Dial `host:port`.
    Connect {
        /// `host:port`, `[v6]:port`.
        addr: String,
    },
    /// Use another directory of games.
    SetGameDir {
        /// The directory; must exist.
        path: PathBuf,
    },
    /// The files of a game, asked from its sources.
    GetGame {
        /// Which.
        game: GameId,
    },
    /// Why a download of a game gets what it gets now.
    Explain {
        /// Which.
        game: GameId,
    },
    /// Refresh the libraries of the peers, then download the newest version without installing.
    FetchLatest {
        /// Which.
        game: GameId,
    },
    /// Download a game, and install it unless told otherwise.
    Download {
        /// Which.
        game: GameId,
        /// Install afterwards; the default is true.
        #[serde(default = "yes")]
        install: bool,
        /// Also over a complete copy that is the user's own and has another content in the same version.
        #[serde(default)]
        again: bool,
    },
    /// End what runs on a game: a download, and take away what it left; an installation, an update or a verification. What
    /// cannot be stopped half-way goes on to its end.
    CancelDownload {
        /// Which.
        game: GameId,
    },
    /// Install a downloaded game; replaces an installation of another version.
    Install {
        /// Which.
        game: GameId,
    },
    /// Remove the installation. The downloaded files stay.
    Uninstall {
        /// Which.
        game: GameId,
    },
    /// Let lanspread have an installation that somebody else made: to be updated and removed.
    Adopt {
        /// Which.
        game: GameId,
    },
    /// Remove the downloaded files of a game that is not installed, or what a download left of it.
    Remove {
        /// Which.
        game: GameId,
    },
    /// Hash the downloaded files again and hold them against what is known of them.
    Verify {
        /// Which.
        game: GameId,
        /// Fetch what is damaged.
        #[serde(default)]
        repair: bool,
    },
    /// Limit how fast games go out and come in, from now on until the daemon stops. What is not given stays as it is.
    SetLimits {
        /// To the peers, in bytes per second; `Some(None)`: as fast as it goes.
        #[serde(skip_serializing_if = "Option::is_none")]
        max_upload: Option<Option<u64>>,
        /// From the peers.
        #[serde(skip_serializing_if = "Option::is_none")]
        max_download: Option<Option<u64>>,
    },
    /// Stop all transfers, both ways: the user plays. What was asked for already still arrives.
    Pause,
    /// Let transfers go on.
    Resume,
    /// Have nothing to do with a peer until the daemon stops.
    BlockPeer {
        /// Whom.
        peer_id: PeerId,
    },
    /// Deal with a peer again.
    UnblockPeer {
        /// Whom.
        peer_id: PeerId,
    },
    /// Let a waiting download be the next.
    Prioritise {
        /// Which.
        game: GameId,
    },
    /// List what can be started of an installed game.
    ListPrograms {
        /// Which.
        game: GameId,
    },
    /// Remember which program of an installed game `play` starts.
    ChooseProgram {
        /// Which game.
        game: GameId,
        /// Its path in `local/`.
        program: RelPath,
    },
    /// Start an installed game on this PC.
    Play {
        /// Which.
        game: GameId,
    },
    /// Show the folder of an installation on the desktop.
    OpenFolder {
        /// Of which game.
        game: GameId,
    },
    /// Look for what is wrong: here, with the other PCs, with the disk.
    Diagnose,
    /// Wait until so many peers are connected with their libraries in step.
    WaitPeers {
        /// How many.
        count: usize,
        /// For how long, in milliseconds.
        timeout_ms: u64,
    },
    /// Say goodbye and stop.
    Shutdown,
}

fn yes() -> bool {
    true
}

impl PeerCommand {
    /// The tag in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Metrics => "metrics",
            Self::ListPeers => "list-peers",
            Self::ListGames => "list-games",
            Self::Connect { .. } => "connect",
            Self::SetGameDir { .. } => "set-game-dir",
            Self::GetGame { .. } => "get-game",
            Self::Explain { .. } => "explain",
            Self::FetchLatest { .. } => "fetch-latest",
            Self::Download { .. } => "download",
            Self::CancelDownload { .. } => "cancel-download",
            Self::Install { .. } => "install",
            Self::Uninstall { .. } => "uninstall",
            Self::Adopt { .. } => "adopt",
            Self::Remove { .. } => "remove",
            Self::Verify { .. } => "verify",
            Self::SetLimits { .. } => "set-limits",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::BlockPeer { .. } => "block-peer",
            Self::UnblockPeer { .. } => "unblock-peer",
            Self::Prioritise { .. } => "prioritise",
            Self::ListPrograms { .. } => "list-programs",
            Self::ChooseProgram { .. } => "choose-program",
            Self::Play { .. } => "play",
            Self::OpenFolder { .. } => "open-folder",
            Self::Diagnose => "diagnose",
            Self::WaitPeers { .. } => "wait-peers",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Stable codes of failed commands and operations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The line is not JSON.
    BadJson,
    /// No such command (in this version).
    UnknownCommand,
    /// A field is missing or has a wrong value.
    BadArgument,
    /// The catalog does not list the game.
    NotInCatalog,
    /// Neither here nor at any peer.
    UnknownGame,
    /// No connected peer can hand out the game.
    NoSources,
    /// The game is busy with another operation.
    OperationInProgress,
    /// The address is this daemon's own.
    SelfConnect,
    /// Not enough space.
    DiskFull,
    /// The game is not downloaded.
    NotDownloaded,
    /// The game is not installed.
    NotInstalled,
    /// The game is installed in this version.
    AlreadyInstalled,
    /// An archive cannot be unpacked.
    BadArchive,
    /// It is the user's: nothing proves that lanspread made it.
    NotOurs,
    /// A path leads, or could lead, outside the game.
    UnsafePath,
    /// Bytes did not match their hash.
    VerificationFailed,
    /// The user ended it.
    Cancelled,
    /// A program holds a file or a directory; another daemon holds the directory; a game is still being copied.
    InUse,
    /// The copy here is the user's own, in the same version, with another content than the peers have.
    OwnContent,
    /// The peer refused the connection.
    PeerRefused,
    /// The time ran out.
    Timeout,
    /// The game's content changed at every source meanwhile.
    SourceChanged,
    /// The game directory is not there any more; the daemon looks for its return.
    GameDirectoryGone,
    /// The user has to choose which program is the game's.
    ChooseProgram,
    /// The daemon runs where nobody would see what it shows.
    NoDesktop,
    /// The operating system refused; the message says what.
    Io,
}

/// A failed command.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct CommandError {
    /// Which kind.
    pub code: ErrorCode,
    /// What happened, to what, and what to do.
    pub message: String,
}

impl CommandError {
    /// Code and message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<JobErrorKind> for ErrorCode {
    fn from(kind: JobErrorKind) -> Self {
        match kind {
            JobErrorKind::DiskFull => Self::DiskFull,
            JobErrorKind::InUse => Self::InUse,
            JobErrorKind::Changed => Self::SourceChanged,
            JobErrorKind::Verification => Self::VerificationFailed,
            JobErrorKind::UnsafePath => Self::UnsafePath,
            JobErrorKind::ChooseProgram => Self::ChooseProgram,
            JobErrorKind::NoDesktop => Self::NoDesktop,
            JobErrorKind::Cancelled => Self::Cancelled,
            JobErrorKind::BadArchive => Self::BadArchive,
            JobErrorKind::NotOurs => Self::NotOurs,
            JobErrorKind::DirectoryGone => Self::GameDirectoryGone,
            JobErrorKind::Exhausted | JobErrorKind::Io => Self::Io,
        }
    }
}

impl From<JobError> for CommandError {
    fn from(error: JobError) -> Self {
        Self::new(error.kind.into(), error.message)
    }
}

/// The answer to one command.
pub type CommandResult = Result<CommandData, CommandError>;

impl From<ProgramAnswer> for CommandData {
    fn from(answer: ProgramAnswer) -> Self {
        match answer {
            ProgramAnswer::Programs(list) => Self::Programs(list),
            ProgramAnswer::Chosen => Self::Done(Done {}),
            ProgramAnswer::Started(started) => Self::Started(started),
            ProgramAnswer::Opened(opened) => Self::Opened(opened),
        }
    }
}

/// The `data` of a result record.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum CommandData {
    /// To `status`.
    Status(Box<Status>),
    /// To `metrics`.
    Metrics(Box<Metrics>),
    /// To `list-peers`.
    Peers(PeerList),
    /// To `list-games`.
    Games(GameList),
    /// To `get-game`.
    GameFiles(GameFiles),
    /// To `explain`.
    Explanation(Box<Explanation>),
    /// To `download`, `fetch-latest`, `install`, `uninstall`, `adopt`, `remove` and `verify`: it runs, or waits its turn.
    Accepted(Accepted),
    /// To `list-programs`.
    Programs(ProgramList),
    /// To `play`.
    Started(StartedProgram),
    /// To `diagnose`.
    Diagnosis(Diagnosis),
    /// To `open-folder`.
    Opened(OpenedFolder),
    /// To `connect`: the peer that answered.
    Connected(Connected),
    /// To `set-limits`: what holds now.
    Limits(LimitState),
    /// To `wait-peers`: how many there are.
    PeerCount(PeerCount),
    /// To the rest: `{}`.
    Done(Done),
}

/// `{}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Done {}

/// Limits to the rate of game data, in bytes per second; `null`: none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct LimitState {
    /// To the peers.
    pub max_upload: Option<u64>,
    /// From the peers.
    pub max_download: Option<u64>,
}

/// `{"findings":[…]}`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Diagnosis {
    /// What is wrong; empty: nothing was found.
    pub findings: Vec<Finding>,
}

/// `{"peers":[…]}`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PeerList {
    /// Ascending by id.
    pub peers: Vec<PeerRow>,
}

/// `{"games":[…]}`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct GameList {
    /// Ascending by id.
    pub games: Vec<GameRow>,
}

/// An operation was accepted.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Accepted {
    /// Which game.
    pub game: GameId,
    /// Whether it waits for a free slot; only downloads do.
    pub queued: bool,
}

/// A connection stands.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Connected {
    /// Who answered.
    pub peer_id: PeerId,
    /// Where.
    pub addr: SocketAddr,
}

/// `{"peers":n}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct PeerCount {
    /// Connected peers whose library is in step.
    pub peers: usize,
}

/// The daemon in one record.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Status {
    /// Version of the program.
    pub version: &'static str,
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
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
#[derive(Clone, PartialEq, Debug, Serialize)]
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
#[derive(Clone, PartialEq, Debug, Serialize)]
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WatchState {
    /// By file events.
    #[default]
    Watching,
    /// By the fallback scan for some or all games: the system has no watches left.
    Polling,
}

/// A source that a download does not ask any more.
#[derive(Clone, PartialEq, Debug, Serialize)]
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
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct IncompatiblePeer {
    /// Who.
    pub peer_id: PeerId,
    /// What it speaks.
    pub proto_ver: u32,
}

/// One row of `list-peers`.
#[derive(Clone, PartialEq, Debug, Serialize)]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<InterfaceKind>,
}

/// One row of `list-games`.
#[derive(Clone, PartialEq, Debug, Serialize)]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installed_by: Option<InstalledBy>,
    /// How it would be installed; missing while it is not here.
    #[serde(skip_serializing_if = "Option::is_none")]
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
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub arriving: bool,
    /// A download brought the files here: `remove` may take them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
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
    #[serde(skip_serializing_if = "is_zero")]
    pub other_content_peers: usize,
    /// Why it cannot be fetched to this PC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unavailable_reason: Option<String>,
    /// A download brought it, and it was changed here since.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
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
}

/// One running operation.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct OperationRow {
    /// On which game.
    pub game: GameId,
    /// Which.
    pub operation: Operation,
}

/// The files of a game at its sources.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct GameFiles {
    /// Which.
    pub game: GameId,
    /// Names the list.
    pub manifest_hash: ManifestHash,
    /// Sum of the sizes.
    pub bytes: u64,
    /// How it would be installed, by the names of its files.
    pub installs_by: Packing,
    /// The files in canonical order.
    pub files: Vec<GameFile>,
    /// The folders that hold nothing, in canonical order; left out when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dirs: Vec<RelPath>,
    /// What of the game's folder here is no part of the game as it is here; left out when there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaves_out: Option<LeftOut>,
    /// Who can hand it out.
    pub sources: Vec<PeerId>,
}

/// One file.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct GameFile {
    /// Where, beneath the game's root.
    pub path: RelPath,
    /// Bytes.
    pub size: u64,
}

/// Bytes that one source contributed.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SourceBytes {
    /// Who.
    pub peer_id: PeerId,
    /// Verified bytes from it.
    pub bytes: u64,
}

/// What a user interface hears. `event` is the tag in JSON.
#[derive(Clone, PartialEq, Debug, Serialize)]
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
        #[serde(skip_serializing_if = "Vec::is_empty")]
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
        #[serde(skip_serializing_if = "Vec::is_empty")]
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
        #[serde(skip_serializing_if = "is_zero")]
        carried_over: usize,
        /// Those that had to make way for files of the new one, with paths from the game's folder.
        #[serde(skip_serializing_if = "Vec::is_empty")]
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
        #[serde(skip_serializing_if = "is_zero")]
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

/// For fields that say nothing when they are 0.
fn is_zero(number: &usize) -> bool {
    *number == 0
}
