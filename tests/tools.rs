//! What the command line does without a daemon: the configuration file, the service, completions and manual pages.
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
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::systemd::UserSystemd;
use support::{available, binary, clean, ends, eventually};

/// lanspread with a home of its own, and nothing of the developer's settings.
fn lanspread(home: &Path) -> Command {
    let mut command = Command::new(binary());
    clean(&mut command).env("HOME", home).current_dir(home);
    command
}

#[test]
fn a_configuration_is_written_changed_checked_and_shown() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let run = |exit, args: &[&str]| ends(&mut lanspread(home), exit, args);
    let file = home.join(".local/state/lanspread/config.toml");
    assert!(run(1, &["config", "check"]).1.contains("lanspread config init"));
    let (said, _) = run(0, &["config", "init"]);
    assert!(said.contains(file.to_str().unwrap()), "{said}");
    assert!(run(1, &["config", "init"]).1.contains("is there already"));
    assert_eq!(fs::read_to_string(&file).unwrap(), run(0, &["config", "init", "-"]).0);
    run(0, &["config", "check"]);

    let text = fs::read_to_string(&file).unwrap();
    let text = text
        .replace("#hostname = \"Anna's PC\"", "hostname = \"Anna's PC\"")
        .replace("#downloads = 2", "downloads = 5");
    fs::write(&file, text).unwrap();
    run(0, &["config", "check"]);
    let mut command = lanspread(home);
    let args = ["config", "show", "--json", "--no-swarm", "--set", "timers.run_stall=3s"];
    let (shown, _) = ends(command.env("LANSPREAD_MAX_UPLOAD", "50MB/s"), 0, &args);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let row = |key: &str| {
        let rows = shown["settings"].as_array().unwrap();
        let row = rows.iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("no {key}"));
        (row["value"].clone(), row["from"].as_str().unwrap().to_owned())
    };
    let in_file = file.display().to_string();
    assert_eq!(row("hostname"), ("Anna's PC".into(), in_file.clone()));
    assert_eq!(row("limits.downloads"), (5.into(), in_file));
    assert_eq!(row("swarm"), (false.into(), "--no-swarm".into()));
    assert_eq!(row("max_upload"), ("50MB/s".into(), "LANSPREAD_MAX_UPLOAD".into()));
    assert_eq!(row("timers.run_stall"), ("3s".into(), "--set".into()));
    assert_eq!(row("mdns"), (true.into(), "default".into()));
    assert_eq!(row("catalog"), (Value::Null, "default".into()));
    assert!(
        run(0, &["config", "show"])
            .0
            .lines()
            .any(|line| line.starts_with("limits.downloads = 5") && line.contains('#'))
    );
}

#[test]
fn a_check_tells_everything_that_is_wrong_with_a_configuration() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("party.toml");
    fs::write(&file, "max_uplaod = \"1MB/s\"\nlog = 3\n[limits]\ndownloads = 0\n").unwrap();
    let (told, said) = ends(&mut lanspread(home.path()), 2, &["config", "check", "party.toml"]);
    assert_eq!(told.lines().count(), 3, "{told}");
    assert!(told.contains("is max_upload meant?") && told.contains("limits.downloads = 0"), "{told}");
    assert!(said.contains("3 things to mend"), "{said}");
    // What is understood, and is not there.
    fs::write(&file, "game_dir = \"nowhere\"\nparty_key_file = \"no.key\"\ncatalog = \"no.json\"\n").unwrap();
    let (told, _) = ends(&mut lanspread(home.path()), 2, &["config", "check", "party.toml"]);
    for key in ["game_dir: ", "party_key_file: ", "catalog: "] {
        assert!(told.lines().any(|line| line.starts_with(key)), "{told}");
    }
    fs::write(&file, "game_dir = nowhere\n").unwrap();
    let (told, _) = ends(&mut lanspread(home.path()), 2, &["config", "check", "party.toml"]);
    assert!(told.contains("is not TOML"), "{told}");
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let home = tempfile::tempdir().unwrap();
    let (help, _) = ends(&mut lanspread(home.path()), 0, &["help"]);
    let commands: Vec<_> = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .map_while(|line| line.strip_prefix("  "))
        // Behind more spaces a line goes on.
        .filter_map(|line| line.split_whitespace().next().filter(|_| !line.starts_with(' ')))
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() > 25, "{commands:?}");
    fs::create_dir(home.path().join("man")).unwrap();
    ends(&mut lanspread(home.path()), 0, &["man", "man"]);
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let (script, _) = ends(&mut lanspread(home.path()), 0, &["completions", shell]);
        for name in &commands {
            assert!(script.contains(name), "{shell} does not complete {name}");
        }
    }
    for name in &commands {
        let page = home.path().join(format!("man/lanspread-{name}.1"));
        assert!(fs::read_to_string(&page).unwrap().contains(".SH NAME"), "{}", page.display());
    }
    let (_, said) = ends(&mut lanspread(home.path()), 1, &["man", "nowhere"]);
    assert!(said.contains("nowhere"), "{said}");
}

