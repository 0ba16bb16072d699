//! How a game is installed: by unpacking its archives, or by copying its files.
//!
//! What begins like an archive need not be there to be unpacked: `package.nw` and `soundtrack.zip` are files of their games. So
//! the whole root of a game is looked at, never an archive alone.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Manifest, RelPath, SENTINEL};

/// How the files of a game become its installation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Packing {
    /// The archives in its root are unpacked; what lies beside them stays behind.
    #[serde(rename = "unpacking")]
    Unpack,
    /// Its files are copied, archives as they are.
    #[serde(rename = "copying")]
    Copy,
    /// Its files are copied but for what is called `.eti`, which is unpacked.
    #[serde(rename = "copying-and-unpacking")]
    CopyAndUnpack,
}

/// Extensions of programs, in lower case.
const PROGRAMS: [&str; 16] = [
    "appimage", "bat", "cmd", "com", "command", "exe", "jar", "msi", "pif", "ps1", "run", "scr", "sh", "vbs", "x86",
    "x86_64",
];
/// Extensions of what is no program whatever its executable bit says: some file systems set it for every file.
const COMPANIONS: [&str; 24] = [
    "bmp", "cfg", "diz", "doc", "gif", "htm", "html", "ico", "ini", "jpeg", "jpg", "json", "log", "md", "md5", "nfo",
    "pdf", "png", "rtf", "sfv", "sha1", "txt", "url", "webp",
];
/// Extensions of archives, in lower case, for a game whose bytes are elsewhere.
const ARCHIVES: [&str; 13] = ["7z", "bz2", "eti", "gz", "rar", "tar", "tbz2", "tgz", "txz", "tzst", "xz", "zip", "zst"];

impl Packing {
    /// How this game is installed. `is_archive` says of a file in its root whether it is one by its bytes; volumes of a set need
    /// not look like one.
    ///
    /// With programs or folders beside its archives a game is copied as a whole, but for what is called `.eti`. Otherwise its
    /// archives are unpacked. Without archives it is copied.
    pub fn of(manifest: &Manifest, is_archive: impl Fn(&RelPath) -> bool) -> Self {
        let in_root = || manifest.files().iter().filter(|file| file.path.parent().is_none());
        let names: BTreeSet<String> = in_root().map(|file| file.path.as_str().to_lowercase()).collect();
        let archives: BTreeSet<String> =
            in_root().filter(|file| is_archive(&file.path)).map(|file| file.path.as_str().to_lowercase()).collect();
        let packed: BTreeSet<&RelPath> = in_root()
            .map(|file| &file.path)
            .filter(|path| {
                let name = path.as_str().to_lowercase();
                Self::unpacks_always(path) || archives.contains(&name) || is_volume(&name, &names, &archives)
            })
            .collect();
        if packed.is_empty() {
            return Self::Copy;
        }
        // Where the sentinel is executable, everything is.
        let bit_tells = !in_root().any(|file| file.path.as_str() == SENTINEL && file.exec);
        let is_program = |path: &RelPath, exec: bool| {
            let extension = extension(path.as_str());
            PROGRAMS.contains(&extension.as_str()) || bit_tells && exec && !COMPANIONS.contains(&extension.as_str())
        };
        let has_folders =
            !manifest.dirs().is_empty() || manifest.files().iter().any(|file| file.path.parent().is_some());
        let has_programs = in_root().any(|file| !packed.contains(&file.path) && is_program(&file.path, file.exec));
        if !has_folders && !has_programs {
            return Self::Unpack;
        }
        if packed.iter().any(|path| Self::unpacks_always(path)) { Self::CopyAndUnpack } else { Self::Copy }
    }

    /// The same, for a game whose bytes are elsewhere: by the names of its files.
    pub fn by_names(manifest: &Manifest) -> Self {
        Self::of(manifest, |path| is_named_archive(&path.as_str().to_lowercase()))
    }

    /// Whether this file of the game's root is an archive by definition.
    pub fn unpacks_always(path: &RelPath) -> bool {
        path.parent().is_none() && extension(path.as_str()) == "eti"
    }

    /// Whether this file is copied.
    pub fn copies(self, path: &RelPath) -> bool {
        let is_left_out = path.as_str() == SENTINEL || self == Self::CopyAndUnpack && Self::unpacks_always(path);
        self != Self::Unpack && !is_left_out
    }
}

fn extension(name: &str) -> String {
    name.rsplit_once('.').map(|(_, extension)| extension.to_lowercase()).unwrap_or_default()
}

