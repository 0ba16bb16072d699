mod crash;
mod dirs;
mod reuse;
#[allow(clippy::disallowed_methods, reason = "the user changes the disk behind the daemon's back")]
mod user;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::fs::model::Tree;
use crate::fs::{Hook, Op, SpaceLedger};
use crate::index::Previous;
use crate::types::{ChunkRange, KnownContent, content_hash};

const CHUNK: usize = CHUNK_SIZE as usize;

/// The files of a game: path to bytes. An empty directory ends in a slash.
type Files = BTreeMap<String, Vec<u8>>;

fn files(list: &[(&str, usize)]) -> Files {
    // Bytes that differ between files and within them.
    let bytes = |path: &str, len| (0..len).map(|i| (i * 7 + i / 251 + path.len() * 31) as u8).collect();
    list.iter().map(|&(path, len)| (path.to_owned(), bytes(path, len))).collect()
}

/// Two large files, a nested one, an empty one, a sentinel.
fn new_game() -> Files {
    files(&[
        ("game.eti", 2 * CHUNK + 9),
        ("data/deep/map.bin", 1000),
        ("data/empty", 0),
        ("version.ini", 12),
        ("z", CHUNK),
    ])
}

fn plan(files: &Files, known: bool) -> Arc<DownloadPlan> {
    let entry = |(path, bytes): (&String, &Vec<u8>)| FileEntry {
        path: RelPath::parse(path).unwrap(),
        size: bytes.len() as u64,
        exec: path.ends_with(".exe"),
    };
    let dirs = files.keys().filter_map(|path| path.strip_suffix('/')).map(|path| RelPath::parse(path).unwrap());
    let data = files.iter().filter(|(path, _)| !path.ends_with('/'));
    let manifest = Manifest::with_dirs(data.map(entry).collect(), dirs.collect()).unwrap();
    let chunks: Vec<ChunkHash> =
        (0..manifest.chunk_count()).map(|i| ChunkHash::of(&chunk_bytes(files, &manifest, ChunkIndex(i)))).collect();
    let content = known.then(|| KnownContent { hash: content_hash(&manifest, &chunks), chunks });
    Arc::new(DownloadPlan { game: "quake".parse().unwrap(), manifest_hash: manifest.hash(), manifest, content })
}

/// What a record of these files says.
fn previous(files: &Files) -> Previous {
    let plan = plan(files, true);
    Previous {
        manifest: plan.manifest.clone(),
        mtimes_ns: vec![0; plan.manifest.files().len()],
        content: plan.content.clone(),
    }
}

/// The proofs of whose files are whose, as a daemon keeps them.
fn records(dir: &Dir) -> Records {
    Records::open(&dir.make_subdir(".lanspread").unwrap()).unwrap()
}

fn prepare_at(
    dir: &Dir,
    plan: Arc<DownloadPlan>,
    previous: Option<&Previous>,
    space: &SpaceLedger,
    watch: &Watch<'_>,
) -> Result<Landing, JobError> {
    let records = Records::open(&dir.make_subdir(".lanspread")?)?;
    Landing::prepare(dir, &records, plan, previous, space, watch)
}

/// The bytes of the list that a download of these files leaves, without their times.
fn brought(files: &Files) -> ServedManifest {
    let plan = plan(files, true);
    let mtimes_ns = vec![0; plan.manifest.files().len()];
    ServedManifest { manifest: plan.manifest.clone(), mtimes_ns, content: plan.content.clone() }
}

static GO_ON: AtomicBool = AtomicBool::new(false);

/// Nobody looks on, nobody gives up.
fn quiet() -> Watch<'static> {
    static GAME: std::sync::LazyLock<GameId> = std::sync::LazyLock::new(|| "quake".parse().unwrap());
    Watch::new(&GAME, &|_, _| (), &GO_ON)
}

fn chunk_bytes(files: &Files, manifest: &Manifest, index: ChunkIndex) -> Vec<u8> {
    let chunk = manifest.chunk(index).unwrap();
    let bytes = &files[manifest.files()[chunk.file].path.as_str()];
    bytes[chunk.offset as usize..][..chunk.len as usize].to_vec()
}

