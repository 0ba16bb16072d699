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
//! | `gate` | when the game directory is scanned, watched, hashed |
//! | `arriving` | which games are still being copied |
//! | `transfer` | downloads and serving |
//! | `mirrors` | what web servers have, and when they are asked |
//! | `operations` | what is done to a downloaded game: install, update, uninstall, adopt, remove, verify |
//! | `refresh` | when the catalog is looked at again, and what follows from another one |
//! | `commands` | what a user interface asks |
//!
//! The parts do not know each other: [`Engine`] hands each input to its part and carries the consequences
//! (a lost connection, a new revision, a finished operation) to the others, until nothing is left to carry.

mod arriving;
mod commands;
mod context;
mod gate;
mod io;
mod library;
mod mirrors;
mod operations;
mod pace;
mod peers;
mod refresh;
mod remote;
#[cfg(test)]
mod sim;
mod timers;
mod transfer;
mod view;

pub use io::{CommandId, ConnId, DialId, EngineLoad, InboundId, Input, Output, RequestId, RunFailure, Sighting};
pub(crate) use pace::Pace;
#[doc(hidden)]
pub use transfer::bench as planner_bench;

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use self::commands::Commands;
use self::context::{Cx, Ids};
use self::gate::Gate;
use self::library::{Announcement, Library, Saved, SinceAnswer};
use self::mirrors::Mirrors;
use self::operations::Operations;
use self::peers::{Fact, Peers};
use self::refresh::Refresh;
use self::transfer::{TransferEffect, Transfers};
use self::view::Local;
use crate::api::{CommandData, CommandError, Done, ErrorCode, LimitState, Operation, PeerEvent, WatchState};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::proto::{Answer, Notification, Request, WireError, WireErrorCode};
use crate::types::{Job, JobDone, JobError, JobErrorKind, OpenedLibrary, PeerId};

/// The state of one daemon.
#[derive(Debug)]
pub struct Engine {
    config: Arc<Config>,
    catalog: Arc<Catalog>,
    refresh: Refresh,
    me: PeerId,
    ids: Ids,
    out: VecDeque<Output>,
    phase: Phase,
    switch: Switch,
    watch: WatchState,
    library: Library,
    gate: Gate,
    peers: Peers,
    mirrors: Mirrors,
    transfers: Transfers,
    operations: Operations,
    commands: Commands,
    /// Terminal events whose revision is not durable yet: the next command must find everything settled.
    parked: VecDeque<Box<PeerEvent>>,
    /// Bytes of game data that were sent, as reported while runs are under way.
    sent_live: u64,
    /// How fast games may go out and come in.
    limits: LimitState,
    /// What [`Engine::poll_timeout`] found since the last input: it is asked far more often than anything changes.
    timeout: Cell<Option<Option<Instant>>>,
}

/// The life of a daemon.
#[derive(Debug)]
enum Phase {
    /// The sockets are not bound yet.
    New,
    /// The game directory is being opened.
    Opening,
    /// It is open, its first state is being made durable.
    Saving,
    /// Everything runs.
    Running,
    /// Goodbye was said; transfers are being ended, but not for longer than this.
    Leaving { until: Instant, commands: Vec<CommandId> },
    /// Nothing happens any more.
    Stopped,
}

/// The exchange of the game directory.
#[derive(Debug)]
enum Switch {
    /// None is under way.
    No,
    /// Jobs on the old directory are coming to their ends: their results carry no directory.
    Draining { command: CommandId, path: PathBuf },
    /// The new one is being opened; the old one still counts.
    Opening { command: CommandId },
    /// The new one is in use, and is being made durable.
    Saving { command: CommandId },
}

impl Switch {
    /// Ends the last stage; the command that is to be answered.
    fn end_saving(&mut self) -> Option<CommandId> {
        let Self::Saving { command } = *self else { return None };
        *self = Self::No;
        Some(command)
    }
}

/// One context of disjoint borrows, so that the parts beside it stay reachable.
macro_rules! cx {
    ($engine:ident, $now:expr) => {
        &mut Cx { me: $engine.me, now: $now, config: &$engine.config, out: &mut $engine.out, ids: &mut $engine.ids }
    };
}

