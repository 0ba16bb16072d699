//! How much memory the libraries of others may take, whatever they say.

use super::*;
const BUDGET: u64 = 256 << 10;

fn used(world: &mut World) -> usize {
    world.nodes[0].engine.as_mut().unwrap().parts.peers.library_bytes_now()
}

/// Games with ids of nearly the longest length, which nobody else has.
fn hoard(world: &mut World, n: usize, games: usize) {
    for game in 0..games {
        let id = format!("{n}-{game:05}-{}", "x".repeat(180));
        world.write_game(n, &id, "1", 5);
    }
}

/// Two who share twenty games, and one with forty of its own.
fn party(nodes: usize) -> World {
    let mut world = World::new(3, nodes);
    for n in [1, 2] {
        (0..20).for_each(|game| world.write_game(n, &format!("common-{game}"), "1", 5));
    }
    (0..40).for_each(|game| world.write_game(3, &format!("rare-{game}"), "1", 5));
    world.nodes[0].config.limits.library_bytes = BUDGET;
    world
}

fn assert_honest_are_known(world: &World) {
    for (n, games) in [(1, 20), (2, 20), (3, 40)] {
        assert_eq!(world.known_of(0, n), Some(games), "pc-{n}");
    }
}

#[test]
fn many_hostile_libraries_take_no_more_than_the_budget_and_nothing_from_the_honest() {
    let mut world = party(12);
    (4..12).for_each(|n| hoard(&mut world, n, 250));
    (0..12).for_each(|n| world.start(n));
    world.run(Duration::from_secs(3));
    world.sight_all();
    world.run(Duration::from_secs(60));
    assert!(used(&mut world) <= BUDGET as usize, "{}", used(&mut world));
    assert_honest_are_known(&world);
    let told = world.status(0);
    let named: BTreeSet<PeerId> = told.libraries_too_large.iter().map(|row| row.peer_id).collect();
    let hostile: BTreeSet<PeerId> = (4..12).map(|n| world.nodes[n].id).collect();
    assert!(named.is_subset(&hostile) && named.len() >= 6, "{named:?}");
    assert!(
        told.libraries_too_large.iter().all(|row| row.games == 250 && row.hostname.is_some() && row.bytes > 100_000)
    );
    let messages = world.nodes[0].events.iter().filter_map(|event| match event {
        PeerEvent::RuntimeError { message, .. } => Some(message.clone()),
        _ => None,
    });
    let messages: Vec<_> = messages.collect();
    assert_eq!(messages.len(), named.len(), "each is told once: {messages:?}");
    assert!(
        messages[0].starts_with("the library of pc-") && messages[0].contains("limits.library_bytes"),
        "{messages:?}"
    );

    // What it says meanwhile is not fetched, and when there is room again it is taken in.
    (4..12).for_each(|n| world.write_game(n, "one-more", "1", 5));
    world.run(Duration::from_secs(30));
    assert!(used(&mut world) <= BUDGET as usize);
    (5..12).for_each(|n| world.kill(n));
    for _ in 0..12 {
        world.sight_all();
        world.run(Duration::from_secs(60));
    }
    assert_eq!(world.known_of(0, 4), Some(251));
    assert_eq!(world.status(0).libraries_too_large, []);
    assert_honest_are_known(&world);
}

#[test]
fn new_identities_at_one_address_share_what_that_address_may_take() {
    let mut world = party(24);
    for n in 4..24 {
        // Each is cheaper than the honest one with games of its own.
        hoard(&mut world, n, 30);
        world.nodes[n].addr.set_ip("10.9.9.9".parse().unwrap());
        // Its port comes from it.
        world.nodes[n].life = 100 * n as u64;
    }
    world.nodes[0].config.limits.library_bytes = 128 << 10;
    (0..24).for_each(|n| world.start(n));
    world.run(Duration::from_secs(3));
    world.sight_all();
    world.run(Duration::from_secs(60));
    assert!(used(&mut world) <= 128 << 10, "{}", used(&mut world));
    assert_honest_are_known(&world);
}

#[test]
fn a_library_that_grows_by_deltas_is_held_to_the_budget_too() {
    let mut world = party(5);
    hoard(&mut world, 4, 100);
    (0..5).for_each(|n| world.start(n));
    world.run(Duration::from_secs(3));
    world.sight_all();
    world.run(Duration::from_secs(20));
    assert_eq!(world.known_of(0, 4), Some(100));
    for wave in 1..10 {
        for game in 0..100 {
            let id = format!("{wave}-{game:05}-{}", "y".repeat(180));
            world.write_game(4, &id, "1", 5);
        }
        world.run(Duration::from_secs(10));
        assert!(used(&mut world) <= BUDGET as usize);
    }
    assert_eq!(world.known_of(0, 4), None);
    assert_eq!(world.status(0).libraries_too_large[0].peer_id, world.nodes[4].id);
    assert_honest_are_known(&world);
}
