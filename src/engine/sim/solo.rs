//! A lone engine fed by hand.

use super::*;
use crate::proto::{Delta, Hello, LibraryState, Snapshot};
use crate::types::{Availability, Epoch, LibraryDigest, Revision, library_digest};

pub(super) const EPOCH: Epoch = Epoch(7);

/// One engine whose surroundings the test plays.
pub(super) struct Solo {
    pub(super) engine: Engine,
    pub(super) now: Instant,
    pub(super) next: u64,
}

impl Solo {
    /// An engine with a higher id than every [`peer`] below 9.
    pub(super) fn new(games: &[ScannedGame], index: Option<LibraryIndex>) -> Self {
        Self::with(games, index, |_| {})
    }

    /// One without games.
    pub(super) fn bare(set: impl FnOnce(&mut Config)) -> Self {
        Self::with(&[], None, set)
    }

    pub(super) fn with(games: &[ScannedGame], index: Option<LibraryIndex>, set: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(PathBuf::from("/games"), PathBuf::from("/state"));
        config.timers.arriving_quiet = Duration::ZERO;
        set(&mut config);
        let now = Instant::now();
        let engine = Engine::new(config, Catalog::open_to_all(), peer(9), 1, now);
        let mut solo = Self { engine, now, next: 1 };
        let mut outputs = solo.feed(Input::Listening { addrs: vec![addr(9)] });
        outputs.retain(|output| !matches!(output, Output::FetchCatalog | Output::AskMirror { .. }));
        assert_eq!(outputs, [Output::Job(Job::OpenLibrary { dir: PathBuf::from("/games") })]);
        let games = games.iter().cloned().map(Arc::new).collect();
        let opened =
            OpenedLibrary { dir: PathBuf::from("/games"), index, notice: None, was_open: false, games, wall_ns: 0 };
        let outputs = solo.feed(Input::JobDone(JobDone::LibraryOpened(Ok(opened))));
        if let Some(index) = saves(&outputs).pop() {
            assert!(!outputs.iter().any(|output| matches!(output, Output::Advertise { .. } | Output::Dial { .. })));
            solo.saved(&index, Ok(()));
        }
        solo
    }

    pub(super) fn feed(&mut self, input: Input) -> Vec<Output> {
        self.engine.handle(input, self.now);
        std::iter::from_fn(|| self.engine.poll_output()).collect()
    }

