//! The order of steps, proved on a model of what a power cut may leave; and the operations on a real disk.
#![allow(clippy::disallowed_methods, reason = "tests change the disk behind the daemon's back")]

mod crash;
mod operations;
mod owner;
mod table;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::faults::{self, Bug};
use crate::fs::model::{Fault, Run, Tree};
use crate::fs::{Entry, EntryKind, Hook, SpaceLedger};
use crate::types::{FileEntry, KeptAside, Manifest, Packing, RelPath};

static GO_ON: AtomicBool = AtomicBool::new(false);

fn game() -> GameId {
    "quake".parse().unwrap()
}

/// Files, and with a slash at the end directories; those above are there as well.
fn tree(list: &[(&str, &str)]) -> Tree {
    let mut out = BTreeMap::new();
    for (path, text) in list {
        let (path, node) = match path.strip_suffix('/') {
            Some(dir) => (dir, None),
            None => (*path, Some(text.as_bytes().to_vec())),
        };
        for (at, _) in path.match_indices('/') {
            out.insert(path[..at].to_owned(), None);
        }
        out.insert(path.to_owned(), node);
    }
    out
}

/// What lies beneath `prefix`, without it.
fn beneath(tree: &Tree, prefix: &str) -> Tree {
    let cut = |(path, node): (&String, &Option<Vec<u8>>)| {
        path.strip_prefix(prefix)?.strip_prefix('/').map(|path| (path.to_owned(), node.clone()))
    };
    tree.iter().filter_map(cut).collect()
}

/// Of the operation that made [`installed`].
const EARLIER: OpId = OpId(3);

fn log_of(version: &str) -> String {
    text_of(Some(version), Some(EARLIER))
}

fn text_of(version: Option<&str>, installed_by: Option<OpId>) -> String {
    let log = IntentLog {
        op_id: OpId(7),
        intent: Intent::None,
        installed_version: version.map(str::to_owned),
        installed_by,
        next_version: None,
        kept_as: None,
    };
    String::from_utf8(log.encode()).unwrap()
}

/// A downloaded game of version 2, and what its owner has beside it.
fn downloaded() -> Tree {
    tree(&[
        ("quake/version.ini", "2"),
        ("quake/game.exe", "new program"),
        ("quake/bin/data", "new data"),
        ("quake/empty", ""),
        ("quake/bin/saves/", ""),
        ("other/local/save", "of another game"),
    ])
}

/// The list of what an installation made, on a disk whose times do not count.
fn list_of(files: &[(&str, u64)]) -> String {
    let entry = |size| Entry { name: "".into(), kind: EntryKind::File, size, mtime_ns: 0, exec: false, links: 1 };
    let files: Vec<_> = files.iter().map(|(path, size)| (RelPath::parse(path).unwrap(), entry(*size))).collect();
    String::from_utf8(super::inventory::encode(&files)).unwrap()
}

/// As [`crate::fs::model::run_on`]: the disk is made anew, and its times are.
fn run_on<T>(before: &Tree, fault: Option<Fault>, run: impl FnOnce(&Dir) -> T) -> Run<T> {
    faults::TIMES_OFF.set(true);
    let run = crate::fs::model::run_on(before, fault, run);
    faults::TIMES_OFF.set(false);
    run
}

/// The same with version 1 installed and played.
fn installed() -> Tree {
    let mut tree = downloaded();
    tree.extend(super::tests::tree(&[
        ("quake/local/game.exe", "old program"),
        ("quake/local/save/slot", "saved by the user"),
        ("quake/local/.lanspread_installed", &format!("0000000000000003\n{}", list_of(&[("game.exe", 11)]))),
        ("quake/.lanspread.json", &log_of("1")),
    ]));
    tree
}

fn manifest() -> Manifest {
    let file = |path: &str, size| FileEntry { path: RelPath::parse(path).unwrap(), size, exec: path.ends_with(".exe") };
    let files = vec![file("version.ini", 1), file("game.exe", 11), file("bin/data", 8), file("empty", 0)];
    Manifest::with_dirs(files, vec!["bin/saves".parse().unwrap()]).unwrap()
}

fn install_in(game_dir: &Dir) -> Result<Done, JobError> {
    let root = game_dir.subdir("quake")?;
    let game = game();
    let what =
        Install { game: &game, version: Some("2"), needed_bytes: 19, space: &SpaceLedger::default(), cancel: &GO_ON };
    install(&root, &what, &|staging, _| copy_files(&root, staging, &manifest(), Packing::Copy, &|_, _| (), &GO_ON))
}

fn uninstall_in(game_dir: &Dir) -> Result<Done, JobError> {
    uninstall(&game_dir.subdir("quake")?, &game())
}

/// What somebody installed by hand, beside an older program's log if there is a version.
fn made_by_hand(version: Option<&str>) -> Tree {
    let mut tree = downloaded();
    tree.extend(super::tests::tree(&[
        ("quake/local/game.exe", "the user's program"),
        ("quake/local/save/slot", "100 hours"),
    ]));
    if let Some(version) = version {
        tree.extend(super::tests::tree(&[("quake/.lanspread.json", &text_of(Some(version), None))]));
    }
    tree
}

fn adopt_in(game_dir: &Dir) -> Result<Done, JobError> {
    adopt(&game_dir.subdir("quake")?, &game())
}

fn remove_in(game_dir: &Dir) -> Result<Done, JobError> {
    remove(game_dir, &game(), &manifest()).map(|()| Done::default())
}

fn hooked(path: &Path, hook: Arc<dyn Hook>) -> Dir {
    Dir::open_hooked(path, hook).unwrap()
}
