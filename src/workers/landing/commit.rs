//! The end of a download: durable under its sentinel, or gone.

use std::sync::{PoisonError, RwLockWriteGuard};

use super::prepare::directories;
use super::{Landed, Landing, Phase, Present, SENTINEL_ASIDE};
use crate::fs::{EntryKind, FsError, MOST_SINGLE_SYNCS};
use crate::types::{
    DISCARDED_SENTINEL, JobError, JobErrorKind, KnownContent, MAX_SENTINEL_BYTES, NEW_SENTINEL, RelPath, SENTINEL,
    content_hash,
};

impl Landing {
    /// Makes every file, then every name, then the sentinel durable. All chunks must have been written, or kept. Files
    /// whose flush failed are removed: what the system still shows of them in memory may never have reached the disk, and
    /// must not be found good by the next download. After an error there is no sentinel and only [`abandon`](Self::abandon) is left.
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
        if let Err((lost, error)) = self.sync_everything() {
            for path in lost {
                // One that cannot be removed is on a disk that takes no changes any more.
                let _ = self.root.remove_file_beneath(path);
            }
            return Err(error.into());
        }
        let mtimes_ns = self.check_files()?;
        let mut landed = Landed { manifest: self.manifest().clone(), mtimes_ns, content: self.landed_content() };
        // Before the sentinel, so that there is no instant at which a complete game is not known to be lanspread's. Its own time
        // is missing from the list: its bytes tell whose it is.
        self.records.save_brought(self.game(), &landed)?;
        self.put_sentinel()?;
        *phase = Phase::Committed;

