//! Which games exist, under which name, and which version of each is expected.
//!
//! Two forms: open to all (every valid id is admitted), or a list that an organiser hands out:
//!
//! ```json
//! {"format": 1,
//!  "games": [{"id": "quake", "name": "Quake", "version": "1.06", "content_hash": "64 hex digits", "description": "…",
//!             "genre": "…", "players": "2-16", "launch": "bin/quake.exe" or {"program": "bin/quake.exe", "args": ["-lan"]}}],
//!  "peers": ["192.168.0.10:47000"], "serial": 7}
//! ```
//!
//! `content_hash`, `description`, `genre`, `players`, `launch`, `peers` and `serial` are optional, unknown fields are ignored. A file that breaks a rule is
//! refused as a whole, with words that name the entry: a list that is half right would hide games silently.

//!
//! A list comes from a file or a URL; [`Keeper`] keeps it up to date, and holds it against its signature where a key is set.

mod cache;
mod keeper;
pub mod signature;

pub use cache::CACHE_FILE;
pub use keeper::{Keeper, read_once};

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, de};

use crate::types::{
    CatalogSource, ContentHash, GameId, GameIdError, HashParseError, Launch, LaunchError, MAX_GAMES, MAX_NAME_BYTES,
    MAX_VERSION_BYTES, RawLaunch, is_utf16, without_mark,
};

/// The `format` that this program reads.
const FORMAT: u64 = 1;
/// Largest catalog file, in bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Most peers of a catalog.
const MAX_PEERS: usize = 1_024;
/// Longest description, in bytes.
const MAX_DESCRIPTION_BYTES: usize = 8 << 10;
/// Longest kind of game, and longest number of players, in bytes.
const MAX_GENRE_BYTES: usize = 128;
const MAX_PLAYERS_BYTES: usize = 32;

/// The games of a party.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Catalog {
    admission: Admission,
    peers: Vec<String>,
    serial: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Admission {
    /// Every valid id.
    All,
    /// These.
    Listed(BTreeMap<GameId, CatalogEntry>),
}

/// One game of a catalog.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CatalogEntry {
    /// The folder name.
    pub id: GameId,
    /// Name for people, at most 256 bytes, not empty.
    pub name: String,
    /// The version that everybody should have, at most 128 bytes, not empty.
    pub version: String,
    /// The content that everybody should have; binding when stated.
    pub content_hash: Option<ContentHash>,
    /// For people, at most 8 KiB.
    pub description: Option<String>,
    /// Kind of game, for people, at most 128 bytes.
    pub genre: Option<String>,
    /// How many can play together, for people, such as `2-8`; at most 32 bytes.
    pub players: Option<String>,
    /// What starts the game once it is installed.
    pub launch: Option<Launch>,
}

