//! Which files are archives, and which of them belong together: by their first bytes.
//!
//! An `.eti` is an archive by definition. So one that begins otherwise is searched for an archive behind a program that
//! unpacks itself, and is a bad one if there is none. So is an `.exe` where the other volumes of a set lack their first.
//!
//! What was cut into `x.001`, `x.002`, … is one archive, if its first part begins like one: the others begin like nothing.
//!
//! This runs in the daemon itself, so it decodes nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::fs::{Dir, EntryKind, File, FsError};
use crate::types::{JobError, JobErrorKind, Packing, RelPath, is_of_a_desktop};

/// So much of a file is looked at; the magic of a tar lies at 257.
const HEAD: usize = 512;
/// So far into an `.eti` an archive may begin: behind a program that unpacks itself.
const STUB: usize = 1 << 20;
/// Most frames before the first of zstd that decoders skip.
const MAX_SKIPPABLE: usize = 16;
/// The formats that are known, for people.
const KNOWN: &str = "RAR, ZIP, 7z, tar, gzip, xz, bzip2, zstd";

/// Archives of one kind, by the decoder that reads them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    Rar,
    Zip,
    Seven,
    /// A tar, or something compressed that may be one.
    Tar(Codec),
}

/// How a stream is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Codec {
    Plain,
    Gzip,
    Xz,
    Bzip2,
    Zstd,
}

/// One archive: a file, the volumes of a RAR in their order, or the pieces that a file was cut into.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ArchiveSet {
    /// Of its first file.
    pub(super) name: RelPath,
    pub(super) files: Vec<Part>,
    pub(super) format: Format,
    /// The files are the pieces of one.
    pub(super) is_cut: bool,
    /// Of all its files.
    pub(super) bytes: u64,
}

/// One file of an archive.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Part {
    pub(super) name: RelPath,
    /// Where in the file the archive begins.
    pub(super) start: u64,
}

/// Whether any file directly in `root` is an archive.
pub(super) fn any(root: &Dir) -> Result<bool, JobError> {
    for (name, _) in files(root)? {
        if look(root, &name)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a file directly in `root` is an archive by its first bytes.
pub(super) fn is_archive(root: &Dir, name: &RelPath) -> Result<bool, FsError> {
    if is_read_packed(name.as_str()) {
        return Ok(false);
    }
    let head = root.open_read(name).and_then(|file| {
        let mut head = [0; HEAD];
        // What a file has behind a short read is nothing to an archive's beginning.
        let len = file.read_at(&mut head, 0)?;
        Ok(Head::of(head.get(..len).unwrap_or_default()).is_some()
            || matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]))
    });
    match head {
        Err(e) if e.is_exhaustion() => Err(e),
        head => Ok(head.unwrap_or(false)),
    }
}

/// The archives directly in `root`, ascending by the name of their first file. `only_eti`: those called so.
pub(super) fn sets(root: &Dir, only_eti: bool) -> Result<Vec<ArchiveSet>, JobError> {
    let mut files = files(root)?;
    files.retain(|(name, _)| !only_eti || Packing::unpacks_always(name));
    let mut sets = Vec::new();
    let mut volumes = Volumes::of(&files);
    let mut taken: BTreeSet<RelPath> = BTreeSet::new();
    for (name, bytes) in &files {
        if taken.contains(name) {
            continue;
        }
        let Some((head, start)) = look(root, name)? else { continue };
        let part = Part { name: name.clone(), start };
        match head {
            Head::Volume { number, numbered_names } => volumes.add(number, numbered_names, part, *bytes),
            Head::Whole(Format::Zip) if extension(name.as_str()).as_deref() == Some("z01") => {
                return Err(cut_zip(name));
            }
            Head::Whole(format) => {
                let (pieces, bytes) = pieces(root, &files, format, part, *bytes)?;
                taken.extend(pieces.iter().map(|piece| piece.name.clone()));
                sets.push(ArchiveSet { name: name.clone(), is_cut: pieces.len() > 1, files: pieces, format, bytes });
            }
        }
    }
    sets.extend(volumes.sets(root, &files)?);
    sets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(sets)
}

