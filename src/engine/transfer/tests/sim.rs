//! Everything around the transfers, in virtual time: sources with a rate and manners, a disk, a local library.
//!
//! It counts landing buffers and written chunks on its own and panics when a rule of the contract is broken.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::{Transfers, Wish};
use crate::api::{CommandError, CommandResult, PeerEvent};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::engine::core::Cx;
use crate::engine::effect::Effect;
use crate::engine::library::Library;
use crate::engine::world::{Source, TransferCx, Via, Way, World};
use crate::engine::{CommandId, ConnId, InboundId, Output, Planned, RequestId, RunFailure};
use crate::proto::{Answer, GetManifest, ManifestAnswer, Notification, Request, WireError, WireErrorCode};
use crate::types::{
    Availability, CHUNK_SIZE, ChunkHash, ChunkIndex, ChunkRange, ContentHash, DownloadId, DownloadPlan, FileEntry,
    Fingerprint, GameId, GameSummary, Job, JobDone, JobError, JobErrorKind, Manifest, PeerId, PreparedDownload,
    RelPath, ScannedGame, Seen, SourceId, content_hash,
};

const LATENCY: Duration = Duration::from_millis(1);
const DISK_SECONDS_PER_BATCH: f64 = 0.001;

/// A game as somebody has it.
#[derive(Clone)]
pub(super) struct Offer {
    pub(super) summary: Arc<GameSummary>,
    pub(super) manifest: Manifest,
    pub(super) chunks: Vec<ChunkHash>,
}

/// A game of these file sizes; `salt` stands for the bytes.
pub(super) fn offer(id: &str, version: &str, sizes: &[u64], salt: u8) -> Offer {
    let mut files = vec![file("version.ini", 20)];
    files.extend(sizes.iter().enumerate().map(|(i, size)| file(&format!("data/{i:05}"), *size)));
    let manifest = Manifest::new(files).unwrap();
    let chunks: Vec<_> =
        (0..manifest.chunk_count()).map(|i| ChunkHash::of(format!("{id} {version} {salt} {i}").as_bytes())).collect();
    let summary = GameSummary {
        id: id.parse().unwrap(),
        name: id.to_owned(),
        eti_version: Some(version.to_owned()),
        size: manifest.bytes(),
        downloaded: true,
        installed: false,
        manifest_hash: manifest.hash(),
        content_hash: Some(content_hash(&manifest, &chunks)),
        availability: Availability::Ready,
        changed: false,
        supersedes: Vec::new(),
        not_shared: None,
    };
    Offer { summary: Arc::new(summary), manifest, chunks }
}

fn file(path: &str, size: u64) -> FileEntry {
    FileEntry { path: RelPath::parse(path).unwrap(), size, exec: false }
}

impl Offer {
    pub(super) fn content(&self) -> ContentHash {
        content_hash(&self.manifest, &self.chunks)
    }

    /// What an honest owner answers to `GetManifest`, but for the raw hashes.
    pub(super) fn answer(&self) -> ManifestAnswer {
        ManifestAnswer {
            game_id: self.summary.id.clone(),
            manifest_hash: self.summary.manifest_hash,
            files: self.manifest.files().to_vec(),
            dirs: self.manifest.dirs().to_vec(),
            chunk_size: CHUNK_SIZE,
            chunk_count: self.manifest.chunk_count(),
            content_hash: Some(self.content()),
        }
    }

    /// The same game as somebody has it who had `older` before.
    pub(super) fn supersedes(&self, older: &Self) -> Self {
        let summary = GameSummary { supersedes: vec![older.summary.manifest_hash], ..(*self.summary).clone() };
        Self { summary: Arc::new(summary), ..self.clone() }
    }

    /// As it lies on the disk of somebody who downloaded it.
    pub(super) fn brought(&self) -> Arc<ScannedGame> {
        Arc::new(ScannedGame {
            brought: self.summary.content_hash,
            supersedes: self.summary.supersedes.clone(),
            ..(*self.scanned()).clone()
        })
    }

