//! Install, update, uninstall, adopt, remove, verify: rules, order of events, the lock.

use super::solo::*;
use super::*;
use crate::api::Operation;
use crate::proto::{GetChunks, WireErrorCode};
use crate::types::{Personal, ProgramAsk, StartedProgram};

fn game(id: &str) -> GameId {
    id.parse().unwrap()
}

fn install(id: &str) -> PeerCommand {
    PeerCommand::Install { game: game(id) }
}

fn uninstall(id: &str) -> PeerCommand {
    PeerCommand::Uninstall { game: game(id) }
}

fn adopt(id: &str) -> PeerCommand {
    PeerCommand::Adopt { game: game(id) }
}

fn remove(id: &str) -> PeerCommand {
    PeerCommand::Remove { game: game(id) }
}

fn verify(id: &str) -> PeerCommand {
    PeerCommand::Verify { game: game(id), repair: false }
}

fn repair(id: &str) -> PeerCommand {
    PeerCommand::Verify { game: game(id), repair: true }
}

fn download(id: &str, install: bool) -> PeerCommand {
    PeerCommand::Download { game: game(id), install, again: false }
}

fn cancel(id: &str) -> PeerCommand {
    PeerCommand::CancelDownload { game: game(id) }
}

/// A downloaded game whose `local/` was installed in this version; `Some("")`: nobody knows in which.
fn installed(id: &str, version: Option<&str>) -> ScannedGame {
    ScannedGame {
        installed: version.is_some(),
        installed_version: version.filter(|version| !version.is_empty()).map(str::to_owned),
        ..scanned(id, "2", 10)
    }
}

fn code(outputs: &[Output]) -> Option<ErrorCode> {
    match &replies(outputs)[..] {
        [Ok(CommandData::Accepted(accepted))] => {
            assert!(!accepted.queued);
            None
        }
        [Err(error)] => {
            assert!(!error.message.is_empty());
            Some(error.code)
        }
        other => panic!("{other:?}"),
    }
}

/// The command whose operation ends with this event.
fn ended(event: &PeerEvent) -> Option<&'static str> {
    match event {
        PeerEvent::DownloadFinished { .. } | PeerEvent::DownloadFailed { .. } => Some("download"),
        PeerEvent::InstallFinished { .. } | PeerEvent::InstallFailed { .. } => Some("install"),
        PeerEvent::UninstallFinished { .. } | PeerEvent::UninstallFailed { .. } => Some("uninstall"),
        PeerEvent::AdoptFinished { .. } | PeerEvent::AdoptFailed { .. } => Some("adopt"),
        PeerEvent::RemoveFinished { .. } | PeerEvent::RemoveFailed { .. } => Some("remove"),
        PeerEvent::VerifyFinished { .. } | PeerEvent::VerifyFailed { .. } => Some("verify"),
        _ => None,
    }
}

/// A game and how its operation ended; `None`: no terminal event.
fn terminal(event: &PeerEvent) -> Option<(&GameId, Result<(), ErrorCode>)> {
    match event {
        PeerEvent::DownloadFinished { game, .. }
        | PeerEvent::InstallFinished { game, .. }
        | PeerEvent::UninstallFinished { game, .. }
        | PeerEvent::AdoptFinished { game }
        | PeerEvent::RemoveFinished { game }
        | PeerEvent::VerifyFinished { game, .. } => Some((game, Ok(()))),
        PeerEvent::DownloadFailed { game, code, .. }
        | PeerEvent::InstallFailed { game, code, .. }
        | PeerEvent::UninstallFailed { game, code, .. }
        | PeerEvent::AdoptFailed { game, code, .. }
        | PeerEvent::RemoveFailed { game, code, .. }
        | PeerEvent::VerifyFailed { game, code, .. } => Some((game, Err(*code))),
        _ => None,
    }
}

fn rows(event: &PeerEvent) -> Option<Vec<Operation>> {
    match event {
        PeerEvent::ActiveOperationsChanged { operations } => Some(operations.iter().map(|row| row.operation).collect()),
        _ => None,
    }
}

fn changed(id: &str, result: Result<Option<ScannedGame>, JobErrorKind>) -> Input {
    let result = result.map(|found| found.map(Arc::new)).map_err(|kind| JobError::new(kind, "injected"));
    Input::JobDone(JobDone::FilesChanged { game: game(id), result, kept: KeptFiles::default() })
}

