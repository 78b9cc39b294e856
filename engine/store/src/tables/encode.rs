//! From the registry and the series index to batches in the schemas of `model::schema`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, StringViewBuilder, TimestampMicrosecondArray, UInt32Array, new_null_array,
};
use arrow::compute::take;
use arrow::error::ArrowError;
use model::schema::Table;

use crate::registry::{Registry, RunRow, run_ids};
use crate::series_index::SeriesEntry;

/// One row per run, in the given order.
///
/// # Errors
/// Only when a column is too large for Arrow (more than 2 GiB of text).
pub fn runs<'a>(runs: impl Iterator<Item = RunRow<'a>> + Clone) -> Result<RecordBatch, ArrowError> {
    let all = || runs.clone();
    batch(
        Table::Runs,
        vec![
            text(all().map(|r| r.project().as_str())),
            text(all().map(|r| r.experiment().as_str())),
            text(all().map(|r| r.id().to_string())),
            text(all().map(|r| r.name())),
            text(all().map(|r| r.status().as_str())),
            optional_text(all().map(|r| r.user())),
            time(all().map(|r| r.start_time())),
            time(all().map(|r| r.end_time())),
            number(all().map(|r| r.duration_seconds())),
            optional_text(all().map(|r| r.parent().map(|p| p.to_string()))),
            optional_text(all().map(|r| r.source())),
            optional_text(all().map(|r| r.source_run_id())),
            optional_text(all().map(|r| r.git_commit())),
            integer(all().map(|r| r.seed())),
            text(all().map(|r| r.config_hash().to_string())),
            Arc::new(all().map(|r| Some(r.is_deleted())).collect::<BooleanArray>()),
        ],
    )
}

/// One row per run and param key.
///
/// # Errors
/// Only when a column is too large for Arrow.
pub fn params<'a>(runs: impl Iterator<Item = RunRow<'a>> + Clone) -> Result<RecordBatch, ArrowError> {
    let rows: Vec<_> = runs.flat_map(|run| run.params().map(move |(key, value)| (run, key, value))).collect();
    key_values(Table::Params, &rows)
}

/// One row per run and tag key.
///
/// # Errors
/// Only when a column is too large for Arrow.
pub fn tags<'a>(runs: impl Iterator<Item = RunRow<'a>> + Clone) -> Result<RecordBatch, ArrowError> {
    let rows: Vec<_> = runs.flat_map(|run| run.tags().map(move |(key, value)| (run, key, value))).collect();
    key_values(Table::Tags, &rows)
}

