//! One download, from its slot to its terminal event.
//!
//! ```text
//!            a content is chosen        manifest ok          nothing of it is sent     job done, DownloadBegin
//!   Seeking ────────────────────▶ Asking ──────────▶ Clearing ──────────────▶ Preparing ──────────▶ Fetching
//!      ▲ ▲                          │                   │                        │                     │ every chunk
//!      │ └── no source of it left ──┘                   │                        │                     ▼ is there
//!      │                                                │                        │                 Committing
//!      └ nobody for `source_wait`, cancelled            │ cancelled              │ failed, cancelled   │ failed │ ok
//!        ─────────────────────────▶ Over ◀──────────────┘                        ▼                     ▼        │
//!                                    ▲   job done           no job, no writer   Ending ◀── Fetching: no source, │
//!                                    ├──────── Abandoning ◀─────────────────────┘          disk, cancelled      │
//!                                    └──────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Preparing finds out what is on the disk already, which may take minutes: those chunks are never asked for, and a game
//! that lacks none goes straight to its commit.
//!
//! A source that fails is paused, left or banned (see `sources`); the chunks it was asked for are wanted again in the same
//! step. Every `PrepareDownload` is followed by exactly one successful `CommitDownload` or one `AbandonDownload`.

mod ending;
mod learning;
mod runs;
mod trouble;

use std::sync::Arc;
use std::time::Instant;

use self::ending::{End, disk_end};
use self::learning::Learning;
use super::bans::Banned;
use super::explain::{Common, seconds};
use super::manifest::{self, Rejection};
use super::planner::Planner;
use super::progress::Account;
use super::select::content::{self, Content, Pin};
use super::select::endgame::stalls;
use super::select::rank::SourceRank;
use super::sources::{Ban, Roster};
use super::swarm::Swarm;
use crate::api::{DownloadState, PeerEvent};
use crate::config::Timers;
use crate::engine::core::Cx;
use crate::engine::effect::Only;
use crate::engine::io::{ConnId, Output, RequestId, RunFailure};
use crate::engine::world::TransferCx;
use crate::faults::{self, Bug};
use crate::proto::{Answer, GetChunks, HaveChunks};
use crate::types::{
    ChunkHash, ChunkIndex, ChunkRange, DownloadId, DownloadPlan, GameId, Job, JobError, ManifestHash, PeerId,
    PreparedDownload, ScannedGame, SourceId,
};

/// A question for the manifest.
#[derive(Clone, Copy, Debug)]
struct Asked {
    request: RequestId,
    source: SourceId,
    at: Instant,
}

#[derive(Debug)]
enum Phase {
    /// No content is chosen: nobody has it.
    Seeking,
    /// A source of the content is, or will be, asked for its manifest; one that lets wait is joined by the next.
    Asking { pin: Pin, asked: Vec<Asked> },
    /// What is being sent of the game must end before its files are touched.
    Clearing { pin: Pin, plan: Arc<DownloadPlan> },
    /// The disk is being made ready.
    Preparing { pin: Pin, plan: Arc<DownloadPlan> },
    /// Chunks come.
    Fetching { pin: Pin, planner: Planner, swarm: Swarm },
    /// The files are being made durable. Too late to cancel.
    Committing { planner: Planner, swarm: Swarm },
    /// Nothing is asked any more; a running job or writers must come to their end.
    Ending { end: End, preparing: bool, planner: Option<Planner> },
    /// The files are being closed, or taken away.
    Abandoning { end: End },
    /// Nothing is left to wait for.
    Over(Over),
}

/// The last word of a download.
#[derive(Debug)]
pub(super) struct Over {
    /// What lies on disk now.
    pub(super) disk: Disk,
    /// The terminal event.
    pub(super) event: PeerEvent,
}

