//! A disk that stands still, under a whole daemon: memory stays bounded, the source is slowed by what is not asked for, and
//! everything but the bytes of games goes on.

#![allow(clippy::disallowed_methods, reason = "a test sets its stage with plain file calls, and its patience ends")]

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::Peer;
use crate::api::{CommandData, GameRow, Metrics, PeerCommand, PeerEvent, StallCause};
use crate::config::Config;
use crate::fs::{Hook, Op, plant_hook};
use crate::types::CHUNK_SIZE;

const PATIENCE: Duration = Duration::from_secs(60);
const LANDING_BUFFERS: usize = 8;
/// Far more than the buffers hold.
const CHUNKS: usize = 5 * LANDING_BUFFERS;

/// Lets no chunk through to the disk until it is opened.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

impl Hook for Gate {
    fn before(&self, op: Op<'_>) -> io::Result<()> {
        if matches!(op, Op::Write { bytes, .. } if bytes.len() as u64 == CHUNK_SIZE) {
            let open = self.open.lock().unwrap();
            // A test that fails must end.
            let _ = self.opened.wait_timeout_while(open, 2 * PATIENCE, |open| !*open).unwrap();
        }
        Ok(())
    }
}

struct Daemon {
    peer: Peer,
    games: PathBuf,
    _dir: tempfile::TempDir,
}

impl Daemon {
    fn start(prepare: impl FnOnce(&Path), change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let games = std::path::absolute(dir.path()).unwrap().join("games");
        std::fs::create_dir_all(&games).unwrap();
        prepare(&games);
        let mut config = Config::new(games.clone(), dir.path().join("state"));
        config.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        config.mdns = false;
        // What stands still here is the disk, and nobody is to lose patience with a slow machine.
        config.timers.request_timeout = PATIENCE;
        config.timers.run_stall = PATIENCE;
        change(&mut config);
        Self { peer: Peer::start(config).unwrap(), games, _dir: dir }
    }

    fn call(&self, command: PeerCommand) -> CommandData {
        self.peer.commands().call(command).unwrap().unwrap()
    }

    fn metrics(&self) -> Metrics {
        let CommandData::Metrics(metrics) = self.call(PeerCommand::Metrics) else { panic!("no metrics") };
        *metrics
    }

    fn game(&self) -> Option<GameRow> {
        let CommandData::Games(list) = self.call(PeerCommand::ListGames) else { panic!("no list") };
        list.games.into_iter().next()
    }

    fn stop(&self) {
        self.call(PeerCommand::Shutdown);
        self.peer.join();
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn events(metrics: &Metrics, cause: StallCause) -> u64 {
    metrics.stalls.iter().find(|stall| stall.cause == cause).map_or(0, |stall| stall.events)
}

#[test]
fn a_disk_that_stands_still_bounds_memory_and_holds_the_source_back() {
    let content: Vec<u8> = (0..CHUNKS * CHUNK_SIZE as usize).map(|at| (at / 4096 * 7 + at) as u8).collect();
    let make = |games: &Path| {
        std::fs::create_dir_all(games.join("doom")).unwrap();
        std::fs::write(games.join("doom/data.pak"), &content).unwrap();
        std::fs::write(games.join("doom/version.ini"), "1").unwrap();
    };
    let gate = Arc::new(Gate::default());
    let source = Daemon::start(make, |_| {});
    until("the source has hashed its game", || source.game().is_some_and(|game| game.content_hash.is_some()));
    let receiver = Daemon::start(
        |games| plant_hook(games, gate.clone()),
        |config| {
            config.limits.landing_buffers = LANDING_BUFFERS;
            config.static_peers = vec![source.peer.listen_addrs()[0].to_string()];
        },
    );
    let offered = |game: GameRow| game.content_hash.is_some() && !game.sources.is_empty();
    until("the game is offered", || receiver.game().is_some_and(offered));

    let doom = || "doom".parse().unwrap();
    receiver.call(PeerCommand::Download { game: doom(), install: false });
    until("all that may land has landed, and nothing is sent any more", || {
        let here = receiver.metrics();
        assert!(here.landing_buffers.in_use <= LANDING_BUFFERS, "{here:#?}");
        assert!(here.landing_buffers_reserved <= LANDING_BUFFERS, "{here:#?}");
        let full = here.batches_unwritten + 1 >= LANDING_BUFFERS && here.runs_awaited == 0;
        full && source.metrics().uploads_running == 0
    });
    let (here, there) = (receiver.metrics(), source.metrics());
    let most = LANDING_BUFFERS as u64 * CHUNK_SIZE;
    assert!(here.bytes_received <= most && there.bytes_sent <= most, "{here:#?} {there:#?}");
    assert!(events(&here, StallCause::LandingBuffers) > 0 && events(&here, StallCause::DiskWrite) > 0, "{here:#?}");
    let bulk = here.queues.iter().find(|queue| queue.queue == "bulk").unwrap();
    assert!(bulk.waiting >= LANDING_BUFFERS - 1 && bulk.waiting <= bulk.limit, "{here:#?}");

    // What is not game data goes its way, here and over the network: the source is asked for its list of files.
    let CommandData::Status(status) = receiver.call(PeerCommand::Status) else { panic!("no status") };
    assert_eq!((status.peers_connected, status.operations.len()), (1, 1));
    let CommandData::GameFiles(files) = receiver.call(PeerCommand::GetGame { game: doom() }) else {
        panic!("no files")
    };
    assert_eq!(files.files.len(), 2);
    let (here, there) = (receiver.metrics(), source.metrics());
    assert!(here.bytes_received <= most && there.bytes_sent <= most, "nothing moved: {here:#?} {there:#?}");

    gate.open();
    let events_of = receiver.peer.events();
    loop {
        match events_of.recv_timeout(PATIENCE).expect("the download goes on") {
            PeerEvent::DownloadFinished { .. } => break,
            PeerEvent::DownloadFailed { message, .. } => panic!("{message}"),
            _ => {}
        }
    }
    let here = receiver.metrics();
    assert_eq!((here.chunks_received, here.chunks_bad), (CHUNKS as u64 + 1, 0));
    assert!((LANDING_BUFFERS - 1..=LANDING_BUFFERS).contains(&here.landing_buffers.peak), "{here:#?}");
    assert!(here.landing_buffers.allocated <= LANDING_BUFFERS, "{here:#?}");
    assert!(std::fs::read(receiver.games.join("doom/data.pak")).unwrap() == content);
    receiver.stop();
    source.stop();
}
