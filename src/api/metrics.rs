//! Counters of a running daemon, as `metrics` answers them. Totals count since the start; the rest is a look at this moment.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::types::PeerId;

/// To `metrics`: what the daemon has moved, what it holds, and what it waited for.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Metrics {
    /// Seconds since the start.
    pub uptime_seconds: f64,
    /// CPU seconds of the whole process; `None` where the system does not tell.
    pub cpu_seconds: Option<f64>,
    /// CPU seconds of the thread that owns the network; `None` where the system does not tell.
    pub reactor_cpu_seconds: Option<f64>,
    /// Turns of that thread: each begins with a wait for something to do.
    pub wakeups: u64,
    /// Bytes of game data that landed, whatever became of them.
    pub bytes_received: u64,
    /// Bytes of game data handed to the network.
    pub bytes_sent: u64,
    /// Chunks that landed.
    pub chunks_received: u64,
    /// Chunks that did not match their hash.
    pub chunks_bad: u64,
    /// Downloads that have a slot.
    pub downloads_running: usize,
    /// Downloads that wait for one.
    pub downloads_waiting: usize,
    /// Runs and lists of files that peers are being sent.
    pub uploads_running: usize,
    /// Runs that were asked for and have not all landed.
    pub runs_awaited: usize,
    /// Batches that landed and are not yet verified and written.
    pub batches_unwritten: usize,
    /// Buffers that chunks land in.
    pub landing_buffers: BufferMetrics,
    /// Landing buffers that are in use, or promised to what was asked for.
    pub landing_buffers_reserved: usize,
    /// Buffers that blocks for peers are read into.
    pub read_buffers: BufferMetrics,
    /// Bytes of messages that are incomplete, or with a worker.
    pub frame_bytes: usize,
    /// Most that there may be.
    pub frame_bytes_limit: usize,
    /// What making things durable took.
    pub syncs: Vec<SyncMetrics>,
    /// What waits where.
    pub queues: Vec<QueueMetrics>,
    /// What was waited for.
    pub stalls: Vec<StallMetrics>,
    /// Packets and system calls.
    pub network: NetworkMetrics,
    /// Each connected peer, ascending by id.
    pub peers: Vec<PeerMetrics>,
}

/// Buffers of 1 MiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct BufferMetrics {
    /// In use now.
    pub in_use: usize,
    /// Most in use at the end of any turn of the reactor.
    pub peak: usize,
    /// In memory now, in use or idle.
    pub allocated: usize,
    /// Most that there can be.
    pub limit: usize,
}

/// Calls that made something durable.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SyncMetrics {
    /// What: the bytes of a `file`, the names in a `directory`, everything on a `file-system`.
    pub what: Cow<'static, str>,
    /// How many calls.
    pub calls: u64,
    /// How long they took, all told; several may run at once.
    pub seconds: f64,
    /// How long the longest took.
    pub longest_seconds: f64,
}

/// A bounded queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct QueueMetrics {
    /// Its name: a lane of the workers (where what is being worked on counts as well), a mailbox of the reactor, the runs that wait
    /// for their turn to be sent, or what waits for a mirror.
    pub queue: Cow<'static, str>,
    /// How many wait.
    pub waiting: usize,
    /// How many may.
    pub limit: usize,
}

/// Something that transfers waited for.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct StallMetrics {
    /// What.
    pub cause: StallCause,
    /// How often the waiting began.
    pub events: u64,
    /// How long it lasted, all told. Causes overlap.
    pub seconds: f64,
}

/// What a transfer can wait for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StallCause {
    /// Receiving: chunks are wanted, and no landing buffer is free.
    LandingBuffers,
    /// Receiving: what landed waits to be verified and written, and holds up what could be asked for.
    DiskWrite,
    /// Receiving: chunks were asked for, and all that landed is written: the source or the network is waited for.
    Source,
    /// Receiving: more is not asked for, to keep to the limit of the rate.
    DownloadLimit,
    /// Sending: a run has nothing to send until its blocks are read.
    SourceRead,
    /// Sending: a run has nothing to send, and no buffer is free to read into.
    ReadBuffers,
    /// Sending: the network takes no more (congestion window, pacing, or the peer's own window).
    Network,
    /// Sending: held back to keep to the limit of the rate.
    UploadLimit,
}

impl StallCause {
    /// Every cause, in the order of the declaration.
    pub const ALL: [Self; 8] = [
        Self::LandingBuffers,
        Self::DiskWrite,
        Self::Source,
        Self::DownloadLimit,
        Self::SourceRead,
        Self::ReadBuffers,
        Self::Network,
        Self::UploadLimit,
    ];

    /// Its name in JSON and in labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::LandingBuffers => "landing-buffers",
            Self::DiskWrite => "disk-write",
            Self::Source => "source",
            Self::DownloadLimit => "download-limit",
            Self::SourceRead => "source-read",
            Self::ReadBuffers => "read-buffers",
            Self::Network => "network",
            Self::UploadLimit => "upload-limit",
        }
    }
}

/// Packets and system calls of all connections together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NetworkMetrics {
    /// UDP packets sent.
    pub packets_sent: u64,
    /// System calls that sent them, also in vain.
    pub send_calls: u64,
    /// UDP packets received.
    pub packets_received: u64,
    /// System calls that read them, also in vain.
    pub receive_calls: u64,
    /// QUIC packets declared lost.
    pub packets_lost: u64,
    /// Stream bytes sent again.
    pub retransmitted_bytes: u64,
    /// Trains of packets that met a full socket buffer.
    pub kept_trains: u64,
    /// Packets or trains that the system refused to send.
    pub send_errors: u64,
    /// Connections at present, half open ones included.
    pub connections: usize,
}

/// The path to one connected peer.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct PeerMetrics {
    /// Who.
    pub peer_id: PeerId,
    /// Smoothed round-trip time.
    pub rtt_seconds: f64,
    /// Smallest round-trip time seen.
    pub min_rtt_seconds: Option<f64>,
    /// Bytes that may be on their way.
    pub congestion_window_bytes: usize,
    /// Estimate of what the path carries, in bytes per second.
    pub delivery_rate: u64,
    /// QUIC packets sent.
    pub packets_sent: u64,
    /// QUIC packets received.
    pub packets_received: u64,
    /// QUIC packets declared lost.
    pub packets_lost: u64,
    /// Stream bytes sent again.
    pub retransmitted_bytes: u64,
    /// Stream bytes taken and not yet sent.
    pub backlog_bytes: usize,
}
