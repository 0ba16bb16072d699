//! The life of a daemon, and the exchange of its game directory.
//!
//! ```text
//!  New ──Listening──▶ Opening ──opened──▶ Saving ──first state durable──▶ Running ──shutdown──▶ Leaving ──drained──▶ Stopped
//! ```

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::io::CommandId;
use crate::types::{JobError, JobErrorKind, directory_is_gone};

/// The life of a daemon.
#[derive(Debug)]
pub(super) enum Phase {
    /// The sockets are not bound yet.
    New,
    /// The game directory is being opened.
    Opening,
    /// It is open, its first state is being made durable.
    Saving,
    /// Everything runs.
    Running,
    /// Goodbye was said; transfers are being ended, but not for longer than this.
    Leaving { until: Instant, commands: Vec<CommandId> },
    /// Nothing happens any more.
    Stopped,
}

impl Phase {
    /// Goodbye was said.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self, Self::Leaving { .. })
    }
}

/// What follows when nothing is at work on a game directory.
#[derive(Debug)]
pub(super) enum Next {
    /// Another one is opened, as a command asks.
    Open { command: CommandId, path: PathBuf },
    /// It is closed, since it is gone.
    Close,
}

/// The exchange of the game directory.
#[derive(Debug)]
pub(super) enum Switch {
    /// None is under way.
    No,
    /// Jobs on the old directory are coming to their ends: their results carry no directory.
    Draining(Next),
    /// The old one, which is gone, is being closed.
    Closing,
    /// The new one is being opened; the old one still counts, unless it is gone.
    Opening { command: Option<CommandId> },
    /// The new one is in use, and is being made durable.
    Saving { command: Option<CommandId> },
}

impl Switch {
    /// One is under way.
    pub(super) fn is_on(&self) -> bool {
        !matches!(self, Self::No)
    }

    /// The stage it was in; from now on none is under way.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::No)
    }

    /// The command that asked for it, if one is under way.
    pub(super) fn command(&self) -> Option<CommandId> {
        match *self {
            Self::No | Self::Draining(Next::Close) | Self::Closing => None,
            Self::Draining(Next::Open { command, .. }) => Some(command),
            Self::Opening { command } | Self::Saving { command } => command,
        }
    }

    /// Ends the last stage; the command that is to be answered.
    pub(super) fn end_saving(&mut self) -> Option<CommandId> {
        let Self::Saving { command } = *self else { return None };
        *self = Self::No;
        command
    }
}

/// What became of this directory of games while the daemon was running, and what to do about it.
pub(super) fn directory_gone(dir: &Path, reason: &str) -> String {
    format!(
        "{}; plug its drive in or mount it again, the daemon looks for it every few seconds (or name another directory with set-game-dir)",
        directory_is_gone(dir, reason)
    )
}

/// Why the daemon cannot start with this directory of games, and what to do about it.
pub(super) fn unusable(dir: &Path, error: &JobError) -> String {
    let advice = match error.kind {
        JobErrorKind::InUse => "stop the other daemon, or name another directory with --game-dir",
        _ => {
            "it must be an existing directory that this user may read and write; --game-dir names another one, and --create makes it where \
              it is missing"
        }
    };
    format!("the game directory {} cannot be used: {}; {advice}", dir.display(), error.message)
}
