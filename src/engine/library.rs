//! The library of this peer: what is announced, and how a change becomes a revision.
//!
//! ```text
//!            change                timer                    saved
//!  settled ──────────▶ collecting ───────▶ saving (rev + 1) ──────▶ settled, announced
//!                          ▲                    │ failed
//!                          └──── back-off ──────┘ never announced
//! ```
//!
//! Only what is durable is announced, so that a revision means the same games to everybody for ever.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::{Announced, Cx};
use super::effect::{Announcement, Effect};
use crate::api::{ErrorCode, PeerEvent};
use crate::proto::{Delta, LibraryState, Snapshot};
use crate::types::{
    Availability, Epoch, GameId, GameSummary, Job, JobError, LibraryDigest, LibraryIndex, LibraryStamp, MAX_NAME_BYTES,
    MAX_REASON_BYTES, MAX_VERSION_BYTES, OpenedLibrary, Revision, ScannedGame, library_digest, shortened,
};

/// A delta with more changes than this is not pushed to everybody; a summary is, and who wants it asks.
const MAX_PUSHED_CHANGES: usize = 500;
/// Up to so many changes a delta is always answered; above it, only while it is shorter than the whole.
const MIN_DELTA: usize = 64;
/// While games are hashed one after another, their contents are told together, at most so often.
const CONTENTS_EVERY: Duration = Duration::from_secs(5);
/// Changed ids that the history keeps over all its revisions.
const MAX_HISTORY_IDS: usize = 20_000;

/// The library of this peer.
#[derive(Debug)]
pub(super) struct Library {
    dir: PathBuf,
    /// Games that a running download is writing.
    downloading: BTreeSet<GameId>,
    /// What the next revision will say.
    composed: BTreeMap<GameId, Arc<GameSummary>>,
    /// What the durable revision says.
    announced: BTreeMap<GameId, Arc<GameSummary>>,
    stamp: LibraryStamp,
    digest: LibraryDigest,
    history: VecDeque<Change>,
    origin: EpochOrigin,
    /// Highest revision that was ever handed to the disk in this epoch, durable or not.
    last_used: Revision,
    /// Games whose summary may have changed.
    touched: BTreeSet<GameId>,
    /// Games in which `composed` differs, or differed, from `announced`.
    pending: BTreeSet<GameId>,
    /// The index on disk lacks something, even if no revision comes of it.
    index_is_stale: bool,
    save: Save,
    flush_at: Option<Instant>,
    /// When contents alone were the reason of a revision last, or will be.
    contents_at: Option<Instant>,
    retry_after: Duration,
}

/// Where the epoch comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum EpochOrigin {
    /// An index that was found on disk, perhaps an old one: peers may know later revisions of it.
    Index,
    /// As `Index`, and a peer does know a later one: the next save begins a new epoch.
    Overtaken,
    /// This process began it: nobody can know a later revision. Bounds what a lying peer can cause to one new epoch.
    Process,
}

/// Where the durable index stands.
#[derive(Clone, PartialEq, Debug)]
enum Save {
    /// No directory is open yet.
    Closed,
    /// The directory is not there any more: an empty library is announced, in a history of its own that no disk needs to know.
    /// `saving`: a save that began before is still under way.
    Withdrawn { saving: bool },
    /// The directory is open, its first state is not yet durable: nothing may be announced.
    Unannounced(Option<Saving>),
    /// As announced.
    Settled,
    /// A job runs.
    Running(Saving),
}

/// What a running job will make durable.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Saving {
    stamp: LibraryStamp,
    digest: LibraryDigest,
}

/// The ids that one revision changed, and whether each was listed before it.
#[derive(Debug)]
struct Change {
    from: Revision,
    ids: Vec<(GameId, bool)>,
}

