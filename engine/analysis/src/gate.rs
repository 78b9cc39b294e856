//! The gate: is the candidate good enough to ship, and is there evidence enough to say so?
//!
//! One interval, one threshold. A claim passes only when the whole interval lies beyond the threshold, fails
//! only when the whole interval lies on the other side, and is inconclusive otherwise. Runs that failed are
//! never dropped silently: a pass must also hold with them at the worst value seen.

mod arms;
mod batches;
mod decision;
mod estimate;
mod evidence;
mod parameters;
mod plan;
mod policy;
mod render;
mod report;
mod seeds;
mod strata;
mod text;

pub use arms::{GateRun, RunKeys};
pub use batches::BatchReport;
pub use decision::{
    Change, Circumstances, DECISION_SCHEMA_VERSION, DecisionReport, GroundDifference, MetricDecision,
    MetricRuns, judge,
};
pub use estimate::Method;
pub use parameters::{Direction, GateParameters, LookPlan, Looks, Mode, OnInconclusive};
pub use plan::{GatePlan, PlanQuestion, PlanRow};
pub use policy::{
    GatePolicy, GoalRule, Ground, MethodChoice, MetricPolicy, POLICY_METRICS_MAX, POLICY_VERSION, Role,
    Staleness,
};
pub use render::Colour;
pub use report::{
    ArmReport, BootstrapReport, FailureReport, GATE_SCHEMA_VERSION, GateReport, LookReport,
    PermutationReport, Verdict, Warning,
};
pub use seeds::{Heading, SeedPlan};
pub use strata::{Reversal, StrataReport, StratumReport};

use rayon::prelude::*;

use crate::describe::outliers;
use crate::effect_size::{hedges_g, paired_effect, probability_of_superiority};
use crate::error::{AnalysisError, Result};
use crate::moments::Moments;
use crate::p_value::PValue;
use crate::rates::{fisher_exact, rate_upper_limit};
use crate::t_test::Alternative;

use arms::{Arm, Evidence, Samples, check_disjoint};
use batches::BatchError;
use estimate::{Estimate, Threshold, constant_difference, estimate};
use parameters::{LookLevels, Resolved};

/// Fewest baseline runs against which a single candidate run may be judged.
const BASELINE_FOR_SINGLE_RUN_MIN: usize = 10;

/// From how many runs an arm A12 is printed.
const A12_RUNS_MIN: usize = 5;

/// Judges the candidate runs against the baseline runs.
///
/// The order of the runs does not matter. Mistakes in the data (no runs, no finite baseline, pairs that do not
/// match, an undefined relative margin) give a report with [`Verdict::Error`] and exit code 5; an inconclusive
/// verdict has exit code 3 unless the parameters map it.
///
/// # Errors
/// Mistakes in the question (exit code 2): `margin_required`, `margin_negative`, `alpha_out_of_range`,
/// `probability_out_of_range`, `run_in_both_arms`, `invalid_argument`.
///
/// # Examples
/// ```
/// use analysis::{Direction, GateParameters, GateRun, Verdict, gate};
/// let arm = |name: &str, values: &[f64]| -> Vec<GateRun> {
///     values.iter().enumerate().map(|(i, v)| GateRun::finished(format!("{name}{i}"), *v)).collect()
/// };
/// let baseline = arm("b", &[0.823, 0.825, 0.830]);
/// let candidate = arm("c", &[0.827, 0.824, 0.829]);
/// let report = gate("accuracy", &baseline, &candidate, &GateParameters::new(Direction::Up))?;
/// assert_eq!(report.verdict, Verdict::Inconclusive);
/// assert_eq!(report.seeds.unwrap().n_needed_observed, Some(270));
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn gate(
    metric: &str,
    baseline: &[GateRun],
    candidate: &[GateRun],
    parameters: &GateParameters,
) -> Result<GateReport> {
    let question = GateQuestion { metric, baseline, candidate, parameters };
    let draft = Draft::of(&question, &LookLevels::of_all([parameters].into_iter()))?;
    let beside = evidence::beside(&draft.question().into_iter().collect::<Vec<_>>()).pop();
    draft.finish(beside.unwrap_or_default())
}

