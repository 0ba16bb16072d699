//! Every stream of every connection.
//!
//! A stream is a state machine of its kind. It is lent what it works with ([`Io`]), takes a step, and says what becomes of
//! it ([`Step`]); this table has it take its steps, and carries out what it says.
//!
//! | part | is |
//! |---|---|
//! | `request`, `fetch` | what this side asks: requests, runs of chunks |
//! | `notice` | notifications, of both sides |
//! | `inbound`, `upload` | what peers ask: a request, and the run of chunks that answers it |
//! | `stream` | which of them a stream is |
//! | `io` | what it works with, and the transport as it sees it |
//! | `frames` | a message that arrives, bytes that leave |
//! | `parsing` | long frames at the workers |
//! | `ours`, `serving` | how the engine has this side ask, and answer |
//! | `uploads`, `games` | read buffers, pace and eviction over all connections; the games that are open |
//! | `connection`, `numbers` | the streams of one connection, and which of the peer's were seen |
//! | `deadlines` | when to look at those that are waited for |
//!
//! Streams are read as soon as they have something: a reader never holds data back to slow its sender, since unread bytes
//! would use up the connection's window and block everything else on it. Slowing down is done by not requesting.

mod connection;
mod deadlines;
mod fetch;
mod frames;
mod games;
mod inbound;
mod io;
mod notice;
mod numbers;
mod ours;
mod parsing;
mod request;
mod serving;
mod stream;
#[cfg(test)]
mod tests;
mod upload;
mod uploads;

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use crate::config::Config;
use crate::engine::{ConnId, InboundId, Input};
use crate::proto::{CloseCode, StreamCode};
use crate::quic::{ConnHandle as Conn, Endpoint};
use crate::workers::Task;

use super::metrics::Counters;
use super::pools::Pools;
use connection::Connection;
use deadlines::Deadlines;
use inbound::Inbound;
use io::{Fault, Io, OnStream, Step};
use notice::Hearing;
pub(super) use parsing::ParsedElsewhere;
use parsing::{Message, Parsing, Unparsed};
use request::Requests;
use stream::{Kind, Stream};
use uploads::Uploads;

/// Size of the buffer that control bytes pass through.
const SCRATCH: usize = 64 << 10;

/// What the table works with, lent for the length of a call.
pub(super) struct Shell<'a> {
    pub(super) now: Instant,
    pub(super) config: &'a Config,
    pub(super) endpoint: &'a mut Endpoint,
    pub(super) inputs: &'a mut VecDeque<Input>,
    /// Tasks for the workers, in order; the reactor keeps what does not fit in their queue.
    pub(super) tasks: &'a mut VecDeque<Task<ParsedElsewhere>>,
    pub(super) pools: &'a Pools,
}

/// Every stream of every connection.
#[derive(Default)]
pub(super) struct Streams {
    conns: HashMap<Conn, Connection>,
    /// What this side asked.
    requests: Requests,
    parsing: Parsing,
    deadlines: Deadlines,
    /// Bytes of frames that are incomplete or with a worker: the sum over all connections.
    frame_bytes: usize,
    uploads: Uploads,
    /// For whoever asks how it goes.
    pub(super) counters: Counters,
    scratch: Vec<u8>,
}

fn conn_id(conn: Conn) -> ConnId {
    ConnId(conn.0)
}

fn conn_of(id: ConnId) -> Conn {
    Conn(id.0)
}

/// The deadline of a stream, if there is the stream and it has one.
fn deadline(conns: &HashMap<Conn, Connection>, conn: Conn, number: u64) -> Option<Instant> {
    conns.get(&conn)?.streams.get(&number)?.deadline
}

impl Streams {
    /// A connection stands. `dialled`: by this side.
    pub(super) fn connected(&mut self, conn: Conn, dialled: bool, now: Instant) {
        self.conns.entry(conn).or_insert_with(|| Connection::new(dialled, now));
    }

    /// The engine closed a connection: everything on it ends, and nothing is said of it.
    pub(super) fn closed(&mut self, conn: Conn) {
        self.disconnected(conn, &mut VecDeque::new());
    }

