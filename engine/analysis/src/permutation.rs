//! Permutation tests: how often a relabelling of the runs looks at least as extreme. The kernels count; here samples
//! are checked, and it is decided how far all relabellings are counted.
//!
//! Up to [`EXACT_MAX`] relabellings all of them are counted (Pitman 1937); beyond, a seeded random sample of
//! them is, and then p = (hits + 1) / (samples + 1), which is never 0 and never too small (Phipson & Smyth 2010).

use kernels::{Backend, CpuBackend, Design, PermutationRequest, Samples};
use statrs::function::factorial::binomial;

use crate::describe::finite_sample;
use crate::error::{AnalysisError, Result};
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

impl PermutationStatistic {
    fn of_kernels(self) -> kernels::PermutationStatistic {
        match self {
            Self::WelchT => kernels::PermutationStatistic::WelchT,
            Self::MeanDifference => kernels::PermutationStatistic::MeanDifference,
        }
    }
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
/// [`PermutationStatistic::WelchT`]), `resamples_out_of_range`.
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
    // One comparison is far too small for a device; the answer is the same on any.
    let mut tests = permutation_tests(&CpuBackend::new(), &[(a, b)], statistic, resampling);
    tests.pop().unwrap_or_else(|| Err(AnalysisError::EmptySample { sample: "the comparison".to_owned() }))
}

/// Tests many pairs of samples as [`permutation_test`] does each, all that are counted and all that are drawn in one
/// batch each. A pair that cannot be tested has an error of its own and keeps none of the others back.
pub fn permutation_tests(
    backend: &dyn Backend,
    pairs: &[(&[f64], &[f64])],
    statistic: PermutationStatistic,
    resampling: Resampling,
) -> Vec<Result<PermutationTest>> {
    let need = if statistic == PermutationStatistic::WelchT { 2 } else { 1 };
    let mut tests: Vec<Option<Result<PermutationTest>>> = vec![None; pairs.len()];
    let (mut counted, mut drawn) = (Batch::new(EXACT_MAX), Batch::new(0));
    for (number, (a, b)) in pairs.iter().enumerate() {
        let checked =
            finite_sample("sample a", a, need).and_then(|a| Ok((a, finite_sample("sample b", b, need)?)));
        match checked {
            Ok((a, b)) => {
                let splits = binomial((a.len() + b.len()) as u64, a.len() as u64);
                let batch = if splits <= EXACT_MAX as f64 { &mut counted } else { &mut drawn };
                batch.push(number, &a, &b);
            }
            Err(error) => tests[number] = Some(Err(error)),
        }
    }
    for batch in [counted, drawn] {
        let results = batch.run(backend, statistic, resampling);
        for (number, result) in batch.numbers.iter().zip(results) {
            tests[*number] = Some(result);
        }
    }
    // Every pair is refused, counted or drawn.
    tests.into_iter().flatten().collect()
}

/// Tests paired differences by all (or many) patterns of their signs (Fisher 1935), with the mean as statistic.
///
/// # Errors
/// `empty_sample`, `nonfinite_value`, `resamples_out_of_range`.
pub fn sign_flip_test(differences: &[f64], resampling: Resampling) -> Result<PermutationTest> {
    let differences = finite_sample("the differences", differences, 1)?;
    let offsets = [0, length(&differences)?];
    let samples = Samples { values: &differences, offsets: &offsets };
    let statistic = kernels::PermutationStatistic::MeanDifference;
    let max_exact = if differences.len() <= PAIRS_EXACT_MAX { 1 << PAIRS_EXACT_MAX } else { 0 };
    let request = PermutationRequest::new(samples, Design::Signs, statistic)
        .max_exact(max_exact)
        .resamples(resampling.resamples)
        .seed(resampling.seed);
    Ok(result(&CpuBackend::new().permutation(&request)?, 0))
}

fn length(values: &[f64]) -> Result<u32> {
    u32::try_from(values.len()).map_err(|_| AnalysisError::InvalidArgument {
        name: "number of values",
        value: values.len().to_string(),
        expected: "fewer than 2^32",
    })
}

/// Pairs of samples that are tested in the same way.
struct Batch {
    max_exact: u64,
    numbers: Vec<usize>,
    values: [Vec<f64>; 2],
    ends: [Vec<usize>; 2],
}

impl Batch {
    fn new(max_exact: u64) -> Self {
        Self { max_exact, numbers: Vec::new(), values: Default::default(), ends: [vec![0], vec![0]] }
    }

    fn push(&mut self, number: usize, a: &[f64], b: &[f64]) {
        self.numbers.push(number);
        for (side, sample) in [a, b].into_iter().enumerate() {
            self.values[side].extend_from_slice(sample);
            self.ends[side].push(self.values[side].len());
        }
    }