/// The answer to a peer that knows an older state.
#[derive(Debug)]
pub(super) enum SinceAnswer {
    /// The changes since then.
    Delta(Delta),
    /// They are not known any more, or the history is another one.
    Snapshot(Snapshot),
    /// The peer knows a revision that this library, restored from a backup, has not reached: a new epoch begins.
    EpochReset,
    /// The peer states a revision that never was.
    NeverWas,
}

impl Library {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            downloading: BTreeSet::new(),
            composed: BTreeMap::new(),
            announced: BTreeMap::new(),
            stamp: LibraryStamp { epoch: Epoch(0), rev: Revision(0) },
            digest: library_digest([].into_iter()),
            history: VecDeque::new(),
            origin: EpochOrigin::Index,
            last_used: Revision(0),
            touched: BTreeSet::new(),
            pending: BTreeSet::new(),
            index_is_stale: false,
            save: Save::Closed,
            flush_at: None,
            contents_at: None,
            retry_after: Duration::ZERO,
        }
    }

    /// Takes over a directory that was opened and scanned, in place of the one before. [`Effect::LibraryOpened`] follows when its
    /// state is durable: at once when the index says the same already.
    pub(super) fn open(&mut self, cx: &mut Cx, opened: OpenedLibrary) {
        *self = Self::new(opened.dir);
        let limit = cx.config.limits.games_per_library;
        let too_many = opened.games.len().saturating_sub(limit);
        if too_many > 0 {
            cx.event(PeerEvent::RuntimeError {
                code: ErrorCode::Io,
                message: format!(
                    "{} has {too_many} games more than the limit of {limit} (limits.games_per_library); \
                     the last of them by name are left out",
                    self.dir.display()
                ),
            });
        }
        cx.disk.open(&opened.games, limit);
        self.composed = cx.disk.games().values().map(|game| (game.id.clone(), self.compose(cx, game))).collect();
        let digest = library_digest(self.composed.values().map(|game| &**game));
        let (stamp, known_digest) = match &opened.index {
            None => {
                self.origin = EpochOrigin::Process;
                (LibraryStamp { epoch: Epoch(cx.ids.random()), rev: Revision(0) }, None)
            }
            Some(index) => (index.stamp(), Some(index.digest)),
        };
        (self.stamp, self.digest, self.last_used) = (stamp, digest, stamp.rev);
        if known_digest == Some(digest) {
            self.announced = self.composed.clone();
            self.index_is_stale = !opened.index.is_some_and(|index| index.games.iter().eq(cx.disk.games().values()));
            self.save = Save::Settled;
            if self.index_is_stale {
                self.schedule(cx);
            }
            cx.tell(Effect::LibraryOpened(self.announcement(stamp, None)));
        } else {
            self.save = Save::Unannounced(None);
            self.flush_at = Some(cx.now);
        }
        self.publish(cx);
    }

    /// The directory is not there any more: nothing is offered until it, or another one, is opened.
    pub(super) fn withdraw(&mut self, cx: &mut Cx) {
        let (from, saving) = (self.stamp, self.is_saving());
        *self = Self::new(std::mem::take(&mut self.dir));
        self.stamp = LibraryStamp { epoch: Epoch(cx.ids.random()), rev: Revision(1) };
        self.origin = EpochOrigin::Process;
        self.save = Save::Withdrawn { saving };
        self.publish(cx);
        cx.tell(Effect::LibraryOpened(self.announcement(from, None)));
    }

    /// Lets the other parts know what is announced.
    fn publish(&self, cx: &mut Cx) {
        cx.announced = Announced { is_open: self.is_announced(), state: self.state() };
    }

    /// Where the games are.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the state may be told to others.
    pub(super) fn is_announced(&self) -> bool {
        matches!(self.save, Save::Withdrawn { .. } | Save::Settled | Save::Running(_))
    }

    /// A save is under way.
    pub(super) fn is_saving(&self) -> bool {
        matches!(self.save, Save::Running(_) | Save::Unannounced(Some(_)) | Save::Withdrawn { saving: true })
    }

    /// What is announced is what lies on disk, as far as it was looked at.
    pub(super) fn is_settled(&self) -> bool {
        // Nothing of a directory that is gone is waited for.
        matches!(self.save, Save::Withdrawn { .. }) || (!self.is_saving() && self.flush_at.is_none())
    }

    /// The durable state.
    pub(super) fn state(&self) -> LibraryState {
        let LibraryStamp { epoch, rev } = self.stamp;
        LibraryState { epoch, rev, digest: self.digest, game_count: self.announced.len() as u32 }
    }

    /// As it is or will be announced.
    pub(super) fn summary(&self, game: &GameId) -> Option<&Arc<GameSummary>> {
        self.composed.get(game)
    }

    /// The whole durable state.
    pub(super) fn snapshot(&self) -> Snapshot {
        let LibraryStamp { epoch, rev } = self.stamp;
        Snapshot { epoch, rev, games: self.announced.values().cloned().collect() }
    }

    /// Answers a peer that knows `from` of `epoch`.
    pub(super) fn since(&mut self, cx: &Cx, epoch: Epoch, from: Revision) -> SinceAnswer {
        if epoch != self.stamp.epoch {
            return SinceAnswer::Snapshot(self.snapshot());
        }
        if from > self.stamp.rev {
            if self.origin == EpochOrigin::Process {
                return SinceAnswer::NeverWas;
            }
            self.origin = EpochOrigin::Overtaken;
            self.flush_at = Some(cx.now);
            return SinceAnswer::EpochReset;
        }
        if from == self.stamp.rev {
            return SinceAnswer::Delta(self.delta(from, Vec::new()));
        }
        let Some(start) = self.history.iter().position(|change| change.from == from) else {
            return SinceAnswer::Snapshot(self.snapshot());
        };
        let mut before: BTreeMap<&GameId, bool> = BTreeMap::new();
        for (id, was_listed) in self.history.iter().skip(start).flat_map(|change| &change.ids) {
            before.entry(id).or_insert(*was_listed);
        }
        if before.len() > self.announced.len().max(MIN_DELTA) {
            return SinceAnswer::Snapshot(self.snapshot());
        }
        SinceAnswer::Delta(self.delta(from, before.into_iter().map(|(id, was)| (id.clone(), was)).collect()))
    }

    /// Notes which games on the disk are other than before.
    fn look_at_disk(&mut self, cx: &mut Cx) {
        let (changed, urgent) = cx.disk.take_changed();
        if !changed.is_empty() {
            self.index_is_stale = true;
            self.touched.extend(changed);
            if urgent {
                self.schedule(cx);
            } else {
                self.schedule_contents(cx);
            }
        }
    }

    /// Content by content, as the hasher gets on.
    fn schedule_contents(&mut self, cx: &Cx) {
        if self.flush_at.is_some() {
            return;
        }
        let earliest = self.contents_at.map_or(cx.now, |at| at + CONTENTS_EVERY);
        let at = earliest.max(cx.now + cx.config.timers.delta_coalesce);
        (self.contents_at, self.flush_at) = (Some(at), Some(at));
    }

    /// A download writes this game from now on, or no longer.
    pub(super) fn set_downloading(&mut self, cx: &mut Cx, game: &GameId, downloading: bool) {
        let changed = if downloading { self.downloading.insert(game.clone()) } else { self.downloading.remove(game) };
        if changed {
            self.touch(cx, game);
        }
    }

    /// The catalog is another one: any game may be offered now, or no longer, or have another name.
    pub(super) fn touch_all(&mut self, cx: &mut Cx) {
        if !matches!(self.save, Save::Closed) {
            self.touched.extend(cx.disk.games().keys().cloned());
            self.schedule(cx);
        }
    }

    /// When [`Library::flush`] wants to be called.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if self.is_saving() { None } else { self.flush_at }
    }

    /// Does not wait for further changes: somebody waits for what is known now to be durable.
    pub(super) fn hurry(&mut self, cx: &mut Cx) {
        self.look_at_disk(cx);
        if self.flush_at.is_some() {
            self.flush_at = Some(cx.now);
        }
    }

    /// Makes what was collected durable, when it is time.
    pub(super) fn flush(&mut self, cx: &mut Cx) {
        self.look_at_disk(cx);
        if self.is_saving() || self.flush_at.is_none_or(|at| at > cx.now) {
            return;
        }
        self.flush_at = None;
        for id in std::mem::take(&mut self.touched) {
            let summary = cx.disk.get(&id).map(|game| self.compose(cx, game));
            if self.composed.get(&id) != summary.as_ref() {
                match summary {
                    None => drop(self.composed.remove(&id)),
                    Some(summary) => drop(self.composed.insert(id.clone(), summary)),
                }
                self.pending.insert(id);
            }
        }
        let (composed, announced) = (&self.composed, &self.announced);
        self.pending.retain(|id| composed.get(id) != announced.get(id));
        let first = matches!(self.save, Save::Unannounced(_));
        let overtaken = self.origin == EpochOrigin::Overtaken;
        let revised = first || overtaken || !self.pending.is_empty();
        if !revised && !self.index_is_stale {
            return;
        }
        let saving = if revised {
            let stamp = if overtaken {
                LibraryStamp { epoch: Epoch(cx.ids.random()), rev: Revision(1) }
            } else {
                self.last_used = self.last_used.next();
                LibraryStamp { epoch: self.stamp.epoch, rev: self.last_used }
            };
            Saving { stamp, digest: library_digest(self.composed.values().map(|game| &**game)) }
        } else {
            Saving { stamp: self.stamp, digest: self.digest }
        };
        self.index_is_stale = false;
        tracing::debug!(stamp = ?saving.stamp, revised, games = self.composed.len(), "saving the index");
        cx.job(Job::SaveIndex {
            index: LibraryIndex {
                epoch: saving.stamp.epoch,
                rev: saving.stamp.rev,
                digest: saving.digest,
                games: cx.disk.games().values().cloned().collect(),
            },
        });
        self.save = if first { Save::Unannounced(Some(saving)) } else { Save::Running(saving) };
    }

    /// Takes in how a save ended.
    pub(super) fn saved(&mut self, cx: &mut Cx, stamp: LibraryStamp, result: Result<(), JobError>) {
        if let Some(effect) = self.take_saved(cx, stamp, result) {
            cx.tell(effect);
        }
        self.publish(cx);
    }

    fn take_saved(&mut self, cx: &mut Cx, stamp: LibraryStamp, result: Result<(), JobError>) -> Option<Effect> {
        let (saving, first) = match &self.save {
            Save::Unannounced(Some(saving)) if saving.stamp == stamp => (*saving, true),
            Save::Running(saving) if saving.stamp == stamp => (*saving, false),
            // Of a directory that is no longer in use.
            _ => {
                if let Save::Withdrawn { saving } = &mut self.save {
                    *saving = false;
                }
                return None;
            }
        };
        if let Err(error) = result {
            self.save = if first { Save::Unannounced(None) } else { Save::Settled };
            self.index_is_stale = true;
            let (timers, again) = (&cx.config.timers, !self.retry_after.is_zero());
            self.retry_after = (self.retry_after * 2).clamp(timers.redial_min, timers.redial_max);
            tracing::debug!(%error, retry_after = ?self.retry_after, "the index was not saved");
            self.flush_at = Some(cx.now + self.retry_after);
            return Some(Effect::LibraryNotSaved { error, again });
        }
        self.save = Save::Settled;
        self.retry_after = Duration::ZERO;
        let from = self.stamp;
        if saving.stamp == from && !first {
            return None;
        }
        let mut changes = Vec::new();
        for id in std::mem::take(&mut self.pending) {
            let was_listed = match self.composed.get(&id) {
                None => self.announced.remove(&id).is_some(),
                Some(summary) => self.announced.insert(id.clone(), summary.clone()).is_some(),
            };
            changes.push((id, was_listed));
        }
        (self.stamp, self.digest) = (saving.stamp, saving.digest);
        if first {
            self.announced = self.composed.clone();
            return Some(Effect::LibraryOpened(self.announcement(from, None)));
        }
        if from.epoch != saving.stamp.epoch {
            self.origin = EpochOrigin::Process;
            self.last_used = saving.stamp.rev;
            self.history.clear();
            return Some(Effect::LibraryRevised(self.announcement(from, None)));
        }
        let delta = (changes.len() <= MAX_PUSHED_CHANGES).then(|| self.delta(from.rev, changes.clone()));
        self.history.push_back(Change { from: from.rev, ids: changes });
        self.trim_history(cx.config.limits.delta_history);
        Some(Effect::LibraryRevised(self.announcement(from, delta)))
    }

    fn trim_history(&mut self, revisions: usize) {
        let mut ids: usize = self.history.iter().map(|change| change.ids.len()).sum();
        while self.history.len() > revisions || ids > MAX_HISTORY_IDS {
            let Some(oldest) = self.history.pop_front() else { return };
            ids -= oldest.ids.len();
        }
    }

    fn announcement(&self, from: LibraryStamp, delta: Option<Delta>) -> Announcement {
        Announcement { from, state: self.state(), delta }
    }

    /// From `from` to the durable state; `changes` say whether each id was listed at `from`.
    fn delta(&self, from: Revision, changes: Vec<(GameId, bool)>) -> Delta {
        let mut delta = Delta {
            epoch: self.stamp.epoch,
            from_rev: from,
            to_rev: self.stamp.rev,
            to_digest: self.digest,
            added: Vec::new(),
            updated: Vec::new(),
            removed: Vec::new(),
        };
        for (id, was_listed) in changes {
            match (self.announced.get(&id), was_listed) {
                (Some(game), false) => delta.added.push(game.clone()),
                (Some(game), true) => delta.updated.push(game.clone()),
                (None, true) => delta.removed.push(id),
                // Came and went in between.
                (None, false) => {}
            }
        }
        delta
    }

    fn touch(&mut self, cx: &Cx, game: &GameId) {
        self.touched.insert(game.clone());
        self.schedule(cx);
    }

    fn schedule(&mut self, cx: &Cx) {
        if !matches!(self.save, Save::Withdrawn { .. }) {
            let at = cx.now + cx.config.timers.delta_coalesce;
            // Not before the pause after a save that failed.
            let sooner = |before: Instant| if self.retry_after.is_zero() { before.min(at) } else { before };
            self.flush_at = Some(self.flush_at.map_or(at, sooner));
        }
    }

    fn compose(&self, cx: &Cx, game: &ScannedGame) -> Arc<GameSummary> {
        let downloading = self.downloading.contains(&game.id);
        let why_not = cx.why_not_offered(game);
        let availability = match (downloading, game.downloaded && why_not.is_none()) {
            (true, _) => Availability::Downloading,
            (false, true) => Availability::Ready,
            (false, false) => Availability::LocalOnly,
        };
        let not_shared = why_not.filter(|_| game.downloaded && !downloading);
        Arc::new(GameSummary {
            id: game.id.clone(),
            name: shortened(cx.catalog.name_of(&game.id), MAX_NAME_BYTES),
            eti_version: game.eti_version.as_deref().map(|version| shortened(version, MAX_VERSION_BYTES)),
            size: game.size,
            // A download sets the sentinel aside before it writes the first byte.
            downloaded: game.downloaded && !downloading,
            installed: game.installed,
            manifest_hash: game.manifest_hash,
            content_hash: game.content_hash,
            availability,
            changed: game.is_changed(),
            supersedes: game.supersedes.clone(),
            not_shared: not_shared.map(|reason| shortened(&reason, MAX_REASON_BYTES)),
        })
    }
}
