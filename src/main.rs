//! The command line: arguments, logging, exit codes.
//!
//! Exit codes: 0 it went well, 1 it failed, 2 the command line or the configuration is wrong, 3 the daemon could not
//! start, 4 no daemon runs, 128 + n ended by a signal n.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use lanspread_peer::Peer;
use lanspread_peer::api::PeerCommand;
use lanspread_peer::config::{self, RunArgs};
use lanspread_peer::control::client::{self, ClientCommand};
use lanspread_peer::control::http::{HttpDoor, HttpError, HttpServer};
use lanspread_peer::control::{self, ControlFile, Door, End, Fanout, Reply, Running, Signals, Stopped};
use lanspread_peer::tools::bench::{self, BenchArgs};
use lanspread_peer::tools::catalog::{self, CatalogCommand};
use lanspread_peer::tools::config::{self as config_tool, ConfigCommand};
use lanspread_peer::tools::demo::{self, DemoArgs};
use lanspread_peer::tools::service::{self, ServiceCommand};
use lanspread_peer::tools::share::{self, ShareArgs};
use lanspread_peer::tools::{self, unpack_helper};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NOT_STARTED: u8 = 3;

/// Spreads games over a LAN
#[derive(Parser)]
#[command(name = "lanspread", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

/// What to do first.
const FIRST: &str = "Spreads games over a LAN. On every PC: lanspread run
Then, in another terminal: lanspread open, for its page in the browser; or lanspread games, and lanspread download GAME
Everything else: lanspread help";

#[derive(Subcommand)]
enum Command {
    /// Run the daemon until Ctrl-C
    Run(Box<RunArgs>),
    #[command(flatten)]
    Client(ClientCommand),
    /// Make, sign and look at catalogs
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Check a game before it is shared; or make a folder of games into a mirror for any web server
    Share(ShareArgs),
    /// Show it at work: two daemons on this PC, sample games, downloads, an installation
    Demo(DemoArgs),
    /// Measure this PC, and the way to another one
    Bench(BenchArgs),
    /// Write, check and show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Let lanspread start by itself when you log in
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Print what makes a shell complete these commands on Tab
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory
    #[command(hide = true)]
    Man {
        /// Directory
        dir: PathBuf,
    },
    /// Print the version
    Version,
    /// Started by the daemon to unpack archives
    #[command(hide = true)]
    UnpackHelper,
}

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let result = match Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).command {
        None => say(FIRST),
        Some(command) => carry_out(command, &matches),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, message)) => {
            complain(&format!("lanspread: {message}"));
            ExitCode::from(code)
        }
    }
}

fn carry_out(command: Command, matches: &ArgMatches) -> Outcome {
    match command {
        Command::Run(args) => run(*args),
        Command::Client(command) => client::run(command).map_err(|error| (error.exit_code(), error.to_string())),
        Command::Catalog(command) => catalog::run(command).map_err(|error| (FAILED, error.to_string())),
        Command::Share(args) => share::run(&args).map_err(|error| (FAILED, error.to_string())),
        Command::Demo(args) => demo::run(&args).map_err(|error| (FAILED, error.to_string())),
        Command::Bench(args) => bench::run(&args).map_err(|error| (FAILED, error.to_string())),
        Command::Config(command) => {
            let matches = matches.subcommand_matches("config").unwrap_or(matches);
            config_tool::run(command, matches).map_err(|error| (error.exit_code(), error.to_string()))
        }
        Command::Service(command) => service::run(command).map_err(|error| (error.exit_code(), error.to_string())),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "lanspread", &mut script);
            say(String::from_utf8_lossy(&script).trim_end())
        }
        Command::Man { dir } => clap_mangen::generate_to(Cli::command(), &dir)
            .map_err(|error| (FAILED, format!("the manual pages cannot be written to {}: {error}", dir.display()))),
        Command::Version => say(concat!("lanspread ", env!("CARGO_PKG_VERSION"))),
        Command::UnpackHelper => unpack_helper::run().map_err(|message| (FAILED, message)),
    }
}

