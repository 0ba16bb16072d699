//! UDP sockets: whole trains of packets for one system call, both ways.
//!
//! A *train* is a row of packets to one address in one buffer: all of one size, the last one possibly shorter. That is
//! what the kernel takes (UDP GSO) and gives (UDP GRO) at once; it is where most of the throughput comes from.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket as StdSocket};
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Type};

use super::{BindError, EndpointStats};
use crate::aligned::AlignedBytes;
use crate::config::Config;

/// Bytes of one system call: the largest UDP payload over IPv4.
pub(super) const MAX_TRAIN_BYTES: usize = 65_507;
/// Packets of one system call: the kernel's `UDP_MAX_SEGMENTS`.
const MAX_SEGMENTS: usize = 64;
/// After segmentation offload failed it is tried again after this long; the pause doubles with each failure.
const FIRST_OFFLOAD_PAUSE: Duration = Duration::from_secs(10);
const MAX_OFFLOAD_PAUSE: Duration = Duration::from_secs(3600);
/// How often a free port is looked for that both families have.
const PORT_ATTEMPTS: usize = 16;

/// Where a train goes. `from`: the source address to use, on a socket that has several.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) to: SocketAddr,
    pub(super) from: Option<IpAddr>,
}

/// What became of a train.
#[derive(Debug)]
pub(super) enum Sent {
    /// The system took it.
    All,
    /// The system's buffer is full. What did not go is kept here, and goes first when there is room.
    Blocked,
    /// The system refuses to send it; it is lost, as packets can be.
    Failed(io::Error),
}

/// One bound socket of one family.
pub(super) struct Socket {
    io: mio::net::UdpSocket,
    state: UdpSocketState,
    registry: Registry,
    token: Token,
    /// As bound: may be the unspecified address.
    pub(super) bound: SocketAddr,
    /// There may be packets to read: set by the poll, cleared by `WouldBlock`.
    pub(super) readable: bool,
    /// The system's buffer is full: set by `WouldBlock`, cleared by [`Socket::unblock`].
    blocked: bool,
    /// Bytes the system really holds for this socket.
    pub(super) receive_buffer: usize,
    /// What met a full buffer, oldest first. At most two trains: nothing is made while the socket is blocked.
    kept: VecDeque<Kept>,
    offload: Offload,
    #[cfg(test)]
    pub(super) faults: Faults,
}

/// What a test lets go wrong.
#[cfg(test)]
#[derive(Default)]
pub(super) struct Faults {
    /// Every n-th system call finds the buffer full.
    pub(super) full_every: Option<u64>,
    /// The interface cannot cut trains.
    pub(super) no_offload: bool,
}

struct Kept {
    bytes: Vec<u8>,
    segment: usize,
    route: Route,
}

/// Whether trains may be handed over whole.
enum Offload {
    On {
        failures: u32,
    },
    Off {
        failures: u32,
        until: Instant,
    },
    /// The configuration does not want it.
    Never,
}

/// Buffers that packets are read into; one set serves all sockets.
pub(super) struct Inbox {
    bytes: AlignedBytes,
    metas: Vec<RecvMeta>,
}

/// Trains read by one system call. Where they are single packets, as many as quinn-udp reads at once; else no more than what the
/// cache of a core holds.
pub(super) const INBOX_BUFFERS: usize = 32;
pub(super) const INBOX_BUFFERS_FOR_TRAINS: usize = 8;
/// Whether a call that fills fewer buffers has found the socket empty. `recvmmsg` of Linux stops for nothing else (an error is
/// kept for the next call, and reported by the poll); elsewhere one call reads one train, and only `WouldBlock` arms the poll.
pub(super) const PARTIAL_IS_EMPTY: bool = cfg!(target_os = "linux");
const INBOX_BUFFER_BYTES: usize = 64 << 10;

impl Inbox {
    pub(super) fn new() -> Self {
        let bytes = AlignedBytes::zeroed(INBOX_BUFFERS * INBOX_BUFFER_BYTES);
        Self { bytes, metas: vec![RecvMeta::default(); INBOX_BUFFERS] }
    }

    /// The trains of the last [`Socket::receive`], which returned their number.
    pub(super) fn trains(&mut self, count: usize) -> impl Iterator<Item = (&mut [u8], &RecvMeta)> {
        self.bytes.chunks_exact_mut(INBOX_BUFFER_BYTES).zip(&self.metas).take(count).map(|(bytes, meta)| {
            let len = meta.len.min(bytes.len());
            (&mut bytes[..len], meta)
        })
    }
}

