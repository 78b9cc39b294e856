//! Points, in the order of their series.

use std::collections::HashSet;

use arrow::array::{Array, AsArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use model::{Context, MetricName, Point, PointColumns, RunId, SeriesKey};

use super::reading::Table;
use crate::error::Result;
use crate::report::Reporter;

/// Points that are handed on at once.
const PART_POINTS: usize = 1 << 16;

/// Hands on all points of known runs.
pub(super) fn read(mut table: Table<'_>, known: &HashSet<RunId>, reporter: &mut Reporter<'_>) -> Result<()> {
    let mut open: Option<Open> = None;
    while let Some(batch) = table.next(reporter)? {
        let rows = Rows::of(&batch);
        for row in 0..batch.num_rows() {
            if !open.as_ref().is_some_and(|open| rows.is_of(row, open)) {
                finish(&mut open, reporter)?;
                open = Some(Open::new(&rows, row, known));
            }
            let Some(open) = &mut open else { continue };
            let fault = match &open.key {
                Ok(key) => match rows.point(row) {
                    Ok((attempt, point)) => {
                        if attempt != open.attempt || open.points.len() >= PART_POINTS {
                            hand_on(key, open.attempt, &mut open.points, &mut open.is_new, reporter)?;
                            open.attempt = attempt;
                        }
                        open.points.push(point);
                        continue;
                    }
                    Err(reason) => ("point.malformed", reason),
                },
                Err((code, reason)) => (*code, reason.clone()),
            };
            let (file, place) = table.place(row);
            reporter.reject(&file, place, fault.0, || fault.1)?;
        }
        reporter.progress();
    }
    finish(&mut open, reporter)
}

fn finish(open: &mut Option<Open>, reporter: &mut Reporter<'_>) -> Result<()> {
    match open.take() {
        Some(Open { key: Ok(key), attempt, mut points, mut is_new, .. }) => {
            hand_on(&key, attempt, &mut points, &mut is_new, reporter)
        }
        _ => Ok(()),
    }
}

fn hand_on(
    key: &SeriesKey,
    attempt: u32,
    points: &mut PointColumns,
    is_new: &mut bool,
    reporter: &mut Reporter<'_>,
) -> Result<()> {
    if points.is_empty() {
        return Ok(());
    }
    reporter.hand_on(key, attempt, std::mem::take(points), std::mem::take(is_new))
}

/// The series that the rows are of at the moment, and its points that were not handed on yet.
struct Open {
    run: String,
    metric: String,
    context: Option<String>,
    /// Or why its points cannot be taken.
    key: std::result::Result<SeriesKey, (&'static str, String)>,
    attempt: u32,
    points: PointColumns,
    is_new: bool,
}

impl Open {
    fn new(rows: &Rows<'_>, row: usize, known: &HashSet<RunId>) -> Self {
        let (run, metric, context) = (rows.runs.value(row), rows.metrics.value(row), rows.context(row));
        Self {
            run: run.to_owned(),
            metric: metric.to_owned(),
            context: context.map(str::to_owned),
            key: key_of(run, metric, context, known),
            attempt: 0,
            points: PointColumns::default(),
            is_new: true,
        }
    }
}

fn key_of(
    run: &str,
    metric: &str,
    context: Option<&str>,
    known: &HashSet<RunId>,
) -> std::result::Result<SeriesKey, (&'static str, String)> {
    let run = match run.parse::<RunId>() {
        Ok(run) if known.contains(&run) => run,
        Ok(run) => return Err(("run.unknown", format!("run {run} is not in the table of runs"))),
        Err(error) => return Err(("run.unknown", error.to_string())),
    };
    let metric = MetricName::new(metric).map_err(|error| ("metric.refused", error.to_string()))?;
    let context =
        context.map(Context::parse).transpose().map_err(|error| ("context.refused", error.to_string()))?;
    Ok(SeriesKey { run, metric, context })
}

/// The columns of a batch.
struct Rows<'a> {
    runs: &'a StringArray,
    metrics: &'a StringArray,
    contexts: &'a StringArray,
    attempts: &'a Int32Array,
    fractions: &'a Int32Array,
    steps: &'a [i64],
    times: &'a [i64],
    values: &'a [f64],
}

impl<'a> Rows<'a> {
    fn of(batch: &'a RecordBatch) -> Self {
        Self {
            runs: batch.column(0).as_string(),
            metrics: batch.column(1).as_string(),
            contexts: batch.column(2).as_string(),
            attempts: batch.column(3).as_primitive::<Int32Type>(),
            steps: batch.column(4).as_primitive::<Int64Type>().values(),
            fractions: batch.column(5).as_primitive::<Int32Type>(),
            times: batch.column(6).as_primitive::<TimestampMicrosecondType>().values(),
            values: batch.column(7).as_primitive::<Float64Type>().values(),
        }
    }

    fn context(&self, row: usize) -> Option<&'a str> {
        self.contexts.is_valid(row).then(|| self.contexts.value(row))
    }

    fn is_of(&self, row: usize, open: &Open) -> bool {
        self.metrics.value(row) == open.metric
            && self.runs.value(row) == open.run
            && self.context(row) == open.context.as_deref()
    }

    fn point(&self, row: usize) -> std::result::Result<(u32, Point), String> {
        let attempt = self.attempts.value(row);
        let attempt = u32::try_from(attempt).map_err(|_| format!("the attempt {attempt} is below 0"))?;
        let step_fraction = self.fractions.is_valid(row).then(|| self.fractions.value(row));
        if step_fraction.is_some_and(|fraction| !(0..1_000_000).contains(&fraction)) {
            return Err("step_frac is not in 0 to 999999".to_owned());
        }
        let (Some(step), Some(time), Some(value)) =
            (self.steps.get(row), self.times.get(row), self.values.get(row))
        else {
            return Err("the row has no step, time or value".to_owned());
        };
        Ok((attempt, Point { step: *step, step_fraction, time: *time, value: *value }))
    }
}
