//! Games that are written while the daemon looks.

use super::super::arriving;
use super::solo::*;
use super::*;
use crate::faults::{self, Bug};

const QUIET: Duration = Duration::from_secs(5);

/// How the writing shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// Files come in the root: there are events.
    AtTheRoot,
    /// Below it: there are none.
    Deep,
    /// The files have their sizes from the start; only their times move.
    InPlace,
    /// As `AtTheRoot`, and `version.ini` comes last.
    SentinelLast,
}

fn quake() -> GameId {
    "quake".parse().unwrap()
}

/// A writer at node 0, and node 1, which looks on.
fn pair(seed: u64) -> World {
    let mut world = World::new(seed, 2);
    world.nodes.iter_mut().for_each(|node| node.config.timers.arriving_quiet = QUIET);
    (0..2).for_each(|n| world.start(n));
    world.run(Duration::from_secs(1));
    world.sight_all();
    assert!(world.run_until(|world| world.in_step(&[0, 1])));
    world
}

/// One more step of the writing.
fn write(world: &mut World, way: Way, step: u64, last: bool) {
    let bytes = if way == Way::InPlace { 900 } else { 100 + step };
    let mut game = scanned("quake", "1", bytes);
    let stamp = Fingerprint(u128::from(step).to_be_bytes());
    game.seen = Seen(Some(Times { stamp, newest_ns: 0 }));
    if matches!(way, Way::Deep | Way::InPlace) {
        game.fingerprint = Fingerprint([7; 16]);
    }
    if way == Way::SentinelLast && !last {
        (game.downloaded, game.eti_version) = (false, None);
    }
    let known = world.nodes[0].disk.games.insert(game.id.clone(), Arc::new(game)).is_some();
    if !known || matches!(way, Way::AtTheRoot | Way::SentinelLast) {
        world.fs_event(0, quake(), known);
    }
}

/// The lists of files that node 1 could fetch.
fn offered(world: &World) -> Vec<ManifestHash> {
    let engine = world.nodes[1].engine.as_ref().unwrap();
    engine.parts.peers.sources(&quake()).iter().map(|source| source.summary.manifest_hash).collect()
}

/// Writes in steps and looks on. Whether something else than the whole was ever offered.
fn copied(way: Way, seed: u64) -> bool {
    let mut world = pair(seed);
    let mut half = false;
    for step in 0..20 {
        write(&mut world, way, step, step == 19);
        for _ in 0..4 {
            world.run(Duration::from_millis(1000));
            half |= !offered(&world).is_empty() && step < 19;
        }
    }
    let whole = world.nodes[0].disk.games[&quake()].manifest_hash;
    assert!(world.run_until(|world| offered(world) == [whole]), "{way:?}: it is offered at last");
    assert!(world.in_step(&[0, 1]));
    half
}

const WAYS: [Way; 4] = [Way::AtTheRoot, Way::Deep, Way::InPlace, Way::SentinelLast];

#[test]
fn a_game_is_offered_when_it_keeps_still_and_no_half_of_it_before() {
    for way in WAYS {
        for seed in 0..3 {
            assert!(!copied(way, seed), "{way:?}, seed {seed}");
        }
    }
}

#[test]
fn a_planted_bug_that_offers_half_a_game_is_found() {
    for way in [Way::AtTheRoot, Way::Deep, Way::InPlace] {
        assert!(faults::with(Bug::HalfOffered, || copied(way, 1)), "{way:?}");
    }
}

#[test]
fn a_change_of_a_young_game_is_seen_within_a_minute_and_states_what_it_supersedes() {
    for way in [Way::AtTheRoot, Way::Deep, Way::InPlace] {
        let mut world = pair(5);
        write(&mut world, way, 0, true);
        let first = world.nodes[0].disk.games[&quake()].manifest_hash;
        assert!(world.run_until(|world| offered(world) == [first]));
        for (step, pause) in [10, 60, 200, 500].into_iter().enumerate() {
            world.run(Duration::from_secs(pause));
            assert_eq!(offered(&world).len(), 1, "{way:?}: it keeps still");
            write(&mut world, way, step as u64 + 1, true);
            assert!(world.run_until(|world| offered(world).is_empty()), "{way:?}, after {pause} s: it is withdrawn");
            let now = world.nodes[0].disk.games[&quake()].manifest_hash;
            assert!(world.run_until(|world| offered(world) == [now]), "{way:?}, after {pause} s: it is offered again");
        }
        let sources = world.nodes[1].engine.as_ref().unwrap().parts.peers.sources(&quake());
        assert_eq!(sources[0].summary.supersedes.is_empty(), way == Way::InPlace, "{:?}", sources[0].summary);
    }
}

#[test]
fn a_change_of_an_old_game_or_of_a_downloaded_one_supersedes_nothing() {
    let mut world = pair(6);
    write(&mut world, Way::AtTheRoot, 0, true);
    assert!(world.run_until(|world| offered(world).len() == 1));
    world.command(1, 1, PeerCommand::Download { game: quake(), install: false, again: false });
    world.run(Duration::from_secs(1_200));
    let supersedes = |world: &World, n: usize| {
        let engine = world.nodes[n].engine.as_ref().unwrap();
        let game = &engine.cx.disk.games()[&quake()];
        assert!(!game.arriving && game.downloaded);
        game.supersedes.clone()
    };
    for n in 0..2 {
        world.write_game(n, "quake", "1", 5_000 + n as u64);
        world.run(Duration::from_secs(10));
        assert_eq!(supersedes(&world, n), [], "{n}");
    }
    let before = world.nodes[0].disk.games[&quake()].manifest_hash;
    world.write_game(0, "quake", "1", 6_000);
    world.run(Duration::from_secs(10));
    assert_eq!(supersedes(&world, 0), [before], "that was a moment ago");
    world.write_game(0, "quake", "2", 7_000);
    world.run(Duration::from_secs(10));
    assert_eq!(supersedes(&world, 0), [], "another version is none");
}

