//! The command line as a client of a running daemon: asks over HTTP, shows the answer to a person, or as JSON.
//!
//! The daemon is found by the state directory, in which it wrote its address and a token.

mod daemon;
mod follow;
mod page;
mod show;

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::api::PeerCommand;
use crate::config::{Rates, default_state_dir, home, is_host_port, without_tilde};
use crate::types::{GameId, PeerId, RelPath};

use daemon::Daemon;

/// What every sub-command takes.
#[derive(clap::Args, Clone, Debug)]
pub struct ClientArgs {
    /// State directory of the daemon [default: the platform's]
    #[arg(long, value_name = "DIR", env = "LANSPREAD_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Answer as JSON on stdout
    #[arg(long)]
    json: bool,
}

/// Sub-commands that ask a running daemon.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum ClientCommand {
    /// Show what the running daemon does
    Status(ClientArgs),
    /// Show what it moves, holds and waits for
    Metrics(ClientArgs),
    /// List the PCs that it knows
    Peers(ClientArgs),
    /// List the games, here and at other PCs
    Games(ClientArgs),
    /// List the files of a game
    Get(GameArgs),
    /// Download a game and show how it goes; Ctrl-C leaves it running
    Download(DownloadArgs),
    /// Install a downloaded game, or update its installation
    Install(OperationArgs),
    /// Remove an installation; the downloaded files stay
    Uninstall(OperationArgs),
    /// Let lanspread update and remove an installation that it did not make
    Adopt(OperationArgs),
    /// Remove the downloaded files of a game that is not installed
    Remove(OperationArgs),
    /// Hold the downloaded files against what is known of them
    Verify(VerifyArgs),
    /// End what runs on a game; of a download nothing stays
    Cancel(GameArgs),
    /// Say what a download waits for, and what each of its sources is doing
    Why(GameArgs),
    /// Connect to a PC that discovery does not find
    Connect(ConnectArgs),
    /// Show or change how fast games may go out and come in
    Limits(LimitArgs),
    /// Stop all transfers, both ways
    Pause(ClientArgs),
    /// Let transfers go on
    Resume(ClientArgs),
    /// Look for what is wrong on this PC and with the others, and say what to do about it
    Doctor(ClientArgs),
    /// Open the web page of the daemon in the browser
    Open(OpenArgs),
    /// Start an installed game on this PC
    Play(PlayArgs),
    /// List what can be started of an installed game
    Programs(GameArgs),
    /// Stop the daemon, and wait until it has stopped
    Stop(ClientArgs),
    /// Let a waiting download be the next
    Prioritise(GameArgs),
    /// Have nothing to do with a PC until the daemon stops
    Block(PeerArgs),
    /// Deal with a blocked PC again
    Unblock(PeerArgs),
}

/// A game, and what every sub-command takes.
#[derive(clap::Args, Clone, Debug)]
pub struct GameArgs {
    /// Id of the game, as `lanspread games` lists it
    game: GameId,
    #[command(flatten)]
    client: ClientArgs,
}

/// For what takes a while.
#[derive(clap::Args, Clone, Debug)]
pub struct OperationArgs {
    #[command(flatten)]
    game: GameArgs,
    /// Only start it
    #[arg(long)]
    no_wait: bool,
}

/// For `download`.
#[derive(clap::Args, Clone, Debug)]
pub struct DownloadArgs {
    #[command(flatten)]
    operation: OperationArgs,
    /// Do not install it afterwards
    #[arg(long)]
    no_install: bool,
    /// Fetch it also over your own copy of the same version
    #[arg(long)]
    again: bool,
}

/// For `verify`.
#[derive(clap::Args, Clone, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    operation: OperationArgs,
    /// Fetch what is damaged
    #[arg(long)]
    repair: bool,
}

/// For `limits`.
#[derive(clap::Args, Clone, Debug)]
pub struct LimitArgs {
    /// To other PCs, such as 50MB/s, 400Mbit/s or unlimited
    #[arg(long, value_name = "RATE", value_parser = rate)]
    max_upload: Option<Rate>,
    /// From other PCs
    #[arg(long, value_name = "RATE", value_parser = rate)]
    max_download: Option<Rate>,
    #[command(flatten)]
    client: ClientArgs,
}

/// Bytes per second; `None`: as fast as it goes.
#[derive(Clone, Copy, Debug)]
struct Rate(Option<u64>);

fn rate(text: &str) -> Result<Rate, String> {
    Rates::parse(text).map(Rate).ok_or_else(|| format!("expected {}", Rates::FORM))
}

