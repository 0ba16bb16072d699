//! Which calls of a trace change the disk.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Every call by which the daemon may change a file system, whatever the kernel and the architecture have of them.
pub(crate) const CALLS: [&str; 24] = [
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "mkdirat",
    "open",
    "openat",
    "openat2",
    "fsync",
    "fdatasync",
    "syncfs",
    "sync_file_range",
    "pwrite64",
    "pwritev2",
    "write",
    "ftruncate",
    "fallocate",
    "copy_file_range",
    // FICLONE.
    "ioctl",
];

/// The n-th call of a kind, from 1 on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Point {
    pub(crate) call: String,
    pub(crate) nth: usize,
    /// As strace shows it.
    line: String,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.call, self.nth, self.line)
    }
}

/// The calls in a trace of one thread, made with `-y`, that change something beneath `games`; in their order.
pub(crate) fn parse(trace: &str, games: &Path) -> Vec<Point> {
    let games = games.canonicalize().unwrap();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut points = Vec::new();
    for line in trace.lines() {
        let Some((call, rest)) = line.split_once('(') else { continue };
        if !CALLS.contains(&call) {
            continue;
        }
        let nth = counts.entry(call).or_default();
        *nth += 1;
        let changes = match call {
            "open" | "openat" | "openat2" => rest.contains("O_CREAT") || rest.contains("O_TRUNC"),
            // The others are wake-ups through pipes and event counters.
            "write" => rest.contains(games.to_str().unwrap()),
            "ioctl" => rest.contains("FICLONE"),
            _ => true,
        };
        if changes {
            points.push(Point { call: call.to_owned(), nth: *nth, line: line.to_owned() });
        }
    }
    points
}

/// How many of each call.
pub(crate) fn summary(points: &[Point]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    points.iter().for_each(|point| *counts.entry(&point.call).or_default() += 1);
    let counts: Vec<String> = counts.iter().map(|(call, count)| format!("{count} {call}")).collect();
    format!("{} points: {}", points.len(), counts.join(", "))
}
