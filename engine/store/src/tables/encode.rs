//! From the registry and the series index to batches in the schemas of `model::schema`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::error::ArrowError;
use model::schema::Table;
use model::{ParamValue, Run, TagValue};

use crate::registry::{Registry, config_hash};
use crate::series_index::SeriesEntry;

/// One row per run, in the given order.
///
/// # Errors
/// Only when a column is too large for Arrow (more than 2 GiB of text).
pub fn runs<'a>(runs: impl Iterator<Item = &'a Arc<Run>> + Clone) -> Result<RecordBatch, ArrowError> {
    let all = || runs.clone();
    batch(
        Table::Runs,
        vec![
            text(all().map(|r| r.project.as_str())),
            text(all().map(|r| r.experiment.as_str())),
            text(all().map(|r| r.id.to_string())),
            text(all().map(|r| r.name.as_str())),
            text(all().map(|r| r.status.as_str())),
            optional_text(all().map(|r| r.user.as_deref())),
            time(all().map(|r| r.start_time)),
            time(all().map(|r| r.end_time)),
            number(all().map(|r| duration_seconds(r))),
            optional_text(all().map(|r| r.parent.map(|p| p.to_string()))),
            optional_text(all().map(|r| r.source.as_deref())),
            optional_text(all().map(|r| r.source_run_id.as_deref())),
            optional_text(all().map(|r| r.git_commit.as_deref())),
            integer(all().map(|r| r.seed())),
            text(all().map(|r| config_hash(r))),
            Arc::new(all().map(|r| Some(r.deleted)).collect::<BooleanArray>()),
        ],
    )
}

/// Seconds between start and end, NULL while one is unknown.
fn duration_seconds(run: &Run) -> Option<f64> {
    let micros = run.end_time?.checked_sub(run.start_time?)?;
    Some(micros as f64 / 1e6)
}

/// One row per run and param key.
///
/// # Errors
/// Only when a column is too large for Arrow.
pub fn params<'a>(runs: impl Iterator<Item = &'a Arc<Run>> + Clone) -> Result<RecordBatch, ArrowError> {
    let rows: Vec<_> =
        runs.flat_map(|run| run.params.iter().map(move |(key, value)| (run, key.as_str(), value))).collect();
    key_values(Table::Params, &rows, |value: &&ParamValue| value.as_str(), |value| value.number())
}

/// One row per run and tag key.
///
/// # Errors
/// Only when a column is too large for Arrow.
pub fn tags<'a>(runs: impl Iterator<Item = &'a Arc<Run>> + Clone) -> Result<RecordBatch, ArrowError> {
    let rows: Vec<_> =
        runs.flat_map(|run| run.tags.iter().map(move |(key, value)| (run, key.as_str(), value))).collect();
    key_values(Table::Tags, &rows, |value: &&TagValue| value.as_str(), |value| value.number())
}

fn key_values<V>(
    table: Table,
    rows: &[(&Arc<Run>, &str, V)],
    as_text: impl for<'v> Fn(&'v V) -> &'v str,
    as_number: impl Fn(&V) -> Option<f64>,
) -> Result<RecordBatch, ArrowError> {
    batch(
        table,
        vec![
            text(rows.iter().map(|(run, _, _)| run.project.as_str())),
            text(rows.iter().map(|(run, _, _)| run.experiment.as_str())),
            text(rows.iter().map(|(run, _, _)| run.id.to_string())),
            text(rows.iter().map(|(_, key, _)| *key)),
            text(rows.iter().map(|(_, _, value)| as_text(value))),
            number(rows.iter().map(|(_, _, value)| as_number(value))),
        ],
    )
}

/// One row per experiment, with its latest decision.
///
/// # Errors
/// Only when a column is too large for Arrow.
pub fn experiments(registry: &Registry) -> Result<RecordBatch, ArrowError> {
    let rows: Vec<_> =
        registry.experiments().map(|e| (e, registry.latest_decision(&e.project, &e.name))).collect();
    batch(
        Table::Experiments,
        vec![
            text(rows.iter().map(|(e, _)| e.project.as_str())),
            text(rows.iter().map(|(e, _)| e.name.as_str())),
            optional_text(rows.iter().map(|(e, _)| e.hypothesis.as_deref())),
            optional_text(rows.iter().map(|(e, _)| e.source.as_deref())),
            optional_text(rows.iter().map(|(e, _)| e.target_metric.as_ref().map(|m| m.as_str()))),
            optional_text(rows.iter().map(|(e, _)| e.direction.map(|d| d.as_str()))),
            optional_text(rows.iter().map(|(e, _)| e.owner.as_deref())),
            optional_text(rows.iter().map(|(e, _)| e.notes.as_deref())),
            time(rows.iter().map(|(e, _)| Some(e.created))),
            optional_text(rows.iter().map(|(_, d)| d.map(|d| d.decision.as_str()))),
            optional_text(rows.iter().map(|(_, d)| d.map(|d| d.reason.as_str()))),
            optional_text(rows.iter().map(|(_, d)| d.and_then(|d| d.author.as_deref()))),
            time(rows.iter().map(|(_, d)| d.map(|d| d.time))),
        ],
    )
}

