//! Exact permutation tests: how often a relabelling of the runs looks at least as extreme.
//!
//! Up to [`EXACT_MAX`] relabellings all of them are counted (Pitman 1937); beyond, a seeded random sample of
//! them is, and then p = (hits + 1) / (samples + 1), which is never 0 and never too small (Phipson & Smyth 2010).

use rayon::prelude::*;

use crate::describe::finite_sample;
use crate::error::{AnalysisError, Result};
use crate::moments::Moments;
use crate::p_value::PValue;

/// Up to this many splits of two samples all are enumerated.
pub const EXACT_MAX: u64 = 200_000;

/// Up to this many pairs all sign patterns are enumerated (2^17 = 131,072).
const PAIRS_EXACT_MAX: usize = 17;

/// What is compared between the arms of a relabelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PermutationStatistic {
    /// Welch's t: stays valid in large samples when the variances differ (Janssen 1997).
    WelchT,
    /// mean(a) - mean(b).
    MeanDifference,
}

/// How random relabellings are drawn when there are too many to enumerate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Resampling {
    /// Relabellings drawn.
    pub resamples: u32,
    /// Seed; the same seed gives the same p-value on every machine.
    pub seed: u64,
}

impl Default for Resampling {
    fn default() -> Self {
        Self { resamples: 9_999, seed: 0 }
    }
}

/// The result of a permutation test.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct PermutationTest {
    /// The statistic of the observed labels; infinite when both arms are constant and differ.
    pub statistic: f64,
    /// P(statistic at least as large), one-sided.
    pub p_greater: PValue,
    /// P(statistic at most as large), one-sided.
    pub p_less: PValue,
    /// Twice the smaller one-sided p-value, at most 1.
    pub p_two_sided: PValue,
    /// Relabellings looked at.
    pub relabellings: u64,
    /// All relabellings were looked at.
    pub exact: bool,
    /// The smallest one-sided p-value that any data of this size could reach.
    pub p_minimum: PValue,
}

/// Tests two independent samples by all (or many) splits of the pooled values.
///
/// # Errors
/// `empty_sample`, `nonfinite_value`, `too_few_runs` (fewer than two values in a sample for
/// [`PermutationStatistic::WelchT`]), `invalid_argument` (no resamples).
///
/// # Examples
/// ```
/// use analysis::{PermutationStatistic, Resampling, permutation_test};
/// let (a, b) = ([3.1, 3.3, 3.2], [1.0, 1.2, 1.1]);
/// let test = permutation_test(&a, &b, PermutationStatistic::WelchT, Resampling::default())?;
/// assert_eq!(test.p_greater.value(), 0.05);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn permutation_test(
    a: &[f64],
    b: &[f64],
    statistic: PermutationStatistic,
    resampling: Resampling,
) -> Result<PermutationTest> {
    let need = if statistic == PermutationStatistic::WelchT { 2 } else { 1 };
    let (a, b) = (finite_sample("sample a", a, need)?, finite_sample("sample b", b, need)?);
    let pool = Pool::of(&a, &b);
    let observed = pool.statistic_of(&pool.members_of_a, statistic);
    let size = pool.members_of_a.len();
    let splits = binomial_coefficient(pool.values.len() as u64, size as u64);
    let mut tally = Tally::new(observed, pool.tie_width(observed, statistic));
    match splits {
        Some(splits) if splits <= EXACT_MAX => {
            let mut members: Vec<u32> = (0..size as u32).collect();
            loop {
                tally.count(pool.statistic_of(&members, statistic));
                if !next_combination(&mut members, pool.values.len() as u32) {
                    break;
                }
            }
            Ok(tally.exact())
        }
        _ => {
            check_resampling(resampling)?;
            let stream = random_stream(resampling.seed, kernels::rng::Tag::Subset);
            let statistics: Vec<f64> = (0..resampling.resamples)
                .into_par_iter()
                .map(|i| {
                    pool.statistic_of(&stream.subset(pool.values.len() as u32, size as u32, i), statistic)
                })
                .collect();
            statistics.into_iter().for_each(|value| tally.count(value));
            Ok(tally.sampled())
        }
    }
}

