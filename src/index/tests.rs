//! The library on a real disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tempfile::TempDir;

use super::*;
use crate::fs::{Hook, Op};
use crate::install::{Intent, IntentLog, OpId};
use crate::types::{CHUNK_SIZE, ChunkHash, Epoch, InstalledBy, LeftOut, LibraryDigest, Revision, content_hash};

/// A game directory that is written to behind the daemon's back.
struct Disk(TempDir);

impl Disk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, rel: &str) -> PathBuf {
        self.0.path().join(rel)
    }

    fn write(&self, rel: &str, bytes: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(rel).parent().unwrap()).unwrap();
        fs::write(self.path(rel), bytes).unwrap();
    }

    fn game(&self, id: &str) {
        self.write(&format!("{id}/version.ini"), "1.0");
        self.write(&format!("{id}/{id}.eti"), id.repeat(10));
        self.write(&format!("{id}/data/maps/one.map"), "map");
    }

    fn open(&self) -> (GameDir, OpenedLibrary) {
        GameDir::open(self.0.path()).unwrap()
    }

    /// Gives the file back the time that it had, as if the clock had not moved.
    fn rewrite_at_the_same_time(&self, rel: &str, bytes: &str) {
        let before = fs::metadata(self.path(rel)).unwrap().modified().unwrap();
        self.write(rel, bytes);
        fs::File::options().write(true).open(self.path(rel)).unwrap().set_modified(before).unwrap();
    }

    fn touch(&self, rel: &str) {
        let file = fs::File::options().write(true).open(self.path(rel)).unwrap();
        let time = file.metadata().unwrap().modified().unwrap() + std::time::Duration::from_secs(2);
        file.set_modified(time).unwrap();
    }
}

fn id(text: &str) -> GameId {
    text.parse().unwrap()
}

fn index_of(games: &[Arc<ScannedGame>], rev: u64) -> LibraryIndex {
    LibraryIndex { epoch: Epoch(7), rev: Revision(rev), digest: LibraryDigest([0; 16]), games: games.to_vec() }
}

fn ids(games: &[Arc<ScannedGame>]) -> Vec<&str> {
    games.iter().map(|game| game.id.as_str()).collect()
}

fn scan(dir: &GameDir, game: &str) -> Arc<ScannedGame> {
    dir.scan_game(&id(game), None).unwrap().unwrap()
}

fn paths(manifest: &Manifest) -> Vec<&str> {
    manifest.files().iter().map(|file| file.path.as_str()).collect()
}

fn files(dir: &GameDir, game: &str) -> ServedManifest {
    dir.read_manifest(&id(game), scan(dir, game).manifest_hash).unwrap()
}

#[test]
fn files_of_desktops_are_no_part_of_a_game() {
    let disk = Disk::new();
    disk.game("quake");
    let (dir, _) = disk.open();
    let before = scan(&dir, "quake");
    for name in [".DS_Store", "data/.DS_Store", "Thumbs.db", "data/maps/desktop.ini", "._version.ini", ".directory"] {
        disk.write(&format!("quake/{name}"), "of a desktop");
    }
    let after = scan(&dir, "quake");
    assert_eq!((after.manifest_hash, after.size), (before.manifest_hash, before.size));
    assert!(after.unportable.is_none());
    disk.write("quake/data/.DS_Store.txt", "of the game");
    assert_ne!(scan(&dir, "quake").manifest_hash, before.manifest_hash);
    // One that holds nothing else is empty.
    disk.write("doom/version.ini", "1.0");
    disk.write("doom/saves/.DS_Store", "of a desktop");
    let with = scan(&dir, "doom");
    fs::remove_file(disk.path("doom/saves/.DS_Store")).unwrap();
    assert_eq!(scan(&dir, "doom").manifest_hash, with.manifest_hash);
}

#[cfg(unix)]
#[test]
fn links_are_listed_with_what_to_do_and_not_followed() {
    use std::os::unix::fs::symlink;
    let (disk, elsewhere) = (Disk::new(), Disk::new());
    elsewhere.game("doom");
    symlink(elsewhere.path("doom"), disk.path("doom")).unwrap();
    symlink(elsewhere.path("nothing"), disk.path("not a game's name. ")).unwrap();
    disk.game("quake");
    symlink(elsewhere.path("doom"), disk.path("quake/local")).unwrap();
    let (dir, opened) = disk.open();
    assert_eq!(ids(&opened.games), ["doom", "quake"]);
    for game in ["doom", "quake"] {
        let reason = scan(&dir, game).unportable.clone().unwrap();
        assert!(reason.contains("is a link, and links are not followed: "), "{reason}");
    }
    assert!(!scan(&dir, "doom").downloaded && scan(&dir, "quake").downloaded);
    fs::remove_file(disk.path("doom")).unwrap();
    assert_eq!(dir.scan_game(&id("doom"), None).unwrap(), None);
    assert!(elsewhere.path("doom/version.ini").exists());
}

static RUN: AtomicBool = AtomicBool::new(false);

#[test]
fn a_second_start_with_2000_unchanged_games_reads_each_root_once() {
    let disk = Disk::new();
    for n in 0..2_000 {
        disk.write(&format!("game{n:04}/version.ini"), "1.0");
    }
    // Enough trees to see one that is entered; making 2,000 of them would take most of the test's time.
    (0..100).for_each(|n| disk.game(&format!("game{n:04}")));
    let (dir, first) = disk.open();
    assert_eq!((first.games.len(), first.index), (2_000, None));
    assert_eq!(dir.directory_reads(), 2_000 + 2 * 100 + 2);
    dir.save_index(&index_of(&first.games, 1)).unwrap();
    drop(dir);

    let (dir, second) = disk.open();
    assert_eq!(second.games, first.games);
    assert_eq!((second.index.unwrap().rev, second.notice), (Revision(1), None));
    // Besides the games: the game directory and that of the content records.
    assert_eq!(dir.directory_reads(), 2_000 + 2);

    disk.write("game0007/new.txt", "new");
    let third = dir.scan_all(&second.games).unwrap();
    // The changed one and its two directories are listed on top.
    assert_eq!(dir.directory_reads(), 2 * (2_000 + 2) + 2);
    let changed: Vec<_> = third.iter().zip(&second.games).filter(|(a, b)| !Arc::ptr_eq(a, b)).collect();
    assert_eq!(changed.len(), 1);
    assert_eq!((changed[0].0.id.as_str(), changed[0].0.size), ("game0007", changed[0].1.size + 3));
}

