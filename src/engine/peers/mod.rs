//! The other peers: one row each, at most one session each.
//!
//! ```text
//!              sighting                   Hello accepted
//!  Remembered ──────────▶ Discovered ──────────────────────▶ Connected ◀─────────┐
//!   ▲ ▲ ▲                     │ expired, evicted              │  │ connection    │ Hello accepted
//!   │ │ └─────────────────────┘                               │  ▼ lost          │
//!   │ └──────────── goodbye, stale, refused ──────────────────┘ Missing ─────────┘
//!   └───────────────── no new connection within the grace ───────┘
//! ```
//!
//! A connection counts once its dialler has said Hello and the other side has accepted it; before that it is in
//! [`Peers::conns`] only. `dial` opens connections, `hello` turns them into sessions, `sync` keeps the library of each
//! session in step, `liveness` notices who is gone.

mod budget;
mod dial;
mod hello;
mod liveness;
mod party;
mod shared;
mod sync;
mod wake;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::dial::{Address, Dial, Errand, ErrandId, NamedBy, Static};
use self::sync::Sync;
use super::core::Cx;
use super::effect::{Announcement, Effect};
use super::io::{ConnId, DialId, InboundId, Output, RequestId, RunFailure};
use super::remote::{Interner, RemoteLibrary};
use super::timers::TimerSet;
use super::world::{Source, Via, Way};
use crate::api::{IncompatiblePeer, PeerEvent, PeerRow};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::proto::{Answer, CloseCode, Hello, Notification};
use crate::types::{
    Availability, ChunkHash, GameId, GameSummary, LibraryStamp, PartyProof, PartyProofs, PeerId, SourceId,
};

/// Peers of another protocol version that are remembered for `status`.
const MAX_INCOMPATIBLE: usize = 256;

/// Peers that may be blocked.
const MAX_BLOCKED: usize = 4096;
/// What a blocked peer is told.
const BLOCKED: &str = "the user blocked this peer";

/// The table of peers.
#[derive(Debug)]
pub(super) struct Peers {
    me: PeerId,
    /// The addresses under which this host can be reached.
    listen: Vec<SocketAddr>,
    rows: BTreeMap<PeerId, Peer>,
    conns: BTreeMap<ConnId, Conn>,
    /// Peers that were dialled and asked, and have not answered Hello (or proved the party key) yet.
    greetings: BTreeMap<PeerId, ConnId>,
    asks: BTreeMap<RequestId, Ask>,
    dials: BTreeMap<DialId, Dial>,
    /// Peers whose turn to be dialled has come: those that were never tried, then the others.
    queues: [VecDeque<PeerId>; 2],
    errands: BTreeMap<ErrandId, Errand>,
    /// Errands whose host is being resolved, by the job's token.
    resolving: BTreeMap<u64, ErrandId>,
    statics: Vec<Static>,
    incompatible: BTreeMap<PeerId, u32>,
    /// Whom the user does not want to deal with.
    blocked: BTreeSet<PeerId>,
    /// Peers of which was said that the party key keeps them out.
    strangers: BTreeSet<PeerId>,
    /// When it was said last that an identity is used twice.
    shared_told: Option<Instant>,
    interner: Interner,
    timers: TimerSet<Due>,
    /// Goodbye was said: nothing begins any more.
    leaving: bool,
}

/// One known peer.
#[derive(Debug)]
struct Peer {
    presence: Presence,
    hostname: Option<String>,
    /// Where it may be reached, best first.
    addrs: Vec<Address>,
    /// Its listener's address at the last session.
    addr: Option<SocketAddr>,
    /// It has proved its key at least once. Others may be forged, and are evicted first.
    proved: bool,
    /// When something was heard of it last, sightings included.
    noted: Instant,
    /// When it said something last.
    heard: Option<Instant>,
    /// What it last let others know by its advertisement; `None`: it is not advertised (any more).
    sighted: Option<LibraryStamp>,
    /// The last accepted state of its library. Outlives the session, so that a return costs a delta at most.
    library: Option<RemoteLibrary>,
    /// It was let go, or not taken in, because it takes too much memory.
    too_large: Option<budget::TooLarge>,
    /// Dials left before an unlisted peer is forgotten.
    redials_left: u32,
    /// Its next address is not dialled before this.
    dial_after: Option<Instant>,
    /// It waits in one of [`Peers::queues`].
    queued: bool,
    /// Where it was, lately, when a connection from another address took the place of the one that stood.
    displaced: Vec<(SocketAddr, Instant)>,
    /// When it came back to one of these.
    returns: Vec<Instant>,
}

