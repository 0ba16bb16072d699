//! What must hold whatever happens, looked at after every input of every engine.

use super::*;
use crate::api::{ErrorCode, Operation};
use crate::proto::GetManifest;
use crate::types::LibraryDigest;

/// A download that has had a source for so long is not to be given up for want of one.
const LONG_ENOUGH: Duration = Duration::from_secs(1);

/// A command of which the terminal event is awaited.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Download,
    Uninstall,
    Remove,
    Verify,
}

impl Kind {
    fn of(command: &PeerCommand) -> Option<(Self, &GameId)> {
        match command {
            PeerCommand::Download { game, .. } => Some((Self::Download, game)),
            PeerCommand::Uninstall { game } => Some((Self::Uninstall, game)),
            PeerCommand::Remove { game } => Some((Self::Remove, game)),
            PeerCommand::Verify { game, .. } => Some((Self::Verify, game)),
            _ => None,
        }
    }

    fn ended(event: &PeerEvent) -> Option<(Self, &GameId)> {
        match event {
            PeerEvent::DownloadFinished { game, .. } | PeerEvent::DownloadFailed { game, .. } => {
                Some((Self::Download, game))
            }
            PeerEvent::UninstallFinished { game, .. } | PeerEvent::UninstallFailed { game, .. } => {
                Some((Self::Uninstall, game))
            }
            PeerEvent::RemoveFinished { game } | PeerEvent::RemoveFailed { game, .. } => Some((Self::Remove, game)),
            PeerEvent::VerifyFinished { game, .. } | PeerEvent::VerifyFailed { game, .. } => Some((Self::Verify, game)),
            _ => None,
        }
    }

    fn runs_as(self, operation: Operation) -> bool {
        match self {
            Self::Download => matches!(operation, Operation::Queued | Operation::Downloading),
            Self::Uninstall => operation == Operation::Uninstalling,
            Self::Remove => operation == Operation::Removing,
            Self::Verify => operation == Operation::Verifying,
        }
    }
}

/// What happened, so that a storm that exercises nothing does not pass.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Tally {
    pub(super) finished: u64,
    pub(super) failed: u64,
    pub(super) banned: u64,
    pub(super) sends: u64,
    /// Runs sent by peers that were still downloading the game.
    pub(super) swarm_sends: u64,
    pub(super) repairs: u64,
    /// Runs for chunks that another run was after as well.
    pub(super) duplicates: u64,
    /// Downloads that came to their end in the calm.
    pub(super) calmed: u64,
    /// Changes to another game directory.
    pub(super) moves: u64,
    /// Downloads whose content became known while they were running.
    pub(super) learned: u64,
    /// Game directories that went while their daemons ran.
    pub(super) gone: usize,
    /// Liars that honest peers gave up as sources.
    pub(super) liars_banned: u64,
    /// The most landing buffers of one engine that were in use at once.
    pub(super) buffers: usize,
}

/// The books over one world.
#[derive(Default)]
pub(super) struct Audit {
    /// Commands without an answer.
    unanswered: BTreeMap<(usize, CommandId), PeerCommand>,
    /// Accepted operations without their terminal event.
    open: BTreeMap<(usize, GameId, Kind), usize>,
    /// Games whose verification may be followed by a download that nobody commanded.
    repairs: BTreeSet<(usize, GameId)>,
    removing: BTreeSet<(usize, GameId)>,
    /// The latest state of each peer's library that each node accepted in this life.
    accepted: BTreeMap<(usize, PeerId), LibraryStamp>,
    /// Who is at the other end of each connection.
    ends: BTreeMap<(usize, ConnId), PeerId>,
    /// Sources that the running download (or repair) of a game will not ask again.
    banned: BTreeSet<(usize, GameId, PeerId)>,
    /// Since when a running download has had an honest source of everything that it may ask.
    sourced: BTreeMap<(usize, GameId), Instant>,
    /// Downloads that are being given up, and for how long they had one until then.
    forsaken: BTreeMap<(usize, GameId), Duration>,
    /// The game of which the node is told that its files are removed.
    removed: Option<GameId>,
    /// The delta that goes in.
    delta: Option<(PeerId, LibraryStamp, LibraryDigest)>,
    /// Who lies.
    pub(super) liars: BTreeMap<usize, PeerId>,
    /// Nothing goes wrong any more.
    pub(super) calm: bool,
    /// Only what can be seen from outside is looked at, and not whether the transfers agree with themselves.
    outside: bool,
    pub(super) tally: Tally,
}

