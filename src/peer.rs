//! A running daemon, as a program that embeds it sees it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use crossbeam_channel::Receiver;

use crate::api::{CommandResult, PeerCommand, PeerEvent};
use crate::catalog::{Catalog, Keeper};
use crate::config::Config;
use crate::fs::{Dir, DirLock};
use crate::identity::{Identity, PartyKey};
use crate::reactor::{self, Mailbox, Order, StartError};
use crate::types::PeerId;

/// The daemon has stopped; nothing takes commands any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the daemon has stopped")]
pub struct Stopped;

/// A running daemon. Dropping it does not stop it: send [`PeerCommand::Shutdown`], then [`Peer::join`].
pub struct Peer {
    peer_id: PeerId,
    listen_addrs: Vec<SocketAddr>,
    orders: Mailbox<Order>,
    events: Receiver<PeerEvent>,
    thread: Mutex<Option<JoinHandle<()>>>,
    failure: Arc<OnceLock<String>>,
}

impl Peer {
    /// Locks the state directory, loads or makes the identity, reads the party key, loads the catalog, binds the sockets and starts the
    /// threads. The game directory is opened in the background: [`PeerEvent::LocalPeerReady`] follows, or a
    /// [`PeerEvent::RuntimeError`] and the end, of which [`Peer::failure`] says why.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let state_lock = lock_state_dir(&config.state_dir)?;
        let mut identity = Identity::load_or_create(&config.state_dir)?;
        if let Some(path) = &config.party_key_file {
            identity = identity.in_party(PartyKey::load(path)?);
        }
        let (keeper, catalog) = match &config.catalog {
            Some(source) => {
                let (keeper, catalog) = Keeper::open(source.clone(), config.catalog_key, &config.state_dir)?;
                (Some(keeper), catalog)
            }
            None => (None, Arc::new(Catalog::open_to_all())),
        };
        let peer_id = identity.peer_id();
        let started = reactor::start(config, identity, catalog, keeper, state_lock)?;
        Ok(Self {
            peer_id,
            listen_addrs: started.listen_addrs,
            orders: started.orders,
            events: started.events,
            thread: Mutex::new(Some(started.thread)),
            failure: started.failure,
        })
    }

    /// Who this daemon is.
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// Where it listens: one address per family, sharing one port.
    pub fn listen_addrs(&self) -> &[SocketAddr] {
        &self.listen_addrs
    }

    /// A handle to send commands with.
    pub fn commands(&self) -> CommandSender {
        CommandSender { orders: self.orders.clone() }
    }

    /// The events. All clones share one queue; it closes when the daemon has stopped. Events that nobody reads are
    /// shed, which is said in a [`PeerEvent::RuntimeError`].
    pub fn events(&self) -> Receiver<PeerEvent> {
        self.events.clone()
    }

    /// Waits until the daemon has stopped.
    pub fn join(&self) {
        // Held while waiting: whoever else joins waits as well.
        let mut thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(thread) = thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the reactor ended by a panic");
        }
    }

    /// Why the daemon stopped without having been ready: its game directory cannot be used; in words, with what to do.
    /// Complete once [`Peer::join`] has returned.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }
}

/// Sends commands to a daemon; cheap to clone.
#[derive(Clone)]
pub struct CommandSender {
    orders: Mailbox<Order>,
}

impl CommandSender {
    /// Hands a command over; `reply` is called once with the answer, on the daemon's thread, and must not block. It is
    /// not called when the daemon stops before the command was carried out.
    pub fn send(
        &self,
        command: PeerCommand,
        reply: impl FnOnce(CommandResult) + Send + 'static,
    ) -> Result<(), Stopped> {
        self.orders.send(Order { command, reply: Box::new(reply) }).map_err(|_| Stopped)
    }

    /// Hands a command over and waits for its answer.
    pub fn call(&self, command: PeerCommand) -> Result<CommandResult, Stopped> {
        let (answer, answered) = crossbeam_channel::bounded(1);
        self.send(command, move |result| drop(answer.send(result)))?;
        answered.recv().map_err(|_| Stopped)
    }
}

fn lock_state_dir(path: &Path) -> Result<DirLock, StartError> {
    let failed = |error: &dyn std::fmt::Display| {
        StartError::Directory(format!("cannot use the state directory {}: {error}", path.display()))
    };
    std::fs::create_dir_all(path).map_err(|error| failed(&error))?;
    Dir::open(path).and_then(|dir| dir.lock("lock")).map_err(|error| failed(&error))
}
