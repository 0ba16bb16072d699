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
        // Of systemd, and of nothing else (systemd.exec(5)); a user's own service has the user's desktop.
        std::env::var_os("INVOCATION_ID").is_some() && !has_desktop()
    }
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
    if !has_desktop() {
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
    on_its_own(command.arg(what));
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
