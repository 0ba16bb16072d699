//! Downloads that mend what a verification found damaged.

use super::{Place, Transfers, Waiting};
use crate::engine::core::Cx;
use crate::engine::effect::Only;
use crate::types::GameId;

impl Transfers {
    /// A verification found damage and hands its game over: what is bad is to be fetched again, of exactly the content that
    /// was verified. The game has its place at once; the download begins with [`Transfers::begin_repairs`], so that the end of
    /// the verification can be told first.
    pub(in crate::engine) fn take_over(&mut self, cx: &mut Cx, game: GameId, only: Only) {
        self.places.insert(game.clone(), Place::Queued);
        let (install, only) = (false, Some(only));
        // In front: it is an operation that goes on, not a new one.
        self.queue.push_front(Waiting { game, commanded: cx.now, install, only, held: true });
    }

    /// Whether there is anything for [`Transfers::begin_repairs`].
    pub(in crate::engine) fn holds_repairs(&self) -> bool {
        self.queue.iter().any(|waiting| waiting.held)
    }

    /// Lets every download begin that was taken over.
    pub(in crate::engine) fn begin_repairs(&mut self) {
        self.queue.iter_mut().for_each(|waiting| waiting.held = false);
    }

    /// Whether nothing new is accepted.
    pub(in crate::engine) fn is_stopping(&self) -> bool {
        self.stopping
    }
}