/// What a download left on disk.
#[derive(Debug)]
pub(super) enum Disk {
    /// It never came to touch it.
    Untouched,
    /// This.
    Scanned(Option<Arc<ScannedGame>>),
    /// That must be looked at.
    Unknown,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Download {
    id: DownloadId,
    game: GameId,
    only: Option<Only>,
    phase: Phase,
    learning: Learning,
    /// What the sources of the chosen content had before.
    supersedes: Vec<ManifestHash>,
    roster: Roster,
    account: Account,
    /// When it was told last how far the disk was looked through.
    checked_at: Option<Instant>,
    /// What the directory of sources answers may have changed since it was asked.
    sources_dirty: bool,
    /// Since when there is nobody to ask.
    starved_since: Option<Instant>,
    /// When the sources are looked at again though nothing happens: for slow runs, or for promises that were not kept.
    look_at: Option<Instant>,
    /// Bans that were not taken out yet.
    bans: Vec<Banned>,
}

impl Download {
    /// Begins: from here on nothing of the game is served. `only`: no other content will do.
    pub(super) fn start(cx: &mut Cx, id: DownloadId, game: GameId, commanded: Instant, only: Option<Only>) -> Self {
        cx.emit(Output::StopSending { game: game.clone() });
        Self {
            id,
            game,
            only,
            phase: Phase::Seeking,
            learning: Learning::NotYet,
            supersedes: Vec::new(),
            roster: Roster::default(),
            account: Account::new(commanded, cx.now),
            checked_at: None,
            sources_dirty: true,
            starved_since: None,
            look_at: None,
            bans: Vec::new(),
        }
    }

    pub(super) fn game(&self) -> &GameId {
        &self.game
    }

    /// The libraries of the sources, or the connections to them, have changed.
    pub(super) fn sources_changed(&mut self) {
        self.sources_dirty = true;
    }

    /// Whether this download waits for the answer to a request.
    pub(super) fn awaits_answer(&self, request: RequestId) -> bool {
        matches!(&self.phase, Phase::Asking { asked, .. } if asked.iter().any(|asked| asked.request == request))
            || matches!(self.learning, Learning::Asked { request: asked, .. } if asked == request)
    }

    /// A source answered with its manifest, or not.
    pub(super) fn answered(
        &mut self,
        cx: &mut Cx,
        request: RequestId,
        result: Result<(Answer, Vec<ChunkHash>), RunFailure>,
    ) {
        if let Learning::Asked { request: asked, owner, hash } = self.learning
            && asked == request
        {
            return self.hashes_answered(cx, owner, hash, result);
        }
        let Phase::Asking { pin, asked } = &mut self.phase else { return };
        let Some(place) = asked.iter().position(|asked| asked.request == request) else { return };
        let source = asked.swap_remove(place).source;
        match manifest::check(&self.game, pin.manifest_hash, pin.content_hash(), result) {
            Ok((manifest, content)) => {
                for Asked { request, .. } in asked.drain(..) {
                    cx.emit(Output::Cancel { request });
                }
                let mut pin = pin.clone();
                if let Some(content) = &content {
                    // Its owner has hashed it meanwhile: others that have the same may join.
                    pin.content = Content::Known(content.hash);
                }
                let plan =
                    DownloadPlan { game: self.game.clone(), manifest_hash: pin.manifest_hash, manifest, content };
                self.starved_since = None;
                self.sources_dirty = true;
                self.phase = Phase::Clearing { pin, plan: Arc::new(plan) };
            }
            Err(Rejection::Lie(why)) => self.ban(cx, source, Ban::Poison, &why, None),
            Err(Rejection::Failed(failure)) => self.failed(cx, source, &failure),
        }
    }

    /// Whether it waits for what is being sent of its game.
    pub(super) fn is_clearing(&self) -> bool {
        matches!(self.phase, Phase::Clearing { .. })
    }

    /// Nothing of the game is being sent any more.
    pub(super) fn prepare(&mut self, cx: &mut Cx) {
        if let Phase::Clearing { pin, plan } = &self.phase {
            cx.job(Job::PrepareDownload { download: self.id, plan: plan.clone() });
            self.phase = Phase::Preparing { pin: pin.clone(), plan: plan.clone() };
        }
    }

    /// So many bytes of what lies on the disk were looked at, of how many.
    pub(super) fn checked(&mut self, cx: &mut Cx, bytes: u64, total: u64) {
        let every = cx.config.timers.progress_every;
        let is_due = self.checked_at.is_none_or(|at| cx.now.saturating_duration_since(at) >= every);
        if is_due && total > 0 && matches!(self.phase, Phase::Preparing { .. }) {
            self.checked_at = Some(cx.now);
            cx.event(PeerEvent::DownloadChecking { game: self.game.clone(), bytes: bytes.min(total), total });
        }
    }

