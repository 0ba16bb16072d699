//! Downloads from many sources: equal ones, lying ones, ones that go and come back, ones whose files change; and a daemon
//! that is killed in between.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::download::{share_of, shares, wait_bytes};
use crate::support::{
    CHUNK, Copycat, Daemon, GameSpec, Home, Lan, MIB, Offer, Options, assert_same_tree, available, eventually,
};

/// A source that gives so many bytes a second, so that nobody is done before the others have begun.
fn slow(rate: &str) -> Options {
    Options::local().arg("--max-upload", rate)
}

fn bytes_received(daemon: &Daemon) -> u64 {
    daemon.status()["bytes_received"].as_u64().unwrap()
}

fn number(event: &Value, field: &str) -> u64 {
    event[field].as_u64().unwrap_or_else(|| panic!("{field} in {event}"))
}

/// Connects a daemon to all of these, and waits until their libraries are in step.
fn connect_all(daemon: &Daemon, others: &[Daemon]) {
    for other in others {
        daemon.ok(json!({"cmd": "connect", "addr": other.addr.to_string()}));
    }
    daemon.wait_peers(others.len());
}

fn has_no_sentinel(home: &Home) {
    assert!(!home.game("doom").join("version.ini").exists(), "no sentinel over incomplete bytes");
}

#[test]
fn files_that_were_changed_under_their_old_time_are_found_out_by_whoever_fetches_them() {
    let (home_a, home_b) = (Home::with(&[GameSpec::new("doom").file("disk.img", 4 * CHUNK)]), Home::new());
    let (a, b) = (Daemon::start(&home_a, &Options::local()), Daemon::start(&home_b, &Options::local()));
    let content = |daemon: &Daemon| daemon.games().remove("doom").unwrap()["content_hash"].clone();
    a.wait_hashed();
    let before = content(&a);
    let path = home_a.game("doom").join("disk.img");
    let mut file = fs::File::options().read(true).write(true).open(&path).unwrap();
    let time = file.metadata().unwrap().modified().unwrap();
    file.seek(SeekFrom::Start(2 * CHUNK)).unwrap();
    file.write_all(b"changed").unwrap();
    file.set_modified(time).unwrap();
    drop(file);
    b.connect(&a);
    let mark = b.begin_download("doom");
    let failed = b.wait_download("doom", mark);
    // The owner may have found it out before the download is over.
    let code = failed["code"].as_str().unwrap_or_default();
    assert!(
        failed["event"] == "download-failed" && ["verification-failed", "source-changed"].contains(&code),
        "{failed}"
    );
    assert!(failed["message"].as_str().unwrap().contains("again"), "{failed}");
    // The owner is told, looks, and offers what lies there.
    let told = a.wait_record(0, "the owner's notice", 30, |record| record["code"] == "verification-failed");
    assert!(told["message"].as_str().unwrap().contains("changed without a new time"), "{told}");
    eventually("the owner offers the new content", 30, || (content(&a) != before).then_some(()));
    eventually("and the other knows", 30, || (content(&b) == content(&a)).then_some(()));
    b.download("doom");
    assert_same_tree(&home_a.game("doom"), &home_b.game("doom"));
}

#[test]
fn equal_sources_share_a_game_equally_and_every_chunk_comes_once() {
    if !available("equal_sources_share_a_game_equally_and_every_chunk_comes_once", &["netns"]) {
        return;
    }
    const SOURCES: u64 = 4;
    let lan = Lan::new();
    let spec = GameSpec::new("doom").file("doom.pak", 40 * CHUNK + 5).many(80, 100_000);
    let homes: Vec<Home> = (0..SOURCES).map(|_| Home::with(std::slice::from_ref(&spec))).collect();
    let sources: Vec<Daemon> = homes
        .iter()
        .enumerate()
        .map(|(n, home)| {
            let host = lan.host(&format!("s{n}"));
            host.shape_mbit(40);
            Daemon::start(home, &Options::on(&host))
        })
        .collect();
    sources.iter().for_each(Daemon::wait_hashed);
    let home = Home::new();
    let daemon = Daemon::start(&home, &Options::on(&lan.host("c")));
    daemon.wait_peers(sources.len());
    let finished = daemon.download("doom");
    assert_same_tree(&homes[0].game("doom"), &home.game("doom"));
    let total = spec.bytes();
    assert_eq!(shares(&finished).iter().map(|(_, bytes)| bytes).sum::<u64>(), total, "{finished}");
    for source in &sources {
        let share = share_of(&finished, source);
        let fair = total / SOURCES;
        assert!(
            share > fair * 6 / 10 && share < fair * 15 / 10,
            "one of {SOURCES} equal sources gave {share} of {total}"
        );
    }
    assert_eq!((number(&finished, "refetched_bytes"), number(&finished, "resumed_bytes")), (0, 0));
    // Duplicates at the very end are cancelled before they weigh anything.
    let sent: u64 = sources.iter().map(|source| number(&source.status(), "bytes_sent")).sum();
    assert!((total..=total + 4 * SOURCES * CHUNK).contains(&sent), "{sent} bytes were sent for {total}");
}

