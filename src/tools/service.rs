//! `lanspread service`: lets the daemon start by itself when its user logs in. Needs no administrator's rights.
//!
//! | system | how |
//! |---|---|
//! | Linux | a unit of the user's systemd, `~/.config/systemd/user/lanspread.service` |
//! | Windows | the entry of the user's registry that the installer makes too; `lanspread-start.exe` beside the program starts it without a window |
//!
//! Identity, settings and games are never touched.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use clap::builder::Resettable;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use serde_json::json;

use super::{env, say};
use crate::config::{self, ConfigError, RunArgs};
use crate::small_file::{self, Readers, replace};
use crate::sys::{AUTOSTART, Autostart};
use crate::types::{CatalogKey, CatalogSource};

/// The unit of systemd.
const UNIT: &str = "lanspread.service";
/// The first line of a unit that was written here. Without it a unit is its user's own.
const MARK: &str =
    "# Written by `lanspread service install`, which replaces it. Own settings: systemctl --user edit lanspread\n";
/// What an answer of the daemon may take before systemd takes it for dead. Half of it is how often an idle daemon wakes up for that.
const WATCHDOG: &str = "5min";
/// A longer file is not a unit that was written here.
const MAX_UNIT_BYTES: u64 = 64 << 10;
/// How the names of the daemon's variables begin.
const VARIABLES: &str = "LANSPREAD_";
/// The registry's list of what starts at log-on, and the name of the entry: those of the installer.
const RUN_KEY: &str = r"HKCU\Software\Microsoft\Windows\CurrentVersion\Run";
const RUN_VALUE: &str = "lanspread";
/// The launcher that comes with the program for Windows.
const LAUNCHER: &str = "lanspread-start.exe";

/// Sub-commands of `lanspread service`.
#[derive(Subcommand, Clone, Debug)]
pub enum ServiceCommand {
    /// Start the daemon now, and whenever you log in
    Install {
        /// Only print the unit of systemd that would be written
        #[arg(long)]
        print: bool,
        /// Flags of `lanspread run`, behind --; what stands in the configuration file need not be said here
        #[arg(last = true, value_name = "FLAGS")]
        flags: Vec<String>,
    },
    /// Stop the daemon and do not start it any more; games, identity and settings stay
    Uninstall,
    /// Say whether it is installed and runs
    Status {
        /// Answer as JSON on stdout
        #[arg(long)]
        json: bool,
    },
}

/// Why a sub-command failed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The flags are not those of `run`.
    #[error("{0}")]
    Flags(String),
    /// A unit of that name is somebody else's.
    #[error("{} was not written by lanspread, and stays as it is: move it away, or use systemctl --user", .0.display())]
    Foreign(PathBuf),
    /// The configuration cannot be used, so the daemon would not start.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no service manager that is known here.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The environment names no home.
    #[error("the environment names no home, so there is no place for a unit of systemd")]
    NoHome,
    /// A tool of the system could not be started, or failed.
    #[error("`{command}` failed: {reason}")]
    Tool {
        /// With its arguments.
        command: String,
        /// What it said.
        reason: String,
    },
    /// The daemon was started and is not there.
    #[error("the daemon did not start: {0}")]
    NotStarted(String),
    /// A file cannot be written or removed.
    #[error("{}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not installed, or does not run.
    #[error("the daemon does not run as a service")]
    NotRunning,
    /// stdout cannot be written.
    #[error("cannot write to stdout: {0}")]
    Output(#[from] io::Error),
}

impl ServiceError {
    /// What the process says to its parent.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Flags(_) | Self::Config(_) => 2,
            Self::NotStarted(_) => 3,
            Self::NotRunning => 4,
            _ => 1,
        }
    }
}

/// Carries a sub-command out.
///
/// # Errors
/// [`ServiceError`].
pub fn run(command: ServiceCommand) -> Result<(), ServiceError> {
    let manager: &dyn Manager = match AUTOSTART {
        Autostart::Systemd => &Systemd,
        Autostart::Registry => &Registry,
        Autostart::Unknown => {
            return Err(ServiceError::Unsupported(
                "lanspread knows the service managers of Linux (systemd) and Windows only; start `lanspread run` by that of this system",
            ));
        }
    };
    match command {
        ServiceCommand::Install { print, flags } => {
            check(&flags)?;
            for name in variables_that_do_not_count() {
                let _ = writeln!(io::stderr(), "note: {name} of this terminal does not count for the service");
            }
            let program = this_program()?;
            if program.to_str().is_none_or(|path| path.chars().any(char::is_control)) {
                return Err(ServiceError::Unsupported(
                    "the path of this program cannot be written into a unit: move it elsewhere",
                ));
            }
            if print { Ok(say(&unit(&program, &flags))?) } else { manager.install(&program, &flags) }
        }
        ServiceCommand::Uninstall => manager.uninstall(),
        ServiceCommand::Status { json } => {
            let state = manager.state()?;
            let text = if json {
                json!({"installed": state.installed, "at_login": state.at_login, "running": state.running, "where": state.place}).to_string()
            } else {
                let word = |yes| if yes { "yes" } else { "no" };
                let (installed, at_login, running) = (word(state.installed), word(state.at_login), word(state.running));
                format!(
                    "installed: {installed} ({})\nstarts when you log in: {at_login}\nruns as a service: {running}",
                    state.place
                )
            };
            say(&format!("{text}\n"))?;
            if state.running { Ok(()) } else { Err(ServiceError::NotRunning) }
        }
    }
}

