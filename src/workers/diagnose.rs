//! What is wrong with the disk of the games, and with what the system lets this process have.

use crate::fs::Dir;
use crate::sys;
use crate::types::{Finding, FindingCode};

/// Less than this is little for games, in bytes.
const LITTLE_SPACE: u64 = 2 << 30;
/// Fewer open files than this are few for many peers and large games.
const FEW_HANDLES: u64 = 1024;
/// The program is younger than this: seconds from 1970 to 2025.
const EARLIEST_NOW: u64 = 1_735_689_600;
/// And will hardly be used so late: to 2100.
const LATEST_NOW: u64 = 4_102_444_800;

/// Looks at `dir`, where the games are, if it is there.
pub(super) fn diagnose(dir: Option<&Dir>, now_seconds: u64) -> Vec<Finding> {
    let mut found = dir.map(disk).unwrap_or_default();
    found.extend(handles(sys::handle_limit()));
    found.extend(clock(now_seconds));
    found
}

fn disk(dir: &Dir) -> Vec<Finding> {
    let path = dir.path().display();
    let mut found = Vec::new();
    if let Some(free) = dir.free_bytes().ok().filter(|free| *free < LITTLE_SPACE) {
        let message = format!("{} MiB are free where the games are, in {path}", free >> 20);
        let remedy = "remove games that nobody needs (lanspread remove GAME), or name a directory on another disk with --game-dir";
        found.push(Finding::new(FindingCode::DiskNearlyFull, message, remedy));
    }
    match sys::file_system_of(dir.path()) {
        Some(sys::FileSystem::Fat) => {
            let message = format!("{path} is on FAT, which takes no file of 4 GiB or more");
            let remedy = "name a directory on another disk with --game-dir, or format this one as exFAT or NTFS";
            found.push(Finding::new(FindingCode::LargeFilesRefused, message, remedy));
        }
        Some(sys::FileSystem::Network) => {
            let message = format!(
                "{path} is on a network drive: every byte goes through the LAN twice, and changes are noticed late"
            );
            found.push(Finding::new(
                FindingCode::NetworkDrive,
                message,
                "name a directory on a disk of this PC with --game-dir",
            ));
        }
        Some(sys::FileSystem::Other) | None => {}
    }
    found
}

fn handles(limit: Option<u64>) -> Option<Finding> {
    let limit = limit.filter(|limit| *limit < FEW_HANDLES)?;
    let message = format!("the daemon may have {limit} files open at once");
    let remedy = format!("raise the limit before it starts: ulimit -n {}", 4 * FEW_HANDLES);
    Some(Finding::new(FindingCode::FewHandles, message, remedy))
}

fn clock(now_seconds: u64) -> Option<Finding> {
    if (EARLIEST_NOW..LATEST_NOW).contains(&now_seconds) {
        return None;
    }
    let message = "the clock of this PC is years off: servers with certificates refuse it, and new files look old";
    Some(Finding::new(FindingCode::ClockWrong, message, "set date and time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_handles_and_a_clock_that_is_years_off_are_found() {
        assert_eq!(handles(Some(64)).unwrap().code, FindingCode::FewHandles);
        assert_eq!((handles(Some(FEW_HANDLES)), handles(None)), (None, None));
        for (seconds, wrong) in
            [(0, true), (EARLIEST_NOW - 1, true), (EARLIEST_NOW, false), (1_900_000_000, false), (LATEST_NOW, true)]
        {
            assert_eq!(clock(seconds).is_some(), wrong, "{seconds}");
        }
    }
}
