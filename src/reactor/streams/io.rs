//! What a stream works with: its way to the transport, where it hands on what arrived, and what it says of itself after each
//! step. Nothing here knows what a stream is for.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::config::Config;
use crate::engine::{InboundId, Input, RunFailure};
use crate::proto::{CloseCode, FrameError, StreamCode};
use crate::quic::{ConnHandle as Conn, Endpoint, Recv, SendError};
use crate::reactor::metrics::Counters;
use crate::workers::{BufferPool, Task};

use super::frames::{Outgoing, Pumped, Taken};
use super::parsing::{ParsedElsewhere, Unparsed};
use super::uploads::{Share, Uploads};

/// The transport, as one stream sees it.
pub(super) trait Wire {
    /// Reads what has arrived.
    fn recv(&mut self, into: &mut [u8]) -> Recv;
    /// Hands bytes over without copying them; returns those that were not taken. `fin`: nothing follows.
    fn send(&mut self, bytes: Bytes, fin: bool) -> Result<Option<Bytes>, SendError>;
    /// Ends what is sent.
    fn finish(&mut self) -> Result<(), SendError>;
    /// Gives up sending.
    fn reset(&mut self, code: StreamCode);
    /// Asks the peer to give up sending.
    fn stop_sending(&mut self, code: StreamCode);
    /// Lets everything else on the connection go first.
    fn make_bulk(&mut self);
    /// The shortest time that a packet took to the peer and back, if that was measured.
    fn least_round_trip(&self) -> Option<Duration>;
}

/// Urgency of streams with game data; control streams have 0.
const BULK_URGENCY: u8 = 200;

/// A stream of the endpoint.
pub(super) struct OnStream<'a> {
    pub(super) endpoint: &'a mut Endpoint,
    pub(super) conn: Conn,
    pub(super) number: u64,
}

impl Wire for OnStream<'_> {
    fn recv(&mut self, into: &mut [u8]) -> Recv {
        self.endpoint.recv(self.conn, self.number, into)
    }

    fn send(&mut self, bytes: Bytes, fin: bool) -> Result<Option<Bytes>, SendError> {
        self.endpoint.send_bytes(self.conn, self.number, bytes, fin)
    }

    fn finish(&mut self) -> Result<(), SendError> {
        self.endpoint.send(self.conn, self.number, &[], true).map(drop)
    }

    fn reset(&mut self, code: StreamCode) {
        self.endpoint.reset(self.conn, self.number, code.number());
    }

    fn stop_sending(&mut self, code: StreamCode) {
        self.endpoint.stop_sending(self.conn, self.number, code.number());
    }

    fn make_bulk(&mut self) {
        self.endpoint.set_priority(self.conn, self.number, BULK_URGENCY, false);
    }

    fn least_round_trip(&self) -> Option<Duration> {
        self.endpoint.connection_stats(self.conn)?.min_rtt
    }
}

/// What a stream is lent for one step.
pub(super) struct Io<'a, W> {
    pub(super) wire: W,
    /// Its name.
    pub(super) id: InboundId,
    pub(super) now: Instant,
    pub(super) config: &'a Config,
    pub(super) inputs: &'a mut VecDeque<Input>,
    pub(super) tasks: &'a mut VecDeque<Task<ParsedElsewhere>>,
    pub(super) landing: &'a BufferPool,
    /// When patience with it ends.
    pub(super) deadline: &'a mut Option<Instant>,
    /// Bytes that it holds of a frame which is not complete.
    pub(super) held: &'a mut usize,
    /// Its connection's part in what goes out.
    pub(super) share: &'a mut Share,
    pub(super) uploads: &'a mut Uploads,
    pub(super) counters: &'a mut Counters,
    /// Control bytes pass through here.
    pub(super) scratch: &'a mut [u8],
}

impl<W: Wire> Io<'_, W> {
    /// From now on it is waited for so long.
    pub(super) fn wait_for(&mut self, patience: Duration) {
        *self.deadline = Some(self.now + patience);
    }

    /// Hands as much as possible to the transport; of games as much as the limit of uploads allows.
    pub(super) fn pump(&mut self, outgoing: &mut Outgoing) -> (Pumped, Taken) {
        let (pumped, taken) = outgoing.pump(&mut self.wire, self.uploads.allowance(self.now));
        self.uploads.spend(taken.of_game, pumped == Pumped::Throttled);
        (pumped, taken)
    }
}

/// What becomes of a stream after it was read, written to, stopped, or out of time.
pub(super) enum Step {
    /// There is nothing to do for now.
    Wait,
    /// There may be more to read; or something is left to write, as soon as that may go.
    Again,
    /// It has something to write, and is waited for from now on.
    Begin,
    /// A peer gets this answer, if there is room for it.
    Answer(Outgoing),
    /// It is over for this side. Whoever waited for it was told.
    Over,
    /// The same, and the rest is a worker's.
    Parse(Unparsed),
    /// The same, because the peer broke the rules: its connection ends.
    Fault(Fault),
}

/// A rule that a peer broke.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Fault {
    pub(super) code: CloseCode,
    pub(super) what: String,
}

impl Fault {
    /// What it said is none of the things that can be said.
    pub(super) fn malformed(what: impl Into<String>) -> Self {
        Self { code: CloseCode::Malformed, what: what.into() }
    }

    /// A stream ended too early.
    pub(super) fn cut_short() -> Self {
        Self::malformed("a stream ended in the middle of a frame")
    }

    /// A stream went on too long.
    pub(super) fn too_long() -> Self {
        Self::malformed("bytes after the end of a message")
    }

    /// A message was begun, and is not finished.
    pub(super) fn unfinished() -> Self {
        Self { code: CloseCode::Timeout, what: "a frame was not finished in time".to_owned() }
    }
}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Self {
        let code = match error {
            FrameError::TooLarge { .. } => CloseCode::FrameTooLarge,
            FrameError::Malformed(_) => CloseCode::Malformed,
        };
        Self { code, what: error.to_string() }
    }
}

/// Why nothing more can be read of an answer; `None`: it just has not arrived.
pub(super) fn end_of_answer(recv: Recv) -> Option<RunFailure> {
    match recv {
        Recv::Blocked | Recv::Data { .. } => None,
        Recv::Reset(code) => Some(RunFailure::Reset(code)),
        Recv::Gone => Some(RunFailure::ConnectionLost),
    }
}
