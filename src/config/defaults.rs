//! What the platform says when the user does not.

use std::ffi::OsString;
use std::path::PathBuf;

/// Where this platform keeps the state of programs: `$XDG_STATE_HOME/lanspread` or `~/.local/state/lanspread`,
/// `~/Library/Application Support/lanspread` on macOS, `%LOCALAPPDATA%\lanspread` on Windows. `None` when the
/// environment does not say.
pub fn default_state_dir(env: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // A relative path there would mean another directory in every shell (the XDG specification says to ignore it).
    let dir = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = if cfg!(windows) {
        dir("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        dir("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        dir("XDG_STATE_HOME").or_else(|| dir("HOME").map(|home| home.join(".local/state")))
    };
    base.map(|base| base.join("lanspread"))
}

/// The PC's name, if it can be had without asking the network.
pub(super) fn system_hostname(env: impl Fn(&str) -> Option<OsString>) -> Option<String> {
    let name = if cfg!(target_os = "linux") {
        std::fs::read_to_string("/proc/sys/kernel/hostname").ok()
    } else if cfg!(windows) {
        env("COMPUTERNAME").and_then(|name| name.into_string().ok())
    } else {
        env("HOSTNAME").and_then(|name| name.into_string().ok())
    }?;
    let name = name.trim();
    super::load::is_hostname(name).then(|| name.to_owned())
}
