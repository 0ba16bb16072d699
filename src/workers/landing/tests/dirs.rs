//! Empty directories: made, kept, and taken away only where a download brought them and nothing is in them.

use super::*;

fn prepare(disk: &Disk, new: &Files, old: Option<&Previous>) -> Result<Landing, JobError> {
    prepare_at(&disk.dir, plan(new, true), old, &SpaceLedger::default(), &quiet())
}

fn update(disk: &Disk, new: &Files, old: &Files) {
    let landing = prepare(disk, new, Some(&previous(old))).unwrap();
    write_all(&landing, new).unwrap();
    landing.commit().unwrap();
}

/// All directories that there are, without the slash.
fn dirs(disk: &Disk) -> Vec<String> {
    stored(&disk.root).into_keys().filter_map(|path| path.strip_suffix('/').map(str::to_owned)).collect()
}

#[test]
fn a_download_brings_them_and_its_cancellation_takes_them_away() {
    let game = files(&[("version.ini", 3), ("data/x", 5), ("data/screens/", 0), ("a/b/saves/", 0)]);
    let disk = disk();
    let landing = prepare(&disk, &game, None).unwrap();
    write_all(&landing, &game).unwrap();
    let landed = landing.commit().unwrap();
    assert_eq!(dirs(&disk), ["a", "a/b", "a/b/saves", "data", "data/screens"]);
    assert_eq!(landed.manifest, plan(&game, true).manifest);

    let (disk, own) = (super::disk(), files(&[("a/mine", 4), ("data/screens/", 0)]));
    store(&disk.root, &own);
    let landing = prepare(&disk, &game, None).unwrap();
    write_all(&landing, &game).unwrap();
    landing.abandon(false).unwrap();
    assert_eq!(without_directories(stored(&disk.root)), files(&[("a/mine", 4)]));
    assert_eq!(dirs(&disk), ["a", "data", "data/screens"], "what was there before stays");
}

#[test]
fn an_update_takes_away_those_that_it_lacks_if_they_were_brought_and_are_empty_still() {
    let old = files(&[("version.ini", 3), ("saves/", 0), ("logs/", 0), ("tmp/deep/", 0), ("data/x", 5), ("kept/", 0)]);
    let new = files(&[("version.ini", 4), ("data/", 0), ("kept/", 0)]);
    let disk = disk();
    store_brought(&disk, &old);
    store(&disk.root, &files(&[("saves/slot1", 9), ("mine/", 0)]));
    let landing = prepare(&disk, &new, None).unwrap();
    write_all(&landing, &new).unwrap();
    landing.commit().unwrap();
    assert_eq!(dirs(&disk), ["data", "kept", "mine", "saves"], "data is empty now, and is to be");
    assert!(disk.root.join("saves/slot1").exists() && !disk.root.join("data/x").exists());

    // One that was filled after it was looked at is not taken either.
    let (disk, last) = (super::disk(), files(&[("version.ini", 5)]));
    store_brought(&disk, &old);
    let landing = prepare(&disk, &last, Some(&previous(&old))).unwrap();
    store(&disk.root, &files(&[("saves/slot1", 9)]));
    write_all(&landing, &last).unwrap();
    landing.commit().unwrap();
    assert_eq!(dirs(&disk), ["saves"]);
}

#[test]
fn files_and_empty_directories_take_each_others_places() {
    for (old, new) in [
        (&[("version.ini", 3), ("x/", 0)][..], &[("version.ini", 4), ("x", 5)][..]),
        (&[("version.ini", 3), ("x", 5)], &[("version.ini", 4), ("x/", 0)]),
        (&[("version.ini", 3), ("x/y/", 0)], &[("version.ini", 4), ("x", 5)]),
        (&[("version.ini", 3), ("x", 5)], &[("version.ini", 4), ("x/y/", 0)]),
        (&[("version.ini", 3), ("x/y", 5)], &[("version.ini", 4), ("x/", 0)]),
        (&[("version.ini", 3), ("x/", 0)], &[("version.ini", 4), ("x/y", 5)]),
        (&[("version.ini", 3), ("X/", 0)], &[("version.ini", 4), ("x/", 0)]),
        (&[("version.ini", 3), ("X/y/", 0)], &[("version.ini", 4), ("x/z", 5)]),
    ] {
        let (disk, old, new) = (disk(), files(old), files(new));
        store_brought(&disk, &old);
        update(&disk, &new, &old);
        let there = stored(&disk.root);
        assert!(new.keys().all(|path| there.contains_key(path)), "{new:?}: {there:?}");
        let above = |path: &str| new.keys().any(|new| new.starts_with(path));
        assert!(there.keys().all(|path| above(path)), "{new:?}: {there:?}");
    }
}

#[test]
fn what_is_no_directory_ends_the_download_before_it_begins_and_one_that_vanishes_at_its_end() {
    let game = files(&[("version.ini", 3), ("saves/", 0), ("x", 7)]);
    let (disk, own) = (disk(), files(&[("version.ini", 2), ("saves", 9)]));
    store(&disk.root, &own);
    let error = prepare(&disk, &game, None).unwrap_err();
    assert_eq!(error.kind, JobErrorKind::UnsafePath, "{error}");
    assert_eq!(stored(&disk.root), own);

    let disk = super::disk();
    let landing = prepare(&disk, &game, None).unwrap();
    write_all(&landing, &game).unwrap();
    std::fs::remove_dir(disk.root.join("saves")).unwrap();
    assert!(landing.commit().is_err());
    assert!(!disk.root.join("version.ini").exists());
}

#[test]
fn the_old_game_comes_back_unless_one_of_its_empty_directories_had_to_go() {
    let old = files(&[("version.ini", 3), ("saves/", 0)]);
    for (new, comes_back) in
        [(&[("version.ini", 4), ("logs/", 0)][..], true), (&[("version.ini", 4), ("saves", 5)], false)]
    {
        let disk = disk();
        store_brought(&disk, &old);
        let landing = prepare(&disk, &files(new), Some(&previous(&old))).unwrap();
        landing.abandon(false).unwrap();
        assert_eq!(disk.root.join("version.ini").exists(), comes_back);
        assert_eq!(stored(&disk.root) == old, comes_back);
    }
}
