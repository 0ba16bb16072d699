//! What the user sets against transfers while they run: limits to their rate, a pause, the order of the queue.

use serde_json::json;

use crate::support::{CHUNK, Daemon, GameSpec, Home, MIB, Options, assert_same_tree};

/// In bytes per second.
const RATE: u64 = 4_000_000;

/// A game that takes some seconds at [`RATE`].
fn game() -> GameSpec {
    GameSpec::new("doom").version("1").file("doom.pak", 11 * CHUNK + 7)
}

/// Milliseconds below which a download of [`game`] was faster than the limit: runs that were asked for at once may come at once.
fn least_ms(spec: &GameSpec) -> u64 {
    (spec.bytes() - 3 * MIB) * 1000 / RATE
}

#[test]
fn a_limit_holds_on_either_side_and_changes_while_the_daemon_runs() {
    let spec = game();
    let home_a = Home::with(std::slice::from_ref(&spec));
    let a = Daemon::start(&home_a, &Options::local().arg("--max-upload", "4MB/s"));
    a.wait_hashed();
    assert_eq!(a.status()["limits"], json!({"max_upload": RATE, "max_download": null}));

    let home_b = Home::new();
    let b = Daemon::start(&home_b, &Options::local());
    b.connect(&a);
    let took = b.download("doom")["duration_ms"].as_u64().unwrap();
    assert!(took >= least_ms(&spec), "{took} ms by the limit of the source");
    assert_same_tree(&home_a.game("doom"), &home_b.game("doom"));

    // Without it, and then by the limit of the one who downloads.
    let limits = a.ok(json!({"cmd": "set-limits", "max_upload": null}));
    assert_eq!(limits, json!({"max_upload": null, "max_download": null}));
    let home_c = Home::new();
    let c = Daemon::start(&home_c, &Options::local());
    assert_eq!(c.refused(json!({"cmd": "set-limits", "max_download": 5})), "bad-argument");
    c.ok(json!({"cmd": "set-limits", "max_download": "4MB/s"}));
    assert_eq!(c.status()["limits"]["max_download"], RATE);
    c.connect(&a);
    let took = c.download("doom")["duration_ms"].as_u64().unwrap();
    assert!(took >= least_ms(&spec), "{took} ms by the limit of the one who downloads");
    assert_same_tree(&home_a.game("doom"), &home_c.game("doom"));
}

#[test]
fn a_pause_stops_transfers_both_ways_until_they_may_go_on() {
    let spec = game();
    let (home_a, home_b) = (Home::with(std::slice::from_ref(&spec)), Home::new());
    let (a, b) = (Daemon::start(&home_a, &Options::local()), Daemon::start(&home_b, &Options::local()));
    a.wait_hashed();
    b.connect(&a);
    for paused in [&b, &a] {
        paused.ok(json!({"cmd": "pause"}));
        assert_eq!(paused.status()["paused"], true);
        let mark = b.begin_download("doom");
        b.wait_event_since(mark, "download-begin", |_| true);
        // A download that is asked for later, between others, comes to its end.
        let (home_c, home_d) = (Home::with(std::slice::from_ref(&spec)), Home::new());
        let (c, d) = (Daemon::start(&home_c, &Options::local()), Daemon::start(&home_d, &Options::local()));
        c.wait_hashed();
        d.connect(&c);
        d.download("doom");
        assert_eq!((&b.status()["bytes_received"], &a.status()["bytes_sent"]), (&json!(0), &json!(0)));
        if paused.peer_id == b.peer_id {
            // What waits can still be given up.
            b.ok(json!({"cmd": "cancel-download", "game": "doom"}));
            b.wait_event_since(mark, "download-failed", |event| event["code"] == "cancelled");
            b.ok(json!({"cmd": "resume"}));
        } else {
            a.ok(json!({"cmd": "resume"}));
            b.wait_download("doom", mark);
        }
        assert_eq!(paused.status()["paused"], false);
    }
    assert_same_tree(&home_a.game("doom"), &home_b.game("doom"));
}

#[test]
fn a_blocked_peer_is_gone_on_both_sides_until_it_is_unblocked() {
    let home_a = Home::with(&[GameSpec::small("alpha")]);
    let (a, b) = (Daemon::start(&home_a, &Options::local()), Daemon::start(&Home::new(), &Options::local()));
    b.connect(&a);
    b.wait_peers(1);
    assert!(b.games().contains_key("alpha"));
    let mark = a.mark();
    b.ok(json!({"cmd": "block-peer", "peer_id": a.peer_id}));
    b.wait_event("peer-lost");
    assert!(!b.games().contains_key("alpha"));
    a.wait_event_since(mark, "peer-lost", |event| event["reason"] == "blocked");
    assert_eq!(b.status()["peers_blocked"], json!([a.peer_id]));
    // Neither way.
    assert_eq!(b.refused(json!({"cmd": "connect", "addr": a.addr.to_string()})), "peer-refused");
    assert_eq!(a.refused(json!({"cmd": "connect", "addr": b.addr.to_string()})), "peer-refused");
    assert_eq!(b.refused(json!({"cmd": "block-peer", "peer_id": b.peer_id})), "self-connect");
    b.ok(json!({"cmd": "unblock-peer", "peer_id": a.peer_id}));
    assert_eq!(b.refused(json!({"cmd": "unblock-peer", "peer_id": a.peer_id})), "bad-argument");
    b.connect(&a);
    b.wait_peers(1);
    assert!(b.games().contains_key("alpha"));
}
