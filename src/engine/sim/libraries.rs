//! The rules of libraries: revisions, snapshots and deltas, scans and hashes.

use super::solo::*;
use super::*;
use crate::proto::{LibraryState, Snapshot, WireError, WireErrorCode};
use crate::types::{Epoch, LibraryDigest, Revision, library_digest};

#[test]
fn a_known_index_keeps_its_revision_and_a_changed_one_moves_on() {
    let game = scanned("quake", "1", 10);
    let mut first = Solo::new(std::slice::from_ref(&game), None);
    let state = first.status();
    let index = LibraryIndex {
        epoch: state.library_epoch,
        rev: state.library_rev,
        digest: state.library_digest,
        games: vec![Arc::new(game.clone())],
    };
    let same = Solo::new(&[game], Some(index.clone())).status();
    assert_eq!((same.library_epoch, same.library_rev), (index.epoch, index.rev));
    let changed = Solo::new(&[scanned("quake", "2", 10)], Some(index.clone())).status();
    assert_eq!((changed.library_epoch, changed.library_rev), (index.epoch, index.rev.next()));
}

#[test]
fn a_push_applies_only_on_its_base_and_only_with_its_digest() {
    let (a, b) = (summary("a", 1), summary("b", 2));
    let both = [a.clone(), b.clone()];
    let good = library_digest(both.iter());
    let push = |solo: &mut Solo, conn, delta| {
        solo.feed(Input::Notification { conn, notification: Notification::LibraryDelta { peer_id: peer(1), delta } })
    };
    let (mut solo, conn) = in_step_with(std::slice::from_ref(&a));
    let outputs = push(&mut solo, conn, delta(4, 5, good, std::slice::from_ref(&b)));
    assert_eq!(outputs, [], "known already");
    let outputs = push(&mut solo, conn, delta(5, 6, good, std::slice::from_ref(&b)));
    assert!(matches!(events(&outputs)[..], [PeerEvent::PeerLibraryChanged { rev: Revision(6), game_count: 2, .. }]));
    assert!(asks(&outputs).is_empty());
    let outputs = push(&mut solo, conn, delta(8, 9, good, &[]));
    let asked = Request::GetLibraryDelta { epoch: EPOCH, from_rev: Revision(6) };
    assert_eq!(asks(&outputs)[0].1, &asked, "something is missing in between");

    let (mut solo, conn) = in_step_with(std::slice::from_ref(&a));
    let wrong = LibraryDigest([1; 16]);
    let outputs = push(&mut solo, conn, delta(5, 6, wrong, std::slice::from_ref(&b)));
    assert!(matches!(asks(&outputs)[..], [(_, Request::GetLibrary { .. })]));
    assert!(events(&outputs).is_empty(), "nothing of it was taken in");
}

#[test]
fn an_equal_state_causes_no_request_and_a_return_costs_a_delta() {
    let a = summary("a", 1);
    let (mut solo, conn) = in_step_with(std::slice::from_ref(&a));
    solo.feed(Input::Notification { conn, notification: Notification::Goodbye { peer_id: peer(1) } });
    let (conn, outputs) = solo.accepted(1, state(5, std::slice::from_ref(&a)));
    assert!(asks(&outputs).is_empty());
    solo.feed(Input::Notification { conn, notification: Notification::Goodbye { peer_id: peer(1) } });
    let (_, outputs) = solo.accepted(1, state(8, &[]));
    assert_eq!(asks(&outputs)[0].1, &Request::GetLibraryDelta { epoch: EPOCH, from_rev: Revision(5) });
}

