//! Several groups at once by ranks: Kruskal-Wallis, and Friedman with the critical difference of Nemenyi.

use serde::Serialize;

use crate::compare::{Variance, welch_anova};
use crate::distributions::{f_sf, normal_cdf, root};
use crate::error::{AnalysisError, Result};
use crate::moments::Moments;
use crate::p_value::PValue;
use crate::ranks::{midranks, tie_sum};
use crate::spread_tests::{GroupStatistic, checked};

/// Whether groups are taken to have one variance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupVariance {
    /// One for all: the classic analysis of variance.
    Equal,
    /// Each its own (Welch 1951).
    Unequal,
}

/// One-way analysis of variance of the means of several groups.
///
/// # Errors
/// As [`crate::levene`]; for [`GroupVariance::Unequal`] also `too_few_runs` for a group of one value and
/// `zero_variance` for a constant one.
pub fn anova(groups: &[&[f64]], variance: GroupVariance) -> Result<GroupStatistic> {
    let groups: Vec<Moments> = checked(groups)?.iter().map(|group| Moments::of(group)).collect();
    let found = match variance {
        GroupVariance::Equal => Variance::of(&groups)?.one_way_anova(),
        GroupVariance::Unequal => {
            if let Some(have) = groups.iter().map(Moments::count).find(|count| *count < 2) {
                return Err(AnalysisError::TooFewRuns { sample: "a group".into(), have, need: 2 });
            }
            if groups.iter().any(Moments::is_constant) {
                return Err(AnalysisError::ZeroVariance { difference: 0.0 });
            }
            welch_anova(&groups)
        }
    };
    Ok(GroupStatistic {
        statistic: found.statistic,
        df_between: found.df_between,
        df_within: Some(found.df_within),
        p: PValue::new(f_sf(found.statistic, found.df_between, found.df_within)),
    })
}

/// The test of Kruskal & Wallis (1952): do the groups lie at one level, by their ranks?
///
/// # Errors
/// As [`crate::levene`].
///
/// # Examples
/// ```
/// let test = analysis::kruskal_wallis(&[&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0], &[7.0, 8.0, 9.0]])?;
/// assert!((test.statistic - 7.2).abs() < 1e-12);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn kruskal_wallis(groups: &[&[f64]]) -> Result<GroupStatistic> {
    let groups = checked(groups)?;
    let pooled: Vec<f64> = groups.iter().flatten().copied().collect();
    let n = pooled.len() as f64;
    let untied = 1.0 - tie_sum(&pooled) / (n * (n * n - 1.0));
    if untied <= 0.0 {
        return Err(AnalysisError::ZeroVariance { difference: 0.0 });
    }
    let ranks = midranks(&pooled);
    let mut rest = &ranks[..];
    let mut between = 0.0;
    for group in &groups {
        let (own, others) = rest.split_at(group.len());
        rest = others;
        let distance = own.iter().sum::<f64>() / own.len() as f64 - 0.5 * (n + 1.0);
        between += own.len() as f64 * distance * distance;
    }
    let statistic = 12.0 / (n * (n + 1.0)) * between / untied;
    Ok(GroupStatistic::chi_squared(statistic, (groups.len() - 1) as f64))
}

/// Methods compared over the same data sets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Friedman {
    /// Friedman's chi-squared, corrected for ties.
    pub test: GroupStatistic,
    /// Mean rank of each method; 1 is the largest value.
    pub mean_ranks: Vec<f64>,
    /// Two methods differ when their mean ranks are further apart than this (Nemenyi 1963).
    pub critical_difference: f64,
}

