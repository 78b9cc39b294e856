//! From checkpoint batches back to the registry and the series index.

use arrow::array::{
    Array, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use model::schema::Table;
use model::{
    Context, Decision, Experiment, ExperimentName, ImportRecord, Key, MetricName, ModelError, Note,
    ParamValue, Point, ProjectName, Run, RunId, SeriesStatistics, TagValue,
};
use thiserror::Error;

use crate::registry::{ConfigHash, KeyColumnsBuilder, Place, Registry};
use crate::series_index::SeriesIndex;
use crate::tables::{Extra, records};

/// A row of a checkpoint does not hold what it must.
#[derive(Debug, Error)]
pub enum RowError {
    /// A column is missing or has another type.
    #[error("column {column:?} is missing or has another type than {expected}")]
    Column {
        /// The column.
        column: &'static str,
        /// The type that it must have.
        expected: &'static str,
    },
    /// A value is NULL where it must not be.
    #[error("column {column:?} is NULL in row {row}")]
    Null {
        /// The column.
        column: &'static str,
        /// The row from 0.
        row: usize,
    },
    /// A value is not valid.
    #[error("row {row}: {source}")]
    Value {
        /// The row from 0.
        row: usize,
        /// What is wrong.
        source: ModelError,
    },
    /// A row is there twice.
    #[error("row {row} has the project and id of another row of the table")]
    Twice {
        /// The row from 0.
        row: usize,
    },
    /// A row belongs to a run that is not there.
    #[error("row {row} belongs to run {run}, which the runs table does not hold")]
    RunUnknown {
        /// The row from 0.
        row: usize,
        /// The run.
        run: RunId,
    },
}

/// One checkpoint file.
pub(crate) struct Checkpoint<'a> {
    pub(crate) table: Table,
    /// Which range of ordinals it holds.
    pub(crate) chunk: u32,
    pub(crate) rows: &'a RecordBatch,
    /// What the footer tells beside the rows.
    pub(crate) extra: Extra,
    /// The last WAL number that the table holds.
    pub(crate) table_seq: u64,
    /// The last WAL number that the runs table holds. When that is ahead, a run may be gone of which this table still
    /// has rows.
    pub(crate) runs_seq: u64,
}

/// Takes the rows of one checkpoint file into the state, in order. Gives back how many rows belonged to runs that were
/// deleted since, and were left out.
///
/// Rows of other runs that are not there are an error, or left out and counted when there is a count.
pub(crate) fn decode_into(
    checkpoint: &Checkpoint<'_>,
    registry: &mut Registry,
    series: &mut SeriesIndex,
    orphans: &mut Option<u64>,
) -> Result<usize, RowError> {
    let batch = checkpoint.rows;
    match checkpoint.table {
        Table::Runs => runs(checkpoint, registry),
        Table::Params | Table::Tags => return key_values(checkpoint, registry, orphans),
        Table::Experiments => {
            for (project, days) in &checkpoint.extra.retention {
                registry.restore_retention(project.clone(), *days);
            }
            for view in &checkpoint.extra.views {
                registry.restore_view(view.clone());
            }
            experiments(batch, registry)
        }
        Table::Decisions => decisions(batch, registry),
        Table::Notes => notes(batch, registry),
        Table::Imports => imports(batch, registry),
        Table::Records(kind) => {
            records::check(batch)?;
            let twice = |row| RowError::Twice { row };
            registry.restore_records(kind, checkpoint.chunk, batch.clone()).map_err(twice)
        }
        Table::Series => return series_rows(checkpoint, registry, series, orphans),
        Table::Points => Ok(()),
    }?;
    Ok(0)
}

