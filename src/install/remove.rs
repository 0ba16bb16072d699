//! Taking a game off the disk.

use std::collections::BTreeSet;

use super::planted::{self, Bug};
use super::recover::{Found, LogState, Scratch};
use super::{BACKUP, INSTALL, Intent, LOG, Local, STAGING};
use crate::fs::{Dir, FsError};
use crate::types::{GameId, JobError, JobErrorKind, Manifest, RelPath};

/// The sentinel: a game that has it is complete.
const SENTINEL: &str = "version.ini";
/// The sentinel while it is doubtful; swept at the next start, never restored.
const DISCARDED: &str = ".version.ini.discarded";

/// Removes the downloaded files of a game: first `version.ini`, durably, then every other file of `manifest`, which must
/// be a fresh listing; then the directories that are empty now, and the root if nothing else lies in it. What is not
/// listed stays.
///
/// # Errors
/// [`JobErrorKind::InUse`], with nothing changed, while the game is installed or an operation on it is not ended. What the
/// system says: as long as no file is gone the sentinel comes back, afterwards the game is incomplete and without one.
pub fn remove(game_dir: &Dir, game: &GameId, manifest: &Manifest) -> Result<(), JobError> {
    let root = game_dir.subdir(game.as_str())?;
    refuse_if_used(&root, game)?;
    let has_sentinel = root.exists(SENTINEL)?;
    if has_sentinel {
        root.rename(SENTINEL, DISCARDED)?;
    }
    let mut removed = false;
    if let Err(error) = remove_files(&root, manifest, &mut removed) {
        if has_sentinel && !removed {
            // Every byte that it speaks for is still there.
            let _ = root.rename(DISCARDED, SENTINEL).and_then(|()| root.sync());
        }
        return Err(error.into());
    }
    root.remove_file(DISCARDED)?;
    // Of an install that somebody deleted by hand.
    root.remove_file(LOG)?;
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
    } else if found.log != LogState::Known(Intent::None) {
        format!("an operation on {game} was not ended: {} is there", at(LOG))
    } else {
        return Ok(());
    };
    Err(JobError::new(JobErrorKind::InUse, reason))
}

fn remove_files(root: &Dir, manifest: &Manifest, removed: &mut bool) -> Result<(), FsError> {
    if !planted::is(Bug::NoSentinelSync) {
        root.sync()?;
    }
    let files = || manifest.files().iter().map(|file| &file.path).filter(|path| path.as_str() != SENTINEL);
    for path in files() {
        // Also when it failed: nobody knows what it did.
        *removed = true;
        root.remove_file_beneath(path)?;
    }
    let mut dirs: BTreeSet<RelPath> = BTreeSet::new();
    for path in files() {
        dirs.extend(std::iter::successors(path.parent(), RelPath::parent));
    }
    for dir in dirs.iter().rev() {
        if !root.remove_dir_if_empty(dir)? {
            match root.open_dir(dir) {
                // Somebody else's files keep it.
                Ok(dir) => dir.sync()?,
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}
