//! Games that are being copied into the game directory while the daemon runs: nobody gets half of one.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::support::{CHUNK, Daemon, GameSpec, Home, Options, assert_same_tree, eventually};

/// Longer than any pause of the writers below.
const QUIET: &str = "4s";
/// Between two steps of a writer.
const PAUSE: Duration = Duration::from_millis(250);
const STEPS: usize = 24;

fn options() -> Options {
    Options::local().set("timers.arriving_quiet", QUIET)
}

fn append(path: &Path, bytes: usize) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let noise: Vec<u8> = (0..bytes).map(|i| (i * i % 251) as u8).collect();
    File::options().create(true).append(true).open(path).unwrap().write_all(&noise).unwrap();
}

fn sentinel(root: &Path) {
    fs::create_dir_all(root).unwrap();
    fs::write(root.join("version.ini"), "1.0\n").unwrap();
}

fn make_old(path: &Path) {
    File::open(path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(90_000)).unwrap();
}

/// A way to copy: writes one step of a game.
type Writer = fn(&Path, usize);

/// Copying, as programs and people do it. All write `version.ini` first but the one that says so.
const WRITERS: [(&str, Writer); 7] = [
    ("file-by-file", |root, step| append(&root.join(format!("{step:02}.pak")), 5_000)),
    ("one-big-file", |root, _| append(&root.join("game.pak"), 300_000)),
    ("deep", |root, step| append(&root.join(format!("data/maps/{}/{step:02}.map", step % 3)), 5_000)),
    ("deep-big-file", |root, _| append(&root.join("data/movies/intro.bik"), 300_000)),
    ("sentinel-last", |root, step| {
        if step == 0 {
            fs::remove_file(root.join("version.ini")).unwrap();
        }
        append(&root.join(format!("{step:02}.pak")), 5_000);
        if step == STEPS - 1 {
            sentinel(root);
        }
    }),
    // Under a temporary name, which goes when the file is complete; times of the source.
    ("like-rsync", |root, step| {
        let (temporary, target) = (root.join("data/.x.pak.Tq3z"), root.join(format!("data/{:02}.pak", step / 2)));
        append(&temporary, 40_000);
        if step % 2 == 1 {
            make_old(&temporary);
            fs::rename(&temporary, target).unwrap();
        }
    }),
    // The file has its full length at once.
    ("in-place", |root, step| {
        let path = root.join("data/disk.img");
        if step == 0 {
            append(&path, 0);
            File::options().write(true).open(&path).unwrap().set_len(3 * CHUNK).unwrap();
        }
        let mut file = File::options().write(true).open(&path).unwrap();
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(step as u64 * 100_000)).unwrap();
        file.write_all(&[step as u8 + 1; 100_000]).unwrap();
    }),
];

fn sources(daemon: &Daemon, game: &str) -> usize {
    daemon.games().get(game).map_or(0, |row| row["sources"].as_array().unwrap().len())
}

#[test]
fn however_a_game_is_copied_others_get_all_of_it_or_nothing() {
    let (home_a, home_b) = (Home::new(), Home::new());
    let (a, b) = (Daemon::start(&home_a, &options()), Daemon::start(&home_b, &options()));
    b.connect(&a);
    let root = |name: &str| home_a.game(name);
    WRITERS.iter().for_each(|(name, _)| sentinel(&root(name)));
    for step in 0..STEPS {
        WRITERS.iter().for_each(|(name, write)| write(&root(name), step));
        std::thread::sleep(PAUSE);
        for (name, _) in WRITERS {
            assert_eq!(sources(&b, name), 0, "{name} is offered at step {step}");
        }
    }
    let row = a.games().remove("deep").unwrap();
    assert_eq!((&row["arriving"], &row["local_only_reason"]), (&json!(true), &json!("still being copied")));
    for (name, _) in WRITERS {
        eventually(&format!("{name} is offered"), 60, || (sources(&b, name) == 1).then_some(()));
        b.download(name);
        assert_same_tree(&root(name), &home_b.game(name));
    }
    assert!(a.games().values().all(|row| row["arriving"].is_null()));
}

