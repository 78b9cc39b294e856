//! Two arms side by side over all their metrics: what differs in what came out, and what differs in what went in.

use std::collections::BTreeSet;

use analysis::{Alternative, Change, Correction, GroundDifference, PValue};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::{MetricName, RunStatus};
use serde::Serialize;
use store::RunRow;

use crate::error::{Error, Result};
use crate::gate::changes;
use crate::lake::Lake;
use crate::samples::last_values;
use crate::selector::Selector;

/// The most metrics that are compared at once.
const METRICS_MAX: usize = 10_000;

/// Which arms, and what of them.
#[derive(Debug, Clone)]
pub struct ComparisonQuery {
    /// The new runs.
    pub candidate: Selector,
    /// The runs that they are measured against.
    pub baseline: Selector,
    /// The metrics; empty for all that runs of both arms have.
    pub metrics: Vec<MetricName>,
    /// Confidence level of the intervals.
    pub level: f64,
}

/// Two arms compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmsCompared {
    /// Runs of the candidate.
    pub candidate_runs: usize,
    /// Runs of the baseline.
    pub baseline_runs: usize,
    /// Confidence level of the intervals.
    pub level: f64,
    /// One element a metric, by name.
    pub metrics: Vec<MetricCompared>,
    /// Params, code, data and environment that differ.
    pub changed: Vec<Change>,
    /// Differences in the ground on which the arms stand.
    pub grounds: Vec<GroundDifference>,
}

/// One metric of two arms: last values of runs that did not fail.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricCompared {
    /// Its name.
    pub metric: String,
    /// Mean of the candidate.
    pub candidate: Option<f64>,
    /// Mean of the baseline.
    pub baseline: Option<f64>,
    /// The candidate's mean less the baseline's, with no regard to which way is better.
    pub difference: Option<f64>,
    /// Welch's interval of the difference.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
    /// The two-sided p-value.
    pub p: Option<PValue>,
    /// The same, adjusted for all metrics here: the expected share of false findings (Benjamini & Hochberg 1995).
    pub p_adjusted: Option<PValue>,
    /// The difference in standard deviations, without its bias in small samples.
    pub hedges_g: Option<f64>,
    /// Finite values of the candidate.
    pub candidate_finite: usize,
    /// Its runs that failed or have no finite value.
    pub candidate_failed: usize,
    /// Finite values of the baseline.
    pub baseline_finite: usize,
    /// Its runs that failed or have no finite value.
    pub baseline_failed: usize,
    /// Why there is no interval.
    pub error: Option<&'static str>,
}

