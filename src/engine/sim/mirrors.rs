//! Mirrors: when they are asked, who waits for them, and what they are worth as sources.

use super::solo::{Solo, replies};
use super::*;
use crate::types::{Availability, MirrorAsk, MirrorFault, MirrorNews, MirrorUrl, content_hash};

const URL: &str = "http://mirror.lan";

/// An engine with one mirror, which has not answered yet.
fn solo() -> Solo {
    Solo::bare(|config| config.mirrors = vec![MirrorUrl::parse(URL).unwrap()])
}

fn id(text: &str) -> GameId {
    text.parse().unwrap()
}

fn summary(game: &str, version: &str) -> Arc<GameSummary> {
    let (manifest, chunks) = content(5_000_000);
    Arc::new(GameSummary {
        id: id(game),
        name: game.to_owned(),
        eti_version: Some(version.to_owned()),
        size: manifest.bytes(),
        downloaded: true,
        installed: false,
        manifest_hash: manifest.hash(),
        content_hash: Some(content_hash(&manifest, &chunks)),
        availability: Availability::Ready,
        changed: false,
        supersedes: Vec::new(),
        not_shared: None,
    })
}

fn says(solo: &mut Solo, ask: MirrorAsk, result: Result<MirrorNews, MirrorFault>) -> Vec<Output> {
    solo.feed(Input::MirrorAnswered { mirror: 0, ask, result })
}

fn asks(outputs: &[Output]) -> Vec<MirrorAsk> {
    let ask = |output: &Output| match output {
        Output::AskMirror { mirror: 0, ask } => Some(ask.clone()),
        _ => None,
    };
    outputs.iter().filter_map(ask).collect()
}

fn troubles(outputs: &[Output]) -> usize {
    let is_trouble = |output: &&Output| match output {
        Output::Event(event) => matches!(**event, PeerEvent::RuntimeError { .. }),
        _ => false,
    };
    outputs.iter().filter(is_trouble).count()
}

fn download(game: &str) -> PeerCommand {
    PeerCommand::Download { game: id(game), install: false, again: false }
}

#[test]
fn a_command_waits_for_a_mirror_when_nobody_else_has_the_game_but_not_for_ever() {
    let mut solo = solo();
    let outputs = says(&mut solo, MirrorAsk::Index, Ok(MirrorNews::Index(None)));
    assert_eq!(asks(&outputs), [], "there is no catalog to look for");
    let outputs = solo.command(download("doom"));
    assert_eq!(asks(&outputs), [MirrorAsk::Game(id("doom"))]);
    assert!(replies(&outputs).is_empty());
    let outputs = solo.command(PeerCommand::GetGame { game: id("doom") });
    assert_eq!(asks(&outputs), [], "one question at a time");
    let news = Ok(MirrorNews::Game(Some(summary("doom", "1"))));
    let outputs = says(&mut solo, MirrorAsk::Game(id("doom")), news);
    assert!(matches!(replies(&outputs)[..], [Ok(CommandData::Accepted(_))]), "{outputs:?}");
    let for_files = |output: &&Output| matches!(output, Output::MirrorManifest { mirror: 0, .. });
    assert_eq!(outputs.iter().filter(for_files).count(), 2, "both ask the mirror for the files");

    // What it does not have is remembered for a while.
    assert_eq!(asks(&solo.command(download("quake"))).len(), 1);
    let outputs = says(&mut solo, MirrorAsk::Game(id("quake")), Ok(MirrorNews::Game(None)));
    assert_eq!(replies(&outputs)[0].as_ref().unwrap_err().code, ErrorCode::UnknownGame);
    let outputs = solo.command(download("quake"));
    assert!(asks(&outputs).is_empty() && replies(&outputs).len() == 1);
    solo.pass(Duration::from_secs(61));
    assert_eq!(asks(&solo.command(download("quake"))).len(), 1);
    let outputs = solo.pass(Duration::from_secs(11));
    assert_eq!(replies(&outputs).len(), 1, "a mirror that does not answer holds up nobody");
    let outputs = solo.command(PeerCommand::FetchLatest { game: id("doom") });
    assert_eq!(asks(&outputs), [MirrorAsk::Game(id("doom"))], "that asks in any case");
}

