//! The sending side: blocks of a game, read from its files as long as they are the files that were listed.

use super::handles::Handles;
use crate::fs::{Dir, File, Stat};
use crate::index::ServedManifest;
use crate::types::{
    Batch, CHUNK_SIZE, ChunkHash, ContentHash, DownloadPlan, GameId, JobError, JobErrorKind, KnownContent, Manifest,
    ManifestHash,
};

/// A game that is being served: its list of files, their times when they were listed, and open files. Shared by the
/// threads that read for different peers.
#[derive(Debug)]
pub struct ServedGame {
    game: GameId,
    manifest_hash: ManifestHash,
    listed: ServedManifest,
    root: Dir,
    handles: Handles,
}

impl ServedGame {
    /// `root`: the game's own directory. `listed`: as read from there, one time for each file.
    pub fn new(game: GameId, root: Dir, listed: ServedManifest) -> Self {
        Self { manifest_hash: listed.manifest.hash(), game, listed, root, handles: Handles::default() }
    }

    /// A game that a download is still writing: only what it has verified may be read, and files change all the time.
    pub fn in_progress(root: Dir, plan: &DownloadPlan, content_hash: Option<ContentHash>) -> Self {
        // Nobody is handed its manifest: the hashes of its chunks stay where they are.
        let content = content_hash.map(|hash| KnownContent { hash, chunks: Vec::new() });
        let listed = ServedManifest { manifest: plan.manifest.clone(), mtimes_ns: Vec::new(), content };
        Self { manifest_hash: plan.manifest_hash, game: plan.game.clone(), listed, root, handles: Handles::default() }
    }

    /// Which game.
    pub fn game(&self) -> &GameId {
        &self.game
    }

    /// Its files.
    pub fn manifest(&self) -> &Manifest {
        &self.listed.manifest
    }

    /// Names its files.
    pub fn manifest_hash(&self) -> ManifestHash {
        self.manifest_hash
    }

    /// Names its bytes, when they have been hashed.
    pub fn content_hash(&self) -> Option<ContentHash> {
        self.listed.content.as_ref().map(|content| content.hash)
    }

    /// One hash for each chunk, when they have been hashed.
    pub fn chunk_hashes(&self) -> Option<&[ChunkHash]> {
        self.listed.content.as_ref().map(|content| content.chunks.as_slice())
    }

    /// Reads the chunks of `batch` one after the other to the front of `buf`. With `hash`, returns the hash of each.
    ///
    /// # Errors
    /// [`JobErrorKind::Changed`] when a file is not the one that was listed; then nothing in `buf` may be sent.
    pub fn read_batch(&self, batch: Batch, buf: &mut [u8], hash: bool) -> Result<Option<Vec<ChunkHash>>, JobError> {
        let mut hashes = hash.then(|| Vec::with_capacity(batch.range.count as usize));
        let mut rest = buf;
        for index in batch.range.iter() {
            let chunk = self.manifest().chunk(index).ok_or_else(|| self.not_of_this_game(batch))?;
            let (bytes, tail) =
                rest.split_at_mut_checked(chunk.len as usize).ok_or_else(|| self.not_of_this_game(batch))?;
            rest = tail;
            let file = self.handles.get(chunk.file, || self.open(chunk.file))?;
            if file.read_at(bytes, chunk.offset)? < bytes.len() {
                return Err(self.changed(&file));
            }
            // After the read: a change before it, or during it, shows in the time.
            self.check(chunk.file, &file)?;
            if let Some(hashes) = &mut hashes {
                hashes.push(ChunkHash::of(bytes));
            }
        }
        Ok(hashes)
    }

    fn open(&self, index: usize) -> Result<File, JobError> {
        let entry = self.manifest().files().get(index).ok_or_else(|| self.gone())?;
        let file = match self.root.open_read(&entry.path) {
            Err(e) if e.is_not_found() => return Err(self.gone()),
            other => other?,
        };
        self.check(index, &file)?;
        if entry.size > CHUNK_SIZE {
            file.advise_sequential();
        }
        Ok(file)
    }

    fn check(&self, index: usize, file: &File) -> Result<(), JobError> {
        if self.listed.mtimes_ns.is_empty() {
            return Ok(());
        }
        let Stat { size, mtime_ns, .. } = file.stat()?;
        let listed = self.manifest().files().get(index).zip(self.listed.mtimes_ns.get(index));
        match listed {
            Some((entry, &mtime)) if entry.size == size && mtime == mtime_ns => Ok(()),
            _ => Err(self.changed(file)),
        }
    }

    fn changed(&self, file: &File) -> JobError {
        JobError::new(JobErrorKind::Changed, format!("{} has changed since it was listed", file.path().display()))
    }

    fn gone(&self) -> JobError {
        JobError::new(JobErrorKind::Changed, format!("files of {} have gone since they were listed", self.game))
    }

    fn not_of_this_game(&self, batch: Batch) -> JobError {
        JobError::new(JobErrorKind::Io, format!("{} has no batch {batch:?}", self.game))
    }
}
