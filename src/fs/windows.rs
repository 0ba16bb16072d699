//! Windows: handles of cap-std confine every path beneath the directory; on top of that no component may be a link.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::windows::fs::FileExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, RawHandle};
use std::path::Path;
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata, OpenOptions, OpenOptionsExt};

use super::error::{ERROR_LOCK_VIOLATION, ERROR_SHARING_VIOLATION, unsafe_path};
use super::{Entry, EntryKind, MAX_ENTRIES, Stat};

/// `FILE_SHARE_READ`: others may read the lock file, to learn who holds it, but not open it for writing.
const SHARE_READ: u32 = 1;

/// To open a directory once more, for flushing: the rights of a writer, everything shared, and that it may be a directory.
const GENERIC_WRITE: u32 = 0x4000_0000;
const SHARE_ALL: u32 = 7;
const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
const INVALID_HANDLE_VALUE: RawHandle = usize::MAX as RawHandle;

/// `BY_HANDLE_FILE_INFORMATION` in words of 32 bits, and where its fields begin.
const FILE_INFORMATION_WORDS: usize = 13;
const VOLUME_SERIAL_NUMBER: usize = 7;
const FILE_INDEX_HIGH: usize = 11;

/// An open directory.
#[derive(Debug)]
pub(super) struct Handle(Dir);

/// The outcome of asking for a lock.
pub(super) enum Locked {
    /// Taken.
    Mine(File),
    /// Another process has it; its file, if it can be read.
    Held(Option<File>),
}

/// Opens a directory by a trusted path; links in it are followed.
pub(super) fn open_root(path: &Path) -> io::Result<Handle> {
    Dir::open_ambient_dir(path, ambient_authority()).map(Handle)
}

impl Handle {
    /// Opens a directory beneath this one. `rel`: checked components, `/`-separated.
    pub(super) fn open_dir(&self, rel: &str) -> io::Result<Handle> {
        self.in_parent(rel, step).map(Handle)
    }

    /// Which volume it lies on, and its number there.
    pub(super) fn identity(&self) -> io::Result<(u64, u64)> {
        let mut about = [0u32; FILE_INFORMATION_WORDS];
        // SAFETY: the handle is open for the length of the call, and `about` is as long as BY_HANDLE_FILE_INFORMATION.
        let done = unsafe { GetFileInformationByHandle(self.0.as_raw_handle(), about.as_mut_ptr()) };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        let number = u64::from(about[FILE_INDEX_HIGH]) << 32 | u64::from(about[FILE_INDEX_HIGH + 1]);
        Ok((u64::from(about[VOLUME_SERIAL_NUMBER]), number))
    }

    /// Opens a regular file for reading.
    pub(super) fn open_read(&self, rel: &str) -> io::Result<File> {
        self.open_file(rel, OpenOptions::new().read(true))
    }

    /// Opens a regular file for writing without truncating it, or makes it. There is no executable bit.
    pub(super) fn open_write(&self, rel: &str, _exec: bool) -> io::Result<File> {
        self.open_to_write(rel, OpenOptions::new().write(true).create(true))
    }

    /// Opens a regular file so that it can be flushed, which takes the right to write.
    pub(super) fn open_sync(&self, rel: &str) -> io::Result<File> {
        self.open_to_write(rel, OpenOptions::new().write(true))
    }

    /// Makes a new file in this directory; an error if there is something.
    pub(super) fn create_new(&self, name: &str) -> io::Result<File> {
        self.open_file(name, OpenOptions::new().write(true).create_new(true))
    }

    /// Opens or makes a lock file that nobody else may open for writing while it is open.
    pub(super) fn open_lock(&self, name: &str) -> io::Result<Locked> {
        match self.open_file(name, OpenOptions::new().read(true).write(true).create(true).share_mode(SHARE_READ)) {
            Ok(file) => Ok(Locked::Mine(file)),
            Err(e) if is_shared(&e) => Ok(Locked::Held(self.open_read(name).ok())),
            Err(e) => Err(e),
        }
    }

