//! Who is dialled, where and when.
//!
//! Peers that were sighted or lost are dialled at their known addresses, one after the other a moment apart (a dead
//! address must not hold up a good one, RFC 8305), each with a back-off of its own. Hosts that the user named
//! (`connect`, static peers) are *errands*: resolved first, dialled without knowing who will answer.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{Due, Peer, Peers, Presence};
use crate::api::{CommandData, CommandError, Connected, ErrorCode, PeerEvent};
use crate::engine::core::Cx;
use crate::engine::io::{CommandId, DialId, Output, Sighting};
use crate::proto::{CloseCode, PROTO_VER};
use crate::types::{Job, JobError, PeerId, shortened};

/// Failed dials after which a lost peer that is not advertised is left alone.
pub(super) const REDIALS: u32 = 24;
/// A peer whose connection broke is listed for this many `redial_min` while it is dialled again.
pub(super) const MISSING_FOR: u32 = 3;
/// Time between the dials to two addresses of one peer or host.
const STAGGER: Duration = Duration::from_millis(300);
/// Of two peers that sight each other the one with the higher id waits this long, so that one dial is enough.
const HEAD_START: Duration = Duration::from_millis(250);
/// Addresses that are kept for a peer, or tried for a host.
const MAX_ADDRS: usize = 8;
/// `connect` commands under way at once.
const MAX_CONNECTS: usize = 64;

/// Where a peer may be reached.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) at: SocketAddr,
    not_before: Option<Instant>,
    pause: Duration,
    dialling: bool,
}

/// A dial under way.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) addr: SocketAddr,
    pub(super) of: DialFor,
    began: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DialFor {
    Peer(PeerId),
    Errand(ErrandId),
}

/// Number of an errand.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ErrandId(u64);

/// A host that is to be reached.
#[derive(Debug)]
pub(super) struct Errand {
    purpose: Purpose,
    /// Not tried yet.
    addrs: VecDeque<SocketAddr>,
    /// Dials under way.
    dialling: usize,
    /// Who answered; Hello is under way.
    waiting_for: Option<PeerId>,
    /// Why the last attempt failed.
    failure: Option<CommandError>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    Command(CommandId),
    Static(usize),
}

impl Purpose {
    /// The place of the static host that is to be reached.
    fn place(self) -> Option<usize> {
        match self {
            Self::Static(index) => Some(index),
            Self::Command(_) => None,
        }
    }
}

/// A host that is to be connected for ever, or for as long as the catalog names it.
#[derive(Debug)]
pub(super) struct Static {
    host: String,
    named_by: NamedBy,
    /// Who answered there last.
    peer: Option<PeerId>,
    pause: Duration,
    /// It leads back to this daemon: one list of static peers is often given to every PC.
    own: bool,
}

/// Who wants a host to be connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NamedBy {
    User,
    Catalog,
    /// The catalog did: the place is free for another host.
    Nobody,
}

impl Static {
    pub(super) fn new(host: String, named_by: NamedBy) -> Self {
        Self { host, named_by, peer: None, pause: Duration::ZERO, own: false }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.named_by != NamedBy::Nobody && !self.own
    }
}

impl Address {
    fn new(at: SocketAddr) -> Self {
        Self { at, not_before: None, pause: Duration::ZERO, dialling: false }
    }

    /// The last dial failed, and there was one.
    pub(super) fn has_failed(&self) -> bool {
        !self.pause.is_zero()
    }

    /// Not again before `pause` is over.
    pub(super) fn put_off(&mut self, now: Instant, pause: Duration) {
        self.pause = pause;
        self.not_before = Some(now + pause);
    }
}

impl Peer {
    /// The peer answered at this address: it goes first.
    pub(super) fn reached(&mut self, addr: SocketAddr) {
        let known = self.addrs.iter().position(|known| known.at == addr).map(|at| self.addrs.remove(at));
        let dialling = known.is_some_and(|known| known.dialling);
        self.addrs.insert(0, Address { dialling, ..Address::new(addr) });
        self.addrs.truncate(MAX_ADDRS);
        self.addr = Some(addr);
    }

