//! A disk in memory that knows what was synced, loses the rest at a power cut, and fails where a test says so.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Access, Disk, DiskFile, DiskLock, Entry, EntryKind, FileStatus, Space};

/// Bytes that reach the disk together or not at all, except that one block of a crash may be torn inside.
const BLOCK: usize = 64;

/// What happens at a chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails with EIO. A write leaves a part of its bytes; what a failed sync should have made
    /// durable is lost at the next power cut, whatever later syncs say (as on Linux).
    Error,
    /// The operation fails with ENOSPC; a write leaves a part of its bytes.
    Full,
    /// Power fails just before the operation: it and all later ones fail until [`FaultyDisk::crash`].
    PowerCut,
}

/// A disk in memory. Clones share their state, as two processes share a disk.
#[derive(Debug, Clone, Default)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
    /// The start of the machine or process in which this handle is good; `None` is good in all.
    life: Option<u64>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<u64, Contents>,
    next_file: u64,
    /// Names as a running process sees them.
    names: BTreeMap<PathBuf, Name>,
    /// Names after a power cut.
    durable_names: BTreeMap<PathBuf, Name>,
    /// Changes of names that no directory sync has made durable, in order, each with its folder.
    pending: Vec<(PathBuf, NameChange)>,
    capacity: Option<u64>,
    operations: u64,
    reads: u64,
    syncs: u64,
    faults: BTreeMap<u64, Fault>,
    read_faults: BTreeSet<u64>,
    /// Operations that were made to fail.
    failures: u64,
    failed_syncs: u64,
    off: bool,
    /// How often the power was cut or the process killed.
    lives: u64,
    /// Who holds which lock: the number of the lock, so that a holder of long ago gives back nothing.
    locks: BTreeMap<PathBuf, u64>,
    next_lock: u64,
    /// What files that are written now get as their time.
    now_micros: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Directory,
    File(u64),
}

#[derive(Debug, Clone)]
enum NameChange {
    Add(PathBuf, Name),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, Name),
}

#[derive(Debug, Default)]
struct Contents {
    cached: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    length_dirty: bool,
    modified_micros: i64,
}

#[derive(Debug)]
struct FaultyLock {
    disk: FaultyDisk,
    path: PathBuf,
    number: u64,
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    id: u64,
    path: PathBuf,
    writable: bool,
}

impl FaultyDisk {
    /// An empty disk without a limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// A handle for one process: after the next [`FaultyDisk::crash`] or [`FaultyDisk::kill`] everything that is done
    /// through it, or through files that were opened with it, fails. A thread of the dead process that is still at
    /// work can then do no harm.
    pub fn process(&self) -> Self {
        let life = self.state.lock().lives;
        Self { state: Arc::clone(&self.state), life: Some(life) }
    }

