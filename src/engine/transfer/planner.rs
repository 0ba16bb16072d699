//! Which chunk is where: the planner of one download.
//!
//! ```text
//!            take                landed              written, good
//!   Wanted ────────▶ InFlight ─────────────▶ Writing ─────────────▶ Have
//!     ▲  ▲               │                      │
//!     │  └──── lost ─────┘                      │
//!     └─────────────── written, bad ────────────┘
//! ```
//!
//! A chunk that was found on the disk before the first one was asked for begins as Have.
//!
//! Every chunk is in exactly one state. A chunk in flight may be fetched by two runs at once (endgame); the first to land
//! it wins and the other run is given up in the same step, so that no chunk is ever handed to a writer twice.
//!
//! Wanted chunks are kept as maximal extents: finding the next run costs a few map look-ups, however large the game.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use crate::engine::io::RequestId;
use crate::faults::{self, Bug};
use crate::types::{Batch, ChunkIndex, ChunkRange, DownloadPlan, Manifest, SourceId};

/// Extents that are looked at to find a region for a source: bounds the work when a game is in tatters.
const EXTENTS_CONSIDERED: usize = 64;
/// A region that another source works on is split only if it is at least this many runs long.
const SPLIT_ABOVE_RUNS: u32 = 2;

/// Where one chunk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum ChunkState {
    /// To be fetched.
    Wanted,
    /// Asked of at least one source.
    InFlight,
    /// Landed: a worker verifies and writes it.
    Writing,
    /// Verified and written.
    Have,
}

/// A run that a source was asked for.
#[derive(Clone, Copy, Debug)]
struct Run {
    source: SourceId,
    /// The next chunk to land; everything in front has landed.
    next: u32,
    /// One behind the last chunk.
    end: u32,
    /// Landing buffers reserved for what has not landed.
    buffers: usize,
}

impl Run {
    /// What has not landed.
    fn rest(&self) -> ChunkRange {
        ChunkRange { first: self.next, count: self.end - self.next }
    }

    fn overlaps(&self, range: ChunkRange) -> bool {
        self.next < range.first.saturating_add(range.count) && range.first < self.end
    }
}

/// A batch that a worker holds.
#[derive(Clone, Copy, Debug)]
struct Landed {
    source: SourceId,
    count: u32,
}

/// How much a source may be given at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portion {
    /// Bytes to aim for; at least one batch is given.
    pub(super) bytes: u64,
    /// Landing buffers it may take, at least 1.
    pub(super) buffers: usize,
    /// A chunk that this source must not be asked for.
    pub(super) avoid: Option<ChunkIndex>,
}

/// A batch landed.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct LandedBatch {
    /// From whom.
    pub(super) source: SourceId,
    /// How many bytes.
    pub(super) bytes: u64,
    /// Runs that were after the same chunks: cancel them. Their other chunks are wanted again.
    pub(super) losers: Vec<RequestId>,
}

/// A batch was verified and written, or not.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct WrittenBatch {
    /// From whom.
    pub(super) source: SourceId,
    /// Bytes that are on disk now.
    pub(super) good_bytes: u64,
    /// Bytes of chunks that did not match.
    pub(super) bad_bytes: u64,
    /// Those chunks.
    pub(super) bad: Vec<ChunkIndex>,
}

/// What one source holds.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Load {
    /// Runs in flight.
    pub(super) runs: usize,
    /// Landing buffers in flight and with workers.
    pub(super) buffers: usize,
}

/// A run in flight, for those who look for slow ones.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct RunView {
    /// Its request.
    pub(super) request: RequestId,
    /// From whom.
    pub(super) source: SourceId,
    /// What has not landed.
    pub(super) rest: ChunkRange,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Planner {
    plan: Arc<DownloadPlan>,
    states: Vec<ChunkState>,
    /// Maximal runs of wanted chunks: first → one behind the last.
    wanted: BTreeMap<u32, u32>,
    wanted_chunks: u32,
    have_chunks: u32,
    have_bytes: u64,
    kept_bytes: u64,
    runs: BTreeMap<RequestId, Run>,
    /// By request and first chunk.
    writing: BTreeMap<(RequestId, u32), Landed>,
    /// Landing buffers reserved for what is in flight.
    in_flight_buffers: usize,
    /// Where each source goes on: behind its last run, for the sake of the disks at both ends.
    cursors: BTreeMap<SourceId, u32>,
    /// Chunks of which a worker will still say that they are good, and which are not.
    doubted: BTreeSet<u32>,
}

