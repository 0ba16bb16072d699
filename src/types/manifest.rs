//! The files of a game, and how their bytes are cut into chunks.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::path::fold;
use super::{ChunkHash, ContentHash, ManifestHash, PathError, RelPath};

/// Size of a chunk in bytes: the unit of hashing, requesting, verifying and resuming. The last chunk of a file is
/// shorter; a chunk never crosses from one file into the next; an empty file has none.
pub const CHUNK_SIZE: u64 = 1 << 20;

/// Most files and empty directories of one manifest.
pub const MAX_ENTRIES: usize = 200_000;
/// Most bytes of the list of a game's files as it travels: it has to fit in one frame.
pub const MAX_LIST_BYTES: usize = (16 << 20) - 4_096;
/// Largest game in bytes (64 TiB), so that sums cannot overflow and chunk numbers fit in 32 bits.
const MAX_BYTES: u64 = 1 << 46;

/// One file of a game.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileEntry {
    /// Where, beneath the game's root.
    pub path: RelPath,
    /// How long, in bytes.
    pub size: u64,
    /// Whether to set the executable bit where there is one. A hint: not part of the manifest's hash.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exec: bool,
}

/// Number of a chunk, counted through the whole game in canonical file order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChunkIndex(pub u32);

/// Consecutive chunks `first .. first + count`; `count` is at least 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ChunkRange {
    /// The first of them.
    pub first: u32,
    /// How many.
    pub count: u32,
}

impl ChunkRange {
    /// Every chunk of the range in order.
    pub fn iter(self) -> impl Iterator<Item = ChunkIndex> {
        (self.first..self.first.saturating_add(self.count)).map(ChunkIndex)
    }
}

/// Consecutive chunks that travel in one buffer: read, hashed and written by one worker job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Which chunks.
    pub range: ChunkRange,
    /// Sum of their lengths, 1 to [`CHUNK_SIZE`].
    pub bytes: u32,
}

/// Most chunks of one [`Batch`]: bounds the files that one job opens.
pub const MAX_BATCH_CHUNKS: u32 = 256;

/// Where one chunk's bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// Index into [`Manifest::files`].
    pub file: usize,
    /// First byte within that file.
    pub offset: u64,
    /// Length in bytes, 1 to [`CHUNK_SIZE`].
    pub len: u32,
}

/// Why a list of files is not a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A path that cannot be stored everywhere.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Two paths that some file system would merge (equal after case folding and NFC), or a file, or a directory that is
    /// said to be empty, where another entry needs a directory.
    #[error("the paths {0:?} and {1:?} cannot both be stored on every file system")]
    Collision(String, String),
    /// More than the bounds on files or bytes.
    #[error("a manifest of {entries} files and empty folders and {bytes} bytes is over the limit")]
    TooLarge {
        /// Number of files and empty directories.
        entries: usize,
        /// Sum of their sizes, saturated.
        bytes: u64,
    },
}

/// The files of a game, and its empty directories, each in canonical order (ascending bytes of the path). Immutable and
/// valid once made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    files: Vec<FileEntry>,
    /// Directories with nothing in them.
    dirs: Vec<RelPath>,
    /// `first_chunk[i]` = number of the first chunk of file `i`; one more entry holds the total.
    first_chunk: Vec<u32>,
    bytes: u64,
}

impl Manifest {
    /// Sorts and checks a list of files of a game without empty directories.
    pub fn new(files: Vec<FileEntry>) -> Result<Self, ManifestError> {
        Self::with_dirs(files, Vec::new())
    }

    /// Sorts and checks a list of files, and one of directories that hold nothing: neither of which an entry of the other, or
    /// another entry of the same, is beneath.
    pub fn with_dirs(mut files: Vec<FileEntry>, mut dirs: Vec<RelPath>) -> Result<Self, ManifestError> {
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        dirs.sort_unstable();
        let bytes = files.iter().fold(0u64, |sum, file| sum.saturating_add(file.size));
        let entries = files.len().saturating_add(dirs.len());
        if entries > MAX_ENTRIES || bytes > MAX_BYTES {
            return Err(ManifestError::TooLarge { entries, bytes });
        }
        refuse_collisions(&files, &dirs)?;
        // A list that came over the network grew as it was read.
        files.shrink_to_fit();
        let mut first_chunk = Vec::with_capacity(files.len() + 1);
        let mut next = 0u32;
        for file in &files {
            first_chunk.push(next);
            next += file.size.div_ceil(CHUNK_SIZE) as u32;
        }
        first_chunk.push(next);
        Ok(Self { files, dirs, first_chunk, bytes })
    }

