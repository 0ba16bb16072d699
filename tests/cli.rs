//! The command line as a person uses it, against real daemons on this machine: answers for people and for programs,
//! progress, exit codes, Ctrl-C.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and sets its stage with plain file calls"
)]
#![allow(dead_code, unused_imports, reason = "the support is shared with the scenarios")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::{CHUNK, Daemon, GameSpec, Home, Options, assert_same_tree, binary, clean, eventually};

/// A daemon that has games, and one beside it that knows them.
struct Pair {
    source: Daemon,
    source_home: Home,
    daemon: Daemon,
    home: Home,
}

impl Pair {
    fn start(games: &[GameSpec]) -> Self {
        let (source_home, home) = (Home::with(games), Home::new());
        let options = |name: &str| Options::local().arg("--hostname", name);
        let source = Daemon::start(&source_home, &options("the-source"));
        source.wait_hashed();
        let daemon = Daemon::start(&home, &options("here"));
        daemon.connect(&source);
        eventually("all games are offered", 30, || {
            let rows = daemon.games();
            (rows.len() == games.len() && rows.values().all(|row| row["sources"][0].is_string())).then_some(())
        });
        Self { source, source_home, daemon, home }
    }

    fn cli(&self, args: &[&str]) -> Output {
        cli(&self.home.state(), args)
    }

    /// It must end with this exit code. Returns stdout and stderr.
    fn ends(&self, exit: i32, args: &[&str]) -> (String, String) {
        ends(&self.home.state(), exit, args)
    }

    /// The same with `--json`: what stdout has.
    fn json(&self, exit: i32, args: &[&str]) -> Vec<Value> {
        lines(&self.ends(exit, &[args, &["--json"]].concat()).0)
    }

    /// Nothing comes from the source until it may go on.
    fn freeze(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.source.pid() as i32).unwrap(), signal).unwrap();
    }

    /// Starts `download doom` while the source is frozen, and waits until it has begun.
    fn begin_download(&self, more: &[&str]) -> (Child, BufReader<std::process::ChildStdout>) {
        self.freeze(Signal::STOP);
        let mut child = command(&self.home.state(), &[&["download", "doom"], more].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.contains("doom"), "{line}");
        (child, stdout)
    }
}

fn command(state: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    clean(&mut command).args(args).arg("--state-dir").arg(state).stdin(Stdio::null());
    command
}

fn cli(state: &Path, args: &[&str]) -> Output {
    command(state, args).output().unwrap()
}

fn ends(state: &Path, exit: i32, args: &[&str]) -> (String, String) {
    support::ends(&mut command(state, args), exit, &[])
}

/// One JSON value for each line.
fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn assert_plain(text: &str) {
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
}

