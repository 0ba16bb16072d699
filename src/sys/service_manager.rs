//! The service manager that started this process, where it is systemd: sd_notify(3), sd_watchdog_enabled(3).

use std::time::Duration;

/// Where the service manager listens for news of this process.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    #[cfg(target_os = "linux")]
    socket: std::os::unix::net::UnixDatagram,
    /// It takes the process for dead when it says nothing for so long.
    pub(crate) watchdog: Option<Duration>,
}

#[cfg(target_os = "linux")]
impl ServiceManager {
    /// That of this process; `None`: it was started by somebody else, or does not ask.
    pub(crate) fn of_this_process() -> Option<Self> {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::net::{SocketAddr, UnixDatagram};

        let path = std::env::var_os("NOTIFY_SOCKET")?;
        let addr = match path.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&path),
        };
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect_addr(&addr.ok()?).ok()?;
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        let is_meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|_| is_meant).map(Duration::from_micros);
        Some(Self { socket, watchdog: watchdog.filter(|time| !time.is_zero()) })
    }

    /// Says something, such as `READY=1`. Best effort: nobody can be told that it failed.
    pub(crate) fn say(&self, state: &str) {
        if let Err(error) = self.socket.send(state.as_bytes()) {
            tracing::warn!(%error, state, "the service manager cannot be told");
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl ServiceManager {
    /// There is none that is to be told anything.
    pub(crate) fn of_this_process() -> Option<Self> {
        None
    }

    /// Says something.
    pub(crate) fn say(&self, _state: &str) {}
}
