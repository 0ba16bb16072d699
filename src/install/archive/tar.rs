//! tar, and what gzip, xz, bzip2 and zstd compress: a tar, or else one file.

use std::io::{self, BufReader, Read};

use tar::EntryType as TarType;

use super::context::Context;
use super::sniff::{ArchiveSet, Codec, is_tar};
use super::source::Source;
use super::staging::{EntryType, Staging};
use super::{ArchiveLimits, Step};
use crate::fs::Dir;

const BLOCK: usize = 512;

pub(super) struct Tar {
    stream: Box<dyn Read>,
    /// The first block of the stream, which was read to see what it is.
    head: Vec<u8>,
    name: String,
    codec: Codec,
}

impl Tar {
    pub(super) fn open(
        root: &Dir,
        set: &ArchiveSet,
        codec: Codec,
        limits: &ArchiveLimits,
        context: &Context,
    ) -> Step<Self> {
        let source = Source::open(root, &set.name, context).map_err(|e| e.to_string())?;
        let mut stream = decoder(source, codec, limits).map_err(|e| e.to_string())?;
        let mut head = Vec::new();
        stream.by_ref().take(BLOCK as u64).read_to_end(&mut head).map_err(|e| e.to_string())?;
        Ok(Self { stream, head, name: set.name.as_str().to_owned(), codec })
    }

    /// Unknown before the end of the stream.
    pub(super) fn declared(&self) -> Option<u64> {
        None
    }

    pub(super) fn unpack(self, staging: &Staging) -> Step<()> {
        let one_file = !is_tar(&self.head);
        let mut stream =
            Counting { inner: io::Cursor::new(self.head).chain(self.stream), staging: staging.clone(), ended: false };
        if one_file && self.codec != Codec::Plain {
            let name = self.name.rsplit_once('.').map_or(self.name.as_str(), |(stem, _)| stem);
            return staging.copy_file(name, false, &mut stream).map(drop);
        }
        let mut archive = tar::Archive::new(&mut stream);
        for entry in archive.entries().map_err(|e| e.to_string())? {
            let mut entry = entry.map_err(|e| e.to_string())?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let mode = entry.header().mode().unwrap_or(0);
            let kind = match entry.header().entry_type() {
                TarType::XGlobalHeader => continue,
                TarType::Regular | TarType::Continuous | TarType::GNUSparse if name.ends_with('/') => EntryType::Dir,
                TarType::Regular | TarType::Continuous | TarType::GNUSparse => {
                    EntryType::File { exec: mode & 0o100 != 0 }
                }
                TarType::Directory => EntryType::Dir,
                TarType::Link | TarType::Symlink => EntryType::Link,
                TarType::Char | TarType::Block | TarType::Fifo => EntryType::Device,
                _ => return Err(format!("the entry {name:?} is of a kind that is not known")),
            };
            staging.check(&name, kind)?;
            match kind {
                EntryType::File { exec } => {
                    let size = entry.size();
                    let copied = staging.copy_file(&name, exec, &mut entry)?;
                    if copied != size {
                        return Err(format!("the entry {name:?} has {copied} bytes, and should have {size}"));
                    }
                }
                _ => staging.make_dir(&name)?,
            }
        }
        // A whole tar ends in empty blocks, so its reader never sees the end of the stream.
        if stream.ended {
            return Err("it is cut off".to_owned());
        }
        // What follows holds the checksum of the stream.
        io::copy(&mut stream, &mut io::sink()).map_err(|e| e.to_string())?;
        Ok(())
    }
}

fn decoder(source: Source, codec: Codec, limits: &ArchiveLimits) -> io::Result<Box<dyn Read>> {
    Ok(match codec {
        Codec::Plain => Box::new(source),
        Codec::Gzip => Box::new(flate2::read::MultiGzDecoder::new(source)),
        Codec::Xz => Box::new(BufReader::new(lzma_rust2::XzReader::new(source, true))),
        Codec::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(source)),
        Codec::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(source)?;
            // As a power of two; from 27 on only on request.
            decoder.window_log_max((limits.max_memory / 2).max(1).ilog2().clamp(10, 30))?;
            Box::new(decoder)
        }
    })
}

/// Counts what a decompressor yields, and sees whether it was read to its end.
struct Counting<R> {
    inner: R,
    staging: Staging,
    ended: bool,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(out)?;
        self.ended |= n == 0 && !out.is_empty();
        self.staging.count_stream(n as u64)?;
        Ok(n)
    }
}
