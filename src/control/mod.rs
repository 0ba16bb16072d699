//! The doors through which programs and people command the daemon. They know commands, answers and events, and
//! nothing of what is behind them.
//!
//! - [`jsonl`]: JSON lines on stdin and stdout, for programs.
//! - [`human`]: events as sentences on stderr, for people who run it in a terminal.
//! - [`http`]: HTTP on loopback, for the command line ([`client`]) and other programs.
//! - [`fan_out`]: hands every event to every door.
//! - [`run`]: joins a door, the signals and a running daemon, until that has stopped.

pub mod client;
mod fanout;
mod file;
pub mod http;
pub mod human;
pub mod jsonl;
mod metrics;
mod parse;
mod run;
mod signals;
mod supervised;

use crate::api::{CommandResult, PeerCommand};

pub use fanout::{Fanout, Idle, Subscription, fan_out};
pub use file::ControlFile;
pub use run::{Asked, Door, End, Running, noting_shutdown, run};
pub use signals::{Signals, SignalsError};

/// Receives the answer to one command, once, on any thread. It must not block.
pub type Reply = Box<dyn FnOnce(CommandResult) + Send>;

/// The daemon has stopped and takes no commands any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the daemon has stopped")]
pub struct Stopped;

/// Where commands go. Every function of the right shape is one.
pub trait Commands: Clone + Send + 'static {
    /// Hands a command over. `reply` is called with the answer, or dropped when the daemon stops first.
    fn send(&self, command: PeerCommand, reply: Reply) -> Result<(), Stopped>;
}

impl<F> Commands for F
where
    F: Fn(PeerCommand, Reply) -> Result<(), Stopped> + Clone + Send + 'static,
{
    fn send(&self, command: PeerCommand, reply: Reply) -> Result<(), Stopped> {
        self(command, reply)
    }
}

/// Asks the daemon to say goodbye and stop. One that has stopped already is fine.
fn shut_down(commands: &impl Commands) {
    let _ = commands.send(PeerCommand::Shutdown, Box::new(|_| {}));
}
