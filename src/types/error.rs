//! Why the disk, an archive or another machine refused something, in words for the user.

use std::path::Path;

/// Kinds of failed jobs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum JobErrorKind {
    /// Not enough space, or a quota.
    DiskFull,
    /// Another process holds it.
    InUse,
    /// The files are not the ones that were listed.
    Changed,
    /// Bytes do not match their hash.
    Verification,
    /// A path leads outside, or through a link.
    UnsafePath,
    /// On request.
    Cancelled,
    /// An archive is damaged, encrypted, of an unknown kind, or hostile.
    BadArchive,
    /// It is the user's: nothing proves that lanspread made it.
    NotOurs,
    /// The game directory is not there any more: its drive was pulled, its file system ended by an error.
    DirectoryGone,
    /// Nobody said which program is the game's, or it is not there any more.
    ChooseProgram,
    /// Nobody could see what would be shown.
    NoDesktop,
    /// The process or the machine is short of memory or handles, which says nothing of the disk.
    Exhausted,
    /// Everything else that the operating system refuses.
    Io,
}

/// A failed job, in words that name the operation and the path.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct JobError {
    /// Which kind.
    pub kind: JobErrorKind,
    /// What was tried, on what, and what the system said.
    pub message: String,
}

/// What became of a game directory that is not there any more: how every message about it begins.
pub(crate) fn directory_is_gone(dir: &Path, reason: &str) -> String {
    format!("the game directory {} is gone: {reason}", dir.display())
}

impl JobError {
    /// Kind and message.
    pub fn new(kind: JobErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}
