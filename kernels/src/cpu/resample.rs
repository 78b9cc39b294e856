//! Drawn resamples of one batch of groups: sums by matrix product or by gathering, then intervals.

use rayon::prelude::*;

use crate::cpu::simd::{LANES, Simd};
use crate::cpu::weights::{COUNTED_UP_TO, Weights};
use crate::error::KernelError;
use crate::exact::multiset::rank_weights;
use crate::interval::{Interval, Replicates, Target, normal_quantile, sample_flags};
use crate::plan::{Batch, Centred, Plan, Shape};
use crate::request::{Computation, Flags, Method};
use crate::rng::{Stream, Tag};
use crate::select::Selector;

/// Bytes of sums that are worked on at once: they should stay in the second cache level.
const CHUNK_BYTES: usize = 2 << 20;

/// Where the sums of one sample of a batch come from.
pub(crate) enum Source {
    /// Weights times sorted samples.
    Weights(Weights),
    /// Draw by draw, for samples too large for weights.
    Draws(Stream, Shape),
}

impl Source {
    /// The resamples of samples of one size; `reused` when several groups or chunks share them.
    pub(crate) fn new(simd: Simd, stream: Stream, n: u32, shape: Shape, panels: usize, reused: bool) -> Self {
        if n <= COUNTED_UP_TO {
            Self::Weights(Weights::new(simd, stream, n, shape, panels, reused))
        } else {
            Self::Draws(stream, shape)
        }
    }

    /// Sums of the columns over one panel of resamples: `sums[column * LANES + lane]`.
    pub(crate) fn sums(
        &self,
        simd: Simd,
        panel: usize,
        columns: &[&[f64]],
        sums: &mut [f64],
        buffers: &mut (Vec<f64>, Vec<u16>),
    ) {
        match self {
            Self::Weights(weights) => {
                weights.panel(panel, &mut buffers.0, &mut buffers.1);
                simd.weighted_sums(&buffers.0, columns, sums);
            }
            Self::Draws(stream, Shape::Mean) => {
                simd.gathered_sums(stream, (panel * LANES) as u32, columns, sums);
            }
            Self::Draws(stream, shape) => {
                counted_sums(simd, stream, (panel * LANES) as u32, *shape, columns, sums);
            }
        }
    }
}

/// Intervals of the given groups of a batch, none of which is trivial.
///
/// # Errors
/// [`KernelError::OutOfMemory`] when the sums of one chunk of groups do not fit.
pub(crate) fn intervals(
    simd: Simd,
    plan: &Plan<'_>,
    batch: &Batch,
    groups: &[u32],
) -> Result<Vec<(u32, Interval)>, KernelError> {
    let request = plan.request;
    let panels = (request.resamples as usize).div_ceil(LANES);
    let columns_per_sample = if request.method == Method::Studentized { 2 } else { 1 };
    let samples = if plan.second.is_some() { 2 } else { 1 };
    let bytes_per_group = panels * LANES * 8 * columns_per_sample * samples;
    // Whole tiles of four columns, unless a single group is large already.
    let chunk = match CHUNK_BYTES / bytes_per_group {
        0 => 1,
        groups => groups.next_multiple_of(4),
    };
    let source = |n: u32, sub: u32| {
        let stream = Stream { seed: request.seed, stream: batch.stream, tag: Tag::Bootstrap, sub };
        Source::new(simd, stream, n, plan.shape, panels, groups.len() > chunk)
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
        let first = Sums::new(simd, &first, &firsts, studentized, panels)?;
        let second = second.as_ref().map(|second| {
            let seconds: Vec<&[f64]> = samples.iter().map(|sample| sample.second.as_slice()).collect();
            Sums::new(simd, second, &seconds, studentized, panels)
        });
        let second = second.transpose()?;
        let finish = |scratch: &mut Scratch, (index, sample): (usize, &Centred)| {
            let group = groups[index] as usize;
            let second_values = plan.second.as_ref().map(|second| second.group(group));
            let flags = sample_flags(request.method, plan.first.group(group), second_values);
            let target = Target::new(sample, plan.shape, request.method, request.level);
            let drawn = Drawn {
                simd,
                index,
                first: &first,
                second: second.as_ref(),
                resamples: request.resamples as usize,
            };
            (group as u32, drawn.interval(&target, flags, scratch))
        };
        Ok(samples.par_iter().enumerate().map_init(Scratch::default, finish).collect())
    };
    let chunks: Result<Vec<Vec<(u32, Interval)>>, KernelError> =
        groups.par_chunks(chunk).map(chunk_of_groups).collect();
    Ok(chunks?.concat())
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
        samples: &[&[f64]],
        studentized: bool,
        panels: usize,
    ) -> Result<Self, KernelError> {
        let squares: Vec<Vec<f64>> = if studentized {
            samples.iter().map(|sample| sample.iter().map(|value| value * value).collect()).collect()
        } else {
            Vec::new()
        };
        let mut columns = samples.to_vec();
        columns.extend(squares.iter().map(Vec::as_slice));
        let width = columns.len() * LANES;
        let mut values = Vec::new();
        let out_of_memory = |_| KernelError::OutOfMemory { need: (panels * width * 8) as u64, free: 0 };
        values.try_reserve_exact(panels * width).map_err(out_of_memory)?;
        values.resize(panels * width, 0.0);
        let fill = |buffers: &mut (Vec<f64>, Vec<u16>), (panel, sums): (usize, &mut [f64])| {
            source.sums(simd, panel, &columns, sums, buffers);
        };
        values.par_chunks_mut(width).enumerate().for_each_init(Default::default, fill);
        Ok(Self { values, columns: columns.len(), studentized })
    }

    /// The sums of one sample over all resamples, in order of resamples, panel by panel.
    fn of(&self, index: usize) -> impl Iterator<Item = &[f64]> {
        self.column(index)
    }

    /// The sums of squares of one sample.
    fn squares_of(&self, index: usize) -> impl Iterator<Item = &[f64]> {
        self.column(self.columns / 2 + index)
    }

    fn column(&self, column: usize) -> impl Iterator<Item = &[f64]> {
        let lanes = column * LANES..(column + 1) * LANES;
        self.values.chunks_exact(self.columns * LANES).map(move |panel| &panel[lanes.clone()])
    }
}

