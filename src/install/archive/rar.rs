//! RAR 1.5 to 7, also solid, also in volumes.

use std::io::{self, Write};

use rars::{
    Archive, ArchiveMember, ArchiveMemberDetail, ArchiveReadOptions, ArchiveReader, AttrSource, Error,
    ExtractedEntryMeta, ExtractedLink,
};

use super::context::Context;
use super::names::CodePage;
use super::sniff::ArchiveSet;
use super::source::Source;
use super::staging::{EntryType, Staging};
use super::{ArchiveLimits, Step};
use crate::fs::Dir;

/// Most bytes of headers of one volume.
const MAX_HEADER_BYTES: u64 = 256 << 20;
/// Files up to this size are decoded in memory; larger ones stream.
const BUFFERED_BYTES: u64 = 16 << 20;
/// A redirection of RAR5 that stands for a copy of an earlier file.
const FILE_COPY: u64 = 5;

pub(super) struct Rar {
    volumes: Vec<Archive>,
    members: Vec<ArchiveMember>,
    page: CodePage,
    max_memory: u64,
}

impl Rar {
    pub(super) fn open(root: &Dir, set: &ArchiveSet, limits: &ArchiveLimits, context: &Context) -> Step<Self> {
        let headers = limits.max_entries.saturating_mul(2).saturating_add(1024);
        let options = ArchiveReadOptions::new().with_max_header_count(headers).with_max_header_bytes(MAX_HEADER_BYTES);
        let mut volumes = Vec::with_capacity(set.files.len());
        let sources: Vec<_> = if set.is_cut {
            vec![Source::open_whole(root, set, context)]
        } else {
            set.files.iter().map(|part| Source::open(root, part, context)).collect()
        };
        for source in sources {
            let source = source.map_err(|e| e.to_string())?;
            let len = source.len();
            let volume = ArchiveReader::read_reader_with_options(source, options).map_err(|e| words(&e))?;
            volumes.push((volume, len));
        }
        complete(&volumes, set)?;
        let volumes: Vec<Archive> = volumes.into_iter().map(|(volume, _)| volume).collect();
        let members = match volumes.as_slice() {
            [one] => one.members().collect(),
            many => rars::volume_members(many).map_err(|e| words(&e))?,
        };
        let legacy = members.iter().filter(|member| !member.name_is_unicode());
        let page = CodePage::of(legacy.map(|member| member.meta.name.as_slice()));
        Ok(Self { volumes, members, page, max_memory: limits.max_memory })
    }

    pub(super) fn declared(&self) -> u64 {
        self.members.iter().map(|member| member.meta.unpacked_size).fold(0, u64::saturating_add)
    }

    /// A name as it was meant. Versions before 5 wrote names beyond ASCII as they were on that PC, most of them with
    /// Unicode beside it.
    fn name(&self, name: &[u8], unicode: bool) -> String {
        if unicode { String::from_utf8_lossy(name).into_owned() } else { self.page.decode(name) }
    }

    pub(super) fn unpack(self, staging: &Staging) -> Step<()> {
        staging.check_count(self.members.len())?;
        for member in &self.members {
            let name = self.name(&member.meta.name, member.name_is_unicode());
            staging.check(&name, entry_type(member))?;
            if member.meta.is_encrypted {
                return Err(format!("the entry {name:?} is encrypted"));
            }
            if member.meta.is_split_before || member.meta.is_split_after && self.volumes.len() == 1 {
                return Err(format!("the entry {name:?} continues in a volume that is missing"));
            }
        }
        let options = ArchiveReadOptions::new()
            .with_rar50_buffered_decode_limit(BUFFERED_BYTES)
            .with_rar50_dictionary_size_limit(self.max_memory / 2)
            .with_max_reader_workspace_bytes(self.max_memory);
        let open = |meta: &ExtractedEntryMeta| -> rars::Result<Box<dyn Write>> {
            let name = self.name(&meta.name, meta.name_is_unicode);
            if meta.is_directory {
                staging.make_dir(&name).map_err(stopped)?;
                return Ok(Box::new(io::sink()));
            }
            staging.begin_file(&name, is_exec(meta)).map_err(stopped)?;
            Ok(Box::new(Sink(staging.clone())))
        };
        let link = |meta: &ExtractedEntryMeta, link: ExtractedLink<'_>| {
            let name = self.name(&meta.name, meta.name_is_unicode);
            match link {
                ExtractedLink::FileCopy { target } => {
                    staging.duplicate(&name, is_exec(meta), &self.name(target, true)).map_err(stopped)
                }
                _ => staging.check(&name, EntryType::Link).map_err(stopped),
            }
        };
        let result = match self.volumes.as_slice() {
            [one] => one.extract_with_links(options, open, link),
            many => rars::extract_volumes_with_links(many, options, open, link),
        };
        result.map_err(|e| words(&e))
    }
}