impl Audit {
    /// `outside`: the transfers are not asked whether they agree with themselves.
    pub(super) fn new(outside: bool) -> Self {
        Self { outside, ..Self::default() }
    }

    /// A daemon died; nothing of it is owed any more.
    pub(super) fn forget(&mut self, n: usize) {
        self.unanswered.retain(|(node, _), _| *node != n);
        self.open.retain(|(node, ..), _| *node != n);
        self.repairs.retain(|(node, _)| *node != n);
        self.removing.retain(|(node, _)| *node != n);
        self.accepted.retain(|(node, _), _| *node != n);
        self.ends.retain(|(node, _), _| *node != n);
        self.banned.retain(|(node, ..)| *node != n);
        self.sourced.retain(|(node, _), _| *node != n);
        self.forsaken.retain(|(node, _), _| *node != n);
    }

    pub(super) fn goes_in(&mut self, n: usize, node: &Node, input: &Input) {
        (self.removed, self.delta) = (None, None);
        match input {
            Input::Command { id, command } => {
                let before = self.unanswered.insert((n, *id), command.clone());
                assert!(before.is_none(), "{id:?} was used twice");
            }
            Input::ConnectionUp { conn, peer_id, .. } => drop(self.ends.insert((n, *conn), *peer_id)),
            Input::JobDone(JobDone::FilesChanged { game, result, .. }) => {
                self.removing.remove(&(n, game.clone()));
                self.removed = matches!(result, Ok(None)).then(|| game.clone());
            }
            Input::BatchLanded { request, range } => Self::check_landed(node, *request, range),
            Input::Notification { notification: Notification::LibraryDelta { peer_id, delta }, .. }
            | Input::Answered { result: Ok((Answer::LibraryDelta { peer_id, delta }, _)), .. } => {
                let stamp = LibraryStamp { epoch: delta.epoch, rev: delta.to_rev };
                self.delta = Some((*peer_id, stamp, delta.to_digest));
            }
            _ => {}
        }
    }

    /// No chunk is handed to a writer that is verified already, or that another writer has.
    fn check_landed(node: &Node, request: RequestId, range: &ChunkRange) {
        let is_this = |(_, of, batch): &&(_, RequestId, ChunkRange)| (*of, batch) == (request, range);
        let (download, ..) = node.writing.iter().find(is_this).expect("a writer has it");
        let others = node.writing.iter().filter(|(of, other, _)| of == download && *other != request);
        let has = node.plans.get(download).map(|plan| node.verified(plan)).unwrap_or_default();
        let twice =
            has.into_iter().chain(others.flat_map(|(.., batch)| batch.iter())).find(|chunk| holds(range, *chunk));
        assert!(twice.is_none(), "{twice:?} is written twice, by {request:?}");
    }

