//! The only loop: one thread that owns all state and never blocks.
//!
//! # One turn
//!
//! 1. `wait`: lets packets gather, if many come one by one; then polls until the earliest deadline of the engine, the
//!    connections and the streams.
//! 2. `take_mail`: takes messages of the other threads: commands, sightings, file events.
//! 3. `receive`: reads the sockets until they would block, or until the budget is used up (then the next poll does not wait).
//! 4. `fire_timers`: fires what is due of the connections, whether or not there were events.
//! 5. `move_bytes`: takes finished work; readable streams into messages and landing buffers, blocks into streams; hands tasks to
//!    the workers.
//! 6. `decide`: feeds the engine and carries out what it says; hands tasks to the workers.
//! 7. `flush`: sends for every connection that has something to say, once; then moves bytes into the room that this made.
//! 8. `take_note`: of what transfers wait for until the next turn; then the engine hears (6) what came up since.
//!
//! Bulk bytes never pass the engine: it decides which chunks go where, and hears that they landed, were verified, were
//! written.
//!
//! | part | is |
//! |---|---|
//! | `start` | what happens before the first turn |
//! | `waiting`, `sleep` | the poll; a PC that slept |
//! | `inbox` | mail of other threads |
//! | `streams` | every stream of every connection |
//! | `perform` | how what the engine says is carried out |
//! | `events` | what the subscriber is told, and what it is not when it does not read |
//! | `crew`, `pools`, `mirrors`, `lookout`, `watch` | workers, buffers, web servers, mDNS, file events |
//! | `metrics`, `traffic` | what it counts of itself, and reports |

mod addresses;
mod crew;
mod events;
mod inbox;
mod lookout;
mod metrics;
mod mirrors;
mod perform;
mod pools;
mod sleep;
#[cfg(test)]
mod slow_disk;
mod start;
mod streams;
mod traffic;
mod waiting;
mod watch;

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::config::Config;
use crate::discovery::kind_between;
use crate::engine::{ConnId, DialId, Engine, Input};
use crate::fs::DirLock;
use crate::proto::CloseCode;
use crate::quic::{Endpoint, Event};

use crew::Crew;
use events::Subscriber;
use inbox::Orders;
pub(crate) use inbox::{Mailbox, Order};
use lookout::Lookout;
use metrics::Measures;
use mirrors::WebServers;
use pools::Pools;
pub use start::StartError;
pub(crate) use start::start;
use streams::{Shell, Streams};
use waiting::Waiting;
use watch::Watch;

struct Reactor {
    config: Config,
    waiting: Waiting,
    orders: Orders,
    lookout: Lookout,
    watch: Watch,
    endpoint: Endpoint,
    streams: Streams,
    pools: Pools,
    crew: Crew,
    mirrors: WebServers,
    engine: Engine,
    /// What the engine has not been told yet.
    inputs: VecDeque<Input>,
    subscriber: Subscriber,
    measures: Measures,
    ending: Ending,
}

/// How the daemon ends.
struct Ending {
    /// When to close what is left, once the engine has stopped.
    at: Option<Instant>,
    /// Why the engine stopped by itself.
    failure: Arc<OnceLock<String>>,
    /// Held until the thread ends: one daemon per state directory.
    _state_lock: DirLock,
}

impl Reactor {
    fn run(mut self) {
        let mut now = self.begin();
        let mut more = false;
        loop {
            self.decide(now);
            if self.ending.at.is_some_and(|at| at <= now) {
                break;
            }
            let Some(later) = self.wait(more, now) else { break };
            now = later;
            more = self.take_mail();
            more |= self.endpoint.receive(now);
            self.endpoint.fire_timers(now);
            self.move_bytes(now);
            self.decide(now);
            self.flush(now);
            self.take_note(now);
            more |= self.endpoint.wants_turn(now) || !self.inputs.is_empty();
        }
        self.close(now);
    }

    fn begin(&mut self) -> Instant {
        let listening = self.listening();
        self.inputs.push_back(listening);
        self.streams.limit_upload(self.config.rates.max_upload);
        self.waiting.begin()
    }

