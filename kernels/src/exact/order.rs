//! The exact bootstrap of a quantile: the distribution of one order statistic of a resample, or of
//! two neighbouring ones when type 7 interpolates between them (Maritz & Jarrett 1978, Hutson &
//! Ernst 2000).
//!
//! For the k-th value of a resample of size n and the i-th of the sample (both from 1),
//! `P(X*_(k) <= x_i) = I_{i/n}(k, n - k + 1)`. For neighbours and i < j,
//! `P(X*_(k) = x_i, X*_(k+1) = x_j) = C(n,k) (i^k - (i-1)^k) ((n-j+1)^m - (n-j)^m) / n^n` with
//! `m = n - k`. The second bracket telescopes over j, which leaves one power for a whole row.

use libm::lgamma as ln_gamma;

use crate::describe::{interpolate, quantile_sorted, type7_rank};
use crate::exact::multiset::PROBABILITY_TOLERANCE;
use crate::interval::{Interval, tails};
use crate::plan::Centred;
use crate::request::{Computation, Flags, Method};

/// Rows less probable than this cannot move an interval end.
const NEGLIGIBLE: f64 = 1e-18;

/// The distribution of a quantile of resamples of size `n`, in terms of ranks of the sample.
pub(crate) struct OrderStatistics {
    n: usize,
    probability: f64,
    /// Share of the upper of the two order statistics.
    fraction: f64,
    /// Number of draws above the lower order statistic.
    above: f64,
    /// Ranks (from 0) with a probability that matters, in order.
    rows: Vec<Row>,
}

/// What the distribution says about one value of the sample as lower order statistic.
struct Row {
    rank: usize,
    /// P(lower = x_rank).
    lower: f64,
    /// P(lower = x_rank and upper > x_rank); 0 when only one order statistic counts.
    parted: f64,
    /// P(upper = x_rank).
    upper: f64,
}

impl OrderStatistics {
    /// The distribution for samples of size `n >= 1` and a probability in `[0, 1]`.
    pub(crate) fn new(n: usize, probability: f64) -> Self {
        let (rank, fraction) = type7_rank(n, probability);
        let (k, size) = ((rank + 1) as f64, n as f64);
        let above = size - k;
        let log_choose = ln_gamma(size + 1.0) - ln_gamma(k + 1.0) - ln_gamma(above + 1.0);
        let at_most = |i: usize, k: f64| incomplete_beta(k, size - k + 1.0, i as f64 / size);
        let mut rows = Vec::new();
        let (mut lower_below, mut upper_below) = (0.0, 0.0);
        // Ten standard deviations of a binomial count, and room for its skewed ends.
        let reach = (10.0 * (k * above / size).sqrt()) as usize + 60;
        for rank in rank.saturating_sub(reach)..n.min(rank + reach) {
            let i = (rank + 1) as f64;
            let lower_to = at_most(rank + 1, k);
            let upper_to = if fraction > 0.0 { at_most(rank + 1, k + 1.0) } else { 0.0 };
            let lower = (lower_to - lower_below).max(0.0);
            let upper = (upper_to - upper_below).max(0.0);
            let parted = if fraction > 0.0 && rank + 1 < n {
                // 1 - ((i-1)/i)^k by expm1, which keeps its digits for large i.
                let at_i = if rank == 0 { 1.0 } else { -(k * (-1.0 / i).ln_1p()).exp_m1() };
                let log = log_choose + k * (i / size).ln() + above * ((size - i) / size).ln();
                (log.exp() * at_i).min(lower)
            } else {
                0.0
            };
            if lower > NEGLIGIBLE || upper > NEGLIGIBLE {
                rows.push(Row { rank, lower, parted, upper });
            }
            (lower_below, upper_below) = (lower_to, upper_to);
        }
        Self { n, probability, fraction, above, rows }
    }

