//! From the first packet of a connection to its last: what follows from what happened to it.

use std::time::{Duration, Instant};

use super::closing::Farewell;
use super::connection::{Flushed, Origin, Path, Phase};
use super::endpoint::Endpoint;
use super::tls::{self, SharedBytes};
use super::{ConnHandle, Event};
use crate::identity::{EXPORTER_BYTES, EXPORTER_LABEL, PartyKey, peer_id_of_certificate};
use crate::types::{PartyProofs, PeerId};

/// Close code for a peer that is not the one that was dialled: `identity mismatch` of the protocol.
const IDENTITY_MISMATCH: u64 = 6;
/// Packets of a connection that is being closed, at most.
const FAREWELL_PACKETS: usize = 8;

impl Endpoint {
    pub(super) fn settle_touched(&mut self, now: Instant) {
        let mut touched = std::mem::take(&mut self.touched);
        for slot in touched.drain(..) {
            self.mark_dirty(slot);
            self.settle(slot, now);
        }
        self.touched = touched;
    }

    /// Draws the conclusions from what happened to a connection.
    pub(super) fn settle(&mut self, slot: usize, now: Instant) {
        let Some(handle) = self.handle_of(slot) else {
            return;
        };
        let Some(connection) = self.slots.get_mut(slot).and_then(|slot| slot.connection.as_mut()) else {
            return;
        };
        connection.touched = false;
        if let Phase::Handshake { origin, deadline } = connection.phase {
            let over = is_over(&connection.quic);
            if !over && connection.quic.is_established() {
                self.finish_handshake(slot, handle, origin, now);
            } else if over {
                let reason = ending(&connection.quic, self.settings.idle_timeout).1;
                self.fail_handshake(slot, origin, reason, None, now);
                return;
            } else if let Some(error) = connection.send_failure.take() {
                self.fail_handshake(slot, origin, format!("cannot send: {error}"), None, now);
                return;
            } else if deadline <= now {
                let reason = format!("no answer within {:?}", self.settings.handshake_timeout);
                self.fail_handshake(slot, origin, reason, None, now);
                return;
            }
        }
        self.settle_up(slot, handle, now);
    }

    fn settle_up(&mut self, slot: usize, handle: ConnHandle, now: Instant) {
        let Some(connection) = self.slots.get_mut(slot).and_then(|slot| slot.connection.as_mut()) else {
            return;
        };
        if !matches!(connection.phase, Phase::Up) {
            return;
        }
        let (mut readable, mut stopped) = (Vec::new(), Vec::new());
        connection.poll_streams(|stream| readable.push(stream), |stream, code| stopped.push((stream, code)));
        self.events.extend(stopped.into_iter().map(|(stream, code)| Event::StreamStopped {
            conn: handle,
            stream,
            code,
        }));
        self.events.extend(readable.into_iter().map(|stream| Event::Readable { conn: handle, stream }));
        if is_over(&connection.quic) {
            let (code, reason) = ending(&connection.quic, self.settings.idle_timeout);
            connection.phase = Phase::Ended;
            self.events.push_back(Event::Down { conn: handle, code, reason });
            self.say_farewell(slot, now);
            self.forget_routes(slot);
        } else if connection.writable_after_receive() {
            self.events.push_back(Event::Writable { conn: handle });
        }
    }

    /// The handshake is complete: is it the right peer?
    fn finish_handshake(&mut self, slot: usize, conn: ConnHandle, origin: Origin, now: Instant) {
        let Some(connection) = self.slots.get_mut(slot).and_then(|slot| slot.connection.as_mut()) else {
            return;
        };
        let (expect, dial) = match origin {
            Origin::Dialled { dial, expect } => (expect, Some(dial)),
            Origin::Accepted => (None, None),
        };
        let mut proved = match connection.quic.peer_cert().map(peer_id_of_certificate) {
            // The first was refused by the verification, the second by the negotiation: should one of them ever let
            // something through, it ends here.
            Some(Ok(peer_id)) if connection.quic.application_proto() == tls::ALPN => Ok(peer_id),
            Some(Ok(_)) => Err("it speaks another application protocol".to_owned()),
            Some(Err(error)) => Err(format!("the peer's certificate is not acceptable: {error}")),
            None => Err("the peer showed no certificate".to_owned()),
        };
        let party = match (&proved, self.identity.party_key()) {
            (Ok(_), Some(key)) => {
                let proofs = party_proofs(&mut connection.quic, key, self.identity.certificate_der(), dial.is_some());
                // Without them the connection would be open to everybody.
                if proofs.is_none() {
                    proved = Err("TLS gives nothing to prove the party key with".to_owned());
                }
                proofs
            }
            _ => None,
        };
        let (reason, actual) = match proved {
            Ok(peer_id) if expect.is_none_or(|expect| expect == peer_id) => {
                connection.party = party;
                connection.phase = Phase::Up;
                let Path { remote, local, .. } = connection.path;
                if dial.is_none() {
                    self.stats.half_open = self.stats.half_open.saturating_sub(1);
                }
                self.events.push_back(Event::Up { conn, peer_id, remote, local, dial });
                return;
            }
            Ok(actual) => (format!("the peer there is {actual}"), Some(actual)),
            Err(reason) => (reason, None),
        };
        self.close_slot(slot, IDENTITY_MISMATCH, &reason, now);
        self.fail_handshake(slot, origin, reason, actual, now);
    }

