//! What proves that a file of a game is lanspread's, and not the user's.
//!
//! ```text
//! .lanspread/brought/<id>   what the last complete download brought: paths, sizes, times, the hashes of its chunks, the
//!                           paths of empty directories
//! .lanspread/incoming/<id>  what a download that has not come to its end writes: paths and sizes
//! ```
//!
//! A file is lanspread's when it is as the last download left it (size and time, or else its bytes), or when a download that
//! did not end claims it. That something lies there, or was seen by a scan, is no proof.
//!
//! `incoming` is durable before the first byte of its download is written, and counts only while the game has no
//! sentinel. All integers are big-endian:
//!
//! ```text
//! offset  bytes
//!  0       8     "LANSINCO"
//!  8       4     format = 1
//! 12       4     number of files
//! 16             files: u16 length of the path, path, u64 size
//!         16     XXH3-128 of everything before
//! ```

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_128;

use super::content::{Reader, RecordError, checked, put_path};
use super::{Previous, ServedManifest, make_durable, read_record, record_name, rename_old_records, save_record};
use crate::aligned::AlignedBytes;
use crate::fs::{Dir, Entry, EntryKind, FsError};
use crate::types::{CHUNK_SIZE, ChunkHash, ContentHash, GameId, JobError, Manifest, RelPath, SENTINEL};

/// The files that the last download of each game brought.
const BROUGHT: &str = "brought";
/// The files that a download writes.
const INCOMING: &str = "incoming";
const MAGIC: &[u8; 8] = b"LANSINCO";
const FORMAT: u32 = 1;
/// Longest list of a running download that is read, in bytes.
const MAX_INCOMING_BYTES: usize = 256 << 20;

/// Where the proofs lie, of all games of a game directory. Clones share the handles.
#[derive(Clone, Debug)]
pub struct Records {
    brought: Dir,
    incoming: Dir,
}

/// The proofs for the files of one game. Empty: everything is the user's.
#[derive(Clone, Debug, Default)]
pub struct Ownership {
    brought: HashMap<RelPath, Brought>,
    chunks: Vec<ChunkHash>,
    /// Directories that came empty.
    dirs: Vec<RelPath>,
    incoming: HashMap<RelPath, Vec<u64>>,
}

/// A file as a download left it.
#[derive(Clone, Debug)]
struct Brought {
    size: u64,
    /// 0: not known, as of `version.ini`, which comes after the list.
    mtime_ns: i128,
    first_chunk: usize,
}

/// The list of what a download brought.
pub(super) struct BroughtList {
    /// The files.
    pub(super) manifest: Manifest,
    /// Names their bytes.
    pub(super) content: ContentHash,
    /// What `version.ini` hashes to; `None`: it is empty.
    sentinel: Option<ChunkHash>,
}

impl BroughtList {
    /// Whether these are the bytes of the `version.ini` that came with it.
    pub(super) fn has_sentinel(&self, bytes: &[u8]) -> bool {
        self.sentinel == (!bytes.is_empty()).then(|| ChunkHash::of(bytes))
    }
}

impl Records {
    /// Opens the directories in `meta`, and makes those that are missing, durably.
    pub fn open(meta: &Dir) -> Result<Self, FsError> {
        Ok(Self { brought: make_durable(meta, BROUGHT)?, incoming: make_durable(meta, INCOMING)? })
    }

    /// The same of directories that are there; `None`: no daemon has used this game directory. Changes nothing.
    pub(super) fn look(meta: &Dir) -> Result<Option<Self>, FsError> {
        match meta.subdir(BROUGHT).and_then(|brought| Ok(Self { brought, incoming: meta.subdir(INCOMING)? })) {
            Err(e) if e.is_not_found() => Ok(None),
            other => other.map(Some),
        }
    }

    /// Whether a download of `game` has not come to its end, as far as its record says.
    pub(super) fn is_incoming(&self, game: &GameId) -> Result<bool, FsError> {
        Ok(!self.read_incoming(game)?.is_empty())
    }

    /// Gives the records of these games the names that they have now.
    pub(super) fn rename_old(&self, ids: &[GameId]) -> Result<(), FsError> {
        rename_old_records(&self.brought, ids)?;
        rename_old_records(&self.incoming, ids)
    }

    /// The proofs for the files of `game`. `is_complete`: it has its sentinel, so that no download of it is on its way. A
    /// record that is missing or damaged proves nothing.
    ///
    /// # Errors
    /// Only when the system is short of something.
    pub fn of(&self, game: &GameId, is_complete: bool) -> Result<Ownership, FsError> {
        let mut ownership = Ownership::default();
        if let Some(Previous { manifest, mtimes_ns, content: Some(content) }) = self.read_brought(game)? {
            for (index, (file, mtime_ns)) in manifest.files().iter().zip(mtimes_ns).enumerate() {
                let first_chunk = manifest.chunks_of_file(index).start as usize;
                ownership.brought.insert(file.path.clone(), Brought { size: file.size, mtime_ns, first_chunk });
            }
            ownership.chunks = content.chunks;
            ownership.dirs = manifest.dirs().to_vec();
        }
        if !is_complete {
            for (path, size) in self.read_incoming(game)? {
                ownership.incoming.entry(path).or_default().push(size);
            }
        }
        Ok(ownership)
    }

