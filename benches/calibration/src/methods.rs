//! Single methods beside the gate, on the same data at the same level.

use analysis::{Alternative, AnalysisError, TTest, brunner_munzel, student, welch, yuen};
use kernels::{
    Backend as _, BootstrapRequest, CpuBackend, Design, Method as Bootstrap, PermutationRequest,
    PermutationStatistic, Samples,
};
use rayon::prelude::*;

use crate::ALPHA;
use crate::error::Result;
use crate::shares::Share;
use crate::worlds::World;

/// Resamples of each bootstrap and, where not all are counted, of each permutation test.
const RESAMPLES: u32 = 9_999;

/// A way to say that the candidate is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Welch's t: what decides in the gate.
    Welch,
    /// Student's t with one variance.
    Student,
    /// All splits up to 200,000, else drawn ones, of Welch's t.
    Permutation,
    /// Bootstrap-t interval.
    BootstrapT,
    /// Bias-corrected and accelerated bootstrap interval.
    Bca,
    /// Percentile bootstrap interval.
    Percentile,
    /// Yuen's t of 20 % trimmed means.
    Yuen,
    /// Exact rank sum.
    MannWhitney,
    /// Brunner and Munzel's t.
    BrunnerMunzel,
    /// The candidate's mean is larger.
    LargerMean,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Welch,
        Self::Student,
        Self::Permutation,
        Self::BootstrapT,
        Self::Bca,
        Self::Percentile,
        Self::Yuen,
        Self::MannWhitney,
        Self::BrunnerMunzel,
        Self::LargerMean,
    ];

    /// Its name in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Welch => "**Welch t (decides)**",
            Self::Student => "Student t",
            Self::Permutation => "permutation",
            Self::BootstrapT => "bootstrap-t",
            Self::Bca => "BCa bootstrap",
            Self::Percentile => "percentile bootstrap",
            Self::Yuen => "Yuen, 20 % trimmed",
            Self::MannWhitney => "Mann-Whitney",
            Self::BrunnerMunzel => "Brunner-Munzel",
            Self::LargerMean => "larger mean",
        }
    }

    /// It speaks of the difference of means. The others ask how often one run beats another, or of trimmed means.
    pub fn is_of_means(self) -> bool {
        !matches!(self, Self::Yuen | Self::MannWhitney | Self::BrunnerMunzel)
    }
}

/// What came of one method.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MethodCounts {
    /// Called a candidate better that was not.
    pub wrong: Share,
    /// Called one better that was, by the effect.
    pub found: Share,
    /// The two-sided 90 % interval held the truth; `None` for methods without one.
    pub covered: Option<Share>,
}

/// All methods on the same repetitions of a world, without a difference and with the candidate better by `effect`.
///
/// # Errors
/// When a kernel refuses the data.
pub fn compare_methods(
    world: &World,
    runs: usize,
    effect: f64,
    repetitions: u32,
) -> Result<Vec<(Method, MethodCounts)>> {
    let arms: Vec<[Vec<f64>; 2]> =
        (0..repetitions).into_par_iter().map(|repetition| world.arms(repetition, runs)).collect();
    Method::ALL.into_iter().map(|method| Ok((method, counts(method, &arms, effect)?))).collect()
}