    /// The files in canonical order.
    pub fn files(&self) -> &[FileEntry] {
        &self.files
    }

    /// The directories that hold nothing, in canonical order. Those above them, and above files, go without saying.
    pub fn dirs(&self) -> &[RelPath] {
        &self.dirs
    }

    /// Whether both have the same files with the same sizes, so that the same chunks are theirs.
    pub fn has_same_files(&self, other: &Self) -> bool {
        self.files.len() == other.files.len()
            && self.files.iter().zip(&other.files).all(|(a, b)| a.path == b.path && a.size == b.size)
    }

    /// Bytes of the list as it travels, at most: JSON, with every size as long and every flag as set as may be.
    pub fn list_bytes(&self) -> usize {
        /// `{"path":"","size":18446744073709551615,"exec":true},`; a directory is `"",`.
        const FILE: usize = 52;
        const DIR: usize = 3;
        // No path has a character that JSON escapes.
        let files = self.files.iter().map(|file| file.path.as_str().len() + FILE);
        let dirs = self.dirs.iter().map(|dir| dir.as_str().len() + DIR);
        files.chain(dirs).sum()
    }

    /// Sum of all sizes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many chunks the whole game has.
    pub fn chunk_count(&self) -> u32 {
        self.first_chunk[self.files.len()]
    }

    /// Where chunk `index` lies; `None` beyond the end.
    pub fn chunk(&self, index: ChunkIndex) -> Option<Chunk> {
        if index.0 >= self.chunk_count() {
            return None;
        }
        // The last file whose first chunk is not after `index`: empty files share their first with the next one.
        let file = self.first_chunk.partition_point(|&first| first <= index.0) - 1;
        let offset = u64::from(index.0 - self.first_chunk[file]) * CHUNK_SIZE;
        let len = (self.files[file].size - offset).min(CHUNK_SIZE) as u32;
        Some(Chunk { file, offset, len })
    }

    /// The chunks of file `file` (index into [`Manifest::files`]) as `first..end`.
    pub fn chunks_of_file(&self, file: usize) -> std::ops::Range<u32> {
        self.first_chunk[file]..self.first_chunk[file + 1]
    }

    /// Sum of the lengths of a range of chunks; chunks beyond the end count nothing.
    pub fn range_bytes(&self, range: ChunkRange) -> u64 {
        range.iter().filter_map(|index| self.chunk(index)).map(|chunk| u64::from(chunk.len)).sum()
    }

