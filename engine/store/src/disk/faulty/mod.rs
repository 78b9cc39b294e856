//! A disk in memory that knows what was synced, loses the rest at a power cut, and fails where a test says so.

mod contents;
mod file;
mod lock;
mod names;
mod operations;
mod state;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use contents::Contents;
use names::Name;
use state::State;

use crate::random::Random;

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
        self.state.lock().start_again();
    }

    /// Cuts the power and starts again: of what was not synced, each block, each length and each name is kept or
    /// lost as the seed decides, and blocks may be torn. Files that are still open see the state after the cut.
    pub fn crash(&self, seed: u64) {
        let mut random = Random::new(seed);
        // One choice for the whole cut between "nothing", "everything" and "anything", so that the two ends come up
        // often enough.
        let mood = random.below(4);
        self.state.lock().cut(random, mood);
    }

    /// Cuts the power and starts again, and all that was not synced is lost.
    pub fn crash_to_synced(&self) {
        self.state.lock().cut(Random::new(0), 0);
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
        let state = self.state.lock().copy();
        Self { state: Arc::new(Mutex::new(state)), life: None }
    }
}
