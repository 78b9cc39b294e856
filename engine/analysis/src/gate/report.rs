//! The report of a gate: a verdict and all its evidence, the same bytes for the same input.

use serde::Serialize;

use crate::effect_size::{ProbabilityOfSuperiority, StandardizedDifference};
use crate::p_value::PValue;

use super::batches::BatchReport;
use super::estimate::Method;
use super::parameters::{GateParameters, Mode};
use super::seeds::SeedPlan;
use super::strata::{Reversal, StrataReport};

/// Version of the layout of [`GateReport`]. Fields may be added within a version, never renamed or removed.
pub const GATE_SCHEMA_VERSION: u32 = 1;

/// The outcome of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The claim holds at the chosen error rate.
    Pass,
    /// Its opposite holds at the chosen error rate.
    Fail,
    /// Neither is shown; more runs are needed.
    Inconclusive,
    /// The data cannot be judged at all; `reason` says why.
    Error,
}

impl Verdict {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
            Self::Error => "error",
        }
    }
}

/// Something the reader should know that does not change the verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Warning {
    /// Stable identifier.
    pub code: &'static str,
    /// What it means here.
    pub message: String,
}

/// One arm of the comparison, in metric units.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmReport {
    /// Runs, each counted once.
    pub runs: usize,
    /// Runs with a finite final metric.
    pub finite: usize,
    /// Runs that crashed, ended in NaN or infinity, or have no final metric.
    pub failed: usize,
    /// Exact one-sided 95 % upper limit of the failure rate.
    pub failure_rate_upper95: Option<f64>,
    /// Mean of the finite values.
    pub mean: Option<f64>,
    /// Their standard deviation with divisor n - 1.
    pub sd: Option<f64>,
    /// Smallest finite value.
    pub minimum: Option<f64>,
    /// Largest finite value.
    pub maximum: Option<f64>,
    /// Runs further than five scaled median absolute deviations from the median. They still count.
    pub outliers: Vec<String>,
    /// Ids of all runs, sorted; those without an id are left out.
    pub run_ids: Vec<String>,
}

/// What failed runs say and how they were counted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FailureReport {
    /// One-sided Fisher p-value that the candidate fails more often.
    pub p_more_failures: PValue,
    /// The worst finite value of both arms, which failed candidate runs are given for a pass.
    pub imputed_value: Option<f64>,
    /// Lower bound of the improvement with failed candidate runs at that value.
    pub imputed_lower: Option<f64>,
    /// Upper bound with them.
    pub imputed_upper: Option<f64>,
    /// The candidate's share of failures is within what is accepted.
    pub share_accepted: bool,
}

/// The permutation test beside the deciding one, against the same threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PermutationReport {
    /// One-sided p-value for a pass.
    pub p: PValue,
    /// The smallest value it could have taken with so few runs.
    pub floor: PValue,
    /// All relabellings were looked at.
    pub exact: bool,
    /// Relabellings looked at.
    pub relabellings: u64,
}

/// A bootstrap interval of the improvement, printed beside the deciding one from ten runs an arm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BootstrapReport {
    /// Name of the bootstrap method.
    pub method: &'static str,
    /// Lower end, in metric units of improvement.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Resamples drawn.
    pub resamples: u32,
}

/// Which look this is and what it spends of alpha.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LookReport {
    /// Looks planned.
    pub planned: u32,
    /// This look, from 1.
    pub current: u32,
    /// One-sided error rate of this look.
    pub alpha_used: f64,
    /// What the looks still to come may spend.
    pub alpha_left: f64,
}

/// A gate's verdict with its evidence.
///
/// Improvements are signed so that larger is better, whatever the direction of the metric; means, extremes and
/// imputed values are in the metric's own direction.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateReport {
    /// Layout of this report, [`GATE_SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Version of the program.
    pub version: &'static str,
    /// Name of the metric.
    pub metric: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Stable code of what decided, where it is not the interval alone.
    pub reason: Option<&'static str>,
    /// 0 pass, 1 fail, 3 inconclusive (unless mapped), 5 nothing to judge.
    pub exit_code: u8,
    /// The verdict in one sentence, in metric units.
    pub sentence: String,
    /// The claim tested.
    pub mode: Mode,
    /// The margin in metric units.
    pub margin: Option<f64>,
    /// What the improvement must exceed for a pass.
    pub threshold: Option<f64>,
    /// What it must stay below; only for `equivalent`.
    pub threshold_upper: Option<f64>,
    /// The deciding test.
    pub method: Option<Method>,
    /// The unit of inference.
    pub unit: &'static str,
    /// Baseline values (or pairs) in the deciding test.
    pub n_baseline: usize,
    /// Candidate values (or pairs) in the deciding test.
    pub n_candidate: usize,
    /// Estimated improvement.
    pub improvement: Option<f64>,
    /// Its standard error.
    pub standard_error: Option<f64>,
    /// Its degrees of freedom.
    pub degrees_of_freedom: Option<f64>,
    /// Two-sided confidence level of `lower` to `upper`: each is a one-sided bound at this look's alpha.
    pub level: f64,
    /// Lower bound of the improvement.
    pub lower: Option<f64>,
    /// Upper bound of the improvement.
    pub upper: Option<f64>,
    /// One-sided p-value for a pass.
    pub p_pass: Option<PValue>,
    /// One-sided p-value for a fail.
    pub p_fail: Option<PValue>,
    /// The baseline.
    pub baseline: ArmReport,
    /// The candidate.
    pub candidate: ArmReport,
    /// Failed runs.
    pub failures: Option<FailureReport>,
    /// The permutation test.
    pub permutation: Option<PermutationReport>,
    /// The improvement in standard deviations.
    pub hedges_g: Option<StandardizedDifference>,
    /// P(a candidate run is better than a baseline run), ties half; from five runs an arm.
    pub a12: Option<ProbabilityOfSuperiority>,
    /// Bootstrap intervals at `level`: bootstrap-t from ten runs an arm, BCa from fifty.
    pub bootstrap: Vec<BootstrapReport>,
    /// The declared strata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strata: Option<StrataReport>,
    /// Undeclared keys within which the improvement has the other sign.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reversals: Vec<Reversal>,
    /// Batches of runs, where a key says which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batches: Option<BatchReport>,
    /// Looks and alpha.
    pub look: LookReport,
    /// Runs needed; with every inconclusive verdict for which a spread is known.
    pub seeds: Option<SeedPlan>,
    /// Warnings, in a fixed order.
    pub warnings: Vec<Warning>,
    /// Every parameter as given.
    pub parameters: GateParameters,
}
