//! What `benches/planner.rs` drives: the planner without anything around it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::planner::{Planner, Portion};
use crate::engine::io::RequestId;
use crate::types::{CHUNK_SIZE, ChunkRange, DownloadPlan, FileEntry, GameId, Manifest, PeerId, RelPath, SourceId};

/// A planner and the sources it is asked for.
#[derive(Debug)]
pub struct PlannerBench {
    planner: Planner,
    sources: Vec<SourceId>,
    next_request: u64,
}

impl PlannerBench {
    /// One file of `chunks` whole chunks, wanted from `sources` sources. `None`: too many chunks.
    pub fn new(chunks: u32, sources: u8) -> Option<Self> {
        let path = RelPath::parse("data").ok()?;
        let file = FileEntry { path, size: u64::from(chunks) * CHUNK_SIZE, exec: false };
        let manifest = Manifest::new(vec![file]).ok()?;
        let game: GameId = "game".parse().ok()?;
        let plan = DownloadPlan { game, manifest_hash: manifest.hash(), manifest, content: None };
        let sources = (0..sources).map(|n| SourceId::Peer(PeerId::from_spki_sha256(&[n; 32]))).collect();
        Some(Self { planner: Planner::new(Arc::new(plan), &[]), sources, next_request: 0 })
    }

    /// Takes the next run for source number `source`, 4 chunks at most.
    pub fn take(&mut self, source: usize) -> Option<(u64, ChunkRange)> {
        self.next_request += 1;
        let portion = Portion { bytes: 4 * CHUNK_SIZE, buffers: 4, avoid: None };
        let range = self.planner.take(RequestId(self.next_request), *self.sources.get(source)?, portion)?;
        Some((self.next_request, range))
    }

    /// A run fails: its chunks are wanted again.
    pub fn lose(&mut self, request: u64) {
        self.planner.lost(RequestId(request));
    }

    /// Fetches everything, two runs in flight at each source. Answers how many runs that took.
    pub fn fetch_all(&mut self) -> u64 {
        let mut in_flight: VecDeque<_> = (0..2 * self.sources.len()).filter_map(|n| self.take_for(n)).collect();
        let mut runs = 0;
        while let Some((source, request, range)) = in_flight.pop_front() {
            for index in range.iter() {
                let batch = ChunkRange { first: index.0, count: 1 };
                self.planner.landed(RequestId(request), batch);
                self.planner.written(RequestId(request), batch, &[], true);
            }
            runs += 1;
            in_flight.extend(self.take_for(source));
        }
        runs
    }

    /// Fetches every other chunk, so that no two wanted chunks are neighbours: the worst case for the extents.
    pub fn tear(&mut self) {
        let Some(&source) = self.sources.first() else { return };
        let mut lost = Vec::new();
        loop {
            self.next_request += 1;
            let request = RequestId(self.next_request);
            let portion = Portion { bytes: 1, buffers: 1, avoid: None };
            let Some(range) = self.planner.take(request, source, portion) else { break };
            if range.first % 2 == 0 {
                self.planner.landed(request, range);
                self.planner.written(request, range, &[], true);
            } else {
                lost.push(request);
            }
        }
        for request in lost {
            self.planner.lost(request);
        }
    }

    /// Whether every chunk is there.
    pub fn is_complete(&self) -> bool {
        self.planner.is_complete()
    }

    fn take_for(&mut self, source: usize) -> Option<(usize, u64, ChunkRange)> {
        let source = source.checked_rem(self.sources.len())?;
        self.take(source).map(|(request, range)| (source, request, range))
    }
}
