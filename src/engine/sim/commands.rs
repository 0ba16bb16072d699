//! The rules of commands, and games on their way.

use super::solo::*;
use super::*;
use crate::api::Operation;
use crate::types::library_digest;

#[test]
fn only_hello_ack_proves_acceptance() {
    let mut solo = Solo::new(&[], None);
    let outputs = solo.command(PeerCommand::Connect { addr: "10.0.0.1:4000".to_owned() });
    let (dial, remote) = dials(&outputs)[0];
    let up = Input::ConnectionUp {
        conn: ConnId(500),
        peer_id: peer(1),
        remote,
        local: addr(9),
        interface: None,
        dial: Some(dial),
        party: None,
    };
    let outputs = solo.feed(up);
    assert!(replies(&outputs).is_empty() && events(&outputs).is_empty());
    let request = asks(&outputs)[0].0;
    let outputs = solo.answer(request, Answer::HelloAck(hello(1, empty())));
    assert!(matches!(events(&outputs)[1], PeerEvent::PeerConnected { .. }));
    let [Ok(CommandData::Connected(connected))] = &replies(&outputs)[..] else { panic!("{outputs:?}") };
    assert_eq!((connected.peer_id, connected.addr), (peer(1), addr(1)));
    let outputs = solo.command(PeerCommand::Connect { addr: "10.0.0.1:4000".to_owned() });
    assert!(matches!(replies(&outputs)[..], [Ok(CommandData::Connected(_))]), "it is connected already");
}

#[test]
fn connect_says_why_it_failed() {
    let mut solo = Solo::new(&[], None);
    let code = |outputs: &[Output]| match &replies(outputs)[..] {
        [Err(error)] => error.code,
        other => panic!("{other:?}"),
    };
    for bad in ["", "pc-1", ":4000", "pc-1:0", "pc-1:99999"] {
        let outputs = solo.command(PeerCommand::Connect { addr: bad.to_owned() });
        assert_eq!(code(&outputs), ErrorCode::BadArgument, "{bad:?}");
    }
    let outputs = solo.command(PeerCommand::Connect { addr: addr(9).to_string() });
    assert_eq!(code(&outputs), ErrorCode::SelfConnect);

    let connect = PeerCommand::Connect { addr: "10.0.0.1:4000".to_owned() };
    let (dial, remote) = dials(&solo.command(connect.clone()))[0];
    let up = Input::ConnectionUp {
        conn: ConnId(500),
        peer_id: peer(9),
        remote,
        local: addr(9),
        interface: None,
        dial: Some(dial),
        party: None,
    };
    let outputs = solo.feed(up);
    assert_eq!(code(&outputs), ErrorCode::SelfConnect, "found out by the key");
    assert_eq!(closes(&outputs), [(ConnId(500), CloseCode::SelfConnect)]);

    let (dial, _) = dials(&solo.command(connect.clone()))[0];
    let failed = Input::DialFailed { dial, identity_mismatch: false, actual: None, reason: "refused".to_owned() };
    assert_eq!(code(&solo.feed(failed)), ErrorCode::PeerRefused);
    solo.command(connect);
    assert_eq!(code(&solo.pass(Duration::from_secs(10))), ErrorCode::Timeout);

    let outputs = solo.command(PeerCommand::Connect { addr: "nowhere:4000".to_owned() });
    let [Job::Resolve { token, .. }] = jobs(&outputs)[..] else { panic!("{outputs:?}") };
    let result = Err(JobError::new(JobErrorKind::Io, "no such host"));
    let outputs = solo.feed(Input::JobDone(JobDone::Resolved { token: *token, result }));
    assert_eq!(code(&outputs), ErrorCode::Io);
}

#[test]
fn waiting_for_peers_ends_with_them_or_with_the_time() {
    let mut solo = Solo::new(&[], None);
    assert!(replies(&solo.command(PeerCommand::WaitPeers { count: 1, timeout_ms: 500 })).is_empty());
    let [Err(error)] = &replies(&solo.pass(Duration::from_secs(1)))[..] else { panic!() };
    assert_eq!(error.code, ErrorCode::Timeout);
    assert!(replies(&solo.command(PeerCommand::WaitPeers { count: 1, timeout_ms: 60_000 })).is_empty());
    let (_, outputs) = solo.accepted(1, empty());
    assert!(replies(&outputs).is_empty(), "connected, but its library is not known yet");
    let request = asks(&outputs)[0].0;
    let outputs = solo.answer(request, Answer::LibrarySnapshot { peer_id: peer(1), snapshot: snapshot(1, &[]) });
    assert!(matches!(replies(&outputs)[..], [Ok(CommandData::PeerCount(crate::api::PeerCount { peers: 1 }))]));
}

#[test]
fn fetch_latest_asks_the_peers_first() {
    let (mut solo, _) = in_step_with(&[]);
    let outputs = solo.command(PeerCommand::FetchLatest { game: "quake".parse().unwrap() });
    assert!(replies(&outputs).is_empty());
    let [(request, Request::GetLibraryDelta { .. })] = asks(&outputs)[..] else { panic!("{outputs:?}") };
    let game = summary("quake", 10);
    let news = delta(5, 6, library_digest([&game].into_iter()), std::slice::from_ref(&game));
    let outputs = solo.answer(request, Answer::LibraryDelta { peer_id: peer(1), delta: news });
    assert!(matches!(replies(&outputs)[..], [Ok(CommandData::Accepted(_))]), "{outputs:?}");
}

