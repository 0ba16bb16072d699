//! `lanspread share DIR`: what it says of games, what it puts right, and what it leaves alone.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and sets its stage with plain file calls"
)]
#![allow(dead_code, unused_imports, reason = "the support is shared with the scenarios")]

mod support;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::{available, binary, clean};
use zip::write::SimpleFileOptions;

/// A directory with games in it.
struct Games(tempfile::TempDir);

impl Games {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap()
    }

    fn put(&self, path: impl AsRef<OsStr>, bytes: &[u8]) {
        let path = self.path().join(path.as_ref());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn share(&self, game: &str, flags: &[&str]) -> Output {
        let mut command = Command::new(binary());
        clean(&mut command).arg("share").arg(self.path().join(game)).args(flags).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// It must end with this exit code. The one game of the answer.
    fn check(&self, exit: i32, game: &str, flags: &[&str]) -> Value {
        let output = self.share(game, &[&["--json"], flags].concat());
        assert_eq!(output.status.code(), Some(exit), "{game} {flags:?}: {output:?}");
        let mut answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["can_be_shared"], exit == 0);
        assert_eq!(answer["games"].as_array().unwrap().len(), 1);
        answer["games"][0].take()
    }

    /// Everything there is, with its bytes.
    fn tree(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut left = vec![self.path()];
        while let Some(dir) = left.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let entry = entry.unwrap();
                let is_dir = entry.file_type().unwrap().is_dir();
                let bytes = if is_dir { Vec::new() } else { fs::read(entry.path()).unwrap_or_default() };
                found.insert(entry.path().strip_prefix(self.path()).unwrap().to_owned(), bytes);
                left.extend(is_dir.then(|| entry.path()));
            }
        }
        found
    }
}

/// Code, path and proposed name of every finding that stands in the way.
fn problems(game: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings = game["findings"].as_array().unwrap().iter().filter(|finding| finding["blocks"] == true);
    let mut problems: Vec<_> =
        findings.map(|finding| (text(&finding["code"]), text(&finding["path"]), text(&finding["rename"]))).collect();
    problems.sort();
    problems
}

fn finding<'a>(game: &'a Value, code: &str) -> &'a Value {
    let mut findings = game["findings"].as_array().unwrap().iter();
    findings.find(|finding| finding["code"] == code).unwrap_or_else(|| panic!("no {code} in {game}"))
}

fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A game with a name of each kind that is wrong.
fn misnamed() -> Games {
    let games = Games::new();
    games.put("doom/version.ini", b"1.0");
    games.put("doom/data/what?.txt", b"1");
    games.put("doom/data/what_.txt", b"2");
    games.put("doom/Readme.txt", b"3");
    games.put("doom/README.TXT", b"4");
    games.put("doom/Bilder:alt/tief./NUL.txt", b"5");
    games.put("doom/e\u{301}.txt", b"6");
    games.put(OsStr::from_bytes(b"doom/\xfcber.txt"), b"7");
    let long = vec!["n".repeat(200); 4].join("/");
    games.put(format!("doom/{long}/{}.txt", "m".repeat(250)), b"8");
    // Of nobody's concern.
    games.put("doom/Thumbs.db", b"junk");
    games.put("doom/.lanspread.mine:/x", b"9");
    games
}

#[test]
fn a_game_is_told_as_guests_will_see_it() {
    let games = Games::new();
    games.put("doom/version.ini", b"version = 1.9\n");
    games.put("doom/data/level.dat", &[7; 1000]);
    games.put("doom/data/.DS_Store", b"junk");
    games.put("doom/music.pak", &vec![1; 3 << 20]);
    games.put("doom/copies/music.pak", &vec![1; 3 << 20]);
    fs::create_dir_all(games.path().join("doom/saves")).unwrap();
    let before = games.tree();
    let game = games.check(0, "doom", &[]);
    assert_eq!((&game["id"], &game["version"]), (&"doom".into(), &"1.9".into()));
    let size = 14 + 1000 + (6 << 20);
    assert_eq!((&game["size"], &game["files"]), (&size.into(), &4.into()));
    assert_eq!((&game["installs_by"], &game["installed_bytes"]), (&"copying".into(), &(size - 14).into()));
    assert_eq!(game["wasted_bytes"], 3 << 20);
    assert_eq!(finding(&game, "duplicate")["path"], "copies/music.pak");
    assert_eq!(finding(&game, "desktop-junk")["path"], "data/.DS_Store");
    let said = String::from_utf8(games.share("doom", &[]).stdout).unwrap();
    assert!(said.contains("id        doom") && said.contains("doom can be shared"), "{said}");
    // Nothing was written, neither there nor beside it.
    assert_eq!(games.tree(), before);
}

