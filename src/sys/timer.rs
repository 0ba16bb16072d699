//! Waking up in time for the pacer. The poll rounds its timeout up to whole milliseconds, in which a gigabit link carries
//! a hundred packets: where the system has timers that a poll can wait for, short deadlines are set on one of those.

use std::io;
use std::time::{Duration, Instant};

use mio::{Registry, Token};

/// Later deadlines are served well enough by the poll itself.
const SHORT: Duration = Duration::from_millis(5);

/// An alarm clock for short deadlines, registered with the poll. Reports nothing but that it is time to look.
pub(crate) struct Wakeup {
    #[cfg(target_os = "linux")]
    timer: std::os::fd::OwnedFd,
    armed: Option<Instant>,
}

#[cfg(target_os = "linux")]
impl Wakeup {
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        use std::os::fd::AsRawFd;

        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut mio::unix::SourceFd(&timer.as_raw_fd()), token, mio::Interest::READABLE)?;
        Ok(Self { timer, armed: None })
    }

    /// Makes the poll return at `deadline`, if that is soon.
    pub(crate) fn arm(&mut self, deadline: Option<Instant>, now: Instant) {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        let Some(deadline) = deadline.filter(|&deadline| deadline < now + SHORT) else {
            return;
        };
        // Still ahead and early enough: a wake-up for nothing is cheaper than setting the timer again.
        if self.armed.is_some_and(|armed| armed > now && armed <= deadline) {
            return;
        }
        let wait = deadline.saturating_duration_since(now).max(Duration::from_micros(1));
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        // The poll reports the edge; nobody needs to read the counter. A failure costs a millisecond, not correctness.
        let set = timerfd_settime(
            &self.timer,
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: zero, it_value: value },
        );
        self.armed = set.is_ok().then_some(deadline);
    }
}

#[cfg(not(target_os = "linux"))]
impl Wakeup {
    pub(crate) fn new(_: &Registry, _: Token) -> io::Result<Self> {
        Ok(Self { armed: None })
    }

    pub(crate) fn arm(&mut self, deadline: Option<Instant>, now: Instant) {
        self.armed = deadline.filter(|&deadline| deadline < now + SHORT);
    }
}