fn batch_bytes(files: &Files, manifest: &Manifest, batch: Batch) -> Vec<u8> {
    batch.range.iter().flat_map(|index| chunk_bytes(files, manifest, index)).collect()
}

fn batches(manifest: &Manifest) -> Vec<Batch> {
    manifest.batches(ChunkRange { first: 0, count: manifest.chunk_count() }).collect()
}

/// Writes what was not kept.
fn write_all(landing: &Landing, files: &Files) -> Result<(), JobError> {
    let kept: BTreeSet<u32> = landing.kept().iter().flat_map(|range| range.iter()).map(|index| index.0).collect();
    let is_kept = |batch: &Batch| batch.range.iter().all(|index| kept.contains(&index.0));
    for batch in batches(landing.manifest()).into_iter().filter(|batch| !is_kept(batch)) {
        let bytes = batch_bytes(files, landing.manifest(), batch);
        let hashes: Vec<_> =
            batch.range.iter().map(|index| ChunkHash::of(&chunk_bytes(files, landing.manifest(), index))).collect();
        assert_eq!(landing.write(batch, &bytes, Some(&hashes))?, []);
    }
    Ok(())
}

/// The same in a tree of the model.
fn insert_brought(tree: &mut Tree, files: Option<&Files>) {
    for dir in [".lanspread", ".lanspread/brought", ".lanspread/incoming"] {
        tree.insert(dir.to_owned(), None);
    }
    if let Some(files) = files {
        let disk = disk();
        store_brought(&disk, files);
        let list = std::fs::read(disk.dir.path().join(".lanspread/brought/quake")).unwrap();
        tree.insert(".lanspread/brought/quake".to_owned(), Some(list));
    }
}

/// Files that a download brought.
fn store_brought(disk: &Disk, files: &Files) {
    store(&disk.root, files);
    records(&disk.dir).save_brought(&"quake".parse().unwrap(), &brought(files)).unwrap();
}

/// Files of a download that did not come to its end.
fn store_left(disk: &Disk, files: &Files) {
    store(&disk.root, files);
    let game = "quake".parse().unwrap();
    records(&disk.dir).claim(&game, &Ownership::default(), &plan(files, true).manifest).unwrap();
    let _ = std::fs::remove_file(disk.root.join("version.ini"));
}

fn store(root: &Path, files: &Files) {
    for (path, bytes) in files {
        let is_dir = path.ends_with('/');
        let path = root.join(path);
        if is_dir {
            std::fs::create_dir_all(path).unwrap();
            continue;
        }
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        #[allow(clippy::disallowed_methods)]
        std::fs::write(path, bytes).unwrap();
    }
}

/// Everything beneath `root`; directories end in a slash.
fn stored(root: &Path) -> Files {
    fn walk(at: &Path, name: &str, out: &mut Files) {
        for item in std::fs::read_dir(at).into_iter().flatten().map(Result::unwrap) {
            let name = format!("{name}{}", item.file_name().to_str().unwrap());
            if item.file_type().unwrap().is_dir() {
                out.insert(format!("{name}/"), Vec::new());
                walk(&item.path(), &format!("{name}/"), out);
            } else {
                out.insert(name, std::fs::read(item.path()).unwrap_or_default());
            }
        }
    }
    let mut out = Files::new();
    walk(root, "", &mut out);
    out
}

fn in_memory() -> tempfile::TempDir {
    // Hundreds of small trees are made and flushed.
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.or_else(|_| tempfile::tempdir()).unwrap()
}

fn without_directories(files: Files) -> Files {
    files.into_iter().filter(|(path, _)| !path.ends_with('/')).collect()
}

struct Disk {
    _temp: tempfile::TempDir,
    dir: Dir,
    root: PathBuf,
}

fn disk() -> Disk {
    let temp = tempfile::tempdir().unwrap();
    Disk { dir: Dir::open(temp.path()).unwrap(), root: temp.path().join("quake"), _temp: temp }
}

impl Disk {
    fn hooked(&self, hook: Arc<dyn Hook>) -> Dir {
        Dir::open_hooked(self.dir.path(), hook).unwrap()
    }
}