/// What [`gate()`] is asked of one metric.
#[derive(Debug, Clone, Copy)]
pub struct GateQuestion<'a> {
    /// Name of the metric.
    pub metric: &'a str,
    /// The baseline runs.
    pub baseline: &'a [GateRun],
    /// The candidate runs.
    pub candidate: &'a [GateRun],
    /// The claim and the rest.
    pub parameters: &'a GateParameters,
}

/// Judges many metrics, each by itself, with all that is resampled in a few calls: the reports are those of [`gate()`],
/// in the order of the questions, and a thousand metrics of twenty runs an arm take less than a second.
pub fn gate_many(questions: &[GateQuestion<'_>]) -> Vec<Result<GateReport>> {
    let levels = LookLevels::of_all(questions.iter().map(|question| question.parameters));
    let drafts: Vec<Result<Draft<'_>>> =
        questions.par_iter().map(|question| Draft::of(question, &levels)).collect();
    let asked: Vec<usize> = (0..drafts.len())
        .filter(|&i| drafts[i].as_ref().is_ok_and(|draft| draft.question().is_some()))
        .collect();
    let resampled: Vec<_> =
        asked.iter().filter_map(|&i| drafts[i].as_ref().ok().and_then(Draft::question)).collect();
    let mut beside = vec![evidence::Beside::default(); drafts.len()];
    for (i, answer) in asked.into_iter().zip(evidence::beside(&resampled)) {
        beside[i] = answer;
    }
    drafts.into_par_iter().zip(beside).map(|(draft, beside)| draft?.finish(beside)).collect()
}

/// A gate before what is resampled.
struct Draft<'a> {
    report: GateReport,
    parameters: &'a GateParameters,
    resolved: Resolved,
    /// What there is to judge; `None` when the data are at fault.
    judged: Option<Judged>,
}

struct Judged {
    evidence: Evidence,
    found: Found,
    threshold: Threshold,
    /// The length by which margin and detect were multiplied.
    unit_length: f64,
}

impl<'a> Draft<'a> {
    /// # Errors
    /// Mistakes in the question.
    fn of(question: &GateQuestion<'a>, levels: &LookLevels) -> Result<Self> {
        let parameters = question.parameters;
        let resolved = parameters.resolve(levels)?;
        let mut report = empty_report(question.metric, parameters, &resolved);
        let judged = match judged(&mut report, question, &resolved) {
            Ok(judged) => Some(judged),
            Err(error) if error.is_data_error() => {
                report.verdict = Verdict::Error;
                report.reason = Some(error.code());
                report.sentence = format!("{}: nothing to judge, {error}", question.metric);
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Self { report, parameters, resolved, judged })
    }

    /// What is to be resampled: only where an interval decides.
    fn question(&self) -> Option<evidence::Question<'_>> {
        let asked = |judged: &&Judged| {
            let stratified = matches!(judged.evidence.finite, Samples::Stratified(_));
            judged.found.enough && judged.found.finite.is_ok() && !stratified
        };
        let judged = self.judged.as_ref().filter(asked)?;
        Some(evidence::Question {
            samples: &judged.evidence.finite,
            threshold: judged.threshold,
            level: self.report.level,
            seed: self.parameters.seed,
        })
    }

    fn finish(self, beside: evidence::Beside) -> Result<GateReport> {
        let Self { mut report, parameters, resolved, judged } = self;
        if let Some(Judged { evidence, found, threshold, unit_length }) = judged {
            add_evidence(&mut report, &evidence.finite, &found);
            report.permutation = beside.permutation;
            report.bootstrap = beside.bootstrap;
            let (verdict, reason) = decide(&report, &found, parameters, &resolved, threshold);
            report.verdict = verdict;
            report.reason = reason;
            if verdict == Verdict::Inconclusive {
                let detect = parameters.detect.map(|detect| detect * unit_length);
                report.seeds =
                    seeds::plan(&evidence.finite, parameters, threshold, detect, resolved.alpha_look)?;
            }
            add_verdict_warnings(&mut report, &resolved, threshold);
            report.sentence = text::sentence(&report);
        }
        report.exit_code = exit_code(report.verdict, parameters.on_inconclusive);
        Ok(report)
    }
}