    /// Makes a directory; its parent exists. Whether it was made: false when there was one.
    pub(super) fn make_dir(&self, rel: &str) -> io::Result<bool> {
        self.in_parent(rel, |dir, name| match dir.create_dir(name) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(e),
        })
    }

    /// Removes a file (a link itself, never what it points at).
    pub(super) fn remove_file(&self, rel: &str) -> io::Result<()> {
        self.in_parent(rel, |dir, name| although_read_only(dir, name, || dir.remove_file(name)))
    }

    /// Removes an empty directory.
    pub(super) fn remove_dir(&self, rel: &str) -> io::Result<()> {
        self.in_parent(rel, |dir, name| {
            no_link(dir, name)?;
            dir.remove_dir(name)
        })
    }

    /// Renames within this directory, in place of a file that has the new name.
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        although_read_only(&self.0, to, || self.0.rename(from, &self.0, to))
    }

    /// Renames what lies directly in this directory, and nothing that has the new name.
    pub(super) fn rename_child(&self, from: &OsStr, to: &str) -> io::Result<()> {
        if self.names()?.iter().any(|name| name == to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.0.rename(from, &self.0, to)
    }

    /// What lies at `rel`; nothing also when its directory is missing.
    pub(super) fn entry_beneath(&self, rel: &str) -> io::Result<Option<Entry>> {
        let found = self.in_parent(rel, |dir, name| Ok(entry(name.into(), &dir.symlink_metadata(name)?)));
        match found {
            Ok(entry) => Ok(Some(entry)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Everything in this directory; what vanishes meanwhile is left out.
    pub(super) fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut out = Vec::new();
        for item in self.0.entries()? {
            let item = item?;
            if out.len() >= MAX_ENTRIES {
                return Err(io::Error::other("it has too many entries"));
            }
            match item.metadata() {
                Ok(meta) => out.push(entry(item.file_name(), &meta)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(out)
    }

    /// The names in this directory.
    pub(super) fn names(&self) -> io::Result<Vec<std::ffi::OsString>> {
        let mut out = Vec::new();
        for item in self.0.entries()? {
            if out.len() >= MAX_ENTRIES {
                return Err(io::Error::other("it has too many entries"));
            }
            out.push(item?.file_name());
        }
        Ok(out)
    }

    /// Opens a directory that lies directly in this one, under whatever name.
    pub(super) fn open_child(&self, name: &OsStr) -> io::Result<Handle> {
        let meta = self.0.symlink_metadata(name)?;
        if meta.is_symlink() || !meta.is_dir() {
            return Err(unsafe_path("it is not a directory"));
        }
        self.0.open_dir(name).map(Handle)
    }

    /// Opens a regular file that lies directly in this directory so that it can be flushed.
    pub(super) fn open_child_sync(&self, name: &OsStr) -> io::Result<File> {
        if !self.0.symlink_metadata(name)?.is_file() {
            return Err(unsafe_path("it is not a regular file"));
        }
        let open = || self.0.open_with(name, OpenOptions::new().write(true));
        although_read_only(&self.0, name, open).map(cap_std::fs::File::into_std)
    }

    /// Removes a file (a link itself) that lies directly in this directory.
    pub(super) fn remove_child_file(&self, name: &OsStr) -> io::Result<()> {
        match although_read_only(&self.0, name, || self.0.remove_file(name)) {
            // A link to a directory counts as a directory here; what it points at stays.
            Err(_) if self.0.symlink_metadata(name).is_ok_and(|meta| meta.is_symlink()) => self.0.remove_dir(name),
            other => other,
        }
    }

    /// Removes an empty directory that lies directly in this one.
    pub(super) fn remove_child_dir(&self, name: &OsStr) -> io::Result<()> {
        self.0.remove_dir(name)
    }

    /// Asks for the names in this directory to be made durable. NTFS journals changes of names in the order in which they were made, and a
    /// flush writes the journal as far as that; the handle must be one for writing. A file system that refuses keeps its own order, which is
    /// no error here: there is nothing else that could be asked of it.
    pub(super) fn sync(&self) -> io::Result<()> {
        // SAFETY: the handle is open for the length of the call; the new one is closed by `File`.
        unsafe {
            let again = ReOpenFile(self.0.as_raw_handle(), GENERIC_WRITE, SHARE_ALL, FILE_FLAG_BACKUP_SEMANTICS);
            if again != INVALID_HANDLE_VALUE {
                let _ = File::from_raw_handle(again).sync_all();
            }
        }
        Ok(())
    }

    /// Makes the whole file system durable; false: there is no such call for a user.
    pub(super) fn sync_file_system(&self) -> io::Result<bool> {
        Ok(false)
    }

    /// Bytes that this user may still write.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let path = final_path(&self.0)?;
        let mut free = 0u64;
        // SAFETY: `path` ends in a NUL and outlives the call; `free` is a valid place for the answer, and the other
        // two answers may be null.
        let done = unsafe { GetDiskFreeSpaceExW(path.as_ptr(), &mut free, std::ptr::null_mut(), std::ptr::null_mut()) };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(free) }
    }

    fn open_file(&self, rel: &str, options: &OpenOptions) -> io::Result<File> {
        self.in_parent(rel, |dir, name| Self::open_in(dir, name, options))
    }

    fn open_to_write(&self, rel: &str, options: &OpenOptions) -> io::Result<File> {
        self.in_parent(rel, |dir, name| although_read_only(dir, name, || Handle::open_in(dir, name, options)))
    }

    fn open_in(dir: &Dir, name: &str, options: &OpenOptions) -> io::Result<File> {
        no_link(dir, name)?;
        let file = dir.open_with(name, options)?.into_std();
        if file.metadata()?.is_file() { Ok(file) } else { Err(unsafe_path("it is not a regular file")) }
    }

    fn in_parent<T>(&self, rel: &str, act: impl FnOnce(&Dir, &str) -> io::Result<T>) -> io::Result<T> {
        let Some((parents, last)) = rel.rsplit_once('/') else {
            return act(&self.0, rel);
        };
        let mut dir: Option<Dir> = None;
        for name in parents.split('/') {
            dir = Some(step(dir.as_ref().unwrap_or(&self.0), name)?);
        }
        act(dir.as_ref().unwrap_or(&self.0), last)
    }
}

/// What the system knows of an open file.
pub(super) fn stat_file(file: &File) -> io::Result<Stat> {
    let meta = file.metadata()?;
    Ok(Stat { size: meta.len(), mtime_ns: since_1970(meta.modified()?), exec: false })
}

pub(super) fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    file.seek_read(buf, offset)
}

pub(super) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    file.seek_write(bytes, offset)
}

/// Extending a file on NTFS reserves its clusters.
pub(super) fn reserve(file: &File, len: u64) -> io::Result<bool> {
    file.set_len(len)?;
    Ok(true)
}

/// Not without rights that a user may lack.
pub(super) fn share_blocks(_to: &File, _from: &File) -> io::Result<bool> {
    Ok(false)
}

/// There is no such call for a part of an open file.
pub(super) fn copy_range(_to: &File, _from: &File, _offset: u64, _len: usize) -> io::Result<Option<usize>> {
    Ok(None)
}

pub(super) fn start_writeback(_file: &File, _offset: u64, _len: u64) {}

pub(super) fn advise_sequential(_file: &File) {}

/// Does something to a file, and once more without its read-only mark where that stands against it: CDs leave that mark on all their
/// copies (docs/STORAGE.md, *Rights and links*).
fn although_read_only<T>(dir: &Dir, name: impl AsRef<Path>, act: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let name = name.as_ref();
    match act() {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied && set_read_only(dir, name, false) => {
            // What cannot be done either way leaves the file as it was.
            act().inspect_err(|_| {
                set_read_only(dir, name, true);
            })
        }
        other => other,
    }
}

/// Takes the read-only mark from a file, or gives it back; false: it is so already.
fn set_read_only(dir: &Dir, name: &Path, read_only: bool) -> bool {
    let Some(meta) = dir.symlink_metadata(name).ok().filter(Metadata::is_file) else { return false };
    let mut permissions = meta.permissions();
    if permissions.readonly() == read_only {
        return false;
    }
    permissions.set_readonly(read_only);
    dir.set_permissions(name, permissions).is_ok()
}

fn step(dir: &Dir, name: &str) -> io::Result<Dir> {
    no_link(dir, name)?;
    dir.open_dir(name)
}

/// A link that is put there after this check still cannot lead outside: cap-std resolves it beneath the directory.
fn no_link(dir: &Dir, name: &str) -> io::Result<()> {
    match dir.symlink_metadata(name) {
        Ok(meta) if meta.is_symlink() => Err(unsafe_path("it is a link")),
        _ => Ok(()),
    }
}

/// A file that is being deleted, or a directory in which somebody holds a file open, shows as "access denied".
pub(super) fn is_held(error: &io::Error) -> bool {
    is_shared(error) || error.kind() == io::ErrorKind::PermissionDenied
}

fn is_shared(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(ERROR_SHARING_VIOLATION | ERROR_LOCK_VIOLATION))
}

