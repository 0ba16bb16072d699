//! The child that unpacks: it may die alone, and it does not outlive the daemon.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use serde_json::json;

use crate::games::{self, Form, snapshot};
use crate::support::{CHUNK, Daemon, Home, Options, Tracer, available, eventually, thread_of};
use crate::{assert_log_closed, without_log};

/// Writes. The daemon's thread makes two before the child unpacks (the intent and the marker) and one when that has failed
/// (the intent again); calls are counted for each thread. So the fourth of a thread is one of the child, and so is the
/// third while the child lives.
const WRITES: &str = "pwrite64";
/// A call that only the child makes, when all is unpacked.
const FLUSHES: &str = "syncfs";

fn outdated() -> (Home, Daemon) {
    let home = Home::new();
    games::put_outdated_install(&home, Form::Archive);
    let daemon = Daemon::start(&home, &Options::local().set("limits.workers", "1"));
    daemon.wait_event("local-library-changed");
    daemon.wait_hashed();
    (home, daemon)
}

/// Follows the thread that installs, and what it starts; does `what` at a call.
fn tamper(daemon: &Daemon, call: &str, what: &str) -> Tracer {
    let (filter, inject) = (format!("trace={call}"), format!("inject={call}:{what}"));
    let args = ["-f", "-e", filter.as_str(), "-e", inject.as_str()];
    Tracer::attach(thread_of(daemon.pid(), "lan-local-0"), &args, Path::new("/dev/null")).unwrap()
}

#[test]
fn an_unpacker_that_is_killed_is_a_bad_archive_and_the_old_install_stays() {
    if !available("an_unpacker_that_is_killed_is_a_bad_archive_and_the_old_install_stays", &["strace-attach"]) {
        return;
    }
    let (home, daemon) = outdated();
    let before = without_log(&home);
    for (call, nth) in [(WRITES, 4), (WRITES, 6), (FLUSHES, 1)] {
        let tracer = tamper(&daemon, call, &format!("signal=KILL:when={nth}"));
        let mark = daemon.mark();
        daemon.ok(json!({"cmd": "install", "game": games::ID}));
        let end = daemon.wait_record(mark, "the end of the update", 120, |record| {
            record["event"] == "install-failed" || record["event"] == "install-finished"
        });
        assert_eq!(end["event"], "install-failed", "{call} {nth}: {end}");
        assert_eq!(end["code"], "bad-archive", "{call} {nth}: {end}");
        let message = end["message"].as_str().unwrap();
        assert!(message.contains("doom.eti") && message.contains("signal: 9"), "{message}");
        drop(tracer);
        assert_eq!(without_log(&home), before, "{call} {nth}");
        assert_log_closed(&home, call);
    }
    // Nothing is locked or half owned: the next attempt succeeds.
    let mark = daemon.mark();
    daemon.ok(json!({"cmd": "install", "game": games::ID}));
    daemon.wait_event_since(mark, "install-finished", |_| true);
    assert_eq!(without_log(&home), games::updated_install(Form::Archive));
    daemon.stop();
}

/// Processes whose parent is this one.
fn children(pid: u32) -> Vec<u32> {
    let stat = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let is_child = |other: &u32| stat(*other).is_some_and(|stat| parent_in(&stat) == Some(pid));
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(is_child).collect()
}

/// The state and the parent come after the command, which is in brackets and may hold anything.
fn parent_in(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !matches!(rest.split_whitespace().next(), Some("Z" | "X") | None))
}

#[test]
fn the_unpacker_ends_with_the_daemon_and_the_next_start_takes_its_work_back() {
    if !available("the_unpacker_ends_with_the_daemon_and_the_next_start_takes_its_work_back", &["strace-attach"]) {
        return;
    }
    let (home, mut daemon) = outdated();
    let before = without_log(&home);
    // Held before its third piece for longer than anything here lasts.
    let tracer = tamper(&daemon, WRITES, "delay_enter=600s:when=3");
    daemon.send(json!({"cmd": "install", "game": games::ID}));
    let staging = home.game(games::ID).join(".local.installing");
    eventually("the first piece is unpacked", 60, || {
        let written = staging.is_dir().then(|| snapshot(&staging))?;
        written.iter().any(|(path, what)| !path.starts_with('.') && !what.starts_with("0 bytes")).then_some(())
    });
    let unpackers = children(daemon.pid());
    assert_eq!(unpackers.len(), 1, "one child unpacks");
    assert!(is_running(unpackers[0]));
    let pid = rustix::process::Pid::from_raw(daemon.pid() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(daemon.wait_exit().signal(), Some(9));
    eventually("the unpacker is gone, too", 30, || (!is_running(unpackers[0])).then_some(()));
    drop(tracer);
    assert!(staging.is_dir(), "it was interrupted in its midst");

    let daemon = Daemon::start(&home, &Options::local());
    daemon.wait_event("local-library-changed");
    assert_eq!(without_log(&home), before);
    assert_log_closed(&home, "the daemon was killed while its child unpacked");
    let mark = daemon.mark();
    daemon.ok(json!({"cmd": "install", "game": games::ID}));
    daemon.wait_event_since(mark, "install-finished", |_| true);
    daemon.stop();
}
