//! The probability of improvement, P(X > Y) + P(X = Y) / 2, on the CPU: one pass over the merged samples for
//! `LANES` resamples at a time. All counts are whole numbers, so nothing is rounded before the last division.

use rayon::prelude::*;

use crate::cpu::resample::Sample;
use crate::cpu::simd::{LANES, Portable, Simd};
use crate::cpu::weights::{COUNTED_UP_TO, Weights};
use crate::describe;
use crate::interval::{Interval, sample_flags};
use crate::plan::{Batch, Plan, Shape};
use crate::request::{BootstrapRequest, Computation, Flags, Samples};
use crate::rng::{Stream, Tag};
use crate::select::Selector;
use crate::summary::{Summary, acceleration};

/// Intervals of all groups of a batch.
pub(crate) fn intervals(simd: Simd, plan: &Plan<'_>, batch: &Batch) -> Vec<(u32, Interval)> {
    let request = plan.request;
    let panels = (request.resamples as usize).div_ceil(LANES);
    let stream = |sub| Stream { seed: request.seed, stream: batch.stream, tag: Tag::Bootstrap, sub };
    let streams = [stream(0), stream(1)];
    let counted = batch.n.max(batch.n_second) <= COUNTED_UP_TO && batch.n.min(batch.n_second) > 1;
    let weights = counted.then(|| {
        let reused = batch.groups.len() > 1;
        [(streams[0], batch.n), (streams[1], batch.n_second)]
            .map(|(stream, n)| Weights::new(simd, stream, n, Shape::Mean, panels, reused))
    });
    let interval = |selector: &mut Selector, &group: &u32| {
        let first = plan.first.group(group as usize);
        let second = plan.second_group(group as usize);
        if first.is_empty() || second.is_empty() {
            return (group, Interval::point(f64::NAN, f64::NAN, f64::NAN, Flags::ABSENT));
        }
        let merged = Merged::new(first, second);
        let estimate = merged.estimate();
        if first.len() == 1 || second.len() == 1 {
            return (group, Interval::point(estimate, f64::NAN, f64::NAN, Flags::DEGENERATE));
        }
        let constant = |values: &[f64]| values.first() == values.last();
        if constant(first) && constant(second) {
            return (group, Interval::point(estimate, estimate, 0.0, Flags::ZERO_VARIANCE));
        }
        let mut flags = sample_flags(request.method, first, Some(second));
        if merged.wins == 0.0 || merged.wins == merged.pairs() {
            flags.insert(Flags::SEPARATED | Flags::NO_INTERVAL);
            return (group, Interval { flags, ..Interval::point(estimate, f64::NAN, 0.0, flags) });
        }
        let wins: Vec<[f64; LANES]> = (0..panels)
            .into_par_iter()
            .map_init(Default::default, |buffers: &mut Buffers, panel| match &weights {
                Some(weights) => merged.panel_of_counts(simd, weights, panel, buffers),
                None => merged.panel_of_draws(&streams, (panel * LANES) as u32),
            })
            .collect();
        let pairs = merged.pairs();
        let mut values: Vec<f64> = wins.concat().iter().map(|wins| wins / pairs).collect();
        values.truncate(request.resamples as usize);
        let count = values.len() as f64;
        let [sum, squares] = simd.deviation_sums(&values, estimate);
        let se = if count < 2.0 {
            f64::NAN
        } else {
            ((squares - sum * (sum / count)).max(0.0) / (count - 1.0)).sqrt()
        };
        let summary = Summary {
            method: request.method,
            level: request.level,
            theta: estimate,
            tie: 0.0,
            acceleration: acceleration(&merged.left_out()),
            standard_error: f64::NAN,
        };
        let ends = summary.ends(&mut Sample { simd, values: &mut values, selector, moments: None });
        if ends.is_none() {
            flags.insert(Flags::NO_INTERVAL);
        }
        let [low, high] = ends.unwrap_or([f64::NAN; 2]);
        let computation = Computation::Resampling;
        (group, Interval { estimate, low, high, se, flags, dropped_share: 0.0, computation })
    };
    batch.groups.par_iter().map_init(Selector::default, interval).collect()
}

