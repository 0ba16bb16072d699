//! Who and what: [`PeerId`] and [`GameId`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::hash::parse_hex;
use super::path::{PathError, RelPath, fold, is_reserved_at_root};

/// A peer is its key: a UUID version 8 (RFC 9562, section 5.8) made of the first 16 bytes of the SHA-256 of its
/// certificate's DER SubjectPublicKeyInfo. Text form: lower-case, hyphenated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId([u8; 16]);

/// Text that is not a [`PeerId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a peer id (a lower-case hyphenated UUID of version 8): {0:?}")]
pub struct PeerIdError(String);

impl PeerId {
    /// From the SHA-256 of a DER SubjectPublicKeyInfo.
    pub fn from_spki_sha256(digest: &[u8; 32]) -> Self {
        Self::from_digest(digest)
    }

    /// The UUID of version 8 that begins with this digest.
    pub(super) fn from_digest(digest: &[u8; 32]) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    /// The 16 bytes in network order.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PeerId {
    type Err = PeerIdError;
    fn from_str(text: &str) -> Result<Self, PeerIdError> {
        let bad = || PeerIdError(text.chars().take(80).collect());
        let bytes = text.as_bytes();
        if bytes.len() != 36 || [8, 13, 18, 23].iter().any(|&at| bytes[at] != b'-') {
            return Err(bad());
        }
        let id: [u8; 16] = parse_hex(&text.replace('-', "")).map_err(|_| bad())?;
        if id[6] >> 4 != 8 || id[8] >> 6 != 0b10 {
            return Err(bad());
        }
        Ok(Self(id))
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Longest name that a PC gives itself, in bytes: one label of DNS.
pub const MAX_HOSTNAME_BYTES: usize = 63;

/// A game is the name of its folder: one portable path component (the rules of [`RelPath`]) that is not reserved
/// and does not begin with a dot. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GameId(Arc<str>);

/// Text that cannot name a game.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GameIdError {
    /// Not one portable path component.
    #[error("not a game id: {0}")]
    NotPortable(#[from] PathError),
    /// Holds a `/`, begins with a dot, or is a reserved name.
    #[error("not a game id: {0:?} must be one folder name that is not reserved and has no dot in front")]
    NotAFolderName(String),
}

impl GameId {
    /// The folder's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form under which two ids that some file system takes for one folder are equal (case folding and NFC), as
    /// [`RelPath::collision_key`].
    pub fn collision_key(&self) -> String {
        fold(&self.0)
    }

    /// Why it cannot be fetched beside a folder of another spelling, and what to do.
    pub fn refusal_beside(&self, twin: &str) -> String {
        format!(
            "{self} cannot be fetched beside {twin:?}, which is the same name where case does not count: rename that folder, \
             or remove it"
        )
    }

    /// Whether `name` is another spelling of this id: one folder with it on some file system.
    pub fn is_spelled_otherwise(&self, name: &str) -> bool {
        name != self.as_str() && fold(name) == self.collision_key()
    }
}

impl FromStr for GameId {
    type Err = GameIdError;
    fn from_str(text: &str) -> Result<Self, GameIdError> {
        if text.contains('/') || text.starts_with('.') || is_reserved_at_root(text) {
            return Err(GameIdError::NotAFolderName(text.chars().take(80).collect()));
        }
        RelPath::parse(text)?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for GameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for GameId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for GameId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_one_file_system_would_merge_have_one_collision_key() {
        let id = |text: &str| text.parse::<GameId>().unwrap();
        assert_eq!(id("Doom").collision_key(), id("dOOM").collision_key());
        assert_eq!(id("ÄRGER").collision_key(), id("ärger").collision_key());
        assert_ne!(id("doom").collision_key(), id("doom2").collision_key());
        assert!(id("Doom").is_spelled_otherwise("doom") && !id("Doom").is_spelled_otherwise("Doom"));
        // A name that is no id, but that an id may lead to.
        assert!(id("caf\u{e9}").is_spelled_otherwise("cafe\u{301}"));
    }
}
