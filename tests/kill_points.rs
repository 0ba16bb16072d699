//! The daemon killed at the calls by which it changes the disk: strace, attached to the one thread that does the work,
//! sends SIGKILL right before the n-th call of a kind. Started again, the daemon must have made everything whole, and the
//! same command must succeed.
//!
//! A first run of each operation writes down its calls. Every one is a kill point; of these a run takes every k-th, so
//! that one operation costs few seconds, with an offset that is printed and differs from run to run.
//! `LANSPREAD_KILL_POINTS=all` takes all of them, `LANSPREAD_KILL_OFFSET=N` repeats a run.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and sets its stage with plain file calls"
)]
#![allow(dead_code, unused_imports, reason = "the support is shared with the scenarios")]

mod support;

#[path = "kill_points/games.rs"]
mod games;
#[path = "kill_points/helper.rs"]
mod helper;
#[path = "kill_points/points.rs"]
mod points;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::SystemTime;

use lanspread_peer::fs::Dir;
use lanspread_peer::install::{Intent, IntentLog, Made, made_by_lanspread};
use serde_json::{Value, json};

use games::{Form, Snapshot, snapshot};
use points::{CALLS, Point};
use support::{Daemon, Home, NOTES, Options, Tracer, available, eventually, thread_of};

/// Points of one thread in one operation that a run takes.
const POINTS_PER_RUN: usize = 6;

/// One operation, and what may be found after it was interrupted.
struct Operation {
    name: &'static str,
    /// Of the command, and of the terminal events: `install-finished`.
    command: &'static str,
    event: &'static str,
    /// The threads that change the disk.
    threads: &'static [&'static str],
    form: Form,
    /// Makes the state before it.
    before: fn(&Home, Form),
    /// What the game's folder holds afterwards, the intent log left out.
    after: fn(Form) -> Snapshot,
    /// Whether all of the game comes and goes, so that it may be found without its sentinel, with any part of its files.
    may_lack_sentinel: bool,
    /// The refusals when the operation was done in spite of the kill.
    done_already: &'static [&'static str],
    /// It needs a peer that has the new version.
    from_peer: bool,
}

const INSTALL: Operation = Operation {
    name: "install",
    command: "install",
    event: "install",
    threads: &["lan-local-0"],
    form: Form::Archive,
    before: |home, form| games::put_game(home, form, games::NEW),
    after: |form| games::installed(form, games::NEW, games::NEW),
    may_lack_sentinel: false,
    done_already: &["already-installed"],
    from_peer: false,
};

const UPDATE: Operation =
    Operation { name: "update", before: games::put_outdated_install, after: games::updated_install, ..INSTALL };

const UNINSTALL: Operation = Operation {
    name: "uninstall",
    command: "uninstall",
    event: "uninstall",
    before: games::put_outdated_install,
    after: games::uninstalled,
    done_already: &["not-installed"],
    ..INSTALL
};

const ADOPT: Operation = Operation {
    name: "adopt",
    command: "adopt",
    event: "adopt",
    before: games::put_install_by_hand,
    // It is done once more, and changes nothing.
    done_already: &[],
    ..INSTALL
};

const REMOVE: Operation = Operation {
    name: "remove",
    command: "remove",
    event: "remove",
    form: Form::Files,
    before: |home, form| games::put_brought_game(home, form, games::NEW),
    after: |_| Snapshot::new(),
    may_lack_sentinel: true,
    done_already: &["not-downloaded", "unknown-game"],
    ..INSTALL
};

const DOWNLOAD: Operation = Operation {
    name: "download",
    command: "fetch-latest",
    event: "download",
    threads: &["lan-jobs-0", "lan-bulk-0"],
    form: Form::Files,
    before: |home, form| games::put_brought_game(home, form, games::OLD),
    after: games::updated,
    may_lack_sentinel: true,
    // A download of what is here is finished at once.
    done_already: &[],
    from_peer: true,
};

#[test]
fn an_install_from_an_archive_survives_a_kill_at_every_call() {
    kill_everywhere(&INSTALL);
}

#[test]
fn an_install_by_copying_survives_a_kill_at_every_call() {
    kill_everywhere(&Operation { name: "install-by-copying", form: Form::Files, ..INSTALL });
}

#[test]
fn an_update_survives_a_kill_at_every_call() {
    kill_everywhere(&UPDATE);
}

#[test]
fn an_uninstall_survives_a_kill_at_every_call() {
    kill_everywhere(&UNINSTALL);
}

