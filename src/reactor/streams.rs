//! Every stream of every connection: what it is for, and how far it is.
//!
//! ```text
//! ours   Asking    request ► ◄ answer frame [raw hashes] FIN           ► Input::Answered
//!        Fetching  request ► ◄ run header, chunks, FIN                 ► Input::BatchLanded …, RunDone
//!        Telling   notification ►
//! theirs Hearing   ◄ notification FIN                                  ► Input::Notification
//!        Inbound   ◄ request FIN  Reading → Waiting → Answering|Sending ► Input::Request … SendDone
//! ```
//!
//! | part | owns |
//! |---|---|
//! | this file | the tables, the ends of streams and connections |
//! | `request` | requests, runs and notifications of this side, until their bytes are out |
//! | `inbound` | every byte that arrives, and the messages that come of them |
//! | `writing` | every byte that leaves; answers |
//! | `uploads` | manifests and runs for peers; who gets read buffers |
//! | `deadlines` | how long a stream is waited for |
//! | `numbers` | which streams of the peer were seen |
//!
//! Streams are read as soon as they have something: a reader never holds data back to slow its sender, since unread bytes
//! would use up the connection's window and block everything else on it. Slowing down is done by not requesting.

mod deadlines;
mod fetch;
mod frames;
mod inbound;
mod numbers;
mod request;
mod upload;
mod uploads;
mod writing;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::engine::{ConnId, InboundId, Input, Pace, Planned, RequestId, RunFailure};
use crate::proto::{
    Answer, CloseCode, FrameError, GetChunks, MAX_BULK_FRAME, MAX_CONTROL_FRAME, ManifestAnswer, Notification, Parsed,
    Request, StreamCode, WireError, WireErrorCode, decode, encode, parse_notification, parse_request,
};
use crate::quic::{ConnHandle as Conn, Endpoint, Recv};
use crate::types::{ChunkHash, ChunkRange, ContentHash, DownloadId, GameId, JobErrorKind};
use crate::workers::{
    BufferAccount, BufferPool, Compute, OpenServed, Opened, ReadBatch, ReadDone, ServedGame, Task, WriteBatch,
};

use super::metrics::{Counters, SendStalls};
use fetch::{Fetching, Landed, Space};
use frames::{FrameReader, Outgoing, Pumped};
use numbers::Numbers;
pub(super) use upload::Files;
use upload::{Lookup, OpenGames, Sending};

/// Raw bytes of chunk hashes behind one manifest: a game of 1 TiB.
const MAX_HASH_BYTES: usize = 32 << 20;
/// Frames over this are parsed by a worker.
const PARSE_HERE: usize = 64 << 10;
/// Size of the buffer that control bytes pass through.
const SCRATCH: usize = 64 << 10;
/// Deadlines that may be kept without a look at whether their streams are over.
const MIN_DEADLINES: usize = 1024;
/// A connection that holds read buffers moves as many bytes...
const PROGRESS_BYTES: u64 = 64 << 10;
/// ...in this time, or is closed when others go without.
const PROGRESS_TIME: Duration = Duration::from_secs(3);
/// Answers over this are bounded in number.
const LONG_ANSWER: usize = 4 << 10;
/// Urgency of streams with game data; control streams have 0.
const BULK_URGENCY: u8 = 200;
/// Games that nobody fetches any more are closed after this.
const OPEN_GAMES_SWEEP: Duration = Duration::from_secs(15);

/// A frame that a worker has parsed.
pub(super) struct ParsedElsewhere {
    conn: Conn,
    /// Bytes of the frame and of what followed it.
    bytes: usize,
    message: Message,
}

/// What a long frame held.
enum Message {
    Notification(Result<Parsed<Notification>, String>),
    Answer { request: RequestId, result: Result<(Answer, Vec<ChunkHash>), RunFailure> },
}

/// What the table works with, lent for the length of a call.
pub(super) struct Shell<'a> {
    pub(super) now: Instant,
    pub(super) config: &'a Config,
    pub(super) endpoint: &'a mut Endpoint,
    pub(super) inputs: &'a mut VecDeque<Input>,
    /// Tasks for the workers, in order; the reactor keeps what does not fit in their queue.
    pub(super) tasks: &'a mut VecDeque<Task<ParsedElsewhere>>,
    pub(super) landing_pool: &'a BufferPool,
    pub(super) read_pool: &'a BufferPool,
}