fn looked(id: &str, found: Option<ScannedGame>) -> Input {
    Input::JobDone(JobDone::GameScanned { game: game(id), result: Ok(found.map(Arc::new)) })
}

#[test]
fn a_command_that_cannot_be_obeyed_says_why_and_changes_nothing() {
    use ErrorCode::{AlreadyInstalled, InUse, NotDownloaded, NotInstalled, UnknownGame};
    let half = ScannedGame { downloaded: false, eti_version: None, ..scanned("g", "2", 10) };
    let orphan = ScannedGame { downloaded: false, eti_version: None, ..installed("g", Some("2")) };
    let empty = ScannedGame { size: 0, ..half.clone() };
    let lone = ScannedGame { size: 0, ..orphan.clone() };
    let cases = [
        (None, [Some(UnknownGame); 4]),
        (Some(installed("g", None)), [None, Some(NotInstalled), None, None]),
        (Some(installed("g", Some("2"))), [Some(AlreadyInstalled), None, Some(InUse), None]),
        (Some(installed("g", Some("1"))), [None, None, Some(InUse), None]),
        (Some(installed("g", Some(""))), [None, None, Some(InUse), None]),
        // What a download left can be removed.
        (Some(half), [Some(NotDownloaded), Some(NotInstalled), None, Some(NotDownloaded)]),
        (Some(orphan), [Some(NotDownloaded), None, Some(InUse), Some(NotDownloaded)]),
        (Some(empty), [Some(NotDownloaded), Some(NotInstalled), Some(NotDownloaded), Some(NotDownloaded)]),
        (Some(lone), [Some(NotDownloaded), None, Some(NotDownloaded), Some(NotDownloaded)]),
    ];
    for (here, expected) in cases {
        for (command, expected) in [install("g"), uninstall("g"), remove("g"), verify("g")].into_iter().zip(expected) {
            let mut solo = Solo::new(here.as_slice(), None);
            let outputs = solo.command(command.clone());
            assert_eq!(code(&outputs), expected, "{command:?} with {here:?}");
            let refused = expected.is_some();
            assert_eq!(outputs.len() == 1, refused, "{outputs:?}");
            assert_eq!(solo.status().operations.is_empty(), refused);
            if !refused {
                for another in [install("g"), uninstall("g"), remove("g"), verify("g"), download("g", true)] {
                    assert_eq!(code(&solo.command(another)), Some(ErrorCode::OperationInProgress));
                }
                let switch = PeerCommand::SetGameDir { path: PathBuf::from("/other") };
                assert_eq!(code(&solo.command(switch)), Some(ErrorCode::OperationInProgress));
            }
        }
    }
    let (mut solo, _) = in_step_with(&[summary("g", 10)]);
    for command in [install("g"), remove("g"), verify("g"), repair("g")] {
        assert_eq!(code(&solo.command(command)), Some(NotDownloaded), "only a peer has it");
    }
    assert_eq!(code(&solo.command(uninstall("g"))), Some(NotInstalled));
    let mut solo = Solo::new(&[installed("g", None)], None);
    assert_eq!(code(&solo.command(cancel("g"))), Some(ErrorCode::BadArgument), "nothing runs");
}

#[test]
fn an_installation_runs_from_its_command_to_a_state_that_others_know() {
    let mut solo = Solo::new(&[installed("g", None)], None);
    let outputs = solo.command(install("g"));
    assert_eq!(outputs[1..3], [Output::Unwatch { game: game("g") }, outputs[2].clone()]);
    assert_eq!(events(&outputs).first().and_then(|event| rows(event)), Some(vec![Operation::Installing]));
    assert_eq!(events(&outputs)[1], &PeerEvent::InstallBegin { game: game("g") });
    assert_eq!(jobs(&outputs), [&Job::Install { game: game("g"), personal: Personal::default() }]);
    assert!(solo.feed(Input::FsChanged { game: game("g") }).is_empty());
    assert!(!jobs(&solo.pass(Duration::from_secs(1))).iter().any(|job| matches!(job, Job::ScanGame { .. })));

    let outputs = solo.feed(changed("g", Ok(Some(installed("g", Some("2"))))));
    assert!(outputs.contains(&Output::Watch { game: game("g") }));
    assert_eq!(events(&outputs).iter().filter_map(|event| rows(event)).collect::<Vec<_>>(), [vec![]]);
    assert!(!events(&outputs).iter().any(|event| terminal(event).is_some()), "its revision is not durable yet");
    let [index] = &saves(&outputs)[..] else { panic!("{outputs:?}") };
    let outputs = solo.saved(index, Ok(()));
    assert_eq!(
        events(&outputs).last(),
        Some(&&PeerEvent::InstallFinished { game: game("g"), carried_over: 0, kept_aside: Vec::new(), kept_in: None })
    );
    assert_eq!(code(&solo.command(install("g"))), Some(ErrorCode::AlreadyInstalled));
    let outputs = solo.pass(Duration::from_secs(1));
    let scan = |job: &&Job| matches!(job, Job::ScanGame { .. });
    assert_eq!(jobs(&outputs).into_iter().filter(scan).count(), 1, "what changed before the watch is found");
}

