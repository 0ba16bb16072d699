//! Content records: what the chunks of a game hash to, and for which state of its files that holds.
//!
//! One file for each game under `.lanspread/content/`, read only when a game is listed, hashed or served. 100 GiB of
//! game cost 3.2 MB. All integers are big-endian:
//!
//! ```text
//! offset  bytes
//!  0       8     "LANSCONT"
//!  8       4     format: 1, or 2 where the game has empty directories
//! 12       4     number of files
//! 16       8     L = length of the file list in bytes
//! 24       4     C = number of chunks
//! 28      32     content hash
//! 60       L     files in canonical order: u16 length of the path, path, u64 size, i128 mtime in ns, u8 flags (1: exec)
//!               format 2: then u32 number of empty directories, each u16 length of the path, path
//! 60+L    16     XXH3-128 of everything before, so that the list can be read without the chunks
//! 76+L   32 C    BLAKE3 of every chunk
//!        16      XXH3-128 of everything before
//! ```
//!
//! A record is a cache: one that is damaged is dropped and the game is hashed again.

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::types::{
    ChunkHash, ContentHash, FileEntry, KnownContent, MAX_ENTRIES, MAX_PATH_BYTES, Manifest, RelPath, content_hash,
};

const MAGIC: &[u8; 8] = b"LANSCONT";
/// Of a game without empty directories; all that older versions read.
const FORMAT: u32 = 1;
/// The list of files is followed by one of empty directories.
const FORMAT_DIRS: u32 = 2;
/// How much longer the empty directories may make a record that is compared with a game that lacks them, in bytes.
pub(super) const MOST_OTHER_DIRS: usize = 1 << 20;
/// Length of the part before the file list.
pub(super) const HEADER_BYTES: usize = 60;
const CHECKSUM_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
/// Length of a file in the list besides its path.
const FILE_BYTES: usize = 2 + 8 + 16 + 1;
/// Length of an empty directory in the list besides its path; of their number.
const DIR_BYTES: usize = 2;
const DIRS_BYTES: usize = 4;
/// Longest file list that is read, in bytes: 200,000 files with the longest paths.
const MAX_LIST_BYTES: usize = MAX_ENTRIES * (MAX_PATH_BYTES + FILE_BYTES) + DIRS_BYTES;

/// Why bytes are not a content record.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    /// Shorter or longer than it says.
    #[error("it is cut off or too long")]
    Length,
    /// Not a record, or one of another program version.
    #[error("it is not a content record of format {FORMAT} or {FORMAT_DIRS}")]
    Format,
    /// A flipped bit, a torn write.
    #[error("its checksum does not match")]
    Checksum,
    /// Sound as bytes, but its parts contradict each other.
    #[error("its parts do not fit together")]
    Inconsistent,
}

/// The part of a record before the hashes of the chunks.
pub(super) struct Head {
    header: Header,
    /// For the checksum of the whole.
    covered: Box<Xxh3>,
    /// The files that were hashed.
    pub(super) manifest: Manifest,
    /// Their times of last change then: nanoseconds since 1970, one per file.
    pub(super) mtimes_ns: Vec<i128>,
}

impl Head {
    /// Of exactly [`Header::head_bytes`].
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let header = Header::decode(bytes)?;
        let (manifest, mtimes_ns) = decode_list(&header, bytes)?;
        let mut covered = Box::new(Xxh3::new());
        covered.update(bytes);
        Ok(Self { header, covered, manifest, mtimes_ns })
    }

    /// Where the rest begins.
    pub(super) fn head_bytes(&self) -> u64 {
        self.header.head_bytes() as u64
    }

    /// Length of the rest.
    pub(super) fn tail_bytes(&self) -> usize {
        self.header.tail_bytes()
    }

    /// The hashes, from the rest of the record.
    pub(super) fn content(&self, tail: &[u8]) -> Result<KnownContent, RecordError> {
        let content = self.header.content(&self.covered, tail)?;
        if is_hash_of(&content, &self.manifest) { Ok(content) } else { Err(RecordError::Inconsistent) }
    }
}

