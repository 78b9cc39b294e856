//! The canonical data of one comparison: pooled values in ascending order, moved and scaled, and what a
//! relabelling must reach to count as extreme.
//!
//! Values are moved by their middle one and scaled by a power of two into `[-1, 1]`, so that an offset of 10^15
//! costs no digit of the spread. A relabelling counts as at least as extreme when its statistic reaches the
//! observed one less a tolerance: `100 eps |T|`, and a bound on the rounding errors of the sums, without
//! which equal statistics near zero would differ by chance.

use crate::describe::{self, exponent_above, scale_by_power_of_two};
use crate::permutation::{Design, PermutationStatistic};
use crate::request::Flags;

/// One comparison.
pub(crate) struct Problem {
    /// The statistic of the observed labels, in the caller's units.
    pub(crate) statistic: f64,
    pub(crate) flags: Flags,
    pub(crate) task: Task,
}

/// What there is to count.
pub(crate) enum Task {
    /// Nothing: no p-value.
    None,
    /// Nothing: all relabellings are equal, so that every p-value is 1.
    Certain,
    /// A statistic that rises or falls with one sum.
    Sum(SumTask),
    /// Welch's t.
    Welch(WelchTask),
    /// Sums of squares between several samples.
    Between(BetweenTask),
}

/// How often relabellings were extreme. Whole numbers, exact up to 2^53.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Counts {
    /// Statistic at least as large as observed.
    pub(crate) high: f64,
    /// Statistic at most as large as observed.
    pub(crate) low: f64,
    /// Statistic at least as far from its centre as observed.
    pub(crate) outside: f64,
    /// Relabellings.
    pub(crate) total: f64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.high += other.high;
        self.low += other.low;
        self.outside += other.outside;
        self.total += other.total;
    }

    /// The counts of the negated statistic.
    pub(crate) fn mirrored(self) -> Self {
        Self { high: self.low, low: self.high, ..self }
    }
}

/// A statistic that depends on the sum of the marked values alone: those of the first sample, or the differences
/// whose sign is turned.
#[derive(Debug, Clone)]
pub(crate) struct SumTask {
    /// Ascending.
    pub(crate) values: Vec<f64>,
    /// How many values are marked; `None` when any number is (sign flips).
    pub(crate) size: Option<u32>,
    /// Sum of the values marked by the observed labels, in the canonical order of additions.
    pub(crate) observed: f64,
    /// The sum at which the statistic is at its centre.
    pub(crate) centre: f64,
    /// Sums this close count as equal.
    pub(crate) tolerance: f64,
    /// Whether the statistic rises with the sum.
    pub(crate) rising: bool,
}

/// From where on a sum counts as extreme.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Thresholds {
    /// At or above: as high as observed.
    pub(crate) high: f64,
    /// At or below: as low as observed.
    pub(crate) low: f64,
    /// At or above, or at or below the second: as far from the centre.
    pub(crate) outside: [f64; 2],
}

impl SumTask {
    fn new(values: Vec<f64>, size: Option<u32>, marked: &[u32], rising: bool) -> Self {
        let mut next = marked.iter().peekable();
        let observed = canonical_sum(
            values.len(),
            |i| next.next_if(|&&position| position as usize == i).is_some(),
            |i| values[i],
        );
        Self::of_sum(values, size, observed, rising)
    }

    fn of_sum(values: Vec<f64>, size: Option<u32>, observed: f64, rising: bool) -> Self {
        let total = canonical_sum(values.len(), |_| true, |i| values[i]);
        let n = values.len() as f64;
        let centre = match size {
            Some(size) => total * (f64::from(size) / n),
            None => total / 2.0,
        };
        let tolerance = 100.0 * f64::EPSILON * (observed - centre).abs() + n * 4.0 * f64::EPSILON;
        Self { values, size, observed, centre, tolerance, rising }
    }

    pub(crate) fn thresholds(&self) -> Thresholds {
        let distance = (self.observed - self.centre).abs();
        Thresholds {
            high: self.observed - self.tolerance,
            low: self.observed + self.tolerance,
            outside: [self.centre + distance - self.tolerance, self.centre - distance + self.tolerance],
        }
    }

    /// Counts of the statistic from counts of the sum.
    pub(crate) fn oriented(&self, counts: Counts) -> Counts {
        if self.rising { counts } else { counts.mirrored() }
    }

