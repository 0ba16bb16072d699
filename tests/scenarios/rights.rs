//! A user who may write his games, but not everything about them: permissions mean nothing to root, so these daemons run as somebody else.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use serde_json::json;

use crate::support::{CHUNK, Daemon, GameSpec, Home, Options, available, eventually};

const NOBODY: u32 = 65_534;
const AS_NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
/// A disk that another user mounted, where everybody may write: makes the file system in `$0`, mounts it on `$1`, and goes on as nobody.
const OF_ANOTHER_USER: &str = r#"mkfs.exfat "$0" >/dev/null && L=$(losetup -f --show "$0") && { mount.exfat-fuse "$L" "$1" -o rw,allow_other,umask=000 >&2;
    R=$?; losetup -d "$L"; [ $R = 0 ]; } && shift && exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@""#;

/// Gives everything beneath a home to nobody, whom its parents let in.
fn give_away(home: &Home) {
    fn all(path: &Path) {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        if path.is_dir() {
            std::fs::read_dir(path).unwrap().for_each(|entry| all(&entry.unwrap().path()));
        }
    }
    all(home.path());
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_download_works_where_the_executable_bit_cannot_be_set() {
    let name = "a_download_works_where_the_executable_bit_cannot_be_set";
    if !available(name, &["mount", "exfat"]) {
        return;
    }
    // On such a disk every file is executable, or none.
    let (home_a, home_b) = (Home::with(&[GameSpec::new("doom").file("doom.wad", CHUNK + 7)]), Home::new());
    let (image, games) = (home_b.path().join("disk.img"), home_b.games());
    std::fs::File::create(&image).unwrap().set_len(96 << 20).unwrap();
    give_away(&home_b);
    let a = Daemon::start(&home_a, &Options::local());
    a.wait_hashed();
    let (image_name, games_name) = (image.to_str().unwrap(), games.to_str().unwrap());
    let under = ["unshare", "-m", "sh", "-c", OF_ANOTHER_USER, image_name, games_name];
    let b = Daemon::start(&home_b, &Options::local().under(&under));
    b.connect(&a);
    b.download("doom");
    assert_eq!(b.games().remove("doom").unwrap()["downloaded"], true);
}

#[test]
fn what_is_read_only_is_updated_uninstalled_and_removed() {
    let newer = GameSpec::new("doom").version("2").file("doom.wad", CHUNK + 7).file("maps/one.wad", 300);
    let older = GameSpec::new("doom").version("1").file("doom.wad", CHUNK).file("maps/one.wad", 200);
    let (home_a, home_b) = (Home::with(&[newer, GameSpec::small("quake")]), Home::with(&[older]));
    for file in ["version.ini", "doom.wad", "maps/one.wad"] {
        let file = home_b.games().join("doom").join(file);
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o444)).unwrap();
    }
    let read_only = |dir: &Path| std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o555)).unwrap();
    read_only(&home_b.games().join("doom/maps"));
    read_only(&home_b.games().join("doom"));
    give_away(&home_b);
    let (a, b) =
        (Daemon::start(&home_a, &Options::local()), Daemon::start(&home_b, &Options::local().under(&AS_NOBODY)));
    a.wait_hashed();
    b.wait_hashed();
    b.connect(&a);
    b.download("doom");
    for file in ["version.ini", "doom.wad", "maps/one.wad"] {
        let read = |home: &Home| std::fs::read(home.games().join("doom").join(file)).unwrap();
        assert!(read(&home_a) == read(&home_b), "{file}");
    }
    // An installation with folders that its game made read-only is removed, too.
    let operate = |command: &str, end: &str| {
        let mark = b.mark();
        b.ok(json!({"cmd": command, "game": "doom"}));
        let event = b.wait_record(mark, end, 60, |record| {
            let name = record["event"].as_str().unwrap_or_default();
            record["game"] == "doom" && (name.ends_with("-finished") || name.ends_with("-failed"))
        });
        assert_eq!(event["event"], end, "{event}");
    };
    operate("install", "install-finished");
    let local = home_b.games().join("doom/local");
    read_only(&local.join("maps"));
    read_only(&local);
    operate("uninstall", "uninstall-finished");
    assert!(!local.exists());
    operate("remove", "remove-finished");
    // What the update kept aside is the user's.
    let left = |dir: &str| std::fs::read_dir(home_b.games().join(dir)).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(
        left("doom").chain(left("doom/maps")).all(|name| name == "maps" || name.to_str().unwrap().contains(".mine"))
    );
    // The directory that the user named has the rights that he gave it.
    read_only(&home_b.games());
    let failed = b.wait_download("quake", b.begin_download("quake"));
    assert_eq!(failed["event"], "download-failed", "{failed}");
    let mode = std::fs::metadata(home_b.games()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o555);
}

#[test]
fn a_game_with_a_file_that_may_not_be_read_is_not_offered_and_says_why() {
    let home_a = Home::with(&[GameSpec::new("doom").file("doom.wad", CHUNK + 7), GameSpec::small("quake")]);
    give_away(&home_a);
    let wad = home_a.game("doom").join("doom.wad");
    // Somebody else's, so that the daemon cannot give itself the right.
    chown(&wad, Some(0), Some(0)).unwrap();
    std::fs::set_permissions(&wad, std::fs::Permissions::from_mode(0o600)).unwrap();
    let home_b = Home::new();
    let a = Daemon::start(&home_a, &Options::local().under(&AS_NOBODY));
    let b = Daemon::start(&home_b, &Options::local());
    b.connect(&a);
    let told = a.wait_event("runtime-error");
    let told = told["message"].as_str().unwrap();
    assert!(told.starts_with("doom is not shared: ") && told.contains("doom.wad"), "{told}");
    let reason =
        eventually("it is withdrawn", 20, || a.games()["doom"]["local_only_reason"].as_str().map(str::to_owned));
    assert!(reason.contains("it cannot be read") && reason.contains("doom.wad"), "{reason}");
    eventually("the other one knows", 20, || b.games()["doom"]["sources"].as_array()?.is_empty().then_some(()));
    let refusal = b.command(json!({"cmd": "download", "game": "doom"})).unwrap_err();
    assert!(refusal.code == "no-sources" && refusal.message.contains("doom.wad"), "{refusal:?}");
    b.download("quake");
    std::fs::set_permissions(&wad, std::fs::Permissions::from_mode(0o644)).unwrap();
    eventually("it is offered again", 60, || b.games()["doom"]["sources"].as_array()?.first().map(|_| ()));
    b.download("doom");
    assert_eq!(a.events("runtime-error").len(), 1);
}
