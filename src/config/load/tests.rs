use std::time::Duration;

use clap::Parser;

use super::*;
use crate::config::Congestion;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    run: RunArgs,
}

fn no_env(_: &str) -> Option<OsString> {
    None
}

/// Flags as a user types them; the file is written to a directory of its own and given with `--config`.
fn load_with(file: Option<&str>, flags: &[&str]) -> Result<RunSettings, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let mut line = vec!["lanspread".to_owned()];
    if let Some(text) = file {
        let path = dir.path().join("c.toml");
        std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), text.as_bytes()).unwrap();
        line.extend(["--config".to_owned(), path.display().to_string()]);
    }
    line.extend(flags.iter().map(|&flag| flag.to_owned()));
    load(Cli::try_parse_from(line).unwrap().run, no_env)
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
    let file = r#"
        game_dir = "/file/games"
        state_dir = "state"
        hostname = "from-file"
        listen = ["127.0.0.1:0"]
        peers = ["a:1"]
        mdns = false
        log = "debug"
        [timers]
        run_stall = "3s"
        source_wait = "4s"
        [limits]
        downloads = 5
        run_bytes = "2MiB"
        [transport]
        congestion = "cubic"
    "#;
    let all = load_with(Some(file), &[]).unwrap();
    let config = all.config;
    assert_eq!(config.game_dir, Path::new("/file/games"));
    assert!(config.state_dir.is_absolute() && config.state_dir.ends_with("state"), "relative to the file");
    assert_eq!(config.hostname.as_deref(), Some("from-file"));
    assert_eq!(config.listen, ["127.0.0.1:0".parse().unwrap()]);
    assert_eq!(config.static_peers, ["a:1"]);
    assert!(!config.mdns && !all.jsonl);
    assert_eq!((config.limits.downloads, config.limits.run_bytes), (5, 2 << 20));
    assert_eq!(config.transport.congestion, Congestion::Cubic);
    assert_eq!(config.timers.run_stall, Duration::from_secs(3));
    assert_eq!(all.log, "debug");

    let flags = [
        "--game-dir=/flag",
        "--hostname=flag",
        "--peer=b:2",
        "--peer=[::1]:3",
        "--set=timers.run_stall=9s",
        "--max-watches=7",
        "--jsonl",
        "--log=warn",
    ];
    let all = load_with(Some(file), &flags).unwrap();
    assert_eq!(all.config.game_dir, Path::new("/flag"));
    assert_eq!(all.config.static_peers, ["b:2", "[::1]:3"]);
    assert_eq!(all.config.timers.run_stall, Duration::from_secs(9));
    assert_eq!(all.config.timers.source_wait, Duration::from_secs(4));
    assert_eq!(all.config.limits.max_watches, 7);
    assert_eq!((all.jsonl, all.log.as_str()), (true, "warn"));
}

#[test]
fn the_environment_stands_between_flag_and_file() {
    // Reading a variable through clap needs a process of its own; here is what clap was told to read.
    let command = <Cli as clap::CommandFactory>::command();
    for flag in [
        "game_dir",
        "state_dir",
        "config",
        "listen",
        "catalog",
        "catalog_key",
        "party_key_file",
        "peers",
        "no_mdns",
        "hostname",
        "log",
    ] {
        let arg = command.get_arguments().find(|arg| arg.get_id() == flag).unwrap();
        let expected = format!("LANSPREAD_{}", flag.to_uppercase());
        assert_eq!(arg.get_env().and_then(|name| name.to_str()), Some(expected.as_str()));
    }
}

#[test]
fn the_file_in_the_state_directory_is_read_without_being_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = std::fs::File::create(dir.path().join("config.toml")).unwrap();
    std::io::Write::write_all(&mut file, b"game_dir = 'games'").unwrap();
    let args = RunArgs { state_dir: Some(dir.path().to_owned()), ..RunArgs::default() };
    assert_eq!(load(args, no_env).unwrap().config.game_dir, dir.path().join("games"));
}

