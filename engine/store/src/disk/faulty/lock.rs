//! A lock on a file of a faulty disk.

use std::io;
use std::path::PathBuf;

use super::FaultyDisk;
use super::file::FaultyFile;
use super::names::Name;
use crate::disk::{DiskFile, DiskLock};

#[derive(Debug)]
pub(super) struct FaultyLock {
    pub(super) disk: FaultyDisk,
    pub(super) path: PathBuf,
    pub(super) number: u64,
}

impl FaultyLock {
    /// The number of the file when the lock is still held.
    fn held(&self) -> io::Result<u64> {
        let state = self.disk.alive()?;
        let id = state.names.get(&self.path).and_then(Name::file);
        match state.locks.get(&self.path) {
            Some(number) if *number == self.number => id.ok_or_else(|| io::ErrorKind::NotFound.into()),
            _ => Err(io::Error::other("the lock is no longer held")),
        }
    }
}

impl DiskLock for FaultyLock {
    fn describe(&mut self, text: &str) -> io::Result<()> {
        let id = self.held()?;
        let mut file = FaultyFile { disk: self.disk.clone(), id, path: self.path.clone(), writable: true };
        file.truncate(0)?;
        file.write_at(0, text.as_bytes())
    }
}

impl Drop for FaultyLock {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.locks.get(&self.path) == Some(&self.number) {
            state.locks.remove(&self.path);
        }
    }
}
