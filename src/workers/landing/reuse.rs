//! What a download need not fetch: chunks that lie in their places already, and chunks that lie elsewhere in the old game.
//!
//! The bytes decide. No hash that was kept is trusted: it says where to look, and what was read must match the plan.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use super::prepare::Present;
use super::{Landing, Progress, SENTINEL_ASIDE};
use crate::aligned::AlignedBytes;
use crate::fs::{Dir, File, FsError};
use crate::index::{Ownership, Previous};
use crate::types::{
    CHUNK_SIZE, ChunkHash, ChunkIndex, ChunkRange, DISCARDED_SENTINEL, DownloadPlan, FileEntry, GameId, JobError,
    JobErrorKind, MAX_SENTINEL_BYTES, RelPath,
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

/// Where to look, and for what.
pub(super) struct Look<'a> {
    /// The game's directory.
    pub(super) root: &'a Dir,
    pub(super) plan: &'a DownloadPlan,
    /// The index of the sentinel.
    pub(super) sentinel: usize,
    /// The name under which its old bytes were set aside.
    pub(super) old_sentinel: Option<&'a str>,
    /// For each file of the plan what lies there, if it may be kept.
    pub(super) present: &'a [Option<Box<Present>>],
    /// Whose that is.
    pub(super) ownership: &'a Ownership,
    /// The game as it was hashed last.
    pub(super) previous: Option<&'a Previous>,
}

/// A file that is the user's.
#[derive(Debug)]
pub(super) struct Foreign {
    /// Its index in the plan.
    pub(super) file: usize,
    /// Chunks of the game that it has in their places.
    chunks: Vec<ChunkIndex>,
}

/// Marks the chunks of the plan that lie in their places, and finds the files that are the user's: those that have bytes which no
/// download brought. Of these nothing is marked.
pub(super) fn look_at_files(look: &Look<'_>, kept: &mut Progress, watch: &Watch<'_>) -> Result<Vec<Foreign>, JobError> {
    keep_sentinel(look, kept);
    let files = || {
        let files = look.plan.manifest.files().iter().enumerate().zip(look.present);
        let files = files.filter(|((index, _), _)| *index != look.sentinel);
        files.filter_map(|((index, entry), present)| present.as_ref().map(|present| (index, entry, present)))
    };
    files().for_each(|(_, entry, present)| watch.expect(look.bytes_to_read(entry, present)));
    let mut foreign = Vec::new();
    let mut buffer = AlignedBytes::default();
    for (index, entry, present) in files() {
        let (chunks, is_theirs) = look.at_file(index, entry, present, &mut buffer, watch)?;
        if is_theirs {
            foreign.push(Foreign { file: index, chunks });
            continue;
        }
        for number in chunks {
            if let Some(hash) = look.expected(number) {
                kept.set_written(number, *hash);
            }
        }
    }
    Ok(foreign)
}

impl Look<'_> {
    /// Where size and time do not say whose a file is, all of its bytes do.
    fn bytes_to_read(&self, entry: &FileEntry, present: &Present) -> u64 {
        match (present.ours, &self.plan.content) {
            (false, _) => present.size,
            (true, Some(_)) => entry.size.min(present.size),
            (true, None) => 0,
        }
    }

    fn expected(&self, number: ChunkIndex) -> Option<&ChunkHash> {
        self.plan.content.as_ref()?.chunks.get(number.0 as usize)
    }

    /// The chunks of the plan that this file has in their places, and whether it has bytes that no download brought.
    fn at_file(
        &self,
        index: usize,
        entry: &FileEntry,
        present: &Present,
        buffer: &mut AlignedBytes,
        watch: &Watch<'_>,
    ) -> Result<(Vec<ChunkIndex>, bool), JobError> {
        let (to_read, mut chunks, mut is_theirs) = (self.bytes_to_read(entry, present), Vec::new(), false);
        let file = if to_read > 0 { open(self.root, &entry.path)? } else { None };
        let mut numbers = self.plan.manifest.chunks_of_file(index);
        for offset in (0..to_read).step_by(CHUNK_SIZE as usize) {
            watch.check()?;
            let len = (present.size - offset).min(CHUNK_SIZE);
            let number = numbers.next().map(ChunkIndex);
            let planned = number.and_then(|number| Some((number, self.plan.manifest.chunk(number)?)));
            let mut is_brought = present.ours;
            let bytes = read(file.as_ref(), offset, len, buffer)?;
            if let (Some(bytes), Some((number, chunk))) = (bytes, planned)
                && let Some(start) = bytes.get(..chunk.len as usize)
                && self.expected(number) == Some(&ChunkHash::of(start))
            {
                chunks.push(number);
                is_brought |= start.len() == bytes.len();
            }
            if !is_brought {
                let brought = self.ownership.chunk(&entry.path, offset, len);
                let was_brought = bytes.is_some_and(|bytes| brought == Some(&ChunkHash::of(bytes)));
                let is_damage = self.previous.is_some_and(|previous| {
                    previous.is_damage(&entry.path, present.size, present.mtime_ns, offset, bytes)
                });
                is_theirs |= !was_brought && !is_damage;
            }
            watch.done(len.min(to_read - offset));
        }
        Ok((chunks, is_theirs))
    }
}

