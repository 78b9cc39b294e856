//! The runs of a lake by ordinal, in chunks: each in columns, as it was last written or read, and the rows that changed
//! since. A clone is cheap and never changes.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use imbl::{OrdMap, Vector};
use model::Run;

use super::RunOrdinal;
use super::key_columns::{KeyColumns, Place};
use super::run_columns::RunColumns;
use super::run_row::RunRow;
use super::slot::Slot;
use crate::state::RUNS_PER_CHUNK;

/// Places in a block: what is put into columns anew when a query comes after a change.
const BLOCK: Place = 256;

/// Changed rows up to which a chunk is shown as its columns and blocks; with more, all of it is put together.
const FEW_CHANGES: usize = 256;

/// Runs by ordinal; the place of a deleted one stays empty.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunTable {
    chunks: Vector<Chunk>,
    /// The next ordinal.
    next: RunOrdinal,
    bytes: usize,
}

#[derive(Debug, Clone, Default)]
struct Chunk {
    base: Arc<RunColumns>,
    /// Rows that changed since, by block and position in it; `None` for a run that is gone.
    changed: OrdMap<Place, Block>,
    /// All of the chunk in columns, once somebody asked.
    merged: Arc<OnceLock<Arc<RunColumns>>>,
}

#[derive(Debug, Clone, Default)]
struct Block {
    rows: OrdMap<Place, Option<Slot>>,
    /// Its runs in columns, once somebody asked.
    columns: Arc<OnceLock<Arc<RunColumns>>>,
}

/// Runs in columns, for those who read many.
#[derive(Debug, Clone)]
pub struct RunPiece {
    /// The ordinal of place 0.
    pub first: RunOrdinal,
    /// The columns.
    pub columns: Arc<RunColumns>,
    /// The places that hold a run which stands in no other piece, rising.
    pub places: Arc<[Place]>,
}

fn parts(ordinal: RunOrdinal) -> (usize, Place) {
    // A chunk has fewer places than a Place counts.
    ((ordinal / RUNS_PER_CHUNK) as usize, (ordinal % RUNS_PER_CHUNK) as Place)
}

impl Block {
    fn columns(&self) -> Arc<RunColumns> {
        let build = || {
            let rows = self.rows.iter().filter_map(|(place, slot)| Some((*place, slot.as_ref()?)));
            let rows = rows.map(|(place, slot)| (place, RunRow::of(&slot.run), slot.since));
            Arc::new(RunColumns::of_rows(usize::from(BLOCK), rows))
        };
        Arc::clone(self.columns.get_or_init(build))
    }
}

impl Chunk {
    /// What is known of a place beside the base: nothing, or a row, or that its run is gone.
    fn change(&self, place: Place) -> Option<&Option<Slot>> {
        self.changed.get(&(place / BLOCK))?.rows.get(&(place % BLOCK))
    }

    fn get(&self, place: Place) -> Option<(RunRow<'_>, u64)> {
        match self.change(place) {
            Some(slot) => slot.as_ref().map(|slot| (RunRow::of(&slot.run), slot.since)),
            None => self.base.get(place).map(|row| (row, self.base.since(place))),
        }
    }

    fn put(&mut self, place: Place, slot: Option<Slot>) {
        let block = self.changed.entry(place / BLOCK).or_default();
        block.rows.insert(place % BLOCK, slot);
        block.columns = Arc::default();
        self.merged = Arc::default();
    }

    /// As [`Self::change`], to be changed.
    fn change_mut(&mut self, place: Place) -> Option<&mut Option<Slot>> {
        self.merged = Arc::default();
        let block = self.changed.get_mut(&(place / BLOCK))?;
        block.columns = Arc::default();
        block.rows.get_mut(&(place % BLOCK))
    }

    fn changes(&self) -> usize {
        self.changed.values().map(|block| block.rows.len()).sum()
    }

    /// All rows by place.
    fn rows(&self) -> impl Iterator<Item = (Place, RunRow<'_>, u64)> + Clone {
        // Places beyond the base are in blocks.
        let last = self.changed.get_max().map_or(0, |(block, _)| (block + 1) * BLOCK);
        let places = (self.base.len() as Place).max(last);
        (0..places).filter_map(|place| self.get(place).map(|(row, since)| (place, row, since)))
    }

