//! Linux.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::FileSystem;

/// A game may be running on this machine: the calling thread gets what is left over.
pub(crate) fn lower_priority() {
    const LOWEST: i32 = 19;
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    const IOPRIO_CLASS_IDLE: libc::c_int = 3 << 13;
    // SAFETY: both calls take numbers only. On Linux, 0 means the calling thread alone in both. A refusal is harmless.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, LOWEST);
        libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_CLASS_IDLE);
    }
}

/// Makes the allocator hand memory back to the system soon, at no measurable cost (docs/BENCHMARKS.md). For the whole process; before its first
/// thread. A library must not decide that for its program.
///
/// The allocator of glibc keeps eight arenas a core, and raises the size from which it asks the system for a block of its own with each such block
/// that is freed: after one long list of files everything that was ever needed at once stays, in each thread's arena.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    {
        const OWN_BLOCK_FROM: libc::c_int = 256 << 10;
        const ARENAS: libc::c_int = 2;
        // SAFETY: both calls take numbers only. A refusal is harmless.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_BLOCK_FROM);
            libc::mallopt(libc::M_ARENA_MAX, ARENAS);
        }
    }
}

/// CPU seconds of the process and of the calling thread, where the system tells.
pub(crate) fn cpu_seconds() -> (Option<f64>, Option<f64>) {
    use rustix::time::{ClockId, clock_gettime};
    let seconds = |clock| {
        let time = clock_gettime(clock);
        Some(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
    };
    (seconds(ClockId::ProcessCPUTime), seconds(ClockId::ThreadCPUTime))
}

/// CPU seconds of another process. From the fields utime and stime of /proc/PID/stat (proc(5)), which count in units of 1/100 s on every
/// Linux that Rust runs on (USER_HZ).
pub(crate) fn cpu_seconds_of(pid: u32) -> Option<f64> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(stat: &str) -> Option<f64> {
    // The second field, the program's name in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) as f64 / 100.0)
}

/// The file system that a directory is on, by the magic numbers of statfs(2) and linux/magic.h.
pub(crate) fn file_system_of(dir: &Path) -> Option<FileSystem> {
    const MSDOS: u64 = 0x4d44;
    const NETWORK: [u64; 6] = [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x517b, 0x564c, 0x0102_1997];
    let kind = rustix::fs::statfs(dir).ok()?.f_type as u64 & 0xffff_ffff;
    Some(match kind {
        MSDOS => FileSystem::Fat,
        kind if NETWORK.contains(&kind) => FileSystem::Network,
        _ => FileSystem::Other,
    })
}

/// Names of the interfaces that default routes of IPv4 lead over, the preferred one first. A VPN often makes two routes of half the
/// addresses each instead.
pub(crate) fn default_routes() -> Vec<String> {
    parse_routes(&std::fs::read_to_string("/proc/net/route").unwrap_or_default())
}

fn parse_routes(table: &str) -> Vec<String> {
    let mut routes: Vec<(bool, u32, String)> = Vec::new();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[name, to, _, _, _, _, metric, mask, ..] = &fields[..] else { continue };
        let (Ok(to), Ok(mask)) = (u32::from_str_radix(to, 16), u32::from_str_radix(mask, 16)) else { continue };
        // As the network orders them, printed as a number of this machine.
        let (to, bits) = (u32::from_be(to), mask.count_ones());
        let is_half = bits == 1 && (to == 0 || to == 0x8000_0000);
        if (bits == 0 && to == 0) || is_half {
            routes.push((!is_half, metric.parse().unwrap_or(u32::MAX), name.to_owned()));
        }
    }
    routes.sort();
    routes.into_iter().map(|(_, _, name)| name).collect()
}

/// Whether the PC sleeps while games move is left to its user.
pub(crate) fn keep_awake(_: bool) {}

/// The PC's name, without asking the network. `env` reads the environment.
pub(crate) fn hostname(_: impl Fn(&str) -> Option<OsString>) -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/hostname").ok()
}

/// Where programs keep their state. `dir` reads an absolute path from the environment.
pub(crate) fn state_base(dir: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    dir("XDG_STATE_HOME").or_else(|| dir("HOME").map(|home| home.join(".local/state")))
}

/// The file of the program that runs. The link leads to it also when an update has replaced that file.
pub(crate) fn this_program() -> io::Result<PathBuf> {
    Ok(PathBuf::from("/proc/self/exe"))
}

/// Whether a directory lies in memory: `TMPFS_MAGIC` of statfs(2).
pub(crate) fn is_in_memory(dir: &Path) -> bool {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    rustix::fs::statfs(dir).is_ok_and(|stat| stat.f_type as u64 == TMPFS_MAGIC)
}

/// Whether the interface of this name is known to be a wireless one.
pub(crate) fn is_wireless(name: &str) -> bool {
    let device = Path::new("/sys/class/net").join(name);
    // The first is there with every driver, the second with old ones as well.
    device.join("phy80211").exists() || device.join("wireless").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_default_route_is_first_and_two_halves_come_before_it() {
        let head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n";
        let lan = "eth0 0000A8C0 00000000 0001 0 0 100 00FFFFFF 0 0 0\n";
        let wired = "eth0 00000000 0100A8C0 0003 0 0 100 00000000 0 0 0\n";
        let wifi = "wlan0 00000000 0100A8C0 0003 0 0 600 00000000 0 0 0\n";
        let halves =
            "tun0 00000000 0108000A 0003 0 0 0 00000080 0 0 0\ntun0 00000080 0108000A 0003 0 0 0 00000080 0 0 0\n";
        assert_eq!(parse_routes(&format!("{head}{lan}{wifi}{wired}")), ["eth0", "wlan0"]);
        assert_eq!(parse_routes(&format!("{head}{wired}{halves}{lan}")), ["tun0", "tun0", "eth0"]);
        assert_eq!(parse_routes(&format!("{head}{lan}rubbish\n")), Vec::<String>::new());
    }

    #[test]
    fn cpu_time_is_found_behind_any_program_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 100 1 1";
        assert_eq!(parse_stat(stat), Some(3.0));
        assert_eq!(parse_stat("7 (a) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }
}
