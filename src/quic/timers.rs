//! When which connection wants to be looked at: one entry for each, however often its deadline moves.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A deadline that moves by so much takes its entry along: its connection has become idle.
const FAR: Duration = Duration::from_millis(100);

/// Deadlines of slots. A deadline that moves a little later leaves its entry where it is: the slot is then visited once for
/// nothing, which is cheaper than moving the entry at every packet. One that moves far does not: that visit would wake an idle
/// PC. Memory: one entry for each slot.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Instant, usize)>,
    /// What stands in the queue for each slot.
    armed: Vec<Option<Instant>>,
}

impl Timers {
    /// Makes sure that `slot` is visited at `deadline` at the latest, and not much earlier.
    pub(super) fn arm(&mut self, slot: usize, deadline: Instant) {
        if self.armed.len() <= slot {
            self.armed.resize(slot + 1, None);
        }
        let armed = &mut self.armed[slot];
        if armed.is_some_and(|armed| armed <= deadline && deadline < armed + FAR) {
            return;
        }
        if let Some(before) = armed.replace(deadline) {
            self.queue.remove(&(before, slot));
        }
        self.queue.insert((deadline, slot));
    }

    /// Forgets `slot`.
    pub(super) fn disarm(&mut self, slot: usize) {
        if let Some(deadline) = self.armed.get_mut(slot).and_then(Option::take) {
            self.queue.remove(&(deadline, slot));
        }
    }

    /// Takes out one slot whose time has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<usize> {
        let &(deadline, slot) = self.queue.first()?;
        if deadline > now {
            return None;
        }
        self.disarm(slot);
        Some(slot)
    }

    /// The earliest entry: nothing is due before it.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|&(deadline, _)| deadline)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_slot_has_one_entry_however_often_it_is_armed() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        for ms in (1..100).rev().chain(1..100) {
            timers.arm(3, at(ms));
            timers.arm(1, at(ms + 50));
        }
        assert_eq!(timers.queue.len(), 2);
        assert_eq!(timers.next(), Some(at(1)));
        assert_eq!(timers.pop_due(at(0)), None);
        assert_eq!(timers.pop_due(at(60)), Some(3));
        assert_eq!(timers.pop_due(at(60)), Some(1));
        assert_eq!(timers.pop_due(at(60)), None);
        timers.arm(1, at(7));
        timers.disarm(1);
        assert_eq!(timers.next(), None);
        // A packet was acknowledged, and nothing is owed until the connection has been silent for long.
        timers.arm(1, at(10));
        timers.arm(1, at(60_000));
        assert_eq!(timers.next(), Some(at(60_000)));
    }
}