    /// The disk is ready, and holds these chunks already; or not.
    pub(super) fn prepared(&mut self, cx: &mut Cx, result: Result<PreparedDownload, JobError>) {
        match &mut self.phase {
            Phase::Preparing { pin, plan } => match result {
                Ok(PreparedDownload { kept, kept_aside }) => {
                    self.account.kept_aside = kept_aside;
                    cx.event(PeerEvent::DownloadBegin {
                        game: self.game.clone(),
                        bytes: plan.manifest.bytes(),
                        sources: self.roster.present(),
                    });
                    let planner = Planner::new(plan.clone(), &kept);
                    let swarm = Swarm::new(&planner, pin.content_hash().filter(|_| cx.config.swarm), cx.now);
                    self.phase = Phase::Fetching { pin: pin.clone(), planner, swarm };
                    self.sources_dirty = true;
                }
                Err(error) => {
                    let end = disk_end(&error);
                    self.phase = Phase::Ending { end, preparing: false, planner: None };
                }
            },
            Phase::Ending { preparing, .. } => *preparing = false,
            _ => {}
        }
    }

    /// A peer that is downloading the same says what it has.
    pub(super) fn have_chunks(&mut self, cx: &mut Cx, peer: PeerId, conn: ConnId, have: &HaveChunks) {
        let Phase::Fetching { planner, swarm, .. } = &mut self.phase else { return };
        if swarm.hear(cx, planner, peer, conn, have) && !self.roster.join(peer, conn, cx.now) {
            swarm.forget(SourceId::Peer(peer));
        }
    }

    /// The files of this download, if a peer may have these chunks of them already.
    pub(super) fn serves(&self, request: &GetChunks) -> Option<DownloadId> {
        let (planner, swarm) = match &self.phase {
            Phase::Fetching { planner, swarm, .. } | Phase::Committing { planner, swarm } => (planner, swarm),
            _ => return None,
        };
        let range = ChunkRange { first: request.first, count: request.count };
        let is_ours = planner.plan().manifest_hash == request.manifest_hash;
        (is_ours && swarm.serves(planner, request.content_hash, range)).then_some(self.id)
    }

    /// Whether a run of this download is in flight under this number.
    pub(super) fn fetches(&self, request: RequestId) -> bool {
        self.planner().is_some_and(|planner| planner.has_run(request))
    }

    /// A batch landed. Answers its bytes.
    pub(super) fn batch_landed(&mut self, cx: &mut Cx, request: RequestId, range: ChunkRange) -> u64 {
        let Phase::Fetching { planner, .. } = &mut self.phase else { return 0 };
        let Some(batch) = planner.landed(request, range) else { return 0 };
        self.roster.landed(batch.source, batch.bytes, cx.now);
        let losers = batch.losers.into_iter().filter(|_| !faults::is(Bug::LoserGoesOn));
        for loser in losers {
            cx.emit(Output::Cancel { request: loser });
        }
        batch.bytes
    }

    /// A batch was verified and written, or not.
    pub(super) fn batch_done(
        &mut self,
        cx: &mut Cx,
        request: RequestId,
        range: ChunkRange,
        bad: &[ChunkIndex],
        error: Option<JobError>,
    ) {
        let (planner, swarm) = match &mut self.phase {
            Phase::Fetching { planner, swarm, .. } => (planner, Some(swarm)),
            Phase::Ending { planner: Some(planner), .. } => (planner, None),
            _ => return,
        };
        let Some(batch) = planner.written(request, range, bad, error.is_none()) else { return };
        if let Some(swarm) = swarm.filter(|_| error.is_none()) {
            swarm.verified(range, bad);
        }
        self.account.refetched += batch.bad_bytes;
        if batch.good_bytes > 0 {
            self.account.verified(batch.source, batch.good_bytes, cx.now);
            self.roster.delivered(batch.source);
        }
        if !matches!(self.phase, Phase::Fetching { .. }) {
            return;
        }
        if !batch.bad.is_empty() {
            self.tell_of_bad_chunks(cx, batch.source);
            if self.roster.bad_chunks(batch.source, &batch.bad) {
                let chunk = batch.bad.first().copied();
                self.ban(cx, batch.source, Ban::Poison, "its chunks do not match their hashes", chunk);
            }
        }
        if let Some(error) = error {
            self.end(cx, disk_end(&error));
        }
    }

    /// A run is over.
    pub(super) fn run_done(&mut self, cx: &mut Cx, request: RequestId, result: Result<(), RunFailure>) {
        let Phase::Fetching { planner, .. } = &mut self.phase else { return };
        let Some(source) = planner.lost(request) else { return };
        if let Err(failure) = result {
            self.failed(cx, source, &failure);
        }
    }

