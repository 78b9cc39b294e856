//! An open file of a faulty disk.

use std::io;
use std::path::PathBuf;

use super::state::error_of;
use super::{Fault, FaultyDisk};
use crate::disk::{DiskFile, FileStatus};

#[derive(Debug)]
pub(super) struct FaultyFile {
    pub(super) disk: FaultyDisk,
    pub(super) id: u64,
    pub(super) path: PathBuf,
    pub(super) writable: bool,
}

impl FaultyFile {
    fn no_file(&self) -> io::Error {
        io::Error::new(io::ErrorKind::NotFound, format!("{} is gone", self.path.display()))
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.alive()?;
        let fault = state.step()?;
        state.syncs += 1;
        state.failed_syncs += u64::from(fault == Some(Fault::Error));
        let contents = state.files.get_mut(&self.id).ok_or_else(|| self.no_file())?;
        match fault {
            None => {
                contents.sync();
                Ok(())
            }
            Some(fault) => {
                contents.dirty.clear();
                contents.length_dirty = false;
                Err(error_of(fault))
            }
        }
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_writable()?;
        let mut state = self.disk.alive()?;
        let fault = state.step()?;
        let bytes = if fault.is_some() { &bytes[..bytes.len() / 2] } else { bytes };
        let start = offset as usize;
        state.extend(self.id, start + bytes.len())?;
        let now = state.now_micros;
        let contents = state.files.get_mut(&self.id).ok_or_else(|| self.no_file())?;
        contents.modified_micros = now;
        contents.cached[start..start + bytes.len()].copy_from_slice(bytes);
        contents.mark(start, bytes.len());
        fault.map_or(Ok(()), |fault| Err(error_of(fault)))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.disk.alive()?;
        state.read_step()?;
        let contents = state.files.get(&self.id).ok_or_else(|| self.no_file())?;
        let start = (offset as usize).min(contents.cached.len());
        let count = buffer.len().min(contents.cached.len() - start);
        buffer[..count].copy_from_slice(&contents.cached[start..start + count]);
        Ok(count)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&mut self) -> io::Result<()> {
        self.sync()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut state = self.disk.alive()?;
        state.whole_step()?;
        let length = length as usize;
        state.extend(self.id, length)?;
        let contents = state.files.get_mut(&self.id).ok_or_else(|| self.no_file())?;
        // Bytes past the new end must read as zero if the file grows again, also after a power cut.
        let old = contents.cached.len();
        contents.cached.truncate(length);
        contents.mark(length, old - length);
        contents.length_dirty = true;
        Ok(())
    }

    fn preallocate(&mut self, length: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut state = self.disk.alive()?;
        state.whole_step()?;
        state.extend(self.id, length as usize)
    }

    fn length(&self) -> io::Result<u64> {
        let state = self.disk.alive()?;
        state.powered()?;
        Ok(state.files.get(&self.id).ok_or_else(|| self.no_file())?.cached.len() as u64)
    }

    fn status(&self) -> io::Result<FileStatus> {
        let state = self.disk.alive()?;
        state.powered()?;
        Ok(state.files.get(&self.id).ok_or_else(|| self.no_file())?.status())
    }
}
