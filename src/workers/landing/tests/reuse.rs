//! What lies on the disk already is not fetched, and is not lost.

use super::*;
use crate::fs::model::{Event, Model, Recorder, read_tree, write_tree};

/// Chunks that were kept.
fn kept(landing: &Landing) -> BTreeSet<u32> {
    landing.kept().iter().flat_map(|range| range.iter()).map(|index| index.0).collect()
}

/// The numbers of a file's chunks.
fn chunks(landing: &Landing, path: &str) -> std::ops::Range<u32> {
    let at = landing.manifest().files().iter().position(|file| file.path.as_str() == path).unwrap();
    landing.manifest().chunks_of_file(at)
}

fn prepare(dir: &Dir, game: &Files, old: Option<&Files>) -> Result<Landing, JobError> {
    if let Some(old) = old {
        // What comes before is nothing that a hook should see.
        let records = records(&Dir::open(dir.path()).unwrap());
        records.save_brought(&"quake".parse().unwrap(), &brought(old)).unwrap();
    }
    let old = old.map(previous);
    prepare_at(dir, plan(game, true), old.as_ref(), &SpaceLedger::default(), &quiet())
}

fn commit(landing: &Landing, game: &Files) {
    write_all(landing, game).unwrap();
    landing.commit().unwrap();
}

/// The same bytes, but for some of them.
fn flipped(files: &Files, at: &[(&str, usize)]) -> Files {
    let mut files = files.clone();
    at.iter().for_each(|(path, at)| files.get_mut(*path).unwrap()[*at] ^= 0x40);
    files
}

#[test]
fn chunks_that_lie_in_their_places_are_kept_and_only_the_others_are_missing() {
    let (disk, game) = (disk(), new_game());
    store_left(&disk, &flipped(&game, &[("game.eti", CHUNK + 5), ("z", 0)]));
    let landing = prepare(&disk.dir, &game, None).unwrap();
    let all: BTreeSet<u32> = (0..landing.manifest().chunk_count()).collect();
    let bad = BTreeSet::from([chunks(&landing, "game.eti").start + 1, chunks(&landing, "z").start]);
    let bad = &bad | &chunks(&landing, "version.ini").collect();
    assert_eq!(kept(&landing), &all - &bad);
    assert!(!disk.root.join("version.ini").exists());
    write_all(&landing, &game).unwrap();
    landing.commit().unwrap();
    assert_eq!(without_directories(stored(&disk.root)), game);
}

#[test]
fn a_game_that_is_all_there_is_committed_without_a_byte_and_made_durable() {
    let (disk, game) = (disk(), new_game());
    store(&disk.root, &game);
    let recorder = Arc::new(Recorder::new(disk.dir.path(), None));
    let landing = prepare(&disk.hooked(recorder.clone()), &game, None).unwrap();
    assert_eq!(landing.kept(), [ChunkRange { first: 0, count: landing.manifest().chunk_count() }]);
    let landed = landing.commit().unwrap();
    assert_eq!(landed.content, plan(&game, true).content);
    assert_eq!(without_directories(stored(&disk.root)), game);
    let (_, events) = recorder.seen();
    for path in game.keys().filter(|path| *path != "version.ini") {
        let synced = |event: &Event| matches!(event, Event::SyncFile(synced) if *synced == format!("quake/{path}"));
        assert!(events.iter().any(synced), "{path} was not flushed");
    }
    let writes: Vec<_> =
        events.iter().filter(|event| matches!(event, Event::Write(path, ..) if path.starts_with("quake"))).collect();
    assert!(matches!(writes[..], [Event::Write(path, ..)] if path == "quake/.version.ini.tmp"), "{writes:?}");
}

