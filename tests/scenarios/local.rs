//! What is done to a downloaded game: install, update, uninstall, remove, verify.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{CHUNK, Daemon, GameSpec, Home, NOTES, Options, assert_same_tree, eventually, tree};

/// The entries of an archive that is stored, not compressed (APPNOTE.TXT of ZIP, sections 4.3.7, 4.3.12 and 4.3.16).
fn stored_zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut files, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let offset = files.len() as u32;
        let mut common = Vec::new();
        for field in [10u16, 0, 0, 0, 0x21] {
            common.extend(field.to_le_bytes());
        }
        common.extend(crc32(bytes).to_le_bytes());
        common.extend((bytes.len() as u32).to_le_bytes());
        common.extend((bytes.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend(0u16.to_le_bytes());
        files.extend(0x0403_4b50u32.to_le_bytes());
        files.extend(&common);
        files.extend(name.as_bytes());
        files.extend(*bytes);
        directory.extend(0x0201_4b50u32.to_le_bytes());
        directory.extend(10u16.to_le_bytes());
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (count, size, offset) = (entries.len() as u16, directory.len() as u32, files.len() as u32);
    files.extend(directory);
    files.extend(0x0605_4b50u32.to_le_bytes());
    files.extend([0; 4]);
    files.extend(count.to_le_bytes());
    files.extend(count.to_le_bytes());
    files.extend(size.to_le_bytes());
    files.extend(offset.to_le_bytes());
    files.extend([0; 2]);
    files
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(crc & 1)))
    })
}

/// What the program of a version looks like.
fn program(version: &str) -> Vec<u8> {
    version.bytes().cycle().take(300_000).collect()
}

/// Puts a version of `doom` into a library: one archive with a program and a file in a directory, the sentinel last.
fn publish(home: &Home, version: &str, damaged: bool) {
    let root = home.game("doom");
    fs::create_dir_all(&root).unwrap();
    let _ = fs::remove_file(root.join("version.ini"));
    let mut archive = stored_zip(&[("doom.exe", &program(version)), ("maps/e1m1.wad", &program("map"))]);
    if damaged {
        // Within the program's bytes, where only its checksum tells.
        archive[1000] ^= 1;
    }
    fs::write(root.join("doom.eti"), archive).unwrap();
    fs::write(root.join("version.ini"), format!("{version}\n")).unwrap();
}

fn assert_installed(home: &Home, version: &str) {
    let local = home.game("doom").join("local");
    assert!(fs::read(local.join("doom.exe")).unwrap() == program(version), "it is not the program of {version}");
    assert!(fs::read(local.join("maps/e1m1.wad")).unwrap() == program("map"));
    let names: Vec<_> = tree(&local, &NOTES).into_keys().collect();
    assert_eq!(names, ["doom.exe", "maps", "maps/e1m1.wad"]);
    let scratch: Vec<_> =
        tree(&home.game("doom"), &["local"]).into_keys().filter(|name| name.starts_with('.')).collect();
    assert!(scratch.iter().all(|name| name == ".lanspread.json"), "{scratch:?}");
}

fn operate(daemon: &Daemon, command: &str) -> usize {
    let mark = daemon.mark();
    daemon.ok(json!({"cmd": command, "game": "doom"}));
    mark
}

/// The terminal event of an operation that was begun.
fn wait_end(daemon: &Daemon, mark: usize, of: &str) -> Value {
    let (finished, failed) = (format!("{of}-finished"), format!("{of}-failed"));
    daemon.wait_record(mark, &format!("the end of {of}"), 60, |record| {
        record["event"] == finished.as_str() || record["event"] == failed.as_str()
    })
}

fn finish(daemon: &Daemon, command: &str) -> Value {
    let mark = operate(daemon, command);
    let end = wait_end(daemon, mark, command);
    assert_eq!(end["event"], format!("{command}-finished"), "{end}");
    end
}

/// What list-games says of downloaded, installed and version.
fn row(daemon: &Daemon) -> (bool, bool, Value) {
    let row = daemon.games().remove("doom").unwrap();
    assert!(row.get("operation").is_none(), "{row}");
    (row["downloaded"] == true, row["installed"] == true, row["version"].clone())
}

