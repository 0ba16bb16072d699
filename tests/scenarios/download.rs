//! Downloads: complete, verified, from one or many sources, cancelled, cut off.

use std::fs;

use serde_json::{Value, json};

use crate::support::{CHUNK, Daemon, GameSpec, Home, Lan, MIB, Options, assert_same_tree, available, eventually, tree};

/// Bytes that each source gave, by its id.
pub(crate) fn shares(finished: &Value) -> Vec<(String, u64)> {
    let sources = finished["sources"].as_array().unwrap();
    sources.iter().map(|s| (s["peer_id"].as_str().unwrap().to_owned(), s["bytes"].as_u64().unwrap())).collect()
}

pub(crate) fn share_of(finished: &Value, daemon: &Daemon) -> u64 {
    shares(finished).into_iter().find(|(id, _)| *id == daemon.peer_id).map_or(0, |(_, bytes)| bytes)
}

/// Waits until a running download has so many bytes.
pub(crate) fn wait_bytes(daemon: &Daemon, mark: usize, bytes: u64) {
    daemon.wait_record(mark, "progress", 60, |record| {
        assert_ne!(record["event"], "download-failed", "{record}");
        assert_ne!(record["event"], "download-finished", "it was over before the test could act: {record}");
        record["event"] == "download-progress" && record["bytes"].as_u64().unwrap() >= bytes
    });
}

#[test]
fn a_download_is_the_source_bit_by_bit_and_leaves_no_local() {
    let spec = GameSpec::new("doom")
        .version("1.2")
        .file("doom.pak", 9 * CHUNK + 1)
        .file("exactly-two.bin", 2 * CHUNK)
        .file("empty.bin", 0)
        .file("data/Ünïcode näme.txt", 33)
        .file("a/b/c/d/deep.bin", CHUNK - 1);
    let home_a = Home::with(std::slice::from_ref(&spec));
    home_a.brought("doom");
    fs::create_dir(home_a.game("doom").join("local")).unwrap();
    fs::write(home_a.game("doom").join("local/private.sav"), "not for you").unwrap();
    let a = Daemon::start(&home_a, &Options::local());
    a.wait_hashed();
    let home_b = Home::new();
    let b = Daemon::start(&home_b, &Options::local());
    b.connect(&a);

    let files = b.ok(json!({"cmd": "get-game", "game": "doom"}));
    let paths: Vec<&str> = files["files"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap()).collect();
    let expected =
        ["a/b/c/d/deep.bin", "data/Ünïcode näme.txt", "doom.pak", "empty.bin", "exactly-two.bin", "version.ini"];
    assert_eq!(paths, expected, "the manifest in canonical order, without local/");

    let mark = b.mark();
    let finished = b.download("doom");
    assert_eq!(finished["bytes"], spec.bytes());
    assert_eq!(finished["chunks"], 10 + 2 + 1 + 1 + 1);
    assert_eq!((&finished["refetched_bytes"], &finished["resumed_bytes"]), (&json!(0), &json!(0)));
    assert_eq!(shares(&finished), [(a.peer_id.clone(), spec.bytes())]);
    assert_same_tree(&home_a.game("doom"), &home_b.game("doom"));
    assert!(!home_b.game("doom").join("local").exists());

    // The terminal event comes after the state is settled.
    let row = b.games().remove("doom").unwrap();
    assert_eq!((&row["downloaded"], &row["installed"]), (&json!(true), &json!(false)));
    assert_eq!((&row["version"], row.get("operation")), (&json!("1.2"), None));
    let names: Vec<String> = b
        .since(mark)
        .iter()
        .filter(|record| record["type"] == "event")
        .map(|record| record["event"].as_str().unwrap().to_owned())
        .filter(|name| name != "download-progress" && !name.starts_with("peer-"))
        .collect();
    let at = |name: &str| names.iter().position(|n| n == name).unwrap_or_else(|| panic!("{name} in {names:?}"));
    assert!(at("active-operations-changed") < at("download-begin"));
    assert!(at("download-begin") < at("download-finished"));
    let settled = names[..at("download-finished")].iter().rposition(|n| n == "active-operations-changed").unwrap();
    assert!(settled > at("download-begin"), "no operation is active any more when it is finished: {names:?}");

    // The copy is announced, and can be served on.
    eventually("the source sees the copy", 20, || (a.games()["doom"]["peer_count"] == 1).then_some(()));
    let home_c = Home::new();
    let c = Daemon::start(&home_c, &Options::local());
    c.connect(&b);
    c.download("doom");
    assert_same_tree(&home_a.game("doom"), &home_c.game("doom"));
}

