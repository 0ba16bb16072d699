//! Which name to give what has one that not every PC can store: a valid one, of nothing else in its folder, and as close to the old one
//! as can be.

use std::collections::HashSet;
use std::ffi::OsStr;

use unicode_normalization::UnicodeNormalization;

use crate::types::{GameId, MAX_PATH_BYTES, RelPath, SENTINEL, is_of_a_desktop};

/// Longest name, in bytes, and so in units of UTF-16.
const LONGEST: usize = 255;
/// Room in which a name can be told from others; where there is less, a folder above has to become shorter.
const LEAST: usize = 32;
/// Longest extension that is kept when a name is shortened, in bytes.
const LONGEST_EXTENSION: usize = 16;
/// Numbers that are tried where a name is taken.
const MOST_NUMBERS: u32 = 10_000;

/// A name for what lies in the folder `parent` (empty: the game's root) and is called `name` now. `taken`: the
/// [collision keys](RelPath::collision_key) of the names in that folder that stay. `None`: there is none, because the folders above are too
/// many or too long.
pub(super) fn propose(parent: &str, name: &OsStr, is_dir: bool, taken: &HashSet<String>) -> Option<String> {
    let is_root = parent.is_empty();
    let room = MAX_PATH_BYTES.saturating_sub(if is_root { 0 } else { parent.len() + 1 }).min(LONGEST);
    let is_valid = |candidate: &str| {
        let path = beneath(parent, candidate);
        let means_version = is_root && candidate.eq_ignore_ascii_case(SENTINEL) && (is_dir || candidate != SENTINEL);
        RelPath::parse(&path).is_ok() && !means_version && !is_of_a_desktop(candidate)
    };
    let cleaned = clean(name);
    if is_root && cleaned.eq_ignore_ascii_case(SENTINEL) && !is_dir && !taken.contains(SENTINEL) {
        return Some(SENTINEL.to_owned());
    }
    pick(&cleaned, room, is_valid, taken)
}

/// The same for a game's folder; `taken` are those beside it.
pub(super) fn propose_id(name: &OsStr, taken: &HashSet<String>) -> Option<String> {
    let cleaned = clean(name);
    pick(cleaned.trim_start_matches('.'), LONGEST, |candidate| candidate.parse::<GameId>().is_ok(), taken)
}

fn pick(cleaned: &str, room: usize, is_valid: impl Fn(&str) -> bool, taken: &HashSet<String>) -> Option<String> {
    if room < LEAST || !is_valid("x") {
        return None;
    }
    let mut base = cleaned.to_owned();
    if !is_valid(&fit(&base, "", room)) {
        // Reserved, of a device, or nothing is left of it.
        base.insert(0, '_');
    }
    (1..=MOST_NUMBERS).find_map(|number| {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let candidate = fit(&base, &suffix, room);
        (is_valid(&candidate) && !taken.contains(&key_of(&candidate))).then_some(candidate)
    })
}

/// The path of a name in the folder `parent` (empty: the game's root).
pub(super) fn beneath(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
}

/// What names that are one on some PC have in common. Only for valid names.
pub(super) fn key_of(name: &str) -> String {
    RelPath::parse_unreserved(name).map_or_else(|_| name.to_owned(), |path| path.collision_key())
}

/// The name without what not every PC can store. Bytes that are no Unicode are taken for Latin-1, as old archives have them.
fn clean(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| char::from(*byte)));
    }
    let stored = |c: char| match c {
        '"' => '\'',
        '<' => '(',
        '>' => ')',
        ':' | '|' | '/' | '\\' => '-',
        '?' | '*' => '_',
        c if c.is_control() => '_',
        c => c,
    };
    let text: String = text.chars().map(stored).nfc().collect();
    text.trim_end_matches(['.', ' ']).to_owned()
}

/// The name with this suffix before its extension, in at most `room` bytes.
fn fit(name: &str, suffix: &str, room: usize) -> String {
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && extension.len() <= LONGEST_EXTENSION => {
            name.split_at(name.len() - extension.len() - 1)
        }
        _ => (name, ""),
    };
    let stem = cut(stem, room.saturating_sub(suffix.len() + extension.len()));
    format!("{stem}{suffix}{extension}").trim_end_matches(['.', ' ']).to_owned()
}

