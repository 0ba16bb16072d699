//! What a download need not fetch: chunks that lie in their places already, and chunks that lie elsewhere in the old game.
//!
//! The bytes decide. No hash that was kept is trusted: it says where to look, and what was read must match the plan.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use super::prepare::Present;
use super::{DISCARDED, Landing, MAX_SENTINEL, Progress};
use crate::aligned::AlignedBytes;
use crate::fs::{Dir, File, FsError};
use crate::index::Previous;
use crate::types::{
    CHUNK_SIZE, ChunkHash, ChunkIndex, ChunkRange, DownloadPlan, GameId, JobError, JobErrorKind, RelPath,
};

/// How a long preparation is watched and given up.
pub struct Watch<'a> {
    game: &'a GameId,
    progress: &'a dyn Fn(u64, u64),
    cancel: &'a AtomicBool,
    done: Cell<u64>,
    total: Cell<u64>,
}

impl<'a> Watch<'a> {
    /// `progress` is told how many bytes were looked at, of how many; `cancel` ends it within a chunk.
    pub fn new(game: &'a GameId, progress: &'a dyn Fn(u64, u64), cancel: &'a AtomicBool) -> Self {
        Self { game, progress, cancel, done: Cell::new(0), total: Cell::new(0) }
    }

    /// So many bytes more are to be looked at.
    fn expect(&self, bytes: u64) {
        self.total.set(self.total.get() + bytes);
    }

    /// So many were.
    fn done(&self, bytes: u64) {
        self.done.set(self.done.get() + bytes);
        (self.progress)(self.done.get(), self.total.get());
    }

    fn check(&self) -> Result<(), JobError> {
        if self.cancel.load(Ordering::Relaxed) {
            let message = format!("the download of {} was cancelled", self.game);
            return Err(JobError::new(JobErrorKind::Cancelled, message));
        }
        Ok(())
    }
}

/// Where bytes of the old game lie that are not overwritten before they are copied.
struct Place<'a> {
    path: &'a RelPath,
    offset: u64,
}

/// Marks the chunks of `plan` that lie in their places beneath `root`. `present`: for each file of the plan what lies
/// there, if it may be kept; `sentinel`: the index of that file, whose old bytes were set aside.
pub(super) fn keep_in_place(
    root: &Dir,
    plan: &DownloadPlan,
    sentinel: usize,
    present: &[Option<Present>],
    kept: &mut Progress,
    watch: &Watch<'_>,
) -> Result<(), JobError> {
    let Some(content) = &plan.content else { return Ok(()) };
    keep_sentinel(root, plan, sentinel, &content.chunks, kept);
    let files = || {
        let files = plan.manifest.files().iter().enumerate().zip(present);
        let files = files.filter(|((index, _), _)| *index != sentinel);
        files.filter_map(|((index, entry), present)| present.as_ref().map(|present| (index, entry, present)))
    };
    files().for_each(|(_, entry, present)| watch.expect(entry.size.min(present.size)));
    let mut buffer = AlignedBytes::default();
    for (index, entry, present) in files() {
        let readable = entry.size.min(present.size);
        let Some(file) = (if readable > 0 { open(root, &entry.path)? } else { None }) else {
            watch.done(readable);
            continue;
        };
        let mut looked_at = 0;
        for number in plan.manifest.chunks_of_file(index) {
            let Some(chunk) = plan.manifest.chunk(ChunkIndex(number)) else { break };
            if chunk.offset + u64::from(chunk.len) > readable {
                break;
            }
            watch.check()?;
            if let Some(expected) = content.chunks.get(number as usize)
                && read(&file, chunk.offset, chunk.len, expected, &mut buffer)?.is_some()
            {
                kept.set_written(ChunkIndex(number), *expected);
            }
            looked_at += u64::from(chunk.len);
            watch.done(u64::from(chunk.len));
        }
        watch.done(readable - looked_at);
    }
    Ok(())
}

/// The sentinel of an unchanged game need not be fetched either. A failure costs only that.
fn keep_sentinel(root: &Dir, plan: &DownloadPlan, sentinel: usize, hashes: &[ChunkHash], kept: &mut Progress) {
    let Ok(Some(bytes)) = root.read_small(DISCARDED, MAX_SENTINEL as usize) else { return };
    for number in plan.manifest.chunks_of_file(sentinel) {
        let is_whole = plan.manifest.files().get(sentinel).is_some_and(|entry| entry.size == bytes.len() as u64);
        if let Some(hash) = hashes.get(number as usize).filter(|hash| is_whole && **hash == ChunkHash::of(&bytes)) {
            kept.sentinel.clone_from(&bytes);
            kept.set_written(ChunkIndex(number), *hash);
        }
    }
}

