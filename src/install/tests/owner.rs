//! Whose `local/` is. No byte of one that lanspread did not make is lost, whatever its user does at whatever instant.

use super::operations::on_disk;
use super::*;
use crate::fs::Op;
use crate::fs::model::{Tree, read_tree, write_tree};
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const PRECIOUS: &[u8] = b"nowhere else";

type Operation = fn(&Dir) -> Result<Done, JobError>;

/// What a user does with `local/`, by the path of the game's folder.
type Deed = fn(&Path);

fn put_own(root: &Path) {
    std::fs::create_dir_all(root.join("local/save")).unwrap();
    std::fs::write(root.join("local/save/slot"), PRECIOUS).unwrap();
}

/// Deletes what is there, and has his own there.
fn replaces(root: &Path) {
    let _ = std::fs::remove_dir_all(root.join("local"));
    put_own(root);
}

/// Moves what is there away, and has his own there.
fn moves_away(root: &Path) {
    let _ = std::fs::rename(root.join("local"), root.join("../played before"));
    put_own(root);
}

/// Has a copy there from before: with a number, and another one than the log's.
fn restores(root: &Path) {
    replaces(root);
    std::fs::write(root.join("local/.lanspread_installed"), "00000000000000aa\n").unwrap();
}

/// Throws the number away, which he does not know.
fn deletes_the_number(root: &Path) {
    if root.join("local").is_dir() {
        let _ = std::fs::remove_file(root.join("local/.lanspread_installed"));
        put_own(root);
    }
}

/// Saves a game in what is there.
fn saves(root: &Path) {
    if root.join("local").is_dir() {
        put_own(root);
    }
}

/// Edits a file that came with the game.
fn edits(root: &Path) {
    if root.join("local/game.exe").is_file() {
        std::fs::write(root.join("local/game.exe"), PRECIOUS).unwrap();
    }
}

const DEEDS: [(&str, Deed); 6] = [
    ("saves a game", saves),
    ("edits a file", edits),
    ("replaces it", replaces),
    ("moves it away", moves_away),
    ("restores a backup", restores),
    ("deletes the number", deletes_the_number),
];

const OPERATIONS: [(&str, Operation); 4] =
    [("install", install_in), ("uninstall", uninstall_in), ("install", install_in), ("uninstall", uninstall_in)];

fn is_kept(tree: &Tree) -> bool {
    tree.values().flatten().any(|bytes| bytes == PRECIOUS)
}

/// What a user did is still there after any two operations, and after a start.
fn keeps(before: &Tree) -> Result<(), String> {
    for (first, one) in OPERATIONS {
        for (second, other) in OPERATIONS {
            let after = run_on(before, None, |dir| {
                let results = [one(dir), other(dir)];
                recover_game(&dir.subdir("quake").unwrap()).unwrap();
                results.map(|result| result.map_err(|e| e.kind))
            });
            if !is_kept(&after.after) {
                return Err(format!("{first}, {second}: {:?}", after.result));
            }
        }
    }
    Ok(())
}

/// The tree after what the user did.
fn after_deed(before: &Tree, deed: Deed) -> Tree {
    let temp = crate::fs::model::temp();
    write_tree(temp.path(), before);
    deed(&temp.path().join("quake"));
    read_tree(temp.path())
}

fn between_operations() -> Result<(), String> {
    let installed_before = run_on(&downloaded(), None, |dir| install_in(dir).map(drop)).after;
    let uninstalled = run_on(&installed_before, None, |dir| uninstall_in(dir).map(drop)).after;
    let adopted = run_on(&made_by_hand(Some("1")), None, |dir| adopt_in(dir).map(drop)).after;
    let older = made_by_hand(Some("1"));
    for before in [downloaded(), installed(), installed_before, uninstalled, adopted, older] {
        for (what, deed) in DEEDS {
            let tree = after_deed(&before, deed);
            if is_kept(&tree) {
                keeps(&tree).map_err(|fault| format!("a user {what}: {fault}"))?;
            }
        }
    }
    Ok(())
}

#[test]
fn what_a_user_puts_in_the_place_of_local_between_two_operations_is_never_lost() {
    between_operations().unwrap();
    faults::with(Bug::NoOwnerCheck, || between_operations().expect_err("a dropped check of the owner was not seen"));
}

/// The power went in the middle of an operation, and the user is at his game before lanspread starts again.
fn after_power_cuts(interrupted: &[(&str, Tree)]) -> Result<usize, String> {
    let mut kept = 0;
    for (name, crashed) in interrupted {
        for (what, deed) in DEEDS {
            let before = after_deed(crashed, deed);
            if !is_kept(&before) {
                continue;
            }
            let run = run_on(&before, None, |dir| {
                recover_game(&dir.subdir("quake").unwrap()).map(|_| ()).map_err(JobError::from)?;
                // Whatever they say, they take nothing.
                let results = [install_in(dir), uninstall_in(dir)];
                Ok::<_, JobError>(results.map(|result| result.map_err(|e| e.kind)))
            });
            if !is_kept(&run.after) {
                return Err(format!("{name} was interrupted, a user {what}: {before:?}: {:?}", run.result));
            }
            kept += 1;
        }
    }
    Ok(kept)
}