impl Socket {
    /// One system call of reading, into so many buffers. The number of trains in `inbox`; `WouldBlock` when there is nothing.
    pub(super) fn receive(&mut self, inbox: &mut Inbox, buffers: usize) -> io::Result<usize> {
        let mut chunks = inbox.bytes.chunks_exact_mut(INBOX_BUFFER_BYTES);
        let mut slices: [IoSliceMut<'_>; INBOX_BUFFERS] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let (io, state) = (&self.io, &self.state);
        io.try_io(|| state.recv(io.into(), &mut slices[..buffers], &mut inbox.metas))
    }

    /// How many packets of `segment` bytes one train to this socket may have now.
    pub(super) fn train_packets(&mut self, segment: usize, now: Instant) -> usize {
        if let Offload::Off { failures, until } = self.offload {
            if now < until {
                return 1;
            }
            self.renew();
            self.offload = Offload::On { failures };
        }
        if matches!(self.offload, Offload::Never) {
            return 1;
        }
        self.state.max_gso_segments().min(MAX_SEGMENTS).min(MAX_TRAIN_BYTES / segment.max(1)).max(1)
    }

    /// Sends a train of packets of `segment` bytes. Only when not [`Socket::is_blocked`].
    pub(super) fn send(
        &mut self,
        train: &[u8],
        segment: usize,
        route: Route,
        now: Instant,
        stats: &mut EndpointStats,
    ) -> Sent {
        debug_assert!(!self.blocked);
        match self.send_or_rest(train, segment, route, now, stats) {
            Ok(sent) if sent == train.len() => Sent::All,
            Ok(sent) => {
                self.block();
                self.keep(train.get(sent..).unwrap_or_default(), segment, route, stats);
                Sent::Blocked
            }
            Err(error) => {
                stats.send_errors += 1;
                Sent::Failed(error)
            }
        }
    }

    /// Whether the system's buffer is full.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Has the poll say when there is room. Only from here on: it would report every packet that leaves, and each such
    /// report is a wake-up for nothing.
    fn block(&mut self) {
        self.blocked = true;
        self.watch_for(Interest::READABLE | Interest::WRITABLE);
    }

    /// The poll says that there is room. Whether there was none before.
    pub(super) fn unblock(&mut self) -> bool {
        if !std::mem::take(&mut self.blocked) {
            return false;
        }
        self.watch_for(Interest::READABLE);
        true
    }

    fn watch_for(&mut self, interest: Interest) {
        if let Err(error) = self.registry.reregister(&mut self.io, self.token, interest) {
            // Without the report nothing would ever be sent again: better to try in vain.
            tracing::warn!(%error, "cannot change what the poll reports of the socket");
            self.blocked = false;
        }
    }

    /// Keeps a train for when the socket is free again.
    pub(super) fn keep(&mut self, train: &[u8], segment: usize, route: Route, stats: &mut EndpointStats) {
        stats.kept_trains += 1;
        self.kept.push_back(Kept { bytes: train.to_vec(), segment, route });
    }

    /// Sends what was kept. Whether the socket is free for more.
    pub(super) fn send_kept(&mut self, now: Instant, stats: &mut EndpointStats) -> bool {
        while !self.blocked {
            let Some(mut kept) = self.kept.pop_front() else {
                return true;
            };
            match self.send_or_rest(&kept.bytes, kept.segment, kept.route, now, stats) {
                Ok(sent) if sent < kept.bytes.len() => {
                    kept.bytes.drain(..sent);
                    self.kept.push_front(kept);
                    self.block();
                }
                Ok(_) => {}
                // A loss, and QUIC repairs it.
                Err(_) => stats.send_errors += 1,
            }
        }
        false
    }

    /// Sends one packet now or never.
    pub(super) fn send_once(&mut self, packet: &[u8], route: Route, stats: &mut EndpointStats) {
        match self.transmit(packet, None, route, stats) {
            Ok(()) => stats.packets_sent += 1,
            Err(_) => stats.send_errors += 1,
        }
    }

    /// The bytes that went before the buffer was full.
    fn send_or_rest(
        &mut self,
        train: &[u8],
        segment: usize,
        route: Route,
        now: Instant,
        stats: &mut EndpointStats,
    ) -> io::Result<usize> {
        let packets = train.len().div_ceil(segment.max(1));
        if packets <= 1 || self.offload_is_on() {
            let error = match self.transmit(train, (packets > 1).then_some(segment), route, stats) {
                Ok(()) => {
                    stats.packets_sent += packets as u64;
                    return Ok(train.len());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) => error,
            };
            if packets <= 1 || !offload_may_be_the_cause(&error) {
                return Err(error);
            }
        }
        self.send_one_by_one(train, segment, route, now, stats)
    }

    fn send_one_by_one(
        &mut self,
        train: &[u8],
        segment: usize,
        route: Route,
        now: Instant,
        stats: &mut EndpointStats,
    ) -> io::Result<usize> {
        let mut sent = 0;
        let mut failure = None;
        for packet in train.chunks(segment.max(1)) {
            match self.transmit(packet, None, route, stats) {
                Ok(()) => stats.packets_sent += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(sent),
                Err(error) => failure = Some(error),
            }
            sent += packet.len();
        }
        if let Offload::On { failures } = self.offload {
            match failure {
                // Single packets fail as well: it is not the offload, but the route (its source address is gone, say).
                Some(_) => self.renew(),
                None => {
                    stats.offload_trips += 1;
                    let pause = FIRST_OFFLOAD_PAUSE.saturating_mul(1 << failures.min(9)).min(MAX_OFFLOAD_PAUSE);
                    tracing::warn!(?pause, "segmentation offload failed; packets are sent one by one for now");
                    self.offload = Offload::Off { failures: failures.saturating_add(1), until: now + pause };
                }
            }
        }
        failure.map_or(Ok(sent), Err)
    }

    fn transmit(
        &mut self,
        contents: &[u8],
        segment_size: Option<usize>,
        route: Route,
        stats: &mut EndpointStats,
    ) -> io::Result<()> {
        let transmit = Transmit { destination: route.to, ecn: None, contents, segment_size, src_ip: route.from };
        let (io, state) = (&self.io, &self.state);
        stats.send_calls += 1;
        #[cfg(test)]
        self.faults.strike(segment_size, stats.send_calls)?;
        io.try_io(|| state.try_send(io.into(), &transmit))
    }

    fn offload_is_on(&self) -> bool {
        matches!(self.offload, Offload::On { .. }) && self.state.max_gso_segments() > 1
    }

    /// quinn-udp gives up on offload, and on more, for good after one error: start afresh.
    fn renew(&mut self) {
        if let Ok(state) = UdpSocketState::new((&self.io).into()) {
            self.state = state;
        }
    }
}

#[cfg(test)]
impl Faults {
    fn strike(&self, segment_size: Option<usize>, call: u64) -> io::Result<()> {
        if self.full_every.is_some_and(|every| call.is_multiple_of(every)) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.no_offload && segment_size.is_some() {
            #[cfg(unix)]
            return Err(io::Error::from_raw_os_error(libc::EIO));
            #[cfg(not(unix))]
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(())
    }
}

#[cfg(unix)]
fn offload_may_be_the_cause(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EIO))
}

