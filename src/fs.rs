//! The durable-file seam: the only place that touches game trees.
//!
//! A [`Dir`] is opened once by a path that the user gave; everything else is reached from that handle by a checked
//! name or a [`RelPath`], without following a link anywhere and without blocking on a pipe. So no path from the
//! network leads outside, also when somebody rearranges the tree meanwhile. What must survive a power cut is made
//! durable by naming it: [`File::sync`] for bytes, [`Dir::sync`] for names. Everything that changes the disk passes
//! the [`Hook`] seam.

mod error;
mod file;
mod hook;
mod lock;
#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "sets the stage behind the seam")]
pub(crate) mod model;
mod patience;
mod sealed;
mod space;
mod syncs;
#[cfg(unix)]
#[path = "fs/unix.rs"]
mod sys;
#[cfg(windows)]
#[path = "fs/windows.rs"]
mod sys;
#[cfg(test)]
mod tests;
mod tree;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::FsError;
use error::unsafe_path;
pub use file::{File, Stat};
use hook::Hooks;
#[cfg(test)]
pub(crate) use hook::plant_hook;
pub use hook::{Hook, Op};
pub use lock::DirLock;
pub(crate) use sealed::{is_sealed, seal};
pub use space::{SpaceLedger, SpaceReservation};
use syncs::timed;
pub use syncs::{SyncTimes, Synced, sync_times};
pub use tree::MOST_SINGLE_SYNCS;

use crate::types::{RelPath, is_of_a_desktop};

/// Most entries that are listed of one directory: bounds the memory that a listing takes.
const MAX_ENTRIES: usize = 1 << 20;

/// Names that are tried for a file of the user's that must make way.
const MAX_NAMES_ASIDE: u32 = 99;

/// What a directory entry is. Links are never followed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link (or another name surrogate).
    Symlink,
    /// A pipe, a socket, a device.
    Other,
}

/// One entry of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// As the system spells it.
    pub name: OsString,
    /// What it is.
    pub kind: EntryKind,
    /// Length in bytes, of files.
    pub size: u64,
    /// Time of the last change in nanoseconds since 1970, negative before.
    pub mtime_ns: i128,
    /// The owner's executable bit; false where there is none.
    pub exec: bool,
    /// How many names (hard links) it has; 1 where that is unknown.
    pub links: u64,
}

impl Entry {
    /// Whether a desktop put it there; see [`is_of_a_desktop`].
    pub(crate) fn is_of_a_desktop(&self) -> bool {
        self.kind == EntryKind::File && self.name.to_str().is_some_and(is_of_a_desktop)
    }
}

/// An open directory. Cheap to clone; clones share the handle. Everything reached through it lies beneath it.
#[derive(Clone, Debug)]
pub struct Dir(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    handle: sys::Handle,
    path: PathBuf,
    hooks: Hooks,
}

impl Dir {
    /// Opens a directory by a path that the user gave; links in that path are the user's business.
    pub fn open(path: &Path) -> Result<Self, FsError> {
        #[cfg(test)]
        if let Some(hook) = hook::planted(path) {
            return Self::open_hooked(path, hook);
        }
        Self::open_hooks(path, Hooks::default())
    }

    /// The same with a [`Hook`] under this directory and everything opened through it.
    pub fn open_hooked(path: &Path, hook: Arc<dyn Hook>) -> Result<Self, FsError> {
        Self::open_hooks(path, Hooks::new(hook))
    }

    fn open_hooks(path: &Path, hooks: Hooks) -> Result<Self, FsError> {
        let handle = sys::open_root(path).map_err(FsError::at("open directory", path))?;
        Ok(Self(Arc::new(Inner { handle, path: path.to_owned(), hooks })))
    }

    /// Where it was opened, for messages.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Whether both are the same directory now, however they were reached.
    ///
    /// # Errors
    /// Also when one of them is not there any more.
    pub fn is_same(&self, other: &Self) -> Result<bool, FsError> {
        let identity = |dir: &Self| dir.0.handle.identity().map_err(FsError::at("look at directory", dir.path()));
        Ok(identity(self)? == identity(other)?)
    }

