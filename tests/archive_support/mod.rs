//! A game's root with a staging directory, and writers of good and hostile archives.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use lanspread_peer::fs::Dir;
use lanspread_peer::install::archive::{ArchiveLimits, Unpacked, check_all_here, declared_bytes_here, unpack_all_here};
use lanspread_peer::types::{JobError, JobErrorKind};
use zip::write::SimpleFileOptions;

/// A root to put archives into, and beside it what must stay as it is.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("game/staging")).unwrap();
        std::fs::create_dir(dir.path().join("game/root")).unwrap();
        Self(dir)
    }

    pub(crate) fn base(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn root(&self) -> Dir {
        Dir::open(&self.base().join("game/root")).unwrap()
    }

    pub(crate) fn staging_path(&self) -> PathBuf {
        self.base().join("game/staging")
    }

    pub(crate) fn staging(&self) -> Dir {
        Dir::open(&self.staging_path()).unwrap()
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.base().join("game/root").join(name), bytes).unwrap();
    }

    pub(crate) fn unpack(&self) -> Result<Unpacked, JobError> {
        let result = self.unpack_within(&ArchiveLimits::default());
        if let Ok(unpacked) = result {
            // A look comes to the same.
            assert_eq!(self.check(), Ok((unpacked, Vec::new())));
        }
        result
    }

    pub(crate) fn unpack_within(&self, limits: &ArchiveLimits) -> Result<Unpacked, JobError> {
        let never = AtomicBool::new(false);
        unpack_all_here(&self.root(), &self.staging(), limits, &|_, _| {}, &|_| {}, &never)
    }

    pub(crate) fn unpack_until(&self, cancel: &AtomicBool) -> Result<Unpacked, JobError> {
        unpack_all_here(&self.root(), &self.staging(), &ArchiveLimits::default(), &|_, _| {}, &|_| {}, cancel)
    }

    pub(crate) fn declared(&self) -> Result<Option<u64>, JobError> {
        declared_bytes_here(&self.root(), &ArchiveLimits::default(), &AtomicBool::new(false))
    }

    /// What a look at the archives finds without unpacking them, and why each bad one is.
    pub(crate) fn check(&self) -> Result<(Unpacked, Vec<JobError>), JobError> {
        let (limits, never, bad) = (ArchiveLimits::default(), AtomicBool::new(false), Mutex::new(Vec::new()));
        let say = |_: &str, error| bad.lock().unwrap().push(error);
        let unpacked = check_all_here(&self.root(), &limits, &|_, _| {}, &|_| {}, &say, &never)?;
        Ok((unpacked, bad.into_inner().unwrap()))
    }

    /// Everything that was unpacked, by path.
    pub(crate) fn unpacked(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        walk(&self.staging_path(), "", &mut found);
        found
    }

    pub(crate) fn assert_unpacked(&self, expected: &[(&str, Vec<u8>)]) {
        let found = self.unpacked();
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        let mut wanted: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
        wanted.sort_unstable();
        assert_eq!(names, wanted);
        for (name, bytes) in expected {
            assert!(found[*name] == *bytes, "{name} differs");
        }
    }

    /// Unpacking fails with this kind and these words, and touches nothing outside.
    pub(crate) fn refused(&self, kind: JobErrorKind, words: &str) {
        self.refused_by_check(kind, words);
        match self.unpack() {
            Ok(unpacked) => panic!("it was unpacked: {unpacked:?}"),
            Err(error) => {
                assert_eq!(error.kind, kind, "{error}");
                assert!(error.message.contains(words), "{error}");
            }
        }
        self.assert_nothing_outside();
    }

    /// A look says the same, and writes nothing.
    fn refused_by_check(&self, kind: JobErrorKind, words: &str) {
        let before = self.unpacked().len();
        let told = match self.check() {
            Ok((_, bad)) => bad,
            Err(error) => vec![error],
        };
        assert!(told.iter().any(|error| error.kind == kind && error.message.contains(words)), "{told:?}");
        assert_eq!(self.unpacked().len(), before);
    }

    pub(crate) fn assert_nothing_outside(&self) {
        let names = |dir: &Path| {
            let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(self.base()), ["game"]);
        assert_eq!(names(&self.base().join("game")), ["root", "staging"]);
    }
}