fn entry(name: std::ffi::OsString, meta: &Metadata) -> Entry {
    let kind = if meta.is_symlink() {
        EntryKind::Symlink
    } else if meta.is_dir() {
        EntryKind::Dir
    } else if meta.is_file() {
        EntryKind::File
    } else {
        EntryKind::Other
    };
    let mtime_ns = meta.modified().map_or(0, |time| since_1970(time.into_std()));
    Entry { name, kind, size: meta.len(), mtime_ns, exec: false, links: 1 }
}

fn since_1970(time: SystemTime) -> i128 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
        Err(before) => i128::try_from(before.duration().as_nanos()).map_or(i128::MIN, |ns| -ns),
    }
}

/// The directory's path as the system knows it now, in UTF-16 with a NUL at the end.
fn final_path(dir: &Dir) -> io::Result<Vec<u16>> {
    let mut path = vec![0u16; 32 * 1024];
    // SAFETY: the handle is open for the length of the call, and the buffer is as long as is said.
    let len = unsafe { GetFinalPathNameByHandleW(dir.as_raw_handle(), path.as_mut_ptr(), path.len() as u32, 0) };
    if len == 0 || len as usize >= path.len() {
        return Err(io::Error::last_os_error());
    }
    path.truncate(len as usize + 1);
    Ok(path)
}

#[link(name = "kernel32")]
unsafe extern "system" {
    fn GetDiskFreeSpaceExW(directory: *const u16, available: *mut u64, total: *mut u64, free: *mut u64) -> i32;
    fn ReOpenFile(file: RawHandle, access: u32, share: u32, flags: u32) -> RawHandle;
    fn GetFileInformationByHandle(file: RawHandle, information: *mut u32) -> i32;
    fn GetFinalPathNameByHandleW(file: RawHandle, path: *mut u16, path_len: u32, flags: u32) -> u32;
}
