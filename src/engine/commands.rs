//! What user interfaces ask: answers at once, or waits until there is one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::mirrors::Everybody;
use super::transfer::{Wish, can_be_had, is_other_content};
use super::{CommandId, Engine, Local, Phase, Switch, cx, local, transfers};
use crate::api::{
    CommandData, CommandError, CommandResult, Done, ErrorCode, GameList, GameRow, PeerCommand, PeerCount, PeerList,
    Status,
};
use crate::engine::context::Cx;
use crate::engine::timers::TimerSet;
use crate::types::{Availability, GameId, GameSummary, PeerId};

/// Why a game that somebody writes is not offered.
const ARRIVING: &str = "still being copied";
/// Commands that wait at once.
const MAX_WAITS: usize = 256;
/// Longest wait of `wait-peers`.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3_600);

/// Commands that have no answer yet. Those that dial or transfer are with the peers and the transfers.
#[derive(Debug)]
pub(super) struct Commands {
    waits: BTreeMap<u64, Wait>,
    timers: TimerSet<u64>,
}

#[derive(Debug)]
enum Wait {
    /// `wait-peers`.
    Peers { command: CommandId, count: usize },
    /// A command for a game that others must be asked about first.
    Refresh { command: CommandId, game: GameId, then: Then, asked: Asked },
}

/// What follows once everybody who was asked has answered.
#[derive(Clone, Copy, Debug)]
enum Then {
    Download { install: bool, again: bool },
    GetGame,
}

/// Who has yet to answer.
#[derive(Debug, Default)]
struct Asked {
    /// Peers: whether their libraries are still the known ones.
    peers: BTreeSet<PeerId>,
    /// Mirrors, by their place: whether they have the game.
    mirrors: BTreeSet<usize>,
    /// Whoever has the catalog.
    catalog: bool,
}

impl Asked {
    fn is_over(&self) -> bool {
        self.peers.is_empty() && self.mirrors.is_empty() && !self.catalog
    }
}

impl Commands {
    pub(super) fn new() -> Self {
        Self { waits: BTreeMap::new(), timers: TimerSet::new() }
    }

    /// The earliest deadline.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    fn add(&mut self, key: u64, wait: Wait, until: Instant) {
        self.waits.insert(key, wait);
        self.timers.set(key, until);
    }

    fn remove(&mut self, key: u64) -> Option<Wait> {
        self.timers.cancel(&key);
        self.waits.remove(&key)
    }
}