        // From here on the game is there whatever happens; a leftover is swept at the next start.
        let _ = self.root.remove_file(DISCARDED_SENTINEL);
        self.drop_same_sentinel();
        if let (Ok(Some(entry)), Some(mtime)) = (self.root.entry(SENTINEL), landed.mtimes_ns.get_mut(self.sentinel)) {
            *mtime = entry.mtime_ns;
        }
        self.records.release(self.game());
        Ok(landed)
    }

    /// Gives up. Unless `keep`, removes the files and directories that the download made, and nothing else: a file that was
    /// there before stays as it is by now. When none of those was touched, their sentinel comes back; with `keep`, only if
    /// no new file was begun either. Does nothing after a commit.
    pub fn abandon(&self, keep: bool) -> Result<(), JobError> {
        let mut phase = self.ending();
        let mut undo = self.undo.clone();
        match std::mem::replace(&mut *phase, Phase::Abandoned) {
            Phase::Writing => {}
            // It may have removed old files, and cut others.
            Phase::Failed => undo.removed = true,
            done @ (Phase::Committed | Phase::Abandoned) => {
                *phase = done;
                return Ok(());
            }
        }
        self.handles.clear();
        let begun = self.progress().begun.clone();
        let (mut made, mut touched) = (Vec::new(), false);
        let files = self.manifest().files().iter().zip(&self.present).zip(begun);
        for ((file, present), _) in files.filter(|(_, begun)| *begun) {
            match present {
                None => made.push(&file.path),
                Some(_) => touched = true,
            }
        }
        undo.removed |= touched;
        if keep && (undo.removed || !made.is_empty()) {
            self.root.remove_file(DISCARDED_SENTINEL)?;
            return Ok(self.root.sync()?);
        }
        let removed = self.take_away(&made);
        // Beside what could not be removed, the old sentinel would speak for more than the old game.
        undo.removed |= removed.is_err();
        Ok(removed.and(self.roll_back(&undo))?)
    }

    /// Removes these files, durably: one that came back would have no claim. One that cannot be removed does not keep the
    /// others.
    fn take_away(&self, made: &[&RelPath]) -> Result<(), FsError> {
        let mut result = Ok(());
        for path in made {
            result = result.and(self.root.remove_file_beneath(path).map(drop));
        }
        if !made.is_empty() {
            result = result.and_then(|()| self.sync_dirs(made.iter().copied())).and_then(|()| self.root.sync());
        }
        result
    }

    /// Empty files have no chunk that would have made them, and files of which every chunk was here may be too long, or
    /// lack their executable bit; old files that the new list lacks go.
    fn complete_files(&self) -> Result<(), JobError> {
        let begun = self.progress().begun.clone();
        for (index, entry) in self.data_files().filter(|(index, _)| begun.get(*index) != Some(&true)) {
            let is_so = |present: &Present| present.size == entry.size && (cfg!(windows) || present.exec == entry.exec);
            if !self.present.get(index).and_then(Option::as_deref).is_some_and(is_so) {
                // It gets length and bit when it is opened.
                self.file(index)?;
            }
        }
        for path in &self.stale {
            // The user may have changed it while the new files came.
            if let Some(entry) = self.root.entry_beneath(path)?
                && self.ownership.is_ours(&self.root, path, &entry)?
            {
                self.root.remove_file_beneath(path)?;
            }
        }
        let mut emptied = directories(self.stale.iter().chain(&self.stale_dirs));
        emptied.extend(self.stale_dirs.iter().cloned());
        // What the new list has empty was only emptied now, perhaps.
        for dir in emptied.iter().rev().filter(|dir| self.manifest().dirs().binary_search(*dir).is_err()) {
            self.root.remove_dir_if_empty(dir)?;
        }
        // Some systems set a file's time when it is closed.
        self.handles.clear();
        Ok(())
    }

    /// Bytes before names, inner names before outer ones. An error comes with the files whose bytes or names may be lost.
    fn sync_everything(&self) -> Result<(), (Vec<&RelPath>, FsError)> {
        let all = || self.data_files().map(|(_, entry)| &entry.path);
        let at_once = if self.manifest().files().len() > MOST_SINGLE_SYNCS {
            // It does not say of which file, and of none a second time; each file still does.
            let of_them = |error| (all().filter(|path| self.root.sync_file(path).is_err()).collect(), error);
            self.root.sync_file_system().map_err(of_them)?
        } else {
            false
        };
        for (index, entry) in self.data_files() {
            // What was here before may have been lost earlier, which the call for all does not tell who began later.
            if !at_once || self.present.get(index).is_some_and(Option::is_some) {
                // The files behind it are not asked, and will say it the next time.
                self.root.sync_file(&entry.path).map_err(|error| (vec![&entry.path], error))?;
            }
        }
        if !at_once {
            let gone = self.stale.iter().chain(&self.stale_dirs);
            let paths = all().chain(self.manifest().dirs()).chain(gone);
            self.sync_dirs(paths).map_err(|error| (all().collect(), error))?;
        }
        self.root.sync().map_err(|error| (all().collect(), error))?;
        if self.undo.made_root {
            self.game_dir.sync().map_err(|error| (all().collect(), error))?;
        }
        Ok(())
    }

    /// Makes the names in every directory above these paths durable, but for the root.
    pub(super) fn sync_dirs<'a>(&self, paths: impl IntoIterator<Item = &'a RelPath>) -> Result<(), FsError> {
        for dir in directories(paths).iter().rev() {
            match self.root.open_dir(dir) {
                Ok(dir) => dir.sync()?,
                // Emptied of old files, and gone.
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Times of all files (0 for the sentinel, which is not there yet), each of the right length, and those that were only
    /// read not changed since. Every empty directory must be there.
    fn check_files(&self) -> Result<Vec<i128>, JobError> {
        for dir in self.manifest().dirs() {
            if self.root.entry_beneath(dir)?.is_none_or(|entry| entry.kind != EntryKind::Dir) {
                let message = format!("the folder {dir} of {} was removed by somebody else", self.game());
                return Err(JobError::new(JobErrorKind::Changed, message));
            }
        }
        let mut mtimes_ns = vec![0; self.manifest().files().len()];
        let begun = self.progress().begun.clone();
        for (index, file) in self.data_files() {
            let read_at = self.present.get(index).and_then(Option::as_ref).filter(|_| begun.get(index) != Some(&true));
            match (self.root.entry_beneath(&file.path)?, mtimes_ns.get_mut(index)) {
                (Some(entry), Some(mtime))
                    if entry.kind == EntryKind::File
                        && entry.size == file.size
                        && read_at.is_none_or(|present| present.mtime_ns == entry.mtime_ns) =>
                {
                    *mtime = entry.mtime_ns;
                }
                _ => return Err(self.changed_by_others(file)),
            }
        }
        Ok(mtimes_ns)
    }

    fn put_sentinel(&self) -> Result<(), JobError> {
        let bytes = std::mem::take(&mut self.progress().sentinel);
        let is_free = self.root.write_new(NEW_SENTINEL, &bytes).and_then(|()| Ok(!self.root.exists(SENTINEL)?));
        if !matches!(is_free, Ok(true)) {
            let _ = self.root.remove_file(NEW_SENTINEL);
        }
        if let (false, Some(entry)) = (is_free?, self.manifest().files().get(self.sentinel)) {
            return Err(self.changed_by_others(entry));
        }
        let result = self.root.rename(NEW_SENTINEL, SENTINEL).and_then(|()| self.root.sync());
        if result.is_err() {
            // It may be there without being durable. What the caller is told and what is there must agree.
            let _ = self.root.remove_file(NEW_SENTINEL);
            let _ = self.root.remove_file(SENTINEL);
            let _ = self.root.sync();
        }
        Ok(result?)
    }

    /// A sentinel that a verification set aside, and that is back with the same bytes, is not needed twice.
    fn drop_same_sentinel(&self) {
        let read = |name| self.root.read_small(name, MAX_SENTINEL_BYTES).ok().flatten();
        if read(SENTINEL_ASIDE).is_some_and(|aside| read(SENTINEL) == Some(aside)) {
            let _ = self.root.remove_file(SENTINEL_ASIDE);
        }
    }

    fn landed_content(&self) -> Option<KnownContent> {
        if let Some(content) = self.content() {
            return Some(content.clone());
        }
        let chunks = self.progress().hashes.take()?;
        Some(KnownContent { hash: content_hash(self.manifest(), &chunks), chunks })
    }

    pub(super) fn ending(&self) -> RwLockWriteGuard<'_, Phase> {
        self.phase.write().unwrap_or_else(PoisonError::into_inner)
    }
}
