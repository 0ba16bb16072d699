//! Downloads and serving: which chunk comes from whom, and who may have ours.
//!
//! ```text
//! command ──▶ queue (FIFO) ──slot──▶ Download ──────────▶ PrepareDownload, Fetch …, CommitDownload
//!                                      │   ├ Roster   (sources.rs):  standing of its sources, and their rates
//!                                      │   ├ Planner  (planner.rs):  Wanted → InFlight → Writing → Have
//!                                      │   ├ Account  (progress.rs): figures of the events
//!                                      │   └ the rule of who is asked for what: select/
//! get-game ─▶ Lookups (lookup.rs)      └ the state machine: download.rs
//! requests of peers ─▶ Serving (serving.rs)
//! ```
//!
//! Every input ends in [`Transfers::settle`]: it takes each step that has become possible, hands free landing buffers out
//! (one pool for all downloads, round-robin) and collects what ended. So a step is never missed, whichever input made it
//! possible, and the order of steps does not depend on the kind of input.
//!
//! A run is requested only when landing buffers are reserved for all of its batches: that is the only backpressure.

mod bans;
#[doc(hidden)]
pub mod bench;
mod chunk_set;
mod download;
mod explain;
mod lookup;
mod manifest;
mod planner;
mod progress;
mod repair;
mod schedule;
mod select;
mod serving;
mod slots;
mod sources;
mod swarm;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use self::bans::Bans;
use self::download::Download;
use self::lookup::Lookups;
use self::progress::Account;
use self::select::content;
pub(super) use self::select::content::is_other_content;
use self::serving::Serving;
use crate::api::{BannedSource, CommandData, CommandError, Done, ErrorCode, Operation, OperationRow, PeerEvent};
use crate::config::{Config, Timers};
use crate::engine::core::Cx;
use crate::engine::effect::{Effect, Only, Wish};
use crate::engine::io::{CommandId, ConnId, EngineLoad, InboundId, Output, RequestId, RunFailure};
use crate::engine::pace::Pace;
use crate::engine::world::TransferCx;
use crate::faults::{self, Bug};
use crate::proto::{Answer, GetChunks, GetManifest, HaveChunks};
use crate::types::{
    ChunkHash, ChunkIndex, ChunkRange, DownloadId, GameId, JobError, PeerId, PreparedDownload, ScannedGame,
};

/// A download that waits for a slot.
#[derive(Debug)]
struct Waiting {
    game: GameId,
    commanded: Instant,
    install: bool,
    /// No other content will do.
    only: Option<Only>,
    /// Not to begin before [`Transfers::begin_repairs`].
    held: bool,
}

/// Where a game's download is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Queued,
    Running(DownloadId),
}

/// A download that has its slot.
#[derive(Debug)]
struct Running {
    download: Download,
    /// Install afterwards.
    install: bool,
}

/// Every download and every outgoing run.
#[derive(Debug)]
pub(super) struct Transfers {
    places: BTreeMap<GameId, Place>,
    queue: VecDeque<Waiting>,
    running: BTreeMap<DownloadId, Running>,
    lookups: Lookups,
    serving: Serving,
    bans: Bans,
    /// The download that got a landing buffer last: the next one is for another.
    served_last: Option<DownloadId>,
    bytes_received: u64,
    /// How fast chunks may be asked for: what is asked for comes as fast as the network carries it.
    pace: Pace,
    /// A run that could have been asked for waits for that.
    paced: bool,
    /// Chunks are wanted, and no landing buffer is free for them.
    starved: bool,
    /// The user wants the network for something else.
    paused: bool,
    timers: Timers,
    stopping: bool,
    /// Commands for downloads that are answered once it is known whether they wait.
    accepted: Vec<(CommandId, GameId)>,
}

impl Transfers {
    /// Nothing runs yet.
    pub(super) fn new(config: &Config) -> Self {
        Self {
            places: BTreeMap::new(),
            queue: VecDeque::new(),
            running: BTreeMap::new(),
            lookups: Lookups::default(),
            serving: Serving::default(),
            bans: Bans::default(),
            served_last: None,
            bytes_received: 0,
            pace: Pace::new(config.rates.max_download),
            paced: false,
            starved: false,
            paused: false,
            timers: config.timers.clone(),
            stopping: false,
            accepted: Vec::new(),
        }
    }

