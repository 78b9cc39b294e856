//! `cluster_curves`: groups of runs whose curves of one metric look alike.

use std::sync::Arc;

use arrow::array::{BooleanArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, plan_err};
use datafusion::datasource::TableProvider;
use kernels::KernelError;
use kernels::cluster::{CurveMeasure, CurveRequest, Grid, MedoidsRequest, Members, kmedoids};
use store::RunOrdinal;

use super::computed::{ComputedTable, Inputs, Memory, Taken, Work};
use super::curve_set::{self, CurveSet};
use super::embedded::failure;
use super::source::{RUNS, Source};
use super::{Call, shown_runs};
use crate::functions::bootstrap::SEED;
use crate::functions::definition::{ArgumentKind, Definition, FunctionKind, optional, required};
use crate::tables::SnapshotCatalog;

pub(in crate::functions) static DEFINITION: Definition = Definition {
    name: "cluster_curves",
    kind: FunctionKind::Table,
    summary: "Groups runs by the curve of a metric: k-medoids (FasterPAM) on distances of all pairs of curves, a row for \
              each run that logged the metric. Each curve is first drawn through so many points by linear \
              interpolation. euclidean compares them point by point; dtw and soft-dtw let them run ahead and behind. \
              medoid is the run in the middle of a cluster, distance that to it (for soft-dtw a sum of squares). \
              label is NULL for a curve without a finite value. A run with several contexts of the metric counts with \
              the one that metrics shows. For at most 30,000 curves: memory grows with the square.",
    parameters: &[
        RUNS,
        required("metric", ArgumentKind::Text, "the metric"),
        optional("k", ArgumentKind::Integer, "number of clusters, default 3, or as many as there are curves"),
        optional("measure", ArgumentKind::Text, "'euclidean' (default), 'dtw' or 'soft-dtw'"),
        optional(
            "points",
            ArgumentKind::Integer,
            "points that curves are compared at, 2 to 1024, default 64",
        ),
        optional(
            "grid",
            ArgumentKind::Text,
            "'own' (default): at equal shares of each curve's own steps; 'common': at equal steps that all have",
        ),
        optional(
            "normalise",
            ArgumentKind::Boolean,
            "bring each curve to mean 0 and deviation 1 first, so that only shape counts; default false",
        ),
        optional(
            "gamma",
            ArgumentKind::Number,
            "soft-dtw: smoothing in squared units of the metric, default 1",
        ),
        SEED,
    ],
    returns: "table(project, experiment, run_id, name, label, size, medoid, is_medoid, distance)",
    example: "SELECT name, label FROM cluster_curves('vision/lr sweep', 'val_loss', k => 1) ORDER BY name",
};

/// Clusters where a call does not say how many.
const K_DEFAULT: usize = 3;

#[derive(Debug)]
struct ClusterCurves {
    catalog: SnapshotCatalog,
    source: Source,
    metric: String,
    k: Option<usize>,
    measure: CurveMeasure,
    points: usize,
    grid: Grid,
    normalise: bool,
    device: kernels::Policy,
    seed: u64,
}

pub(super) fn table(call: &Call<'_>) -> Result<Arc<dyn TableProvider>> {
    let constants = &call.constants;
    let gamma = constants.number("gamma");
    let measure = match (constants.text("measure"), gamma) {
        (None | Some("euclidean"), None) => CurveMeasure::Euclidean,
        (Some("dtw"), None) => CurveMeasure::Dtw { window: None },
        (Some("soft-dtw"), gamma) => match gamma.unwrap_or(1.0) {
            gamma if gamma > 0.0 && gamma.is_finite() => CurveMeasure::SoftDtw { gamma },
            gamma => return constants.refuse("gamma", gamma, "give a finite number above 0"),
        },
        (None | Some("euclidean" | "dtw"), Some(gamma)) => {
            return constants.refuse("gamma", gamma, "it is for measure => 'soft-dtw'");
        }
        (Some(other), _) => {
            let allowed = "give 'euclidean', 'dtw' or 'soft-dtw'";
            return constants.refuse("measure", format_args!("'{other}'"), allowed);
        }
    };
    let points = match constants.integer("points") {
        None => 64,
        Some(points @ 2..=1_024) => points as usize,
        Some(points) => return constants.refuse("points", points, "give a number from 2 to 1024"),
    };
    let grid = match constants.text("grid") {
        None | Some("own") => Grid::Own,
        Some("common") => Grid::Common,
        Some(other) => return constants.refuse("grid", format_args!("'{other}'"), "give 'own' or 'common'"),
    };
    let k = match constants.integer("k") {
        None => None,
        Some(_) => Some(constants.count("k", 1, "a number of clusters")?),
    };
    let source = Source::read(call, RUNS.name)?;
    let metric = call.text("metric")?.to_owned();
    let curves = curve_set::plan(call, &source, RUNS.name, std::slice::from_ref(&metric))?;
    let work = ClusterCurves {
        catalog: call.catalog.clone(),
        source,
        metric,
        k,
        measure,
        points,
        grid,
        normalise: constants.boolean("normalise").unwrap_or(false),
        device: call.draws.device,
        seed: constants.seed(call.draws.seed)?,
    };
    let inputs = Inputs { rows: None, curves: Some(curves) };
    Ok(Arc::new(ComputedTable::new(DEFINITION.name, schema(), inputs, Arc::new(work))))
}