    /// The same game before its owner has hashed it.
    pub(super) fn unhashed(&self) -> Self {
        let summary = GameSummary { content_hash: None, ..(*self.summary).clone() };
        Self { summary: Arc::new(summary), ..self.clone() }
    }

    pub(super) fn scanned(&self) -> Arc<ScannedGame> {
        Arc::new(ScannedGame {
            id: self.summary.id.clone(),
            eti_version: self.summary.eti_version.clone(),
            size: self.summary.size,
            downloaded: true,
            installed: false,
            installed_by: None,
            installed_version: None,
            installs_by: None,
            manifest_hash: self.summary.manifest_hash,
            content_hash: self.summary.content_hash,
            fingerprint: Fingerprint([0; 16]),
            unportable: None,
            brought: None,
            leaves_out: None,
            arriving: false,
            supersedes: Vec::new(),
            seen: Seen::default(),
        })
    }
}

fn prepared(kept: &[ChunkRange]) -> PreparedDownload {
    PreparedDownload { kept: kept.to_vec(), kept_aside: Vec::new() }
}

pub(super) struct Peer {
    pub(super) conn: Option<ConnId>,
    pub(super) offers: BTreeMap<GameId, Offer>,
    /// Bytes per second.
    pub(super) rate: f64,
    /// Chunks that it sends wrong, every time.
    pub(super) bad: BTreeSet<u32>,
    /// What it answers instead of chunks.
    pub(super) refuse: Option<RunFailure>,
    /// What it answers instead of its manifest.
    pub(super) manifest_override: Option<Result<(Answer, Vec<ChunkHash>), RunFailure>>,
    pub(super) way: Way,
    /// It takes requests and says nothing.
    pub(super) silent: bool,
    queue: VecDeque<Run>,
    /// Changes whenever the run in front does.
    token: u64,
    pub(super) requests: usize,
}

struct Run {
    request: RequestId,
    download: DownloadId,
    game: GameId,
    content: Option<ContentHash>,
    batches: VecDeque<ChunkRange>,
}

struct Landing {
    plan: Arc<DownloadPlan>,
    written: Vec<bool>,
    writing: usize,
    /// Contents that its sources had when they sent something.
    contents: BTreeSet<Option<ContentHash>>,
}

enum Happening {
    Answer(RequestId, Result<(Answer, Vec<ChunkHash>), RunFailure>),
    Refuse(RequestId, RunFailure),
    Step(PeerId, u64),
    Wrote { download: DownloadId, request: RequestId, range: ChunkRange, bad: Vec<ChunkIndex> },
    Job(JobDone),
    SendDone(InboundId),
}

#[derive(Default)]
pub(super) struct Local {
    pub(super) scanned: BTreeMap<GameId, Arc<ScannedGame>>,
    pub(super) listed: BTreeSet<GameId>,
    pub(super) not_admitted: BTreeSet<GameId>,
    /// Under an operation that is no download.
    pub(super) held: BTreeSet<GameId>,
    /// That operation forbids serving.
    pub(super) withdrawn: BTreeSet<GameId>,
    pub(super) version: Option<String>,
    pub(super) content: Option<ContentHash>,
}

