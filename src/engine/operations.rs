//! Operations on the local copy of a game: install, update, uninstall, adopt, remove, verify.
//!
//! ```text
//!            nothing of the game is sent         changed, as the job says
//!   Clearing ───────────────────────▶ Running ─────────────────────────────▶ over
//!      │                                 │ failed, or verified                ▲
//!      │                                 └─────────▶ Looking ─────────────────┤
//!      │ cancelled                                            scanned         │
//!      └──────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A game has one operation at a time, downloads included: the lock of a game lies with the part whose operation runs, and
//! either part asks the other before it begins one. A download that is to be installed hands its lock over within one step.
//!
//! A failed job may have left anything behind, and a verification may have withdrawn the game: the game is looked at before
//! the lock goes, so that the terminal event finds every listing true.
//!
//! A verification that is to repair hands its lock to a download of the same content when it found damage.
//!
//! Installing, uninstalling and verifying only read the downloaded files, which are served meanwhile like any others. Files
//! that are removed, or were found damaged, are not: removing begins when nothing of the game is being sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::core::Cx;
use super::effect::{Effect, Only};
use super::io::{CommandId, Output};
use crate::api::{Accepted, CommandData, CommandError, ErrorCode, Operation, OperationRow, PeerEvent};
use crate::faults::{self, Bug};
use crate::types::{
    ContentHash, GameId, InstalledBy, Job, JobError, JobErrorKind, KeptFiles, ManifestHash, Personal, ScannedGame,
    VerifiedFiles,
};

/// A game on which nothing runs, as it lies here (`None`: only peers have it), or why nothing can be done to it.
pub(super) type Here = Result<Option<Arc<ScannedGame>>, CommandError>;

/// Every operation but downloads.
#[derive(Debug, Default)]
pub(super) struct Operations {
    active: BTreeMap<GameId, Active>,
}

/// An operation that holds its game.
#[derive(Debug)]
struct Active {
    kind: Kind,
    phase: Phase,
    reported_at: Option<Instant>,
}

/// What is done to the game.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Make `local/`.
    Install,
    /// Replace `local/`.
    Update,
    /// Remove `local/`.
    Uninstall,
    /// Make `local/` lanspread's.
    Adopt,
    /// Remove the downloaded files.
    Remove,
    /// Hash exactly this list of files, and fetch what is damaged if that is asked for.
    Verify { manifest_hash: ManifestHash, repair: bool },
}

#[derive(Debug)]
enum Phase {
    /// What is being sent of the game must end before its files are touched.
    Clearing,
    /// A worker is at it; so many bytes of so many are done.
    Running { cancelled: bool, done: u64, total: u64 },
    /// The work is over; what it left is being looked at.
    Looking { end: End },
}

/// How an operation ends.
#[derive(Clone, PartialEq, Debug)]
enum End {
    /// As it was asked for.
    Done(KeptFiles),
    /// Every chunk was hashed.
    Verified { bad_chunks: usize, missing_dirs: usize, chunks: u32, content_hash: ContentHash },
    /// Otherwise.
    Failed { code: ErrorCode, message: String },
}

impl End {
    /// What a game was found to hold, if it is not all that it should.
    fn damaged(&self) -> Option<ContentHash> {
        match self {
            Self::Verified { bad_chunks: 0, missing_dirs: 0, .. } | Self::Done(_) | Self::Failed { .. } => None,
            Self::Verified { content_hash, .. } => Some(*content_hash),
        }
    }
}

impl Operations {
    /// None runs.
    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// What runs on a game.
    pub(super) fn operation(&self, game: &GameId) -> Option<Operation> {
        self.active.get(game).map(|active| active.kind.operation())
    }

    /// Whether a game's files must not be handed out: they are being removed, or were found damaged.
    pub(super) fn withdraws(&self, game: &GameId) -> bool {
        self.active.get(game).is_some_and(|active| match (&active.kind, &active.phase) {
            (Kind::Remove, _) => !faults::is(Bug::ServedWhileRemoved),
            (_, Phase::Looking { end }) => end.damaged().is_some(),
            _ => false,
        })
    }