/// A line on stdout. Whoever closed it has what he wanted.
fn say(line: &str) -> Outcome {
    tools::say(&format!("{line}\n")).map_err(|error| (FAILED, format!("cannot write to stdout: {error}")))
}

/// A line on stderr; where that is full or closed, the exit code has to do.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

type Outcome = Result<(), (u8, String)>;

fn run(args: RunArgs) -> Outcome {
    lanspread_peer::give_memory_back();
    let settings = config::load(args, |name| std::env::var_os(name)).map_err(|error| (USAGE, error.to_string()))?;
    log_to_stderr(&settings.log);
    let not_started = |error: &dyn std::fmt::Display| (NOT_STARTED, error.to_string());
    let signals = Signals::catch().map_err(|error| not_started(&error))?;
    let state_dir = settings.config.state_dir.clone();
    if settings.make_game_dir {
        make_game_dir(&settings.config.game_dir, settings.is_default_game_dir)
            .map_err(|message| (NOT_STARTED, message))?;
    }
    let peer = Peer::start(settings.config).map_err(|error| not_started(&error))?;
    let sender = peer.commands();
    let commands = move |command: PeerCommand, reply: Reply| sender.send(command, reply).map_err(|_| Stopped);
    let (commands, asked) = control::noting_shutdown(commands);
    let (fanout, idle) = control::fan_out();
    let (events, ready) = (fanout.events(), fanout.events());
    let http = match open_http(settings.control, &state_dir, commands.clone(), fanout) {
        Ok(http) => http,
        Err(error) => {
            stop(&peer);
            return Err(not_started(&error));
        }
    };
    if let Err(error) = idle.start(peer.events(), http.as_ref().map(HttpServer::url)) {
        stop(&peer);
        return Err(not_started(&error));
    }
    let join = move || {
        peer.join();
        // Before the peer gives its lock back: the next daemon writes its own file.
        if let Some(http) = http {
            http.close();
        }
        peer.failure().map(str::to_owned)
    };
    let running = Running { commands, asked, events, ready, join: Box::new(join) };
    let door = if settings.jsonl { Door::Jsonl } else { Door::Human };
    match control::run(running, door, signals) {
        Ok(End::Asked) => Ok(()),
        Ok(End::ByItself) => Err((FAILED, "the daemon stopped by itself; its log says why".into())),
        Ok(End::NotStarted(why)) => Err((NOT_STARTED, why)),
        Err(error) => Err((NOT_STARTED, format!("a thread could not be started: {error}"))),
    }
}

/// Makes the directory of games where it is missing, and says where it is if nobody named it.
fn make_game_dir(dir: &Path, is_default: bool) -> Result<(), String> {
    let is_new = !dir.exists();
    std::fs::create_dir_all(dir).map_err(|error| {
        format!("the game directory {} cannot be made: {error}; --game-dir names another one", dir.display())
    })?;
    if is_new || is_default {
        let made = if is_new { " (made now)" } else { "" };
        complain(&format!("games are kept in {}{made}; --game-dir names another directory", dir.display()));
    }
    Ok(())
}

/// Without a door, what a killed daemon left of its own must not lead anybody astray.
fn open_http(
    addr: Option<SocketAddr>,
    state_dir: &Path,
    commands: impl control::Commands,
    fanout: Fanout,
) -> Result<Option<HttpServer>, HttpError> {
    match addr {
        Some(addr) => HttpDoor::bind_as_before(addr, state_dir)?.serve(state_dir, commands, fanout).map(Some),
        None => {
            let failed = |source| HttpError::File { path: ControlFile::path(state_dir), source };
            ControlFile::remove(state_dir).map_err(failed)?;
            Ok(None)
        }
    }
}

fn stop(peer: &Peer) {
    // An error means that it has stopped already.
    let _ = peer.commands().call(PeerCommand::Shutdown);
    peer.join();
}

/// stdout belongs to the JSON lines.
fn log_to_stderr(filter: &str) {
    // One that cannot be read was refused with the configuration.
    let filter: Targets = filter.parse().unwrap_or_default();
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry().with(lines).with(filter).init();
}
