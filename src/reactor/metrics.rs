//! What the reactor counts of itself: plain numbers of the one thread that owns everything, read when somebody asks.
//!
//! A stall is a state between two turns: at the end of each it is noted what transfers wait for, and the time until the
//! next look counts for that.

use std::time::{Duration, Instant};

use super::Reactor;
use super::events::EVENT_QUEUE;
use super::inbox::COMMAND_QUEUE;
use super::lookout::SIGHTING_QUEUE;
use super::traffic::{Report, Totals, Traffic};
use crate::api::{
    BufferMetrics, Metrics, NetworkMetrics, PeerMetrics, QueueMetrics, StallCause, StallMetrics, SyncMetrics,
};
use crate::engine::{EngineLoad, Input};
use crate::fs::{Synced, sync_times};
use crate::quic::ConnHandle as Conn;
use crate::sys;
use crate::types::{Batch, PeerId};
use crate::workers::BufferPool;

/// What the streams count.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Batches that landed and are not yet verified and written.
    unwritten: usize,
    /// Bytes of games that the transport took.
    pub(super) sent: u64,
    chunks: u64,
    bad: u64,
}

impl Counters {
    /// A batch landed, and goes to a worker.
    pub(super) fn landed(&mut self, batch: Batch) {
        self.chunks += u64::from(batch.range.count);
        self.unwritten += 1;
    }

    /// It came back, with so many bad chunks.
    pub(super) fn written(&mut self, bad: usize) {
        self.bad += bad as u64;
        self.unwritten = self.unwritten.saturating_sub(1);
    }
}

/// What runs that go out wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct SendStalls {
    pub(super) source_read: bool,
    pub(super) read_buffers: bool,
    pub(super) network: bool,
    pub(super) upload_limit: bool,
}

/// What the loop counts.
#[derive(Debug)]
pub(super) struct Measures {
    started: Instant,
    turns: u64,
    landing_peak: usize,
    read_peak: usize,
    stalls: [Stall; StallCause::ALL.len()],
    traffic: Traffic,
}

impl Measures {
    pub(super) fn new(now: Instant) -> Self {
        let traffic = Traffic::new(now);
        Self { started: now, turns: 0, landing_peak: 0, read_peak: 0, stalls: Default::default(), traffic }
    }

    /// When the next report of traffic is due.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.traffic.next_timeout()
    }
}

/// How often, and for how long, something was waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Stall {
    events: u64,
    /// Of the waits that are over.
    total: Duration,
    since: Option<Instant>,
}

impl Stall {
    /// From `now` on it is waited for, or not.
    fn set(&mut self, waits: bool, now: Instant) {
        match (self.since, waits) {
            (None, true) => {
                self.events += 1;
                self.since = Some(now);
            }
            (Some(since), false) => {
                self.total += now.saturating_duration_since(since);
                self.since = None;
            }
            _ => {}
        }
    }

