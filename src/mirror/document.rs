//! `manifest.json` and `index.json`: what they look like, and what is accepted. All of it is hostile.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::types::{
    Availability, CHUNK_SIZE, ChunkHash, ContentHash, FileEntry, GameId, GameSummary, KnownContent, MAX_GAMES,
    MAX_NAME_BYTES, MAX_SENTINEL_BYTES, MAX_VERSION_BYTES, MIRROR_MANIFEST, Manifest, ManifestError, ManifestHash,
    RelPath, SENTINEL, content_hash,
};

/// Every list of games begins with these bytes.
pub const INDEX_MARKER: &str = "{\"lanspread_mirror_index\":";
/// The format that this program reads and writes.
const FORMAT: u64 = 1;
/// That of a game with empty directories, of which versions that read format 1 only know nothing.
const FORMAT_DIRS: u64 = 2;
/// Largest description of a game in bytes: one of more than half a terabyte.
pub const MAX_MANIFEST_BYTES: u64 = 64 << 20;
/// Largest list of games in bytes.
pub(super) const MAX_INDEX_BYTES: u64 = 16 << 20;

/// A game as a mirror describes it; valid in itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MirrorGame {
    /// As a library would list it.
    pub summary: Arc<GameSummary>,
    /// The files.
    pub manifest: Manifest,
    /// The hash of every chunk, and of all of it.
    pub content: KnownContent,
}

