//! Operations on a real disk.

use super::*;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::Ordering;

use crate::fs::model::{read_tree, write_tree};
use crate::fs::{Op, SpaceLedger, SpaceReservation};

pub(super) fn on_disk(tree: &Tree) -> (tempfile::TempDir, Dir) {
    let temp = tempfile::tempdir().unwrap();
    write_tree(temp.path(), tree);
    let dir = Dir::open(temp.path()).unwrap();
    (temp, dir)
}

fn local_of(temp: &tempfile::TempDir) -> Tree {
    beneath(&read_tree(temp.path()), "quake/local")
}

fn log_in(dir: &Dir) -> Option<IntentLog> {
    IntentLog::read(&dir.subdir("quake").unwrap()).unwrap().unwrap()
}

#[test]
fn install_update_and_uninstall_leave_no_scratch_and_remember_the_version() {
    let (temp, dir) = on_disk(&downloaded());
    assert_eq!(install_in(&dir).unwrap(), Done::default());
    let new = tree(&[("game.exe", "new program"), ("bin/data", "new data"), ("empty", ""), ("bin/saves/", "")]);
    let local_of = |temp| {
        let mut local = local_of(temp);
        let note = local.remove(".lanspread_installed").flatten().unwrap();
        assert!(note.starts_with(b"0000000000000007\n{"));
        local
    };
    assert_eq!(local_of(&temp), new);
    assert_eq!(log_in(&dir).unwrap().installed_version.as_deref(), Some("2"));

    let (game, root) = (game(), dir.subdir("quake").unwrap());
    let what =
        Install { game: &game, version: Some("3"), needed_bytes: 0, space: &SpaceLedger::default(), cancel: &GO_ON };
    let fill = |staging: &Dir, _: &SpaceReservation| {
        assert_eq!(local_of(&temp), new, "the old install must stay until the new one is complete");
        Ok(staging.replace_file("only", b"version 3")?)
    };
    assert_eq!(install(&root, &what, &fill).unwrap(), Done::default());
    assert_eq!(local_of(&temp), tree(&[("only", "version 3")]));
    assert_eq!(log_in(&dir).unwrap().installed_version.as_deref(), Some("3"));

    assert_eq!(uninstall_in(&dir).unwrap(), Done::default());
    assert_eq!(read_tree(temp.path()), downloaded());
    assert_eq!(uninstall_in(&dir).unwrap_err().kind, JobErrorKind::Changed);
}

#[test]
fn a_copy_reports_its_progress_and_stops_on_request_with_the_old_install_in_place() {
    let (temp, dir) = on_disk(&installed());
    let root = dir.subdir("quake").unwrap();
    let last = Cell::new((0, 0));
    let (cancel, game) = (AtomicBool::new(false), game());
    let what = Install { game: &game, version: None, needed_bytes: 0, space: &SpaceLedger::default(), cancel: &cancel };
    let fill = |staging: &Dir, _: &SpaceReservation| {
        let progress = |done: u64, total: u64| {
            assert!(done > last.get().0 && done <= total);
            last.set((done, total));
        };
        copy_files(&root, staging, &manifest(), Packing::Copy, &progress, &cancel)?;
        cancel.store(true, Ordering::Relaxed);
        Ok(())
    };
    assert_eq!(install(&root, &what, &fill).unwrap_err().kind, JobErrorKind::Cancelled);
    assert_eq!(last.get(), (19, 19));
    assert_eq!(read_tree(temp.path()), installed());
}

#[test]
fn a_failing_unpacker_leaves_the_old_install_and_its_words() {
    let (temp, dir) = on_disk(&installed());
    let root = dir.subdir("quake").unwrap();
    let game = game();
    let what =
        Install { game: &game, version: Some("2"), needed_bytes: 0, space: &SpaceLedger::default(), cancel: &GO_ON };
    let fill = |staging: &Dir, _: &SpaceReservation| {
        staging.replace_file("half", b"half")?;
        Err(JobError::new(JobErrorKind::BadArchive, "b.rar is cut off"))
    };
    let error = install(&root, &what, &fill).unwrap_err();
    assert_eq!(error, JobError::new(JobErrorKind::BadArchive, "b.rar is cut off"));
    assert_eq!(read_tree(temp.path()), installed());
}