#[test]
fn a_game_that_appears_changes_or_vanishes_is_seen() {
    let disk = Disk::new();
    disk.game("a");
    disk.game("b");
    disk.write("not a game.txt", "");
    let (dir, opened) = disk.open();
    assert_eq!(ids(&opened.games), ["a", "b"]);
    let a = &opened.games[0];
    assert_eq!((a.eti_version.as_deref(), a.downloaded, a.installed, a.size), (Some("1.0"), true, false, 16));
    assert_eq!(paths(&files(&dir, "a").manifest), ["a.eti", "data/maps/one.map", "version.ini"]);
    assert_eq!(a.manifest_hash, files(&dir, "a").manifest.hash());

    disk.game("c");
    fs::remove_dir_all(disk.path("b")).unwrap();
    fs::remove_file(disk.path("a/version.ini")).unwrap();
    fs::create_dir(disk.path("a/local")).unwrap();
    let now = dir.scan_all(&opened.games).unwrap();
    assert_eq!(ids(&now), ["a", "c"]);
    assert_eq!((now[0].eti_version.as_deref(), now[0].downloaded, now[0].installed), (None, false, true));
    assert_eq!(dir.scan_game(&id("b"), Some(&opened.games[1])).unwrap(), None);
    assert_eq!(dir.scan_game(&id("c"), Some(&now[1])).unwrap().as_ref(), Some(&now[1]));
}

#[test]
fn a_rewrite_of_version_ini_with_the_same_length_and_time_is_seen() {
    let disk = Disk::new();
    disk.game("a");
    let (dir, opened) = disk.open();
    disk.rewrite_at_the_same_time("a/version.ini", "1.1");
    let now = dir.scan_game(&id("a"), Some(&opened.games[0])).unwrap().unwrap();
    assert_eq!(now.eti_version.as_deref(), Some("1.1"));
    assert_eq!(now.manifest_hash, opened.games[0].manifest_hash);
}

#[test]
fn an_unreadable_index_is_set_aside_and_the_games_are_found_all_the_same() {
    let disk = Disk::new();
    disk.game("a");
    let (dir, opened) = disk.open();
    dir.save_index(&index_of(&opened.games, 3)).unwrap();
    drop(dir);
    let good = fs::read(disk.path(".lanspread/index.json")).unwrap();
    for n in 1..=2 * MAX_SET_ASIDE {
        let torn = &good[..good.len() - n as usize];
        disk.write(".lanspread/index.json", torn);
        let (_dir, opened) = disk.open();
        let kept = disk.path(&format!(".lanspread/index.json.unreadable-{}", n.min(MAX_SET_ASIDE)));
        assert_eq!(fs::read(&kept).unwrap(), torn);
        assert!(opened.notice.unwrap().contains(&*kept.file_name().unwrap().to_string_lossy()));
        assert_eq!((opened.index, ids(&opened.games).len()), (None, 1));
        assert!(!disk.path(".lanspread/index.json").exists());
    }
}

#[test]
fn an_index_restored_from_a_backup_is_loaded_as_it_is_beside_the_games_of_today() {
    let disk = Disk::new();
    disk.game("a");
    let (dir, then) = disk.open();
    dir.save_index(&index_of(&then.games, 3)).unwrap();
    let backup = fs::read(disk.path(".lanspread/index.json")).unwrap();
    disk.game("b");
    let now = dir.scan_all(&then.games).unwrap();
    dir.save_index(&index_of(&now, 4)).unwrap();
    drop(dir);
    disk.write(".lanspread/index.json", backup);
    let (_dir, opened) = disk.open();
    assert_eq!((opened.index, opened.notice), (Some(index_of(&then.games, 3)), None));
    assert_eq!(opened.games, now);
}

#[test]
fn a_second_daemon_is_told_who_holds_the_directory() {
    let disk = Disk::new();
    let (dir, _) = disk.open();
    let error = GameDir::open(disk.0.path()).unwrap_err();
    assert_eq!(error.kind, JobErrorKind::InUse);
    assert!(error.message.contains(&std::process::id().to_string()), "{error}");
    drop(dir);
    disk.open();
    assert!(GameDir::open(&disk.path("nowhere")).is_err());
}

#[test]
fn the_install_tree_and_reserved_names_are_neither_listed_nor_read() {
    let disk = Disk::new();
    disk.write("a/version.ini", "1");
    disk.write("a/local/save/deep/slot", "mine");
    for name in [".local.backup/x", ".local.installing/x", ".lanspread.json", ".lanspread_x", ".version.ini.x"] {
        disk.write(&format!("a/{name}"), "scratch");
    }
    let (dir, opened) = disk.open();
    assert_eq!(dir.directory_reads(), 1 + 2);
    // Somebody else's are told; lanspread's own are not.
    let left_out = opened.games[0].leaves_out.as_ref().unwrap();
    assert_eq!((left_out.count, left_out.first.as_str()), (2, ".lanspread_x"));
    assert_eq!(
        (opened.games[0].size, opened.games[0].installed, opened.games[0].unportable.as_deref()),
        (1, true, None)
    );
    assert_eq!(paths(&files(&dir, "a").manifest), ["version.ini"]);
    // What a running game writes does not even change the fingerprint.
    disk.write("a/local/save/deep/slot2", "mine");
    disk.write("a/local/new", "mine");
    disk.write("a/.lanspread.json", "another intent");
    let now = dir.scan_game(&id("a"), Some(&opened.games[0])).unwrap().unwrap();
    assert_eq!(now, opened.games[0]);
    assert!(!ids(&opened.games).contains(&".lanspread"));
}

