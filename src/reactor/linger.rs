//! An idle PC is woken once for a handful of packets, not once for each of them.
//!
//! The pings of a LAN come in swarms: one PC begins, all that are awake by it follow. Whoever has seen to a packet while nothing
//! else is going on therefore sleeps for a moment before it looks for the next. Nobody waits for what comes of it; as soon as
//! somebody may, it looks at once. Of transfers it must never be late: their acknowledgements are what the sender's estimate of
//! the path is made of.

use std::time::{Duration, Instant};

/// What is waited for more packets. Below the delay of acknowledgements that this side has announced (5 ms), after which the other
/// would send anew.
const MOMENT: Duration = Duration::from_millis(4);
/// Whoever has just asked for something, or come, is likely to go on.
const LIVELY: Duration = Duration::from_secs(1);

/// Whether something is going on that somebody waits for.
#[derive(Debug)]
pub(super) struct Linger {
    lively_until: Instant,
}

impl Linger {
    pub(super) fn new(now: Instant) -> Self {
        Self { lively_until: now + LIVELY }
    }

    /// Something was asked for that somebody waits for.
    pub(super) fn lively(&mut self, now: Instant) {
        self.lively_until = now + LIVELY;
    }

    /// How long to wait for more packets.
    pub(super) fn moment(&self, now: Instant) -> Option<Duration> {
        (now >= self.lively_until).then_some(MOMENT)
    }
}