impl Local {
    /// A catalog that demands this.
    fn catalog(&self) -> Catalog {
        if !self.not_admitted.is_empty() {
            return Catalog::empty();
        }
        if self.version.is_none() && self.content.is_none() {
            return Catalog::open_to_all();
        }
        let version = self.version.as_deref().unwrap_or("1");
        let content = self.content.map_or("null".to_owned(), |content| format!("\"{content}\""));
        let game = format!(r#"{{"id":"g","name":"g","version":"{version}","content_hash":{content}}}"#);
        Catalog::parse(format!(r#"{{"format":1,"serial":1,"games":[{game}]}}"#).as_bytes()).unwrap()
    }
}

/// What is around the transfers.
struct Around<'a> {
    peers: &'a BTreeMap<PeerId, Peer>,
    local: &'a Local,
}

impl World for Around<'_> {
    fn sources(&self, game: &GameId) -> Vec<Source> {
        let source = |(peer_id, peer): (&PeerId, &Peer)| {
            let summary = peer.offers.get(game)?.summary.clone();
            Some(Source { id: SourceId::Peer(*peer_id), via: Via::Conn(peer.conn?), summary })
        };
        self.peers.iter().filter_map(source).collect()
    }
    fn way(&self, via: Via) -> Way {
        self.peers
            .values()
            .find(|peer| peer.conn.map(Via::Conn) == Some(via))
            .map_or_else(Way::default, |peer| peer.way)
    }
    fn swarm(&self) -> Vec<(PeerId, ConnId)> {
        Vec::new()
    }
    fn lists(&self, game: &GameId) -> bool {
        self.local.listed.contains(game)
    }
    fn why_not(&self, _: &GameId) -> String {
        String::new()
    }
    fn summary(&self, _: &GameId) -> Option<Arc<GameSummary>> {
        None
    }
    fn holds(&self, game: &GameId) -> bool {
        self.local.held.contains(game)
    }
    fn withdraws(&self, game: &GameId) -> bool {
        self.local.withdrawn.contains(game)
    }
}

pub(super) struct Sim {
    pub(super) now: Instant,
    pub(super) config: Config,
    pub(super) transfers: Transfers,
    pub(super) peers: BTreeMap<PeerId, Peer>,
    pub(super) local: Local,
    cx: Cx,
    agenda: BTreeMap<(Instant, u64), Happening>,
    number: u64,
    fetches: BTreeMap<RequestId, (PeerId, usize)>,
    landings: BTreeMap<DownloadId, Landing>,
    /// Downloads whose preparation was cancelled in time.
    given_up: BTreeSet<DownloadId>,
    disk_free_at: Instant,
    pub(super) sends: BTreeMap<InboundId, GameId>,
    /// What the disk answers from now on.
    pub(super) disk_error: Option<JobError>,
    /// Written chunks that do not match the content when it is learned.
    pub(super) unlike: Vec<ChunkIndex>,
    /// What the next preparations find on the disk.
    pub(super) kept: Vec<ChunkRange>,
    pub(super) keep_sends: bool,
    pub(super) log: Vec<PeerEvent>,
    pub(super) effects: Vec<Effect>,
    pub(super) replies: Vec<(CommandId, CommandResult)>,
    pub(super) answers: Vec<(InboundId, Answer)>,
    pub(super) jobs: Vec<Job>,
    pub(super) stops: Vec<GameId>,
    /// Who was told that he sent bad chunks.
    pub(super) told: Vec<PeerId>,
    pub(super) cancelled_prepares: Vec<GameId>,
    pub(super) most_buffers: usize,
    last_command: u64,
}

pub(super) fn peer_id(n: u8) -> PeerId {
    PeerId::from_spki_sha256(&[n; 32])
}

pub(super) fn game(id: &str) -> GameId {
    id.parse().unwrap()
}

impl Sim {
    #[allow(clippy::disallowed_methods, reason = "an origin for virtual time")]
    pub(super) fn new(seed: u64) -> Self {
        let config = Config::new("games".into(), "state".into());
        let now = Instant::now();
        let announced = Library::new(config.game_dir.clone()).state();
        let catalog = Arc::new(Catalog::open_to_all());
        let cx = Cx::new(peer_id(0), Arc::new(config.clone()), catalog, announced, seed, now);
        Self {
            now,
            transfers: Transfers::new(&config),
            config,
            peers: BTreeMap::new(),
            local: Local::default(),
            cx,
            agenda: BTreeMap::new(),
            number: 0,
            fetches: BTreeMap::new(),
            landings: BTreeMap::new(),
            given_up: BTreeSet::new(),
            disk_free_at: now,
            sends: BTreeMap::new(),
            disk_error: None,
            unlike: Vec::new(),
            kept: Vec::new(),
            keep_sends: false,
            log: Vec::new(),
            effects: Vec::new(),
            replies: Vec::new(),
            answers: Vec::new(),
            jobs: Vec::new(),
            stops: Vec::new(),
            told: Vec::new(),
            cancelled_prepares: Vec::new(),
            most_buffers: 0,
            last_command: 0,
        }
    }