#[test]
fn a_download_is_complete_under_its_sentinel_and_its_times_and_hashes_are_reported() {
    for known in [true, false] {
        let (disk, game) = (disk(), new_game());
        let plan = plan(&game, known);
        let landing = prepare_at(&disk.dir, plan.clone(), None, &SpaceLedger::default(), &quiet()).unwrap();
        write_all(&landing, &game).unwrap();
        assert!(!disk.root.join("version.ini").exists(), "the sentinel came before the commit");
        let landed = landing.commit().unwrap();
        assert_eq!(without_directories(stored(&disk.root)), game);
        let content = landed.content.unwrap();
        assert_eq!(content.hash, content_hash(&plan.manifest, &content.chunks));
        for (entry, mtime) in plan.manifest.files().iter().zip(&landed.mtimes_ns) {
            assert_eq!(
                disk.dir.subdir("quake").unwrap().open_read(&entry.path).unwrap().stat().unwrap().mtime_ns,
                *mtime
            );
        }
        assert_eq!(landing.commit().unwrap_err().kind, JobErrorKind::Cancelled);
        landing.abandon(false).unwrap();
        assert_eq!(without_directories(stored(&disk.root)), game, "abandoning a committed download removed something");
    }
}

#[test]
fn a_bad_chunk_is_reported_alone_and_the_commit_waits_for_it() {
    let (disk, game) = (disk(), files(&[("a", 10), ("b", 20), ("c", 30), ("version.ini", 3)]));
    let landing = prepare_at(&disk.dir, plan(&game, true), None, &SpaceLedger::default(), &quiet()).unwrap();
    let batch = batches(landing.manifest())[0];
    let good = batch_bytes(&game, landing.manifest(), batch);
    let mut bytes = good.clone();
    bytes[15] ^= 1;
    assert_eq!(landing.write(batch, &bytes, None).unwrap(), [ChunkIndex(1)]);
    assert!(!disk.root.join("b").exists());
    assert_eq!(landing.commit().unwrap_err().kind, JobErrorKind::Verification);
    assert_eq!(landing.write(batch, &good, None).unwrap(), []);
    landing.commit().unwrap();
    assert_eq!(stored(&disk.root), game);
}

#[test]
fn bytes_whose_hash_did_not_come_with_them_or_differs_from_the_first_are_bad() {
    let (disk, game) = (disk(), files(&[("version.ini", 3)]));
    let landing = prepare_at(&disk.dir, plan(&game, false), None, &SpaceLedger::default(), &quiet()).unwrap();
    let batch = batches(landing.manifest())[0];
    let bad = [ChunkIndex(0)];
    assert_eq!(landing.write(batch, b"1.0", None).unwrap(), bad);
    assert_eq!(landing.write(batch, b"1.0", Some(&[])).unwrap(), bad);
    assert_eq!(landing.write(batch, b"1.0", Some(&[ChunkHash::of(b"2.0")])).unwrap(), bad);
    assert_eq!(landing.write(batch, b"1.0", Some(&[ChunkHash::of(b"1.0")])).unwrap(), []);
    assert_eq!(landing.write(batch, b"2.0", Some(&[ChunkHash::of(b"2.0")])).unwrap(), bad);
    landing.commit().unwrap();
    assert_eq!(stored(&disk.root)["version.ini"], b"1.0");
}

#[test]
fn a_batch_that_does_not_fit_the_plan_is_an_error() {
    let (disk, game) = (disk(), files(&[("a", 10), ("version.ini", 3)]));
    let landing = prepare_at(&disk.dir, plan(&game, true), None, &SpaceLedger::default(), &quiet()).unwrap();
    let range = |first, count| Batch { range: ChunkRange { first, count }, bytes: 13 };
    landing.write(range(0, 3), &[0; 100], None).unwrap_err();
    landing.write(range(u32::MAX - 1, 1), &[0; 100], None).unwrap_err();
    landing.write(range(0, 2), &[0; 12], None).unwrap_err();
}

