//! Archives: every format, and everything that a stranger could put into one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "tests make their files as they like")]

mod archive_support;

use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use archive_support::{Place, Rar5, data, gzip, noise, seven, tar_of, tar_raw, zip_of};
use lanspread_peer::fs::Dir;
use lanspread_peer::install::archive::helper::{Confinement, Helper};
use lanspread_peer::install::archive::{ArchiveLimits, Unpacked, has_archives};
use lanspread_peer::types::JobErrorKind::{BadArchive, Cancelled, UnsafePath};
use rars::{ArchiveVersion, Builder};

/// The files of most archives here: a directory, an empty file, something that compresses, something that does not.
fn game() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("setup.exe", noise(70_000)),
        ("data/empty.dat", Vec::new()),
        ("data/Maps/Über.map", b"the same again and again ".repeat(9_000)),
    ]
}

fn rar(version: ArchiveVersion, solid: bool, store: bool) -> Builder {
    let mut builder = Builder::new(version).solid(solid).store(store);
    for (name, bytes) in game() {
        builder.add_bytes(name.into(), bytes, None, None).unwrap();
    }
    builder
}

/// One archive of every format, with the game in it.
fn every_format() -> Vec<(&'static str, Vec<u8>)> {
    let tar = tar_of(&game());
    vec![
        ("rar5", rar(ArchiveVersion::Rar50, false, false).to_bytes().unwrap()),
        ("rar5 solid", rar(ArchiveVersion::Rar50, true, false).to_bytes().unwrap()),
        ("rar5 stored", rar(ArchiveVersion::Rar50, false, true).to_bytes().unwrap()),
        ("zip", zip_of(&game())),
        ("7z", seven(&game())),
        ("tar", tar.clone()),
        ("tar.gz", gzip(&tar)),
        ("tar.xz", archive_support::xz(&tar)),
        ("tar.bz2", archive_support::bzip2(&tar)),
        ("tar.zst", archive_support::zstd(&tar)),
    ]
}

#[test]
fn every_format_is_known_by_its_bytes_and_unpacked_whole() {
    for (format, bytes) in every_format() {
        let place = Place::new();
        place.put("game.eti", &bytes);
        place.put("readme.txt", b"not an archive");
        assert!(has_archives(&place.root()).unwrap(), "{format}");
        let unpacked = place.unpack().unwrap_or_else(|e| panic!("{format}: {e}"));
        place.assert_unpacked(&game());
        let bytes = game().iter().map(|(_, bytes)| bytes.len() as u64).sum();
        assert_eq!(unpacked, Unpacked { archives: 1, files: 3, bytes }, "{format}");
        let declared = place.declared().unwrap();
        assert_eq!(declared, (!format.starts_with("tar")).then_some(bytes), "{format}");
    }
}

#[test]
fn archives_that_rar_itself_wrote_are_read() {
    type Volumes = &'static [&'static str];
    type Files = &'static [(&'static str, usize)];
    let sizes: [(Volumes, Files); 10] = [
        (&["rar15-compressed.rar"], &[("README.md", 4198)]),
        (&["rar4-compressed.rar"], &[("text.txt", 2400)]),
        (&["rar4-solid.rar"], &[("one.txt", 48), ("two.txt", 47)]),
        (&["rar4-filter.rar"], &[("x86_e8e9_stream.bin", 196_608)]),
        (&["rar4-ppmd.rar"], &[("repeated_phrase_64k.txt", 44_544)]),
        (&["rar4-unicode.rar"], &[("1File.txt", 0), ("2中文.txt", 0)]),
        (
            &["rar4-volumes.rar", "rar4-volumes.r00", "rar4-volumes.r01", "rar4-volumes.r02", "rar4-volumes.r03"],
            &[("cvolume.bin", 4096)],
        ),
        (
            &[
                "rar4-volumes-numbered.part1.rar",
                "rar4-volumes-numbered.part2.rar",
                "rar4-volumes-numbered.part3.rar",
                "rar4-volumes-numbered.part4.rar",
            ],
            &[("tmp/rars-rar4-rev-gen/payload.bin", 6000)],
        ),
        (&["rar5-filter.rar"], &[("x86_e8e9_stream.bin", 196_608)]),
        (
            &[
                "rar5-solid-volumes.part01.rar",
                "rar5-solid-volumes.part02.rar",
                "rar5-solid-volumes.part03.rar",
                "rar5-solid-volumes.part04.rar",
                "rar5-solid-volumes.part05.rar",
                "rar5-solid-volumes.part06.rar",
            ],
            &[("bigtext_64k.bin", 65_536), ("tiny.txt", 9)],
        ),
    ];
    for (files, expected) in sizes {
        let place = Place::new();
        for file in files {
            place.put(file, &data(file));
        }
        let unpacked = place.unpack().unwrap_or_else(|e| panic!("{files:?}: {e}"));
        assert_eq!(unpacked.archives, 1, "{files:?}: volumes are one archive");
        // The checksums in the archive vouch for the bytes.
        let found: Vec<_> = place.unpacked().into_iter().map(|(name, bytes)| (name, bytes.len())).collect();
        let expected: Vec<_> = expected.iter().map(|(name, len)| ((*name).to_owned(), *len)).collect();
        assert_eq!(found, expected, "{files:?}");
    }
}

#[test]
fn a_missing_volume_is_an_error_and_never_a_shorter_game() {
    let volumes = rar(ArchiveVersion::Rar50, false, true).volume_size(Some(60_000)).build_volumes(None).unwrap();
    assert!(volumes.len() > 3);
    for missing in 0..=volumes.len() {
        let place = Place::new();
        for (at, volume) in volumes.iter().enumerate().filter(|(at, _)| *at != missing) {
            // Ten sorts before two: the numbers count, not the bytes.
            place.put(&format!("game.part{}.eti", at + 9), volume);
        }
        if missing == volumes.len() {
            assert_eq!(place.unpack().unwrap().archives, 1);
            place.assert_unpacked(&game());
        } else {
            place.refused(BadArchive, "");
        }
    }
    for missing in ["rar4-volumes.rar", "rar4-volumes.r01", "rar4-volumes.r03"] {
        let place = Place::new();
        for file in ["rar4-volumes.rar", "rar4-volumes.r00", "rar4-volumes.r01", "rar4-volumes.r02", "rar4-volumes.r03"]
        {
            if file != missing {
                place.put(file, &data(file));
            }
        }
        place.refused(BadArchive, "");
    }
}

