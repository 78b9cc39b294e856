//! The CPU backend: rayon over batches, groups and panels of resamples.

pub(crate) mod distances;
mod extremes;
mod forest;
pub(crate) mod improvement;
pub(crate) mod masks;
mod moments;
pub(crate) mod permutation;
mod resample;
pub(crate) mod simd;
pub(crate) mod structured;
mod tables;
pub(crate) mod warping;
mod weights;

use rayon::prelude::*;

use crate::backend::{Backend, BackendInfo, Cost, Request};
use crate::cluster::{
    self, CurveDistances, CurveRequest, HdbscanOutput, HdbscanRequest, KmeansOutput, KmeansRequest,
    KnnOutput, KnnRequest,
};
use crate::error::{KernelError, Reason};
use crate::exact::multiset::{ENUMERATED_UP_TO, Multisets};
use crate::exact::order::OrderStatistics;
use crate::importance::{Forest, ForestRequest};
use crate::interval::{Interval, Target, sample_flags, trivial};
use crate::permutation::{PermutationOutput, PermutationRequest};
use crate::plan::{Batch, Centred, Form, Plan, Shape, check};
use crate::request::{BootstrapOutput, BootstrapRequest, Provenance, Statistic, Streams};
use crate::rng::RNG_VERSION;
pub use simd::InstructionSet;
use simd::Simd;
#[cfg(feature = "cuda")]
pub(crate) use weights::COUNTED_UP_TO;

/// Computes on the caller's rayon pool with the best instruction set of the processor.
#[derive(Debug, Clone)]
pub struct CpuBackend {
    simd: Simd,
    fallback: Option<Reason>,
}

impl CpuBackend {
    /// The backend with the best instruction set that the processor has.
    pub fn new() -> Self {
        Self { simd: Simd::detect(), fallback: None }
    }

    /// The backend with a named instruction set. Results do not depend on it; speed does.
    ///
    /// # Errors
    /// [`KernelError::Unavailable`] when the processor lacks it.
    pub fn with_instruction_set(set: InstructionSet) -> Result<Self, KernelError> {
        Ok(Self { simd: Simd::named(set)?, fallback: None })
    }

    /// Records in every answer why a faster device was not used.
    pub(crate) fn with_fallback(self, reason: Reason) -> Self {
        Self { fallback: Some(reason), ..self }
    }

    fn provenance(&self) -> Provenance {
        Provenance { rng_version: RNG_VERSION, backend: "cpu", fallback: self.fallback.clone() }
    }

    fn batch(&self, plan: &Plan<'_>, batch: &Batch) -> Result<Vec<(u32, Interval)>, KernelError> {
        match plan.form {
            Form::Linear(_) => {}
            Form::Moment(moment) => return Ok(moments::intervals(self.simd, plan, batch, moment)),
            Form::Improvement => return Ok(improvement::intervals(self.simd, plan, batch)),
        }
        let (mut intervals, groups) = without_resampling(plan, batch);
        if !groups.is_empty() {
            intervals.extend(resample::intervals(self.simd, plan, batch, &groups)?);
        }
        in_units_of_the_statistic(plan, &mut intervals);
        Ok(intervals)
    }
}

/// Turns intervals of means into those of sums where sums were asked for.
pub(crate) fn in_units_of_the_statistic(plan: &Plan<'_>, intervals: &mut [(u32, Interval)]) {
    if plan.request.statistic == Statistic::Sum {
        for (group, interval) in intervals {
            let n = f64::from(plan.first.size(*group as usize));
            for number in [&mut interval.estimate, &mut interval.low, &mut interval.high, &mut interval.se] {
                *number *= n;
            }
        }
    }
}

/// The intervals of a batch of a linear statistic that need no resampling, and the groups that do.
pub(crate) fn without_resampling(plan: &Plan<'_>, batch: &Batch) -> (Vec<(u32, Interval)>, Vec<u32>) {
    let mut intervals = Vec::with_capacity(batch.groups.len());
    let mut groups = Vec::with_capacity(batch.groups.len());
    for &group in &batch.groups {
        let second = plan.second.as_ref().map(|second| second.group(group as usize));
        match trivial(plan.first.group(group as usize), second) {
            Some(interval) => intervals.push((group, interval)),
            None => groups.push(group),
        }
    }
    if groups.is_empty() {
        return (intervals, groups);
    }
    let method = plan.request.method;
    let level = plan.request.level;
    match plan.shape {
        Shape::Quantile(probability) => {
            let distribution = OrderStatistics::new(batch.n as usize, probability);
            intervals.par_extend(groups.par_iter().map(|&group| {
                let sorted = plan.first.group(group as usize);
                let flags = sample_flags(method, sorted, None);
                (group, distribution.interval(sorted, method, level, flags))
            }));
        }
        shape if plan.second.is_none() && batch.n <= ENUMERATED_UP_TO => {
            let multisets = Multisets::new(batch.n as usize, shape);
            intervals.par_extend(groups.par_iter().map(|&group| {
                let sorted = plan.first.group(group as usize);
                let sample = Centred::new(sorted, &[]);
                let target = Target::new(&sample, shape, method, level);
                (group, multisets.interval(&target, sample_flags(method, sorted, None)))
            }));
        }
        _ => return (intervals, groups),
    }
    (intervals, Vec::new())
}

impl Default for CpuBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl Backend for CpuBackend {
    fn info(&self) -> BackendInfo {
        let set = self.simd.instruction_set().name();
        let threads = rayon::current_num_threads();
        BackendInfo { name: "cpu", device: format!("{set}, {threads} threads"), rng_version: RNG_VERSION }
    }

