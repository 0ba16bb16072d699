//! Whole trees: making them durable, taking them away. Their names are taken as the system spells them, because a game
//! may have made files that no manifest could list.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::error::unsafe_path;
use super::syncs::timed;
use super::{Dir, EntryKind, File, FsError, Inner, Op, Synced, sys};

/// Deepest tree: each level takes a handle. More than what a path of the system can name has no use.
const MAX_DEPTH: usize = 256;
/// How often a directory is emptied into which somebody puts files while it is removed.
const MOST_ATTEMPTS: usize = 8;
/// Up to this many files are flushed one by one. Beyond, one call for the whole file system is cheaper than a disk
/// barrier for each, although it also waits for what others have written.
pub const MOST_SINGLE_SYNCS: usize = 64;

impl Dir {
    /// Removes the directory `name` (one component) with everything beneath it. Links are removed, never followed; every
    /// step goes through the handle of the directory above. Whether there was one. After an error the rest is still there.
    ///
    /// # Errors
    /// Of kind [`UnsafePath`](crate::types::JobErrorKind::UnsafePath) when `name` is no directory; nothing was removed then.
    pub fn remove_tree(&self, name: &str) -> Result<bool, FsError> {
        self.checked("remove directory", name)?;
        let path = self.path().join(name);
        let tree = match self.0.handle.open_child(OsStr::new(name)) {
            Ok(tree) => tree,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(FsError::at("remove directory", path)(e)),
        };
        self.remove_open(&self.0.handle, OsStr::new(name), tree, &path, 0)?;
        Ok(true)
    }

    /// Opens a directory that lies directly in this one, whatever its name.
    pub fn child(&self, name: &OsStr) -> Result<Self, FsError> {
        let path = self.path().join(name);
        let handle = self.0.handle.open_child(name).map_err(FsError::at("open directory", &path))?;
        Ok(Self(Arc::new(Inner { handle, path, hooks: self.0.hooks.clone() })))
    }

    /// Renames what lies directly in this directory, whatever its name, to `to` (one component), and nothing that is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] when something has the new name.
    pub fn rename_child(&self, from: &OsStr, to: &str) -> Result<(), FsError> {
        self.checked("rename", to)?;
        let (path, hooks) = (self.path().join(from), &self.0.hooks);
        let renamed = hooks.patiently_rename(|| {
            hooks.before(Op::Rename(&path, &self.path().join(to))).and_then(|()| self.0.handle.rename_child(from, to))
        });
        renamed.map_err(FsError::at("rename", path))
    }

    /// Makes every file and every name beneath this directory durable, the innermost first, and this directory itself.
    /// Its own name is durable only when the directory above is synced.
    ///
    /// # Errors
    /// Of kind [`UnsafePath`](crate::types::JobErrorKind::UnsafePath) when there is anything but files and directories.
    pub fn sync_tree(&self) -> Result<(), FsError> {
        let files = count(&self.0.handle, self.path(), 0)?;
        // This handle is older than the bytes, so that the call reports what became of them.
        if files > MOST_SINGLE_SYNCS && self.sync_file_system()? {
            return Ok(());
        }
        self.sync_beneath(&self.0.handle, self.path(), 0)
    }

    /// Removes the directory `name` of `above`, which is open as `tree`, with everything beneath it.
    fn remove_open(
        &self,
        above: &sys::Handle,
        name: &OsStr,
        tree: sys::Handle,
        path: &Path,
        depth: usize,
    ) -> Result<(), FsError> {
        let mut tree = Some(tree);
        let mut attempts = 0;
        loop {
            let open = match tree.take() {
                Some(open) => open,
                None => match above.open_child(name) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                    other => other.map_err(FsError::at("remove directory", path))?,
                },
            };
            self.empty(&open, path, depth)?;
            // Where open directories cannot be removed.
            drop(open);
            attempts += 1;
            match self.removing(|| Op::RemoveDir(path), || above.remove_child_dir(name)) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                // A program that runs in there made a file meanwhile.
                Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty && attempts < MOST_ATTEMPTS => {}
                other => return other.map_err(FsError::at("remove directory", path)),
            }
        }
    }

    fn empty(&self, tree: &sys::Handle, path: &Path, depth: usize) -> Result<(), FsError> {
        deep_enough(path, depth)?;
        for entry in tree.entries().map_err(FsError::at("list", path))? {
            let path = path.join(&entry.name);
            if entry.kind == EntryKind::Dir {
                let child = match tree.open_child(&entry.name) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    other => other.map_err(FsError::at("remove directory", &path))?,
                };
                self.remove_open(tree, &entry.name, child, &path, depth + 1)?;
                continue;
            }
            match self.removing(|| Op::RemoveFile(&path), || tree.remove_child_file(&entry.name)) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(FsError::at("remove", path))?,
            }
        }
        Ok(())
    }

    fn removing<'a>(&self, op: impl Fn() -> Op<'a>, remove: impl Fn() -> io::Result<()>) -> io::Result<()> {
        self.0.hooks.patiently(|| self.0.hooks.before(op()).and_then(|()| remove()))
    }

    fn sync_beneath(&self, tree: &sys::Handle, path: &Path, depth: usize) -> Result<(), FsError> {
        deep_enough(path, depth)?;
        for entry in tree.entries().map_err(FsError::at("list", path))? {
            let path = path.join(&entry.name);
            if entry.kind == EntryKind::Dir {
                let child = tree.open_child(&entry.name).map_err(FsError::at("open directory", &path))?;
                self.sync_beneath(&child, &path, depth + 1)?;
            } else {
                let file = tree.open_child_sync(&entry.name).map_err(FsError::at("open file", &path))?;
                File::new(file, path, self.0.hooks.clone()).sync()?;
            }
        }
        let synced = self.0.hooks.before(Op::SyncDir(path)).and_then(|()| timed(Synced::Directory, || tree.sync()));
        synced.map_err(FsError::at("fsync directory", path))
    }
}

/// The number of files, if there is nothing else.
fn count(tree: &sys::Handle, path: &Path, depth: usize) -> Result<usize, FsError> {
    deep_enough(path, depth)?;
    let mut files = 0;
    for entry in tree.entries().map_err(FsError::at("list", path))? {
        let path = path.join(&entry.name);
        match entry.kind {
            EntryKind::File => files += 1,
            EntryKind::Dir => {
                let child = tree.open_child(&entry.name).map_err(FsError::at("open directory", &path))?;
                files += count(&child, &path, depth + 1)?;
            }
            EntryKind::Symlink | EntryKind::Other => {
                return Err(FsError::at("fsync", path)(unsafe_path("it is neither a file nor a directory")));
            }
        }
    }
    Ok(files)
}

fn deep_enough(path: &Path, depth: usize) -> Result<(), FsError> {
    if depth < MAX_DEPTH { Ok(()) } else { Err(FsError::at("enter", path)(unsafe_path("it lies too deep"))) }
}
