//! What is found in a game's folder after something went wrong, and what stands in the way of an operation: nothing that
//! is not lanspread's is touched, and the user is told why.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lanspread_peer::fs::Dir;
use lanspread_peer::install::{Intent, IntentLog, OpId};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{CHUNK, Daemon, GameSpec, Home, Options, assert_same_tree, eventually, tree};

/// What lanspread writes into a directory that is its own.
const MARKER: (&str, &str) = (".lanspread_owned", "lanspread operation 0000000000000001\n");

fn spec() -> GameSpec {
    GameSpec::new("doom").file("doom.exe", 1000).file("maps/e1m1.wad", CHUNK + 5)
}

fn start(home: &Home) -> Daemon {
    let daemon = Daemon::start(home, &Options::local());
    daemon.wait_event("local-library-changed");
    daemon
}

/// Starts an operation and returns its terminal event.
fn end_of(daemon: &Daemon, command: &str) -> Value {
    let mark = daemon.mark();
    daemon.ok(json!({"cmd": command, "game": "doom"}));
    let ends = [format!("{command}-finished"), format!("{command}-failed")];
    daemon.wait_record(mark, &format!("the end of {command}"), 60, |record| {
        ends.iter().any(|end| record["event"] == end.as_str())
    })
}

fn finish(daemon: &Daemon, command: &str) {
    let end = end_of(daemon, command);
    assert_eq!(end["event"], format!("{command}-finished"), "{end}");
}

