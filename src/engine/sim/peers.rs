//! The rules of peers: start, dials, Hello, signs of life.

use super::solo::*;
use super::*;
use crate::proto::{Hello, WireErrorCode};
use crate::types::{InterfaceKind, Revision};

#[test]
fn nothing_is_told_before_the_first_state_is_durable() {
    let config = Config::new(PathBuf::from("/games"), PathBuf::from("/state"));
    let now = Instant::now();
    let mut engine = Engine::new(config, Catalog::open_to_all(), peer(9), 1, now);
    let mut feed = |input| {
        engine.handle(input, now);
        std::iter::from_fn(|| engine.poll_output()).collect::<Vec<_>>()
    };
    feed(Input::Listening { addrs: vec![addr(9)] });
    feed(Input::Sighting(sighting(1, 1)));
    let up = Input::ConnectionUp {
        conn: ConnId(1),
        peer_id: peer(2),
        remote: addr(2),
        local: addr(9),
        interface: None,
        dial: None,
        party: None,
    };
    feed(up);
    let from = InboundId { conn: ConnId(1), stream: 0 };
    assert_eq!(feed(Input::Request { from, request: Request::Hello(hello(2, empty())) }), []);
    let opened = OpenedLibrary {
        dir: PathBuf::from("/games"),
        index: None,
        notice: None,
        was_open: false,
        games: Vec::new(),
        wall_ns: 0,
    };
    let outputs = feed(Input::JobDone(JobDone::LibraryOpened(Ok(opened))));
    let index = saves(&outputs).remove(0);
    assert!(events(&outputs).is_empty() && answers(&outputs).is_empty());
    let saved = JobDone::IndexSaved { stamp: index.stamp(), result: Ok(()) };
    let outputs = feed(Input::JobDone(saved));
    assert!(matches!(events(&outputs)[0], PeerEvent::LocalPeerReady { .. }));
    assert!(matches!(events(&outputs)[1], PeerEvent::LocalLibraryChanged { rev: Revision(1), games: 0, .. }));
    assert!(matches!(answers(&outputs)[..], [Answer::HelloAck(_)]), "the Hello that waited is answered");
}

#[test]
fn a_directory_that_cannot_be_opened_stops_the_daemon() {
    let config = Config::new(PathBuf::from("/games"), PathBuf::from("/state"));
    let now = Instant::now();
    let mut engine = Engine::new(config, Catalog::open_to_all(), peer(9), 1, now);
    engine.handle(Input::Listening { addrs: Vec::new() }, now);
    let error = JobError::new(JobErrorKind::InUse, "another daemon holds it");
    engine.handle(Input::JobDone(JobDone::LibraryOpened(Err(error))), now);
    let outputs: Vec<_> = std::iter::from_fn(|| engine.poll_output()).collect();
    let [PeerEvent::RuntimeError { code: ErrorCode::InUse, message }] = events(&outputs)[..] else {
        panic!("{outputs:?}")
    };
    assert!(message.contains("/games") && message.contains("another daemon holds it"), "{message}");
    assert!(message.contains("--game-dir"), "it says what to do: {message}");
    assert_eq!(outputs.last(), Some(&Output::Stopped { failure: Some(message.clone()) }));
    assert_eq!(engine.poll_timeout(), None);
}

#[test]
fn requests_before_hello_are_refused() {
    let mut solo = Solo::new(&[], None);
    let conn = solo.incoming(peer(1), addr(1));
    let requests = [
        Request::Ping { nonce: 1 },
        Request::GetLibrary { peer_id: peer(1) },
        Request::GetLibraryDelta { epoch: EPOCH, from_rev: Revision(0) },
    ];
    for request in requests {
        let outputs = solo.ask(conn, request);
        let [Answer::Error(error)] = answers(&outputs)[..] else { panic!("{outputs:?}") };
        assert_eq!(error.code, WireErrorCode::HelloFirst);
    }
    let outputs = solo.pass(Duration::from_secs(11));
    assert_eq!(closes(&outputs), [(conn, CloseCode::Timeout)], "and who never says Hello is sent away");
}

