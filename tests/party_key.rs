//! The party key between real daemons, and in front of strangers who lack it or try to get around it.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and sets its stage with plain file calls"
)]
#![allow(dead_code, unused_imports, reason = "the support is shared with the scenarios")]

#[path = "quic_support/mod.rs"]
mod quic_support;
mod support;

use std::fs;
use std::process::Command;
use std::time::Duration;

use ::lanspread_peer;
use lanspread_peer::quic::{ConnHandle, Event, Recv};
use quic_support::{Node, drive};
use serde_json::{Value, json};
use support::{Daemon, Ending, GameSpec, Home, Options, Stranger, eventually, frame};

const KEY: &str = "the key of this party";
const WINDOW: u64 = 1 << 20;
/// Close code `PartyKey`.
const PARTY_KEY: Ending = Ending::Closed { app: true, code: 7 };

/// A daemon with one game that is named after it.
fn daemon(game: &str, key: Option<&str>) -> (Home, Daemon) {
    let home = Home::with(&[GameSpec::small(game)]);
    let mut options = Options::local();
    if let Some(key) = key {
        let file = home.path().join("party.key");
        fs::write(&file, key).unwrap();
        options = options.arg("--party-key-file", file);
    }
    let daemon = Daemon::start(&home, &options);
    (home, daemon)
}

fn connect(from: &Daemon, to: &Daemon) -> Result<Value, support::Refusal> {
    from.command(json!({"cmd": "connect", "addr": to.addr.to_string()}))
}

#[test]
fn daemons_with_the_same_key_come_together_and_others_stay_out() {
    // White space at the ends is an editor's, not the key's.
    let (_a, attic) = daemon("doom", Some(KEY));
    let (_b, cellar) = daemon("quake", Some(&format!("\u{feff}{KEY} \r\n")));
    attic.connect(&cellar);
    assert!(attic.games().contains_key("quake") && cellar.games().contains_key("doom"));
    attic.download("quake");

    let (_c, other) = daemon("unreal", Some("the key of another party"));
    let (_d, open) = daemon("tetris", None);
    for (from, to) in [(&attic, &other), (&other, &attic), (&attic, &open), (&open, &attic)] {
        let refusal = connect(from, to).unwrap_err();
        assert_eq!(refusal.code, "peer-refused", "{}", refusal.message);
        for (here, there) in [(from, to), (to, from)] {
            let event = here.wait_event_since(0, "peer-refused", |event| event["peer_id"] == there.peer_id.as_str());
            assert!(event["reason"].as_str().unwrap().contains("key"), "{event}");
        }
    }
    for (daemon, game, peers) in [(&other, "unreal", 0), (&open, "tetris", 0), (&attic, "doom", 1)] {
        assert_eq!(daemon.peers().iter().filter(|row| row["connected"] == true).count(), peers);
        let games = daemon.games();
        let strange = ["doom", "unreal", "tetris"].into_iter().filter(|&id| id != game && games.contains_key(id));
        assert_eq!(strange.count(), 0, "{games:?}");
    }
    // Said once, however often it is tried.
    let mark = attic.mark();
    for _ in 0..3 {
        connect(&other, &attic).unwrap_err();
    }
    attic.status();
    assert!(attic.since(mark).iter().all(|record| record["event"] != "peer-refused"));
}

#[test]
fn a_stranger_without_the_proof_hears_nothing_but_a_close_code() {
    let (_home, daemon) = daemon("doom", Some(KEY));
    let hash = "0".repeat(32);
    for message in [
        None,
        Some(json!({"type": "Ping", "nonce": 1})),
        Some(json!({"type": "GetLibrary", "peer_id": "00000000-0000-8000-8000-000000000000"})),
        Some(json!({"type": "GetLibraryDelta", "epoch": "00c0ffee00c0ffee", "from_rev": 0})),
        Some(json!({"type": "GetManifest", "game_id": "doom", "manifest_hash": hash})),
        Some(json!({"type": "GetChunks", "game_id": "doom", "manifest_hash": hash, "first": 0, "count": 1})),
        Some(json!({"type": "Teleport"})),
        Some(json!({"type": "Prove", "proof": "0".repeat(64)})),
    ] {
        let mut stranger = Stranger::connect(daemon.addr);
        let message = message.unwrap_or_else(|| stranger.hello_message());
        assert_eq!(stranger.request(&message), Err(PARTY_KEY), "{message}");
    }
    let mut stranger = Stranger::connect(daemon.addr);
    let [proof, _] = stranger.party_proofs(b"the key of another party");
    assert_eq!(stranger.request(&json!({"type": "Prove", "proof": proof})), Err(PARTY_KEY));
    assert!(daemon.peers().is_empty(), "nobody of them was listed");
}

