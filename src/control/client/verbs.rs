//! The sub-commands that ask a running daemon: a table of their names, what they take, and what they do.

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, FromArgMatches, Subcommand};

use super::page::Patience;
use super::{ClientArgs, ClientError, Session, follow, page, show};
use crate::api::Accepted;
use crate::api::commands::{
    Adopt, BlockPeer, Call, CancelDownload, ChooseProgram, Connect, Diagnose, Download, Explain, GetGame, Install,
    ListGames, ListPeers, ListPrograms, Metrics, Pause, Play, Prioritise, Remove, Resume, SetLimits, Status,
    UnblockPeer, Uninstall, Verify,
};
use crate::config::{Rates, is_host_port};
use crate::types::{GameId, PeerId, RelPath};

/// Every sub-command, in the order of the help.
const VERBS: &[fn() -> Verb] = &[
    || verb("status", help::<Status>(), |NoArgs {}, on| on.show(Status {}, show::status)),
    || verb("metrics", help::<Metrics>(), |NoArgs {}, on| on.show(Metrics {}, show::metrics)),
    || verb("peers", help::<ListPeers>(), |NoArgs {}, on| on.show(ListPeers {}, show::peers)),
    || verb("games", help::<ListGames>(), |NoArgs {}, on| on.show(ListGames {}, show::games)),
    || verb("get", help::<GetGame>(), |GameArgs { game }, on| on.show(GetGame { game }, show::files)),
    || {
        verb("download", "Download a game and show how it goes; Ctrl-C leaves it running", |args: DownloadArgs, on| {
            let (install, again) = (!args.no_install, args.again);
            operate(on, args.operation, |game| Download { game, install, again })
        })
    },
    || verb("install", help::<Install>(), |args, on| operate(on, args, |game| Install { game })),
    || verb("uninstall", help::<Uninstall>(), |args, on| operate(on, args, |game| Uninstall { game })),
    || verb("adopt", help::<Adopt>(), |args, on| operate(on, args, |game| Adopt { game })),
    || verb("remove", help::<Remove>(), |args, on| operate(on, args, |game| Remove { game })),
    || {
        verb("verify", help::<Verify>(), |VerifyArgs { operation, repair }, on| {
            operate(on, operation, |game| Verify { game, repair })
        })
    },
    || {
        verb("cancel", help::<CancelDownload>(), |GameArgs { game }, on| {
            on.show(CancelDownload { game: game.clone() }, |_| format!("{game}: is being cancelled\n"))
        })
    },
    || verb("why", help::<Explain>(), |GameArgs { game }, on| on.show(Explain { game }, show::explanation)),
    || verb("connect", help::<Connect>(), |ConnectArgs { addr }, on| on.show(Connect { addr }, show::connected)),
    || {
        verb("limits", help::<SetLimits>(), |LimitArgs { max_upload, max_download }, on| {
            let (max_upload, max_download) = (max_upload.map(|rate| rate.0), max_download.map(|rate| rate.0));
            on.show(SetLimits { max_upload, max_download }, show::limits)
        })
    },
    || {
        verb("pause", help::<Pause>(), |NoArgs {}, on| {
            on.show(Pause {}, |_| "transfers are stopped until `lanspread resume`\n".into())
        })
    },
    || verb("resume", help::<Resume>(), |NoArgs {}, on| on.show(Resume {}, |_| "transfers go on\n".into())),
    || verb("doctor", help::<Diagnose>(), |NoArgs {}, on| doctor(on)),
    || {
        verb("open", "Open the web page of the daemon in the browser", |args: OpenArgs, on| {
            let patience = match args {
                OpenArgs { start: true, .. } => Patience::Start,
                OpenArgs { wait: true, .. } => Patience::Wait,
                _ => Patience::None,
            };
            page::open(&on.state_dir, patience, args.print, on.out)
        })
    },
    || verb("play", help::<Play>(), play),
    || verb("programs", help::<ListPrograms>(), |GameArgs { game }, on| on.show(ListPrograms { game }, show::programs)),
    || {
        verb("stop", "Stop the daemon, and wait until it has stopped", |NoArgs {}, on| {
            on.out.show(&on.daemon()?.stop()?, |_| "it has stopped\n".into())
        })
    },
    || {
        verb("prioritise", help::<Prioritise>(), |GameArgs { game }, on| {
            on.show(Prioritise { game: game.clone() }, |_| format!("{game}: is the next to be downloaded\n"))
        })
    },
    || {
        verb("block", help::<BlockPeer>(), |PeerArgs { peer_id }, on| {
            let words = format!("{peer_id} is blocked until the daemon stops, or `lanspread unblock`\n");
            on.show(BlockPeer { peer_id }, |_| words)
        })
    },
    || {
        verb("unblock", help::<UnblockPeer>(), |PeerArgs { peer_id }, on| {
            on.show(UnblockPeer { peer_id }, |_| format!("{peer_id} is unblocked\n"))
        })
    },
];

/// What the table of commands says that it is for.
fn help<C: Call>() -> &'static str {
    C::SPEC.summary
}

fn verbs() -> impl Iterator<Item = Verb> {
    VERBS.iter().map(|verb| verb())
}

type Outcome = Result<(), ClientError>;

/// What is left of a sub-command when its arguments were read.
type Run = Box<dyn FnOnce(&Session) -> Outcome>;

/// Reads the arguments.
type Read = Box<dyn Fn(&ArgMatches) -> Result<Run, clap::Error>>;

struct Verb {
    command: clap::Command,
    read: Read,
}

