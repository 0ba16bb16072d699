//! Daemons in one process, over real sockets on loopback, through the library's own door.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and sets its stage with plain file calls"
)]
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use lanspread_peer::api::{CommandData, PeerCommand, PeerEvent};
use lanspread_peer::config::Config;
use lanspread_peer::types::CHUNK_SIZE;
use lanspread_peer::{CommandSender, Peer};
use tracing_subscriber::filter::LevelFilter;

const PATIENCE: Duration = Duration::from_secs(30);

struct Daemon {
    peer: Peer,
    commands: CommandSender,
    events: Receiver<PeerEvent>,
    dir: tempfile::TempDir,
}

impl Daemon {
    fn start(peers: &[SocketAddr]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), peers)
    }

    fn start_in(dir: tempfile::TempDir, peers: &[SocketAddr]) -> Self {
        // RUST_LOG=debug shows what happens.
        let level = std::env::var("RUST_LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::OFF);
        let _ = tracing_subscriber::fmt().with_max_level(level).with_test_writer().try_init();
        let games = dir.path().join("games");
        fs::create_dir_all(&games).unwrap();
        let mut config = Config::new(games, dir.path().join("state"));
        config.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        config.mdns = false;
        config.static_peers = peers.iter().map(ToString::to_string).collect();
        config.timers.delta_coalesce = Duration::from_millis(20);
        config.timers.fs_coalesce = Duration::from_millis(20);
        config.timers.arriving_quiet = Duration::from_millis(1);
        let peer = Peer::start(config).unwrap();
        Self { commands: peer.commands(), events: peer.events(), peer, dir }
    }

    fn addr(&self) -> SocketAddr {
        self.peer.listen_addrs()[0]
    }

    fn games(&self) -> std::path::PathBuf {
        self.dir.path().join("games")
    }

    fn wait<T>(&self, what: &str, mut pick: impl FnMut(&PeerEvent) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while let Ok(event) = self.events.recv_deadline(deadline) {
            if let Some(found) = pick(&event) {
                return found;
            }
            seen.push(event);
        }
        panic!("no {what}; there was {seen:#?}");
    }

    fn call(&self, command: PeerCommand) -> CommandData {
        self.commands.call(command).unwrap().unwrap()
    }

    fn stop(self) {
        self.commands.call(PeerCommand::Shutdown).unwrap().unwrap();
        self.peer.join();
    }
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

fn write_game(games: &Path, id: &str, version: &str, files: &[(&str, usize)]) {
    let root = games.join(id);
    fs::create_dir_all(&root).unwrap();
    for (seed, (path, len)) in files.iter().enumerate() {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes(seed as u64, *len)).unwrap();
    }
    fs::write(root.join("version.ini"), version).unwrap();
}

fn assert_same_tree(one: &Path, two: &Path) {
    let mut names: Vec<_> = fs::read_dir(one).unwrap().map(|e| e.unwrap().file_name()).collect();
    let mut others: Vec<_> = fs::read_dir(two).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    others.sort();
    assert_eq!(names, others, "{} and {}", one.display(), two.display());
    for name in names {
        let (a, b) = (one.join(&name), two.join(&name));
        if a.is_dir() {
            assert_same_tree(&a, &b);
        } else {
            assert!(fs::read(&a).unwrap() == fs::read(&b).unwrap(), "{} differs", a.display());
        }
    }
}

#[test]
fn a_game_of_large_and_many_small_files_arrives_whole() {
    let dir = tempfile::tempdir().unwrap();
    let games = dir.path().join("games");
    let chunk = CHUNK_SIZE as usize;
    let small: Vec<String> = (0..300).map(|i| format!("data/{}/small{i}.bin", i % 7)).collect();
    let mut files = vec![("big.eti", 40 * chunk + 17), ("empty.dat", 0), ("exact.bin", 2 * chunk)];
    files.extend(small.iter().map(|name| (name.as_str(), 1000 + name.len() * 37)));
    write_game(&games, "quake", "1.32", &files);
    let source = Daemon::start_in(dir, &[]);
    let sink = Daemon::start(&[source.addr()]);
    sink.call(PeerCommand::WaitPeers { count: 1, timeout_ms: 20_000 });
    sink.call(PeerCommand::Download { game: "quake".parse().unwrap(), install: false, again: false });
    let (bytes, from) = sink.wait("download-finished", |event| match event {
        PeerEvent::DownloadFinished { bytes, sources, .. } => Some((*bytes, sources.clone())),
        PeerEvent::DownloadFailed { code, message, .. } => panic!("{code:?}: {message}"),
        _ => None,
    });
    assert_eq!(from.len(), 1);
    assert_eq!(from[0].bytes, bytes);
    assert_eq!(from[0].peer_id, source.peer.peer_id());
    assert_same_tree(&source.games().join("quake"), &sink.games().join("quake"));
    sink.stop();
    source.stop();
}
