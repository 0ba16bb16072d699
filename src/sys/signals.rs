//! SIGINT, SIGTERM and SIGHUP, and Ctrl-C on Windows, as a source that can be waited for.

pub(crate) use platform::Source as SignalSource;

#[cfg(unix)]
mod platform {
    use std::io;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    /// The signals that ask for a stop.
    #[derive(Debug)]
    pub(crate) struct Source(signal_hook::iterator::Signals);

    impl Source {
        /// Catches them from now on.
        pub(crate) fn open() -> io::Result<Self> {
            signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).map(Self)
        }

        /// The number of the next one; `None`: there will be none.
        pub(crate) fn wait(&mut self) -> Option<i32> {
            self.0.forever().next()
        }
    }
}

#[cfg(windows)]
mod platform {
    use std::io;

    use crossbeam_channel::Receiver;
    use signal_hook::consts::{SIGINT, SIGTERM};

    /// The signals that ask for a stop.
    #[derive(Debug)]
    pub(crate) struct Source(Receiver<i32>);

    impl Source {
        /// Catches them from now on.
        pub(crate) fn open() -> io::Result<Self> {
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

        /// The number of the next one; `None`: there will be none.
        pub(crate) fn wait(&mut self) -> Option<i32> {
            self.0.recv().ok()
        }
    }
}
