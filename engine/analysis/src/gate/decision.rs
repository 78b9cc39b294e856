//! One decision over many metrics: goals and guardrails of a policy, judged together.
//!
//! A pass needs every guardrail, and goals as the policy says. Requiring all of several claims needs no correction: the
//! chance of a false pass is at most that of one (Berger 1982, intersection-union). Failing on any of them does, and so
//! does passing on any of several goals: there the policy's correction is applied, and the adjusted p-values are
//! printed beside the raw ones.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::baseline::{BaselineDrift, baseline_drift};
use crate::error::{AnalysisError, Result};
use crate::p_value::PValue;

use super::parameters::OnInconclusive;
use super::policy::{GatePolicy, GoalRule, Ground, MetricPolicy, Role};
use super::report::{GateReport, Verdict, Warning};
use super::{GateQuestion, GateRun, gate_many};

/// Version of the layout of [`DecisionReport`]. Fields may be added within a version, never renamed or removed.
pub const DECISION_SCHEMA_VERSION: u32 = 1;

/// The runs of both arms with their values of one metric.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MetricRuns {
    /// The baseline.
    pub baseline: Vec<GateRun>,
    /// The candidate.
    pub candidate: Vec<GateRun>,
}

/// What is known of both arms beside their values.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Circumstances {
    /// Days since the newest baseline run ended; `None` when unknown.
    pub baseline_age_days: Option<f64>,
    /// What differs between the arms of what they should share.
    pub grounds: Vec<GroundDifference>,
    /// Params, tags and other settings that differ between the arms.
    pub changed: Vec<Change>,
    /// Runs that are still running and count with what they logged so far.
    pub still_running: Vec<String>,
    /// The data that was read, so that it can be read again.
    pub snapshot: Option<String>,
    /// Which look this is, from 1; 0 counts as 1.
    pub look: u32,
    /// Values of the baseline's recipe run again now, by metric: whether the stored runs still hold (`baseline_drift`). Runs
    /// that failed are not finite.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub refreshed: BTreeMap<String, Vec<f64>>,
}

/// A ground of comparison on which the arms differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroundDifference {
    /// What should be the same.
    pub ground: Ground,
    /// The values in the baseline.
    pub baseline: Vec<String>,
    /// The values in the candidate.
    pub candidate: Vec<String>,
}

/// A setting that differs between the arms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its name, such as `params.lr`.
    pub key: String,
    /// Its values in the baseline.
    pub baseline: Vec<String>,
    /// Its values in the candidate.
    pub candidate: Vec<String>,
    /// No value is in both arms, so that it cannot be told apart from the other such settings.
    pub confounded: bool,
}

/// One metric of a decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricDecision {
    /// Goal or guardrail.
    pub role: Role,
    /// The verdict after the correction.
    pub verdict: Verdict,
    /// Stable code of what decided, where it is not the interval alone.
    pub reason: Option<&'static str>,
    /// `report.p_pass` adjusted over the goals; only where one goal is enough.
    pub p_pass_adjusted: Option<PValue>,
    /// `report.p_fail` adjusted over all metrics.
    pub p_fail_adjusted: Option<PValue>,
    /// The stored baseline against the same recipe run again now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<BaselineDrift>,
    /// The gate of this metric by itself.
    pub report: GateReport,
}

/// The verdict over all metrics with all its evidence, the same bytes for the same input.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecisionReport {
    /// Layout of this report, [`DECISION_SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Version of the program.
    pub version: &'static str,
    /// Name of the policy.
    pub name: Option<String>,
    /// The verdict.
    pub verdict: Verdict,
    /// Stable code of what decided, where it is not the metrics alone.
    pub reason: Option<&'static str>,
    /// 0 pass, 1 fail, 3 inconclusive (unless mapped), 5 nothing to judge.
    pub exit_code: u8,
    /// The verdict in one sentence.
    pub sentence: String,
    /// What to do next; `None` after a pass.
    pub next_step: Option<String>,
    /// Metrics in the order of the policy.
    pub metrics: Vec<MetricDecision>,
    /// What was corrected for, in words.
    pub family: String,
    /// What is known of the arms.
    pub circumstances: Circumstances,
    /// Warnings over the whole, in a fixed order.
    pub warnings: Vec<Warning>,
    /// The policy as judged.
    pub policy: GatePolicy,
}