#[test]
fn a_source_of_flipped_bytes_among_five_is_named_and_the_game_is_whole() {
    const HONEST: usize = 4;
    let spec = GameSpec::new("doom").file("doom.pak", 32 * CHUNK + 7).many(10, 5000);
    let homes: Vec<Home> = (0..HONEST).map(|_| Home::with(std::slice::from_ref(&spec))).collect();
    let honest: Vec<Daemon> = homes.iter().map(|home| Daemon::start(home, &slow("3MB/s"))).collect();
    honest.iter().for_each(Daemon::wait_hashed);
    let offer = Arc::new(Offer::of(&honest[0], &homes[0].game("doom")));
    let home = Home::new();
    let daemon = Daemon::start(&home, &Options::local());
    connect_all(&daemon, &honest);
    let liar = Copycat::start(&offer, daemon.addr);
    daemon.wait_peers(HONEST + 1);
    assert_eq!(daemon.games()["doom"]["sources"].as_array().unwrap().len(), HONEST + 1);

    let finished = daemon.download("doom");
    assert_same_tree(&homes[0].game("doom"), &home.game("doom"));
    let bans = daemon.events("download-source-banned");
    let [ban] = bans.as_slice() else { panic!("one was banned, and once: {bans:?}") };
    assert_eq!((&ban["game"], &ban["peer_id"]), (&json!("doom"), &json!(liar.peer_id)));
    assert!(number(ban, "chunk") < offer.chunks() as u64, "{ban}");
    assert!(ban["reason"].as_str().unwrap().contains("do not match"), "{ban}");
    assert!(liar.asked() >= 2, "it had its chance: {}", liar.asked());
    // Nothing of it counts, and what it spoilt came from others.
    let gave = shares(&finished);
    assert!(gave.iter().all(|(peer, _)| *peer != liar.peer_id), "{finished}");
    assert_eq!(gave.iter().map(|(_, bytes)| bytes).sum::<u64>(), spec.bytes(), "{finished}");
    // Whole chunks, or the last run with its many small ones.
    assert!(number(&finished, "refetched_bytes") > 0, "{finished}");
    // The user finds the culprit when all is over.
    let known = daemon.status()["sources_banned"].clone();
    for field in ["game", "peer_id", "reason", "chunk"] {
        assert_eq!(known[0][field], ban[field], "{known}");
    }
    assert!(known.as_array().unwrap().len() == 1 && known[0]["when_ms"].is_u64(), "{known}");
}

#[test]
fn nine_bad_sources_of_ten_are_all_named_and_the_tenth_gives_the_game() {
    const LIARS: usize = 9;
    let spec = GameSpec::new("doom").file("doom.pak", 20 * CHUNK + 7);
    let source = Home::with(std::slice::from_ref(&spec));
    let honest = Daemon::start(&source, &Options::local());
    honest.wait_hashed();
    let offer = Arc::new(Offer::of(&honest, &source.game("doom")));
    let home = Home::new();
    let daemon = Daemon::start(&home, &Options::local());
    daemon.connect(&honest);
    let liars: Vec<Copycat> = (0..LIARS).map(|_| Copycat::start(&offer, daemon.addr)).collect();
    daemon.wait_peers(LIARS + 1);
    // The honest one is busy until the others have shown what they are.
    honest.ok(json!({"cmd": "pause"}));
    let mark = daemon.begin_download("doom");
    for liar in &liars {
        daemon.wait_record(mark, "the ban of a liar", 60, |record| {
            assert!(record["event"] != "download-failed" && record["event"] != "download-finished", "{record}");
            record["event"] == "download-source-banned" && record["peer_id"] == liar.peer_id.as_str()
        });
    }
    has_no_sentinel(&home);
    honest.ok(json!({"cmd": "resume"}));
    let finished = daemon.wait_download("doom", mark);
    assert_eq!(finished["event"], "download-finished", "{finished}");
    assert_eq!(shares(&finished), [(honest.peer_id.clone(), spec.bytes())]);
    assert_same_tree(&source.game("doom"), &home.game("doom"));
    assert_eq!(daemon.events("download-source-banned").len(), LIARS);
    assert_eq!(daemon.status()["sources_banned"].as_array().unwrap().len(), LIARS);
}

