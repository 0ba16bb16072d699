//! A limit to the rate of game data: a bucket that fills with time.

use std::time::{Duration, Instant};

/// So much time's worth may pass at once: enough to bridge the turns of the loop, too little to fill a switch's queue for
/// long.
const BURST: Duration = Duration::from_millis(20);
/// What makes waking up worth while, in bytes.
const LEAST: i64 = 32 << 10;
const SECOND_NS: u128 = 1_000_000_000;

/// Bytes per second that may pass; without a rate everything may. What passes at once and is more than was available is
/// a debt, to be paid before anything passes again.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    limit: Option<Limit>,
}

#[derive(Debug)]
struct Limit {
    /// Bytes per second, above zero.
    rate: u64,
    /// Bytes that may pass now; below zero: a debt.
    level: i64,
    /// When `level` was right; `None`: nothing was asked yet.
    at: Option<Instant>,
}

impl Pace {
    /// Limits to `rate` bytes per second from the first look on; `None`: not at all.
    pub(crate) fn new(rate: Option<u64>) -> Self {
        Self { limit: rate.map(|rate| Limit { rate: rate.max(1), level: 0, at: None }) }
    }

    /// Bytes that may pass now.
    pub(crate) fn available(&mut self, now: Instant) -> usize {
        let Some(limit) = &mut self.limit else { return usize::MAX };
        let at = *limit.at.get_or_insert(now);
        let gained = bytes_in(limit.rate, now.saturating_duration_since(at));
        // Less than a byte's time is kept for the next look.
        if gained > 0 {
            limit.level = limit.level.saturating_add(gained).min(burst(limit.rate));
            limit.at = Some(now);
        }
        usize::try_from(limit.level).unwrap_or(0)
    }

    /// So many bytes passed.
    pub(crate) fn spend(&mut self, bytes: u64) {
        if let Some(limit) = &mut self.limit {
            limit.level = limit.level.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    /// When enough is available to be worth a look; `None`: at once.
    pub(crate) fn ready_at(&self) -> Option<Instant> {
        let limit = self.limit.as_ref()?;
        let at = limit.at?;
        let missing = u128::try_from(LEAST.saturating_sub(limit.level)).unwrap_or(0);
        let wait_ns = (missing * SECOND_NS).div_ceil(u128::from(limit.rate));
        Some(at + Duration::from_nanos(u64::try_from(wait_ns).unwrap_or(u64::MAX)))
    }
}

fn burst(rate: u64) -> i64 {
    bytes_in(rate, BURST).max(LEAST)
}

fn bytes_in(rate: u64, time: Duration) -> i64 {
    i64::try_from(u128::from(rate) * time.as_nanos() / SECOND_NS).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any instant serves as the beginning")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn without_a_rate_everything_passes() {
        let (mut pace, now) = (Pace::default(), start());
        pace.spend(1 << 40);
        assert_eq!((pace.available(now), pace.ready_at()), (usize::MAX, None));
    }

    #[test]
    fn what_passes_in_any_steps_is_the_rate_and_one_burst_at_most() {
        for step_us in [7, 900, 1_000, 3_333, 50_000, 400_000] {
            let (mut pace, begin) = (Pace::new(Some(10_000_000)), start());
            assert_eq!(pace.available(begin), 0);
            let (mut now, mut passed) = (begin, 0);
            while now < begin + Duration::from_secs(2) {
                now += Duration::from_micros(step_us);
                let available = pace.available(now) as u64;
                pace.spend(available);
                passed += available;
            }
            assert!(passed <= 20_200_000 + 10 * step_us.min(20_000), "{passed} in steps of {step_us} µs");
            if step_us <= 20_000 {
                assert!(passed >= 19_900_000, "{passed} in steps of {step_us} µs");
            }
        }
    }

    #[test]
    fn whoever_takes_more_than_there_is_waits_for_as_long_as_that_takes() {
        let (mut pace, begin) = (Pace::new(Some(1_000_000)), start());
        let (mut now, mut passed) = (begin, 0);
        // A whole chunk whenever anything is available.
        while now < begin + Duration::from_secs(60) {
            if pace.available(now) > 0 {
                pace.spend(1 << 20);
                passed += 1 << 20;
            }
            now = pace.ready_at().unwrap().max(now + Duration::from_millis(1));
        }
        assert!((59_000_000..=62_000_000).contains(&passed), "{passed}");
    }

    #[test]
    fn at_the_time_it_names_there_is_enough() {
        let now = start();
        for rate in [1_000_000, 123_456_789, 10_000_000_000] {
            let mut pace = Pace::new(Some(rate));
            assert_eq!((pace.ready_at(), pace.available(now)), (None, 0));
            let at = pace.ready_at().unwrap();
            assert!(at > now && at <= now + Duration::from_millis(34), "{:?} at {rate}", at - now);
            assert!(pace.available(at) as i64 >= LEAST, "{rate}");
        }
    }
}
