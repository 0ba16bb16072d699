//! From a connection to a session: Hello, its answer, and which of two connections is kept.
//!
//! Two peers that dial each other at once get two connections. A connection takes part only once its dialler has said
//! Hello on it, which it does when it has no other; of two that got so far, the one dialled by the lower id is kept.
//! There is one exception: when a peer says Hello anew although a session dialled by this side has stood for a while,
//! then that peer has lost the session (it was restarted): a peer that has a connection does not dial.
//!
//! Where a party key is set, both sides prove it before the first Hello (`party`).

use std::net::{SocketAddr, SocketAddrV6};

use super::dial::DialFor;
use super::{Ask, BLOCKED, Conn, Due, Peers, Presence, Session, Stage, Sync};
use crate::api::{CommandError, ErrorCode, PeerEvent};
use crate::engine::core::Cx;
use crate::engine::effect::Effect;
use crate::engine::io::{ConnId, DialId, InboundId, Output, RunFailure};
use crate::engine::world::Way;
use crate::proto::{
    Answer, CloseCode, Feature, Hello, LibraryState, Notification, PROTO_VER, Request, WireError, WireErrorCode,
};
use crate::types::{InterfaceKind, LibraryStamp, PartyProofs, PeerId, shortened};

/// Longest host name that is kept or sent, in bytes.
const MAX_HOSTNAME_BYTES: usize = 64;

impl Peers {
    /// A handshake finished.
    #[allow(clippy::too_many_arguments)]
    pub(in crate::engine) fn connection_up(
        &mut self,
        cx: &mut Cx,
        id: ConnId,
        peer: PeerId,
        remote: SocketAddr,
        local: SocketAddr,
        interface: Option<InterfaceKind>,
        dial: Option<DialId>,
        party: Option<PartyProofs>,
    ) {
        let way = Way { round_trip: None, interface };
        let dialled = dial.is_some();
        let dial = dial.and_then(|dial| self.dials.remove(&dial));
        let errand = match dial.as_ref().map(|dial| dial.of) {
            Some(DialFor::Errand(errand)) => Some(errand),
            Some(DialFor::Peer(_)) | None => None,
        };
        if let Some(dial) = &dial {
            self.dial_ended(dial);
        }
        let refuse = |cx: &mut Cx, code, reason| cx.emit(Output::Close { conn: id, code, reason });
        if self.leaving {
            return refuse(cx, CloseCode::Shutdown, "stopping");
        }
        if dialled && peer == self.me {
            refuse(cx, CloseCode::SelfConnect, "this is the same peer");
            if let Some(errand) = errand {
                let message = "the address is this daemon's own";
                self.errand_over(cx, errand, Err(CommandError::new(ErrorCode::SelfConnect, message)));
            }
            return;
        }
        if self.blocked.contains(&peer) {
            refuse(cx, CloseCode::Blocked, BLOCKED);
            if let Some(errand) = errand {
                let message = format!("{peer} is blocked here: unblock it first");
                self.errand_failed(cx, errand, CommandError::new(ErrorCode::PeerRefused, message));
            }
            return;
        }
        if self.conns.len() >= cx.config.limits.connections {
            refuse(cx, CloseCode::Overload, "too many connections");
            if let Some(errand) = errand {
                let message = "this daemon has as many connections as it may (limits.connections)";
                self.errand_failed(cx, errand, CommandError::new(ErrorCode::Io, message));
            }
            return;
        }
        if party.is_none() && cx.config.party_key_file.is_some() {
            // Cannot happen; but then everybody would be let in.
            return refuse(cx, CloseCode::Internal, "no proof of the party key");
        }
        if !dialled {
            let stage = party.map_or(Stage::AwaitingHello, |expected| Stage::AwaitingProof { expected });
            self.conns.insert(id, Conn { peer, remote, local, way, stage });
            self.timers.set(Due::Hello(id), cx.now + cx.config.timers.dial_timeout);
            return;
        }
        let connected = self.session(&peer).is_some();
        if connected || self.greetings.contains_key(&peer) {
            refuse(cx, CloseCode::Duplicate, "another connection is kept");
            if let Some(errand) = errand {
                self.errand_waits_for(errand, peer);
            }
            if connected {
                self.errands_reached(cx, peer, remote);
            }
        } else {
            if let Some(errand) = errand {
                self.errand_waits_for(errand, peer);
            }
            let addr = dial.map_or(remote, |dial| dial.addr);
            let stage = match party {
                Some(proofs) => self.say_proof(cx, id, addr, proofs),
                None => self.say_hello(cx, id, addr, local),
            };
            self.conns.insert(id, Conn { peer, remote, local, way, stage });
            self.greetings.insert(peer, id);
        }
        self.pump(cx);
    }

