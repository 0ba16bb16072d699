//! Hashing every chunk of a game.

use std::sync::atomic::{AtomicBool, Ordering};

use super::changed;
use crate::aligned::AlignedBytes;
use crate::fs::Dir;
use crate::types::{CHUNK_SIZE, ChunkHash, GameId, JobError, JobErrorKind, KnownContent, Manifest, content_hash};

/// Reads and hashes every file of `manifest` beneath `root`. Each file must have its listed size and time before its
/// first byte and after its last, so that the hashes are those of one state of it.
///
/// # Errors
/// [`JobErrorKind::Changed`], [`JobErrorKind::Cancelled`] within one chunk of `cancel` becoming true, or what the system
/// says.
pub(super) fn hash_files(
    game: &GameId,
    root: &Dir,
    manifest: &Manifest,
    mtimes_ns: &[i128],
    cancel: &AtomicBool,
) -> Result<KnownContent, JobError> {
    let mut buffer = AlignedBytes::default();
    let mut chunks = Vec::with_capacity(manifest.chunk_count() as usize);
    for (entry, &mtime_ns) in manifest.files().iter().zip(mtimes_ns) {
        let moved = || changed(game, format_args!("{} changed while it was hashed", entry.path));
        let file = match root.open_read(&entry.path) {
            Ok(file) => file,
            Err(e) if e.is_not_found() => return Err(moved()),
            Err(e) => return Err(e.into()),
        };
        let is_as_listed = || file.stat().map(|stat| stat.size == entry.size && stat.mtime_ns == mtime_ns);
        if !is_as_listed()? {
            return Err(moved());
        }
        file.advise_sequential();
        let mut offset = 0;
        while offset < entry.size {
            if cancel.load(Ordering::Relaxed) {
                return Err(JobError::new(JobErrorKind::Cancelled, format!("hashing {game} was cancelled")));
            }
            // At most a chunk, and no more than the largest file needs.
            let len = (entry.size - offset).min(CHUNK_SIZE) as usize;
            let chunk = buffer.first(len);
            if file.read_at(chunk, offset)? != len {
                return Err(moved());
            }
            chunks.push(ChunkHash::of(chunk));
            offset += len as u64;
        }
        if !is_as_listed()? {
            return Err(moved());
        }
    }
    Ok(KnownContent { hash: content_hash(manifest, &chunks), chunks })
}
