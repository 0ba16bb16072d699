//! The endpoint: sockets, connections, timers, and the way of every packet and event between them.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::{Registry, Token};
use ring::rand::SystemRandom;

use super::closing::Farewells;
use super::connection::{Connection, MAX_PAYLOAD, MIN_PAYLOAD, Origin, Path, Phase, TRAIN_BUFFER};
use super::gather::Gather;
use super::guard::Guard;
use super::retry::Tokens;
use super::slots::{RandomKey, Slot};
use super::socket::{
    INBOX_BUFFERS, INBOX_BUFFERS_FOR_TRAINS, Inbox, PARTIAL_IS_EMPTY, Route, Socket, bind_all, canonical,
    look_up_route, with_scope_of,
};
use super::timers::Timers;
use super::tls::{self, SharedBytes};
use super::{BindError, ConnHandle, ConnectionStats, EndpointStats, Event, Recv, SendError};
use crate::aligned::AlignedBytes;
use crate::config::Config;
use crate::identity::Identity;
use crate::sys::Wakeup;
use crate::types::{PartyProofs, PeerId};

/// Packets read from one socket in one turn; then the other parts of the loop get theirs.
const RECEIVE_BUDGET: usize = 256;
/// Bytes of the connection ids that this side chooses.
pub(super) const CID_LEN: usize = 8;

/// QUIC on one UDP port, both as client and as server. See the [module](super) for how a loop drives it.
pub struct Endpoint {
    pub(super) sockets: Vec<Socket>,
    /// For each socket: the connections that wait until it is free.
    pub(super) waiting: Vec<Vec<usize>>,
    first_token: usize,
    wakeup: Wakeup,
    pub(super) parameters: quiche::Config,
    pub(super) identity: Identity,
    pub(super) settings: Settings,
    pub(super) slots: Vec<Slot>,
    pub(super) free: Vec<usize>,
    pub(super) by_cid: HashMap<u64, usize, BuildHasherDefault<RandomKey>>,
    /// First packets of newcomers carry an id that the newcomer chose.
    pub(super) by_initial: HashMap<(SocketAddr, Vec<u8>), usize>,
    pub(super) farewells: Farewells,
    pub(super) tokens: Tokens,
    pub(super) random: SystemRandom,
    pub(super) timers: Timers,
    pub(super) events: VecDeque<Event>,
    pub(super) dirty: VecDeque<usize>,
    pub(super) touched: Vec<usize>,
    inbox: Option<Inbox>,
    gather: Gather,
    /// When the first of the connections that the pacer holds back may go on.
    pub(super) paced: Option<Instant>,
    pub(super) scratch: AlignedBytes,
    pub(super) stats: EndpointStats,
}

/// What of the configuration is needed after binding.
pub(super) struct Settings {
    pub(super) max_connections: usize,
    pub(super) half_open_before_retry: usize,
    pub(super) handshake_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) ping_guard: bool,
    /// 0: as the interface carries.
    pub(super) max_payload: usize,
}

impl Endpoint {
    /// How many tokens an endpoint may use: one for each family, one for its alarm clock.
    pub const TOKENS: usize = 3;

    /// Binds the addresses of `config.listen`, all with one port, and registers with the poll: tokens from `first_token`
    /// on, [`Endpoint::TOKENS`] of them.
    ///
    /// # Errors
    ///
    /// [`BindError`]. That there is no IPv6 is none, unless a particular IPv6 address was asked for.
    pub fn bind(
        config: &Config,
        identity: &Identity,
        registry: &Registry,
        first_token: usize,
        now: Instant,
    ) -> Result<Self, BindError> {
        let sockets = bind_all(config, registry, first_token)?;
        let receive_buffer = sockets.iter().map(|socket| socket.receive_buffer).min().unwrap_or(0);
        let random = SystemRandom::new();
        let no_random = |_| BindError::Tls("the system gives no random numbers".to_owned());
        Ok(Self {
            waiting: sockets.iter().map(|_| Vec::new()).collect(),
            parameters: tls::parameters(config, identity, receive_buffer)?,
            tokens: Tokens::new(&random, now).map_err(no_random)?,
            wakeup: Wakeup::new(
                registry,
                Token(first_token + Self::TOKENS - 1),
                config.transport.timer_resolution,
                now,
            )
            .map_err(|source| BindError::Setup { source })?,
            identity: identity.clone(),
            sockets,
            first_token,
            settings: Settings {
                max_connections: config.limits.connections,
                half_open_before_retry: config.limits.half_open_before_retry,
                handshake_timeout: config.timers.dial_timeout,
                idle_timeout: tls::idle_timeout(config),
                ping_guard: config.ping_guard,
                max_payload: config.transport.max_payload,
            },
            slots: Vec::new(),
            free: Vec::new(),
            by_cid: HashMap::default(),
            by_initial: HashMap::new(),
            farewells: Farewells::default(),
            random,
            timers: Timers::default(),
            events: VecDeque::new(),
            dirty: VecDeque::new(),
            touched: Vec::new(),
            inbox: Some(Inbox::new()),
            gather: Gather::default(),
            paced: None,
            scratch: AlignedBytes::zeroed(TRAIN_BUFFER),
            stats: EndpointStats::default(),
        })
    }

