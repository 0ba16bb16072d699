//! Programs in installed games: which are found, which is started. Names, bits and links are those of Unix.
#![cfg(unix)]

use std::fs;

use super::*;

#[allow(clippy::disallowed_methods, reason = "a test sets its stage with plain file calls")]
fn put(dir: &Path, path: &str, bytes: &[u8], exec: bool) {
    let file = dir.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, bytes).unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(if exec { 0o755 } else { 0o644 })).unwrap();
}

fn doom() -> GameId {
    "doom".parse().unwrap()
}

fn ask(root: &Path, state: &Path, ask: ProgramAsk) -> Result<ProgramAnswer, JobError> {
    answer(&Dir::open(root).unwrap(), &doom(), state, None, ask)
}

fn list(root: &Path, state: &Path) -> (Vec<String>, Option<String>) {
    match ask(root, state, ProgramAsk::List).unwrap() {
        ProgramAnswer::Programs(list) => {
            let programs = list.programs.iter().map(ToString::to_string).collect();
            (programs, list.chosen.map(|chosen| chosen.to_string()))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn programs_are_found_in_local_alone_and_the_game_comes_first() {
    let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = root.path();
    for (path, bytes, exec) in [
        ("local/bin/doom", &b"\x7fELF..."[..], true),
        ("local/setup.sh", b"#!/bin/sh\n", false),
        ("local/tools/editor", b"#!/bin/sh\n", true),
        ("local/readme.txt", b"every file of this file system is executable", true),
        ("local/lib/libdoom.so", b"\x7fELF...", true),
        ("local/.hidden/doom", b"\x7fELF...", true),
        ("doom.sh", b"#!/bin/sh\n", true),
    ] {
        put(at, path, bytes, exec);
    }
    std::os::unix::fs::symlink("/bin/sh", at.join("local/shell")).unwrap();
    std::os::unix::fs::symlink("/bin", at.join("local/all")).unwrap();
    let (programs, chosen) = list(at, state.path());
    assert_eq!(programs, ["bin/doom", "tools/editor", "setup.sh"]);
    assert_eq!(chosen, None);
    assert_eq!(ask(at, state.path(), ProgramAsk::Play).unwrap_err().kind, JobErrorKind::ChooseProgram);
    for lost in ["shell", "all/sh", "nothing"] {
        let lost = ProgramAsk::Choose(RelPath::parse_unreserved(lost).unwrap());
        assert!(ask(at, state.path(), lost.clone()).is_err(), "{lost:?}");
    }
    let editor = RelPath::parse_unreserved("tools/editor").unwrap();
    assert_eq!(ask(at, state.path(), ProgramAsk::Choose(editor)).unwrap(), ProgramAnswer::Chosen);
    assert_eq!(list(at, state.path()).1.as_deref(), Some("tools/editor"));
    fs::remove_file(at.join("local/tools/editor")).unwrap();
    assert_eq!(list(at, state.path()).1, None, "it is not there any more");
}

#[test]
fn the_users_choice_comes_before_the_catalogs_and_that_before_a_guess() {
    let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (local, rel) = (root.path().join("local"), |text| RelPath::parse_unreserved(text).unwrap());
    for name in ["a.sh", "b.sh", "c.txt"] {
        put(&local, name, b"#!/bin/sh\n", false);
    }
    let dir = Dir::open(&local).unwrap();
    let named = |program| Launch { program: rel(program), args: vec!["-lan".into()] };
    let which = |launch| which(&dir, &doom(), state.path(), launch).map_err(|error| error.kind);
    assert_eq!(which(None), Err(JobErrorKind::ChooseProgram));
    assert_eq!(which(Some(named("b.sh"))), Ok(named("b.sh")));
    for odd in ["missing.sh", "c.txt"] {
        assert_eq!(which(Some(named(odd))), Err(JobErrorKind::ChooseProgram), "{odd}");
    }
    choose(state.path(), &doom(), rel("a.sh")).unwrap();
    assert_eq!(which(Some(named("b.sh"))), Ok(Launch { program: rel("a.sh"), args: Vec::new() }));
    assert_eq!(which(Some(named("a.sh"))), Ok(named("a.sh")), "with the catalog's arguments");
}

#[test]
fn the_only_program_is_started_in_its_own_directory() {
    let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    put(root.path(), "local/bin/run.sh", b"#!/bin/sh\npwd > where.part && mv where.part where\n", false);
    let ProgramAnswer::Started(started) = ask(root.path(), state.path(), ProgramAsk::Play).unwrap() else { panic!() };
    assert_eq!(started.program.as_str(), "bin/run.sh");
    let found = root.path().join("local/bin/where");
    #[expect(clippy::disallowed_methods, reason = "it is another process")]
    for _ in 0..1000 {
        if found.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let dir = fs::canonicalize(root.path().join("local/bin")).unwrap();
    assert_eq!(fs::read_to_string(found).unwrap().trim(), dir.to_str().unwrap());
}

#[test]
fn a_script_without_its_bit_is_read_by_the_program_that_it_names() {
    let root = tempfile::tempdir().unwrap();
    for (name, text, exec, by) in [
        ("bash.sh", "#!/bin/bash -e\n", false, "/bin/bash"),
        ("env", "#!/usr/bin/env python3\n", false, "/usr/bin/env"),
        ("plain.sh", "echo\n", false, "sh"),
        ("by-itself.sh", "#!/bin/bash\n", true, ""),
        ("program", "\x7fELF", false, ""),
    ] {
        put(root.path(), name, text.as_bytes(), exec);
        let file = root.path().join(name);
        let expected = if by.is_empty() { file.as_os_str() } else { std::ffi::OsStr::new(by) };
        assert_eq!(sys::command_of(&file).get_program(), expected, "{name}");
    }
}
