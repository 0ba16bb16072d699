//! When to browse: a pure state machine, fed with the time.
//!
//! ```text
//!            window over                        pause over
//! Browsing ───────────────▶ Paused ────────────────────────────▶ Browsing (short window)
//!     ▲                        │ interfaces changed: Browsing (long window), also out of a running window
//!     └────────────────────────┘
//! ```

use std::time::{Duration, Instant};

use super::DiscoveryTimers;

/// A second change of interfaces this soon after a window began only lengthens it: one plug-in makes several.
const SETTLE: Duration = Duration::from_secs(1);

/// Up to so many peers the pause is as configured.
const FEW: f64 = 8.0;
/// Longest mean pause, however many peers there are: with so many, somebody browses every few minutes all the same.
const LONGEST_PAUSE: Duration = Duration::from_secs(4 * 3600);

/// What to do with the browser now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Begin, or begin again.
    Browse,
    /// Stop.
    Stop,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Browsing { since: Instant, until: Instant },
    Paused { since: Instant, spread: f64, until: Instant },
}

#[derive(Debug)]
pub(super) struct DutyCycle {
    first_window: Duration,
    window: Duration,
    pause: Duration,
    phase: Phase,
}

impl DutyCycle {
    /// Its first `poll` says `Browse`.
    pub(super) fn new(timers: &DiscoveryTimers, now: Instant) -> Self {
        let &DiscoveryTimers { first_window, window, pause, .. } = timers;
        Self { first_window, window, pause, phase: Phase::Browsing { since: now, until: now + first_window } }
    }

    pub(super) fn is_browsing(&self) -> bool {
        matches!(self.phase, Phase::Browsing { .. })
    }

    /// When [`DutyCycle::poll`] has something to say.
    pub(super) fn deadline(&self) -> Instant {
        match self.phase {
            Phase::Browsing { until, .. } | Phase::Paused { until, .. } => until,
        }
    }

    /// `spread` in 0..=1 places the next pause between 50 % and 150 % of its mean, so that daemons that were started
    /// together do not browse together for ever. `peers`: how many are known; a pause that began among fewer grows with
    /// them. Each window makes all of them answer, and all hear all answers, so the mean grows with their square.
    pub(super) fn poll(&mut self, now: Instant, spread: f64, peers: usize) -> Option<Step> {
        if now < self.deadline() {
            return None;
        }
        match self.phase {
            Phase::Browsing { .. } => {
                let spread = 0.5 + spread.clamp(0.0, 1.0);
                let until = now + self.mean_pause(peers).mul_f64(spread);
                self.phase = Phase::Paused { since: now, spread, until };
                Some(Step::Stop)
            }
            Phase::Paused { since, spread, .. } => {
                let until = since + self.mean_pause(peers).mul_f64(spread);
                if now < until {
                    self.phase = Phase::Paused { since, spread, until };
                    return None;
                }
                self.phase = Phase::Browsing { since: now, until: now + self.window };
                Some(Step::Browse)
            }
        }
    }

    fn mean_pause(&self, peers: usize) -> Duration {
        let crowd = (peers as f64 / FEW).max(1.0).powi(2);
        self.pause.mul_f64(crowd.min(1e6)).min(LONGEST_PAUSE.max(self.pause))
    }

    /// The system's addresses changed, or the adapter was restarted.
    pub(super) fn restart(&mut self, now: Instant) -> Option<Step> {
        let until = now + self.first_window;
        match self.phase {
            Phase::Browsing { since, .. } if now.saturating_duration_since(since) < SETTLE => {
                self.phase = Phase::Browsing { since, until };
                None
            }
            _ => {
                self.phase = Phase::Browsing { since: now, until };
                Some(Step::Browse)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn start() -> (DutyCycle, Instant) {
        let now = Instant::now();
        (DutyCycle::new(&DiscoveryTimers::default(), now), now)
    }

    #[test]
    fn a_long_window_then_short_ones_with_spread_pauses() {
        let s = Duration::from_secs;
        let (mut duty, t0) = start();
        assert_eq!(duty.poll(t0 + s(9), 0.0, 0), None);
        assert_eq!(duty.poll(t0 + s(10), 0.0, 8), Some(Step::Stop));
        assert_eq!(duty.deadline(), t0 + s(160));
        assert_eq!(duty.poll(t0 + s(160), 0.0, 8), Some(Step::Browse));
        assert_eq!(duty.poll(t0 + s(165), 1.0, 8), Some(Step::Stop));
        assert_eq!(duty.deadline(), t0 + s(165 + 450));
    }

    #[test]
    fn the_more_peers_answer_the_longer_the_pause() {
        let pause_among = |peers| {
            let (mut duty, t0) = start();
            duty.poll(t0 + Duration::from_secs(10), 0.5, peers);
            (duty.deadline() - t0).as_secs() - 10
        };
        assert_eq!([0, 1, 8, 16, 50, 10_000].map(pause_among), [300, 300, 300, 1200, 11_718, 14_400]);
    }

    #[test]
    fn a_pause_that_began_among_few_grows_with_those_who_came() {
        let s = Duration::from_secs;
        let (mut duty, t0) = start();
        duty.poll(t0 + s(10), 0.5, 2);
        assert_eq!(duty.poll(t0 + s(310), 0.5, 16), None);
        assert_eq!(duty.deadline(), t0 + s(1210));
        assert_eq!(
            duty.poll(t0 + s(1210), 0.5, 8),
            Some(Step::Browse),
            "those who left do not shorten what has passed"
        );
    }

    #[test]
    fn a_change_of_interfaces_opens_one_long_window() {
        let s = Duration::from_secs;
        let (mut duty, t0) = start();
        duty.poll(t0 + s(10), 0.5, 0);
        assert_eq!(duty.restart(t0 + s(20)), Some(Step::Browse));
        assert_eq!(duty.restart(t0 + s(20)), None, "the second address of the same plug-in");
        assert_eq!(duty.deadline(), t0 + s(30));
        assert_eq!(duty.restart(t0 + s(25)), Some(Step::Browse));
        assert_eq!(duty.deadline(), t0 + s(35));
    }
}
