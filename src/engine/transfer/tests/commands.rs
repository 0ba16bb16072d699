//! Commands, the queue, serving, and what users are told.

use std::time::{Duration, Instant};

use super::sim::{Offer, Sim, game, offer};
use super::{MIB, code, failed, finished};
use crate::api::{CommandData, ErrorCode, Operation, PeerEvent};
use crate::engine::effect::Effect;
use crate::engine::{ConnId, InboundId, RunFailure};
use crate::proto::{Answer, GetChunks, GetManifest, Request, WireErrorCode};

/// The downloads that began, in order.
fn began(sim: &Sim) -> Vec<&str> {
    sim.log
        .iter()
        .filter_map(|event| match event {
            PeerEvent::DownloadBegin { game, .. } => Some(game.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn downloads_queue_in_the_order_of_their_commands() {
    let mut sim = Sim::new(1);
    for id in ["d", "c", "b", "a"] {
        sim.peer(1, &offer(id, "1", &[4 * MIB], 0));
        let Ok(CommandData::Accepted(accepted)) = sim.download(id) else { panic!() };
        assert_eq!(accepted.queued, matches!(id, "a" | "b"));
    }
    assert_eq!(code(sim.download("a")), ErrorCode::OperationInProgress);
    assert_eq!(sim.transfers.operation(&game("b")), Some(Operation::Queued));
    sim.peer(1, &offer("e", "1", &[4 * MIB], 0));
    sim.download("e").unwrap();
    sim.cancel("b").unwrap();
    assert_eq!(failed(&sim), ErrorCode::Cancelled);
    assert!(!sim.transfers.is_busy(&game("b")));
    sim.run();
    assert_eq!(began(&sim), ["d", "c", "a", "e"]);
}

#[test]
fn of_two_games_that_are_one_folder_where_case_does_not_count_one_is_fetched_at_a_time() {
    let mut sim = Sim::new(1);
    for id in ["doom", "Doom", "DOOM2"] {
        sim.peer(1, &offer(id, "1", &[4 * MIB], 0));
    }
    sim.download("doom").unwrap();
    let refused = sim.download("Doom").unwrap_err();
    assert_eq!(refused.code, ErrorCode::UnsafePath);
    assert!(refused.message.contains("together with doom"), "{refused:?}");
    sim.download("DOOM2").unwrap();
    sim.cancel("doom").unwrap();
    sim.run();
    sim.download("Doom").unwrap();
    sim.run();
    assert_eq!(began(&sim), ["DOOM2", "Doom"]);
}

#[test]
fn a_download_of_what_is_here_fetches_nothing() {
    let here = offer("g", "2", &[8 * MIB], 0);
    for there in [None, Some(here.clone()), Some(offer("g", "1", &[MIB], 0))] {
        let mut sim = Sim::new(1);
        sim.local.scanned.insert(game("g"), here.scanned());
        if let Some(there) = &there {
            sim.peer(1, there);
        }
        sim.download("g").unwrap();
        assert_eq!(finished(&sim), []);
        assert!(sim.jobs.is_empty() && sim.stops.is_empty());
    }
    for there in [offer("g", "3", &[MIB], 0), offer("g", "2", &[8 * MIB], 1)] {
        let mut sim = Sim::new(1);
        sim.local.scanned.insert(game("g"), here.brought());
        sim.peer(1, &there);
        sim.download("g").unwrap();
        sim.run();
        assert_eq!(finished(&sim).len(), 1);
    }
}

#[test]
fn only_a_download_that_came_to_its_end_is_handed_over_to_the_installer() {
    let handed = |effect: &Effect| matches!(effect, Effect::HandOver { .. });
    let mut sim = Sim::new(1);
    sim.peer(1, &offer("g", "1", &[MIB], 0));
    sim.download_then("g", true).unwrap();
    sim.run();
    let last = sim.effects.last().unwrap();
    let Effect::HandOver { event, .. } = last else { panic!("{last:?}") };
    assert!(matches!(**event, PeerEvent::DownloadFinished { .. }));
    let ended = |effect: &Effect| matches!(effect, Effect::OperationEnded { .. });
    assert!(!sim.effects.iter().any(ended), "the game is never free");
    assert!(!sim.transfers.is_busy(&game("g")));

    let mut sim = Sim::new(1);
    sim.peer(1, &offer("g", "1", &[4 * MIB], 0)).bad = [1].into();
    sim.download_then("g", true).unwrap();
    sim.run();
    assert_eq!(failed(&sim), ErrorCode::VerificationFailed);
    assert!(!sim.effects.iter().any(handed));

    let mut sim = Sim::new(1);
    sim.local.scanned.insert(game("g"), offer("g", "1", &[MIB], 0).scanned());
    sim.download_then("g", true).unwrap();
    assert_eq!(finished(&sim), []);
    assert_eq!(sim.effects.last(), Some(&Effect::Install { game: game("g") }));
}

#[test]
fn commands_that_cannot_be_obeyed_say_why() {
    let mut sim = Sim::new(1);
    assert_eq!(code(sim.download("g")), ErrorCode::UnknownGame);
    assert_eq!(code(sim.cancel("g")), ErrorCode::UnknownGame);
    sim.peer(1, &offer("g", "1", &[MIB], 0));
    assert_eq!(code(sim.cancel("g")), ErrorCode::BadArgument);
    sim.local.not_admitted.insert(game("g"));
    assert_eq!(code(sim.download("g")), ErrorCode::NotInCatalog);
    sim.local.not_admitted.clear();
    sim.local.held.insert(game("g"));
    assert_eq!(code(sim.download("g")), ErrorCode::OperationInProgress);
    sim.local.held.clear();
    sim.disconnect(1);
    assert_eq!(code(sim.download("g")), ErrorCode::NoSources);
    assert_eq!(code(sim.get_game("g").unwrap()), ErrorCode::NoSources);
}

#[test]
fn get_game_asks_the_next_source_when_one_fails() {
    let mut sim = Sim::new(1);
    let game = offer("g", "1", &[MIB, 5], 0);
    sim.peer(1, &game).manifest_override = Some(Err(RunFailure::Timeout));
    assert!(sim.get_game("g").is_none());
    sim.run();
    assert_eq!(code(sim.replies.pop().unwrap().1), ErrorCode::Timeout);
    sim.peer(2, &game);
    sim.get_game("g");
    sim.run();
    let Ok(CommandData::GameFiles(files)) = sim.replies.pop().unwrap().1 else { panic!() };
    assert_eq!((files.files.len(), files.bytes, files.sources.len()), (3, MIB + 25, 2));
    assert!(matches!(sim.log[..], [PeerEvent::GotGameFiles { files: 3, .. }]));
    sim.get_game("g");
    sim.disconnect(1);
    sim.disconnect(2);
    assert_eq!(code(sim.replies.pop().unwrap().1), ErrorCode::NoSources);
}

#[test]
fn only_complete_admitted_games_without_an_operation_are_served() {
    let here = offer("g", "1", &[4 * MIB], 0);
    let request = GetChunks {
        game_id: game("g"),
        manifest_hash: here.summary.manifest_hash,
        content_hash: Some(here.content()),
        first: 0,
        count: 2,
    };
    let answer = |edit: &dyn Fn(&mut Sim, &mut GetChunks)| {
        let mut sim = Sim::new(1);
        sim.local.scanned.insert(game("g"), here.scanned());
        let mut request = request.clone();
        edit(&mut sim, &mut request);
        sim.ask_here(InboundId { conn: ConnId(5), stream: 4 }, Request::GetChunks(request));
        match sim.answers.pop() {
            None => None,
            Some((_, Answer::Error(error))) => Some(error.code),
            Some(other) => panic!("{other:?}"),
        }
    };
    let scanned = |edit: &dyn Fn(&mut crate::types::ScannedGame)| {
        let mut scanned = (*here.scanned()).clone();
        edit(&mut scanned);
        std::sync::Arc::new(scanned)
    };
    let put = |sim: &mut Sim, scanned| drop(sim.local.scanned.insert(game("g"), scanned));
    use WireErrorCode::{BadRequest, Busy, Changed, NotServed};
    assert_eq!(answer(&|_, _| {}), None);
    assert_eq!(answer(&|_, request| request.content_hash = None), None);
    assert_eq!(answer(&|_, request| request.count = 0), Some(BadRequest));
    assert_eq!(answer(&|_, request| (request.first, request.count) = (2, u32::MAX)), Some(BadRequest));
    assert_eq!(answer(&|_, request| request.manifest_hash.0[0] ^= 1), Some(Changed));
    assert_eq!(answer(&|sim, _| put(sim, scanned(&|game| game.content_hash = None))), Some(Changed));
    assert_eq!(
        answer(&|_, request| request.content_hash = Some(offer("g", "1", &[4 * MIB], 1).content())),
        Some(Changed)
    );
    assert_eq!(answer(&|sim, _| put(sim, scanned(&|game| game.downloaded = false))), Some(NotServed));
    assert_eq!(answer(&|sim, _| put(sim, scanned(&|game| game.unportable = Some("NUL".into())))), Some(NotServed));
    assert_eq!(answer(&|sim, _| sim.local.not_admitted.extend([game("g")])), Some(NotServed));
    assert_eq!(answer(&|sim, _| sim.local.scanned.clear()), Some(NotServed));
    assert_eq!(answer(&|sim, _| sim.local.withdrawn.extend([game("g")])), Some(NotServed));
    assert_eq!(answer(&|sim, _| sim.local.held.extend([game("g")])), None, "an installation only reads");
    let begin = |sim: &mut Sim, _: &mut GetChunks| {
        sim.peer(1, &offer("g", "2", &[4 * MIB], 0));
        sim.download("g").unwrap();
    };
    assert_eq!(answer(&begin), Some(NotServed));
    let flood = |sim: &mut Sim, request: &mut GetChunks| {
        for stream in 0..sim.config.limits.inbound_runs_per_peer as u64 {
            let from = InboundId { conn: ConnId(5), stream: 100 + stream };
            sim.ask_here(from, Request::GetChunks(request.clone()));
        }
    };
    assert_eq!(answer(&flood), Some(Busy));
}

#[test]
fn files_are_touched_only_when_nothing_of_them_is_sent_any_more() {
    let here = offer("g", "1", &[4 * MIB], 0);
    let mut sim = Sim::new(1);
    sim.keep_sends = true;
    sim.local.scanned.insert(game("g"), here.scanned());
    let (game_id, manifest_hash) = (game("g"), here.summary.manifest_hash);
    let manifest = Request::GetManifest(GetManifest { game_id, manifest_hash, dirs: true });
    let (one, two) = (InboundId { conn: ConnId(5), stream: 4 }, InboundId { conn: ConnId(6), stream: 4 });
    sim.ask_here(one, manifest.clone());
    sim.ask_here(two, manifest);
    sim.peer(1, &offer("g", "2", &[4 * MIB], 0));
    sim.download("g").unwrap();
    assert_eq!(sim.stops, [game("g")]);
    sim.run();
    assert!(sim.jobs.is_empty(), "two sends are not over");
    sim.end_send(one, true);
    sim.run();
    assert!(sim.jobs.is_empty(), "one send is not over");
    assert!(sim.effects.contains(&Effect::Rescan { game: game("g") }));
    sim.end_send(two, false);
    sim.run();
    finished(&sim);
    assert_eq!(sim.transfers.bytes_sent(), 14);
}

#[test]
fn progress_is_reported_at_its_pace_and_only_when_bytes_moved() {
    let mut sim = Sim::new(1);
    sim.peer(1, &offer("g", "1", &[50 * MIB], 0));
    sim.download("g").unwrap();
    let mut reports: Vec<(Instant, u64, u64)> = Vec::new();
    let mut stalled = false;
    while sim.step() {
        let Some(PeerEvent::DownloadProgress { bytes, bytes_per_second, .. }) = sim.log.last() else { continue };
        if reports.last().is_none_or(|last| last.1 != *bytes) {
            reports.push((sim.now, *bytes, *bytes_per_second));
        }
        if reports.len() == 4 && !std::mem::replace(&mut stalled, true) {
            sim.disconnect(1);
            sim.now += Duration::from_secs(5);
            sim.connect(1);
        }
    }
    finished(&sim);
    let events = sim.log.iter().filter(|event| matches!(event, PeerEvent::DownloadProgress { .. })).count();
    assert_eq!(events, reports.len(), "no report without news");
    assert!((8..=11).contains(&events), "{events}");
    assert!(reports.windows(2).all(|pair| pair[1].0 - pair[0].0 >= sim.config.timers.progress_every));
    assert!((9_000_000..=10_500_000).contains(&reports[3].2), "{reports:?}");
}

#[test]
fn whoever_is_given_priority_is_next() {
    let mut sim = Sim::new(1);
    for id in ["d", "c", "b", "a"] {
        sim.peer(1, &offer(id, "1", &[4 * MIB], 0));
        sim.download(id).unwrap();
    }
    assert_eq!(code(sim.prioritise("c")), ErrorCode::BadArgument, "it runs");
    assert_eq!(code(sim.prioritise("nobody-has-it")), ErrorCode::UnknownGame);
    sim.prioritise("a").unwrap();
    sim.run();
    assert_eq!(began(&sim), ["d", "c", "a", "b"]);
}

#[test]
fn a_limit_is_kept_by_asking_for_less() {
    let rate = 10_000_000;
    let mut sim = Sim::new(1);
    for id in ["a", "b"] {
        sim.peer(1, &offer(id, "1", &[20 * MIB], 0)).rate = 100e6;
        sim.peer(2, &offer(id, "1", &[20 * MIB], 0)).rate = 100e6;
        sim.download(id).unwrap();
    }
    sim.with(|transfers, _| transfers.limit(Some(rate)));
    let begin = sim.now;
    sim.run();
    let took = (sim.now - begin).as_secs_f64();
    let finished = sim.log.iter().filter(|event| matches!(event, PeerEvent::DownloadFinished { .. })).count();
    assert_eq!(finished, 2);
    let at_best = (40 * MIB) as f64 / rate as f64;
    assert!((at_best * 0.8..at_best * 1.3).contains(&took), "{took} s for what takes {at_best} s");
}

fn first_chunk(of: &Offer) -> GetChunks {
    GetChunks {
        game_id: of.summary.id.clone(),
        manifest_hash: of.summary.manifest_hash,
        content_hash: of.summary.content_hash,
        first: 0,
        count: 1,
    }
}

/// A source with slots for 4 runs; asks for a chunk of its game as the peer `conn`.
fn source_of_four() -> (Sim, impl Fn(&mut Sim, u64, u64)) {
    let mut sim = Sim::new(1);
    sim.keep_sends = true;
    sim.config.limits.upload_runs = 4;
    let here = offer("here", "1", &[64 * MIB], 0);
    sim.local.scanned.insert(game("here"), here.scanned());
    let request = first_chunk(&here);
    let ask = move |sim: &mut Sim, conn: u64, stream: u64| {
        sim.ask_here(InboundId { conn: ConnId(conn), stream }, Request::GetChunks(request.clone()));
    };
    (sim, ask)
}

fn error_codes(sim: &Sim) -> Vec<WireErrorCode> {
    let code = |answer: &Answer| match answer {
        Answer::Error(error) => Some(error.code),
        _ => None,
    };
    sim.answers.iter().filter_map(|(_, answer)| code(answer)).collect()
}

#[test]
fn as_many_runs_go_out_as_there_are_slots_and_further_ones_wait_or_are_busy() {
    let (mut sim, ask) = source_of_four();
    for stream in 0..14 {
        ask(&mut sim, 5 + stream % 2, stream);
        assert_eq!(sim.sends.len(), (stream as usize + 1).min(4));
    }
    assert_eq!(error_codes(&sim), [WireErrorCode::Busy; 2], "4 are sent, 8 wait");
    let load = sim.transfers.load(&sim.config);
    assert_eq!((load.uploads, load.uploads_waiting, load.uploads_waiting_limit), (4, 8, 8));
    let mut served = 0;
    while let Some(to) = sim.sends.keys().next().copied() {
        sim.end_send(to, false);
        served += 1;
        assert_eq!(sim.sends.len(), (12 - served).min(4));
    }
    assert_eq!((served, error_codes(&sim).len()), (12, 2));
    assert_eq!(sim.transfers.load(&sim.config).uploads_waiting, 0);
}

#[test]
fn whoever_asks_for_little_is_served_before_the_next_of_those_who_ask_for_much() {
    let (mut sim, ask) = source_of_four();
    for stream in 0..10 {
        ask(&mut sim, 5, stream);
    }
    ask(&mut sim, 6, 0);
    ask(&mut sim, 7, 0);
    let conns = |sim: &Sim| sim.sends.keys().map(|to| to.conn.0).collect::<Vec<_>>();
    assert_eq!(conns(&sim), [5, 5, 5, 5, 6, 7], "the first run of each is beside the slots");
    (0..3).for_each(|stream| sim.end_send(InboundId { conn: ConnId(5), stream }, false));
    assert_eq!(conns(&sim), [5, 5, 6, 7], "the slots are as many as before");
    ask(&mut sim, 7, 1);
    sim.end_send(InboundId { conn: ConnId(5), stream: 3 }, false);
    assert_eq!(conns(&sim), [5, 6, 7, 7]);
}

#[test]
fn downloaders_that_always_want_more_get_the_same() {
    let (mut sim, ask) = source_of_four();
    let mut next = 0;
    let mut want = |sim: &mut Sim, conn: u64| {
        next += 1;
        ask(sim, conn, next);
    };
    // The first has taken all slots before the others come.
    (0..6).for_each(|_| want(&mut sim, 5));
    (0..3).for_each(|_| want(&mut sim, 6));
    (0..3).for_each(|_| want(&mut sim, 7));
    let mut running: std::collections::VecDeque<InboundId> = sim.sends.keys().copied().collect();
    let mut served = [0; 8];
    for _ in 0..300 {
        let over = running.pop_front().unwrap();
        served[over.conn.0 as usize] += 1;
        sim.end_send(over, false);
        want(&mut sim, over.conn.0);
        let begun: Vec<_> = sim.sends.keys().filter(|to| !running.contains(to)).copied().collect();
        running.extend(begun);
        assert!((4..=6).contains(&running.len()), "the slots, and at first one for each beside them");
    }
    assert!(served[5..].iter().all(|served| (90..=110).contains(served)), "{served:?}");
    assert_eq!(error_codes(&sim), []);
}

#[test]
fn what_waits_is_not_sent_when_it_is_not_wanted_or_not_allowed_any_more() {
    let (mut sim, ask) = source_of_four();
    for stream in 0..8 {
        ask(&mut sim, 5 + stream / 4, stream);
    }
    let waiting = InboundId { conn: ConnId(6), stream: 5 };
    sim.with(|transfers, _| {
        transfers.request_gone(waiting);
    });
    // One for the first of the other peer, which was beside the slots.
    (0..2).for_each(|stream| sim.end_send(InboundId { conn: ConnId(5), stream }, false));
    assert!(!sim.sends.contains_key(&waiting) && sim.sends.len() == 4, "the next one is sent in its place");
    sim.local.scanned.clear();
    sim.end_send(InboundId { conn: ConnId(5), stream: 2 }, false);
    assert_eq!((error_codes(&sim), sim.sends.len()), (vec![WireErrorCode::NotServed], 3));
}

#[test]
fn while_paused_nothing_is_asked_for_and_nothing_handed_out() {
    let mut sim = Sim::new(1);
    let here = offer("here", "1", &[4 * MIB], 0);
    sim.local.scanned.insert(game("here"), here.scanned());
    sim.peer(1, &offer("g", "1", &[20 * MIB], 0)).rate = 20e6;
    sim.download("g").unwrap();
    sim.run_until(|sim| sim.written() >= 3);
    sim.with(|transfers, cx| transfers.pause(cx, true));
    // What was asked for lands; then, whatever the time, nothing happens any more.
    let until = sim.now + Duration::from_secs(600);
    while sim.now < until && sim.step() {}
    let so_far = sim.written();
    assert!(so_far < 21 && !sim.log.iter().any(|event| matches!(event, PeerEvent::DownloadFailed { .. })));
    let from = InboundId { conn: ConnId(77), stream: 0 };
    let request = first_chunk(&here);
    sim.ask_here(from, Request::GetChunks(request.clone()));
    assert!(matches!(sim.answers.last(), Some((_, Answer::Error(error))) if error.code == WireErrorCode::Busy));
    sim.with(|transfers, cx| transfers.pause(cx, false));
    sim.ask_here(from, Request::GetChunks(request));
    assert_eq!(sim.sends.len(), 1);
    sim.end_send(from, false);
    sim.run();
    assert_eq!(finished(&sim).len(), 1);
}