#[cfg(not(unix))]
fn offload_may_be_the_cause(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

/// Binds at most one socket for each family, all with one port, and registers them with tokens from `first_token` on.
pub(super) fn bind_all(config: &Config, registry: &Registry, first_token: usize) -> Result<Vec<Socket>, BindError> {
    let mut addrs = config.listen.clone();
    addrs.sort_by_key(SocketAddr::is_ipv6);
    let families = addrs.chunk_by(|a, b| a.is_ipv6() == b.is_ipv6());
    if addrs.is_empty() || families.clone().any(|family| family.len() > 1) {
        return Err(BindError::Addresses);
    }
    let mut ports: Vec<u16> = addrs.iter().map(SocketAddr::port).filter(|&port| port != 0).collect();
    ports.dedup();
    let wanted = match *ports {
        [] => 0,
        [port] => port,
        _ => return Err(BindError::Addresses),
    };
    let mut attempts = PORT_ATTEMPTS;
    let bound = loop {
        attempts -= 1;
        match bind_with_port(&addrs, wanted) {
            // A port that was free in one family may be taken in the other.
            Err(BindError::Bind { source, .. })
                if wanted == 0 && attempts > 0 && source.kind() == io::ErrorKind::AddrInUse => {}
            result => break result?,
        }
    };
    bound.into_iter().enumerate().map(|(index, io)| prepare(io, config, registry, Token(first_token + index))).collect()
}

fn bind_with_port(addrs: &[SocketAddr], mut port: u16) -> Result<Vec<StdSocket>, BindError> {
    let mut sockets = Vec::new();
    for &addr in addrs {
        let mut addr = addr;
        addr.set_port(port);
        match bind(addr) {
            Ok(socket) => {
                port = socket.local_addr().map_err(|source| BindError::Bind { addr, source })?.port();
                sockets.push(socket);
            }
            // Many systems come without IPv6; nobody asked for a particular address.
            Err(source)
                if addr.is_ipv6()
                    && addr.ip().is_unspecified()
                    && !sockets.is_empty()
                    && source.kind() != io::ErrorKind::AddrInUse =>
            {
                tracing::debug!(%source, "no IPv6");
            }
            Err(source) => return Err(BindError::Bind { addr, source }),
        }
    }
    Ok(sockets)
}

fn bind(addr: SocketAddr) -> io::Result<StdSocket> {
    let socket = socket2::Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

fn prepare(io: StdSocket, config: &Config, registry: &Registry, token: Token) -> Result<Socket, BindError> {
    let setup = |source| BindError::Setup { source };
    let bound = io.local_addr().map_err(setup)?;
    let state = UdpSocketState::new((&io).into()).map_err(setup)?;
    // The system may grant less, or refuse: what it granted is what counts.
    let wanted = config.transport.socket_buffer;
    if let Err(error) = state.set_send_buffer_size((&io).into(), wanted) {
        tracing::debug!(%error, wanted, "send buffer");
    }
    if let Err(error) = state.set_recv_buffer_size((&io).into(), wanted) {
        tracing::debug!(%error, wanted, "receive buffer");
    }
    let reported = state.recv_buffer_size((&io).into()).map_err(setup)?;
    // Linux reports twice what it grants: the other half is for its own bookkeeping.
    let receive_buffer = if cfg!(target_os = "linux") { reported / 2 } else { reported };
    if receive_buffer < wanted {
        tracing::info!(receive_buffer, wanted, "the system grants a smaller receive buffer than wanted");
    }
    let mut io = mio::net::UdpSocket::from_std(io);
    registry.register(&mut io, token, Interest::READABLE).map_err(setup)?;
    Ok(Socket {
        io,
        state,
        registry: registry.try_clone().map_err(setup)?,
        token,
        bound,
        readable: true,
        blocked: false,
        receive_buffer,
        kept: VecDeque::new(),
        offload: if config.transport.send_offload { Offload::On { failures: 0 } } else { Offload::Never },
        #[cfg(test)]
        faults: Faults::default(),
    })
}

/// How the system would reach `remote`: from which address, and with which largest UDP payload at the first hop.
/// Sends nothing.
pub(super) fn look_up_route(remote: SocketAddr, from: Option<IpAddr>) -> io::Result<(IpAddr, usize)> {
    let from = from.unwrap_or(match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    });
    let probe = StdSocket::bind(with_scope_of(remote, from, 0))?;
    probe.connect(remote)?;
    Ok((probe.local_addr()?.ip(), largest_payload(&probe, remote)))
}

#[cfg(target_os = "linux")]
fn largest_payload(probe: &StdSocket, remote: SocketAddr) -> usize {
    let (mtu, headers) = match remote {
        SocketAddr::V4(_) => (rustix::net::sockopt::ip_mtu(probe), 28),
        SocketAddr::V6(_) => (rustix::net::sockopt::ipv6_mtu(probe), 48),
    };
    mtu.map_or(1500, |mtu| mtu as usize).saturating_sub(headers)
}

#[cfg(not(target_os = "linux"))]
fn largest_payload(_: &StdSocket, remote: SocketAddr) -> usize {
    if remote.is_ipv4() { 1472 } else { 1452 }
}

/// An address of this host as it is spoken to from `remote`: a link-local one is on the same link, thus in the same scope.
pub(super) fn with_scope_of(remote: SocketAddr, ip: IpAddr, port: u16) -> SocketAddr {
    match (ip, remote) {
        (IpAddr::V6(ip), SocketAddr::V6(remote)) if ip.is_unicast_link_local() => {
            SocketAddrV6::new(ip, port, 0, remote.scope_id()).into()
        }
        _ => SocketAddr::new(ip, port),
    }
}

/// One form for each address, so that addresses can be compared: no flow label, a scope only where it means something.
pub(super) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(_) => addr,
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(ip) => SocketAddr::new(ip.into(), v6.port()),
            None => {
                let scope = if v6.ip().is_unicast_link_local() { v6.scope_id() } else { 0 };
                SocketAddrV6::new(*v6.ip(), v6.port(), 0, scope).into()
            }
        },
    }
}