#[test]
fn questions_are_answered_for_people_and_for_programs() {
    let pair = Pair::start(&[GameSpec::small("doom")]);
    for (args, words) in [
        (&["status"][..], &["game directory", "running", "nothing"][..]),
        (&["peers"], &["the-source", "connected", "loopback", " ms "]),
        (&["games"], &["doom", "available"]),
        (&["metrics"], &["landing buffers", "0 of 24", "packets sent", "fsync of directory", "calls", "longest"]),
        (&["get", "doom"], &["data.pak", "extra/readme.txt", "3 files"]),
        (&["connect", &pair.source.addr.to_string()], &["connected to", &pair.source.peer_id]),
    ] {
        let (out, err) = pair.ends(0, args);
        assert_plain(&out);
        assert!(words.iter().all(|word| out.contains(word)) && err.is_empty(), "{args:?}: {out}{err}");
        assert_eq!(pair.json(0, args).len(), 1, "{args:?}");
    }
    let rows = &pair.json(0, &["games"])[0]["games"];
    assert_eq!(rows[0], pair.daemon.games()["doom"], "the same as over the other door");
    // A reader that has enough ends nothing with an error.
    let mut child = command(&pair.home.state(), &["games"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_refusal_says_why_and_what_to_do_and_ends_with_one() {
    let pair = Pair::start(&[GameSpec::small("doom")]);
    let own = pair.daemon.addr.to_string();
    for (args, code, words) in [
        (&["download", "heretic"][..], "unknown-game", "lanspread games"),
        (&["get", "heretic"], "unknown-game", "heretic"),
        (&["install", "doom"], "not-downloaded", "lanspread download doom"),
        (&["verify", "doom"], "not-downloaded", "lanspread download doom"),
        (&["install", "doom", "--no-wait"], "not-downloaded", "lanspread download doom"),
        (&["uninstall", "doom"], "not-installed", "doom is not installed"),
        (&["adopt", "doom"], "not-installed", "doom is not installed"),
        (&["remove", "doom"], "not-downloaded", "doom is not downloaded"),
        (&["cancel", "doom"], "bad-argument", "nothing runs on doom"),
        (&["connect", &own], "self-connect", "own"),
    ] {
        let (out, err) = pair.ends(1, args);
        assert!(out.is_empty() && err.starts_with("lanspread: ") && err.contains(words), "{args:?}: {out}{err}");
        let answer = &pair.json(1, args)[0];
        assert_eq!(answer["code"], code, "{args:?}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(words), "{args:?}: {answer}");
    }
    // Wrong usage is told from refusals before any daemon is asked.
    for args in [&["download"][..], &["download", "../etc"], &["connect", "nowhere"], &["games", "--jsn"], &["fly"]] {
        let (out, err) = pair.ends(2, args);
        assert!(out.is_empty() && err.contains("--help"), "{args:?}: {err}");
    }
    // Script after script that is refused leaves the door open for the next.
    for _ in 0..40 {
        let (_, err) = pair.ends(1, &["install", "doom"]);
        assert!(err.contains("doom is not downloaded"), "{err}");
    }
}

#[test]
fn without_a_daemon_it_ends_with_four_and_says_how_to_start_one() {
    let nowhere = tempfile::tempdir().unwrap();
    for args in [&["games"][..], &["download", "doom"], &["cancel", "doom"]] {
        let (out, err) = ends(nowhere.path(), 4, args);
        assert!(out.is_empty() && err.contains("lanspread run") && err.contains("no control.json"), "{err}");
        let (out, _) = ends(nowhere.path(), 4, &[args, &["--json"]].concat());
        assert_eq!(lines(&out)[0]["code"], "not-running");
    }
    let home = Home::new();
    let daemon = Daemon::start(&home, &Options::local());
    let path = home.state().join("control.json");
    let control = fs::read_to_string(&path).unwrap();
    let token = lines(&control.replace('\n', ""))[0]["token"].as_str().unwrap().to_owned();
    // Another token: whoever listens there, this file is not about it.
    fs::write(&path, control.replace(&token, &"0".repeat(token.len()))).unwrap();
    let (_, err) = ends(&home.state(), 4, &["status"]);
    assert!(err.contains("another program listens") && !err.contains("0000"), "{err}");
    // A file that is none.
    for bad in ["garbage", "{}", &control.replace("127.0.0.1", "192.0.2.1")] {
        fs::write(&path, bad).unwrap();
        let (_, err) = ends(&home.state(), 1, &["status"]);
        assert!(err.contains("cannot read") && err.contains("control.json"), "{err}");
    }
    // Killed: its file stays.
    fs::write(&path, &control).unwrap();
    ends(&home.state(), 0, &["status"]);
    daemon.kill();
    let (_, err) = ends(&home.state(), 4, &["status"]);
    assert!(err.contains("nobody listens") && err.contains(home.state().to_str().unwrap()), "{err}");
}

#[test]
fn a_download_is_shown_in_lines_when_nobody_sits_there() {
    let doom = GameSpec::new("doom").file("data.pak", 20 * CHUNK);
    let pair = Pair::start(&[doom, GameSpec::small("quake"), GameSpec::small("hexen")]);
    let (out, err) = pair.ends(0, &["download", "doom"]);
    let shown: Vec<&str> = out.lines().collect();
    let [begins, verified, installed] = shown[..] else { panic!("{out}") };
    assert_eq!((begins, installed), ("doom: the download begins", "doom: installed"));
    assert!(verified.starts_with("doom: downloaded and verified, 20.0 MiB in"), "{out}");
    assert!(err.contains("doom: 20.0 MiB from 1 source(s)"), "{err}");
    assert_plain(&out);
    assert_plain(&err);
    assert_same_tree(&pair.source_home.game("doom"), &pair.home.game("doom"));

    let events = pair.json(0, &["download", "quake", "--no-install"]);
    assert_eq!(events.first().unwrap()["queued"], false);
    assert_eq!(events.last().unwrap()["event"], "download-finished");
    assert!(events.iter().skip(1).all(|event| event["game"] == "quake"), "{events:?}");
    assert!(!pair.home.game("quake").join("local").exists());

    assert_eq!(pair.ends(0, &["download", "hexen", "--no-wait"]).0, "hexen: the download begins\n");
    eventually("it arrives and is installed", 30, || (pair.daemon.games()["hexen"]["installed"] == true).then_some(()));
}

#[test]
fn a_downloaded_game_is_installed_verified_and_removed_step_by_step() {
    let pair = Pair::start(&[GameSpec::small("doom")]);
    pair.ends(0, &["download", "doom", "--no-install"]);
    // In words.
    for (command, first, last) in [
        ("verify", "doom: the verification begins", "chunks are good"),
        ("install", "doom: the installation begins", "doom: installed"),
        ("uninstall", "doom: the removal of the installation begins", "doom: uninstalled"),
        ("remove", "doom: the removal of the files begins", "doom: the downloaded files are gone"),
    ] {
        let (out, _) = pair.ends(0, &[command, "doom"]);
        assert!(out.starts_with(first) && out.trim_end().ends_with(last), "{command}: {out}");
    }
    // As JSON: the answer, then the events up to the last.
    pair.ends(0, &["download", "doom", "--no-install"]);
    for command in ["verify", "install", "uninstall", "remove"] {
        if command == "uninstall" {
            assert_eq!(pair.json(1, &["install", "doom"])[0]["code"], "already-installed");
            assert_eq!(pair.json(1, &["remove", "doom"])[0]["code"], "in-use");
        }
        let told = pair.json(0, &[command, "doom"]);
        assert_eq!(told[0], json!({"game": "doom", "queued": false}), "{command}");
        assert_eq!(told.last().unwrap()["event"], format!("{command}-finished"), "{told:?}");
        assert!(told.iter().all(|line| line["game"] == "doom"), "{told:?}");
    }
    assert!(!pair.home.game("doom").exists());

    // Damage is a failure, and the way out is told.
    pair.ends(0, &["download", "doom", "--no-install"]);
    let path = pair.home.game("doom").join("data.pak");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[CHUNK as usize + 3] ^= 1;
    fs::write(&path, bytes).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    let (_, err) = pair.ends(1, &["verify", "doom"]);
    assert!(err.contains("doom: 1 of") && err.contains("lanspread verify doom --repair"), "{err}");
    pair.ends(0, &["download", "doom", "--no-install"]);
    assert_same_tree(&pair.source_home.game("doom"), &pair.home.game("doom"));
}

#[test]
fn damage_is_found_and_repaired_from_the_command_line() {
    let pair = Pair::start(&[GameSpec::new("doom").version("1").file("doom.pak", 3 * CHUNK)]);
    pair.ends(0, &["download", "doom", "--no-install"]);
    let file = pair.home.game("doom").join("doom.pak");
    let mut bytes = fs::read(&file).unwrap();
    bytes[CHUNK as usize + 5] ^= 1;
    fs::write(&file, bytes).unwrap();
    let (out, err) = pair.ends(0, &["verify", "doom", "--repair"]);
    assert!(err.contains("doom: 1 of 4 chunks are damaged and are fetched again"), "{err}");
    assert!(out.contains("doom: downloaded and verified"), "{out}");
    // By its time somebody wrote to it, so that it may be his.
    assert!(out.contains("your own doom.pak is now doom.pak.mine"), "{out}");
    fs::remove_file(file.with_extension("pak.mine")).unwrap();
    assert_same_tree(&pair.source_home.game("doom"), &pair.home.game("doom"));
    let (out, _) = pair.ends(0, &["verify", "doom", "--repair"]);
    assert!(out.ends_with("doom: all 4 chunks are good\n"), "{out}");
}

#[test]
fn limits_pauses_and_blocks_are_set_and_seen() {
    let pair = Pair::start(&[GameSpec::small("doom")]);
    assert_eq!(pair.ends(0, &["limits"]).0, "upload unlimited, download unlimited\n");
    pair.ends(2, &["limits", "--max-upload", "fast"]);
    assert_eq!(
        pair.json(0, &["limits", "--max-upload", "8Mbit/s"]),
        [json!({"max_upload": 1_000_000, "max_download": null})]
    );
    assert_eq!(
        pair.json(0, &["limits", "--max-upload", "unlimited"]),
        [json!({"max_upload": null, "max_download": null})]
    );
    let (why, _) = pair.ends(0, &["why", "doom"]);
    assert_eq!(why, "doom: it is not being downloaded; it can be had from 1 source(s)\n");
    pair.ends(0, &["pause"]);
    assert!(pair.ends(0, &["status"]).0.contains("transfers are paused"));
    pair.daemon.begin_download("doom");
    let why = eventually("why it waits", 20, || {
        let (why, _) = pair.ends(0, &["why", "doom"]);
        why.contains(": paused: ").then_some(why)
    });
    assert!(why.starts_with("doom: all transfers are stopped until `resume`\n  "), "{why}");
    let [answer] = &pair.json(0, &["why", "doom"])[..] else { panic!() };
    assert_eq!((&answer["state"], &answer["sources"][0]["state"]), (&json!("fetching"), &json!("paused")));
    pair.ends(0, &["cancel", "doom"]);
    let (_, err) = pair.ends(1, &["why", "no-such-game"]);
    assert!(err.contains("no-such-game"), "{err}");
    pair.ends(0, &["resume"]);
    assert!(!pair.ends(0, &["status"]).0.contains("paused"));
    let (_, err) = pair.ends(1, &["prioritise", "doom"]);
    assert!(err.contains("no download of doom waits"), "{err}");
    let peer = pair.source.peer_id.clone();
    pair.ends(0, &["block", &peer]);
    assert_eq!(pair.daemon.status()["peers_blocked"], json!([peer]));
    pair.ends(0, &["unblock", &peer]);
    let (_, err) = pair.ends(1, &["unblock", &peer]);
    assert!(err.contains("is not blocked"), "{err}");
}

#[test]
fn a_game_is_started_by_the_program_that_its_user_chose() {
    let pair = Pair::start(&[GameSpec::small("doom")]);
    let (_, stderr) = pair.ends(1, &["play", "doom"]);
    assert!(stderr.contains("not installed") && stderr.contains("lanspread download doom"), "{stderr}");
    pair.ends(0, &["download", "doom"]);
    let local = pair.home.game("doom").join("local");
    let (_, stderr) = pair.ends(1, &["play", "doom"]);
    assert!(stderr.contains("can be started"), "{stderr}");
    for name in ["easy.sh", "hard.sh"] {
        fs::write(local.join(name), "#!/bin/sh\necho \"$0\" > started.part && mv started.part started\n").unwrap();
    }
    let (stdout, _) = pair.ends(0, &["programs", "doom"]);
    assert_eq!(stdout, "easy.sh\nhard.sh\n");
    let (_, stderr) = pair.ends(1, &["play", "doom"]);
    assert!(stderr.contains("lanspread programs doom"), "{stderr}");
    let (_, stderr) = pair.ends(2, &["play", "doom", "--program", "../evil.sh"]);
    assert!(stderr.contains(".."), "{stderr}");
    let (_, stderr) = pair.ends(1, &["play", "doom", "--program", "missing.sh"]);
    assert!(stderr.contains("missing.sh"), "{stderr}");
    let started = local.join("started");
    for args in [&["play", "doom", "--program", "hard.sh"][..], &["play", "doom"]] {
        assert_eq!(pair.ends(0, args).0, "doom: hard.sh runs\n");
        let by = eventually_read(&started);
        assert!(by.contains("hard.sh"), "{by}");
        fs::remove_file(&started).unwrap();
    }
    assert!(pair.ends(0, &["programs", "doom"]).0.contains("hard.sh  (chosen)"));
}

fn eventually_read(path: &Path) -> String {
    let mut text = None;
    eventually("a program wrote its file", 30, || {
        text = fs::read_to_string(path).ok();
        text.as_ref().map(|_| ())
    });
    text.unwrap()
}

#[test]
fn the_address_of_the_page_works_once_and_stop_is_a_clean_end() {
    let mut pair = Pair::start(&[]);
    let (stdout, _) = pair.ends(0, &["open", "--print"]);
    let url = stdout.trim().to_owned();
    let agent =
        ureq::Agent::config_builder().max_redirects(0).http_status_as_error(false).proxy(None).build().new_agent();
    let cookie = |url: &str| {
        let answer = agent.get(url).call().unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["Location"].to_str().unwrap()), (303, "/"));
        answer.headers().get("Set-Cookie").map(|cookie| cookie.to_str().unwrap().to_owned())
    };
    let set = cookie(&url).expect("a cookie");
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict"), "{set}");
    assert_eq!(cookie(&url), None, "it works once");
    let door = url.split("/?").next().unwrap();
    let status = |cookie: &str, site: &str| {
        let call = agent.get(format!("{door}/api/v1/status")).header("Cookie", cookie).header("Sec-Fetch-Site", site);
        call.call().unwrap().status().as_u16()
    };
    let good = set.split(';').next().unwrap();
    assert_eq!((status(good, "same-origin"), status("lanspread-1=2.3", "same-origin")), (200, 401));
    // A page of another port is of the same site, and the browser sends the cookie along.
    assert_eq!((status(good, "same-site"), status(good, "cross-site")), (403, 403));
    let page = agent.get(format!("{door}/")).call().unwrap();
    assert!(page.headers()["Content-Security-Policy"].to_str().unwrap().starts_with("default-src 'none'"));
    // Whoever came in by the cookie cannot let others in.
    let more = agent.post(format!("{door}/api/v1/page")).header("Cookie", set.split(';').next().unwrap());
    assert_eq!(more.header("Origin", door).send_empty().unwrap().status().as_u16(), 401);

    assert_eq!(pair.ends(0, &["stop"]).0, "it has stopped\n");
    assert!(pair.daemon.wait_exit().success(), "it was asked to");
    assert!(pair.ends(4, &["stop"]).1.contains("no daemon runs"));
    assert_eq!(pair.ends(4, &["open", "--print"]).0, "");
}

#[test]
fn ctrl_c_leaves_the_download_running_and_it_can_be_followed_again() {
    let pair = Pair::start(&[GameSpec::new("doom").file("data.pak", 3 * CHUNK)]);
    let (child, _out) = pair.begin_download(&[]);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("goes on") && err.contains("lanspread cancel doom"), "{err}");
    assert_eq!(pair.daemon.status()["operations"][0]["game"], "doom", "it still runs");
    assert_eq!(pair.json(1, &["install", "doom"])[0]["code"], "operation-in-progress");

    // Asked for once more, it is followed to its end.
    let mut child = command(&pair.home.state(), &["download", "doom"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    err.read_line(&mut line).unwrap();
    assert_eq!(line, "doom: is being downloaded already\n");
    pair.freeze(Signal::CONT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("downloaded and verified"));
}

#[test]
fn cancel_ends_what_somebody_follows_and_leaves_nothing() {
    let pair = Pair::start(&[GameSpec::new("doom").file("data.pak", 3 * CHUNK)]);
    for json in [false, true] {
        let more: &[&str] = if json { &["--json"] } else { &[] };
        let (child, mut out) = pair.begin_download(more);
        assert_eq!(pair.ends(0, &["cancel", "doom"]).0, "doom: is being cancelled\n");
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("cancelled"));
        if json {
            let mut rest = String::new();
            std::io::Read::read_to_string(&mut out, &mut rest).unwrap();
            let told = lines(&rest);
            assert_eq!(told.last().unwrap()["code"], "cancelled", "{told:?}");
        }
        assert!(!pair.home.game("doom").exists());
        assert!(pair.daemon.status()["operations"].as_array().unwrap().is_empty());
        pair.freeze(Signal::CONT);
        pair.daemon.wait_peers(1);
    }
}

#[test]
fn a_daemon_that_stops_ends_those_who_follow_it() {
    let Pair { source, daemon, home, source_home } = Pair::start(&[GameSpec::new("doom").file("data.pak", 3 * CHUNK)]);
    let pair = Pair { source, daemon, home, source_home };
    let (child, _out) = pair.begin_download(&[]);
    pair.daemon.ok(json!({"cmd": "shutdown"}));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("doom") || err.contains("does not answer"), "{err}");
    pair.freeze(Signal::CONT);
}

#[test]
fn a_terminal_shows_a_bar_and_is_left_clean() {
    let pair = Pair::start(&[GameSpec::new("doom").file("data.pak", 3 * CHUNK)]);
    // util-linux: runs a command on a terminal of its own.
    let line = format!("{} download doom --state-dir {}", binary(), pair.home.state().display());
    let mut command = Command::new("script");
    let output = clean(&mut command).args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains('\u{1b}') && shown.contains(" % "), "a bar: {shown:?}");
    assert!(shown.contains("downloaded and verified") && shown.contains("doom: installed"), "{shown:?}");
}