    /// Moves bytes between connections, buffers and workers.
    fn move_bytes(&mut self, now: Instant) {
        self.workers_done(now);
        self.mirrors_done();
        let (mut shell, streams) = self.shell(now);
        streams.expire(&mut shell);
        let mut connections_changed = false;
        while let Some(event) = shell.endpoint.poll_event() {
            connections_changed |= matches!(event, Event::Up { .. } | Event::Down { .. });
            happened(&mut shell, streams, event);
        }
        streams.read_ahead_all(&mut shell);
        if connections_changed {
            self.lookout.connected(self.streams.connection_count());
        }
        self.crew.submit();
    }

    /// Feeds the engine and carries out what it says, until both are quiet.
    fn decide(&mut self, now: Instant) {
        if self.engine.poll_timeout().is_some_and(|at| at <= now) {
            self.inputs.push_back(Input::Timeout);
        }
        while let Some(input) = self.inputs.pop_front() {
            tracing::trace!(?input, "engine");
            self.engine.handle(input, now);
            while let Some(output) = self.engine.poll_output() {
                self.perform(output, now);
            }
        }
        self.crew.submit();
    }

    /// Sends; that makes room for more, and closes connections.
    fn flush(&mut self, now: Instant) {
        self.endpoint.flush(now);
        self.move_bytes(now);
    }

    /// Counts the turn, reports what moves, gives back what nobody uses.
    fn take_note(&mut self, now: Instant) {
        self.take_measures(now);
        self.report_traffic(now);
        self.pools.trim(now);
    }

    fn shell(&mut self, now: Instant) -> (Shell<'_>, &mut Streams) {
        let shell = Shell {
            now,
            config: &self.config,
            endpoint: &mut self.endpoint,
            inputs: &mut self.inputs,
            tasks: self.crew.tasks(),
            pools: &self.pools,
        };
        (shell, &mut self.streams)
    }

    /// Closes every connection; the other threads end with their owners.
    fn close(mut self, now: Instant) {
        self.lookout.shutdown();
        for conn in self.streams.connections() {
            self.endpoint.close(conn, CloseCode::Shutdown.number(), "the daemon stops", now);
        }
        self.endpoint.flush(now);
        // What is left unanswered must be dropped, which answers it, before the events end.
        drop(self.orders);
        drop(self.crew);
        drop(self.subscriber);
    }
}

/// Something happened on the network.
fn happened(shell: &mut Shell<'_>, streams: &mut Streams, event: Event) {
    match event {
        Event::Readable { conn, stream } => streams.readable(shell, conn, stream),
        Event::Writable { conn } => streams.writable(shell, conn),
        Event::StreamStopped { conn, stream, .. } => streams.stopped(shell, conn, stream),
        Event::Up { conn, peer_id, remote, local, dial } => {
            streams.connected(conn, dial.is_some(), shell.now);
            let (dial, party) = (dial.map(DialId), shell.endpoint.party_proofs(conn));
            let (id, interface) = (ConnId(conn.0), kind_between(local, remote));
            shell.inputs.push_back(Input::ConnectionUp { conn: id, peer_id, remote, local, interface, dial, party });
            if let Some(least) = shell.endpoint.connection_stats(conn).and_then(|path| path.min_rtt) {
                shell.inputs.push_back(Input::RoundTrip { conn: id, least });
            }
        }
        Event::DialFailed { dial, identity_mismatch, actual, reason } => {
            let dial = DialId(dial);
            shell.inputs.push_back(Input::DialFailed { dial, identity_mismatch, actual, reason });
        }
        Event::Down { conn, code, reason } => {
            streams.disconnected(conn, shell.inputs);
            let code = code.and_then(CloseCode::from_number);
            shell.inputs.push_back(Input::ConnectionDown { conn: ConnId(conn.0), code, reason });
        }
    }
}

/// The reactor is the shell: it reads the clock once a turn and hands it down.
#[expect(clippy::disallowed_methods, reason = "the one place where the time enters")]
fn now_outside_the_engine() -> Instant {
    Instant::now()
}