/// Whether this is the name of an archive, or of a volume that begins like one; in lower case.
fn is_named_archive(name: &str) -> bool {
    let Some((stem, extension)) = name.rsplit_once('.') else { return false };
    let is_archive = |extension: &str| ARCHIVES.contains(&extension);
    // x.7z.001, but not x.001, which is a file of many a game.
    let is_first = is_number(extension) && extension.len() >= 3 && extension.parse() == Ok(1);
    let numbered =
        matches!(*extension.as_bytes(), [b'r' | b'z', tens, ones] if tens.is_ascii_digit() && ones.is_ascii_digit());
    is_archive(extension) || numbered || is_first && stem.rsplit_once('.').is_some_and(|(_, inner)| is_archive(inner))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a file is a volume of an archive in several, by its name among the `names` in the root and the `archives` among
/// these, all in lower case: also the first one, when that is a program which unpacks the set. A program, or a number for an
/// extension, says nothing by itself: the volume that begins like an archive has to be one.
fn is_volume(name: &str, names: &BTreeSet<String>, archives: &BTreeSet<String>) -> bool {
    let Some((stem, extension)) = name.rsplit_once('.') else { return false };
    let is_archive = |name: String| archives.contains(&name);
    let begins = |second: &str, last: &str| {
        names.contains(&format!("{stem}.{last}"))
            || names.contains(&format!("{stem}.exe")) && is_archive(format!("{stem}.{second}"))
    };
    match extension {
        "exe" => match stem.rsplit_once(".part") {
            // x.part1.exe, x.part2.rar
            Some((set, number)) if is_number(number) => {
                let next = number.parse::<u32>().unwrap_or(u32::MAX).saturating_add(1);
                is_archive(format!("{set}.part{next:0width$}.rar", width = number.len()))
            }
            // x.exe with x.r00, x.001, x.7z.001, x.z01
            _ => ["r00", "001", "7z.001", "z01"].iter().any(|second| is_archive(format!("{stem}.{second}"))),
        },
        // x.zip.002, x.7z.002
        _ if is_number(extension) && extension.len() >= 3 => {
            is_archive(format!("{stem}.{:0width$}", 1, width = extension.len()))
        }
        _ => match *extension.as_bytes() {
            [b'z', ref digits @ ..] if digits.len() >= 2 && digits.iter().all(u8::is_ascii_digit) => {
                begins("z01", "zip")
            }
            [b'r'..=b'y', tens, ones] if tens.is_ascii_digit() && ones.is_ascii_digit() => begins("r00", "rar"),
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::FileEntry;

    /// A `*` behind a name sets its executable bit.
    fn game(names: &[&str]) -> Manifest {
        let file = |name: &&str| FileEntry {
            path: RelPath::parse(name.trim_end_matches('*')).unwrap(),
            size: 1,
            exec: name.ends_with('*'),
        };
        Manifest::new(names.iter().map(file).collect()).unwrap()
    }

    #[test]
    fn what_lies_beside_the_archives_decides() {
        use Packing::{Copy, CopyAndUnpack, Unpack};
        let rows: &[(&[&str], Packing)] = &[
            // Nothing is packed.
            (&["version.ini", "game.exe", "data/level"], Copy),
            (&["version.ini", "notes.txt"], Copy),
            // Archives, and what is said about them.
            (&["version.ini", "game.eti"], Unpack),
            (&["version.ini", "game.zip"], Unpack),
            (&["version.ini", "a.rar", "b.7z", "c.tar.gz", "readme.txt", "x.nfo", "cover.jpg", "x.sfv"], Unpack),
            // A data file of a game.
            (&["version.ini", "Game.exe", "package.zip", "data/level.dat"], Copy),
            (&["version.ini", "Game.exe", "soundtrack.zip"], Copy),
            (&["version.ini", "soundtrack.zip", "data/level.dat"], Copy),
            (&["version.ini", "start.sh", "se1.zip"], Copy),
            (&["version.ini", "Start.BAT", "se1.zip"], Copy),
            (&["version.ini", "Game.AppImage", "se1.zip"], Copy),
            (&["version.ini", "Game.x86_64", "se1.zip"], Copy),
            (&["version.ini", "game.jar", "se1.zip"], Copy),
            (&["version.ini", "doom*", "doom.zip"], Copy),
            // The bit says something only where not everything has it.
            (&["version.ini*", "readme*", "game.zip*"], Unpack),
            (&["version.ini", "readme.txt*", "game.zip*"], Unpack),
            (&["version.ini*", "game.exe*", "game.zip*"], Copy),
            // An .eti is an archive by definition, and never part of an installation.
            (&["version.ini", "game.eti", "setup.exe"], CopyAndUnpack),
            (&["version.ini", "GAME.ETI", "patches/one.zip"], CopyAndUnpack),
            (&["version.ini", "game.eti", "music.zip", "readme.txt"], Unpack),
            // Volumes, also those that begin like nothing.
            (&["version.ini", "g.rar", "g.r00", "g.r01", "g.s00"], Unpack),
            (&["version.ini", "g.part1.rar", "g.part2.rar"], Unpack),
            (&["version.ini", "g.7z.001", "g.7z.002"], Unpack),
            (&["version.ini", "g.zip", "g.z01", "g.z02"], Unpack),
            (&["version.ini", "g.part1.exe", "g.part2.rar"], Unpack),
            (&["version.ini", "g.part01.exe", "g.part02.rar"], Unpack),
            (&["version.ini", "G.exe", "g.r00", "g.r01"], Unpack),
            (&["version.ini", "g.exe", "g.7z.001", "g.7z.002"], Unpack),
            // A program of the name of an archive is none of its volumes.
            (&["version.ini", "g.exe", "g.rar"], Copy),
            (&["version.ini", "g.exe", "other.r00", "other.rar"], Copy),
            (&["version.ini", "g.part1.exe", "g.part3.rar"], Copy),
            // Numbers for extensions are no volumes by themselves.
            (&["version.ini", "MONKEY2.EXE", "MONKEY2.000", "MONKEY2.001"], Copy),
            (&["version.ini", "SIERRA.EXE", "RESOURCE.001", "RESOURCE.002", "RESOURCE.MAP"], Copy),
            (&["version.ini", "data.001", "data.002"], Copy),
            (&["version.ini", "GAME.EXE", "GAME.001", "music.zip"], Copy),
        ];
        for (names, expected) in rows {
            assert_eq!(Packing::by_names(&game(names)), *expected, "{names:?}");
        }
    }

    #[test]
    fn bytes_count_where_they_are_here() {
        let nw = game(&["version.ini", "package.nw", "data/level.dat"]);
        assert_eq!(Packing::of(&nw, |path| path.as_str() == "package.nw"), Packing::Copy);
        let odd = game(&["version.ini", "game.bin"]);
        assert_eq!(Packing::of(&odd, |path| path.as_str() == "game.bin"), Packing::Unpack);
        assert_eq!(Packing::of(&odd, |_| false), Packing::Copy);

        // A volume that begins like an archive speaks for its set; without one there is no set.
        let sets: &[(&[&str], &str)] = &[
            (&["version.ini", "g.exe", "g.r00", "g.r01"], "g.r00"),
            (&["version.ini", "g.exe", "g.001", "g.002"], "g.001"),
            (&["version.ini", "g.exe", "g.7z.001", "g.7z.002"], "g.7z.001"),
            (&["version.ini", "g.exe", "g.z01", "g.z02"], "g.z01"),
            (&["version.ini", "g.part1.exe", "g.part2.rar"], "g.part2.rar"),
            (&["version.ini", "g.001", "g.002"], "g.001"),
        ];
        for (names, begins) in sets {
            assert_eq!(Packing::of(&game(names), |path| path.as_str() == *begins), Packing::Unpack, "{names:?}");
            assert_eq!(Packing::of(&game(names), |_| false), Packing::Copy, "{names:?}");
            let beside = game(&[names, &["music.zip"][..]].concat());
            let has_program = names.iter().any(|name| name.ends_with("exe"));
            let expected = if has_program { Packing::Copy } else { Packing::Unpack };
            assert_eq!(Packing::of(&beside, |path| path.as_str() == "music.zip"), expected, "{names:?}");
        }
    }

    #[test]
    fn what_is_copied_follows() {
        let path = |name: &str| RelPath::parse(name).unwrap();
        assert!(Packing::Copy.copies(&path("a.zip")) && Packing::Copy.copies(&path("a.eti")));
        assert!(!Packing::Copy.copies(&path("version.ini")) && Packing::Copy.copies(&path("data/version.ini")));
        assert!(Packing::CopyAndUnpack.copies(&path("a.zip")) && !Packing::CopyAndUnpack.copies(&path("a.ETI")));
        assert!(Packing::CopyAndUnpack.copies(&path("deep/a.eti")) && !Packing::Unpack.copies(&path("a")));
    }
}
