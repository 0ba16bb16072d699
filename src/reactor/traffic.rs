//! Tells listeners once a second how fast game data moves, while any does, and keeps the PC awake for as long.
//!
//! ```text
//! silent ──bytes moved──▶ moving (a report a second) ──a second without a byte──▶ silent (the last report says zero)
//! ```

use std::time::{Duration, Instant};

use crate::api::PeerEvent;
use crate::sys;

/// Time between two reports.
const EVERY: Duration = Duration::from_secs(1);

/// Bytes of games since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Totals {
    pub(super) received: u64,
    pub(super) sent: u64,
}

/// What was reported, and when the next report is due.
#[derive(Debug)]
pub(super) struct Traffic {
    reported: Totals,
    since: Instant,
    due: Option<Instant>,
}

impl Traffic {
    pub(super) fn new(now: Instant) -> Self {
        Self { reported: Totals::default(), since: now, due: None }
    }

    /// When [`Traffic::look`] has something to say, if nothing moves until then.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// The report, if one is due.
    pub(super) fn look(&mut self, totals: Totals, now: Instant) -> Option<PeerEvent> {
        let Some(due) = self.due else {
            if totals != self.reported {
                (self.since, self.due) = (now, Some(now + EVERY));
                sys::keep_awake(true);
            }
            return None;
        };
        if now < due {
            return None;
        }
        let seconds = now.saturating_duration_since(self.since).as_secs_f64();
        let rate = |bytes: u64, before: u64| (bytes.saturating_sub(before) as f64 / seconds) as u64;
        let (receiving, sending) =
            (rate(totals.received, self.reported.received), rate(totals.sent, self.reported.sent));
        let moves = totals != self.reported;
        (self.reported, self.since, self.due) = (totals, now, moves.then_some(now + EVERY));
        if !moves {
            sys::keep_awake(false);
        }
        Some(PeerEvent::Traffic { bytes_received: totals.received, bytes_sent: totals.sent, receiving, sending })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant serves as the beginning")]
    fn reports_come_once_a_second_while_bytes_move_and_end_with_zero() {
        let start = Instant::now();
        let mut traffic = Traffic::new(start);
        let mut reports = Vec::new();
        for ms in (0..60_000).step_by(10) {
            // 1 MB/s comes in between the tenth and the fifteenth second, and half of it goes out.
            let received = (ms.clamp(10_000, 15_000) - 10_000) * 1_000;
            let now = start + Duration::from_millis(ms);
            assert!(ms >= 10_000 || traffic.next_timeout().is_none(), "silence needs no timer");
            if let Some(PeerEvent::Traffic { receiving, sending, .. }) =
                traffic.look(Totals { received, sent: received / 2 }, now)
            {
                reports.push((receiving, sending));
            }
        }
        assert!((6..=7).contains(&reports.len()), "{reports:?}");
        assert!(reports[..4].iter().all(|rates| (980_000..=1_020_000).contains(&rates.0)), "{reports:?}");
        assert_eq!(reports.last(), Some(&(0, 0)));
        assert_eq!(traffic.next_timeout(), None);
    }
}
