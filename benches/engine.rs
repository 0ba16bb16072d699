//! What the control plane costs: one input, one library, many peers.
//!
//! `cargo bench --bench engine`

#![allow(clippy::expect_used, reason = "a benchmark that cannot begin has nothing to report")]
#![allow(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use divan::{Bencher, black_box};
use lanspread_peer::catalog::Catalog;
use lanspread_peer::config::Config;
use lanspread_peer::engine::{ConnId, Engine, InboundId, Input, Output};
use lanspread_peer::proto::{self, Answer, Delta, Hello, MAX_BULK_FRAME, Notification, PROTO_VER, Request, Snapshot};
use lanspread_peer::types::{
    Availability, ContentHash, Epoch, Fingerprint, GameSummary, Job, JobDone, LibraryDigest, ManifestHash,
    OpenedLibrary, PeerId, Revision, ScannedGame, Seen, library_digest,
};

const GAMES: usize = 10_000;

fn main() {
    divan::main();
}

fn peer(n: u32) -> PeerId {
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&n.to_be_bytes());
    PeerId::from_spki_sha256(&digest)
}

fn addr(n: u32) -> SocketAddr {
    SocketAddr::from(((0x0a00_0000 + n).to_be_bytes(), 4000))
}

fn summaries(count: usize, version: &str) -> Vec<Arc<GameSummary>> {
    (0..count)
        .map(|n| {
            Arc::new(GameSummary {
                id: format!("game-{n:05}").parse().expect("a game id"),
                name: format!("A game by the name of {n}"),
                eti_version: Some(version.to_owned()),
                size: 10 << 30,
                downloaded: true,
                installed: false,
                manifest_hash: ManifestHash([1; 16]),
                content_hash: Some(ContentHash([2; 32])),
                availability: Availability::Ready,
                changed: false,
                supersedes: Vec::new(),
                not_shared: None,
            })
        })
        .collect()
}

fn digest(games: &[Arc<GameSummary>]) -> LibraryDigest {
    library_digest(games.iter().map(|game| &**game))
}

/// An engine with `own` games of its own and `peers` connected peers that have `theirs`.
struct Party {
    engine: Engine,
    now: Instant,
}

impl Party {
    fn new(own: usize, peers: u32, theirs: &[Arc<GameSummary>]) -> Self {
        let config = Config::new(PathBuf::from("/games"), PathBuf::from("/state"));
        let now = Instant::now();
        let mut party = Self { engine: Engine::new(config, Catalog::open_to_all(), peer(0), 1, now), now };
        party.feed(Input::Listening { addrs: vec![addr(0)] });
        let games = summaries(own, "1")
            .iter()
            .map(|game| {
                Arc::new(ScannedGame {
                    id: game.id.clone(),
                    eti_version: game.eti_version.clone(),
                    size: game.size,
                    downloaded: true,
                    installed: false,
                    installed_by: None,
                    installed_version: None,
                    installs_by: None,
                    manifest_hash: game.manifest_hash,
                    content_hash: game.content_hash,
                    fingerprint: Fingerprint([3; 16]),
                    unportable: None,
                    brought: None,
                    leaves_out: None,
                    arriving: false,
                    supersedes: Vec::new(),
                    seen: Seen::default(),
                })
            })
            .collect();
        let opened = OpenedLibrary {
            dir: PathBuf::from("/games"),
            index: None,
            notice: None,
            was_open: false,
            games,
            wall_ns: 0,
        };
        let outputs = party.feed(Input::JobDone(JobDone::LibraryOpened(Ok(opened))));
        for output in outputs {
            if let Output::Job(Job::SaveIndex { index }) = output {
                party.feed(Input::JobDone(JobDone::IndexSaved { stamp: index.stamp(), result: Ok(()) }));
            }
        }
        let digest = digest(theirs);
        for n in 1..=peers {
            party.join(n, theirs, digest);
        }
        party
    }

    fn feed(&mut self, input: Input) -> Vec<Output> {
        self.engine.handle(input, self.now);
        std::iter::from_fn(|| self.engine.poll_output()).collect()
    }

