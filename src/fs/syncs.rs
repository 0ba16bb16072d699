//! How long the system takes to make things durable: counted where it is asked, read when somebody wants to know.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What was made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Synced {
    /// The bytes and the length of one file.
    File,
    /// The names in one directory.
    Directory,
    /// Everything on a file system.
    FileSystem,
}

impl Synced {
    /// Every kind, in the order of the declaration.
    pub const ALL: [Self; 3] = [Self::File, Self::Directory, Self::FileSystem];

    /// Its name in JSON and in labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::FileSystem => "file-system",
        }
    }
}

/// The calls of one kind that this process has made, in vain or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SyncTimes {
    /// How many.
    pub calls: u64,
    /// How long they took, all told. Several may run at once.
    pub total: Duration,
    /// How long the longest took.
    pub longest: Duration,
}

/// Times in nanoseconds. Each is right by itself; a reader may see one of two that belong together.
struct Counter {
    calls: AtomicU64,
    total: AtomicU64,
    longest: AtomicU64,
}

impl Counter {
    const fn new() -> Self {
        Self { calls: AtomicU64::new(0), total: AtomicU64::new(0), longest: AtomicU64::new(0) }
    }

    fn add(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.calls.fetch_add(1, Relaxed);
        self.total.fetch_add(nanos, Relaxed);
        self.longest.fetch_max(nanos, Relaxed);
    }

    fn read(&self) -> SyncTimes {
        let time = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Relaxed));
        SyncTimes { calls: self.calls.load(Relaxed), total: time(&self.total), longest: time(&self.longest) }
    }
}

static FILES: Counter = Counter::new();
static DIRECTORIES: Counter = Counter::new();
static FILE_SYSTEMS: Counter = Counter::new();

fn counter(what: Synced) -> &'static Counter {
    match what {
        Synced::File => &FILES,
        Synced::Directory => &DIRECTORIES,
        Synced::FileSystem => &FILE_SYSTEMS,
    }
}

/// What making things durable has taken so far, in this process.
pub fn sync_times(what: Synced) -> SyncTimes {
    counter(what).read()
}

/// Makes something durable, and counts how long that takes.
#[expect(clippy::disallowed_methods, reason = "the clock is read beside a call that waits for a disk")]
pub(super) fn timed<T>(what: Synced, sync: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let start = Instant::now();
    let result = sync();
    counter(what).add(start.elapsed());
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_knows_how_many_how_long_and_the_longest() {
        let counter = Counter::new();
        for ms in [2, 7, 3] {
            counter.add(Duration::from_millis(ms));
        }
        let times = counter.read();
        assert_eq!((times.calls, times.total, times.longest), (3, Duration::from_millis(12), Duration::from_millis(7)));
    }

    #[test]
    fn each_kind_is_counted_where_it_happens() {
        let temp = tempfile::tempdir().unwrap();
        let dir = crate::fs::Dir::open(temp.path()).unwrap();
        // Other tests of this process sync as well: the counts only grow.
        let before = Synced::ALL.map(|what| sync_times(what).calls);
        dir.create_write(&crate::types::RelPath::parse("file").unwrap(), false).unwrap().sync().unwrap();
        dir.sync().unwrap();
        dir.sync_file_system().unwrap();
        for (what, before) in Synced::ALL.into_iter().zip(before) {
            assert!(sync_times(what).calls > before, "{what:?}");
        }
    }
}