    /// A connected peer with one game, 10 MB/s.
    pub(super) fn peer(&mut self, n: u8, offer: &Offer) -> &mut Peer {
        self.number += 1;
        let conn = ConnId(self.number);
        self.local.listed.insert(offer.summary.id.clone());
        let peer = self.peers.entry(peer_id(n)).or_insert_with(|| Peer {
            conn: Some(conn),
            offers: BTreeMap::new(),
            rate: 10e6,
            bad: BTreeSet::new(),
            refuse: None,
            manifest_override: None,
            way: Way::default(),
            silent: false,
            queue: VecDeque::new(),
            token: 0,
            requests: 0,
        });
        peer.offers.insert(offer.summary.id.clone(), offer.clone());
        peer
    }

    /// Whether a peer was asked for something that it has not sent yet.
    pub(super) fn is_asked(&self, n: u8) -> bool {
        !self.peers[&peer_id(n)].queue.is_empty()
    }

    pub(super) fn disconnect(&mut self, n: u8) {
        let peer = self.peers.get_mut(&peer_id(n)).unwrap();
        let Some(conn) = peer.conn.take() else { return };
        peer.token += 1;
        for run in std::mem::take(&mut peer.queue) {
            self.fetches.remove(&run.request);
        }
        self.fetches.retain(|_, (owner, _)| *owner != peer_id(n));
        self.with(|transfers, cx| transfers.connection_down(cx, conn));
    }

    pub(super) fn connect(&mut self, n: u8) {
        self.number += 1;
        let conn = ConnId(self.number);
        self.peers.get_mut(&peer_id(n)).unwrap().conn.get_or_insert(conn);
        self.sources_changed();
    }

    pub(super) fn catalog_changed(&mut self) {
        self.with(|transfers, cx| transfers.catalog_changed(cx));
    }

    pub(super) fn sources_changed(&mut self) {
        self.with(|transfers, _| transfers.sources_changed());
    }

