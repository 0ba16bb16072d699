//! The last good catalog on disk, so that a daemon starts with it when nobody can be asked, and knows which serial number it
//! must not fall behind.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::MAX_FILE_BYTES;
use crate::sys;
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
        let read = || -> io::Result<Self> {
            let mut bytes = Vec::new();
            File::open(&path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
            Ok(serde_json::from_slice(&bytes)?)
        };
        match read() {
            Ok(cached) if cached.format == FORMAT => Some(cached),
            Ok(_) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the catalog of the last time is not readable");
                None
            }
        }
    }

    /// Replaces the file, so that after a power cut there is the old or the new one.
    pub(super) fn store(&self, state_dir: &Path) -> io::Result<()> {
        replace(&state_dir.join(CACHE_FILE), &serde_json::to_vec(self)?, Readers::Owner)
    }
}

/// Who may read a file that is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readers {
    /// Whoever wrote it.
    Owner,
    /// Whoever the umask lets: a web server runs as somebody else.
    Everybody,
}

/// Replaces a file durably: whoever reads it, whenever, sees the old content or the new one.
///
/// # Errors
/// What the file system says; the old content stays.
pub fn replace(path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    let dir = directory_of(path);
    written(dir, content, readers)?.persist(path).map_err(|failed| failed.error)?;
    sys::sync_dir(dir)
}

/// Writes a new file durably, readable by its owner only; one that is there already is left alone.
///
/// # Errors
/// What the file system says; `AlreadyExists` among them.
pub fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = directory_of(path);
    // Link or rename, whichever the file system has; fails when the name is taken.
    written(dir, content, Readers::Owner)?.persist_noclobber(path).map_err(|failed| failed.error)?;
    sys::sync_dir(dir)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// On disk under a name of its own.
fn written(dir: &Path, content: &[u8], readers: Readers) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".catalog-").suffix(".tmp");
    sys::private_unless(matches!(readers, Readers::Everybody), &mut builder);
    let mut file = builder.tempfile_in(dir)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}