    /// Everything is durable, or not.
    pub(super) fn committed(&mut self, cx: &mut Cx, result: Result<Arc<ScannedGame>, JobError>) {
        let Phase::Committing { planner, .. } = &self.phase else { return };
        match result {
            Ok(scanned) => {
                let manifest = &planner.plan().manifest;
                let (bytes, chunks, kept) = (manifest.bytes(), manifest.chunk_count(), planner.kept_bytes());
                let event = self.account.finished(&self.game, bytes, chunks, kept, cx.now);
                let supersedes = std::mem::take(&mut self.supersedes);
                let scanned = Arc::new(ScannedGame { supersedes, ..(*scanned).clone() });
                self.phase = Phase::Over(Over { disk: Disk::Scanned(Some(scanned)), event });
            }
            Err(error) => self.abandon(cx, disk_end(&error)),
        }
    }

    /// The files are closed, or gone.
    pub(super) fn abandoned(&mut self, result: Result<Option<Arc<ScannedGame>>, JobError>) {
        let Phase::Abandoning { end } = &self.phase else { return };
        let disk = result.map_or(Disk::Unknown, Disk::Scanned);
        let event = self.failed_event(end);
        self.phase = Phase::Over(Over { disk, event });
    }

    /// Takes every step that needs no further input, but for asking for chunks. `sending`: parts of its game are on
    /// their way to other downloaders.
    pub(super) fn advance(&mut self, cx: &mut TransferCx<'_>, sending: bool) {
        if self.roster.wake(cx.now) {
            self.sources_dirty = true;
        }
        // Each turn of the loop changes the phase, asks a source or leaves.
        loop {
            match &mut self.phase {
                Phase::Seeking => {
                    if !self.seek(cx) {
                        return;
                    }
                }
                Phase::Asking { .. } => {
                    self.refresh(cx);
                    if !self.ask(cx) {
                        return;
                    }
                }
                Phase::Clearing { .. } | Phase::Preparing { .. } => return self.refresh(cx),
                Phase::Fetching { .. } => {
                    self.refresh(cx);
                    self.supervise(cx);
                    if self.is_fetching() {
                        return;
                    }
                }
                Phase::Ending { end, preparing, planner } => {
                    if !*preparing && !sending && !planner.as_ref().is_some_and(Planner::is_writing) {
                        let end = end.clone();
                        self.abandon(cx, end);
                    }
                    return;
                }
                Phase::Committing { .. } | Phase::Abandoning { .. } | Phase::Over(_) => return,
            }
        }
    }

    /// Whether chunks are to be asked for.
    pub(super) fn is_fetching(&self) -> bool {
        matches!(self.phase, Phase::Fetching { .. })
    }

    /// Landing buffers that it holds.
    pub(super) fn buffers(&self) -> usize {
        self.planner().map_or(0, Planner::buffers)
    }

    /// Whether chunks are wanted that nobody was asked for.
    pub(super) fn wants_chunks(&self) -> bool {
        matches!(&self.phase, Phase::Fetching { planner, .. } if planner.has_wanted())
    }

    /// How many sources can be asked now.
    pub(super) fn usable_sources(&self) -> usize {
        self.roster.usable().count()
    }

    /// The PC slept: whoever was waited for gets all of its time once more.
    pub(super) fn woke(&mut self, now: Instant) {
        if let Some(since) = &mut self.starved_since {
            *since = now;
        }
        self.roster.woke(now);
    }

    /// When [`Download::advance`] has something to do though nothing happens.
    pub(super) fn next_timeout(&self, timers: &Timers) -> Option<Instant> {
        let waking = matches!(self.phase, Phase::Seeking | Phase::Asking { .. } | Phase::Fetching { .. });
        let wake = self.roster.next_wake().filter(|_| waking);
        let starved = self.starved_since.filter(|_| self.is_starved()).map(|since| since + timers.source_wait);
        let fetching = match &self.phase {
            Phase::Asking { asked, .. } => {
                let latest = asked.iter().map(|asked| asked.at).max();
                latest.filter(|_| self.roster.usable().count() > asked.len()).map(|at| at + timers.manifest_hedge)
            }
            Phase::Fetching { planner, swarm, .. } => {
                let stall = stalls(planner, &self.roster, timers.run_stall).map(|(_, at)| at).min();
                let report = self.account.next_report(planner.have_bytes(), timers.progress_every);
                let announcement = swarm.next_announcement().filter(|_| swarm.has_news(planner));
                [stall, report, announcement, self.look_at].into_iter().flatten().min()
            }
            _ => None,
        };
        [wake, starved, fetching].into_iter().flatten().min()
    }

