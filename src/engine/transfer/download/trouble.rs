//! What becomes of a source that fails, and of what it was asked for.

use super::learning::Learning;
use super::{Asked, Download, Phase};
use crate::api::PeerEvent;
use crate::engine::core::Cx;
use crate::engine::io::{ConnId, Output, RunFailure};
use crate::engine::transfer::bans::Banned;
use crate::engine::transfer::sources::{Ban, Trouble};
use crate::proto::{Notification, StreamCode, WireErrorCode};
use crate::types::{ChunkIndex, SourceId};

impl Download {
    /// A connection is gone, and with it every request over it.
    pub(in super::super) fn connection_down(&mut self, conn: ConnId) {
        if let Phase::Fetching { swarm, .. } = &mut self.phase {
            swarm.connection_down(conn);
        }
        for id in self.roster.connection_down(conn) {
            // Its answer is not waited for any more.
            if matches!(self.learning, Learning::Asked { owner, .. } if owner == id) {
                self.learning = Learning::NotYet;
            }
            match &mut self.phase {
                Phase::Asking { asked, .. } => asked.retain(|asked| asked.source != id),
                Phase::Fetching { planner, .. } => {
                    let runs: Vec<_> = planner.runs_of(id).collect();
                    for run in runs {
                        planner.lost(run);
                    }
                    planner.forget_source(id);
                }
                _ => {}
            }
        }
        self.sources_dirty = true;
    }

    /// Something went wrong with a source.
    pub(super) fn failed(&mut self, cx: &mut Cx, id: SourceId, failure: &RunFailure) {
        let trouble = match failure {
            RunFailure::ConnectionLost => {
                // Its other runs went down with it; they would not be found by their connection any more.
                tracing::debug!(game = %self.game, source = %id, "source disconnected");
                self.roster.disconnected(id);
                self.give_up_runs(cx, id);
                return self.forget_source(id);
            }
            RunFailure::Malformed(why) => {
                let why = format!("its answer broke the protocol: {why}");
                return self.ban(cx, id, Ban::Useless, &why, None);
            }
            RunFailure::Reset(code) => match StreamCode::from_number(*code) {
                Some(StreamCode::NotServed) => Trouble::NotServed,
                Some(StreamCode::Changed) => Trouble::Changed,
                Some(StreamCode::Busy) => Trouble::Busy,
                Some(StreamCode::Cancelled | StreamCode::Io) | None => Trouble::Failed,
            },
            RunFailure::Refused(error) => match error.code {
                WireErrorCode::Busy => Trouble::Busy,
                WireErrorCode::NotServed => Trouble::NotServed,
                WireErrorCode::Changed => Trouble::Changed,
                _ => Trouble::Failed,
            },
            RunFailure::NoStream => Trouble::Busy,
            RunFailure::Timeout => Trouble::Failed,
        };
        tracing::debug!(game = %self.game, source = %id, ?failure, ?trouble, "request failed");
        if matches!(trouble, Trouble::NotServed | Trouble::Changed)
            && let Phase::Fetching { swarm, .. } = &mut self.phase
            && swarm.knows(id)
        {
            // It gave its download up, or it is over and its library will say so. Should it begin anew, it says so, too.
            swarm.forget(id);
            if self.roster.part(id) {
                return self.give_up_runs(cx, id);
            }
        }
        if self.roster.trouble(id, trouble, cx.now) {
            self.ban(cx, id, Ban::Useless, "it fails again and again without delivering anything", None);
        }
    }

    pub(super) fn ban(&mut self, cx: &mut Cx, id: SourceId, ban: Ban, reason: &str, chunk: Option<ChunkIndex>) {
        if self.roster.ban(id, ban) {
            tracing::debug!(game = %self.game, source = %id, ?ban, reason, ?chunk, "source banned");
            let (game, reason) = (self.game.clone(), reason.to_owned());
            let url = cx.config.mirror(id).cloned();
            self.bans.push(Banned {
                game: game.clone(),
                peer_id: id.told_as(),
                reason: reason.clone(),
                chunk,
                at: cx.now,
            });
            cx.event(PeerEvent::DownloadSourceBanned { game, peer_id: id.told_as(), url, reason, chunk });
            self.give_up_runs(cx, id);
            self.forget_source(id);
        }
    }

    /// A source that sent bad chunks may not know that its files were changed. It is told once.
    pub(super) fn tell_of_bad_chunks(&mut self, cx: &mut Cx, id: SourceId) {
        let Phase::Fetching { pin, .. } = &self.phase else { return };
        let (Some(content_hash), Some(conn)) = (pin.content_hash(), self.roster.first_bad_chunks(id)) else {
            return;
        };
        let body = Notification::BadChunks { game_id: self.game.clone(), content_hash };
        cx.emit(Output::Notify { conn, body: Box::new(body) });
    }

    /// Nothing more comes from a source: what it said that it has is void, and others need not keep out of its region.
    pub(super) fn forget_source(&mut self, id: SourceId) {
        if let Phase::Fetching { planner, swarm, .. } = &mut self.phase {
            planner.forget_source(id);
            swarm.forget(id);
        }
    }

    /// Cancels whatever a source was asked for.
    pub(super) fn give_up_runs(&mut self, cx: &mut Cx, id: SourceId) {
        if matches!(self.learning, Learning::Asked { owner, .. } if owner == id) {
            self.stop_learning(cx);
        }
        match &mut self.phase {
            Phase::Asking { asked, .. } => {
                for Asked { request, .. } in asked.extract_if(.., |asked| asked.source == id) {
                    cx.emit(Output::Cancel { request });
                }
            }
            Phase::Fetching { planner, .. } => {
                let runs: Vec<_> = planner.runs_of(id).collect();
                for request in runs {
                    planner.lost(request);
                    cx.emit(Output::Cancel { request });
                }
            }
            _ => {}
        }
    }
}
