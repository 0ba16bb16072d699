//! From flags, environment and file to one [`Config`].

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::defaults::{default_game_dir, default_state_dir, home, system_hostname};
use super::file::like;
use super::settings::SETTINGS;
use super::{Config, DEFAULT_CONTROL, DEFAULT_LOG, Rates, RunArgs};
use crate::types::{CatalogKey, CatalogSource, MAX_HOSTNAME_BYTES, MirrorUrl};

/// What a catalog may be given as.
const CATALOG: &str =
    "a file, or a URL that begins with http:// or https:// and names a host, without user and fragment";
/// What the key of a catalog may be given as.
const CATALOG_KEY: &str = "the 64 hexadecimal digits of a public key, or a readable file that holds them";
/// What a mirror may be given as.
const MIRRORS: &str =
    "at most 8 URLs that begin with http:// or https:// and name a host, without user, query and fragment";
/// Largest configuration file in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What `lanspread run` was told.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// For the daemon.
    pub config: Config,
    /// Whether the game directory is to be made when it is missing.
    pub make_game_dir: bool,
    /// Whether nobody named the game directory.
    pub is_default_game_dir: bool,
    /// Whether to speak JSON lines.
    pub jsonl: bool,
    /// Where the HTTP door listens, on loopback; `None`: there is none.
    pub control: Option<SocketAddr>,
    /// Filter of the log.
    pub log: String,
    /// The configuration file that was read.
    pub file: Option<PathBuf>,
    /// The keys that stand in it, those of tables as `table.name`.
    pub in_file: BTreeSet<String>,
}

/// The configuration is not usable. The message names the key, the value and what is accepted.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No directory of games.
    #[error(
        "no game directory: give --game-dir DIR, LANSPREAD_GAME_DIR, or game_dir in the configuration file (the environment names no \
         home, where it would be)"
    )]
    NoGameDir,
    /// A path begins with the sign for a home that nobody knows.
    #[error("the path {0} begins with ~, and the environment names no home: give the whole path")]
    NoHome(PathBuf),
    /// No state directory and no home.
    #[error("no state directory: give --state-dir DIR or LANSPREAD_STATE_DIR (the environment names no home)")]
    NoStateDir,
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too long to be one.
    #[error("the configuration file {0} is larger than 1 MiB")]
    TooLarge(PathBuf),
    /// The file is not TOML.
    #[error("the configuration file {path} is not TOML: {reason}")]
    NotToml {
        /// Which.
        path: PathBuf,
        /// In the parser's words, with the line.
        reason: String,
    },
    /// A key that does not exist.
    #[error("{origin}: there is no setting {key:?}{}", .meant.map(|meant| format!("; is {meant} meant?")).unwrap_or_default())]
    UnknownKey {
        /// File or flag.
        origin: String,
        /// The key.
        key: String,
        /// The key that is most like it.
        meant: Option<&'static str>,
    },
    /// A key with nothing to hold it against: every game would be admitted.
    #[error(
        "a catalog key is set, but no catalog: give --catalog FILE or URL, LANSPREAD_CATALOG, or catalog in the file"
    )]
    KeyWithoutCatalog,
    /// A value that is not accepted.
    #[error("{origin}: {key} = {value}: expected {expected}")]
    BadValue {
        /// File or flag.
        origin: String,
        /// The key.
        key: String,
        /// The value as it was given.
        value: String,
        /// What is accepted.
        expected: &'static str,
    },
}

/// Joins the flags (which carry the environment), the file and the defaults. `env` reads a variable; only the
/// platform's directories and the PC's name are taken from it here.
///
/// # Errors
/// [`ConfigError`], the first one.
pub fn load(args: RunArgs, env: impl Fn(&str) -> Option<OsString>) -> Result<RunSettings, ConfigError> {
    load_all(args, env).map_err(|mut errors| errors.swap_remove(0))
}

