//! Waking up in time for the pacer. A poll rounds its timeout up to whole milliseconds, in which a gigabit link carries a hundred packets;
//! on Windows, unless somebody asks for better, to 15.6 of them.
//!
//! | system | short deadlines |
//! |---|---|
//! | Linux | a timerfd, which the poll waits for |
//! | Windows | a tick of 1 ms instead of 15.6 for as long as there are short deadlines: the poll and all sleeps are off by 1 to 2 ms then |
//! | others | whatever the poll gives |
//!
//! `transport.timer_resolution` emulates a coarse clock anywhere: no timerfd, and every wait ends on a tick.

use std::io;
use std::time::{Duration, Instant};

use mio::{Registry, Token};

/// Later deadlines are served well enough by the poll itself.
const SHORT: Duration = Duration::from_millis(5);

/// An alarm clock for short deadlines. Reports nothing but that it is time to look.
pub(crate) struct Wakeup {
    alarm: Option<alarm::Alarm>,
    /// The emulated clock: its ticks are so long, and counted from this moment.
    ticks: Option<(Duration, Instant)>,
}

impl Wakeup {
    /// `resolution`: of the emulated clock; zero: that of the system.
    pub(crate) fn new(registry: &Registry, token: Token, resolution: Duration, now: Instant) -> io::Result<Self> {
        if resolution.is_zero() {
            return Ok(Self { alarm: Some(alarm::Alarm::new(registry, token)?), ticks: None });
        }
        Ok(Self { alarm: None, ticks: Some((resolution, now)) })
    }

    /// Makes the poll return at `deadline`, if that is soon.
    pub(crate) fn arm(&mut self, deadline: Option<Instant>, now: Instant) {
        if let Some(alarm) = &mut self.alarm {
            alarm.arm(deadline.filter(|&deadline| deadline < now + SHORT), now);
        }
    }

    /// Somebody sleeps for a fraction of a millisecond without a poll.
    pub(crate) fn sleeps_shortly(&mut self, now: Instant) {
        if let Some(alarm) = &mut self.alarm {
            alarm.sleeps_shortly(now);
        }
    }

    /// When [`Wakeup::arm`] is to be called again at the latest, even if nothing happens.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.alarm.as_ref()?.next_timeout()
    }

    /// How long a wait takes: what was asked for, or until the next tick of the emulated clock.
    pub(crate) fn until_tick(&self, wait: Duration, now: Instant) -> Duration {
        let Some((tick, start)) = self.ticks.filter(|_| !wait.is_zero()) else { return wait };
        let passed = now.saturating_duration_since(start);
        let over = (passed + wait).as_nanos() % tick.as_nanos();
        if over == 0 { wait } else { wait + tick - Duration::from_nanos(u64::try_from(over).unwrap_or(u64::MAX)) }
    }
}

#[cfg(target_os = "linux")]
mod alarm {
    use std::io;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::time::{Duration, Instant};

    use mio::{Registry, Token};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };

    /// A timer that is registered with the poll.
    pub(super) struct Alarm {
        timer: OwnedFd,
        armed: Option<Instant>,
    }

    impl Alarm {
        pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
            let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
            registry.register(&mut mio::unix::SourceFd(&timer.as_raw_fd()), token, mio::Interest::READABLE)?;
            Ok(Self { timer, armed: None })
        }

        pub(super) fn arm(&mut self, deadline: Option<Instant>, now: Instant) {
            let Some(deadline) = deadline else { return };
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

        pub(super) fn sleeps_shortly(&mut self, _: Instant) {}

        pub(super) fn next_timeout(&self) -> Option<Instant> {
            None
        }
    }
}

#[cfg(windows)]
mod alarm {
    use std::ffi::c_void;
    use std::io;
    use std::time::{Duration, Instant};

    use mio::{Registry, Token};

    /// The resolution goes back to the system's default after so long without a short deadline: a finer clock costs power.
    const LINGER: Duration = Duration::from_secs(1);
    /// In units of 100 ns.
    const FINE: u32 = 10_000;

