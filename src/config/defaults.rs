//! What the platform says when the user does not.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::sys;

/// Where this platform keeps the state of programs: `$XDG_STATE_HOME/lanspread` or `~/.local/state/lanspread`,
/// `~/Library/Application Support/lanspread` on macOS, `%LOCALAPPDATA%\lanspread` on Windows. `None` when the
/// environment does not say.
pub fn default_state_dir(env: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // A relative path there would mean another directory in every shell (the XDG specification says to ignore it).
    let dir = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    sys::state_base(dir).map(|base| base.join("lanspread"))
}

/// Where games are kept when nobody says: `Games/lanspread` in the user's home. `None` when the environment names no home.
pub(super) fn default_game_dir(env: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    home(env).map(|home| home.join("Games").join("lanspread"))
}

/// The user's home.
pub(crate) fn home(env: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    env(sys::HOME).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// The PC's name, if it can be had without asking the network.
pub(super) fn system_hostname(env: impl Fn(&str) -> Option<OsString>) -> Option<String> {
    let name = sys::hostname(env)?;
    let name = name.trim();
    super::load::is_hostname(name).then(|| name.to_owned())
}