#[test]
fn archives_are_unpacked_in_name_order_and_a_later_file_replaces_an_earlier_one() {
    let place = Place::new();
    place.put("b-patch.eti", &zip_of(&[("Data/game.dat", b"new".to_vec())]));
    place.put("a-base.eti", &seven(&[("data/GAME.dat", b"the old and longer one".to_vec()), ("x", b"x".to_vec())]));
    assert_eq!(place.unpack().unwrap().archives, 2);
    // Under the name that it had, so that it is one file also where case counts.
    place.assert_unpacked(&[("data/GAME.dat", b"new".to_vec()), ("x", b"x".to_vec())]);
}

/// A program that unpacks itself, as far as it matters here: it names what it looks for.
fn stub() -> Vec<u8> {
    let magics = b"Rar!\x1a\x07\0 Rar!\x1a\x07\x01\0 7z\xbc\xaf\x27\x1c PK\x03\x04\xff\xff";
    [b"MZ", &noise(70_000)[..], magics, &noise(5_000)].concat()
}

#[test]
fn an_eti_is_an_archive_also_behind_a_program_that_unpacks_itself() {
    let mut archives = every_format();
    archives.retain(|(format, _)| !format.starts_with("tar"));
    archives.push(("rar4", data("rar4-compressed.rar")));
    archives.push(("rar 1.5", data("rar15-compressed.rar")));
    for (format, archive) in archives {
        let bare = Place::new();
        bare.put("game.eti", &archive);
        bare.unpack().unwrap();
        for name in ["game.eti", "GAME.Eti"] {
            let place = Place::new();
            place.put(name, &[stub(), archive.clone()].concat());
            assert!(has_archives(&place.root()).unwrap(), "{format}");
            assert_eq!(place.unpack().unwrap_or_else(|e| panic!("{format}: {e}")).archives, 1);
            assert!(place.unpacked() == bare.unpacked(), "{format}");
            assert_eq!(place.declared().unwrap(), bare.declared().unwrap(), "{format}");
        }
        // A program is what it is.
        let place = Place::new();
        place.put("setup.exe", &[stub(), archive].concat());
        assert!(!has_archives(&place.root()).unwrap(), "{format}");
    }
}

#[test]
fn the_first_volume_may_stand_behind_a_program_too() {
    let volumes = rar(ArchiveVersion::Rar50, false, true).volume_size(Some(60_000)).build_volumes(None).unwrap();
    let place = Place::new();
    for (at, volume) in volumes.iter().enumerate() {
        let stub = if at == 0 { stub() } else { Vec::new() };
        place.put(&format!("game.part{}.eti", at + 1), &[stub, volume.clone()].concat());
    }
    assert_eq!(place.unpack().unwrap().archives, 1);
    place.assert_unpacked(&game());
}

#[test]
fn the_methods_of_7_zips_dialogue_are_read() {
    let text = b"hello ".repeat(3_000);
    for zip in ["zip-lzma.zip", "zip-xz.zip", "zip-ppmd.zip"] {
        let place = Place::new();
        place.put(zip, &data(zip));
        place.unpack().unwrap_or_else(|e| panic!("{zip}: {e}"));
        place.assert_unpacked(&[("data/readme.txt", text.clone())]);
    }
    let archive = data("deflate64.7z");
    let place = Place::new();
    place.put("game.7z", &archive);
    place.unpack().unwrap();
    let level: Vec<u8> = (0..5_000_u64).map(|i| (i * i % 251) as u8).collect();
    place.assert_unpacked(&[("data/maps/level.dat", level), ("data/readme.txt", text), ("empty.dat", Vec::new())]);
    assert!(place.staging_path().join("folder").is_dir());
    // A program is filtered first: jumps from different places to one place become the same bytes.
    let code: Vec<u8> = (0..200_u32)
        .flat_map(|i| [b"UH\x89\xe5\xe8".as_slice(), &(i * 37 % 5_000).to_le_bytes(), &[0xc3; 7]].concat())
        .collect();
    let place = Place::new();
    place.put("game.7z", &data("deflate64-bcj.7z"));
    place.unpack().unwrap();
    place.assert_unpacked(&[("run.exe", [b"MZ", &code[..]].concat())]);
    // Its packed bytes come first, behind 32 bytes of header.
    for at in [40, 120, 200] {
        let mut damaged = archive.clone();
        damaged[at] ^= 1;
        let place = Place::new();
        place.put("game.7z", &damaged);
        place.refused(BadArchive, "damaged");
    }
}

#[test]
fn a_file_that_was_cut_into_parts_is_one_archive() {
    for (format, archive) in every_format() {
        let size = archive.len() / 3 + 1;
        let parts: Vec<&[u8]> = archive.chunks(size).collect();
        assert_eq!(parts.len(), 3, "{format}");
        for missing in 0..=3 {
            let place = Place::new();
            for (part, number) in parts.iter().zip(1..).filter(|(_, number)| *number != missing) {
                place.put(&format!("Game.bin.{number:03}"), part);
            }
            match missing {
                0 => {
                    let unpacked = place.unpack().unwrap_or_else(|e| panic!("{format}: {e}"));
                    assert_eq!(unpacked.archives, 1, "{format}");
                    place.assert_unpacked(&game());
                    assert_eq!(place.declared().unwrap().is_some(), !format.starts_with("tar"), "{format}");
                }
                // What is left begins like nothing.
                1 => assert!(!has_archives(&place.root()).unwrap(), "{format}"),
                2 => place.refused(BadArchive, "part 2, before Game.bin.003, is missing"),
                _ => place.refused(BadArchive, "2 were found, up to Game.bin.002: is one missing?"),
            }
        }
    }
}

#[test]
fn archives_with_numbers_for_extensions_are_not_taken_for_parts() {
    let place = Place::new();
    place.put("disc.001", &zip_of(&[("one.dat", b"1".to_vec())]));
    place.put("disc.002", &zip_of(&[("two.dat", b"2".to_vec())]));
    place.put("disc.004", &seven(&[("four.dat", b"4".to_vec())]));
    assert_eq!(place.unpack().unwrap().archives, 3);
    place.assert_unpacked(&[("one.dat", b"1".to_vec()), ("two.dat", b"2".to_vec()), ("four.dat", b"4".to_vec())]);
    // A tar may be cut just where an entry begins.
    let tar = tar_of(&[("one.dat", noise(512)), ("two.dat", noise(512))]);
    let place = Place::new();
    tar.chunks(1_024).enumerate().for_each(|(at, part)| place.put(&format!("game.tar.{:03}", at + 1), part));
    assert_eq!(place.unpack().unwrap().archives, 1);
    place.assert_unpacked(&[("one.dat", noise(512)), ("two.dat", noise(512))]);
}