    fn merged(&self) -> Arc<RunColumns> {
        if self.changed.is_empty() {
            return Arc::clone(&self.base);
        }
        let build = || Arc::new(RunColumns::of_rows(RUNS_PER_CHUNK as usize, self.rows()));
        Arc::clone(self.merged.get_or_init(build))
    }

    fn pieces(&self, first: RunOrdinal, is_last: bool, out: &mut Vec<RunPiece>) {
        if !is_last && self.changes() > FEW_CHANGES {
            let columns = self.merged();
            let places = Arc::clone(columns.places());
            return out.push(RunPiece { first, columns, places });
        }
        let kept: Arc<[Place]> = match self.changed.is_empty() {
            true => Arc::clone(self.base.places()),
            false => {
                self.base.places().iter().copied().filter(|place| self.change(*place).is_none()).collect()
            }
        };
        if !kept.is_empty() {
            out.push(RunPiece { first, columns: Arc::clone(&self.base), places: kept });
        }
        for (block, changed) in &self.changed {
            let columns = changed.columns();
            let places = Arc::clone(columns.places());
            if !places.is_empty() {
                out.push(RunPiece { first: first + RunOrdinal::from(block * BLOCK), columns, places });
            }
        }
    }
}

impl RunTable {
    /// Bytes in memory, estimated.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The run of an ordinal, with the WAL number of the command that made it.
    pub(super) fn get(&self, ordinal: RunOrdinal) -> Option<(RunRow<'_>, u64)> {
        let (chunk, place) = parts(ordinal);
        self.chunks.get(chunk)?.get(place)
    }

    /// All runs with ordinals in this range.
    pub(super) fn range(
        &self,
        ordinals: Range<RunOrdinal>,
    ) -> impl Iterator<Item = (RunOrdinal, RunRow<'_>, u64)> + Clone {
        let ordinals = ordinals.start..ordinals.end.min(self.next);
        ordinals.filter_map(|ordinal| self.get(ordinal).map(|(row, since)| (ordinal, row, since)))
    }

    /// All runs in columns, by ordinal.
    pub(super) fn pieces(&self) -> Vec<RunPiece> {
        let mut pieces = Vec::with_capacity(self.chunks.len());
        for (index, chunk) in self.chunks.iter().enumerate() {
            let first = index as RunOrdinal * RUNS_PER_CHUNK;
            chunk.pieces(first, index + 1 == self.chunks.len(), &mut pieces);
        }
        pieces
    }

    /// Puts a run at the next ordinal.
    pub(super) fn push(&mut self, slot: Slot) -> RunOrdinal {
        let ordinal = self.next;
        self.next += 1;
        self.bytes += slot.bytes();
        let (chunk, place) = parts(ordinal);
        self.chunk(chunk).put(place, Some(slot));
        ordinal
    }

    /// Leaves places empty until the next ordinal is at least this one.
    pub(super) fn leave_until(&mut self, ordinal: RunOrdinal) {
        self.next = self.next.max(ordinal);
    }

    /// Changes the run of an ordinal, when there is one.
    pub(super) fn change(&mut self, ordinal: RunOrdinal, change: impl FnOnce(&mut Run)) {
        let (index, place) = parts(ordinal);
        let Some(chunk) = self.chunks.get_mut(index) else { return };
        if chunk.change(place).is_none() {
            let Some(row) = chunk.base.get(place) else { return };
            let slot = Slot { run: Arc::new(row.to_run()), since: chunk.base.since(place) };
            self.bytes += slot.bytes();
            chunk.put(place, Some(slot));
        }
        // In its place: a row that no snapshot holds is not copied.
        if let Some(Some(slot)) = chunk.change_mut(place) {
            let before = slot.bytes();
            change(Arc::make_mut(&mut slot.run));
            self.bytes = (self.bytes + slot.bytes()).saturating_sub(before);
        }
    }

    /// Takes a run out; its place stays empty.
    pub(super) fn remove(&mut self, ordinal: RunOrdinal) {
        let (index, place) = parts(ordinal);
        let Some(chunk) = self.chunks.get(index) else { return };
        if let Some(Some(slot)) = chunk.change(place) {
            self.bytes = self.bytes.saturating_sub(slot.bytes());
        }
        self.chunk(index).put(place, None);
    }

    /// Whether a chunk of runs as it was read can be put in at this ordinal.
    pub(super) fn takes_chunk_at(&self, first: RunOrdinal, runs: usize) -> bool {
        first >= self.next && first.is_multiple_of(RUNS_PER_CHUNK) && runs <= RUNS_PER_CHUNK as usize
    }