#[test]
fn a_plan_without_a_small_sentinel_or_with_the_wrong_number_of_hashes_is_refused() {
    let disk = disk();
    let mut few = (*plan(&new_game(), true)).clone();
    few.content.as_mut().unwrap().chunks.pop();
    for plan in [plan(&files(&[("a", 1)]), true), plan(&files(&[("version.ini", (64 << 10) + 1)]), true), few.into()] {
        assert_eq!(
            prepare_at(&disk.dir, plan, None, &SpaceLedger::default(), &quiet()).unwrap_err().kind,
            JobErrorKind::Verification
        );
    }
    assert!(!disk.root.exists());
}

#[test]
fn a_full_disk_is_told_before_anything_changes() {
    let disk = disk();
    let old = files(&[("version.ini", 5), ("game.eti", 100)]);
    store(&disk.root, &old);
    let entry = |path: &str, size| FileEntry { path: RelPath::parse(path).unwrap(), size, exec: false };
    let manifest = Manifest::new(vec![entry("game.eti", 15 << 40), entry("version.ini", 3)]).unwrap();
    let plan = DownloadPlan { game: "quake".parse().unwrap(), manifest_hash: manifest.hash(), manifest, content: None };
    let error = prepare_at(&disk.dir, plan.into(), None, &SpaceLedger::default(), &quiet()).unwrap_err();
    assert_eq!(error.kind, JobErrorKind::DiskFull);
    assert!(error.message.contains("quake") && error.message.contains("needs 164926744"), "{error}");
    assert_eq!(stored(&disk.root), old);
}

#[test]
fn what_was_written_before_the_content_was_known_is_held_against_it() {
    let (disk, game) = (disk(), new_game());
    let plan = plan(&game, true);
    let content = plan.content.clone().unwrap();
    let unknown = Arc::new(DownloadPlan { content: None, ..(*plan).clone() });
    let prepare = || prepare_at(&disk.dir, unknown.clone(), None, &SpaceLedger::default(), &quiet()).unwrap();
    let landing = prepare();
    let batches = batches(&plan.manifest);
    let write = |batch: Batch, bytes: &[u8]| {
        let chunks = batch.range.iter().map(|index| plan.manifest.chunk(index).unwrap().len as usize);
        let mut rest = bytes;
        let hashes: Vec<_> = chunks
            .map(|len| {
                let (chunk, tail) = rest.split_at(len);
                rest = tail;
                ChunkHash::of(chunk)
            })
            .collect();
        landing.write(batch, bytes, Some(&hashes)).unwrap()
    };
    // The first batch as it is, the second with another byte, of which its source said the right hash.
    write(batches[0], &batch_bytes(&game, &plan.manifest, batches[0]));
    let mut other = batch_bytes(&game, &plan.manifest, batches[1]);
    other[0] ^= 1;
    assert!(write(batches[1], &other).is_empty());
    let short = KnownContent { hash: content.hash, chunks: content.chunks[1..].to_vec() };
    assert!(landing.learn(Arc::new(short)).unwrap_err().message.contains("quake"));
    let bad = ChunkIndex(batches[1].range.first);
    assert_eq!(landing.learn(Arc::new(content.clone())), Ok(vec![bad]));
    assert_eq!(landing.content_hash(), Some(content.hash));
    assert!(landing.learn(Arc::new(content.clone())).is_err(), "it is known");
    // From now on no hash that comes along counts.
    assert_eq!(write(batches[1], &other), [bad]);
    assert!(landing.commit().is_err(), "a chunk is missing");
    landing.abandon(true).unwrap();
    assert_eq!(landing.learn(Arc::new(content.clone())).unwrap_err().kind, JobErrorKind::Cancelled);

    let landing = prepare();
    assert_eq!(landing.learn(Arc::new(content.clone())), Ok(vec![]));
    for batch in batches {
        assert!(landing.write(batch, &batch_bytes(&game, &plan.manifest, batch), None).unwrap().is_empty());
    }
    let landed = landing.commit().unwrap();
    assert_eq!(landed.content, Some(content));
    assert_eq!(without_directories(stored(&disk.root)), game);
}