    /// Hands in one input and does what comes of it.
    pub(super) fn with(&mut self, input: impl FnOnce(&mut Transfers, &mut TransferCx<'_>)) {
        self.cx.now = self.now;
        self.cx.config = Arc::new(self.config.clone());
        self.cx.catalog = Arc::new(self.local.catalog());
        let games: Vec<_> = self.local.scanned.values().cloned().collect();
        self.cx.disk.open(&games, games.len());
        let world = Around { peers: &self.peers, local: &self.local };
        let mut cx = TransferCx { core: &mut self.cx, world: &world };
        input(&mut self.transfers, &mut cx);
        self.transfers.settle(&mut cx);
        let effects = self.cx.take_effects();
        while let Some(output) = self.cx.next_output() {
            self.perform(output);
        }
        for effect in effects {
            if let Effect::OperationEnded { game, scanned: Some(scanned) } = &effect {
                match scanned {
                    Some(scanned) => self.local.scanned.insert(game.clone(), scanned.clone()),
                    None => self.local.scanned.remove(game),
                };
            }
            if let Effect::End(event) = &effect {
                self.log.push((**event).clone());
            }
            self.effects.push(effect);
        }
        self.transfers.check_invariants();
        let held: usize = self.fetches.values().map(|(_, batches)| batches).sum::<usize>()
            + self.landings.values().map(|landing| landing.writing).sum::<usize>();
        assert_eq!(held, self.transfers.buffers_held(), "both sides count the same buffers");
        assert!(held <= self.config.limits.landing_buffers, "{held} landing buffers are in use");
        self.most_buffers = self.most_buffers.max(held);
    }

    fn command(
        &mut self,
        run: impl FnOnce(&mut Transfers, &mut TransferCx<'_>, CommandId) -> Result<(), CommandError>,
    ) -> Option<CommandResult> {
        self.last_command += 1;
        let id = CommandId(self.last_command);
        self.with(|transfers, cx| {
            if let Err(error) = run(transfers, cx, id) {
                cx.reply(id, Err(error));
            }
        });
        let at = self.replies.iter().position(|(other, _)| *other == id)?;
        Some(self.replies.remove(at).1)
    }

    /// `download`, also over what is the user's own.
    pub(super) fn download_again(&mut self, id: &str) -> CommandResult {
        let (game, wish) = (game(id), Wish { install: false, again: true });
        self.command(|t, cx, command| t.command_download(cx, command, game, wish)).unwrap()
    }

    pub(super) fn download(&mut self, id: &str) -> CommandResult {
        self.download_then(id, false)
    }

    /// `download`, with an installation or without.
    pub(super) fn download_then(&mut self, id: &str, install: bool) -> CommandResult {
        let (game, wish) = (game(id), Wish { install, again: false });
        self.command(|t, cx, command| t.command_download(cx, command, game, wish)).unwrap()
    }

    pub(super) fn cancel(&mut self, id: &str) -> CommandResult {
        self.command(|t, cx, command| t.command_cancel(cx, command, &game(id))).unwrap()
    }

    pub(super) fn prioritise(&mut self, id: &str) -> CommandResult {
        self.command(|t, cx, command| {
            t.command_prioritise(cx, command, game(id));
            Ok(())
        })
        .unwrap()
    }

    /// `None`: the answer comes later.
    pub(super) fn get_game(&mut self, id: &str) -> Option<CommandResult> {
        self.command(|t, cx, command| {
            t.command_get_game(cx, command, game(id));
            Ok(())
        })
    }

    pub(super) fn shutdown(&mut self) {
        self.with(|transfers, cx| transfers.shutdown(cx));
    }

    /// Lets the next thing happen. False: nothing is left to happen.
    pub(super) fn step(&mut self) -> bool {
        let timeout = self.transfers.next_timeout();
        let next = self.agenda.keys().next().copied();
        match (next, timeout) {
            (Some(key), timeout) if timeout.is_none_or(|timeout| key.0 <= timeout) => {
                self.now = self.now.max(key.0);
                let happening = self.agenda.remove(&key).unwrap();
                self.happen(happening);
            }
            (_, Some(timeout)) => {
                self.now = self.now.max(timeout);
                self.with(|_, _| ());
                let next = self.transfers.next_timeout();
                assert!(next.is_none_or(|next| next > self.now), "a timeout changed nothing: it would spin");
            }
            (None, None) => return false,
            (Some(_), None) => unreachable!(),
        }
        true
    }

    /// Until nothing is left to happen.
    pub(super) fn run(&mut self) {
        for _ in 0..2_000_000 {
            if !self.step() {
                return;
            }
        }
        panic!("it does not come to an end");
    }

    pub(super) fn run_until(&mut self, what: impl Fn(&Sim) -> bool) {
        while !what(self) {
            assert!(self.step(), "it never happened");
        }
    }

    /// A peer asks for a chunk of a game that lies here.
    pub(super) fn ask_here(&mut self, from: InboundId, request: Request) {
        self.with(|transfers, cx| match request {
            Request::GetManifest(request) => transfers.request_get_manifest(cx, from, request),
            Request::GetChunks(request) => transfers.request_get_chunks(cx, from, request),
            other => panic!("{other:?}"),
        });
    }

    pub(super) fn end_send(&mut self, to: InboundId, changed: bool) {
        self.sends.remove(&to);
        self.with(|transfers, cx| transfers.send_done(cx, to, 7, changed));
    }

    pub(super) fn written(&self) -> usize {
        self.landings.values().flat_map(|landing| &landing.written).filter(|written| **written).count()
    }

    fn at(&mut self, when: Instant, what: Happening) {
        self.number += 1;
        self.agenda.insert((when, self.number), what);
    }

    fn owner(&self, conn: ConnId) -> Option<PeerId> {
        self.peers.iter().find(|(_, peer)| peer.conn == Some(conn)).map(|(peer_id, _)| *peer_id)
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Ask { request, conn, body } => {
                let owner = self.owner(conn).expect("asked over a closed connection");
                let peer = &self.peers[&owner];
                let Request::GetManifest(GetManifest { game_id, manifest_hash, dirs: true }) = *body else {
                    panic!("{body:?}")
                };
                let answer =
                    peer.manifest_override.clone().unwrap_or_else(|| manifest_of(peer, &game_id, manifest_hash));
                self.at(self.now + LATENCY, Happening::Answer(request, answer));
            }
            Output::Fetch { request, conn, download: Planned { id: download, .. }, content_hash, range } => {
                let owner = self.owner(conn).expect("fetched over a closed connection");
                let landing = self.landings.get_mut(&download).expect("it was prepared");
                let batches: VecDeque<_> = landing.plan.manifest.batches(range).map(|batch| batch.range).collect();
                let game = landing.plan.game.clone();
                assert_eq!(batches.iter().map(|batch| batch.count).sum::<u32>(), range.count);
                assert!(self.fetches.insert(request, (owner, batches.len())).is_none());
                let peer = self.peers.get_mut(&owner).unwrap();
                peer.requests += 1;
                if let Some(failure) = peer.refuse.clone() {
                    self.at(self.now + LATENCY, Happening::Refuse(request, failure));
                } else if !peer.silent {
                    peer.queue.push_back(Run { request, download, game, content: content_hash, batches });
                    if peer.queue.len() == 1 {
                        self.begin(owner);
                    }
                }
            }
            Output::Cancel { request } => {
                let Some((owner, _)) = self.fetches.remove(&request) else {
                    self.agenda.retain(|_, what| !matches!(what, Happening::Answer(other, _) if *other == request));
                    return;
                };
                self.agenda.retain(|_, what| !matches!(what, Happening::Refuse(other, _) if *other == request));
                let peer = self.peers.get_mut(&owner).unwrap();
                if let Some(at) = peer.queue.iter().position(|run| run.request == request) {
                    peer.queue.remove(at);
                    if at == 0 {
                        self.begin(owner);
                    }
                }
            }
            Output::Job(job) => self.start_job(job),
            Output::CancelJob { game } => self.cancel_prepare(&game),
            Output::StopSending { game } => {
                self.stops.push(game.clone());
                let ending: Vec<_> = self.sends.iter().filter(|(_, sent)| **sent == game).map(|(to, _)| *to).collect();
                if !self.keep_sends {
                    ending.into_iter().for_each(|to| self.at(self.now + LATENCY, Happening::SendDone(to)));
                }
            }
            Output::SendManifest { to, game, .. } => drop(self.sends.insert(to, game)),
            Output::SendChunks { to, request, .. } => drop(self.sends.insert(to, request.game_id)),
            Output::Answer { to, body } => self.answers.push((to, *body)),
            Output::Reply { id, result } => self.replies.push((id, *result)),
            Output::Event(event) => self.log.push(*event),
            Output::Notify { conn, body } => {
                assert!(matches!(*body, Notification::BadChunks { .. }), "{body:?}");
                self.told.extend(self.owner(conn));
            }
            other => panic!("{other:?}"),
        }
    }

    fn start_job(&mut self, job: Job) {
        self.jobs.push(job.clone());
        let result = self.disk_error.clone().map_or(Ok(()), Err);
        let done = match job {
            Job::PrepareDownload { download, plan, .. } => {
                assert!(!self.sends.values().any(|game| *game == plan.game), "files that are being sent were touched");
                let mut written = vec![false; plan.manifest.chunk_count() as usize];
                self.kept.iter().flat_map(|range| range.iter()).for_each(|chunk| written[chunk.0 as usize] = true);
                let landing = Landing { plan, written, writing: 0, contents: BTreeSet::new() };
                assert!(self.landings.insert(download, landing).is_none());
                JobDone::DownloadPrepared { download, result: result.map(|()| prepared(&self.kept)) }
            }
            Job::LearnContent { download, content } => {
                let result = self.landings.get_mut(&download).map(|landing| {
                    landing.plan =
                        Arc::new(DownloadPlan { content: Some((*content).clone()), ..(*landing.plan).clone() });
                    let bad = std::mem::take(&mut self.unlike);
                    bad.iter().for_each(|chunk| landing.written[chunk.0 as usize] = false);
                    bad
                });
                let over = JobError::new(JobErrorKind::Cancelled, "it is over");
                JobDone::ContentLearned { download, result: result.ok_or(over) }
            }
            Job::CommitDownload { download } => {
                let landing = &self.landings[&download];
                assert!(landing.written.iter().all(|written| *written) && landing.writing == 0);
                assert!(landing.contents.len() <= 1, "contents were mixed");
                let plan = &landing.plan;
                let scanned = Arc::new(ScannedGame {
                    id: plan.game.clone(),
                    eti_version: Some("?".to_owned()),
                    size: plan.manifest.bytes(),
                    downloaded: true,
                    installed: false,
                    installed_by: None,
                    installed_version: None,
                    installs_by: None,
                    manifest_hash: plan.manifest_hash,
                    content_hash: plan.content.as_ref().map(|content| content.hash),
                    fingerprint: Fingerprint([0; 16]),
                    unportable: None,
                    brought: None,
                    leaves_out: None,
                    arriving: false,
                    supersedes: Vec::new(),
                    seen: Seen::default(),
                });
                JobDone::DownloadCommitted { download, result: result.map(|()| scanned) }
            }
            Job::AbandonDownload { download, .. } => {
                let unknown = JobError::new(JobErrorKind::Cancelled, "it was never prepared");
                assert!(self.landings.contains_key(&download) || self.given_up.remove(&download));
                let landing = self.landings.remove(&download);
                let writing = landing.as_ref().map_or(0, |landing| landing.writing);
                assert_eq!(writing, 0, "abandoned under the hands of a writer");
                JobDone::DownloadAbandoned { download, result: landing.map(|_| None).ok_or(unknown) }
            }
            other => panic!("{other:?}"),
        };
        self.at(self.now + 5 * LATENCY, Happening::Job(done));
    }

    /// A preparation is to be given up; every second one is at its end already.
    fn cancel_prepare(&mut self, game: &GameId) {
        self.cancelled_prepares.push(game.clone());
        let mut too_late = self.cx.ids.random().is_multiple_of(2);
        for happening in self.agenda.values_mut() {
            let Happening::Job(JobDone::DownloadPrepared { download, result }) = happening else { continue };
            if self.landings.get(download).is_some_and(|landing| landing.plan.game == *game)
                && !std::mem::replace(&mut too_late, true)
            {
                self.landings.remove(download);
                self.given_up.insert(*download);
                *result = Err(JobError::new(JobErrorKind::Cancelled, "cancelled"));
            }
        }
    }

    /// The run in front of a peer's queue changed.
    fn begin(&mut self, owner: PeerId) {
        let peer = self.peers.get_mut(&owner).unwrap();
        peer.token += 1;
        let Some(run) = peer.queue.front() else { return };
        let bytes = self.landings[&run.download].plan.manifest.range_bytes(run.batches[0]);
        let span = LATENCY + Duration::from_secs_f64(bytes as f64 / peer.rate);
        let token = peer.token;
        self.at(self.now + span, Happening::Step(owner, token));
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Answer(request, result) => {
                if self.transfers.looks_up(request) {
                    self.with(|transfers, cx| transfers.looked_up(cx, request, result));
                } else if self.transfers.owns(request) {
                    self.with(|transfers, cx| transfers.answered(cx, request, result));
                }
            }
            Happening::Refuse(request, failure) => {
                if self.fetches.remove(&request).is_some() {
                    self.with(|t, cx| t.run_done(cx, request, Err(failure)));
                }
            }
            Happening::Step(owner, token) if self.peers[&owner].token == token => self.land(owner),
            Happening::Step(..) => {}
            Happening::Wrote { download, request, range, bad } => {
                let landing = self.landings.get_mut(&download).expect("writers end before the landing does");
                landing.writing -= 1;
                let error = self.disk_error.clone();
                for chunk in range.iter().filter(|chunk| error.is_none() && !bad.contains(chunk)) {
                    let was = std::mem::replace(&mut landing.written[chunk.0 as usize], true);
                    assert!(!was, "chunk {} was written twice", chunk.0);
                }
                self.with(|transfers, cx| transfers.batch_done(cx, download, request, range, &bad, error));
            }
            Happening::Job(done) => self.with(|transfers, cx| match done {
                JobDone::DownloadPrepared { download, result } => transfers.download_prepared(cx, download, result),
                JobDone::ContentLearned { download, result } => transfers.content_learned(cx, download, result),
                JobDone::DownloadCommitted { download, result } => transfers.download_committed(cx, download, result),
                JobDone::DownloadAbandoned { download, result } => transfers.download_abandoned(download, result),
                other => panic!("{other:?}"),
            }),
            Happening::SendDone(to) => self.end_send(to, false),
        }
    }

