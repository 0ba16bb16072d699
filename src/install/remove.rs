//! Taking a game off the disk.

use std::collections::BTreeSet;

use super::recover::{Found, LogState, Scratch};
use super::{BACKUP, INSTALL, Intent, IntentLog, LOG, Local, STAGING, describes_mirror, new_op_id};
use crate::faults::{self, Bug};
use crate::fs::{Dir, Entry, EntryKind, FsError};
use crate::types::{
    DISCARDED_SENTINEL, GameId, JobError, JobErrorKind, MAX_ENTRIES, MIRROR_MANIFEST, Manifest, RelPath, SENTINEL,
};

/// Removes the downloaded files of a game: first the intent is noted, then `version.ini` goes, durably, then every other
/// file of `manifest`, which must be what proves to be lanspread's; then the directories that are empty now, and the root if
/// nothing else lies in it. What is not listed stays; a `version.ini` that is not becomes `version.ini.mine`. Without one it is
/// what a download left, and goes likewise.
///
/// # Errors
/// [`JobErrorKind::InUse`], with nothing changed, while the game is installed or an operation on it is not ended. What the
/// system says: as long as no file is gone the sentinel comes back; afterwards the game is without one, and the next
/// start goes on with the removal.
pub fn remove(game_dir: &Dir, game: &GameId, manifest: &Manifest) -> Result<(), JobError> {
    let root = game_dir.subdir(game.as_str())?;
    refuse_if_used(&root, game)?;
    let log = IntentLog {
        op_id: new_op_id()?,
        intent: Intent::Removing,
        installed_version: None,
        installed_by: None,
        next_version: None,
        kept_as: None,
    };
    let aside = if !root.exists(SENTINEL)? {
        None
    } else if manifest.files().iter().any(|file| file.path.as_str() == SENTINEL) {
        Some(DISCARDED_SENTINEL.to_owned())
    } else {
        Some(root.name_aside(SENTINEL, |_| false)?)
    };
    let mut removed = false;
    if let Err(error) = begin(&root, &log, aside.as_deref()).and_then(|()| remove_files(&root, manifest, &mut removed))
    {
        if let Some(aside) = aside.filter(|_| !removed) {
            // Every byte that it speaks for is still there.
            let _ = restore(&root, &aside);
        }
        return Err(error.into());
    }
    Ok(end(game_dir, game, root)?)
}

/// Ends the removal of a game that was interrupted, if one was: goes on where the sentinel has gone already, takes the
/// intent back where it has not, or where there is a `local` by now. `list` makes a fresh list of the game's files.
/// Returns what was done, in words, if anything.
///
/// # Errors
/// What `list` returns and what the system says; then the intent stays.
pub fn finish_removal(
    game_dir: &Dir,
    game: &GameId,
    list: impl FnOnce() -> Result<Manifest, JobError>,
) -> Result<Option<&'static str>, JobError> {
    let root = game_dir.subdir(game.as_str())?;
    let found = Found::look(&root)?;
    if found.log != LogState::Known(Intent::Removing) {
        return Ok(None);
    }
    let is_free = found.seen.local == Local::Absent
        && found.seen.staging == Scratch::Absent
        && found.seen.backup == Scratch::Absent;
    if root.exists(SENTINEL)? || !is_free {
        // A sentinel that was found may be there without being durable: without the intent nobody would ask again.
        root.sync()?;
        root.remove_file(LOG)?;
        root.sync()?;
        return Ok(Some("an interrupted removal was taken back"));
    }
    let manifest = list()?;
    sync_end_of_sentinel(&root)?;
    remove_files(&root, &manifest, &mut false)?;
    end(game_dir, game, root)?;
    Ok(Some("an interrupted removal was finished"))
}

/// The game is downloaded again: a removal that failed half-way is not to be gone on with. Durable when the caller syncs
/// the root.
pub fn forget_removal(root: &Dir) -> Result<(), FsError> {
    if let Ok(Some(IntentLog { intent: Intent::Removing, .. })) = IntentLog::read(root)? {
        root.remove_file(LOG)?;
    }
    Ok(())
}

fn begin(root: &Dir, log: &IntentLog, aside: Option<&str>) -> Result<(), FsError> {
    if !faults::is(Bug::NoIntent) {
        log.write(root)?;
    }
    if let Some(aside) = aside {
        root.rename(SENTINEL, aside)?;
        sync_end_of_sentinel(root)?;
    }
    Ok(())
}

/// Before the first file goes: else a power cut could bring the sentinel back beside what is left.
fn sync_end_of_sentinel(root: &Dir) -> Result<(), FsError> {
    if faults::is(Bug::NoSentinelSync) { Ok(()) } else { root.sync() }
}

