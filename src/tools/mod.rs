//! What only the command line runs.

pub mod bench;
pub mod catalog;
pub mod config;
pub mod demo;
pub mod service;
pub mod share;
pub mod unpack_helper;

use std::ffi::OsString;
use std::io::{self, Write};

/// A variable of this process, for what takes the environment as a function.
pub(crate) fn env(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Writes text to stdout. A reader that went away has enough of it; the work goes on.
///
/// # Errors
/// What the system says.
pub fn say(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