fn verb<A: Args + 'static>(name: &'static str, help: &'static str, run: fn(A, &Session) -> Outcome) -> Verb {
    let command = ClientArgs::augment_args(A::augment_args(clap::Command::new(name)));
    let read = move |matches: &ArgMatches| {
        let args = A::from_arg_matches(matches)?;
        Ok(Box::new(move |session: &Session| run(args, session)) as Run)
    };
    Verb { command: command.about(help), read: Box::new(read) }
}

/// A sub-command that asks a running daemon, as it was typed.
pub struct ClientCommand {
    pub(super) client: ClientArgs,
    pub(super) run: Run,
}

impl FromArgMatches for ClientCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let found = matches.subcommand().and_then(|(name, matches)| {
            let verb = verbs().find(|verb| verb.command.get_name() == name)?;
            Some((verb, matches))
        });
        let (verb, matches) = found.ok_or_else(|| clap::Error::new(ErrorKind::InvalidSubcommand))?;
        Ok(Self { client: ClientArgs::from_arg_matches(matches)?, run: (verb.read)(matches)? })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Subcommand for ClientCommand {
    fn augment_subcommands(command: clap::Command) -> clap::Command {
        command.subcommands(verbs().map(|verb| verb.command))
    }

    fn augment_subcommands_for_update(command: clap::Command) -> clap::Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        verbs().any(|verb| verb.command.get_name() == name)
    }
}

fn operate<C: Call<Reply = Accepted>>(on: &Session, args: OperationArgs, call: impl FnOnce(GameId) -> C) -> Outcome {
    let daemon = on.daemon()?;
    let game = args.game.game;
    let command = call(game.clone()).into();
    if args.no_wait {
        return on.out.show(&daemon.send::<C>(&command)?, |answer| show::accepted(&command, answer));
    }
    follow::operation::<C>(&daemon, &game, &command, on.out)
}

/// Exit code 1 when something was found, as for every check.
fn doctor(on: &Session) -> Outcome {
    let answer = on.daemon()?.call(Diagnose {})?;
    on.out.show(&answer, show::findings)?;
    match answer.read()?.findings.len() {
        0 => Ok(()),
        count => Err(ClientError::Found { count }),
    }
}

fn play(args: PlayArgs, on: &Session) -> Outcome {
    let game = args.game.game;
    if let Some(program) = args.program {
        on.daemon()?.call(ChooseProgram { game: game.clone(), program })?;
    }
    on.show(Play { game: game.clone() }, |started| format!("{game}: {} runs\n", show::text(&started.program)))
}

/// For what needs nothing else.
#[derive(Args)]
struct NoArgs {}

/// For what is about one game.
#[derive(Args)]
struct GameArgs {
    /// Id of the game, as `lanspread games` lists it
    game: GameId,
}

/// For what takes a while.
#[derive(Args)]
struct OperationArgs {
    #[command(flatten)]
    game: GameArgs,
    /// Only start it
    #[arg(long, display_order = 10)]
    no_wait: bool,
}

/// For `download`.
#[derive(Args)]
struct DownloadArgs {
    #[command(flatten)]
    operation: OperationArgs,
    /// Do not install it afterwards
    #[arg(long, display_order = 11)]
    no_install: bool,
    /// Fetch it also over your own copy of the same version
    #[arg(long, display_order = 12)]
    again: bool,
}

/// For `verify`.
#[derive(Args)]
struct VerifyArgs {
    #[command(flatten)]
    operation: OperationArgs,
    /// Fetch what is damaged
    #[arg(long, display_order = 11)]
    repair: bool,
}

/// For `limits`.
#[derive(Args)]
struct LimitArgs {
    /// To other PCs, such as 50MB/s, 400Mbit/s or unlimited
    #[arg(long, value_name = "RATE", value_parser = rate)]
    max_upload: Option<Rate>,
    /// From other PCs
    #[arg(long, value_name = "RATE", value_parser = rate)]
    max_download: Option<Rate>,
}

/// Bytes per second; `None`: as fast as it goes.
#[derive(Clone, Copy, Debug)]
struct Rate(Option<u64>);

fn rate(text: &str) -> Result<Rate, String> {
    Rates::parse(text).map(Rate).ok_or_else(|| format!("expected {}", Rates::FORM))
}

/// For `open`.
#[derive(Args)]
struct OpenArgs {
    /// Only print the address, which works once, within a minute
    #[arg(long)]
    print: bool,
    /// Wait up to 20 seconds for a daemon that is just starting
    #[arg(long)]
    wait: bool,
    /// Start the daemon in the background when none runs, as `lanspread run` does
    #[arg(long)]
    start: bool,
}

/// For `play`.
#[derive(Args)]
struct PlayArgs {
    #[command(flatten)]
    game: GameArgs,
    /// Start this program from now on, a path that `lanspread programs` lists
    #[arg(long, display_order = 10, value_name = "PATH", value_parser = |text: &str| RelPath::parse_unreserved(text))]
    program: Option<RelPath>,
}

/// For `block` and `unblock`.
#[derive(Args)]
struct PeerArgs {
    /// Id of the PC, as `lanspread peers` lists it
    peer_id: PeerId,
}

/// For `connect`.
#[derive(Args)]
struct ConnectArgs {
    /// HOST:PORT or [IPV6]:PORT
    #[arg(value_parser = host_port)]
    addr: String,
}

fn host_port(text: &str) -> Result<String, &'static str> {
    if is_host_port(text) { Ok(text.to_owned()) } else { Err("expected HOST:PORT or [IPV6]:PORT") }
}