    /// Takes over advertised addresses. The one where the peer was reached goes first, others than the advertised last.
    fn advertised(&mut self, addrs: &[SocketAddr]) {
        let mut known = std::mem::take(&mut self.addrs);
        for at in self.addr.iter().chain(addrs) {
            if self.addrs.len() < MAX_ADDRS && !self.addrs.iter().any(|addr| addr.at == *at) {
                let old = known.iter().position(|addr| addr.at == *at).map(|found| known.swap_remove(found));
                self.addrs.push(old.unwrap_or_else(|| Address::new(*at)));
            }
        }
        known.sort_by_key(|addr| addr.at);
        self.addrs.extend(known);
        self.addrs.truncate(MAX_ADDRS);
    }

    /// No address has to wait any longer.
    pub(super) fn dial_anew(&mut self) {
        self.dial_after = None;
        for addr in &mut self.addrs {
            (addr.not_before, addr.pause) = (None, Duration::ZERO);
        }
    }

    fn is_to_be_dialled(&self) -> bool {
        match self.presence {
            Presence::Connected(_) => false,
            Presence::Discovered | Presence::Missing => true,
            Presence::Remembered => self.redials_left > 0,
        }
    }
}

impl Peers {
    /// The addresses of this host changed. Connections from one that it has no longer carry nothing any more: their peers are
    /// dialled again at once, over another address.
    pub(in crate::engine) fn listening(&mut self, cx: &mut Cx, addrs: Vec<SocketAddr>) {
        let before = std::mem::replace(&mut self.listen, addrs);
        let is_gone =
            |ip: IpAddr| before.iter().any(|addr| addr.ip() == ip) && self.listen.iter().all(|addr| addr.ip() != ip);
        let gone: Vec<_> = self.conns.iter().filter(|(_, conn)| is_gone(conn.local.ip())).map(|(id, _)| *id).collect();
        for conn in gone {
            let reason = "this PC has another address now";
            cx.emit(Output::Close { conn, code: CloseCode::Stale, reason });
            self.connection_down(cx, conn, None, reason);
        }
        for (index, peer) in self.statics.iter_mut().enumerate() {
            if std::mem::take(&mut peer.own) && cx.announced.is_open {
                self.timers.set(Due::Static(index), cx.now);
            }
        }
    }

    /// The local library may be told to others: begin, or go on.
    pub(in crate::engine) fn library_ready(&mut self, cx: &mut Cx) {
        self.answer_held(cx);
        for (index, peer) in self.statics.iter().enumerate() {
            if peer.peer.is_none() && peer.is_wanted() {
                self.timers.set_if_idle(Due::Static(index), cx.now);
            }
        }
        for errand in self.errands.keys().copied().collect::<Vec<_>>() {
            self.errand_step(cx, errand);
        }
        self.pump(cx);
    }

    /// A peer was advertised.
    pub(in crate::engine) fn sighting(&mut self, cx: &mut Cx, sighting: Sighting) {
        let Sighting { peer_id: peer, addrs, proto_ver, stamp, hostname } = sighting;
        if self.leaving || peer == self.me || self.blocked.contains(&peer) {
            return;
        }
        if proto_ver != PROTO_VER {
            self.note_incompatible(peer, proto_ver);
            let is_discovered = |row: &Peer| matches!(row.presence, Presence::Discovered);
            if self.rows.get(&peer).is_some_and(is_discovered) {
                self.lose(cx, peer, "incompatible", false);
            }
            return;
        }
        self.incompatible.remove(&peer);
        let Some(&first) = addrs.first() else { return };
        let head_start = if self.me < peer { Duration::ZERO } else { HEAD_START };
        let Some(row) = self.row(cx, peer) else { return };
        row.noted = cx.now;
        row.sighted = Some(stamp);
        row.advertised(&addrs);
        if row.hostname.is_none() {
            row.hostname = hostname.map(|name| shortened(&name, 64)).filter(|name| !name.is_empty());
        }
        match row.presence {
            Presence::Connected(_) => self.sighted_connected(cx, peer),
            Presence::Discovered | Presence::Missing => self.dial_later(cx, peer),
            Presence::Remembered => {
                row.presence = Presence::Discovered;
                row.dial_after = Some(cx.now + head_start);
                cx.event(PeerEvent::PeerDiscovered { peer_id: peer, addr: first });
                self.dial_later(cx, peer);
            }
        }
        self.fire_dials(cx, peer);
    }

