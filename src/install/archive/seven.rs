//! 7z.

use std::io::{self, Read, Seek, SeekFrom};

use lzma_rust2::filter::bcj::BcjReader;
use sevenz_rust2::{Archive, ArchiveEntry, ArchiveReader, Block, Coder, EncoderMethod, Error, Password};

use super::context::Context;
use super::sniff::ArchiveSet;
use super::source::Source;
use super::staging::{EntryType, Staging};
use super::{Step, io_words};
use crate::fs::Dir;

/// Bytes in front of what the archive's own offsets count.
const SIGNATURE_HEADER: u64 = 32;
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
        let mut source = Source::open_whole(root, set, context).map_err(|e| e.to_string())?;
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
        if self.archive.blocks.iter().any(is_deflate64) {
            return self.unpack_deflate64(staging);
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

    /// What 7-Zip makes when it is told to, and the reader does not know.
    fn unpack_deflate64(mut self, staging: &Staging) -> Step<()> {
        let is_filter = |coder: &Coder| coder.encoder_method_id() == EncoderMethod::ID_BCJ_X86;
        let is_known = |block: &Block| match block.coders.as_slice() {
            [_] => is_deflate64(block),
            // 7-Zip filters programs, whatever they are packed with.
            [a, b] => is_deflate64(block) && (is_filter(a) || is_filter(b)),
            _ => false,
        };
        if !self.archive.blocks.iter().all(is_known) {
            return Err(unread("Deflate64 together with other methods"));
        }
        for file in self.archive.files.iter().filter(|file| !file.has_stream) {
            match entry_type(file) {
                EntryType::File { exec } => staging.copy_file(&file.name, exec, &mut io::empty()).map(drop)?,
                _ => staging.make_dir(&file.name)?,
            }
        }
        let sizes = self.archive.pack_sizes();
        let mut at = SIGNATURE_HEADER.saturating_add(self.archive.pack_pos());
        let mut starts = Vec::with_capacity(sizes.len());
        for size in sizes {
            starts.push(at);
            at = at.saturating_add(*size);
        }
        // Files lie in the order of their blocks.
        let of_blocks = self.archive.files.iter().zip(&self.archive.stream_map.file_block_index);
        let mut files = of_blocks.filter(|(file, _)| file.has_stream).peekable();
        for (block, first) in self.archive.stream_map.block_first_pack_stream_index().iter().enumerate() {
            let Some((&start, &size)) = starts.get(*first).zip(sizes.get(*first)) else { break };
            self.source.seek(SeekFrom::Start(start)).map_err(|e| io_words(&e))?;
            let stream = deflate64::Deflate64Decoder::new((&mut self.source).take(size));
            let is_filtered = self.archive.blocks.get(block).is_some_and(|block| block.coders.iter().any(is_filter));
            let mut stream: Box<dyn Read> =
                if is_filtered { Box::new(BcjReader::new_x86(stream, 0)) } else { Box::new(stream) };
            while let Some((file, _)) = files.next_if(|(_, of)| **of == Some(block)) {
                let mut bytes = Summed { from: (&mut stream).take(file.size), crc: flate2::Crc::new() };
                let exec = entry_type(file) == EntryType::File { exec: true };
                let copied = staging.copy_file(&file.name, exec, &mut bytes)?;
                if copied != file.size || file.has_crc && u64::from(bytes.crc.sum()) != file.crc {
                    return Err(format!("the entry {:?} is damaged: its checksum is another one", file.name));
                }
            }
        }
        match files.next() {
            None => Ok(()),
            Some((file, _)) => Err(format!("it is damaged: it holds no bytes of the entry {:?}", file.name)),
        }
    }
}

fn is_deflate64(block: &Block) -> bool {
    block.coders.iter().any(|coder| coder.encoder_method_id() == EncoderMethod::ID_DEFLATE64)
}

fn unread(method: &str) -> String {
    format!("it is packed with {method}, which is not read here; pack it anew with LZMA2, Deflate, PPMd or Zstandard")
}

/// A reader that keeps the checksum of what passes.
struct Summed<R> {
    from: R,
    crc: flate2::Crc,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(out)?;
        self.crc.update(out.get(..n).unwrap_or_default());
        Ok(n)
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
        Error::UnsupportedCompressionMethod(method) => unread(method),
        Error::UnsupportedVersion { major, minor } => {
            format!("it is of version {major}.{minor} of 7z, which is not known here")
        }
        Error::Unsupported(what) | Error::Other(what) => format!("its headers are not understood: {what}"),
        Error::ExternalUnsupported => "its list of files lies in another file, which is not read here".to_owned(),
        Error::MaxMemLimited { max_kb, actaul_kb } => {
            format!("unpacking it takes {} MiB of memory, and only {} MiB are allowed", actaul_kb >> 10, max_kb >> 10)
        }
        Error::ChecksumVerificationFailed => "it is damaged: the checksum of its bytes is another one".to_owned(),
        Error::BadSignature(_)
        | Error::NextHeaderCrcMismatch
        | Error::BadTerminatedStreamsInfo(_)
        | Error::BadTerminatedUnpackInfo
        | Error::BadTerminatedPackInfo(_)
        | Error::BadTerminatedSubStreamsInfo
        | Error::BadTerminatedHeader(_) => "it is damaged or cut off: its headers do not fit together".to_owned(),
        Error::Io(error, _) | Error::FileOpen(error, _) | Error::MaybeBadPassword(error) => io_words(error),
        Error::FileNotFound => "it is damaged: it lists a file that it does not hold".to_owned(),
    }
}
