//! The player's name and language, put into the files in which games and their emulators of shops keep them, before an installation
//! counts as one. The installation's list of its own files knows them in that state, so an update replaces them and puts the
//! settings in anew; what the user changes later is his, like everything else that he changes.
//!
//! | file, in any spelling | what is put into it |
//! |---|---|
//! | `account_name.txt` | the name |
//! | `language.txt` | the language |
//! | `SmartSteamEmu.ini` | the name, as the value of the first line `PersonaName =` |
//!
//! Of several files of one name it is the one that is nearest to the root, of those the first by its path.

use crate::fs::Dir;
use crate::install::inventory::Contents;
use crate::types::{JobError, Personal, RelPath};

/// A longer file is not one of these.
const MAX_BYTES: usize = 1 << 20;
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// Puts the settings into what an installation has filled. Nothing of it is durable yet.
///
/// # Errors
/// What the system says. A file that is too long, or that is not there, is left alone.
pub fn put(staging: &Dir, personal: &Personal) -> Result<(), JobError> {
    if *personal == Personal::default() {
        return Ok(());
    }
    let files = Contents::of(staging)?.files;
    if let Some(player) = &personal.player {
        change(staging, &files, "account_name.txt", |old| Some(whole_file(old, player)))?;
        change(staging, &files, "smartsteamemu.ini", |old| line_of_name(old, player))?;
    }
    if let Some(language) = &personal.language {
        change(staging, &files, "language.txt", |old| Some(whole_file(old, language)))?;
    }
    Ok(())
}

/// Replaces the content of the first file of that name, if there is one and `new` makes something of its bytes.
fn change(
    staging: &Dir,
    files: &[(RelPath, crate::fs::Entry)],
    name: &str,
    new: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
) -> Result<(), JobError> {
    let named = files.iter().filter(|(path, _)| path.file_name().eq_ignore_ascii_case(name));
    let Some((path, entry)) = named.min_by_key(|(path, _)| (path.components().count(), path)) else { return Ok(()) };
    let mut old = vec![0; usize::try_from(entry.size).unwrap_or(usize::MAX).min(MAX_BYTES + 1)];
    let read = staging.open_read(path)?.read_at(&mut old, 0)?;
    old.truncate(read);
    if old.len() > MAX_BYTES {
        return Ok(());
    }
    let Some(new) = new(&old).filter(|new| *new != old) else { return Ok(()) };
    let file = staging.create_write(path, entry.exec)?;
    file.write_all_at(&new, 0)?;
    Ok(file.set_len(new.len() as u64)?)
}

/// The text alone, with the byte order mark and the line end that there were.
fn whole_file(old: &[u8], text: &str) -> Vec<u8> {
    let mark = if old.starts_with(UTF8_MARK) { UTF8_MARK } else { b"" };
    let end: &[u8] = match old {
        [.., b'\r', b'\n'] => b"\r\n",
        [.., b'\n'] => b"\n",
        _ => b"",
    };
    [mark, text.as_bytes(), end].concat()
}

/// The same bytes with another value in the first line `PersonaName =`. `None`: there is no such line.
fn line_of_name(old: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut at = 0;
    for line in old.split_inclusive(|byte| *byte == b'\n') {
        let key_ends = line.iter().position(|byte| *byte == b'=');
        let is_it = |key: &[u8]| key.trim_ascii().eq_ignore_ascii_case(b"PersonaName");
        let Some(equals) = key_ends.filter(|&end| is_it(line[..end].strip_prefix(UTF8_MARK).unwrap_or(&line[..end])))
        else {
            at += line.len();
            continue;
        };
        let value = &line[equals + 1..];
        let spaces = value.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let from = at + equals + 1 + spaces;
        let until = at + line.trim_ascii_end().len().max(equals + 1 + spaces);
        return Some([&old[..from], name.as_bytes(), &old[until..]].concat());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_everything_but_its_value() {
        for (old, new) in [
            ("[a]\r\nPersonaName = Bob\r\nx=1\r\n", "[a]\r\nPersonaName = Anna\r\nx=1\r\n"),
            ("personaname=\nPersonaName=Bob", "personaname=Anna\nPersonaName=Bob"),
            ("\u{feff}PersonaName =\tBob  ", "\u{feff}PersonaName =\tAnna  "),
            ("PersonaName =   \n", "PersonaName =   Anna\n"),
        ] {
            let made = line_of_name(old.as_bytes(), "Anna").unwrap();
            // Spaces behind the old value may stay or go.
            assert_eq!(String::from_utf8(made).unwrap().trim_end(), new.trim_end(), "{old:?}");
        }
        assert_eq!(line_of_name(b"# PersonaName = Bob\nOther = 1\n", "Anna"), None);
        let line_ends = line_of_name(b"PersonaName=Bob\r\nx\r\n", "Anna").unwrap();
        assert_eq!(line_ends, b"PersonaName=Anna\r\nx\r\n");
        // Not UTF-8: other lines are kept byte by byte.
        assert_eq!(line_of_name(b"\xff\xfe=1\nPersonaName=B\n", "A").unwrap(), b"\xff\xfe=1\nPersonaName=A\n");
    }

    #[test]
    fn a_whole_file_keeps_its_mark_and_line_end() {
        assert_eq!(whole_file(b"Bob", "Anna"), b"Anna");
        assert_eq!(whole_file(b"Bob\r\n", "Anna"), b"Anna\r\n");
        assert_eq!(whole_file(b"\xef\xbb\xbfBob\n", "Anna"), b"\xef\xbb\xbfAnna\n");
        assert_eq!(whole_file(b"", "Anna"), b"Anna");
    }

    #[test]
    fn the_nearest_file_of_each_name_is_changed_and_no_other() {
        let temp = tempfile::tempdir().unwrap();
        let at = |path: &str| temp.path().join(path);
        for dir in ["a/settings", "b"] {
            std::fs::create_dir_all(at(dir)).unwrap();
        }
        let write = |path: &str, text: &str| {
            std::io::Write::write_all(&mut std::fs::File::create(at(path)).unwrap(), text.as_bytes())
        };
        for (path, text) in [
            ("a/settings/account_name.txt", "Goldberg\n"),
            ("b/Account_Name.txt", "a longer name than the new one\n"),
            ("c_account_name.txt", "other"),
            ("a/language.txt", "english"),
            ("a/SmartSteamEmu.ini", "PersonaName = Bob\r\n"),
        ] {
            write(path, text).unwrap();
        }
        let dir = Dir::open(temp.path()).unwrap();
        let read = |path: &str| std::fs::read_to_string(at(path)).unwrap();
        put(&dir, &Personal::default()).unwrap();
        assert_eq!(read("b/Account_Name.txt"), "a longer name than the new one\n");
        put(&dir, &Personal { player: Some("Anna".into()), language: Some("german".into()) }).unwrap();
        assert_eq!(read("b/Account_Name.txt"), "Anna\n");
        assert_eq!(read("a/settings/account_name.txt"), "Goldberg\n");
        assert_eq!(read("c_account_name.txt"), "other");
        assert_eq!(read("a/language.txt"), "german");
        assert_eq!(read("a/SmartSteamEmu.ini"), "PersonaName = Anna\r\n");
    }
}