    /// An advertisement expired.
    pub(in crate::engine) fn sighting_gone(&mut self, cx: &mut Cx, peer: PeerId) {
        self.incompatible.remove(&peer);
        let Some(row) = self.rows.get_mut(&peer) else { return };
        row.sighted = None;
        if matches!(row.presence, Presence::Discovered) {
            self.lose(cx, peer, "expired", false);
        }
    }

    /// Arms the dial timer for the first address whose time comes.
    pub(super) fn dial_later(&mut self, cx: &Cx, peer: PeerId) {
        let greeting = self.greetings.contains_key(&peer);
        let Some(row) = self.rows.get_mut(&peer) else { return };
        if self.leaving || greeting || row.queued || !row.is_to_be_dialled() {
            return self.timers.cancel(&Due::Dial(peer));
        }
        let free = row.addrs.iter().filter(|addr| !addr.dialling);
        let Some(at) = free.map(|addr| addr.not_before.unwrap_or(cx.now)).min() else {
            return self.timers.cancel(&Due::Dial(peer));
        };
        let at = at.max(row.dial_after.unwrap_or(at)).max(cx.now);
        self.timers.set(Due::Dial(peer), at);
    }

    /// Does not wait for [`crate::engine::Input::Timeout`] when the time has come already.
    fn fire_dials(&mut self, cx: &mut Cx, peer: PeerId) {
        if self.timers.due(&Due::Dial(peer)).is_some_and(|at| at <= cx.now) {
            self.timers.cancel(&Due::Dial(peer));
            self.queue_dial(cx, peer);
        }
    }

    /// A peer's turn has come: it waits for a free dial.
    pub(super) fn queue_dial(&mut self, cx: &mut Cx, peer: PeerId) {
        if let Some(row) = self.rows.get_mut(&peer).filter(|row| !row.queued) {
            row.queued = true;
            // A crowd of addresses that never answer must not hold up a newcomer.
            let tried = row.addrs.iter().all(|addr| addr.not_before.is_some());
            let [fresh, others] = &mut self.queues;
            if tried { others } else { fresh }.push_back(peer);
        }
        self.pump(cx);
    }

    /// Dials whoever waits, as far as the limits allow.
    pub(super) fn pump(&mut self, cx: &mut Cx) {
        while cx.announced.is_open
            && !self.leaving
            && self.dials.len() < cx.config.limits.dials
            && self.conns.len() < cx.config.limits.connections
        {
            let [fresh, others] = &mut self.queues;
            let Some(peer) = fresh.pop_front().or_else(|| others.pop_front()) else { return };
            let greeting = self.greetings.contains_key(&peer);
            let Some(row) = self.rows.get_mut(&peer) else { continue };
            row.queued = false;
            if greeting || !row.is_to_be_dialled() {
                continue;
            }
            let is_due = |addr: &&mut Address| !addr.dialling && addr.not_before.is_none_or(|at| at <= cx.now);
            if let Some(addr) = row.addrs.iter_mut().find(is_due) {
                tracing::debug!(%peer, addr = %addr.at, "dialling");
                addr.dialling = true;
                let (dial, at) = (cx.ids.dial(), addr.at);
                row.dial_after = Some(cx.now + STAGGER);
                self.dials.insert(dial, Dial { addr: at, of: DialFor::Peer(peer), began: cx.now });
                cx.emit(Output::Dial { dial, addr: at, expect: Some(peer) });
            }
            self.dial_later(cx, peer);
        }
    }