#[test]
fn a_kept_file_gets_its_length_and_its_executable_bit() {
    let (disk, mut game) = (disk(), files(&[("version.ini", 3), ("tool.exe", 100), ("long", CHUNK), ("empty", 0)]));
    let mut old = game.clone();
    for path in ["long", "empty"] {
        let bytes = [game[path].as_slice(), b"more"].concat();
        old.insert(path.to_owned(), bytes);
    }
    store(&disk.root, &old);
    let landing = prepare(&disk.dir, &game, Some(&old)).unwrap();
    assert_eq!(kept(&landing).len() as u32, landing.manifest().chunk_count());
    commit(&landing, &game);
    assert_eq!(without_directories(stored(&disk.root)), game);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(disk.root.join("tool.exe")).unwrap().permissions().mode();
        assert_eq!(mode & 0o100, 0o100);
    }
    // Cut off within its last chunk: that one is missing, and what lies before it is not.
    game.insert("long".to_owned(), [game["long"].clone(), vec![9; 50]].concat());
    let old = Files::from([("long".to_owned(), game["long"][..CHUNK + 49].to_vec())]);
    store(&disk.root, &old);
    let landing = prepare(&disk.dir, &game, Some(&old)).unwrap();
    let long = chunks(&landing, "long");
    assert_eq!(kept(&landing).iter().filter(|chunk| long.contains(chunk)).collect::<Vec<_>>(), [&long.start]);
}

#[test]
fn renamed_and_moved_bytes_are_copied_from_the_old_game_if_they_are_still_those() {
    let disk = disk();
    let old =
        files(&[("version.ini", 3), ("data/one.pak", 2 * CHUNK + 5), ("data/second.pak", CHUNK), ("stays", CHUNK)]);
    store(&disk.root, &old);
    // One is renamed; two moved into another file, but is damaged on the disk; a chunk that stays is there once more.
    let mut game = files(&[("version.ini", 4), ("a-new-file", 1000)]);
    game.insert("stays".to_owned(), old["stays"].clone());
    game.insert("data2/uno.pak".to_owned(), old["data/one.pak"].clone());
    game.insert("joined".to_owned(), [vec![1; CHUNK], old["data/second.pak"].clone(), old["stays"].clone()].concat());
    let mut damaged = flipped(&old, &[("data/second.pak", 9)]);
    damaged.retain(|path, _| path == "data/second.pak");
    store(&disk.root, &damaged);
    let landing = prepare(&disk.dir, &game, Some(&old)).unwrap();
    let mut expected: BTreeSet<u32> = chunks(&landing, "stays").chain(chunks(&landing, "data2/uno.pak")).collect();
    expected.insert(chunks(&landing, "joined").start + 2);
    assert_eq!(kept(&landing), expected);
    commit(&landing, &game);
    // What is not as it was brought may be the user's.
    game.extend(damaged);
    assert_eq!(without_directories(stored(&disk.root)), game, "what was renamed is not there twice");
}

#[test]
fn bytes_are_not_copied_from_a_file_that_is_being_replaced() {
    let disk = disk();
    let old = files(&[("version.ini", 3), ("one", 1000), ("three", CHUNK)]);
    store(&disk.root, &old);
    let mut game = old.clone();
    // They change places.
    game.insert("one".to_owned(), old["three"].clone());
    game.insert("three".to_owned(), old["one"].clone());
    let landing = prepare(&disk.dir, &game, Some(&old)).unwrap();
    assert_eq!(kept(&landing), chunks(&landing, "version.ini").collect());
    commit(&landing, &game);
    assert_eq!(without_directories(stored(&disk.root)), game);
}

#[test]
fn nothing_is_kept_of_a_file_that_goes_under_another_spelling() {
    // On a file system that ignores case both names are one file, which is removed before the new one is written.
    let disk = disk();
    let old = files(&[("version.ini", 3), ("Data.pak", CHUNK + 1)]);
    store(&disk.root, &old);
    let mut game = files(&[("version.ini", 4)]);
    game.insert("data.pak".to_owned(), old["Data.pak"].clone());
    store(&disk.root, &Files::from([("data.pak".to_owned(), old["Data.pak"].clone())]));
    let landing = prepare(&disk.dir, &game, Some(&old)).unwrap();
    assert_eq!(landing.kept(), []);
    commit(&landing, &game);
    // Here case counts, and this file was nobody's but the user's.
    #[cfg(target_os = "linux")]
    game.insert("data.pak.mine".to_owned(), old["Data.pak"].clone());
    assert_eq!(without_directories(stored(&disk.root)), game);
}

