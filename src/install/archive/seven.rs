//! 7z.

use sevenz_rust2::{Archive, ArchiveEntry, ArchiveReader, EncoderMethod, Error, Password};

use super::Step;
use super::context::Context;
use super::sniff::ArchiveSet;
use super::source::Source;
use super::staging::{EntryType, Staging};
use crate::fs::Dir;

/// Windows: the entry stands for something elsewhere.
const REPARSE_POINT: u32 = 0x0400;
/// 7-Zip's: the upper half holds the mode of a Unix file.
const UNIX_EXTENSION: u32 = 0x8000;

pub(super) struct Seven {
    archive: Archive,
    source: Source,
}

impl Seven {
    pub(super) fn open(root: &Dir, set: &ArchiveSet, context: &Context) -> Step<Self> {
        let mut source = Source::open_first(root, set, context).map_err(|e| e.to_string())?;
        let archive = Archive::read(&mut source, &Password::empty()).map_err(|e| words(&e))?;
        Ok(Self { archive, source })
    }

    pub(super) fn declared(&self) -> u64 {
        self.archive.files.iter().filter(|file| file.has_stream).map(|file| file.size).fold(0, u64::saturating_add)
    }

    pub(super) fn unpack(self, staging: &Staging) -> Step<()> {
        staging.check_count(self.archive.files.len())?;
        for file in &self.archive.files {
            staging.check(&file.name, entry_type(file))?;
            if file.is_anti_item {
                return Err(format!("the entry {:?} deletes a file of another archive, which is not done", file.name));
            }
        }
        let mut methods =
            self.archive.blocks.iter().flat_map(|block| &block.coders).map(|coder| coder.encoder_method_id());
        if methods.any(|id| id == EncoderMethod::ID_AES256_SHA256) {
            let first = self.archive.files.iter().find(|file| file.has_stream).map_or("", |file| &file.name);
            return Err(format!("the entry {first:?} is encrypted"));
        }
        let mut reader = ArchiveReader::from_archive(self.archive, self.source, Password::empty());
        // More threads take a dictionary each.
        reader.set_thread_count(1);
        let mut failed = None;
        let result = reader.for_each_entries(|file, from| {
            let done = match entry_type(file) {
                EntryType::File { exec } => staging.copy_file(&file.name, exec, from).and_then(|copied| {
                    let size = if file.has_stream { file.size } else { 0 };
                    if copied == size {
                        return Ok(());
                    }
                    Err(format!("the entry {:?} has {copied} bytes, and should have {size}", file.name))
                }),
                _ => staging.make_dir(&file.name),
            };
            Ok(done.map_err(|why| failed = Some(why)).is_ok())
        });
        match (failed, result) {
            (Some(why), _) => Err(why),
            (None, result) => result.map_err(|e| words(&e)),
        }
    }
}

fn entry_type(file: &ArchiveEntry) -> EntryType {
    let attributes = if file.has_windows_attributes { file.windows_attributes } else { 0 };
    if attributes & UNIX_EXTENSION != 0 {
        EntryType::of_unix_mode(attributes >> 16, file.is_directory)
    } else if attributes & REPARSE_POINT != 0 {
        EntryType::Link
    } else if file.is_directory {
        EntryType::Dir
    } else {
        EntryType::File { exec: false }
    }
}

fn words(error: &Error) -> String {
    match error {
        Error::PasswordRequired => "it is encrypted".to_owned(),
        Error::UnsupportedCompressionMethod(method) if method.starts_with("AES") => "it is encrypted".to_owned(),
        error => error.to_string(),
    }
}
