//! What of games goes out, over all connections: who gets the buffers that blocks are read into, how fast it may go, and who is
//! cut off when others go without.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::engine::{ConnId, InboundId, Pace};
use crate::proto::CloseCode;
use crate::quic::ConnHandle as Conn;
use crate::reactor::metrics::SendStalls;
use crate::workers::{BufferAccount, Task};

use super::connection::Connection;
use super::games::OpenGames;
use super::{Fault, Shell, Streams};

/// A connection that holds read buffers moves as many bytes...
const PROGRESS_BYTES: u64 = 64 << 10;
/// ...in this time, or is closed when others go without.
const PROGRESS_TIME: Duration = Duration::from_secs(3);

/// What goes out, over all connections.
#[derive(Default)]
pub(super) struct Uploads {
    pub(super) games: OpenGames,
    /// Connections with runs going out.
    senders: BTreeSet<Conn>,
    reads: Reads,
    /// How fast games may go out.
    pace: Pace,
    /// Some run waits for that.
    throttled: bool,
    /// Who is given read buffers first.
    fed_first: Turn,
    /// Who goes on first when the pace allows more.
    resumed_first: Turn,
    /// When to look again for a connection that keeps read buffers from others.
    evict_at: Option<Instant>,
}

/// Blocks at the workers: for which run, and which of its blocks.
#[derive(Default)]
struct Reads {
    waiting: HashMap<u64, (InboundId, u64)>,
    next: u64,
}

/// Whose turn it was.
#[derive(Default)]
struct Turn(Option<Conn>);

impl Turn {
    /// Everybody, beginning with another one every time.
    fn next(&mut self, all: &BTreeSet<Conn>) -> Vec<Conn> {
        let mut all: Vec<Conn> = all.iter().copied().collect();
        let start = all.partition_point(|&conn| Some(conn) <= self.0);
        let count = all.len();
        all.rotate_left(start % count.max(1));
        self.0 = all.first().copied();
        all
    }
}

/// A connection's part in what goes out.
pub(super) struct Share {
    /// Streams of runs, oldest first.
    sends: VecDeque<u64>,
    /// Read buffers whose bytes are on their way to the peer, up to its acknowledgement.
    buffers: BufferAccount,
    /// When the transport last had taken [`PROGRESS_BYTES`] more of what goes out.
    pub(super) moved_at: Instant,
    /// Bytes that it took since.
    moved_bytes: u64,
}

impl Share {
    pub(super) fn new(now: Instant) -> Self {
        Self { sends: VecDeque::new(), buffers: BufferAccount::default(), moved_at: now, moved_bytes: 0 }
    }

    /// Streams of runs, oldest first.
    pub(super) fn sends(&self) -> impl Iterator<Item = u64> {
        self.sends.iter().copied()
    }

    /// The transport took so many bytes; `held_back`: this side allows no more.
    pub(super) fn moved(&mut self, bytes: u64, held_back: bool, now: Instant) {
        self.moved_bytes += bytes;
        if self.moved_bytes >= PROGRESS_BYTES || held_back {
            self.moved_bytes = 0;
            self.moved_at = now;
        }
    }
}

impl Uploads {
    /// A run begins.
    pub(super) fn join(&mut self, share: &mut Share, id: InboundId) {
        share.sends.push_back(id.stream);
        self.senders.insert(Conn(id.conn.0));
    }

    /// A stream is over: if it was a run, its connection may have none left.
    pub(super) fn leave(&mut self, share: &mut Share, id: InboundId) {
        share.sends.retain(|&send| send != id.stream);
        if share.sends.is_empty() {
            self.senders.remove(&Conn(id.conn.0));
        }
    }

    /// A connection is gone.
    pub(super) fn lost(&mut self, conn: Conn) {
        self.senders.remove(&conn);
    }

    /// Bytes of games that may go now.
    pub(super) fn allowance(&mut self, now: Instant) -> usize {
        self.pace.available(now)
    }

    /// So many went; `throttled`: more would have.
    pub(super) fn spend(&mut self, bytes: u64, throttled: bool) {
        self.pace.spend(bytes);
        self.throttled |= throttled;
    }

    /// A worker is done with a block: whose it is, and which.
    pub(super) fn read_done(&mut self, token: u64) -> Option<(InboundId, u64)> {
        self.reads.waiting.remove(&token)
    }