fn exit_code(verdict: Verdict, on_inconclusive: OnInconclusive) -> u8 {
    match (verdict, on_inconclusive) {
        (Verdict::Pass, _) | (Verdict::Inconclusive, OnInconclusive::Pass) => 0,
        (Verdict::Fail, _) | (Verdict::Inconclusive, OnInconclusive::Fail) => 1,
        (Verdict::Inconclusive, OnInconclusive::Report) => 3,
        (Verdict::Error, _) => 5,
    }
}

fn judged(report: &mut GateReport, question: &GateQuestion<'_>, resolved: &Resolved) -> Result<Judged> {
    let parameters = question.parameters;
    let baseline = Arm::of("baseline", question.baseline)?;
    let candidate = Arm::of("candidate", question.candidate)?;
    check_disjoint(&baseline, &candidate)?;
    report.baseline = arm_report(&baseline)?;
    report.candidate = arm_report(&candidate)?;
    report.warnings = arm_warnings(report, &baseline, &candidate);
    if report.baseline.finite == 0 {
        return Err(AnalysisError::NoFiniteBaseline { runs: report.baseline.runs });
    }
    let unit_length = relative_unit(&baseline, parameters)?;
    let threshold = Threshold { mode: resolved.mode, margin: resolved.margin * unit_length };
    report.margin = Some(threshold.margin);
    report.threshold = Some(threshold.low());
    report.threshold_upper = threshold.high();

    let mut evidence = arms::evidence(&baseline, &candidate, parameters)?;
    report.strata = evidence.strata.take();
    if matches!(evidence.finite, Samples::Independent { .. }) {
        report.reversals = strata::reversals(&baseline, &candidate, parameters.direction.sign());
    }
    report.n_baseline = evidence.finite.baseline_count();
    report.n_candidate = evidence.finite.candidate_count();
    let mut batch_error = None;
    if let Some(key) = &parameters.batch_by {
        let (batches, error, warning) = batches::between(key, &baseline, &candidate)?;
        report.batches = Some(batches);
        report.warnings.extend(warning);
        batch_error = error;
    }
    // A planned look is one at that many runs, whether they failed or not: what failed is judged as such.
    let runs = report.baseline.runs.min(report.candidate.runs);
    let planned = parameters.look_plan.is_none() || runs >= parameters.runs_needed();
    let found = Found::of(&evidence, planned, batch_error.as_ref(), parameters, resolved, threshold)?;
    report.failures = Some(failure_report(report, &evidence, &found, parameters));
    Ok(Judged { evidence, found, threshold, unit_length })
}

/// The estimates that the rules compare with the threshold.
struct Found {
    /// On the finite runs; the error says why there is none.
    finite: Result<Estimate>,
    /// With failed candidate runs at the worst value.
    imputed: Result<Estimate>,
    /// Enough runs to decide, or a declared exception applies.
    enough: bool,
}

impl Found {
    fn of(
        evidence: &Evidence,
        planned: bool,
        batches: Option<&BatchError>,
        parameters: &GateParameters,
        resolved: &Resolved,
        threshold: Threshold,
    ) -> Result<Self> {
        let single_run = parameters.assume_equal_variance
            && matches!(evidence.finite, Samples::Independent { .. })
            && evidence.finite.candidate_count() >= 1
            && evidence.finite.baseline_count() >= BASELINE_FOR_SINGLE_RUN_MIN;
        let exact = parameters.deterministic && constant_difference(&evidence.finite).is_some();
        let estimate_of = |samples: &Samples| match constant_difference(samples) {
            Some(difference) if parameters.deterministic => Ok(Estimate::exact(difference)),
            _ => {
                let equal_variance = parameters.assume_equal_variance;
                estimate(samples, equal_variance, resolved.alpha_look, threshold, batches)
            }
        };
        // Failed runs can leave the imputed arm without spread; its difference is then known exactly.
        let imputed = estimate_of(&evidence.imputed).or_else(|error| match error {
            AnalysisError::ZeroVariance { difference } => Ok(Estimate::exact(difference)),
            other => Err(other),
        });
        Ok(Self {
            finite: estimate_of(&evidence.finite),
            imputed,
            enough: exact
                || single_run
                || (planned && evidence.finite.smaller_count() >= parameters.min_runs),
        })
    }
}

