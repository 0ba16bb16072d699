//! Keeps the library of each session in step with its owner.
//!
//! What the owner said last is the *target*; what was accepted last is *known*. As long as they differ, one request at
//! a time is out: a delta when the epoch is the known one, else a snapshot. An answer is at least as new as everything
//! the owner had said when it was asked, so a target that stands since then is met, whatever its number.
//!
//! ```text
//!             target ≠ known                     good answer, target met
//!   InStep ──────────────────▶ Asking ────────────────────────────────────▶ InStep
//!                               │  ▲
//!        refused, bad digest    ▼  │ back-off is over, or the owner says something new
//!        twice                 Waiting
//! ```

use std::time::Duration;

use super::{Ask, Due, Peers};
use crate::api::PeerEvent;
use crate::engine::core::Cx;
use crate::engine::effect::Effect;
use crate::engine::io::{Output, RequestId, RunFailure};
use crate::engine::remote::{Flaw, RemoteLibrary};
use crate::proto::{Answer, CloseCode, Delta, LibraryState, Notification, Request, Snapshot, WireErrorCode};
use crate::types::{LibraryDigest, LibraryStamp, PeerId};

/// Where one session's library stands.
#[derive(Debug)]
pub(super) struct Sync {
    phase: Phase,
    /// What the owner said last, unless it is met.
    target: Option<Target>,
    /// It was in step at least once in this session.
    confirmed: bool,
    /// The next request must be for a snapshot: a delta did not lead to the digest that it stated.
    snapshot_next: bool,
    /// Snapshots in a row whose digest was not the announced one.
    strikes: u32,
    /// The last back-off.
    pause: Duration,
    /// The last advertised state that was asked about in vain.
    probed: Option<LibraryStamp>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Phase {
    InStep,
    /// `seen`: the target when the request was sent.
    Asking {
        request: RequestId,
        seen: Option<Target>,
    },
    Waiting,
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Target {
    stamp: LibraryStamp,
    digest: LibraryDigest,
}

impl Sync {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Waiting,
            target: None,
            confirmed: false,
            snapshot_next: false,
            strikes: 0,
            pause: Duration::ZERO,
            probed: None,
        }
    }

    /// It was in step at least once in this session.
    pub(super) fn confirmed(&self) -> bool {
        self.confirmed
    }

    /// Nothing is known to be missing.
    pub(super) fn in_step(&self) -> bool {
        self.phase == Phase::InStep
    }
}

impl Peers {
    /// The owner says what its library is now.
    pub(super) fn told(&mut self, cx: &mut Cx, peer: PeerId, state: LibraryState) {
        self.aim(cx, peer, Target { stamp: state.stamp(), digest: state.digest });
    }

    fn aim(&mut self, cx: &mut Cx, peer: PeerId, target: Target) {
        let resting = self.timers.due(&Due::Resync(peer)).is_some();
        let put_aside = self.put_aside_until(&peer, cx.now);
        let Some(sync) = self.sync_mut(&peer) else { return };
        let is_new = sync.target != Some(target);
        sync.target = Some(target);
        match (sync.phase, put_aside) {
            (Phase::Asking { .. }, _) => {}
            (Phase::Waiting, Some(until)) => {
                self.timers.set(Due::Resync(peer), until);
                cx.tell(Effect::Settled(peer));
            }
            (Phase::Waiting, None) if !is_new && resting => {}
            (Phase::InStep | Phase::Waiting, _) => self.steer(cx, peer),
        }
    }

    /// Asks for what is missing, or notes that nothing is.
    fn steer(&mut self, cx: &mut Cx, peer: PeerId) {
        self.timers.cancel(&Due::Resync(peer));
        let known = self.known(&peer);
        let Some(sync) = self.sync_mut(&peer) else { return };
        let Some(known) = known.filter(|_| !sync.snapshot_next) else {
            return self.ask_snapshot(cx, peer);
        };
        match sync.target {
            None => self.now_in_step(cx, peer),
            Some(target) if target == known => self.now_in_step(cx, peer),
            // Another history, or the same number for other games: only the whole will do.
            Some(target) if target.stamp.epoch != known.stamp.epoch || target.stamp == known.stamp => {
                self.ask_snapshot(cx, peer);
            }
            // Also when the owner is behind: asking from a revision that it has not reached tells it so.
            Some(_) => self.ask_delta(cx, peer, known.stamp),
        }
    }

