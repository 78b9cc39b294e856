//! Counting the subset sums of a sample from the sums of its two halves (Horowitz & Sahni 1974).
//!
//! The sorted sums of each half are made by merging, and two pointers then count the pairs of sums beyond a
//! threshold: 2^(N/2) steps for up to 2^N subsets. Every sum is made of two parts with the same bits wherever it
//! occurs, so that nothing drifts as it would in a Gray code that adds and subtracts one value at a time.

use crate::permutation::problem::{Counts, SumTask, Thresholds, binomial};

/// How many sums the longer half has; what counting costs, in time and memory.
pub(crate) fn sums_of_half(task: &SumTask) -> f64 {
    let half = task.values.len().div_ceil(2) as u32;
    match task.size {
        None => f64::from(half).exp2(),
        Some(size) => {
            let size = size.min(task.values.len() as u32 - size);
            (0..=size.min(half)).map(|taken| binomial(half, taken)).sum()
        }
    }
}

/// Counts all relabellings of a task.
pub(crate) fn count(task: &SumTask) -> Counts {
    let n = task.values.len();
    let (low_half, high_half) = task.values.split_at(n / 2);
    let thresholds = task.thresholds();
    let mut counts = Counts::default();
    let Some(size) = task.size else {
        add_pairs(&sums(low_half), &sums(high_half), &thresholds, &mut counts);
        return counts;
    };
    let size = size as usize;
    if size > n - size {
        return count_complement(task);
    }
    let low = sums_by_size(low_half, size);
    let high = sums_by_size(high_half, size);
    for (taken, low) in low.iter().enumerate() {
        if let Some(high) = high.get(size - taken) {
            add_pairs(low, high, &thresholds, &mut counts);
        }
    }
    counts
}

/// Counts the values that are not marked, which are fewer.
fn count_complement(task: &SumTask) -> Counts {
    let total: f64 = task.values.iter().sum();
    let complement = SumTask {
        size: task.size.map(|size| task.values.len() as u32 - size),
        observed: total - task.observed,
        centre: total - task.centre,
        ..task.clone()
    };
    count(&complement).mirrored()
}

/// The sums of all subsets, ascending.
fn sums(values: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0];
    for &value in values {
        sums = merged(&sums, &sums, value);
    }
    sums
}

/// The sums of all subsets of 0, 1, ... up to `most` values, each ascending.
fn sums_by_size(values: &[f64], most: usize) -> Vec<Vec<f64>> {
    let mut by_size = vec![vec![0.0]];
    for &value in values {
        if by_size.len() <= most {
            by_size.push(Vec::new());
        }
        for size in (1..by_size.len()).rev() {
            by_size[size] = merged(&by_size[size], &by_size[size - 1], value);
        }
    }
    by_size
}

/// The first list merged with the second plus a value, which keeps its order.
fn merged(plain: &[f64], shifted: &[f64], value: f64) -> Vec<f64> {
    let mut out = Vec::with_capacity(plain.len() + shifted.len());
    let (mut i, mut j) = (0, 0);
    while i < plain.len() && j < shifted.len() {
        let (left, right) = (plain[i], shifted[j] + value);
        let take_left = left <= right;
        out.push(if take_left { left } else { right });
        i += usize::from(take_left);
        j += usize::from(!take_left);
    }
    out.extend_from_slice(&plain[i..]);
    out.extend(shifted[j..].iter().map(|sum| sum + value));
    out
}

/// Adds the counts of all pairs of sums.
fn add_pairs(low: &[f64], high: &[f64], thresholds: &Thresholds, counts: &mut Counts) {
    let total = low.len() as f64 * high.len() as f64;
    let below = |reached: &dyn Fn(f64) -> bool| pairs_where(low, high, reached);
    counts.total += total;
    counts.high += total - below(&|sum| sum < thresholds.high);
    counts.low += below(&|sum| sum <= thresholds.low);
    let [above, under] = thresholds.outside;
    counts.outside +=
        if above <= under { total } else { total - below(&|sum| sum < above) + below(&|sum| sum <= under) };
}

/// How many pairs have a sum with a property that all smaller sums have as well.
fn pairs_where(low: &[f64], high: &[f64], holds: impl Fn(f64) -> bool) -> f64 {
    let mut count = 0u64;
    let mut partners = high.len();
    for first in low {
        while partners > 0 && !holds(first + high[partners - 1]) {
            partners -= 1;
        }
        if partners == 0 {
            break;
        }
        count += partners as u64;
    }
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(values: Vec<f64>, size: Option<u32>, observed: f64) -> SumTask {
        let total: f64 = values.iter().sum();
        let n = values.len() as f64;
        let centre = size.map_or(total / 2.0, |size| total * f64::from(size) / n);
        SumTask { values, size, observed, centre, tolerance: 1e-12, rising: true }
    }

    fn by_brute_force(task: &SumTask) -> Counts {
        let thresholds = task.thresholds();
        let mut counts = Counts::default();
        for mask in 0..1u32 << task.values.len() {
            if task.size.is_some_and(|size| mask.count_ones() != size) {
                continue;
            }
            let marked = task.values.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1);
            let sum: f64 = marked.map(|(_, value)| value).sum();
            counts.total += 1.0;
            counts.high += f64::from(u8::from(sum >= thresholds.high));
            counts.low += f64::from(u8::from(sum <= thresholds.low));
            let outside = sum >= thresholds.outside[0] || sum <= thresholds.outside[1];
            counts.outside += f64::from(u8::from(outside));
        }
        counts
    }

    #[test]
    fn halves_count_what_enumeration_counts() {
        let rough: Vec<f64> = (0..13).map(|i| ((i * i * 7) % 23) as f64 / 23.0 - 0.4).collect();
        let tied: Vec<f64> = (0..12).map(|i| f64::from(i % 4)).collect();
        for values in [rough, tied] {
            let mut values = values;
            values.sort_unstable_by(f64::total_cmp);
            for observed in [-1.0, 0.0, 1.0, 3.0, 6.0, 9.0] {
                for size in [None, Some(1), Some(4), Some(6), Some(11)] {
                    let task = task(values.clone(), size, observed);
                    assert_eq!(count(&task), by_brute_force(&task), "{size:?}, {observed}");
                }
            }
        }
    }

    #[test]
    fn the_cost_of_unequal_sizes_stays_low() {
        let values: Vec<f64> = (0..1_000).map(f64::from).collect();
        assert_eq!(sums_of_half(&task(values.clone(), Some(999), 0.0)), 501.0);
        assert_eq!(count(&task(values, Some(998), 0.0)).total, 499_500.0);
    }
}
