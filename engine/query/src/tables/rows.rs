//! The tables whose rows are in memory: made as batches when they are read, in the columns that are asked for.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use model::schema::Table;
use model::{ProjectName, Run, RunId};
use store::{SeriesEntry, Snapshot};

use super::constraints::Constraints;
use super::{Access, SnapshotTable, key_values, storage};

/// Rows in a batch.
pub(super) const BATCH_ROWS: usize = 8_192;

/// Makes the batches of one partition, one after another; `None` when there are no more.
type NextBatch = Box<dyn FnMut() -> Option<Result<RecordBatch>> + Send>;

/// A partition whose batches are made while they are read.
struct LazyPartition {
    schema: SchemaRef,
    start: Box<dyn Fn() -> NextBatch + Send + Sync>,
}

impl fmt::Debug for LazyPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyPartition").finish_non_exhaustive()
    }
}

impl PartitionStream for LazyPartition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches = futures::stream::iter(std::iter::from_fn((self.start)()));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}

/// The schema of a scan.
pub(super) fn projected(schema: &SchemaRef, projection: Option<&Vec<usize>>) -> Result<SchemaRef> {
    Ok(match projection {
        Some(columns) => Arc::new(schema.project(columns)?),
        None => Arc::clone(schema),
    })
}

/// A plan over `items`, cut into partitions and batches; `make` gives a batch with all columns of `schema`'s table,
/// projected by itself when `projects` is true.
pub(super) fn plan<T: Clone + Send + Sync + 'static>(
    schema: SchemaRef,
    items: Vec<T>,
    partitions: usize,
    limit: Option<usize>,
    make: impl Fn(&[T]) -> Result<RecordBatch> + Send + Sync + 'static,
) -> Result<Arc<dyn ExecutionPlan>> {
    let items: Arc<[T]> = items.into();
    let make = Arc::new(make);
    // Small tables gain nothing from more partitions.
    let wanted = (items.len() / (4 * BATCH_ROWS)).clamp(1, partitions.max(1));
    let length = items.len().div_ceil(wanted).max(1);
    let mut streams: Vec<Arc<dyn PartitionStream>> = Vec::with_capacity(wanted);
    for start in (0..items.len().max(1)).step_by(length) {
        let end = (start + length).min(items.len());
        let (items, make) = (Arc::clone(&items), Arc::clone(&make));
        let begin = move || -> NextBatch {
            let (items, make) = (Arc::clone(&items), Arc::clone(&make));
            let mut at = start;
            Box::new(move || {
                if at >= end {
                    return None;
                }
                let stop = (at + BATCH_ROWS).min(end);
                let batch = make(&items[at..stop]);
                at = stop;
                Some(batch)
            })
        };
        streams.push(Arc::new(LazyPartition { schema: Arc::clone(&schema), start: Box::new(begin) }));
    }
    let plan = StreamingTableExec::try_new(schema, streams, None, [], false, limit)?;
    Ok(Arc::new(plan))
}

/// A plan over one small batch that is there already.
pub(super) fn single(
    batch: &RecordBatch,
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let batch = project(batch, projection)?;
    plan(batch.schema(), vec![batch], 1, limit, |batches: &[RecordBatch]| Ok(batches[0].clone()))
}

/// The columns of a projection; keeps the row count when there are none.
pub(super) fn project(batch: &RecordBatch, projection: Option<&Vec<usize>>) -> Result<RecordBatch> {
    Ok(match projection {
        Some(columns) => batch.project(columns)?,
        None => batch.clone(),
    })
}

/// The runs that a scan may show, in the order of their creation.
pub(super) fn runs_of(snapshot: &Snapshot, access: &Access, constraints: &Constraints) -> Vec<Arc<Run>> {
    let registry = snapshot.registry();
    let fits = |run: &Run| {
        access.allows_run(run)
            && constraints.allows("project", run.project.as_str())
            && constraints.allows("experiment", run.experiment.as_str())
    };
    match constraints.texts("run_id") {
        Some(ids) => {
            let mut ordinals: Vec<_> = ids
                .iter()
                .filter_map(|id| id.parse::<RunId>().ok())
                .filter_map(|id| registry.ordinal(id))
                .collect();
            ordinals.sort_unstable();
            let run = |ordinal| registry.runs().get(ordinal as usize);
            ordinals.into_iter().filter_map(run).filter(|run| fits(run)).cloned().collect()
        }
        None => registry.runs().iter().filter(|run| fits(run)).cloned().collect(),
    }
}