/// Why a file is not a catalog.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The system refuses.
    #[error("cannot read the catalog {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is over 16 MiB.
    #[error("the catalog {} is larger than 16 MiB", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// As some editors of Windows save it.
    #[error("the catalog is UTF-16: save it as UTF-8")]
    Utf16,
    /// The server does not give it.
    #[error("cannot fetch the catalog {url}: {reason}")]
    Fetch {
        /// From where.
        url: String,
        /// In words.
        reason: String,
    },
    /// A key is set, and the signature is missing or wrong.
    #[error("the catalog has no valid signature in {at}: {fault}")]
    Signature {
        /// Where the signature should be.
        at: String,
        /// In words.
        fault: String,
    },
    /// A key is set, and a later catalog was signed with it before.
    #[error("the catalog has serial number {found}, but {known} was seen already: somebody offers an old one")]
    Older {
        /// Of this catalog.
        found: u64,
        /// Of the last good one.
        known: u64,
    },
    /// Not JSON, a field of the wrong type, or too many entries. The message has line and column.
    #[error("the catalog is not readable: {0}")]
    Syntax(#[from] serde_json::Error),
    /// Written for another version of this program.
    #[error("the catalog has format {found}, this program reads format {FORMAT}")]
    Format {
        /// The number in the file.
        found: u64,
    },
    /// A game's entry breaks a rule.
    #[error("catalog entry {position} ({id:?}): {fault}")]
    Entry {
        /// Counted from 1.
        position: usize,
        /// The id as it is written there, cut to 80 characters.
        id: String,
        /// The rule.
        fault: EntryFault,
    },
    /// An entry of `peers` breaks a rule.
    #[error("catalog peer {position} ({peer:?}) is not host:port with a port from 1 to 65535")]
    Peer {
        /// Counted from 1.
        position: usize,
        /// The text as it is written there, cut to 80 characters.
        peer: String,
    },
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// A field that must be there is not, or is empty.
    #[error("{0:?} is missing or empty")]
    Missing(&'static str),
    /// A field is too long.
    #[error("{field:?} is longer than {max} bytes")]
    TooLong {
        /// Which.
        field: &'static str,
        /// In bytes.
        max: usize,
    },
    /// The id cannot name a folder.
    #[error(transparent)]
    Id(#[from] GameIdError),
    /// Another entry has the same id, or one that differs only in case: one folder on some file systems.
    #[error("the same game as entry {first}")]
    Duplicate {
        /// Its position, counted from 1.
        first: usize,
    },
    /// The content hash is not one.
    #[error("\"content_hash\": {0}")]
    ContentHash(#[from] HashParseError),
    /// What starts the game is no path in `local/`, or its arguments are too much.
    #[error("\"launch\": {0}")]
    Launch(LaunchError),
}

impl Catalog {
    /// Admits every valid id; expects nothing.
    pub fn open_to_all() -> Self {
        Self { admission: Admission::All, peers: Vec::new(), serial: 0 }
    }

    /// Admits nothing: what is in force before the first catalog came.
    pub fn empty() -> Self {
        Self { admission: Admission::Listed(BTreeMap::new()), peers: Vec::new(), serial: 0 }
    }

    /// Reads and checks a file. Blocks on the disk.
    pub fn load(path: &Path) -> Result<Self, CatalogError> {
        read_once(&CatalogSource::File(path.into()), None).map(|(catalog, _)| catalog)
    }

    /// Checks the bytes of a catalog file. A leading UTF-8 byte order mark, as some editors write it, is skipped.
    pub fn parse(bytes: &[u8]) -> Result<Self, CatalogError> {
        let bytes = without_mark(bytes);
        if is_utf16(bytes) {
            return Err(CatalogError::Utf16);
        }
        let file: CatalogFile = serde_json::from_slice(bytes)?;
        if file.format != FORMAT {
            return Err(CatalogError::Format { found: file.format });
        }
        let mut games = BTreeMap::new();
        let mut positions = BTreeMap::new();
        for (position, raw) in (1..).zip(file.games.0) {
            let written = cut(raw.id.as_deref().unwrap_or_default());
            let failed = |fault| CatalogError::Entry { position, id: written, fault };
            match CatalogEntry::from_raw(raw, position, &mut positions) {
                Ok(entry) => games.insert(entry.id.clone(), entry),
                Err(fault) => return Err(failed(fault)),
            };
        }
        for (position, peer) in (1..).zip(&file.peers.0) {
            if !is_host_and_port(peer) {
                return Err(CatalogError::Peer { position, peer: cut(peer) });
            }
        }
        Ok(Self { admission: Admission::Listed(games), peers: file.peers.0, serial: file.serial })
    }

    /// Whether a game may be offered and fetched.
    pub fn admits(&self, game: &GameId) -> bool {
        match &self.admission {
            Admission::All => true,
            Admission::Listed(games) => games.contains_key(game),
        }
    }

    /// Why a game of this version and content, complete as it may be, is not handed out; `None`: it is. `content`: `None`
    /// while it is not hashed.
    pub fn withholds(
        &self,
        game: &GameId,
        version: Option<&str>,
        content: Option<ContentHash>,
    ) -> Option<&'static str> {
        if !self.admits(game) {
            return Some("the catalog does not list it");
        }
        let entry = self.entry(game).filter(|entry| version == Some(entry.version.as_str()))?;
        match (entry.content_hash, content) {
            (Some(demanded), Some(here)) if here != demanded => {
                Some("its content is not the one that the catalog demands of this version")
            }
            (Some(_), None) => Some("it is not hashed yet, and the catalog demands a certain content of this version"),
            _ => None,
        }
    }

    /// Number of listed games; `None`: every valid id is admitted.
    pub fn listed(&self) -> Option<usize> {
        match &self.admission {
            Admission::All => None,
            Admission::Listed(games) => Some(games.len()),
        }
    }

    /// Counts the editions of a signed catalog; 0 where it does not say.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// What the catalog says about a game. `None` for games it does not list, so always when it is open to all.
    pub fn entry(&self, game: &GameId) -> Option<&CatalogEntry> {
        match &self.admission {
            Admission::All => None,
            Admission::Listed(games) => games.get(game),
        }
    }

    /// Every listed game, ascending by id.
    pub fn entries(&self) -> impl Iterator<Item = &CatalogEntry> {
        match &self.admission {
            Admission::All => None,
            Admission::Listed(games) => Some(games.values()),
        }
        .into_iter()
        .flatten()
    }

    /// The name for people: the catalog's, else the id.
    pub fn name_of<'a>(&'a self, game: &'a GameId) -> &'a str {
        self.entry(game).map_or(game.as_str(), |entry| &entry.name)
    }

    /// `host:port` of peers that the organiser recommends to connect to. At most 1,024.
    pub fn peers(&self) -> &[String] {
        &self.peers
    }

    /// Orders two versions of a game; the greater one is the newer. The version that the catalog expects is above all
    /// others; the others compare as [`compare_dotted`] says. A total order: `Equal` only for equal texts.
    pub fn compare_versions(&self, game: &GameId, a: &str, b: &str) -> Ordering {
        let expected = self.entry(game).map(|entry| entry.version.as_str());
        let is_expected = |version| expected == Some(version);
        is_expected(a).cmp(&is_expected(b)).then_with(|| compare_dotted(a, b))
    }
}

/// Orders two versions part by part, the parts being what stands between the dots. Two numbers (decimal digits only, of
/// any length) compare by value, two other parts by their bytes; nothing is below a number, a number below other text;
/// of two versions that agree as far as they go the longer one is greater. Versions that differ only in leading zeros
/// compare by their bytes, so that `Equal` means the same text.
///
/// Part by part, and not "numbers if both are all numbers, else bytes": under that rule 9 < 10 < 1a < 9.
pub fn compare_dotted(a: &str, b: &str) -> Ordering {
    a.split('.').map(Part::of).cmp(b.split('.').map(Part::of)).then_with(|| a.as_bytes().cmp(b.as_bytes()))
}

/// Order of variants and fields = order of parts: of two numbers without leading zeros the one with more digits is larger.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    Empty,
    Number { digits: usize, text: &'a str },
    Text(&'a str),
}

impl<'a> Part<'a> {
    fn of(text: &'a str) -> Self {
        if text.is_empty() {
            return Self::Empty;
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Self::Text(text);
        }
        let text = text.trim_start_matches('0');
        Self::Number { digits: text.len(), text }
    }
}

impl CatalogEntry {
    /// `positions`: where each id, case folded, was seen first.
    fn from_raw(
        raw: RawEntry,
        position: usize,
        positions: &mut BTreeMap<String, usize>,
    ) -> Result<CatalogEntry, EntryFault> {
        let id: GameId = required("id", raw.id)?.parse()?;
        if let Some(&first) = positions.get(&folded(&id)) {
            return Err(EntryFault::Duplicate { first });
        }
        positions.insert(folded(&id), position);
        let name = bounded("name", required("name", raw.name)?, MAX_NAME_BYTES)?;
        // Trimmed, because the version that a version.ini states is trimmed too, and the two are compared as texts.
        let version = required("version", raw.version)?.trim().to_owned();
        let version = bounded("version", version, MAX_VERSION_BYTES)?;
        let content_hash = raw.content_hash.map(|text| text.parse()).transpose()?;
        let description =
            raw.description.map(|text| bounded("description", text, MAX_DESCRIPTION_BYTES)).transpose()?;
        let genre = raw.genre.map(|text| bounded("genre", text, MAX_GENRE_BYTES)).transpose()?;
        let players = raw.players.map(|text| bounded("players", text, MAX_PLAYERS_BYTES)).transpose()?;
        let launch = raw.launch.map(Launch::try_from).transpose().map_err(EntryFault::Launch)?;
        Ok(CatalogEntry { id, name, version, content_hash, description, genre, players, launch })
    }
}

fn folded(id: &GameId) -> String {
    id.as_str().to_uppercase().to_lowercase()
}

fn required(field: &'static str, value: Option<String>) -> Result<String, EntryFault> {
    value.filter(|text| !text.trim().is_empty()).ok_or(EntryFault::Missing(field))
}

fn bounded(field: &'static str, text: String, max: usize) -> Result<String, EntryFault> {
    if text.len() > max { Err(EntryFault::TooLong { field, max }) } else { Ok(text) }
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    !host.is_empty()
        && host.len() <= 255
        && !host.contains(char::is_whitespace)
        && (bracketed || !host.contains(':'))
        && port.parse::<u16>().is_ok_and(|port| port != 0)
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The file as it is written. Everything beyond is checked in [`Catalog::parse`], where the entry can be named.
#[derive(Deserialize)]
struct CatalogFile {
    format: u64,
    games: Capped<RawEntry, MAX_GAMES>,
    #[serde(default)]
    peers: Capped<String, MAX_PEERS>,
    #[serde(default)]
    serial: u64,
}

#[derive(Deserialize)]
struct RawEntry {
    id: Option<String>,
    name: Option<String>,
    version: Option<String>,
    content_hash: Option<String>,
    description: Option<String>,
    genre: Option<String>,
    players: Option<String>,
    launch: Option<RawLaunch>,
}

/// A list that stops being read at its bound: 16 MiB of `{},` would otherwise become 600 MiB of entries.
struct Capped<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Default for Capped<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Capped<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T, const MAX: usize>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Elements<T, MAX> {
            type Value = Capped<T, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX} entries")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut out = Vec::new();
                while let Some(element) = list.next_element()? {
                    if out.len() == MAX {
                        return Err(de::Error::custom(format_args!("a list of more than {MAX} entries")));
                    }
                    out.push(element);
                }
                Ok(Capped(out))
            }
        }
        deserializer.deserialize_seq(Elements(std::marker::PhantomData))
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests make their own files")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(text: &str) -> GameId {
        text.parse().unwrap()
    }

    fn parse(text: &str) -> Result<Catalog, CatalogError> {
        Catalog::parse(text.as_bytes())
    }

    fn fault(text: &str) -> (usize, EntryFault) {
        match parse(text).unwrap_err() {
            CatalogError::Entry { position, fault, .. } => (position, fault),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_catalog_in_utf_16_is_refused_with_what_to_do() {
        let bytes: Vec<u8> = "\u{feff}{\"format\":1,\"games\":[]}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let error = Catalog::parse(&bytes).unwrap_err().to_string();
        assert!(error.contains("UTF-16") && error.contains("save it as UTF-8"), "{error}");
    }

    #[test]
    fn a_catalog_admits_what_it_lists_and_knows_names_and_peers() {
        let hash = "ab".repeat(32);
        let text = format!(
            r#"{{"format":1,"signature":"later","new":{{"x":[1]}},"peers":["pc7.lan:4700","[fe80::1]:9"],
               "games":[{{"id":"quake","name":"Quake","version":" 1.06 ","content_hash":"{hash}","mood":"dark"}},
                        {{"id":"doom","name":"Doom II","version":"1.9","description":"hell","content_hash":null,
                          "genre":"shooter","players":"2-4","launch":{{"program":"bin/doom.exe","args":["-net"]}}}}]}}"#
        );
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalog.json");
        std::fs::write(&path, format!("\u{feff}{text}")).unwrap();
        let catalog = Catalog::load(&path).unwrap();
        assert!(catalog.admits(&id("quake")) && catalog.admits(&id("doom")) && !catalog.admits(&id("halflife")));
        assert_eq!(catalog.name_of(&id("doom")), "Doom II");
        assert_eq!(catalog.name_of(&id("halflife")), "halflife");
        let quake = catalog.entry(&id("quake")).unwrap();
        assert_eq!((quake.version.as_str(), quake.content_hash), ("1.06", Some(ContentHash([0xab; 32]))));
        let doom = catalog.entry(&id("doom")).unwrap();
        let words = [&doom.description, &doom.genre, &doom.players].map(Option::as_deref);
        assert_eq!(words, [Some("hell"), Some("shooter"), Some("2-4")]);
        let launch = doom.launch.as_ref().unwrap();
        assert_eq!((launch.program.as_str(), &launch.args[..]), ("bin/doom.exe", &["-net".to_owned()][..]));
        assert_eq!(catalog.peers(), ["pc7.lan:4700", "[fe80::1]:9"]);
        assert_eq!(catalog.entries().map(|entry| entry.id.as_str()).collect::<Vec<_>>(), ["doom", "quake"]);
    }

    #[test]
    fn a_launch_outside_of_local_or_with_odd_arguments_is_refused() {
        let parse = |launch: &str| {
            let text =
                format!(r#"{{"format":1,"games":[{{"id":"doom","name":"Doom","version":"1","launch":{launch}}}]}}"#);
            Catalog::parse(text.as_bytes())
        };
        assert!(parse(r#""doom.exe""#).is_ok());
        let long = format!("[{}]", vec![r#""x""#; 33].join(","));
        for bad in [
            r#""../doom.exe""#.to_owned(),
            r#""/bin/sh""#.to_owned(),
            r#""C:\\windows\\system32\\cmd.exe""#.to_owned(),
            r#"{"program":"doom.exe","args":["a\u0000b"]}"#.to_owned(),
            format!(r#"{{"program":"doom.exe","args":{long}}}"#),
            "7".to_owned(),
        ] {
            assert!(parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn without_a_catalog_every_game_is_admitted_and_named_by_its_id() {
        let catalog = Catalog::open_to_all();
        assert!(catalog.admits(&id("anything")));
        assert_eq!(catalog.name_of(&id("anything")), "anything");
        assert_eq!((catalog.entry(&id("anything")), catalog.entries().count()), (None, 0));
    }

    #[test]
    fn a_faulty_entry_is_named() {
        let good = r#"{"id":"a","name":"A","version":"1"}"#;
        let games = |entry: &str| format!(r#"{{"format":1,"games":[{good},{entry}]}}"#);
        assert_eq!(fault(&games(r#"{"id":"A","name":"B","version":"1"}"#)), (2, EntryFault::Duplicate { first: 1 }));
        assert!(matches!(fault(&games(r#"{"id":"../x","name":"B","version":"1"}"#)), (2, EntryFault::Id(_))));
        assert_eq!(fault(&games(r#"{"name":"B","version":"1"}"#)), (2, EntryFault::Missing("id")));
        assert_eq!(fault(&games(r#"{"id":"b","name":"B","version":" "}"#)), (2, EntryFault::Missing("version")));
        let long = format!(r#"{{"id":"b","name":"{}","version":"1"}}"#, "x".repeat(257));
        assert_eq!(fault(&games(&long)), (2, EntryFault::TooLong { field: "name", max: 256 }));
        let entry = r#"{"id":"b","name":"B","version":"1","content_hash":"AB"}"#;
        assert!(matches!(fault(&games(entry)), (2, EntryFault::ContentHash(_))));
        let message = parse(&games(entry)).unwrap_err().to_string();
        assert!(message.contains("entry 2") && message.contains("\"b\""), "{message}");
    }

    #[test]
    fn files_that_are_not_catalogs_are_refused_in_bounds() {
        assert!(matches!(parse(r#"{"format":2,"games":[]}"#), Err(CatalogError::Format { found: 2 })));
        assert!(matches!(parse("{"), Err(CatalogError::Syntax(_))));
        assert!(matches!(parse(r#"{"format":1,"games":[{"id":7}]}"#), Err(CatalogError::Syntax(_))));
        for peer in ["host", "host:0", ":1", "a b:1", "::1:80", "host:65536"] {
            let text = format!(r#"{{"format":1,"games":[],"peers":["{peer}"]}}"#);
            assert!(matches!(parse(&text), Err(CatalogError::Peer { position: 1, .. })), "{peer}");
        }
        let many = format!(r#"{{"format":1,"games":[{}{{}}]}}"#, "{},".repeat(MAX_GAMES));
        assert!(matches!(parse(&many), Err(CatalogError::Syntax(_))));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalog.json");
        assert!(matches!(Catalog::load(&path), Err(CatalogError::Read { .. })));
        std::fs::write(&path, vec![b' '; MAX_FILE_BYTES as usize + 1]).unwrap();
        assert!(matches!(Catalog::load(&path), Err(CatalogError::TooLarge { .. })));
    }

    #[test]
    fn the_expected_version_is_the_newest_then_numbers_then_bytes() {
        let catalog = parse(r#"{"format":1,"games":[{"id":"q","name":"Q","version":"1.5"}]}"#).unwrap();
        let newest = |list: &[&str]| {
            list.iter().max_by(|a, b| catalog.compare_versions(&id("q"), a, b)).map(|text| (*text).to_owned())
        };
        assert_eq!(newest(&["1.5", "1.10", "2.0"]).unwrap(), "1.5");
        assert_eq!(newest(&["1.9", "1.10", "1.2"]).unwrap(), "1.10");
        let mut versions =
            ["2.0", "1.10", "1.2.1", "20230101", "1.2", "beta", "1.02", "", "99999999999999999999999", "1.2b"];
        versions.sort_by(|a, b| Catalog::open_to_all().compare_versions(&id("q"), a, b));
        assert_eq!(
            versions,
            ["", "1.02", "1.2", "1.2.1", "1.10", "1.2b", "2.0", "20230101", "99999999999999999999999", "beta"]
        );
    }

    proptest! {
        #[test]
        fn versions_have_a_total_order(a in "[0-2a.]{0,5}", b in "[0-2a.]{0,5}", c in "[0-2a.]{0,5}") {
            prop_assert_eq!(compare_dotted(&a, &b), compare_dotted(&b, &a).reverse());
            prop_assert_eq!(compare_dotted(&a, &b) == Ordering::Equal, a == b);
            if compare_dotted(&a, &b).is_le() && compare_dotted(&b, &c).is_le() {
                prop_assert!(compare_dotted(&a, &c).is_le());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Catalog::parse(&bytes);
        }
    }
}