#[test]
fn a_folder_of_the_name_of_installations_that_none_made_withholds_a_game_that_no_download_brought() {
    // A name, whether a log of an installation lies beside it, whether a download brought the game; whether the game is
    // handed out, whether it counts as installed, what it leaves out.
    let cases = [
        ("local/de.txt", false, false, false, false, None),
        ("local/de.txt", true, false, true, true, None),
        ("local/de.txt", false, true, true, true, None),
        ("Local/de.txt", false, false, false, false, None),
        ("Local/de.txt", true, false, false, false, None),
        ("LOCAL/de.txt", false, true, true, false, Some("LOCAL")),
        ("local", false, false, false, false, None),
        ("data/local/de.txt", false, false, true, false, None),
    ];
    for (path, log, brought, shared, installed, leaves_out) in cases {
        let about = format!("{path} {log} {brought}");
        let disk = Disk::new();
        disk.game("a");
        let (dir, opened) = disk.open();
        dir.hash_game(&id("a"), opened.games[0].manifest_hash, &AtomicBool::new(false)).unwrap();
        if brought {
            dir.records().save_brought(&id("a"), &files(&dir, "a")).unwrap();
        }
        if log {
            disk.write("a/.lanspread.json", install_log(Intent::None, Some("1.0"), None));
        }
        disk.write(&format!("a/{path}"), "german");
        // The root shows it: nothing need be distrusted.
        let game = scan_known(&dir, &opened.games[0]);
        assert_eq!((game.unportable.is_none(), game.installed), (shared, installed), "{about}: {:?}", game.unportable);
        assert_eq!(game.leaves_out.as_ref().map(|left_out| left_out.first.as_str()), leaves_out, "{about}");
        let read = dir.read_manifest(&id("a"), opened.games[0].manifest_hash);
        assert_eq!(read.is_ok(), shared && !path.starts_with("data"), "{about}: nothing is handed out without it");
        if !shared {
            let reason = game.unportable.clone().unwrap();
            let name = path.split('/').next().unwrap();
            assert!(reason.contains(&format!("{name:?}")) && reason.contains("move it away"), "{reason}");
            assert!(dir.list_files(&id("a")).is_ok(), "{about}: it can be installed all the same");
            // The remedy.
            fs::rename(disk.path("a").join(name), disk.path("moved")).unwrap();
            let mended = scan_known(&dir, &game);
            assert_eq!((mended.unportable.as_ref(), mended.manifest_hash), (None, opened.games[0].manifest_hash));
        }
    }
}

#[test]
fn leftovers_of_interrupted_downloads_are_swept_when_opening_and_never_restored() {
    let disk = Disk::new();
    disk.write("a/.version.ini.discarded", "1.0");
    disk.write("a/.version.ini.tmp", "1.1");
    disk.write("a/a.eti", "half");
    let (dir, opened) = disk.open();
    assert!(!disk.path("a/.version.ini.discarded").exists() && !disk.path("a/.version.ini.tmp").exists());
    assert!(!opened.games[0].downloaded && !disk.path("a/version.ini").exists());
    // Later ones may belong to a download that runs.
    disk.write("a/.version.ini.discarded", "1.0");
    dir.scan_all(&[]).unwrap();
    scan(&dir, "a");
    assert!(disk.path("a/.version.ini.discarded").exists());
}

/// A log as an interrupted or finished operation leaves it.
fn install_log(intent: Intent, installed: Option<&str>, next: Option<&str>) -> Vec<u8> {
    let text = |version: Option<&str>| version.map(str::to_owned);
    let installed_by = installed.map(|_| OpId(1));
    IntentLog {
        op_id: OpId(1),
        intent,
        installed_version: text(installed),
        installed_by,
        next_version: text(next),
        kept_as: None,
    }
    .encode()
}

/// What the operation of [`install_log`] leaves in `local/`.
const NUMBER: &str = "0000000000000001\n";

#[test]
fn interrupted_installs_are_ended_when_opening_and_what_is_not_ours_is_reported() {
    let disk = Disk::new();
    for game in ["a", "b", "c", "d"] {
        disk.write(&format!("{game}/version.ini"), "2");
    }
    let updating = Intent::Updating { swapped: false };
    disk.write("a/.lanspread.json", install_log(updating, Some("1"), Some("2")));
    disk.write("a/.local.backup/game.exe", "old");
    disk.write("a/.local.backup/.lanspread_installed", NUMBER);
    disk.write("a/.local.installing/game.exe", "ne");
    disk.write("b/local/game.exe", "b");
    disk.write("b/local/.lanspread_installed", NUMBER);
    disk.write("b/.lanspread.json", install_log(Intent::None, Some("2"), None));
    disk.write("c/.local.backup/game.exe", "somebody's");
    disk.write("d/local/game.exe", "d");
    disk.write("d/.lanspread.json", "{\"torn");
    disk.write("d/.local.installing/x", "whose?");
    let (dir, opened) = disk.open();
    let states: Vec<_> =
        opened.games.iter().map(|game| (game.installed, game.installed_version.as_deref(), game.downloaded)).collect();
    assert_eq!(states, [(true, Some("1"), true), (true, Some("2"), true), (false, None, true), (true, None, true)]);
    assert_eq!(fs::read(disk.path("a/local/game.exe")).unwrap(), b"old");
    assert!(!disk.path("a/.local.backup").exists() && !disk.path("a/.local.installing").exists());
    assert!(disk.path("c/.local.backup/game.exe").exists() && disk.path("d/.local.installing/x").exists());
    let notice = opened.notice.unwrap();
    for expected in ["a: an interrupted update was taken back", "c/.local.backup", "d/.lanspread.json"] {
        assert!(notice.contains(expected), "{notice}");
    }
    assert!(!notice.contains("b: "), "{notice}");
    // The game directory and the records, each root once, and that of the recovered game once more.
    assert_eq!(dir.directory_reads(), 2 + 4 + 1);
    // A later look changes nothing: an operation may be under way.
    disk.write("b/.lanspread.json", install_log(Intent::Installing, None, Some("2")));
    scan(&dir, "b");
    assert!(disk.path("b/.lanspread.json").exists());
}

#[test]
fn another_installed_version_shows_in_the_fingerprint() {
    let disk = Disk::new();
    disk.write("a/version.ini", "2");
    disk.write("a/local/game.exe", "a");
    let (dir, opened) = disk.open();
    assert_eq!(opened.games[0].installed_by, Some(InstalledBy::SomebodyElse));
    disk.write("a/.lanspread.json", install_log(Intent::None, Some("2"), None));
    let by_log = scan_known(&dir, &opened.games[0]);
    assert_eq!((by_log.installed_by, by_log.installed_version.as_deref()), (Some(InstalledBy::SomebodyElse), None));
    disk.write("a/local/.lanspread_installed", NUMBER);
    let now = scan_known(&dir, &opened.games[0]);
    assert_eq!(now.installed_version.as_deref(), Some("2"));
    assert_eq!(now.installed_by, Some(InstalledBy::Lanspread));
    assert_ne!(now.fingerprint, opened.games[0].fingerprint);
    assert_eq!(scan_known(&dir, &now), now);
    disk.write("a/local/.lanspread_installed", "0000000000000002\n");
    assert_eq!(scan_known(&dir, &now), by_log);
}

