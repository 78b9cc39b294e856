//! The schema `system`: what the engine itself can do and does.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;

use super::rows::single;
use super::{Access, SnapshotTable};
use crate::functions;
use crate::service::{EngineView, JobReport, LogFile, StatementReport};

fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
    nullable_schema(fields, &[])
}

/// A schema in which some columns may be NULL.
fn nullable_schema(fields: &[(&str, DataType)], nullable: &[&str]) -> SchemaRef {
    let field = |(name, kind): &(&str, DataType)| Field::new(*name, kind.clone(), nullable.contains(name));
    Arc::new(Schema::new(fields.iter().map(field).collect::<Vec<_>>()))
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
    let fields = [("name", DataType::Utf8), ("value", DataType::Int64), ("unit", DataType::Utf8)];
    nullable_schema(&fields, &["value"])
}

pub(super) fn queries_schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let fields = [
        ("id", DataType::Int64),
        ("caller", DataType::Utf8),
        ("sql", DataType::Utf8),
        ("state", DataType::Utf8),
        ("started", time),
        ("waited", DataType::Float64),
        ("elapsed", DataType::Float64),
        ("rows", DataType::Int64),
        ("bytes", DataType::Int64),
        ("memory", DataType::Int64),
        ("spilled", DataType::Int64),
        ("cached", DataType::Boolean),
        ("error", DataType::Utf8),
    ];
    nullable_schema(&fields, &["error"])
}

pub(super) fn wal_schema() -> SchemaRef {
    schema(&[("file", DataType::Utf8), ("bytes", DataType::Int64)])
}

pub(super) fn jobs_schema() -> SchemaRef {
    let fields = [("job", DataType::Utf8), ("bytes", DataType::Int64), ("waiting_points", DataType::Int64)];
    nullable_schema(&fields, &["waiting_points"])
}

fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn integers(values: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values.map(integer)))
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

/// What the statement that asks may cost, and what all of them together may.
pub(super) fn limits(
    shown: &SnapshotTable,
    view: &EngineView,
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let limits = &view.limits;
    let of = |count: usize| Some(count as u64);
    let mut rows: Vec<(&str, Option<u64>, &str)> = vec![
        ("sql.text", of(limits.text_bytes), "bytes"),
        ("sql.tokens", of(limits.tokens), "tokens"),
        ("sql.operators", of(limits.operators), "operators"),
        ("sql.nesting", of(limits.nesting), "levels"),
        ("sql.joins", of(limits.joins), "joins"),
        ("sql.unions", of(limits.unions), "unions"),
        ("sql.keys", of(limits.keys), "keys"),
        ("sql.memory", of(limits.memory), "bytes"),
        ("sql.memory_all", of(view.all.0), "bytes"),
        ("sql.spill", Some(limits.spill.min(view.all.1)), "bytes"),
        ("sql.spill_all", Some(view.all.1), "bytes"),
        ("sql.time", Some(limits.time.as_secs()), "seconds"),
        ("sql.result_rows", limits.rows.map(|rows| rows as u64), "rows"),
        ("sql.result_bytes", limits.bytes.map(|bytes| bytes as u64), "bytes"),
    ];
    if let Some(service) = view.engine.service.get() {
        rows.extend([
            ("sql.slots", of(service.slots), "statements"),
            ("sql.slots_reserved", of(service.reserved), "statements"),
            ("sql.waiting", of(service.waiting), "statements"),
            ("sql.wait", Some(service.wait.as_secs()), "seconds"),
            ("sql.kept_answers", of(service.kept_answers), "bytes"),
        ]);
    }
    let columns: Vec<ArrayRef> = vec![
        texts(rows.iter().map(|row| row.0)),
        Arc::new(rows.iter().map(|row| row.1.map(integer)).collect::<Int64Array>()),
        texts(rows.iter().map(|row| row.2)),
    ];
    single(&RecordBatch::try_new(Arc::clone(&shown.schema), columns)?, projection, limit)
}

/// One row a statement; a caller who does not see all projects sees its own.
pub(super) fn queries(
    shown: &SnapshotTable,
    view: &EngineView,
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut rows = view.engine.journal.reports();
    if shown.access != Access::All {
        rows.retain(|row| row.caller == view.caller);
    }
    let seconds = |of: fn(&StatementReport) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(rows.iter().map(of)))
    };
    let started = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.started));
    let columns: Vec<ArrayRef> = vec![
        integers(rows.iter().map(|row| row.id)),
        texts(rows.iter().map(|row| &*row.caller)),
        texts(rows.iter().map(|row| &*row.sql)),
        texts(rows.iter().map(|row| row.state.as_str())),
        Arc::new(started.with_timezone("UTC")),
        seconds(|row| row.waited.as_secs_f64()),
        seconds(|row| row.elapsed.as_secs_f64()),
        integers(rows.iter().map(|row| row.rows)),
        integers(rows.iter().map(|row| row.bytes)),
        integers(rows.iter().map(|row| row.memory)),
        integers(rows.iter().map(|row| row.spilled)),
        Arc::new(rows.iter().map(|row| Some(row.cached)).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|row| row.error.as_deref()).collect::<StringArray>()),
    ];
    single(&RecordBatch::try_new(Arc::clone(&shown.schema), columns)?, projection, limit)
}

/// One row a file of the log, on the lake of the writer; nothing for a caller who does not see all projects.
pub(super) fn wal(
    shown: &SnapshotTable,
    view: &EngineView,
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let lake = view.engine.lake.get().filter(|_| shown.access == Access::All);
    let files: Vec<LogFile> = lake.map(|lake| lake.log_files()).unwrap_or_default();
    let columns = vec![
        texts(files.iter().map(|file| file.file.as_str())),
        integers(files.iter().map(|file| file.bytes)),
    ];
    single(&RecordBatch::try_new(Arc::clone(&shown.schema), columns)?, projection, limit)
}

/// One row a kind of work in the background, on the lake of the writer; nothing for a caller who does not see all
/// projects.
pub(super) fn jobs(
    shown: &SnapshotTable,
    view: &EngineView,
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let lake = view.engine.lake.get().filter(|_| shown.access == Access::All);
    let jobs: Vec<JobReport> = lake.map(|lake| lake.jobs()).unwrap_or_default();
    let waiting = jobs.iter().map(|job| job.waiting_points.map(integer)).collect::<Int64Array>();
    let columns: Vec<ArrayRef> = vec![
        texts(jobs.iter().map(|job| job.job)),
        integers(jobs.iter().map(|job| job.bytes)),
        Arc::new(waiting),
    ];
    single(&RecordBatch::try_new(Arc::clone(&shown.schema), columns)?, projection, limit)
}