#[test]
fn what_a_mac_keeps_beside_an_archive_is_none() {
    let place = Place::new();
    place.put("game.eti", &zip_of(&game()));
    place.put("._game.eti", b"\x00\x05\x16\x07 of a Mac");
    assert_eq!(place.unpack().unwrap().archives, 1);
    place.assert_unpacked(&game());
    // Nor is a copy of what is left out.
    let place = Place::new();
    let rar = Rar5::new().file("a/Thumbs.db", b"x", 0o100_644).redirection("b/Thumbs.db", 5, "a/Thumbs.db");
    place.put("game.rar", &rar.file("a/x.dat", b"x", 0o100_644).end());
    place.unpack().unwrap();
    place.assert_unpacked(&[("a/x.dat", b"x".to_vec())]);
}

#[test]
fn a_zip_that_was_split_in_its_own_way_is_refused_with_what_to_do() {
    let place = Place::new();
    place.put("game.z01", &[b"PK\x07\x08", &zip_of(&game())[..]].concat());
    place.put("game.zip", &noise(1_000));
    assert!(has_archives(&place.root()).unwrap());
    place.refused(BadArchive, "zip -s 0");
}

#[test]
fn the_first_volume_may_be_a_program_by_its_name_too() {
    let volumes = rar(ArchiveVersion::Rar50, false, true).volume_size(Some(60_000)).build_volumes(None).unwrap();
    let old_name = |at: usize| if at == 0 { "EXE".to_owned() } else { format!("r{:02}", at - 1) };
    let new_name = |at: usize| format!("part{}.{}", at + 1, if at == 0 { "exe" } else { "rar" });
    let names: [&dyn Fn(usize) -> String; 2] = [&old_name, &new_name];
    for name in names {
        let place = Place::new();
        // A program of the game beside it is none.
        place.put("game2.exe", &stub());
        for (at, volume) in volumes.iter().enumerate() {
            let stub = if at == 0 { stub() } else { Vec::new() };
            place.put(&format!("game2.{}", name(at)), &[stub, volume.clone()].concat());
        }
        assert_eq!(place.unpack().unwrap_or_else(|e| panic!("{}: {e}", name(0))).archives, 1);
        place.assert_unpacked(&game());
        std::fs::remove_file(place.base().join(format!("game/root/game2.{}", name(0)))).unwrap();
        let place_words = place.unpack().unwrap_err().message;
        assert!(place_words.contains("a volume is missing: the first one"), "{place_words}");
        assert!(place_words.contains("an .exe instead"), "{place_words}");
    }
}

#[test]
fn volumes_with_old_names_are_one_set_also_with_a_digit_in_their_name() {
    let volumes = rar(ArchiveVersion::Rar50, false, true).volume_size(Some(60_000)).build_volumes(None).unwrap();
    for name in ["quake", "quake3", "part1"] {
        let place = Place::new();
        for (at, volume) in volumes.iter().enumerate() {
            let extension = if at == 0 { "rar".to_owned() } else { format!("r{:02}", at - 1) };
            place.put(&format!("{name}.{extension}"), volume);
        }
        assert_eq!(place.unpack().unwrap_or_else(|e| panic!("{name}: {e}")).archives, 1);
        place.assert_unpacked(&game());
    }
}

#[test]
fn what_desktops_and_macs_add_is_left_out() {
    let added = ["__MACOSX/data/._setup.exe", "data/.DS_Store", "Thumbs.db", "data/desktop.ini", "._setup.exe"];
    let mut files = game();
    files.extend(added.map(|name| (name, noise(3_000))));
    let tar = tar_of(&files);
    for (format, archive) in [("zip", zip_of(&files)), ("7z", seven(&files)), ("tar", tar)] {
        let place = Place::new();
        place.put("game.eti", &archive);
        place.unpack().unwrap_or_else(|e| panic!("{format}: {e}"));
        place.assert_unpacked(&game());
    }
}

#[test]
fn empty_components_of_a_name_mean_nothing() {
    for name in ["a//b.txt", "/a/b.txt", "./a/./b.txt", "a\\\\b.txt"] {
        for archive in [zip_of(&[(name, b"x".to_vec())]), seven(&[(name, b"x".to_vec())])] {
            let place = Place::new();
            place.put("game.eti", &archive);
            place.unpack().unwrap_or_else(|e| panic!("{name}: {e}"));
            place.assert_unpacked(&[("a/b.txt", b"x".to_vec())]);
        }
    }
    let place = Place::new();
    place.put("game.eti", &tar_raw(&[("/", b'5', b""), ("//a.txt", b'0', b"x")]));
    place.unpack().unwrap();
    place.assert_unpacked(&[("a.txt", b"x".to_vec())]);
}

#[test]
fn an_eti_that_is_no_archive_known_here_is_refused_with_its_name() {
    let too_deep = [b"MZ".to_vec(), vec![0; 1 << 20], zip_of(&game())].concat();
    let unknown: [(&str, &[u8]); 8] = [
        ("empty", b""),
        ("a text", b"just a text"),
        ("a program", &stub()),
        ("WIM", b"MSWIM\0\0\0\xd0\0\0\0"),
        ("lz4", b"\x04\x22\x4d\x18\x64\x40\xa7"),
        ("lzip", b"LZIP\x01\x0c"),
        ("lz4 behind a frame to be skipped", b"\x50\x2a\x4d\x18\x04\0\0\0abcd\x04\x22\x4d\x18"),
        ("an archive too far behind", &too_deep),
    ];
    for (what, bytes) in unknown {
        let place = Place::new();
        place.put("Game.ETI", bytes);
        // One that is good beside it does not help.
        place.put("z.zip", &zip_of(&game()));
        place.refused(BadArchive, "Game.ETI");
        place.refused(BadArchive, "RAR, ZIP, 7z, tar, gzip, xz, bzip2, zstd");
        let error = place.declared().expect_err(what);
        assert_eq!(error.kind, BadArchive, "{what}");
        let error = has_archives(&place.root()).expect_err(what);
        assert!(error.kind == BadArchive && error.message.contains("Game.ETI"), "{what}: {error}");
        assert!(place.unpacked().is_empty(), "{what}");
    }
}

