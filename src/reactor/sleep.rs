//! Notices that the whole PC, or this process, stood still.
//!
//! Linux and macOS stop the monotonic clock while a PC sleeps: only the wall clock shows it. Windows lets it run on, as any
//! system does for a process that is stopped: then the poll comes back later than it was to.

use std::time::{Duration, Instant, SystemTime};

/// The clocks at the last turn.
#[derive(Debug)]
pub(super) struct Sleep {
    at: Instant,
    wall: SystemTime,
}

impl Sleep {
    pub(super) fn new(now: Instant) -> Self {
        Self { at: now, wall: wall_outside_the_engine() }
    }

    /// How long everything stood still since the last turn, which was to take `planned` at most (`None`: for ever). A wall
    /// clock that somebody sets forward looks the same, and costs a look at who is still there.
    pub(super) fn slept(&mut self, planned: Option<Duration>, now: Instant) -> Duration {
        self.slept_by(planned, now, wall_outside_the_engine())
    }

    fn slept_by(&mut self, planned: Option<Duration>, now: Instant, wall: SystemTime) -> Duration {
        let passed = now.saturating_duration_since(self.at);
        // Somebody may have set it back.
        let wall_passed = wall.duration_since(self.wall).unwrap_or_default();
        (self.at, self.wall) = (now, wall);
        let late = planned.map_or(Duration::ZERO, |planned| passed.saturating_sub(planned));
        late.max(wall_passed.saturating_sub(passed))
    }
}

#[expect(clippy::disallowed_methods, reason = "no other clock counts the time in which the PC sleeps")]
fn wall_outside_the_engine() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_clock_show_a_sleep_and_neither_a_long_wait_nor_a_clock_set_back() {
        #[expect(clippy::disallowed_methods, reason = "any instant serves as the beginning")]
        let (now, wall) = (Instant::now(), wall_outside_the_engine());
        let s = Duration::from_secs;
        for (planned, passed, wall_passed, slept) in [
            (Some(s(60)), s(60), s(60), s(0)),
            (None, s(600), s(600), s(0)),
            (Some(s(1)), s(1), s(7200), s(7199)),
            (Some(s(1)), s(7200), s(7200), s(7199)),
            (None, s(5), s(7200), s(7195)),
        ] {
            let mut sleep = Sleep { at: now, wall };
            assert_eq!(sleep.slept_by(planned, now + passed, wall + wall_passed), slept);
            assert_eq!(sleep.slept_by(planned, now + passed, wall + wall_passed), s(0), "it is told once");
        }
        assert_eq!(Sleep { at: now, wall }.slept_by(None, now + s(1), wall - s(3600)), s(0));
    }
}
