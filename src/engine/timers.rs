//! Deadlines by name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// At most one deadline per key; setting a key again moves its deadline. Keys that are due come out in the order of
/// their deadlines, then of the keys, so that the same inputs fire the same timers in the same order.
#[derive(Debug)]
pub(super) struct TimerSet<K> {
    due: BTreeSet<(Instant, K)>,
    at: BTreeMap<K, Instant>,
}

impl<K: Ord + Clone> TimerSet<K> {
    pub(super) fn new() -> Self {
        Self { due: BTreeSet::new(), at: BTreeMap::new() }
    }

    /// Arms `key` for `at`, wherever it was before.
    pub(super) fn set(&mut self, key: K, at: Instant) {
        if let Some(old) = self.at.insert(key.clone(), at) {
            self.due.remove(&(old, key.clone()));
        }
        self.due.insert((at, key));
    }

    /// Arms `key` for `at` unless it fires anyway.
    pub(super) fn set_if_idle(&mut self, key: K, at: Instant) {
        if !self.at.contains_key(&key) {
            self.set(key, at);
        }
    }

    /// Disarms `key`.
    pub(super) fn cancel(&mut self, key: &K) {
        if let Some(at) = self.at.remove(key) {
            self.due.remove(&(at, key.clone()));
        }
    }

    /// When `key` fires, if it is armed.
    pub(super) fn due(&self, key: &K) -> Option<Instant> {
        self.at.get(key).copied()
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes one key whose deadline has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        self.at.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_key_has_one_deadline_and_fires_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = TimerSet::new();
        timers.set("b", at(20));
        timers.set("a", at(10));
        timers.set("b", at(5));
        timers.set_if_idle("b", at(1));
        timers.set("c", at(7));
        timers.cancel(&"c");
        assert_eq!(timers.next(), Some(at(5)));
        assert_eq!(timers.pop_due(at(4)), None);
        assert_eq!(timers.pop_due(at(30)), Some("b"));
        assert_eq!(timers.due(&"b"), None);
        assert_eq!(timers.pop_due(at(30)), Some("a"));
        assert_eq!(timers.pop_due(at(30)), None);
        assert_eq!(timers.next(), None);
    }
}