fn schema() -> SchemaRef {
    use shown_runs::{count, number};
    shown_runs::schema(vec![
        count("label"),
        count("size"),
        Field::new("medoid", DataType::Utf8, true),
        Field::new("is_medoid", DataType::Boolean, true),
        number("distance"),
    ])
}

/// The curves of a metric and the runs that they are of.
///
/// # Errors
/// When no run has the metric.
pub(super) fn curves_of(
    function: &str,
    catalog: &SnapshotCatalog,
    source: &Source,
    metric: &str,
    taken: Taken,
) -> Result<(Vec<RunOrdinal>, CurveSet)> {
    let Some(mut taker) = taken.curves else { return plan_err!("{function}: the points were not read") };
    let snapshot = catalog.snapshot();
    let runs = taker.runs_with(snapshot, metric);
    if runs.is_empty() {
        return plan_err!(
            "{function}: no run of {} has the metric '{metric}'; SELECT DISTINCT metric FROM series lists those that \
             were logged",
            source.in_words()
        );
    }
    let set = taker.curves_of(snapshot, metric, &runs)?;
    Ok((runs, set))
}

impl Work for ClusterCurves {
    fn described(&self) -> String {
        let measure = match self.measure {
            CurveMeasure::Dtw { .. } => "dtw",
            CurveMeasure::SoftDtw { .. } => "soft-dtw",
            _ => "euclidean",
        };
        format!("measure={measure}, of={}, metric={}", self.source.in_words(), self.metric)
    }

    fn compute(&self, taken: Taken, memory: &Memory) -> Result<RecordBatch> {
        let failed = |error: KernelError| failure(DEFINITION.name, &error);
        let (runs, set) = curves_of(DEFINITION.name, &self.catalog, &self.source, &self.metric, taken)?;
        let usable: Vec<usize> = (0..runs.len()).filter(|curve| set.has_finite(*curve)).collect();
        let finite = set.only(&usable);
        let count = usable.len();
        if count == 0 {
            return plan_err!(
                "cluster_curves: no run of {} has a finite value of '{}'",
                self.source.in_words(),
                self.metric
            );
        }
        // All pairs of distances, and the curves drawn through as many points each.
        memory.take(count * (count * size_of::<f32>() + self.points * size_of::<f64>()))?;
        let request = CurveRequest {
            points: self.points,
            grid: self.grid,
            measure: self.measure,
            normalise: self.normalise,
            ..CurveRequest::new(finite.curves())
        };
        let backend = kernels::select(self.device).map_err(failed)?.backend;
        let matrix = backend.curve_distances(&request).map_err(failed)?.distances;
        memory.take(0)?;
        let k = self.k.unwrap_or_else(|| K_DEFAULT.min(count));
        let request = MedoidsRequest { seed: self.seed, ..MedoidsRequest::new(Members::Matrix(&matrix), k) };
        let found = kmedoids(&request).map_err(failed)?;
        let snapshot = self.catalog.snapshot();
        let mut place_of: Vec<Option<usize>> = vec![None; runs.len()];
        usable.iter().enumerate().for_each(|(place, curve)| place_of[*curve] = Some(place));
        let medoid = |place: usize| found.medoids[found.labels[place] as usize] as usize;
        let id = |place: usize| {
            let run = snapshot.registry().runs().get(runs[usable[place]]);
            run.map(|run| run.id().to_string())
        };
        let each = || place_of.iter().copied();
        let label = |place: Option<usize>| Some(found.labels[place?] as usize);
        let clusters = each().map(|place| label(place).map(|label| label as i64));
        let sizes = each().map(|place| label(place).map(|label| i64::from(found.sizes[label])));
        let distances = each().map(|place| place.map(|at| f64::from(matrix[at * count + medoid(at)])));
        let columns: Vec<arrow::array::ArrayRef> = vec![
            Arc::new(clusters.collect::<Int64Array>()),
            Arc::new(sizes.collect::<Int64Array>()),
            Arc::new(each().map(|place| id(medoid(place?))).collect::<StringArray>()),
            Arc::new(each().map(|place| place.map(|at| medoid(at) == at)).collect::<BooleanArray>()),
            Arc::new(distances.collect::<Float64Array>()),
        ];
        shown_runs::batch(schema(), snapshot, &runs, columns, memory)
    }
}
