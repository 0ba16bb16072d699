//! Libraries in step: what changes in a folder is seen by the peers, once, whatever happens to the index.

use std::fs::{self, File};
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{CHUNK, Daemon, GameSpec, Home, Options, available, eventually, tree};

fn rev(daemon: &Daemon) -> u64 {
    daemon.status()["library_rev"].as_u64().unwrap()
}

/// The row of a game at `daemon`, once `accept` takes it.
fn wait_row(daemon: &Daemon, game: &str, what: &str, accept: impl Fn(&Value) -> bool) -> Value {
    eventually(what, 30, || daemon.games().remove(game).filter(&accept))
}

/// What `viewer` knows of `owner` is what the owner says of itself.
fn wait_converged(viewer: &Daemon, owner: &Daemon) {
    eventually("the libraries are in step", 30, || {
        let status = owner.status();
        let peers = viewer.peers();
        let row = peers.iter().find(|peer| peer["peer_id"] == owner.peer_id.as_str())?;
        let same = row["connected"] == true
            && row["library_epoch"] == status["library_epoch"]
            && row["library_rev"] == status["library_rev"];
        let mut own: Vec<(String, Value, Value)> = Vec::new();
        for (id, row) in owner.games() {
            if row["downloaded"] == true {
                own.push((id, row["version"].clone(), row["size"].clone()));
            }
        }
        let seen: Vec<(String, Value, Value)> = viewer
            .games()
            .into_iter()
            .filter(|(_, row)| row["sources"].as_array().unwrap().contains(&json!(owner.peer_id)))
            .map(|(id, row)| (id, row["version"].clone(), row["size"].clone()))
            .collect();
        (same && own == seen).then_some(())
    });
}

#[test]
fn a_game_that_appears_changes_and_vanishes_is_told_once_each() {
    let home_a = Home::with(&[GameSpec::small("constant")]);
    home_a.brought("constant");
    fs::create_dir(home_a.game("constant").join("local")).unwrap();
    let (a, home_b) = (Daemon::start(&home_a, &Options::local()), Home::new());
    let b = Daemon::start(&home_b, &Options::local());
    a.wait_hashed();
    b.connect(&a);
    wait_converged(&b, &a);
    let start = rev(&a);

    // Appears: all at once, as a move of a finished folder.
    let staging = home_a.path().join("staging");
    let spec = GameSpec::small("newcomer").version("3.4");
    fs::create_dir(&staging).unwrap();
    spec.write(&staging);
    fs::rename(staging.join("newcomer"), home_a.game("newcomer")).unwrap();
    let row = wait_row(&b, "newcomer", "the newcomer is seen with its content", |row| row["content_hash"].is_string());
    assert_eq!((&row["version"], &row["size"]), (&json!("3.4"), &json!(spec.bytes())));
    assert_eq!((&row["peer_count"], &row["downloaded"]), (&json!(1), &json!(false)));
    let appeared = rev(&a);
    assert!((1..=2).contains(&(appeared - start)), "the files, then their hash: from {start} to {appeared}");

    // Nothing that counts changes: reading, and anything in local/.
    tree(&home_a.game("newcomer"), &[]);
    fs::write(home_a.game("constant").join("local/save.dat"), "level 2").unwrap();

    // Changes: another size.
    let data = home_a.game("newcomer").join("data.pak");
    File::options().write(true).open(&data).unwrap().set_len(CHUNK + 1).unwrap();
    let smaller = spec.bytes() - (2 * CHUNK + 4321) + CHUNK + 1;
    wait_row(&b, "newcomer", "the change is seen", |row| row["size"] == smaller && row["content_hash"].is_string());
    let changed = rev(&a);
    assert!((1..=2).contains(&(changed - appeared)), "from {appeared} to {changed}");

    // Vanishes.
    let mark = b.mark();
    fs::rename(home_a.game("newcomer"), staging.join("newcomer")).unwrap();
    eventually("the vanished game is gone", 30, || (!b.games().contains_key("newcomer")).then_some(()));
    assert_eq!(rev(&a), changed + 1, "one revision, and none for what did not count");
    wait_converged(&b, &a);
    let told: Vec<Value> =
        b.since(mark).into_iter().filter(|record| record["event"] == "peer-library-changed").collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["rev"], changed + 1);
    assert_eq!(told[0]["game_count"], 1);
}

#[test]
fn a_same_length_rewrite_of_version_ini_is_seen_even_with_the_old_time() {
    let home_a = Home::with(&[GameSpec::small("doom").version("1.0")]);
    let (a, home_b) = (Daemon::start(&home_a, &Options::local()), Home::new());
    let b = Daemon::start(&home_b, &Options::local());
    b.connect(&a);
    assert_eq!(b.games()["doom"]["version"], "1.0");
    let path = home_a.game("doom").join("version.ini");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "1.5\n").unwrap();
    fs::write(&path, "2.0\n").unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    wait_row(&b, "doom", "the new version is seen", |row| row["version"] == "2.0");
    assert_eq!(a.games()["doom"]["version"], "2.0");
}

/// The index file of a library.
fn index(home: &Home) -> std::path::PathBuf {
    home.games().join(".lanspread/index.json")
}

/// Kills `a`, does something to its files, starts it again and waits until `b` (which has not given it up) is in step.
/// Returns the new daemon and the two epochs.
fn restart_with(home_a: &Home, a: Daemon, b: &Daemon, damage: impl FnOnce()) -> (Daemon, String, String) {
    let epoch = |daemon: &Daemon| daemon.status()["library_epoch"].as_str().unwrap().to_owned();
    let before = epoch(&a);
    a.kill();
    damage();
    let a = Daemon::start(home_a, &Options::local().arg("--peer", b.addr.to_string()));
    wait_converged(b, &a);
    wait_converged(&a, b);
    let after = epoch(&a);
    (a, before, after)
}