#[test]
fn an_output_that_takes_nothing_ends_every_command_in_words_and_never_in_a_panic() {
    let home = Home::with(&[GameSpec::small("doom")]);
    let daemon = Daemon::start(&home, &Options::local());
    daemon.wait_hashed();
    let catalog = home.path().join("catalog.json");
    fs::write(&catalog, r#"{"format":1,"games":[{"id":"doom","name":"Doom","version":"1"}]}"#).unwrap();
    let (catalog, key) = (catalog.to_str().unwrap(), home.path().join("key.pem"));
    let with_daemon: [&[&str]; 8] = [
        &["status"],
        &["metrics"],
        &["peers"],
        &["games"],
        &["games", "--json"],
        &["limits"],
        &["verify", "doom"],
        &["status", "--json"],
    ];
    let alone: [&[&str]; 5] = [
        &[],
        &["version"],
        &["catalog", "show", catalog],
        &["catalog", "check", catalog],
        &["catalog", "keygen", "--out", key.to_str().unwrap()],
    ];
    let commands = with_daemon.iter().map(|args| (args, true)).chain(alone.iter().map(|args| (args, false)));
    for (args, needs_daemon) in commands {
        let run = |stdout: Stdio, stderr: Stdio| {
            let _ = fs::remove_file(&key);
            let mut of_a_daemon = command(&home.state(), args);
            let mut of_none = Command::new(binary());
            let command = if needs_daemon { &mut of_a_daemon } else { clean(&mut of_none).args(*args) };
            let output = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).output().unwrap();
            (output.status.code(), String::from_utf8(output.stderr).unwrap())
        };
        let full = || Stdio::from(fs::File::options().write(true).open("/dev/full").unwrap());
        let (code, said) = run(full(), Stdio::piped());
        assert!(code == Some(1) && said.contains("No space left"), "{args:?} on a full disk: {code:?} {said}");
        let (code, _) = run(Stdio::null(), full());
        assert_eq!(code, Some(0), "{args:?} with nowhere to complain");
        // Whoever closes the pipe has what he wanted.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (code, said) = run(writer.into(), Stdio::piped());
        assert!(code == Some(0) && said.is_empty(), "{args:?} into a closed pipe: {code:?} {said}");
    }
}