#[test]
fn zstd_may_begin_with_frames_that_are_skipped() {
    let skipped = |kind: u8, len: usize| {
        [&[kind, 0x2a, 0x4d, 0x18], &u32::try_from(len).unwrap().to_le_bytes()[..], &vec![7; len]].concat()
    };
    let tar = archive_support::zstd(&tar_of(&game()));
    for before in [skipped(0x50, 4), skipped(0x5f, 0), [skipped(0x51, 3000), skipped(0x50, 4)].concat()] {
        let place = Place::new();
        place.put("game.tar.zst", &[before, tar.clone()].concat());
        assert!(has_archives(&place.root()).unwrap());
        place.unpack().unwrap();
        place.assert_unpacked(&game());
    }
    // Any number of frames costs no more than a few.
    let place = Place::new();
    place.put("many", &[skipped(0x50, 0).repeat(10_000), tar].concat());
    assert!(!has_archives(&place.root()).unwrap());
}

#[test]
fn a_tar_from_before_there_was_a_magic_is_known_by_its_checksum() {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in [("dir/a.txt", &b"old"[..]), ("b", b"")] {
        let mut header = tar::Header::new_old();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    }
    let tar = tar.into_inner().unwrap();
    for (name, bytes) in [("game.eti", tar.clone()), ("game.tar", tar.clone()), ("game.tgz", gzip(&tar))] {
        let place = Place::new();
        place.put(name, &bytes);
        assert!(has_archives(&place.root()).unwrap(), "{name}");
        place.unpack().unwrap();
        place.assert_unpacked(&[("dir/a.txt", b"old".to_vec()), ("b", Vec::new())]);
    }
    let mut wrong = tar;
    wrong[0] ^= 1;
    let place = Place::new();
    place.put("game.tar", &wrong);
    assert!(!has_archives(&place.root()).unwrap());
}

#[test]
fn a_root_without_archives_unpacks_to_nothing() {
    let place = Place::new();
    place.put("game.rar", b"a text that only has the name of an archive");
    place.put("BZh9.txt", b"BZh9 is not enough");
    assert!(!has_archives(&place.root()).unwrap());
    assert_eq!(place.unpack().unwrap(), Unpacked::default());
}

#[test]
fn what_is_compressed_and_no_tar_is_one_file() {
    let place = Place::new();
    place.put("map.bsp.gz", &gzip(b"a map"));
    place.unpack().unwrap();
    place.assert_unpacked(&[("map.bsp", b"a map".to_vec())]);
}

#[test]
fn the_names_of_the_installed_tree_are_free_but_for_the_marks_of_ownership() {
    let place = Place::new();
    place.put("a.eti", &zip_of(&[("local/x.txt", b"x".to_vec()), ("./version.ini", b"v".to_vec())]));
    place.unpack().unwrap();
    place.assert_unpacked(&[("local/x.txt", b"x".to_vec()), ("version.ini", b"v".to_vec())]);
    // It lies in every installation, also in one that somebody made an archive of; installing replaces it.
    let place = Place::new();
    let installation = [("x.txt", b"x".to_vec()), (".lanspread_installed", b"0000000000000007\n".to_vec())];
    place.put("a.eti", &zip_of(&installation));
    place.unpack().unwrap();
    place.assert_unpacked(&installation);
    // The last is the first where a file system folds case by Unicode's rules.
    for mark in [".lanspread_owned", ".LANSPREAD_OWNED", ".lanspread.json", "./.lanspread/x", ".lan\u{17f}pread_owned"]
    {
        for archive in [zip_of(&[(mark, b"mine".to_vec())]), tar_of(&[(mark, b"mine".to_vec())])] {
            let place = Place::new();
            place.put("a.eti", &archive);
            place.refused(UnsafePath, "reserved");
            assert!(place.unpacked().is_empty(), "{mark}");
        }
    }
}

#[test]
fn an_entry_that_leads_outside_is_refused_in_every_format() {
    let names = [
        "../outside.txt",
        "a/../../outside.txt",
        "..\\outside.txt",
        "C:\\outside.txt",
        "C:outside.txt",
        "a/..",
        "nul",
        "x/con.txt",
        "a:stream",
        "tail. ",
        "line\nbreak",
    ];
    for name in names {
        let archives = [
            ("zip", archive_support::zip_named(name, b"bad", 0o100_644)),
            ("7z", archive_support::seven_named(name, b"bad")),
            ("tar", tar_raw(&[(name, b'0', b"bad")])),
            ("tar.gz", gzip(&tar_raw(&[(name, b'0', b"bad")]))),
            ("rar5", Rar5::new().file(name, b"bad", 0o100_644).end()),
            ("rar5 directory", Rar5::new().dir(name).end()),
        ];
        for (format, archive) in archives {
            let place = Place::new();
            place.put("game.eti", &archive);
            let error = place.unpack().expect_err(&format!("{format}: {name:?} was unpacked"));
            assert_eq!(error.kind, UnsafePath, "{format}: {name:?}: {error}");
            assert!(error.message.contains("game.eti"), "{error}");
            place.assert_nothing_outside();
            assert!(place.unpacked().is_empty(), "{format}: {name:?}");
        }
    }
}

/// Names on PCs of several countries, and the code page that they are in.
fn national_names() -> Vec<(&'static str, Vec<&'static str>, &'static encoding_rs::Encoding)> {
    vec![
        ("0x5C in Japanese", vec!["ソフト/表.txt", "ソフト/能力表"], encoding_rs::SHIFT_JIS),
        ("0x7C in Japanese", vec!["ポケット/game.txt"], encoding_rs::SHIFT_JIS),
        ("0x5C in traditional Chinese", vec!["三國志/許功蓋", "遊戲說明.txt"], encoding_rs::BIG5),
        ("Chinese", vec!["游戏说明/安装.txt"], encoding_rs::GBK),
        ("Korean", vec!["스타크래프트/설명서.txt"], encoding_rs::EUC_KR),
        ("Russian", vec!["Сохранения/Уровень 1.sav"], encoding_rs::IBM866),
        ("western Windows", vec!["Übersicht/Größe.txt", "Señor.txt"], encoding_rs::WINDOWS_1252),
    ]
}

#[test]
fn names_in_a_national_code_page_are_decoded_before_they_are_split() {
    for (what, names, encoding) in national_names() {
        let files: Vec<(Vec<u8>, Vec<u8>)> =
            names.iter().map(|name| (encoding.encode(name).0.into_owned(), name.as_bytes().to_vec())).collect();
        let mut rar = Builder::new(ArchiveVersion::Rar29).store(true);
        for (name, bytes) in &files {
            // Windows writes names with its own separator.
            let mut decoded = encoding.decode(name).0.into_owned();
            decoded = decoded.replace('/', "\\");
            rar.add_bytes(encoding.encode(&decoded).0.into_owned(), bytes.clone(), None, None).unwrap();
        }
        let rar = [rar.to_bytes().unwrap(), b"\xc4\x3d\x7b\x00\x40\x07\x00".to_vec()].concat();
        for (format, archive) in [("zip", archive_support::zip_raw(&files, &[])), ("rar4", rar)] {
            let place = Place::new();
            place.put("game.eti", &archive);
            place.unpack().unwrap_or_else(|e| panic!("{format}, {what}: {e}"));
            let expected: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (*name, name.as_bytes().to_vec())).collect();
            place.assert_unpacked(&expected);
        }
    }
}