    /// The bound addresses, IPv4 first; all have the same port. May be unspecified ones.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|socket| socket.bound).collect()
    }

    // ---- the loop ----

    /// Takes note of a poll event. Tokens of others are ignored.
    pub fn on_ready(&mut self, token: usize, readable: bool, writable: bool) {
        let Some(index) = token.checked_sub(self.first_token) else {
            return;
        };
        let (Some(socket), Some(waiting)) = (self.sockets.get_mut(index), self.waiting.get_mut(index)) else {
            return;
        };
        socket.readable |= readable;
        if writable && socket.unblock() {
            self.dirty.extend(waiting.drain(..));
        }
    }

    /// Reads what the sockets have, up to a budget, unless they [rest](Endpoint::rests_until). Whether the budget was used up and
    /// there is more.
    pub fn receive(&mut self, now: Instant) -> bool {
        if self.rests_until(now).is_some() {
            return false;
        }
        let before = (self.stats.packets_received, self.stats.trains_received);
        let Some(mut inbox) = self.inbox.take() else {
            return false;
        };
        let buffers = if self.gather.is_single() { INBOX_BUFFERS } else { INBOX_BUFFERS_FOR_TRAINS };
        for index in 0..self.sockets.len() {
            let mut budget = RECEIVE_BUDGET;
            while budget > 0 {
                let Some(socket) = self.sockets.get_mut(index).filter(|socket| socket.readable) else {
                    break;
                };
                self.stats.receive_calls += 1;
                match socket.receive(&mut inbox, buffers) {
                    Ok(count) => {
                        // Another call would only say so.
                        socket.readable &= count == buffers || !PARTIAL_IS_EMPTY;
                        let packets = self.route_trains(&mut inbox, count, index, now);
                        budget = budget.saturating_sub(packets.max(1));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.readable = false,
                    Err(error) => {
                        // Windows reports here that an earlier packet was refused: no reason to stop reading.
                        tracing::debug!(%error, "receive");
                        self.stats.receive_errors += 1;
                        budget -= 1;
                    }
                }
            }
        }
        self.inbox = Some(inbox);
        self.settle_touched(now);
        let more = self.is_readable();
        let after = (self.stats.packets_received, self.stats.trains_received);
        self.gather.looked(after.0 - before.0, after.1 - before.1, more, now);
        more
    }

    /// Lets every deadline that has come take effect.
    pub fn fire_timers(&mut self, now: Instant) {
        while let Some(slot) = self.timers.pop_due(now) {
            let Some(connection) = self.connection(slot) else {
                continue;
            };
            let due = connection.deadline().is_some_and(|deadline| deadline <= now);
            connection.fire_timers(now);
            if due {
                self.mark_dirty(slot);
                self.settle(slot, now);
            }
            self.arm(slot, now);
        }
    }

    /// The earliest time at which [`Endpoint::fire_timers`] or [`Endpoint::receive`] has something to do, whatever the poll says.
    pub fn next_timeout(&self, now: Instant) -> Option<Instant> {
        let look = self.is_readable().then(|| self.rests_until(now).unwrap_or(now));
        self.timers.next().into_iter().chain(look).chain(self.wakeup.next_timeout()).min()
    }

    /// Whether there is work left that waits for nothing: poll without waiting.
    pub fn wants_turn(&self, now: Instant) -> bool {
        !self.dirty.is_empty() || !self.events.is_empty() || (self.is_readable() && self.rests_until(now).is_none())
    }

    fn is_readable(&self) -> bool {
        self.sockets.iter().any(|socket| socket.readable)
    }

    /// Until when [`Endpoint::receive`] leaves the sockets alone, so that packets gather meanwhile: whoever can sleep until then
    /// without the poll saves a wake-up for each of them. `None`: poll.
    pub fn rests_until(&self, now: Instant) -> Option<Instant> {
        if self.sockets.iter().any(Socket::is_blocked) {
            return None;
        }
        self.gather.rests_until(self.paced, now)
    }

    /// Whoever slept until [`Endpoint::rests_until`] says when that was over.
    pub fn rested(&mut self, until: Instant, now: Instant) {
        self.gather.rested(until, now);
        self.wakeup.sleeps_shortly(now);
    }

    /// How long a wait of the caller's thread takes on the clock that there is ([`Transport::timer_resolution`](crate::config::Transport)).
    pub fn until_tick(&self, wait: Duration, now: Instant) -> Duration {
        self.wakeup.until_tick(wait, now)
    }

    /// Sends what there is to send: what was kept first, then every connection with something new once.
    pub fn flush(&mut self, now: Instant) {
        for socket in &mut self.sockets {
            socket.send_kept(now, &mut self.stats);
        }
        for _ in 0..self.dirty.len() {
            let Some(slot) = self.dirty.pop_front() else {
                break;
            };
            self.flush_slot(slot, now);
        }
        self.wakeup.arm(self.timers.next(), now);
    }

    /// What happened next. Drain it every turn.
    pub fn poll_event(&mut self) -> Option<Event> {
        loop {
            let event = self.events.pop_front()?;
            let Some(conn) = event.conn() else {
                return Some(event);
            };
            // Nothing is reported any more of a connection that this side closed.
            let Some(slot) = self.slot_of(conn) else {
                continue;
            };
            if matches!(event, Event::Down { .. }) {
                self.remove(slot);
            }
            return Some(event);
        }
    }

    // ---- connections ----

    /// Opens a connection to `remote`; ends in [`Event::Up`] or [`Event::DialFailed`] that carries `dial`. `from`: the
    /// source address to use. `expect`: who must answer.
    pub fn dial(&mut self, dial: u64, remote: SocketAddr, expect: Option<PeerId>, now: Instant) {
        let origin = Origin::Dialled { dial, expect };
        if let Err(reason) = self.try_dial(origin, canonical(remote), now) {
            self.stats.handshakes_failed += 1;
            self.events.push_back(Event::DialFailed { dial, identity_mismatch: false, actual: None, reason });
        }
    }

    /// Closes a connection with an application code and words, after what can be sent at once of its streams. No event
    /// of it follows.
    pub fn close(&mut self, conn: ConnHandle, code: u64, reason: &str, now: Instant) {
        let Some(slot) = self.slot_of(conn) else {
            return;
        };
        if self.up(conn).is_some() {
            self.close_slot(slot, code, reason, now);
            self.say_farewell(slot, now);
        }
        self.remove(slot);
    }

    /// What both sides of a connection that was reported up must prove; `None`: this side has no party key.
    pub fn party_proofs(&self, conn: ConnHandle) -> Option<PartyProofs> {
        // Also of one that has ended meanwhile: what it said may still be read.
        self.slots.get(self.slot_of(conn)?)?.connection.as_ref()?.party
    }

    /// Counters of the whole endpoint.
    pub fn stats(&self) -> EndpointStats {
        self.stats
    }

    /// A look at one connection.
    pub fn connection_stats(&self, conn: ConnHandle) -> Option<ConnectionStats> {
        let slot = self.slot_of(conn)?;
        self.slots.get(slot)?.connection.as_ref().map(|connection| connection.stats())
    }

    // ---- streams ----

    /// Opens a stream both ways. `None`: the peer allows no more for now ([`Event::Writable`] follows when it may), or the
    /// connection is gone.
    pub fn open_bi(&mut self, conn: ConnHandle) -> Option<u64> {
        self.up(conn)?.open_bi()
    }

    /// Opens a stream from here to the peer. `None` as for [`Endpoint::open_bi`].
    pub fn open_uni(&mut self, conn: ConnHandle) -> Option<u64> {
        self.up(conn)?.open_uni()
    }

    /// Reads from a stream.
    pub fn recv(&mut self, conn: ConnHandle, stream: u64, into: &mut [u8]) -> Recv {
        let Some(slot) = self.slot_of(conn) else {
            return Recv::Gone;
        };
        let Some(connection) = self.connection(slot) else {
            return Recv::Gone;
        };
        let result = connection.recv(stream, into);
        if matches!(result, Recv::Data { .. }) {
            // The peer may be due more credit.
            self.mark_dirty(slot);
        }
        result
    }

    /// Queues a copy of the start of `bytes`; returns how many. `fin`: nothing follows the last of them; taken together
    /// with it. Fewer than all: [`Event::Writable`] follows.
    ///
    /// # Errors
    ///
    /// [`SendError`]: the stream takes nothing any more.
    pub fn send(&mut self, conn: ConnHandle, stream: u64, bytes: &[u8], fin: bool) -> Result<usize, SendError> {
        self.with_stream(conn, |connection| connection.send(stream, bytes, fin))
    }

    /// Like [`Endpoint::send`] without copying: the buffer is held until the peer has acknowledged it. Returns what was
    /// not taken.
    ///
    /// # Errors
    ///
    /// [`SendError`]: the stream takes nothing any more.
    pub fn send_bytes(
        &mut self,
        conn: ConnHandle,
        stream: u64,
        bytes: Bytes,
        fin: bool,
    ) -> Result<Option<Bytes>, SendError> {
        self.with_stream(conn, |connection| connection.send_bytes(stream, bytes, fin))
    }

    /// How many bytes a stream would take now. 0: [`Event::Writable`] follows when it may be more.
    pub fn capacity(&mut self, conn: ConnHandle, stream: u64) -> usize {
        self.up(conn).map_or(0, |connection| connection.capacity(stream))
    }

    /// Streams of a lower urgency go first; among equals, incremental ones take turns and the others go one after
    /// another.
    pub fn set_priority(&mut self, conn: ConnHandle, stream: u64, urgency: u8, incremental: bool) {
        if let Some(connection) = self.up(conn) {
            connection.set_priority(stream, urgency, incremental);
        }
    }

    /// Gives up sending on a stream.
    pub fn reset(&mut self, conn: ConnHandle, stream: u64, code: u64) {
        let reset = |connection: &mut Connection| {
            connection.reset(stream, code);
            Ok(())
        };
        let _: Result<(), SendError> = self.with_stream(conn, reset);
    }

    /// Asks the peer to give up sending on a stream; what comes all the same is dropped.
    pub fn stop_sending(&mut self, conn: ConnHandle, stream: u64, code: u64) {
        let stop = |connection: &mut Connection| {
            connection.stop_sending(stream, code);
            Ok(())
        };
        let _: Result<(), SendError> = self.with_stream(conn, stop);
    }

    fn with_stream<T>(
        &mut self,
        conn: ConnHandle,
        act: impl FnOnce(&mut Connection) -> Result<T, SendError>,
    ) -> Result<T, SendError> {
        let result = act(self.up(conn).ok_or(SendError::Gone)?);
        if let Some(slot) = self.slot_of(conn) {
            self.mark_dirty(slot);
        }
        result
    }

    /// A connection that is up.
    fn up(&mut self, conn: ConnHandle) -> Option<&mut Connection> {
        let slot = self.slot_of(conn)?;
        self.connection(slot).filter(|connection| matches!(connection.phase, Phase::Up))
    }

    fn try_dial(&mut self, origin: Origin, remote: SocketAddr, now: Instant) -> Result<(), String> {
        if remote.port() == 0 || remote.ip().is_unspecified() || remote.ip().is_multicast() {
            return Err(format!("{remote} is not the address of a peer"));
        }
        if self.is_full() {
            return Err("the limit on connections is reached".to_owned());
        }
        let socket = self
            .sockets
            .iter()
            .position(|socket| socket.bound.is_ipv6() == remote.is_ipv6())
            .ok_or("this PC has no address of that family")?;
        let path = self.path(socket, remote, None).map_err(|error| error.to_string())?;
        let cid = self.fresh_cid().ok_or("the system gives no random numbers")?;
        self.parameters.set_max_send_udp_payload_size(path.payload);
        let scid = cid.to_be_bytes();
        let quic = quiche::connect_with_buffer_factory::<SharedBytes>(
            None,
            &quiche::ConnectionId::from_ref(&scid),
            path.local,
            remote,
            &mut self.parameters,
        )
        .map_err(|error| error.to_string())?;
        let phase = Phase::Handshake { origin, deadline: now + self.settings.handshake_timeout };
        let slot = self.insert(Connection::new(quic, phase, path, cid, None, Guard::new(self.settings.ping_guard)));
        self.mark_dirty(slot);
        Ok(())
    }

    /// How packets travel between this host, from the address `from` if given, and `remote`.
    pub(super) fn path(&self, socket: usize, remote: SocketAddr, from: Option<IpAddr>) -> io::Result<Path> {
        let bound = self.sockets.get(socket).map(|socket| socket.bound).ok_or(io::ErrorKind::NotFound)?;
        let fixed = Some(bound.ip()).filter(|ip| !ip.is_unspecified());
        let (ip, carried) = look_up_route(remote, fixed.or(from))?;
        let payload = match self.settings.max_payload {
            0 => carried,
            limit => limit,
        };
        Ok(Path {
            socket,
            remote,
            local: with_scope_of(remote, ip, bound.port()),
            route: Route { to: remote, from: if fixed.is_some() { None } else { Some(ip) } },
            payload: payload.clamp(MIN_PAYLOAD, MAX_PAYLOAD),
        })
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("local", &self.local_addrs())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}
