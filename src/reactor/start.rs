//! What happens before the first turn.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use crossbeam_channel::Receiver;

use super::crew::Crew;
use super::events::Subscriber;
use super::inbox::{Mailbox, Order, Orders};
use super::lookout::Lookout;
use super::metrics::Measures;
use super::mirrors::WebServers;
use super::pools::Pools;
use super::streams::Streams;
use super::waiting::{WAKER, Waiting};
use super::watch::Watch;
use super::{Ending, Reactor, now_outside_the_engine};
use crate::api::{ErrorCode, PeerEvent};
use crate::catalog::{Catalog, Keeper};
use crate::config::Config;
use crate::engine::Engine;
use crate::fs::DirLock;
use crate::identity::Identity;
use crate::mirror;
use crate::quic::Endpoint;
use crate::workers::Workers;

/// First token of the endpoint.
const ENDPOINT_TOKENS: usize = WAKER.0 + 1;

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The identity.
    #[error(transparent)]
    Identity(#[from] crate::identity::IdentityError),
    /// The party key.
    #[error(transparent)]
    PartyKey(#[from] crate::identity::PartyKeyError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] crate::catalog::CatalogError),
    /// The sockets.
    #[error(transparent)]
    Bind(#[from] crate::quic::BindError),
    /// The state or game directory is held by another daemon, or cannot be used.
    #[error("{0}")]
    Directory(String),
    /// A thread, the poll or its waker.
    #[error("the operating system gave no {what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// Its answer.
        source: io::Error,
    },
}

/// What [`start`] hands back.
pub(crate) struct Started {
    pub(crate) orders: Mailbox<Order>,
    pub(crate) events: Receiver<PeerEvent>,
    pub(crate) listen_addrs: Vec<SocketAddr>,
    pub(crate) thread: JoinHandle<()>,
    /// Why it stopped without having been ready; set before the thread ends.
    pub(crate) failure: Arc<OnceLock<String>>,
}

/// Binds the sockets, starts the threads, and lets the reactor run.
///
/// `state_lock` is held until the reactor's thread ends.
pub(crate) fn start(
    config: Config,
    identity: Identity,
    catalog: Arc<Catalog>,
    keeper: Option<Keeper>,
    state_lock: DirLock,
) -> Result<Started, StartError> {
    let system = |what| move |source| StartError::System { what, source };
    let now = now_outside_the_engine();
    let waiting = Waiting::new().map_err(|(what, source)| StartError::System { what, source })?;
    let wake = waiting.wake().clone();
    let wakes = {
        let wake = wake.clone();
        Arc::new(move || wake.wake())
    };
    let endpoint = Endpoint::bind(&config, &identity, waiting.registry(), ENDPOINT_TOKENS, now)?;
    let listen_addrs = endpoint.local_addrs();
    let (mailbox, orders) = Orders::new(wake.clone());
    let (mut subscriber, events) = Subscriber::new();
    let workers = Workers::start(config.limits.workers, crate::discovery::diagnose, wakes.clone())
        .map_err(system("worker thread"))?;
    // What the threads of the mirrors still hold of cancelled runs is nobody's reservation.
    let slack = config.mirrors.len() * mirror::THREADS;
    let pools = Pools::new(config.limits.landing_buffers + slack, config.limits.read_buffers);
    let mirrors = WebServers::start(&config, &pools.landing, wakes).map_err(system("mirror thread"))?;
    let (lookout, blind) = Lookout::start(&config, &identity, &listen_addrs, wake.clone());
    if let Some(message) = blind {
        subscriber.tell(PeerEvent::RuntimeError { code: ErrorCode::Io, message });
    }
    let failure = Arc::new(OnceLock::new());
    let reactor = Reactor {
        engine: Engine::new(config.clone(), catalog, identity.peer_id(), seed(), now_outside_the_engine()),
        watch: Watch::new(config.limits.max_watches, wake),
        measures: Measures::new(now_outside_the_engine()),
        ending: Ending { at: None, failure: failure.clone(), _state_lock: state_lock },
        streams: Streams::default(),
        inputs: std::collections::VecDeque::new(),
        crew: Crew::new(workers, keeper),
        config,
        waiting,
        orders,
        lookout,
        endpoint,
        pools,
        mirrors,
        subscriber,
    };
    let thread = std::thread::Builder::new()
        .name("reactor".into())
        .spawn(move || reactor.run())
        .map_err(system("reactor thread"))?;
    Ok(Started { orders: mailbox, events, listen_addrs, thread, failure })
}

/// Seed of the engine's generator: spreads out epochs and jitter, keeps no secret.
fn seed() -> u64 {
    use ring::rand::SecureRandom;
    let mut bytes = [0; 8];
    // Without randomness the identity could not have been made; zero only costs jitter.
    let _ = ring::rand::SystemRandom::new().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