    fn run(
        &self,
        backend: &dyn Backend,
        statistic: PermutationStatistic,
        resampling: Resampling,
    ) -> Vec<Result<PermutationTest>> {
        if self.numbers.is_empty() {
            return Vec::new();
        }
        match self.outputs(backend, statistic, resampling) {
            Ok(output) => (0..self.numbers.len()).map(|comparison| Ok(result(&output, comparison))).collect(),
            Err(error) => self.numbers.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    fn outputs(
        &self,
        backend: &dyn Backend,
        statistic: PermutationStatistic,
        resampling: Resampling,
    ) -> Result<kernels::PermutationOutput> {
        // Offsets rise to the number of values, so that they fit when it does.
        let offsets = |side: usize| -> Result<Vec<u32>> {
            length(&self.values[side])?;
            Ok(self.ends[side].iter().map(|end| *end as u32).collect())
        };
        let (first, second) = (offsets(0)?, offsets(1)?);
        let second = Samples { values: &self.values[1], offsets: &second };
        let first = Samples { values: &self.values[0], offsets: &first };
        let request = PermutationRequest::new(first, Design::TwoSamples(second), statistic.of_kernels())
            .max_exact(self.max_exact)
            .resamples(resampling.resamples)
            .seed(resampling.seed);
        Ok(backend.permutation(&request)?)
    }
}

fn result(output: &kernels::PermutationOutput, comparison: usize) -> PermutationTest {
    let p = |values: &[f64]| PValue::new(values[comparison]);
    PermutationTest {
        statistic: output.statistic[comparison],
        p_greater: p(&output.p_greater),
        p_less: p(&output.p_less),
        p_two_sided: p(&output.p_two_sided),
        // Whole: at most EXACT_MAX or the number of draws.
        relabellings: output.relabellings[comparison] as u64,
        exact: output.computation[comparison] != kernels::PermutationComputation::Resampling,
        p_minimum: p(&output.p_minimum),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn narrow_arms_far_apart_keep_their_digits() {
        let (a, b) = ([1e6 + 0.001, 1e6 + 0.003, 1e6 + 0.002], [0.001, 0.004, 0.002]);
        let test = permutation_test(&a, &b, PermutationStatistic::WelchT, Resampling::default()).unwrap();
        let welch = crate::t_test::welch(&a, &b).unwrap().statistic();
        assert!((test.statistic / welch - 1.0).abs() < 1e-6, "{} {welch}", test.statistic);
        assert_eq!(test.p_greater.value(), 0.05);
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

    #[test]
    fn equal_values_are_certain() {
        for statistic in [PermutationStatistic::WelchT, PermutationStatistic::MeanDifference] {
            let test = permutation_test(&[0.1; 3], &[0.1; 4], statistic, Resampling::default()).unwrap();
            assert!(test.exact);
            assert_eq!((test.statistic, test.p_greater.value(), test.p_less.value()), (0.0, 1.0, 1.0));
        }
    }

    #[test]
    fn a_batch_gives_what_each_pair_gives_alone() {
        let values: Vec<f64> = (0..24).map(|i| f64::from(i * 7 % 24) / 3.0).collect();
        let pairs: Vec<(&[f64], &[f64])> = vec![
            (&values[..3], &values[3..7]),
            (&values[..1], &values[1..4]),
            (&values[..12], &values[12..]),
            (&[], &values[..2]),
            (&[1.0, f64::NAN], &values[..2]),
            (&values[5..10], &values[10..14]),
        ];
        let resampling = Resampling { resamples: 499, seed: 3 };
        let backend = CpuBackend::new();
        let together = permutation_tests(&backend, &pairs, PermutationStatistic::WelchT, resampling);
        for ((a, b), test) in pairs.iter().zip(&together) {
            assert_eq!(*test, permutation_test(a, b, PermutationStatistic::WelchT, resampling));
        }
        let codes: Vec<_> =
            together.iter().map(|test| test.as_ref().map_err(AnalysisError::code).err()).collect();
        let (few, empty, failed) = (Some("too_few_runs"), Some("empty_sample"), Some("nonfinite_value"));
        assert_eq!(codes, [None, few, None, empty, failed, None]);
    }

    #[test]
    fn no_draws_are_refused() {
        let many: Vec<f64> = (0..40).map(f64::from).collect();
        let none = Resampling { resamples: 0, seed: 0 };
        let test = permutation_test(&many[..20], &many[20..], PermutationStatistic::WelchT, none);
        assert_eq!(test.unwrap_err().code(), "resamples_out_of_range");
        assert_eq!(sign_flip_test(&many, none).unwrap_err().code(), "resamples_out_of_range");
    }
}
