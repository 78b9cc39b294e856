//! `asof_join`: two metrics of many runs side by side.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::datasource::TableProvider;

use super::Call;
use super::computed::{ComputedTable, Inputs, Memory, Taken, Work};
use super::curve_set::{self, Placed};
use super::source::{RUNS, Source};
use crate::functions::definition::{ArgumentKind, Definition, FunctionKind, optional, required};
use crate::tables::SnapshotCatalog;

pub(in crate::functions) static DEFINITION: Definition = Definition {
    name: "asof_join",
    kind: FunctionKind::Table,
    summary: "Every point of metric a of these runs, with the last point of metric b of the same run at its step or before: \
              an as-of join, merged in one pass over both curves of each run. b is NULL before the first point of b; of \
              several points at one place the latest counts. by => 'time' goes by the times of points in place of their \
              steps, strict => true takes only points of b that stand before. A run whose metric has several contexts \
              shows the series that metrics[...] of runs shows; asof gives those of one run with all contexts.",
    parameters: &[
        RUNS,
        required("metric_a", ArgumentKind::Text, "the metric that gives the rows"),
        required("metric_b", ArgumentKind::Text, "the metric that is looked up"),
        optional("by", ArgumentKind::Text, "'step' (default) or 'time'"),
        optional("strict", ArgumentKind::Boolean, "only what stands before, default false"),
    ],
    returns: "table(run_id, step, time, a, b, b_step, b_time)",
    example: "SELECT r.name, j.step, j.a, j.b, j.b_step FROM asof_join('vision/lr sweep', 'val_loss', 'val/acc') j \
              JOIN runs r ON r.run_id = j.run_id ORDER BY r.name, j.step",
};

/// What tells whether a point stands before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Step,
    Time,
}

impl By {
    /// The place of a point, and which of several there is the latest.
    fn place(self, point: &Placed) -> ([i64; 2], [i64; 2]) {
        let step = [point.step, i64::from(point.fraction)];
        match self {
            Self::Step => (step, [point.time, 0]),
            Self::Time => ([point.time, 0], step),
        }
    }
}

#[derive(Debug)]
struct AsofJoin {
    catalog: SnapshotCatalog,
    source: Source,
    metrics: [String; 2],
    by: By,
    is_strict: bool,
}

pub(super) fn table(call: &Call<'_>) -> Result<Arc<dyn TableProvider>> {
    let constants = &call.constants;
    let source = Source::read(call, RUNS.name)?;
    let metrics = [call.text("metric_a")?.to_owned(), call.text("metric_b")?.to_owned()];
    let by = match constants.text("by") {
        None | Some("step") => By::Step,
        Some("time") => By::Time,
        Some(other) => return constants.refuse("by", format_args!("'{other}'"), "give 'step' or 'time'"),
    };
    let is_strict = constants.boolean("strict").unwrap_or(false);
    let curves = curve_set::plan(call, &source, RUNS.name, &metrics)?;
    let work = AsofJoin { catalog: call.catalog.clone(), source, metrics, by, is_strict };
    let inputs = Inputs { rows: None, curves: Some(curves) };
    Ok(Arc::new(ComputedTable::new(DEFINITION.name, schema(), inputs, Arc::new(work))))
}

fn schema() -> SchemaRef {
    let time = |name: &str, nullable| Field::new(name, model::schema::timestamp(), nullable);
    Arc::new(Schema::new(vec![
        Field::new("run_id", DataType::Utf8View, false),
        Field::new("step", DataType::Int64, false),
        time("time", false),
        Field::new("a", DataType::Float64, false),
        Field::new("b", DataType::Float64, true),
        Field::new("b_step", DataType::Int64, true),
        time("b_time", true),
    ]))
}

