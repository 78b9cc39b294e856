//! Structured resamples on the CPU: counts of `LANES` resamples at a time, then one pass over the sorted values.

use rayon::prelude::*;

use crate::cpu::resample::Sample;
use crate::cpu::simd::{LANES, Portable, Simd};
use crate::describe;
use crate::interval::{Interval, squared_deviations, tie_tolerance};
use crate::request::{BootstrapOutput, Computation, Flags, Method, Provenance};
use crate::rng::{RNG_VERSION, Stream, Tag};
use crate::select::Selector;
use crate::structured::layout::{Draw, Layout};
use crate::structured::target::Kind;
use crate::structured::{BlockScheme, Structure, StructuredRequest};
use crate::summary::{Summary, acceleration};

/// Answers a checked request.
pub(crate) fn run(request: &StructuredRequest<'_>, kind: Kind) -> BootstrapOutput {
    let simd = Simd::detect();
    let offsets = request.samples.offsets;
    let intervals: Vec<Interval> = offsets
        .par_windows(2)
        .map_init(Selector::default, |selector, ends| {
            interval(simd, request, kind, [ends[0], ends[1]], selector)
        })
        .collect();
    let column = |of: fn(&Interval) -> f64| intervals.iter().map(of).collect::<Vec<f64>>();
    BootstrapOutput {
        estimate: column(|interval| interval.estimate),
        low: column(|interval| interval.low),
        high: column(|interval| interval.high),
        se: column(|interval| interval.se),
        n: offsets.windows(2).map(|ends| ends[1] - ends[0]).collect(),
        n_second: Vec::new(),
        computation: intervals.iter().map(|interval| interval.computation).collect(),
        flags: intervals.iter().map(|interval| interval.flags).collect(),
        dropped_share: column(|interval| interval.dropped_share),
        method: request.method,
        provenance: Provenance { rng_version: RNG_VERSION, backend: "cpu", fallback: None },
    }
}

fn interval(
    simd: Simd,
    request: &StructuredRequest<'_>,
    kind: Kind,
    ends: [u32; 2],
    selector: &mut Selector,
) -> Interval {
    let all = request.samples.values;
    let values = &all[ends[0] as usize..ends[1] as usize];
    if values.is_empty() {
        return Interval::point(f64::NAN, f64::NAN, f64::NAN, Flags::ABSENT);
    }
    let parts: Vec<&[f64]> = match request.structure {
        Structure::Strata(cuts) | Structure::Clusters(cuts) => {
            let from = cuts.partition_point(|cut| *cut < ends[0]);
            let to = cuts.partition_point(|cut| *cut <= ends[1]);
            cuts[from..to].windows(2).map(|cut| &all[cut[0] as usize..cut[1] as usize]).collect()
        }
        Structure::Blocks { .. } => Vec::new(),
    };
    let layout = Layout::new(values, &parts, request.structure);
    let ones = vec![1u16; layout.rows.iter().map(|row| *row as usize + 1).max().unwrap_or(0) * LANES];
    let theta = evaluate(simd, kind, &layout, &ones)[0];
    let estimate = estimate(kind, values, theta, &layout);
    if layout.is_degenerate() {
        return Interval::point(estimate, estimate, f64::NAN, Flags::DEGENERATE);
    }
    let fixed = kind != Kind::Sum || layout.fixed_size().is_some();
    if layout.is_constant() && fixed {
        // Values may differ between strata: no resample changes that.
        return Interval::point(estimate, estimate, 0.0, Flags::ZERO_VARIANCE);
    }
    let mut flags = Flags::empty();
    if layout.is_small() {
        flags.insert(Flags::UNDERCOVERS);
    }
    let panels = (request.resamples as usize).div_ceil(LANES);
    let rows = ones.len() / LANES;
    let one_panel = |counts: &mut Vec<u16>, panel: usize| {
        counts.clear();
        counts.resize(rows * LANES, 0);
        fill_counts(simd, &layout.draw, request.seed, (panel * LANES) as u32, counts);
        evaluate(simd, kind, &layout, counts)
    };
    let replicates: Vec<[f64; LANES]> = (0..panels).into_par_iter().map_init(Vec::new, one_panel).collect();
    let mut replicates = replicates.concat();
    replicates.truncate(request.resamples as usize);
    // Clusters of one value can leave a variance undefined.
    replicates.retain(|replicate| replicate.is_finite());
    let dropped_share = 1.0 - replicates.len() as f64 / f64::from(request.resamples);
    if dropped_share > 0.0 {
        flags.insert(Flags::DROPPED_RESAMPLES);
    }
    let count = replicates.len() as f64;
    let [sum, squares] = simd.deviation_sums(&replicates, theta);
    let se = if count < 2.0 {
        f64::NAN
    } else {
        ((squares - sum * (sum / count)).max(0.0) / (count - 1.0)).sqrt()
    };
    let bca = request.method == Method::Bca;
    let summary = Summary {
        method: request.method,
        level: request.level,
        theta,
        tie: tie_tolerance(if kind == Kind::Sum { layout.values.len() } else { 1 }),
        acceleration: if bca {
            kind.left_out(&layout).and_then(|left_out| acceleration(&left_out))
        } else {
            None
        },
        standard_error: f64::NAN,
    };
    let ends = if replicates.is_empty() {
        None
    } else {
        summary.ends(&mut Sample { simd, values: &mut replicates, selector, moments: None })
    };
    if ends.is_none() {
        flags.insert(Flags::NO_INTERVAL);
    }
    let [low, high] = ends.map_or([f64::NAN; 2], |ends| ends.map(|end| kind.unscaled(end, &layout)));
    let se = kind.unscaled_spread(se, &layout);
    Interval { estimate, low, high, se, flags, dropped_share, computation: Computation::Resampling }
}

