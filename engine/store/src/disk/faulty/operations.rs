//! The operations of a disk, as a faulty disk does them.

use std::io;
use std::path::{Path, PathBuf};

use super::contents::Contents;
use super::file::FaultyFile;
use super::lock::FaultyLock;
use super::names::{Name, NameChange, has_directory, is_root, parent_of};
use super::state::error_of;
use super::{Fault, FaultyDisk};
use crate::disk::{Access, Disk, DiskFile, DiskLock, Entry, EntryKind, FileStatus, Space};

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.alive()?;
        state.whole_step()?;
        state.check_free(path)?;
        let id = state.next_file;
        state.next_file += 1;
        state.files.insert(id, Contents::default());
        state.change(parent_of(path), NameChange::Add(path.to_owned(), Name::File(id)));
        Ok(Box::new(FaultyFile { disk: self.clone(), id, path: path.to_owned(), writable: true }))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.alive()?;
        state.read_step()?;
        let id = state.names.get(path).and_then(Name::file).ok_or(io::ErrorKind::NotFound)?;
        let writable = access == Access::ReadWrite;
        Ok(Box::new(FaultyFile { disk: self.clone(), id, path: path.to_owned(), writable }))
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        state.whole_step()?;
        state.check_free(path)?;
        state.change(parent_of(path), NameChange::Add(path.to_owned(), Name::Directory));
        Ok(())
    }

    fn directory_exists(&self, path: &Path) -> io::Result<bool> {
        let mut state = self.alive()?;
        state.read_step()?;
        Ok(has_directory(&state.names, path))
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        let fault = state.step()?;
        state.syncs += 1;
        if let Some(fault) = fault {
            state.failed_syncs += u64::from(fault == Fault::Error);
            return Err(error_of(fault));
        }
        if !has_directory(&state.names, path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (synced, pending) =
            std::mem::take(&mut state.pending).into_iter().partition(|(folder, _)| folder == path);
        state.pending = pending;
        let synced: Vec<(PathBuf, NameChange)> = synced;
        synced.iter().for_each(|(_, change)| change.apply(&mut state.durable_names));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        state.whole_step()?;
        let entry = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change(parent_of(to), NameChange::Rename(from.to_owned(), to.to_owned(), entry));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        state.whole_step()?;
        if state.names.get(path).and_then(Name::file).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(parent_of(path), NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        state.whole_step()?;
        let id = state.names.get(from).and_then(Name::file).ok_or(io::ErrorKind::NotFound)?;
        state.check_free(to)?;
        state.change(parent_of(to), NameChange::Add(to.to_owned(), Name::File(id)));
        Ok(())
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        state.whole_step()?;
        if state.names.get(path) != Some(&Name::Directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if state.names.keys().any(|name| name != path && name.starts_with(path)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.change(parent_of(path), NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let exists = {
            let mut state = self.alive()?;
            state.read_step()?;
            state.names.get(path).and_then(Name::file).is_some()
        };
        if !exists {
            match self.create(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        let mut state = self.alive()?;
        if state.locks.contains_key(path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let number = state.next_lock;
        state.next_lock += 1;
        state.locks.insert(path.to_owned(), number);
        Ok(Box::new(FaultyLock { disk: self.clone(), path: path.to_owned(), number }))
    }

    fn entries(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut state = self.alive()?;
        state.read_step()?;
        if !has_directory(&state.names, path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = state.names.iter().filter(|(name, _)| !is_root(name) && parent_of(name) == path);
        let entries = inside.filter_map(|(name, what)| {
            let contents = what.file().and_then(|id| state.files.get(&id));
            Some(Entry {
                name: name.file_name()?.to_str()?.to_owned(),
                kind: if contents.is_some() { EntryKind::File } else { EntryKind::Directory },
                status: contents.map_or(FileStatus { length: 0, modified_micros: 0 }, Contents::status),
            })
        });
        Ok(entries.collect())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut state = self.alive()?;
        state.read_step()?;
        if !has_directory(&state.names, path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = state.names.iter().filter(|(name, e)| e.file().is_some() && parent_of(name) == path);
        Ok(inside.filter_map(|(name, _)| Some(name.file_name()?.to_str()?.to_owned())).collect())
    }

    fn is_of_this_machine(&self) -> bool {
        false
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let state = self.alive()?;
        state.powered()?;
        let total = state.capacity.unwrap_or(1 << 50);
        Ok(Space { free: total.saturating_sub(state.used()), total })
    }
}
