//! How two columns move together: Pearson, Spearman, Kendall, and the least-squares line.

use serde::Serialize;

use crate::describe::check_level;
use crate::distributions::{normal_quantile, normal_sf, student_t_sf};
use crate::error::{AnalysisError, Result};
use crate::moments::{Compensated, Moments};
use crate::p_value::PValue;
use crate::ranks::midranks;

/// Up to this many pairs without ties Kendall's p-value is exact.
const KENDALL_EXACT_MAX: usize = 33;

/// A coefficient of correlation and its two-sided p-value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Correlation {
    /// The coefficient, from -1 to 1.
    pub coefficient: f64,
    /// P(a coefficient at least as far from 0) when the columns are independent.
    pub p_two_sided: PValue,
    /// Pairs.
    pub count: usize,
    /// Fisher's z interval at `level`, for Pearson from four pairs on.
    pub interval: Option<[f64; 2]>,
    /// Confidence level of the interval.
    pub level: f64,
}

/// Pearson's product-moment correlation: the t test with n - 2 degrees of freedom, and Fisher's z interval (1921).
///
/// # Errors
/// `pairing_mismatch`, `nonfinite_value`, `too_few_runs` (fewer than three pairs), `zero_variance`,
/// `probability_out_of_range`.
///
/// # Examples
/// ```
/// let r = analysis::pearson(&[1.0, 2.0, 3.0, 4.0], &[2.0, 4.0, 6.0, 9.0], 0.95)?;
/// assert!(r.coefficient > 0.99 && r.p_two_sided.value() < 0.01);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn pearson(x: &[f64], y: &[f64], level: f64) -> Result<Correlation> {
    check_level(level)?;
    let pairs = Products::of(x, y, 3)?;
    let coefficient = pairs.correlation()?;
    let n = pairs.count as f64;
    let interval = (pairs.count > 3).then(|| {
        let reach = normal_quantile(0.5 * (1.0 + level)) / (n - 3.0).sqrt();
        let z = coefficient.atanh();
        if z.is_finite() { [(z - reach).tanh(), (z + reach).tanh()] } else { [coefficient; 2] }
    });
    let p = correlation_p(coefficient, n);
    Ok(Correlation { coefficient, p_two_sided: PValue::new(p), count: pairs.count, interval, level })
}

/// Spearman's rank correlation (1904): Pearson's of the ranks, with the t approximation of its p-value.
///
/// # Errors
/// As [`pearson`].
pub fn spearman(x: &[f64], y: &[f64]) -> Result<Correlation> {
    Products::of(x, y, 3)?;
    let ranked = Products::of(&midranks(x), &midranks(y), 3)?;
    let coefficient = ranked.correlation()?;
    let p = correlation_p(coefficient, ranked.count as f64);
    let p_two_sided = PValue::new(p);
    Ok(Correlation { coefficient, p_two_sided, count: ranked.count, interval: None, level: 0.95 })
}

fn correlation_p(coefficient: f64, n: f64) -> f64 {
    let rest = (1.0 - coefficient) * (1.0 + coefficient);
    let t = coefficient.abs() * ((n - 2.0) / rest).sqrt();
    2.0 * student_t_sf(t, n - 2.0)
}

/// Kendall's tau-b (1945), which corrects for ties: concordant less discordant pairs.
///
/// The p-value is exact without ties up to 33 pairs (or with at most one discordant or concordant pair), else normal
/// with the correction for ties. Takes n log n steps (Knight 1966).
///
/// # Errors
/// As [`pearson`].
pub fn kendall(x: &[f64], y: &[f64]) -> Result<Correlation> {
    Products::of(x, y, 3)?.correlation()?;
    let count = x.len();
    let mut pairs: Vec<(f64, f64)> = x.iter().copied().zip(y.iter().copied()).collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let two_of = |t: f64| 0.5 * t * (t - 1.0);
    let ties_x = Ties::of(x);
    let ties_y = Ties::of(y);
    let ties_both: f64 = pairs.chunk_by(|a, b| a == b).map(|equal| two_of(equal.len() as f64)).sum();
    let mut second: Vec<f64> = pairs.iter().map(|pair| pair.1).collect();
    let discordant = inversions(&mut second) as f64;
    let all = two_of(count as f64);
    let surplus = all - ties_x.pairs - ties_y.pairs + ties_both - 2.0 * discordant;
    let coefficient = (surplus / ((all - ties_x.pairs) * (all - ties_y.pairs)).sqrt()).clamp(-1.0, 1.0);
    let untied = ties_x.pairs == 0.0 && ties_y.pairs == 0.0;
    let rarer = discordant.min(all - discordant);
    let p = if untied && (count <= KENDALL_EXACT_MAX || rarer <= 1.0) {
        (2.0 * inversions_at_most(count, rarer as usize)).min(1.0)
    } else {
        let n = count as f64;
        let ordered = n * (n - 1.0);
        let variance = (ordered * (2.0 * n + 5.0) - ties_x.fives - ties_y.fives) / 18.0
            + 2.0 * ties_x.pairs * ties_y.pairs / ordered
            + ties_x.triples * ties_y.triples / (9.0 * ordered * (n - 2.0));
        (2.0 * normal_sf(surplus.abs() / variance.sqrt())).min(1.0)
    };
    Ok(Correlation { coefficient, p_two_sided: PValue::new(p), count, interval: None, level: 0.95 })
}