impl Lake {
    /// Compares two arms metric by metric, and names what differs between them beside the metrics. It decides nothing:
    /// that is the gate's.
    ///
    /// # Errors
    /// When a selector is wrong or takes no run, an arm has a run of the other, a run has a metric in several contexts, or
    /// the level is no probability.
    pub fn compare_arms<'a>(&'a self, query: &'a ComparisonQuery) -> BoxFuture<'a, Result<ArmsCompared>> {
        async move {
            let snapshot = self.snapshot().await?;
            let candidate = query.candidate.runs(self, &snapshot).await?;
            let baseline = query.baseline.runs(self, &snapshot).await?;
            for (selector, runs) in [(&query.candidate, &candidate), (&query.baseline, &baseline)] {
                if runs.is_empty() {
                    return Err(refused(selector, "takes no run"));
                }
            }
            let first: BTreeSet<_> = candidate.iter().map(|run| run.id()).collect();
            if let Some(both) = baseline.iter().find(|run| first.contains(&run.id())) {
                return Err(refused(
                    &query.baseline,
                    &format!("takes run {}, as the candidate does", both.id()),
                ));
            }
            let metrics = if query.metrics.is_empty() {
                let names = |runs: &[RunRow<'_>]| -> BTreeSet<MetricName> {
                    let ordinals = runs.iter().filter_map(|run| snapshot.registry().ordinal(run.id()));
                    let series = ordinals.flat_map(|ordinal| snapshot.series().entries().of_run(ordinal));
                    series.map(|entry| entry.metric.clone()).collect()
                };
                let (new, old) = (names(&candidate), names(&baseline));
                new.intersection(&old).take(METRICS_MAX).cloned().collect()
            } else {
                query.metrics.clone()
            };
            let new = last_values(&snapshot, &metrics, &candidate)?;
            let old = last_values(&snapshot, &metrics, &baseline)?;
            let mut compared = Vec::with_capacity(metrics.len());
            for ((metric, new), old) in metrics.iter().zip(&new).zip(&old) {
                let finite = |runs: &[RunRow<'_>], last: &std::collections::HashMap<_, f64>| -> Vec<f64> {
                    let ended_well =
                        |run: &&RunRow<'_>| !matches!(run.status(), RunStatus::Failed | RunStatus::Killed);
                    let values =
                        runs.iter().filter(ended_well).filter_map(|run| last.get(&run.id()).copied());
                    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
                    // The sums do not depend on the order in which runs were made.
                    values.sort_unstable_by(f64::total_cmp);
                    values
                };
                let (a, b) = (finite(&candidate, new), finite(&baseline, old));
                compared.push(of_metric(metric, &a, &b, [candidate.len(), baseline.len()], query.level)?);
            }
            adjust(&mut compared)?;
            let left_out: Vec<&str> = query.candidate.keys().chain(query.baseline.keys()).collect();
            let (grounds, changed) = changes::between(&candidate, &baseline, &left_out);
            Ok(ArmsCompared {
                candidate_runs: candidate.len(),
                baseline_runs: baseline.len(),
                level: query.level,
                metrics: compared,
                changed,
                grounds,
            })
        }
        .boxed()
    }
}

fn refused(selector: &Selector, reason: &str) -> Error {
    Error::Selector { text: selector.as_str().to_owned(), reason: reason.to_owned() }
}

fn of_metric(
    metric: &MetricName,
    a: &[f64],
    b: &[f64],
    runs: [usize; 2],
    level: f64,
) -> Result<MetricCompared> {
    let (new, old) = (analysis::Moments::of(a), analysis::Moments::of(b));
    let mut compared = MetricCompared {
        metric: metric.to_string(),
        candidate: new.mean(),
        baseline: old.mean(),
        difference: new.mean().zip(old.mean()).map(|(new, old)| new - old),
        low: None,
        high: None,
        p: None,
        p_adjusted: None,
        hedges_g: None,
        candidate_finite: a.len(),
        candidate_failed: runs[0] - a.len(),
        baseline_finite: b.len(),
        baseline_failed: runs[1] - b.len(),
        error: None,
    };
    match analysis::welch(a, b) {
        Ok(test) => {
            let [low, high] = test.interval(level, Alternative::TwoSided)?;
            compared.difference = Some(test.difference);
            (compared.low, compared.high) = (Some(low), Some(high));
            compared.p = Some(PValue::new(test.p_value(Alternative::TwoSided)));
            compared.hedges_g = analysis::hedges_g(a, b, level).ok().map(|effect| effect.hedges_g);
        }
        Err(error) if error.is_data_error() => compared.error = Some(error.code()),
        Err(error) => return Err(error.into()),
    }
    Ok(compared)
}

fn adjust(metrics: &mut [MetricCompared]) -> Result<()> {
    let tested: Vec<usize> = (0..metrics.len()).filter(|&i| metrics[i].p.is_some()).collect();
    let p: Vec<f64> = tested.iter().filter_map(|&i| metrics[i].p.map(|p| p.value())).collect();
    for (i, adjusted) in tested.into_iter().zip(Correction::BenjaminiHochberg.adjust(&p)?) {
        metrics[i].p_adjusted = Some(PValue::new(adjusted));
    }
    Ok(())
}
