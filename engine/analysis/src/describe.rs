//! Location and spread of one sample.

// Samples are put into this order first, so that results do not depend on the order of the rows.
pub(crate) use kernels::describe::sorted;

use crate::distributions::student_t_quantile;
use crate::error::{AnalysisError, Result};
use crate::moments::{Compensated, Moments};

/// What to do with values that are NaN or infinite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Nonfinite {
    /// Keep them: a NaN makes every result NaN, an infinity counts by its value.
    #[default]
    Keep,
    /// Leave them out; they are still counted in [`Summary::nonfinite_count`].
    Drop,
}

/// Location and spread of one sample, in the units of the values. `None` where the sample is too small.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Summary {
    /// Values summarized.
    pub count: usize,
    /// Values that are NaN or infinite, whether kept or dropped.
    pub nonfinite_count: usize,
    /// Arithmetic mean.
    pub mean: Option<f64>,
    /// Variance with divisor n - 1.
    pub variance: Option<f64>,
    /// Standard deviation with divisor n - 1.
    pub standard_deviation: Option<f64>,
    /// Standard error of the mean.
    pub standard_error: Option<f64>,
    /// Smallest value.
    pub minimum: Option<f64>,
    /// Median.
    pub median: Option<f64>,
    /// Largest value.
    pub maximum: Option<f64>,
    /// Interquartile mean: a quarter of the values, rounded down, cut off at each end.
    pub interquartile_mean: Option<f64>,
    /// Median of the absolute distances from the median.
    pub median_absolute_deviation: Option<f64>,
    /// Adjusted Fisher-Pearson skewness G1; `None` below three values or without spread.
    pub skewness: Option<f64>,
    /// Student t interval of the mean at `level`; `None` below two finite values.
    pub mean_interval: Option<[f64; 2]>,
    /// Confidence level of `mean_interval`.
    pub level: f64,
}

/// Summarizes `values`, with a t interval of the mean at `level` (for example 0.95).
///
/// # Errors
/// `probability_out_of_range` unless 0 < level < 1.
///
/// # Examples
/// ```
/// use analysis::{Nonfinite, describe};
/// let summary = describe(&[0.5, 0.75], 0.95, Nonfinite::Keep)?;
/// assert_eq!(summary.mean, Some(0.625));
/// assert_eq!(summary.standard_error, Some(0.125));
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn describe(values: &[f64], level: f64, nonfinite: Nonfinite) -> Result<Summary> {
    check_level(level)?;
    let nonfinite_count = values.iter().filter(|v| !v.is_finite()).count();
    let sorted = match nonfinite {
        Nonfinite::Keep => sorted(values),
        Nonfinite::Drop => sorted(&values.iter().copied().filter(|v| v.is_finite()).collect::<Vec<_>>()),
    };
    let count = sorted.len();
    let finite = sorted.iter().all(|v| v.is_finite());
    let has_nan = sorted.iter().any(|v| v.is_nan());
    let moments = finite.then(|| Moments::of(&sorted));
    // Without finite moments the spread of two or more values is NaN, and that of one value still undefined.
    let spread = |of: fn(&Moments) -> Option<f64>| match &moments {
        Some(moments) => of(moments),
        None => (count > 1).then_some(f64::NAN),
    };
    let order =
        |value: fn(&[f64]) -> f64| (count > 0).then(|| if has_nan { f64::NAN } else { value(&sorted) });
    let standard_error = spread(Moments::standard_error);
    let mean = mean_of_sorted(&sorted);
    Ok(Summary {
        count,
        nonfinite_count,
        mean,
        variance: spread(Moments::variance),
        standard_deviation: spread(Moments::standard_deviation),
        standard_error,
        minimum: order(|s| s[0]),
        median: order(|s| quantile_of_sorted(s, 0.5)),
        maximum: order(|s| s[s.len() - 1]),
        interquartile_mean: order(|s| trimmed_mean_of_sorted(s, 0.25)),
        median_absolute_deviation: order(median_absolute_deviation_of_sorted),
        skewness: if finite { skewness_of_sorted(&sorted) } else { None },
        mean_interval: match (mean, standard_error) {
            (Some(mean), Some(error)) if finite => Some(t_interval(mean, error, (count - 1) as f64, level)),
            _ => None,
        },
        level,
    })
}

