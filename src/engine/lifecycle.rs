//! The life of a daemon, and the exchange of its game directory.
//!
//! ```text
//!  New ──Listening──▶ Opening ──opened──▶ Saving ──first state durable──▶ Running ──shutdown──▶ Leaving ──drained──▶ Stopped
//! ```

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::io::CommandId;
use crate::types::{JobError, JobErrorKind};

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

/// The exchange of the game directory.
#[derive(Debug)]
pub(super) enum Switch {
    /// None is under way.
    No,
    /// Jobs on the old directory are coming to their ends: their results carry no directory.
    Draining { command: CommandId, path: PathBuf },
    /// The new one is being opened; the old one still counts.
    Opening { command: CommandId },
    /// The new one is in use, and is being made durable.
    Saving { command: CommandId },
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
            Self::No => None,
            Self::Draining { command, .. } | Self::Opening { command } | Self::Saving { command } => Some(command),
        }
    }

    /// Ends the last stage; the command that is to be answered.
    pub(super) fn end_saving(&mut self) -> Option<CommandId> {
        let Self::Saving { command } = *self else { return None };
        *self = Self::No;
        Some(command)
    }
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
