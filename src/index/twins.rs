//! Ids that are one folder: where case does not count (exFAT, NTFS, APFS), `doom` opens `Doom`.
//!
//! What a name leads to is never trusted for that reason: the names that a directory read shows are. They are asked on
//! every file system, since a game directory may move to another disk.

use std::collections::HashMap;
use std::ffi::OsString;

use super::{GameDir, META, lock};
use crate::fs::{Dir, FsError};
use crate::types::{GameId, JobError, JobErrorKind};

impl GameDir {
    /// Whether a folder is the game of this id: the game directory has exactly this name, and no game of another spelling came
    /// first. Where case counts that costs no directory read.
    pub(super) fn is_first_of_its_name(&self, game: &GameId) -> Result<bool, FsError> {
        let is_another = if self.folds_case {
            // The names that are there tell, since any spelling opens it.
            self.dir.exists(game.as_str())? && !is_among(game, &self.dir.names()?)
        } else {
            let first = lock(&self.firsts).get(&game.collision_key()).filter(|first| *first != game).cloned();
            first.map_or(Ok(false), |first| self.dir.exists(first.as_str()))?
        };
        if is_another {
            return Ok(false);
        }
        lock(&self.firsts).insert(game.collision_key(), game.clone());
        Ok(true)
    }

    /// Of ids that are one where case does not count only the first stays: one that is known, else the first in the order of
    /// bytes. The others are told.
    pub(super) fn keep_firsts(
        &self,
        ids: &mut Vec<GameId>,
        is_known: impl Fn(&GameId) -> bool,
        notices: &mut Vec<String>,
    ) {
        let mut firsts: HashMap<String, GameId> = HashMap::new();
        for id in ids.iter().filter(|id| is_known(id)).chain(ids.iter()) {
            firsts.entry(id.collision_key()).or_insert_with(|| id.clone());
        }
        ids.retain(|id| match firsts.get(&id.collision_key()) {
            Some(first) if first != id => {
                if self.is_unreported(id.as_str()) {
                    notices.push(format!(
                        "the folder {id:?} is left out: it has the same name as {first:?} where case does not count; rename one \
                         of them"
                    ));
                }
                false
            }
            _ => true,
        });
        *lock(&self.firsts) = firsts;
    }

    /// Before a download touches anything: whether the folder of this game can be made, or written to, without touching
    /// another one.
    ///
    /// # Errors
    /// [`JobErrorKind::UnsafePath`], naming the other folder; what the system says.
    pub fn check_alone(&self, game: &GameId) -> Result<(), JobError> {
        let refuse = |message| Err(JobError::new(JobErrorKind::UnsafePath, message));
        let names = self.dir.names()?;
        let mut twins: Vec<&str> =
            names.iter().filter_map(|name| name.to_str()).filter(|name| game.is_spelled_otherwise(name)).collect();
        twins.sort_unstable();
        if let Some(twin) = twins.first() {
            return refuse(game.refusal_beside(twin));
        }
        if self.dir.exists(game.as_str())? && !is_among(game, &names) {
            return refuse(format!(
                "{game} would be written into a folder of {} that has another name: rename that folder, or remove it",
                self.dir.path().display()
            ));
        }
        Ok(())
    }
}

/// Whether names of other cases lead to one folder in this directory, by one that is there.
pub(super) fn folds_case(dir: &Dir) -> Result<bool, FsError> {
    let other = META.to_ascii_uppercase();
    Ok(dir.exists(&other)? && !dir.names()?.iter().any(|name| *name == *other))
}

fn is_among(game: &GameId, names: &[OsString]) -> bool {
    names.iter().any(|name| name == game.as_str())
}
