//! Everything that goes into the engine and comes out of it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::api::{CommandResult, PeerCommand, PeerEvent};
use crate::catalog::Catalog;
use crate::proto::{Answer, CloseCode, GetChunks, Notification, Request};
use crate::types::{
    ChunkHash, ChunkIndex, ChunkRange, ContentHash, DownloadId, DownloadPlan, GameId, InterfaceKind, Job, JobDone,
    JobError, LibraryStamp, ManifestHash, MirrorAsk, MirrorFault, MirrorNews, PartyProofs, PeerId,
};

/// A connection that the transport reported; never reused, so that a late message cannot meet a newcomer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub u64);

/// A dial that the engine asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DialId(pub u64);

/// A request that the engine sent; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// A command of a user interface; chosen by the caller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CommandId(pub u64);

/// A request that a peer sent: its connection and stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InboundId {
    /// The connection.
    pub conn: ConnId,
    /// The stream's number.
    pub stream: u64,
}

/// A peer's advertisement. A hint only: nothing in it is proved.
#[derive(Clone, PartialEq, Debug)]
pub struct Sighting {
    /// Who it says it is.
    pub peer_id: PeerId,
    /// Where, best first. IPv6 link-local addresses carry their scope.
    pub addrs: Vec<SocketAddr>,
    /// What it speaks.
    pub proto_ver: u32,
    /// State of its library.
    pub stamp: LibraryStamp,
    /// Name for people.
    pub hostname: Option<String>,
}

/// Why a request, or a run of chunks, brought nothing (more).
#[derive(Clone, PartialEq, Debug)]
pub enum RunFailure {
    /// The connection is gone.
    ConnectionLost,
    /// The peer reset the stream, with this application code.
    Reset(u64),
    /// No answer, or no further byte, by the deadline.
    Timeout,
    /// The answer broke the specification. The connection is closed by the shell.
    Malformed(String),
    /// The peer refused.
    Refused(crate::proto::WireError),
    /// No stream could be opened: the peer's limit is reached.
    NoStream,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A user interface asks.
    Command {
        /// Comes back in [`Output::Reply`].
        id: CommandId,
        /// What.
        command: PeerCommand,
    },
    /// The sockets are bound. Comes first, once, and again when addresses change.
    Listening {
        /// The socket addresses of this host that others can use, best first; the port is the listener's.
        addrs: Vec<SocketAddr>,
    },
    /// The PC slept, or the process was stopped: nothing is known of what happened meanwhile. Comes before everything that the
    /// clock says is overdue.
    Woke,
    /// A peer was advertised.
    Sighting(Sighting),
    /// Its advertisement expired or was withdrawn. Says nothing about a standing connection.
    SightingGone {
        /// Whose.
        peer_id: PeerId,
    },
    /// A QUIC handshake finished: the peer proved its key.
    ConnectionUp {
        /// Its name from now on.
        conn: ConnId,
        /// Derived from the certificate that it proved.
        peer_id: PeerId,
        /// Its address.
        remote: SocketAddr,
        /// This host's address on that connection, with the listener's port.
        local: SocketAddr,
        /// The kind of interface that has that address; `None`: not known.
        interface: Option<InterfaceKind>,
        /// The dial that led to it; `None`: the peer dialled.
        dial: Option<DialId>,
        /// What both sides must prove first; `None`: this peer has no party key.
        party: Option<PartyProofs>,
    },
    /// How long a connection's packets take to its peer and back, at the least. Comes again when that was measured anew.
    RoundTrip {
        /// Which.
        conn: ConnId,
        /// The shortest time seen so far.
        least: Duration,
    },
    /// A connection that was reported up is gone.
    ConnectionDown {
        /// Which.
        conn: ConnId,
        /// The peer's close code, if it gave one and it is known.
        code: Option<CloseCode>,
        /// In words.
        reason: String,
    },
    /// A dial did not lead to a connection.
    DialFailed {
        /// Which.
        dial: DialId,
        /// Whether the peer's identity was another than expected.
        identity_mismatch: bool,
        /// Who answered instead, when known.
        actual: Option<PeerId>,
        /// In words.
        reason: String,
    },
    /// A peer asks.
    Request {
        /// Answer to this.
        from: InboundId,
        /// What.
        request: Request,
    },
    /// A peer asks something that this version does not know.
    UnknownRequest {
        /// Answer to this.
        from: InboundId,
        /// Its `type`, cut to 64 characters.
        name: String,
    },
    /// A peer no longer waits for the answer to this (reset, or its connection is gone).
    RequestGone {
        /// Which.
        from: InboundId,
    },
    /// A peer tells.
    Notification {
        /// Over this connection.
        conn: ConnId,
        /// What.
        notification: Notification,
    },
    /// A peer answered [`Output::Ask`].
    Answered {
        /// Which.
        request: RequestId,
        /// The answer; a `Manifest` comes with the chunk hashes that followed it, checked for their number only.
        result: Result<(Answer, Vec<ChunkHash>), RunFailure>,
    },
    /// A batch of a run has fully landed in its buffer and was handed to a worker.
    BatchLanded {
        /// Of this [`Output::Fetch`].
        request: RequestId,
        /// Which chunks.
        range: ChunkRange,
    },
    /// A worker verified and wrote a batch (or not); its landing buffer is free.
    BatchDone {
        /// For this download.
        download: DownloadId,
        /// Of this [`Output::Fetch`].
        request: RequestId,
        /// Which chunks.
        range: ChunkRange,
        /// Those of them whose bytes did not match their hash. They were not written.
        bad: Vec<ChunkIndex>,
        /// The disk refused; none of the batch counts as written.
        error: Option<JobError>,
    },
    /// A run is over: its last byte landed, or it failed. Comes after the `BatchLanded` of all that landed; landing buffers
    /// of what did not land are free.
    RunDone {
        /// Which [`Output::Fetch`].
        request: RequestId,
        /// Whether all of it landed.
        result: Result<(), RunFailure>,
    },
    /// An outgoing run or manifest is over, for whatever reason. Once per [`Output::SendChunks`] / [`Output::SendManifest`].
    SendDone {
        /// Which.
        to: InboundId,
        /// Bytes of game data that were handed to the transport.
        bytes: u64,
        /// The files on disk were not the ones listed: scan the game again.
        changed: bool,
    },
    /// Bytes of running outgoing runs moved on (for `status`; at most once a second).
    SentBytes {
        /// Since the last such input.
        bytes: u64,
    },
    /// A worker finished.
    JobDone(JobDone),
    /// A running [`Job::Install`], [`Job::VerifyFiles`] or [`Job::PrepareDownload`] moved on.
    JobProgress {
        /// On which game.
        game: GameId,
        /// Bytes of its work that are done.
        done: u64,
        /// Of so many, as far as is known.
        total: u64,
    },
    /// To [`Output::FetchCatalog`].
    CatalogFetched {
        /// The catalog that counts from now on; `None`: the one before still does. After an error too.
        result: Result<Option<Arc<Catalog>>, JobError>,
    },
    /// To [`Output::AskMirror`].
    MirrorAnswered {
        /// Which, by its place in the configuration.
        mirror: usize,
        /// What was asked.
        ask: MirrorAsk,
        /// What it says.
        result: Result<MirrorNews, MirrorFault>,
    },
    /// Something changed in the folder of a game.
    FsChanged {
        /// Which.
        game: GameId,
    },
    /// A file of a game could not be read for a peer.
    ReadFailed {
        /// Which game.
        game: GameId,
    },
    /// Something failed because the game directory is not there any more.
    DirectoryGone {
        /// In words.
        reason: String,
    },
    /// Games may have come, gone or changed; events were lost or the game directory itself changed.
    FsRescan {
        /// Why, for the log.
        reason: &'static str,
    },
    /// There are no watches left: the fallback scan is all there is for some games. Once per change.
    WatchDegraded {
        /// What the system said and how to mend it. `None`: all games are watched again.
        message: Option<String>,
    },
    /// The time that [`Engine::poll_timeout`](super::Engine::poll_timeout) asked for has come.
    Timeout,
}

