//! What a download from several sources does to the queue in front of the one who downloads.

use std::process::Command;
use std::time::Duration;

use crate::support::{CHUNK, Daemon, GameSpec, Home, Lan, Options, assert_same_tree, available};

/// Few, and a slow link: two senders of 2.5 MB/s cost little of a processor, each sends more than what the guard leaves
/// alone (1 MB/s), and the queue is so long in time that a busy machine does not hide it.
const SOURCES: usize = 2;
const LINK_MBIT: u64 = 40;
const CHUNKS: u64 = 32;
/// Bytes that the link carries in the 2 ms of queueing that the guard leaves alone.
const LEFT_ALONE: u64 = LINK_MBIT * 1_000_000 / 8 / 500;
/// Pairs of downloads of which one must show it: what else runs on the machine may disturb some.
const ROUNDS: usize = 3;

/// What waited in a queue during a download, in bytes.
struct Queue {
    /// It was shorter in a tenth of the looks: where that is long, the queue stood all the time.
    tenth: u64,
    median: u64,
}

/// Bytes that wait in the queue of an interface.
fn backlog(netns: &str, interface: &str) -> u64 {
    let output =
        Command::new("tc").args(["-n", netns, "-s", "-j", "qdisc", "show", "dev", interface]).output().unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    shown[0]["backlog"].as_u64().unwrap()
}

/// The queue in front of the downloader's link while the sources fill it.
fn queue(guard: bool) -> Queue {
    let lan = Lan::new();
    let spec = GameSpec::new("doom").version("1").file("doom.pak", CHUNKS * CHUNK);
    let switch: &[&str] = if guard { &[] } else { &["env", "LANSPREAD_NO_PING_GUARD=1"] };
    let target = lan.host("target");
    let shape = format!("replace dev p1 root tbf rate {LINK_MBIT}mbit burst 20kb limit 4mb");
    let mut tc = Command::new("tc");
    tc.args(["-n", &lan.switch(), "qdisc"]).args(shape.split(' '));
    assert!(tc.status().unwrap().success());
    let homes: Vec<Home> = (0..SOURCES).map(|_| Home::with(std::slice::from_ref(&spec))).collect();
    let start =
        |(at, home): (usize, &Home)| Daemon::start(home, &Options::on(&lan.host(&at.to_string())).under(switch));
    let sources: Vec<Daemon> = homes.iter().enumerate().map(start).collect();
    sources.iter().for_each(Daemon::wait_hashed);
    let home = Home::new();
    let b = Daemon::start(&home, &Options::on(&target).under(switch));
    b.wait_peers(SOURCES);
    let mark = b.begin_download("doom");
    let bytes_done = |record: &serde_json::Value| match record["event"].as_str() {
        Some("download-progress") => record["bytes"].as_u64().unwrap_or(0),
        _ => 0,
    };
    b.wait_event_since(mark, "download-progress", |event| bytes_done(event) > CHUNKS / 4 * CHUNK);
    let mut seen = Vec::new();
    // A busy machine may report nothing between less than this and the end.
    let goes_on = |record: &serde_json::Value| {
        let is_over = record["event"] == "download-finished" || record["event"] == "download-failed";
        !is_over && bytes_done(record) < CHUNKS * 3 / 4 * CHUNK
    };
    while b.since(mark).iter().all(goes_on) {
        seen.push(backlog(&lan.switch(), "p1"));
        std::thread::sleep(Duration::from_millis(20));
    }
    b.wait_download("doom", mark);
    assert_same_tree(&homes[0].game("doom"), &home.game("doom"));
    assert!(seen.len() >= 10, "the queue was looked at: {seen:?}");
    seen.sort_unstable();
    Queue { tenth: seen[seen.len() / 10], median: seen[seen.len() / 2] }
}

#[test]
fn with_the_guard_the_queue_before_the_downloader_is_clearly_shorter() {
    if !available("with_the_guard_the_queue_before_the_downloader_is_clearly_shorter", &["netns"]) {
        return;
    }
    let (mut stood, mut told) = (false, Vec::new());
    for _ in 0..ROUNDS {
        let (with, without) = (queue(true), queue(false));
        told.push(format!("{} with it, {} without (a tenth below {})", with.median, without.median, without.tenth));
        // Only where a queue stands without the guard can the guard shorten it.
        if without.tenth > 2 * LEFT_ALONE {
            stood = true;
            if with.median * 3 < without.median * 2 {
                return;
            }
        }
    }
    assert!(stood, "no queue stood without the guard, so that nothing is shown; bytes that wait: {told:#?}");
    panic!("the queue is not clearly shorter with the guard; bytes that wait: {told:#?}");
}