/// Judges all metrics of a policy. `runs` has one element for each of them, in their order.
///
/// # Errors
/// `policy_invalid`; `invalid_argument` unless `runs` and metrics are equally many; the mistakes in the question that
/// [`crate::gate()`] refuses, such as `run_in_both_arms`.
///
/// # Examples
/// ```
/// use analysis::{Circumstances, GatePolicy, GateRun, MetricRuns, Verdict, judge};
/// let policy = GatePolicy::from_toml("version = 1\n[[metrics]]\nname = 'acc'\ndirection = 'up'\nmargin = 0.02")?;
/// let arm = |name: &str, values: [f64; 4]| {
///     values.iter().enumerate().map(|(i, v)| GateRun::finished(format!("{name}{i}"), *v)).collect()
/// };
/// let runs = MetricRuns {
///     baseline: arm("b", [0.80, 0.81, 0.82, 0.81]),
///     candidate: arm("c", [0.81, 0.82, 0.83, 0.82]),
/// };
/// let report = judge(&policy, &[runs], Circumstances::default())?;
/// assert_eq!((report.verdict, report.exit_code), (Verdict::Pass, 0));
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn judge(
    policy: &GatePolicy,
    runs: &[MetricRuns],
    circumstances: Circumstances,
) -> Result<DecisionReport> {
    policy.check()?;
    if runs.len() != policy.metrics.len() {
        return Err(AnalysisError::InvalidArgument {
            name: "runs",
            value: format!("of {} metrics", runs.len()),
            expected: "the runs of every metric of the policy, in their order",
        });
    }
    let look = circumstances.look.max(1);
    let parameters: Vec<_> = policy.metrics.iter().map(|metric| policy.parameters(metric, look)).collect();
    let questions: Vec<GateQuestion<'_>> = policy
        .metrics
        .iter()
        .zip(runs)
        .zip(&parameters)
        .map(|((metric, runs), parameters)| GateQuestion {
            metric: &metric.name,
            baseline: &runs.baseline,
            candidate: &runs.candidate,
            parameters,
        })
        .collect();
    let reports = gate_many(&questions).into_iter().collect::<Result<Vec<_>>>()?;
    let mut metrics = corrected(policy, reports)?;
    let mut warnings = warnings(policy, &circumstances);
    for (metric, runs) in metrics.iter_mut().zip(runs) {
        warnings.extend(check_drift(metric, runs, &circumstances)?);
    }
    let (verdict, reason) = verdict(policy, &metrics, &circumstances);
    let mut report = DecisionReport {
        schema_version: DECISION_SCHEMA_VERSION,
        version: env!("CARGO_PKG_VERSION"),
        name: policy.name.clone(),
        verdict,
        reason,
        exit_code: match (verdict, policy.on_inconclusive) {
            (Verdict::Pass, _) | (Verdict::Inconclusive, OnInconclusive::Pass) => 0,
            (Verdict::Fail, _) | (Verdict::Inconclusive, OnInconclusive::Fail) => 1,
            (Verdict::Inconclusive, OnInconclusive::Report) => 3,
            (Verdict::Error, _) => 5,
        },
        sentence: String::new(),
        next_step: None,
        family: family(policy),
        metrics,
        warnings,
        circumstances,
        policy: policy.clone(),
    };
    report.sentence = sentence(&report);
    report.next_step = next_step(&report);
    Ok(report)
}

/// Baseline runs without which their repetition says nothing.
const REFRESHED_MIN: usize = 3;