    /// The batch at the head of a peer's queue has landed.
    fn land(&mut self, owner: PeerId) {
        let peer = self.peers.get_mut(&owner).unwrap();
        let run = peer.queue.front_mut().unwrap();
        let (request, download) = (run.request, run.download);
        let range = run.batches.pop_front().unwrap();
        let offered = peer.offers.get(&run.game).map(Offer::content);
        assert!(run.content.is_none() || run.content == offered, "asked for a content that the source does not have");
        let over = run.batches.is_empty();
        let bad: Vec<_> = range.iter().filter(|chunk| peer.bad.contains(&chunk.0)).collect();
        if over {
            peer.queue.pop_front();
            self.fetches.remove(&request);
        } else if let Some((_, batches)) = self.fetches.get_mut(&request) {
            *batches -= 1;
        }
        let landing = self.landings.get_mut(&download).unwrap();
        landing.writing += 1;
        landing.contents.insert(offered);
        self.disk_free_at = self.disk_free_at.max(self.now) + Duration::from_secs_f64(DISK_SECONDS_PER_BATCH);
        self.at(self.disk_free_at, Happening::Wrote { download, request, range, bad });
        self.begin(owner);
        self.with(|transfers, cx| transfers.batch_landed(cx, request, range));
        if over {
            self.with(|transfers, cx| transfers.run_done(cx, request, Ok(())));
        }
    }
}

fn manifest_of(
    peer: &Peer,
    game: &GameId,
    manifest_hash: crate::types::ManifestHash,
) -> Result<(Answer, Vec<ChunkHash>), RunFailure> {
    let Some(offer) = peer.offers.get(game).filter(|offer| offer.summary.manifest_hash == manifest_hash) else {
        let error = WireError { code: WireErrorCode::Changed, message: String::new() };
        return Err(RunFailure::Refused(error));
    };
    let content_hash = offer.summary.content_hash;
    let answer = ManifestAnswer { content_hash, ..offer.answer() };
    Ok((Answer::Manifest(answer), content_hash.map_or(Vec::new(), |_| offer.chunks.clone())))
}
