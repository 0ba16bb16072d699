//! Tells listeners and the engine once a second what game data moves, while any does, and keeps the PC awake for as long.
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

/// What there is to tell.
#[derive(Debug)]
pub(super) struct Report {
    /// For listeners.
    pub(super) event: PeerEvent,
    /// Bytes that went out since the last report.
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
    pub(super) fn look(&mut self, totals: Totals, now: Instant) -> Option<Report> {
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
        let [received, sent] = [(totals.received, self.reported.received), (totals.sent, self.reported.sent)]
            .map(|(now, before)| now.saturating_sub(before));
        let rate = |bytes: u64| (bytes as f64 / seconds) as u64;
        let moves = received + sent > 0;
        (self.reported, self.since, self.due) = (totals, now, moves.then_some(now + EVERY));
        if !moves {
            sys::keep_awake(false);
        }
        let event = PeerEvent::Traffic {
            bytes_received: totals.received,
            bytes_sent: totals.sent,
            receiving: rate(received),
            sending: rate(sent),
        };
        Some(Report { event, sent })
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
        let (mut reports, mut told) = (Vec::new(), 0);
        for ms in (0..60_000).step_by(10) {
            // 1 MB/s comes in between the tenth and the fifteenth second, and half of it goes out.
            let received = (ms.clamp(10_000, 15_000) - 10_000) * 1_000;
            let now = start + Duration::from_millis(ms);
            assert!(ms >= 10_000 || traffic.next_timeout().is_none(), "silence needs no timer");
            let Some(Report { event, sent }) = traffic.look(Totals { received, sent: received / 2 }, now) else {
                continue;
            };
            let PeerEvent::Traffic { receiving, sending, bytes_sent, .. } = event else { panic!("{event:?}") };
            reports.push((receiving, sending));
            told += sent;
            assert_eq!(told, bytes_sent, "nothing is told twice or left out");
        }
        assert!((6..=7).contains(&reports.len()), "{reports:?}");
        assert!(reports[..4].iter().all(|rates| (980_000..=1_020_000).contains(&rates.0)), "{reports:?}");
        assert_eq!(reports.last(), Some(&(0, 0)));
        assert_eq!(traffic.next_timeout(), None);
    }
}
