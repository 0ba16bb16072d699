//! The command line: arguments, logging, exit codes.
//!
//! Exit codes: 0 it went well, 1 it failed, 2 the command line or the configuration is wrong, 3 the daemon could not
//! start, 128 + n ended by a second signal n.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lanspread_peer::Peer;
use lanspread_peer::config::{self, RunArgs};
use lanspread_peer::control::{self, Door, Running, Signals, Stopped};
use lanspread_peer::tools::demo::{self, DemoArgs};
use tracing_subscriber::EnvFilter;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NOT_STARTED: u8 = 3;

/// Spreads games over a LAN
#[derive(Parser)]
#[command(name = "lanspread", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon until Ctrl-C
    Run(Box<RunArgs>),
    /// Show it at work: two daemons on this PC, sample games, a download
    Demo(DemoArgs),
    /// Print the version
    Version,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run(*args),
        Command::Demo(args) => demo::run(&args).map_err(|error| (FAILED, error.to_string())),
        Command::Version => {
            println!("lanspread {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, message)) => {
            eprintln!("lanspread: {message}");
            ExitCode::from(code)
        }
    }
}

type Outcome = Result<(), (u8, String)>;

fn run(args: RunArgs) -> Outcome {
    let settings = config::load(args, |name| std::env::var_os(name)).map_err(|error| (USAGE, error.to_string()))?;
    log_to_stderr(&settings.log)?;
    let not_started = |error: &dyn std::fmt::Display| (NOT_STARTED, error.to_string());
    let signals = Signals::catch().map_err(|error| not_started(&error))?;
    let peer = Peer::start(settings.config).map_err(|error| not_started(&error))?;
    let sender = peer.commands();
    let running = Running {
        commands: move |command, reply| sender.send(command, reply).map_err(|_| Stopped),
        events: peer.events(),
        join: Box::new(move || peer.join()),
    };
    let door = if settings.jsonl { Door::Jsonl } else { Door::Human };
    match control::run(running, door, signals) {
        Ok(true) => Ok(()),
        Ok(false) => Err((FAILED, "the daemon stopped by itself; its log says why".into())),
        Err(error) => Err((NOT_STARTED, format!("a thread could not be started: {error}"))),
    }
}

/// stdout belongs to the JSON lines.
fn log_to_stderr(filter: &str) -> Outcome {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        (USAGE, format!("--log {filter}: {error}; expected error, warn, info, debug, trace, or a filter"))
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}
