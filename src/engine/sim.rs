//! Engines joined in memory under virtual time: messages take a while, get lost with their connections, disks forget.
//!
//! Everything comes from one seed, so a failing seed replays exactly. Messages pass through their JSON form.

#![allow(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Ids;
use super::*;
use crate::api::{CommandResult, PeerCommand, Status};
use crate::proto::{Answer, ChunkRun, CloseCode, GetChunks, MAX_BULK_FRAME, ManifestAnswer, Notification, PROTO_VER};
use crate::types::{
    CHUNK_SIZE, ChunkHash, ChunkIndex, ChunkRange, ContentHash, DownloadId, DownloadPlan, FileEntry, Fingerprint,
    GameId, GameSummary, InstalledBy, JobErrorKind, KeptFiles, LibraryIndex, LibraryStamp, Manifest, ManifestHash,
    PartyProof, PartyProofs, ProgramAnswer, RelPath, ScannedGame, Seen, Times, VerifiedFiles,
};

mod arriving;
mod audit;
mod budget;
mod catalog;
mod commands;
mod convergence;
mod diagnose;
mod explain;
mod landing;
mod liars;
mod libraries;
mod mirrors;
mod operations;
mod peers;
mod solo;
mod storm;
mod unplugged;

/// A world of daemons.
pub(super) struct World {
    pub(super) now: Instant,
    start: Instant,
    random: Ids,
    queue: BTreeMap<(Instant, u64), Happening>,
    next: u64,
    pub(super) nodes: Vec<Node>,
    links: BTreeMap<u64, Link>,
    /// Pairs of nodes between which nothing passes.
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// Whether advertisements reach others.
    pub(super) multicast: bool,
    /// Of 100 notifications, how many are lost.
    pub(super) dropped_notifications: u64,
    /// Of 100 saves, how many fail.
    pub(super) failing_saves: u64,
    /// Milliseconds that the hashing of a game takes at most.
    pub(super) slow_hashes: u64,
    /// What goes wrong with downloads.
    faults: landing::Faults,
    /// Nodes that lie.
    liars: BTreeSet<usize>,
    lies: liars::Lies,
    /// Looks over everything that goes into the engines and comes out.
    audit: Option<audit::Audit>,
    /// A digest of everything that came out of the engines.
    pub(super) trace: xxhash_rust::xxh3::Xxh3,
    /// Whether everything that is said is printed.
    is_told: bool,
    pub(super) outputs: u64,
}

/// One PC: its disk survives, its engine does not.
pub(super) struct Node {
    pub(super) id: PeerId,
    pub(super) engine: Option<Engine>,
    pub(super) addr: SocketAddr,
    pub(super) disk: Disk,
    /// The game directory that `disk` is.
    pub(super) dir: PathBuf,
    /// Other game directories.
    shelf: BTreeMap<PathBuf, Disk>,
    /// Directories whose drive is not there.
    unplugged: BTreeSet<PathBuf>,
    /// Whether the daemon has one open.
    is_open: bool,
    /// How often it was changed.
    moves: u64,
    /// Downloads whose content became known while they were running.
    pub(super) learned: u64,
    /// Saves of the index that are under way.
    saving: usize,
    pub(super) config: Config,
    pub(super) catalog: Catalog,
    /// What a look at the catalog brings.
    pub(super) published: Result<Option<Arc<Catalog>>, JobError>,
    pub(super) events: Vec<PeerEvent>,
    pub(super) replies: BTreeMap<u64, CommandResult>,
    pub(super) advertised: Option<LibraryStamp>,
    pub(super) watched: BTreeSet<GameId>,
    life: u64,
    conns: BTreeMap<ConnId, u64>,
    /// Connections that the engine was told of, and not that they are gone.
    open: BTreeSet<ConnId>,
    /// Requests that were sent and are not answered, by their number.
    asked: BTreeMap<RequestId, ConnId>,
    plans: BTreeMap<DownloadId, Arc<DownloadPlan>>,
    fetches: BTreeMap<RequestId, landing::Fetch>,
    /// Batches that landed and are not written.
    writing: Vec<(DownloadId, RequestId, ChunkRange)>,
    /// Sends that did not end in `SendDone` yet.
    sends: BTreeMap<InboundId, GameId>,
    /// Games that a job is at work on, and whether it was told to give up.
    pub(super) at_work: BTreeMap<GameId, bool>,
    /// What the next such job fails with.
    pub(super) job_error: Option<JobErrorKind>,
    /// What verifications find.
    pub(super) bad_chunks: Vec<ChunkIndex>,
}

