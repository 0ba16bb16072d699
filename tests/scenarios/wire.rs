//! The protocol as a stranger meets it: what breaks its rules, and what comes of it. Numbers are those of
//! `docs/PROTOCOL.md`.

use serde_json::{Value, json};

use crate::support::{Daemon, Ending, GameSpec, Home, Options, Stranger, eventually};

fn daemon() -> (Home, Daemon) {
    let home = Home::with(&[GameSpec::small("doom")]);
    let daemon = Daemon::start(&home, &Options::local());
    (home, daemon)
}

#[test]
fn hello_comes_first_and_tells_the_state_of_the_library() {
    let (_home, daemon) = daemon();
    daemon.wait_hashed();
    let mut stranger = Stranger::connect(daemon.addr);
    let ask = json!({"type": "GetLibrary", "peer_id": stranger.peer_id});
    let (answer, _) = stranger.request(&ask).unwrap();
    assert_eq!((&answer["type"], &answer["code"]), (&json!("Error"), &json!("hello-first")));
    let status = daemon.status();
    let ack = stranger.hello();
    for field in ["library_epoch", "library_rev", "library_digest"] {
        assert_eq!(ack[field], status[field], "{field}");
    }
    assert_eq!((&ack["proto_ver"], &ack["game_count"]), (&json!(1), &json!(1)));
    assert_eq!(ack["listen_addr"], daemon.addr.to_string());
    let peers = daemon.peers();
    assert_eq!((peers.len(), &peers[0]["peer_id"]), (1, &json!(stranger.peer_id)));
    assert_eq!(peers[0]["hostname"], "stranger");
}

#[test]
fn a_library_is_followed_by_deltas() {
    let (home, daemon) = daemon();
    daemon.wait_hashed();
    daemon.stop();
    // A second start: its epoch comes from the index, so that others may know more of it than the owner.
    let daemon = Daemon::start(&home, &Options::local());
    let mut stranger = Stranger::connect(daemon.addr);
    let ack = stranger.hello();
    let (epoch, rev) = (ack["library_epoch"].clone(), ack["library_rev"].as_u64().unwrap());
    std::fs::write(home.game("doom").join("version.ini"), "2.0\n").unwrap();
    eventually("the change has its revision", 20, || {
        (daemon.status()["library_rev"].as_u64() > Some(rev)).then_some(())
    });
    let (answer, _) = stranger.request(&json!({"type": "GetLibraryDelta", "epoch": epoch, "from_rev": rev})).unwrap();
    assert_eq!(answer["type"], "LibraryDelta", "{answer}");
    let delta = &answer["delta"];
    assert_eq!((&delta["epoch"], &delta["from_rev"]), (&epoch, &json!(rev)));
    assert_eq!(delta["updated"][0]["eti_version"], "2.0");
    assert_eq!((&delta["added"], &delta["removed"]), (&json!([]), &json!([])));
    // A history that nobody knows: the whole library instead.
    let foreign = json!({"type": "GetLibraryDelta", "epoch": "0123456789abcdef", "from_rev": 1});
    assert_eq!(stranger.request(&foreign).unwrap().0["type"], "LibrarySnapshot");
    // A revision ahead of the owner's own: its index was restored, so it begins a new history.
    let ahead = json!({"type": "GetLibraryDelta", "epoch": epoch, "from_rev": rev + 1_000_000});
    let (answer, _) = stranger.request(&ahead).unwrap();
    assert_eq!((&answer["type"], &answer["code"]), (&json!("Error"), &json!("epoch-reset")));
    eventually("the new epoch is there", 20, || (daemon.status()["library_epoch"] != epoch).then_some(()));
}

#[test]
fn what_breaks_the_rules_is_closed_with_its_number() {
    let (_home, daemon) = daemon();
    let closed = |code| Ending::Closed { app: true, code };

    let mut stranger = Stranger::connect(daemon.addr);
    let mut hello = stranger.hello_message();
    hello["proto_ver"] = json!(2);
    let _ = stranger.request(&hello);
    assert_eq!(stranger.wait_close(), closed(3), "another protocol version");
    let seen = daemon.status()["peers_incompatible"].clone();
    assert_eq!(seen, json!([{"peer_id": stranger.peer_id, "proto_ver": 2}]));

    let mut stranger = Stranger::connect(daemon.addr);
    let mut hello = stranger.hello_message();
    hello["peer_id"] = json!("0a0b0c0d-0e0f-8a0b-8c0d-0e0f0a0b0c0d");
    let _ = stranger.request(&hello);
    assert_eq!(stranger.wait_close(), closed(6), "the name of another");

    let mut stranger = Stranger::connect(daemon.addr);
    stranger.hello();
    let _ = stranger.request_raw(b"\x00\x00\x00\x05{\"a\":");
    assert_eq!(stranger.wait_close(), closed(4), "not JSON");

    let mut stranger = Stranger::connect(daemon.addr);
    stranger.hello();
    let _ = stranger.request_raw(&[0xff; 64]);
    assert_eq!(stranger.wait_close(), closed(5), "a length over the limit");

    let mut stranger = Stranger::connect(daemon.addr);
    stranger.hello();
    let deep = "[".repeat(20_000);
    let mut bytes = (deep.len() as u32).to_be_bytes().to_vec();
    bytes.extend(deep.bytes());
    let _ = stranger.request_raw(&bytes);
    assert_eq!(stranger.wait_close(), closed(4), "nested without end");

    // None of it has harmed the daemon, and a type of tomorrow is no breach.
    let mut stranger = Stranger::connect(daemon.addr);
    stranger.hello();
    let (answer, _) = stranger.request(&json!({"type": "GetDreams", "x": 1})).unwrap();
    assert_eq!((&answer["type"], &answer["code"]), (&json!("Error"), &json!("unknown-type")));
    // Of the others nothing stands; some may still be waited for, in case they come back.
    let peers = daemon.peers();
    let connected: Vec<&Value> = peers.iter().filter(|peer| peer["connected"] == true).collect();
    assert_eq!(connected.len(), 1, "{peers:?}");
    assert_eq!(connected[0]["peer_id"], stranger.peer_id.as_str());
}

#[test]
fn a_goodbye_on_the_wire_is_heard() {
    let (_home, daemon) = daemon();
    let mut stranger = Stranger::connect(daemon.addr);
    stranger.hello();
    assert_eq!(daemon.peers().len(), 1);
    let mark = daemon.mark();
    let goodbye = json!({"type": "Goodbye", "peer_id": stranger.peer_id});
    stranger.notify(&goodbye);
    let lost = daemon.wait_event_since(mark, "peer-lost", |_| true);
    assert_eq!((&lost["peer_id"], &lost["reason"]), (&json!(stranger.peer_id), &json!("goodbye")));
}
