//! One connection: quiche's state machine, its one path, and what is owed to it.
//!
//! ```text
//!   dial ────► Handshake ──certificate ok──► Up ──close, error, idle──► Ended ──Down taken──► (forgotten)
//!   Initial ─►     │                          └──close()──────────────────────────────────► (forgotten)
//!                  └──refused, deadline──► (forgotten; DialFailed if it was dialled)
//! ```

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::guard::Guard;
use super::socket::{MAX_TRAIN_BYTES, Route, Sent, Socket};
use super::tls::SharedBytes;
use super::{ConnectionStats, EndpointStats, Recv, SendError};
use crate::types::{PartyProofs, PeerId};

/// Every path carries this much (RFC 9000, section 14).
pub(super) const MIN_PAYLOAD: usize = 1200;
/// quiche cuts packets off at 16,383 bytes; four of these make one train.
pub(super) const MAX_PAYLOAD: usize = 16_376;
/// Room for one train and for the packet that turned out not to fit in it.
pub(super) const TRAIN_BUFFER: usize = MAX_TRAIN_BYTES + MAX_PAYLOAD;

/// Trains of one connection in one turn: enough to fill a fast link between two turns, few enough that others get theirs.
const TRAINS_PER_TURN: usize = 16;
/// Stream bytes that may wait for the pacer or the socket. quiche's own capacity does not count what waits already.
const MAX_BACKLOG: usize = 1 << 20;
/// Packets are sent up to this long before the pacer's time: one wake-up sends a train instead of a packet.
const PACING_AHEAD: Duration = Duration::from_millis(1);
/// The pacer does not make up for time lost by waking up late: so wake up early.
const PACING_MARGIN: Duration = Duration::from_micros(300);
/// Timeouts without any packet from the peer after which the size of packets is suspected.
const SILENT_TIMEOUTS: u32 = 3;

/// How a connection came to be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    /// By [`Endpoint::dial`](super::Endpoint::dial).
    Dialled { dial: u64, expect: Option<PeerId> },
    /// By the peer.
    Accepted,
}

/// Where in its life a connection is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// Not proved yet; given up at the deadline.
    Handshake { origin: Origin, deadline: Instant },
    /// Reported to the engine.
    Up,
    /// Over, and `Down` is queued: what was received can still be read until that is taken.
    Ended,
}

/// Why [`Connection::flush`] stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flushed {
    /// There is nothing more to send.
    Idle,
    /// There may be more; others first.
    More,
    /// Not before [`Connection::paced_until`].
    Paced,
    /// The socket is full.
    Blocked,
}

/// The one path of a connection: it never changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// Which of the endpoint's sockets.
    pub(super) socket: usize,
    /// The peer's address.
    pub(super) remote: SocketAddr,
    /// This host's address, with the listener's port.
    pub(super) local: SocketAddr,
    /// How packets are sent.
    pub(super) route: Route,
    /// Largest UDP payload that the first hop carries.
    pub(super) payload: usize,
}

pub(super) struct Connection {
    pub(super) quic: quiche::Connection<SharedBytes>,
    pub(super) phase: Phase,
    pub(super) path: Path,
    /// The id that this side chose: every packet but a newcomer's first ones carries it.
    pub(super) cid: u64,
    /// The id that a newcomer chose for its first packets.
    pub(super) initial_cid: Option<Vec<u8>>,
    /// Known when the handshake is done, where this side has a party key.
    pub(super) party: Option<PartyProofs>,
    /// Listed for [`Endpoint::flush`](super::Endpoint::flush).
    pub(super) dirty: bool,
    /// Listed for a look at what happened to it.
    pub(super) touched: bool,
    /// Nothing is sent before this time.
    pub(super) paced_until: Option<Instant>,
    /// The system refused to send, before the first answer of the peer.
    pub(super) send_failure: Option<io::Error>,
    /// Stream bytes taken and not yet made into packets, at most.
    backlog: usize,
    /// `Writable` is owed when the peer has acknowledged something or given more credit.
    waits_for_peer: bool,
    /// `Writable` is owed when the backlog has shrunk.
    waits_for_flush: bool,
    next_bidi: u64,
    next_uni: u64,
    /// Streams that this side may still send on: the peer may stop them.
    sending: Vec<u64>,
    stops_seen: u64,
    silent_timeouts: u32,
    guard: Guard,
}

