//! Unix: everything goes through directory handles. On Linux `openat2` resolves a whole path in one call without ever
//! following a link; elsewhere, and where the kernel does not have it, the path is walked component by component.

use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawMode};
use rustix::io::Errno;

use super::error::unsafe_path;
use super::{Entry, EntryKind, MAX_ENTRIES, Stat};

const DIR_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Without NONBLOCK, opening a named pipe would wait for its other end.
const FILE_FLAGS: OFlags = OFlags::CLOEXEC.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// An open directory.
#[derive(Debug)]
pub(super) struct Handle {
    fd: OwnedFd,
    /// It lies beneath the one that the user named, whose own rights are his word: they are never changed.
    is_beneath: bool,
}

/// The outcome of asking for a lock.
pub(super) enum Locked {
    /// Taken.
    Mine(File),
    /// Another process has it; its file, if it can be read.
    Held(Option<File>),
}

/// Opens a directory by a trusted path; links in it are followed.
pub(super) fn open_root(path: &Path) -> io::Result<Handle> {
    Ok(Handle { fd: retry(|| rustix::fs::open(path, DIR_FLAGS, Mode::empty()))?, is_beneath: false })
}

impl Handle {
    /// Opens a directory beneath this one. `rel`: checked components, `/`-separated.
    pub(super) fn open_dir(&self, rel: &str) -> io::Result<Handle> {
        Ok(Handle { fd: self.open(rel, DIR_FLAGS, Mode::empty())?, is_beneath: true })
    }

    /// Which file system it lies on, and its number there.
    #[allow(clippy::unnecessary_cast, reason = "not every Unix counts its devices in 64 bits")]
    pub(super) fn identity(&self) -> io::Result<(u64, u64)> {
        let stat = retry_errno(|| rustix::fs::fstat(&self.fd))?;
        Ok((stat.st_dev as u64, stat.st_ino as u64))
    }

    /// Opens a regular file for reading.
    pub(super) fn open_read(&self, rel: &str) -> io::Result<File> {
        let file = File::from(self.open(rel, FILE_FLAGS | OFlags::RDONLY, Mode::empty())?);
        regular(&file)?;
        Ok(file)
    }

