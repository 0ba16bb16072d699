//! One daemon per directory.

use std::io::{self, Read, Write};

use super::sys;

/// Largest process number that is read back, in bytes.
const MAX_HOLDER: u64 = 32;

/// Holds a directory for this process until dropped; the system lets go when the process ends, however it ends.
#[derive(Debug)]
pub struct DirLock {
    _file: std::fs::File,
}

impl DirLock {
    /// Takes the lock on an open lock file and writes this process's number into it.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] with the holder's number in words when another process has it.
    pub(super) fn take(dir: &sys::Handle, name: &str) -> io::Result<Self> {
        let mut file = match dir.open_lock(name)? {
            sys::Locked::Mine(file) => file,
            sys::Locked::Held(file) => return Err(held_by(file)),
        };
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }
}

fn held_by(file: Option<std::fs::File>) -> io::Error {
    let mut text = String::new();
    let read = file.map(|file| file.take(MAX_HOLDER).read_to_string(&mut text));
    let message = match (read, text.trim().parse::<u32>()) {
        (Some(Ok(_)), Ok(pid)) => format!("it is in use by another lanspread (process {pid})"),
        _ => "it is in use by another lanspread".to_owned(),
    };
    io::Error::new(io::ErrorKind::ResourceBusy, message)
}