fn key_values(table: Table, rows: &[(RunRow<'_>, &str, &str)]) -> Result<RecordBatch, ArrowError> {
    batch(
        table,
        vec![
            text(rows.iter().map(|(run, _, _)| run.project().as_str())),
            text(rows.iter().map(|(run, _, _)| run.experiment().as_str())),
            text(rows.iter().map(|(run, _, _)| run.id().to_string())),
            text(rows.iter().map(|(_, key, _)| *key)),
            text(rows.iter().map(|(_, _, value)| *value)),
            number(rows.iter().map(|(_, _, value)| value.trim().parse().ok())),
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
    entries: impl Iterator<Item = SeriesEntry<'a>>,
) -> Result<RecordBatch, ArrowError> {
    let entries: Vec<_> = entries.filter(|entry| registry.runs().get(entry.run).is_some()).collect();
    let schema = Table::Series.schema();
    let columns = schema.fields().iter().enumerate().map(|(column, field)| {
        arrow::compute::cast(&series_column(registry, &entries, column), field.data_type())
    });
    batch(Table::Series, columns.collect::<Result<_, _>>()?)
}

/// One column of these series by its position in the schema of the table, texts as views.
pub fn series_column(registry: &Registry, entries: &[SeriesEntry<'_>], column: usize) -> ArrayRef {
    let all = || entries.iter().map(|entry| entry.statistics);
    let of_runs = |text: fn(RunRow<'_>) -> &str| {
        let runs = registry.runs();
        views(entries.iter().map(|entry| runs.get(entry.run).map(text)))
    };
    let count = |value: u64| i64::try_from(value).ok();
    match column {
        0 => of_runs(|run| run.project().as_str()),
        1 => of_runs(|run| run.experiment().as_str()),
        2 => run_ids(entries.iter().map(|entry| entry.run_id)),
        3 => views(entries.iter().map(|entry| Some(entry.metric.as_str()))),
        4 => views(entries.iter().map(|entry| entry.context.map(|context| context.as_str()))),
        5 => integer(all().map(|s| count(s.count))),
        6 => integer(all().map(|s| count(s.nan_count))),
        7 => integer(all().map(|s| count(s.infinite_count))),
        8 => integer(all().map(|s| Some(s.first_step))),
        9 => integer(all().map(|s| Some(s.last_step))),
        10 => small_integer(all().map(|s| s.last.step_fraction)),
        11 => time(all().map(|s| Some(s.first_time))),
        12 => time(all().map(|s| Some(s.last_time))),
        13 => number(all().map(|s| Some(s.last.value))),
        14 => time(all().map(|s| Some(s.last.time))),
        15 => number(all().map(|s| s.last_finite.map(|p| p.value))),
        16 => integer(all().map(|s| s.last_finite.map(|p| p.step))),
        17 => small_integer(all().map(|s| s.last_finite.and_then(|p| p.step_fraction))),
        18 => time(all().map(|s| s.last_finite.map(|p| p.time))),
        19 => number(all().map(|s| s.min.map(|m| m.0))),
        20 => integer(all().map(|s| s.min.map(|m| m.1))),
        21 => number(all().map(|s| s.max.map(|m| m.0))),
        22 => integer(all().map(|s| s.max.map(|m| m.1))),
        23 => number(all().map(|s| s.mean())),
        24 => number(all().map(|s| Some(s.sum))),
        25 => number(all().map(|s| Some(s.compensation))),
        // The bits of the fingerprint; Delta has no unsigned integers.
        _ => integer(all().map(|s| Some(s.fingerprint as i64))),
    }
}

/// Texts as views, each one kept once for each place that it stands at: names of series and runs are shared.
fn views<'a>(texts: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    let mut distinct = StringViewBuilder::new();
    let mut known: HashMap<*const str, u32, foldhash::fast::RandomState> = HashMap::default();
    let mut last: Option<(*const str, u32)> = None;
    let of_texts: UInt32Array = texts
        .map(|text| {
            let text = text?;
            let place = std::ptr::from_ref(text);
            let number = match last {
                Some((before, number)) if std::ptr::eq(before, place) => number,
                _ => *known.entry(place).or_insert_with(|| {
                    distinct.append_value(text);
                    (distinct.len() - 1) as u32
                }),
            };
            last = Some((place, number));
            Some(number)
        })
        .collect();
    let distinct = distinct.finish();
    match take(&distinct, &of_texts, None) {
        Ok(array) => array,
        // Every number is that of a text.
        Err(_) => new_null_array(distinct.data_type(), of_texts.len()),
    }
}

pub(super) fn batch(table: Table, columns: Vec<ArrayRef>) -> Result<RecordBatch, ArrowError> {
    RecordBatch::try_new(table.schema(), columns)
}

pub(super) fn text<S: AsRef<str>>(values: impl Iterator<Item = S>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

pub(super) fn optional_text<S: AsRef<str>>(values: impl Iterator<Item = Option<S>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

pub(super) fn integer(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

fn small_integer(values: impl Iterator<Item = Option<i32>>) -> ArrayRef {
    Arc::new(values.collect::<Int32Array>())
}

pub(super) fn number(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(values.collect::<Float64Array>())
}

pub(super) fn time(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}
