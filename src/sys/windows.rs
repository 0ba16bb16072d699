//! Windows.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

pub use super::plain::give_memory_back;
pub(crate) use super::plain::{
    cpu_seconds, cpu_seconds_of, default_routes, file_system_of, is_in_memory, is_wireless, this_program,
};

/// A game may be running on this machine: the calling thread gets what is left over.
pub(crate) fn lower_priority() {
    /// Processor, disk and memory at background priority, for the calling thread.
    const THREAD_MODE_BACKGROUND_BEGIN: i32 = 0x0001_0000;
    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GetCurrentThread() -> std::os::windows::io::RawHandle;
        fn SetThreadPriority(thread: std::os::windows::io::RawHandle, priority: i32) -> i32;
    }
    // SAFETY: the pseudo-handle of the calling thread is always valid. A refusal is harmless.
    unsafe { SetThreadPriority(GetCurrentThread(), THREAD_MODE_BACKGROUND_BEGIN) };
}

/// Keeps the PC from going to sleep by itself until it is called with false, or the calling thread ends. The screen may go dark.
pub(crate) fn keep_awake(awake: bool) {
    const ES_SYSTEM_REQUIRED: u32 = 1;
    const ES_CONTINUOUS: u32 = 0x8000_0000;
    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn SetThreadExecutionState(flags: u32) -> u32;
    }
    let flags = if awake { ES_CONTINUOUS | ES_SYSTEM_REQUIRED } else { ES_CONTINUOUS };
    // SAFETY: the call takes a number. A refusal is harmless.
    unsafe { SetThreadExecutionState(flags) };
}

/// The PC's name, without asking the network. `env` reads the environment.
pub(crate) fn hostname(env: impl Fn(&str) -> Option<OsString>) -> Option<String> {
    env("COMPUTERNAME").and_then(|name| name.into_string().ok())
}

/// Where programs keep their state. `dir` reads an absolute path from the environment.
pub(crate) fn state_base(dir: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    dir("LOCALAPPDATA")
}

/// A directory cannot be opened as a file there; the file system journals names in order.
pub(crate) fn sync_dir(_: &Path) -> io::Result<()> {
    Ok(())
}

/// The user's own directories are closed to others already.
pub(crate) fn private_unless(_: bool, _: &mut tempfile::Builder<'_, '_>) {}

/// Whether this is the number of the error that there is no more room for a watch.
pub(crate) fn is_no_space(_: Option<i32>) -> bool {
    false
}

/// Whether this is the number of the error that too much is open.
pub(crate) fn is_no_handle(_: Option<i32>) -> bool {
    false
}

/// How many files this process may have open at once: as many as memory holds.
pub(crate) fn handle_limit() -> Option<u64> {
    None
}

/// Whether this process runs where services do, which nobody sees.
pub(super) fn is_in_session_zero() -> bool {
    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GetCurrentProcessId() -> u32;
        fn ProcessIdToSessionId(process: u32, session: *mut u32) -> i32;
    }
    let mut session = u32::MAX;
    // SAFETY: `session` is a place for the answer.
    unsafe { ProcessIdToSessionId(GetCurrentProcessId(), &mut session) != 0 && session == 0 }
}
