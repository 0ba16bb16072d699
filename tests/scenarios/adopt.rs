//! Whose `local/` is: one that lanspread did not make is neither replaced nor removed, until its user says so.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Daemon, GameSpec, Home, Options, eventually, tree};

const SAVE: &str = "100 hours";

fn put_own(local: &Path) {
    fs::create_dir_all(local.join("saves")).unwrap();
    fs::write(local.join("saves/slot1"), SAVE).unwrap();
}

fn start(home: &Home) -> Daemon {
    let daemon = Daemon::start(home, &Options::local());
    daemon.wait_hashed();
    daemon
}

/// Starts an operation, and returns its terminal event.
fn end_of(daemon: &Daemon, command: &str) -> Value {
    let mark = daemon.mark();
    daemon.ok(json!({"cmd": command, "game": "doom"}));
    let ends = [format!("{command}-finished"), format!("{command}-failed")];
    daemon.wait_record(mark, "the end of it", 60, |record| ends.iter().any(|end| record["event"] == end.as_str()))
}

fn finish(daemon: &Daemon, command: &str) {
    let end = end_of(daemon, command);
    assert_eq!(end, json!({"type": "event", "event": format!("{command}-finished"), "game": "doom"}));
}

fn installed_by(daemon: &Daemon) -> Value {
    let row = daemon.games().remove("doom").unwrap();
    assert!(row["installed"] == false || row.get("installed_by").is_some(), "{row}");
    row["installed_by"].clone()
}

fn assert_refused(daemon: &Daemon, local: &Path) {
    let before = tree(local, &[]);
    for command in ["install", "uninstall"] {
        let end = end_of(daemon, command);
        assert_eq!((&end["event"], &end["code"]), (&json!(format!("{command}-failed")), &json!("not-ours")), "{end}");
        let message = end["message"].as_str().unwrap();
        assert!(message.contains("move it away") && message.contains("lanspread adopt doom"), "{message}");
        assert_eq!(tree(local, &[]), before);
        assert_eq!(installed_by(daemon), "somebody-else");
    }
}

#[test]
fn an_installation_by_hand_is_refused_until_it_is_adopted() {
    let home = Home::with(&[GameSpec::small("doom")]);
    let local = home.game("doom").join("local");
    let daemon = start(&home);
    assert_eq!(daemon.refused(json!({"cmd": "adopt", "game": "doom"})), "not-installed");
    assert_eq!(daemon.refused(json!({"cmd": "adopt", "game": "nobody-has-it"})), "unknown-game");
    daemon.stop();

    // What a download brought has no `local/` of its own.
    home.brought("doom");
    put_own(&local);
    let daemon = start(&home);
    assert_refused(&daemon, &local);
    let mark = daemon.mark();
    finish(&daemon, "adopt");
    let begun = daemon.since(mark).into_iter().filter(|record| record["event"] == "adopt-begin").count();
    assert_eq!((begun, installed_by(&daemon)), (1, json!("lanspread")));
    assert_eq!(fs::read_to_string(local.join("saves/slot1")).unwrap(), SAVE);
    // Once more changes nothing, and so it stays after a start.
    let before = tree(&home.game("doom"), &[]);
    finish(&daemon, "adopt");
    daemon.stop();
    let daemon = start(&home);
    assert_eq!((tree(&home.game("doom"), &[]), installed_by(&daemon)), (before, json!("lanspread")));

    // Nothing says what in it is the user's: it is replaced, and all of it is kept.
    let end = end_of(&daemon, "install");
    assert_eq!((&end["event"], &end["kept_in"]), (&json!("install-finished"), &json!(".local.mine")), "{end}");
    assert!(local.join("data.pak").exists() && !local.join("saves").exists(), "it was replaced");
    assert_eq!(fs::read_to_string(home.game("doom").join(".local.mine/saves/slot1")).unwrap(), SAVE);
    finish(&daemon, "uninstall");
    assert!(!local.exists());
    assert_eq!(installed_by(&daemon), Value::Null);
    daemon.stop();
}

#[test]
fn a_game_that_is_withheld_for_its_local_is_shared_when_that_is_adopted() {
    let home = Home::with(&[GameSpec::small("doom")]);
    put_own(&home.game("doom").join("local"));
    let daemon = Daemon::start(&home, &Options::local());
    let row = eventually("the game to be listed", 30, || daemon.games().remove("doom"));
    assert!(row["local_only_reason"].as_str().unwrap().contains("adopt"), "{row}");
    assert_eq!((&row["installed"], &row["installed_by"]), (&json!(false), &json!("somebody-else")), "{row}");
    finish(&daemon, "adopt");
    daemon.wait_hashed();
    let row = daemon.games().remove("doom").unwrap();
    assert!(row.get("local_only_reason").is_none() && row["content_hash"].is_string(), "{row}");
    assert_eq!((&row["installed"], &row["installed_by"]), (&json!(true), &json!("lanspread")), "{row}");
    assert_eq!(fs::read_to_string(home.game("doom").join("local/saves/slot1")).unwrap(), SAVE);
    daemon.stop();
}

#[test]
fn a_local_that_took_the_place_of_what_was_installed_is_its_users() {
    let home = Home::with(&[GameSpec::small("doom")]);
    let local = home.game("doom").join("local");
    let daemon = start(&home);
    finish(&daemon, "install");
    assert_eq!(installed_by(&daemon), "lanspread");
    // The log beside it still tells of the one that was installed.
    fs::remove_dir_all(&local).unwrap();
    put_own(&local);
    eventually("the change to be seen", 60, || {
        let end = end_of(&daemon, "uninstall");
        assert_eq!(end["code"], "not-ours", "{end}");
        (installed_by(&daemon) == "somebody-else").then_some(())
    });
    assert_refused(&daemon, &local);
    assert_eq!(fs::read_to_string(local.join("saves/slot1")).unwrap(), SAVE);
    daemon.stop();
}