#[test]
fn when_all_sources_go_the_download_says_so_and_goes_on_when_one_is_back() {
    // So that little is under way when they go.
    const BUFFERS: u64 = 4;
    let spec = GameSpec::new("doom").file("doom.pak", 32 * CHUNK + 5).many(40, 20_000);
    let homes = [Home::with(std::slice::from_ref(&spec)), Home::with(std::slice::from_ref(&spec))];
    let sources: Vec<Daemon> = homes.iter().map(|home| Daemon::start(home, &slow("4MB/s"))).collect();
    sources.iter().for_each(Daemon::wait_hashed);
    let home = Home::new();
    let options = Options::local().short_liveness().set("timers.run_stall", "1s").set("timers.source_wait", "1s");
    let daemon = Daemon::start(&home, &options.set("limits.landing_buffers", &BUFFERS.to_string()));
    connect_all(&daemon, &sources);
    let mark = daemon.begin_download("doom");
    wait_bytes(&daemon, mark, 8 * MIB);
    sources.into_iter().for_each(Daemon::kill);
    let failed = daemon.wait_download("doom", mark);
    assert_eq!((&failed["event"], &failed["code"]), (&json!("download-failed"), &json!("no-sources")), "{failed}");
    assert!(failed["message"].as_str().unwrap().contains("doom"), "{failed}");
    has_no_sentinel(&home);
    assert!(fs::metadata(home.game("doom").join("doom.pak")).unwrap().len() > 0, "what came stays");
    eventually("both are gone", 20, || daemon.peers().is_empty().then_some(()));
    assert_eq!(daemon.refused(json!({"cmd": "download", "game": "doom"})), "no-sources");
    let had = daemon
        .since(mark)
        .iter()
        .filter(|record| record["event"] == "download-progress")
        .map(|record| number(record, "bytes"))
        .max()
        .unwrap();
    let received = bytes_received(&daemon);

    let source = Daemon::start(&homes[0], &Options::local());
    daemon.connect(&source);
    let finished = daemon.download("doom");
    assert_same_tree(&homes[0].game("doom"), &home.game("doom"));
    // The sentinel is held in memory until the end.
    let resumed = number(&finished, "resumed_bytes");
    assert!(resumed + CHUNK > had, "{had} bytes were here: {finished}");
    assert!(resumed + (BUFFERS + 1) * CHUNK > received, "{received} bytes had come: {finished}");
    // Only what was missing was fetched.
    assert_eq!(share_of(&finished, &source), spec.bytes() - resumed, "{finished}");
    assert_eq!(bytes_received(&daemon) - received, spec.bytes() - resumed);
    assert_eq!(number(&finished, "refetched_bytes"), 0);
}

/// Numbers that look random, from a seed.
struct Dice(u64);

