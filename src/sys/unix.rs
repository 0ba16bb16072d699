//! What Unixes have in common.

use std::path::Path;
use std::process::Command;
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

/// How a script is started whose executable bit was lost on the way: by the program that its first line names, else by `sh` if it is called
/// a script. `None`: it starts by itself, or is none.
pub(super) fn interpreted(file: &Path) -> Option<Command> {
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;
    const ANY_EXEC: u32 = 0o111;
    const FIRST_LINE: u64 = 256;
    if fs::metadata(file).is_ok_and(|meta| meta.permissions().mode() & ANY_EXEC != 0) {
        return None;
    }
    let mut start = Vec::new();
    fs::File::open(file).ok()?.take(FIRST_LINE).read_to_end(&mut start).ok()?;
    let line =
        start.split(|byte| *byte == b'\n').next().and_then(|line| std::str::from_utf8(line).ok()).unwrap_or_default();
    let mut words = line.strip_prefix("#!").unwrap_or_default().trim().splitn(2, char::is_whitespace);
    let mut command = match words.next().filter(|program| !program.is_empty()) {
        Some(program) => Command::new(program),
        None if file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("sh")) => Command::new("sh"),
        None => return None,
    };
    command.args(words.next().map(str::trim)).arg(file);
    Some(command)
}