#[test]
fn a_mirror_that_is_down_is_no_source_is_asked_less_and_less_often_and_named_once() {
    let mut solo = solo();
    let down = || Err(MirrorFault::Down(format!("{URL}/index.json: refused")));
    let listed = || Ok(MirrorNews::Index(Some(vec![summary("doom", "1")])));
    says(&mut solo, MirrorAsk::Index, listed());
    assert!(solo.status().mirrors[0].reachable && solo.status().mirrors[0].games == 1);
    let outputs = solo.pass(Duration::from_secs(301));
    assert_eq!(asks(&outputs), [MirrorAsk::Index], "after five minutes");
    let mut told = troubles(&says(&mut solo, MirrorAsk::Index, down()));
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let mut pause = 0;
        while asks(&solo.pass(Duration::from_secs(1))).is_empty() {
            pause += 1;
        }
        pauses.push(pause);
        told += troubles(&says(&mut solo, MirrorAsk::Index, down()));
    }
    assert!(pauses.is_sorted() && pauses[0] < 10 && pauses[3] > 30, "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= 300), "{pauses:?}");
    assert_eq!(told, 1, "one outage is told once");
    assert!(!solo.status().mirrors[0].reachable && solo.status().mirrors[0].games == 0);
    // A command asks at once, whatever the pause.
    assert_eq!(asks(&solo.command(download("doom"))).len(), 1);
    let outputs = says(&mut solo, MirrorAsk::Game(id("doom")), down());
    assert_eq!(replies(&outputs)[0].as_ref().unwrap_err().code, ErrorCode::NoSources);
    assert_eq!(asks(&solo.command(download("doom"))).len(), 1);
    let outputs = says(&mut solo, MirrorAsk::Game(id("doom")), Ok(MirrorNews::Game(Some(summary("doom", "1")))));
    assert!(replies(&outputs)[0].is_ok(), "it is back: {outputs:?}");
    assert_eq!(asks(&solo.pass(Duration::from_secs(1))), [MirrorAsk::Index], "and may have another list");
}

#[test]
fn a_blocked_mirror_is_left_out() {
    let mut solo = solo();
    says(&mut solo, MirrorAsk::Index, Ok(MirrorNews::Index(Some(vec![summary("doom", "1")]))));
    let peer_id = MirrorUrl::parse(URL).unwrap().told_as();
    solo.command(PeerCommand::BlockPeer { peer_id });
    solo.command(download("doom"));
    let outputs = says(&mut solo, MirrorAsk::Game(id("doom")), Ok(MirrorNews::Game(Some(summary("doom", "1")))));
    let refused = solo.command(download("doom"));
    let codes: Vec<_> = replies(&outputs).into_iter().chain(replies(&refused)).map(|r| r.map_err(|e| e.code)).collect();
    assert!(codes.iter().all(|code| *code == Err(ErrorCode::NoSources)) && !codes.is_empty(), "{codes:?}");
    solo.command(PeerCommand::UnblockPeer { peer_id });
    assert!(replies(&solo.command(download("doom")))[0].is_ok());
}

#[test]
fn answers_that_nobody_asked_for_change_nothing() {
    let mut solo = solo();
    assert_eq!(says(&mut solo, MirrorAsk::Game(id("doom")), Ok(MirrorNews::Game(Some(summary("doom", "1"))))), []);
    assert_eq!(solo.status().mirrors[0].games, 0);
    let outputs =
        solo.feed(Input::MirrorAnswered { mirror: 7, ask: MirrorAsk::Index, result: Ok(MirrorNews::Index(None)) });
    assert_eq!(outputs, []);
}

#[test]
fn a_game_that_only_a_mirror_has_is_explained() {
    let mut solo = solo();
    says(&mut solo, MirrorAsk::Index, Ok(MirrorNews::Index(None)));
    solo.command(PeerCommand::GetGame { game: id("doom") });
    says(&mut solo, MirrorAsk::Game(id("doom")), Ok(MirrorNews::Game(Some(summary("doom", "1")))));
    let explain = |solo: &mut Solo, game: &str| {
        let outputs = solo.command(PeerCommand::Explain { game: id(game) });
        match replies(&outputs).pop() {
            Some(Ok(CommandData::Explanation(why))) => why.reason,
            Some(Err(error)) => format!("{:?}", error.code),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(explain(&mut solo, "doom"), "it is not being downloaded; it can be had from 1 source(s)");
    assert_eq!(explain(&mut solo, "no-such-game"), "UnknownGame");
}
