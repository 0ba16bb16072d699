//! Asks for the runs that were chosen.

use std::sync::Arc;

use super::{Download, Phase};
use crate::engine::core::Cx;
use crate::engine::io::Planned;
use crate::engine::transfer::select::chunks::{self, Run};
use crate::engine::transfer::select::endgame::{self, ENDGAME_EVERY};
use crate::engine::world::TransferCx;

impl Download {
    /// Asks the source whose turn it is for one run. `free`: landing buffers that nobody holds; `share`: what this
    /// download may hold. Answers its bytes; `None`: nobody can take one.
    pub(in crate::engine::transfer) fn assign(
        &mut self,
        cx: &mut TransferCx<'_>,
        free: usize,
        share: usize,
    ) -> Option<u64> {
        let Phase::Fetching { planner, swarm, .. } = &mut self.phase else { return None };
        if free == 0 || !planner.has_wanted() {
            return None;
        }
        let run = chunks::next_run(cx, &self.roster, planner, swarm, free, share);
        self.look_at = swarm.patience_ends().filter(|at| *at > cx.now);
        self.fetch(cx, run?)
    }

    /// The next look at the sources is not due by itself.
    pub(in crate::engine::transfer) fn forget_look(&mut self) {
        self.look_at = None;
    }

    /// Endgame: when every chunk is asked for, lets an idle source fetch too what another one would bring much later.
    pub(in crate::engine::transfer) fn assist(&mut self, cx: &mut Cx, free: usize) -> Option<u64> {
        let Phase::Fetching { planner, swarm, .. } = &mut self.phase else { return None };
        if planner.has_wanted() || !planner.is_fetching() {
            return None;
        }
        let idle = endgame::idle(planner, &self.roster, swarm);
        self.look_at = (!idle.is_empty()).then(|| cx.now + ENDGAME_EVERY);
        // Most inputs of an endgame find nobody idle.
        if free == 0 || idle.is_empty() {
            return None;
        }
        let run = endgame::hedge(cx, &self.roster, planner, swarm, &idle, free)?;
        self.fetch(cx, run)
    }

    fn fetch(&mut self, cx: &mut Cx, run: Run) -> Option<u64> {
        let Phase::Fetching { pin, planner, .. } = &self.phase else { return None };
        self.roster.asked(run.source.id, run.is_first, cx.now);
        let download = Planned { id: self.id, plan: Arc::clone(planner.plan()) };
        cx.emit(run.source.via.fetch(run.request, download, pin.content_hash(), run.range));
        Some(planner.plan().manifest.range_bytes(run.range))
    }
}
