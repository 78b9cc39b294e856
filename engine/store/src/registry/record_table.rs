//! The records of one kind by ordinal, in chunks: each in columns, as it was last written or read, and the records that
//! changed since. A clone is cheap and never changes.
//!
//! A chunk is what a flush writes anew when one of its records changes, and what is put into columns anew when somebody
//! asks for them after a change: so its records and its bytes are bounded.

use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::compute::interleave;
use arrow::error::ArrowError;
use imbl::{OrdMap, Vector};
use model::schema::Table;
use model::{ProjectName, Record, RecordKind};
use sha2::{Digest, Sha256};

use crate::series_index::FastMap;
use crate::tables::records::{ID, PROJECT, RUN, record_of, records, text_at, text_bytes};

/// Records in a chunk, and so in one file, at the most.
pub(crate) const RECORDS_PER_CHUNK: u32 = 4096;
/// Bytes of texts from which on a chunk takes no new records.
const FULL_CHUNK_BYTES: usize = 8 << 20;
/// Bytes of texts beyond which no record of a chunk may grow in its place.
const MOST_CHUNK_BYTES: usize = 16 << 20;
/// Changed records from which on a chunk is put into columns at once: a record by itself takes several times as much.
const FEW_CHANGES: usize = 1024;
/// Cost of a record beyond its texts: its columns and its place in the map. Estimated.
const RECORD_BYTES: usize = 256;

/// Chunks whose records have ordinals.
const MOST_CHUNKS: usize = (u32::MAX / RECORDS_PER_CHUNK) as usize;

type RecordOrdinal = u32;
/// Where in its chunk a record stands.
type Place = u16;

/// Project and id in as few bytes as tell a lake's records apart: half a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity([u8; 16]);

impl Identity {
    fn of(project: &str, id: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update((project.len() as u64).to_le_bytes());
        hasher.update(project.as_bytes());
        hasher.update(id.as_bytes());
        let mut half = [0; 16];
        half.iter_mut().zip(hasher.finalize()).for_each(|(to, from)| *to = from);
        Self(half)
    }
}

/// Records in columns, and the places at which they stand, rising.
#[derive(Debug, Clone)]
struct Columns {
    rows: RecordBatch,
    places: Vec<Place>,
}