/// At most so many bytes of a text, whole characters.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.split_at(end).0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proposed(name: &str) -> String {
        propose("", OsStr::new(name), false, &HashSet::new()).unwrap()
    }

    #[test]
    fn proposals_are_close_to_the_name() {
        for (name, expected) in [
            ("what?.txt", "what_.txt"),
            ("a:b|c.map", "a-b-c.map"),
            ("say \"hi\".wav", "say 'hi'.wav"),
            ("<new>*.cfg", "(new)_.cfg"),
            ("readme.txt. .", "readme.txt"),
            ("e\u{301}te\u{301}.txt", "été.txt"),
            ("line\nbreak", "line_break"),
            ("NUL", "_NUL"),
            ("com1.log", "_com1.log"),
            ("...", "_"),
            ("local ", "_local"),
            ("LOCAL~1.INS ", "_LOCAL~1.INS"),
            ("Version.INI", "version.ini"),
            ("version.ini.", "version.ini"),
            ("desktop.ini ", "_desktop.ini"),
        ] {
            assert_eq!(proposed(name), expected, "{name:?}");
        }
        let long = format!("{}.pak", "x".repeat(300));
        assert_eq!(proposed(&long), format!("{}.pak", "x".repeat(251)));
        assert!(propose("", OsStr::new("version.ini"), true, &HashSet::new()).unwrap() != "version.ini");
    }

    #[cfg(unix)]
    #[test]
    fn other_code_pages_are_read() {
        use std::os::unix::ffi::OsStrExt;
        let name = OsStr::from_bytes(b"\xfcber\x80.txt");
        assert_eq!(propose("", name, false, &HashSet::new()).unwrap(), "über_.txt");
    }

    #[test]
    fn names_that_are_taken_get_a_number() {
        let taken: HashSet<String> = ["readme.txt", "readme-2.txt", "data"].map(str::to_owned).into();
        let next = |name: &str| propose("docs", OsStr::new(name), false, &taken).unwrap();
        assert_eq!(next("README.TXT"), "README-3.TXT");
        assert_eq!(next("Data"), "Data-2");
        let taken = HashSet::from([SENTINEL.to_owned()]);
        assert_eq!(propose("", OsStr::new("Version.ini"), false, &taken).unwrap(), "_Version.ini");
    }

    #[test]
    fn where_there_is_no_room_there_is_no_name() {
        let free = |parent: &str| propose(parent, OsStr::new("a?"), false, &HashSet::new());
        assert_eq!(free(&"d/".repeat(31)[..61]), Some("a_".into()));
        assert_eq!(free(&"d/".repeat(32)[..63]), None);
        let deep = vec!["x".repeat(200); 5].join("/");
        assert_eq!(free(&deep), None);
        assert!(propose("x", OsStr::new(&"y".repeat(900)), false, &HashSet::new()).unwrap().len() <= 255);
    }

    #[test]
    fn a_folder_gets_a_name_that_a_game_can_have() {
        let id = |name: &str| propose_id(OsStr::new(name), &HashSet::from(["doom".to_owned()])).unwrap();
        assert_eq!(id("Half-Life: Source"), "Half-Life- Source");
        assert_eq!(id(".hidden"), "hidden");
        assert_eq!(id(".local"), "_local");
        assert_eq!(id("Doom."), "Doom-2");
        assert_eq!(id(".."), "_");
    }

    /// Names as they are found, and some that nobody would give.
    fn names() -> impl Strategy<Value = String> {
        let odd = proptest::sample::select(vec![
            "CON",
            "nul.txt",
            "local",
            ".local.x",
            ".lanspread",
            "version.ini",
            "VERSION.INI ",
            "LANSPR~1.TXT",
            "._x",
            "Thumbs.db.",
            "e\u{301}",
            "<\u{338}",
            "?\u{301}",
            ".",
            "..",
            " ",
            "ſ",
            "ß",
            "İ",
        ]);
        prop_oneof![
            any::<String>(),
            "[ -~]{0,12}",
            "[a-zA-Z\u{300}-\u{304}.: ?]{200,300}",
            (odd, "[.: ?*]{0,3}").prop_map(|(name, tail)| format!("{name}{tail}")),
        ]
    }

    proptest! {
        #[test]
        fn a_proposal_is_always_valid_and_free(
            bytes in prop_oneof![names().prop_map(String::into_bytes), proptest::collection::vec(any::<u8>(), 0..300)],
            others in proptest::collection::vec(names(), 0..20),
            depth in 0usize..5,
            is_dir: bool,
        ) {
            let name = String::from_utf8(bytes.clone()).map_or_else(|_| lossless(&bytes), Into::into);
            let parent = vec!["d".repeat(180); depth].join("/");
            let mut taken: HashSet<String> =
                others.iter().filter_map(|other| Some(RelPath::parse(other).ok()?.collision_key())).collect();
            // Also against what was proposed before.
            for _ in 0..3 {
                let new = propose(&parent, &name, is_dir, &taken).unwrap();
                let path = if parent.is_empty() { new.clone() } else { format!("{parent}/{new}") };
                let path = RelPath::parse(&path).unwrap();
                prop_assert_eq!(path.file_name(), &new);
                prop_assert!(!is_of_a_desktop(&new));
                prop_assert!(taken.insert(key_of(&new)), "{:?} is taken", new);
                let id = propose_id(&name, &taken).unwrap();
                prop_assert!(id.parse::<GameId>().is_ok());
                prop_assert!(!taken.contains(&key_of(&id)));
            }
        }
    }

    #[cfg(unix)]
    fn lossless(bytes: &[u8]) -> std::ffi::OsString {
        std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec())
    }

    #[cfg(not(unix))]
    fn lossless(bytes: &[u8]) -> std::ffi::OsString {
        String::from_utf8_lossy(bytes).into_owned().into()
    }
}