    fn now_in_step(&mut self, cx: &mut Cx, peer: PeerId) {
        let Some(sync) = self.sync_mut(&peer) else { return };
        sync.target = None;
        sync.phase = Phase::InStep;
        sync.pause = Duration::ZERO;
        sync.strikes = 0;
        if !std::mem::replace(&mut sync.confirmed, true) {
            cx.tell(Effect::SourcesChanged);
        }
        cx.tell(Effect::Settled(peer));
    }

    fn ask_snapshot(&mut self, cx: &mut Cx, peer: PeerId) {
        let body = Request::GetLibrary { peer_id: self.me };
        self.ask_library(cx, peer, body);
    }

    fn ask_delta(&mut self, cx: &mut Cx, peer: PeerId, from: LibraryStamp) {
        self.ask_library(cx, peer, Request::GetLibraryDelta { epoch: from.epoch, from_rev: from.rev });
    }

    fn ask_library(&mut self, cx: &mut Cx, peer: PeerId, body: Request) {
        let request = cx.ids.request();
        let Some(session) = self.session_mut(&peer) else { return };
        tracing::debug!(%peer, ?body, target = ?session.sync.target, "library requested");
        session.sync.phase = Phase::Asking { request, seen: session.sync.target };
        cx.emit(Output::Ask { request, conn: session.conn, body: Box::new(body) });
        self.asks.insert(request, Ask::Library(peer));
    }

    /// Takes in the answer to a request for a library.
    pub(super) fn library_answered(
        &mut self,
        cx: &mut Cx,
        peer: PeerId,
        request: RequestId,
        result: Result<Answer, RunFailure>,
    ) {
        let Some(session) = self.session_mut(&peer) else { return };
        let conn = session.conn;
        let Phase::Asking { request: asked, seen } = session.sync.phase else { return };
        if asked != request {
            return;
        }
        session.sync.phase = Phase::Waiting;
        match result {
            Ok(Answer::LibrarySnapshot { peer_id, snapshot }) if peer_id == peer => {
                self.take_snapshot(cx, peer, snapshot, seen);
            }
            Ok(Answer::LibraryDelta { peer_id, delta }) if peer_id == peer => {
                self.take_delta(cx, peer, &delta, Some(seen));
            }
            Ok(Answer::LibrarySnapshot { .. } | Answer::LibraryDelta { .. }) => self.impostor(cx, conn),
            // A new epoch is on its way; its summary ends the wait.
            Ok(Answer::Error(error)) if error.code == WireErrorCode::EpochReset => {
                let Some(session) = self.session_mut(&peer) else { return };
                session.sync.target = None;
                session.sync.snapshot_next = true;
                self.wait(cx, peer);
            }
            // The owner denies that this state ever was: its whole word replaces it.
            Ok(Answer::Error(error)) if error.code == WireErrorCode::BadRequest => {
                if let Some(sync) = self.sync_mut(&peer) {
                    sync.snapshot_next = true;
                }
                self.wait(cx, peer);
            }
            Ok(Answer::Error(_)) => self.wait(cx, peer),
            Ok(_) => self.expel(cx, conn, CloseCode::Malformed, "an answer of another kind than asked"),
            Err(RunFailure::Malformed(_)) => self.expel(cx, conn, CloseCode::Malformed, "a malformed library"),
            Err(_) => self.wait(cx, peer),
        }
    }

    /// The owner pushes a change.
    pub(super) fn pushed(&mut self, cx: &mut Cx, peer: PeerId, delta: Delta) {
        let target = Target { stamp: LibraryStamp { epoch: delta.epoch, rev: delta.to_rev }, digest: delta.to_digest };
        let known = self.known(&peer);
        match known {
            _ if self.put_aside_until(&peer, cx.now).is_some() => self.aim(cx, peer, target),
            Some(known) if known.stamp.epoch == delta.epoch && delta.to_rev <= known.stamp.rev => {}
            Some(known) if known.stamp.epoch == delta.epoch && delta.from_rev == known.stamp.rev => {
                self.take_delta(cx, peer, &delta, None);
            }
            _ => self.aim(cx, peer, target),
        }
    }

