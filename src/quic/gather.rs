//! Gathering: while much comes in packet by packet, the sockets are left alone for a moment after each look, so that a look
//! finds dozens of packets, and one acknowledgement answers them all.
//!
//! A network card of a small PC hands over two to eight packets at a time. A loop that wakes up for each of these bundles
//! spends more on waking up, and on acknowledgements at both ends, than on the packets (docs/BENCHMARKS.md, *Real wires*).
//!
//! ```text
//!   few packets, or long trains:  look, sleep until the poll reports something, look, …
//!   many short trains:            look, rest for the time of WANTED packets (at most `longest`), look, …
//! ```
//!
//! `longest` is what the sender's congestion control seems to bear: it starts short, grows while the rate holds, and shrinks
//! when the rate drops, whatever the reason. Where most rests end milliseconds too late (a coarse clock), there are none until
//! the next transfer.

use std::time::{Duration, Instant};

/// Packets that a look is to find.
const WANTED: f64 = 48.0;
/// A rest that would gather fewer is not worth its system call.
const LEAST: f64 = 4.0;
/// Trains longer than what a card puts together (packets, in the mean) came so: waiting for more of them gains nothing.
const LONG_TRAIN: f64 = 8.0;
/// No rest is longer: what a ping, a request or an acknowledgement may wait.
const LONGEST: Duration = Duration::from_micros(1500);
/// The first rests of a transfer.
const FIRST: Duration = Duration::from_micros(200);
/// However much the rate drops, the rests may become no shorter.
const SHORTEST: Duration = Duration::from_micros(50);
/// The rate is measured over this time.
const WINDOW: Duration = Duration::from_millis(4);
/// What a window changes of the smoothed values.
const SMOOTHING: f64 = 0.25;
/// A rest that ends later than this after its time is one of a clock too coarse to gather with.
const TOO_LATE: Duration = Duration::from_millis(5);
/// Windows after which is looked whether the rate held.
const REVIEW: u32 = 25;
/// Factor of the longest rest when the rate held.
const GROWTH: f64 = 1.25;
/// And when it dropped: so short that the next reviews show what the link can carry.
const CUT: f64 = 0.5;
/// The rate held when it is at least this part of the best.
const HELD: f64 = 0.8;
/// What each review leaves of the best rate: a link that has become slower is believed after some seconds.
const FADE: f64 = 0.99;
/// After a silence as long as this the next packets are a new transfer.
const SILENCE: Duration = Duration::from_millis(200);

/// Of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// What comes in; `None`: nothing did yet.
    flow: Option<Flow>,
    /// The last look, if it read everything.
    looked: Option<Instant>,
    /// How long the sockets are left alone after it.
    rest: Duration,
}

/// What comes in without a [`SILENCE`].
#[derive(Debug)]
struct Flow {
    /// When a look found packets last.
    heard: Instant,
    window: Count,
    /// Those that the packets of the window came in.
    trains: u64,
    /// Packets per second, smoothed; 0: no window is over yet.
    rate: f64,
    /// Packets a train, smoothed.
    train: f64,
    /// A rest that the sender bears.
    longest: Duration,
    /// Since the last look at whether the rate held, with the windows that are over.
    review: Count,
    windows: u32,
    best: f64,
    rests: Rests,
}

/// The sleeps since the last review.
#[derive(Debug, Default)]
struct Rests {
    count: u32,
    late: u32,
    /// Most of an earlier review were late: the clock is too coarse. Until the next transfer nothing rests.
    coarse: bool,
}

/// Packets since a moment.
#[derive(Debug)]
struct Count {
    since: Instant,
    packets: u64,
}

impl Gather {
    /// A look found so many packets, in so many trains; `more`: it did not read them all.
    pub(super) fn looked(&mut self, packets: u64, trains: u64, more: bool, now: Instant) {
        (self.looked, self.rest) = ((!more).then_some(now), Duration::ZERO);
        if packets > 0 && self.flow.as_ref().is_none_or(|flow| now >= flow.heard + SILENCE) {
            self.flow = Some(Flow::new(now));
        }
        let Some(flow) = &mut self.flow else { return };
        flow.looked(packets, trains, now);
        if packets > 0 {
            self.rest = flow.rest();
        }
    }

    /// Until when the sockets are left alone. `paced`: when the pacer lets the next packets go; what arrives before then is mostly
    /// acknowledgements of what went.
    pub(super) fn rests_until(&self, paced: Option<Instant>, now: Instant) -> Option<Instant> {
        let looked = self.looked.filter(|_| self.flow.as_ref().is_none_or(|flow| !flow.rests.coarse))?;
        let paced =
            paced.filter(|&at| at <= looked + LONGEST && self.expects_few(at.saturating_duration_since(looked)));
        let gathered = (!self.rest.is_zero()).then(|| looked + self.rest);
        gathered.into_iter().chain(paced).max().filter(|&until| until > now)
    }

    /// A rest that was to end at `until` ended `now`.
    pub(super) fn rested(&mut self, until: Instant, now: Instant) {
        if let Some(Flow { rests, .. }) = &mut self.flow {
            rests.count += 1;
            rests.late += u32::from(now > until + TOO_LATE);
        }
    }