fn runs(checkpoint: &Checkpoint<'_>, registry: &mut Registry) -> Result<(), RowError> {
    let Checkpoint { rows: batch, extra, chunk, .. } = checkpoint;
    let rows = Rows(batch);
    let (project, experiment) = (rows.text("project")?, rows.text("experiment")?);
    let (id, name, status) = (rows.text("run_id")?, rows.text("name")?, rows.text("status")?);
    let (user, parent) = (rows.text("user")?, rows.text("parent_run_id")?);
    let (start, end) = (rows.time("start_time")?, rows.time("end_time")?);
    let (source, source_id) = (rows.text("source")?, rows.text("source_run_id")?);
    let (commit, deleted) = (rows.text("git_commit")?, rows.boolean("deleted")?);
    let hash = rows.text("config_hash")?;
    let mut runs = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let wrong = |source| RowError::Value { row, source };
        let parent = optional(parent, row).map(str::parse).transpose().map_err(wrong)?;
        runs.push((
            Run {
                id: required("run_id", id, row)?.parse().map_err(wrong)?,
                project: ProjectName::new(required("project", project, row)?).map_err(wrong)?,
                experiment: ExperimentName::new(required("experiment", experiment, row)?).map_err(wrong)?,
                name: required("name", name, row)?.to_owned(),
                status: required("status", status, row)?.parse().map_err(wrong)?,
                user: optional(user, row).map(str::to_owned),
                start_time: start.is_valid(row).then(|| start.value(row)),
                end_time: end.is_valid(row).then(|| end.value(row)),
                parent,
                source: optional(source, row).map(str::to_owned),
                source_run_id: optional(source_id, row).map(str::to_owned),
                git_commit: optional(commit, row).map(str::to_owned),
                deleted: deleted.is_valid(row) && deleted.value(row),
                params: Default::default(),
                tags: Default::default(),
            },
            extra.since.get(row).copied().unwrap_or_default(),
            required("config_hash", hash, row)?
                .parse::<ConfigHash>()
                .map_err(|_| RowError::Column { column: "config_hash", expected: "hexadecimal digits" })?,
        ));
    }
    registry.restore_runs(*chunk, runs);
    Ok(())
}

fn key_values(
    checkpoint: &Checkpoint<'_>,
    registry: &mut Registry,
    orphans: &mut Option<u64>,
) -> Result<usize, RowError> {
    let Checkpoint { rows: batch, chunk, table_seq, table, .. } = checkpoint;
    let mut left_out = 0;
    let rows = Rows(batch);
    let (id, key, text) = (rows.text("run_id")?, rows.text("key")?, rows.text("text")?);
    let mut columns = KeyColumnsBuilder::default();
    // Rows of a run stand together.
    let mut last: Option<(&str, RunId, Option<Place>)> = None;
    for row in 0..batch.num_rows() {
        let wrong = |source| RowError::Value { row, source };
        let id = required("run_id", id, row)?;
        let (run, place) = match last {
            Some((of, run, place)) if of == id => (run, place),
            _ => {
                let run: RunId = id.parse().map_err(wrong)?;
                (run, registry.place_in(*chunk, run, *table_seq))
            }
        };
        last = Some((id, run, place));
        let (key, text) = (required("key", key, row)?, required("text", text, row)?);
        match place {
            Some(place) => {
                Key::check(key).map_err(wrong)?;
                match table {
                    Table::Params => ParamValue::check(text),
                    _ => TagValue::check(text),
                }
                .map_err(wrong)?;
                columns.push(place, key, text);
            }
            None => {
                let (key, mut outcome) = (Key::new(key).map_err(wrong)?, Ok(()));
                let found = registry.restore_into_run(run, *table_seq, |run| {
                    outcome = match table {
                        Table::Params => {
                            ParamValue::new(text).map(|value| drop(run.params.insert(key, value)))
                        }
                        _ => TagValue::new(text).map(|value| drop(run.tags.insert(key, value))),
                    };
                });
                outcome.map_err(wrong)?;
                if !found {
                    left_out += checkpoint.leave_out(row, run, orphans)?;
                }
            }
        }
    }
    match table {
        Table::Params => registry.restore_params(*chunk, columns),
        _ => registry.restore_tags(*chunk, columns),
    }
    Ok(left_out)
}

impl Checkpoint<'_> {
    /// A row of a run that is not there: it was deleted when the runs table is ahead, else this cannot be. Gives back
    /// how many rows of deleted runs this makes.
    fn leave_out(&self, row: usize, run: RunId, orphans: &mut Option<u64>) -> Result<usize, RowError> {
        if self.table_seq < self.runs_seq {
            return Ok(1);
        }
        match orphans {
            Some(count) => {
                *count += 1;
                Ok(0)
            }
            None => Err(RowError::RunUnknown { row, run }),
        }
    }
}