#[derive(Debug)]
enum Presence {
    /// Not listed: it was lost, or never counted. Its row is kept for its library and addresses.
    Remembered,
    /// Seen, not connected yet.
    Discovered,
    /// Accepted.
    Connected(Box<Session>),
    /// The connection is lost since a moment ago; a new one is being tried.
    Missing,
}

/// An accepted connection.
#[derive(Debug)]
struct Session {
    conn: ConnId,
    /// This side dialled.
    dialled: bool,
    since: Instant,
    /// The state of the local library that the peer was told last.
    told: LibraryStamp,
    /// Pings without an answer.
    probes: u32,
    /// It said that it serves what it is still downloading.
    swarm: bool,
    sync: Sync,
}

/// A connection whose peer has proved its key.
#[derive(Debug)]
struct Conn {
    peer: PeerId,
    remote: SocketAddr,
    local: SocketAddr,
    way: Way,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The peer dialled, and has to prove the party key before it says Hello.
    AwaitingProof { expected: PartyProofs },
    /// The peer dialled and has not said Hello.
    AwaitingHello,
    /// It has, before the local library was open.
    Held { from: InboundId, hello: Box<Hello> },
    /// This side dialled and has proved the party key; so must the peer.
    Proving { request: RequestId, addr: SocketAddr, expected: PartyProof },
    /// This side dialled and has said Hello.
    Greeting { request: RequestId, addr: SocketAddr, told: LibraryStamp },
    /// Part of a session.
    Accepted,
}

/// A request that this part waits for.
#[derive(Debug)]
enum Ask {
    Proof(ConnId),
    Hello(ConnId),
    Ping(PeerId),
    Library(PeerId),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Due {
    /// An accepted connection brought no Hello.
    Hello(ConnId),
    /// A session may have fallen silent.
    Alive(PeerId),
    /// A missing peer did not come back.
    Missing(PeerId),
    /// The peer's next address may be dialled.
    Dial(PeerId),
    /// An advertised revision was not pushed.
    Probe(PeerId),
    /// A library that could not be brought in step is asked for again.
    Resync(PeerId),
    /// What was pushed is stated once more, in case the push was dropped.
    Confirm(PeerId),
    /// An errand tries its next address.
    ErrandStep(ErrandId),
    /// An errand is over.
    ErrandEnd(ErrandId),
    /// A static peer is tried (again).
    Static(usize),
}

impl Peers {
    pub(super) fn new(config: &Config, catalog: &Catalog, me: PeerId) -> Self {
        let mut statics: Vec<Static> =
            config.static_peers.iter().map(|host| Static::new(host.clone(), NamedBy::User)).collect();
        let known: BTreeSet<&String> = config.static_peers.iter().collect();
        let more: BTreeSet<&String> = catalog.peers().iter().filter(|host| !known.contains(host)).collect();
        statics.extend(more.into_iter().map(|host| Static::new(host.clone(), NamedBy::Catalog)));
        Self {
            me,
            listen: Vec::new(),
            rows: BTreeMap::new(),
            conns: BTreeMap::new(),
            greetings: BTreeMap::new(),
            asks: BTreeMap::new(),
            dials: BTreeMap::new(),
            queues: [VecDeque::new(), VecDeque::new()],
            errands: BTreeMap::new(),
            resolving: BTreeMap::new(),
            statics,
            incompatible: BTreeMap::new(),
            blocked: BTreeSet::new(),
            strangers: BTreeSet::new(),
            shared_told: None,
            interner: Interner::default(),
            timers: TimerSet::new(),
            leaving: false,
        }
    }