/// For `open`.
#[derive(clap::Args, Clone, Debug)]
pub struct OpenArgs {
    /// Only print the address, which works once, within a minute
    #[arg(long)]
    print: bool,
    /// Wait up to 20 seconds for a daemon that is just starting
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// For `play`.
#[derive(clap::Args, Clone, Debug)]
pub struct PlayArgs {
    #[command(flatten)]
    game: GameArgs,
    /// Start this program from now on, a path that `lanspread programs` lists
    #[arg(long, value_name = "PATH", value_parser = |text: &str| RelPath::parse_unreserved(text))]
    program: Option<RelPath>,
}

/// For `block` and `unblock`.
#[derive(clap::Args, Clone, Debug)]
pub struct PeerArgs {
    /// Id of the PC, as `lanspread peers` lists it
    peer_id: PeerId,
    #[command(flatten)]
    client: ClientArgs,
}

/// For `connect`.
#[derive(clap::Args, Clone, Debug)]
pub struct ConnectArgs {
    /// HOST:PORT or [IPV6]:PORT
    #[arg(value_parser = host_port)]
    addr: String,
    #[command(flatten)]
    client: ClientArgs,
}

fn host_port(text: &str) -> Result<String, &'static str> {
    if is_host_port(text) { Ok(text.to_owned()) } else { Err("expected HOST:PORT or [IPV6]:PORT") }
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
    /// 1 it failed, 2 wrong usage, 4 no daemon runs, 130 interrupted (128 + SIGINT).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoStateDir => 2,
            Self::NotRunning { .. } => 4,
            Self::Interrupted(_) => 130,
            Self::Unreadable { .. } | Self::Refused { .. } | Self::Broken(_) | Self::Found { .. } | Self::Output(_) => {
                1
            }
        }
    }

    fn code(&self) -> &str {
        match self {
            Self::NoStateDir => "usage",
            Self::NotRunning { .. } => "not-running",
            Self::Interrupted(_) => "interrupted",
            Self::Found { .. } => "found",
            Self::Refused { code, .. } => code,
            Self::Broken(_) => "no-answer",
            Self::Unreadable { .. } | Self::Output(_) => "io",
        }
    }

    /// Says in the message of a refused `command` what to do about it, where the daemon's words leave that open.
    fn with_advice(mut self, command: &PeerCommand, game: &GameId) -> Self {
        if let Self::Refused { code, message } = &mut self {
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

impl ClientCommand {
    fn args(&self) -> &ClientArgs {
        match self {
            Self::Metrics(args)
            | Self::Status(args)
            | Self::Peers(args)
            | Self::Games(args)
            | Self::Stop(args)
            | Self::Doctor(args)
            | Self::Pause(args)
            | Self::Resume(args) => args,
            Self::Get(game) | Self::Why(game) | Self::Cancel(game) | Self::Programs(game) | Self::Prioritise(game) => {
                &game.client
            }
            Self::Open(open) => &open.client,
            Self::Play(play) => &play.game.client,
            Self::Download(download) => &download.operation.game.client,
            Self::Install(args) | Self::Uninstall(args) | Self::Adopt(args) | Self::Remove(args) => &args.game.client,
            Self::Verify(verify) => &verify.operation.game.client,
            Self::Connect(connect) => &connect.client,
            Self::Limits(limits) => &limits.client,
            Self::Block(peer) | Self::Unblock(peer) => &peer.client,
        }
    }
}

/// Carries a sub-command out. With `--json` stdout gets JSON also when it fails: `code` and `message`.
pub fn run(command: ClientCommand) -> Result<(), ClientError> {
    let json = command.args().json;
    let mut out = Output { json };
    match carry_out(command, &mut out) {
        // Whoever read our output has enough of it: `lanspread games | head`.
        Err(ClientError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        // stdout has the findings.
        Err(error @ ClientError::Found { .. }) => Err(error),
        Err(error) if json => {
            out.json(&json!({"code": error.code(), "message": error.to_string()}))?;
            Err(error)
        }
        result => result,
    }
}

fn carry_out(command: ClientCommand, out: &mut Output) -> Result<(), ClientError> {
    let home = home(|name| std::env::var_os(name));
    let given = command.args().state_dir.clone().map(|dir| without_tilde(dir, home.as_deref()));
    let given = given.transpose().map_err(|_| ClientError::NoStateDir)?;
    let state_dir = given.or_else(|| default_state_dir(|name| std::env::var_os(name)));
    let state_dir = state_dir.ok_or(ClientError::NoStateDir)?;
    if let ClientCommand::Open(args) = &command {
        return page::open(state_dir, args.wait, args.print, out);
    }
    let daemon = Daemon::find(state_dir)?;
    match command {
        // It finds the daemon by itself.
        ClientCommand::Open(_) => Ok(()),
        ClientCommand::Play(args) => play(&daemon, args, out),
        ClientCommand::Programs(args) => {
            let command = PeerCommand::ListPrograms { game: args.game.clone() };
            out.show(&send(&daemon, &args.game, &command)?, show::programs)
        }
        ClientCommand::Doctor(_) => doctor(&daemon, out),
        ClientCommand::Stop(_) => daemon.stop().and_then(|answer| out.show(&answer, |_| "it has stopped\n".into())),
        ClientCommand::Status(_) => out.show(&daemon.get("status")?, show::status),
        ClientCommand::Metrics(_) => out.show(&daemon.send(&PeerCommand::Metrics)?, show::metrics),
        ClientCommand::Peers(_) => out.show(&daemon.get("peers")?, show::peers),
        ClientCommand::Games(_) => out.show(&daemon.get("games")?, show::games),
        ClientCommand::Get(args) => {
            let command = PeerCommand::GetGame { game: args.game.clone() };
            out.show(&send(&daemon, &args.game, &command)?, show::files)
        }
        ClientCommand::Cancel(args) => {
            let command = PeerCommand::CancelDownload { game: args.game.clone() };
            out.show(&send(&daemon, &args.game, &command)?, |_| format!("{}: is being cancelled\n", args.game))
        }
        ClientCommand::Why(args) => {
            let command = PeerCommand::Explain { game: args.game.clone() };
            out.show(&send(&daemon, &args.game, &command)?, show::explanation)
        }
        ClientCommand::Connect(args) => {
            out.show(&daemon.send(&PeerCommand::Connect { addr: args.addr })?, show::connected)
        }
        ClientCommand::Download(args) => {
            let (install, again) = (!args.no_install, args.again);
            operate(&daemon, args.operation, out, |game| PeerCommand::Download { game, install, again })
        }
        ClientCommand::Install(args) => operate(&daemon, args, out, |game| PeerCommand::Install { game }),
        ClientCommand::Uninstall(args) => operate(&daemon, args, out, |game| PeerCommand::Uninstall { game }),
        ClientCommand::Adopt(args) => operate(&daemon, args, out, |game| PeerCommand::Adopt { game }),
        ClientCommand::Remove(args) => operate(&daemon, args, out, |game| PeerCommand::Remove { game }),
        ClientCommand::Verify(VerifyArgs { operation, repair }) => {
            operate(&daemon, operation, out, |game| PeerCommand::Verify { game, repair })
        }
        ClientCommand::Limits(args) => {
            let (max_upload, max_download) = (args.max_upload.map(|r| r.0), args.max_download.map(|r| r.0));
            out.show(&daemon.send(&PeerCommand::SetLimits { max_upload, max_download })?, show::limits)
        }
        ClientCommand::Pause(_) => {
            out.show(&daemon.send(&PeerCommand::Pause)?, |_| "transfers are stopped until `lanspread resume`\n".into())
        }
        ClientCommand::Resume(_) => out.show(&daemon.send(&PeerCommand::Resume)?, |_| "transfers go on\n".into()),
        ClientCommand::Prioritise(args) => {
            let command = PeerCommand::Prioritise { game: args.game.clone() };
            out.show(&send(&daemon, &args.game, &command)?, |_| {
                format!("{}: is the next to be downloaded\n", args.game)
            })
        }
        ClientCommand::Block(PeerArgs { peer_id, .. }) => {
            let words = format!("{peer_id} is blocked until the daemon stops, or `lanspread unblock`\n");
            out.show(&daemon.send(&PeerCommand::BlockPeer { peer_id })?, |_| words)
        }
        ClientCommand::Unblock(PeerArgs { peer_id, .. }) => {
            out.show(&daemon.send(&PeerCommand::UnblockPeer { peer_id })?, |_| format!("{peer_id} is unblocked\n"))
        }
    }
}

fn operate(
    daemon: &Daemon,
    args: OperationArgs,
    out: &mut Output,
    command: impl FnOnce(GameId) -> PeerCommand,
) -> Result<(), ClientError> {
    let game = args.game.game;
    let command = command(game.clone());
    if args.no_wait {
        return out.show(&send(daemon, &game, &command)?, |answer| show::accepted(command.name(), answer));
    }
    follow::operation(daemon, &game, &command, out)
}

/// Exit code 1 when something was found, as for every check.
fn doctor(daemon: &Daemon, out: &mut Output) -> Result<(), ClientError> {
    let answer = daemon.send(&PeerCommand::Diagnose)?;
    out.show(&answer, show::findings)?;
    match answer["findings"].as_array().map_or(0, Vec::len) {
        0 => Ok(()),
        count => Err(ClientError::Found { count }),
    }
}

fn play(daemon: &Daemon, args: PlayArgs, out: &mut Output) -> Result<(), ClientError> {
    let game = args.game.game;
    if let Some(program) = args.program {
        send(daemon, &game, &PeerCommand::ChooseProgram { game: game.clone(), program })?;
    }
    let command = PeerCommand::Play { game: game.clone() };
    out.show(&send(daemon, &game, &command)?, |answer| format!("{game}: {} runs\n", show::text(&answer["program"])))
}

/// Sends a command about `game`.
fn send(daemon: &Daemon, game: &GameId, command: &PeerCommand) -> Result<Value, ClientError> {
    daemon.send(command).map_err(|error| error.with_advice(command, game))
}

/// stdout.
struct Output {
    json: bool,
}

impl Output {
    /// An answer, in the form that was asked for.
    fn show(&mut self, answer: &Value, words: impl FnOnce(&Value) -> String) -> Result<(), ClientError> {
        if self.json { self.json(answer) } else { self.text(&words(answer)) }
    }

    /// One line of JSON.
    fn json(&mut self, value: &Value) -> Result<(), ClientError> {
        self.text(&format!("{}\n", show::json_line(value)))
    }

    fn text(&mut self, text: &str) -> Result<(), ClientError> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(ClientError::Output)
    }
}
