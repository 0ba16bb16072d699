//! What to do with what an interrupted operation left.
//!
//! [`recover`] decides: a total function of what the log says and what lies there, without a disk. [`recover_game`] looks,
//! carries the decision out step by step, and can itself be interrupted anywhere: the next run decides from what it finds.
//!
//! The table, for directories of lanspread's making (L = `local`, S = `.local.installing`, B = `.local.backup`):
//!
//! | intent | found | |
//! |---|---|---|
//! | installing | S | not complete: S goes |
//! | installing | L, no S | complete |
//! | updating | L, S | not complete: S goes, the old L stays |
//! | updating | B, no L | the old one comes back, S goes |
//! | updating | L, B, no S | complete: B goes |
//! | updating, swapped | B | complete: B goes |
//! | uninstalling | L, no B | not begun: L stays |
//! | uninstalling | B, no L | not looked at under its new name, as the user may have put it there: it comes back |
//! | uninstalling, set aside | B | B goes |
//! | adopting | | not complete: the number goes, L stays |
//! | none, removing | S or B | marked ones go (B only beside L), others are left alone |
//! | unreadable | | everything is left alone |
//!
//! B goes: what in it is the user's stays (keep.rs), under the name that the log has for that.
//!
//! A removal that was interrupted is ended by [`finish_removal`](super::finish_removal), which needs a list of the files.

use super::keep;
use super::log::{Intent, IntentLog, LOG};
use super::marker::{self, MARKER};
use super::owner;
use super::{BACKUP, INSTALL, STAGING};
use crate::faults::{self, Bug};
use crate::fs::{Dir, EntryKind, FsError};

/// What the log says, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LogState {
    /// It was read, or there is none.
    Known(Intent),
    /// It is there and cannot be read.
    Unreadable,
}

/// What has the name `local`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Local {
    /// Nothing.
    Absent,
    /// A directory.
    Dir,
    /// A file or a link: nothing that lanspread makes.
    Foreign,
}

/// What has the name of one of lanspread's own directories.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scratch {
    /// Nothing.
    Absent,
    /// A directory with the marker in it.
    Marked,
    /// A directory without.
    Unmarked,
    /// A file or a link: nothing that lanspread makes.
    Foreign,
}

/// What lies in a game's root.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Observed {
    /// `local`.
    pub local: Local,
    /// `.local.installing`.
    pub staging: Scratch,
    /// `.local.backup`.
    pub backup: Scratch,
}

/// The version that the log states when nothing is under way any more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Version {
    /// The one from before the operation.
    Old,
    /// The one that the operation was to install.
    New,
    /// There is no `local/`, or nobody knows what is in it.
    Unknown,
}

/// One thing to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// What is found now must be durable before something is done about it.
    SyncRoot,
    /// Takes the marker out of the backup and gives it its old name.
    RestoreBackup,
    /// Takes the marker of a staging directory out of what is `local/` now.
    UnmarkLocal,
    /// Takes the number of an adoption out of `local/`.
    Disown,
    /// Notes durably that the new `local/` is in its place.
    NoteSwapped,
    /// Deletes `.local.installing`.
    RemoveStaging,
    /// Deletes `.local.backup`.
    RemoveBackup,
    /// Notes durably that nothing is under way.
    Close(Version),
    /// Leaves this alone and says so.
    Leave(Left),
}

/// What is left alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Left {
    /// A log that cannot be read.
    Log,
    /// A staging directory that is not provably lanspread's.
    Staging,
    /// A backup that is not provably lanspread's, or without a `local/` beside it.
    Backup,
    /// Somebody put a new `local` beside the old one while an update was interrupted.
    TwoInstalls,
}