impl Engine {
    /// A user interface asks.
    pub(super) fn command(&mut self, id: CommandId, command: PeerCommand, now: Instant) {
        let stopping = matches!(self.phase, Phase::Leaving { .. });
        match command {
            PeerCommand::Status => self.reply(id, Ok(CommandData::Status(Box::new(self.status(now))))),
            PeerCommand::Metrics => {
                let load = Box::new(self.load());
                self.out.push_back(super::Output::Measure { id, load });
            }
            PeerCommand::ListPeers => {
                let peers = self.peers.list(now);
                self.reply(id, Ok(CommandData::Peers(PeerList { peers })));
            }
            PeerCommand::ListGames => {
                let games = self.game_rows();
                self.reply(id, Ok(CommandData::Games(GameList { games })));
            }
            PeerCommand::Shutdown => self.shutdown(id, now),
            _ if stopping => self.refuse(id, ErrorCode::Cancelled, "the daemon stops"),
            PeerCommand::Connect { addr } => self.peers.connect(cx!(self, now), &self.library, id, &addr),
            PeerCommand::WaitPeers { count, timeout_ms } => {
                let timeout = Duration::from_millis(timeout_ms).min(MAX_WAIT);
                self.wait(Wait::Peers { command: id, count }, timeout, id, now);
                // Answered by `check_waits` when there are enough already.
            }
            PeerCommand::SetGameDir { path } => self.set_game_dir(id, path, now),
            PeerCommand::SetLimits { max_upload, max_download } => self.set_limits(id, max_upload, max_download, now),
            PeerCommand::Pause | PeerCommand::Resume => {
                transfers!(self, now, pause, command == PeerCommand::Pause);
                self.reply(id, Ok(CommandData::Done(Done {})));
            }
            PeerCommand::BlockPeer { peer_id } => self.block_peer(id, peer_id, now),
            PeerCommand::UnblockPeer { peer_id } => self.unblock_peer(id, peer_id),
            PeerCommand::Prioritise { game } => transfers!(self, now, command_prioritise, id, game),
            PeerCommand::GetGame { game } => self.after_mirrors(id, game, Then::GetGame, now),
            PeerCommand::CancelDownload { game } if self.operations.operation(&game).is_some() => {
                self.cancel_operation(id, &game, now);
            }
            PeerCommand::CancelDownload { game } => transfers!(self, now, command_cancel, id, game),
            PeerCommand::Download { .. }
            | PeerCommand::FetchLatest { .. }
            | PeerCommand::Install { .. }
            | PeerCommand::Uninstall { .. }
            | PeerCommand::Adopt { .. }
            | PeerCommand::Remove { .. }
            | PeerCommand::Verify { .. }
                if self.is_switching() =>
            {
                self.refuse_switching(id);
            }
            PeerCommand::Install { game } => self.command_install(id, game, now),
            PeerCommand::Uninstall { game } => self.command_uninstall(id, game, now),
            PeerCommand::Adopt { game } => self.command_adopt(id, game, now),
            PeerCommand::Remove { game } => self.command_remove(id, game, now),
            PeerCommand::Verify { game, repair } => self.command_verify(id, game, repair, now),
            PeerCommand::Download { game, install, again } => {
                self.after_mirrors(id, game, Then::Download { install, again }, now);
            }
            PeerCommand::FetchLatest { game } => {
                let peers: BTreeSet<PeerId> = self.peers.refresh(cx!(self, now)).into_iter().collect();
                let catalog = self.fetch_catalog();
                let mirrors = self.mirrors.look_for(cx!(self, now), &game, true);
                let then = Then::Download { install: false, again: false };
                self.after(id, game, then, Asked { peers, mirrors, catalog }, now);
            }
        }
    }

    /// Asks the mirrors for a game that they said nothing of lately; then the command is carried out. It does not wait for them
    /// where somebody else can hand the game out: they join when they have answered.
    fn after_mirrors(&mut self, id: CommandId, game: GameId, then: Then, now: Instant) {
        let mut mirrors = BTreeSet::new();
        if self.catalog.admits(&game) {
            mirrors = self.mirrors.look_for(cx!(self, now), &game, false);
            let everybody = Everybody { peers: &self.peers, mirrors: &self.mirrors };
            if can_be_had(&game, &everybody, local!(self)) {
                mirrors.clear();
            }
        }
        self.after(id, game, then, Asked { mirrors, ..Asked::default() }, now);
    }

    fn after(&mut self, id: CommandId, game: GameId, then: Then, asked: Asked, now: Instant) {
        if asked.is_over() {
            return self.carry_out(id, game, then, now);
        }
        let timeout = self.config.timers.request_timeout;
        self.wait(Wait::Refresh { command: id, game, then, asked }, timeout, id, now);
    }

    fn carry_out(&mut self, id: CommandId, game: GameId, then: Then, now: Instant) {
        match then {
            Then::Download { install, again } => {
                transfers!(self, now, command_download, id, game, Wish { install, again });
            }
            Then::GetGame => transfers!(self, now, command_get_game, id, game),
        }
    }

    fn set_limits(
        &mut self,
        id: CommandId,
        max_upload: Option<Option<u64>>,
        max_download: Option<Option<u64>>,
        now: Instant,
    ) {
        if let Some(rate) = max_upload {
            self.limits.max_upload = rate;
            self.out.push_back(super::Output::LimitUpload { rate });
        }
        if let Some(rate) = max_download {
            self.limits.max_download = rate;
            transfers!(self, now, limit, rate);
        }
        self.reply(id, Ok(CommandData::Limits(self.limits)));
    }