    /// The books after a dial, however it ended.
    pub(super) fn dial_ended(&mut self, dial: &Dial) {
        match dial.of {
            DialFor::Peer(peer) => {
                let addrs = self.rows.get_mut(&peer).into_iter().flat_map(|row| &mut row.addrs);
                addrs.filter(|addr| addr.at == dial.addr).for_each(|addr| addr.dialling = false);
            }
            DialFor::Errand(errand) => {
                if let Some(errand) = self.errands.get_mut(&errand) {
                    errand.dialling = errand.dialling.saturating_sub(1);
                }
            }
        }
    }

    /// A dial did not lead to a connection.
    pub(in crate::engine) fn dial_failed(
        &mut self,
        cx: &mut Cx,
        dial: DialId,
        identity_mismatch: bool,
        actual: Option<PeerId>,
        reason: &str,
    ) {
        let Some(dial) = self.dials.remove(&dial) else { return };
        tracing::debug!(addr = %dial.addr, identity_mismatch, reason, "dial failed");
        self.dial_ended(&dial);
        match dial.of {
            DialFor::Peer(peer) => {
                if let Some(row) = self.rows.get_mut(&peer).filter(|_| identity_mismatch) {
                    row.addrs.retain(|addr| addr.at != dial.addr);
                    // Another PC has the address now.
                    row.addr.take_if(|addr| *addr == dial.addr);
                }
                self.address_failed(cx, peer, dial.addr);
            }
            DialFor::Errand(errand) => {
                let code = if actual == Some(self.me) {
                    ErrorCode::SelfConnect
                } else if cx.now.saturating_duration_since(dial.began) >= cx.config.timers.dial_timeout {
                    ErrorCode::Timeout
                } else {
                    ErrorCode::PeerRefused
                };
                let message = match code {
                    ErrorCode::SelfConnect if !self.listen.contains(&dial.addr) => format!(
                        "no connection to {}: it has the same identity as this PC, or is this PC; if one was cloned, or its state directory \
                         copied, delete identity.pem there and start it again",
                        dial.addr
                    ),
                    _ => format!("no connection to {}: {reason}", dial.addr),
                };
                self.errand_failed(cx, errand, CommandError::new(code, message));
            }
        }
        self.pump(cx);
    }

    /// An address of a peer did not lead to a session: it has to wait, longer each time.
    fn address_failed(&mut self, cx: &mut Cx, peer: PeerId, at: SocketAddr) {
        let (min, max) = (cx.config.timers.redial_min, cx.config.timers.redial_max);
        let Some(row) = self.rows.get_mut(&peer) else { return };
        if let Some(addr) = row.addrs.iter_mut().find(|addr| addr.at == at) {
            let pause = (addr.pause * 2).clamp(min, max.max(min));
            addr.put_off(cx.now, Self::jittered(cx, pause));
            addr.pause = pause;
        }
        if matches!(row.presence, Presence::Remembered) {
            row.redials_left = row.redials_left.saturating_sub(1);
        }
        self.dial_later(cx, peer);
        self.forget_useless(peer);
    }

    /// A connection stood, but the peer did not accept it.
    pub(super) fn greeting_failed(
        &mut self,
        cx: &mut Cx,
        peer: PeerId,
        at: SocketAddr,
        code: Option<CloseCode>,
        reason: &str,
    ) {
        self.address_failed(cx, peer, at);
        let error_code = match code {
            Some(CloseCode::SelfConnect) => ErrorCode::SelfConnect,
            Some(CloseCode::Timeout) => ErrorCode::Timeout,
            _ => ErrorCode::PeerRefused,
        };
        let error = CommandError::new(error_code, format!("{peer} at {at} did not accept the connection: {reason}"));
        for errand in self.errands.values_mut().filter(|errand| errand.waiting_for == Some(peer)) {
            errand.failure = Some(error.clone());
        }
    }

