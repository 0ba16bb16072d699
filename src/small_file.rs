//! Small files outside the game directory: replaced or made as a whole, read up to a bound.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::sys;

/// Who may read a file that is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Readers {
    /// Whoever wrote it.
    Owner,
    /// Whoever the umask lets: a web server runs as somebody else.
    Everybody,
}

/// What is in a file, at most so many bytes; `None`: there is none.
///
/// # Errors
/// What the file system says.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Replaces a file durably: whoever reads it, whenever, sees the old content or the new one.
///
/// # Errors
/// What the file system says; the old content stays.
pub(crate) fn replace(path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    let file = written(path, content, readers)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|failed| failed.error)?;
    sys::sync_dir(directory_of(path))
}

/// The same for its owner alone, and without waiting for the disk: for what is worthless after a crash of the machine.
///
/// # Errors
/// As [`replace`].
pub(crate) fn replace_passing(path: &Path, content: &[u8]) -> io::Result<()> {
    written(path, content, Readers::Owner)?.persist(path).map_err(|failed| failed.error)?;
    Ok(())
}

/// Writes a new file durably, readable by its owner only; one that is there already is left alone.
///
/// # Errors
/// What the file system says; `AlreadyExists` among them.
pub(crate) fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let file = written(path, content, Readers::Owner)?;
    file.as_file().sync_all()?;
    // Link or rename, whichever the file system has; fails when the name is taken.
    file.persist_noclobber(path).map_err(|failed| failed.error)?;
    sys::sync_dir(directory_of(path))
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Complete, beside its place and under a name of its own.
fn written(path: &Path, content: &[u8], readers: Readers) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".lanspread-").suffix(".tmp");
    sys::private_unless(matches!(readers, Readers::Everybody), &mut builder);
    let mut file = builder.tempfile_in(directory_of(path))?;
    file.write_all(content)?;
    Ok(file)
}