/// The last of these points before each of those: both are sorted first, which is quick where they nearly are.
fn merged(by: By, is_strict: bool, rows: &mut [Placed], looked_up: &mut [Placed]) -> Vec<Option<Placed>> {
    let key = |point: &Placed| (by.place(point), point.value.to_bits());
    for points in [&mut *rows, &mut *looked_up] {
        points.sort_by_key(key);
    }
    let mut next = 0;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows.iter() {
        let place = by.place(row).0;
        let stands_before = |point: &Placed| match is_strict {
            true => by.place(point).0 < place,
            false => by.place(point).0 <= place,
        };
        while looked_up.get(next).is_some_and(stands_before) {
            next += 1;
        }
        found.push(next.checked_sub(1).and_then(|last| looked_up.get(last)).copied());
    }
    found
}

/// Bytes of a row of the answer.
const ROW_BYTES: usize = 128;

impl Work for AsofJoin {
    fn described(&self) -> String {
        let [a, b] = &self.metrics;
        format!("of={}, metric_a={a}, metric_b={b}, by={:?}", self.source.in_words(), self.by)
    }

    fn compute(&self, taken: Taken, memory: &Memory) -> Result<RecordBatch> {
        let snapshot = self.catalog.snapshot();
        let [a, b] = &self.metrics;
        let mut taker = taken.curves.unwrap_or_default();
        let mut rows: Vec<Placed> = Vec::new();
        let mut found: Vec<Option<Placed>> = Vec::new();
        let mut runs: Vec<(String, usize)> = Vec::new();
        for run in taker.runs_with(snapshot, a) {
            let Some(id) = snapshot.registry().runs().get(run).map(|run| run.id()) else { continue };
            // Looked up first where both are one metric: it is taken once.
            let mut looked_up = taker.points_of(snapshot, b, run)?;
            let mut of_run = if a == b { looked_up.clone() } else { taker.points_of(snapshot, a, run)? };
            memory.take(of_run.len() * ROW_BYTES)?;
            found.extend(merged(self.by, self.is_strict, &mut of_run, &mut looked_up));
            runs.push((id.to_string(), of_run.len()));
            rows.append(&mut of_run);
        }
        let ids = runs.iter().flat_map(|(id, points)| std::iter::repeat_n(Some(id.as_str()), *points));
        let utc = |times: TimestampMicrosecondArray| -> ArrayRef { Arc::new(times.with_timezone("UTC")) };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(ids.collect::<StringViewArray>()),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.step))),
            utc(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.time))),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.value))),
            Arc::new(found.iter().map(|b| Some(b.as_ref()?.value)).collect::<Float64Array>()),
            Arc::new(found.iter().map(|b| Some(b.as_ref()?.step)).collect::<Int64Array>()),
            utc(found.iter().map(|b| Some(b.as_ref()?.time)).collect::<TimestampMicrosecondArray>()),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(of: &[(i64, i64)]) -> Vec<Placed> {
        of.iter().map(|&(step, time)| Placed { step, fraction: 0, time, value: time as f64 }).collect()
    }

    fn steps(by: By, is_strict: bool, rows: &[(i64, i64)], looked_up: &[(i64, i64)]) -> Vec<Option<i64>> {
        let found = merged(by, is_strict, &mut points(rows), &mut points(looked_up));
        found.into_iter().map(|b| b.map(|b| b.time)).collect()
    }

    #[test]
    fn each_row_has_the_last_point_before_it() {
        let (a, b) = ([(5, 50), (1, 10), (9, 90)], [(4, 41), (1, 11), (4, 40), (20, 200)]);
        assert_eq!(steps(By::Step, false, &a, &b), [Some(11), Some(41), Some(41)]);
        assert_eq!(steps(By::Step, true, &a, &b), [None, Some(41), Some(41)]);
        assert_eq!(steps(By::Time, false, &a, &b), [None, Some(41), Some(41)]);
        assert_eq!(steps(By::Time, true, &[(0, 40), (0, 41)], &b), [Some(11), Some(40)]);
        assert_eq!(steps(By::Step, false, &a, &[]), [None, None, None]);
        assert_eq!(steps(By::Step, false, &[], &b), []);
    }
}