#[test]
fn a_failed_job_is_looked_after_before_its_end_is_told() {
    for stale_scan in [false, true] {
        let mut solo = Solo::new(&[installed("g", None)], None);
        if stale_scan {
            solo.feed(Input::FsChanged { game: game("g") });
            let outputs = solo.pass(Duration::from_millis(500));
            assert!(jobs(&outputs).iter().any(|job| matches!(job, Job::ScanGame { .. })));
        }
        let outputs = solo.command(remove("g"));
        assert!(outputs.contains(&Output::StopSending { game: game("g") }));
        assert!(jobs(&outputs).contains(&&Job::RemoveFiles { game: game("g") }));
        let mut outputs = solo.feed(changed("g", Err(JobErrorKind::InUse)));
        if stale_scan {
            assert_eq!(outputs, [], "the look that began before it would answer for the one after it");
            outputs = solo.feed(looked("g", Some(installed("g", None))));
        }
        assert_eq!(outputs, [Output::Job(Job::ScanGame { game: game("g"), known: None })]);
        assert_eq!(solo.status().operations.len(), 1);
        // The sentinel went before the files that could not be removed.
        let rest = ScannedGame { downloaded: false, eti_version: None, ..installed("g", None) };
        let mut outputs = solo.feed(looked("g", Some(rest)));
        assert!(!events(&outputs).iter().any(|event| terminal(event).is_some()));
        let index = saves(&outputs).pop().unwrap();
        assert!(!index.games[0].downloaded);
        outputs = solo.saved(&index, Ok(()));
        let ends: Vec<_> = events(&outputs).into_iter().filter_map(terminal).collect();
        assert_eq!(ends, [(&game("g"), Err(ErrorCode::InUse))]);
        assert_eq!(code(&solo.command(remove("g"))), None, "what is left can be removed");
    }
}

/// A connected peer asks for a chunk of a game.
fn ask_for(solo: &mut Solo, conn: ConnId, here: &ScannedGame) -> Vec<Output> {
    let request = GetChunks {
        game_id: here.id.clone(),
        manifest_hash: here.manifest_hash,
        content_hash: None,
        first: 0,
        count: 1,
    };
    solo.ask(conn, Request::GetChunks(request))
}

fn sent_to(outputs: &[Output]) -> Option<InboundId> {
    outputs.iter().find_map(|output| if let Output::SendChunks { to, .. } = output { Some(*to) } else { None })
}

fn is_refused(outputs: &[Output]) -> bool {
    matches!(answers(outputs)[..], [Answer::Error(error)] if error.code == WireErrorCode::NotServed)
}

#[test]
fn files_are_removed_only_when_nothing_of_them_is_sent_any_more() {
    for end in ["send done", "connection lost", "cancelled", "shutdown"] {
        let here = installed("g", None);
        let mut solo = Solo::new(std::slice::from_ref(&here), None);
        let (conn, _) = solo.accepted(1, empty());
        let to = sent_to(&ask_for(&mut solo, conn, &here)).expect("it is served");
        let outputs = solo.command(remove("g"));
        assert!(outputs.contains(&Output::StopSending { game: game("g") }) && jobs(&outputs).is_empty());
        assert!(is_refused(&ask_for(&mut solo, conn, &here)));
        let outputs = match end {
            "send done" => solo.feed(Input::SendDone { to, bytes: 1, changed: false }),
            "connection lost" => solo.feed(Input::ConnectionDown { conn, code: None, reason: "lost".to_owned() }),
            "cancelled" => solo.command(cancel("g")),
            _ => solo.command(PeerCommand::Shutdown),
        };
        let begun = jobs(&outputs).contains(&&Job::RemoveFiles { game: game("g") });
        let ends: Vec<_> = events(&outputs).into_iter().filter_map(terminal).collect();
        if matches!(end, "cancelled" | "shutdown") {
            assert_eq!((begun, ends), (false, vec![(&game("g"), Err(ErrorCode::Cancelled))]), "{end}");
        } else {
            assert_eq!((begun, ends), (true, vec![]), "{end}");
        }
    }
}

