//! The sending side: a daemon that has one synthetic game, and takes in or hands out nothing else. It runs here as a child,
//! or on another PC as `lanspread bench serve`, and takes part only for as long as it runs.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use crossbeam_channel::{Receiver, never, select};
use serde_json::{Value, json};

use super::game::{self, Place, Scratch};
use super::node::{self, Node};
use super::{BenchArgs, BenchError, print};
use crate::control::human::size;
use crate::sys::in_own_group;
use crate::types::CatalogSource;

/// How long the child may take to make and hash its game, and to answer.
const PATIENCE: Duration = Duration::from_secs(300);

/// `lanspread bench serve`. With `--json`: says where it is in one line, answers every line on stdin with a line of metrics,
/// and ends with stdin.
pub(super) fn run(args: &BenchArgs, interrupt: &Receiver<()>) -> Result<(), BenchError> {
    let scratch = Scratch::make(args.dir.as_deref(), Place::Memory, args.size)?;
    game::create(&node::games(scratch.dir.path()), args.size)?;
    let catalog = scratch.dir.path().join("catalog.json");
    game::write_catalog(&catalog)?;
    let node = Node::start(&scratch, interrupt, |config| {
        config.catalog = Some(CatalogSource::File(catalog));
        config.listen = args.listen.map_or_else(|| config.listen.clone(), |addr| vec![addr]);
    })?;
    let row = node.game("the game of the benchmark was not hashed", |row| row.content_hash.is_some())?;
    let addrs = node.listen_addrs();
    if args.json {
        let ready = json!({
            "peer_id": node.peer_id(), "listen_addrs": addrs, "game": game::GAME, "bytes": row.size,
            "in_memory": scratch.in_memory,
        });
        print(&format!("{ready}\n"))?;
    } else {
        let port = addrs.first().map_or(0, std::net::SocketAddr::port);
        let shown: Vec<String> = addrs.iter().map(ToString::to_string).collect();
        print(&format!(
            "Serving {} of noise as {} on {} until Ctrl-C.\nOn another PC: lanspread bench net --peer ADDRESS-OF-THIS-PC:{port}\n",
            size(row.size),
            node.peer_id(),
            shown.join(" and "),
        ))?;
    }
    let lines = if args.json { stdin_lines()? } else { never() };
    let over = args.duration.map_or_else(never, crossbeam_channel::after);
    loop {
        select! {
            recv(interrupt) -> _ => break,
            recv(over) -> _ => break,
            recv(lines) -> line => match line {
                Ok(()) => print(&format!("{}\n", metrics(&node)?))?,
                Err(_) => break,
            },
        }
    }
    if !args.json {
        let m = node.metrics()?;
        let cpu = m.cpu_seconds.map(|cpu| cpu / (m.bytes_sent as f64 / (1u64 << 30) as f64).max(1e-9));
        let cpu = cpu.filter(|_| m.bytes_sent > 0).map_or(String::new(), |cpu| format!(", {cpu:.2} CPU s/GiB"));
        print(&format!("Sent {}{cpu}.\n", size(m.bytes_sent)))?;
    }
    Ok(())
}

fn metrics(node: &Node) -> Result<Value, BenchError> {
    serde_json::to_value(node.metrics()?).map_err(|error| BenchError::Step(error.to_string()))
}

/// One message for each line; closed with stdin.
fn stdin_lines() -> Result<Receiver<()>, BenchError> {
    let (line, lines) = crossbeam_channel::bounded(1);
    let read = move || {
        for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
            if line.send(()).is_err() {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("stdin".into()).spawn(read);
    thread.map_err(|error| BenchError::Step(format!("a thread could not be started: {error}")))?;
    Ok(lines)
}

/// The sending side as a child of this process. It ends with its stdin.
pub(super) struct Served {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    interrupt: Receiver<()>,
    /// Where it listens.
    pub(super) addr: String,
    pub(super) in_memory: bool,
}

impl Served {
    /// Starts this program once more; its files lie below `dir`.
    pub(super) fn start(dir: &Path, bytes: u64, interrupt: &Receiver<()>) -> Result<Self, BenchError> {
        let failed = |error: std::io::Error| BenchError::Child(error.to_string());
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.args(["bench", "serve", "--json", "--listen", "127.0.0.1:0", "--size", &bytes.to_string(), "--dir"]);
        command.arg(dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        in_own_group(&mut command);
        let mut child = command.spawn().map_err(failed)?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or_else(|| BenchError::Child("no output".into()))?;
        let (line, lines) = crossbeam_channel::bounded(16);
        let read = move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|text| line.send(text)).ok();
        };
        let interrupt = interrupt.clone();
        let mut served = Self { child, stdin, lines, interrupt, addr: String::new(), in_memory: false };
        std::thread::Builder::new().name("bench-serve".into()).spawn(read).map_err(failed)?;
        let ready = served.line()?;
        served.in_memory = ready["in_memory"] == true;
        let addr = ready["listen_addrs"].as_array().and_then(|addrs| addrs.first()?.as_str());
        served.addr = addr.ok_or_else(|| BenchError::Child(format!("an unexpected answer: {ready}")))?.to_owned();
        Ok(served)
    }

    /// Its counters now, as the JSON of `metrics`.
    pub(super) fn metrics(&mut self) -> Result<Value, BenchError> {
        let written = self.stdin.as_mut().map(|stdin| stdin.write_all(b"metrics\n").and_then(|()| stdin.flush()));
        match written {
            Some(Ok(())) => self.line(),
            _ => Err(BenchError::Child("it has ended".into())),
        }
    }

    fn line(&self) -> Result<Value, BenchError> {
        let line = select! {
            recv(self.interrupt) -> _ => return Err(BenchError::Interrupted),
            recv(self.lines) -> line => line.map_err(|_| BenchError::Child("it has ended; what it said is above".into()))?,
            default(PATIENCE) => return Err(BenchError::Child(format!("it said nothing for {PATIENCE:?}"))),
        };
        serde_json::from_str(&line).map_err(|error| BenchError::Child(format!("{error}: {line}")))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stdin = None;
        // Its output ends when it does.
        while self.lines.recv_timeout(Duration::from_secs(10)).is_ok() {}
        if !matches!(self.child.try_wait(), Ok(Some(_)))
            && self.lines.recv_timeout(Duration::ZERO) != Err(crossbeam_channel::RecvTimeoutError::Disconnected)
        {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
