//! Windows.

use std::ffi::OsString;
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::FileSystem;
pub use super::plain::give_memory_back;
pub(crate) use super::plain::{cpu_seconds, cpu_seconds_of, default_routes, is_in_memory, is_wireless, this_program};

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

/// Makes the names in a directory durable, as far as the file system takes that (as `fs/windows.rs` does, by a handle).
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    /// `FILE_FLAG_BACKUP_SEMANTICS`.
    const OPENS_DIRECTORIES: u32 = 0x0200_0000;
    if let Ok(dir) = std::fs::File::options().write(true).custom_flags(OPENS_DIRECTORIES).open(dir) {
        let _ = dir.sync_all();
    }
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

/// The file system that a directory is on.
pub(crate) fn file_system_of(dir: &Path) -> Option<FileSystem> {
    const DRIVE_REMOTE: u32 = 4;
    const LONGEST: usize = 1024;
    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GetVolumePathNameW(path: *const u16, root: *mut u16, len: u32) -> i32;
        fn GetDriveTypeW(root: *const u16) -> u32;
        fn GetVolumeInformationW(
            root: *const u16,
            name: *mut u16,
            name_len: u32,
            serial: *mut u32,
            component_len: *mut u32,
            flags: *mut u32,
            system: *mut u16,
            system_len: u32,
        ) -> i32;
    }
    let path: Vec<u16> = dir.as_os_str().encode_wide().chain([0]).collect();
    let (mut root, mut system) = ([0u16; LONGEST], [0u16; LONGEST]);
    // SAFETY: the path ends in a NUL, both buffers are as long as is said and are filled up to a NUL; what is not asked for may be null.
    let told = unsafe {
        if GetVolumePathNameW(path.as_ptr(), root.as_mut_ptr(), LONGEST as u32) == 0 {
            return None;
        }
        if GetDriveTypeW(root.as_ptr()) == DRIVE_REMOTE {
            return Some(FileSystem::Network);
        }
        let (system, len) = (system.as_mut_ptr(), LONGEST as u32);
        GetVolumeInformationW(
            root.as_ptr(),
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            system,
            len,
        )
    };
    let name: Vec<u16> = system.iter().copied().take_while(|unit| *unit != 0).collect();
    let is_fat = String::from_utf16_lossy(&name).starts_with("FAT");
    (told != 0).then_some(if is_fat { FileSystem::Fat } else { FileSystem::Other })
}
