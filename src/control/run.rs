//! One running daemon, one door, the signals: until the daemon has stopped.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::Receiver;

use crate::api::{PeerCommand, PeerEvent};

use super::{Commands, Reply, Signals, Stopped, human, jsonl, shut_down, supervised};

/// How long the last lines may take to leave when nobody reads them.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Who sits in front of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Door {
    /// A program, on stdin and stdout.
    Jsonl,
    /// A person, who reads stderr.
    Human,
}

/// Whether somebody asked the daemon to stop, at any door.
#[derive(Clone, Default)]
pub struct Asked(Arc<AtomicBool>);

/// The same commands, which take note of a `shutdown`.
pub fn noting_shutdown<C: Commands>(commands: C) -> (impl Commands, Asked) {
    let asked = Asked::default();
    let note = Arc::clone(&asked.0);
    let noting = move |command: PeerCommand, reply: Reply| -> Result<(), Stopped> {
        if command == PeerCommand::Shutdown {
            note.store(true, Ordering::Relaxed);
        }
        commands.send(command, reply)
    };
    (noting, asked)
}

/// A daemon that was started.
pub struct Running<C> {
    /// Where commands go.
    pub commands: C,
    /// Of those commands.
    pub asked: Asked,
    /// What happens; ends when the daemon has stopped.
    pub events: Receiver<PeerEvent>,
    /// The same once more, for the service manager.
    pub ready: Receiver<PeerEvent>,
    /// Waits until the daemon has stopped. Answers why it never got ready, if it did not.
    pub join: Box<dyn FnOnce() -> Option<String> + Send>,
}

/// How a daemon came to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// Somebody asked for it.
    Asked,
    /// It stopped by itself.
    ByItself,
    /// It never got ready, for this reason.
    NotStarted(String),
}

/// Serves `door` until the daemon has stopped, because of a command, a signal, the end of the input or an output that
/// nobody reads.
///
/// # Errors
/// A thread could not be started; the daemon was then shut down.
pub fn run<C: Commands>(running: Running<C>, door: Door, signals: Signals) -> io::Result<End> {
    let Running { commands, asked, events, ready, join } = running;
    // Closes when this function ends.
    let (_running, stopped) = crossbeam_channel::bounded(0);
    let serve = || -> io::Result<_> {
        let stop = commands.clone();
        signals.forward(move || shut_down(&stop)).map_err(io::Error::other)?;
        supervised::tell(commands.clone(), ready, stopped)?;
        let (done, finished) = crossbeam_channel::bounded::<()>(1);
        let output = match door {
            Door::Jsonl => jsonl::serve(io::stdin(), io::stdout(), commands.clone(), events)?,
            Door::Human => human::serve(io::stderr(), events)?,
        };
        // Ends when the output has: `done` is dropped then.
        std::thread::Builder::new().name("output-end".into()).spawn(move || {
            let _ = output.join();
            drop(done);
        })?;
        Ok(finished)
    };
    let served = serve();
    if served.is_err() {
        shut_down(&commands);
    }
    let failure = join();
    // A reader that stopped reading must not keep the process.
    let _ = served?.recv_timeout(LAST_LINES);
    Ok(match failure {
        Some(why) => End::NotStarted(why),
        None if asked.0.load(Ordering::Relaxed) => End::Asked,
        None => End::ByItself,
    })
}
