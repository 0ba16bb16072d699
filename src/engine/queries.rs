//! What is asked of all parts together, and changes none of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::core::Cx;
use super::io::EngineLoad;
use super::operations::Here;
use super::transfer::{Transfers, is_other_content, unknown_game};
use super::world::{Parts, World};
use crate::api::{
    CommandError, DownloadState, ErrorCode, Explanation, GameRow, LimitState, Operation, OperationRow, Status,
    WatchState,
};
use crate::types::{Availability, GameId, GameSummary, PeerId, ScannedGame};

/// All parts, to be looked at.
#[derive(Clone, Copy)]
pub(super) struct Query<'a> {
    pub(super) cx: &'a Cx,
    pub(super) parts: &'a Parts,
    pub(super) transfers: &'a Transfers,
}

impl Query<'_> {
    /// What runs on a game, of whatever kind.
    pub(super) fn operation(&self, game: &GameId) -> Option<Operation> {
        self.transfers.operation(game).or_else(|| self.parts.operations.operation(game))
    }

    /// Everything that runs or waits, ascending by game.
    pub(super) fn operation_rows(&self) -> Vec<OperationRow> {
        let mut rows = self.transfers.operations();
        rows.extend(self.parts.operations.rows());
        rows.sort_by(|a, b| a.game.cmp(&b.game));
        rows
    }

    /// Whether anything runs or waits on any game.
    pub(super) fn operations_run(&self) -> bool {
        !self.transfers.is_drained() || !self.parts.operations.is_empty()
    }

    /// A game on which nothing runs, as it lies here; `None`: only peers have it. Errors in this order: `operation-in-progress`,
    /// `unknown-game`.
    pub(super) fn free_game(&self, game: &GameId) -> Here {
        if self.operation(game).is_some() {
            let message = format!("an operation on {game} runs or waits already");
            return Err(CommandError::new(ErrorCode::OperationInProgress, message));
        }
        let here = self.cx.disk.get(game).cloned();
        if here.is_none() && !self.parts.peers.lists(game) {
            return Err(unknown_game(game));
        }
        Ok(here)
    }

    /// For `metrics`.
    pub(super) fn load(&self) -> EngineLoad {
        EngineLoad { peers: self.parts.peers.connections(), ..self.transfers.load(&self.cx.config) }
    }

    /// For `status`. `gone`, `watch`, `limits`, `sent_live`: what only the engine knows.
    pub(super) fn status(&self, gone: Option<&str>, watch: WatchState, limits: LimitState, sent_live: u64) -> Status {
        let state = self.cx.announced.state;
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            peer_id: self.cx.me,
            listen_addrs: self.parts.peers.listen().to_vec(),
            game_dir: self.parts.library.dir().to_owned(),
            game_dir_gone: gone.map(str::to_owned),
            library_epoch: state.epoch,
            library_rev: state.rev,
            library_digest: state.digest,
            games: state.game_count as usize,
            peers_connected: self.parts.peers.connected(),
            peers_incompatible: self.parts.peers.incompatible(),
            peers_blocked: self.parts.peers.blocked(),
            sources_banned: self.transfers.sources_banned(self.cx.now),
            libraries_too_large: self.parts.peers.too_large(),
            operations: self.operation_rows(),
            watch,
            bytes_received: self.transfers.bytes_received(),
            // One counts finished sends, the other what moved so far; neither is ever ahead of the truth.
            bytes_sent: self.transfers.bytes_sent().max(sent_live),
            hash_queue: self.parts.scans.unhashed(self.cx).count(),
            limits,
            paused: self.transfers.is_paused(),
            mirrors: self.parts.mirrors.rows(),
        }
    }

    /// For `explain`. Errors: `unknown-game`.
    pub(super) fn explain(&self, game: &GameId) -> Result<Explanation, CommandError> {
        let Some(mut why) = self.transfers.explain(self.cx, self.parts, game) else {
            return self.explain_none(game);
        };
        for source in &mut why.sources {
            source.hostname = self.parts.peers.hostname(&source.peer_id);
        }
        Ok(why)
    }

    /// Why there is no download of a game.
    fn explain_none(&self, game: &GameId) -> Result<Explanation, CommandError> {
        let here = self.cx.disk.get(game);
        if here.is_none() && !self.parts.lists(game) {
            return Err(unknown_game(game));
        }
        let reason = if self.parts.operations.operation(game).is_some() {
            "another operation runs on it".to_owned()
        } else if here.is_some_and(|here| here.downloaded) {
            "it is downloaded".to_owned()
        } else {
            match self.parts.sources(game).len() {
                0 => format!(
                    "it is not being downloaded, and no connected peer can hand it out{}",
                    self.parts.why_not(game)
                ),
                n => format!("it is not being downloaded; it can be had from {n} source(s)"),
            }
        };
        Ok(Explanation { game: game.clone(), state: DownloadState::None, reason, sources: Vec::new() })
    }

    /// The rows of `list-games`: every game here or at a connected peer, ascending by id.
    pub(super) fn game_rows(&self) -> Vec<GameRow> {
        #[derive(Default)]
        struct Offers {
            newest: Option<Arc<GameSummary>>,
            peer_count: usize,
            other_content: usize,
            sources: Vec<PeerId>,
        }
        let mut offers: BTreeMap<GameId, Offers> = BTreeMap::new();
        for game in self.cx.disk.games().keys().cloned() {
            offers.insert(game, Offers::default());
        }
        for operation in self.operation_rows() {
            offers.entry(operation.game).or_default();
        }
        for (peer, _, library) in self.parts.peers.libraries() {
            for game in library.games() {
                let offer = match offers.get_mut(&game.id) {
                    Some(offer) => offer,
                    None => offers.entry(game.id.clone()).or_default(),
                };
                offer.peer_count += 1;
                if game.availability == Availability::Ready && game.downloaded {
                    offer.sources.push(peer);
                    let here = self.cx.disk.get(&game.id);
                    offer.other_content += usize::from(here.is_some_and(|here| is_other_content(here, game)));
                }
                if offer.newest.as_ref().is_none_or(|newest| self.is_newer(game, newest)) {
                    offer.newest = Some(game.clone());
                }
            }
        }
        for (mirror, game) in self.parts.mirrors.games() {
            let offer = offers.entry(game.id.clone()).or_default();
            offer.sources.push(mirror.told_as());
            if offer.newest.as_ref().is_none_or(|newest| self.is_newer(game, newest)) {
                offer.newest = Some(game.clone());
            }
        }
        // By what two ids that are one folder somewhere have in common.
        let own: BTreeMap<String, &GameId> =
            self.cx.disk.games().keys().map(|own| (own.collision_key(), own)).collect();
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
                (Some(a), Some(b)) => self.cx.catalog.compare_versions(&game.id, a, b).is_gt(),
                (a, b) => a.is_some() && b.is_none(),
            },
        }
    }

    /// The version of an offer that is newer than what lies here, and that can be had.
    fn newer_version(&self, id: &GameId, here: &ScannedGame, offer: &GameSummary) -> Option<String> {
        let (ours, theirs) = (here.eti_version.as_ref()?, offer.eti_version.as_ref()?);
        let is_offered = offer.downloaded && offer.availability == Availability::Ready;
        (is_offered && self.cx.catalog.compare_versions(id, theirs, ours).is_gt()).then(|| theirs.clone())
    }

    fn game_row(
        &self,
        id: GameId,
        newest: Option<Arc<GameSummary>>,
        peer_count: usize,
        sources: Vec<PeerId>,
    ) -> GameRow {
        let local = self.cx.disk.get(&id);
        let summary = self.parts.library.summary(&id);
        // A running download has set the sentinel aside, whatever was seen before it began.
        let here =
            local.filter(|game| game.downloaded && self.transfers.operation(&id) != Some(Operation::Downloading));
        let entry = self.cx.catalog.entry(&id);
        let name = match (entry, &newest) {
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
        let newest_version = here.and_then(|here| self.newer_version(&id, here, newest.as_deref()?));
        // One that is only not complete yet has no reason.
        let is_fault = |game: &ScannedGame| game.downloaded || game.unportable.is_some() || game.arriving;
        let has_reason = |game: &&Arc<ScannedGame>| is_fault(game) || !self.cx.catalog.admits(&id);
        let local_only_reason = local.filter(has_reason).and_then(|game| self.cx.why_not_offered(game));
        GameRow {
            name,
            version,
            size,
            downloaded: here.is_some(),
            installed: local.is_some_and(|game| game.installed),
            installed_by: local.and_then(|game| game.installed_by),
            installs_by: here.and_then(|game| game.installs_by),
            operation: self.operation(&id),
            progress: self.transfers.progress(&id).or_else(|| self.parts.operations.progress(&id)),
            local_only_reason,
            arriving: local.is_some_and(|game| game.arriving),
            brought: local.is_some_and(|game| game.brought.is_some()),
            newest_version,
            description: entry.and_then(|entry| entry.description.clone()),
            genre: entry.and_then(|entry| entry.genre.clone()),
            players: entry.and_then(|entry| entry.players.clone()),
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