#[test]
fn nobody_speaks_for_another() {
    let mut solo = Solo::new(&[], None);
    let conn = solo.incoming(peer(1), addr(1));
    let outputs = solo.ask(conn, Request::Hello(hello(2, empty())));
    assert_eq!(closes(&outputs), [(conn, CloseCode::IdentityMismatch)]);
    let (conn, _) = solo.accepted(1, empty());
    let notification = Notification::LibrarySummary { peer_id: peer(2), summary: empty() };
    let outputs = solo.feed(Input::Notification { conn, notification });
    assert_eq!(closes(&outputs), [(conn, CloseCode::IdentityMismatch)]);
    assert_eq!(lost(&outputs), ["misbehaved"]);
    let (conn, _) = solo.accepted(1, empty());
    let outputs = solo.ask(conn, Request::GetLibrary { peer_id: peer(2) });
    assert_eq!(closes(&outputs), [(conn, CloseCode::IdentityMismatch)]);
}

#[test]
fn another_protocol_version_is_noted_until_the_right_one_comes() {
    let mut solo = Solo::new(&[], None);
    solo.feed(Input::Sighting(Sighting { proto_ver: 2, ..sighting(1, 1) }));
    assert!(dials(&solo.pass(Duration::from_secs(5))).is_empty());
    assert_eq!(solo.status().peers_incompatible.len(), 1);
    assert!(solo.peer_rows().is_empty());
    let conn = solo.incoming(peer(2), addr(2));
    let outputs = solo.ask(conn, Request::Hello(Hello { proto_ver: 3, ..hello(2, empty()) }));
    assert_eq!(closes(&outputs), [(conn, CloseCode::ProtocolMismatch)]);
    assert_eq!(solo.status().peers_incompatible.len(), 2);
    solo.feed(Input::Sighting(sighting(1, 1)));
    solo.accepted(2, empty());
    assert!(solo.status().peers_incompatible.is_empty());
}

#[test]
fn a_peers_address_is_where_it_came_from_and_the_port_it_names() {
    let mut solo = Solo::new(&[], None);
    let conn = solo.incoming(peer(1), "10.0.0.1:50000".parse().unwrap());
    let lie = Hello { listen_addr: "192.168.77.7:4711".parse().unwrap(), ..hello(1, empty()) };
    solo.ask(conn, Request::Hello(lie));
    assert_eq!(solo.peer_rows()[0].addr, Some("10.0.0.1:4711".parse().unwrap()));
}

#[test]
fn of_two_connections_the_one_dialled_by_the_lower_id_is_kept() {
    // This side is the higher one: it gives its own dial up.
    let mut solo = Solo::new(&[], None);
    let mut outputs = solo.feed(Input::Sighting(sighting(1, 1)));
    outputs.extend(solo.pass(Duration::from_secs(1)));
    let (dial, remote) = dials(&outputs)[0];
    let ours = ConnId(500);
    let up = Input::ConnectionUp {
        conn: ours,
        peer_id: peer(1),
        remote,
        local: addr(9),
        interface: None,
        dial: Some(dial),
        party: None,
    };
    assert!(matches!(asks(&solo.feed(up))[..], [(_, Request::Hello(_))]));
    let (theirs, outputs) = solo.accepted(1, empty());
    assert_eq!(closes(&outputs), [(ours, CloseCode::Duplicate)]);
    assert_eq!(solo.status().peers_connected, 1);
    // The same dialler again: the newcomer replaces the old one, and nobody was lost.
    let (_, outputs) = solo.accepted(1, empty());
    assert_eq!(closes(&outputs), [(theirs, CloseCode::Duplicate)]);
    assert!(lost(&outputs).is_empty());

    // Towards a higher id this side's dial is kept.
    let high = 200;
    let mut outputs = solo.feed(Input::Sighting(sighting(high, 1)));
    outputs.extend(solo.pass(Duration::from_secs(1)));
    let (dial, remote) = dials(&outputs)[0];
    let ours = ConnId(501);
    let outputs = solo.feed(Input::ConnectionUp {
        conn: ours,
        peer_id: peer(high),
        remote,
        local: addr(9),
        interface: None,
        dial: Some(dial),
        party: None,
    });
    let request = asks(&outputs)[0].0;
    let theirs = solo.incoming(peer(high), addr(high));
    let outputs = solo.ask(theirs, Request::Hello(hello(high, empty())));
    assert_eq!(closes(&outputs), [(theirs, CloseCode::Duplicate)]);
    solo.answer(request, Answer::HelloAck(hello(high, empty())));
    assert_eq!(solo.status().peers_connected, 2);
    // Later the peer dials although the session stands here: it was restarted and knows nothing of it.
    solo.pass(Duration::from_secs(5));
    let (_, outputs) = solo.accepted(high, empty());
    assert_eq!(closes(&outputs), [(ours, CloseCode::Duplicate)]);
}