    /// Errands whose peer did not accept go on with their other addresses.
    pub(super) fn retry_errands(&mut self, cx: &mut Cx, peer: PeerId) {
        let waiting = self.errands_waiting_for(peer);
        for id in waiting {
            if let Some(errand) = self.errands.get_mut(&id) {
                errand.waiting_for = None;
            }
            self.errand_step(cx, id);
        }
    }

    /// Errands whose peer is expected to dial back wait for it, and try the address once more if it does not.
    pub(super) fn errands_try_again(&mut self, cx: &Cx, peer: PeerId, at: SocketAddr) {
        for id in self.errands_waiting_for(peer) {
            if let Some(errand) = self.errands.get_mut(&id) {
                errand.addrs.push_back(at);
                self.timers.set(Due::ErrandStep(id), cx.now + cx.config.timers.redial_min);
            }
        }
    }

    /// `connect`: dials `host:port` and answers when the peer there has accepted.
    pub(in crate::engine) fn connect(&mut self, cx: &mut Cx, id: CommandId, host: &str) {
        let commands = self.errands.values().filter(|errand| matches!(errand.purpose, Purpose::Command(_))).count();
        if commands >= MAX_CONNECTS {
            let message = "too many connect commands are under way; wait for one of them to end";
            return cx.reply(id, Err(CommandError::new(ErrorCode::Io, message)));
        }
        let parsed = host.rsplit_once(':').map(|(name, port)| (name, port.parse::<u16>()));
        if !matches!(parsed, Some((name, Ok(1..))) if !name.is_empty() && host.len() <= 300) {
            let message = format!("{:?} is not host:port", shortened(host, 80));
            return cx.reply(id, Err(CommandError::new(ErrorCode::BadArgument, message)));
        }
        self.begin_errand(cx, Purpose::Command(id), host.to_owned());
    }

    /// Dials a static peer unless it is connected.
    pub(super) fn try_static(&mut self, cx: &mut Cx, index: usize) {
        let Some(peer) = self.statics.get(index) else { return };
        let host = peer.host.clone();
        let connected = peer.peer.is_some_and(|peer| self.session(&peer).is_some());
        let running = self.errands.values().any(|errand| errand.purpose == Purpose::Static(index));
        if peer.is_wanted() && !connected && !running {
            self.begin_errand(cx, Purpose::Static(index), host);
        }
    }

    /// The catalog is another one: its peers are connected from now on, those of the one before are not dialled any more.
    pub(in crate::engine) fn catalog_changed(&mut self, cx: &mut Cx) {
        if self.leaving {
            return;
        }
        let mut wanted: BTreeSet<&str> = cx.catalog.peers().iter().map(String::as_str).collect();
        for (index, peer) in self.statics.iter_mut().enumerate() {
            let is_named = wanted.remove(peer.host.as_str());
            if peer.named_by == NamedBy::Catalog && !is_named {
                peer.named_by = NamedBy::Nobody;
                self.timers.cancel(&Due::Static(index));
            } else if peer.named_by == NamedBy::Nobody && is_named {
                peer.named_by = NamedBy::Catalog;
                self.timers.set(Due::Static(index), cx.now);
            }
        }
        // An errand that still runs for a free place would report to its next host.
        let busy: BTreeSet<usize> = self.errands.values().filter_map(|errand| errand.purpose.place()).collect();
        let is_free = |(index, peer): &(usize, &Static)| peer.named_by == NamedBy::Nobody && !busy.contains(index);
        let free: Vec<usize> = self.statics.iter().enumerate().filter(is_free).map(|(index, _)| index).collect();
        let mut free = free.into_iter();
        for host in wanted {
            let new = Static::new(host.to_owned(), NamedBy::Catalog);
            let index = match free.next().and_then(|index| Some((index, self.statics.get_mut(index)?))) {
                Some((index, place)) => {
                    *place = new;
                    index
                }
                None => {
                    self.statics.push(new);
                    self.statics.len() - 1
                }
            };
            if cx.announced.is_open {
                self.timers.set(Due::Static(index), cx.now);
            }
        }
    }

