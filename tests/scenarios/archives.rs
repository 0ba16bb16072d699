//! Installing from archives: every kind, hostile ones, and what else may happen while one is unpacked.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lanspread_peer::fs::Dir;
use lanspread_peer::install::{Intent, IntentLog, OpId};
use rars::{ArchiveVersion, Builder};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::archive_support::{
    Rar5, bzip2, data, gzip, noise, seven, tar_of, tar_raw, xz, zip_named, zip_of, zip_twice, zstd,
};
use crate::support::{CHUNK, Daemon, Home, NOTES, Options, Stranger, assert_same_tree, eventually, tree};

/// Puts a game of these files into a library, the sentinel last.
fn publish(home: &Home, id: &str, files: &[(&str, Vec<u8>)]) {
    let root = home.game(id);
    fs::create_dir_all(&root).unwrap();
    for (name, bytes) in files {
        fs::write(root.join(name), bytes).unwrap();
    }
    fs::write(root.join("version.ini"), "1.0\n").unwrap();
}

/// Puts an older installation into a game, which the user has played.
fn put_older_install(home: &Home, id: &str) {
    let root = home.game(id);
    fs::create_dir(root.join("local")).unwrap();
    fs::write(root.join("local/save.dat"), "years of work").unwrap();
    let version = Some("0.9".to_owned());
    fs::write(root.join("local/.lanspread_installed"), "0000000000000001\n").unwrap();
    let log = IntentLog {
        op_id: OpId(1),
        intent: Intent::None,
        installed_version: version,
        installed_by: Some(OpId(1)),
        next_version: None,
        kept_as: None,
    };
    log.write(&Dir::open(&root).unwrap()).unwrap();
}

fn begin_install(daemon: &Daemon, game: &str) -> usize {
    let mark = daemon.mark();
    daemon.ok(json!({"cmd": "install", "game": game}));
    mark
}

fn wait_install(daemon: &Daemon, game: &str, mark: usize) -> Value {
    daemon.wait_record(mark, "the end of the installation", 240, |record| {
        record["game"] == game && (record["event"] == "install-finished" || record["event"] == "install-failed")
    })
}

/// Path and bytes of every file that is installed.
fn installed(home: &Home, game: &str) -> BTreeMap<String, Vec<u8>> {
    let local = home.game(game).join("local");
    let files = tree(&local, &NOTES).into_iter().filter(|(_, what)| what != "directory");
    files.map(|(path, _)| (path.clone(), fs::read(local.join(path)).unwrap())).collect()
}

fn no_scratch(home: &Home, game: &str) {
    let names = tree(&home.game(game), &["local"]).into_keys();
    let scratch: Vec<String> = names.filter(|name| name.starts_with(".local") || name.ends_with(".tmp")).collect();
    assert!(scratch.is_empty(), "{scratch:?}");
}