/// A mean with its Student t interval.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct MeanInterval {
    /// Values used.
    pub count: usize,
    /// The mean.
    pub mean: f64,
    /// Standard error of the mean.
    pub standard_error: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Confidence level.
    pub level: f64,
    /// The values are all equal: the interval has no width and proves nothing about other runs.
    pub zero_variance: bool,
}

/// The mean of `values` with its Student t interval at `level`.
///
/// # Errors
/// `empty_sample`, `too_few_runs` (one value), `nonfinite_value`, `probability_out_of_range`.
pub fn mean_ci(values: &[f64], level: f64) -> Result<MeanInterval> {
    check_level(level)?;
    let sorted = finite_sample("the sample", values, 2)?;
    let moments = Moments::of(&sorted);
    let mean = moments.mean().unwrap_or(f64::NAN);
    let standard_error = moments.standard_error().unwrap_or(f64::NAN);
    let [low, high] = t_interval(mean, standard_error, (sorted.len() - 1) as f64, level);
    Ok(MeanInterval {
        count: sorted.len(),
        mean,
        standard_error,
        low,
        high,
        level,
        zero_variance: moments.is_constant(),
    })
}

/// Quantile `q` by linear interpolation of order statistics (type 7 of Hyndman & Fan 1996, numpy's default).
///
/// NaN when a value is NaN.
///
/// # Errors
/// `probability_out_of_range` unless 0 <= q <= 1; `empty_sample`.
pub fn quantile(values: &[f64], q: f64) -> Result<f64> {
    if !(0.0..=1.0).contains(&q) {
        return Err(AnalysisError::ProbabilityOutOfRange { name: "q", value: q });
    }
    if values.is_empty() {
        return Err(AnalysisError::EmptySample { sample: "the sample".into() });
    }
    if values.iter().any(|v| v.is_nan()) {
        return Ok(f64::NAN);
    }
    Ok(quantile_of_sorted(&sorted(values), q))
}

/// Mean after cutting floor(`share` * n) values off each end.
///
/// # Errors
/// `probability_out_of_range` unless 0 <= share < 1/2; `empty_sample`.
pub fn trimmed_mean(values: &[f64], share: f64) -> Result<f64> {
    if !(0.0..0.5).contains(&share) {
        return Err(AnalysisError::ProbabilityOutOfRange { name: "share", value: share });
    }
    if values.is_empty() {
        return Err(AnalysisError::EmptySample { sample: "the sample".into() });
    }
    if values.iter().any(|v| v.is_nan()) {
        return Ok(f64::NAN);
    }
    Ok(trimmed_mean_of_sorted(&sorted(values), share))
}

/// The interquartile mean: [`trimmed_mean`] with a share of 1/4 (Agarwal et al. 2021).
///
/// # Errors
/// `empty_sample`.
pub fn interquartile_mean(values: &[f64]) -> Result<f64> {
    trimmed_mean(values, 0.25)
}

/// Finite values further than five scaled median absolute deviations from the median, as indices into
/// `values`. Empty below five finite values or when more than half of the values are equal.
pub(crate) fn outliers(values: &[f64]) -> Vec<usize> {
    const MAD_TO_SD: f64 = 1.4826;
    let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    if finite.len() < 5 {
        return Vec::new();
    }
    let sorted = sorted(&finite);
    let median = quantile_of_sorted(&sorted, 0.5);
    let deviation = median_absolute_deviation_of_sorted(&sorted);
    if deviation == 0.0 {
        return Vec::new();
    }
    let is_outlier = |v: f64| v.is_finite() && (v - median).abs() > 5.0 * MAD_TO_SD * deviation;
    (0..values.len()).filter(|&i| is_outlier(values[i])).collect()
}

