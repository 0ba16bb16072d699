//! Downloads that need not fetch everything, and those that take one content only.

use super::super::Only;
use super::*;
use crate::types::ChunkRange;

fn range(first: u32, count: u32) -> ChunkRange {
    ChunkRange { first, count }
}

#[test]
fn chunks_that_are_here_are_not_asked_for_and_do_not_count_into_the_rate() {
    let offered = offer("g", "1", &[20 * MIB], 0);
    let last = offered.manifest.chunk_count() - 1;
    for kept in [vec![range(0, 5), range(8, 7)], vec![range(3, 1)], vec![range(last, 1)], vec![range(0, last)]] {
        let mut sim = Sim::new(1);
        sim.peer(1, &offered);
        sim.peer(2, &offered).bad = [6].into();
        sim.kept = kept.clone();
        let begun = sim.now;
        sim.download("g").unwrap();
        sim.run();
        let here: u64 = kept.iter().map(|range| offered.manifest.range_bytes(*range)).sum();
        let fetched: u64 = finished(&sim).iter().map(|source| source.bytes).sum();
        assert!(here > 0 && fetched > 0);
        assert_eq!(here + fetched, offered.manifest.bytes());
        assert_eq!(sim.written() as u32, offered.manifest.chunk_count());
        let Some(PeerEvent::DownloadFinished { resumed_bytes, mib_per_s, .. }) = sim.log.last() else { panic!() };
        assert_eq!(*resumed_bytes, here);
        let at_most = fetched as f64 / MIB as f64 / (sim.now - begun).as_secs_f64();
        assert!(*mib_per_s <= at_most + 1e-6, "{mib_per_s} of {at_most}");
        for event in &sim.log {
            if let PeerEvent::DownloadProgress { bytes, bytes_per_second, .. } = event {
                assert!(*bytes >= here && *bytes_per_second < 25_000_000, "{event:?}");
            }
        }
    }
}

#[test]
fn a_game_of_which_nothing_is_missing_goes_straight_to_its_commit() {
    let mut sim = Sim::new(1);
    let offered = offer("g", "1", &[9 * MIB, 0, 5], 0);
    sim.peer(1, &offered);
    sim.kept = vec![range(0, offered.manifest.chunk_count())];
    sim.download("g").unwrap();
    sim.run();
    assert_eq!((finished(&sim), sim.peers[&peer_id(1)].requests), (vec![], 0));
    let committed = sim.jobs.iter().filter(|job| matches!(job, Job::CommitDownload { .. })).count();
    assert_eq!((committed, abandoned(&sim).len()), (1, 0));
}

#[test]
fn the_look_through_the_disk_is_told_at_its_pace_and_given_up_with_the_download() {
    for in_time in [false, true] {
        let mut sim = Sim::new(if in_time { 1 } else { 2 });
        sim.peer(1, &offer("g", "1", &[MIB], 0));
        sim.download("g").unwrap();
        sim.run_until(|sim| sim.jobs.iter().any(|job| matches!(job, Job::PrepareDownload { .. })));
        for done in 0..40 {
            sim.now += Duration::from_millis(100);
            sim.with(|transfers, cx| {
                transfers.preparing(cx, &game("g"), done, 40);
                transfers.preparing(cx, &game("other"), done, 40);
            });
        }
        let told = |event: &&PeerEvent| matches!(event, PeerEvent::DownloadChecking { total: 40, .. });
        assert_eq!(sim.log.iter().filter(told).count(), 8, "twice a second over four seconds");
        sim.cancel("g").unwrap();
        sim.run();
        assert_eq!(failed(&sim), ErrorCode::Cancelled);
        assert_eq!(abandoned(&sim).len(), 1);
        assert_eq!(sim.cancelled_prepares, [game("g")]);
    }
}

#[test]
fn a_repair_takes_nothing_but_the_content_that_was_verified() {
    let (ours, others) = (offer("g", "1", &[6 * MIB], 0), offer("g", "1", &[6 * MIB], 1));
    let newer = offer("g", "2", &[7 * MIB], 2);
    for is_there in [true, false] {
        let mut sim = Sim::new(1);
        if is_there {
            sim.peer(1, &ours);
        }
        for n in [2, 3] {
            sim.peer(n, &others);
        }
        sim.peer(4, &newer);
        let chunks = ours.manifest.chunk_count();
        sim.kept = vec![range(0, 2), range(3, chunks - 3)];
        let only = Only { manifest_hash: ours.summary.manifest_hash, content_hash: ours.content() };
        sim.with(|transfers, cx| {
            transfers.take_over(cx, game("g"), only);
        });
        assert!(sim.transfers.is_busy(&game("g")) && sim.transfers.holds_repairs());
        assert_eq!(code(sim.download("g")), ErrorCode::OperationInProgress);
        sim.run();
        assert!(sim.jobs.is_empty(), "nothing begins before the end of the verification is told");
        sim.with(|transfers, _| transfers.begin_repairs());
        assert!(!sim.transfers.holds_repairs());
        sim.run();
        if is_there {
            assert_eq!(finished(&sim), [SourceBytes { peer_id: peer_id(1), bytes: MIB }]);
        } else {
            assert_eq!(failed(&sim), ErrorCode::NoSources);
            assert!(sim.jobs.is_empty(), "no file was touched");
        }
        assert!(sim.transfers.is_drained());
    }
}

#[test]
fn a_repair_that_was_not_begun_can_be_cancelled_and_ends_with_the_daemon() {
    for shutdown in [false, true] {
        let mut sim = Sim::new(1);
        let ours = offer("g", "1", &[MIB], 0);
        sim.peer(1, &ours);
        let only = Only { manifest_hash: ours.summary.manifest_hash, content_hash: ours.content() };
        sim.with(|transfers, cx| {
            transfers.take_over(cx, game("g"), only);
        });
        if shutdown {
            sim.shutdown();
        } else {
            sim.cancel("g").unwrap();
        }
        assert_eq!(failed(&sim), ErrorCode::Cancelled);
        assert!(sim.transfers.is_drained());
    }
}
