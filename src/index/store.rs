//! `index.json`: how the index lies on disk.
//!
//! One JSON object on one line, its last member a checksum of all bytes before that member:
//!
//! ```text
//! {"format":1,"epoch":"…","rev":7,"digest":"…","games":[…],"checksum":"32 hex digits"}\n
//! ```
//!
//! The checksum is XXH3-128. The index is a cache, so a file that was torn, edited or restored in part is not repaired
//! but counts as unreadable: the games are looked at again under a new epoch.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::fs::{is_sealed, seal};
use crate::types::{Epoch, LibraryDigest, LibraryIndex, Revision, ScannedGame};

/// Largest index that is read, in bytes: 20,000 games of 3 KiB each.
pub const MAX_INDEX_BYTES: usize = 64 << 20;

const FORMAT: u32 = 1;

/// Why bytes are not an index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Cut off, or changed by somebody else.
    #[error("its checksum does not match: it was cut off or edited")]
    Checksum,
    /// Not the members that it should have.
    #[error("{0}")]
    Syntax(#[from] serde_json::Error),
    /// Written by another version of this program.
    #[error("it has format {0}, this program reads format {FORMAT}")]
    Format(u32),
    /// The games are not in ascending order of their ids.
    #[error("its games are not in order")]
    Order,
}

/// The member names of the file. Borrowing and owned at once, so that writing and reading cannot drift apart.
#[derive(Serialize, Deserialize)]
struct IndexFile<G> {
    format: u32,
    epoch: Epoch,
    rev: Revision,
    digest: LibraryDigest,
    games: G,
}

/// The bytes of `index.json`.
///
/// # Errors
/// Only if a value cannot be JSON, which the types of an index rule out.
pub fn encode(index: &LibraryIndex) -> Result<Vec<u8>, IndexError> {
    let LibraryIndex { epoch, rev, digest, ref games } = *index;
    Ok(seal(serde_json::to_vec(&IndexFile { format: FORMAT, epoch, rev, digest, games })?))
}

/// Reads what [`encode`] made.
pub fn decode(bytes: &[u8]) -> Result<LibraryIndex, IndexError> {
    if !is_sealed(bytes) {
        return Err(IndexError::Checksum);
    }
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let Format { format } = serde_json::from_slice(bytes)?;
    if format != FORMAT {
        return Err(IndexError::Format(format));
    }
    let file: IndexFile<Vec<Arc<ScannedGame>>> = serde_json::from_slice(bytes)?;
    if !file.games.is_sorted_by(|a, b| a.id < b.id) {
        return Err(IndexError::Order);
    }
    Ok(LibraryIndex { epoch: file.epoch, rev: file.rev, digest: file.digest, games: file.games })
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_128;

    use super::*;
    use crate::types::{ContentHash, Fingerprint, ManifestHash, Seen};

    fn index() -> LibraryIndex {
        let game = |id: &str, content: Option<u8>, unportable: Option<&str>| {
            Arc::new(ScannedGame {
                id: id.parse().unwrap(),
                eti_version: content.map(|_| "1.0".into()),
                size: u64::MAX,
                downloaded: content.is_some(),
                installed: false,
                installed_by: None,
                installed_version: None,
                installs_by: None,
                manifest_hash: ManifestHash([7; 16]),
                content_hash: content.map(|byte| ContentHash([byte; 32])),
                fingerprint: Fingerprint([9; 16]),
                unportable: unportable.map(Into::into),
                brought: None,
                leaves_out: None,
                arriving: false,
                supersedes: Vec::new(),
                seen: Seen::default(),
            })
        };
        LibraryIndex {
            epoch: Epoch(u64::MAX),
            rev: Revision(41),
            digest: LibraryDigest([3; 16]),
            games: vec![game("a", Some(1), None), game("b \u{e4}", None, Some("\"checksum\":\"x\"}\n"))],
        }
    }

    #[test]
    fn an_index_comes_back_as_it_was_and_is_json() {
        let bytes = encode(&index()).unwrap();
        assert_eq!(decode(&bytes).unwrap(), index());
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["games"].as_array().unwrap().len(), 2);
        assert_eq!(json["epoch"], "ffffffffffffffff");
    }

    #[test]
    fn every_truncation_and_every_changed_byte_is_seen() {
        let bytes = encode(&index()).unwrap();
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "{len}");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert!(decode(&bytes).is_err(), "{at}");
        }
    }

    #[test]
    fn another_format_and_unordered_games_are_refused() {
        let mut unordered = index();
        unordered.games.reverse();
        assert!(matches!(decode(&encode(&unordered).unwrap()), Err(IndexError::Order)));
        let newer = br#"{"format":2,"games":"elsewhere""#;
        let newer = [newer.as_slice(), format!(",\"checksum\":\"{:032x}\"}}\n", xxh3_128(newer)).as_bytes()].concat();
        assert!(matches!(decode(&newer), Err(IndexError::Format(2))));
    }
}
