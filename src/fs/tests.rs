use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::types::JobErrorKind;

fn rel(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

fn temp() -> (tempfile::TempDir, Dir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = Dir::open(temp.path()).unwrap();
    (temp, dir)
}

/// Fails the operation with this number and no other.
struct FailAt(AtomicUsize, usize);

impl Hook for FailAt {
    fn before(&self, _: Op<'_>) -> io::Result<()> {
        let fails = self.0.fetch_add(1, Ordering::Relaxed) == self.1;
        if fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

#[test]
fn replacing_a_file_leaves_all_of_the_old_or_all_of_the_new_bytes_whichever_operation_fails() {
    for failing in 0.. {
        let temp = tempfile::tempdir().unwrap();
        std::fs::File::create_new(temp.path().join(".index.json.tmp")).unwrap();
        Dir::open(temp.path()).unwrap().replace_file("index.json", b"old").unwrap();
        let hook = Arc::new(FailAt(AtomicUsize::new(0), failing));
        let dir = Dir::open_hooked(temp.path(), hook.clone()).unwrap();
        let result = dir.replace_file("index.json", b"the new bytes");
        let now = dir.read_small("index.json", 100).unwrap().unwrap();
        if hook.0.load(Ordering::Relaxed) <= failing {
            // There is no such operation any more: everything worked.
            result.unwrap();
            assert_eq!(now, b"the new bytes");
            assert!(failing >= 5, "only {failing} operations were seen");
            return;
        }
        assert_eq!(result.unwrap_err().kind(), JobErrorKind::DiskFull);
        assert!(now == b"old" || now == b"the new bytes", "{now:?} after failing operation {failing}");
    }
}

#[test]
fn a_replaced_file_is_synced_before_it_gets_its_name_and_its_name_after() {
    #[derive(Default)]
    struct Record(Mutex<Vec<&'static str>>);
    impl Hook for Record {
        fn before(&self, op: Op<'_>) -> io::Result<()> {
            self.0.lock().unwrap().push(match op {
                Op::RemoveFile(_) => "remove",
                Op::Create(_) => "create",
                Op::Write { .. } => "write",
                Op::SyncFile(_) => "sync file",
                Op::Rename(..) => "rename",
                Op::SyncDir(_) => "sync dir",
                _ => "other",
            });
            Ok(())
        }
    }
    let temp = tempfile::tempdir().unwrap();
    let record = Arc::new(Record::default());
    Dir::open_hooked(temp.path(), record.clone()).unwrap().replace_file("a", b"x").unwrap();
    assert_eq!(*record.0.lock().unwrap(), ["remove", "create", "write", "sync file", "rename", "sync dir"]);
}

#[test]
fn only_one_plain_component_is_a_name() {
    let (_temp, dir) = temp();
    for name in ["", ".", "..", "a/b", "/etc", "a\\b", "c:", "a\0"] {
        assert_eq!(dir.read_small(name, 1).unwrap_err().kind(), JobErrorKind::UnsafePath, "{name:?}");
        assert_eq!(dir.make_subdir(name).unwrap_err().kind(), JobErrorKind::UnsafePath, "{name:?}");
        assert_eq!(dir.rename("a", name).unwrap_err().kind(), JobErrorKind::UnsafePath, "{name:?}");
    }
}

#[test]
fn a_small_file_is_read_up_to_its_limit_and_a_missing_one_is_none() {
    let (_temp, dir) = temp();
    dir.replace_file("a", b"12345").unwrap();
    assert_eq!(dir.read_small("a", 5).unwrap().unwrap(), b"12345");
    assert_eq!(dir.read_small("a", 4).unwrap_err().source.kind(), io::ErrorKind::FileTooLarge);
    assert_eq!(dir.read_small("b", 4).unwrap(), None);
}

#[test]
fn a_second_lock_is_refused_and_names_its_holder() {
    let (temp, dir) = temp();
    let lock = dir.lock("lock").unwrap();
    let error = Dir::open(temp.path()).unwrap().lock("lock").unwrap_err();
    assert_eq!(error.kind(), JobErrorKind::InUse);
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    drop(lock);
    dir.lock("lock").unwrap();
}

#[test]
fn existing_bytes_stay_when_a_file_is_opened_for_writing() {
    let (_temp, dir) = temp();
    assert_eq!(dir.make_dirs(&rel("d/e")).unwrap(), [rel("d"), rel("d/e")]);
    assert_eq!(dir.make_dirs(&rel("d/e")).unwrap(), []);
    let file = dir.create_write(&rel("d/e/f"), false).unwrap();
    file.reserve(3 << 20).unwrap();
    file.write_all_at(b"end", (3 << 20) - 3).unwrap();
    dir.create_write(&rel("d/e/f"), false).unwrap().write_all_at(b"beg", 0).unwrap();
    let mut buf = [0; 4];
    let file = dir.open_read(&rel("d/e/f")).unwrap();
    assert_eq!((file.read_at(&mut buf, (3 << 20) - 3).unwrap(), &buf), (3, b"end\0"));
    assert_eq!((file.read_at(&mut buf, 0).unwrap(), &buf), (4, b"beg\0"));
    assert_eq!(file.stat().unwrap().size, 3 << 20);
    dir.create_write(&rel("d/e/f"), false).unwrap().reserve(2).unwrap();
    assert_eq!(dir.entry_beneath(&rel("d/e/f")).unwrap().unwrap().size, 2);
}

#[test]
fn directories_are_removed_only_when_empty() {
    let (_temp, dir) = temp();
    dir.make_dirs(&rel("d/e")).unwrap();
    assert!(!dir.remove_dir_if_empty(&rel("d")).unwrap());
    assert!(dir.remove_dir_if_empty(&rel("d/e")).unwrap());
    assert!(!dir.remove_dir_if_empty(&rel("d/e")).unwrap());
    assert!(dir.remove_subdir_if_empty("d").unwrap());
    assert!(dir.free_bytes().unwrap() > 0);
}

#[cfg(unix)]
mod links {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// outside/secret, game/real/f, and links of every kind in game.
    fn tree() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let outer = Dir::open(temp.path()).unwrap();
        outer.make_subdir("outside").unwrap().replace_file("secret", b"s").unwrap();
        let game = outer.make_subdir("game").unwrap();
        game.make_subdir("real").unwrap().replace_file("f", b"f").unwrap();
        let at = temp.path().join("game");
        symlink("../outside", at.join("up")).unwrap();
        symlink(temp.path().join("outside"), at.join("absolute")).unwrap();
        symlink("real", at.join("inside")).unwrap();
        symlink("../outside/secret", at.join("file")).unwrap();
        symlink("/nowhere", at.join("dangling")).unwrap();
        (temp, game)
    }

    #[test]
    fn no_link_is_followed_wherever_it_leads() {
        let (temp, game) = tree();
        for path in ["up/secret", "absolute/secret", "inside/f", "file", "dangling"] {
            let kinds = [
                game.open_read(&rel(path)).unwrap_err().kind(),
                game.create_write(&rel(path), true).unwrap_err().kind(),
                game.open_dir(&rel(path)).unwrap_err().kind(),
                game.sync_file(&rel(path)).unwrap_err().kind(),
            ];
            assert_eq!(kinds, [JobErrorKind::UnsafePath; 4], "{path}");
        }
        for path in ["up/secret", "absolute/secret", "inside/f"] {
            assert_eq!(game.remove_file_beneath(&rel(path)).unwrap_err().kind(), JobErrorKind::UnsafePath);
            assert_eq!(game.entry_beneath(&rel(path)).unwrap_err().kind(), JobErrorKind::UnsafePath);
            assert_eq!(game.make_dir(&rel(&format!("{path}/x"))).unwrap_err().kind(), JobErrorKind::UnsafePath);
        }
        assert_eq!(game.subdir("inside").unwrap_err().kind(), JobErrorKind::UnsafePath);
        assert_eq!(std::fs::read(temp.path().join("outside/secret")).unwrap(), b"s");
        assert!(!temp.path().join("nowhere").exists());
    }

    #[test]
    fn the_walk_for_old_kernels_refuses_the_same_links_and_opens_the_same_files() {
        let (_temp, game) = tree();
        for path in ["up/secret", "absolute/secret", "inside/f", "file", "dangling", "up", "inside"] {
            let error = FsError::at("open", "x")(game.0.handle.walk_for_reading(path).unwrap_err());
            assert_eq!(error.kind(), JobErrorKind::UnsafePath, "{path}");
        }
        game.0.handle.walk_for_reading("real/f").unwrap();
        let missing = game.0.handle.walk_for_reading("real/g").unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn removing_and_replacing_a_link_leaves_what_it_points_at() {
        let (temp, game) = tree();
        assert!(game.remove_file("file").unwrap());
        symlink("../outside/secret", temp.path().join("game/.version.ini.tmp")).unwrap();
        symlink("../outside/secret", temp.path().join("game/version.ini")).unwrap();
        game.replace_file("version.ini", b"1").unwrap();
        assert_eq!(std::fs::read(temp.path().join("outside/secret")).unwrap(), b"s");
        assert_eq!(game.entry("version.ini").unwrap().unwrap().kind, EntryKind::File);
    }

    #[test]
    fn a_pipe_is_refused_instead_of_waited_for() {
        let (temp, dir) = temp();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, temp.path().join("pipe"), mode).unwrap();
        assert_eq!(dir.open_read(&rel("pipe")).unwrap_err().kind(), JobErrorKind::UnsafePath);
        dir.create_write(&rel("pipe"), false).unwrap_err();
        assert_eq!(dir.entry("pipe").unwrap().unwrap().kind, EntryKind::Other);
    }

    #[test]
    fn entries_say_what_lies_there_without_following() {
        let (temp, game) = tree();
        std::fs::hard_link(temp.path().join("outside/secret"), temp.path().join("game/twin")).unwrap();
        std::fs::set_permissions(temp.path().join("game/twin"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut entries = game.entries().unwrap();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let seen: Vec<_> = entries.iter().map(|e| (e.name.to_str().unwrap(), e.kind)).collect();
        use EntryKind::{Dir, File, Symlink};
        let expected = [
            ("absolute", Symlink),
            ("dangling", Symlink),
            ("file", Symlink),
            ("inside", Symlink),
            ("real", Dir),
            ("twin", File),
            ("up", Symlink),
        ];
        assert_eq!(seen, expected);
        let twin = &entries[5];
        assert_eq!((twin.size, twin.links, twin.exec), (1, 2, true));
        let meta = std::fs::metadata(temp.path().join("game/twin")).unwrap();
        let since = meta.modified().unwrap().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(twin.mtime_ns, since.as_nanos() as i128);
    }

    #[test]
    fn the_executable_bit_is_set_and_taken() {
        let (temp, dir) = temp();
        let mode = || std::fs::metadata(temp.path().join("f")).unwrap().permissions().mode() & 0o111;
        dir.create_write(&rel("f"), true).unwrap();
        assert_ne!(mode() & 0o100, 0);
        dir.create_write(&rel("f"), false).unwrap();
        assert_eq!(mode(), 0);
        dir.create_write(&rel("f"), true).unwrap();
        assert_ne!(mode() & 0o100, 0);
    }
}

#[test]
fn space_is_promised_once_and_what_is_not_used_comes_back() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Dir::open(temp.path()).unwrap();
    let ledger = SpaceLedger::default();
    let refused = |bytes| ledger.reserve(&dir, bytes, "for it").map(drop).map_err(|error| (error.kind, error.message));
    let (kind, message) = refused(u64::MAX).unwrap_err();
    assert_eq!(kind, crate::types::JobErrorKind::DiskFull);
    assert!(message.starts_with("not enough space for it: it needs 18446744073709551615 bytes"), "{message}");

    // Half of what is free goes once, but not twice, whatever else happens on this disk.
    let half = dir.free_bytes().unwrap() / 2;
    let first = ledger.reserve(&dir, half, "for the first").unwrap();
    let (_, message) = refused(half + half / 2).unwrap_err();
    assert!(message.ends_with(&format!("of which other operations will take {half}")), "{message}");
    // What is on the disk is the system's to count, and counts here no longer; also when it was more than promised.
    first.filled(half / 2);
    assert_eq!(refused(u64::MAX).unwrap_err().1.rsplit(' ').next(), Some((half - half / 2).to_string().as_str()));
    first.keep(7);
    first.keep(1000);
    assert!(refused(u64::MAX).unwrap_err().1.ends_with("will take 7"));
    first.filled(8);
    assert!(!refused(u64::MAX).unwrap_err().1.contains("will take"));
    let second = ledger.reserve(&dir, half, "for the second").unwrap();
    drop((first, second));
    assert!(!refused(u64::MAX).unwrap_err().1.contains("will take"));
}

/// A file that another program holds, as Windows says it: "access denied". Time passes when it is waited for.
struct HeldFor {
    held: std::time::Duration,
    waited: Mutex<std::time::Duration>,
}

impl HeldFor {
    fn new(millis: u64) -> Arc<Self> {
        Arc::new(Self { held: std::time::Duration::from_millis(millis), waited: Mutex::default() })
    }

    fn waited_ms(&self) -> u128 {
        self.waited.lock().unwrap().as_millis()
    }
}

impl Hook for HeldFor {
    fn before(&self, op: Op<'_>) -> io::Result<()> {
        let is_held = *self.waited.lock().unwrap() < self.held;
        match op {
            Op::Rename(..) | Op::RemoveFile(_) | Op::RemoveDir(_) if is_held => {
                Err(io::ErrorKind::PermissionDenied.into())
            }
            _ => Ok(()),
        }
    }

    fn is_held(&self, error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::PermissionDenied
    }

    fn pause(&self, time: std::time::Duration) {
        *self.waited.lock().unwrap() += time;
    }
}

#[test]
fn what_is_held_for_a_moment_is_renamed_and_removed_when_it_is_let_go() {
    let (temp, plain) = temp();
    for held in [50, 700, 2000] {
        plain.replace_file("old", b"bytes").unwrap();
        plain.make_subdir("tree").unwrap().replace_file("file", b"x").unwrap();
        let hook = HeldFor::new(held);
        let dir = Dir::open_hooked(temp.path(), hook.clone()).unwrap();
        dir.rename("old", "new").unwrap();
        assert_eq!(hook.waited_ms(), u128::from(held), "not longer than needed");
        assert_eq!(plain.read_small("new", 10).unwrap().unwrap(), b"bytes");
        let hook = HeldFor::new(held);
        assert!(Dir::open_hooked(temp.path(), hook.clone()).unwrap().remove_tree("tree").unwrap());
        assert!(hook.waited_ms() > 0 && !plain.exists("tree").unwrap());
    }
}

#[test]
fn what_is_held_for_longer_than_two_seconds_is_in_use_and_unchanged() {
    let (temp, plain) = temp();
    plain.replace_file("old", b"old").unwrap();
    plain.replace_file("new", b"new").unwrap();
    let hook = HeldFor::new(2050);
    let error = Dir::open_hooked(temp.path(), hook.clone()).unwrap().rename("old", "new").unwrap_err();
    assert_eq!((error.kind(), hook.waited_ms()), (JobErrorKind::InUse, 2000), "{error}");
    assert_eq!(plain.read_small("old", 10).unwrap().unwrap(), b"old");
    assert_eq!(plain.read_small("new", 10).unwrap().unwrap(), b"new");
    // Another refusal is not waited for.
    let hook = Arc::new(FailAt(AtomicUsize::new(0), 0));
    let error = Dir::open_hooked(temp.path(), hook.clone()).unwrap().rename("old", "new").unwrap_err();
    assert_eq!((error.kind(), hook.0.load(Ordering::Relaxed)), (JobErrorKind::DiskFull, 1));
}

/// Somebody puts a file into a directory just before it is removed, so many times.
struct Intruder(AtomicUsize);

impl Hook for Intruder {
    fn before(&self, op: Op<'_>) -> io::Result<()> {
        if let Op::RemoveDir(path) = op
            && path.ends_with("tree/deep")
            && self.0.load(Ordering::Relaxed) > 0
        {
            self.0.fetch_sub(1, Ordering::Relaxed);
            std::fs::File::create_new(path.join("late"))?;
        }
        Ok(())
    }
}

#[test]
fn a_tree_into_which_somebody_still_writes_is_removed_but_not_fought_over_for_ever() {
    for (intrusions, gone) in [(1, true), (5, true), (usize::MAX, false)] {
        let (temp, plain) = temp();
        let tree = plain.make_subdir("tree").unwrap();
        tree.make_subdir("deep").unwrap();
        let dir = Dir::open_hooked(temp.path(), Arc::new(Intruder(AtomicUsize::new(intrusions)))).unwrap();
        assert_eq!(dir.remove_tree("tree").is_ok(), gone, "{intrusions}");
        assert_eq!(plain.exists("tree").unwrap(), !gone);
    }
}

#[test]
fn a_child_of_any_name_is_entered_and_renamed_but_never_over_another() {
    let (_temp, dir) = temp();
    let odd = std::ffi::OsStr::new(if cfg!(windows) { "odd" } else { "odd: \\ name" });
    std::fs::create_dir(dir.path().join(odd)).unwrap();
    dir.child(odd).unwrap().write_new("inner", b"x").unwrap();
    dir.write_new("other", b"y").unwrap();
    assert_eq!(dir.rename_child(odd, "other").unwrap_err().source.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(dir.rename_child("other".as_ref(), "a/b").unwrap_err().kind(), JobErrorKind::UnsafePath);
    dir.rename_child(odd, "plain").unwrap();
    assert!(dir.subdir("plain").unwrap().exists("inner").unwrap());
    assert_eq!(dir.read_small("other", 9).unwrap().unwrap(), b"y");
    assert!(dir.child("other".as_ref()).is_err());
}