/// What a service manager has to say.
struct State {
    installed: bool,
    at_login: bool,
    running: bool,
    place: String,
}

trait Manager {
    fn install(&self, program: &Path, flags: &[String]) -> Result<(), ServiceError>;
    fn uninstall(&self) -> Result<(), ServiceError>;
    fn state(&self) -> Result<State, ServiceError>;
}

/// Flags with which the daemon would not start, or would mean something else, are said now and not in a log.
fn check(flags: &[String]) -> Result<(), ServiceError> {
    #[derive(Parser)]
    #[command(name = "lanspread run", no_binary_name = true)]
    struct Flags {
        #[command(flatten)]
        run: RunArgs,
    }
    let wrong = |message: String| Err(ServiceError::Flags(message));
    if let Some(flag) = flags.iter().find(|flag| flag.chars().any(char::is_control)) {
        return wrong(format!("{flag:?} has a control character, which a unit cannot hold"));
    }
    // The service has nothing of this terminal's own settings.
    let command = Flags::command().mut_args(|arg| arg.env(Resettable::Reset));
    let parsed = command.try_get_matches_from(flags).and_then(|matches| Flags::from_arg_matches(&matches));
    let args = match parsed {
        Ok(Flags { run }) => run,
        // clap's first line says what is wrong; the rest is its advice about this sub-command.
        Err(error) => {
            let said = error.to_string();
            let said = said.lines().next().unwrap_or_default();
            return wrong(format!("lanspread run: {}", said.trim_start_matches("error: ")));
        }
    };
    if args.jsonl {
        return wrong("--jsonl is for a program that starts the daemon itself: a service has no stdin".into());
    }
    if let Some((flag, path)) = relative_path(&args) {
        return wrong(format!(
            "--{flag} {}: give the whole path, a service starts in another directory",
            path.display()
        ));
    }
    let own = |name: &str| if name.starts_with(VARIABLES) { None } else { env(name) };
    let settings = config::load(args, own)?;
    if !settings.make_game_dir && !settings.config.game_dir.is_dir() {
        let dir = settings.config.game_dir.display();
        return wrong(format!("there is no game directory {dir}; --create makes it"));
    }
    Ok(())
}

/// A path among the flags that means another place in every directory.
fn relative_path(args: &RunArgs) -> Option<(&'static str, &Path)> {
    let is_url = |path: &Path| matches!(CatalogSource::parse(path), Some(CatalogSource::Url(_)));
    let is_key = |path: &Path| path.to_str().is_some_and(|text| text.parse::<CatalogKey>().is_ok());
    [
        ("game-dir", &args.game_dir),
        ("state-dir", &args.state_dir),
        ("config", &args.config),
        ("catalog", &args.catalog),
        ("catalog-key", &args.catalog_key),
        ("party-key-file", &args.party_key_file),
    ]
    .into_iter()
    .filter_map(|(flag, path)| Some((flag, path.as_deref()?)))
    .find(|(_, path)| path.is_relative() && !path.starts_with("~") && !is_url(path) && !is_key(path))
}

/// Variables of this terminal that `lanspread run` would heed here, and the service does not.
fn variables_that_do_not_count() -> Vec<String> {
    std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with(VARIABLES))
        .collect()
}

fn this_program() -> Result<PathBuf, ServiceError> {
    std::env::current_exe().map_err(|source| ServiceError::File { path: "lanspread".into(), source })
}

/// Runs a tool of the system to its end.
fn tool(program: &str, args: &[&str]) -> Result<Output, ServiceError> {
    let command = || format!("{program} {}", args.join(" "));
    let output = Command::new(program).args(args).output();
    output.map_err(|error| ServiceError::Tool { command: command(), reason: error.to_string() })
}

/// The same; it must end well. What it said.
fn must(program: &str, args: &[&str]) -> Result<String, ServiceError> {
    let output = tool(program, args)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ServiceError::Tool { command: format!("{program} {}", args.join(" ")), reason })
}

