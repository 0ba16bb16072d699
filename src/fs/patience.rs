//! Waiting for another program to let go: a virus scanner, an indexer or a game that holds a file for a moment is the
//! rule on Windows, where what is held cannot be renamed or removed.

use std::io;
use std::time::Duration;

use super::hook::Hooks;
use super::sys;

/// How long a change is tried again while another program holds what it changes.
pub(super) const RETRY_FOR: Duration = Duration::from_secs(2);
/// Pause between two attempts.
pub(super) const RETRY_EVERY: Duration = Duration::from_millis(50);

impl Hooks {
    /// Tries `act` until it succeeds, fails for another reason than that somebody holds the thing, or two seconds of
    /// pauses have passed; returns what the last attempt said.
    pub(super) fn patiently<T>(&self, mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let mut waited = Duration::ZERO;
        loop {
            match act() {
                Err(error) if waited < RETRY_FOR && self.is_held(&error) => {
                    self.pause(RETRY_EVERY);
                    waited += RETRY_EVERY;
                }
                other => return other,
            }
        }
    }

    /// The same for a rename; when it is still held in the end, the error says so whatever the system calls it.
    pub(super) fn patiently_rename(&self, act: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        self.patiently(act).map_err(|error| match self.is_held(&error) {
            true => io::Error::new(io::ErrorKind::ResourceBusy, error),
            false => error,
        })
    }
}

/// Whether the system says by this error that another program holds the file or directory.
pub(super) fn is_held(error: &io::Error) -> bool {
    sys::is_held(error)
}

/// The calling thread does nothing for so long.
#[expect(clippy::disallowed_methods, reason = "waits on a worker thread for another program to let go")]
pub(super) fn pause(time: Duration) {
    std::thread::sleep(time);
}