/// A Hello of peer 1 that listens at this port; what comes of it.
fn hello_from_port(solo: &mut Solo, port: u16) -> (ConnId, Vec<Output>) {
    let conn = solo.incoming(peer(1), addr(1));
    let mut hello = hello(1, empty());
    hello.listen_addr.set_port(port);
    let outputs = solo.ask(conn, Request::Hello(hello));
    (conn, outputs)
}

#[test]
fn two_pcs_with_one_identity_do_not_replace_each_other_for_ever() {
    let mut solo = Solo::new(&[], None);
    let mut before = hello_from_port(&mut solo, 5_000).0;
    for turn in 1..=20 {
        solo.pass(Duration::from_secs(1));
        let (conn, outputs) = hello_from_port(&mut solo, 5_000 + turn % 2);
        if turn <= 3 {
            // Restarted, as far as anybody can see.
            assert_eq!(closes(&outputs), [(before, CloseCode::Duplicate)], "{turn}");
            before = conn;
        } else {
            // The one that is connected is the one at 5001: its own return is none of the other's.
            let is_the_other = turn % 2 == 0;
            let expected =
                if is_the_other { (conn, CloseCode::SharedIdentity) } else { (before, CloseCode::Duplicate) };
            assert_eq!(closes(&outputs), [expected], "{turn}");
            before = if is_the_other { before } else { conn };
        }
        let said = |event: &&PeerEvent| matches!(event, PeerEvent::RuntimeError { message, .. } if message.contains("two PCs"));
        assert_eq!(events(&outputs).into_iter().filter(said).count(), usize::from(turn == 4), "said once: {turn}");
    }
    assert_eq!(solo.status().peers_connected, 1);
    // Once the other one is gone for a while, a restart is a restart.
    solo.pass(Duration::from_secs(61));
    let outputs = hello_from_port(&mut solo, 6_000).1;
    assert!(matches!(answers(&outputs)[..], [Answer::HelloAck(_)]), "{outputs:?}");
}

#[test]
fn a_daemon_that_is_killed_and_started_again_and_again_is_let_in() {
    let mut solo = Solo::new(&[], None);
    for turn in 0..30 {
        // Each time at another port, and nobody said goodbye.
        let (_, outputs) = hello_from_port(&mut solo, 5_000 + turn);
        assert!(matches!(answers(&outputs)[..], [Answer::HelloAck(_)]), "{turn}: {outputs:?}");
        solo.pass(Duration::from_secs(1));
    }
}

