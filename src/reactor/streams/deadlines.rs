//! When to look at streams that are waited for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::quic::ConnHandle as Conn;

/// Deadlines that may be kept without a look at whether their streams are over.
const MIN_DEADLINES: usize = 1024;

/// Deadlines in order. What counts is the one that a stream holds: entries are put off, or dropped, when they are looked at.
#[derive(Default)]
pub(super) struct Deadlines {
    entries: BinaryHeap<Reverse<(Instant, Conn, u64)>>,
    /// Entries from which on those of streams that are over are looked for.
    limit: usize,
}

impl Deadlines {
    /// Has a stream looked at when its patience may have ended. `held`: the deadline that a stream has by now.
    pub(super) fn arm(&mut self, at: Instant, conn: Conn, number: u64, held: impl Fn(Conn, u64) -> Option<Instant>) {
        // Entries of streams that ended in time are left behind: short streams must not pile them up.
        if self.entries.len() >= self.limit.max(MIN_DEADLINES) {
            self.entries.retain(|Reverse((_, conn, number))| held(*conn, *number).is_some());
            self.limit = self.entries.len() * 2;
        }
        self.entries.push(Reverse((at, conn, number)));
    }

    /// The earliest entry of a stream that is still waited for.
    pub(super) fn next(&mut self, held: impl Fn(Conn, u64) -> Option<Instant>) -> Option<Instant> {
        // Streams that ended in time leave their entries behind: they must not cost a wake-up.
        while let Some(&Reverse((at, conn, number))) = self.entries.peek() {
            if held(conn, number).is_some() {
                return Some(at);
            }
            self.entries.pop();
        }
        None
    }

    /// A stream whose patience has ended.
    pub(super) fn pop_due(&mut self, now: Instant, held: impl Fn(Conn, u64) -> Option<Instant>) -> Option<(Conn, u64)> {
        while let Some(&Reverse((at, conn, number))) = self.entries.peek() {
            if at > now {
                return None;
            }
            self.entries.pop();
            match held(conn, number) {
                None => {}
                Some(later) if later > now => self.entries.push(Reverse((later, conn, number))),
                Some(_) => return Some((conn, number)),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::reactor::now_outside_the_engine;

    #[test]
    fn a_stream_is_looked_at_when_its_own_deadline_has_come_and_not_when_it_is_over() {
        let start = now_outside_the_engine();
        let at = |ms| start + Duration::from_millis(ms);
        let mut deadlines = Deadlines::default();
        for number in 0..3 {
            deadlines.arm(at(10), Conn(7), number, |_, _| None);
        }
        // The first is over, the second was put off.
        let held = |_, number| [None, Some(at(30)), Some(at(10))][number as usize];
        assert_eq!(deadlines.next(held), Some(at(10)));
        assert_eq!(deadlines.pop_due(at(9), held), None);
        assert_eq!(deadlines.pop_due(at(20), held), Some((Conn(7), 2)));
        assert_eq!(deadlines.pop_due(at(20), held), None);
        assert_eq!(deadlines.next(held), Some(at(30)));
        assert_eq!(deadlines.pop_due(at(30), held), Some((Conn(7), 1)));
        assert_eq!(deadlines.next(held), None);
    }

    #[test]
    fn short_streams_do_not_pile_up() {
        let start = now_outside_the_engine();
        let mut deadlines = Deadlines::default();
        for number in 0..100_000 {
            deadlines.arm(start, Conn(1), number, |_, of| (of % 1000 == 0).then_some(start));
        }
        assert!(deadlines.entries.len() <= 2 * MIN_DEADLINES, "{}", deadlines.entries.len());
    }
}
