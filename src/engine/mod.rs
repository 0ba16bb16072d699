//! The pure core. It decides; it does not do.
//!
//! # Contract
//!
//! 1. [`Engine::handle`] takes one [`Input`] and the current time.
//! 2. [`Engine::poll_output`] is called until it returns `None`.
//! 3. [`Engine::poll_timeout`] then says when the engine wants [`Input::Timeout`].
//!
//! No clock, no I/O, no randomness but the seed given to [`Engine::new`], no order that depends on a hash map: the same
//! inputs give the same outputs.
//!
//! # Parts
//!
//! | part | decides |
//! |---|---|
//! | `peers` | who is dialled, accepted, alive; which state of whose library is known |
//! | `library` | what this peer announces, and when a change becomes a revision |
//! | `scans` | when the game directory is scanned, watched, hashed |
//! | `arriving` | which games are still being copied (a part of `scans`) |
//! | `transfer` | downloads and serving |
//! | `mirrors` | what web servers have, and when they are asked |
//! | `operations` | what is done to a downloaded game: install, update, uninstall, adopt, remove, verify |
//! | `commands` | which commands wait for others, and for how long |
//! | `refresh` | when the catalog is looked at again |
//! | `presence` | whether the game directory is there, and when that is looked at |
//!
//! # How they hang together
//!
//! ```text
//!            ┌──────────── Cx: time, settings, catalog, disk, what is announced ────────────┐
//!  Input ──▶ handle ──▶ a part ──▶ cx.emit(Output) ───────────────────────────────────────▶ poll_output
//!               ▲         └──────▶ cx.tell(Effect) ──▶ carry ──▶ another part ─┐
//!               │                                        ▲                     │
//!               └─ settle: what peers noticed, then      └─────────────────────┘
//!                  every step that has become possible
//! ```
//!
//! No part calls another one. Each is handed the context ([`core`]) and what its input says; what others must do because
//! of it, it tells as an [`effect`]. Transfers read of the other parts what [`world`] shows. Whatever is asked of all parts
//! together is in [`queries`]. This file joins them, and nothing else does.

mod arriving;
mod commands;
mod core;
mod diagnose;
mod disk;
mod effect;
mod io;
mod library;
mod lifecycle;
mod mirrors;
mod operations;
mod pace;
mod peers;
mod presence;
mod queries;
mod refresh;
mod remote;
mod requests;
mod scans;
#[cfg(test)]
mod sim;
mod timers;
mod transfer;
mod world;

pub use io::{
    CommandId, ConnId, DialId, EngineLoad, InboundId, Input, Output, Planned, RequestId, RunFailure, Sighting,
};
pub(crate) use pace::Pace;
#[doc(hidden)]
pub use transfer::bench as planner_bench;

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::commands::{Asked, Commands};
use self::core::Cx;
use self::effect::{Announcement, Effect, Then, Wish};
use self::library::Library;
use self::lifecycle::{Next, Phase, Switch, directory_gone, unusable};
use self::mirrors::Mirrors;
use self::operations::{Here, Operations};
use self::peers::Peers;
use self::presence::Presence;
use self::queries::Query;
use self::refresh::Refresh;
use self::requests::GameRequest;
use self::scans::Scans;
use self::transfer::{Transfers, can_be_had};
use self::world::{Parts, TransferCx};
use crate::api::{
    CommandData, CommandError, Diagnosis, ErrorCode, GameList, LimitState, Operation, PeerCommand, PeerEvent, PeerList,
    WatchState,
};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::proto::{Notification, Request};
use crate::types::{
    GameId, Job, JobDone, JobError, JobErrorKind, MirrorAsk, MirrorFault, MirrorNews, OpenedLibrary, PeerId, ProgramAsk,
};

/// The state of one daemon.
#[derive(Debug)]
pub struct Engine {
    cx: Cx,
    parts: Parts,
    transfers: Transfers,
    commands: Commands,
    refresh: Refresh,
    phase: Phase,
    switch: Switch,
    presence: Presence,
    watch: WatchState,
    /// What peers did or said that concerns the transfers and commands: carried when the input is taken in.
    noticed: VecDeque<Effect>,
    /// Terminal events whose revision is not durable yet: the next command must find everything settled.
    parked: VecDeque<Box<PeerEvent>>,
    /// Bytes of game data that were sent, as reported while runs are under way.
    sent_live: u64,
    /// How fast games may go out and come in.
    limits: LimitState,
    /// What [`Engine::poll_timeout`] found since the last input: it is asked far more often than anything changes.
    timeout: Cell<Option<Option<Instant>>>,
}