    /// How far an operation is, 0 to 1, where that is known.
    pub(super) fn progress(&self, game: &GameId) -> Option<f64> {
        let active = self.active.get(game)?;
        match (&active.kind, &active.phase) {
            (Kind::Uninstall | Kind::Adopt | Kind::Remove, _) => None,
            (_, Phase::Clearing | Phase::Running { total: 0, .. }) => Some(0.0),
            (_, Phase::Running { done, total, .. }) => Some(*done as f64 / *total as f64),
            (_, Phase::Looking { .. }) => Some(1.0),
        }
    }

    /// Gives up a running job, as far as it can still be given up.
    fn cancel(&mut self, cx: &mut Cx, game: &GameId) {
        if let Some(Active { phase: Phase::Running { cancelled, .. }, .. }) = self.active.get_mut(game)
            && !std::mem::replace(cancelled, true)
        {
            tracing::debug!(%game, "operation is being cancelled");
            cx.emit(Output::CancelJob { game: game.clone() });
        }
    }

    fn is_clearing(&self, game: &GameId) -> bool {
        matches!(self.active.get(game), Some(Active { phase: Phase::Clearing, .. }))
    }

    /// Whether a job is at work on the game, which either verifies it or changes it.
    fn is_running(&self, game: &GameId, verifies: bool) -> bool {
        self.active.get(game).is_some_and(|active| {
            matches!(active.phase, Phase::Running { .. }) && matches!(active.kind, Kind::Verify { .. }) == verifies
        })
    }

    /// `install`. Errors in this order: those of `here`, `not-downloaded`, `already-installed`. An installation of unknown version is
    /// replaced, since the user asks for this one.
    pub(super) fn install(&mut self, cx: &mut Cx, id: CommandId, game: GameId, here: Here) {
        let kind = here.and_then(|here| {
            let here = downloaded(&game, here)?;
            match (here.installed, &here.installed_version) {
                (false, _) => Ok(Kind::Install),
                (true, Some(version)) if here.eti_version.as_ref() == Some(version) => {
                    let message = format!("{game} is installed in version {version}, the one that is downloaded");
                    Err(CommandError::new(ErrorCode::AlreadyInstalled, message))
                }
                (true, _) => Ok(Kind::Update),
            }
        });
        self.answer(cx, id, game, kind);
    }

    /// `uninstall`. Errors in this order: those of `here`, `not-installed`.
    pub(super) fn uninstall(&mut self, cx: &mut Cx, id: CommandId, game: GameId, here: Here) {
        let kind = here.and_then(|here| installed(&game, here).map(|()| Kind::Uninstall));
        self.answer(cx, id, game, kind);
    }

    /// `adopt`. Errors in this order: those of `here`, `not-installed`.
    pub(super) fn adopt(&mut self, cx: &mut Cx, id: CommandId, game: GameId, here: Here) {
        let kind = here.and_then(|here| installed(&game, here).map(|()| Kind::Adopt));
        self.answer(cx, id, game, kind);
    }

    /// `remove`. Errors in this order: those of `here`, `not-downloaded`, `in-use` while it is installed. What a download left that
    /// did not come to its end is removed likewise.
    pub(super) fn remove(&mut self, cx: &mut Cx, id: CommandId, game: GameId, here: Here) {
        let kind = here.and_then(|here| match here {
            Some(here) if !here.downloaded && here.size == 0 => Err(not_downloaded(&game, Some(&here))),
            Some(here) if here.installed => {
                let message = match here.installed_by {
                    Some(InstalledBy::SomebodyElse) => {
                        format!("{game} is installed, not by lanspread; move its local/ away first")
                    }
                    _ => format!("{game} is installed; uninstall it first"),
                };
                Err(CommandError::new(ErrorCode::InUse, message))
            }
            Some(_) => Ok(Kind::Remove),
            None => Err(not_downloaded(&game, None)),
        });
        self.answer(cx, id, game, kind);
    }

    /// `verify`. Errors in this order: those of `here`, `not-downloaded`.
    pub(super) fn verify(&mut self, cx: &mut Cx, id: CommandId, game: GameId, here: Here, repair: bool) {
        let kind = here.and_then(|here| {
            let manifest_hash = downloaded(&game, here)?.manifest_hash;
            Ok(Kind::Verify { manifest_hash, repair })
        });
        self.answer(cx, id, game, kind);
    }

