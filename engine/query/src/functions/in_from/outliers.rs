//! `outliers`: runs whose curve of a metric diverged, is stuck, or spikes.

use std::sync::Arc;

use arrow::array::{Float64Array, StringArray};
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::TableProvider;
use kernels::cluster::{CurveOutlierRequest, Curves, Goal, curve_outliers};
use store::RunOrdinal;

use super::cluster_curves::curves_of;
use super::computed::{ComputedTable, Inputs, Memory, Taken, Work};
use super::curve_set;
use super::embedded::{DIRECTION, goal};
use super::source::{RUNS, Source};
use super::{Call, shown_runs};
use crate::functions::definition::{ArgumentKind, Definition, FunctionKind, optional, required};
use crate::tables::SnapshotCatalog;

pub(in crate::functions) static DEFINITION: Definition = Definition {
    name: "outliers",
    kind: FunctionKind::Table,
    summary: "Runs whose curve of a metric is not like the others, a row for each run and reason, none for runs that are \
              fine. A curve gains its first level less its best value, a level is the median of a tenth of its points, \
              and a typical gain is the median over the curves that gain at all. diverged: the curve ends more than \
              half a typical gain worse than its best value; the score is infinite where its last tenth has NaN or \
              infinities, or nothing is finite. stuck: it lacks more than 0.95 of a typical gain. spiking: a point lies \
              more than 8 robust deviations of the curve from the median of itself and its four neighbours. score is \
              what is compared with threshold. These are conventions to look at runs by, no tests.",
    parameters: &[
        RUNS,
        required("metric", ArgumentKind::Text, "the metric"),
        DIRECTION,
        optional("diverged_above", ArgumentKind::Number, "in typical gains, default 0.5"),
        optional("stuck_above", ArgumentKind::Number, "in typical gains, default 0.95"),
        optional("spiking_above", ArgumentKind::Number, "in robust deviations, default 8"),
    ],
    returns: "table(project, experiment, run_id, name, reason, score, threshold)",
    example: "SELECT name, reason, score FROM outliers('vision/lr sweep', 'val_loss') ORDER BY name, reason",
};

#[derive(Debug)]
struct Outliers {
    catalog: SnapshotCatalog,
    source: Source,
    metric: String,
    goal: Goal,
    /// For diverged, stuck and spiking.
    thresholds: [f64; 3],
}

pub(super) fn table(call: &Call<'_>) -> Result<Arc<dyn TableProvider>> {
    let constants = &call.constants;
    let usual = CurveOutlierRequest::new(Curves { steps: &[], values: &[], offsets: &[0] }, Goal::Low);
    let mut thresholds = [usual.diverged_above, usual.stuck_above, usual.spiking_above];
    for (name, threshold) in ["diverged_above", "stuck_above", "spiking_above"].iter().zip(&mut thresholds) {
        match constants.number(name) {
            None => {}
            Some(given) if given.is_finite() => *threshold = given,
            Some(given) => return constants.refuse(name, given, "give a finite number"),
        }
    }
    let source = Source::read(call, RUNS.name)?;
    let metric = call.text("metric")?.to_owned();
    let goal = goal(call, &source, Some(&metric))?;
    let curves = curve_set::plan(call, &source, RUNS.name, std::slice::from_ref(&metric))?;
    let work = Outliers { catalog: call.catalog.clone(), source, metric, goal, thresholds };
    let inputs = Inputs { rows: None, curves: Some(curves) };
    Ok(Arc::new(ComputedTable::new(DEFINITION.name, schema(), inputs, Arc::new(work))))
}

fn schema() -> SchemaRef {
    shown_runs::schema(vec![
        Field::new("reason", DataType::Utf8, false),
        Field::new("score", DataType::Float64, false),
        Field::new("threshold", DataType::Float64, false),
    ])
}

impl Work for Outliers {
    fn described(&self) -> String {
        format!("of={}, metric={}", self.source.in_words(), self.metric)
    }

    fn compute(&self, taken: Taken, memory: &Memory) -> Result<RecordBatch> {
        let (runs, set) = curves_of(DEFINITION.name, &self.catalog, &self.source, &self.metric, taken)?;
        let [diverged_above, stuck_above, spiking_above] = self.thresholds;
        let request = CurveOutlierRequest {
            diverged_above,
            stuck_above,
            spiking_above,
            ..CurveOutlierRequest::new(set.curves(), self.goal)
        };
        let found = curve_outliers(&request)
            .map_err(|error| DataFusionError::Plan(format!("{}: {error}", DEFINITION.name)))?;
        let reasons = [
            ("diverged", &found.diverged, &found.divergence, diverged_above),
            ("stuck", &found.stuck, &found.stuckness, stuck_above),
            ("spiking", &found.spiking, &found.spikiness, spiking_above),
        ];
        let mut rows: Vec<(RunOrdinal, &str, f64, f64)> = Vec::new();
        for (curve, run) in runs.iter().enumerate() {
            for (reason, is_so, scores, threshold) in &reasons {
                if is_so[curve] {
                    rows.push((*run, reason, scores[curve], *threshold));
                }
            }
        }
        let runs: Vec<RunOrdinal> = rows.iter().map(|row| row.0).collect();
        let columns: Vec<arrow::array::ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1))),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2))),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.3))),
        ];
        shown_runs::batch(schema(), self.catalog.snapshot(), &runs, columns, memory)
    }
}
