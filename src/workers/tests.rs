use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded, unbounded};

use super::*;
use crate::fs::{Dir, SpaceLedger};
use crate::index::{Records, ServedManifest};
use crate::types::{
    Batch, CHUNK_SIZE, ChunkHash, ChunkRange, DownloadId, DownloadPlan, GameId, Job, JobDone, JobErrorKind,
    KnownContent, Manifest, OpenedLibrary, Personal, PreparedDownload, VerifiedFiles, content_hash,
};

const CHUNK: usize = CHUNK_SIZE as usize;
/// Only ever reached by a test that fails.
const NEVER: Duration = Duration::from_secs(60);

/// Workers whose wake-ups arrive in a channel, as they do in the reactor's poll.
struct Rig {
    workers: Workers<usize>,
    woken: Receiver<()>,
    wakes: Arc<AtomicUsize>,
}

fn rig() -> Rig {
    let (wake, woken) = unbounded();
    let wakes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&wakes);
    let wake: Wake = Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
        wake.send(()).unwrap();
    });
    Rig { workers: Workers::start(2, Vec::new, wake).unwrap(), woken, wakes }
}

impl Rig {
    fn next(&mut self) -> TaskDone<usize> {
        loop {
            if let Some(done) = self.workers.try_next() {
                return done;
            }
            self.woken.recv_timeout(NEVER).unwrap();
        }
    }

    fn run(&mut self, task: Task<usize>) -> TaskDone<usize> {
        self.workers.try_submit(task).unwrap();
        self.next()
    }

    fn job(&mut self, job: Job) -> JobDone {
        match self.run(Task::Job(job)) {
            TaskDone::Job(done) => done,
            other => panic!("{other:?}"),
        }
    }

