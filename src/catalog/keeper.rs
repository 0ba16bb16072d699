//! Keeps a catalog up to date: reads or fetches it, holds it against its signature, remembers the last good one.
//!
//! ```text
//!   source ─▶ bytes ─▶ (key set: signature right, serial not lower) ─▶ valid catalog ─▶ cache ─▶ in use
//!                │ anything wrong
//!                └─▶ the one in use stays
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cache::Cached;
use super::{Catalog, CatalogError, MAX_FILE_BYTES, signature};
use crate::types::{CatalogKey, CatalogSignature, CatalogSource};
use crate::web::{self, Fetched};

/// Largest signature file, in bytes.
const MAX_SIGNATURE_BYTES: u64 = 1 << 10;

/// The one place that knows where the catalog comes from, and what the last good one was.
#[derive(Debug)]
pub struct Keeper {
    source: CatalogSource,
    key: Option<CatalogKey>,
    state_dir: PathBuf,
    held: Option<Held>,
}

/// What is in use.
#[derive(Debug)]
struct Held {
    /// BLAKE3 of the document.
    digest: blake3::Hash,
    serial: u64,
    /// The server's name for it.
    etag: Option<String>,
}

impl Keeper {
    /// The catalog to start with. From a URL: the last good one, of the cache; where there is none, one that lists nothing,
    /// until the first [`Keeper::refresh`]. From a file: what it says; with a key, where it is not valid, the last good one.
    ///
    /// # Errors
    ///
    /// [`CatalogError`] of a file, where there is no last good catalog.
    pub fn open(
        source: CatalogSource,
        key: Option<CatalogKey>,
        state_dir: &Path,
    ) -> Result<(Self, Arc<Catalog>), CatalogError> {
        let mut keeper = Self { source, key, state_dir: state_dir.to_owned(), held: None };
        let cached = if keeper.is_cached() { keeper.recall() } else { None };
        if matches!(keeper.source, CatalogSource::Url(_)) {
            return Ok((keeper, Arc::new(cached.unwrap_or_else(Catalog::empty))));
        }
        match (keeper.refresh(), cached) {
            (Ok(Some(read)), _) => Ok((keeper, read)),
            (Ok(None), Some(cached)) => Ok((keeper, Arc::new(cached))),
            // The first refresh says what is wrong with the file.
            (Err(_), Some(cached)) => Ok((keeper, Arc::new(cached))),
            (Err(error), None) => Err(error),
            // Cannot happen: nothing was held that it could be equal to.
            (Ok(None), None) => Ok((keeper, Arc::new(Catalog::empty()))),
        }
    }

    /// Reads or fetches the catalog anew. `None`: it is the one that is in use. Blocks on disk and network, for minutes at
    /// worst.
    ///
    /// # Errors
    ///
    /// [`CatalogError`]; the one in use stays.
    pub fn refresh(&mut self) -> Result<Option<Arc<Catalog>>, CatalogError> {
        let etag = self.held.as_ref().and_then(|held| held.etag.as_deref());
        let Some((document, etag)) = read(&self.source, etag, MAX_FILE_BYTES)? else { return Ok(None) };
        let digest = blake3::hash(&document);
        if let Some(held) = self.held.as_mut().filter(|held| held.digest == digest) {
            held.etag = etag;
            return Ok(None);
        }
        let signature = match &self.key {
            None => None,
            Some(key) => Some(check_signature(&self.source, key, &document)?),
        };
        let catalog = Catalog::parse(&document)?;
        if let Some(held) = self.held.as_ref().filter(|held| self.key.is_some() && catalog.serial() < held.serial) {
            return Err(CatalogError::Older { found: catalog.serial(), known: held.serial });
        }
        if self.is_cached() {
            let cached = Cached::new(&self.source, document, signature, etag.clone());
            if let Err(error) = cached.and_then(|cached| cached.store(&self.state_dir)) {
                // It counts all the same; only the next start may have to do without it.
                tracing::warn!(%error, "the catalog could not be kept for the next start");
            }
        }
        self.held = Some(Held { digest, serial: catalog.serial(), etag });
        Ok(Some(Arc::new(catalog)))
    }

    /// A file without a key is its own memory.
    fn is_cached(&self) -> bool {
        self.key.is_some() || matches!(self.source, CatalogSource::Url(_))
    }

    /// The last good catalog, if it still is one: of this key, from wherever; without a key from this source.
    fn recall(&mut self) -> Option<Catalog> {
        let cached = Cached::load(&self.state_dir)?;
        let same_source = cached.source == self.source.to_string();
        let counts = match (&self.key, &cached.signature) {
            (Some(key), Some(signature)) => signature::verify(key, cached.document.as_bytes(), signature),
            (Some(_), None) => false,
            (None, _) => same_source,
        };
        let catalog = Catalog::parse(cached.document.as_bytes()).ok().filter(|_| counts)?;
        let digest = blake3::hash(cached.document.as_bytes());
        self.held = Some(Held { digest, serial: catalog.serial(), etag: cached.etag.filter(|_| same_source) });
        Some(catalog)
    }
}

/// Reads a catalog once, for whoever wants to look at it: the document, checked against `key` if there is one.
///
/// # Errors
///
/// [`CatalogError`].
pub fn read_once(source: &CatalogSource, key: Option<&CatalogKey>) -> Result<(Catalog, Vec<u8>), CatalogError> {
    let document = match read(source, None, MAX_FILE_BYTES)? {
        Some((document, _)) => document,
        // Cannot happen: no tag was sent.
        None => Vec::new(),
    };
    if let Some(key) = key {
        check_signature(source, key, &document)?;
    }
    Ok((Catalog::parse(&document)?, document))
}

fn check_signature(
    source: &CatalogSource,
    key: &CatalogKey,
    document: &[u8],
) -> Result<CatalogSignature, CatalogError> {
    let at = source.signature();
    let bad = |fault: String| CatalogError::Signature { at: at.to_string(), fault };
    let file = match read(&at, None, MAX_SIGNATURE_BYTES) {
        Ok(Some((file, _))) => file,
        Ok(None) => Vec::new(),
        Err(error) => return Err(bad(error.to_string())),
    };
    let signature = signature::parse(&file).ok_or_else(|| bad("it is not 128 hexadecimal digits".to_owned()))?;
    if signature::verify(key, document, &signature) {
        Ok(signature)
    } else {
        Err(bad(format!("it is not the one of {source} by the key {key}")))
    }
}

/// Bytes and their entity tag.
type Tagged = (Vec<u8>, Option<String>);

/// `None`: as before.
fn read(source: &CatalogSource, etag: Option<&str>, most: u64) -> Result<Option<Tagged>, CatalogError> {
    match source {
        CatalogSource::Url(url) => match web::get(url, etag, most) {
            Ok(Fetched::NotModified) => Ok(None),
            Ok(Fetched::Body { bytes, etag }) => Ok(Some((bytes, etag))),
            Err(error) => Err(CatalogError::Fetch { url: url.clone(), reason: error.to_string() }),
        },
        CatalogSource::File(path) => {
            let failed = |source| CatalogError::Read { path: path.clone(), source };
            let mut bytes = Vec::new();
            let file = File::open(path).map_err(failed)?;
            if !file.metadata().map_err(failed)?.is_file() {
                return Err(failed(io::Error::other("it is not a regular file")));
            }
            file.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
            if bytes.len() as u64 > most {
                return Err(CatalogError::TooLarge { path: path.clone() });
            }
            Ok(Some((bytes, None)))
        }
    }
}
