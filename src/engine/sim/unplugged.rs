//! Drives that are pulled while their daemon runs, and plugged in again. What was durable on them stays.

use super::*;
use crate::api::{ErrorCode, Operation};

pub(super) fn gone() -> JobError {
    JobError::new(JobErrorKind::DirectoryGone, "pulled")
}

impl Node {
    /// Whether a job is to open or to look for a directory whose drive is not there.
    fn is_named(&self, job: &Job) -> bool {
        matches!(job, Job::OpenLibrary { dir } | Job::LookForLibrary { dir, .. } if self.unplugged.contains(dir))
    }
}

impl World {
    /// The drive of a game directory is pulled: whatever is done there fails from now on.
    pub(super) fn unplug(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.unplugged.insert(node.dir.clone());
    }

    /// All of a PC's drives are there.
    pub(super) fn plug(&mut self, n: usize) {
        self.nodes[n].unplugged.clear();
    }

    pub(super) fn is_unplugged(&self, n: usize) -> bool {
        self.nodes[n].unplugged.contains(&self.nodes[n].dir)
    }

    /// A job has failed because the drive is not there: its worker says so, and then that the directory is gone.
    pub(super) fn fail_unplugged(&mut self, n: usize, done: JobDone) {
        self.later(n, Input::JobDone(done));
        // Nobody says it of a directory that was only to be opened.
        if self.is_unplugged(n) {
            self.later(n, Input::DirectoryGone { reason: gone().message });
        }
    }

    /// What becomes of a job where the drive of the game directory is not there; `None`: it does not need it.
    pub(super) fn done_unplugged(&mut self, n: usize, job: &Job) -> Option<JobDone> {
        let is_gone = self.is_unplugged(n) || self.nodes[n].is_named(job);
        let node = &mut self.nodes[n];
        let error = gone();
        if !is_gone {
            return None;
        }
        Some(match job {
            Job::OpenLibrary { dir } if node.unplugged.contains(dir) => JobDone::LibraryOpened(Err(error)),
            Job::LookForLibrary { dir, .. } if node.unplugged.contains(dir) => JobDone::LibraryLookedFor(Err(error)),
            Job::ScanGame { game, .. } => JobDone::GameScanned { game: game.clone(), result: Err(error) },
            Job::ScanAll { .. } => JobDone::AllScanned(Err(error)),
            Job::SaveIndex { index } => JobDone::IndexSaved { stamp: index.stamp(), result: Err(error) },
            Job::HashGame { game, manifest_hash, .. } => {
                JobDone::GameHashed { game: game.clone(), manifest_hash: *manifest_hash, result: Err(error) }
            }
            Job::PrepareDownload { download, plan } => {
                node.at_work.remove(&plan.game);
                node.plans.insert(*download, plan.clone());
                JobDone::DownloadPrepared { download: *download, result: Err(error) }
            }
            Job::LearnContent { download, .. } => JobDone::ContentLearned { download: *download, result: Err(error) },
            Job::CommitDownload { download } => JobDone::DownloadCommitted { download: *download, result: Err(error) },
            Job::AbandonDownload { download, .. } => {
                node.plans.remove(download);
                JobDone::DownloadAbandoned { download: *download, result: Err(error) }
            }
            Job::Programs { token, .. } => JobDone::Programs { token: *token, result: Err(error) },
            Job::Install { game, .. } | Job::Uninstall { game } | Job::Adopt { game } | Job::RemoveFiles { game } => {
                node.at_work.remove(game);
                JobDone::FilesChanged { game: game.clone(), result: Err(error), kept: KeptFiles::default() }
            }
            Job::VerifyFiles { game, .. } => {
                node.at_work.remove(game);
                JobDone::FilesVerified { game: game.clone(), result: Err(error) }
            }
            Job::Diagnose { .. }
            | Job::Resolve { .. }
            | Job::OpenLibrary { .. }
            | Job::LookForLibrary { .. }
            | Job::CloseLibrary => {
                return None;
            }
        })
    }
}

/// Two PCs, of which the first has a game; some time has passed.
fn pair() -> World {
    let mut world = World::new(7, 2);
    world.write_game(0, "doom", "1", 3 * CHUNK_SIZE);
    (0..2).for_each(|n| world.start(n));
    world.sight_all();
    assert!(world.run_until(|world| world.in_step(&[0, 1]) && world.nodes[0].disk.index.is_some()));
    world.run(Duration::from_secs(60));
    world
}

fn told(world: &World, n: usize) -> Vec<&'static str> {
    let name = |event: &PeerEvent| match event {
        PeerEvent::GameDirectoryGone { .. } => Some("gone"),
        PeerEvent::GameDirectoryBack { .. } => Some("back"),
        PeerEvent::RuntimeError { .. } => Some("error"),
        _ => None,
    };
    world.nodes[n].events.iter().filter_map(name).collect()
}

