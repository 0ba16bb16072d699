//! Who is still there: pings after silence, and the verdict when nothing comes back.

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
    /// With each ping both sides state their libraries once more: a push may have been dropped, and so may its
    /// confirmation.
    pub(super) fn check_alive(&mut self, cx: &mut Cx<'_>, library: &Library, peer: PeerId) {
        let timers = &cx.config.timers;
        let pings = self.me < peer;
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
        } else if silence < timers.ping_after {
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
        self.timers.set(Due::Alive(peer), next.min(stale_at));
    }
}