impl Columns {
    fn row(&self, place: Place) -> Option<usize> {
        match self.places.get(usize::from(place)) {
            Some(found) if *found == place => Some(usize::from(place)),
            _ => self.places.binary_search(&place).ok(),
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Chunk {
    base: Option<Arc<Columns>>,
    /// Records that changed since; `None` for one that is gone.
    changed: OrdMap<Place, Option<Arc<Record>>>,
    /// All of the chunk in columns, once somebody asked. A new one with every change.
    merged: Arc<OnceLock<Arc<Columns>>>,
    /// Places given away.
    given: u32,
    /// Of the texts of all records.
    bytes: usize,
}

impl Chunk {
    fn get(&self, kind: RecordKind, place: Place) -> Option<Record> {
        if let Some(changed) = self.changed.get(&place) {
            return changed.as_deref().cloned();
        }
        let base = self.base.as_ref()?;
        record_of(kind, &base.rows, base.row(place)?)
    }

    fn put(&mut self, kind: RecordKind, place: Place, record: Option<Arc<Record>>) {
        self.given = self.given.max(u32::from(place) + 1);
        self.changed.insert(place, record);
        self.merged = Arc::default();
        if self.changed.len() >= FEW_CHANGES
            && let Ok(Some(columns)) = self.columns(kind)
        {
            self.settle(columns);
        }
    }

    fn settle(&mut self, columns: Arc<Columns>) {
        self.base = Some(columns);
        self.changed = OrdMap::new();
        self.merged = Arc::default();
    }

    /// All of it in columns; `None` when it never held anything.
    fn columns(&self, kind: RecordKind) -> Result<Option<Arc<Columns>>, ArrowError> {
        if self.changed.is_empty() {
            return Ok(self.base.clone());
        }
        if let Some(merged) = self.merged.get() {
            return Ok(Some(Arc::clone(merged)));
        }
        let merged = Arc::new(self.merge(kind)?);
        Ok(Some(Arc::clone(self.merged.get_or_init(|| merged))))
    }

    fn merge(&self, kind: RecordKind) -> Result<Columns, ArrowError> {
        let new: Vec<(Place, &Record)> =
            self.changed.iter().filter_map(|(place, record)| Some((*place, record.as_deref()?))).collect();
        let rows = records(kind, new.iter().map(|(_, record)| *record))?;
        let places = new.iter().map(|(place, _)| *place).collect();
        let new = Columns { rows, places };
        let Some(base) = &self.base else { return Ok(new) };
        // Which of the two, and the row in it.
        let mut order: Vec<(Place, (usize, usize))> =
            new.places.iter().enumerate().map(|(row, place)| (*place, (1, row))).collect();
        let kept = base.places.iter().enumerate().filter(|(_, place)| !self.changed.contains_key(*place));
        order.extend(kept.map(|(row, place)| (*place, (0, row))));
        order.sort_unstable_by_key(|(place, _)| *place);
        let (places, order): (Vec<Place>, Vec<(usize, usize)>) = order.into_iter().unzip();
        let columns = base.rows.columns().iter().zip(new.rows.columns());
        let columns = columns.map(|(base, new)| interleave(&[base.as_ref(), new.as_ref()], &order));
        let rows = RecordBatch::try_new(base.rows.schema(), columns.collect::<Result<_, _>>()?)?;
        Ok(Columns { rows, places })
    }

    /// Tells project, run and id of every record.
    fn for_each(&self, mut tell: impl FnMut(&str, Option<&str>, &str)) {
        if let Some(base) = &self.base {
            for (row, place) in base.places.iter().enumerate() {
                if !self.changed.contains_key(place) {
                    let text = |column| text_at(&base.rows, column, row);
                    tell(text(PROJECT).unwrap_or_default(), text(RUN), text(ID).unwrap_or_default());
                }
            }
        }
        for record in self.changed.values().flatten() {
            let run = record.run.map(|run| run.to_string());
            tell(record.project.as_str(), run.as_deref(), record.id.as_str());
        }
    }
}

fn parts(ordinal: RecordOrdinal) -> (usize, Place) {
    // A chunk has fewer places than a Place counts.
    ((ordinal / RECORDS_PER_CHUNK) as usize, (ordinal % RECORDS_PER_CHUNK) as Place)
}

/// The records of one kind; the place of one that is gone stays empty.
#[derive(Debug, Clone)]
pub struct RecordTable {
    kind: RecordKind,
    chunks: Vector<Chunk>,
    ordinals: FastMap<Identity, RecordOrdinal>,
    /// How many records each project has.
    projects: OrdMap<ProjectName, usize>,
    /// Of the texts of all records.
    bytes: usize,
}

impl RecordTable {
    pub(super) fn new(kind: RecordKind) -> Self {
        Self { kind, chunks: Vector::new(), ordinals: FastMap::default(), projects: OrdMap::new(), bytes: 0 }
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.ordinals.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The projects that have records.
    pub fn projects(&self) -> impl Iterator<Item = &ProjectName> {
        self.projects.keys()
    }

    /// The record of a project with this id.
    pub fn get(&self, project: &ProjectName, id: &str) -> Option<Record> {
        let ordinal = self.ordinals.get(&Identity::of(project.as_str(), id))?;
        let (chunk, place) = parts(*ordinal);
        self.chunks.get(chunk)?.get(self.kind, place)
    }

    /// All records as batches in the schema of the table, mostly in the order in which they were made.
    pub fn batches(&self) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> + '_ {
        let chunks = self.chunks.iter().filter_map(|chunk| chunk.columns(self.kind).transpose());
        let batches = chunks.map(|columns| Ok(columns?.rows.clone()));
        batches.filter(|batch| batch.as_ref().map_or(true, |batch| batch.num_rows() > 0))
    }

    /// All records, mostly in the order in which they were made.
    pub fn iter(&self) -> impl Iterator<Item = Record> + '_ {
        let of_chunk = move |chunk: &'_ Chunk| {
            let chunk = chunk.clone();
            (0..chunk.given).filter_map(move |place| chunk.get(self.kind, place as Place))
        };
        self.chunks.iter().flat_map(of_chunk)
    }

    /// The records of a chunk in columns.
    pub(crate) fn chunk(&self, chunk: u32) -> Result<RecordBatch, ArrowError> {
        let columns = match self.chunks.get(chunk as usize) {
            Some(chunk) => chunk.columns(self.kind)?,
            None => None,
        };
        Ok(match columns {
            Some(columns) => columns.rows.clone(),
            None => RecordBatch::new_empty(Table::Records(self.kind).schema()),
        })
    }

    /// Bytes in memory, estimated.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.len() * RECORD_BYTES
    }