/// The series that a scan may show.
pub(super) fn series_fits(
    snapshot: &Snapshot,
    access: &Access,
    constraints: &Constraints,
) -> impl Fn(&SeriesEntry) -> bool + Send + Sync + use<> {
    let runs = constraints.texts("run_id").map(|ids| {
        ids.iter().filter_map(|id| id.parse::<RunId>().ok()).collect::<std::collections::HashSet<_>>()
    });
    let by_run = *access != Access::All
        || constraints.texts("project").is_some()
        || constraints.texts("experiment").is_some();
    let snapshot = snapshot.clone();
    let (access, constraints) = (access.clone(), constraints.clone());
    move |entry: &SeriesEntry| {
        runs.as_ref().is_none_or(|runs| runs.contains(&entry.key.run))
            && constraints.allows("metric", entry.key.metric.as_str())
            && constraints.allows_optional("context", entry.key.context.as_ref().map(|c| c.as_str()))
            && (!by_run
                || snapshot.registry().runs().get(entry.run as usize).is_some_and(|run| {
                    access.allows_run(run)
                        && constraints.allows("project", run.project.as_str())
                        && constraints.allows("experiment", run.experiment.as_str())
                }))
    }
}

/// A scan of a table of plain rows.
pub(super) fn scan(
    shown: &SnapshotTable,
    table: Table,
    partitions: usize,
    projection: Option<&Vec<usize>>,
    constraints: &Constraints,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    // The engine filters again after this scan, so a limit may only be taken here when nothing was left out for it;
    // it asks for one only without filters.
    let registry = shown.snapshot.registry();
    match table {
        Table::Params | Table::Tags => {
            key_values::scan(shown, table, partitions, projection, constraints, limit)
        }
        Table::Series => {
            let fits = series_fits(&shown.snapshot, &shown.access, constraints);
            let series = shown.snapshot.series().entries();
            let ordinals: Vec<u32> = (0_u32..)
                .zip(series.iter())
                .filter(|(_, entry)| fits(entry))
                .map(|(ordinal, _)| ordinal)
                .collect();
            let schema = projected(&shown.schema, projection)?;
            let (snapshot, columns) = (shown.snapshot.clone(), projection.cloned());
            plan(schema, ordinals, partitions, limit, move |ordinals: &[u32]| {
                let entries = snapshot.series().entries();
                let rows = ordinals.iter().filter_map(|ordinal| entries.get(*ordinal as usize));
                project(&store::tables::series(snapshot.registry(), rows)?, columns.as_ref())
            })
        }
        Table::Experiments => small(shown, &store::tables::experiments(registry)?, projection, limit),
        Table::Decisions => small(shown, &store::tables::decisions(registry)?, projection, limit),
        Table::Notes => small(shown, &store::tables::notes(registry)?, projection, limit),
        Table::Imports => {
            let batch = store::tables::imports(registry)?;
            // An import belongs to no project: only who sees all of them sees it.
            let batch = if shown.access == Access::All { batch } else { batch.slice(0, 0) };
            single(&batch, projection, limit)
        }
        Table::Runs | Table::Points => Err(DataFusionError::Internal(format!("{table:?} has its own scan"))),
    }
}

/// The rows of a table with a column `project` that the caller may see.
fn small(
    shown: &SnapshotTable,
    batch: &RecordBatch,
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    use arrow::array::{AsArray, BooleanArray};
    if shown.access == Access::All {
        return single(batch, projection, limit);
    }
    let projects = batch.column(batch.schema().index_of("project")?).as_string::<i32>();
    let seen: BooleanArray = projects
        .iter()
        .map(|project| {
            let project = project.and_then(|project| ProjectName::new(project).ok());
            Some(project.is_some_and(|project| shown.access.allows(&project)))
        })
        .collect();
    single(&arrow::compute::filter_record_batch(batch, &seen).map_err(storage)?, projection, limit)
}
