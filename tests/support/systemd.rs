//! A systemd of a user's own, which nobody else sees.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What `systemctl --user` talks to while `HOME` and `XDG_RUNTIME_DIR` are those of [`UserSystemd::command`].
pub(crate) struct UserSystemd {
    child: Child,
    home: PathBuf,
    runtime: PathBuf,
}

impl UserSystemd {
    /// Starts it with a home that is made. The error says why there can be none.
    pub(crate) fn start(home: &Path) -> Result<Self, String> {
        // Its sockets are here; their paths must be short.
        let runtime = home.join("r");
        fs::create_dir_all(&runtime).map_err(|error| error.to_string())?;
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700)).map_err(|error| error.to_string())?;
        // It looks whether the machine was booted with systemd; in its own view of /run it was.
        let script = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && exec /lib/systemd/systemd --user";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = at_home(&mut command, home, &runtime).spawn().map_err(|error| format!("unshare: {error}"))?;
        let mut started = Self { child, home: home.to_owned(), runtime };
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let mut command = started.command("systemctl");
            // Not `is-system-running`, which looks how the machine was booted.
            let answer = command.args(["--user", "list-jobs"]).output().map_err(|error| error.to_string())?;
            if answer.status.success() {
                return Ok(started);
            }
            if let Ok(Some(status)) = started.child.try_wait() {
                return Err(format!("a user's systemd does not stay: {status}"));
            }
            if Instant::now() > deadline {
                let said = String::from_utf8_lossy(&answer.stderr).trim().to_owned();
                return Err(format!("a user's systemd does not get ready: {said}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A command that knows this systemd.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        at_home(&mut command, &self.home, &self.runtime).stdin(Stdio::null());
        command
    }
}

fn at_home<'a>(command: &'a mut Command, home: &Path, runtime: &Path) -> &'a mut Command {
    command.env("HOME", home).env("XDG_RUNTIME_DIR", runtime);
    for name in ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY"] {
        command.env_remove(name);
    }
    command
}

impl Drop for UserSystemd {
    fn drop(&mut self) {
        // It stops what it runs before it ends.
        let _ = self.command("systemctl").args(["--user", "exit"]).output();
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline && !matches!(self.child.try_wait(), Ok(Some(_))) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
