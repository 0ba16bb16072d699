//! What becomes of the user's files in an installation that is replaced or removed: no byte of them is lost.
//!
//! | | update | uninstall |
//! |---|---|---|
//! | a file that the installation made, and nobody changed (inventory.rs) | goes | goes |
//! | a file that came later | is copied into the new `local/` | stays, in `.local.mine` |
//! | a file that was changed | the same, or as `NAME.mine` beside the new one, if that has other bytes | stays, in `.local.mine` |
//! | links, names that are not portable, a `local/` without a list | stay, in `.local.mine` | stay, in `.local.mine` |
//!
//! It is looked for when the old `local/` has been set aside, where programs do not find it any more to write into it.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::AtomicBool;

use super::copy::copy_bytes;
use super::inventory::{Contents, Inventory};
use super::marker::{self, MARKER};
use super::owner::NUMBER;
use super::remove::remove_empty;
use super::{BACKUP, INSTALL};
use crate::faults::{self, Bug};
use crate::fs::{Dir, Entry, EntryKind, FsError};
use crate::types::{JobError, JobErrorKind, KeptAside, KeptFiles, RelPath};

/// What `.local.mine` is derived from.
const MINE: &str = ".local";
/// Bytes that two files are compared in at a time.
const COMPARED: usize = 1 << 20;

/// What in an old `local/` is the user's.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// With what is known of them.
    pub(super) files: Vec<(RelPath, Entry)>,
    /// Something cannot be copied: it stays where it is.
    has_others: bool,
}

impl Own {
    /// Looks for it in the old `local/`.
    pub(super) fn find(backup: &Dir) -> Result<Self, FsError> {
        // The others are of the check before this, which would not be seen to be missing.
        if [Bug::NothingKept, Bug::NoOwnerCheck, Bug::OwnerCheckedOnce].into_iter().any(faults::is) {
            return Ok(Self::default());
        }
        let mut contents = Contents::of(backup)?;
        contents.files.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let Some(list) = Inventory::read(backup)? else {
            let is_empty = contents.files.is_empty() && !contents.has_others;
            return Ok(Self { has_others: !is_empty, ..Self::default() });
        };
        contents.files.retain(|(path, entry)| !list.has(path, entry));
        Ok(Self { files: contents.files, has_others: contents.has_others })
    }

    /// Bytes that copying takes.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, entry)| entry.size).sum()
    }

    /// The name that an old `local/` gets which is removed; `None`: nothing in it is the user's.
    pub(super) fn name_after_uninstall(&self, root: &Dir) -> Result<Option<String>, FsError> {
        if self.files.is_empty() && !self.has_others { Ok(None) } else { name_of_rest(root).map(Some) }
    }

    /// Copies it from the old `local/` into the new one, durably but for the names directly in the game's root.
    ///
    /// # Errors
    /// [`JobErrorKind::Changed`] when somebody writes to a file meanwhile; [`JobErrorKind::Cancelled`]; what the system says.
    pub(super) fn carry_over(
        &self,
        root: &Dir,
        from: &Dir,
        to: &Dir,
        cancel: &AtomicBool,
    ) -> Result<KeptFiles, JobError> {
        let names: HashSet<String> = self.files.iter().map(|(path, _)| path.collision_key()).collect();
        let mut kept = KeptFiles::default();
        let mut has_others = self.has_others;
        let mut touched = BTreeSet::new();
        for (path, entry) in &self.files {
            if is_blocked(to, path)? {
                has_others = true;
                continue;
            }
            let target = match to.entry_beneath(path)? {
                None => path.clone(),
                Some(new) if new.kind == EntryKind::File && is_same(from, to, path, (entry, &new))? => continue,
                Some(_) => {
                    let aside = free_name(to, path, &names)?;
                    kept.kept_aside.push(KeptAside { file: in_local(path)?, kept_as: in_local(&aside)? });
                    aside
                }
            };
            if let Some(parent) = target.parent() {
                to.make_dirs(&parent)?;
            }
            copy(from, to, (path, entry), &target, cancel)?;
            kept.carried_over += usize::from(target == *path);
            touched.extend(std::iter::successors(target.parent(), RelPath::parent));
        }
        if !faults::is(Bug::NoCarrySync) {
            for dir in touched.iter().rev() {
                to.open_dir(dir)?.sync()?;
            }
            to.sync()?;
        }
        kept.kept_in = if has_others { Some(name_of_rest(root)?) } else { None };
        Ok(kept)
    }
}