    /// The addresses under which this host can be reached.
    pub(super) fn listen(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// The peer of an accepted connection. Everything that comes over a connection is a sign of life.
    pub(super) fn heard(&mut self, conn: ConnId, now: Instant) -> Option<PeerId> {
        let conn = self.conns.get(&conn)?;
        let row = self.rows.get_mut(&conn.peer)?;
        row.noted = now;
        row.heard = Some(now);
        match conn.stage {
            Stage::Accepted => Some(conn.peer),
            _ => None,
        }
    }

    /// The least round-trip time of a connection was measured.
    pub(super) fn round_trip_measured(&mut self, conn: ConnId, least: Duration) {
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.way.round_trip = Some(conn.way.round_trip.map_or(least, |known| known.min(least)));
        }
    }

    /// Takes in the answer to one of this part's requests; others are not for it.
    pub(super) fn answered(
        &mut self,
        cx: &mut Cx,
        request: RequestId,
        result: Result<(Answer, Vec<ChunkHash>), RunFailure>,
    ) {
        let result = result.map(|(answer, _)| answer);
        match self.asks.remove(&request) {
            None => {}
            Some(Ask::Proof(conn)) => self.proof_answered(cx, conn, result),
            Some(Ask::Hello(conn)) => self.hello_answered(cx, conn, result),
            Some(Ask::Ping(peer)) => {
                if let (Ok(Answer::Pong { .. }), Some(conn)) = (result, self.session(&peer).map(|session| session.conn))
                {
                    self.heard(conn, cx.now);
                    self.answered_ping(cx, peer);
                }
            }
            Some(Ask::Library(peer)) => {
                if let (Ok(_), Some(conn)) = (&result, self.session(&peer).map(|session| session.conn)) {
                    self.heard(conn, cx.now);
                }
                self.library_answered(cx, peer, request, result);
            }
        }
    }

    /// Takes in a notification.
    pub(super) fn notified(&mut self, cx: &mut Cx, conn: ConnId, notification: Notification) {
        let Some(peer) = self.heard(conn, cx.now) else { return };
        match notification {
            Notification::Goodbye { peer_id } if peer_id == peer => {
                self.close(cx, conn, CloseCode::Shutdown, "goodbye");
                self.lose(cx, peer, "goodbye", false);
            }
            Notification::LibrarySummary { peer_id, summary } if peer_id == peer => self.told(cx, peer, summary),
            Notification::LibraryDelta { peer_id, delta } if peer_id == peer => self.pushed(cx, peer, delta),
            Notification::Goodbye { .. } | Notification::LibrarySummary { .. } | Notification::LibraryDelta { .. } => {
                self.impostor(cx, conn)
            }
            // For the transfers: see `Engine::handle`.
            Notification::HaveChunks(_) | Notification::BadChunks { .. } => {}
        }
    }

    /// A message over this connection named another peer as its sender.
    pub(super) fn impostor(&mut self, cx: &mut Cx, conn: ConnId) {
        self.expel(cx, conn, CloseCode::IdentityMismatch, "a message names another peer");
    }

    /// Closes a connection because of what its peer did, and forgets the session it carried.
    fn expel(&mut self, cx: &mut Cx, conn: ConnId, code: CloseCode, reason: &'static str) {
        let Some(peer) = self.conns.get(&conn).map(|conn| conn.peer) else { return };
        let carried = self.session(&peer).is_some_and(|session| session.conn == conn);
        self.close(cx, conn, code, reason);
        if carried {
            if let Some(row) = self.rows.get_mut(&peer) {
                let max = cx.config.timers.redial_max;
                row.addrs.iter_mut().for_each(|addr| addr.put_off(cx.now, max));
            }
            self.lose(cx, peer, "misbehaved", true);
        }
    }

    /// Closes a connection from this side. The session of its peer, if it carried one, is the caller's to end.
    fn close(&mut self, cx: &mut Cx, conn: ConnId, code: CloseCode, reason: &'static str) {
        if self.forget_conn(cx, conn).is_some() {
            cx.emit(Output::Close { conn, code, reason });
        }
    }

    /// Takes a connection out of all tables.
    fn forget_conn(&mut self, cx: &mut Cx, id: ConnId) -> Option<Conn> {
        let conn = self.conns.remove(&id)?;
        self.timers.cancel(&Due::Hello(id));
        match conn.stage {
            Stage::Proving { request, .. } | Stage::Greeting { request, .. } => {
                self.asks.remove(&request);
                self.greetings.remove(&conn.peer);
            }
            Stage::Accepted => cx.tell(Effect::Disconnected(id)),
            Stage::AwaitingProof { .. } | Stage::AwaitingHello | Stage::Held { .. } => {}
        }
        Some(conn)
    }

