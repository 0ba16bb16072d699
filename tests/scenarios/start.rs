//! Start, end, and the door itself.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Daemon, GameSpec, Home, Options, eventually};

#[test]
fn a_daemon_starts_with_its_library_and_lists_it() {
    let installed = GameSpec::small("installed");
    let half = GameSpec::small("half").without_sentinel();
    let plain = GameSpec::small("plain").version("2.1");
    let home = Home::with(&[installed.clone(), half.clone(), plain.clone()]);
    home.brought("installed");
    fs::create_dir(home.game("installed").join("local")).unwrap();
    fs::write(home.game("installed").join("local/save.dat"), "mine").unwrap();

    let daemon = Daemon::start(&home, &Options::local());
    let library = daemon.wait_event("local-library-changed");
    assert_eq!(library["games"], 3);

    let rows = daemon.games();
    let field = |id: &str, field: &str| rows[id][field].clone();
    assert_eq!(rows.keys().collect::<Vec<_>>(), ["half", "installed", "plain"]);
    assert_eq!((field("plain", "downloaded"), field("plain", "installed")), (json!(true), json!(false)));
    assert_eq!((field("installed", "downloaded"), field("installed", "installed")), (json!(true), json!(true)));
    assert_eq!((field("half", "downloaded"), field("half", "installed")), (json!(false), json!(false)));
    assert_eq!(field("plain", "version"), "2.1");
    assert_eq!(field("half", "version"), Value::Null);
    // What is in local/ counts for nothing.
    assert_eq!(field("installed", "size"), installed.bytes());
    assert_eq!(field("plain", "size"), plain.bytes());

    let status = daemon.status();
    assert_eq!(status["peer_id"], daemon.peer_id.as_str());
    assert_eq!(status["library_epoch"], library["epoch"]);
    assert_eq!(status["games"], 3);
    assert_eq!(status["watch"], "watching");
    daemon.stop();
}

#[test]
fn identity_and_library_survive_a_restart_unchanged() {
    let home = Home::with(&[GameSpec::small("doom")]);
    let first = Daemon::start(&home, &Options::local());
    first.wait_hashed();
    let before = first.status();
    first.stop();
    let second = Daemon::start(&home, &Options::local());
    let after = second.status();
    for field in ["peer_id", "library_epoch", "library_rev", "library_digest"] {
        assert_eq!(before[field], after[field], "{field}");
    }
}

#[test]
fn a_second_daemon_on_the_same_directories_is_refused_in_words() {
    let home = Home::with(&[GameSpec::small("doom")]);
    let first = Daemon::start(&home, &Options::local());
    let another_state = home.path().join("state-of-another");
    for (games, state) in [(home.games(), another_state), (home.path().to_owned(), home.state())] {
        let (event, said) = refused_start(&games, &state);
        assert!(said.contains(&first.pid().to_string()), "it names the process that holds the directory: {said}");
        assert!(said.contains("directory"), "{said}");
        if games == home.games() {
            assert!(said.contains(games.to_str().unwrap()) && said.contains("--game-dir"), "what to do: {said}");
            assert_eq!(event.unwrap()["code"], "in-use");
        }
    }
    assert_eq!(first.status()["games"], 1);
}

#[test]
fn a_game_directory_that_cannot_be_used_is_named_with_what_to_do() {
    let home = Home::new();
    let (missing, file) = (home.path().join("nowhere"), home.path().join("a-file"));
    fs::write(&file, "not a directory").unwrap();
    for games in [missing, file] {
        let (event, said) = refused_start(&games, &home.state());
        assert!(said.contains(games.to_str().unwrap()) && said.contains("--game-dir"), "{said}");
        assert!(said.contains("--create"), "{said}");
        assert_eq!(event.unwrap()["code"], "io");
    }
}