#[test]
fn a_game_that_is_not_hashed_yet_is_fetched_verified_all_the_same() {
    // Background hashing never gets to it: the download is faster than the hasher of a game that was just added.
    let home_a = Home::new();
    let a = Daemon::start(&home_a, &Options::local());
    let home_b = Home::new();
    let b = Daemon::start(&home_b, &Options::local());
    b.connect(&a);
    let staging = home_a.path().join("staging");
    fs::create_dir(&staging).unwrap();
    let spec = GameSpec::new("fresh").file("fresh.pak", 40 * CHUNK + 11).many(50, 1000);
    spec.write(&staging);
    fs::rename(staging.join("fresh"), home_a.game("fresh")).unwrap();
    eventually("the game is offered", 20, || {
        b.games().get("fresh").is_some_and(|row| row["sources"].as_array().unwrap().len() == 1).then_some(())
    });
    let finished = b.download("fresh");
    assert_eq!(finished["bytes"], spec.bytes());
    assert_same_tree(&home_a.game("fresh"), &home_b.game("fresh"));
    eventually("both name the content alike", 60, || {
        let (ours, theirs) = (a.games()["fresh"]["content_hash"].clone(), b.games()["fresh"]["content_hash"].clone());
        (ours.is_string() && ours == theirs).then_some(())
    });
}

#[test]
fn two_sources_share_the_work_and_no_chunk_is_fetched_twice() {
    if !available("two_sources_share_the_work_and_no_chunk_is_fetched_twice", &["netns"]) {
        return;
    }
    let lan = Lan::new();
    let spec = GameSpec::new("doom").file("doom.pak", 48 * MIB + 5).many(160, 100_000);
    let (home_a, home_b, home_c) =
        (Home::with(std::slice::from_ref(&spec)), Home::with(std::slice::from_ref(&spec)), Home::new());
    let (host_a, host_b) = (lan.host("a"), lan.host("b"));
    host_a.shape_mbit(80);
    host_b.shape_mbit(80);
    let a = Daemon::start(&home_a, &Options::on(&host_a));
    let b = Daemon::start(&home_b, &Options::on(&host_b));
    a.wait_hashed();
    b.wait_hashed();
    let c = Daemon::start(&home_c, &Options::on(&lan.host("c")));
    c.wait_peers(2);
    let finished = c.download("doom");
    assert_same_tree(&home_a.game("doom"), &home_c.game("doom"));
    let total = spec.bytes();
    let (from_a, from_b) = (share_of(&finished, &a), share_of(&finished, &b));
    assert_eq!(from_a + from_b, total, "{finished}");
    // Equal links: an even split, give or take the last runs.
    for share in [from_a, from_b] {
        assert!(share > total * 4 / 10, "one of two equal sources gave {share} of {total}: {finished}");
    }
    assert_eq!(finished["refetched_bytes"], 0);
    // Duplicates at the very end are cancelled before they weigh anything.
    let sent: u64 = [&a, &b].iter().map(|d| d.status()["bytes_sent"].as_u64().unwrap()).sum();
    assert!((total..=total + 8 * CHUNK).contains(&sent), "{sent} bytes were sent for {total}");
}

#[test]
fn the_same_version_with_different_content_is_never_mixed() {
    let spec = GameSpec::new("doom").file("doom.pak", 24 * CHUNK);
    let (home_a, home_b) = (Home::with(std::slice::from_ref(&spec)), Home::with(&[spec.clone().seed(2)]));
    let (home_c, options) = (Home::new(), Options::local());
    let (a, b) = (Daemon::start(&home_a, &options), Daemon::start(&home_b, &options));
    a.wait_hashed();
    b.wait_hashed();
    let c = Daemon::start(&home_c, &options);
    c.connect(&a);
    c.ok(json!({"cmd": "connect", "addr": b.addr.to_string()}));
    c.wait_peers(2);
    let finished = c.download("doom");
    let source = if share_of(&finished, &a) > 0 { &home_a } else { &home_b };
    assert_eq!(shares(&finished).len(), 1, "{finished}");
    let sent = [&a, &b].map(|daemon| daemon.status()["bytes_sent"].as_u64().unwrap());
    assert!(sent.contains(&0), "the other one was not asked for a byte: {sent:?}");
    assert_same_tree(&source.game("doom"), &home_c.game("doom"));
}