#[test]
fn without_known_hashes_nothing_is_taken_for_good() {
    let (disk, game) = (disk(), new_game());
    store(&disk.root, &game);
    let (old, ledger) = (previous(&game), SpaceLedger::default());
    let landing = prepare_at(&disk.dir, plan(&game, false), Some(&old), &ledger, &quiet()).unwrap();
    assert_eq!(landing.kept(), []);
}

#[test]
fn a_download_that_failed_or_was_cut_off_goes_on_from_its_files() {
    for abandoned in [true, false] {
        let (disk, game) = (disk(), new_game());
        let first = prepare(&disk.dir, &game, None).unwrap();
        let mut expected = BTreeSet::new();
        for batch in batches(first.manifest()).into_iter().step_by(2) {
            first.write(batch, &batch_bytes(&game, first.manifest(), batch), None).unwrap();
            expected.extend(batch.range.iter().map(|index| index.0));
        }
        if abandoned {
            first.abandon(true).unwrap();
        }
        // The sentinel was held in memory alone.
        expected = &expected - &chunks(&first, "version.ini").collect();
        assert!(!expected.is_empty());
        let second = prepare(&disk.dir, &game, None).unwrap();
        assert_eq!(kept(&second), expected);
        commit(&second, &game);
        assert_eq!(without_directories(stored(&disk.root)), game);
    }
}

#[test]
fn it_tells_how_far_it_is_and_can_be_given_up_at_every_chunk() {
    let mut game = files(&[("version.ini", 3), ("big", 3 * CHUNK + 7)]);
    let mut old = game.clone();
    old.insert("was".to_owned(), files(&[("moved", CHUNK + 1)]).remove("moved").unwrap());
    game.insert("is".to_owned(), old["was"].clone());
    // Four chunks lie in their places, two are copied.
    for allowed in 0..7 {
        let disk = disk();
        store(&disk.root, &old);
        let (cancel, reports) = (AtomicBool::new(allowed == 0), Mutex::new(Vec::new()));
        let id: GameId = "quake".parse().unwrap();
        let progress = |done, total| {
            let mut reports = reports.lock().unwrap();
            if reports.last() != Some(&(done, total)) {
                reports.push((done, total));
            }
            cancel.store(reports.len() >= allowed, Ordering::Relaxed);
        };
        let (watch, old_game, ledger) = (Watch::new(&id, &progress, &cancel), previous(&old), SpaceLedger::default());
        let result = prepare_at(&disk.dir, plan(&game, true), Some(&old_game), &ledger, &watch);
        let reports = reports.lock().unwrap();
        assert!(reports.windows(2).all(|pair| pair[0].0 < pair[1].0) && reports.iter().all(|(done, of)| done <= of));
        assert_eq!(reports.len(), allowed.min(6));
        if allowed < 6 {
            assert_eq!(result.unwrap_err().kind, JobErrorKind::Cancelled);
            assert_eq!(stored(&disk.root), old, "nothing was overwritten: the old game is back");
        } else {
            assert_eq!(reports.last().map(|(done, of)| done == of), Some(true));
            commit(&result.unwrap(), &game);
        }
    }
}