#[test]
fn shutdown_says_goodbye_and_answers_everybody() {
    let (mut solo, _) = in_step_with(&[]);
    solo.command(PeerCommand::WaitPeers { count: 9, timeout_ms: 60_000 });
    solo.command(PeerCommand::Connect { addr: "10.0.0.7:4000".to_owned() });
    let outputs = solo.command(PeerCommand::Shutdown);
    assert!(matches!(notes(&outputs)[..], [Notification::Goodbye { .. }]));
    assert_eq!(replies(&outputs).len(), 3);
    assert_eq!(replies(&outputs).iter().filter(|reply| reply.is_ok()).count(), 1);
    assert_eq!(outputs.last(), Some(&Output::Stopped { failure: None }));
    assert_eq!(solo.command(PeerCommand::Status), []);
}

#[test]
fn the_game_directory_can_be_exchanged() {
    let mut world = World::new(1, 2);
    world.write_game(0, "quake", "1", 10);
    world.start(0);
    world.start(1);
    world.run(Duration::from_secs(1));
    world.sight_all();
    assert!(world.run_until(|world| world.in_step(&[0, 1])));
    world.run(Duration::from_secs(5));
    let state = world.nodes[0].engine.as_ref().unwrap().cx.announced.state;

    world.command(0, 1, PeerCommand::SetGameDir { path: PathBuf::from("/games/") });
    assert!(world.run_until(|world| world.nodes[0].replies.contains_key(&1)));
    assert!(world.nodes[0].replies[&1].is_ok());
    assert_eq!(world.nodes[0].engine.as_ref().unwrap().cx.announced.state, state, "the same directory is no revision");

    world.command(0, 2, PeerCommand::SetGameDir { path: PathBuf::from("/missing") });
    assert!(world.run_until(|world| world.nodes[0].replies.contains_key(&2)));
    assert_eq!(world.nodes[0].replies[&2].as_ref().unwrap_err().code, ErrorCode::Io);
    world.run(Duration::from_secs(2));
    assert_eq!(world.nodes[0].engine.as_ref().unwrap().cx.announced.state, state, "the old one stays");
    assert_eq!(world.nodes[0].watched.len(), 1);

    world.command(0, 3, PeerCommand::SetGameDir { path: PathBuf::from("/other") });
    let answered = world.run_until(|world| world.nodes[0].replies.contains_key(&3));
    assert!(answered, "{:?}", world.nodes[0].engine);
    assert!(world.nodes[0].replies[&3].is_ok());
    let engine = world.nodes[0].engine.as_ref().unwrap();
    assert_ne!(engine.cx.announced.state.epoch, state.epoch);
    assert_eq!(world.nodes[0].watched.iter().map(GameId::as_str).collect::<Vec<_>>(), ["elsewhere"]);
    assert!(world.run_until(|world| world.in_step(&[0, 1])));
}

#[test]
fn a_game_travels_and_is_announced_by_its_new_owner() {
    let mut world = World::new(3, 3);
    world.write_game(0, "quake", "1", 5_000_000);
    (0..3).for_each(|n| world.start(n));
    world.run(Duration::from_secs(1));
    world.sight_all();
    assert!(world.run_until(|world| world.in_step(&[0, 1, 2])));
    world.run(Duration::from_secs(5));
    let game: GameId = "quake".parse().unwrap();
    world.command(1, 1, PeerCommand::Download { game: game.clone(), install: false, again: false });
    assert!(world.nodes[1].replies[&1].is_ok(), "{:?}", world.nodes[1].replies);
    world.command(1, 2, PeerCommand::Download { game: game.clone(), install: false, again: false });
    assert_eq!(world.nodes[1].replies[&2].as_ref().unwrap_err().code, ErrorCode::OperationInProgress);
    world.command(1, 3, PeerCommand::SetGameDir { path: PathBuf::from("/other") });
    assert_eq!(world.nodes[1].replies[&3].as_ref().unwrap_err().code, ErrorCode::OperationInProgress);
    world.input(1, Input::FsChanged { game: game.clone() });
    let finished = |event: &PeerEvent| matches!(event, PeerEvent::DownloadFinished { .. });
    assert!(world.run_until(|world| world.nodes[1].events.iter().any(finished)), "{:?}", world.nodes[1].events);
    // The state is settled when the event comes.
    world.command(1, 4, PeerCommand::ListGames);
    let Ok(CommandData::Games(list)) = &world.nodes[1].replies[&4] else { panic!() };
    assert!(list.games[0].downloaded && list.games[0].operation.is_none());
    let last = world.nodes[1]
        .events
        .iter()
        .rposition(|event| matches!(event, PeerEvent::ActiveOperationsChanged { operations } if operations.is_empty()));
    assert!(last < world.nodes[1].events.iter().position(finished));
    let started = |event: &PeerEvent| match event {
        PeerEvent::ActiveOperationsChanged { operations } => {
            operations.iter().any(|row| row.operation == Operation::Downloading)
        }
        _ => false,
    };
    assert!(world.nodes[1].events.iter().any(started));
    assert!(world.run_until(|world| {
        let engine = world.nodes[2].engine.as_ref().unwrap();
        engine.parts.peers.sources(&game).len() == 2
    }));
    assert!(world.run_until(|world| world.in_step(&[0, 1, 2])));
    assert!(world.nodes[1].watched.contains(&game));
    world.command(2, 1, PeerCommand::ListGames);
    let Ok(CommandData::Games(list)) = &world.nodes[2].replies[&1] else { panic!() };
    assert_eq!((list.games.len(), list.games[0].peer_count, list.games[0].sources.len()), (1, 2, 2));
    assert!(!list.games[0].downloaded);
}