#[test]
fn verifying_names_the_damaged_chunks_and_takes_the_sentinel_away() {
    type Damage = fn(&Disk);
    let damages: [(&[u32], Damage); 5] = [
        (&[], |disk| disk.touch("a/deep/a/large.bin")),
        (&[1], |disk| {
            let mut bytes = fs::read(disk.path("a/deep/a/large.bin")).unwrap();
            bytes[CHUNK_SIZE as usize + 3] ^= 1;
            disk.write("a/deep/a/large.bin", bytes);
        }),
        (&[0, 1, 2], |disk| fs::remove_file(disk.path("a/deep/a/large.bin")).unwrap()),
        (&[2], |disk| {
            let file = fs::File::options().write(true).open(disk.path("a/deep/a/large.bin")).unwrap();
            file.set_len(2 * CHUNK_SIZE + 6).unwrap();
        }),
        (&[3], |disk| disk.rewrite_at_the_same_time("a/version.ini", "2")),
    ];
    for (expected, damage) in damages {
        let disk = Disk::new();
        game_with_chunks(&disk, "a");
        let (dir, opened) = disk.open();
        let (a, manifest_hash) = (id("a"), opened.games[0].manifest_hash);
        let verify = |cancel: &AtomicBool| {
            let last = std::cell::Cell::new(0);
            let progress = |done, total| assert!(done >= last.replace(done) && done <= total);
            let result = dir.verify_game(&a, manifest_hash, &progress, cancel);
            let result = result.map(|found| (found.bad, found.chunks));
            (result, last.get())
        };
        // Nothing is known yet: what lies there becomes what is known.
        assert_eq!(verify(&RUN).0, Ok((vec![], 4)));
        assert_eq!(verify(&RUN), (Ok((vec![], 4)), 2 * CHUNK_SIZE + 6));
        damage(&disk);
        assert_eq!(verify(&AtomicBool::new(true)).0.unwrap_err().kind, JobErrorKind::Cancelled);
        assert!(disk.path("a/version.ini").exists());
        let bad: Vec<u32> = verify(&RUN).0.unwrap().0.iter().map(|chunk| chunk.0).collect();
        assert_eq!(bad, expected);
        assert_eq!(disk.path("a/version.ini").exists(), expected.is_empty());
        assert_eq!(scan_known(&dir, &opened.games[0]).downloaded, expected.is_empty());
    }
}

#[cfg(unix)]
#[test]
fn links_and_pipes_are_never_followed_nor_waited_for() {
    use std::os::unix::fs::symlink;
    let disk = Disk::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("version.ini"), "9").unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    ["in", "dir", "sentinel", "pipe"].into_iter().for_each(|id| disk.game(id));
    symlink(outside.path(), disk.path("root")).unwrap();
    symlink(outside.path().join("secret"), disk.path("in/data/maps/link")).unwrap();
    symlink(outside.path(), disk.path("dir/data/link")).unwrap();
    fs::remove_file(disk.path("sentinel/version.ini")).unwrap();
    symlink(outside.path().join("version.ini"), disk.path("sentinel/version.ini")).unwrap();
    fs::remove_file(disk.path("pipe/version.ini")).unwrap();
    let pipe = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, disk.path("pipe/version.ini"), rustix::fs::FileType::Fifo, pipe, 0).unwrap();

    let (dir, opened) = disk.open();
    assert_eq!(ids(&opened.games), ["dir", "in", "pipe", "root", "sentinel"]);
    assert!(dir.root(&id("root")).is_err());
    let reason = |at: usize| opened.games[at].unportable.clone().unwrap();
    assert!(reason(0).contains("data/link") && reason(1).contains("data/maps/link"));
    assert!(reason(2).contains("version.ini") && reason(4).contains("version.ini"));
    assert!(reason(3).contains("link") && opened.games[3].size == 0);
    assert_eq!(opened.games.iter().map(|game| game.downloaded).collect::<Vec<_>>(), [true, true, false, false, false]);
    // Only what is really there counts: version.ini, .eti and the map.
    assert_eq!(opened.games[0].size, 3 + 30 + 3);
    let error = dir.read_manifest(&id("in"), opened.games[1].manifest_hash).unwrap_err();
    assert_eq!(error.kind, JobErrorKind::Changed);
}

#[cfg(unix)]
#[test]
fn one_game_that_cannot_be_offered_says_why_and_leaves_the_others_alone() {
    use std::os::unix::ffi::OsStrExt;
    let cases: [(&str, &[u8]); 7] = [
        ("aux.txt", b"x/AUX.txt"),
        ("colon", b"x/a:b"),
        ("collision", b"x/DATA/maps/one.map"),
        ("spelling", b"x/Version.INI"),
        ("unicode", b"x/caf\xe9"),
        ("deep", &[b"x".as_slice(), &b"/d".repeat(33)].concat()),
        ("large", b"x/version.ini"),
    ];
    for (case, path) in cases {
        let disk = Disk::new();
        disk.game("x");
        disk.game("fine");
        let path = disk.0.path().join(OsStr::from_bytes(path));
        let before = fs::read(&path).ok();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, vec![b'1'; crate::types::MAX_SENTINEL_BYTES + 1]).unwrap();
        let (dir, opened) = disk.open();
        assert_eq!(opened.games[0].unportable, None, "{case}");
        let reason = opened.games[1].unportable.clone().unwrap_or_else(|| panic!("{case}"));
        assert!(opened.games[1].downloaded && opened.games[1].size > 0, "{case}: {reason}");
        // Mended deep in the tree, where no fingerprint reaches.
        match before {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        // Empty by now, it collides as well.
        drop(fs::remove_dir_all(disk.path("x/DATA")));
        let mended = dir.scan_all(&opened.games).unwrap();
        assert_eq!(mended[1].unportable, None, "{case}");
        assert_eq!(mended[1].eti_version.as_deref(), Some("1.0"), "{case}");
    }
}

#[test]
fn a_folder_whose_name_is_no_id_is_reported_once_if_it_holds_a_game() {
    let disk = Disk::new();
    disk.write(".hidden/version.ini", "1");
    disk.write(".git/config", "");
    disk.write("lost+found/x", "");
    let (dir, opened) = disk.open();
    let notice = opened.notice.unwrap();
    assert!(notice.contains(".hidden") && !notice.contains(".git"), "{notice}");
    assert!(opened.games.is_empty());
    let mut notices = Vec::new();
    dir.look_at_all(&[], Leftovers::Keep, &mut notices).unwrap();
    assert!(notices.is_empty());
}

