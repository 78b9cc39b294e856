//! Deterministic descriptive statistics: compensated mean, two-pass variance, mergeable moments,
//! trimmed means and quantiles of type 7.
//!
//! Non-finite values are not hidden: NaN in gives NaN out, infinities follow IEEE arithmetic for
//! the mean and their value for order statistics.

/// A sum that carries its rounding error along (Neumaier 1974; Ogita, Rump & Oishi 2005): as
/// accurate as if it were computed with twice the precision and then rounded.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CompensatedSum {
    high: f64,
    low: f64,
}

impl CompensatedSum {
    /// Adds one value.
    pub fn add(&mut self, value: f64) {
        let (sum, error) = two_sum(self.high, value);
        self.high = sum;
        self.low += error;
    }

    /// The sum so far.
    pub fn value(&self) -> f64 {
        // An overflown sum has a NaN error term.
        if self.high.is_finite() { self.high + self.low } else { self.high }
    }

    /// The sum divided by `count`, as a leading and a trailing part.
    fn divided(&self, count: f64) -> (f64, f64) {
        let quotient = self.value() / count;
        let remainder = (-quotient).mul_add(count, self.high) + self.low;
        two_sum(quotient, remainder / count)
    }
}

impl Extend<f64> for CompensatedSum {
    fn extend<I: IntoIterator<Item = f64>>(&mut self, values: I) {
        for value in values {
            self.add(value);
        }
    }
}

/// `a + b` and the error of that addition, exactly (Knuth).
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    (sum, (a - (sum - b_part)) + (b - b_part))
}

/// Mean of the values as leading and trailing part; all values must be finite, none may be absent.
fn mean_parts(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mut sum = CompensatedSum::default();
    sum.extend(values.iter().copied());
    if sum.value().is_finite() {
        return sum.divided(count);
    }
    // Only the sum overflows: a power of two that outweighs any count brings it back.
    let shrink = 0.5f64.powi(64);
    let mut sum = CompensatedSum::default();
    sum.extend(values.iter().map(|value| value * shrink));
    (sum.divided(count).0 / shrink, 0.0)
}

/// Arithmetic mean; `None` for no values.
///
/// ```
/// assert_eq!(kernels::describe::mean(&[0.1; 7]), Some(0.1));
/// assert_eq!(kernels::describe::mean(&[1e16, 1.0, -1e16, 1.0, 6.0]), Some(1.6));
/// ```
pub fn mean(values: &[f64]) -> Option<f64> {
    Moments::from_slice(values).mean()
}

/// Sample variance (divisor `n - 1`); `None` below two values, NaN when one is not finite.
pub fn variance(values: &[f64]) -> Option<f64> {
    Moments::from_slice(values).variance()
}

/// Sample standard deviation (divisor `n - 1`), also where the variance would leave the range of
/// a double; `None` below two values, NaN when one is not finite.
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    let largest = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    if !(largest > 0.0 && largest.is_finite()) || values.iter().any(|value| !value.is_finite()) {
        return variance(values).map(f64::sqrt);
    }
    let exponent = exponent_above(largest);
    let scaled: Vec<f64> = values.iter().map(|&value| scale_by_power_of_two(value, -exponent)).collect();
    variance(&scaled).map(|variance| scale_by_power_of_two(variance.sqrt(), exponent))
}

/// The smallest e with `|value| < 2^e`, for finite values other than 0.
pub(crate) fn exponent_above(value: f64) -> i32 {
    let biased = ((value.to_bits() >> 52) & 0x7FF) as i32;
    if biased > 0 {
        return biased - 1022;
    }
    let leading = (value.to_bits() << 12).leading_zeros() as i32;
    -1022 - leading
}

/// `value * 2^exponent`, exact unless the result leaves the normal range.
pub(crate) fn scale_by_power_of_two(mut value: f64, mut exponent: i32) -> f64 {
    const UP: f64 = f64::from_bits(0x7FE0_0000_0000_0000);
    while exponent > 1023 {
        value *= UP;
        exponent -= 1023;
    }
    while exponent < -1022 {
        value *= f64::MIN_POSITIVE;
        exponent += 1022;
    }
    value * f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// Count, mean and sum of squared deviations of a sample: partial results that can be merged
/// (Chan, Golub & LeVeque 1979). The mean carries a trailing part, so that variances survive
/// offsets that are 10^15 times larger than the spread.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moments {
    count: u64,
    mean: f64,
    mean_low: f64,
    squares: f64,
    nonfinite: u64,
    nonfinite_sum: f64,
}