#[test]
fn whoever_is_not_let_in_for_his_identity_says_so_and_waits() {
    let mut solo = Solo::new(&[], None);
    let mut outputs = solo.feed(Input::Sighting(sighting(1, 1)));
    outputs.extend(solo.pass(Duration::from_secs(1)));
    let (dial, remote) = dials(&outputs)[0];
    let conn = ConnId(500);
    let (local, interface, party) = (addr(9), None, None);
    solo.feed(Input::ConnectionUp { conn, peer_id: peer(1), remote, local, interface, dial: Some(dial), party });
    let code = Some(CloseCode::SharedIdentity);
    let outputs = solo.feed(Input::ConnectionDown { conn, code, reason: "another PC".to_owned() });
    let [PeerEvent::RuntimeError { message, .. }] = events(&outputs)[..] else { panic!("{outputs:?}") };
    assert!(
        message.contains("same identity") && message.contains("identity.pem") && message.contains(&remote.to_string())
    );
    assert_eq!(dials(&solo.pass(Duration::from_secs(10))), [], "it waits");
}

#[test]
fn a_static_peer_is_dialled_for_ever_but_not_when_it_is_this_daemon() {
    let mut solo = Solo::with(&[], None, |config| config.static_peers = vec!["10.0.0.1:4000".to_owned()]);
    let mut gaps = Vec::new();
    for _ in 0..10 {
        let before = solo.now;
        let mut outputs = Vec::new();
        while dials(&outputs).is_empty() {
            outputs = solo.pass(Duration::from_millis(100));
            assert!(solo.now - before < Duration::from_secs(61));
        }
        gaps.push(solo.now - before);
        let (dial, _) = dials(&outputs)[0];
        solo.feed(Input::DialFailed { dial, identity_mismatch: false, actual: None, reason: String::new() });
    }
    assert!(gaps[9] > gaps[1] * 10, "the pauses grow: {gaps:?}");
    let mut outputs = Vec::new();
    while dials(&outputs).is_empty() {
        outputs = solo.pass(Duration::from_millis(100));
    }
    let (dial, remote) = dials(&outputs)[0];
    solo.feed(Input::ConnectionUp {
        conn: ConnId(5),
        peer_id: peer(9),
        remote,
        local: addr(9),
        interface: None,
        dial: Some(dial),
        party: None,
    });
    assert!(dials(&solo.pass(Duration::from_secs(600))).is_empty());
}

#[test]
fn a_silent_peer_is_pinged_by_the_lower_id_and_given_up_when_stale() {
    let mut solo = Solo::new(&[], None);
    // This side is the higher one of the pair: it waits.
    let (conn, outputs) = solo.accepted(1, empty());
    let request = asks(&outputs)[0].0;
    solo.answer(request, Answer::LibrarySnapshot { peer_id: peer(1), snapshot: snapshot(1, &[]) });
    let outputs = solo.pass(Duration::from_secs(69));
    assert!(asks(&outputs).is_empty() && lost(&outputs).is_empty());
    // Any message counts.
    solo.ask(conn, Request::Ping { nonce: 1 });
    assert!(lost(&solo.pass(Duration::from_secs(69))).is_empty());
    let outputs = solo.pass(Duration::from_secs(2));
    assert_eq!(closes(&outputs), [(conn, CloseCode::Stale)]);
    assert_eq!(lost(&outputs), ["stale"]);
    assert!(solo.peer_rows().is_empty());

    // Towards a higher id this side pings: three times, and is content with one answer.
    let (_, outputs) = solo.accepted(200, empty());
    let request = asks(&outputs)[0].0;
    solo.answer(request, Answer::LibrarySnapshot { peer_id: peer(200), snapshot: snapshot(1, &[]) });
    let outputs = solo.pass(Duration::from_secs(69));
    let pings: Vec<_> = asks(&outputs).into_iter().filter(|(_, body)| matches!(body, Request::Ping { .. })).collect();
    assert_eq!(pings.len(), 3);
    let Request::Ping { nonce } = *pings[2].1 else { panic!() };
    let request = pings[2].0;
    solo.answer(request, Answer::Pong { nonce });
    assert!(lost(&solo.pass(Duration::from_secs(50))).is_empty());
}