    /// The exact interval of one group; `sorted` must have `n` values and not be constant.
    pub(crate) fn interval(&self, sorted: &[f64], method: Method, level: f64, flags: Flags) -> Interval {
        let estimate = quantile_sorted(sorted, self.probability).unwrap_or(f64::NAN);
        let [low, high] = tails(level).map(|tail| self.quantile(sorted, tail));
        let [low, high] = match method {
            Method::Basic => [estimate - (high - estimate), estimate + (estimate - low)],
            _ => [low, high],
        };
        let se = self.standard_error(sorted);
        Interval {
            estimate,
            low,
            high,
            se,
            flags,
            dropped_share: 0.0,
            computation: Computation::OrderStatistics,
        }
    }

    /// The smallest value of the statistic that is reached with at least this probability.
    fn quantile(&self, sorted: &[f64], wanted: f64) -> f64 {
        let wanted = wanted - PROBABILITY_TOLERANCE;
        if self.fraction <= 0.0 {
            let mut cumulated = 0.0;
            let reached = self.rows.iter().find(|row| {
                cumulated += row.lower;
                cumulated >= wanted
            });
            return reached.or(self.rows.last()).map_or(f64::NAN, |row| sorted[row.rank]);
        }
        // Halving the doubles between the extremes, in their total order, ends on an atom.
        let (mut below, mut reached) = (ordered_bits(sorted[0]) - 1, ordered_bits(sorted[self.n - 1]));
        while reached - below > 1 {
            let middle = below + (reached - below) / 2;
            if self.distribution(sorted, from_ordered_bits(middle)) >= wanted {
                reached = middle;
            } else {
                below = middle;
            }
        }
        from_ordered_bits(reached)
    }

    /// P(statistic <= value), by two pointers.
    fn distribution(&self, sorted: &[f64], value: f64) -> f64 {
        let mut total = 0.0;
        // Number of values j for which the statistic of (i, j) is at most `value`; falls as i rises.
        let mut partners = self.n;
        for row in &self.rows {
            let rank = row.rank;
            if sorted[rank] > value {
                break;
            }
            while partners > rank + 1
                && interpolate(sorted[rank], sorted[partners - 1], self.fraction) > value
            {
                partners -= 1;
            }
            let partners = partners.max(rank + 1);
            total += row.lower;
            if partners < self.n && row.parted > 0.0 {
                let ratio = (self.n - partners) as f64 / (self.n - rank - 1) as f64;
                total -= row.parted * (self.above * ratio.ln()).exp();
            }
        }
        total
    }

    /// Standard deviation of the exact distribution, from first and second moments by rows.
    fn standard_error(&self, sorted: &[f64]) -> f64 {
        let sample = Centred::new(sorted, &[]);
        let y = &sample.first;
        let (g, rest) = (self.fraction, 1.0 - self.fraction);
        let (mut mean, mut mean_upper, mut square, mut square_upper, mut cross) = (0.0, 0.0, 0.0, 0.0, 0.0);
        // sum over j of P(upper = j | lower = rank, parted) * y_j, by downward recursion over ranks.
        let mut tail_mean = 0.0;
        let mut next_rank = self.n;
        for row in self.rows.iter().rev() {
            let value = y[row.rank];
            mean += row.lower * value;
            square += row.lower * value * value;
            mean_upper += row.upper * value;
            square_upper += row.upper * value * value;
            if g > 0.0 {
                for rank in (row.rank..next_rank).rev() {
                    tail_mean = self.step_tail_mean(y, rank, tail_mean);
                }
                next_rank = row.rank;
                cross += value * ((row.lower - row.parted) * value + row.parted * tail_mean);
            }
        }
        let mean = rest * mean + g * mean_upper;
        let square = rest * rest * square + g * g * square_upper + 2.0 * g * rest * cross;
        sample.spread((square - mean * mean).max(0.0).sqrt())
    }

    /// Mean of the upper order statistic given that the lower is the value at `rank` and both differ,
    /// from the same for `rank + 1`: the next value itself has the share `1 - ratio^m`.
    fn step_tail_mean(&self, y: &[f64], rank: usize, next: f64) -> f64 {
        let Some(&following) = y.get(rank + 1) else { return 0.0 };
        let ratio = (self.n - rank - 2) as f64 / (self.n - rank - 1) as f64;
        let farther = if ratio > 0.0 { (self.above * ratio.ln()).exp() } else { 0.0 };
        (1.0 - farther) * following + farther * next
    }
}

