//! A daemon as a child process that is spoken to in JSON lines. It ends with this process, however that ends: its
//! standard input closes, and that is a clean shutdown.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select};
use serde_json::{Value, json};

use crate::sys::{cpu_seconds_of, in_own_group};

/// Longest time for a daemon to stop after it was asked.
const STOP: Duration = Duration::from_secs(10);
/// Events that are kept while an answer is awaited.
const MAX_BACKLOG: usize = 10_000;
/// Lines of a log that are shown after a failure.
const TAIL: usize = 15;

#[derive(Debug, thiserror::Error)]
pub(super) enum DaemonError {
    #[error("daemon {name} could not be started: {source}")]
    Start { name: &'static str, source: io::Error },
    #[error("daemon {name} ended unexpectedly ({how})")]
    Ended { name: &'static str, how: String },
    #[error("daemon {name} did not {what} within {patience:?}")]
    Late { name: &'static str, what: String, patience: Duration },
    #[error("daemon {name} refused {cmd}: {message} ({code})")]
    Refused { name: &'static str, cmd: String, code: String, message: String },
    #[error("interrupted")]
    Interrupted,
}

/// A running child.
pub(super) struct Daemon {
    pub(super) name: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    records: Receiver<Value>,
    /// Events that came while something else was awaited.
    backlog: VecDeque<Value>,
    interrupt: Receiver<()>,
    log: PathBuf,
    next_id: u64,
}

impl Daemon {
    /// Starts `program run --jsonl` with its directories below `dir`: `games`, `state`, and `log`.
    pub(super) fn start(
        program: &Path,
        name: &'static str,
        dir: &Path,
        interrupt: Receiver<()>,
    ) -> Result<Self, DaemonError> {
        let start = |source| DaemonError::Start { name, source };
        let (games, state, log) = (dir.join("games"), dir.join("state"), dir.join("log"));
        std::fs::create_dir_all(&games).and_then(|()| std::fs::create_dir_all(&state)).map_err(start)?;
        let mut command = Command::new(program);
        command.args(["run", "--jsonl", "--listen", "127.0.0.1:0", "--log", "info", "--hostname"]);
        command.arg(format!("demo-{name}")).arg("--game-dir").arg(&games).arg("--state-dir").arg(&state);
        // Its games are complete before it starts.
        command.args(["--set", "timers.arriving_quiet=1ms"]);
        // The user's own settings are for the user's own daemon.
        for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("LANSPREAD_")) {
            command.env_remove(key);
        }
        in_own_group(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(File::create(&log).map_err(start)?);
        let mut child = command.spawn().map_err(start)?;
        let stdin = child.stdin.take();
        let Some(stdout) = child.stdout.take() else {
            return Err(start(io::Error::other("its output could not be caught")));
        };
        // A full channel holds the child's output back, not its work.
        let (record, records) = crossbeam_channel::bounded(1024);
        let reader = move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { break };
                let parsed = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if record.send(parsed).is_err() {
                    break;
                }
            }
        };
        let daemon = Self { name, child, stdin, records, backlog: VecDeque::new(), interrupt, log, next_id: 1 };
        std::thread::Builder::new().name(format!("daemon-{name}")).spawn(reader).map_err(start)?;
        Ok(daemon)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// Sends a command and waits for its answer; events that come before it are kept.
    pub(super) fn ask(&mut self, mut command: Value, patience: Duration) -> Result<Value, DaemonError> {
        let id = self.next_id;
        self.next_id += 1;
        let cmd = command["cmd"].as_str().unwrap_or_default().to_owned();
        command["id"] = json!(id);
        if self.write_line(&command.to_string()).is_err() {
            return Err(self.ended());
        }
        let deadline = Instant::now() + patience;
        loop {
            let record = self.receive(deadline, &format!("answer {cmd}"), patience)?;
            match (record["type"].as_str(), record["id"] == id) {
                (Some("result"), true) => return Ok(record["data"].clone()),
                (Some("error"), true) => {
                    let text = |field: &str| record[field].as_str().unwrap_or_default().to_owned();
                    let (code, message) = (text("code"), text("message"));
                    return Err(DaemonError::Refused { name: self.name, cmd, code, message });
                }
                _ => self.keep(record),
            }
        }
    }

    /// Waits for an event that `wanted` accepts, or takes the first that came already; others are kept.
    pub(super) fn event(
        &mut self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value, DaemonError> {
        if let Some(record) = self.backlog.iter().position(&wanted).and_then(|at| self.backlog.remove(at)) {
            return Ok(record);
        }
        let deadline = Instant::now() + patience;
        loop {
            let record = self.receive(deadline, what, patience)?;
            if wanted(&record) {
                return Ok(record);
            }
            self.keep(record);
        }
    }

    /// Writes one line to the daemon.
    pub(super) fn write_line(&mut self, line: &str) -> io::Result<()> {
        let Some(stdin) = &mut self.stdin else { return Err(io::ErrorKind::BrokenPipe.into()) };
        stdin.write_all(line.as_bytes())?;
        stdin.write_all(b"\n")?;
        stdin.flush()
    }

    /// What it says, for those who relay it.
    pub(super) fn records(&self) -> Receiver<Value> {
        self.records.clone()
    }

    /// CPU seconds it has used so far, user and system; `None` where the platform does not tell.
    pub(super) fn cpu_seconds(&self) -> Option<f64> {
        cpu_seconds_of(self.pid())
    }

    /// Asks it to stop by closing its input, and makes sure that it has.
    pub(super) fn stop(&mut self) -> Option<ExitStatus> {
        self.stdin = None;
        // Its output ends when it does. The rest of what it says is of no interest.
        let deadline = Instant::now() + STOP;
        while self.records.recv_deadline(deadline).is_ok() {}
        if Instant::now() >= deadline {
            let _ = self.child.kill();
        }
        self.child.wait().ok()
    }

    /// The last lines of its log.
    pub(super) fn log_tail(&self) -> Vec<String> {
        let text = std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let lines: Vec<String> = text.unwrap_or_default().lines().map(str::to_owned).collect();
        lines[lines.len().saturating_sub(TAIL)..].to_vec()
    }

    fn keep(&mut self, record: Value) {
        if self.backlog.len() >= MAX_BACKLOG {
            self.backlog.pop_front();
        }
        self.backlog.push_back(record);
    }

    fn receive(&mut self, deadline: Instant, what: &str, patience: Duration) -> Result<Value, DaemonError> {
        let interrupted = select! {
            recv(self.records) -> record => return record.map_err(|_| self.ended()),
            recv(self.interrupt) -> _ => true,
            default(deadline.saturating_duration_since(Instant::now())) => false,
        };
        if interrupted {
            return Err(DaemonError::Interrupted);
        }
        Err(DaemonError::Late { name: self.name, what: what.to_owned(), patience })
    }

    fn ended(&mut self) -> DaemonError {
        let how = match self.stop() {
            Some(status) => status.to_string(),
            None => "no exit status".to_owned(),
        };
        DaemonError::Ended { name: self.name, how }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}
