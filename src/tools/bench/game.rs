//! The synthetic game, and the place where it lies.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::BenchError;
use crate::sys::is_in_memory;
use crate::tools::demo::free_space;
use crate::types::{GameId, GameIdError};

/// Its id.
pub(super) const GAME: &str = "lanspread-bench";
/// Its version, as sentinel and catalog state it.
const VERSION: &str = "1";
/// Bytes written at once.
const BLOCK: usize = 1 << 20;
/// Room beyond the files.
const SPARE: u64 = 64 << 20;

/// The id as the daemon takes it.
pub(super) fn id() -> Result<GameId, BenchError> {
    GAME.parse().map_err(|error: GameIdError| BenchError::Step(error.to_string()))
}

/// Where files lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Not on a disk, if the system has such a place with so much room.
    Memory,
    /// On a disk.
    Disk,
}

/// A directory that goes when it is dropped, and whether what lies in it is in memory alone.
pub(super) struct Scratch {
    pub(super) dir: tempfile::TempDir,
    pub(super) in_memory: bool,
}

impl Scratch {
    /// In `wish`, or where `place` says, with room for `bytes`.
    pub(super) fn make(wish: Option<&Path>, place: Place, bytes: u64) -> Result<Self, BenchError> {
        let needed = bytes + SPARE;
        let (parent, in_memory) = match (wish, place) {
            (Some(dir), _) => (dir.to_owned(), is_in_memory(dir)),
            (None, Place::Memory) if memory().is_some_and(|dir| has_room(&dir, needed)) => {
                (memory().unwrap_or_else(std::env::temp_dir), true)
            }
            _ => (std::env::temp_dir(), is_in_memory(&std::env::temp_dir())),
        };
        if !has_room(&parent, needed) {
            let place = parent.display();
            let message =
                format!("not enough room in {place} for {needed} bytes; take a smaller --size or another --dir");
            return Err(BenchError::Step(message));
        }
        let dir = tempfile::Builder::new().prefix("lanspread-bench-").tempdir_in(&parent);
        let dir = dir.map_err(|source| BenchError::File { path: parent, source })?;
        Ok(Self { dir, in_memory })
    }
}

/// Where Linux keeps files in memory.
fn memory() -> Option<PathBuf> {
    let dir = Path::new("/dev/shm");
    is_in_memory(dir).then(|| dir.to_owned())
}

/// Whether so many bytes are free; true when the system does not say.
fn has_room(dir: &Path, bytes: u64) -> bool {
    free_space(dir).is_none_or(|free| free >= bytes)
}

/// Makes the game of `bytes` bytes below `games`: two files that do not compress, and the sentinel.
pub(super) fn create(games: &Path, bytes: u64) -> Result<(), BenchError> {
    let dir = games.join(GAME);
    fs::create_dir_all(&dir).map_err(at(&dir))?;
    let half = bytes / 2;
    for (name, size) in [("one.pak", half), ("two.pak", bytes - half)] {
        let path = dir.join(name);
        let mut file = File::create(&path).map_err(at(&path))?;
        let mut noise = blake3::Hasher::new().update(name.as_bytes()).finalize_xof();
        let mut block = vec![0; BLOCK];
        let mut left = size;
        while left > 0 {
            let len = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
            noise.fill(&mut block[..len]);
            file.write_all(&block[..len]).map_err(at(&path))?;
            left -= len as u64;
        }
    }
    put(&dir.join("version.ini"), VERSION.as_bytes())
}

/// Writes the catalog that lists this game alone: nothing else is taken in or handed out.
pub(super) fn write_catalog(path: &Path) -> Result<(), BenchError> {
    let game = serde_json::json!({"id": GAME, "name": "Benchmark", "version": VERSION});
    put(path, serde_json::json!({"format": 1, "games": [game]}).to_string().as_bytes())
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), BenchError> {
    File::create(path).and_then(|mut file| file.write_all(bytes)).map_err(at(path))
}

pub(super) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> BenchError {
    move |source| BenchError::File { path: path.to_owned(), source }
}