impl Shell<'_> {
    /// Lets the engine know how long packets take over a connection, if that was measured.
    pub(super) fn tell_round_trip(&mut self, conn: Conn) {
        if let Some(least) = self.endpoint.connection_stats(conn).and_then(|path| path.min_rtt) {
            self.inputs.push_back(Input::RoundTrip { conn: ConnId(conn.0), least });
        }
    }
}

/// Every stream of every connection.
#[derive(Default)]
pub(super) struct Streams {
    conns: HashMap<Conn, Connection>,
    requests: HashMap<RequestId, (Conn, u64)>,
    deadlines: BinaryHeap<Reverse<(Instant, Conn, u64)>>,
    /// Entries of `deadlines` from which on those of streams that are over are looked for.
    deadlines_limit: usize,
    open_games: OpenGames,
    sweep_at: Option<Instant>,
    /// Requests whose answer is with a worker.
    parsing: BTreeMap<RequestId, Conn>,
    /// Bytes of frames that are with a worker, also of connections that are gone.
    parsing_bytes: usize,
    /// Bytes of frames that are incomplete or with a worker: the sum over all connections.
    frame_bytes: usize,
    /// Connections with runs going out, in turn.
    senders: BTreeSet<Conn>,
    /// Blocks at the workers: for which run, and which of its blocks.
    reads: HashMap<u64, (InboundId, u64)>,
    next_read: u64,
    /// Who was given read buffers first the last time.
    fed_first: Option<Conn>,
    /// When to look again for a connection that keeps read buffers from others.
    evict_at: Option<Instant>,
    /// How fast games may go out.
    upload: Pace,
    /// Some run waits for that.
    throttled: bool,
    /// Who went on first the last time that it allowed more.
    resumed_first: Option<Conn>,
    /// For whoever asks how it goes.
    pub(super) counters: Counters,
    scratch: Vec<u8>,
}

struct Connection {
    /// The lowest bit of the numbers of the streams that the peer opens.
    theirs: u64,
    /// Which of them were seen: those both ways, those one way.
    seen: [Numbers; 2],
    streams: HashMap<u64, Stream>,
    /// Streams with something to write.
    writing: BTreeSet<u64>,
    /// Runs going out, oldest first.
    sends: VecDeque<u64>,
    /// Bytes of frames that are incomplete or with a worker.
    frame_bytes: usize,
    /// Read buffers whose bytes are on their way to the peer, up to its acknowledgement.
    buffers: BufferAccount,
    /// When the transport last had taken [`PROGRESS_BYTES`] more of what goes out.
    moved_at: Instant,
    /// Bytes that it took since.
    moved_bytes: u64,
}

impl Connection {
    fn new(dialled: bool, now: Instant) -> Self {
        Self {
            // RFC 9000, section 2.1: who accepted the connection opens the odd ones.
            theirs: u64::from(dialled),
            seen: <[Numbers; 2]>::default(),
            streams: HashMap::new(),
            writing: BTreeSet::new(),
            sends: VecDeque::new(),
            frame_bytes: 0,
            buffers: BufferAccount::default(),
            moved_at: now,
            moved_bytes: 0,
        }
    }

    /// Whether workers read blocks for it.
    fn is_read_for(&self) -> bool {
        self.sends.iter().filter_map(|number| self.streams.get(number)).any(|stream| match &stream.kind {
            Kind::Inbound { state: Inbound::Sending(sending), .. } => sending.reading > 0,
            _ => false,
        })
    }

    /// Whether the peer has just opened this stream.
    fn is_new(&mut self, stream: u64) -> bool {
        let [both_ways, one_way] = &mut self.seen;
        let seen = if stream & 2 == 0 { both_ways } else { one_way };
        stream & 1 == self.theirs && seen.is_new(stream)
    }
}

struct Stream {
    kind: Kind,
    /// When patience ends; checked lazily.
    deadline: Option<Instant>,
}

enum Kind {
    Asking(Box<Asking>),
    Fetching { request: Outgoing, fetching: Box<Fetching> },
    Telling(Outgoing),
    Hearing(FrameReader),
    Inbound { state: Inbound, fin: bool },
}

struct Asking {
    request: RequestId,
    outgoing: Outgoing,
    frame: FrameReader,
    /// Bytes after the frame; only a manifest has them.
    tail: Vec<u8>,
    tail_limit: usize,
}

enum Inbound {
    Reading(FrameReader),
    /// With the engine, or waiting for a game to be opened.
    Waiting(Option<Opening>),
    Answering(Outgoing),
    Sending(Box<Sending>),
    /// Stopped; blocks are still at the workers.
    Stopping {
        reading: usize,
        bytes: u64,
        changed: bool,
    },
}

