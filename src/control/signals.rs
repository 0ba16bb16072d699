//! SIGINT, SIGTERM and SIGHUP (Ctrl-C on Windows): the first asks for a clean stop, the second ends the process.

use std::io;

/// The signals could not be caught.
#[derive(Debug, thiserror::Error)]
#[error("the signals for a clean stop could not be caught: {0}")]
pub struct SignalsError(#[from] io::Error);

/// Caught signals. From [`Signals::catch`] on none of them ends the process by itself.
#[derive(Debug)]
pub struct Signals {
    source: platform::Source,
}

impl Signals {
    /// Catches them from now on; one that comes before [`Signals::forward`] is kept.
    pub fn catch() -> Result<Self, SignalsError> {
        Ok(Self { source: platform::Source::open()? })
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

#[cfg(unix)]
mod platform {
    use std::io;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    #[derive(Debug)]
    pub(super) struct Source(signal_hook::iterator::Signals);

    impl Source {
        pub(super) fn open() -> io::Result<Self> {
            signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).map(Self)
        }

        pub(super) fn wait(&mut self) -> Option<i32> {
            self.0.forever().next()
        }
    }
}

#[cfg(windows)]
mod platform {
    use std::io;

    use crossbeam_channel::Receiver;
    use signal_hook::consts::{SIGINT, SIGTERM};

    #[derive(Debug)]
    pub(super) struct Source(Receiver<i32>);

    impl Source {
        pub(super) fn open() -> io::Result<Self> {
            let (caught, source) = crossbeam_channel::bounded(4);
            for signal in [SIGINT, SIGTERM] {
                let caught = caught.clone();
                // SAFETY: the C runtime calls the handler for a console event on a new thread, not in the middle of
                // another, so that it may take the channel's lock; it does not panic.
                unsafe {
                    signal_hook::low_level::register(signal, move || {
                        let _ = caught.try_send(signal);
                    })
                }?;
            }
            Ok(Self(source))
        }

        pub(super) fn wait(&mut self) -> Option<i32> {
            self.0.recv().ok()
        }
    }
}