#[test]
fn open_starts_a_daemon_that_outlives_it_or_says_why_there_is_none() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join(".local/state/lanspread");
    fs::create_dir_all(&state).unwrap();
    let run = |exit, args: &[&str]| {
        let mut command = lanspread(home.path());
        ends(command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY"), exit, args)
    };
    fs::write(state.join("config.toml"), "mdns = false\nlisten = [\"127.0.0.1:0\"]\nlog = 3\n").unwrap();
    let (_, said) = run(3, &["open", "--start"]);
    assert!(said.contains("config.toml: log = 3"), "{said}");
    assert!(!said.contains("lanspread: the daemon did not start: lanspread"), "{said}");
    fs::write(state.join("config.toml"), "mdns = false\nlisten = [\"127.0.0.1:0\"]\n").unwrap();
    run(4, &["open"]);
    assert!(run(0, &["open", "--start"]).0.contains("http://127.0.0.1:"));
    let (status, _) = run(0, &["status", "--json"]);
    let (again, _) = run(0, &["open", "--start", "--print"]);
    assert!(again.starts_with("http://127.0.0.1:"), "{again}");
    let peer = |status: &str| serde_json::from_str::<Value>(status).unwrap()["peer_id"].clone();
    assert_eq!(peer(&status), peer(&run(0, &["status", "--json"]).0), "the second one found the first");
    let log = fs::read_to_string(state.join("lanspread.log")).unwrap();
    assert!(log.contains("log = 3") && log.contains("ready"), "{log}");
    run(0, &["stop"]);
}