#[test]
fn only_sources_of_the_catalogs_version_are_used() {
    let old = GameSpec::new("doom").file("doom.pak", 8 * CHUNK).version("1.9");
    let new = GameSpec::new("doom").file("doom.pak", 8 * CHUNK).seed(2).version("1.10");
    let (home_a, home_b) = (Home::with(&[old]), Home::with(&[new]));
    let (a, b) = (Daemon::start(&home_a, &Options::local()), Daemon::start(&home_b, &Options::local()));
    for (catalog, source, home_s, version) in [(Some("1.9"), &a, &home_a, "1.9"), (None, &b, &home_b, "1.10")] {
        let home = Home::new();
        let mut options = Options::local();
        if let Some(version) = catalog {
            options = options.arg("--catalog", home.catalog(&[("doom", version)]));
        }
        let c = Daemon::start(&home, &options);
        c.ok(json!({"cmd": "connect", "addr": a.addr.to_string()}));
        c.ok(json!({"cmd": "connect", "addr": b.addr.to_string()}));
        c.wait_peers(2);
        let finished = c.download("doom");
        assert_eq!(shares(&finished), [(source.peer_id.clone(), finished["bytes"].as_u64().unwrap())]);
        assert_eq!(c.games()["doom"]["version"], version);
        assert_same_tree(&home_s.game("doom"), &home.game("doom"));
    }
}

#[test]
fn two_thousand_small_files_and_one_over_a_gibibyte() {
    let spec = GameSpec::new("big").file("archive.pak", 1024 * MIB + 3 * CHUNK + 17).many(2000, 3333);
    let home_a = Home::with(std::slice::from_ref(&spec));
    let a = Daemon::start(&home_a, &Options::local());
    a.wait_hashed();
    let home_b = Home::new();
    let b = Daemon::start(&home_b, &Options::local());
    b.connect(&a);
    let finished = b.download("big");
    assert_eq!(finished["bytes"], spec.bytes());
    assert_eq!(finished["chunks"], 1024 + 4 + 2000 + 1);
    assert_same_tree(&home_a.game("big"), &home_b.game("big"));
}

#[test]
fn a_source_that_is_killed_mid_way_is_replaced_by_the_rest() {
    if !available("a_source_that_is_killed_mid_way_is_replaced_by_the_rest", &["netns"]) {
        return;
    }
    let lan = Lan::new();
    let spec = GameSpec::new("doom").file("doom.pak", 64 * MIB + 5);
    let (home_a, home_b, home_c) =
        (Home::with(std::slice::from_ref(&spec)), Home::with(std::slice::from_ref(&spec)), Home::new());
    let (host_a, host_b) = (lan.host("a"), lan.host("b"));
    host_a.shape_mbit(80);
    host_b.shape_mbit(80);
    let a = Daemon::start(&home_a, &Options::on(&host_a));
    let b = Daemon::start(&home_b, &Options::on(&host_b));
    a.wait_hashed();
    b.wait_hashed();
    let options = Options::on(&lan.host("c")).short_liveness().set("timers.run_stall", "2s");
    let c = Daemon::start(&home_c, &options);
    c.wait_peers(2);
    let mark = c.begin_download("doom");
    wait_bytes(&c, mark, 16 * MIB);
    let killed = b.peer_id.clone();
    b.kill();
    let finished = c.wait_download("doom", mark);
    assert_eq!(finished["event"], "download-finished", "{finished}");
    assert_same_tree(&home_a.game("doom"), &home_c.game("doom"));
    let total: u64 = shares(&finished).iter().map(|(_, bytes)| bytes).sum();
    assert_eq!(total, spec.bytes(), "{finished}");
    let lost = shares(&finished).into_iter().find(|(id, _)| *id == killed).map_or(0, |(_, bytes)| bytes);
    assert!(lost >= 2 * CHUNK, "the killed source had its part: {finished}");
    assert!(share_of(&finished, &a) > spec.bytes() / 2, "{finished}");
}