/// The names of the operations that were listed one after the other.
fn listed(daemon: &Daemon, mark: usize) -> Vec<Vec<Value>> {
    let records = daemon.since(mark).into_iter().filter(|record| record["event"] == "active-operations-changed");
    let names =
        |record: Value| record["operations"].as_array().unwrap().iter().map(|row| row["operation"].clone()).collect();
    records.map(names).collect()
}

#[test]
fn a_download_installs_unless_told_otherwise_and_what_is_installed_can_go_again() {
    let (home_a, home_b) = (Home::new(), Home::new());
    publish(&home_a, "1.0", false);
    let a = Daemon::start(&home_a, &Options::local());
    a.wait_hashed();
    let b = Daemon::start(&home_b, &Options::local());
    a.connect(&b);
    assert_eq!(b.refused(json!({"cmd": "install", "game": "doom"})), "not-downloaded");
    assert_eq!(b.refused(json!({"cmd": "install", "game": "nobody-has-it"})), "unknown-game");

    let mark = operate(&b, "download");
    assert_eq!(b.wait_download("doom", mark)["event"], "download-finished");
    let end = wait_end(&b, mark, "install");
    assert_eq!(end, json!({"type": "event", "event": "install-finished", "game": "doom"}));
    assert_eq!(listed(&b, mark), [vec![json!("downloading")], vec![json!("installing")], vec![]]);
    assert_installed(&home_b, "1.0");
    assert_same_tree(&home_a.game("doom"), &home_b.game("doom"));
    assert_eq!(row(&b), (true, true, json!("1.0")));
    eventually("the peer knows that it is installed", 20, || {
        (a.games()["doom"]["peer_count"] == 1 && b.status()["hash_queue"] == 0).then_some(())
    });

    assert_eq!(b.refused(json!({"cmd": "install", "game": "doom"})), "already-installed");
    assert_eq!(b.refused(json!({"cmd": "remove", "game": "doom"})), "in-use");
    assert_eq!(row(&b), (true, true, json!("1.0")), "a refusal changes nothing");

    finish(&b, "uninstall");
    assert!(!home_b.game("doom").join("local").exists());
    assert_same_tree(&home_a.game("doom"), &home_b.game("doom"));
    assert_eq!(row(&b), (true, false, json!("1.0")));
    assert_eq!(b.refused(json!({"cmd": "uninstall", "game": "doom"})), "not-installed");
    finish(&b, "install");
    assert_installed(&home_b, "1.0");

    finish(&b, "uninstall");
    finish(&b, "remove");
    assert!(!home_b.game("doom").exists(), "{:?}", tree(&home_b.game("doom"), &[]));
    assert_eq!(row(&b), (false, false, json!("1.0")), "a peer still has it");
    assert_eq!(b.refused(json!({"cmd": "remove", "game": "doom"})), "not-downloaded");
    // It can come back.
    b.download("doom");
    assert_same_tree(&home_a.game("doom"), &home_b.game("doom"));
    b.stop();
}

#[test]
fn an_update_keeps_the_old_installation_until_the_new_one_is_complete() {
    let (home_a, home_b) = (Home::new(), Home::new());
    publish(&home_a, "1.0", false);
    let a = Daemon::start(&home_a, &Options::local());
    a.wait_hashed();
    let b = Daemon::start(&home_b, &Options::local());
    a.connect(&b);
    let mark = operate(&b, "download");
    assert_eq!(wait_end(&b, mark, "install")["event"], "install-finished");

    // Asked again and again: a change is announced a moment after it was made.
    let fetch = |version: &str| {
        eventually("the new version is here", 60, || {
            let row = b.games().remove("doom").unwrap();
            if row.get("operation").is_some() {
                return None;
            }
            let is_here = row["downloaded"] == true && row["version"] == version;
            if !is_here {
                b.ok(json!({"cmd": "fetch-latest", "game": "doom"}));
            }
            is_here.then_some(())
        });
    };
    // An archive that cannot be unpacked leaves the old installation as it is.
    publish(&home_a, "2.0", true);
    fetch("2.0");
    assert_installed(&home_b, "1.0");
    let mark = operate(&b, "install");
    let end = wait_end(&b, mark, "install");
    assert_eq!((&end["event"], &end["code"]), (&json!("install-failed"), &json!("bad-archive")), "{end}");
    assert_eq!(listed(&b, mark), [vec![json!("updating")], vec![]]);
    assert_installed(&home_b, "1.0");
    assert_eq!(row(&b), (true, true, json!("2.0")));

    publish(&home_a, "3.0", false);
    fetch("3.0");
    finish(&b, "install");
    assert_installed(&home_b, "3.0");
    assert_eq!(b.refused(json!({"cmd": "install", "game": "doom"})), "already-installed");
    // The version is remembered beyond the daemon's life.
    b.stop();
    let b = Daemon::start(&home_b, &Options::local());
    assert_eq!(b.refused(json!({"cmd": "install", "game": "doom"})), "already-installed");
    assert_installed(&home_b, "3.0");
}

