//! How many runs would settle an inconclusive gate.

use crate::distributions::chi_squared_quantile;
use crate::error::Result;
use crate::moments::Moments;
use crate::power::{Design, RUNS_MAX, Sides, detectable_effect, required_runs};

use super::arms::Samples;
use super::estimate::Threshold;
use super::parameters::{GateParameters, Mode};
use super::strata::mean_difference;

/// The planned number of runs is never below this.
const RUNS_MIN: usize = 3;

/// Effects are planned as if they were at most this many standard deviations.
const STANDARDIZED_MAX: f64 = 100.0;

/// Which verdict more runs would bring if the observed difference were the true one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Heading {
    /// The observed difference lies where the claim holds.
    Pass,
    /// It lies where the claim does not hold.
    Fail,
}

impl Heading {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
        }
    }
}

/// How many runs an arm (or pairs) would settle the question. `None` where no effect to plan for is known or
/// more than 10,000 runs are needed.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct SeedPlan {
    /// The improvement planned for, in metric units from the threshold: the margin for `not_worse` and
    /// `equivalent` (truth: no difference), `detect` minus the margin for `better`.
    pub planning_effect: Option<f64>,
    /// Standard deviation of one run (of one difference, if paired).
    pub sd_used: f64,
    /// Its 80 % upper confidence limit.
    pub sd_upper80: f64,
    /// Runs an arm with the wanted power at `sd_used`. From three runs this is too small 58 % of the time.
    pub n_needed: Option<usize>,
    /// The same at `sd_upper80`, too small 19 % of the time.
    pub n_needed_conservative: Option<usize>,
    /// Runs an arm that settle it if the observed difference is the true one (optimistic).
    pub n_needed_observed: Option<usize>,
    /// Towards which verdict `n_needed_observed` leads.
    pub heading: Heading,
    /// Candidate runs still missing to `n_needed`.
    pub more_candidate: Option<usize>,
    /// Baseline runs still missing to `n_needed`.
    pub more_baseline: Option<usize>,
    /// `n_needed` was already reached: the effect lies near the threshold.
    pub margin_was_powered: bool,
    /// The smallest effect, in metric units from the threshold, that `max_runs` runs an arm would show.
    pub detectable_at_max_runs: f64,
}

/// Plans from the spread and the difference seen so far; `None` while no spread can be estimated.
pub(crate) fn plan(
    samples: &Samples,
    parameters: &GateParameters,
    threshold: Threshold,
    detect: Option<f64>,
    alpha: f64,
) -> Result<Option<SeedPlan>> {
    let Some(spread) = Spread::of(samples) else {
        return Ok(None);
    };
    let design = match samples {
        Samples::Pairs(_) => Design::Paired,
        Samples::Independent { .. } | Samples::Stratified(_) => Design::BALANCED,
    };
    // Equivalence must clear both edges; with no true difference each may take half of the missing power.
    let wanted = match threshold.mode {
        Mode::Equivalent => 1.0 - 0.5 * (1.0 - parameters.power),
        Mode::Better | Mode::NotWorse => parameters.power,
    };
    let runs = |effect: f64, sd: f64| {
        // An effect that is nothing beside the spread is out of reach; a huge one needs the fewest runs.
        let standardized = (effect / sd).min(STANDARDIZED_MAX);
        if standardized == 0.0 || standardized.is_nan() {
            return Ok(None);
        }
        let runs_min = RUNS_MIN.max(parameters.min_runs).min(RUNS_MAX);
        required_runs(design, standardized, alpha, wanted, Sides::One, runs_min)
    };
    let planning_effect = match threshold.mode {
        Mode::Better => detect.map(|detect| detect - threshold.low()),
        Mode::NotWorse | Mode::Equivalent => Some(threshold.margin),
    };
    let planned = |sd: f64| planning_effect.map_or(Ok(None), |effect| runs(effect, sd));
    let n_needed = planned(spread.sd)?;
    let (distance, inside) = threshold.distance(spread.difference);
    let missing = |have: usize| n_needed.map(|need| need.saturating_sub(have));
    let detectable = detectable_effect(design, parameters.max_runs as f64, alpha, wanted, Sides::One)?;
    Ok(Some(SeedPlan {
        planning_effect,
        sd_used: spread.sd,
        sd_upper80: spread.sd_upper80,
        n_needed,
        n_needed_conservative: planned(spread.sd_upper80)?,
        n_needed_observed: runs(distance, spread.sd)?,
        heading: if inside { Heading::Pass } else { Heading::Fail },
        more_candidate: missing(samples.candidate_count()),
        more_baseline: missing(samples.baseline_count()),
        margin_was_powered: n_needed.is_some_and(|need| need <= samples.smaller_count()),
        detectable_at_max_runs: detectable * spread.sd,
    }))
}

struct Spread {
    sd: f64,
    sd_upper80: f64,
    difference: f64,
}

impl Spread {
    fn of(samples: &Samples) -> Option<Self> {
        let (sd, df, difference) = match samples {
            Samples::Pairs(differences) => {
                let moments = Moments::of(differences);
                (moments.standard_deviation()?, moments.count() as f64 - 1.0, moments.mean()?)
            }
            // Runs spread evenly over strata have the standard error of an unstratified arm with the mean of the variances.
            Samples::Stratified(strata) => {
                let (mut variances, mut df) = (0.0, 0.0);
                for stratum in strata {
                    let (baseline, candidate) = stratum.moments();
                    variances += 0.5 * (baseline.variance()? + candidate.variance()?);
                    df += (baseline.count() + candidate.count() - 2) as f64;
                }
                ((variances / strata.len() as f64).sqrt(), df, mean_difference(strata)?)
            }
            Samples::Independent { baseline, candidate } => {
                let (baseline, candidate) = (Moments::of(baseline), Moments::of(candidate));
                let difference = candidate.mean()? - baseline.mean()?;
                match (baseline.standard_deviation(), candidate.standard_deviation()) {
                    (Some(b), Some(c)) => {
                        let df = (baseline.count() + candidate.count() - 2) as f64;
                        (b.hypot(c) * std::f64::consts::FRAC_1_SQRT_2, df, difference)
                    }
                    // A single run shows no spread: the other arm's is taken for both.
                    (Some(b), None) => (b, baseline.count() as f64 - 1.0, difference),
                    (None, Some(c)) => (c, candidate.count() as f64 - 1.0, difference),
                    (None, None) => return None,
                }
            }
        };
        if sd == 0.0 || !sd.is_finite() {
            return None;
        }
        let sd_upper80 = sd * (df / chi_squared_quantile(0.2, df)).sqrt();
        Some(Self { sd, sd_upper80, difference })
    }
}