    /// Lets time pass, timer by timer.
    pub(super) fn pass(&mut self, time: Duration) -> Vec<Output> {
        let until = self.now + time;
        let mut outputs = Vec::new();
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            outputs.extend(self.feed(Input::Timeout));
        }
        self.now = until;
        outputs
    }

    pub(super) fn saved(&mut self, index: &LibraryIndex, result: Result<(), JobError>) -> Vec<Output> {
        self.feed(Input::JobDone(JobDone::IndexSaved { stamp: index.stamp(), result }))
    }

    /// The disk takes everything.
    pub(super) fn save_all(&mut self, outputs: &[Output]) {
        let mut left = saves(outputs);
        while let Some(index) = left.pop() {
            left.extend(saves(&self.saved(&index, Ok(()))));
        }
    }

    /// A peer dials and has not said Hello.
    pub(super) fn incoming(&mut self, peer: PeerId, remote: SocketAddr) -> ConnId {
        self.next += 1;
        let conn = ConnId(self.next);
        let outputs = self.feed(Input::ConnectionUp {
            conn,
            peer_id: peer,
            remote,
            local: addr(9),
            interface: None,
            dial: None,
            party: None,
        });
        assert_eq!(outputs, []);
        conn
    }

    pub(super) fn ask(&mut self, conn: ConnId, request: Request) -> Vec<Output> {
        self.next += 1;
        self.feed(Input::Request { from: InboundId { conn, stream: self.next }, request })
    }

    /// A peer dials and is accepted.
    pub(super) fn accepted(&mut self, n: u8, state: LibraryState) -> (ConnId, Vec<Output>) {
        let conn = self.incoming(peer(n), addr(n));
        let outputs = self.ask(conn, Request::Hello(hello(n, state)));
        assert!(matches!(answers(&outputs)[..], [Answer::HelloAck(_)]), "{outputs:?}");
        (conn, outputs)
    }

    pub(super) fn answer(&mut self, request: RequestId, answer: Answer) -> Vec<Output> {
        self.feed(Input::Answered { request, result: Ok((answer, Vec::new())) })
    }

    pub(super) fn command(&mut self, command: PeerCommand) -> Vec<Output> {
        self.next += 1;
        self.feed(Input::Command { id: CommandId(self.next), command })
    }

    pub(super) fn status(&mut self) -> crate::api::Status {
        match replies(&self.command(PeerCommand::Status)).pop() {
            Some(Ok(CommandData::Status(status))) => *status,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn rows(&mut self) -> Vec<crate::api::GameRow> {
        match replies(&self.command(PeerCommand::ListGames)).pop() {
            Some(Ok(CommandData::Games(list))) => list.games,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn peer_rows(&mut self) -> Vec<crate::api::PeerRow> {
        match replies(&self.command(PeerCommand::ListPeers)).pop() {
            Some(Ok(CommandData::Peers(list))) => list.peers,
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn peer(n: u8) -> PeerId {
    PeerId::from_spki_sha256(&[n; 32])
}

pub(super) fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 4000))
}

pub(super) fn hello(n: u8, state: LibraryState) -> Hello {
    Hello {
        peer_id: peer(n),
        proto_ver: PROTO_VER,
        listen_addr: addr(n),
        hostname: None,
        library_epoch: state.epoch,
        library_rev: state.rev,
        library_digest: state.digest,
        game_count: state.game_count,
        features: Vec::new(),
    }
}

pub(super) fn state(rev: u64, games: &[GameSummary]) -> LibraryState {
    LibraryState {
        epoch: EPOCH,
        rev: Revision(rev),
        digest: library_digest(games.iter()),
        game_count: games.len() as u32,
    }
}

pub(super) fn empty() -> LibraryState {
    state(1, &[])
}

pub(super) fn summary(game: &str, size: u64) -> GameSummary {
    let ScannedGame { id, eti_version, size, downloaded, installed, manifest_hash, content_hash, .. } =
        scanned(game, "1", size);
    let (name, availability, supersedes) = (game.to_owned(), Availability::Ready, Vec::new());
    GameSummary {
        id,
        name,
        eti_version,
        size,
        downloaded,
        installed,
        manifest_hash,
        content_hash,
        availability,
        changed: false,
        supersedes,
        not_shared: None,
    }
}

pub(super) fn sighting(n: u8, rev: u64) -> Sighting {
    let stamp = LibraryStamp { epoch: EPOCH, rev: Revision(rev) };
    Sighting { peer_id: peer(n), addrs: vec![addr(n)], proto_ver: PROTO_VER, stamp, hostname: None }
}

pub(super) fn answers(outputs: &[Output]) -> Vec<&Answer> {
    outputs
        .iter()
        .filter_map(|output| if let Output::Answer { body, .. } = output { Some(&**body) } else { None })
        .collect()
}

pub(super) fn asks(outputs: &[Output]) -> Vec<(RequestId, &Request)> {
    let ask =
        |output| if let &Output::Ask { request, ref body, .. } = output { Some((request, &**body)) } else { None };
    outputs.iter().filter_map(ask).collect()
}

pub(super) fn notes(outputs: &[Output]) -> Vec<&Notification> {
    outputs
        .iter()
        .filter_map(|output| if let Output::Notify { body, .. } = output { Some(&**body) } else { None })
        .collect()
}

pub(super) fn closes(outputs: &[Output]) -> Vec<(ConnId, CloseCode)> {
    let close =
        |output: &Output| if let Output::Close { conn, code, .. } = output { Some((*conn, *code)) } else { None };
    outputs.iter().filter_map(close).collect()
}

pub(super) fn dials(outputs: &[Output]) -> Vec<(DialId, SocketAddr)> {
    let dial = |output: &Output| if let Output::Dial { dial, addr, .. } = output { Some((*dial, *addr)) } else { None };
    outputs.iter().filter_map(dial).collect()
}

pub(super) fn jobs(outputs: &[Output]) -> Vec<&Job> {
    outputs.iter().filter_map(|output| if let Output::Job(job) = output { Some(job) } else { None }).collect()
}

pub(super) fn saves(outputs: &[Output]) -> Vec<LibraryIndex> {
    let save = |job: &Job| match job {
        Job::SaveIndex { index } => Some(index.clone()),
        _ => None,
    };
    jobs(outputs).into_iter().filter_map(save).collect()
}

pub(super) fn events(outputs: &[Output]) -> Vec<&PeerEvent> {
    outputs.iter().filter_map(|output| if let Output::Event(event) = output { Some(&**event) } else { None }).collect()
}

pub(super) fn replies(outputs: &[Output]) -> Vec<CommandResult> {
    let reply =
        |output: &Output| if let Output::Reply { result, .. } = output { Some((**result).clone()) } else { None };
    outputs.iter().filter_map(reply).collect()
}

pub(super) fn lost(outputs: &[Output]) -> Vec<&str> {
    let mut reasons = Vec::new();
    for event in events(outputs) {
        if let PeerEvent::PeerLost { reason, .. } = event {
            reasons.push(reason.as_str());
        }
    }
    reasons
}

pub(super) fn snapshot(rev: u64, games: &[GameSummary]) -> Snapshot {
    Snapshot { epoch: EPOCH, rev: Revision(rev), games: games.iter().cloned().map(Arc::new).collect() }
}

/// A lone engine in step with one peer that has these games at revision 5.
pub(super) fn in_step_with(games: &[GameSummary]) -> (Solo, ConnId) {
    let mut solo = Solo::new(&[], None);
    let (conn, outputs) = solo.accepted(1, state(5, games));
    let [(request, Request::GetLibrary { .. })] = asks(&outputs)[..] else { panic!("{outputs:?}") };
    let outputs = solo.answer(request, Answer::LibrarySnapshot { peer_id: peer(1), snapshot: snapshot(5, games) });
    assert!(matches!(events(&outputs)[..], [PeerEvent::PeerLibraryChanged { rev: Revision(5), .. }]));
    (solo, conn)
}

pub(super) fn delta(from: u64, to: u64, digest: LibraryDigest, added: &[GameSummary]) -> Delta {
    Delta {
        epoch: EPOCH,
        from_rev: Revision(from),
        to_rev: Revision(to),
        to_digest: digest,
        added: added.iter().cloned().map(Arc::new).collect(),
        updated: Vec::new(),
        removed: Vec::new(),
    }
}

/// The watcher reports a game and the scan finds this.
pub(super) fn found(solo: &mut Solo, game: &str, result: Option<ScannedGame>) -> Vec<Output> {
    let game: GameId = game.parse().unwrap();
    solo.feed(Input::FsChanged { game: game.clone() });
    let outputs = solo.pass(Duration::from_millis(500));
    assert!(jobs(&outputs).iter().any(|job| matches!(job, Job::ScanGame { game: of, .. } if *of == game)));
    let mut outputs = solo.feed(Input::JobDone(JobDone::GameScanned { game, result: Ok(result.map(Arc::new)) }));
    outputs.extend(solo.pass(Duration::from_millis(500)));
    outputs
}
