//! [`Metrics`] in the text format of Prometheus (version 0.0.4 of its exposition format).

use std::fmt::{Display, Write};

use crate::api::{BufferMetrics, Metrics};

/// Every metric, each with its kind and a help text, and a sample for each label.
pub(super) fn prometheus(metrics: &Metrics) -> String {
    let mut page = Page(String::with_capacity(8 << 10));
    daemon(&mut page, metrics);
    transfers(&mut page, metrics);
    bounds(&mut page, metrics);
    network(&mut page, metrics);
    peers(&mut page, metrics);
    page.0
}

fn daemon(page: &mut Page, m: &Metrics) {
    page.gauge("lanspread_uptime_seconds", "Time since the start.").is(m.uptime_seconds);
    let mut cpu = page.counter("lanspread_cpu_seconds_total", "CPU time of the process, and of its reactor alone.");
    for (thread, seconds) in [("all", m.cpu_seconds), ("reactor", m.reactor_cpu_seconds)] {
        if let Some(seconds) = seconds {
            cpu.with("threads", thread, seconds);
        }
    }
    page.counter("lanspread_wakeups_total", "Turns of the reactor.").is(m.wakeups);
}

fn transfers(page: &mut Page, m: &Metrics) {
    page.counter("lanspread_received_bytes_total", "Bytes of games that landed.").is(m.bytes_received);
    page.counter("lanspread_sent_bytes_total", "Bytes of games handed to the network.").is(m.bytes_sent);
    page.counter("lanspread_received_chunks_total", "Chunks that landed.").is(m.chunks_received);
    page.counter("lanspread_bad_chunks_total", "Chunks that did not match their hash.").is(m.chunks_bad);
    page.gauge("lanspread_downloads", "Downloads.").with("state", "running", m.downloads_running).with(
        "state",
        "waiting",
        m.downloads_waiting,
    );
    page.gauge("lanspread_uploads", "Runs and lists of files being sent.").is(m.uploads_running);
    page.gauge("lanspread_runs_awaited", "Runs of chunks that were asked for and are not over.").is(m.runs_awaited);
    let unwritten = "Batches that landed and are not yet verified and written.";
    page.gauge("lanspread_batches_unwritten", unwritten).is(m.batches_unwritten);
    page.counter("lanspread_stalls_total", "How often transfers began to wait.")
        .each("cause", &m.stalls, |stall| (stall.cause.name(), stall.events));
    page.counter("lanspread_stalled_seconds_total", "How long transfers waited; causes overlap.").each(
        "cause",
        &m.stalls,
        |stall| (stall.cause.name(), stall.seconds),
    );
}

fn bounds(page: &mut Page, m: &Metrics) {
    let mut buffers = |name: &str, help: &str, of: fn(&BufferMetrics) -> usize| {
        page.gauge(name, help).with("pool", "landing", of(&m.landing_buffers)).with(
            "pool",
            "read",
            of(&m.read_buffers),
        );
    };
    buffers("lanspread_buffers_in_use", "Buffers of 1 MiB in use.", |pool| pool.in_use);
    buffers("lanspread_buffers_peak", "Most of them in use since the start.", |pool| pool.peak);
    buffers("lanspread_buffers_allocated", "Buffers in memory, in use or idle.", |pool| pool.allocated);
    buffers("lanspread_buffers_limit", "Buffers that there can be.", |pool| pool.limit);
    let reserved = "Landing buffers in use, or promised to what was asked for.";
    page.gauge("lanspread_landing_buffers_reserved", reserved).is(m.landing_buffers_reserved);
    page.gauge("lanspread_frame_bytes", "Bytes of messages that are incomplete, or with a worker.").is(m.frame_bytes);
    page.gauge("lanspread_frame_bytes_limit", "Bytes of them that there may be.").is(m.frame_bytes_limit);
    page.counter("lanspread_fsyncs_total", "Calls that made something durable.")
        .each("of", &m.syncs, |sync| (sync.what.clone(), sync.calls));
    page.counter("lanspread_fsync_seconds_total", "How long they took; several may run at once.").each(
        "of",
        &m.syncs,
        |sync| (sync.what.clone(), sync.seconds),
    );
    page.gauge("lanspread_fsync_longest_seconds", "How long the longest of them took.")
        .each("of", &m.syncs, |sync| (sync.what.clone(), sync.longest_seconds));
    page.gauge("lanspread_queue_waiting", "What waits in a queue, or is worked on by its lane.").each(
        "queue",
        &m.queues,
        |queue| (queue.queue.clone(), queue.waiting),
    );
    page.gauge("lanspread_queue_limit", "What may wait there.")
        .each("queue", &m.queues, |queue| (queue.queue.clone(), queue.limit));
}