    /// Opens a regular file for writing without truncating it, or makes it.
    pub(super) fn open_write(&self, rel: &str, exec: bool) -> io::Result<File> {
        let mode = Mode::from_raw_mode(if exec { 0o777 } else { 0o666 });
        let flags = FILE_FLAGS | OFlags::WRONLY | OFlags::CREATE;
        let opened = match self.open(rel, flags, mode) {
            Err(e) if is_denied(&e) && self.may_write_now(rel) => self.open(rel, flags, mode),
            opened => opened,
        };
        let file = File::from(opened?);
        let meta = regular(&file)?;
        let is = meta.mode() & 0o7777;
        let should = if exec { is | ((is & 0o444) >> 2) } else { is & !0o111 };
        if (is & 0o111 != 0) != exec {
            match rustix::fs::fchmod(&file, Mode::from_raw_mode(should as RawMode)) {
                // On a disk that another user mounted without rights of its own (exFAT, NTFS, a network drive), where every file has
                // the same bits: the bit is a hint.
                Ok(()) | Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::NOSYS) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(file)
    }

    /// Opens a regular file so that it can be flushed.
    pub(super) fn open_sync(&self, rel: &str) -> io::Result<File> {
        self.open_read(rel)
    }

    /// Makes a new file in this directory; an error if there is something.
    pub(super) fn create_new(&self, name: &str) -> io::Result<File> {
        let flags = FILE_FLAGS | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let open = || self.open(name, flags, Mode::from_raw_mode(0o666)).map(File::from);
        match open() {
            Err(e) if is_denied(&e) && self.may_change_now() => open(),
            opened => opened,
        }
    }

    /// Opens or makes a lock file and tries to take its lock.
    pub(super) fn open_lock(&self, name: &str) -> io::Result<Locked> {
        let flags = FILE_FLAGS | OFlags::RDWR | OFlags::CREATE;
        let file = File::from(self.open(name, flags, Mode::from_raw_mode(0o666))?);
        regular(&file)?;
        match retry(|| rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => Ok(Locked::Mine(file)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Locked::Held(Some(file))),
            Err(e) => Err(e),
        }
    }

    /// Makes a directory; its parent exists. Whether it was made: false when there was one.
    pub(super) fn make_dir(&self, rel: &str) -> io::Result<bool> {
        self.beneath(rel, |dir, name| {
            dir.change(|| match rustix::fs::mkdirat(&dir.fd, name, Mode::from_raw_mode(0o777)) {
                Ok(()) => Ok(true),
                Err(Errno::EXIST) => Ok(false),
                Err(e) => Err(e),
            })
        })
    }

    /// Removes a file (a link itself, never what it points at).
    pub(super) fn remove_file(&self, rel: &str) -> io::Result<()> {
        self.beneath(rel, |dir, name| dir.change(|| rustix::fs::unlinkat(&dir.fd, name, AtFlags::empty())))
    }

    /// Removes an empty directory.
    pub(super) fn remove_dir(&self, rel: &str) -> io::Result<()> {
        self.beneath(rel, |dir, name| dir.change(|| rustix::fs::unlinkat(&dir.fd, name, AtFlags::REMOVEDIR)))
    }

    /// Renames within this directory, in place of what has the new name.
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|| rustix::fs::renameat(&self.fd, from, &self.fd, to))
    }

    /// What lies at `rel`; nothing also when its directory is missing.
    pub(super) fn entry_beneath(&self, rel: &str) -> io::Result<Option<Entry>> {
        let found = self.beneath(rel, |dir, name| {
            let stat = retry_errno(|| rustix::fs::statat(&dir.fd, name, AtFlags::SYMLINK_NOFOLLOW))?;
            Ok(entry(name.into(), &stat))
        });
        match found {
            Ok(entry) => Ok(Some(entry)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Everything in this directory; what vanishes meanwhile is left out.
    pub(super) fn entries(&self) -> io::Result<Vec<Entry>> {
        self.each_name(|name| match retry_errno(|| rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(stat) => Ok(Some(entry(OsString::from_vec(name.to_bytes().to_vec()), &stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        })
    }

    /// The names in this directory.
    pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
        self.each_name(|name| Ok(Some(OsString::from_vec(name.to_bytes().to_vec()))))
    }

    /// What `of` makes of each name in this directory.
    fn each_name<T>(&self, of: impl Fn(&CStr) -> io::Result<Option<T>>) -> io::Result<Vec<T>> {
        let mut out = Vec::new();
        for item in rustix::fs::Dir::read_from(&self.fd)? {
            let item = item?;
            let name = item.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if out.len() >= MAX_ENTRIES {
                return Err(io::Error::other("it has too many entries"));
            }
            out.extend(of(name)?);
        }
        Ok(out)
    }

    /// Opens a directory that lies directly in this one, under whatever name.
    pub(super) fn open_child(&self, name: &OsStr) -> io::Result<Handle> {
        match retry_errno(|| rustix::fs::openat(&self.fd, name, DIR_FLAGS | OFlags::NOFOLLOW, Mode::empty())) {
            // A link is reported as one or the other.
            Err(Errno::NOTDIR | Errno::LOOP) => Err(unsafe_path("it is not a directory")),
            other => Ok(Handle { fd: other?, is_beneath: true }),
        }
    }

    /// Opens a regular file that lies directly in this directory so that it can be flushed.
    pub(super) fn open_child_sync(&self, name: &OsStr) -> io::Result<File> {
        let flags = FILE_FLAGS | OFlags::RDONLY | OFlags::NOFOLLOW;
        let file = File::from(retry_errno(|| rustix::fs::openat(&self.fd, name, flags, Mode::empty()))?);
        regular(&file)?;
        Ok(file)
    }

    /// Removes a file (a link itself) that lies directly in this directory.
    pub(super) fn remove_child_file(&self, name: &OsStr) -> io::Result<()> {
        self.change(|| rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()))
    }

    /// Removes an empty directory that lies directly in this one.
    pub(super) fn remove_child_dir(&self, name: &OsStr) -> io::Result<()> {
        self.change(|| rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR))
    }

    /// Renames what lies directly in this directory, and nothing that has the new name.
    pub(super) fn rename_child(&self, from: &OsStr, to: &str) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            match self.change(|| rustix::fs::renameat_with(&self.fd, from, &self.fd, to, flags)) {
                // Not in this kernel, or not on this file system.
                Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) => {}
                // Where case does not count the new name is already that of the same thing.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && self.is_same(from, to)? => {
                    return self.change(|| rustix::fs::renameat(&self.fd, from, &self.fd, to));
                }
                renamed => return renamed,
            }
        }
        if self.names()?.iter().any(|name| name == to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.change(|| rustix::fs::renameat(&self.fd, from, &self.fd, to))
    }

    /// Whether two names in this directory, of which it lists the first only, are of one and the same thing.
    fn is_same(&self, from: &OsStr, to: &str) -> io::Result<bool> {
        let stat = |name: &OsStr| retry_errno(|| rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW));
        let (a, b) = (stat(from)?, stat(to.as_ref())?);
        Ok((a.st_dev, a.st_ino) == (b.st_dev, b.st_ino) && !self.names()?.iter().any(|name| name == to))
    }

    /// Makes the names in this directory durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        match retry_errno(|| rustix::fs::fsync(&self.fd)) {
            // Some file systems (FUSE, network) have no such thing for directories.
            Ok(()) | Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Makes the whole file system durable; false where there is no such call.
    pub(super) fn sync_file_system(&self) -> io::Result<bool> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            // Since Linux 5.8 this also reports write errors that happened since the handle was opened.
            retry_errno(|| rustix::fs::syncfs(&self.fd))?;
            Ok(true)
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        Ok(false)
    }

    /// Bytes that this user may still write.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let stat = retry_errno(|| rustix::fs::fstatvfs(&self.fd))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Acts on a name in the directory that it lies in.
    fn beneath<T>(&self, rel: &str, act: impl FnOnce(&Self, &str) -> io::Result<T>) -> io::Result<T> {
        match rel.rsplit_once('/') {
            None => act(self, rel),
            Some((parent, name)) => act(&self.open_dir(parent)?, name),
        }
    }

    /// Changes the names in this directory; one that its owner cannot write is made writable for him first. Games come read-only from
    /// CDs and archives, and whoever may remove the whole may remove its parts.
    fn change<T>(&self, mut act: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
        match retry_errno(&mut act) {
            Err(Errno::ACCESS) if self.may_change_now() => Ok(retry_errno(act)?),
            other => Ok(other?),
        }
    }

    /// Lets this user change the names in this directory, if it is his. False: that changed nothing.
    fn may_change_now(&self) -> bool {
        self.is_beneath && grant(&self.fd, CHANGE_DIR)
    }

    /// Lets this user write a file that is his, or make it in a directory that is. False: that changed nothing.
    fn may_write_now(&self, rel: &str) -> bool {
        match self.open_read(rel) {
            Ok(file) => grant(&file, Mode::WUSR),
            Err(e) if e.kind() != io::ErrorKind::NotFound => false,
            Err(_) => self.beneath(rel, |dir, _| Ok(dir.may_change_now())).unwrap_or(false),
        }
    }

    fn open(&self, rel: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            use rustix::fs::ResolveFlags;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match retry_errno(|| rustix::fs::openat2(&self.fd, rel, flags, mode, resolve)) {
                // Not in this kernel; refused by an old container sandbox; lost a race with a rename.
                Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => {}
                other => return Ok(other?),
            }
        }
        self.walk(rel, flags, mode)
    }

    #[cfg(test)]
    pub(super) fn walk_for_reading(&self, rel: &str) -> io::Result<File> {
        self.walk(rel, FILE_FLAGS | OFlags::RDONLY, Mode::empty()).map(File::from)
    }

    /// Opens `rel` one component at a time; no component may be a link.
    fn walk(&self, rel: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let step = |dir: &OwnedFd, name: &str, flags: OFlags, mode: Mode| -> io::Result<OwnedFd> {
            match retry_errno(|| rustix::fs::openat(dir, name, flags | OFlags::NOFOLLOW, mode)) {
                // A link where a directory is wanted is reported as "not a directory".
                Err(Errno::NOTDIR) if is_link(dir, name) => Err(Errno::LOOP.into()),
                other => Ok(other?),
            }
        };
        let Some((parents, last)) = rel.rsplit_once('/') else {
            return step(&self.fd, rel, flags, mode);
        };
        let mut dir: Option<OwnedFd> = None;
        for name in parents.split('/') {
            dir = Some(step(dir.as_ref().unwrap_or(&self.fd), name, DIR_FLAGS, Mode::empty())?);
        }
        step(dir.as_ref().unwrap_or(&self.fd), last, flags, mode)
    }
}

