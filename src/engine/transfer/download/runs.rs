//! Which source is asked for which run, and how long it is.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::planner::{Load, Portion};
use super::super::select::rank::{self, SourceRank};
use super::super::sources::Usable;
use super::super::swarm::Choice;
use super::{Download, Phase};
use crate::engine::core::Cx;
use crate::engine::world::TransferCx;
use crate::types::CHUNK_SIZE;

/// A run is so much of what its source brings, in seconds.
const RUN_SECONDS: f64 = 0.25;
/// Most landing buffers of one run: many small files fill few bytes of each.
const MAX_RUN_BUFFERS: usize = 8;
/// Runs in flight at a source: one lands while the next one is on its way.
const RUNS_IN_FLIGHT: usize = 2;
/// The same for a source that fills a whole chunk in [`RUN_SECONDS`]: there the answer to the next request must be queued.
const RUNS_IN_FLIGHT_FAST: usize = 3;
/// How often an idle source looks for a run that it would bring sooner.
const ENDGAME_EVERY: Duration = Duration::from_millis(200);
/// What a second request must gain at least, in seconds.
const ENDGAME_GAIN_SECONDS: f64 = 0.1;
/// Taken as the rate of a source that has not shown one, in bytes per second.
const ASSUMED_RATE: f64 = 10e6;

impl Download {
    /// Asks the source that has least to do for one run. `free`: landing buffers that nobody holds; `share`: what this
    /// download may hold. Answers its bytes; `None`: nobody can take one.
    pub(in crate::engine::transfer) fn assign(
        &mut self,
        cx: &mut TransferCx<'_>,
        free: usize,
        share: usize,
    ) -> Option<u64> {
        let Phase::Fetching { pin, planner, swarm } = &mut self.phase else { return None };
        if free == 0 || !planner.has_wanted() {
            return None;
        }
        let loads = planner.loads();
        let mut usable: Vec<_> = self.roster.usable().collect();
        rank::presume(&mut usable, |via| cx.world.way(via));
        swarm.look(planner, &usable, cx.now);
        self.look_at = swarm.patience_ends().filter(|at| *at > cx.now);
        let cap = (share / usable.len().max(1)).max(1);
        // Towards the end runs become shorter, so that nobody is left alone with a long one.
        let fair = planner.wanted_bytes_at_most() / (2 * usable.len().max(1) as u64);
        let largest = cx.config.limits.run_bytes.max(CHUNK_SIZE);
        let load_of = |source: &Usable| loads.get(&source.id).copied().unwrap_or_default();
        // Everybody has room up to its part; beyond that only what leaves a buffer for each of the others.
        let room = |load: Load| match cap.saturating_sub(load.buffers) {
            0 => free.saturating_sub(usable.len()),
            below_cap => below_cap.min((cap / 2).max(1)),
        };
        let mut hungry: Vec<_> = usable
            .iter()
            .map(|source| (source, load_of(source)))
            .filter(|(source, load)| load.runs < runs_in_flight(source) && room(*load) > 0)
            .filter(|(source, _)| !rank::waits_for_a_trial(source, &usable, &loads))
            .collect();
        hungry.sort_by_key(|(source, load)| SourceRank::for_run(source, load.runs));
        for (source, load) in hungry {
            let portion = Portion {
                bytes: ((source.rate * RUN_SECONDS) as u64).min(fair).clamp(CHUNK_SIZE, largest),
                buffers: room(load).min(MAX_RUN_BUFFERS).min(free),
                avoid: source
                    .bad_chunk
                    .filter(|chunk| self.roster.another_for(source.id, *chunk, |other| swarm.holds(other, *chunk))),
            };
            let choice = swarm.choose(cx, planner, &usable, source, &portion);
            let request = cx.ids.request();
            let range = match choice {
                Choice::Nothing => continue,
                Choice::Any => planner.take(request, source.id, portion),
                Choice::Within(first, end) => planner.take_within(request, source.id, portion, first, end),
            };
            if let Some(range) = range {
                self.roster.asked(source.id, load.runs == 0, cx.now);
                let content_hash = pin.content_hash();
                cx.emit(source.via.fetch(request, self.id, content_hash, range));
                return Some(planner.plan().manifest.range_bytes(range));
            }
        }
        None
    }

    /// The next look at the sources is not due by itself.
    pub(in crate::engine::transfer) fn forget_look(&mut self) {
        self.look_at = None;
    }

    /// Endgame: when every chunk is asked for, lets an idle source fetch too what another one would bring much later.
    pub(in crate::engine::transfer) fn assist(&mut self, cx: &mut Cx, free: usize) -> Option<u64> {
        let Phase::Fetching { pin, planner, swarm } = &mut self.phase else { return None };
        if planner.has_wanted() || !planner.is_fetching() {
            return None;
        }
        let loads = planner.loads();
        let idle: Vec<_> = self
            .roster
            .usable()
            .filter(|source| loads.get(&source.id).is_none_or(|load| load.runs == 0))
            // A scarce source has better things to do.
            .filter(|source| !swarm.is_scarce(source))
            .collect();
        if idle.is_empty() {
            self.look_at = None;
            return None;
        }
        self.look_at = Some(cx.now + ENDGAME_EVERY);
        if free == 0 {
            return None;
        }
        // When each run will have landed: a source works off its runs in the order of their requests.
        let manifest = &planner.plan().manifest;
        let mut ahead = BTreeMap::new();
        let mut runs: Vec<_> = planner
            .runs()
            .map(|run| {
                let bytes = manifest.range_bytes(run.rest);
                let queued: &mut u64 = ahead.entry(run.source).or_default();
                *queued += bytes;
                (run, bytes, *queued as f64 / self.roster.reliable_rate(run.source, cx.now).max(1.0))
            })
            .collect();
        runs.sort_by(|(a, _, wait_a), (b, _, wait_b)| wait_b.total_cmp(wait_a).then(a.request.cmp(&b.request)));
        for source in &idle {
            let rate = if source.rate > 0.0 { source.rate } else { ASSUMED_RATE };
            for (run, bytes, wait) in &runs {
                if !swarm.has_all(source, run.rest) {
                    continue;
                }
                if *wait <= 2.0 * *bytes as f64 / rate + ENDGAME_GAIN_SECONDS {
                    continue;
                }
                let portion = Portion {
                    bytes: cx.config.limits.run_bytes.max(CHUNK_SIZE),
                    buffers: free.min(MAX_RUN_BUFFERS),
                    avoid: source.bad_chunk,
                };
                let request = cx.ids.request();
                if let Some(range) = planner.duplicate(request, source.id, run.request, portion) {
                    self.roster.asked(source.id, true, cx.now);
                    let content_hash = pin.content_hash();
                    cx.emit(source.via.fetch(request, self.id, content_hash, range));
                    return Some(planner.plan().manifest.range_bytes(range));
                }
            }
        }
        None
    }
}

/// Runs that a source may have at once.
pub(in crate::engine::transfer) fn runs_in_flight(source: &Usable) -> usize {
    if source.seems_far.is_some() || (!source.complete && source.rate == 0.0) {
        // One that seems far, or another downloader of which nothing is known yet, may be behind a slow link that all share.
        return 1;
    }
    if source.rate * RUN_SECONDS >= CHUNK_SIZE as f64 { RUNS_IN_FLIGHT_FAST } else { RUNS_IN_FLIGHT }
}
