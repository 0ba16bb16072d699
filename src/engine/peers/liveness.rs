//! Who is still there: pings after silence, and the verdict when nothing comes back.

use std::time::{Duration, Instant};

use super::{Ask, Due, Peers};
use crate::engine::Output;
use crate::engine::context::Cx;
use crate::engine::library::Library;
use crate::proto::{CloseCode, Request};
use crate::types::PeerId;

/// Pings without an answer before a peer is only waited for.
pub(super) const PROBES: u32 = 3;

impl Peers {
    /// Pings a silent peer, or gives it up. The timer is armed once per silence, not moved at every message: it looks
    /// at what was heard since, and sleeps on.
    ///
    /// Whoever pings one peer pings all that have been silent for half of that time: one wake-up a minute instead of one
    /// for each of them.
    ///
    /// With each ping both sides state their libraries once more: a push may have been dropped, and so may its
    /// confirmation.
    pub(super) fn check_alive(&mut self, cx: &mut Cx<'_>, library: &Library, peer: PeerId) {
        let timers = &cx.config.timers;
        let pings = self.me < peer;
        let patience = if self.pinging_at == Some(cx.now) { timers.ping_after / 2 } else { timers.ping_after };
        let Some(row) = self.rows.get_mut(&peer) else { return };
        let Some(heard) = row.heard else { return };
        let super::Presence::Connected(session) = &mut row.presence else { return };
        let (conn, silence) = (session.conn, cx.now.saturating_duration_since(heard));
        let stale_at = heard + timers.stale_after;
        if silence >= timers.stale_after {
            self.close(cx, conn, CloseCode::Stale, "no sign of life");
            self.lose(cx, peer, "stale", true);
            return;
        }
        if silence < timers.ping_after {
            session.probes = 0;
        }
        let next = if !pings || session.probes >= PROBES {
            stale_at
        } else if silence < patience {
            heard + timers.ping_after
        } else {
            session.probes += 1;
            let request = cx.ids.request();
            let nonce = cx.ids.random();
            self.asks.insert(request, Ask::Ping(peer));
            cx.emit(Output::Ask { request, conn, body: Box::new(Request::Ping { nonce }) });
            self.confirm(cx, library, peer);
            cx.now + timers.ping_retry
        };
        let begins = next != stale_at && silence >= patience && self.pinging_at != Some(cx.now);
        self.timers.set(Due::Alive(peer), next.min(stale_at));
        if begins {
            self.pinging_at = Some(cx.now);
            self.ping_others_too(cx.now, timers.ping_after / 2);
        }
    }

    /// A peer is alive: it is looked at again after the next silence, and not when its ping would have been repeated.
    pub(super) fn answered_ping(&mut self, cx: &Cx<'_>, peer: PeerId) {
        let Some(row) = self.rows.get_mut(&peer) else { return };
        let super::Presence::Connected(session) = &mut row.presence else { return };
        session.probes = 0;
        self.timers.set(Due::Alive(peer), cx.now + cx.config.timers.ping_after);
    }

    /// Lets [`Self::check_alive`] look now at everybody who has been silent for so long and whom nobody pings yet.
    fn ping_others_too(&mut self, now: Instant, silence: Duration) {
        for (&peer, row) in self.rows.range(self.me..) {
            let super::Presence::Connected(session) = &row.presence else { continue };
            if session.probes == 0 && row.heard.is_some_and(|heard| now.saturating_duration_since(heard) >= silence) {
                self.timers.set(Due::Alive(peer), now);
            }
        }
    }
}