/// Friedman's test (1937) of several methods on several data sets, with Nemenyi's critical difference at level
/// `alpha`, as Demsar (2006) recommends it. Rows are data sets, columns are methods.
///
/// # Errors
/// `too_few_runs` (fewer than two rows or methods), `pairing_mismatch` (rows of unequal length), `nonfinite_value`,
/// `zero_variance` (all methods tie everywhere), `alpha_out_of_range`.
pub fn friedman(rows: &[&[f64]], alpha: f64) -> Result<Friedman> {
    if !(alpha > 0.0 && alpha < 0.5) {
        let expected = "above 0 and below 0.5";
        return Err(AnalysisError::AlphaOutOfRange { name: "alpha", value: alpha, expected });
    }
    let methods = rows.first().map_or(0, |row| row.len());
    for (sample, have) in [("the data sets", rows.len()), ("the methods", methods)] {
        if have < 2 {
            return Err(AnalysisError::TooFewRuns { sample: sample.into(), have, need: 2 });
        }
    }
    if let Some(row) = rows.iter().find(|row| row.len() != methods) {
        let detail = format!("a data set has values of {} methods, another of {methods}", row.len());
        return Err(AnalysisError::PairingMismatch { detail });
    }
    let count = rows.iter().flat_map(|row| row.iter()).filter(|v| !v.is_finite()).count();
    if count > 0 {
        return Err(AnalysisError::NonfiniteValue { sample: "the table".into(), count });
    }
    let (n, k) = (rows.len() as f64, methods as f64);
    let mut sums = vec![0.0; methods];
    let mut ties = 0.0;
    for row in rows {
        // Negated, so that rank 1 is the largest.
        let ranks = midranks(&row.iter().map(|v| -v).collect::<Vec<_>>());
        sums.iter_mut().zip(ranks).for_each(|(sum, rank)| *sum += rank);
        ties += tie_sum(row);
    }
    let untied = 1.0 - ties / (n * k * (k * k - 1.0));
    if untied <= 0.0 {
        return Err(AnalysisError::ZeroVariance { difference: 0.0 });
    }
    let mean_ranks: Vec<f64> = sums.iter().map(|sum| sum / n).collect();
    let spread: f64 = mean_ranks.iter().map(|rank| (rank - 0.5 * (k + 1.0)).powi(2)).sum();
    let statistic = 12.0 * n / (k * (k + 1.0)) * spread / untied;
    let q = range_quantile(methods, 1.0 - alpha);
    Ok(Friedman {
        test: GroupStatistic::chi_squared(statistic, k - 1.0),
        mean_ranks,
        critical_difference: q * (k * (k + 1.0) / (6.0 * n) / 2.0).sqrt(),
    })
}

/// The quantile of the range of `count` standard normal values.
fn range_quantile(count: usize, p: f64) -> f64 {
    root(0.0, 20.0, |range| range_cdf(count, range) - p)
}

/// P(range of `count` standard normal values <= `range`): the integral over the smallest value.
fn range_cdf(count: usize, range: f64) -> f64 {
    const STEPS: usize = 2_000;
    let (low, high) = (-9.0, 9.0);
    let width = (high - low) / STEPS as f64;
    let density = |z: f64| (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let others = |z: f64| (normal_cdf(z + range) - normal_cdf(z)).powi(count as i32 - 1);
    // The trapezoid rule converges exponentially on a smooth integrand that vanishes at both ends.
    let sum: f64 = (1..STEPS).map(|i| low + width * i as f64).map(|z| density(z) * others(z)).sum();
    count as f64 * width * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_two_values_is_a_normal_difference() {
        // |X - Y| = sqrt(2) |Z|: the 95 % quantile is sqrt(2) 1.959963984540054.
        let expected = std::f64::consts::SQRT_2 * 1.959_963_984_540_054;
        assert!((range_quantile(2, 0.95) - expected).abs() < 1e-9);
    }

    #[test]
    fn methods_that_always_tie_do_not_differ() {
        assert_eq!(friedman(&[&[1.0, 1.0], &[2.0, 2.0]], 0.05).unwrap_err().code(), "zero_variance");
        assert_eq!(friedman(&[&[1.0, 2.0], &[2.0]], 0.05).unwrap_err().code(), "pairing_mismatch");
        assert_eq!(friedman(&[&[1.0, 2.0]], 0.05).unwrap_err().code(), "too_few_runs");
        assert_eq!(kruskal_wallis(&[&[1.0, 1.0], &[1.0]]).unwrap_err().code(), "zero_variance");
    }
}