#[test]
fn an_update_replaces_what_was_listed_and_leaves_the_rest() {
    let disk = disk();
    let old = files(&[
        ("version.ini", 3),
        ("game.eti", 3 * CHUNK),
        ("old.eti", 50),
        ("gone/only/here", 5),
        ("Z", 7),
        ("data", 9),
        ("was/dir/a", 4),
    ]);
    let own = files(&[("local/save", 10), ("gone/mine", 3)]);
    store_brought(&disk, &old);
    store(&disk.root, &own);
    let mut new = new_game();
    new.extend(files(&[("was", 77)]));
    let previous = previous(&old);
    let landing = prepare_at(&disk.dir, plan(&new, true), Some(&previous), &SpaceLedger::default(), &quiet()).unwrap();
    let before = stored(&disk.root);
    assert!(before.contains_key("old.eti") && !before.contains_key("version.ini"));
    write_all(&landing, &new).unwrap();
    landing.commit().unwrap();
    let mut expected = new;
    expected.extend(own);
    assert_eq!(without_directories(stored(&disk.root)), expected);
    assert!(!disk.root.join("gone/only").exists());
}

#[test]
fn an_update_deletes_nothing_that_no_download_brought() {
    let disk = disk();
    let old = files(&[("version.ini", 3), ("game.eti", 5), ("old.eti", 50)]);
    let own = files(&[("saves/slot1", 10), ("mods/mine.pak", 3)]);
    store_brought(&disk, &old);
    store(&disk.root, &own);
    // They were seen, and hashed, since.
    let mut seen = old.clone();
    seen.extend(own.clone());
    let previous = previous(&seen);
    let (new, space) = (new_game(), SpaceLedger::default());
    let landing = prepare_at(&disk.dir, plan(&new, true), Some(&previous), &space, &quiet()).unwrap();
    write_all(&landing, &new).unwrap();
    landing.commit().unwrap();
    let mut expected = new;
    expected.extend(own);
    assert_eq!(without_directories(stored(&disk.root)), expected);
}

#[test]
fn what_is_in_the_way_and_was_not_brought_ends_the_download_before_it_begins() {
    let disk = disk();
    let own = files(&[("version.ini", 3), ("data", 9)]);
    store(&disk.root, &own);
    let previous = previous(&own);
    let space = SpaceLedger::default();
    let error = prepare_at(&disk.dir, plan(&new_game(), true), Some(&previous), &space, &quiet()).unwrap_err();
    assert_eq!(error.kind, JobErrorKind::UnsafePath, "{error}");
    assert_eq!(stored(&disk.root), own);
}

#[test]
fn an_abandoned_download_takes_away_what_it_wrote_and_no_more() {
    let (disk, game) = (disk(), new_game());
    let landing = prepare_at(&disk.dir, plan(&game, true), None, &SpaceLedger::default(), &quiet()).unwrap();
    write_all(&landing, &game).unwrap();
    landing.abandon(false).unwrap();
    assert!(!disk.root.exists());
    let batch = batches(landing.manifest())[0];
    assert_eq!(landing.write(batch, &[0; CHUNK], None).unwrap_err().kind, JobErrorKind::Cancelled);

    let own = files(&[("data/mine", 3), ("local/save", 4)]);
    store(&disk.root, &own);
    let landing = prepare_at(&disk.dir, plan(&game, true), None, &SpaceLedger::default(), &quiet()).unwrap();
    write_all(&landing, &game).unwrap();
    landing.abandon(false).unwrap();
    assert_eq!(without_directories(stored(&disk.root)), own);
}

#[test]
fn abandoning_with_keep_leaves_the_bytes_without_a_sentinel() {
    let (disk, game) = (disk(), new_game());
    store_brought(&disk, &files(&[("version.ini", 3)]));
    let landing = prepare_at(&disk.dir, plan(&game, true), None, &SpaceLedger::default(), &quiet()).unwrap();
    write_all(&landing, &game).unwrap();
    landing.abandon(true).unwrap();
    let mut expected = game;
    expected.remove("version.ini");
    expected.remove("data/empty");
    assert_eq!(without_directories(stored(&disk.root)), expected);
}