#[test]
fn every_kind_of_archive_is_installed() {
    let files = || {
        vec![
            ("setup.exe", noise(70_000)),
            ("data/empty.dat", Vec::new()),
            ("data/Maps/Über.map", b"the same again and again ".repeat(9_000)),
        ]
    };
    let rar = |solid: bool| {
        let mut builder = Builder::new(ArchiveVersion::Rar50).solid(solid);
        for (name, bytes) in files() {
            builder.add_bytes(name.into(), bytes, None, None).unwrap();
        }
        builder
    };
    let tar = tar_of(&files());
    let built = [
        ("rar5", rar(false).to_bytes().unwrap()),
        ("rar5-solid", rar(true).to_bytes().unwrap()),
        ("zip", zip_of(&files())),
        ("7z", seven(&files())),
        ("tar", tar.clone()),
        ("tar-gz", gzip(&tar)),
        ("tar-xz", xz(&tar)),
        ("tar-bz2", bzip2(&tar)),
        ("tar-zst", zstd(&tar)),
    ];
    let home = Home::new();
    for (id, archive) in built {
        publish(&home, id, &[("game.eti", archive), ("readme.txt", b"stays beside it".to_vec())]);
    }
    let volumes = rar(false).store(true).volume_size(Some(40_000)).build_volumes(None).unwrap();
    assert!(volumes.len() > 3);
    let names: Vec<String> = (1..=volumes.len()).map(|n| format!("game.part{n}.rar")).collect();
    let volumes: Vec<(&str, Vec<u8>)> = names.iter().map(String::as_str).zip(volumes).collect();
    publish(&home, "rar5-volumes", &volumes);
    // Written by RAR itself: the checksums in them vouch for the bytes.
    type Files = &'static [(&'static str, usize)];
    let originals: [(&str, &[&str], Files); 6] = [
        ("rar4", &["rar4-compressed.rar"], &[("text.txt", 2400)]),
        ("rar4-solid", &["rar4-solid.rar"], &[("one.txt", 48), ("two.txt", 47)]),
        ("rar4-filter", &["rar4-filter.rar"], &[("x86_e8e9_stream.bin", 196_608)]),
        (
            "rar4-volumes",
            &["rar4-volumes.rar", "rar4-volumes.r00", "rar4-volumes.r01", "rar4-volumes.r02", "rar4-volumes.r03"],
            &[("cvolume.bin", 4096)],
        ),
        ("rar15", &["rar15-compressed.rar"], &[("README.md", 4198)]),
        (
            "rar5-solid-volumes",
            &[
                "rar5-solid-volumes.part01.rar",
                "rar5-solid-volumes.part02.rar",
                "rar5-solid-volumes.part03.rar",
                "rar5-solid-volumes.part04.rar",
                "rar5-solid-volumes.part05.rar",
                "rar5-solid-volumes.part06.rar",
            ],
            &[("bigtext_64k.bin", 65_536), ("tiny.txt", 9)],
        ),
    ];
    for (id, archives, _) in originals {
        publish(&home, id, &archives.iter().map(|name| (*name, data(name))).collect::<Vec<_>>());
    }
    let daemon = Daemon::start(&home, &Options::local());
    daemon.wait_hashed();
    let install = |id: &str| {
        let mark = begin_install(&daemon, id);
        let end = wait_install(&daemon, id, mark);
        assert_eq!(end["event"], "install-finished", "{end}");
        no_scratch(&home, id);
        installed(&home, id)
    };
    let expected: BTreeMap<String, Vec<u8>> = files().into_iter().map(|(path, bytes)| (path.into(), bytes)).collect();
    for id in ["rar5", "rar5-solid", "rar5-volumes", "zip", "7z", "tar", "tar-gz", "tar-xz", "tar-bz2", "tar-zst"] {
        assert!(install(id) == expected, "{id}");
    }
    for (id, _, files) in originals {
        let found: Vec<(String, usize)> = install(id).into_iter().map(|(path, bytes)| (path, bytes.len())).collect();
        let expected: Vec<(String, usize)> = files.iter().map(|(path, len)| ((*path).to_owned(), *len)).collect();
        assert_eq!(found, expected, "{id}");
    }
    assert!(daemon.games().values().all(|row| row["installed"] == true && row["downloaded"] == true));
}