    /// The number of relabellings.
    pub(crate) fn relabellings(&self) -> f64 {
        match self.size {
            Some(size) => binomial(self.values.len() as u32, size),
            None => (self.values.len() as f64).exp2(),
        }
    }
}

/// The sum of marked values in the order that all backends follow: chunks of eight, in each from the last to the
/// first, and the sums of the chunks in ascending order. A table of the 256 sums of a chunk gives the same bits.
/// `marked` is asked once for each position, ascending.
pub(crate) fn canonical_sum(
    count: usize,
    mut marked: impl FnMut(usize) -> bool,
    value: impl Fn(usize) -> f64,
) -> f64 {
    let mut sum = 0.0;
    for start in (0..count).step_by(8) {
        let mut mask = 0u8;
        for position in start..count.min(start + 8) {
            mask |= u8::from(marked(position)) << (position - start);
        }
        sum += chunk_sum(mask, |bit| value(start + bit));
    }
    sum
}

/// The sum of the values of one chunk whose bits are set, from the last to the first.
#[inline(always)]
pub(crate) fn chunk_sum(mask: u8, value: impl Fn(usize) -> f64) -> f64 {
    let mut sum = 0.0;
    for bit in (0..8).rev() {
        if mask >> bit & 1 == 1 {
            sum += value(bit);
        }
    }
    sum
}

/// Welch's t over relabellings of two samples of at least two values.
#[derive(Debug, Clone)]
pub(crate) struct WelchTask {
    /// Ascending, moved and scaled.
    pub(crate) values: Vec<f64>,
    pub(crate) size: u32,
    /// The sum of the first sample, in the canonical order of additions.
    pub(crate) sum: f64,
    /// The statistic of the observed labels, from sums in that order.
    pub(crate) observed: f64,
    pub(crate) tolerance: f64,
    pub(crate) form: WelchForm,
}

/// What turns the sum and sum of squares of the first sample into t.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WelchForm {
    n: f64,
    n_second: f64,
    sum: f64,
    squares: f64,
    /// One by each size, and by each size times size less one.
    inverses: [f64; 4],
}

impl WelchForm {
    /// A sample whose squared deviations are below this share of its sum of squares has lost too many digits.
    pub(crate) const NARROW: f64 = 1.0 / 4096.0;

    /// Totals, inverse sizes, and inverses of each size times size less one.
    pub(crate) fn numbers(&self) -> [f64; 6] {
        let [inverse, inverse_second, scale, scale_second] = self.inverses;
        [self.sum, self.squares, inverse, inverse_second, scale, scale_second]
    }

    /// Both sizes.
    #[cfg(feature = "cuda")]
    pub(crate) fn sizes(&self) -> [f64; 2] {
        [self.n, self.n_second]
    }

    /// The form for two sizes, and the sum and sum of squares of all values.
    pub(crate) fn new(n: f64, n_second: f64, sum: f64, squares: f64) -> Self {
        let inverses = [n, n_second, n * (n - 1.0), n_second * (n_second - 1.0)].map(f64::recip);
        Self { n, n_second, sum, squares, inverses }
    }

    /// Whether t must be computed from the values, because the sums do not hold enough digits.
    #[inline(always)]
    pub(crate) fn is_narrow(&self, sum: f64, squares: f64) -> bool {
        let [within, within_second] = self.within(sum, squares);
        within < Self::NARROW * squares || within_second < Self::NARROW * self.squares
    }

    #[inline(always)]
    fn within(&self, sum: f64, squares: f64) -> [f64; 2] {
        let rest = self.sum - sum;
        let [inverse, inverse_second, ..] = self.inverses;
        [squares - sum * (sum * inverse), (self.squares - squares) - rest * (rest * inverse_second)]
    }

    /// t from the sums; good where they are not narrow.
    #[inline(always)]
    pub(crate) fn t(&self, sum: f64, squares: f64) -> f64 {
        let [within, within_second] = self.within(sum, squares);
        let [inverse, inverse_second, scale, scale_second] = self.inverses;
        let difference = sum * inverse - (self.sum - sum) * inverse_second;
        let error = within * scale + within_second * scale_second;
        difference / error.sqrt()
    }
}

impl WelchTask {
    /// The same order of all relabellings by a sum, where there is one: with samples of one size, t rises with the
    /// difference of means alone, since the squares within both are all squares less those between them.
    pub(crate) fn as_sum(&self) -> Option<SumTask> {
        let equal = 2 * self.size as usize == self.values.len();
        equal.then(|| SumTask::of_sum(self.values.clone(), Some(self.size), self.sum, true))
    }

