//! A disk that stands still, and then takes one chunk after the other, under a whole daemon: memory stays bounded, the source is
//! slowed by what is not asked for, and everything but the bytes of games goes on: pings are answered.

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
/// After so much silence a neighbour is pinged.
const PING_AFTER: Duration = Duration::from_millis(50);
/// Signs of life that a neighbour must get while the disk is slow.
const SIGNS: usize = 10;
const LANDING_BUFFERS: usize = 8;
/// Far more than the buffers hold.
const CHUNKS: usize = 5 * LANDING_BUFFERS;
/// What the disk takes while it is slow: the buffers are filled again and again, and the download is not near its end.
const SLOWLY: usize = CHUNKS - 2 * LANDING_BUFFERS;

/// A disk that writes as many chunks as it is allowed to.
#[derive(Default)]
struct Throttle {
    allowed: Mutex<usize>,
    changed: Condvar,
}

impl Throttle {
    fn allow(&self, chunks: usize) {
        *self.allowed.lock().unwrap() += chunks;
        self.changed.notify_all();
    }
}

impl Hook for Throttle {
    fn before(&self, op: Op<'_>) -> io::Result<()> {
        if matches!(op, Op::Write { bytes, .. } if bytes.len() as u64 == CHUNK_SIZE) {
            let allowed = self.allowed.lock().unwrap();
            // A test that fails must end.
            let (mut allowed, _) =
                self.changed.wait_timeout_while(allowed, 2 * PATIENCE, |allowed| *allowed == 0).unwrap();
            *allowed = allowed.saturating_sub(1);
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
        config.timers.ping_after = PING_AFTER;
        config.timers.arriving_quiet = Duration::from_millis(1);
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

    /// How long ago the only peer of this daemon gave a sign of life.
    fn silence(&self) -> u64 {
        let CommandData::Peers(list) = self.call(PeerCommand::ListPeers) else { panic!("no list") };
        let [peer] = &list.peers[..] else { panic!("not one peer: {list:?}") };
        assert!(peer.connected, "{peer:?}");
        peer.last_seen_ms.unwrap()
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

/// That what has landed, and what was sent, is what the disk took and what the buffers hold at most.
fn assert_bounded(here: &Metrics, there: &Metrics, allowed: usize) {
    assert!(here.landing_buffers.in_use <= LANDING_BUFFERS, "{here:#?}");
    assert!(here.landing_buffers_reserved <= LANDING_BUFFERS, "{here:#?}");
    // The one byte of the sentinel is written without leave.
    let most = (allowed + LANDING_BUFFERS) as u64 * CHUNK_SIZE + 1;
    assert!(here.bytes_received <= most && there.bytes_sent <= most, "{allowed} chunks allowed: {here:#?} {there:#?}");
}

#[test]
fn a_slow_disk_bounds_memory_and_holds_the_source_back_while_pings_are_answered() {
    let content: Vec<u8> = (0..CHUNKS * CHUNK_SIZE as usize).map(|at| (at / 4096 * 7 + at) as u8).collect();
    let make = |games: &Path| {
        std::fs::create_dir_all(games.join("doom")).unwrap();
        std::fs::write(games.join("doom/data.pak"), &content).unwrap();
        std::fs::write(games.join("doom/version.ini"), "1").unwrap();
    };
    let disk = Arc::new(Throttle::default());
    let source = Daemon::start(make, |_| {});
    until("the source has hashed its game", || source.game().is_some_and(|game| game.content_hash.is_some()));
    let receiver = Daemon::start(
        |games| plant_hook(games, disk.clone()),
        |config| {
            config.limits.landing_buffers = LANDING_BUFFERS;
            config.static_peers = vec![source.peer.listen_addrs()[0].to_string()];
        },
    );
    let offered = |game: GameRow| game.content_hash.is_some() && !game.sources.is_empty();
    until("the game is offered", || receiver.game().is_some_and(offered));
    // Has nothing, and wants nothing: whatever passes between the two are pings, and what comes with them.
    let neighbour =
        Daemon::start(|_| {}, |config| config.static_peers = vec![receiver.peer.listen_addrs()[0].to_string()]);
    let neighbours = || {
        let CommandData::Status(status) = neighbour.call(PeerCommand::Status) else { panic!("no status") };
        status.peers_connected
    };
    until("the neighbour is connected", || neighbours() == 1);

    // The disk stands still.
    let doom = || "doom".parse().unwrap();
    receiver.call(PeerCommand::Download { game: doom(), install: false, again: false });
    until("all that may land has landed, and nothing is sent any more", || {
        let (here, there) = (receiver.metrics(), source.metrics());
        assert_bounded(&here, &there, 0);
        let full = here.batches_unwritten + 1 >= LANDING_BUFFERS && here.runs_awaited == 0;
        full && there.uploads_running == 0
    });
    let (here, there) = (receiver.metrics(), source.metrics());
    assert!(events(&here, StallCause::LandingBuffers) > 0 && events(&here, StallCause::DiskWrite) > 0, "{here:#?}");
    let bulk = here.queues.iter().find(|queue| queue.queue == "bulk").unwrap();
    assert!(bulk.waiting >= LANDING_BUFFERS - 1 && bulk.waiting <= bulk.limit, "{here:#?}");
    let sent = there.bytes_sent;

    // What is not game data goes its way, here and over the network: the source is asked for its list of files.
    let CommandData::Status(status) = receiver.call(PeerCommand::Status) else { panic!("no status") };
    assert_eq!((status.peers_connected, status.operations.len()), (2, 1));
    let CommandData::GameFiles(files) = receiver.call(PeerCommand::GetGame { game: doom() }) else {
        panic!("no files")
    };
    assert_eq!(files.files.len(), 2);
    assert_eq!(source.metrics().bytes_sent, sent, "nothing of the game moved");

    // The disk is slow: it takes a chunk now and then, and the source sends one for each that it took. A silence that is shorter
    // than at the last look was broken in between.
    let (mut allowed, mut signs, mut silence) = (0, 0, neighbour.silence());
    until("the slow disk took its chunks, and the neighbour got its signs of life", || {
        if allowed < SLOWLY {
            disk.allow(1);
            allowed += 1;
        }
        assert_bounded(&receiver.metrics(), &source.metrics(), allowed);
        let before = std::mem::replace(&mut silence, neighbour.silence());
        signs += usize::from(silence < before);
        allowed == SLOWLY && signs >= SIGNS
    });
    until("what the disk took has made room", || {
        let (here, there) = (receiver.metrics(), source.metrics());
        assert_bounded(&here, &there, allowed);
        here.bytes_received > (allowed as u64 + LANDING_BUFFERS as u64 - 1) * CHUNK_SIZE
    });

    disk.allow(CHUNKS);
    let events_of = receiver.peer.events();
    loop {
        match events_of.recv_timeout(PATIENCE).expect("the download goes on") {
            PeerEvent::DownloadFinished { .. } => break,
            PeerEvent::DownloadFailed { message, .. } => panic!("{message}"),
            PeerEvent::PeerLost { reason, .. } => panic!("a peer was lost: {reason}"),
            _ => {}
        }
    }
    let here = receiver.metrics();
    assert_eq!((here.chunks_received, here.chunks_bad), (CHUNKS as u64 + 1, 0));
    assert!((LANDING_BUFFERS - 1..=LANDING_BUFFERS).contains(&here.landing_buffers.peak), "{here:#?}");
    assert!(here.landing_buffers.allocated <= LANDING_BUFFERS, "{here:#?}");
    assert!(std::fs::read(receiver.games.join("doom/data.pak")).unwrap() == content);
    neighbour.stop();
    receiver.stop();
    source.stop();
}