/// One row per decision, in order of arrival.
///
/// # Errors
/// Only when a column is too large for Arrow.
pub fn decisions(registry: &Registry) -> Result<RecordBatch, ArrowError> {
    let all = || registry.decisions().iter();
    batch(
        Table::Decisions,
        vec![
            text(all().map(|d| d.project.as_str())),
            text(all().map(|d| d.experiment.as_str())),
            text(all().map(|d| d.decision.as_str())),
            text(all().map(|d| d.reason.as_str())),
            optional_text(all().map(|d| d.author.as_deref())),
            time(all().map(|d| Some(d.time))),
        ],
    )
}

/// One row per note, in order of arrival.
///
/// # Errors
/// Only when a column is too large for Arrow.
pub fn notes(registry: &Registry) -> Result<RecordBatch, ArrowError> {
    let all = || registry.notes().iter();
    batch(
        Table::Notes,
        vec![
            text(all().map(|n| n.project.as_str())),
            optional_text(all().map(|n| n.experiment.as_ref().map(|e| e.as_str()))),
            optional_text(all().map(|n| n.run.map(|r| r.to_string()))),
            text(all().map(|n| n.text.as_str())),
            optional_text(all().map(|n| n.author.as_deref())),
            time(all().map(|n| Some(n.time))),
        ],
    )
}

/// One row per imported location.
///
/// # Errors
/// Only when a column is too large for Arrow.
pub fn imports(registry: &Registry) -> Result<RecordBatch, ArrowError> {
    let rows: Vec<_> = registry.imports().collect();
    let all = || rows.iter();
    batch(
        Table::Imports,
        vec![
            text(all().map(|i| i.kind.as_str())),
            text(all().map(|i| i.location.as_str())),
            text(all().map(|i| i.content_hash.as_str())),
            integer(all().map(|i| i64::try_from(i.points).ok())),
            integer(all().map(|i| i64::try_from(i.rejected).ok())),
            time(all().map(|i| Some(i.time))),
        ],
    )
}

/// One row per series, in the given order. A series whose run is not in the registry is left out (it cannot be).
///
/// # Errors
/// Only when a column is too large for Arrow.
pub fn series<'a>(
    registry: &Registry,
    entries: impl Iterator<Item = &'a SeriesEntry>,
) -> Result<RecordBatch, ArrowError> {
    let rows: Vec<_> =
        entries.filter_map(|entry| Some((registry.runs().get(entry.run as usize)?, entry))).collect();
    let keys = || rows.iter().map(|(_, entry)| &entry.key);
    let all = || rows.iter().map(|(_, entry)| &entry.statistics);
    let count = |value: u64| i64::try_from(value).ok();
    batch(
        Table::Series,
        vec![
            text(rows.iter().map(|(run, _)| run.project.as_str())),
            text(rows.iter().map(|(run, _)| run.experiment.as_str())),
            text(keys().map(|k| k.run.to_string())),
            text(keys().map(|k| k.metric.as_str())),
            optional_text(keys().map(|k| k.context.as_ref().map(|c| c.as_str()))),
            integer(all().map(|s| count(s.count))),
            integer(all().map(|s| count(s.nan_count))),
            integer(all().map(|s| count(s.infinite_count))),
            integer(all().map(|s| Some(s.first_step))),
            integer(all().map(|s| Some(s.last_step))),
            small_integer(all().map(|s| s.last.step_fraction)),
            time(all().map(|s| Some(s.first_time))),
            time(all().map(|s| Some(s.last_time))),
            number(all().map(|s| Some(s.last.value))),
            time(all().map(|s| Some(s.last.time))),
            number(all().map(|s| s.last_finite.map(|p| p.value))),
            integer(all().map(|s| s.last_finite.map(|p| p.step))),
            small_integer(all().map(|s| s.last_finite.and_then(|p| p.step_fraction))),
            time(all().map(|s| s.last_finite.map(|p| p.time))),
            number(all().map(|s| s.min.map(|m| m.0))),
            integer(all().map(|s| s.min.map(|m| m.1))),
            number(all().map(|s| s.max.map(|m| m.0))),
            integer(all().map(|s| s.max.map(|m| m.1))),
            number(all().map(|s| s.mean())),
            number(all().map(|s| Some(s.sum))),
            number(all().map(|s| Some(s.compensation))),
            // The bits of the fingerprint; Delta has no unsigned integers.
            integer(all().map(|s| Some(s.fingerprint as i64))),
        ],
    )
}

fn batch(table: Table, columns: Vec<ArrayRef>) -> Result<RecordBatch, ArrowError> {
    RecordBatch::try_new(table.schema(), columns)
}

fn text<S: AsRef<str>>(values: impl Iterator<Item = S>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn optional_text<S: AsRef<str>>(values: impl Iterator<Item = Option<S>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn integer(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

fn small_integer(values: impl Iterator<Item = Option<i32>>) -> ArrayRef {
    Arc::new(values.collect::<Int32Array>())
}

fn number(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(values.collect::<Float64Array>())
}

fn time(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}
