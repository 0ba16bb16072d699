//! Mirrors: static web servers that hand out games.
//!
//! ```text
//! URL/index.json                every game of the mirror; may be missing
//! URL/<game id>/manifest.json   one game: its files and their hashes
//! URL/<game id>/<path>          its files
//! ```

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{CatalogSource, GameId, GameSummary, PeerId, RelPath};

/// The document beneath a game's root on a mirror that describes the game. It lies in the way of a file of the game that has the
/// same name.
pub const MIRROR_MANIFEST: &str = "manifest.json";

/// That document begins with these bytes: by them it is told from a file of the game.
pub const MIRROR_MARKER: &str = "{\"lanspread_mirror\":";

/// Where a mirror is: `http://…` or `https://…`, with a host, without user, query, fragment and slash at the end. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MirrorUrl(Arc<str>);

impl MirrorUrl {
    /// From what a user wrote. `None`: it cannot be one.
    pub fn parse(written: &str) -> Option<Self> {
        match CatalogSource::parse(Path::new(written))? {
            CatalogSource::Url(url) if !url.contains('?') => Some(Self(url.trim_end_matches('/').into())),
            _ => None,
        }
    }

    /// The id under which users are told of the mirror, among those of peers: a UUID of version 8 made of the BLAKE3 of `"lanspread-mirror-1\n"` and the URL.
    /// Nobody can prove a key for it, so that no peer can be taken for a mirror.
    pub fn told_as(&self) -> PeerId {
        let mut hash = blake3::Hasher::new();
        hash.update(b"lanspread-mirror-1\n").update(self.0.as_bytes());
        PeerId::from_digest(hash.finalize().as_bytes())
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the list of its games is.
    pub fn index(&self) -> String {
        format!("{}/index.json", self.0)
    }

    /// Where the description of a game is.
    pub fn manifest(&self, game: &GameId) -> String {
        let mut url = self.0.to_string();
        push(&mut url, game.as_str());
        push(&mut url, MIRROR_MANIFEST);
        url
    }

    /// Where a file of a game is.
    pub fn file(&self, game: &GameId, path: &RelPath) -> String {
        let mut url = self.0.to_string();
        push(&mut url, game.as_str());
        path.as_str().split('/').for_each(|component| push(&mut url, component));
        url
    }
}

impl fmt::Display for MirrorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for MirrorUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for MirrorUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("not the URL of a mirror"))
    }
}

/// Appends a slash and a component, percent-encoded (RFC 3986, section 2.3) but for what every server takes literally.
fn push(url: &mut String, component: &str) {
    url.push('/');
    for byte in component.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => url.push(char::from(byte)),
            _ => {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                url.push('%');
                url.push(char::from(DIGITS[usize::from(byte >> 4)]));
                url.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
}

/// What a mirror is asked for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MirrorAsk {
    /// The list of its games.
    Index,
    /// One game.
    Game(GameId),
}

/// What a mirror says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MirrorNews {
    /// The list of its games, ascending by id, each once; `None`: it has no such list.
    Index(Option<Vec<Arc<GameSummary>>>),
    /// The list is as before.
    IndexUnchanged,
    /// The game that was asked for; `None`: it does not have it.
    Game(Option<Arc<GameSummary>>),
}

/// Why a mirror says nothing, in words that name the URL.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MirrorFault {
    /// It cannot be reached, or fails itself.
    #[error("{0}")]
    Down(String),
    /// What it says breaks a rule.
    #[error("{0}")]
    Invalid(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_composed_of_encoded_components() {
        let url = MirrorUrl::parse("http://mirror.lan:8080/games/").unwrap();
        let game: GameId = "Doom & Söhne #1".parse().unwrap();
        assert_eq!(url.index(), "http://mirror.lan:8080/games/index.json");
        assert_eq!(url.manifest(&game), "http://mirror.lan:8080/games/Doom%20%26%20S%C3%B6hne%20%231/manifest.json");
        let path = RelPath::parse("a b/100%.dat").unwrap();
        assert_eq!(
            url.file(&game, &path),
            "http://mirror.lan:8080/games/Doom%20%26%20S%C3%B6hne%20%231/a%20b/100%25.dat"
        );
    }

    #[test]
    fn a_mirror_is_one_source_however_its_slash_is_written() {
        let id = |url: &str| MirrorUrl::parse(url).map(|url| url.told_as());
        assert_eq!(id("http://m.lan"), id("http://m.lan//"));
        assert_ne!(id("http://m.lan"), id("http://m.lan/x"));
        assert!(id("http://m.lan").unwrap().to_string().parse::<PeerId>().is_ok());
        for bad in ["", "games", "/srv", "ftp://m/x", "http://m/?x=1", "http://u@m/", "http://m/#x", "http://"] {
            assert_eq!(MirrorUrl::parse(bad), None, "{bad:?}");
        }
    }
}
