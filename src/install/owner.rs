//! The proof that a `local/` was installed, or adopted, by lanspread: a file in it that holds the number of the operation,
//! and the same number in the log beside it. Either alone proves nothing: a log outlives a `local/` that somebody deleted and
//! made anew, and a file is copied with the folder it lies in.

use super::inventory::{self, Contents};
use super::log::{Intent, IntentLog, OpId};
use super::{INSTALL, not_ours};
use crate::faults::{self, Bug};
use crate::fs::{Dir, EntryKind, FsError};
use crate::types::{JobError, JobErrorKind, RelPath};

/// The file's name in `local/`.
pub(crate) const NUMBER: &str = ".lanspread_installed";
/// What an interrupted [`replace`] leaves.
pub(super) const NUMBER_TMP: &str = ".lanspread_installed.tmp";
/// 16 hexadecimal digits and a line feed. The list of what an installation made may follow.
pub(super) const NUMBER_BYTES: usize = 17;

/// Puts the number into a directory that an installation has filled, and behind it the list of what is there (inventory.rs). The file's name is durable
/// when the directory was flushed.
///
/// # Errors
/// What the system says.
pub fn put_number(staging: &Dir, op: OpId) -> Result<(), FsError> {
    if faults::is(Bug::NoNumber) {
        return Ok(());
    }
    staging.write_new(NUMBER, &[encode(op), inventory::encode(&Contents::of(staging)?.files)].concat())
}

/// Puts the number into the `local/` that is there, durably, in place of another one.
///
/// # Errors
/// [`JobErrorKind::NotOurs`] when something else has the name; what the system says.
pub(super) fn replace(root: &Dir, op: OpId) -> Result<(), JobError> {
    let local = root.subdir(INSTALL)?;
    if local.exists(NUMBER)? && read(root, INSTALL)?.is_none() {
        let at = local.path().join(NUMBER);
        let message = format!("{} was not made by lanspread: move it away, then try again", at.display());
        return Err(JobError::new(JobErrorKind::NotOurs, message));
    }
    if faults::is(Bug::NoNumberSync) {
        local.write_new(NUMBER_TMP, &encode(op))?;
        return Ok(local.rename(NUMBER_TMP, NUMBER)?);
    }
    Ok(local.replace_file(NUMBER, &encode(op))?)
}

/// Takes the number of `op` out of `local/` again, durably. Another one stays.
pub(super) fn take_back(root: &Dir, op: OpId) -> Result<(), FsError> {
    let local = root.subdir(INSTALL)?;
    if read(root, INSTALL)? == Some(op) {
        local.remove_file(NUMBER)?;
    }
    local.remove_file(NUMBER_TMP)?;
    // Also when there was nothing: an earlier attempt may have failed just here.
    local.sync()
}

/// The number in the directory `name` of `root`; `None`: there is none, or something else has its name.
pub(super) fn read(root: &Dir, name: &str) -> Result<Option<OpId>, FsError> {
    let dir = root.subdir(name)?;
    if dir.entry(NUMBER)?.is_none_or(|entry| entry.kind != EntryKind::File || entry.size < NUMBER_BYTES as u64) {
        return Ok(None);
    }
    let Ok(path) = RelPath::parse_unreserved(NUMBER) else { return Ok(None) };
    let mut bytes = [0; NUMBER_BYTES];
    let read = dir.open_read(&path)?.read_at(&mut bytes, 0)?;
    Ok(bytes.get(..read).and_then(decode))
}

/// Whether the directory `name` of `root`, which was `local/` before an operation that has this log, is lanspread's.
pub(super) fn owns(root: &Dir, name: &str, log: Option<&IntentLog>) -> Result<bool, FsError> {
    let Some(number) = log.and_then(|log| log.installed_by) else { return Ok(false) };
    Ok(read(root, name)? == Some(number))
}

/// The same at the last moment before the directory is deleted: a long time may have passed, and others have hands, too.
pub(super) fn check_again(root: &Dir, name: &str, log: &IntentLog) -> Result<(), JobError> {
    let skips = faults::is(Bug::NoOwnerCheck) || faults::is(Bug::OwnerCheckedOnce);
    if skips || owns(root, name, Some(log))? { Ok(()) } else { Err(not_ours(root)) }
}

/// Whose `local/` is, as [`made_by_lanspread`] finds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Made {
    /// Lanspread's, in this version, if that is known.
    Here(Option<String>),
    /// Nothing proves that.
    Elsewhere,
}

/// Who made the `local/` of the game whose root this is, and in which version. It is there.
///
/// # Errors
/// Only when the system is short of memory or handles; what else cannot be read proves nothing.
pub fn made_by_lanspread(root: &Dir, log: Option<&IntentLog>) -> Result<Made, FsError> {
    let Some(log) = log else { return Ok(Made::Elsewhere) };
    let number = match read(root, INSTALL) {
        Ok(Some(number)) => number,
        Ok(None) => return Ok(Made::Elsewhere),
        Err(e) if e.is_exhaustion() => return Err(e),
        Err(_) => return Ok(Made::Elsewhere),
    };
    // The new one is in its place, and only the end of its operation is still to come.
    let swapped = matches!(log.intent, Intent::Installing | Intent::Updating { .. }) && number == log.op_id;
    Ok(match swapped {
        true => Made::Here(log.next_version.clone()),
        false if log.installed_by == Some(number) => Made::Here(log.installed_version.clone()),
        false => Made::Elsewhere,
    })
}

fn encode(op: OpId) -> Vec<u8> {
    format!("{:016x}\n", op.0).into_bytes()
}

fn decode(bytes: &[u8]) -> Option<OpId> {
    let digits = bytes.strip_suffix(b"\n")?;
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != NUMBER_BYTES - 1 || !digits.iter().all(is_hex) {
        return None;
    }
    u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok().map(OpId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_sixteen_digits_and_nothing_else() {
        for op in [0, 7, u64::MAX, 0x0123_4567_89ab_cdef] {
            assert_eq!(decode(&encode(OpId(op))), Some(OpId(op)));
        }
        let not: [&[u8]; 6] =
            [b"", b"\n", b"000000000000007\n", b"+000000000000007\n", b"000000000000000A\n", b"0000000000000007 "];
        for bytes in not {
            assert_eq!(decode(bytes), None, "{bytes:?}");
        }
    }
}
