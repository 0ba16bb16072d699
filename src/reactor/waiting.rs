//! Where the reactor waits: until packets, a timer, or another thread.

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Registry, Token};

use super::inbox::Wake;
use super::sleep::Sleep;
use super::{Reactor, now_outside_the_engine};
use crate::engine::Input;

/// Token of the waker; the sockets have those after it.
pub(super) const WAKER: Token = Token(0);

/// The poll, and what it is woken by.
pub(super) struct Waiting {
    poll: Poll,
    ready: Events,
    wake: Wake,
    sleep: Sleep,
}

impl Waiting {
    /// A poll and its waker, or what the system did not give.
    pub(super) fn new() -> Result<Self, (&'static str, io::Error)> {
        let poll = Poll::new().map_err(|error| ("event queue", error))?;
        let waker = mio::Waker::new(poll.registry(), WAKER).map_err(|error| ("waker", error))?;
        let sleep = Sleep::new(now_outside_the_engine());
        Ok(Self { poll, ready: Events::with_capacity(64), wake: Wake::new(waker), sleep })
    }

    /// Where sockets are registered.
    pub(super) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Wakes it.
    pub(super) fn wake(&self) -> &Wake {
        &self.wake
    }

    /// The calling thread is the one that waits. The time.
    pub(super) fn begin(&mut self) -> Instant {
        self.wake.runs_here();
        let now = now_outside_the_engine();
        self.sleep = Sleep::new(now);
        now
    }

    /// Waits for an event; `None`: for as long as it takes.
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.ready, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }
}

impl Reactor {
    /// Waits until there is something to do; `more`: there is already. The time afterwards; `None`: the system failed.
    pub(super) fn wait(&mut self, more: bool, now: Instant) -> Option<Instant> {
        let timeout = if more {
            Some(Duration::ZERO)
        } else {
            let now = self.rest(now);
            self.timeout(now)
        };
        if let Err(error) = self.waiting.poll(timeout) {
            tracing::error!(%error, "polling failed; the daemon stops");
            return None;
        }
        let now = now_outside_the_engine();
        let slept = self.waiting.sleep.slept(timeout, now);
        if slept >= self.config.timers.sleep_least {
            self.woke(slept, now);
        }
        for event in &self.waiting.ready {
            if event.token() != WAKER {
                self.endpoint.on_ready(event.token().0, event.is_readable(), event.is_writable());
            }
        }
        Some(now)
    }

    /// Lets packets gather, if the endpoint wants that: sleeps past the poll, which would report each of them. Timers, and whoever
    /// wakes the reactor, end the sleep. The time afterwards.
    fn rest(&mut self, now: Instant) -> Instant {
        let Some(until) = self.endpoint.rests_until(now) else { return now };
        // The turn itself took a part of it.
        let now = now_outside_the_engine();
        let rest = until.saturating_duration_since(now).min(self.timeout(now).unwrap_or(Duration::MAX));
        if rest.is_zero() {
            return now;
        }
        let until = now + rest;
        std::thread::park_timeout(self.endpoint.until_tick(rest, now));
        let now = now_outside_the_engine();
        self.endpoint.rested(until, now);
        now
    }

    /// How long to poll at most; `None`: until something happens.
    fn timeout(&mut self, now: Instant) -> Option<Duration> {
        let next = [
            self.engine.poll_timeout(),
            self.endpoint.next_timeout(now),
            self.streams.next_deadline(),
            self.ending.at,
            self.measures.next_timeout(),
            self.pools.next_timeout(),
        ];
        next.into_iter().flatten().min().map(|at| self.endpoint.until_tick(at.saturating_duration_since(now), now))
    }

    /// The PC slept: what is overdue gets its time anew, and everybody is looked for.
    fn woke(&mut self, slept: Duration, now: Instant) {
        tracing::info!(?slept, "the PC slept; looking who is still there");
        let (shell, streams) = self.shell(now);
        streams.woke(&shell);
        self.inputs.push_back(Input::Woke);
        let listening = self.listening();
        self.inputs.push_back(listening);
        self.lookout.look_again();
    }
}