#[test]
fn an_adoption_survives_a_kill_at_every_call() {
    kill_everywhere(&ADOPT);
}

#[test]
fn a_removal_survives_a_kill_at_every_call() {
    kill_everywhere(&REMOVE);
}

#[test]
fn a_download_over_an_older_version_survives_a_kill_at_every_call() {
    kill_everywhere(&DOWNLOAD);
}

/// A place to run one operation in, again and again.
struct Stage<'a> {
    operation: &'a Operation,
    source: Option<(Home, Daemon)>,
}

/// How a run ended.
#[derive(PartialEq, Eq, Debug)]
enum Outcome {
    Killed,
    Finished,
}

fn kill_everywhere(operation: &Operation) {
    if !available(operation.name, &["strace-attach"]) {
        return;
    }
    let stage = Stage::new(operation);
    let all = std::env::var("LANSPREAD_KILL_POINTS").is_ok_and(|value| value == "all");
    for thread in operation.threads {
        let points = stage.count(thread);
        let stride = if all { 1 } else { points.len().div_ceil(POINTS_PER_RUN) };
        let offset = offset() % stride;
        println!("{} {thread}: {}", operation.name, points::summary(&points));
        println!("{} {thread}: every {stride}th point from {offset} on", operation.name);
        let chosen: Vec<&Point> = points.iter().skip(offset).step_by(stride).collect();
        assert!(!chosen.is_empty());
        let killed = chosen.iter().filter(|point| stage.kill_at(thread, point) == Outcome::Killed).count();
        println!("{} {thread}: killed {killed} times of {}", operation.name, chosen.len());
        // Calls of a job that was not always at the same place among the others may be missed, but not many.
        assert!(killed * 4 >= chosen.len() * 3, "only {killed} of {} points were reached", chosen.len());
    }
}

fn offset() -> usize {
    match std::env::var("LANSPREAD_KILL_OFFSET") {
        Ok(value) => value.parse().expect("LANSPREAD_KILL_OFFSET is a number"),
        Err(_) => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos() as usize / 1000,
    }
}

impl<'a> Stage<'a> {
    fn new(operation: &'a Operation) -> Self {
        let source = operation.from_peer.then(|| {
            let home = Home::new();
            games::put_game(&home, operation.form, games::NEW);
            let daemon = Daemon::start(&home, &Options::local());
            daemon.wait_hashed();
            (home, daemon)
        });
        Self { operation, source }
    }

    /// The calls of one thread that change the disk, in their order.
    fn count(&self, thread: &str) -> Vec<Point> {
        let home = self.home();
        let trace = home.path().join("trace");
        let daemon = self.start(&home);
        let filter = format!("trace={}", CALLS.map(|call| format!("?{call}")).join(","));
        let tracer = Tracer::attach(thread_of(daemon.pid(), thread), &["-y", "-e", &filter], &trace).unwrap();
        let mark = daemon.mark();
        daemon.ok(self.command());
        self.wait_finished(&daemon, mark);
        tracer.detach();
        daemon.stop();
        assert_eq!(without_log(&home), (self.operation.after)(self.operation.form));
        let text = std::fs::read_to_string(&trace).unwrap();
        let points = points::parse(&text, &home.games());
        assert!(points.len() >= 3, "{} of {thread} made too few calls to tell anything:\n{text}", self.operation.name);
        points
    }

    /// Runs the operation with a kill at this point, and everything that follows.
    fn kill_at(&self, thread: &str, point: &Point) -> Outcome {
        let about = format!("{} killed before {point}", self.operation.name);
        let home = self.home();
        let before = without_log(&home);
        let mut daemon = self.start(&home);
        let (filter, inject) =
            (format!("trace={}", point.call), format!("inject={}:signal=KILL:when={}", point.call, point.nth));
        let args = ["-e", filter.as_str(), "-e", inject.as_str()];
        let tracer = Tracer::attach(thread_of(daemon.pid(), thread), &args, Path::new("/dev/null")).unwrap();
        let mark = daemon.mark();
        daemon.send(self.command());
        let outcome = eventually(&format!("{about}: it is killed, or done"), 120, || {
            if daemon.has_ended() {
                return Some(Outcome::Killed);
            }
            daemon.since(mark).iter().any(|record| self.is_end(record)).then_some(Outcome::Finished)
        });
        drop(tracer);
        match outcome {
            Outcome::Killed => assert_eq!(daemon.wait_exit().signal(), Some(9), "{about}: it did not end by the kill"),
            Outcome::Finished => daemon.kill(),
        }

        let daemon = self.start(&home);
        let recovered = self.assert_whole(&home, &before, &about);
        let mark = daemon.mark();
        match daemon.command(self.command()) {
            Ok(_) => self.wait_finished(&daemon, mark),
            Err(refusal) => {
                let is_known = self.operation.done_already.contains(&refusal.code.as_str());
                assert!(is_known, "{about}: {refusal:?}");
                assert_eq!(recovered, (self.operation.after)(self.operation.form), "{about}: refused, but not done");
            }
        }
        assert_eq!(
            without_log(&home),
            (self.operation.after)(self.operation.form),
            "{about}: after the second attempt"
        );
        assert_log_closed(&home, &about);
        assert_owned(&home, &about);
        daemon.stop();
        outcome
    }

