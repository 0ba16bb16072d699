//! Archives: finds them among the files of a game's root and unpacks them into a staging directory.
//!
//! What an archive is, its first bytes say, never its name: in the wild an `.eti` is a RAR. Only that an `.eti` has to be
//! one its name says. RAR (1.5 to 7; solid and in volumes), ZIP, 7z, tar, and gzip, xz, bzip2 and zstd around a tar or
//! around one file are known.
//!
//! An archive comes from a stranger, so nothing in it is believed. Decoders run in a [child process](helper) with
//! hardly any rights; this process only looks at the first bytes. Names pass [`RelPath`](crate::types::RelPath), links
//! and devices are refused, and sizes, ratios and counts are [bounded](ArchiveLimits). Everything is written through a
//! confined [`Dir`].
//!
//! ```text
//! root ─ sniff ─► sets, in name order ─► rar · zip · seven · tar ─► staging (names, limits, files) ─► Dir, or nowhere
//! ```

pub mod helper;

mod context;
mod names;
mod rar;
mod seven;
mod sniff;
mod source;
mod staging;
mod tar;
mod zip;

use std::io;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use crate::fs::{Dir, FsError};
use crate::types::{GameId, JobError, JobErrorKind, RelPath};
use context::Context;
use sniff::{ArchiveSet, Format};
use staging::{Counted, Staging};

/// What an archive may take. All archives of one game together, but for `max_ratio`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ArchiveLimits {
    /// Only what is called `.eti` is unpacked, other archives are left alone.
    #[serde(default)]
    pub only_eti: bool,
    /// Most files and directories.
    pub max_entries: u64,
    /// Most unpacked bytes.
    pub max_bytes: u64,
    /// Most unpacked bytes per archive byte, beyond the next.
    pub max_ratio: u64,
    /// Bytes that each archive may unpack to, however small it is.
    pub free_bytes: u64,
    /// Memory in bytes that the unpacker may take, dictionaries included.
    pub max_memory: u64,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self {
            only_eti: false,
            max_entries: 200_000,
            max_bytes: 4 << 40,
            max_ratio: 250,
            free_bytes: 64 << 20,
            max_memory: 2 << 30,
        }
    }
}

/// What was unpacked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Unpacked {
    /// How many archives; one in several volumes counts once.
    pub archives: u64,
    /// How many files; one that a later archive replaced counts twice.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What [`check_all`] found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checked {
    /// What would be unpacked.
    pub unpacked: Unpacked,
    /// The archives that cannot be, and why.
    pub bad: Vec<(String, JobError)>,
}

impl Unpacked {
    fn of(sets: &[ArchiveSet], counted: Counted) -> Self {
        Self { archives: sets.len() as u64, files: counted.files, bytes: counted.bytes }
    }
}

/// Why a game that is nothing but volumes of archives is not installed: an installation of nothing would take the place of one that works.
pub(crate) fn nothing_to_unpack(game: &GameId) -> JobError {
    let message = format!(
        "{game} has only volumes of archives by their names, and none that can be unpacked: unpack it by hand, and share \
         what comes of it"
    );
    JobError::new(JobErrorKind::BadArchive, message)
}

/// Whether there is an archive directly in `root`. Reads the first bytes of each file there.
///
/// # Errors
/// When the file system refuses; [`BadArchive`](JobErrorKind::BadArchive): an `.eti` is no archive that is known.
pub fn has_archives(root: &Dir) -> Result<bool, JobError> {
    sniff::any(root)
}

/// Whether the file `name` of `root` is an archive by its first bytes. What cannot be read, and an `.eti` that is none, is not.
///
/// # Errors
/// Only when the system is short of memory or handles.
pub fn is_archive(root: &Dir, name: &RelPath) -> Result<bool, FsError> {
    sniff::is_archive(root, name)
}