/// The pieces of a file whose first one is `first`, in order, and their bytes: `x.001`, `x.002`, …; any other file is its only
/// piece. Where a later one is an archive of its own, none is a piece of another.
fn pieces(
    root: &Dir,
    files: &[(RelPath, u64)],
    format: Format,
    first: Part,
    bytes: u64,
) -> Result<(Vec<Part>, u64), JobError> {
    let numbered = |name: &str| {
        let (stem, number) = name.rsplit_once('.')?;
        let is_number = number.len() >= 3 && number.bytes().all(|digit| digit.is_ascii_digit());
        Some((stem.to_lowercase(), number.parse::<u64>().ok().filter(|_| is_number)?))
    };
    let Some((stem, 1)) = numbered(first.name.as_str()) else { return Ok((vec![first], bytes)) };
    let of_it = files.iter().filter_map(|(name, bytes)| {
        let (other, number) = numbered(name.as_str())?;
        (other == stem && number > 1).then_some((number, name, *bytes))
    });
    let rest: BTreeMap<u64, (&RelPath, u64)> = of_it.map(|(number, name, bytes)| (number, (name, bytes))).collect();
    for (name, _) in rest.values() {
        // A tar may be cut just where one of its entries begins.
        let is_entry = |head: &Head| format == Format::Tar(Codec::Plain) && *head == Head::Whole(format);
        if look(root, name)?.is_some_and(|(head, _)| !is_entry(&head)) {
            return Ok((vec![first], bytes));
        }
    }
    let name = first.name.clone();
    let (mut pieces, mut sum) = (vec![first], bytes);
    for (expected, (number, (piece, bytes))) in (2..).zip(rest) {
        if number != expected {
            let message =
                format!("cannot unpack {name}: it was cut into parts, and part {expected}, before {piece}, is missing");
            return Err(JobError::new(JobErrorKind::BadArchive, message));
        }
        pieces.push(Part { name: piece.clone(), start: 0 });
        sum = sum.saturating_add(bytes);
    }
    Ok((pieces, sum))
}

fn cut_zip(name: &RelPath) -> JobError {
    let message = format!(
        "cannot unpack {name}: it is the first part of a ZIP that was split into .z01, .z02, … and .zip, which is not read here; \
         make one file of it (7-Zip: unpack and pack again; Info-ZIP: zip -s 0 SPLIT.zip --out WHOLE.zip)"
    );
    JobError::new(JobErrorKind::BadArchive, message)
}

/// The volumes of RARs, by set.
struct Volumes {
    /// What comes before `.r00`: the first volume is called `.rar` there, digits or not.
    old_names: BTreeSet<String>,
    sets: BTreeMap<String, Vec<(Position, Part, u64)>>,
}

impl Volumes {
    fn of(files: &[(RelPath, u64)]) -> Self {
        let lower = files.iter().map(|(name, _)| name.as_str().to_lowercase());
        let old_names = lower.filter_map(|name| name.strip_suffix(".r00").map(str::to_owned)).collect();
        Self { old_names, sets: BTreeMap::new() }
    }

    /// The set that a file belongs to by its name, and its place there.
    fn place(&self, name: &str, numbered_names: bool) -> (String, Position) {
        let lower = name.to_lowercase();
        match lower.rsplit_once('.') {
            Some((stem, "rar" | "exe")) if self.old_names.contains(stem) => (stem.to_owned(), 0),
            _ => volume_name(&lower, numbered_names),
        }
    }

    fn add(&mut self, number: Option<Position>, numbered_names: bool, part: Part, bytes: u64) {
        let (stem, by_name) = self.place(part.name.as_str(), numbered_names);
        self.sets.entry(stem).or_default().push((number.unwrap_or(by_name), part, bytes));
    }

