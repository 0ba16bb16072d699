//! What a process that reads hostile input gives up before it looks at it.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What confines it on this PC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confinement {
    /// Landlock: it reads beneath one directory and writes beneath another, nothing else.
    Landlock,
    /// Only limits of memory and open files.
    Limits,
    /// A job object of Windows: a limit of memory, no further process; where it can be, neither clipboard nor windows of others.
    Job,
    /// It is a process of its own, no more.
    Process,
}

/// Confines this process, its thread and those that it starts from now on, for good: to reading beneath `root`, writing beneath
/// `staging`, and `max_memory` bytes beside what the program itself takes. The process must not have opened anything itself yet.
///
/// # Errors
/// When a limit that the system knows cannot be set.
pub(crate) fn confine(root: &Path, staging: Option<&Path>, max_memory: u64) -> io::Result<Confinement> {
    #[cfg(unix)]
    unix::limit(max_memory)?;
    #[cfg(target_os = "linux")]
    {
        linux::close_inherited();
        linux::landlock(root, staging)
    }
    #[cfg(windows)]
    {
        let _ = (root, staging);
        Ok(if windows::enter_job(max_memory) { Confinement::Job } else { Confinement::Process })
    }
    #[cfg(not(any(target_os = "linux", windows)))]
    {
        let _ = (root, staging);
        Ok(Confinement::Limits)
    }
}

#[cfg(unix)]
mod unix {
    use std::io;

    use rustix::process::{Resource, Rlimit, setrlimit};

    /// Address space of the program itself, its stacks and the allocator's reserves, in bytes.
    const OWN_MEMORY: u64 = 1 << 30;
    /// Files: the volumes of an archive and what is written.
    const MAX_FILES: u64 = 1024;
    /// Yields to the game that somebody plays.
    const NICE: i32 = 10;

    pub(super) fn limit(max_memory: u64) -> io::Result<()> {
        let most = |bytes: u64| Rlimit { current: Some(bytes), maximum: Some(bytes) };
        #[cfg(not(target_os = "openbsd"))]
        setrlimit(Resource::As, most(max_memory.saturating_add(OWN_MEMORY)))?;
        let files = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(MAX_FILES).min(MAX_FILES);
        setrlimit(Resource::Nofile, most(files))?;
        setrlimit(Resource::Core, most(0))?;
        // A wish: it matters to nobody's safety.
        let _ = rustix::process::nice(NICE);
        Ok(())
    }
}

#[cfg(windows)]
mod windows {
    use std::ffi::c_void;
    use std::os::windows::io::RawHandle;

    /// Memory of the program itself, in bytes.
    const OWN_MEMORY: u64 = 256 << 20;
    /// Classes of information about a job.
    const UI_RESTRICTIONS: i32 = 4;
    const EXTENDED_LIMITS: i32 = 9;
    /// All of them: handles, clipboard, system parameters, display, desktops, log-off, atoms.
    const ALL_RESTRICTIONS: u32 = 0xff;
    /// Which limits are set.
    const LIMIT_ACTIVE_PROCESSES: u32 = 0x8;
    const LIMIT_PRIORITY: u32 = 0x20;
    const LIMIT_PROCESS_MEMORY: u32 = 0x100;
    const DIE_ON_UNHANDLED_EXCEPTION: u32 = 0x400;
    /// Yields to the game that somebody plays.
    const BELOW_NORMAL_PRIORITY: u32 = 0x4000;

    /// `JOBOBJECT_BASIC_LIMIT_INFORMATION`.
    #[repr(C)]
    #[derive(Default)]
    struct BasicLimits {
        process_time: i64,
        job_time: i64,
        flags: u32,
        least_working_set: usize,
        most_working_set: usize,
        active_processes: u32,
        affinity: usize,
        priority: u32,
        scheduling: u32,
    }

    /// `JOBOBJECT_EXTENDED_LIMIT_INFORMATION`.
    #[repr(C)]
    #[derive(Default)]
    struct ExtendedLimits {
        basic: BasicLimits,
        io: [u64; 6],
        process_memory: usize,
        job_memory: usize,
        peak_process_memory: usize,
        peak_job_memory: usize,
    }