/// What a record knows of a list of files.
#[derive(PartialEq, Debug)]
pub(super) enum Known {
    /// It is of other files, or other times.
    Other,
    /// Exactly these.
    Same(KnownContent),
    /// These files with these times, and other empty directories.
    OtherDirs(KnownContent),
}

/// What a record knows of files with these times. They are compared in place: a second list of them would take as much memory as the first.
pub(super) fn known_of(bytes: &[u8], manifest: &Manifest, mtimes_ns: &[i128]) -> Result<Known, RecordError> {
    let header = Header::decode(bytes)?;
    if bytes.len() as u64 != header.record_bytes() {
        return Err(RecordError::Length);
    }
    let (head, tail) = bytes.split_at_checked(header.head_bytes()).ok_or(RecordError::Length)?;
    let mut covered = Box::new(Xxh3::new());
    covered.update(head);
    let content = header.content(&covered, tail)?;
    let mut reader = Reader(checked(head)?.get(HEADER_BYTES..).ok_or(RecordError::Length)?);
    if header.files as usize != manifest.files().len() {
        return Ok(Known::Other);
    }
    for (file, mtime_ns) in manifest.files().iter().zip(mtimes_ns) {
        let len = u16::from_be_bytes(reader.array()?);
        let is_same = reader.take(len.into())? == file.path.as_str().as_bytes()
            && u64::from_be_bytes(reader.array()?) == file.size
            && i128::from_be_bytes(reader.array()?) == *mtime_ns;
        let [_flags] = reader.array()?;
        if !is_same {
            return Ok(Known::Other);
        }
    }
    let dirs = if header.has_dirs { reader.dirs()? } else { Vec::new() };
    if dirs == manifest.dirs() {
        return if is_hash_of(&content, manifest) { Ok(Known::Same(content)) } else { Err(RecordError::Inconsistent) };
    }
    let hashed = Manifest::with_dirs(manifest.files().to_vec(), dirs).map_err(|_| RecordError::Inconsistent)?;
    if is_hash_of(&content, &hashed) { Ok(Known::OtherDirs(content)) } else { Err(RecordError::Inconsistent) }
}

/// The bytes of the record for a game whose files had these times of last change.
///
/// # Errors
/// [`RecordError::Inconsistent`] when there is not one time for each file and one hash for each chunk, or the content
/// hash is not that of manifest and chunks: a record is never written that would vouch for bytes nobody saw.
pub(super) fn encode(manifest: &Manifest, mtimes_ns: &[i128], content: &KnownContent) -> Result<Vec<u8>, RecordError> {
    let files = manifest.files();
    if mtimes_ns.len() != files.len() || !is_hash_of(content, manifest) {
        return Err(RecordError::Inconsistent);
    }
    let mut list = Vec::new();
    for (file, mtime_ns) in files.iter().zip(mtimes_ns) {
        put_path(&mut list, &file.path);
        list.extend_from_slice(&file.size.to_be_bytes());
        list.extend_from_slice(&mtime_ns.to_be_bytes());
        list.push(u8::from(file.exec));
    }
    let format = if manifest.dirs().is_empty() { FORMAT } else { FORMAT_DIRS };
    if format == FORMAT_DIRS {
        list.extend_from_slice(&(manifest.dirs().len() as u32).to_be_bytes());
        for dir in manifest.dirs() {
            put_path(&mut list, dir);
        }
    }
    let mut out =
        Vec::with_capacity(HEADER_BYTES + list.len() + content.chunks.len() * HASH_BYTES + 2 * CHECKSUM_BYTES);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&format.to_be_bytes());
    out.extend_from_slice(&(files.len() as u32).to_be_bytes());
    out.extend_from_slice(&(list.len() as u64).to_be_bytes());
    out.extend_from_slice(&(content.chunks.len() as u32).to_be_bytes());
    out.extend_from_slice(&content.hash.0);
    out.extend_from_slice(&list);
    out.extend_from_slice(&xxh3_128(&out).to_be_bytes());
    for chunk in &content.chunks {
        out.extend_from_slice(&chunk.0);
    }
    out.extend_from_slice(&xxh3_128(&out).to_be_bytes());
    Ok(out)
}