/// Deletes the old `local/`, or, if it has another name to get, what the installation made of it. Whether it was there. Durable when the
/// caller syncs the root.
pub(super) fn dispose(root: &Dir, kept_as: Option<&str>) -> Result<bool, FsError> {
    let Some(kept_as) = kept_as else { return root.remove_tree(BACKUP) };
    if !root.exists(BACKUP)? {
        return Ok(false);
    }
    let backup = root.subdir(BACKUP)?;
    if let Some(list) = Inventory::read(&backup)? {
        let contents = Contents::of(&backup)?;
        for (path, _) in contents.files.iter().filter(|(path, entry)| list.has(path, entry)) {
            backup.remove_file_beneath(path)?;
        }
        remove_empty(&backup, &contents.dirs)?;
        // Else a power cut could leave something that only the list tells from the user's, without the list.
        backup.sync()?;
    }
    backup.remove_file(NUMBER)?;
    if marker::is_in(root, BACKUP)? {
        backup.remove_file(MARKER)?;
    }
    backup.sync()?;
    // Where open directories cannot be renamed.
    drop(backup);
    root.rename(BACKUP, kept_as)?;
    Ok(true)
}

fn name_of_rest(root: &Dir) -> Result<String, FsError> {
    root.name_aside(MINE, |_| false)
}

/// Whether a file of the new installation stands where a directory above `path` would be.
fn is_blocked(to: &Dir, path: &RelPath) -> Result<bool, FsError> {
    let mut above: Vec<RelPath> = std::iter::successors(path.parent(), RelPath::parent).collect();
    while let Some(dir) = above.pop() {
        match to.entry_beneath(&dir)? {
            None => return Ok(false),
            Some(entry) if entry.kind == EntryKind::Dir => {}
            Some(_) => return Ok(true),
        }
    }
    Ok(false)
}

/// The first free one of `NAME.mine`, `NAME.mine.2`, … that no other file of the user's has.
fn free_name(to: &Dir, path: &RelPath, names: &HashSet<String>) -> Result<RelPath, JobError> {
    let beside = |name: &str| match path.parent() {
        Some(dir) => RelPath::parse_unreserved(&format!("{dir}/{name}")),
        None => RelPath::parse_unreserved(name),
    };
    let is_taken = |name: &str| beside(name).is_ok_and(|path| names.contains(&path.collision_key()));
    let dir = match path.parent() {
        Some(dir) => to.open_dir(&dir)?,
        None => to.clone(),
    };
    let name = dir.name_aside(path.file_name(), is_taken)?;
    beside(&name).map_err(|e| {
        let message = format!("{path} in {INSTALL} was changed, and cannot be given another name ({e}): move it away");
        JobError::new(JobErrorKind::NotOurs, message)
    })
}

fn in_local(path: &RelPath) -> Result<RelPath, JobError> {
    RelPath::parse_unreserved(&format!("{INSTALL}/{path}"))
        .map_err(|e| JobError::new(JobErrorKind::UnsafePath, e.to_string()))
}

/// Whether the old and the new file of a name have the same bytes.
fn is_same(from: &Dir, to: &Dir, path: &RelPath, (old, new): (&Entry, &Entry)) -> Result<bool, FsError> {
    if old.size != new.size {
        return Ok(false);
    }
    let (old, new) = (from.open_read(path)?, to.open_read(path)?);
    let (mut bytes, mut others) = (vec![0; COMPARED], vec![0; COMPARED]);
    let mut offset = 0;
    loop {
        let (read, other) = (old.read_at(&mut bytes, offset)?, new.read_at(&mut others, offset)?);
        if bytes.get(..read) != others.get(..other) {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
        offset += read as u64;
    }
}

/// Copies a file with the time of its last change, durably but for its name.
fn copy(
    from: &Dir,
    to: &Dir,
    (path, entry): (&RelPath, &Entry),
    target: &RelPath,
    cancel: &AtomicBool,
) -> Result<(), JobError> {
    let source = from.open_read(path)?;
    let copy = to.create_write(target, entry.exec)?;
    let is_whole = copy_bytes(&source, &copy, entry.size, cancel, |_| ())?;
    let now = source.stat()?;
    let is_same = now.size == entry.size && now.mtime_ns == entry.mtime_ns && copy.stat()?.size == entry.size;
    if !is_whole || !is_same {
        let at = from.path().join(path.as_str());
        let message = format!("a program still writes to {}: close it and try again", at.display());
        return Err(JobError::new(JobErrorKind::Changed, message));
    }
    copy.set_modified(entry.mtime_ns)?;
    if faults::is(Bug::NoCarrySync) {
        return Ok(());
    }
    Ok(copy.sync()?)
}