    /// All sets; a first volume that is missing is looked for in the programs that unpack such sets.
    fn sets(mut self, root: &Dir, files: &[(RelPath, u64)]) -> Result<Vec<ArchiveSet>, JobError> {
        for (name, bytes) in files {
            if extension(name.as_str()).as_deref() != Some("exe") {
                continue;
            }
            let as_rar = name.as_str().rsplit_once('.').map_or(String::new(), |(stem, _)| format!("{stem}.rar"));
            let lacks_first = |stem: &String| {
                let set = self.sets.get(stem);
                set.is_some_and(|set| set.iter().all(|(number, ..)| *number != 0))
            };
            let stems = [true, false].map(|numbered_names| self.place(&as_rar, numbered_names).0);
            let Some(stem) = stems.into_iter().find(lacks_first) else { continue };
            if let Some((Head::Volume { .. }, start)) = behind_stub(&root.open_read(name)?)? {
                let part = Part { name: name.clone(), start };
                self.sets.entry(stem).or_default().push((0, part, *bytes));
            }
        }
        let set = |mut set: Vec<(Position, Part, u64)>| {
            set.sort();
            let bytes = set.iter().fold(0u64, |sum, (.., bytes)| sum.saturating_add(*bytes));
            let files: Vec<Part> = set.into_iter().map(|(_, part, _)| part).collect();
            let name = files.first()?.name.clone();
            Some(ArchiveSet { name, files, format: Format::Rar, is_cut: false, bytes })
        };
        Ok(self.sets.into_values().filter_map(set).collect())
    }
}

/// Formats that programs read as they are, though they are archives by their first bytes: a game that consists of such
/// files is not packed.
const READ_PACKED: [&str; 14] =
    ["apk", "cbz", "docx", "ear", "epub", "jar", "love", "odt", "pk3", "pk4", "pptx", "war", "xlsx", "xpi"];

/// The regular files directly in `root` that may be archives, with their lengths, ascending by name. A name that is
/// reserved or not portable belongs to no downloaded game.
fn files(root: &Dir) -> Result<Vec<(RelPath, u64)>, JobError> {
    let entries = root.entries()?.into_iter().filter(|entry| entry.kind == EntryKind::File);
    let mut files: Vec<(RelPath, u64)> =
        entries.filter_map(|entry| Some((RelPath::parse(entry.name.to_str()?).ok()?, entry.size))).collect();
    files.retain(|(name, _)| !is_read_packed(name.as_str()) && !is_of_a_desktop(name.as_str()));
    files.sort();
    Ok(files)
}

fn is_read_packed(name: &str) -> bool {
    extension(name).is_some_and(|extension| READ_PACKED.contains(&extension.as_str()))
}

fn extension(name: &str) -> Option<String> {
    name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase())
}

/// What a file directly in `root` is, and where in it that begins; `None`: no archive.
fn look(root: &Dir, name: &RelPath) -> Result<Option<(Head, u64)>, JobError> {
    let file = root.open_read(name)?;
    if let Some(head) = Head::read(&file)? {
        return Ok(Some((head, 0)));
    }
    if extension(name.as_str()).as_deref() != Some("eti") {
        return Ok(None);
    }
    match behind_stub(&file)? {
        Some(found) => Ok(Some(found)),
        None => {
            let message = format!("cannot unpack {name}: it is no archive of a format that is known here ({KNOWN})");
            Err(JobError::new(JobErrorKind::BadArchive, message))
        }
    }
}

/// The first archive that begins in the first [`STUB`] bytes. A program that unpacks itself may hold the magic of its
/// archive among its own bytes, so a header with its right checksum has to follow.
fn behind_stub(file: &File) -> Result<Option<(Head, u64)>, JobError> {
    let mut bytes = vec![0; STUB + HEAD];
    let len = read_fully(file, &mut bytes, 0)?;
    bytes.truncate(len);
    for at in 1..len.min(STUB) {
        let rest = bytes.get(at..).unwrap_or_default();
        if !matches!(rest, [b'R', b'a', b'r', b'!', ..] | [b'P', b'K', 3, 4, ..] | [b'7', b'z', 0xbc, 0xaf, ..]) {
            continue;
        }
        if let Some(head) = Head::of(rest)
            && head_is_whole(rest)
        {
            // The reader of ZIPs finds them from their end, whatever stands before them and whether or not their offsets
            // count it.
            let start = if head == Head::Whole(Format::Zip) { 0 } else { at as u64 };
            return Ok(Some((head, start)));
        }
    }
    Ok(None)
}