fn restore(root: &Dir, aside: &str) -> Result<(), FsError> {
    if root.exists(aside)? && !root.exists(SENTINEL)? {
        root.rename(aside, SENTINEL)?;
    }
    // The sentinel's name before the intent goes, which would bring it back.
    root.sync()?;
    root.remove_file(LOG)?;
    root.sync()
}

/// Every file is gone. The intent goes when that is durable.
fn end(game_dir: &Dir, game: &GameId, root: Dir) -> Result<(), FsError> {
    root.remove_file(DISCARDED_SENTINEL)?;
    if describes_mirror(&root)? {
        // It describes what is not there any more.
        root.remove_file(MIRROR_MANIFEST)?;
    }
    root.sync()?;
    root.remove_file(LOG)?;
    forget_desktops(&root)?;
    root.sync()?;
    drop(root);
    if game_dir.remove_subdir_if_empty(game.as_str())? {
        game_dir.sync()?;
    }
    Ok(())
}

fn refuse_if_used(root: &Dir, game: &GameId) -> Result<(), JobError> {
    let found = Found::look(root)?;
    let at = |name: &str| root.path().join(name).display().to_string();
    let reason = if found.seen.local != Local::Absent {
        format!("{game} is installed: uninstall it first ({} is there)", at(INSTALL))
    } else if found.seen.staging != Scratch::Absent {
        format!("the files of {game} are in use: {} is there", at(STAGING))
    } else if found.seen.backup != Scratch::Absent {
        format!("the files of {game} are in use: {} is there", at(BACKUP))
    } else if !matches!(found.log, LogState::Known(Intent::None | Intent::Removing)) {
        format!("an operation on {game} was not ended: {} is there", at(LOG))
    } else {
        return Ok(());
    };
    Err(JobError::new(JobErrorKind::InUse, reason))
}

fn remove_files(root: &Dir, manifest: &Manifest, removed: &mut bool) -> Result<(), FsError> {
    let files = || manifest.files().iter().map(|file| &file.path).filter(|path| path.as_str() != SENTINEL);
    for path in files() {
        // Also when it failed: nobody knows what it did.
        *removed = true;
        root.remove_file_beneath(path)?;
    }
    // Those that a download made for files which never came have none that would name them.
    let mut dirs = directories(root)?;
    for path in files() {
        dirs.extend(std::iter::successors(path.parent(), RelPath::parent));
    }
    remove_empty(root, &dirs)
}

/// Removes those of `dirs` that are empty, and makes durable what was removed from the others. With every directory come those above
/// it.
pub(super) fn remove_empty(root: &Dir, dirs: &BTreeSet<RelPath>) -> Result<(), FsError> {
    for path in dirs.iter().rev() {
        if root.remove_dir_if_empty(path)? {
            continue;
        }
        let dir = match root.open_dir(path) {
            Ok(dir) => dir,
            Err(e) if e.is_not_found() => continue,
            Err(e) => return Err(e),
        };
        forget_desktops(&dir)?;
        if dir.entries()?.is_empty() {
            // An open directory cannot be removed on Windows.
            drop(dir);
            if root.remove_dir_if_empty(path)? {
                continue;
            }
            match root.open_dir(path) {
                Ok(dir) => dir.sync()?,
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
        } else {
            // Somebody else's files keep it.
            dir.sync()?;
        }
    }
    Ok(())
}

/// What a desktop put into a folder that holds nothing else does not keep the folder.
fn forget_desktops(dir: &Dir) -> Result<(), FsError> {
    let entries = dir.entries()?;
    if entries.iter().all(Entry::is_of_a_desktop) {
        entries.iter().filter_map(|entry| entry.name.to_str()).try_for_each(|name| dir.remove_file(name).map(drop))?;
    }
    Ok(())
}

/// Every directory beneath the root but the reserved ones, such as `local`.
fn directories(root: &Dir) -> Result<BTreeSet<RelPath>, FsError> {
    let beneath = |parent: Option<&RelPath>, dir: &Dir| -> Result<Vec<RelPath>, FsError> {
        let dirs = dir.entries()?.into_iter().filter(|entry| entry.kind == EntryKind::Dir);
        let path = |name: &str| match parent {
            Some(parent) => RelPath::parse(&format!("{parent}/{name}")),
            None => RelPath::parse(name),
        };
        // What no list could name was not made by a download.
        Ok(dirs.filter_map(|entry| path(entry.name.to_str()?).ok()).collect())
    };
    let mut open = beneath(None, root)?;
    let mut found = BTreeSet::new();
    while let Some(path) = open.pop() {
        if found.len() >= MAX_ENTRIES {
            break;
        }
        match root.open_dir(&path) {
            Ok(dir) => open.extend(beneath(Some(&path), &dir)?),
            Err(e) if e.is_not_found() => continue,
            Err(e) => return Err(e),
        }
        found.insert(path);
    }
    Ok(found)
}