/// The longest that a record of these files can be, in bytes.
pub(super) fn record_bytes(manifest: &Manifest) -> usize {
    let list: usize = manifest.files().iter().map(|file| file.path.as_str().len() + FILE_BYTES).sum();
    let dirs: usize = manifest.dirs().iter().map(|dir| dir.as_str().len() + DIR_BYTES).sum();
    let dirs = if dirs == 0 { 0 } else { DIRS_BYTES + dirs };
    HEADER_BYTES + list + dirs + manifest.chunk_count() as usize * HASH_BYTES + 2 * CHECKSUM_BYTES
}

/// The first [`HEADER_BYTES`] bytes.
pub(super) struct Header {
    has_dirs: bool,
    files: u32,
    list_bytes: usize,
    chunks: u32,
    content_hash: ContentHash,
}

impl Header {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader(bytes);
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(RecordError::Format);
        }
        let has_dirs = match u32::from_be_bytes(reader.array()?) {
            FORMAT => false,
            FORMAT_DIRS => true,
            _ => return Err(RecordError::Format),
        };
        let files = u32::from_be_bytes(reader.array()?);
        let list_bytes = usize::try_from(u64::from_be_bytes(reader.array()?)).unwrap_or(usize::MAX);
        let chunks = u32::from_be_bytes(reader.array()?);
        let content_hash = ContentHash(reader.array()?);
        if list_bytes > MAX_LIST_BYTES {
            return Err(RecordError::Length);
        }
        Ok(Self { has_dirs, files, list_bytes, chunks, content_hash })
    }

    /// Length of the part that [`Head`] is.
    pub(super) fn head_bytes(&self) -> usize {
        HEADER_BYTES + self.list_bytes + CHECKSUM_BYTES
    }

    /// Length of the rest.
    fn tail_bytes(&self) -> usize {
        (self.chunks as usize).saturating_mul(HASH_BYTES).saturating_add(CHECKSUM_BYTES)
    }

    /// Length of the whole record.
    pub(super) fn record_bytes(&self) -> u64 {
        self.head_bytes() as u64 + u64::from(self.chunks) * HASH_BYTES as u64 + CHECKSUM_BYTES as u64
    }

    /// The hashes of the chunks, against the checksum at the end; `covered` has taken in the head.
    fn content(&self, covered: &Xxh3, tail: &[u8]) -> Result<KnownContent, RecordError> {
        let (hashes, stated) = tail.split_last_chunk::<CHECKSUM_BYTES>().ok_or(RecordError::Length)?;
        let mut covered = Box::new(covered.clone());
        covered.update(hashes);
        if covered.digest128().to_be_bytes() != *stated {
            return Err(RecordError::Checksum);
        }
        let chunks = hashes.as_chunks().0.iter().copied().map(ChunkHash).collect();
        Ok(KnownContent { hash: self.content_hash, chunks })
    }
}

fn decode_list(header: &Header, bytes: &[u8]) -> Result<(Manifest, Vec<i128>), RecordError> {
    let head = bytes.get(..header.head_bytes()).ok_or(RecordError::Length)?;
    let mut reader = Reader(checked(head)?.get(HEADER_BYTES..).ok_or(RecordError::Length)?);
    // No more room than the list can need, whatever number the header claims.
    let room = (header.files as usize).min(head.len() / FILE_BYTES);
    let (mut files, mut mtimes_ns) = (Vec::with_capacity(room), Vec::with_capacity(room));
    for _ in 0..header.files {
        let path = reader.path()?;
        let size = u64::from_be_bytes(reader.array()?);
        mtimes_ns.push(i128::from_be_bytes(reader.array()?));
        let [flags] = reader.array()?;
        files.push(FileEntry { path, size, exec: flags & 1 != 0 });
    }
    let dirs = if header.has_dirs { reader.dirs()? } else { Vec::new() };
    // Sorting again would part the files from their times.
    if !reader.0.is_empty() || !files.is_sorted_by(|a, b| a.path < b.path) {
        return Err(RecordError::Inconsistent);
    }
    let manifest = Manifest::with_dirs(files, dirs).map_err(|_| RecordError::Inconsistent)?;
    Ok((manifest, mtimes_ns))
}

