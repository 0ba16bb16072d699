//! SIGINT, SIGTERM and SIGHUP (on Windows Ctrl-C, a closed console, log-off and shutdown): the first asks for a clean stop, the second ends
//! the process.

use std::io;

use crate::sys::SignalSource;

/// The signals could not be caught.
#[derive(Debug, thiserror::Error)]
#[error("the signals for a clean stop could not be caught: {0}")]
pub struct SignalsError(#[from] io::Error);

/// Caught signals. From [`Signals::catch`] on none of them ends the process by itself.
#[derive(Debug)]
pub struct Signals {
    source: SignalSource,
}

impl Signals {
    /// Catches them from now on; one that comes before [`Signals::forward`] is kept.
    pub fn catch() -> Result<Self, SignalsError> {
        Ok(Self { source: SignalSource::open()? })
    }

    /// Calls `first` (on a thread of its own) with the first signal. The second ends the process at once, with the
    /// exit code 128 + its number, as shells count.
    pub fn forward(mut self, first: impl FnOnce() + Send + 'static) -> Result<(), SignalsError> {
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            if self.source.wait().is_none() {
                return;
            }
            first();
            if let Some(signal) = self.source.wait() {
                std::process::exit(128 + signal);
            }
        })?;
        Ok(())
    }
}
