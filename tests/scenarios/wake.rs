//! A PC sleeps in the middle of a download, and wakes up.

use std::process::Command;
use std::time::Duration;

use crate::support::{CHUNK, Daemon, GameSpec, Home, Options, assert_same_tree};

fn signal(daemon: &Daemon, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &daemon.pid().to_string()]).status().unwrap().success());
}

#[test]
fn a_daemon_that_stood_still_goes_on_with_its_download() {
    let spec = GameSpec::new("doom").version("1").file("doom.pak", 24 * CHUNK + 7);
    let (home_a, home_b) = (Home::with(std::slice::from_ref(&spec)), Home::new());
    // Slow enough that the sleep falls into the download.
    let a = Daemon::start(&home_a, &Options::local().arg("--max-upload", "4MB/s").short_liveness());
    // Whoever is waited for longer than this is blamed; the sleep is longer.
    let options = Options::local().short_liveness().set("timers.sleep_least", "1s").set("timers.run_stall", "2s");
    let b = Daemon::start(&home_b, &options);
    a.wait_hashed();
    b.connect(&a);
    let mark = b.begin_download("doom");
    b.wait_event_since(mark, "download-progress", |event| event["bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    let gone = a.mark();
    signal(&b, "STOP");
    // So long that the other side gives it up.
    a.wait_event_since(gone, "peer-lost", |_| true);
    std::thread::sleep(Duration::from_secs(1));
    signal(&b, "CONT");
    let finished = b.wait_download("doom", mark);
    assert!(finished["duration_ms"].as_u64().is_some_and(|ms| ms > 2000), "it slept meanwhile: {finished}");
    let banned = b.since(mark).iter().filter(|record| record["event"] == "download-source-banned").count();
    assert_eq!(banned, 0);
    assert_same_tree(&home_a.game("doom"), &home_b.game("doom"));
}