#[test]
fn what_comes_later_deep_inside_is_seen_and_fetched_by_the_next_download() {
    let (home_a, home_b, home_c) = (Home::new(), Home::new(), Home::new());
    let start = |home: &Home| Daemon::start(home, &Options::local().set("timers.arriving_quiet", "1s"));
    let (a, b, c) = (start(&home_a), start(&home_b), start(&home_c));
    b.connect(&a);
    sentinel(&home_a.game("doom"));
    append(&home_a.game("doom").join("data/one.pak"), 200_000);
    eventually("it is offered", 30, || (sources(&b, "doom") == 1).then_some(()));
    a.wait_hashed();
    b.download("doom");
    // C is the one who has a copy of its own.
    GameSpec::new("doom").file("data/one.pak", 99).write(&home_c.games());
    eventually("the own copy is there", 30, || (c.games().get("doom")?["downloaded"] == true).then_some(()));
    append(&home_a.game("doom").join("data/two.pak"), 500_000);
    let more = 4 + 200_000 + 500_000;
    eventually("the owner sees the rest", 60, || (a.games()["doom"]["size"] == more).then_some(()));
    a.wait_hashed();
    eventually("B is told of another content", 30, || {
        let row = b.games().remove("doom").unwrap();
        (row["other_content_peers"] == 1 && row["downloaded"] == true).then_some(())
    });
    b.download("doom");
    assert_same_tree(&home_a.game("doom"), &home_b.game("doom"));
    assert!(b.games()["doom"]["other_content_peers"].is_null());

    c.ok(json!({"cmd": "connect", "addr": a.addr.to_string()}));
    c.wait_peers(1);
    eventually("C is told of another content", 30, || (c.games()["doom"]["other_content_peers"] == 1).then_some(()));
    eventually("C's own has arrived", 30, || c.games()["doom"]["arriving"].is_null().then_some(()));
    assert_eq!(c.refused(json!({"cmd": "download", "game": "doom", "install": false})), "own-content");
    assert_eq!(fs::metadata(home_c.game("doom").join("data/one.pak")).unwrap().len(), 99);
    let mark = c.mark();
    c.ok(json!({"cmd": "download", "game": "doom", "install": false, "again": true}));
    c.wait_download("doom", mark);
    let own = home_c.game("doom").join("data/one.pak.mine");
    assert_eq!(fs::metadata(&own).unwrap().len(), 99, "it is kept beside the other");
    fs::remove_file(own).unwrap();
    assert_same_tree(&home_a.game("doom"), &home_c.game("doom"));
}

/// Everything beneath `dir`, and itself.
fn make_all_old(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() { make_all_old(&path) } else { make_old(&path) }
    }
    make_old(dir);
}

#[test]
fn at_the_start_old_games_are_offered_at_once_and_those_of_a_moment_ago_are_not() {
    let home = Home::with(&[GameSpec::small("old"), GameSpec::small("new"), GameSpec::small("of-tomorrow")]);
    make_all_old(&home.game("old"));
    let ahead = SystemTime::now() + Duration::from_secs(90_000);
    for path in ["data.pak", "version.ini", "extra", "extra/readme.txt", ""] {
        File::open(home.game("of-tomorrow").join(path)).unwrap().set_modified(ahead).unwrap();
    }
    make_old(&home.game("new").join("version.ini"));
    let daemon = Daemon::start(&home, &Options::local().set("timers.arriving_quiet", "1h"));
    let rows = daemon.games();
    assert!(rows["old"]["arriving"].is_null() && rows["of-tomorrow"]["arriving"].is_null(), "{rows:?}");
    assert_eq!(rows["new"]["arriving"], true);
    // It was being copied when the daemon ended.
    daemon.stop();
    let daemon = Daemon::start(&home, &Options::local().set("timers.arriving_quiet", "1h"));
    assert_eq!(daemon.games()["new"]["arriving"], true);
    daemon.stop();
    let daemon = Daemon::start(&home, &Options::local().set("timers.arriving_quiet", "500ms"));
    eventually("it has arrived", 30, || daemon.games()["new"]["arriving"].is_null().then_some(()));
}
