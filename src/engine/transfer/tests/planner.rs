//! The planner by itself: what is taken, landed, lost and wanted again.

use std::sync::Arc;

use super::super::planner::{Planner, Portion};
use super::sim::peer_id;
use crate::engine::io::RequestId;
use crate::types::{CHUNK_SIZE, ChunkIndex, ChunkRange, DownloadPlan, FileEntry, Manifest, RelPath, SourceId};

/// One file of so many chunks, of which `kept` are there.
fn planner(chunks: u32, kept: &[ChunkRange]) -> Planner {
    let path = RelPath::parse("data").unwrap();
    let manifest = Manifest::new(vec![FileEntry { path, size: u64::from(chunks) * CHUNK_SIZE, exec: false }]).unwrap();
    let game = "doom".parse().unwrap();
    Planner::new(Arc::new(DownloadPlan { game, manifest_hash: manifest.hash(), manifest, content: None }), kept)
}

fn source(n: u8) -> SourceId {
    SourceId::Peer(peer_id(n))
}

fn range(first: u32, count: u32) -> ChunkRange {
    ChunkRange { first, count }
}

/// At most so many chunks.
fn portion(chunks: usize) -> Portion {
    Portion { bytes: chunks as u64 * CHUNK_SIZE, buffers: chunks, avoid: None }
}

fn wanted(planner: &Planner) -> Vec<(u32, u32)> {
    planner.check_invariants();
    planner.wanted().collect()
}

#[test]
fn a_source_goes_on_where_it_was_and_another_begins_in_the_middle_of_what_is_left() {
    let mut planner = planner(16, &[]);
    let mut take = |request, of| planner.take(RequestId(request), source(of), portion(2));
    assert_eq!(take(1, 1), Some(range(0, 2)));
    assert_eq!(take(2, 2), Some(range(9, 2)), "the middle of 2..16");
    assert_eq!(take(3, 1), Some(range(2, 2)));
    assert_eq!(take(4, 2), Some(range(11, 2)));
    planner.forget_source(source(2));
    assert_eq!(wanted(&planner), [(4, 9), (13, 16)]);
}

#[test]
fn what_is_kept_is_never_taken_and_what_is_avoided_not_by_this_source() {
    let mut planner = planner(8, &[range(0, 2), range(5, 1)]);
    let avoiding = Portion { avoid: Some(ChunkIndex(3)), ..portion(8) };
    assert_eq!(planner.kept_bytes(), 3 * CHUNK_SIZE);
    assert_eq!(planner.take(RequestId(1), source(1), avoiding), Some(range(6, 2)), "the largest region without it");
    assert_eq!(planner.take(RequestId(2), source(1), avoiding), Some(range(2, 1)));
    assert_eq!(planner.take(RequestId(3), source(1), avoiding), Some(range(4, 1)), "never on into it");
    assert_eq!(planner.take(RequestId(4), source(1), avoiding), None);
    assert_eq!(planner.take(RequestId(5), source(2), portion(8)), Some(range(3, 1)));
    assert!(!planner.has_wanted());
}

#[test]
fn what_a_lost_run_did_not_land_is_wanted_again_and_what_was_bad_too() {
    let mut planner = planner(4, &[]);
    planner.take(RequestId(1), source(1), portion(4)).unwrap();
    assert_eq!(planner.landed(RequestId(1), range(1, 1)), None, "not the next of the run");
    assert!(planner.landed(RequestId(1), range(0, 1)).is_some());
    assert_eq!(planner.buffers(), 4, "one with a worker, three reserved");
    assert_eq!(planner.lost(RequestId(1)), Some(source(1)));
    assert_eq!((wanted(&planner), planner.buffers()), (vec![(1, 4)], 1));
    let written = planner.written(RequestId(1), range(0, 1), &[ChunkIndex(0)], true).unwrap();
    assert_eq!((written.source, written.good_bytes, written.bad), (source(1), 0, vec![ChunkIndex(0)]));
    assert_eq!(wanted(&planner), [(0, 4)], "extents are joined");
    assert_eq!(planner.lost(RequestId(1)), None, "once");
}

#[test]
fn of_two_runs_for_the_same_chunks_the_first_to_land_one_wins() {
    let mut planner = planner(2, &[]);
    planner.take(RequestId(1), source(1), portion(2)).unwrap();
    assert_eq!(planner.duplicate(RequestId(2), source(1), RequestId(1), portion(2)), None, "not from the same source");
    assert_eq!(planner.duplicate(RequestId(2), source(2), RequestId(1), portion(2)), Some(range(0, 2)));
    assert_eq!(planner.duplicate(RequestId(3), source(3), RequestId(1), portion(2)), None, "it is fetched twice");
    assert_eq!(planner.lost(RequestId(1)), Some(source(1)));
    assert!(!planner.has_wanted(), "the other one is after it");
    planner.duplicate(RequestId(4), source(1), RequestId(2), portion(2)).unwrap();
    let batch = planner.landed(RequestId(4), range(0, 1)).unwrap();
    assert_eq!((batch.source, batch.losers), (source(1), vec![RequestId(2)]));
    assert_eq!(wanted(&planner), [], "the winner goes on with the rest");
    planner.landed(RequestId(4), range(1, 1)).unwrap();
    for first in 0..2 {
        planner.written(RequestId(4), range(first, 1), &[], true).unwrap();
    }
    assert!(planner.is_complete() && planner.buffers() == 0);
}

#[test]
fn what_is_distrusted_is_wanted_again_also_when_a_worker_still_has_it() {
    let mut planner = planner(3, &[]);
    planner.take(RequestId(1), source(1), portion(3)).unwrap();
    planner.landed(RequestId(1), range(0, 1)).unwrap();
    planner.landed(RequestId(1), range(1, 1)).unwrap();
    planner.written(RequestId(1), range(0, 1), &[], true).unwrap();
    assert_eq!(planner.distrust(&[ChunkIndex(0), ChunkIndex(1)]), CHUNK_SIZE, "one of them had counted");
    assert_eq!(wanted(&planner), [(0, 1)]);
    assert_eq!(planner.written(RequestId(1), range(1, 1), &[], true).unwrap().bad, [ChunkIndex(1)]);
    assert_eq!(wanted(&planner), [(0, 2)]);
}