/// Compares the stored baseline with its recipe run again, at the gate's margin. Where they are not shown to be equivalent,
/// nothing is decided by comparing with the stored runs.
fn check_drift(
    metric: &mut MetricDecision,
    runs: &MetricRuns,
    circumstances: &Circumstances,
) -> Result<Option<Warning>> {
    let report = &metric.report;
    let Some(again) = circumstances.refreshed.get(&report.metric) else { return Ok(None) };
    let again: Vec<f64> = again.iter().copied().filter(|value| value.is_finite()).collect();
    let stored: Vec<f64> = runs.baseline.iter().filter_map(GateRun::finite_value).collect();
    let unchecked = |why: String| {
        let message = format!("{}: the baseline that was run again is not compared, {why}", report.metric);
        Ok(Some(Warning { code: "drift_unchecked", message }))
    };
    let Some(margin) = report.margin.filter(|margin| *margin > 0.0) else {
        return unchecked("without a margin nothing says which drift matters".to_owned());
    };
    if again.len() < REFRESHED_MIN {
        return unchecked(format!("{} finite runs of at least {REFRESHED_MIN}", again.len()));
    }
    let drift = match baseline_drift(&stored, &again, margin, report.look.alpha_used) {
        Ok(drift) => drift,
        // Without any spread the difference is known exactly.
        Err(AnalysisError::ZeroVariance { difference }) => {
            let equivalent = difference.abs() < margin;
            let p = PValue::new(if equivalent { 0.0 } else { 1.0 });
            BaselineDrift { difference, interval: [difference; 2], p, equivalent }
        }
        Err(error) if error.is_data_error() => return unchecked(error.to_string()),
        Err(error) => return Err(error),
    };
    metric.drift = Some(drift);
    let by_failures = matches!(metric.reason, Some("failure_rate" | "all_runs_failed"));
    if !drift.equivalent && metric.verdict != Verdict::Error && !by_failures {
        metric.verdict = Verdict::Inconclusive;
        metric.reason = Some("baseline_drift");
    }
    Ok(None)
}

/// Applies the correction: to fails over all metrics, to passes over the goals where one is enough.
fn corrected(policy: &GatePolicy, reports: Vec<GateReport>) -> Result<Vec<MetricDecision>> {
    let roles: Vec<Role> = policy.metrics.iter().map(|metric| policy.role(metric)).collect();
    let adjust = |p: &dyn Fn(usize) -> Option<PValue>| -> Result<Vec<Option<PValue>>> {
        let members: Vec<(usize, f64)> =
            (0..reports.len()).filter_map(|i| Some((i, p(i)?.value()))).collect();
        let adjusted = policy.correction.adjust(&members.iter().map(|(_, p)| *p).collect::<Vec<_>>())?;
        let mut all = vec![None; reports.len()];
        members.iter().zip(adjusted).for_each(|((i, _), p)| all[*i] = Some(PValue::new(p)));
        Ok(all)
    };
    let one_is_enough = policy.goals == GoalRule::Any;
    let is_goal = |i: usize| roles[i] == Role::Goal;
    let passes = adjust(&|i| reports[i].p_pass.filter(|_| one_is_enough && is_goal(i)))?;
    let fails = adjust(&|i| reports[i].p_fail)?;
    let holds = |p: Option<PValue>, alpha: f64| p.is_none_or(|p| p.value() <= alpha);
    let decision = |(i, report): (usize, GateReport)| {
        let alpha = report.look.alpha_used;
        // A fail because runs failed has no p-value of its own to adjust.
        let by_interval = report.reason.is_none();
        let kept = match report.verdict {
            Verdict::Pass => holds(passes[i], alpha),
            Verdict::Fail if by_interval => holds(fails[i], alpha),
            _ => true,
        };
        MetricDecision {
            role: roles[i],
            verdict: if kept { report.verdict } else { Verdict::Inconclusive },
            reason: if kept { report.reason } else { Some("not_after_correction") },
            p_pass_adjusted: passes[i],
            p_fail_adjusted: fails[i],
            drift: None,
            report,
        }
    };
    Ok(reports.into_iter().enumerate().map(decision).collect())
}