    /// `download`. Errors in this order: `not-in-catalog`, `unknown-game`, `operation-in-progress`, `no-sources`, `in-use`,
    /// `own-content`. A game that lies here in the wanted version, without a known difference, is finished at once: nothing is
    /// fetched, no operation starts.
    pub(super) fn command_download(
        &mut self,
        cx: &mut TransferCx<'_>,
        id: CommandId,
        game: GameId,
        wish: Wish,
    ) -> Result<(), CommandError> {
        self.accept(cx, &game, wish)?;
        self.accepted.push((id, game));
        Ok(())
    }

    /// `cancel-download`: answered at once; `download-failed{cancelled}` follows when everything is cleaned up, or
    /// `download-finished` when the files were being committed already. Errors: `unknown-game`; `bad-argument` when no
    /// download of the game runs or waits.
    pub(super) fn command_cancel(
        &mut self,
        cx: &mut TransferCx<'_>,
        id: CommandId,
        game: &GameId,
    ) -> Result<(), CommandError> {
        match self.places.get(game).copied() {
            None if is_known(cx, game) => {
                let message = format!("nothing runs on {game} and nothing waits");
                return Err(CommandError::new(ErrorCode::BadArgument, message));
            }
            None => return Err(unknown_game(game)),
            Some(Place::Queued) => self.drop_queued(cx, game, ErrorCode::Cancelled, "cancelled by the user"),
            Some(Place::Running(download)) => {
                if let Some(running) = self.running.get_mut(&download) {
                    running.download.cancel(cx);
                }
            }
        }
        cx.reply_done(id);
        if faults::is(Bug::AnsweredTwice) {
            cx.reply_done(id);
        }
        Ok(())
    }

    /// `prioritise`: a download that waits is the next to get a slot. Errors: `unknown-game`; `bad-argument` when it does
    /// not wait.
    pub(super) fn command_prioritise(&mut self, cx: &mut TransferCx<'_>, id: CommandId, game: GameId) {
        let place = self.queue.iter().position(|waiting| waiting.game == game);
        let result = match place.and_then(|place| self.queue.remove(place)) {
            Some(waiting) => {
                self.queue.push_front(waiting);
                Ok(CommandData::Done(Done {}))
            }
            None if is_known(cx, &game) => {
                Err(CommandError::new(ErrorCode::BadArgument, format!("no download of {game} waits for its turn")))
            }
            None => Err(unknown_game(&game)),
        };
        cx.reply(id, result);
    }

    /// From now on chunks are asked for so fast, in bytes per second; `None`: as fast as they come.
    pub(super) fn limit(&mut self, rate: Option<u64>) {
        self.pace = Pace::new(rate);
    }

    /// Stops all transfers, or lets them go on: downloads ask for nothing more, and nothing is handed out. What was asked for
    /// already still lands.
    pub(super) fn pause(&mut self, cx: &mut Cx, paused: bool) {
        self.paused = paused;
        if paused {
            self.serving.games().into_iter().for_each(|game| cx.emit(Output::StopSending { game }));
        }
    }

    /// Whether all transfers are stopped.
    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// `get-game`: the files as one of the sources lists them. Errors: `not-in-catalog`, `unknown-game`, `no-sources` (also
    /// for a game that lies here and nowhere else), `timeout`, `verification-failed`.
    pub(super) fn command_get_game(&mut self, cx: &mut TransferCx<'_>, id: CommandId, game: GameId) {
        match check_known(cx, &game) {
            Err(error) => cx.reply(id, Err(error)),
            Ok(()) => self.lookups.start(cx, id, game),
        }
    }

    /// A peer whose Hello was accepted asks for the files of a game. `RequestGone` of it needs no call: `SendDone` comes.
    pub(super) fn request_get_manifest(&mut self, cx: &mut TransferCx<'_>, from: InboundId, request: GetManifest) {
        let busy = self.withholds(cx, &request.game_id);
        self.serving.get_manifest(cx, busy, from, request);
    }

    /// A peer whose Hello was accepted asks for chunks. `RequestGone` of it is for [`Transfers::request_gone`] while it waits;
    /// afterwards it needs no call: `SendDone` comes.
    pub(super) fn request_get_chunks(&mut self, cx: &mut TransferCx<'_>, from: InboundId, request: GetChunks) {
        if self.paused {
            return serving::refuse_paused(cx, from);
        }
        let hold = self.hold(cx, &request);
        self.serving.get_chunks(cx, hold, from, request);
    }

    /// A peer that is downloading a game says what it has of it.
    pub(super) fn have_chunks(&mut self, cx: &mut Cx, peer: PeerId, conn: ConnId, have: &HaveChunks) {
        if let Some(Place::Running(id)) = self.places.get(&have.game_id)
            && let Some(running) = self.running.get_mut(id)
        {
            running.download.have_chunks(cx, peer, conn, have);
        }
    }