    /// t from the values in two passes; `marked` is asked for each position, ascending, twice.
    pub(crate) fn t_of_values(&self, marked: impl Fn(usize) -> bool) -> f64 {
        let WelchForm { n, n_second, .. } = self.form;
        let mut sums = [0.0; 2];
        for (position, value) in self.values.iter().enumerate() {
            sums[usize::from(!marked(position))] += value;
        }
        let means = [sums[0] / n, sums[1] / n_second];
        let mut within = [0.0; 2];
        for (position, value) in self.values.iter().enumerate() {
            let sample = usize::from(!marked(position));
            within[sample] += (value - means[sample]).powi(2);
        }
        let difference = means[0] - means[1];
        let error = within[0] / (n * (n - 1.0)) + within[1] / (n_second * (n_second - 1.0));
        // Rounding leaves about 1e-32 of spread in constant samples.
        if error > 1e-30 {
            difference / error.sqrt()
        } else if difference.abs() < 1e-15 {
            0.0
        } else {
            f64::INFINITY.copysign(difference)
        }
    }

    /// What t must reach: at least, at most, and at least in absolute value.
    #[inline(always)]
    pub(crate) fn limits(&self) -> [f64; 3] {
        let Self { observed, tolerance, .. } = *self;
        [observed - tolerance, observed + tolerance, observed.abs() - tolerance]
    }

    /// Adds one relabelling.
    #[inline(always)]
    pub(crate) fn count(&self, t: f64, counts: &mut Counts) {
        let [high, low, outside] = self.limits();
        counts.high += f64::from(u8::from(t >= high));
        counts.low += f64::from(u8::from(t <= low));
        counts.outside += f64::from(u8::from(t.abs() >= outside));
        counts.total += 1.0;
    }
}

/// The sum of squares between several samples.
#[derive(Debug, Clone)]
pub(crate) struct BetweenTask {
    /// Ascending, moved by their mean and scaled.
    pub(crate) values: Vec<f64>,
    pub(crate) sizes: Vec<u32>,
    /// Sum over samples of squared sum by size, for the observed labels.
    pub(crate) observed: f64,
    pub(crate) tolerance: f64,
}

impl BetweenTask {
    /// What the sum must reach: at least, and at most.
    #[inline(always)]
    pub(crate) fn limits(&self) -> [f64; 2] {
        [self.observed - self.tolerance, self.observed + self.tolerance]
    }

    /// Adds one relabelling.
    #[inline(always)]
    pub(crate) fn count(&self, between: f64, counts: &mut Counts) {
        let [high, low] = self.limits();
        counts.high += f64::from(u8::from(between >= high));
        counts.low += f64::from(u8::from(between <= low));
        counts.total += 1.0;
    }

    /// The number of relabellings.
    pub(crate) fn relabellings(&self) -> f64 {
        let mut count = 1.0;
        let mut placed = 0;
        for &size in &self.sizes {
            placed += size;
            count *= binomial(placed, size);
        }
        count
    }
}

impl Problem {
    /// The canonical form of some finite samples; the statistic must fit the design.
    pub(crate) fn new(samples: &[&[f64]], design: Design<'_>, statistic: PermutationStatistic) -> Self {
        if samples.is_empty() || samples.iter().any(|sample| sample.is_empty()) {
            return Self { statistic: f64::NAN, flags: Flags::ABSENT, task: Task::None };
        }
        match design {
            Design::Signs => Self::signs(samples[0], statistic == PermutationStatistic::RankSum),
            Design::Several(_) => Self::several(samples, statistic == PermutationStatistic::KruskalWallis),
            Design::TwoSamples(_) | Design::Pairs(_) => match statistic {
                PermutationStatistic::WelchT => Self::welch(samples[0], samples[1]),
                PermutationStatistic::RankSum => Self::rank_sum(samples[0], samples[1]),
                PermutationStatistic::MeanRatio => Self::ratio(samples[0], samples[1]),
                _ => Self::difference(samples[0], samples[1]),
            },
        }
    }

    fn certain(statistic: f64) -> Self {
        Self { statistic, flags: Flags::ZERO_VARIANCE, task: Task::Certain }
    }

    fn difference(first: &[f64], second: &[f64]) -> Self {
        let pool = Pool::new(&[first, second]);
        if pool.is_constant() {
            return Self::certain(0.0);
        }
        let scaled = pool.mean_of(0) - pool.mean_of(1);
        let statistic = scale_by_power_of_two(scaled, pool.exponent);
        let size = first.len() as u32;
        let marked = pool.positions_of(0);
        let task = Task::Sum(SumTask::new(pool.values, Some(size), &marked, true));
        Self { statistic, flags: Flags::empty(), task }
    }

