//! Parsed configuration: every limit and timer by name, with its unit and default.
//!
//! A value comes from the first of these that has it: a flag, the environment (`LANSPREAD_…`), the TOML file, the
//! default here.

mod args;
mod defaults;
mod load;
mod settings;
mod units;

pub use args::RunArgs;
pub use defaults::default_state_dir;
pub(crate) use defaults::home;
pub use load::{ConfigError, RunSettings, load};
pub(crate) use load::{is_host_port, parse_catalog_key, without_tilde};
pub use units::{parse_duration, parse_rate, parse_size};

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::types::{CatalogKey, CatalogSource, MirrorUrl, SourceId};

/// Everything that `Peer::start` needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Directory of games: one folder for each.
    pub game_dir: PathBuf,
    /// Directory of identity and control file.
    pub state_dir: PathBuf,
    /// Addresses to listen on, at most one per family, sharing one port. Port 0: a free one.
    pub listen: Vec<SocketAddr>,
    /// File or URL of the catalog; `None`: every valid game id is admitted.
    pub catalog: Option<CatalogSource>,
    /// Whoever must have signed the catalog; `None`: nobody.
    pub catalog_key: Option<CatalogKey>,
    /// File with the secret that all PCs of the party share; `None`: everybody is let in.
    pub party_key_file: Option<PathBuf>,
    /// `host:port` of peers to keep connected without multicast.
    pub static_peers: Vec<String>,
    /// Web servers that hand out games, at most [`Config::MAX_MIRRORS`], each once.
    pub mirrors: Vec<MirrorUrl>,
    /// Whether to advertise and browse by mDNS.
    pub mdns: bool,
    /// Whether to hand out verified chunks of games that are still being downloaded, and to fetch such from others.
    pub swarm: bool,
    /// Name for people.
    pub hostname: Option<String>,
    /// How fast games may go out and come in, at first.
    pub rates: Rates,
    /// Whether sending slows down before packets of other programs have to wait for it.
    pub ping_guard: bool,
    /// How much of everything.
    pub limits: Limits,
    /// How long everything.
    pub timers: Timers,
    /// Congestion control and windows.
    pub transport: Transport,
}

impl Config {
    /// Each has threads of its own.
    pub const MAX_MIRRORS: usize = 8;

    /// Where a source is, if it is a mirror.
    pub fn mirror(&self, source: SourceId) -> Option<&MirrorUrl> {
        self.mirrors.get(source.mirror()?.place())
    }

    /// The defaults for two directories.
    pub fn new(game_dir: PathBuf, state_dir: PathBuf) -> Self {
        Self {
            game_dir,
            state_dir,
            listen: vec![SocketAddr::from(([0, 0, 0, 0], 0)), SocketAddr::from(([0u16; 8], 0))],
            catalog: None,
            catalog_key: None,
            party_key_file: None,
            static_peers: Vec::new(),
            mirrors: Vec::new(),
            mdns: true,
            swarm: true,
            hostname: None,
            rates: Rates::default(),
            ping_guard: true,
            limits: Limits::default(),
            timers: Timers::default(),
            transport: Transport::default(),
        }
    }
}

/// Limits to the rate of game data over all connections, in bytes per second; `None`: as fast as it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rates {
    /// To the peers.
    pub max_upload: Option<u64>,
    /// From the peers.
    pub max_download: Option<u64>,
}

impl Rates {
    /// The lowest limit: below it one chunk takes so long that peers take this one for dead.
    pub const LEAST: u64 = 1_000_000;
    /// What a limit looks like, for messages.
    pub const FORM: &'static str = "\"unlimited\" or a rate from 1MB/s, such as 50MB/s or 400Mbit/s";

    /// Reads one limit.
    pub fn parse(text: &str) -> Option<Option<u64>> {
        if text == "unlimited" {
            return Some(None);
        }
        parse_rate(text).filter(|rate| *rate >= Self::LEAST).map(Some)
    }
}

/// Upper bounds. Whatever the peers do, nothing grows past these.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections, both directions, half open ones included.
    pub connections: usize,
    /// Handshakes that may be under way before newcomers must show their address by a Retry.
    pub half_open_before_retry: usize,
    /// Known peers, connected or not.
    pub peers: usize,
    /// Dials under way at once.
    pub dials: usize,
    /// Games in one peer's library.
    pub games_per_library: usize,
    /// Bytes of memory that the libraries of all other peers may take together.
    pub library_bytes: u64,
    /// Landing buffers of 1 MiB: batches requested and not yet written, over all downloads.
    pub landing_buffers: usize,
    /// Read buffers of 1 MiB: batches read and not yet sent, over all connections.
    pub read_buffers: usize,
    /// Batches read ahead for one outgoing run.
    pub read_ahead: usize,
    /// Largest run in bytes.
    pub run_bytes: u64,
    /// Runs that one peer may have outstanding here; further ones are answered `busy`.
    pub inbound_runs_per_peer: usize,
    /// Runs that go out at once over all peers, and besides one to each peer that has none; twice as many may wait, further ones are answered `busy`. More than there are
    /// read buffers gain nothing, and with all of them in use whoever waits for one is served within `run_stall` at 100 Mbit/s.
    pub upload_runs: usize,
    /// Downloads at once; further ones wait.
    pub downloads: usize,
    /// Worker threads; 0: one per core, at least 2.
    pub workers: usize,
    /// Bytes of incomplete control frames buffered over all connections.
    pub frame_bytes: usize,
    /// File watches; 0: as many as the system gives.
    pub max_watches: usize,
    /// Revisions of which the changes are kept, to answer with a delta.
    pub delta_history: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            half_open_before_retry: 32,
            peers: 2048,
            dials: 16,
            games_per_library: 20_000,
            library_bytes: 64 << 20,
            landing_buffers: 24,
            read_buffers: 24,
            read_ahead: 4,
            run_bytes: 4 << 20,
            inbound_runs_per_peer: 16,
            upload_runs: 32,
            downloads: 2,
            workers: 0,
            frame_bytes: 64 << 20,
            max_watches: 0,
            delta_history: 256,
        }
    }
}