/// systemd, as its user's own.
struct Systemd;

impl Systemd {
    fn place() -> Result<PathBuf, ServiceError> {
        let config = env("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let config = config.or_else(|| Some(config::home(env)?.join(".config"))).ok_or(ServiceError::NoHome)?;
        Ok(config.join("systemd").join("user").join(UNIT))
    }

    /// Starts what the unit says now, and lets it start at every log-in. Ends when the daemon is ready, or is not.
    fn start() -> Result<(), ServiceError> {
        must("systemctl", &["--user", "daemon-reload"])?;
        must("systemctl", &["--user", "enable", UNIT])?;
        // Not `start`: one that runs takes the new flags over.
        if must("systemctl", &["--user", "restart", UNIT]).is_ok() {
            return Ok(());
        }
        let said = must("journalctl", &["--user", "-u", UNIT, "-n", "3", "-o", "cat", "--no-pager"]);
        let said = said.ok().filter(|said| !said.is_empty());
        Err(ServiceError::NotStarted(said.unwrap_or_else(|| "`lanspread run` with the same flags says why".into())))
    }

    /// What stands in the unit that was written here; `None`: there is none.
    fn own_unit(path: &Path) -> Result<Option<Vec<u8>>, ServiceError> {
        let failed = |source| ServiceError::File { path: path.to_owned(), source };
        match small_file::read(path, MAX_UNIT_BYTES + 1).map_err(failed)? {
            Some(text) if !text.starts_with(MARK.as_bytes()) || text.len() as u64 > MAX_UNIT_BYTES => {
                Err(ServiceError::Foreign(path.to_owned()))
            }
            text => Ok(text),
        }
    }

    fn is_enabled() -> bool {
        Self::property("UnitFileState").is_ok_and(|state| state == "enabled")
    }

    fn is_active() -> bool {
        Self::property("ActiveState").is_ok_and(|state| state == "active")
    }

    /// Removes a unit that is disabled. What systemd thinks of that is of no interest: it may not be there.
    fn take_away(path: &Path) -> io::Result<()> {
        let _ = tool("systemctl", &["--user", "reset-failed", UNIT]);
        std::fs::remove_file(path)?;
        let _ = tool("systemctl", &["--user", "daemon-reload"]);
        Ok(())
    }

    /// One property of the unit, as systemd has it.
    fn property(name: &str) -> Result<String, ServiceError> {
        must("systemctl", &["--user", "show", UNIT, "--value", "-p", name])
    }
}

impl Manager for Systemd {
    fn install(&self, program: &Path, flags: &[String]) -> Result<(), ServiceError> {
        let path = Self::place()?;
        let failed = |source| ServiceError::File { path: path.clone(), source };
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        let before = Self::own_unit(&path)?;
        let (was_enabled, was_active) = (Self::is_enabled(), Self::is_active());
        replace(&path, unit(program, flags).as_bytes(), Readers::Everybody).map_err(failed)?;
        if let Err(error) = Self::start() {
            // As it was: a unit that does not start would be tried at every log-in. What goes wrong on the way back is of no interest.
            match before {
                None => {
                    let _ = tool("systemctl", &["--user", "disable", "--now", UNIT]);
                    let _ = Self::take_away(&path);
                }
                Some(text) => {
                    replace(&path, &text, Readers::Everybody).map_err(failed)?;
                    let _ = tool("systemctl", &["--user", "daemon-reload"]);
                    if !was_enabled {
                        let _ = tool("systemctl", &["--user", "disable", UNIT]);
                    }
                    let _ = tool("systemctl", &["--user", if was_active { "restart" } else { "stop" }, UNIT]);
                }
            }
            return Err(error);
        }
        Ok(say(&format!(
            "the daemon runs, and will whenever you log in ({})\nto have it run before anybody logs in: loginctl enable-linger\n",
            path.display()
        ))?)
    }

    fn uninstall(&self) -> Result<(), ServiceError> {
        let path = Self::place()?;
        // Else it may be that of a package, which stays where it is.
        let is_own = Self::own_unit(&path)?.is_some();
        if !is_own && !Self::is_enabled() && !Self::is_active() {
            return Ok(say("nothing to do: it is not installed\n")?);
        }
        must("systemctl", &["--user", "disable", "--now", UNIT])?;
        if is_own {
            Self::take_away(&path).map_err(|source| ServiceError::File { path, source })?;
        }
        Ok(say("the daemon is stopped and will not start by itself any more; games, identity and settings stay\n")?)
    }

