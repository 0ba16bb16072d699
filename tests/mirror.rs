//! Mirrors: games from a web server, with real daemons and a small server that can be told to misbehave.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and sets its stage with plain file calls"
)]
#![allow(dead_code, unused_imports, reason = "the support is shared with the scenarios")]

mod support;
#[path = "support/web.rs"]
mod web;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use support::{CHUNK, Daemon, GameSpec, Home, MIB, Options, assert_same_tree, eventually, tree};
use web::{Fault, Web};

fn share(dir: &Path) -> Value {
    let output = lanspread(&["share", "--mirror-manifest", dir.to_str().unwrap(), "--json"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn lanspread(args: &[&str]) -> Output {
    let binary = support::binary();
    Command::new(binary).args(args).output().unwrap()
}

/// A folder of games that was made a mirror.
fn mirror_of(games: &[GameSpec]) -> Home {
    let home = Home::with(games);
    let shared = share(&home.games());
    assert_eq!(shared["shared"].as_array().unwrap().len(), games.len(), "{shared}");
    home
}

fn with_mirror(web: &Web) -> Options {
    Options::local().arg("--mirror", web.url())
}

/// The id under which the first mirror of a daemon is a source.
fn mirror_id(daemon: &Daemon) -> String {
    daemon.status()["mirrors"][0]["peer_id"].as_str().unwrap().to_owned()
}

fn share_of(finished: &Value, peer_id: &str) -> u64 {
    let sources = finished["sources"].as_array().unwrap();
    sources.iter().filter(|source| source["peer_id"] == peer_id).map(|source| source["bytes"].as_u64().unwrap()).sum()
}

/// The copy, against a source in which a description lies beside the files.
fn assert_same_game(source: &Home, copy: &Home, id: &str) {
    let aside = source.path().join("manifest.aside");
    fs::rename(source.game(id).join("manifest.json"), &aside).unwrap();
    assert_same_tree(&source.game(id), &copy.game(id));
    fs::rename(&aside, source.game(id).join("manifest.json")).unwrap();
}

#[test]
fn a_mirror_alone_hands_a_whole_game_out() {
    let spec = GameSpec::new("Doom & Söhne #1")
        .version("1.2")
        .file("doom.pak", 9 * CHUNK + 1)
        .file("exactly-two.bin", 2 * CHUNK)
        .file("empty.bin", 0)
        .file("data/100% Ünïcode +näme.txt", 33)
        .file("a/b/c/deep.bin", CHUNK - 1)
        .many(300, 700);
    let source = mirror_of(&[spec.clone(), GameSpec::small("quake")]);
    let web = Web::serve(&source.games());
    let home = Home::new();
    let daemon = Daemon::start(&home, &with_mirror(&web));
    let id = spec.id.as_str();
    eventually("the games of the mirror are listed", 30, || (daemon.games().len() == 2).then_some(()));
    let mirror = mirror_id(&daemon);
    let row = daemon.games().remove(id).unwrap();
    assert_eq!(
        (&row["version"], &row["size"], &row["downloaded"]),
        (&json!("1.2"), &json!(spec.bytes()), &json!(false))
    );
    assert_eq!((&row["sources"], &row["peer_count"]), (&json!([mirror]), &json!(0)));
    let status = daemon.status()["mirrors"].clone();
    let known = json!([{"peer_id": mirror, "url": web.url(), "reachable": true, "games": 2}]);
    assert_eq!(status, known);

    let files = daemon.ok(json!({"cmd": "get-game", "game": id}));
    assert_eq!((&files["bytes"], &files["sources"]), (&json!(spec.bytes()), &json!([mirror])));
    assert!(files["files"].as_array().unwrap().iter().all(|file| file["path"] != "manifest.json"));

    let finished = daemon.download(id);
    assert_eq!(share_of(&finished, &mirror), spec.bytes(), "{finished}");
    assert_eq!(finished["refetched_bytes"], 0);
    assert_eq!(web.sent(), spec.bytes(), "every byte was asked for once");
    assert_same_game(&source, &home, id);
    assert_eq!(daemon.status()["bytes_received"], spec.bytes());
    let metrics = daemon.ok(json!({"cmd": "metrics"}));
    assert_eq!(metrics["chunks_received"], finished["chunks"], "{metrics}");
    assert_eq!((&metrics["runs_awaited"], &metrics["batches_unwritten"]), (&json!(0), &json!(0)));

    // What came of a mirror is a game like any other.
    let other_home = Home::new();
    let other = Daemon::start(&other_home, &Options::local());
    other.connect(&daemon);
    other.download(id);
    assert_same_game(&source, &other_home, id);
}

#[test]
fn empty_folders_come_from_a_mirror_too() {
    let source = Home::with(&[GameSpec::small("doom")]);
    for dir in ["saves", "extra/logs"] {
        fs::create_dir_all(source.game("doom").join(dir)).unwrap();
    }
    assert_eq!(share(&source.games())["shared"].as_array().unwrap().len(), 1);
    let web = Web::serve(&source.games());
    let home = Home::new();
    let daemon = Daemon::start(&home, &with_mirror(&web));
    eventually("the mirror was read", 30, || daemon.games().contains_key("doom").then_some(()));
    assert_eq!(daemon.download("doom")["event"], "download-finished");
    assert_same_game(&source, &home, "doom");
}

#[test]
fn a_mirror_and_a_peer_hand_a_game_out_together() {
    // Both are slow, so that neither is done before the other has begun.
    let rate = 8 * MIB;
    let spec = GameSpec::new("doom").file("doom.pak", 64 * CHUNK + 9);
    let source = mirror_of(std::slice::from_ref(&spec));
    let web = Web::serve(&source.games());
    web.set(Fault::Slow(rate / 2));
    let peer_home = Home::with(std::slice::from_ref(&spec));
    let peer = Daemon::start(&peer_home, &Options::local().arg("--max-upload", format!("{}MB/s", rate / 1_000_000)));
    peer.wait_hashed();
    let home = Home::new();
    let daemon = Daemon::start(&home, &with_mirror(&web));
    daemon.connect(&peer);
    eventually("both have it", 30, || (daemon.games()["doom"]["sources"].as_array().unwrap().len() == 2).then_some(()));
    let finished = daemon.download("doom");
    let (of_mirror, of_peer) = (share_of(&finished, &mirror_id(&daemon)), share_of(&finished, &peer.peer_id));
    assert_eq!(of_mirror + of_peer, spec.bytes(), "{finished}");
    assert!(of_mirror >= 8 * CHUNK && of_peer >= 8 * CHUNK, "one did nearly everything: {finished}");
    assert_same_tree(&peer_home.game("doom"), &home.game("doom"));
}

#[test]
fn a_mirror_that_misbehaves_is_named_and_a_peer_hands_the_game_out() {
    let spec = GameSpec::new("doom").file("doom.pak", 12 * CHUNK + 7);
    let source = mirror_of(std::slice::from_ref(&spec));
    let peer_home = Home::with(std::slice::from_ref(&spec));
    // So slow that the mirror has its chance.
    let peer = Daemon::start(&peer_home, &Options::local().arg("--max-upload", "3MB/s"));
    peer.wait_hashed();
    for (fault, words) in [
        (Fault::NoRanges, "no range requests"),
        (Fault::WrongBytes, "do not match"),
        (Fault::WrongRange, "Content-Range"),
        (Fault::RedirectLoop, "redirected more than 5 times"),
    ] {
        let web = Web::serve(&source.games());
        web.set(fault);
        let home = Home::new();
        let daemon = Daemon::start(&home, &with_mirror(&web));
        daemon.connect(&peer);
        eventually("both have it", 30, || {
            (daemon.games()["doom"]["sources"].as_array().unwrap().len() == 2).then_some(())
        });
        let finished = daemon.download("doom");
        let banned = daemon.wait_event("download-source-banned");
        assert_eq!((&banned["url"], &banned["peer_id"]), (&json!(web.url()), &json!(mirror_id(&daemon))), "{fault:?}");
        assert!(banned["reason"].as_str().unwrap().contains(words), "{fault:?}: {banned}");
        assert_eq!(share_of(&finished, &peer.peer_id), spec.bytes(), "{fault:?}: {finished}");
        assert_same_tree(&peer_home.game("doom"), &home.game("doom"));
        daemon.stop();
    }
}

#[test]
fn a_mirror_alone_that_lies_ends_the_download_and_one_that_breaks_off_is_asked_again() {
    let spec = GameSpec::new("doom").file("doom.pak", 6 * CHUNK + 7);
    let source = mirror_of(std::slice::from_ref(&spec));
    let web = Web::serve(&source.games());
    let home = Home::new();
    let daemon = Daemon::start(&home, &with_mirror(&web));
    for (fault, code) in [(Fault::WrongBytes, "verification-failed"), (Fault::NoRanges, "no-sources")] {
        web.set(fault);
        let mark = daemon.begin_download("doom");
        let failed = daemon.wait_download("doom", mark);
        assert_eq!(
            (&failed["event"], &failed["code"]),
            (&json!("download-failed"), &json!(code)),
            "{fault:?}: {failed}"
        );
        assert!(!home.game("doom").join("version.ini").exists());
    }
    // Each answer breaks off half-way: what came is kept, the rest is asked for again.
    web.set(Fault::Truncated);
    let mark = daemon.begin_download("doom");
    eventually("answers have broken off", 60, || (web.count("/doom/doom.pak", 206) > 8).then_some(()));
    web.set(Fault::None);
    let finished = daemon.wait_download("doom", mark);
    assert_eq!(finished["event"], "download-finished", "{finished}");
    assert_same_game(&source, &home, "doom");
}

#[test]
fn a_slow_mirror_is_cancelled_at_once_and_its_buffers_are_free() {
    let slow = GameSpec::new("slow").file("slow.pak", 30 * CHUNK);
    let source = mirror_of(&[slow, GameSpec::small("quick")]);
    let web = Web::serve(&source.games());
    web.set(Fault::Silent);
    let home = Home::new();
    // As few buffers as there can be: one that is not given back is missing.
    // A thread that nobody frees would wait for longer than the test does.
    let options = with_mirror(&web).set("limits.landing_buffers", "1").set("timers.run_stall", "10m");
    let daemon = Daemon::start(&home, &options);
    for _ in 0..3 {
        let asked = web.count("/slow/slow.pak", 206);
        let mark = daemon.begin_download("slow");
        eventually("the mirror is asked", 30, || (web.count("/slow/slow.pak", 206) > asked).then_some(()));
        daemon.ok(json!({"cmd": "cancel-download", "game": "slow"}));
        let failed = daemon.wait_download("slow", mark);
        assert_eq!((&failed["event"], &failed["code"]), (&json!("download-failed"), &json!("cancelled")));
    }
    web.set(Fault::None);
    daemon.download("quick");
    assert_same_game(&source, &home, "quick");
}

#[test]
fn without_a_list_a_mirror_is_asked_for_what_is_wanted() {
    let source = mirror_of(&[GameSpec::small("doom"), GameSpec::small("quake")]);
    fs::remove_file(source.games().join("index.json")).unwrap();
    let web = Web::serve(&source.games());
    let home = Home::new();
    let daemon = Daemon::start(&home, &with_mirror(&web));
    eventually("the list was asked for", 30, || (web.count("/index.json", 404) > 0).then_some(()));
    assert!(daemon.games().is_empty());
    for _ in 0..3 {
        assert_eq!(daemon.refused(json!({"cmd": "download", "game": "nobody-has-it"})), "unknown-game");
    }
    assert_eq!(web.count("/nobody-has-it/manifest.json", 404), 1, "that it is not there is remembered");
    daemon.download("doom");
    assert_same_game(&source, &home, "doom");
    daemon.stop();

    // The games of a catalog are looked for, and its content is binding.
    let catalog = |content: Option<&str>| {
        let path = home.path().join("c.json");
        let mut game = json!({"id": "quake", "name": "Quake", "version": "1.0"});
        if let Some(content) = content {
            game["content_hash"] = json!(content);
        }
        fs::write(&path, json!({"format": 1, "games": [game]}).to_string()).unwrap();
        path
    };
    let daemon = Daemon::start(&home, &with_mirror(&web).arg("--catalog", catalog(Some(&"00".repeat(32)))));
    eventually("the game is found", 30, || daemon.games().contains_key("quake").then_some(()));
    assert_eq!(daemon.games()["quake"]["name"], "Quake");
    assert_eq!(daemon.refused(json!({"cmd": "download", "game": "quake"})), "no-sources");
    daemon.stop();
    let daemon = Daemon::start(&home, &with_mirror(&web).arg("--catalog", catalog(None)));
    daemon.download("quake");
    assert_same_game(&source, &home, "quake");
}

#[test]
fn a_mirror_that_is_down_is_said_once_and_used_when_it_is_back() {
    let source = mirror_of(&[GameSpec::small("doom")]);
    let gone = Web::serve(&source.games());
    let (addr, url) = (gone.addr, gone.url());
    drop(gone);
    let home = Home::new();
    let options = Options::local().arg("--mirror", &url).set("timers.mirror_refresh", "300ms");
    let daemon = Daemon::start(&home, &options);
    let trouble = daemon.wait_event("runtime-error");
    assert!(trouble["code"] == "io" && trouble["message"].as_str().unwrap().contains(&url), "{trouble}");
    assert_eq!(daemon.refused(json!({"cmd": "download", "game": "doom"})), "unknown-game");
    assert_eq!(daemon.status()["mirrors"][0]["reachable"], false);
    let web = Web::with(&source.games(), addr, None);
    eventually("it is back", 60, || (daemon.status()["mirrors"][0]["reachable"] == true).then_some(()));
    eventually("its games are listed", 30, || daemon.games().contains_key("doom").then_some(()));
    daemon.download("doom");
    assert_same_game(&source, &home, "doom");
    assert!(web.count("/index.json", 200) >= 1);
    assert_eq!(daemon.events("runtime-error").len(), 1, "one outage is one event");
}

#[test]
fn a_hostile_description_is_refused_and_said() {
    let source = mirror_of(&[GameSpec::small("doom")]);
    let path = source.game("doom").join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("extra/readme.txt", "../../readme.txt")).unwrap();
    fs::remove_file(source.games().join("index.json")).unwrap();
    let web = Web::serve(&source.games());
    let home = Home::new();
    let daemon = Daemon::start(&home, &with_mirror(&web));
    assert_eq!(daemon.refused(json!({"cmd": "download", "game": "doom"})), "unknown-game");
    let trouble = daemon.wait_event("runtime-error");
    assert_eq!(trouble["code"], "verification-failed", "{trouble}");
    assert!(trouble["message"].as_str().unwrap().contains("/doom/manifest.json"), "{trouble}");
    // The list promises what the description does not keep.
    fs::write(&path, &text).unwrap();
    share(&source.games());
    fs::write(&path, text.replacen("\"chunks\":\"", "\"chunks\":\"00", 1)).unwrap();
    daemon.stop();
    let daemon = Daemon::start(&home, &with_mirror(&web));
    eventually("the list came", 30, || daemon.games().contains_key("doom").then_some(()));
    let mark = daemon.begin_download("doom");
    let failed = daemon.wait_download("doom", mark);
    assert_eq!(failed["event"], "download-failed", "{failed}");
    assert!(tree(&home.games(), &[".lanspread"]).keys().all(|path| !path.contains("readme")), "nothing was written");
}

#[test]
fn another_version_is_found_by_fetch_latest_and_only_what_changed_is_fetched() {
    let spec = GameSpec::new("doom").version("1").file("same.pak", 5 * CHUNK).file("other.pak", 2 * CHUNK);
    let source = mirror_of(std::slice::from_ref(&spec));
    let web = Web::serve(&source.games());
    let home = Home::new();
    let daemon = Daemon::start(&home, &with_mirror(&web));
    daemon.download("doom");
    let before = web.sent();
    fs::write(source.game("doom").join("version.ini"), "2\n").unwrap();
    fs::write(source.game("doom").join("other.pak"), vec![7; 3 * CHUNK as usize]).unwrap();
    share(&source.games());
    let mark = daemon.mark();
    daemon.ok(json!({"cmd": "fetch-latest", "game": "doom"}));
    let finished = daemon.wait_download("doom", mark);
    assert_eq!(finished["event"], "download-finished", "{finished}");
    assert_eq!(daemon.games()["doom"]["version"], "2");
    assert!(web.sent() - before <= 3 * CHUNK + 2, "{} bytes were sent again", web.sent() - before);
    assert_same_game(&source, &home, "doom");
}

#[test]
fn a_mirror_behind_tls_must_be_one_that_the_system_trusts_and_stays_safe() {
    let source = mirror_of(&[GameSpec::small("doom")]);
    let (pem, tls) = web::tls();
    let web = Web::with(&source.games(), "127.0.0.1:0".parse().unwrap(), Some(tls));
    let plain = Web::serve(&source.games());
    let home = Home::new();
    let trusted = home.path().join("ca.pem");
    fs::write(&trusted, pem).unwrap();
    let variable = format!("SSL_CERT_FILE={}", trusted.display());
    let trusting = with_mirror(&web).under(&["env", &variable]);

    let daemon = Daemon::start(&home, &with_mirror(&web).under(&["env", "-u", "SSL_CERT_FILE"]));
    let trouble = daemon.wait_event("runtime-error");
    assert!(trouble["message"].as_str().unwrap().contains("certificate is not accepted"), "{trouble}");
    daemon.stop();

    let daemon = Daemon::start(&home, &trusting);
    daemon.download("doom");
    assert_same_game(&source, &home, "doom");
    daemon.stop();

    web.redirect_to(&plain.url());
    let other_home = Home::new();
    let daemon = Daemon::start(&other_home, &trusting);
    daemon.wait_event("runtime-error");
    assert_eq!(daemon.refused(json!({"cmd": "download", "game": "doom"})), "unknown-game");
    assert_eq!(plain.count("/index.json", 200), 0, "what began safe stays so");
}

#[test]
fn redirects_to_another_server_are_followed() {
    let source = mirror_of(&[GameSpec::small("doom")]);
    let (front, back) = (Web::serve(&source.games()), Web::serve(&source.games()));
    front.redirect_to(&back.url());
    let home = Home::new();
    let daemon = Daemon::start(&home, &with_mirror(&front));
    daemon.download("doom");
    assert_same_game(&source, &home, "doom");
    assert!(back.sent() > 2 * CHUNK && front.sent() == 0);
}

#[test]
fn what_comes_of_a_mirror_keeps_to_the_limit() {
    let spec = GameSpec::new("doom").file("doom.pak", 8 * CHUNK);
    let source = mirror_of(std::slice::from_ref(&spec));
    let web = Web::serve(&source.games());
    let home = Home::new();
    let daemon = Daemon::start(&home, &with_mirror(&web).arg("--max-download", "2MB/s"));
    let finished = daemon.download("doom");
    let (bytes, ms) = (finished["bytes"].as_u64().unwrap(), finished["duration_ms"].as_u64().unwrap());
    // What is asked for in one go at the start comes at once.
    assert!(ms * 2_000_000 / 1000 >= bytes / 2, "{bytes} bytes in {ms} ms");
}

#[test]
fn the_tool_shares_what_is_complete_says_what_it_skips_and_changes_no_game() {
    let home = Home::with(&[
        GameSpec::small("doom"),
        GameSpec::small("quake"),
        GameSpec::small("own").file("manifest.json", 50),
        GameSpec::small("half").without_sentinel(),
    ]);
    let hashes = |home: &Home| {
        let daemon = Daemon::start(home, &Options::local());
        daemon.wait_hashed();
        let games = daemon.games().into_iter().map(|(id, row)| (id, row["content_hash"].clone(), row["size"].clone()));
        let games: Vec<_> = games.collect();
        let rev = daemon.status()["library_rev"].clone();
        daemon.stop();
        (games, rev)
    };
    let before = hashes(&home);
    let own = fs::read(home.game("own").join("manifest.json")).unwrap();
    let shared = share(&home.games());
    let ids = |list: &Value| list.as_array().unwrap().iter().map(|game| game["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&shared["shared"]), ["doom", "quake"]);
    assert_eq!(ids(&shared["skipped"]), ["half", "own"]);
    assert!(shared["skipped"][0]["reason"].as_str().unwrap().contains("version.ini"), "{shared}");
    assert!(shared["skipped"][1]["reason"].as_str().unwrap().contains("manifest.json"), "{shared}");
    assert_eq!(fs::read(home.game("own").join("manifest.json")).unwrap(), own, "a file of a game is left alone");
    assert_eq!(hashes(&home), before, "the daemon sees the same library as before");
    let listed: Value = serde_json::from_slice(&fs::read(home.games().join("index.json")).unwrap()).unwrap();
    assert_eq!(ids(&listed["games"]), ["doom", "quake"]);

    // What is right is not written again; what is no game any more is withdrawn.
    let written = |id: &str| fs::metadata(home.game(id).join("manifest.json")).unwrap().modified().unwrap();
    let first = written("doom");
    fs::remove_file(home.game("quake").join("version.ini")).unwrap();
    let shared = share(&home.games());
    assert_eq!(ids(&shared["shared"]), ["doom"]);
    assert_eq!(written("doom"), first);
    assert!(!home.game("quake").join("manifest.json").exists());

    // It says so when it cannot work.
    home.brought("doom");
    let daemon = Daemon::start(&home, &Options::local());
    let refused = lanspread(&["share", "--mirror-manifest", home.games().to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let mark = daemon.mark();
    daemon.ok(json!({"cmd": "remove", "game": "doom"}));
    daemon.wait_event_since(mark, "remove-finished", |event| event["game"] == "doom");
    assert!(!home.game("doom").exists(), "a description does not outlive its game");
    daemon.stop();
    fs::write(home.games().join("index.json"), "{}").unwrap();
    let refused = lanspread(&["share", "--mirror-manifest", home.games().to_str().unwrap()]);
    assert!(refused.status.code() == Some(1) && String::from_utf8_lossy(&refused.stderr).contains("index.json"));
    assert_eq!(lanspread(&["share"]).status.code(), Some(2));
}

#[test]
fn a_mirror_that_cannot_be_one_stops_the_start() {
    let home = Home::new();
    let (games, state) = (home.games(), home.state());
    let dirs = ["--game-dir", games.to_str().unwrap(), "--state-dir", state.to_str().unwrap()];
    for bad in ["games.lan", "ftp://games.lan/", "http://user@games.lan/", "http://games.lan/?x=1", "http://"] {
        let refused = lanspread(&[&["run", "--mirror", bad], &dirs[..]].concat());
        assert_eq!(refused.status.code(), Some(2), "{bad}: {refused:?}");
    }
}