fn network(page: &mut Page, m: &Metrics) {
    let n = &m.network;
    page.counter("lanspread_packets_sent_total", "UDP packets sent.").is(n.packets_sent);
    page.counter("lanspread_send_calls_total", "System calls that sent them.").is(n.send_calls);
    page.counter("lanspread_packets_received_total", "UDP packets received.").is(n.packets_received);
    page.counter("lanspread_receive_calls_total", "System calls that read them.").is(n.receive_calls);
    page.counter("lanspread_packets_lost_total", "QUIC packets declared lost.").is(n.packets_lost);
    page.counter("lanspread_retransmitted_bytes_total", "Stream bytes sent again.").is(n.retransmitted_bytes);
    page.counter("lanspread_kept_trains_total", "Trains of packets that met a full socket buffer.").is(n.kept_trains);
    page.counter("lanspread_send_errors_total", "Packets that the system refused to send.").is(n.send_errors);
    page.gauge("lanspread_connections", "Connections, half open ones included.").is(n.connections);
}

fn peers(page: &mut Page, m: &Metrics) {
    page.gauge("lanspread_peer_rtt_seconds", "Smoothed round-trip time.")
        .each("peer", &m.peers, |p| (p.peer_id, p.rtt_seconds));
    page.gauge("lanspread_peer_congestion_window_bytes", "Bytes that may be on their way.").each(
        "peer",
        &m.peers,
        |p| (p.peer_id, p.congestion_window_bytes),
    );
    page.gauge("lanspread_peer_delivery_rate", "Estimate of the path, in bytes per second.").each(
        "peer",
        &m.peers,
        |p| (p.peer_id, p.delivery_rate),
    );
    page.gauge("lanspread_peer_backlog_bytes", "Stream bytes taken and not yet sent.")
        .each("peer", &m.peers, |p| (p.peer_id, p.backlog_bytes));
    page.counter("lanspread_peer_packets_sent_total", "QUIC packets sent.")
        .each("peer", &m.peers, |p| (p.peer_id, p.packets_sent));
    page.counter("lanspread_peer_packets_received_total", "QUIC packets received.")
        .each("peer", &m.peers, |p| (p.peer_id, p.packets_received));
    page.counter("lanspread_peer_packets_lost_total", "QUIC packets declared lost.")
        .each("peer", &m.peers, |p| (p.peer_id, p.packets_lost));
    page.counter("lanspread_peer_retransmitted_bytes_total", "Stream bytes sent again.")
        .each("peer", &m.peers, |p| (p.peer_id, p.retransmitted_bytes));
}

struct Page(String);

/// Takes the samples of one metric.
struct Samples<'a> {
    page: &'a mut String,
    name: String,
}

impl Page {
    fn counter(&mut self, name: &str, help: &str) -> Samples<'_> {
        self.metric(name, help, "counter")
    }

    fn gauge(&mut self, name: &str, help: &str) -> Samples<'_> {
        self.metric(name, help, "gauge")
    }

    fn metric(&mut self, name: &str, help: &str, kind: &str) -> Samples<'_> {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Samples { page: &mut self.0, name: name.to_owned() }
    }
}

impl Samples<'_> {
    fn is(&mut self, value: impl Display) {
        let _ = writeln!(self.page, "{} {value}", self.name);
    }

    /// A sample for each row: what its label says, and its value.
    fn each<T, L: Display, V: Display>(&mut self, label: &str, rows: &[T], sample: impl Fn(&T) -> (L, V)) {
        for (is, value) in rows.iter().map(sample) {
            self.with(label, is, value);
        }
    }

    /// Labels are names of this program, or ids: nothing in them must be escaped.
    fn with(&mut self, label: &str, is: impl Display, value: impl Display) -> &mut Self {
        let _ = writeln!(self.page, "{}{{{label}=\"{is}\"}} {value}", self.name);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{StallCause, StallMetrics};

    #[test]
    fn each_metric_is_declared_once_and_before_its_samples() {
        let stalls = StallCause::ALL.map(|cause| StallMetrics { cause, events: 2, seconds: 0.5 }).to_vec();
        let text = prometheus(&Metrics { bytes_received: 7, stalls, ..Metrics::default() });
        assert!(text.contains("\nlanspread_received_bytes_total 7\n"), "{text}");
        assert!(text.contains("\nlanspread_stalled_seconds_total{cause=\"disk-write\"} 0.5\n"), "{text}");
        let mut declared = Vec::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["#", "TYPE", name, kind] => {
                    assert!(!declared.contains(&name), "{name} is declared twice");
                    assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                    declared.push(name);
                }
                ["#", "HELP", ..] => {}
                [sample, value] => {
                    assert_eq!(sample.split('{').next(), declared.last().copied(), "{line}");
                    assert!(value.parse::<f64>().is_ok(), "{line}");
                }
                _ => panic!("{line}"),
            }
        }
        assert!(declared.len() > 20, "{declared:?}");
    }

    #[test]
    fn every_cause_has_one_name() {
        for cause in StallCause::ALL {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.name());
        }
    }
}