/// What the transport says of a connection where a party key is set: here the name of its file is the key.
fn party_proofs(config: &Config, link: u64, dialled: bool) -> Option<PartyProofs> {
    let key = config.party_key_file.as_ref()?;
    let proof = |role| PartyProof(*blake3::hash(format!("{} {link} {role}", key.display()).as_bytes()).as_bytes());
    let (dialler, listener) = (proof("dialler"), proof("listener"));
    let (own, peer) = if dialled { (dialler, listener) } else { (listener, dialler) };
    Some(PartyProofs { own, peer })
}

#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) games: BTreeMap<GameId, Arc<ScannedGame>>,
    pub(super) index: Option<LibraryIndex>,
    /// What downloads that ended early left: verified chunks of this list of files.
    parts: BTreeMap<GameId, (ManifestHash, BTreeSet<ChunkIndex>)>,
}

struct Link {
    ends: [(usize, u64, ConnId); 2],
    /// Messages do not overtake the handshake.
    up: Instant,
}

enum Happening {
    Input {
        node: usize,
        life: u64,
        input: Input,
    },
    Wake {
        node: usize,
        life: u64,
    },
    /// A request that nobody answered.
    Overdue {
        node: usize,
        life: u64,
        request: RequestId,
    },
    Saved {
        node: usize,
        life: u64,
        index: LibraryIndex,
    },
    /// A job that changes or reads the files of a game is at its end.
    Worked {
        node: usize,
        life: u64,
        job: Job,
    },
    /// The next batch of a run lands, or its end.
    Landing {
        node: usize,
        life: u64,
        request: RequestId,
    },
}

impl World {
    pub(super) fn new(seed: u64, nodes: usize) -> Self {
        let now = Instant::now();
        let node = |n: usize| {
            let mut config = Config::new(PathBuf::from("/games"), PathBuf::from("/state"));
            config.hostname = Some(format!("pc-{n}"));
            config.timers.arriving_quiet = Duration::ZERO;
            Node {
                id: PeerId::from_spki_sha256(&[n as u8 * 7 + 1; 32]),
                engine: None,
                addr: SocketAddr::from(([10, 0, 0, n as u8 + 1], 4000)),
                disk: Disk::default(),
                dir: config.game_dir.clone(),
                shelf: BTreeMap::new(),
                unplugged: BTreeSet::new(),
                is_open: false,
                moves: 0,
                learned: 0,
                saving: 0,
                config,
                catalog: Catalog::open_to_all(),
                published: Ok(None),
                events: Vec::new(),
                replies: BTreeMap::new(),
                advertised: None,
                watched: BTreeSet::new(),
                life: 0,
                conns: BTreeMap::new(),
                open: BTreeSet::new(),
                asked: BTreeMap::new(),
                plans: BTreeMap::new(),
                fetches: BTreeMap::new(),
                writing: Vec::new(),
                sends: BTreeMap::new(),
                at_work: BTreeMap::new(),
                job_error: None,
                bad_chunks: Vec::new(),
            }
        };
        Self {
            now,
            start: now,
            random: Ids::new(seed),
            queue: BTreeMap::new(),
            next: 0,
            nodes: (0..nodes).map(node).collect(),
            links: BTreeMap::new(),
            cut: BTreeSet::new(),
            multicast: true,
            dropped_notifications: 0,
            failing_saves: 0,
            slow_hashes: 0,
            faults: landing::Faults::default(),
            liars: BTreeSet::new(),
            lies: liars::Lies::default(),
            audit: None,
            trace: xxhash_rust::xxh3::Xxh3::new(),
            is_told: std::env::var_os("LANSPREAD_SIM_TRACE").is_some(),
            outputs: 0,
        }
    }

    /// A number below `bound`.
    pub(super) fn random(&mut self, bound: u64) -> u64 {
        self.random.random() % bound
    }

    fn delay(&mut self) -> Duration {
        Duration::from_micros(200 + self.random(20_000))
    }

    fn at(&mut self, at: Instant, happening: Happening) {
        self.next += 1;
        self.queue.insert((at, self.next), happening);
    }

    fn later(&mut self, node: usize, input: Input) {
        let (at, life) = (self.now + self.delay(), self.nodes[node].life);
        self.at(at, Happening::Input { node, life, input });
    }

    /// Starts a daemon on its disk, under a new port.
    pub(super) fn start(&mut self, n: usize) {
        let seed = self.random.random();
        let node = &mut self.nodes[n];
        node.life += 1;
        node.addr.set_port(4000 + node.life as u16);
        node.engine = Some(Engine::new(node.config.clone(), node.catalog.clone(), node.id, seed, self.now));
        let addrs = vec![node.addr];
        self.input(n, Input::Listening { addrs });
    }

