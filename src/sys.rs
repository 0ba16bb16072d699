//! What only the operating system can say or do, apart from files (`fs/`) and sockets (`quic/socket.rs`): one function each, the same on
//! every platform. Whoever brings lanspread to another system fills in `sys/other.rs`.

mod confine;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(not(any(target_os = "linux", target_os = "android", windows)))]
mod other;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod plain;
mod process;
mod service_manager;
mod signals;
mod timer;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(any(target_os = "linux", target_os = "android"))]
use linux as platform;
#[cfg(not(any(target_os = "linux", target_os = "android", windows)))]
use other as platform;
#[cfg(unix)]
use unix as family;
#[cfg(windows)]
use windows as family;
#[cfg(windows)]
use windows as platform;

pub use confine::Confinement;
pub(crate) use confine::confine;
pub(crate) use family::{handle_limit, is_no_handle, is_no_space, private_unless, sync_dir};
pub use platform::give_memory_back;
pub(crate) use platform::{
    cpu_seconds, cpu_seconds_of, default_routes, file_system_of, hostname, is_in_memory, is_wireless, keep_awake,
    lower_priority, state_base, this_program,
};
pub(crate) use process::{
    command_of, desktop, has_wine, in_own_group, leave_alone, needs_administrator, on_its_own, runs_as_service,
    show_on_desktop, starts_by_name,
};
pub(crate) use service_manager::ServiceManager;
pub(crate) use signals::SignalSource;
pub(crate) use timer::Wakeup;

/// The variable that names the user's home.
pub(crate) const HOME: &str = if cfg!(windows) { "USERPROFILE" } else { "HOME" };

/// Whether names of interfaces that say nothing else are those of cables.
pub(crate) const PLAIN_NAMES_ARE_WIRED: bool = cfg!(target_os = "linux");

/// What starts programs when a user logs in.
pub(crate) const AUTOSTART: Autostart = if cfg!(target_os = "linux") {
    Autostart::Systemd
} else if cfg!(windows) {
    Autostart::Registry
} else {
    Autostart::Unknown
};

/// What starts programs when a user logs in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Autostart {
    /// Units of the user's own systemd.
    Systemd,
    /// A list in the registry.
    Registry,
    /// Something that lanspread does not know.
    Unknown,
}

/// What matters of the file system that games are on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FileSystem {
    /// It takes no file of 4 GiB or more.
    Fat,
    /// On another PC.
    Network,
    /// None of these.
    Other,
}
