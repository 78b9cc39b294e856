//! The small tables of plain rows: experiments, decisions, notes, imports, and what the engine tells of itself.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::Field;
use arrow::record_batch::RecordBatch;
use datafusion::catalog::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::common::{DataFusionError, Result};
use datafusion::physical_plan::ExecutionPlan;
use model::ProjectName;
use model::schema::Table;

use super::{Access, SnapshotTable, storage};

/// Rows in a batch.
pub(super) const BATCH_ROWS: usize = 8_192;

/// A plan over one small batch that is there already.
pub(super) fn single(
    batch: &RecordBatch,
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let source = MemorySourceConfig::try_new(&[vec![batch.clone()]], batch.schema(), projection.cloned())?;
    Ok(DataSourceExec::from_data_source(source.with_limit(limit)))
}

/// A scan of a small table of plain rows.
pub(super) fn scan(
    shown: &SnapshotTable,
    table: Table,
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let registry = shown.snapshot.registry();
    let batch = match table {
        Table::Experiments => store::tables::experiments(registry)?,
        Table::Decisions => store::tables::decisions(registry)?,
        Table::Notes => store::tables::notes(registry)?,
        Table::Imports => {
            let batch = store::tables::imports(registry)?;
            // An import belongs to no project: only who sees all of them sees it.
            let batch = if shown.access == Access::All { batch } else { batch.slice(0, 0) };
            return single(&viewed(shown, &batch)?, projection, limit);
        }
        Table::Runs | Table::Params | Table::Tags | Table::Series | Table::Records(_) | Table::Points => {
            return Err(DataFusionError::Internal(format!("{table:?} has its own scan")));
        }
    };
    small(shown, &viewed(shown, &batch)?, projection, limit)
}

/// The batch in the types of SQL.
fn viewed(shown: &SnapshotTable, batch: &RecordBatch) -> Result<RecordBatch> {
    let fields = shown.schema.fields().iter();
    let cast = |(field, column): (&Arc<Field>, &ArrayRef)| arrow::compute::cast(column, field.data_type());
    let columns = fields.zip(batch.columns()).map(cast).collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(Arc::clone(&shown.schema), columns)?)
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
    let projects = batch.column(batch.schema().index_of("project")?).as_string_view();
    let seen: BooleanArray = projects
        .iter()
        .map(|project| {
            let project = project.and_then(|project| ProjectName::new(project).ok());
            Some(project.is_some_and(|project| shown.access.allows(&project)))
        })
        .collect();
    single(&arrow::compute::filter_record_batch(batch, &seen).map_err(storage)?, projection, limit)
}