    /// How far it is, 0 to 1.
    pub(super) fn progress(&self) -> f64 {
        match &self.phase {
            Phase::Fetching { planner, .. } => {
                let total = planner.plan().manifest.bytes();
                if total == 0 { 1.0 } else { planner.have_bytes() as f64 / total as f64 }
            }
            Phase::Committing { .. } => 1.0,
            _ => 0.0,
        }
    }

    /// The last word, once there is one.
    pub(super) fn into_over(self) -> Option<Over> {
        match self.phase {
            Phase::Over(over) => Some(over),
            _ => None,
        }
    }

    /// The bans since the last time.
    pub(super) fn take_bans(&mut self) -> Vec<Banned> {
        std::mem::take(&mut self.bans)
    }

    /// Whether there is a last word.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over(_))
    }

    pub(super) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// What is wanted, and who of the other downloaders has what, while chunks are asked for.
    pub(super) fn fetching(&self) -> Option<(&Planner, &Swarm)> {
        match &self.phase {
            Phase::Fetching { planner, swarm, .. } => Some((planner, swarm)),
            _ => None,
        }
    }

    /// Where it is, and what it waits for, in words.
    pub(super) fn stage(&self, cx: &Cx, common: Common) -> (DownloadState, String) {
        let patience = self.starved_since.map(|since| {
            let waited = cx.now.saturating_duration_since(since);
            seconds(cx.config.timers.source_wait.saturating_sub(waited))
        });
        let (state, words) = match &self.phase {
            Phase::Seeking => (DownloadState::Seeking, "nobody who has it in the form that is wanted is connected"),
            Phase::Asking { .. } => (DownloadState::Asking, "a source is asked for the list of files"),
            Phase::Clearing { .. } => (DownloadState::Preparing, "parts of it are still being sent to others"),
            Phase::Preparing { .. } => (DownloadState::Preparing, "what lies on the disk is looked through"),
            Phase::Fetching { .. } if common.paused => {
                (DownloadState::Fetching, "all transfers are stopped until `resume`")
            }
            Phase::Fetching { .. } if patience.is_some() => (DownloadState::Fetching, "no source can be asked"),
            Phase::Fetching { .. } => (DownloadState::Fetching, "chunks are being fetched"),
            Phase::Committing { .. } => (DownloadState::Ending, "all of it is here, and is made durable"),
            Phase::Ending { .. } | Phase::Abandoning { .. } | Phase::Over(_) => (DownloadState::Ending, "it has ended"),
        };
        let words = match (&self.phase, patience) {
            (Phase::Ending { end, .. } | Phase::Abandoning { end }, _) => format!("{words}: {}", end.message),
            (Phase::Seeking | Phase::Fetching { .. }, Some(left)) => format!("{words}; it is given up in {left}"),
            _ => words.to_owned(),
        };
        (state, words)
    }

    fn planner(&self) -> Option<&Planner> {
        match &self.phase {
            Phase::Fetching { planner, .. } | Phase::Committing { planner, .. } => Some(planner),
            Phase::Ending { planner, .. } => planner.as_ref(),
            _ => None,
        }
    }

    /// Nobody can be asked for anything, and nothing is under way.
    fn is_starved(&self) -> bool {
        match &self.phase {
            Phase::Seeking => true,
            Phase::Fetching { planner, swarm, .. } => {
                // Other downloaders that lack the same count for nothing.
                let complete = self.roster.any_complete() && !faults::is(Bug::QuietIsStarved);
                !planner.is_fetching() && !complete && !swarm.has_wanted(planner, &self.roster)
            }
            _ => false,
        }
    }

    /// Seeking: chooses a content. True: there is one.
    fn seek(&mut self, cx: &mut TransferCx<'_>) -> bool {
        if std::mem::take(&mut self.sources_dirty) {
            let all = cx.world.sources(&self.game);
            let eligible: Vec<_> = all.iter().filter(|source| self.roster.eligible(source)).cloned().collect();
            let pin = match self.only {
                Some(only) => only.find(&eligible),
                None => content::choose(cx, &self.game, &eligible),
            };
            if let Some(pin) = pin {
                tracing::debug!(game = %self.game, version = pin.version, manifest = %pin.manifest_hash, content = ?pin.content, "content chosen");
                self.supersedes = content::superseded_by(&all, &pin);
                self.roster.repin();
                // Nothing is asked of anybody here: there are no runs to give up.
                self.roster.refresh(&all, &pin, cx.now);
                self.phase = Phase::Asking { pin, asked: Vec::new() };
                return true;
            }
        }
        if let Some(end) = self.hopeless(cx, false) {
            self.end(cx, end);
        }
        false
    }

