//! Holding a game's bytes against what they once hashed to.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{GameDir, Previous, changed};
use crate::aligned::AlignedBytes;
use crate::fs::{Dir, EntryKind, File, FsError};
use crate::types::{
    CHUNK_SIZE, ChunkHash, ChunkIndex, DISCARDED_SENTINEL, FileEntry, GameId, JobError, JobErrorKind, KnownContent,
    MAX_SENTINEL_BYTES, Manifest, ManifestHash, RelPath, SENTINEL, VerifiedFiles,
};

impl GameDir {
    /// Reads every chunk of a game and compares it with the hashes that were kept of it, whatever the times of its files
    /// say. A chunk that is missing or cannot be read does not match. Each empty directory must be there, whatever is in it
    /// by now. When anything is bad or missing, the sentinel has durably been set
    /// aside: the game does not count as complete any more.
    ///
    /// Without kept hashes there is nothing to compare with: the files are hashed, the hashes kept, and nothing is bad.
    ///
    /// # Errors
    /// [`JobErrorKind::Changed`] when neither the kept hashes nor the files are those of `manifest_hash`, or an empty file,
    /// which has no chunk, is missing;
    /// [`JobErrorKind::Cancelled`] at the next chunk after `cancel` became true; what the system says.
    pub fn verify_game(
        &self,
        game: &GameId,
        manifest_hash: ManifestHash,
        progress: &dyn Fn(u64, u64),
        cancel: &AtomicBool,
    ) -> Result<VerifiedFiles, JobError> {
        // The list that is asked for is the one of the record, or the record is of no use.
        let kept = self.previous(game)?.filter(|kept| kept.manifest.hash() == manifest_hash);
        let Some(Previous { manifest, content: Some(content), .. }) = kept else {
            let content_hash = self.hash_game(game, manifest_hash, cancel)?;
            let manifest = self.read_manifest(game, manifest_hash)?.manifest;
            progress(manifest.bytes(), manifest.bytes());
            let chunks = manifest.chunk_count();
            return Ok(VerifiedFiles { bad: Vec::new(), missing_dirs: Vec::new(), chunks, content_hash });
        };
        let root = self.root(game)?;
        let bad = compare(game, &root, &manifest, &content, progress, cancel)
            .inspect_err(|e| self.distrust_if_changed(game, e))?;
        let missing_dirs = missing_dirs(&root, &manifest)?;
        if !bad.is_empty() || !missing_dirs.is_empty() {
            self.distrust(game);
            if root.exists(SENTINEL)? {
                let ownership = self.records.of(game, true)?;
                let is_ours = match root.read_small(SENTINEL, MAX_SENTINEL_BYTES) {
                    Ok(bytes) => bytes.is_none_or(|bytes| ownership.has_brought_sentinel(&bytes)),
                    Err(e) if e.is_exhaustion() => return Err(e.into()),
                    Err(_) => false,
                };
                let aside = if is_ours { DISCARDED_SENTINEL.to_owned() } else { root.name_aside(SENTINEL, |_| false)? };
                root.rename(SENTINEL, &aside)?;
            }
            // Also when it was gone: that must be durable.
            root.sync()?;
        }
        Ok(VerifiedFiles { bad, missing_dirs, chunks: manifest.chunk_count(), content_hash: content.hash })
    }
}

/// The chunks of `manifest` beneath `root` that are not those of `content`.
fn compare(
    game: &GameId,
    root: &Dir,
    manifest: &Manifest,
    content: &KnownContent,
    progress: &dyn Fn(u64, u64),
    cancel: &AtomicBool,
) -> Result<Vec<ChunkIndex>, JobError> {
    let mut bad = Vec::new();
    let mut buffer = AlignedBytes::default();
    let mut done = 0;
    for (index, entry) in manifest.files().iter().enumerate() {
        let file = open(root, entry)?;
        // What is there beyond the end belongs to no chunk: the last one stands for it.
        let has_length = match &file {
            Some(file) => file.stat()?.size == entry.size,
            None => false,
        };
        if entry.size == 0 && !has_length {
            return Err(changed(game, format_args!("{} is not the empty file that it was", entry.path)));
        }
        for (chunk, offset) in manifest.chunks_of_file(index).zip((0..).step_by(CHUNK_SIZE as usize)) {
            if cancel.load(Ordering::Relaxed) {
                return Err(JobError::new(JobErrorKind::Cancelled, format!("verifying {game} was cancelled")));
            }
            let len = entry.size.saturating_sub(offset).min(CHUNK_SIZE) as usize;
            let bytes = buffer.first(len);
            let hash = match file.as_ref().map(|file| file.read_at(bytes, offset)) {
                Some(Ok(read)) if read == len => Some(ChunkHash::of(bytes)),
                Some(Err(e)) if e.is_exhaustion() => return Err(e.into()),
                // Too short, not there, or a sector that cannot be read any more.
                _ => None,
            };
            let is_last = offset + len as u64 == entry.size;
            let matches = hash.is_some() && hash.as_ref() == content.chunks.get(chunk as usize);
            if !matches || (is_last && !has_length) {
                bad.push(ChunkIndex(chunk));
            }
            done += len as u64;
            progress(done, manifest.bytes());
        }
    }
    Ok(bad)
}

/// The empty directories of `manifest` that are not there.
fn missing_dirs(root: &Dir, manifest: &Manifest) -> Result<Vec<RelPath>, FsError> {
    let mut missing = Vec::new();
    for dir in manifest.dirs() {
        match root.entry_beneath(dir) {
            Ok(Some(entry)) if entry.kind == EntryKind::Dir => {}
            Ok(_) => missing.push(dir.clone()),
            Err(e) if is_gone(&e) => missing.push(dir.clone()),
            Err(e) => return Err(e),
        }
    }
    Ok(missing)
}

/// What lies on the way is no directory, or not there.
fn is_gone(error: &FsError) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.source.kind(), NotFound | NotADirectory) || error.kind() == JobErrorKind::UnsafePath
}

/// A file of the list; `None`: there is none of that name, so all of it is bad.
fn open(root: &Dir, entry: &FileEntry) -> Result<Option<File>, FsError> {
    match root.entry_beneath(&entry.path) {
        Ok(Some(found)) if found.kind == EntryKind::File => {}
        Ok(_) => return Ok(None),
        Err(e) if is_gone(&e) => return Ok(None),
        Err(e) => return Err(e),
    }
    match root.open_read(&entry.path) {
        Ok(file) => {
            file.advise_sequential();
            Ok(Some(file))
        }
        Err(e) if is_gone(&e) => Ok(None),
        Err(e) => Err(e),
    }
}
