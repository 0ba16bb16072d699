//! [`RelPath`]: the only kind of path that comes from or goes to the network, an archive or a manifest.
//!
//! The same rules hold on every operating system, so that a game that one peer can offer every peer can store:
//! `/`-separated, NFC, portable characters, no device names, bounded length and depth, nothing reserved at the root.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use unicode_normalization::{UnicodeNormalization, is_nfc};

/// Longest path in bytes of UTF-8.
pub const MAX_PATH_BYTES: usize = 1024;
/// Most components of a path.
pub const MAX_DEPTH: usize = 32;
/// Longest component, in bytes of UTF-8 and in UTF-16 units (NTFS, ext4).
const MAX_COMPONENT: usize = 255;

/// Why a text is not a [`RelPath`]. `path` is the text, cut to 120 characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unsafe path {path:?}: {reason}")]
pub struct PathError {
    /// The offending text.
    pub path: String,
    /// The rule it breaks.
    pub reason: &'static str,
}

impl PathError {
    fn new(text: &str, reason: &'static str) -> Self {
        Self { path: text.chars().take(120).collect(), reason }
    }
}

/// A validated relative path beneath a game's root. Cheap to clone, ordered by its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath(Arc<str>);

impl RelPath {
    /// Parses `text`, refusing everything that is not portable, safe and unreserved.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let path = Self::parse_unreserved(text)?;
        if path.components().next().is_some_and(is_reserved_at_root) {
            return Err(PathError::new(text, "its first component is reserved"));
        }
        Ok(path)
    }

    /// The same without the reservations at a game's root: for paths beneath another directory, such as the one that
    /// archives are unpacked into. Never use it for a path beneath a game's root.
    pub fn parse_unreserved(text: &str) -> Result<Self, PathError> {
        let fail = |reason| Err(PathError::new(text, reason));
        if text.is_empty() {
            return fail("it is empty");
        }
        if text.len() > MAX_PATH_BYTES {
            return fail("it is longer than 1024 bytes");
        }
        if !is_nfc(text) {
            return fail("it is not in Unicode normalization form C");
        }
        for (depth, component) in text.split('/').enumerate() {
            if depth >= MAX_DEPTH {
                return fail("it has more than 32 components");
            }
            if let Some(reason) = component_fault(component) {
                return fail(reason);
            }
        }
        Ok(Self(text.into()))
    }

    /// The path as text, `/`-separated.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components from the root down; never empty.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The path without its last component; `None` for a path directly at the root.
    pub fn parent(&self) -> Option<RelPath> {
        self.0.rfind('/').map(|at| Self(self.0[..at].into()))
    }

    /// The last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The form under which two paths that some file system cannot tell apart are equal (case folding and NFC).
    pub fn collision_key(&self) -> String {
        fold(&self.0)
    }
}

/// Lower-cases by Unicode's simple mapping and brings the result back to NFC.
pub(crate) fn fold(text: &str) -> String {
    // Upper before lower: folds characters whose upper-case forms meet (final sigma, dotless i, sharp s).
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfc().collect()
}

/// Whether `name` may not be used directly beneath a game's root (nor as a game's id): the install tree and
/// everything lanspread itself keeps there.
pub fn is_reserved_at_root(name: &str) -> bool {
    let name = fold(name);
    name == "local"
        || name.starts_with(".local.")
        || name.starts_with(".lanspread")
        || name.starts_with(".version.ini.")
        || is_short_form(&name)
}

/// Whether NTFS or FAT may give a reserved name this short form (`LOCAL~1.INS`, after some of them `LO1A2B~1.INS`), under which it can be
/// opened as well. `name` is folded.
fn is_short_form(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name);
    let Some((base, number)) = stem.split_once('~') else { return false };
    let is_hashed = |start: &str| {
        base.strip_prefix(start)
            .is_some_and(|hash| hash.len() == 4 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && (["local", "lanspr", "versio"].contains(&base) || ["lo", "la", "ve"].iter().any(|start| is_hashed(start)))
}

/// Whether a file of this name is put into every folder by the desktops of some system: it is no part of a game.
pub fn is_of_a_desktop(name: &str) -> bool {
    const IN_LOWER_CASE: [&str; 5] = [".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", ".directory"];
    // What a Mac keeps of the file of that name where the file system cannot.
    name.starts_with("._") || IN_LOWER_CASE.contains(&name.to_ascii_lowercase().as_str())
}

fn component_fault(component: &str) -> Option<&'static str> {
    if component.is_empty() {
        return Some("a component is empty");
    }
    if component == "." || component == ".." {
        return Some("a component is . or ..");
    }
    if component.len() > MAX_COMPONENT || component.encode_utf16().count() > MAX_COMPONENT {
        return Some("a component is longer than 255");
    }
    if component.chars().any(|c| c.is_control() || "<>:\"/\\|?*".contains(c)) {
        return Some("a component has a control character or one of <>:\"/\\|?*");
    }
    if component.ends_with(['.', ' ']) {
        return Some("a component ends in a dot or a space");
    }
    if is_device_name(component) {
        return Some("a component is a Windows device name");
    }
    None
}