#[test]
fn what_was_saved_in_an_installation_outlives_its_update_and_its_removal() {
    let home = Home::new();
    publish(&home, "1.0", false);
    let daemon = Daemon::start(&home, &Options::local());
    daemon.wait_hashed();
    finish(&daemon, "install");
    let (root, local) = (home.game("doom"), home.game("doom").join("local"));
    fs::create_dir(local.join("saves")).unwrap();
    fs::write(local.join("saves/slot1"), "100 hours").unwrap();
    fs::write(local.join("doom.exe"), "with a patch of the user's").unwrap();

    publish(&home, "2.0", false);
    eventually("the new version is seen", 60, || {
        let row = daemon.games().remove("doom").unwrap();
        (row["version"] == "2.0" && daemon.status()["hash_queue"] == 0).then_some(())
    });
    let end = finish(&daemon, "install");
    assert_eq!(end["carried_over"], 1, "{end}");
    let aside = json!([{"file": "local/doom.exe", "kept_as": "local/doom.exe.mine"}]);
    assert_eq!((&end["kept_aside"], end.get("kept_in")), (&aside, None));
    assert!(fs::read(local.join("doom.exe")).unwrap() == program("2.0"));
    let own = [("saves/slot1", "100 hours"), ("doom.exe.mine", "with a patch of the user's")];
    for (name, text) in own {
        assert_eq!(fs::read_to_string(local.join(name)).unwrap(), text, "{name}");
    }

    let end = finish(&daemon, "uninstall");
    assert_eq!(end["kept_in"], ".local.mine", "{end}");
    assert!(!local.exists());
    let mine: Vec<_> = tree(&root.join(".local.mine"), &[]).into_keys().collect();
    assert_eq!(mine, ["doom.exe.mine", "saves", "saves/slot1"], "what the installation made is gone");
    for (name, text) in own {
        assert_eq!(fs::read_to_string(root.join(".local.mine").join(name)).unwrap(), text, "{name}");
    }
    // It is the user's, and no part of the game.
    eventually("the game is as it was", 20, || {
        let row = daemon.games().remove("doom").unwrap();
        (row["leaves_out"]["first"] == ".local.mine" && row["downloaded"] == true).then_some(())
    });
    assert_eq!(end_of_next_install(&daemon), json!({"type": "event", "event": "install-finished", "game": "doom"}));
    assert_eq!(finish(&daemon, "uninstall").get("kept_in"), None, "nothing was added since");
    assert!(root.join(".local.mine/saves/slot1").exists());
    daemon.stop();
}

fn end_of_next_install(daemon: &Daemon) -> Value {
    let mark = operate(daemon, "install");
    wait_end(daemon, mark, "install")
}

#[test]
fn a_game_without_archives_is_installed_by_copying_it() {
    let spec = GameSpec::new("doom").file("doom.exe", 200_000).file("data/maps.wad", CHUNK + 5);
    let home = Home::with(std::slice::from_ref(&spec));
    // An archive by its first bytes, which the game reads as it is.
    fs::write(home.game("doom").join("PAK0.PK3"), stored_zip(&[("maps/q3dm1.bsp", &program("map"))])).unwrap();
    let daemon = Daemon::start(&home, &Options::local());
    daemon.wait_hashed();
    finish(&daemon, "install");
    let (root, local) = (home.game("doom"), home.game("doom").join("local"));
    for path in ["doom.exe", "data/maps.wad", "PAK0.PK3"] {
        assert!(fs::read(root.join(path)).unwrap() == fs::read(local.join(path)).unwrap(), "{path}");
    }
    // The copies are the user's own: what is done to them does not reach the shared files.
    let before = tree(&root, &["local", ".lanspread.json"]);
    fs::write(local.join("doom.exe"), "patched").unwrap();
    assert_eq!(tree(&root, &["local", ".lanspread.json"]), before);
}

