//! The ping guard: what this side sends does not fill the queues of the network.
//!
//! A switch, an adapter or an access point that gets more than its link carries keeps the rest in a queue, and every packet
//! of a running game waits behind it. Congestion control ends that when packets are lost, or tolerates a part of it; the
//! guard looks at the round-trip time instead, which grows with the queue, and sends more slowly before it hurts.
//!
//! ```text
//!          the delay stays above the target, and this side sends much
//!   Open ─────────────────────────────────────────────────────────────► Limited: down by a part, up by steps
//!     ▲                                                                    │
//!     └── the limit has not been what held the sender back for a while ────┘
//! ```
//!
//! A queue that stands is seen by every packet, a busy processor holds up some. So what counts is the delay that nearly all
//! packets have: the smoothed round-trip time less twice its deviation; of an interval the least of these, in several intervals
//! in a row. It is looked at once a millisecond at most, never for each packet.

use std::time::{Duration, Instant};

/// Queueing that is left alone.
const TARGET: Duration = Duration::from_millis(2);
/// Intervals with a longer queue, in a row, after which a limit is set.
const PATIENCE: u32 = 3;
/// Over which the least delay counts, at least: some round trips, some turns of the loop.
const INTERVAL: Duration = Duration::from_millis(50);
/// Time between two looks at the round-trip time.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Most of the rate that one interval takes away.
const STRONGEST_CUT: f64 = 0.3;
/// What an interval without a queue gives back, in bytes per second.
const STEP: f64 = 250e3;
/// And besides, of the present rate: else a fast link would take long to be full again.
const STEP_PART: f64 = 1.0 / 64.0;
/// Whoever sends less than this does not fill the queue that it waits in, in bytes per second.
const LEAST: f64 = 1e6;
/// A link this fast empties any queue within the target, in bytes per second. What is late there waits for a processor,
/// and sending more slowly would not help.
const FAST: f64 = 250e6;
/// The limit stays above this part of what was sent when it was set: the queue may be of others' making.
const FLOOR_PART: f64 = 0.25;
/// So much time's worth may leave at once.
const BURST: Duration = Duration::from_millis(1);
/// Bytes that may leave at once however low the rate is.
const LEAST_BURST: f64 = 3000.0;
/// Intervals after which a limit that nobody comes near is lifted.
const UNUSED: u32 = 20;

/// Of one connection.
#[derive(Debug)]
pub(super) struct Guard {
    state: State,
    /// When this interval began; `None`: nothing was sent yet.
    since: Option<Instant>,
    looked: Option<Instant>,
    /// Bytes sent in this interval.
    bytes: u64,
    /// The least delay that was seen in it.
    delay: Option<Duration>,
}

#[derive(Debug)]
enum State {
    /// Not wanted.
    Off,
    /// So many of the last intervals had a queue.
    Open {
        queued: u32,
    },
    Limited(Limit),
}

#[derive(Debug)]
struct Limit {
    /// Bytes per second.
    rate: f64,
    floor: f64,
    /// Bytes that may leave now; below zero: a debt.
    level: f64,
    /// When `level` was right.
    at: Instant,
    /// Intervals in which less than the limit was sent.
    unused: u32,
}

impl Guard {
    pub(super) fn new(wanted: bool) -> Self {
        let state = if wanted { State::Open { queued: 0 } } else { State::Off };
        Self { state, since: None, looked: None, bytes: 0, delay: None }
    }

    /// Bytes that may leave now. A packet may be longer: what it takes too much is waited for afterwards.
    pub(super) fn allowance(&mut self, now: Instant) -> usize {
        let State::Limited(limit) = &mut self.state else { return usize::MAX };
        let gained = limit.rate * now.saturating_duration_since(limit.at).as_secs_f64();
        limit.level = (limit.level + gained).min(burst(limit.rate));
        limit.at = now;
        limit.level.max(0.0) as usize
    }

    /// When something may leave again, once [`Self::allowance`] is zero.
    pub(super) fn ready_at(&self) -> Option<Instant> {
        let State::Limited(limit) = &self.state else { return None };
        let missing = burst(limit.rate) / 2.0 - limit.level;
        Some(limit.at + Duration::from_secs_f64((missing / limit.rate).clamp(0.0, 1.0)))
    }

    /// So many bytes left.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if let State::Limited(limit) = &mut self.state {
            limit.level -= bytes as f64;
        }
    }

    /// Whether it is time for [`Self::look`].
    pub(super) fn wants_look(&self, now: Instant) -> bool {
        !matches!(self.state, State::Off) && self.looked.is_none_or(|at| now >= at + LOOK_EVERY)
    }

    /// Looks at the round-trip time of the connection: smoothed, its mean deviation, and the least.
    pub(super) fn look(&mut self, rtt: Duration, deviation: Duration, least: Duration, now: Instant) {
        self.looked = Some(now);
        let delay = rtt.saturating_sub(2 * deviation).saturating_sub(least);
        self.delay = Some(self.delay.map_or(delay, |seen| seen.min(delay)));
        let since = *self.since.get_or_insert(now);
        let length = now.saturating_duration_since(since);
        if length >= INTERVAL.max(4 * least) {
            let rate = self.bytes as f64 / length.as_secs_f64();
            let delay = self.delay.take().unwrap_or_default();
            (self.since, self.bytes) = (Some(now), 0);
            self.conclude(rate, delay, now);
        }
    }

    /// What follows from an interval in which so many bytes per second were sent.
    fn conclude(&mut self, rate: f64, delay: Duration, now: Instant) {
        match &mut self.state {
            State::Open { queued } if delay > TARGET && (LEAST..FAST).contains(&rate) => {
                *queued += 1;
                if *queued < PATIENCE {
                    return;
                }
                let floor = (rate * FLOOR_PART).max(LEAST);
                let rate = (rate * cut(delay)).max(floor);
                self.state = State::Limited(Limit { rate, floor, level: 0.0, at: now, unused: 0 });
            }
            State::Open { queued } => *queued = 0,
            State::Off => {}
            State::Limited(limit) => {
                if delay > TARGET {
                    limit.rate = (limit.rate.min(rate.max(limit.floor)) * cut(delay)).max(limit.floor);
                } else {
                    limit.rate += STEP + limit.rate * STEP_PART;
                }
                limit.unused = if rate < 0.75 * limit.rate { limit.unused + 1 } else { 0 };
                if limit.unused >= UNUSED || limit.rate >= FAST {
                    self.state = State::Open { queued: 0 };
                }
            }
        }
    }
}

