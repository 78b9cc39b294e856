//! The exact distribution of a sum of integers over all relabellings, by dynamic programming (Green 1977,
//! Streitberg & Röhmel 1986): ranks, counts, and any values on a coarse grid.

use crate::exact::halves::sums_of_half;
use crate::permutation::problem::{Counts, SumTask};

/// Most additions that a distribution may cost.
const MOST_OPERATIONS: f64 = (1u64 << 27) as f64;
/// Largest sample: binomial coefficients beyond would leave the range of a double.
const MOST_VALUES: usize = 1_000;
/// Largest sum of all values, in steps; bounds the memory.
const MOST_STEPS: u64 = 1 << 20;

/// Values on a grid: what tasks must share to share a distribution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lattice {
    /// Not negative, without a common divisor.
    steps: Vec<u32>,
    size: Option<u32>,
}

/// Where a task lies on its lattice.
pub(crate) struct Position {
    pub(crate) lattice: Lattice,
    /// The observed sum, in steps.
    observed: u64,
}

/// How many relabellings lead to each sum.
pub(crate) struct Distribution {
    counts: Vec<f64>,
    /// Twice the centre of all sums times the number of values, to stay with integers.
    centre: (u64, u64),
}

impl Position {
    /// The lattice of a task, `None` where the values lie on none that is coarse enough.
    pub(crate) fn of(task: &SumTask) -> Option<Self> {
        if task.values.len() > MOST_VALUES {
            return None;
        }
        let integers = integers(&task.values)?;
        // The observed sum is a multiple of the same unit; nothing was rounded on the way.
        let largest = task.values.iter().zip(&integers).find(|(_, integer)| **integer != 0)?;
        let unit = largest.0 / *largest.1 as f64;
        let observed = (task.observed / unit).round() as i64;
        let (steps, observed): (Vec<i64>, i64) = match task.size {
            Some(size) => {
                let least = *integers.iter().min()?;
                (integers.iter().map(|integer| integer - least).collect(), observed - least * i64::from(size))
            }
            None => {
                // A marked negative value takes what its absolute value would add.
                let negative: i64 = integers.iter().filter(|integer| **integer < 0).map(|x| -x).sum();
                (integers.iter().map(|integer| integer.abs()).collect(), observed + negative)
            }
        };
        let divisor = steps.iter().fold(0, |divisor, &step| greatest_common_divisor(divisor, step)).max(1);
        let mut steps: Vec<u32> =
            steps.iter().map(|step| u32::try_from(step / divisor).ok()).collect::<Option<_>>()?;
        steps.sort_unstable();
        let observed = u64::try_from(observed / divisor).ok()?;
        let lattice = Lattice { steps, size: task.size };
        let total: u64 = lattice.steps.iter().map(|step| u64::from(*step)).sum();
        let affordable = total <= MOST_STEPS && lattice.operations() <= MOST_OPERATIONS;
        affordable.then_some(Self { lattice, observed })
    }

    /// Whether the distribution costs less than counting by halves, which spends about 64 additions on a sum. It may
    /// also be shared.
    pub(crate) fn is_cheaper_than_halves(&self, task: &SumTask) -> bool {
        self.lattice.operations() <= 64.0 * sums_of_half(task)
    }

    /// The counts of the task in its distribution.
    pub(crate) fn counts(&self, distribution: &Distribution) -> Counts {
        let Distribution { counts, centre: (doubled_total, per) } = distribution;
        let observed = self.observed as usize;
        let distance = |sum: u64| (2 * per * sum).abs_diff(*doubled_total);
        let far = distance(self.observed);
        let outside = counts.iter().enumerate().filter(|(sum, _)| distance(*sum as u64) >= far);
        Counts {
            high: counts[observed.min(counts.len())..].iter().sum(),
            low: counts[..counts.len().min(observed + 1)].iter().sum(),
            outside: outside.map(|(_, count)| count).sum(),
            total: counts.iter().sum(),
        }
    }
}

impl Lattice {
    /// The smaller of the two samples, the number of values that are counted as marked.
    fn chosen(&self) -> Option<usize> {
        self.size.map(|size| (size as usize).min(self.steps.len() - size as usize))
    }

    /// The largest sum that is counted.
    fn range(&self) -> u64 {
        let largest = self.steps.iter().rev();
        largest.take(self.chosen().unwrap_or(self.steps.len())).map(|step| u64::from(*step)).sum()
    }

    fn operations(&self) -> f64 {
        self.steps.len() as f64 * self.chosen().unwrap_or(1) as f64 * (self.range() + 1) as f64
    }