#[test]
fn what_a_user_puts_there_after_a_power_cut_is_never_lost() {
    let interrupted = super::crash::interrupted();
    let kept = after_power_cuts(&interrupted).unwrap();
    assert!(kept > 3 * interrupted.len() / 2, "only {kept} of {}", interrupted.len());
    println!("{kept} states after {} crashes", interrupted.len());
    faults::with(Bug::NoOwnerCheck, || {
        after_power_cuts(&interrupted).expect_err("a dropped check of the owner was not seen");
    });
}

/// Lanspread does not die.
const NEVER: usize = usize::MAX;

/// A user who acts before one certain change that an operation makes.
struct User {
    base: PathBuf,
    deed: Deed,
    acts_before: usize,
    /// Changes that lanspread still makes then, before it dies.
    dies_after: usize,
    seen: AtomicUsize,
    /// Whether there was something for him to act on.
    acted: Mutex<Option<bool>>,
}

impl Hook for User {
    fn before(&self, _: Op<'_>) -> io::Result<()> {
        let seen = self.seen.fetch_add(1, Ordering::Relaxed);
        if seen >= self.acts_before.saturating_add(self.dies_after) {
            return Err(io::Error::other("dead"));
        }
        if seen == self.acts_before {
            (self.deed)(&self.base.join("quake"));
            *self.acted.lock().unwrap() = Some(is_kept(&read_tree(&self.base)));
        }
        Ok(())
    }
}

/// `Err`: when a user's bytes were lost.
fn during(operation: Operation, deed: Deed, dies_after: usize) -> Result<usize, String> {
    for acts_before in 0.. {
        let (temp, _) = on_disk(&installed());
        let base = temp.path().to_owned();
        let user =
            Arc::new(User { base, deed, acts_before, dies_after, seen: AtomicUsize::new(0), acted: Mutex::new(None) });
        let result = operation(&hooked(temp.path(), user.clone()));
        let Some(acted) = *user.acted.lock().unwrap() else { return Ok(acts_before) };
        let root = Dir::open(&temp.path().join("quake")).unwrap();
        let recovered = recover_game(&root);
        let tree = read_tree(temp.path());
        if acted && !is_kept(&tree) {
            return Err(format!("before change {acts_before}: {result:?} {recovered:?} {tree:?}"));
        }
    }
    unreachable!()
}

#[test]
fn what_a_user_puts_there_in_the_middle_of_an_operation_is_never_lost() {
    for (what, deed) in &DEEDS {
        for (name, operation) in [("update", install_in as Operation), ("uninstall", uninstall_in)] {
            let changes = during(operation, *deed, NEVER).unwrap_or_else(|fault| panic!("{name}, {what}: {fault}"));
            assert!(changes > 8, "{name}: only {changes} changes were seen");
            let found = faults::with(Bug::OwnerCheckedOnce, || during(operation, *deed, NEVER));
            assert!(found.is_err(), "{name}, {what}: an owner that is asked for once was not seen");
            let found = faults::with(Bug::NothingKept, || during(operation, *deed, NEVER));
            // It is found to be another one, by its number.
            let is_another = !matches!(*what, "saves a game" | "edits a file");
            assert_eq!(
                found.is_ok(),
                is_another,
                "{name}, {what}: a user's files that are not looked for were not seen"
            );
        }
    }
}

#[test]
fn what_a_user_puts_there_just_before_lanspread_dies_is_never_lost() {
    let dying = |dies_after| {
        for (what, deed) in &DEEDS {
            for (name, operation) in [("update", install_in as Operation), ("uninstall", uninstall_in)] {
                during(operation, *deed, dies_after).map_err(|fault| format!("{name}, {what}: {fault}"))?;
            }
        }
        Ok::<_, String>(())
    };
    for dies_after in 1..12 {
        dying(dies_after).unwrap();
    }
    // Between the last look at what is there and its new name.
    let found = faults::with(Bug::NotedTooEarly, || (1..4).any(|dies_after| dying(dies_after).is_err()));
    assert!(found, "a note that is made too early was not seen");
}

/// Beside the downloaded game what a user had installed by hand.
fn with_kept() -> Tree {
    let mut tree = downloaded();
    tree.insert("quake/.local.mine".to_owned(), None);
    tree.extend(
        beneath(&made_by_hand(None), "quake/local")
            .into_iter()
            .map(|(path, node)| (format!("quake/.local.mine/{path}"), node)),
    );
    tree
}