    /// Puts in a record, in the place of the one that has its project and id, and tells the chunks that it changes.
    pub(super) fn put(&mut self, record: Record, changed: &mut impl FnMut(u32)) {
        let identity = Identity::of(record.project.as_str(), record.id.as_str());
        let bytes = record.text_bytes();
        if let Some(ordinal) = self.ordinals.get(&identity).copied() {
            let (index, place) = parts(ordinal);
            let kind = self.kind;
            if let Some(chunk) = self.chunks.get_mut(index) {
                let before = chunk.get(kind, place).map_or(0, |record| record.text_bytes());
                let rest = chunk.bytes.saturating_sub(before);
                self.bytes = self.bytes.saturating_sub(before) + bytes;
                changed(index as u32);
                if rest + bytes <= MOST_CHUNK_BYTES {
                    chunk.bytes = rest + bytes;
                    chunk.put(kind, place, Some(Arc::new(record)));
                    return;
                }
                // It goes to the end, so that no chunk outgrows what a flush can write at once.
                chunk.bytes = rest;
                chunk.put(kind, place, None);
            }
        } else {
            self.bytes += bytes;
            *self.projects.entry(record.project.clone()).or_default() += 1;
        }
        let ordinal = self.push(record, bytes);
        changed(ordinal / RECORDS_PER_CHUNK);
        self.ordinals.insert(identity, ordinal);
    }

    fn push(&mut self, record: Record, bytes: usize) -> RecordOrdinal {
        let takes = |chunk: &Chunk| chunk.given < RECORDS_PER_CHUNK && chunk.bytes < FULL_CHUNK_BYTES;
        if !self.chunks.back().is_some_and(takes) {
            self.chunks.push_back(Chunk::default());
        }
        let index = self.chunks.len() - 1;
        let chunk = &mut self.chunks[index];
        let place = chunk.given;
        chunk.bytes += bytes;
        chunk.put(self.kind, place as Place, Some(Arc::new(record)));
        index as RecordOrdinal * RECORDS_PER_CHUNK + place
    }

    /// Takes a record out; `false` when it is not there.
    pub(super) fn remove(&mut self, project: &str, id: &str, changed: &mut impl FnMut(u32)) -> bool {
        let Some(ordinal) = self.ordinals.remove(&Identity::of(project, id)) else { return false };
        let (index, place) = parts(ordinal);
        let kind = self.kind;
        if let Some(chunk) = self.chunks.get_mut(index) {
            if let Some(record) = chunk.get(kind, place) {
                let bytes = record.text_bytes();
                chunk.bytes = chunk.bytes.saturating_sub(bytes);
                self.bytes = self.bytes.saturating_sub(bytes);
            }
            chunk.put(kind, place, None);
        }
        let left = self.projects.get(project).map_or(0, |count| count.saturating_sub(1));
        match self.projects.get_mut(project) {
            Some(count) if left > 0 => *count = left,
            _ => drop(self.projects.remove(project)),
        }
        changed(index as u32);
        true
    }

    /// Takes out the records of which this is said by their project and run. Looks at all of them.
    pub(super) fn remove_those(
        &mut self,
        is_gone: impl Fn(&str, Option<&str>) -> bool,
        changed: &mut impl FnMut(u32),
    ) {
        let mut gone: Vec<(String, String)> = Vec::new();
        for chunk in &self.chunks {
            chunk.for_each(|project, run, id| {
                if is_gone(project, run) {
                    gone.push((project.to_owned(), id.to_owned()));
                }
            });
        }
        for (project, id) in gone {
            self.remove(&project, &id, changed);
        }
    }

