//! The command line as a client of a running daemon: asks over HTTP, shows the answer to a person, or as JSON.
//!
//! The daemon is found by the state directory, in which it wrote its address and a token.

mod daemon;
mod follow;
mod page;
mod show;
mod start;
mod verbs;

use std::io::{self, Write};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::PeerCommand;
use crate::api::commands::Call;
use crate::config::{default_state_dir, home, without_tilde};

use daemon::{Answer, Daemon, game_of};
pub use verbs::ClientCommand;

/// What every sub-command takes.
#[derive(clap::Args)]
struct ClientArgs {
    /// State directory of the daemon [default: the platform's]
    #[arg(long, value_name = "DIR", env = "LANSPREAD_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Answer as JSON on stdout
    #[arg(long)]
    json: bool,
}

/// Why a sub-command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody said where the daemon is.
    #[error("no state directory: give --state-dir DIR or LANSPREAD_STATE_DIR (the environment names no home)")]
    NoStateDir,
    /// No daemon uses this state directory, or the one that did has ended otherwise than cleanly.
    #[error(
        "no daemon runs with the state directory {}: {why}; start it with `lanspread run`, or name another with --state-dir",
        state_dir.display()
    )]
    NotRunning {
        /// Where it was looked for.
        state_dir: PathBuf,
        /// What was found instead.
        why: &'static str,
    },
    /// A daemon that was to run in the background does not.
    #[error("the daemon did not start: {0}")]
    NotStarted(String),
    /// `control.json` is there, and is of no use.
    #[error("cannot read {}: {error}; the daemon writes it when it starts, for its own user alone", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The daemon refused, or an operation failed. Codes are those of the control vocabulary.
    #[error("{message}")]
    Refused {
        /// Stable.
        code: String,
        /// For people.
        message: String,
    },
    /// The daemon answered in words that this version does not know.
    #[error("the daemon is of another version: {0}")]
    OtherVersion(String),
    /// The daemon is there but did not answer.
    #[error("the daemon does not answer: {0}")]
    Broken(String),
    /// `doctor` found something, and has said so.
    #[error("{count} found")]
    Found {
        /// How many.
        count: usize,
    },
    /// Ctrl-C while something went on.
    #[error("{0}")]
    Interrupted(String),
    /// stdout cannot be written.
    #[error("cannot write to stdout: {0}")]
    Output(#[from] io::Error),
}

impl ClientError {
    /// 1 it failed, 2 wrong usage, 3 the daemon could not start, 4 no daemon runs, 130 interrupted (128 + SIGINT).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoStateDir => 2,
            Self::NotStarted(_) => 3,
            Self::NotRunning { .. } => 4,
            Self::Interrupted(_) => 130,
            Self::Unreadable { .. }
            | Self::Refused { .. }
            | Self::OtherVersion(_)
            | Self::Broken(_)
            | Self::Found { .. }
            | Self::Output(_) => 1,
        }
    }

    fn code(&self) -> &str {
        match self {
            Self::NoStateDir => "usage",
            Self::NotRunning { .. } => "not-running",
            Self::NotStarted(_) => "not-started",
            Self::Interrupted(_) => "interrupted",
            Self::Found { .. } => "found",
            Self::Refused { code, .. } => code,
            Self::OtherVersion(_) => "other-version",
            Self::Broken(_) => "no-answer",
            Self::Unreadable { .. } | Self::Output(_) => "io",
        }
    }

    /// Says in the message of a refused `command` about a game what to do about it, where the daemon's words leave that open.
    fn with_advice(mut self, command: &PeerCommand) -> Self {
        let game = serde_json::to_value(command).ok().and_then(|json| game_of(&json));
        if let (Self::Refused { code, message }, Some(game)) = (&mut self, game) {
            let advice = match (code.as_str(), command) {
                ("not-downloaded", PeerCommand::Install { .. } | PeerCommand::Verify { .. }) => {
                    format!("`lanspread download {game}` fetches it")
                }
                ("operation-in-progress", _) => {
                    format!("`lanspread games` shows it, `lanspread cancel {game}` ends it")
                }
                ("choose-program", _) => {
                    format!("`lanspread programs {game}` lists them, `lanspread play {game} --program PATH` takes one")
                }
                ("not-installed", PeerCommand::Play { .. }) => {
                    format!("`lanspread download {game}` fetches and installs it")
                }
                ("unknown-game", _) => "`lanspread games` lists those that there are".into(),
                ("no-sources", _) => "`lanspread peers` lists the PCs that are connected".into(),
                _ => return self,
            };
            *message = format!("{message}; {advice}");
        }
        self
    }
}

/// Carries a sub-command out. With `--json` stdout gets JSON also when it fails: `code` and `message`.
pub fn run(command: ClientCommand) -> Result<(), ClientError> {
    let out = Output { json: command.client.json };
    match carry_out(command, out) {
        // Whoever read our output has enough of it: `lanspread games | head`.
        Err(ClientError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        // stdout has the findings.
        Err(error @ ClientError::Found { .. }) => Err(error),
        Err(error) if out.json => {
            out.json(&json!({"code": error.code(), "message": error.to_string()}))?;
            Err(error)
        }
        result => result,
    }
}

fn carry_out(command: ClientCommand, out: Output) -> Result<(), ClientError> {
    let home = home(|name| std::env::var_os(name));
    let given = command.client.state_dir.map(|dir| without_tilde(dir, home.as_deref()));
    let given = given.transpose().map_err(|_| ClientError::NoStateDir)?;
    let state_dir = given.or_else(|| default_state_dir(|name| std::env::var_os(name)));
    let state_dir = state_dir.ok_or(ClientError::NoStateDir)?;
    (command.run)(&Session { state_dir, out })
}

/// What a sub-command works with.
struct Session {
    state_dir: PathBuf,
    out: Output,
}

impl Session {
    fn daemon(&self) -> Result<Daemon, ClientError> {
        Daemon::find(self.state_dir.clone())
    }

    /// Asks the daemon, and shows what it answers.
    fn show<C: Call>(&self, call: C, words: impl FnOnce(&C::Reply) -> String) -> Result<(), ClientError> {
        self.out.show(&self.daemon()?.call(call)?, words)
    }
}

/// stdout.
#[derive(Clone, Copy)]
struct Output {
    json: bool,
}

impl Output {
    /// An answer, in the form that was asked for; as JSON also where the words of a later version are not known.
    fn show<T: DeserializeOwned>(
        self,
        answer: &Answer<T>,
        words: impl FnOnce(&T) -> String,
    ) -> Result<(), ClientError> {
        match answer.read() {
            Ok(record) if !self.json => self.text(&words(&record)),
            _ => self.json(&answer.json),
        }
    }

    /// One line of JSON.
    fn json(self, value: &Value) -> Result<(), ClientError> {
        self.text(&format!("{}\n", show::json_line(value)))
    }

    fn text(self, text: &str) -> Result<(), ClientError> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(ClientError::Output)
    }
}
