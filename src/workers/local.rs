//! Local operations on a game: installing, uninstalling, removing.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::fs::{Dir, SpaceLedger};
use crate::index::GameDir;
use crate::install::archive::{self, ArchiveLimits, Unpacked};
use crate::install::{self, Done, Install, Progress, personal};
use crate::types::{GameId, JobError, JobErrorKind, KeptFiles, Packing, Personal, ScannedGame};

/// What lies there afterwards, and what became of the user's files in `local/`.
type Changed = Result<(Option<Arc<ScannedGame>>, KeptFiles), JobError>;

/// How archives are read.
#[derive(Clone, Copy)]
pub(super) struct Archives {
    declared_bytes: fn(&Dir, &ArchiveLimits, &AtomicBool) -> Result<Option<u64>, JobError>,
    unpack: fn(&Dir, &Dir, &ArchiveLimits, Progress<'_>, &AtomicBool) -> Result<Unpacked, JobError>,
}

impl Archives {
    /// By a child process, which a hostile archive may end.
    pub(super) const IN_CHILD: Self = Self { declared_bytes: archive::declared_bytes, unpack: archive::unpack_all };
    /// By this process, when it is not the program that knows how to be that child.
    #[cfg(test)]
    pub(super) const HERE: Self = Self {
        declared_bytes: archive::declared_bytes_here,
        unpack: |root, staging, limits, progress, cancel| {
            archive::unpack_all_here(root, staging, limits, progress, &|_| (), cancel)
        },
    };
}

/// What to install.
pub(super) struct Wanted<'a> {
    pub(super) game: &'a GameId,
    pub(super) personal: &'a Personal,
}

/// Unpacks or copies the game into `local/`, as [`Packing`] has it.
pub(super) fn install(
    home: &GameDir,
    wanted: &Wanted<'_>,
    archives: Archives,
    space: &SpaceLedger,
    progress: Progress<'_>,
    cancel: &AtomicBool,
) -> Changed {
    let game = wanted.game;
    let scanned = home.scan_game(game, None)?.filter(|scanned| scanned.downloaded);
    let Some(scanned) = scanned else {
        return Err(JobError::new(JobErrorKind::Changed, format!("{game} is not downloaded")));
    };
    let root = home.root(game)?;
    let what = Install { game, version: scanned.eti_version.as_deref(), needed_bytes: 0, space, cancel };
    let packing = match scanned.installs_by {
        Some(packing) => packing,
        // It has a name that is not portable: what is packed may have none.
        None if archive::has_archives(&root)? => Packing::Unpack,
        None => Packing::Copy,
    };
    let limits = ArchiveLimits { only_eti: packing == Packing::CopyAndUnpack, ..ArchiveLimits::default() };
    let to_copy = if packing == Packing::Unpack { None } else { Some(home.list_files(game)?) };
    let copied_bytes = to_copy.as_ref().map_or(0, |manifest| install::bytes_to_copy(manifest, packing));
    // Where no header tells, the disk may fill up on the way; then the old state comes back.
    let unpacked_bytes = match packing {
        Packing::Copy => 0,
        Packing::Unpack | Packing::CopyAndUnpack => (archives.declared_bytes)(&root, &limits, cancel)?.unwrap_or(0),
    };
    let needed_bytes = copied_bytes.saturating_add(unpacked_bytes);
    let done = install::install(&root, &Install { needed_bytes, ..what }, &|staging, space| {
        let read = Cell::new(0);
        if packing != Packing::Copy {
            let progress = |done: u64, total: u64| {
                read.set(total);
                space.keep(needed_bytes.saturating_sub(done));
                progress(done, total.saturating_add(copied_bytes));
            };
            let unpacked = (archives.unpack)(&root, staging, &limits, &progress, cancel)?;
            if unpacked.archives == 0 && packing == Packing::Unpack {
                return Err(archive::nothing_to_unpack(game));
            }
        }
        if let Some(manifest) = &to_copy {
            let progress = |done, total| {
                space.keep(copied_bytes.saturating_sub(done));
                progress(read.get().saturating_add(done), read.get().saturating_add(total));
            };
            install::copy_files(&root, staging, manifest, packing, &progress, cancel)?;
        }
        personal::put(staging, wanted.personal)
    })?;
    finish(home, game, done)
}

/// Removes `local/`.
pub(super) fn uninstall(home: &GameDir, game: &GameId) -> Changed {
    let done = install::uninstall(&home.root(game)?, game)?;
    finish(home, game, done)
}

/// Makes a `local/` lanspread's.
pub(super) fn adopt(home: &GameDir, game: &GameId) -> Changed {
    let done = install::adopt(&home.root(game)?, game)?;
    finish(home, game, done)
}

/// Removes the downloaded files.
pub(super) fn remove(home: &GameDir, game: &GameId) -> Changed {
    let manifest = home.files_to_remove(game)?;
    install::remove(home.dir(), game, &manifest)?;
    home.forget_content(game);
    Ok((home.scan_game(game, None)?, KeptFiles::default()))
}

fn finish(home: &GameDir, game: &GameId, done: Done) -> Changed {
    if let Some(leftover) = done.leftover {
        tracing::warn!(%game, "the old install could not be tidied away: {leftover}");
    }
    Ok((home.scan_game(game, None)?, done.kept))
}