/// Checks that no volume is missing, at the end neither: a file may end just where a volume does.
fn complete(volumes: &[(Archive, u64)], set: &ArchiveSet) -> Step<()> {
    for (at, (volume, len)) in volumes.iter().enumerate() {
        let last = at + 1 == volumes.len();
        let (encrypted, goes_on, in_order) = match volume {
            Archive::Rar13(_) => (false, Some(false), volumes.len() == 1),
            Archive::Rar15To40(rar) => {
                let end = rar.blocks.iter().rev().find_map(|block| match block {
                    rars::rar15_40::Block::End(end) => Some(end.flags & 1 != 0),
                    _ => None,
                });
                let end = end.or_else(|| whole_without_end(rar, *len).then_some(!last));
                (rar.main.has_encrypted_headers(), end, volumes.len() == 1 || rar.main.is_volume())
            }
            Archive::Rar50Plus(rar) => {
                let end = rar.blocks.iter().rev().find_map(|block| match block {
                    rars::rar50::Block::End(end) => Some(end.has_next_volume()),
                    _ => None,
                });
                let number = rar.main.volume_number.unwrap_or(0);
                (rar.main.encrypted_headers, end, number == at as u64)
            }
            _ => return Err("it is of a kind that is not known".to_owned()),
        };
        if encrypted {
            return Err("it is encrypted".to_owned());
        }
        match (goes_on, in_order) {
            (None, _) => return Err("it is cut off".to_owned()),
            (Some(goes_on), true) if goes_on != last => {}
            (_, in_order) => {
                let name = set.files.get(at).map_or("", |part| part.name.as_str());
                let place = match (in_order, at) {
                    (false, 0) => format!("the first one (before {name}, or an .exe instead of it)"),
                    (false, _) => format!("the one before {name}"),
                    (true, _) => format!("the one after {name}"),
                };
                return Err(format!("a volume is missing: {place}"));
            }
        }
    }
    Ok(())
}

/// Versions before 3 wrote no end: the last file's bytes are the last of the archive. A cut just between two files does
/// not show in them.
fn whole_without_end(rar: &rars::rar15_40::Archive, len: u64) -> bool {
    let files = || {
        rar.blocks.iter().filter_map(|block| match block {
            rars::rar15_40::Block::File(file) => Some(file),
            _ => None,
        })
    };
    let ends = files().map(|file| file.packed_range.end as u64).max();
    let rest = rar
        .blocks
        .iter()
        .any(|block| matches!(block, rars::rar15_40::Block::Protect(_) | rars::rar15_40::Block::Comment(_)));
    files().all(|file| file.unp_ver < 29) && ends.is_some_and(|ends| ends == len || rest && ends < len)
}

fn entry_type(member: &ArchiveMember) -> EntryType {
    let redirection = match &member.detail {
        ArchiveMemberDetail::Rar50Plus { redirection, .. } => redirection.as_ref(),
        _ => None,
    };
    match redirection {
        Some(to) if to.redirection_type == FILE_COPY => EntryType::File { exec: false },
        Some(_) => EntryType::Link,
        None if member.meta.attr_source() == AttrSource::Unix => {
            let mode = u32::try_from(member.meta.file_attr & 0xffff).unwrap_or(0);
            EntryType::of_unix_mode(mode, member.meta.is_directory)
        }
        None if member.meta.is_directory => EntryType::Dir,
        None => EntryType::File { exec: false },
    }
}

fn is_exec(meta: &ExtractedEntryMeta) -> bool {
    meta.attr_source == AttrSource::Unix && meta.file_attr & 0o100 != 0
}

/// The context knows why; the decoder only has to stop.
fn stopped(why: String) -> Error {
    Error::from(io::Error::other(why))
}

fn words(error: &Error) -> String {
    match error.root_cause() {
        Error::NeedPassword
        | Error::UnsupportedEncryption { .. }
        | Error::FeatureDisabled { feature: "encryption" } => match error.entry_context() {
            Some((name, _)) => format!("the entry {:?} is encrypted", String::from_utf8_lossy(name)),
            None => "it is encrypted".to_owned(),
        },
        _ => error.to_string(),
    }
}

struct Sink(Staging);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
