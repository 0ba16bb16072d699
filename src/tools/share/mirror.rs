//! Makes a folder of games into a mirror that any static web server can serve.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde_json::json;

use super::ShareError;
use crate::fs::{Dir, FsError};
use crate::index::GameDir;
use crate::mirror::{
    DocumentError, INDEX_MARKER, MAX_MANIFEST_BYTES, MirrorGame, read_manifest, write_index, write_manifest,
};
use crate::tools::say;
use crate::types::{
    GameId, JobError, JobErrorKind, KnownContent, MIRROR_MANIFEST, MIRROR_MARKER, RelPath, ScannedGame,
};

/// The list of all games, beneath the folder itself.
const INDEX: &str = "index.json";
/// Documents pass through this name, which is never part of a game.
const TEMPORARY: &str = ".lanspread-mirror.tmp";

/// Why a game is not on the mirror.
#[derive(Debug, thiserror::Error)]
enum Skipped {
    #[error("it has no version.ini, so it is not complete")]
    Incomplete,
    #[error("it cannot be handed out: {0}")]
    Unportable(String),
    #[error("{0}")]
    Document(#[from] DocumentError),
    #[error("{0}")]
    Disk(#[from] JobError),
    #[error(transparent)]
    File(#[from] FsError),
}

/// Hashes every complete game of the folder, as far as its hashes are not known, writes its `manifest.json` durably, then
/// `index.json`. A document that is as it should be is left alone. Says on stdout what was done and what was skipped, and why.
///
/// # Errors
/// [`ShareError`]; a game that cannot be shared is no error, but is said.
pub(super) fn run(dir: &Path, json: bool) -> Result<(), ShareError> {
    let (dir, opened) = GameDir::open(dir)?;
    let root = dir.dir();
    if root.exists(INDEX)? && !begins_with(root, INDEX, INDEX_MARKER)? {
        return Err(ShareError::Foreign(root.path().join(INDEX)));
    }
    let (mut shared, mut skipped) = (Vec::new(), Vec::new());
    for game in &opened.games {
        match share(&dir, game) {
            Ok(game) => {
                if !json {
                    say(&format!(
                        "{}: {} files, {} bytes\n",
                        game.summary.id,
                        game.manifest.files().len(),
                        game.summary.size
                    ))?;
                }
                // Of a large library the hashes need not stay in memory.
                shared.push(MirrorGame { content: KnownContent { chunks: Vec::new(), ..game.content }, ..game });
            }
            Err(reason) => {
                if !json {
                    say(&format!("{}: skipped: {reason}\n", game.id))?;
                }
                withdraw(&dir, &game.id)?;
                skipped.push((game.id.clone(), reason.to_string()));
            }
        }
    }
    let index = write_index(shared.iter()).map_err(ShareError::Index)?;
    write(root, INDEX, &index)?;
    if json {
        let skipped: Vec<_> = skipped.iter().map(|(id, reason)| json!({"id": id, "reason": reason})).collect();
        let shared: Vec<_> =
            shared.iter().map(|game| json!({"id": game.summary.id, "bytes": game.summary.size})).collect();
        say(&format!("{}\n", json!({"shared": shared, "skipped": skipped, "notice": opened.notice})))?;
    } else {
        if let Some(notice) = &opened.notice {
            say(&format!("{notice}\n"))?;
        }
        say(&format!("{} games shared, {} skipped; {} is written\n", shared.len(), skipped.len(), INDEX))?;
    }
    Ok(())
}

fn share(dir: &GameDir, game: &ScannedGame) -> Result<MirrorGame, Skipped> {
    if let Some(reason) = &game.unportable {
        return Err(Skipped::Unportable(reason.clone()));
    }
    let version = game.eti_version.as_deref().filter(|_| game.downloaded).ok_or(Skipped::Incomplete)?;
    dir.hash_game(&game.id, game.manifest_hash, &AtomicBool::new(false))?;
    let served = dir.read_manifest(&game.id, game.manifest_hash)?;
    let content = served.content.ok_or_else(|| {
        Skipped::Disk(JobError::new(JobErrorKind::Changed, "it changed while it was hashed; run this again"))
    })?;
    let document = write_manifest(&game.id, version, &served.manifest, &content)?;
    // What every client does with it.
    let read = read_manifest(&game.id, &document)?;
    write(&dir.root(&game.id)?, MIRROR_MANIFEST, &document)?;
    Ok(read)
}

/// Takes away the description of a game that is not shared (any more), if it is one.
fn withdraw(dir: &GameDir, game: &GameId) -> Result<(), ShareError> {
    let Ok(root) = dir.root(game) else { return Ok(()) };
    if begins_with(&root, MIRROR_MANIFEST, MIRROR_MARKER)? {
        root.remove_file(MIRROR_MANIFEST)?;
        root.sync()?;
    }
    Ok(())
}

/// Puts a document in its place, atomically and durably, unless it is there.
fn write(dir: &Dir, name: &str, bytes: &[u8]) -> Result<(), FsError> {
    // A web server would tell everybody to fetch it again.
    if dir.read_small(name, MAX_MANIFEST_BYTES as usize).is_ok_and(|there| there.as_deref() == Some(bytes)) {
        return Ok(());
    }
    dir.write_new(TEMPORARY, bytes).and_then(|()| dir.rename(TEMPORARY, name)).and_then(|()| dir.sync()).inspect_err(
        |_| {
            // Best effort: the next run removes it first.
            let _ = dir.remove_file(TEMPORARY);
        },
    )
}

fn begins_with(dir: &Dir, name: &str, marker: &str) -> Result<bool, FsError> {
    let Ok(path) = RelPath::parse(name) else { return Ok(false) };
    let file = match dir.open_read(&path) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut start = vec![0; marker.len()];
    Ok(file.read_at(&mut start, 0)? == start.len() && start == marker.as_bytes())
}