impl Planner {
    /// Only `kept` is there yet: ranges in ascending order.
    pub(super) fn new(plan: Arc<DownloadPlan>, kept: &[ChunkRange]) -> Self {
        let chunks = plan.manifest.chunk_count();
        let mut states = vec![ChunkState::Wanted; chunks as usize];
        let mut wanted = BTreeMap::new();
        let (mut at, mut wanted_chunks, mut kept_bytes) = (0, 0, 0);
        let end = ChunkRange { first: chunks, count: 0 };
        for range in kept.iter().chain([&end]) {
            let first = range.first.clamp(at, chunks);
            if first > at {
                wanted.insert(at, first);
                wanted_chunks += first - at;
            }
            at = range.first.saturating_add(range.count).clamp(first, chunks);
            if let Some(states) = states.get_mut(first as usize..at as usize) {
                states.fill(ChunkState::Have);
            }
            kept_bytes += plan.manifest.range_bytes(ChunkRange { first, count: at - first });
        }
        Self {
            plan,
            states,
            wanted,
            wanted_chunks,
            have_chunks: chunks - wanted_chunks,
            have_bytes: kept_bytes,
            kept_bytes,
            runs: BTreeMap::new(),
            writing: BTreeMap::new(),
            in_flight_buffers: 0,
            cursors: BTreeMap::new(),
            doubted: BTreeSet::new(),
        }
    }

    /// What is being fetched.
    pub(super) fn plan(&self) -> &Arc<DownloadPlan> {
        &self.plan
    }

    /// Gives a source its next run, under the number `request`. `None`: there is nothing for it.
    pub(super) fn take(&mut self, request: RequestId, source: SourceId, portion: Portion) -> Option<ChunkRange> {
        let (first, end) = self.region_for(source, portion)?;
        let (range, buffers) = cut(&self.plan.manifest, first, end, portion)?;
        self.claim(range);
        self.start(request, source, range, buffers);
        Some(range)
    }

    /// The same from a region of wanted chunks that somebody else has chosen: it begins at `first` and ends before `end`.
    pub(super) fn take_within(
        &mut self,
        request: RequestId,
        source: SourceId,
        portion: Portion,
        first: u32,
        end: u32,
    ) -> Option<ChunkRange> {
        let (_, &wanted_end) = self.wanted.range(..=first).next_back().filter(|(_, end)| first < **end)?;
        let (range, buffers) = cut(&self.plan.manifest, first, end.min(wanted_end), portion)?;
        self.claim(range);
        self.start(request, source, range, buffers);
        Some(range)
    }

    /// Asks `source` too for what is left of a run that another source is slow with. `None`: there is nothing left of
    /// it, or it is fetched twice already.
    pub(super) fn duplicate(
        &mut self,
        request: RequestId,
        source: SourceId,
        slow: RequestId,
        portion: Portion,
    ) -> Option<ChunkRange> {
        let run = *self.runs.get(&slow)?;
        let alone = self.runs.iter().all(|(other, view)| *other == slow || !view.overlaps(run.rest()));
        let avoided = portion.avoid.is_some_and(|avoid| (run.next..run.end).contains(&avoid.0));
        if run.source == source || !alone || avoided {
            return None;
        }
        let (range, buffers) = cut(&self.plan.manifest, run.next, run.end, portion)?;
        self.start(request, source, range, buffers);
        Some(range)
    }

    /// A batch of a run was handed to a worker; with its last batch the run is over. `None`: the run was given up before, or the batch is not the next of it.
    pub(super) fn landed(&mut self, request: RequestId, range: ChunkRange) -> Option<LandedBatch> {
        let run = self.runs.get_mut(&request)?;
        let end = range.first.checked_add(range.count)?;
        if range.first != run.next || range.count == 0 || end > run.end {
            return None;
        }
        run.next = end;
        let source = run.source;
        let freed = if end == run.end { run.buffers } else { run.buffers.min(1) };
        run.buffers -= freed;
        self.in_flight_buffers -= freed;
        if end == run.end {
            self.runs.remove(&request);
        }
        let losers: Vec<_> = self
            .runs
            .iter()
            .filter(|(other, run)| **other != request && run.overlaps(range))
            .map(|(other, _)| *other)
            .collect();
        self.set(range, ChunkState::Writing);
        self.writing.insert((request, range.first), Landed { source, count: range.count });
        for loser in &losers {
            self.lost(*loser);
        }
        Some(LandedBatch { source, bytes: self.plan.manifest.range_bytes(range), losers })
    }