    /// When something is due.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let resume = self.pace.ready_at().filter(|_| self.throttled);
        [self.games.next_timeout(), self.evict_at, resume].into_iter().flatten().min()
    }

    /// Has blocks read for a connection until `limit` of them are ahead of the transport, or its share of the buffers is
    /// in use. `false`: it has no buffer at all, and there is none.
    fn read_ahead(&mut self, cx: &mut Shell<'_>, conn: Conn, connection: &mut Connection, limit: usize) -> bool {
        let most = (cx.config.limits.read_buffers / self.senders.len().max(1)).max(1);
        let Connection { share, streams, .. } = connection;
        let mut ahead = 0;
        for &number in &share.sends {
            let inbound = streams.get_mut(&number).and_then(|stream| stream.kind.inbound_mut());
            let Some(upload) = inbound.and_then(|inbound| inbound.upload_mut()) else { continue };
            ahead += upload.ahead() + upload.parts_left();
            while ahead < limit && upload.wants_read() {
                // Also what the transport has and the peer did not acknowledge: one that has gone silent holds on to it.
                let in_use = share.buffers.in_use();
                if in_use >= most {
                    return true;
                }
                let Some(buf) = cx.pools.read.take_for(&share.buffers) else { return in_use > 0 };
                if in_use == 0 {
                    share.moved_at = cx.now;
                }
                self.reads.next += 1;
                let Some((block, read)) = upload.next_read(self.reads.next, buf) else { break };
                ahead += 1;
                let to = InboundId { conn: ConnId(conn.0), stream: number };
                self.reads.waiting.insert(self.reads.next, (to, block));
                cx.tasks.push_back(Task::Read(read));
            }
            if ahead >= limit {
                break;
            }
        }
        true
    }

    /// The connection with read buffers that has stood still for longest, and until when that is suffered.
    fn slowest(conns: &HashMap<Conn, Connection>) -> Option<(Conn, Instant)> {
        // Those that wait for this side's disk are not to blame.
        let is_read_for = |connection: &Connection| connection.uploads().any(|upload| upload.reading() > 0);
        let holders = conns.iter().filter(|(_, held)| held.share.buffers.in_use() > 0 && !is_read_for(held));
        let (&conn, connection) = holders.min_by_key(|(conn, connection)| (connection.share.moved_at, **conn))?;
        Some((conn, connection.share.moved_at + PROGRESS_TIME))
    }
}

impl Streams {
    /// Limits how fast games go out, in bytes per second over all connections; `None`: not at all.
    pub(in crate::reactor) fn limit_upload(&mut self, rate: Option<u64>) {
        self.uploads.pace = Pace::new(rate);
    }

    /// Goes on with the runs that were held back, as far as the limits allow by now.
    pub(super) fn resume_uploads(&mut self, cx: &mut Shell<'_>) {
        if self.uploads.throttled && self.uploads.pace.ready_at().is_none_or(|at| at <= cx.now) {
            self.uploads.throttled = false;
            // Another connection first every time, or it would get everything.
            for conn in self.uploads.resumed_first.next(&self.uploads.senders) {
                self.writable(cx, conn);
            }
        }
    }

    /// Gives every connection with runs going out its share of free read buffers. First one each, so that those that do
    /// not take their blocks cannot hold all there are, and beginning with another connection every time.
    pub(in crate::reactor) fn read_ahead_all(&mut self, cx: &mut Shell<'_>) {
        let senders = self.uploads.fed_first.next(&self.uploads.senders);
        let mut starving = false;
        for &conn in &senders {
            starving |= !self.read_ahead_to(cx, conn, 1);
        }
        for &conn in &senders {
            self.read_ahead(cx, conn);
        }
        self.uploads.evict_at = if starving { self.evict(cx) } else { None };
    }

    /// Has blocks read for the runs of a connection.
    pub(super) fn read_ahead(&mut self, cx: &mut Shell<'_>, conn: Conn) {
        self.read_ahead_to(cx, conn, cx.config.limits.read_ahead);
    }

    fn read_ahead_to(&mut self, cx: &mut Shell<'_>, conn: Conn, limit: usize) -> bool {
        let Some(connection) = self.conns.get_mut(&conn) else { return true };
        self.uploads.read_ahead(cx, conn, connection, limit)
    }

    /// All read buffers are in use, and somebody has none: closes the connection that has stood still for longest, if that
    /// is long enough. A few PCs that lost their power must not keep a game from all the others. Returns when to look again.
    fn evict(&mut self, cx: &mut Shell<'_>) -> Option<Instant> {
        let (conn, until) = Uploads::slowest(&self.conns)?;
        if until > cx.now {
            return Some(until);
        }
        let what = "what it asked for stands still while others wait".to_owned();
        self.protocol_fault(cx, conn, &Fault { code: CloseCode::Overload, what });
        Some(cx.now)
    }

    /// What runs that go out wait for.
    pub(in crate::reactor) fn send_stalls(&self) -> SendStalls {
        let throttled = self.uploads.throttled;
        let mut stalls = SendStalls { upload_limit: throttled, ..SendStalls::default() };
        for connection in self.uploads.senders.iter().filter_map(|conn| self.conns.get(conn)) {
            // Of all runs of a connection together: one goes after the other, and the later ones wait for nothing else.
            let (mut parts, mut reading, mut wants_read) = (0, 0, false);
            for upload in connection.uploads() {
                parts += upload.parts_left();
                reading += upload.ahead();
                wants_read |= upload.wants_read();
            }
            match (parts, reading) {
                (0, 0) => stalls.read_buffers |= wants_read,
                (0, _) => stalls.source_read = true,
                _ => stalls.network |= !throttled,
            }
        }
        stalls
    }
}