    fn open(&mut self, dir: &Path) -> OpenedLibrary {
        match self.job(Job::OpenLibrary { dir: dir.to_owned() }) {
            JobDone::LibraryOpened(opened) => opened.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn serve(&mut self, game: &GameId, manifest: &Manifest) -> Result<Arc<ServedGame>, JobErrorKind> {
        let task = OpenServed { token: 7, game: game.clone(), manifest_hash: manifest.hash(), download: None };
        match self.run(Task::OpenServed(task)) {
            TaskDone::Opened(Opened { token: 7, result, .. }) => result.map_err(|e| e.kind),
            other => panic!("{other:?}"),
        }
    }

    fn read(
        &mut self,
        game: &Arc<ServedGame>,
        batch: Batch,
        pool: &BufferPool,
        hash: bool,
    ) -> Result<ReadChunks, JobErrorKind> {
        let task = ReadBatch { token: 8, game: Arc::clone(game), batch, buf: pool.take().unwrap(), hash };
        match self.run(Task::Read(task)) {
            TaskDone::Read(ReadDone { token: 8, batch: done, result }) if done == batch => result.map_err(|e| e.kind),
            other => panic!("{other:?}"),
        }
    }
}

#[allow(clippy::disallowed_methods)]
fn store(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn files() -> BTreeMap<&'static str, Vec<u8>> {
    let bytes = |len: usize| (0..len).map(|i| (i % 249) as u8).collect::<Vec<u8>>();
    BTreeMap::from([
        ("version.ini", b"version=3\n".to_vec()),
        ("game.dat", bytes(2 * CHUNK + 77)),
        ("extra/readme.txt", b"read me".to_vec()),
        ("extra/empty", Vec::new()),
    ])
}

fn source(temp: &Path) -> GameId {
    files().iter().for_each(|(path, bytes)| store(&temp.join("quake"), path, bytes));
    "quake".parse().unwrap()
}

fn manifest() -> Manifest {
    let entry = |(path, bytes): (&&str, &Vec<u8>)| crate::types::FileEntry {
        path: path.parse().unwrap(),
        size: bytes.len() as u64,
        exec: false,
    };
    Manifest::new(files().iter().map(entry).collect()).unwrap()
}

fn content() -> KnownContent {
    let (manifest, files) = (manifest(), files());
    let hashes = manifest.files().iter().flat_map(|entry| files[entry.path.as_str()].chunks(CHUNK).map(ChunkHash::of));
    let chunks: Vec<_> = hashes.collect();
    KnownContent { hash: content_hash(&manifest, &chunks), chunks }
}

/// From here on a download brought the game.
fn brought(home: &Path) {
    let mtimes_ns = vec![0; manifest().files().len()];
    let landed = ServedManifest { manifest: manifest(), mtimes_ns, content: Some(content()) };
    let records = Records::open(&Dir::open(&home.join(".lanspread")).unwrap()).unwrap();
    records.save_brought(&"quake".parse().unwrap(), &landed).unwrap();
}

fn all(manifest: &Manifest) -> Vec<Batch> {
    manifest.batches(ChunkRange { first: 0, count: manifest.chunk_count() }).collect()
}

#[test]
fn a_game_goes_from_one_directory_to_another_and_is_the_same_game_there() {
    for known in [true, false] {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (game, manifest) = (source(from.path()), manifest());
        let (mut sender, mut receiver) = (rig(), rig());
        let opened = sender.open(from.path());
        assert_eq!(opened.games[0].manifest_hash, manifest.hash());
        assert!(receiver.open(to.path()).games.is_empty());
        if known {
            let job = Job::HashGame { game: game.clone(), manifest_hash: manifest.hash(), anew: false };
            let JobDone::GameHashed { result: Ok(_), .. } = sender.job(job) else { panic!() };
        }
        let served = sender.serve(&game, &manifest).unwrap();
        assert_eq!(served.content_hash().is_some(), known);
        let content = served
            .chunk_hashes()
            .map(|chunks| KnownContent { hash: content_hash(&manifest, chunks), chunks: chunks.to_vec() });
        let plan = DownloadPlan {
            game: game.clone(),
            manifest_hash: manifest.hash(),
            manifest: manifest.clone(),
            content: content.clone(),
        };
        let (plan, download) = (Arc::new(plan), DownloadId(5));
        let done = receiver.job(Job::PrepareDownload { download, plan });
        assert_eq!(done, JobDone::DownloadPrepared { download, result: Ok(PreparedDownload::default()) });

        let (read_pool, landing_pool) = (BufferPool::new(1, CHUNK), BufferPool::new(1, CHUNK));
        for batch in all(&manifest) {
            let chunks = sender.read(&served, batch, &read_pool, !known).unwrap();
            assert_eq!((chunks.bytes.len(), chunks.hashes.is_some()), (batch.bytes as usize, !known));
            let mut buf = landing_pool.take().unwrap();
            buf[..chunks.bytes.len()].copy_from_slice(&chunks.bytes);
            let write = WriteBatch { token: 9, download, batch, buf, hashes: chunks.hashes };
            match receiver.run(Task::Write(write)) {
                TaskDone::Written(Written { token: 9, bad, error: None, .. }) => assert_eq!(bad, []),
                other => panic!("{other:?}"),
            }
            assert_eq!(landing_pool.in_use(), 0, "the buffer is free when the result is there");
        }
        match receiver.job(Job::CommitDownload { download }) {
            JobDone::DownloadCommitted { result: Ok(there), .. } => {
                assert!(there.downloaded);
                assert_eq!((there.manifest_hash, there.eti_version.as_deref()), (manifest.hash(), Some("3")));
                let hash = there.content_hash.unwrap();
                assert!(content.is_none_or(|content| content.hash == hash));
            }
            other => panic!("{other:?}"),
        }
        for (path, bytes) in files() {
            assert_eq!(std::fs::read(to.path().join("quake").join(path)).unwrap(), bytes, "{path}");
        }
        // Over: it can be neither written nor given up any more.
        let done = receiver.job(Job::AbandonDownload { download, keep: false });
        assert!(matches!(done, JobDone::DownloadAbandoned { result: Err(_), .. }), "{done:?}");
    }
}

#[test]
fn a_file_that_changes_while_it_is_served_is_never_sent_and_the_next_look_sees_it() {
    let temp = tempfile::tempdir().unwrap();
    let (game, manifest, mut rig) = (source(temp.path()), manifest(), rig());
    let before = rig.open(temp.path()).games;
    let served = rig.serve(&game, &manifest).unwrap();
    let pool = BufferPool::new(1, CHUNK);
    let [first, .., last] = all(&manifest)[..] else { panic!() };
    // "extra/readme.txt" comes first and shares its batch with nothing of a mebibyte.
    rig.read(&served, first, &pool, true).unwrap();
    store(temp.path(), "quake/extra/readme.txt", b"another text");
    assert_eq!(rig.read(&served, first, &pool, true), Err(JobErrorKind::Changed));
    rig.read(&served, last, &pool, true).unwrap();
    assert_eq!(rig.serve(&game, &manifest).unwrap_err(), JobErrorKind::Changed);
    match rig.job(Job::ScanGame { game, known: Some(Arc::clone(&before[0])) }) {
        JobDone::GameScanned { result: Ok(Some(now)), .. } => assert_ne!(now.manifest_hash, before[0].manifest_hash),
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_that_shrink_vanish_or_are_written_again_are_changed_too() {
    let changes: [fn(&Path); 3] = [
        |root| std::fs::File::options().write(true).open(root.join("game.dat")).unwrap().set_len(5).unwrap(),
        |root| std::fs::remove_file(root.join("game.dat")).unwrap(),
        |root| store(root, "game.dat", &vec![1; 2 * CHUNK + 77]),
    ];
    for change in changes {
        let temp = tempfile::tempdir().unwrap();
        let (game, manifest, mut rig) = (source(temp.path()), manifest(), rig());
        rig.open(temp.path());
        let served = rig.serve(&game, &manifest).unwrap();
        change(&temp.path().join("quake"));
        let pool = BufferPool::new(8, CHUNK);
        let reads: Vec<_> = all(&manifest).into_iter().map(|batch| rig.read(&served, batch, &pool, false)).collect();
        assert!(reads.iter().any(|read| *read == Err(JobErrorKind::Changed)));
        for (read, batch) in reads.iter().zip(all(&manifest)) {
            let touches = batch.range.iter().any(|index| manifest.chunk(index).unwrap().file == 2);
            assert_eq!(read.is_err(), touches);
        }
    }
}

#[test]
fn a_batch_beyond_the_game_or_the_buffer_is_an_error() {
    let temp = tempfile::tempdir().unwrap();
    let (game, manifest, mut rig) = (source(temp.path()), manifest(), rig());
    rig.open(temp.path());
    let served = rig.serve(&game, &manifest).unwrap();
    let range = ChunkRange { first: manifest.chunk_count(), count: 1 };
    let beyond = Batch { range, bytes: 1 };
    rig.read(&served, beyond, &BufferPool::new(1, CHUNK), false).unwrap_err();
    rig.read(&served, all(&manifest)[1], &BufferPool::new(1, 10), false).unwrap_err();
}

#[test]
fn bytes_for_a_download_that_is_not_there_are_refused_and_their_buffer_comes_back() {
    let (mut rig, pool) = (rig(), BufferPool::new(1, 16));
    let batch = Batch { range: ChunkRange { first: 0, count: 1 }, bytes: 16 };
    let write = WriteBatch { token: 0, download: DownloadId(1), batch, buf: pool.take().unwrap(), hashes: None };
    match rig.run(Task::Write(write)) {
        TaskDone::Written(Written { error: Some(e), .. }) => assert_eq!(e.kind, JobErrorKind::Cancelled),
        other => panic!("{other:?}"),
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn an_abandoned_download_makes_room_for_the_next_one_of_the_same_game() {
    let temp = tempfile::tempdir().unwrap();
    let mut rig = rig();
    rig.open(temp.path());
    let hash = ChunkHash::of(b"1");
    let manifest =
        Manifest::new(vec![crate::types::FileEntry { path: "version.ini".parse().unwrap(), size: 1, exec: false }])
            .unwrap();
    let content = Some(KnownContent { hash: content_hash(&manifest, &[hash]), chunks: vec![hash] });
    let game: GameId = "quake".parse().unwrap();
    let plan = DownloadPlan { game: game.clone(), manifest_hash: manifest.hash(), manifest, content };
    let plan = Arc::new(plan);
    let prepare =
        |rig: &mut Rig, id| match rig.job(Job::PrepareDownload { download: DownloadId(id), plan: Arc::clone(&plan) }) {
            JobDone::DownloadPrepared { result, .. } => result.map(drop).map_err(|e| e.kind),
            other => panic!("{other:?}"),
        };
    assert_eq!(prepare(&mut rig, 1), Ok(()));
    assert_eq!(prepare(&mut rig, 2), Err(JobErrorKind::InUse));
    let done = rig.job(Job::AbandonDownload { download: DownloadId(1), keep: false });
    assert_eq!(done, JobDone::DownloadAbandoned { download: DownloadId(1), result: Ok(None) });
    assert_eq!(prepare(&mut rig, 2), Ok(()));
}

#[test]
fn the_same_directory_can_be_opened_again_and_one_that_fails_leaves_the_old_one_open() {
    let temp = tempfile::tempdir().unwrap();
    let mut rig = rig();
    source(temp.path());
    rig.open(temp.path());
    rig.open(temp.path());
    let gone = temp.path().join("gone");
    let done = rig.job(Job::OpenLibrary { dir: gone });
    assert!(matches!(done, JobDone::LibraryOpened(Err(_))), "{done:?}");
    let done = rig.job(Job::ScanAll { known: Vec::new() });
    assert!(matches!(&done, JobDone::AllScanned(Ok(games)) if games.len() == 1), "{done:?}");
}

#[test]
fn jobs_without_a_game_directory_fail_in_words() {
    match rig().job(Job::ScanAll { known: Vec::new() }) {
        JobDone::AllScanned(Err(e)) => assert_eq!(e.message, "no game directory is open"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_are_resolved_and_bad_ones_named() {
    let mut rig = rig();
    let done = rig.job(Job::Resolve { token: 3, host: "127.0.0.1:4000".to_owned() });
    assert_eq!(done, JobDone::Resolved { token: 3, result: Ok(vec!["127.0.0.1:4000".parse().unwrap()]) });
    match rig.job(Job::Resolve { token: 4, host: "no port".to_owned() }) {
        JobDone::Resolved { token: 4, result: Err(e) } => assert!(e.message.contains("no port"), "{e}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_lane_gives_the_task_back_while_others_still_take_theirs() {
    let mut rig = rig();
    let (open_gate, gate) = bounded::<()>(0);
    let mut accepted = 0;
    let refused = loop {
        let gate = gate.clone();
        let work = Compute::new(move || {
            // Closed when the gate opens.
            let _ = gate.recv();
            1
        });
        match rig.workers.try_submit(Task::Compute(work)) {
            Ok(()) => accepted += 1,
            Err(task) => break task,
        }
    };
    assert_eq!(rig.workers.outstanding(), accepted);
    let JobDone::AllScanned(Err(_)) = rig.job(Job::ScanAll { known: Vec::new() }) else { panic!() };
    drop(open_gate);
    let mut done = 0;
    let count = |done: TaskDone<usize>| match done {
        TaskDone::Computed(n) => n,
        other => panic!("{other:?}"),
    };
    done += count(rig.next());
    rig.workers.try_submit(refused).unwrap();
    while done < accepted + 1 {
        done += count(rig.next());
    }
    assert_eq!(rig.workers.outstanding(), 0);
    assert!(rig.workers.try_next().is_none());
}

#[test]
fn the_wake_up_comes_once_until_the_results_were_found_empty() {
    let mut rig = rig();
    for round in 1..=3 {
        for _ in 0..50 {
            rig.workers.try_submit(Task::Compute(Compute::new(|| 1))).unwrap();
        }
        // Wait for all results without looking for them.
        while rig.workers.waiting_results() < 50 {
            std::thread::yield_now();
        }
        rig.woken.recv_timeout(NEVER).unwrap();
        assert_eq!(rig.wakes.load(Ordering::SeqCst), round);
        while rig.workers.try_next().is_some() {}
    }
}

#[test]
fn a_hash_that_is_cancelled_before_it_begins_says_so() {
    let temp = tempfile::tempdir().unwrap();
    let (game, manifest) = (source(temp.path()), manifest());
    let context = jobs::Context::default();
    let JobDone::LibraryOpened(Ok(_)) = context.job(Job::OpenLibrary { dir: temp.path().to_owned() }, &|_, _, _| ())
    else {
        panic!()
    };
    let hash = || Job::HashGame { game: game.clone(), manifest_hash: manifest.hash(), anew: false };
    let kind = |done| match done {
        JobDone::GameHashed { result, .. } => result.map(drop).map_err(|e| e.kind),
        other => panic!("{other:?}"),
    };
    context.hash_queued(&game);
    context.cancel_hash(&game);
    assert_eq!(kind(context.job(hash(), &|_, _, _| ())), Err(JobErrorKind::Cancelled));
    context.hash_queued(&game);
    assert_eq!(kind(context.job(hash(), &|_, _, _| ())), Ok(()));
}

#[test]
fn dropping_the_workers_waits_for_what_was_accepted() {
    let ran = Arc::new(AtomicUsize::new(0));
    let (wake, _woken) = unbounded::<()>();
    let mut workers: Workers<usize> =
        Workers::start(1, Vec::new, Arc::new(move || wake.send(()).unwrap_or(()))).unwrap();
    for _ in 0..20 {
        let ran = Arc::clone(&ran);
        workers.try_submit(Task::Compute(Compute::new(move || ran.fetch_add(1, Ordering::SeqCst)))).unwrap();
    }
    drop(workers);
    assert_eq!(ran.load(Ordering::SeqCst), 20);
}

#[test]
fn a_game_is_installed_verified_uninstalled_and_removed_by_jobs() {
    let temp = tempfile::tempdir().unwrap();
    let game = source(temp.path());
    let mut rig = rig();
    rig.open(temp.path());
    let changed = |done| match done {
        JobDone::FilesChanged { result, .. } => result.map_err(|e| e.kind),
        other => panic!("{other:?}"),
    };
    let there = changed(rig.job(Job::Install { game: game.clone(), personal: Personal::default() })).unwrap().unwrap();
    assert_eq!((there.installed, there.installed_version.as_deref()), (true, Some("3")));
    assert_eq!(std::fs::read(temp.path().join("quake/local/game.dat")).unwrap(), files()["game.dat"]);
    let total = (2 * CHUNK + 77 + 7) as u64;
    assert_eq!(rig.workers.take_progress(), [(game.clone(), total, total)]);
    assert_eq!(rig.workers.take_progress(), []);
    // Nothing says that a download brought it; then something does.
    assert_eq!(changed(rig.job(Job::RemoveFiles { game: game.clone() })), Err(JobErrorKind::NotOurs));
    brought(temp.path());
    assert_eq!(changed(rig.job(Job::RemoveFiles { game: game.clone() })), Err(JobErrorKind::InUse));

    let verify = Job::VerifyFiles { game: game.clone(), manifest_hash: manifest().hash() };
    match rig.job(verify) {
        JobDone::FilesVerified { result: Ok(VerifiedFiles { bad, chunks: 5, .. }), .. } => assert_eq!(bad, []),
        other => panic!("{other:?}"),
    }
    let there = changed(rig.job(Job::Uninstall { game: game.clone() })).unwrap().unwrap();
    assert_eq!((there.installed, there.installed_version.as_deref(), there.downloaded), (false, None, true));
    assert_eq!(changed(rig.job(Job::RemoveFiles { game: game.clone() })), Ok(None));
    assert!(!temp.path().join("quake").exists());
    assert_eq!(changed(rig.job(Job::Install { game, personal: Personal::default() })), Err(JobErrorKind::Changed));
}

#[test]
fn an_operation_that_is_cancelled_before_it_begins_changes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let game = source(temp.path());
    let context = jobs::Context::default();
    let open = Job::OpenLibrary { dir: temp.path().to_owned() };
    let JobDone::LibraryOpened(Ok(_)) = context.job(open, &|_, _, _| ()) else { panic!() };
    let install =
        || match context.job(Job::Install { game: game.clone(), personal: Personal::default() }, &|_, _, _| ()) {
            JobDone::FilesChanged { result, .. } => result.map(drop).map_err(|e| e.kind),
            other => panic!("{other:?}"),
        };
    context.operation_queued(&game);
    context.cancel_operation(&game);
    assert_eq!(install(), Err(JobErrorKind::Cancelled));
    assert!(!temp.path().join("quake/local").exists());
    assert_eq!(install(), Ok(()), "the request to give up outlived the operation");
}

#[test]
fn what_a_download_finds_on_the_disk_is_told_and_looking_for_it_can_be_given_up() {
    let temp = tempfile::tempdir().unwrap();
    let game = source(temp.path());
    let mut rig = rig();
    rig.open(temp.path());
    let (home, manifest, files) = (temp.path().join("quake"), manifest(), files());
    let content = Some(content());
    let plan = Arc::new(DownloadPlan { game: game.clone(), manifest_hash: manifest.hash(), manifest, content });
    let mut bytes = files["game.dat"].clone();
    bytes[CHUNK] ^= 1;
    store(&home, "game.dat", &bytes);
    let prepare = |download| Job::PrepareDownload { download: DownloadId(download), plan: Arc::clone(&plan) };
    let JobDone::DownloadPrepared { result: Ok(PreparedDownload { kept, .. }), .. } = rig.job(prepare(1)) else {
        panic!()
    };
    let whole = plan.manifest.chunk_count();
    assert_eq!(kept.iter().map(|range| range.count).sum::<u32>(), whole - 1, "{kept:?}");
    // Somebody changed it, so it made way, and its good chunk is copied.
    let looked_at = plan.manifest.bytes() - files["version.ini"].len() as u64 + (CHUNK + 77) as u64;
    assert_eq!(rig.workers.take_progress(), [(game.clone(), looked_at, looked_at)]);
    rig.job(Job::AbandonDownload { download: DownloadId(1), keep: false });
    assert!(home.join("version.ini").exists(), "nothing was written: the old state is back");

    let context = jobs::Context::default();
    context.operation_queued(&game);
    context.cancel_operation(&game);
    let JobDone::DownloadPrepared { result, .. } = context.job(prepare(2), &|_, _, _| ()) else { panic!() };
    assert_eq!(result.unwrap_err().kind, JobErrorKind::Cancelled);
}

#[test]
fn archives_are_unpacked_in_place_of_the_files_beside_them() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("quake");
    let whole = include_bytes!("../../tests/data/archives/rar5-solid.rar");
    store(&root, "version.ini", b"1");
    store(&root, "readme.txt", b"not part of what is played");
    store(&root, "quake.eti", whole);
    let (home, _) = crate::index::GameDir::open(temp.path()).unwrap();
    let game: GameId = "quake".parse().unwrap();
    let wanted = local::Wanted { game: &game, personal: &Personal::default() };
    let go_on = std::sync::atomic::AtomicBool::new(false);
    let names = || -> Vec<_> {
        std::fs::read_dir(root.join("local")).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    let there = local::install(&home, &wanted, local::Archives::HERE, &SpaceLedger::default(), &|_, _| (), &go_on)
        .unwrap()
        .0
        .unwrap();
    assert_eq!((there.installed, there.installed_version.as_deref()), (true, Some("1")));
    let installed = names();
    assert!(!installed.is_empty());
    assert!(!installed.iter().any(|name| name == "readme.txt" || name == "quake.eti"), "{installed:?}");

    // The same, cut off: the old install stays.
    store(&root, "quake.eti", &whole[..whole.len() / 2]);
    let error =
        local::install(&home, &wanted, local::Archives::HERE, &SpaceLedger::default(), &|_, _| (), &go_on).unwrap_err();
    assert_eq!(error.kind, JobErrorKind::BadArchive, "{error}");
    assert_eq!(names(), installed);
    assert!(!root.join(".local.installing").exists());
}

#[test]
#[allow(clippy::disallowed_methods)]
fn a_directory_that_is_gone_is_told_by_whatever_fails_and_again_until_it_is_closed() {
    let (mut rig, dir) = (rig(), tempfile::tempdir().unwrap());
    let (games, away) = (dir.path().join("games"), dir.path().join("away"));
    std::fs::create_dir(&games).unwrap();
    store(&games, "doom/version.ini", b"1.0");
    rig.open(&games);
    assert_eq!(rig.workers.take_lost(), None);
    std::fs::rename(&games, &away).unwrap();
    let look = |rig: &mut Rig| match rig.job(Job::LookForLibrary { dir: games.clone(), epoch: crate::types::Epoch(1) })
    {
        JobDone::LibraryLookedFor(result) => result.map_err(|e| e.kind),
        other => panic!("{other:?}"),
    };
    let JobDone::AllScanned(Err(error)) = rig.job(Job::ScanAll { known: Vec::new() }) else { panic!() };
    assert_eq!(error.kind, JobErrorKind::DirectoryGone, "{error}");
    assert!(rig.workers.take_lost().is_some());
    assert_eq!(rig.workers.take_lost(), None, "once");
    // Its user was busy, and did not act on it.
    assert_eq!(look(&mut rig), Err(JobErrorKind::DirectoryGone));
    assert!(rig.workers.take_lost().is_some());
    // The same path is opened, in vain.
    let JobDone::LibraryOpened(Err(_)) = rig.job(Job::OpenLibrary { dir: games.clone() }) else { panic!() };
    assert!(rig.workers.take_lost().is_some(), "there is none to go on with");
    let JobDone::AllScanned(Err(error)) = rig.job(Job::ScanAll { known: Vec::new() }) else { panic!() };
    assert_eq!(error.kind, JobErrorKind::DirectoryGone, "{error}");
    assert_eq!(rig.job(Job::CloseLibrary), JobDone::LibraryClosed);
    assert_eq!(look(&mut rig), Err(JobErrorKind::DirectoryGone));
    assert_eq!(rig.workers.take_lost(), None, "nothing is open");
    std::fs::rename(&away, &games).unwrap();
    assert_eq!(look(&mut rig), Ok(()));
    assert!(!rig.open(&games).was_open);
    assert!(rig.open(&games).was_open);
    assert_eq!(look(&mut rig), Ok(()));
}
