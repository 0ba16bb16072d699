//! Space that running operations were promised and have not yet filled. What the system calls free is counted once,
//! however many operations look at it at the same time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Dir;
use crate::types::{JobError, JobErrorKind};

/// The promises for the file system of one game directory, in bytes. Clones are one ledger.
#[derive(Clone, Debug, Default)]
pub struct SpaceLedger(Arc<Mutex<u64>>);

/// What is left of one promise; the rest is given back when it is dropped.
#[derive(Debug)]
pub struct SpaceReservation {
    ledger: SpaceLedger,
    left: Mutex<u64>,
}

impl SpaceLedger {
    /// Promises `bytes` on the file system of `dir`. `purpose` completes "not enough space …".
    ///
    /// # Errors
    /// [`JobErrorKind::DiskFull`], in numbers, when less is free and promised to nobody; what the system says.
    pub fn reserve(&self, dir: &Dir, bytes: u64, purpose: &str) -> Result<SpaceReservation, JobError> {
        // Held while asking: two that ask at once would be shown the same free space.
        let mut promised = self.promised();
        let free = dir.free_bytes()?;
        if bytes > free.saturating_sub(*promised) {
            let mut message = format!("not enough space {purpose}: it needs {bytes} bytes, {free} are free");
            if *promised > 0 {
                message += &format!(", of which other operations will take {promised}");
            }
            return Err(JobError::new(JobErrorKind::DiskFull, message));
        }
        *promised += bytes;
        Ok(SpaceReservation { ledger: self.clone(), left: Mutex::new(bytes) })
    }

    fn promised(&self) -> MutexGuard<'_, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SpaceReservation {
    /// So many bytes more are on the disk: the system counts them now.
    pub fn filled(&self, bytes: u64) {
        let left = *self.left();
        self.keep(left.saturating_sub(bytes));
    }

    /// So many bytes more are to come.
    ///
    /// # Errors
    /// As of [`SpaceLedger::reserve`].
    pub fn grow(&self, dir: &Dir, bytes: u64, purpose: &str) -> Result<(), JobError> {
        let more = self.ledger.reserve(dir, bytes, purpose)?;
        // It is part of this promise now.
        *self.left() += std::mem::take(&mut *more.left());
        Ok(())
    }

    /// No more than so many bytes are still to come.
    pub fn keep(&self, bytes: u64) {
        let mut left = self.left();
        let given_back = left.saturating_sub(bytes);
        *left -= given_back;
        *self.ledger.promised() -= given_back;
    }

    fn left(&self) -> MutexGuard<'_, u64> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SpaceReservation {
    fn drop(&mut self) {
        self.keep(0);
    }
}
