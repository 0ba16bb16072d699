//! Fixed-size hashes with one textual form: lower-case hexadecimal.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A hash was not written as the expected number of lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} lower-case hexadecimal digits, got {got:?}")]
pub struct HashParseError {
    /// How many digits this hash has.
    pub expected: usize,
    /// The text as it came, cut to 80 characters.
    pub got: String,
}

pub(super) fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

pub(super) fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], HashParseError> {
    let digits = text.as_bytes();
    let bad = || HashParseError { expected: 2 * N, got: text.chars().take(80).collect() };
    if digits.len() != 2 * N {
        return Err(bad());
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let nibble = |d: u8| match d {
            b'0'..=b'9' => Ok(d - b'0'),
            b'a'..=b'f' => Ok(d - b'a' + 10),
            _ => Err(bad()),
        };
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Ok(out)
}

macro_rules! hash_type {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = HashParseError;
            fn from_str(text: &str) -> Result<Self, HashParseError> {
                parse_hex(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

hash_type!(
    /// XXH3-128 over the canonical (path, size) list of a game ([`Manifest::hash`](super::Manifest::hash)), big-endian.
    ManifestHash,
    16
);
hash_type!(
    /// XXH3-128 over the canonical list of a whole library ([`library_digest`](super::library_digest)), big-endian.
    LibraryDigest,
    16
);
hash_type!(
    /// BLAKE3 over the canonical manifest and all its chunk hashes ([`content_hash`](super::content_hash)).
    ContentHash,
    32
);
hash_type!(
    /// BLAKE3 of one chunk's bytes.
    ChunkHash,
    32
);

hash_type!(
    /// Proof that one side of a connection holds the party key: HMAC-SHA-256, different on every connection and for each side.
    PartyProof,
    32
);
hash_type!(
    /// Ed25519 public key of whoever signs a catalog.
    CatalogKey,
    32
);
hash_type!(
    /// Ed25519 signature of a catalog.
    CatalogSignature,
    64
);

impl PartyProof {
    /// Whether both are the same, in a time that does not tell where they differ.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

/// What both sides of one connection must prove where a party key is set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PartyProofs {
    /// What this side says.
    pub own: PartyProof,
    /// What the other side must say.
    pub peer: PartyProof,
}

impl fmt::Debug for PartyProofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What the other side must say stays out of logs.
        f.debug_struct("PartyProofs").finish_non_exhaustive()
    }
}

impl ChunkHash {
    /// The hash of one chunk's bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}