/// What the transfers see of the rest, likewise.
macro_rules! local {
    ($engine:ident) => {
        &Local {
            library: &$engine.library,
            catalog: &$engine.catalog,
            peers: &$engine.peers,
            mirrors: &$engine.mirrors,
            operations: &$engine.operations,
        }
    };
}

/// Calls one of the transfers' methods that have consequences.
macro_rules! transfers {
    ($engine:ident, $now:expr, $method:ident $(, $arg:expr)*) => {{
        let everybody = $crate::engine::mirrors::Everybody { peers: &$engine.peers, mirrors: &$engine.mirrors };
        let effects = $engine.transfers.$method(cx!($engine, $now), &everybody, local!($engine) $(, $arg)*);
        $engine.apply(effects, $now);
    }};
}
use {cx, local, transfers};

impl Engine {
    /// An engine for the peer `me`. `seed` must differ between daemons and starts: new epochs come from it, besides
    /// what is merely spread out in time.
    pub fn new(config: impl Into<Arc<Config>>, catalog: impl Into<Arc<Catalog>>, me: PeerId, seed: u64) -> Self {
        let (config, catalog) = (config.into(), catalog.into());
        Self {
            me,
            refresh: Refresh::default(),
            ids: Ids::new(seed),
            out: VecDeque::new(),
            phase: Phase::New,
            switch: Switch::No,
            watch: WatchState::Watching,
            library: Library::new(config.game_dir.clone()),
            gate: Gate::new(),
            peers: Peers::new(&config, &catalog, me),
            mirrors: Mirrors::new(&config),
            transfers: Transfers::new(&config),
            operations: Operations::default(),
            commands: Commands::new(),
            parked: VecDeque::new(),
            sent_live: 0,
            limits: LimitState { max_upload: config.rates.max_upload, max_download: config.rates.max_download },
            timeout: Cell::new(None),
            config,
            catalog,
        }
    }

