//! Whose is a file: what the user adds to a game, or changes of it, is never lost, makes no trouble, and is told.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{CHUNK, Daemon, GameSpec, Home, Options, assert_same_tree, eventually, tree};

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn settled(daemon: &Daemon, accept: impl Fn(&Value) -> bool) -> Value {
    eventually("the game to be seen as it is", 30, || {
        daemon.games().remove("doom").filter(|row| row["content_hash"].is_string() && accept(row))
    })
}

#[test]
fn what_the_user_adds_and_changes_outlives_downloads_updates_and_the_removal() {
    let first = GameSpec::new("doom").version("1.0").file("doom.pak", 3 * CHUNK).file("data/old.pak", CHUNK);
    let first = first.file("settings.ini", 100);
    let (home_a, home_b) = (Home::with(&[first]), Home::new());
    let a = Daemon::start(&home_a, &Options::local());
    a.wait_hashed();
    let b = Daemon::start(&home_b, &Options::local());
    b.connect(&a);
    b.download("doom");
    let (here, there) = (home_b.game("doom"), home_a.game("doom"));
    let content = settled(&b, |_| true)["content_hash"].clone();

    // Saves and mods are no part of the game: it is what it was, and a download finds it here.
    put(&here.join("saves/slot1"), "100 hours");
    put(&here.join("data/mod.pak"), "my mod");
    std::os::unix::fs::symlink("/etc", here.join("saves/link")).unwrap();
    b.stop();
    let b = Daemon::start(&home_b, &Options::local());
    let row = settled(&b, |row| row["leaves_out"]["count"] == 3);
    assert_eq!(row["content_hash"], content);
    assert!(row.get("changed").is_none() && row.get("local_only_reason").is_none(), "{row}");
    b.connect(&a);
    let finished = b.download("doom");
    assert_eq!((&finished["sources"], finished.get("kept_aside")), (&json!([]), None), "{finished}");
    assert_eq!(read(&here.join("saves/slot1")), "100 hours");

    // A changed file makes another content, and that is told, to others as well.
    fs::write(here.join("settings.ini"), "mine").unwrap();
    eventually("the change to be seen", 60, || (b.games()["doom"]["changed"] == true).then_some(()));
    a.stop();

    // The next version has other settings and lacks a file.
    fs::remove_dir_all(&there).unwrap();
    let second = GameSpec::new("doom").version("1.1").file("doom.pak", 3 * CHUNK).file("settings.ini", 120);
    second.write(&home_a.games());
    let a = Daemon::start(&home_a, &Options::local());
    a.wait_hashed();
    b.connect(&a);
    eventually("the new version to be seen", 30, || {
        (b.ok(json!({"cmd": "get-game", "game": "doom"}))["bytes"] == second.bytes()).then_some(())
    });
    let mark = b.mark();
    b.ok(json!({"cmd": "fetch-latest", "game": "doom"}));
    let finished = b.wait_download("doom", mark);
    let kept = json!([{"file": "settings.ini", "kept_as": "settings.ini.mine"}]);
    assert_eq!(finished["kept_aside"], kept, "{finished}");
    let own = ["saves", "saves/slot1", "saves/link", "data", "data/mod.pak", "settings.ini.mine"];
    assert_eq!(tree(&here, &own), tree(&there, &[]), "the old file is gone, and nothing else");
    let still_there = || {
        assert_eq!(read(&here.join("settings.ini.mine")), "mine");
        assert_eq!(
            (read(&here.join("saves/slot1")), read(&here.join("data/mod.pak"))),
            ("100 hours".into(), "my mod".into())
        );
    };
    still_there();

    // A removal takes what was brought. A second one has nothing to go by.
    let mark = b.mark();
    b.ok(json!({"cmd": "remove", "game": "doom"}));
    b.wait_event_since(mark, "remove-finished", |event| event["game"] == "doom");
    still_there();
    assert!(!here.join("doom.pak").exists() && !here.join("version.ini").exists());
    let mark = b.mark();
    if b.command(json!({"cmd": "remove", "game": "doom"})).is_ok() {
        let failed = b.wait_event_since(mark, "remove-failed", |event| event["game"] == "doom");
        assert_eq!(failed["code"], "not-ours", "{failed}");
    }
    still_there();
}

#[test]
fn a_game_that_was_copied_by_hand_is_not_removed_and_its_files_outlive_an_update() {
    let spec = |version: &str| GameSpec::new("doom").version(version).file("doom.pak", 2 * CHUNK);
    let (home_a, home_b) = (Home::with(&[spec("1.1")]), Home::with(&[spec("1.0")]));
    put(&home_b.game("doom").join("doom.pak"), "by hand");
    let a = Daemon::start(&home_a, &Options::local());
    a.wait_hashed();
    let b = Daemon::start(&home_b, &Options::local());
    b.wait_hashed();
    let mark = b.mark();
    b.ok(json!({"cmd": "remove", "game": "doom"}));
    let failed = b.wait_event_since(mark, "remove-failed", |event| event["game"] == "doom");
    assert_eq!(failed["code"], "not-ours", "{failed}");
    assert!(failed["message"].as_str().unwrap().contains(home_b.game("doom").to_str().unwrap()), "{failed}");
    b.connect(&a);
    eventually("the new version to be seen", 30, || {
        (b.ok(json!({"cmd": "get-game", "game": "doom"}))["bytes"] == spec("1.1").bytes()).then_some(())
    });
    let mark = b.mark();
    b.ok(json!({"cmd": "fetch-latest", "game": "doom"}));
    let finished = b.wait_download("doom", mark);
    assert_eq!(finished["kept_aside"].as_array().map(Vec::len), Some(2), "{finished}");
    assert_eq!(read(&home_b.game("doom").join("doom.pak.mine")), "by hand");
    assert_eq!(read(&home_b.game("doom").join("version.ini.mine")).trim(), "1.0");
    fs::remove_file(home_b.game("doom").join("doom.pak.mine")).unwrap();
    fs::remove_file(home_b.game("doom").join("version.ini.mine")).unwrap();
    assert_same_tree(&home_a.game("doom"), &home_b.game("doom"));
}
