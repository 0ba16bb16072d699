//! Who is served what: the gate, as a stranger on the wire meets it.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{
    CHUNK, Daemon, Ending, GameSpec, Home, Lan, MIB, Options, Stranger, available, chunk_of, eventually,
};

/// The library as the wire shows it, by id.
fn summaries(stranger: &mut Stranger) -> std::collections::BTreeMap<String, Value> {
    let ask = json!({"type": "GetLibrary", "peer_id": stranger.peer_id});
    let (answer, _) = stranger.request(&ask).unwrap();
    assert_eq!(answer["type"], "LibrarySnapshot", "{answer}");
    let games = answer["snapshot"]["games"].as_array().unwrap();
    games.iter().map(|game| (game["id"].as_str().unwrap().to_owned(), game.clone())).collect()
}

fn get_manifest(game: &str, manifest_hash: &Value) -> Value {
    json!({"type": "GetManifest", "game_id": game, "manifest_hash": manifest_hash})
}

fn get_chunks(game: &str, manifest_hash: &Value, first: u32, count: u32) -> Value {
    json!({"type": "GetChunks", "game_id": game, "manifest_hash": manifest_hash, "first": first, "count": count})
}

/// The code with which a request is refused.
fn refusal(stranger: &mut Stranger, message: &Value) -> String {
    let (answer, rest) = stranger.request(message).unwrap();
    assert_eq!(answer["type"], "Error", "{message} was answered {answer}");
    assert!(rest.is_empty());
    answer["code"].as_str().unwrap().to_owned()
}

#[test]
fn only_complete_games_of_the_catalog_are_served_and_never_anything_of_local() {
    let listed = GameSpec::new("listed").file("data.pak", 2 * CHUNK + 77).file("extra/x.bin", 500);
    let home = Home::with(&[listed, GameSpec::small("unlisted"), GameSpec::small("no-sentinel").without_sentinel()]);
    home.brought("listed");
    fs::create_dir(home.game("listed").join("local")).unwrap();
    fs::write(home.game("listed").join("local/private.sav"), "secret").unwrap();
    let catalog = home.catalog(&[("listed", "1.0"), ("no-sentinel", "1.0")]);
    let daemon = Daemon::start(&home, &Options::local().arg("--catalog", catalog));
    crate::support::eventually("the served game is hashed", 30, || {
        daemon.games()["listed"]["content_hash"].is_string().then_some(())
    });
    let mut stranger = Stranger::connect(daemon.addr);
    assert_eq!(stranger.daemon_id, daemon.peer_id);
    stranger.hello();
    let library = summaries(&mut stranger);
    let hash = |id: &str| library[id]["manifest_hash"].clone();
    assert_eq!(library["listed"]["availability"], "ready");
    assert_eq!(library["no-sentinel"]["availability"], "local_only");
    assert_ne!(library.get("unlisted").map(|game| &game["availability"]), Some(&json!("ready")));

    // The one that is served: manifest, hashes, bytes.
    let (manifest, hashes) = stranger.request(&get_manifest("listed", &hash("listed"))).unwrap();
    assert_eq!(manifest["type"], "Manifest", "{manifest}");
    let paths: Vec<&str> = manifest["files"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["data.pak", "extra/x.bin", "version.ini"]);
    assert_eq!((&manifest["chunk_size"], &manifest["chunk_count"]), (&json!(CHUNK), &json!(5)));
    assert_eq!(hashes.len(), 5 * 32);
    let mut ask = get_chunks("listed", &hash("listed"), 1, 3);
    ask["content_hash"] = manifest["content_hash"].clone();
    let (run, bytes) = stranger.request(&ask).unwrap();
    let mut expected = chunk_of(&home.game("listed").join("data.pak"), 1);
    expected.extend(chunk_of(&home.game("listed").join("data.pak"), 2));
    expected.extend(chunk_of(&home.game("listed").join("extra/x.bin"), 0));
    assert_eq!(run, json!({"type": "ChunkRun", "first": 1, "count": 3, "bytes": expected.len(), "hashed": false}));
    assert!(bytes == expected, "the bytes are the file's");
    assert_eq!(blake3::hash(&expected[..CHUNK as usize]).as_bytes(), &hashes[32..64]);

    // Without the content hash each chunk is followed by its own.
    let (run, bytes) = stranger.request(&get_chunks("listed", &hash("listed"), 2, 2)).unwrap();
    assert_eq!(run["hashed"], true);
    assert_eq!(bytes.len(), 77 + 32 + 500 + 32);
    assert_eq!(blake3::hash(&bytes[..77]).as_bytes(), &bytes[77..109]);
    assert_eq!(blake3::hash(&bytes[109..609]).as_bytes(), &bytes[609..]);

    // Refused: not in the catalog, no sentinel, not there, another manifest, out of range, and names that lead away.
    let some_hash = json!("00112233445566778899aabbccddeeff");
    let unlisted = library.get("unlisted").map_or(some_hash.clone(), |game| game["manifest_hash"].clone());
    for (game, hash) in [("unlisted", unlisted), ("no-sentinel", hash("no-sentinel")), ("nothing", some_hash.clone())] {
        assert_eq!(refusal(&mut stranger, &get_manifest(game, &hash)), "not-served", "{game}");
        assert_eq!(refusal(&mut stranger, &get_chunks(game, &hash, 0, 1)), "not-served", "{game}");
    }
    assert_eq!(refusal(&mut stranger, &get_manifest("listed", &some_hash)), "changed");
    assert_eq!(refusal(&mut stranger, &get_chunks("listed", &some_hash, 0, 1)), "changed");
    assert_eq!(refusal(&mut stranger, &get_chunks("listed", &hash("listed"), 5, 1)), "bad-request");
    assert_eq!(refusal(&mut stranger, &get_chunks("listed", &hash("listed"), 0, 0)), "bad-request");
    assert_eq!(refusal(&mut stranger, &get_chunks("listed", &hash("listed"), u32::MAX, u32::MAX)), "bad-request");
    // Still well.
    let ping = json!({"type": "Ping", "nonce": 77});
    assert_eq!(stranger.request(&ping).unwrap().0, json!({"type": "Pong", "nonce": 77}));

    // What cannot be the name of a game is not a message at all.
    for game in ["listed/local", "../games/listed", "local", ".lanspread", "", "listed/../unlisted"] {
        let mut stranger = Stranger::connect(daemon.addr);
        stranger.hello();
        let outcome = stranger.request(&get_manifest(game, &hash("listed")));
        assert_eq!(outcome, Err(Ending::Closed { app: true, code: 4 }), "{game:?}");
    }
    assert_eq!(daemon.games().len(), 3);
}

