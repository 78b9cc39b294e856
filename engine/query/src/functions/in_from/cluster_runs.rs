//! `cluster_runs`: groups of runs with like params and like curves.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::datasource::TableProvider;
use kernels::cluster::{ChoiceRequest, Features, HdbscanRequest, KmeansOutput, KmeansRequest, choose_k};
use kernels::{Backend, KernelError};

use super::computed::{ComputedTable, Memory, Taken, Work};
use super::embedded::{DIRECTION, EmbeddedRuns, METRICS, PARAMS, Rows, failure};
use super::source::{RUNS, Source};
use super::{Call, shown_runs};
use crate::functions::bootstrap::SEED;
use crate::functions::definition::{ArgumentKind, Definition, FunctionKind, optional};

pub(in crate::functions) static DEFINITION: Definition = Definition {
    name: "cluster_runs",
    kind: FunctionKind::Table,
    summary: "Groups runs by their params, and by the shapes of the curves of metrics that are named; a row for each run. \
              kmeans: k round clusters; distance is that to the centre. Without k, the number from 2 to 10 with the best \
              silhouette is taken, on at most 10,000 of the runs. hdbscan: clusters of any shape with at least min_size \
              runs; label is NULL for runs that belong to none, probability says how firmly a run belongs to its own, \
              outlier_score how far outside it lies (GLOSH, 0 to 1). How runs become rows of numbers: numbers are \
              standardised, on a logarithmic scale where they span two orders of magnitude and crowd at the low end; a \
              category has a column of 0 and 1 for each level; a number that is missing or infinite counts as the mean \
              and has a column of its own; a curve counts by its level at start and end, best value and its place, mean, slope \
              and roughness. A text that is another one in every run is left out, and so is the seed. In a SELECT, \
              run_id says whose row it is and all other columns count.",
    parameters: &[
        RUNS,
        optional("method", ArgumentKind::Text, "'kmeans' (default) or 'hdbscan'"),
        optional("k", ArgumentKind::Integer, "kmeans: number of clusters; default by silhouette"),
        optional("min_size", ArgumentKind::Integer, "hdbscan: fewest runs of a cluster, default 5"),
        METRICS,
        PARAMS,
        DIRECTION,
        SEED,
    ],
    returns: "table(project, experiment, run_id, name, label, size, distance, probability, outlier_score)",
    example: "SELECT name, label FROM cluster_runs('SELECT run_id, params.depth, metrics.val_loss FROM vision.runs', k => 2) ORDER BY name",
};

/// Runs that a search for k looks at.
const CHOICE_ROWS: usize = 10_000;
/// The largest k that is tried.
const CHOICE_MAX: usize = 10;

#[derive(Debug, Clone, Copy)]
enum Method {
    Kmeans { k: Option<usize> },
    Hdbscan { min_size: usize },
}

#[derive(Debug)]
struct ClusterRuns {
    runs: EmbeddedRuns,
    method: Method,
    device: kernels::Policy,
    seed: u64,
}

pub(super) fn table(call: &Call<'_>) -> Result<Arc<dyn TableProvider>> {
    let constants = &call.constants;
    let count = |name: &str, least: usize, meaning: &str| match constants.integer(name) {
        None => Ok(None),
        Some(_) => constants.count(name, least, meaning).map(Some),
    };
    let k = count("k", 1, "a number of clusters")?;
    let min_size = count("min_size", 2, "a number of runs")?;
    let method = match (constants.text("method"), k, min_size) {
        (None | Some("kmeans"), k, None) => Method::Kmeans { k },
        (Some("hdbscan"), None, min_size) => Method::Hdbscan { min_size: min_size.unwrap_or(5) },
        (Some("hdbscan"), Some(k), _) => {
            return constants.refuse("k", k, "hdbscan finds the number of clusters itself; give min_size");
        }
        (None | Some("kmeans"), _, Some(size)) => {
            return constants.refuse("min_size", size, "it is for method => 'hdbscan'; kmeans takes k");
        }
        (Some(other), _, _) => {
            return constants.refuse("method", format_args!("'{other}'"), "give 'kmeans' or 'hdbscan'");
        }
    };
    let runs = EmbeddedRuns::read(call, Source::read(call, RUNS.name)?)?;
    let inputs = runs.inputs(call, RUNS.name)?;
    let seed = constants.seed(call.draws.seed)?;
    let work = ClusterRuns { runs, method, device: call.draws.device, seed };
    Ok(Arc::new(ComputedTable::new(DEFINITION.name, schema(), inputs, Arc::new(work))))
}

fn schema() -> SchemaRef {
    use shown_runs::{count, number};
    shown_runs::schema(vec![
        count("label"),
        count("size"),
        number("distance"),
        number("probability"),
        number("outlier_score"),
    ])
}