    fn answer(&mut self, cx: &mut Cx, id: CommandId, game: GameId, kind: Result<Kind, CommandError>) {
        match kind {
            Err(error) => cx.reply(id, Err(error)),
            Ok(kind) => {
                let accepted = Accepted { game: game.clone(), queued: false };
                cx.reply(id, Ok(CommandData::Accepted(accepted)));
                self.begin(cx, game, kind);
            }
        }
    }

    /// Installs a game that was here already when it was to be downloaded and installed. What somebody else made of `local/`
    /// is left alone, since nothing that was fetched asks for its replacement.
    pub(super) fn install_what_is_here(&mut self, cx: &mut Cx, game: GameId, here: Here) {
        let kind = match here {
            Ok(Some(here)) if !here.downloaded => return,
            Ok(Some(here)) if !here.installed => Kind::Install,
            Ok(Some(here)) if here.installed_version.is_some() && here.installed_version != here.eti_version => {
                Kind::Update
            }
            _ => return,
        };
        self.begin(cx, game, kind);
    }

    /// A finished download handed this game over.
    pub(super) fn install_downloaded(&mut self, cx: &mut Cx, game: GameId, is_installed: bool) {
        self.begin(cx, game, if is_installed { Kind::Update } else { Kind::Install });
    }

    /// Gives up what runs on a game. Answered at once; the terminal event follows.
    pub(super) fn command_cancel(&mut self, cx: &mut Cx, id: CommandId, game: &GameId) {
        cx.reply_done(id);
        self.end_early(cx, game, ErrorCode::Cancelled, "cancelled by the user");
    }

    /// The game directory is gone: what runs in it comes to its end with that.
    pub(super) fn end_all(&mut self, cx: &mut Cx, code: ErrorCode, why: &str) {
        for game in self.active.keys().cloned().collect::<Vec<_>>() {
            self.end_early(cx, &game, code, why);
        }
    }

    /// The daemon stops: what takes long is given up, what is done in a moment is waited for.
    pub(super) fn stop(&mut self, cx: &mut Cx) {
        let brief = |active: &Active| {
            matches!(
                (&active.kind, &active.phase),
                (Kind::Uninstall | Kind::Adopt | Kind::Remove, Phase::Running { .. })
            )
        };
        let games = self.active.iter().filter(|(_, active)| !brief(active)).map(|(game, _)| game.clone());
        for game in games.collect::<Vec<_>>() {
            self.end_early(cx, &game, ErrorCode::Cancelled, "the daemon stops");
        }
    }

    fn end_early(&mut self, cx: &mut Cx, game: &GameId, code: ErrorCode, why: &str) {
        if self.is_clearing(game) {
            let end = End::Failed { code, message: why.to_owned() };
            self.end(cx, game, None, end);
        } else {
            self.cancel(cx, game);
        }
    }

    /// What runs, ascending by game.
    pub(super) fn rows(&self) -> impl Iterator<Item = OperationRow> {
        self.active.iter().map(|(game, active)| OperationRow { game: game.clone(), operation: active.kind.operation() })
    }

    /// Takes every step that has become possible. `is_sending`: whether anything of a game is being sent.
    pub(super) fn advance(&mut self, cx: &mut Cx, is_sending: impl Fn(&GameId) -> bool) {
        for (game, active) in &mut self.active {
            let waits = active.kind == Kind::Remove && is_sending(game);
            if matches!(active.phase, Phase::Clearing) && !waits {
                active.phase = Phase::Running { cancelled: false, done: 0, total: 0 };
                cx.job(active.kind.job(game.clone(), &cx.config.personal));
            }
        }
    }

    /// A job moved on. `may_tell`: the event of its begin does not wait behind the end of its download. False: it is not of an
    /// operation.
    pub(super) fn moved_on(&mut self, cx: &mut Cx, game: &GameId, done: u64, total: u64, may_tell: bool) -> bool {
        let Some(active) = self.active.get_mut(game) else { return false };
        let Phase::Running { done: so_far, total: of, .. } = &mut active.phase else { return true };
        (*so_far, *of) = (done.min(total), total);
        let every = cx.config.timers.progress_every;
        let is_due = active.reported_at.is_none_or(|at| cx.now.saturating_duration_since(at) >= every);
        if !is_due || !may_tell {
            return true;
        }
        active.reported_at = Some(cx.now);
        if let Some(event) = active.kind.progress_event(game.clone(), done.min(total), total) {
            cx.event(event);
        }
        true
    }