#[test]
fn a_game_is_not_served_while_it_is_being_downloaded() {
    if !available("a_game_is_not_served_while_it_is_being_downloaded", &["netns"]) {
        return;
    }
    let lan = Lan::new();
    let home_a = Home::with(&[GameSpec::new("doom").file("doom.pak", 24 * MIB)]);
    let (host_a, host_b) = (lan.host("a"), lan.host("b"));
    host_a.shape_mbit(80);
    let a = Daemon::start(&home_a, &Options::on(&host_a));
    a.wait_hashed();
    // An old copy lies there and is served until its replacement begins.
    let home_b = Home::with(&[GameSpec::small("doom").version("0.9")]);
    let b = Daemon::start(&home_b, &Options::on(&host_b));
    b.wait_peers(1);
    b.wait_hashed();
    let port = b.addr.port();
    let ask = move |host: &crate::support::Host| {
        host.enter(move || {
            let mut stranger = Stranger::connect(([127, 0, 0, 1], port).into());
            stranger.hello();
            let summary = summaries(&mut stranger)["doom"].clone();
            let (answer, _) = stranger.request(&get_manifest("doom", &summary["manifest_hash"])).unwrap();
            (summary["availability"].as_str().unwrap().to_owned(), answer)
        })
    };
    let (availability, answer) = ask(&host_b);
    assert_eq!((availability.as_str(), &answer["type"]), ("ready", &json!("Manifest")));
    let mark = b.begin_download("doom");
    b.wait_event_since(mark, "download-progress", |event| event["bytes"].as_u64().unwrap() > 2 * MIB);
    // It goes no further until that was looked at.
    let source = Pid::from_raw(a.pid() as i32).unwrap();
    kill_process(source, Signal::STOP).unwrap();
    // Its library says so when that is on the disk.
    let answer = eventually("the game to be withdrawn", 20, || {
        let (availability, answer) = ask(&host_b);
        (availability != "ready").then_some(answer)
    });
    assert_eq!((&answer["type"], &answer["code"]), (&json!("Error"), &json!("not-served")), "{answer}");
    assert!(!home_b.game("doom").join("version.ini").exists(), "no sentinel over incomplete bytes");
    kill_process(source, Signal::CONT).unwrap();
    assert_eq!(b.wait_download("doom", mark)["event"], "download-finished");
    let (availability, answer) = ask(&host_b);
    assert_eq!((availability.as_str(), &answer["type"]), ("ready", &json!("Manifest")));
}

#[test]
fn whoever_cannot_fetch_a_game_hears_who_has_it_and_why_it_is_not_shared() {
    let home_a = Home::with(&[GameSpec::small("doom"), GameSpec::small("quake")]);
    fs::write(home_a.game("doom").join("readme: first.txt"), "not everywhere").unwrap();
    let home_b = Home::new();
    let (a, b) = (
        Daemon::start(&home_a, &Options::local().arg("--hostname", "office-pc")),
        Daemon::start(&home_b, &Options::local()),
    );
    eventually("the other game is hashed", 30, || {
        a.games().remove("quake").filter(|row| row["content_hash"].is_string())
    });
    b.connect(&a);
    let reason = eventually("the owner's reason", 30, || {
        a.games().remove("doom").and_then(|row| row["local_only_reason"].as_str().map(str::to_owned))
    });
    for command in ["download", "get-game"] {
        let message = eventually("the reason at the other PC", 30, || {
            let refusal = b.command(json!({"cmd": command, "game": "doom"})).unwrap_err();
            assert_eq!(refusal.code, "no-sources", "{}", refusal.message);
            refusal.message.contains(&reason).then_some(refusal.message)
        });
        assert!(
            message.contains("office-pc has it and does not share it") && message.contains("readme: first.txt"),
            "{message}"
        );
    }
    b.download("quake");
}