impl Moments {
    /// Moments of a slice by two passes.
    pub fn from_slice(values: &[f64]) -> Self {
        if values.iter().all(|value| value.is_finite()) {
            return Self::from_finite(values);
        }
        let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        let mut moments = Self::from_finite(&finite);
        for &value in values.iter().filter(|value| !value.is_finite()) {
            moments.push(value);
        }
        moments
    }

    fn from_finite(values: &[f64]) -> Self {
        if values.is_empty() {
            return Self::default();
        }
        let (mean, mean_low) = mean_parts(values);
        // The mean carries its trailing part, so what is left of the sum of deviations is nothing.
        let deviations = values.iter().map(|value| (value - mean) - mean_low);
        let mut squares = CompensatedSum::default();
        squares.extend(deviations.map(|deviation| deviation * deviation));
        let squares = squares.value();
        Self { count: values.len() as u64, mean, mean_low, squares, ..Self::default() }
    }

    /// Adds one value.
    pub fn push(&mut self, value: f64) {
        if value.is_finite() {
            self.merge(&Self { count: 1, mean: value, ..Self::default() });
        } else {
            self.nonfinite += 1;
            self.nonfinite_sum += value;
        }
    }

    /// Adds all values of another sample.
    pub fn merge(&mut self, other: &Self) {
        self.nonfinite += other.nonfinite;
        self.nonfinite_sum += other.nonfinite_sum;
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            let Self { count, mean, mean_low, squares, .. } = *other;
            *self = Self { count, mean, mean_low, squares, ..*self };
            return;
        }
        let count = self.count + other.count;
        let share = other.count as f64 / count as f64;
        let difference = (other.mean - self.mean) + (other.mean_low - self.mean_low);
        if difference.is_finite() {
            let (mean, error) = two_sum(self.mean, difference * share);
            (self.mean, self.mean_low) = two_sum(mean, self.mean_low + error);
            self.squares += other.squares + difference * difference * (self.count as f64 * share);
        } else {
            // The means lie more than the largest double apart.
            self.mean = self.mean * (1.0 - share) + other.mean * share;
            self.mean_low = 0.0;
            self.squares = f64::INFINITY;
        }
        self.count = count;
    }

    /// Number of values, finite or not.
    pub fn count(&self) -> u64 {
        self.count + self.nonfinite
    }

    /// Number of values that are NaN or infinite.
    pub fn nonfinite(&self) -> u64 {
        self.nonfinite
    }

    /// The moments of the finite values alone.
    pub fn finite(&self) -> Self {
        Self { nonfinite: 0, nonfinite_sum: 0.0, ..*self }
    }

    /// Arithmetic mean; `None` for no values.
    pub fn mean(&self) -> Option<f64> {
        match (self.count(), self.nonfinite) {
            (0, _) => None,
            (_, 0) => Some(self.mean + self.mean_low),
            _ => Some(self.nonfinite_sum),
        }
    }

    /// Sum of squared deviations from the mean; NaN when a value is not finite.
    pub fn sum_of_squares(&self) -> f64 {
        if self.nonfinite > 0 { f64::NAN } else { self.squares }
    }

    /// Sample variance (divisor `n - 1`); `None` below two values, NaN when one is not finite.
    pub fn variance(&self) -> Option<f64> {
        (self.count() >= 2).then(|| self.sum_of_squares() / (self.count() - 1) as f64)
    }
}