/// Why a document is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON, or a field is missing or of a wrong form.
    #[error("it is not a description of this kind: {0}")]
    Json(#[from] serde_json::Error),
    /// Of another version of the program.
    #[error("its format is {0}, and this version reads formats up to {FORMAT_DIRS}")]
    Format(u64),
    /// A list of files that is not valid.
    #[error(transparent)]
    Files(#[from] ManifestError),
    /// It is too large to be read.
    #[error("it would be larger than {} MiB", .0 >> 20)]
    TooLarge(u64),
    /// Everything else, in words.
    #[error("{0}")]
    Broken(&'static str),
}

#[derive(Serialize, Deserialize)]
struct ManifestDocument {
    // First, so that a document begins with the marker.
    lanspread_mirror: u64,
    #[serde(flatten)]
    game: GameRow,
    chunk_size: u64,
    files: Vec<FileEntry>,
    /// Empty directories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dirs: Vec<RelPath>,
    /// The hashes of all chunks in order, one after the other in hexadecimal digits.
    chunks: String,
}

#[derive(Serialize, Deserialize)]
struct IndexDocument {
    lanspread_mirror_index: u64,
    games: Vec<GameRow>,
}

#[derive(Clone, Serialize, Deserialize)]
struct GameRow {
    id: GameId,
    name: String,
    version: String,
    /// Bytes of all files.
    size: u64,
    manifest_hash: ManifestHash,
    content_hash: ContentHash,
}

impl GameRow {
    fn check(&self) -> Result<(), DocumentError> {
        if self.name.is_empty() || self.name.len() > MAX_NAME_BYTES {
            return Err(DocumentError::Broken("the name of a game is empty or longer than 256 bytes"));
        }
        if self.version.len() > MAX_VERSION_BYTES {
            return Err(DocumentError::Broken("the version of a game is longer than 128 bytes"));
        }
        Ok(())
    }

    fn summary(self) -> Arc<GameSummary> {
        Arc::new(GameSummary {
            id: self.id,
            name: self.name,
            eti_version: Some(self.version),
            size: self.size,
            downloaded: true,
            installed: false,
            manifest_hash: self.manifest_hash,
            content_hash: Some(self.content_hash),
            availability: Availability::Ready,
            changed: false,
            supersedes: Vec::new(),
            not_shared: None,
        })
    }
}

/// Reads the description of `game`. What it says of sizes and hashes is held against its list of files and chunks.
///
/// # Errors
/// [`DocumentError`].
pub fn read_manifest(game: &GameId, bytes: &[u8]) -> Result<MirrorGame, DocumentError> {
    let ManifestDocument { lanspread_mirror, game: row, chunk_size, files, dirs, chunks } = parse(bytes)?;
    if lanspread_mirror != if dirs.is_empty() { FORMAT } else { FORMAT_DIRS } {
        return Err(DocumentError::Format(lanspread_mirror));
    }
    row.check()?;
    if row.id != *game {
        return Err(DocumentError::Broken("it describes another game"));
    }
    if chunk_size != CHUNK_SIZE {
        return Err(DocumentError::Broken("its chunks are of another size"));
    }
    let manifest = Manifest::with_dirs(files, dirs)?;
    check_files(&manifest)?;
    if manifest.bytes() != row.size || manifest.hash() != row.manifest_hash {
        return Err(DocumentError::Broken("its files and folders are not those that its size and manifest_hash name"));
    }
    let chunks = read_hashes(&chunks).ok_or(DocumentError::Broken("its chunk hashes are not hexadecimal digits"))?;
    if chunks.len() != manifest.chunk_count() as usize || content_hash(&manifest, &chunks) != row.content_hash {
        return Err(DocumentError::Broken("its chunk hashes do not match its content_hash"));
    }
    let content = KnownContent { hash: row.content_hash, chunks };
    Ok(MirrorGame { summary: row.summary(), manifest, content })
}

/// Reads a list of games; the result is ascending by id.
///
/// # Errors
/// [`DocumentError`]; a list that breaks one rule is refused as a whole.
pub fn read_index(bytes: &[u8]) -> Result<Vec<Arc<GameSummary>>, DocumentError> {
    let IndexDocument { lanspread_mirror_index, games } = parse(bytes)?;
    format(lanspread_mirror_index)?;
    if games.len() > MAX_GAMES {
        return Err(DocumentError::Broken("it lists more than 20,000 games"));
    }
    games.iter().try_for_each(GameRow::check)?;
    let mut games: Vec<_> = games.into_iter().map(GameRow::summary).collect();
    games.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    if !games.is_sorted_by(|a, b| a.id < b.id) {
        return Err(DocumentError::Broken("it lists a game twice"));
    }
    Ok(games)
}

/// The description of a game, as [`read_manifest`] takes it. `version`: as `version.ini` states it.
///
/// # Errors
/// Why such a game cannot be on a mirror.
pub fn write_manifest(
    game: &GameId,
    version: &str,
    manifest: &Manifest,
    content: &KnownContent,
) -> Result<Vec<u8>, DocumentError> {
    let row = GameRow {
        id: game.clone(),
        name: game.to_string(),
        version: version.to_owned(),
        size: manifest.bytes(),
        manifest_hash: manifest.hash(),
        content_hash: content.hash,
    };
    row.check()?;
    check_files(manifest)?;
    let chunks = content.chunks.iter().map(ChunkHash::to_string).collect();
    let document = ManifestDocument {
        lanspread_mirror: if manifest.dirs().is_empty() { FORMAT } else { FORMAT_DIRS },
        game: row,
        chunk_size: CHUNK_SIZE,
        files: manifest.files().to_vec(),
        dirs: manifest.dirs().to_vec(),
        chunks,
    };
    within(serde_json::to_vec(&document)?, MAX_MANIFEST_BYTES)
}

/// A list of games, as [`read_index`] takes it.
///
/// # Errors
/// When it is too long.
pub fn write_index<'a>(games: impl Iterator<Item = &'a MirrorGame>) -> Result<Vec<u8>, DocumentError> {
    let row = |game: &MirrorGame| GameRow {
        id: game.summary.id.clone(),
        name: game.summary.name.clone(),
        version: game.summary.eti_version.clone().unwrap_or_default(),
        size: game.summary.size,
        manifest_hash: game.summary.manifest_hash,
        content_hash: game.content.hash,
    };
    let document = IndexDocument { lanspread_mirror_index: FORMAT, games: games.map(row).collect() };
    if document.games.len() > MAX_GAMES {
        return Err(DocumentError::Broken("it would list more than 20,000 games"));
    }
    within(serde_json::to_vec(&document)?, MAX_INDEX_BYTES)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DocumentError> {
    Ok(serde_json::from_slice(bytes)?)
}

fn format(format: u64) -> Result<(), DocumentError> {
    if format == FORMAT { Ok(()) } else { Err(DocumentError::Format(format)) }
}

fn within(bytes: Vec<u8>, most: u64) -> Result<Vec<u8>, DocumentError> {
    if bytes.len() as u64 > most { Err(DocumentError::TooLarge(most)) } else { Ok(bytes) }
}

fn check_files(manifest: &Manifest) -> Result<(), DocumentError> {
    let mut files = manifest.files().iter();
    let mut paths = files.clone().map(|file| &file.path).chain(manifest.dirs());
    // A server may not tell upper from lower case.
    if paths.any(|path| path.as_str().eq_ignore_ascii_case(MIRROR_MANIFEST)) {
        return Err(DocumentError::Broken(
            "a file or folder of the game is called manifest.json, where its description must be",
        ));
    }
    match files.find(|file| file.path.as_str() == SENTINEL) {
        None => Err(DocumentError::Broken("it has no version.ini")),
        Some(file) if file.size > MAX_SENTINEL_BYTES as u64 => {
            Err(DocumentError::Broken("its version.ini is too long"))
        }
        Some(_) => Ok(()),
    }
}

/// Hexadecimal digits of any number of hashes.
fn read_hashes(digits: &str) -> Option<Vec<ChunkHash>> {
    const DIGITS: usize = 64;
    if !digits.is_ascii() || !digits.len().is_multiple_of(DIGITS) {
        return None;
    }
    let hashes = (0..digits.len() / DIGITS).map(|at| digits.get(at * DIGITS..(at + 1) * DIGITS)?.parse().ok());
    hashes.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn game() -> (GameId, Vec<u8>) {
        let file = |path: &str, size| FileEntry { path: RelPath::parse(path).unwrap(), size, exec: size == 7 };
        let files = vec![file("version.ini", 4), file("a/b.dat", 2 * CHUNK_SIZE + 5), file("run", 7), file("empty", 0)];
        let manifest = Manifest::new(files).unwrap();
        let chunks: Vec<_> = (0..manifest.chunk_count()).map(|n| ChunkHash::of(&n.to_be_bytes())).collect();
        let content = KnownContent { hash: content_hash(&manifest, &chunks), chunks };
        let id: GameId = "doom".parse().unwrap();
        let bytes = write_manifest(&id, "1.9", &manifest, &content).unwrap();
        (id, bytes)
    }

    #[test]
    fn what_is_written_is_read_and_begins_with_the_marker() {
        let (id, bytes) = game();
        assert!(bytes.starts_with(crate::types::MIRROR_MARKER.as_bytes()));
        let read = read_manifest(&id, &bytes).unwrap();
        assert_eq!((read.summary.eti_version.as_deref(), read.manifest.chunk_count()), (Some("1.9"), 5));
        assert!(read.manifest.files().iter().any(|file| file.exec && file.path.as_str() == "run"));
        let index = write_index([&read].into_iter()).unwrap();
        assert!(index.starts_with(INDEX_MARKER.as_bytes()));
        assert_eq!(read_index(&index).unwrap(), [read.summary]);
    }

    #[test]
    fn a_description_that_contradicts_itself_is_refused() {
        let (id, bytes) = game();
        let good: Value = serde_json::from_slice(&bytes).unwrap();
        let spoil = |what: &str, change: &dyn Fn(&mut Value)| {
            let mut bad = good.clone();
            change(&mut bad);
            assert!(read_manifest(&id, bad.to_string().as_bytes()).is_err(), "{what} was accepted");
        };
        spoil("another format", &|v| v["lanspread_mirror"] = json!(2));
        spoil("another game", &|v| v["id"] = json!("quake"));
        spoil("a bad id", &|v| v["id"] = json!("../doom"));
        spoil("another size", &|v| v["size"] = json!(1));
        spoil("a negative size", &|v| v["files"][0]["size"] = json!(-1));
        spoil("another chunk size", &|v| v["chunk_size"] = json!(4096));
        spoil("a path that leads out", &|v| v["files"][0]["path"] = json!("../../etc/passwd"));
        spoil("a reserved path", &|v| v["files"][0]["path"] = json!("local/x"));
        spoil("a file too few", &|v| drop(v["files"].as_array_mut().unwrap().pop()));
        spoil("a long name", &|v| v["name"] = json!("x".repeat(257)));
        spoil("a long version", &|v| v["version"] = json!("x".repeat(129)));
        spoil("no hashes", &|v| v["chunks"] = json!(""));
        spoil("half a hash", &|v| v["chunks"] = json!(&good["chunks"].as_str().unwrap()[..100]));
        spoil("other digits", &|v| v["chunks"] = json!("ü".repeat(160)));
        spoil("another content", &|v| v["content_hash"] = json!("00".repeat(32)));
        spoil("another list", &|v| v["manifest_hash"] = json!("00".repeat(16)));
        spoil("swapped hashes", &|v| {
            let text = good["chunks"].as_str().unwrap();
            v["chunks"] = json!(format!("{}{}{}", &text[64..128], &text[..64], &text[128..]));
        });
        assert!(read_manifest(&id, &bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn empty_directories_come_along_in_a_format_of_their_own() {
        let file = |path: &str| FileEntry { path: RelPath::parse(path).unwrap(), size: 0, exec: false };
        let write = |dirs: &[&str]| {
            let dirs = dirs.iter().map(|dir| RelPath::parse(dir).unwrap()).collect();
            let manifest = Manifest::with_dirs(vec![file("version.ini")], dirs).unwrap();
            let content = KnownContent { hash: content_hash(&manifest, &[]), chunks: vec![] };
            let id: GameId = "doom".parse().unwrap();
            (id.clone(), write_manifest(&id, "", &manifest, &content))
        };
        let (id, bytes) = write(&["saves", "data/logs"]);
        let bytes = bytes.unwrap();
        assert!(bytes.starts_with(b"{\"lanspread_mirror\":2,"));
        assert_eq!(read_manifest(&id, &bytes).unwrap().manifest.dirs().len(), 2);
        let good: Value = serde_json::from_slice(&bytes).unwrap();
        for (key, value) in [
            ("lanspread_mirror", json!(1)),
            ("dirs", json!([])),
            ("dirs", json!(["saves"])),
            ("dirs", json!(["saves", "../logs"])),
            ("dirs", json!(["saves", "version.ini"])),
            ("dirs", json!("saves")),
        ] {
            let mut bad = good.clone();
            bad[key] = value;
            assert!(read_manifest(&id, bad.to_string().as_bytes()).is_err(), "{bad}");
        }
        assert!(write(&["Manifest.json"]).1.is_err());
        assert!(write(&[]).1.unwrap().starts_with(b"{\"lanspread_mirror\":1,"));
    }

    #[test]
    fn a_file_in_the_place_of_the_description_cannot_be_mirrored() {
        let file = |path: &str| FileEntry { path: RelPath::parse(path).unwrap(), size: 0, exec: false };
        let with = |path| Manifest::new(vec![file("version.ini"), file(path)]).unwrap();
        assert!(check_files(&with("manifest.json")).is_err());
        assert!(check_files(&with("Manifest.JSON")).is_err());
        assert!(check_files(&with("data/manifest.json")).is_ok());
        assert!(check_files(&Manifest::new(vec![file("readme")]).unwrap()).is_err());
    }

    #[test]
    fn a_list_names_each_game_once() {
        let (id, bytes) = game();
        let read = read_manifest(&id, &bytes).unwrap();
        assert!(read_index(&write_index([&read, &read].into_iter()).unwrap()).is_err());
        assert!(read_index(b"{\"lanspread_mirror_index\":2,\"games\":[]}").is_err());
        assert!(read_index(b"[]").is_err());
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn damage_is_never_a_panic(at in 0usize..10_000, with: u8) {
            let (id, mut bytes) = game();
            let at = at % bytes.len();
            bytes[at] = with;
            let _ = read_manifest(&id, &bytes);
            let _ = read_index(&bytes);
        }
    }
}
