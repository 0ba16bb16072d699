//! Systems of which nothing more is known: what is told is what the environment says.

use std::ffi::OsString;
use std::path::PathBuf;

pub use super::plain::give_memory_back;
pub(crate) use super::plain::{cpu_seconds, cpu_seconds_of, default_routes, is_in_memory, is_wireless, this_program};

/// Does nothing: the calling thread keeps its priority.
pub(crate) fn lower_priority() {}

/// Whether the PC sleeps while games move is left to its user.
pub(crate) fn keep_awake(_: bool) {}

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

/// The file system that a directory is on: not told.
pub(crate) fn file_system_of(_: &std::path::Path) -> Option<super::FileSystem> {
    None
}
