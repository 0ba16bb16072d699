//! What `explain` says while something is in the way: the cause that was planted.

use super::*;
use crate::api::{DownloadState, Explanation, SourceState};

const BYTES: u64 = 40 * CHUNK_SIZE;

fn explain(world: &mut World, n: usize, game: &str) -> Explanation {
    match world.ask(n, PeerCommand::Explain { game: game.parse().unwrap() }) {
        Ok(CommandData::Explanation(why)) => *why,
        other => panic!("{other:?}"),
    }
}

/// Two who have the game, and one who is fetching it.
fn downloading() -> World {
    let mut world = World::new(11, 3);
    (0..2).for_each(|n| world.write_game(n, "doom", "1", BYTES));
    (0..2).for_each(|n| world.write_game(n, "quake", "1", BYTES));
    world.nodes[2].config.limits.downloads = 1;
    (0..3).for_each(|n| world.start(n));
    world.run(Duration::from_secs(1));
    world.sight_all();
    assert!(world.run_until(|world| world.in_step(&[0, 1, 2])));
    world.run(Duration::from_secs(5));
    assert_eq!(explain(&mut world, 2, "doom").state, DownloadState::None);
    for game in ["doom", "quake"] {
        world.next += 1;
        let game = game.parse().unwrap();
        world.command(2, world.next, PeerCommand::Download { game, install: false, again: false });
    }
    assert!(world.run_until(|world| !world.nodes[2].writing.is_empty()));
    world
}

fn states(why: &Explanation) -> Vec<SourceState> {
    why.sources.iter().map(|source| source.state).collect()
}

#[test]
fn a_download_that_goes_well_says_who_delivers_and_the_next_one_waits() {
    let mut world = downloading();
    let why = explain(&mut world, 2, "doom");
    assert_eq!((why.state, why.reason.as_str()), (DownloadState::Fetching, "chunks are being fetched"));
    assert!(states(&why).contains(&SourceState::Delivering) && why.sources.len() == 2, "{why:?}");
    assert!(why.sources.iter().all(|source| source.hostname.is_some()));
    let why = explain(&mut world, 2, "quake");
    assert_eq!((why.state, states(&why)), (DownloadState::Queued, Vec::new()));
    assert_eq!(why.reason, "it waits for its turn: 1 running, 0 waiting before it");
}

#[test]
fn a_pause_is_named() {
    let mut world = downloading();
    world.next += 1;
    world.command(2, world.next, PeerCommand::Pause);
    world.run(Duration::from_secs(5));
    let why = explain(&mut world, 2, "doom");
    assert_eq!(why.reason, "all transfers are stopped until `resume`");
    assert_eq!(states(&why), [SourceState::Paused; 2]);
}

#[test]
fn a_limit_is_named() {
    let mut world = downloading();
    world.next += 1;
    let rate = Some(Some(1_000_000));
    world.command(2, world.next, PeerCommand::SetLimits { max_upload: None, max_download: rate });
    let mut seen = BTreeSet::new();
    for _ in 0..50 {
        world.run(Duration::from_millis(100));
        seen.extend(states(&explain(&mut world, 2, "doom")));
    }
    assert!(seen.contains(&SourceState::RateLimit), "{seen:?}");
}

#[test]
fn sources_that_went_are_named_and_for_how_long_they_are_waited_for() {
    let mut world = downloading();
    for n in [0, 1] {
        world.cut.insert((n, 2));
        world.break_links(n, 2);
    }
    world.run(Duration::from_secs(2));
    let why = explain(&mut world, 2, "doom");
    assert!(why.reason.starts_with("no source can be asked; it is given up in "), "{}", why.reason);
    assert_eq!(states(&why), [SourceState::Disconnected; 2]);
}

#[test]
fn a_source_that_fails_is_named_with_its_pause() {
    let mut world = downloading();
    world.faults.broken_runs = 100;
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        world.run(Duration::from_millis(20));
        seen.extend(states(&explain(&mut world, 2, "doom")));
    }
    assert!(seen.contains(&SourceState::BackingOff), "{seen:?}");
    world.run(Duration::from_secs(120));
    let over = explain(&mut world, 2, "doom");
    assert!(over.state == DownloadState::None || states(&over).contains(&SourceState::Banned), "{over:?}");
}
