//! The hidden sub-command `unpack-helper`: the child process that unpacks archives.

use crate::install::archive::helper;

/// Serves the process that started this one, and nobody else.
///
/// # Errors
/// In words, when it was not started by lanspread.
pub fn run() -> Result<(), String> {
    helper::serve()
}
