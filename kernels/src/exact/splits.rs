//! Every split of the pooled values into samples of given sizes, for statistics that are no single sum.

use crate::cpu::simd::{Portable, Simd};
use crate::permutation::problem::{BetweenTask, Counts, WelchForm, WelchTask};

/// Splits whose statistics are computed together.
const TOGETHER: usize = 256;

/// Counts all splits of a task of Welch's t, in lexicographic order of the first sample. The sums of its first
/// members are kept, so that most splits cost one addition and nothing drifts.
pub(crate) fn count_welch(simd: Simd, task: &WelchTask) -> Counts {
    let (n, size) = (task.values.len(), task.size as usize);
    let mut members: Vec<usize> = (0..size).collect();
    let mut prefixes = vec![(0.0, 0.0); size + 1];
    let mut changed = 0;
    let mut together = Sums { sums: [0.0; TOGETHER], squares: [0.0; TOGETHER], filled: 0 };
    let mut counts = Counts::default();
    loop {
        for k in changed..size {
            let value = task.values[members[k]];
            let (sum, squares): (f64, f64) = prefixes[k];
            prefixes[k + 1] = (sum + value, squares + value * value);
        }
        let (sum, squares) = prefixes[size];
        if task.form.is_narrow(sum, squares) {
            task.count(task.t_of_values(|position| members.binary_search(&position).is_ok()), &mut counts);
        } else {
            together.push(sum, squares);
            if together.filled == TOGETHER {
                together.count(simd, task, &mut counts);
            }
        }
        match next_combination(&mut members, n) {
            Some(first_changed) => changed = first_changed,
            None => break,
        }
    }
    together.count(simd, task, &mut counts);
    counts
}

/// Sums and sums of squares of some splits.
struct Sums {
    sums: [f64; TOGETHER],
    squares: [f64; TOGETHER],
    filled: usize,
}

impl Sums {
    fn push(&mut self, sum: f64, squares: f64) {
        self.sums[self.filled] = sum;
        self.squares[self.filled] = squares;
        self.filled += 1;
    }

    fn count(&mut self, simd: Simd, task: &WelchTask, counts: &mut Counts) {
        simd.run(Evaluate { form: task.form, sums: &mut self.sums, squares: &self.squares });
        for t in &self.sums[..self.filled] {
            task.count(*t, counts);
        }
        self.filled = 0;
    }
}

/// Replaces sums by t.
struct Evaluate<'a> {
    form: WelchForm,
    sums: &'a mut [f64; TOGETHER],
    squares: &'a [f64; TOGETHER],
}

impl Portable for Evaluate<'_> {
    type Output = ();

    #[inline(always)]
    fn compute(self) {
        for (sum, squares) in self.sums.iter_mut().zip(self.squares) {
            *sum = self.form.t(*sum, *squares);
        }
    }
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
    use crate::permutation::problem::binomial;

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
