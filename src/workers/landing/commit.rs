//! The end of a download: durable under its sentinel, or gone.

use std::sync::{PoisonError, RwLockWriteGuard};

use super::prepare::directories;
use super::{DISCARDED, Landed, Landing, Phase, SENTINEL};
use crate::fs::{EntryKind, FsError};
use crate::types::{JobError, JobErrorKind, KnownContent, content_hash};

/// Up to this many files are flushed one by one. Beyond, one call for the whole file system is cheaper than a disk
/// barrier for each, although it also waits for what others have written.
const MOST_SINGLE_SYNCS: usize = 64;

impl Landing {
    /// Makes every file, then every name, then the sentinel durable. All chunks must have been written. After an error
    /// there is no sentinel and only [`abandon`](Self::abandon) is left.
    ///
    /// # Errors
    /// [`JobErrorKind::Changed`] when a file is not as it was written.
    pub fn commit(&self) -> Result<Landed, JobError> {
        let mut phase = self.ending();
        if *phase != Phase::Writing {
            return Err(JobError::new(JobErrorKind::Cancelled, format!("the download of {} is over", self.game())));
        }
        let missing = self.progress().missing;
        if missing > 0 {
            let message = format!("{missing} chunks of {} are not there yet", self.game());
            return Err(JobError::new(JobErrorKind::Verification, message));
        }
        *phase = Phase::Failed;
        self.complete_files()?;
        self.sync_everything()?;
        let mut mtimes_ns = self.check_files()?;
        self.put_sentinel()?;
        *phase = Phase::Committed;

        // From here on the game is there whatever happens; a leftover is swept at the next start.
        let _ = self.root.remove_file(DISCARDED);
        if let (Ok(Some(entry)), Some(mtime)) = (self.root.entry(SENTINEL), mtimes_ns.get_mut(self.sentinel)) {
            *mtime = entry.mtime_ns;
        }
        let content = self.content();
        Ok(Landed { manifest: self.manifest().clone(), mtimes_ns, content })
    }

    /// Gives up. Unless `keep`, removes the files that were begun and the directories that were made, and nothing else.
    /// When not a byte of the old files was touched, their sentinel comes back. Does nothing after a commit.
    pub fn abandon(&self, keep: bool) -> Result<(), JobError> {
        let mut phase = self.ending();
        if matches!(*phase, Phase::Committed | Phase::Abandoned) {
            return Ok(());
        }
        *phase = Phase::Abandoned;
        self.handles.clear();
        let begun = self.progress().begun.clone();
        let mut undo = self.undo.clone();
        undo.removed |= begun.contains(&true);
        if keep && undo.removed {
            self.root.remove_file(DISCARDED)?;
            return Ok(self.root.sync()?);
        }
        let mut result = Ok(());
        for (file, _) in self.manifest().files().iter().zip(begun).filter(|(_, begun)| *begun) {
            // One file that cannot be removed does not keep the others.
            result = result.and(self.root.remove_file_beneath(&file.path).map(drop));
        }
        Ok(result.and(undo.roll_back(&self.game_dir, &self.root, self.game()))?)
    }

    /// Empty files have no chunk that would have made them; old files that the new list lacks go.
    fn complete_files(&self) -> Result<(), JobError> {
        for (index, _) in self.data_files().filter(|(_, entry)| entry.size == 0) {
            self.file(index)?;
        }
        for path in &self.stale {
            self.root.remove_file_beneath(path)?;
        }
        for dir in directories(&self.stale).iter().rev() {
            self.root.remove_dir_if_empty(dir)?;
        }
        // Some systems set a file's time when it is closed.
        self.handles.clear();
        Ok(())
    }

    /// Bytes before names, inner names before outer ones.
    fn sync_everything(&self) -> Result<(), FsError> {
        let at_once = self.manifest().files().len() > MOST_SINGLE_SYNCS && self.root.sync_file_system()?;
        if !at_once {
            for (_, entry) in self.data_files() {
                self.root.sync_file(&entry.path)?;
            }
            let paths = self.data_files().map(|(_, entry)| &entry.path).chain(&self.stale);
            for dir in directories(paths).iter().rev() {
                match self.root.open_dir(dir) {
                    Ok(dir) => dir.sync()?,
                    // Emptied of old files, and gone.
                    Err(e) if e.is_not_found() => {}
                    Err(e) => return Err(e),
                }
            }
        }
        self.root.sync()?;
        if self.undo.made_root {
            self.game_dir.sync()?;
        }
        Ok(())
    }

    /// Times of all files (0 for the sentinel, which is not there yet), each of the right length.
    fn check_files(&self) -> Result<Vec<i128>, JobError> {
        let mut mtimes_ns = vec![0; self.manifest().files().len()];
        for (index, file) in self.data_files() {
            match (self.root.entry_beneath(&file.path)?, mtimes_ns.get_mut(index)) {
                (Some(entry), Some(mtime)) if entry.kind == EntryKind::File && entry.size == file.size => {
                    *mtime = entry.mtime_ns;
                }
                _ => {
                    let message = format!("{} of {} was changed by somebody else", file.path, self.game());
                    return Err(JobError::new(JobErrorKind::Changed, message));
                }
            }
        }
        Ok(mtimes_ns)
    }

    fn put_sentinel(&self) -> Result<(), FsError> {
        let bytes = std::mem::take(&mut self.progress().sentinel);
        let result = self.root.replace_file(SENTINEL, &bytes);
        if result.is_err() {
            // It may be there without being durable. What the caller is told and what is there must agree.
            let _ = self.root.remove_file(SENTINEL);
            let _ = self.root.sync();
        }
        result
    }

    fn content(&self) -> Option<KnownContent> {
        if let Some(content) = &self.plan.content {
            return Some(content.clone());
        }
        let chunks = self.progress().hashes.take()?;
        Some(KnownContent { hash: content_hash(self.manifest(), &chunks), chunks })
    }

    fn ending(&self) -> RwLockWriteGuard<'_, Phase> {
        self.phase.write().unwrap_or_else(PoisonError::into_inner)
    }
}
