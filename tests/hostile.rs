//! What peers can do that mean no good, or are broken: after each attempt the daemon still answers its user, and still
//! serves and fetches for those who keep to the rules.
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

#[path = "hostile/libraries.rs"]
mod libraries;
#[path = "hostile/requests.rs"]
mod requests;
#[path = "hostile/sources.rs"]
mod sources;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{CHUNK, Daemon, Ending, GameSpec, Home, MIB, Options, Stranger, assert_same_tree, eventually};

/// Closed by the daemon with this application code.
fn closed(code: u64) -> Ending {
    Ending::Closed { app: true, code }
}

/// A daemon with one game, `doom`, which is hashed.
fn daemon(game: GameSpec, options: &Options) -> (Home, Daemon) {
    let home = Home::with(&[game]);
    let daemon = Daemon::start(&home, options);
    daemon.wait_hashed();
    (home, daemon)
}

fn guest(daemon: &Daemon) -> Stranger {
    let mut stranger = Stranger::connect(daemon.addr);
    stranger.hello();
    stranger
}

/// The row of `doom` in the daemon's library.
fn doom(stranger: &mut Stranger) -> Value {
    let ask = json!({"type": "GetLibrary", "peer_id": stranger.peer_id});
    stranger.request(&ask).unwrap().0["snapshot"]["games"][0].clone()
}

fn get_chunks(doom: &Value, first: u32, count: u32) -> Value {
    json!({
        "type": "GetChunks", "game_id": "doom", "manifest_hash": doom["manifest_hash"],
        "content_hash": doom["content_hash"], "first": first, "count": count,
    })
}

/// The daemon answers its user, and a newcomer who keeps to the rules.
fn still_well(daemon: &Daemon) {
    assert_eq!(daemon.status()["peer_id"], daemon.peer_id.as_str());
    let mut honest = guest(daemon);
    let doom = doom(&mut honest);
    let (run, bytes) = honest.request(&get_chunks(&doom, 0, 1)).unwrap();
    assert_eq!(run["type"], "ChunkRun", "{run}");
    assert!(!bytes.is_empty());
}

/// Another daemon fetches the whole game from this one.
fn still_serves(home: &Home, daemon: &Daemon) {
    let other_home = Home::new();
    let other = Daemon::start(&other_home, &Options::local());
    other.connect(daemon);
    other.download("doom");
    assert_same_tree(&home.game("doom"), &other_home.game("doom"));
}

/// Resident memory in bytes.
fn memory(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}