#[test]
fn a_game_is_served_while_it_is_only_read_and_no_longer_when_it_is_found_damaged() {
    let here = installed("g", None);
    let mut solo = Solo::new(std::slice::from_ref(&here), None);
    let (conn, _) = solo.accepted(1, empty());
    let outputs = solo.command(verify("g"));
    assert_eq!(jobs(&outputs), [&Job::VerifyFiles { game: game("g"), manifest_hash: here.manifest_hash }]);
    assert!(sent_to(&ask_for(&mut solo, conn, &here)).is_some());
    let content_hash = ContentHash([7; 32]);
    let result =
        Ok(VerifiedFiles { bad: vec![ChunkIndex(3), ChunkIndex(5)], missing_dirs: vec![], chunks: 9, content_hash });
    let outputs = solo.feed(Input::JobDone(JobDone::FilesVerified { game: game("g"), result }));
    assert!(outputs.contains(&Output::StopSending { game: game("g") }));
    assert!(is_refused(&ask_for(&mut solo, conn, &here)), "before anybody has looked at it again");
    let damaged = ScannedGame { downloaded: false, eti_version: None, ..here.clone() };
    let outputs = solo.feed(looked("g", Some(damaged)));
    let index = saves(&outputs).pop().unwrap();
    let outputs = solo.saved(&index, Ok(()));
    let finished = PeerEvent::VerifyFinished { game: game("g"), bad_chunks: 2, missing_dirs: 0, chunks: 9 };
    assert_eq!(events(&outputs).last(), Some(&&finished));
    assert!(is_refused(&ask_for(&mut solo, conn, &here)));
}

#[test]
fn progress_is_reported_at_its_pace_and_shown_in_the_list() {
    let mut solo = Solo::new(&[installed("g", None), installed("h", None)], None);
    solo.command(install("g"));
    solo.command(verify("h"));
    let mut reports = 0;
    for done in 0..100 {
        let mut outputs = solo.feed(Input::JobProgress { game: game("g"), done, total: 100 });
        outputs.extend(solo.feed(Input::JobProgress { game: game("h"), done, total: 100 }));
        let progress = |event: &&&PeerEvent| matches!(event, PeerEvent::InstallProgress { bytes, total: 100, .. } | PeerEvent::VerifyProgress { bytes, total: 100, .. } if *bytes == done);
        reports += events(&outputs).iter().filter(progress).count();
        solo.pass(Duration::from_millis(50));
    }
    assert_eq!(reports, 2 * 10, "each twice a second over five seconds");
    let Ok(CommandData::Games(list)) = replies(&solo.command(PeerCommand::ListGames)).remove(0) else { panic!() };
    let row = |n: usize| (list.games[n].operation, list.games[n].progress);
    assert_eq!(row(0), (Some(Operation::Installing), Some(0.99)));
    assert_eq!(row(1), (Some(Operation::Verifying), Some(0.99)));
    // Of a job that claims more than there is, or of none at all.
    solo.feed(Input::JobProgress { game: game("g"), done: 7, total: 0 });
    solo.feed(Input::JobProgress { game: game("x"), done: 7, total: 7 });
    let Ok(CommandData::Games(list)) = replies(&solo.command(PeerCommand::ListGames)).remove(0) else { panic!() };
    assert_eq!((list.games.len(), list.games[0].progress), (2, Some(0.0)));
}

/// Two nodes in step; the first one has these games.
fn pair(seed: u64, games: &[&str]) -> World {
    let mut world = World::new(seed, 2);
    games.iter().for_each(|game| world.write_game(0, game, "1", 3_000_000));
    (0..2).for_each(|n| world.start(n));
    world.run(Duration::from_secs(1));
    world.sight_all();
    assert!(world.run_until(|world| world.in_step(&[0, 1])));
    world.run(Duration::from_secs(5));
    world
}