    /// Puts this process into a job of its own for good; false: the system refuses (Windows 7 inside another job).
    pub(super) fn enter_job(max_memory: u64) -> bool {
        let limits = ExtendedLimits {
            basic: BasicLimits {
                flags: LIMIT_ACTIVE_PROCESSES | LIMIT_PRIORITY | LIMIT_PROCESS_MEMORY | DIE_ON_UNHANDLED_EXCEPTION,
                active_processes: 1,
                priority: BELOW_NORMAL_PRIORITY,
                ..BasicLimits::default()
            },
            process_memory: usize::try_from(max_memory.saturating_add(OWN_MEMORY)).unwrap_or(usize::MAX),
            ..ExtendedLimits::default()
        };
        // A job with restrictions of windows cannot lie in another job, such as that of a terminal.
        [true, false].into_iter().any(|of_windows| enter(&limits, of_windows))
    }

    fn enter(limits: &ExtendedLimits, of_windows: bool) -> bool {
        // SAFETY: the structures are laid out as the system has them and outlive the calls, whose sizes are theirs. The handle of the job that
        // is entered stays open until the process ends.
        unsafe {
            let job = CreateJobObjectW(std::ptr::null(), std::ptr::null());
            if job.is_null() {
                return false;
            }
            let entered = set(job, EXTENDED_LIMITS, limits)
                && (!of_windows || set(job, UI_RESTRICTIONS, &ALL_RESTRICTIONS))
                && AssignProcessToJobObject(job, GetCurrentProcess()) != 0;
            if !entered {
                CloseHandle(job);
            }
            entered
        }
    }

    /// # Safety
    /// `T` is what the system expects of that class.
    unsafe fn set<T>(job: RawHandle, class: i32, information: &T) -> bool {
        let size = size_of::<T>() as u32;
        // SAFETY: of the caller.
        unsafe { SetInformationJobObject(job, class, std::ptr::from_ref(information).cast(), size) != 0 }
    }

    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn CreateJobObjectW(attributes: *const c_void, name: *const u16) -> RawHandle;
        fn SetInformationJobObject(job: RawHandle, class: i32, information: *const c_void, size: u32) -> i32;
        fn AssignProcessToJobObject(job: RawHandle, process: RawHandle) -> i32;
        fn GetCurrentProcess() -> RawHandle;
        fn CloseHandle(handle: RawHandle) -> i32;
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::path::Path;

    use landlock::{
        ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
        RulesetCreatedAttr, RulesetStatus, Scope,
    };

    use super::Confinement;

    /// Rights that newer kernels add are given up where the kernel knows them.
    const KNOWN: ABI = ABI::V6;

    /// What the parent left open by mistake, or had from its own parent, would be a way out: rights over files are asked
    /// for when they are opened. The standard streams stay.
    pub(super) fn close_inherited() {
        // SAFETY: the call takes no memory. This process, which only read its request, owns no descriptor beyond 2.
        let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
        if closed == 0 {
            return;
        }
        // Before Linux 5.9, where there is no Landlock either.
        let names = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let open: Vec<i32> = names.filter_map(|name| name.file_name().to_str()?.parse().ok()).collect();
        for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
            // SAFETY: as above; that of the listing is closed already.
            unsafe { libc::close(descriptor) };
        }
    }

    pub(super) fn landlock(root: &Path, staging: Option<&Path>) -> io::Result<Confinement> {
        let status = restrict(root, staging).map_err(io::Error::other)?;
        Ok(match status {
            RulesetStatus::NotEnforced => Confinement::Limits,
            RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced => Confinement::Landlock,
        })
    }

    fn restrict(
        root: &Path,
        staging: Option<&Path>,
    ) -> Result<RulesetStatus, Box<dyn std::error::Error + Send + Sync>> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write = read
            | AccessFs::WriteFile
            | AccessFs::Truncate
            | AccessFs::MakeReg
            | AccessFs::MakeDir
            | AccessFs::RemoveFile
            | AccessFs::RemoveDir;
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(KNOWN))?
            .handle_access(AccessNet::from_all(KNOWN))?
            .scope(Scope::from_all(KNOWN))?
            .create()?
            .add_rule(PathBeneath::new(PathFd::new(root)?, read))?;
        if let Some(staging) = staging {
            rules = rules.add_rule(PathBeneath::new(PathFd::new(staging)?, write))?;
        }
        Ok(rules.restrict_self()?.ruleset)
    }
}