    /// Counts the relabellings of every sum.
    pub(crate) fn distribution(&self) -> Distribution {
        let total: u64 = self.steps.iter().map(|step| u64::from(*step)).sum();
        let width = self.range() as usize + 1;
        let Some(chosen) = self.chosen() else {
            let mut counts = vec![0.0; width];
            counts[0] = 1.0;
            let mut reached = 0;
            for &step in &self.steps {
                add_shifted(&mut counts, reached, step as usize);
                reached += step as usize;
            }
            return Distribution { counts, centre: (total, 1) };
        };
        // One row for each number of chosen values.
        let mut rows = vec![vec![0.0; width]; chosen + 1];
        rows[0][0] = 1.0;
        for (seen, &step) in self.steps.iter().enumerate() {
            let step = step as usize;
            for taken in (1..=chosen.min(seen + 1)).rev() {
                let (below, row) = rows.split_at_mut(taken);
                let (from, to) = (&below[taken - 1], &mut row[0]);
                if step < width {
                    for (to, from) in to[step..].iter_mut().zip(from) {
                        *to += from;
                    }
                }
            }
        }
        let counts = rows.pop().unwrap_or_default();
        let size = self.size.map_or(0, u64::from);
        let n = self.steps.len() as u64;
        if size as usize == chosen {
            return Distribution { counts, centre: (2 * total * size, n) };
        }
        // The larger sample holds what the smaller one leaves: sums are counted from the total down.
        let mut all = vec![0.0; total as usize + 1];
        for (sum, count) in counts.into_iter().enumerate() {
            if let Some(rest) = (total as usize).checked_sub(sum) {
                all[rest] = count;
            }
        }
        Distribution { counts: all, centre: (2 * total * size, n) }
    }
}

/// `counts[s] += counts[s - step]`, for the sums reached so far.
fn add_shifted(counts: &mut [f64], reached: usize, step: usize) {
    for sum in (0..=reached).rev() {
        if sum + step < counts.len() {
            counts[sum + step] += counts[sum];
        }
    }
}

/// The values as multiples of the largest power of two that divides all of them, if they stay small.
fn integers(values: &[f64]) -> Option<Vec<i64>> {
    let lowest_bit = |value: &f64| {
        let bits = value.to_bits();
        let exponent = ((bits >> 52) & 0x7FF) as i32;
        let mantissa = if exponent == 0 { bits << 12 >> 12 } else { bits << 12 >> 12 | 1 << 52 };
        exponent.max(1) - 1075 + mantissa.trailing_zeros() as i32
    };
    let unit = values.iter().filter(|value| **value != 0.0).map(lowest_bit).min()?;
    let integer = |value: &f64| {
        let scaled = crate::describe::scale_by_power_of_two(*value, -unit);
        (scaled.abs() < f64::from(1u32 << 30)).then_some(scaled as i64)
    };
    values.iter().map(integer).collect()
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::halves;
    use crate::permutation::problem::Thresholds;

    fn task(values: Vec<f64>, size: Option<u32>, marked: usize) -> SumTask {
        let total: f64 = values.iter().sum();
        let observed = values[values.len() - marked..].iter().sum();
        let n = values.len() as f64;
        let centre = size.map_or(total / 2.0, |size| total * f64::from(size) / n);
        SumTask { values, size, observed, centre, tolerance: 1e-9, rising: true }
    }

    #[test]
    fn the_lattice_counts_what_halves_count() {
        let mut uneven: Vec<f64> = (0..15).map(|i| f64::from((i * 7) % 11) * 0.25 - 1.0).collect();
        uneven.sort_unstable_by(f64::total_cmp);
        let ranks: Vec<f64> = (0..16).map(|i| f64::from(2 * i - 15) / 16.0).collect();
        for values in [uneven, ranks] {
            for (size, marked) in [(Some(2), 2), (Some(7), 7), (Some(13), 13), (None, 0), (None, 3)] {
                let task = task(values.clone(), size, marked);
                let position = Position::of(&task).unwrap();
                let counts = position.counts(&position.lattice.distribution());
                assert_eq!(counts, halves::count(&task), "{size:?} {:?}", position.lattice);
                let Thresholds { high, low, .. } = task.thresholds();
                assert!(high < low && counts.high + counts.low > counts.total);
            }
        }
    }

    #[test]
    fn values_off_any_coarse_grid_have_no_lattice() {
        assert!(Position::of(&task(vec![0.1, 0.2, 0.7], Some(1), 1)).is_none());
        assert!(Position::of(&task(vec![0.0, 1e-9, 1.0], None, 1)).is_none());
        assert_eq!(integers(&[0.75, -0.5, 0.0]), Some(vec![3, -2, 0]));
    }
}
