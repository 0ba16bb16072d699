//! An archive's file as decoders read it.

use std::io::{self, BufRead, Read, Seek, SeekFrom};

use super::context::Context;
use super::sniff::{ArchiveSet, Part};
use crate::aligned::AlignedBytes;
use crate::fs::{Dir, File};

/// Read at once where reading goes on, and after a jump: decoders that look at headers skip what is between.
const AHEAD: usize = 256 << 10;
const AFTER_JUMP: usize = 4 << 10;

/// A file of the archive.
struct Piece {
    file: File,
    /// Where in the file the archive's bytes begin.
    start: u64,
    /// Which byte of the archive that is.
    at: u64,
}

/// A buffered, seekable reader that counts, and stops when the unpacking is cancelled.
pub(super) struct Source {
    /// In order; never empty.
    pieces: Vec<Piece>,
    len: u64,
    at: u64,
    /// What of the archive lies in `buffer`: from here, `held` bytes.
    from: u64,
    held: usize,
    buffer: AlignedBytes,
    context: Context,
}

impl Source {
    /// Of an archive that is one file, or was cut into several.
    pub(super) fn open_whole(root: &Dir, set: &ArchiveSet, context: &Context) -> io::Result<Self> {
        Self::of(root, &set.files, context)
    }

    /// Of one volume.
    pub(super) fn open(root: &Dir, part: &Part, context: &Context) -> io::Result<Self> {
        Self::of(root, std::slice::from_ref(part), context)
    }

    fn of(root: &Dir, parts: &[Part], context: &Context) -> io::Result<Self> {
        let (mut pieces, mut end) = (Vec::with_capacity(parts.len()), 0u64);
        for part in parts {
            let opened = root.open_read(&part.name).and_then(|file| Ok((file.stat()?.size, file)));
            let (size, file) = opened.map_err(|e| context.fail(e.into()))?;
            file.advise_sequential();
            let len = size.saturating_sub(part.start);
            pieces.push(Piece { file, start: part.start, at: end });
            end = end.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
        }
        let (buffer, context) = (AlignedBytes::zeroed(AHEAD), context.clone());
        Ok(Self { pieces, len: end, at: 0, from: 0, held: 0, buffer, context })
    }

    /// Of the archive, in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    fn fill(&mut self) -> io::Result<()> {
        self.context.check()?;
        let goes_on = self.at == self.from.saturating_add(self.held as u64);
        let want = if goes_on { AHEAD } else { AFTER_JUMP };
        self.held = 0;
        // A read ends with its piece; the next one goes on in the next piece.
        let behind = self.pieces.partition_point(|piece| piece.at <= self.at);
        let end = self.pieces.get(behind).map_or(self.len, |next| next.at);
        let left = usize::try_from(end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let piece =
            behind.checked_sub(1).and_then(|place| self.pieces.get(place)).ok_or(io::ErrorKind::InvalidInput)?;
        let from = piece.start.checked_add(self.at - piece.at).ok_or(io::ErrorKind::InvalidInput)?;
        let read = match self.buffer.get_mut(..want.min(left)) {
            Some(buffer) => piece.file.read_at(buffer, from).map_err(|e| self.context.fail(e.into()))?,
            None => 0,
        };
        self.from = self.at;
        self.held = read;
        self.context.read(read as u64);
        Ok(())
    }
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let held = self.from..self.from.saturating_add(self.held as u64);
        if !held.contains(&self.at) {
            self.fill()?;
        }
        let skip = usize::try_from(self.at.saturating_sub(self.from)).unwrap_or(usize::MAX);
        Ok(self.buffer.get(skip..self.held).unwrap_or_default())
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes as u64;
    }
}

impl Read for Source {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let n = self.fill_buf()?.read(out)?;
        self.consume(n);
        Ok(n)
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