    /// Hello goes out on a connection that this side dialled; returns its stage from now on.
    pub(super) fn say_hello(&mut self, cx: &mut Cx, id: ConnId, addr: SocketAddr, local: SocketAddr) -> Stage {
        let request = cx.ids.request();
        let hello = self.own_hello(cx, local);
        let told = LibraryStamp { epoch: hello.library_epoch, rev: hello.library_rev };
        cx.emit(Output::Ask { request, conn: id, body: Box::new(Request::Hello(hello)) });
        self.asks.insert(request, Ask::Hello(id));
        Stage::Greeting { request, addr, told }
    }

    /// A peer that dialled says Hello.
    pub(in crate::engine) fn hello(&mut self, cx: &mut Cx, from: InboundId, hello: Hello) {
        let me = self.me;
        let Some(conn) = self.conns.get_mut(&from.conn) else { return };
        if !matches!(conn.stage, Stage::AwaitingHello) {
            let error = WireError { code: WireErrorCode::BadRequest, message: "Hello was said already".to_owned() };
            return cx.emit(Output::Answer { to: from, body: Box::new(Answer::Error(error)) });
        }
        let peer = conn.peer;
        if hello.proto_ver != PROTO_VER {
            self.note_incompatible(peer, hello.proto_ver);
            return self.close(cx, from.conn, CloseCode::ProtocolMismatch, "another proto_ver");
        }
        if peer == me {
            return self.close(cx, from.conn, CloseCode::SelfConnect, "this is the same peer");
        }
        if hello.peer_id != peer {
            return self.close(cx, from.conn, CloseCode::IdentityMismatch, "Hello names another peer");
        }
        if !cx.announced.is_open {
            conn.stage = Stage::Held { from, hello: Box::new(hello) };
            return;
        }
        if !self.prefers(cx, peer) {
            return self.close(cx, from.conn, CloseCode::Duplicate, "another connection is kept");
        }
        let Some(remote) = self.conns.get(&from.conn).map(|conn| conn.remote) else { return };
        if self.shares_identity(cx, peer, with_port(remote, hello.listen_addr.port())) {
            let reason = "another PC with this identity is connected";
            return self.close(cx, from.conn, CloseCode::SharedIdentity, reason);
        }
        if let Some(greeting) = self.greetings.get(&peer).copied() {
            self.close(cx, greeting, CloseCode::Duplicate, "another connection is kept");
        }
        let Some(conn) = self.conns.get(&from.conn) else { return };
        let ack = self.own_hello(cx, conn.local);
        let told = LibraryStamp { epoch: ack.library_epoch, rev: ack.library_rev };
        if self.row(cx, peer).is_none() {
            return self.close(cx, from.conn, CloseCode::Overload, "too many peers");
        }
        cx.emit(Output::Answer { to: from, body: Box::new(Answer::HelloAck(ack)) });
        self.accept(cx, from.conn, false, told, hello);
    }

    /// Answers the Hellos that came before the library was open.
    pub(super) fn answer_held(&mut self, cx: &mut Cx) {
        let held: Vec<ConnId> = self
            .conns
            .iter()
            .filter_map(|(id, conn)| matches!(conn.stage, Stage::Held { .. }).then_some(*id))
            .collect();
        for id in held {
            let Some(conn) = self.conns.get_mut(&id) else { continue };
            if let Stage::Held { from, hello } = std::mem::replace(&mut conn.stage, Stage::AwaitingHello) {
                self.hello(cx, from, *hello);
            }
        }
    }

    /// Whether a connection on which `peer` says Hello is to be kept rather than the one there is.
    fn prefers(&self, cx: &Cx, peer: PeerId) -> bool {
        if let Some(session) = self.session(&peer) {
            let settled = cx.now.saturating_duration_since(session.since) > cx.config.timers.ping_retry;
            return !session.dialled || peer < self.me || settled;
        }
        !self.greetings.contains_key(&peer) || peer < self.me
    }

    /// The peer that was dialled answers Hello, or does not.
    pub(super) fn hello_answered(&mut self, cx: &mut Cx, id: ConnId, result: Result<Answer, RunFailure>) {
        let Some(conn) = self.conns.get(&id) else { return };
        let Stage::Greeting { addr, told, .. } = conn.stage else { return };
        let peer = conn.peer;
        let (code, reason) = match result {
            Ok(Answer::HelloAck(hello)) if hello.proto_ver != PROTO_VER => {
                self.note_incompatible(peer, hello.proto_ver);
                (CloseCode::ProtocolMismatch, "another proto_ver")
            }
            Ok(Answer::HelloAck(hello)) if hello.peer_id != peer => {
                (CloseCode::IdentityMismatch, "HelloAck names another peer")
            }
            Ok(Answer::HelloAck(hello)) => {
                if self.row(cx, peer).is_some() {
                    return self.accept(cx, id, true, told, hello);
                }
                (CloseCode::Overload, "too many peers")
            }
            Ok(Answer::Error(_)) => (CloseCode::Idle, "Hello was refused"),
            Ok(_) => (CloseCode::Malformed, "an answer of another kind than asked"),
            // `ConnectionDown` follows, and knows why.
            Err(RunFailure::ConnectionLost) => return,
            Err(RunFailure::Malformed(_)) => (CloseCode::Malformed, "the answer to Hello is malformed"),
            Err(_) => (CloseCode::Timeout, "Hello was not answered"),
        };
        self.close(cx, id, code, reason);
        self.greeting_failed(cx, peer, addr, Some(code), reason);
        self.retry_errands(cx, peer);
    }

