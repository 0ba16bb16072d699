//! QUIC over UDP sockets: connections, streams and bytes, and nothing of what they mean.
//!
//! # The life of a packet
//!
//! ```text
//!            poll says readable                              poll says writable
//!                   │                                               │
//!  on_ready ───► receive: socket ─GRO train─► route by id     on_ready: socket free again
//!                   │          │                   │                │
//!                   │     unknown: garbage,   Connection            │
//!                   │     newcomer (Retry     (quiche: decrypt,     │
//!                   │     under load)         verify, acks)         │
//!                   ▼                              │                │
//!  fire_timers ─► deadlines due ──────────► touched│                │
//!                                                  ▼                ▼
//!  poll_event ◄── Up, Readable, Writable, … ◄── settle        flush: kept trains first, then every
//!  recv, send, open_bi, … ────────────────────► dirty ──────► dirty connection once: pacer, packets
//!                                                             of one size ─GSO train─► socket
//! ```
//!
//! One turn of the caller's loop: poll with [`Endpoint::next_timeout`] (zero if [`Endpoint::wants_turn`]), hand every event
//! of the tokens to [`Endpoint::on_ready`], then [`Endpoint::receive`], [`Endpoint::fire_timers`], drain
//! [`Endpoint::poll_event`] and act on it, and [`Endpoint::flush`]. Everything that arrived is thus answered by one
//! acknowledgement: an acknowledgement for each packet costs four times as much. Where packets come one by one the sockets are
//! left alone for a moment after each look: whoever sleeps until [`Endpoint::rests_until`], past the poll, saves a wake-up for each.
//!
//! # Rules that hold everywhere
//!
//! - A connection has one path. Packets from another address than its own are dropped.
//! - A connection is reported only after its handshake is done and its certificate gave a [`PeerId`](crate::types::PeerId).
//! - Nothing the network says can make this module panic or hold more than configured: connections, half open ones,
//!   streams, windows, waiting bytes, kept trains, closed connections remembered.

mod closing;
mod connection;
mod endpoint;
mod gather;
mod guard;
mod lifecycle;
mod retry;
mod routing;
mod slots;
mod socket;
#[cfg(test)]
mod tests;
mod timers;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

pub use endpoint::Endpoint;
pub use tls::{ALPN, SharedBytes, parameters};

use crate::types::PeerId;

/// Names a connection. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnHandle(pub u64);

/// What happened on the network.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A peer proved its key. For a dialled connection the peer may still refuse: only its first answer shows that it
    /// has accepted this side.
    Up {
        /// The connection.
        conn: ConnHandle,
        /// Who it is.
        peer_id: PeerId,
        /// Its address.
        remote: SocketAddr,
        /// This host's address on the connection, with the endpoint's port.
        local: SocketAddr,
        /// The dial that led to it; `None`: the peer dialled.
        dial: Option<u64>,
    },
    /// A dial led to nothing.
    DialFailed {
        /// Which.
        dial: u64,
        /// The peer is not who was expected.
        identity_mismatch: bool,
        /// Who it is instead.
        actual: Option<PeerId>,
        /// In words.
        reason: String,
    },
    /// A connection that was up is over. What it received before can be read until this event is taken.
    Down {
        /// Which.
        conn: ConnHandle,
        /// The application close code, if the peer gave one.
        code: Option<u64>,
        /// In words.
        reason: String,
    },
    /// A stream has something to read: data, its end or its reset. Comes once until [`Endpoint::recv`] said
    /// [`Recv::Blocked`]: read until then, or remember to go on.
    Readable {
        /// Of this connection.
        conn: ConnHandle,
        /// Its number.
        stream: u64,
    },
    /// Something that was refused or cut short (sending, opening a stream) is worth another try.
    Writable {
        /// On this connection.
        conn: ConnHandle,
    },
    /// The peer no longer wants what this side sends on a stream; its sending side is reset.
    StreamStopped {
        /// Of this connection.
        conn: ConnHandle,
        /// Its number.
        stream: u64,
        /// The peer's application code.
        code: u64,
    },
}