impl Work for ClusterRuns {
    fn described(&self) -> String {
        let method = match self.method {
            Method::Kmeans { k: Some(k) } => format!("method=kmeans, k={k}"),
            Method::Kmeans { k: None } => "method=kmeans".to_owned(),
            Method::Hdbscan { min_size } => format!("method=hdbscan, min_size={min_size}"),
        };
        format!("{method}, {}", self.runs.described())
    }

    fn compute(&self, taken: Taken, memory: &Memory) -> Result<RecordBatch> {
        let rows = self.runs.rows(DEFINITION.name, taken, memory)?;
        let failed = |error: KernelError| failure(DEFINITION.name, &error);
        let backend = kernels::select(self.device).map_err(failed)?.backend;
        let columns = match self.method {
            Method::Kmeans { k } => self.kmeans(backend.as_ref(), &rows, k).map_err(failed)?,
            Method::Hdbscan { min_size } => hdbscan(backend.as_ref(), &rows, min_size, memory)?,
        };
        let snapshot = self.runs.catalog.snapshot();
        shown_runs::batch(schema(), snapshot, &rows.table.runs, columns, memory)
    }
}

impl ClusterRuns {
    fn kmeans(
        &self,
        backend: &dyn Backend,
        rows: &Rows,
        k: Option<usize>,
    ) -> std::result::Result<Vec<ArrayRef>, KernelError> {
        let features = rows.embedding.features();
        let k = match k {
            Some(k) => k,
            None => self.best_k(features)?,
        };
        let found = backend.kmeans(&KmeansRequest::new(features, k).seed(self.seed))?;
        let nothing: ArrayRef = Arc::new(Float64Array::new_null(features.rows()));
        let size = |label: &u32| i64::from(found.sizes[*label as usize]);
        Ok(vec![
            Arc::new(Int64Array::from_iter_values(found.labels.iter().map(|label| i64::from(*label)))),
            Arc::new(Int64Array::from_iter_values(found.labels.iter().map(size))),
            Arc::new(Float64Array::from_iter_values(distances(features, &found))),
            Arc::clone(&nothing),
            nothing,
        ])
    }

    /// The number of clusters with the best silhouette, looked for on evenly spaced runs.
    fn best_k(&self, features: Features<'_>) -> std::result::Result<usize, KernelError> {
        let (rows, columns) = (features.rows(), features.columns);
        let every = rows.div_ceil(CHOICE_ROWS);
        let some: Vec<f64> = (0..rows).step_by(every).flat_map(|row| features.row(row)).copied().collect();
        let features = Features { values: &some, columns };
        let k_max = CHOICE_MAX.min(features.rows().saturating_sub(1)).max(1);
        let kmeans = KmeansRequest::new(features, k_max).seed(self.seed);
        let choice = choose_k(&ChoiceRequest { kmeans, k_max, references: 0 })?;
        Ok(choice.by_silhouette.unwrap_or(1))
    }
}

/// The distance of each row to the centre of its cluster.
fn distances<'a>(features: Features<'a>, found: &'a KmeansOutput) -> impl Iterator<Item = f64> + 'a {
    let columns = features.columns;
    (0..features.rows()).zip(&found.labels).map(move |(row, label)| {
        let centre = &found.centroids[*label as usize * columns..][..columns];
        let squares =
            features.row(row).iter().zip(centre).map(|(value, mean)| (value - mean) * (value - mean));
        squares.sum::<f64>().sqrt()
    })
}

/// Bytes of a run in lists of neighbours, the spanning tree and the hierarchy, estimated.
const HDBSCAN_BYTES: usize = 512;

fn hdbscan(backend: &dyn Backend, rows: &Rows, min_size: usize, memory: &Memory) -> Result<Vec<ArrayRef>> {
    memory.take(rows.table.rows * HDBSCAN_BYTES)?;
    let request = HdbscanRequest::new(rows.embedding.features(), min_size);
    let found = backend.hdbscan(&request).map_err(|error| failure(DEFINITION.name, &error))?;
    let cluster = |label: &i32| usize::try_from(*label).ok();
    let size = |label: &i32| cluster(label).and_then(|at| found.sizes.get(at)).map(|size| i64::from(*size));
    let nothing: ArrayRef = Arc::new(Float64Array::new_null(rows.table.rows));
    Ok(vec![
        Arc::new(found.labels.iter().map(|label| cluster(label).map(|at| at as i64)).collect::<Int64Array>()),
        Arc::new(found.labels.iter().map(size).collect::<Int64Array>()),
        nothing,
        Arc::new(Float64Array::from(found.probabilities)),
        Arc::new(Float64Array::from(found.outlier_scores)),
    ])
}
