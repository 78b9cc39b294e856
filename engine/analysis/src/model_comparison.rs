//! Tests made for comparing learning algorithms: resampled splits, 5x2 cross-validation, chances of being better.

use serde::Serialize;

use crate::describe::{finite_sample, sorted};
use crate::distributions::{f_sf, normal_quantile, student_t_sf};
use crate::effect_size::Superiority;
use crate::error::{AnalysisError, Result};
use crate::moments::Moments;
use crate::p_value::PValue;
use crate::permutation::Resampling;
use crate::t_test::TTest;

/// The corrected resampled t test (Nadeau & Bengio 2003): differences over splits of one data set are not
/// independent, so that their variance is multiplied by 1/k + n_test/n_train in place of 1/k.
///
/// # Errors
/// `empty_sample`, `nonfinite_value`, `too_few_runs` (one split), `zero_variance`, `invalid_argument` (an empty part).
///
/// # Examples
/// ```
/// let test = analysis::resampled_t(&[0.01, 0.03, -0.01, 0.02, 0.02], 900, 100)?;
/// let naive = analysis::one_sample(&[0.01, 0.03, -0.01, 0.02, 0.02], 0.0)?;
/// assert!(test.standard_error > naive.standard_error);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn resampled_t(differences: &[f64], train: u64, test: u64) -> Result<TTest> {
    for (name, value) in [("n_train", train), ("n_test", test)] {
        if value == 0 {
            let expected = "the number of examples, 1 or more";
            return Err(AnalysisError::InvalidArgument { name, value: value.to_string(), expected });
        }
    }
    let plain = crate::t_test::one_sample(differences, 0.0)?;
    let k = differences.len() as f64;
    Ok(TTest {
        standard_error: plain.standard_error * (1.0 + k * test as f64 / train as f64).sqrt(),
        ..plain
    })
}

/// Five replications of two-fold cross-validation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FiveByTwo {
    /// Dietterich's t (1998): the first difference over the root of the mean variance, 5 degrees of freedom.
    pub t: f64,
    /// Its two-sided p-value.
    pub p_t: PValue,
    /// Alpaydin's F (1998): all ten differences squared over twice the variances, (10, 5) degrees of freedom.
    pub f: f64,
    /// Its p-value.
    pub p_f: PValue,
}

/// The 5x2 cross-validation tests of two classifiers on one data set: the differences of both folds of each
/// replication.
///
/// # Errors
/// `nonfinite_value`, `zero_variance`.
pub fn five_by_two(differences: &[[f64; 2]; 5]) -> Result<FiveByTwo> {
    let count = differences.iter().flatten().filter(|d| !d.is_finite()).count();
    if count > 0 {
        return Err(AnalysisError::NonfiniteValue { sample: "the differences".into(), count });
    }
    // Two values differ from their mean by half of their distance.
    let variances: f64 = differences.iter().map(|[a, b]| 0.5 * (a - b) * (a - b)).sum();
    if variances == 0.0 {
        return Err(AnalysisError::ZeroVariance { difference: differences[0][0] });
    }
    let t = differences[0][0] / (variances / 5.0).sqrt();
    let f = differences.iter().flatten().map(|d| d * d).sum::<f64>() / (2.0 * variances);
    let p_t = PValue::new(2.0 * student_t_sf(t.abs(), 5.0));
    Ok(FiveByTwo { t, p_t, f, p_f: PValue::new(f_sf(f, 10.0, 5.0)) })
}

/// The share of pairs in which `a` is larger, ties counting half (Bouthillier et al. 2021).
///
/// # Errors
/// `pairing_mismatch`, `empty_sample`, `nonfinite_value`.
pub fn paired_wins(a: &[f64], b: &[f64]) -> Result<f64> {
    if a.len() != b.len() {
        let detail = format!("{} values against {}", a.len(), b.len());
        return Err(AnalysisError::PairingMismatch { detail });
    }
    finite_sample("sample a", a, 1)?;
    finite_sample("sample b", b, 1)?;
    let points = |(a, b): (&f64, &f64)| {
        if a > b {
            1.0
        } else if a == b {
            0.5
        } else {
            0.0
        }
    };
    Ok(a.iter().zip(b).map(points).sum::<f64>() / a.len() as f64)
}

/// Pairs needed to show that one method wins more than half of the time when it truly wins a share of `gamma`
/// (Noether 1987), not rounded: 29 after rounding for 0.75 at alpha = beta = 0.05.
///
/// # Errors
/// `probability_out_of_range` unless 1/2 < gamma < 1, `alpha_out_of_range`.
///
/// # Examples
/// ```
/// assert_eq!(analysis::noether_pairs(0.75, 0.05, 0.05)?.ceil(), 29.0);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn noether_pairs(gamma: f64, alpha: f64, beta: f64) -> Result<f64> {
    if !(gamma > 0.5 && gamma < 1.0) {
        return Err(AnalysisError::ProbabilityOutOfRange { name: "gamma", value: gamma });
    }
    crate::power::check_alpha(alpha)?;
    crate::power::check_alpha(beta)?;
    let reach = normal_quantile(1.0 - alpha) + normal_quantile(1.0 - beta);
    Ok((reach / (gamma - 0.5)).powi(2) / 6.0)
}