impl Engine {
    /// An engine for the peer `me`. `seed` must differ between daemons and starts: new epochs come from it, besides
    /// what is merely spread out in time.
    pub fn new(
        config: impl Into<Arc<Config>>,
        catalog: impl Into<Arc<Catalog>>,
        me: PeerId,
        seed: u64,
        now: Instant,
    ) -> Self {
        let (config, catalog) = (config.into(), catalog.into());
        let library = Library::new(config.game_dir.clone());
        let announced = library.state();
        Self {
            parts: Parts {
                scans: Scans::new(),
                peers: Peers::new(&config, &catalog, me),
                mirrors: Mirrors::new(&config),
                operations: Operations::default(),
                library,
            },
            transfers: Transfers::new(&config),
            commands: Commands::new(),
            refresh: Refresh::default(),
            phase: Phase::New,
            switch: Switch::No,
            presence: Presence::default(),
            watch: WatchState::Watching,
            noticed: VecDeque::new(),
            parked: VecDeque::new(),
            sent_live: 0,
            limits: LimitState { max_upload: config.rates.max_upload, max_download: config.rates.max_download },
            timeout: Cell::new(None),
            cx: Cx::new(me, config, catalog, announced, seed, now),
        }
    }

    /// Takes one input. `now` must not go back.
    pub fn handle(&mut self, input: Input, now: Instant) {
        if matches!(self.phase, Phase::Stopped) {
            return;
        }
        self.timeout.set(None);
        self.cx.now = now;
        let Self { cx, parts, .. } = self;
        match input {
            Input::Command { id, command } => self.command(id, command),
            Input::Listening { addrs } => self.listening(addrs),
            Input::Woke => {
                parts.peers.woke(cx);
                self.transfer(|transfers, cx| transfers.woke(cx));
            }
            Input::Sighting(sighting) => parts.peers.sighting(cx, sighting),
            Input::SightingGone { peer_id } => parts.peers.sighting_gone(cx, peer_id),
            Input::ConnectionUp { conn, peer_id, remote, local, interface, dial, party } => {
                parts.peers.connection_up(cx, conn, peer_id, remote, local, interface, dial, party);
            }
            Input::RoundTrip { conn, least } => parts.peers.round_trip_measured(conn, least),
            Input::ConnectionDown { conn, code, reason } => parts.peers.connection_down(cx, conn, code, &reason),
            Input::DialFailed { dial, identity_mismatch, actual, reason } => {
                parts.peers.dial_failed(cx, dial, identity_mismatch, actual, &reason);
            }
            Input::Request { from, request } => self.request(from, request),
            Input::UnknownRequest { from, name } => requests::answer_unknown(parts, cx, from, &name),
            // Sends that have begun end in `SendDone`; everything else is answered within the input that asked.
            Input::RequestGone { from } => self.transfers.request_gone(from),
            Input::Notification { conn, notification: Notification::HaveChunks(have) } => {
                if let Some(peer) = parts.peers.heard(conn, now) {
                    self.transfer(|transfers, cx| transfers.have_chunks(cx, peer, conn, &have));
                }
            }
            Input::Notification { conn, notification: Notification::BadChunks { game_id, content_hash } } => {
                if parts.peers.heard(conn, now).is_some() {
                    parts.scans.doubt(cx, game_id, content_hash);
                }
            }
            Input::Notification { conn, notification } => parts.peers.notified(cx, conn, notification),
            Input::Answered { request, result } => {
                if self.transfers.looks_up(request) {
                    self.ask_transfers(|transfers, cx| transfers.looked_up(cx, request, result));
                } else if self.transfers.owns(request) {
                    self.transfer(|transfers, cx| transfers.answered(cx, request, result));
                } else {
                    parts.peers.answered(cx, request, result);
                }
            }
            Input::BatchLanded { request, range } => {
                self.transfer(|transfers, cx| transfers.batch_landed(cx, request, range));
            }
            Input::BatchDone { download, request, range, bad, error } => {
                self.transfer(|transfers, cx| transfers.batch_done(cx, download, request, range, &bad, error));
            }
            Input::RunDone { request, result } => {
                self.transfer(|transfers, cx| transfers.run_done(cx, request, result))
            }
            Input::SendDone { to, bytes, changed } => {
                self.transfer(|transfers, cx| transfers.send_done(cx, to, bytes, changed));
            }
            Input::SentBytes { bytes } => self.sent_live = self.sent_live.saturating_add(bytes),
            Input::JobDone(done) => self.job_done(done),
            Input::JobProgress { game, done, total } => {
                if !parts.operations.moved_on(cx, &game, done, total, self.parked.is_empty()) {
                    self.transfers.preparing(cx, &game, done, total);
                }
            }
            Input::CatalogFetched { result } => self.catalog_fetched(result),
            Input::MirrorAnswered { mirror, ask, result } => self.mirror_answered(mirror, ask, result),
            Input::FsChanged { game } => parts.scans.game_changed(cx, game),
            Input::ReadFailed { game } => parts.scans.read_failed(cx, &game),
            Input::DirectoryGone { reason } => self.directory_gone(&reason),
            Input::FsRescan { reason: _ } => parts.scans.directory_changed(cx),
            Input::WatchDegraded { message } => self.watch_degraded(message),
            Input::Timeout => self.timed_out(),
        }
        self.settle();
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.cx.next_output()
    }

    /// Bytes of games that landed since the start. Cheap: for a look at every turn.
    pub fn bytes_received(&self) -> u64 {
        self.transfers.bytes_received()
    }

    /// Whether chunks are wanted, and wait for a landing buffer. Cheap: for a look at every turn.
    pub fn waits_for_buffers(&self) -> bool {
        self.transfers.is_starved()
    }