    /// Whether so few packets come within that time that the buffer of any socket holds them.
    fn expects_few(&self, time: Duration) -> bool {
        self.flow.as_ref().is_none_or(|flow| flow.rate * time.as_secs_f64() <= WANTED && flow.train < LONG_TRAIN)
    }

    /// Whether packets come one by one, or nearly so.
    pub(super) fn is_single(&self) -> bool {
        self.flow.as_ref().is_some_and(|flow| flow.rate > 0.0 && flow.train < 2.0)
    }
}

impl Flow {
    fn new(now: Instant) -> Self {
        let (window, review) = (Count::from(now), Count::from(now));
        let rests = Rests::default();
        Self {
            heard: now,
            window,
            trains: 0,
            rate: 0.0,
            train: 0.0,
            longest: FIRST,
            review,
            windows: 0,
            best: 0.0,
            rests,
        }
    }

    fn rest(&self) -> Duration {
        if self.train >= LONG_TRAIN || self.rate * self.longest.as_secs_f64() < LEAST {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(WANTED / self.rate).min(self.longest)
    }

    fn looked(&mut self, packets: u64, trains: u64, now: Instant) {
        self.window.packets += packets;
        self.trains += trains;
        if packets > 0 {
            self.heard = now;
        }
        if self.window.passed(now) < WINDOW {
            return;
        }
        let window = std::mem::replace(&mut self.window, Count::from(now));
        let trains = std::mem::take(&mut self.trains);
        // The first window is all that is known.
        let part = if self.rate == 0.0 { 1.0 } else { SMOOTHING };
        self.rate += (window.rate(now) - self.rate) * part;
        if trains > 0 {
            self.train += (window.packets as f64 / trains as f64 - self.train) * part;
        }
        self.review.packets += window.packets;
        self.windows += 1;
        if self.windows >= REVIEW {
            self.review(now);
        }
    }

    /// Did the rate hold, and did the rests end in time?
    fn review(&mut self, now: Instant) {
        let Rests { count, late, coarse } = self.rests;
        self.rests = Rests { coarse: coarse || late * 2 > count, ..Rests::default() };
        let rate = self.review.rate(now);
        self.best = rate.max(self.best * FADE);
        let factor = if rate >= self.best * HELD { GROWTH } else { CUT };
        self.longest = self.longest.mul_f64(factor).clamp(SHORTEST, LONGEST);
        (self.review, self.windows) = (Count::from(now), 0);
    }
}

impl Count {
    fn from(now: Instant) -> Self {
        Self { since: now, packets: 0 }
    }

