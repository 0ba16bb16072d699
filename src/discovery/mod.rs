//! Finding other PCs by mDNS (RFC 6762) and DNS-SD (RFC 6763), and being found.
//!
//! One thread owns the adapter to mdns-sd. It advertises this daemon all the time and browses by a duty cycle: a
//! window at the start and after a change of interfaces, then a short one every few minutes. Every daemon that browses
//! refreshes every other's records, so browsing all the time would cost the segment n² packets; the newcomer finds the
//! others and dials, which is enough.
//!
//! What comes out is a hint: nothing in an advertisement is proved before a connection has shown the peer's key.

mod diagnose;
mod duty;
mod interfaces;
mod rank;
mod service;
#[cfg(test)]
mod tests;
mod txt;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Sender;

pub(crate) use self::diagnose::diagnose;
pub(crate) use self::interfaces::kind_between;
use crate::types::{LibraryStamp, PeerId};

/// DNS-SD service type.
pub const SERVICE_TYPE: &str = "_lanspread._udp.local.";

/// What to advertise, and how often to do what.
#[derive(Clone, Debug)]
pub struct DiscoveryConfig {
    /// This peer; its own advertisement is never reported.
    pub peer_id: PeerId,
    /// UDP port of the QUIC socket(s).
    pub port: u16,
    /// Addresses the QUIC sockets are bound to. The unspecified address of a family stands for all of its addresses;
    /// none at all stands for all addresses of both families.
    pub listen: Vec<IpAddr>,
    /// Version of the protocol.
    pub proto_ver: u32,
    /// Name for people; left out when it is not fit for an advertisement.
    pub hostname: Option<String>,
    /// Cached records above which the adapter is restarted, since mdns-sd's cache has no bound of its own. 16,384
    /// records take about 12 MiB; a party of 1,000 PCs with two interfaces each makes about 8,000.
    pub max_records: usize,
    /// UDP port of mDNS: 5353, except in tests that must not meet anybody else.
    pub mdns_port: u16,
    /// How often.
    pub timers: DiscoveryTimers,
}

impl DiscoveryConfig {
    /// The defaults for a peer that listens on all interfaces.
    pub fn new(peer_id: PeerId, port: u16, proto_ver: u32) -> Self {
        Self {
            peer_id,
            port,
            listen: vec![IpAddr::from([0, 0, 0, 0]), IpAddr::from([0u16; 8])],
            proto_ver,
            hostname: None,
            max_records: 16_384,
            mdns_port: mdns_sd::MDNS_PORT,
            timers: DiscoveryTimers::default(),
        }
    }
}

/// The rhythm of discovery.
#[derive(Clone, Debug)]
pub struct DiscoveryTimers {
    /// Length of the browse window at the start and after a change of interfaces.
    pub first_window: Duration,
    /// Length of each later window.
    pub window: Duration,
    /// Mean pause between two windows; each is drawn from 50 % to 150 % of it.
    pub pause: Duration,
    /// Least time between two updates of the advertisement.
    pub advertise_every: Duration,
    /// Time between two looks at the number of cached records.
    pub check_every: Duration,
    /// Time between two looks at the system's addresses.
    pub ip_check: Duration,
    /// First pause after a flood of records; doubles up to `flood_pause_max`.
    pub flood_pause: Duration,
    /// Longest such pause.
    pub flood_pause_max: Duration,
}

impl Default for DiscoveryTimers {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            first_window: s(10),
            // mdns-sd asks at once and again after a second: one question is enough.
            window: Duration::from_millis(900),
            pause: s(300),
            advertise_every: s(10),
            check_every: s(30),
            ip_check: s(60),
            flood_pause: s(5),
            flood_pause_max: s(300),
        }
    }
}