    /// A session ended: the static peers behind it are dialled again.
    pub(super) fn statics_lost(&mut self, cx: &mut Cx, lost: PeerId) {
        for (index, peer) in self.statics.iter_mut().enumerate().filter(|(_, peer)| peer.peer == Some(lost)) {
            peer.peer = None;
            if !peer.is_wanted() {
                continue;
            }
            let pause = Self::jittered(cx, cx.config.timers.redial_min);
            self.timers.set(Due::Static(index), cx.now + pause);
        }
    }

    fn begin_errand(&mut self, cx: &mut Cx, purpose: Purpose, host: String) {
        let token = cx.ids.token();
        let id = ErrandId(token);
        let errand = Errand { purpose, addrs: VecDeque::new(), dialling: 0, waiting_for: None, failure: None };
        self.errands.insert(id, errand);
        if let Ok(addr) = host.parse() {
            return self.errand_resolved(cx, id, Ok(vec![addr]));
        }
        self.resolving.insert(token, id);
        self.timers.set(Due::ErrandEnd(id), cx.now + cx.config.timers.request_timeout);
        cx.job(Job::Resolve { token, host });
    }

    /// Takes in the result of [`Job::Resolve`].
    pub(in crate::engine) fn resolved(&mut self, cx: &mut Cx, token: u64, result: Result<Vec<SocketAddr>, JobError>) {
        if let Some(errand) = self.resolving.remove(&token) {
            self.errand_resolved(cx, errand, result);
        }
    }

    fn errand_resolved(&mut self, cx: &mut Cx, id: ErrandId, result: Result<Vec<SocketAddr>, JobError>) {
        let addrs = match result {
            Ok(addrs) => addrs,
            Err(error) => return self.errand_over(cx, id, Err(CommandError::new(ErrorCode::Io, error.message))),
        };
        if addrs.iter().any(|addr| self.listen.contains(addr)) {
            let message = "the address is this daemon's own";
            return self.errand_over(cx, id, Err(CommandError::new(ErrorCode::SelfConnect, message)));
        }
        let connected = self.sessions().find_map(|(peer, row, session)| {
            let remote = self.conns.get(&session.conn).map(|conn| conn.remote);
            addrs.iter().find(|addr| row.addr == Some(**addr) || remote == Some(**addr)).map(|addr| (peer, *addr))
        });
        if let Some(reached) = connected {
            return self.errand_over(cx, id, Ok(reached));
        }
        let Some(errand) = self.errands.get_mut(&id) else { return };
        for addr in addrs.into_iter().take(MAX_ADDRS) {
            if !errand.addrs.contains(&addr) {
                errand.addrs.push_back(addr);
            }
        }
        let message = "the name has no address";
        errand.failure = Some(CommandError::new(ErrorCode::Io, message));
        self.timers.set(Due::ErrandEnd(id), cx.now + cx.config.timers.dial_timeout);
        self.errand_step(cx, id);
    }

    /// Dials an errand's next address; ends it when there is nothing left to try or to wait for.
    pub(super) fn errand_step(&mut self, cx: &mut Cx, id: ErrandId) {
        self.timers.cancel(&Due::ErrandStep(id));
        let resolving = self.resolving.values().any(|errand| *errand == id);
        let Some(errand) = self.errands.get_mut(&id) else { return };
        let greeting = errand.waiting_for.is_some_and(|peer| self.greetings.contains_key(&peer));
        if resolving || greeting || !cx.announced.is_open {
            return;
        }
        if let Some(addr) = errand.addrs.pop_front() {
            errand.dialling += 1;
            let dial = cx.ids.dial();
            self.dials.insert(dial, Dial { addr, of: DialFor::Errand(id), began: cx.now });
            cx.emit(Output::Dial { dial, addr, expect: None });
            if !errand.addrs.is_empty() {
                self.timers.set(Due::ErrandStep(id), cx.now + STAGGER);
            }
        } else if errand.dialling == 0 {
            let failure = errand.failure.take();
            let failure = failure.unwrap_or_else(|| CommandError::new(ErrorCode::Io, "nothing to dial"));
            self.errand_over(cx, id, Err(failure));
        }
    }