    /// Cuts a range into batches: from its first chunk on, as many whole chunks as fit in [`CHUNK_SIZE`] bytes and
    /// [`MAX_BATCH_CHUNKS`]. Many small files thus cost one buffer and one job per mebibyte. Both sides of a transfer
    /// cut alike, but nothing on the wire depends on it.
    pub fn batches(&self, range: ChunkRange) -> impl Iterator<Item = Batch> + '_ {
        let end = range.first.saturating_add(range.count).min(self.chunk_count());
        let mut next = range.first;
        std::iter::from_fn(move || {
            let first = next;
            let mut bytes = 0u32;
            while next < end && next - first < MAX_BATCH_CHUNKS {
                let len = self.chunk(ChunkIndex(next))?.len;
                if u64::from(bytes) + u64::from(len) > CHUNK_SIZE {
                    break;
                }
                bytes += len;
                next += 1;
            }
            (next > first).then_some(Batch { range: ChunkRange { first, count: next - first }, bytes })
        })
    }

    /// XXH3-128 over the canonical bytes of [`Manifest::canonical`].
    pub fn hash(&self) -> ManifestHash {
        let mut hash = Xxh3::new();
        self.canonical(|bytes| hash.update(bytes));
        ManifestHash(hash.digest128().to_be_bytes())
    }

    /// Feeds the canonical form to `sink`: `"lanspread-manifest-1\n"`, u32 number of files, then for each file in
    /// canonical order u32 length of the path, the path in UTF-8, u64 size. Where there are empty directories it begins with
    /// `"lanspread-manifest-2\n"`, and goes on with their u32 number, then for each u32 length of the path and the path.
    /// Integers are big-endian.
    pub fn canonical(&self, mut sink: impl FnMut(&[u8])) {
        // Without empty directories it is what versions know that have no notion of them.
        sink(if self.dirs.is_empty() { b"lanspread-manifest-1\n" } else { b"lanspread-manifest-2\n" });
        sink(&(self.files.len() as u32).to_be_bytes());
        for file in &self.files {
            sink(&(file.path.as_str().len() as u32).to_be_bytes());
            sink(file.path.as_str().as_bytes());
            sink(&file.size.to_be_bytes());
        }
        if !self.dirs.is_empty() {
            sink(&(self.dirs.len() as u32).to_be_bytes());
            for dir in &self.dirs {
                sink(&(dir.as_str().len() as u32).to_be_bytes());
                sink(dir.as_str().as_bytes());
            }
        }
    }
}

/// BLAKE3 over `"lanspread-content-1\n"`, the manifest's canonical bytes, u32 chunk size, u32 number of chunks and
/// every chunk's 32-byte hash in order. `hashes` must have exactly one entry for each chunk.
pub fn content_hash(manifest: &Manifest, hashes: &[ChunkHash]) -> ContentHash {
    debug_assert_eq!(hashes.len(), manifest.chunk_count() as usize);
    let mut hash = blake3::Hasher::new();
    hash.update(b"lanspread-content-1\n");
    manifest.canonical(|bytes| {
        hash.update(bytes);
    });
    hash.update(&(CHUNK_SIZE as u32).to_be_bytes());
    hash.update(&(hashes.len() as u32).to_be_bytes());
    for chunk in hashes {
        hash.update(&chunk.0);
    }
    ContentHash(*hash.finalize().as_bytes())
}

/// Refuses entries that would be one on a case-insensitive or normalizing file system, and a file or an empty directory
/// that another entry uses as a directory. Both lists are sorted.
///
/// Keys are compared by their 128-bit hashes, which take a tenth of the memory of the keys themselves: lists have up to 200,000 entries.
fn refuse_collisions(files: &[FileEntry], dirs: &[RelPath]) -> Result<(), ManifestError> {
    let entries = || files.iter().map(|file| &file.path).chain(dirs).map(RelPath::as_str);
    let mut keys: Vec<u128> = entries().map(key_of).collect();
    keys.sort_unstable();
    let collision = |key: u128, first: &str| {
        // Names for the message, which is the only time that they are looked for.
        let same = entries().filter(|entry| key_of(entry) == key).map(str::to_owned);
        let mut names = same.chain([first.to_owned()]);
        let mut name = || names.next().unwrap_or_default();
        Err(ManifestError::Collision(name(), name()))
    };
    if let Some((key, _)) = keys.iter().zip(keys.iter().skip(1)).find(|(a, b)| a == b) {
        return collision(*key, "");
    }
    // Directories: spelled one way only, and never also an entry.
    let mut directories = directories_of(files.iter().map(|file| file.path.as_str()));
    directories.extend(directories_of(dirs.iter().map(RelPath::as_str)));
    directories.sort_unstable();
    directories.dedup();
    let mut neighbours = directories.iter().zip(directories.iter().skip(1));
    if let Some(((_, a), (_, b))) = neighbours.find(|(a, b)| a.0 == b.0) {
        return Err(ManifestError::Collision((*a).to_owned(), (*b).to_owned()));
    }
    match directories.iter().find(|(key, _)| keys.binary_search(key).is_ok()) {
        Some((key, directory)) => collision(*key, directory),
        None => Ok(()),
    }
}