#[test]
fn doubts_of_others_are_looked_into_one_at_a_time_and_rarely() {
    let content = |n: u8| ContentHash([n; 32]);
    let games =
        [("a", 1), ("b", 2)].map(|(id, n)| ScannedGame { content_hash: Some(content(n)), ..scanned(id, "1", 10) });
    let mut solo = Solo::new(&games, None);
    let (conn, _) = solo.accepted(1, empty());
    let doubt = |solo: &mut Solo, game: &str, of: u8| {
        let body = Notification::BadChunks { game_id: game.parse().unwrap(), content_hash: content(of) };
        let outputs = solo.feed(Input::Notification { conn, notification: body });
        let hashed = jobs(&outputs).into_iter().filter_map(|job| match job {
            Job::HashGame { game, manifest_hash, anew: true } => Some((game.clone(), *manifest_hash)),
            _ => None,
        });
        hashed.collect::<Vec<_>>()
    };
    assert_eq!(doubt(&mut solo, "a", 9), [], "of another content");
    assert_eq!(doubt(&mut solo, "nobody-has-it", 1), []);
    let first = doubt(&mut solo, "a", 1);
    let [(game, manifest_hash)] = first.as_slice() else { panic!("{first:?}") };
    // It was a lie: the content is what it was, nothing is revised.
    let state = solo.status();
    let done = JobDone::GameHashed { game: game.clone(), manifest_hash: *manifest_hash, result: Ok(content(1)) };
    let outputs = solo.feed(Input::JobDone(done));
    assert!(saves(&outputs).is_empty() && events(&outputs).is_empty(), "{outputs:?}");
    assert_eq!(solo.status().library_rev, state.library_rev);
    for pause in [0, 29] {
        solo.now += Duration::from_secs(pause);
        assert_eq!(doubt(&mut solo, "b", 2), [], "another one was looked into a moment ago");
    }
    solo.now += Duration::from_secs(2);
    assert_eq!(doubt(&mut solo, "a", 1), [], "this one was");
    let second = doubt(&mut solo, "b", 2);
    let [(game, manifest_hash)] = second.as_slice() else { panic!("{second:?}") };
    // It was true: others must not get what is open under the old name.
    let done = JobDone::GameHashed { game: game.clone(), manifest_hash: *manifest_hash, result: Ok(content(3)) };
    let outputs = solo.feed(Input::JobDone(done));
    assert!(outputs.iter().any(|output| matches!(output, Output::StopSending { game } if game.as_str() == "b")));
    assert!(matches!(events(&outputs)[..], [PeerEvent::RuntimeError { code: ErrorCode::VerificationFailed, .. }]));
}

#[test]
fn a_snapshot_that_denies_its_own_digest_is_asked_for_twice_and_then_slowly() {
    let mut solo = Solo::new(&[], None);
    let lie = LibraryState { digest: LibraryDigest([9; 16]), ..state(5, &[]) };
    let (_, mut outputs) = solo.accepted(1, lie);
    let mut asked = 0;
    let begin = solo.now;
    while solo.now - begin < Duration::from_secs(120) {
        for (request, body) in asks(&outputs.clone()) {
            assert!(matches!(body, Request::GetLibrary { .. } | Request::Ping { .. }));
            if matches!(body, Request::GetLibrary { .. }) {
                asked += 1;
                outputs = solo.answer(
                    request,
                    Answer::LibrarySnapshot { peer_id: peer(1), snapshot: snapshot(5, &[summary("x", 1)]) },
                );
            }
        }
        if !asks(&outputs).iter().any(|(_, body)| matches!(body, Request::GetLibrary { .. })) {
            let conn = ConnId(2);
            solo.ask(conn, Request::Ping { nonce: 0 });
            outputs = solo.pass(Duration::from_secs(1));
        }
    }
    assert!((3..12).contains(&asked), "{asked} requests in two minutes");
    assert!(solo.peer_rows()[0].connected, "the peer is kept");
    assert_eq!(solo.peer_rows()[0].library_rev, None);
}

#[test]
fn an_accepted_revision_never_goes_back_within_an_epoch() {
    let (mut solo, conn) = in_step_with(&[summary("a", 1)]);
    let back = state(3, &[]);
    let notification = Notification::LibrarySummary { peer_id: peer(1), summary: back };
    let outputs = solo.feed(Input::Notification { conn, notification });
    let [(request, body)] = asks(&outputs)[..] else { panic!("{outputs:?}") };
    assert_eq!(body, &Request::GetLibraryDelta { epoch: EPOCH, from_rev: Revision(5) }, "it tells the owner");
    let error = WireError { code: WireErrorCode::EpochReset, message: String::new() };
    solo.answer(request, Answer::Error(error));
    let new = LibraryState { epoch: Epoch(8), ..state(1, &[]) };
    let notification = Notification::LibrarySummary { peer_id: peer(1), summary: new };
    let outputs = solo.feed(Input::Notification { conn, notification });
    let [(request, Request::GetLibrary { .. })] = asks(&outputs)[..] else { panic!("{outputs:?}") };
    let fresh = Snapshot { epoch: Epoch(8), ..snapshot(1, &[]) };
    let outputs = solo.answer(request, Answer::LibrarySnapshot { peer_id: peer(1), snapshot: fresh });
    assert!(matches!(events(&outputs)[..], [PeerEvent::PeerLibraryChanged { rev: Revision(1), .. }]));
}