#[test]
fn a_cancelled_download_leaves_nothing_but_the_users_own() {
    if !available("a_cancelled_download_leaves_nothing_but_the_users_own", &["netns"]) {
        return;
    }
    let lan = Lan::new();
    let spec = GameSpec::new("doom").file("doom.pak", 24 * MIB).many(100, 10_000);
    let home_a = Home::with(std::slice::from_ref(&spec));
    let host_a = lan.host("a");
    host_a.shape_mbit(80);
    let a = Daemon::start(&home_a, &Options::on(&host_a));
    a.wait_hashed();
    let home_b = Home::new();
    let local = home_b.game("doom").join("local");
    fs::create_dir_all(&local).unwrap();
    fs::write(local.join("save.dat"), "level 9").unwrap();
    let before = tree(&home_b.game("doom"), &[]);
    let b = Daemon::start(&home_b, &Options::on(&lan.host("b")));
    b.wait_peers(1);

    let mark = b.begin_download("doom");
    wait_bytes(&b, mark, 4 * MIB);
    assert_eq!(b.refused(json!({"cmd": "download", "game": "doom", "install": false})), "operation-in-progress");
    b.ok(json!({"cmd": "cancel-download", "game": "doom"}));
    let end = b.wait_download("doom", mark);
    assert_eq!((&end["event"], &end["code"]), (&json!("download-failed"), &json!("cancelled")), "{end}");
    assert_eq!(tree(&home_b.game("doom"), &[]), before);
    assert_eq!(b.status()["operations"], json!([]));
    let row = b.games().remove("doom").unwrap();
    assert_eq!((&row["downloaded"], &row["installed"]), (&json!(false), &json!(true)));

    // The next command is safe at once.
    b.download("doom");
    assert_same_tree(&home_a.game("doom"), &home_b.game("doom"));
    assert_eq!(fs::read_to_string(local.join("save.dat")).unwrap(), "level 9");
}

#[test]
fn the_game_directory_is_changed_wholly_or_not_at_all() {
    if !available("the_game_directory_is_changed_wholly_or_not_at_all", &["netns"]) {
        return;
    }
    let lan = Lan::new();
    let home_a = Home::with(&[GameSpec::new("doom").file("doom.pak", 24 * MIB)]);
    let host_a = lan.host("a");
    host_a.shape_mbit(80);
    let a = Daemon::start(&home_a, &Options::on(&host_a));
    a.wait_hashed();
    let home_b = Home::with(&[GameSpec::small("quake")]);
    let b = Daemon::start(&home_b, &Options::on(&lan.host("b")));
    b.wait_peers(1);
    let other = home_b.path().join("other-games");
    fs::create_dir(&other).unwrap();
    GameSpec::small("hexen").write(&other);
    let switch = json!({"cmd": "set-game-dir", "path": other});

    // Refused while something runs, and then nothing has changed.
    let mark = b.begin_download("doom");
    wait_bytes(&b, mark, 2 * MIB);
    assert_eq!(b.refused(switch.clone()), "operation-in-progress");
    assert_eq!(b.wait_download("doom", mark)["event"], "download-finished");
    assert_same_tree(&home_a.game("doom"), &home_b.game("doom"));
    let missing = home_b.path().join("does-not-exist");
    b.refused(json!({"cmd": "set-game-dir", "path": missing}));
    assert!(b.games()["quake"]["downloaded"] == true);

    // The same directory: told, but no revision.
    b.wait_hashed();
    let (before, mark) = (b.status(), b.mark());
    b.ok(json!({"cmd": "set-game-dir", "path": home_b.games()}));
    let event = b.wait_event_since(mark, "local-library-changed", |_| true);
    assert_eq!((&event["epoch"], &event["rev"]), (&before["library_epoch"], &before["library_rev"]));

    // Another directory: its games, its history, and the peers follow.
    b.ok(switch);
    let rows = eventually("the new library is there", 20, || Some(b.games()).filter(|rows| rows.contains_key("hexen")));
    assert!(!rows.contains_key("quake"), "{:?}", rows.keys());
    assert_eq!(rows["doom"]["downloaded"], false, "only the peer has it now");
    assert_ne!(b.status()["library_epoch"], before["library_epoch"]);
    eventually("the peer sees the new library", 20, || {
        let rows = a.games();
        (rows.contains_key("hexen") && !rows.contains_key("quake")).then_some(())
    });
    assert_eq!(a.games()["doom"]["peer_count"], 0);
    b.download("doom");
    assert_same_tree(&home_a.game("doom"), &other.join("doom"));
}
