//! The few file operations that a lake needs, as a trait: the real disk, and one that loses power and fails on demand.
//! Nothing else in this crate touches files, so that the tests can cut the power between any two operations.
//!
//! Names and contents become durable separately: [`DiskFile::sync_data`] and [`DiskFile::sync_all`] say nothing about
//! the name of the file, which is durable only after [`Disk::sync_directory`] on its folder.

use std::fmt::Debug;
use std::io;
use std::path::Path;

#[cfg(any(test, feature = "testing"))]
mod faulty;
mod names;
mod real;

#[cfg(any(test, feature = "testing"))]
pub use faulty::{Fault, FaultyDisk};
pub(crate) use names::sync_names;
pub use real::RealDisk;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// For reading only.
    Read,
    /// For reading and writing at any offset.
    ReadWrite,
}

/// Space of a file system in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What this process may still use.
    pub free: u64,
    /// The size of the file system.
    pub total: u64,
}

/// What a name in a folder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file, or a link to one.
    File,
    /// A folder, or a link to one.
    Directory,
}

/// Length and time of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStatus {
    /// Length in bytes.
    pub length: u64,
    /// When the contents last changed, microseconds since 1970 UTC.
    pub modified_micros: i64,
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name in the folder.
    pub name: String,
    /// What it stands for.
    pub kind: EntryKind,
    /// Length and time; of a folder they mean nothing.
    pub status: FileStatus,
}

/// A lock on a file, held until it is dropped or the process ends.
pub trait DiskLock: Send + Sync + Debug {
    /// Replaces the contents of the locked file: who holds the lock, for those who cannot have it.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn describe(&mut self, text: &str) -> io::Result<()>;
}

/// A file system.
pub trait Disk: Send + Sync + Debug {
    /// Makes a new, empty file, open for reading and writing. Its name is not yet durable.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken; whatever else the file system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that exists.
    ///
    /// # Errors
    /// `NotFound` when there is none; whatever else the file system says.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>>;

    /// Makes one folder whose parent exists. Its name is not yet durable.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken; whatever else the file system says.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// Whether a folder is there.
    ///
    /// # Errors
    /// Whatever the file system says, except that nothing is there.
    fn directory_exists(&self, path: &Path) -> io::Result<bool>;

    /// Makes the names inside a folder durable: of new files, renamed ones and removed ones.
    ///
    /// # Errors
    /// Whatever the file system says. What is durable is then unknown.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// Renames a file, replacing one that has the new name. Not durable until the folders are synced.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Not durable until the folder is synced.
    ///
    /// # Errors
    /// `NotFound` when there is none; whatever else the file system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Gives a file a second name, which must be new. Not durable until the folder is synced.
    ///
    /// # Errors
    /// `AlreadyExists` when the new name is taken; whatever else the file system says.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes an empty folder. Not durable until its parent is synced.
    ///
    /// # Errors
    /// `NotFound` when there is none; `DirectoryNotEmpty`; whatever else the file system says.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;

    /// Locks a file, which is made when it is not there. The lock ends when the value is dropped, and with the
    /// process however it ends; names and contents of the file say nothing about it.
    ///
    /// # Errors
    /// `WouldBlock` when somebody else holds the lock; whatever else the file system says.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;

    /// The files and folders in a folder, sorted by name. Links are followed; names that are no Unicode, links that
    /// lead nowhere and what is neither file nor folder are left out.
    ///
    /// # Errors
    /// `NotFound` when there is no such folder; whatever else the file system says.
    fn entries(&self, path: &Path) -> io::Result<Vec<Entry>>;

    /// The names of the regular files in a folder, sorted. Names that are no Unicode are left out.
    ///
    /// # Errors
    /// `NotFound` when there is no such folder; whatever else the file system says.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Free and total space of the file system that holds `path`, which must exist.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn space(&self, path: &Path) -> io::Result<Space>;

    /// Whether the paths are those of the machine. The Delta library asks the machine itself whether the folder of a
    /// `file://` table exists, so tables on another disk get another scheme.
    fn is_of_this_machine(&self) -> bool {
        true
    }

    /// Makes a folder and every missing parent, each name durable when this returns.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn create_directories(&self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() || self.directory_exists(path)? {
            return Ok(());
        }
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        if let Some(parent) = parent {
            self.create_directories(parent)?;
        }
        match self.create_directory(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.sync_directory(parent.unwrap_or(Path::new(".")))
    }
}

/// An open file.
pub trait DiskFile: Send + Debug {
    /// Writes all bytes at an offset, extending the file when they reach past its end.
    ///
    /// # Errors
    /// Whatever the file system says. Any part of the bytes may then have been written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Reads up to `buffer.len()` bytes at an offset; fewer only at the end of the file.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Makes the contents durable, and the length as far as reading them back needs it (`fdatasync`).
    ///
    /// # Errors
    /// Whatever the file system says. What is durable is then unknown and a later success proves nothing.
    fn sync_data(&mut self) -> io::Result<()>;

    /// Makes contents and metadata durable (`fsync`).
    ///
    /// # Errors
    /// As [`DiskFile::sync_data`].
    fn sync_all(&mut self) -> io::Result<()>;

    /// Cuts the file to a length.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// Reserves space up to `length` and makes the file at least that long; the new bytes read as zero.
    ///
    /// # Errors
    /// `StorageFull` when there is no room; whatever else the file system says.
    fn preallocate(&mut self, length: u64) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn length(&self) -> io::Result<u64>;

    /// Length and time of the file.
    ///
    /// # Errors
    /// `NotFound` when it is a folder; whatever else the file system says.
    fn status(&self) -> io::Result<FileStatus>;

    /// An offset behind which everything reads as zero, because nothing was ever written there; the length where the
    /// file system cannot tell.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn written_end(&self) -> io::Result<u64> {
        self.length()
    }
}

/// The bytes of a whole file of at most `limit` bytes, and how many of them were ever written: what lies behind is
/// zero and was not read.
///
/// # Errors
/// `FileTooLarge` above the limit; whatever else the file system says.
pub(crate) fn read_all(file: &dyn DiskFile, limit: u64) -> io::Result<(Vec<u8>, usize)> {
    let length = file.length()?;
    if length > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{length} bytes, at most {limit} are read"),
        ));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    let written = usize::try_from(file.written_end()?.min(length)).map_err(io::Error::other)?;
    let mut filled = 0;
    while filled < written {
        let count = file.read_at(filled as u64, &mut bytes[filled..written])?;
        if count == 0 {
            // Somebody cut the file since its length was asked for.
            bytes.truncate(filled);
            break;
        }
        filled += count;
    }
    Ok((bytes, filled))
}

/// Writes a small file anew: a temporary file beside it, synced, renamed, its folder synced. After a power cut the old
/// contents or the new ones are there.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn replace_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = std::path::PathBuf::from(temporary);
    match disk.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = disk.create(&temporary)?;
    file.write_at(0, bytes)?;
    file.sync_all()?;
    disk.rename(&temporary, path)?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => disk.sync_directory(parent),
        None => disk.sync_directory(Path::new(".")),
    }
}

/// Whether an error says that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