fn verdict(
    policy: &GatePolicy,
    metrics: &[MetricDecision],
    circumstances: &Circumstances,
) -> (Verdict, Option<&'static str>) {
    if metrics.iter().all(|metric| metric.verdict == Verdict::Error) {
        let reason = metrics.first().and_then(|metric| metric.reason);
        let shared = metrics.iter().all(|metric| metric.reason == reason);
        return (Verdict::Error, if shared { reason } else { Some("nothing_to_judge") });
    }
    let unwaived = |difference: &GroundDifference| {
        let ground = difference.ground;
        policy.staleness.same.contains(&ground) && !policy.staleness.waive.contains(&ground)
    };
    // A baseline that was run again, and came out the same, is neither old nor different.
    let holds = |metric: &MetricDecision| metric.drift.is_some_and(|drift| drift.equivalent);
    let refreshed = metrics.iter().all(holds);
    if !refreshed && circumstances.grounds.iter().any(unwaived) {
        return (Verdict::Inconclusive, Some("baseline_mismatch"));
    }
    let age = circumstances.baseline_age_days.zip(policy.staleness.max_age_days);
    if !refreshed && age.is_some_and(|(age, most)| age > most) {
        return (Verdict::Inconclusive, Some("baseline_stale"));
    }
    let of = |role: Role| metrics.iter().filter(move |metric| metric.role == role);
    let is = |verdict: Verdict| move |metric: &MetricDecision| metric.verdict == verdict;
    let goals = of(Role::Goal).count();
    let one_is_enough = policy.goals == GoalRule::Any && goals > 0;
    let goals_failed = of(Role::Goal).filter(|metric| is(Verdict::Fail)(metric)).count();
    let goal_fails = if one_is_enough { goals_failed == goals } else { goals_failed > 0 };
    if of(Role::Guardrail).any(is(Verdict::Fail)) || goal_fails {
        return (Verdict::Fail, None);
    }
    let goal_passes = if one_is_enough {
        of(Role::Goal).any(is(Verdict::Pass))
    } else {
        of(Role::Goal).all(is(Verdict::Pass))
    };
    if goal_passes && of(Role::Guardrail).all(is(Verdict::Pass)) {
        return (Verdict::Pass, None);
    }
    // What stands in the way, where it is one thing.
    let mut reasons = metrics
        .iter()
        .filter(|metric| metric.verdict != Verdict::Pass)
        .map(|metric| metric.reason.unwrap_or("metrics_disagree"));
    let first = reasons.next();
    let shared = reasons.all(|reason| Some(reason) == first);
    (Verdict::Inconclusive, if shared { first } else { Some("metrics_undecided") })
}

fn family(policy: &GatePolicy) -> String {
    let (metrics, goals) = (policy.metrics.len(), count_goals(policy));
    if metrics == 1 {
        return "one metric: nothing to correct for".to_owned();
    }
    let name = policy.correction.name();
    match policy.goals {
        GoalRule::Any if goals > 1 => {
            format!("{name} over {goals} goals for a pass, over {metrics} metrics for a fail")
        }
        _ => format!(
            "all of {metrics} metrics must pass, which needs no correction; {name} over them for a fail"
        ),
    }
}

fn count_goals(policy: &GatePolicy) -> usize {
    policy.metrics.iter().filter(|metric| policy.role(metric) == Role::Goal).count()
}

fn warnings(policy: &GatePolicy, circumstances: &Circumstances) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if circumstances.changed.len() > 1 {
        let confounded: Vec<&str> = circumstances
            .changed
            .iter()
            .filter(|change| change.confounded)
            .map(|change| change.key.as_str())
            .collect();
        let which = if confounded.len() > 1 {
            format!("; {} cannot be told apart", listed(&confounded))
        } else {
            String::new()
        };
        warnings.push(Warning {
            code: "several_changes",
            message: format!(
                "the effect belongs to the bundle of {} changes{which}: change one at a time to know which",
                circumstances.changed.len()
            ),
        });
    }
    for difference in &circumstances.grounds {
        let ground = difference.ground;
        let waived = policy.staleness.waive.contains(&ground);
        if waived || !policy.staleness.same.contains(&ground) {
            warnings.push(Warning {
                code: if waived { "waived" } else { "ground_differs" },
                message: format!(
                    "{} differs between the arms{}",
                    ground.name(),
                    if waived { ", waived by the policy" } else { "" }
                ),
            });
        }
    }
    if !circumstances.still_running.is_empty() {
        let ids: Vec<&str> = circumstances.still_running.iter().map(String::as_str).collect();
        warnings.push(Warning {
            code: "still_running",
            message: format!("still running, counted with what they logged so far: {}", listed(&ids)),
        });
    }
    warnings
}

