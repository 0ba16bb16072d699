//! Errors of the file system, with what was tried and on what.

use std::io;
use std::path::{Path, PathBuf};

use crate::types::{JobError, JobErrorKind};

/// The operating system refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {op} {}: {source}", path.display())]
pub struct FsError {
    /// What was tried, as a verb with its object's kind: "open file", "fsync".
    pub op: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl FsError {
    /// For `map_err`.
    pub fn at(op: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { op, path: path.into(), source }
    }

    /// The same as [`at`](Self::at) without making a path while all is well.
    pub(super) fn beneath<'a>(op: &'static str, dir: &'a Path, rel: &'a str) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self { op, path: dir.join(rel), source }
    }

    /// What it means for the job that met it.
    pub fn kind(&self) -> JobErrorKind {
        if self.is_exhaustion() { JobErrorKind::Exhausted } else { kind_of(&self.source) }
    }

    /// The process or the machine is short of something, so that nothing can be said about the disk.
    pub fn is_exhaustion(&self) -> bool {
        if self.source.kind() == io::ErrorKind::OutOfMemory {
            return true;
        }
        #[cfg(unix)]
        let codes = [libc::EMFILE, libc::ENFILE, libc::ENOMEM];
        // ERROR_TOO_MANY_OPEN_FILES, ERROR_NO_SYSTEM_RESOURCES
        #[cfg(not(unix))]
        let codes = [4, 1450];
        self.source.raw_os_error().is_some_and(|code| codes.contains(&code))
    }

    /// The thing is not there (any more).
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

impl From<FsError> for JobError {
    fn from(error: FsError) -> Self {
        JobError::new(error.kind(), error.to_string())
    }
}

/// A link where none may be, or a name that leads elsewhere.
pub(super) fn unsafe_path(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidFilename, why)
}

fn kind_of(error: &io::Error) -> JobErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => JobErrorKind::DiskFull,
        io::ErrorKind::ResourceBusy | io::ErrorKind::ExecutableFileBusy => JobErrorKind::InUse,
        io::ErrorKind::InvalidFilename | io::ErrorKind::CrossesDevices => JobErrorKind::UnsafePath,
        _ => error.raw_os_error().map_or(JobErrorKind::Io, kind_of_code),
    }
}

#[cfg(unix)]
fn kind_of_code(code: i32) -> JobErrorKind {
    match code {
        libc::ELOOP | libc::EXDEV => JobErrorKind::UnsafePath,
        libc::ENOSPC | libc::EDQUOT => JobErrorKind::DiskFull,
        libc::EBUSY | libc::ETXTBSY => JobErrorKind::InUse,
        _ => JobErrorKind::Io,
    }
}

#[cfg(windows)]
fn kind_of_code(code: i32) -> JobErrorKind {
    match code {
        ERROR_SHARING_VIOLATION | ERROR_LOCK_VIOLATION | ERROR_USER_MAPPED_FILE => JobErrorKind::InUse,
        ERROR_HANDLE_DISK_FULL | ERROR_DISK_FULL | ERROR_DISK_QUOTA_EXCEEDED => JobErrorKind::DiskFull,
        _ => JobErrorKind::Io,
    }
}

#[cfg(windows)]
pub(super) const ERROR_SHARING_VIOLATION: i32 = 32;
#[cfg(windows)]
pub(super) const ERROR_LOCK_VIOLATION: i32 = 33;
#[cfg(windows)]
const ERROR_HANDLE_DISK_FULL: i32 = 39;
#[cfg(windows)]
const ERROR_DISK_FULL: i32 = 112;
#[cfg(windows)]
const ERROR_USER_MAPPED_FILE: i32 = 1224;
#[cfg(windows)]
const ERROR_DISK_QUOTA_EXCEEDED: i32 = 1295;