#[test]
fn a_service_is_installed_watched_restarted_and_uninstalled() {
    if !available("a_service_is_installed_watched_restarted_and_uninstalled", &["mount", "systemd"]) {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let systemd = UserSystemd::start(home).unwrap();
    let run = |exit, args: &[&str]| ends(&mut systemd.command(binary()), exit, args);
    let property = |name: &str| {
        let mut command = systemd.command("systemctl");
        let output = command.args(["--user", "show", "lanspread.service", "--value", "-p", name]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let unit = home.join(".config/systemd/user/lanspread.service");
    let flags = ["service", "install", "--", "--game-dir", "My Games 100%", "--no-mdns", "--listen", "127.0.0.1:0"];

    assert!(run(4, &["service", "status"]).0.starts_with("installed: no"));
    // With which the daemon would not start: nothing is left behind.
    assert!(run(2, &["service", "install", "--", "--nonsense"]).1.contains("--nonsense"));
    assert!(run(2, &flags).1.contains("give the whole path"));
    assert!(run(2, &["service", "install", "--", "--game-dir", "/nowhere/games"]).1.contains("--create"));
    assert!(run(2, &["service", "install", "--", "--jsonl"]).1.contains("stdin"));
    assert!(!unit.exists());

    fs::create_dir(home.join("My Games 100%")).unwrap();
    let games = home.join("My Games 100%");
    fs::create_dir(games.join("doom")).unwrap();
    fs::write(games.join("doom/start.sh"), "#!/bin/sh\necho \"$DISPLAY\" > \"$HOME/shown\"\n").unwrap();
    fs::set_permissions(games.join("doom/start.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(games.join("doom/version.ini"), "1.0").unwrap();
    let flags = flags.map(|flag| if flag.starts_with("My") { games.to_str().unwrap() } else { flag });
    run(0, &flags);
    // It is ready as soon as the command ends.
    let status: Value = serde_json::from_str(&run(0, &["status", "--json"]).0).unwrap();
    assert_eq!(status["game_dir"], games.to_str().unwrap());
    assert!(run(0, &["service", "status"]).0.contains("starts when you log in: yes"));
    assert_eq!(property("WatchdogUSec"), "5min");

    // A desktop that began after the daemon: it is told of by the user's systemd.
    run(0, &["install", "doom"]);
    assert!(run(1, &["play", "doom"]).1.contains("without a desktop"));
    let mut command = systemd.command("systemctl");
    assert!(command.args(["--user", "set-environment", "DISPLAY=:99"]).status().unwrap().success());
    run(0, &["play", "doom"]);
    eventually("the game says where it is shown", 10, || {
        (fs::read_to_string(home.join("shown")).is_ok_and(|text| text == ":99\n")).then_some(())
    });

    // What crashes comes back; what is stopped on purpose does not.
    let pid = property("MainPID");
    assert!(systemd.command("kill").args(["-9", &pid]).status().unwrap().success());
    eventually("systemd sees the crash", 10, || (property("SubState") == "auto-restart").then_some(()));
    // Not 15 s later.
    assert!(systemd.command("systemctl").args(["--user", "restart", "lanspread.service"]).status().unwrap().success());
    run(0, &["status"]);
    assert_ne!(property("MainPID"), pid);
    run(0, &["stop"]);
    eventually("it has stopped", 10, || (property("ActiveState") == "inactive").then_some(()));
    run(4, &["service", "status"]);

    // One that hangs is killed: its watchdog is told nothing.
    let text = fs::read_to_string(&unit).unwrap();
    fs::write(&unit, text.replace("WatchdogSec=5min", "WatchdogSec=1s")).unwrap();
    assert!(systemd.command("systemctl").args(["--user", "daemon-reload"]).status().unwrap().success());
    assert!(systemd.command("systemctl").args(["--user", "restart", "lanspread.service"]).status().unwrap().success());
    let pid = property("MainPID");
    let fed = |since: &str| (property("WatchdogTimestampMonotonic") != since).then_some(());
    for _ in 0..3 {
        let since = property("WatchdogTimestampMonotonic");
        eventually("the watchdog is fed", 10, || fed(&since));
    }
    assert_eq!(property("MainPID"), pid, "it was killed although it lives");
    assert!(systemd.command("kill").args(["-STOP", &pid]).status().unwrap().success());
    eventually("it is killed", 20, || (property("Result") == "watchdog").then_some(()));

    // Other flags that do not work: the old ones stay.
    let kept = fs::read_to_string(&unit).unwrap();
    let other = home.join("no games");
    fs::write(&other, "a file").unwrap();
    let (_, said) = run(2, &["service", "install", "--", "--game-dir", other.to_str().unwrap()]);
    assert!(said.contains("no games"), "{said}");
    assert_eq!(fs::read_to_string(&unit).unwrap(), kept);

    assert!(run(0, &["service", "uninstall"]).0.contains("stay"));
    assert!(!unit.exists() && games.exists() && home.join(".local/state/lanspread/identity.pem").exists());
    run(4, &["service", "status"]);
    assert!(run(0, &["service", "uninstall"]).0.contains("nothing to do"));

    // A unit of the user's own stays as it is.
    fs::write(&unit, "[Service]\nExecStart=/bin/true\n").unwrap();
    for command in [&["service", "install"][..], &["service", "uninstall"]] {
        assert!(run(1, command).1.contains("was not written by lanspread"));
    }
    assert!(fs::read_to_string(&unit).unwrap().contains("/bin/true"));
}