#[test]
fn a_lost_or_broken_index_begins_a_new_epoch_and_peers_converge() {
    let home_a = Home::with(&[GameSpec::small("doom"), GameSpec::small("quake")]);
    let home_b = Home::with(&[GameSpec::small("hexen")]);
    let a = Daemon::start(&home_a, &Options::local());
    let b = Daemon::start(&home_b, &Options::local());
    a.wait_hashed();
    b.connect(&a);

    let path = index(&home_a);
    let (a, before, after) = restart_with(&home_a, a, &b, || fs::remove_file(&path).unwrap());
    assert_ne!(before, after, "deleted index");

    let (a, before, after) = restart_with(&home_a, a, &b, || {
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    });
    assert_ne!(before, after, "torn index");

    let (a, before, after) = restart_with(&home_a, a, &b, || {
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(4).position(|part| part == b"doom").expect("the index names the game");
        bytes[at] = b'z';
        fs::write(&path, bytes).unwrap();
    });
    assert_ne!(before, after, "edited index");

    let (_a, before, after) = restart_with(&home_a, a, &b, || ());
    assert_eq!(before, after, "an index that is well keeps its epoch");
}

#[test]
fn an_old_index_restored_from_a_backup_does_not_confuse_the_peers() {
    let home_a = Home::with(&[GameSpec::small("doom")]);
    let home_b = Home::new();
    let a = Daemon::start(&home_a, &Options::local());
    let b = Daemon::start(&home_b, &Options::local());
    a.wait_hashed();
    b.connect(&a);
    let backup = fs::read(index(&home_a)).unwrap();
    let staging = home_a.path().join("staging");
    fs::create_dir(&staging).unwrap();
    let add = |id: &str| {
        GameSpec::small(id).write(&staging);
        fs::rename(staging.join(id), home_a.game(id)).unwrap();
    };
    let known = rev(&a);
    add("later");
    wait_row(&b, "later", "the later game is seen", |row| row["content_hash"].is_string());
    assert!(rev(&a) > known);

    // As the backup was: the peers know a later revision of this epoch than the owner does.
    let (a, ..) = restart_with(&home_a, a, &b, || {
        fs::write(index(&home_a), &backup).unwrap();
        fs::rename(home_a.game("later"), staging.join("later")).unwrap();
    });
    assert!(!b.games().contains_key("later"));

    // And with another change, so that the same revision number comes to mean something else.
    a.wait_hashed();
    let backup = fs::read(index(&home_a)).unwrap();
    add("first");
    wait_row(&b, "first", "the first game is seen", |row| row["content_hash"].is_string());
    let (_a, ..) = restart_with(&home_a, a, &b, || {
        fs::write(index(&home_a), &backup).unwrap();
        fs::rename(home_a.game("first"), staging.join("first")).unwrap();
        add("second");
    });
    let rows = b.games();
    assert!(!rows.contains_key("first") && rows.contains_key("second"), "{:?}", rows.keys());
}

#[test]
fn without_watches_it_says_so_and_still_sees_changes() {
    let home = Home::with(&[GameSpec::small("doom"), GameSpec::small("quake"), GameSpec::small("hexen")]);
    let options = Options::local().arg("--max-watches", "2").set("timers.rescan_every", "1s");
    let daemon = Daemon::start(&home, &options);
    eventually("the status says that it polls", 20, || (daemon.status()["watch"] == "polling").then_some(()));
    let error = daemon.wait_event("runtime-error");
    assert!(error["message"].as_str().unwrap().contains("watch"), "{error}");
    for game in ["doom", "quake", "hexen"] {
        fs::write(home.game(game).join("version.ini"), "9.9\n").unwrap();
    }
    for game in ["doom", "quake", "hexen"] {
        wait_row(&daemon, game, "the change is seen by the fallback scan", |row| row["version"] == "9.9");
    }
}

/// How many opens of a trace name a path with `part` in it.
fn opens(trace: &Path, part: &str) -> usize {
    let text = fs::read_to_string(trace).unwrap();
    assert!(text.contains("open"), "the trace has system calls");
    text.lines().filter(|line| line.contains("open") && line.contains(part)).count()
}

#[test]
fn the_second_start_of_2000_games_reads_no_game_recursively() {
    if !available("the_second_start_of_2000_games_reads_no_game_recursively", &["strace"]) {
        return;
    }
    const GAMES: usize = 2000;
    let home = Home::new();
    for i in 0..GAMES {
        GameSpec::new(&format!("game-{i:04}")).file("deep-inside/a.dat", 10).file("data.pak", 100).write(&home.games());
    }
    let traced = |name: &str| {
        let trace = home.path().join(name);
        let strace = ["strace", "-f", "-qq", "-e", "trace=open,openat,openat2", "-o", trace.to_str().unwrap()];
        let daemon = Daemon::start(&home, &Options::local().under(&strace));
        daemon.wait_hashed();
        assert_eq!(daemon.status()["games"], GAMES);
        let rows = daemon.games();
        assert!(rows.values().all(|row| row["downloaded"] == true && row["content_hash"].is_string()));
        let library = daemon.status();
        daemon.stop();
        (opens(&trace, "deep-inside"), library)
    };
    let (first, before) = traced("trace-1");
    assert!(first >= GAMES, "the first start must look inside: {first} opens");
    let (second, after) = traced("trace-2");
    assert_eq!(second, 0, "the second start looked inside games that had not changed");
    for field in ["library_epoch", "library_rev", "library_digest"] {
        assert_eq!(before[field], after[field], "{field}");
    }
}