#[test]
fn hostile_archives_are_refused_and_nothing_but_scratch_is_touched() {
    let names: Vec<String> = (0..=200_000).map(|n| n.to_string()).collect();
    let crowd: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (name.as_str(), Vec::new())).collect();
    let link = |target: &str| Rar5::new().redirection("link", 1, target).file("link/x", b"x", 0o100_644).end();
    let archives = [
        ("traversal", "unsafe-path", zip_named("../../../outside.txt", b"bad", 0o100_644)),
        ("traversal-tar", "unsafe-path", tar_raw(&[("good", b'0', b"good"), ("../../outside.txt", b'0', b"bad")])),
        ("absolute", "unsafe-path", gzip(&tar_raw(&[("/../../tmp/lanspread-outside.txt", b'0', b"bad")]))),
        ("drive", "unsafe-path", seven(&[("C:\\outside.txt", b"bad".to_vec())])),
        ("link-then-file", "unsafe-path", tar_raw(&[("link", b'2', b""), ("link/x", b'0', b"through it")])),
        ("link-then-file-rar", "unsafe-path", link("../..")),
        ("hard-link", "unsafe-path", tar_raw(&[("link", b'1', b"")])),
        ("device", "unsafe-path", tar_raw(&[("null", b'3', b"")])),
        ("pipe", "unsafe-path", tar_raw(&[("pipe", b'6', b"")])),
        ("device-name", "unsafe-path", zip_of(&[("sub/NUL.txt", b"bad".to_vec())])),
        ("mark", "unsafe-path", zip_of(&[(".lanspread_owned", b"mine".to_vec())])),
        ("twice", "bad-archive", zip_twice("same")),
        ("case", "bad-archive", tar_of(&[("Data.txt", b"1".to_vec()), ("data.TXT", b"2".to_vec())])),
        // More than 64 MiB and 250 times its own size.
        ("bomb", "bad-archive", zip_of(&[("zeros", vec![0; 128 << 20])])),
        ("bomb-tar", "bad-archive", gzip(&tar_of(&[("zeros", vec![0; 128 << 20])]))),
        ("crowd", "bad-archive", zip_of(&crowd)),
        ("encrypted", "bad-archive", data("rar5-encrypted.rar")),
        ("cut-off", "bad-archive", zip_of(&[("a", noise(5000))])[..4000].to_vec()),
        ("garbage", "bad-archive", [b"Rar!\x1a\x07\x01\x00".as_slice(), &noise(3000)].concat()),
    ];
    let home = Home::new();
    for (id, _, archive) in &archives {
        publish(&home, id, &[("game.eti", archive.clone())]);
        // What the user made is neither replaced nor removed by an archive that is none.
        put_older_install(&home, id);
    }
    let daemon = Daemon::start(&home, &Options::local());
    daemon.wait_hashed();
    // But for its own notes, and the log of this test.
    let everything = || {
        let mut all = tree(home.path(), &["log", "games/.lanspread", "state"]);
        all.retain(|path, _| !path.ends_with("/.lanspread.json"));
        all
    };
    let before = everything();
    for (id, code, _) in &archives {
        let mark = begin_install(&daemon, id);
        let end = wait_install(&daemon, id, mark);
        assert_eq!((&end["event"], &end["code"]), (&json!("install-failed"), &json!(code)), "{id}: {end}");
        assert!(end["message"].as_str().unwrap().contains("game.eti"), "{id}: {end}");
        no_scratch(&home, id);
        assert_eq!(daemon.games()[*id]["operation"], Value::Null);
    }
    assert_eq!(everything(), before);
    assert!(!Path::new("/tmp/lanspread-outside.txt").exists());
    // It goes on.
    publish(&home, "good", &[("game.eti", zip_of(&[("a.txt", b"good".to_vec())]))]);
    eventually("the new game is listed", 30, || daemon.games().get("good").map(|_| ()));
    let mark = begin_install(&daemon, "good");
    assert_eq!(wait_install(&daemon, "good", mark)["event"], "install-finished");
    assert_eq!(installed(&home, "good"), BTreeMap::from([("a.txt".to_owned(), b"good".to_vec())]));
    daemon.stop();
}

#[test]
fn archives_are_unpacked_in_name_order_and_a_later_one_patches_an_earlier_one() {
    let home = Home::new();
    let base = seven(&[("game.dat", b"the old and longer one".to_vec()), ("only-base.txt", b"base".to_vec())]);
    let patch = zip_of(&[("game.dat", b"patched".to_vec()), ("only-patch.txt", b"patch".to_vec())]);
    // Written in the other order: names count.
    publish(&home, "doom", &[("b-patch.eti", patch), ("a-base.eti", base), ("beside.txt", b"no archive".to_vec())]);
    let daemon = Daemon::start(&home, &Options::local());
    daemon.wait_hashed();
    let mark = begin_install(&daemon, "doom");
    assert_eq!(wait_install(&daemon, "doom", mark)["event"], "install-finished");
    let expected = [("game.dat", "patched"), ("only-base.txt", "base"), ("only-patch.txt", "patch")];
    let expected = expected.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
    assert_eq!(installed(&home, "doom"), BTreeMap::from(expected));
}