    /// Whether chunks are wanted, and wait for the limit of the rate. Cheap as well.
    pub fn waits_for_download_limit(&self) -> bool {
        self.transfers.is_paced()
    }

    /// When [`Input::Timeout`] is wanted next. May lie in the past: then at once.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if let Some(known) = self.timeout.get() {
            return known;
        }
        let next = self.next_timeout();
        self.timeout.set(Some(next));
        next
    }

    fn next_timeout(&self) -> Option<Instant> {
        let leaving = match self.phase {
            Phase::Stopped => return None,
            Phase::Leaving { until, .. } => Some(until),
            _ => None,
        };
        [
            leaving,
            self.refresh.next_timeout(),
            self.presence.next_timeout(),
            self.parts.mirrors.next_timeout(),
            self.parts.library.next_timeout(),
            self.parts.scans.next_timeout(),
            self.parts.peers.next_timeout(),
            self.transfers.next_timeout(),
            self.commands.next_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn timed_out(&mut self) {
        self.parts.peers.timeout(&mut self.cx);
        self.parts.scans.timeout(&mut self.cx);
        self.transfer(|_, _| ());
        self.commands.timeout(&mut self.cx, || self.parts.peers.in_step());
        self.carry();
        self.presence.timeout(&mut self.cx, self.parts.library.dir());
        self.refresh.timeout(&mut self.cx);
        self.parts.mirrors.timeout(&mut self.cx);
    }

    fn query(&self) -> Query<'_> {
        Query { cx: &self.cx, parts: &self.parts, transfers: &self.transfers }
    }

    /// Lets the transfers take in something, then every step that has become possible by it, and carries what follows.
    fn transfer(&mut self, input: impl FnOnce(&mut Transfers, &mut TransferCx<'_>)) {
        self.ask_transfers(|transfers, cx| {
            input(transfers, cx);
            transfers.settle(cx);
        });
        self.carry();
    }

    /// Lets the transfers answer something that makes no step of theirs possible.
    fn ask_transfers<T>(&mut self, question: impl FnOnce(&mut Transfers, &mut TransferCx<'_>) -> T) -> T {
        question(&mut self.transfers, &mut TransferCx { core: &mut self.cx, world: &self.parts })
    }

    /// Lets the transfers take in a command, unless they refuse it.
    fn command_transfers(
        &mut self,
        id: CommandId,
        command: impl FnOnce(&mut Transfers, &mut TransferCx<'_>) -> Result<(), CommandError>,
    ) {
        match self.ask_transfers(command) {
            Ok(()) => self.transfer(|_, _| ()),
            Err(error) => self.cx.reply(id, Err(error)),
        }
    }

    /// Carries what the parts told: each effect with all that follows from it, then the next one.
    fn carry(&mut self) {
        for effect in self.cx.take_effects() {
            self.apply(effect);
            self.carry();
        }
    }

    fn apply(&mut self, effect: Effect) {
        let Self { cx, parts, .. } = self;
        match effect {
            // Several of them may come of one input, and are one change.
            Effect::Disconnected(_) | Effect::SourcesChanged | Effect::Settled(_) => self.noticed.push_back(effect),
            Effect::LibraryOpened(announcement) => self.library_is_durable(&announcement),
            Effect::LibraryRevised(announcement) => self.announce(&announcement),
            Effect::LibraryNotSaved { error, again } => self.library_not_saved(error, again),
            Effect::OperationStarted { game, operation } => {
                // A game that waits for its turn is still as it was, and is served and watched like any other.
                if operation != Operation::Queued {
                    parts.scans.operation_started(cx, &game);
                }
                match operation {
                    Operation::Downloading => {
                        parts.scans.download_started(&game);
                        parts.library.set_downloading(cx, &game, true);
                    }
                    Operation::Removing => cx.emit(Output::StopSending { game }),
                    _ => {}
                }
                self.operations_changed();
            }
            Effect::OperationEnded { game, scanned } => {
                parts.library.set_downloading(cx, &game, false);
                parts.scans.operation_ended(cx, &game, scanned);
                self.operations_changed();
            }
            Effect::HandOver { game, scanned, event } => {
                let is_installed = scanned.installed;
                parts.library.set_downloading(cx, &game, false);
                parts.scans.operation_handed_over(cx, &game, Some(scanned));
                self.parked.push_back(event);
                parts.operations.install_downloaded(cx, game, is_installed);
            }
            Effect::Repair { game, scanned, only } => {
                if let Some(scanned) = scanned {
                    parts.scans.operation_handed_over(cx, &game, scanned);
                }
                self.transfers.take_over(cx, game, only);
                self.operations_changed();
            }
            Effect::Install { game } => {
                let here = self.query().free_game(&game);
                self.parts.operations.install_what_is_here(&mut self.cx, game, here);
            }
            // Files deep in a game can change without its fingerprint.
            Effect::Rescan { game } => parts.scans.scan(cx, game, true),
            Effect::LookAfter { game } => parts.scans.look_after_operation(cx, &game),
            Effect::LookedAfter { game, result } => {
                let may_repair = !self.transfers.is_stopping() && self.presence.gone().is_none();
                parts.operations.looked_after(cx, &game, result, may_repair);
            }
            Effect::CarryOut { command, game, then } => self.carry_out(command, game, then),
            Effect::Begin(event) if self.parked.is_empty() => cx.emit(Output::Event(event)),
            Effect::Begin(event) | Effect::End(event) => self.parked.push_back(event),
        }
    }

    /// What follows from an input, once every part has taken it in.
    fn settle(&mut self) {
        self.carry();
        while !self.noticed.is_empty() {
            let mut sources_changed = false;
            for effect in std::mem::take(&mut self.noticed) {
                match effect {
                    Effect::Disconnected(conn) => self.transfer(|transfers, cx| transfers.connection_down(cx, conn)),
                    Effect::Settled(peer) => {
                        self.commands.peer_settled(&mut self.cx, peer);
                        self.carry();
                    }
                    _ => sources_changed = true,
                }
            }
            if sources_changed {
                self.transfer(|transfers, _| transfers.sources_changed());
            }
        }
        self.parts.operations.advance(&mut self.cx, |game| self.transfers.is_sending(game));
        self.switch_if_quiet();
        if !self.parked.is_empty() {
            self.parts.library.hurry(&mut self.cx);
        }
        self.parts.library.flush(&mut self.cx);
        if self.parts.library.is_settled() {
            self.release_parked();
        }
        if self.parked.is_empty() && self.transfers.holds_repairs() {
            // The end of the verification is told: what follows from it may begin.
            self.transfer(|transfers, _| transfers.begin_repairs());
            self.parts.library.flush(&mut self.cx);
        }
        let operations_run = self.query().operations_run();
        self.parts.scans.hash_next(&mut self.cx, operations_run);
        self.commands.check(&mut self.cx, || self.parts.peers.in_step());
        self.stop_if_drained();
    }

    fn release_parked(&mut self) {
        for event in self.parked.drain(..) {
            self.cx.emit(Output::Event(event));
        }
    }

    fn operations_changed(&mut self) {
        let operations = self.query().operation_rows();
        self.cx.event(PeerEvent::ActiveOperationsChanged { operations });
    }

    fn request(&mut self, from: InboundId, request: Request) {
        match requests::answer(&mut self.parts, &mut self.cx, self.phase.is_leaving(), from, request) {
            None => {}
            Some(GameRequest::Manifest(request)) => {
                self.ask_transfers(|transfers, cx| transfers.request_get_manifest(cx, from, request));
            }
            Some(GameRequest::Chunks(request)) => {
                self.ask_transfers(|transfers, cx| transfers.request_get_chunks(cx, from, request));
            }
        }
    }

    fn job_done(&mut self, done: JobDone) {
        let Self { cx, parts, .. } = self;
        match done {
            JobDone::Resolved { token, result } => parts.peers.resolved(cx, token, result),
            JobDone::Diagnosed { token, findings } => {
                cx.reply(CommandId(token), Ok(CommandData::Diagnosis(Diagnosis { findings })));
            }
            JobDone::Programs { token, result } => {
                cx.reply(CommandId(token), result.map(CommandData::from).map_err(CommandError::from));
            }
            JobDone::LibraryOpened(result) => self.library_opened(result),
            JobDone::LibraryClosed => self.library_closed(),
            JobDone::LibraryLookedFor(result) => self.library_looked_for(result.is_ok()),
            JobDone::GameScanned { game, result } => parts.scans.game_scanned(cx, &game, result),
            JobDone::AllScanned(result) => parts.scans.all_scanned(cx, result),
            JobDone::IndexSaved { stamp, result } => parts.library.saved(cx, stamp, result),
            JobDone::GameHashed { game, manifest_hash, result } => {
                parts.scans.game_hashed(cx, game, manifest_hash, result);
            }
            JobDone::DownloadPrepared { download, result } => {
                self.transfer(|transfers, cx| transfers.download_prepared(cx, download, result));
            }
            JobDone::ContentLearned { download, result } => {
                self.transfer(|transfers, cx| transfers.content_learned(cx, download, result));
            }
            JobDone::DownloadCommitted { download, result } => {
                self.transfer(|transfers, cx| transfers.download_committed(cx, download, result));
            }
            JobDone::DownloadAbandoned { download, result } => {
                self.transfer(|transfers, _| transfers.download_abandoned(download, result));
            }
            JobDone::FilesChanged { game, result, kept } => parts.operations.files_changed(cx, &game, result, kept),
            JobDone::FilesVerified { game, result } => parts.operations.files_verified(cx, &game, result),
        }
    }

    /// Takes in what a mirror said.
    fn mirror_answered(&mut self, mirror: usize, ask: MirrorAsk, result: Result<MirrorNews, MirrorFault>) {
        if self.parts.mirrors.answered(&mut self.cx, mirror, ask.clone(), result) {
            self.transfer(|transfers, _| transfers.sources_changed());
        }
        if let MirrorAsk::Game(game) = ask {
            self.commands.mirror_looked_at(&mut self.cx, mirror, &game);
        }
    }

    /// Takes in what came of a look at the catalog. It decides which games are offered and fetched, in which version and with which
    /// content: another one may mean another revision of the library, sends that are stopped, and downloads that have lost their
    /// purpose.
    fn catalog_fetched(&mut self, result: Result<Option<Arc<Catalog>>, JobError>) {
        if let Some(catalog) = self.refresh.fetched(&mut self.cx, result) {
            let Self { cx, parts, .. } = self;
            let before = std::mem::replace(&mut cx.catalog, catalog);
            for game in lost_offers(cx, &before) {
                cx.emit(Output::StopSending { game });
            }
            parts.library.touch_all(cx);
            parts.scans.catalog_changed();
            parts.peers.catalog_changed(cx);
            self.transfer(|transfers, cx| transfers.catalog_changed(cx));
            let catalog = &self.cx.catalog;
            let (games, serial) = (catalog.listed().unwrap_or_default(), catalog.serial());
            self.cx.event(PeerEvent::CatalogChanged { games, serial });
        }
        self.commands.catalog_looked_at(&mut self.cx);
    }

    fn watch_degraded(&mut self, message: Option<String>) {
        self.watch = if message.is_some() { WatchState::Polling } else { WatchState::Watching };
        self.parts.scans.set_polling(&mut self.cx, message.is_some());
        if let Some(message) = message {
            self.cx.event(PeerEvent::RuntimeError { code: ErrorCode::Io, message });
        }
    }
}

/// What a user interface asks.
impl Engine {
    fn command(&mut self, id: CommandId, command: PeerCommand) {
        let Self { cx, parts, .. } = self;
        match command {
            PeerCommand::Status => {
                let gone = self.presence.gone();
                let status = self.query().status(gone, self.watch, self.limits, self.sent_live);
                self.cx.reply(id, Ok(CommandData::Status(Box::new(status))));
            }
            PeerCommand::Metrics => {
                let load = Box::new(self.query().load());
                self.cx.emit(Output::Measure { id, load });
            }
            PeerCommand::ListPeers => {
                let peers = parts.peers.list(cx.now);
                cx.reply(id, Ok(CommandData::Peers(PeerList { peers })));
            }
            PeerCommand::ListGames => {
                let games = self.query().game_rows();
                self.cx.reply(id, Ok(CommandData::Games(GameList { games })));
            }
            PeerCommand::Shutdown => self.shutdown(id),
            _ if self.phase.is_leaving() => cx.refuse(id, ErrorCode::Cancelled, "the daemon stops"),
            PeerCommand::Connect { addr } => parts.peers.connect(cx, id, &addr),
            PeerCommand::WaitPeers { count, timeout_ms } => {
                self.commands.wait_peers(cx, id, count, Duration::from_millis(timeout_ms));
            }
            PeerCommand::SetGameDir { path } => self.set_game_dir(id, path),
            PeerCommand::SetLimits { max_upload, max_download } => self.set_limits(id, max_upload, max_download),
            PeerCommand::Pause | PeerCommand::Resume => {
                self.transfer(|transfers, cx| transfers.pause(cx, command == PeerCommand::Pause));
                self.cx.reply_done(id);
                self.settings_changed();
            }
            PeerCommand::BlockPeer { peer_id } => self.block_peer(id, peer_id),
            PeerCommand::UnblockPeer { peer_id } => match parts.peers.unblock(&peer_id) {
                true => {
                    cx.reply_done(id);
                    self.settings_changed();
                }
                false => cx.refuse(id, ErrorCode::BadArgument, "this peer is not blocked"),
            },
            PeerCommand::Prioritise { game } => {
                self.ask_transfers(|transfers, cx| transfers.command_prioritise(cx, id, game));
            }
            PeerCommand::Explain { game } => {
                let explained = self.query().explain(&game);
                self.cx.reply(id, explained.map(|why| CommandData::Explanation(Box::new(why))));
            }
            PeerCommand::Diagnose => {
                let findings = self.query().findings(self.presence.gone(), self.watch);
                self.cx.job(Job::Diagnose { token: id.0, findings });
            }
            PeerCommand::GetGame { game } => self.after_mirrors(id, game, Then::GetGame),
            PeerCommand::CancelDownload { game } if parts.operations.operation(&game).is_some() => {
                parts.operations.command_cancel(cx, id, &game);
            }
            PeerCommand::CancelDownload { game } => {
                self.command_transfers(id, |transfers, cx| transfers.command_cancel(cx, id, &game));
            }
            change => self.change(id, change),
        }
    }

    /// Commands that change what lies in the game directory.
    fn change(&mut self, id: CommandId, command: PeerCommand) {
        if let Err(error) = self.directory_is_usable() {
            return self.cx.reply(id, Err(error));
        }
        match command {
            PeerCommand::Install { game } => self.operate(id, game, Operations::install),
            PeerCommand::Uninstall { game } => self.operate(id, game, Operations::uninstall),
            PeerCommand::Adopt { game } => self.operate(id, game, Operations::adopt),
            PeerCommand::Remove { game } => self.operate(id, game, Operations::remove),
            PeerCommand::Verify { game, repair } => {
                self.operate(id, game, |operations, cx, id, game, here| operations.verify(cx, id, game, here, repair));
            }
            PeerCommand::ListPrograms { game } => self.programs(id, game, ProgramAsk::List),
            PeerCommand::ChooseProgram { game, program } => self.programs(id, game, ProgramAsk::Choose(program)),
            PeerCommand::Play { game } => self.programs(id, game, ProgramAsk::Play),
            PeerCommand::OpenFolder { game } => self.programs(id, game, ProgramAsk::OpenFolder),
            PeerCommand::Download { game, install, again } => {
                self.after_mirrors(id, game, Then::Download(Wish { install, again }));
            }
            PeerCommand::FetchLatest { game } => {
                let Self { cx, parts, .. } = self;
                let peers: BTreeSet<PeerId> = parts.peers.refresh(cx).into_iter().collect();
                let catalog = self.refresh.fetch(cx);
                let mirrors = parts.mirrors.look_for(cx, &game, true);
                let then = Then::Download(Wish { install: false, again: false });
                self.commands.after(cx, id, game, then, Asked { peers, mirrors, catalog });
            }
            _ => {}
        }
    }

    /// Asks the workers about the programs of an installed game on which nothing runs.
    fn programs(&mut self, id: CommandId, game: GameId, ask: ProgramAsk) {
        match self.query().free_game(&game).and_then(|here| operations::installed(&game, here)) {
            Ok(()) => {
                let state_dir = self.cx.config.state_dir.clone();
                let launch = self.cx.catalog.entry(&game).and_then(|entry| entry.launch.clone());
                self.cx.job(Job::Programs { token: id.0, game, state_dir, launch, ask });
            }
            Err(error) => self.cx.reply(id, Err(error)),
        }
    }

    /// Begins an operation on a game as it lies here, or refuses it.
    fn operate(
        &mut self,
        id: CommandId,
        game: GameId,
        begin: impl FnOnce(&mut Operations, &mut Cx, CommandId, GameId, Here),
    ) {
        let here = self.query().free_game(&game);
        begin(&mut self.parts.operations, &mut self.cx, id, game, here);
    }

    /// Asks the mirrors for a game that they said nothing of lately; then the command is carried out. It does not wait for them
    /// where somebody else can hand the game out: they join when they have answered.
    fn after_mirrors(&mut self, id: CommandId, game: GameId, then: Then) {
        let mut mirrors = BTreeSet::new();
        if self.cx.catalog.admits(&game) {
            mirrors = self.parts.mirrors.look_for(&mut self.cx, &game, false);
            if can_be_had(&TransferCx { core: &mut self.cx, world: &self.parts }, &game) {
                mirrors.clear();
            }
        }
        self.commands.after(&mut self.cx, id, game, then, Asked { mirrors, ..Asked::default() });
    }

    fn carry_out(&mut self, id: CommandId, game: GameId, then: Then) {
        match then {
            Then::Download(wish) => match self.directory_is_usable() {
                Ok(()) => self.command_transfers(id, |transfers, cx| transfers.command_download(cx, id, game, wish)),
                Err(error) => self.cx.reply(id, Err(error)),
            },
            Then::GetGame => self.ask_transfers(|transfers, cx| transfers.command_get_game(cx, id, game)),
        }
    }

    fn set_limits(&mut self, id: CommandId, max_upload: Option<Option<u64>>, max_download: Option<Option<u64>>) {
        if let Some(rate) = max_upload {
            self.limits.max_upload = rate;
            self.cx.emit(Output::LimitUpload { rate });
        }
        if let Some(rate) = max_download {
            self.limits.max_download = rate;
            self.transfer(|transfers, _| transfers.limit(rate));
        }
        self.cx.reply(id, Ok(CommandData::Limits(self.limits)));
        self.settings_changed();
    }

    /// Tells every user interface what one of them set.
    fn settings_changed(&mut self) {
        let LimitState { max_upload, max_download } = self.limits;
        let (paused, peers_blocked) = (self.transfers.is_paused(), self.parts.peers.blocked());
        self.cx.event(PeerEvent::SettingsChanged { max_upload, max_download, paused, peers_blocked });
    }

    fn block_peer(&mut self, id: CommandId, peer_id: PeerId) {
        let Self { cx, parts, .. } = self;
        if peer_id == cx.me {
            return cx.refuse(id, ErrorCode::SelfConnect, "this is the daemon's own peer id");
        }
        if !parts.peers.block(cx, peer_id) {
            return cx.refuse(id, ErrorCode::BadArgument, "too many peers are blocked; unblock some first");
        }
        if parts.mirrors.has(peer_id) {
            self.transfer(|transfers, _| transfers.sources_changed());
        }
        self.cx.reply_done(id);
        self.settings_changed();
    }

    /// Whether an operation may begin: the game directory is there, and stays.
    fn directory_is_usable(&self) -> Result<(), CommandError> {
        if let Some(reason) = self.presence.gone() {
            let message = directory_gone(self.parts.library.dir(), reason);
            return Err(CommandError::new(ErrorCode::GameDirectoryGone, message));
        }
        if self.switch.is_on() {
            let message = "the game directory is being exchanged";
            return Err(CommandError::new(ErrorCode::OperationInProgress, message));
        }
        Ok(())
    }
}

/// The life of the daemon, and of its game directory.
impl Engine {
    fn listening(&mut self, addrs: Vec<SocketAddr>) {
        let Self { cx, parts, .. } = self;
        parts.peers.listening(cx, addrs);
        if matches!(self.phase, Phase::New) {
            self.phase = Phase::Opening;
            cx.job(Job::OpenLibrary { dir: cx.config.game_dir.clone() });
            self.refresh.fetch(cx);
            parts.mirrors.start(cx);
        }
    }

    fn library_opened(&mut self, result: Result<OpenedLibrary, JobError>) {
        let Self { cx, parts, .. } = self;
        match (self.switch.take(), result) {
            (Switch::Opening { command: Some(command) }, Ok(opened)) if opened.was_open => {
                // By whatever name.
                parts.scans.reopen(cx);
                self.library_unchanged(command);
            }
            (Switch::Opening { command }, Ok(opened)) => {
                // What is being sent lies in the old directory.
                self.stop_sending_all();
                self.parts.scans.forget(&mut self.cx);
                self.switch = Switch::Saving { command };
                self.open(opened);
            }
            (Switch::Opening { command }, Err(error)) => {
                if let Some(command) = command {
                    cx.reply(command, Err(error.into()));
                }
                if self.presence.gone().is_none() {
                    parts.scans.reopen(cx);
                }
            }
            (_, Ok(opened)) if matches!(self.phase, Phase::Opening) => {
                self.phase = Phase::Saving;
                self.open(opened);
            }
            (_, Err(error)) if matches!(self.phase, Phase::Opening) => {
                let (code, message) = (error.kind.into(), unusable(parts.library.dir(), &error));
                cx.event(PeerEvent::RuntimeError { code, message: message.clone() });
                self.stop(Some(message));
            }
            // The daemon stops.
            (switch, _) => self.switch = switch,
        }
    }

    /// The game directory is not there any more: nothing in it is offered from now on, what runs in it ends, then it is let go of.
    fn directory_gone(&mut self, reason: &str) {
        let is_open = matches!(self.phase, Phase::Saving | Phase::Running);
        // What is about to take its place leads away from it, or finds it gone again.
        let is_left = matches!(self.switch, Switch::Draining(_) | Switch::Closing | Switch::Opening { .. });
        if !is_open || is_left || self.presence.gone().is_some() {
            return;
        }
        tracing::debug!(reason, "game directory lost");
        let message = directory_gone(self.parts.library.dir(), reason);
        if let Some(command) = self.switch.end_saving() {
            self.cx.refuse(command, ErrorCode::GameDirectoryGone, &message);
        }
        self.presence.lost(&self.cx, reason.to_owned());
        self.cx
            .event(PeerEvent::GameDirectoryGone { path: self.parts.library.dir().to_owned(), reason: message.clone() });
        self.switch = Switch::Draining(Next::Close);
        self.stop_sending_all();
        let Self { cx, parts, .. } = self;
        parts.scans.close(cx);
        cx.disk.close();
        parts.library.withdraw(cx);
        parts.operations.end_all(cx, ErrorCode::GameDirectoryGone, &message);
        self.transfer(|transfers, cx| transfers.end_all(cx, ErrorCode::GameDirectoryGone, &message));
    }

    fn stop_sending_all(&mut self) {
        let downloaded = self.cx.disk.games().values().filter(|game| game.downloaded);
        for game in downloaded.map(|game| game.id.clone()).collect::<Vec<_>>() {
            self.cx.emit(Output::StopSending { game });
        }
    }

    /// The game directory that is gone was let go of.
    fn library_closed(&mut self) {
        if matches!(self.switch, Switch::Closing) {
            self.switch = Switch::No;
            self.parts.scans.forget(&mut self.cx);
        }
    }

    /// A look at the game directory, or for it, has ended; that it is gone is told by [`Input::DirectoryGone`].
    fn library_looked_for(&mut self, is_there: bool) {
        let is_back = self.presence.looked(&self.cx) && is_there && self.presence.gone().is_some();
        if is_back && matches!(self.phase, Phase::Running) && !self.switch.is_on() {
            self.switch = Switch::Opening { command: None };
            self.cx.job(Job::OpenLibrary { dir: self.parts.library.dir().to_owned() });
        }
    }

    /// The exchange of the game directory led to the same one: everybody is told, but nothing was revised.
    fn library_unchanged(&mut self, command: CommandId) {
        let state = self.cx.announced.state;
        let games = state.game_count as usize;
        self.cx.event(PeerEvent::LocalLibraryChanged { epoch: state.epoch, rev: state.rev, games });
        self.cx.reply_done(command);
    }

    fn open(&mut self, mut opened: OpenedLibrary) {
        let Self { cx, parts, .. } = self;
        self.presence.opened(cx);
        if let Some(message) = opened.notice.clone() {
            cx.event(PeerEvent::RuntimeError { code: ErrorCode::Io, message });
        }
        parts.scans.opened(cx, &mut opened);
        parts.library.open(cx, opened);
        parts.scans.open(cx);
    }

    fn library_not_saved(&mut self, error: JobError, again: bool) {
        if let Some(command) = self.switch.end_saving() {
            self.cx.reply(command, Err(error.clone().into()));
        }
        self.release_parked();
        // The first time is told, and that the directory is gone is told for itself.
        if again || error.kind == JobErrorKind::DirectoryGone {
            return;
        }
        let message = format!(
            "the library's index could not be saved, so its changes are not announced; it is tried again: {}",
            error.message
        );
        self.cx.event(PeerEvent::RuntimeError { code: error.kind.into(), message });
    }

    /// The first state of a directory is durable: from now on others may know it.
    fn library_is_durable(&mut self, announcement: &Announcement) {
        if matches!(self.phase, Phase::Saving) {
            self.phase = Phase::Running;
            let listen_addr = self.parts.peers.listen().first().copied();
            let listen_addr = listen_addr.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
            self.cx.event(PeerEvent::LocalPeerReady { peer_id: self.cx.me, listen_addr, control: None });
        }
        self.announce(announcement);
        if self.presence.is_back() {
            let (path, games) = (self.parts.library.dir().to_owned(), announcement.state.game_count as usize);
            self.cx.event(PeerEvent::GameDirectoryBack { path, games });
        }
        self.parts.peers.library_ready(&mut self.cx);
        if let Some(command) = self.switch.end_saving() {
            self.cx.reply_done(command);
        }
    }

    fn announce(&mut self, announcement: &Announcement) {
        let state = announcement.state;
        if matches!(self.phase, Phase::Running) {
            self.cx.emit(Output::Advertise { stamp: state.stamp() });
            self.parts.peers.announce(&mut self.cx, announcement);
        }
        let games = state.game_count as usize;
        self.cx.event(PeerEvent::LocalLibraryChanged { epoch: state.epoch, rev: state.rev, games });
    }

    fn set_game_dir(&mut self, id: CommandId, path: PathBuf) {
        if !matches!(self.phase, Phase::Running) || self.switch.is_on() || self.query().operations_run() {
            let message = "an operation is under way; the game directory can be exchanged when all have ended";
            return self.cx.refuse(id, ErrorCode::OperationInProgress, message);
        }
        self.parts.scans.close(&mut self.cx);
        self.switch = Switch::Draining(Next::Open { command: id, path });
    }

    /// Opens the new directory, or closes the one that is gone, once nothing is at work on it.
    fn switch_if_quiet(&mut self) {
        let is_quiet = self.parts.scans.is_quiet() && !self.parts.library.is_saving() && !self.query().operations_run();
        let Switch::Draining(next) = &mut self.switch else { return };
        if !is_quiet {
            return;
        }
        match std::mem::replace(next, Next::Close) {
            Next::Open { command, path } => {
                self.switch = Switch::Opening { command: Some(command) };
                self.cx.job(Job::OpenLibrary { dir: path });
            }
            Next::Close => {
                self.switch = Switch::Closing;
                self.cx.job(Job::CloseLibrary);
            }
        }
    }

    fn shutdown(&mut self, id: CommandId) {
        if let Phase::Leaving { commands, .. } = &mut self.phase {
            return commands.push(id);
        }
        let until = self.cx.now + self.cx.config.timers.request_timeout;
        self.phase = Phase::Leaving { until, commands: vec![id] };
        self.cancel_commands();
        let Self { cx, parts, .. } = self;
        parts.peers.leave(cx);
        parts.scans.close(cx);
        parts.library.hurry(cx);
        self.transfer(|transfers, cx| transfers.shutdown(cx));
        self.parts.operations.stop(&mut self.cx);
    }

    /// Answers every waiting command: nothing will come of it.
    fn cancel_commands(&mut self) {
        let command = self.switch.command();
        if !matches!(self.switch, Switch::Draining(Next::Close) | Switch::Closing) {
            self.switch = Switch::No;
        }
        if let Some(command) = command {
            self.cx.refuse(command, ErrorCode::Cancelled, "the daemon stops");
        }
        self.commands.cancel(&mut self.cx);
    }

    fn stop_if_drained(&mut self) {
        let Phase::Leaving { until, .. } = &self.phase else { return };
        if self.cx.now < *until && (self.query().operations_run() || self.parts.library.is_saving()) {
            return;
        }
        self.stop(None);
    }

    fn stop(&mut self, failure: Option<String>) {
        self.cancel_commands();
        self.release_parked();
        self.parts.peers.leave(&mut self.cx);
        if let Phase::Leaving { commands, .. } = std::mem::replace(&mut self.phase, Phase::Stopped) {
            for command in commands {
                self.cx.reply_done(command);
            }
        }
        self.cx.emit(Output::Stopped { failure });
    }
}

/// The games that the catalog before offered, and the one now in force does not.
fn lost_offers(cx: &Cx, before: &Catalog) -> Vec<GameId> {
    let games = cx.disk.games().values().filter(|game| game.downloaded);
    let offers = |catalog: &Catalog, game: &crate::types::ScannedGame| {
        catalog.withholds(&game.id, game.eti_version.as_deref(), game.content_hash).is_none()
    };
    games.filter(|game| offers(before, game) && !offers(&cx.catalog, game)).map(|game| game.id.clone()).collect()
}