    fn fail_handshake(&mut self, slot: usize, origin: Origin, reason: String, actual: Option<PeerId>, now: Instant) {
        self.say_farewell(slot, now);
        if !self.remove(slot) {
            return;
        }
        self.stats.handshakes_failed += 1;
        match origin {
            Origin::Dialled { dial, .. } => {
                let identity_mismatch = actual.is_some();
                self.events.push_back(Event::DialFailed { dial, identity_mismatch, actual, reason });
            }
            Origin::Accepted => tracing::debug!(reason, "handshake of a newcomer failed"),
        }
    }

    pub(super) fn flush_slot(&mut self, slot: usize, now: Instant) {
        let Some(connection) = self.slots.get_mut(slot).and_then(|slot| slot.connection.as_mut()) else {
            return;
        };
        connection.dirty = false;
        let index = connection.path.socket;
        let (Some(socket), Some(waiting)) = (self.sockets.get_mut(index), self.waiting.get_mut(index)) else {
            return;
        };
        let flushed = match socket.is_blocked() {
            true => Flushed::Blocked,
            false => connection.flush(socket, &mut self.scratch, now, &mut self.stats),
        };
        match flushed {
            Flushed::Idle => {}
            Flushed::Paced => {
                let before = self.paced.filter(|&at| at > now);
                self.paced = before.into_iter().chain(connection.paced_until).min();
            }
            Flushed::More => {
                connection.dirty = true;
                self.dirty.push_back(slot);
            }
            Flushed::Blocked => {
                connection.dirty = true;
                waiting.push(slot);
            }
        }
        let writable = connection.writable_after_flush();
        let troubled = is_over(&connection.quic) || connection.send_failure.is_some();
        if writable && let Some(conn) = self.handle_of(slot) {
            self.events.push_back(Event::Writable { conn });
        }
        if troubled {
            self.settle(slot, now);
        }
        self.arm(slot, now);
    }

    /// Closes a connection on this side. What it has to send goes first: quiche drops that, and at the end of a handshake
    /// it would even drop the close itself while its last packets wait.
    pub(super) fn close_slot(&mut self, slot: usize, code: u64, reason: &str, now: Instant) {
        self.flush_slot(slot, now);
        if let Some(connection) = self.connection(slot) {
            // Fails only if it is closed already.
            let _ = connection.quic.close(true, code, reason.as_bytes());
        }
    }

    /// Sends what a connection that this side closed has to say, and remembers its last packet for a while.
    pub(super) fn say_farewell(&mut self, slot: usize, now: Instant) {
        let Some(connection) = self.slots.get_mut(slot).and_then(|slot| slot.connection.as_mut()) else {
            return;
        };
        let Path { socket: index, remote, route, payload, .. } = connection.path;
        let (Some(socket), Some(room)) = (self.sockets.get_mut(index), self.scratch.get_mut(..payload)) else {
            return;
        };
        if connection.quic.local_error().is_none() {
            return;
        }
        for _ in 0..FAREWELL_PACKETS {
            let Ok((len, _)) = connection.quic.send(room) else {
                break;
            };
            let packet = room.get(..len).unwrap_or_default();
            socket.send_once(packet, route, &mut self.stats);
            self.farewells.add(connection.cid, Farewell::new(packet, route, index, remote), now);
        }
    }
}

/// What both sides of a connection whose handshake is done must say to prove the party key.
fn party_proofs(
    quic: &mut quiche::Connection<SharedBytes>,
    key: &PartyKey,
    own_der: &[u8],
    dialled: bool,
) -> Option<PartyProofs> {
    let mut exported = [0; EXPORTER_BYTES];
    let tls: &mut boring::ssl::SslRef = quic.as_mut();
    tls.export_keying_material(&mut exported, EXPORTER_LABEL, None).ok()?;
    Some(key.proofs(dialled, own_der, quic.peer_cert()?, &exported))
}

/// Nothing more will be received: closed by either side, failed, or timed out.
fn is_over(quic: &quiche::Connection<SharedBytes>) -> bool {
    quic.is_closed() || quic.is_draining() || quic.local_error().is_some()
}

/// The application code of the peer, and in words how a connection ended.
fn ending(quic: &quiche::Connection<SharedBytes>, idle_timeout: Duration) -> (Option<u64>, String) {
    let words = |reason: &[u8]| String::from_utf8_lossy(reason.get(..200).unwrap_or(reason)).into_owned();
    if let Some(error) = quic.peer_error() {
        return match error.is_app {
            true => (Some(error.error_code), format!("closed by the peer: {}", words(&error.reason))),
            false => (None, format!("failed at the peer: {}", tls::describe(error.error_code))),
        };
    }
    if quic.is_timed_out() {
        return (None, format!("nothing was heard for {idle_timeout:?}"));
    }
    match quic.local_error() {
        Some(error) => (None, format!("failed: {}", tls::describe(error.error_code))),
        None => (None, "closed".to_owned()),
    }
}
