//! A user who edits, adds and removes files between any two steps of a download: no byte that no download brought is ever
//! lost.

use super::*;
use crate::fs::model::{insert_file, read_tree, write_tree};
use crate::index::GameDir;

/// What the user does, once, before one operation of the download.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Deed {
    /// Writes a file anew, with other bytes and another length.
    Edit(&'static str),
    /// The same under a new file that takes the place of the old one, as editors do.
    Replace(&'static str),
    Remove(&'static str),
}

/// How a download ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    Commit,
    Cancel,
    Fail,
}

const MINE: &[u8] = b"100 hours of play";

/// Does the deed before the operation of this number.
struct User {
    home: PathBuf,
    deed: Deed,
    at: usize,
    seen: AtomicUsize,
    /// What the download had opened for writing by then: from there on it is the download's.
    opened: Mutex<BTreeSet<PathBuf>>,
    wrote: AtomicBool,
}

impl User {
    fn act(&self, op: Op<'_>) {
        let (Deed::Edit(path) | Deed::Replace(path) | Deed::Remove(path)) = self.deed;
        let path = self.home.join("quake").join(path);
        // Looking at a file and the operation that follows are one step: no system has both in one call.
        let is_at_it = match op {
            Op::Create(of) | Op::RemoveFile(of) => of == path,
            Op::Rename(from, to) => from == path || to == path,
            _ => false,
        };
        if is_at_it || self.opened.lock().unwrap().contains(&path) {
            return;
        }
        match self.deed {
            Deed::Remove(_) => drop(std::fs::remove_file(path)),
            Deed::Edit(_) if path.exists() => {
                std::fs::write(path, MINE).unwrap();
                self.wrote.store(true, Ordering::Relaxed);
            }
            Deed::Edit(_) | Deed::Replace(_) => {
                let made = path.parent().is_some_and(|dir| std::fs::create_dir_all(dir).is_ok());
                let temporary = path.with_extension("swp");
                if made && std::fs::write(&temporary, MINE).is_ok() {
                    match std::fs::rename(&temporary, path) {
                        Ok(()) => self.wrote.store(true, Ordering::Relaxed),
                        // A directory by now.
                        Err(_) => std::fs::remove_file(temporary).unwrap(),
                    }
                }
            }
        }
    }
}

impl Hook for User {
    fn before(&self, op: Op<'_>) -> io::Result<()> {
        if self.seen.fetch_add(1, Ordering::Relaxed) == self.at {
            self.act(op);
        }
        if let Op::Create(path) = op {
            self.opened.lock().unwrap().insert(path.to_owned());
        }
        Ok(())
    }
}

/// What was downloaded before: a file that stays, one that goes, one that moves.
fn old() -> Files {
    files(&[("version.ini", 3), ("game.eti", 5), ("settings.ini", 8), ("gone/old", 6)])
}

fn new() -> Files {
    files(&[("version.ini", 4), ("game.eti", 9), ("settings.ini", 8), ("data/map", 7), ("data/empty", 0)])
}

fn newer() -> Files {
    files(&[("version.ini", 5), ("game.eti", 19), ("settings.ini", 7), ("data/map", 17), ("saves/slot1", 2)])
}

fn download(dir: &Dir, game: &Files, ending: Ending) -> Result<(), JobError> {
    let landing = prepare_at(dir, plan(game, true), None, &SpaceLedger::default(), &quiet())?;
    let done = write_all(&landing, game).and_then(|()| match ending {
        Ending::Commit => landing.commit().map(drop),
        Ending::Cancel | Ending::Fail => Ok(()),
    });
    match ending {
        Ending::Commit if done.is_ok() => {}
        Ending::Cancel => landing.abandon(false)?,
        Ending::Commit | Ending::Fail => landing.abandon(true)?,
    }
    done
}

fn has_mine(home: &Path) -> bool {
    read_tree(home).values().any(|node| node.as_deref() == Some(MINE))
}

/// Runs it with the deed before operation `at`. Whether there was such an operation, and whether the user wrote.
fn run(deed: Deed, ending: Ending, at: usize) -> (bool, bool) {
    let about = format!("{deed:?} before operation {at}, {ending:?}");
    let temp = in_memory();
    let mut tree = Tree::new();
    for (path, bytes) in old() {
        insert_file(&mut tree, &format!("quake/{path}"), &bytes);
    }
    insert_brought(&mut tree, Some(&old()));
    write_tree(temp.path(), &tree);
    let user = Arc::new(User {
        home: temp.path().to_owned(),
        deed,
        at,
        seen: AtomicUsize::new(0),
        opened: Mutex::default(),
        wrote: AtomicBool::new(false),
    });
    let hooked = Dir::open_hooked(temp.path(), user.clone()).unwrap();
    let result = download(&hooked, &new(), ending);
    let wrote = user.wrote.load(Ordering::Relaxed);
    let keeps = |when: &str| assert!(has_mine(temp.path()) || !wrote, "{about}: lost {when} ({result:?})");
    keeps("by the download");

    // The next start, another download, and the removal.
    let home = temp.path();
    drop(GameDir::open_in(Dir::open(home).unwrap()).unwrap());
    keeps("by the next start");
    let again = download(&Dir::open(home).unwrap(), &newer(), Ending::Commit);
    keeps("by the next download");
    if let Err(error) = again {
        // Of a file where a directory is needed, and the like.
        assert!(wrote && error.message.len() > 20, "{about}: {error}");
    }
    let (games, _) = GameDir::open_in(Dir::open(home).unwrap()).unwrap();
    let game = "quake".parse().unwrap();
    let files = games.files_to_remove(&game).unwrap();
    crate::install::remove(games.dir(), &game, &files).unwrap();
    keeps("by the removal");
    (user.seen.load(Ordering::Relaxed) > at, wrote)
}

#[test]
fn no_byte_of_a_user_who_meddles_between_any_two_steps_is_lost() {
    let edited = ["version.ini", "game.eti", "settings.ini", "gone/old"];
    let added = ["data/map", "data/empty", "saves/slot1", "data", "gone/mine"];
    let edits = edited.into_iter().flat_map(|path| [Deed::Edit(path), Deed::Replace(path), Deed::Remove(path)]);
    for deed in edits.chain(added.map(Deed::Replace)) {
        for ending in [Ending::Commit, Ending::Cancel, Ending::Fail] {
            let (mut operations, mut written) = (0, 0);
            while let (true, wrote) = run(deed, ending, operations) {
                operations += 1;
                written += usize::from(wrote);
            }
            assert!(operations > 15, "{deed:?} {ending:?}: {operations}");
            assert!(written > 5 || matches!(deed, Deed::Remove(_)), "{deed:?} {ending:?}: {written}");
        }
    }
}

#[test]
fn a_file_that_was_changed_is_kept_under_another_name_and_told() {
    let disk = disk();
    store_brought(&disk, &old());
    let mine = Files::from([
        ("settings.ini".to_owned(), MINE.to_vec()),
        ("settings.ini.mine".to_owned(), b"older".to_vec()),
        ("saves/slot1".to_owned(), MINE.to_vec()),
    ]);
    store(&disk.root, &mine);
    let landing = prepare_at(&disk.dir, plan(&new(), true), None, &SpaceLedger::default(), &quiet()).unwrap();
    let told: Vec<_> =
        landing.kept_aside().iter().map(|kept| (kept.file.to_string(), kept.kept_as.to_string())).collect();
    assert_eq!(told, [("settings.ini".to_owned(), "settings.ini.mine.2".to_owned())]);
    write_all(&landing, &new()).unwrap();
    landing.commit().unwrap();
    let mut expected = new();
    expected.extend([
        ("settings.ini.mine".to_owned(), b"older".to_vec()),
        ("settings.ini.mine.2".to_owned(), MINE.to_vec()),
        ("saves/slot1".to_owned(), MINE.to_vec()),
    ]);
    assert_eq!(without_directories(stored(&disk.root)), expected);
}

#[test]
fn a_cancelled_download_gives_the_user_his_names_back() {
    let disk = disk();
    let own = files(&[("version.ini", 3), ("game.eti", 50), ("settings.ini", 30), ("gone/old", 6)]);
    store(&disk.root, &own);
    let landing = prepare_at(&disk.dir, plan(&new(), true), None, &SpaceLedger::default(), &quiet()).unwrap();
    let told = landing.kept_aside().into_iter().map(|kept| kept.file.to_string()).collect::<Vec<_>>();
    assert_eq!(told, ["game.eti", "settings.ini", "version.ini"], "nothing of it was brought");
    write_all(&landing, &new()).unwrap();
    landing.abandon(false).unwrap();
    assert_eq!(without_directories(stored(&disk.root)), own);
}

#[test]
fn chunks_of_a_file_that_is_kept_aside_are_copied_and_not_fetched() {
    let disk = disk();
    let game = files(&[("version.ini", 3), ("game.eti", 3 * CHUNK + 9)]);
    let mut own = game.clone();
    own.get_mut("game.eti").unwrap()[CHUNK + 1] ^= 1;
    store(&disk.root, &own);
    let landing = prepare_at(&disk.dir, plan(&game, true), None, &SpaceLedger::default(), &quiet()).unwrap();
    let kept: u32 = landing.kept().iter().map(|range| range.count).sum();
    assert_eq!(kept, landing.manifest().chunk_count() - 1);
    write_all(&landing, &game).unwrap();
    landing.commit().unwrap();
    let mut expected = game;
    expected.insert("game.eti.mine".to_owned(), own["game.eti"].clone());
    assert_eq!(without_directories(stored(&disk.root)), expected);
}

#[test]
fn bytes_that_a_disk_damaged_are_mended_in_place() {
    // Size and time are as the download left them: nobody wrote to it.
    let disk = disk();
    let game = files(&[("version.ini", 3), ("game.eti", 2 * CHUNK)]);
    let landing = prepare_at(&disk.dir, plan(&game, true), None, &SpaceLedger::default(), &quiet()).unwrap();
    write_all(&landing, &game).unwrap();
    landing.commit().unwrap();
    let path = disk.root.join("game.eti");
    let time = std::fs::metadata(&path).unwrap().modified().unwrap();
    let mut bytes = game["game.eti"].clone();
    bytes[9] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    let landing = prepare_at(&disk.dir, plan(&game, true), None, &SpaceLedger::default(), &quiet()).unwrap();
    assert_eq!(landing.kept_aside(), []);
    write_all(&landing, &game).unwrap();
    landing.commit().unwrap();
    assert_eq!(without_directories(stored(&disk.root)), game);
}