#[test]
fn silent_peers_are_pinged_together() {
    let mut solo = Solo::new(&[], None);
    for n in [150, 200, 250] {
        let (_, outputs) = solo.accepted(n, empty());
        let request = asks(&outputs)[0].0;
        solo.answer(request, Answer::LibrarySnapshot { peer_id: peer(n), snapshot: snapshot(1, &[]) });
        solo.pass(Duration::from_secs(10));
    }
    // Silent for 30, 20 and 10 seconds. Pings begin after 60: then the second is silent for more than half of that, too,
    // and the third for 40.
    for round in 0..3 {
        let mut waited = 0;
        let pings: Vec<_> = loop {
            let outputs = solo.pass(Duration::from_millis(500));
            let pings = asks(&outputs).into_iter().filter_map(|(id, body)| match body {
                Request::Ping { nonce } => Some((id, *nonce)),
                _ => None,
            });
            let pings: Vec<_> = pings.collect();
            waited += 1;
            assert!(waited <= 2 * 61, "nobody is pinged in round {round}");
            if !pings.is_empty() {
                break pings;
            }
        };
        assert_eq!(pings.len(), 3, "round {round}");
        for (request, nonce) in pings {
            solo.answer(request, Answer::Pong { nonce });
        }
        let next = solo.engine.poll_timeout().expect("the next ping");
        assert!(next > solo.now + Duration::from_secs(10), "round {round}: nothing to do until the next silence");
    }
}

#[test]
fn a_ping_of_a_lower_id_is_the_moment_for_the_own_ones() {
    let mut solo = Solo::new(&[], None);
    let mut meet = |n| {
        let (conn, outputs) = solo.accepted(n, empty());
        let request = asks(&outputs)[0].0;
        solo.answer(request, Answer::LibrarySnapshot { peer_id: peer(n), snapshot: snapshot(1, &[]) });
        solo.pass(Duration::from_secs(20));
        conn
    };
    let (lower, _, higher) = (meet(1), meet(150), meet(200));
    // Two are silent for 40 and 20 seconds, of which one is pinged, and not twice.
    let pinged =
        |outputs: &[Output]| asks(outputs).iter().filter(|(_, body)| matches!(body, Request::Ping { .. })).count();
    let nonce = 7;
    assert_eq!(pinged(&solo.ask(higher, Request::Ping { nonce })), 0, "a higher id is no reason");
    assert_eq!(pinged(&solo.ask(lower, Request::Ping { nonce })), 1);
    assert_eq!(pinged(&solo.ask(lower, Request::Ping { nonce })), 0);
}

#[test]
fn goodbye_is_at_once_and_a_broken_connection_gets_a_moment() {
    let mut solo = Solo::new(&[], None);
    let (conn, _) = solo.accepted(1, empty());
    let outputs = solo.feed(Input::Notification { conn, notification: Notification::Goodbye { peer_id: peer(1) } });
    assert_eq!(lost(&outputs), ["goodbye"]);
    assert!(dials(&solo.pass(Duration::from_secs(600))).is_empty(), "who said goodbye is not dialled");

    let (conn, _) = solo.accepted(1, empty());
    let outputs = solo.feed(Input::ConnectionDown { conn, code: None, reason: String::new() });
    assert!(lost(&outputs).is_empty());
    assert!(!solo.peer_rows()[0].connected);
    let outputs = solo.pass(Duration::from_millis(100));
    assert_eq!(dials(&outputs).len(), 1);
    solo.accepted(1, empty());
    assert!(lost(&solo.pass(Duration::from_secs(20))).is_empty(), "it came back in time");

    let rows = solo.peer_rows();
    let conn = ConnId(solo.next - 2);
    let outputs = solo.feed(Input::ConnectionDown { conn, code: None, reason: String::new() });
    assert!(rows[0].connected && lost(&outputs).is_empty());
    assert_eq!(lost(&solo.pass(Duration::from_secs(4))), ["closed"]);
}

