//! The exact bootstrap of tiny samples: every multiset of `n` draws with its multinomial
//! probability. At most C(13, 7) = 1,716 of them up to `n = 7`.

use crate::describe::kept_ranks;
use crate::interval::{Interval, Replicates, Target, squared_deviations};
use crate::plan::Shape;
use crate::request::{Computation, Flags, Method};

/// Samples up to this size are enumerated instead of resampled.
pub(crate) const ENUMERATED_UP_TO: u32 = 7;

/// A cumulated probability this close below a tail probability counts as having reached it.
pub(crate) const PROBABILITY_TOLERANCE: f64 = 1e-12;

/// All resamples of samples of one size, reduced to the weights of one statistic.
pub(crate) struct Multisets {
    n: usize,
    /// Weights of one multiset after the other, `n` each.
    weights: Vec<f64>,
    probabilities: Vec<f64>,
}

impl Multisets {
    /// Enumerates the multisets of `n` draws from `n` values.
    pub(crate) fn new(n: usize, shape: Shape) -> Self {
        let mut multisets = Self { n, weights: Vec::new(), probabilities: Vec::new() };
        multisets.extend(&mut Vec::with_capacity(n), n, shape);
        multisets
    }

    fn extend(&mut self, counts: &mut Vec<u32>, left: usize, shape: Shape) {
        if counts.len() + 1 < self.n {
            for count in 0..=left {
                counts.push(count as u32);
                self.extend(counts, left - count, shape);
                counts.pop();
            }
            return;
        }
        counts.push(left as u32);
        let n = self.n as f64;
        let factorial = |count: u32| (1..=count).map(f64::from).product::<f64>();
        let arrangements =
            factorial(self.n as u32) / counts.iter().map(|&count| factorial(count)).product::<f64>();
        self.probabilities.push(arrangements / n.powi(self.n as i32));
        self.weights.extend(rank_weights(counts, shape));
        counts.pop();
    }

    /// The weights and the probability of each multiset.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[f64], f64)> {
        self.weights.chunks_exact(self.n).zip(self.probabilities.iter().copied())
    }

    /// The exact interval of one group.
    pub(crate) fn interval(&self, target: &Target<'_>, flags: Flags) -> Interval {
        let n = self.n as f64;
        let values = &target.sample.first;
        let mut sums = Vec::with_capacity(self.probabilities.len());
        let mut studentized = Vec::new();
        for (weights, &probability) in self.weights.chunks_exact(self.n).zip(&self.probabilities) {
            let chain = |sum: f64, (weight, value): (&f64, &f64)| weight.mul_add(*value, sum);
            let sum = weights.iter().zip(values).fold(0.0, chain);
            sums.push((sum, probability));
            if target.method == Method::Studentized {
                let squares = weights.iter().zip(values).fold(0.0, |sum, (w, y)| w.mul_add(y * y, sum));
                let deviations = squared_deviations(sum, squares, n);
                if deviations > 0.0 {
                    let se = (deviations / (n * (n - 1.0))).sqrt();
                    studentized.push(((sum - target.theta) / n / se, probability));
                }
            }
        }
        let se = standard_deviation(&sums) / target.divisor;
        let (mut atoms, mut dropped_share) = (Atoms::new(sums), 0.0);
        if target.method == Method::Studentized {
            atoms = Atoms::new(studentized);
            dropped_share = (1.0 - atoms.total).max(0.0);
        }
        target.interval(target.ends(&mut atoms), se, dropped_share, flags, Computation::Enumeration)
    }
}

/// The weight of each rank of the sample in the sum behind a statistic, from how often each rank was drawn.
///
/// With E the cumulated counts and S = E - count, a draw of rank i occupies the places S..E of the
/// sorted resample; a trimmed mean counts those that fall into the kept range.
pub(crate) fn rank_weights(counts: &[u32], shape: Shape) -> Vec<f64> {
    let total: u32 = counts.iter().sum();
    let kept = match shape {
        Shape::Trimmed(fraction) => kept_ranks(total as usize, fraction),
        Shape::Mean | Shape::Quantile(_) => 0..total as usize,
    };
    let (from, to) = (kept.start as u32, kept.end as u32);
    let mut end = 0;
    let weight = |&count: &u32| {
        let start = end;
        end += count;
        f64::from(end.min(to).saturating_sub(start.max(from)))
    };
    counts.iter().map(weight).collect()
}

fn standard_deviation(atoms: &[(f64, f64)]) -> f64 {
    let mean: f64 = atoms.iter().map(|(value, probability)| value * probability).sum();
    atoms.iter().map(|(value, probability)| probability * (value - mean) * (value - mean)).sum::<f64>().sqrt()
}

/// A discrete distribution in ascending order.
pub(crate) struct Atoms {
    atoms: Vec<(f64, f64)>,
    total: f64,
}

impl Atoms {
    pub(crate) fn new(mut atoms: Vec<(f64, f64)>) -> Self {
        // Stable, so that tied atoms are summed in the order of enumeration.
        atoms.sort_by(|left, right| left.0.total_cmp(&right.0));
        let total = atoms.iter().map(|(_, probability)| probability).sum();
        Self { atoms, total }
    }

    /// The probability of all atoms together.
    pub(crate) fn total(&self) -> f64 {
        self.total
    }
}

impl Replicates for Atoms {
    fn share_around(&self, theta: f64, tie: f64) -> f64 {
        let share = |&(value, probability): &(f64, f64)| {
            if value < theta - tie {
                probability
            } else if value <= theta + tie {
                0.5 * probability
            } else {
                0.0
            }
        };
        self.atoms.iter().map(share).sum::<f64>() / self.total
    }

    fn quantiles(&mut self, probabilities: [f64; 2]) -> [f64; 2] {
        probabilities.map(|wanted| {
            let wanted = (wanted - PROBABILITY_TOLERANCE) * self.total;
            let mut cumulated = 0.0;
            let reached = self.atoms.iter().find(|(_, probability)| {
                cumulated += probability;
                cumulated >= wanted
            });
            reached.or(self.atoms.last()).map_or(f64::NAN, |atom| atom.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_of_all_multisets_add_up_to_one() {
        for (n, expected) in [(2, 3), (3, 10), (5, 126), (7, 1716)] {
            let multisets = Multisets::new(n, Shape::Mean);
            assert_eq!(multisets.probabilities.len(), expected);
            let total: f64 = multisets.probabilities.iter().sum();
            assert!((total - 1.0).abs() < 1e-13, "n = {n}: {total}");
        }
    }

    #[test]
    fn weights_of_a_trimmed_mean_count_the_kept_places() {
        // Sorted resample of ranks: 0 0 2 2 2 5 6 7; the middle half is 2 2 2 5.
        assert_eq!(
            rank_weights(&[2, 0, 3, 0, 0, 1, 1, 1], Shape::Trimmed(0.25)),
            [0., 0., 3., 0., 0., 1., 0., 0.]
        );
        assert_eq!(rank_weights(&[2, 0, 1], Shape::Mean), [2.0, 0.0, 1.0]);
    }
}
