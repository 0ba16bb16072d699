//! A daemon in this process, with a temporary identity and a directory that goes with it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select};

use super::BenchError;
use super::game::{Scratch, at};
use crate::api::{CommandData, GameRow, Metrics, PeerCommand, PeerEvent};
use crate::config::Config;
use crate::{CommandSender, Peer};

/// How long a daemon may say nothing while something is expected of it.
const PATIENCE: Duration = Duration::from_secs(120);
/// Time between two looks at what is not announced by an event.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A running daemon.
pub(super) struct Node {
    peer: Peer,
    commands: CommandSender,
    events: Receiver<PeerEvent>,
    interrupt: Receiver<()>,
}

impl Node {
    /// Starts one below `scratch`, without multicast and without doors; `change` may change its configuration.
    pub(super) fn start(
        scratch: &Scratch,
        interrupt: &Receiver<()>,
        change: impl FnOnce(&mut Config),
    ) -> Result<Self, BenchError> {
        let games = games(scratch.dir.path());
        std::fs::create_dir_all(&games).map_err(at(&games))?;
        let mut config = Config::new(games, scratch.dir.path().join("state"));
        config.mdns = false;
        // Its games are written before it starts, and by nobody else.
        config.timers.arriving_quiet = Duration::from_millis(1);
        config.hostname = Some("lanspread-bench".into());
        change(&mut config);
        let peer = Peer::start(config)?;
        Ok(Self { commands: peer.commands(), events: peer.events(), peer, interrupt: interrupt.clone() })
    }

    pub(super) fn peer_id(&self) -> String {
        self.peer.peer_id().to_string()
    }

    pub(super) fn listen_addrs(&self) -> &[SocketAddr] {
        self.peer.listen_addrs()
    }

    pub(super) fn call(&self, command: PeerCommand) -> Result<CommandData, BenchError> {
        let name = command.name();
        let stopped = |_| BenchError::Step("the daemon in this process has stopped".into());
        let answer = self.commands.call(command).map_err(stopped)?;
        answer.map_err(|error| BenchError::Step(format!("{name}: {error}")))
    }

    pub(super) fn metrics(&self) -> Result<Metrics, BenchError> {
        match self.call(PeerCommand::Metrics)? {
            CommandData::Metrics(metrics) => Ok(*metrics),
            _ => Err(BenchError::Step("metrics were answered by something else".into())),
        }
    }

    /// The game of the benchmark, as soon as it is listed and `ready`.
    pub(super) fn game(&self, what: &str, ready: impl Fn(&GameRow) -> bool) -> Result<GameRow, BenchError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let CommandData::Games(list) = self.call(PeerCommand::ListGames)?
                && let Some(row) = list.games.into_iter().find(|row| row.id.as_str() == super::game::GAME && ready(row))
            {
                return Ok(row);
            }
            if Instant::now() >= deadline {
                return Err(BenchError::Step(format!("{what} within {PATIENCE:?}")));
            }
            // Not every change is an event; those that come are of no interest.
            select! {
                recv(self.interrupt) -> _ => return Err(BenchError::Interrupted),
                recv(self.events) -> _ => {}
                default(LOOK_AGAIN) => {}
            }
        }
    }

    /// The next event that `pick` takes.
    pub(super) fn event<T>(&self, what: &str, pick: impl Fn(PeerEvent) -> Option<T>) -> Result<T, BenchError> {
        loop {
            select! {
                recv(self.interrupt) -> _ => return Err(BenchError::Interrupted),
                recv(self.events) -> event => match event {
                    Ok(event) => if let Some(picked) = pick(event) {
                        return Ok(picked);
                    },
                    Err(_) => return Err(BenchError::Step("the daemon in this process has stopped".into())),
                },
                default(PATIENCE) => return Err(BenchError::Step(format!("nothing happened for {PATIENCE:?}: {what}"))),
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // An error means that it has stopped already.
        let _ = self.commands.call(PeerCommand::Shutdown);
        self.peer.join();
    }
}

/// Where the games of a node lie.
pub(super) fn games(dir: &Path) -> std::path::PathBuf {
    dir.join("games")
}