/// What it takes to change the names in a directory.
const CHANGE_DIR: Mode = Mode::WUSR.union(Mode::XUSR);

/// Gives the owner of something a right to it. False: he has it, or this user is not he.
fn grant(file: &impl AsFd, right: Mode) -> bool {
    let Ok(stat) = rustix::fs::fstat(file) else { return false };
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    !mode.contains(right) && rustix::fs::fchmod(file, mode | right).is_ok()
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// What the system knows of an open file.
pub(super) fn stat_file(file: &File) -> io::Result<Stat> {
    let meta = file.metadata()?;
    Ok(Stat {
        size: meta.len(),
        mtime_ns: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
        exec: meta.mode() & 0o100 != 0,
    })
}

pub(super) fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(buf, offset)
}

pub(super) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    if bytes.len() >= UNCACHED_MIN
        && let Some(result) = write_uncached(file, bytes, offset)
    {
        return result;
    }
    file.write_at(bytes, offset)
}

/// Writes from this size on go past the page cache.
#[cfg(target_os = "linux")]
const UNCACHED_MIN: usize = 256 << 10;

/// Writes with `RWF_DONTCACHE` (Linux 6.14): the system begins to write the pages at once and drops them when they are on
/// disk. A game on its way in is not read again soon, and must not push what the running game needs out of memory; it
/// also costs less, since the same few pages serve over and over. `None`: this kernel or file system cannot.
#[cfg(target_os = "linux")]
fn write_uncached(file: &File, bytes: &[u8], offset: u64) -> Option<io::Result<usize>> {
    use rustix::io::{Errno, ReadWriteFlags};
    /// linux/fs.h; not named by rustix.
    const RWF_DONTCACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);
    match rustix::io::pwritev2(file, &[io::IoSlice::new(bytes)], offset, RWF_DONTCACHE) {
        Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => None,
        result => Some(result.map_err(io::Error::from)),
    }
}