/// A game with chunks of every kind, and what its content must hash to.
fn game_with_chunks(disk: &Disk, id: &str) -> ContentHash {
    let large: Vec<u8> = (0..2 * CHUNK_SIZE + 5).map(|n| ((n * n) >> 7) as u8).collect();
    disk.write(&format!("{id}/deep/a/large.bin"), &large);
    disk.write(&format!("{id}/empty"), "");
    disk.write(&format!("{id}/version.ini"), "1");
    let (first, rest) = large.split_at(CHUNK_SIZE as usize);
    let (second, third) = rest.split_at(CHUNK_SIZE as usize);
    let chunks = [first, second, third, b"1"].map(ChunkHash::of);
    let file = |path: &str, size| crate::types::FileEntry { path: RelPath::parse(path).unwrap(), size, exec: false };
    let manifest =
        Manifest::new(vec![file("deep/a/large.bin", 2 * CHUNK_SIZE + 5), file("empty", 0), file("version.ini", 1)])
            .unwrap();
    content_hash(&manifest, &chunks)
}

#[test]
fn hashes_are_kept_and_hold_exactly_for_the_files_that_were_hashed() {
    let disk = Disk::new();
    let expected = game_with_chunks(&disk, "a");
    let (dir, opened) = disk.open();
    let a = id("a");
    let manifest_hash = opened.games[0].manifest_hash;
    assert_eq!(dir.read_manifest(&a, manifest_hash).unwrap().content, None);
    assert_eq!(dir.hash_game(&a, manifest_hash, &RUN).unwrap(), expected);
    let hashed = scan(&dir, "a");
    assert_eq!(hashed.content_hash, Some(expected));
    let served = dir.read_manifest(&a, manifest_hash).unwrap();
    assert_eq!(served.content.as_ref().map(|content| (content.hash, content.chunks.len())), Some((expected, 4)));
    assert_eq!(served.mtimes_ns.len(), 3);
    // Nothing is read again: a hasher that is cancelled at its first chunk has nothing to do.
    assert_eq!(dir.hash_game(&a, manifest_hash, &AtomicBool::new(true)).unwrap(), expected);
    dir.save_index(&index_of(&[hashed], 1)).unwrap();
    drop(dir);

    let (dir, opened) = disk.open();
    assert_eq!(opened.games[0].content_hash, Some(expected));
    // The same size deep in the tree: no fingerprint shows it, serving does, and then the next look.
    disk.touch("a/deep/a/large.bin");
    assert_eq!(scan_known(&dir, &opened.games[0]).content_hash, Some(expected));
    assert_eq!(dir.read_manifest(&a, manifest_hash).unwrap().content, None);
    assert_eq!(scan_known(&dir, &opened.games[0]).content_hash, None);
    assert_eq!(paths(&dir.previous_manifest(&a).unwrap()), ["deep/a/large.bin", "empty", "version.ini"]);
    assert_eq!(dir.hash_game(&a, manifest_hash, &RUN).unwrap(), expected);
    assert_eq!(scan(&dir, "a").content_hash, Some(expected));
}

fn scan_known(dir: &GameDir, known: &ScannedGame) -> Arc<ScannedGame> {
    dir.scan_game(&known.id, Some(known)).unwrap().unwrap()
}

#[test]
fn a_content_hash_without_its_record_is_not_announced() {
    let disk = Disk::new();
    let expected = game_with_chunks(&disk, "a");
    let (dir, opened) = disk.open();
    let a = id("a");
    let manifest_hash = opened.games[0].manifest_hash;
    let hashed = || {
        dir.hash_game(&a, manifest_hash, &RUN).unwrap();
        let game = scan(&dir, "a");
        assert_eq!(game.content_hash, Some(expected));
        game
    };
    let known = hashed();
    fs::remove_file(disk.path(".lanspread/content/a")).unwrap();
    assert_eq!(scan_known(&dir, &known).content_hash, None);
    assert_eq!(dir.scan_all(&[known]).unwrap()[0].content_hash, None);

    let known = hashed();
    let mut record = fs::read(disk.path(".lanspread/content/a")).unwrap();
    record[90] ^= 1;
    disk.write(".lanspread/content/a", &record);
    assert_eq!(dir.previous_manifest(&a), None);
    assert_eq!(dir.read_manifest(&a, manifest_hash).unwrap().content, None);
    assert!(!disk.path(".lanspread/content/a").exists());
    assert_eq!(scan_known(&dir, &known).content_hash, None);
    hashed();
}

#[test]
fn hashing_stops_on_request_and_when_the_files_are_others() {
    let disk = Disk::new();
    game_with_chunks(&disk, "a");
    let (dir, opened) = disk.open();
    let a = id("a");
    let manifest_hash = opened.games[0].manifest_hash;
    let kind = |result: Result<ContentHash, JobError>| result.unwrap_err().kind;
    assert_eq!(kind(dir.hash_game(&a, manifest_hash, &AtomicBool::new(true))), JobErrorKind::Cancelled);
    assert_eq!(kind(dir.hash_game(&a, ManifestHash([0; 16]), &RUN)), JobErrorKind::Changed);
    assert_eq!(kind(dir.hash_game(&id("b"), manifest_hash, &RUN)), JobErrorKind::Changed);
    // Changed between listing and hashing: in time, in size, gone.
    let listed = dir.read_manifest(&a, manifest_hash).unwrap();
    let root = dir.root(&a).unwrap();
    let hash = || hash::hash_files(&a, &root, &listed.manifest, &listed.mtimes_ns, &RUN).map(|content| content.hash);
    hash().unwrap();
    disk.touch("a/empty");
    assert_eq!(kind(hash()), JobErrorKind::Changed);
    disk.write("a/deep/a/large.bin", "short");
    assert_eq!(kind(hash()), JobErrorKind::Changed);
    fs::remove_file(disk.path("a/deep/a/large.bin")).unwrap();
    assert_eq!(kind(hash()), JobErrorKind::Changed);
    assert_eq!(kind(dir.hash_game(&a, manifest_hash, &RUN)), JobErrorKind::Changed);
}