/// Sums over the groups of t equal values.
struct Ties {
    /// t (t - 1) / 2
    pairs: f64,
    /// t (t - 1) (t - 2)
    triples: f64,
    /// t (t - 1) (2 t + 5)
    fives: f64,
}

impl Ties {
    fn of(values: &[f64]) -> Self {
        let mut ties = Self { pairs: 0.0, triples: 0.0, fives: 0.0 };
        for t in crate::ranks::multiplicities(values) {
            ties.pairs += 0.5 * t * (t - 1.0);
            ties.triples += t * (t - 1.0) * (t - 2.0);
            ties.fives += t * (t - 1.0) * (2.0 * t + 5.0);
        }
        ties
    }
}

/// Pairs out of order; sorts the values by merging.
fn inversions(values: &mut [f64]) -> u64 {
    let middle = values.len() / 2;
    if middle == 0 {
        return 0;
    }
    let (left, right) = values.split_at_mut(middle);
    let mut found = inversions(left) + inversions(right);
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut i, mut j) = (0, 0);
    while i < left.len() && j < right.len() {
        if right[j] < left[i] {
            found += (left.len() - i) as u64;
            merged.push(right[j]);
            j += 1;
        } else {
            merged.push(left[i]);
            i += 1;
        }
    }
    merged.extend_from_slice(&left[i..]);
    merged.extend_from_slice(&right[j..]);
    values.copy_from_slice(&merged);
    found
}

/// P(at most `most` inversions) of a random order of `n` values.
fn inversions_at_most(n: usize, most: usize) -> f64 {
    let mut shares = vec![0.0; most + 1];
    shares[0] = 1.0;
    for size in 2..=n {
        // A new largest value stands before 0 to size - 1 of the others, each equally likely.
        let mut next = vec![0.0; most + 1];
        let mut window = 0.0;
        for inversions in 0..=most {
            window += shares[inversions];
            if inversions >= size {
                window -= shares[inversions - size];
            }
            next[inversions] = window / size as f64;
        }
        shares = next;
    }
    shares.iter().sum()
}

/// The least-squares line of `y` on `x`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Line {
    /// Change of y for each unit of x.
    pub slope: f64,
    /// y at x = 0.
    pub intercept: f64,
    /// Standard error of the slope, n - 2 degrees of freedom.
    pub slope_error: f64,
    /// Points.
    pub count: usize,
}

/// The least-squares line through the points.
///
/// # Errors
/// `pairing_mismatch`, `nonfinite_value`, `too_few_runs` (fewer than three points), `zero_variance` (one position).
///
/// # Examples
/// ```
/// let line = analysis::fit_line(&[0.0, 1.0, 2.0], &[1.0, 3.0, 5.0])?;
/// assert_eq!((line.slope, line.intercept), (2.0, 1.0));
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn fit_line(x: &[f64], y: &[f64]) -> Result<Line> {
    let pairs = Products::of(x, y, 3)?;
    if pairs.squares_x == 0.0 {
        return Err(AnalysisError::ZeroVariance { difference: 0.0 });
    }
    let slope = pairs.products / pairs.squares_x;
    let unexplained = (pairs.squares_y - slope * pairs.products).max(0.0);
    Ok(Line {
        slope,
        intercept: pairs.mean_y - slope * pairs.mean_x,
        slope_error: (unexplained / (pairs.count as f64 - 2.0) / pairs.squares_x).sqrt(),
        count: pairs.count,
    })
}

