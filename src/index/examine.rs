//! One game's folder looked at for its owner, wherever it lies: nothing is locked, and nothing on the disk changes.

use std::ffi::OsStr;
use std::sync::atomic::AtomicU64;

use super::ownership::Records;
use super::scan::GameRoot;
use super::{META, NOT_GAMES, changed};
use crate::fs::{Dir, Entry, EntryKind, FsError};
use crate::install::{INSTALL, LOG};
use crate::types::{GameId, JobError, LeftOut, Manifest, SENTINEL, ScannedGame};

/// What there is to say about a game's folder.
#[derive(Clone, Debug)]
pub struct Examined {
    /// As a daemon would see it, hashes apart.
    pub game: ScannedGame,
    /// Its files; `None` where [`ScannedGame::unportable`] says why there is no list of them.
    pub manifest: Option<Manifest>,
    /// Why the version cannot be said.
    pub version_fault: Option<String>,
    /// Why what has the name of installations keeps others from getting the game, also before it has a version.
    pub local_fault: Option<String>,
    /// What desktops put there, which is no part of any game.
    pub of_desktops: Option<LeftOut>,
    /// A download of it has not come to its end.
    pub is_incoming: bool,
}

/// Looks at the game of this root. `games` is the directory that it lies in, which knows what a download brought.
///
/// # Errors
/// When the root is gone, or the system says something.
pub fn examine(root: Dir, id: &GameId, games: Option<&Dir>) -> Result<Examined, JobError> {
    let reads = AtomicU64::new(0);
    let root = GameRoot::of(root, &reads)?.ok_or_else(|| changed(id, format_args!("its folder is gone")))?;
    let records = games.map_or(Ok(None), records_in)?;
    let brought = records.as_ref().map_or(Ok(None), |records| records.brought_list(id))?;
    let is_incoming = !root.is_complete() && records.map_or(Ok(false), |records| records.is_incoming(id))?;
    let listing = root.list_for_others(brought.as_ref(), &reads)?;
    let mut game = root.summary(id, &listing);
    let manifest = listing.manifest.ok();
    if let Some(manifest) = &manifest {
        game.installs_by = Some(root.packing(manifest)?);
    }
    Ok(Examined {
        manifest,
        version_fault: root.version_fault().map(str::to_owned),
        local_fault: root.local_fault().filter(|_| game.brought.is_none()),
        of_desktops: listing.of_desktops,
        is_incoming,
        game,
    })
}

fn records_in(games: &Dir) -> Result<Option<Records>, FsError> {
    match games.subdir(META) {
        Ok(meta) => Records::look(&meta),
        Err(_) => Ok(None),
    }
}

/// Whether a folder of this name, directly in a game directory, may be a game's.
pub fn may_be_game(name: &OsStr) -> bool {
    !name.as_encoded_bytes().starts_with(b".") && NOT_GAMES.iter().all(|other| name != *other)
}

/// What a directory is, to someone who has only its path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holds {
    /// Games: a daemon used it as their directory, or something in it can only be a game.
    Games,
    /// What one game may consist of.
    OneGame,
    /// One game, or several that have no version yet: only its owner knows.
    Unclear,
}

/// Whether a directory is one of games rather than one game.
///
/// # Errors
/// When it cannot be read.
pub fn what_it_holds(dir: &Dir) -> Result<Holds, FsError> {
    let mut entries = dir.entries()?;
    let is_dir = |entry: &Entry| entry.kind == EntryKind::Dir;
    if entries.iter().any(|entry| is_dir(entry) && entry.name == META) {
        return Ok(Holds::Games);
    }
    if entries.iter().any(|entry| entry.name.eq_ignore_ascii_case(SENTINEL)) {
        return Ok(Holds::OneGame);
    }
    entries.retain(|entry| !entry.is_of_a_desktop() && may_be_game(&entry.name));
    let is_local = |entry: &Entry| is_dir(entry) && entry.name.eq_ignore_ascii_case(INSTALL);
    // What was installed, or operated on, is at the root of a game.
    if entries.iter().any(&is_local) || dir.exists(LOG)? {
        return Ok(Holds::OneGame);
    }
    let beneath = |entry: &Entry| dir.child(&entry.name).and_then(|child| child.entries()).unwrap_or_default();
    let children: Vec<Vec<Entry>> = entries.iter().filter(|entry| is_dir(entry)).map(beneath).collect();
    let has = |test: &dyn Fn(&Entry) -> bool| children.iter().any(|child| child.iter().any(test));
    let only_folders = !entries.is_empty() && entries.iter().all(is_dir);
    let has_sentinel = has(&|entry| entry.name.eq_ignore_ascii_case(SENTINEL));
    Ok(if has(&|entry| entry.name == LOG) || (has_sentinel && only_folders) {
        Holds::Games
    } else if has_sentinel || only_folders || has(&is_local) {
        Holds::Unclear
    } else {
        Holds::OneGame
    })
}