    /// The state, for an operation of the process that has this handle.
    fn alive(&self) -> io::Result<parking_lot::MutexGuard<'_, State>> {
        let state = self.state.lock();
        match self.life {
            Some(life) if life != state.lives => Err(io::Error::other("this process is dead")),
            _ => Ok(state),
        }
    }

    /// Limits the sum of all file lengths; `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// The time that files get which are written from now on, microseconds since 1970 UTC.
    pub fn set_time(&self, micros: i64) {
        self.state.lock().now_micros = micros;
    }

    /// The sum of all file lengths.
    pub fn used(&self) -> u64 {
        self.state.lock().used()
    }

    /// Number of changing operations so far: create, write, sync, cut, reserve, link, rename, remove, folder sync.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Number of file and folder syncs so far.
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// Lets the changing operation with this number fail, counted from 0 over the life of the disk
    /// (see [`FaultyDisk::operations`]).
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.state.lock().faults.insert(operation, fault);
    }

    /// Number of reading operations so far: open, read, list, and asking for a folder.
    pub fn reads(&self) -> u64 {
        self.state.lock().reads
    }

    /// Lets the reading operation with this number fail with EIO, counted from 0 over the life of the disk
    /// (see [`FaultyDisk::reads`]).
    pub fn fail_read_at(&self, read: u64) {
        self.state.lock().read_faults.insert(read);
    }

    /// Forgets all faults that were asked for and did not happen yet.
    pub fn clear_faults(&self) {
        let mut state = self.state.lock();
        state.faults.clear();
        state.read_faults.clear();
    }

    /// Number of operations so far that were made to fail, or for which there was no room.
    pub fn failures(&self) -> u64 {
        self.state.lock().failures
    }

    /// Number of syncs so far that were made to fail with EIO.
    pub fn failed_syncs(&self) -> u64 {
        self.state.lock().failed_syncs
    }

    /// Whether the power is off: everything fails until [`FaultyDisk::crash`] or [`FaultyDisk::kill`].
    pub fn is_off(&self) -> bool {
        self.state.lock().off
    }

    /// Turns a power cut into the death of a process: what was written stays in memory, unsynced as it was, and all
    /// locks are free. Whoever still holds open files must not use them any more.
    pub fn kill(&self) {
        let mut state = self.state.lock();
        state.off = false;
        state.lives += 1;
        state.locks.clear();
        state.faults.clear();
        state.read_faults.clear();
    }

    /// Cuts the power and starts again: of what was not synced, each block, each length and each name is kept or
    /// lost as the seed decides, and blocks may be torn. Files that are still open see the state after the cut.
    pub fn crash(&self, seed: u64) {
        let mut random = Random(seed);
        // One choice for the whole cut between "nothing", "everything" and "anything", so that the two ends come up
        // often enough.
        let mood = random.below(4);
        self.cut(random, mood);
    }

    /// Cuts the power and starts again, and all that was not synced is lost.
    pub fn crash_to_synced(&self) {
        self.cut(Random(0), 0);
    }

    fn cut(&self, mut random: Random, mood: u64) {
        let mut state = self.state.lock();
        let state = &mut *state;
        for (_, change) in std::mem::take(&mut state.pending) {
            if mood == 1 || (mood > 1 && random.chance(2)) {
                change.apply(&mut state.durable_names);
            }
        }
        // A name whose folder is gone is gone, too.
        loop {
            let orphan = state
                .durable_names
                .keys()
                .find(|path| !is_root(path) && !has_directory(&state.durable_names, parent_of(path)))
                .cloned();
            match orphan {
                Some(path) => state.durable_names.remove(&path),
                None => break,
            };
        }
        state.names = state.durable_names.clone();
        for contents in state.files.values_mut() {
            contents.crash(&mut random, mood);
        }
        let live: BTreeSet<u64> = state.names.values().filter_map(Name::file).collect();
        state.files.retain(|id, _| live.contains(id));
        state.off = false;
        state.lives += 1;
        state.faults.clear();
        state.read_faults.clear();
        state.locks.clear();
    }

    /// The paths of all files, sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        let state = self.state.lock();
        let files = state.names.iter().filter(|(_, name)| name.file().is_some());
        files.map(|(path, _)| path.clone()).collect()
    }

    /// The bytes of a file as a process sees them, `None` when there is none.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.lock();
        let id = state.names.get(path)?.file()?;
        Some(state.files.get(&id)?.cached.clone())
    }

    /// Replaces the bytes of a file, durably and past every fault: damage done from outside.
    pub fn damage(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state.lock();
        if let Some(id) = state.names.get(path).and_then(Name::file)
            && let Some(contents) = state.files.get_mut(&id)
        {
            *contents = Contents { cached: bytes.clone(), durable: bytes, ..Contents::default() };
        }
    }

    /// Removes a file, durably and past every fault: damage done from outside.
    pub fn delete(&self, path: &Path) {
        let mut state = self.state.lock();
        state.names.remove(path);
        state.durable_names.remove(path);
    }

    /// An independent copy of the disk as it is now, without its faults and locks.
    pub fn copy(&self) -> Self {
        let state = self.state.lock();
        let files = state.files.iter().map(|(id, c)| (*id, c.copy())).collect();
        let state = State {
            files,
            next_file: state.next_file,
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            pending: state.pending.clone(),
            capacity: state.capacity,
            operations: state.operations,
            reads: state.reads,
            syncs: state.syncs,
            faults: BTreeMap::new(),
            read_faults: BTreeSet::new(),
            failures: state.failures,
            failed_syncs: state.failed_syncs,
            off: state.off,
            locks: BTreeMap::new(),
            next_lock: state.next_lock,
            now_micros: state.now_micros,
            lives: state.lives,
        };
        Self { state: Arc::new(Mutex::new(state)), life: None }
    }
}