    fn ratio(first: &[f64], second: &[f64]) -> Self {
        let mean = |values: &[f64]| describe::mean(values).unwrap_or(f64::NAN);
        let statistic = mean(first) / mean(second);
        let pooled = describe::sorted(&[first, second].concat());
        // The extreme denominators of all relabellings.
        let [least, most] = [mean(&pooled[..second.len()]), mean(&pooled[first.len()..])];
        if least <= 0.0 && most >= 0.0 {
            let statistic = if statistic.is_finite() { statistic } else { f64::NAN };
            return Self { statistic, flags: Flags::DENOMINATOR, task: Task::None };
        }
        let mut problem = Self { statistic, ..Self::difference(first, second) };
        if let Task::Sum(task) = &mut problem.task {
            // The ratio rises with the first sum when the total of all values is positive, which has the sign
            // of the denominators.
            task.rising = least > 0.0;
        }
        problem
    }

    fn rank_sum(first: &[f64], second: &[f64]) -> Self {
        let pool = Pool::new(&[first, second]);
        let ranks = doubled_midranks(&pool.values);
        let marked = pool.positions_of(0);
        let n = first.len() as f64;
        let sum = marked.iter().map(|&position| ranks[position as usize] as f64).sum::<f64>() / 2.0;
        let statistic = sum - n * (n + 1.0) / 2.0;
        if pool.is_constant() {
            return Self::certain(statistic);
        }
        let centre = pool.values.len() as i64 + 1;
        let values = scaled_integers(ranks.iter().map(|rank| rank - centre));
        let task = Task::Sum(SumTask::new(values, Some(first.len() as u32), &marked, true));
        Self { statistic, flags: Flags::empty(), task }
    }

    fn signs(differences: &[f64], ranked: bool) -> Self {
        let sorted = describe::sorted(differences);
        let values = if ranked {
            let mut kept: Vec<f64> = sorted.into_iter().filter(|value| *value != 0.0).collect();
            kept.sort_by(|left, right| left.abs().total_cmp(&right.abs()));
            let sizes: Vec<f64> = kept.iter().map(|value| value.abs()).collect();
            let ranks = doubled_midranks(&sizes);
            let signed =
                ranks.iter().zip(&kept).map(|(rank, value)| if *value < 0.0 { -rank } else { *rank });
            let mut signed: Vec<i64> = signed.collect();
            signed.sort_unstable();
            let positive = signed.iter().filter(|rank| **rank > 0).sum::<i64>() as f64 / 2.0;
            if signed.is_empty() {
                return Self::certain(positive);
            }
            let task = Task::Sum(SumTask::new(scaled_integers(signed.iter().copied()), None, &[], false));
            return Self { statistic: positive, flags: Flags::empty(), task };
        } else {
            sorted
        };
        let statistic = describe::mean(&values).unwrap_or(f64::NAN);
        let largest = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        if largest == 0.0 {
            return Self::certain(statistic);
        }
        let exponent = exponent_above(largest);
        let values = values.iter().map(|&value| scale_by_power_of_two(value, -exponent)).collect();
        let task = Task::Sum(SumTask::new(values, None, &[], false));
        Self { statistic, flags: Flags::empty(), task }
    }

    fn welch(first: &[f64], second: &[f64]) -> Self {
        if first.len() < 2 || second.len() < 2 {
            return Self { statistic: f64::NAN, flags: Flags::DEGENERATE, task: Task::None };
        }
        let pool = Pool::new(&[first, second]);
        if pool.is_constant() {
            return Self::certain(0.0);
        }
        let labels = pool.labels;
        let values = pool.values;
        let mut flags = Flags::empty();
        let constant = |sample: &[f64]| sample.iter().all(|value| *value == sample[0]);
        if constant(first) || constant(second) {
            flags.insert(Flags::ONE_SIDE_CONSTANT);
        }
        let marked = |position: usize| labels[position] == 0;
        let count = values.len();
        let total = [
            canonical_sum(count, |_| true, |i| values[i]),
            canonical_sum(count, |_| true, |i| values[i] * values[i]),
        ];
        let sums = [
            canonical_sum(count, marked, |i| values[i]),
            canonical_sum(count, marked, |i| values[i] * values[i]),
        ];
        let form = WelchForm::new(first.len() as f64, second.len() as f64, total[0], total[1]);
        let size = first.len() as u32;
        let mut task = WelchTask { values, size, sum: sums[0], observed: 0.0, tolerance: 0.0, form };
        let statistic = task.t_of_values(marked);
        task.observed = if form.is_narrow(sums[0], sums[1]) { statistic } else { form.t(sums[0], sums[1]) };
        if task.observed.is_finite() {
            // The sums lose up to twelve bits before they are narrow.
            let rounding = count as f64 * f64::EPSILON;
            task.tolerance = rounding * (4096.0 * task.observed.abs() + 64.0);
        }
        Self { statistic, flags, task: Task::Welch(task) }
    }

