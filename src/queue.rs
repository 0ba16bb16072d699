//! Long queues between threads that hold memory only for what waits in them: a bounded channel allocates all of its places at once.

use crossbeam_channel::{Sender, TrySendError};

/// Sends unless `limit` items wait already. With several senders each may exceed the limit by one.
///
/// # Errors
/// `Full`, or `Disconnected` when nobody reads any more; the item comes back.
pub(crate) fn try_send<T>(queue: &Sender<T>, limit: usize, item: T) -> Result<(), TrySendError<T>> {
    if queue.len() >= limit {
        return Err(TrySendError::Full(item));
    }
    queue.try_send(item)
}