#[test]
fn what_was_adopted_is_updated_and_uninstalled_and_adopting_it_again_changes_nothing() {
    for (version, known) in [(None, None), (Some("1"), Some("1"))] {
        let (temp, dir) = on_disk(&made_by_hand(version));
        let root = dir.subdir("quake").unwrap();
        let log = || IntentLog::read(&root).unwrap().unwrap();
        assert_eq!(made_by_lanspread(&root, log().as_ref()).unwrap(), Made::Elsewhere);
        assert_eq!(adopt_in(&dir).unwrap(), Done::default());
        let adopted = read_tree(temp.path());
        assert_eq!(log().unwrap().installed_version.as_deref(), known);
        assert_eq!(made_by_lanspread(&root, log().as_ref()).unwrap(), Made::Here(known.map(str::to_owned)));
        assert_eq!(adopt_in(&dir).unwrap(), Done::default());
        assert_eq!(read_tree(temp.path()), adopted);
        // What in it is the user's nobody knows, so that all of it is kept.
        assert_eq!(install_in(&dir).unwrap().kept.kept_in.as_deref(), Some(".local.mine"));
        assert_eq!(made_by_lanspread(&root, log().as_ref()).unwrap(), Made::Here(Some("2".to_owned())));
        assert_eq!(uninstall_in(&dir).unwrap(), Done::default());
        assert_eq!(read_tree(temp.path()), with_kept());
    }
    let (temp, dir) = on_disk(&made_by_hand(None));
    let _ = adopt_in(&dir).unwrap();
    assert_eq!(uninstall_in(&dir).unwrap().kept.kept_in.as_deref(), Some(".local.mine"));
    assert_eq!(read_tree(temp.path()), with_kept());
    // Another one later: nothing that is kept is in the way.
    write_tree(temp.path(), &made_by_hand(None));
    let _ = adopt_in(&dir).unwrap();
    assert_eq!(uninstall_in(&dir).unwrap().kept.kept_in.as_deref(), Some(".local.mine.2"));
}

/// Somebody made the archive of a game from an installation of it.
#[test]
fn a_number_that_comes_with_the_files_is_replaced() {
    let (_temp, dir) = on_disk(&downloaded());
    let (game, root) = (game(), dir.subdir("quake").unwrap());
    let what = Install { game: &game, version: None, needed_bytes: 0, space: &SpaceLedger::default(), cancel: &GO_ON };
    install(&root, &what, &|staging, _| Ok(staging.replace_file(".lanspread_installed", b"000000000000000a\n")?))
        .map(drop)
        .unwrap();
    let log = IntentLog::read(&root).unwrap().unwrap();
    assert_eq!(
        made_by_lanspread(&root, log.as_ref()).unwrap(),
        Made::Here(None),
        "also of a version that nobody knows"
    );
    assert_eq!(uninstall_in(&dir).unwrap(), Done::default());
}

#[test]
fn only_a_folder_is_adopted_and_no_file_of_the_users_is_written_over_for_it() {
    let (temp, dir) = on_disk(&downloaded());
    assert_eq!(adopt_in(&dir).unwrap_err().kind, JobErrorKind::Changed);
    assert_eq!(read_tree(temp.path()), downloaded());

    for entry in ["quake/local/.lanspread_installed", "quake/local/.lanspread_installed/"] {
        let mut before = made_by_hand(Some("1"));
        before.extend(tree(&[(entry, "a text of the user's")]));
        let (temp, dir) = on_disk(&before);
        let error = adopt_in(&dir).unwrap_err();
        assert_eq!(error.kind, JobErrorKind::NotOurs, "{error}");
        let mut after = read_tree(temp.path());
        let log = after.remove("quake/.lanspread.json").unwrap().unwrap();
        assert_eq!(IntentLog::decode(&log).unwrap().intent, Intent::None);
        before.remove("quake/.lanspread.json");
        assert_eq!(after, before);
    }
}

#[test]
fn a_number_and_a_log_that_disagree_prove_nothing() {
    let three = "0000000000000003\n";
    let rows = [
        (text_of(Some("1"), Some(EARLIER)), Some(three), Made::Here(Some("1".to_owned()))),
        (text_of(None, Some(EARLIER)), Some(three), Made::Here(None)),
        (text_of(Some("1"), None), Some(three), Made::Elsewhere),
        (text_of(Some("1"), Some(OpId(4))), Some(three), Made::Elsewhere),
        (text_of(Some("1"), Some(EARLIER)), Some("3\n"), Made::Elsewhere),
        (text_of(Some("1"), Some(EARLIER)), None, Made::Elsewhere),
        (String::new(), Some(three), Made::Elsewhere),
    ];
    for (log, number, expected) in rows {
        let mut before = made_by_hand(None);
        if !log.is_empty() {
            before.extend(tree(&[("quake/.lanspread.json", &log)]));
        }
        before.extend(number.map(|text| tree(&[("quake/local/.lanspread_installed", text)])).unwrap_or_default());
        let (temp, dir) = on_disk(&before);
        let root = dir.subdir("quake").unwrap();
        let known = IntentLog::read(&root).unwrap().unwrap();
        assert_eq!(made_by_lanspread(&root, known.as_ref()).unwrap(), expected, "{log} {number:?}");
        let result = uninstall_in(&dir).map_err(|error| error.kind);
        let is_done = expected != Made::Elsewhere;
        assert_eq!(
            result.map(|done| done.leftover),
            if is_done { Ok(None) } else { Err(JobErrorKind::NotOurs) },
            "{log} {number:?}"
        );
        assert_eq!(read_tree(temp.path()).contains_key("quake/local"), expected == Made::Elsewhere);
    }
}