    /// A connection is gone without this side's doing.
    pub(super) fn connection_down(&mut self, cx: &mut Cx, id: ConnId, code: Option<CloseCode>, reason: &str) {
        let Some(conn) = self.forget_conn(cx, id) else { return };
        tracing::debug!(peer = %conn.peer, conn = id.0, ?code, reason, "connection closed");
        match conn.stage {
            Stage::AwaitingProof { .. } | Stage::AwaitingHello | Stage::Held { .. } => {}
            Stage::Proving { addr, .. } | Stage::Greeting { addr, .. } => {
                if code == Some(CloseCode::PartyKey) {
                    self.refused_us(cx, conn.peer, addr);
                }
                if code == Some(CloseCode::SharedIdentity) {
                    self.identity_is_shared(cx, conn.peer, addr);
                }
                self.greeting_failed(cx, conn.peer, addr, code, reason);
                if code == Some(CloseCode::Duplicate) {
                    // The peer keeps another connection, most likely its own dial that is about to come in.
                    self.errands_try_again(cx, conn.peer, addr);
                } else {
                    self.retry_errands(cx, conn.peer);
                }
            }
            Stage::Accepted => match code {
                Some(CloseCode::Shutdown) => self.lose(cx, conn.peer, "goodbye", false),
                Some(CloseCode::Blocked) => self.lose(cx, conn.peer, "blocked", false),
                _ => self.miss(cx, conn.peer),
            },
        }
    }

    /// The session of a peer lost its connection; it stays listed for a moment, while it is dialled again.
    fn miss(&mut self, cx: &mut Cx, peer: PeerId) {
        let Some(row) = self.rows.get_mut(&peer) else { return };
        if !matches!(row.presence, Presence::Connected(_)) {
            return;
        }
        row.presence = Presence::Missing;
        row.redials_left = dial::REDIALS;
        self.end_session(cx, peer);
        self.timers.set(Due::Missing(peer), cx.now + cx.config.timers.redial_min * dial::MISSING_FOR);
        self.dial_later(cx, peer);
    }

    /// A listed peer is gone. `redial`: it did not say so itself and may come back without being sighted.
    fn lose(&mut self, cx: &mut Cx, peer: PeerId, reason: &str, redial: bool) {
        let Some(row) = self.rows.get_mut(&peer) else { return };
        let before = std::mem::replace(&mut row.presence, Presence::Remembered);
        row.redials_left = if redial { dial::REDIALS } else { 0 };
        self.timers.cancel(&Due::Missing(peer));
        match before {
            Presence::Remembered => return,
            Presence::Connected(_) => self.end_session(cx, peer),
            Presence::Discovered | Presence::Missing => {}
        }
        tracing::debug!(%peer, reason, redial, "peer lost");
        cx.event(PeerEvent::PeerLost { peer_id: peer, reason: reason.to_owned() });
        if redial {
            self.dial_later(cx, peer);
        } else {
            self.timers.cancel(&Due::Dial(peer));
            self.forget_useless(peer);
        }
    }

    /// Forgets a row that nothing can come of: not listed, and neither a library nor a dial left.
    fn forget_useless(&mut self, peer: PeerId) {
        let useless =
            |row: &Peer| matches!(row.presence, Presence::Remembered) && row.library.is_none() && row.redials_left == 0;
        if self.rows.get(&peer).is_some_and(useless) {
            self.forget_row(peer);
        }
    }

    fn forget_row(&mut self, peer: PeerId) {
        self.rows.remove(&peer);
        for due in [Due::Alive(peer), Due::Missing(peer), Due::Dial(peer), Due::Probe(peer), Due::Resync(peer)] {
            self.timers.cancel(&due);
        }
        self.timers.cancel(&Due::Confirm(peer));
    }

    /// What ends with a session, whatever follows it.
    fn end_session(&mut self, cx: &mut Cx, peer: PeerId) {
        for due in [Due::Alive(peer), Due::Probe(peer), Due::Resync(peer), Due::Confirm(peer)] {
            self.timers.cancel(&due);
        }
        self.asks.retain(|_, ask| !matches!(ask, Ask::Ping(of) | Ask::Library(of) if *of == peer));
        cx.tell(Effect::Settled(peer));
        cx.tell(Effect::SourcesChanged);
        self.statics_lost(cx, peer);
    }

