//! The disk of the machine.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::{Access, Disk, DiskFile, DiskLock, Entry, EntryKind, FileStatus, Space};

/// The file system of the machine, through the standard library and `rustix`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile(File);

/// An advisory lock (`flock`), which the system releases with the file.
#[derive(Debug)]
struct RealLock(File);

/// File systems (ext4, XFS, Btrfs, tmpfs; `statfs(2)`) whose holes are believed: others have called fresh data a hole,
/// and a hole is not read.
#[cfg(target_os = "linux")]
const HOLES_ARE_EXACT: [i64; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994];

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(access == Access::ReadWrite).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn directory_exists(&self, path: &Path) -> io::Result<bool> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(metadata.is_dir()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(RealLock(file))),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn entries(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let metadata = match fs::metadata(entry.path()) {
                Ok(metadata) => metadata,
                // Removed since, or a link that leads nowhere.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let kind = match metadata.file_type() {
                kind if kind.is_file() => EntryKind::File,
                kind if kind.is_dir() => EntryKind::Directory,
                _ => continue,
            };
            entries.push(Entry { name, kind, status: status_of(&metadata)? });
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let status = rustix::fs::statvfs(path)?;
        Ok(Space {
            free: status.f_bavail.saturating_mul(status.f_frsize),
            total: status.f_blocks.saturating_mul(status.f_frsize),
        })
    }
}

impl DiskLock for RealLock {
    fn describe(&mut self, text: &str) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()?;
        self.0.write_all(text.as_bytes())
    }
}

fn status_of(metadata: &Metadata) -> io::Result<FileStatus> {
    let modified = metadata.modified()?;
    // A time before 1970 is negative.
    let micros = match modified.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    };
    Ok(FileStatus { length: metadata.len(), modified_micros: micros })
}

impl DiskFile for RealFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read_at(&mut buffer[filled..], offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn preallocate(&mut self, length: u64) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, length) {
            Ok(()) => return Ok(()),
            // Some file systems cannot reserve space; the length alone is then all that can be had.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        if self.length()? < length {
            self.0.set_len(length)?;
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn status(&self) -> io::Result<FileStatus> {
        let metadata = self.0.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::NotFound.into());
        }
        status_of(&metadata)
    }

    fn written_end(&self) -> io::Result<u64> {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{SeekFrom, fstatfs, seek};
            use rustix::io::Errno;
            #[allow(clippy::useless_conversion, reason = "the type is another one on other processors")]
            let kind = i64::from(fstatfs(&self.0)?.f_type);
            if !HOLES_ARE_EXACT.contains(&kind) {
                return self.length();
            }
            let mut end = 0;
            loop {
                // Space that is reserved and not yet written counts as a hole.
                let found = seek(&self.0, SeekFrom::Data(end)).and_then(|d| seek(&self.0, SeekFrom::Hole(d)));
                match found {
                    Ok(hole) => end = hole,
                    Err(Errno::NXIO) => return Ok(end),
                    Err(Errno::INVAL | Errno::NOTSUP) => return self.length(),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        #[cfg(not(target_os = "linux"))]
        self.length()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_space_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = RealDisk.create(&folder.path().join("file")).unwrap();
        file.preallocate(16 << 20).unwrap();
        let (bytes, written) = crate::disk::read_all(&*file, 16 << 20).unwrap();
        assert_eq!(bytes.len(), 16 << 20);
        assert!(written == 0 || written == bytes.len(), "{written}");
        file.write_at(5 << 20, b"hello").unwrap();
        let (bytes, written) = crate::disk::read_all(&*file, 16 << 20).unwrap();
        assert_eq!(&bytes[5 << 20..(5 << 20) + 5], b"hello");
        assert!(written >= (5 << 20) + 5 && bytes[written..].iter().all(|b| *b == 0));
    }

    #[test]
    fn files_are_written_cut_listed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        RealDisk.create_directories(&deep).unwrap();
        RealDisk.create_directories(&deep).unwrap();
        let path = deep.join("file");
        let mut file = RealDisk.create(&path).unwrap();
        assert_eq!(RealDisk.create(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        file.preallocate(100).unwrap();
        file.write_at(10, b"hello").unwrap();
        file.sync_data().unwrap();
        assert_eq!(file.length().unwrap(), 100);
        file.truncate(12).unwrap();
        file.sync_all().unwrap();
        let file = RealDisk.open(&path, Access::Read).unwrap();
        assert_eq!(crate::disk::read_all(&*file, 12).unwrap().0, b"\0\0\0\0\0\0\0\0\0\0he");
        assert_eq!(crate::disk::read_all(&*file, 11).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        RealDisk.rename(&path, &deep.join("other")).unwrap();
        RealDisk.sync_directory(&deep).unwrap();
        assert_eq!(RealDisk.list(&deep).unwrap(), ["other"]);
        assert_eq!(RealDisk.list(&folder.path().join("a")).unwrap(), [""; 0]);
        RealDisk.remove(&deep.join("other")).unwrap();
        assert_eq!(RealDisk.open(&path, Access::Read).unwrap_err().kind(), io::ErrorKind::NotFound);
        let space = RealDisk.space(&deep).unwrap();
        assert!(space.total > 0 && space.free <= space.total);
    }

    #[test]
    fn links_locks_and_entries_are_those_of_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        RealDisk.create(&path("file")).unwrap().write_at(0, b"hello").unwrap();
        RealDisk.create_directory(&path("sub")).unwrap();
        RealDisk.hard_link(&path("file"), &path("link")).unwrap();
        let taken = RealDisk.hard_link(&path("file"), &path("sub")).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        std::os::unix::fs::symlink("nowhere", path("dangling")).unwrap();
        let mut lock = RealDisk.lock(&path("lock")).unwrap();
        assert_eq!(RealDisk.lock(&path("lock")).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        lock.describe("a long text").unwrap();
        lock.describe("me").unwrap();
        drop(lock);
        drop(RealDisk.lock(&path("lock")).unwrap());
        let entries = RealDisk.entries(folder.path()).unwrap();
        let found: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.kind)).collect();
        let file = EntryKind::File;
        let expected = [("file", file), ("link", file), ("lock", file), ("sub", EntryKind::Directory)];
        assert_eq!(found, expected);
        assert_eq!((entries[0].status.length, entries[2].status.length), (5, 2));
        assert!(entries[0].status.modified_micros > 1_600_000_000_000_000);
        let opened = RealDisk.open(&path("link"), Access::Read).unwrap();
        assert_eq!(opened.status().unwrap(), entries[1].status);
        assert_eq!(
            RealDisk.remove_directory(folder.path()).unwrap_err().kind(),
            io::ErrorKind::DirectoryNotEmpty
        );
        RealDisk.remove_directory(&path("sub")).unwrap();
        assert_eq!(RealDisk.entries(&path("sub")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