/// The process that unpacks for a daemon, stopped in the middle of its work.
struct Unpacker(Pid);

impl Unpacker {
    /// So many files that unpacking them takes a while on any disk; empty, so that removing them does not.
    fn archive() -> Vec<u8> {
        let names: Vec<String> = (0..40_000).map(|n| format!("{:03}/{n:05}", n / 200)).collect();
        zip_of(&names.iter().map(|name| (name.as_str(), Vec::new())).collect::<Vec<_>>())
    }

    /// Begins to install `doom`, and stops the unpacking when the first file is there.
    fn freeze(daemon: &Daemon, home: &Home) -> (Self, usize) {
        let mark = begin_install(daemon, "doom");
        let first = home.game("doom").join(".local.installing/000/00000");
        let until = Instant::now() + Duration::from_secs(60);
        while !first.exists() {
            assert!(Instant::now() < until, "nothing was unpacked");
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let this = Self(child_of(daemon.pid()));
        kill_process(this.0, Signal::STOP).unwrap();
        assert!(!home.game("doom").join(".local.installing/199/39999").exists(), "it was in the middle");
        (this, mark)
    }

    fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.0.as_raw_nonzero()))
    }

    fn go_on(&self) {
        kill_process(self.0, Signal::CONT).unwrap();
    }
}