#[test]
fn games_are_listed_by_the_clock_for_ten_minutes_and_so_often_at_most() {
    let mut solo = Solo::with(&[], None, |config| config.timers.arriving_quiet = QUIET);
    solo.feed(Input::FsRescan { reason: "appeared" });
    let outputs = solo.pass(Duration::from_secs(1));
    assert!(jobs(&outputs).iter().any(|job| matches!(job, Job::ScanAll { .. })));
    let found: Vec<_> = (0..200).map(|n| Arc::new(scanned(&format!("game-{n:03}"), "1", 5))).collect();
    let mut outputs = solo.feed(Input::JobDone(JobDone::AllScanned(Ok(found.clone()))));
    let begin = solo.now;
    let (mut looks, mut last) = (BTreeMap::<GameId, usize>::new(), begin);
    while solo.now - begin < Duration::from_secs(3_600) {
        solo.save_all(&outputs.clone());
        let mut next = Vec::new();
        for job in jobs(&outputs) {
            match job {
                Job::ScanGame { game, known } => {
                    if known.is_none() {
                        *looks.entry(game.clone()).or_default() += 1;
                        last = solo.now;
                    }
                    let found = found.iter().find(|found| found.id == *game).cloned();
                    let found = known.clone().or(found);
                    next.extend(
                        solo.feed(Input::JobDone(JobDone::GameScanned { game: game.clone(), result: Ok(found) })),
                    );
                }
                Job::ScanAll { known } => {
                    next.extend(solo.feed(Input::JobDone(JobDone::AllScanned(Ok(known.clone())))));
                }
                Job::HashGame { game, manifest_hash, .. } => {
                    let result = Ok(content_hash_of(5));
                    let done = JobDone::GameHashed { game: game.clone(), manifest_hash: *manifest_hash, result };
                    next.extend(solo.feed(Input::JobDone(done)));
                }
                _ => {}
            }
        }
        if next.is_empty() {
            next = solo.pass(Duration::from_secs(1));
        }
        outputs = next;
    }
    assert_eq!(looks.len(), 200, "each was listed again once");
    assert!(looks.values().all(|looks| (1..=16).contains(looks)), "{looks:?}");
    assert!(looks.values().filter(|looks| **looks > 1).count() <= arriving::MAX_YOUNG, "{looks:?}");
    assert!(last - begin <= Duration::from_secs(660), "{:?}", last - begin);
}

#[test]
fn at_the_start_only_times_of_a_moment_ago_and_a_copy_that_was_under_way_count() {
    let second = 1_000_000_000;
    let aged = |game: &str, age: i128| {
        let mut game = scanned(game, "1", 5);
        game.seen = Seen(game.seen.0.map(|times| Times { newest_ns: -age, ..times }));
        game
    };
    let known = |game: &str, arriving| ScannedGame { arriving, seen: Seen::default(), ..scanned(game, "1", 5) };
    // The time of day is 0.
    let games = [
        aged("fresh", second),
        known("halfway", true),
        known("known", false),
        aged("of-tomorrow", -86_400 * second),
        aged("old", 3_600 * second),
        aged("young", 60 * second),
    ];
    let mut solo = Solo::with(&games, None, |config| config.timers.arriving_quiet = QUIET);
    let arriving: Vec<_> = solo.rows().into_iter().filter(|row| row.arriving).collect();
    assert_eq!(arriving.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["fresh", "halfway"]);
    assert!(arriving.iter().all(|row| row.local_only_reason.is_some()));
    let outputs = solo.pass(Duration::from_secs(55));
    let listed: BTreeSet<&str> = jobs(&outputs)
        .into_iter()
        .filter_map(|job| match job {
            Job::ScanGame { game, known: None } => Some(game.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(listed, BTreeSet::from(["fresh", "halfway", "of-tomorrow", "young"]), "and no other is read");
}

#[test]
fn what_a_download_brought_is_no_arrival_and_what_becomes_of_it_is_known() {
    let mut world = pair(2);
    write(&mut world, Way::AtTheRoot, 0, true);
    assert!(world.run_until(|world| offered(world).len() == 1));
    world.command(1, 1, PeerCommand::Download { game: quake(), install: false, again: false });
    let ended = |event: &PeerEvent| matches!(event, PeerEvent::DownloadFinished { .. });
    assert!(world.run_until(|world| world.nodes[1].events.iter().any(ended)));
    let here = |world: &World| world.nodes[1].engine.as_ref().unwrap().cx.disk.games()[&quake()].clone();
    assert!(here(&world).brought.is_some() && !here(&world).arriving);
    world.run(Duration::from_secs(30));
    assert!(here(&world).brought.is_some() && !here(&world).arriving);
    // Nor is an installation.
    world.command(1, 2, PeerCommand::Install { game: quake() });
    world.run(Duration::from_secs(30));
    assert!(here(&world).installed && here(&world).brought.is_some() && !here(&world).arriving);
    // A start later it still is.
    world.kill(1);
    world.start(1);
    world.run(Duration::from_secs(2));
    assert!(here(&world).brought.is_some() && !here(&world).arriving);
    // The user writes into it.
    world.write_game(1, "quake", "1", 777);
    world.run(Duration::from_secs(2));
    assert!(here(&world).brought.is_none() && here(&world).arriving);
}