    /// A finer clock for the whole process, while it is needed.
    pub(super) struct Alarm {
        fine_until: Option<Instant>,
    }

    impl Alarm {
        pub(super) fn new(_: &Registry, _: Token) -> io::Result<Self> {
            keep_resolution_in_background();
            Ok(Self { fine_until: None })
        }

        pub(super) fn arm(&mut self, deadline: Option<Instant>, now: Instant) {
            if deadline.is_some() {
                self.sleeps_shortly(now);
            } else if self.fine_until.is_some_and(|until| until <= now) {
                self.set_fine(None);
            }
        }

        pub(super) fn sleeps_shortly(&mut self, now: Instant) {
            self.set_fine(Some(now + LINGER));
        }

        pub(super) fn next_timeout(&self) -> Option<Instant> {
            self.fine_until
        }

        fn set_fine(&mut self, until: Option<Instant>) {
            if self.fine_until.is_some() != until.is_some() {
                let mut granted = 0;
                // SAFETY: `granted` is a place for the answer. A refusal costs milliseconds, not correctness.
                unsafe { NtSetTimerResolution(FINE, u8::from(until.is_some()), &mut granted) };
            }
            self.fine_until = until;
        }
    }

    impl Drop for Alarm {
        fn drop(&mut self) {
            self.set_fine(None);
        }
    }

    /// Windows 11 takes the finer clock away from processes whose windows nobody sees, unless they say that they need it.
    fn keep_resolution_in_background() {
        const PROCESS_POWER_THROTTLING: i32 = 4;
        const IGNORE_TIMER_RESOLUTION: u32 = 4;
        // PROCESS_POWER_THROTTLING_STATE: version, what is decided here, what of it is on.
        let state = [1u32, IGNORE_TIMER_RESOLUTION, 0];
        let size = size_of_val(&state) as u32;
        // SAFETY: the pseudo-handle is always valid, and `state` is as long as is said. Older systems refuse, which is harmless.
        unsafe { SetProcessInformation(GetCurrentProcess(), PROCESS_POWER_THROTTLING, state.as_ptr().cast(), size) };
    }

    // What timeBeginPeriod of winmm.dll calls. That library brings user32.dll along, and programs with windows are not told of log-off
    // and shutdown as those of the console are (SetConsoleCtrlHandler).
    #[link(name = "ntdll")]
    unsafe extern "system" {
        fn NtSetTimerResolution(wanted: u32, set: u8, granted: *mut u32) -> i32;
    }

    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GetCurrentProcess() -> *mut c_void;
        fn SetProcessInformation(process: *mut c_void, class: i32, information: *const c_void, size: u32) -> i32;
    }
}

#[cfg(not(any(target_os = "linux", windows)))]
mod alarm {
    use std::io;
    use std::time::Instant;

    use mio::{Registry, Token};

    /// Nothing but the poll.
    pub(super) struct Alarm;

    impl Alarm {
        pub(super) fn new(_: &Registry, _: Token) -> io::Result<Self> {
            Ok(Self)
        }

        pub(super) fn arm(&mut self, _: Option<Instant>, _: Instant) {}

        pub(super) fn sleeps_shortly(&mut self, _: Instant) {}

        pub(super) fn next_timeout(&self) -> Option<Instant> {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant serves as the beginning")]
    fn waits_end_on_a_tick_of_the_emulated_clock() {
        let start = Instant::now();
        let us = Duration::from_micros;
        let coarse = Wakeup { alarm: None, ticks: Some((us(15_600), start)) };
        for (at, wait, takes) in
            [(0, 1, 15_600), (0, 15_600, 15_600), (15_000, 500, 600), (15_000, 1_000, 16_200), (20_000, 0, 0)]
        {
            assert_eq!(coarse.until_tick(us(wait), start + us(at)), us(takes), "{wait} us at {at} us");
        }
        let fine = Wakeup { alarm: None, ticks: None };
        assert_eq!(fine.until_tick(us(7), start + us(3)), us(7));
    }
}