/// A peer's advertisement. A hint only: nothing in it is proved.
#[derive(Clone, PartialEq, Debug)]
pub struct Sighted {
    /// Who it says it is.
    pub peer_id: PeerId,
    /// Where, best first, at most 16, never empty. IPv6 link-local addresses carry their scope.
    pub addrs: Vec<SocketAddr>,
    /// What it speaks.
    pub proto_ver: u32,
    /// State of its library. Zero for a peer of another `proto_ver` whose advertisement does not say.
    pub stamp: LibraryStamp,
    /// Name for people: at most 63 bytes, no control characters.
    pub hostname: Option<String>,
}

/// What discovery reports.
#[derive(Clone, PartialEq, Debug)]
pub enum DiscoveryEvent {
    /// A peer is advertised, for the first time in this browse window or with another content than before.
    Sighted(Sighted),
    /// An advertisement was withdrawn or ran out.
    Gone {
        /// Whose.
        peer_id: PeerId,
    },
    /// This host has other addresses than before.
    Interfaces,
}

/// Receives the events, on the discovery thread. It must not block.
pub type Sink = Box<dyn Fn(DiscoveryEvent) + Send>;

/// Discovery could not start.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The mDNS socket or its thread could not be made.
    #[error("mDNS on UDP port {port} could not start: {reason}; run with --no-mdns and --peer to do without")]
    Mdns {
        /// Which port.
        port: u16,
        /// In mdns-sd's words.
        reason: String,
    },
    /// The operating system gave no thread.
    #[error("the discovery thread could not start: {0}")]
    Thread(#[from] std::io::Error),
}

/// The running adapter. Dropping it withdraws the advertisement and ends its threads.
#[derive(Debug)]
pub struct Discovery {
    shared: Arc<Shared>,
    wake: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

/// What the handle and the thread share: the newest order, and counters.
#[derive(Debug, Default)]
struct Shared {
    order: Mutex<Order>,
    dropped: AtomicU64,
    /// How often somebody asked for a new look.
    looks: AtomicU64,
    /// Peers that this PC is connected with.
    connected: AtomicUsize,
    restarts: AtomicU64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Order {
    stamp: Option<LibraryStamp>,
    shutdown: bool,
}

impl Shared {
    fn order(&self) -> Order {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, change: impl FnOnce(&mut Order)) {
        change(&mut self.order.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Discovery {
    /// Opens the mDNS sockets and begins to browse. Nothing is advertised before [`Discovery::advertise`].
    pub fn start(config: DiscoveryConfig, sink: Sink) -> Result<Self, DiscoveryError> {
        let shared = Arc::new(Shared::default());
        // One place is enough: the order itself is a slot in which the newest wins.
        let (wake, woken) = crossbeam_channel::bounded(1);
        let service = service::Service::open(config, sink, Arc::clone(&shared), woken)?;
        let thread = std::thread::Builder::new().name("discovery".into()).spawn(move || service.run())?;
        Ok(Self { shared, wake, thread: Some(thread) })
    }

    /// What the advertisement says from now on. The first one leaves at once, later ones at most one per
    /// `advertise_every`, the newest winning. Never blocks.
    pub fn advertise(&self, stamp: LibraryStamp) {
        self.shared.set(|order| order.stamp = Some(stamp));
        // Full: the thread has been woken already and will read the slot.
        let _ = self.wake.try_send(());
    }

    /// Begins a new, long browse window and reads the addresses of this host again. Never blocks.
    pub fn look_again(&self) {
        self.shared.looks.fetch_add(1, Ordering::Relaxed);
        let _ = self.wake.try_send(());
    }

    /// How many peers this PC is connected with: the more, the less often others are looked for. Never blocks, wakes nobody.
    pub fn connected(&self, peers: usize) {
        self.shared.connected.store(peers, Ordering::Relaxed);
    }

    /// Events of mDNS that were shed because they came faster than they could be read.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// How often the adapter was restarted because of a flood of records.
    pub fn restarts(&self) -> u64 {
        self.shared.restarts.load(Ordering::Relaxed)
    }

    /// Withdraws the advertisement (goodbye records) and ends the threads; takes a second at most.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        self.shared.set(|order| order.shutdown = true);
        let _ = self.wake.try_send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.stop();
    }
}