#[test]
fn a_proof_is_worth_nothing_on_another_connection() {
    let (_home, daemon) = daemon("doom", Some(KEY));
    let certificate = Stranger::certificate();
    let connect = || Stranger::connect_as(&certificate, daemon.addr, WINDOW);

    let mut member = connect();
    let [own, expected] = member.party_proofs(KEY.as_bytes());
    let prove = json!({"type": "Prove", "proof": own});
    let (answer, rest) = member.request(&prove).expect("the right proof is answered");
    assert_eq!((&answer["type"], &answer["proof"]), (&json!("Proved"), &json!(expected)), "and returned");
    assert!(rest.is_empty());
    member.hello();
    let (library, _) = member.request(&json!({"type": "GetLibrary", "peer_id": member.peer_id})).unwrap();
    assert_eq!(library["snapshot"]["games"][0]["id"], "doom");

    // The same words from the same mouth; then what the daemon said itself, sent back.
    assert_eq!(connect().request(&prove), Err(PARTY_KEY));
    let mut echo = connect();
    let [_, expected] = echo.party_proofs(KEY.as_bytes());
    assert_eq!(echo.request(&json!({"type": "Prove", "proof": expected})), Err(PARTY_KEY));
    // The refused attempts cost the member nothing.
    assert_eq!(member.request(&json!({"type": "Ping", "nonce": 3})).unwrap().0["nonce"], 3);
}

/// Everything that arrives on any stream of a connection until it is closed; answers the first request.
fn listen(node: &mut Node, answer: &[u8]) -> (Vec<(u64, Vec<u8>)>, Option<u64>) {
    let mut heard: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut code = None;
    drive("the dialler comes and goes", || {
        node.turn_for(Duration::from_millis(20));
        let mut over = false;
        for event in node.events() {
            match event {
                Event::Readable { conn, stream } => {
                    let mut buffer = [0; 4096];
                    while let Recv::Data { len, fin } = node.endpoint.recv(conn, stream, &mut buffer) {
                        match heard.iter_mut().find(|(number, _)| *number == stream) {
                            Some((_, bytes)) => bytes.extend_from_slice(&buffer[..len]),
                            None => heard.push((stream, buffer[..len].to_vec())),
                        }
                        if fin {
                            node.endpoint.send(conn, stream, answer, true).unwrap();
                            break;
                        }
                    }
                }
                Event::Down { code: with, .. } => (code, over) = (with, true),
                _ => {}
            }
        }
        over
    });
    (heard, code)
}

#[test]
fn a_dialler_tells_a_listener_nothing_before_it_has_proved_itself() {
    let (_home, daemon) = daemon("doom", Some(KEY));
    for answer in [
        json!({"type": "Proved", "proof": "0".repeat(64)}),
        json!({"type": "Error", "code": "unknown-type", "message": ""}),
        json!({"type": "Pong", "nonce": 1}),
    ] {
        let mut listener = Node::new();
        let addr = listener.addr().to_string();
        let id = daemon.send(json!({"cmd": "connect", "addr": addr}));
        let (heard, code) = listen(&mut listener, &frame(&answer));
        let [(_, bytes)] = &heard[..] else { panic!("one request: {heard:?}") };
        let request: Value = serde_json::from_slice(&bytes[4..]).unwrap();
        let mut fields: Vec<_> = request.as_object().unwrap().keys().cloned().collect();
        fields.sort();
        assert_eq!((fields, &request["type"]), (vec!["proof".to_owned(), "type".to_owned()], &json!("Prove")));
        assert_eq!(code, Some(7), "{answer}");
        let refusal = daemon.wait_record(0, "the answer", 30, |record| record["id"] == id);
        assert_eq!(refusal["code"], "peer-refused", "{refusal}");
    }
}

#[test]
fn a_key_file_that_is_no_key_stops_the_start_with_words() {
    let home = Home::new();
    let binary = support::binary();
    let file = home.path().join("party.key");
    for (content, expected) in [
        (None, "cannot be used"),
        (Some("too short   \n\n\n\n\n"), "a key has at least 16"),
        (Some(""), "holds 0 bytes"),
    ] {
        match content {
            Some(content) => fs::write(&file, content).unwrap(),
            None => assert!(!file.exists()),
        }
        let output = Command::new(&binary)
            .args(["run", "--jsonl", "--no-mdns", "--no-control", "--listen", "127.0.0.1:0", "--game-dir"])
            .arg(home.games())
            .arg("--state-dir")
            .arg(home.state())
            .arg("--party-key-file")
            .arg(&file)
            .stdin(std::process::Stdio::piped())
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{message}");
        assert!(message.contains("party.key") && message.contains(expected), "{message}");
    }
}
