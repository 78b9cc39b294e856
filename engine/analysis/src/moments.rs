//! Mean and sum of squared deviations of a sample, without loss of digits.
//!
//! The mean is kept as an unevaluated sum of two doubles, so that a difference of two means keeps its digits
//! when both sit on a large offset, and a constant sample has a spread of exactly 0. Samples near the ends of
//! the range of doubles are scaled by a power of two, so that squares neither overflow nor vanish.

/// Samples whose largest magnitude lies outside 2^-400 .. 2^400 are scaled.
const UNSCALED_EXPONENT_MAX: i32 = 400;

/// Count, mean and sum of squared deviations of a sample of finite values. Mergeable.
///
/// # Examples
/// ```
/// let moments = analysis::Moments::of(&[0.1; 7]);
/// assert_eq!(moments.mean(), Some(0.1));
/// assert_eq!(moments.variance(), Some(0.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moments {
    count: usize,
    /// Values are stored divided by 2^exponent.
    exponent: i32,
    mean: Compensated,
    squares: f64,
}

impl Moments {
    /// The moments of `values`, which must all be finite.
    pub fn of(values: &[f64]) -> Self {
        let largest = values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let exponent = match libm::ilogb(largest) {
            _ if largest == 0.0 => 0,
            e if e.abs() <= UNSCALED_EXPONENT_MAX => 0,
            e => e,
        };
        let scaled = |v: f64| if exponent == 0 { v } else { libm::scalbn(v, -exponent) };
        let mut sum = Compensated::default();
        for &value in values {
            sum.add(scaled(value));
        }
        let mean =
            if values.is_empty() { Compensated::default() } else { sum.divided_by(values.len() as f64) };
        let mut squares = Compensated::default();
        for &value in values {
            let deviation = mean.distance_to(scaled(value));
            squares.add(deviation * deviation);
        }
        Self { count: values.len(), exponent, mean, squares: squares.value() }
    }

    /// Number of values.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Arithmetic mean; `None` for an empty sample.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| libm::scalbn(self.mean.value(), self.exponent))
    }

    /// Variance with divisor n - 1; `None` below two values.
    pub fn variance(&self) -> Option<f64> {
        (self.count > 1)
            .then(|| libm::scalbn(self.squares / (self.count - 1) as f64, self.exponent.saturating_mul(2)))
    }

    /// Standard deviation with divisor n - 1; `None` below two values.
    pub fn standard_deviation(&self) -> Option<f64> {
        (self.count > 1).then(|| libm::scalbn((self.squares / (self.count - 1) as f64).sqrt(), self.exponent))
    }

    /// Standard error of the mean; `None` below two values.
    pub fn standard_error(&self) -> Option<f64> {
        self.standard_deviation().map(|sd| sd / (self.count as f64).sqrt())
    }

    /// Whether all values are equal (also true of a single one).
    pub fn is_constant(&self) -> bool {
        self.squares == 0.0
    }

    /// The moments of both samples together (Chan, Golub & LeVeque 1979).
    pub fn merge(&self, other: &Self) -> Self {
        if self.count == 0 {
            return *other;
        }
        if other.count == 0 {
            return *self;
        }
        let exponent = self.exponent.max(other.exponent);
        let (left, right) = (self.rescaled(exponent), other.rescaled(exponent));
        let (n1, n2) = (left.count as f64, right.count as f64);
        let distance = right.mean.minus(&left.mean).value();
        let mut mean = left.mean;
        mean.add(distance * (n2 / (n1 + n2)));
        let squares = left.squares + right.squares + distance * distance * (n1 * n2 / (n1 + n2));
        Self { count: self.count + other.count, exponent, mean, squares }
    }

    /// Both samples at one common scale, so that their sums of squares can be combined.
    pub(crate) fn at_common_scale(left: &Self, right: &Self) -> (Self, Self) {
        let exponent = left.exponent.max(right.exponent);
        (left.rescaled(exponent), right.rescaled(exponent))
    }

    /// mean(self) - mean(other) in scaled units; both must be at one scale.
    pub(crate) fn scaled_difference(&self, other: &Self) -> f64 {
        self.mean.minus(&other.mean).value()
    }

    /// The mean in scaled units, minus `offset` given in the units of the data.
    pub(crate) fn scaled_distance_from(&self, offset: f64) -> f64 {
        -self.mean.distance_to(libm::scalbn(offset, -self.exponent))
    }

    /// Sum of squared deviations in scaled units.
    pub(crate) fn scaled_squares(&self) -> f64 {
        self.squares
    }

    /// Converts a length in scaled units to the units of the data.
    pub(crate) fn unscale(&self, length: f64) -> f64 {
        libm::scalbn(length, self.exponent)
    }

    fn rescaled(&self, exponent: i32) -> Self {
        let shift = self.exponent - exponent;
        Self {
            count: self.count,
            exponent,
            mean: Compensated {
                high: libm::scalbn(self.mean.high, shift),
                low: libm::scalbn(self.mean.low, shift),
            },
            squares: libm::scalbn(self.squares, shift.saturating_mul(2)),
        }
    }
}

/// An unevaluated sum of two doubles (Dekker 1971).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Compensated {
    high: f64,
    low: f64,
}

impl Compensated {
    pub(crate) fn add(&mut self, value: f64) {
        let (sum, error) = two_sum(self.high, value);
        (self.high, self.low) = two_sum(sum, self.low + error);
    }

    pub(crate) fn value(&self) -> f64 {
        self.high + self.low
    }

    fn minus(&self, other: &Self) -> Self {
        let mut difference = *self;
        difference.add(-other.high);
        difference.add(-other.low);
        difference
    }

    fn divided_by(&self, divisor: f64) -> Self {
        let quotient = self.high / divisor;
        let remainder = (-quotient).mul_add(divisor, self.high) + self.low;
        let (high, low) = two_sum(quotient, remainder / divisor);
        Self { high, low }
    }

    /// `value` minus this number.
    fn distance_to(&self, value: f64) -> f64 {
        (value - self.high) - self.low
    }
}

/// The sum of two doubles and its rounding error (Knuth).
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let part = sum - a;
    (sum, (a - (sum - part)) + (b - part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_offset_costs_no_digits() {
        let moments = Moments::of(&[1e15 + 1.0, 1e15 + 2.0, 1e15 + 6.0]);
        assert_eq!(moments.mean(), Some(1e15 + 3.0));
        assert_eq!(moments.variance(), Some(7.0));
    }

    #[test]
    fn the_ends_of_the_range_neither_overflow_nor_vanish() {
        let huge = Moments::of(&[1.5e308, 1.6e308, 1.7e308]);
        assert!((huge.mean().unwrap() / 1.6e308 - 1.0).abs() < 1e-15);
        assert!((huge.standard_deviation().unwrap() / 1e307 - 1.0).abs() < 1e-12);
        assert_eq!(huge.variance(), Some(f64::INFINITY));
        let tiny = Moments::of(&[5e-324, 5e-324, 1e-323]);
        assert!(tiny.standard_deviation().unwrap() > 0.0);
    }

    #[test]
    fn merging_equals_one_pass() {
        let values: Vec<f64> = (0..100).map(|i| 1e9 + f64::from(i * i % 17)).collect();
        let whole = Moments::of(&values);
        let merged = Moments::of(&values[..31]).merge(&Moments::of(&values[31..]));
        assert_eq!(merged.mean(), whole.mean());
        assert!((merged.variance().unwrap() / whole.variance().unwrap() - 1.0).abs() < 1e-13);
        assert_eq!(Moments::of(&[]).merge(&whole), whole);
    }
}
