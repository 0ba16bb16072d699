//! What a download from several sources does to the queue in front of the one who downloads.

use std::process::Command;
use std::time::Duration;

use crate::support::{CHUNK, Daemon, GameSpec, Home, Lan, Options, assert_same_tree, available};

const SOURCES: usize = 4;

/// Bytes that wait in the queue of an interface.
fn backlog(netns: &str, interface: &str) -> u64 {
    let output =
        Command::new("tc").args(["-n", netns, "-s", "-j", "qdisc", "show", "dev", interface]).output().unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    shown[0]["backlog"].as_u64().unwrap()
}

/// The median of the bytes in the queue of a link of 80 Mbit/s while four sources fill it.
fn median_backlog(guard: bool) -> u64 {
    let lan = Lan::new();
    let spec = GameSpec::new("doom").version("1").file("doom.pak", 80 * CHUNK);
    let switch: &[&str] = if guard { &[] } else { &["env", "LANSPREAD_NO_PING_GUARD=1"] };
    let target = lan.host("target");
    let shape = "replace dev p1 root tbf rate 80mbit burst 20kb limit 4mb";
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
    b.wait_event_since(mark, "download-progress", |event| bytes_done(event) > 20 * CHUNK);
    let mut seen = Vec::new();
    while b.since(mark).iter().all(|event| bytes_done(event) < 65 * CHUNK) {
        seen.push(backlog(&lan.switch(), "p1"));
        std::thread::sleep(Duration::from_millis(20));
    }
    b.wait_download("doom", mark);
    assert_same_tree(&homes[0].game("doom"), &home.game("doom"));
    assert!(seen.len() >= 10, "the queue was looked at: {seen:?}");
    seen.sort_unstable();
    seen[seen.len() / 2]
}

#[test]
fn with_the_guard_the_queue_before_the_downloader_is_clearly_shorter() {
    if !available("with_the_guard_the_queue_before_the_downloader_is_clearly_shorter", &["netns"]) {
        return;
    }
    let (with, without) = (median_backlog(true), median_backlog(false));
    assert!(with * 3 < without * 2, "{with} bytes wait with the guard, {without} without it");
}
