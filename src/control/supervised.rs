//! A daemon that a service manager watches over: says when it is ready, and that it lives.

use std::io;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::Commands;
use crate::api::{PeerCommand, PeerEvent};
use crate::sys::ServiceManager;

/// Without a watchdog there is nothing to say between the start and the end.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Tells the service manager, if there is one, until `stopped` closes. `events` begin before the daemon is ready.
///
/// The watchdog is fed by the answers to commands: a loop that does not turn any more answers none.
///
/// # Errors
/// The thread could not be started.
pub(super) fn tell<C: Commands>(commands: C, events: Receiver<PeerEvent>, stopped: Receiver<()>) -> io::Result<()> {
    let Some(manager) = ServiceManager::of_this_process() else { return Ok(()) };
    std::thread::Builder::new().name("service-manager".into()).spawn(move || {
        let is_ready = events.iter().any(|event| matches!(event, PeerEvent::LocalPeerReady { .. }));
        // Nobody needs the rest of them.
        drop(events);
        if is_ready {
            manager.say("READY=1");
        }
        let every = manager.watchdog.map_or(NEVER, |time| time / 2);
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(every) {
            let (answer, answered) = crossbeam_channel::bounded(1);
            let reply = Box::new(move |_| answer.send(()).unwrap_or_default());
            if commands.send(PeerCommand::Status, reply).is_ok() && answered.recv_timeout(every).is_ok() {
                manager.say("WATCHDOG=1");
            }
        }
    })?;
    Ok(())
}