#[test]
fn an_install_that_cannot_fit_changes_nothing() {
    let (temp, dir) = on_disk(&downloaded());
    let (game, root) = (game(), dir.subdir("quake").unwrap());
    let what =
        Install { game: &game, version: None, needed_bytes: u64::MAX, space: &SpaceLedger::default(), cancel: &GO_ON };
    let error = install(&root, &what, &|_, _| panic!("it was begun")).unwrap_err();
    assert_eq!(error.kind, JobErrorKind::DiskFull);
    assert!(error.message.contains("bytes, ") && error.message.contains("are free"), "{error}");
    assert_eq!(read_tree(temp.path()), downloaded());
}

/// Somebody holds `local/` open, as it is seen on Windows.
struct Held;

impl Hook for Held {
    fn before(&self, op: Op<'_>) -> io::Result<()> {
        match op {
            Op::Rename(from, _) if from.ends_with("quake/local") => Err(io::ErrorKind::ResourceBusy.into()),
            _ => Ok(()),
        }
    }
}

#[test]
fn a_program_that_holds_local_keeps_it_as_it_is() {
    for run in [install_in, uninstall_in] {
        let (temp, _) = on_disk(&installed());
        let error = run(&hooked(temp.path(), Arc::new(Held))).unwrap_err();
        assert_eq!(error.kind, JobErrorKind::InUse, "{error}");
        assert!(error.message.contains("close it"), "{error}");
        assert_eq!(read_tree(temp.path()), installed());
    }
}

#[test]
fn what_is_not_lanspreads_is_in_the_way_and_stays() {
    for name in [".local.installing", ".local.backup"] {
        let mut before = installed();
        before.extend(tree(&[(&format!("quake/{name}/mine"), "mine")]));
        let (temp, dir) = on_disk(&before);
        for run in [install_in, uninstall_in, remove_in] {
            let error = run(&dir).unwrap_err();
            assert_eq!(error.kind, JobErrorKind::InUse, "{error}");
            assert_eq!(read_tree(temp.path()), before);
        }
    }
}

#[test]
fn an_install_that_somebody_made_by_hand_is_neither_replaced_nor_removed() {
    let before = made_by_hand(None);
    let (temp, dir) = on_disk(&before);
    for run in [install_in, uninstall_in] {
        let error = run(&dir).unwrap_err();
        assert_eq!(error.kind, JobErrorKind::NotOurs, "{error}");
        assert!(error.message.contains("move it away") && error.message.contains("adopt quake"), "{error}");
        assert_eq!(read_tree(temp.path()), before);
    }
    let _ = faults::with(Bug::NoOwnerCheck, || uninstall_in(&dir)).unwrap();
    assert_ne!(read_tree(temp.path()), before, "a dropped check of the owner was not seen");
}

#[test]
fn an_install_of_the_empty_version_is_known_to_be_lanspreads() {
    let (temp, dir) = on_disk(&downloaded());
    let (game, root) = (game(), dir.subdir("quake").unwrap());
    let what =
        Install { game: &game, version: Some(""), needed_bytes: 0, space: &SpaceLedger::default(), cancel: &GO_ON };
    let fill = |staging: &Dir, _: &SpaceReservation| Ok(staging.replace_file("only", b"file")?);
    assert_eq!(install(&root, &what, &fill).unwrap(), Done::default());
    assert_eq!(uninstall_in(&dir).unwrap(), Done::default());
    assert_eq!(read_tree(temp.path()), downloaded());
}

#[test]
fn an_unreadable_log_is_reported_and_nothing_is_touched() {
    let mut before = installed();
    before.extend(tree(&[
        ("quake/.lanspread.json", "{}"),
        ("quake/.local.backup/.lanspread_owned", "lanspread operation 0\n"),
    ]));
    let (temp, dir) = on_disk(&before);
    let recovery = recover_game(&dir.subdir("quake").unwrap()).unwrap();
    assert!(recovery.done.is_empty() && recovery.left[0].contains(".lanspread.json"), "{recovery:?}");
    for run in [install_in, uninstall_in, remove_in] {
        assert_eq!(run(&dir).unwrap_err().kind, JobErrorKind::InUse);
    }
    assert_eq!(read_tree(temp.path()), before);
}

