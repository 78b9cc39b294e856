//! From replicates to interval ends: percentile, basic, BCa and studentized.
//!
//! Shared by the backends. All numbers are in units of the scaled sample (see
//! [`Centred`]); replicates of one-sample statistics are sums that are divided once, at the end.
//!
//! Sources: Efron 1987 and DiCiccio & Efron 1996 (BCa); Hall 1988 (studentized).

use libm::erfc;
use statrs::function::erf::erfc_inv;

use crate::describe::kept_ranks;
use crate::plan::{Centred, Shape};
use crate::request::{Computation, Flags, Method};

/// The answer for one group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interval {
    pub(crate) estimate: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) se: f64,
    pub(crate) flags: Flags,
    pub(crate) dropped_share: f64,
    pub(crate) computation: Computation,
}

impl Interval {
    /// A group without an interval of its own: absent, a single value or constant.
    pub(crate) fn point(estimate: f64, ends: f64, se: f64, flags: Flags) -> Self {
        let computation = Computation::None;
        Self { estimate, low: ends, high: ends, se, flags, dropped_share: 0.0, computation }
    }
}

/// The answer for groups that need no resampling: empty, a single value, or no variance at all.
pub(crate) fn trivial(first: &[f64], second: Option<&[f64]>) -> Option<Interval> {
    let constant = |values: &[f64]| values.first() == values.last();
    let estimate = match (first, second) {
        ([], _) | (_, Some([])) => return Some(Interval::point(f64::NAN, f64::NAN, f64::NAN, Flags::ABSENT)),
        (first, None) if constant(first) => first[0],
        (first, Some(second)) if constant(first) && constant(second) => first[0] - second[0],
        (first, Some(second)) if first.len() == 1 || second.len() == 1 => {
            let estimate = Centred::new(first, second).location(0.0);
            return Some(Interval::point(estimate, f64::NAN, f64::NAN, Flags::DEGENERATE));
        }
        _ => return None,
    };
    Some(match (first.len(), second.map(<[f64]>::len)) {
        (1, None) => Interval::point(estimate, estimate, f64::NAN, Flags::DEGENERATE),
        (1, Some(_)) | (_, Some(1)) => Interval::point(estimate, f64::NAN, f64::NAN, Flags::DEGENERATE),
        _ => Interval::point(estimate, estimate, 0.0, Flags::ZERO_VARIANCE),
    })
}

/// Remarks that follow from the samples and the method alone.
pub(crate) fn sample_flags(method: Method, first: &[f64], second: Option<&[f64]>) -> Flags {
    let mut flags = Flags::empty();
    let smaller = second.map_or(first.len(), |second| second.len().min(first.len()));
    if method != Method::Studentized && smaller < 20 {
        flags.insert(Flags::UNDERCOVERS);
    }
    let constant = |values: &[f64]| values.first() == values.last();
    if second.is_some_and(|second| constant(first) || constant(second)) {
        flags.insert(Flags::ONE_SIDE_CONSTANT);
    }
    flags
}

/// The two tail probabilities of a two-sided interval.
pub(crate) fn tails(level: f64) -> [f64; 2] {
    let tail = (1.0 - level) / 2.0;
    [tail, 1.0 - tail]
}

/// Two replicates closer than this count as tied. Scaled values are at most 1, so that a sum of `n` of them
/// carries a rounding error far below `n * 2^-44`, and real data differ by more.
pub(crate) fn tie_tolerance(n: usize) -> f64 {
    n as f64 / (1u64 << 44) as f64
}

/// A resample whose sum of squared deviations is below this share of its sum of squares has no
/// spread beyond rounding.
pub(crate) const NO_SPREAD: f64 = 1.0 / (1u64 << 40) as f64;

/// The sum of squared deviations behind `sum` and `squares`, 0 when it is all rounding.
#[inline(always)]
pub(crate) fn squared_deviations(sum: f64, squares: f64, n: f64) -> f64 {
    let deviations = squares - sum * (sum / n);
    if deviations <= squares * NO_SPREAD { 0.0 } else { deviations }
}

/// What an interval needs of the sample itself.
pub(crate) struct Target<'a> {
    pub(crate) sample: &'a Centred,
    pub(crate) shape: Shape,
    pub(crate) method: Method,
    pub(crate) level: f64,
    /// The statistic of the sample, computed by the same chain of operations as the replicates.
    pub(crate) theta: f64,
    /// What sums are divided by to give the statistic.
    pub(crate) divisor: f64,
    /// Replicates this close to `theta` are ties.
    pub(crate) tie: f64,
}

