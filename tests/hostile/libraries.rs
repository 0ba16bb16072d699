//! Libraries that nobody can have, and answers that are longer than they say.

use super::*;
use crate::support::frame;

/// A stranger that says its library is another than the empty one, so that the daemon asks for it.
fn announcing(daemon: &Daemon, answer: impl FnMut(&Value) -> Option<Vec<u8>> + 'static) -> Stranger {
    let mut stranger = Stranger::connect(daemon.addr);
    stranger.on_request(answer);
    let mut hello = stranger.hello_message();
    hello["library_digest"] = json!("00112233445566778899aabbccddeeff");
    hello["game_count"] = json!(1);
    hello["library_rev"] = json!(7);
    let (ack, _) = stranger.request(&hello).unwrap();
    assert_eq!(ack["type"], "HelloAck", "{ack}");
    stranger
}

fn row(id: &str) -> Value {
    json!({
        "id": id, "name": id, "eti_version": "1.0", "size": 1, "downloaded": true, "installed": false,
        "manifest_hash": "00112233445566778899aabbccddeeff", "availability": "ready",
    })
}

fn snapshot(peer_id: &str, games: Vec<Value>) -> Vec<u8> {
    frame(&json!({
        "type": "LibrarySnapshot", "peer_id": peer_id,
        "snapshot": {"epoch": "00000000000000aa", "rev": 7, "games": games},
    }))
}

/// The daemon asks for a library, is answered `games`, and closes the connection.
fn refused(daemon: &Daemon, games: Vec<Value>) -> Ending {
    // Any name will do: what is wrong with the games shows first, or that the name is not the stranger's.
    let mut stranger = Stranger::connect(daemon.addr);
    let bytes = snapshot(&stranger.peer_id, games);
    stranger.on_request(move |message| {
        message["type"].as_str().is_some_and(|kind| kind.starts_with("GetLibrary")).then(|| bytes.clone())
    });
    let mut hello = stranger.hello_message();
    hello["library_digest"] = json!("00112233445566778899aabbccddeeff");
    hello["library_rev"] = json!(7);
    let _ = stranger.request(&hello);
    stranger.wait_close()
}

#[test]
fn impossible_libraries_are_refused() {
    let (home, daemon) = daemon(GameSpec::small("doom"), &Options::local());
    let many: Vec<Value> = (0..60_000).map(|i| row(&format!("g{i:06}"))).collect();
    assert_eq!(refused(&daemon, many), closed(4), "more games than allowed");
    assert_eq!(refused(&daemon, vec![row("quake"), row("quake")]), closed(4), "one game twice");
    let mut long = row("quake");
    long["name"] = json!("x".repeat(300));
    assert_eq!(refused(&daemon, vec![long]), closed(4), "a name without end");
    assert!(daemon.games().keys().all(|id| id == "doom"), "{:?}", daemon.games());
    still_well(&daemon);
    still_serves(&home, &daemon);
}

#[test]
fn answers_with_bytes_behind_them_do_not_shake_the_daemon() {
    let (home, daemon) = daemon(GameSpec::small("doom"), &Options::local());
    // Short ones, and ones that go to a worker first.
    for padding in [0, 200_000] {
        for extra in [&b"x"[..], &[0; 5000]] {
            let extra = extra.to_vec();
            let mut stranger = announcing(&daemon, move |message| {
                let peer_id = message["peer_id"].as_str().unwrap_or_default();
                let mut game = row("quake");
                game["padding"] = json!("x".repeat(padding));
                let mut bytes = snapshot(peer_id, vec![game]);
                bytes.extend_from_slice(&extra);
                Some(bytes)
            });
            assert_eq!(stranger.wait_close(), closed(4));
        }
    }
    let mut stranger = announcing(&daemon, |_| {
        let junk = "not json".repeat(20_000);
        Some([&(junk.len() as u32).to_be_bytes()[..], junk.as_bytes()].concat())
    });
    assert_eq!(stranger.wait_close(), closed(4), "malformed, as a worker finds out");
    still_well(&daemon);
    still_serves(&home, &daemon);
}

