//! Installing a game that is not packed: its files are what is played.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Progress;
use crate::fs::{Dir, File};
use crate::types::{JobError, JobErrorKind, Manifest, Packing};

/// Bytes that are copied between two looks at the request to give up.
const STEP: usize = 16 << 20;

/// The bytes that [`copy_files`] will copy.
pub fn bytes_to_copy(manifest: &Manifest, packing: Packing) -> u64 {
    manifest.files().iter().filter(|file| packing.copies(&file.path)).map(|file| file.size).sum()
}

/// Copies every file of `manifest` that is copied with this `packing` from `root` to the same place in `to`, and makes its
/// empty directories there. What was unpacked to the name of such a file gives way. `version.ini` is not copied: it speaks of
/// the downloaded files. Where the file
/// system can share blocks nothing is copied and nothing is used up. Nothing is durable before
/// [`Dir::sync_tree`].
///
/// # Errors
/// [`JobErrorKind::Changed`] when a file is not there in its listed size; [`JobErrorKind::Cancelled`] within 16 MiB of
/// `cancel` becoming true; what the system says.
pub fn copy_files(
    root: &Dir,
    to: &Dir,
    manifest: &Manifest,
    packing: Packing,
    progress: Progress<'_>,
    cancel: &AtomicBool,
) -> Result<(), JobError> {
    for dir in manifest.dirs() {
        to.make_dirs(dir)?;
    }
    let total = bytes_to_copy(manifest, packing);
    let mut done = 0;
    for entry in manifest.files().iter().filter(|file| packing.copies(&file.path)) {
        let changed = || {
            let message = format!("{} changed while it was copied", root.path().join(entry.path.as_str()).display());
            JobError::new(JobErrorKind::Changed, message)
        };
        let from = root.open_read(&entry.path)?;
        if from.stat()?.size != entry.size {
            return Err(changed());
        }
        if let Some(parent) = entry.path.parent() {
            to.make_dirs(&parent)?;
        }
        if packing == Packing::CopyAndUnpack {
            to.remove_file_beneath(&entry.path)?;
        }
        let target = to.create_write(&entry.path, entry.exec)?;
        let step = |bytes| {
            done += bytes;
            progress(done, total);
        };
        if !copy_bytes(&from, &target, entry.size, cancel, step)? {
            return Err(changed());
        }
    }
    Ok(())
}

/// Copies the first `size` bytes, by sharing blocks where the file system can. `step` is told the bytes of each step. Whether there were
/// so many.
pub(super) fn copy_bytes(
    from: &File,
    to: &File,
    size: u64,
    cancel: &AtomicBool,
    mut step: impl FnMut(u64),
) -> Result<bool, JobError> {
    if size > 0 && to.share_blocks(from)? {
        step(size);
        return Ok(true);
    }
    from.advise_sequential();
    let mut offset = 0;
    while offset < size {
        if cancel.load(Ordering::Relaxed) {
            return Err(JobError::new(JobErrorKind::Cancelled, "copying was cancelled"));
        }
        let bytes = usize::try_from(size - offset).unwrap_or(STEP).min(STEP);
        let copied = to.copy_range(from, offset, bytes)? as u64;
        if copied == 0 {
            return Ok(false);
        }
        to.start_writeback(offset, copied);
        offset += copied;
        step(copied);
    }
    Ok(true)
}