/// The mean over tasks, which are the groups of a checked request; the percentile method is used.
pub(crate) fn over_tasks(request: &BootstrapRequest<'_>) -> Interval {
    let simd = Simd::detect();
    let absent = Interval::point(f64::NAN, f64::NAN, f64::NAN, Flags::ABSENT);
    let Some(second) = request.second else { return absent };
    let group = |samples: Samples<'_>, task: usize| {
        describe::sorted(&samples.values[samples.offsets[task] as usize..samples.offsets[task + 1] as usize])
    };
    let tasks = (0..request.samples.groups()).map(|task| [group(request.samples, task), group(second, task)]);
    let mut tasks: Vec<[Vec<f64>; 2]> = tasks.filter(|task| !task.iter().all(Vec::is_empty)).collect();
    if tasks.is_empty() || tasks.iter().flatten().any(Vec::is_empty) {
        return absent;
    }
    // An order that follows from the scores alone.
    let keys = |task: &[Vec<f64>; 2]| task.each_ref().map(|scores| scores.len());
    let by_scores = |a: &[Vec<f64>; 2], b: &[Vec<f64>; 2]| {
        let scores = a.iter().flatten().zip(b.iter().flatten());
        scores.map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
    };
    tasks.sort_by(|a, b| keys(a).cmp(&keys(b)).then_with(|| by_scores(a, b)));
    let merged: Vec<Merged> = tasks.iter().map(|[first, second]| Merged::new(first, second)).collect();
    let count = merged.len() as f64;
    let estimate = merged.iter().map(Merged::estimate).sum::<f64>() / count;
    if tasks.iter().flatten().all(|scores| scores.len() < 2) {
        return Interval::point(estimate, estimate, f64::NAN, Flags::DEGENERATE);
    }
    let decided = |merged: &Merged| merged.wins == 0.0 || merged.wins == merged.pairs();
    if merged.iter().all(decided) {
        let flags = Flags::SEPARATED | Flags::NO_INTERVAL;
        return Interval::point(estimate, f64::NAN, 0.0, flags);
    }
    let mut flags = Flags::empty();
    if tasks.iter().flatten().any(|scores| scores.len() < 10) {
        flags.insert(Flags::UNDERCOVERS);
    }
    let panels = (request.resamples as usize).div_ceil(LANES);
    let stream = |sub| Stream { seed: request.seed, stream: 0, tag: Tag::Bootstrap, sub };
    let one_panel = |buffers: &mut Buffers, panel: usize| {
        let mut means = [0.0; LANES];
        for (merged, task) in merged.iter().zip(0..) {
            let streams = [stream(2 * task), stream(2 * task + 1)];
            let wins = if merged.sizes.iter().all(|size| *size <= COUNTED_UP_TO as usize) {
                let weights: [Weights; 2] = std::array::from_fn(|side| {
                    Weights::new(simd, streams[side], merged.sizes[side] as u32, Shape::Mean, panels, false)
                });
                merged.panel_of_counts(simd, &weights, panel, buffers)
            } else {
                merged.panel_of_draws(&streams, (panel * LANES) as u32)
            };
            for (mean, wins) in means.iter_mut().zip(wins) {
                *mean += wins / merged.pairs();
            }
        }
        means.map(|sum| sum / count)
    };
    let replicates: Vec<[f64; LANES]> =
        (0..panels).into_par_iter().map_init(Buffers::default, one_panel).collect();
    let mut values = replicates.concat();
    values.truncate(request.resamples as usize);
    let se = describe::standard_deviation(&values).unwrap_or(f64::NAN);
    let summary = Summary {
        method: request.method,
        level: request.level,
        theta: estimate,
        tie: 0.0,
        acceleration: None,
        standard_error: f64::NAN,
    };
    let mut selector = Selector::default();
    let ends =
        summary.ends(&mut Sample { simd, values: &mut values, selector: &mut selector, moments: None });
    let [low, high] = ends.unwrap_or([f64::NAN; 2]);
    Interval { estimate, low, high, se, flags, dropped_share: 0.0, computation: Computation::Resampling }
}

/// Buffers that are reused from panel to panel.
#[derive(Default)]
struct Buffers {
    first: Vec<f64>,
    second: Vec<f64>,
    counts: Vec<u16>,
}

/// Two samples merged: how many values of each are at the next larger value.
struct Merged {
    steps: Vec<[usize; 2]>,
    sizes: [usize; 2],
    /// Twice the number of pairs that the first sample wins, ties counting half.
    wins: f64,
}

impl Merged {
    fn new(first: &[f64], second: &[f64]) -> Self {
        let mut steps = Vec::new();
        let (mut i, mut j) = (0, 0);
        let mut wins = 0.0;
        while i < first.len() || j < second.len() {
            let next = match (first.get(i), second.get(j)) {
                (Some(left), Some(right)) => left.min(*right),
                (Some(left), None) => *left,
                (None, right) => right.copied().unwrap_or(f64::NAN),
            };
            let equal = |values: &[f64]| values.iter().take_while(|value| **value <= next).count();
            let step = [equal(&first[i..]), equal(&second[j..])];
            wins += step[0] as f64 * (2 * j + step[1]) as f64;
            i += step[0];
            j += step[1];
            steps.push(step);
        }
        Self { steps, sizes: [first.len(), second.len()], wins }
    }

    /// Twice the number of pairs.
    fn pairs(&self) -> f64 {
        2.0 * self.sizes[0] as f64 * self.sizes[1] as f64
    }

    fn estimate(&self) -> f64 {
        self.wins / self.pairs()
    }

    /// Doubled wins of one panel of resamples from their counts.
    fn panel_of_counts(
        &self,
        simd: Simd,
        weights: &[Weights; 2],
        panel: usize,
        buffers: &mut Buffers,
    ) -> [f64; LANES] {
        weights[0].panel(panel, &mut buffers.first, &mut buffers.counts);
        weights[1].panel(panel, &mut buffers.second, &mut buffers.counts);
        simd.run(Wins { steps: &self.steps, first: &buffers.first, second: &buffers.second })
    }