    /// Kills a daemon: nobody is told.
    pub(super) fn kill(&mut self, n: usize) {
        if let Some(audit) = &mut self.audit {
            audit.forget(n);
        }
        let node = &mut self.nodes[n];
        node.engine = None;
        node.life += 1;
        node.advertised = None;
        node.conns.clear();
        node.open.clear();
        node.asked.clear();
        node.watched.clear();
        node.plans.clear();
        node.fetches.clear();
        node.writing.clear();
        node.sends.clear();
        node.at_work.clear();
        node.saving = 0;
        node.is_open = false;
    }

    /// Breaks every connection between two nodes; both notice.
    pub(super) fn break_links(&mut self, a: usize, b: usize) {
        let broken: Vec<u64> = self.between(a, b);
        for link in broken {
            let Some(link) = self.links.remove(&link) else { continue };
            for (node, life, conn) in link.ends {
                self.lose(node, life, conn, link.up, None);
            }
        }
    }

    pub(super) fn between(&self, a: usize, b: usize) -> Vec<u64> {
        let joins = |link: &Link| {
            let ends = [link.ends[0].0, link.ends[1].0];
            (ends == [a, b] || ends == [b, a]) && link.ends.iter().all(|(n, life, _)| self.nodes[*n].life == *life)
        };
        self.links.iter().filter(|(_, link)| joins(link)).map(|(id, _)| *id).collect()
    }

    fn lose(&mut self, node: usize, life: u64, conn: ConnId, up: Instant, code: Option<CloseCode>) {
        if self.nodes[node].life != life || self.nodes[node].conns.remove(&conn).is_none() {
            return;
        }
        let lost: Vec<_> = self.nodes[node].asked.iter().filter(|(_, on)| **on == conn).map(|(id, _)| *id).collect();
        for request in lost {
            self.answered(node, request, Err(RunFailure::ConnectionLost));
        }
        let reason = "lost".to_owned();
        let at = (self.now + self.delay()).max(up + Duration::from_micros(1));
        self.at(at, Happening::Input { node, life, input: Input::ConnectionDown { conn, code, reason } });
    }

    fn answered(&mut self, node: usize, request: RequestId, result: Result<(Answer, Vec<ChunkHash>), RunFailure>) {
        if self.nodes[node].asked.remove(&request).is_none() {
            return;
        }
        let input = match self.nodes[node].fetches.remove(&request) {
            Some(_) => Input::RunDone { request, result: result.map(drop) },
            None => Input::Answered { request, result },
        };
        self.later(node, input);
    }