    /// A worker is done with a batch; `stored` is false when the disk refused it. `None`: it was never reported as landed.
    pub(super) fn written(
        &mut self,
        request: RequestId,
        range: ChunkRange,
        bad: &[ChunkIndex],
        stored: bool,
    ) -> Option<WrittenBatch> {
        let landed = self.writing.remove(&(request, range.first))?;
        let range = ChunkRange { first: range.first, count: landed.count };
        let mut batch = WrittenBatch { source: landed.source, good_bytes: 0, bad_bytes: 0, bad: Vec::new() };
        for index in range.iter() {
            let bytes = self.plan.manifest.chunk(index).map_or(0, |chunk| u64::from(chunk.len));
            let one = ChunkRange { first: index.0, count: 1 };
            let doubted = self.doubted.remove(&index.0);
            if (bad.contains(&index) || doubted) && !faults::is(Bug::BadChunkCounts) {
                batch.bad_bytes += bytes;
                batch.bad.push(index);
                self.want(one);
            } else if stored {
                batch.good_bytes += bytes;
                self.have_chunks += 1;
                self.have_bytes += bytes;
                self.set(one, ChunkState::Have);
            } else {
                self.want(one);
            }
        }
        Some(batch)
    }

    /// Chunks that were written turn out to be other bytes than what is wanted: they are wanted again. Answers the bytes that
    /// counted already.
    pub(super) fn distrust(&mut self, chunks: &[ChunkIndex]) -> u64 {
        let mut taken_back = 0;
        for &index in chunks {
            match self.states.get(index.0 as usize) {
                Some(ChunkState::Have) => {
                    let bytes = self.plan.manifest.chunk(index).map_or(0, |chunk| u64::from(chunk.len));
                    self.have_chunks -= 1;
                    self.have_bytes -= bytes;
                    taken_back += bytes;
                    self.want(ChunkRange { first: index.0, count: 1 });
                }
                Some(ChunkState::Writing) => drop(self.doubted.insert(index.0)),
                _ => {}
            }
        }
        taken_back
    }

    /// A run failed, was cancelled or went down with its connection: what did not land is wanted again, unless another
    /// run is after it as well. `None`: all of it had landed, or it was given up before.
    pub(super) fn lost(&mut self, request: RequestId) -> Option<SourceId> {
        let run = self.runs.remove(&request)?;
        self.in_flight_buffers -= if faults::is(Bug::BuffersStay) { 0 } else { run.buffers };
        let others: Vec<_> = self.runs.values().filter(|other| other.overlaps(run.rest())).copied().collect();
        // What is no longer in flight was landed by the run that this one lost against.
        let orphan = |planner: &Self, chunk: u32| {
            let in_flight = planner.states.get(chunk as usize) == Some(&ChunkState::InFlight);
            (in_flight || faults::is(Bug::LandedWantedAgain))
                && !others.iter().any(|other| (other.next..other.end).contains(&chunk))
        };
        let mut first = run.next;
        while first < run.end {
            let mut end = first;
            while end < run.end && orphan(self, end) {
                end += 1;
            }
            if end > first && !faults::is(Bug::LostNotWanted) {
                self.want(ChunkRange { first, count: end - first });
            }
            first = end + 1;
        }
        Some(run.source)
    }

    /// A source is gone: others need not keep out of the region it was working on.
    pub(super) fn forget_source(&mut self, source: SourceId) {
        self.cursors.remove(&source);
    }

    /// Whether a run is in flight under this number.
    pub(super) fn has_run(&self, request: RequestId) -> bool {
        self.runs.contains_key(&request)
    }