    /// Puts in a chunk of runs at the next ordinal; see [`Self::takes_chunk_at`].
    pub(super) fn push_chunk(&mut self, first: RunOrdinal, columns: RunColumns) {
        self.bytes += columns.bytes();
        self.next = first + columns.len() as RunOrdinal;
        let (index, _) = parts(first);
        self.chunk(index).base = Arc::new(columns);
    }

    /// Whether the run of an ordinal stands in the columns of this chunk, and where.
    pub(super) fn place_in(&self, chunk: u32, ordinal: RunOrdinal) -> Option<Place> {
        let (index, place) = parts(ordinal);
        let found = self.chunks.get(index).filter(|_| index == chunk as usize)?;
        (found.change(place).is_none() && found.base.holds(place)).then_some(place)
    }

    /// Places in the columns of a chunk.
    pub(super) fn places_of(&self, chunk: u32) -> usize {
        self.chunks.get(chunk as usize).map_or(0, |chunk| chunk.base.len())
    }

    /// Gives the runs in the columns of a chunk their params.
    pub(super) fn put_params(&mut self, chunk: u32, params: KeyColumns) {
        self.bytes += params.bytes();
        self.replace_base(chunk, |base| base.with_params(params));
    }

    /// Gives the runs in the columns of a chunk their tags.
    pub(super) fn put_tags(&mut self, chunk: u32, tags: KeyColumns) {
        self.bytes += tags.bytes();
        self.replace_base(chunk, |base| base.with_tags(tags));
    }

    fn replace_base(&mut self, chunk: u32, change: impl FnOnce(RunColumns) -> RunColumns) {
        let chunk = self.chunk(chunk as usize);
        let base = Arc::unwrap_or_clone(std::mem::take(&mut chunk.base));
        chunk.base = Arc::new(change(base));
        chunk.merged = Arc::default();
    }

    /// All of a chunk in columns, when something of it is not.
    pub(super) fn settled(&self, chunk: u32) -> Option<Arc<RunColumns>> {
        self.chunks.get(chunk as usize).filter(|chunk| !chunk.changed.is_empty()).map(Chunk::merged)
    }

    /// Takes over columns that were made of a chunk as it was in `of`; what changed since stays as it is.
    pub(super) fn settle(&mut self, index: u32, columns: Arc<RunColumns>, of: &Self) {
        let (Some(now), Some(then)) = (self.chunks.get(index as usize), of.chunks.get(index as usize)) else {
            return;
        };
        let mut bytes = self.bytes.saturating_sub(now.base.bytes()) + columns.bytes();
        let mut chunk = Chunk { base: columns, ..Chunk::default() };
        for (block, changed) in &now.changed {
            for (place, slot) in &changed.rows {
                let place = block * BLOCK + place;
                let is_taken = match (slot, then.change(place)) {
                    (Some(now), Some(Some(then))) => {
                        Arc::ptr_eq(&now.run, &then.run) && now.since == then.since
                    }
                    (None, Some(None)) => true,
                    _ => false,
                };
                match is_taken {
                    true => bytes = bytes.saturating_sub(slot.as_ref().map_or(0, Slot::bytes)),
                    false => chunk.put(place, slot.clone()),
                }
            }
        }
        self.bytes = bytes;
        *self.chunk(index as usize) = chunk;
    }