/// What is left of the rate: the longer the queue, the less.
fn cut(delay: Duration) -> f64 {
    let excess = 1.0 - TARGET.as_secs_f64() / delay.as_secs_f64().max(TARGET.as_secs_f64());
    1.0 - STRONGEST_CUT * excess
}

fn burst(rate: f64) -> f64 {
    (rate * BURST.as_secs_f64()).max(LEAST_BURST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_micros(300);

    /// Senders that would each send at `wish` bytes per second into one link with a deep queue.
    struct Link {
        rate: f64,
        queue: f64,
        now: Instant,
        guards: Vec<Guard>,
    }

    impl Link {
        #[expect(clippy::disallowed_methods, reason = "any instant serves as the beginning")]
        fn new(rate: f64, senders: usize, wanted: bool) -> Self {
            let guards = (0..senders).map(|_| Guard::new(wanted)).collect();
            Self { rate, queue: 0.0, now: Instant::now(), guards }
        }

        /// Runs for some seconds; the mean delay in seconds and the part of the link that was used, of the last half.
        fn run(&mut self, seconds: u64, wish: f64, window: f64) -> (f64, f64) {
            const TICK: Duration = Duration::from_micros(500);
            let ticks = seconds * 2000;
            let (mut delays, mut carried) = (0.0, 0.0);
            for tick in 0..ticks {
                self.now += TICK;
                let share = (window - self.queue).max(0.0) / self.guards.len() as f64;
                for guard in &mut self.guards {
                    let bytes = (wish * TICK.as_secs_f64()).min(share).min(guard.allowance(self.now) as f64);
                    guard.sent(bytes as usize);
                    self.queue += bytes;
                    if guard.wants_look(self.now) {
                        let rtt = BASE + Duration::from_secs_f64(self.queue / self.rate);
                        guard.look(rtt, Duration::ZERO, BASE, self.now);
                    }
                }
                let left = (self.rate * TICK.as_secs_f64()).min(self.queue);
                self.queue -= left;
                if tick >= ticks / 2 {
                    delays += self.queue / self.rate;
                    carried += left;
                }
            }
            let half = seconds as f64 / 2.0;
            (delays / (ticks / 2) as f64, carried / (self.rate * half))
        }
    }

    #[test]
    fn a_queue_that_the_window_would_fill_stays_short_and_the_link_full() {
        for (rate, senders) in [(10e6, 1), (12.5e6, 4), (125e6, 1), (125e6, 8)] {
            let wish = 3.0 * rate / senders as f64;
            let window = rate * 0.1;
            let (unguarded, _) = Link::new(rate, senders, false).run(10, wish, window);
            assert!(unguarded > 0.09, "without it the window is in the queue: {unguarded} s");
            let (delay, used) = Link::new(rate, senders, true).run(10, wish, window);
            assert!(delay < 0.005, "{delay} s at {rate} with {senders}");
            assert!(used > 0.9, "{used} of the link at {rate} with {senders}");
        }
    }

    #[test]
    fn without_a_queue_nothing_is_limited() {
        let mut link = Link::new(125e6, 1, true);
        link.run(2, 120e6, 1e9);
        assert!(matches!(link.guards[0].state, State::Open { .. }));
    }

    #[test]
    fn a_busy_processor_is_no_queue() {
        let (mut guard, mut now) = (Guard::new(true), Link::new(1.0, 0, true).now);
        for _ in 0..2000 {
            now += LOOK_EVERY;
            guard.sent(100_000);
            // Late by 8 ms in the mean, some by much more and some by nothing.
            guard.look(Duration::from_millis(8), Duration::from_millis(5), BASE, now);
        }
        assert!(matches!(guard.state, State::Open { .. }));
    }

    #[test]
    fn a_sender_of_little_and_one_on_a_fast_link_are_left_alone() {
        for rate in [LEAST / 2.0, FAST * 1.1] {
            let mut guard = Guard::new(true);
            for _ in 0..10 {
                guard.conclude(rate, Duration::from_millis(50), Link::new(1.0, 0, true).now);
            }
            assert!(matches!(guard.state, State::Open { .. }), "{rate}");
        }
    }

    #[test]
    fn a_delay_that_others_make_costs_three_quarters_at_most_and_only_while_it_lasts() {
        let (mut guard, now) = (Guard::new(true), Link::new(1.0, 0, true).now);
        let mut rate = 40e6;
        for _ in 0..200 {
            guard.conclude(rate, Duration::from_millis(80), now);
            if let State::Limited(limit) = &guard.state {
                rate = limit.rate;
            }
        }
        assert!((10e6..10.1e6).contains(&rate), "{rate}");
        let mut intervals = 0;
        while let State::Limited(limit) = &guard.state {
            rate = limit.rate.min(40e6);
            guard.conclude(rate, Duration::ZERO, now);
            intervals += 1;
            assert!(intervals < 200, "{:?}", guard.state);
        }
    }
}