fn row(world: &mut World, n: usize, id: u64, of: &str) -> crate::api::GameRow {
    world.command(n, id, PeerCommand::ListGames);
    let Ok(CommandData::Games(list)) = &world.nodes[n].replies[&id] else { panic!() };
    list.games.iter().find(|row| row.id.as_str() == of).unwrap().clone()
}

fn ends(world: &World, n: usize) -> Vec<Result<(), ErrorCode>> {
    world.nodes[n].events.iter().filter_map(terminal).map(|(_, end)| end).collect()
}

#[test]
fn a_download_passes_its_game_on_to_the_installation_without_a_gap() {
    let mut world = pair(1, &["quake"]);
    let first = world.nodes[1].events.len();
    world.command(1, 1, download("quake", true));
    let mut id = 1;
    while ends(&world, 1).len() < 2 {
        assert!(world.step());
        id += 1;
        if world.nodes[1].engine.as_ref().unwrap().query().operation(&game("quake")).is_some() {
            world.command(1, id, [install("quake"), remove("quake"), verify("quake")][id as usize % 3].clone());
            let refusal = world.nodes[1].replies[&id].as_ref().unwrap_err();
            assert_eq!(refusal.code, ErrorCode::OperationInProgress);
        }
    }
    assert_eq!(ends(&world, 1), [Ok(()), Ok(())]);
    let events = &world.nodes[1].events[first..];
    let lists: Vec<_> = events.iter().filter_map(rows).collect();
    assert_eq!(lists, [vec![Operation::Downloading], vec![Operation::Installing], vec![]]);
    let at = |wanted: &dyn Fn(&PeerEvent) -> bool| events.iter().position(wanted).unwrap();
    let downloaded = at(&|event| matches!(event, PeerEvent::DownloadFinished { .. }));
    let begun = at(&|event| matches!(event, PeerEvent::InstallBegin { .. }));
    assert_eq!(begun, downloaded + 1);
    assert!(begun < at(&|event| matches!(event, PeerEvent::InstallProgress { .. })));
    let row = row(&mut world, 1, 1_000, "quake");
    assert!(row.downloaded && row.installed && row.operation.is_none());
    assert!(world.nodes[1].watched.contains(&game("quake")));

    // It is all here: a second command fetches and installs nothing.
    let events = world.nodes[1].events.len();
    world.command(1, 2_000, download("quake", true));
    world.run(Duration::from_secs(2));
    let news: Vec<_> = world.nodes[1].events[events..].iter().filter_map(terminal).collect();
    assert_eq!(news, [(&game("quake"), Ok(()))]);

    // Uninstalled, the same command installs again, and only that.
    world.command(1, 2_001, uninstall("quake"));
    assert!(world.run_until(|world| ends(world, 1).len() == 4));
    let events = world.nodes[1].events.len();
    world.command(1, 2_002, download("quake", true));
    assert!(world.run_until(|world| ends(world, 1).len() == 6));
    let lists: Vec<_> = world.nodes[1].events[events..].iter().filter_map(rows).collect();
    assert_eq!(lists, [vec![Operation::Installing], vec![]]);

    // A new version is installed over the old one.
    world.write_game(0, "quake", "2", 4_000_000);
    world.run(Duration::from_secs(5));
    let events = world.nodes[1].events.len();
    world.command(1, 2_003, download("quake", true));
    assert!(world.run_until(|world| ends(world, 1).len() == 8));
    let lists: Vec<_> = world.nodes[1].events[events..].iter().filter_map(rows).collect();
    assert_eq!(lists, [vec![Operation::Downloading], vec![Operation::Updating], vec![]]);
}