impl State {
    /// Counts an operation and says what shall go wrong with it.
    fn step(&mut self) -> io::Result<Option<Fault>> {
        if self.off {
            return Err(io::Error::other("the power is off"));
        }
        let fault = self.faults.remove(&self.operations);
        self.operations += 1;
        self.failures += u64::from(fault.is_some());
        if fault == Some(Fault::PowerCut) {
            self.off = true;
            return Err(io::Error::other("the power is off"));
        }
        Ok(fault)
    }

    /// As [`State::step`] for operations that are done whole or not at all.
    fn whole_step(&mut self) -> io::Result<()> {
        self.step()?.map_or(Ok(()), |fault| Err(error_of(fault)))
    }

    fn powered(&self) -> io::Result<()> {
        if self.off { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    /// Counts a reading operation and fails it when it shall.
    fn read_step(&mut self) -> io::Result<()> {
        self.powered()?;
        let read = self.reads;
        self.reads += 1;
        if self.read_faults.remove(&read) {
            self.failures += 1;
            return Err(error_of(Fault::Error));
        }
        Ok(())
    }

    fn change(&mut self, folder: &Path, change: NameChange) {
        change.apply(&mut self.names);
        self.pending.push((folder.to_owned(), change));
    }

    fn used(&self) -> u64 {
        let live: BTreeSet<u64> = self.names.values().filter_map(Name::file).collect();
        self.files.iter().filter(|(id, _)| live.contains(id)).map(|(_, c)| c.cached.len() as u64).sum()
    }

    /// Makes a file longer, filled with zeros, as far as the capacity allows.
    fn extend(&mut self, id: u64, length: usize) -> io::Result<()> {
        let (capacity, now) = (self.capacity, self.now_micros);
        let used = if capacity.is_some() { self.used() } else { 0 };
        let contents = self.files.get_mut(&id).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let more = length.saturating_sub(contents.cached.len());
        if more == 0 {
            return Ok(());
        }
        if capacity.is_some_and(|limit| used.saturating_add(more as u64) > limit) {
            self.failures += 1;
            return Err(error_of(Fault::Full));
        }
        contents.cached.resize(length, 0);
        contents.length_dirty = true;
        contents.modified_micros = now;
        Ok(())
    }
}

impl Name {
    fn file(&self) -> Option<u64> {
        match self {
            Self::File(id) => Some(*id),
            Self::Directory => None,
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Name>) {
        match self {
            Self::Add(path, entry) => {
                names.insert(path.clone(), *entry);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
            Self::Rename(from, to, entry) => {
                names.remove(from);
                names.insert(to.clone(), *entry);
                if *entry == Name::Directory {
                    let inside: Vec<PathBuf> =
                        names.keys().filter(|path| path.starts_with(from)).cloned().collect();
                    for path in inside {
                        if let (Some(name), Ok(rest)) = (names.remove(&path), path.strip_prefix(from)) {
                            names.insert(to.join(rest), name);
                        }
                    }
                }
            }
        }
    }
}

impl Contents {
    fn copy(&self) -> Self {
        Self {
            cached: self.cached.clone(),
            durable: self.durable.clone(),
            dirty: self.dirty.clone(),
            length_dirty: self.length_dirty,
            modified_micros: self.modified_micros,
        }
    }

    fn status(&self) -> FileStatus {
        FileStatus { length: self.cached.len() as u64, modified_micros: self.modified_micros }
    }

    fn mark(&mut self, offset: usize, count: usize) {
        if count > 0 {
            self.dirty.extend(offset / BLOCK..=(offset + count - 1) / BLOCK);
        }
    }

    fn sync(&mut self) {
        self.durable.resize(self.cached.len(), 0);
        for block in std::mem::take(&mut self.dirty) {
            let start = (block * BLOCK).min(self.cached.len());
            let end = (start + BLOCK).min(self.cached.len());
            self.durable[start..end].copy_from_slice(&self.cached[start..end]);
        }
        self.length_dirty = false;
    }

    fn crash(&mut self, random: &mut Random, mood: u64) {
        if self.length_dirty && mood > 0 && random.chance(2) {
            self.durable.resize(self.cached.len(), 0);
        }
        for block in std::mem::take(&mut self.dirty) {
            let keep = match mood {
                0 => 0,
                1 => BLOCK,
                _ if random.chance(8) => random.below(BLOCK as u64 + 1) as usize,
                _ => BLOCK * random.below(2) as usize,
            };
            let start = block * BLOCK;
            let end = (start + keep).min(self.cached.len());
            if keep > 0 && start < end {
                if self.durable.len() < end {
                    self.durable.resize(end, 0);
                }
                self.durable[start..end].copy_from_slice(&self.cached[start..end]);
            }
        }
        self.cached = self.durable.clone();
        self.length_dirty = false;
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.alive()?;
        state.whole_step()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !has_directory(&state.names, parent_of(path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
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
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !has_directory(&state.names, parent_of(path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
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
        if state.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !has_directory(&state.names, parent_of(to)) {
            return Err(io::ErrorKind::NotFound.into());
        }
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

fn error_of(fault: Fault) -> io::Error {
    match fault {
        Fault::Error => io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()),
        Fault::Full => io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()),
        Fault::PowerCut => io::Error::other("the power is off"),
    }
}

fn is_root(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.parent().is_none() || path == Path::new(".")
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn has_directory(names: &BTreeMap<PathBuf, Name>, path: &Path) -> bool {
    is_root(path) || names.get(path) == Some(&Name::Directory)
}

/// splitmix64 (Steele, Lea & Flood 2014): small, and the same everywhere.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(disk: &FaultyDisk, path: &str, bytes: &[u8], sync: bool) {
        let mut file = disk.create(Path::new(path)).unwrap();
        file.write_at(0, bytes).unwrap();
        if sync {
            file.sync_all().unwrap();
        }
    }

    #[test]
    fn synced_contents_with_a_synced_name_always_survive_and_others_sometimes_do_not() {
        let mut lost_name = 0;
        let mut torn = 0;
        for seed in 0..64 {
            let disk = FaultyDisk::new();
            disk.create_directories(Path::new("/lake/wal")).unwrap();
            write(&disk, "/lake/wal/kept", &[7; 300], true);
            disk.sync_directory(Path::new("/lake/wal")).unwrap();
            write(&disk, "/lake/wal/name", &[8; 300], true);
            let mut kept = disk.open(Path::new("/lake/wal/kept"), Access::ReadWrite).unwrap();
            kept.write_at(300, &[9; 300]).unwrap();
            disk.crash(seed);
            let bytes = disk.bytes(Path::new("/lake/wal/kept")).unwrap();
            assert_eq!(bytes[..300], [7; 300]);
            torn += usize::from(bytes.len() != 300 && bytes[300..] != [9; 300]);
            lost_name += usize::from(disk.bytes(Path::new("/lake/wal/name")).is_none());
        }
        assert!((10..60).contains(&lost_name), "{lost_name}");
        assert!((10..60).contains(&torn), "{torn}");
    }

    #[test]
    fn what_a_failed_sync_left_behind_is_never_made_durable_by_a_later_one() {
        let disk = FaultyDisk::new();
        write(&disk, "file", &[1; 64], true);
        disk.sync_directory(Path::new(".")).unwrap();
        let mut file = disk.open(Path::new("file"), Access::ReadWrite).unwrap();
        file.write_at(0, &[2; 64]).unwrap();
        disk.fail_at(disk.operations(), Fault::Error);
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        assert_eq!(disk.bytes(Path::new("file")).unwrap(), [2; 64]);
        disk.crash(3);
        assert_eq!(disk.bytes(Path::new("file")).unwrap(), [1; 64]);
    }

    #[test]
    fn a_full_disk_says_so_and_power_stays_off() {
        let disk = FaultyDisk::new();
        disk.set_capacity(Some(100));
        let mut file = disk.create(Path::new("file")).unwrap();
        assert_eq!(file.preallocate(101).unwrap_err().kind(), io::ErrorKind::StorageFull);
        file.preallocate(100).unwrap();
        assert_eq!(disk.space(Path::new(".")).unwrap(), Space { free: 0, total: 100 });
        disk.fail_at(disk.operations(), Fault::PowerCut);
        assert!(file.sync_data().is_err());
        assert!(file.length().is_err());
        disk.crash(0);
        assert!(disk.list(Path::new(".")).is_ok());
    }

    #[test]
    fn links_share_their_file_and_a_folder_moves_with_all_in_it() {
        let disk = FaultyDisk::new();
        let path = Path::new;
        disk.create_directories(path("/lake/tables")).unwrap();
        write(&disk, "/lake/tables/one", b"one", true);
        disk.hard_link(path("/lake/tables/one"), path("/lake/tables/two")).unwrap();
        assert_eq!(disk.used(), 3);
        let taken = disk.hard_link(path("/lake/tables/one"), path("/lake/tables/two")).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        disk.sync_directory(path("/lake/tables")).unwrap();
        disk.rename(path("/lake"), path("/moved")).unwrap();
        let names: Vec<String> =
            disk.entries(path("/moved/tables")).unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["one", "two"]);
        disk.crash_to_synced();
        assert_eq!(disk.bytes(path("/lake/tables/two")).unwrap(), b"one");
        disk.rename(path("/lake"), path("/moved")).unwrap();
        disk.sync_directory(path("/")).unwrap();
        disk.crash_to_synced();
        assert_eq!(disk.files(), [path("/moved/tables/one"), path("/moved/tables/two")]);
        let full = disk.remove_directory(path("/moved")).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::DirectoryNotEmpty);
    }

    #[test]
    fn a_dead_process_can_do_nothing_and_a_killed_one_leaves_its_bytes_unsynced() {
        let disk = FaultyDisk::new();
        disk.create_directories(Path::new("/lake")).unwrap();
        let process = disk.process();
        let mut file = process.create(Path::new("/lake/file")).unwrap();
        file.write_at(0, b"some bytes").unwrap();
        let lock = process.lock(Path::new("/lake/lock")).unwrap();
        disk.fail_at(disk.operations(), Fault::PowerCut);
        assert!(file.sync_all().is_err() && disk.is_off());
        disk.kill();
        assert!(file.write_at(0, b"other").is_err());
        assert!(process.list(Path::new("/lake")).is_err());
        let next = disk.process();
        drop(next.lock(Path::new("/lake/lock")).unwrap());
        drop(lock);
        assert_eq!(next.list(Path::new("/lake")).unwrap(), ["file", "lock"]);
        assert_eq!(disk.bytes(Path::new("/lake/file")).unwrap(), b"some bytes");
        disk.crash_to_synced();
        assert!(disk.files().is_empty());
    }

    #[test]
    fn reads_fail_where_they_shall() {
        let disk = FaultyDisk::new();
        write(&disk, "file", b"bytes", true);
        disk.fail_read_at(disk.reads() + 1);
        let file = disk.open(Path::new("file"), Access::Read).unwrap();
        assert!(file.read_at(0, &mut [0; 5]).is_err());
        assert_eq!(file.read_at(0, &mut [0; 5]).unwrap(), 5);
        assert_eq!((disk.failures(), disk.failed_syncs()), (1, 0));
    }
}
