//! What the rows of a function in FROM say about the run that they are of.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use store::{RunOrdinal, Snapshot};

use super::computed::Memory;

/// Bytes of a row of an answer, estimated: ids, names and a few numbers.
const ROW_BYTES: usize = 256;

/// The columns that name a run, before others.
pub(super) fn schema(others: Vec<Field>) -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let names = vec![text("project"), text("experiment"), text("run_id"), text("name")];
    Arc::new(Schema::new(names.into_iter().chain(others).collect::<Vec<_>>()))
}

/// A column of whole numbers or NULL.
pub(super) fn count(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

/// A column of numbers or NULL.
pub(super) fn number(name: &str) -> Field {
    Field::new(name, DataType::Float64, true)
}

/// The rows of some runs, with the other columns of a [`schema`].
///
/// # Errors
/// Memory that there is not.
pub(super) fn batch(
    schema: SchemaRef,
    snapshot: &Snapshot,
    runs: &[RunOrdinal],
    others: Vec<ArrayRef>,
    memory: &Memory,
) -> Result<RecordBatch> {
    memory.take(runs.len() * ROW_BYTES)?;
    let rows = snapshot.registry().runs();
    let mut names: [Vec<String>; 4] = Default::default();
    for run in runs {
        let row = rows.get(*run);
        let texts = row.map(|row| {
            [
                row.project().to_string(),
                row.experiment().to_string(),
                row.id().to_string(),
                row.name().to_owned(),
            ]
        });
        for (column, text) in names.iter_mut().zip(texts.unwrap_or_default()) {
            column.push(text);
        }
    }
    let names = names.into_iter().map(|column| Arc::new(StringArray::from(column)) as ArrayRef);
    Ok(RecordBatch::try_new(schema, names.chain(others).collect())?)
}
