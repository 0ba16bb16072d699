//! The seam under everything that changes a disk: whoever stands here sees each operation before it happens and may
//! refuse it. Production has nobody here; tests fail the n-th operation or record all of them.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::patience;

/// One change of a file system, about to happen. Paths are those of the [`Dir`](super::Dir) handles, joined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op<'a> {
    /// Open a file for writing, making it when it is not there.
    Create(&'a Path),
    /// Write bytes.
    Write {
        /// The file.
        path: &'a Path,
        /// First byte.
        offset: u64,
        /// What.
        bytes: &'a [u8],
    },
    /// Set a file's length (or reserve its space).
    SetLen(&'a Path, u64),
    /// Make a file's bytes and length durable.
    SyncFile(&'a Path),
    /// Make a directory.
    MakeDir(&'a Path),
    /// Make the names in a directory durable.
    SyncDir(&'a Path),
    /// Make everything on the file system that holds this directory durable.
    SyncFileSystem(&'a Path),
    /// Give a file or directory another name in the same directory, in place of what is there.
    Rename(&'a Path, &'a Path),
    /// Remove a file.
    RemoveFile(&'a Path),
    /// Remove an empty directory.
    RemoveDir(&'a Path),
}

/// Stands between the file seam and the system.
pub trait Hook: Send + Sync {
    /// Called before `op`; an error is returned to the caller instead of doing it.
    fn before(&self, op: Op<'_>) -> io::Result<()>;

    /// Whether this error means that another program holds the thing for a moment; by default as on this system.
    fn is_held(&self, error: &io::Error) -> bool {
        patience::is_held(error)
    }

    /// Lets `time` pass before what is held is tried again.
    fn pause(&self, time: Duration) {
        patience::pause(time);
    }
}

/// Hooks of directories that a whole daemon will open, for tests that have no other way to reach them.
#[cfg(test)]
static PLANTED: std::sync::Mutex<Vec<(std::path::PathBuf, Arc<dyn Hook>)>> = std::sync::Mutex::new(Vec::new());

/// From now on a hook stands at everything beneath this directory, however it is opened.
#[cfg(test)]
pub(crate) fn plant_hook(path: &Path, hook: Arc<dyn Hook>) {
    PLANTED.lock().unwrap().push((path.to_owned(), hook));
}

#[cfg(test)]
pub(super) fn planted(path: &Path) -> Option<Arc<dyn Hook>> {
    let planted = PLANTED.lock().unwrap();
    planted.iter().find(|(at, _)| at == path).map(|(_, hook)| Arc::clone(hook))
}

/// A hook or none; handed from a directory to everything opened beneath it.
#[derive(Clone, Default)]
pub(super) struct Hooks(Option<Arc<dyn Hook>>);

impl Hooks {
    pub(super) fn new(hook: Arc<dyn Hook>) -> Self {
        Self(Some(hook))
    }

    /// Whether somebody stands here, to whom bytes must be shown.
    pub(super) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn before(&self, op: Op<'_>) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |hook| hook.before(op))
    }

    pub(super) fn is_held(&self, error: &io::Error) -> bool {
        self.0.as_ref().map_or_else(|| patience::is_held(error), |hook| hook.is_held(error))
    }

    pub(super) fn pause(&self, time: Duration) {
        self.0.as_ref().map_or_else(|| patience::pause(time), |hook| hook.pause(time));
    }

    /// For operations whose path must be made first: nothing is joined when nobody listens.
    pub(super) fn before_at(&self, dir: &Path, rel: &str, op: impl FnOnce(&Path) -> Op<'_>) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |hook| hook.before(op(&dir.join(rel))))
    }

    pub(super) fn before_rename(&self, dir: &Path, from: &str, to: &str) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |hook| hook.before(Op::Rename(&dir.join(from), &dir.join(to))))
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "hooked" } else { "none" })
    }
}
