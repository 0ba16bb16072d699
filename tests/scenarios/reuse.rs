//! What lies on the disk is not fetched again: updates, repairs, downloads that were cut off, a disk that was full.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::local::flip;
use crate::support::{CHUNK, Daemon, GameSpec, Home, Lan, MIB, Options, assert_same_tree, available, eventually, tree};

/// Bytes that each source gave, by its id.
fn shares(finished: &Value) -> BTreeMap<String, u64> {
    let share = |source: &Value| (source["peer_id"].as_str().unwrap().to_owned(), source["bytes"].as_u64().unwrap());
    finished["sources"].as_array().unwrap().iter().map(share).collect()
}

/// All of the game but `fetched` bytes was here, and those came from `source`.
fn assert_fetched(finished: &Value, source: &Daemon, fetched: u64) {
    assert_eq!(finished["event"], "download-finished", "{finished}");
    assert_eq!(shares(finished), BTreeMap::from([(source.peer_id.clone(), fetched)]), "{finished}");
    assert_eq!(finished["resumed_bytes"], finished["bytes"].as_u64().unwrap() - fetched, "{finished}");
    assert_eq!(finished["refetched_bytes"], 0, "{finished}");
}

/// Waits until a running download has so many bytes; what it said then.
fn wait_bytes(daemon: &Daemon, mark: usize, bytes: u64) -> u64 {
    let record = daemon.wait_record(mark, "progress", 60, |record| {
        assert_ne!(record["event"], "download-failed", "{record}");
        assert_ne!(record["event"], "download-finished", "it was over before the test could act: {record}");
        record["event"] == "download-progress" && record["bytes"].as_u64().unwrap() >= bytes
    });
    record["bytes"].as_u64().unwrap()
}

/// The names of the operations that were listed one after the other.
fn listed(daemon: &Daemon, mark: usize) -> Vec<Vec<Value>> {
    let records = daemon.since(mark).into_iter().filter(|record| record["event"] == "active-operations-changed");
    let names =
        |record: Value| record["operations"].as_array().unwrap().iter().map(|row| row["operation"].clone()).collect();
    records.map(names).collect()
}

fn repair(daemon: &Daemon) -> usize {
    let mark = daemon.mark();
    daemon.ok(json!({"cmd": "verify", "game": "doom", "repair": true}));
    mark
}

#[test]
fn an_update_fetches_the_changed_chunks_and_nothing_else_and_a_renamed_file_not_at_all() {
    let spec =
        GameSpec::new("doom").version("1.0").file("doom.pak", 20 * CHUNK + 5).file("maps/old.pak", 3 * CHUNK + 9);
    let spec = spec.file("readme.txt", 700);
    let (home_a, home_b) = (Home::with(std::slice::from_ref(&spec)), Home::new());
    let a = Daemon::start(&home_a, &Options::local());
    a.wait_hashed();
    let b = Daemon::start(&home_b, &Options::local());
    b.connect(&a);
    assert_fetched(&b.download("doom"), &a, spec.bytes());
    a.stop();

    // The next version: two chunks differ, one file has another name, one is gone.
    let root = home_a.game("doom");
    fs::remove_file(root.join("version.ini")).unwrap();
    flip(&root.join("doom.pak"), 4 * CHUNK + 3);
    flip(&root.join("doom.pak"), 17 * CHUNK);
    fs::rename(root.join("maps/old.pak"), root.join("maps/new.pak")).unwrap();
    fs::remove_file(root.join("readme.txt")).unwrap();
    let version = "1.1\n";
    // What was known of the old bytes must not be taken for the new ones.
    fs::remove_dir_all(home_a.games().join(".lanspread/content")).unwrap();
    fs::write(root.join("version.ini"), version).unwrap();
    let a = Daemon::start(&home_a, &Options::local());
    a.wait_hashed();
    b.connect(&a);
    let before = b.status()["bytes_received"].as_u64().unwrap();
    let mark = b.mark();
    let finished = b.download("doom");
    let changed = 2 * CHUNK + version.len() as u64;
    assert_fetched(&finished, &a, changed);
    assert_eq!(b.status()["bytes_received"].as_u64().unwrap() - before, changed);
    assert_same_tree(&root, &home_b.game("doom"));
    let progress = b.since(mark).into_iter().filter(|record| record["event"] == "download-progress");
    assert!(progress.into_iter().all(|event| event["bytes"].as_u64() >= finished["resumed_bytes"].as_u64()));
    assert_eq!(b.games()["doom"]["version"], "1.1");
}

