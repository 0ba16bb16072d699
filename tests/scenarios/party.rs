//! The guide for organisers, word by word: what docs/PARTY.md tells people to type, typed at three PCs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::support::{CHUNK, GameSpec, Host, Lan, assert_same_tree, available, binary, clean, eventually};

/// The section whose commands are typed.
const SECTION: &str = "## A small party";

/// A block of commands, and where it is typed.
struct Block {
    place: String,
    commands: String,
}

/// The blocks of [`SECTION`], in order.
fn blocks() -> Vec<Block> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/PARTY.md")).unwrap();
    let section = page.split(SECTION).nth(1).unwrap().split("\n## ").next().unwrap();
    let fenced = section.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    fenced
        .map(|block| {
            let (first, commands) = block.split_once('\n').unwrap();
            let place = first.strip_prefix("# at ").unwrap_or_else(|| panic!("where is this typed? {block}"));
            Block { place: place.to_owned(), commands: commands.to_owned() }
        })
        .collect()
}

/// A PC with its user.
struct Pc {
    host: Host,
    home: PathBuf,
}

impl Pc {
    fn game(&self) -> PathBuf {
        self.home.join("Games/lanspread/doom")
    }

    /// Types commands into a shell; all of them must go well. Returns what they said.
    fn types(&self, commands: &str) -> String {
        let mut shell = self.host.command("sh");
        clean(&mut shell)
            .env_remove("DISPLAY")
            .env_remove("WAYLAND_DISPLAY")
            .env("HOME", &self.home)
            .current_dir(&self.home);
        let path = format!("{}:{}", self.home.join("bin").display(), std::env::var("PATH").unwrap());
        let output = shell.env("PATH", path).args(["-exc", commands]).stdin(Stdio::null()).output().unwrap();
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}: {commands}\n{said}\n{complained}", self.home.display());
        said.into_owned()
    }

    /// The row of the game, as soon as it is as a person would wait for it.
    fn waits_for(&self, what: &str, accept: impl Fn(&Value) -> bool) -> Value {
        eventually(what, 60, || {
            let said = self.types("lanspread games --json");
            let rows: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let rows = rows.iter().flat_map(|value| value["games"].as_array().cloned().unwrap_or_default());
            rows.into_iter().find(|row| row["id"] == "doom").filter(&accept)
        })
    }
}

impl Drop for Pc {
    fn drop(&mut self) {
        let mut stop = self.host.command(self.home.join("bin/lanspread").to_str().unwrap());
        let _ = stop.arg("stop").env("HOME", &self.home).env_remove("XDG_STATE_HOME").output();
    }
}

#[test]
fn the_guide_for_organisers_can_be_followed_word_by_word() {
    if !available("the_guide_for_organisers_can_be_followed_word_by_word", &["netns"]) {
        return;
    }
    let lan = Lan::new();
    let temp = tempfile::tempdir().unwrap();
    let pc = |name: &str| {
        let home = temp.path().join(name);
        fs::create_dir_all(home.join("bin")).unwrap();
        std::os::unix::fs::symlink(fs::canonicalize(binary()).unwrap(), home.join("bin/lanspread")).unwrap();
        Pc { host: lan.host(&name[..1]), home }
    };
    let (host, anna, ben) = (pc("host"), pc("anna"), pc("ben"));
    // Of the new version most is as it was.
    let game = GameSpec::new("doom").file("doom.pak", 6 * CHUNK).file("data/maps.pak", 2 * CHUNK);
    game.clone().without_sentinel().write(&host.home.join("backup"));
    let new = temp.path().join("new");
    game.file("data/more.pak", CHUNK).version("2.0").write(&new);
    fs::rename(new.join("doom"), host.home.join("backup/doom-2.0")).unwrap();

    let mut typed = 0;
    for Block { place, commands } in blocks() {
        let pc = match place.as_str() {
            "the host" => &host,
            "anna's" => &anna,
            "ben's" => &ben,
            other => panic!("who is {other}?"),
        };
        typed += 1;
        // People look at the list before they fetch something.
        let (start, fetch) = commands
            .split_once("lanspread download")
            .map_or((commands.as_str(), None), |(start, rest)| (start, Some(format!("lanspread download{rest}"))));
        let said = pc.types(start);
        match typed {
            1 => assert!(said.contains("http://"), "where there is no desktop the address is printed: {said}"),
            2 => drop(
                pc.waits_for("anna sees the game", |row| row["sources"].as_array().is_some_and(|all| all.len() == 1)),
            ),
            3 => {
                drop(pc.waits_for("ben sees two sources", |row| {
                    row["sources"].as_array().is_some_and(|all| all.len() == 2)
                }))
            }
            4 => {}
            5 => drop(pc.waits_for("anna sees the new version", |row| row["newest_version"] == "2.0")),
            6 => {}
            more => panic!("the guide has a block more: {more}"),
        }
        if let Some(fetch) = fetch {
            pc.types(&fetch);
            assert!(pc.game().join("local").is_dir(), "it is installed");
        }
        match typed {
            2 | 3 => assert_same_tree(&pc.game(), &host.game()),
            5 => {
                assert_same_tree(&pc.game(), &host.game());
                assert!(pc.game().join("local/data/more.pak").exists(), "the installation is the new version's");
            }
            6 => {
                assert!(!pc.game().exists(), "nothing of it is left");
                let mut status = pc.host.command(pc.home.join("bin/lanspread").to_str().unwrap());
                let status = status.arg("status").env("HOME", &pc.home).env_remove("XDG_STATE_HOME").output().unwrap();
                assert_eq!(status.status.code(), Some(4), "no daemon runs there any more");
            }
            _ => {}
        }
    }
    assert_eq!(typed, 6);
}