/// The statistic of the values, as exactly as it can be had.
fn estimate(kind: Kind, values: &[f64], theta: f64, layout: &Layout) -> f64 {
    let sorted = describe::sorted(values);
    let kept = kind.kept(sorted.len());
    let exact = match kind {
        Kind::Mean | Kind::Trimmed(_) => describe::mean(&sorted[kept]),
        Kind::Quantile(probability) => describe::quantile_sorted(&sorted, probability),
        Kind::Variance => describe::variance(&sorted),
        Kind::Deviation => describe::standard_deviation(&sorted),
        Kind::Sum => None,
    };
    exact.unwrap_or_else(|| kind.unscaled(theta, layout))
}

/// Counts of the rows in `LANES` resamples; `counts` holds zeros before.
fn fill_counts(simd: Simd, draw: &Draw, seed: u64, first: u32, counts: &mut [u16]) {
    let stream = |sub| Stream { seed, stream: 0, tag: Tag::Bootstrap, sub };
    match draw {
        Draw::Strata(sizes) => {
            let mut rest = counts;
            for (size, sub) in sizes.iter().zip(0..) {
                let (counts, later) = rest.split_at_mut(*size as usize * LANES);
                simd.count_draws(&stream(sub), *size, first, counts);
                rest = later;
            }
        }
        Draw::Clusters(clusters) => simd.count_draws(&stream(0), *clusters, first, counts),
        Draw::Blocks { points, length, scheme } => {
            block_counts(&stream(0), [*points, *length], *scheme, first, counts);
        }
    }
}

/// How often each point of a series occurs in blocks that begin at drawn points; the last block is cut so that the
/// resample is as long as the series.
fn block_counts(
    stream: &Stream,
    [points, length]: [u32; 2],
    scheme: BlockScheme,
    first: u32,
    counts: &mut [u16],
) {
    let length = length.min(points);
    let blocks = points.div_ceil(length);
    let starts = match scheme {
        BlockScheme::Moving => points - length + 1,
        BlockScheme::Circular => points,
    };
    // Wrapping differences of neighbouring counts, then their prefix sums.
    for lane in 0..LANES {
        let resample = first.wrapping_add(lane as u32);
        let mut left = points;
        for start in stream.indices(starts, resample).take(blocks as usize) {
            let taken = length.min(left);
            left -= taken;
            let mut add = |from: u32, to: u32| {
                let from = &mut counts[from as usize * LANES + lane];
                *from = from.wrapping_add(1);
                if to < points {
                    let to = &mut counts[to as usize * LANES + lane];
                    *to = to.wrapping_sub(1);
                }
            };
            if start + taken <= points {
                add(start, start + taken);
            } else {
                add(start, points);
                add(0, start + taken - points);
            }
        }
    }
    let mut totals = [0u16; LANES];
    for row in counts.chunks_exact_mut(LANES) {
        for (count, total) in row.iter_mut().zip(&mut totals) {
            *total = total.wrapping_add(*count);
            *count = *total;
        }
    }
}

/// The statistic of `LANES` resamples, in scaled units.
fn evaluate(simd: Simd, kind: Kind, layout: &Layout, counts: &[u16]) -> [f64; LANES] {
    simd.run(Evaluate { kind, layout, counts })
}

struct Evaluate<'a> {
    kind: Kind,
    layout: &'a Layout,
    counts: &'a [u16],
}