    /// Both sides have said who they are: the connection carries the session from now on.
    fn accept(&mut self, cx: &mut Cx, id: ConnId, dialled: bool, told: LibraryStamp, hello: Hello) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let peer = conn.peer;
        tracing::debug!(%peer, conn = id.0, remote = %conn.remote, dialled, "session established");
        conn.stage = Stage::Accepted;
        // A peer's word about its own address would let it point others at a third party: only the port is taken.
        let addr = if dialled { conn.remote } else { with_port(conn.remote, hello.listen_addr.port()) };
        self.timers.cancel(&Due::Hello(id));
        self.greetings.remove(&peer);
        self.incompatible.remove(&peer);
        self.strangers.remove(&peer);
        if let Some(old) = self.session(&peer).map(|session| session.conn) {
            tracing::debug!(%peer, old = old.0, new = id.0, "duplicate connection closed");
            self.close(cx, old, CloseCode::Duplicate, "another connection is kept");
            self.asks.retain(|_, ask| !matches!(ask, Ask::Ping(of) | Ask::Library(of) if *of == peer));
            cx.tell(Effect::Settled(peer));
        }
        let Some(row) = self.rows.get_mut(&peer) else { return };
        let hostname = hello.hostname.map(|name| shortened(&name, MAX_HOSTNAME_BYTES)).filter(|name| !name.is_empty());
        let is_new = matches!(row.presence, Presence::Remembered);
        let is_news = !matches!(row.presence, Presence::Connected(_)) || row.addr != Some(addr);
        row.hostname = hostname.clone().or(row.hostname.take());
        row.reached(addr);
        row.proved = true;
        row.noted = cx.now;
        row.heard = Some(cx.now);
        let swarm = hello.features.contains(&Feature::Swarm);
        let session = Session { conn: id, dialled, since: cx.now, told, probes: 0, swarm, sync: Sync::new() };
        row.presence = Presence::Connected(Box::new(session));
        for due in [Due::Dial(peer), Due::Missing(peer), Due::Probe(peer), Due::Resync(peer), Due::Confirm(peer)] {
            self.timers.cancel(&due);
        }
        self.timers.set(Due::Alive(peer), cx.now);
        if is_new {
            cx.event(PeerEvent::PeerDiscovered { peer_id: peer, addr });
        }
        if is_news {
            let game_count = hello.game_count as usize;
            cx.event(PeerEvent::PeerConnected { peer_id: peer, addr, hostname, game_count });
        }
        let state = cx.announced.state;
        if told != state.stamp() {
            // A revision became durable between this side's Hello and its answer, and was pushed to others only.
            let body = Notification::LibrarySummary { peer_id: self.me, summary: state };
            cx.emit(Output::Notify { conn: id, body: Box::new(body) });
            if let Some(session) = self.session_mut(&peer) {
                session.told = state.stamp();
            }
        }
        cx.tell(Effect::SourcesChanged);
        self.errands_reached(cx, peer, addr);
        let state = LibraryState {
            epoch: hello.library_epoch,
            rev: hello.library_rev,
            digest: hello.library_digest,
            game_count: hello.game_count,
        };
        self.told(cx, peer, state);
    }

    fn own_hello(&self, cx: &Cx, local: SocketAddr) -> Hello {
        let state = cx.announced.state;
        Hello {
            peer_id: self.me,
            proto_ver: PROTO_VER,
            listen_addr: local,
            hostname: cx.config.hostname.as_deref().map(|name| shortened(name, MAX_HOSTNAME_BYTES)),
            library_epoch: state.epoch,
            library_rev: state.rev,
            library_digest: state.digest,
            game_count: state.game_count,
            features: if cx.config.swarm { vec![Feature::Swarm] } else { Vec::new() },
        }
    }
}

/// The same host, at the port where it says it listens. An IPv6 scope stays: without it a link-local address leads
/// nowhere.
fn with_port(remote: SocketAddr, port: u16) -> SocketAddr {
    let port = if port == 0 { remote.port() } else { port };
    match remote {
        SocketAddr::V4(addr) => SocketAddr::from((*addr.ip(), port)),
        SocketAddr::V6(addr) => SocketAddrV6::new(*addr.ip(), port, 0, addr.scope_id()).into(),
    }
}