/// The sentinel of an unchanged game need not be fetched either. A failure costs only that.
fn keep_sentinel(look: &Look<'_>, kept: &mut Progress) {
    // A verification that found damage, or a download that failed, set one aside before.
    for name in look.old_sentinel.into_iter().chain([DISCARDED_SENTINEL, SENTINEL_ASIDE]) {
        let Ok(Some(bytes)) = look.root.read_small(name, MAX_SENTINEL_BYTES) else { continue };
        let manifest = &look.plan.manifest;
        for number in manifest.chunks_of_file(look.sentinel).map(ChunkIndex) {
            let is_whole = manifest.files().get(look.sentinel).is_some_and(|entry| entry.size == bytes.len() as u64);
            if let Some(hash) = look.expected(number).filter(|hash| is_whole && **hash == ChunkHash::of(&bytes)) {
                kept.sentinel.clone_from(&bytes);
                kept.set_written(number, *hash);
            }
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
    /// their bytes moved), out of chunks that lie in their places, which nobody overwrites any more, and out of the user's files
    /// that had to make way.
    ///
    /// # Errors
    /// When the disk refuses to write; [`JobErrorKind::Cancelled`] within a chunk. Then it is to be abandoned.
    pub(super) fn copy_moved(
        &self,
        previous: Option<&Previous>,
        foreign: &[Foreign],
        watch: &Watch<'_>,
    ) -> Result<(), JobError> {
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
        let aside: HashMap<&RelPath, &RelPath> =
            self.undo.kept_aside.iter().map(|kept| (&kept.file, &kept.kept_as)).collect();
        for Foreign { file, chunks } in foreign {
            let entry = self.manifest().files().get(*file);
            let Some(path) = entry.and_then(|entry| aside.get(&entry.path)) else { continue };
            for number in chunks {
                if let (Some(chunk), Some(hash)) =
                    (self.manifest().chunk(*number), content.chunks.get(number.0 as usize))
                {
                    places.entry(hash).or_insert(Place { path, offset: chunk.offset });
                }
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
            if let Some((_, file)) = &source
                && let Some(bytes) = read(file.as_ref(), place.offset, chunk.len.into(), &mut buffer)?
                && ChunkHash::of(bytes) == *hash
            {
                self.store(chunk, bytes)?;
                self.progress().set_written(index, *hash);
            }
            watch.done(chunk.len.into());
        }
        Ok(())
    }
}

/// The bytes at `offset`, at most a chunk, if they can be had.
fn read<'a>(
    file: Option<&File>,
    offset: u64,
    len: u64,
    buffer: &'a mut AlignedBytes,
) -> Result<Option<&'a [u8]>, FsError> {
    let Some(file) = file else { return Ok(None) };
    let bytes = buffer.first(len as usize);
    match file.read_at(bytes, offset) {
        Ok(read) if read == bytes.len() => Ok(Some(bytes)),
        Err(e) if e.is_exhaustion() => Err(e),
        // Too few, or a sector that cannot be read any more: they are fetched.
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