    pub(super) fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cut.contains(&(a.min(b), a.max(b)))
    }

    /// Changes a game on disk and lets the watcher say so.
    pub(super) fn write_game(&mut self, n: usize, game: &str, version: &str, bytes: u64) {
        let scanned = scanned(game, version, bytes);
        let id = scanned.id.clone();
        let known = self.nodes[n].disk.games.insert(id.clone(), Arc::new(scanned)).is_some();
        self.fs_event(n, id, known);
    }

    pub(super) fn remove_game(&mut self, n: usize, game: &str) {
        let id: GameId = game.parse().unwrap();
        if self.nodes[n].disk.games.remove(&id).is_some() {
            self.fs_event(n, id, true);
        }
    }

    fn fs_event(&mut self, n: usize, game: GameId, known: bool) {
        if self.nodes[n].engine.is_some() {
            let input = if known { Input::FsChanged { game } } else { Input::FsRescan { reason: "appeared" } };
            self.later(n, input);
        }
    }

    pub(super) fn command(&mut self, n: usize, id: u64, command: PeerCommand) {
        self.input(n, Input::Command { id: CommandId(id), command });
    }

    /// A command that is answered at once.
    pub(super) fn ask(&mut self, n: usize, command: PeerCommand) -> CommandResult {
        self.next += 1;
        let id = self.next;
        self.command(n, id, command);
        self.nodes[n].replies.remove(&id).expect("it is answered at once")
    }

    pub(super) fn status(&mut self, n: usize) -> Box<Status> {
        match self.ask(n, PeerCommand::Status) {
            Ok(CommandData::Status(status)) => status,
            other => panic!("{other:?}"),
        }
    }

    /// How many games of the other one are known to a node; `None`: its library is not.
    pub(super) fn known_of(&self, n: usize, other: usize) -> Option<usize> {
        let (engine, id) = (self.nodes[n].engine.as_ref().unwrap(), self.nodes[other].id);
        let mut libraries = engine.parts.peers.libraries();
        libraries.find(|(peer, ..)| *peer == id).map(|(_, _, library)| library.games().len())
    }

    pub(super) fn sight(&mut self, whose: usize, by: usize) {
        let node = &self.nodes[whose];
        let Some(stamp) = node.advertised else { return };
        let sighting =
            Sighting { peer_id: node.id, addrs: vec![node.addr], proto_ver: PROTO_VER, stamp, hostname: None };
        if !self.is_cut(whose, by) {
            self.later(by, Input::Sighting(sighting));
        }
    }

    /// Everybody sees everybody's advertisement.
    pub(super) fn sight_all(&mut self) {
        for whose in 0..self.nodes.len() {
            for by in 0..self.nodes.len() {
                if whose != by {
                    self.sight(whose, by);
                }
            }
        }
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        self.run_while(until, |_| true);
        self.now = until;
    }

    /// Lets time pass until something holds; whether it did within a minute.
    pub(super) fn run_until(&mut self, mut holds: impl FnMut(&World) -> bool) -> bool {
        let until = self.now + Duration::from_secs(60);
        self.run_while(until, |world| !holds(world));
        holds(self)
    }

    fn run_while(&mut self, until: Instant, mut goes_on: impl FnMut(&World) -> bool) {
        let (mut steps, mut last) = (0, self.now);
        while goes_on(self) {
            let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= until) else { return };
            let ((at, _), happening) = entry.remove_entry();
            self.now = self.now.max(at);
            steps = if self.now == last { steps + 1 } else { 0 };
            last = self.now;
            assert!(steps < 10_000, "the world spins without time passing");
            match happening {
                Happening::Input { node, life, input } if self.nodes[node].life == life => self.input(node, input),
                Happening::Wake { node, life } if self.nodes[node].life == life => {
                    let due = self.nodes[node].engine.as_ref().and_then(Engine::poll_timeout);
                    if due.is_some_and(|due| due <= self.now) {
                        self.input(node, Input::Timeout);
                    }
                }
                Happening::Overdue { node, life, request } if self.nodes[node].life == life => {
                    self.answered(node, request, Err(RunFailure::Timeout));
                }
                Happening::Saved { node, life, index } if self.nodes[node].life == life => {
                    self.nodes[node].saving -= 1;
                    let stamp = index.stamp();
                    let fails = self.random(100) < self.failing_saves;
                    let result = if self.is_unplugged(node) {
                        Err(unplugged::gone())
                    } else if fails {
                        Err(JobError::new(JobErrorKind::Io, "injected"))
                    } else {
                        self.nodes[node].disk.index = Some(index);
                        Ok(())
                    };
                    self.input(node, Input::JobDone(JobDone::IndexSaved { stamp, result }));
                }
                Happening::Landing { node, life, request } if self.nodes[node].life == life => self.land(node, request),
                Happening::Worked { node, life, job } if self.nodes[node].life == life => self.worked(node, job),
                _ => {}
            }
        }
    }

    /// One happening, whatever it is; false: nothing will ever happen.
    pub(super) fn step(&mut self) -> bool {
        let mut left = 1;
        let until = self.now + Duration::from_secs(60);
        self.run_while(until, |_| std::mem::replace(&mut left, 0) == 1);
        left == 0
    }

    /// Hands an input to an engine and carries out what it says.
    pub(super) fn input(&mut self, n: usize, input: Input) {
        let now = self.now;
        if let Input::SendDone { to, .. } = &input {
            self.nodes[n].sends.remove(to);
        }
        if !self.nodes[n].admits(&input) {
            return;
        }
        self.written(n, &input);
        if let Input::ConnectionDown { conn, .. } = &input {
            // What was asked for after the connection was gone, and before that was told.
            let lost = self.nodes[n].asked.iter().filter(|(_, on)| *on == conn).map(|(id, _)| *id).collect::<Vec<_>>();
            lost.into_iter().for_each(|request| self.answered(n, request, Err(RunFailure::ConnectionLost)));
        }
        let node = &mut self.nodes[n];
        if let Some(audit) = self.audit.as_mut().filter(|_| node.engine.is_some()) {
            audit.goes_in(n, node, &input);
        }
        let Some(engine) = &mut node.engine else { return };
        engine.handle(input, now);
        let outputs: Vec<Output> = std::iter::from_fn(|| engine.poll_output()).collect();
        let wake = engine.poll_timeout();
        if let Some(audit) = &mut self.audit {
            audit.comes_out(n, node, &outputs, now);
        }
        for output in outputs {
            self.outputs += 1;
            let line = format!("{:?} {n} {output:?}\n", now - self.start);
            if self.is_told {
                eprint!("{line}");
            }
            self.trace.update(line.as_bytes());
            self.output(n, output);
        }
        if let Some(audit) = &mut self.audit {
            audit.settled(n, &self.nodes[n], now);
        }
        if let Some(at) = wake {
            let life = self.nodes[n].life;
            self.at(at.max(now), Happening::Wake { node: n, life });
        }
    }

    fn output(&mut self, n: usize, output: Output) {
        match output {
            Output::Dial { dial, addr, expect, .. } => self.dial(n, dial, addr, expect),
            Output::Close { conn, code, .. } => {
                self.nodes[n].asked.retain(|_, on| *on != conn);
                self.nodes[n].fetches.retain(|_, fetch| fetch.conn != conn);
                self.nodes[n].open.remove(&conn);
                let Some(link) = self.nodes[n].conns.remove(&conn).and_then(|link| self.links.remove(&link)) else {
                    return;
                };
                let other = link.ends.into_iter().find(|(node, _, _)| *node != n).unwrap_or(link.ends[1]);
                let (node, life, conn) = other;
                if !self.is_cut(n, node) {
                    self.lose(node, life, conn, link.up, Some(code));
                }
            }
            Output::Ask { request, conn, body } => {
                self.nodes[n].asked.insert(request, conn);
                let (at, life) = (self.now + self.nodes[n].config.timers.request_timeout, self.nodes[n].life);
                self.at(at, Happening::Overdue { node: n, life, request });
                let request_body = through_json(&*body);
                self.count_fallback(n, conn, &request_body);
                self.send(n, conn, |conn| Input::Request {
                    from: InboundId { conn, stream: request.0 },
                    request: request_body,
                });
            }
            Output::Fetch { request, conn, download: Planned { id: download, plan }, content_hash, range } => {
                self.nodes[n].asked.insert(request, conn);
                self.nodes[n].fetches.insert(request, landing::Fetch::new(conn, download, &plan.manifest, range));
                let (at, life) = (self.now + self.nodes[n].config.timers.run_stall, self.nodes[n].life);
                self.at(at, Happening::Overdue { node: n, life, request });
                let range = self.mangle_range(n, range, plan.manifest.chunk_count());
                let body = Request::GetChunks(GetChunks {
                    game_id: plan.game.clone(),
                    manifest_hash: plan.manifest_hash,
                    content_hash,
                    first: range.first,
                    count: range.count,
                });
                self.send(n, conn, |conn| Input::Request {
                    from: InboundId { conn, stream: request.0 },
                    request: body,
                });
            }
            Output::Cancel { request } => {
                self.nodes[n].fetches.remove(&request);
                if let Some(conn) = self.nodes[n].asked.remove(&request) {
                    self.send(n, conn, |conn| Input::RequestGone { from: InboundId { conn, stream: request.0 } });
                }
            }
            Output::Notify { conn, body } => {
                if self.random(100) >= self.dropped_notifications {
                    for notification in self.mangle_notification(n, through_json(&*body)) {
                        self.send(n, conn, |conn| Input::Notification { conn, notification });
                    }
                }
            }
            Output::Answer { to, body } => {
                let answer = through_json(&*body);
                self.answer(n, to, Ok((answer, Vec::new())));
            }
            Output::SendManifest { to, game, manifest_hash, content_hash, .. } => {
                self.send_manifest(n, to, game, manifest_hash, content_hash);
            }
            Output::SendChunks { to, request, download } => self.send_chunks(n, to, &request, download),
            Output::FetchCatalog => {
                let result = self.nodes[n].published.clone();
                self.later(n, Input::CatalogFetched { result });
            }
            Output::Job(job) => self.job(n, job),
            Output::Watch { game } => {
                assert!(self.nodes[n].watched.insert(game.clone()), "{game} is watched twice");
            }
            Output::Unwatch { game } => {
                assert!(self.nodes[n].watched.remove(&game), "{game} was not watched");
            }
            Output::LimitUpload { .. } | Output::Measure { .. } => {}
            Output::Advertise { stamp } => {
                self.nodes[n].advertised = Some(stamp);
                for by in 0..self.nodes.len() {
                    if by != n && self.multicast && self.random(10) < 8 {
                        self.sight(n, by);
                    }
                }
            }
            Output::Reply { id, result } => {
                let before = self.nodes[n].replies.insert(id.0, *result);
                assert!(before.is_none(), "command {id:?} was answered twice");
            }
            Output::Event(event) => self.nodes[n].events.push(*event),
            Output::Stopped { .. } => {
                self.kill(n);
            }
            Output::CancelJob { game } => {
                if let Some(cancelled) = self.nodes[n].at_work.get_mut(&game) {
                    assert!(!std::mem::replace(cancelled, true), "{game} was cancelled twice");
                }
            }
            Output::AskMirror { .. } | Output::MirrorManifest { .. } | Output::MirrorFetch { .. } => {}
            Output::CancelHash { .. } | Output::StopSending { .. } => {}
        }
    }

    fn dial(&mut self, n: usize, dial: DialId, addr: SocketAddr, expect: Option<PeerId>) {
        let target = self.nodes.iter().position(|node| node.addr == addr && node.engine.is_some());
        let life = self.nodes[n].life;
        let failed = |identity_mismatch, actual| Input::DialFailed {
            dial,
            identity_mismatch,
            actual,
            reason: "no answer".to_owned(),
        };
        let Some(target) = target.filter(|target| !self.is_cut(n, *target)) else {
            let at = self.now + self.nodes[n].config.timers.dial_timeout;
            return self.at(at, Happening::Input { node: n, life, input: failed(false, None) });
        };
        let (peer, me) = (self.nodes[target].id, self.nodes[n].id);
        if expect.is_some_and(|expect| expect != peer) {
            return self.later(n, failed(true, Some(peer)));
        }
        self.next += 2;
        let (link, ours, theirs) = (self.next, ConnId(self.next), ConnId(self.next + 1_000_000_000));
        let up = self.now + self.delay();
        let accepted = up + self.delay();
        let ends = [(n, life, ours), (target, self.nodes[target].life, theirs)];
        self.links.insert(link, Link { ends, up: accepted });
        self.nodes[n].conns.insert(ours, link);
        self.nodes[target].conns.insert(theirs, link);
        let local = self.nodes[n].addr;
        let party = party_proofs(&self.nodes[n].config, link, true);
        let input = Input::ConnectionUp {
            conn: ours,
            peer_id: peer,
            remote: addr,
            local,
            interface: None,
            dial: Some(dial),
            party,
        };
        self.at(up, Happening::Input { node: n, life, input });
        let party = party_proofs(&self.nodes[target].config, link, false);
        let input = Input::ConnectionUp {
            conn: theirs,
            peer_id: me,
            remote: local,
            local: addr,
            interface: None,
            dial: None,
            party,
        };
        let life = self.nodes[target].life;
        self.at(accepted, Happening::Input { node: target, life, input });
    }

    /// Sends over a connection to whoever is at its other end, if anybody is.
    fn send(&mut self, n: usize, conn: ConnId, input: impl FnOnce(ConnId) -> Input) {
        let Some(link) = self.nodes[n].conns.get(&conn).and_then(|link| self.links.get(link)) else { return };
        let mine = link.ends.iter().position(|(node, _, end)| *node == n && *end == conn).unwrap_or(0);
        let (node, life, other) = link.ends[1 - mine];
        let up = link.up;
        if self.is_cut(n, node) {
            return;
        }
        let at = (self.now + self.delay()).max(up);
        self.at(at, Happening::Input { node, life, input: input(other) });
    }

    fn answer(&mut self, n: usize, to: InboundId, result: Result<(Answer, Vec<ChunkHash>), RunFailure>) {
        let Some(link) = self.nodes[n].conns.get(&to.conn).and_then(|link| self.links.get(link)) else { return };
        let mine = link.ends.iter().position(|(node, _, end)| *node == n && *end == to.conn).unwrap_or(0);
        let (node, life, _) = link.ends[1 - mine];
        if self.is_cut(n, node) || self.nodes[node].life != life {
            return;
        }
        let Some(result) = self.mangle_answer(n, result) else { return };
        let request = RequestId(to.stream);
        match (self.nodes[node].fetches.get(&request), result) {
            (Some(_), Ok((Answer::ChunkRun(_), _))) => self.begin_landing(node, request),
            (Some(_), Ok((Answer::Error(error), _))) => self.answered(node, request, Err(RunFailure::Refused(error))),
            (_, result) => self.answered(node, request, result),
        }
    }

    fn job(&mut self, n: usize, job: Job) {
        if let Some(done) = self.done_unplugged(n, &job) {
            return self.fail_unplugged(n, done);
        }
        let node = &mut self.nodes[n];
        let done = match job {
            Job::Resolve { token, host } => {
                let found: Vec<_> =
                    host.strip_prefix("pc-").and_then(|rest| rest.split_once(':')).into_iter().collect();
                let addr = found.first().and_then(|(n, _)| self.nodes.get(n.parse::<usize>().ok()?)).map(|n| n.addr);
                let missing = || JobError::new(JobErrorKind::Io, "no such host");
                JobDone::Resolved { token, result: addr.map(|addr| vec![addr]).ok_or_else(missing) }
            }
            Job::OpenLibrary { dir } if dir.ends_with("missing") => {
                JobDone::LibraryOpened(Err(JobError::new(JobErrorKind::Io, "no such directory")))
            }
            Job::CloseLibrary => {
                node.let_go();
                JobDone::LibraryClosed
            }
            Job::LookForLibrary { .. } => JobDone::LibraryLookedFor(Ok(())),
            Job::OpenLibrary { dir } => {
                let was_open = dir == node.dir && node.is_open;
                node.is_open = true;
                node.change_dir(&dir);
                if dir.ends_with("other") {
                    node.disk = Disk::default();
                    let game = scanned("elsewhere", "1", 5);
                    node.disk.games.insert(game.id.clone(), Arc::new(game));
                }
                let games = node.disk.games.values().cloned().collect();
                JobDone::LibraryOpened(Ok(OpenedLibrary {
                    dir,
                    index: node.disk.index.clone(),
                    notice: None,
                    was_open,
                    games,
                    wall_ns: 0,
                }))
            }
            Job::ScanGame { game, .. } => {
                JobDone::GameScanned { result: Ok(node.disk.games.get(&game).cloned()), game }
            }
            Job::ScanAll { .. } => JobDone::AllScanned(Ok(node.disk.games.values().cloned().collect())),
            Job::Diagnose { token, findings } => JobDone::Diagnosed { token, findings },
            Job::Programs { token, .. } => {
                let result = if node.disk.games.is_empty() {
                    Err(JobError::new(JobErrorKind::ChooseProgram, "none"))
                } else {
                    Ok(ProgramAnswer::Chosen)
                };
                JobDone::Programs { token, result }
            }
            Job::SaveIndex { index } => {
                node.saving += 1;
                let (at, life) = (self.now + self.delay(), self.nodes[n].life);
                return self.at(at, Happening::Saved { node: n, life, index });
            }
            Job::HashGame { game, manifest_hash, .. } => {
                let found = node.disk.games.get(&game).cloned().filter(|game| game.manifest_hash == manifest_hash);
                let result = found.as_ref().map(|game| content_hash_of(game.size));
                if let Some(found) = found {
                    let hashed = ScannedGame { content_hash: result, ..(*found).clone() };
                    node.disk.games.insert(game.clone(), Arc::new(hashed));
                }
                let changed = || JobError::new(JobErrorKind::Changed, "changed");
                let done = JobDone::GameHashed { game, manifest_hash, result: result.ok_or_else(changed) };
                let (slow, life) = (self.random(1 + self.slow_hashes), self.nodes[n].life);
                let at = self.now + self.delay() + Duration::from_millis(slow);
                return self.at(at, Happening::Input { node: n, life, input: Input::JobDone(done) });
            }
            Job::PrepareDownload { .. }
            | Job::LearnContent { .. }
            | Job::CommitDownload { .. }
            | Job::AbandonDownload { .. } => return self.download_job(n, job),
            Job::Install { ref game, .. }
            | Job::Uninstall { ref game }
            | Job::Adopt { ref game }
            | Job::RemoveFiles { ref game }
            | Job::VerifyFiles { ref game, .. } => {
                let downloading = node.is_downloading(game);
                let before = node.at_work.insert(game.clone(), false);
                assert!(!downloading && before.is_none(), "two operations on {game}");
                assert!(!node.watched.contains(game), "{game} is watched while its files change");
                let sent = |(to, sent): (&InboundId, &GameId)| sent == game && node.conns.contains_key(&to.conn);
                let touches = matches!(job, Job::RemoveFiles { .. });
                assert!(!touches || !node.sends.iter().any(sent), "{game} is removed while it is sent");
                // Longer than a save takes.
                let (first, last) = (Duration::from_millis(50) + self.delay(), self.delay());
                let life = self.nodes[n].life;
                let progress = Input::JobProgress { game: game.clone(), done: 1, total: 2 };
                self.at(self.now + first, Happening::Input { node: n, life, input: progress });
                return self.at(self.now + first + last, Happening::Worked { node: n, life, job });
            }
        };
        self.later(n, Input::JobDone(done));
    }

    /// A job is done with the disk, or failed without having changed it.
    fn worked(&mut self, n: usize, job: Job) {
        if let Some(done) = self.done_unplugged(n, &job) {
            return self.fail_unplugged(n, done);
        }
        if matches!(
            job,
            Job::PrepareDownload { .. }
                | Job::LearnContent { .. }
                | Job::CommitDownload { .. }
                | Job::AbandonDownload { .. }
        ) {
            return self.download_worked(n, job);
        }
        let node = &mut self.nodes[n];
        let (Job::Install { game, .. }
        | Job::Uninstall { game }
        | Job::Adopt { game }
        | Job::RemoveFiles { game }
        | Job::VerifyFiles { game, .. }) = &job
        else {
            panic!("{job:?}")
        };
        let game = game.clone();
        let cancelled = node.at_work.remove(&game).expect("it was begun");
        let stops = cancelled && matches!(job, Job::Install { .. } | Job::VerifyFiles { .. });
        let kind = if stops { Some(JobErrorKind::Cancelled) } else { node.job_error.take() };
        let before = node.disk.games.get(&game).map(|game| (**game).clone());
        let result = match (kind, before) {
            (Some(kind), _) => Err(JobError::new(kind, "injected")),
            (None, None) => Err(JobError::new(JobErrorKind::Io, "the game is gone")),
            (None, Some(before)) => {
                let version = before.eti_version.clone();
                let after = match &job {
                    Job::Install { .. } => {
                        let installed_by = Some(InstalledBy::Lanspread);
                        Some(ScannedGame { installed: true, installed_by, installed_version: version, ..before })
                    }
                    Job::Uninstall { .. } => {
                        let (installed_by, installed_version) = (None, None);
                        Some(ScannedGame { installed: false, installed_by, installed_version, ..before })
                    }
                    Job::Adopt { .. } => Some(ScannedGame { installed_by: Some(InstalledBy::Lanspread), ..before }),
                    Job::RemoveFiles { .. } => None,
                    _ if node.bad_chunks.is_empty() => Some(before),
                    _ => Some(ScannedGame { downloaded: false, eti_version: None, content_hash: None, ..before }),
                };
                let after = after.map(Arc::new);
                node.disk.games.remove(&game);
                node.disk.games.extend(after.iter().map(|after| (game.clone(), after.clone())));
                Ok(after)
            }
        };
        let bad = node.bad_chunks.clone();
        let done = match job {
            Job::VerifyFiles { .. } => {
                let verified = |size| VerifiedFiles {
                    bad,
                    missing_dirs: Vec::new(),
                    chunks: 9,
                    content_hash: content_hash_of(size),
                };
                JobDone::FilesVerified { game, result: result.map(|after| verified(after.map_or(0, |game| game.size))) }
            }
            _ => JobDone::FilesChanged { game, result, kept: KeptFiles::default() },
        };
        self.input(n, Input::JobDone(done));
    }

    /// Whether each of these nodes has exactly the others' durable libraries, over one connection each.
    pub(super) fn in_step(&self, nodes: &[usize]) -> bool {
        nodes.iter().all(|a| {
            let Some(engine) = &self.nodes[*a].engine else { return false };
            nodes.iter().filter(|b| *b != a).all(|b| {
                let Some(other) = &self.nodes[*b].engine else { return false };
                let known = engine.parts.peers.libraries().find(|(peer, ..)| *peer == self.nodes[*b].id);
                let state = other.cx.announced.state;
                known.is_some_and(|(_, _, known)| {
                    known.stamp() == state.stamp()
                        && known.digest() == state.digest
                        && known.games().iter().eq(other.parts.library.snapshot().games.iter())
                }) && self.between(*a, *b).len() == 1
            })
        })
    }
}

