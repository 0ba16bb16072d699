//! Whether the game directory is there, and when that is looked at.
//!
//! ```text
//!        lost                      all that ran has ended             closed
//!  Here ──────▶ Gone, Draining ───────────────────────▶ Gone, Closing ──────▶ Gone, looked for
//!   ▲                                                                            │ seen
//!   └───────────────── opened ──────────── Gone, Opening ◀───────────────────────┘
//! ```
//!
//! Draining, Closing and Opening are stages of a [`Switch`](super::lifecycle::Switch) that no command asked for.

use std::path::Path;
use std::time::{Duration, Instant};

use super::core::Cx;
use crate::types::{Epoch, Job};

/// While the directory is there, so many looks come in the time of one fallback scan.
const LOOKS_PER_SCAN: u32 = 10;
/// Least time between two looks.
const MIN_LOOK_EVERY: Duration = Duration::from_secs(1);
/// Most time between two looks for a directory that is gone.
const MAX_LOOK_EVERY_GONE: Duration = Duration::from_secs(5);

/// What is known of the game directory's whereabouts.
#[derive(Debug, Default)]
pub(super) struct Presence {
    gone: Option<Gone>,
    /// One is there again; nobody was told yet.
    back: bool,
    /// A look is under way.
    looking: bool,
    /// It began before the directory was found to be gone: what it finds is old.
    outdated: bool,
    look_at: Option<Instant>,
}

/// A directory that is not there.
#[derive(Debug)]
struct Gone {
    /// In words.
    reason: String,
    /// The history of its library.
    epoch: Epoch,
}

impl Presence {
    /// Why it is not there, in words; `None`: it is.
    pub(super) fn gone(&self) -> Option<&str> {
        self.gone.as_ref().map(|gone| gone.reason.as_str())
    }

    /// It is not there any more, while its library is still the one that is announced.
    pub(super) fn lost(&mut self, cx: &Cx, reason: String) {
        self.back = false;
        self.outdated = self.looking;
        self.gone = Some(Gone { reason, epoch: cx.announced.state.epoch });
        self.arm(cx);
    }

    /// One is open, this or another.
    pub(super) fn opened(&mut self, cx: &Cx) {
        self.back |= self.gone.take().is_some();
        self.arm(cx);
    }

    /// Whether one is there again for the first time that this is asked.
    pub(super) fn is_back(&mut self) -> bool {
        self.gone.is_none() && std::mem::take(&mut self.back)
    }

    /// A look has ended. Whether what it found counts.
    pub(super) fn looked(&mut self, cx: &Cx) -> bool {
        self.looking = false;
        self.arm(cx);
        !std::mem::take(&mut self.outdated)
    }

    /// When to call [`timeout`](Self::timeout).
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.look_at.filter(|_| !self.looking)
    }

    /// Looks at `dir`, or for it, when it is time.
    pub(super) fn timeout(&mut self, cx: &mut Cx, dir: &Path) {
        if self.next_timeout().is_some_and(|at| at <= cx.now) {
            self.looking = true;
            let epoch = self.gone.as_ref().map_or(cx.announced.state.epoch, |gone| gone.epoch);
            cx.job(Job::LookForLibrary { dir: dir.to_owned(), epoch });
        }
    }

    fn arm(&mut self, cx: &Cx) {
        let every = (cx.config.timers.rescan_every / LOOKS_PER_SCAN).max(MIN_LOOK_EVERY);
        let every = if self.gone.is_some() { every.min(MAX_LOOK_EVERY_GONE) } else { every };
        self.look_at = Some(cx.now + every);
    }
}