#[test]
fn whoever_hoards_unfinished_messages_goes_and_nobody_else() {
    let (home, daemon) = daemon(GameSpec::small("doom"), &Options::local().set("limits.frame_bytes", "1MiB"));
    let (mut hoarder, mut bystander) = (guest(&daemon), guest(&daemon));
    // All but a little of what may be held, of a message that goes on.
    let mut bytes = (8u32 << 20).to_be_bytes().to_vec();
    bytes.resize((1 << 20) - 1000, b' ');
    let mut sent = 0;
    hoarder
        .drive("room", |conn| {
            sent += conn.stream_send(2, &bytes[sent..], false).unwrap_or(0);
            (sent == bytes.len()).then_some(())
        })
        .unwrap();
    assert_eq!(hoarder.request(&json!({"type": "Ping", "nonce": 1})).unwrap().0["nonce"], 1);
    // The last straw is somebody else's.
    let late = bystander.new_stream();
    let bytes = frame(&json!({"type": "Ping", "nonce": 9, "padding": "x".repeat(2000)}));
    bystander.drive("half a frame", |conn| conn.stream_send(late, &bytes[..1900], false).ok()).unwrap();
    assert_eq!(hoarder.wait_close(), closed(9));
    bystander.drive("the other half", |conn| conn.stream_send(late, &bytes[1900..], true).ok()).unwrap();
    let (answer, _) = bystander.request(&json!({"type": "Ping", "nonce": 10})).unwrap();
    assert_eq!(answer["nonce"], 10);
    still_well(&daemon);
    still_serves(&home, &daemon);
}

#[test]
fn a_storm_of_deltas_passes() {
    let (home, daemon) = daemon(GameSpec::small("doom"), &Options::local());
    let mut stranger = guest(&daemon);
    for i in 0..2000u64 {
        let delta = json!({
            "type": "LibraryDelta", "peer_id": stranger.peer_id,
            "delta": {
                "epoch": "00000000000000aa", "from_rev": i * 7 % 13, "to_rev": i * 7 % 13 + i % 3,
                "to_digest": "00112233445566778899aabbccddeeff",
                "added": [row(&format!("g{i}"))], "updated": [], "removed": ["doom"],
            },
        });
        let stream = 2 + 4 * i;
        let bytes = frame(&delta);
        let mut sent = 0;
        let outcome = stranger.drive("room for a delta", |conn| {
            sent += conn.stream_send(stream, &bytes[sent..], true).unwrap_or(0);
            (sent == bytes.len()).then_some(())
        });
        if outcome.is_err() {
            // Sent away: that is an answer too.
            break;
        }
    }
    assert!(daemon.games().contains_key("doom"));
    still_well(&daemon);
    still_serves(&home, &daemon);
}

/// A stranger who has 20,000 games with long names that nobody else has.
fn hoarder(daemon: &Daemon, n: u32) -> Stranger {
    let long = |i: u32| {
        let mut game = row(&format!("{n}-{i:06}-{}", "x".repeat(180)));
        game["name"] = json!("n".repeat(200));
        game
    };
    let mut stranger = Stranger::connect(daemon.addr);
    let bytes = snapshot(&stranger.peer_id, (0..20_000).map(long).collect());
    stranger.on_request(move |message| {
        let is_asked = message["type"].as_str().is_some_and(|kind| kind.starts_with("GetLibrary"));
        is_asked.then(|| bytes.clone())
    });
    let mut hello = stranger.hello_message();
    hello["library_digest"] = json!("00112233445566778899aabbccddeeff");
    // Of another history than what it will say, which counts.
    hello["library_epoch"] = json!("00000000000000ab");
    stranger.request(&hello).unwrap();
    stranger
}

#[test]
fn many_identities_with_long_libraries_take_no_more_memory_than_they_may() {
    const BUDGET: u64 = 16 << 20;
    let options = Options::local().set("limits.library_bytes", "16MiB");
    let (home, daemon) = daemon(GameSpec::small("doom"), &options);
    let before = memory(&daemon);
    let left_out = || daemon.status()["libraries_too_large"].as_array().cloned().unwrap_or_default();
    let mut strangers = Vec::new();
    for n in 0..6 {
        let mut stranger = hoarder(&daemon, n);
        eventually("its library is taken in, or left out", 60, || {
            let until = Instant::now() + Duration::from_millis(500);
            stranger.drive("half a second", |_| (Instant::now() >= until).then_some(())).unwrap();
            let is_taken =
                daemon.peers().iter().any(|row| row["peer_id"] == stranger.peer_id && row["game_count"] == 20_000);
            let is_left_out = left_out().iter().any(|row| row["peer_id"] == stranger.peer_id);
            (is_taken || is_left_out).then_some(())
        });
        strangers.push(stranger);
    }
    let left_out = left_out();
    assert!(left_out.len() >= 5 && left_out.iter().all(|row| row["games"] == 20_000), "{left_out:?}");
    let grown = memory(&daemon).saturating_sub(before);
    eprintln!("grown by {} MiB", grown >> 20);
    assert!(grown < 6 * BUDGET, "{grown}");
    still_well(&daemon);
    still_serves(&home, &daemon);
}