/// The operation fails because of what `names`, and the user is told so.
fn assert_in_the_way(daemon: &Daemon, command: &str, names: &str) {
    let end = end_of(daemon, command);
    let code = if names == "move it away" { "not-ours" } else { "in-use" };
    assert_eq!((&end["event"], &end["code"]), (&json!(format!("{command}-failed")), &json!(code)), "{end}");
    let message = end["message"].as_str().unwrap();
    assert!(message.contains(names), "{message}");
    assert!(daemon.games()["doom"].get("operation").is_none(), "the game is free again");
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn write_log(root: &Path, intent: Intent, installed: Option<&str>, next: Option<&str>) {
    let log = IntentLog {
        op_id: OpId(1),
        intent,
        installed_version: installed.map(str::to_owned),
        installed_by: None,
        next_version: next.map(str::to_owned),
        kept_as: None,
    };
    log.write(&Dir::open(root).unwrap()).unwrap();
}

/// The message of the error that a start reports about the game.
fn report(daemon: &Daemon) -> String {
    let event =
        daemon.wait_event_since(0, "runtime-error", |event| event["message"].as_str().unwrap().contains("doom"));
    event["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_backup_that_nobody_claims_is_left_alone_and_reported() {
    let home = Home::with(&[spec()]);
    home.brought("doom");
    let root = home.game("doom");
    put(&root.join(".local.backup/save/slot1"), "hours of play");
    let before = tree(&root, &[]);
    let daemon = start(&home);
    let message = report(&daemon);
    assert!(message.contains(".local.backup") && message.contains("left alone"), "{message}");
    assert!(daemon.games()["doom"]["downloaded"] == true, "it is listed and served all the same");
    for command in ["install", "remove"] {
        assert_in_the_way(&daemon, command, ".local.backup");
        assert_eq!(tree(&root, &[]), before, "{command}");
    }
    // The way that the message names.
    fs::rename(root.join(".local.backup"), root.join("local")).unwrap();
    eventually("it counts as installed", 20, || (daemon.games()["doom"]["installed"] == true).then_some(()));
    assert_eq!(fs::read_to_string(root.join("local/save/slot1")).unwrap(), "hours of play");
    // Nothing shows that lanspread made it: it is neither removed nor replaced.
    for command in ["uninstall", "install"] {
        assert_in_the_way(&daemon, command, "move it away");
        assert_eq!(fs::read_to_string(root.join("local/save/slot1")).unwrap(), "hours of play");
    }
    fs::rename(root.join("local"), home.path().join("kept")).unwrap();
    finish(&daemon, "install");
    daemon.stop();
}

#[test]
fn a_broken_intent_log_stops_every_operation_on_its_game_until_its_owner_has_looked() {
    let home = Home::with(&[spec(), GameSpec::small("quake")]);
    let root = home.game("doom");
    put(&root.join("local/save/slot1"), "hours of play");
    put(&root.join(".local.backup").join(MARKER.0), MARKER.1);
    write_log(&root, Intent::Updating { swapped: true }, Some("0.9"), Some("1.0"));
    let mut log = fs::read(root.join(".lanspread.json")).unwrap();
    let cut = log.len() - 9;
    log.truncate(cut);
    fs::write(root.join(".lanspread.json"), log).unwrap();
    let before = tree(&root, &[]);

    let daemon = start(&home);
    let message = report(&daemon);
    assert!(message.contains(".lanspread.json") && message.contains("cannot be read"), "{message}");
    for command in ["install", "uninstall"] {
        assert_in_the_way(&daemon, command, ".lanspread.json");
    }
    assert_eq!(daemon.refused(json!({"cmd": "remove", "game": "doom"})), "in-use");
    assert_eq!(tree(&root, &[]), before, "nothing is touched");
    // Other games go on.
    let mark = daemon.mark();
    daemon.ok(json!({"cmd": "install", "game": "quake"}));
    daemon.wait_event_since(mark, "install-finished", |event| event["game"] == "quake");

    // The owner looked, and did what the message says.
    fs::remove_file(root.join(".lanspread.json")).unwrap();
    assert_in_the_way(&daemon, "install", "move it away");
    fs::rename(root.join("local"), home.path().join("kept")).unwrap();
    finish(&daemon, "install");
    assert!(!root.join(".local.backup").exists(), "its marker says whose it is");
    daemon.stop();
}

#[test]
fn a_game_is_removed_only_when_nothing_of_it_is_in_use() {
    let home = Home::with(&[spec(), GameSpec::small("half")]);
    let root = home.game("doom");
    home.brought("doom");
    home.brought("half");
    fs::remove_file(home.game("half").join("version.ini")).unwrap();
    let daemon = start(&home);
    daemon.wait_hashed();
    assert_eq!(daemon.refused(json!({"cmd": "remove", "game": "nobody-has-it"})), "unknown-game");
    // What a download left goes like a game, unless somebody has installed beside it.
    put(&home.game("half").join("local/save.dat"), "mine");
    eventually("the folder to be noticed", 30, || (daemon.games()["half"]["installed"] == true).then_some(()));
    assert_eq!(daemon.refused(json!({"cmd": "remove", "game": "half"})), "in-use");
    assert_eq!(fs::read(home.game("half").join("local/save.dat")).unwrap(), b"mine");
    fs::remove_dir_all(home.game("half").join("local")).unwrap();
    let mark = daemon.mark();
    eventually("the leftovers to be free", 30, || daemon.command(json!({"cmd": "remove", "game": "half"})).ok());
    daemon.wait_event_since(mark, "remove-finished", |event| event["game"] == "half");
    assert!(!home.game("half").exists());

    finish(&daemon, "install");
    assert_eq!(daemon.refused(json!({"cmd": "remove", "game": "doom"})), "in-use");
    finish(&daemon, "uninstall");
    let before = tree(&root, &[]);
    for scratch in [".local.installing", ".local.backup"] {
        for name in [MARKER.0, "mine"] {
            put(&root.join(scratch).join(name), MARKER.1);
            assert_in_the_way(&daemon, "remove", scratch);
            fs::remove_dir_all(root.join(scratch)).unwrap();
            assert_eq!(tree(&root, &[]), before, "{scratch} with {name}");
        }
    }
    // Nothing of these refusals stays behind.
    finish(&daemon, "remove");
    assert!(!root.exists(), "{:?}", tree(&root, &[]));
    daemon.stop();
}

#[test]
fn a_game_is_not_removed_while_another_operation_on_it_runs() {
    let (home_a, home_b) = (Home::with(&[spec()]), Home::new());
    let a = Daemon::start(&home_a, &Options::local());
    a.wait_hashed();
    let b = start(&home_b);
    a.connect(&b);
    // A source that says nothing: the download stays as it is.
    let pid = Pid::from_raw(a.pid() as i32).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let mark = b.begin_download("doom");
    for command in ["remove", "install", "uninstall", "verify"] {
        assert_eq!(b.refused(json!({"cmd": command, "game": "doom"})), "operation-in-progress", "{command}");
    }
    kill_process(pid, Signal::CONT).unwrap();
    assert_eq!(b.wait_download("doom", mark)["event"], "download-finished");
    assert_same_tree(&home_a.game("doom"), &home_b.game("doom"));
}

/// A program that runs out of `local/`, in that directory. Ends with the test.
struct Playing(Child);

impl Playing {
    fn start(local: &Path) -> Self {
        let child = Command::new(local.join("sleep.exe"))
            // Programs that are many in one go by this name.
            .arg0("sleep")
            .arg("600")
            .current_dir(local)
            .stdin(Stdio::null())
            .spawn()
            .expect("the installed program can be run");
        Self(child)
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Puts a game with a program that runs into the library, the sentinel last.
fn publish_program(home: &Home, version: &str) {
    let root = home.game("doom");
    let _ = fs::remove_file(root.join("version.ini"));
    fs::create_dir_all(&root).unwrap();
    fs::copy("/bin/sleep", root.join("sleep.exe")).unwrap();
    fs::set_permissions(root.join("sleep.exe"), fs::Permissions::from_mode(0o755)).unwrap();
    put(&root.join("data/level"), &format!("the level of {version}"));
    put(&root.join("version.ini"), version);
}

#[test]
fn a_game_that_is_played_is_updated_and_uninstalled_and_its_open_files_stay_what_they_were() {
    let home = Home::new();
    publish_program(&home, "1.0");
    let daemon = start(&home);
    finish(&daemon, "install");
    let local = home.game("doom").join("local");
    let mut old_game = Playing::start(&local);
    let mut old_level = fs::File::open(local.join("data/level")).unwrap();

    publish_program(&home, "2.0");
    eventually("the new version is seen", 30, || (daemon.games()["doom"]["version"] == "2.0").then_some(()));
    finish(&daemon, "install");
    let mut text = String::new();
    old_level.read_to_string(&mut text).unwrap();
    assert_eq!(text, "the level of 1.0");
    assert_eq!(fs::read_to_string(local.join("data/level")).unwrap(), "the level of 2.0");
    assert!(old_game.is_running());

    let mut new_game = Playing::start(&local);
    let mut new_level = fs::File::open(local.join("data/level")).unwrap();
    finish(&daemon, "uninstall");
    let left: Vec<String> = tree(&home.game("doom"), &[]).into_keys().collect();
    assert_eq!(left, ["data", "data/level", "sleep.exe", "version.ini"]);
    text.clear();
    new_level.read_to_string(&mut text).unwrap();
    assert_eq!(text, "the level of 2.0");
    assert!(old_game.is_running() && new_game.is_running());
    daemon.stop();
}

/// An update that was cut off between its two renames.
fn interrupt_update(root: &Path) {
    put(&root.join(".local.backup/save/slot1"), "hours of play");
    put(&root.join(".local.installing/doom.exe"), "half of the new program");
    write_log(root, Intent::Updating { swapped: false }, Some("0.9"), Some("1.0"));
}

#[test]
fn another_game_directory_is_recovered_when_it_is_opened_and_the_same_one_is_not() {
    let home = Home::with(&[spec()]);
    let other = home.path().join("other-games");
    let other_root = spec().write(&other);
    interrupt_update(&other_root);
    let daemon = start(&home);
    daemon.wait_hashed();

    // The same directory, also by another name: what is there now may be somebody's work under way.
    let root = home.game("doom");
    interrupt_update(&root);
    let before = tree(&root, &[]);
    let link = home.path().join("link-to-games");
    symlink(home.games(), &link).unwrap();
    for path in [home.games(), link] {
        daemon.ok(json!({"cmd": "set-game-dir", "path": path}));
        assert_eq!(tree(&root, &[]), before, "{}", path.display());
    }

    let switch = |path: &Path, root: &Path| {
        let mark = daemon.mark();
        daemon.ok(json!({"cmd": "set-game-dir", "path": path}));
        let event = daemon.wait_event_since(mark, "runtime-error", |_| true);
        assert!(event["message"].as_str().unwrap().contains("taken back"), "{event}");
        let names: Vec<String> = tree(root, &["maps"]).into_keys().collect();
        let recovered = [".lanspread.json", "doom.exe", "local", "local/save", "local/save/slot1", "version.ini"]
            .map(str::to_owned);
        assert_eq!(names, recovered);
        assert_eq!(fs::read_to_string(root.join("local/save/slot1")).unwrap(), "hours of play");
        assert!(daemon.games()["doom"]["installed"] == true);
    };
    switch(&other, &other_root);
    switch(&home.games(), &root);
    daemon.stop();
}