#[test]
fn repair_fetches_exactly_the_damaged_chunks_and_of_the_same_content_only() {
    let spec = GameSpec::new("doom").file("doom.pak", 9 * CHUNK + 1).file("data/maps.wad", 3 * CHUNK).many(20, 1000);
    let homes = [
        Home::with(std::slice::from_ref(&spec)),
        Home::with(std::slice::from_ref(&spec)),
        Home::with(&[spec.clone().seed(2)]),
    ];
    let options = Options::local().set("timers.source_wait", "1s");
    let [a, b, other] = [0, 1, 2].map(|n| Daemon::start(&homes[n], &options));
    [&a, &b, &other].into_iter().for_each(Daemon::wait_hashed);
    b.ok(json!({"cmd": "connect", "addr": a.addr.to_string()}));
    b.ok(json!({"cmd": "connect", "addr": other.addr.to_string()}));
    b.wait_peers(2);
    let root = homes[1].game("doom");
    let verified = |record: &Value| record["event"] == "verify-finished";

    // Nothing is wrong: a repair is a verification.
    let mark = repair(&b);
    assert_eq!(b.wait_record(mark, "the end of verify", 60, verified)["bad_chunks"], 0);
    assert_eq!(listed(&b, mark), [vec![json!("verifying")], vec![]]);

    flip(&root.join("doom.pak"), 6 * CHUNK + 9);
    flip(&root.join("data/maps.wad"), CHUNK);
    let mark = repair(&b);
    let finished = b.wait_download("doom", mark);
    assert_fetched(&finished, &a, 2 * CHUNK);
    assert_same_tree(&homes[0].game("doom"), &root);
    let operations = ["verifying", "queued", "downloading"].map(|name| vec![json!(name)]);
    assert_eq!(listed(&b, mark), [operations.as_slice(), &[vec![]]].concat());
    let names: Vec<Value> = b.since(mark).into_iter().map(|record| record["event"].clone()).collect();
    let at = |name: &str| names.iter().position(|n| n == name).unwrap_or_else(|| panic!("{name} in {names:?}"));
    assert!(at("verify-finished") < at("download-begin") && at("download-begin") < at("download-finished"));
    assert_eq!(b.since(mark)[at("verify-finished")]["bad_chunks"], 2);
    assert_eq!(b.games()["doom"]["downloaded"], true);

    // A missing file and a file that is too long are damage as well; what a repair cannot fetch, a download can later.
    a.stop();
    fs::remove_file(root.join("many/000/00003.dat")).unwrap();
    let mut long = fs::File::options().append(true).open(root.join("data/maps.wad")).unwrap();
    long.write_all(b"and more").unwrap();
    drop(long);
    let mark = repair(&b);
    let end =
        b.wait_record(mark, "the end of verify", 60, |record| verified(record) || record["event"] == "verify-failed");
    assert_eq!((&end["event"], &end["bad_chunks"]), (&json!("verify-finished"), &json!(2)), "{end}");
    let failed = b.wait_download("doom", mark);
    assert_eq!((&failed["event"], &failed["code"]), (&json!("download-failed"), &json!("no-sources")), "{failed}");
    assert!(!root.join("version.ini").exists());
    assert_eq!(b.games()["doom"]["downloaded"], false);
    other.stop();
    let a = Daemon::start(&homes[0], &options);
    b.connect(&a);
    // The chunks of a file that is too long are not fetched.
    let finished = b.download("doom");
    assert_fetched(&finished, &a, 1000);
    // Somebody wrote to it, so that what it was is kept.
    assert_eq!(finished["kept_aside"], json!([{"file": "data/maps.wad", "kept_as": "data/maps.wad.mine"}]));
    assert_eq!(fs::metadata(root.join("data/maps.wad.mine")).unwrap().len(), 3 * CHUNK + 8);
    fs::remove_file(root.join("data/maps.wad.mine")).unwrap();
    assert_same_tree(&homes[0].game("doom"), &root);
}

