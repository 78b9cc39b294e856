//! `similar_runs`: the runs that are most like one.

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, plan_err};
use datafusion::datasource::TableProvider;
use kernels::cluster::{KnnRequest, Queries};
use model::RunId;

use super::computed::{ComputedTable, Memory, Taken, Work};
use super::embedded::{DIRECTION, EmbeddedRuns, METRICS, PARAMS, failure};
use super::source::{RUNS, Source};
use super::{Call, RUN, shown_runs};
use crate::functions::definition::{ArgumentKind, Definition, FunctionKind, Parameter, optional};

const AMONG: Parameter = optional(
    RUNS.name,
    ArgumentKind::Texts,
    "among which runs, as for cluster_runs; default those of the run's experiment",
);

pub(in crate::functions) static DEFINITION: Definition = Definition {
    name: "similar_runs",
    kind: FunctionKind::Table,
    summary: "The k runs nearest to one, by params and by the curves of metrics that are named: exact distances between \
              the rows of numbers that cluster_runs makes of runs. Nearest first; of equally near ones the earlier run.",
    parameters: &[
        RUN,
        optional("k", ArgumentKind::Integer, "how many, default 10, or all where there are fewer"),
        AMONG,
        METRICS,
        PARAMS,
        DIRECTION,
    ],
    returns: "table(project, experiment, run_id, name, rank, distance)",
    example: "SELECT rank, name FROM similar_runs('small', 2, 'SELECT run_id, params.depth, params.lr FROM vision.runs') ORDER BY rank",
};

/// Neighbours where a call does not say how many.
const K_DEFAULT: usize = 10;

#[derive(Debug)]
struct SimilarRuns {
    runs: EmbeddedRuns,
    run: RunId,
    k: Option<usize>,
    device: kernels::Policy,
}

pub(super) fn table(call: &Call<'_>) -> Result<Arc<dyn TableProvider>> {
    let constants = &call.constants;
    let run = call.run(RUN.name)?;
    let k = match constants.integer("k") {
        None => None,
        Some(_) => Some(constants.count("k", 1, "a number of runs")?),
    };
    let is_given = constants.text(AMONG.name).is_some() || !constants.texts(AMONG.name).is_empty();
    let source = match call.catalog.snapshot().registry().run(run) {
        Some(row) if !is_given => {
            Source::Experiments(vec![(row.project().clone(), row.experiment().clone())])
        }
        _ => Source::read(call, AMONG.name)?,
    };
    let runs = EmbeddedRuns::read(call, source)?;
    let inputs = runs.inputs(call, AMONG.name)?;
    let work = SimilarRuns { runs, run, k, device: call.draws.device };
    Ok(Arc::new(ComputedTable::new(DEFINITION.name, schema(), inputs, Arc::new(work))))
}

fn schema() -> SchemaRef {
    shown_runs::schema(vec![shown_runs::count("rank"), shown_runs::number("distance")])
}

impl Work for SimilarRuns {
    fn described(&self) -> String {
        format!("run={}, k={}, {}", self.run, self.k.unwrap_or(K_DEFAULT), self.runs.described())
    }

    fn compute(&self, taken: Taken, memory: &Memory) -> Result<RecordBatch> {
        let rows = self.runs.rows(DEFINITION.name, taken, memory)?;
        let snapshot = self.runs.catalog.snapshot();
        let ordinal = snapshot.registry().ordinal(self.run);
        let place = ordinal.and_then(|ordinal| rows.table.runs.binary_search(&ordinal).ok());
        let Some(place) = place else {
            return plan_err!(
                "similar_runs: run {} is not among {}: give runs that hold it",
                self.run,
                self.runs.source.in_words()
            );
        };
        let k = self.k.unwrap_or_else(|| K_DEFAULT.min(rows.table.rows - 1));
        let queries = [place as u32];
        let request = KnnRequest { features: rows.embedding.features(), k, queries: Queries::Rows(&queries) };
        let backend = kernels::select(self.device).map(|selection| selection.backend);
        let found = backend.and_then(|backend| backend.nearest_neighbours(&request));
        let found = found.map_err(|error| failure(DEFINITION.name, &error))?;
        let runs: Vec<_> = found.rows.iter().map(|row| rows.table.runs[*row as usize]).collect();
        let ranks = Int64Array::from_iter_values(1..=runs.len() as i64);
        let distances = Float64Array::from(found.distances);
        shown_runs::batch(schema(), snapshot, &runs, vec![Arc::new(ranks), Arc::new(distances)], memory)
    }
}
