//! How a download ends that does not come to its end.

use super::{Disk, Download, Over, Phase};
use crate::api::{ErrorCode, PeerEvent};
use crate::engine::core::Cx;
use crate::engine::io::Output;
use crate::engine::transfer::select::content::{Content, Pin};
use crate::engine::transfer::sources::Ban;
use crate::types::{Job, JobError, JobErrorKind};

/// How a download ends that does not come to its end.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct End {
    pub(super) code: ErrorCode,
    pub(super) message: String,
    /// Leave the files, without a sentinel.
    pub(super) keep: bool,
}

impl Download {
    /// The user ends it. False: too late, it is being committed.
    pub(in super::super) fn cancel(&mut self, cx: &mut Cx) -> bool {
        let end = End { code: ErrorCode::Cancelled, message: "cancelled by the user".to_owned(), keep: false };
        match &mut self.phase {
            Phase::Committing { .. } | Phase::Abandoning { .. } | Phase::Over(_) => false,
            // It was ending for another reason, and what it got was to be kept.
            Phase::Ending { end: other, .. } => {
                *other = end;
                true
            }
            _ => {
                self.end(cx, end);
                true
            }
        }
    }

    /// The catalog is another one. A download of something that it does not want any more ends; what came is kept.
    pub(in super::super) fn catalog_changed(&mut self, cx: &mut Cx) {
        let game = &self.game;
        let pin = match &self.phase {
            Phase::Seeking => None,
            Phase::Asking { pin, .. }
            | Phase::Clearing { pin, .. }
            | Phase::Preparing { pin, .. }
            | Phase::Fetching { pin, .. } => Some(pin),
            _ => return,
        };
        let other_version = |pin: &Pin| cx.expected_version(game).is_some_and(|version| version != pin.version);
        let other_content =
            |pin: &Pin| cx.expected_content(game).is_some_and(|content| pin.content != Content::Known(content));
        let (code, message) = if !cx.catalog.admits(game) {
            (ErrorCode::NotInCatalog, format!("the catalog does not list {game} any more"))
        } else if pin.is_some_and(|pin| other_version(pin) || other_content(pin)) {
            (ErrorCode::SourceChanged, format!("the catalog demands {game} in another form now; download it again"))
        } else {
            self.sources_dirty = true;
            return;
        };
        self.end(cx, End { code, message, keep: true });
    }

    /// The daemon stops. What came is kept.
    pub(in super::super) fn stop(&mut self, cx: &mut Cx, code: ErrorCode, why: &str) {
        match self.phase {
            Phase::Committing { .. } | Phase::Ending { .. } | Phase::Abandoning { .. } | Phase::Over(_) => {}
            _ => {
                let message = format!("{why}; what was fetched stays, without a sentinel");
                self.end(cx, End { code, message, keep: true });
            }
        }
    }

    /// There is nobody to ask: how it ends, if that was so for long enough or nobody can be hoped for.
    pub(super) fn hopeless(&mut self, cx: &Cx, begun: bool) -> Option<End> {
        let since = *self.starved_since.get_or_insert(cx.now);
        let banned = self.roster.all_banned();
        if banned.is_none() && cx.now.saturating_duration_since(since) < cx.config.timers.source_wait {
            return None;
        }
        let game = &self.game;
        let (code, message) = if banned == Some(Ban::Poison) || self.roster.any_poison() {
            (
                ErrorCode::VerificationFailed,
                format!(
                    "what the sources of {game} sent does not match its hashes; they were told, and look at their files: try again in some minutes"
                ),
            )
        } else if begun && self.roster.content_changed() {
            (ErrorCode::SourceChanged, format!("the content of {game} changed at its sources; download it again"))
        } else {
            (ErrorCode::NoSources, format!("no connected peer can hand out {game} any more"))
        };
        Some(End { code, message, keep: true })
    }

    /// Leaves the road to the finish, from wherever it is.
    pub(super) fn end(&mut self, cx: &mut Cx, end: End) {
        tracing::debug!(game = %self.game, code = ?end.code, message = end.message, keep = end.keep, "download aborted");
        match std::mem::replace(&mut self.phase, Phase::Seeking) {
            Phase::Asking { asked, .. } => {
                asked.iter().for_each(|asked| cx.emit(Output::Cancel { request: asked.request }));
                self.end_untouched(&end);
            }
            Phase::Seeking | Phase::Clearing { .. } => self.end_untouched(&end),
            Phase::Preparing { .. } => {
                cx.emit(Output::CancelJob { game: self.game.clone() });
                self.phase = Phase::Ending { end, preparing: true, planner: None };
            }
            Phase::Fetching { mut planner, .. } => {
                self.stop_learning(cx);
                cx.emit(Output::StopSending { game: self.game.clone() });
                let runs: Vec<_> = planner.runs().map(|run| run.request).collect();
                for request in runs {
                    planner.lost(request);
                    cx.emit(Output::Cancel { request });
                }
                self.phase = Phase::Ending { end, preparing: false, planner: Some(planner) };
            }
            phase @ (Phase::Committing { .. } | Phase::Ending { .. } | Phase::Abandoning { .. } | Phase::Over(_)) => {
                self.phase = phase;
            }
        }
    }

    pub(super) fn end_untouched(&mut self, end: &End) {
        self.phase = Phase::Over(Over { disk: Disk::Untouched, event: self.failed_event(end) });
    }

    pub(super) fn abandon(&mut self, cx: &mut Cx, end: End) {
        cx.job(Job::AbandonDownload { download: self.id, keep: end.keep });
        self.phase = Phase::Abandoning { end };
    }

    pub(super) fn failed_event(&self, end: &End) -> PeerEvent {
        // Else they have their names again.
        let kept_aside = if end.keep { self.account.kept_aside.clone() } else { Vec::new() };
        PeerEvent::DownloadFailed { game: self.game.clone(), code: end.code, message: end.message.clone(), kept_aside }
    }
}

/// The end that an error of the disk leads to. What is verified stays.
pub(super) fn disk_end(error: &JobError) -> End {
    let code = match error.kind {
        // The disk is no source, and a download reads no archive.
        JobErrorKind::Changed | JobErrorKind::BadArchive => ErrorCode::Io,
        kind => kind.into(),
    };
    End { code, message: error.message.clone(), keep: true }
}
