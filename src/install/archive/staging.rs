//! The receiving side: every name, file and byte that an archive yields passes here.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use unicode_normalization::UnicodeNormalization;

use super::context::Context;
use super::{ArchiveLimits, Step, io_words};
use crate::fs::{Dir, File};
use crate::install::owner::NUMBER;
use crate::types::{JobError, JobErrorKind, RelPath, is_of_a_desktop};

/// Bytes are collected up to here before they are written.
const BUFFER: usize = 256 << 10;
/// The system is asked to start writing after so many bytes, so that making everything durable is short.
const WRITEBACK_STEP: u64 = 16 << 20;

/// What was written so far.
#[derive(Clone, Copy, Default)]
pub(super) struct Counted {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// What an entry of an archive is, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EntryType {
    File { exec: bool },
    Dir,
    Link,
    Device,
}

impl EntryType {
    /// Of the mode of a Unix file; `default` where it has no type.
    pub(super) fn of_unix_mode(mode: u32, is_dir: bool) -> Self {
        match mode & 0o170_000 {
            0o040_000 => Self::Dir,
            0o100_000 | 0 if is_dir => Self::Dir,
            0o100_000 | 0 => Self::File { exec: mode & 0o100 != 0 },
            0o120_000 => Self::Link,
            _ => Self::Device,
        }
    }
}

/// Writes what archives yield, or only looks at it. Clones share one state, since decoders want to own where they write to; one file is open
/// at a time.
#[derive(Clone)]
pub(super) struct Staging(Arc<Mutex<State>>);

struct State {
    /// `None`: nothing is written.
    dir: Option<Dir>,
    limits: ArchiveLimits,
    context: Context,
    /// Everything there is, by [collision key](RelPath::collision_key).
    names: HashMap<String, Known>,
    entries: u64,
    counted: Counted,
    /// Number of the archive that is unpacked, the bytes it may yet yield, and those of its whole stream.
    archive: u64,
    allowance: u64,
    stream_allowance: u64,
    open: Option<Open>,
    /// What comes belongs to a file that is left out.
    leaves_out: bool,
}

struct Known {
    path: RelPath,
    /// The archive a file is from; `None`: a directory.
    file_of: Option<u64>,
    /// Of a file that is done.
    bytes: u64,
}

struct Open {
    file: Option<File>,
    /// In [`State::names`].
    key: String,
    buffer: Vec<u8>,
    written: u64,
    handed_over: u64,
}

impl Staging {
    /// Without `dir` nothing is written, and everything is checked.
    pub(super) fn new(dir: Option<Dir>, limits: ArchiveLimits, context: Context) -> Self {
        Self(Arc::new(Mutex::new(State {
            dir,
            limits,
            context,
            names: HashMap::new(),
            entries: 0,
            counted: Counted::default(),
            archive: 0,
            allowance: 0,
            stream_allowance: 0,
            open: None,
            leaves_out: false,
        })))
    }

    /// An archive of so many bytes begins.
    pub(super) fn begin_archive(&self, bytes: u64) {
        let mut state = self.state();
        state.archive += 1;
        let by_ratio = bytes.saturating_mul(state.limits.max_ratio).saturating_add(state.limits.free_bytes);
        state.allowance = by_ratio.min(state.limits.max_bytes.saturating_sub(state.counted.bytes));
        // Headers and padding: beyond the files' own bytes, as much again.
        state.stream_allowance = state.allowance.saturating_mul(2);
    }

    /// Checks how many entries an archive lists, before anything of it is written.
    pub(super) fn check_count(&self, entries: usize) -> Step<()> {
        let state = self.state();
        state.check_count(state.entries.saturating_add(entries as u64)).map_err(|error| state.refuse(error))
    }

    /// Checks an entry before anything is written: its name, its type, that there are not too many.
    pub(super) fn check(&self, name: &str, kind: EntryType) -> Step<()> {
        let state = self.state();
        entry_path(name).and_then(|_| refuse_special(name, kind)).map_err(|error| state.refuse(error))
    }

    /// Makes a directory.
    pub(super) fn make_dir(&self, name: &str) -> Step<()> {
        let mut state = self.state();
        state.end_file().and_then(|()| state.make_dir(name)).map_err(|error| state.refuse(error))
    }

    /// Begins a file; the one before it ends.
    pub(super) fn begin_file(&self, name: &str, exec: bool) -> Step<()> {
        let mut state = self.state();
        state.end_file().and_then(|()| state.begin_file(name, exec)).map_err(|error| state.refuse(error))
    }