/// Durations.
#[derive(Clone, Debug)]
pub struct Timers {
    /// Silence after which the peer with the lower id pings.
    pub ping_after: Duration,
    /// Time between the probes of a ping.
    pub ping_retry: Duration,
    /// Silence after which a peer is gone.
    pub stale_after: Duration,
    /// Time for a control request to be answered.
    pub request_timeout: Duration,
    /// Time for a connection to stand, from the dial to HelloAck.
    pub dial_timeout: Duration,
    /// First pause before an address is dialled again; doubles up to `redial_max`.
    pub redial_min: Duration,
    /// Longest such pause.
    pub redial_max: Duration,
    /// Changes of the library are collected for this long.
    pub delta_coalesce: Duration,
    /// A sighting with a new revision waits this long for the push before it asks.
    pub sighting_grace: Duration,
    /// Time between two scans of the whole game directory while some games are not watched; twelve times as long while all are.
    pub rescan_every: Duration,
    /// Time between two looks at the catalog's file or URL.
    pub catalog_refresh: Duration,
    /// Time between two looks at a mirror's list of games; also the longest pause after it could not be reached.
    pub mirror_refresh: Duration,
    /// File events of one game are collected for this long.
    pub fs_coalesce: Duration,
    /// A game that somebody wrote is offered when all its files kept still for this long; zero: at once.
    pub arriving_quiet: Duration,
    /// Time between two progress events of a download.
    pub progress_every: Duration,
    /// A run that brings no byte for this long is given to another source.
    pub run_stall: Duration,
    /// A source that was asked for a manifest and has not answered for this long is joined by the next one.
    pub manifest_hedge: Duration,
    /// How long a download without any source waits for one.
    pub source_wait: Duration,
    /// Standing still for this long counts as sleep of the PC.
    pub sleep_least: Duration,
    /// Time between two looks at the addresses of this host, in whole seconds.
    pub interface_check: Duration,
    /// How long a shutdown waits for goodbyes to leave.
    pub shutdown_grace: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        let ms = Duration::from_millis;
        let s = Duration::from_secs;
        Self {
            ping_after: s(60),
            ping_retry: s(2),
            stale_after: s(70),
            request_timeout: s(10),
            dial_timeout: s(10),
            redial_min: s(1),
            redial_max: s(60),
            delta_coalesce: ms(500),
            sighting_grace: s(2),
            rescan_every: s(300),
            catalog_refresh: s(300),
            mirror_refresh: s(300),
            fs_coalesce: ms(500),
            arriving_quiet: s(5),
            progress_every: ms(500),
            sleep_least: s(20),
            interface_check: s(60),
            run_stall: s(10),
            manifest_hedge: s(2),
            source_wait: s(10),
            shutdown_grace: ms(500),
        }
    }
}

/// Congestion control.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Congestion {
    /// BBR version 2, paced.
    Bbr2,
    /// CUBIC.
    Cubic,
}

/// The knobs of QUIC.
#[derive(Clone, Debug)]
pub struct Transport {
    /// Congestion control.
    pub congestion: Congestion,
    /// Socket buffers to ask the system for, in bytes; what was granted is read back.
    pub socket_buffer: usize,
    /// Largest flow-control window of a connection, in bytes.
    pub max_window: u64,
    /// UDP payload in bytes: 1,200 to 65,507. 0: from the interfaces.
    pub max_payload: usize,
    /// Hand packets over in trains, which the system or the network card cuts (UDP segmentation offload). False: one by one, for
    /// drivers that get it wrong; a few times the processor time.
    pub send_offload: bool,
    /// Emulates a clock whose ticks are so far apart: every timer and sleep of the network thread ends on a tick. For tests. Zero: the
    /// system's clock.
    pub timer_resolution: Duration,
}

impl Default for Transport {
    fn default() -> Self {
        Self {
            congestion: Congestion::Bbr2,
            socket_buffer: 4 << 20,
            max_window: 4 << 20,
            max_payload: 0,
            send_offload: true,
            timer_resolution: Duration::ZERO,
        }
    }
}