#[test]
fn the_old_game_comes_back_when_not_a_byte_of_it_was_touched() {
    let disk = disk();
    let old = files(&[("version.ini", 3), ("game.eti", 5)]);
    store(&disk.root, &old);
    let landing = prepare_at(&disk.dir, plan(&new_game(), true), None, &SpaceLedger::default(), &quiet()).unwrap();
    assert!(!disk.root.join("version.ini").exists());
    landing.abandon(false).unwrap();
    assert_eq!(stored(&disk.root), old);
}

#[cfg(unix)]
#[test]
fn a_link_in_the_way_is_refused_while_the_old_sentinel_still_stands() {
    for link in ["game.eti", "data", "data/deep", "version.ini"] {
        let disk = disk();
        let mut old = files(&[("version.ini", 3), ("data/other", 3)]);
        old.retain(|path, _| !path.starts_with(link));
        store(&disk.root, &old);
        std::os::unix::fs::symlink("/tmp", disk.root.join(link)).unwrap();
        let error =
            prepare_at(&disk.dir, plan(&new_game(), true), None, &SpaceLedger::default(), &quiet()).unwrap_err();
        assert_eq!(error.kind, JobErrorKind::UnsafePath, "{link}: {error}");
        assert!(old.iter().all(|(path, bytes)| std::fs::read(disk.root.join(path)).unwrap() == *bytes), "{link}");
    }
}

#[cfg(unix)]
#[test]
fn a_file_with_another_name_elsewhere_is_not_written_through() {
    let (disk, game) = (disk(), new_game());
    let old = files(&[("version.ini", 3), ("z", 50)]);
    store_brought(&disk, &old);
    let twin = disk.dir.path().join("twin");
    std::fs::hard_link(disk.root.join("z"), &twin).unwrap();
    let landing = prepare_at(&disk.dir, plan(&game, true), None, &SpaceLedger::default(), &quiet()).unwrap();
    write_all(&landing, &game).unwrap();
    landing.commit().unwrap();
    assert_eq!(std::fs::read(twin).unwrap(), old["z"]);
    assert_eq!(without_directories(stored(&disk.root)), game);
}

#[test]
fn threads_that_write_many_files_in_any_order_and_twice_make_one_whole_game() {
    let mut game = files(&[("version.ini", 30), ("big", 9 * CHUNK + 1)]);
    for i in 0..400 {
        game.insert(format!("dir{}/file{i}.exe", i % 7), format!("content of {i}").into_bytes());
    }
    let disk = disk();
    let landing = prepare_at(&disk.dir, plan(&game, true), None, &SpaceLedger::default(), &quiet()).unwrap();
    let mut work = batches(landing.manifest());
    work.extend(work.clone().into_iter().rev());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(&batch) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let bytes = batch_bytes(&game, landing.manifest(), batch);
                    assert_eq!(landing.write(batch, &bytes, None).unwrap(), []);
                }
            });
        }
    });
    landing.commit().unwrap();
    assert_eq!(without_directories(stored(&disk.root)), game);
}

/// Fails the operation with this number and no other.
struct FailAt {
    seen: AtomicUsize,
    failing: usize,
}

impl Hook for FailAt {
    fn before(&self, _: Op<'_>) -> io::Result<()> {
        let fails = self.seen.fetch_add(1, Ordering::Relaxed) == self.failing;
        if fails { Err(io::Error::other("planted")) } else { Ok(()) }
    }
}

