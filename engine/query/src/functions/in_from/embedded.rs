//! Runs as rows of features: their params and the shapes of their curves, by the rules of [`kernels::cluster::embed`].

use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::logical_expr::LogicalPlan;
use kernels::KernelError;
use kernels::cluster::{Column, Embedding, Goal, embed};
use kernels::importance::Scale;
use model::MetricDirection;
use model::schema::Table;

use super::Call;
use super::computed::{Inputs, Memory, Taken};
use super::curve_set::{self, CurveSet};
use super::source::Source;
use crate::functions::definition::{ArgumentKind, Parameter, optional};
use crate::tables::{ParamTable, ParamValues, SnapshotCatalog, params_of};

pub(super) const METRICS: Parameter =
    optional("metrics", ArgumentKind::Texts, "metrics whose curves count too, with commas or as a list");
pub(super) const PARAMS: Parameter =
    optional("params", ArgumentKind::Texts, "only these params; default all but the seed");
pub(super) const DIRECTION: Parameter = optional(
    "direction",
    ArgumentKind::Text,
    "whether 'min' or 'max' of a metric is good; default that of the experiment, else 'min'",
);

/// Metrics whose curves are taken together, at most.
const METRICS_MAX: usize = 32;
/// The param that tells runs of one configuration apart.
const SEED: &str = "seed";

/// Which runs, and what of them counts.
#[derive(Debug)]
pub(super) struct EmbeddedRuns {
    pub(super) catalog: SnapshotCatalog,
    pub(super) source: Source,
    params: Vec<String>,
    metrics: Vec<String>,
    goal: Goal,
}

/// Runs with their features.
pub(super) struct Rows {
    pub(super) table: ParamTable,
    pub(super) embedding: Embedding,
}

impl EmbeddedRuns {
    /// Reads the arguments `metrics`, `params` and `direction`.
    pub(super) fn read(call: &Call<'_>, source: Source) -> Result<Self> {
        if let Some(plan) = source.plan()
            && plan.schema().fields().iter().all(|field| field.name() != "run_id")
        {
            return plan_err!("the SELECT must have a column run_id, which says whose row it is");
        }
        let metrics = call.constants.texts(METRICS.name);
        if metrics.len() > METRICS_MAX {
            let allowed = format!("give at most {METRICS_MAX}");
            return call.constants.refuse(
                METRICS.name,
                format_args!("a list of {}", metrics.len()),
                &allowed,
            );
        }
        let goal = goal(call, &source, metrics.first().map(String::as_str))?;
        let params = call.constants.texts(PARAMS.name);
        Ok(Self { catalog: call.catalog.clone(), source, params, metrics, goal })
    }

    /// The queries that are needed.
    pub(super) fn inputs(&self, call: &Call<'_>, argument: &str) -> Result<Inputs<LogicalPlan>> {
        let curves = match self.metrics.as_slice() {
            [] => None,
            metrics => Some(curve_set::plan(call, &self.source, argument, metrics)?),
        };
        Ok(Inputs { rows: self.source.plan(), curves })
    }

    /// What is done, in EXPLAIN.
    pub(super) fn described(&self) -> String {
        let mut text = format!("of={}", self.source.in_words());
        if !self.metrics.is_empty() {
            text.push_str(&format!(", curves=[{}]", self.metrics.join(", ")));
        }
        text
    }