    fn passed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Packets per second.
    fn rate(&self, now: Instant) -> f64 {
        self.packets as f64 / self.passed(now).as_secs_f64().max(f64::EPSILON)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link that brings packets, and a sender that has at most a window of them under way.
    struct Link {
        gather: Gather,
        now: Instant,
        /// Packets per second.
        rate: f64,
        window: f64,
        rtt: Duration,
        train: u64,
        looks: u64,
        packets: u64,
        left_over: f64,
        /// So many rests of four end too late.
        late: u64,
        rests: u64,
    }

    impl Link {
        #[expect(clippy::disallowed_methods, reason = "any instant serves as the beginning")]
        fn new(rate: f64) -> Self {
            let (gather, now, rtt) = (Gather::default(), Instant::now(), Duration::from_micros(300));
            Self {
                gather,
                now,
                rate,
                window: f64::INFINITY,
                rtt,
                train: 1,
                looks: 0,
                packets: 0,
                left_over: 0.0,
                late: 0,
                rests: 0,
            }
        }

        /// Looks, and rests, or sleeps until the next train is there. The packets a look in the second half of the time.
        fn run(&mut self, time: Duration) -> f64 {
            let half = self.now + time / 2;
            let end = self.now + time;
            while self.now < end {
                let rest = self.rest();
                // It goes on only when it hears what has arrived.
                let rate = self.rate.min(self.window / (rest + self.rtt).as_secs_f64());
                let passed = rest.max(Duration::from_secs_f64(self.train as f64 / rate));
                self.now += passed;
                let arrived = rate * passed.as_secs_f64() + self.left_over;
                self.left_over = arrived.fract();
                let packets = arrived as u64;
                self.gather.looked(packets, packets.div_ceil(self.train), false, self.now);
                if self.now >= half {
                    self.looks += 1;
                    self.packets += packets;
                }
            }
            self.packets as f64 / self.looks as f64
        }

        /// How long the next rest takes.
        fn rest(&mut self) -> Duration {
            let Some(until) = self.gather.rests_until(None, self.now) else { return Duration::ZERO };
            self.rests += 1;
            let over = if self.rests % 4 < self.late { TOO_LATE * 2 } else { Duration::ZERO };
            self.gather.rested(until, until + over);
            until + over - self.now
        }

        /// The part of the link that was used in the second half.
        fn used(&self, time: Duration) -> f64 {
            self.packets as f64 / (self.rate * (time / 2).as_secs_f64())
        }
    }

    const TIME: Duration = Duration::from_secs(10);

    #[test]
    fn packets_that_come_alone_are_looked_at_in_dozens_and_none_waits_longer_than_allowed() {
        // 100 Mbit/s, 300 Mbit/s and 1 Gbit/s in packets of 1,400 bytes.
        for (rate, least) in [(8_900.0, 10.0), (26_800.0, 35.0), (89_000.0, 40.0)] {
            let mut link = Link::new(rate);
            let found = link.run(TIME);
            assert!((least..=WANTED + 2.0).contains(&found), "{found} packets a look at {rate}");
            let rest = link.gather.rests_until(None, link.now).unwrap() - link.now;
            assert!(rest <= LONGEST, "{rest:?}");
            assert!(link.gather.is_single());
        }
    }

    #[test]
    fn a_coarse_clock_ends_the_rests_of_a_transfer_and_a_busy_pc_does_not() {
        for (late, rests) in [(3, false), (1, true)] {
            let mut link = Link::new(26_800.0);
            link.late = late;
            link.run(TIME);
            assert_eq!(link.gather.rests_until(None, link.now).is_some(), rests, "{late} of 4 were late");
        }
    }

    #[test]
    fn little_traffic_and_long_trains_never_wait() {
        for (rate, train) in [(1_000.0, 1), (89_000.0, 40), (400_000.0, 45)] {
            let mut link = Link::new(rate);
            link.train = train;
            link.run(TIME);
            assert_eq!(link.gather.rests_until(None, link.now), None, "{rate} in trains of {train}");
        }
    }

    #[test]
    fn a_sender_with_a_small_window_keeps_its_rate() {
        let mut link = Link::new(26_800.0);
        // Enough for a rest of 450 µs.
        link.window = 26_800.0 * 750e-6;
        let found = link.run(TIME);
        assert!(found > 6.0, "{found} packets a look");
        assert!(link.used(TIME) > 0.8, "{} of the link", link.used(TIME));
    }

    /// What else runs on the PCs makes the rate of a tenth of a second anything between a half and the whole, in no order.
    #[test]
    fn a_rate_that_swings_for_other_reasons_does_not_end_the_rests() {
        let mut link = Link::new(60_000.0);
        let (mut looks, mut packets) = (0, 0);
        for seed in 0..100_u64 {
            let noise = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / f64::from(1 << 24);
            link.rate = 60_000.0 * (1.0 - noise.powi(3) / 2.0);
            link.run(Duration::from_millis(100));
            (looks, packets) = (looks + link.looks, packets + link.packets);
            (link.looks, link.packets) = (0, 0);
        }
        let found = packets as f64 / looks as f64;
        assert!(found > 30.0, "{found} packets a look");
    }

    #[test]
    fn what_is_left_in_the_socket_and_what_follows_a_silence_does_not_wait() {
        let mut link = Link::new(89_000.0);
        link.run(TIME);
        assert!(link.gather.rests_until(None, link.now).is_some());
        link.gather.looked(256, 256, true, link.now);
        assert_eq!(link.gather.rests_until(None, link.now), None, "there is more to read");
        link.now += SILENCE;
        // Timers and other threads make the loop look meanwhile.
        link.gather.looked(0, 0, false, link.now - SILENCE / 2);
        link.gather.looked(1, 1, false, link.now);
        assert_eq!(link.gather.rests_until(None, link.now), None, "a new transfer");
    }

    #[test]
    fn a_sender_waits_for_its_pacer_but_not_longer_than_allowed_nor_while_much_comes_in() {
        let mut link = Link::new(1_000.0);
        link.run(TIME);
        let at = |us| link.now + Duration::from_micros(us);
        assert_eq!(link.gather.rests_until(Some(at(700)), link.now), Some(at(700)));
        assert_eq!(link.gather.rests_until(Some(at(700)), at(700)), None, "its time is over");
        assert_eq!(link.gather.rests_until(Some(at(2_000)), link.now), None, "too far");
        assert_eq!(link.gather.rests_until(Some(at(1_900)), at(1_000)), None, "the last look counts");
        for (rate, train) in [(400_000.0, 45), (400_000.0, 1)] {
            let mut link = Link::new(rate);
            link.train = train;
            link.run(TIME);
            let paced = Some(link.now + Duration::from_millis(1));
            let rest = link.gather.rests_until(paced, link.now).map(|until| until - link.now);
            assert!(rest.is_none_or(|rest| rest < Duration::from_micros(200)), "{rest:?} at {rate}");
        }
    }

    #[test]
    fn a_pause_does_not_make_long_trains_short() {
        let mut link = Link::new(89_000.0);
        link.train = 40;
        link.run(TIME);
        for _ in 0..20 {
            link.now += WINDOW;
            link.gather.looked(0, 0, false, link.now);
        }
        link.now += WINDOW;
        link.gather.looked(40, 1, false, link.now);
        assert_eq!(link.gather.rests_until(None, link.now), None);
        assert!(!link.gather.is_single());
    }
}