    fn several(samples: &[&[f64]], ranked: bool) -> Self {
        let count: usize = samples.iter().map(|sample| sample.len()).sum();
        if samples.len() < 2 || count <= samples.len() {
            return Self { statistic: f64::NAN, flags: Flags::DEGENERATE, task: Task::None };
        }
        let mut pool = Pool::new(samples);
        if pool.is_constant() {
            return Self::certain(if ranked { 0.0 } else { f64::NAN });
        }
        if ranked {
            let centre = count as i64 + 1;
            pool.values = scaled_integers(doubled_midranks(&pool.values).iter().map(|rank| rank - centre));
        } else {
            let mean = describe::mean(&pool.values).unwrap_or(0.0);
            pool.values.iter_mut().for_each(|value| *value -= mean);
        }
        let of_sample: Vec<Vec<f64>> = (0..samples.len()).map(|sample| pool.values_of(sample)).collect();
        let means: Vec<f64> = of_sample.iter().map(|values| describe::mean(values).unwrap_or(0.0)).collect();
        let grand = describe::mean(&pool.values).unwrap_or(0.0);
        let (mut between, mut within) = (0.0, 0.0);
        for (values, mean) in of_sample.iter().zip(&means) {
            between += values.len() as f64 * (mean - grand).powi(2);
            within += values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        }
        let (n, k) = (count as f64, samples.len() as f64);
        let statistic = if ranked {
            (n - 1.0) * between / (between + within)
        } else if within > 1e-30 * n {
            (between / (k - 1.0)) / (within / (n - k))
        } else {
            f64::INFINITY
        };
        let sizes: Vec<u32> = samples.iter().map(|sample| sample.len() as u32).collect();
        let observed = of_sample
            .iter()
            .map(|values| {
                let sum: f64 = values.iter().sum();
                sum * sum / values.len() as f64
            })
            .sum::<f64>();
        let tolerance = n * 16.0 * f64::EPSILON * (observed + 1.0);
        let task = BetweenTask { values: pool.values, sizes, observed, tolerance };
        Self { statistic, flags: Flags::empty(), task: Task::Between(task) }
    }
}

/// The values of all samples together.
struct Pool {
    /// Ascending, moved by the middle value and scaled.
    values: Vec<f64>,
    /// The sample of each value; among equal values the first sample comes first.
    labels: Vec<u32>,
    /// Scaled values times two to this power are differences in the caller's units.
    exponent: i32,
}

impl Pool {
    fn new(samples: &[&[f64]]) -> Self {
        let label = |(label, sample): (usize, &&[f64])| {
            // Adding zero turns -0 into +0 and changes nothing else.
            sample.iter().map(move |value| (value + 0.0, label as u32)).collect::<Vec<_>>()
        };
        let mut labelled: Vec<(f64, u32)> = samples.iter().enumerate().flat_map(label).collect();
        labelled.sort_unstable_by(|left, right| left.0.total_cmp(&right.0).then(left.1.cmp(&right.1)));
        let largest = labelled.iter().fold(0.0f64, |largest, value| largest.max(value.0.abs()));
        // One power more, so that no difference of two values overflows.
        let shrink = if largest == 0.0 { 0 } else { exponent_above(largest) + 1 };
        let centre = scale_by_power_of_two(labelled[(labelled.len() - 1) / 2].0, -shrink);
        let mut values: Vec<f64> =
            labelled.iter().map(|value| scale_by_power_of_two(value.0, -shrink) - centre).collect();
        let largest = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        let stretch = if largest == 0.0 { 0 } else { exponent_above(largest) };
        for value in &mut values {
            *value = scale_by_power_of_two(*value, -stretch);
        }
        let labels = labelled.iter().map(|value| value.1).collect();
        Self { values, labels, exponent: shrink + stretch }
    }

