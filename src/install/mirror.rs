//! What `lanspread share` leaves in a game's folder.

use crate::fs::{Dir, FsError};
use crate::types::{MIRROR_MANIFEST, MIRROR_MARKER, RelPath};

/// Whether the file in the place of a mirror's description is one, and not a file of the game. One that cannot be read is none:
/// whoever lists the game says why.
///
/// # Errors
/// Only when the system is short of memory or handles.
pub fn describes_mirror(root: &Dir) -> Result<bool, FsError> {
    let mut start = [0; MIRROR_MARKER.len()];
    let Ok(path) = RelPath::parse(MIRROR_MANIFEST) else { return Ok(false) };
    match root.open_read(&path).and_then(|file| file.read_at(&mut start, 0)) {
        Ok(read) => Ok(read == start.len() && start == *MIRROR_MARKER.as_bytes()),
        Err(e) if e.is_exhaustion() => Err(e),
        Err(_) => Ok(false),
    }
}