/// The values in ascending total order, with negative zero as zero.
pub fn sorted(values: &[f64]) -> Vec<f64> {
    // Adding zero turns -0 into +0 and changes nothing else.
    let mut sorted: Vec<f64> = values.iter().map(|value| value + 0.0).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// Quantile of type 7 (linear interpolation between order statistics, Hyndman & Fan 1996);
/// `None` for no values or a probability outside `[0, 1]`, NaN when a value is NaN.
///
/// ```
/// assert_eq!(kernels::describe::quantile(&[3.0, 1.0, 2.0, 4.0], 0.5), Some(2.5));
/// ```
pub fn quantile(values: &[f64], probability: f64) -> Option<f64> {
    if values.iter().any(|value| value.is_nan()) {
        return (0.0..=1.0).contains(&probability).then_some(f64::NAN);
    }
    quantile_sorted(&sorted(values), probability)
}

/// [`quantile`] of values that are sorted already and hold no NaN.
pub fn quantile_sorted(sorted: &[f64], probability: f64) -> Option<f64> {
    if sorted.is_empty() || !(0.0..=1.0).contains(&probability) {
        return None;
    }
    let (rank, fraction) = type7_rank(sorted.len(), probability);
    let upper = sorted.get(rank + 1).copied().unwrap_or(sorted[rank]);
    Some(interpolate(sorted[rank], upper, fraction))
}

/// The rank (from 0) below the quantile of type 7 and the share of the next rank.
pub(crate) fn type7_rank(count: usize, probability: f64) -> (usize, f64) {
    let position = (count - 1) as f64 * probability;
    let rank = (position.floor() as usize).min(count - 1);
    (rank, position - rank as f64)
}

/// `(1 - fraction) * lower + fraction * upper`, without overflow and monotone in both ends.
pub(crate) fn interpolate(lower: f64, upper: f64, fraction: f64) -> f64 {
    if fraction <= 0.0 {
        return lower;
    }
    // Rounding may leave the segment by one unit, which would break monotonicity.
    ((1.0 - fraction) * lower + fraction * upper).max(lower).min(upper)
}

/// The range of ranks that a trimmed mean of `count` values keeps.
pub(crate) fn kept_ranks(count: usize, fraction: f64) -> std::ops::Range<usize> {
    let cut = (fraction * count as f64).floor() as usize;
    cut..count - cut
}

/// Mean after dropping `floor(fraction * n)` values at each end; `None` for no values or a
/// fraction outside `[0, 0.5)`, NaN when a value is NaN.
pub fn trimmed_mean(values: &[f64], fraction: f64) -> Option<f64> {
    if values.is_empty() || !(0.0..0.5).contains(&fraction) {
        return None;
    }
    if values.iter().any(|value| value.is_nan()) {
        return Some(f64::NAN);
    }
    let sorted = sorted(values);
    mean(&sorted[kept_ranks(sorted.len(), fraction)])
}

/// Interquartile mean: the mean of the middle half (equal to the mean up to three values).
pub fn iqm(values: &[f64]) -> Option<f64> {
    trimmed_mean(values, 0.25)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_and_scaling_cover_the_whole_range() {
        for (value, expected) in
            [(1.0, 1), (0.75, 0), (f64::MAX, 1024), (5e-324, -1073), (f64::MIN_POSITIVE, -1021)]
        {
            assert_eq!(exponent_above(value), expected, "{value:e}");
            let scaled = scale_by_power_of_two(value, -expected);
            assert!((0.5..1.0).contains(&scaled), "{value:e} became {scaled}");
            assert_eq!(scale_by_power_of_two(scaled, expected), value);
        }
    }

    #[test]
    fn huge_values_do_not_overflow_the_mean() {
        assert_eq!(mean(&[1.5e308, 1.6e308, 1.7e308]), Some(1.6e308));
        let mut moments = Moments::from_slice(&[f64::MAX, f64::MAX]);
        moments.merge(&Moments::from_slice(&[-f64::MAX, -f64::MAX]));
        assert_eq!(moments.mean(), Some(0.0));
    }

    #[test]
    fn nonfinite_values_show_in_the_result() {
        let moments = Moments::from_slice(&[1.0, f64::NAN, 3.0]);
        assert!(moments.mean().unwrap().is_nan() && moments.variance().unwrap().is_nan());
        assert_eq!((moments.count(), moments.nonfinite()), (3, 1));
        assert_eq!(moments.finite().mean(), Some(2.0));
        assert_eq!(mean(&[1.0, f64::INFINITY]), Some(f64::INFINITY));
        assert!(mean(&[f64::NEG_INFINITY, f64::INFINITY]).unwrap().is_nan());
        assert_eq!(quantile(&[f64::NEG_INFINITY, 1.0, f64::INFINITY], 0.5), Some(1.0));
        assert!(quantile(&[f64::NAN, 1.0], 0.5).unwrap().is_nan());
    }

    #[test]
    fn no_values_and_bad_parameters_give_nothing() {
        assert_eq!((mean(&[]), variance(&[1.0]), quantile(&[], 0.5), iqm(&[])), (None, None, None, None));
        assert_eq!((quantile(&[1.0], 1.5), trimmed_mean(&[1.0], 0.5)), (None, None));
    }
}