/// Replicates of a statistic as a distribution, drawn or exact.
pub(crate) trait Replicates {
    /// Probability below and at or below a value, ties within `tie`.
    fn share_around(&self, theta: f64, tie: f64) -> f64;
    /// The two quantiles, in units of the replicates.
    fn quantiles(&mut self, probabilities: [f64; 2]) -> [f64; 2];
}

impl Target<'_> {
    /// The sums whose weights are all of one resample that equals the sample.
    pub(crate) fn new<'a>(sample: &'a Centred, shape: Shape, method: Method, level: f64) -> Target<'a> {
        let chain = |values: &[f64]| values.iter().fold(0.0f64, |sum, &value| 1.0f64.mul_add(value, sum));
        let n = sample.first.len();
        let (theta, divisor) = match shape {
            Shape::Mean if sample.second.is_empty() => (chain(&sample.first), n as f64),
            Shape::Mean => {
                let n_second = sample.second.len();
                (chain(&sample.first) / n as f64 - chain(&sample.second) / n_second as f64, 1.0)
            }
            Shape::Trimmed(fraction) => {
                let kept = kept_ranks(n, fraction);
                (chain(&sample.first[kept.clone()]), kept.len() as f64)
            }
            Shape::Quantile(_) => (0.0, 1.0),
        };
        let tie = if sample.second.is_empty() { tie_tolerance(n) } else { tie_tolerance(1) };
        Target { sample, shape, method, level, theta, divisor, tie }
    }

    /// The statistic of the sample in the caller's units.
    pub(crate) fn estimate(&self) -> f64 {
        if self.shape == Shape::Mean && self.sample.second.is_empty() {
            // The base is the correctly rounded mean.
            return self.sample.location(0.0);
        }
        self.sample.location(self.theta / self.divisor)
    }

    /// What becomes known of the sample: `se` in the units of the replicates, and what is missing as flags.
    pub(crate) fn interval(
        &self,
        ends: Option<[f64; 2]>,
        se: f64,
        dropped_share: f64,
        mut flags: Flags,
        computation: Computation,
    ) -> Interval {
        if dropped_share > 0.0 {
            flags.insert(Flags::DROPPED_RESAMPLES);
        }
        let [low, high] = ends.unwrap_or_else(|| {
            flags.insert(Flags::NO_INTERVAL);
            [f64::NAN; 2]
        });
        let (estimate, se) = (self.estimate(), self.sample.spread(se));
        Interval { estimate, low, high, se, flags, dropped_share, computation }
    }

    /// The standard error of the mean or of the difference of means, in scaled units.
    fn standard_error(&self) -> f64 {
        let of = |values: &[f64]| {
            if values.is_empty() {
                return 0.0;
            }
            let n = values.len() as f64;
            let sum: f64 = values.iter().sum();
            let squares: f64 = values.iter().map(|value| value * value).sum();
            squared_deviations(sum, squares, n) / (n * (n - 1.0))
        };
        (of(&self.sample.first) + of(&self.sample.second)).sqrt()
    }

    /// Interval ends in the caller's units; `None` when the BCa correction diverges.
    ///
    /// For the studentized method the replicates are t statistics.
    pub(crate) fn ends(&self, replicates: &mut impl Replicates) -> Option<[f64; 2]> {
        let tails = tails(self.level);
        let scaled = match self.method {
            Method::Percentile => replicates.quantiles(tails).map(|end| end / self.divisor),
            Method::Basic => {
                let [low, high] = replicates.quantiles(tails);
                [high, low].map(|end| (2.0 * self.theta - end) / self.divisor)
            }
            Method::Bca => {
                let share = replicates.share_around(self.theta, self.tie);
                let levels = bca_levels(share, self.acceleration(), tails)?;
                replicates.quantiles(levels).map(|end| end / self.divisor)
            }
            Method::Studentized => {
                let se = self.standard_error();
                let [low, high] = replicates.quantiles(tails);
                [high, low].map(|t| self.theta / self.divisor - t * se)
            }
        };
        Some(scaled.map(|end| self.sample.location(end)))
    }

    /// The acceleration, from the jackknife in one pass over the sorted sample.
    pub(crate) fn acceleration(&self) -> f64 {
        let (mut squares, mut cubes) = (0.0, 0.0);
        let mut add = |influence: f64, n: f64| {
            squares += influence * influence / (n * n);
            cubes += influence * influence * influence / (n * n * n);
        };
        match self.shape {
            Shape::Trimmed(fraction) => {
                let left_out = leave_one_out_means(&self.sample.first, fraction);
                let n = left_out.len() as f64;
                let mean = left_out.iter().sum::<f64>() / n;
                left_out.iter().for_each(|value| add(mean - value, 1.0));
            }
            Shape::Mean | Shape::Quantile(_) => {
                for (values, sign) in [(&self.sample.first, 1.0), (&self.sample.second, -1.0)] {
                    let n = values.len() as f64;
                    let mean = values.iter().sum::<f64>() / n;
                    values.iter().for_each(|value| add(sign * (value - mean), n));
                }
            }
        }
        if squares > 0.0 { cubes / (6.0 * squares * squares.sqrt()) } else { 0.0 }
    }
}