/// Changes one byte and leaves size and time as they were: only reading tells.
pub(crate) fn flip(path: &Path, at: u64) {
    use std::io::{Read, Seek, SeekFrom, Write};
    let mut file = fs::File::options().read(true).write(true).open(path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ 0x80]).unwrap();
    file.set_modified(modified).unwrap();
}

#[test]
fn verify_finds_a_flipped_byte_and_the_game_is_no_longer_offered() {
    let spec = GameSpec::new("doom").file("doom.exe", 10_000).file("data/maps.wad", 3 * CHUNK);
    let (home_a, home_b) = (Home::with(std::slice::from_ref(&spec)), Home::with(std::slice::from_ref(&spec)));
    let a = Daemon::start(&home_a, &Options::local());
    let b = Daemon::start(&home_b, &Options::local());
    a.wait_hashed();
    b.wait_hashed();
    a.connect(&b);
    let end = finish(&b, "verify");
    assert_eq!(end["bad_chunks"], 0, "{end}");
    assert_eq!(row(&b), (true, false, json!("1.0")));

    flip(&home_b.game("doom").join("data/maps.wad"), CHUNK + 17);
    let end = finish(&b, "verify");
    assert_eq!(end["bad_chunks"], 1, "{end}");
    assert!(end["chunks"].as_u64().unwrap() >= 4, "{end}");
    assert!(!home_b.game("doom").join("version.ini").exists());
    assert!(!row(&b).0);
    eventually("the peer does not count on it any more", 20, || {
        a.games()["doom"]["sources"].as_array().unwrap().is_empty().then_some(())
    });
    // The answer to damage is to fetch it again.
    b.download("doom");
    assert_same_tree(&home_a.game("doom"), &home_b.game("doom"));
    assert_eq!(finish(&b, "verify")["bad_chunks"], 0);
}

#[test]
fn an_installation_knows_the_players_name_and_an_update_puts_it_in_anew() {
    let (source_home, home) = (Home::new(), Home::new());
    let publish = |version: &str, name: &str| {
        let root = source_home.game("doom");
        fs::create_dir_all(root.join("steam_settings")).unwrap();
        let _ = fs::remove_file(root.join("version.ini"));
        for (path, text) in [
            ("steam_settings/account_name.txt", name),
            ("steam_settings/language.txt", "english"),
            ("SmartSteamEmu.ini", "[SmartSteamEmu]\r\nPersonaName = Nobody\r\nLogFile = 1\r\n"),
        ] {
            fs::write(root.join(path), text).unwrap();
        }
        fs::write(root.join("version.ini"), version).unwrap();
    };
    publish("1.0", "Goldberg\r\n");
    let source = Daemon::start(&source_home, &Options::local());
    source.wait_hashed();
    let options = Options::local().arg("--player", "Anna Ø").arg("--language", "german");
    let daemon = Daemon::start(&home, &options);
    daemon.connect(&source);
    let get = || {
        let mark = daemon.mark();
        daemon.ok(json!({"cmd": "download", "game": "doom", "install": true}));
        daemon.wait_event_since(mark, "install-finished", |_| true)
    };
    get();
    let local = home.game("doom").join("local");
    let read = |path: &str| fs::read_to_string(local.join(path)).unwrap();
    assert_eq!(read("steam_settings/account_name.txt"), "Anna Ø\r\n");
    assert_eq!(read("steam_settings/language.txt"), "german");
    assert_eq!(read("SmartSteamEmu.ini"), "[SmartSteamEmu]\r\nPersonaName = Anna Ø\r\nLogFile = 1\r\n");
    // What is shared is as it came.
    assert_same_tree(&home.game("doom"), &source_home.game("doom"));

    // Nothing of that counts as the user's; what he changes himself does.
    fs::write(local.join("steam_settings/language.txt"), "french").unwrap();
    publish("1.1", "Somebody\r\n");
    eventually("the new version is offered", 60, || (daemon.games()["doom"]["newest_version"] == "1.1").then_some(()));
    let finished = get();
    assert_eq!(finished["kept_aside"].as_array().map(Vec::len), Some(1), "{finished}");
    assert!(finished.get("kept_in").is_none_or(Value::is_null), "{finished}");
    assert_eq!(read("steam_settings/account_name.txt"), "Anna Ø\r\n");
    assert_eq!(read("steam_settings/language.txt"), "german");
    assert_eq!(read("steam_settings/language.txt.mine"), "french");
}