#[test]
fn a_name_in_unicode_beside_the_other_counts_if_its_checksum_is_right() {
    let raw = encoding_rs::SHIFT_JIS.encode("ソフト.txt").0.into_owned();
    let unicode = |crc: u32| {
        let body = [&[1][..], &crc.to_le_bytes(), "Ünïcode.txt".as_bytes()].concat();
        [&[0x75, 0x70][..], &u16::try_from(body.len()).unwrap().to_le_bytes(), &body].concat()
    };
    let mut crc = flate2::Crc::new();
    crc.update(&raw);
    for (crc, name) in [(crc.sum(), "Ünïcode.txt"), (crc.sum() ^ 1, "ソフト.txt")] {
        let place = Place::new();
        place.put("game.zip", &archive_support::zip_raw(&[(raw.clone(), b"x".to_vec())], &unicode(crc)));
        place.unpack().unwrap();
        place.assert_unpacked(&[(name, b"x".to_vec())]);
    }
}

#[test]
fn names_of_the_first_pcs_and_names_that_lead_outside_are_what_they_were() {
    let place = Place::new();
    let files = [(b"\x9aber\\Stra\xe1e.map".to_vec(), b"x".to_vec()), (b"caf\x82.txt".to_vec(), b"y".to_vec())];
    place.put("game.zip", &archive_support::zip_raw(&files, &[]));
    place.unpack().unwrap();
    place.assert_unpacked(&[("Über/Straße.map", b"x".to_vec()), ("café.txt", b"y".to_vec())]);
    for bad in [&b"..\\"[..], b"../", b"a\\..\\..\\", b"C:\\"] {
        let name = [bad, &encoding_rs::SHIFT_JIS.encode("ソフト").0].concat();
        let place = Place::new();
        place.put("game.zip", &archive_support::zip_raw(&[(name, b"x".to_vec())], &[]));
        place.refused(UnsafePath, "game.zip");
        assert!(place.unpacked().is_empty());
    }
}

#[test]
fn links_and_devices_are_refused_by_name() {
    let mut zip_link = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip_link.add_symlink("link", "/etc", zip::write::SimpleFileOptions::default()).unwrap();
    let rar4_link = {
        let mut builder = Builder::new(ArchiveVersion::Rar29);
        builder.add_unix_symlink(b"link".to_vec(), b"/etc".to_vec(), false, None, None).unwrap();
        // The end that RAR writes and the builder does not.
        [builder.to_bytes().unwrap(), b"\xc4\x3d\x7b\x00\x40\x07\x00".to_vec()].concat()
    };
    let archives = [
        ("zip link", zip_link.finish().unwrap().into_inner()),
        ("zip device", archive_support::zip_named("link", b"", 0o020_644)),
        ("tar symlink", tar_raw(&[("link", b'2', b""), ("link/x", b'0', b"through it")])),
        ("tar hard link", tar_raw(&[("a", b'0', b"a"), ("link", b'1', b"")])),
        ("tar character device", tar_raw(&[("link", b'3', b"")])),
        ("tar block device", tar_raw(&[("link", b'4', b"")])),
        ("tar pipe", tar_raw(&[("link", b'6', b"")])),
        ("rar5 symlink", Rar5::new().redirection("link", 1, "/etc").file("link/x", b"x", 0o100_644).end()),
        ("rar5 windows link", Rar5::new().redirection("link", 2, "C:/").end()),
        ("rar5 junction", Rar5::new().redirection("link", 3, "C:/").end()),
        ("rar5 hard link", Rar5::new().redirection("link", 4, "a").end()),
        ("rar5 device", Rar5::new().file("link", b"", 0o060_644).end()),
        ("rar4 symlink", rar4_link),
        ("rar's own symlink", data("rar5-symlink.rar")),
        ("rar's own hard link", data("rar5-hardlink.rar")),
    ];
    for (what, archive) in archives {
        let place = Place::new();
        place.put("game.eti", &archive);
        let error = place.unpack().expect_err(what);
        assert_eq!(error.kind, UnsafePath, "{what}: {error}");
        assert!(error.message.contains("link"), "{what}: {error}");
        place.assert_nothing_outside();
    }
}

#[test]
fn a_copy_in_a_rar_is_a_file_and_only_of_one_that_came_before() {
    let place = Place::new();
    place.put("a.rar", &Rar5::new().file("a", b"twice", 0o100_644).redirection("sub/b", 5, "a").end());
    place.unpack().unwrap();
    place.assert_unpacked(&[("a", b"twice".to_vec()), ("sub/b", b"twice".to_vec())]);
    for target in ["later", "../secret", "/etc/passwd"] {
        let place = Place::new();
        place.put("a.rar", &Rar5::new().redirection("b", 5, target).file("later", b"x", 0o100_644).end());
        place.refused(UnsafePath, "");
    }
}

#[test]
fn names_that_are_one_on_some_pcs_are_refused() {
    let twice = |a: &'static str, b: &'static str| [(a, b"1".to_vec()), (b, b"2".to_vec())];
    for (a, b) in [("Data.txt", "data.TXT"), ("a", "a"), ("a", "a/b"), ("A/b", "a"), ("Ä", "A\u{308}")] {
        for (format, archive) in [("tar", tar_of(&twice(a, b))), ("7z", seven(&twice(a, b)))] {
            let place = Place::new();
            place.put("game.eti", &archive);
            let error = place.unpack().expect_err(&format!("{format}: {a} and {b}"));
            assert_eq!(error.kind, BadArchive, "{format}: {error}");
        }
    }
    let place = Place::new();
    place.put("a.zip", &archive_support::zip_twice("same"));
    place.refused(BadArchive, "");
}

#[test]
fn directories_that_differ_in_case_are_one() {
    let place = Place::new();
    place.put("a.eti", &zip_of(&[("Data/a", b"a".to_vec()), ("data/b", b"b".to_vec())]));
    place.unpack().unwrap();
    place.assert_unpacked(&[("Data/a", b"a".to_vec()), ("Data/b", b"b".to_vec())]);
}

