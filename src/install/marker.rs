//! The file that says that a directory is lanspread's to delete.

use super::log::OpId;
use crate::fs::{Dir, EntryKind, FsError};

/// The marker's name in `.local.installing` and `.local.backup`.
pub(crate) const MARKER: &str = ".lanspread_owned";
/// What an interrupted [`put`] leaves.
pub(super) const MARKER_TMP: &str = ".lanspread_owned.tmp";
const PREFIX: &[u8] = b"lanspread operation ";
/// Longest marker that is read, in bytes.
const MAX_BYTES: usize = 256;

/// Puts the marker into `dir`, durably.
pub(super) fn put(dir: &Dir, op: OpId) -> Result<(), FsError> {
    dir.replace_file(MARKER, &[PREFIX, format!("{:016x}\n", op.0).as_bytes()].concat())
}

/// Whether the directory `name` in `root` has it.
pub(super) fn is_in(root: &Dir, name: &str) -> Result<bool, FsError> {
    is_marked(&root.subdir(name)?)
}

/// Takes the marker, if it is there and is one, out of the directory `name` in `root`, durably.
pub(super) fn remove(root: &Dir, name: &str) -> Result<(), FsError> {
    let dir = root.subdir(name)?;
    if is_marked(&dir)? {
        dir.remove_file(MARKER)?;
    }
    dir.remove_file(MARKER_TMP)?;
    // Also when there was nothing: an earlier attempt may have failed just here.
    dir.sync()
}

fn is_marked(dir: &Dir) -> Result<bool, FsError> {
    if dir.entry(MARKER)?.is_none_or(|entry| entry.kind != EntryKind::File || entry.size > MAX_BYTES as u64) {
        return Ok(false);
    }
    Ok(dir.read_small(MARKER, MAX_BYTES)?.is_some_and(|bytes| bytes.starts_with(PREFIX)))
}
