//! The PC slept: who is still there?

use super::liveness::PROBES;
use super::{Due, Peers, Presence, dial};
use crate::engine::core::Cx;

impl Peers {
    /// Nothing is known of the time that was slept through. Every session is asked for a sign of life, and lost after a few
    /// seconds without one; whoever was waited for is dialled at once, wherever it was ever reached.
    pub(in crate::engine) fn woke(&mut self, cx: &mut Cx) {
        if self.leaving {
            return;
        }
        let timers = &cx.config.timers;
        let grace = timers.ping_retry * PROBES;
        let heard = cx.now.checked_sub(timers.stale_after.saturating_sub(grace)).unwrap_or(cx.now);
        let missing_until = cx.now + timers.redial_min * dial::MISSING_FOR;
        let peers: Vec<_> = self.rows.keys().copied().collect();
        for peer in peers {
            let Some(row) = self.rows.get_mut(&peer) else { continue };
            match &mut row.presence {
                Presence::Connected(session) => {
                    session.probes = 0;
                    row.heard = Some(heard);
                    self.ping(cx, peer);
                }
                Presence::Discovered | Presence::Missing | Presence::Remembered => {
                    if matches!(row.presence, Presence::Missing) {
                        self.timers.set(Due::Missing(peer), missing_until);
                    }
                    row.dial_anew();
                    self.dial_later(cx, peer);
                }
            }
        }
        for (index, named) in self.statics.iter().enumerate() {
            // One that is being reached for already has no timer, and goes on by itself.
            if named.is_wanted() && self.timers.due(&Due::Static(index)).is_some() {
                self.timers.set(Due::Static(index), cx.now);
            }
        }
        self.pump(cx);
    }
}