/// Trimmed means of the sample without each of its values in turn, by prefix sums.
pub(crate) fn leave_one_out_means(sorted: &[f64], fraction: f64) -> Vec<f64> {
    let mut prefix = Vec::with_capacity(sorted.len() + 1);
    prefix.push(0.0);
    let mut sum = 0.0;
    for value in sorted {
        sum += value;
        prefix.push(sum);
    }
    let kept = kept_ranks(sorted.len() - 1, fraction);
    let (from, to) = (kept.start, kept.end);
    let means = sorted.iter().enumerate().map(|(left_out, value)| {
        let sum = if left_out < from {
            prefix[to + 1] - prefix[from + 1]
        } else if left_out >= to {
            prefix[to] - prefix[from]
        } else {
            prefix[to + 1] - prefix[from] - value
        };
        sum / (to - from) as f64
    });
    means.collect()
}

/// The corrected tail probabilities of BCa, `None` when they diverge.
pub(crate) fn bca_levels(share_below: f64, acceleration: f64, tails: [f64; 2]) -> Option<[f64; 2]> {
    let bias = normal_quantile(share_below);
    let levels = tails.map(|tail| {
        let shifted = bias + normal_quantile(tail);
        let stretch = 1.0 - acceleration * shifted;
        if stretch > 0.0 { normal_distribution(bias + shifted / stretch) } else { f64::NAN }
    });
    levels.iter().all(|level| level.is_finite()).then_some(levels)
}

/// Standard normal distribution function.
pub(crate) fn normal_distribution(z: f64) -> f64 {
    0.5 * erfc(-z / std::f64::consts::SQRT_2)
}

/// Standard normal quantile function; infinite at 0 and 1.
///
/// The library's inverse is good to eleven digits; one step of Halley's method gives the rest.
pub(crate) fn normal_quantile(probability: f64) -> f64 {
    if probability > 0.5 {
        return -normal_quantile(1.0 - probability);
    }
    let z = -std::f64::consts::SQRT_2 * erfc_inv(2.0 * probability);
    if probability == 0.5 || !z.is_finite() {
        return if probability == 0.5 { 0.0 } else { z };
    }
    let density = (2.0 * std::f64::consts::PI).sqrt().recip() * libm::exp(-0.5 * z * z);
    let step = (normal_distribution(z) - probability) / density;
    z - step / (1.0 + 0.5 * z * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_functions_match_known_values() {
        for (p, z) in [(0.025, -1.959963984540054), (0.05, -1.6448536269514722), (1e-10, -6.361340902404056)]
        {
            assert!((normal_quantile(p) - z).abs() < 1e-12, "{p}: {}", normal_quantile(p));
            assert!((normal_distribution(z) - p).abs() < 1e-12 * p.max(1e-3), "{p}");
        }
    }

    #[test]
    fn leave_one_out_means_equal_recomputed_trimmed_means() {
        let sorted: Vec<f64> = (1..=13).map(|i| f64::from(i * i)).collect();
        for fraction in [0.0, 0.1, 0.25, 0.4] {
            let fast = leave_one_out_means(&sorted, fraction);
            for (left_out, fast) in fast.iter().enumerate() {
                let mut rest = sorted.clone();
                rest.remove(left_out);
                let slow = crate::describe::trimmed_mean(&rest, fraction).unwrap();
                assert!((fast - slow).abs() < 1e-12, "{fraction} without {left_out}: {fast} and {slow}");
            }
        }
    }

    #[test]
    fn bca_reports_divergence_instead_of_an_arbitrary_end() {
        assert_eq!(bca_levels(0.0, 0.1, [0.025, 0.975]), None);
        assert_eq!(bca_levels(0.5, 0.9, [0.025, 0.975]), None);
        let [low, high] = bca_levels(0.5, 0.0, [0.025, 0.975]).unwrap();
        assert!((low - 0.025).abs() < 1e-12 && (high - 0.975).abs() < 1e-12);
    }
}