fn through_json<T: serde::Serialize + serde::de::DeserializeOwned>(message: &T) -> T {
    let frame = crate::proto::encode(message, MAX_BULK_FRAME).expect("fits in a frame");
    crate::proto::decode(&frame[4..]).expect("reads back")
}

/// A sentinel and one more file, of this many bytes together; chunks hash to their numbers.
fn content(bytes: u64) -> (Manifest, Vec<ChunkHash>) {
    let file = |path, size| FileEntry { path: RelPath::parse(path).unwrap(), size, exec: false };
    let sentinel = bytes.min(2);
    let manifest = Manifest::new(vec![file("data.bin", bytes - sentinel), file("version.ini", sentinel)]).unwrap();
    let hashes = (0..manifest.chunk_count()).map(|n| ChunkHash::of(&n.to_be_bytes())).collect();
    (manifest, hashes)
}

fn content_hash_of(bytes: u64) -> ContentHash {
    let (manifest, hashes) = content(bytes);
    crate::types::content_hash(&manifest, &hashes)
}

pub(super) fn scanned(game: &str, version: &str, bytes: u64) -> ScannedGame {
    let mark = xxhash_rust::xxh3::xxh3_128(format!("{game} {version} {bytes}").as_bytes());
    ScannedGame {
        id: game.parse().unwrap(),
        eti_version: Some(version.to_owned()),
        size: bytes,
        downloaded: true,
        installed: false,
        installed_by: None,
        installed_version: None,
        installs_by: None,
        manifest_hash: content(bytes).0.hash(),
        content_hash: None,
        fingerprint: Fingerprint(mark.to_be_bytes()),
        unportable: None,
        brought: None,
        leaves_out: None,
        arriving: false,
        supersedes: Vec::new(),
        seen: Seen(Some(Times { stamp: Fingerprint(mark.to_be_bytes()), newest_ns: i128::MIN })),
    }
}
