//! What the parts of one unpacking share: progress, cancellation, and the first real reason why it failed.
//!
//! Decoders wrap every error of their input and output in errors of their own. So whoever knows the reason
//! [records](Context::fail) it here and hands the decoder a stand-in; [`Context::guard`] puts the reason back.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender};

use super::sniff::ArchiveSet;
use crate::types::{JobError, JobErrorKind};

/// How long a request to cancel may go unseen.
pub(super) const CANCEL_POLL: Duration = Duration::from_millis(50);
/// Progress is reported this often, in archive bytes.
const PROGRESS_STEP: u64 = 1 << 20;

/// Shared by all parts of one unpacking; cheap to clone.
#[derive(Clone)]
pub(super) struct Context(Arc<Inner>);

struct Inner {
    cancelled: AtomicBool,
    failure: Mutex<Option<JobError>>,
    total: AtomicU64,
    /// Bytes of the archives before this one.
    before: AtomicU64,
    /// Bytes of this archive, and how many of them were read.
    size: AtomicU64,
    read: AtomicU64,
    reported: AtomicU64,
    progress: Sender<(u64, u64)>,
}

/// Runs `work` on a thread of its own, so that what it hands to decoders can own everything, while this thread passes
/// progress and cancellation on.
///
/// # Errors
/// Those of `work`; [`BadArchive`](JobErrorKind::BadArchive) when it panics.
pub(super) fn on_own_thread<T: Send>(
    progress: &dyn Fn(u64, u64),
    cancel: &AtomicBool,
    work: impl FnOnce(Context) -> Result<T, JobError> + Send,
) -> Result<T, JobError> {
    let (sender, receiver) = crossbeam_channel::bounded(16);
    let context = Context(Arc::new(Inner {
        cancelled: AtomicBool::new(cancel.load(Ordering::Relaxed)),
        failure: Mutex::new(None),
        total: AtomicU64::new(0),
        before: AtomicU64::new(0),
        size: AtomicU64::new(0),
        read: AtomicU64::new(0),
        reported: AtomicU64::new(0),
        progress: sender,
    }));
    std::thread::scope(|scope| {
        let flag = Arc::downgrade(&context.0);
        let worker = std::thread::Builder::new()
            .name("unpack".to_owned())
            .spawn_scoped(scope, move || work(context))
            .map_err(|e| JobError::new(JobErrorKind::Io, format!("cannot start a thread: {e}")))?;
        loop {
            match receiver.recv_timeout(CANCEL_POLL) {
                Ok((done, total)) => progress(done, total),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if cancel.load(Ordering::Relaxed)
                && let Some(inner) = flag.upgrade()
            {
                inner.cancelled.store(true, Ordering::Relaxed);
            }
        }
        worker.join().unwrap_or_else(|_| {
            Err(JobError::new(JobErrorKind::BadArchive, "an archive made the unpacker fail in a way that it must not"))
        })
    })
}

impl Context {
    /// Bytes of all archives.
    pub(super) fn set_total(&self, bytes: u64) {
        self.0.total.store(bytes, Ordering::Relaxed);
    }

    /// An archive of so many bytes begins.
    pub(super) fn begin(&self, bytes: u64) {
        self.0.size.store(bytes, Ordering::Relaxed);
        self.0.read.store(0, Ordering::Relaxed);
    }

    /// The archive is done.
    pub(super) fn end(&self) {
        let before = self.0.before.load(Ordering::Relaxed).saturating_add(self.0.size.load(Ordering::Relaxed));
        self.0.before.store(before, Ordering::Relaxed);
        self.begin(0);
        // The last report says "all", so it must not be dropped.
        let _ = self.0.progress.send((before, self.0.total.load(Ordering::Relaxed)));
    }

    /// So many bytes of the archive were read.
    pub(super) fn read(&self, bytes: u64) {
        let read = self.0.read.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let size = self.0.size.load(Ordering::Relaxed);
        let done = self.0.before.load(Ordering::Relaxed).saturating_add(read.min(size));
        if done >= self.0.reported.load(Ordering::Relaxed).saturating_add(PROGRESS_STEP) {
            self.0.reported.store(done, Ordering::Relaxed);
            // A listener that is slow misses a step.
            let _ = self.0.progress.try_send((done, self.0.total.load(Ordering::Relaxed)));
        }
    }

    /// An error once the unpacking was cancelled.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.0.cancelled.load(Ordering::Relaxed) {
            return Err(self.fail(JobError::new(JobErrorKind::Cancelled, "the unpacking was cancelled")));
        }
        Ok(())
    }

    /// Records why the unpacking fails, unless a reason is known. The error stands in for it.
    pub(super) fn fail(&self, error: JobError) -> io::Error {
        let stand_in = io::Error::other(error.message.clone());
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        stand_in
    }

    /// The result of a step with the recorded reason in place of the decoder's error, which otherwise is a fault of the
    /// archive.
    pub(super) fn guard<T>(&self, set: &ArchiveSet, result: Result<T, String>) -> Result<T, JobError> {
        let recorded = self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (recorded, result) {
            (Some(mut error), _) => {
                if matches!(error.kind, JobErrorKind::BadArchive | JobErrorKind::UnsafePath) {
                    error.message = format!("cannot unpack {}: {}{}", set.name, error.message, pieces(set));
                }
                Err(error)
            }
            (None, Ok(value)) => Ok(value),
            (None, Err(why)) => {
                let message = format!("cannot unpack {}: {why}{}", set.name, pieces(set));
                Err(JobError::new(JobErrorKind::BadArchive, message))
            }
        }
    }
}

/// Of an archive in pieces, what may be wrong with it: how many there must be is written nowhere.
fn pieces(set: &ArchiveSet) -> String {
    match set.files.last().filter(|_| set.is_cut) {
        Some(last) => {
            format!(" (it was cut into parts; {} were found, up to {}: is one missing?)", set.files.len(), last.name)
        }
        None => String::new(),
    }
}