    /// One of an errand's dials failed.
    pub(super) fn errand_failed(&mut self, cx: &mut Cx, id: ErrandId, failure: CommandError) {
        let Some(errand) = self.errands.get_mut(&id) else { return };
        errand.failure = Some(failure);
        self.errand_step(cx, id);
    }

    pub(super) fn errand_timed_out(&mut self, cx: &mut Cx, id: ErrandId) {
        let message = "nobody answered in time; is the daemon running there, and does a firewall let UDP through?";
        self.errand_over(cx, id, Err(CommandError::new(ErrorCode::Timeout, message)));
    }

    /// The errand's dial led to this peer, which has yet to accept.
    pub(super) fn errand_waits_for(&mut self, id: ErrandId, peer: PeerId) {
        self.timers.cancel(&Due::ErrandStep(id));
        if let Some(errand) = self.errands.get_mut(&id) {
            errand.waiting_for = Some(peer);
        }
    }

    /// A peer accepted: every errand that led to it is done.
    pub(super) fn errands_reached(&mut self, cx: &mut Cx, peer: PeerId, addr: SocketAddr) {
        let addr = self.rows.get(&peer).and_then(|row| row.addr).unwrap_or(addr);
        for id in self.errands_waiting_for(peer) {
            self.errand_over(cx, id, Ok((peer, addr)));
        }
    }

    fn errands_waiting_for(&self, peer: PeerId) -> Vec<ErrandId> {
        let waiting = self.errands.iter().filter(|(_, errand)| errand.waiting_for == Some(peer));
        waiting.map(|(id, _)| *id).collect()
    }

    /// The errand is over. Dials that are still under way end on their own.
    pub(super) fn errand_over(
        &mut self,
        cx: &mut Cx,
        id: ErrandId,
        result: Result<(PeerId, SocketAddr), CommandError>,
    ) {
        let Some(errand) = self.errands.remove(&id) else { return };
        self.timers.cancel(&Due::ErrandStep(id));
        self.timers.cancel(&Due::ErrandEnd(id));
        self.resolving.retain(|_, errand| *errand != id);
        match errand.purpose {
            Purpose::Command(command) => {
                let connected = |(peer_id, addr)| CommandData::Connected(Connected { peer_id, addr });
                cx.reply(command, result.map(connected));
            }
            Purpose::Static(index) => {
                let (min, max) = (cx.config.timers.redial_min, cx.config.timers.redial_max);
                let Some(peer) = self.statics.get_mut(index).filter(|peer| peer.is_wanted()) else { return };
                match result {
                    Ok((reached, _)) => (peer.peer, peer.pause) = (Some(reached), Duration::ZERO),
                    Err(error) if error.code == ErrorCode::SelfConnect => peer.own = true,
                    Err(_) => {
                        peer.pause = (peer.pause * 2).clamp(min, max.max(min));
                        let pause = Self::jittered(cx, peer.pause);
                        self.timers.set(Due::Static(index), cx.now + pause);
                    }
                }
            }
        }
    }

    /// The daemon stops: nobody is waited for any more.
    pub(super) fn end_errands(&mut self, cx: &mut Cx) {
        for id in self.errands.keys().copied().collect::<Vec<_>>() {
            self.errand_over(cx, id, Err(CommandError::new(ErrorCode::Cancelled, "the daemon stops")));
        }
    }
}
