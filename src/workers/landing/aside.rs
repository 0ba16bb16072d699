//! Files of the user's that stand where the game has one: they get another name, and nothing of them is lost.

use std::collections::HashSet;

use super::Undo;
use super::prepare::{directory_of, in_the_way};
use crate::fs::{Dir, FsError};
use crate::index::Ownership;
use crate::types::{
    ChunkHash, DISCARDED_SENTINEL, DownloadPlan, JobError, KeptAside, MAX_SENTINEL_BYTES, Manifest, RelPath, SENTINEL,
};

/// Sets the old sentinel aside, which is the file of this index in the plan: from here on the game does not count as complete. One that the user wrote is kept.
/// Durable when the caller syncs the root.
pub(super) fn set_sentinel_aside(
    root: &Dir,
    plan: &DownloadPlan,
    sentinel: usize,
    ownership: &Ownership,
    undo: &mut Undo,
) -> Result<(), JobError> {
    if root.exists(SENTINEL)? {
        let name = match plan.manifest.files().get(sentinel) {
            Some(entry) if !is_ours(root, plan, sentinel, ownership)? => {
                let kept_as = free_name(root, plan, &wanted(&plan.manifest), &entry.path)?;
                let name = kept_as.as_str().to_owned();
                undo.kept_aside.push(KeptAside { file: entry.path.clone(), kept_as });
                name
            }
            _ => DISCARDED_SENTINEL.to_owned(),
        };
        root.rename(SENTINEL, &name)?;
        undo.sentinel_aside = Some(name);
    }
    Ok(())
}

/// Whether nobody but a download wrote the sentinel, or the new one is the same.
fn is_ours(root: &Dir, plan: &DownloadPlan, sentinel: usize, ownership: &Ownership) -> Result<bool, JobError> {
    let bytes = match root.read_small(SENTINEL, MAX_SENTINEL_BYTES) {
        Ok(Some(bytes)) => bytes,
        Err(e) if e.is_exhaustion() => return Err(e.into()),
        Ok(None) | Err(_) => return Ok(false),
    };
    let chunk = plan.manifest.chunks_of_file(sentinel).next();
    let planned = plan.content.as_ref().zip(chunk).and_then(|(content, chunk)| content.chunks.get(chunk as usize));
    // The hash of a chunk covers its length.
    Ok(ownership.has_brought_sentinel(&bytes) || planned == Some(&ChunkHash::of(&bytes)))
}

/// Gives files of the user's other names, durable when the caller syncs their directories. Those that have theirs already are in `undo` after an error, too.
pub(super) fn keep_aside<'a>(
    root: &Dir,
    plan: &DownloadPlan,
    files: impl IntoIterator<Item = &'a RelPath>,
    undo: &mut Undo,
) -> Result<(), JobError> {
    // Made once: there may be as many files of the user's as the game has.
    let wanted = wanted(&plan.manifest);
    for path in files {
        let kept_as = free_name(root, plan, &wanted, path)?;
        rename_beneath(root, path, &kept_as)?;
        tracing::info!(game = %plan.game, "{path} is not as a download left it, and is kept as {kept_as}");
        undo.kept_aside.push(KeptAside { file: path.clone(), kept_as });
    }
    Ok(())
}

/// Gives them their names again, where these are free. Durable when the caller syncs their directories.
pub(super) fn put_back(root: &Dir, kept_aside: &[KeptAside]) -> Result<(), FsError> {
    for kept in kept_aside.iter().filter(|kept| kept.file.as_str() != SENTINEL) {
        if root.entry_beneath(&kept.file)?.is_none() && root.entry_beneath(&kept.kept_as)?.is_some() {
            rename_beneath(root, &kept.kept_as, &kept.file)?;
        }
    }
    Ok(())
}

/// Both lie in the same directory.
fn rename_beneath(root: &Dir, from: &RelPath, to: &RelPath) -> Result<(), FsError> {
    directory_of(root, from)?.rename(from.file_name(), to.file_name())
}

/// The names of a game's files, as [`RelPath::collision_key`] has them.
fn wanted(manifest: &Manifest) -> HashSet<String> {
    manifest.files().iter().map(|file| file.path.collision_key()).collect()
}

/// The first name that is free on the disk and not `wanted`.
fn free_name(root: &Dir, plan: &DownloadPlan, wanted: &HashSet<String>, path: &RelPath) -> Result<RelPath, JobError> {
    let beside = |name: &str| match path.parent() {
        Some(dir) => RelPath::parse(&format!("{dir}/{name}")),
        None => RelPath::parse(name),
    };
    let is_wanted = |name: &str| beside(name).is_ok_and(|path| wanted.contains(&path.collision_key()));
    let name = directory_of(root, path)?.name_aside(path.file_name(), is_wanted)?;
    beside(&name).map_err(|e| {
        let why = format!("{path} is not lanspread's, and cannot be given another name ({e}): move it away");
        in_the_way(&plan.game, &why)
    })
}