#[test]
fn what_unpacks_to_too_much_is_refused_while_it_unpacks() {
    let zeros = vec![0; 3 << 20];
    let tar = tar_of(&[("zeros", zeros.clone())]);
    let archives = [
        ("rar", {
            let mut builder = Builder::new(ArchiveVersion::Rar50);
            builder.add_bytes(b"zeros".to_vec(), zeros.clone(), None, None).unwrap();
            builder.to_bytes().unwrap()
        }),
        ("zip", zip_of(&[("zeros", zeros.clone())])),
        ("7z", seven(&[("zeros", zeros.clone())])),
        ("tar.gz", gzip(&tar)),
        ("gz", gzip(&zeros)),
        ("tar.gz of headers", gzip(&tar_raw(&vec![("", b'g', b"".as_slice()); 9000]))),
    ];
    for (format, archive) in archives {
        for limits in [
            ArchiveLimits { max_bytes: 1 << 20, ..ArchiveLimits::default() },
            ArchiveLimits { max_ratio: 2, free_bytes: 1 << 20, ..ArchiveLimits::default() },
        ] {
            let place = Place::new();
            place.put("bomb", &archive);
            let error = place.unpack_within(&limits).expect_err(format);
            assert_eq!(error.kind, BadArchive, "{format}: {error}");
            assert!(error.message.contains("more than"), "{format}: {error}");
            let written: usize = place.unpacked().values().map(Vec::len).sum();
            assert!(written <= 2 << 20, "{format}: {written} bytes were written");
        }
    }
}

#[test]
fn too_many_entries_are_refused() {
    let files: Vec<_> = ["a", "b", "c", "d"].into_iter().map(|name| (name, Vec::new())).collect();
    for (format, archive) in [("zip", zip_of(&files)), ("tar", tar_of(&files)), ("7z", seven(&files))] {
        let place = Place::new();
        place.put("many", &archive);
        let error =
            place.unpack_within(&ArchiveLimits { max_entries: 3, ..ArchiveLimits::default() }).expect_err(format);
        assert!(error.kind == BadArchive && error.message.contains("more than 3 entries"), "{format}: {error}");
        assert_eq!(place.unpacked().is_empty(), format != "tar", "{format}: its entries are listed first");
    }
}

#[test]
fn encrypted_archives_say_so() {
    let files = ["rar4-encrypted.rar", "rar4-encrypted-names.rar", "rar5-encrypted.rar", "rar5-encrypted-names.rar"];
    let encrypted = files.map(|name| (name, data(name)));
    for (name, archive) in encrypted.into_iter().chain([("zip", archive_support::zip_marked(1))]) {
        let place = Place::new();
        place.put("secret.eti", &archive);
        let error = place.unpack().expect_err(name);
        assert!(error.kind == BadArchive && error.message.contains("encrypted"), "{name}: {error}");
        assert!(error.message.contains("secret.eti"), "{name}: {error}");
    }
}

#[test]
fn a_tar_that_says_of_its_bytes_what_is_not_known_is_refused_by_name() {
    let sparse_0_0: &[(&str, &str)] = &[("GNU.sparse.size", "9"), ("GNU.sparse.offset", "4")];
    let sparse_0_1: &[(&str, &str)] = &[("GNU.sparse.name", "in/disk.img"), ("GNU.sparse.map", "0,4")];
    let sparse_1_0: &[(&str, &str)] =
        &[("GNU.sparse.major", "1"), ("GNU.sparse.name", "in/disk.img"), ("GNU.sparse.realsize", "9")];
    let cases: [(&[(&str, &str)], &str); 8] = [
        (sparse_0_0, "the entry \"in/stand-in\" is stored sparse (GNU.sparse), which is not read: pack it without -S"),
        (sparse_0_1, "the entry \"in/disk.img\" is stored sparse"),
        (sparse_1_0, "the entry \"in/disk.img\" is stored sparse"),
        (&[("SCHILY.realsize", "9")], "is stored sparse"),
        (&[("GNU.volume.offset", "9")], "\"GNU.volume.offset\", which is not known"),
        (&[("GNU.later", "1")], "\"GNU.later\", which is not known"),
        (&[("hdrcharset", "ISO-IR 8859 1 1998")], "\"hdrcharset\", which is not known"),
        (&[("encoding", "x")], "\"encoding\", which is not known"),
    ];
    for (records, words) in cases {
        for (kind, words) in [(b'x', words), (b'g', "all entries")] {
            let tar = archive_support::tar_pax(kind, records, "in/stand-in", b"what is left");
            for archive in [gzip(&tar), tar] {
                let place = Place::new();
                place.put("game.tgz", &archive);
                place.refused(BadArchive, words);
                assert!(place.unpacked().is_empty(), "{records:?}");
            }
        }
    }
    // For all entries, what is said of one.
    for record in [("path", "elsewhere"), ("size", "3"), ("linkpath", "x")] {
        let place = Place::new();
        place.put("game.tar", &archive_support::tar_pax(b'g', &[record], "in/stand-in", b"what is left"));
        place.refused(BadArchive, record.0);
    }
    for kind in [b'M', b'D', b'N', b'?'] {
        let place = Place::new();
        place.put("game.tar", &tar_raw(&[("in/part", kind, b"x")]));
        place.refused(BadArchive, "\"in/part\" is of a kind that is not known");
    }
}

#[test]
fn a_header_for_one_entry_is_not_lost_to_one_for_all() {
    let own = archive_support::tar_pax(b'x', &[("path", "right")], "wrong", b"x");
    let all = archive_support::tar_pax(b'g', &[("comment", "c")], "wrong", b"x");
    // The header for one entry with its records, that for all, then the entry.
    let place = Place::new();
    place.put("game.tar", &[&own[..1024], &all].concat());
    place.refused(BadArchive, "stands between");
}

#[test]
fn a_tar_that_says_of_its_files_what_does_not_matter_is_unpacked() {
    let records: &[(&str, &str)] = &[
        ("mtime", "1700000000.5"),
        ("uname", "me"),
        ("comment", "of git"),
        ("hdrcharset", "BINARY"),
        ("SCHILY.xattr.user.x", "1"),
        ("LIBARCHIVE.creationtime", "1"),
        ("MSWINDOWS.rawsd", "AQ=="),
    ];
    for kind in [b'x', b'g'] {
        let place = Place::new();
        let tar = archive_support::tar_pax(kind, records, "a", b"bytes");
        place.put("game.tar", &[tar_raw(&[("label", b'V', b"")])[..512].to_vec(), tar].concat());
        place.unpack().unwrap();
        place.assert_unpacked(&[("a", b"bytes".to_vec())]);
    }
    let place = Place::new();
    place.put("game.tar", &archive_support::tar_pax(b'x', &[("path", "long/name"), ("size", "5")], "a", b"bytes"));
    place.unpack().unwrap();
    place.assert_unpacked(&[("long/name", b"bytes".to_vec())]);
}

