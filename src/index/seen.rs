//! When the files of a game were written: what tells that it is still being copied.

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::fs::Dir;
use crate::types::{FileEntry, Fingerprint, GameId, RelPath, Seen, Times};

/// Collects the times of what a listing meets, in any order.
#[derive(Default)]
pub(super) struct Clock {
    /// A sum over the directories, so that their order does not count.
    dirs: u128,
    newest_ns: Option<i128>,
}

impl Clock {
    /// A directory beneath the root. Copying into it moves its time, whatever times the copies are given.
    pub(super) fn dir(&mut self, path: &RelPath, mtime_ns: i128) {
        let mut bytes = path.as_str().as_bytes().to_vec();
        bytes.extend(mtime_ns.to_be_bytes());
        self.dirs = self.dirs.wrapping_add(xxh3_128(&bytes));
        self.newest_ns = self.newest_ns.max(Some(mtime_ns));
    }

    /// With these files, ascending by path.
    pub(super) fn read(self, files: &[(FileEntry, i128)]) -> Seen {
        let mut hash = Xxh3::new();
        hash.update(b"lanspread-times-1\n");
        hash.update(&self.dirs.to_be_bytes());
        let mut newest = self.newest_ns;
        for (file, mtime_ns) in files {
            hash.update(&(file.path.as_str().len() as u32).to_be_bytes());
            hash.update(file.path.as_str().as_bytes());
            hash.update(&file.size.to_be_bytes());
            hash.update(&mtime_ns.to_be_bytes());
            newest = newest.max(Some(*mtime_ns));
        }
        let stamp = Fingerprint(hash.digest128().to_be_bytes());
        Seen(Some(Times { stamp, newest_ns: newest.unwrap_or(i128::MIN) }))
    }
}

/// The same with the time of the game's root, which counts as that of a directory but is no part of the stamp: installing
/// changes it.
pub(super) fn with_root(seen: Seen, game_dir: &Dir, game: &GameId) -> Seen {
    // One that cannot be looked at is as old as its files.
    let root = game_dir.entry(game.as_str()).ok().flatten().map(|entry| entry.mtime_ns);
    Seen(seen.0.map(|times| Times { newest_ns: root.map_or(times.newest_ns, |at| at.max(times.newest_ns)), ..times }))
}

/// The time of day, in nanoseconds since 1970; the clock of the files, unless they lie on another machine.
#[expect(clippy::disallowed_methods, reason = "the times of files are wall time")]
pub fn wall_ns() -> i128 {
    match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
        Ok(since) => since.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests change the disk behind the daemon's back")]
mod tests {
    use std::fs::{self, File};
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use super::super::GameDir;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn times(dir: &GameDir) -> Times {
        let game = dir.scan_game(&"doom".parse().unwrap(), None).unwrap().unwrap();
        game.seen.0.expect("a forced look lists all files")
    }

    fn set_time(path: &Path, at: SystemTime) {
        File::open(path).unwrap().set_modified(at).unwrap();
    }

    /// Everything beneath `dir` and itself, as a copy with preserved times leaves it.
    fn age(dir: &Path, at: SystemTime) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { age(&path, at) } else { set_time(&path, at) }
        }
        set_time(dir, at);
    }

    #[test]
    fn whatever_is_written_anywhere_gives_another_stamp_and_looking_or_installing_does_not() {
        let disk = tempfile::tempdir().unwrap();
        let root = disk.path().join("doom");
        fs::create_dir_all(root.join("data/maps")).unwrap();
        fs::write(root.join("version.ini"), "1.0").unwrap();
        fs::write(root.join("data/maps/one.map"), vec![0; 1000]).unwrap();
        let long_ago = SystemTime::now() - HOUR;
        age(&root, long_ago);
        let (dir, _) = GameDir::open(disk.path()).unwrap();
        let deep = root.join("data/maps/one.map");
        let steps: [(&str, bool, &dyn Fn()); 9] = [
            ("nothing", false, &|| ()),
            ("reading", false, &|| drop(fs::read(&deep).unwrap())),
            ("an installation", false, &|| fs::create_dir(root.join("local")).unwrap()),
            ("playing", false, &|| fs::write(root.join("local/save"), "x").unwrap()),
            ("a file deep inside, with an old time", true, &|| {
                fs::write(root.join("data/maps/two.map"), "x").unwrap();
                age(&root.join("data"), long_ago);
            }),
            ("a file that grows, with its old time", true, &|| {
                fs::write(&deep, vec![0; 2000]).unwrap();
                age(&root.join("data"), long_ago);
            }),
            ("a file of its full size that is written to", true, &|| fs::write(&deep, vec![1; 2000]).unwrap()),
            ("a temporary name", true, &|| fs::write(root.join("data/.three.map.Xa1"), "x").unwrap()),
            ("its final name", true, &|| {
                fs::rename(root.join("data/.three.map.Xa1"), root.join("data/three.map")).unwrap();
            }),
        ];
        let mut last = times(&dir).stamp;
        for (what, changes, step) in steps {
            step();
            let now = times(&dir).stamp;
            assert_eq!(now != last, changes, "{what}");
            last = now;
        }
    }

    #[test]
    fn the_newest_time_is_that_of_any_file_or_directory_and_of_the_root() {
        let disk = tempfile::tempdir().unwrap();
        let root = disk.path().join("doom");
        fs::create_dir_all(root.join("data/maps")).unwrap();
        fs::write(root.join("version.ini"), "1.0").unwrap();
        fs::write(root.join("data/maps/one.map"), "map").unwrap();
        let (dir, _) = GameDir::open(disk.path()).unwrap();
        let age_of_newest = || Duration::from_nanos(u64::try_from(wall_ns() - times(&dir).newest_ns).unwrap());
        let old = SystemTime::now() - HOUR;
        age(&root, old);
        assert!(age_of_newest() >= HOUR);
        for path in ["data/maps/one.map", "version.ini", "data/maps", "data", ""] {
            age(&root, old);
            set_time(&root.join(path), SystemTime::now() - HOUR / 4);
            assert!((HOUR / 4..HOUR / 2).contains(&age_of_newest()), "{path:?}");
        }
        age(&root, SystemTime::now() + HOUR);
        assert!(times(&dir).newest_ns > wall_ns());
    }

    #[test]
    fn a_game_that_looks_as_it_was_known_is_not_listed_and_says_nothing_of_times() {
        let disk = tempfile::tempdir().unwrap();
        fs::create_dir(disk.path().join("doom")).unwrap();
        fs::write(disk.path().join("doom/version.ini"), "1.0").unwrap();
        let (dir, opened) = GameDir::open(disk.path()).unwrap();
        assert!(opened.wall_ns > 0 && opened.games[0].seen.0.is_some());
        let known = crate::types::ScannedGame { seen: Seen::default(), ..(*opened.games[0]).clone() };
        let again = dir.scan_game(&known.id, Some(&known)).unwrap().unwrap();
        assert_eq!((again.seen.0, &*again), (None, &known));
    }
}
