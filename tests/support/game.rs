//! Games made on the fly, of bytes that no link compresses, and the comparison of trees.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Bytes of a chunk: sizes in tests are derived from it, so that what a test names really happens.
pub(crate) const CHUNK: u64 = lanspread_peer::types::CHUNK_SIZE;
/// Bytes of a mebibyte.
pub(crate) const MIB: u64 = 1 << 20;

/// What to put into a folder of a game.
#[derive(Clone)]
pub(crate) struct GameSpec {
    pub(crate) id: String,
    version: Option<String>,
    files: Vec<(String, u64)>,
    seed: u64,
}

impl GameSpec {
    /// A game of version 1.0 without files.
    pub(crate) fn new(id: &str) -> Self {
        Self { id: id.to_owned(), version: Some("1.0".into()), files: Vec::new(), seed: 1 }
    }

    /// One archive of two chunks and a bit, and a file in a directory.
    pub(crate) fn small(id: &str) -> Self {
        Self::new(id).file("data.pak", 2 * CHUNK + 4321).file("extra/readme.txt", 77)
    }

    pub(crate) fn version(mut self, version: &str) -> Self {
        self.version = Some(version.to_owned());
        self
    }

    /// Leaves `version.ini` out.
    pub(crate) fn without_sentinel(mut self) -> Self {
        self.version = None;
        self
    }

    pub(crate) fn file(mut self, path: &str, bytes: u64) -> Self {
        self.files.push((path.to_owned(), bytes));
        self
    }

    /// `count` files of `bytes` each, in directories of 100.
    pub(crate) fn many(mut self, count: usize, bytes: u64) -> Self {
        self.files.extend((0..count).map(|i| (format!("many/{:03}/{i:05}.dat", i / 100), bytes)));
        self
    }

    /// Other bytes under the same names and sizes.
    pub(crate) fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Bytes of all files, `version.ini` included.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes).sum::<u64>() + self.version.as_ref().map_or(0, |v| v.len() as u64 + 1)
    }

    /// Writes the game into `game_dir`, the sentinel last. Returns its root.
    pub(crate) fn write(&self, game_dir: &Path) -> PathBuf {
        let root = game_dir.join(&self.id);
        fs::create_dir_all(&root).unwrap();
        for (path, bytes) in &self.files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            write_noise(&path, *bytes, self.seed, path.strip_prefix(game_dir).unwrap());
        }
        if let Some(version) = &self.version {
            fs::write(root.join("version.ini"), format!("{version}\n")).unwrap();
        }
        root
    }
}

fn write_noise(path: &Path, bytes: u64, seed: u64, name: &Path) {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_be_bytes());
    hasher.update(name.as_os_str().as_encoded_bytes());
    let mut noise = hasher.finalize_xof();
    let mut file = File::create(path).unwrap();
    let mut buffer = vec![0; bytes.clamp(1, 1 << 20) as usize];
    let mut left = bytes;
    while left > 0 {
        let part = &mut buffer[..left.min(1 << 20) as usize];
        noise.fill(part);
        file.write_all(part).unwrap();
        left -= part.len() as u64;
    }
}

/// What lanspread notes in a `local/` that it made.
pub(crate) const NOTES: [&str; 1] = [".lanspread_installed"];

/// Every entry beneath `root` but `skip`: path to what it is and, for a file, its size and BLAKE3.
pub(crate) fn tree(root: &Path, skip: &[&str]) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    walk(root, root, skip, &mut out);
    out
}

fn walk(root: &Path, dir: &Path, skip: &[&str], out: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if skip.contains(&name.as_str()) {
            continue;
        }
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            out.insert(name, "directory".into());
            walk(root, &path, skip, out);
        } else if meta.is_file() {
            out.insert(name, format!("{} bytes {}", meta.len(), file_hash(&path)));
        } else {
            out.insert(name, "special".into());
        }
    }
}

fn file_hash(path: &Path) -> String {
    let mut file = File::open(path).unwrap();
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return hasher.finalize().to_hex().to_string(),
            n => hasher.update(&buffer[..n]),
        };
    }
}

/// What an installation leaves in a game's directory.
const INSTALLATION: [&str; 2] = ["local", ".lanspread.json"];

/// Fails with the differences unless both games have the same files with the same bytes and nothing else (what belongs
/// to an installation is left out on both sides).
pub(crate) fn assert_same_tree(source: &Path, copy: &Path) {
    let (want, got) = (tree(source, &INSTALLATION), tree(copy, &INSTALLATION));
    let mut differences = Vec::new();
    for (path, what) in &want {
        match got.get(path) {
            Some(other) if other == what => {}
            other => differences.push(format!("{path}: source {what}, copy {other:?}")),
        }
    }
    differences
        .extend(got.keys().filter(|path| !want.contains_key(*path)).map(|path| format!("{path}: only in the copy")));
    differences.truncate(20);
    assert!(want.len() > 1, "the source has files");
    assert!(differences.is_empty(), "the copy differs from its source:\n{}", differences.join("\n"));
}

/// The bytes of one chunk, read from the source's file.
pub(crate) fn chunk_of(file: &Path, index_in_file: u64) -> Vec<u8> {
    use std::io::{Seek, SeekFrom};
    let mut file = File::open(file).unwrap();
    file.seek(SeekFrom::Start(index_in_file * CHUNK)).unwrap();
    let mut out = Vec::new();
    file.take(CHUNK).read_to_end(&mut out).unwrap();
    out
}