/// Tests paired differences by all (or many) patterns of their signs (Fisher 1935), with the mean as statistic.
///
/// # Errors
/// `empty_sample`, `nonfinite_value`, `invalid_argument` (no resamples).
pub fn sign_flip_test(differences: &[f64], resampling: Resampling) -> Result<PermutationTest> {
    let differences = finite_sample("the differences", differences, 1)?;
    let n = differences.len();
    let largest = differences.iter().fold(0.0f64, |m, d| m.max(d.abs()));
    let mean = |sign_of: &dyn Fn(usize) -> bool| {
        let signed = differences.iter().enumerate().map(|(i, d)| if sign_of(i) { -d } else { *d });
        signed.sum::<f64>() / n as f64
    };
    let observed = mean(&|_| false);
    let mut tally = Tally::new(observed, 1e-9 * observed.abs() + 1e-13 * largest);
    if n <= PAIRS_EXACT_MAX {
        for pattern in 0..1u32 << n {
            tally.count(mean(&|i| pattern >> i & 1 == 1));
        }
        return Ok(tally.exact());
    }
    check_resampling(resampling)?;
    let stream = random_stream(resampling.seed, kernels::rng::Tag::Signs);
    for resample in 0..resampling.resamples {
        let words = stream.sign_words(n.div_ceil(32), resample);
        tally.count(mean(&|i| words[i / 32] >> (i % 32) & 1 == 1));
    }
    let mut test = tally.sampled();
    test.p_minimum = PValue::new(test.p_minimum.value().max(0.5f64.powi(n as i32)));
    Ok(test)
}

fn random_stream(seed: u64, tag: kernels::rng::Tag) -> kernels::rng::Stream {
    kernels::rng::Stream { seed, stream: 0, tag, sub: 0 }
}

fn check_resampling(resampling: Resampling) -> Result<()> {
    if resampling.resamples > 0 {
        return Ok(());
    }
    Err(AnalysisError::InvalidArgument {
        name: "resamples",
        value: "0".into(),
        expected: "at least 1, better 9999",
    })
}

/// The values of both samples, ascending, at an offset and scale at which sums keep their digits.
struct Pool {
    values: Vec<f64>,
    members_of_a: Vec<u32>,
}

impl Pool {
    fn of(a: &[f64], b: &[f64]) -> Self {
        let mut labelled: Vec<(f64, bool)> =
            a.iter().map(|v| (*v, true)).chain(b.iter().map(|v| (*v, false))).collect();
        labelled.sort_by(|x, y| x.0.total_cmp(&y.0).then(y.1.cmp(&x.1)));
        let all: Vec<f64> = labelled.iter().map(|(v, _)| *v).collect();
        let center = Moments::of(&all).mean().unwrap_or(0.0);
        let scale = all.iter().fold(0.0f64, |m, v| m.max((v - center).abs()));
        // A constant pool stays all zero; a scale that overflowed leaves the values as they are.
        let scale = if scale > 0.0 && scale.is_finite() { scale } else { 1.0 };
        Self {
            values: all.iter().map(|v| (v - center) / scale).collect(),
            members_of_a: (0..labelled.len() as u32).filter(|&i| labelled[i as usize].1).collect(),
        }
    }

    /// The statistic when `members` (ascending indices) form sample a. Mean differences are in units of the
    /// largest distance from the pooled mean.
    fn statistic_of(&self, members: &[u32], statistic: PermutationStatistic) -> f64 {
        let total = self.values.len();
        let (na, nb) = (members.len() as f64, (total - members.len()) as f64);
        let (mut sum_a, mut sum_b) = (0.0, 0.0);
        self.for_each(members, |value, in_a| if in_a { sum_a += value } else { sum_b += value });
        let (mean_a, mean_b) = (sum_a / na, sum_b / nb);
        let difference = mean_a - mean_b;
        if statistic == PermutationStatistic::MeanDifference {
            return difference;
        }
        let (mut squares_a, mut squares_b) = (0.0, 0.0);
        self.for_each(members, |value, in_a| {
            if in_a { squares_a += (value - mean_a).powi(2) } else { squares_b += (value - mean_b).powi(2) }
        });
        let error = squares_a / (na - 1.0) / na + squares_b / (nb - 1.0) / nb;
        // Rounding leaves about 1e-32 of spread in constant arms.
        if error > 1e-30 {
            difference / error.sqrt()
        } else if difference.abs() < 1e-15 {
            0.0
        } else {
            f64::INFINITY.copysign(difference)
        }
    }

    fn for_each(&self, members: &[u32], mut visit: impl FnMut(f64, bool)) {
        let mut next = members.iter().peekable();
        for (i, &value) in self.values.iter().enumerate() {
            let in_a = next.next_if(|&&m| m as usize == i).is_some();
            visit(value, in_a);
        }
    }

    /// Statistics closer than this are equal but for rounding.
    fn tie_width(&self, observed: f64, statistic: PermutationStatistic) -> f64 {
        let rounding = if statistic == PermutationStatistic::MeanDifference { 1e-13 } else { 1e-12 };
        if observed.is_finite() { 1e-9 * observed.abs() + rounding } else { 0.0 }
    }
}

struct Tally {
    observed: f64,
    tie_width: f64,
    relabellings: u64,
    at_least: u64,
    at_most: u64,
}

impl Tally {
    fn new(observed: f64, tie_width: f64) -> Self {
        Self { observed, tie_width, relabellings: 0, at_least: 0, at_most: 0 }
    }

