//! What Unixes have in common.

use std::path::Path;
use std::{fs, io};

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

/// A temporary file that its owner alone may read, or what the user's settings allow.
pub(crate) fn private_unless(everybody: bool, builder: &mut tempfile::Builder<'_, '_>) {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(fs::Permissions::from_mode(if everybody { 0o666 } else { 0o600 }));
}

/// Whether this is the number of the error that there is no more room for a watch.
pub(crate) fn is_no_space(code: Option<i32>) -> bool {
    code == Some(libc::ENOSPC)
}

/// Whether this is the number of the error that too much is open.
pub(crate) fn is_no_handle(code: Option<i32>) -> bool {
    matches!(code, Some(libc::EMFILE | libc::ENFILE))
}

/// How many files this process may have open at once.
pub(crate) fn handle_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}