fn experiments(batch: &RecordBatch, registry: &mut Registry) -> Result<(), RowError> {
    let rows = Rows(batch);
    let (project, name) = (rows.text("project")?, rows.text("experiment")?);
    let (hypothesis, source) = (rows.text("hypothesis")?, rows.text("source")?);
    let (metric, direction) = (rows.text("target_metric")?, rows.text("direction")?);
    let (owner, notes, created) = (rows.text("owner")?, rows.text("notes")?, rows.time("created")?);
    for row in 0..batch.num_rows() {
        let wrong = |source| RowError::Value { row, source };
        registry.restore_experiment(Experiment {
            project: ProjectName::new(required("project", project, row)?).map_err(wrong)?,
            name: ExperimentName::new(required("experiment", name, row)?).map_err(wrong)?,
            hypothesis: optional(hypothesis, row).map(str::to_owned),
            source: optional(source, row).map(str::to_owned),
            target_metric: optional(metric, row).map(MetricName::new).transpose().map_err(wrong)?,
            direction: optional(direction, row).map(str::parse).transpose().map_err(wrong)?,
            owner: optional(owner, row).map(str::to_owned),
            notes: optional(notes, row).map(str::to_owned),
            created: created.value(row),
        });
    }
    Ok(())
}

fn decisions(batch: &RecordBatch, registry: &mut Registry) -> Result<(), RowError> {
    let rows = Rows(batch);
    let (project, experiment) = (rows.text("project")?, rows.text("experiment")?);
    let (decision, reason) = (rows.text("decision")?, rows.text("reason")?);
    let (author, time) = (rows.text("author")?, rows.time("time")?);
    for row in 0..batch.num_rows() {
        let wrong = |source| RowError::Value { row, source };
        registry.restore_decision(Decision {
            project: ProjectName::new(required("project", project, row)?).map_err(wrong)?,
            experiment: ExperimentName::new(required("experiment", experiment, row)?).map_err(wrong)?,
            decision: required("decision", decision, row)?.parse().map_err(wrong)?,
            reason: required("reason", reason, row)?.to_owned(),
            author: optional(author, row).map(str::to_owned),
            time: time.value(row),
        });
    }
    Ok(())
}

fn notes(batch: &RecordBatch, registry: &mut Registry) -> Result<(), RowError> {
    let rows = Rows(batch);
    let (project, experiment, run) = (rows.text("project")?, rows.text("experiment")?, rows.text("run_id")?);
    let (text, author, time) = (rows.text("text")?, rows.text("author")?, rows.time("time")?);
    for row in 0..batch.num_rows() {
        let wrong = |source| RowError::Value { row, source };
        registry.restore_note(Note {
            project: ProjectName::new(required("project", project, row)?).map_err(wrong)?,
            experiment: optional(experiment, row).map(ExperimentName::new).transpose().map_err(wrong)?,
            run: optional(run, row).map(str::parse).transpose().map_err(wrong)?,
            text: required("text", text, row)?.to_owned(),
            author: optional(author, row).map(str::to_owned),
            time: time.value(row),
        });
    }
    Ok(())
}

fn imports(batch: &RecordBatch, registry: &mut Registry) -> Result<(), RowError> {
    let rows = Rows(batch);
    let (kind, location, hash) = (rows.text("kind")?, rows.text("location")?, rows.text("content_hash")?);
    let (points, rejected, time) = (rows.integer("points")?, rows.integer("rejected")?, rows.time("time")?);
    for row in 0..batch.num_rows() {
        registry.restore_import(ImportRecord {
            kind: required("kind", kind, row)?.to_owned(),
            location: required("location", location, row)?.to_owned(),
            content_hash: required("content_hash", hash, row)?.to_owned(),
            points: points.value(row).max(0) as u64,
            rejected: rejected.value(row).max(0) as u64,
            time: time.value(row),
        });
    }
    Ok(())
}