#[test]
fn a_restored_index_begins_a_new_epoch_once() {
    let index = LibraryIndex { epoch: EPOCH, rev: Revision(3), digest: LibraryDigest([0; 16]), games: Vec::new() };
    let mut solo = Solo::new(&[], Some(index));
    assert_eq!((solo.status().library_epoch, solo.status().library_rev), (EPOCH, Revision(4)));
    let (conn, _) = solo.accepted(1, empty());
    let outputs = solo.ask(conn, Request::GetLibraryDelta { epoch: EPOCH, from_rev: Revision(9) });
    let [Answer::Error(error)] = answers(&outputs)[..] else { panic!("{outputs:?}") };
    assert_eq!(error.code, WireErrorCode::EpochReset);
    let index = saves(&outputs).remove(0);
    assert_ne!(index.epoch, EPOCH);
    assert!(notes(&outputs).is_empty(), "announced only when it is durable");
    let outputs = solo.saved(&index, Ok(()));
    let [Notification::LibrarySummary { summary, .. }] = notes(&outputs)[..] else { panic!("{outputs:?}") };
    assert_eq!(summary.stamp(), index.stamp());
    // A liar cannot make it happen again.
    let outputs = solo.ask(conn, Request::GetLibraryDelta { epoch: index.epoch, from_rev: Revision(u64::MAX) });
    let [Answer::Error(error)] = answers(&outputs)[..] else { panic!("{outputs:?}") };
    assert_eq!(error.code, WireErrorCode::BadRequest);
    assert!(saves(&outputs).is_empty());
}

#[test]
fn a_change_is_saved_then_pushed_with_the_right_fields() {
    let mut solo = Solo::new(&[scanned("a", "1", 1), scanned("b", "1", 1)], None);
    let rev = solo.status().library_rev;
    let (conn, _) = solo.accepted(1, empty());
    let mut change = |game, result| {
        let outputs = found(&mut solo, game, result);
        assert!(notes(&outputs).is_empty(), "not before it is durable");
        let index = saves(&outputs).remove(0);
        let outputs = solo.saved(&index, Ok(()));
        match notes(&outputs)[..] {
            [Notification::LibraryDelta { delta, .. }] => delta.clone(),
            _ => panic!("{outputs:?}"),
        }
    };
    let ids = |games: &[Arc<GameSummary>]| games.iter().map(|game| game.id.to_string()).collect::<Vec<_>>();
    let added = change("c", Some(scanned("c", "1", 1)));
    assert_eq!((added.from_rev, added.to_rev), (rev, rev.next()));
    assert_eq!((ids(&added.added), ids(&added.updated), added.removed.len()), (vec!["c".to_owned()], vec![], 0));
    let updated = change("a", Some(scanned("a", "2", 1)));
    assert_eq!((ids(&updated.added), ids(&updated.updated)), (vec![], vec!["a".to_owned()]));
    let removed = change("b", None);
    assert_eq!((removed.added.len(), removed.updated.len(), removed.removed[0].as_str()), (0, 0, "b"));
    // Who missed all three gets them in one.
    let outputs = solo.ask(conn, Request::GetLibraryDelta { epoch: added.epoch, from_rev: rev });
    let [Answer::LibraryDelta { delta, .. }] = answers(&outputs)[..] else { panic!("{outputs:?}") };
    assert_eq!((ids(&delta.added), ids(&delta.updated)), (vec!["c".to_owned()], vec!["a".to_owned()]));
    assert_eq!((delta.to_rev, delta.removed.len()), (removed.to_rev, 1));
}

#[test]
fn nothing_is_sent_or_saved_when_nothing_changed() {
    let game = scanned("a", "1", 1);
    let mut solo = Solo::new(std::slice::from_ref(&game), None);
    solo.accepted(1, empty());
    let outputs = found(&mut solo, "a", Some(game));
    assert!(notes(&outputs).is_empty() && saves(&outputs).is_empty() && events(&outputs).is_empty());
}