    pub(super) fn comes_out(&mut self, n: usize, node: &Node, outputs: &[Output], now: Instant) {
        let Some(engine) = &node.engine else { return };
        let mut closed = BTreeSet::new();
        for output in outputs {
            let conn = match output {
                Output::Close { conn, .. }
                | Output::Ask { conn, .. }
                | Output::Fetch { conn, .. }
                | Output::Notify { conn, .. } => Some(conn),
                Output::Answer { to, .. } | Output::SendManifest { to, .. } | Output::SendChunks { to, .. } => {
                    Some(&to.conn)
                }
                _ => None,
            };
            if let Some(conn) = conn {
                assert!(node.open.contains(conn) && !closed.contains(conn), "not an open connection: {output:?}");
            }
            match output {
                Output::Close { conn, .. } => drop(closed.insert(*conn)),
                Output::Job(Job::RemoveFiles { game }) => drop(self.removing.insert((n, game.clone()))),
                Output::Job(Job::AbandonDownload { download, .. }) => {
                    let plan = node.plans.get(download).expect("abandoned while it is open");
                    let key = (n, plan.game.clone());
                    // Its bans may be as new as its end.
                    let since = self.sourced.get(&key).filter(|_| self.has_source(n, engine, plan));
                    let had = since.map(|since| now.saturating_duration_since(*since)).unwrap_or_default();
                    self.forsaken.insert(key, had);
                }
                Output::Ask { conn, body, .. } => {
                    if let Request::GetManifest(GetManifest { game_id, .. }) = &**body
                        && !self.is_looked_up(n, game_id)
                    {
                        self.check_standing(n, *conn, game_id, output);
                    }
                }
                Output::Fetch { conn, download: Planned { id: download, .. }, range, .. } => {
                    let plan = node.plans.get(download).expect("fetched for a download that is open");
                    self.check_standing(n, *conn, &plan.game, output);
                    let writing = node.writing.iter().filter(|(of, ..)| of == download);
                    let mut landed =
                        node.verified(plan).into_iter().chain(writing.flat_map(|(.., batch)| batch.iter()));
                    assert!(!landed.any(|chunk| holds(range, chunk)), "it is here: {output:?}");
                    let flying = node.fetches.values().filter(|fetch| fetch.download == *download);
                    let mut flying = flying.flat_map(|fetch| &fetch.batches).flat_map(|batch| batch.range.iter());
                    self.tally.duplicates += u64::from(flying.any(|chunk| holds(range, chunk)));
                }
                Output::SendManifest { game, manifest_hash, .. } => {
                    self.check_whole(n, node, game, *manifest_hash);
                }
                Output::SendChunks { request, download: None, .. } => {
                    self.tally.sends += 1;
                    self.check_whole(n, node, &request.game_id, request.manifest_hash);
                }
                Output::SendChunks { request, download: Some(download), .. } => {
                    self.tally.swarm_sends += 1;
                    let plan = node.plans.get(download).expect("sent of a download that is open");
                    let content = plan.content.as_ref().map(|content| content.hash);
                    assert_eq!((&plan.game, plan.manifest_hash), (&request.game_id, request.manifest_hash));
                    assert!(content.is_some() && content == request.content_hash, "another content: {output:?}");
                    let verified = node.verified(plan);
                    let mut asked = ChunkRange { first: request.first, count: request.count }.iter();
                    assert!(asked.all(|chunk| verified.contains(&chunk)), "not verified: {output:?}");
                }
                Output::Measure { id, .. } => drop(self.unanswered.remove(&(n, *id))),
                Output::Reply { id, result } => self.replied(n, *id, result),
                Output::Event(event) => self.told(n, engine, event),
                _ => {}
            }
        }
    }

    /// Whether a game may be sent from its own folder.
    fn check_whole(&self, n: usize, node: &Node, game: &GameId, manifest_hash: ManifestHash) {
        assert!(!node.is_downloading(game), "{game} is sent while it is downloaded");
        assert!(!self.removing.contains(&(n, game.clone())), "{game} is sent while it is removed");
        let engine = node.engine.as_ref().expect("it speaks");
        let here = engine.cx.disk.games().get(game).filter(|here| here.downloaded);
        assert_eq!(here.map(|here| here.manifest_hash), Some(manifest_hash), "{game} is not here like that");
    }

    /// Whether somebody who asked for the files of a game waits for the answer: for that any source will do.
    fn is_looked_up(&self, n: usize, game: &GameId) -> bool {
        let is_it = |command: &PeerCommand| matches!(command, PeerCommand::GetGame { game: of } if of == game);
        self.unanswered.iter().any(|((node, _), command)| *node == n && is_it(command))
    }

    /// Whether a source may be asked for a game.
    fn check_standing(&self, n: usize, conn: ConnId, game: &GameId, asked: &Output) {
        let source = self.ends[&(n, conn)];
        assert!(!self.banned.contains(&(n, game.clone(), source)), "{source} is banned: {asked:?}");
    }

    fn replied(&mut self, n: usize, id: CommandId, result: &CommandResult) {
        let command = self.unanswered.remove(&(n, id));
        let command = command.unwrap_or_else(|| panic!("nothing is owed to {id:?}: {result:?}"));
        let (Ok(CommandData::Accepted(_)), Some((kind, game))) = (result, Kind::of(&command)) else { return };
        *self.open.entry((n, game.clone(), kind)).or_default() += 1;
        self.repairs.remove(&(n, game.clone()));
        if matches!(command, PeerCommand::Verify { repair: true, .. }) {
            self.repairs.insert((n, game.clone()));
        }
    }

