//! A file system of which the power may be cut: what is in memory, what is on the disk, and which mixtures of both a
//! restart may find.
//!
//! The rules: bytes of a file are on the disk after its flush, before that they are those of the last flush, the newest,
//! or zeros in the newest length (the length got there, the bytes did not). A name is on the disk after the flush of its directory; before that every change of a directory's names may
//! have got there without any other. A rename is one change.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::fs::{Dir, Hook, Op};

/// What lies beneath a directory: bytes of files, `None` for directories.
pub(crate) type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// More pending changes than this are not taken in every combination.
const MOST_COMBINED: usize = 7;

/// A directory in memory where the system has one: thousands of trees are made and flushed.
pub(crate) fn temp() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// What came of running something on a tree.
pub(crate) struct Run<T> {
    pub(crate) result: T,
    pub(crate) after: Tree,
    pub(crate) events: Vec<Event>,
    /// Operations that were tried.
    pub(crate) tried: usize,
}

pub(crate) fn run_on<T>(before: &Tree, fault: Option<Fault>, run: impl FnOnce(&Dir) -> T) -> Run<T> {
    let temp = temp();
    write_tree(temp.path(), before);
    let recorder = Arc::new(Recorder::new(temp.path(), fault));
    let result = run(&Dir::open_hooked(temp.path(), recorder.clone()).unwrap());
    let (tried, events) = recorder.seen();
    Run { result, after: read_tree(temp.path()), events, tried }
}

/// A file, or a directory if its path ends in a slash, with the directories above it.
pub(crate) fn insert_file(tree: &mut Tree, path: &str, bytes: &[u8]) {
    for (at, _) in path.match_indices('/') {
        tree.insert(path[..at].to_owned(), None);
    }
    if !path.ends_with('/') {
        tree.insert(path.to_owned(), Some(bytes.to_vec()));
    }
}

pub(crate) fn write_tree(at: &Path, tree: &Tree) {
    for (path, node) in tree {
        match node {
            None => std::fs::create_dir_all(at.join(path)).unwrap(),
            Some(bytes) => std::fs::write(at.join(path), bytes).unwrap(),
        }
    }
}

pub(crate) fn read_tree(at: &Path) -> Tree {
    fn walk(at: &Path, name: &str, out: &mut Tree) {
        for item in std::fs::read_dir(at).unwrap().map(Result::unwrap) {
            let name = format!("{name}{}", item.file_name().to_str().unwrap());
            if item.file_type().unwrap().is_dir() {
                out.insert(name.clone(), None);
                walk(&item.path(), &format!("{name}/"), out);
            } else {
                out.insert(name, Some(std::fs::read(item.path()).unwrap()));
            }
        }
    }
    let mut out = Tree::new();
    walk(at, "", &mut out);
    out
}

/// One change that happened. Paths are relative to where the recorder stands.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Create(String),
    Write(String, u64, Vec<u8>),
    SetLen(String, u64),
    SyncFile(String),
    MakeDir(String),
    SyncDir(String),
    SyncAll,
    Rename(String, String),
    RemoveFile(String),
    RemoveDir(String),
}

/// Which operations fail, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) first: usize,
    /// Also all that follow.
    pub(crate) persistent: bool,
    pub(crate) errno: i32,
}

/// Writes down what happens, and lets operations fail.
pub(crate) struct Recorder {
    base: PathBuf,
    fault: Option<Fault>,
    state: Mutex<(usize, Vec<Event>)>,
}

impl Recorder {
    pub(crate) fn new(base: &Path, fault: Option<Fault>) -> Self {
        Self { base: base.to_owned(), fault, state: Mutex::default() }
    }

    /// The operations that were tried, and those that happened.
    pub(crate) fn seen(&self) -> (usize, Vec<Event>) {
        self.state.lock().unwrap().clone()
    }