#[test]
fn a_failed_save_is_never_announced_and_tried_again() {
    let mut solo = Solo::new(&[], None);
    solo.accepted(1, empty());
    let outputs = found(&mut solo, "a", Some(scanned("a", "1", 1)));
    let failed = saves(&outputs).remove(0);
    let outputs = solo.saved(&failed, Err(JobError::new(JobErrorKind::DiskFull, "disk full")));
    assert!(notes(&outputs).is_empty());
    assert!(matches!(events(&outputs)[..], [PeerEvent::RuntimeError { code: ErrorCode::DiskFull, .. }]));
    assert_eq!(solo.status().library_rev, Revision(1));
    let outputs = solo.pass(Duration::from_secs(2));
    assert!(notes(&outputs).is_empty());
    let again = saves(&outputs).remove(0);
    assert!(again.rev > failed.rev, "a number that may be on disk is not used for another state");
    let outputs = solo.saved(&again, Ok(()));
    assert!(matches!(notes(&outputs)[..], [Notification::LibraryDelta { .. }]));
}

#[test]
fn a_big_change_is_announced_by_its_summary() {
    let mut solo = Solo::new(&[], None);
    solo.accepted(1, empty());
    solo.feed(Input::FsRescan { reason: "test" });
    let outputs = solo.pass(Duration::from_secs(1));
    assert!(jobs(&outputs).iter().any(|job| matches!(job, Job::ScanAll { .. })));
    let games = (0..600).map(|n| Arc::new(scanned(&format!("game-{n:03}"), "1", 1))).collect();
    let mut outputs = solo.feed(Input::JobDone(JobDone::AllScanned(Ok(games))));
    outputs.extend(solo.pass(Duration::from_millis(600)));
    let index = saves(&outputs).remove(0);
    let outputs = solo.saved(&index, Ok(()));
    assert!(matches!(notes(&outputs)[..], [Notification::LibrarySummary { .. }]));
}

#[test]
fn events_during_a_scan_lead_to_one_more() {
    let mut solo = Solo::new(&[scanned("a", "1", 1)], None);
    let game: GameId = "a".parse().unwrap();
    let scans = |outputs: &[Output]| jobs(outputs).iter().filter(|job| matches!(job, Job::ScanGame { .. })).count();
    (0..50).for_each(|_| drop(solo.feed(Input::FsChanged { game: game.clone() })));
    assert_eq!(scans(&solo.pass(Duration::from_millis(500))), 1);
    (0..50).for_each(|_| drop(solo.feed(Input::FsChanged { game: game.clone() })));
    assert_eq!(scans(&solo.pass(Duration::from_secs(5))), 0, "one runs");
    let result = Ok(Some(Arc::new(scanned("a", "2", 1))));
    let outputs = solo.feed(Input::JobDone(JobDone::GameScanned { game: game.clone(), result }));
    assert_eq!(scans(&outputs), 1);
    let result = Ok(Some(Arc::new(scanned("a", "2", 1))));
    let outputs = solo.feed(Input::JobDone(JobDone::GameScanned { game, result }));
    assert_eq!(scans(&outputs) + scans(&solo.pass(Duration::from_secs(5))), 0);
}

#[test]
fn games_are_hashed_one_at_a_time_and_a_hash_is_a_revision() {
    let mut solo = Solo::new(&[], None);
    let unportable = ScannedGame { unportable: Some("a bad name".to_owned()), ..scanned("c", "1", 1) };
    let outputs = found(&mut solo, "c", Some(unportable));
    solo.save_all(&outputs);
    let mut outputs = found(&mut solo, "a", Some(scanned("a", "1", 1)));
    outputs.extend(found(&mut solo, "b", Some(scanned("b", "1", 1))));
    let hashing: Vec<_> = jobs(&outputs).into_iter().filter(|job| matches!(job, Job::HashGame { .. })).collect();
    let [Job::HashGame { game, manifest_hash, .. }] = hashing[..] else { panic!("{hashing:?}") };
    assert_eq!(game.as_str(), "a");
    let (game, manifest_hash, content) = (game.clone(), *manifest_hash, content_hash_of(1));
    solo.save_all(&outputs);
    let mut outputs =
        solo.feed(Input::JobDone(JobDone::GameHashed { game: game.clone(), manifest_hash, result: Ok(content) }));
    assert!(jobs(&outputs).iter().any(|job| matches!(job, Job::HashGame { game, .. } if game.as_str() == "b")));
    outputs.extend(solo.pass(Duration::from_secs(1)));
    let index = saves(&outputs).pop().unwrap();
    assert!(index.games.iter().any(|known| known.id == game && known.content_hash == Some(content)));
    solo.save_all(&outputs);
    // Scans that were told the state without the hash do not take it away again.
    solo.feed(Input::FsRescan { reason: "test" });
    for _ in 0..2 {
        let mut outputs = solo.pass(Duration::from_secs(1));
        let known = ["a", "b", "c"].map(|game| Arc::new(scanned(game, "1", 1)));
        let games = known.into_iter().map(|game| match game.id.as_str() {
            "c" => Arc::new(ScannedGame { unportable: Some("a bad name".to_owned()), ..(*game).clone() }),
            _ => game,
        });
        outputs.extend(solo.feed(Input::JobDone(JobDone::AllScanned(Ok(games.collect())))));
        outputs.extend(solo.pass(Duration::from_secs(1)));
        assert!(saves(&outputs).is_empty(), "{outputs:?}");
    }
}