#[test]
fn a_download_goes_on_after_the_daemon_was_killed_and_after_it_was_stopped() {
    if !available("a_download_goes_on_after_the_daemon_was_killed_and_after_it_was_stopped", &["netns"]) {
        return;
    }
    let lan = Lan::new();
    let spec = GameSpec::new("doom").file("doom.pak", 40 * MIB + 5).file("maps/one.pak", 3 * CHUNK).many(100, 10_000);
    let (home_a, home_b) = (Home::with(std::slice::from_ref(&spec)), Home::new());
    let (host_a, host_b) = (lan.host("a"), lan.host("b"));
    host_a.shape_mbit(80);
    let a = Daemon::start(&home_a, &Options::on(&host_a));
    a.wait_hashed();
    let mut at_least = 0;
    for kill in [true, false] {
        let b = Daemon::start(&home_b, &Options::on(&host_b));
        b.wait_peers(1);
        assert_eq!(b.games()["doom"]["downloaded"], false);
        let mark = b.begin_download("doom");
        at_least = wait_bytes(&b, mark, at_least + 8 * MIB);
        if kill {
            b.kill();
        } else {
            b.stop();
        }
        assert!(!home_b.game("doom").join("version.ini").exists(), "no sentinel over incomplete bytes");
    }
    let b = Daemon::start(&home_b, &Options::on(&host_b));
    b.wait_peers(1);
    let finished = b.download("doom");
    let resumed = finished["resumed_bytes"].as_u64().unwrap();
    // Only the sentinel is held in memory until the end.
    assert!(resumed + CHUNK > at_least && resumed < spec.bytes(), "{at_least} were there: {finished}");
    assert_eq!(shares(&finished).values().sum::<u64>() + resumed, spec.bytes(), "{finished}");
    assert_same_tree(&home_a.game("doom"), &home_b.game("doom"));
}

#[test]
fn a_cancelled_repair_leaves_what_was_there_and_the_next_one_goes_on() {
    if !available("a_cancelled_repair_leaves_what_was_there_and_the_next_one_goes_on", &["netns"]) {
        return;
    }
    let lan = Lan::new();
    let spec = GameSpec::new("doom").file("doom.pak", 24 * MIB);
    let (home_a, home_b) = (Home::with(std::slice::from_ref(&spec)), Home::with(std::slice::from_ref(&spec)));
    let (host_a, host_b) = (lan.host("a"), lan.host("b"));
    host_a.shape_mbit(80);
    let a = Daemon::start(&home_a, &Options::on(&host_a));
    let b = Daemon::start(&home_b, &Options::on(&host_b));
    a.wait_hashed();
    b.wait_hashed();
    b.wait_peers(1);
    // Every second chunk of 24.
    let file = home_b.game("doom").join("doom.pak");
    (0..12).for_each(|n| flip(&file, 2 * n * CHUNK + 7));
    let mark = repair(&b);
    let had = wait_bytes(&b, mark, 15 * MIB);
    b.ok(json!({"cmd": "cancel-download", "game": "doom"}));
    assert_eq!(b.wait_download("doom", mark)["code"], "cancelled");
    assert_eq!(fs::metadata(&file).unwrap().len(), 24 * MIB, "the good chunks are still there");
    assert!(!home_b.game("doom").join("version.ini").exists());
    let finished = b.download("doom");
    assert!(finished["resumed_bytes"].as_u64().unwrap() + CHUNK > had, "{had} were there: {finished}");
    assert_same_tree(&home_a.game("doom"), &home_b.game("doom"));
}

/// The same directory as the process sees it, in its own mounts.
fn seen_by(daemon: &Daemon, path: &Path) -> PathBuf {
    Path::new("/proc").join(daemon.pid().to_string()).join("root").join(path.strip_prefix("/").unwrap())
}