#[test]
fn a_file_too_large_for_fat32_is_named() {
    let games = Games::new();
    games.put("doom/version.ini", b"1");
    games.put("doom/huge.pak", b"");
    fs::File::options().write(true).open(games.path().join("doom/huge.pak")).unwrap().set_len(4 << 30).unwrap();
    assert_eq!(finding(&games.check(0, "doom", &[]), "large-file")["path"], "huge.pak");
}

#[test]
fn every_wrong_name_is_told_with_one_that_helps() {
    let games = misnamed();
    let before = games.tree();
    let long = vec!["n".repeat(200); 4].join("/");
    let row = |code: &str, path: &str, rename: &str| (code.to_owned(), path.to_owned(), rename.to_owned());
    let mut expected = vec![
        row("name-not-portable", "data/what?.txt", "what_-2.txt"),
        row("name-collides", "Readme.txt", "Readme-2.txt"),
        row("name-not-portable", "Bilder:alt", "Bilder-alt"),
        row("name-not-portable", "Bilder:alt/tief.", "tief"),
        row("name-not-portable", "Bilder:alt/tief./NUL.txt", "_NUL.txt"),
        row("name-not-portable", "e\u{301}.txt", "\u{e9}.txt"),
        row("name-not-portable", "\u{fffd}ber.txt", "über.txt"),
        row("path-too-long", &format!("{long}/{}.txt", "m".repeat(250)), &format!("{}.txt", "m".repeat(216))),
    ];
    expected.sort();
    assert_eq!(problems(&games.check(1, "doom", &[])), expected);
    assert_eq!(games.tree(), before);
}

