//! What readers see: registry, series, memtables and the committed segments, always of one moment.
//!
//! Invariants
//! - Every acknowledged point is in exactly one of: the active memtable, a frozen memtable, a committed segment.
//! - A clone is cheap and never changes.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use imbl::Vector;
use model::schema::Table;
use model::{Command, PointBatch, RecordKind};

use crate::catalog::TableVersion;
use crate::memtable::{Memtable, Released};
use crate::registry::{Changed, Registry, RegistryError, RunOrdinal};
use crate::series_index::{SeriesIndex, SeriesOrdinal};

/// Runs in one checkpoint file of `runs`, `params` and `tags`.
pub(crate) const RUNS_PER_CHUNK: u32 = 4096;
/// Series in one checkpoint file of `series`.
pub(crate) const SERIES_PER_CHUNK: u32 = 16_384;

/// What a flush has to rewrite. Chunks are ranges of run or series ordinals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dirty {
    pub(crate) runs: BTreeSet<u32>,
    pub(crate) params: BTreeSet<u32>,
    pub(crate) tags: BTreeSet<u32>,
    pub(crate) series: BTreeSet<u32>,
    pub(crate) records: BTreeSet<(RecordKind, u32)>,
    pub(crate) whole: BTreeSet<Table>,
}

impl Dirty {
    /// Takes over what an earlier, failed flush did not write.
    pub(crate) fn merge(&mut self, other: Self) {
        self.runs.extend(other.runs);
        self.params.extend(other.params);
        self.tags.extend(other.tags);
        self.series.extend(other.series);
        self.records.extend(other.records);
        self.whole.extend(other.whole);
    }

    fn note(&mut self, change: Changed) {
        let chunk = |ordinal: RunOrdinal| ordinal / RUNS_PER_CHUNK;
        match change {
            Changed::Run(ordinal) => drop(self.runs.insert(chunk(ordinal))),
            Changed::Params(ordinal) => drop(self.params.insert(chunk(ordinal))),
            Changed::Tags(ordinal) => drop(self.tags.insert(chunk(ordinal))),
            Changed::Experiments => drop(self.whole.insert(Table::Experiments)),
            Changed::Decisions => drop(self.whole.insert(Table::Decisions)),
            Changed::Notes => drop(self.whole.insert(Table::Notes)),
            Changed::Imports => drop(self.whole.insert(Table::Imports)),
            Changed::Record(kind, chunk) => drop(self.records.insert((kind, chunk))),
            Changed::Deleted(_) => {}
        };
    }

    /// Notes a file that holds rows which are no longer there.
    pub(crate) fn note_chunk(&mut self, table: Table, chunk: u32) {
        match table {
            Table::Runs => drop(self.runs.insert(chunk)),
            Table::Params => drop(self.params.insert(chunk)),
            Table::Tags => drop(self.tags.insert(chunk)),
            Table::Series => drop(self.series.insert(chunk)),
            Table::Records(kind) => drop(self.records.insert((kind, chunk))),
            whole => drop(self.whole.insert(whole)),
        }
    }

    pub(crate) fn note_series(&mut self, ordinal: SeriesOrdinal) {
        self.series.insert(ordinal / SERIES_PER_CHUNK);
    }
}

/// The table that a registry command changes, for recovery table by table.
pub(crate) fn table_of(command: &Command) -> Table {
    match command {
        Command::UpdateExperiment(_) => Table::Experiments,
        Command::SetParams { .. } => Table::Params,
        Command::SetTags { .. } | Command::DeleteTags { .. } => Table::Tags,
        Command::Decide(_) => Table::Decisions,
        Command::AddNote(_) => Table::Notes,
        Command::RecordImport(_) => Table::Imports,
        Command::SetRetention { .. } | Command::SaveView(_) | Command::DropView { .. } => Table::Experiments,
        Command::PutRecord(update) => Table::Records(update.kind()),
        Command::RemoveRecord { table, .. } => Table::Records(*table),
        _ => Table::Runs,
    }
}

/// The state of a lake at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) registry: Registry,
    pub(crate) series: SeriesIndex,
    pub(crate) active: Memtable,
    /// Memtables that a flush is writing, oldest first.
    pub(crate) frozen: Vector<Arc<Memtable>>,
    /// Memtables that are in segments and may still be held by readers.
    pub(crate) released: Vector<Released>,
    /// The committed segments of `points`.
    pub(crate) points: Arc<TableVersion>,
    pub(crate) dirty: Dirty,
    /// The last applied sequence number of the log.
    pub(crate) applied_seq: u64,
}

