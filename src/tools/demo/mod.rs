//! `lanspread demo`: two daemons on this machine, sample games, and a look at everything between: they find each other
//! by mDNS, compare their libraries, and one downloads what the other has, every file checked afterwards. One game is
//! then installed, updated and uninstalled.

#![allow(clippy::disallowed_methods, reason = "a program of its own around the daemon: it measures real time")]

mod daemon;
mod installing;
mod library;
mod show;

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select};
use serde_json::{Value, json};

use crate::config::parse_size;
use crate::control::human::size;
use crate::control::{Signals, SignalsError};
use crate::fs::Dir;

use daemon::{Daemon, DaemonError};
use library::{LibraryError, Plan, Sample};
use show::{Meter, say};

/// Room beyond the games: indexes, logs, what others write meanwhile.
const SPARE: u64 = 256 << 20;
/// How long a daemon may take to be ready, and the two to find each other.
const READY: Duration = Duration::from_secs(30);
/// How long the source may take to hash its library.
const HASHED: Duration = Duration::from_secs(120);
/// How long a download may say nothing; making a gigabyte durable on a slow disk takes a while.
const STALLED: Duration = Duration::from_secs(120);
/// How long a command may go unanswered.
const ANSWER: Duration = Duration::from_secs(10);

/// Flags of `lanspread demo`.
#[derive(clap::Args, Clone, Debug)]
pub struct DemoArgs {
    /// Size of the big game
    #[arg(long, value_name = "SIZE", default_value = "1.2GiB", value_parser = big_size)]
    pub size: u64,
    /// Files of the game of many small files
    #[arg(long, value_name = "N", default_value_t = 3000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub small_files: u32,
    /// Leave the daemons running at the end, to talk to them, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Where to work [default: the first of the temporary and the current directory with enough room]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

fn big_size(text: &str) -> Result<u64, String> {
    parse_size(text)
        .filter(|bytes| (1000..=1 << 40).contains(bytes))
        .ok_or_else(|| "expected a size from 1000 bytes to 1TiB, such as 1.2GiB".to_owned())
}

/// Why the demo ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Not enough space anywhere.
    #[error(
        "not enough room: the demo needs {needed}, and there is {found}; make room, name another disk with --dir, or take a smaller --size"
    )]
    NoRoom {
        /// In words.
        needed: String,
        /// What each directory has, in words.
        found: String,
    },
    /// The working directory cannot be made.
    #[error("no directory to work in below {path}: {source}", path = path.display())]
    NoDirectory {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// This program's own file is unknown.
    #[error("this program cannot find its own file to start the daemons: {0}")]
    NoProgram(std::io::Error),
    /// Ctrl-C could not be caught.
    #[error(transparent)]
    Signals(#[from] SignalsError),
    /// A step failed.
    #[error("{0}")]
    Step(String),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl From<DaemonError> for DemoError {
    fn from(error: DaemonError) -> Self {
        match error {
            DaemonError::Interrupted => Self::Interrupted,
            error => Self::Step(error.to_string()),
        }
    }
}

impl From<LibraryError> for DemoError {
    fn from(error: LibraryError) -> Self {
        match error {
            LibraryError::Interrupted => Self::Interrupted,
            error => Self::Step(error.to_string()),
        }
    }
}

/// Runs the demo and cleans up after it, whatever happens.
pub fn run(args: &DemoArgs) -> Result<(), DemoError> {
    let begun = Instant::now();
    // A closed channel can be looked at by everybody, any number of times.
    let (interrupted, interrupt) = crossbeam_channel::bounded::<()>(0);
    Signals::catch()?.forward(move || drop(interrupted))?;
    let program = std::env::current_exe().map_err(DemoError::NoProgram)?;
    let plan = Plan { big: args.size, small_files: args.small_files };
    let dir = work_dir(args.dir.as_deref(), 2 * plan.bytes() + SPARE)?;
    say(format!("Working in {} (removed at the end).", dir.path().display()));

    let mut daemons = Vec::new();
    let result = steps(args, &program, plan, dir.path(), &interrupt, &mut daemons);
    if let Err(DemoError::Step(_)) = &result {
        for daemon in &daemons {
            say(format!("The end of the log of daemon {}:", daemon.name));
            daemon.log_tail().iter().for_each(|line| say(format!("  | {line}")));
        }
    }
    say("Stopping the daemons and cleaning up.");
    drop(daemons);
    let path = dir.path().to_owned();
    if let Err(error) = dir.close() {
        say(format!("{} could not be removed entirely: {error}", path.display()));
    }
    if result.is_ok() {
        say(format!("Done in {:.0} s.", begun.elapsed().as_secs_f64()));
    }
    result
}

fn steps(
    args: &DemoArgs,
    program: &Path,
    plan: Plan,
    dir: &Path,
    interrupt: &Receiver<()>,
    daemons: &mut Vec<Daemon>,
) -> Result<(), DemoError> {
    let (source, target) = (dir.join("a"), dir.join("b"));
    let games = make_games(&source.join("games"), plan, interrupt)?;

    for (name, dir) in [("a", &source), ("b", &target)] {
        daemons.push(Daemon::start(program, name, dir, interrupt.clone())?);
    }
    let [a, b] = daemons.as_mut_slice() else { return Err(DemoError::Step("two daemons were to run".into())) };
    let id_of_a = meet(a, b)?;
    wait_for_library(b, &id_of_a, &games)?;
    for game in &games {
        download(a, b, game)?;
    }
    check(&target.join("games"), &games, interrupt)?;
    if let Some(packed) = games.last() {
        installing::show(a, b, packed, &source.join("games"), &target.join("games"), interrupt)?;
    }
    if args.keep {
        keep(a, b, interrupt);
    }
    Ok(())
}

fn make_games(root: &Path, plan: Plan, interrupt: &Receiver<()>) -> Result<Vec<Sample>, DemoError> {
    say("1. Making four sample games: a big one, one of many small files, a tiny one, one packed in an archive.");
    let mut meter = Meter::new("writing", plan.bytes());
    let mut games = library::create(root, plan, &mut |bytes| {
        meter.add(bytes);
        !is_interrupted(interrupt)
    })?;
    games.push(library::create_packed(root, false)?);
    drop(meter);
    for game in &games {
        say(format!("   {}: {} files, {}", game.id, game.files.len(), size(game.bytes)));
    }
    Ok(games)
}

/// Both ready, and each connected with the other. Returns the peer id of `a`.
fn meet(a: &mut Daemon, b: &mut Daemon) -> Result<String, DemoError> {
    say("2. Starting two daemons: a has the games, b has none. Nobody tells them of each other.");
    let begun = Instant::now();
    let mut ids = Vec::new();
    for daemon in [&mut *a, &mut *b] {
        let ready = daemon.event("become ready", READY, |e| e["event"] == "local-peer-ready")?;
        let text = |field: &str| ready[field].as_str().unwrap_or_default().to_owned();
        say(format!("   {} is {} on {} (process {})", daemon.name, text("peer_id"), text("listen_addr"), daemon.pid()));
        ids.push(text("peer_id"));
    }
    for (daemon, other) in [(a, &ids[1]), (b, &ids[0])] {
        daemon.event("find the other by mDNS", READY, |e| {
            e["event"] == "peer-connected" && e["peer_id"].as_str() == Some(other)
        })?;
        daemon.ask(json!({"cmd": "wait-peers", "count": 1, "timeout_ms": READY.as_millis() as u64}), READY + ANSWER)?;
    }
    say(format!("   They found each other by mDNS within {:.1} s.", begun.elapsed().as_secs_f64()));
    Ok(ids.swap_remove(0))
}

/// `b` lists every sample game with `a` as a source that knows the hash of its content.
fn wait_for_library(b: &mut Daemon, id_of_a: &str, games: &[Sample]) -> Result<(), DemoError> {
    say("3. Waiting until b's list shows what a has, with hashes.");
    let deadline = Instant::now() + HASHED;
    loop {
        let list = b.ask(json!({"cmd": "list-games"}), ANSWER)?;
        let rows = list["games"].as_array().map(Vec::as_slice).unwrap_or_default();
        let listed = games.iter().filter(|game| {
            rows.iter().any(|row| {
                let sources = row["sources"].as_array().map(Vec::as_slice).unwrap_or_default();
                row["id"].as_str() == Some(game.id.as_str())
                    && row["content_hash"].is_string()
                    && sources.iter().any(|source| source.as_str() == Some(id_of_a))
            })
        });
        if listed.count() == games.len() {
            break;
        }
        let patience = deadline.saturating_duration_since(Instant::now());
        b.event("list all games of the other", patience, |e| e["event"] == "peer-library-changed")?;
    }
    say(format!("   b sees {} games at a.", games.len()));
    Ok(())
}

fn download(a: &mut Daemon, b: &mut Daemon, game: &Sample) -> Result<(), DemoError> {
    say(format!("4. b downloads {} ({}).", game.id, size(game.bytes)));
    let cpu_before = (a.cpu_seconds(), b.cpu_seconds());
    let begun = Instant::now();
    b.ask(json!({"cmd": "download", "game": game.id, "install": false}), ANSWER)?;
    let finished = follow(b, game, "download", Meter::new("downloading", game.bytes))?;
    let seconds = begun.elapsed().as_secs_f64();
    if finished["bytes"].as_u64() != Some(game.bytes) {
        return Err(DemoError::Step(format!(
            "{} has {} bytes, and the download says {}",
            game.id, game.bytes, finished["bytes"]
        )));
    }
    // Of a small game the rate would only tell how long the start and the end take.
    let took = format!("{} in {seconds:.2} s", size(game.bytes));
    say(format!("   {}", if game.bytes >= 16 << 20 { rate(game.bytes, seconds) } else { took }));
    let used = |before: Option<f64>, daemon: &Daemon| Some(daemon.cpu_seconds()? - before?);
    // Over a small game the 10 ms ticks of the kernel say nothing.
    if game.bytes >= 64 << 20
        && let (Some(a), Some(b)) = (used(cpu_before.0, a), used(cpu_before.1, b))
    {
        let gib = game.bytes as f64 / (1u64 << 30) as f64;
        say(format!("   CPU: sending {:.2} s/GiB, receiving {:.2} s/GiB", a / gib, b / gib));
    }
    Ok(())
}

/// The terminal event of what runs on a game, by the name of its command; it must be a good one.
fn follow(daemon: &mut Daemon, game: &Sample, what: &str, mut meter: Meter) -> Result<Value, DemoError> {
    loop {
        let event = daemon
            .event(&format!("go on with the {what}"), STALLED, |e| e["game"].as_str() == Some(game.id.as_str()))?;
        match event["event"].as_str().and_then(|name| name.strip_prefix(what)) {
            Some("-progress") => meter.set(event["bytes"].as_u64().unwrap_or(0)),
            Some("-finished") => return Ok(event),
            Some("-failed") => {
                let message = event["message"].as_str().unwrap_or_default();
                return Err(DemoError::Step(format!("the {what} of {} failed: {message}", game.id)));
            }
            _ => {}
        }
    }
}

fn check(root: &Path, games: &[Sample], interrupt: &Receiver<()>) -> Result<(), DemoError> {
    say("5. Comparing every file with the source by BLAKE3.");
    let mut meter = Meter::new("comparing", games.iter().map(|game| game.bytes).sum());
    for game in games {
        library::verify(root, game, &mut |bytes| {
            meter.add(bytes);
            !is_interrupted(interrupt)
        })?;
    }
    drop(meter);
    say(format!("   All {} files are equal.", games.iter().map(|game| game.files.len()).sum::<usize>()));
    Ok(())
}

/// Hands lines over in both directions until Ctrl-C or until a daemon ends.
fn keep(a: &mut Daemon, b: &mut Daemon, interrupt: &Receiver<()>) {
    say("The daemons keep running until Ctrl-C. Their logs:");
    for daemon in [&*a, &*b] {
        say(format!("   {}: process {}, {}", daemon.name, daemon.pid(), daemon.log().display()));
    }
    say("Talk to them in JSON, with the name in front, for example:");
    say(r#"   b {"cmd":"list-games"}"#);
    say(r#"   a {"cmd":"status"}"#);
    let (typed, lines) = crossbeam_channel::bounded(1);
    let keyboard = move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if typed.send(line).is_err() {
                return;
            }
        }
        // No more input does not mean to stop: without a terminal there never was one. Holding the sender keeps the
        // channel from looking closed, which would wake the loop below for ever.
        std::mem::forget(typed);
    };
    if let Err(error) = std::thread::Builder::new().name("keyboard".into()).spawn(keyboard) {
        say(format!("Nothing can be typed: {error}"));
    }
    let (from_a, from_b) = (a.records(), b.records());
    loop {
        let show = |name: &str, record: Value| say(format!("{name} {record}"));
        select! {
            recv(interrupt) -> _ => return,
            recv(from_a) -> record => match record {
                Ok(record) => show("a", record),
                Err(_) => return say("Daemon a has ended."),
            },
            recv(from_b) -> record => match record {
                Ok(record) => show("b", record),
                Err(_) => return say("Daemon b has ended."),
            },
            recv(lines) -> line => {
                let Ok(line) = line else { return };
                let sent = match line.trim().split_once(' ') {
                    Some(("a", command)) => a.write_line(command),
                    Some(("b", command)) => b.write_line(command),
                    _ => {
                        say("Begin the line with a or b, then a JSON command.");
                        Ok(())
                    }
                };
                if let Err(error) = sent {
                    say(format!("The line could not be handed over: {error}"));
                }
            }
        }
    }
}

fn is_interrupted(interrupt: &Receiver<()>) -> bool {
    !matches!(interrupt.try_recv(), Err(crossbeam_channel::TryRecvError::Empty))
}

/// `1.20 GiB in 10.0 s: 129 MB/s, 1031 Mbit/s`.
fn rate(bytes: u64, seconds: f64) -> String {
    let per_second = bytes as f64 / seconds.max(1e-3);
    let decimals = usize::from(per_second < 1e7);
    format!(
        "{} in {seconds:.1} s: {:.decimals$} MB/s, {:.decimals$} Mbit/s",
        size(bytes),
        per_second / 1e6,
        per_second * 8.0 / 1e6
    )
}

/// A directory of its own on a disk with `needed` bytes free.
fn work_dir(wish: Option<&Path>, needed: u64) -> Result<tempfile::TempDir, DemoError> {
    let candidates = match wish {
        Some(dir) => vec![dir.to_owned()],
        None => [Some(std::env::temp_dir()), std::env::current_dir().ok()].into_iter().flatten().collect(),
    };
    let mut found = Vec::new();
    for path in candidates {
        let free = free_space(&path);
        if free.is_none_or(|free| free >= needed) {
            let made = tempfile::Builder::new().prefix("lanspread-demo-").tempdir_in(&path);
            return made.map_err(|source| DemoError::NoDirectory { path, source });
        }
        found.push(format!("{} in {}", size(free.unwrap_or(0)), path.display()));
    }
    Err(DemoError::NoRoom { needed: size(needed), found: found.join(", ") })
}

/// Bytes free for this user; `None` when the system does not say.
pub(in crate::tools) fn free_space(path: &Path) -> Option<u64> {
    Dir::open(path).and_then(|dir| dir.free_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_in_both_units() {
        assert_eq!(rate(1_288_490_188, 10.0), "1.20 GiB in 10.0 s: 129 MB/s, 1031 Mbit/s");
        assert_eq!(rate(50, 0.0), "50 B in 0.0 s: 0.1 MB/s, 0.4 Mbit/s");
    }

    #[test]
    fn too_small_a_disk_is_refused_in_words() {
        let dir = tempfile::tempdir().unwrap();
        if cfg!(unix) {
            let message = work_dir(Some(dir.path()), 1 << 60).unwrap_err().to_string();
            assert!(message.contains("needs 1048576 TiB") && message.contains("--dir"), "{message}");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
        assert!(work_dir(Some(dir.path()), 1).unwrap().path().starts_with(dir.path()));
        assert!(matches!(work_dir(Some(&dir.path().join("none")), 1), Err(DemoError::NoDirectory { .. })));
    }
}
