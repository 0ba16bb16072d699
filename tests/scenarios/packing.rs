//! What is installed of a game: an archive that lies among the files of a game is one of them.

use std::fs;

use serde_json::{Value, json};

use crate::archive_support::zip_of;
use crate::support::{Daemon, Home, NOTES, Options, tree};

/// Puts a game there, the sentinel last.
fn publish(home: &Home, id: &str, files: &[(&str, Vec<u8>)]) {
    for (path, bytes) in files {
        let path = home.game(id).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    fs::write(home.game(id).join("version.ini"), "1.0\n").unwrap();
}

fn of(files: &[(&'static str, &Vec<u8>)]) -> Vec<(&'static str, Vec<u8>)> {
    files.iter().map(|(name, bytes)| (*name, (*bytes).clone())).collect()
}

#[test]
fn programs_and_folders_beside_archives_are_installed_with_them() {
    let (exe, level, song) = (b"MZ a program".to_vec(), vec![7; 100_000], b"la la la".to_vec());
    let music = || zip_of(&[("song.mp3", song.clone())]);
    let packed = || zip_of(&[("Game.exe", exe.clone()), ("data/level.dat", level.clone())]);
    let home = Home::new();
    let game = of(&[("Game.exe", &exe), ("data/level.dat", &level)]);
    publish(&home, "nwjs", &[game.clone(), of(&[("package.nw", &music())])].concat());
    publish(&home, "gog", &[game.clone(), of(&[("soundtrack.zip", &music())])].concat());
    publish(&home, "program", &of(&[("Game.exe", &exe), ("soundtrack.zip", &music())]));
    publish(&home, "folder", &of(&[("data/level.dat", &level), ("soundtrack.zip", &music())]));
    publish(&home, "packed", &of(&[("game.zip", &packed()), ("readme.txt", &song)]));
    publish(&home, "eti", &of(&[("game.eti", &packed()), ("patch.exe", &exe), ("soundtrack.zip", &music())]));
    // What lies loose is newer than what is packed.
    publish(&home, "patched", &of(&[("game.eti", &packed()), ("data/level.dat", &song)]));
    let daemon = Daemon::start(&home, &Options::local());
    daemon.wait_hashed();
    for (id, how, names) in [
        ("nwjs", "copying", &["Game.exe", "data", "data/level.dat", "package.nw"][..]),
        ("gog", "copying", &["Game.exe", "data", "data/level.dat", "soundtrack.zip"]),
        ("program", "copying", &["Game.exe", "soundtrack.zip"]),
        ("folder", "copying", &["data", "data/level.dat", "soundtrack.zip"]),
        ("packed", "unpacking", &["Game.exe", "data", "data/level.dat"]),
        ("eti", "copying-and-unpacking", &["Game.exe", "data", "data/level.dat", "patch.exe", "soundtrack.zip"]),
        ("patched", "copying-and-unpacking", &["Game.exe", "data", "data/level.dat"]),
    ] {
        assert_eq!(daemon.games()[id]["installs_by"], how, "{id}: said before it is done");
        let end = install(&daemon, id);
        assert_eq!(end["event"], "install-finished", "{id}: {end}");
        let local = home.game(id).join("local");
        let installed: Vec<String> = tree(&local, &NOTES).into_keys().collect();
        assert_eq!(installed, names, "{id}");
        for name in names.iter().filter(|name| home.game(id).join(name).is_file()) {
            assert!(fs::read(local.join(name)).unwrap() == fs::read(home.game(id).join(name)).unwrap(), "{id}: {name}");
        }
    }
    daemon.stop();

    // Who has not got it yet is told, too.
    let daemon = Daemon::start(&home, &Options::local());
    daemon.wait_hashed();
    let home_b = Home::new();
    let b = Daemon::start(&home_b, &Options::local());
    b.connect(&daemon);
    for (id, how) in [("gog", "copying"), ("packed", "unpacking"), ("eti", "copying-and-unpacking")] {
        assert_eq!(b.ok(json!({"cmd": "get-game", "game": id}))["installs_by"], how, "{id}");
    }
}

/// Many a game has data in files whose extension is a number.
#[test]
fn what_is_only_called_like_a_volume_is_a_file_of_its_game() {
    let (exe, data) = (b"MZ a program".to_vec(), vec![3; 20_000]);
    let music = zip_of(&[("song.mp3", b"la la la".to_vec())]);
    let home = Home::new();
    publish(&home, "scumm", &of(&[("MONKEY2.EXE", &exe), ("MONKEY2.000", &data), ("MONKEY2.001", &data)]));
    publish(&home, "music", &of(&[("GAME.EXE", &exe), ("GAME.001", &data), ("music.zip", &music)]));
    publish(&home, "data", &of(&[("data.001", &data), ("data.002", &data)]));
    let daemon = Daemon::start(&home, &Options::local());
    daemon.wait_hashed();
    for (id, names) in [
        ("scumm", &["MONKEY2.000", "MONKEY2.001", "MONKEY2.EXE"][..]),
        ("music", &["GAME.001", "GAME.EXE", "music.zip"]),
        ("data", &["data.001", "data.002"]),
    ] {
        assert_eq!(daemon.games()[id]["installs_by"], "copying", "{id}");
        assert_eq!(install(&daemon, id)["event"], "install-finished", "{id}");
        let installed: Vec<String> = tree(&home.game(id).join("local"), &NOTES).into_keys().collect();
        assert_eq!(installed, names, "{id}");
    }
    daemon.stop();
}

#[test]
fn an_installation_is_not_replaced_by_nothing() {
    let home = Home::new();
    publish(&home, "doom", &of(&[("doom.exe", &b"MZ".to_vec())]));
    let daemon = Daemon::start(&home, &Options::local());
    daemon.wait_hashed();
    assert_eq!(install(&daemon, "doom")["event"], "install-finished");
    daemon.stop();

    // Of the next version only the names say that it is packed.
    fs::remove_file(home.game("doom").join("doom.exe")).unwrap();
    publish(&home, "doom", &of(&[("doom.rar", &vec![1; 9_000]), ("doom.r00", &vec![2; 9_000])]));
    fs::write(home.game("doom").join("version.ini"), "2.0\n").unwrap();
    let daemon = Daemon::start(&home, &Options::local());
    daemon.wait_hashed();
    // But for the log, which has the number of the last operation.
    let kept = || tree(&home.game("doom"), &[".lanspread.json"]);
    let before = kept();
    let end = install(&daemon, "doom");
    assert_eq!((&end["event"], &end["code"]), (&json!("install-failed"), &json!("bad-archive")), "{end}");
    assert_eq!((kept(), &daemon.games()["doom"]["installed_by"]), (before, &json!("lanspread")));
    daemon.stop();
}

/// Installs a game, and returns the terminal event.
fn install(daemon: &Daemon, id: &str) -> Value {
    let mark = daemon.mark();
    daemon.ok(json!({"cmd": "install", "game": id}));
    daemon.wait_record(mark, "the end of it", 60, |record| {
        record["game"] == id && (record["event"] == "install-finished" || record["event"] == "install-failed")
    })
}
