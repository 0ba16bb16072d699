//! Game directories that go while their daemon runs, and come back: drives are pulled, file systems end after an error, a drive is
//! mounted late. Each daemon has its own mounts, which go with it.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::{CHUNK, Daemon, GameSpec, Home, Options, available, eventually};

/// Shows the directory `$0` at `$1` too, as a drive that is mounted there, and goes on.
const BIND: &str = r#"mount --bind "$0" "$1" && shift && exec "$@""#;
/// Makes a file system in the file `$0`, mounts it at `$1`, and goes on.
const EXT4: &str = r#"mkfs.ext4 -q "$0" && mount -o loop "$0" "$1" && shift && exec "$@""#;
/// Goes on in mounts of its own.
const OWN_MOUNTS: &str = r#"shift && exec "$@""#;
/// `EXT4_IOC_SHUTDOWN`, and the way that does not write its journal: as after an error of the disk.
const SHUTDOWN: libc::Ioctl = 0x8004_587d;
const WITHOUT_JOURNAL: u32 = 2;

fn under<'a>(script: &'a str, from: &'a Path, at: &'a Path) -> Options {
    Options::local().under(&["unshare", "-m", "sh", "-c", script, from.to_str().unwrap(), at.to_str().unwrap()])
}

/// Runs `mount` or `umount` where the daemon sees it.
fn in_its_mounts(daemon: &Daemon, command: &[&str]) {
    let pid = daemon.pid().to_string();
    let done = Command::new("nsenter").args(["-m", "-t", &pid]).args(command).output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A path as the daemon sees it.
fn as_it_sees(daemon: &Daemon, path: &Path) -> PathBuf {
    Path::new(&format!("/proc/{}/root", daemon.pid())).join(path.strip_prefix("/").unwrap())
}

/// Games whose content is known.
fn hashed(daemon: &Daemon) -> usize {
    daemon.games().values().filter(|game| game["content_hash"].is_string()).count()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_drive_that_goes_takes_its_games_along_and_brings_them_back() {
    let name = "a_drive_that_goes_takes_its_games_along_and_brings_them_back";
    if !available(name, &["mount"]) {
        return;
    }
    let (home_a, home_b) = (Home::new(), Home::new());
    let (drive, games) = (home_a.path().join("drive"), home_a.games());
    std::fs::create_dir_all(&drive).unwrap();
    GameSpec::small("doom").write(&drive);
    GameSpec::small("quake").write(&drive);
    let a = Daemon::start(&home_a, &under(BIND, &drive, &games));
    let b = Daemon::start(&home_b, &Options::local());
    b.connect(&a);
    eventually("all games are offered", 60, || (a.status()["hash_queue"] == 0 && hashed(&a) == 2).then_some(()));
    let before = a.status();
    in_its_mounts(&a, &["umount", "-l", games.to_str().unwrap()]);
    // Whoever touches it finds out at once.
    let mark = b.mark();
    a.ok(json!({"cmd": "verify", "game": "doom"}));
    let failed = a.wait_event("verify-failed");
    assert_eq!(failed["code"], "game-directory-gone", "{failed}");
    let gone = a.wait_event("game-directory-gone");
    assert!(gone["reason"].as_str().unwrap().contains("another directory lies there now"), "{gone}");
    b.wait_event_since(mark, "peer-library-changed", |event| event["game_count"] == 0);
    assert_eq!(a.refused(json!({"cmd": "install", "game": "doom"})), "game-directory-gone");
    assert!(a.games().is_empty() && b.games().is_empty());
    assert_eq!(names(&as_it_sees(&a, &games)), [""; 0], "nothing is written below the mount point");
    assert!(a.status()["game_dir_gone"].is_string());

    GameSpec::small("hexen").write(&drive);
    in_its_mounts(&a, &["mount", "--bind", drive.to_str().unwrap(), games.to_str().unwrap()]);
    let back = a.wait_event("game-directory-back");
    assert_eq!(back["games"], 3, "{back}");
    b.wait_event_since(mark, "peer-library-changed", |event| event["game_count"] == 3);
    let after = a.status();
    assert_eq!((&after["library_epoch"], after.get("game_dir_gone")), (&before["library_epoch"], None));
    b.download("quake");
    assert_eq!(a.events("game-directory-gone").len(), 1, "it is told once");
}

#[test]
fn a_file_system_that_ends_during_a_download_ends_it_and_nothing_else() {
    let name = "a_file_system_that_ends_during_a_download_ends_it_and_nothing_else";
    if !available(name, &["mount"]) {
        return;
    }
    let home_a = Home::with(&[GameSpec::new("doom").file("doom.wad", 8 * CHUNK)]);
    let home_b = Home::new();
    let image = home_b.path().join("disk.img");
    File::create(&image).unwrap().set_len(96 << 20).unwrap();
    let a = Daemon::start(&home_a, &Options::local().arg("--max-upload", "4MB/s"));
    a.wait_hashed();
    let b = Daemon::start(&home_b, &under(EXT4, &image, &home_b.games()));
    b.connect(&a);
    let mark = b.begin_download("doom");
    b.wait_event_since(mark, "download-progress", |event| event["bytes"].as_u64().unwrap() > 0);
    let root = File::open(as_it_sees(&b, &home_b.games())).unwrap();
    // SAFETY: the descriptor is open, and the argument outlives the call.
    let done = unsafe { libc::ioctl(root.as_raw_fd(), SHUTDOWN, &WITHOUT_JOURNAL) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    drop(root);
    let failed = b.wait_event_since(mark, "download-failed", |_| true);
    assert_eq!(failed["code"], "game-directory-gone", "{failed}");
    b.wait_event_since(mark, "game-directory-gone", |_| true);
    // All handles are closed, so that the drive can be taken away and checked.
    let games = home_b.games();
    eventually("the unmounting", 10, || {
        let pid = b.pid().to_string();
        let done = Command::new("nsenter").args(["-m", "-t", &pid, "umount"]).arg(&games).output().unwrap();
        done.status.success().then_some(())
    });
    let done = Command::new("e2fsck").arg("-fy").arg(&image).output().unwrap();
    assert!(matches!(done.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&done.stdout));
    in_its_mounts(&b, &["mount", "-o", "loop", image.to_str().unwrap(), games.to_str().unwrap()]);
    b.wait_event_since(mark, "game-directory-back", |_| true);
    b.download("doom");
    assert!(b.events("runtime-error").is_empty(), "{:?}", b.events("runtime-error"));
}

#[test]
fn a_drive_that_is_mounted_after_the_start_is_used_and_nothing_goes_below_it() {
    let name = "a_drive_that_is_mounted_after_the_start_is_used_and_nothing_goes_below_it";
    if !available(name, &["mount"]) {
        return;
    }
    let (home_a, home_b) = (Home::with(&[GameSpec::small("doom")]), Home::new());
    let (drive, games) = (home_b.path().join("drive"), home_b.games());
    std::fs::create_dir_all(&drive).unwrap();
    GameSpec::small("quake").write(&drive);
    let a = Daemon::start(&home_a, &Options::local());
    a.wait_hashed();
    let b = Daemon::start(&home_b, &under(OWN_MOUNTS, &drive, &games));
    b.connect(&a);
    in_its_mounts(&b, &["mount", "--bind", drive.to_str().unwrap(), games.to_str().unwrap()]);
    let mark = b.begin_download("doom");
    let failed = b.wait_event_since(mark, "download-failed", |_| true);
    assert_eq!(failed["code"], "game-directory-gone", "{failed}");
    b.wait_event_since(mark, "game-directory-back", |event| event["games"] == 1);
    b.download("doom");
    assert!(drive.join("doom/version.ini").exists());
    assert_eq!(names(&games), [".lanspread"], "below the mount");
    // And the other way round: what is left below is no library to fill.
    in_its_mounts(&b, &["umount", "-l", games.to_str().unwrap()]);
    let mark = b.mark();
    b.ok(json!({"cmd": "verify", "game": "doom"}));
    b.wait_event_since(mark, "game-directory-gone", |_| true);
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert!(b.status()["game_dir_gone"].is_string(), "an empty library of another history is not taken");
    // Unless the user says so.
    b.ok(json!({"cmd": "set-game-dir", "path": games}));
    assert!(b.status().get("game_dir_gone").is_none());
}