#[test]
fn a_game_whose_files_do_not_keep_still_is_hashed_ever_more_seldom() {
    let mut solo = Solo::new(&[scanned("a", "1", 1)], None);
    let mut outputs = solo.pass(Duration::ZERO);
    let (game, manifest_hash): (GameId, _) = ("a".parse().unwrap(), scanned("a", "1", 1).manifest_hash);
    let mut hashed = 1;
    for _ in 0..600 {
        for job in jobs(&outputs.clone()) {
            match job {
                Job::ScanGame { known, .. } => {
                    assert_eq!(known, &None, "the files are listed again");
                    let result = Ok(Some(Arc::new(scanned("a", "1", 1))));
                    solo.feed(Input::JobDone(JobDone::GameScanned { game: game.clone(), result }));
                }
                Job::ScanAll { known } => {
                    let known = known.clone();
                    solo.feed(Input::JobDone(JobDone::AllScanned(Ok(known))));
                }
                Job::HashGame { .. } => hashed += 1,
                _ => {}
            }
        }
        let changed = Err(JobError::new(JobErrorKind::Changed, "changed"));
        outputs = solo.feed(Input::JobDone(JobDone::GameHashed { game: game.clone(), manifest_hash, result: changed }));
        outputs.extend(solo.pass(Duration::from_secs(1)));
    }
    assert!((4..10).contains(&hashed), "hashed {hashed} times in 10 minutes");
}

#[test]
fn an_advertised_revision_that_is_not_pushed_is_asked_for_once() {
    let (mut solo, _) = in_step_with(&[]);
    let known = Input::Sighting(sighting(1, 5));
    assert_eq!(solo.feed(known), []);
    assert!(asks(&solo.pass(Duration::from_secs(5))).is_empty());
    solo.feed(Input::Sighting(sighting(1, 6)));
    assert!(asks(&solo.pass(Duration::from_millis(1_900))).is_empty(), "the push may still come");
    let outputs = solo.pass(Duration::from_millis(200));
    let [(request, Request::GetLibraryDelta { from_rev: Revision(5), .. })] = asks(&outputs)[..] else {
        panic!("{outputs:?}")
    };
    let nothing = delta(5, 5, library_digest([].into_iter()), &[]);
    solo.answer(request, Answer::LibraryDelta { peer_id: peer(1), delta: nothing });
    solo.feed(Input::Sighting(sighting(1, 6)));
    assert!(asks(&solo.pass(Duration::from_secs(5))).is_empty(), "the advertisement is a hint, not a command");
}

#[test]
fn everything_is_scanned_rarely_while_all_of_it_is_watched() {
    let mut solo = Solo::new(&[], None);
    let scans = |solo: &mut Solo, seconds: usize| {
        let mut scans = 0;
        for _ in 0..seconds / 10 {
            let outputs = solo.pass(Duration::from_secs(10));
            if outputs.iter().any(|output| matches!(output, Output::Job(Job::ScanAll { .. }))) {
                scans += 1;
                solo.feed(Input::JobDone(JobDone::AllScanned(Ok(Vec::new()))));
            }
        }
        scans
    };
    assert_eq!(scans(&mut solo, 10), 1, "what changed between the first look and the watches");
    assert_eq!(scans(&mut solo, 3_580), 0);
    assert_eq!(scans(&mut solo, 30), 1);
    solo.feed(Input::WatchDegraded { message: Some("no watches are left".to_owned()) });
    assert_eq!(scans(&mut solo, 3_030), 10);
    solo.feed(Input::WatchDegraded { message: None });
    assert_eq!(scans(&mut solo, 3_590), 0);
}