/// The rules of a verdict, in their order.
fn decide(
    report: &GateReport,
    found: &Found,
    parameters: &GateParameters,
    resolved: &Resolved,
    threshold: Threshold,
) -> (Verdict, Option<&'static str>) {
    if parameters.looks.current > parameters.planned_looks() {
        return (Verdict::Inconclusive, Some("looks_spent"));
    }
    if report.candidate.finite == 0 {
        return (Verdict::Fail, Some("all_runs_failed"));
    }
    let Some(failures) = &report.failures else {
        return (Verdict::Inconclusive, Some("too_few_runs"));
    };
    if parameters.allow_failures.is_none() && failures.p_more_failures.value() <= resolved.alpha_look {
        return (Verdict::Fail, Some("failure_rate"));
    }
    if !found.enough {
        return (Verdict::Inconclusive, Some("too_few_runs"));
    }
    let finite = match &found.finite {
        Ok(estimate) => estimate,
        Err(error) => return (Verdict::Inconclusive, Some(error.code())),
    };
    let decided_by = (finite.method == Method::Exact).then_some("deterministic");
    if !report.reversals.is_empty() {
        return (Verdict::Inconclusive, Some("simpson_reversal"));
    }
    if threshold.is_missed(finite) {
        return (Verdict::Fail, decided_by);
    }
    if !threshold.is_met(finite) {
        return (Verdict::Inconclusive, Some("interval_covers_threshold"));
    }
    let holds_with_failures = match &found.imputed {
        Ok(imputed) => threshold.is_met(imputed),
        Err(_) => false,
    };
    if holds_with_failures && failures.share_accepted {
        (Verdict::Pass, decided_by)
    } else {
        (Verdict::Inconclusive, Some("failed_runs"))
    }
}

/// The length by which margin and detect are multiplied.
fn relative_unit(baseline: &Arm<'_>, parameters: &GateParameters) -> Result<f64> {
    if !parameters.relative {
        return Ok(1.0);
    }
    let moments = Moments::of(&baseline.finite());
    let mean = moments.mean().unwrap_or(0.0);
    let standard_error = moments.standard_error().unwrap_or(0.0);
    if mean.abs() <= standard_error || mean == 0.0 {
        return Err(AnalysisError::RelativeMarginUndefined { mean, standard_error });
    }
    Ok(mean.abs())
}

fn failure_report(
    report: &GateReport,
    evidence: &Evidence,
    found: &Found,
    parameters: &GateParameters,
) -> FailureReport {
    let (baseline, candidate) = (&report.baseline, &report.candidate);
    let counts = |arm: &ArmReport| [arm.failed as u64, arm.finite as u64];
    let p = fisher_exact([counts(candidate), counts(baseline)], Alternative::Greater);
    let share_accepted = match parameters.allow_failures {
        // The tolerance keeps 2 of 10 within an allowed share of 0.2.
        Some(share) => candidate.failed as f64 <= share * candidate.runs as f64 + 1e-9,
        // A declared failure value already says what a failure costs.
        None if parameters.failure_value.is_some() => true,
        None => candidate.failed * baseline.runs <= baseline.failed * candidate.runs,
    };
    let imputed = found.imputed.as_ref().ok();
    FailureReport {
        p_more_failures: PValue::new(p),
        imputed_value: evidence.worst.map(|worst| parameters.direction.sign() * worst),
        imputed_lower: imputed.map(|estimate| estimate.lower),
        imputed_upper: imputed.map(|estimate| estimate.upper),
        share_accepted,
    }
}