    fn estimate(&self, request: &Request<'_>) -> Result<Cost, KernelError> {
        let set = self.simd.instruction_set();
        match request {
            Request::Bootstrap(request) => Ok(estimate_bootstrap(set, request, check(request)?)),
            Request::Permutation(request) => {
                crate::permutation::plan::check(request)?;
                Ok(permutation::estimate(set, request))
            }
            Request::Forest(request) => Ok(forest::estimate(request)?),
            Request::Kmeans(request) => Ok(cluster::cost::kmeans(set, request)?),
            Request::Hdbscan(request) => Ok(cluster::cost::hdbscan(set, request)?),
            Request::Neighbours(request) => Ok(cluster::cost::neighbours(set, request)?),
            Request::CurveDistances(request) => Ok(cluster::cost::curves(set, request)?),
        }
    }

    fn bootstrap(&self, request: &BootstrapRequest<'_>) -> Result<BootstrapOutput, KernelError> {
        let plan = Plan::new(request)?;
        let batches: Result<Vec<Vec<(u32, Interval)>>, KernelError> =
            plan.batches.par_iter().map(|batch| self.batch(&plan, batch)).collect();
        Ok(output(&plan, batches?.concat(), self.provenance()))
    }

    fn permutation(&self, request: &PermutationRequest<'_>) -> Result<PermutationOutput, KernelError> {
        let plan = crate::permutation::plan::Plan::new(request)?;
        Ok(permutation::run(self.simd, &plan, self.provenance()))
    }

    fn forest(&self, request: &ForestRequest<'_>) -> Result<Forest, KernelError> {
        Ok(forest::fit(request, self.provenance())?)
    }

    fn kmeans(&self, request: &KmeansRequest<'_>) -> Result<KmeansOutput, KernelError> {
        let mut out = cluster::kmeans(self.simd, request)?;
        out.provenance.fallback.clone_from(&self.fallback);
        Ok(out)
    }

    fn hdbscan(&self, request: &HdbscanRequest<'_>) -> Result<HdbscanOutput, KernelError> {
        let mut out = cluster::hdbscan(self.simd, request)?;
        out.provenance.fallback.clone_from(&self.fallback);
        Ok(out)
    }

    fn nearest_neighbours(&self, request: &KnnRequest<'_>) -> Result<KnnOutput, KernelError> {
        let mut out = cluster::nearest_neighbours(self.simd, request)?;
        out.provenance.fallback.clone_from(&self.fallback);
        Ok(out)
    }

    fn curve_distances(&self, request: &CurveRequest<'_>) -> Result<CurveDistances, KernelError> {
        let mut out = cluster::curve_distances(self.simd, request)?;
        out.provenance.fallback.clone_from(&self.fallback);
        Ok(out)
    }
}

/// Arranges the intervals by group.
pub(crate) fn output(
    plan: &Plan<'_>,
    intervals: Vec<(u32, Interval)>,
    provenance: Provenance,
) -> BootstrapOutput {
    let groups = plan.request.samples.groups();
    let mut by_group = vec![trivial(&[], None); groups];
    for (group, interval) in intervals {
        by_group[group as usize] = Some(interval);
    }
    let column = |of: fn(&Interval) -> f64| by_group.iter().flatten().map(of).collect::<Vec<f64>>();
    BootstrapOutput {
        estimate: column(|interval| interval.estimate),
        low: column(|interval| interval.low),
        high: column(|interval| interval.high),
        se: column(|interval| interval.se),
        dropped_share: column(|interval| interval.dropped_share),
        n: (0..groups).map(|group| plan.first.size(group)).collect(),
        n_second: plan.request.second.map_or_else(Vec::new, |second| {
            second.offsets.windows(2).map(|ends| ends[1] - ends[0]).collect()
        }),
        computation: by_group.iter().flatten().map(|interval| interval.computation).collect(),
        flags: by_group.iter().flatten().map(|interval| interval.flags).collect(),
        method: plan.request.method,
        provenance,
    }
}

/// Rates per thread and second, measured on one server core; only the order of magnitude matters.
fn estimate_bootstrap(set: InstructionSet, request: &BootstrapRequest<'_>, form: Form) -> Cost {
    let (products_rate, draws_rate) = match set {
        InstructionSet::Avx512 => (1.2e10, 6e8),
        InstructionSet::Avx2 => (7e9, 5e8),
        InstructionSet::Scalar => (2e8, 3e8),
    };
    const SELECTIONS_RATE: f64 = 4e8;
    let threads = rayon::current_num_threads() as f64;
    let resamples = f64::from(request.resamples);
    let groups = request.samples.groups() as f64;
    let values =
        (request.samples.values.len() + request.second.map_or(0, |second| second.values.len())) as f64;
    if matches!(form, Form::Linear(Shape::Quantile(_))) {
        // Some 130 evaluations of the distribution, each in the order of the group's size.
        let operations = 130.0 * values;
        return Cost { operations, bytes: 8.0 * values, seconds: operations / 1e8 / threads };
    }
    let mut sizes: Vec<u32> = request.samples.offsets.windows(2).map(|pair| pair[1] - pair[0]).collect();
    if matches!(request.streams, Streams::Shared) {
        sizes.sort_unstable();
        sizes.dedup();
    }
    let draws = resamples * sizes.iter().map(|&size| f64::from(size)).sum::<f64>();
    let products = resamples * values;
    let selections = resamples * groups;
    let seconds = products / products_rate + draws / draws_rate + selections / SELECTIONS_RATE;
    Cost {
        operations: products + draws + selections,
        bytes: 8.0 * values + threads * 8.0 * resamples.max((4 << 20) as f64),
        seconds: seconds / threads,
    }
}