#[test]
fn the_contents_of_many_games_are_told_together_while_they_are_hashed() {
    const GAMES: usize = 300;
    let mut world = World::new(5, 2);
    world.slow_hashes = 100;
    for game in 0..GAMES {
        world.write_game(0, &format!("game-{game:03}"), "1", 5);
    }
    (0..2).for_each(|n| world.start(n));
    world.run(Duration::from_secs(1));
    world.sight_all();
    let hashed = |world: &World| {
        let engine = world.nodes[1].engine.as_ref().unwrap();
        let known = engine.parts.peers.libraries().next().map(|(_, _, library)| library.games().to_vec());
        known.unwrap_or_default().iter().filter(|game| game.content_hash.is_some()).count()
    };
    let begin = world.now;
    assert!(world.run_until(|world| hashed(world) > 0));
    assert!(world.now - begin < Duration::from_secs(3), "the first news is not held back");
    assert!(world.run_until(|world| hashed(world) == GAMES));
    let took = world.now - begin;
    assert!(took > Duration::from_secs(12), "hashing took a while: {took:?}");
    let LibraryStamp { rev, .. } = world.nodes[0].engine.as_ref().unwrap().cx.announced.state.stamp();
    let most = 4 + took.as_secs() / 5;
    assert!(rev.0 <= most, "{} revisions in {took:?}", rev.0);
    world.run(Duration::from_secs(30));
    assert!(world.in_step(&[0, 1]));
    // One game more is told as soon as it is hashed: nothing else is to come.
    let begin = world.now;
    world.write_game(0, "one-more", "1", 5);
    assert!(world.run_until(|world| hashed(world) == GAMES + 1));
    assert!(world.now - begin < Duration::from_secs(3), "{:?}", world.now - begin);
}

/// The job that reads all of a game again, whatever is known of its bytes.
fn reading(outputs: &[Output]) -> (GameId, ManifestHash) {
    let job = outputs.iter().find_map(|output| match output {
        Output::Job(Job::HashGame { game, manifest_hash, anew: true }) => Some((game.clone(), *manifest_hash)),
        _ => None,
    });
    job.unwrap_or_else(|| panic!("it is not read again: {outputs:?}"))
}

#[test]
fn a_game_that_cannot_be_read_is_withdrawn_with_the_reason_until_it_can() {
    let game = ScannedGame { content_hash: Some(content_hash_of(10)), ..scanned("quake", "1", 10) };
    let mut solo = Solo::new(std::slice::from_ref(&game), None);
    let read = |solo: &mut Solo, (game, manifest_hash), result| {
        solo.feed(Input::JobDone(JobDone::GameHashed { game, manifest_hash, result }))
    };
    let failed = || Err(JobError::new(JobErrorKind::Io, "cannot read file pak0.pak: I/O error"));
    let reason = |solo: &mut Solo| solo.rows().remove(0).local_only_reason;
    assert_eq!(reason(&mut solo), None);
    let job = reading(&solo.feed(Input::ReadFailed { game: game.id.clone() }));
    let outputs = read(&mut solo, job, failed());
    assert!(outputs.contains(&Output::StopSending { game: game.id.clone() }), "{outputs:?}");
    assert!(matches!(events(&outputs)[..], [PeerEvent::RuntimeError { .. }]), "{outputs:?}");
    assert_eq!(reason(&mut solo).as_deref(), Some("it cannot be read: cannot read file pak0.pak: I/O error"));
    // A look at its folder finds it as it was; that it can be listed is not that it can be read.
    solo.feed(Input::FsChanged { game: game.id.clone() });
    solo.pass(Duration::from_secs(2));
    let result = Ok(Some(Arc::new(game.clone())));
    solo.feed(Input::JobDone(JobDone::GameScanned { game: game.id.clone(), result }));
    assert!(reason(&mut solo).is_some());
    let job = reading(&solo.pass(Duration::from_secs(11)));
    assert!(events(&read(&mut solo, job, failed())).is_empty(), "the second failure is no news");
    let job = reading(&solo.pass(Duration::from_secs(21)));
    read(&mut solo, job, Ok(content_hash_of(10)));
    assert_eq!(reason(&mut solo), None, "it is offered again");
}