/// The deciding estimate and what is printed beside it at this number of runs.
fn add_evidence(report: &mut GateReport, samples: &Samples, found: &Found) {
    let difference = match &found.finite {
        Ok(estimate) if found.enough => {
            report.method = Some(estimate.method);
            report.improvement = Some(estimate.difference);
            report.standard_error = Some(estimate.standard_error);
            report.degrees_of_freedom = estimate.degrees_of_freedom;
            report.lower = Some(estimate.lower);
            report.upper = Some(estimate.upper);
            report.p_pass = estimate.p_pass;
            report.p_fail = estimate.p_fail;
            if estimate.one_arm_constant && estimate.method == Method::Welch {
                report.warnings.push(Warning {
                    code: "zero_variance_one_arm",
                    message: "all runs of one arm have the same value: is its seed applied?".into(),
                });
            }
            return add_effects(report, samples);
        }
        Ok(estimate) => Some(estimate.difference),
        Err(AnalysisError::ZeroVariance { difference }) => Some(*difference),
        Err(_) => match samples {
            Samples::Independent { baseline, candidate } => {
                let mean = |arm: &[f64]| Moments::of(arm).mean();
                mean(candidate).zip(mean(baseline)).map(|(c, b)| c - b)
            }
            Samples::Pairs(differences) => Moments::of(differences).mean(),
            Samples::Stratified(strata) => strata::mean_difference(strata),
        },
    };
    // Too few runs for an interval: the difference is still shown.
    report.improvement = difference;
}

fn add_effects(report: &mut GateReport, samples: &Samples) {
    let level = report.level;
    // Each of these fails only where it is undefined (constant arms); it is then left out.
    match samples {
        Samples::Pairs(differences) => report.hedges_g = paired_effect(differences, level).ok(),
        // Both measure against the spread of an arm, which within strata is not one.
        Samples::Stratified(_) => {}
        Samples::Independent { baseline, candidate } => {
            report.hedges_g = hedges_g(candidate, baseline, level).ok();
            if samples.smaller_count() >= A12_RUNS_MIN {
                report.a12 = probability_of_superiority(candidate, baseline, level).ok();
            }
        }
    }
}

fn arm_report(arm: &Arm<'_>) -> Result<ArmReport> {
    let finite = arm.finite();
    let moments = Moments::of(&finite);
    let failed = arm.failed();
    let values: Vec<f64> = arm.runs.iter().map(|run| run.finite_value().unwrap_or(f64::NAN)).collect();
    let ids = |indices: &mut dyn Iterator<Item = usize>| {
        let mut ids: Vec<String> =
            indices.map(|i| arm.runs[i].id.clone()).filter(|id| !id.is_empty()).collect();
        ids.sort_unstable();
        ids
    };
    Ok(ArmReport {
        runs: arm.runs.len(),
        finite: finite.len(),
        failed,
        failure_rate_upper95: Some(rate_upper_limit(failed as u64, arm.runs.len() as u64, 0.95)?),
        mean: moments.mean(),
        sd: moments.standard_deviation(),
        minimum: finite.first().copied(),
        maximum: finite.last().copied(),
        outliers: ids(&mut outliers(&values).into_iter()),
        run_ids: ids(&mut (0..arm.runs.len())),
    })
}

fn arm_warnings(report: &GateReport, baseline: &Arm<'_>, candidate: &Arm<'_>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (name, arm, summary) in
        [("baseline", baseline, &report.baseline), ("candidate", candidate, &report.candidate)]
    {
        if arm.repeated > 0 {
            warnings.push(Warning {
                code: "duplicate_runs",
                message: format!(
                    "{name} runs are recorded more than once ({} repeated); each counts once",
                    arm.repeated
                ),
            });
        }
        if !summary.outliers.is_empty() {
            warnings.push(Warning {
                code: "outliers",
                message: format!(
                    "far from the other {name} runs (more than 5 scaled MAD): {}",
                    summary.outliers.join(", ")
                ),
            });
        }
    }
    warnings
}