/// As [`load`], with everything that is wrong in the file.
///
/// # Errors
/// At least one.
pub fn load_all(mut args: RunArgs, env: impl Fn(&str) -> Option<OsString>) -> Result<RunSettings, Vec<ConfigError>> {
    let home = home(&env);
    for path in [&mut args.game_dir, &mut args.state_dir, &mut args.config].into_iter().flatten() {
        *path = without_tilde(std::mem::take(path), home.as_deref()).map_err(one)?;
    }
    let default_state = default_state_dir(&env);
    let (path, must_exist) = match (&args.config, args.state_dir.as_ref().or(default_state.as_ref())) {
        (Some(path), _) => (Some(path.clone()), true),
        (None, state_dir) => (state_dir.map(|dir| file_in(dir)), false),
    };
    let mut settings = Draft::new(home);
    if let Some(path) = path
        && let Some(text) = read(&path, must_exist).map_err(one)?
    {
        let wrong = settings.read_toml(&path, &text).map_err(one)?;
        if !wrong.is_empty() {
            return Err(wrong);
        }
        settings.file = Some(path);
    }
    let (jsonl, create) = (args.jsonl, args.create);
    settings.read_flags(args).map_err(one)?;
    settings.finish(default_state, default_game_dir(&env), system_hostname(env), create, jsonl).map_err(one)
}

fn one(error: ConfigError) -> Vec<ConfigError> {
    vec![error]
}

/// The configuration file of a state directory.
pub fn file_in(state_dir: &Path) -> PathBuf {
    state_dir.join("config.toml")
}

/// A path as a shell would give it: not every place where one is written has a shell.
pub(crate) fn without_tilde(path: PathBuf, home: Option<&Path>) -> Result<PathBuf, ConfigError> {
    match path.strip_prefix("~") {
        Err(_) => Ok(path),
        Ok(rest) => home.map(|home| home.join(rest)).ok_or_else(|| ConfigError::NoHome(path.clone())),
    }
}

fn read(path: &Path, must_exist: bool) -> Result<Option<String>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => return Ok(None),
        Err(error) => return Err(unreadable(error)),
        Ok(meta) if meta.len() > MAX_FILE => return Err(ConfigError::TooLarge(path.to_owned())),
        Ok(_) => {}
    }
    std::fs::read_to_string(path).map(Some).map_err(unreadable)
}

/// A configuration that may still lack its directories.
struct Draft {
    /// Of the user.
    home: Option<PathBuf>,
    config: Config,
    game_dir: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    log: String,
    control: Option<SocketAddr>,
    ping_after_given: bool,
    file: Option<PathBuf>,
    in_file: BTreeSet<String>,
}

/// Who gives a value, and how it was written, for the message when it is refused.
struct Given<'a> {
    origin: &'a str,
    key: &'a str,
    value: String,
}

impl Given<'_> {
    fn bad(self, expected: &'static str) -> ConfigError {
        ConfigError::BadValue { origin: self.origin.into(), key: self.key.into(), value: self.value, expected }
    }
}

impl Draft {
    fn new(home: Option<PathBuf>) -> Self {
        Self {
            home,
            config: Config::new(PathBuf::new(), PathBuf::new()),
            game_dir: None,
            state_dir: None,
            log: DEFAULT_LOG.into(),
            control: Some(DEFAULT_CONTROL),
            ping_after_given: false,
            file: None,
            in_file: BTreeSet::new(),
        }
    }

    /// What is wrong in a file that is TOML, key by key.
    fn read_toml(&mut self, path: &Path, text: &str) -> Result<Vec<ConfigError>, ConfigError> {
        let table: toml::Table = text
            .parse()
            .map_err(|e: toml::de::Error| ConfigError::NotToml { path: path.to_owned(), reason: e.to_string() })?;
        let origin = path.display().to_string();
        let mut wrong = Vec::new();
        for (key, value) in &table {
            if let ("limits" | "timers" | "transport", toml::Value::Table(inner)) = (key.as_str(), value) {
                for (name, value) in inner {
                    let key = format!("{key}.{name}");
                    wrong.extend(self.set(&origin, &key, &plain(value)).err());
                    self.in_file.insert(key);
                }
            } else {
                wrong.extend(self.read_toml_key(path, &origin, key, value).err());
                self.in_file.insert(key.clone());
            }
        }
        Ok(wrong)
    }