#[test]
fn removing_takes_what_is_listed_and_the_folder_when_nothing_else_is_in_it() {
    let (temp, dir) = on_disk(&downloaded());
    let _ = remove_in(&dir).unwrap();
    assert_eq!(read_tree(temp.path()), tree(&[("other/local/save", "of another game")]));

    let mut before = downloaded();
    before.extend(tree(&[("quake/bin/mine", "mine"), ("quake/.lanspread.json", &log_of("1"))]));
    let (temp, dir) = on_disk(&before);
    let _ = remove_in(&dir).unwrap();
    assert_eq!(beneath(&read_tree(temp.path()), "quake"), tree(&[("bin/mine", "mine")]));

    // What a download left: no sentinel, some files, and directories for files that never came.
    let mut before = downloaded();
    before.retain(|path, _| !["quake/version.ini", "quake/bin/data"].contains(&path.as_str()));
    before.extend(tree(&[("quake/maps/one/", ""), ("quake/maps/two/", "")]));
    let (temp, dir) = on_disk(&before);
    let _ = remove_in(&dir).unwrap();
    assert_eq!(read_tree(temp.path()), tree(&[("other/local/save", "of another game")]));

    let (temp, dir) = on_disk(&installed());
    let error = remove_in(&dir).unwrap_err();
    assert_eq!(error.kind, JobErrorKind::InUse);
    assert!(error.message.contains("uninstall it first"), "{error}");
    assert_eq!(read_tree(temp.path()), installed());
}

/// The log and the number agree, and times count.
fn played() -> (tempfile::TempDir, Dir) {
    let (temp, dir) = on_disk(&downloaded());
    assert_eq!(install_in(&dir).unwrap(), Done::default());
    let local = temp.path().join("quake/local");
    std::fs::create_dir(local.join("Saves")).unwrap();
    let saved = local.join("Saves/slot 1");
    std::fs::write(&saved, "100 hours").unwrap();
    std::fs::File::options().write(true).open(&saved).unwrap().set_modified(LONG_AGO).unwrap();
    // Of the same length, as settings are; and one that gets its own bytes again.
    std::fs::write(local.join("game.exe"), "NEW PROGRAM").unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    for name in ["game.exe", "bin/data"] {
        std::fs::File::options().write(true).open(local.join(name)).unwrap().set_modified(later).unwrap();
    }
    (temp, dir)
}

const LONG_AGO: std::time::SystemTime = std::time::SystemTime::UNIX_EPOCH;

#[test]
fn an_update_carries_over_what_the_user_saved_and_keeps_what_he_changed() {
    let (temp, dir) = played();
    let kept = install_in(&dir).unwrap().kept;
    let path = |text| RelPath::parse_unreserved(text).unwrap();
    let aside = KeptAside { file: path("local/game.exe"), kept_as: path("local/game.exe.mine") };
    assert_eq!(kept, KeptFiles { carried_over: 1, kept_aside: vec![aside], kept_in: None });
    let mut local = local_of(&temp);
    let own = tree(&[("Saves/slot 1", "100 hours"), ("game.exe.mine", "NEW PROGRAM")]);
    for (name, node) in own {
        assert_eq!(local.remove(&name), Some(node), "{name}");
    }
    let new = ["bin", "bin/data", "bin/saves", "empty", "game.exe", ".lanspread_installed"];
    assert_eq!(local.keys().cloned().collect::<BTreeSet<_>>(), new.map(String::from).into());
    let saved = std::fs::metadata(temp.path().join("quake/local/Saves/slot 1")).unwrap();
    assert_eq!(saved.modified().unwrap(), LONG_AGO, "games show saves by their time");

    // The next update finds them again.
    assert_eq!(install_in(&dir).unwrap().kept, KeptFiles { carried_over: 2, ..KeptFiles::default() });
    assert_eq!(uninstall_in(&dir).unwrap().kept.kept_in.as_deref(), Some(".local.mine"));
    let mine = beneath(&read_tree(temp.path()), "quake/.local.mine");
    assert_eq!(mine, tree(&[("Saves/slot 1", "100 hours"), ("game.exe.mine", "NEW PROGRAM")]));
}

#[test]
fn what_cannot_be_carried_over_stays_and_a_disk_that_is_full_leaves_the_old_install() {
    let (temp, dir) = played();
    let (game, root) = (game(), dir.subdir("quake").unwrap());
    let free = dir.free_bytes().unwrap();
    let space = SpaceLedger::default();
    // All but what the new files take is promised to others.
    let _promised = space.reserve(&dir, free - (1 << 20), "").unwrap();
    std::fs::write(temp.path().join("quake/local/Saves/big"), vec![1; 2 << 20]).unwrap();
    let before = local_of(&temp);
    let what = Install { game: &game, version: Some("3"), needed_bytes: 0, space: &space, cancel: &GO_ON };
    let error = install(&root, &what, &|staging, _| Ok(staging.replace_file("Saves", b"a file")?)).unwrap_err();
    assert_eq!(error.kind, JobErrorKind::DiskFull, "{error}");
    assert_eq!(local_of(&temp), before);

    // Where the folder of the saves was, the new version has a file.
    let what = Install { space: &SpaceLedger::default(), ..what };
    let done = install(&root, &what, &|staging, _| Ok(staging.replace_file("Saves", b"a file")?)).unwrap();
    assert_eq!(done.kept.kept_in.as_deref(), Some(".local.mine"));
    let mine = beneath(&read_tree(temp.path()), "quake/.local.mine");
    assert_eq!(mine.get("Saves/slot 1"), Some(&Some(b"100 hours".to_vec())));
    assert_eq!(local_of(&temp).get("Saves"), Some(&Some(b"a file".to_vec())));
}