impl Evaluate<'_> {
    /// The values, ascending, with their counts.
    #[inline(always)]
    fn for_each(&self, mut visit: impl FnMut(f64, &[f64; LANES])) {
        for (value, row) in self.layout.values.iter().zip(&self.layout.rows) {
            let row = &self.counts[*row as usize * LANES..][..LANES];
            let mut weights = [0.0; LANES];
            for (weight, count) in weights.iter_mut().zip(row) {
                *weight = f64::from(*count);
            }
            visit(*value, &weights);
        }
    }

    #[inline(always)]
    fn sizes(&self) -> [f64; LANES] {
        if let Some(size) = self.layout.fixed_size() {
            return [size; LANES];
        }
        let mut sizes = [0.0; LANES];
        self.for_each(|_, weights| {
            for (size, weight) in sizes.iter_mut().zip(weights) {
                *size += weight;
            }
        });
        sizes
    }

    #[inline(always)]
    fn sums(&self) -> [f64; LANES] {
        let mut sums = [0.0; LANES];
        self.for_each(|value, weights| {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum = weight.mul_add(value, *sum);
            }
        });
        sums
    }

    #[inline(always)]
    fn trimmed(&self, fraction: f64, sizes: &[f64; LANES]) -> [f64; LANES] {
        let (mut from, mut to, mut end, mut sums) =
            ([0.0; LANES], [0.0; LANES], [0.0f64; LANES], [0.0; LANES]);
        for lane in 0..LANES {
            from[lane] = (fraction * sizes[lane]).floor();
            to[lane] = sizes[lane] - from[lane];
        }
        self.for_each(|value, weights| {
            for lane in 0..LANES {
                let start = end[lane];
                end[lane] += weights[lane];
                let kept = end[lane].min(to[lane]) - start.max(from[lane]);
                sums[lane] = kept.max(0.0).mul_add(value, sums[lane]);
            }
        });
        for lane in 0..LANES {
            sums[lane] /= to[lane] - from[lane];
        }
        sums
    }

    #[inline(always)]
    fn quantiles(&self, probability: f64, sizes: &[f64; LANES]) -> [f64; LANES] {
        let (mut rank, mut share, mut end) = ([0.0; LANES], [0.0; LANES], [0.0f64; LANES]);
        let (mut lower, mut upper) = ([f64::NAN; LANES], [f64::NAN; LANES]);
        for lane in 0..LANES {
            let position = (sizes[lane] - 1.0) * probability;
            rank[lane] = position.floor();
            share[lane] = position - rank[lane];
        }
        self.for_each(|value, weights| {
            for lane in 0..LANES {
                let start = end[lane];
                end[lane] += weights[lane];
                let holds = |rank: f64| (start <= rank) & (rank < end[lane]);
                lower[lane] = if holds(rank[lane]) { value } else { lower[lane] };
                upper[lane] = if holds(rank[lane] + 1.0) { value } else { upper[lane] };
            }
        });
        let mut quantiles = [0.0; LANES];
        for lane in 0..LANES {
            quantiles[lane] = describe::interpolate(lower[lane], upper[lane], share[lane]);
        }
        quantiles
    }
}

impl Portable for Evaluate<'_> {
    type Output = [f64; LANES];

    #[inline(always)]
    fn compute(self) -> [f64; LANES] {
        let sizes = self.sizes();
        match self.kind {
            Kind::Trimmed(fraction) => self.trimmed(fraction, &sizes),
            Kind::Quantile(probability) => self.quantiles(probability, &sizes),
            Kind::Mean | Kind::Sum => {
                let mut sums = self.sums();
                for (sum, size) in sums.iter_mut().zip(sizes) {
                    *sum = match self.kind {
                        Kind::Sum => self.layout.centre.mul_add(size, *sum),
                        _ => *sum / size,
                    };
                }
                sums
            }
            Kind::Variance | Kind::Deviation => {
                let (mut sums, mut squares) = ([0.0; LANES], [0.0; LANES]);
                self.for_each(|value, weights| {
                    for lane in 0..LANES {
                        sums[lane] = weights[lane].mul_add(value, sums[lane]);
                        squares[lane] = weights[lane].mul_add(value * value, squares[lane]);
                    }
                });
                for lane in 0..LANES {
                    let variance =
                        squared_deviations(sums[lane], squares[lane], sizes[lane]) / (sizes[lane] - 1.0);
                    sums[lane] = if self.kind == Kind::Deviation { variance.sqrt() } else { variance };
                }
                sums
            }
        }
    }
}