/// The one child of a process.
fn child_of(parent: u32) -> Pid {
    let of = |name: std::ffi::OsString| {
        let pid: i32 = name.to_str()?.parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // After the name in parentheses: state, parent.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(1);
        (fields.next()? == parent.to_string()).then(|| Pid::from_raw(pid))?
    };
    let found: Vec<Pid> = fs::read_dir("/proc").unwrap().filter_map(|entry| of(entry.unwrap().file_name())).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

fn big_game() -> (Home, Daemon) {
    let home = Home::new();
    publish(&home, "doom", &[("doom.eti", Unpacker::archive())]);
    let daemon = Daemon::start(&home, &Options::local());
    daemon.wait_hashed();
    (home, daemon)
}

#[test]
fn the_unpacking_process_has_nothing_to_give_away_and_ends_with_the_daemon() {
    let (home, daemon) = big_game();
    let (unpacker, _) = Unpacker::freeze(&daemon, &home);
    assert!(fs::read(unpacker.proc("environ")).unwrap().is_empty(), "it has no environment");
    let root = home.game("doom").canonicalize().unwrap();
    for entry in fs::read_dir(unpacker.proc("fd")).unwrap() {
        let entry = entry.unwrap();
        let number: u32 = entry.file_name().to_str().unwrap().parse().unwrap();
        let target = fs::read_link(entry.path()).unwrap();
        assert!(number <= 2 || target.starts_with(&root), "{number} is {target:?}");
    }
    let limits = fs::read_to_string(unpacker.proc("limits")).unwrap();
    let limit = |name: &str| limits.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(!limit("Max address space").contains("unlimited"), "{limits}");
    assert!(limit("Max core file size").split_whitespace().any(|word| word == "0"), "{limits}");

    let group = |pid| rustix::process::getpgid(Some(pid)).unwrap();
    let own = Pid::from_raw(daemon.pid() as i32).unwrap();
    assert_ne!(group(unpacker.0), group(own), "Ctrl-C in a terminal is for the daemon alone");

    daemon.kill();
    unpacker.go_on();
    eventually("the unpacker ends", 30, || {
        // Until somebody asks for its exit code it is a zombie.
        let stat = fs::read_to_string(unpacker.proc("stat")).unwrap_or_default();
        stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z')).then_some(())
    });
    // The next start takes back what had begun.
    let daemon = Daemon::start(&home, &Options::local());
    eventually("the game is as it was", 60, || {
        let row = daemon.games().remove("doom")?;
        (row["downloaded"] == true && row["installed"] == false).then_some(())
    });
    no_scratch(&home, "doom");
}

#[test]
fn a_cancelled_installation_ends_in_one_event_with_everything_as_before() {
    let (home, daemon) = big_game();
    put_older_install(&home, "doom");
    eventually("local is seen", 30, || (daemon.games()["doom"]["installed"] == true).then_some(()));
    let before = tree(&home.game("doom"), &[".lanspread.json"]);

    let (_unpacker, mark) = Unpacker::freeze(&daemon, &home);
    assert_eq!(daemon.games()["doom"]["operation"], "updating");
    assert_eq!(daemon.refused(json!({"cmd": "uninstall", "game": "doom"})), "operation-in-progress");
    daemon.ok(json!({"cmd": "cancel-download", "game": "doom"}));
    let end = wait_install(&daemon, "doom", mark);
    assert_eq!((&end["event"], &end["code"]), (&json!("install-failed"), &json!("cancelled")), "{end}");
    // At once: the event says that the state is settled.
    assert_eq!(tree(&home.game("doom"), &[".lanspread.json"]), before);
    let row = daemon.games().remove("doom").unwrap();
    assert_eq!((&row["downloaded"], &row["installed"], row.get("operation")), (&json!(true), &json!(true), None));
    daemon.ok(json!({"cmd": "uninstall", "game": "doom"}));
    daemon.wait_event_since(mark, "uninstall-finished", |_| true);
    let ends = daemon
        .since(mark)
        .into_iter()
        .filter(|record| record["event"] == "install-failed" || record["event"] == "install-finished");
    assert_eq!(ends.count(), 1);
}

#[test]
fn a_game_is_served_while_it_is_installed_and_never_anything_of_local() {
    let (home, daemon) = big_game();
    let home_b = Home::new();
    let b = Daemon::start(&home_b, &Options::local());
    b.connect(&daemon);
    let (unpacker, mark) = Unpacker::freeze(&daemon, &home);
    let mut stranger = Stranger::connect(daemon.addr);
    stranger.hello();
    let ask = json!({"type": "GetLibrary", "peer_id": stranger.peer_id});
    let library = stranger.request(&ask).unwrap().0;
    let summary = &library["snapshot"]["games"][0];
    assert_eq!((&summary["id"], &summary["availability"]), (&json!("doom"), &json!("ready")));
    let request = json!({"type": "GetManifest", "game_id": "doom", "manifest_hash": summary["manifest_hash"]});
    let (manifest, _) = stranger.request(&request).unwrap();
    let paths: Vec<&Value> = manifest["files"].as_array().unwrap().iter().map(|file| &file["path"]).collect();
    assert_eq!(paths, ["doom.eti", "version.ini"], "40,000 files lie beside them, and nobody hears of them");
    // One chunk further than the game goes there is nothing.
    let count = manifest["chunk_count"].as_u64().unwrap();
    assert_eq!(count, fs::metadata(home.game("doom").join("doom.eti")).unwrap().len().div_ceil(CHUNK) + 1);
    let beyond = json!({"type": "GetChunks", "game_id": "doom", "manifest_hash": summary["manifest_hash"],
                        "first": count, "count": 1});
    assert_eq!(stranger.request(&beyond).unwrap().0["code"], "bad-request");
    b.download("doom");
    assert_eq!(daemon.games()["doom"]["operation"], "installing", "all that happened meanwhile");
    unpacker.go_on();
    assert_eq!(wait_install(&daemon, "doom", mark)["event"], "install-finished");
    assert_eq!(tree(&home.game("doom").join("local"), &NOTES).len(), 40_000 + 200, "files, and directories of 200");
    // Installed, it is the same game to everybody.
    let mut stranger = Stranger::connect(daemon.addr);
    stranger.hello();
    let again = stranger.request(&request).unwrap().0;
    assert_eq!(again, manifest);
    assert_same_tree(&home.game("doom"), &home_b.game("doom"));
}