#[cfg(unix)]
mod links {
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    #[test]
    fn uninstalling_keeps_links_and_odd_names_of_the_users_and_follows_nothing() {
        let (temp, dir) = on_disk(&installed());
        let local = temp.path().join("quake/local");
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("precious"), "precious").unwrap();
        symlink(outside.path(), local.join("directory")).unwrap();
        symlink(outside.path().join("precious"), local.join("save/file")).unwrap();
        symlink("/nowhere", local.join("dangling")).unwrap();
        for name in [&b"caf\xe9 \\ a:b"[..], b"\n"] {
            std::fs::write(local.join(std::ffi::OsStr::from_bytes(name)), "odd").unwrap();
        }
        assert_eq!(uninstall_in(&dir).unwrap().kept.kept_in.as_deref(), Some(".local.mine"));
        assert!(!local.exists() && !temp.path().join("quake/.local.backup").exists());
        let mine = temp.path().join("quake/.local.mine");
        assert_eq!(std::fs::read_link(mine.join("dangling")).unwrap(), Path::new("/nowhere"));
        assert_eq!(
            std::fs::read_dir(&mine).unwrap().count(),
            2 + 2 + 1 + 1,
            "links, odd names, save/, a program that is not of the time that the list has"
        );
        assert_eq!(std::fs::read(outside.path().join("precious")).unwrap(), b"precious");
    }

    #[test]
    fn a_link_in_the_place_of_any_directory_is_left_as_it_is() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("precious"), "precious").unwrap();
        for name in ["local", ".local.installing", ".local.backup"] {
            let (temp, dir) = on_disk(&downloaded());
            symlink(outside.path(), temp.path().join("quake").join(name)).unwrap();
            for run in [install_in, uninstall_in, remove_in] {
                run(&dir).unwrap_err();
            }
            assert!(temp.path().join("quake").join(name).is_symlink());
            assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn an_unpacker_that_made_a_link_is_refused() {
        let (temp, dir) = on_disk(&installed());
        let (game, root) = (game(), dir.subdir("quake").unwrap());
        let what =
            Install { game: &game, version: None, needed_bytes: 0, space: &SpaceLedger::default(), cancel: &GO_ON };
        let fill = |staging: &Dir, _: &SpaceReservation| {
            symlink("/etc", staging.path().join("link")).unwrap();
            Ok(())
        };
        assert_eq!(install(&root, &what, &fill).unwrap_err().kind, JobErrorKind::UnsafePath);
        assert_eq!(read_tree(temp.path()), installed());
    }

    #[test]
    fn the_executable_bit_and_every_byte_of_a_large_file_are_copied() {
        use std::os::unix::fs::PermissionsExt;
        let (temp, dir) = on_disk(&downloaded());
        let bytes: Vec<u8> = (0..40u32 << 20).map(|i| (i / 7 + i / 4099) as u8).collect();
        std::fs::write(temp.path().join("quake/big.exe"), &bytes).unwrap();
        let file = |path: &str, size| FileEntry { path: RelPath::parse(path).unwrap(), size, exec: true };
        let manifest = Manifest::new(vec![file("big.exe", 40 << 20), file("version.ini", 1)]).unwrap();
        let (to, root) = (dir.make_subdir("to").unwrap(), dir.subdir("quake").unwrap());
        copy_files(&root, &to, &manifest, Packing::Copy, &|_, _| (), &GO_ON).unwrap();
        let copy = temp.path().join("to/big.exe");
        assert!(std::fs::read(&copy).unwrap() == bytes, "the copy differs");
        assert_ne!(copy.metadata().unwrap().permissions().mode() & 0o100, 0);
        assert!(!temp.path().join("to/version.ini").exists());
        let changed = Manifest::new(vec![file("big.exe", 39 << 20)]).unwrap();
        let error = copy_files(&root, &to, &changed, Packing::Copy, &|_, _| (), &GO_ON).unwrap_err();
        assert_eq!(error.kind, JobErrorKind::Changed);
    }
}