#[test]
fn a_disk_that_fills_up_ends_the_download_which_goes_on_when_there_is_space() {
    let name = "a_disk_that_fills_up_ends_the_download_which_goes_on_when_there_is_space";
    if !available(name, &["netns", "mount"]) {
        return;
    }
    let lan = Lan::new();
    // The space for each file is taken when its first chunk comes.
    let spec = (0..16).fold(GameSpec::new("doom"), |spec, n| spec.file(&format!("part{n:02}.pak"), 2 * CHUNK + 3));
    let (home_a, home_b) = (Home::with(std::slice::from_ref(&spec)), Home::new());
    let (host_a, host_b) = (lan.host("a"), lan.host("b"));
    host_a.shape_mbit(40);
    let a = Daemon::start(&home_a, &Options::on(&host_a));
    a.wait_hashed();
    let (size, script) = (
        format!("{}k", (spec.bytes() + 8 * MIB) / 1024),
        r#"mount -t tmpfs -o size=$0 tmpfs "$1" && shift && exec "$@""#,
    );
    let games = home_b.games();
    let options = Options::on(&host_b).under(&["unshare", "-m", "sh", "-c", script, &size, games.to_str().unwrap()]);
    let b = Daemon::start(&home_b, &options);
    let games = seen_by(&b, &games);
    b.wait_peers(1);
    let mark = b.begin_download("doom");
    wait_bytes(&b, mark, 4 * MIB);
    let filler = games.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    let full = loop {
        if let Err(error) = file.write_all(&[1; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let failed = b.wait_download("doom", mark);
    assert_eq!((&failed["event"], &failed["code"]), (&json!("download-failed"), &json!("disk-full")), "{failed}");
    let left = tree(&games.join("doom"), &[]);
    assert!(!left.contains_key("version.ini") && left.len() >= 2, "{left:?}");
    assert_eq!(b.games()["doom"]["downloaded"], false);
    // As long as it is full nothing begins, and nothing is lost.
    let mark = b.begin_download("doom");
    assert_eq!(b.wait_download("doom", mark)["code"], "disk-full");
    assert_eq!(tree(&games.join("doom"), &[]), left);

    drop(file);
    fs::remove_file(filler).unwrap();
    let finished = b.download("doom");
    let resumed = finished["resumed_bytes"].as_u64().unwrap();
    assert!(resumed + CHUNK > 4 * MIB, "{finished}");
    assert_eq!(shares(&finished)[&a.peer_id], spec.bytes() - resumed, "{finished}");
    assert_same_tree(&home_a.game("doom"), &games.join("doom"));
}

#[test]
fn what_a_download_left_can_be_removed_but_never_what_the_user_plays() {
    let spec = GameSpec::new("doom").file("doom.pak", 24 * CHUNK + 5).file("maps/deep/one.pak", CHUNK).many(30, 1000);
    let (home_a, home_b) = (Home::with(std::slice::from_ref(&spec)), Home::new());
    let a = Daemon::start(&home_a, &Options::local().arg("--max-upload", "4MB/s"));
    a.wait_hashed();
    let (root, options) = (home_b.game("doom"), Options::local());
    let b = Daemon::start(&home_b, &options);
    b.connect(&a);
    let mark = b.begin_download("doom");
    wait_bytes(&b, mark, 4 * MIB);
    b.kill();

    // One that goes on from what is there and is cancelled takes away its own files only.
    let b = Daemon::start(&home_b, &options);
    b.connect(&a);
    let mark = b.begin_download("doom");
    wait_bytes(&b, mark, 8 * MIB);
    b.ok(json!({"cmd": "cancel-download", "game": "doom"}));
    assert_eq!(b.wait_download("doom", mark)["code"], "cancelled");
    let left = tree(&root, &[]);
    assert!(left.contains_key("doom.pak") && !left.contains_key("version.ini"), "{left:?}");

    // With somebody's own `local` it is not touched.
    fs::create_dir(root.join("local")).unwrap();
    fs::write(root.join("local/save.dat"), "level 9").unwrap();
    eventually("it counts as installed", 20, || (b.games()["doom"]["installed"] == true).then_some(()));
    assert_eq!(b.refused(json!({"cmd": "remove", "game": "doom"})), "in-use");
    assert_eq!(tree(&root, &["local", "local/save.dat"]), left);
    fs::rename(root.join("local"), home_b.path().join("kept")).unwrap();
    eventually("it counts as not installed", 20, || (b.games()["doom"]["installed"] == false).then_some(()));

    let mark = b.mark();
    b.ok(json!({"cmd": "remove", "game": "doom"}));
    b.wait_event_since(mark, "remove-finished", |event| event["game"] == "doom");
    assert!(!root.exists(), "{:?}", tree(&root, &[]));
    assert_eq!(b.refused(json!({"cmd": "remove", "game": "doom"})), "not-downloaded");
    a.ok(json!({"cmd": "set-limits", "max_upload": null}));
    let finished = b.download("doom");
    assert_eq!(finished["resumed_bytes"], 0);
    assert_same_tree(&home_a.game("doom"), &root);
}