    /// A peer no longer waits for the answer to a request: if it is one that waits, it need not be sent.
    pub(super) fn request_gone(&mut self, from: InboundId) {
        self.serving.request_gone(from);
    }

    /// An outgoing run or manifest is over.
    pub(super) fn send_done(&mut self, cx: &mut Cx, to: InboundId, bytes: u64, changed: bool) {
        if let Some(game) = self.serving.send_done(to, bytes)
            && changed
        {
            cx.tell(Effect::Rescan { game });
        }
    }

    /// Whether an `Answered` of this request is for [`Transfers::looked_up`].
    pub(super) fn looks_up(&self, request: RequestId) -> bool {
        self.lookups.owns(request)
    }

    /// A source answered a `get-game` with its manifest, or not.
    pub(super) fn looked_up(
        &mut self,
        cx: &mut TransferCx<'_>,
        request: RequestId,
        result: Result<(Answer, Vec<ChunkHash>), RunFailure>,
    ) {
        self.lookups.answered(cx, request, result);
    }

    /// Whether an `Answered` of this request is for [`Transfers::answered`].
    pub(super) fn owns(&self, request: RequestId) -> bool {
        self.running.values().any(|running| running.download.awaits_answer(request))
    }

    /// A source answered a download with its manifest, or not.
    pub(super) fn answered(
        &mut self,
        cx: &mut Cx,
        request: RequestId,
        result: Result<(Answer, Vec<ChunkHash>), RunFailure>,
    ) {
        if let Some(running) = self.running.values_mut().find(|running| running.download.awaits_answer(request)) {
            running.download.answered(cx, request, result);
        }
    }

    /// A batch of a run landed.
    pub(super) fn batch_landed(&mut self, cx: &mut Cx, request: RequestId, range: ChunkRange) {
        if let Some(running) = self.running.values_mut().find(|running| running.download.fetches(request)) {
            self.bytes_received += running.download.batch_landed(cx, request, range);
        }
    }

    /// A worker verified and wrote a batch, or not.
    pub(super) fn batch_done(
        &mut self,
        cx: &mut Cx,
        download: DownloadId,
        request: RequestId,
        range: ChunkRange,
        bad: &[ChunkIndex],
        error: Option<JobError>,
    ) {
        if let Some(running) = self.running.get_mut(&download) {
            running.download.batch_done(cx, request, range, bad, error);
        }
    }

    /// A run is over.
    pub(super) fn run_done(&mut self, cx: &mut Cx, request: RequestId, result: Result<(), RunFailure>) {
        if let Some(running) = self.running.values_mut().find(|running| running.download.fetches(request)) {
            running.download.run_done(cx, request, result);
        }
    }

    /// `PrepareDownload` is done.
    pub(super) fn download_prepared(
        &mut self,
        cx: &mut Cx,
        download: DownloadId,
        result: Result<PreparedDownload, JobError>,
    ) {
        if let Some(running) = self.running.get_mut(&download) {
            running.download.prepared(cx, result);
        }
    }

    /// `PrepareDownload` of a game moved on.
    pub(super) fn preparing(&mut self, cx: &mut Cx, game: &GameId, bytes: u64, total: u64) {
        if let Some(Place::Running(id)) = self.places.get(game)
            && let Some(running) = self.running.get_mut(id)
        {
            running.download.checked(cx, bytes, total);
        }
    }

    /// `LearnContent` is done.
    pub(super) fn content_learned(
        &mut self,
        cx: &mut Cx,
        download: DownloadId,
        result: Result<Vec<ChunkIndex>, JobError>,
    ) {
        if let Some(running) = self.running.get_mut(&download) {
            running.download.content_learned(cx, result);
        }
    }

    /// `CommitDownload` is done.
    pub(super) fn download_committed(
        &mut self,
        cx: &mut Cx,
        download: DownloadId,
        result: Result<Arc<ScannedGame>, JobError>,
    ) {
        if let Some(running) = self.running.get_mut(&download) {
            running.download.committed(cx, result);
        }
    }

    /// `AbandonDownload` is done.
    pub(super) fn download_abandoned(
        &mut self,
        download: DownloadId,
        result: Result<Option<Arc<ScannedGame>>, JobError>,
    ) {
        if let Some(running) = self.running.get_mut(&download) {
            running.download.abandoned(result);
        }
    }

    /// What the directory of sources answers may have changed: a peer got in step, a library changed.
    pub(super) fn sources_changed(&mut self) {
        for running in self.running.values_mut() {
            running.download.sources_changed();
        }
    }

