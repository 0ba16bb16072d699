//! A library as it lies on this disk: its games, and the index that remembers them.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::hash::{HashParseError, parse_hex, write_hex};
use super::{ContentHash, Epoch, GameId, LibraryDigest, LibraryStamp, ManifestHash, Packing, Revision};

/// Tells cheaply whether a game may have changed: XXH3-128 over the names, kinds, sizes and mtimes of what lies directly
/// in the game's root, `version.ini`'s content, and the presence of `local/`. Equal fingerprints mean: nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 16]);

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write_hex(&self.0, f)
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write_hex(&self.0, f)
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = HashParseError;
    fn from_str(text: &str) -> Result<Self, HashParseError> {
        parse_hex(text).map(Self)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Who made the `local/` that is there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstalledBy {
    /// Lanspread installed or adopted it, and may replace and remove it.
    Lanspread,
    /// Nothing proves that.
    SomebodyElse,
}

/// What one listing of all files of a game showed of their times. It never makes two games differ: it says when a game was
/// written, not what it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen(pub Option<Times>);

impl PartialEq for Seen {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Seen {}

/// See [`Seen`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// Over the paths, sizes and times of all files and directories: two listings with other stamps saw the game change.
    pub stamp: Fingerprint,
    /// The latest of these times, and that of the game's root, in nanoseconds since 1970.
    pub newest_ns: i128,
}

/// A game as it lies on this disk. What others see of it also depends on the catalog and on running operations.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ScannedGame {
    /// The folder name.
    pub id: GameId,
    /// The version that `version.ini` states; `None` without a sentinel.
    pub eti_version: Option<String>,
    /// Sum of the sizes of the manifest's files, in bytes.
    pub size: u64,
    /// The sentinel is there.
    pub downloaded: bool,
    /// `local/` is there.
    pub installed: bool,
    /// Who made it; `None`: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed_by: Option<InstalledBy>,
    /// The version that was installed there; `None` when it is not known (somebody else made `local/`) or there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed_version: Option<String>,
    /// How it would be installed; `None` where it has no list of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installs_by: Option<Packing>,
    /// Names the list of files.
    pub manifest_hash: ManifestHash,
    /// Names the bytes; `None` until hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<ContentHash>,
    /// See [`Fingerprint`].
    pub fingerprint: Fingerprint,
    /// Why it cannot be offered to others (a name that is not portable, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unportable: Option<String>,
    /// Its files were changing when it was looked at last, so it may be half a game: it is not offered yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub arriving: bool,
    /// Lists of files that were offered of it too early, in the same version, the last one first, at most
    /// [`MAX_SUPERSEDED`](super::MAX_SUPERSEDED).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supersedes: Vec<ManifestHash>,
    /// Filled in by a listing of all its files, and taken out by whoever keeps the game.
    #[serde(skip)]
    pub seen: Seen,
    /// Names the bytes that a download brought; `None`: none did, or the user made another version of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brought: Option<ContentHash>,
    /// Files in its folder that are no part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaves_out: Option<LeftOut>,
}

impl ScannedGame {
    /// Whether a download brought it, and the user changed it since. Not known before it is hashed.
    pub fn is_changed(&self) -> bool {
        matches!((self.brought, self.content_hash), (Some(brought), Some(now)) if brought != now)
    }
}

/// Files that are no part of a game.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LeftOut {
    /// How many.
    pub count: u64,
    /// The first that was found, beneath the game's folder.
    pub first: String,
}

/// What `<game_dir>/.lanspread/index.json` holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LibraryIndex {
    /// History of the library.
    pub epoch: Epoch,
    /// Last durable revision.
    pub rev: Revision,
    /// Digest of the library as it was announced at that revision.
    pub digest: LibraryDigest,
    /// Every game, ascending by id.
    pub games: Vec<Arc<ScannedGame>>,
}

impl LibraryIndex {
    /// Epoch and revision.
    pub fn stamp(&self) -> LibraryStamp {
        LibraryStamp { epoch: self.epoch, rev: self.rev }
    }
}

/// A game directory that was locked, swept and scanned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenedLibrary {
    /// The directory, absolute.
    pub dir: PathBuf,
    /// The index as it was found; `None`: there was none or it was unreadable, so a new epoch begins.
    pub index: Option<LibraryIndex>,
    /// What to tell the user about the index (set aside because …).
    pub notice: Option<String>,
    /// It is the directory that was in use already, which was only looked at again.
    pub was_open: bool,
    /// What lies on disk now, ascending by id.
    pub games: Vec<Arc<ScannedGame>>,
    /// The time of day then, in nanoseconds since 1970, for comparison with the times of files.
    pub wall_ns: i128,
}
