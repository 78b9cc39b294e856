//! Statistics that follow from sums of products: variance, standard deviation, and ratios of two means, of
//! independent samples or of pairs.
//!
//! Columns are moved by their mean and scaled by a power of two; a resample is known by the sums of its columns.
//! The jackknife behind BCa takes O(n) by leaving one value out of the sums. Studentized ratios use the delta
//! method.

use crate::describe::{self, exponent_above, scale_by_power_of_two};
use crate::interval::{squared_deviations, tie_tolerance};
use crate::request::{Flags, Method};
use crate::summary::{Summary, acceleration};

/// A statistic of sums of products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Sample variance.
    Variance,
    /// Its square root.
    Deviation,
    /// Mean of the first sample by mean of the second, independent of each other.
    Ratio,
    /// The same of pairs.
    PairedRatio,
}

impl Moment {
    /// Whether there is a second sample with draws of its own.
    pub(crate) fn has_second_draws(self) -> bool {
        self == Self::Ratio
    }

    fn is_ratio(self) -> bool {
        matches!(self, Self::Ratio | Self::PairedRatio)
    }
}

/// A column, and where it lies.
struct Column {
    values: Vec<f64>,
    /// What was subtracted, in units of the scaled values.
    centre: f64,
    exponent: i32,
}

impl Column {
    fn new(values: &[f64]) -> Self {
        let largest = |values: &[f64]| values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        let exponent_of = |value: f64| if value == 0.0 { 0 } else { exponent_above(value) };
        let shrink = exponent_of(largest(values));
        let centre = scale_by_power_of_two(describe::mean(values).unwrap_or(0.0), -shrink);
        let mut moved: Vec<f64> =
            values.iter().map(|&value| scale_by_power_of_two(value, -shrink) - centre).collect();
        let stretch = exponent_of(largest(&moved));
        for value in &mut moved {
            *value = scale_by_power_of_two(*value, -stretch);
        }
        Self { values: moved, centre: scale_by_power_of_two(centre, -stretch), exponent: shrink + stretch }
    }
}

/// One group, ready to be resampled.
pub(crate) struct MomentTarget {
    moment: Moment,
    n: f64,
    n_second: f64,
    /// Columns whose sums describe a resample of the first sample (or of the pairs).
    pub(crate) first: Vec<Vec<f64>>,
    /// Columns of the second sample.
    pub(crate) second: Vec<Vec<f64>>,
    centres: [f64; 2],
    exponents: [i32; 2],
    pub(crate) summary: Summary,
}

/// One replicate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replicate {
    /// The statistic; infinite where the denominator is zero or of the wrong sign.
    pub(crate) value: f64,
    /// Its squared standard error, where it is asked for.
    pub(crate) variance: f64,
}

impl MomentTarget {
    /// The columns and the summary of a group. The samples must be finite, in canonical order, and not trivial.
    pub(crate) fn new(moment: Moment, first: &[f64], second: &[f64], method: Method, level: f64) -> Self {
        let studentized = method == Method::Studentized;
        let product =
            |left: &[f64], right: &[f64]| left.iter().zip(right).map(|(l, r)| l * r).collect::<Vec<_>>();
        let x = Column::new(first);
        let mut columns = (vec![x.values.clone()], Vec::new());
        let (mut centres, mut exponents) = ([x.centre, 0.0], [x.exponent, 0]);
        if moment.is_ratio() {
            let y = Column::new(second);
            centres[1] = y.centre;
            exponents[1] = y.exponent;
            if moment == Moment::PairedRatio {
                columns.0.push(y.values.clone());
                if studentized {
                    columns.0.extend([
                        product(&x.values, &x.values),
                        product(&x.values, &y.values),
                        product(&y.values, &y.values),
                    ]);
                }
            } else {
                if studentized {
                    columns.0.push(product(&x.values, &x.values));
                    columns.1.push(product(&y.values, &y.values));
                }
                columns.1.insert(0, y.values);
            }
        } else {
            columns.0.push(product(&x.values, &x.values));
        }
        let summary = Summary {
            method,
            level,
            theta: f64::NAN,
            tie: 0.0,
            acceleration: None,
            standard_error: f64::NAN,
        };
        let mut target = Self {
            moment,
            n: first.len() as f64,
            n_second: second.len() as f64,
            first: columns.0,
            second: columns.1,
            centres,
            exponents,
            summary,
        };
        let chain = |columns: &[Vec<f64>]| -> Vec<f64> {
            let sum =
                |column: &Vec<f64>| column.iter().fold(0.0f64, |sum, &value| 1.0f64.mul_add(value, sum));
            columns.iter().map(sum).collect()
        };
        let whole = target.replicate(&chain(&target.first), &chain(&target.second), 0.0);
        target.summary.theta = whole.value;
        target.summary.standard_error = whole.variance.sqrt();
        let scale = if moment.is_ratio() { whole.value.abs() } else { 1.0 };
        target.summary.tie = tie_tolerance(first.len() + second.len()) * scale;
        if method == Method::Bca {
            target.summary.acceleration = acceleration(&target.left_out());
        }
        target
    }