    /// The catalog is another one: downloads that it no longer wants end, with what they fetched left in place.
    pub(super) fn catalog_changed(&mut self, cx: &mut Cx) {
        let dropped: Vec<_> =
            self.queue.iter().map(|waiting| waiting.game.clone()).filter(|game| !cx.catalog.admits(game)).collect();
        for game in dropped {
            self.drop_queued(cx, &game, ErrorCode::NotInCatalog, "the catalog does not list it any more");
        }
        for running in self.running.values_mut() {
            running.download.catalog_changed(cx);
        }
    }

    /// For `ConnectionDown`, and after every `Close`: whatever was asked or sent over it is over.
    pub(super) fn connection_down(&mut self, cx: &mut TransferCx<'_>, conn: ConnId) {
        self.serving.connection_down(conn);
        for running in self.running.values_mut() {
            running.download.connection_down(conn);
        }
        self.lookups.connection_down(cx, conn);
    }

    /// The PC slept: nobody is to blame for the time that passed.
    pub(super) fn woke(&mut self, cx: &mut Cx) {
        self.running.values_mut().for_each(|running| running.download.woke(cx.now));
    }

    /// When to call [`Transfers::settle`] at the latest.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let downloads = self.running.values().filter_map(|running| running.download.next_timeout(&self.timers));
        downloads.chain(self.pace.ready_at().filter(|_| self.paced)).min()
    }

    /// Ends everything: queued downloads at once, running ones with their files kept, a commit when it is done. Nothing is
    /// accepted or served any more.
    pub(super) fn shutdown(&mut self, cx: &mut Cx) {
        self.stopping = true;
        self.lookups.stop(cx);
        self.end_all(cx, ErrorCode::Cancelled, "the daemon stops");
    }

    /// Ends every download with this: queued ones at once, running ones with their files kept, a commit when it is done.
    pub(super) fn end_all(&mut self, cx: &mut Cx, code: ErrorCode, why: &str) {
        let queued: Vec<_> = self.queue.iter().map(|waiting| waiting.game.clone()).collect();
        for game in queued {
            self.drop_queued(cx, &game, code, why);
        }
        for running in self.running.values_mut() {
            running.download.stop(cx, code, why);
        }
    }

    /// No download runs or waits.
    pub(super) fn is_drained(&self) -> bool {
        self.places.is_empty()
    }

    /// Everything that runs or waits, ascending by game.
    pub(super) fn operations(&self) -> Vec<OperationRow> {
        let row = |(game, place): (&GameId, &Place)| OperationRow { game: game.clone(), operation: place.operation() };
        self.places.iter().map(row).collect()
    }

    /// What runs on a game.
    pub(super) fn operation(&self, game: &GameId) -> Option<Operation> {
        self.places.get(game).map(Place::operation)
    }

    /// How far a download is, 0 to 1.
    pub(super) fn progress(&self, game: &GameId) -> Option<f64> {
        match self.places.get(game)? {
            Place::Queued => Some(0.0),
            Place::Running(id) => self.running.get(id).map(|running| running.download.progress()),
        }
    }

    /// The sources that were given up for good, the last ones, oldest first.
    pub(super) fn sources_banned(&self, now: Instant) -> Vec<BannedSource> {
        self.bans.rows(now)
    }

    /// Whether anything of a game is being sent.
    pub(super) fn is_sending(&self, game: &GameId) -> bool {
        self.serving.is_sending(game)
    }

    /// Whether a download of the game runs or waits.
    pub(super) fn is_busy(&self, game: &GameId) -> bool {
        self.places.contains_key(game)
    }

    /// Bytes of game data that landed since the start, whatever became of them.
    pub(super) fn bytes_received(&self) -> u64 {
        self.bytes_received
    }

    /// Bytes of game data that were sent since the start, in runs that are over.
    pub(super) fn bytes_sent(&self) -> u64 {
        self.serving.bytes_sent()
    }

    /// Whether chunks are wanted, and wait for a landing buffer.
    pub(super) fn is_starved(&self) -> bool {
        self.starved
    }

    /// Whether chunks are wanted, and wait for the limit of the rate.
    pub(super) fn is_paced(&self) -> bool {
        self.paced
    }

    /// What is under way; without the peers, which others know.
    pub(super) fn load(&self, config: &Config) -> EngineLoad {
        let (uploads_waiting, uploads_waiting_limit) = self.serving.waiting(config);
        EngineLoad {
            downloads_running: self.running.len(),
            downloads_waiting: self.queue.len(),
            uploads: self.serving.count(),
            uploads_waiting,
            uploads_waiting_limit,
            buffers_reserved: self.buffers_held(),
            bytes_received: self.bytes_received,
            peers: Vec::new(),
        }
    }

    /// Landing buffers reserved or with workers, over all downloads.
    fn buffers_held(&self) -> usize {
        self.running.values().map(|running| running.download.buffers()).sum()
    }

    /// What must hold after every input.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        self.running.values().for_each(|running| running.download.check_invariants());
        assert_eq!(self.running.len() + self.queue.len(), self.places.len());
    }

    /// Whether nothing that is complete of a game is served. A download that only waits does not keep it from being served.
    fn withholds(&self, cx: &TransferCx<'_>, game: &GameId) -> bool {
        self.stopping || matches!(self.places.get(game), Some(Place::Running(_))) || cx.world.withdraws(game)
    }

    fn accept(&mut self, cx: &mut TransferCx<'_>, game: &GameId, wish: Wish) -> Result<(), CommandError> {
        check_known(cx, game)?;
        if self.is_busy(game) || cx.world.holds(game) {
            let message = format!("an operation on {game} runs or waits already");
            return Err(CommandError::new(ErrorCode::OperationInProgress, message));
        }
        if self.stopping {
            return Err(CommandError::new(ErrorCode::Cancelled, "the daemon stops"));
        }
        if let Some(twin) = self.places.keys().find(|other| game.is_spelled_otherwise(other.as_str())) {
            let message = format!(
                "{game} cannot be fetched together with {twin}, which is the same name where case does not count; cancel that \
                 download first"
            );
            return Err(CommandError::new(ErrorCode::UnsafePath, message));
        }
        let pin = content::choose(cx, game, &cx.world.sources(game));
        let is_later = pin.as_ref().is_some_and(|pin| !wish.again && content::is_later(cx, game, pin));
        if is_later || content::is_here(cx, game, pin.as_ref()) {
            let size = cx.disk.get(game).map_or(0, |scanned| scanned.size);
            // Its files were never listed here: the number of its chunks is not known, and none was fetched.
            let event = Account::new(cx.now, cx.now).finished(game, size, 0, size, cx.now);
            cx.tell(Effect::End(Box::new(event)));
            if wish.install {
                cx.tell(Effect::Install { game: game.clone() });
            }
            return Ok(());
        }
        let Some(pin) = pin else {
            let message = match cx.expected_version(game) {
                Some(version) => {
                    format!("no connected peer can hand out {game} in version {version}, as the catalog demands")
                }
                None => format!("no connected peer can hand out {game}"),
            } + &cx.world.why_not(game);
            return Err(CommandError::new(ErrorCode::NoSources, message));
        };
        content::may_replace(cx, game, &pin, wish.again)?;
        self.places.insert(game.clone(), Place::Queued);
        let (game, commanded, install) = (game.clone(), cx.now, wish.install);
        self.queue.push_back(Waiting { game, commanded, install, only: None, held: false });
        Ok(())
    }

    /// Ends a download that has not begun.
    fn drop_queued(&mut self, cx: &mut Cx, game: &GameId, code: ErrorCode, why: &str) {
        self.queue.retain(|waiting| waiting.game != *game);
        self.places.remove(game);
        let message = why.to_owned();
        cx.tell(Effect::OperationEnded { game: game.clone(), scanned: None });
        let event = PeerEvent::DownloadFailed { game: game.clone(), code, message, kept_aside: Vec::new() };
        cx.tell(Effect::End(Box::new(event)));
    }
}

impl Place {
    fn operation(&self) -> Operation {
        match self {
            Self::Queued => Operation::Queued,
            Self::Running(_) => Operation::Downloading,
        }
    }
}

/// Whether somebody can hand the game out as it is wanted.
pub(super) fn can_be_had(cx: &TransferCx<'_>, game: &GameId) -> bool {
    content::choose(cx, game, &cx.world.sources(game)).is_some()
}

fn is_known(cx: &TransferCx<'_>, game: &GameId) -> bool {
    cx.disk.get(game).is_some() || cx.world.summary(game).is_some() || cx.world.lists(game)
}

fn check_known(cx: &TransferCx<'_>, game: &GameId) -> Result<(), CommandError> {
    if !cx.catalog.admits(game) {
        return Err(CommandError::new(ErrorCode::NotInCatalog, format!("the catalog does not list {game}")));
    }
    if !is_known(cx, game) {
        return Err(unknown_game(game));
    }
    Ok(())
}

pub(super) fn unknown_game(game: &GameId) -> CommandError {
    CommandError::new(ErrorCode::UnknownGame, format!("neither this library nor any peer's lists {game}"))
}
