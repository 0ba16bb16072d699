//! The buffers that bulk bytes lie in on their way.

use std::time::{Duration, Instant};

use crate::types::CHUNK_SIZE;
use crate::workers::BufferPool;

/// Buffers that nobody used for so long are given back to the system.
const BUFFERS_LINGER: Duration = Duration::from_secs(10);

/// The buffers of both directions, each as long as a chunk.
pub(super) struct Pools {
    /// What is fetched lands here.
    pub(super) landing: BufferPool,
    /// What is sent is read into these.
    pub(super) read: BufferPool,
    /// When to give idle buffers back.
    trim_at: Option<Instant>,
}

impl Pools {
    pub(super) fn new(landing: usize, read: usize) -> Self {
        let pool = |count| BufferPool::new(count, CHUNK_SIZE as usize);
        Self { landing: pool(landing), read: pool(read), trim_at: None }
    }

    /// When [`Pools::trim`] has something to do.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.trim_at
    }

    /// Gives the buffers back some time after the last transfer: a daemon that does nothing holds nothing.
    pub(super) fn trim(&mut self, now: Instant) {
        let pools = [&self.landing, &self.read];
        let idle = pools.iter().all(|pool| pool.in_use() == 0) && pools.iter().any(|pool| pool.allocated() > 0);
        match self.trim_at {
            _ if !idle => self.trim_at = None,
            None => self.trim_at = Some(now + BUFFERS_LINGER),
            Some(at) if at <= now => {
                pools.iter().for_each(|pool| pool.trim());
                self.trim_at = None;
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::now_outside_the_engine;

    #[test]
    fn buffers_are_given_back_some_time_after_the_last_was_used() {
        let start = now_outside_the_engine();
        let mut pools = Pools::new(2, 2);
        pools.trim(start);
        assert_eq!(pools.next_timeout(), None, "nothing was taken");
        let buf = pools.landing.take();
        pools.trim(start);
        assert_eq!(pools.next_timeout(), None, "it is in use");
        drop(buf);
        pools.trim(start);
        let due = pools.next_timeout().unwrap();
        let buf = pools.read.take();
        pools.trim(due);
        assert_eq!((pools.next_timeout(), pools.landing.allocated()), (None, 1), "there is another transfer");
        drop(buf);
        pools.trim(due);
        let due = pools.next_timeout().unwrap();
        pools.trim(due);
        assert_eq!((pools.landing.allocated(), pools.read.allocated(), pools.next_timeout()), (0, 0, None));
    }
}