    /// The runs with their features.
    pub(super) fn rows(&self, function: &str, taken: Taken, memory: &Memory) -> Result<Rows> {
        let snapshot = self.catalog.snapshot();
        let mut table = match (&self.source, taken.rows) {
            (Source::Experiments(experiments), _) => {
                self.catalog.check(&[Table::Runs, Table::Params])?;
                let take = |bytes: usize| memory.take(bytes);
                params_of(snapshot, self.catalog.access(), experiments, &self.params, &take)?
            }
            (Source::Query(..), Some(rows)) => {
                let runs = snapshot.registry().runs();
                let allows =
                    |run| runs.get(run).is_some_and(|run| self.catalog.access().allows(run.project()));
                rows.finish(snapshot, &allows)?
            }
            (Source::Query(..), None) => return plan_err!("{function}: the query was not run"),
        };
        if table.rows < 2 {
            return plan_err!(
                "{function}: {} has {} run(s), at least 2 are needed",
                self.source.in_words(),
                table.rows
            );
        }
        for param in &mut table.params {
            if let ParamValues::Numbers { values, .. } = &mut param.values {
                values.iter_mut().filter(|value| value.is_infinite()).for_each(|value| *value = f64::NAN);
            }
        }
        table.params.retain(|param| {
            let is_asked = self.params.contains(&param.name);
            let is_chosen = if self.params.is_empty() { param.name != SEED } else { is_asked };
            is_chosen && (is_asked || !param.names_each_run())
        });
        let mut curves: Vec<(&str, CurveSet)> = Vec::with_capacity(self.metrics.len());
        if let Some(mut taker) = taken.curves {
            for metric in &self.metrics {
                let set = taker.curves_of(snapshot, metric, &table.runs)?;
                if set.steps.is_empty() {
                    return plan_err!(
                        "{function}: no run of {} has the metric '{metric}'; SELECT DISTINCT metric FROM series lists \
                         those that were logged",
                        self.source.in_words()
                    );
                }
                curves.push((metric, set));
            }
        }
        let embedding = self.embedding(function, &table, &curves, memory)?;
        Ok(Rows { table, embedding })
    }

    fn embedding(
        &self,
        function: &str,
        table: &ParamTable,
        curves: &[(&str, CurveSet)],
        memory: &Memory,
    ) -> Result<Embedding> {
        let levels: Vec<Vec<&str>> = table
            .params
            .iter()
            .map(|param| match &param.values {
                ParamValues::Numbers { .. } => Vec::new(),
                ParamValues::Levels { levels, .. } => levels.iter().map(String::as_str).collect(),
            })
            .collect();
        let params = table.params.iter().zip(&levels).map(|(param, levels)| match &param.values {
            ParamValues::Numbers { values, .. } => {
                Column::Number { name: &param.name, values, log: Scale::guess(values) == Scale::Log }
            }
            ParamValues::Levels { codes, .. } => Column::Category { name: &param.name, codes, levels },
        });
        let curves =
            curves.iter().map(|(name, set)| Column::Curve { name, curves: set.curves(), goal: self.goal });
        let columns: Vec<Column<'_>> = params.chain(curves).collect();
        let width: usize = columns.iter().map(most_features).sum();
        // Columns, the same as rows, and what a kernel makes of them.
        memory.take(table.rows * width * (2 * size_of::<f64>() + 2 * size_of::<f32>()))?;
        let embedding = embed(&columns).map_err(|error| failure(function, &error.into()))?;
        if is_flat(&embedding) {
            return plan_err!(
                "{function}: the runs of {} are all alike: none of their params differs; name metrics whose curves count \
                 with metrics => '...'",
                self.source.in_words()
            );
        }
        Ok(embedding)
    }
}

/// Whether no feature differs between rows.
fn is_flat(embedding: &Embedding) -> bool {
    embedding.values.first().is_none_or(|first| embedding.values.iter().all(|value| value == first))
}

fn most_features(column: &Column<'_>) -> usize {
    match column {
        Column::Number { .. } => 2,
        Column::Category { levels, .. } => levels.len().min(kernels::cluster::LEVELS_MAX) + 1,
        Column::Curve { .. } => 2 * kernels::cluster::CURVE_FEATURES.len(),
    }
}

/// Which values are good, as said or as the experiments say of their target.
pub(super) fn goal(call: &Call<'_>, source: &Source, metric: Option<&str>) -> Result<Goal> {
    match call.constants.text(DIRECTION.name) {
        Some("min" | "down") => Ok(Goal::Low),
        Some("max" | "up") => Ok(Goal::High),
        Some(other) => {
            call.constants.refuse(DIRECTION.name, format_args!("'{other}'"), "give 'min' or 'max'")
        }
        None => Ok(match metric.and_then(|metric| source.direction(call, metric)) {
            Some(MetricDirection::Up) => Goal::High,
            Some(MetricDirection::Down) | None => Goal::Low,
        }),
    }
}

/// The error of a kernel, which says what to do.
pub(super) fn failure(function: &str, error: &KernelError) -> DataFusionError {
    DataFusionError::Plan(format!("{function}: {error}"))
}
