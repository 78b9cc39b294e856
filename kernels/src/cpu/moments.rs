//! Variances and ratios on the CPU: sums of columns by the same weights as means, then one formula a resample.

use rayon::prelude::*;

use crate::cpu::resample::{Sample, Source};
use crate::cpu::simd::{LANES, Portable, Simd};
use crate::exact::multiset::{Atoms, ENUMERATED_UP_TO, Multisets};
use crate::interval::{Interval, sample_flags};
use crate::moment::{Moment, MomentTarget, Replicate, trivial};
use crate::plan::{Batch, Plan, Shape};
use crate::request::{Computation, Flags, Method};
use crate::rng::{Stream, Tag};
use crate::select::Selector;

/// Intervals of all groups of a batch.
pub(crate) fn intervals(simd: Simd, plan: &Plan<'_>, batch: &Batch, moment: Moment) -> Vec<(u32, Interval)> {
    let request = plan.request;
    let panels = (request.resamples as usize).div_ceil(LANES);
    let source = |n: u32, sub: u32| {
        let stream = Stream { seed: request.seed, stream: batch.stream, tag: Tag::Bootstrap, sub };
        Source::new(simd, stream, n, Shape::Mean, panels, batch.groups.len() > 1)
    };
    let enumerated = !moment.has_second_draws() && batch.n <= ENUMERATED_UP_TO;
    let first = (!enumerated && batch.n > 1).then(|| source(batch.n, 0));
    let second = (moment.has_second_draws() && batch.n_second > 1).then(|| source(batch.n_second, 1));
    let multisets = (enumerated && batch.n > 1).then(|| Multisets::new(batch.n as usize, Shape::Mean));
    let interval = |selector: &mut Selector, &group: &u32| {
        let sample = plan.first.group(group as usize);
        let sample_second = plan.second.as_ref().map(|second| second.group(group as usize));
        if let Some(([estimate, ends, se], flags)) = trivial(moment, sample, sample_second) {
            return (group, Interval::point(estimate, ends, se, flags));
        }
        let target =
            MomentTarget::new(moment, sample, sample_second.unwrap_or(&[]), request.method, request.level);
        let paired = moment == Moment::PairedRatio;
        let flags = sample_flags(request.method, sample, if paired { None } else { sample_second });
        let group_of = Group { simd, target: &target, flags };
        let interval = match (&multisets, &first) {
            (Some(multisets), _) => group_of.enumerated(multisets),
            (None, Some(first)) => {
                group_of.drawn(first, second.as_ref(), request.resamples as usize, selector)
            }
            (None, None) => Interval::point(f64::NAN, f64::NAN, f64::NAN, Flags::DEGENERATE),
        };
        (group, interval)
    };
    batch.groups.par_iter().map_init(Selector::default, interval).collect()
}

struct Group<'a> {
    simd: Simd,
    target: &'a MomentTarget,
    flags: Flags,
}