    /// The row of a peer, made if there is room: forged ones go first, then those that are gone, never a listed peer
    /// that has proved itself.
    fn row(&mut self, cx: &mut Cx, peer: PeerId) -> Option<&mut Peer> {
        if !self.rows.contains_key(&peer) {
            if self.rows.len() >= cx.config.limits.peers.max(1) {
                let rank = |row: &Peer| match (row.proved, &row.presence) {
                    (false, _) => Some(0),
                    (true, Presence::Remembered) => Some(1),
                    (true, Presence::Discovered) => Some(2),
                    (true, Presence::Connected(_) | Presence::Missing) => None,
                };
                let ranked = self.rows.iter().filter_map(|(id, row)| Some((rank(row)?, row.noted, *id)));
                let (_, _, victim) = ranked.min()?;
                self.lose(cx, victim, "forgotten", false);
                self.forget_row(victim);
            }
            self.rows.insert(peer, Peer::new(cx.now));
        }
        self.rows.get_mut(&peer)
    }

    fn session(&self, peer: &PeerId) -> Option<&Session> {
        match &self.rows.get(peer)?.presence {
            Presence::Connected(session) => Some(session),
            _ => None,
        }
    }

    fn session_mut(&mut self, peer: &PeerId) -> Option<&mut Session> {
        match &mut self.rows.get_mut(peer)?.presence {
            Presence::Connected(session) => Some(session),
            _ => None,
        }
    }

    /// Every session, ascending by peer.
    fn sessions(&self) -> impl Iterator<Item = (PeerId, &Peer, &Session)> {
        self.rows.iter().filter_map(|(id, row)| match &row.presence {
            Presence::Connected(session) => Some((*id, row, &**session)),
            _ => None,
        })
    }

    /// Libraries of connected peers that were in step at least once in this session, ascending by peer.
    pub(super) fn libraries(&self) -> impl Iterator<Item = (PeerId, ConnId, &RemoteLibrary)> {
        self.sessions()
            .filter(|(_, _, session)| session.sync.confirmed())
            .filter_map(|(id, row, session)| Some((id, session.conn, row.library.as_ref()?)))
    }

    /// Whether any connected peer's library lists the game.
    pub(super) fn lists(&self, game: &GameId) -> bool {
        self.libraries().any(|(_, _, library)| library.get(game).is_some())
    }

    /// Its name for people.
    pub(super) fn hostname(&self, peer: &PeerId) -> Option<String> {
        self.rows.get(peer).and_then(|row| row.hostname.clone())
    }

    /// Who has a game and does not hand it out, and why, for the end of a sentence; of many the first ones.
    pub(super) fn why_not(&self, game: &GameId) -> String {
        const NAMED: usize = 3;
        let held_back = self.libraries().filter_map(|(peer, _, library)| {
            let summary = library.get(game).filter(|game| game.availability != Availability::Ready)?;
            let name = self.hostname(&peer).unwrap_or_else(|| peer.to_string());
            Some(match (&summary.not_shared, summary.availability) {
                (Some(reason), _) => format!("{name} has it and does not share it: {reason}"),
                (None, Availability::Downloading) => format!("{name} is downloading it"),
                (None, _) if summary.downloaded => format!("{name} has it and does not share it"),
                (None, _) => format!("{name} has only a part of it"),
            })
        });
        let words: Vec<String> = held_back.take(NAMED).collect();
        if words.is_empty() { String::new() } else { format!(" ({})", words.join("; ")) }
    }

    /// Tells everybody of a durable change of the local library.
    pub(super) fn announce(&mut self, cx: &mut Cx, announcement: &Announcement) {
        let me = self.me;
        for (id, row) in &mut self.rows {
            let Presence::Connected(session) = &mut row.presence else { continue };
            let body = match &announcement.delta {
                Some(delta) if session.told == announcement.from => {
                    Notification::LibraryDelta { peer_id: me, delta: delta.clone() }
                }
                _ => Notification::LibrarySummary { peer_id: me, summary: announcement.state },
            };
            session.told = announcement.state.stamp();
            cx.emit(Output::Notify { conn: session.conn, body: Box::new(body) });
            self.timers.set(Due::Confirm(*id), cx.now + cx.config.timers.request_timeout);
        }
    }