/// Reserves `len` bytes from the start and extends the file to that length; false where the file system cannot.
pub(super) fn reserve(file: &File, len: u64) -> io::Result<bool> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    match retry_errno(|| rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, len)) {
        Ok(()) => Ok(true),
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => Ok(false),
        Err(e) => Err(e.into()),
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = (file, len);
        Ok(false)
    }
}

/// Lets `to` share all blocks of `from`; false where the file system cannot.
pub(super) fn share_blocks(to: &File, from: &File) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    match retry_errno(|| rustix::fs::ioctl_ficlone(to, from)) {
        Ok(()) => Ok(true),
        Err(Errno::NOTSUP | Errno::NOTTY | Errno::NOSYS | Errno::INVAL | Errno::XDEV | Errno::PERM) => Ok(false),
        Err(e) => Err(e.into()),
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (to, from);
        Ok(false)
    }
}

/// Copies up to `len` bytes at `offset` without leading them through this process; `None` where that cannot be done.
pub(super) fn copy_range(to: &File, from: &File, offset: u64, len: usize) -> io::Result<Option<usize>> {
    #[cfg(target_os = "linux")]
    {
        let (mut read_at, mut write_at) = (offset, offset);
        match retry_errno(|| rustix::fs::copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), len)) {
            Ok(copied) => Ok(Some(copied)),
            Err(Errno::NOTSUP | Errno::NOSYS | Errno::INVAL | Errno::XDEV | Errno::PERM) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (to, from, offset, len);
        Ok(None)
    }
}

pub(super) fn start_writeback(file: &File, offset: u64, len: u64) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else { return };
        // SAFETY: the descriptor is open for the length of the call, and the call touches no memory of ours.
        unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, offset, len);
}

pub(super) fn advise_sequential(file: &File) {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    let _ = file;
}

/// Here an open file is in nobody's way.
pub(super) fn is_held(_error: &io::Error) -> bool {
    false
}

fn regular(file: &File) -> io::Result<std::fs::Metadata> {
    let meta = file.metadata()?;
    if meta.is_file() { Ok(meta) } else { Err(unsafe_path("it is not a regular file")) }
}

fn is_link(dir: &OwnedFd, name: &str) -> bool {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

// The fields' types differ from system to system.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
fn entry(name: OsString, stat: &rustix::fs::Stat) -> Entry {
    Entry {
        name,
        kind: match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory => EntryKind::Dir,
            FileType::Symlink => EntryKind::Symlink,
            _ => EntryKind::Other,
        },
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime_ns: i128::from(stat.st_mtime) * 1_000_000_000 + stat.st_mtime_nsec as i128,
        exec: stat.st_mode & 0o100 != 0,
        links: stat.st_nlink as u64,
    }
}

fn retry<T>(call: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
    Ok(retry_errno(call)?)
}

fn retry_errno<T>(call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    rustix::io::retry_on_intr(call)
}