fn read_fully(file: &File, out: &mut [u8], from: u64) -> Result<usize, JobError> {
    let mut len = 0;
    while let Some(rest) = out.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, from.saturating_add(len as u64))? {
            0 => break,
            n => len += n,
        }
    }
    Ok(len)
}

/// Whether the first header of a RAR, 7z or ZIP is one, by its checksum, or by its fields where there is none.
fn head_is_whole(bytes: &[u8]) -> bool {
    let crc = |range: std::ops::Range<usize>| {
        let mut crc = flate2::Crc::new();
        bytes.get(range).map(|bytes| {
            crc.update(bytes);
            crc.sum()
        })
    };
    let u16_at = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    match bytes {
        [b'R', _, _, _, _, _, 0, ..] => {
            let size = usize::from(u16_at(12).unwrap_or(0));
            let is_sum = |crc: Option<u32>| crc.map(|crc| crc & 0xffff) == u16_at(7).map(u32::from);
            // A comment within the header is not in its sum.
            size >= 13 && (is_sum(crc(9..7 + size)) || is_sum(crc(9..20)))
        }
        [b'R', ..] => {
            let mut rest = bytes.get(12..).unwrap_or_default();
            let before = rest.len();
            let size = vint(&mut rest).and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX);
            let end = (12 + before - rest.len()).saturating_add(size);
            crc(12..end).is_some_and(|crc| Some(crc) == u32_at(8))
        }
        [b'7', ..] => bytes.get(6) == Some(&0) && crc(12..32).is_some_and(|crc| Some(crc) == u32_at(8)),
        // Version 6.3 is the last; a name has at least a byte.
        _ => u16_at(4).is_some_and(|version| version & 0xff <= 63) && u16_at(26).is_some_and(|len| len > 0),
    }
}

/// What the first bytes of a file say.
#[derive(PartialEq, Eq, Debug)]
enum Head {
    Whole(Format),
    /// A volume of a RAR. `number`: as the header tells. `numbered_names`: `x.part1.rar`, `x.part2.rar`, … rather than
    /// `x.rar`, `x.r00`, ….
    Volume {
        number: Option<Position>,
        numbered_names: bool,
    },
}

/// Where in its set a volume is.
type Position = u64;

impl Head {
    fn read(file: &File) -> Result<Option<Self>, JobError> {
        let mut head = [0; HEAD];
        let len = read_fully(file, &mut head, 0)?;
        let mut frame = head;
        let mut at = 0u64;
        // Decoders skip such frames: programs that compress on many threads begin with one.
        for _ in 0..MAX_SKIPPABLE {
            let [0x50..=0x5f, 0x2a, 0x4d, 0x18, a, b, c, d, ..] = frame else { break };
            at = at.saturating_add(8 + u64::from(u32::from_le_bytes([a, b, c, d])));
            frame = [0; HEAD];
            read_fully(file, &mut frame, at)?;
            if let [0x28, 0xb5, 0x2f, 0xfd, ..] = frame {
                return Ok(Some(Self::Whole(Format::Tar(Codec::Zstd))));
            }
        }
        Ok(Self::of(head.get(..len).unwrap_or_default()))
    }

