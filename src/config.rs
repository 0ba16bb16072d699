//! Parsed configuration: every limit and timer by name, with its unit and default.
//!
//! A value comes from the first of these that has it: a flag, the environment (`LANSPREAD_…`), the TOML file, the
//! default here.

mod args;
mod defaults;
mod file;
mod load;
mod settings;
mod units;

pub use args::RunArgs;
pub use defaults::default_state_dir;
pub(crate) use defaults::home;
pub use file::{Value, commented, values};
pub use load::{ConfigError, RunSettings, file_in, load, load_all};
pub(crate) use load::{is_host_port, parse_catalog_key, without_tilde};
pub use settings::{Limits, Timers, Transport};
pub use units::{format_duration, format_rate, format_size, parse_duration, parse_rate, parse_size};

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::types::{CatalogKey, CatalogSource, MirrorUrl, Personal, SourceId};

/// Where the HTTP door listens when nobody says.
const DEFAULT_CONTROL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// What is logged when nobody says.
const DEFAULT_LOG: &str = "info";

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
    /// What installed games are told of whoever plays them.
    pub personal: Personal,
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
            personal: Personal::default(),
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

/// Congestion control.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Congestion {
    /// BBR version 2, paced.
    Bbr2,
    /// CUBIC.
    Cubic,
}
