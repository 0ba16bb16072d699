//! Two PCs with one identity: a cloned disk, a copied state directory.
//!
//! To everybody else they are one peer: each connection takes the place of the other's, and each is dialled again. A daemon that is
//! restarted does the same, but it does not come back to an address at which it was displaced. After a few such returns the one that is connected
//! stays, and the other is told why it is not let in, so that somebody can mend it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Peers, Presence};
use crate::api::{ErrorCode, PeerEvent};
use crate::engine::core::Cx;
use crate::types::PeerId;

/// Returns within this time count together,
const SPAN: Duration = Duration::from_secs(60);
/// and so many are too many: a PC may change between its cable and its Wi-Fi.
const RETURNS: usize = 3;
/// Addresses of one peer that are remembered.
const MAX_DISPLACED: usize = 8;
/// Time between two words about it.
const SAID: Duration = Duration::from_secs(600);
/// What is to be done.
const REMEDY: &str = "one of them was cloned, or its state directory copied: there, stop lanspread, delete identity.pem in its state directory, \
                      and start it again";

impl Peers {
    /// Whether a Hello from `addr` would once more take the place of a connection that stands, to another address.
    pub(super) fn shares_identity(&mut self, cx: &mut Cx, peer: PeerId, addr: SocketAddr) -> bool {
        let Some(row) = self.rows.get_mut(&peer) else { return false };
        let Some(stands) = row.addr.filter(|stands| *stands != addr) else { return false };
        if !matches!(row.presence, Presence::Connected(_)) {
            return false;
        }
        let is_late = |at: &Instant| cx.now.saturating_duration_since(*at) >= SPAN;
        row.displaced.retain(|(_, at)| !is_late(at));
        row.returns.retain(|at| !is_late(at));
        if let Some((_, at)) = row.displaced.iter_mut().find(|(displaced, _)| *displaced == addr) {
            *at = cx.now;
            row.returns.push(cx.now);
        }
        if row.returns.len() < RETURNS {
            row.displaced.retain(|(displaced, _)| *displaced != stands);
            row.displaced.push((stands, cx.now));
            let surplus = row.displaced.len().saturating_sub(MAX_DISPLACED);
            row.displaced.drain(..surplus);
            return false;
        }
        row.returns.remove(0);
        self.say_shared(cx, format!("two PCs use the identity {peer}, at {stands} and at {addr}: {REMEDY}"));
        true
    }

    /// A peer lets nobody else in under this identity.
    pub(super) fn identity_is_shared(&mut self, cx: &mut Cx, peer: PeerId, at: SocketAddr) {
        // Another one is connected there: to try again soon changes nothing.
        let max = cx.config.timers.redial_max;
        if let Some(row) = self.rows.get_mut(&peer) {
            row.addrs.iter_mut().filter(|addr| addr.at == at).for_each(|addr| addr.put_off(cx.now, max));
        }
        let me = self.me;
        self.say_shared(
            cx,
            format!(
                "{at} does not let this PC in: another one with the same identity ({me}) is connected there; {REMEDY}"
            ),
        );
    }

    fn say_shared(&mut self, cx: &mut Cx, message: String) {
        if self.shared_told.is_none_or(|at| cx.now.saturating_duration_since(at) >= SAID) {
            self.shared_told = Some(cx.now);
            cx.event(PeerEvent::RuntimeError { code: ErrorCode::PeerRefused, message });
        }
    }
}
