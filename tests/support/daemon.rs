//! One real daemon as a child process, spoken to over JSON lines.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use lanspread_peer::index::GameDir;
use lanspread_peer::types::GameId;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{GameSpec, Host};

/// Default patience in seconds. Only a failing test waits so long.
const PATIENCE: u64 = 30;

/// The program under test: that of `LANSPREAD_BIN`, else that of the test profile.
pub(crate) fn binary() -> String {
    std::env::var("LANSPREAD_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_lanspread").to_owned())
}

/// The directories of a daemon; outlives it, so that it can be started again.
pub(crate) struct Home {
    root: TempDir,
}

impl Home {
    /// Fresh directories on the disk of the build (a temporary file system may be too small).
    pub(crate) fn new() -> Self {
        let root = tempfile::Builder::new().prefix("scenario-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for name in ["games", "state"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        Self { root }
    }

    /// Fresh directories with these games.
    pub(crate) fn with(games: &[GameSpec]) -> Self {
        let home = Self::new();
        for game in games {
            game.write(&home.games());
        }
        home
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn games(&self) -> PathBuf {
        self.path().join("games")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// The root of one game.
    pub(crate) fn game(&self, id: &str) -> PathBuf {
        self.games().join(id)
    }

    /// Makes a game one that a download brought, as it lies there. Before a daemon starts here.
    pub(crate) fn brought(&self, id: &str) {
        let (games, _) = GameDir::open(&self.games()).unwrap();
        let game: GameId = id.parse().unwrap();
        let scanned = games.scan_game(&game, None).unwrap().unwrap();
        games.hash_game(&game, scanned.manifest_hash, &AtomicBool::new(false)).unwrap();
        let landed = games.read_manifest(&game, scanned.manifest_hash).unwrap();
        games.records().save_brought(&game, &landed).unwrap();
    }

    /// Writes a catalog that expects these (id, version) pairs; returns its path.
    pub(crate) fn catalog(&self, games: &[(&str, &str)]) -> PathBuf {
        let games: Vec<Value> = games
            .iter()
            .map(|(id, version)| json!({"id": id, "name": format!("The {id}"), "version": version}))
            .collect();
        let path = self.path().join("catalog.json");
        std::fs::write(&path, json!({"format": 1, "games": games}).to_string()).unwrap();
        path
    }
}

/// How to start a daemon.
#[derive(Clone, Default)]
pub(crate) struct Options {
    host: Option<Host>,
    mdns: bool,
    args: Vec<String>,
    wrapper: Vec<String>,
}

impl Options {
    /// On 127.0.0.1 of this machine, without multicast.
    pub(crate) fn local() -> Self {
        Self::default()
    }

    /// On a host of the virtual LAN, with multicast.
    pub(crate) fn on(host: &Host) -> Self {
        Self { host: Some(host.clone()), mdns: true, ..Self::default() }
    }

    pub(crate) fn arg(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.args.push(name.to_owned());
        self.args.push(value.as_ref().to_str().unwrap().to_owned());
        self
    }

    /// A flag without a value.
    #[allow(dead_code, reason = "not every test needs all of it")]
    pub(crate) fn flag(mut self, name: &str) -> Self {
        self.args.push(name.to_owned());
        self
    }

    /// A timer or limit by its name: `timers.stale_after`, `2s`.
    pub(crate) fn set(self, key: &str, value: &str) -> Self {
        self.arg("--set", format!("{key}={value}"))
    }

    /// Silence is noticed within two seconds instead of seventy.
    pub(crate) fn short_liveness(self) -> Self {
        self.set("timers.ping_after", "1s").set("timers.ping_retry", "300ms").set("timers.stale_after", "2s")
    }

    /// A program (with arguments) that runs the daemon.
    pub(crate) fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Puts the game directory in the place of the word GAMES of the wrapper.
    #[allow(dead_code, reason = "not every test needs all of it")]
    pub(crate) fn under_with(mut self, games: &Path) -> Self {
        for word in self.wrapper.iter_mut().filter(|word| *word == "GAMES") {
            *word = games.to_str().unwrap().to_owned();
        }
        self
    }

    fn command(&self, home: &Home) -> Command {
        let binary = binary();
        let mut words: Vec<String> = Vec::new();
        if let Some(host) = &self.host {
            words.extend(["ip", "netns", "exec", host.netns()].map(str::to_owned));
        }
        words.extend(self.wrapper.iter().cloned());
        words.extend([binary, "run".into(), "--jsonl".into()]);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command.arg("--game-dir").arg(home.games()).arg("--state-dir").arg(home.state());
        if self.host.is_none() && !self.args.iter().any(|arg| arg == "--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        if !self.mdns {
            command.arg("--no-mdns");
        }
        if !self.args.iter().any(|arg| arg.starts_with("timers.arriving_quiet=")) {
            // Most tests write a game as a whole and have no time to let it keep still.
            command.args(["--set", "timers.arriving_quiet=1ms"]);
        }
        command.args(&self.args);
        // Nothing of the developer's own configuration may reach the test.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LANSPREAD_")) {
            command.env_remove(name);
        }
        command
    }
}

/// What came out of stdout so far.
#[derive(Default)]
struct Records {
    state: Mutex<RecordState>,
    changed: Condvar,
}

#[derive(Default)]
struct RecordState {
    list: Vec<Value>,
    closed: bool,
}

/// A refused command.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// A running daemon. Killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    stdin: Option<ChildStdin>,
    records: Arc<Records>,
    next_id: AtomicU64,
    log: PathBuf,
    /// Its id as text.
    pub(crate) peer_id: String,
    /// Where others reach it.
    pub(crate) addr: SocketAddr,
}

impl Daemon {
    /// Starts one and waits until it is ready.
    pub(crate) fn start(home: &Home, options: &Options) -> Self {
        let log = home.path().join("log");
        let mut child = options
            .command(home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log).unwrap())
            .spawn()
            .expect("the daemon can be run");
        let records = Arc::new(Records::default());
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let sink = records.clone();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let Ok(line) = line else { break };
                let record = serde_json::from_str(&line).unwrap_or_else(|_| json!({"type": "not-json", "line": line}));
                sink.state.lock().unwrap().list.push(record);
                sink.changed.notify_all();
            }
            sink.state.lock().unwrap().closed = true;
            sink.changed.notify_all();
        });
        let mut daemon = Self {
            stdin: child.stdin.take(),
            child,
            records,
            next_id: AtomicU64::new(1),
            log,
            peer_id: String::new(),
            addr: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        let ready = daemon.wait_event("local-peer-ready");
        daemon.peer_id = ready["peer_id"].as_str().expect("peer_id").to_owned();
        daemon.addr = ready["listen_addr"].as_str().expect("listen_addr").parse().expect("an address");
        if let Some(host) = &options.host {
            daemon.addr.set_ip(host.addr().into());
        }
        daemon
    }

    /// The process (of the wrapper, where there is one).
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A place in the stream of records, to wait for what comes after it.
    pub(crate) fn mark(&self) -> usize {
        self.records.state.lock().unwrap().list.len()
    }

    /// Every record since a mark.
    pub(crate) fn since(&self, mark: usize) -> Vec<Value> {
        self.records.state.lock().unwrap().list[mark..].to_vec()
    }

    /// Every event of this name so far.
    pub(crate) fn events(&self, name: &str) -> Vec<Value> {
        self.since(0).into_iter().filter(|record| record["event"] == name).collect()
    }

    /// The first record since `mark` that `accept` takes.
    pub(crate) fn wait_record(&self, mark: usize, what: &str, seconds: u64, accept: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut at = mark;
        let mut state = self.records.state.lock().unwrap();
        loop {
            while let Some(record) = state.list.get(at) {
                if record["type"] == "not-json" {
                    let line = record["line"].to_string();
                    drop(state);
                    panic!("stdout had a line that is not JSON: {line}");
                }
                if accept(record) {
                    return record.clone();
                }
                at += 1;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.closed {
                let why = if state.closed { "its stdout ended" } else { "the time ran out" };
                drop(state);
                panic!("waited for {what}, but {why}\n{}", self.story());
            }
            state = self.records.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// The first event of this name, also if it came already.
    pub(crate) fn wait_event(&self, name: &str) -> Value {
        self.wait_event_since(0, name, |_| true)
    }

    /// The first event of this name since `mark` that `accept` takes.
    pub(crate) fn wait_event_since(&self, mark: usize, name: &str, accept: impl Fn(&Value) -> bool) -> Value {
        self.wait_record(mark, name, PATIENCE, |record| record["event"] == name && accept(record))
    }

    /// Writes one raw line to stdin.
    pub(crate) fn line(&self, line: &str) {
        let mut stdin = self.stdin.as_ref().expect("stdin is open");
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap_or_else(|error| panic!("{error}\n{}", self.story()));
    }

    /// Sends a command; returns its id.
    pub(crate) fn send(&self, mut command: Value) -> u64 {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        command["id"] = json!(id);
        self.line(&command.to_string());
        id
    }

    /// Sends a command and waits for its answer.
    pub(crate) fn command(&self, command: Value) -> Result<Value, Refusal> {
        let mark = self.mark();
        let text = command.to_string();
        let id = self.send(command);
        let record =
            self.wait_record(mark, &format!("the answer to {text}"), 2 * PATIENCE, |record| record["id"] == id);
        match record["type"].as_str() {
            Some("result") => Ok(record["data"].clone()),
            Some("error") => Err(Refusal {
                code: record["code"].as_str().expect("a code").to_owned(),
                message: record["message"].as_str().expect("a message").to_owned(),
            }),
            _ => panic!("neither result nor error: {record}"),
        }
    }

    /// Sends a command that must succeed.
    pub(crate) fn ok(&self, command: Value) -> Value {
        let text = command.to_string();
        self.command(command).unwrap_or_else(|refusal| panic!("{text}: {refusal:?}\n{}", self.story()))
    }

    /// Sends a command that must be refused; returns the code.
    pub(crate) fn refused(&self, command: Value) -> String {
        let text = command.to_string();
        match self.command(command) {
            Ok(data) => panic!("{text} was not refused: {data}"),
            Err(refusal) => {
                assert!(!refusal.message.is_empty(), "{text}: a refusal says why");
                refusal.code
            }
        }
    }

    pub(crate) fn status(&self) -> Value {
        self.ok(json!({"cmd": "status"}))
    }

    pub(crate) fn peers(&self) -> Vec<Value> {
        self.ok(json!({"cmd": "list-peers"}))["peers"].as_array().expect("peers").clone()
    }

    /// Rows of `list-games` by id; an id listed twice fails.
    pub(crate) fn games(&self) -> BTreeMap<String, Value> {
        let mut rows = BTreeMap::new();
        for row in self.ok(json!({"cmd": "list-games"}))["games"].as_array().expect("games") {
            let id = row["id"].as_str().expect("id").to_owned();
            assert!(rows.insert(id.clone(), row.clone()).is_none(), "{id} is listed twice");
        }
        rows
    }

    /// Connects to another daemon and waits until libraries are in step both ways.
    pub(crate) fn connect(&self, other: &Daemon) {
        self.ok(json!({"cmd": "connect", "addr": other.addr.to_string()}));
        self.wait_peers(1);
        other.wait_peers(1);
    }

    pub(crate) fn wait_peers(&self, count: usize) {
        self.ok(json!({"cmd": "wait-peers", "count": count, "timeout_ms": PATIENCE * 1000}));
    }

    /// Waits until every game here is hashed, and that is durable and announced.
    pub(crate) fn wait_hashed(&self) {
        eventually("every game is hashed", 120, || {
            let status = self.status();
            let index = Path::new(status["game_dir"].as_str()?).join(".lanspread/index.json");
            let index: Value = serde_json::from_slice(&std::fs::read(index).ok()?).ok()?;
            let hashed = |game: &Value| game["downloaded"] == false || game["content_hash"].is_string();
            let all = status["hash_queue"] == 0 && index["games"].as_array()?.iter().all(hashed);
            (all && index["rev"] == status["library_rev"]).then_some(())
        });
    }

    /// Starts a download without installing. Returns the mark from which to wait.
    pub(crate) fn begin_download(&self, game: &str) -> usize {
        let mark = self.mark();
        self.ok(json!({"cmd": "download", "game": game, "install": false}));
        mark
    }

    /// The terminal event of a download that was begun.
    pub(crate) fn wait_download(&self, game: &str, mark: usize) -> Value {
        self.wait_record(mark, "the end of the download", 180, |record| {
            record["game"] == game && (record["event"] == "download-finished" || record["event"] == "download-failed")
        })
    }

    /// Downloads a game without installing; it must finish. Returns the terminal event.
    pub(crate) fn download(&self, game: &str) -> Value {
        let mark = self.begin_download(game);
        let event = self.wait_download(game, mark);
        assert_eq!(event["event"], "download-finished", "{event}\n{}", self.story());
        event
    }

    /// Clean shutdown by the end of stdin; the exit code must be 0.
    pub(crate) fn stop(mut self) {
        drop(self.stdin.take());
        let status = self.wait_exit();
        assert!(status.success(), "exit after the end of stdin: {status}\n{}", self.story());
    }

    /// The end of the process, which must come by itself.
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the daemon ends", PATIENCE, || {
            status = self.child.try_wait().unwrap();
            status.map(|_| ())
        });
        status.unwrap()
    }

    /// Whether the process has ended.
    #[allow(dead_code, reason = "not every test needs it")]
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The last records and the last lines of the log, for the message of a failure.
    fn story(&self) -> String {
        let records = self.since(0);
        let tail: Vec<String> = records.iter().rev().take(15).rev().map(Value::to_string).collect();
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let log = lines[lines.len().saturating_sub(25)..].join("\n");
        format!("-- last records of {}:\n{}\n-- end of its log:\n{log}", self.peer_id, tail.join("\n"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks `check` again and again until it answers; fails after so many seconds.
pub(crate) fn eventually<T>(what: &str, seconds: u64, mut check: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < until, "waited {seconds} s until {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}
