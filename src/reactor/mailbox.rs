//! How other threads reach the reactor: bounded queues, and one waker for all of them.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

/// Wakes the reactor's poll; cheap to clone.
#[derive(Clone)]
pub(crate) struct Wake(Arc<mio::Waker>);

impl Wake {
    pub(crate) fn new(waker: mio::Waker) -> Self {
        Self(Arc::new(waker))
    }

    /// Makes the reactor take its next turn now.
    pub(crate) fn wake(&self) {
        if let Err(error) = self.0.wake() {
            tracing::warn!(%error, "cannot wake the reactor");
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
