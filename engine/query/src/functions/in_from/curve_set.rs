//! Curves of metrics of runs, as kernels take them.
//!
//! A run shows one curve of a metric: the series without context, else the one that `metrics` shows. Of several points at
//! one step the last counts. The order in which points arrive does not matter.

use std::collections::BTreeMap;
use std::ops::Range;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::LogicalPlan;
use futures::FutureExt as _;
use kernels::cluster::Curves;
use model::{MetricName, RunId};
use store::{RunOrdinal, Snapshot};

use super::computed::Memory;
use super::source::Source;
use super::{Call, quoted, without_place};
use crate::guard::check_plan;
use crate::tables::shown_series;

/// The points of these metrics of the runs of a source, without an order.
///
/// # Errors
/// When the source is a query without a column `run_id`.
pub(super) fn plan(
    call: &Call<'_>,
    source: &Source,
    argument: &str,
    metrics: &[String],
) -> Result<LogicalPlan> {
    let names: Vec<String> = metrics.iter().map(|metric| quoted(metric)).collect();
    let sql = format!(
        "SELECT run_id, metric, context, step, step_frac, time, value FROM runlake.public.points
        WHERE metric IN ({}) AND {}",
        names.join(", "),
        source.condition(argument)?
    );
    let planned = call.state.create_logical_plan(&sql).now_or_never();
    let Some(plan) = planned else {
        return datafusion::common::internal_err!("planning would have to wait");
    };
    let plan = plan.map_err(without_place)?;
    check_plan(&plan)?;
    Ok(plan)
}

/// A point of a curve; `time` tells which of two points at one step is the last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) step: i64,
    /// In millionths of a step.
    pub(super) fraction: i32,
    /// In microseconds since 1970 UTC.
    pub(super) time: i64,
    pub(super) value: f64,
}

impl Placed {
    /// The step as kernels take it.
    fn position(&self) -> f64 {
        self.step as f64 + f64::from(self.fraction) * 1e-6
    }
}

/// Points as they come.
#[derive(Debug, Default)]
pub(in crate::functions) struct CurveTaker {
    series: BTreeMap<(RunId, String, Option<String>), Vec<Placed>>,
}

/// Bytes of a point while it is collected, sorted and laid out.
const POINT_BYTES: usize = size_of::<Placed>() + 2 * size_of::<f64>();
/// Bytes of a series beside its points, estimated.
const SERIES_BYTES: usize = 256;

impl CurveTaker {
    /// Takes up a batch.
    ///
    /// # Errors
    /// Memory that there is not.
    pub(super) fn take(&mut self, batch: &RecordBatch, memory: &Memory) -> Result<()> {
        memory.take(batch.num_rows() * POINT_BYTES)?;
        let text =
            |column: usize| arrow::compute::cast(batch.column(column), &arrow::datatypes::DataType::Utf8View);
        let (runs, metrics, contexts) = (text(0)?, text(1)?, text(2)?);
        let (runs, metrics, contexts) =
            (runs.as_string_view(), metrics.as_string_view(), contexts.as_string_view());
        let steps = batch.column(3).as_primitive::<Int64Type>();
        let fractions = batch.column(4).as_primitive::<Int32Type>();
        let times = batch.column(5).as_primitive::<TimestampMicrosecondType>();
        let values = batch.column(6).as_primitive::<Float64Type>();
        let context = |row: usize| contexts.is_valid(row).then(|| contexts.value(row));
        let mut first = 0;
        while first < batch.num_rows() {
            // The points of a series mostly stand together.
            let is_same = |row: &usize| {
                runs.value(*row) == runs.value(first)
                    && metrics.value(*row) == metrics.value(first)
                    && context(*row) == context(first)
            };
            let end = (first + 1..batch.num_rows()).find(|row| !is_same(row)).unwrap_or(batch.num_rows());
            let Ok(run) = runs.value(first).parse::<RunId>() else {
                return plan_err!("'{}' is no run id", runs.value(first));
            };
            let key = (run, metrics.value(first).to_owned(), context(first).map(str::to_owned));
            if !self.series.contains_key(&key) {
                memory.take(SERIES_BYTES)?;
            }
            let points = self.series.entry(key).or_default();
            points.extend((first..end).map(|row| {
                let fraction = if fractions.is_valid(row) { fractions.value(row) } else { 0 };
                Placed { step: steps.value(row), fraction, time: times.value(row), value: values.value(row) }
            }));
            first = end;
        }
        Ok(())
    }