#[test]
fn a_cancelled_update_takes_away_what_it_made_and_leaves_what_was_there() {
    let old = files(&[("version.ini", 3), ("big", 3 * CHUNK), ("same", 77), ("was", 500), ("stale", 9)]);
    let mut game = flipped(&old, &[("big", 5)]);
    game.remove("stale");
    let renamed = game.remove("was").unwrap();
    game.extend([("is".to_owned(), renamed), ("version.ini".to_owned(), b"2".to_vec())]);
    game.extend(files(&[("fresh/file", 10)]));
    for writes_old in [false, true] {
        let disk = disk();
        store(&disk.root, &old);
        let landing = prepare(&disk.dir, &game, Some(&old)).unwrap();
        assert!(disk.root.join("is").exists(), "it was copied");
        for index in (0..landing.manifest().chunk_count()).map(ChunkIndex) {
            let chunk = landing.manifest().chunk(index).unwrap();
            let is_old = landing.manifest().files()[chunk.file].path.as_str() == "big";
            let batch = Batch { range: ChunkRange { first: index.0, count: 1 }, bytes: chunk.len };
            if writes_old || !is_old {
                landing.write(batch, &batch_bytes(&game, landing.manifest(), batch), None).unwrap();
            }
        }
        landing.abandon(false).unwrap();
        let mut expected = old.clone();
        if writes_old {
            expected.remove("version.ini");
            expected.insert("big".to_owned(), game["big"].clone());
        }
        assert_eq!(stored(&disk.root), expected);
        let again = prepare(&disk.dir, &game, Some(&old)).unwrap();
        assert_eq!(kept(&again).contains(&chunks(&again, "big").start), writes_old);
        commit(&again, &game);
        assert_eq!(without_directories(stored(&disk.root)), game);
    }
}