    fn block_peer(&mut self, id: CommandId, peer_id: PeerId, now: Instant) {
        if peer_id == self.me {
            return self.refuse(id, ErrorCode::SelfConnect, "this is the daemon's own peer id");
        }
        if !self.peers.block(cx!(self, now), peer_id) {
            return self.refuse(id, ErrorCode::BadArgument, "too many peers are blocked; unblock some first");
        }
        if self.mirrors.has(peer_id) {
            transfers!(self, now, sources_changed);
        }
        self.reply(id, Ok(CommandData::Done(Done {})));
    }

    fn unblock_peer(&mut self, id: CommandId, peer_id: PeerId) {
        if !self.peers.unblock(&peer_id) {
            return self.refuse(id, ErrorCode::BadArgument, "this peer is not blocked");
        }
        self.reply(id, Ok(CommandData::Done(Done {})));
    }

    fn reply(&mut self, id: CommandId, result: CommandResult) {
        self.out.push_back(super::Output::Reply { id, result: Box::new(result) });
    }

    fn refuse(&mut self, id: CommandId, code: ErrorCode, message: &str) {
        self.reply(id, Err(CommandError::new(code, message)));
    }

    fn wait(&mut self, wait: Wait, timeout: Duration, id: CommandId, now: Instant) {
        if self.commands.waits.len() >= MAX_WAITS {
            return self.refuse(id, ErrorCode::Io, "too many commands are waiting; wait for one of them to end");
        }
        let key = self.ids.token();
        self.commands.add(key, wait, now + timeout);
    }

    fn is_switching(&self) -> bool {
        !matches!(self.switch, Switch::No)
    }

    fn refuse_switching(&mut self, id: CommandId) {
        self.refuse(id, ErrorCode::OperationInProgress, "the game directory is being exchanged");
    }

    fn set_game_dir(&mut self, id: CommandId, path: PathBuf, now: Instant) {
        if !matches!(self.phase, Phase::Running) || self.is_switching() || self.operations_run() {
            let message = "an operation is under way; the game directory can be exchanged when all have ended";
            return self.refuse(id, ErrorCode::OperationInProgress, message);
        }
        if path == self.library.dir() {
            return self.library_unchanged(id, now);
        }
        self.gate.close(cx!(self, now));
        self.switch = Switch::Draining { command: id, path };
    }

    fn shutdown(&mut self, id: CommandId, now: Instant) {
        if let Phase::Leaving { commands, .. } = &mut self.phase {
            return commands.push(id);
        }
        let until = now + self.config.timers.request_timeout;
        self.phase = Phase::Leaving { until, commands: vec![id] };
        self.cancel_commands();
        self.peers.leave(cx!(self, now));
        self.gate.close(cx!(self, now));
        self.library.hurry(cx!(self, now));
        transfers!(self, now, shutdown);
        self.stop_operations(now);
    }

    /// Answers every waiting command: nothing will come of it.
    pub(super) fn cancel_commands(&mut self) {
        let mut cancelled = Vec::new();
        if let Switch::Draining { command, .. } | Switch::Opening { command } | Switch::Saving { command } =
            std::mem::replace(&mut self.switch, Switch::No)
        {
            cancelled.push(command);
        }
        self.commands.timers = TimerSet::new();
        for wait in std::mem::take(&mut self.commands.waits).into_values() {
            let (Wait::Peers { command, .. } | Wait::Refresh { command, .. }) = wait;
            cancelled.push(command);
        }
        for command in cancelled {
            self.refuse(command, ErrorCode::Cancelled, "the daemon stops");
        }
    }

    /// A peer said whether its library is still the known one, or will not.
    pub(super) fn peer_settled(&mut self, peer: PeerId, now: Instant) {
        self.answered(now, |_, asked| asked.peers.remove(&peer));
    }

    /// The catalog was looked at, with whatever result.
    pub(super) fn catalog_looked_at(&mut self, now: Instant) {
        self.answered(now, |_, asked| std::mem::take(&mut asked.catalog));
    }

    /// A mirror said whether it has a game, or nothing.
    pub(super) fn mirror_looked_at(&mut self, mirror: usize, of: &GameId, now: Instant) {
        self.answered(now, |game, asked| game == of && asked.mirrors.remove(&mirror));
    }