    /// The same by counting the draws of one resample after the other.
    fn panel_of_draws(&self, streams: &[Stream; 2], first: u32) -> [f64; LANES] {
        let mut counts = self.sizes.map(|size| vec![0u32; size]);
        std::array::from_fn(|lane| {
            for ((counts, stream), size) in counts.iter_mut().zip(streams).zip(self.sizes) {
                counts.fill(0);
                for index in stream.indices(size as u32, first.wrapping_add(lane as u32)).take(size) {
                    counts[index as usize] += 1;
                }
            }
            let (mut places, mut below, mut wins) = ([0, 0], 0u64, 0u128);
            for step in &self.steps {
                let drawn: [u64; 2] = std::array::from_fn(|s| {
                    counts[s][places[s]..places[s] + step[s]].iter().map(|count| u64::from(*count)).sum()
                });
                wins += u128::from(drawn[0]) * u128::from(2 * below + drawn[1]);
                below += drawn[1];
                places = [places[0] + step[0], places[1] + step[1]];
            }
            wins as f64
        })
    }

    /// The statistics with one value left out in turn, for each sample.
    fn left_out(&self) -> Vec<Vec<f64>> {
        let [n, m] = self.sizes.map(|size| size as f64);
        let mut left_out = vec![Vec::with_capacity(self.sizes[0]), Vec::with_capacity(self.sizes[1])];
        let mut places = [0usize; 2];
        for step in &self.steps {
            let won = (2 * places[1] + step[1]) as f64;
            let lost = (2 * (self.sizes[0] - places[0] - step[0]) + step[0]) as f64;
            let without = |wins: f64, n: f64, m: f64| (self.wins - wins) / (2.0 * n * m);
            left_out[0].extend(std::iter::repeat_n(without(won, n - 1.0, m), step[0]));
            left_out[1].extend(std::iter::repeat_n(without(lost, n, m - 1.0), step[1]));
            places = [places[0] + step[0], places[1] + step[1]];
        }
        left_out
    }
}

/// Doubled wins of `LANES` resamples.
struct Wins<'a> {
    steps: &'a [[usize; 2]],
    first: &'a [f64],
    second: &'a [f64],
}

impl Portable for Wins<'_> {
    type Output = [f64; LANES];

    #[inline(always)]
    fn compute(self) -> [f64; LANES] {
        let (mut wins, mut below) = ([0.0; LANES], [0.0; LANES]);
        let mut first = self.first.chunks_exact(LANES);
        let mut second = self.second.chunks_exact(LANES);
        for [values, values_second] in self.steps {
            let (mut drawn, mut drawn_second) = ([0.0; LANES], [0.0; LANES]);
            for counts in first.by_ref().take(*values) {
                for lane in 0..LANES {
                    drawn[lane] += counts[lane];
                }
            }
            for counts in second.by_ref().take(*values_second) {
                for lane in 0..LANES {
                    drawn_second[lane] += counts[lane];
                }
            }
            for lane in 0..LANES {
                wins[lane] += drawn[lane] * (2.0 * below[lane] + drawn_second[lane]);
                below[lane] += drawn_second[lane];
            }
        }
        wins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wins_count_pairs_and_leaving_one_out_agrees_with_counting_again() {
        let (first, second) = ([1.0, 2.0, 2.0, 4.0, 7.0], [0.0, 2.0, 3.0, 4.0]);
        let wins = |first: &[f64], second: &[f64]| -> f64 {
            let pair = |x: &f64, y: &f64| f64::from(u8::from(x > y)) + 0.5 * f64::from(u8::from(x == y));
            first.iter().map(|x| second.iter().map(|y| pair(x, y)).sum::<f64>()).sum::<f64>()
                / (first.len() * second.len()) as f64
        };
        let merged = Merged::new(&first, &second);
        assert_eq!(merged.estimate(), wins(&first, &second));
        let left_out = merged.left_out();
        for (index, left_out) in left_out[0].iter().enumerate() {
            let mut rest = first.to_vec();
            rest.remove(index);
            assert!((left_out - wins(&rest, &second)).abs() < 1e-15);
        }
        for (index, left_out) in left_out[1].iter().enumerate() {
            let mut rest = second.to_vec();
            rest.remove(index);
            assert!((left_out - wins(&first, &rest)).abs() < 1e-15);
        }
    }

    #[test]
    fn counts_and_draws_give_the_same_wins() {
        let first: Vec<f64> = (0..23).map(|i| f64::from(i / 2)).collect();
        let second: Vec<f64> = (0..14).map(f64::from).collect();
        let merged = Merged::new(&first, &second);
        let streams = [0, 1].map(|sub| Stream { seed: 9, stream: 2, tag: Tag::Bootstrap, sub });
        let simd = Simd::detect();
        let weights = [(streams[0], 23), (streams[1], 14)]
            .map(|(stream, n)| Weights::new(simd, stream, n, Shape::Mean, 2, false));
        let counted = merged.panel_of_counts(simd, &weights, 1, &mut Buffers::default());
        assert_eq!(counted, merged.panel_of_draws(&streams, LANES as u32));
    }
}
