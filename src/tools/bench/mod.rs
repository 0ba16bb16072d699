//! `lanspread bench`: how fast this machine, and the way to another one, can be, and what holds it back.
//!
//! | file | what |
//! |---|---|
//! | this file | arguments, errors, order |
//! | `hash` | the hashes alone |
//! | `game` | the synthetic game and the place where it lies |
//! | `node` | a daemon in this process |
//! | `serve` | the sending side: a process of its own, here or on another PC |
//! | `transfer` | rounds of downloads from it |
//! | `report` | what the counters of both sides say together |

#![allow(clippy::disallowed_methods, reason = "a program of its own around the daemon: it measures real time")]

mod game;
mod hash;
mod node;
mod report;
mod serve;
mod transfer;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use crossbeam_channel::Receiver;
use serde_json::{Map, Value, json};

use crate::config::{is_host_port, parse_duration, parse_size};
use crate::control::{Signals, SignalsError};
use crate::types::CHUNK_SIZE;

/// Fewest rounds of a measurement, so that there is a median.
const MIN_ROUNDS: usize = 3;
/// Most of them.
const MAX_ROUNDS: usize = 1000;

/// What to measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum What {
    /// Memory to memory, through the real protocol, between two processes
    Net,
    /// File to durable file, the same way
    Disk,
    /// The hashes alone
    Hash,
    /// All of these
    All,
    /// Be the sending side for another PC, until Ctrl-C
    Serve,
}

/// Flags of `lanspread bench`.
#[derive(clap::Args, Clone, Debug)]
pub struct BenchArgs {
    /// What to measure
    #[arg(value_enum)]
    pub what: What,
    /// Answer as one JSON object on stdout
    #[arg(long)]
    pub json: bool,
    /// How much to move, or to hash, in each round
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = size)]
    pub size: u64,
    /// How long each measurement goes on, at least three rounds; of `serve`: when to end by itself
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub duration: Option<Duration>,
    /// For `net`: fetch from `lanspread bench serve` on another PC
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub peer: Option<String>,
    /// Where the files lie [default: memory for `net` and `serve`, the temporary directory for `disk`]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// For `serve`: where to listen [default: all interfaces, a free port]
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<SocketAddr>,
}

impl BenchArgs {
    /// How long one measurement goes on.
    fn patience(&self) -> Duration {
        self.duration.unwrap_or(Duration::from_secs(10))
    }
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text)
        .filter(|bytes| (CHUNK_SIZE..=1 << 40).contains(bytes))
        .ok_or_else(|| "expected a size from 1MiB to 1TiB, such as 512MiB".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "expected a duration, such as 500ms, 10s or 5m".to_owned())
}

fn host_port(text: &str) -> Result<String, &'static str> {
    if is_host_port(text) { Ok(text.to_owned()) } else { Err("expected HOST:PORT or [IPV6]:PORT") }
}

/// Why a measurement ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A file or directory.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The other process.
    #[error("the process of the sending side: {0}")]
    Child(String),
    /// A daemon could not start.
    #[error(transparent)]
    Start(#[from] crate::StartError),
    /// Ctrl-C could not be caught.
    #[error(transparent)]
    Signals(#[from] SignalsError),
    /// A step failed.
    #[error("{0}")]
    Step(String),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// stdout cannot be written.
    #[error("cannot write to stdout: {0}")]
    Output(std::io::Error),
}

/// Measures, and prints what came of it.
pub fn run(args: &BenchArgs) -> Result<(), BenchError> {
    // A closed channel can be looked at by everybody, any number of times.
    let (interrupted, interrupt) = crossbeam_channel::bounded::<()>(0);
    Signals::catch()?.forward(move || drop(interrupted))?;
    if args.peer.is_some() && args.what != What::Net {
        return Err(BenchError::Step("--peer is for `lanspread bench net`".into()));
    }
    if args.what == What::Serve {
        return serve::run(args, &interrupt);
    }
    let mut found = Map::new();
    found.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
    found.insert("cores".into(), json!(cores()));
    found.insert("size_bytes".into(), json!(args.size));
    let wanted = |what| args.what == What::All || args.what == what;
    if wanted(What::Hash) {
        add(&mut found, args, "hash", hash::measure(args, &interrupt)?, report::hash_text)?;
    }
    if wanted(What::Net) {
        let measured = transfer::measure(args, transfer::Kind::Net, &interrupt)?;
        add(&mut found, args, "net", measured, report::transfer_text)?;
    }
    if wanted(What::Disk) {
        let measured = transfer::measure(args, transfer::Kind::Disk, &interrupt)?;
        add(&mut found, args, "disk", measured, report::transfer_text)?;
    }
    if args.json { print(&format!("{}\n", Value::Object(found))) } else { Ok(()) }
}

/// Keeps a result, and shows it to a person as soon as it is there.
fn add(
    found: &mut Map<String, Value>,
    args: &BenchArgs,
    name: &str,
    value: Value,
    text: fn(&str, &Value) -> String,
) -> Result<(), BenchError> {
    if !args.json {
        print(&text(name, &value))?;
    }
    found.insert(name.to_owned(), value);
    Ok(())
}

fn print(text: &str) -> Result<(), BenchError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(BenchError::Output)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn is_interrupted(interrupt: &Receiver<()>) -> bool {
    !matches!(interrupt.try_recv(), Err(crossbeam_channel::TryRecvError::Empty))
}

/// Median and range; of an even number the lower of the two in the middle.
fn spread(values: &[f64]) -> Value {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied();
    json!({
        "median": at(sorted.len().saturating_sub(1) / 2),
        "min": sorted.first(),
        "max": sorted.last(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_its_median_and_range() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), json!({"median": 2.0, "min": 1.0, "max": 3.0}));
        assert_eq!(spread(&[2.0, 1.0]), json!({"median": 1.0, "min": 1.0, "max": 2.0}));
        assert_eq!(spread(&[]), json!({"median": null, "min": null, "max": null}));
    }
}
