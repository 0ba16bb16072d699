//! The next run: whose turn it is, how long it is, and which chunks of its source.

use std::time::Instant;

use super::rank::{self, SourceRank, best_reach, is_far};
use crate::engine::core::Cx;
use crate::engine::io::RequestId;
use crate::engine::transfer::planner::{Load, Planner, Portion};
use crate::engine::transfer::sources::{Roster, Usable};
use crate::engine::transfer::swarm::Swarm;
use crate::engine::world::TransferCx;
use crate::types::{CHUNK_SIZE, ChunkIndex, ChunkRange};

/// A run is so much of what its source brings, in seconds.
const RUN_SECONDS: f64 = 0.25;
/// Most landing buffers of one run: many small files fill few bytes of each.
pub(super) const MAX_RUN_BUFFERS: usize = 8;
/// Runs in flight at a source: one lands while the next one is on its way.
const RUNS_IN_FLIGHT: usize = 2;
/// The same for a source that fills a whole chunk in [`RUN_SECONDS`]: there the answer to the next request must be queued.
const RUNS_IN_FLIGHT_FAST: usize = 3;
/// What the near downloaders have is left to them if it takes them no longer than this, in seconds.
const LEAVE_SECONDS: f64 = 2.0;

/// A run that is to be asked for; the planner counts it as in flight.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Run {
    pub(in super::super) request: RequestId,
    pub(in super::super) source: Usable,
    /// The source had none.
    pub(in super::super) is_first: bool,
    pub(in super::super) range: ChunkRange,
}

/// Takes a run for the source whose turn it is. `free`: landing buffers that nobody holds; `share`: what this download may
/// hold. `None`: nobody can take one.
pub(in super::super) fn next_run(
    cx: &mut TransferCx<'_>,
    roster: &Roster,
    planner: &mut Planner,
    swarm: &mut Swarm,
    free: usize,
    share: usize,
) -> Option<Run> {
    let loads = planner.loads();
    let mut usable: Vec<_> = roster.usable().collect();
    rank::presume(&mut usable, |via| cx.world.way(via));
    swarm.look(planner, &usable, cx.now);
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
                .filter(|chunk| roster.another_for(source.id, *chunk, |other| swarm.holds(other, *chunk))),
        };
        let choice = Choosing { planner, swarm, usable: &usable, source, avoid: portion.avoid }.choose(cx);
        let request = cx.ids.request();
        let range = match choice {
            Choice::Nothing => None,
            Choice::Any => planner.take(request, source.id, portion),
            Choice::Within(first, end) => planner.take_within(request, source.id, portion, first, end),
        };
        if let Some(range) = range {
            return Some(Run { request, source: *source, is_first: load.runs == 0, range });
        }
    }
    None
}

/// Runs that a source may have at once.
pub(in super::super) fn runs_in_flight(source: &Usable) -> usize {
    if source.seems_far.is_some() || (!source.complete && source.rate == 0.0) {
        // One that seems far, or another downloader of which nothing is known yet, may be behind a slow link that all share.
        return 1;
    }
    if source.rate * RUN_SECONDS >= CHUNK_SIZE as f64 { RUNS_IN_FLIGHT_FAST } else { RUNS_IN_FLIGHT }
}

/// What a source may be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Choice {
    /// Anything: the planner knows best.
    Any,
    /// A run that begins here and ends before the second.
    Within(u32, u32),
    /// Nothing for now.
    Nothing,
}

/// What is known when chunks of one source are chosen.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Choosing<'a> {
    pub(in super::super) planner: &'a Planner,
    pub(in super::super) swarm: &'a Swarm,
    /// Every source that can be asked.
    pub(in super::super) usable: &'a [Usable],
    /// The one whose turn it is.
    pub(in super::super) source: &'a Usable,
    /// A chunk that it must not be asked for.
    pub(in super::super) avoid: Option<ChunkIndex>,
}

