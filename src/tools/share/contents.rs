//! What the files of a game are: such as cannot be read, are too large for some disks, or are there more than once.

use std::collections::BTreeMap;
use std::path::Path;

use super::finding::{Code, Finding, Findings};
use super::show::Show;
use super::walk::unreadable;
use crate::control::human::size;
use crate::fs::{Dir, FsError};
use crate::types::{FileEntry, Manifest};

/// No file on FAT32 can have so many bytes.
const FAT32_LIMIT: u64 = 4 << 30;
/// Files up to here may be there as often as they like.
const SMALL: u64 = 1 << 20;
/// Read at a time; the first of them tell most files of one size apart.
const STEP: usize = 256 << 10;
/// Other places of the same bytes that are named.
const MOST_NAMED: usize = 3;

/// Looks at every file of a game. The second is what is wasted, in bytes.
pub(super) fn look(root: &Dir, manifest: &Manifest, show: &Show) -> (Findings, u64) {
    let mut findings = Findings::default();
    let mut readable = Vec::new();
    for file in manifest.files() {
        match root.open_read(&file.path) {
            Ok(_) => readable.push(file),
            Err(e) => findings.push(unreadable(Path::new(file.path.as_str()), &e)),
        }
        if file.size >= FAT32_LIMIT {
            let message = format!("it has {}: too much for a file on FAT32", size(file.size));
            let remedy = "guests need a disk with another file system (NTFS, exFAT, ext4)";
            findings.push(Finding::new(Code::LargeFile, message, remedy).at(file.path.as_str()));
        }
    }
    readable.retain(|file| file.size > SMALL);
    let wasted = duplicates(root, readable, show, &mut findings);
    (findings, wasted)
}

fn duplicates(root: &Dir, files: Vec<&FileEntry>, show: &Show, findings: &mut Findings) -> u64 {
    let by_size = several(files, |file| Some(file.size));
    let alike = several(by_size, |file| Some((file.size, hash(root, file, STEP as u64, |_| {}).ok()?)));
    let total = alike.iter().map(|file| file.size).sum();
    let mut done = 0;
    let step = |bytes: u64| {
        done += bytes;
        show.bytes("comparing files of the same size", done, total);
    };
    let mut step = step;
    let mut groups: BTreeMap<(u64, [u8; 32]), Vec<&FileEntry>> = BTreeMap::new();
    for file in alike {
        // What cannot be read now could be before: it is changing, and no matter.
        if let Ok(hash) = hash(root, file, u64::MAX, &mut step) {
            groups.entry((file.size, hash)).or_default().push(file);
        }
    }
    let mut wasted = 0;
    for ((bytes, _), files) in groups {
        let [first, others @ ..] = files.as_slice() else { continue };
        if others.is_empty() {
            continue;
        }
        let waste = bytes.saturating_mul(others.len() as u64);
        wasted += waste;
        let named: Vec<&str> = others.iter().take(MOST_NAMED).map(|file| file.path.as_str()).collect();
        let more = others.len() - named.len();
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let message = format!("the same bytes are in {}{more}: {} too much", named.join(", "), size(waste));
        findings
            .push(Finding::new(Code::Duplicate, message, "delete what the game does not need").at(first.path.as_str()));
    }
    wasted
}

/// Those that have their key in common with another.
fn several<K: Ord>(files: Vec<&FileEntry>, key: impl Fn(&FileEntry) -> Option<K>) -> Vec<&FileEntry> {
    let mut by_key: BTreeMap<K, Vec<&FileEntry>> = BTreeMap::new();
    for file in files {
        if let Some(key) = key(file) {
            by_key.entry(key).or_default().push(file);
        }
    }
    by_key.into_values().filter(|files| files.len() > 1).flatten().collect()
}

/// Of at most the first so many bytes.
fn hash(root: &Dir, file: &FileEntry, most: u64, mut step: impl FnMut(u64)) -> Result<[u8; 32], FsError> {
    let (open, mut hasher, mut buffer) = (root.open_read(&file.path)?, blake3::Hasher::new(), vec![0; STEP]);
    let mut at = 0;
    while at < most {
        let read = open.read_at(&mut buffer, at)?;
        if read == 0 {
            break;
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
        at += read as u64;
        step(read as u64);
    }
    Ok(*hasher.finalize().as_bytes())
}