    /// The mean in the denominator of the sample itself, in scaled units.
    pub(crate) fn denominator(&self) -> f64 {
        let column = if self.moment == Moment::PairedRatio { &self.first[1] } else { &self.second[0] };
        self.centres[1] + column.iter().sum::<f64>() / column.len() as f64
    }

    /// The statistic of a resample with these sums. A ratio whose denominator does not have the sign of
    /// `denominator` (where that is not 0) has gone through infinity: it counts as infinite, with the sign it had
    /// on its way there.
    #[inline(always)]
    pub(crate) fn replicate(&self, first: &[f64], second: &[f64], denominator: f64) -> Replicate {
        let n = self.n;
        match self.moment {
            Moment::Variance | Moment::Deviation => {
                let variance = squared_deviations(first[0], first[1], n) / (n - 1.0);
                let value = if self.moment == Moment::Deviation { variance.sqrt() } else { variance };
                Replicate { value, variance: f64::NAN }
            }
            Moment::Ratio => {
                let over = self.centres[0] + first[0] / n;
                let under = self.centres[1] + second[0] / self.n_second;
                let mut variance = f64::NAN;
                let value = ratio(over, under, denominator);
                if let (Some(squares), Some(squares_second)) = (first.get(1), second.get(1)) {
                    let m = self.n_second;
                    let of_first = squared_deviations(first[0], *squares, n) / (n * (n - 1.0));
                    let of_second = squared_deviations(second[0], *squares_second, m) / (m * (m - 1.0));
                    variance = (of_first + value * value * of_second) / (under * under);
                }
                Replicate { value, variance }
            }
            Moment::PairedRatio => {
                let over = self.centres[0] + first[0] / n;
                let under = self.centres[1] + first[1] / n;
                let value = ratio(over, under, denominator);
                let mut variance = f64::NAN;
                if let [sum, sum_second, xx, xy, yy] = *first {
                    // Residuals x - r y add up to zero over the resample.
                    let squares = xx - 2.0 * value * xy + value * value * yy;
                    let scale = xx + value * value * yy;
                    let deviations = squares - (sum - value * sum_second).powi(2) / n;
                    let deviations =
                        if deviations <= scale * crate::interval::NO_SPREAD { 0.0 } else { deviations };
                    variance = deviations / (n * (n - 1.0)) / (under * under);
                }
                Replicate { value, variance }
            }
        }
    }

    /// The statistics with one value (or pair) left out in turn, sample by sample.
    fn left_out(&self) -> Vec<Vec<f64>> {
        let sums: Vec<f64> = self.first.iter().map(|column| column.iter().sum()).collect();
        let (n, [over, under]) = (self.n, self.centres);
        let rest = n - 1.0;
        match self.moment {
            Moment::Variance | Moment::Deviation => {
                let statistic = |&value: &f64| {
                    let (sum, squares) = (sums[0] - value, sums[1] - value * value);
                    let variance = squared_deviations(sum, squares, rest) / (rest - 1.0);
                    if self.moment == Moment::Deviation { variance.sqrt() } else { variance }
                };
                vec![self.first[0].iter().map(statistic).collect()]
            }
            Moment::Ratio => {
                let m = self.n_second;
                let sum_second: f64 = self.second[0].iter().sum();
                let (mean, mean_second) = (over + sums[0] / n, under + sum_second / m);
                let first = self.first[0]
                    .iter()
                    .map(|value| (over + (sums[0] - value) / rest) / mean_second)
                    .collect();
                let second = self.second[0]
                    .iter()
                    .map(|value| mean / (under + (sum_second - value) / (m - 1.0)))
                    .collect();
                vec![first, second]
            }
            Moment::PairedRatio => {
                let pairs = self.first[0].iter().zip(&self.first[1]);
                let statistic =
                    |(x, y): (&f64, &f64)| (over + (sums[0] - x) / rest) / (under + (sums[1] - y) / rest);
                vec![pairs.map(statistic).collect()]
            }
        }
    }

    /// A location in the units of the replicates, in the caller's units.
    pub(crate) fn unscaled(&self, value: f64) -> f64 {
        let exponent = self.exponents[0];
        match self.moment {
            Moment::Variance => scale_by_power_of_two(scale_by_power_of_two(value, exponent), exponent),
            Moment::Deviation => scale_by_power_of_two(value, exponent),
            Moment::Ratio | Moment::PairedRatio => scale_by_power_of_two(value, exponent - self.exponents[1]),
        }
    }

    /// Whether replicates have a denominator that may fail.
    pub(crate) fn is_ratio(&self) -> bool {
        self.moment.is_ratio()
    }
}