    /// Applies a delta: an answer (with the target that stood when it was asked for) or a push.
    fn take_delta(&mut self, cx: &mut Cx, peer: PeerId, delta: &Delta, answers: Option<Option<Target>>) {
        let limit = cx.config.limits.games_per_library;
        let Some(row) = self.rows.get(&peer) else { return };
        let Some(library) = &row.library else {
            return self.demand_snapshot(cx, peer);
        };
        match library.after(delta, limit, &mut self.interner) {
            Ok(next) => {
                let revised = next.stamp() != library.stamp();
                if revised && !self.make_room(cx, peer, &next) {
                    return;
                }
                if revised {
                    self.adopt(cx, peer, next);
                }
                self.met(cx, peer, answers);
            }
            Err(Flaw::Old) => self.met(cx, peer, answers),
            Err(Flaw::Malformed(reason)) => self.expel_peer(cx, peer, reason),
            Err(Flaw::OtherBase) => {
                let stamp = LibraryStamp { epoch: delta.epoch, rev: delta.to_rev };
                if answers.is_some() {
                    // A push overtook the answer: ask again from where the library is now.
                    self.aim(cx, peer, Target { stamp, digest: delta.to_digest });
                }
            }
            Err(Flaw::Digest) => {
                tracing::debug!(%peer, from = delta.from_rev.0, to = delta.to_rev.0, "delta does not lead to its digest; asking for a snapshot");
                let stamp = LibraryStamp { epoch: delta.epoch, rev: delta.to_rev };
                if let Some(sync) = self.sync_mut(&peer) {
                    sync.target = Some(Target { stamp, digest: delta.to_digest });
                }
                self.demand_snapshot(cx, peer);
            }
        }
    }

    fn demand_snapshot(&mut self, cx: &mut Cx, peer: PeerId) {
        let Some(sync) = self.sync_mut(&peer) else { return };
        sync.snapshot_next = true;
        if !matches!(sync.phase, Phase::Asking { .. }) {
            self.steer(cx, peer);
        }
    }

    fn take_snapshot(&mut self, cx: &mut Cx, peer: PeerId, snapshot: Snapshot, seen: Option<Target>) {
        let limit = cx.config.limits.games_per_library;
        let next = match RemoteLibrary::from_snapshot(snapshot, limit, &mut self.interner) {
            Ok(next) => next,
            Err(Flaw::Malformed(reason)) => return self.expel_peer(cx, peer, reason),
            Err(Flaw::OtherBase | Flaw::Old | Flaw::Digest) => return self.wait(cx, peer),
        };
        let known = self.known(&peer);
        let Some(sync) = self.sync_mut(&peer) else { return };
        let stated = sync.target.filter(|target| target.stamp == next.stamp());
        let goes_back =
            known.is_some_and(|known| known.stamp.epoch == next.stamp().epoch && next.stamp().rev < known.stamp.rev);
        if goes_back || stated.is_some_and(|stated| stated.digest != next.digest()) {
            sync.strikes += 1;
            tracing::debug!(%peer, goes_back, strikes = sync.strikes, "snapshot refused");
            // A snapshot from behind is refused; asking for a delta makes the owner begin a new epoch.
            sync.snapshot_next = !goes_back;
            if goes_back {
                sync.target = Some(Target { stamp: next.stamp(), digest: next.digest() });
            }
            return if sync.strikes >= 2 { self.wait(cx, peer) } else { self.steer(cx, peer) };
        }
        let revised = known != Some(Target { stamp: next.stamp(), digest: next.digest() });
        if revised && !self.make_room(cx, peer, &next) {
            return;
        }
        if let Some(sync) = self.sync_mut(&peer) {
            sync.snapshot_next = false;
            sync.strikes = 0;
        }
        if revised {
            self.adopt(cx, peer, next);
        }
        self.met(cx, peer, Some(seen));
    }

    /// A state was accepted.
    fn adopt(&mut self, cx: &mut Cx, peer: PeerId, next: RemoteLibrary) {
        let Some(row) = self.rows.get_mut(&peer) else { return };
        let (rev, game_count) = (next.stamp().rev, next.games().len());
        tracing::debug!(%peer, stamp = ?next.stamp(), game_count, "library accepted");
        row.library = Some(next);
        row.too_large = None;
        cx.event(PeerEvent::PeerLibraryChanged { peer_id: peer, rev, game_count });
        cx.tell(Effect::SourcesChanged);
    }

    /// After a good answer or push: whatever the owner had said before it is met by it.
    fn met(&mut self, cx: &mut Cx, peer: PeerId, answers: Option<Option<Target>>) {
        let known = self.known(&peer);
        let Some(sync) = self.sync_mut(&peer) else { return };
        let overtaken = |target: Target| {
            known.is_some_and(|known| known.stamp.epoch == target.stamp.epoch && target.stamp.rev < known.stamp.rev)
        };
        if answers.is_some_and(|seen| seen == sync.target) || sync.target.is_some_and(overtaken) {
            sync.target = None;
        }
        if !matches!(sync.phase, Phase::Asking { .. }) {
            self.steer(cx, peer);
        }
    }