fn add_verdict_warnings(report: &mut GateReport, resolved: &Resolved, threshold: Threshold) {
    if report.method == Some(Method::Student) {
        let single = if report.n_candidate == 1 {
            "; if the candidate's spread is really twice as large, a false pass comes at 20 %"
        } else {
            ""
        };
        report.warnings.push(Warning {
            code: "equal_variance_assumed",
            message: format!("both arms are taken to have one variance, as asked{single}"),
        });
    }
    if report.parameters.deterministic && report.method.is_some_and(|method| method != Method::Exact) {
        report.warnings.push(Warning {
            code: "not_deterministic",
            message: "runs of one arm differ, so the training is not deterministic: tested as usual".into(),
        });
    }
    let worse = report.upper.is_some_and(|upper| upper < 0.0);
    if report.verdict == Verdict::Pass && threshold.mode == Mode::NotWorse && worse {
        report.warnings.push(Warning {
            code: "worse_within_margin",
            message: "worse, but by less than the margin".into(),
        });
    }
    if let Some(strata) = report.strata.as_ref().filter(|strata| !strata.one_sided.is_empty()) {
        report.warnings.push(Warning {
            code: "strata_left_out",
            message: format!(
                "no finite runs of both arms where {} is {}: left out",
                strata.key,
                strata.one_sided.join(", ")
            ),
        });
    }
    if let (Some(permutation), Verdict::Pass) = (report.permutation, report.verdict)
        && permutation.p.value() > resolved.alpha_look
        && permutation.floor.value() <= resolved.alpha_look
    {
        report.warnings.push(Warning {
            code: "permutation_disagrees",
            message: format!("the permutation test would not pass (p {})", permutation.p),
        });
    }
    let decided_by_interval = matches!(report.reason, None | Some("interval_covers_threshold"));
    if decided_by_interval && report.n_baseline.min(report.n_candidate) >= evidence::BCA_RUNS_MIN {
        for interval in &report.bootstrap {
            let verdict = bootstrap_verdict(interval, threshold);
            if verdict != report.verdict {
                report.warnings.push(Warning {
                    code: "bootstrap_disagrees",
                    message: format!(
                        "by the bootstrap ({}) the verdict would be {}",
                        interval.method,
                        verdict.name()
                    ),
                });
            }
        }
    }
}

fn bootstrap_verdict(interval: &BootstrapReport, threshold: Threshold) -> Verdict {
    let bounds = Estimate { lower: interval.low, upper: interval.high, ..Estimate::exact(0.0) };
    if threshold.is_met(&bounds) {
        Verdict::Pass
    } else if threshold.is_missed(&bounds) {
        Verdict::Fail
    } else {
        Verdict::Inconclusive
    }
}

fn empty_report(metric: &str, parameters: &GateParameters, resolved: &Resolved) -> GateReport {
    let arm = ArmReport {
        runs: 0,
        finite: 0,
        failed: 0,
        failure_rate_upper95: None,
        mean: None,
        sd: None,
        minimum: None,
        maximum: None,
        outliers: Vec::new(),
        run_ids: Vec::new(),
    };
    GateReport {
        schema_version: GATE_SCHEMA_VERSION,
        version: env!("CARGO_PKG_VERSION"),
        metric: metric.to_owned(),
        verdict: Verdict::Error,
        reason: None,
        exit_code: 5,
        sentence: String::new(),
        mode: resolved.mode,
        margin: None,
        threshold: None,
        threshold_upper: None,
        method: None,
        unit: if parameters.pair_by.is_some() { "pair of training runs" } else { "training run" },
        n_baseline: 0,
        n_candidate: 0,
        improvement: None,
        standard_error: None,
        degrees_of_freedom: None,
        level: 1.0 - 2.0 * resolved.alpha_look,
        lower: None,
        upper: None,
        p_pass: None,
        p_fail: None,
        baseline: arm.clone(),
        candidate: arm,
        failures: None,
        permutation: None,
        hedges_g: None,
        a12: None,
        bootstrap: Vec::new(),
        strata: None,
        reversals: Vec::new(),
        batches: None,
        look: LookReport {
            planned: parameters.planned_looks(),
            current: parameters.looks.current,
            alpha_used: resolved.alpha_look,
            alpha_left: resolved.alpha_left,
        },
        seeds: None,
        warnings: Vec::new(),
        parameters: parameters.clone(),
    }
}
