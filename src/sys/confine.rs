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
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (root, staging, max_memory);
        Ok(if cfg!(unix) { Confinement::Limits } else { Confinement::Process })
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