impl Dice {
    /// `LANSPREAD_SEED` repeats a run.
    fn cast(test: &str) -> Self {
        let seed = std::env::var("LANSPREAD_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = seed.unwrap_or(now.as_nanos() as u64);
        println!("{test}: LANSPREAD_SEED={seed}");
        Self(seed)
    }

    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

#[test]
fn a_daemon_that_is_killed_again_and_again_goes_on_each_time_with_what_it_had() {
    const KILLS: u64 = 5;
    // What may be under way when it is killed: that alone is fetched again.
    const BUFFERS: u64 = 2;
    let mut dice = Dice::cast("a_daemon_that_is_killed_again_and_again_goes_on_each_time_with_what_it_had");
    let spec = GameSpec::new("doom").file("doom.pak", 56 * CHUNK + 5).file("maps/one.pak", 3 * CHUNK).many(60, 20_000);
    let (source, home) = (Home::with(std::slice::from_ref(&spec)), Home::new());
    let a = Daemon::start(&source, &slow("12MB/s"));
    a.wait_hashed();
    // It is held in memory until the end.
    let sentinel = fs::metadata(source.game("doom").join("version.ini")).unwrap().len();
    let options = Options::local().set("limits.landing_buffers", &BUFFERS.to_string());
    let options = options.set("timers.progress_every", "20ms").set("timers.redial_min", "100ms");
    let begin = || {
        let b = Daemon::start(&home, &options);
        b.ok(json!({"cmd": "connect", "addr": a.addr.to_string()}));
        b.wait_peers(1);
        let mark = b.begin_download("doom");
        (b, mark)
    };
    let progress = |b: &Daemon, mark: usize| -> Vec<u64> {
        let events = b.since(mark).into_iter().filter(|record| record["event"] == "download-progress");
        events.map(|event| number(&event, "bytes")).collect()
    };
    // Bytes that came, in all lives so far; bytes that were said to be verified and written.
    let (mut received, mut had) = (0, 0);
    for life in 0..KILLS {
        // Little enough that it is never done too soon, although more comes until the kill.
        let until = dice.roll(7 * MIB);
        let (b, mark) = begin();
        received += eventually("so many bytes have come", 60, || {
            let came = bytes_received(&b);
            assert!(b.since(mark).iter().all(|record| record["event"] != "download-finished"), "over too soon");
            (came >= until).then_some(came)
        });
        let told = progress(&b, mark);
        b.kill();
        has_no_sentinel(&home);
        // What it found counts as there from the first report on.
        if let (Some(first), Some(last)) = (told.first(), told.last()) {
            assert!(first + sentinel >= had, "life {life} began with {first}, but {had} bytes were there");
            had = had.max(*last);
        }
    }
    assert!(received > 0 && had > 0, "it was killed in the midst of it: {received} {had}");
    let (b, mark) = begin();
    let finished = b.wait_download("doom", mark);
    assert_eq!(finished["event"], "download-finished", "{finished}");
    assert_same_tree(&source.game("doom"), &home.game("doom"));
    let (total, resumed) = (spec.bytes(), number(&finished, "resumed_bytes"));
    assert!(resumed + sentinel >= had, "{had} bytes were there: {finished}");
    let under_way = KILLS * (BUFFERS * CHUNK + sentinel);
    assert!(resumed + under_way >= received, "{received} bytes had come: {finished}");
    assert_eq!((bytes_received(&b), share_of(&finished, &a)), (total - resumed, total - resumed), "{finished}");
}

/// Writes over the second half of the game's archive at a source, as a program would that patches it there.
fn patch(home: &Home) {
    let mut file = fs::File::options().write(true).open(home.game("doom").join("doom.pak")).unwrap();
    let half = file.metadata().unwrap().len() / 2;
    file.seek(SeekFrom::Start(half)).unwrap();
    file.write_all(&vec![0x5a; half as usize]).unwrap();
}

#[test]
fn a_source_whose_file_changes_while_it_is_served_ends_the_download_and_announces_the_change() {
    let spec = GameSpec::new("doom").file("doom.pak", 24 * CHUNK);
    let (source, home) = (Home::with(std::slice::from_ref(&spec)), Home::new());
    let a = Daemon::start(&source, &slow("4MB/s"));
    a.wait_hashed();
    let daemon = Daemon::start(&home, &Options::local().set("timers.source_wait", "1s"));
    daemon.connect(&a);
    let old = daemon.games()["doom"]["content_hash"].clone();
    let mark = daemon.begin_download("doom");
    wait_bytes(&daemon, mark, 3 * MIB);
    patch(&source);
    let failed = daemon.wait_download("doom", mark);
    assert_eq!((&failed["event"], &failed["code"]), (&json!("download-failed"), &json!("source-changed")), "{failed}");
    has_no_sentinel(&home);
    assert!(bytes_received(&daemon) < spec.bytes(), "it ended half-way");
    daemon.wait_event_since(mark, "peer-library-changed", |event| event["peer_id"] == a.peer_id.as_str());
    eventually("the new content is announced", 60, || {
        let now = daemon.games()["doom"]["content_hash"].clone();
        (now.is_string() && now != old).then_some(())
    });
    assert!(daemon.events("download-source-banned").is_empty(), "a change is no lie");
    // The next download is wholly the new one, whatever came of the old one.
    let finished = daemon.download("doom");
    assert_same_tree(&source.game("doom"), &home.game("doom"));
    assert!(number(&finished, "resumed_bytes") >= CHUNK, "what did not change was kept: {finished}");
}

#[test]
fn a_source_whose_file_changes_is_left_for_one_that_still_has_the_game() {
    let spec = GameSpec::new("doom").file("doom.pak", 24 * CHUNK);
    let homes = [Home::with(std::slice::from_ref(&spec)), Home::with(std::slice::from_ref(&spec))];
    let sources: Vec<Daemon> = homes.iter().map(|home| Daemon::start(home, &slow("2MB/s"))).collect();
    sources.iter().for_each(Daemon::wait_hashed);
    let home = Home::new();
    let daemon = Daemon::start(&home, &Options::local());
    connect_all(&daemon, &sources);
    let mark = daemon.begin_download("doom");
    wait_bytes(&daemon, mark, 4 * MIB);
    patch(&homes[0]);
    daemon.wait_event_since(mark, "peer-library-changed", |event| event["peer_id"] == sources[0].peer_id.as_str());
    sources[1].ok(json!({"cmd": "set-limits", "max_upload": null}));
    let finished = daemon.wait_download("doom", mark);
    assert_eq!(finished["event"], "download-finished", "{finished}");
    assert_same_tree(&homes[1].game("doom"), &home.game("doom"));
    assert!(share_of(&finished, &sources[0]) >= CHUNK, "it had its part before: {finished}");
    assert!(share_of(&finished, &sources[1]) > spec.bytes() / 2, "the other one gave the rest: {finished}");
    assert_eq!(
        number(&finished, "refetched_bytes"),
        0,
        "the source noticed it before it sent anything else: {finished}"
    );
    assert!(daemon.events("download-source-banned").is_empty(), "a change is no lie");
}