    fn read_toml_key(&mut self, file: &Path, origin: &str, key: &str, value: &toml::Value) -> Result<(), ConfigError> {
        let given = || Given { origin, key, value: shown(value) };
        // A path in the file means the same wherever the daemon is started.
        let path = || match value.as_str() {
            Some(text) if !text.is_empty() => {
                let written = without_tilde(text.into(), self.home.as_deref())?;
                Ok(file.parent().unwrap_or(Path::new("")).join(written))
            }
            _ => Err(given().bad("a path in quotes")),
        };
        let list = || -> Option<Vec<&str>> { value.as_array()?.iter().map(toml::Value::as_str).collect() };
        match key {
            "game_dir" => self.game_dir = Some(path()?),
            "state_dir" => self.state_dir = Some(path()?),
            // A URL, or the hexadecimal digits of a key, are no paths that could be relative to something.
            "catalog" => match value.as_str().and_then(|text| CatalogSource::parse(Path::new(text))) {
                Some(url @ CatalogSource::Url(_)) => self.config.catalog = Some(url),
                Some(CatalogSource::File(_)) => self.config.catalog = Some(CatalogSource::File(path()?)),
                None => return Err(given().bad(CATALOG)),
            },
            "catalog_key" => match value.as_str().and_then(|text| text.parse().ok()) {
                Some(key) => self.config.catalog_key = Some(key),
                None => self.config.catalog_key = Some(key_file(&path()?).ok_or_else(|| given().bad(CATALOG_KEY))?),
            },
            "party_key_file" => self.config.party_key_file = Some(path()?),
            "swarm" => self.config.swarm = value.as_bool().ok_or_else(|| given().bad("true or false"))?,
            "mdns" => self.config.mdns = value.as_bool().ok_or_else(|| given().bad("true or false"))?,
            "ping_guard" => {
                self.config.ping_guard = value.as_bool().ok_or_else(|| given().bad("true or false"))?;
            }
            "listen" => {
                let addrs = list().and_then(|list| list.iter().map(|text| text.parse().ok()).collect());
                self.set_listen(addrs, given())?;
            }
            "peers" => {
                let peers = list().map(|list| list.into_iter().map(str::to_owned).collect());
                self.set_peers(peers, given())?;
            }
            "mirrors" => self.set_mirrors(list(), given())?,
            "hostname" => self.config.hostname = Some(name(value.as_str(), given())?),
            "player" => self.config.personal.player = Some(name(value.as_str(), given())?),
            "language" => self.config.personal.language = Some(name(value.as_str(), given())?),
            "max_upload" | "max_download" => {
                let rate = value.as_str().and_then(Rates::parse).ok_or_else(|| given().bad(Rates::FORM))?;
                *self.rate(key) = rate;
            }
            "log" => self.set_log(value.as_str(), given())?,
            "control" => match (value, value.as_str().and_then(|text| text.parse().ok())) {
                (toml::Value::Boolean(false), _) => self.control = None,
                (_, addr) => self.set_control(addr, given())?,
            },
            "limits" | "timers" | "transport" => return Err(given().bad("a table")),
            _ => return Err(unknown(origin, key)),
        }
        Ok(())
    }