    fn elapsed(&self, now: Instant) -> Duration {
        self.total + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

impl Reactor {
    /// Takes note of what transfers wait for from now on.
    pub(super) fn take_measures(&mut self, now: Instant) {
        let (landing, read) = (self.pools.landing.in_use(), self.pools.read.in_use());
        let (fetching, unwritten) = (self.runs_awaited(), self.streams.counters.unwritten);
        let starved = self.engine.waits_for_buffers();
        let half = self.pools.landing.count() / 2;
        let sends = self.streams.send_stalls();
        let measures = &mut self.measures;
        measures.turns += 1;
        measures.landing_peak = measures.landing_peak.max(landing);
        measures.read_peak = measures.read_peak.max(read);
        for (cause, stall) in StallCause::ALL.into_iter().zip(&mut measures.stalls) {
            let waits = match cause {
                StallCause::LandingBuffers => starved,
                // Either nothing is on its way, or what could be cannot, for want of the buffers that lie there.
                StallCause::DiskWrite => unwritten > 0 && (fetching == 0 || starved && unwritten >= half),
                StallCause::Source => fetching > 0 && unwritten == 0,
                StallCause::DownloadLimit => self.engine.waits_for_download_limit(),
                StallCause::SourceRead => sends.source_read,
                StallCause::ReadBuffers => sends.read_buffers,
                StallCause::Network => sends.network,
                StallCause::UploadLimit => sends.upload_limit,
            };
            stall.set(waits, now);
        }
    }

    /// Tells listeners how fast game data moves, and the engine what was sent, once a second while there is something to tell.
    pub(super) fn report_traffic(&mut self, now: Instant) {
        let totals = Totals { received: self.engine.bytes_received(), sent: self.streams.counters.sent };
        let Some(Report { event, sent }) = self.measures.traffic.look(totals, now) else { return };
        self.subscriber.tell(event);
        if sent > 0 {
            self.inputs.push_back(Input::SentBytes { bytes: sent });
        }
    }

    /// Runs that peers and mirrors were asked for and that are not over.
    fn runs_awaited(&self) -> usize {
        self.streams.runs_awaited() + self.mirrors.runs()
    }

    /// The answer to `metrics`.
    pub(super) fn metrics(&self, load: &EngineLoad, now: Instant) -> Metrics {
        let measures = &self.measures;
        let counters = &self.streams.counters;
        let (process, thread) = sys::cpu_seconds();
        Metrics {
            uptime_seconds: now.saturating_duration_since(measures.started).as_secs_f64(),
            cpu_seconds: process,
            reactor_cpu_seconds: thread,
            wakeups: measures.turns,
            bytes_received: load.bytes_received,
            bytes_sent: counters.sent,
            chunks_received: counters.chunks,
            chunks_bad: counters.bad,
            downloads_running: load.downloads_running,
            downloads_waiting: load.downloads_waiting,
            uploads_running: load.uploads,
            runs_awaited: self.runs_awaited(),
            batches_unwritten: counters.unwritten,
            landing_buffers: buffers(&self.pools.landing, measures.landing_peak),
            landing_buffers_reserved: load.buffers_reserved,
            read_buffers: buffers(&self.pools.read, measures.read_peak),
            frame_bytes: self.streams.frame_bytes(),
            frame_bytes_limit: self.config.limits.frame_bytes,
            syncs: Synced::ALL.into_iter().map(syncs).collect(),
            queues: self.queues(load),
            stalls: stalls(measures, now),
            network: self.network(),
            peers: load.peers.iter().filter_map(|(peer_id, conn)| self.path_to(*peer_id, Conn(conn.0))).collect(),
        }
    }

    fn queues(&self, load: &EngineLoad) -> Vec<QueueMetrics> {
        let (changes, changes_limit) = self.watch.waiting();
        let others = [
            ("commands", self.orders.waiting(), COMMAND_QUEUE),
            ("sightings", self.lookout.waiting(), SIGHTING_QUEUE),
            ("events", self.subscriber.waiting(), EVENT_QUEUE),
            ("file-events", changes, changes_limit),
            ("uploads", load.uploads_waiting, load.uploads_waiting_limit),
        ];
        let all = self.crew.lanes().chain(others).chain(self.mirrors.queues());
        all.map(|(queue, waiting, limit)| QueueMetrics { queue: queue.into(), waiting, limit }).collect()
    }

    fn network(&self) -> NetworkMetrics {
        let stats = self.endpoint.stats();
        let mut network = NetworkMetrics {
            packets_sent: stats.packets_sent,
            send_calls: stats.send_calls,
            packets_received: stats.packets_received,
            receive_calls: stats.receive_calls,
            packets_lost: stats.lost_before,
            retransmitted_bytes: stats.retransmitted_before,
            kept_trains: stats.kept_trains,
            send_errors: stats.send_errors,
            connections: stats.connections,
        };
        for conn in self.streams.connections() {
            if let Some(path) = self.endpoint.connection_stats(conn) {
                network.packets_lost += path.packets_lost;
                network.retransmitted_bytes += path.retransmitted_bytes;
            }
        }
        network
    }

    fn path_to(&self, peer_id: PeerId, conn: Conn) -> Option<PeerMetrics> {
        let path = self.endpoint.connection_stats(conn)?;
        Some(PeerMetrics {
            peer_id,
            rtt_seconds: path.rtt.as_secs_f64(),
            min_rtt_seconds: path.min_rtt.map(|rtt| rtt.as_secs_f64()),
            congestion_window_bytes: path.congestion_window,
            delivery_rate: path.delivery_rate,
            packets_sent: path.packets_sent,
            packets_received: path.packets_received,
            packets_lost: path.packets_lost,
            retransmitted_bytes: path.retransmitted_bytes,
            backlog_bytes: path.backlog,
        })
    }
}

fn buffers(pool: &BufferPool, peak: usize) -> BufferMetrics {
    let in_use = pool.in_use();
    BufferMetrics { in_use, peak: peak.max(in_use), allocated: pool.allocated(), limit: pool.count() }
}

fn syncs(what: Synced) -> SyncMetrics {
    let times = sync_times(what);
    SyncMetrics {
        what: what.name().into(),
        calls: times.calls,
        seconds: times.total.as_secs_f64(),
        longest_seconds: times.longest.as_secs_f64(),
    }
}

fn stalls(measures: &Measures, now: Instant) -> Vec<StallMetrics> {
    let of = |(cause, stall): (StallCause, &Stall)| {
        let seconds = stall.elapsed(now).as_secs_f64();
        StallMetrics { cause, events: stall.events, seconds }
    };
    StallCause::ALL.into_iter().zip(&measures.stalls).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_counts_its_beginnings_and_all_of_its_time() {
        let start = crate::reactor::now_outside_the_engine();
        let after = |ms| start + Duration::from_millis(ms);
        let mut stall = Stall::default();
        for (waits, ms) in [(false, 0), (true, 10), (true, 20), (false, 40), (false, 50), (true, 100)] {
            stall.set(waits, after(ms));
        }
        assert_eq!((stall.events, stall.elapsed(after(105))), (2, Duration::from_millis(35)));
    }
}
