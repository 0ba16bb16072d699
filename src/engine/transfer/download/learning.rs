//! A content that nobody had hashed becomes known while it is being fetched.
//!
//! ```text
//!          its owner's library states it            hashes are sound                    worker is done
//!   NotYet ───────────────────────────────▶ Asked ──────────────────▶ Checking ──────────────────────▶ NotYet,
//!     ▲                                       │                           │                            and the content is Known
//!     └──── no answer, connection gone ───────┘                           └─ the download ends: NotYet
//! ```
//!
//! Chunks come all the while. See decision 0014.

use std::sync::Arc;

use super::{Download, Phase};
use crate::engine::core::Cx;
use crate::engine::io::{Output, RequestId, RunFailure};
use crate::engine::transfer::manifest::{self, Rejection};
use crate::engine::transfer::select::content::Content;
use crate::engine::transfer::sources::Ban;
use crate::engine::transfer::swarm::Swarm;
use crate::engine::world::Source;
use crate::proto::Answer;
use crate::types::{ChunkHash, ChunkIndex, ContentHash, Job, JobError, SourceId};

/// The way from a content that only its owner can tell to one that is known. Chunks come meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) enum Learning {
    /// Nothing to learn, or nobody to learn it from yet.
    NotYet,
    /// Its owner has hashed it, and is asked for the hashes.
    Asked { request: RequestId, owner: SourceId, hash: ContentHash },
    /// What was written is held against them.
    Checking { owner: SourceId, hash: ContentHash },
}

impl Download {
    /// Fetching what its owner had not hashed: once it has, it is asked for the hashes, so that others may join.
    pub(super) fn ask_for_hashes(&mut self, cx: &mut Cx, sources: &[Source]) {
        let (Phase::Fetching { pin, .. }, Learning::NotYet) = (&self.phase, self.learning) else { return };
        let Content::Unhashed(owner) = pin.content else { return };
        if self.roster.usable().all(|usable| usable.id != owner) {
            return;
        }
        let hashed = sources.iter().find(|source| source.id == owner && pin.matches(source));
        if let Some((via, hash)) = hashed.and_then(|source| Some((source.via, source.summary.content_hash?))) {
            let request = cx.ids.request();
            cx.emit(via.ask_manifest(request, self.game.clone(), pin.manifest_hash));
            self.learning = Learning::Asked { request, owner, hash };
        }
    }

    /// The owner answered with the hashes, or not.
    pub(super) fn hashes_answered(
        &mut self,
        cx: &mut Cx,
        owner: SourceId,
        hash: ContentHash,
        result: Result<(Answer, Vec<ChunkHash>), RunFailure>,
    ) {
        self.learning = Learning::NotYet;
        let Phase::Fetching { pin, .. } = &self.phase else { return };
        match manifest::check(&self.game, pin.manifest_hash, Some(hash), result) {
            Ok((_, Some(content))) => {
                cx.job(Job::LearnContent { download: self.id, content: Arc::new(content) });
                self.learning = Learning::Checking { owner, hash };
            }
            Ok((_, None)) => {}
            Err(Rejection::Lie(why)) => self.ban(cx, owner, Ban::Poison, &why, None),
            // After its pause it is asked again.
            Err(Rejection::Failed(failure)) => self.failed(cx, owner, &failure),
        }
    }

    /// What was written is held against the hashes, and what comes will be: now everybody counts who has the same content.
    pub(in super::super) fn content_learned(&mut self, cx: &mut Cx, result: Result<Vec<ChunkIndex>, JobError>) {
        let Learning::Checking { owner, hash } = std::mem::replace(&mut self.learning, Learning::NotYet) else {
            return;
        };
        let (Phase::Fetching { pin, planner, swarm }, Ok(bad)) = (&mut self.phase, result) else { return };
        // Its files may have changed between the chunk and the hash: nobody is to blame.
        self.account.taken_back(owner, planner.distrust(&bad));
        pin.content = Content::Known(hash);
        *swarm = Swarm::new(planner, Some(hash).filter(|_| cx.config.swarm), cx.now);
        self.sources_dirty = true;
    }

    /// The hashes are not waited for any more.
    pub(super) fn stop_learning(&mut self, cx: &mut Cx) {
        if let Learning::Asked { request, .. } = std::mem::replace(&mut self.learning, Learning::NotYet) {
            cx.emit(Output::Cancel { request });
        }
    }
}