    /// Opens the directory `name` (one component) in this one.
    pub fn subdir(&self, name: &str) -> Result<Self, FsError> {
        self.checked("open directory", name)?;
        self.dir_at(name)
    }

    /// Opens a directory beneath this one.
    pub fn open_dir(&self, rel: &RelPath) -> Result<Self, FsError> {
        self.dir_at(rel.as_str())
    }

    /// Opens the directory `name` (one component), making it when it is not there. The new name is not durable before
    /// [`sync`](Self::sync).
    pub fn make_subdir(&self, name: &str) -> Result<Self, FsError> {
        self.checked("make directory", name)?;
        self.make_dir_at(name)?;
        self.dir_at(name)
    }

    /// Makes the directory `rel`; the one above it exists. Whether it was not there.
    pub fn make_dir(&self, rel: &RelPath) -> Result<bool, FsError> {
        self.make_dir_at(rel.as_str())
    }

    /// Makes the directory `rel` and those above it. Returns those that were not there, outermost first.
    pub fn make_dirs(&self, rel: &RelPath) -> Result<Vec<RelPath>, FsError> {
        let mut chain: Vec<RelPath> = std::iter::successors(Some(rel.clone()), RelPath::parent).collect();
        chain.reverse();
        let mut made = Vec::new();
        for dir in chain {
            if self.make_dir_at(dir.as_str())? {
                made.push(dir);
            }
        }
        Ok(made)
    }

    /// Opens a regular file for reading.
    pub fn open_read(&self, rel: &RelPath) -> Result<File, FsError> {
        let rel = rel.as_str();
        self.0.handle.open_read(rel).map_err(self.fault("open file", rel)).map(|file| self.file(file, rel))
    }

    /// Opens a regular file for writing, or makes it; its directory exists. What it holds stays. The
    /// executable bit is set to `exec`.
    pub fn create_write(&self, rel: &RelPath, exec: bool) -> Result<File, FsError> {
        let rel = rel.as_str();
        self.0
            .hooks
            .patiently(|| self.hooked(rel, |path| Op::Create(path)).and_then(|()| self.0.handle.open_write(rel, exec)))
            .map_err(self.fault("write file", rel))
            .map(|file| self.file(file, rel))
    }

    /// Makes the bytes and the length of a file durable, whoever wrote them.
    pub fn sync_file(&self, rel: &RelPath) -> Result<(), FsError> {
        let rel = rel.as_str();
        self.0.handle.open_sync(rel).map_err(self.fault("open file", rel)).and_then(|file| self.file(file, rel).sync())
    }

