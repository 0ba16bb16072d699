//! Names that are one where case does not count, on file systems where it does not.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;

use crate::support::{CHUNK, Daemon, GameSpec, Home, MOUNT_EXFAT, MOUNT_VFAT, Options, available, eventually};

/// Makes the file system in the file `$0`, mounts it on `$1`, puts a game into it, and goes on. The mount is gone with the process.
const EXFAT: [&str; 2] = [r#"mkfs.exfat "$0" >/dev/null && "#, MOUNT_EXFAT];
const VFAT: [&str; 2] = [r#"mkfs.vfat "$0" >/dev/null && "#, MOUNT_VFAT];
const GAME: &str = r#" && mkdir -p "$1/Doom/saves" && echo 0.9 >"$1/Doom/version.ini" && echo own >"$1/Doom/own.wad" &&
    echo "100 hours" >"$1/Doom/saves/slot1" && touch -d 2020-01-01 "$1"/Doom/* && shift && exec "$@""#;
const LIST: &str = r#" && cd "$1" && find . -type f -not -path "./.lanspread/*" -exec cksum {} + | sort -k 3"#;

/// What lies there when it is mounted anew: until then the kernel remembers names in either spelling.
fn looked_at_anew(mount: &str, image: &Path, at: &Path) -> String {
    let script = [mount, LIST].concat();
    let output: Output = Command::new("unshare").args(["-m", "sh", "-c", &script]).arg(image).arg(at).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn a_download_does_not_write_into_another_game(name: &str, needs: &str, [make, mount]: [&str; 2]) {
    if !available(name, &["mount", needs]) {
        return;
    }
    let (home_a, home_b) = (Home::with(&[GameSpec::new("doom").file("doom.wad", CHUNK + 7)]), Home::new());
    let (image, games) = (home_b.path().join("disk.img"), home_b.games());
    std::fs::File::create(&image).unwrap().set_len(96 << 20).unwrap();
    let a = Daemon::start(&home_a, &Options::local());
    a.wait_hashed();
    let script = [make, mount, GAME].concat();
    let (image_name, games_name) = (image.to_str().unwrap(), games.to_str().unwrap());
    let under = ["unshare", "-m", "sh", "-c", &script, image_name, games_name];
    let b = Daemon::start(&home_b, &Options::local().under(&under));
    let own = eventually("the own game is hashed", 30, || {
        b.games().remove("Doom").filter(|row| row["content_hash"].is_string())
    });
    assert_eq!((own["downloaded"].as_bool(), b.games().len()), (Some(true), 1));
    b.connect(&a);
    // Before anybody tries, and when somebody does.
    let reason = eventually("the other's game", 30, || {
        b.games().get("doom").map(|row| row["unavailable_reason"].as_str().unwrap_or_default().to_owned())
    });
    assert!(reason.contains("\"Doom\"") && reason.contains("rename"), "{reason}");
    let mark = b.begin_download("doom");
    let failed = b.wait_download("doom", mark);
    assert_eq!((&failed["event"], &failed["code"]), (&json!("download-failed"), &json!("unsafe-path")), "{failed}");
    assert!(failed["message"].as_str().unwrap().contains("\"Doom\""), "{failed}");
    assert_eq!(b.games().remove("Doom").unwrap()["content_hash"], own["content_hash"]);
    b.stop();
    let there = looked_at_anew(mount, &image, &games);
    let names: Vec<&str> = there.lines().map(|line| line.splitn(3, ' ').nth(2).unwrap()).collect();
    assert_eq!(names, ["./Doom/own.wad", "./Doom/saves/slot1", "./Doom/version.ini"], "{there}");
}

#[test]
fn on_exfat_a_download_does_not_write_into_a_game_of_another_spelling() {
    let name = "on_exfat_a_download_does_not_write_into_a_game_of_another_spelling";
    a_download_does_not_write_into_another_game(name, "exfat", EXFAT);
}

#[test]
fn on_vfat_a_download_does_not_write_into_a_game_of_another_spelling() {
    let name = "on_vfat_a_download_does_not_write_into_a_game_of_another_spelling";
    a_download_does_not_write_into_another_game(name, "vfat", VFAT);
}

/// Games whose folders have lanspread's own names in another spelling, on a disk where that is the same name.
const SPELLINGS: &str = r#" && for game in own-local sentinel scratch whole; do mkdir -p "$1/$game" && echo a >"$1/$game/a.wad"; done &&
    mkdir "$1/own-local/Local" && echo "100 hours" >"$1/own-local/Local/slot1" && echo 1 >"$1/own-local/version.ini" &&
    echo 1 >"$1/sentinel/Version.ini" &&
    mkdir "$1/scratch/.Local.Installing" && echo "100 hours" >"$1/scratch/.Local.Installing/slot1" && echo 1 >"$1/scratch/version.ini" &&
    echo 1 >"$1/whole/version.ini" && mkdir -p "$1/.LANSPREAD" && echo "100 hours" >"$1/.LANSPREAD/slot1" &&
    touch -d 2020-01-01 "$1"/*/* && shift && exec "$@""#;
const LIST_SLOTS: &str = r#" && cd "$1" && find . -name slot1 | sort"#;

#[test]
fn on_exfat_what_has_a_name_of_lanspreads_in_another_spelling_is_left_alone_and_the_message_helps() {
    let name = "on_exfat_what_has_a_name_of_lanspreads_in_another_spelling_is_left_alone_and_the_message_helps";
    if !available(name, &["mount", "exfat"]) {
        return;
    }
    let home = Home::new();
    let (image, games) = (home.path().join("disk.img"), home.games());
    std::fs::File::create(&image).unwrap().set_len(96 << 20).unwrap();
    let script = [EXFAT[0], EXFAT[1], SPELLINGS].concat();
    let under = ["unshare", "-m", "sh", "-c", &script, image.to_str().unwrap(), games.to_str().unwrap()];
    let daemon = Daemon::start(&home, &Options::local().under(&under));
    let rows = eventually("the games are listed", 30, || Some(daemon.games()).filter(|rows| rows.len() == 4));
    let reason = |id: &str| rows[id]["local_only_reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason("own-local").contains("\"Local\""), "{rows:#?}");
    assert!(reason("sentinel").contains("must be spelled version.ini"), "{rows:#?}");
    let refusal = |command: &str, id: &str| {
        let mark = daemon.mark();
        if let Err(refusal) = daemon.command(json!({"cmd": command, "game": id})) {
            return refusal.message;
        }
        let ends = [format!("{command}-finished"), format!("{command}-failed")];
        let end =
            daemon.wait_record(mark, "its end", 60, |record| ends.iter().any(|end| record["event"] == end.as_str()));
        end["message"].as_str().unwrap_or_default().to_owned()
    };
    let message = refusal("install", "own-local");
    assert!(message.contains("own-local/Local") && message.contains("rename it"), "{message}");
    assert!(!message.contains("adopt"), "it cannot be adopted: {message}");
    let message = refusal("adopt", "own-local");
    assert!(message.contains("not installed"), "{message}");
    let message = refusal("install", "scratch");
    assert!(message.contains(".local.installing") && message.contains("left alone"), "{message}");
    assert_eq!(refusal("install", "whole"), "", "it goes on for the others");
    daemon.stop();
    let script = [EXFAT[1], LIST_SLOTS].concat();
    let output = Command::new("unshare").args(["-m", "sh", "-c", &script]).arg(&image).arg(&games).output().unwrap();
    let there = String::from_utf8(output.stdout).unwrap();
    let expected = "./.LANSPREAD/slot1\n./own-local/Local/slot1\n./scratch/.Local.Installing/slot1\n";
    assert_eq!(there, expected);
}
