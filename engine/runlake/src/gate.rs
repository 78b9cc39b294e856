//! The gate over a lake: selectors to samples, samples to a verdict.

use analysis::{GateParameters, GateReport, GateRun};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::{MetricName, RunStatus};
use store::RunRow;

use crate::error::Result;
use crate::lake::Lake;
use crate::samples::Samples;
use crate::selector::Selector;

/// What a gate is asked.
#[derive(Debug, Clone)]
pub struct GateQuery {
    /// The runs under test.
    pub candidate: Selector,
    /// The runs to compare with.
    pub baseline: Selector,
    /// The metric; its last value in a run counts.
    pub metric: MetricName,
    /// Claim, margin, error rates and the rest.
    pub parameters: GateParameters,
}

/// What a gate answers.
#[derive(Debug, Clone)]
pub struct GateOutcome {
    /// Verdict and evidence.
    pub report: GateReport,
    /// Runs that are still running and count with what they have logged so far.
    pub still_running: Vec<String>,
}

impl Lake {
    /// Judges a candidate against a baseline.
    ///
    /// # Errors
    /// When a selector or a parameter is wrong, or a run has the metric in several contexts.
    pub fn gate<'a>(&'a self, query: &'a GateQuery) -> BoxFuture<'a, Result<GateOutcome>> {
        async move {
            let snapshot = self.snapshot().await?;
            let candidate = query.candidate.runs(self, &snapshot).await?;
            let baseline = query.baseline.runs(self, &snapshot).await?;
            let samples = Samples::new(&snapshot, &query.metric);
            let pair_by = query.parameters.pair_by.as_deref();
            let candidate_runs = gate_runs(&samples, &candidate, pair_by)?;
            let baseline_runs = gate_runs(&samples, &baseline, pair_by)?;
            let report =
                analysis::gate(query.metric.as_str(), &baseline_runs, &candidate_runs, &query.parameters)?;
            let running = |runs: &[RunRow<'_>]| -> Vec<String> {
                let running = runs.iter().filter(|run| !run.status().is_ended());
                running.map(|run| run.id().to_string()).collect()
            };
            let mut still_running = running(&candidate);
            still_running.extend(running(&baseline));
            Ok(GateOutcome { report, still_running })
        }
        .boxed()
    }
}

fn gate_runs(samples: &Samples<'_>, runs: &[RunRow<'_>], pair_by: Option<&str>) -> Result<Vec<GateRun>> {
    let mut last = samples.last_values(runs)?;
    Ok(runs
        .iter()
        .map(|run| GateRun {
            id: run.id().to_string(),
            value: last.remove(&run.id()),
            failed: matches!(run.status(), RunStatus::Failed | RunStatus::Killed),
            pair: pair_by.and_then(|key| pair_value(*run, key)),
        })
        .collect())
}

/// The value of the pairing key: a param, else a tag; `seed` also as the registry reads it.
fn pair_value(run: RunRow<'_>, key: &str) -> Option<String> {
    if key == "seed"
        && let Some(seed) = run.seed()
    {
        return Some(seed.to_string());
    }
    run.param(key).or_else(|| run.tag(key)).map(str::to_owned)
}