    fn join(&mut self, n: u32, games: &[Arc<GameSummary>], library_digest: LibraryDigest) {
        let conn = ConnId(u64::from(n));
        self.feed(Input::ConnectionUp {
            conn,
            peer_id: peer(n),
            remote: addr(n),
            local: addr(0),
            interface: None,
            dial: None,
            party: None,
        });
        let hello = Hello {
            peer_id: peer(n),
            proto_ver: PROTO_VER,
            listen_addr: addr(n),
            hostname: None,
            library_epoch: Epoch(1),
            library_rev: Revision(1),
            library_digest,
            game_count: games.len() as u32,
            features: Vec::new(),
        };
        let outputs = self.feed(Input::Request { from: InboundId { conn, stream: 0 }, request: Request::Hello(hello) });
        for output in outputs {
            if let Output::Ask { request, .. } = output {
                let snapshot = Snapshot { epoch: Epoch(1), rev: Revision(1), games: games.to_vec() };
                let answer = Answer::LibrarySnapshot { peer_id: peer(n), snapshot };
                self.feed(Input::Answered { request, result: Ok((answer, Vec::new())) });
            }
        }
    }
}

/// One small request among 200 connected peers.
#[divan::bench(args = [10, 200])]
fn ping_is_answered(bencher: Bencher<'_, '_>, peers: u32) {
    let mut party = Party::new(1_000, peers, &summaries(1_000, "1"));
    let from = InboundId { conn: ConnId(1), stream: 4 };
    bencher.bench_local(|| party.feed(Input::Request { from, request: Request::Ping { nonce: 1 } }));
}

/// The turn of the loop in which nothing is due.
#[divan::bench(args = [10, 200])]
fn timeout_with_nothing_due(bencher: Bencher<'_, '_>, peers: u32) {
    let mut party = Party::new(1_000, peers, &summaries(1_000, "1"));
    party.now += Duration::from_millis(10);
    party.feed(Input::Timeout);
    bencher.bench_local(|| party.feed(Input::Timeout));
}

/// A newcomer with a library of 10,000 games: Hello, snapshot, digest, interning.
#[divan::bench]
fn newcomer_with_10k_games(bencher: Bencher<'_, '_>) {
    let games = summaries(GAMES, "1");
    let digest = digest(&games);
    bencher.with_inputs(|| Party::new(0, 0, &[])).bench_local_values(|mut party| {
        party.join(1, &games, digest);
        party
    });
}

/// A pushed change of one game in a library of 10,000.
#[divan::bench]
fn pushed_delta_in_10k_games(bencher: Bencher<'_, '_>) {
    let games = summaries(GAMES, "1");
    let mut after = games.clone();
    after[GAMES / 2] = summaries(GAMES, "2").swap_remove(GAMES / 2);
    let delta = Delta {
        epoch: Epoch(1),
        from_rev: Revision(1),
        to_rev: Revision(2),
        to_digest: digest(&after),
        added: Vec::new(),
        updated: vec![after[GAMES / 2].clone()],
        removed: Vec::new(),
    };
    bencher.with_inputs(|| (Party::new(0, 1, &games), delta.clone())).bench_local_values(|(mut party, delta)| {
        let notification = Notification::LibraryDelta { peer_id: peer(1), delta };
        let outputs = party.feed(Input::Notification { conn: ConnId(1), notification });
        assert!(outputs.iter().any(|output| matches!(output, Output::Event(_))));
        party
    });
}

/// The digest alone.
#[divan::bench]
fn digest_of_10k_games(bencher: Bencher<'_, '_>) {
    let games = summaries(GAMES, "1");
    bencher.bench_local(|| digest(black_box(&games)));
}

/// The JSON of a snapshot of 10,000 games, both ways.
#[divan::bench]
fn snapshot_of_10k_games_through_json(bencher: Bencher<'_, '_>) {
    let snapshot = Snapshot { epoch: Epoch(1), rev: Revision(1), games: summaries(GAMES, "1") };
    let answer = Answer::LibrarySnapshot { peer_id: peer(1), snapshot };
    bencher.bench_local(|| {
        let frame = proto::encode(black_box(&answer), MAX_BULK_FRAME).expect("fits");
        proto::decode::<Answer>(&frame[4..]).expect("reads back")
    });
}