    /// Says goodbye to everybody; nothing is dialled or accepted any more.
    pub(super) fn leave(&mut self, cx: &mut Cx) {
        if std::mem::replace(&mut self.leaving, true) {
            return;
        }
        for (_, _, session) in self.sessions() {
            let body = Box::new(Notification::Goodbye { peer_id: self.me });
            cx.emit(Output::Notify { conn: session.conn, body });
        }
        self.end_errands(cx);
        self.timers = TimerSet::new();
        self.queues.iter_mut().for_each(VecDeque::clear);
    }

    /// From now on has nothing to do with a peer. False: there are as many blocked ones as may be.
    pub(super) fn block(&mut self, cx: &mut Cx, peer: PeerId) -> bool {
        if self.blocked.len() >= MAX_BLOCKED && !self.blocked.contains(&peer) {
            return false;
        }
        self.blocked.insert(peer);
        let conns: Vec<_> = self.conns.iter().filter(|(_, conn)| conn.peer == peer).map(|(id, _)| *id).collect();
        for conn in conns {
            self.close(cx, conn, CloseCode::Blocked, BLOCKED);
        }
        self.lose(cx, peer, "blocked", false);
        true
    }

    /// Deals with a peer again, once it is seen or comes. False: it was not blocked.
    pub(super) fn unblock(&mut self, peer: &PeerId) -> bool {
        self.blocked.remove(peer)
    }

    /// Whether the user does not want to deal with a peer.
    pub(super) fn is_blocked(&self, peer: &PeerId) -> bool {
        self.blocked.contains(peer)
    }

    /// Whom the user does not want to deal with, ascending by id.
    pub(super) fn blocked(&self) -> Vec<PeerId> {
        self.blocked.iter().copied().collect()
    }

    /// Notes a peer that speaks another version.
    fn note_incompatible(&mut self, peer: PeerId, proto_ver: u32) {
        if !self.incompatible.contains_key(&peer) && self.incompatible.len() >= MAX_INCOMPATIBLE {
            self.incompatible.pop_first();
        }
        self.incompatible.insert(peer, proto_ver);
    }

    /// Peers that advertise themselves and answer at none of their addresses: name or id, and where they were tried.
    pub(super) fn unreachable(&self) -> Vec<(String, Vec<SocketAddr>)> {
        let is_tried = |(id, row): &(&PeerId, &Peer)| {
            let connected = matches!(row.presence, Presence::Connected(_));
            let known = self.blocked.contains(id) || self.strangers.contains(id) || self.incompatible.contains_key(id);
            let all_failed = !row.addrs.is_empty() && row.addrs.iter().all(Address::has_failed);
            !connected && !known && row.sighted.is_some() && all_failed
        };
        let name = |id: &PeerId, row: &Peer| row.hostname.clone().unwrap_or_else(|| id.to_string());
        let tried = self.rows.iter().filter(is_tried);
        tried.map(|(id, row)| (name(id, row), row.addrs.iter().map(|addr| addr.at).collect())).collect()
    }

    /// Peers that the party key keeps out, or that keep this one out.
    pub(super) fn strangers(&self) -> usize {
        self.strangers.len()
    }

    /// Whether nobody else was seen, in whatever way.
    pub(super) fn is_alone(&self) -> bool {
        let seen = |row: &Peer| row.sighted.is_some() || !matches!(row.presence, Presence::Remembered);
        !self.rows.values().any(seen) && self.strangers.is_empty() && self.incompatible.is_empty()
    }

    /// Peers that speak another version, ascending by id.
    pub(super) fn incompatible(&self) -> Vec<IncompatiblePeer> {
        self.incompatible
            .iter()
            .map(|(peer_id, proto_ver)| IncompatiblePeer { peer_id: *peer_id, proto_ver: *proto_ver })
            .collect()
    }

    /// Number of connected peers.
    pub(super) fn connected(&self) -> usize {
        self.sessions().count()
    }