    /// Not now: asks again after a back-off, or as soon as the owner says something new.
    fn wait(&mut self, cx: &mut Cx, peer: PeerId) {
        let (min, max) = (cx.config.timers.redial_min, cx.config.timers.redial_max);
        let Some(sync) = self.sync_mut(&peer) else { return };
        sync.phase = Phase::Waiting;
        sync.pause = (sync.pause * 2).clamp(min, max.max(min));
        tracing::debug!(%peer, pause = ?sync.pause, "library sync backs off");
        let at = cx.now + sync.pause;
        self.timers.set(Due::Resync(peer), at);
        cx.tell(Effect::Settled(peer));
    }

    /// The back-off is over.
    pub(super) fn resync(&mut self, cx: &mut Cx, peer: PeerId) {
        let known = self.known(&peer);
        let Some(sync) = self.sync_mut(&peer) else { return };
        if sync.phase != Phase::Waiting {
            return;
        }
        match (sync.target, known) {
            // Nothing better is known than to ask whether there is something new.
            (None, Some(known)) if !sync.snapshot_next => self.ask_delta(cx, peer, known.stamp),
            _ => self.steer(cx, peer),
        }
    }

    /// Asks every peer in step whether its library is still the known one. [`Effect::Settled`] follows for each that is
    /// returned.
    pub(in crate::engine) fn refresh(&mut self, cx: &mut Cx) -> Vec<PeerId> {
        let sessions: Vec<PeerId> = self.sessions().map(|(peer, ..)| peer).collect();
        sessions.into_iter().filter(|peer| self.refresh_one(cx, *peer)).collect()
    }

    fn refresh_one(&mut self, cx: &mut Cx, peer: PeerId) -> bool {
        let known = self.known(&peer);
        let Some(sync) = self.sync_mut(&peer) else { return false };
        match (sync.phase, known) {
            (Phase::Asking { .. }, _) => true,
            (Phase::InStep, Some(known)) => {
                self.ask_delta(cx, peer, known.stamp);
                true
            }
            (Phase::InStep, None) | (Phase::Waiting, _) => false,
        }
    }

    /// The advertisement of a connected peer came in: news that is not pushed soon is asked for.
    pub(super) fn sighted_connected(&mut self, cx: &Cx, peer: PeerId) {
        if self.unpushed(&peer).is_some() {
            self.timers.set_if_idle(Due::Probe(peer), cx.now + cx.config.timers.sighting_grace);
        }
    }

    /// The advertised state, when it is newer than the known one and was not asked about yet.
    fn unpushed(&self, peer: &PeerId) -> Option<LibraryStamp> {
        let known = self.known(peer)?.stamp;
        let sighted = self.rows.get(peer)?.sighted?;
        let is_news = sighted.epoch != known.epoch || sighted.rev > known.rev;
        let asked = self.session(peer)?.sync.probed == Some(sighted);
        (is_news && !asked).then_some(sighted)
    }

    pub(super) fn probe(&mut self, cx: &mut Cx, peer: PeerId) {
        let Some(sighted) = self.unpushed(&peer) else { return };
        let Some(known) = self.known(&peer) else { return };
        let Some(sync) = self.sync_mut(&peer) else { return };
        sync.probed = Some(sighted);
        if sync.phase == Phase::InStep {
            self.ask_delta(cx, peer, known.stamp);
        }
    }

    /// States once more what was pushed: a notification is dropped when the connection cannot take it.
    pub(in crate::engine) fn confirm(&self, cx: &mut Cx, peer: PeerId) {
        let me = self.me;
        if let Some(session) = self.session(&peer).filter(|_| cx.announced.is_open) {
            let body = Notification::LibrarySummary { peer_id: me, summary: cx.announced.state };
            cx.emit(Output::Notify { conn: session.conn, body: Box::new(body) });
        }
    }

    /// Nothing is asked for until a timer fires.
    pub(super) fn rest(&mut self, peer: PeerId) {
        if let Some(sync) = self.sync_mut(&peer) {
            sync.phase = Phase::Waiting;
        }
    }

    fn known(&self, peer: &PeerId) -> Option<Target> {
        let library = self.rows.get(peer)?.library.as_ref()?;
        Some(Target { stamp: library.stamp(), digest: library.digest() })
    }

    fn sync_mut(&mut self, peer: &PeerId) -> Option<&mut Sync> {
        self.session_mut(peer).map(|session| &mut session.sync)
    }

    fn expel_peer(&mut self, cx: &mut Cx, peer: PeerId, reason: &'static str) {
        if let Some(conn) = self.session(&peer).map(|session| session.conn) {
            self.expel(cx, conn, CloseCode::Malformed, reason);
        }
    }
}