    /// Carries out the commands for which this was the last answer. `take` strikes it off the list of those who have yet to
    /// answer; false: it was not on it.
    fn answered(&mut self, now: Instant, mut take: impl FnMut(&GameId, &mut Asked) -> bool) {
        let mut ready = Vec::new();
        for (key, wait) in &mut self.commands.waits {
            if let Wait::Refresh { game, asked, .. } = wait
                && take(game, asked)
                && asked.is_over()
            {
                ready.push(*key);
            }
        }
        ready.into_iter().for_each(|key| self.end_wait(key, now));
    }

    /// Answers `wait-peers` commands whose time has come.
    pub(super) fn check_waits(&mut self) {
        if self.commands.waits.is_empty() {
            return;
        }
        let peers = self.peers.in_step();
        let enough = |wait: &Wait| matches!(wait, Wait::Peers { count, .. } if *count <= peers);
        let ready: Vec<u64> =
            self.commands.waits.iter().filter(|(_, wait)| enough(wait)).map(|(key, _)| *key).collect();
        for key in ready {
            if let Some(Wait::Peers { command, .. }) = self.commands.remove(key) {
                self.reply(command, Ok(CommandData::PeerCount(PeerCount { peers })));
            }
        }
    }

    /// Waits that are over.
    pub(super) fn commands_timeout(&mut self, now: Instant) {
        while let Some(key) = self.commands.timers.pop_due(now) {
            self.end_wait(key, now);
        }
    }

    fn end_wait(&mut self, key: u64, now: Instant) {
        match self.commands.remove(key) {
            None => {}
            Some(Wait::Peers { command, count }) => {
                let peers = self.peers.in_step();
                let message = format!("{peers} of {count} peers are connected with their libraries in step");
                self.refuse(command, ErrorCode::Timeout, &message);
            }
            Some(Wait::Refresh { command, then: Then::Download { .. }, .. }) if self.is_switching() => {
                self.refuse_switching(command);
            }
            // Peers, mirrors and a catalog that did not answer in time are taken as they are known.
            Some(Wait::Refresh { command, game, then, .. }) => self.carry_out(command, game, then, now),
        }
    }

    fn load(&self) -> super::EngineLoad {
        super::EngineLoad { peers: self.peers.connections(), ..self.transfers.load(&self.config) }
    }