    /// The runs in flight at a source, in the order in which they were asked.
    pub(super) fn runs_of(&self, source: SourceId) -> impl Iterator<Item = RequestId> + '_ {
        self.runs.iter().filter(move |(_, run)| run.source == source).map(|(request, _)| *request)
    }

    /// Every run in flight, in the order in which they were asked.
    pub(super) fn runs(&self) -> impl Iterator<Item = RunView> + '_ {
        self.runs.iter().map(|(request, run)| RunView { request: *request, source: run.source, rest: run.rest() })
    }

    /// What every source that has anything to do holds.
    pub(super) fn loads(&self) -> BTreeMap<SourceId, Load> {
        let mut loads: BTreeMap<SourceId, Load> = BTreeMap::new();
        for run in self.runs.values() {
            let load = loads.entry(run.source).or_default();
            load.runs += 1;
            load.buffers += run.buffers;
        }
        for landed in self.writing.values() {
            loads.entry(landed.source).or_default().buffers += 1;
        }
        loads
    }

    /// What workers verify and write: from whom it came, and which chunks.
    pub(super) fn being_written(&self) -> impl Iterator<Item = (SourceId, ChunkRange)> + '_ {
        self.writing.iter().map(|(&(_, first), landed)| (landed.source, ChunkRange { first, count: landed.count }))
    }

    /// Whether anybody was asked for anything yet.
    pub(super) fn is_begun(&self) -> bool {
        !self.cursors.is_empty()
    }

    /// Landing buffers that this download holds.
    pub(super) fn buffers(&self) -> usize {
        self.in_flight_buffers + self.writing.len()
    }

    /// Whether workers still hold batches.
    pub(super) fn is_writing(&self) -> bool {
        !self.writing.is_empty()
    }

    /// Whether nobody was asked for some chunk.
    pub(super) fn has_wanted(&self) -> bool {
        self.wanted_chunks > 0
    }

    /// Bytes of chunks that nobody was asked for, at most: a short last chunk counts as a whole one.
    pub(super) fn wanted_bytes_at_most(&self) -> u64 {
        (u64::from(self.wanted_chunks) * crate::types::CHUNK_SIZE).min(self.plan.manifest.bytes())
    }

    /// Every wanted chunk, as maximal extents in ascending order: first and one behind the last.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.wanted.iter().map(|(&first, &end)| (first, end))
    }

    /// The same of the wanted chunks within a range.
    pub(super) fn wanted_in(&self, range: Range<u32>) -> impl Iterator<Item = (u32, u32)> + '_ {
        let before = self.wanted.range(..range.start).next_back().filter(|(_, end)| **end > range.start);
        let begins = self.wanted.range(range.start..range.end.max(range.start));
        before.into_iter().chain(begins).map(move |(&first, &end)| (first.max(range.start), end.min(range.end)))
    }

    /// Where a source's last run ended, if what comes behind is wanted: there, and the end of that extent.
    pub(super) fn wanted_at_cursor(&self, source: SourceId) -> Option<(u32, u32)> {
        let cursor = *self.cursors.get(&source)?;
        let (_, &end) = self.wanted.range(..=cursor).next_back()?;
        (cursor < end).then_some((cursor, end))
    }

    /// Whether a chunk is verified and written.
    pub(super) fn has(&self, index: ChunkIndex) -> bool {
        self.states.get(index.0 as usize) == Some(&ChunkState::Have)
    }

    /// What is verified and written, but for `without`: maximal ranges in ascending order.
    pub(super) fn have_ranges(&self, without: &Range<u32>) -> Vec<ChunkRange> {
        let mut ranges: Vec<ChunkRange> = Vec::new();
        let have =
            (0..).zip(&self.states).filter(|(chunk, state)| **state == ChunkState::Have && !without.contains(chunk));
        for (chunk, _) in have {
            match ranges.last_mut() {
                Some(last) if last.first + last.count == chunk => last.count += 1,
                _ => ranges.push(ChunkRange { first: chunk, count: 1 }),
            }
        }
        ranges
    }

    /// Whether any run is in flight.
    pub(super) fn is_fetching(&self) -> bool {
        !self.runs.is_empty()
    }

    /// Verified bytes on disk.
    pub(super) fn have_bytes(&self) -> u64 {
        self.have_bytes
    }

    /// Those of them that nobody had to send.
    pub(super) fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// Whether every chunk is there.
    pub(super) fn is_complete(&self) -> bool {
        self.have_chunks as usize == self.states.len()
    }

    /// A region of wanted chunks for a source: on from where it was; else the largest one, from its middle if another
    /// source is working its way into it.
    fn region_for(&self, source: SourceId, portion: Portion) -> Option<(u32, u32)> {
        let avoid = portion.avoid.map(|avoid| avoid.0);
        if let Some(&cursor) = self.cursors.get(&source)
            && let Some((&first, &end)) = self.wanted.range(..=cursor).next_back()
            && cursor < end
            && avoid != Some(cursor)
        {
            debug_assert!(first <= cursor);
            return Some((cursor, avoid.filter(|avoid| (cursor..end).contains(avoid)).unwrap_or(end)));
        }
        let small = SPLIT_ABOVE_RUNS.saturating_mul(u32::try_from(portion.buffers).unwrap_or(u32::MAX));
        self.wanted
            .iter()
            .take(EXTENTS_CONSIDERED)
            .flat_map(|(&first, &end)| match avoid {
                Some(avoid) if (first..end).contains(&avoid) => [(first, avoid), (avoid + 1, end)],
                _ => [(first, end), (end, end)],
            })
            .filter(|(first, end)| first < end)
            .map(|(first, end)| {
                let taken = self.cursors.iter().any(|(other, &cursor)| *other != source && cursor == first);
                if taken && end - first >= small.max(2) { (first + (end - first) / 2, end) } else { (first, end) }
            })
            // The largest; of equals the first.
            .min_by_key(|(first, end)| (std::cmp::Reverse(end - first), *first))
    }

    fn start(&mut self, request: RequestId, source: SourceId, range: ChunkRange, buffers: usize) {
        let end = range.first + range.count;
        self.runs.insert(request, Run { source, next: range.first, end, buffers });
        self.in_flight_buffers += buffers;
        self.cursors.insert(source, end);
    }

    /// Wanted → InFlight. The range lies within one extent.
    fn claim(&mut self, range: ChunkRange) {
        let end = range.first + range.count;
        let Some((&first, &extent_end)) = self.wanted.range(..=range.first).next_back() else { return };
        self.wanted.remove(&first);
        if first < range.first {
            self.wanted.insert(first, range.first);
        }
        if end < extent_end {
            self.wanted.insert(end, extent_end);
        }
        self.wanted_chunks -= range.count;
        self.set(range, ChunkState::InFlight);
    }

    /// InFlight or Writing → Wanted; joins the neighbouring extents.
    fn want(&mut self, range: ChunkRange) {
        let (mut first, mut end) = (range.first, range.first + range.count);
        if let Some((&before, &before_end)) = self.wanted.range(..first).next_back()
            && before_end == first
        {
            first = before;
        }
        if let Some(after_end) = self.wanted.remove(&end) {
            end = after_end;
        }
        self.wanted.insert(first, end);
        self.wanted_chunks += range.count;
        self.set(range, ChunkState::Wanted);
    }

    fn set(&mut self, range: ChunkRange, state: ChunkState) {
        let (first, end) = (range.first as usize, range.first as usize + range.count as usize);
        if let Some(states) = self.states.get_mut(first..end) {
            states.fill(state);
        }
    }

    /// Recounts everything. For tests: it looks at every chunk.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        let mut expected = vec![None; self.states.len()];
        let mut put = |range: Range<u32>, state: ChunkState| {
            for chunk in range {
                let was = expected[chunk as usize].replace(state);
                assert!(was.is_none() || was == Some(ChunkState::InFlight) && state == ChunkState::InFlight);
            }
        };
        let mut last_end = None;
        for (&first, &end) in &self.wanted {
            assert!(first < end && last_end.is_none_or(|last| last < first), "extents are maximal");
            last_end = Some(end);
            put(first..end, ChunkState::Wanted);
        }
        for run in self.runs.values() {
            put(run.next..run.end, ChunkState::InFlight);
        }
        for (&(_, first), landed) in &self.writing {
            put(first..first + landed.count, ChunkState::Writing);
        }
        for (chunk, state) in self.states.iter().enumerate() {
            assert_eq!(expected[chunk].unwrap_or(ChunkState::Have), *state, "chunk {chunk}");
        }
        let count = |state| self.states.iter().filter(|is| **is == state).count();
        assert_eq!(count(ChunkState::Wanted), self.wanted_chunks as usize);
        assert_eq!(count(ChunkState::Have), self.have_chunks as usize);
        assert_eq!(self.in_flight_buffers, self.runs.values().map(|run| run.buffers).sum::<usize>());
        for run in self.runs.values() {
            assert!(
                self.plan.manifest.batches(run.rest()).count() <= run.buffers,
                "enough buffers for the rest of a run"
            );
        }
    }
}

/// As many batches from `first` on as the portion allows, at least one; with the buffers they need.
fn cut(manifest: &Manifest, first: u32, end: u32, portion: Portion) -> Option<(ChunkRange, usize)> {
    let count = end.checked_sub(first)?;
    let (mut chunks, mut bytes, mut buffers) = (0, 0, 0);
    for Batch { range, bytes: len } in manifest.batches(ChunkRange { first, count }).take(portion.buffers) {
        if buffers > 0 && bytes + u64::from(len) > portion.bytes {
            break;
        }
        chunks += range.count;
        bytes += u64::from(len);
        buffers += 1;
    }
    (chunks > 0).then_some((ChunkRange { first, count: chunks }, buffers))
}
