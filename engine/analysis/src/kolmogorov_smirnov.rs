//! The two-sample Kolmogorov-Smirnov test: do two samples come from one distribution?

use serde::Serialize;

use crate::describe::finite_sample;
use crate::error::Result;
use crate::p_value::PValue;
use crate::t_test::Alternative;

/// Up to this many pairs of values the p-values are counted exactly.
const EXACT_PAIRS_MAX: usize = 1_000_000;

/// Up to this size the distribution of one sample is computed by powers of a matrix.
const MATRIX_SIZE_MAX: f64 = 1_000.0;

/// The result of a two-sample Kolmogorov-Smirnov test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct KolmogorovSmirnov {
    /// Largest distance by which the share of `a` below a value exceeds that of `b`: `a` tends to be smaller.
    pub d_above: f64,
    /// Largest distance by which it falls short.
    pub d_below: f64,
    /// Values of `a`.
    pub count_a: usize,
    /// Values of `b`.
    pub count_b: usize,
}

impl KolmogorovSmirnov {
    /// The statistic of an alternative. `Greater` says that the distribution function of `a` lies above that of `b`, so
    /// that its values tend to be smaller (the convention of scipy).
    pub fn statistic(&self, alternative: Alternative) -> f64 {
        match alternative {
            Alternative::TwoSided => self.d_above.max(self.d_below),
            Alternative::Greater => self.d_above,
            Alternative::Less => self.d_below,
        }
    }

    /// The p-value: exact up to a million pairs of values, else [`Self::p_asymptotic`]. With ties it is too large.
    pub fn p_value(&self, alternative: Alternative) -> PValue {
        if self.count_a.saturating_mul(self.count_b) > EXACT_PAIRS_MAX {
            return self.p_asymptotic(alternative);
        }
        PValue::new(touching_share(self.count_a, self.count_b, self.statistic(alternative), alternative))
    }

    /// The p-value for large samples: two-sided that of one sample of `n m / (n + m)` values, one-sided by Hodges 1957.
    pub fn p_asymptotic(&self, alternative: Alternative) -> PValue {
        let (small, large) = (self.count_a.min(self.count_b) as f64, self.count_a.max(self.count_b) as f64);
        let effective = small * large / (small + large);
        let d = self.statistic(alternative);
        PValue::new(match alternative {
            Alternative::TwoSided => one_sample_sf(d, effective.round_ties_even()),
            Alternative::Greater | Alternative::Less => {
                let z = effective.sqrt() * d;
                let skew = 2.0 * z * (large + 2.0 * small) / (large * small * (large + small)).sqrt() / 3.0;
                (-2.0 * z * z - skew).exp()
            }
        })
    }
}

/// The two-sample Kolmogorov-Smirnov test (Smirnov 1939).
///
/// # Errors
/// `empty_sample`, `nonfinite_value`.
///
/// # Examples
/// ```
/// use analysis::{Alternative, kolmogorov_smirnov};
/// let test = kolmogorov_smirnov(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0])?;
/// assert_eq!(test.statistic(Alternative::TwoSided), 1.0);
/// assert!((test.p_value(Alternative::TwoSided).value() - 0.1).abs() < 1e-15);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn kolmogorov_smirnov(a: &[f64], b: &[f64]) -> Result<KolmogorovSmirnov> {
    let (a, b) = (finite_sample("sample a", a, 1)?, finite_sample("sample b", b, 1)?);
    let (mut above, mut below) = (0.0f64, 0.0f64);
    for value in a.iter().chain(&b) {
        let share = |sample: &[f64]| sample.partition_point(|v| v <= value) as f64 / sample.len() as f64;
        let distance = share(&a) - share(&b);
        above = above.max(distance);
        below = below.max(-distance);
    }
    Ok(KolmogorovSmirnov { d_above: above, d_below: below, count_a: a.len(), count_b: b.len() })
}

/// The share of all orders of `n` and `m` values in which the distribution functions come as far apart as `d`.
///
/// Share of the paths to (i, j) that touched the boundary: the last step came from the left with probability
/// i / (i + j). Only sums of positive numbers, so that tails keep their digits.
fn touching_share(n: usize, m: usize, d: f64, alternative: Alternative) -> f64 {
    // In units of 1 / (n m), where distances are whole.
    let least = (d * n as f64 * m as f64).round() as i64;
    let touches = |i: usize, j: usize| {
        let distance = (i * m) as i64 - (j * n) as i64;
        match alternative {
            Alternative::TwoSided => distance.abs() >= least,
            _ => distance >= least,
        }
    };
    let mut column = vec![0.0; m + 1];
    for i in 0..=n {
        for j in 0..=m {
            column[j] = if touches(i, j) {
                1.0
            } else {
                let all = (i + j) as f64;
                let from_left = if i > 0 { column[j] * i as f64 / all } else { 0.0 };
                let from_below = if j > 0 { column[j - 1] * j as f64 / all } else { 0.0 };
                from_left + from_below
            };
        }
    }
    column[m]
}