    fn chunk(&mut self, index: usize) -> &mut Chunk {
        while self.chunks.len() <= index {
            self.chunks.push_back(Chunk::default());
        }
        &mut self.chunks[index]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::{ExperimentName, Key, NewRun, ParamValue, ProjectName, RunId};
    use proptest::prelude::*;

    use super::*;

    /// What happens to a table.
    #[derive(Debug, Clone)]
    enum Step {
        Push,
        Change(u32, u8),
        Remove(u32),
        /// A flush begins: its input is the table as it is now.
        Freeze,
        /// The flush that began last ends.
        Settle,
        Leave(u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => Just(Step::Push),
            6 => (0..600_u32, 0..4_u8).prop_map(|(run, value)| Step::Change(run, value)),
            2 => (0..600_u32).prop_map(Step::Remove),
            1 => Just(Step::Freeze),
            1 => Just(Step::Settle),
            1 => (0..3_000_u32).prop_map(Step::Leave),
        ];
        prop::collection::vec(step, 1..400)
    }

    fn run(number: u32) -> Run {
        let new = NewRun::named(
            RunId::from_u128(u128::from(number)),
            ProjectName::new(if number.is_multiple_of(3) { "a" } else { "b" }).unwrap(),
            ExperimentName::new("e").unwrap(),
            format!("run {number}"),
            i64::from(number),
        );
        Run {
            id: new.id,
            project: new.project,
            experiment: new.experiment,
            name: new.name,
            status: new.status,
            user: (number.is_multiple_of(2)).then(|| "ada".to_owned()),
            start_time: new.start_time,
            end_time: (number.is_multiple_of(5)).then_some(7),
            parent: (number.is_multiple_of(4)).then(|| RunId::from_u128(1)),
            source: None,
            source_run_id: None,
            git_commit: Some(format!("{:x}", number % 3)),
            deleted: number.is_multiple_of(7),
            params: BTreeMap::from([(Key::new("n").unwrap(), ParamValue::new(number.to_string()).unwrap())]),
            tags: BTreeMap::new(),
        }
    }

    fn put(run: &mut Run, value: u8) {
        let key = Key::new(format!("k{}", value % 3)).unwrap();
        run.params.insert(key, ParamValue::new(value.to_string()).unwrap());
        run.name.push('!');
    }

    /// One of the runs that are there, or an ordinal that has none.
    fn pick(model: &BTreeMap<RunOrdinal, (Run, u64)>, which: u32) -> RunOrdinal {
        match model.keys().nth(which as usize % (model.len() + 1)) {
            Some(ordinal) => *ordinal,
            None => which,
        }
    }

    fn check(table: &RunTable, model: &BTreeMap<RunOrdinal, (Run, u64)>) {
        let found: BTreeMap<RunOrdinal, (Run, u64)> = table
            .range(0..RunOrdinal::MAX)
            .map(|(ordinal, row, since)| (ordinal, (row.to_run(), since)))
            .collect();
        assert_eq!(&found, model);
        let mut in_pieces = BTreeMap::new();
        for piece in table.pieces() {
            for place in piece.places.iter() {
                let row = piece.columns.get(*place).unwrap();
                let before = in_pieces.insert(piece.first + RunOrdinal::from(*place), row.to_run());
                assert!(before.is_none(), "a run in two pieces");
                assert_eq!(row.config_hash(), crate::ConfigHash::of(row.params()));
            }
        }
        let plain: BTreeMap<RunOrdinal, Run> =
            model.iter().map(|(ordinal, (run, _))| (*ordinal, run.clone())).collect();
        assert_eq!(in_pieces, plain);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn rows_and_columns_together_are_the_runs(steps in steps()) {
            let (mut table, mut model) = (RunTable::default(), BTreeMap::new());
            let mut frozen = None;
            for (number, step) in (0_u32..).zip(steps) {
                match step {
                    Step::Push => {
                        let slot = Slot { run: Arc::new(run(number)), since: u64::from(number) };
                        let ordinal = table.push(slot);
                        prop_assert!(model.insert(ordinal, (run(number), u64::from(number))).is_none());
                    }
                    Step::Change(which, value) => {
                        let ordinal = pick(&model, which);
                        table.change(ordinal, |run| put(run, value));
                        if let Some((run, _)) = model.get_mut(&ordinal) {
                            put(run, value);
                        }
                    }
                    Step::Remove(which) => {
                        let ordinal = pick(&model, which);
                        table.remove(ordinal);
                        model.remove(&ordinal);
                    }
                    Step::Freeze => frozen = Some(table.clone()),
                    Step::Settle => {
                        let Some(input) = frozen.take() else { continue };
                        for chunk in 0..input.chunks.len() as u32 {
                            if let Some(columns) = input.settled(chunk) {
                                table.settle(chunk, columns, &input);
                            }
                        }
                    }
                    Step::Leave(more) => {
                        let next = table.next + more;
                        table.leave_until(next);
                    }
                }
            }
            check(&table, &model);
            let copy = table.clone();
            for chunk in 0..copy.chunks.len() as u32 {
                if let Some(columns) = copy.settled(chunk) {
                    table.settle(chunk, columns, &copy);
                }
            }
            check(&table, &model);
            check(&copy, &model);
        }
    }
}
