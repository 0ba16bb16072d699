//! Ids that are one folder: where case does not count (exFAT, NTFS, APFS), `doom` opens `Doom`.
//!
//! What a name leads to is never trusted for that reason: the names that a directory read shows are. They are asked on
//! every file system, since a game directory may move to another disk.

use std::ffi::OsString;

use super::GameDir;
use crate::fs::FsError;
use crate::types::{GameId, JobError, JobErrorKind};

impl GameDir {
    /// Whether the game directory has exactly this name, or nothing that opens under it.
    pub(super) fn is_spelled_so(&self, game: &GameId) -> Result<bool, FsError> {
        let is_there = self.dir.exists(game.as_str())?;
        Ok(!is_there || is_among(game, &self.dir.names()?))
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
            return refuse(format!(
                "{game} cannot be fetched beside {twin:?}, which is the same name where case does not count: rename that \
                 folder, or remove it"
            ));
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

fn is_among(game: &GameId, names: &[OsString]) -> bool {
    names.iter().any(|name| name == game.as_str())
}
