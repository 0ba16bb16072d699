//! `lanspread bench` with sizes that are too small to say anything about speed: it must come to its end, tidy up, and say what
//! it promises.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use lanspread_peer::types::CHUNK_SIZE;
use serde_json::Value;

/// Several chunks in each file.
const SIZE: u64 = 6 * CHUNK_SIZE;

fn bench(args: &[&str]) -> Command {
    let program = std::env::var_os("LANSPREAD_BIN").unwrap_or_else(|| OsString::from(env!("CARGO_BIN_EXE_lanspread")));
    let mut command = Command::new(program);
    command.args(["bench", "--size", &SIZE.to_string()]).args(args);
    command
}

fn json(command: &mut Command) -> Value {
    let out = command.arg("--json").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stdout)))
}

fn assert_spread(of: &Value) {
    let [min, median, max] = ["min", "median", "max"].map(|name| of[name].as_f64().unwrap_or(0.0));
    assert!(0.0 < min && min <= median && median <= max, "{of}");
}

fn assert_transfer(found: &Value, sender_is_known: bool) {
    assert_spread(&found["mib_per_s"]);
    assert!(found["rounds"].as_u64().unwrap() >= 3, "{found}");
    assert!(found["bytes"].as_u64().unwrap() > SIZE, "the sentinel is moved as well: {found}");
    assert!(found["in_memory"].is_boolean() && found["seconds"].as_f64().unwrap() > 0.0, "{found}");
    let mut sides = vec!["receiver"];
    if sender_is_known {
        sides.push("sender");
    } else {
        assert!(found["sender"].is_null(), "{found}");
    }
    for side in sides {
        let of = &found[side];
        for key in ["wakeups", "packets_sent", "packets_received", "packets_per_send_call", "packets_per_receive_call"]
        {
            assert!(of[key].as_f64().is_some_and(|value| value > 0.0), "{key} of the {side}: {found}");
        }
        for key in ["cpu_seconds_per_gib", "reactor_busy"] {
            let told = of[key].as_f64().is_some_and(|value| value > 0.0);
            assert!(told || !cfg!(target_os = "linux"), "{key} of the {side}: {found}");
        }
        assert_eq!(of["stalled_seconds"].as_object().map(|causes| causes.len()), Some(4), "{found}");
    }
    if sender_is_known {
        assert!(found["rtt_ms"].as_f64().unwrap() > 0.0 && found["packets_lost"].is_number(), "{found}");
        // Each of the rounds moves all of it: what left here before is not counted twice, and nothing is kept.
        let least = found["rounds"].as_f64().unwrap() * SIZE as f64 / 65_536.0;
        assert!(found["sender"]["packets_sent"].as_f64().unwrap() >= least, "{found}");
    }
    assert!(found["ack_packets"].as_f64().unwrap() > 0.0, "{found}");
    for key in ["what", "reason"] {
        assert!(found["bottleneck"][key].as_str().is_some_and(|text| !text.is_empty()), "{found}");
    }
}

#[test]
fn everything_is_measured_and_nothing_stays_behind() {
    let dir = tempfile::tempdir().unwrap();
    let found = json(bench(&["all", "--duration", "10ms", "--dir"]).arg(dir.path()));
    assert_eq!(found["size_bytes"], SIZE);
    assert!(found["cores"].as_u64().unwrap() > 0);
    let hashes = found["hash"]["results"].as_array().unwrap();
    let names: Vec<&str> = hashes.iter().map(|row| row["hash"].as_str().unwrap()).collect();
    assert_eq!(names, ["blake3", "blake3", "xxh3-128", "sha-256"]);
    hashes.iter().for_each(|row| assert_spread(&row["mib_per_s"]));
    assert_transfer(&found["net"], true);
    assert_transfer(&found["disk"], true);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn another_process_is_fetched_from_while_it_serves() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = bench(&["serve", "--json", "--listen", "127.0.0.1:0", "--dir"]);
    let mut serving = command.arg(dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(serving.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
    let addr = ready["listen_addrs"][0].as_str().unwrap().to_owned();

    let found = json(&mut bench(&["net", "--duration", "10ms", "--peer", &addr]));
    assert_transfer(&found["net"], false);
    let out = bench(&["net", "--duration", "10ms", "--peer", &addr]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("MiB/s") && text.contains("bottleneck: "), "{text}");

    // It ends with its input, and takes its files with it.
    drop(serving.stdin.take());
    assert!(serving.wait().unwrap().success());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let out = bench(&["hash", "--peer", &addr]).output().unwrap();
    assert_eq!(out.status.code(), Some(1), "a peer is of no use to hash");
}