    fn of(head: &[u8]) -> Option<Self> {
        let codec = match head {
            [b'R', b'a', b'r', b'!', 0x1a, 7, 0, rest @ ..] => return Some(Self::of_rar4(rest)),
            [b'R', b'a', b'r', b'!', 0x1a, 7, 1, 0, rest @ ..] => return Some(Self::of_rar5(rest)),
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] | [b'P', b'K', 7, 8, ..] => {
                return Some(Self::Whole(Format::Zip));
            }
            [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => return Some(Self::Whole(Format::Seven)),
            [0x1f, 0x8b, 8, ..] => Codec::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Codec::Xz,
            // After the level: the first block's magic, or the end's of an empty stream.
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..]
            | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, ..] => Codec::Bzip2,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Codec::Zstd,
            _ if is_tar(head) => Codec::Plain,
            _ => return None,
        };
        Some(Self::Whole(Format::Tar(codec)))
    }

    /// The main header follows: checksum (2 bytes), kind 0x73, flags (2 bytes).
    fn of_rar4(rest: &[u8]) -> Self {
        const VOLUME: u16 = 0x0001;
        const NUMBERED_NAMES: u16 = 0x0010;
        const FIRST: u16 = 0x0100;
        match *rest {
            [_, _, 0x73, low, high, ..] if u16::from_le_bytes([low, high]) & VOLUME != 0 => {
                let flags = u16::from_le_bytes([low, high]);
                let number = (flags & FIRST != 0).then_some(0);
                Self::Volume { number, numbered_names: flags & NUMBERED_NAMES != 0 }
            }
            _ => Self::Whole(Format::Rar),
        }
    }

    /// The main header follows: checksum (4 bytes), then numbers of variable length: size, kind 1, flags, size of the
    /// extra area if flag 1, archive flags, number of the volume if archive flag 2.
    fn of_rar5(rest: &[u8]) -> Self {
        let volume = || {
            let mut rest = rest.get(4..)?;
            let (_size, kind, flags) = (vint(&mut rest)?, vint(&mut rest)?, vint(&mut rest)?);
            if kind != 1 {
                return None;
            }
            if flags & 1 != 0 {
                vint(&mut rest)?;
            }
            let archive = vint(&mut rest)?;
            let number = if archive & 2 != 0 { vint(&mut rest)? } else { 0 };
            (archive & 1 != 0).then_some(Self::Volume { number: Some(number), numbered_names: true })
        };
        volume().unwrap_or(Self::Whole(Format::Rar))
    }
}

/// Whether a block of 512 bytes is the header of a tar: by its magic, for tars since 1988, or by its checksum.
pub(super) fn is_tar(block: &[u8]) -> bool {
    block.len() >= HEAD && (block.get(257..262) == Some(b"ustar") || is_old_tar(block))
}

/// A header without magic: its numbers are octal, and the sum of its bytes, with blanks for the sum itself, is what it
/// says.
fn is_old_tar(block: &[u8]) -> bool {
    let octal = |range: std::ops::Range<usize>| {
        let text = str::from_utf8(block.get(range)?).ok()?;
        u32::from_str_radix(text.trim_matches([' ', '\0']), 8).ok()
    };
    let named = block.first().is_some_and(|byte| *byte != 0);
    let kind = block.get(156).is_some_and(|kind| matches!(kind, 0 | b'0'..=b'7'));
    let numbers = octal(100..108).is_some() && block.get(124..136).is_some_and(|size| size.iter().all(u8::is_ascii));
    let sum = |(at, byte): (usize, &u8)| if (148..156).contains(&at) { u32::from(b' ') } else { u32::from(*byte) };
    named && kind && numbers && octal(148..156) == Some(block.iter().take(HEAD).enumerate().map(sum).sum())
}

