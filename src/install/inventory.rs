//! What an installation made, to tell it from what the user adds and changes later: saves, mods, settings.
//!
//! The list lies in `local/` itself, so that it goes wherever that goes, behind the number of the operation (owner.rs). One JSON object
//! on one line, its last member a checksum (XXH3-128) of all bytes before that member; sizes in bytes, times of the last
//! change in nanoseconds since 1970:
//!
//! ```text
//! 16 hex digits
//! {"format":1,"files":[["bin/game.exe",12345,1769000000000000000], …],"checksum":"…"}\n
//! ```
//!
//! Without a list, or with one that cannot be read, nothing in the directory is known to be lanspread's.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::marker::{MARKER, MARKER_TMP};
use super::owner::{NUMBER, NUMBER_BYTES, NUMBER_TMP};
use crate::faults;
use crate::fs::{Dir, Entry, EntryKind, FsError, is_sealed, seal};
use crate::types::RelPath;

/// Longest list that is read, in bytes.
const MAX_BYTES: usize = 256 << 20;
const FORMAT: u32 = 1;
/// FAT keeps times to two seconds, exFAT to ten milliseconds, and both may show finer ones until they are mounted anew.
const COARSEST_NS: u64 = 2_000_000_000;
const COARSE_NS: i64 = 10_000_000;

/// The files that an installation made.
#[derive(Debug)]
pub(super) struct Inventory(HashMap<RelPath, (u64, i64)>);

/// Everything in a directory but lanspread's own notes.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Regular files, in no order.
    pub(super) files: Vec<(RelPath, Entry)>,
    /// Every directory.
    pub(super) dirs: BTreeSet<RelPath>,
    /// A link, a special file, or a name that no list can have.
    pub(super) has_others: bool,
}

impl Contents {
    /// Lists a directory and everything beneath it. Links are not followed.
    pub(super) fn of(dir: &Dir) -> Result<Self, FsError> {
        let mut contents = Self::default();
        let mut open = contents.add(None, dir)?;
        while let Some(path) = open.pop() {
            let beneath = contents.add(Some(&path), &dir.open_dir(&path)?)?;
            open.extend(beneath);
        }
        Ok(contents)
    }

    /// Takes in what lies directly in a directory. Returns the directories in it.
    fn add(&mut self, parent: Option<&RelPath>, dir: &Dir) -> Result<Vec<RelPath>, FsError> {
        const NOTES: [&str; 4] = [NUMBER, NUMBER_TMP, MARKER, MARKER_TMP];
        let mut dirs = Vec::new();
        for entry in dir.entries()? {
            let name = entry.name.to_str();
            if parent.is_none() && name.is_some_and(|name| NOTES.contains(&name)) {
                continue;
            }
            let path = name.and_then(|name| match parent {
                Some(parent) => RelPath::parse_unreserved(&format!("{parent}/{name}")).ok(),
                None => RelPath::parse_unreserved(name).ok(),
            });
            match (path, entry.kind) {
                (Some(path), EntryKind::File) => self.files.push((path, entry)),
                (Some(path), EntryKind::Dir) => dirs.push(path),
                _ => self.has_others = true,
            }
        }
        self.dirs.extend(dirs.iter().cloned());
        Ok(dirs)
    }
}

impl Inventory {
    /// The list in `dir`; `None`: there is none that can be read.
    ///
    /// # Errors
    /// Only when the system is short of something.
    pub(super) fn read(dir: &Dir) -> Result<Option<Self>, FsError> {
        match dir.read_small(NUMBER, MAX_BYTES) {
            Ok(bytes) => Ok(bytes.as_deref().and_then(|bytes| decode(bytes.get(NUMBER_BYTES..)?))),
            Err(e) if e.is_exhaustion() => Err(e),
            Err(_) => Ok(None),
        }
    }

    /// Whether a file is as the installation left it.
    pub(super) fn has(&self, path: &RelPath, entry: &Entry) -> bool {
        let Some(&(size, then)) = self.0.get(path) else { return false };
        let now = time_of(entry);
        let is_rounded = now % COARSE_NS == 0 && then.abs_diff(now) < COARSEST_NS;
        size == entry.size && (then == now || is_rounded)
    }
}

fn time_of(entry: &Entry) -> i64 {
    if faults::times_are_off() {
        return 0;
    }
    i64::try_from(entry.mtime_ns).unwrap_or(if entry.mtime_ns < 0 { i64::MIN } else { i64::MAX })
}

#[derive(Serialize, Deserialize)]
struct ListFile {
    format: u32,
    files: Vec<(String, u64, i64)>,
}

/// The list of these files.
pub(super) fn encode(files: &[(RelPath, Entry)]) -> Vec<u8> {
    let mut files: Vec<_> =
        files.iter().map(|(path, entry)| (path.as_str().to_owned(), entry.size, time_of(entry))).collect();
    files.sort_unstable();
    // Texts and numbers always are JSON; an empty list would be unreadable, and so prove nothing.
    seal(serde_json::to_vec(&ListFile { format: FORMAT, files }).unwrap_or_default())
}

fn decode(bytes: &[u8]) -> Option<Inventory> {
    if !is_sealed(bytes) {
        return None;
    }
    let ListFile { format, files } = serde_json::from_slice(bytes).ok()?;
    let file = |(path, size, time): (String, u64, i64)| Some((RelPath::parse_unreserved(&path).ok()?, (size, time)));
    if format == FORMAT { files.into_iter().map(file).collect::<Option<_>>().map(Inventory) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, size: u64, mtime_ns: i128) -> (RelPath, Entry) {
        let path = RelPath::parse_unreserved(path).unwrap();
        let name = path.file_name().into();
        (path, Entry { name, kind: EntryKind::File, size, mtime_ns, exec: false, links: 1 })
    }

    #[test]
    fn a_list_knows_its_files_and_no_others() {
        const HOUR: i128 = 3_600_000_000_000;
        let made = [file("bin/game.exe", 7, 5 * HOUR), file("local/x", 0, -HOUR)];
        let bytes = encode(&made);
        let list = decode(&bytes).unwrap();
        assert!(made.iter().all(|(path, entry)| list.has(path, entry)));
        let others = [
            file("bin/game.exe", 8, 5 * HOUR),
            file("bin/game.exe", 7, 6 * HOUR),
            file("bin/game.exe", 7, 4 * HOUR),
            file("bin/game", 7, 5 * HOUR),
        ];
        assert!(!others.iter().any(|(path, entry)| list.has(path, entry)));
        // What FAT makes of it.
        let made = decode(&encode(&[file("bin/game.exe", 7, 5 * HOUR + 1_999_999_999)])).unwrap();
        let (path, entry) = file("bin/game.exe", 7, 5 * HOUR);
        assert!(made.has(&path, &entry));
        // Edited right after the installation, where times are fine.
        let (path, entry) = file("bin/game.exe", 7, 5 * HOUR + 1);
        assert!(!list.has(&path, &entry) && !made.has(&path, &entry));
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_none(), "{len}");
        }
        let foreign = [br#"{"format":2,"files":[]"#.to_vec(), br#"{"format":1,"files":[["../x",1,1]]"#.to_vec()];
        for object in foreign {
            assert!(decode(&seal([object.as_slice(), b"}"].concat())).is_none());
        }
    }
}
