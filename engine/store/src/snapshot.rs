//! A snapshot: the lake at one moment. It never changes, whatever is written, flushed or compacted meanwhile, and a
//! clone is cheap.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::schema::Table;
use model::{PointColumns, RunId, SeriesKey};
use object_store::path::Path;

use crate::catalog::{Catalog, DataFile};
use crate::damage::Damage;
use crate::error::Result;
use crate::live;
use crate::memory_scan;
use crate::memtable::Memtable;
use crate::registry::Registry;
use crate::segment::points::{Contents, Reader, ReaderCache, SortedSeries};
use crate::series_index::{SeriesEntry, SeriesIndex};
use crate::state::State;

/// The lake at one moment.
#[derive(Clone)]
pub struct Snapshot {
    state: Arc<State>,
    catalog: Arc<Catalog>,
    readers: Arc<ReaderCache>,
    damage: Arc<[Damage]>,
}

impl Snapshot {
    pub(crate) fn new(state: State, catalog: Arc<Catalog>, readers: Arc<ReaderCache>) -> Self {
        live::note(catalog.root(), &state.points);
        Self { state: Arc::new(state), catalog, readers, damage: Arc::default() }
    }

    pub(crate) fn with_damage(self, damage: Vec<Damage>) -> Self {
        Self { damage: damage.into(), ..self }
    }

    /// What of the lake could not be read and is missing here. Always empty for a snapshot of an open store and of
    /// [`crate::open_snapshot`].
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// Refuses when one of the tables is damaged.
    ///
    /// # Errors
    /// [`crate::StoreError::Damaged`] names the first damaged file of these tables.
    pub fn require(&self, tables: &[Table]) -> Result<()> {
        match self.damage.iter().find(|damage| tables.contains(&damage.table)) {
            Some(damage) => Err(crate::StoreError::Damaged { damage: Box::new(damage.clone()) }),
            None => Ok(()),
        }
    }

    /// Runs, params, tags, experiments, decisions, notes, imports, records.
    pub fn registry(&self) -> &Registry {
        &self.state.registry
    }

    /// All series with their statistics over every acknowledged point.
    pub fn series(&self) -> &SeriesIndex {
        &self.state.series
    }

    /// The series of this key.
    pub fn series_entry(&self, key: &SeriesKey) -> Option<SeriesEntry<'_>> {
        self.series().get(key, self.registry().ordinal(key.run)?)
    }

    /// The segments of `points`, oldest first.
    pub fn point_files(&self) -> &[DataFile] {
        &self.state.points.files
    }

    /// The Delta tables.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The sequence number of the log up to which this snapshot holds everything.
    pub fn last_seq(&self) -> u64 {
        self.state.applied_seq
    }

    /// Number of points that are only in memory and in the log.
    pub fn memtable_points(&self) -> u64 {
        self.memtables().iter().map(|memtable| memtable.points()).sum()
    }

    /// Whether the points of a run in a segment are there for readers: those of a deleted run stay in it until the
    /// next compaction.
    pub fn holds(&self, file: &DataFile, run: model::RunId) -> bool {
        self.state.registry.holds(run, file.arrival())
    }

    /// A reader of one segment; footers are kept in a bounded cache.
    ///
    /// # Errors
    /// When the file is missing or damaged; file and part are named.
    pub fn open_segment<'a>(&'a self, file: &'a DataFile) -> BoxFuture<'a, Result<Reader>> {
        async move {
            let store = self.catalog.store(Table::Points);
            Ok(self.readers.open(&store, &Path::from(file.path.as_str()), file.bytes).await?)
        }
        .boxed()
    }

    /// What is remembered of a segment that was open once: enough to know that it need not be opened again for some
    /// runs.
    pub fn contents_of(&self, file: &DataFile) -> Option<Arc<Contents>> {
        self.readers.contents(&Path::from(file.path.as_str()), file.bytes)
    }

    /// The runs that have fewer points without a segment than their statistics count. Segments that cannot be read count
    /// as empty.
    pub fn runs_short_without<'a>(&'a self, file: &'a DataFile) -> BoxFuture<'a, BTreeSet<RunId>> {
        async move {
            let mut found: HashMap<RunId, u64> = HashMap::new();
            for other in self.point_files().iter().filter(|other| other.path != file.path) {
                let Ok(reader) = self.open_segment(other).await else { continue };
                for series in reader.series().iter() {
                    *found.entry(series.run).or_default() += series.rows.rows;
                }
            }
            for series in self.memtable_series(|_| true) {
                *found.entry(series.key.run).or_default() += series.points.len() as u64;
            }
            let mut expected: HashMap<RunId, u64> = HashMap::new();
            for entry in self.series().entries() {
                *expected.entry(entry.run_id).or_default() += entry.statistics.count;
            }
            let is_short =
                |(run, count): (RunId, u64)| (found.get(&run).copied() < Some(count)).then_some(run);
            expected.into_iter().filter_map(is_short).collect()
        }
        .boxed()
    }

    /// The points in memory of the series that `wanted` takes: series by (run, metric, context), points sorted by
    /// (step, fraction, time, arrival).
    pub fn memtable_series(&self, wanted: impl Fn(&SeriesEntry<'_>) -> bool) -> Vec<SortedSeries> {
        self.clone().into_memtable_series(wanted).collect()
    }

    /// As [`Self::memtable_series`], one after the other: only one of them is copied at a time.
    pub fn into_memtable_series<F: Fn(&SeriesEntry<'_>) -> bool>(
        self,
        wanted: F,
    ) -> impl Iterator<Item = SortedSeries> + Send + use<F> {
        let ordinals = memory_scan::series_in(&self.state.series, &self.memtables(), |ordinal| {
            self.state.series.entries().get(ordinal).is_some_and(|entry| wanted(&entry))
        });
        ordinals.into_iter().filter_map(move |ordinal| {
            memory_scan::sorted(&self.state.registry, &self.state.series, &self.memtables(), ordinal)
        })
    }

    /// All points of one series, sorted by (step, fraction, time), from segments and memory.
    ///
    /// # Errors
    /// When a segment is missing or damaged.
    pub fn series_points<'a>(&'a self, key: &'a SeriesKey) -> BoxFuture<'a, Result<PointColumns>> {
        async move {
            let found = self.read_series(std::slice::from_ref(key)).await?;
            Ok(found.into_iter().next().map(|series| series.points).unwrap_or_default())
        }
        .boxed()
    }

    fn memtables(&self) -> Vec<&Memtable> {
        self.state.frozen.iter().map(Arc::as_ref).chain(std::iter::once(&self.state.active)).collect()
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("last_seq", &self.last_seq())
            .field("runs", &self.registry().runs().len())
            .field("series", &self.series().entries().len())
            .field("point_files", &self.point_files().len())
            .field("memtable_points", &self.memtable_points())
            .finish_non_exhaustive()
    }
}
