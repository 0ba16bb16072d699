//! Downloaders of one game that serve each other.

use std::sync::Arc;

use serde_json::json;

use crate::download::{share_of, shares};
use crate::support::{CHUNK, Copycat, Daemon, GameSpec, Home, Lan, Offer, Options, assert_same_tree, available};

const DOWNLOADERS: usize = 8;

fn spec(chunks: u64) -> GameSpec {
    GameSpec::new("doom").file("doom.pak", chunks * CHUNK - 7)
}

/// Downloads on so many hosts at once from one host; what its daemon has sent, and each one's share of it.
fn party(lan: &Lan, chunks: u64, mbit: u32, options: impl Fn(Options) -> Options) -> (u64, Vec<u64>) {
    let home_a = Home::with(&[spec(chunks)]);
    let host_a = lan.host("a");
    host_a.shape_mbit(mbit);
    let a = Daemon::start(&home_a, &options(Options::on(&host_a)));
    a.wait_hashed();
    let homes: Vec<Home> = (0..DOWNLOADERS).map(|_| Home::new()).collect();
    let start = |(n, home): (usize, &Home)| {
        let host = lan.host(&format!("b{n}"));
        host.shape_mbit(mbit);
        Daemon::start(home, &options(Options::on(&host)))
    };
    let daemons: Vec<Daemon> = homes.iter().enumerate().map(start).collect();
    for (n, daemon) in daemons.iter().enumerate() {
        daemons[..n].iter().chain([&a]).for_each(|other| daemon.connect(other));
    }
    daemons.iter().for_each(|daemon| daemon.wait_peers(DOWNLOADERS));
    let marks: Vec<usize> = daemons.iter().map(|daemon| daemon.begin_download("doom")).collect();
    let mut from_the_source = Vec::new();
    for ((daemon, mark), home) in daemons.iter().zip(marks).zip(&homes) {
        let end = daemon.wait_download("doom", mark);
        assert_eq!(end["event"], "download-finished", "{end}");
        from_the_source.push(share_of(&end, &a));
        assert_same_tree(&home_a.game("doom"), &home.game("doom"));
    }
    (a.status()["bytes_sent"].as_u64().unwrap(), from_the_source)
}

#[test]
fn eight_downloaders_get_a_game_that_its_source_sends_about_once() {
    if !available("eight_downloaders_get_a_game_that_its_source_sends_about_once", &["netns"]) {
        return;
    }
    let chunks = 32;
    let (sent, shares) = party(&Lan::new(), chunks, 40, |options| options);
    assert!(shares.iter().all(|share| *share < chunks * CHUNK / 2), "each got most from the others: {shares:?}");
    // Without the others' help it would be eight times the game; measured: once, and the sentinel for each.
    assert!(sent < chunks * CHUNK * 2, "the source sent {sent} bytes");
}

#[test]
fn who_takes_no_part_is_asked_for_nothing_and_asks_for_nothing() {
    if !available("who_takes_no_part_is_asked_for_nothing_and_asks_for_nothing", &["netns"]) {
        return;
    }
    let chunks = 6;
    let (sent, shares) = party(&Lan::new(), chunks, 40, |options| options.flag("--no-swarm"));
    // Whoever is done is a source like the first for those that are late: that is all they get from each other.
    assert!(shares.contains(&(chunks * CHUNK - 7 + 4)), "the first one has everything from the source: {shares:?}");
    assert!(sent > chunks * CHUNK * 2, "the source sent {sent} bytes");
}

#[test]
fn a_liar_among_the_downloaders_is_found_and_the_rest_comes_from_the_honest_source() {
    let home_a = Home::with(&[spec(24)]);
    // Slow enough for the liar to be asked.
    let a = Daemon::start(&home_a, &Options::local().arg("--max-upload", "8MB/s"));
    a.wait_hashed();
    let offer = Arc::new(Offer::of(&a, &home_a.game("doom")));
    let home = Home::new();
    let daemon = Daemon::start(&home, &Options::local());
    daemon.connect(&a);
    let liar = Copycat::start_in_swarm(&offer, daemon.addr);
    daemon.wait_peers(2);
    let mark = daemon.begin_download("doom");
    let end = daemon.wait_download("doom", mark);
    assert_eq!(end["event"], "download-finished", "{end}");
    assert!(liar.asked() > 0, "it was asked");
    let banned =
        daemon.wait_event_since(mark, "download-source-banned", |event| event["peer_id"] == json!(liar.peer_id));
    assert_eq!(banned["game"], "doom");
    assert_eq!(shares(&end), [(a.peer_id.clone(), 24 * CHUNK - 7 + 4)]);
    assert_same_tree(&home_a.game("doom"), &home.game("doom"));
}

#[test]
fn those_who_begin_before_the_source_has_hashed_serve_each_other_once_it_has() {
    let name = "those_who_begin_before_the_source_has_hashed_serve_each_other_once_it_has";
    if !available(name, &["netns"]) {
        return;
    }
    let lan = Lan::new();
    let home_a = Home::new();
    // Hashed first, which takes some seconds; on the disk it takes no room.
    std::fs::create_dir_all(home_a.game("aaa")).unwrap();
    std::fs::File::create(home_a.game("aaa").join("a.pak")).unwrap().set_len(6 << 30).unwrap();
    std::fs::write(home_a.game("aaa").join("version.ini"), "1").unwrap();
    spec(160).write(&home_a.games());
    let hosts = [lan.host("a"), lan.host("b"), lan.host("c")];
    hosts.iter().for_each(|host| host.shape_mbit(80));
    let a = Daemon::start(&home_a, &Options::on(&hosts[0]));
    let (home_b, home_c) = (Home::new(), Home::new());
    let (b, c) = (Daemon::start(&home_b, &Options::on(&hosts[1])), Daemon::start(&home_c, &Options::on(&hosts[2])));
    b.connect(&a);
    c.connect(&a);
    c.connect(&b);
    [&b, &c].iter().for_each(|daemon| daemon.wait_peers(2));
    let marks = [b.begin_download("doom"), c.begin_download("doom")];
    assert!(b.games()["doom"]["content_hash"].is_null(), "it was hashed too soon for this test");
    let (of_b, of_c) = (b.wait_download("doom", marks[0]), c.wait_download("doom", marks[1]));
    for (end, home, other) in [(&of_b, &home_b, &c), (&of_c, &home_c, &b)] {
        assert_eq!(end["event"], "download-finished", "{end}");
        assert!(share_of(end, other) >= 8 * CHUNK, "{end}");
        assert_same_tree(&home_a.game("doom"), &home.game("doom"));
    }
}