/// A RAR5 number: seven bits a byte, lowest first, the eighth bit says that it goes on.
fn vint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// What a volume's name has in common with the others of its set, and its place in it.
fn volume_name(name: &str, numbered_names: bool) -> (String, Position) {
    let name = name.to_lowercase();
    let (stem, extension) = name.rsplit_once('.').unwrap_or((&name, ""));
    if let [letter @ b'r'..=b'z', tens @ b'0'..=b'9', ones @ b'0'..=b'9'] = *extension.as_bytes() {
        let place = u64::from(letter - b'r') * 100 + u64::from(tens - b'0') * 10 + u64::from(ones - b'0');
        return (stem.to_owned(), place + 1);
    }
    if !numbered_names {
        return (stem.to_owned(), 0);
    }
    // The last run of digits numbers the volume.
    let Some(last) = name.rfind(|c: char| c.is_ascii_digit()) else { return (stem.to_owned(), 0) };
    let (front, behind) = name.split_at(last + 1);
    let prefix = front.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = front.strip_prefix(prefix).and_then(|digits| digits.parse().ok()).unwrap_or(Position::MAX);
    (format!("{prefix}\0{behind}"), number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_decide() {
        let whole = |head: &[u8]| match Head::of(head) {
            Some(Head::Whole(format)) => Some(format),
            Some(Head::Volume { .. }) => panic!("a volume"),
            None => None,
        };
        assert_eq!(whole(b"PK\x03\x04rest"), Some(Format::Zip));
        assert_eq!(whole(b"7z\xbc\xaf\x27\x1c"), Some(Format::Seven));
        assert_eq!(whole(b"\x1f\x8b\x08"), Some(Format::Tar(Codec::Gzip)));
        assert_eq!(whole(b"\xfd7zXZ\0"), Some(Format::Tar(Codec::Xz)));
        assert_eq!(whole(b"BZh9\x31\x41\x59\x26\x53\x59"), Some(Format::Tar(Codec::Bzip2)));
        assert_eq!(whole(b"\x28\xb5\x2f\xfd"), Some(Format::Tar(Codec::Zstd)));
        for no in [&b""[..], b"PK", b"BZh9 is how this text begins", b"Rar!", b"MZ\x90\0", b"[version]"] {
            assert_eq!(Head::of(no), None, "{no:?}");
        }
    }

    #[test]
    fn volumes_are_known_by_their_header_whatever_their_name() {
        let rar5 = |archive: &[u8]| {
            let head = [b"Rar!\x1a\x07\x01\0".as_slice(), &[0; 4], &[5, 1, 0], archive].concat();
            Head::of(&head)
        };
        assert_eq!(rar5(&[0]), Some(Head::Whole(Format::Rar)));
        assert_eq!(rar5(&[1]), Some(Head::Volume { number: Some(0), numbered_names: true }));
        assert_eq!(rar5(&[3, 0x81, 1]), Some(Head::Volume { number: Some(129), numbered_names: true }));
        let rar4 = |flags: u16| {
            let head = [b"Rar!\x1a\x07\0".as_slice(), &[0, 0, 0x73], &flags.to_le_bytes()].concat();
            Head::of(&head)
        };
        assert_eq!(rar4(0x0008), Some(Head::Whole(Format::Rar)));
        assert_eq!(rar4(0x0101), Some(Head::Volume { number: Some(0), numbered_names: false }));
        assert_eq!(rar4(0x0011), Some(Head::Volume { number: None, numbered_names: true }));
    }

    #[test]
    fn names_of_volumes_group_and_order_them() {
        fn of<'a>(names: &[&'a str], numbered: bool) -> (usize, Vec<&'a str>) {
            let mut found: Vec<_> = names.iter().map(|name| (volume_name(name, numbered), *name)).collect();
            found.sort();
            let stems: std::collections::BTreeSet<_> = found.iter().map(|((stem, _), _)| stem.clone()).collect();
            (stems.len(), found.iter().map(|(_, name)| *name).collect::<Vec<_>>())
        }
        assert_eq!(
            of(&["g2.part10.rar", "g2.part2.rar", "G2.part1.RAR"], true),
            (1, vec!["G2.part1.RAR", "g2.part2.rar", "g2.part10.rar"])
        );
        assert_eq!(
            of(&["g2.s00", "g2.r99", "g2.r00", "g2.rar"], false),
            (1, vec!["g2.rar", "g2.r00", "g2.r99", "g2.s00"])
        );
        assert_eq!(of(&["a.part1.rar", "b.part1.rar"], true).0, 2);
    }
}