    /// Reads the file `name` (one component); `None`: there is none.
    ///
    /// # Errors
    /// [`std::io::ErrorKind::FileTooLarge`] when it is longer than `max` bytes.
    pub fn read_small(&self, name: &str, max: usize) -> Result<Option<Vec<u8>>, FsError> {
        self.checked("read file", name)?;
        let file = match self.0.handle.open_read(name) {
            Ok(file) => self.file(file, name),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.fault("open file", name)(e)),
        };
        let too_large = || self.fault("read file", name)(std::io::ErrorKind::FileTooLarge.into());
        let size = usize::try_from(file.stat()?.size).unwrap_or(usize::MAX);
        if size > max {
            return Err(too_large());
        }
        // One byte more, to see when it has grown meanwhile.
        let mut bytes = vec![0; size.saturating_add(1)];
        let read = file.read_at(&mut bytes, 0)?;
        if read > size {
            return Err(too_large());
        }
        bytes.truncate(read);
        Ok(Some(bytes))
    }

    /// Puts `bytes` under `name` (one component), atomically and durably: after an error or a power cut the name leads
    /// to all of the old bytes or all of the new ones. Passes through `.<name>.tmp` (no second dot for a name that
    /// begins with one).
    pub fn replace_file(&self, name: &str, bytes: &[u8]) -> Result<(), FsError> {
        self.checked("replace file", name)?;
        let temporary = format!(".{}.tmp", name.trim_start_matches('.'));
        let result = self.write_new(&temporary, bytes).and_then(|()| self.rename(&temporary, name));
        if let Err(error) = result {
            // Best effort: what cannot be removed now is overwritten next time.
            let _ = self.remove_file(&temporary);
            return Err(error);
        }
        self.sync()
    }

    /// Makes the file `name` with these bytes, durably but for the name. A file that is there is removed first.
    pub fn write_new(&self, name: &str, bytes: &[u8]) -> Result<(), FsError> {
        self.remove_file(name)?;
        let file = self
            .hooked(name, |path| Op::Create(path))
            .and_then(|()| self.0.handle.create_new(name))
            .map_err(self.fault("make file", name))?;
        let file = self.file(file, name);
        file.write_all_at(bytes, 0)?;
        file.sync()
    }

    /// Renames `from` to `to` (one component each) in this directory, in place of a file that is there. Where another
    /// program holds the file for a moment (Windows), it is tried again for two seconds.
    ///
    /// # Errors
    /// Of kind [`InUse`](crate::types::JobErrorKind::InUse), with nothing changed, when it is held for longer.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), FsError> {
        self.checked("rename", from)?;
        self.checked("rename", to)?;
        let hooks = &self.0.hooks;
        hooks
            .patiently_rename(|| {
                hooks.before_rename(self.path(), from, to).and_then(|()| self.0.handle.rename(from, to))
            })
            .map_err(self.fault("rename", from))
    }

    /// Removes the file `name` (one component). Whether there was one.
    pub fn remove_file(&self, name: &str) -> Result<bool, FsError> {
        self.checked("remove file", name)?;
        self.remove_file_at(name)
    }

    /// Removes a file beneath this directory. Whether there was one.
    pub fn remove_file_beneath(&self, rel: &RelPath) -> Result<bool, FsError> {
        self.remove_file_at(rel.as_str())
    }

    /// Removes the directory `rel` if it is there and empty. Whether it did.
    pub fn remove_dir_if_empty(&self, rel: &RelPath) -> Result<bool, FsError> {
        self.remove_dir_at(rel.as_str())
    }

    /// Removes the directory `name` (one component) if it is there and empty. Whether it did.
    pub fn remove_subdir_if_empty(&self, name: &str) -> Result<bool, FsError> {
        self.checked("remove directory", name)?;
        self.remove_dir_at(name)
    }

    /// What has the name `name` (one component), if anything.
    pub fn entry(&self, name: &str) -> Result<Option<Entry>, FsError> {
        self.checked("stat", name)?;
        self.0.handle.entry_beneath(name).map_err(self.fault("stat", name))
    }

    /// What lies at `rel`, if anything. A link on the way is an error.
    pub fn entry_beneath(&self, rel: &RelPath) -> Result<Option<Entry>, FsError> {
        self.0.handle.entry_beneath(rel.as_str()).map_err(self.fault("stat", rel.as_str()))
    }

    /// Whether there is anything of the name `name` (one component).
    pub fn exists(&self, name: &str) -> Result<bool, FsError> {
        Ok(self.entry(name)?.is_some())
    }

    /// A name for what the user has under `name` (one component) when that must make way: the first of `NAME.mine`,
    /// `NAME.mine.2`, … that is not there and not `taken`.
    ///
    /// # Errors
    /// [`std::io::ErrorKind::AlreadyExists`] when all 99 are; what the system says.
    pub fn name_aside(&self, name: &str, taken: impl Fn(&str) -> bool) -> Result<String, FsError> {
        for number in 1..=MAX_NAMES_ASIDE {
            let aside = if number == 1 { format!("{name}.mine") } else { format!("{name}.mine.{number}") };
            if !taken(&aside) && !self.exists(&aside)? {
                return Ok(aside);
            }
        }
        Err(self.fault("find another name for", name)(std::io::ErrorKind::AlreadyExists.into()))
    }

    /// Everything in this directory, in no order; what vanishes meanwhile is left out. One directory read, and one
    /// stat for each entry.
    pub fn entries(&self) -> Result<Vec<Entry>, FsError> {
        self.0.handle.entries().map_err(FsError::at("list", self.path()))
    }

    /// The names in this directory as the disk spells them, in no order. One directory read, and no stat.
    pub fn names(&self) -> Result<Vec<OsString>, FsError> {
        self.0.handle.names().map_err(FsError::at("list", self.path()))
    }

    /// Makes the names in this directory durable.
    pub fn sync(&self) -> Result<(), FsError> {
        self.0
            .hooks
            .before(Op::SyncDir(self.path()))
            .and_then(|()| timed(Synced::Directory, || self.0.handle.sync()))
            .map_err(FsError::at("fsync directory", self.path()))
    }

    /// Makes everything on this file system durable, in one call; false where the system has none.
    pub fn sync_file_system(&self) -> Result<bool, FsError> {
        self.0
            .hooks
            .before(Op::SyncFileSystem(self.path()))
            .and_then(|()| timed(Synced::FileSystem, || self.0.handle.sync_file_system()))
            .map_err(FsError::at("sync file system of", self.path()))
    }

    /// Bytes that this user may still write to this file system.
    pub fn free_bytes(&self) -> Result<u64, FsError> {
        self.0.handle.free_bytes().map_err(FsError::at("ask for the free space of", self.path()))
    }

    /// Takes the lock file `name` (one component) for this process.
    ///
    /// # Errors
    /// Of kind [`InUse`](crate::types::JobErrorKind::InUse), naming the holder, when another process has it.
    pub fn lock(&self, name: &str) -> Result<DirLock, FsError> {
        self.checked("lock", name)?;
        DirLock::take(&self.0.handle, name).map_err(FsError::at("lock", self.path()))
    }

    fn dir_at(&self, rel: &str) -> Result<Self, FsError> {
        let handle = self.0.handle.open_dir(rel).map_err(self.fault("open directory", rel))?;
        Ok(Self(Arc::new(Inner { handle, path: self.path().join(rel), hooks: self.0.hooks.clone() })))
    }

    fn make_dir_at(&self, rel: &str) -> Result<bool, FsError> {
        self.hooked(rel, |path| Op::MakeDir(path))
            .and_then(|()| self.0.handle.make_dir(rel))
            .map_err(self.fault("make directory", rel))
    }

    fn remove_file_at(&self, rel: &str) -> Result<bool, FsError> {
        let remove = || self.hooked(rel, |path| Op::RemoveFile(path)).and_then(|()| self.0.handle.remove_file(rel));
        match self.0.hooks.patiently(remove) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(self.fault("remove file", rel)(e)),
        }
    }

    fn remove_dir_at(&self, rel: &str) -> Result<bool, FsError> {
        use std::io::ErrorKind::{DirectoryNotEmpty, NotFound};
        let remove = || self.hooked(rel, |path| Op::RemoveDir(path)).and_then(|()| self.0.handle.remove_dir(rel));
        match self.0.hooks.patiently(remove) {
            Ok(()) => Ok(true),
            Err(e) if matches!(e.kind(), NotFound | DirectoryNotEmpty) => Ok(false),
            Err(e) => Err(self.fault("remove directory", rel)(e)),
        }
    }

    fn hooked(&self, rel: &str, op: impl FnOnce(&Path) -> Op<'_>) -> std::io::Result<()> {
        self.0.hooks.before_at(self.path(), rel, op)
    }

    fn file(&self, file: std::fs::File, rel: &str) -> File {
        File::new(file, self.path().join(rel), self.0.hooks.clone())
    }

    fn fault<'a>(&'a self, op: &'static str, rel: &'a str) -> impl FnOnce(std::io::Error) -> FsError + 'a {
        FsError::beneath(op, self.path(), rel)
    }

    /// Refuses what is not one plain component.
    fn checked(&self, op: &'static str, name: &str) -> Result<(), FsError> {
        let bad = name.is_empty() || matches!(name, "." | "..") || name.contains(['/', '\\', '\0', ':']);
        if bad { Err(self.fault(op, name)(unsafe_path("it is not one plain file name"))) } else { Ok(()) }
    }
}