/// What the engine has under way: its part of the answer to `metrics`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EngineLoad {
    /// Downloads that have a slot.
    pub downloads_running: usize,
    /// Downloads that wait for one.
    pub downloads_waiting: usize,
    /// Runs and manifests that peers are being sent.
    pub uploads: usize,
    /// Runs that peers asked for and that wait to be sent.
    pub uploads_waiting: usize,
    /// Most that may wait.
    pub uploads_waiting_limit: usize,
    /// Landing buffers reserved or with workers.
    pub buffers_reserved: usize,
    /// Bytes of game data that landed.
    pub bytes_received: u64,
    /// The connection of each connected peer, ascending by peer.
    pub peers: Vec<(PeerId, ConnId)>,
}

/// A download, and what it writes.
#[derive(Clone, PartialEq, Eq)]
pub struct Planned {
    /// Which.
    pub id: DownloadId,
    /// The game, its files and their hashes.
    pub plan: Arc<DownloadPlan>,
}

/// By its number alone: a plan fills pages.
impl fmt::Debug for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

/// What to do.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Answer `metrics`: with this, and with what the shell counts itself.
    Measure {
        /// Of this command.
        id: CommandId,
        /// What the engine knows.
        load: Box<EngineLoad>,
    },
    /// From now on send games only so fast, over all connections. At first: as configured.
    LimitUpload {
        /// Bytes per second; `None`: as fast as it goes.
        rate: Option<u64>,
    },
    /// Open a connection; ends in `ConnectionUp` or `DialFailed`.
    Dial {
        /// Comes back.
        dial: DialId,
        /// Where. A link-local IPv6 address names its interface by its scope; for all others the system's routes choose one.
        addr: SocketAddr,
        /// Who must answer; `None`: anybody.
        expect: Option<PeerId>,
    },
    /// Close a connection; no `ConnectionDown` follows, and nothing of it is reported any more.
    Close {
        /// Which.
        conn: ConnId,
        /// With this code.
        code: CloseCode,
        /// And these words.
        reason: &'static str,
    },
    /// Send a request on a new stream; ends in `Answered` unless cancelled.
    Ask {
        /// Comes back.
        request: RequestId,
        /// Over this connection.
        conn: ConnId,
        /// What.
        body: Box<Request>,
    },
    /// Fetch a run of chunks into landing buffers; ends in `RunDone` unless cancelled.
    Fetch {
        /// Comes back.
        request: RequestId,
        /// From this peer.
        conn: ConnId,
        /// For this download, which was prepared.
        download: Planned,
        /// Names the content when it is known: then no hashes travel along.
        content_hash: Option<ContentHash>,
        /// Which chunks. Their batches ([`Manifest::batches`](crate::types::Manifest::batches)) are within the landing pool.
        range: ChunkRange,
    },
    /// Ask a mirror for the files and hashes of a game; ends in `Answered` unless cancelled.
    MirrorManifest {
        /// Comes back.
        request: RequestId,
        /// Which, by its place in the configuration.
        mirror: usize,
        /// Of this game.
        game: GameId,
        /// Exactly this list of files.
        manifest_hash: ManifestHash,
    },
    /// As `Fetch`, from a mirror.
    MirrorFetch {
        /// Comes back.
        request: RequestId,
        /// Which, by its place in the configuration.
        mirror: usize,
        /// For this download, which was prepared.
        download: Planned,
        /// Which chunks.
        range: ChunkRange,
    },
    /// Stop one of these four: no more `BatchLanded`, `RunDone` or `Answered` of it. Batches that have landed still end in
    /// `BatchDone`; buffers of the rest are free at once.
    Cancel {
        /// Which.
        request: RequestId,
    },
    /// Send a notification on a new stream; dropped when the connection cannot take it.
    Notify {
        /// Over this connection.
        conn: ConnId,
        /// What.
        body: Box<Notification>,
    },
    /// Answer a request.
    Answer {
        /// Which.
        to: InboundId,
        /// What.
        body: Box<Answer>,
    },
    /// Answer with the files and hashes of a game, or with an error when they are not the ones named, or not for
    /// this requester. Ends in `SendDone`.
    SendManifest {
        /// Which request.
        to: InboundId,
        /// The game.
        game: GameId,
        /// Exactly this list of files.
        manifest_hash: ManifestHash,
        /// The content that the library announces.
        content_hash: Option<ContentHash>,
        /// Whether the requester knows of empty directories: else a game that has some is refused.
        dirs: bool,
    },
    /// Answer with chunks. Ends in `SendDone`.
    SendChunks {
        /// Which request.
        to: InboundId,
        /// What was asked; its game may be served.
        request: Box<GetChunks>,
        /// The download that has verified these chunks; `None`: the game is complete.
        download: Option<DownloadId>,
    },
    /// Stop sending anything of this game, and forget its open files. Each running send ends in `SendDone` first.
    StopSending {
        /// Which.
        game: GameId,
    },
    /// Work for a worker; ends in the matching [`JobDone`].
    Job(Job),
    /// Read or fetch the catalog anew; ends in [`Input::CatalogFetched`]. Only one at a time.
    FetchCatalog,
    /// Ask a mirror what it has; ends in [`Input::MirrorAnswered`].
    AskMirror {
        /// Which, by its place in the configuration.
        mirror: usize,
        /// What.
        ask: MirrorAsk,
    },
    /// Give up hashing a game; `GameHashed` follows all the same.
    CancelHash {
        /// Which.
        game: GameId,
    },
    /// Give up the [`Job::Install`], [`Job::Uninstall`], [`Job::Adopt`], [`Job::RemoveFiles`], [`Job::VerifyFiles`] or
    /// [`Job::PrepareDownload`] of a game, running or queued, as far as it can still be given up. Its [`JobDone`] follows all the same.
    CancelJob {
        /// Of which game.
        game: GameId,
    },
    /// Watch the folder of a game.
    Watch {
        /// Which.
        game: GameId,
    },
    /// Stop watching it.
    Unwatch {
        /// Which.
        game: GameId,
    },
    /// What the advertisement says from now on.
    Advertise {
        /// State of the library.
        stamp: LibraryStamp,
    },
    /// Answer a command.
    Reply {
        /// Which.
        id: CommandId,
        /// The answer.
        result: Box<CommandResult>,
    },
    /// Tell everybody.
    Event(Box<PeerEvent>),
    /// Shutdown is complete: goodbyes were handed out, transfers were ended.
    Stopped {
        /// Why it never got ready, in words: the game directory could not be opened. `None`: somebody asked for the end.
        failure: Option<String>,
    },
}