/// Whether one method almost always yields more.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AlmostStochasticOrder {
    /// Share of the squared distance of the quantile functions where `a` lies below `b`: 0 is dominance of `a`.
    pub violation_ratio: f64,
    /// Upper bound of that share at `level`: below 0.2 speaks for `a` (0.5 leniently).
    pub epsilon: f64,
    /// Confidence level of the bound.
    pub level: f64,
}

/// Width of a step on the axis of quantiles.
const QUANTILE_STEPS: usize = 200;

/// Almost stochastic order (del Barrio et al. 2018; Dror et al. 2019): does `a` yield more than `b` at almost every
/// quantile? Needs ten values a sample to be of use.
///
/// # Errors
/// `empty_sample`, `nonfinite_value`, `too_few_runs` (one value), `zero_variance` (equal samples),
/// `probability_out_of_range`, `invalid_argument` (fewer than 2 or above 2^32 - 1 resamples).
pub fn almost_stochastic_order(
    a: &[f64],
    b: &[f64],
    level: f64,
    resampling: Resampling,
) -> Result<AlmostStochasticOrder> {
    crate::describe::check_level(level)?;
    let (a, b) = (finite_sample("sample a", a, 2)?, finite_sample("sample b", b, 2)?);
    if resampling.resamples < 2 {
        return Err(AnalysisError::InvalidArgument {
            name: "resamples",
            value: resampling.resamples.to_string(),
            expected: "2 or more",
        });
    }
    let Some(violation_ratio) = share_below(&a, &b) else {
        return Err(AnalysisError::ZeroVariance { difference: 0.0 });
    };
    let drawn = |values: &[f64], sub: u32, resample: u32| {
        let tag = kernels::rng::Tag::Bootstrap;
        let stream = kernels::rng::Stream { seed: resampling.seed, stream: 0, tag, sub };
        let indices = stream.indices(values.len() as u32, resample).take(values.len());
        sorted(&indices.map(|i| values[i as usize]).collect::<Vec<_>>())
    };
    // Equal resamples show no order either way.
    let ratio = |i: u32| share_below(&drawn(&a, 0, i), &drawn(&b, 1, i)).unwrap_or(0.5);
    let distances: Vec<f64> = (0..resampling.resamples).map(|i| ratio(i) - violation_ratio).collect();
    let moments = Moments::of(&distances);
    let n = distances.len() as f64;
    let deviation = moments.standard_deviation().unwrap_or(0.0) * ((n - 1.0) / n).sqrt();
    let epsilon = (violation_ratio + normal_quantile(level) * deviation).clamp(0.0, 1.0);
    Ok(AlmostStochasticOrder { violation_ratio, epsilon, level })
}

/// The violation ratio of two sorted samples; `None` when their quantiles are all equal.
fn share_below(a: &[f64], b: &[f64]) -> Option<f64> {
    let quantile = |values: &[f64], step: usize| {
        let rank = (values.len() * step).div_ceil(QUANTILE_STEPS);
        values[rank.clamp(1, values.len()) - 1]
    };
    let (mut below, mut all) = (0.0, 0.0);
    for step in 0..QUANTILE_STEPS {
        let distance = quantile(a, step) - quantile(b, step);
        all += distance * distance;
        if distance < 0.0 {
            below += distance * distance;
        }
    }
    (all > 0.0).then(|| below / all)
}

/// The share of all pairs in which `a` is larger, ties counting half: [`paired_wins`] without a pairing.
///
/// # Errors
/// `empty_sample`, `nonfinite_value`.
pub fn all_wins(a: &[f64], b: &[f64]) -> Result<f64> {
    let (a, b) = (finite_sample("sample a", a, 1)?, finite_sample("sample b", b, 1)?);
    Ok(Superiority::of(&a, &b).a12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dominance_has_no_violation() {
        let (low, high) = ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]);
        let resampling = Resampling { resamples: 200, seed: 3 };
        let found = almost_stochastic_order(&high, &low, 0.95, resampling).unwrap();
        assert_eq!((found.violation_ratio, found.epsilon), (0.0, 0.0));
        let turned = almost_stochastic_order(&low, &high, 0.95, resampling).unwrap();
        assert_eq!((turned.violation_ratio, turned.epsilon), (1.0, 1.0));
        let equal = almost_stochastic_order(&low, &low, 0.95, resampling);
        assert_eq!(equal.unwrap_err().code(), "zero_variance");
    }

    #[test]
    fn senseless_questions_are_refused() {
        assert_eq!(resampled_t(&[0.1, 0.2], 0, 10).unwrap_err().code(), "invalid_argument");
        assert_eq!(five_by_two(&[[0.1; 2]; 5]).unwrap_err().code(), "zero_variance");
        assert_eq!(noether_pairs(0.5, 0.05, 0.05).unwrap_err().code(), "probability_out_of_range");
        assert_eq!(paired_wins(&[1.0], &[1.0, 2.0]).unwrap_err().code(), "pairing_mismatch");
        assert_eq!(paired_wins(&[1.0, 3.0], &[1.0, 2.0]).unwrap(), 0.75);
    }
}
