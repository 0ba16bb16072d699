//! The last good catalog on disk, so that a daemon starts with it when nobody can be asked, and knows which serial number it
//! must not fall behind.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::MAX_FILE_BYTES;
use crate::small_file::{self, Readers};
use crate::types::{CatalogSignature, CatalogSource};

/// Name of the file in the state directory.
pub const CACHE_FILE: &str = "catalog-cache.json";
const FORMAT: u32 = 1;
/// A document with every byte escaped as `\u00xx`, and the rest.
const MAX_BYTES: u64 = 6 * MAX_FILE_BYTES + (64 << 10);

/// The file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Cached {
    format: u32,
    /// Where it came from, as the user wrote it.
    pub(super) source: String,
    /// The server's name for this document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<String>,
    /// Checked again when it is loaded: the key may be another by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) signature: Option<CatalogSignature>,
    /// The document, byte by byte.
    pub(super) document: String,
}

impl Cached {
    pub(super) fn new(
        source: &CatalogSource,
        document: Vec<u8>,
        signature: Option<CatalogSignature>,
        etag: Option<String>,
    ) -> io::Result<Self> {
        // JSON is UTF-8, and this was parsed as such.
        let document = String::from_utf8(document).map_err(io::Error::other)?;
        Ok(Self { format: FORMAT, source: source.to_string(), etag, signature, document })
    }

    /// `None`: there is none, or it is damaged, which costs no more than a fetch.
    pub(super) fn load(state_dir: &Path) -> Option<Self> {
        let path = state_dir.join(CACHE_FILE);
        let read = || -> io::Result<Option<Self>> {
            let bytes = small_file::read(&path, MAX_BYTES)?;
            Ok(bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
        };
        match read() {
            Ok(cached) => cached.filter(|cached| cached.format == FORMAT),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the catalog of the last time is not readable");
                None
            }
        }
    }

    /// Replaces the file, so that after a power cut there is the old or the new one.
    pub(super) fn store(&self, state_dir: &Path) -> io::Result<()> {
        small_file::replace(&state_dir.join(CACHE_FILE), &serde_json::to_vec(self)?, Readers::Owner)
    }
}
