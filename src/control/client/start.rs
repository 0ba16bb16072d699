//! `lanspread open --start`: a daemon in the background, for whoever has no terminal open.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command};

use super::ClientError;
use crate::small_file;
use crate::sys;

/// What the daemon logs, in the state directory, since its start; and what it logged before that. The launcher on Windows uses the
/// same names.
const LOG: &str = "lanspread.log";
const OLD_LOG: &str = "lanspread.old.log";
/// As much of the log as is read for the reason of a failure.
const MAX_LOG_BYTES: u64 = 64 << 10;

/// A daemon that was started and may not be ready.
pub(super) struct Starting {
    child: Child,
}

impl Starting {
    /// Starts `lanspread run` with this state directory: without a terminal, and not ended by the end of this one.
    ///
    /// # Errors
    /// The log cannot be made, or the program cannot be started.
    pub(super) fn begin(state_dir: &Path) -> Result<Self, ClientError> {
        let start = || -> io::Result<Child> {
            let log = new_log(state_dir)?;
            // Not by a path that means this process: the daemon outlives it.
            let mut command = Command::new(std::env::current_exe()?);
            sys::on_its_own(command.arg("run").arg("--state-dir").arg(state_dir));
            command.stderr(log).spawn()
        };
        start().map(|child| Self { child }).map_err(|error| ClientError::NotStarted(error.to_string()))
    }

    /// Fails when the daemon has ended already, with the last line of its log.
    pub(super) fn check(&mut self, state_dir: &Path) -> Result<(), ClientError> {
        match self.child.try_wait() {
            Ok(Some(_)) => {
                let log = small_file::read(&state_dir.join(LOG), MAX_LOG_BYTES).ok().flatten().unwrap_or_default();
                let text = String::from_utf8_lossy(&log);
                let last = text.lines().rev().find(|line| !line.trim().is_empty());
                let last = last.map(|line| line.trim_start_matches("lanspread: ").to_owned());
                Err(ClientError::NotStarted(last.unwrap_or_else(|| "it ended without a word".into())))
            }
            _ => Ok(()),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "what was logged need not outlive a power cut")]
fn new_log(state_dir: &Path) -> io::Result<File> {
    std::fs::create_dir_all(state_dir)?;
    let path = state_dir.join(LOG);
    match std::fs::rename(&path, state_dir.join(OLD_LOG)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::create(path)
}
