//! The end, and what is slow: a source that nothing comes of, and what another one would bring much sooner.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::chunks::{MAX_RUN_BUFFERS, Run};
use crate::engine::core::Cx;
use crate::engine::transfer::planner::{Planner, Portion};
use crate::engine::transfer::sources::{Roster, Usable};
use crate::engine::transfer::swarm::Swarm;
use crate::types::{CHUNK_SIZE, SourceId};

/// How often an idle source looks for a run that it would bring sooner.
pub(in super::super) const ENDGAME_EVERY: Duration = Duration::from_millis(200);
/// What a second request must gain at least, in seconds.
const ENDGAME_GAIN_SECONDS: f64 = 0.1;
/// Taken as the rate of a source that has not shown one, in bytes per second.
const ASSUMED_RATE: f64 = 10e6;
/// Chunks that a source of known rate would have delivered in the time after which it counts as stalled.
const STALL_CHUNKS: f64 = 16.0;
/// But not before this: a disk that wakes up, or a processor that is needed elsewhere, takes about a second.
const LEAST_STALL: Duration = Duration::from_secs(2);
/// A source that there is nobody else beside may be silent so many times longer: a slow source is better than none.
const ALONE_FACTOR: u32 = 4;

/// How long nothing may land from a source that has runs before it counts as stalled: the faster it was, the sooner, and after
/// `run_stall` at the latest. Bytes that are not yet a whole batch are not seen here. `rate`: in bytes per second, 0 if unknown.
pub(in super::super) fn silence(rate: f64, is_alone: bool, run_stall: Duration) -> Duration {
    if is_alone {
        return run_stall.saturating_mul(ALONE_FACTOR);
    }
    // Infinite where nothing is known.
    let own = STALL_CHUNKS * CHUNK_SIZE as f64 / rate;
    Duration::try_from_secs_f64(own).unwrap_or(run_stall).max(LEAST_STALL).min(run_stall)
}

/// The sources that have runs, ascending by id, and when each counts as stalled if nothing lands until then.
pub(in super::super) fn stalls(
    planner: &Planner,
    roster: &Roster,
    run_stall: Duration,
) -> impl Iterator<Item = (SourceId, Instant)> {
    let busy = planner.loads().into_iter().filter(|(_, load)| load.runs > 0);
    busy.filter_map(move |(source, _)| roster.stalls_at(source, run_stall).map(|at| (source, at)))
}

/// The sources that may help others, ascending by id: they have nothing to do. A scarce one has better things to do.
pub(in super::super) fn idle(planner: &Planner, roster: &Roster, swarm: &Swarm) -> Vec<Usable> {
    let loads = planner.loads();
    let is_idle = |source: &Usable| loads.get(&source.id).is_none_or(|load| load.runs == 0);
    roster.usable().filter(|source| is_idle(source) && !swarm.is_scarce(source)).collect()
}

/// Hedges: takes for an idle source too what another one would bring much later.
pub(in super::super) fn hedge(
    cx: &mut Cx,
    roster: &Roster,
    planner: &mut Planner,
    swarm: &Swarm,
    idle: &[Usable],
    free: usize,
) -> Option<Run> {
    // When each run will have landed: a source works off its runs in the order of their requests.
    let manifest = &planner.plan().manifest;
    let mut ahead = BTreeMap::new();
    let mut runs: Vec<_> = planner
        .runs()
        .map(|run| {
            let bytes = manifest.range_bytes(run.rest);
            let queued: &mut u64 = ahead.entry(run.source).or_default();
            *queued += bytes;
            (run, bytes, *queued as f64 / roster.reliable_rate(run.source, cx.now).max(1.0))
        })
        .collect();
    runs.sort_by(|(a, _, wait_a), (b, _, wait_b)| wait_b.total_cmp(wait_a).then(a.request.cmp(&b.request)));
    for source in idle {
        let rate = if source.rate > 0.0 { source.rate } else { ASSUMED_RATE };
        for (run, bytes, wait) in &runs {
            if !swarm.has_all(source, run.rest) || *wait <= 2.0 * *bytes as f64 / rate + ENDGAME_GAIN_SECONDS {
                continue;
            }
            let portion = Portion {
                bytes: cx.config.limits.run_bytes.max(CHUNK_SIZE),
                buffers: free.min(MAX_RUN_BUFFERS),
                avoid: source.bad_chunk,
            };
            let request = cx.ids.request();
            if let Some(range) = planner.duplicate(request, source.id, run.request, portion) {
                return Some(Run { request, source: *source, is_first: true, range });
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_faster_a_source_was_the_sooner_its_silence_counts() {
        let (seconds, stall) = (Duration::from_secs, Duration::from_secs(10));
        let rate = |chunks: f64| chunks * CHUNK_SIZE as f64;
        for (of, is_alone, after) in [
            (rate(0.0), false, stall),
            (rate(1.0), false, stall),
            (rate(4.0), false, seconds(4)),
            (rate(8.0), false, seconds(2)),
            (rate(1_000.0), false, LEAST_STALL),
            (rate(0.0), true, seconds(40)),
            (rate(1_000.0), true, seconds(40)),
        ] {
            assert_eq!(silence(of, is_alone, stall), after, "{of} {is_alone}");
        }
        assert_eq!(silence(rate(1.0), false, seconds(1)), seconds(1), "never later than a run may stall");
    }
}