    fn read_flags(&mut self, args: RunArgs) -> Result<(), ConfigError> {
        let given = |key, value| Given { origin: "command line or environment", key, value };
        self.game_dir = args.game_dir.or(self.game_dir.take());
        self.state_dir = args.state_dir.or(self.state_dir.take());
        self.config.party_key_file = args.party_key_file.or(self.config.party_key_file.take());
        if let Some(catalog) = args.catalog {
            let source = CatalogSource::parse(&catalog);
            let given = given("catalog", catalog.display().to_string());
            self.config.catalog = Some(source.ok_or_else(|| given.bad(CATALOG))?);
        }
        if let Some(written) = args.catalog_key {
            let key = parse_catalog_key(&written);
            let given = given("catalog-key", written.display().to_string());
            self.config.catalog_key = Some(key.ok_or_else(|| given.bad(CATALOG_KEY))?);
        }
        if !args.listen.is_empty() {
            let shown = format!("{:?}", args.listen);
            self.set_listen(Some(args.listen), given("listen", shown))?;
        }
        if !args.peers.is_empty() {
            let shown = format!("{:?}", args.peers);
            self.set_peers(Some(args.peers), given("peer", shown))?;
        }
        if !args.mirrors.is_empty() {
            let shown = format!("{:?}", args.mirrors);
            self.set_mirrors(Some(args.mirrors.iter().map(String::as_str).collect()), given("mirror", shown))?;
        }
        if args.no_mdns {
            self.config.mdns = false;
        }
        if args.no_swarm {
            self.config.swarm = false;
        }
        if args.no_ping_guard {
            self.config.ping_guard = false;
        }
        let names = [
            ("hostname", args.hostname, &mut self.config.hostname),
            ("player", args.player, &mut self.config.personal.player),
            ("language", args.language, &mut self.config.personal.language),
        ];
        for (key, text, place) in names {
            if let Some(text) = text {
                *place = Some(name(Some(&text), given(key, format!("{text:?}")))?);
            }
        }
        if args.no_control {
            self.control = None;
        } else if let Some(addr) = args.control {
            self.set_control(Some(addr), given("control", addr.to_string()))?;
        }
        for (key, value) in [("max_upload", args.max_upload), ("max_download", args.max_download)] {
            if let Some(value) = value {
                *self.rate(key) = Rates::parse(&value).ok_or_else(|| given(key, value).bad(Rates::FORM))?;
            }
        }
        if let Some(log) = args.log {
            self.set_log(Some(&log), given("log", format!("{log:?}")))?;
        }
        if let Some(watches) = args.max_watches {
            self.config.limits.max_watches = watches;
        }
        for setting in &args.set {
            let Some((key, value)) = setting.split_once('=') else {
                return Err(given("--set", setting.clone()).bad("KEY=VALUE, such as timers.stale_after=2s"));
            };
            self.set("--set", key.trim(), value.trim())?;
        }
        Ok(())
    }

    fn set(&mut self, origin: &str, key: &str, value: &str) -> Result<(), ConfigError> {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
            return Err(unknown(origin, key));
        };
        (setting.set)(&mut self.config, value)
            .ok_or_else(|| Given { origin, key, value: value.into() }.bad(setting.form))?;
        self.ping_after_given |= key == "timers.ping_after";
        Ok(())
    }

    fn rate(&mut self, key: &str) -> &mut Option<u64> {
        let rates = &mut self.config.rates;
        if key == "max_upload" { &mut rates.max_upload } else { &mut rates.max_download }
    }

    fn set_listen(&mut self, addrs: Option<Vec<SocketAddr>>, given: Given) -> Result<(), ConfigError> {
        let addrs = match addrs {
            Some(addrs) if is_listen(&addrs) => addrs,
            _ => return Err(given.bad("IP:PORT, at most one for each family, with one port")),
        };
        self.config.listen = addrs;
        Ok(())
    }

    fn set_peers(&mut self, peers: Option<Vec<String>>, given: Given) -> Result<(), ConfigError> {
        self.config.static_peers = match peers {
            Some(peers) if peers.iter().all(|peer| is_host_port(peer)) => peers,
            _ => return Err(given.bad("HOST:PORT or [IPV6]:PORT, such as pc1.lan:4711")),
        };
        Ok(())
    }

    fn set_mirrors(&mut self, urls: Option<Vec<&str>>, given: Given) -> Result<(), ConfigError> {
        let urls = urls.and_then(|urls| urls.into_iter().map(MirrorUrl::parse).collect::<Option<Vec<_>>>());
        let Some(mut urls) = urls else { return Err(given.bad(MIRRORS)) };
        urls.sort_unstable();
        urls.dedup();
        if urls.len() > Config::MAX_MIRRORS {
            return Err(given.bad(MIRRORS));
        }
        self.config.mirrors = urls;
        Ok(())
    }

    fn set_log(&mut self, filter: Option<&str>, given: Given) -> Result<(), ConfigError> {
        match filter {
            Some(filter) if filter.parse::<tracing_subscriber::filter::Targets>().is_ok() => {
                self.log = filter.to_owned()
            }
            _ => return Err(given.bad("error, warn, info, debug, trace, or a list such as \"info,quiche=debug\"")),
        }
        Ok(())
    }

    fn set_control(&mut self, addr: Option<SocketAddr>, given: Given) -> Result<(), ConfigError> {
        match addr {
            Some(addr) if addr.ip().is_loopback() => self.control = Some(addr),
            _ => return Err(given.bad("a loopback address and port, such as 127.0.0.1:0")),
        }
        Ok(())
    }

    fn finish(
        self,
        state_dir: Option<PathBuf>,
        default_game_dir: Option<PathBuf>,
        hostname: Option<String>,
        create: bool,
        jsonl: bool,
    ) -> Result<RunSettings, ConfigError> {
        let Self { mut config, game_dir, state_dir: given, log, control, ping_after_given, file, in_file, .. } = self;
        let is_default_game_dir = game_dir.is_none();
        config.game_dir = game_dir.or(default_game_dir).ok_or(ConfigError::NoGameDir)?;
        config.state_dir = given.or(state_dir).ok_or(ConfigError::NoStateDir)?;
        config.hostname = config.hostname.or(hostname);
        if config.catalog_key.is_some() && config.catalog.is_none() {
            return Err(ConfigError::KeyWithoutCatalog);
        }
        let timers = &mut config.timers;
        if timers.ping_after >= timers.stale_after {
            if ping_after_given {
                return Err(ConfigError::BadValue {
                    origin: "configuration".into(),
                    key: "timers.ping_after".into(),
                    value: format!("{:?}", timers.ping_after),
                    expected: "less than timers.stale_after: a quiet peer must be asked before it counts as gone",
                });
            }
            // Only the stale time was shortened; quiet but living peers must not flap for that.
            timers.ping_after = timers.stale_after / 3;
            timers.ping_retry = timers.ping_retry.min(timers.stale_after / 6);
        }
        if timers.redial_max < timers.redial_min {
            timers.redial_max = timers.redial_min;
        }
        let make_game_dir = create || is_default_game_dir;
        Ok(RunSettings { config, make_game_dir, is_default_game_dir, jsonl, control, log, file, in_file })
    }
}