/// Trimmed sums of large samples: counts of one resample at a time, then one chain.
fn counted_sums(simd: Simd, stream: &Stream, first: u32, shape: Shape, columns: &[&[f64]], sums: &mut [f64]) {
    let n = columns.first().map_or(0, |column| column.len());
    let mut counts = vec![0u32; n];
    for lane in 0..LANES {
        counts.fill(0);
        for index in stream.indices(n as u32, first.wrapping_add(lane as u32)).take(n) {
            counts[index as usize] += 1;
        }
        let weights = rank_weights(&counts, shape);
        for (column, values) in columns.iter().enumerate() {
            sums[column * LANES + lane] = simd.chain(&weights, values);
        }
    }
}

/// Buffers that are reused from group to group.
#[derive(Default)]
struct Scratch {
    values: Vec<f64>,
    variances: Vec<f64>,
    selector: Selector,
}

/// The resamples of one group.
struct Drawn<'a> {
    simd: Simd,
    index: usize,
    first: &'a Sums,
    second: Option<&'a Sums>,
    resamples: usize,
}

impl Drawn<'_> {
    fn interval(&self, target: &Target<'_>, flags: Flags, scratch: &mut Scratch) -> Interval {
        let n = target.sample.first.len() as f64;
        let n_second = target.sample.second.len() as f64;
        let Scratch { values, variances, selector } = scratch;
        values.clear();
        match self.second {
            None => self.first.of(self.index).for_each(|panel| values.extend_from_slice(panel)),
            Some(second) => {
                for (first, second) in self.first.of(self.index).zip(second.of(self.index)) {
                    values.extend(
                        first.iter().zip(second).map(|(first, second)| first / n - second / n_second),
                    );
                }
            }
        }
        values.truncate(self.resamples);
        let [bias, deviation] = self.moments(values, target.theta);
        let se = deviation / target.divisor;
        let studentized = self.first.studentized;
        let skewness = if studentized { 0.0 } else { target.acceleration() };
        let moments = (!studentized && deviation > 0.0).then_some([target.theta + bias, deviation, skewness]);
        let mut dropped_share = 0.0;
        if self.first.studentized {
            self.studentize(target, values, variances);
            dropped_share = (self.resamples - values.len()) as f64 / self.resamples as f64;
        }
        let ends = if values.is_empty() {
            None
        } else {
            target.ends(&mut Sample { simd: self.simd, values, selector, moments })
        };
        target.interval(ends, se, dropped_share, flags, Computation::Resampling)
    }

    /// Replaces replicates by t statistics and drops those whose resample has no spread.
    fn studentize(&self, target: &Target<'_>, values: &mut Vec<f64>, variances: &mut Vec<f64>) {
        variances.clear();
        variances.resize(self.resamples.next_multiple_of(LANES), 0.0);
        let mut add = |sums: &Sums, n: usize| {
            let panels = sums.of(self.index).zip(sums.squares_of(self.index));
            for ((sums, squares), out) in panels.zip(variances.chunks_exact_mut(LANES)) {
                self.simd.add_variances(sums, squares, n as f64, out);
            }
        };
        add(self.first, target.sample.first.len());
        if let Some(second) = self.second {
            add(second, target.sample.second.len());
        }
        self.simd.studentize(values, variances, target.divisor, target.theta / target.divisor);
        let mut variances = variances.iter();
        values.retain(|_| variances.next().is_some_and(|&variance| variance > 0.0));
    }

    /// Mean distance of replicates from a value near their mean, and their standard deviation (divisor B - 1).
    fn moments(&self, values: &[f64], near: f64) -> [f64; 2] {
        let count = values.len() as f64;
        if count < 2.0 {
            return [f64::NAN; 2];
        }
        let [sum, square] = self.simd.deviation_sums(values, near);
        [sum / count, ((square - sum * (sum / count)).max(0.0) / (count - 1.0)).sqrt()]
    }
}

/// Drawn replicates as a distribution.
pub(crate) struct Sample<'a> {
    pub(crate) simd: Simd,
    pub(crate) values: &'a mut [f64],
    pub(crate) selector: &'a mut Selector,
    /// Mean, standard deviation and about a sixth of the skewness, where known: they say where quantiles lie.
    pub(crate) moments: Option<[f64; 3]>,
}

impl Replicates for Sample<'_> {
    fn share_around(&self, theta: f64, tie: f64) -> f64 {
        let count = self.simd.count_around(self.values, theta - tie, theta + tie);
        count as f64 / (2.0 * self.values.len() as f64)
    }

    fn quantiles(&mut self, probabilities: [f64; 2]) -> [f64; 2] {
        let Some([mean, deviation, skewness]) = self.moments else {
            return self.selector.quantiles(self.simd, self.values, probabilities);
        };
        // Cornish & Fisher's expansion.
        let guess = |probability: f64| {
            let z = normal_quantile(probability);
            mean + deviation * (z + skewness * (z * z - 1.0))
        };
        self.selector.quantiles_near(self.simd, self.values, probabilities, guess)
    }
}