#[test]
fn a_refused_setting_is_named_with_its_value_and_what_is_accepted() {
    let message = |file: Option<&str>, flags: &[&str]| load_with(file, flags).unwrap_err().to_string();
    for (file, expected) in [
        ("gamedir = 'x'", "there is no setting \"gamedir\""),
        ("[timers]\nstale = '1s'", "there is no setting \"timers.stale\""),
        ("[timer]\nstale_after = '1s'", "there is no setting \"timer\""),
        ("timers = 3", "timers = 3: expected a table"),
        ("[timers]\nstale_after = 2", "timers.stale_after = 2: expected a duration above zero"),
        ("[limits]\ndownloads = 0", "limits.downloads = 0: expected a whole number from 1"),
        ("[limits]\ndownloads = -1", "limits.downloads = -1: expected"),
        ("[transport]\nmax_payload = 500", "expected 0 (from the interfaces) or bytes from 1200 to 65507"),
        ("mdns = 'no'", "mdns = \"no\": expected true or false"),
        ("peers = ['nobody']", "expected HOST:PORT"),
        ("listen = ['0.0.0.0:1', '[::]:2']", "with one port"),
        ("game_dir = ", "is not TOML"),
    ] {
        let got = message(Some(file), &["--game-dir=g", "--state-dir=s"]);
        assert!(got.contains(expected), "{file}: {got}");
    }
    for (flag, expected) in [
        ("--set=timers.stale_after=soon", "--set: timers.stale_after = soon: expected a duration"),
        ("--set=timers.stale_after", "expected KEY=VALUE"),
        ("--set=nothing=1", "there is no setting \"nothing\""),
        ("--peer=:1", "expected HOST:PORT"),
        ("--peer=a:0", "expected HOST:PORT"),
        ("--peer=[nonsense]:1", "expected HOST:PORT"),
        ("--hostname=a\u{7}b", "without control characters"),
        ("--set=timers.ping_after=80s", "less than timers.stale_after"),
        ("--config=/nonexistent/c.toml", "/nonexistent/c.toml cannot be read"),
    ] {
        let got = message(None, &["--game-dir=g", "--state-dir=s", flag]);
        assert!(got.contains(expected), "{flag}: {got}");
    }
    assert!(message(None, &["--state-dir=s"]).contains("--game-dir"));
    assert!(message(None, &["--game-dir=g"]).contains("--state-dir"));
}

#[test]
fn a_shortened_stale_time_takes_the_ping_along() {
    let timers =
        load_with(None, &["--game-dir=g", "--state-dir=s", "--set=timers.stale_after=2s"]).unwrap().config.timers;
    assert!(timers.ping_after + timers.ping_retry < timers.stale_after);
}

