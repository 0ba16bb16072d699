//! Why a command or an operation failed.

use serde::{Deserialize, Serialize};

use crate::types::{JobError, JobErrorKind};

/// Stable codes of failed commands and operations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The line is not JSON.
    BadJson,
    /// No such command (in this version).
    UnknownCommand,
    /// A field is missing or has a wrong value.
    BadArgument,
    /// The catalog does not list the game.
    NotInCatalog,
    /// Neither here nor at any peer.
    UnknownGame,
    /// No connected peer can hand out the game.
    NoSources,
    /// The game is busy with another operation.
    OperationInProgress,
    /// The address is this daemon's own.
    SelfConnect,
    /// Not enough space.
    DiskFull,
    /// The game is not downloaded.
    NotDownloaded,
    /// The game is not installed.
    NotInstalled,
    /// The game is installed in this version.
    AlreadyInstalled,
    /// An archive cannot be unpacked.
    BadArchive,
    /// It is the user's: nothing proves that lanspread made it.
    NotOurs,
    /// A path leads, or could lead, outside the game.
    UnsafePath,
    /// Bytes did not match their hash.
    VerificationFailed,
    /// The user ended it.
    Cancelled,
    /// A program holds a file or a directory; another daemon holds the directory; a game is still being copied.
    InUse,
    /// The copy here is the user's own, in the same version, with another content than the peers have.
    OwnContent,
    /// The peer refused the connection.
    PeerRefused,
    /// The time ran out.
    Timeout,
    /// The game's content changed at every source meanwhile.
    SourceChanged,
    /// The game directory is not there any more; the daemon looks for its return.
    GameDirectoryGone,
    /// The user has to choose which program is the game's.
    ChooseProgram,
    /// The daemon runs where nobody would see what it shows.
    NoDesktop,
    /// The operating system refused; the message says what.
    Io,
    /// One of a later version, as a client reads it.
    #[serde(other)]
    Later,
}

/// A failed command.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct CommandError {
    /// Which kind.
    pub code: ErrorCode,
    /// What happened, to what, and what to do.
    pub message: String,
}

impl CommandError {
    /// Code and message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<JobErrorKind> for ErrorCode {
    fn from(kind: JobErrorKind) -> Self {
        match kind {
            JobErrorKind::DiskFull => Self::DiskFull,
            JobErrorKind::InUse => Self::InUse,
            JobErrorKind::Changed => Self::SourceChanged,
            JobErrorKind::Verification => Self::VerificationFailed,
            JobErrorKind::UnsafePath => Self::UnsafePath,
            JobErrorKind::ChooseProgram => Self::ChooseProgram,
            JobErrorKind::NoDesktop => Self::NoDesktop,
            JobErrorKind::Cancelled => Self::Cancelled,
            JobErrorKind::BadArchive => Self::BadArchive,
            JobErrorKind::NotOurs => Self::NotOurs,
            JobErrorKind::DirectoryGone => Self::GameDirectoryGone,
            JobErrorKind::Exhausted | JobErrorKind::Io => Self::Io,
        }
    }
}

impl From<JobError> for CommandError {
    fn from(error: JobError) -> Self {
        Self::new(error.kind.into(), error.message)
    }
}