/// CON, PRN, AUX, NUL, CONIN$, CONOUT$, COM and LPT with a digit (also superscript), with any extension.
fn is_device_name(component: &str) -> bool {
    let stem = component.split('.').next().unwrap_or(component).trim_end_matches(' ').to_ascii_uppercase();
    if matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$") {
        return true;
    }
    let Some(number) = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT")) else {
        return false;
    };
    let mut chars = number.chars();
    matches!((chars.next(), chars.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
}

impl FromStr for RelPath {
    type Err = PathError;
    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::parse(text)
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl Serialize for RelPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// Read fields with paths of any name (see [`RelPath::parse_unreserved`]).
pub(super) mod unreserved {
    use serde::{Deserialize, Deserializer, de};

    use super::RelPath;

    #[derive(Deserialize)]
    struct Unreserved(#[serde(deserialize_with = "one")] RelPath);

    pub(in crate::types) fn one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RelPath, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        RelPath::parse_unreserved(&text).map_err(de::Error::custom)
    }

    pub(in crate::types) fn perhaps<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RelPath>, D::Error> {
        Ok(Option::<Unreserved>::deserialize(deserializer)?.map(|path| path.0))
    }

    pub(in crate::types) fn all<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RelPath>, D::Error> {
        Ok(Vec::<Unreserved>::deserialize(deserializer)?.into_iter().map(|path| path.0).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_are_accepted() {
        for path in [
            "version.ini",
            "data/maps/dust.bsp",
            "Spiele/Über uns.txt",
            "a/local/b",
            "common",
            "com10",
            ".hidden",
            "LONGNA~1.TXT",
            "a/LOCAL~1",
            "local~x",
            "backup~1",
        ] {
            assert_eq!(RelPath::parse(path).unwrap().as_str(), path);
        }
    }

    #[test]
    fn everything_that_could_leave_the_root_or_not_be_stored_elsewhere_is_refused() {
        let long = "x".repeat(256);
        let deep = vec!["d"; MAX_DEPTH + 1].join("/");
        let wide = vec!["0123456789abcdef"; 64].join("/") + "/0123456789";
        for path in [
            "",
            "/",
            "/etc/passwd",
            "a//b",
            "a/",
            "..",
            "../x",
            "a/../b",
            ".",
            "a/./b",
            "c:/x",
            "a\\b",
            "a\0b",
            "a\nb",
            "a\u{85}b",
            "what?",
            "x.",
            "x ",
            "NUL",
            "nul.txt",
            "a/COM1",
            "lpt9.log",
            "COM¹",
            "CONIN$",
            "con .txt",
            "local",
            "LOCAL/x",
            ".local.backup",
            ".Local.Installing/x",
            ".lanspread",
            ".LANSPREAD.json",
            ".version.ini.tmp",
            "LOCAL~1.INS/x",
            "LANSPR~2",
            "versio~1.dis",
            "LO1A2B~1.MIN/save.dat",
            "e\u{301}",
            &long,
            &deep,
            &wide,
        ] {
            assert!(RelPath::parse(path).is_err(), "{path:?} was accepted");
        }
    }

    #[test]
    fn beneath_another_directory_only_the_reservations_fall() {
        assert_eq!(RelPath::parse_unreserved("local/a").unwrap().as_str(), "local/a");
        assert!(RelPath::parse_unreserved("../local").is_err());
        assert!(RelPath::parse_unreserved("nul").is_err());
    }

    #[test]
    fn paths_that_one_file_system_would_merge_have_one_collision_key() {
        let key = |text: &str| RelPath::parse(text).unwrap().collision_key();
        assert_eq!(key("Data/ÄRGER.txt"), key("data/ärger.TXT"));
        assert_eq!(key("Σίσυφος"), key("ΣΊΣΥΦΟΣ"));
        assert_ne!(key("a"), key("b"));
    }

    #[test]
    fn parent_and_file_name() {
        let path = RelPath::parse("a/b/c").unwrap();
        assert_eq!(path.parent().unwrap().as_str(), "a/b");
        assert_eq!(path.file_name(), "c");
        assert_eq!(RelPath::parse("c").unwrap().parent(), None);
    }
}
