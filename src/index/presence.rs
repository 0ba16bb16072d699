//! Whether the game directory is still there: drives are pulled, network drives go, file systems end after an error, and a drive
//! that is mounted late lies over the directory that a daemon opened before.
//!
//! The handles that a [`GameDir`] holds lead to the old directory whatever becomes of its path, so both are looked at. A directory
//! in the place of one that went is taken only if it is the library that was there or holds a game: the empty directory below
//! a mount point is no library.

use std::path::Path;

use super::{GameDir, INDEX, META, PROBE, absolute, lock, store};
use crate::fs::{Dir, EntryKind, FsError};
use crate::types::{Epoch, GameId, JobErrorKind, SENTINEL};

impl GameDir {
    /// Looks whether this directory is still the one at its path. Cheap: nothing is read from the disk.
    ///
    /// # Errors
    /// In words, when it is not there any more.
    pub fn check_present(&self) -> Result<(), String> {
        let compared = || -> Result<[bool; 2], FsError> {
            let at_path = Dir::open(self.dir.path())?;
            let is_same = self.dir.is_same(&at_path)?;
            Ok([is_same, is_same && self.meta.is_same(&at_path.subdir(META)?)?])
        };
        match compared() {
            Ok([false, _]) => {
                let what = "another directory lies there now: a drive was mounted there, or is not mounted any more";
                Err(what.to_owned())
            }
            Ok([true, false]) => Err(format!("its directory {META} was replaced")),
            // A process that is short of handles cannot tell.
            Err(e) if !e.is_exhaustion() => Err(words(e)),
            Ok([true, true]) | Err(_) => Ok(()),
        }
    }

    /// The same after something failed: writes a file too, since a file system that ended after an error still shows what it has in
    /// memory. A full disk is there.
    ///
    /// # Errors
    /// In words, when it is not there any more, or cannot be written to any more.
    pub fn check_alive(&self) -> Result<(), String> {
        self.check_present()?;
        // Several threads may have met errors at once, and all write the same file.
        let _alone = lock(&self.probing);
        let written = self.meta.write_new(PROBE, b"").and_then(|()| self.meta.remove_file(PROBE));
        match written {
            // A full disk, a lack of handles, or a program that holds the file, are no sign.
            Err(e) if e.kind() == JobErrorKind::Io => Err(format!("nothing can be written to it: {}", e.source)),
            _ => Ok(()),
        }
    }
}

/// Whether a directory that may be opened in place of the one that went lies at `path`: the library of this history, or any
/// directory that holds a game.
///
/// # Errors
/// In words, when there is none.
pub fn look_for(path: &Path, epoch: Epoch) -> Result<(), String> {
    let path = absolute(path).map_err(|e| e.to_string())?;
    let dir = Dir::open(&path).map_err(words)?;
    if is_library(&dir, epoch) || holds_game(&dir).map_err(words)? {
        return Ok(());
    }
    Err("the directory there now is not that library, and holds no game".to_owned())
}

fn is_library(dir: &Dir, epoch: Epoch) -> bool {
    let read = dir.subdir(META).and_then(|meta| meta.read_small(INDEX, store::MAX_INDEX_BYTES));
    let index = read.ok().flatten().and_then(|bytes| store::decode(&bytes).ok());
    index.is_some_and(|index| index.epoch == epoch)
}

fn holds_game(dir: &Dir) -> Result<bool, FsError> {
    let games = dir.entries()?.into_iter().filter(|entry| entry.kind == EntryKind::Dir);
    let mut roots = games.filter_map(|entry| dir.subdir(entry.name.to_str()?.parse::<GameId>().ok()?.as_str()).ok());
    Ok(roots.any(|root| root.exists(SENTINEL).unwrap_or(false)))
}

fn words(error: FsError) -> String {
    error.to_string()
}