impl Group<'_> {
    fn denominator(&self) -> f64 {
        if self.target.is_ratio() { self.target.denominator() } else { 0.0 }
    }

    /// The studentized replicate, `None` where the resample has no spread.
    fn t(&self, replicate: Replicate) -> Option<f64> {
        if replicate.value.is_infinite() {
            return Some(replicate.value);
        }
        let difference = replicate.value - self.target.summary.theta;
        (replicate.variance > 0.0).then(|| difference / replicate.variance.sqrt())
    }

    fn drawn(
        &self,
        first: &Source,
        second: Option<&Source>,
        resamples: usize,
        selector: &mut Selector,
    ) -> Interval {
        let target = self.target;
        let denominator = self.denominator();
        let panels = resamples.div_ceil(LANES);
        let first_columns: Vec<&[f64]> = target.first.iter().map(Vec::as_slice).collect();
        let second_columns: Vec<&[f64]> = target.second.iter().map(Vec::as_slice).collect();
        let mut values = vec![0.0; panels * LANES];
        let mut variances = vec![f64::NAN; panels * LANES];
        let one_panel =
            |buffers: &mut Buffers, (panel, (values, variances)): (usize, (&mut [f64], &mut [f64]))| {
                buffers.first.resize(first_columns.len() * LANES, 0.0);
                first.sums(self.simd, panel, &first_columns, &mut buffers.first, &mut buffers.weights);
                buffers.second.resize(second_columns.len() * LANES, 0.0);
                if let Some(second) = second {
                    second.sums(self.simd, panel, &second_columns, &mut buffers.second, &mut buffers.weights);
                }
                let Buffers { first, second, .. } = buffers;
                self.simd.run(Evaluate { target, first, second, denominator, values, variances });
            };
        values
            .par_chunks_mut(LANES)
            .zip(variances.par_chunks_mut(LANES))
            .enumerate()
            .with_min_len(32)
            .for_each_init(Buffers::default, one_panel);
        values.truncate(resamples);
        let kept: Vec<f64>;
        let finite = if target.is_ratio() {
            kept = values.iter().copied().filter(|value| value.is_finite()).collect();
            &kept
        } else {
            &values
        };
        let [sum, squares] = self.simd.deviation_sums(finite, target.summary.theta);
        let count = finite.len() as f64;
        let se = if count < 2.0 {
            f64::NAN
        } else {
            ((squares - sum * (sum / count)).max(0.0) / (count - 1.0)).sqrt()
        };
        let affected = (values.len() - finite.len()) as f64 / resamples as f64;
        let mut dropped = 0.0;
        if target.summary.method == Method::Studentized {
            let replicates = values.iter().zip(&variances);
            let t = |(&value, &variance): (&f64, &f64)| self.t(Replicate { value, variance });
            values = replicates.filter_map(t).collect();
            dropped = (resamples - values.len()) as f64 / resamples as f64;
        }
        let ends = if values.is_empty() {
            None
        } else {
            let known = target.summary.method != Method::Studentized && affected == 0.0 && se > 0.0;
            let skewness = target.summary.acceleration.unwrap_or(0.0);
            let moments = known.then_some([target.summary.theta + sum / count, se, skewness]);
            target.summary.ends(&mut Sample { simd: self.simd, values: &mut values, selector, moments })
        };
        self.finish(ends, se, affected, dropped, Computation::Resampling)
    }

    fn enumerated(&self, multisets: &Multisets) -> Interval {
        let target = self.target;
        let denominator = self.denominator();
        let (mut values, mut studentized) = (Vec::new(), Vec::new());
        for (weights, probability) in multisets.iter() {
            let sum = |column: &Vec<f64>| {
                weights.iter().zip(column).fold(0.0f64, |sum, (weight, value)| weight.mul_add(*value, sum))
            };
            let sums: Vec<f64> = target.first.iter().map(sum).collect();
            let replicate = target.replicate(&sums, &[], denominator);
            values.push((replicate.value, probability));
            studentized.extend(self.t(replicate).map(|t| (t, probability)));
        }
        let finite: Vec<(f64, f64)> = values.iter().copied().filter(|atom| atom.0.is_finite()).collect();
        let kept: f64 = finite.iter().map(|atom| atom.1).sum();
        let mean = finite.iter().map(|(value, probability)| value * probability).sum::<f64>() / kept;
        let squares = finite.iter().map(|(value, probability)| probability * (value - mean).powi(2));
        let se = (squares.sum::<f64>() / kept).sqrt();
        let affected = values.iter().filter(|atom| atom.0.is_infinite()).map(|atom| atom.1).sum();
        let (mut atoms, mut dropped) = (Atoms::new(values), 0.0);
        if target.summary.method == Method::Studentized {
            atoms = Atoms::new(studentized);
            dropped = (1.0 - atoms.total()).max(0.0);
        }
        let ends = if atoms.total() > 0.0 { target.summary.ends(&mut atoms) } else { None };
        self.finish(ends, se, affected, dropped, Computation::Enumeration)
    }

    /// `affected` and `dropped` are shares of resamples: those with an impossible denominator, and those without
    /// spread.
    fn finish(
        &self,
        ends: Option<[f64; 2]>,
        se: f64,
        affected: f64,
        dropped: f64,
        computation: Computation,
    ) -> Interval {
        let mut flags = self.flags;
        if dropped > 0.0 {
            flags.insert(Flags::DROPPED_RESAMPLES);
        }
        let mut ends = ends;
        if affected > 0.0 {
            flags.insert(Flags::DENOMINATOR);
            if affected > (1.0 - self.target.summary.level) / 4.0 {
                ends = None;
            }
        }
        let [low, high] = ends.map_or([f64::NAN; 2], |ends| ends.map(|end| self.target.unscaled(end)));
        if ends.is_none() {
            flags.insert(Flags::NO_INTERVAL);
        }
        Interval {
            estimate: self.target.unscaled(self.target.summary.theta),
            low,
            high,
            se: self.target.unscaled(se),
            flags,
            dropped_share: dropped + affected,
            computation,
        }
    }
}

/// Memory that is reused from panel to panel.
#[derive(Default)]
struct Buffers {
    first: Vec<f64>,
    second: Vec<f64>,
    weights: (Vec<f64>, Vec<u16>),
}

/// The replicates of one panel from its sums, column by column.
struct Evaluate<'a> {
    target: &'a MomentTarget,
    first: &'a [f64],
    second: &'a [f64],
    denominator: f64,
    values: &'a mut [f64],
    variances: &'a mut [f64],
}

impl Portable for Evaluate<'_> {
    type Output = ();

    #[inline(always)]
    fn compute(self) {
        let (first, _) = self.first.as_chunks::<LANES>();
        let (second, _) = self.second.as_chunks::<LANES>();
        // The common cases have a loop of their own, which the compiler makes one of vectors.
        match (first, second) {
            ([sums, sums_second], []) => {
                for (lane, value) in self.values.iter_mut().enumerate() {
                    *value =
                        self.target.replicate(&[sums[lane], sums_second[lane]], &[], self.denominator).value;
                }
            }
            ([sums], [sums_second]) => {
                for (lane, value) in self.values.iter_mut().enumerate() {
                    *value =
                        self.target.replicate(&[sums[lane]], &[sums_second[lane]], self.denominator).value;
                }
            }
            _ => {
                for (lane, value) in self.values.iter_mut().enumerate() {
                    let (mut of_first, mut of_second) = ([0.0; 5], [0.0; 2]);
                    of_first.iter_mut().zip(first).for_each(|(out, sums)| *out = sums[lane]);
                    of_second.iter_mut().zip(second).for_each(|(out, sums)| *out = sums[lane]);
                    let (first, second) = (&of_first[..first.len()], &of_second[..second.len()]);
                    let replicate = self.target.replicate(first, second, self.denominator);
                    *value = replicate.value;
                    self.variances[lane] = replicate.variance;
                }
            }
        }
    }
}