    /// What the last download of a game brought; `None`: none did, or its list cannot be read.
    ///
    /// # Errors
    /// Only when the system is short of something.
    pub(super) fn brought_list(&self, game: &GameId) -> Result<Option<BroughtList>, FsError> {
        let Some(Previous { manifest, content: Some(content), .. }) = self.read_brought(game)? else { return Ok(None) };
        let index = manifest.files().iter().position(|file| file.path.as_str() == SENTINEL);
        let chunk = index.and_then(|index| manifest.chunks_of_file(index).next());
        let sentinel = chunk.and_then(|chunk| content.chunks.get(chunk as usize).copied());
        Ok(Some(BroughtList { manifest, content: content.hash, sentinel }))
    }

    /// Keeps the list of what a download brought, atomically and durably.
    ///
    /// # Errors
    /// [`Verification`](crate::types::JobErrorKind::Verification) when hashes and files do not fit together; what the system
    /// says.
    pub fn save_brought(&self, game: &GameId, landed: &ServedManifest) -> Result<(), JobError> {
        save_record(&self.brought, game, landed)
    }

    /// A download is about to write the files of `manifest`: durably, beside those that `before` claims already.
    pub fn claim(&self, game: &GameId, before: &Ownership, manifest: &Manifest) -> Result<(), FsError> {
        let new = manifest.files().iter().map(|file| (&file.path, file.size));
        self.write_incoming(game, before.claims().chain(new))
    }

    /// The download is over. Of what it claimed only what `before` claimed is left, durably.
    pub fn take_back(&self, game: &GameId, before: &Ownership) -> Result<(), FsError> {
        if before.incoming.is_empty() {
            if self.incoming.remove_file(&record_name(game))? {
                self.incoming.sync()?;
            }
            return Ok(());
        }
        self.write_incoming(game, before.claims())
    }

    /// The game is complete, or gone: nothing of it is on its way.
    pub(crate) fn release(&self, game: &GameId) {
        // Beside a sentinel it counts for nothing.
        if let Err(e) = self.incoming.remove_file(&record_name(game)) {
            tracing::debug!("{e}");
        }
    }

    /// The game was removed: the lists prove nothing of files that are not there any more.
    pub(super) fn forget(&self, game: &GameId) {
        self.release(game);
        if let Err(e) = self.brought.remove_file(&record_name(game)) {
            tracing::debug!("{e}");
        }
    }

    fn read_brought(&self, game: &GameId) -> Result<Option<Previous>, FsError> {
        match read_record(&self.brought, game) {
            Err(e) if !e.is_exhaustion() => Ok(None),
            record => record,
        }
    }

    fn write_incoming<'a>(
        &self,
        game: &GameId,
        files: impl Iterator<Item = (&'a RelPath, u64)>,
    ) -> Result<(), FsError> {
        self.incoming.replace_file(&record_name(game), &encode(files))
    }

    fn read_incoming(&self, game: &GameId) -> Result<Vec<(RelPath, u64)>, FsError> {
        match self.incoming.read_small(&record_name(game), MAX_INCOMING_BYTES) {
            Ok(bytes) => Ok(bytes.and_then(|bytes| decode(&bytes).ok()).unwrap_or_default()),
            Err(e) if e.is_exhaustion() => Err(e),
            Err(_) => Ok(Vec::new()),
        }
    }
}

impl Ownership {
    /// Whether a file is, by size and time, as the last download left it. Other bytes under the same time are damage of the
    /// disk.
    pub fn is_as_left(&self, path: &RelPath, entry: &Entry) -> bool {
        entry.kind == EntryKind::File
            && self
                .brought
                .get(path)
                .is_some_and(|file| file.size == entry.size && file.mtime_ns == entry.mtime_ns && file.mtime_ns != 0)
    }

    /// Whether a file is one that a download that did not end has made: it has the length that this one gives it, or none yet.
    pub fn is_incoming(&self, path: &RelPath, entry: &Entry) -> bool {
        let sizes = self.incoming.get(path);
        entry.kind == EntryKind::File && sizes.is_some_and(|sizes| entry.size == 0 || sizes.contains(&entry.size))
    }

    /// Whether a file may be written over or deleted: as it was left, on its way, or with every byte as it was brought. Reads
    /// it only where size and time do not say.
    ///
    /// # Errors
    /// Only when the system is short of something.
    pub fn is_ours(&self, root: &Dir, path: &RelPath, entry: &Entry) -> Result<bool, FsError> {
        Ok(self.is_as_left(path, entry)
            || self.is_incoming(path, entry)
            || self.has_brought_bytes(root, path, entry)?)
    }