    /// Puts in the records of a file, whose rows were [checked](crate::tables::records::check). `Err` names the row of a
    /// record that is there already.
    pub(super) fn restore(&mut self, chunk: u32, rows: RecordBatch) -> Result<(), usize> {
        let index = chunk as usize;
        let is_free = (self.chunks.len()..MOST_CHUNKS).contains(&index);
        let fits = is_free && rows.num_rows() <= RECORDS_PER_CHUNK as usize;
        if !fits {
            // A chunk has one file: only tables that somebody else put together come here.
            for row in 0..rows.num_rows() {
                let record = record_of(self.kind, &rows, row).ok_or(row)?;
                if self.get(&record.project, record.id.as_str()).is_some() {
                    return Err(row);
                }
                self.put(record, &mut |_| {});
            }
            return Ok(());
        }
        let first = chunk.saturating_mul(RECORDS_PER_CHUNK);
        let mut last: Option<ProjectName> = None;
        for row in 0..rows.num_rows() {
            let (project, id) =
                (text_at(&rows, PROJECT, row).ok_or(row)?, text_at(&rows, ID, row).ok_or(row)?);
            let known = match last.take() {
                Some(known) if known.as_str() == project => known,
                _ => ProjectName::new(project).map_err(|_| row)?,
            };
            *self.projects.entry(known.clone()).or_default() += 1;
            last = Some(known);
            if self.ordinals.insert(Identity::of(project, id), first + row as RecordOrdinal).is_some() {
                return Err(row);
            }
        }
        while self.chunks.len() < index {
            self.chunks.push_back(Chunk { given: RECORDS_PER_CHUNK, ..Chunk::default() });
        }
        let (given, bytes) = (rows.num_rows() as u32, text_bytes(&rows));
        self.bytes += bytes;
        let places = (0..given as Place).collect();
        let base = Some(Arc::new(Columns { rows, places }));
        self.chunks.push_back(Chunk { base, given, bytes, ..Chunk::default() });
        Ok(())
    }

