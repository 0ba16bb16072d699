//! How other threads reach the reactor: bounded queues, and one waker for all of them.

use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

/// Wakes the reactor, from its poll or from its rest; cheap to clone.
#[derive(Clone)]
pub(crate) struct Wake(Arc<Bell>);

struct Bell {
    poll: mio::Waker,
    /// The reactor's; unset until it runs.
    thread: OnceLock<Thread>,
}

impl Wake {
    pub(crate) fn new(poll: mio::Waker) -> Self {
        Self(Arc::new(Bell { poll, thread: OnceLock::new() }))
    }

    /// The calling thread is the reactor's: what wakes its poll also ends its [`std::thread::park`].
    pub(crate) fn runs_here(&self) {
        // A second reactor has no way to this waker.
        let _ = self.0.thread.set(std::thread::current());
    }

    /// Makes the reactor take its next turn now.
    pub(crate) fn wake(&self) {
        if let Err(error) = self.0.poll.wake() {
            tracing::warn!(%error, "cannot wake the reactor");
        }
        // After the poll's, which the reactor looks at when it gets up.
        if let Some(thread) = self.0.thread.get() {
            thread.unpark();
        }
    }
}

/// The sending end of a bounded queue into the reactor.
pub(crate) struct Mailbox<T> {
    queue: Sender<T>,
    wake: Wake,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), wake: self.wake.clone() }
    }
}

impl<T> Mailbox<T> {
    /// A queue of at most `capacity` messages.
    pub(crate) fn new(capacity: usize, wake: Wake) -> (Self, Receiver<T>) {
        let (queue, receiver) = bounded(capacity);
        (Self { queue, wake }, receiver)
    }

    /// Waits for room. `Err`: the reactor has stopped.
    pub(crate) fn send(&self, message: T) -> Result<(), T> {
        self.queue.send(message).map_err(|error| error.0)?;
        self.wake.wake();
        Ok(())
    }

    /// Never waits. `Err`: no room, or the reactor has stopped.
    pub(crate) fn try_send(&self, message: T) -> Result<(), T> {
        self.queue.try_send(message).map_err(|error| match error {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        })?;
        self.wake.wake();
        Ok(())
    }
}