    /// What a chunk that was brought hashes to, if there was one of this length at this place.
    pub fn chunk(&self, path: &RelPath, offset: u64, len: u64) -> Option<&ChunkHash> {
        let file = self.brought.get(path)?;
        if !offset.is_multiple_of(CHUNK_SIZE) || file.size.checked_sub(offset)?.min(CHUNK_SIZE) != len {
            return None;
        }
        self.chunks.get(file.first_chunk + usize::try_from(offset / CHUNK_SIZE).ok()?)
    }

    /// Whether a download brought this `version.ini`: it is short, so that its bytes say it. An empty one has nothing to lose.
    pub fn has_brought_sentinel(&self, bytes: &[u8]) -> bool {
        let brought = RelPath::parse(SENTINEL).ok();
        let brought = brought.and_then(|path| self.chunk(&path, 0, bytes.len() as u64));
        bytes.is_empty() || brought == Some(&ChunkHash::of(bytes))
    }

    /// The directories that came empty and are so still: they may be removed.
    ///
    /// # Errors
    /// Only when the system is short of something.
    pub fn empty_dirs(&self, root: &Dir) -> Result<Vec<RelPath>, FsError> {
        let mut empty = Vec::new();
        for dir in &self.dirs {
            match root.open_dir(dir).and_then(|dir| dir.names()) {
                Ok(names) if names.is_empty() => empty.push(dir.clone()),
                Err(e) if e.is_exhaustion() => return Err(e),
                // What cannot be looked at is nobody's to delete.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(empty)
    }

    /// Every path of a file that was brought or is on its way, in no order; some twice.
    pub fn paths(&self) -> impl Iterator<Item = &RelPath> {
        self.brought.keys().chain(self.incoming.keys())
    }

    /// Whether there is no proof at all.
    pub fn is_empty(&self) -> bool {
        self.brought.is_empty() && self.incoming.is_empty()
    }

    fn claims(&self) -> impl Iterator<Item = (&RelPath, u64)> {
        self.incoming.iter().flat_map(|(path, sizes)| sizes.iter().map(move |size| (path, *size)))
    }

    fn has_brought_bytes(&self, root: &Dir, path: &RelPath, entry: &Entry) -> Result<bool, FsError> {
        let has_size = self.brought.get(path).is_some_and(|file| file.size == entry.size);
        if entry.kind != EntryKind::File || !has_size {
            return Ok(false);
        }
        let file = match root.open_read(path) {
            Ok(file) => file,
            Err(e) if e.is_exhaustion() => return Err(e),
            Err(_) => return Ok(false),
        };
        let mut buffer = AlignedBytes::default();
        for offset in (0..entry.size).step_by(CHUNK_SIZE as usize) {
            let len = (entry.size - offset).min(CHUNK_SIZE);
            let bytes = buffer.first(len as usize);
            match file.read_at(bytes, offset) {
                Ok(read) if read == bytes.len() && self.chunk(path, offset, len) == Some(&ChunkHash::of(bytes)) => {}
                Err(e) if e.is_exhaustion() => return Err(e),
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}

fn encode<'a>(files: impl Iterator<Item = (&'a RelPath, u64)>) -> Vec<u8> {
    let (mut list, mut count) = (Vec::new(), 0u32);
    for (path, size) in files {
        put_path(&mut list, path);
        list.extend_from_slice(&size.to_be_bytes());
        count += 1;
    }
    let mut bytes = [MAGIC.as_slice(), &FORMAT.to_be_bytes(), &count.to_be_bytes(), &list].concat();
    bytes.extend_from_slice(&xxh3_128(&bytes).to_be_bytes());
    bytes
}

/// Reads what [`encode`] made.
fn decode(bytes: &[u8]) -> Result<Vec<(RelPath, u64)>, RecordError> {
    let mut reader = Reader(checked(bytes)?);
    if reader.take(MAGIC.len())? != MAGIC || reader.array().map(u32::from_be_bytes)? != FORMAT {
        return Err(RecordError::Format);
    }
    let mut files = Vec::new();
    for _ in 0..u32::from_be_bytes(reader.array()?) {
        files.push((reader.path()?, u64::from_be_bytes(reader.array()?)));
    }
    if reader.0.is_empty() { Ok(files) } else { Err(RecordError::Inconsistent) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_what_comes_in_is_read_back_and_every_truncation_and_flipped_bit_is_seen() {
        let path = |path: &str| RelPath::parse(path).unwrap();
        let files = vec![(path("data/a"), 7), (path("data/a"), 1 << 40), (path("version.ini"), 0)];
        let bytes = encode(files.iter().map(|(path, size)| (path, *size)));
        assert_eq!(decode(&bytes), Ok(files));
        assert_eq!(decode(&encode(std::iter::empty())), Ok(Vec::new()));
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "{len}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes).is_err(), "{bit}");
        }
    }
}