/// Maps doubles to integers in the same order (total order, no NaN).
fn ordered_bits(value: f64) -> i128 {
    let bits = value.to_bits() as i64;
    i128::from(bits ^ (((bits >> 63) as u64) >> 1) as i64)
}

/// The inverse of [`ordered_bits`].
fn from_ordered_bits(ordered: i128) -> f64 {
    let bits = ordered as i64;
    f64::from_bits((bits ^ (((bits >> 63) as u64) >> 1) as i64) as u64)
}

/// The regularized incomplete beta function by its continued fraction (modified Lentz; Press et
/// al., Numerical Recipes, 6.4), with as many terms as large parameters need.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if b <= 0.0 || x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(a, b, x) / a
    } else {
        1.0 - front * beta_fraction(b, a, 1.0 - x) / b
    }
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let keep = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / keep(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    // Converges in about the square root of the larger parameter.
    let most_terms = 200 + 10 * a.max(b).sqrt() as usize;
    for term in 1..=most_terms {
        let m = term as f64;
        for numerator in [
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        ] {
            d = 1.0 / keep(1.0 + numerator * d);
            c = keep(1.0 + numerator / c);
            fraction *= c * d;
        }
        if (c * d - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All n^n resamples of a tiny sample: the statistic and how often it occurs.
    fn enumerate(sorted: &[f64], probability: f64) -> Vec<f64> {
        let n = sorted.len();
        let mut statistics = Vec::new();
        for code in 0..n.pow(n as u32) {
            let mut resample: Vec<f64> = (0..n).map(|place| sorted[code / n.pow(place as u32) % n]).collect();
            resample.sort_unstable_by(f64::total_cmp);
            statistics.push(quantile_sorted(&resample, probability).unwrap());
        }
        statistics.sort_unstable_by(f64::total_cmp);
        statistics
    }

    #[test]
    fn the_distribution_equals_that_of_all_resamples() {
        let sorted = [-1.5, 0.0, 0.25, 3.0, 3.5, 10.0];
        for n in 2..=6 {
            for probability in [0.0, 0.1, 0.25, 0.5, 0.6, 0.9, 1.0] {
                let sorted = &sorted[..n];
                let statistics = enumerate(sorted, probability);
                let total = statistics.len() as f64;
                let exact = OrderStatistics::new(n, probability);
                for wanted in [0.01, 0.05, 0.3, 0.5, 0.77, 0.975] {
                    let rank = (wanted * total - 1e-9).ceil().max(1.0) as usize - 1;
                    let quantile = exact.quantile(sorted, wanted);
                    assert_eq!(quantile, statistics[rank], "n = {n}, q = {probability}, at {wanted}");
                }
                let moments = crate::describe::Moments::from_slice(&statistics);
                let se = (moments.sum_of_squares() / total).sqrt();
                let got = exact.standard_error(sorted);
                assert!((got - se).abs() < 1e-12, "n = {n}, q = {probability}: {got} and {se}");
            }
        }
    }

    #[test]
    fn incomplete_beta_matches_closed_forms() {
        for x in [0.001, 0.3, 0.5, 0.99] {
            assert!((incomplete_beta(1.0, 1.0, x) - x).abs() < 1e-15);
            assert!((incomplete_beta(3.0, 1.0, x) - x * x * x).abs() < 1e-14);
            assert!((incomplete_beta(1.0, 4.0, x) - (1.0 - (1.0 - x).powi(4))).abs() < 1e-14);
        }
        // Symmetric parameters: half of the mass lies below one half, however large they are.
        for a in [10.0, 1e4, 5e5] {
            assert!((incomplete_beta(a, a, 0.5) - 0.5).abs() < 1e-9, "{a}");
        }
    }

    #[test]
    fn ordered_bits_keep_the_order_of_doubles() {
        let ascending = [f64::MIN, -1.0, -5e-324, 0.0, 5e-324, 1.0, f64::MAX];
        for pair in ascending.windows(2) {
            assert!(ordered_bits(pair[0]) < ordered_bits(pair[1]));
        }
        for value in ascending {
            assert_eq!(from_ordered_bits(ordered_bits(value)), value);
        }
    }
}
