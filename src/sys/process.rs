//! Child processes.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A program that has nothing to do with this one any more once it runs: neither its streams, nor its console, nor its end.
pub(crate) fn on_its_own(command: &mut Command) {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    #[cfg(unix)]
    in_own_group(command);
    #[cfg(windows)]
    {
        /// Of the Windows API's process creation flags.
        const CREATE_NEW_CONSOLE: u32 = 0x10;
        const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
        std::os::windows::process::CommandExt::creation_flags(command, CREATE_NEW_CONSOLE | CREATE_NEW_PROCESS_GROUP);
    }
}

/// Lets a program run. Somebody must take note of its end, or its entry in the system's table stays.
///
/// # Errors
/// There is no thread for that; it runs all the same.
pub(crate) fn leave_alone(mut child: Child) -> io::Result<()> {
    const STACK: usize = 64 << 10;
    let wait = move || drop(child.wait());
    std::thread::Builder::new().name("lan-started".into()).stack_size(STACK).spawn(wait).map(drop)
}

/// Whether the system starts a file of such a name; `None`: its executable bit and its first bytes say so.
pub(crate) fn starts_by_name(name: &str, has_wine: bool) -> Option<bool> {
    let name = name.to_ascii_lowercase();
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending {
        _ if cfg!(windows) => Some(matches!(ending, "exe" | "bat" | "cmd")),
        "sh" => Some(true),
        "exe" => Some(has_wine),
        "so" | "dll" => Some(false),
        _ => None,
    }
}

/// Whether Windows programs run on another system.
pub(crate) fn has_wine() -> bool {
    let in_path = |path| std::env::split_paths(&path).any(|dir| dir.join("wine").is_file());
    !cfg!(windows) && std::env::var_os("PATH").is_some_and(in_path)
}

/// How the system starts a file.
pub(crate) fn command_of(file: &Path) -> Command {
    #[cfg(unix)]
    if let Some(command) = super::unix::interpreted(file) {
        return command;
    }
    if !cfg!(windows) && file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("exe")) {
        let mut command = Command::new("wine");
        command.arg(file);
        return command;
    }
    Command::new(file)
}

/// Whether the service manager started this process, and nobody would see what it starts.
pub(crate) fn runs_as_service() -> bool {
    #[cfg(windows)]
    {
        super::windows::is_in_session_zero()
    }
    #[cfg(not(windows))]
    {
        is_service_of_systemd() && !has_desktop() && desktop_of_manager().is_empty()
    }
}

/// Whether systemd started this process (systemd.exec(5)).
fn is_service_of_systemd() -> bool {
    cfg!(target_os = "linux") && std::env::var_os("INVOCATION_ID").is_some()
}

/// What a program that is to appear on the desktop must be told of it beyond this process's own environment: a service of the user's
/// systemd may have begun before the desktop did.
pub(crate) fn desktop() -> Vec<(String, String)> {
    if is_service_of_systemd() && !has_desktop() { desktop_of_manager() } else { Vec::new() }
}

/// What the desktop told the user's systemd; empty: there is none.
fn desktop_of_manager() -> Vec<(String, String)> {
    let mut command = Command::new("systemctl");
    let output = command.args(["--user", "show-environment"]).stdin(Stdio::null()).output();
    let Ok(output) = output else { return Vec::new() };
    desktop_in(&String::from_utf8_lossy(&output.stdout))
}

/// The variables of a desktop in an environment with a variable a line; none of them without a display. A value with characters that a
/// shell would heed stands as `$'…'`; one with a backslash in it is left out.
fn desktop_in(environment: &str) -> Vec<(String, String)> {
    const DISPLAYS: [&str; 2] = ["DISPLAY", "WAYLAND_DISPLAY"];
    const OTHERS: [&str; 6] =
        ["XAUTHORITY", "XDG_CURRENT_DESKTOP", "XDG_SESSION_TYPE", "XDG_DATA_DIRS", "DBUS_SESSION_BUS_ADDRESS", "PATH"];
    let found: Vec<(String, String)> = environment
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| DISPLAYS.contains(name) || OTHERS.contains(name))
        .map(|(name, value)| {
            let bare = value.strip_prefix("$'").and_then(|value| value.strip_suffix('\''));
            (name, bare.unwrap_or(value))
        })
        .filter(|(_, value)| !value.is_empty() && !value.contains('\\'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    if found.iter().any(|(name, _)| DISPLAYS.contains(&name.as_str())) { found } else { Vec::new() }
}

/// Whether a program could not be started because it asks for an administrator's rights.
pub(crate) fn needs_administrator(error: &io::Error) -> bool {
    /// `ERROR_ELEVATION_REQUIRED`.
    const ELEVATION_REQUIRED: i32 = 740;
    cfg!(windows) && error.raw_os_error() == Some(ELEVATION_REQUIRED)
}

fn has_desktop() -> bool {
    cfg!(any(windows, target_os = "macos"))
        || ["DISPLAY", "WAYLAND_DISPLAY"]
            .iter()
            .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Has the desktop show a folder, or an address in the browser. False: there is no desktop, or none that knows how.
///
/// # Errors
/// The system has what it takes, and it could not be started.
pub(crate) fn show_on_desktop(what: &OsStr) -> io::Result<bool> {
    let desktop = desktop();
    if !has_desktop() && desktop.is_empty() {
        return Ok(false);
    }
    let mut command = if cfg!(windows) && what.to_str().is_some_and(|what| what.starts_with("http://")) {
        // Explorer itself takes some addresses with a query for a folder.
        let mut command = Command::new("rundll32.exe");
        command.arg("url.dll,FileProtocolHandler");
        command
    } else if cfg!(windows) {
        Command::new("explorer.exe")
    } else if cfg!(target_os = "macos") {
        Command::new("open")
    } else {
        Command::new("xdg-open")
    };
    on_its_own(command.arg(what).envs(desktop));
    match command.spawn() {
        Ok(child) => watch(child),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether what was started went well, as far as is known after a moment: a browser that it opens may run for long.
#[expect(clippy::disallowed_methods, reason = "another process is looked at, which tells nobody that all is well")]
fn watch(mut child: Child) -> io::Result<bool> {
    const LOOKS: u32 = 30;
    const PAUSE: Duration = Duration::from_millis(50);
    for _ in 0..LOOKS {
        if let Some(status) = child.try_wait()? {
            // Explorer answers 1 when all is well.
            return Ok(status.success() || cfg!(windows));
        }
        std::thread::sleep(PAUSE);
    }
    leave_alone(child).map(|()| true)
}

/// Ctrl-C in the terminal is for this process, which then stops the child in order: the child does not hear it.
pub(crate) fn in_own_group(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(windows)]
    {
        /// Of the Windows API's process creation flags.
        const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
        std::os::windows::process::CommandExt::creation_flags(command, CREATE_NEW_PROCESS_GROUP);
    }
    #[cfg(not(any(unix, windows)))]
    let _ = command;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_environment_what_a_desktop_needs_is_taken() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let text = "HOME=/root\nDISPLAY=:0\nXAUTHORITY=$'/run/user/a b'\nXDG_DATA_DIRS=$'a\\nb'\nSECRET=1\n";
        assert_eq!(desktop_in(text), [pair("DISPLAY", ":0"), pair("XAUTHORITY", "/run/user/a b")]);
        assert_eq!(desktop_in("PATH=/usr/bin\nDISPLAY=\n"), []);
    }
}