    fn state(&self) -> Result<State, ServiceError> {
        let place = Self::property("FragmentPath")?;
        Ok(State {
            installed: !place.is_empty(),
            at_login: Self::is_enabled(),
            running: Self::is_active(),
            place: if place.is_empty() { Self::place()?.display().to_string() } else { place },
        })
    }
}

/// The unit's text. Whatever confines the unit would confine the games that `play` starts, which outlive the daemon (`KillMode`): so nothing
/// does. What reads strangers' archives confines itself.
fn unit(program: &Path, flags: &[String]) -> String {
    let program = quoted(&program.to_string_lossy(), "$");
    let words: Vec<_> = flags.iter().map(|flag| quoted(flag, "$$")).collect();
    format!(
        "{MARK}\
         [Unit]\n\
         Description=lanspread, spreads games over a LAN\n\
         Documentation=man:lanspread(1)\n\
         StartLimitIntervalSec=10min\n\
         StartLimitBurst=20\n\
         \n\
         [Service]\n\
         Type=notify\n\
         ExecStart={}\n\
         WatchdogSec={WATCHDOG}\n\
         Restart=on-failure\n\
         RestartSec=15s\n\
         RestartPreventExitStatus=2\n\
         TimeoutStopSec=30s\n\
         KillMode=process\n\
         \n\
         [Install]\n\
         WantedBy=default.target\n",
        [&[program, "run".into()], words.as_slice()].concat().join(" ")
    )
}

/// A word of `ExecStart=` that means what it says (systemd.service(5)); `dollar`: how a dollar sign is written in it.
fn quoted(word: &str, dollar: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '=' | ':' | ',');
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    let escaped = word.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%").replace('$', dollar);
    format!("\"{escaped}\"")
}

/// The list of what starts at log-on in the registry of Windows.
struct Registry;

impl Manager for Registry {
    fn install(&self, program: &Path, flags: &[String]) -> Result<(), ServiceError> {
        if !flags.is_empty() {
            return Err(ServiceError::Unsupported(
                "what starts at log-on takes no flags here: write them into config.toml (`lanspread config init`)",
            ));
        }
        let launcher = program.with_file_name(LAUNCHER);
        if !launcher.exists() {
            return Err(ServiceError::Unsupported(
                "lanspread-start.exe, which comes with lanspread.exe, is not beside it: unpack the whole archive",
            ));
        }
        let value = format!("\"{}\" --background", launcher.display());
        must("reg.exe", &["add", RUN_KEY, "/v", RUN_VALUE, "/t", "REG_SZ", "/d", &value, "/f"])?;
        Command::new(&launcher)
            .arg("--background")
            .spawn()
            .map_err(|source| ServiceError::File { path: launcher, source })?;
        Ok(say("the daemon runs, and will whenever you log in\n")?)
    }

    fn uninstall(&self) -> Result<(), ServiceError> {
        if self.state()?.installed {
            must("reg.exe", &["delete", RUN_KEY, "/v", RUN_VALUE, "/f"])?;
        }
        if let Some(program) = this_program()?.to_str() {
            // One that does not run is stopped already.
            let _ = tool(program, &["stop"]);
        }
        Ok(say("the daemon is stopped and will not start by itself any more; games, identity and settings stay\n")?)
    }

    fn state(&self) -> Result<State, ServiceError> {
        let installed = tool("reg.exe", &["query", RUN_KEY, "/v", RUN_VALUE])?.status.success();
        // Whoever started it: there is one way only to see it.
        let running = this_program()
            .ok()
            .and_then(|program| tool(program.as_os_str().to_str()?, &["status", "--json"]).ok())
            .is_some_and(|output| output.status.success());
        Ok(State { installed, at_login: installed, running, place: format!(r"{RUN_KEY}\{RUN_VALUE}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_unit_mean_what_they_say() {
        for (word, expected) in [
            ("/usr/bin/lanspread", "/usr/bin/lanspread"),
            ("--game-dir=/data/My Games", "\"--game-dir=/data/My Games\""),
            ("100%", "\"100%%\""),
            ("$HOME", "\"$$HOME\""),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("", "\"\""),
        ] {
            assert_eq!(quoted(word, "$$"), expected, "{word}");
        }
    }

    #[test]
    fn flags_that_run_does_not_know_are_refused() {
        assert!(matches!(check(&["--nonsense".into()]), Err(ServiceError::Flags(_))));
        assert!(matches!(
            check(&["--set=limits.nonsense=1".into(), "--state-dir=/x".into()]),
            Err(ServiceError::Config(_))
        ));
        assert!(check(&["--game-dir=/".into(), "--state-dir=/x".into()]).is_ok());
        let error = check(&["--game-dir=/nowhere/games".into(), "--state-dir=/x".into()]).unwrap_err();
        assert!(error.to_string().contains("--create"), "{error}");
    }
}
