//! `compare`: two sets of runs, metric by metric.

use datafusion::common::Result;

use super::{Call, quoted, selection};
use crate::functions::definition::{ArgumentKind, Definition, FunctionKind, optional, required};

pub(in crate::functions) static DEFINITION: Definition = Definition {
    name: "compare",
    kind: FunctionKind::Table,
    summary: "Two sets of runs compared by the last values of metrics, one row a metric: means, Welch's interval and p of \
              the difference candidate - baseline, Hedges' g and the probability that a candidate run exceeds a \
              baseline run. Runs are selected as by runlake gate: tag:KEY=VALUE, param:KEY=VALUE, experiment:NAME, \
              run ids with commas, or a condition on runs, joined by ' & '. Failed runs (no value, NaN, infinity) are \
              counted and left out of the numbers: look at both counts. Where a run is in both sets, error is \
              run_in_both_arms and the numbers are NULL; else it is that of welch_test.",
    parameters: &[
        required("candidate", ArgumentKind::Text, "which runs are new"),
        required("baseline", ArgumentKind::Text, "which runs they are measured against"),
        required("metrics", ArgumentKind::Texts, "at most 32 metrics, with commas or as a list"),
        optional("level", ArgumentKind::Number, "confidence level of the interval, default 0.95"),
    ],
    returns: "table(metric, candidate, baseline, difference, low, high, p, hedges_g, prob_improvement, candidate_runs, candidate_failed, baseline_runs, baseline_failed, error)",
    example: "SELECT metric, candidate_runs, baseline_runs, error FROM compare('param:depth=8', 'experiment:augment', 'val_loss')",
};

/// Each metric is a query of its own.
const METRICS_MAX: usize = 32;

pub(super) fn sql(call: &Call<'_>) -> Result<String> {
    let candidate = selection::condition(call, "candidate")?;
    let baseline = selection::condition(call, "baseline")?;
    let level = call.constants.level()?;
    let metrics = call.constants.texts("metrics");
    if metrics.is_empty() {
        return call.constants.refuse("metrics", "empty", "give at least one metric");
    }
    if metrics.len() > METRICS_MAX {
        let allowed = format!("give at most {METRICS_MAX}");
        return call.constants.refuse("metrics", format_args!("a list of {}", metrics.len()), &allowed);
    }
    let parts: Vec<String> =
        metrics.iter().map(|metric| of_metric(metric, &candidate, &baseline, level)).collect();
    Ok(parts.join(" UNION ALL "))
}

fn of_metric(metric: &str, candidate: &str, baseline: &str, level: f64) -> String {
    let metric = quoted(metric);
    let arms = "value, arm, 'candidate', 'baseline'";
    let mean =
        |arm: &str| format!("mean_ci(CASE WHEN arm = '{arm}' THEN value END, NULL, 'drop')['estimate']");
    let count = |arm: &str| format!("count(*) FILTER (WHERE arm = '{arm}')");
    let failed = |arm: &str| {
        format!("count(*) FILTER (WHERE arm = '{arm}' AND (value IS NULL OR NOT isfinite(value)))")
    };
    let unless_shared = |number: &str| format!("CASE WHEN shared = 0 THEN {number} END");
    format!(
        "SELECT {metric} AS metric, {} AS candidate, {} AS baseline, {} AS difference, {} AS low, {} AS high, {} AS p,
            {} AS hedges_g, {} AS prob_improvement,
            candidate_runs, candidate_failed, baseline_runs, baseline_failed,
            CASE WHEN shared = 0 THEN welch['error'] ELSE 'run_in_both_arms' END AS error
        FROM (
            SELECT {} AS candidate, {} AS baseline,
                welch_test({arms}, {level:?}, NULL, 'drop') AS welch,
                cohens_d({arms}, {level:?}, 'drop') AS effect,
                prob_improvement({arms}, {level:?}, 'drop') AS improvement,
                {} AS candidate_runs, {} AS candidate_failed, {} AS baseline_runs, {} AS baseline_failed,
                {} AS shared
            FROM (
                SELECT CASE WHEN count(*) > 1 THEN 'both' ELSE min(arm) END AS arm, max(value) AS value FROM (
                    SELECT run_id, metrics[{metric}] AS value, 'candidate' AS arm
                    FROM runlake.public.runs WHERE {candidate}
                    UNION ALL
                    SELECT run_id, metrics[{metric}], 'baseline' FROM runlake.public.runs WHERE {baseline}
                ) GROUP BY run_id
            )
        )",
        unless_shared("candidate"),
        unless_shared("baseline"),
        unless_shared("welch['estimate']"),
        unless_shared("welch['low']"),
        unless_shared("welch['high']"),
        unless_shared("welch['p']"),
        unless_shared("effect['hedges_g']"),
        unless_shared("improvement['estimate']"),
        mean("candidate"),
        mean("baseline"),
        count("candidate"),
        failed("candidate"),
        count("baseline"),
        failed("baseline"),
        count("both"),
    )
}
