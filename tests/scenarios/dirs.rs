//! Empty folders belong to a game: downloaded, verified, repaired, installed, updated and removed with it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{CHUNK, Daemon, GameSpec, Home, Options, Stranger, assert_same_tree, eventually};

/// A game with empty folders beside files, beneath folders that hold files, and several deep.
fn write_game(home: &Home, version: &str, dirs: &[&str]) {
    GameSpec::new("doom").version(version).file("doom.exe", 900).file("data/maps.wad", CHUNK + 9).write(&home.games());
    for dir in dirs {
        fs::create_dir_all(home.game("doom").join(dir)).unwrap();
    }
}

fn operate(daemon: &Daemon, command: Value, ends: [&str; 2]) -> Value {
    let mark = daemon.mark();
    daemon.ok(command);
    daemon.wait_record(mark, ends[0], 60, |record| ends.iter().any(|end| record["event"] == *end))
}

fn verify(daemon: &Daemon) -> Value {
    operate(daemon, json!({"cmd": "verify", "game": "doom"}), ["verify-finished", "verify-failed"])
}

fn is_empty_dir(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

#[test]
fn empty_folders_arrive_are_verified_repaired_installed_updated_and_removed() {
    const DIRS: [&str; 4] = ["saves", "data/screens", "logs/a/b", "data/tmp"];
    let (home_a, home_b) = (Home::new(), Home::new());
    write_game(&home_a, "1.0", &DIRS);
    let a = Daemon::start(&home_a, &Options::local());
    a.wait_hashed();
    let b = Daemon::start(&home_b, &Options::local());
    b.connect(&a);
    assert_eq!(b.download("doom")["event"], "download-finished");
    assert_same_tree(&home_a.game("doom"), &home_b.game("doom"));
    let root = home_b.game("doom");
    assert!(DIRS.iter().all(|dir| is_empty_dir(&root.join(dir))));
    // It is one content: both are sources of it.
    eventually("both have the same content", 20, || {
        let hash = |daemon: &Daemon| daemon.games()["doom"]["content_hash"].clone();
        (hash(&a) == hash(&b) && hash(&a).is_string()).then_some(())
    });
    let files = b.ok(json!({"cmd": "get-game", "game": "doom"}));
    assert_eq!(files["dirs"], json!(["data/screens", "data/tmp", "logs/a/b", "saves"]), "{files}");

    // A copy of it has them too.
    let end = operate(&b, json!({"cmd": "install", "game": "doom"}), ["install-finished", "install-failed"]);
    assert_eq!(end["event"], "install-finished", "{end}");
    assert!(DIRS.iter().all(|dir| is_empty_dir(&root.join("local").join(dir))));
    let end = operate(&b, json!({"cmd": "uninstall", "game": "doom"}), ["uninstall-finished", "uninstall-failed"]);
    assert_eq!(end["event"], "uninstall-finished", "{end}");

    // One that is missing is damage.
    assert_eq!((&verify(&b)["bad_chunks"], &verify(&b)["missing_dirs"]), (&json!(0), &Value::Null));
    fs::remove_dir(root.join("data/tmp")).unwrap();
    let end = verify(&b);
    assert_eq!(
        (&end["event"], &end["bad_chunks"], &end["missing_dirs"]),
        (&json!("verify-finished"), &json!(0), &json!(1))
    );
    assert_eq!(b.games()["doom"]["downloaded"], false);
    let finished = b.download("doom");
    assert_eq!(finished["event"], "download-finished", "{finished}");
    assert!(is_empty_dir(&root.join("data/tmp")));
    fs::remove_dir(root.join("data/screens")).unwrap();
    let mark = b.mark();
    b.ok(json!({"cmd": "verify", "game": "doom", "repair": true}));
    let finished = b.wait_download("doom", mark);
    assert_eq!((&finished["event"], &finished["resumed_bytes"]), (&json!("download-finished"), &finished["bytes"]));
    assert_same_tree(&home_a.game("doom"), &root);

    // The next version lacks two; one of these was played in.
    a.stop();
    fs::remove_dir_all(home_a.game("doom")).unwrap();
    write_game(&home_a, "1.1", &["logs/a/b", "data/tmp", "new/er"]);
    fs::write(root.join("saves/slot1"), "100 hours").unwrap();
    let a = Daemon::start(&home_a, &Options::local());
    a.wait_hashed();
    b.connect(&a);
    eventually("b knows of the next version", 20, || {
        b.games()["doom"]["sources"].as_array().is_some_and(|sources| !sources.is_empty()).then_some(())
    });
    assert_eq!(b.download("doom")["event"], "download-finished");
    assert!(["logs/a/b", "data/tmp", "new/er"].iter().all(|dir| is_empty_dir(&root.join(dir))));
    assert!(!root.join("data/screens").exists());
    assert_eq!(fs::read(root.join("saves/slot1")).unwrap(), b"100 hours");

    fs::remove_dir_all(root.join("saves")).unwrap();
    let end = operate(&b, json!({"cmd": "remove", "game": "doom"}), ["remove-finished", "remove-failed"]);
    assert_eq!(end["event"], "remove-finished", "{end}");
    assert!(!root.exists());
}

#[test]
fn who_does_not_know_of_empty_folders_is_refused_such_a_game_with_words_and_handed_any_other() {
    let home = Home::with(&[GameSpec::small("plain")]);
    write_game(&home, "1.0", &["saves"]);
    let daemon = Daemon::start(&home, &Options::local());
    daemon.wait_hashed();
    let mut stranger = Stranger::connect(daemon.addr);
    stranger.hello();
    let library = json!({"type": "GetLibrary", "peer_id": stranger.peer_id});
    let (library, _) = stranger.request(&library).unwrap();
    for game in library["snapshot"]["games"].as_array().unwrap() {
        let mut ask = json!({"type": "GetManifest", "game_id": game["id"], "manifest_hash": game["manifest_hash"]});
        let (old, _) = stranger.request(&ask).unwrap();
        ask["dirs"] = json!(true);
        let (new, _) = stranger.request(&ask).unwrap();
        assert_eq!(new["type"], "Manifest", "{new}");
        if game["id"] == "plain" {
            assert_eq!((&new, &new["dirs"]), (&old, &Value::Null));
        } else {
            assert_eq!(new["dirs"], json!(["saves"]));
            assert_eq!((&old["type"], &old["code"]), (&json!("Error"), &json!("not-served")));
            assert!(old["message"].as_str().unwrap().contains("empty folders"), "{old}");
        }
    }
}

#[test]
fn a_game_with_a_folder_of_its_own_in_the_place_of_installations_is_not_shared_and_says_why() {
    let home = Home::with(&[GameSpec::small("strong"), GameSpec::small("tomb"), GameSpec::small("mine")]);
    // A download brought this one: what is beside it is the user's, and was never part of it.
    home.brought("mine");
    for (game, name) in [("strong", "Local"), ("tomb", "local"), ("mine", "local")] {
        fs::create_dir(home.game(game).join(name)).unwrap();
        fs::write(home.game(game).join(name).join("de.txt"), "german").unwrap();
    }
    fs::write(home.game("mine").join(".local.dat"), "mine").unwrap();
    let (a, home_b) = (Daemon::start(&home, &Options::local()), Home::new());
    let b = Daemon::start(&home_b, &Options::local());
    b.connect(&a);
    eventually("the game that is shared is hashed", 30, || a.games()["mine"]["content_hash"].is_string().then_some(()));
    for (game, name) in [("strong", "Local"), ("tomb", "local")] {
        let row = a.games()[game].clone();
        let reason = row["local_only_reason"].as_str().unwrap_or_else(|| panic!("{row}"));
        assert!(reason.contains(&format!("{name:?}")) && reason.contains("move it away"), "{reason}");
        assert_eq!((&row["downloaded"], &row["installed"]), (&json!(true), &json!(false)), "{row}");
    }
    let row = a.games()["mine"].clone();
    assert_eq!((&row["local_only_reason"], &row["installed"]), (&Value::Null, &json!(true)), "{row}");
    assert_eq!(row["leaves_out"], json!({"count": 1, "first": ".local.dat"}));
    b.download("mine");
    assert_same_tree_but(&home.game("mine"), &home_b.game("mine"), ".local.dat");
    for game in ["strong", "tomb"] {
        assert_eq!(b.refused(json!({"cmd": "download", "game": game, "install": false})), "no-sources", "{game}");
    }
    // The way that the reason names.
    fs::rename(home.game("tomb").join("local"), home.path().join("kept")).unwrap();
    eventually("it is shared", 20, || {
        b.games().get("tomb").is_some_and(|row| row["sources"] == json!([a.peer_id])).then_some(())
    });
    b.download("tomb");
}

/// The copy is the source without the installation and one file.
fn assert_same_tree_but(source: &Path, copy: &Path, name: &str) {
    fs::rename(source.join(name), source.with_extension("aside")).unwrap();
    assert_same_tree(source, copy);
}
