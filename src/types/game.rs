//! What a library says about a game, and the stamps that order libraries in time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use xxhash_rust::xxh3::Xxh3;

use super::hash::{HashParseError, parse_hex};
use super::{ContentHash, GameId, LibraryDigest, ManifestHash};

/// The sentinel: the file in a game's root without which the game is not complete. Part of every manifest.
pub const SENTINEL: &str = "version.ini";
/// What the sentinel becomes while its game is replaced, mended or removed; swept at the next start.
pub const DISCARDED_SENTINEL: &str = ".version.ini.discarded";
/// A sentinel before it has its name; swept at the next start.
pub const NEW_SENTINEL: &str = ".version.ini.tmp";
/// Longest sentinel that counts, in bytes: a download holds it in memory until everything else is on the disk.
pub const MAX_SENTINEL_BYTES: usize = 64 << 10;
/// Longest version of a game, in bytes of UTF-8.
pub const MAX_VERSION_BYTES: usize = 128;
/// Longest name of a game for the user's eyes, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 256;
/// Most games of a library, a catalog or a mirror.
pub const MAX_GAMES: usize = 20_000;

/// Random number that names one unbroken history of revisions. A library that was lost or restored takes a new one,
/// so that a restarted count is never mistaken for the old. Text form: 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Epoch {
    type Err = HashParseError;
    fn from_str(text: &str) -> Result<Self, HashParseError> {
        parse_hex(text).map(|bytes| Self(u64::from_be_bytes(bytes)))
    }
}

impl Serialize for Epoch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// How many durable changes a library has seen in its epoch. Never reused, never goes back within an epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One state of one library: which history, how far along it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct LibraryStamp {
    /// The history.
    pub epoch: Epoch,
    /// The point in it.
    pub rev: Revision,
}

/// Whether and how a peer can hand a game on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    /// Downloaded, and served to everybody.
    Ready,
    /// Being downloaded.
    Downloading,
    /// Present on that machine only: not complete, not portable, or not in the catalog.
    LocalOnly,
}

/// One game as its owner's library lists it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct GameSummary {
    /// The folder name.
    pub id: GameId,
    /// Human name: the catalog's, else the id. At most 256 bytes.
    pub name: String,
    /// The version that `version.ini` states; `None` without a sentinel. At most 128 bytes.
    pub eti_version: Option<String>,
    /// Sum of the sizes of the manifest's files, in bytes.
    pub size: u64,
    /// The sentinel `version.ini` is there: every byte of the manifest is on disk, verified and durable.
    pub downloaded: bool,
    /// `local/` is there.
    pub installed: bool,
    /// Names the list of files.
    pub manifest_hash: ManifestHash,
    /// Names the bytes; `None` until they have been hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<ContentHash>,
    /// Whether it can be fetched from its owner.
    pub availability: Availability,
    /// A download brought it, and its owner changed it since: it is not what others know by this version. Not in the digest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changed: bool,
    /// Lists of files that this copy had when it was offered too early, in the same version, the last one first, at most
    /// [`MAX_SUPERSEDED`]: whoever fetched one of them has a part of it. No part of the digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supersedes: Vec<ManifestHash>,
    /// Why it is complete and cannot be fetched all the same, for people. At most [`MAX_REASON_BYTES`]. No part of the digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_shared: Option<String>,
}

/// Longest [`GameSummary::not_shared`], in bytes.
pub const MAX_REASON_BYTES: usize = 256;
/// Most entries of [`GameSummary::supersedes`].
pub const MAX_SUPERSEDED: usize = 4;

/// The first [`MAX_SUPERSEDED`] of these, each once.
pub fn superseded(hashes: impl Iterator<Item = ManifestHash>) -> Vec<ManifestHash> {
    let mut first = Vec::new();
    for hash in hashes {
        if !first.contains(&hash) && first.len() < MAX_SUPERSEDED {
            first.push(hash);
        }
    }
    first
}

/// The digest of a library: XXH3-128 over the bytes below, for its games in the byte order of their ids.
///
/// ```text
/// "lanspread-library-1\n"  u32 number of games
/// per game: str id, str name, opt str eti_version, u64 size, u8 flags (bit 0 downloaded, bit 1 installed),
///           16 bytes manifest_hash, opt 32 bytes content_hash, u8 availability (0 ready, 1 downloading, 2 local_only)
/// str = u32 length in bytes, then UTF-8; opt = u8 0, or u8 1 then the value; all integers big-endian
/// ```
///
/// The iterator must yield the games in ascending order of id, each id once.
pub fn library_digest<'a>(games: impl ExactSizeIterator<Item = &'a GameSummary>) -> LibraryDigest {
    let mut hash = Xxh3::new();
    hash.update(b"lanspread-library-1\n");
    hash.update(&(games.len() as u32).to_be_bytes());
    let text = |hash: &mut Xxh3, text: &str| {
        hash.update(&(text.len() as u32).to_be_bytes());
        hash.update(text.as_bytes());
    };
    for game in games {
        text(&mut hash, game.id.as_str());
        text(&mut hash, &game.name);
        match &game.eti_version {
            None => hash.update(&[0]),
            Some(version) => {
                hash.update(&[1]);
                text(&mut hash, version);
            }
        }
        hash.update(&game.size.to_be_bytes());
        hash.update(&[u8::from(game.downloaded) | u8::from(game.installed) << 1]);
        hash.update(&game.manifest_hash.0);
        match &game.content_hash {
            None => hash.update(&[0]),
            Some(content) => {
                hash.update(&[1]);
                hash.update(&content.0);
            }
        }
        hash.update(&[match game.availability {
            Availability::Ready => 0,
            Availability::Downloading => 1,
            Availability::LocalOnly => 2,
        }]);
    }
    LibraryDigest(hash.digest128().to_be_bytes())
}