/// The directories above these paths, which are sorted, with the keys by which they are told apart.
fn directories_of<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<(u128, &'a str)> {
    let (mut found, mut before) = (Vec::new(), "");
    for path in paths {
        // Those above a path that begins with the same directory were seen with the path before: such paths are neighbours.
        let previous = before;
        let above = |at: &usize| !previous.starts_with(&path[..=*at]);
        let new = path.match_indices('/').map(|(at, _)| at).filter(above);
        found.extend(new.map(|at| (key_of(&path[..at]), &path[..at])));
        before = path;
    }
    found
}

/// Names that are one on some file system have the same key.
fn key_of(path: &str) -> u128 {
    xxh3_128(fold(path).as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn manifest(files: &[(&str, u64)]) -> Result<Manifest, ManifestError> {
        Manifest::new(
            files
                .iter()
                .map(|&(path, size)| FileEntry { path: RelPath::parse(path).unwrap(), size, exec: false })
                .collect(),
        )
    }

    #[test]
    fn chunks_never_cross_a_file_and_empty_files_have_none() {
        let m = manifest(&[("c", CHUNK_SIZE + 1), ("a", 5), ("b", 0), ("d", CHUNK_SIZE)]).unwrap();
        let chunks: Vec<_> = (0..m.chunk_count()).map(|i| m.chunk(ChunkIndex(i)).unwrap()).collect();
        assert_eq!(
            chunks,
            [
                Chunk { file: 0, offset: 0, len: 5 },
                Chunk { file: 2, offset: 0, len: CHUNK_SIZE as u32 },
                Chunk { file: 2, offset: CHUNK_SIZE, len: 1 },
                Chunk { file: 3, offset: 0, len: CHUNK_SIZE as u32 },
            ]
        );
        assert_eq!(m.chunk(ChunkIndex(4)), None);
        assert_eq!(m.range_bytes(ChunkRange { first: 0, count: 99 }), m.bytes());
        assert_eq!(m.chunks_of_file(1), 1..1);
    }

    #[test]
    fn batches_hold_whole_chunks_and_cover_the_range() {
        let mut files = vec![("a".to_owned(), 3 * CHUNK_SIZE + 7)];
        files.extend((0..600).map(|i| (format!("b{i:03}"), 100)));
        let files: Vec<_> = files.iter().map(|(path, size)| (path.as_str(), *size)).collect();
        let m = manifest(&files).unwrap();
        let batches: Vec<_> = m.batches(ChunkRange { first: 1, count: m.chunk_count() }).collect();
        assert_eq!(batches[0], Batch { range: ChunkRange { first: 1, count: 1 }, bytes: CHUNK_SIZE as u32 });
        assert_eq!(batches[2], Batch { range: ChunkRange { first: 3, count: 256 }, bytes: 7 + 255 * 100 });
        assert_eq!(batches.iter().map(|b| b.range.count).sum::<u32>(), m.chunk_count() - 1);
    }

    #[test]
    fn files_that_cannot_live_together_are_refused() {
        for pair in [["a", "A"], ["a", "a/b"], ["Dir/x", "dir/y"], ["x/DIR/1", "X/dir/2"]] {
            assert!(matches!(manifest(&[(pair[0], 1), (pair[1], 1)]), Err(ManifestError::Collision(..))), "{pair:?}");
        }
        assert!(manifest(&[("d/x", 1), ("d/y", 1), ("d2", 1)]).is_ok());
    }

    fn with_dirs(files: &[&str], dirs: &[&str]) -> Result<Manifest, ManifestError> {
        let path = |text: &&str| RelPath::parse(text).unwrap();
        let files = files.iter().map(|text| FileEntry { path: path(text), size: 1, exec: false }).collect();
        Manifest::with_dirs(files, dirs.iter().map(path).collect())
    }

    #[test]
    fn a_directory_that_is_not_empty_or_cannot_be_stored_is_refused() {
        let (files, dirs) = (["a/b", "c"], ["a/saves", "d/e/f", "logs"]);
        assert_eq!(with_dirs(&files, &["logs", "a/saves", "d/e/f"]), with_dirs(&files, &dirs));
        assert_eq!(with_dirs(&files, &dirs).unwrap().dirs().len(), 3);
        // Above a file, above a directory, beneath a file, a file, twice, in two spellings, above it in two spellings.
        for bad in
            [&["a"][..], &["d", "d/e"], &["c/x"], &["c"], &["C"], &["x", "x"], &["x", "X"], &["A/x"], &["d/x", "D/y"]]
        {
            assert!(matches!(with_dirs(&files, bad), Err(ManifestError::Collision(..))), "{bad:?}");
        }
    }

    #[test]
    fn empty_directories_count_as_files_do() {
        let many = |count: usize| (0..count).map(|n| RelPath::parse(&format!("d{n}")).unwrap()).collect();
        let file = vec![FileEntry { path: RelPath::parse("a").unwrap(), size: 1, exec: false }];
        assert!(Manifest::with_dirs(file.clone(), many(MAX_ENTRIES - 1)).is_ok());
        let over = Manifest::with_dirs(file, many(MAX_ENTRIES));
        assert_eq!(over, Err(ManifestError::TooLarge { entries: MAX_ENTRIES + 1, bytes: 1 }));
    }

    #[test]
    fn every_empty_directory_is_in_the_hashes_and_none_leaves_them_as_they_were() {
        let plain = with_dirs(&["a"], &[]).unwrap();
        assert_eq!(plain.hash(), manifest(&[("a", 1)]).unwrap().hash());
        let chunks = [ChunkHash([0; 32])];
        let mut seen = HashSet::new();
        for dirs in [&[][..], &["b"], &["c"], &["b", "c"], &["b/c"]] {
            let other = with_dirs(&["a"], dirs).unwrap();
            assert!(other.has_same_files(&plain));
            assert!(seen.insert((other.hash(), content_hash(&other, &chunks))), "{dirs:?}");
        }
        assert_eq!(seen.iter().map(|(list, _)| *list).collect::<HashSet<_>>().len(), 5);
        assert_eq!(seen.iter().map(|(_, content)| *content).collect::<HashSet<_>>().len(), 5);
    }

    #[test]
    fn an_absurd_size_is_refused_without_overflow() {
        assert!(matches!(manifest(&[("a", u64::MAX), ("b", u64::MAX)]), Err(ManifestError::TooLarge { .. })));
    }

    #[test]
    fn hashes_depend_on_order_free_content_only() {
        let one = manifest(&[("a", 1), ("b", 2)]).unwrap();
        let two = manifest(&[("b", 2), ("a", 1)]).unwrap();
        assert_eq!(one.hash(), two.hash());
        assert_ne!(one.hash(), manifest(&[("a", 2), ("b", 1)]).unwrap().hash());
    }

    /// What [`refuse_collisions`] must say, by the keys themselves.
    fn collide(paths: &[RelPath], dirs: &[RelPath]) -> bool {
        let all = || paths.iter().chain(dirs);
        let above = |path: &RelPath| std::iter::successors(path.parent(), RelPath::parent).collect::<Vec<_>>();
        let directories: HashSet<RelPath> = all().flat_map(above).collect();
        let mut keys = HashSet::new();
        all().chain(&directories).any(|path| !keys.insert(path.collision_key()))
    }

    proptest::proptest! {
        #[test]
        fn names_that_are_one_somewhere_are_refused(
            texts in proptest::collection::vec("[aAbBäÄ](/[aAbß]|/ss|/SS){0,3}", 0..6),
            dirs in proptest::collection::vec("[aAbB](/[aAb]){0,2}", 0..3),
        ) {
            let parse = |texts: Vec<String>| texts.iter().map(|text| RelPath::parse(text).unwrap()).collect::<Vec<_>>();
            let (paths, dirs) = (parse(texts), parse(dirs));
            let files = paths.iter().map(|path| FileEntry { path: path.clone(), size: 1, exec: false }).collect();
            let refused = Manifest::with_dirs(files, dirs.clone());
            proptest::prop_assert_eq!(refused.is_err(), collide(&paths, &dirs));
            if let Err(error) = refused {
                let ManifestError::Collision(one, other) = error else { panic!("{error}") };
                proptest::prop_assert!(!one.is_empty() && !other.is_empty());
            }
        }
    }
}