impl Choosing<'_> {
    /// Where a source's next run may lie.
    pub(in super::super) fn choose(self, cx: &mut Cx) -> Choice {
        let Self { planner, swarm, usable, source, avoid } = self;
        if swarm.is_near(source.id) {
            return self.rarest(cx);
        }
        if !swarm.is_contested() {
            if !planner.is_begun() && source.complete && avoid.is_none() {
                let first = swarm.beginning(cx.me);
                let behind = planner.wanted_in(first..swarm.chunks()).next();
                return behind.map_or(Choice::Any, |(first, end)| Choice::Within(first, end));
            }
            return if source.complete { Choice::Any } else { self.rarest(cx) };
        }
        let best = best_reach(usable);
        let other_complete = |other: &Usable| other.id != source.id && other.complete && !is_far(other, best);
        // What only seems far is tried once it has everything: what it lacks now comes sooner from the one that is near.
        let is_farther = is_far(source, best) && (source.reach > 0.0 || !source.complete);
        if is_farther && !swarm.is_out_of_patience(cx.now) && usable.iter().any(other_complete) {
            return Choice::Nothing;
        }
        match self.fresh(cx) {
            Choice::Nothing if self.is_urgent(cx.now) => {
                if source.complete {
                    Choice::Any
                } else {
                    self.rarest(cx)
                }
            }
            choice => choice,
        }
    }

    /// Whether the near downloaders cannot be left alone with what they have or expect.
    fn is_urgent(self, now: Instant) -> bool {
        let Self { planner, swarm, usable, .. } = self;
        if swarm.is_out_of_patience(now) {
            return true;
        }
        let rate: f64 = usable.iter().filter(|source| swarm.is_near(source.id)).map(|source| source.rate).sum();
        let held = |chunk: &u32| swarm.held(*chunk) > 0;
        let enough = (rate * LEAVE_SECONDS / CHUNK_SIZE as f64) as usize;
        // Nothing has been seen of them yet: they get their chance.
        rate > 0.0 && planner.wanted().flat_map(|(first, end)| first..end).filter(held).nth(enough).is_some()
    }

    /// Chunks of a scarce source that no near downloader has or expects.
    fn fresh(self, cx: &Cx) -> Choice {
        let Self { planner, swarm, .. } = self;
        let is_fresh = |chunk: u32| swarm.is_unclaimed(chunk) && self.has(chunk);
        let until = |first: u32, end: u32| (first..end).find(|&chunk| !is_fresh(chunk)).unwrap_or(end);
        if let Some((cursor, end)) = planner.wanted_at_cursor(self.source.id)
            && is_fresh(cursor)
        {
            return Choice::Within(cursor, until(cursor, end));
        }
        // The own slice from its beginning on; those of others from the middle of what is left, because they are at work
        // on its beginning.
        let own = planner.wanted_in(swarm.slice(cx.me)).find_map(|(first, end)| {
            let first = (first..end).find(|&chunk| is_fresh(chunk))?;
            Some((first, until(first, end)))
        });
        if let Some((first, end)) = own {
            return Choice::Within(first, end);
        }
        let mut largest: Option<(u32, u32)> = None;
        for (mut at, end) in planner.wanted() {
            while let Some(first) = (at..end).find(|&chunk| is_fresh(chunk)) {
                at = until(first, end);
                if largest.is_none_or(|(from, to)| at - first > to - from) {
                    largest = Some((first, at));
                }
            }
        }
        largest.map_or(Choice::Nothing, |(first, end)| Choice::Within(first + (end - first) / 2, end))
    }

    /// Of what a downloader has and is wanted here, that which fewest near ones have; of equals the first behind where it
    /// is at work, or else behind a random place.
    fn rarest(self, cx: &mut Cx) -> Choice {
        let Self { planner, swarm, .. } = self;
        let has = |chunk: u32| self.has(chunk);
        let held = |chunk: u32| swarm.held(chunk);
        let until = |first: u32, end: u32| (first..end).find(|&chunk| !has(chunk)).unwrap_or(end);
        // It counts itself.
        let least = u16::from(swarm.is_near(self.source.id));
        if let Some((cursor, end)) = planner.wanted_at_cursor(self.source.id)
            && has(cursor)
            && held(cursor) <= least
        {
            return Choice::Within(cursor, until(cursor, end));
        }
        let start = (cx.ids.random() % u64::from(swarm.chunks().max(1))) as u32;
        let mut best: Option<(u16, u32, u32)> = None;
        for (first, end) in planner.wanted_in(start..swarm.chunks()).chain(planner.wanted_in(0..start)) {
            for chunk in (first..end).filter(|&chunk| has(chunk)) {
                let count = held(chunk);
                if best.is_none_or(|(least, ..)| count < least) {
                    best = Some((count, chunk, end));
                }
                if count <= least {
                    return Choice::Within(chunk, until(chunk, end));
                }
            }
        }
        best.map_or(Choice::Nothing, |(_, first, end)| Choice::Within(first, until(first, end)))
    }

    /// Whether the source may be asked for a chunk.
    fn has(self, chunk: u32) -> bool {
        let Self { swarm, source, avoid, .. } = self;
        avoid != Some(ChunkIndex(chunk))
            && (source.complete || swarm.chunks_of(source.id).is_some_and(|chunks| chunks.has(chunk)))
    }
}