#[test]
fn a_repair_passes_its_game_from_the_verification_to_the_download_without_a_gap() {
    for failing_saves in [0, 60] {
        let mut world = pair(1, &["quake"]);
        world.command(1, 1, download("quake", false));
        assert!(world.run_until(|world| ends(world, 1).len() == 1));
        world.run(Duration::from_secs(5));
        world.failing_saves = failing_saves;
        world.nodes[1].bad_chunks = vec![ChunkIndex(0)];
        let first = world.nodes[1].events.len();
        world.command(1, 2, repair("quake"));
        let mut id = 2;
        while ends(&world, 1).len() < 3 {
            assert!(world.step());
            id += 1;
            if world.nodes[1].engine.as_ref().unwrap().query().operation(&game("quake")).is_some() {
                let commands = [install("quake"), remove("quake"), verify("quake"), download("quake", true)];
                world.command(1, id, commands[id as usize % 4].clone());
                let refusal = world.nodes[1].replies[&id].as_ref().unwrap_err();
                assert_eq!(refusal.code, ErrorCode::OperationInProgress);
            }
        }
        assert_eq!(ends(&world, 1), [Ok(()), Ok(()), Ok(())]);
        let events = &world.nodes[1].events[first..];
        let lists: Vec<_> = events.iter().filter_map(rows).collect();
        let expected =
            [Operation::Verifying, Operation::Queued, Operation::Downloading].map(|operation| vec![operation]);
        assert_eq!(lists, [expected.as_slice(), &[vec![]]].concat());
        let at = |wanted: &dyn Fn(&PeerEvent) -> bool| events.iter().position(wanted).unwrap();
        let verified = at(&|event| matches!(event, PeerEvent::VerifyFinished { bad_chunks: 1, .. }));
        assert!(verified < at(&|event| matches!(event, PeerEvent::DownloadBegin { .. })));
        world.failing_saves = 0;
        world.run(Duration::from_secs(20));
        let row = row(&mut world, 1, 1_000_000, "quake");
        assert!(row.downloaded && row.operation.is_none());
        assert!(world.nodes[1].watched.contains(&game("quake")));
    }
}

#[test]
fn nothing_of_a_repair_begins_before_the_end_of_its_verification_is_told() {
    for saved in [true, false] {
        let here = installed("g", None);
        let mut solo = Solo::new(std::slice::from_ref(&here), None);
        solo.command(repair("g"));
        let verified = VerifiedFiles {
            bad: vec![ChunkIndex(4)],
            missing_dirs: vec![],
            chunks: 9,
            content_hash: ContentHash([7; 32]),
        };
        solo.feed(Input::JobDone(JobDone::FilesVerified { game: game("g"), result: Ok(verified) }));
        let damaged = ScannedGame { downloaded: false, eti_version: None, ..here };
        let outputs = solo.feed(looked("g", Some(damaged)));
        assert_eq!(events(&outputs).iter().filter_map(|event| rows(event)).collect::<Vec<_>>(), [[Operation::Queued]]);
        let [index] = &saves(&outputs)[..] else { panic!("{outputs:?}") };
        assert!(!index.games[0].downloaded);
        // Also when its revision cannot be saved.
        let error = JobError::new(JobErrorKind::DiskFull, "injected");
        let outputs = solo.saved(index, if saved { Ok(()) } else { Err(error) });
        let told = events(&outputs);
        let at = |wanted: &dyn Fn(&PeerEvent) -> bool| told.iter().position(|event| wanted(event)).unwrap();
        let end = at(&|event| matches!(event, PeerEvent::VerifyFinished { bad_chunks: 1, chunks: 9, .. }));
        assert!(end < at(&|event| rows(event) == Some(vec![Operation::Downloading])), "{told:?}");
        assert_eq!(code(&solo.command(download("g", true))), Some(ErrorCode::OperationInProgress));
    }
}

#[test]
fn a_repair_of_a_good_game_is_a_verification() {
    let here = installed("g", None);
    let mut solo = Solo::new(std::slice::from_ref(&here), None);
    solo.command(repair("g"));
    let verified = VerifiedFiles { bad: vec![], missing_dirs: vec![], chunks: 9, content_hash: ContentHash([7; 32]) };
    solo.feed(Input::JobDone(JobDone::FilesVerified { game: game("g"), result: Ok(verified) }));
    let outputs = solo.feed(looked("g", Some(here)));
    assert!(events(&outputs).iter().any(|event| matches!(event, PeerEvent::VerifyFinished { bad_chunks: 0, .. })));
    assert!(solo.status().operations.is_empty());
}

#[test]
fn what_somebody_else_put_into_local_is_not_replaced_by_a_download_that_fetches_nothing() {
    let mut solo = Solo::new(&[installed("g", Some(""))], None);
    let outputs = solo.command(download("g", true));
    assert!(jobs(&outputs).is_empty() && solo.status().operations.is_empty(), "{outputs:?}");
    let mut solo = Solo::new(&[installed("g", Some("1"))], None);
    let outputs = solo.command(download("g", true));
    assert!(
        jobs(&outputs).contains(&&Job::Install { game: game("g"), personal: Personal::default() }),
        "an older one of ours is"
    );
}