#[test]
fn a_flood_of_forged_sightings_is_bounded_and_spares_the_proved() {
    let mut solo = Solo::with(&[], None, |config| config.limits.peers = 100);
    solo.accepted(1, empty());
    let mut under_way = 0;
    for n in 0..5_000u32 {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&n.to_be_bytes());
        let sighting = Sighting { peer_id: PeerId::from_spki_sha256(&digest), ..sighting(3, u64::from(n)) };
        under_way += dials(&solo.feed(Input::Sighting(sighting))).len();
    }
    under_way += dials(&solo.pass(Duration::from_secs(9))).len();
    assert_eq!(under_way, 16, "limits.dials");
    let rows = solo.peer_rows();
    assert!(rows.len() <= 100);
    assert!(rows.iter().any(|row| row.peer_id == peer(1) && row.connected));
}

#[test]
fn a_restarted_peer_keeps_its_row() {
    let mut world = World::new(2, 2);
    world.start(0);
    world.start(1);
    world.run(Duration::from_secs(1));
    world.sight_all();
    assert!(world.run_until(|world| world.in_step(&[0, 1])));
    world.run(Duration::from_secs(5));
    world.kill(1);
    world.start(1);
    world.run(Duration::from_secs(1));
    world.sight_all();
    assert!(world.run_until(|world| world.in_step(&[0, 1])));
    let node = &world.nodes[0];
    let rows = node.engine.as_ref().unwrap().parts.peers.list(world.now);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].addr, Some(world.nodes[1].addr));
    assert!(!node.events.iter().any(|event| matches!(event, PeerEvent::PeerLost { .. })));
}

#[test]
fn only_peers_with_the_same_party_key_come_together() {
    for seed in 0..20 {
        let mut world = World::new(seed, 5);
        for (n, key) in [Some("ours"), Some("ours"), Some("theirs"), None, None].into_iter().enumerate() {
            world.nodes[n].config.party_key_file = key.map(PathBuf::from);
            world.write_game(n, &format!("game-{n}"), "1", 10);
            world.start(n);
        }
        let mut met = false;
        for _ in 0..5 {
            world.sight_all();
            met = met || world.run_until(|world| world.in_step(&[0, 1]) && world.in_step(&[3, 4]));
            world.run(Duration::from_secs(30));
        }
        assert!(met, "seed {seed}: those with one key, and those without any");
        for (n, friend) in [(0, Some(1)), (1, Some(0)), (2, None), (3, Some(4)), (4, Some(3))] {
            let friends: Vec<_> = friend.map(|friend| world.nodes[friend].id).into_iter().collect();
            let connected: Vec<_> = {
                let engine = world.nodes[n].engine.as_ref().unwrap();
                engine.parts.peers.libraries().map(|(peer, ..)| peer).collect()
            };
            assert_eq!(connected, friends, "seed {seed}: node {n}");
            let mut refused: Vec<_> = world.nodes[n].events.iter().filter_map(refused_peer).collect();
            refused.sort();
            let mut strangers: Vec<_> = (0..5).filter(|other| *other != n).map(|other| world.nodes[other].id).collect();
            strangers.retain(|other| !friends.contains(other));
            strangers.sort();
            assert_eq!(refused, strangers, "seed {seed}: node {n} says once who is kept out");
        }
    }
}

fn refused_peer(event: &PeerEvent) -> Option<PeerId> {
    match event {
        PeerEvent::PeerRefused { peer_id, .. } => Some(*peer_id),
        _ => None,
    }
}

/// An engine with a party key, and what both sides of a connection must prove.
fn keyed() -> (Solo, PartyProofs) {
    let solo = Solo::with(&[], None, |config| config.party_key_file = Some("key".into()));
    (solo, PartyProofs { own: PartyProof([1; 32]), peer: PartyProof([2; 32]) })
}