    /// Asking: asks the best source, if none is asked, or if those that are let wait. True: the phase changed.
    fn ask(&mut self, cx: &mut Cx) -> bool {
        let Phase::Asking { pin, asked } = &mut self.phase else { return false };
        let hedge = cx.config.timers.manifest_hedge;
        if asked.iter().any(|asked| cx.now.saturating_duration_since(asked.at) < hedge) {
            return false;
        }
        let idle = self.roster.usable().filter(|source| asked.iter().all(|asked| asked.source != source.id));
        if let Some(source) = idle.min_by_key(SourceRank::for_manifest) {
            let request = cx.ids.request();
            tracing::debug!(game = %self.game, source = %source.id, others = asked.len(), "manifest requested");
            asked.push(Asked { request, source: source.id, at: cx.now });
            cx.emit(source.via.ask_manifest(request, self.game.clone(), pin.manifest_hash));
            return false;
        }
        if self.roster.present() > 0 || !asked.is_empty() {
            return false;
        }
        self.phase = Phase::Seeking;
        self.sources_dirty = true;
        true
    }

    /// Fetching: looks after stalled runs, missing sources, the end, and the progress event.
    fn supervise(&mut self, cx: &mut Cx) {
        let Phase::Fetching { planner, swarm, .. } = &mut self.phase else { return };
        if planner.is_complete() && !matches!(self.learning, Learning::Checking { .. }) {
            tracing::debug!(game = %self.game, "every chunk is here; committing");
            cx.job(Job::CommitDownload { download: self.id });
            // The others hear of the last chunks before the commit, which may take a while.
            swarm.announce(cx, planner);
            if let Phase::Fetching { planner, swarm, .. } = std::mem::replace(&mut self.phase, Phase::Seeking) {
                self.phase = Phase::Committing { planner, swarm };
            }
            self.stop_learning(cx);
            return;
        }
        swarm.announce(cx, planner);
        let (have, total) = (planner.have_bytes(), planner.plan().manifest.bytes());
        let present = self.roster.present();
        let (every, run_stall) = (cx.config.timers.progress_every, cx.config.timers.run_stall);
        if let Some(report) = self.account.report(&self.game, have, total, present, every, cx.now) {
            cx.event(report);
        }
        let stalled: Vec<_> = stalls(planner, &self.roster, run_stall).filter(|(_, at)| *at <= cx.now).collect();
        for (source, _) in stalled {
            tracing::debug!(game = %self.game, %source, "source stalled; its chunks are reassigned");
            self.give_up_runs(cx, source);
            self.roster.stalled(source);
            self.failed(cx, source, &RunFailure::Timeout);
        }
        if !self.is_starved() {
            self.starved_since = None;
        } else if let Some(end) = self.hopeless(cx, true) {
            self.end(cx, end);
        }
    }

    /// Takes over what the libraries say now.
    fn refresh(&mut self, cx: &mut TransferCx<'_>) {
        if !std::mem::take(&mut self.sources_dirty) {
            return;
        }
        let pin = match &self.phase {
            Phase::Asking { pin, .. }
            | Phase::Clearing { pin, .. }
            | Phase::Preparing { pin, .. }
            | Phase::Fetching { pin, .. } => pin,
            _ => return,
        };
        let all = cx.world.sources(&self.game);
        let given_up = self.roster.refresh(&all, pin, cx.now);
        for source in given_up {
            self.give_up_runs(cx, source);
            if let Phase::Fetching { swarm, .. } = &mut self.phase {
                swarm.forget(source);
            }
        }
        if let Phase::Fetching { planner, swarm, .. } = &mut self.phase {
            // Those that have everything already have nothing to tell.
            let is_complete = |peer: &PeerId| self.roster.is_complete(SourceId::Peer(*peer));
            let peers: Vec<_> = cx.world.swarm().into_iter().filter(|(peer, _)| !is_complete(peer)).collect();
            swarm.introduce(cx, planner, &peers);
        }
        self.ask_for_hashes(cx, &all);
    }

    /// See [`Planner::check_invariants`].
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        if let Some(planner) = self.planner() {
            planner.check_invariants();
        }
        if let Phase::Fetching { swarm, .. } = &self.phase {
            swarm.check_invariants();
        }
    }
}
