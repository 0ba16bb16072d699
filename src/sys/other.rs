//! Systems of which nothing more is known: what is told is what the environment says.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// Does nothing: the calling thread keeps its priority.
pub(crate) fn lower_priority() {}

/// CPU seconds of the process and of the calling thread: not told.
pub(crate) fn cpu_seconds() -> (Option<f64>, Option<f64>) {
    (None, None)
}

/// CPU seconds of another process: not told.
pub(crate) fn cpu_seconds_of(_: u32) -> Option<f64> {
    None
}

/// The PC's name, without asking the network. `env` reads the environment.
pub(crate) fn hostname(env: impl Fn(&str) -> Option<OsString>) -> Option<String> {
    env("HOSTNAME").and_then(|name| name.into_string().ok())
}

/// Where programs keep their state. `dir` reads an absolute path from the environment.
pub(crate) fn state_base(dir: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    if cfg!(target_os = "macos") {
        return dir("HOME").map(|home| home.join("Library/Application Support"));
    }
    dir("XDG_STATE_HOME").or_else(|| dir("HOME").map(|home| home.join(".local/state")))
}

/// The file of the program that runs.
pub(crate) fn this_program() -> io::Result<PathBuf> {
    std::env::current_exe()
}

/// Whether a directory lies in memory: not told.
pub(crate) fn is_in_memory(_: &Path) -> bool {
    false
}

/// Whether the interface of this name is known to be a wireless one.
pub(crate) fn is_wireless(_: &str) -> bool {
    false
}
