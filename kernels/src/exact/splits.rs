//! Every split of the pooled values into samples of given sizes, for statistics that are no single sum.

use crate::cpu::masks::Masks;
use crate::permutation::problem::{BetweenTask, Counts, binomial};

/// The subsets of `size` of `n` values at `count` successive places of their lexicographic order from `first` on, of
/// which there must be as many.
pub(crate) fn masks(n: usize, size: usize, first: u64, count: usize) -> Masks {
    let row = n.div_ceil(8);
    let mut bytes = vec![0; row * count];
    let mut members = combination_at(n, size, first);
    for mask in bytes.chunks_exact_mut(row) {
        for member in &members {
            mask[member / 8] |= 1 << (member % 8);
        }
        next_combination(&mut members, n);
    }
    Masks { bytes, row }
}

/// The subset at a place of the lexicographic order, from 0.
fn combination_at(n: usize, size: usize, place: u64) -> Vec<usize> {
    let (mut members, mut before, mut next) = (Vec::with_capacity(size), 0.0, 0);
    for wanted in (0..size).rev() {
        loop {
            // Subsets that go on with this value; whole numbers below 2^53.
            let with = binomial((n - next - 1) as u32, wanted as u32);
            if place as f64 - before < with {
                break;
            }
            before += with;
            next += 1;
        }
        members.push(next);
        next += 1;
    }
    members
}

/// The next subset of `0..n` in lexicographic order, and the first place that changed; `None` after the last.
fn next_combination(members: &mut [usize], n: usize) -> Option<usize> {
    let size = members.len();
    let place = (0..size).rev().find(|&place| members[place] < n - (size - place))?;
    members[place] += 1;
    for later in place + 1..size {
        members[later] = members[later - 1] + 1;
    }
    Some(place)
}

/// Counts all assignments of the values to several samples.
pub(crate) fn count_between(task: &BetweenTask) -> Counts {
    let labels = task.sizes.iter().enumerate();
    let mut labels: Vec<usize> =
        labels.flat_map(|(label, &size)| std::iter::repeat_n(label, size as usize)).collect();
    let mut counts = Counts::default();
    let mut sums = vec![0.0; task.sizes.len()];
    loop {
        sums.fill(0.0);
        for (label, value) in labels.iter().zip(&task.values) {
            sums[*label] += value;
        }
        task.count(between(&sums, &task.sizes), &mut counts);
        if !next_arrangement(&mut labels) {
            return counts;
        }
    }
}

/// The sum of squares between samples.
pub(crate) fn between(sums: &[f64], sizes: &[u32]) -> f64 {
    sums.iter().zip(sizes).map(|(sum, &size)| sum * sum / f64::from(size)).sum()
}

/// The next arrangement of labels in lexicographic order; false after the last.
fn next_arrangement(labels: &mut [usize]) -> bool {
    let Some(place) = (1..labels.len()).rev().find(|&place| labels[place - 1] < labels[place]) else {
        return false;
    };
    let pivot = labels[place - 1];
    if let Some(larger) = (place..labels.len()).rev().find(|&larger| labels[larger] > pivot) {
        labels.swap(place - 1, larger);
    }
    labels[place..].reverse();
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_of_parts_are_those_of_the_whole() {
        for (n, size) in [(3, 2), (8, 3), (9, 1), (13, 6), (17, 14)] {
            let all = binomial(n as u32, size as u32) as usize;
            let whole = masks(n, size, 0, all);
            let parts: Vec<u8> = (0..all)
                .step_by(7)
                .flat_map(|first| masks(n, size, first as u64, 7.min(all - first)).bytes)
                .collect();
            assert_eq!(parts, whole.bytes);
            let mut distinct: Vec<&[u8]> = whole.bytes.chunks_exact(whole.row).collect();
            assert!(
                distinct
                    .iter()
                    .all(|mask| { mask.iter().map(|byte| byte.count_ones()).sum::<u32>() == size as u32 })
            );
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), all);
        }
    }

    #[test]
    fn combinations_and_arrangements_are_complete() {
        let mut members = vec![0, 1, 2];
        let mut count = 1;
        while next_combination(&mut members, 7).is_some() {
            count += 1;
        }
        assert_eq!(f64::from(count), binomial(7, 3));
        let mut labels = vec![0, 0, 1, 1, 1, 2];
        let mut count = 1;
        while next_arrangement(&mut labels) {
            count += 1;
        }
        assert_eq!(count, 60);
    }
}