    /// The connection of each connected peer, ascending by peer.
    pub(super) fn connections(&self) -> Vec<(PeerId, ConnId)> {
        self.sessions().map(|(id, _, session)| (id, session.conn)).collect()
    }

    /// Number of connected peers whose library is in step.
    pub(super) fn in_step(&self) -> usize {
        self.sessions().filter(|(_, row, session)| session.sync.in_step() && row.library.is_some()).count()
    }

    /// The rows of `list-peers`, ascending by id.
    pub(super) fn list(&self, now: Instant) -> Vec<PeerRow> {
        let listed = self.rows.iter().filter(|(_, row)| !matches!(row.presence, Presence::Remembered));
        listed
            .map(|(id, row)| {
                let library = row.library.as_ref();
                let way = self.session(id).map_or_else(Way::default, |session| self.way(session.conn));
                PeerRow {
                    peer_id: *id,
                    hostname: row.hostname.clone(),
                    addr: row.addr.or_else(|| row.addrs.first().map(|addr| addr.at)),
                    connected: matches!(row.presence, Presence::Connected(_)),
                    library_epoch: library.map(|library| library.stamp().epoch),
                    library_rev: library.map(|library| library.stamp().rev),
                    game_count: library.map_or(0, |library| library.games().len()),
                    last_seen_ms: row.heard.map(|at| now.saturating_duration_since(at).as_millis() as u64),
                    rtt_ms: way.round_trip.map(|least| least.as_micros() as f64 / 1e3),
                    interface: way.interface,
                }
            })
            .collect()
    }

    /// The earliest deadline.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Fires what is due.
    pub(super) fn timeout(&mut self, cx: &mut Cx) {
        while let Some(due) = self.timers.pop_due(cx.now) {
            match due {
                Due::Hello(conn) => self.close(cx, conn, CloseCode::Timeout, "no Hello"),
                Due::Alive(peer) => self.check_alive(cx, peer),
                Due::Missing(peer) => self.lose(cx, peer, "closed", true),
                Due::Dial(peer) => self.queue_dial(cx, peer),
                Due::Probe(peer) => self.probe(cx, peer),
                Due::Resync(peer) => self.resync(cx, peer),
                Due::Confirm(peer) => self.confirm(cx, peer),
                Due::ErrandStep(errand) => self.errand_step(cx, errand),
                Due::ErrandEnd(errand) => self.errand_timed_out(cx, errand),
                Due::Static(index) => self.try_static(cx, index),
            }
        }
    }

    /// A pause of half to all of `pause`: spreads what many peers would do at once.
    fn jittered(cx: &mut Cx, pause: Duration) -> Duration {
        let half = pause / 2;
        let spread = half.as_micros() as u64;
        half + Duration::from_micros(if spread == 0 { 0 } else { cx.ids.random() % spread })
    }
}

impl Peer {
    fn new(now: Instant) -> Self {
        Self {
            presence: Presence::Remembered,
            hostname: None,
            addrs: Vec::new(),
            addr: None,
            proved: false,
            noted: now,
            heard: None,
            sighted: None,
            library: None,
            too_large: None,
            redials_left: 0,
            dial_after: None,
            queued: false,
            displaced: Vec::new(),
            returns: Vec::new(),
        }
    }
}

impl Peers {
    /// Every source of a game, ascending by peer id.
    pub(super) fn sources(&self, game: &GameId) -> Vec<Source> {
        let ready = |summary: &&Arc<GameSummary>| summary.availability == Availability::Ready && summary.downloaded;
        self.libraries()
            .filter_map(|(peer_id, conn, library)| {
                let summary = library.get(game).filter(ready)?.clone();
                Some(Source { id: SourceId::Peer(peer_id), via: Via::Conn(conn), summary })
            })
            .collect()
    }

    /// What is known of the way to the peer of this connection.
    pub(super) fn way(&self, conn: ConnId) -> Way {
        self.conns.get(&conn).map_or_else(Way::default, |conn| conn.way)
    }

    /// Every connected peer that serves what it is still downloading, ascending by peer id.
    pub(super) fn swarm(&self) -> Vec<(PeerId, ConnId)> {
        self.sessions().filter(|(_, _, session)| session.swarm).map(|(id, _, session)| (id, session.conn)).collect()
    }
}
