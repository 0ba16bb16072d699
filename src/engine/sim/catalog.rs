//! What follows when the catalog changes.

use super::solo::*;
use super::*;
use crate::types::{Availability, CatalogSource, content_hash};

fn catalog(text: &str) -> Arc<Catalog> {
    Arc::new(Catalog::parse(text.as_bytes()).unwrap())
}

/// Lists these (id, version) pairs.
fn listing(games: &[(&str, &str)]) -> Arc<Catalog> {
    let games: Vec<String> = games
        .iter()
        .map(|(id, version)| format!(r#"{{"id":"{id}","name":"The {id}","version":"{version}"}}"#))
        .collect();
    catalog(&format!(r#"{{"format":1,"serial":7,"games":[{}]}}"#, games.join(",")))
}

/// A world in which node 0 has a catalog.
fn world(first: &Arc<Catalog>, games: &[&str]) -> World {
    let mut world = World::new(5, 2);
    world.nodes[0].config.catalog = Some(CatalogSource::Url("http://party.lan/c".into()));
    world.nodes[0].catalog = (**first).clone();
    games.iter().for_each(|game| world.write_game(0, game, "1", 5_000_000));
    (0..2).for_each(|n| world.start(n));
    world.run(Duration::from_secs(1));
    world.sight_all();
    assert!(world.run_until(|world| world.in_step(&[0, 1])));
    world.run(Duration::from_secs(5));
    world
}

/// What node 1 knows of node 0's games.
fn offered(world: &World) -> Vec<(String, String, Availability)> {
    let engine = world.nodes[1].engine.as_ref().unwrap();
    let (_, _, library) = engine.parts.peers.libraries().next().unwrap();
    library.games().iter().map(|game| (game.id.to_string(), game.name.clone(), game.availability)).collect()
}

#[test]
fn another_catalog_changes_what_is_offered_and_the_peers_are_told() {
    let mut world = world(&listing(&[("quake", "1")]), &["doom", "quake"]);
    let row = |id: &str, name: &str, availability| (id.to_owned(), name.to_owned(), availability);
    let (ready, hidden) = (Availability::Ready, Availability::LocalOnly);
    assert_eq!(offered(&world), [row("doom", "doom", hidden), row("quake", "The quake", ready)]);
    let before = world.nodes[0].engine.as_ref().unwrap().cx.announced.state;

    world.nodes[0].published = Ok(Some(listing(&[("doom", "1")])));
    world.run(Duration::from_secs(331));
    assert!(world.run_until(|world| world.in_step(&[0, 1])));
    assert_eq!(offered(&world), [row("doom", "The doom", ready), row("quake", "quake", hidden)]);
    let after = world.nodes[0].engine.as_ref().unwrap().cx.announced.state;
    assert_eq!(after.epoch, before.epoch);
    assert!(after.rev > before.rev);
    let hashed = |world: &World, game: &str| {
        let id: GameId = game.parse().unwrap();
        world.nodes[0].engine.as_ref().unwrap().cx.disk.games()[&id].content_hash.is_some()
    };
    assert!(hashed(&world, "doom"), "a game that is admitted now needs its hash");

    // The same again is no news.
    world.run(Duration::from_secs(1_000));
    assert_eq!(world.nodes[0].engine.as_ref().unwrap().cx.announced.state, after);
    let changes = world.nodes[0].events.iter().filter(|event| matches!(event, PeerEvent::CatalogChanged { .. }));
    assert_eq!(changes.collect::<Vec<_>>(), [&PeerEvent::CatalogChanged { games: 1, serial: 7 }]);
}

#[test]
fn trouble_is_said_once_and_the_last_good_catalog_stays() {
    let mut world = world(&listing(&[("quake", "1")]), &["quake"]);
    let trouble = |world: &World| {
        let told =
            |event: &PeerEvent| matches!(event, PeerEvent::RuntimeError { message, .. } if message.contains("no"));
        world.nodes[0].events.iter().filter(|event| told(event)).count()
    };
    let failed = |message: &str| Err(JobError::new(JobErrorKind::Io, message));
    world.nodes[0].published = failed("there is no such host");
    world.run(Duration::from_secs(3_600));
    assert_eq!(trouble(&world), 1, "{:?}", world.nodes[0].events);
    assert_eq!(offered(&world)[0].2, Availability::Ready);
    world.nodes[0].published = failed("it has no signature");
    world.run(Duration::from_secs(3_600));
    assert_eq!(trouble(&world), 2, "another trouble is news");
    world.nodes[0].published = Ok(None);
    world.run(Duration::from_secs(400));
    world.nodes[0].published = failed("it has no signature");
    world.run(Duration::from_secs(400));
    assert_eq!(trouble(&world), 3, "and so is one that comes back");
}

#[test]
fn fetch_latest_waits_for_the_catalog_but_not_for_ever() {
    let with_catalog = || {
        let source = CatalogSource::File("/catalog.json".into());
        let mut solo = Solo::bare(|config| config.catalog = Some(source));
        let outputs = solo.feed(Input::CatalogFetched { result: Ok(None) });
        assert!(!outputs.contains(&Output::FetchCatalog), "that was the look at the start");
        solo
    };
    let game: GameId = "quake".parse().unwrap();
    let mut solo = with_catalog();
    let outputs = solo.command(PeerCommand::FetchLatest { game: game.clone() });
    assert!(outputs.contains(&Output::FetchCatalog) && replies(&outputs).is_empty(), "{outputs:?}");
    let again = solo.command(PeerCommand::FetchLatest { game: game.clone() });
    assert!(!again.contains(&Output::FetchCatalog), "one look at a time");
    let outputs = solo.feed(Input::CatalogFetched { result: Ok(Some(listing(&[]))) });
    let codes: Vec<_> = replies(&outputs).into_iter().map(|reply| reply.unwrap_err().code).collect();
    assert_eq!(codes, [ErrorCode::NotInCatalog; 2], "the new catalog decides");

    let mut solo = with_catalog();
    solo.command(PeerCommand::FetchLatest { game });
    let outputs = solo.pass(Duration::from_secs(11));
    assert_eq!(replies(&outputs).len(), 1, "a server that does not answer holds up nobody");
}

#[test]
fn only_the_content_that_the_catalog_demands_is_offered_and_served() {
    let (manifest, chunks) = content(5_000_000);
    let right = content_hash(&manifest, &chunks);
    for (demanded, expected) in [(right, Availability::Ready), (ContentHash([7; 32]), Availability::LocalOnly)] {
        let game = |version: &str| {
            let entry = r#""name":"Quake""#;
            catalog(&format!(
                r#"{{"format":1,"games":[{{"id":"quake",{entry},"version":"{version}","content_hash":"{demanded}"}}]}}"#
            ))
        };
        let mut world = world(&game("1"), &["quake"]);
        let id: GameId = "quake".parse().unwrap();
        assert_eq!(offered(&world)[0].2, expected);
        world.command(0, 1, PeerCommand::ListGames);
        let Ok(CommandData::Games(list)) = &world.nodes[0].replies[&1] else { panic!() };
        assert_eq!(list.games[0].content_hash, Some(right), "it was hashed, to know");
        assert_eq!(list.games[0].local_only_reason.is_some(), expected == Availability::LocalOnly);
        world.command(1, 1, PeerCommand::Download { game: id.clone(), install: false, again: false });
        assert_eq!(world.nodes[1].replies[&1].is_ok(), expected == Availability::Ready);
        // The demand is for the version that it names.
        world.nodes[0].published = Ok(Some(game("2")));
        world.run(Duration::from_secs(400));
        assert!(world.run_until(|world| world.in_step(&[0, 1])));
        assert_eq!(offered(&world)[0].2, Availability::Ready);
    }
}

#[test]
fn a_game_whose_demanded_content_is_not_known_yet_is_not_offered() {
    let game = scanned("quake", "1", 10);
    let catalog = catalog(&format!(
        r#"{{"format":1,"games":[{{"id":"quake","name":"Quake","version":"1","content_hash":"{}"}}]}}"#,
        "ab".repeat(32)
    ));
    assert!(catalog.withholds(&game.id, Some("1"), None).is_some());
    assert!(catalog.withholds(&game.id, Some("1"), Some(ContentHash([0xab; 32]))).is_none());
    assert!(catalog.withholds(&game.id, Some("1"), Some(ContentHash([0xac; 32]))).is_some());
    assert!(catalog.withholds(&game.id, Some("2"), Some(ContentHash([0xac; 32]))).is_none(), "another version");
    assert!(Catalog::open_to_all().withholds(&game.id, Some("1"), None).is_none());
    assert!(Catalog::empty().withholds(&game.id, Some("1"), None).is_some());
}

#[test]
fn the_peers_of_the_catalog_come_and_go_with_it() {
    let naming = |hosts: &[&str]| {
        let hosts: Vec<String> = hosts.iter().map(|host| format!("{host:?}")).collect();
        catalog(&format!(r#"{{"format":1,"games":[],"peers":[{}]}}"#, hosts.join(",")))
    };
    let mut solo = Solo::bare(|config| {
        config.catalog = Some(CatalogSource::File("/catalog.json".into()));
        config.static_peers = vec!["10.0.0.1:4000".to_owned()];
    });
    /// Every address that is dialled within five minutes, without success.
    fn dialled(solo: &mut Solo) -> BTreeSet<SocketAddr> {
        let mut seen = BTreeSet::new();
        for _ in 0..600 {
            let outputs = solo.pass(Duration::from_millis(500));
            for (dial, at) in dials(&outputs) {
                seen.insert(at);
                solo.feed(Input::DialFailed { dial, identity_mismatch: false, actual: None, reason: String::new() });
            }
            if outputs.contains(&Output::FetchCatalog) {
                solo.feed(Input::CatalogFetched { result: Ok(None) });
            }
        }
        seen
    }
    dialled(&mut solo);
    for named in [vec![2, 3], vec![1, 3, 4], vec![], vec![5, 2]] {
        let hosts: Vec<String> = named.iter().map(|n| format!("10.0.0.{n}:4000")).collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let outputs = solo.feed(Input::CatalogFetched { result: Ok(Some(naming(&hosts))) });
        for (dial, _) in dials(&outputs) {
            solo.feed(Input::DialFailed { dial, identity_mismatch: false, actual: None, reason: String::new() });
        }
        let expected: BTreeSet<SocketAddr> = named.into_iter().chain([1]).map(addr).collect();
        assert_eq!(dialled(&mut solo), expected, "{hosts:?}");
    }
}