/// Up to five names, and how many more.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    match names.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{} and {more} more", names[..SHOWN].join(", ")),
        _ => names.join(", "),
    }
}

fn sentence(report: &DecisionReport) -> String {
    if let [only] = &report.metrics[..]
        && report.verdict == only.verdict
    {
        return only.report.sentence.clone();
    }
    let names = |verdict: Verdict| -> Vec<&str> {
        let with = report.metrics.iter().filter(|metric| metric.verdict == verdict);
        with.map(|metric| metric.report.metric.as_str()).collect()
    };
    let (passed, failed) = (names(Verdict::Pass), names(Verdict::Fail));
    let (open, unjudged) = (names(Verdict::Inconclusive), names(Verdict::Error));
    let mut parts = vec![format!("{} of {} metrics pass", passed.len(), report.metrics.len())];
    for (what, names) in [("fail", failed), ("undecided", open), ("not judged", unjudged)] {
        if !names.is_empty() {
            parts.push(format!("{what}: {}", listed(&names)));
        }
    }
    match report.reason {
        Some("baseline_mismatch") => parts.push("but the baseline is not comparable".to_owned()),
        Some("baseline_stale") => parts.push("but the baseline is too old".to_owned()),
        _ => {}
    }
    parts.join("; ")
}

fn next_step(report: &DecisionReport) -> Option<String> {
    match (report.verdict, report.reason) {
        (Verdict::Pass, _) => None,
        (_, Some("baseline_mismatch" | "baseline_stale")) => Some(
            "re-run at least three baseline seeds now and compare again, or waive the difference by name"
                .to_owned(),
        ),
        (_, Some("baseline_drift")) => Some(
            "compare with the baseline as it was run again now, and find out what changed since the stored one"
                .to_owned(),
        ),
        (_, Some("simpson_reversal")) => {
            let reversals = report.metrics.iter().flat_map(|metric| metric.report.reversals.first());
            let keys: std::collections::BTreeSet<&str> =
                reversals.map(|reversal| reversal.key.as_str()).collect();
            let keys: Vec<&str> = keys.into_iter().collect();
            Some(format!(
                "compare within {} (strata), or run both arms alike over its values",
                listed(&keys)
            ))
        }
        (_, Some("looks_spent")) => {
            Some("plan a new comparison on fresh seeds: the planned looks are used up".to_owned())
        }
        (_, Some("zero_variance")) => {
            Some("check that the seed is applied: all runs are identical".to_owned())
        }
        (Verdict::Error, _) => {
            Some("check the selectors: both arms need runs that logged the metric".to_owned())
        }
        (Verdict::Fail, _) => {
            let failed = report.metrics.iter().filter(|metric| metric.verdict == Verdict::Fail);
            let names: Vec<&str> = failed.map(|metric| metric.report.metric.as_str()).collect();
            Some(format!("do not ship; look at {}", listed(&names)))
        }
        (Verdict::Inconclusive, _) => Some(more_runs(report)),
    }
}

fn more_runs(report: &DecisionReport) -> String {
    let open = report.metrics.iter().filter(|metric| metric.verdict == Verdict::Inconclusive);
    let (mut candidates, mut baselines, mut unknown) = (0, 0, 0);
    for metric in open {
        match metric.report.seeds.as_ref().map(|plan| (plan.more_candidate, plan.more_baseline)) {
            Some((Some(candidate), Some(baseline))) => {
                candidates = candidates.max(candidate);
                baselines = baselines.max(baseline);
            }
            _ => unknown += 1,
        }
    }
    match (candidates + baselines, unknown) {
        (0, 0) => "there are enough runs: the effect lies near the threshold; decide by judgement or move it"
            .to_owned(),
        (0, _) => {
            "add runs with other seeds; say which gain is worth having (detect) to learn how many".to_owned()
        }
        _ => format!("run {candidates} more candidate and {baselines} more baseline seeds, then look again"),
    }
}

impl DecisionReport {
    /// The policy's entry of each metric beside its decision.
    pub fn entries(&self) -> impl Iterator<Item = (&MetricPolicy, &MetricDecision)> {
        self.policy.metrics.iter().zip(&self.metrics)
    }
}
