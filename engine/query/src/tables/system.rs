//! The schema `system`: what the engine itself can do and does.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;

use super::rows::single;
use super::{Access, SnapshotTable};
use crate::functions;
use crate::guard::QueryLimits;

fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(
        fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), false)).collect::<Vec<_>>(),
    ))
}

pub(super) fn functions_schema() -> SchemaRef {
    let text = DataType::Utf8;
    schema(&[
        ("name", text.clone()),
        ("kind", text.clone()),
        ("syntax", text.clone()),
        ("returns", text.clone()),
        ("description", text.clone()),
        ("example", text),
    ])
}

pub(super) fn files_schema() -> SchemaRef {
    schema(&[
        ("table", DataType::Utf8),
        ("path", DataType::Utf8),
        ("bytes", DataType::Int64),
        ("rows", DataType::Int64),
    ])
}

pub(super) fn limits_schema() -> SchemaRef {
    schema(&[("name", DataType::Utf8), ("value", DataType::Int64), ("unit", DataType::Utf8)])
}

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// One row a function of Runlake.
pub(super) fn functions(
    shown: &SnapshotTable,
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let all = functions::definitions();
    let syntax: Vec<String> = all.iter().map(|d| d.syntax()).collect();
    let columns = vec![
        texts(all.iter().map(|d| d.name)),
        texts(all.iter().map(|d| d.kind.as_str())),
        texts(syntax.iter().map(String::as_str)),
        texts(all.iter().map(|d| d.returns)),
        texts(all.iter().map(|d| d.summary)),
        texts(all.iter().map(|d| d.example)),
    ];
    single(&RecordBatch::try_new(Arc::clone(&shown.schema), columns)?, projection, limit)
}

/// One row a segment of `points`; nothing for a caller who does not see all projects.
pub(super) fn files(
    shown: &SnapshotTable,
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let files = if shown.access == Access::All { shown.snapshot.point_files() } else { &[] };
    let counts = |of: fn(&store::catalog::DataFile) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(
            files.iter().map(|file| i64::try_from(of(file)).unwrap_or(i64::MAX)),
        ))
    };
    let columns = vec![
        texts(files.iter().map(|_| "points")),
        texts(files.iter().map(|file| file.path.as_str())),
        counts(|file| file.bytes),
        counts(|file| file.rows),
    ];
    single(&RecordBatch::try_new(Arc::clone(&shown.schema), columns)?, projection, limit)
}

/// The limits of a statement from a remote caller.
pub(super) fn limits(
    shown: &SnapshotTable,
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let limits = QueryLimits::default();
    let rows: [(&str, usize, &str); 10] = [
        ("sql.text", limits.text_bytes, "bytes"),
        ("sql.tokens", limits.tokens, "tokens"),
        ("sql.operators", limits.operators, "operators"),
        ("sql.nesting", limits.nesting, "levels"),
        ("sql.joins", limits.joins, "joins"),
        ("sql.unions", limits.unions, "unions"),
        ("sql.memory", limits.memory, "bytes"),
        ("sql.time", limits.time.as_secs() as usize, "seconds"),
        ("sql.result_rows", limits.rows.unwrap_or(usize::MAX), "rows"),
        ("sql.result_bytes", limits.bytes.unwrap_or(usize::MAX), "bytes"),
    ];
    let values = rows.iter().map(|row| i64::try_from(row.1).unwrap_or(i64::MAX));
    let columns: Vec<ArrayRef> = vec![
        texts(rows.iter().map(|row| row.0)),
        Arc::new(Int64Array::from_iter_values(values)),
        texts(rows.iter().map(|row| row.2)),
    ];
    single(&RecordBatch::try_new(Arc::clone(&shown.schema), columns)?, projection, limit)
}