    /// The curves of one metric of these runs, one for each run in their order; empty where it has none.
    ///
    /// # Errors
    /// When there are more points than a kernel counts, and names that are of no metric.
    pub(super) fn curves_of(
        &mut self,
        snapshot: &Snapshot,
        metric: &str,
        runs: &[RunOrdinal],
    ) -> Result<CurveSet> {
        let mut set = CurveSet { offsets: vec![0], ..CurveSet::default() };
        let name = metric_name(metric)?;
        for run in runs {
            set.push(self.points_of_shown(snapshot, &name, *run));
            match u32::try_from(set.steps.len()) {
                Ok(end) => set.offsets.push(end),
                Err(_) => {
                    return plan_err!(
                        "the curves of '{metric}' have more than 2^32 points: choose fewer runs"
                    );
                }
            }
        }
        Ok(set)
    }

    /// The points of the curve that a run shows of a metric, without an order.
    ///
    /// # Errors
    /// Names that are of no metric.
    pub(super) fn points_of(
        &mut self,
        snapshot: &Snapshot,
        metric: &str,
        run: RunOrdinal,
    ) -> Result<Vec<Placed>> {
        Ok(self.points_of_shown(snapshot, &metric_name(metric)?, run))
    }

    fn points_of_shown(&mut self, snapshot: &Snapshot, metric: &MetricName, run: RunOrdinal) -> Vec<Placed> {
        let Some(entry) = shown_series(snapshot, metric, run) else { return Vec::new() };
        let context = entry.context.map(|context| context.as_str().to_owned());
        self.series.remove(&(entry.run_id, metric.as_str().to_owned(), context)).unwrap_or_default()
    }

    /// The runs that have a point of a metric.
    pub(super) fn runs_with(&self, snapshot: &Snapshot, metric: &str) -> Vec<RunOrdinal> {
        let of_metric = self.series.keys().filter(|(_, name, _)| name == metric);
        let mut runs: Vec<RunOrdinal> =
            of_metric.filter_map(|(run, _, _)| snapshot.registry().ordinal(*run)).collect();
        runs.sort_unstable();
        runs.dedup();
        runs.retain(|run| snapshot.registry().runs().get(*run).is_some_and(|run| !run.is_deleted()));
        runs
    }
}

fn metric_name(metric: &str) -> Result<MetricName> {
    match MetricName::new(metric) {
        Ok(name) => Ok(name),
        Err(_) => plan_err!("'{metric}' cannot be the name of a metric"),
    }
}

/// Curves in a row.
#[derive(Debug, Default)]
pub(super) struct CurveSet {
    pub(super) steps: Vec<f64>,
    pub(super) values: Vec<f64>,
    pub(super) offsets: Vec<u32>,
}

impl CurveSet {
    fn push(&mut self, mut points: Vec<Placed>) {
        points.sort_unstable_by_key(|point| (point.step, point.fraction, point.time, point.value.to_bits()));
        self.steps.extend(points.iter().map(Placed::position));
        self.values.extend(points.iter().map(|point| point.value));
    }

    /// As kernels take them.
    pub(super) fn curves(&self) -> Curves<'_> {
        Curves { steps: &self.steps, values: &self.values, offsets: &self.offsets }
    }

    fn range(&self, curve: usize) -> Range<usize> {
        self.offsets[curve] as usize..self.offsets[curve + 1] as usize
    }

    /// Whether a curve has a finite value.
    pub(super) fn has_finite(&self, curve: usize) -> bool {
        self.values[self.range(curve)].iter().any(|value| value.is_finite())
    }

    /// Some of the curves, in rising order.
    pub(super) fn only(self, curves: &[usize]) -> Self {
        if curves.len() + 1 == self.offsets.len() {
            return self;
        }
        let mut some = Self { offsets: vec![0], ..Self::default() };
        for curve in curves {
            some.steps.extend_from_slice(&self.steps[self.range(*curve)]);
            some.values.extend_from_slice(&self.values[self.range(*curve)]);
            some.offsets.push(some.steps.len() as u32);
        }
        some
    }
}