    fn is_constant(&self) -> bool {
        self.values.first() == self.values.last()
    }

    fn positions_of(&self, sample: u32) -> Vec<u32> {
        (0..self.labels.len() as u32).filter(|&position| self.labels[position as usize] == sample).collect()
    }

    fn values_of(&self, sample: usize) -> Vec<f64> {
        let labelled = self.values.iter().zip(&self.labels);
        labelled.filter(|(_, label)| **label as usize == sample).map(|(value, _)| *value).collect()
    }

    fn mean_of(&self, sample: usize) -> f64 {
        describe::mean(&self.values_of(sample)).unwrap_or(f64::NAN)
    }
}

/// Twice the rank (from 1) of each of some ascending values, equal values sharing their mean rank.
fn doubled_midranks(ascending: &[f64]) -> Vec<i64> {
    let mut ranks = Vec::with_capacity(ascending.len());
    for equal in ascending.chunk_by(|left, right| left == right) {
        let before = ranks.len() as i64;
        let doubled = 2 * before + equal.len() as i64 + 1;
        ranks.extend(std::iter::repeat_n(doubled, equal.len()));
    }
    ranks
}

/// Integers scaled by a power of two into `[-1, 1]`.
fn scaled_integers(integers: impl Iterator<Item = i64>) -> Vec<f64> {
    let values: Vec<f64> = integers.map(|integer| integer as f64).collect();
    let largest = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let exponent = if largest == 0.0 { 0 } else { exponent_above(largest) };
    values.iter().map(|&value| scale_by_power_of_two(value, -exponent)).collect()
}

/// n choose k; exact up to 2^53, infinite beyond the largest double.
pub(crate) fn binomial(n: u32, k: u32) -> f64 {
    let k = k.min(n - k.min(n));
    let mut exact: u128 = 1;
    let mut product = 1.0f64;
    for i in 0..k {
        let (over, under) = (u128::from(n - i), u128::from(i + 1));
        if exact > 0 && exact < 1 << 90 {
            exact = exact * over / under;
            product = exact as f64;
        } else {
            exact = 0;
            product *= over as f64 / under as f64;
            if product.is_infinite() {
                break;
            }
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binomial_coefficients_are_exact_as_far_as_doubles_go() {
        assert_eq!(binomial(20, 10), 184_756.0);
        assert_eq!(binomial(3, 5), 1.0 * binomial(3, 3));
        assert_eq!(binomial(54, 27), 1_946_939_425_648_112.0);
        assert!((binomial(1000, 500) / 2.702_882_409_454_366e299 - 1.0).abs() < 1e-12);
        assert_eq!(binomial(4_000_000, 2_000_000), f64::INFINITY);
    }

    #[test]
    fn midranks_share_ties() {
        assert_eq!(doubled_midranks(&[1.0, 1.0, 2.0, 5.0, 5.0, 5.0]), [3, 3, 6, 10, 10, 10]);
    }

    #[test]
    fn canonical_sums_equal_those_of_tables() {
        let values: Vec<f64> = (0..21).map(|i| (f64::from(i) * 0.77).sin()).collect();
        let mask = 0b1_0110_1011_0110_0101_1101u32;
        let table_sum = |chunk: &[f64], mask: u8| {
            let mut table = [0.0; 256];
            for m in 1..256usize {
                let lowest = m.trailing_zeros() as usize;
                table[m] = table[m & (m - 1)] + chunk.get(lowest).copied().unwrap_or(0.0);
            }
            table[mask as usize]
        };
        let by_tables = values
            .chunks(8)
            .enumerate()
            .fold(0.0, |sum, (c, chunk)| sum + table_sum(chunk, (mask >> (8 * c)) as u8));
        let direct = canonical_sum(21, |i| mask >> i & 1 == 1, |i| values[i]);
        assert_eq!(direct, by_tables);
    }

    #[test]
    fn extreme_values_are_pooled_without_overflow() {
        for values in [
            [-1.7e308, 1.7e308, 1.7e308, 0.0],
            [5e-324, 0.0, 1e-323, 5e-324],
            [1e15, 1e15 + 0.125, 1e15, 3e15],
        ] {
            let pool = Pool::new(&[&values[..2], &values[2..]]);
            assert!(pool.values.iter().all(|value| value.abs() <= 1.0), "{:?}", pool.values);
            assert!(!pool.is_constant());
        }
    }
}
