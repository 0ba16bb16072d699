//! What asks the process to stop, as a source that can be waited for: SIGINT, SIGTERM and SIGHUP; on Windows Ctrl-C, Ctrl-Break, a console
//! window that is closed, log-off and shutdown.

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
    use std::sync::OnceLock;

    use crossbeam_channel::{Receiver, Sender};

    /// Numbers as on Unix, for the exit code.
    const SIGINT: i32 = 2;
    const SIGTERM: i32 = 15;
    /// Events of a console: Ctrl-C and Ctrl-Break (the others: its window is closed, the user logs off, the PC shuts down).
    const CTRL_C: u32 = 0;
    const CTRL_BREAK: u32 = 1;

    static CAUGHT: OnceLock<Sender<i32>> = OnceLock::new();

    /// The signals that ask for a stop.
    #[derive(Debug)]
    pub(crate) struct Source(Receiver<i32>);

    impl Source {
        /// Catches them from now on. Once for each process.
        pub(crate) fn open() -> io::Result<Self> {
            let (caught, source) = crossbeam_channel::bounded(4);
            if CAUGHT.set(caught).is_err() {
                return Err(io::Error::other("they are caught already"));
            }
            // A parent may have told its children to ignore Ctrl-C (a new process group starts so).
            // SAFETY: a null handler is allowed, and `heard` lives as long as the program.
            let done = unsafe { SetConsoleCtrlHandler(None, 0) != 0 && SetConsoleCtrlHandler(Some(heard), 1) != 0 };
            if done { Ok(Self(source)) } else { Err(io::Error::last_os_error()) }
        }

        /// The number of the next one; `None`: there will be none.
        pub(crate) fn wait(&mut self) -> Option<i32> {
            self.0.recv().ok()
        }
    }

    /// The system calls it on a thread of its own.
    unsafe extern "system" fn heard(event: u32) -> i32 {
        let signal = if event == CTRL_C { SIGINT } else { SIGTERM };
        if let Some(caught) = CAUGHT.get() {
            let _ = caught.try_send(signal);
        }
        // Log-off and shutdown are told only to programs that have not loaded user32.dll, which this one does not need.
        if event > CTRL_BREAK {
            // The process ends as soon as this returns, or after 5 s (20 s at a shutdown): the clean stop needs that time.
            loop {
                std::thread::park();
            }
        }
        1
    }

    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn SetConsoleCtrlHandler(handler: Option<unsafe extern "system" fn(u32) -> i32>, add: i32) -> i32;
    }
}