/// What to send once the game is open.
struct Opening {
    files: Files,
    what: ToSend,
}

enum ToSend {
    Manifest { content_hash: Option<ContentHash>, dirs: bool },
    Chunks(Box<GetChunks>),
}

fn conn_id(conn: Conn) -> ConnId {
    ConnId(conn.0)
}

fn conn_of(id: ConnId) -> Conn {
    Conn(id.0)
}

impl Streams {
    /// Bytes of messages that are incomplete, or with a worker.
    pub(super) fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// What runs that go out wait for.
    pub(super) fn send_stalls(&self) -> SendStalls {
        let mut stalls = SendStalls { upload_limit: self.throttled, ..SendStalls::default() };
        for connection in self.senders.iter().filter_map(|conn| self.conns.get(conn)) {
            // Of all runs of a connection together: one goes after the other, and the later ones wait for nothing else.
            let (mut parts, mut reading, mut wants_read) = (0, 0, false);
            for number in &connection.sends {
                if let Some(Stream { kind: Kind::Inbound { state: Inbound::Sending(sending), .. }, .. }) =
                    connection.streams.get(number)
                {
                    parts += sending.outgoing.parts_left();
                    reading += sending.ahead();
                    wants_read |= sending.wants_read();
                }
            }
            match (parts, reading) {
                (0, 0) => stalls.read_buffers |= wants_read,
                (0, _) => stalls.source_read = true,
                _ => stalls.network |= !self.throttled,
            }
        }
        stalls
    }

    /// A connection stands. `dialled`: by this side.
    pub(super) fn connected(&mut self, conn: Conn, dialled: bool, now: Instant) {
        self.conns.entry(conn).or_insert_with(|| Connection::new(dialled, now));
    }

    /// How many connections stand.
    pub(super) fn connection_count(&self) -> usize {
        self.conns.len()
    }

    /// Every connection that stands, oldest first.
    pub(super) fn connections(&self) -> Vec<Conn> {
        let mut conns: Vec<Conn> = self.conns.keys().copied().collect();
        conns.sort_unstable();
        conns
    }

    /// The engine closed a connection: everything on it ends, and nothing is said of it.
    pub(super) fn closed(&mut self, conn: Conn) {
        self.disconnected(conn, &mut VecDeque::new());
    }

    /// A connection is gone: everything on it ends.
    pub(super) fn disconnected(&mut self, conn: Conn, inputs: &mut VecDeque<Input>) {
        self.senders.remove(&conn);
        let Some(connection) = self.conns.remove(&conn) else { return };
        self.frame_bytes -= connection.frame_bytes;
        self.parsing.retain(|&request, of| {
            if *of == conn {
                inputs.push_back(Input::Answered { request, result: Err(RunFailure::ConnectionLost) });
            }
            *of != conn
        });
        for (number, stream) in connection.streams {
            let to = InboundId { conn: conn_id(conn), stream: number };
            match stream.kind {
                Kind::Asking(asking) => {
                    self.requests.remove(&asking.request);
                    inputs.push_back(Input::Answered {
                        request: asking.request,
                        result: Err(RunFailure::ConnectionLost),
                    });
                }
                Kind::Fetching { fetching, .. } => {
                    self.counters.fetching -= 1;
                    self.requests.remove(&fetching.request);
                    inputs.push_back(Input::RunDone {
                        request: fetching.request,
                        result: Err(RunFailure::ConnectionLost),
                    });
                }
                Kind::Hearing(_) | Kind::Telling(_) => {}
                Kind::Inbound { state, .. } => match state {
                    Inbound::Reading(_) | Inbound::Answering(_) => {}
                    Inbound::Waiting(None) => inputs.push_back(Input::RequestGone { from: to }),
                    Inbound::Waiting(Some(_)) => inputs.push_back(Input::SendDone { to, bytes: 0, changed: false }),
                    Inbound::Sending(sending) => {
                        inputs.push_back(Input::SendDone { to, bytes: sending.sent, changed: false });
                    }
                    Inbound::Stopping { bytes, changed, .. } => {
                        inputs.push_back(Input::SendDone { to, bytes, changed });
                    }
                },
            }
        }
    }