/// A sorted copy of a sample that must be finite and hold at least `need` values.
pub(crate) fn finite_sample(name: &str, values: &[f64], need: usize) -> Result<Vec<f64>> {
    if values.is_empty() {
        return Err(AnalysisError::EmptySample { sample: name.to_owned() });
    }
    let count = values.iter().filter(|v| !v.is_finite()).count();
    if count > 0 {
        return Err(AnalysisError::NonfiniteValue { sample: name.to_owned(), count });
    }
    if values.len() < need {
        return Err(AnalysisError::TooFewRuns { sample: name.to_owned(), have: values.len(), need });
    }
    Ok(sorted(values))
}

pub(crate) fn check_level(level: f64) -> Result<()> {
    if level > 0.0 && level < 1.0 {
        return Ok(());
    }
    Err(AnalysisError::ProbabilityOutOfRange { name: "level", value: level })
}

pub(crate) fn t_interval(center: f64, standard_error: f64, df: f64, level: f64) -> [f64; 2] {
    let half_width = student_t_quantile(0.5 * (1.0 + level), df) * standard_error;
    [center - half_width, center + half_width]
}

fn mean_of_sorted(sorted: &[f64]) -> Option<f64> {
    let (first, last) = (*sorted.first()?, *sorted.last()?);
    // Sorted by total order, NaN stands at an end and infinities beside it.
    if first.is_finite() && last.is_finite() {
        return Moments::of(sorted).mean();
    }
    Some(sorted.iter().filter(|v| !v.is_finite()).sum())
}

pub(crate) fn quantile_of_sorted(sorted: &[f64], q: f64) -> f64 {
    let position = (sorted.len() - 1) as f64 * q;
    let below = position.floor() as usize;
    let fraction = position - below as f64;
    let (low, high) = (sorted[below], sorted[(below + 1).min(sorted.len() - 1)]);
    if fraction == 0.0 || low == high {
        return low;
    }
    // Interpolating from the nearer end keeps the result monotone in q, as numpy does.
    if fraction < 0.5 { low + (high - low) * fraction } else { high - (high - low) * (1.0 - fraction) }
}

fn trimmed_mean_of_sorted(sorted: &[f64], share: f64) -> f64 {
    let cut = (share * sorted.len() as f64).floor() as usize;
    mean_of_sorted(&sorted[cut..sorted.len() - cut]).unwrap_or(f64::NAN)
}

fn median_absolute_deviation_of_sorted(sorted_values: &[f64]) -> f64 {
    let median = quantile_of_sorted(sorted_values, 0.5);
    let distances: Vec<f64> = sorted_values.iter().map(|v| (v - median).abs()).collect();
    if distances.iter().any(|d| d.is_nan()) {
        return f64::NAN;
    }
    quantile_of_sorted(&sorted(&distances), 0.5)
}

fn skewness_of_sorted(sorted: &[f64]) -> Option<f64> {
    let moments = Moments::of(sorted);
    let n = sorted.len() as f64;
    let (mean, sd) = (moments.mean()?, moments.standard_deviation()?);
    if sorted.len() < 3 || sd == 0.0 || !sd.is_finite() {
        return None;
    }
    let mut cubes = Compensated::default();
    for value in sorted {
        cubes.add(((value - mean) / sd).powi(3));
    }
    Some(cubes.value() * n / ((n - 1.0) * (n - 2.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinities_count_by_value_and_have_no_spread() {
        let summary = describe(&[1.0, f64::INFINITY, 2.0], 0.95, Nonfinite::Keep).unwrap();
        assert_eq!(summary.mean, Some(f64::INFINITY));
        assert_eq!(summary.median, Some(2.0));
        assert!(summary.standard_deviation.unwrap().is_nan());
        assert_eq!(summary.mean_interval, None);
    }

    #[test]
    fn an_outlier_stands_out_of_six_but_not_of_four() {
        assert_eq!(outliers(&[1.0, 1.1, 0.9, 9.0, 1.05, 0.95]), vec![3]);
        assert!(outliers(&[1.0, 1.1, 0.9, 9.0]).is_empty());
        assert!(outliers(&[1.0, 1.0, 1.0, 1.0, 9.0]).is_empty());
    }

    #[test]
    fn a_level_of_one_is_refused() {
        assert_eq!(mean_ci(&[1.0, 2.0], 1.0).unwrap_err().code(), "probability_out_of_range");
    }
}
