//! The estimated improvement and its two one-sided bounds.

use crate::error::{AnalysisError, Result};
use crate::moments::Moments;
use crate::p_value::PValue;
use crate::strata::equal_weight_test;
use crate::t_test::{Alternative, TTest, one_sample, student_of_moments, welch_of_moments};

use super::arms::Samples;
use super::batches::BatchError;
use super::parameters::Mode;
use super::strata::mean_difference;

/// The test that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Welch's t on two arms.
    Welch,
    /// One-sample t on the differences of declared pairs.
    PairedT,
    /// The equal-weight mean of the differences within declared strata, with their variances as Welch's.
    Stratified,
    /// Student's t with one variance, because it was asked for by name.
    Student,
    /// Two constant arms of a deterministic training, compared exactly.
    Exact,
}

impl Method {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Welch => "welch",
            Self::PairedT => "paired_t",
            Self::Stratified => "stratified",
            Self::Student => "student",
            Self::Exact => "exact",
        }
    }

    /// Words for the text report.
    pub fn title(self) -> &'static str {
        match self {
            Self::Welch => "Welch t",
            Self::PairedT => "paired t",
            Self::Stratified => "Welch t within strata",
            Self::Student => "Student t (equal variances assumed)",
            Self::Exact => "exact comparison",
        }
    }
}

/// Where the claim begins and ends, in metric units of improvement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Threshold {
    pub(crate) mode: Mode,
    /// The margin in metric units.
    pub(crate) margin: f64,
}

impl Threshold {
    /// The value that the improvement must exceed.
    pub(crate) fn low(self) -> f64 {
        match self.mode {
            Mode::Better => self.margin,
            Mode::NotWorse | Mode::Equivalent => -self.margin,
        }
    }

    /// The value that the improvement must stay below.
    pub(crate) fn high(self) -> Option<f64> {
        (self.mode == Mode::Equivalent).then_some(self.margin)
    }

    pub(crate) fn is_met(self, estimate: &Estimate) -> bool {
        estimate.lower > self.low() && self.high().is_none_or(|high| estimate.upper < high)
    }

    pub(crate) fn is_missed(self, estimate: &Estimate) -> bool {
        estimate.upper < self.low() || self.high().is_some_and(|high| estimate.lower > high)
    }

    /// Distance of the improvement from the nearest edge of the claim, and whether it lies inside.
    pub(crate) fn distance(self, difference: f64) -> (f64, bool) {
        let above = difference - self.low();
        match self.high() {
            None => (above.abs(), above >= 0.0),
            Some(high) => (above.abs().min((high - difference).abs()), above >= 0.0 && difference <= high),
        }
    }
}

/// The improvement with its two one-sided bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) method: Method,
    pub(crate) difference: f64,
    pub(crate) standard_error: f64,
    pub(crate) degrees_of_freedom: Option<f64>,
    pub(crate) lower: f64,
    pub(crate) upper: f64,
    pub(crate) p_pass: Option<PValue>,
    pub(crate) p_fail: Option<PValue>,
    pub(crate) one_arm_constant: bool,
}

impl Estimate {
    fn of(test: &TTest, method: Method, alpha: f64, threshold: Threshold) -> Result<Self> {
        let [lower, upper] = test.interval(1.0 - 2.0 * alpha, Alternative::TwoSided)?;
        let above_low = test.p_value_against(threshold.low(), Alternative::Greater);
        let below_low = test.p_value_against(threshold.low(), Alternative::Less);
        // Both edges must be cleared to pass, one missed to fail.
        let (pass, fail) = match threshold.high() {
            None => (above_low, below_low),
            Some(high) => (
                test.p_equivalence(threshold.low(), high),
                below_low.min(test.p_value_against(high, Alternative::Greater)),
            ),
        };
        Ok(Self {
            method,
            difference: test.difference,
            standard_error: test.standard_error,
            degrees_of_freedom: Some(test.degrees_of_freedom),
            lower,
            upper,
            p_pass: Some(PValue::new(pass)),
            p_fail: Some(PValue::new(fail)),
            one_arm_constant: test.one_sample_constant,
        })
    }

    /// A difference without any spread.
    pub(crate) fn exact(difference: f64) -> Self {
        Self {
            method: Method::Exact,
            difference,
            standard_error: 0.0,
            degrees_of_freedom: None,
            lower: difference,
            upper: difference,
            p_pass: None,
            p_fail: None,
            one_arm_constant: false,
        }
    }
}

/// Estimates the improvement.
///
/// # Errors
/// `zero_variance` (with the exact difference) when nothing varies, `too_few_runs`.
pub(crate) fn estimate(
    samples: &Samples,
    equal_variance: bool,
    alpha: f64,
    threshold: Threshold,
    batches: Option<&BatchError>,
) -> Result<Estimate> {
    match samples {
        Samples::Pairs(differences) => {
            Estimate::of(&one_sample(differences, 0.0)?, Method::PairedT, alpha, threshold)
        }
        Samples::Stratified(strata) => {
            for stratum in strata {
                let have = stratum.baseline.len().min(stratum.candidate.len());
                if have < 2 {
                    let sample = format!("an arm of stratum {}", stratum.name);
                    return Err(AnalysisError::TooFewRuns { sample, have, need: 2 });
                }
            }
            let parts: Vec<_> = strata.iter().map(|stratum| stratum.moments()).collect();
            let difference = mean_difference(strata).unwrap_or(0.0);
            let test =
                equal_weight_test(difference, &parts).ok_or(AnalysisError::ZeroVariance { difference })?;
            Estimate::of(&test, Method::Stratified, alpha, threshold)
        }
        Samples::Independent { baseline, candidate } => {
            let need = if equal_variance { 1 } else { 2 };
            for (name, arm) in [("the baseline", baseline), ("the candidate", candidate)] {
                if arm.len() < need {
                    return Err(AnalysisError::TooFewRuns { sample: name.into(), have: arm.len(), need });
                }
            }
            let (candidate, baseline) = (Moments::of(candidate), Moments::of(baseline));
            let (test, method) = if equal_variance {
                (student_of_moments(&candidate, &baseline)?, Method::Student)
            } else {
                (welch_of_moments(&candidate, &baseline)?, Method::Welch)
            };
            let test = batches.map_or(test, |batches| batches.widened(test));
            Estimate::of(&test, method, alpha, threshold)
        }
    }
}

/// The difference of two arms that each hold one single value, however often; `None` if anything varies.
pub(crate) fn constant_difference(samples: &Samples) -> Option<f64> {
    match samples {
        Samples::Pairs(differences) => {
            let moments = Moments::of(differences);
            (moments.count() > 0 && moments.is_constant()).then_some(moments.mean()?)
        }
        Samples::Stratified(strata) => {
            let constant = |stratum: &super::strata::Stratum| {
                let (baseline, candidate) = stratum.moments();
                baseline.is_constant() && candidate.is_constant()
            };
            strata.iter().all(constant).then(|| mean_difference(strata))?
        }
        Samples::Independent { baseline, candidate } => {
            let (candidate, baseline) = (Moments::of(candidate), Moments::of(baseline));
            let constant = candidate.is_constant() && baseline.is_constant();
            constant.then_some(candidate.mean()? - baseline.mean()?)
        }
    }
}