    /// A connection is gone: everything on it ends.
    pub(super) fn disconnected(&mut self, conn: Conn, inputs: &mut VecDeque<Input>) {
        self.uploads.lost(conn);
        let Some(connection) = self.conns.remove(&conn) else { return };
        self.frame_bytes -= connection.frame_bytes;
        self.parsing.lost(conn, inputs);
        for (number, stream) in connection.streams {
            stream.request.and_then(|request| self.requests.remove(request));
            stream.kind.lost(InboundId { conn: conn_id(conn), stream: number }, inputs);
        }
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

    /// Runs that peers were asked for and that are not over.
    pub(super) fn runs_awaited(&self) -> usize {
        self.requests.runs()
    }

    /// Bytes of messages that are incomplete, or with a worker.
    pub(super) fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// A stream has data, FIN or a reset to read.
    pub(super) fn readable(&mut self, cx: &mut Shell<'_>, conn: Conn, number: u64) {
        let Some(connection) = self.conns.get_mut(&conn) else { return };
        if !connection.streams.contains_key(&number) {
            if !connection.is_new(number) {
                // Over on this side: what the peer still says on it is of no interest.
                cx.endpoint.stop_sending(conn, number, StreamCode::Cancelled.number());
                return;
            }
            let one_way = number & 2 == 2;
            let kind = if one_way { Kind::Hearing(Hearing::new()) } else { Kind::Inbound(Inbound::new()) };
            let deadline = cx.now + cx.config.timers.request_timeout;
            connection.streams.insert(number, Stream { kind, deadline: Some(deadline), request: None, held: 0 });
            self.arm(deadline, conn, number);
        }
        while self.step(cx, conn, number, |kind, io| kind.readable(io)) {}
    }

    /// The transport may take more on this connection.
    pub(super) fn writable(&mut self, cx: &mut Shell<'_>, conn: Conn) {
        let Some(connection) = self.conns.get(&conn) else { return };
        let writing: Vec<u64> = connection.writing.iter().copied().collect();
        for number in writing {
            self.pump(cx, conn, number);
        }
        self.read_ahead(cx, conn);
    }

    /// The peer no longer wants what this side sends on a stream.
    pub(super) fn stopped(&mut self, cx: &mut Shell<'_>, conn: Conn, number: u64) {
        self.step(cx, conn, number, |kind, io| kind.stopped(io));
    }

    /// A worker parsed a long frame.
    pub(super) fn parsed_elsewhere(&mut self, cx: &mut Shell<'_>, parsed: ParsedElsewhere) {
        let ParsedElsewhere { conn, bytes, message } = parsed;
        self.parsing.done(bytes);
        let connection = self.conns.get_mut(&conn);
        let stands = connection.is_some();
        if let Some(connection) = connection {
            connection.frame_bytes -= bytes;
            self.frame_bytes -= bytes;
        }
        let fault = match message {
            Message::Notification(_) if !stands => return,
            Message::Notification(parsed) => notice::heard(conn_id(conn), parsed, cx.inputs).err(),
            // Cancelled, or its connection is gone.
            Message::Answer { request, .. } if !self.parsing.remove(request) => return,
            Message::Answer { request, result } => {
                let fault = request::fault_of(&result);
                cx.inputs.push_back(Input::Answered { request, result });
                fault
            }
        };
        if let Some(fault) = fault {
            self.protocol_fault(cx, conn, &fault);
        }
    }

    /// When [`Streams::expire`] has something to do.
    pub(super) fn next_deadline(&mut self) -> Option<Instant> {
        let first = self.deadlines.next(|conn, number| deadline(&self.conns, conn, number));
        first.into_iter().chain(self.uploads.next_timeout()).min()
    }

    /// Ends what has run out of time, and goes on with what was held back.
    pub(super) fn expire(&mut self, cx: &mut Shell<'_>) {
        self.resume_uploads(cx);
        self.uploads.games.sweep(cx.now);
        while let Some((conn, number)) =
            self.deadlines.pop_due(cx.now, |conn, number| deadline(&self.conns, conn, number))
        {
            self.step(cx, conn, number, |kind, io| kind.expired(io));
        }
    }

    /// The PC slept: what was waited for is given its whole time again.
    pub(super) fn woke(&mut self, cx: &Shell<'_>) {
        let timers = &cx.config.timers;
        for connection in self.conns.values_mut() {
            for (&number, stream) in &mut connection.streams {
                let is_run = stream.request.is_some_and(|request| self.requests.is_run(request))
                    || connection.share.sends().any(|send| send == number);
                let patience = if is_run { timers.run_stall } else { timers.request_timeout };
                // Their entries are looked at when they are due, and put off.
                stream.deadline = stream.deadline.map(|deadline| deadline.max(cx.now + patience));
            }
        }
    }

    /// Has a stream take a step, and carries out what it says; returns whether it said [`Step::Again`].
    fn step(
        &mut self,
        cx: &mut Shell<'_>,
        conn: Conn,
        number: u64,
        take: impl FnOnce(&mut Kind, &mut Io<'_, OnStream<'_>>) -> Step,
    ) -> bool {
        let Some(connection) = self.conns.get_mut(&conn) else { return false };
        let Connection { streams, share, frame_bytes, .. } = connection;
        let Some(stream) = streams.get_mut(&number) else { return false };
        if self.scratch.is_empty() {
            self.scratch = vec![0; SCRATCH];
        }
        let before = stream.held;
        let step = take(
            &mut stream.kind,
            &mut Io {
                wire: OnStream { endpoint: cx.endpoint, conn, number },
                id: InboundId { conn: conn_id(conn), stream: number },
                now: cx.now,
                config: cx.config,
                inputs: cx.inputs,
                tasks: cx.tasks,
                landing: &cx.pools.landing,
                deadline: &mut stream.deadline,
                held: &mut stream.held,
                share,
                uploads: &mut self.uploads,
                counters: &mut self.counters,
                scratch: &mut self.scratch,
            },
        );
        let held = stream.held;
        *frame_bytes = *frame_bytes + held - before;
        self.frame_bytes = self.frame_bytes + held - before;
        let again = self.settle(cx, conn, number, step);
        if held > before && self.frame_bytes > cx.config.limits.frame_bytes {
            self.relieve(cx);
        }
        again
    }

    /// Carries out what a stream said after a step.
    fn settle(&mut self, cx: &mut Shell<'_>, conn: Conn, number: u64, step: Step) -> bool {
        match step {
            Step::Wait => {}
            Step::Again => return true,
            Step::Begin => self.begin(cx, conn, number),
            Step::Answer(outgoing) => self.respond(cx, InboundId { conn: conn_id(conn), stream: number }, outgoing),
            Step::Over => self.forget(conn, number),
            Step::Parse(unparsed) => self.parse(cx, conn, number, unparsed),
            Step::Fault(fault) => {
                self.forget(conn, number);
                self.protocol_fault(cx, conn, &fault);
            }
        }
        false
    }

    /// A stream has something to write, and is waited for.
    fn begin(&mut self, cx: &mut Shell<'_>, conn: Conn, number: u64) {
        if let Some(at) = deadline(&self.conns, conn, number) {
            self.arm(at, conn, number);
        }
        self.write(cx, conn, number);
    }

    fn arm(&mut self, at: Instant, conn: Conn, number: u64) {
        self.deadlines.arm(at, conn, number, |conn, number| deadline(&self.conns, conn, number));
    }

    /// A stream has something new to write.
    fn write(&mut self, cx: &mut Shell<'_>, conn: Conn, number: u64) {
        if let Some(connection) = self.conns.get_mut(&conn) {
            connection.writing.insert(number);
        }
        self.pump(cx, conn, number);
    }

    fn pump(&mut self, cx: &mut Shell<'_>, conn: Conn, number: u64) {
        if !self.step(cx, conn, number, |kind, io| kind.writable(io))
            && let Some(connection) = self.conns.get_mut(&conn)
        {
            connection.writing.remove(&number);
        }
    }

    fn forget(&mut self, conn: Conn, number: u64) {
        let Some(connection) = self.conns.get_mut(&conn) else { return };
        connection.writing.remove(&number);
        self.uploads.leave(&mut connection.share, InboundId { conn: conn_id(conn), stream: number });
        let Some(stream) = connection.streams.remove(&number) else { return };
        connection.frame_bytes -= stream.held;
        self.frame_bytes -= stream.held;
        stream.request.and_then(|request| self.requests.remove(request));
    }

    /// Lets a worker parse what a stream brought: its bytes count as held until that is done.
    fn parse(&mut self, cx: &mut Shell<'_>, conn: Conn, number: u64, unparsed: Unparsed) {
        let stream = self.conns.get_mut(&conn).and_then(|connection| connection.streams.get_mut(&number));
        let bytes = stream.map_or(0, |stream| std::mem::take(&mut stream.held));
        self.forget(conn, number);
        cx.tasks.push_back(self.parsing.begin(conn, bytes, unparsed));
        // Bytes of connections that are gone meanwhile count as well: they lie there until a worker has been at them.
        if self.parsing.bytes() > cx.config.limits.frame_bytes {
            let what = "long messages come faster than they can be read".to_owned();
            self.protocol_fault(cx, conn, &Fault { code: CloseCode::Overload, what });
        }
    }

    /// Too much is held: the connection that holds most of it goes, whoever brought the last byte.
    fn relieve(&mut self, cx: &mut Shell<'_>) {
        let most = self.conns.iter().max_by_key(|(conn, connection)| (connection.frame_bytes, **conn));
        if let Some((&conn, connection)) = most {
            tracing::warn!(of_all = self.frame_bytes, of_connection = connection.frame_bytes, "too much is unfinished");
            let what = "too many incomplete frames".to_owned();
            self.protocol_fault(cx, conn, &Fault { code: CloseCode::Overload, what });
        }
    }

    /// The peer broke the rules: its connection is closed with a named code, and the engine hears of it.
    fn protocol_fault(&mut self, cx: &mut Shell<'_>, conn: Conn, fault: &Fault) {
        let Fault { code, what } = fault;
        tracing::warn!(?conn, ?code, what, "closing a connection");
        cx.endpoint.close(conn, code.number(), what, cx.now);
        self.disconnected(conn, cx.inputs);
        let (code, reason) = (Some(*code), what.clone());
        cx.inputs.push_back(Input::ConnectionDown { conn: conn_id(conn), code, reason });
    }
}