impl Event {
    /// The connection that an event is about.
    pub fn conn(&self) -> Option<ConnHandle> {
        match *self {
            Self::Up { conn, .. }
            | Self::Down { conn, .. }
            | Self::Readable { conn, .. }
            | Self::Writable { conn }
            | Self::StreamStopped { conn, .. } => Some(conn),
            Self::DialFailed { .. } => None,
        }
    }
}

/// What a read of a stream gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recv {
    /// `len` bytes were copied; `fin`: they are the last ones.
    Data {
        /// Bytes at the start of the buffer; 0 only with `fin`.
        len: usize,
        /// Nothing follows.
        fin: bool,
    },
    /// Nothing at present; a [`Event::Readable`] will follow.
    Blocked,
    /// The peer gave the stream up, with this application code.
    Reset(u64),
    /// There is no such stream or connection (any more).
    Gone,
}

/// Why a stream takes no more bytes, ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// The peer asked to stop, with this application code.
    #[error("the peer stopped the stream (code {0})")]
    Stopped(u64),
    /// There is no such stream or connection (any more).
    #[error("the stream is gone")]
    Gone,
}

/// Why an endpoint could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The configuration cannot be served by one port.
    #[error("listen addresses must be at most one IPv4 and one IPv6 address with the same port")]
    Addresses,
    /// The system refused an address.
    #[error("cannot listen on UDP {addr}: {source}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The system refused something about a bound socket.
    #[error("cannot set up a UDP socket: {source}")]
    Setup {
        /// Why.
        source: io::Error,
    },
    /// The identity cannot be used, or no randomness.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

/// Counters of an endpoint since it was bound.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct EndpointStats {
    /// UDP packets received.
    pub packets_received: u64,
    /// System calls that read packets (also in vain).
    pub receive_calls: u64,
    /// Trains that the kernel had put together.
    pub trains_received: u64,
    /// UDP packets sent.
    pub packets_sent: u64,
    /// System calls that sent packets (also in vain).
    pub send_calls: u64,
    /// Trains handed to a socket.
    pub trains_sent: u64,
    /// Trains that met a full buffer and were kept.
    pub kept_trains: u64,
    /// Times that segmentation offload had to be switched off.
    pub offload_trips: u64,
    /// Packets declared lost on connections that are over.
    pub lost_before: u64,
    /// Stream bytes sent again on connections that are over.
    pub retransmitted_before: u64,
    /// Packets or trains that the system refused to send.
    pub send_errors: u64,
    /// Reads that failed.
    pub receive_errors: u64,
    /// Packets that were not QUIC, or of no connection.
    pub dropped_unknown: u64,
    /// Packets of a connection from another address than its own.
    pub dropped_address: u64,
    /// Newcomers turned away: the limit on connections is reached.
    pub dropped_full: u64,
    /// Newcomers asked to show their address first.
    pub retries_sent: u64,
    /// Newcomers told which versions are spoken.
    pub version_negotiations_sent: u64,
    /// Connections accepted (handshake begun).
    pub accepted: u64,
    /// Handshakes that led to nothing, dialled or accepted.
    pub handshakes_failed: u64,
    /// Connections at present, half open ones included.
    pub connections: usize,
    /// Accepted connections whose handshake is under way at present.
    pub half_open: usize,
}

/// A look at one connection.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct ConnectionStats {
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Smallest round-trip time seen.
    pub min_rtt: Option<Duration>,
    /// Congestion window in bytes.
    pub congestion_window: usize,
    /// UDP payload in bytes that the path carries, as far as known.
    pub payload: usize,
    /// Estimate in bytes per second.
    pub delivery_rate: u64,
    /// QUIC packets.
    pub packets_sent: u64,
    /// QUIC packets.
    pub packets_received: u64,
    /// Packets declared lost.
    pub packets_lost: u64,
    /// Bytes of UDP payload.
    pub bytes_sent: u64,
    /// Bytes of UDP payload.
    pub bytes_received: u64,
    /// Stream bytes sent again.
    pub retransmitted_bytes: u64,
    /// Stream bytes taken and not yet sent.
    pub backlog: usize,
}