#[test]
fn names_are_put_right_and_nothing_is_overwritten() {
    let games = misnamed();
    let contents = |games: &Games| {
        let mut contents: Vec<_> = games.tree().into_values().filter(|bytes| !bytes.is_empty()).collect();
        contents.sort();
        contents
    };
    let (before, tree) = (contents(&games), games.tree());
    // Nobody is there to be asked.
    let output = games.share("doom", &["--fix"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--yes"), "{output:?}");
    assert_eq!(games.tree(), tree);

    let game = games.check(0, "doom", &["--fix", "--yes"]);
    assert_eq!(game["renamed"].as_array().unwrap().len(), 8, "{game}");
    assert_eq!(contents(&games), before);
    let read = |path: &str| fs::read(games.path().join("doom").join(path)).unwrap();
    assert_eq!(read("data/what_.txt"), b"2");
    assert_eq!(read("data/what_-2.txt"), b"1");
    assert_eq!(read("Bilder-alt/tief/_NUL.txt"), b"5");
    assert_eq!(read(".lanspread.mine:/x"), b"9");

    let again = games.check(0, "doom", &["--fix"]);
    assert!(again["renamed"].as_array().unwrap().is_empty(), "{again}");
}

#[test]
fn the_terminal_is_asked_before_anything_is_renamed() {
    if !available("the_terminal_is_asked_before_anything_is_renamed", &["script"]) {
        return;
    }
    let games = misnamed();
    let tree = games.tree();
    let answer = |answer: &str| {
        let line = format!("{} share {} --fix", binary(), games.path().join("doom").display());
        let mut command = Command::new("script");
        command.args(["-q", "-e", "-c", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (exit, said) = answer("n\n");
    assert_eq!(exit, Some(1), "{said}");
    assert!(said.contains("Rename these 8? [y/N]") && said.contains("PROBLEM"), "{said}");
    assert_eq!(games.tree(), tree);
    let (exit, said) = answer("y\n");
    assert_eq!(exit, Some(0), "{said}");
    assert!(said.contains("renamed   data/what?.txt -> what_-2.txt"), "{said}");
    games.check(0, "doom", &[]);
}

#[test]
fn a_folder_that_no_game_can_have_is_renamed_last() {
    let games = Games::new();
    games.put("Half-Life: Source/version.ini", b"1");
    games.put("Half-Life: Source/a?", b"x");
    games.put("half-life- source/version.ini", b"1");
    let game = games.check(1, "Half-Life: Source", &[]);
    assert_eq!(finding(&game, "game-id")["rename"], "Half-Life- Source-2");
    let game = games.check(0, "Half-Life: Source", &["--fix", "--yes"]);
    assert_eq!(game["id"], "Half-Life- Source-2");
    assert_eq!(fs::read(games.path().join("Half-Life- Source-2/a_")).unwrap(), b"x");
    games.check(0, "Half-Life- Source-2", &[]);
}

#[test]
fn a_version_is_written_once_and_only_when_all_else_is_well() {
    let games = Games::new();
    games.put("doom/a?", b"x");
    let game = games.check(1, "doom", &[]);
    assert!(finding(&game, "version-missing")["message"].as_str().unwrap().contains("nobody can get the game"));
    games.check(1, "doom", &["--version", "1.0"]);
    assert!(!games.path().join("doom/version.ini").exists());
    let game = games.check(0, "doom", &["--fix", "--yes", "--version", "1.0"]);
    assert_eq!((&game["version"], &game["version_written"], &game["files"]), (&"1.0".into(), &true.into(), &2.into()));
    assert_eq!(fs::read(games.path().join("doom/version.ini")).unwrap(), b"1.0\n");

    let game = games.check(0, "doom", &["--version", "1.0"]);
    assert_eq!(game["version_written"], false);
    let game = games.check(1, "doom", &["--version", "2.0"]);
    assert!(finding(&game, "version-differs")["message"].as_str().unwrap().contains("not written over"));
    assert_eq!(fs::read(games.path().join("doom/version.ini")).unwrap(), b"1.0\n");
    for bad in ["", " 1", "1\n2", &"9".repeat(129)] {
        assert_eq!(games.share("doom", &["--version", bad]).status.code(), Some(1), "{bad:?}");
    }

    games.put("quake/VERSION.INI", b"3");
    let game = games.check(1, "quake", &["--version", "3"]);
    assert!(
        problems(&game).contains(&("name-not-portable".into(), "VERSION.INI".into(), "version.ini".into())),
        "{game}"
    );
    assert_eq!(games.check(0, "quake", &["--fix", "--yes", "--version", "3"])["version_written"], false);
    assert_eq!(games.tree().keys().filter(|path| path.starts_with("quake")).count(), 2);
    games.put("many/one/a", b"x");
    let remedy = finding(&games.check(1, "many", &[]), "version-missing")["remedy"].clone();
    assert!(remedy.as_str().unwrap().contains("name one of them"), "{remedy}");
    games.put("hexen/version.ini", &[b'1'; 200]);
    finding(&games.check(1, "hexen", &[]), "version-unusable");
}

#[test]
fn archives_are_read_to_their_end() {
    let games = Games::new();
    let noise: Vec<u8> = (0u32..100_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    let whole = zip_of(&[("game.exe", &[0; 1 << 20]), ("maps/a.map", &noise)]);
    games.put("good/version.ini", b"1");
    games.put("good/a.zip", &whole);
    let game = games.check(0, "good", &[]);
    assert_eq!((&game["installs_by"], &game["installed_bytes"]), (&"unpacking".into(), &((1 << 20) + 400_000).into()));

    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 0x40;
    games.put("bad/version.ini", b"1");
    games.put("bad/a.zip", &damaged);
    games.put("bad/b.zip", &whole);
    games.put("bad/c.zip", &whole[..whole.len() - 100]);
    let before = games.tree();
    let game = games.check(1, "bad", &[]);
    let archive = |name: &str| ("archive".to_owned(), name.to_owned(), String::new());
    assert_eq!(problems(&game), [archive("a.zip"), archive("c.zip")]);
    assert!(finding(&game, "archive")["message"].as_str().unwrap().starts_with("cannot unpack a.zip: "), "{game}");
    assert_eq!(game["installed_bytes"], Value::Null);
    assert_eq!(games.tree(), before);

    games.put("cut/version.ini", b"1");
    games.put("cut/a.zip.001", &whole[..100_000]);
    games.put("cut/a.zip.003", &whole[200_000..]);
    let game = games.check(1, "cut", &[]);
    assert!(finding(&game, "archive")["message"].as_str().unwrap().contains("part 2"), "{game}");

    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/archives");
    games.put("volumes/version.ini", b"1");
    for name in ["rar4-volumes.rar", "rar4-volumes.r00", "rar4-volumes.r01", "rar4-volumes.r03"] {
        games.put(format!("volumes/{name}"), &fs::read(data.join(name)).unwrap());
    }
    finding(&games.check(1, "volumes", &[]), "archive");
    games.put("volumes/rar4-volumes.r02", &fs::read(data.join("rar4-volumes.r02")).unwrap());
    games.check(0, "volumes", &[]);
}

#[test]
fn what_is_no_file_stands_in_the_way_and_stays() {
    let games = Games::new();
    games.put("doom/version.ini", b"1");
    games.put("doom/local/save.dat", b"mine");
    symlink("/etc/passwd", games.path().join("doom/passwd")).unwrap();
    assert!(Command::new("mkfifo").arg(games.path().join("doom/pipe")).status().unwrap().success());
    let game = games.check(1, "doom", &["--fix", "--yes"]);
    let codes: Vec<_> = problems(&game).into_iter().map(|(code, path, _)| (code, path)).collect();
    let row = |code: &str, path: &str| (code.to_owned(), path.to_owned());
    assert_eq!(codes, [row("link", "passwd"), row("local-foreign", ""), row("special", "pipe")], "{game}");
    assert!(finding(&game, "local-foreign")["remedy"].as_str().unwrap().contains("adopt"), "{game}");
    assert_eq!(fs::read(games.path().join("doom/local/save.dat")).unwrap(), b"mine");
}

#[test]
fn a_folder_of_games_is_checked_game_by_game() {
    let games = Games::new();
    games.put("doom/version.ini", b"1");
    games.put("quake/a?", b"x");
    games.put(".lanspread/index.json", b"{}");
    symlink(games.path().join("doom"), games.path().join("linked")).unwrap();
    let output = games.share("", &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let seen: Vec<_> =
        answer["games"].as_array().unwrap().iter().map(|game| (&game["id"], &game["can_be_shared"])).collect();
    let row = |id: &str, fine: bool| (Value::from(id), Value::from(fine));
    let expected = [row("doom", true), row("linked", false), row("quake", false)];
    assert!(seen.iter().zip(&expected).all(|(a, b)| (a.0, a.1) == (&b.0, &b.1)) && seen.len() == 3, "{seen:?}");
    let output = games.share("", &["--version", "1"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("a version of its own"), "{output:?}");
    assert_eq!(games.share("nowhere", &[]).status.code(), Some(1));
    let empty = Games::new();
    empty.put(".lanspread/index.json", b"{}");
    assert_eq!(empty.share("", &[]).status.code(), Some(1));
}

#[test]
fn a_game_that_is_on_its_way_gets_no_version() {
    let games = Games::new();
    games.put("doom/data.pak", b"half");
    // A list of what a download writes (src/index/ownership.rs).
    let mut list = b"LANSINCO".to_vec();
    list.extend([0, 0, 0, 1, 0, 0, 0, 1, 0, 8]);
    list.extend(b"data.pak");
    list.extend(9u64.to_be_bytes());
    list.extend(xxhash_rust::xxh3::xxh3_128(&list).to_be_bytes());
    games.put(".lanspread/incoming/doom", &list);
    games.put(".lanspread/brought/other", b"");
    let game = games.check(1, "doom", &["--version", "1"]);
    finding(&game, "incomplete");
    assert!(!games.path().join("doom/version.ini").exists());
}