#[test]
fn whichever_operation_fails_a_sentinel_speaks_for_complete_bytes_only() {
    // More files than are synced one by one, in the second round.
    let many: Vec<(String, usize)> = (0..70).map(|i| (format!("many/{i}"), 10)).collect();
    let small = files(&[
        ("game.eti", CHUNK + 9),
        ("data/deep/map.bin", 1000),
        ("data/empty", 0),
        ("version.ini", 12),
        ("z", 9),
    ]);
    let mut large = small.clone();
    large.extend(files(&many.iter().map(|(path, len)| (path.as_str(), *len)).collect::<Vec<_>>()));
    let old = files(&[("version.ini", 3), ("game.eti", 5), ("old.eti", 6), ("Z", 7)]);
    // One that has most of the new one: a part of a file, a whole file, a file under another name, and one too long.
    let mut alike = small.clone();
    alike.get_mut("game.eti").unwrap()[CHUNK + 3] ^= 1;
    let map = alike.remove("data/deep/map.bin").unwrap();
    alike.extend([("old/map.bin".to_owned(), map), ("version.ini".to_owned(), vec![7; 3])]);
    alike.get_mut("z").unwrap().push(0);
    // Of the large game only what comes after the writes: that is where it differs.
    let cases = [
        (small.clone(), None, 0),
        (small.clone(), Some(&old), 0),
        (large, Some(&old), 3 * many.len()),
        (small, Some(&alike), 0),
    ];
    for (game, old, first) in cases {
        let (is_update, reuses) = (old.is_some(), old == Some(&alike));
        let old_game = old.map(previous);
        let old = old.cloned().unwrap_or_default();
        for failing in first.. {
            let disk = disk();
            store_brought(&disk, &old);
            let hook = Arc::new(FailAt { seen: AtomicUsize::new(0), failing });
            let previous = old_game.as_ref();
            let prepared =
                prepare_at(&disk.hooked(hook.clone()), plan(&game, true), previous, &SpaceLedger::default(), &quiet());
            let result = prepared.as_ref().map_err(JobError::clone).and_then(|landing| {
                write_all(landing, &game)?;
                landing.commit()
            });
            let now = without_directories(stored(&disk.root));
            let has_all_of = |game: &Files| game.iter().all(|(path, bytes)| now.get(path) == Some(bytes));
            match (now.contains_key("version.ini"), &result) {
                (true, Ok(_)) => assert!(has_all_of(&game), "{failing}: committed, and not complete"),
                (true, Err(_)) => assert!(is_update && has_all_of(&old), "{failing}: a sentinel that lies"),
                (false, Ok(_)) => panic!("{failing}: committed without a sentinel"),
                (false, Err(_)) => {}
            }
            if let (Ok(landing), Err(_)) = (&prepared, &result) {
                assert!(landing.commit().is_err(), "{failing}: a second commit trusted an fsync that had failed");
                landing.abandon(false).unwrap();
                let left = stored(&disk.root);
                // What was not there before is gone.
                let ours = |path: &String| game.contains_key(path) && !old.contains_key(path);
                assert!(!left.keys().any(|path| path.starts_with(".version") || ours(path)), "{failing}: {left:?}");
                // What came of the old game is of use to the next attempt, and no obstacle.
                let again = prepare_at(&disk.dir, plan(&game, true), previous, &SpaceLedger::default(), &quiet());
                let again = again.unwrap();
                write_all(&again, &game).unwrap();
                again.commit().unwrap();
                let now = without_directories(stored(&disk.root));
                assert!(game.iter().all(|(path, bytes)| now.get(path) == Some(bytes)), "{failing}");
                continue;
            }
            if hook.seen.load(Ordering::Relaxed) <= failing {
                result.unwrap();
                assert!(!reuses || !prepared.unwrap().kept().is_empty());
                assert!(failing > 20, "only {failing} operations were seen");
                break;
            }
        }
    }
}

/// What would be lost if the power went now.
#[derive(Default)]
struct PowerCut {
    unsynced_files: BTreeSet<PathBuf>,
    unsynced_dirs: BTreeSet<PathBuf>,
    /// Whether the old sentinel is durably gone.
    sentinel_gone: bool,
    sentinel_came: bool,
    /// It is on the disk that the files of the plan are lanspread's.
    claimed: bool,
    faults: Vec<String>,
}

impl PowerCut {
    fn name_changed(&mut self, path: &Path) {
        self.unsynced_dirs.insert(path.parent().unwrap().to_owned());
    }