    /// Fresh directories with the state before.
    fn home(&self) -> Home {
        let home = Home::new();
        (self.operation.before)(&home, self.operation.form);
        home
    }

    /// A daemon whose library is open and which has nothing to do.
    fn start(&self, home: &Home) -> Daemon {
        let daemon = Daemon::start(home, &Options::local().set("limits.workers", "1"));
        daemon.wait_event("local-library-changed");
        daemon.wait_hashed();
        if let Some((_, source)) = &self.source {
            daemon.ok(json!({"cmd": "connect", "addr": source.addr.to_string()}));
            daemon.wait_peers(1);
        }
        daemon
    }

    fn command(&self) -> Value {
        json!({"cmd": self.operation.command, "game": games::ID})
    }

    fn is_end(&self, record: &Value) -> bool {
        let name = record["event"].as_str().unwrap_or_default();
        name.strip_prefix(self.operation.event).is_some_and(|end| end == "-finished" || end == "-failed")
    }

    fn wait_finished(&self, daemon: &Daemon, mark: usize) {
        let end = daemon.wait_record(mark, "the end of the operation", 120, |record| self.is_end(record));
        assert_eq!(end["event"], format!("{}-finished", self.operation.event), "{end}");
    }

    /// What a restart made of it: nothing half done is left. Returns what is there.
    fn assert_whole(&self, home: &Home, before: &Snapshot, about: &str) -> Snapshot {
        let now = without_log(home);
        let after = (self.operation.after)(self.operation.form);
        assert_log_closed(home, about);
        if self.operation.command != ADOPT.command {
            assert_owned(home, about);
        }
        let is_scratch = |path: &&String| path.starts_with('.') && !path.starts_with(".local.mine/");
        let scratch = now.keys().find(|path| is_scratch(path) || path.contains("lanspread"));
        assert_eq!(scratch, None, "{about}: scratch is left");
        if self.operation.may_lack_sentinel && !now.contains_key("version.ini") {
            // Any part of the old and new files, but nothing else; what a partial file holds counts for nothing.
            let known = |path: &&String| before.contains_key(*path) || after.contains_key(*path);
            assert_eq!(now.keys().find(|path| !known(path)), None, "{about}: a stray file");
        } else {
            assert!(now == *before || now == after, "{about}: neither old nor new: {now:#?}");
        }
        now
    }
}

/// The game's folder, empty when there is none, without the intent log and the notes in `local/`.
fn without_log(home: &Home) -> Snapshot {
    let mut now = snapshot(&home.game(games::ID));
    now.remove(".lanspread.json");
    now.retain(|path, _| NOTES.iter().all(|note| *path != format!("local/{note}")));
    now
}

/// A `local/` that is there is known to be lanspread's.
fn assert_owned(home: &Home, about: &str) {
    let path = home.game(games::ID);
    if !path.join("local").is_dir() {
        return;
    }
    let root = Dir::open(&path).unwrap();
    let log = IntentLog::read(&root).unwrap().unwrap();
    let made = made_by_lanspread(&root, log.as_ref()).unwrap();
    assert!(matches!(made, Made::Here(_)), "{about}: nothing proves that lanspread made local/: {log:?}");
}

/// No operation is under way, as far as the disk tells.
fn assert_log_closed(home: &Home, about: &str) {
    let root = home.game(games::ID);
    if !root.is_dir() {
        return;
    }
    let log = IntentLog::read(&Dir::open(&root).unwrap()).unwrap().unwrap_or_else(|e| panic!("{about}: {e}"));
    assert!(log.is_none_or(|log| log.intent == Intent::None), "{about}: an intent is left");
}