#[test]
fn hashes_that_are_not_those_of_the_files_are_not_kept() {
    let disk = Disk::new();
    game_with_chunks(&disk, "a");
    let (dir, _) = disk.open();
    let mut served = files(&dir, "a");
    let count = served.manifest.chunk_count() as usize;
    served.content = Some(KnownContent { hash: ContentHash([1; 32]), chunks: vec![ChunkHash([2; 32]); count] });
    assert_eq!(dir.save_content(&id("a"), &served).unwrap_err().kind, JobErrorKind::Verification);
    assert_eq!(fs::read_dir(disk.path(".lanspread/content")).unwrap().count(), 0);
}

#[test]
fn records_are_kept_under_the_longest_id_and_swept_when_their_game_is_gone() {
    let disk = Disk::new();
    let long = "x".repeat(255);
    let expected = game_with_chunks(&disk, &long);
    game_with_chunks(&disk, "gone");
    let (dir, opened) = disk.open();
    for game in &opened.games {
        assert_eq!(dir.hash_game(&game.id, game.manifest_hash, &RUN).unwrap(), expected);
    }
    drop(dir);
    disk.write(".lanspread/content/.torn.tmp", "half");
    fs::remove_dir_all(disk.path("gone")).unwrap();
    assert_eq!(fs::read_dir(disk.path(".lanspread/content")).unwrap().count(), 3);
    let (_dir, opened) = disk.open();
    assert_eq!(opened.games[0].content_hash, Some(expected));
    assert_eq!(fs::read_dir(disk.path(".lanspread/content")).unwrap().count(), 1);
}

/// Lets `left` changes of the disk happen and refuses all others.
struct Faults {
    left: AtomicUsize,
}

impl Hook for Faults {
    fn before(&self, _: Op<'_>) -> io::Result<()> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| io::ErrorKind::StorageFull.into())
    }
}

#[test]
fn an_index_whose_saving_fails_anywhere_is_the_old_or_the_new_one() {
    let disk = Disk::new();
    disk.game("a");
    let (dir, opened) = disk.open();
    dir.save_index(&index_of(&opened.games, 1)).unwrap();
    drop(dir);
    let path = disk.0.path().canonicalize().unwrap();
    let mut rev = 1;
    for allowed in 0.. {
        let faults = Arc::new(Faults { left: AtomicUsize::new(usize::MAX) });
        let (dir, opened) = GameDir::open_in(Dir::open_hooked(&path, faults.clone()).unwrap()).unwrap();
        let found = opened.index.unwrap().rev.0;
        assert!(found == rev || found == rev - 1, "{found} after {rev}");
        rev = found + 1;
        faults.left.store(allowed, Ordering::SeqCst);
        match dir.save_index(&index_of(&opened.games, rev)) {
            Ok(()) => {
                // Create, write, fsync, rename, fsync of the directory at the very least.
                assert!(allowed >= 5);
                break;
            }
            Err(e) => assert_eq!(e.kind, JobErrorKind::DiskFull),
        }
    }
    assert_eq!(disk.open().1.index.unwrap().rev.0, rev);
}