#[test]
fn nothing_but_the_right_proof_is_answered_before_it() {
    let (mut solo, proofs) = keyed();
    let mut conns = 100..;
    let mut incoming = |solo: &mut Solo| {
        let conn = ConnId(conns.next().unwrap());
        let (peer_id, remote, local) = (peer(1), addr(1), addr(9));
        solo.feed(Input::ConnectionUp {
            conn,
            peer_id,
            remote,
            local,
            interface: None,
            dial: None,
            party: Some(proofs),
        });
        conn
    };
    for request in [
        Request::Hello(hello(1, empty())),
        Request::Ping { nonce: 1 },
        Request::GetLibrary { peer_id: peer(1) },
        Request::Prove { proof: proofs.own },
        Request::Prove { proof: PartyProof([0; 32]) },
    ] {
        let conn = incoming(&mut solo);
        let outputs = solo.ask(conn, request.clone());
        assert_eq!(closes(&outputs), [(conn, CloseCode::PartyKey)], "{request:?}");
        assert!(!outputs.iter().any(|output| matches!(output, Output::Answer { .. })), "{request:?}");
        assert!(solo.ask(conn, request).is_empty(), "it is over");
    }
    let conn = incoming(&mut solo);
    let from = InboundId { conn, stream: 4 };
    let outputs = solo.feed(Input::UnknownRequest { from, name: "Teleport".into() });
    assert_eq!(closes(&outputs), [(conn, CloseCode::PartyKey)]);
    assert!(solo.peer_rows().is_empty());

    let conn = incoming(&mut solo);
    let outputs = solo.ask(conn, Request::Prove { proof: proofs.peer });
    let answer = outputs.iter().find_map(|output| match output {
        Output::Answer { body, .. } => Some(&**body),
        _ => None,
    });
    assert_eq!(answer, Some(&Answer::Proved { proof: proofs.own }));
    let outputs = solo.ask(conn, Request::Hello(hello(1, empty())));
    assert!(closes(&outputs).is_empty());
    assert_eq!(solo.status().peers_connected, 1);
}

#[test]
fn a_dialler_says_hello_only_to_a_listener_that_has_proved_itself() {
    let (mut solo, proofs) = keyed();
    for answer in [
        Answer::Proved { proof: proofs.own },
        Answer::HelloAck(hello(1, empty())),
        Answer::Error(crate::proto::WireError { code: WireErrorCode::UnknownType, message: String::new() }),
        Answer::Proved { proof: proofs.peer },
    ] {
        let mut outputs = solo.feed(Input::Sighting(sighting(1, 1)));
        outputs.extend(solo.pass(Duration::from_secs(120)));
        let (dial, remote) = *dials(&outputs).last().unwrap();
        let conn = ConnId(1_000 + dial.0);
        let local = addr(9);
        let outputs = solo.feed(Input::ConnectionUp {
            conn,
            peer_id: peer(1),
            remote,
            local,
            interface: None,
            dial: Some(dial),
            party: Some(proofs),
        });
        let (request, body) = asks(&outputs)[0];
        assert_eq!(body, &Request::Prove { proof: proofs.own });
        let outputs = solo.answer(request, answer.clone());
        if answer == (Answer::Proved { proof: proofs.peer }) {
            assert!(matches!(asks(&outputs)[..], [(_, Request::Hello(_))]));
        } else {
            assert_eq!(closes(&outputs), [(conn, CloseCode::PartyKey)], "{answer:?}");
            assert!(asks(&outputs).is_empty(), "{answer:?}");
        }
    }
}

