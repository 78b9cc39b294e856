//! The state of a faulty disk: files, names, what was planned to fail, and what was counted.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::Fault;
use super::contents::Contents;
use super::names::{Name, NameChange, has_directory, is_root, parent_of};
use crate::random::Random;

#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) files: BTreeMap<u64, Contents>,
    pub(super) next_file: u64,
    /// Names as a running process sees them.
    pub(super) names: BTreeMap<PathBuf, Name>,
    /// Names after a power cut.
    pub(super) durable_names: BTreeMap<PathBuf, Name>,
    /// Changes of names that no directory sync has made durable, in order, each with its folder.
    pub(super) pending: Vec<(PathBuf, NameChange)>,
    pub(super) capacity: Option<u64>,
    pub(super) operations: u64,
    pub(super) reads: u64,
    pub(super) syncs: u64,
    pub(super) faults: BTreeMap<u64, Fault>,
    pub(super) read_faults: BTreeSet<u64>,
    /// Operations that were made to fail.
    pub(super) failures: u64,
    pub(super) failed_syncs: u64,
    pub(super) off: bool,
    /// How often the power was cut or the process killed.
    pub(super) lives: u64,
    /// Who holds which lock: the number of the lock, so that a holder of long ago gives back nothing.
    pub(super) locks: BTreeMap<PathBuf, u64>,
    pub(super) next_lock: u64,
    /// What files that are written now get as their time.
    pub(super) now_micros: i64,
}

impl State {
    /// Counts an operation and says what shall go wrong with it.
    pub(super) fn step(&mut self) -> io::Result<Option<Fault>> {
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
    pub(super) fn whole_step(&mut self) -> io::Result<()> {
        self.step()?.map_or(Ok(()), |fault| Err(error_of(fault)))
    }

    pub(super) fn powered(&self) -> io::Result<()> {
        if self.off { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    /// Counts a reading operation and fails it when it shall.
    pub(super) fn read_step(&mut self) -> io::Result<()> {
        self.powered()?;
        let read = self.reads;
        self.reads += 1;
        if self.read_faults.remove(&read) {
            self.failures += 1;
            return Err(error_of(Fault::Error));
        }
        Ok(())
    }

    /// Whether a new name may stand here: it is not taken, and its folder is there.
    pub(super) fn check_free(&self, path: &Path) -> io::Result<()> {
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !has_directory(&self.names, parent_of(path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(())
    }

    pub(super) fn change(&mut self, folder: &Path, change: NameChange) {
        change.apply(&mut self.names);
        self.pending.push((folder.to_owned(), change));
    }

    pub(super) fn used(&self) -> u64 {
        let live: BTreeSet<u64> = self.names.values().filter_map(Name::file).collect();
        self.files.iter().filter(|(id, _)| live.contains(id)).map(|(_, c)| c.cached.len() as u64).sum()
    }

    /// Makes a file longer, filled with zeros, as far as the capacity allows.
    pub(super) fn extend(&mut self, id: u64, length: usize) -> io::Result<()> {
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

    /// Cuts the power and starts again: mood 0 keeps nothing that was not synced, 1 everything, others as the dice say.
    pub(super) fn cut(&mut self, mut random: Random, mood: u64) {
        for (_, change) in std::mem::take(&mut self.pending) {
            if mood == 1 || (mood > 1 && random.chance(2)) {
                change.apply(&mut self.durable_names);
            }
        }
        // A name whose folder is gone is gone, too.
        loop {
            let orphan = self
                .durable_names
                .keys()
                .find(|path| !is_root(path) && !has_directory(&self.durable_names, parent_of(path)))
                .cloned();
            match orphan {
                Some(path) => self.durable_names.remove(&path),
                None => break,
            };
        }
        self.names = self.durable_names.clone();
        for contents in self.files.values_mut() {
            contents.crash(&mut random, mood);
        }
        let live: BTreeSet<u64> = self.names.values().filter_map(Name::file).collect();
        self.files.retain(|id, _| live.contains(id));
        self.start_again();
    }

    /// The next life begins: with power, and without the locks and planned faults of the last one.
    pub(super) fn start_again(&mut self) {
        self.off = false;
        self.lives += 1;
        self.faults.clear();
        self.read_faults.clear();
        self.locks.clear();
    }

    /// The same state without its faults and locks.
    pub(super) fn copy(&self) -> Self {
        Self { faults: BTreeMap::new(), read_faults: BTreeSet::new(), locks: BTreeMap::new(), ..self.clone() }
    }
}

pub(super) fn error_of(fault: Fault) -> io::Error {
    match fault {
        Fault::Error => io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()),
        Fault::Full => io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()),
        Fault::PowerCut => io::Error::other("the power is off"),
    }
}