/// P(D >= d) of one sample of `n` values against its own distribution (Marsaglia, Tsang & Wang 2003); by Kolmogorov's
/// limit for large samples.
fn one_sample_sf(d: f64, n: f64) -> f64 {
    if d <= 0.0 || n < 1.0 {
        return 1.0;
    }
    if d >= 1.0 {
        return 0.0;
    }
    if n > MATRIX_SIZE_MAX {
        let z = n.sqrt() * d;
        let term = |k: i32| f64::from(k % 2 * 2 - 1) * (-2.0 * f64::from(k * k) * z * z).exp();
        return (2.0 * (1..=100).map(term).sum::<f64>()).clamp(0.0, 1.0);
    }
    let k = (n * d).ceil();
    let h = k - n * d;
    let size = 2 * k as usize - 1;
    let mut matrix = vec![vec![0.0; size]; size];
    for (i, row) in matrix.iter_mut().enumerate() {
        for (j, cell) in row.iter_mut().enumerate() {
            *cell = if j <= i + 1 { 1.0 } else { 0.0 };
        }
    }
    for (i, row) in matrix.iter_mut().enumerate() {
        row[0] -= h.powi(i as i32 + 1);
    }
    for (i, cell) in matrix[size - 1].iter_mut().enumerate() {
        *cell -= h.powi((size - i) as i32);
    }
    if h > 0.5 {
        matrix[size - 1][0] += (2.0 * h - 1.0).powi(size as i32);
    }
    for (i, row) in matrix.iter_mut().enumerate() {
        for (j, cell) in row.iter_mut().enumerate() {
            for factor in 1..=(i + 1).saturating_sub(j) {
                *cell /= factor as f64;
            }
        }
    }
    let (power, exponent) = power_of(&matrix, n as u32);
    let middle = power[k as usize - 1][k as usize - 1];
    // n! / n^n, in logarithms.
    let ln_factor = (1..=n as u32).map(|i| (f64::from(i) / n).ln()).sum::<f64>();
    (1.0 - (middle.ln() + exponent * std::f64::consts::LN_2 + ln_factor).exp()).clamp(0.0, 1.0)
}

/// A power of a matrix of positive numbers, scaled by 2 to the returned exponent.
fn power_of(matrix: &[Vec<f64>], power: u32) -> (Vec<Vec<f64>>, f64) {
    if power == 1 {
        return (matrix.to_vec(), 0.0);
    }
    let (half, exponent) = power_of(matrix, power / 2);
    let (mut product, mut exponent) = (multiplied(&half, &half), 2.0 * exponent);
    if power % 2 == 1 {
        product = multiplied(&product, matrix);
    }
    let center = product[product.len() / 2][product.len() / 2];
    let shift = if center > 0.0 { libm::ilogb(center) } else { 0 };
    if shift.abs() > 300 {
        product.iter_mut().flatten().for_each(|cell| *cell = libm::scalbn(*cell, -shift));
        exponent += f64::from(shift);
    }
    (product, exponent)
}

fn multiplied(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let product_row = |row: &Vec<f64>| {
        let mut sums = vec![0.0; b.len()];
        for (factor, other) in row.iter().zip(b) {
            sums.iter_mut().zip(other).for_each(|(sum, cell)| *sum += factor * cell);
        }
        sums
    };
    a.iter().map(product_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_samples_do_not_differ() {
        let test = kolmogorov_smirnov(&[1.0; 3], &[1.0; 4]).unwrap();
        for alternative in [Alternative::TwoSided, Alternative::Greater, Alternative::Less] {
            assert_eq!(test.statistic(alternative), 0.0);
            assert_eq!(test.p_value(alternative).value(), 1.0);
        }
    }

    #[test]
    fn the_matrix_and_the_limit_meet() {
        // Marsaglia, Tsang & Wang 2003 give P(D10 < 0.274) = 0.6284796154565043.
        assert!((one_sample_sf(0.274, 10.0) - (1.0 - 0.628_479_615_456_504_3)).abs() < 1e-13);
        let (near, far) = (one_sample_sf(0.04, 1_000.0), one_sample_sf(0.04, 1_001.0));
        assert!((near / far - 1.0).abs() < 0.06, "{near} {far}");
    }

    #[test]
    fn large_samples_are_answered_without_counting() {
        let a: Vec<f64> = (0..1_500).map(f64::from).collect();
        let b: Vec<f64> = a.iter().map(|v| v + 50.0).collect();
        let test = kolmogorov_smirnov(&a, &b).unwrap();
        assert_eq!(test.p_value(Alternative::TwoSided), test.p_asymptotic(Alternative::TwoSided));
        assert!(test.p_value(Alternative::Greater).value() < 0.5);
    }
}