#[test]
fn a_first_run_needs_no_arguments() {
    let home = Home::new();
    let binary = || {
        let binary = crate::support::binary();
        let mut command = std::process::Command::new(binary);
        command.env("HOME", home.path()).env_remove("XDG_STATE_HOME").stdin(std::process::Stdio::null());
        command
    };
    let output = binary().output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.lines().count() == 3 && said.contains("lanspread run"), "{said}");
    // The end of its stdin ends it.
    let run = |more: &[&str]| {
        let output =
            binary().args(["run", "--jsonl", "--no-mdns", "--listen", "127.0.0.1:0"]).args(more).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let games = home.path().join("Games/lanspread");
    for made in [true, false] {
        let (code, said) = run(&[]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(games.to_str().unwrap()) && said.contains("(made now)") == made, "{said}");
        assert!(games.is_dir());
    }
    let named = home.path().join("of my own");
    let (code, said) = run(&["--create", "--game-dir", named.to_str().unwrap()]);
    assert!(code == Some(0) && named.is_dir(), "{said}");
}

/// Starts a daemon that must end by itself, as one that could not start. Its event, if it came to that, and what it said on
/// stderr.
fn refused_start(games: &Path, state: &Path) -> (Option<Value>, String) {
    let binary = crate::support::binary();
    let mut child = std::process::Command::new(binary)
        .args(["run", "--jsonl", "--no-mdns", "--listen", "127.0.0.1:0", "--game-dir"])
        .args([games, "--state-dir".as_ref(), state])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Its stdin stays open.
    let stdin = child.stdin.take();
    eventually("the daemon gives up", 20, || child.try_wait().unwrap());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    let last = said.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("lanspread: "), "the reason comes last: {said}");
    let events: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (events.into_iter().find(|record| record["event"] == "runtime-error"), last)
}

#[test]
fn garbage_on_stdin_is_answered_and_the_daemon_goes_on() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &Options::local());
    let answer = |line: &str| {
        let mark = daemon.mark();
        daemon.line(line);
        daemon.wait_record(mark, line, 10, |record| record["type"] == "error")
    };
    assert_eq!(answer("this is not JSON")["code"], "bad-json");
    assert_eq!(answer("")["code"], "bad-json");
    assert_eq!(answer(&"x".repeat(200_000))["code"], "bad-json");
    let unknown = answer(r#"{"id":"any id","cmd":"make-coffee"}"#);
    assert_eq!((unknown["code"].as_str(), unknown["id"].as_str()), (Some("unknown-command"), Some("any id")));
    assert_eq!(answer(r#"{"id":7,"cmd":"download"}"#)["code"], "bad-argument");
    assert_eq!(answer(r#"{"id":8,"cmd":"download","game":"../etc"}"#)["code"], "bad-argument");
    assert_eq!(answer(r#"{"id":9,"cmd":"download","game":"local"}"#)["code"], "bad-argument");
    // What a pipe of PowerShell puts in front is no garbage.
    let mark = daemon.mark();
    daemon.line("\u{feff}{\"id\":10,\"cmd\":\"status\"}\r");
    daemon.wait_record(mark, "the answer", 10, |record| record["type"] == "result" && record["id"] == 10);
    assert_eq!(daemon.refused(json!({"cmd": "download", "game": "nobody-has-it"})), "unknown-game");
    assert_eq!(daemon.refused(json!({"cmd": "connect", "addr": "nonsense"})), "bad-argument");
    assert_eq!(daemon.refused(json!({"cmd": "connect", "addr": daemon.addr.to_string()})), "self-connect");
    assert_eq!(daemon.refused(json!({"cmd": "wait-peers", "count": 1, "timeout_ms": 200})), "timeout");
    assert_eq!(daemon.status()["peers_connected"], 0);
    daemon.stop();
}

#[test]
fn sigterm_and_the_shutdown_command_end_it_cleanly() {
    let home = Home::new();
    let mut daemon = Daemon::start(&home, &Options::local());
    // SAFETY: a plain system call on the process that was just started and not yet waited for.
    assert_eq!(unsafe { libc::kill(daemon.pid() as i32, libc::SIGTERM) }, 0);
    assert!(daemon.wait_exit().success());

    let mut daemon = Daemon::start(&home, &Options::local());
    daemon.ok(json!({"cmd": "shutdown"}));
    assert!(daemon.wait_exit().success());
}