fn walk(dir: &Path, prefix: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        let kind = entry.file_type().unwrap();
        assert!(kind.is_dir() || kind.is_file(), "{name} is neither");
        if kind.is_dir() {
            walk(&entry.path(), &format!("{name}/"), found);
        } else {
            found.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
}

/// An archive from `tests/data/archives`.
pub(crate) fn data(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/archives").join(name)).unwrap()
}

/// Bytes that do not compress, always the same.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

pub(crate) fn zip_of(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// With one entry of any name and mode, which the writer would refuse.
pub(crate) fn zip_named(name: &str, bytes: &[u8], mode: u32) -> Vec<u8> {
    let stand_in = "\u{1}".repeat(name.len());
    let marked =
        SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored).unix_permissions(0o644);
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file(stand_in.as_str(), marked).unwrap();
    zip.write_all(bytes).unwrap();
    let archive = replace(&zip.finish().unwrap().into_inner(), stand_in.as_bytes(), name.as_bytes());
    // The upper half of the external attributes.
    replace(&archive, &(0o100_644u32 << 16).to_le_bytes(), &(mode << 16).to_le_bytes())
}

/// Stored, with names as these bytes and no word about what they mean; each entry of the directory has this extra field.
pub(crate) fn zip_raw(files: &[(Vec<u8>, Vec<u8>)], extra: &[u8]) -> Vec<u8> {
    let (mut locals, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in files {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        let len = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        let name_len = u16::try_from(name.len()).unwrap().to_le_bytes();
        let extra_len = u16::try_from(extra.len()).unwrap().to_le_bytes();
        let at = u32::try_from(locals.len()).unwrap().to_le_bytes();
        // No flags, stored, some day in 2024.
        let common =
            [&[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0x58][..], &crc.sum().to_le_bytes(), &len, &len, &name_len].concat();
        locals.extend([b"PK\x03\x04", &common[..], &[0, 0], name, bytes].concat());
        directory.extend([b"PK\x01\x02", &[20, 0][..], &common, &extra_len, &[0; 10], &at, name, extra].concat());
    }
    let count = u16::try_from(files.len()).unwrap().to_le_bytes();
    let size = u32::try_from(directory.len()).unwrap().to_le_bytes();
    let start = u32::try_from(locals.len()).unwrap().to_le_bytes();
    [&locals[..], &directory, b"PK\x05\x06", &[0; 4], &count, &count, &size, &start, &[0; 2]].concat()
}

/// Two entries of one name.
pub(crate) fn zip_twice(name: &str) -> Vec<u8> {
    let other = "\u{1}".repeat(name.len());
    let archive = zip_of(&[(name, b"first".to_vec()), (other.as_str(), b"second".to_vec())]);
    replace(&archive, other.as_bytes(), name.as_bytes())
}

/// With these flags set in both headers of its entry.
pub(crate) fn zip_marked(marks: u16) -> Vec<u8> {
    let mut archive = zip_of(&[("a", b"a".to_vec())]);
    for (magic, flags) in [(b"PK\x03\x04", 6), (b"PK\x01\x02", 8)] {
        let at = archive.windows(4).position(|window| window == magic).unwrap();
        let [low, high] = marks.to_le_bytes();
        archive[at + flags] |= low;
        archive[at + flags + 1] |= high;
    }
    archive
}

pub(crate) fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut out = bytes.to_vec();
    for at in 0..=bytes.len() - from.len() {
        if &bytes[at..at + from.len()] == from {
            out[at..at + to.len()].copy_from_slice(to);
        }
    }
    out
}

pub(crate) fn seven(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = sevenz_rust2::ArchiveWriter::new(Cursor::new(Vec::new())).unwrap();
    for (name, bytes) in files {
        let entry = sevenz_rust2::ArchiveEntry::new_file(name);
        writer.push_archive_entry(entry, Some(Cursor::new(bytes.clone()))).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

pub(crate) fn seven_named(name: &str, bytes: &[u8]) -> Vec<u8> {
    seven(&[(name, bytes.to_vec())])
}

/// A file, and an entry that deletes another.
pub(crate) fn seven_with_anti_item(name: &str) -> Vec<u8> {
    let mut writer = sevenz_rust2::ArchiveWriter::new(Cursor::new(Vec::new())).unwrap();
    let file = sevenz_rust2::ArchiveEntry::new_file("a");
    writer.push_archive_entry(file, Some(Cursor::new(b"a".to_vec()))).unwrap();
    // This version of the writer has the mark the wrong way round.
    let anti = sevenz_rust2::ArchiveEntry::new_file(name);
    writer.push_archive_entry(anti, None::<Cursor<Vec<u8>>>).unwrap();
    writer.finish().unwrap().into_inner()
}

pub(crate) fn tar_of(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Entries of any name and type, which the writer would refuse.
pub(crate) fn tar_raw(entries: &[(&str, u8, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, kind, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..4].copy_from_slice(b"/etc");
        header.set_entry_type(tar::EntryType::new(*kind));
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

/// One file behind a pax header of this kind: `x` for the file, `g` for all that follow.
pub(crate) fn tar_pax(kind: u8, records: &[(&str, &str)], name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        let mut len = rest.len() + 1;
        while len.to_string().len() + rest.len() > len {
            len += 1;
        }
        write!(body, "{len}{rest}").unwrap();
    }
    tar_raw(&[("pax", kind, &body), (name, b'0', bytes)])
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// With a checksum, as the program of that name writes it.
pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(3)).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

/// Writes RAR5 by hand, stored, whatever the names are. See <https://www.rarlab.com/technote.htm>.
pub(crate) struct Rar5(Vec<u8>);

impl Rar5 {
    pub(crate) fn new() -> Self {
        Self(b"Rar!\x1a\x07\x01\0".to_vec()).block(1, &[], &[0], &[])
    }

    pub(crate) fn file(self, name: &str, bytes: &[u8], mode: u32) -> Self {
        self.entry(name, 0, mode, &[], bytes)
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.entry(name, 1, 0o040_755, &[], &[])
    }

    /// `kind`: 1 symbolic link, 2 Windows link, 3 junction, 4 hard link, 5 copy.
    pub(crate) fn redirection(self, name: &str, kind: u8, target: &str) -> Self {
        let mut record = vec![5, kind, 0];
        record.extend(vint(target.len() as u64));
        record.extend(target.as_bytes());
        let extra = [vint(record.len() as u64), record].concat();
        self.entry(name, 0, 0o100_644, &extra, &[])
    }

    pub(crate) fn end(self) -> Vec<u8> {
        self.block(5, &[], &[0], &[]).0
    }

    fn entry(self, name: &str, flags: u8, mode: u32, extra: &[u8], bytes: &[u8]) -> Self {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        let is_dir = flags & 1 != 0;
        let mut body = vec![if is_dir { flags } else { flags | 4 }];
        body.extend(vint(bytes.len() as u64));
        body.extend(vint(u64::from(mode)));
        if !is_dir {
            body.extend(crc.sum().to_le_bytes());
        }
        // Stored; Unix.
        body.extend([0, 1]);
        body.extend(vint(name.len() as u64));
        body.extend(name.as_bytes());
        self.block(2, extra, &body, bytes)
    }

    fn block(mut self, kind: u8, extra: &[u8], body: &[u8], data: &[u8]) -> Self {
        let has_data = kind == 2;
        let mut header = vec![kind, u8::from(!extra.is_empty()) | if has_data { 2 } else { 0 }];
        if !extra.is_empty() {
            header.extend(vint(extra.len() as u64));
        }
        if has_data {
            header.extend(vint(data.len() as u64));
        }
        header.extend(body);
        header.extend(extra);
        let sized = [vint(header.len() as u64), header].concat();
        let mut crc = flate2::Crc::new();
        crc.update(&sized);
        self.0.extend(crc.sum().to_le_bytes());
        self.0.extend(sized);
        self.0.extend(data);
        self
    }
}

fn vint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        out.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return out;
        }
    }
}