    fn status(&self, now: Instant) -> Status {
        let state = self.library.state();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            peer_id: self.me,
            listen_addrs: self.peers.listen().to_vec(),
            game_dir: self.library.dir().to_owned(),
            library_epoch: state.epoch,
            library_rev: state.rev,
            library_digest: state.digest,
            games: state.game_count as usize,
            peers_connected: self.peers.connected(),
            peers_incompatible: self.peers.incompatible(),
            peers_blocked: self.peers.blocked(),
            sources_banned: self.transfers.sources_banned(now),
            operations: self.operation_rows(),
            watch: self.watch,
            bytes_received: self.transfers.bytes_received(),
            // One counts finished sends, the other what moved so far; neither is ever ahead of the truth.
            bytes_sent: self.transfers.bytes_sent().max(self.sent_live),
            hash_queue: self.gate.unhashed(&self.library, &self.catalog).count(),
            limits: self.limits,
            paused: self.transfers.is_paused(),
            mirrors: self.mirrors.rows(),
        }
    }

    /// The rows of `list-games`: every game here or at a connected peer, ascending by id.
    fn game_rows(&self) -> Vec<GameRow> {
        #[derive(Default)]
        struct Offers {
            newest: Option<Arc<GameSummary>>,
            peer_count: usize,
            other_content: usize,
            sources: Vec<PeerId>,
        }
        let mut offers: BTreeMap<GameId, Offers> = BTreeMap::new();
        for game in self.library.games().keys().cloned() {
            offers.insert(game, Offers::default());
        }
        for operation in self.operation_rows() {
            offers.entry(operation.game).or_default();
        }
        for (peer, _, library) in self.peers.libraries() {
            for game in library.games() {
                let offer = match offers.get_mut(&game.id) {
                    Some(offer) => offer,
                    None => offers.entry(game.id.clone()).or_default(),
                };
                offer.peer_count += 1;
                if game.availability == Availability::Ready && game.downloaded {
                    offer.sources.push(peer);
                    let here = self.library.games().get(&game.id);
                    offer.other_content += usize::from(here.is_some_and(|here| is_other_content(here, game)));
                }
                if offer.newest.as_ref().is_none_or(|newest| self.is_newer(game, newest)) {
                    offer.newest = Some(game.clone());
                }
            }
        }
        for (mirror, game) in self.mirrors.games() {
            let offer = offers.entry(game.id.clone()).or_default();
            offer.sources.push(mirror);
            if offer.newest.as_ref().is_none_or(|newest| self.is_newer(game, newest)) {
                offer.newest = Some(game.clone());
            }
        }
        // By what two ids that are one folder somewhere have in common.
        let own: BTreeMap<String, &GameId> =
            self.library.games().keys().map(|own| (own.collision_key(), own)).collect();
        let row = |(id, offer): (GameId, Offers)| GameRow {
            other_content_peers: offer.other_content,
            unavailable_reason: own
                .get(&id.collision_key())
                .filter(|twin| **twin != &id)
                .map(|twin| id.refusal_beside(twin.as_str())),
            ..self.game_row(id, offer.newest, offer.peer_count, offer.sources)
        };
        offers.into_iter().map(row).collect()
    }

    /// Whether a peer's copy says more about what can be had than another: a ready one, then the newer version.
    fn is_newer(&self, game: &GameSummary, than: &GameSummary) -> bool {
        let ready = |game: &GameSummary| game.downloaded && game.availability == Availability::Ready;
        match (ready(game), ready(than)) {
            (true, false) => true,
            (false, true) => false,
            _ => match (&game.eti_version, &than.eti_version) {
                (Some(a), Some(b)) => self.catalog.compare_versions(&game.id, a, b).is_gt(),
                (a, b) => a.is_some() && b.is_none(),
            },
        }
    }

    fn game_row(
        &self,
        id: GameId,
        newest: Option<Arc<GameSummary>>,
        peer_count: usize,
        sources: Vec<PeerId>,
    ) -> GameRow {
        let local = self.library.games().get(&id);
        let summary = self.library.summary(&id);
        // A running download has set the sentinel aside, whatever was seen before it began.
        let here = local.filter(|game| {
            game.downloaded && self.transfers.operation(&id) != Some(crate::api::Operation::Downloading)
        });
        let name = match (self.catalog.entry(&id), &newest) {
            (Some(entry), _) => entry.name.clone(),
            (None, Some(newest)) => newest.name.clone(),
            (None, None) => summary.map_or_else(|| id.to_string(), |summary| summary.name.clone()),
        };
        let (version, size, content_hash) = match (here, &newest, local) {
            (Some(here), ..) => (here.eti_version.clone(), here.size, here.content_hash),
            (None, Some(newest), _) => (newest.eti_version.clone(), newest.size, newest.content_hash),
            (None, None, Some(local)) => (local.eti_version.clone(), local.size, local.content_hash),
            (None, None, None) => (None, 0, None),
        };
        let local_only_reason = local.and_then(|game| match &game.unportable {
            Some(reason) => Some(reason.clone()),
            None if game.arriving => Some(ARRIVING.to_owned()),
            None if !game.downloaded && self.catalog.admits(&id) => None,
            None => {
                let withheld = self.catalog.withholds(&id, game.eti_version.as_deref(), game.content_hash);
                withheld.map(str::to_owned)
            }
        });
        GameRow {
            name,
            version,
            size,
            downloaded: here.is_some(),
            installed: local.is_some_and(|game| game.installed),
            installed_by: local.and_then(|game| game.installed_by),
            installs_by: here.and_then(|game| game.installs_by),
            operation: self.operation(&id),
            progress: self.transfers.progress(&id).or_else(|| self.operations.progress(&id)),
            local_only_reason,
            arriving: local.is_some_and(|game| game.arriving),
            other_content_peers: 0,
            unavailable_reason: None,
            changed: local.is_some_and(|game| game.is_changed()),
            leaves_out: local.and_then(|game| game.leaves_out.clone()),
            content_hash,
            peer_count,
            sources,
            id,
        }
    }
}