/// Fails the flush of one file, or of the whole file system.
struct NoFlush(Option<&'static str>);

impl Hook for NoFlush {
    fn before(&self, op: Op<'_>) -> io::Result<()> {
        let fails = match (op, self.0) {
            (Op::SyncFile(path), Some(name)) => path.ends_with(name),
            (Op::SyncFileSystem(_), None) => true,
            _ => false,
        };
        if fails { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }
}

#[test]
fn bytes_whose_flush_failed_are_not_found_good_by_the_next_download() {
    // The system goes on showing them, and says nothing of it to whoever flushes next.
    for was_kept in [false, true] {
        let (disk, game) = (disk(), new_game());
        if was_kept {
            store(&disk.root, &game);
        }
        let landing = prepare(&disk.hooked(Arc::new(NoFlush(Some("game.eti")))), &game, None).unwrap();
        write_all(&landing, &game).unwrap();
        assert_eq!(landing.commit().unwrap_err().kind, JobErrorKind::Io);
        landing.abandon(true).unwrap();
        assert!(!disk.root.join("game.eti").exists() && !disk.root.join("version.ini").exists());
        let again = prepare(&disk.dir, &game, None).unwrap();
        let lost: BTreeSet<u32> = chunks(&again, "game.eti").chain(chunks(&again, "version.ini")).collect();
        assert_eq!(kept(&again), &(0..again.manifest().chunk_count()).collect() - &lost);
        commit(&again, &game);
        assert_eq!(without_directories(stored(&disk.root)), game);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_was_kept_is_flushed_file_by_file_also_when_all_is_flushed_at_once() {
    let mut game = new_game();
    game.extend((0..80).map(|i| (format!("many/{i}"), vec![i; 10])));
    let disk = disk();
    store(&disk.root, &game);
    let landing = prepare(&disk.hooked(Arc::new(NoFlush(Some("many/7")))), &game, None).unwrap();
    landing.commit().unwrap_err();
    landing.abandon(true).unwrap();
    assert!(!disk.root.join("many/7").exists() && disk.root.join("many/8").exists());
    // When the call for all fails, each file is asked: here every one of them says that it is safe.
    let landing = prepare(&disk.hooked(Arc::new(NoFlush(None))), &game, None).unwrap();
    write_all(&landing, &game).unwrap();
    landing.commit().unwrap_err();
    landing.abandon(true).unwrap();
    assert!(!disk.root.join("version.ini").exists() && disk.root.join("many/7").exists());
}

#[test]
fn a_file_that_is_changed_after_it_was_found_good_is_not_vouched_for() {
    let (disk, game) = (disk(), new_game());
    store(&disk.root, &game);
    let landing = prepare(&disk.dir, &game, None).unwrap();
    store(&disk.root, &Files::from([("z".to_owned(), vec![0; CHUNK])]));
    let earlier = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
    std::fs::File::options().write(true).open(disk.root.join("z")).unwrap().set_modified(earlier).unwrap();
    assert_eq!(landing.commit().unwrap_err().kind, JobErrorKind::Changed);
    assert!(!disk.root.join("version.ini").exists());
}

/// How a download ends in the enumeration of crashes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    Commit,
    CancelledUntouched,
    CancelledMidway,
}

fn to_tree(files: &Files) -> Tree {
    let mut tree = Tree::new();
    for (path, bytes) in files {
        let path = format!("quake/{path}");
        path.match_indices('/').for_each(|(at, _)| drop(tree.insert(path[..at].to_owned(), None)));
        tree.insert(path, Some(bytes.clone()));
    }
    insert_brought(&mut tree, Some(files));
    tree
}

/// What is left after the sweep that every start begins with.
fn swept(tree: &Tree) -> Files {
    let files = tree.iter().filter_map(|(path, bytes)| Some((path.strip_prefix("quake/")?, bytes.clone()?)));
    files.filter(|(path, _)| !path.starts_with(".version.ini.")).map(|(path, bytes)| (path.to_owned(), bytes)).collect()
}

#[test]
fn after_a_power_cut_at_any_instant_a_sentinel_speaks_for_a_whole_game_and_the_rest_goes_on() {
    let old = files(&[("version.ini", 3), ("changed", 40), ("same", 50), ("dir/was", 60), ("gone", 8)]);
    let mut game = flipped(&old, &[("changed", 11)]);
    game.remove("gone");
    let renamed = game.remove("dir/was").unwrap();
    game.extend([("dir/is".to_owned(), renamed), ("version.ini".to_owned(), b"22".to_vec())]);
    for ending in [Ending::Commit, Ending::CancelledUntouched, Ending::CancelledMidway] {
        let temp = in_memory();
        write_tree(temp.path(), &to_tree(&old));
        let recorder = Arc::new(Recorder::new(temp.path(), None));
        let hooked = Dir::open_hooked(temp.path(), recorder.clone()).unwrap();
        let landing = prepare(&hooked, &game, Some(&old)).unwrap();
        assert_eq!(kept(&landing).len(), 2, "one lies in its place, one was copied");
        if ending != Ending::CancelledUntouched {
            write_all(&landing, &game).unwrap();
        }
        if ending == Ending::Commit {
            landing.commit().unwrap();
        } else {
            landing.abandon(false).unwrap();
        }
        let mut model = Model::new(&to_tree(&old));
        let mut states = model.crash_states();
        for event in &recorder.seen().1 {
            model.apply(event);
            states.extend(model.crash_states());
        }
        let last = swept(&read_tree(temp.path()));
        assert_eq!(last == game, ending == Ending::Commit);
        assert_eq!(last == old, ending == Ending::CancelledUntouched);
        for state in model.crash_states() {
            let has_sentinel = swept(&state).contains_key("version.ini");
            assert_eq!(has_sentinel, ending != Ending::CancelledMidway, "{ending:?}: its end is not durable");
        }
        let (mut with, mut without) = (0, 0);
        for state in &states {
            let found = swept(state);
            if found.contains_key("version.ini") {
                assert!(found == old || found == game, "{ending:?}: a sentinel that lies: {found:?}");
                with += 1;
                continue;
            }
            without += 1;
            let temp = in_memory();
            write_tree(temp.path(), state);
            let landing = prepare(&Dir::open(temp.path()).unwrap(), &game, Some(&old)).unwrap();
            assert!(!kept(&landing).is_empty());
            commit(&landing, &game);
            assert_eq!(swept(&read_tree(temp.path())), game);
        }
        assert!(with > 0 && without > 1, "{ending:?}: {with} {without}");
        println!("{ending:?}: {} crash states", states.len());
    }
}