impl State {
    /// Bytes in all memtables, those included that only a reader still holds.
    pub(crate) fn memtable_bytes(&self) -> usize {
        let frozen: usize = self.frozen.iter().map(|memtable| memtable.bytes()).sum();
        let released: usize = self.released.iter().map(Released::bytes).sum();
        self.active.bytes() + frozen + released
    }

    /// Bytes of what is in memory as long as it is in the lake.
    pub(crate) fn resident_bytes(&self) -> usize {
        self.registry.bytes() + self.series.bytes()
    }

    /// Lets go of the memtables whose points are in segments up to this WAL number.
    pub(crate) fn release_frozen(&mut self, last_seq: u64) {
        self.released.retain(|released| released.bytes() > 0);
        while self.frozen.front().is_some_and(|memtable| memtable.through() <= last_seq) {
            if let Some(memtable) = self.frozen.pop_front() {
                self.released.push_back(memtable.released());
            }
        }
    }

    /// Takes over a version of `points`: memtables whose rows it has are let go.
    pub(crate) fn take_over_points(&mut self, version: Arc<TableVersion>) {
        self.release_frozen(version.last_seq);
        self.points = version;
    }

    /// Applies registry commands; a command that does not fit leaves the state as it was before all of them.
    pub(crate) fn apply_commands(&mut self, commands: &[Command], seq: u64) -> Result<(), RegistryError> {
        let mut registry = self.registry.clone();
        let mut dirty = Vec::new();
        for command in commands {
            registry.apply(command, seq, &mut |change| dirty.push(change))?;
        }
        self.registry = registry;
        self.note(&dirty);
        Ok(())
    }

    /// Applies one command during recovery to the tables that do not have it yet.
    pub(crate) fn replay_command(
        &mut self,
        command: &Command,
        seq: u64,
        is_new: impl Fn(Table) -> bool,
    ) -> Result<(), RegistryError> {
        let mut changes = Vec::new();
        self.registry.replay(command, seq, &is_new, &mut |change| changes.push(change))?;
        self.note(&changes);
        Ok(())
    }

    fn note(&mut self, changes: &[Changed]) {
        changes.iter().for_each(|change| self.dirty.note(*change));
        let deleted: HashSet<RunOrdinal> = changes
            .iter()
            .filter_map(|change| match change {
                Changed::Deleted(ordinal) => Some(*ordinal),
                _ => None,
            })
            .collect();
        if deleted.is_empty() {
            return;
        }
        for run in deleted {
            for ordinal in self.series.remove_of_run(run) {
                self.active.remove(ordinal);
                self.dirty.note_series(ordinal);
            }
        }
    }

    /// Applies a batch whose runs are all known. Points of unknown runs are skipped: the writer refused them before.
    pub(crate) fn apply_points(&mut self, batch: &PointBatch) {
        self.replay_points(batch, u64::MAX, true, true);
    }

    /// Applies a batch of this WAL number to the statistics, to the memtable, or to both.
    pub(crate) fn replay_points(&mut self, batch: &PointBatch, seq: u64, to_series: bool, to_memtable: bool) {
        let mut last_run = None;
        let mut guess = 0;
        for part in batch.series() {
            // Most batches are of one run.
            let run = match last_run {
                Some((id, ordinal)) if id == part.run => ordinal,
                _ => self.registry.holder(part.run, seq),
            };
            last_run = Some((part.run, run));
            // Points of a run that was deleted later, and perhaps made anew, go nowhere.
            let Some(run) = run else { continue };
            // After a crash between the commits of `series` and `points`, the statistics are known already.
            let ordinal = match to_series {
                true => self.series.observe(part, run, guess),
                false => self.series.find(part, run, guess),
            };
            let Some(ordinal) = ordinal else { continue };
            guess = ordinal.wrapping_add(1);
            if to_series {
                self.dirty.note_series(ordinal);
            }
            if to_memtable && !part.points.is_empty() {
                self.active.append(ordinal, part.attempt, &part.points);
            }
        }
    }
}