fn counts(method: Method, arms: &[[Vec<f64>; 2]], effect: f64) -> Result<MethodCounts> {
    let of_tests = |test: fn(&[f64], &[f64]) -> analysis::Result<TTest>| {
        let interval = |[baseline, candidate]: &[Vec<f64>; 2]| match test(candidate, baseline) {
            Ok(test) => test.interval(1.0 - 2.0 * ALPHA, Alternative::TwoSided).map(Some),
            // Constant arms, or too few values: nothing is said.
            Err(error) if error.is_data_error() => Ok(None),
            Err(error) => Err(error),
        };
        arms.par_iter().map(interval).collect::<analysis::Result<Vec<_>>>()
    };
    Ok(match method {
        Method::Welch => by_interval(&of_tests(welch)?, effect),
        Method::Student => by_interval(&of_tests(student)?, effect),
        Method::Yuen => {
            let trimmed = |a: &[f64], b: &[f64]| match a.len() {
                // Without anything to trim it is Welch's.
                0..5 => Err(AnalysisError::TooFewRuns { sample: String::new(), have: a.len(), need: 5 }),
                _ => yuen(a, b, 0.2),
            };
            MethodCounts { covered: None, ..by_interval(&of_tests(trimmed)?, effect) }
        }
        Method::Percentile => by_interval(&bootstrap(arms, Bootstrap::Percentile)?, effect),
        Method::Bca => by_interval(&bootstrap(arms, Bootstrap::Bca)?, effect),
        Method::BootstrapT => by_interval(&bootstrap(arms, Bootstrap::Studentized)?, effect),
        Method::Permutation => by_p(effect, |effect| relabelled(arms, effect, PermutationStatistic::WelchT))?,
        Method::MannWhitney => {
            by_p(effect, |effect| relabelled(arms, effect, PermutationStatistic::RankSum))?
        }
        Method::BrunnerMunzel => by_p(effect, |effect| {
            let p = |[baseline, candidate]: &[Vec<f64>; 2]| {
                let moved: Vec<f64> = candidate.iter().map(|value| value + effect).collect();
                match brunner_munzel(&moved, baseline, 0.95) {
                    Ok(test) => test.p_value(Alternative::Greater).value(),
                    Err(_) => 1.0,
                }
            };
            Ok(arms.par_iter().map(p).collect())
        })?,
        Method::LargerMean => by_p(effect, |effect| {
            let p = |[baseline, candidate]: &[Vec<f64>; 2]| {
                let difference = candidate.iter().sum::<f64>() - baseline.iter().sum::<f64>();
                f64::from(u8::from(difference / candidate.len() as f64 + effect <= 0.0))
            };
            Ok(arms.iter().map(p).collect())
        })?,
    })
}

/// Intervals of differences of location move with the data, so that one of equal arms tells of unequal ones as well.
fn by_interval(intervals: &[Option<[f64; 2]>], effect: f64) -> MethodCounts {
    let (mut wrong, mut found, mut covered) = (Share::default(), Share::default(), Share::default());
    for interval in intervals {
        wrong.add(interval.is_some_and(|[low, _]| low > 0.0));
        found.add(interval.is_some_and(|[low, _]| low + effect > 0.0));
        covered.add(interval.is_some_and(|[low, high]| low <= 0.0 && 0.0 <= high));
    }
    MethodCounts { wrong, found, covered: Some(covered) }
}

fn by_p(effect: f64, p_values: impl Fn(f64) -> Result<Vec<f64>>) -> Result<MethodCounts> {
    let share = |effect: f64| -> Result<Share> {
        let mut share = Share::default();
        p_values(effect)?.into_iter().for_each(|p| share.add(p <= ALPHA));
        Ok(share)
    };
    Ok(MethodCounts { wrong: share(0.0)?, found: share(effect)?, covered: None })
}

/// Values of all repetitions one after the other, and where each begins.
fn flat(arms: &[[Vec<f64>; 2]], arm: usize, moved: f64) -> (Vec<f64>, Vec<u32>) {
    let (mut values, mut offsets) = (Vec::new(), vec![0]);
    for arms in arms {
        values.extend(arms[arm].iter().map(|value| value + moved));
        // Some ten thousand repetitions of twenty values.
        offsets.push(values.len() as u32);
    }
    (values, offsets)
}

fn bootstrap(arms: &[[Vec<f64>; 2]], method: Bootstrap) -> Result<Vec<Option<[f64; 2]>>> {
    let ((baseline, starts), (candidate, candidate_starts)) = (flat(arms, 0, 0.0), flat(arms, 1, 0.0));
    let baseline = Samples { values: &baseline, offsets: &starts };
    let candidate = Samples { values: &candidate, offsets: &candidate_starts };
    let request = BootstrapRequest::mean_difference(candidate, baseline)
        .method(method)
        .level(1.0 - 2.0 * ALPHA)
        .resamples(RESAMPLES);
    let output = CpuBackend::new().bootstrap(&request)?;
    let ends = output.low.iter().zip(&output.high);
    Ok(ends.map(|(low, high)| (low.is_finite() && high.is_finite()).then_some([*low, *high])).collect())
}

fn relabelled(arms: &[[Vec<f64>; 2]], effect: f64, statistic: PermutationStatistic) -> Result<Vec<f64>> {
    let ((baseline, starts), (candidate, candidate_starts)) = (flat(arms, 0, 0.0), flat(arms, 1, effect));
    let baseline = Design::TwoSamples(Samples { values: &baseline, offsets: &starts });
    let candidate = Samples { values: &candidate, offsets: &candidate_starts };
    let request = PermutationRequest::new(candidate, baseline, statistic)
        .resamples(RESAMPLES)
        .max_exact(analysis::EXACT_MAX);
    Ok(CpuBackend::new().permutation(&request)?.p_greater)
}