#[test]
fn a_catalog_is_a_file_or_a_url_and_its_key_digits_or_a_file() {
    let digits = "ab".repeat(32);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key.pub");
    std::io::Write::write_all(&mut std::fs::File::create(&file).unwrap(), format!("{digits}\n").as_bytes()).unwrap();
    let run = ["--game-dir=g", "--state-dir=s"];
    let of_flags = |flags: &[&str]| load_with(None, &[&run, flags].concat());
    for key in [format!("--catalog-key={digits}"), format!("--catalog-key={}", file.display())] {
        let config = of_flags(&["--catalog=http://party.lan/c.json", &key]).unwrap().config;
        assert_eq!(config.catalog, Some(CatalogSource::Url("http://party.lan/c.json".into())));
        assert_eq!(config.catalog_key, Some(CatalogKey([0xab; 32])));
    }
    let text = format!("catalog = 'c.json'\ncatalog_key = '{digits}'\nparty_key_file = 'party.key'");
    let config = load_with(Some(&text), &run).unwrap().config;
    let Some(CatalogSource::File(path)) = config.catalog else { panic!("{:?}", config.catalog) };
    assert!(path.is_absolute() && path.ends_with("c.json"), "relative to the file");
    assert!(config.party_key_file.is_some_and(|path| path.is_absolute() && path.ends_with("party.key")));
    for (flags, expected) in [
        (&["--catalog=http://"][..], "names a host"),
        (&["--catalog=c", "--catalog-key=nonsense"], "64 hexadecimal digits"),
        (&[&format!("--catalog-key={digits}")], "but no catalog"),
    ] {
        let message = of_flags(flags).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn mirrors_come_from_the_file_or_the_flags_each_once() {
    let dirs = ["--game-dir", "g", "--state-dir", "s"];
    let urls = |file: Option<&str>, flags: &[&str]| {
        load_with(file, &[&dirs, flags].concat())
            .map(|settings| settings.config.mirrors.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let file = "mirrors = [\"http://b.lan/\", \"https://a.lan/games\", \"http://b.lan\"]";
    assert_eq!(urls(Some(file), &[]).unwrap(), ["http://b.lan", "https://a.lan/games"]);
    assert_eq!(urls(Some(file), &["--mirror", "http://c.lan"]).unwrap(), ["http://c.lan"]);
    let many: Vec<String> = (0..9).map(|n| format!("http://m{n}.lan")).collect();
    let flags: Vec<&str> = many.iter().flat_map(|url| ["--mirror", url]).collect();
    assert_eq!(urls(None, &flags[..16]).unwrap().len(), 8);
    assert!(urls(None, &flags).is_err());
    for bad in
        ["mirrors = \"http://a.lan\"", "mirrors = [1]", "mirrors = [\"a.lan\"]", "mirrors = [\"http://a.lan/?x\"]"]
    {
        assert!(matches!(urls(Some(bad), &[]), Err(ConfigError::BadValue { .. })), "{bad}");
    }
}

#[test]
fn games_are_kept_in_the_users_home_unless_somebody_says_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().to_owned();
    let env = |name: &str| (name == crate::sys::HOME).then(|| home.clone().into_os_string());
    let load_with = |line: &[&str], env: &dyn Fn(&str) -> Option<OsString>| {
        let line = ["lanspread", "--state-dir", "/state"].iter().chain(line);
        let settings = load(Cli::try_parse_from(line).unwrap().run, env)?;
        Ok((settings.config.game_dir, settings.make_game_dir, settings.is_default_game_dir))
    };
    let of = |line: &[&str]| load_with(line, &env).map_err(|error: ConfigError| error.to_string()).unwrap();
    assert_eq!(of(&[]), (home.join("Games/lanspread"), true, true));
    assert_eq!(of(&["--game-dir", "/games"]), ("/games".into(), false, false));
    assert_eq!(of(&["--game-dir", "/games", "--create"]), ("/games".into(), true, false));
    // As a shell leaves it behind `=`, and as a service gets it.
    assert_eq!(of(&["--game-dir=~/games"]), (home.join("games"), false, false));
    assert_eq!(of(&["--game-dir=~"]).0, home);
    assert_eq!(of(&["--game-dir=a~/b"]).0, Path::new("a~/b"));
    // In a file, which no shell reads, and whose other paths count from where it lies.
    std::io::Write::write_all(&mut std::fs::File::create(home.join("c.toml")).unwrap(), b"game_dir = '~/of-file'")
        .unwrap();
    assert_eq!(of(&["--config=~/c.toml"]), (home.join("of-file"), false, false));
    let nowhere = |line: &[&str]| load_with(line, &no_env).unwrap_err().to_string();
    assert!(nowhere(&[]).contains("--game-dir") && nowhere(&[]).contains("home"), "{}", nowhere(&[]));
    assert!(nowhere(&["--game-dir=~/games"]).contains("~/games"), "{}", nowhere(&["--game-dir=~/games"]));
}

#[test]
fn the_written_file_changes_nothing_with_all_its_settings_uncommented() {
    let text = crate::config::commented();
    let is_setting =
        |line: &str| line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
    let mut kept = 0;
    let plain: Vec<_> = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            // These have no default, only an example.
            Some(rest)
                if is_setting(line)
                    && !["catalog", "party_key_file", "hostname", "player", "language", "game_dir", "state_dir"]
                        .iter()
                        .any(|key| rest.starts_with(key)) =>
            {
                kept += 1;
                rest
            }
            _ => line,
        })
        .collect();
    assert!(kept > 50, "{kept} settings");
    let dirs = ["--game-dir=/g", "--state-dir=/s"];
    let (with, without) = (load_with(Some(&plain.join("\n")), &dirs).unwrap(), load_with(None, &dirs).unwrap());
    assert_eq!(with.in_file.len(), kept);
    assert_eq!(format!("{:?}", with.config), format!("{:?}", without.config));
    assert_eq!((with.control, with.log), (without.control, without.log));
    for line in text.lines().filter(|line| is_setting(line)) {
        assert!(line[1..].parse::<toml::Table>().is_ok(), "{line}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 130), "a line is too long to read");
}

#[test]
fn everything_that_is_wrong_in_a_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    let text = "max_uplaod = \"1MB/s\"\nlog = 3\n[limits]\ndownloads = 0\n";
    std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), text.as_bytes()).unwrap();
    let args = RunArgs { config: Some(path), ..RunArgs::default() };
    let errors = load_all(args, no_env).unwrap_err();
    let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().any(|line| line.contains("is max_upload meant?")), "{told:?}");
}