    /// Appends to the file that was begun last.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.context.check()?;
        state.write(bytes).map_err(|error| state.context.fail(error))
    }

    /// Makes a file of all that `from` yields. Returns how much that was.
    pub(super) fn copy_file(&self, name: &str, exec: bool, from: &mut dyn io::Read) -> Step<u64> {
        self.begin_file(name, exec)?;
        let mut buffer = vec![0; BUFFER];
        let mut copied = 0;
        loop {
            let n = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(format!("the entry {name:?}: {}", io_words(&e))),
            };
            self.write(buffer.get(..n).unwrap_or_default()).map_err(|e| format!("{name}: {e}"))?;
            copied += n as u64;
        }
        self.end_file()?;
        Ok(copied)
    }

    /// Makes a file with the bytes of one that is there.
    pub(super) fn duplicate(&self, name: &str, exec: bool, of: &str) -> Step<()> {
        let mut original = {
            let mut state = self.state();
            let path = entry_path(name).map_err(|error| state.refuse(error))?;
            if path.is_some_and(|path| is_left_out(&path)) {
                return state.count_entry().map_err(|error| state.refuse(error));
            }
            let opened = state.end_file().and_then(|()| state.open_known(of));
            opened.map_err(|error| state.refuse(error))?
        };
        self.copy_file(name, exec, &mut original).map(drop)
    }

    /// What of this archive comes yet does not count: it failed.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        state.open = None;
        state.leaves_out = false;
    }

    /// Counts bytes that a decompressor yielded, whatever they are: a tar can be all headers.
    pub(super) fn count_stream(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.state();
        state.stream_allowance =
            state.stream_allowance.checked_sub(bytes).ok_or_else(|| state.context.fail(too_much()))?;
        Ok(())
    }

    /// The open file is done.
    pub(super) fn end_file(&self) -> Step<()> {
        let mut state = self.state();
        state.end_file().map_err(|error| state.refuse(error))
    }

    /// Makes everything durable.
    pub(super) fn finish(&self) -> Result<Counted, JobError> {
        let mut state = self.state();
        state.end_file()?;
        let Some(dir) = &state.dir else { return Ok(state.counted) };
        if !dir.sync_file_system()? {
            for known in state.names.values() {
                match known.file_of {
                    Some(_) => dir.sync_file(&known.path)?,
                    None => dir.open_dir(&known.path)?.sync()?,
                }
            }
            dir.sync()?;
        }
        Ok(state.counted)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Only a panic in here poisons it, and that ends the unpacking.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Records the reason; what it returns stands in for it.
    fn refuse(&self, error: JobError) -> String {
        self.context.fail(error).to_string()
    }

    fn count_entry(&mut self) -> Result<(), JobError> {
        self.entries += 1;
        self.check_count(self.entries)
    }

    fn check_count(&self, entries: u64) -> Result<(), JobError> {
        if entries > self.limits.max_entries {
            let message = format!("it has more than {} entries", self.limits.max_entries);
            return Err(JobError::new(JobErrorKind::BadArchive, message));
        }
        Ok(())
    }

    fn make_dir(&mut self, name: &str) -> Result<(), JobError> {
        self.count_entry()?;
        match entry_path(name)?.filter(|path| !is_left_out(path)) {
            Some(path) => self.enter_dir(&path).map(drop),
            None => Ok(()),
        }
    }

    fn begin_file(&mut self, name: &str, exec: bool) -> Result<(), JobError> {
        self.count_entry()?;
        let path = entry_path(name)?.ok_or_else(|| unsafe_entry(name, "it has no name"))?;
        if is_left_out(&path) {
            self.leaves_out = true;
            return Ok(());
        }
        let path = match path.parent() {
            None => path,
            Some(parent) => {
                let parent = self.enter_dir(&parent)?;
                respell(name, &parent, path.file_name())?
            }
        };
        let key = path.collision_key();
        let path = match self.names.get(&key) {
            None => path,
            Some(Known { file_of: Some(archive), path, .. }) if *archive != self.archive => {
                let path = path.clone();
                if let Some(dir) = &self.dir {
                    dir.remove_file_beneath(&path)?;
                }
                path
            }
            Some(known) => return Err(collision(name, &known.path)),
        };
        let file = self.dir.as_ref().map(|dir| dir.create_write(&path, exec)).transpose()?;
        if let Some(file) = &file
            && file.stat()?.size > 0
        {
            file.set_len(0)?;
        }
        self.names.insert(key.clone(), Known { path, file_of: Some(self.archive), bytes: 0 });
        self.counted.files += 1;
        self.open = Some(Open { file, key, buffer: Vec::with_capacity(BUFFER), written: 0, handed_over: 0 });
        Ok(())
    }

    /// Makes a directory and those above it where they are not there. Returns it as it is spelled on disk: two spellings
    /// that differ in case are one directory, as where the archive was made.
    fn enter_dir(&mut self, path: &RelPath) -> Result<RelPath, JobError> {
        match self.names.get(&path.collision_key()) {
            Some(Known { file_of: None, path, .. }) => return Ok(path.clone()),
            Some(known) => return Err(collision(path.as_str(), &known.path)),
            None => {}
        }
        let path = match path.parent() {
            None => path.clone(),
            Some(parent) => {
                let parent = self.enter_dir(&parent)?;
                respell(path.as_str(), &parent, path.file_name())?
            }
        };
        if let Some(dir) = &self.dir {
            dir.make_dir(&path)?;
        }
        self.names.insert(path.collision_key(), Known { path: path.clone(), file_of: None, bytes: 0 });
        Ok(path)
    }

    fn open_known(&self, name: &str) -> Result<Original, JobError> {
        let path = entry_path(name)?.ok_or_else(|| unsafe_entry(name, "it has no name"))?;
        match self.names.get(&path.collision_key()) {
            Some(Known { path, file_of: Some(archive), bytes }) if *archive == self.archive => match &self.dir {
                Some(dir) => Ok(Original::File { file: dir.open_read(path)?, at: 0 }),
                None => Ok(Original::Dropped(io::repeat(0).take(*bytes))),
            },
            _ => Err(unsafe_entry(name, "an entry is a copy of it, and it is no file that came before")),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), JobError> {
        self.allowance = self.allowance.checked_sub(bytes.len() as u64).ok_or_else(too_much)?;
        if self.leaves_out {
            return Ok(());
        }
        let Some(open) = &mut self.open else {
            return Err(JobError::new(JobErrorKind::BadArchive, "it has bytes that belong to no file"));
        };
        self.counted.bytes += bytes.len() as u64;
        if open.buffer.len() + bytes.len() > BUFFER {
            open.flush()?;
        }
        if bytes.len() >= BUFFER {
            open.put(bytes)?;
        } else {
            open.buffer.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn end_file(&mut self) -> Result<(), JobError> {
        self.leaves_out = false;
        match self.open.take() {
            None => Ok(()),
            Some(mut open) => {
                open.flush()?;
                if let Some(known) = self.names.get_mut(&open.key) {
                    known.bytes = open.written;
                }
                Ok(())
            }
        }
    }
}

impl Open {
    fn flush(&mut self) -> Result<(), JobError> {
        let buffer = std::mem::take(&mut self.buffer);
        self.put(&buffer)?;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), JobError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let Some(file) = &self.file else {
            self.written += bytes.len() as u64;
            return Ok(());
        };
        file.write_all_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        if self.written - self.handed_over >= WRITEBACK_STEP {
            file.start_writeback(self.handed_over, self.written - self.handed_over);
            self.handed_over = self.written;
        }
        Ok(())
    }
}

/// The bytes of a file that came before.
enum Original {
    File {
        file: File,
        at: u64,
    },
    /// As many zeros: they were not written.
    Dropped(io::Take<io::Repeat>),
}

impl io::Read for Original {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Dropped(zeros) => zeros.read(out),
            Self::File { file, at } => {
                let n = file.read_at(out, *at).map_err(io::Error::other)?;
                *at += n as u64;
                Ok(n)
            }
        }
    }
}

