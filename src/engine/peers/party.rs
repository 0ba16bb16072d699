//! The party key: nobody is told anything before it has proved that it holds the same secret.
//!
//! ```text
//!   dialler ── Prove ──▶ listener: right? else close PartyKey
//!   right? else close PartyKey ◀── Proved ──
//!   ── Hello ──▶ …
//! ```
//!
//! The proofs come from the transport, ready to be compared. A listener without a key closes as well: whoever wants a
//! proof would not trust it.

use std::net::SocketAddr;

use super::{Ask, MAX_INCOMPATIBLE, Peers, Stage};
use crate::api::PeerEvent;
use crate::engine::core::Cx;
use crate::engine::io::{ConnId, InboundId, Output, RunFailure};
use crate::proto::{Answer, CloseCode, Request, WireError, WireErrorCode};
use crate::types::{PartyProof, PartyProofs, PeerId};

impl Peers {
    /// The first thing that is said on a connection that this side dialled; returns its stage from now on.
    pub(super) fn say_proof(&mut self, cx: &mut Cx, id: ConnId, addr: SocketAddr, proofs: PartyProofs) -> Stage {
        let request = cx.ids.request();
        cx.emit(Output::Ask { request, conn: id, body: Box::new(Request::Prove { proof: proofs.own }) });
        self.asks.insert(request, Ask::Proof(id));
        Stage::Proving { request, addr, expected: proofs.peer }
    }

    /// A peer that dialled proves the party key, or does not.
    pub(in crate::engine) fn prove(&mut self, cx: &mut Cx, from: InboundId, proof: PartyProof) {
        let Some(conn) = self.conns.get_mut(&from.conn) else { return };
        match conn.stage {
            Stage::AwaitingProof { expected } if proof.matches(&expected.peer) => {
                conn.stage = Stage::AwaitingHello;
                cx.emit(Output::Answer { to: from, body: Box::new(Answer::Proved { proof: expected.own }) });
            }
            Stage::AwaitingProof { .. } => self.turn_away(cx, from.conn, "it has another party key"),
            Stage::AwaitingHello if cx.config.party_key_file.is_none() => {
                self.turn_away(cx, from.conn, "it asks for a party key, and this PC has none");
            }
            _ => {
                let message = "the party key was proved already".to_owned();
                let error = WireError { code: WireErrorCode::BadRequest, message };
                cx.emit(Output::Answer { to: from, body: Box::new(Answer::Error(error)) });
            }
        }
    }

    /// Whether a connection is past its proof; one that says anything else before it is closed.
    pub(in crate::engine) fn proved(&mut self, cx: &mut Cx, id: ConnId) -> bool {
        match self.conns.get(&id).map(|conn| &conn.stage) {
            Some(Stage::AwaitingProof { .. }) => self.turn_away(cx, id, "it has no party key, and this PC has one"),
            // The listener has not proved its side yet, and has nothing to ask before.
            Some(Stage::Proving { .. }) => self.turn_away(cx, id, "it asks before it has proved the party key"),
            Some(_) => return true,
            // What was still under way when this side closed the connection.
            None => {}
        }
        false
    }

    /// The peer that was dialled answers Prove, or does not.
    pub(super) fn proof_answered(&mut self, cx: &mut Cx, id: ConnId, result: Result<Answer, RunFailure>) {
        let Some(conn) = self.conns.get(&id) else { return };
        let Stage::Proving { addr, expected, .. } = conn.stage else { return };
        let (peer, local) = (conn.peer, conn.local);
        let (code, reason) = match result {
            Ok(Answer::Proved { proof }) if proof.matches(&expected) => {
                let stage = self.say_hello(cx, id, addr, local);
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.stage = stage;
                }
                return;
            }
            Ok(Answer::Proved { .. }) => (CloseCode::PartyKey, "it has another party key"),
            Ok(_) => (CloseCode::PartyKey, "it did not prove the party key"),
            // `ConnectionDown` follows, and knows why.
            Err(RunFailure::ConnectionLost) => return,
            Err(RunFailure::Malformed(_)) => (CloseCode::Malformed, "the proof of the party key is malformed"),
            Err(_) => (CloseCode::Timeout, "the party key was not proved in time"),
        };
        if code == CloseCode::PartyKey {
            self.turn_away(cx, id, reason);
        } else {
            self.close(cx, id, code, reason);
        }
        self.greeting_failed(cx, peer, addr, Some(code), reason);
        self.retry_errands(cx, peer);
    }

    /// A peer closed a connection that this side dialled, because of the party key.
    pub(super) fn refused_us(&mut self, cx: &mut Cx, peer: PeerId, addr: SocketAddr) {
        self.say_refused(cx, peer, addr, "it has another party key than this PC, or only one of them has one");
    }

    /// Closes a connection whose peer is not of this party. It learns nothing but the code.
    fn turn_away(&mut self, cx: &mut Cx, id: ConnId, reason: &'static str) {
        let Some((peer, addr)) = self.conns.get(&id).map(|conn| (conn.peer, conn.remote)) else { return };
        self.close(cx, id, CloseCode::PartyKey, "the party key is missing or wrong");
        self.say_refused(cx, peer, addr, reason);
    }

    /// Once for each peer, until it is let in: peers of another party on the same LAN dial again and again.
    fn say_refused(&mut self, cx: &mut Cx, peer_id: PeerId, addr: SocketAddr, reason: &str) {
        if self.strangers.len() < MAX_INCOMPATIBLE && self.strangers.insert(peer_id) {
            cx.event(PeerEvent::PeerRefused { peer_id, addr, reason: reason.to_owned() });
        }
    }
}
