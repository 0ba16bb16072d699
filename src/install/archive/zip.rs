//! ZIP, also with more than 4 GiB.

use std::collections::HashSet;
use std::io::{self, Read, Seek, SeekFrom};

use xxhash_rust::xxh3::xxh3_128;
use zip::ZipArchive;
use zip::result::ZipError;

use super::context::Context;
use super::names::CodePage;
use super::sniff::ArchiveSet;
use super::source::Source;
use super::staging::{EntryType, Staging};
use super::{Step, io_words};
use crate::fs::Dir;

pub(super) struct Zip {
    archive: ZipArchive<Source>,
    page: CodePage,
}

impl Zip {
    pub(super) fn open(root: &Dir, set: &ArchiveSet, context: &Context) -> Step<Self> {
        let source = Source::open_whole(root, set, context).map_err(|e| e.to_string())?;
        let mut archive = ZipArchive::new(source).map_err(|e| words(&e))?;
        // The reader keeps one of each name.
        if archive.has_duplicate_names() {
            let directory = archive.central_directory_start();
            let mut source = archive.into_inner();
            refuse_files_listed_twice(&mut source, directory)?;
            archive = ZipArchive::new(source).map_err(|e| words(&e))?;
        }
        // The reader has put a name in Unicode in its place, where an entry has one with the right checksum.
        let page = CodePage::of(archive.file_names_raw());
        Ok(Self { archive, page })
    }

    pub(super) fn declared(&self) -> u64 {
        let sizes = (0..self.archive.len()).map(|at| self.archive.by_index_data(at).map_or(0, |entry| entry.size()));
        sizes.fold(0, u64::saturating_add)
    }

    pub(super) fn unpack(mut self, staging: &Staging) -> Step<()> {
        staging.check_count(self.archive.len())?;
        if self.archive.has_overlapping_files().map_err(|e| words(&e))? {
            return Err("entries lie over one another".to_owned());
        }
        for at in 0..self.archive.len() {
            let entry = self.archive.by_index_data(at).map_err(|e| words(&e))?;
            let name = self.page.decode(entry.name_raw());
            let kind = EntryType::of_unix_mode(entry.unix_mode().unwrap_or(0), name.ends_with(['/', '\\']));
            staging.check(&name, kind)?;
            check_flags(&name, entry.flags().as_u16())?;
            let size = entry.size();
            match kind {
                EntryType::File { exec } => {
                    let mut from =
                        self.archive.by_index(at).map_err(|e| format!("the entry {name:?}: {}", words(&e)))?;
                    let copied = staging.copy_file(&name, exec, &mut from)?;
                    if copied != size {
                        return Err(format!("the entry {name:?} has {copied} bytes, and should have {size}"));
                    }
                }
                _ => staging.make_dir(&name)?,
            }
        }
        Ok(())
    }
}

/// Which of two files of one name counts, nobody can tell; a folder that is listed twice is one all the same. Reads the headers of the central
/// directory, which begins here (APPNOTE.TXT 6.3.10, section 4.3.12).
fn refuse_files_listed_twice(source: &mut Source, directory: u64) -> Step<()> {
    const SIGNATURE: [u8; 4] = *b"PK\x01\x02";
    /// What follows the signature, up to the name.
    const HEADER: usize = 42;
    /// Where the lengths of name, extra field and comment stand in it.
    const LENGTHS: [usize; 3] = [24, 26, 28];
    let failed = |e: io::Error| io_words(&e);
    source.seek(SeekFrom::Start(directory)).map_err(failed)?;
    let (mut signature, mut header, mut seen) = ([0; SIGNATURE.len()], [0; HEADER], HashSet::new());
    loop {
        source.read_exact(&mut signature).map_err(failed)?;
        if signature != SIGNATURE {
            return Ok(());
        }
        source.read_exact(&mut header).map_err(failed)?;
        let [name, extra, comment] = LENGTHS.map(|at| usize::from(u16::from_le_bytes([header[at], header[at + 1]])));
        let mut rest = vec![0; name + extra + comment];
        source.read_exact(&mut rest).map_err(failed)?;
        rest.truncate(name);
        if !rest.ends_with(b"/") && !rest.ends_with(b"\\") && !seen.insert(xxh3_128(&rest)) {
            return Err(format!("two entries have the same name {:?}", String::from_utf8_lossy(&rest)));
        }
    }
}

/// Refuses what is not stored as the bytes of a file.
fn check_flags(name: &str, flags: u16) -> Step<()> {
    const ENCRYPTED: u16 = 1 | 1 << 6;
    const PATCH: u16 = 1 << 5;
    const MASKED: u16 = 1 << 13;
    /// Reserved for ways to compress that nobody has described.
    const RESERVED: u16 = 1 << 12 | 1 << 14 | 1 << 15;
    if flags & ENCRYPTED != 0 {
        return Err(format!("the entry {name:?} is encrypted"));
    }
    if flags & PATCH != 0 {
        return Err(format!("the entry {name:?} is a patch of another file, which is not read"));
    }
    if flags & (MASKED | RESERVED) != 0 {
        return Err(format!("the entry {name:?} is stored in a way that is not known (flags {flags:#06x})"));
    }
    Ok(())
}

fn words(error: &ZipError) -> String {
    match error {
        ZipError::Io(error) => io_words(error),
        ZipError::CompressionMethodNotSupported(method) => {
            format!("it is packed with method {method}, which is not read here; pack it anew with Deflate")
        }
        ZipError::UnsupportedArchive(what) => format!("it is of a kind that is not read here: {what}"),
        ZipError::InvalidArchive(what) => format!("it is damaged or cut off: {what}"),
        error => error.to_string(),
    }
}