/// The path that an entry's name means; `None`: the directory that everything is unpacked into.
fn entry_path(name: &str) -> Result<Option<RelPath>, JobError> {
    // Archives of Windows separate by backslashes; those of Macs decompose accents.
    let path: String = name.chars().map(|c| if c == '\\' { '/' } else { c }).nfc().collect();
    // Every unpacker takes `/a//b` for `a/b` beneath its own directory.
    let components: Vec<&str> = path.split('/').filter(|component| !matches!(*component, "" | ".")).collect();
    if components.is_empty() {
        return Ok(None);
    }
    let path = RelPath::parse_unreserved(&components.join("/")).map_err(|e| unsafe_entry(name, e.reason))?;
    // Marks whose directory it is, under every spelling that some file system takes for it. But an archive that was made of an
    // installation is an archive all the same: the number in it is replaced.
    let key = path.collision_key();
    if key.starts_with(".lanspread") && key != NUMBER {
        return Err(unsafe_entry(name, "its first component is reserved"));
    }
    Ok(Some(path))
}

/// Whether an entry is none of what was packed: what a Mac adds to archives, and what desktops put into every folder.
fn is_left_out(path: &RelPath) -> bool {
    path.components().any(|component| component == "__MACOSX") || is_of_a_desktop(path.file_name())
}

fn refuse_special(name: &str, kind: EntryType) -> Result<(), JobError> {
    match kind {
        EntryType::File { .. } | EntryType::Dir => Ok(()),
        EntryType::Link => Err(unsafe_entry(name, "it is a link")),
        EntryType::Device => Err(unsafe_entry(name, "it is a device, a pipe or a socket")),
    }
}

fn respell(name: &str, parent: &RelPath, file_name: &str) -> Result<RelPath, JobError> {
    RelPath::parse_unreserved(&format!("{parent}/{file_name}")).map_err(|e| unsafe_entry(name, e.reason))
}

fn unsafe_entry(name: &str, why: &str) -> JobError {
    JobError::new(JobErrorKind::UnsafePath, format!("the entry {:?} is refused: {why}", shorten(name)))
}

fn collision(name: &str, known: &RelPath) -> JobError {
    let message = format!("the entries {:?} and {:?} are one on some PCs", shorten(name), known.as_str());
    JobError::new(JobErrorKind::BadArchive, message)
}

fn too_much() -> JobError {
    JobError::new(JobErrorKind::BadArchive, "it unpacks to more than an archive of its size may")
}

fn shorten(name: &str) -> String {
    name.chars().take(200).collect()
}