#[test]
fn a_cancel_at_any_moment_ends_each_operation_in_one_terminal_event() {
    for shutdown in [false, true] {
        let (mut stopped_downloads, mut stopped_installs, mut too_late) = (0, 0, 0);
        for steps in 0.. {
            let mut world = pair(7, &["quake"]);
            world.command(1, 1, download("quake", true));
            (0..steps).for_each(|_| assert!(world.step()));
            if ends(&world, 1).len() == 2 {
                let counts = (stopped_downloads, stopped_installs, too_late);
                assert!(stopped_downloads > 5 && stopped_installs > 0, "{counts:?}");
                break;
            }
            world.command(1, 2, if shutdown { PeerCommand::Shutdown } else { cancel("quake") });
            if shutdown {
                assert!(world.run_until(|world| world.nodes[1].engine.is_none()), "after {steps} steps");
            } else {
                world.run(Duration::from_secs(20));
                let engine = world.nodes[1].engine.as_ref().unwrap();
                assert!(
                    !engine.query().operations_run() && engine.query().operation_rows().is_empty(),
                    "after {steps} steps"
                );
            }
            match ends(&world, 1)[..] {
                [Err(ErrorCode::Cancelled)] => stopped_downloads += 1,
                [Ok(()), Err(ErrorCode::Cancelled)] => stopped_installs += 1,
                // The daemon stopped while the download was being committed: nothing is installed any more.
                [Ok(())] if shutdown => too_late += 1,
                [Ok(()), Ok(())] => too_late += 1,
                ref other => panic!("after {steps} steps: {other:?}"),
            }
            // Refused only when everything was over but for the event that waits for its revision.
            let refused = world.nodes[1].replies[&2].is_err();
            assert!(!refused || ends(&world, 1)[..] == [Ok(()), Ok(())], "after {steps} steps");
            assert!(world.nodes[1].at_work.is_empty());
        }
    }
}

#[test]
fn whatever_is_commanded_a_game_has_one_operation_and_each_ends_once() {
    // OPERATIONS_SEED=n repeats one run; OPERATIONS_SEEDS=n makes so many. The world itself asserts that no two jobs are at
    // work on one game, that it is not watched meanwhile, and that nothing of it is sent while it is removed.
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = number("OPERATIONS_SEED").map_or(0..number("OPERATIONS_SEEDS").unwrap_or(60), |seed| seed..seed + 1);
    let many = seeds.end - seeds.start;
    let mut tally = BTreeMap::new();
    for seed in seeds {
        eprintln!("OPERATIONS_SEED={seed}");
        random_commands(seed, &mut tally);
    }
    assert!(many == 1 || tally.len() == 6 && tally.values().all(|ends| *ends > 20), "{tally:?}");
}

