//! An open regular file.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::hook::{Hooks, Op};
use super::syncs::timed;
use super::{FsError, Synced, sys};

/// Bytes that are copied at a time where the system does not copy by itself.
const COPY_BUFFER: usize = 1 << 20;

/// What tells one state of a file from another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// Length in bytes.
    pub size: u64,
    /// Time of the last change in nanoseconds since 1970, negative before.
    pub mtime_ns: i128,
    /// The owner's executable bit; false where there is none.
    pub exec: bool,
}

/// A regular file that was opened beneath a [`Dir`](super::Dir). Positions are explicit; no seek, so that threads can
/// share it.
#[derive(Debug)]
pub struct File {
    file: std::fs::File,
    path: PathBuf,
    hooks: Hooks,
}

impl File {
    pub(super) fn new(file: std::fs::File, path: PathBuf, hooks: Hooks) -> Self {
        Self { file, path, hooks }
    }

    /// For messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size, time and mode as they are now.
    pub fn stat(&self) -> Result<Stat, FsError> {
        sys::stat_file(&self.file).map_err(FsError::at("stat", &self.path))
    }

    /// Sets the time of the last change, in nanoseconds since 1970; not durable before [`sync`](Self::sync).
    pub fn set_modified(&self, mtime_ns: i128) -> Result<(), FsError> {
        let since = Duration::from_nanos(u64::try_from(mtime_ns.unsigned_abs()).unwrap_or(u64::MAX));
        let epoch = SystemTime::UNIX_EPOCH;
        let time = if mtime_ns < 0 { epoch.checked_sub(since) } else { epoch.checked_add(since) };
        self.file.set_modified(time.unwrap_or(epoch)).map_err(FsError::at("set the time of", &self.path))
    }

    /// Reads up to `buf.len()` bytes from `offset`; fewer only at the end of the file.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize, FsError> {
        let mut done = 0;
        while done < buf.len() {
            match sys::read_at(&self.file, &mut buf[done..], offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(FsError::at("read", &self.path)(e)),
            }
        }
        Ok(done)
    }

    /// Writes all of `bytes` at `offset`.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<(), FsError> {
        self.hooks.before(Op::Write { path: &self.path, offset, bytes }).map_err(FsError::at("write", &self.path))?;
        let mut done = 0;
        while done < bytes.len() {
            match sys::write_at(&self.file, &bytes[done..], offset.saturating_add(done as u64)) {
                Ok(0) => return Err(FsError::at("write", &self.path)(io::ErrorKind::WriteZero.into())),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(FsError::at("write", &self.path)(e)),
            }
        }
        Ok(())
    }

    /// Makes the file exactly `len` bytes long.
    pub fn set_len(&self, len: u64) -> Result<(), FsError> {
        self.hooks
            .before(Op::SetLen(&self.path, len))
            .and_then(|()| self.file.set_len(len))
            .map_err(FsError::at("set length of", &self.path))
    }

    /// Makes the file exactly `len` bytes long and reserves the space for all of it where the file system can, so that
    /// a full disk shows before the first byte is sent and the file lies in one piece.
    pub fn reserve(&self, len: u64) -> Result<(), FsError> {
        let size = self.stat()?.size;
        if size > len {
            self.set_len(len)?;
        }
        if len == 0 {
            return Ok(());
        }
        let reserved = self
            .hooks
            .before(Op::SetLen(&self.path, len))
            .and_then(|()| sys::reserve(&self.file, len))
            .map_err(FsError::at("reserve space for", &self.path))?;
        if reserved || size >= len { Ok(()) } else { self.set_len(len) }
    }

    /// Lets this empty file share all blocks of `source`, which costs neither time nor space. False where the file system
    /// cannot: then the bytes must be copied.
    pub fn share_blocks(&self, source: &File) -> Result<bool, FsError> {
        // Whoever stands at the seam is shown every byte.
        if self.hooks.is_some() {
            return Ok(false);
        }
        sys::share_blocks(&self.file, &source.file).map_err(FsError::at("copy to", &self.path))
    }

    /// Copies up to `len` bytes from `offset` of `source` to the same place in this file; fewer only at its end. Where the
    /// system can it copies by itself; whoever stands at the seam is shown every byte.
    pub fn copy_range(&self, source: &File, offset: u64, len: usize) -> Result<usize, FsError> {
        let mut done = 0;
        while done < len && !self.hooks.is_some() {
            let at = offset.saturating_add(done as u64);
            match sys::copy_range(&self.file, &source.file, at, len - done) {
                Ok(Some(0)) => return Ok(done),
                Ok(Some(n)) => done += n,
                Ok(None) => break,
                Err(e) => return Err(FsError::at("copy to", &self.path)(e)),
            }
        }
        let mut buffer = vec![0; (len - done).min(COPY_BUFFER)];
        while done < len {
            let at = offset.saturating_add(done as u64);
            let want = buffer.len().min(len - done);
            let Some(part) = buffer.get_mut(..want) else { break };
            let read = source.read_at(part, at)?;
            self.write_all_at(&part[..read], at)?;
            done += read;
            if read < want {
                break;
            }
        }
        Ok(done)
    }

    /// Makes bytes and length durable. After an error the file's state is unknown for good: asking again would say
    /// "fine" although the bytes were dropped, so the caller must give up.
    pub fn sync(&self) -> Result<(), FsError> {
        self.hooks
            .before(Op::SyncFile(&self.path))
            .and_then(|()| timed(Synced::File, || self.file.sync_all()))
            .map_err(FsError::at("fsync", &self.path))
    }

    /// Asks the system to start writing this range to the disk now, so that a later [`sync`](Self::sync) is short.
    /// A hint: never fails, does not wait for the bytes, promises nothing.
    pub fn start_writeback(&self, offset: u64, len: u64) {
        sys::start_writeback(&self.file, offset, len);
    }

    /// Tells the system that the file will be read from front to back. A hint.
    pub fn advise_sequential(&self) {
        sys::advise_sequential(&self.file);
    }
}