    /// A worker parsed a long frame.
    pub(super) fn parsed_elsewhere(&mut self, cx: &mut Shell<'_>, parsed: ParsedElsewhere) {
        let ParsedElsewhere { conn, bytes, message } = parsed;
        self.parsing_bytes -= bytes;
        self.release(conn, bytes);
        match message {
            Message::Notification(result) => {
                if self.conns.contains_key(&conn) {
                    self.heard(cx, conn, result);
                }
            }
            Message::Answer { request, result } => {
                if self.parsing.remove(&request).is_none() {
                    // Cancelled, or its connection is gone.
                    return;
                }
                let broken = match &result {
                    Err(RunFailure::Malformed(what)) => Some(what.clone()),
                    _ => None,
                };
                cx.inputs.push_back(Input::Answered { request, result });
                if let Some(what) = broken {
                    self.protocol_fault(cx, conn, CloseCode::Malformed, &what);
                }
            }
        }
    }

    fn mark_writing(&mut self, conn: Conn, number: u64) {
        if let Some(connection) = self.conns.get_mut(&conn) {
            connection.writing.insert(number);
        }
    }

    fn stream(&mut self, conn: Conn, number: u64) -> Option<&mut Stream> {
        self.conns.get_mut(&conn)?.streams.get_mut(&number)
    }

    fn kind(&mut self, conn: Conn, number: u64) -> Option<&mut Kind> {
        self.stream(conn, number).map(|stream| &mut stream.kind)
    }

    fn forget(&mut self, conn: Conn, number: u64) {
        let Some(connection) = self.conns.get_mut(&conn) else { return };
        connection.writing.remove(&number);
        let removed = connection.streams.remove(&number);
        self.counters.fetching -= usize::from(matches!(&removed, Some(Stream { kind: Kind::Fetching { .. }, .. })));
        let held = removed.map_or(0, |stream| stream.kind.buffered());
        self.release(conn, held);
        self.leave_senders(conn, number);
    }

    /// Takes note of bytes of a frame that are held for a connection.
    fn hold(&mut self, conn: Conn, bytes: usize) {
        if let Some(connection) = self.conns.get_mut(&conn) {
            connection.frame_bytes += bytes;
            self.frame_bytes += bytes;
        }
    }

    /// They are held no more.
    fn release(&mut self, conn: Conn, bytes: usize) {
        if let Some(connection) = self.conns.get_mut(&conn) {
            connection.frame_bytes -= bytes;
            self.frame_bytes -= bytes;
        }
    }

    fn leave_senders(&mut self, conn: Conn, number: u64) {
        let Some(connection) = self.conns.get_mut(&conn) else { return };
        connection.sends.retain(|&send| send != number);
        if connection.sends.is_empty() {
            self.senders.remove(&conn);
        }
    }

    /// What came on a stream broke the rules: whoever waits for it hears so, then the connection is closed.
    fn stream_fault(&mut self, cx: &mut Shell<'_>, conn: Conn, number: u64, code: CloseCode, what: &str) {
        let failure = RunFailure::Malformed(what.to_owned());
        match self.kind(conn, number) {
            Some(Kind::Asking(_)) => self.end_ask(cx, conn, number, Err(failure)),
            Some(Kind::Fetching { .. }) => self.end_fetch(cx, conn, number, Err(failure)),
            _ => {}
        }
        self.protocol_fault(cx, conn, code, what);
    }

    fn malformed(&mut self, cx: &mut Shell<'_>, conn: Conn, number: u64, what: &str) {
        self.stream_fault(cx, conn, number, CloseCode::Malformed, what);
    }

    /// The peer broke the rules: its connection is closed with a named code, and the engine hears of it.
    fn protocol_fault(&mut self, cx: &mut Shell<'_>, conn: Conn, code: CloseCode, what: &str) {
        tracing::warn!(?conn, ?code, what, "closing a connection");
        cx.endpoint.close(conn, code.number(), what, cx.now);
        self.disconnected(conn, cx.inputs);
        cx.inputs.push_back(Input::ConnectionDown { conn: conn_id(conn), code: Some(code), reason: what.to_owned() });
    }
}

impl Kind {
    /// Bytes held of a frame that is not complete.
    fn buffered(&self) -> usize {
        match self {
            Self::Asking(asking) => asking.frame.buffered() + asking.tail.len(),
            Self::Hearing(frame) | Self::Inbound { state: Inbound::Reading(frame), .. } => frame.buffered(),
            Self::Fetching { .. } | Self::Telling(_) | Self::Inbound { .. } => 0,
        }
    }
}

fn error_frame(code: WireErrorCode, message: &str) -> Vec<u8> {
    let error = Answer::Error(WireError { code, message: message.to_owned() });
    encode(&error, MAX_CONTROL_FRAME).unwrap_or_default()
}