fn random_commands(seed: u64, tally: &mut BTreeMap<&'static str, usize>) {
    let games = ["a", "b", "c"];
    let mut world = pair(seed, &games);
    world.failing_saves = 5;
    let mut commanded: Vec<(usize, u64, &'static str)> = Vec::new();
    for id in 10..160 {
        let (n, of) = (world.random(2) as usize, games[world.random(3) as usize]);
        let command = match world.random(9) {
            0 => install(of),
            1 => uninstall(of),
            2 => remove(of),
            // A repair begins a download that nobody has commanded; the other node keeps the count.
            3 if n == 0 => verify(of),
            3 => repair(of),
            4 | 5 => download(of, true),
            6 => download(of, false),
            7 => adopt(of),
            _ => cancel(of),
        };
        commanded.push((n, id, command.name()));
        world.command(n, id, command);
        if world.random(10) == 0 {
            let kinds = [JobErrorKind::DiskFull, JobErrorKind::BadArchive, JobErrorKind::InUse, JobErrorKind::Changed];
            world.nodes[n].job_error = Some(kinds[world.random(4) as usize]);
        }
        world.nodes[n].bad_chunks = if world.random(4) == 0 { vec![ChunkIndex(0)] } else { Vec::new() };
        if world.random(20) == 0 {
            world.break_links(0, 1);
            world.sight_all();
        }
        if world.random(10) == 0 {
            world.input(n, Input::FsChanged { game: game(of) });
        }
        let pause = Duration::from_millis(world.random(120));
        world.run(pause);
        for node in &world.nodes {
            let engine = node.engine.as_ref().unwrap();
            let rows = engine.query().operation_rows();
            assert!(rows.windows(2).all(|pair| pair[0].game < pair[1].game), "seed {seed}: {rows:?}");
            assert!(node.at_work.keys().all(|game| rows.iter().any(|row| row.game == *game)), "seed {seed}");
        }
    }
    world.failing_saves = 0;
    world.run(Duration::from_secs(120));
    for (n, node) in world.nodes.iter().enumerate() {
        let engine = node.engine.as_ref().unwrap();
        assert!(!engine.query().operations_run() && engine.parked.is_empty(), "seed {seed}");
        let last = node.events.iter().filter_map(rows).next_back();
        assert!(last.is_none_or(|rows| rows.is_empty()), "seed {seed}");
        for kind in ["download", "install", "uninstall", "adopt", "remove", "verify"] {
            let ends = node.events.iter().filter(|event| ended(event) == Some(kind)).count();
            let of_kind = commanded.iter().filter(|(of, _, name)| (*of, *name) == (n, kind));
            let accepted = of_kind.filter(|(_, id, _)| node.replies[id].is_ok()).count();
            if kind == "install" {
                // One that follows a download has no command of its own.
                let begun = |event: &&PeerEvent| matches!(event, PeerEvent::InstallBegin { .. });
                let begun = node.events.iter().filter(begun).count();
                assert!(ends == begun && accepted <= begun, "seed {seed}: {accepted} {begun} {ends}");
            } else {
                let damaged = |event: &&PeerEvent| matches!(event, PeerEvent::VerifyFinished { bad_chunks: 1.., .. });
                let repairs = node.events.iter().filter(damaged).count();
                let taken_over = if kind == "download" && n == 1 { repairs } else { 0 };
                assert_eq!(ends, accepted + taken_over, "seed {seed}: each {kind} ends once");
            }
            tally.insert(kind, tally.get(kind).unwrap_or(&0) + ends);
        }
        for (id, here) in &node.disk.games {
            let known = &engine.cx.disk.games()[id];
            assert_eq!((known.downloaded, known.installed), (here.downloaded, here.installed), "seed {seed}");
            assert!(node.watched.contains(id), "seed {seed}");
        }
        assert_eq!(engine.cx.disk.games().len(), node.disk.games.len(), "seed {seed}");
    }
}

#[test]
fn programs_are_started_of_installed_games_on_which_nothing_runs() {
    let mut solo = Solo::with(&[installed("here", Some("2")), scanned("there", "2", 10)], None, |_| {});
    let play = |id: &str| PeerCommand::Play { game: game(id) };
    assert_eq!(code(&solo.command(play("there"))), Some(ErrorCode::NotInstalled));
    assert_eq!(code(&solo.command(play("nowhere"))), Some(ErrorCode::UnknownGame));
    let outputs = solo.command(play("here"));
    let [Job::Programs { token, ask: ProgramAsk::Play, .. }] = jobs(&outputs)[..] else { panic!("{outputs:?}") };
    assert!(replies(&outputs).is_empty(), "the answer waits for the worker");
    let program: RelPath = "doom.exe".parse().unwrap();
    let answer = ProgramAnswer::Started(StartedProgram { game: game("here"), program });
    let outputs = solo.feed(Input::JobDone(JobDone::Programs { token: *token, result: Ok(answer) }));
    assert!(
        matches!(&replies(&outputs)[..], [Ok(CommandData::Started(started))] if started.program.as_str() == "doom.exe")
    );
    solo.command(uninstall("here"));
    assert_eq!(code(&solo.command(play("here"))), Some(ErrorCode::OperationInProgress));
}

#[test]
fn a_newer_version_at_a_peer_is_named_in_the_row_of_a_complete_game() {
    let mut world = World::new(11, 2);
    world.write_game(0, "doom", "1", 10);
    world.write_game(1, "doom", "2", 10);
    (0..2).for_each(|n| world.start(n));
    world.sight_all();
    let hashed = |world: &World, n: usize| world.nodes[n].disk.games[&game("doom")].content_hash.is_some();
    assert!(world.run_until(|world| world.in_step(&[0, 1]) && hashed(world, 0) && hashed(world, 1)));
    let newest = |world: &mut World, n, id| row(world, n, id, "doom").newest_version;
    assert_eq!(newest(&mut world, 0, 900).as_deref(), Some("2"));
    assert_eq!(newest(&mut world, 1, 901), None);
}