    fn see(&mut self, op: Op<'_>) {
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        if let Op::Rename(_, to) = op
            && to.parent().is_some_and(|dir| name(dir) == "incoming")
        {
            self.claimed = true;
        }
        let path = match op {
            Op::Create(path) | Op::SetLen(path, _) | Op::SyncFile(path) | Op::MakeDir(path) | Op::SyncDir(path) => path,
            Op::SyncFileSystem(path) | Op::Rename(path, _) | Op::RemoveFile(path) | Op::RemoveDir(path) => path,
            Op::Write { path, .. } => path,
        };
        if path.components().any(|part| part.as_os_str() == ".lanspread") {
            return;
        }
        match op {
            Op::Create(path) if name(path) == ".version.ini.tmp" => {
                // From here on the sentinel is on its way: everything it will speak for must be durable.
                if !self.unsynced_files.is_empty() || !self.unsynced_dirs.is_empty() {
                    self.faults.push(format!("not durable: {:?} {:?}", self.unsynced_files, self.unsynced_dirs));
                }
                self.unsynced_files.insert(path.to_owned());
                self.name_changed(path);
            }
            Op::Create(path) => {
                self.unsynced_files.insert(path.to_owned());
                self.name_changed(path);
            }
            Op::Write { path, .. } | Op::SetLen(path, _) => {
                if !self.sentinel_gone {
                    self.faults.push(format!("{path:?} was written under the old sentinel"));
                }
                if !self.claimed {
                    self.faults.push(format!("{path:?} was written before it was claimed"));
                }
                self.unsynced_files.insert(path.to_owned());
            }
            Op::SyncFile(path) => {
                self.unsynced_files.remove(path);
            }
            Op::MakeDir(path) if path.exists() => {}
            Op::MakeDir(path) => self.name_changed(path),
            Op::RemoveDir(path) => {
                if std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none()) {
                    self.unsynced_dirs.remove(path);
                    self.name_changed(path);
                }
            }
            Op::RemoveFile(path) if !path.exists() => {}
            Op::RemoveFile(path) => {
                if !self.sentinel_gone {
                    self.faults.push(format!("{path:?} was removed under the old sentinel"));
                }
                // A removed scratch file that comes back after a power cut is swept.
                if !name(path).starts_with(".version.ini.") {
                    self.name_changed(path);
                }
            }
            Op::SyncDir(path) => {
                self.unsynced_dirs.remove(path);
                if name(path) == "quake" {
                    self.sentinel_gone = true;
                }
            }
            Op::SyncFileSystem(_) => {
                self.unsynced_files.clear();
                self.unsynced_dirs.clear();
            }
            Op::Rename(from, to) => {
                if name(to) == "version.ini" {
                    self.sentinel_came = true;
                    if self.unsynced_files.contains(from) {
                        self.faults.push("the sentinel was named before its bytes were durable".to_owned());
                    }
                } else {
                    self.sentinel_gone = false;
                }
                self.name_changed(to);
            }
        }
    }
}

struct PowerWatch(Mutex<PowerCut>);

impl Hook for PowerWatch {
    fn before(&self, op: Op<'_>) -> io::Result<()> {
        self.0.lock().unwrap().see(op);
        Ok(())
    }
}

#[test]
fn bytes_and_names_are_durable_before_the_sentinel_and_the_old_one_is_gone_before_the_first_byte() {
    let old = files(&[("version.ini", 3), ("game.eti", 5), ("gone/old", 6), ("gone2/deep/old", 6)]);
    let old_game = previous(&old);
    let mut many = new_game();
    many.extend((0..80).map(|i| (format!("many{i}/file"), b"x".to_vec())));
    for game in [new_game(), many] {
        for previous in [None, Some(&old_game)] {
            let disk = disk();
            if previous.is_some() {
                store_brought(&disk, &old);
            }
            let watch = Arc::new(PowerWatch(Mutex::default()));
            let landing =
                prepare_at(&disk.hooked(watch.clone()), plan(&game, true), previous, &SpaceLedger::default(), &quiet())
                    .unwrap();
            write_all(&landing, &game).unwrap();
            landing.commit().unwrap();
            let cut = watch.0.lock().unwrap();
            assert!(cut.faults.is_empty(), "{:#?}", cut.faults);
            assert!(cut.sentinel_came);
            assert!(cut.unsynced_files.is_empty() && cut.unsynced_dirs.is_empty(), "{:?}", cut.unsynced_dirs);
        }
    }
}