#[test]
fn a_drive_that_is_pulled_takes_its_games_along_and_brings_them_back() {
    let mut world = pair();
    let before = world.status(0);
    assert_eq!((before.games, before.game_dir_gone.as_deref(), world.known_of(1, 0)), (1, None, Some(1)));
    world.unplug(0);
    world.run(Duration::from_secs(60));
    let while_gone = world.status(0);
    assert_eq!((while_gone.games, while_gone.game_dir_gone.as_deref()), (0, Some("pulled")));
    assert_eq!((world.known_of(1, 0), told(&world, 0)), (Some(0), vec!["gone"]), "nobody is offered what is not there");
    let game: GameId = "doom".parse().unwrap();
    world.command(0, 900_001, PeerCommand::Verify { game, repair: false });
    let refused = world.nodes[0].replies.remove(&900_001).unwrap().unwrap_err();
    assert_eq!(refused.code, ErrorCode::GameDirectoryGone);
    assert!(refused.message.contains("/games is gone: pulled"), "{}", refused.message);
    world.run(Duration::from_secs(3600));
    assert_eq!(told(&world, 0), ["gone"], "once");
    world.plug(0);
    world.run(Duration::from_secs(20));
    let after = world.status(0);
    assert_eq!((after.library_epoch, after.games, after.game_dir_gone), (before.library_epoch, 1, None));
    assert_eq!((world.known_of(1, 0), told(&world, 0)), (Some(1), vec!["gone", "back"]));
}

#[test]
fn what_runs_when_the_drive_is_pulled_ends_with_that_reason() {
    let mut world = pair();
    let game: GameId = "doom".parse().unwrap();
    world.command(1, 900_001, PeerCommand::Download { game: game.clone(), install: false, again: false });
    assert!(world.run_until(|world| !world.nodes[1].writing.is_empty()));
    world.unplug(1);
    world.run(Duration::from_secs(60));
    let failed = world.nodes[1].events.iter().find_map(|event| match event {
        PeerEvent::DownloadFailed { code, message, .. } => Some((*code, message.clone())),
        _ => None,
    });
    let (code, message) = failed.expect("it ended");
    assert_eq!(code, ErrorCode::GameDirectoryGone, "{message}");
    world.plug(1);
    world.run(Duration::from_secs(20));
    world.command(1, 900_002, PeerCommand::Download { game: game.clone(), install: true, again: false });
    let installed = |world: &World| world.nodes[1].disk.games.get(&game).is_some_and(|game| game.installed);
    assert!(world.run_until(installed));
    world.command(1, 900_003, PeerCommand::Verify { game: game.clone(), repair: false });
    world.unplug(1);
    assert!(world.run_until(|world| {
        let engine = world.nodes[1].engine.as_ref().unwrap();
        engine.query().operation(&game) != Some(Operation::Verifying)
    }));
    let last = world.nodes[1].events.iter().rev().find_map(|event| match event {
        PeerEvent::VerifyFailed { code, .. } => Some(*code),
        _ => None,
    });
    assert_eq!(last, Some(ErrorCode::GameDirectoryGone));
}

#[test]
fn another_directory_can_be_named_and_the_same_one_too() {
    let mut world = pair();
    world.unplug(0);
    world.run(Duration::from_secs(60));
    world.command(0, 900_001, PeerCommand::SetGameDir { path: PathBuf::from("/games") });
    world.run(Duration::from_secs(1));
    assert_eq!(world.nodes[0].replies.remove(&900_001).unwrap().unwrap_err().code, ErrorCode::GameDirectoryGone);
    assert!(world.status(0).game_dir_gone.is_some());
    world.command(0, 900_002, PeerCommand::SetGameDir { path: PathBuf::from("/games-2") });
    world.run(Duration::from_secs(5));
    assert!(world.nodes[0].replies.remove(&900_002).unwrap().is_ok());
    let now = world.status(0);
    assert_eq!((now.game_dir, now.game_dir_gone), (PathBuf::from("/games-2"), None));
    world.plug(0);
    world.command(0, 900_003, PeerCommand::SetGameDir { path: PathBuf::from("/games") });
    world.run(Duration::from_secs(5));
    assert_eq!((world.status(0).games, world.known_of(1, 0)), (1, Some(1)));
}

#[test]
fn an_index_that_cannot_be_saved_is_told_once() {
    let mut world = pair();
    world.failing_saves = 100;
    world.write_game(0, "quake", "1", 5);
    world.run(Duration::from_secs(600));
    assert_eq!(told(&world, 0), ["error"]);
}

#[test]
fn a_loss_that_is_found_while_another_directory_is_opened_is_not_forgotten() {
    let mut world = pair();
    world.nodes[0].unplugged.insert(PathBuf::from("/games-2"));
    world.command(0, 900_001, PeerCommand::SetGameDir { path: PathBuf::from("/games-2") });
    world.unplug(0);
    world.run(Duration::from_secs(120));
    assert!(world.nodes[0].replies.remove(&900_001).unwrap().is_err());
    assert!(world.status(0).game_dir_gone.is_some());
    assert_eq!(world.known_of(1, 0), Some(0));
    world.plug(0);
    world.run(Duration::from_secs(20));
    assert_eq!((world.known_of(1, 0), world.status(0).game_dir_gone), (Some(1), None));
}

#[test]
fn a_game_that_waits_for_its_hashes_costs_nothing_while_the_drive_is_gone_and_nobody_knows() {
    let mut world = pair();
    world.unplug(0);
    let engine = world.nodes[0].engine.as_mut().unwrap();
    let game: GameId = "doom".parse().unwrap();
    let known = engine.cx.disk.get(&game).unwrap().clone();
    let unhashed = ScannedGame { content_hash: None, ..(*known).clone() };
    engine.parts.scans.operation_handed_over(&mut engine.cx, &game, Some(Arc::new(unhashed)));
    let before = world.outputs;
    world.run(Duration::from_secs(300));
    assert!(world.outputs - before < 1_000, "{} outputs", world.outputs - before);
    assert!(world.status(0).game_dir_gone.is_some());
}