fn is_hash_of(content: &KnownContent, manifest: &Manifest) -> bool {
    content.chunks.len() == manifest.chunk_count() as usize && content_hash(manifest, &content.chunks) == content.hash
}

/// Cuts off and compares the checksum at the end.
pub(super) fn checked(bytes: &[u8]) -> Result<&[u8], RecordError> {
    let at = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(RecordError::Length)?;
    let (covered, stated) = bytes.split_at_checked(at).ok_or(RecordError::Length)?;
    if stated == xxh3_128(covered).to_be_bytes() { Ok(covered) } else { Err(RecordError::Checksum) }
}

/// As [`Reader::path`] reads it.
pub(super) fn put_path(list: &mut Vec<u8>, path: &RelPath) {
    list.extend_from_slice(&(path.as_str().len() as u16).to_be_bytes());
    list.extend_from_slice(path.as_str().as_bytes());
}

/// Takes the parts of a record one after the other.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(RecordError::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    /// u16 length, then so many bytes.
    pub(super) fn path(&mut self) -> Result<RelPath, RecordError> {
        let len = u16::from_be_bytes(self.array()?);
        let path = std::str::from_utf8(self.take(len.into())?).map_err(|_| RecordError::Inconsistent)?;
        RelPath::parse(path).map_err(|_| RecordError::Inconsistent)
    }

    /// u32 number of empty directories, at least one, and each of them.
    fn dirs(&mut self) -> Result<Vec<RelPath>, RecordError> {
        let dirs = (0..u32::from_be_bytes(self.array()?)).map(|_| self.path()).collect::<Result<Vec<_>, _>>()?;
        // Without one it would have been written in the other format.
        if dirs.is_empty() { Err(RecordError::Inconsistent) } else { Ok(dirs) }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        self.take(N)?.try_into().map_err(|_| RecordError::Length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::CHUNK_SIZE;

    /// What one file holds.
    #[derive(Clone, PartialEq, Eq, Debug)]
    struct ContentRecord {
        manifest: Manifest,
        mtimes_ns: Vec<i128>,
        content: KnownContent,
    }

    impl ContentRecord {
        fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
            let header = Header::decode(bytes)?;
            if bytes.len() as u64 != header.record_bytes() {
                return Err(RecordError::Length);
            }
            let (head, tail) = bytes.split_at_checked(header.head_bytes()).ok_or(RecordError::Length)?;
            let head = Head::decode(head)?;
            let content = head.content(tail)?;
            // Both ways of reading agree.
            let known = known_of(bytes, &head.manifest, &head.mtimes_ns);
            assert_eq!(known, Ok(Known::Same(content.clone())));
            Ok(Self { manifest: head.manifest, mtimes_ns: head.mtimes_ns, content })
        }
    }

    fn decode_head(bytes: &[u8]) -> Result<(Manifest, Vec<i128>), RecordError> {
        Head::decode(bytes).map(|head| (head.manifest, head.mtimes_ns))
    }

    fn record() -> ContentRecord {
        record_with(&[])
    }

    fn record_with(dirs: &[&str]) -> ContentRecord {
        let file = |path: &str, size, exec| FileEntry { path: RelPath::parse(path).unwrap(), size, exec };
        let files =
            vec![file("version.ini", 3, false), file("data/Über.pak", CHUNK_SIZE + 1, false), file("run", 0, true)];
        let manifest = Manifest::with_dirs(files, dirs.iter().map(|dir| dir.parse().unwrap()).collect()).unwrap();
        let chunks: Vec<_> = (0..manifest.chunk_count()).map(|i| ChunkHash([i as u8; 32])).collect();
        let content = KnownContent { hash: content_hash(&manifest, &chunks), chunks };
        ContentRecord { manifest, mtimes_ns: vec![-1, 1 << 70, 0], content }
    }

    fn encoded(record: &ContentRecord) -> Result<Vec<u8>, RecordError> {
        encode(&record.manifest, &record.mtimes_ns, &record.content)
    }

    #[test]
    fn a_record_comes_back_as_it_was_and_its_list_without_the_chunks() {
        for (dirs, format) in [(&[][..], 1), (&["saves"], 2), (&["data/screens", "saves"], 2)] {
            let record = record_with(dirs);
            let bytes = encoded(&record).unwrap();
            assert_eq!(bytes[8..12], [0, 0, 0, format]);
            assert_eq!(ContentRecord::decode(&bytes).unwrap(), record);
            assert_eq!(bytes.len(), record_bytes(&record.manifest));
            let head = Header::decode(&bytes).unwrap().head_bytes();
            assert_eq!(decode_head(&bytes[..head]).unwrap(), (record.manifest, record.mtimes_ns));
            assert!(decode_head(&bytes[..head - 1]).is_err());
        }
    }

    #[test]
    fn every_truncation_every_extension_and_every_flipped_bit_is_seen() {
        for bytes in [encoded(&record()).unwrap(), encoded(&record_with(&["data/screens", "saves"])).unwrap()] {
            for len in 0..bytes.len() {
                assert!(ContentRecord::decode(&bytes[..len]).is_err(), "{len}");
            }
            assert!(ContentRecord::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
            for bit in 0..bytes.len() * 8 {
                let mut bytes = bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(ContentRecord::decode(&bytes).is_err(), "{bit}");
            }
        }
    }

    #[test]
    fn a_record_that_would_vouch_for_other_bytes_is_not_written() {
        let mut wrong = record();
        wrong.content.chunks[0].0[0] ^= 1;
        assert_eq!(encoded(&wrong), Err(RecordError::Inconsistent));
        let mut wrong = record();
        wrong.content.chunks.pop();
        assert_eq!(encoded(&wrong), Err(RecordError::Inconsistent));
        let mut wrong = record();
        wrong.mtimes_ns.pop();
        assert_eq!(encoded(&wrong), Err(RecordError::Inconsistent));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_allocate_without_bound(
            magic in any::<bool>(),
            format in 0u32..4,
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let head = if magic { [MAGIC.as_slice(), &format.to_be_bytes()].concat() } else { Vec::new() };
            prop_assert!(ContentRecord::decode(&[head, bytes].concat()).is_err());
        }

        #[test]
        fn a_list_with_right_checksums_is_read_or_refused_whatever_it_says(
            dirs in any::<bool>(),
            at in 0usize..10_000,
            with in proptest::collection::vec(any::<u8>(), 1..6),
        ) {
            let record = if dirs { record_with(&["data/screens", "saves"]) } else { record() };
            let mut bytes = encoded(&record).unwrap();
            let list = Header::decode(&bytes).unwrap().head_bytes() - CHECKSUM_BYTES;
            let at = HEADER_BYTES + at % (list - HEADER_BYTES);
            let end = (at + with.len()).min(list);
            bytes[at..end].copy_from_slice(&with[..end - at]);
            let sum = xxh3_128(&bytes[..list]).to_be_bytes();
            bytes[list..list + CHECKSUM_BYTES].copy_from_slice(&sum);
            if let Ok((manifest, mtimes_ns)) = decode_head(&bytes[..list + CHECKSUM_BYTES]) {
                prop_assert_eq!(manifest.files().len(), mtimes_ns.len());
                prop_assert_eq!(manifest.dirs().is_empty(), !dirs);
            }
        }
    }
}
