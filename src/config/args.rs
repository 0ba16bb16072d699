//! The flags of `lanspread run`, each with its variable in the environment.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Flags of `lanspread run`; unset ones fall through to the configuration file, then to the defaults.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct RunArgs {
    /// Directory of games: one folder for each [default: Games/lanspread in the user's home, made when it is missing]
    #[arg(long, value_name = "DIR", env = "LANSPREAD_GAME_DIR")]
    pub game_dir: Option<PathBuf>,
    /// Make the directory of games when it is missing
    #[arg(long, env = "LANSPREAD_CREATE", value_parser = clap::builder::FalseyValueParser::new())]
    pub create: bool,
    /// Directory of the identity [default: the platform's]
    #[arg(long, value_name = "DIR", env = "LANSPREAD_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Configuration file in TOML [default: config.toml in the state directory, if it is there]
    #[arg(long, value_name = "FILE", env = "LANSPREAD_CONFIG")]
    pub config: Option<PathBuf>,
    /// Address to listen on; once for each family [default: all interfaces, both families, a free port]
    #[arg(long, value_name = "IP:PORT", env = "LANSPREAD_LISTEN", value_delimiter = ',')]
    pub listen: Vec<SocketAddr>,
    /// Catalog of games: a file, or a URL (http, https) [default: none, every valid game id is admitted]
    #[arg(long, value_name = "FILE|URL", env = "LANSPREAD_CATALOG")]
    pub catalog: Option<PathBuf>,
    /// Public key of whoever signs the catalog, or a file with it: only a catalog with its signature counts
    #[arg(long, value_name = "HEX|FILE", env = "LANSPREAD_CATALOG_KEY")]
    pub catalog_key: Option<PathBuf>,
    /// File with the secret that all PCs of the party share, at least 16 bytes [default: none, everybody is let in]
    #[arg(long, value_name = "FILE", env = "LANSPREAD_PARTY_KEY_FILE")]
    pub party_key_file: Option<PathBuf>,
    /// Peer to keep connected without multicast; repeatable
    #[arg(long = "peer", value_name = "HOST:PORT", env = "LANSPREAD_PEERS", value_delimiter = ',')]
    pub peers: Vec<String>,
    /// Web server that hands out games: a URL (http, https); repeatable
    #[arg(long = "mirror", value_name = "URL", env = "LANSPREAD_MIRRORS", value_delimiter = ',')]
    pub mirrors: Vec<String>,
    /// Neither advertise nor browse by mDNS
    #[arg(long, env = "LANSPREAD_NO_MDNS", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_mdns: bool,
    /// Neither hand out nor fetch parts of games that are still being downloaded
    #[arg(long, env = "LANSPREAD_NO_SWARM", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_swarm: bool,
    /// Loopback address of the HTTP door, by which `lanspread status` and the like reach the daemon
    /// [default: 127.0.0.1:0, a free port]
    #[arg(long, value_name = "IP:PORT", env = "LANSPREAD_CONTROL")]
    pub control: Option<SocketAddr>,
    /// No HTTP door; wins over --control
    #[arg(long, env = "LANSPREAD_NO_CONTROL", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_control: bool,
    /// How fast games may go out to the peers, such as 50MB/s or 400Mbit/s [default: unlimited]
    #[arg(long, value_name = "RATE", env = "LANSPREAD_MAX_UPLOAD")]
    pub max_upload: Option<String>,
    /// How fast games may come in from the peers [default: unlimited]
    #[arg(long, value_name = "RATE", env = "LANSPREAD_MAX_DOWNLOAD")]
    pub max_download: Option<String>,
    /// Fill the network's queues as congestion control allows, whatever that does to the latency of games
    #[arg(long, env = "LANSPREAD_NO_PING_GUARD", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_ping_guard: bool,
    /// Speak JSON lines: commands on stdin, results and events on stdout
    #[arg(long)]
    pub jsonl: bool,
    /// Name for people [default: the PC's]
    #[arg(long, value_name = "NAME", env = "LANSPREAD_HOSTNAME")]
    pub hostname: Option<String>,
    /// Name of the player, for installed games that keep it in a file [default: they keep theirs]
    #[arg(long, value_name = "NAME", env = "LANSPREAD_PLAYER")]
    pub player: Option<String>,
    /// Language for such games, as they name it: english, german, ... [default: they keep theirs]
    #[arg(long, value_name = "LANGUAGE", env = "LANSPREAD_LANGUAGE")]
    pub language: Option<String>,
    /// What goes to the log on stderr: error, warn, info, debug, trace, or a filter such as lanspread_peer=debug
    /// [default: info]
    #[arg(long, value_name = "LEVEL", env = "LANSPREAD_LOG")]
    pub log: Option<String>,
    /// File watches to use at most [default: 0, as many as the system gives]
    #[arg(long, value_name = "N", env = "LANSPREAD_MAX_WATCHES")]
    pub max_watches: Option<usize>,
    /// Any timer, limit or transport setting, such as timers.stale_after=2s; repeatable
    #[arg(long, value_name = "KEY=VALUE", hide = true)]
    pub set: Vec<String>,
}