/// The steps after which the game is wholly in its old or its new state and nothing is under way.
pub fn recover(log: LogState, seen: &Observed) -> Vec<Step> {
    use Scratch::{Absent, Foreign, Marked, Unmarked};
    use Step::{Close, Disown, Leave, NoteSwapped, RemoveBackup, RemoveStaging, RestoreBackup, SyncRoot, UnmarkLocal};
    let LogState::Known(intent) = log else { return vec![Leave(Left::Log)] };
    let is_dir = |scratch| matches!(scratch, Marked | Unmarked);
    let (has_local, has_staging, has_backup) = (seen.local == Local::Dir, is_dir(seen.staging), is_dir(seen.backup));
    let mut steps = Vec::new();
    // What the intent proves to be lanspread's, marked or not.
    let (claims_staging, claims_backup) = match intent {
        Intent::None | Intent::Removing => (false, false),
        Intent::Installing => {
            if has_staging {
                steps.extend([RemoveStaging, SyncRoot, Close(Version::Unknown)]);
            } else if has_local {
                steps.extend([UnmarkLocal, SyncRoot, Close(Version::New)]);
            } else {
                steps.extend([SyncRoot, Close(Version::Unknown)]);
            }
            (true, false)
        }
        Intent::Updating { swapped: false } => {
            match (seen.local, has_backup, has_staging) {
                (Local::Foreign, true, _) | (Local::Dir, true, true) => return vec![Leave(Left::TwoInstalls)],
                (Local::Absent, true, true) => {
                    steps.extend([RestoreBackup, SyncRoot, RemoveStaging, SyncRoot, Close(Version::Old)]);
                }
                (Local::Absent, true, false) => steps.extend([RestoreBackup, SyncRoot, Close(Version::Old)]),
                (Local::Dir, true, false) => {
                    steps.extend([UnmarkLocal, SyncRoot, NoteSwapped, RemoveBackup, SyncRoot, Close(Version::New)]);
                }
                (_, false, _) => {
                    steps.extend(has_staging.then_some(RemoveStaging));
                    // What went into the backup may be durable while its new name is not.
                    steps.extend(has_local.then_some(UnmarkLocal));
                    steps.extend([SyncRoot, Close(if has_local { Version::Old } else { Version::Unknown })]);
                }
            }
            (true, true)
        }
        Intent::Updating { swapped: true } => {
            steps.extend(has_local.then_some(UnmarkLocal));
            steps.push(SyncRoot);
            if has_backup {
                steps.extend([RemoveBackup, SyncRoot]);
            }
            steps.push(Close(if has_local { Version::New } else { Version::Unknown }));
            (false, true)
        }
        Intent::Uninstalling { set_aside: false } => {
            match (seen.local, has_backup) {
                (Local::Dir | Local::Foreign, true) => return vec![Leave(Left::TwoInstalls)],
                (Local::Absent, true) => steps.extend([RestoreBackup, SyncRoot, Close(Version::Old)]),
                (_, false) => {
                    // What went into the backup may be durable while its new name is not.
                    steps.extend(has_local.then_some(UnmarkLocal));
                    steps.extend([SyncRoot, Close(if has_local { Version::Old } else { Version::Unknown })]);
                }
            }
            (false, true)
        }
        Intent::Uninstalling { set_aside: true } => {
            if has_backup {
                steps.extend([SyncRoot, RemoveBackup]);
            }
            steps.extend([SyncRoot, Close(Version::Unknown)]);
            (false, true)
        }
        Intent::Adopting => {
            // It is as easily asked for again, and until the log has the number it is nobody's.
            steps.extend(has_local.then_some(Disown));
            steps.extend([SyncRoot, Close(if has_local { Version::Old } else { Version::Unknown })]);
            (false, false)
        }
    };
    match seen.staging {
        Absent => {}
        Marked | Unmarked if claims_staging => {}
        Marked => steps.extend([RemoveStaging, SyncRoot]),
        Unmarked if faults::is(Bug::NoMarkerCheck) => steps.extend([RemoveStaging, SyncRoot]),
        Unmarked | Foreign => steps.push(Leave(Left::Staging)),
    }
    match seen.backup {
        Absent => {}
        Marked | Unmarked if claims_backup => {}
        Marked if has_local => steps.extend([RemoveBackup, SyncRoot]),
        Marked | Unmarked | Foreign => steps.push(Leave(Left::Backup)),
    }
    steps
}

/// What recovering a game came to, in words for the user.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovery {
    /// What was done; empty: there was nothing to do.
    pub done: Vec<String>,
    /// What was left alone, and what to do about it.
    pub left: Vec<String>,
}

/// What is known of a game before anything is done to it.
pub(super) struct Found {
    pub(super) log: LogState,
    pub(super) last: Option<IntentLog>,
    pub(super) seen: Observed,
    /// Why the log cannot be read.
    fault: Option<String>,
}

impl Found {
    /// Whether what is `local` now was installed, or adopted, by lanspread.
    pub(super) fn made_local(&self, root: &Dir) -> Result<bool, FsError> {
        Ok(faults::is(Bug::NoOwnerCheck) || owner::owns(root, INSTALL, self.last.as_ref())?)
    }

    /// Looks at four names; lists no directory.
    pub(super) fn look(root: &Dir) -> Result<Self, FsError> {
        let (log, last, fault) = match IntentLog::read(root)? {
            Ok(None) => (LogState::Known(Intent::None), None, None),
            Ok(Some(log)) => (LogState::Known(log.intent), Some(log), None),
            Err(e) => (LogState::Unreadable, None, Some(e.to_string())),
        };
        let local = match root.entry(INSTALL)?.map(|entry| entry.kind) {
            None => Local::Absent,
            Some(EntryKind::Dir) => Local::Dir,
            Some(_) => Local::Foreign,
        };
        let seen = Observed { local, staging: scratch(root, STAGING)?, backup: scratch(root, BACKUP)? };
        Ok(Self { log, last, seen, fault })
    }
}

