//! `lanspread open --start`: a daemon in the background, for whoever has no terminal open.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::ClientError;
use crate::small_file;
use crate::sys;

/// What daemons log that nobody watches, in the state directory; and the log before that. The launcher on Windows uses the same names.
const LOG: &str = "lanspread.log";
const OLD_LOG: &str = "lanspread.old.log";
/// A longer log makes room for a new one.
const LONG_LOG_BYTES: u64 = 1 << 20;
/// How long somebody else's daemon is waited for when one's own has ended.
const OTHERS_TURN: Duration = Duration::from_secs(2);

/// A daemon that was started and may not be ready.
pub(super) struct Starting {
    child: Child,
    /// Since when it is known to have ended.
    ended: Option<Instant>,
}

impl Starting {
    /// Starts `lanspread run` with this state directory: without a terminal, and not ended by the end of this one.
    ///
    /// # Errors
    /// The log cannot be made, or the program cannot be started.
    pub(super) fn begin(state_dir: &Path) -> Result<Self, ClientError> {
        let start = || -> io::Result<Child> {
            let log = open_log(state_dir)?;
            // Not by a path that means this process: the daemon outlives it.
            let mut command = Command::new(std::env::current_exe()?);
            sys::on_its_own(command.arg("run").arg("--state-dir").arg(state_dir));
            command.stderr(log).spawn()
        };
        start().map(|child| Self { child, ended: None }).map_err(|error| ClientError::NotStarted(error.to_string()))
    }

    /// Fails when the daemon has ended already, with the last line of its log.
    pub(super) fn check(&mut self, state_dir: &Path, now: Instant) -> Result<(), ClientError> {
        match self.child.try_wait() {
            // Another one that was started in the same moment may be about to be ready.
            Ok(Some(_)) if now < *self.ended.get_or_insert(now) + OTHERS_TURN => Ok(()),
            Ok(Some(_)) => {
                let log = small_file::read(&state_dir.join(LOG), 2 * LONG_LOG_BYTES).ok().flatten().unwrap_or_default();
                let text = String::from_utf8_lossy(&log);
                let last = text.lines().rev().find(|line| !line.trim().is_empty());
                let last = last.map(|line| line.trim_start_matches("lanspread: ").to_owned());
                Err(ClientError::NotStarted(last.unwrap_or_else(|| "it ended without a word".into())))
            }
            _ => Ok(()),
        }
    }
}

/// Goes on with the log that is there, which another daemon may be writing at this moment, unless it is long.
#[expect(clippy::disallowed_methods, reason = "what was logged need not outlive a power cut")]
fn open_log(state_dir: &Path) -> io::Result<File> {
    std::fs::create_dir_all(state_dir)?;
    let path = state_dir.join(LOG);
    if std::fs::metadata(&path).is_ok_and(|log| log.len() > LONG_LOG_BYTES) {
        std::fs::rename(&path, state_dir.join(OLD_LOG))?;
    }
    File::options().create(true).append(true).open(path)
}
