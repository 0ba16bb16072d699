//! Every name beneath a game's root that keeps it from being shared. A scan says only that there is one; this looks for all of them, and
//! keeps no more of the tree in memory than the folders that it has yet to enter.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::finding::{Code, Finding, Findings, MOST_FINDINGS};
use super::names::{beneath, key_of, propose};
use crate::fs::{Dir, Entry, EntryKind, FsError};
use crate::types::{MAX_DEPTH, MAX_ENTRIES, MAX_PATH_BYTES, RelPath, SENTINEL, is_of_a_desktop, is_reserved_at_root};

/// A name that helps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rename {
    /// The folder that it lies in, beneath the game's.
    pub(super) dir: PathBuf,
    pub(super) from: OsString,
    pub(super) to: String,
}

/// What was found.
#[derive(Default)]
pub(super) struct Walked {
    pub(super) findings: Findings,
    /// At most [`MOST_FINDINGS`].
    pub(super) renames: Vec<Rename>,
    pub(super) files: u64,
    pub(super) bytes: u64,
    dirs: u64,
    /// Still to be read: where it is, and the path that it should have.
    left: Vec<(PathBuf, String)>,
}

/// Looks at everything beneath `root` but reserved names.
///
/// # Errors
/// When the root cannot be read.
pub(super) fn walk(root: &Dir, each_folder: &dyn Fn()) -> Result<Walked, FsError> {
    let mut walked = Walked::default();
    let mut entries = root.entries()?;
    entries.retain(|entry| !entry.name.to_str().is_some_and(is_reserved_at_root));
    walked.folder(Path::new(""), "", entries);
    while let Some((at, should_be)) = walked.left.pop() {
        each_folder();
        if walked.files.max(walked.dirs) > MAX_ENTRIES as u64 {
            walked.findings.push(too_many());
            break;
        }
        match open(root, &at).and_then(|dir| dir.entries()) {
            Ok(entries) => walked.folder(&at, &should_be, entries),
            Err(e) => walked.findings.push(unreadable(&at, &e)),
        }
    }
    Ok(walked)
}

/// Opens a folder beneath `root`, whatever it is called.
pub(super) fn open(root: &Dir, at: &Path) -> Result<Dir, FsError> {
    at.iter().try_fold(root.clone(), |dir, name| dir.child(name))
}

impl Walked {
    /// One folder; `should_be` is the path that it should have.
    fn folder(&mut self, at: &Path, should_be: &str, mut entries: Vec<Entry>) {
        // version.ini stays, whatever else is one with it.
        entries.sort_unstable_by(|a, b| (a.name != SENTINEL, &a.name).cmp(&(b.name != SENTINEL, &b.name)));
        let mut taken = HashSet::new();
        let faults: Vec<_> = entries.iter().map(|entry| fault(should_be, entry, &mut taken)).collect();
        for (entry, fault) in entries.iter().zip(faults) {
            let name = fault.map_or_else(
                || entry.name.to_str().map(str::to_owned),
                |fault| self.misnamed(at, should_be, entry, fault, &mut taken),
            );
            self.count(at, should_be, entry, name);
        }
    }

    /// Says what is wrong with a name, and which would help.
    fn misnamed(
        &mut self,
        at: &Path,
        should_be: &str,
        entry: &Entry,
        (code, message): (Code, String),
        taken: &mut HashSet<String>,
    ) -> Option<String> {
        let to = propose(should_be, &entry.name, entry.kind == EntryKind::Dir, taken);
        taken.extend(to.as_deref().map(key_of));
        let remedy = match &to {
            Some(to) => format!("rename it to {to}; --fix does"),
            None => "shorten the names of the folders above it, or move it further up".to_owned(),
        };
        if let Some(to) = to.clone().filter(|_| self.renames.len() < MOST_FINDINGS) {
            self.renames.push(Rename { dir: at.to_owned(), from: entry.name.clone(), to });
        }
        let finding = Finding { rename: to.clone(), ..Finding::new(code, message, remedy) };
        self.findings.push(finding.at(shown(at, &entry.name)));
        to
    }

    fn count(&mut self, at: &Path, should_be: &str, entry: &Entry, name: Option<String>) {
        let shown = || shown(at, &entry.name);
        match entry.kind {
            EntryKind::File if entry.name.to_str().is_some_and(is_of_a_desktop) => {}
            EntryKind::File => {
                self.files += 1;
                self.bytes = self.bytes.saturating_add(entry.size);
            }
            EntryKind::Dir => {
                self.dirs += 1;
                self.left.extend(name.map(|name| (at.join(&entry.name), beneath(should_be, &name))));
            }
            EntryKind::Symlink => {
                let remedy = "put what it leads to in its place, or delete it";
                self.findings
                    .push(Finding::new(Code::Link, "it is a link, and links are not followed", remedy).at(shown()));
            }
            EntryKind::Other => {
                let message = "it is neither a file nor a folder";
                self.findings.push(Finding::new(Code::Special, message, "delete it").at(shown()));
            }
        }
    }
}

/// What is wrong with a name in a folder that should have this path; the key of one that is right is taken from now on.
fn fault(parent: &str, entry: &Entry, taken: &mut HashSet<String>) -> Option<(Code, String)> {
    let Some(name) = entry.name.to_str() else {
        return Some((Code::NameNotPortable, "its name is not Unicode".to_owned()));
    };
    if parent.is_empty() && name != SENTINEL && name.eq_ignore_ascii_case(SENTINEL) {
        return Some((Code::NameNotPortable, format!("it must be spelled {SENTINEL}")));
    }
    let path = beneath(parent, name);
    if let Err(error) = RelPath::parse(&path) {
        let is_long = path.len() > MAX_PATH_BYTES || path.split('/').count() > MAX_DEPTH;
        return Some((if is_long { Code::PathTooLong } else { Code::NameNotPortable }, error.reason.to_owned()));
    }
    if entry.kind == EntryKind::File && is_of_a_desktop(name) || taken.insert(key_of(name)) {
        return None;
    }
    Some((Code::NameCollides, "where case does not count another one has the same name".to_owned()))
}

fn shown(at: &Path, name: &OsStr) -> String {
    at.join(name).to_string_lossy().into_owned()
}

fn too_many() -> Finding {
    let message = format!("it has more than {MAX_ENTRIES} files or folders");
    Finding::new(Code::TooMuch, message, "pack them into an archive")
}

/// Something that cannot be read.
pub(super) fn unreadable(at: &Path, error: &FsError) -> Finding {
    let message = format!("it cannot be read: {}", error.source);
    Finding::new(Code::Unreadable, message, "give yourself the right to read it").at(at.to_string_lossy())
}