    fn event(&self, op: Op<'_>) -> Event {
        let rel = |path: &Path| path.strip_prefix(&self.base).unwrap().to_str().unwrap().to_owned();
        match op {
            Op::Create(path) => Event::Create(rel(path)),
            Op::Write { path, offset, bytes } => Event::Write(rel(path), offset, bytes.to_vec()),
            Op::SetLen(path, len) => Event::SetLen(rel(path), len),
            Op::SyncFile(path) => Event::SyncFile(rel(path)),
            Op::MakeDir(path) => Event::MakeDir(rel(path)),
            Op::SyncDir(path) => Event::SyncDir(rel(path)),
            Op::SyncFileSystem(_) => Event::SyncAll,
            Op::Rename(from, to) => Event::Rename(rel(from), rel(to)),
            Op::RemoveFile(path) => Event::RemoveFile(rel(path)),
            Op::RemoveDir(path) => Event::RemoveDir(rel(path)),
        }
    }
}

impl Hook for Recorder {
    fn before(&self, op: Op<'_>) -> io::Result<()> {
        let event = self.event(op);
        let mut state = self.state.lock().unwrap();
        let number = state.0;
        state.0 += 1;
        if let Some(fault) = self.fault
            && (number == fault.first || (fault.persistent && number > fault.first))
        {
            return Err(io::Error::from_raw_os_error(fault.errno));
        }
        state.1.push(event);
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Inode {
    File { now: Vec<u8>, durable: Vec<u8>, dirty: bool },
    Dir { now: BTreeMap<String, usize>, durable: BTreeMap<String, usize>, pending: Vec<(usize, Change)> },
}

#[derive(Clone, Debug)]
enum Change {
    Add(String, usize),
    Remove(String, usize),
    Rename(String, String, usize),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        let mut remove = |name: &String, inode: usize| {
            if names.get(name) == Some(&inode) {
                names.remove(name);
            }
        };
        match self {
            Self::Add(name, inode) => drop(names.insert(name.clone(), *inode)),
            Self::Remove(name, inode) => remove(name, *inode),
            Self::Rename(from, to, inode) => {
                remove(from, *inode);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

/// The file system; inode 0 is the root.
pub(crate) struct Model {
    inodes: Vec<Inode>,
    next: usize,
}

impl Model {
    /// Everything durable.
    pub(crate) fn new(tree: &Tree) -> Self {
        let empty = Inode::Dir { now: BTreeMap::new(), durable: BTreeMap::new(), pending: Vec::new() };
        let mut model = Self { inodes: vec![empty], next: 0 };
        for (path, node) in tree {
            match node {
                None => model.apply(&Event::MakeDir(path.clone())),
                Some(bytes) => {
                    model.apply(&Event::Create(path.clone()));
                    model.apply(&Event::Write(path.clone(), 0, bytes.clone()));
                }
            }
        }
        model.apply(&Event::SyncAll);
        model
    }

    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Create(path) => {
                self.add(path, Inode::File { now: Vec::new(), durable: Vec::new(), dirty: false });
            }
            Event::MakeDir(path) => {
                self.add(path, Inode::Dir { now: BTreeMap::new(), durable: BTreeMap::new(), pending: Vec::new() });
            }
            Event::Write(path, offset, bytes) => self.change_file(path, |now| {
                let offset = *offset as usize;
                now.resize(now.len().max(offset + bytes.len()), 0);
                now[offset..][..bytes.len()].copy_from_slice(bytes);
            }),
            Event::SetLen(path, len) => self.change_file(path, |now| now.resize(*len as usize, 0)),
            Event::SyncFile(path) | Event::SyncDir(path) => {
                let at = self.find(path).unwrap();
                sync(&mut self.inodes[at]);
            }
            Event::SyncAll => self.inodes.iter_mut().for_each(sync),
            Event::Rename(from, to) => {
                let inode = self.find(from).unwrap();
                let (from, to) = (split(from).1.to_owned(), split(to));
                self.change_dir(to.0, Change::Rename(from, to.1.to_owned(), inode));
            }
            // What is not there, or not empty, stays as it is; the caller sees the same on the real disk.
            Event::RemoveFile(path) => {
                if let Some(inode) = self.find(path) {
                    self.change_dir(split(path).0, Change::Remove(split(path).1.to_owned(), inode));
                }
            }
            Event::RemoveDir(path) => {
                if let Some(inode) = self.find(path)
                    && matches!(&self.inodes[inode], Inode::Dir { now, .. } if now.is_empty())
                {
                    self.change_dir(split(path).0, Change::Remove(split(path).1.to_owned(), inode));
                }
            }
        }
    }

    /// What a restart may find if the power goes now.
    pub(crate) fn crash_states(&self) -> BTreeSet<Tree> {
        let mut pending: Vec<usize> = Vec::new();
        for (at, inode) in self.inodes.iter().enumerate() {
            match inode {
                Inode::File { dirty: true, .. } => pending.push(self.next + at),
                Inode::File { .. } => {}
                Inode::Dir { pending: changes, .. } => pending.extend(changes.iter().map(|(number, _)| *number)),
            }
        }
        let all: BTreeSet<usize> = pending.iter().copied().collect();
        let mut choices: BTreeSet<BTreeSet<usize>> = BTreeSet::from([all.clone(), BTreeSet::new()]);
        if pending.len() <= MOST_COMBINED {
            choices.extend((0..1usize << pending.len()).map(|bits| {
                pending.iter().enumerate().filter(|(nth, _)| bits >> nth & 1 == 1).map(|(_, item)| *item).collect()
            }));
        } else {
            for item in &all {
                choices.insert(BTreeSet::from([*item]));
                choices.insert(all.iter().copied().filter(|other| other != item).collect());
                choices.insert(all.iter().copied().filter(|other| other < item).collect());
            }
        }
        choices.iter().flat_map(|choice| [false, true].map(|torn| self.state(choice, torn))).collect()
    }

    /// The tree when of all that is pending only `chosen` got to the disk; `torn`: of other files the length did.
    fn state(&self, chosen: &BTreeSet<usize>, torn: bool) -> Tree {
        let mut out = Tree::new();
        self.collect(0, "", chosen, torn, &mut out);
        out
    }

    fn collect(&self, at: usize, path: &str, chosen: &BTreeSet<usize>, torn: bool, out: &mut Tree) {
        match &self.inodes[at] {
            Inode::File { now, durable, dirty } => {
                let bytes = match chosen.contains(&(self.next + at)) {
                    true => now.clone(),
                    false if torn && *dirty => vec![0; now.len()],
                    false => durable.clone(),
                };
                out.insert(path.to_owned(), Some(bytes));
            }
            Inode::Dir { durable, pending, .. } => {
                if !path.is_empty() {
                    out.insert(path.to_owned(), None);
                }
                let mut names = durable.clone();
                pending.iter().filter(|(number, _)| chosen.contains(number)).for_each(|(_, c)| c.apply(&mut names));
                for (name, inode) in names {
                    let path = if path.is_empty() { name } else { format!("{path}/{name}") };
                    self.collect(inode, &path, chosen, torn, out);
                }
            }
        }
    }

    fn add(&mut self, path: &str, inode: Inode) {
        if self.find(path).is_none() {
            self.inodes.push(inode);
            let (parent, name) = split(path);
            self.change_dir(parent, Change::Add(name.to_owned(), self.inodes.len() - 1));
        }
    }

    fn change_dir(&mut self, path: &str, change: Change) {
        let at = self.find(path).unwrap();
        let Inode::Dir { now, pending, .. } = &mut self.inodes[at] else { panic!("{path} is no directory") };
        change.apply(now);
        pending.push((self.next, change));
        self.next += 1;
    }

    fn change_file(&mut self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let at = self.find(path).unwrap();
        let Inode::File { now, durable, dirty } = &mut self.inodes[at] else { panic!("{path} is no file") };
        change(now);
        *dirty = now != durable;
    }

    fn find(&self, path: &str) -> Option<usize> {
        path.split('/').filter(|name| !name.is_empty()).try_fold(0, |at, name| match &self.inodes[at] {
            Inode::Dir { now, .. } => now.get(name).copied(),
            Inode::File { .. } => None,
        })
    }
}

fn sync(inode: &mut Inode) {
    match inode {
        Inode::File { now, durable, dirty } => {
            durable.clone_from(now);
            *dirty = false;
        }
        Inode::Dir { now, durable, pending } => {
            durable.clone_from(now);
            pending.clear();
        }
    }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