    /// Takes over the columns that were made of a chunk as it was in `of`, when nothing changed in it since.
    pub(super) fn settle(&mut self, index: u32, of: &Self) {
        let (Some(now), Some(then)) = (self.chunks.get(index as usize), of.chunks.get(index as usize)) else {
            return;
        };
        if Arc::ptr_eq(&now.merged, &then.merged)
            && let Some(columns) = then.merged.get().cloned()
            && let Some(chunk) = self.chunks.get_mut(index as usize)
        {
            chunk.settle(columns);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use model::{FieldValue, RecordFields, RecordId, RecordUpdate, RunId};
    use proptest::prelude::*;

    use super::*;

    /// What happens to a table.
    #[derive(Debug, Clone)]
    enum Step {
        Put {
            id: u16,
            project: u8,
            bytes: usize,
        },
        /// So many new ones at once.
        Many(u16),
        Remove {
            id: u16,
            project: u8,
        },
        RemoveRun(u8),
        RemoveProject(u8),
        /// A flush begins: its input is the table as it is now, and it makes columns of it.
        Freeze,
        /// The flush that began last ends.
        Settle,
        /// The lake is opened anew from the files of all chunks.
        Reopen,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let bytes = prop_oneof![9 => 0..9_usize, 1 => Just(1_900_000)];
        let step = prop_oneof![
            8 => (0..40_u16, 0..3_u8, bytes).prop_map(|(id, project, bytes)| Step::Put { id, project, bytes }),
            1 => (0..1_500_u16).prop_map(Step::Many),
            4 => (0..40_u16, 0..3_u8).prop_map(|(id, project)| Step::Remove { id, project }),
            1 => (0..6_u8).prop_map(Step::RemoveRun),
            1 => (0..3_u8).prop_map(Step::RemoveProject),
            1 => Just(Step::Freeze),
            1 => Just(Step::Settle),
            1 => Just(Step::Reopen),
        ];
        prop::collection::vec(step, 1..60)
    }

    fn record(id: u32, project: u8, bytes: usize) -> Record {
        let mut fields = RecordFields::of(RecordKind::Gates);
        fields.set("verdict", "pass").unwrap();
        fields.put("report", FieldValue::Text("r".repeat(bytes))).unwrap();
        let project = ProjectName::new(format!("p{project}")).unwrap();
        let id = RecordId::new(format!("id{id}")).unwrap();
        let mut update = RecordUpdate::new(project, id, fields, bytes as i64);
        update.run = (bytes % 2 == 1).then(|| run(bytes as u8));
        Record::updated(None, &update).unwrap()
    }

    fn run(number: u8) -> RunId {
        RunId::from_u128(u128::from(number))
    }

    type Model = BTreeMap<(String, String), Record>;

    fn key(record: &Record) -> (String, String) {
        (record.project.to_string(), record.id.to_string())
    }

    fn check(table: &RecordTable, model: &Model) {
        assert_eq!(table.len(), model.len());
        let found: Model = table.iter().map(|record| (key(&record), record)).collect();
        assert_eq!(&found, model);
        let mut in_batches = Model::new();
        for batch in table.batches() {
            let batch = batch.unwrap();
            crate::tables::records::check(&batch).unwrap();
            assert!(text_bytes(&batch) <= MOST_CHUNK_BYTES);
            for row in 0..batch.num_rows() {
                let record = record_of(RecordKind::Gates, &batch, row).unwrap();
                assert_eq!(in_batches.insert(key(&record), record), None);
            }
        }
        assert_eq!(&in_batches, model);
        for record in model.values() {
            assert_eq!(table.get(&record.project, record.id.as_str()).as_ref(), Some(record));
        }
        let texts: usize = model.values().map(Record::text_bytes).sum();
        assert_eq!(table.bytes(), texts + model.len() * RECORD_BYTES);
        let projects: BTreeSet<&ProjectName> = model.values().map(|record| &record.project).collect();
        assert_eq!(table.projects().collect::<BTreeSet<_>>(), projects);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn it_is_a_map_whose_changed_chunks_are_told(steps in steps()) {
            let mut table = RecordTable::new(RecordKind::Gates);
            let mut model = Model::new();
            let mut frozen: Option<(RecordTable, Model)> = None;
            // Chunks as they were written last: what is not told as changed must still be as it is there.
            let mut files: BTreeMap<u32, RecordBatch> = BTreeMap::new();
            let mut dirty = BTreeSet::new();
            let mut next = 1_000;
            for step in steps {
                let changed = &mut |chunk| {
                    dirty.insert(chunk);
                };
                match step {
                    Step::Put { id, project, bytes } => {
                        let record = record(id.into(), project, bytes);
                        model.insert(key(&record), record.clone());
                        table.put(record, changed);
                    }
                    Step::Many(count) => {
                        for _ in 0..count {
                            next += 1;
                            let record = record(next, 0, 3);
                            model.insert(key(&record), record.clone());
                            table.put(record, changed);
                        }
                    }
                    Step::Remove { id, project } => {
                        let (project, id) = (format!("p{project}"), format!("id{id}"));
                        let was = model.remove(&(project.clone(), id.clone())).is_some();
                        prop_assert_eq!(table.remove(&project, &id, changed), was);
                    }
                    Step::RemoveRun(number) => {
                        let gone = run(number);
                        model.retain(|_, record| record.run != Some(gone));
                        table.remove_those(|_, run| run == Some(gone.to_string().as_str()), changed);
                    }
                    Step::RemoveProject(number) => {
                        let gone = format!("p{number}");
                        model.retain(|(project, _), _| *project != gone);
                        table.remove_those(|project, _| project == gone, changed);
                    }
                    Step::Freeze => {
                        for chunk in std::mem::take(&mut dirty) {
                            files.insert(chunk, table.chunk(chunk).unwrap());
                        }
                        frozen = Some((table.clone(), model.clone()));
                    }
                    Step::Settle => {
                        if let Some((of, _)) = &frozen {
                            (0..table.chunks.len() as u32).for_each(|chunk| table.settle(chunk, of));
                        }
                    }
                    Step::Reopen => {
                        for chunk in std::mem::take(&mut dirty) {
                            files.insert(chunk, table.chunk(chunk).unwrap());
                        }
                        files.retain(|_, rows| rows.num_rows() > 0);
                        let mut again = RecordTable::new(RecordKind::Gates);
                        for (chunk, rows) in &files {
                            again.restore(*chunk, rows.clone()).unwrap();
                        }
                        table = again;
                        frozen = None;
                    }
                }
            }
            check(&table, &model);
            if let Some((table, model)) = &frozen {
                check(table, model);
            }
        }
    }

    #[test]
    fn the_same_record_twice_in_the_files_is_found() {
        let mut table = RecordTable::new(RecordKind::Gates);
        let rows = records(RecordKind::Gates, [record(1, 0, 1), record(2, 0, 1)].iter()).unwrap();
        table.restore(0, rows.clone()).unwrap();
        assert_eq!(table.restore(1, rows.slice(1, 1)), Err(0));
        assert_eq!(table.clone().restore(0, rows.slice(0, 1)), Err(0));
        // A number that no chunk can have costs nothing.
        let other = records(RecordKind::Gates, [record(9, 0, 1)].iter()).unwrap();
        table.restore(u32::MAX, other).unwrap();
        assert_eq!(table.len(), 3);
    }
}