    fn count(&mut self, value: f64) {
        self.relabellings += 1;
        self.at_least += u64::from(value >= self.observed - self.tie_width);
        self.at_most += u64::from(value <= self.observed + self.tie_width);
    }

    fn exact(&self) -> PermutationTest {
        self.result(0, true)
    }

    fn sampled(&self) -> PermutationTest {
        self.result(1, false)
    }

    /// `observed_again` counts the observed labels themselves, when they were not among those drawn.
    fn result(&self, observed_again: u64, exact: bool) -> PermutationTest {
        let all = (self.relabellings + observed_again) as f64;
        let greater = (self.at_least + observed_again) as f64 / all;
        let less = (self.at_most + observed_again) as f64 / all;
        PermutationTest {
            statistic: self.observed,
            p_greater: PValue::new(greater),
            p_less: PValue::new(less),
            p_two_sided: PValue::new((2.0 * greater.min(less)).min(1.0)),
            relabellings: self.relabellings,
            exact,
            p_minimum: PValue::new(1.0 / all),
        }
    }
}

/// n choose k, or `None` beyond 2^53.
pub(crate) fn binomial_coefficient(n: u64, k: u64) -> Option<u64> {
    let k = k.min(n.checked_sub(k)?);
    let mut product: u128 = 1;
    for i in 0..k {
        product = product * u128::from(n - i) / u128::from(i + 1);
        if product > 1 << 53 {
            return None;
        }
    }
    Some(product as u64)
}

/// The next subset of `0..n` in lexicographic order; false after the last.
fn next_combination(members: &mut [u32], n: u32) -> bool {
    let size = members.len();
    for i in (0..size).rev() {
        if members[i] < n - (size - i) as u32 {
            members[i] += 1;
            for j in i + 1..size {
                members[j] = members[j - 1] + 1;
            }
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_are_complete() {
        let mut members = vec![0, 1, 2];
        let mut count = 1;
        while next_combination(&mut members, 7) {
            count += 1;
        }
        assert_eq!(Some(count), binomial_coefficient(7, 3));
        assert_eq!(binomial_coefficient(20, 10), Some(184_756));
        assert_eq!(binomial_coefficient(200, 100), None);
        assert_eq!(binomial_coefficient(3, 5), None);
    }

    #[test]
    fn a_large_offset_changes_nothing() {
        let (a, b) = ([1.0, 4.0, 2.5, 3.0], [0.5, 1.5, 2.0]);
        let shift = |values: &[f64]| values.iter().map(|v| v + 1e9).collect::<Vec<_>>();
        let run = |a: &[f64], b: &[f64]| {
            permutation_test(a, b, PermutationStatistic::WelchT, Resampling::default()).unwrap()
        };
        assert_eq!(run(&a, &b).p_greater, run(&shift(&a), &shift(&b)).p_greater);
    }

    #[test]
    fn sampled_and_exact_tests_agree() {
        let a: Vec<f64> = (0..10).map(|i| 0.3 + f64::from(i * 7 % 10) / 10.0).collect();
        let b: Vec<f64> = (0..10).map(|i| f64::from(i * 3 % 10) / 9.0).collect();
        let exact = permutation_test(&a, &b, PermutationStatistic::WelchT, Resampling::default()).unwrap();
        assert!(exact.exact);
        // One more run each makes 646,646 splits: too many to enumerate.
        let (more_a, more_b) = ([a.clone(), vec![0.75]].concat(), [b.clone(), vec![0.5]].concat());
        let run = |seed| {
            let resampling = Resampling { resamples: 9_999, seed };
            permutation_test(&more_a, &more_b, PermutationStatistic::WelchT, resampling).unwrap()
        };
        let sampled = run(7);
        assert!(!sampled.exact);
        assert_eq!(sampled.p_minimum.value(), 1e-4);
        assert!((sampled.p_greater.value() - exact.p_greater.value()).abs() < 0.03);
        assert_eq!(sampled, run(7));
        assert_ne!(sampled.p_greater, run(8).p_greater);
    }

    #[test]
    fn many_pairs_are_sampled_by_sign() {
        let differences: Vec<f64> = (0..40).map(|i| f64::from(i % 5) - 1.2).collect();
        let test = sign_flip_test(&differences, Resampling::default()).unwrap();
        assert!(!test.exact && test.p_greater.value() < 0.01);
        let all_positive = sign_flip_test(&[1.0, 2.0, 3.0, 4.0, 5.0], Resampling::default()).unwrap();
        assert_eq!(all_positive.p_greater.value(), 1.0 / 32.0);
    }

    #[test]
    fn constant_arms_have_an_infinite_statistic_but_a_p_value() {
        let test =
            permutation_test(&[2.0; 3], &[1.0; 3], PermutationStatistic::WelchT, Resampling::default())
                .unwrap();
        assert_eq!(test.statistic, f64::INFINITY);
        assert_eq!(test.p_greater.value(), 0.05);
    }
}