#[test]
fn a_zip_whose_entries_are_no_bytes_of_files_is_refused_by_name() {
    for (bit, words) in [
        (0, "is encrypted"),
        (5, "is a patch of another file"),
        (6, "is encrypted"),
        (12, "not known"),
        (13, "not known"),
        (15, "not known"),
    ] {
        let place = Place::new();
        place.put("game.zip", &archive_support::zip_marked(1 << bit));
        place.refused(
            BadArchive,
            &format!("the entry \"a\" {}", if words == "not known" { "is stored" } else { words }),
        );
    }
    // The end says that it is the second disk, with the directory on the first.
    for field in [4, 6] {
        let mut archive = zip_of(&game());
        let end = archive.len() - 22;
        archive[end + field] = 1;
        let place = Place::new();
        place.put("game.zip", &archive);
        place.refused(BadArchive, "game.zip");
    }
}

#[test]
fn a_7z_that_deletes_and_a_rar_that_redirects_somewhere_unknown_are_refused_by_name() {
    let place = Place::new();
    place.put("game.7z", &archive_support::seven_with_anti_item("gone.txt"));
    place.refused(BadArchive, "\"gone.txt\" deletes a file");
    for kind in [0, 6, 99] {
        let place = Place::new();
        place.put("game.rar", &Rar5::new().file("a", b"a", 0o100_644).redirection("b", kind, "a").end());
        place.refused(UnsafePath, "\"b\"");
        assert!(place.unpacked().is_empty());
    }
}

