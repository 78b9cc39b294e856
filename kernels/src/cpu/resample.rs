//! Drawn resamples of one batch of groups: sums by matrix product or by gathering, then intervals.

use rayon::prelude::*;

use crate::cpu::simd::{LANES, Simd};
use crate::cpu::weights::{COUNTED_UP_TO, Weights};
use crate::exact::multiset::rank_weights;
use crate::interval::{Interval, Replicates, Target, sample_flags, squared_deviations};
use crate::plan::{Batch, Centred, Plan, Shape};
use crate::request::{Computation, Flags, Method};
use crate::rng::{Stream, Tag};
use crate::select::Selector;

/// Bytes of sums that are worked on at once: they should stay in the second cache level.
const CHUNK_BYTES: usize = 2 << 20;

/// Where the sums of one sample of a batch come from.
enum Source {
    /// Weights times sorted samples.
    Weights(Weights),
    /// Draw by draw, for samples too large for weights.
    Draws(Stream),
}

/// Intervals of the given groups of a batch, none of which is trivial.
pub(crate) fn intervals(simd: Simd, plan: &Plan<'_>, batch: &Batch, groups: &[u32]) -> Vec<(u32, Interval)> {
    let request = plan.request;
    let panels = (request.resamples as usize).div_ceil(LANES);
    let columns_per_sample = if request.method == Method::Studentized { 2 } else { 1 };
    let samples = if plan.second.is_some() { 2 } else { 1 };
    let bytes_per_group = panels * LANES * 8 * columns_per_sample * samples;
    // Whole tiles of four columns.
    let chunk = (CHUNK_BYTES / bytes_per_group).max(1).next_multiple_of(4);
    let source = |n: u32, sub: u32| {
        let stream = Stream { seed: request.seed, stream: batch.stream, tag: Tag::Bootstrap, sub };
        if n <= COUNTED_UP_TO {
            Source::Weights(Weights::new(simd, stream, n, plan.shape, panels, groups.len() > chunk))
        } else {
            Source::Draws(stream)
        }
    };
    let first = source(batch.n, 0);
    let second = plan.second.is_some().then(|| source(batch.n_second, 1));
    let chunk_of_groups = |groups: &[u32]| {
        let samples: Vec<Centred> = groups
            .par_iter()
            .map(|&group| Centred::new(plan.first.group(group as usize), plan.second_group(group as usize)))
            .collect();
        let studentized = request.method == Method::Studentized;
        let firsts: Vec<&[f64]> = samples.iter().map(|sample| sample.first.as_slice()).collect();
        let first = Sums::new(simd, &first, plan.shape, &firsts, studentized, panels);
        let second = second.as_ref().map(|second| {
            let seconds: Vec<&[f64]> = samples.iter().map(|sample| sample.second.as_slice()).collect();
            Sums::new(simd, second, plan.shape, &seconds, studentized, panels)
        });
        let finish = |scratch: &mut Scratch, (index, sample): (usize, &Centred)| {
            let group = groups[index] as usize;
            let second_values = plan.second.as_ref().map(|second| second.group(group));
            let flags = sample_flags(request.method, plan.first.group(group), second_values);
            let target = Target::new(sample, plan.shape, request.method, request.level);
            let drawn = Drawn {
                index,
                first: &first,
                second: second.as_ref(),
                resamples: request.resamples as usize,
            };
            (group as u32, drawn.interval(&target, flags, scratch))
        };
        samples.par_iter().enumerate().map_init(Scratch::default, finish).collect::<Vec<_>>()
    };
    groups.par_chunks(chunk).flat_map_iter(chunk_of_groups).collect()
}

/// Sums (and sums of squares) of some samples over all resamples, panel by panel:
/// `values[panel][column][lane]`.
struct Sums {
    values: Vec<f64>,
    columns: usize,
    studentized: bool,
}

impl Sums {
    fn new(
        simd: Simd,
        source: &Source,
        shape: Shape,
        samples: &[&[f64]],
        studentized: bool,
        panels: usize,
    ) -> Self {
        let squares: Vec<Vec<f64>> = if studentized {
            samples.iter().map(|sample| sample.iter().map(|value| value * value).collect()).collect()
        } else {
            Vec::new()
        };
        let mut columns = samples.to_vec();
        columns.extend(squares.iter().map(Vec::as_slice));
        let width = columns.len() * LANES;
        let mut values = vec![0.0; panels * width];
        let fill = |buffers: &mut (Vec<f64>, Vec<u16>), (panel, sums): (usize, &mut [f64])| match source {
            Source::Weights(weights) => {
                weights.panel(panel, &mut buffers.0, &mut buffers.1);
                simd.weighted_sums(&buffers.0, &columns, sums);
            }
            Source::Draws(stream) if shape == Shape::Mean => {
                simd.gathered_sums(stream, (panel * LANES) as u32, &columns, sums);
            }
            Source::Draws(stream) => counted_sums(stream, (panel * LANES) as u32, shape, &columns, sums),
        };
        values.par_chunks_mut(width).enumerate().for_each_init(Default::default, fill);
        Self { values, columns: columns.len(), studentized }
    }

    /// The sums of one sample over all resamples, in order of resamples.
    fn of(&self, index: usize, resamples: usize) -> impl Iterator<Item = f64> {
        self.column(index).take(resamples)
    }

    /// The sums of squares of one sample.
    fn squares_of(&self, index: usize, resamples: usize) -> impl Iterator<Item = f64> {
        self.column(self.columns / 2 + index).take(resamples)
    }

