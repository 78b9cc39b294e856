//! The disk of the machine, on which now and then a write to a log file fails after half of its bytes.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use store::disk::{Access, Disk, DiskFile, DiskLock, Entry, FileStatus, RealDisk, Space};

/// Every so many writes to log files fail.
const EVERY: u64 = 12;

#[derive(Debug, Clone, Default)]
pub(crate) struct StumblingDisk {
    writes: Arc<AtomicU64>,
}

#[derive(Debug)]
struct StumblingFile {
    file: Box<dyn DiskFile>,
    writes: Option<Arc<AtomicU64>>,
}

impl StumblingDisk {
    fn wrap(&self, path: &Path, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        Box::new(StumblingFile { file, writes: is_log.then(|| Arc::clone(&self.writes)) })
    }
}

impl Disk for StumblingDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.wrap(path, RealDisk.create(path)?))
    }
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.wrap(path, RealDisk.open(path, access)?))
    }
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_directory(path)
    }
    fn directory_exists(&self, path: &Path) -> io::Result<bool> {
        RealDisk.directory_exists(path)
    }
    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_directory(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.hard_link(from, to)
    }
    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_directory(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        RealDisk.lock(path)
    }
    fn entries(&self, path: &Path) -> io::Result<Vec<Entry>> {
        RealDisk.entries(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(path)
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        RealDisk.space(path)
    }
}

impl DiskFile for StumblingFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Some(writes) = &self.writes
            && writes.fetch_add(1, Ordering::Relaxed) % EVERY == EVERY - 1
        {
            self.file.write_at(offset, &bytes[..bytes.len() / 2])?;
            return Err(io::Error::from_raw_os_error(5));
        }
        self.file.write_at(offset, bytes)
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }
    fn sync_data(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn sync_all(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }
    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }
    fn preallocate(&mut self, length: u64) -> io::Result<()> {
        self.file.preallocate(length)
    }
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
    fn status(&self) -> io::Result<FileStatus> {
        self.file.status()
    }
}