impl Landing {
    /// The chunks that are on the disk, as the fewest ranges, ascending.
    pub fn kept(&self) -> Vec<ChunkRange> {
        let mut ranges: Vec<ChunkRange> = Vec::new();
        for (number, _) in (0..).zip(&self.progress().written).filter(|(_, written)| **written) {
            match ranges.last_mut() {
                Some(last) if last.first + last.count == number => last.count += 1,
                _ => ranges.push(ChunkRange { first: number, count: 1 }),
            }
        }
        ranges
    }

    /// Copies what is missing from where the old game has it: out of files that the new list lacks (they were renamed, or
    /// their bytes moved), and out of chunks that lie in their places, which nobody overwrites any more.
    ///
    /// # Errors
    /// When the disk refuses to write; [`JobErrorKind::Cancelled`] within a chunk. Then it is to be abandoned.
    pub(super) fn copy_moved(&self, previous: Option<&Previous>, watch: &Watch<'_>) -> Result<(), JobError> {
        let Some(content) = &self.plan.content else { return Ok(()) };
        let written = self.progress().written.clone();
        let chunks = |wanted: bool| {
            let states = (0u32..).zip(&content.chunks).zip(&written).filter(move |(_, written)| **written != wanted);
            states.filter_map(|((number, hash), _)| {
                let chunk = self.manifest().chunk(ChunkIndex(number))?;
                (chunk.file != self.sentinel).then_some((ChunkIndex(number), chunk, hash))
            })
        };
        let wanted: HashSet<&ChunkHash> = chunks(true).map(|(_, _, hash)| hash).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let mut places: HashMap<&ChunkHash, Place<'_>> = HashMap::new();
        for (_, chunk, hash) in chunks(false).filter(|(_, _, hash)| wanted.contains(hash)) {
            if let Some(entry) = self.manifest().files().get(chunk.file) {
                places.entry(hash).or_insert(Place { path: &entry.path, offset: chunk.offset });
            }
        }
        if let Some(Previous { manifest, content: Some(old), .. }) = previous {
            // Whoever's they are, files that the new list lacks are not overwritten before the commit.
            let new: HashSet<&RelPath> = self.manifest().files().iter().map(|entry| &entry.path).collect();
            for (index, entry) in manifest.files().iter().enumerate().filter(|(_, entry)| !new.contains(&entry.path)) {
                for (number, offset) in manifest.chunks_of_file(index).zip((0..).step_by(CHUNK_SIZE as usize)) {
                    if let Some(hash) = old.chunks.get(number as usize).filter(|hash| wanted.contains(hash)) {
                        places.entry(hash).or_insert(Place { path: &entry.path, offset });
                    }
                }
            }
        }
        chunks(true)
            .filter(|(.., hash)| places.contains_key(hash))
            .for_each(|(_, chunk, _)| watch.expect(chunk.len.into()));
        let mut buffer = AlignedBytes::default();
        let mut source: Option<(&RelPath, Option<File>)> = None;
        for (index, chunk, hash) in chunks(true) {
            let Some(place) = places.get(hash) else { continue };
            watch.check()?;
            if source.as_ref().is_none_or(|(path, _)| *path != place.path) {
                source = Some((place.path, open(&self.root, place.path)?));
            }
            if let Some((_, Some(file))) = &source
                && let Some(bytes) = read(file, place.offset, chunk.len, hash, &mut buffer)?
            {
                self.store(chunk, bytes)?;
                self.progress().set_written(index, *hash);
            }
            watch.done(chunk.len.into());
        }
        Ok(())
    }
}

/// The bytes at `offset`, if they are there and match.
fn read<'a>(
    file: &File,
    offset: u64,
    len: u32,
    expected: &ChunkHash,
    buffer: &'a mut AlignedBytes,
) -> Result<Option<&'a [u8]>, FsError> {
    // At most a chunk, and no more than the largest file needs.
    let bytes = buffer.first(len as usize);
    match file.read_at(bytes, offset) {
        Ok(read) if read == bytes.len() && ChunkHash::of(bytes) == *expected => Ok(Some(bytes)),
        Err(e) if e.is_exhaustion() => Err(e),
        // Others, too few, or a sector that cannot be read any more: they are fetched.
        _ => Ok(None),
    }
}

/// A file that may hold what is needed; `None`: it cannot be had.
fn open(root: &Dir, path: &RelPath) -> Result<Option<File>, FsError> {
    match root.open_read(path) {
        Ok(file) => {
            file.advise_sequential();
            Ok(Some(file))
        }
        Err(e) if e.is_exhaustion() => Err(e),
        Err(_) => Ok(None),
    }
}