    fn column(&self, column: usize) -> impl Iterator<Item = f64> {
        self.values
            .chunks_exact(self.columns * LANES)
            .flat_map(move |panel| panel[column * LANES..(column + 1) * LANES].iter().copied())
    }
}

/// Trimmed sums of large samples: counts of one resample at a time, then one chain.
fn counted_sums(stream: &Stream, first: u32, shape: Shape, columns: &[&[f64]], sums: &mut [f64]) {
    let n = columns.first().map_or(0, |column| column.len());
    let mut counts = vec![0u32; n];
    for lane in 0..LANES {
        counts.fill(0);
        for index in stream.indices(n as u32, first.wrapping_add(lane as u32)).take(n) {
            counts[index as usize] += 1;
        }
        let weights = rank_weights(&counts, shape);
        for (column, values) in columns.iter().enumerate() {
            let chain = |sum: f64, (weight, value): (&f64, &f64)| weight.mul_add(*value, sum);
            sums[column * LANES + lane] = weights.iter().zip(*values).fold(0.0, chain);
        }
    }
}

/// Buffers that are reused from group to group.
#[derive(Default)]
struct Scratch {
    values: Vec<f64>,
    selector: Selector,
}

/// The resamples of one group.
struct Drawn<'a> {
    index: usize,
    first: &'a Sums,
    second: Option<&'a Sums>,
    resamples: usize,
}

impl Drawn<'_> {
    fn interval(&self, target: &Target<'_>, mut flags: Flags, scratch: &mut Scratch) -> Interval {
        let n = target.sample.first.len() as f64;
        let n_second = target.sample.second.len() as f64;
        let values = &mut scratch.values;
        values.clear();
        let first = self.first.of(self.index, self.resamples);
        match self.second {
            None => values.extend(first),
            Some(second) => {
                let second = second.of(self.index, self.resamples);
                values.extend(first.zip(second).map(|(first, second)| first / n - second / n_second));
            }
        }
        let se = standard_deviation(values, target.theta) / target.divisor;
        let mut dropped_share = 0.0;
        if self.first.studentized {
            self.studentize(target, values);
            dropped_share = (self.resamples - values.len()) as f64 / self.resamples as f64;
            if dropped_share > 0.0 {
                flags.insert(Flags::DROPPED_RESAMPLES);
            }
        }
        let ends = if values.is_empty() {
            None
        } else {
            target.ends(&mut Sample { values, selector: &mut scratch.selector })
        };
        let [low, high] = ends.unwrap_or_else(|| {
            flags.insert(Flags::NO_INTERVAL);
            [f64::NAN; 2]
        });
        Interval {
            estimate: target.estimate(),
            low,
            high,
            se: target.sample.spread(se),
            flags,
            dropped_share,
            computation: Computation::Resampling,
        }
    }

    /// Replaces replicates by t statistics and drops those whose resample has no spread.
    fn studentize(&self, target: &Target<'_>, values: &mut Vec<f64>) {
        let n = target.sample.first.len() as f64;
        let n_second = target.sample.second.len() as f64;
        let centre = target.theta / target.divisor;
        let variance = |sum: f64, squares: f64, n: f64| squared_deviations(sum, squares, n) / (n * (n - 1.0));
        let first = self.first.of(self.index, self.resamples);
        let first = first.zip(self.first.squares_of(self.index, self.resamples));
        let first = first.map(|(sum, squares)| variance(sum, squares, n));
        let mut kept = 0;
        let mut studentize = |values: &mut [f64], replicate: usize, variance: f64| {
            if variance > 0.0 {
                values[kept] = (values[replicate] / target.divisor - centre) / variance.sqrt();
                kept += 1;
            }
        };
        match self.second {
            None => {
                for (replicate, variance) in first.enumerate() {
                    studentize(values, replicate, variance);
                }
            }
            Some(second) => {
                let sums = second.of(self.index, self.resamples);
                let second = sums.zip(second.squares_of(self.index, self.resamples));
                for (replicate, (first, (sum, squares))) in first.zip(second).enumerate() {
                    studentize(values, replicate, first + variance(sum, squares, n_second));
                }
            }
        }
        values.truncate(kept);
    }
}

/// Standard deviation (divisor B - 1) of replicates around a value near their mean. Lane l adds
/// the replicates l, l + LANES, ... in order; then the lanes are added in order.
fn standard_deviation(values: &[f64], near: f64) -> f64 {
    let (mut sums, mut squares) = ([0.0f64; LANES], [0.0f64; LANES]);
    for chunk in values.chunks(LANES) {
        for ((value, sum), square) in chunk.iter().zip(&mut sums).zip(&mut squares) {
            let difference = value - near;
            *sum += difference;
            *square += difference * difference;
        }
    }
    let count = values.len() as f64;
    if count < 2.0 {
        return f64::NAN;
    }
    let sum: f64 = sums.iter().sum();
    let square: f64 = squares.iter().sum();
    ((square - sum * (sum / count)).max(0.0) / (count - 1.0)).sqrt()
}

/// Drawn replicates as a distribution.
struct Sample<'a> {
    values: &'a mut [f64],
    selector: &'a mut Selector,
}

impl Replicates for Sample<'_> {
    fn share_around(&self, theta: f64, tie: f64) -> f64 {
        let (below, at_or_below) = (theta - tie, theta + tie);
        let count = |value: &f64| u64::from(*value < below) + u64::from(*value <= at_or_below);
        self.values.iter().map(count).sum::<u64>() as f64 / (2.0 * self.values.len() as f64)
    }

    fn quantiles(&mut self, probabilities: [f64; 2]) -> [f64; 2] {
        self.selector.quantiles(self.values, probabilities)
    }
}
