//! Do several groups spread alike? Levene, Brown-Forsythe, Bartlett, Fligner-Killeen.

use serde::Serialize;

use crate::compare::Variance;
use crate::describe::{finite_sample, quantile_of_sorted};
use crate::distributions::{chi_squared_sf, f_sf, normal_quantile};
use crate::error::{AnalysisError, Result};
use crate::moments::Moments;
use crate::p_value::PValue;
use crate::ranks::midranks;

/// Share of the values that [`Center::TrimmedMean`] cuts off each end.
const TRIMMED_SHARE: f64 = 0.05;

/// A statistic of several groups and its p-value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GroupStatistic {
    /// The statistic.
    pub statistic: f64,
    /// Degrees of freedom between the groups.
    pub df_between: f64,
    /// Degrees of freedom within, where the statistic has them.
    pub df_within: Option<f64>,
    /// P(a statistic at least as large) when the groups do not differ.
    pub p: PValue,
}

impl GroupStatistic {
    pub(crate) fn chi_squared(statistic: f64, df: f64) -> Self {
        let p = PValue::new(chi_squared_sf(statistic, df));
        Self { statistic, df_between: df, df_within: None, p }
    }
}

/// What deviations are measured from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Center {
    /// The mean of a group (Levene 1960).
    Mean,
    /// The median (Brown & Forsythe 1974), which holds its error rate on skewed values.
    Median,
    /// The mean after 5 % of the values, rounded down, were cut off each end.
    TrimmedMean,
}

/// Levene's test of equal spread: analysis of variance of the absolute deviations from the center of each group.
///
/// # Errors
/// `empty_sample`, `nonfinite_value`, `too_few_runs` (fewer than two groups, or groups that leave no degree of
/// freedom), `zero_variance`.
///
/// # Examples
/// ```
/// let (calm, wild) = ([1.0, 1.1, 0.9, 1.05, 0.95], [1.0, 3.0, -1.0, 2.0, 0.2]);
/// let test = analysis::levene(&[&calm, &wild], analysis::Center::Median)?;
/// assert!(test.p.value() < 0.05);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn levene(groups: &[&[f64]], center: Center) -> Result<GroupStatistic> {
    let deviations = checked(groups)?.into_iter().map(|mut group| {
        if center == Center::TrimmedMean {
            let cut = (TRIMMED_SHARE * group.len() as f64).floor() as usize;
            group = group[cut..group.len() - cut].to_vec();
        }
        let middle = match center {
            Center::Median => quantile_of_sorted(&group, 0.5),
            Center::Mean | Center::TrimmedMean => Moments::of(&group).mean().unwrap_or(0.0),
        };
        Moments::of(&group.iter().map(|v| (v - middle).abs()).collect::<Vec<_>>())
    });
    let variance = Variance::of(&deviations.collect::<Vec<_>>())?;
    let anova = variance.one_way_anova();
    Ok(GroupStatistic {
        statistic: anova.statistic,
        df_between: anova.df_between,
        df_within: Some(anova.df_within),
        p: PValue::new(f_sf(anova.statistic, anova.df_between, anova.df_within)),
    })
}

/// Bartlett's test of equal variances (1937): the most powerful on normal values, wrong on others.
///
/// # Errors
/// As [`levene`]; also `too_few_runs` for a group of one value and `zero_variance` for a constant one.
pub fn bartlett(groups: &[&[f64]]) -> Result<GroupStatistic> {
    let groups = checked(groups)?;
    let mut sums = [0.0; 4];
    for group in &groups {
        let moments = Moments::of(group);
        let Some(variance) = moments.variance() else {
            return Err(AnalysisError::TooFewRuns { sample: "a group".into(), have: 1, need: 2 });
        };
        if variance == 0.0 {
            return Err(AnalysisError::ZeroVariance { difference: 0.0 });
        }
        let df = (group.len() - 1) as f64;
        let parts = [df, df * variance, df * variance.ln(), 1.0 / df];
        sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
    }
    let [df, squares, logs, inverses] = sums;
    let between = (groups.len() - 1) as f64;
    let correction = 1.0 + (inverses - 1.0 / df) / (3.0 * between);
    Ok(GroupStatistic::chi_squared((df * (squares / df).ln() - logs) / correction, between))
}

/// The test of Fligner & Killeen (1976): normal scores of the ranks of deviations from the median.
///
/// # Errors
/// As [`levene`].
pub fn fligner_killeen(groups: &[&[f64]]) -> Result<GroupStatistic> {
    let groups = checked(groups)?;
    let mut deviations = Vec::new();
    for group in &groups {
        let median = quantile_of_sorted(group, 0.5);
        deviations.extend(group.iter().map(|v| (v - median).abs()));
    }
    let all = deviations.len() as f64;
    let score = |rank: f64| normal_quantile(0.5 + rank / (2.0 * (all + 1.0)));
    let scores: Vec<f64> = midranks(&deviations).into_iter().map(score).collect();
    let whole = Moments::of(&scores);
    let (Some(center), Some(variance)) = (whole.mean(), whole.variance()) else {
        return Err(AnalysisError::TooFewRuns { sample: "the groups".into(), have: scores.len(), need: 2 });
    };
    if variance == 0.0 {
        return Err(AnalysisError::ZeroVariance { difference: 0.0 });
    }
    let mut rest = &scores[..];
    let mut between = 0.0;
    for group in &groups {
        let (own, others) = rest.split_at(group.len());
        rest = others;
        let mean = Moments::of(own).mean().unwrap_or(center);
        between += own.len() as f64 * (mean - center) * (mean - center);
    }
    Ok(GroupStatistic::chi_squared(between / variance, (groups.len() - 1) as f64))
}

/// Sorted copies of two or more groups of finite values.
pub(crate) fn checked(groups: &[&[f64]]) -> Result<Vec<Vec<f64>>> {
    if groups.len() < 2 {
        let sample = "the set of groups".into();
        return Err(AnalysisError::TooFewRuns { sample, have: groups.len(), need: 2 });
    }
    let all: usize = groups.iter().map(|group| group.len()).sum();
    if all <= groups.len() {
        let sample = "all groups together".into();
        return Err(AnalysisError::TooFewRuns { sample, have: all, need: groups.len() + 1 });
    }
    groups.iter().map(|group| finite_sample("a group", group, 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_groups_have_no_spread_to_compare() {
        let constant: [&[f64]; 2] = [&[1.0; 3], &[2.0; 3]];
        for center in [Center::Mean, Center::Median, Center::TrimmedMean] {
            assert_eq!(levene(&constant, center).unwrap_err().code(), "zero_variance");
        }
        assert_eq!(bartlett(&constant).unwrap_err().code(), "zero_variance");
        assert_eq!(fligner_killeen(&constant).unwrap_err().code(), "zero_variance");
    }

    #[test]
    fn one_group_is_no_comparison() {
        assert_eq!(levene(&[&[1.0, 2.0]], Center::Mean).unwrap_err().code(), "too_few_runs");
        assert_eq!(levene(&[&[1.0], &[2.0]], Center::Mean).unwrap_err().code(), "too_few_runs");
        assert_eq!(bartlett(&[&[1.0, 2.0, 3.0], &[]]).unwrap_err().code(), "empty_sample");
        assert_eq!(bartlett(&[&[1.0, 2.0], &[3.0]]).unwrap_err().code(), "too_few_runs");
    }
}