    /// `Install`, `Uninstall`, `Adopt` or `RemoveFiles` is done.
    pub(super) fn files_changed(
        &mut self,
        cx: &mut Cx,
        game: &GameId,
        result: Result<Option<Arc<ScannedGame>>, JobError>,
        kept: KeptFiles,
    ) {
        if !self.is_running(game, false) {
            return;
        }
        match result {
            Ok(scanned) => self.end(cx, game, Some(scanned), End::Done(kept)),
            Err(error) => self.look_after(cx, game, failed(error)),
        }
    }

    /// `VerifyFiles` is done.
    pub(super) fn files_verified(&mut self, cx: &mut Cx, game: &GameId, result: Result<VerifiedFiles, JobError>) {
        if !self.is_running(game, true) {
            return;
        }
        let end = match result {
            Ok(VerifiedFiles { bad, missing_dirs, chunks, content_hash }) => {
                End::Verified { bad_chunks: bad.len(), missing_dirs: missing_dirs.len(), chunks, content_hash }
            }
            Err(error) => failed(error),
        };
        self.look_after(cx, game, end);
    }

    fn look_after(&mut self, cx: &mut Cx, game: &GameId, end: End) {
        let Some(active) = self.active.get_mut(game) else { return };
        if end.damaged().is_some() {
            cx.emit(Output::StopSending { game: game.clone() });
        }
        active.phase = Phase::Looking { end };
        cx.tell(Effect::LookAfter { game: game.clone() });
    }

    /// The look at what an operation left is done. `may_repair`: downloads may begin.
    pub(super) fn looked_after(
        &mut self,
        cx: &mut Cx,
        game: &GameId,
        result: Result<Option<Arc<ScannedGame>>, JobError>,
        may_repair: bool,
    ) {
        let Some(Active { phase: Phase::Looking { end }, kind, .. }) = self.active.get(game) else { return };
        let (end, kind) = (end.clone(), *kind);
        match (kind, end.damaged()) {
            // The game passes on to the download that mends it: at no time is it free.
            (Kind::Verify { manifest_hash, repair: true }, Some(content_hash)) if may_repair => {
                self.active.remove(game);
                let only = Only { manifest_hash, content_hash };
                cx.tell(Effect::Repair { game: game.clone(), scanned: result.ok(), only });
                cx.tell(Effect::End(Box::new(kind.end_event(game.clone(), end))));
            }
            _ => self.end(cx, game, result.ok(), end),
        }
    }

    fn begin(&mut self, cx: &mut Cx, game: GameId, kind: Kind) {
        tracing::debug!(%game, ?kind, "operation begins");
        self.active.insert(game.clone(), Active { kind, phase: Phase::Clearing, reported_at: None });
        cx.tell(Effect::OperationStarted { game: game.clone(), operation: kind.operation() });
        if let Some(event) = kind.begin_event(game) {
            cx.tell(Effect::Begin(Box::new(event)));
        }
    }

    fn end(&mut self, cx: &mut Cx, game: &GameId, scanned: Option<Option<Arc<ScannedGame>>>, end: End) {
        let Some(active) = self.active.remove(game) else { return };
        tracing::debug!(%game, kind = ?active.kind, ?end, "operation ends");
        let stays = faults::is(Bug::ServedAfterRemoval) && active.kind == Kind::Remove;
        let scanned = scanned.filter(|_| !stays);
        cx.tell(Effect::OperationEnded { game: game.clone(), scanned });
        cx.tell(Effect::End(Box::new(active.kind.end_event(game.clone(), end))));
    }
}

impl Kind {
    fn operation(self) -> Operation {
        match self {
            Self::Install => Operation::Installing,
            Self::Update => Operation::Updating,
            Self::Uninstall => Operation::Uninstalling,
            Self::Adopt => Operation::Adopting,
            Self::Remove => Operation::Removing,
            Self::Verify { .. } => Operation::Verifying,
        }
    }

