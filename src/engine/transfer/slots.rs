//! How many runs go out at once over all peers, and who is next. A peer to which none goes out always gets one: those who hold
//! on to what they asked for must not keep it from all the others.
//!
//! ```text
//!   request ──a slot is free, or its first─▶ sent
//!      │                                     ▲
//!      ├──the queue has room──▶ waiting ─────┘ whoever has fewest runs going out, then in turn
//!      └──neither─────────────▶ busy
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::engine::io::{ConnId, InboundId};
use crate::proto::GetChunks;

/// Requests that may wait, for each slot. Together with [`crate::config::Limits::upload_runs`] it says how long one waits at
/// worst: less than the time after which a downloader takes it for lost, even over 100 Mbit/s.
const WAITING_PER_SLOT: usize = 2;

/// Runs of chunks that go out or wait to.
#[derive(Debug, Default)]
pub(super) struct Slots {
    sending: BTreeSet<InboundId>,
    /// By connection, in the order of their requests; none is empty.
    waiting: BTreeMap<ConnId, VecDeque<(u64, GetChunks)>>,
    /// Who was given a slot last.
    last: Option<ConnId>,
}

/// What becomes of a request.
#[derive(PartialEq, Debug)]
pub(super) enum Place {
    /// It goes out now.
    Now(GetChunks),
    /// It waits.
    Queued,
    /// There is no room for it.
    Full,
}

impl Slots {
    /// A request that may be served; at most `limit` go out at once.
    pub(super) fn enter(&mut self, from: InboundId, request: GetChunks, limit: usize) -> Place {
        let is_first = self.sending_to(from.conn) == 0 && self.waiting_of(from.conn) == 0;
        // Whoever waits is first.
        if is_first || (self.sending.len() < limit && self.waiting.is_empty()) {
            self.start(from);
            return Place::Now(request);
        }
        if self.waiting() >= most_waiting(limit) {
            return Place::Full;
        }
        self.waiting.entry(from.conn).or_default().push_back((from.stream, request));
        Place::Queued
    }

    /// Takes the next request that waits, if a slot is free for it.
    pub(super) fn next(&mut self, limit: usize) -> Option<(InboundId, GetChunks)> {
        let after_last = |conn: &ConnId| self.last.is_some_and(|last| *conn <= last);
        let conn = *self.waiting.keys().min_by_key(|conn| (self.sending_to(**conn), after_last(conn), **conn))?;
        if self.sending.len() >= limit && self.sending_to(conn) > 0 {
            return None;
        }
        let (stream, request) = self.pop(conn)?;
        let to = InboundId { conn, stream };
        self.start(to);
        Some((to, request))
    }

    /// Takes any request that waits, without a slot: to refuse it.
    pub(super) fn take(&mut self) -> Option<InboundId> {
        let conn = *self.waiting.keys().next()?;
        let (stream, _) = self.pop(conn)?;
        Some(InboundId { conn, stream })
    }

    /// A run is over, or was refused after all.
    pub(super) fn done(&mut self, to: InboundId) {
        self.sending.remove(&to);
    }

    /// Nobody waits for the answer to a request any more.
    pub(super) fn gone(&mut self, from: InboundId) {
        if let Some(queue) = self.waiting.get_mut(&from.conn) {
            queue.retain(|(stream, _)| *stream != from.stream);
            if queue.is_empty() {
                self.waiting.remove(&from.conn);
            }
        }
    }

    /// Everything of a connection is over.
    pub(super) fn connection_down(&mut self, conn: ConnId) {
        self.sending.retain(|to| to.conn != conn);
        self.waiting.remove(&conn);
    }

    /// Requests that wait, of all connections.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    /// Requests of a connection that wait.
    pub(super) fn waiting_of(&self, conn: ConnId) -> usize {
        self.waiting.get(&conn).map_or(0, VecDeque::len)
    }

    fn sending_to(&self, conn: ConnId) -> usize {
        let id = |stream| InboundId { conn, stream };
        self.sending.range(id(0)..=id(u64::MAX)).count()
    }

    fn start(&mut self, to: InboundId) {
        self.last = Some(to.conn);
        self.sending.insert(to);
    }

    fn pop(&mut self, conn: ConnId) -> Option<(u64, GetChunks)> {
        let queue = self.waiting.get_mut(&conn)?;
        let request = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&conn);
        }
        request
    }
}

/// Requests that may wait while at most `limit` go out.
pub(super) fn most_waiting(limit: usize) -> usize {
    limit.saturating_mul(WAITING_PER_SLOT)
}