/// Unpacks all archives directly in `root` into `staging`, in the order of their names, in a child process. A file of a
/// later archive replaces the file of an earlier one. When it returns, everything beneath `staging` is durable.
///
/// `progress` gets archive bytes that were read and archive bytes in all. The child is this program, which has to offer
/// [`helper::SUBCOMMAND`] (another one: [`helper::Helper`]).
///
/// # Errors
/// After one, `staging` holds anything. [`BadArchive`](JobErrorKind::BadArchive): an archive is damaged, cut off,
/// encrypted, too large; [`UnsafePath`](JobErrorKind::UnsafePath): a name leads outside or cannot be stored, or an entry
/// is a link or a device; [`DiskFull`](JobErrorKind::DiskFull); [`Cancelled`](JobErrorKind::Cancelled).
pub fn unpack_all(
    root: &Dir,
    staging: &Dir,
    limits: &ArchiveLimits,
    progress: &dyn Fn(u64, u64),
    cancel: &AtomicBool,
) -> Result<Unpacked, JobError> {
    helper::Helper::of_this_program()?.unpack_all(root, staging, limits, progress, cancel)
}

/// Unpacks all archives directly in `root` as [`unpack_all`] does, and drops what comes of it: which of them cannot be unpacked, and how
/// much the others take.
///
/// # Errors
/// As of [`unpack_all`], where it is no single archive that is at fault.
pub fn check_all(
    root: &Dir,
    limits: &ArchiveLimits,
    progress: &dyn Fn(u64, u64),
    cancel: &AtomicBool,
) -> Result<Checked, JobError> {
    helper::Helper::of_this_program()?.check_all(root, limits, progress, cancel)
}

/// How many bytes the archives directly in `root` unpack to, as far as their headers tell; `None`: one does not (a tar
/// that is compressed). Read by a child process, as in [`unpack_all`].
///
/// # Errors
/// As of [`unpack_all`].
pub fn declared_bytes(root: &Dir, limits: &ArchiveLimits, cancel: &AtomicBool) -> Result<Option<u64>, JobError> {
    helper::Helper::of_this_program()?.declared_bytes(root, limits, cancel)
}

/// [`unpack_all`] in this process: for the child itself, and for tests. A hostile archive can end the process. `began`
/// gets the name of each archive before a decoder sees it.
///
/// # Errors
/// As of [`unpack_all`].
pub fn unpack_all_here(
    root: &Dir,
    staging: &Dir,
    limits: &ArchiveLimits,
    progress: &dyn Fn(u64, u64),
    began: &(dyn Fn(&str) + Sync),
    cancel: &AtomicBool,
) -> Result<Unpacked, JobError> {
    let (root, staging, limits) = (root.clone(), staging.clone(), limits.clone());
    context::on_own_thread(progress, cancel, move |context| {
        let sets = sniff::sets(&root, limits.only_eti)?;
        context.set_total(sets.iter().map(|set| set.bytes).fold(0, u64::saturating_add));
        let into = Staging::new(Some(staging.clone()), limits.clone(), context.clone());
        for set in &sets {
            began(set.name.as_str());
            unpack_set(&root, set, &into, Some(&staging), &limits, &context)?;
        }
        into.finish().map(|counted| Unpacked::of(&sets, counted))
    })
}

/// [`check_all`] in this process: for the child itself, and for tests. `bad` gets each archive that cannot be unpacked, and why.
///
/// # Errors
/// As of [`check_all`].
pub fn check_all_here(
    root: &Dir,
    limits: &ArchiveLimits,
    progress: &dyn Fn(u64, u64),
    began: &(dyn Fn(&str) + Sync),
    bad: &(dyn Fn(&str, JobError) + Sync),
    cancel: &AtomicBool,
) -> Result<Unpacked, JobError> {
    let (root, limits) = (root.clone(), limits.clone());
    context::on_own_thread(progress, cancel, move |context| {
        let sets = sniff::sets(&root, limits.only_eti)?;
        context.set_total(sets.iter().map(|set| set.bytes).fold(0, u64::saturating_add));
        let into = Staging::new(None, limits.clone(), context.clone());
        for set in &sets {
            began(set.name.as_str());
            match unpack_set(&root, set, &into, None, &limits, &context) {
                Err(error) if error.kind == JobErrorKind::Cancelled => return Err(error),
                Err(error) => {
                    into.abandon();
                    context.end();
                    bad(set.name.as_str(), error);
                }
                Ok(()) => {}
            }
        }
        into.finish().map(|counted| Unpacked::of(&sets, counted))
    })
}