#[inline(always)]
fn ratio(over: f64, under: f64, denominator: f64) -> f64 {
    if under * denominator < 0.0 || under == 0.0 {
        return f64::INFINITY.copysign(over) * if denominator < 0.0 { -1.0 } else { 1.0 };
    }
    over / under
}

/// Groups that need no resampling: their estimate, ends, standard error and remarks.
pub(crate) fn trivial(moment: Moment, first: &[f64], second: Option<&[f64]>) -> Option<([f64; 3], Flags)> {
    let constant = |values: &[f64]| values.iter().all(|value| *value == values[0]);
    let nan = f64::NAN;
    let second = match second {
        None if first.is_empty() => return Some(([nan; 3], Flags::ABSENT)),
        None => {
            return match first.len() {
                1 => Some(([nan; 3], Flags::DEGENERATE)),
                _ if constant(first) => Some(([0.0; 3], Flags::ZERO_VARIANCE)),
                _ => None,
            };
        }
        Some(second) => second,
    };
    if first.is_empty() || second.is_empty() {
        return Some(([nan; 3], Flags::ABSENT));
    }
    let mean = |values: &[f64]| describe::mean(values).unwrap_or(nan);
    let (over, under) = (mean(first), mean(second));
    if under == 0.0 {
        return Some(([nan; 3], Flags::DENOMINATOR | Flags::NO_INTERVAL));
    }
    let estimate = over / under;
    if first.len() == 1 || second.len() == 1 {
        let ends = if moment == Moment::PairedRatio { estimate } else { nan };
        return Some(([estimate, ends, nan], Flags::DEGENERATE));
    }
    (constant(first) && constant(second)).then_some(([estimate, estimate, 0.0], Flags::ZERO_VARIANCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The statistic of plain values.
    fn direct(moment: Moment, x: &[f64], y: &[f64]) -> f64 {
        let mean = |values: &[f64]| describe::mean(values).unwrap();
        match moment {
            Moment::Variance => describe::variance(x).unwrap(),
            Moment::Deviation => describe::standard_deviation(x).unwrap(),
            Moment::Ratio | Moment::PairedRatio => mean(x) / mean(y),
        }
    }

    #[test]
    fn estimates_and_left_out_statistics_equal_recomputed_ones() {
        let x: Vec<f64> = (0..9).map(|i| 40.0 + f64::from(i * i % 7)).collect();
        let y: Vec<f64> = (0..9).map(|i| 700.0 + f64::from(i * 5 % 9) * 3.0).collect();
        let without = |values: &[f64], index: usize| {
            let mut rest = values.to_vec();
            rest.remove(index);
            rest
        };
        for moment in [Moment::Variance, Moment::Deviation, Moment::Ratio, Moment::PairedRatio] {
            let second = if moment.is_ratio() { &y[..] } else { &[] };
            let target = MomentTarget::new(moment, &x, second, Method::Bca, 0.95);
            let close = |got: f64, expected: f64| {
                let got = target.unscaled(got);
                assert!((got / expected - 1.0).abs() < 1e-12, "{moment:?}: {got} and {expected}");
            };
            close(target.summary.theta, direct(moment, &x, &y));
            let left_out = target.left_out();
            for (index, left_out_first) in left_out[0].iter().enumerate() {
                let rest = without(&x, index);
                match moment {
                    Moment::PairedRatio => {
                        close(*left_out_first, direct(moment, &rest, &without(&y, index)));
                    }
                    _ => close(*left_out_first, direct(moment, &rest, &y)),
                }
                if moment == Moment::Ratio {
                    close(left_out[1][index], direct(moment, &x, &without(&y, index)));
                }
            }
        }
    }

    #[test]
    fn standard_errors_of_ratios_follow_the_delta_method() {
        let x: Vec<f64> = (0..11).map(|i| 40.0 + f64::from(i * i % 7)).collect();
        let y: Vec<f64> = (0..11).map(|i| 70.0 + f64::from(i * 5 % 9) * 3.0).collect();
        let r = direct(Moment::Ratio, &x, &y);
        let mean = describe::mean(&y).unwrap();
        let variance = |values: &[f64]| describe::variance(values).unwrap() / 11.0;
        let residuals: Vec<f64> = x.iter().zip(&y).map(|(x, y)| x - r * y).collect();
        for (moment, squared) in [
            (Moment::Ratio, variance(&x) + r * r * variance(&y)),
            (Moment::PairedRatio, variance(&residuals)),
        ] {
            let target = MomentTarget::new(moment, &x, &y, Method::Studentized, 0.95);
            let got = target.unscaled(target.summary.standard_error);
            assert!((got / (squared.sqrt() / mean) - 1.0).abs() < 1e-12, "{moment:?}: {got}");
        }
    }
}