#[test]
fn games_that_come_and_go_during_a_scan_never_make_it_fail() {
    let disk = Disk::new();
    disk.game("stays");
    let (dir, opened) = disk.open();
    let stays = &opened.games[0];
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                disk.game("flickers");
                fs::remove_dir_all(disk.path("flickers")).unwrap();
            }
        });
        for _ in 0..100 {
            let games = dir.scan_all(&opened.games).unwrap();
            assert!(games.iter().any(|game| game == stays));
            assert!(games.iter().all(|game| game.unportable.is_none()), "{games:?}");
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn of_two_folders_that_are_one_where_case_does_not_count_one_is_listed_and_the_other_told() {
    let disk = Disk::new();
    disk.game("doom");
    let (dir, opened) = disk.open();
    drop(dir);
    disk.game("Doom");
    // The first in the order of bytes, and after a start with an index the one that is known.
    let (dir, again) = disk.open();
    let ids = |games: &[Arc<ScannedGame>]| games.iter().map(|game| game.id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(&again.games), ["Doom"]);
    let notice = again.notice.unwrap();
    assert!(notice.contains("the folder doom is left out") && notice.contains("Doom"), "{notice}");
    assert_eq!(ids(&dir.scan_all(&opened.games).unwrap()), ["doom"]);
    assert_eq!(dir.scan_game(&id("Doom"), None).unwrap(), None);
    assert!(dir.scan_game(&id("doom"), None).unwrap().is_some());
    // When that one is gone the other has the name.
    fs::rename(disk.path("doom"), disk.path("quake")).unwrap();
    assert!(dir.scan_game(&id("Doom"), None).unwrap().is_some());
    assert_eq!(ids(&dir.scan_all(&[]).unwrap()), ["Doom", "quake"]);
    // Where case counts a look at one game reads no other directory.
    let reads = dir.directory_reads();
    dir.scan_game(&id("quake"), opened.games.first().map(Arc::as_ref)).unwrap();
    assert!(dir.directory_reads() - reads <= 4);
}

#[test]
fn an_id_beside_another_spelling_of_it_is_not_written_and_both_folders_stay() {
    let disk = Disk::new();
    disk.game("Doom");
    let (dir, _) = disk.open();
    let error = dir.check_alone(&id("doom")).unwrap_err();
    assert_eq!(error.kind, JobErrorKind::UnsafePath);
    assert!(error.message.contains("\"Doom\"") && error.message.contains("rename"), "{error}");
    dir.check_alone(&id("Doom")).unwrap();
    dir.check_alone(&id("quake")).unwrap();
    // Where case does not count the other name opens it, and is no game all the same.
    assert_eq!(dir.scan_game(&id("doom"), None).unwrap(), None);
    assert!(dir.scan_game(&id("Doom"), None).unwrap().is_some());
}

#[test]
fn only_what_a_download_brought_and_nobody_changed_since_is_lanspreads_to_delete() {
    let disk = Disk::new();
    disk.game("quake");
    let (dir, opened) = disk.open();
    let game = id("quake");
    let hash = |dir: &GameDir| {
        dir.distrust(&game);
        let scanned = dir.scan_game(&game, None).unwrap().unwrap();
        dir.hash_game(&game, scanned.manifest_hash, &AtomicBool::new(false)).unwrap();
        dir.read_manifest(&game, scanned.manifest_hash).unwrap()
    };
    let landed = hash(&dir);
    assert!(opened.games[0].downloaded);
    // Somebody's own game: nothing of it was brought.
    assert_eq!(dir.files_to_remove(&game).unwrap_err().kind, JobErrorKind::NotOurs);
    let to_remove = |dir: &GameDir| {
        let files = dir.files_to_remove(&game).unwrap();
        files.files().iter().map(|file| file.path.as_str().to_owned()).collect::<Vec<_>>()
    };
    dir.records().save_brought(&game, &landed).unwrap();
    let map = std::fs::read_to_string(disk.path("quake/data/maps/one.map")).unwrap();
    assert_eq!(to_remove(&dir), ["data/maps/one.map", "quake.eti", "version.ini"]);

    // What is added, or changed, is the user's, also when it was seen and hashed since.
    disk.write("quake/saves/slot1", "100 hours");
    disk.write("quake/data/maps/one.map", "my map");
    hash(&dir);
    assert_eq!(to_remove(&dir), ["quake.eti", "version.ini"]);
    // What was copied back with another time is what it was.
    disk.write("quake/data/maps/one.map", &map);
    assert_eq!(to_remove(&dir), ["data/maps/one.map", "quake.eti", "version.ini"]);

    disk.write(".lanspread/brought/quake", "torn");
    assert_eq!(dir.files_to_remove(&game).unwrap_err().kind, JobErrorKind::NotOurs);
}

#[test]
fn empty_directories_are_listed_wherever_they_are_and_their_coming_and_going_costs_no_hashing() {
    let disk = Disk::new();
    disk.game("quake");
    let (dir, opened) = disk.open();
    let game = id("quake");
    let hash = |scanned: &ScannedGame| dir.hash_game(&game, scanned.manifest_hash, &AtomicBool::new(false)).unwrap();
    let plain = &opened.games[0];
    let content = hash(plain);
    for rel in ["saves", "data/screens", "data/logs/deep/er", ".lanspread.d"] {
        fs::create_dir_all(disk.path("quake").join(rel)).unwrap();
    }
    dir.distrust(&game);
    let with = dir.scan_game(&game, Some(plain)).unwrap().unwrap();
    let served = dir.read_manifest(&game, with.manifest_hash).unwrap();
    let dirs = |served: &ServedManifest| served.manifest.dirs().iter().map(RelPath::to_string).collect::<Vec<_>>();
    assert_eq!(dirs(&served), ["data/logs/deep/er", "data/screens", "saves"]);
    assert_ne!(with.manifest_hash, plain.manifest_hash);
    // Its chunks are the same: the hashes that were kept say what its content is, and are kept for it.
    let known = served.content.as_ref().unwrap();
    assert_eq!(with.content_hash, Some(known.hash));
    assert_eq!(known.hash, content_hash(&served.manifest, &known.chunks));
    assert_ne!(known.hash, content);
    assert_eq!(dir.previous(&game).unwrap().unwrap().manifest, served.manifest);

    // A file in one of them, and it is none any more; all of them gone, and all is as it was.
    disk.write("quake/saves/slot1", "100 hours");
    let played = files(&dir, "quake");
    assert_eq!((dirs(&played).len(), played.content), (2, None));
    fs::remove_dir_all(disk.path("quake/saves")).unwrap();
    fs::remove_dir_all(disk.path("quake/data/logs")).unwrap();
    fs::remove_dir_all(disk.path("quake/data/screens")).unwrap();
    let bare = scan(&dir, "quake");
    assert_eq!((bare.manifest_hash, bare.content_hash), (plain.manifest_hash, Some(content)));
}

#[test]
fn an_empty_directory_that_was_brought_is_lanspreads_only_while_it_is_empty() {
    let disk = Disk::new();
    disk.game("quake");
    for rel in ["quake/saves", "quake/logs", "quake/gone"] {
        fs::create_dir(disk.path(rel)).unwrap();
    }
    let (dir, opened) = disk.open();
    let game = id("quake");
    dir.hash_game(&game, opened.games[0].manifest_hash, &AtomicBool::new(false)).unwrap();
    let landed = files(&dir, "quake");
    let empty = || dir.records().of(&game, true).unwrap().empty_dirs(&dir.root(&game).unwrap()).unwrap();
    assert_eq!(empty(), [], "of somebody's own game");
    dir.records().save_brought(&game, &landed).unwrap();
    assert_eq!(empty().len(), 3);
    disk.write("quake/saves/slot1", "100 hours");
    fs::remove_dir(disk.path("quake/gone")).unwrap();
    assert_eq!(empty(), [RelPath::parse("logs").unwrap()]);

    // What is in it is the user's; that it is there is the game's. An empty one of the user's is no part of it.
    fs::create_dir(disk.path("quake/mine")).unwrap();
    dir.distrust(&game);
    let scanned = scan(&dir, "quake");
    let served = dir.read_manifest(&game, scanned.manifest_hash).unwrap();
    assert_eq!(served.manifest.dirs().iter().map(RelPath::as_str).collect::<Vec<_>>(), ["logs", "saves"]);
    assert!(served.manifest.has_same_files(&landed.manifest));
    assert_eq!(scanned.leaves_out.as_ref().map(|left_out| left_out.count), Some(2));
}

#[test]
fn a_verification_finds_an_empty_directory_that_is_missing_and_leaves_one_that_is_full_alone() {
    for deed in ["", "fill", "delete", "file"] {
        let disk = Disk::new();
        disk.game("quake");
        fs::create_dir_all(disk.path("quake/data/saves/deep")).unwrap();
        let (dir, opened) = disk.open();
        let (game, hash) = (id("quake"), opened.games[0].manifest_hash);
        dir.hash_game(&game, hash, &AtomicBool::new(false)).unwrap();
        match deed {
            "fill" => disk.write("quake/data/saves/deep/slot1", "100 hours"),
            "delete" => fs::remove_dir_all(disk.path("quake/data/saves")).unwrap(),
            "file" => {
                fs::remove_dir_all(disk.path("quake/data/saves")).unwrap();
                disk.write("quake/data/saves", "");
            }
            _ => {}
        }
        let found = dir.verify_game(&game, hash, &|_, _| (), &AtomicBool::new(false)).unwrap();
        let is_damaged = matches!(deed, "delete" | "file");
        assert_eq!(found.bad, []);
        let missing: Vec<_> = found.missing_dirs.iter().map(RelPath::to_string).collect();
        assert_eq!(missing, if is_damaged { vec!["data/saves/deep"] } else { vec![] }, "{deed}");
        assert_eq!(disk.path("quake/version.ini").exists(), !is_damaged, "{deed}");
    }
}

#[test]
fn the_path_that_is_reported_is_absolute_and_free_of_links() {
    let disk = Disk::new();
    disk.game("a");
    let (_dir, opened) = GameDir::open(&disk.path("a/..")).unwrap();
    assert_eq!(opened.dir, disk.0.path().canonicalize().unwrap());
    assert!(Path::new(&opened.dir).is_absolute());
}

#[test]
fn records_of_ids_that_differ_in_case_only_are_two_files_and_those_of_older_versions_are_found() {
    let lower = |id: &str| record_name(&self::id(id)).to_lowercase();
    let names: BTreeSet<String> = ["doom", "Doom", "DOOM", "\u{e9}t\u{e9}", "\u{c9}T\u{c9}"].map(lower).into();
    assert_eq!(names.len(), 5);

    let disk = Disk::new();
    disk.game("Doom");
    let hash = {
        let (dir, _) = disk.open();
        let scanned = scan(&dir, "Doom");
        let hash = dir.hash_game(&scanned.id, scanned.manifest_hash, &RUN).unwrap();
        let served = files(&dir, "Doom");
        dir.records().save_brought(&scanned.id, &served).unwrap();
        dir.records().claim(&scanned.id, &Ownership::default(), &served.manifest).unwrap();
        hash
    };
    // As an older version named them.
    fs::remove_file(disk.path("Doom/version.ini")).unwrap();
    for records in ["content", "brought", "incoming"] {
        let at = |name: &str| disk.path(&format!(".lanspread/{records}/{name}"));
        fs::rename(at(&record_name(&id("Doom"))), at("Doom")).unwrap();
    }
    let (dir, opened) = disk.open();
    assert!(!opened.games[0].downloaded);
    for is_complete in [true, false] {
        let proofs = dir.records().of(&id("Doom"), is_complete).unwrap();
        assert_eq!(proofs.paths().count(), if is_complete { 3 } else { 6 }, "what proves whose its files are was lost");
    }
    disk.write("Doom/version.ini", "1.0");
    assert!(dir.previous(&id("Doom")).unwrap().is_some_and(|known| known.content.unwrap().hash == hash));
    assert!(dir.records().of(&id("doom"), true).unwrap().is_empty());
}

#[test]
fn errors_on_several_threads_are_no_sign_that_the_directory_is_gone() {
    let disk = Disk::new();
    let (dir, _) = disk.open();
    std::thread::scope(|scope| {
        let check = || (0..50).for_each(|_| assert_eq!(dir.check_alive(), Ok(())));
        (0..8).for_each(|_| drop(scope.spawn(check)));
    });
    assert!(!disk.path(".lanspread/probe").exists());
}

#[test]
fn another_directory_at_the_path_is_seen_and_what_may_be_taken_in_its_place() {
    let disk = Disk::new();
    fs::create_dir(disk.path("games")).unwrap();
    let (dir, _) = GameDir::open(&disk.path("games")).unwrap();
    assert_eq!(dir.check_present(), Ok(()));
    fs::rename(disk.path("games"), disk.path("away")).unwrap();
    assert!(dir.check_present().unwrap_err().contains("cannot open directory"));
    let epoch = Epoch(7);
    assert!(look_for(&disk.path("games"), epoch).is_err());
    fs::create_dir(disk.path("games")).unwrap();
    assert!(dir.check_alive().unwrap_err().contains("another directory lies there now"));
    assert!(look_for(&disk.path("games"), epoch).unwrap_err().contains("holds no game"), "an empty mount point");
    disk.write("games/doom/data", "no game without its sentinel");
    assert!(look_for(&disk.path("games"), epoch).is_err());
    disk.write("games/doom/version.ini", "1.0");
    assert_eq!(look_for(&disk.path("games"), epoch), Ok(()));
    fs::remove_dir_all(disk.path("games")).unwrap();
    // The library itself may be empty.
    let index = LibraryIndex { epoch, rev: Revision(1), digest: LibraryDigest([0; 16]), games: Vec::new() };
    dir.save_index(&index).unwrap();
    fs::rename(disk.path("away"), disk.path("games")).unwrap();
    assert_eq!(look_for(&disk.path("games"), epoch), Ok(()));
    assert!(look_for(&disk.path("games"), Epoch(8)).is_err(), "another one's library without games");
    assert_eq!(dir.check_alive(), Ok(()));
}

#[test]
fn a_look_without_a_library_shows_what_a_library_shows_and_changes_nothing() {
    let disk = Disk::new();
    disk.write("doom/version.ini", "1.0");
    disk.write("doom/data/level.dat", "x");
    disk.write("doom/data/Thumbs.db", "junk");
    let names = || fs::read_dir(disk.path("")).unwrap().count();
    let games = Dir::open(&disk.path("")).unwrap();
    let look = || examine(games.subdir("doom").unwrap(), &id("doom"), Some(&games)).unwrap();
    let alone = look();
    assert_eq!((names(), what_it_holds(&games).unwrap()), (1, Holds::Games));
    let (dir, _) = GameDir::open(&disk.path("")).unwrap();
    let scanned = scan(&dir, "doom");
    assert_eq!(alone.game, *scanned);
    assert_eq!(look().game, *scanned);
    assert_eq!(paths(&alone.manifest.unwrap()), ["data/level.dat", "version.ini"]);
    assert_eq!(alone.of_desktops, Some(LeftOut { count: 1, first: "data/Thumbs.db".into() }));
    assert_eq!(what_it_holds(&games.subdir("doom").unwrap()).unwrap(), Holds::OneGame);
}

#[test]
fn a_folder_of_which_nobody_knows_what_it_is_is_not_taken_for_a_game() {
    for (files, expected) in [
        (&["doom/version.ini", "quake/a.pak"][..], Holds::Games),
        (&["doom/.lanspread.json", "readme.txt"], Holds::Games),
        (&["doom/a.pak", "quake/b.pak"], Holds::Unclear),
        (&["doom/version.ini", "readme.txt"], Holds::Unclear),
        (&["doom/local/doom.exe", "readme.txt"], Holds::Unclear),
        (&["data/a.pak", "doom.exe"], Holds::OneGame),
        (&["data/version.ini", "version.ini"], Holds::OneGame),
        (&["data/a.pak", "local/doom.exe"], Holds::OneGame),
        (&["Version.INI", "data/a.pak"], Holds::OneGame),
    ] {
        let disk = Disk::new();
        files.iter().for_each(|file| disk.write(file, "x"));
        assert_eq!(what_it_holds(&Dir::open(&disk.path("")).unwrap()).unwrap(), expected, "{files:?}");
    }
}
