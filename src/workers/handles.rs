//! The most recently used open files of one game: bounds the descriptors that a game with many files takes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::fs::File;

/// Open files per game being sent or received.
const MAX_OPEN: usize = 64;

/// Keyed by the file's index in its manifest.
#[derive(Debug, Default)]
pub(super) struct Handles {
    /// Least recently used first.
    open: Mutex<VecDeque<(usize, Arc<File>)>>,
}

impl Handles {
    /// The open file, or what `open` makes. Two threads that miss at once both open it, which is harmless.
    pub(super) fn get<E>(&self, file: usize, open: impl FnOnce() -> Result<File, E>) -> Result<Arc<File>, E> {
        if let Some(found) = self.touch(file) {
            return Ok(found);
        }
        // Not under the lock: opening may wait for the disk.
        let opened = Arc::new(open()?);
        let mut cache = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let evicted = if cache.len() >= MAX_OPEN { cache.pop_front() } else { None };
        cache.push_back((file, Arc::clone(&opened)));
        drop(cache);
        drop(evicted);
        Ok(opened)
    }

    /// Closes all of them, once their users are done.
    pub(super) fn clear(&self) {
        let closed = std::mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner));
        drop(closed);
    }

    fn touch(&self, file: usize) -> Option<Arc<File>> {
        let mut cache = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // From the back: the next chunk is mostly of the file that was used last.
        let at = cache.iter().rposition(|(key, _)| *key == file)?;
        let hit = cache.remove(at)?;
        let found = Arc::clone(&hit.1);
        cache.push_back(hit);
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Dir, FsError};
    use crate::types::RelPath;

    #[test]
    fn the_least_recently_used_file_is_closed_for_the_next_one() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let (handles, path) = (Handles::default(), RelPath::parse("file").unwrap());
        let mut opened = Vec::new();
        let mut get = |file| {
            let open = || {
                opened.push(file);
                dir.create_write(&path, false)
            };
            handles.get::<FsError>(file, open).unwrap()
        };
        (0..MAX_OPEN).for_each(|file| drop(get(file)));
        drop(get(0));
        drop(get(MAX_OPEN));
        drop(get(0));
        drop(get(1));
        assert_eq!(opened, (0..=MAX_OPEN).chain([1]).collect::<Vec<_>>());
        assert_eq!(handles.open.lock().unwrap().len(), MAX_OPEN);
        handles.clear();
        assert!(handles.open.lock().unwrap().is_empty());
    }
}