#[test]
fn an_archive_that_is_cut_off_anywhere_is_refused() {
    let mut archives = every_format();
    archives.push(("rar4", data("rar4-filter.rar")));
    archives.push(("rar 1.5", data("rar15-compressed.rar")));
    archives.push(("rar4 solid", data("rar4-solid.rar")));
    for (format, archive) in archives {
        // The magic of a tar lies at 257, and it ends in empty blocks and padding.
        let end = if format == "tar" { archive.len() - 1024 } else { archive.len() };
        let begin = if format == "tar" { 512 } else { 16 };
        let step = (end / 25).max(1);
        let cuts = (begin..end).step_by(step).chain([end - 1, end - 2, end - 7, end - 20]);
        for cut in cuts {
            let place = Place::new();
            place.put("game.eti", &archive[..cut]);
            match place.unpack() {
                Err(error) => assert_eq!(error.kind, BadArchive, "{format} of {cut} bytes: {error}"),
                Ok(unpacked) => panic!("{format}: {cut} of {} bytes unpacked to {unpacked:?}", archive.len()),
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_the_bytes_of_a_file_is_seen() {
    for (format, mut archive) in every_format().into_iter().filter(|(format, _)| *format != "tar") {
        let place = Place::new();
        // In the file that does not compress.
        let at = archive.len() / 3;
        archive[at] ^= 0x10;
        place.put("game.eti", &archive);
        let error = place.unpack().expect_err(format);
        assert_eq!(error.kind, BadArchive, "{format}: {error}");
    }
}

#[test]
fn garbage_after_the_magic_is_refused() {
    let magics: [&[u8]; 8] = [
        b"Rar!\x1a\x07\x00",
        b"Rar!\x1a\x07\x01\x00",
        b"PK\x03\x04",
        b"7z\xbc\xaf\x27\x1c",
        b"\x1f\x8b\x08",
        b"\xfd7zXZ\0",
        b"BZh9\x31\x41\x59\x26\x53\x59",
        b"\x28\xb5\x2f\xfd",
    ];
    for magic in magics {
        for len in [0, 1, 30, 3000] {
            let place = Place::new();
            place.put("garbage", &[magic, &noise(len)].concat());
            place.refused(BadArchive, "garbage");
        }
    }
}

#[cfg(unix)]
#[test]
fn the_executable_bit_is_kept() {
    use std::os::unix::fs::PermissionsExt;
    let rar = Rar5::new().file("run", b"x", 0o100_755).file("read", b"x", 0o100_644).end();
    let mut tar = tar::Builder::new(Vec::new());
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, mode) in [("run", 0o755), ("read", 0o644)] {
        let mut header = tar::Header::new_ustar();
        header.set_mode(mode);
        header.set_size(0);
        tar.append_data(&mut header, name, &b""[..]).unwrap();
        zip.start_file(name, zip::write::SimpleFileOptions::default().unix_permissions(mode)).unwrap();
    }
    for archive in [rar, tar.into_inner().unwrap(), zip.finish().unwrap().into_inner()] {
        let place = Place::new();
        place.put("a", &archive);
        place.unpack().unwrap();
        let exec = |name: &str| place.staging_path().join(name).metadata().unwrap().permissions().mode() & 0o100 != 0;
        assert!(exec("run") && !exec("read"));
    }
}

#[test]
fn a_request_to_cancel_ends_it() {
    let place = Place::new();
    place.put("game.eti", &every_format()[0].1);
    let error = place.unpack_until(&AtomicBool::new(true)).unwrap_err();
    assert_eq!(error.kind, Cancelled);
}

fn helper() -> Helper {
    Helper::new(env!("CARGO_BIN_EXE_lanspread"))
}

#[test]
fn the_child_process_unpacks_reports_progress_and_its_reasons() {
    let place = Place::new();
    let archive = zip_of(&[("big", noise(5 << 20))]);
    place.put("game.eti", &archive);
    let last = Cell::new((0, 0));
    let progress = |done, total| {
        assert!(done >= last.get().0 && done <= total);
        last.set((done, total));
    };
    let (limits, never) = (ArchiveLimits::default(), AtomicBool::new(false));
    let unpacked = helper().unpack_all(&place.root(), &place.staging(), &limits, &progress, &never).unwrap();
    assert_eq!(unpacked, Unpacked { archives: 1, files: 1, bytes: 5 << 20 });
    place.assert_unpacked(&[("big", noise(5 << 20))]);
    assert_eq!(last.get(), (archive.len() as u64, archive.len() as u64));
    assert_eq!(helper().declared_bytes(&place.root(), &limits, &never).unwrap(), Some(5 << 20));

    let place = Place::new();
    place.put("game.eti", &tar_raw(&[("../x", b'0', b"x")]));
    let error = helper().unpack_all(&place.root(), &place.staging(), &limits, &|_, _| {}, &never).unwrap_err();
    assert_eq!(error.kind, UnsafePath);
    assert!(error.message.contains("../x") && error.message.contains("game.eti"), "{error}");
}

#[test]
fn cancelling_kills_the_child_process() {
    let place = Place::new();
    place.put("game.eti", &zip_of(&[("big", noise(5 << 20))]));
    let cancel = AtomicBool::new(false);
    let progress = |_, _| cancel.store(true, Ordering::Relaxed);
    let limits = ArchiveLimits::default();
    let error = helper().unpack_all(&place.root(), &place.staging(), &limits, &progress, &cancel).unwrap_err();
    assert_eq!(error.kind, Cancelled);
}

#[cfg(unix)]
#[test]
fn a_child_process_that_dies_is_a_fault_of_the_archive_that_it_was_at() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let script = place.base().join("dies");
    std::fs::write(&script, "#!/bin/sh\nread request\necho '{\"archive\":{\"name\":\"evil.rar\"}}'\nkill -9 $$\n")
        .unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let (limits, never) = (ArchiveLimits::default(), AtomicBool::new(false));
    let helper = Helper::new(script);
    let error = helper.unpack_all(&place.root(), &place.staging(), &limits, &|_, _| {}, &never).unwrap_err();
    assert_eq!(error.kind, BadArchive);
    assert!(error.message.contains("the unpacker ended abnormally on evil.rar"), "{error}");
}

#[test]
fn the_child_process_cannot_write_outside_its_staging_directory() {
    let place = Place::new();
    let outside = place.base().join("outside.txt");
    let beside = place.root().path().join("beside.txt");
    for target in [&outside, &beside] {
        let probed = helper().probe(&place.root(), &place.staging(), &ArchiveLimits::default(), target).unwrap();
        assert!(probed.wrote_inside);
        assert_eq!(probed.wrote_outside, probed.confinement != Confinement::Landlock, "{probed:?}");
        assert!(kernel_has_landlock() == (probed.confinement == Confinement::Landlock), "{probed:?}");
    }
}

/// As the kernel itself tells: asked for the version of its interface, it answers with a number.
fn kernel_has_landlock() -> bool {
    #[cfg(target_os = "linux")]
    {
        const VERSION: libc::c_uint = 1;
        // SAFETY: with this flag the call takes no memory and changes nothing.
        let version = unsafe {
            libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0usize, VERSION)
        };
        version >= 1
    }
    #[cfg(not(target_os = "linux"))]
    false
}

#[test]
fn a_dictionary_beyond_the_memory_limit_is_refused() {
    let place = Place::new();
    let mut stream = zstd::Encoder::new(Vec::new(), 1).unwrap();
    stream.window_log(25).unwrap();
    stream.include_contentsize(false).unwrap();
    std::io::copy(&mut &noise(1 << 20)[..], &mut stream).unwrap();
    place.put("a.zst", &stream.finish().unwrap());
    let limits = ArchiveLimits { max_memory: 8 << 20, ..ArchiveLimits::default() };
    assert_eq!(place.unpack_within(&limits).unwrap_err().kind, BadArchive);
    place.unpack().unwrap();
}

#[test]
fn has_archives_does_not_wait_for_pipes_nor_follow_links() {
    let place = Place::new();
    #[cfg(unix)]
    {
        std::fs::write(place.base().join("real.zip"), zip_of(&game())).unwrap();
        std::os::unix::fs::symlink(place.base().join("real.zip"), place.root().path().join("link.zip")).unwrap();
        let pipe =
            std::ffi::CString::new(place.root().path().join("pipe").into_os_string().into_encoded_bytes()).unwrap();
        // SAFETY: the path ends in a NUL and outlives the call.
        assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
    }
    assert!(!has_archives(&Dir::open(Path::new(place.root().path())).unwrap()).unwrap());
}

#[test]
fn several_members_and_zeros_behind_the_last_are_one_stream() {
    let tar = tar_of(&game());
    let (half, zeros) = (tar.len() / 2, vec![0; 70_000]);
    type Pack = fn(&[u8]) -> Vec<u8>;
    for (name, pack) in [("game.tar.gz", gzip as Pack), ("game.tar.bz2", archive_support::bzip2 as Pack)] {
        let members = [pack(&tar[..half]), pack(&tar[half..])].concat();
        for bytes in [members.clone(), [&members[..], &zeros].concat(), [&pack(&tar)[..], &zeros[..1]].concat()] {
            let place = Place::new();
            place.put(name, &bytes);
            place.unpack().unwrap_or_else(|e| panic!("{name}, {} bytes: {e}", bytes.len()));
            place.assert_unpacked(&game());
        }
        // Anything else behind it is a fault, as is a stream that ends in the middle.
        for bytes in [
            [&members[..], b"and more"].concat(),
            [&members[..], &zeros, b"x"].concat(),
            pack(&tar)[..half / 9].to_vec(),
        ] {
            let place = Place::new();
            place.put(name, &bytes);
            assert!(place.unpack().is_err(), "{name}, {} bytes", bytes.len());
        }
    }
}

#[test]
fn a_folder_may_be_listed_twice_in_a_zip_and_a_file_may_not() {
    let zip = |folders: [&str; 2], files: [&str; 2]| {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let plain = zip::write::SimpleFileOptions::default();
        folders.iter().for_each(|folder| zip.add_directory(*folder, plain).unwrap());
        for file in files {
            zip.start_file(file, plain).unwrap();
            std::io::Write::write_all(&mut zip, file.as_bytes()).unwrap();
        }
        zip.finish().unwrap().into_inner()
    };
    let unpack = |bytes: &[u8]| {
        let place = Place::new();
        place.put("game.zip", bytes);
        place.unpack().map(|_| place)
    };
    let folders = archive_support::replace(&zip(["maps-1/", "maps-2/"], ["maps-1/a", "b"]), b"maps-2/", b"maps-1/");
    let place = unpack(&folders).unwrap_or_else(|e| panic!("{e}"));
    place.assert_unpacked(&[("maps-1/a", b"maps-1/a".to_vec()), ("b", b"b".to_vec())]);
    let files = archive_support::replace(&zip(["maps/", "more/"], ["file-1", "file-2"]), b"file-2", b"file-1");
    let refused = unpack(&files).map(drop).unwrap_err().to_string();
    assert!(refused.contains("two entries have the same name \"file-1\""), "{refused}");
    let both = archive_support::replace(&files, b"more/", b"maps/");
    assert!(unpack(&both).is_err());
}