/// A name for people.
fn name(text: Option<&str>, given: Given) -> Result<String, ConfigError> {
    match text {
        Some(text) if is_hostname(text) => Ok(text.to_owned()),
        _ => Err(given.bad("a name of at most 63 bytes without control characters")),
    }
}

fn unknown(origin: &str, key: &str) -> ConfigError {
    ConfigError::UnknownKey { origin: origin.into(), key: key.into(), meant: like(key) }
}

/// A public key as a user gives it: its hexadecimal digits, or a file that holds them. `None`: neither.
pub(crate) fn parse_catalog_key(written: &Path) -> Option<CatalogKey> {
    let digits = written.to_str().and_then(|text| text.to_ascii_lowercase().parse().ok());
    digits.or_else(|| key_file(written))
}

fn key_file(path: &Path) -> Option<CatalogKey> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(1 << 10).read_to_string(&mut text).ok()?;
    text.trim().to_ascii_lowercase().parse().ok()
}

/// A value as `--set` would be given it.
fn plain(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => shown(other),
    }
}

/// A value as it stands in the file, more or less.
fn shown(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => format!("{text:?}"),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Boolean(truth) => truth.to_string(),
        toml::Value::Datetime(time) => time.to_string(),
        toml::Value::Array(values) => format!("[{}]", values.iter().map(shown).collect::<Vec<_>>().join(", ")),
        toml::Value::Table(_) => "a table".into(),
    }
}

fn is_listen(addrs: &[SocketAddr]) -> bool {
    match addrs {
        [_] => true,
        [a, b] => a.is_ipv4() != b.is_ipv4() && a.port() == b.port(),
        _ => false,
    }
}

/// Syntax only; the name is looked up when it is dialled.
pub(crate) fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let port_ok = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0);
    let host_ok = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        // A zone (fe80::1%eth0) is the resolver's business.
        Some(v6) => v6.split('%').next().is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            !host.is_empty()
                && host.len() <= 253
                && host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'))
        }
    };
    host_ok && port_ok
}

pub(super) fn is_hostname(name: &str) -> bool {
    !name.trim().is_empty() && name.len() <= MAX_HOSTNAME_BYTES && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