    fn told(&mut self, n: usize, engine: &Engine, event: &PeerEvent) {
        match event {
            PeerEvent::DownloadFinished { .. } => {
                self.tally.finished += 1;
                self.tally.calmed += u64::from(self.calm);
            }
            PeerEvent::DownloadFailed { game, code, .. } => {
                self.tally.failed += 1;
                let blames_sources =
                    matches!(code, ErrorCode::NoSources | ErrorCode::SourceChanged | ErrorCode::VerificationFailed);
                let had = self.forsaken.remove(&(n, game.clone())).unwrap_or_default();
                assert!(!blames_sources || had < LONG_ENOUGH, "it had a source for {had:?}: {event:?}");
            }
            PeerEvent::DownloadSourceBanned { game, peer_id, .. } => {
                self.tally.banned += 1;
                let liar = self.liars.values().any(|liar| liar == peer_id) && !self.liars.contains_key(&n);
                self.tally.liars_banned += u64::from(liar);
                self.banned.insert((n, game.clone(), *peer_id));
            }
            _ => {}
        }
        let Some((kind, game)) = Kind::ended(event) else { return };
        let key = (n, game.clone(), kind);
        let left = match self.open.get_mut(&key) {
            Some(open) => {
                *open -= 1;
                *open
            }
            None => {
                let repaired = kind == Kind::Download && self.repairs.remove(&(n, game.clone()));
                assert!(repaired, "an end of what was not begun: {event:?}");
                self.tally.repairs += 1;
                0
            }
        };
        if left == 0 {
            self.open.remove(&key);
            let operation = engine.query().operation(game);
            assert!(!operation.is_some_and(|operation| kind.runs_as(operation)), "{event:?} during {operation:?}");
        }
    }

    /// After the outputs were carried out.
    pub(super) fn settled(&mut self, n: usize, node: &Node, now: Instant) {
        let Some(engine) = &node.engine else { return };
        if !self.outside {
            engine.transfers.check_invariants();
        }
        let (limit, promised) = (node.config.limits.landing_buffers, node.buffers());
        let counted = engine.transfers.load(&engine.cx.config).buffers_reserved;
        assert!(promised <= counted && counted <= limit, "{promised} and {counted} landing buffers of {limit}");
        self.tally.buffers = self.tally.buffers.max(promised);
        let rows = engine.query().operation_rows();
        let games: BTreeSet<_> = rows.iter().map(|row| &row.game).collect();
        assert_eq!(games.len(), rows.len(), "two operations on a game: {rows:?}");
        for (peer, _, library) in engine.parts.peers.libraries() {
            let (games, limit) = (library.games().len(), node.config.limits.games_per_library);
            assert!(games <= limit, "a library of {games} games was taken in, of {limit}");
            let stamp = library.stamp();
            let before = self.accepted.insert((n, peer), stamp).unwrap_or(stamp);
            let led = self.delta.filter(|(of, to, _)| before != stamp && (*of, *to) == (peer, stamp));
            assert!(led.is_none_or(|(.., digest)| digest == library.digest()), "a delta that does not fit: {stamp:?}");
            let back = before.epoch == stamp.epoch && before.rev > stamp.rev;
            assert!(!back, "an accepted revision went back from {before:?} to {stamp:?}");
        }
        // A ban lasts as long as the download.
        let downloads = |game: &GameId| engine.query().operation(game) == Some(Operation::Downloading);
        self.banned.retain(|(node, game, _)| *node != n || downloads(game));
        if let Some(game) = &self.removed {
            assert!(!engine.cx.disk.games().contains_key(game), "{game} is removed, and is still to be had");
        }
        let sourced: BTreeSet<_> = (node.plans.values())
            .filter(|plan| self.has_source(n, engine, plan))
            .map(|plan| plan.game.clone())
            .collect();
        self.sourced.retain(|(node, game), _| *node != n || sourced.contains(game));
        for game in sourced {
            self.sourced.entry((n, game)).or_insert(now);
        }
    }

    /// Whether an honest peer is connected that lists exactly what a download fetches, and is not banned by it. Of a content
    /// that nobody has hashed only its owner is a source; who that is cannot be seen here.
    fn has_source(&self, n: usize, engine: &Engine, plan: &DownloadPlan) -> bool {
        let Some(content) = &plan.content else { return false };
        engine.parts.peers.sources(&plan.game).iter().any(|source| {
            let is_same =
                source.summary.manifest_hash == plan.manifest_hash && source.summary.content_hash == Some(content.hash);
            let is_honest = !self.liars.values().any(|liar| *liar == source.id.told_as());
            is_same && is_honest && !self.banned.contains(&(n, plan.game.clone(), source.id.told_as()))
        })
    }

    /// What is still owed, if anything.
    pub(super) fn owed(&self) -> Option<String> {
        let commands = self.unanswered.iter().next().map(|owed| format!("no answer: {owed:?}"));
        commands.or_else(|| self.open.iter().next().map(|owed| format!("no end: {owed:?}")))
    }
}

fn holds(range: &ChunkRange, chunk: ChunkIndex) -> bool {
    (range.first..range.first + range.count).contains(&chunk.0)
}