    fn job(self, game: GameId, personal: &Personal) -> Job {
        match self {
            Self::Install | Self::Update => Job::Install { game, personal: personal.clone() },
            Self::Uninstall => Job::Uninstall { game },
            Self::Adopt => Job::Adopt { game },
            Self::Remove => Job::RemoveFiles { game },
            Self::Verify { manifest_hash, .. } => Job::VerifyFiles { game, manifest_hash },
        }
    }

    fn begin_event(self, game: GameId) -> Option<PeerEvent> {
        match self {
            Self::Install | Self::Update => Some(PeerEvent::InstallBegin { game }),
            Self::Uninstall => Some(PeerEvent::UninstallBegin { game }),
            Self::Adopt => Some(PeerEvent::AdoptBegin { game }),
            Self::Remove => Some(PeerEvent::RemoveBegin { game }),
            Self::Verify { .. } => None,
        }
    }

    fn progress_event(self, game: GameId, bytes: u64, total: u64) -> Option<PeerEvent> {
        match self {
            Self::Install | Self::Update => Some(PeerEvent::InstallProgress { game, bytes, total }),
            Self::Verify { .. } => Some(PeerEvent::VerifyProgress { game, bytes, total }),
            Self::Uninstall | Self::Adopt | Self::Remove => None,
        }
    }

    fn end_event(self, game: GameId, end: End) -> PeerEvent {
        match (self, end) {
            (_, End::Verified { bad_chunks, missing_dirs, chunks, .. }) => {
                PeerEvent::VerifyFinished { game, bad_chunks, missing_dirs, chunks }
            }
            (Self::Install | Self::Update, End::Done(KeptFiles { carried_over, kept_aside, kept_in })) => {
                PeerEvent::InstallFinished { game, carried_over, kept_aside, kept_in }
            }
            (Self::Install | Self::Update, End::Failed { code, message }) => {
                PeerEvent::InstallFailed { game, code, message }
            }
            (Self::Uninstall, End::Done(KeptFiles { kept_in, .. })) => PeerEvent::UninstallFinished { game, kept_in },
            (Self::Uninstall, End::Failed { code, message }) => PeerEvent::UninstallFailed { game, code, message },
            (Self::Adopt, End::Done(_)) => PeerEvent::AdoptFinished { game },
            (Self::Adopt, End::Failed { code, message }) => PeerEvent::AdoptFailed { game, code, message },
            (Self::Remove, End::Done(_)) => PeerEvent::RemoveFinished { game },
            (Self::Remove, End::Failed { code, message }) => PeerEvent::RemoveFailed { game, code, message },
            // Its job answers with chunks; this keeps the match total.
            (Self::Verify { .. }, End::Done(_)) => {
                PeerEvent::VerifyFinished { game, bad_chunks: 0, missing_dirs: 0, chunks: 0 }
            }
            (Self::Verify { .. }, End::Failed { code, message }) => PeerEvent::VerifyFailed { game, code, message },
        }
    }
}

fn downloaded(game: &GameId, here: Option<Arc<ScannedGame>>) -> Result<Arc<ScannedGame>, CommandError> {
    match here {
        Some(here) if here.downloaded => Ok(here),
        here => Err(not_downloaded(game, here.as_deref())),
    }
}

pub(super) fn installed(game: &GameId, here: Option<Arc<ScannedGame>>) -> Result<(), CommandError> {
    match here {
        Some(here) if here.installed || here.installed_by.is_some() => Ok(()),
        here => Err(CommandError::new(
            ErrorCode::NotInstalled,
            format!("{game} is not installed{}", fault(here.as_deref())),
        )),
    }
}

fn not_downloaded(game: &GameId, here: Option<&ScannedGame>) -> CommandError {
    CommandError::new(ErrorCode::NotDownloaded, format!("{game} is not downloaded{}", fault(here)))
}

/// What is wrong with a game as it lies here, for the end of a sentence.
fn fault(here: Option<&ScannedGame>) -> String {
    here.and_then(|here| here.unportable.as_ref()).map(|reason| format!(": {reason}")).unwrap_or_default()
}

fn failed(error: JobError) -> End {
    // Of a local file there are no sources that could have changed it.
    let kind = if error.kind == JobErrorKind::Changed { JobErrorKind::Io } else { error.kind };
    let CommandError { code, message } = CommandError::from(JobError { kind, ..error });
    End::Failed { code, message }
}