/// Ends what was interrupted in the game whose root this is. Does nothing, and reads no directory, when nothing was.
///
/// # Errors
/// What the system says; what was done until then is as durable as the next run needs it.
pub fn recover_game(root: &Dir) -> Result<Recovery, FsError> {
    let found = Found::look(root)?;
    let mut recovery = Recovery::default();
    for step in recover(found.log, &found.seen) {
        take(root, &found, step)?;
        match step {
            Step::RestoreBackup => {
                let is_update = matches!(found.log, LogState::Known(Intent::Updating { .. }));
                let what = if is_update { "update" } else { "uninstall" };
                recovery.done.push(format!("an interrupted {what} was taken back"));
            }
            Step::RemoveStaging => recovery.done.push("the rest of an interrupted install was removed".to_owned()),
            Step::RemoveBackup => recovery.done.push("the old install was removed".to_owned()),
            Step::Close(Version::New) => recovery.done.push("the new install is complete".to_owned()),
            Step::Close(_) => recovery.done.push("an interrupted operation was ended".to_owned()),
            Step::SyncRoot | Step::UnmarkLocal | Step::Disown | Step::NoteSwapped => {}
            Step::Leave(left) => recovery.left.push(in_words(root, left, found.fault.as_deref())),
        }
    }
    Ok(recovery)
}

fn take(root: &Dir, found: &Found, step: Step) -> Result<(), FsError> {
    match step {
        Step::SyncRoot => root.sync(),
        Step::RestoreBackup => {
            marker::remove(root, BACKUP)?;
            root.rename(BACKUP, INSTALL)
        }
        Step::UnmarkLocal => marker::remove(root, INSTALL),
        Step::Disown => match &found.last {
            Some(log) => owner::take_back(root, log.op_id),
            None => Ok(()),
        },
        Step::NoteSwapped => match &found.last {
            Some(log) => IntentLog { intent: Intent::Updating { swapped: true }, ..log.clone() }.write(root),
            None => Ok(()),
        },
        Step::RemoveStaging => root.remove_tree(STAGING).map(drop),
        Step::RemoveBackup => keep::dispose(root, found.last.as_ref().and_then(|log| log.kept_as.as_deref())).map(drop),
        Step::Close(version) => match &found.last {
            Some(log) => close(root, log, version),
            None => Ok(()),
        },
        Step::Leave(_) => Ok(()),
    }
}

/// Notes durably that nothing is under way. With nothing to remember there is no log.
pub(super) fn close(root: &Dir, log: &IntentLog, version: Version) -> Result<(), FsError> {
    let (installed_version, installed_by) = match version {
        Version::Old => (log.installed_version.clone(), log.installed_by),
        Version::New => (log.next_version.clone(), Some(log.op_id)),
        Version::Unknown => (None, None),
    };
    if installed_version.is_none() && installed_by.is_none() {
        root.remove_file(LOG)?;
        return root.sync();
    }
    IntentLog {
        op_id: log.op_id,
        intent: Intent::None,
        installed_version,
        installed_by,
        next_version: None,
        kept_as: None,
    }
    .write(root)
}

fn scratch(root: &Dir, name: &str) -> Result<Scratch, FsError> {
    Ok(match root.entry(name)?.map(|entry| entry.kind) {
        None => Scratch::Absent,
        Some(EntryKind::Dir) if marker::is_in(root, name)? => Scratch::Marked,
        Some(EntryKind::Dir) => Scratch::Unmarked,
        Some(_) => Scratch::Foreign,
    })
}

fn in_words(root: &Dir, left: Left, fault: Option<&str>) -> String {
    let at = |name: &str| root.path().join(name).display().to_string();
    match left {
        Left::Log => format!(
            "{} cannot be read ({}); the game is left as it is: see that local/ is as it should be, then delete that file",
            at(LOG),
            fault.unwrap_or("for an unknown reason"),
        ),
        Left::Staging => format!("{} has no {MARKER} in it and is left alone: move it away or delete it", at(STAGING)),
        Left::Backup => {
            format!("{} may be somebody's install and is left alone: rename it to local, or delete it", at(BACKUP))
        }
        Left::TwoInstalls => format!(
            "{} and {} are both there after an interrupted operation; both are left alone: delete one of them",
            at(INSTALL),
            at(BACKUP)
        ),
    }
}
