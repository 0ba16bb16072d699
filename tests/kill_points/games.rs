//! One small game in two versions and two forms, and what its folder holds in each state.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use lanspread_peer::fs::Dir;
use lanspread_peer::install::{Intent, IntentLog, OpId, put_number};
use zip::write::SimpleFileOptions;

use crate::support::{CHUNK, Home, tree};

/// The game's id.
pub(crate) const ID: &str = "doom";
/// The version from before.
pub(crate) const OLD: &str = "1.0";
/// The version that is to be.
pub(crate) const NEW: &str = "2.0";

/// What a folder holds: path to kind, size and hash. Without directories: which of them an interrupted download made is
/// of no account.
pub(crate) type Snapshot = BTreeMap<String, String>;

/// How the game comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// One archive, and a text beside it.
    Archive,
    /// The files that are played.
    Files,
}

/// The files of a folder; none when there is no folder.
pub(crate) fn snapshot(root: &Path) -> Snapshot {
    if !root.is_dir() {
        return Snapshot::new();
    }
    tree(root, &[]).into_iter().filter(|(_, what)| what != "directory").collect()
}

/// A downloaded game of this version.
pub(crate) fn put_game(home: &Home, form: Form, version: &str) {
    write(&home.game(ID), game(form, version));
}

/// The same, and a download brought it.
pub(crate) fn put_brought_game(home: &Home, form: Form, version: &str) {
    put_game(home, form, version);
    home.brought(ID);
}

/// The new version is downloaded, the old one installed, and the user has played it.
pub(crate) fn put_outdated_install(home: &Home, form: Form) {
    put_game(home, form, NEW);
    let root = home.game(ID);
    write(&root.join("local"), playable(OLD));
    put_number(&Dir::open(&root.join("local")).unwrap(), OpId(1)).unwrap();
    write(&root.join("local"), save());
    let log = IntentLog {
        op_id: OpId(1),
        intent: Intent::None,
        installed_version: Some(OLD.to_owned()),
        installed_by: Some(OpId(1)),
        next_version: None,
        kept_as: None,
    };
    log.write(&Dir::open(&root).unwrap()).unwrap();
}

/// The version is downloaded, and somebody has installed it by hand.
pub(crate) fn put_install_by_hand(home: &Home, form: Form) {
    put_brought_game(home, form, NEW);
    write(&home.game(ID).join("local"), playable(NEW));
}

/// What is there when this version is downloaded.
pub(crate) fn downloaded(form: Form, version: &str) -> Snapshot {
    state(|root| write(root, game(form, version)))
}

/// What is there when the new version was fetched over the old one.
pub(crate) fn updated(form: Form) -> Snapshot {
    downloaded(form, NEW)
}

/// What is there when the new version was installed over the one that was played.
pub(crate) fn updated_install(form: Form) -> Snapshot {
    state(|root| {
        write(root, game(form, NEW));
        write(&root.join("local"), playable(NEW));
        write(&root.join("local"), save());
    })
}

/// What is there when that was uninstalled.
pub(crate) fn uninstalled(form: Form) -> Snapshot {
    state(|root| {
        write(root, game(form, NEW));
        write(&root.join(".local.mine"), save());
    })
}

fn save() -> Vec<(String, Vec<u8>)> {
    vec![("save/slot1".to_owned(), b"hours of play".to_vec())]
}

/// What is there when these versions are downloaded and installed.
pub(crate) fn installed(form: Form, downloaded: &str, installed: &str) -> Snapshot {
    state(|root| {
        write(root, game(form, downloaded));
        write(&root.join("local"), playable(installed));
    })
}

fn state(make: impl FnOnce(&Path)) -> Snapshot {
    let temp = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    make(temp.path());
    snapshot(temp.path())
}

fn write(root: &Path, files: Vec<(String, Vec<u8>)>) {
    for (path, bytes) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn game(form: Form, version: &str) -> Vec<(String, Vec<u8>)> {
    let mut files = match form {
        Form::Archive => {
            vec![("doom.eti".to_owned(), archive(version)), ("readme.txt".to_owned(), b"read me".to_vec())]
        }
        Form::Files => playable(version),
    };
    files.push(("version.ini".to_owned(), format!("{version}\n").into_bytes()));
    files
}

/// What is played: a file of more than a chunk, one in a directory, an empty one, one that only this version has.
fn playable(version: &str) -> Vec<(String, Vec<u8>)> {
    vec![
        ("doom.exe".to_owned(), noise(version, 300_000)),
        ("maps/e1m1.wad".to_owned(), noise(version, CHUNK as usize + 4321)),
        ("maps/empty".to_owned(), Vec::new()),
        (format!("only-in-{version}/note"), noise(version, 99)),
    ]
}

fn archive(version: &str) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (path, bytes) in playable(version) {
        zip.start_file(path, SimpleFileOptions::default()).unwrap();
        zip.write_all(&bytes).unwrap();
    }
    let bytes = zip.finish().unwrap().into_inner();
    assert!(bytes.len() as u64 > CHUNK);
    bytes
}

fn noise(seed: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(seed.as_bytes()).update(&len.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