    /// Takes one input. `now` must not go back.
    pub fn handle(&mut self, input: Input, now: Instant) {
        if matches!(self.phase, Phase::Stopped) {
            return;
        }
        self.timeout.set(None);
        match input {
            Input::Command { id, command } => self.command(id, command, now),
            Input::Listening { addrs } => self.listening(addrs, now),
            Input::Woke => {
                self.peers.woke(cx!(self, now), &self.library);
                transfers!(self, now, woke);
            }
            Input::Sighting(sighting) => self.peers.sighting(cx!(self, now), &self.library, sighting),
            Input::SightingGone { peer_id } => self.peers.sighting_gone(cx!(self, now), peer_id),
            Input::ConnectionUp { conn, peer_id, remote, local, interface, dial, party } => {
                let cx = cx!(self, now);
                self.peers.connection_up(cx, &self.library, conn, peer_id, remote, local, interface, dial, party);
            }
            Input::RoundTrip { conn, least } => self.peers.round_trip_measured(conn, least),
            Input::ConnectionDown { conn, code, reason } => {
                self.peers.connection_down(cx!(self, now), &self.library, conn, code, &reason);
            }
            Input::DialFailed { dial, identity_mismatch, actual, reason } => {
                self.peers.dial_failed(cx!(self, now), &self.library, dial, identity_mismatch, actual, &reason);
            }
            Input::Request { from, request } => self.request(from, request, now),
            Input::UnknownRequest { from, name } => self.unknown_request(from, &name, now),
            // Sends that have begun end in `SendDone`; everything else is answered within the input that asked.
            Input::RequestGone { from } => self.transfers.request_gone(from),
            Input::Notification { conn, notification: Notification::HaveChunks(have) } => {
                if let Some(peer) = self.peers.heard(conn, now) {
                    transfers!(self, now, have_chunks, peer, conn, &have);
                }
            }
            Input::Notification { conn, notification } => self.peers.notified(cx!(self, now), conn, notification),
            Input::Answered { request, result } => {
                if self.transfers.owns(request) {
                    transfers!(self, now, answered, request, result);
                } else {
                    self.peers.answered(cx!(self, now), &self.library, request, result);
                }
            }
            Input::BatchLanded { request, range } => transfers!(self, now, batch_landed, request, range),
            Input::BatchDone { download, request, range, bad, error } => {
                transfers!(self, now, batch_done, download, request, range, &bad, error);
            }
            Input::RunDone { request, result } => transfers!(self, now, run_done, request, result),
            Input::SendDone { to, bytes, changed } => transfers!(self, now, send_done, to, bytes, changed),
            Input::SentBytes { bytes } => self.sent_live = self.sent_live.saturating_add(bytes),
            Input::JobDone(done) => self.job_done(done, now),
            Input::JobProgress { game, done, total } => self.job_progress(game, done, total, now),
            Input::CatalogFetched { result } => self.catalog_fetched(result, now),
            Input::MirrorAnswered { mirror, ask, result } => self.mirror_answered(mirror, ask, result, now),
            Input::FsChanged { game } => self.gate.game_changed(cx!(self, now), game),
            Input::FsRescan { reason: _ } => self.gate.directory_changed(cx!(self, now)),
            Input::WatchDegraded { message } => self.watch_degraded(message, now),
            Input::Timeout => {
                self.peers.timeout(cx!(self, now), &self.library);
                self.gate.timeout(cx!(self, now), &self.library);
                transfers!(self, now, timeout);
                self.commands_timeout(now);
                self.refresh_timeout(now);
                self.mirrors.timeout(cx!(self, now));
            }
        }
        self.settle(now);
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
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
            self.mirrors.next_timeout(),
            self.library.next_timeout(),
            self.gate.next_timeout(),
            self.peers.next_timeout(),
            self.transfers.next_timeout(),
            self.commands.next_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn listening(&mut self, addrs: Vec<SocketAddr>, now: Instant) {
        self.peers.listening(cx!(self, now), &self.library, addrs);
        if matches!(self.phase, Phase::New) {
            self.phase = Phase::Opening;
            (cx!(self, now)).job(Job::OpenLibrary { dir: self.config.game_dir.clone() });
            self.fetch_catalog();
            self.mirrors.start(cx!(self, now));
        }
    }

    /// A peer asks. Libraries are answered here, games by the transfers.
    fn request(&mut self, from: InboundId, request: Request, now: Instant) {
        let cx = cx!(self, now);
        let request = match request {
            Request::Prove { proof } => return self.peers.prove(cx, from, proof),
            // Whoever has not proved the party key is told nothing but a close code.
            _ if !self.peers.proved(cx, from.conn) => return,
            Request::Hello(hello) => return self.peers.hello(cx, &self.library, from, hello),
            request => request,
        };
        let Some(peer) = self.peers.heard(from.conn, now) else {
            let error = WireError { code: WireErrorCode::HelloFirst, message: "say Hello first".to_owned() };
            return cx.emit(Output::Answer { to: from, body: Box::new(Answer::Error(error)) });
        };
        let answer = match request {
            // Answered above.
            Request::Hello(_) | Request::Prove { .. } => return,
            Request::Ping { nonce } => {
                self.peers.confirm(cx, &self.library, peer);
                self.peers.pinged(cx, &self.library, peer);
                Answer::Pong { nonce }
            }
            _ if matches!(self.phase, Phase::Leaving { .. }) || !self.library.is_announced() => {
                Answer::Error(WireError { code: WireErrorCode::Busy, message: "not now".to_owned() })
            }
            Request::GetLibrary { peer_id } if peer_id != peer => return self.peers.impostor(cx, from.conn),
            Request::GetLibrary { .. } => {
                Answer::LibrarySnapshot { peer_id: self.me, snapshot: self.library.snapshot() }
            }
            Request::GetLibraryDelta { epoch, from_rev } => match self.library.since(cx, epoch, from_rev) {
                SinceAnswer::Delta(delta) => Answer::LibraryDelta { peer_id: self.me, delta },
                SinceAnswer::Snapshot(snapshot) => Answer::LibrarySnapshot { peer_id: self.me, snapshot },
                SinceAnswer::EpochReset => Answer::Error(WireError {
                    code: WireErrorCode::EpochReset,
                    message: "this library was restored from an older state; a new epoch follows".to_owned(),
                }),
                SinceAnswer::NeverWas => Answer::Error(WireError {
                    code: WireErrorCode::BadRequest,
                    message: "this revision never was; ask for the whole library".to_owned(),
                }),
            },
            Request::GetManifest(request) => {
                return self.transfers.request_get_manifest(cx, local!(self), from, request);
            }
            Request::GetChunks(chunks) => {
                return self.transfers.request_get_chunks(cx, local!(self), from, chunks);
            }
        };
        cx.emit(Output::Answer { to: from, body: Box::new(answer) });
    }

    /// A peer asks something that this version does not know.
    fn unknown_request(&mut self, from: InboundId, name: &str, now: Instant) {
        let cx = cx!(self, now);
        if !self.peers.proved(cx, from.conn) {
            return;
        }
        self.peers.heard(from.conn, now);
        let error = WireError { code: WireErrorCode::UnknownType, message: format!("unknown request type {name:?}") };
        cx.emit(Output::Answer { to: from, body: Box::new(Answer::Error(error)) });
    }

    fn job_done(&mut self, done: JobDone, now: Instant) {
        match done {
            JobDone::Resolved { token, result } => {
                self.peers.resolved(cx!(self, now), &self.library, token, result);
            }
            JobDone::LibraryOpened(result) => self.library_opened(result, now),
            JobDone::GameScanned { game, result } => {
                if let Some(look) = self.gate.game_scanned(cx!(self, now), &mut self.library, &game, result) {
                    self.looked_after(&game, look, now);
                }
            }
            JobDone::AllScanned(result) => self.gate.all_scanned(cx!(self, now), &mut self.library, result),
            JobDone::IndexSaved { stamp, result } => {
                let saved = self.library.saved(cx!(self, now), stamp, result);
                self.index_saved(saved, now);
            }
            JobDone::GameHashed { game, manifest_hash, result } => {
                self.gate.game_hashed(cx!(self, now), &mut self.library, game, manifest_hash, result);
            }
            JobDone::DownloadPrepared { download, result } => {
                transfers!(self, now, download_prepared, download, result);
            }
            JobDone::ContentLearned { download, result } => transfers!(self, now, content_learned, download, result),
            JobDone::DownloadCommitted { download, result } => {
                transfers!(self, now, download_committed, download, result);
            }
            JobDone::FilesChanged { game, result, kept } => self.files_changed(&game, result, kept, now),
            JobDone::FilesVerified { game, result } => self.files_verified(&game, result, now),
            JobDone::DownloadAbandoned { download, result } => {
                transfers!(self, now, download_abandoned, download, result);
            }
        }
    }

    fn library_opened(&mut self, result: Result<OpenedLibrary, JobError>, now: Instant) {
        match (std::mem::replace(&mut self.switch, Switch::No), result) {
            (Switch::Opening { command }, Ok(opened)) if opened.dir == self.library.dir() => {
                // The same directory by another name.
                self.gate.reopen(cx!(self, now));
                self.library_unchanged(command, now);
            }
            (Switch::Opening { command }, Ok(opened)) => {
                // What is being sent lies in the old directory.
                for game in self.library.games().values().filter(|game| game.downloaded) {
                    self.out.push_back(Output::StopSending { game: game.id.clone() });
                }
                self.gate.forget(cx!(self, now));
                self.switch = Switch::Saving { command };
                self.open(opened, now);
            }
            (Switch::Opening { command }, Err(error)) => {
                (cx!(self, now)).reply(command, Err(command_error(error)));
                self.gate.reopen(cx!(self, now));
            }
            (_, Ok(opened)) if matches!(self.phase, Phase::Opening) => {
                self.phase = Phase::Saving;
                self.open(opened, now);
            }
            (_, Err(error)) if matches!(self.phase, Phase::Opening) => {
                let (code, message) = (error_code(error.kind), unusable(self.library.dir(), &error));
                (cx!(self, now)).event(PeerEvent::RuntimeError { code, message: message.clone() });
                self.stop(Some(message), now);
            }
            // The daemon stops.
            (switch, _) => self.switch = switch,
        }
    }

    /// The exchange of the game directory led to the same one: everybody is told, but nothing was revised.
    fn library_unchanged(&mut self, command: CommandId, now: Instant) {
        let state = self.library.state();
        let games = state.game_count as usize;
        let cx = cx!(self, now);
        cx.event(PeerEvent::LocalLibraryChanged { epoch: state.epoch, rev: state.rev, games });
        cx.reply(command, Ok(CommandData::Done(Done {})));
    }

    fn open(&mut self, mut opened: OpenedLibrary, now: Instant) {
        if let Some(message) = opened.notice.clone() {
            (cx!(self, now)).event(PeerEvent::RuntimeError { code: ErrorCode::Io, message });
        }
        self.gate.opened(cx!(self, now), &mut opened);
        let announcement = self.library.open(cx!(self, now), &self.catalog, opened);
        self.gate.open(cx!(self, now), &self.library);
        if let Some(announcement) = announcement {
            self.library_is_durable(&announcement, now);
        }
    }

    fn index_saved(&mut self, saved: Saved, now: Instant) {
        match saved {
            Saved::Quiet => {}
            Saved::Opened(announcement) => self.library_is_durable(&announcement, now),
            Saved::Revised(announcement) => self.announce(&announcement, now),
            Saved::Failed(error) => {
                let code = error_code(error.kind);
                if let Some(command) = self.switch.end_saving() {
                    (cx!(self, now)).reply(command, Err(command_error(error.clone())));
                }
                self.release_parked();
                let message = format!(
                    "the library's index could not be saved, so its changes are not announced; it is tried again: {}",
                    error.message
                );
                (cx!(self, now)).event(PeerEvent::RuntimeError { code, message });
            }
        }
    }

    /// The first state of a directory is durable: from now on others may know it.
    fn library_is_durable(&mut self, announcement: &Announcement, now: Instant) {
        if matches!(self.phase, Phase::Saving) {
            self.phase = Phase::Running;
            let listen_addr = self.peers.listen().first().copied();
            let listen_addr = listen_addr.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
            (cx!(self, now)).event(PeerEvent::LocalPeerReady { peer_id: self.me, listen_addr, control: None });
        }
        self.announce(announcement, now);
        self.peers.library_ready(cx!(self, now), &self.library);
        if let Some(command) = self.switch.end_saving() {
            (cx!(self, now)).reply(command, Ok(CommandData::Done(Done {})));
        }
    }

    fn announce(&mut self, announcement: &Announcement, now: Instant) {
        let state = announcement.state;
        let cx = cx!(self, now);
        if matches!(self.phase, Phase::Running) {
            cx.emit(Output::Advertise { stamp: state.stamp() });
            self.peers.announce(cx, announcement);
        }
        cx.event(PeerEvent::LocalLibraryChanged {
            epoch: state.epoch,
            rev: state.rev,
            games: state.game_count as usize,
        });
    }

    fn watch_degraded(&mut self, message: Option<String>, now: Instant) {
        self.watch = if message.is_some() { WatchState::Polling } else { WatchState::Watching };
        self.gate.set_polling(cx!(self, now), message.is_some());
        if let Some(message) = message {
            (cx!(self, now)).event(PeerEvent::RuntimeError { code: ErrorCode::Io, message });
        }
    }

    /// Carries out what the transfers ask of the rest.
    fn apply(&mut self, effects: Vec<TransferEffect>, now: Instant) {
        for effect in effects {
            match effect {
                TransferEffect::OperationStarted { game, operation } => {
                    // A game that waits for its turn is still as it was, and is served and watched like any other.
                    if operation == Operation::Downloading {
                        self.gate.operation_started(cx!(self, now), &game);
                        self.library.set_downloading(cx!(self, now), &game, true);
                    }
                    self.operations_changed(now);
                }
                TransferEffect::OperationEnded { game, scanned } => {
                    self.library.set_downloading(cx!(self, now), &game, false);
                    self.gate.operation_ended(cx!(self, now), &mut self.library, &game, scanned);
                    self.operations_changed(now);
                }
                TransferEffect::HandOver { game, scanned, event } => self.hand_over(game, scanned, event, now),
                TransferEffect::Install { game } => self.install_what_is_here(game, now),
                TransferEffect::Rescan { game } => {
                    // Files deep in a game can change without its fingerprint.
                    self.gate.scan(cx!(self, now), &self.library, game, true);
                }
                TransferEffect::Event(event) => self.parked.push_back(event),
            }
        }
    }

    fn operations_changed(&mut self, now: Instant) {
        let operations = self.operation_rows();
        (cx!(self, now)).event(PeerEvent::ActiveOperationsChanged { operations });
    }

    /// Carries the consequences of one input from part to part until there are none left.
    fn settle(&mut self, now: Instant) {
        loop {
            let facts = self.peers.take_facts();
            if facts.is_empty() {
                break;
            }
            let mut sources_changed = false;
            for fact in facts {
                match fact {
                    Fact::Disconnected(conn) => transfers!(self, now, connection_down, conn),
                    Fact::SourcesChanged => sources_changed = true,
                    Fact::Settled(peer) => self.peer_settled(peer, now),
                }
            }
            if sources_changed {
                transfers!(self, now, sources_changed);
            }
        }
        self.advance_operations(now);
        self.switch_if_quiet(now);
        if !self.parked.is_empty() {
            self.library.hurry(cx!(self, now));
        }
        self.library.flush(cx!(self, now), &self.catalog);
        if self.library.is_settled() {
            self.release_parked();
        }
        if self.parked.is_empty() && self.transfers.holds_repairs() {
            // The end of the verification is told: what follows from it may begin.
            transfers!(self, now, begin_repairs);
            self.library.flush(cx!(self, now), &self.catalog);
        }
        let operations_run = self.operations_run();
        self.gate.hash_next(cx!(self, now), &self.library, &self.catalog, operations_run);
        self.check_waits();
        self.stop_if_drained(now);
    }

    /// Whether anything runs or waits on any game.
    fn operations_run(&self) -> bool {
        !self.transfers.is_drained() || !self.operations.is_empty()
    }

    fn release_parked(&mut self) {
        self.out.extend(self.parked.drain(..).map(Output::Event));
    }

    /// Opens the new directory once nothing is at work on the old one.
    fn switch_if_quiet(&mut self, now: Instant) {
        let Switch::Draining { command, path } = &mut self.switch else { return };
        if self.gate.is_quiet() && !self.library.is_saving() {
            let dir = std::mem::take(path);
            self.switch = Switch::Opening { command: *command };
            (cx!(self, now)).job(Job::OpenLibrary { dir });
        }
    }

    fn stop_if_drained(&mut self, now: Instant) {
        let Phase::Leaving { until, .. } = &self.phase else { return };
        if now < *until && (self.operations_run() || self.library.is_saving()) {
            return;
        }
        self.stop(None, now);
    }

    fn stop(&mut self, failure: Option<String>, now: Instant) {
        self.cancel_commands();
        self.release_parked();
        self.peers.leave(cx!(self, now));
        if let Phase::Leaving { commands, .. } = std::mem::replace(&mut self.phase, Phase::Stopped) {
            for command in commands {
                (cx!(self, now)).reply(command, Ok(CommandData::Done(Done {})));
            }
        }
        self.out.push_back(Output::Stopped { failure });
    }
}

/// Why the daemon cannot start with this directory of games, and what to do about it.
fn unusable(dir: &Path, error: &JobError) -> String {
    let advice = match error.kind {
        JobErrorKind::InUse => "stop the other daemon, or name another directory with --game-dir",
        _ => "it must be an existing directory that this user may read and write; --game-dir names another one",
    };
    format!("the game directory {} cannot be used: {}; {advice}", dir.display(), error.message)
}

fn error_code(kind: JobErrorKind) -> ErrorCode {
    match kind {
        JobErrorKind::DiskFull => ErrorCode::DiskFull,
        JobErrorKind::InUse => ErrorCode::InUse,
        JobErrorKind::Changed => ErrorCode::SourceChanged,
        JobErrorKind::Verification => ErrorCode::VerificationFailed,
        JobErrorKind::UnsafePath => ErrorCode::UnsafePath,
        JobErrorKind::Cancelled => ErrorCode::Cancelled,
        JobErrorKind::BadArchive => ErrorCode::BadArchive,
        JobErrorKind::NotOurs => ErrorCode::NotOurs,
        JobErrorKind::Io => ErrorCode::Io,
    }
}

fn command_error(error: JobError) -> CommandError {
    CommandError::new(error_code(error.kind), error.message)
}