#[test]
fn after_a_sleep_everybody_is_asked_for_a_sign_of_life_and_lost_ones_are_dialled_at_once() {
    // Whether or not the clock went on while the PC slept.
    for slept in [Duration::ZERO, Duration::from_secs(3600)] {
        let mut solo = Solo::new(&[], None);
        let (alive, outputs) = solo.accepted(1, empty());
        solo.answer(asks(&outputs)[0].0, Answer::LibrarySnapshot { peer_id: peer(1), snapshot: snapshot(1, &[]) });
        let (dead, outputs) = solo.accepted(2, empty());
        solo.answer(asks(&outputs)[0].0, Answer::LibrarySnapshot { peer_id: peer(2), snapshot: snapshot(1, &[]) });
        // One that failed so often that it is dialled once a minute at most.
        let outputs = solo.feed(Input::Sighting(sighting(3, 1)));
        let mut outputs = [outputs, solo.pass(Duration::from_millis(300))].concat();
        let mut failed = 0;
        while failed < 8 {
            for (dial, _) in dials(&outputs) {
                let reason = "no answer".to_owned();
                solo.feed(Input::DialFailed { dial, identity_mismatch: false, actual: None, reason });
                failed += 1;
            }
            outputs = solo.pass(Duration::from_secs(5));
            for conn in [alive, dead] {
                solo.ask(conn, Request::Ping { nonce: 1 });
            }
        }
        assert_eq!(dials(&outputs), []);

        solo.now += slept;
        let outputs = solo.feed(Input::Woke);
        let pings = asks(&outputs).iter().filter(|(_, body)| matches!(body, Request::Ping { .. })).count();
        assert_eq!(pings, 2);
        let outputs = [outputs, solo.pass(Duration::from_millis(1))].concat();
        assert_eq!(dials(&outputs).iter().map(|(_, addr)| *addr).collect::<Vec<_>>(), [addr(3)]);
        assert!(lost(&outputs).is_empty(), "nobody is lost by the time that was slept through: {outputs:?}");
        solo.ask(alive, Request::Ping { nonce: 1 });
        let outputs = solo.pass(Duration::from_secs(10));
        assert_eq!((closes(&outputs), lost(&outputs)), (vec![(dead, CloseCode::Stale)], vec!["stale"]));
    }
}

#[test]
fn an_address_that_is_gone_takes_its_connections_along() {
    let mut solo = Solo::new(&[], None);
    let (conn, _) = solo.accepted(1, empty());
    solo.feed(Input::Sighting(sighting(1, 1)));
    // One more address says nothing about the others.
    assert_eq!(closes(&solo.feed(Input::Listening { addrs: vec![addr(9), addr(77)] })), []);
    let outputs = solo.feed(Input::Listening { addrs: vec![addr(77)] });
    assert_eq!(closes(&outputs), [(conn, CloseCode::Stale)]);
    assert!(lost(&outputs).is_empty() && !solo.peer_rows()[0].connected);
    let outputs = solo.pass(Duration::from_millis(100));
    assert_eq!(dials(&outputs).iter().map(|(_, addr)| *addr).collect::<Vec<_>>(), [addr(1)]);
    solo.accepted(1, empty());
    assert!(lost(&solo.pass(Duration::from_secs(20))).is_empty(), "it came back in time");
}

#[test]
fn the_way_to_a_peer_is_told_while_its_connection_stands() {
    let mut solo = Solo::new(&[], None);
    let way = |solo: &mut Solo| {
        let rows = solo.peer_rows();
        assert_eq!(rows.len(), 1);
        (rows[0].interface, rows[0].rtt_ms)
    };
    let conn = ConnId(500);
    let up = Input::ConnectionUp {
        conn,
        peer_id: peer(1),
        remote: addr(1),
        local: addr(9),
        interface: Some(InterfaceKind::Wireless),
        dial: None,
        party: None,
    };
    solo.feed(up);
    solo.ask(conn, Request::Hello(hello(1, empty())));
    assert_eq!(way(&mut solo), (Some(InterfaceKind::Wireless), None));
    for micros in [2_500, 2_316, 4_000] {
        solo.feed(Input::RoundTrip { conn, least: Duration::from_micros(micros) });
    }
    assert_eq!(way(&mut solo), (Some(InterfaceKind::Wireless), Some(2.316)), "the least of them");
    solo.feed(Input::ConnectionDown { conn, code: None, reason: String::new() });
    assert_eq!(way(&mut solo), (None, None), "nobody knows how it comes back");
}