/// Sums of squares and products of two columns about their means.
pub(crate) struct Products {
    pub(crate) count: usize,
    pub(crate) mean_x: f64,
    pub(crate) mean_y: f64,
    pub(crate) squares_x: f64,
    pub(crate) squares_y: f64,
    pub(crate) products: f64,
}

impl Products {
    /// # Errors
    /// `pairing_mismatch`, `nonfinite_value`, `too_few_runs` below `need` pairs.
    pub(crate) fn of(x: &[f64], y: &[f64], need: usize) -> Result<Self> {
        if x.len() != y.len() {
            let detail = format!("{} values against {}", x.len(), y.len());
            return Err(AnalysisError::PairingMismatch { detail });
        }
        let count = x.iter().chain(y).filter(|v| !v.is_finite()).count();
        if count > 0 {
            return Err(AnalysisError::NonfiniteValue { sample: "the pairs".into(), count });
        }
        if x.len() < need {
            return Err(AnalysisError::TooFewRuns { sample: "the pairs".into(), have: x.len(), need });
        }
        Ok(Self::of_finite(x, y))
    }

    /// Of columns that are finite, of one length and not empty; the order of the pairs does not matter.
    pub(crate) fn of_finite(x: &[f64], y: &[f64]) -> Self {
        let mut pairs: Vec<(f64, f64)> = x.iter().copied().zip(y.iter().copied()).collect();
        // In a fixed order, so that the order of the rows does not show in the last digit.
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let (x, y): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        let mean_x = Moments::of(&x).mean().unwrap_or(0.0);
        let mean_y = Moments::of(&y).mean().unwrap_or(0.0);
        let [mut squares_x, mut squares_y, mut products] = [Compensated::default(); 3];
        for (x, y) in x.iter().zip(&y) {
            squares_x.add((x - mean_x) * (x - mean_x));
            squares_y.add((y - mean_y) * (y - mean_y));
            products.add((x - mean_x) * (y - mean_y));
        }
        let (squares_x, squares_y, products) = (squares_x.value(), squares_y.value(), products.value());
        Self { count: x.len(), mean_x, mean_y, squares_x, squares_y, products }
    }

    /// # Errors
    /// `zero_variance` when a column is constant.
    pub(crate) fn correlation(&self) -> Result<f64> {
        if self.squares_x == 0.0 || self.squares_y == 0.0 {
            return Err(AnalysisError::ZeroVariance { difference: 0.0 });
        }
        Ok((self.products / self.squares_x.sqrt() / self.squares_y.sqrt()).clamp(-1.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perfect_order_is_one_of_all() {
        let x = [1.0, 2.0, 3.0, 4.0];
        let tau = kendall(&x, &x).unwrap();
        assert_eq!(tau.coefficient, 1.0);
        assert!((tau.p_two_sided.value() - 2.0 / 24.0).abs() < 1e-15);
        assert_eq!(pearson(&x, &x, 0.95).unwrap().interval, Some([1.0, 1.0]));
        let down: Vec<f64> = x.iter().map(|v| -v).collect();
        assert_eq!(kendall(&x, &down).unwrap().coefficient, -1.0);
        assert_eq!(spearman(&x, &down).unwrap().coefficient, -1.0);
    }

    #[test]
    fn inversions_of_three_values_are_counted() {
        // 0, 1, 1, 2, 2, 3 inversions in the six orders.
        for (most, share) in [(0, 1.0), (1, 3.0), (2, 5.0), (3, 6.0)] {
            assert!((inversions_at_most(3, most) - share / 6.0).abs() < 1e-15, "{most}");
        }
        assert_eq!(inversions(&mut [3.0, 1.0, 2.0, 0.0]), 5);
    }

    #[test]
    fn columns_without_spread_or_of_other_lengths_are_refused() {
        assert_eq!(pearson(&[1.0; 4], &[1.0, 2.0, 3.0, 4.0], 0.95).unwrap_err().code(), "zero_variance");
        assert_eq!(kendall(&[1.0; 4], &[1.0, 2.0, 3.0, 4.0]).unwrap_err().code(), "zero_variance");
        assert_eq!(spearman(&[1.0, 2.0], &[1.0]).unwrap_err().code(), "pairing_mismatch");
        assert_eq!(fit_line(&[1.0, f64::NAN, 2.0], &[1.0; 3]).unwrap_err().code(), "nonfinite_value");
        assert_eq!(fit_line(&[1.0, 2.0], &[1.0, 2.0]).unwrap_err().code(), "too_few_runs");
    }
}
