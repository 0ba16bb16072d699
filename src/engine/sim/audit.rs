//! What must hold whatever happens, looked at after every input of every engine.

use super::*;
use crate::api::Operation;

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
            PeerEvent::UninstallFinished { game } | PeerEvent::UninstallFailed { game, .. } => {
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
    /// Changes to another game directory.
    pub(super) moves: u64,
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
    /// Who lies.
    pub(super) liars: BTreeMap<usize, PeerId>,
    pub(super) tally: Tally,
}

impl Audit {
    /// A daemon died; nothing of it is owed any more.
    pub(super) fn forget(&mut self, n: usize) {
        self.unanswered.retain(|(node, _), _| *node != n);
        self.open.retain(|(node, ..), _| *node != n);
        self.repairs.retain(|(node, _)| *node != n);
        self.removing.retain(|(node, _)| *node != n);
        self.accepted.retain(|(node, _), _| *node != n);
        self.ends.retain(|(node, _), _| *node != n);
        self.banned.retain(|(node, ..)| *node != n);
    }

    pub(super) fn goes_in(&mut self, n: usize, input: &Input) {
        match input {
            Input::Command { id, command } => {
                let before = self.unanswered.insert((n, *id), command.clone());
                assert!(before.is_none(), "{id:?} was used twice");
            }
            Input::ConnectionUp { conn, peer_id, .. } => drop(self.ends.insert((n, *conn), *peer_id)),
            Input::JobDone(JobDone::FilesChanged { game, .. }) => drop(self.removing.remove(&(n, game.clone()))),
            _ => {}
        }
    }

    pub(super) fn comes_out(&mut self, n: usize, node: &Node, outputs: &[Output]) {
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
                Output::Fetch { conn, download, .. } => {
                    let game = &node.plans.get(download).expect("fetched for a download that is open").game;
                    let source = self.ends[&(n, *conn)];
                    assert!(!self.banned.contains(&(n, game.clone(), source)), "{source} is banned: {output:?}");
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
        let here = engine.library.games().get(game).filter(|here| here.downloaded);
        assert_eq!(here.map(|here| here.manifest_hash), Some(manifest_hash), "{game} is not here like that");
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
            // It may begin anew, with what another content has for sources.
            PeerEvent::DownloadBegin { game, .. } => self.banned.retain(|(node, of, _)| (*node, of) != (n, game)),
            PeerEvent::DownloadFinished { .. } => self.tally.finished += 1,
            PeerEvent::DownloadFailed { .. } => self.tally.failed += 1,
            PeerEvent::DownloadSourceBanned { game, peer_id, .. } => {
                self.tally.banned += 1;
                let liar = self.liars.values().any(|liar| liar == peer_id) && !self.liars.contains_key(&n);
                self.tally.liars_banned += u64::from(liar);
                self.banned.insert((n, game.clone(), *peer_id));
            }
            _ => {}
        }
        if let Some((_, game)) = Kind::ended(event) {
            self.banned.retain(|(node, of, _)| (*node, of) != (n, game));
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
            let operation = engine.operation(game);
            assert!(!operation.is_some_and(|operation| kind.runs_as(operation)), "{event:?} during {operation:?}");
        }
    }

    /// After the outputs were carried out.
    pub(super) fn settled(&mut self, n: usize, node: &Node) {
        let Some(engine) = &node.engine else { return };
        engine.transfers.check_invariants();
        let (limit, promised) = (node.config.limits.landing_buffers, node.buffers());
        let counted = engine.transfers.load().buffers_reserved;
        assert!(promised <= limit && counted <= limit, "{promised} and {counted} landing buffers of {limit}");
        self.tally.buffers = self.tally.buffers.max(promised);
        let rows = engine.operation_rows();
        let games: BTreeSet<_> = rows.iter().map(|row| &row.game).collect();
        assert_eq!(games.len(), rows.len(), "two operations on a game: {rows:?}");
        for (peer, _, library) in engine.peers.libraries() {
            let (games, limit) = (library.games().len(), node.config.limits.games_per_library);
            assert!(games <= limit, "a library of {games} games was taken in, of {limit}");
            let stamp = library.stamp();
            let before = self.accepted.insert((n, peer), stamp).unwrap_or(stamp);
            let back = before.epoch == stamp.epoch && before.rev > stamp.rev;
            assert!(!back, "an accepted revision went back from {before:?} to {stamp:?}");
        }
    }

    /// What is still owed, if anything.
    pub(super) fn owed(&self) -> Option<String> {
        let commands = self.unanswered.iter().next().map(|owed| format!("no answer: {owed:?}"));
        commands.or_else(|| self.open.iter().next().map(|owed| format!("no end: {owed:?}")))
    }
}