/// [`declared_bytes`] in this process: for the child itself, and for tests.
///
/// # Errors
/// As of [`unpack_all`].
pub fn declared_bytes_here(root: &Dir, limits: &ArchiveLimits, cancel: &AtomicBool) -> Result<Option<u64>, JobError> {
    let (root, limits) = (root.clone(), limits.clone());
    context::on_own_thread(&|_, _| {}, cancel, move |context| {
        let mut total = Some(0u64);
        for set in sniff::sets(&root, limits.only_eti)? {
            let declared = context.guard(&set, Opened::open(&root, &set, &limits, &context))?.declared();
            total = total.zip(declared).map(|(a, b)| a.saturating_add(b));
        }
        Ok(total)
    })
}

/// Unpacks one archive. `on`: where it has to have room, by what its headers tell.
fn unpack_set(
    root: &Dir,
    set: &ArchiveSet,
    into: &Staging,
    on: Option<&Dir>,
    limits: &ArchiveLimits,
    context: &Context,
) -> Result<(), JobError> {
    context.begin(set.bytes);
    into.begin_archive(set.bytes);
    let opened = context.guard(set, Opened::open(root, set, limits, context))?;
    if let Some((needed, dir)) = opened.declared().zip(on) {
        let free = dir.free_bytes()?;
        if needed > free {
            let name = &set.name;
            let message = format!("{name} unpacks to {needed} bytes, and only {free} bytes are free");
            return Err(JobError::new(JobErrorKind::DiskFull, message));
        }
    }
    let result = opened.unpack(into).and_then(|()| into.end_file());
    context.guard(set, result)?;
    context.end();
    Ok(())
}

/// What a decoder or the staging says; the context may know a better reason.
type Step<T> = Result<T, String>;

/// An error of a decoder's input, which is mostly one of its bytes.
fn io_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "it is damaged or cut off: it ends too early".to_owned(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => format!("it is damaged: {error}"),
        _ => error.to_string(),
    }
}

enum Opened {
    Rar(rar::Rar),
    Zip(Box<zip::Zip>),
    Seven(Box<seven::Seven>),
    Tar(tar::Tar),
}

impl Opened {
    fn open(root: &Dir, set: &ArchiveSet, limits: &ArchiveLimits, context: &Context) -> Step<Self> {
        Ok(match &set.format {
            Format::Rar => Self::Rar(rar::Rar::open(root, set, limits, context)?),
            Format::Zip => Self::Zip(Box::new(zip::Zip::open(root, set, context)?)),
            Format::Seven => Self::Seven(Box::new(seven::Seven::open(root, set, context)?)),
            Format::Tar(codec) => Self::Tar(tar::Tar::open(root, set, *codec, limits, context)?),
        })
    }

    fn declared(&self) -> Option<u64> {
        match self {
            Self::Rar(rar) => Some(rar.declared()),
            Self::Zip(zip) => Some(zip.declared()),
            Self::Seven(seven) => Some(seven.declared()),
            Self::Tar(tar) => tar.declared(),
        }
    }

    fn unpack(self, staging: &Staging) -> Step<()> {
        match self {
            Self::Rar(rar) => rar.unpack(staging),
            Self::Zip(zip) => zip.unpack(staging),
            Self::Seven(seven) => seven.unpack(staging),
            Self::Tar(tar) => tar.unpack(staging),
        }
    }
}
