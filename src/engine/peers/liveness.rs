//! Who is still there: pings after silence, and the verdict when nothing comes back.

use super::{Ask, Due, Peers};
use crate::engine::core::Cx;
use crate::engine::io::Output;
use crate::proto::{CloseCode, Request};
use crate::types::PeerId;

/// Pings without an answer before a peer is only waited for.
pub(super) const PROBES: u32 = 3;

impl Peers {
    /// Pings a silent peer, or gives it up. The timer is armed once per silence, not moved at every message: it looks
    /// at what was heard since, and sleeps on.
    pub(super) fn check_alive(&mut self, cx: &mut Cx, peer: PeerId) {
        let timers = &cx.config.timers;
        let pings = self.me < peer;
        let Some(row) = self.rows.get_mut(&peer) else { return };
        let Some(heard) = row.heard else { return };
        let super::Presence::Connected(session) = &mut row.presence else { return };
        let (conn, silence) = (session.conn, cx.now.saturating_duration_since(heard));
        let stale_at = heard + cx.config.timers.stale_after;
        if silence >= timers.stale_after {
            self.close(cx, conn, CloseCode::Stale, "no sign of life");
            self.lose(cx, peer, "stale", true);
            return;
        }
        if silence < timers.ping_after {
            session.probes = 0;
        }
        if !pings || session.probes >= PROBES {
            self.timers.set(Due::Alive(peer), stale_at);
        } else if silence < timers.ping_after {
            self.timers.set(Due::Alive(peer), (heard + timers.ping_after).min(stale_at));
        } else {
            self.ping(cx, peer);
            self.ping_others(cx);
        }
    }

    /// A peer is alive: it is looked at again after the next silence, and not when its ping would have been repeated.
    pub(super) fn answered_ping(&mut self, cx: &Cx, peer: PeerId) {
        let Some(row) = self.rows.get_mut(&peer) else { return };
        let super::Presence::Connected(session) = &mut row.presence else { return };
        session.probes = 0;
        self.timers.set(Due::Alive(peer), cx.now + cx.config.timers.ping_after);
    }

    /// A peer pings this side: a moment at which this PC is awake anyhow. Whoever it would have to ping soon is pinged now, so that in
    /// time all PCs of a LAN do so in the moment of the one with the lowest id, and are left alone until the next.
    pub(in crate::engine) fn pinged(&mut self, cx: &mut Cx, by: PeerId) {
        if by < self.me {
            self.ping_others(cx);
        }
    }

    /// Pings everybody who has been silent for half of the time that leads to a ping, and is not being pinged yet: one wake-up a minute instead of one for each
    /// of them.
    fn ping_others(&mut self, cx: &mut Cx) {
        let silence = cx.config.timers.ping_after / 2;
        let is_silent = |row: &super::Peer| {
            let super::Presence::Connected(session) = &row.presence else { return false };
            session.probes == 0 && row.heard.is_some_and(|heard| cx.now.saturating_duration_since(heard) >= silence)
        };
        let above = self.rows.range(self.me..);
        let silent: Vec<PeerId> = above.filter(|(_, row)| is_silent(row)).map(|(peer, _)| *peer).collect();
        for peer in silent {
            self.ping(cx, peer);
        }
    }

    /// Asks a peer for a sign of life, and looks again when the answer is late.
    ///
    /// With each ping both sides state their libraries once more: a push may have been dropped, and so may its
    /// confirmation.
    pub(super) fn ping(&mut self, cx: &mut Cx, peer: PeerId) {
        let Some(row) = self.rows.get_mut(&peer) else { return };
        let super::Presence::Connected(session) = &mut row.presence else { return };
        session.probes += 1;
        let conn = session.conn;
        let stale_at = row.heard.map_or(cx.now, |heard| heard + cx.config.timers.stale_after);
        let (request, nonce) = (cx.ids.request(), cx.ids.random());
        self.asks.insert(request, Ask::Ping(peer));
        // The larger message first: a smaller one can share its train, and wakes the peer once with it.
        self.confirm(cx, peer);
        cx.emit(Output::Ask { request, conn, body: Box::new(Request::Ping { nonce }) });
        self.timers.set(Due::Alive(peer), stale_at.min(cx.now + cx.config.timers.ping_retry));
    }
}