fn series_rows(
    checkpoint: &Checkpoint<'_>,
    registry: &Registry,
    series: &mut SeriesIndex,
    orphans: &mut Option<u64>,
) -> Result<usize, RowError> {
    let batch = checkpoint.rows;
    let mut left_out = 0;
    let rows = Rows(batch);
    let (id, metric, context) = (rows.text("run_id")?, rows.text("metric")?, rows.text("context")?);
    let (count, nan_count) = (rows.integer("count")?, rows.integer("nan_count")?);
    let infinite_count = rows.integer("infinite_count")?;
    let (first_step, last_step) = (rows.integer("first_step")?, rows.integer("last_step")?);
    let (first_time, last_time) = (rows.time("first_time")?, rows.time("last_time")?);
    let (last, last_at) = (rows.number("last")?, rows.time("last_at")?);
    let last_fraction = rows.small_integer("last_step_frac")?;
    let (finite, finite_step) = (rows.number("last_finite")?, rows.integer("last_finite_step")?);
    let (finite_fraction, finite_at) =
        (rows.small_integer("last_finite_step_frac")?, rows.time("last_finite_at")?);
    let (min, argmin) = (rows.number("min")?, rows.integer("argmin_step")?);
    let (max, argmax) = (rows.number("max")?, rows.integer("argmax_step")?);
    let (sum, compensation) = (rows.number("sum")?, rows.number("sum_compensation")?);
    let fingerprint = rows.integer("fingerprint")?;
    for row in 0..batch.num_rows() {
        let wrong = |source| RowError::Value { row, source };
        let run: RunId = required("run_id", id, row)?.parse().map_err(wrong)?;
        let Some(ordinal) = registry.ordinal(run).filter(|_| registry.holds(run, checkpoint.table_seq))
        else {
            left_out += checkpoint.leave_out(row, run, orphans)?;
            continue;
        };
        let fraction = |column: &Int32Array| column.is_valid(row).then(|| column.value(row));
        let metric = MetricName::new(required("metric", metric, row)?).map_err(wrong)?;
        let context = optional(context, row).map(Context::parse).transpose().map_err(wrong)?;
        let statistics = SeriesStatistics {
            count: count.value(row).max(0) as u64,
            nan_count: nan_count.value(row).max(0) as u64,
            infinite_count: infinite_count.value(row).max(0) as u64,
            first_step: first_step.value(row),
            last_step: last_step.value(row),
            first_time: first_time.value(row),
            last_time: last_time.value(row),
            last: Point {
                step: last_step.value(row),
                step_fraction: fraction(last_fraction),
                time: last_at.value(row),
                value: last.value(row),
            },
            last_finite: finite.is_valid(row).then(|| Point {
                step: finite_step.value(row),
                step_fraction: fraction(finite_fraction),
                time: finite_at.value(row),
                value: finite.value(row),
            }),
            min: min.is_valid(row).then(|| (min.value(row), argmin.value(row))),
            max: max.is_valid(row).then(|| (max.value(row), argmax.value(row))),
            sum: sum.value(row),
            compensation: compensation.value(row),
            fingerprint: fingerprint.value(row) as u64,
        };
        series.restore(run, ordinal, &metric, context.as_ref(), statistics);
    }
    Ok(left_out)
}

/// Typed access to the columns of a batch by name.
struct Rows<'a>(&'a RecordBatch);

impl<'a> Rows<'a> {
    fn text(&self, column: &'static str) -> Result<&'a StringArray, RowError> {
        self.column(column, "Utf8", |array| array.as_string_opt::<i32>())
    }

    fn integer(&self, column: &'static str) -> Result<&'a Int64Array, RowError> {
        self.column(column, "Int64", |array| array.as_primitive_opt::<Int64Type>())
    }

    fn small_integer(&self, column: &'static str) -> Result<&'a Int32Array, RowError> {
        self.column(column, "Int32", |array| array.as_primitive_opt::<Int32Type>())
    }

    fn number(&self, column: &'static str) -> Result<&'a Float64Array, RowError> {
        self.column(column, "Float64", |array| array.as_primitive_opt::<Float64Type>())
    }

    fn time(&self, column: &'static str) -> Result<&'a TimestampMicrosecondArray, RowError> {
        self.column(column, "Timestamp(µs)", |array| array.as_primitive_opt::<TimestampMicrosecondType>())
    }

    fn boolean(&self, column: &'static str) -> Result<&'a BooleanArray, RowError> {
        self.column(column, "Boolean", |array| array.as_boolean_opt())
    }

    fn column<T: ?Sized>(
        &self,
        column: &'static str,
        expected: &'static str,
        cast: impl FnOnce(&'a dyn Array) -> Option<&'a T>,
    ) -> Result<&'a T, RowError> {
        let array = self.0.column_by_name(column).map(AsRef::as_ref);
        array.and_then(cast).ok_or(RowError::Column { column, expected })
    }
}

fn required<'a>(name: &'static str, column: &'a StringArray, row: usize) -> Result<&'a str, RowError> {
    optional(column, row).ok_or(RowError::Null { column: name, row })
}

fn optional(column: &StringArray, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.value(row))
}
