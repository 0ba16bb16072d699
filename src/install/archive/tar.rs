//! tar, and what gzip, xz, bzip2 and zstd compress: a tar, or else one file.

use std::io::{self, BufRead, BufReader, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use tar::{EntryType as TarType, PaxExtensions};

use super::context::Context;
use super::sniff::{ArchiveSet, Codec, is_tar};
use super::source::Source;
use super::staging::{EntryType, Staging};
use super::{ArchiveLimits, Step};
use crate::fs::Dir;

const BLOCK: usize = 512;
/// Most bytes of a pax header for all entries.
const MAX_GLOBAL: u64 = 1 << 20;
/// GNU's type of the name of the whole archive.
const VOLUME_LABEL: u8 = b'V';
/// How the keys of pax headers begin that tell where the holes of a file are.
const SPARSE: &str = "GNU.sparse.";

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
        let source = Source::open_whole(root, set, context).map_err(|e| e.to_string())?;
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
            unpack_entry(&mut entry.map_err(|e| e.to_string())?, staging)?;
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

fn unpack_entry(entry: &mut tar::Entry<'_, impl Read>, staging: &Staging) -> Step<()> {
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let header_type = entry.header().entry_type();
    if header_type == TarType::XGlobalHeader {
        return check_global(entry);
    }
    if let Some(extensions) = entry.pax_extensions().map_err(|e| e.to_string())? {
        check_extensions(extensions, &name, false)?;
    }
    let mode = entry.header().mode().unwrap_or(0);
    let kind = match header_type {
        TarType::Regular | TarType::Continuous | TarType::GNUSparse if name.ends_with('/') => EntryType::Dir,
        TarType::Regular | TarType::Continuous | TarType::GNUSparse => EntryType::File { exec: mode & 0o100 != 0 },
        TarType::Directory => EntryType::Dir,
        TarType::Link | TarType::Symlink => EntryType::Link,
        TarType::Char | TarType::Block | TarType::Fifo => EntryType::Device,
        other if other.as_byte() == VOLUME_LABEL => return Ok(()),
        _ => return Err(format!("the entry {name:?} is of a kind that is not known")),
    };
    staging.check(&name, kind)?;
    match kind {
        EntryType::File { exec } => {
            let size = entry.size();
            let copied = staging.copy_file(&name, exec, entry)?;
            if copied != size {
                return Err(format!("the entry {name:?} has {copied} bytes, and should have {size}"));
            }
            Ok(())
        }
        _ => staging.make_dir(&name),
    }
}

/// A header for all entries that follow. The reader does not apply it, so it may say nothing that matters; and what
/// stands before it for the next entry the reader would take for this one.
fn check_global(entry: &mut tar::Entry<'_, impl Read>) -> Step<()> {
    let mut records = Vec::new();
    entry.by_ref().take(MAX_GLOBAL).read_to_end(&mut records).map_err(|e| e.to_string())?;
    if records.len() as u64 != entry.size() {
        return Err("a header for all entries is too large, or cut off".to_owned());
    }
    check_extensions(PaxExtensions::new(&records), "", true)?;
    let renamed = entry.path_bytes() != entry.header().path_bytes();
    let before = entry.pax_extensions().map_err(|e| e.to_string())?;
    if renamed || before.is_some_and(|mut records| records.next().is_some()) {
        return Err("a header for all entries stands between an entry and its own".to_owned());
    }
    Ok(())
}

/// Refuses what would change the meaning of an entry's bytes or of its name and is not known here.
fn check_extensions(extensions: PaxExtensions<'_>, name: &str, global: bool) -> Step<()> {
    let of = if global { "all entries".to_owned() } else { format!("the entry {name:?}") };
    let mut sparse = None;
    for extension in extensions {
        let extension = extension.map_err(|e| format!("{of}: {e}"))?;
        let key = String::from_utf8_lossy(extension.key_bytes());
        if key.starts_with(SPARSE) || key == "SCHILY.realsize" {
            let real =
                (key == "GNU.sparse.name").then(|| String::from_utf8_lossy(extension.value_bytes()).into_owned());
            sparse = real.or(sparse).or_else(|| Some(name.to_owned()));
        } else if !is_harmless(&key, extension.value_bytes(), global) {
            return Err(format!("{of}: the pax header says {key:?}, which is not known"));
        }
    }
    match sparse {
        Some(_) if global => Err(format!("all entries are stored sparse ({SPARSE}), which is not read")),
        Some(name) => {
            Err(format!("the entry {name:?} is stored sparse (GNU.sparse), which is not read: pack it without -S"))
        }
        None => Ok(()),
    }
}

/// Whether a record of a pax header is applied, or changes neither bytes nor names. What has a vendor's name and is not
/// GNU's is about rights and times of one system.
fn is_harmless(key: &str, value: &[u8], global: bool) -> bool {
    match key {
        "atime" | "ctime" | "mtime" | "uid" | "gid" | "uname" | "gname" | "comment" => true,
        "path" | "linkpath" | "size" => !global,
        "hdrcharset" | "charset" => value == b"ISO-IR 10646 2000 UTF-8" || value == b"BINARY",
        "SCHILY.filetype" | "SCHILY.tarfiletype" => false,
        _ => key.contains('.') && !key.starts_with("GNU."),
    }
}

fn decoder(source: Source, codec: Codec, limits: &ArchiveLimits) -> io::Result<Box<dyn Read>> {
    Ok(match codec {
        Codec::Plain => Box::new(source),
        Codec::Gzip => Box::new(Members::of(source, GzDecoder::new, GzDecoder::into_inner)),
        Codec::Xz => Box::new(BufReader::new(lzma_rust2::XzReader::new(source, true))),
        Codec::Bzip2 => Box::new(Members::of(source, BzDecoder::new, BzDecoder::into_inner)),
        Codec::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(source)?;
            // As a power of two; from 27 on only on request.
            decoder.window_log_max((limits.max_memory / 2).max(1).ilog2().clamp(10, 30))?;
            Box::new(decoder)
        }
    })
}

/// Several members (of gzip, of bzip2) stand one behind the other, and are one stream. Zeros behind one are passed over: tapes, and programs
/// that write whole blocks, leave them.
struct Members<M> {
    /// `None`: the end was reached.
    now: Option<M>,
    begin: fn(Source) -> M,
    end: fn(M) -> Source,
}

impl<M> Members<M> {
    fn of(source: Source, begin: fn(Source) -> M, end: fn(M) -> Source) -> Self {
        Self { now: Some(begin(source)), begin, end }
    }
}

impl<M: Read> Read for Members<M> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.now {
            let n = member.read(out)?;
            if n > 0 || out.is_empty() {
                return Ok(n);
            }
            let Some(mut source) = self.now.take().map(self.end) else { return Ok(0) };
            self.now = if is_more_than_zeros(&mut source)? { Some((self.begin)(source)) } else { None };
        }
        Ok(0)
    }
}

/// Whether something other than zeros follows; goes on to there.
fn is_more_than_zeros(source: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let ahead = source.fill_buf()?;
        if ahead.is_empty() {
            return Ok(false);
        }
        let (len, zeros) = (ahead.len(), ahead.iter().take_while(|byte| **byte == 0).count());
        source.consume(zeros);
        if zeros < len {
            return Ok(true);
        }
    }
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