impl Connection {
    pub(super) fn new(
        quic: quiche::Connection<SharedBytes>,
        phase: Phase,
        path: Path,
        cid: u64,
        initial_cid: Option<Vec<u8>>,
        guard: Guard,
    ) -> Self {
        // RFC 9000, section 2.1: bit 0 says who opened it, bit 1 that it is unidirectional.
        let server = u64::from(quic.is_server());
        Self {
            quic,
            phase,
            path,
            cid,
            initial_cid,
            party: None,
            dirty: false,
            touched: false,
            paced_until: None,
            send_failure: None,
            backlog: 0,
            waits_for_peer: false,
            waits_for_flush: false,
            next_bidi: server,
            next_uni: server | 2,
            sending: Vec::new(),
            stops_seen: 0,
            silent_timeouts: 0,
            guard,
        }
    }

    /// When this connection must be looked at, even if nothing arrives.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let handshake = match self.phase {
            Phase::Handshake { deadline, .. } => Some(deadline),
            Phase::Up => None,
            Phase::Ended => return None,
        };
        [self.quic.timeout_instant(), self.paced_until, handshake].into_iter().flatten().min()
    }

    /// Takes one packet. Whether quiche accepted it; if not, the connection is over.
    pub(super) fn receive(&mut self, packet: &mut [u8]) -> bool {
        self.silent_timeouts = 0;
        let info = quiche::RecvInfo { from: self.path.remote, to: self.path.local };
        matches!(self.quic.recv(packet, info), Ok(_) | Err(quiche::Error::Done))
    }

    /// Lets quiche's timers that are due take effect.
    pub(super) fn fire_timers(&mut self, now: Instant) {
        if self.quic.timeout_instant().is_none_or(|due| due > now) {
            return;
        }
        self.quic.on_timeout();
        self.silent_timeouts = self.silent_timeouts.saturating_add(1);
        if self.silent_timeouts == SILENT_TIMEOUTS {
            // Perhaps a hop on the way no longer carries packets of the size that was found at the start.
            self.quic.revalidate_pmtu();
        }
    }

    /// Sends what there is to send, train by train. `buffer`: [`TRAIN_BUFFER`] bytes of scratch.
    pub(super) fn flush(
        &mut self,
        socket: &mut Socket,
        buffer: &mut [u8],
        now: Instant,
        stats: &mut EndpointStats,
    ) -> Flushed {
        if self.paced_until.is_some_and(|until| until > now) {
            return Flushed::Paced;
        }
        self.paced_until = None;
        self.look_at_delay(now);
        // Larger packets are probes. They travel alone: in a train, one that the interface does not carry would fail
        // the whole train, and cost the socket its offload.
        let proven = self.quic.pmtu().unwrap_or(MIN_PAYLOAD);
        let mut carried = 0;
        for _ in 0..TRAINS_PER_TURN {
            if carried == 0 && self.guard.allowance(now) == 0 {
                self.paced_until = self.guard.ready_at();
                return Flushed::Paced;
            }
            let train = self.make_train(socket, buffer, carried, proven, now);
            self.guard.sent(train.len);
            let sent = match buffer.get(..train.len) {
                Some(bytes) if !bytes.is_empty() => {
                    stats.trains_sent += 1;
                    socket.send(bytes, train.segment, self.path.route, now, stats)
                }
                _ => Sent::All,
            };
            match sent {
                Sent::All => {}
                Sent::Blocked => {
                    if let Some(packet) = buffer.get(train.len..train.len + train.carry).filter(|p| !p.is_empty()) {
                        socket.keep(packet, packet.len(), self.path.route, stats);
                    }
                    return Flushed::Blocked;
                }
                Sent::Failed(error) => self.send_failed(error, train.segment.min(train.len), proven),
            }
            carried = train.carry;
            buffer.copy_within(train.len..train.len + train.carry, 0);
            if carried == 0 {
                match train.end {
                    TrainEnd::Full => {}
                    TrainEnd::Paced => return Flushed::Paced,
                    TrainEnd::Idle => return Flushed::Idle,
                }
            }
        }
        if let Some(packet) = buffer.get(..carried).filter(|packet| !packet.is_empty()) {
            stats.trains_sent += 1;
            if let Sent::Blocked = socket.send(packet, carried, self.path.route, now, stats) {
                return Flushed::Blocked;
            }
        }
        Flushed::More
    }

    /// Tells the guard how long packets are on their way.
    fn look_at_delay(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Up) || !self.guard.wants_look(now) {
            return;
        }
        let path = self.quic.path_stats().next();
        if let Some((path, least)) = path.and_then(|path| path.min_rtt.map(|least| (path, least))) {
            self.guard.look(path.rtt, path.rttvar, least, now);
        }
    }

    /// Fills `buffer` with packets of one size, starting behind a packet of `carried` bytes that is there already.
    fn make_train(
        &mut self,
        socket: &mut Socket,
        buffer: &mut [u8],
        carried: usize,
        proven: usize,
        now: Instant,
    ) -> Train {
        let mut train = Train { len: carried, segment: carried, carry: 0, end: TrainEnd::Full };
        let allowance = self.guard.allowance(now);
        let mut left = match carried {
            0 => usize::MAX,
            _ => self.packets_left(socket, carried, proven, now),
        };
        while left > 0 {
            if train.len >= allowance && train.len > 0 {
                break;
            }
            if self.paced_until.is_some() {
                train.end = TrainEnd::Paced;
                break;
            }
            let Some(room) = buffer.get_mut(train.len..train.len + self.path.payload) else {
                break;
            };
            let (len, info) = match self.quic.send(room) {
                Ok(packet) => packet,
                // Any other error has closed the connection, which is noticed when it is looked at.
                Err(_) => {
                    self.backlog = 0;
                    train.end = TrainEnd::Idle;
                    break;
                }
            };
            self.backlog = self.backlog.saturating_sub(len);
            // Says when the *next* packet may leave.
            if info.at > now + PACING_AHEAD {
                self.paced_until = Some(info.at - PACING_MARGIN);
            }
            if train.len == 0 {
                train.segment = len;
                left = self.packets_left(socket, len, proven, now);
            } else if len > train.segment {
                train.carry = len;
                break;
            } else {
                left -= 1;
            }
            train.len += len;
            if len < train.segment {
                break;
            }
        }
        train
    }

    /// How many packets may follow the first one of a train.
    fn packets_left(&self, socket: &mut Socket, segment: usize, proven: usize, now: Instant) -> usize {
        if segment > proven { 0 } else { socket.train_packets(segment, now) - 1 }
    }

    fn send_failed(&mut self, error: io::Error, packet: usize, proven: usize) {
        if quinn_udp::is_msg_size_err(&error) {
            // Expected of a probe. Otherwise the interface carries less than it did.
            if packet <= proven {
                self.quic.revalidate_pmtu();
            }
        } else if matches!(self.phase, Phase::Handshake { .. }) && self.quic.stats().recv == 0 {
            self.send_failure = Some(error);
        }
    }

    /// What happened to the streams since the last look: readable ones, stopped ones.
    pub(super) fn poll_streams(&mut self, mut readable: impl FnMut(u64), mut stopped: impl FnMut(u64, u64)) {
        let mut newcomers = false;
        while let Some(stream) = self.quic.stream_readable_next() {
            let opened_by_peer = stream & 1 != u64::from(self.quic.is_server());
            let bidirectional = stream & 2 == 0;
            if opened_by_peer && bidirectional && !self.sending.contains(&stream) {
                self.sending.push(stream);
                newcomers = true;
            }
            readable(stream);
        }
        let stops = self.quic.stats().stopped_stream_count_remote;
        if stops == self.stops_seen && !newcomers {
            return;
        }
        self.stops_seen = stops;
        let quic = &mut self.quic;
        self.sending.retain(|&stream| match quic.stream_capacity(stream) {
            Ok(_) => true,
            Err(quiche::Error::StreamStopped(code)) => {
                stopped(stream, code);
                false
            }
            // Gone.
            Err(_) => false,
        });
    }

    /// Whether a `Writable` is due; asked when packets arrived.
    pub(super) fn writable_after_receive(&mut self) -> bool {
        if self.backlog >= MAX_BACKLOG / 2 {
            return false;
        }
        std::mem::take(&mut self.waits_for_peer) | std::mem::take(&mut self.waits_for_flush)
    }

    /// Whether a `Writable` is due; asked when packets left.
    pub(super) fn writable_after_flush(&mut self) -> bool {
        self.backlog < MAX_BACKLOG / 2 && std::mem::take(&mut self.waits_for_flush)
    }

    pub(super) fn open_bi(&mut self) -> Option<u64> {
        let stream = self.open(self.next_bidi)?;
        self.next_bidi += 4;
        Some(stream)
    }

    pub(super) fn open_uni(&mut self) -> Option<u64> {
        let stream = self.open(self.next_uni)?;
        self.next_uni += 4;
        Some(stream)
    }

    fn open(&mut self, stream: u64) -> Option<u64> {
        // quiche opens a stream at its first use: setting the default priority is one.
        match self.quic.stream_priority(stream, DEFAULT_URGENCY, true) {
            Ok(()) => {
                self.sending.push(stream);
                Some(stream)
            }
            Err(_) => {
                self.waits_for_peer = true;
                None
            }
        }
    }

    pub(super) fn recv(&mut self, stream: u64, into: &mut [u8]) -> Recv {
        match self.quic.stream_recv(stream, into) {
            Ok((len, fin)) => Recv::Data { len, fin },
            Err(quiche::Error::Done) => Recv::Blocked,
            Err(quiche::Error::StreamReset(code)) => Recv::Reset(code),
            Err(_) => Recv::Gone,
        }
    }

    pub(super) fn send(&mut self, stream: u64, bytes: &[u8], fin: bool) -> Result<usize, SendError> {
        let (now, fin_now) = self.share(bytes.len(), fin);
        let part = bytes.get(..now).unwrap_or(bytes);
        let sent = match part.is_empty() && !fin_now {
            true => 0,
            false => match self.quic.stream_send(stream, part, fin_now) {
                Ok(sent) => sent,
                Err(error) => self.not_sent(stream, error)?,
            },
        };
        self.account(stream, sent, now, bytes.len(), fin);
        Ok(sent)
    }

    pub(super) fn send_bytes(&mut self, stream: u64, bytes: Bytes, fin: bool) -> Result<Option<Bytes>, SendError> {
        let (now, fin_now) = self.share(bytes.len(), fin);
        let sent = match now == 0 && !fin_now {
            true => 0,
            false => match self.quic.stream_send_zc(stream, bytes.slice(..now), fin_now) {
                Ok((sent, _)) => sent,
                Err(error) => self.not_sent(stream, error)?,
            },
        };
        self.account(stream, sent, now, bytes.len(), fin);
        Ok((sent < bytes.len()).then(|| bytes.slice(sent..)))
    }

    /// How many of `len` bytes may be queued now, and whether the end goes along.
    fn share(&self, len: usize, fin: bool) -> (usize, bool) {
        let now = len.min(MAX_BACKLOG.saturating_sub(self.backlog));
        (now, fin && now == len)
    }

    fn account(&mut self, stream: u64, sent: usize, share: usize, len: usize, fin: bool) {
        self.backlog += sent;
        if sent < share {
            self.waits_for_peer = true;
        } else if sent < len {
            self.waits_for_flush = true;
        } else if fin {
            self.sending.retain(|&open| open != stream);
        }
    }

    fn not_sent(&mut self, stream: u64, error: quiche::Error) -> Result<usize, SendError> {
        let error = match error {
            quiche::Error::Done => return Ok(0),
            quiche::Error::StreamStopped(code) => SendError::Stopped(code),
            _ => SendError::Gone,
        };
        self.sending.retain(|&open| open != stream);
        Err(error)
    }

    pub(super) fn capacity(&mut self, stream: u64) -> usize {
        let quic = self.quic.stream_capacity(stream).unwrap_or(0);
        let share = MAX_BACKLOG.saturating_sub(self.backlog);
        self.waits_for_peer |= quic == 0;
        self.waits_for_flush |= share == 0;
        quic.min(share)
    }

    pub(super) fn set_priority(&mut self, stream: u64, urgency: u8, incremental: bool) {
        // Fails only for streams that are gone.
        let _ = self.quic.stream_priority(stream, urgency, incremental);
    }

    pub(super) fn reset(&mut self, stream: u64, code: u64) {
        self.sending.retain(|&open| open != stream);
        let _ = self.quic.stream_shutdown(stream, quiche::Shutdown::Write, code);
    }

    pub(super) fn stop_sending(&mut self, stream: u64, code: u64) {
        let _ = self.quic.stream_shutdown(stream, quiche::Shutdown::Read, code);
    }

    pub(super) fn stats(&self) -> ConnectionStats {
        let total = self.quic.stats();
        let path = self.quic.path_stats().next();
        ConnectionStats {
            rtt: path.as_ref().map_or(Duration::ZERO, |path| path.rtt),
            min_rtt: path.as_ref().and_then(|path| path.min_rtt),
            congestion_window: path.as_ref().map_or(0, |path| path.cwnd),
            payload: path.as_ref().map_or(0, |path| path.pmtu),
            delivery_rate: path.as_ref().map_or(0, |path| path.delivery_rate),
            packets_sent: total.sent as u64,
            packets_received: total.recv as u64,
            packets_lost: total.lost as u64,
            bytes_sent: total.sent_bytes,
            bytes_received: total.recv_bytes,
            retransmitted_bytes: total.stream_retrans_bytes,
            backlog: self.backlog,
        }
    }
}

/// quiche's own.
const DEFAULT_URGENCY: u8 = 127;

struct Train {
    /// Bytes of the whole train.
    len: usize,
    /// Bytes of each packet but possibly the last.
    segment: usize,
    /// Bytes of one larger packet that lies behind the train and begins the next one.
    carry: usize,
    end: TrainEnd,
}

enum TrainEnd {
    Full,
    Paced,
    Idle,
}
