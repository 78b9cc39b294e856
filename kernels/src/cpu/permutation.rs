//! Permutation tests on the CPU: exact where the number of relabellings allows it, else drawn masks and tables.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::backend::Cost;
use crate::cpu::extremes::{SIDE, count_sums, count_welch};
use crate::cpu::masks::{self, Masks};
use crate::cpu::simd::{LANES, Portable, Simd};
use crate::cpu::{InstructionSet, tables};
#[cfg(feature = "cuda")]
use crate::error::KernelError;
use crate::exact::halves;
use crate::exact::lattice::{Distribution, Lattice, Position};
use crate::exact::splits;
use crate::permutation::plan::{Batch, Plan, samples_of};
use crate::permutation::problem::{BetweenTask, Counts, Problem, SumTask, Task, WelchTask};
use crate::permutation::{
    Design, PermutationComputation, PermutationOutput, PermutationRequest, PermutationStatistic,
};
use crate::request::{Flags, Provenance};
use crate::rng::{Stream, Tag};

/// Draws of one unit of work.
const DRAWS: usize = 4_096;
/// Most bytes that the masks of a unit of work should take.
const MASK_BYTES: usize = 4 << 20;
/// Statistics that are sums are counted by halves up to `max_exact` divided by this.
const HALVES_SHARE: f64 = 32.0;

/// The answer for one comparison.
struct Answer {
    comparison: u32,
    statistic: f64,
    flags: Flags,
    counts: Counts,
    /// All relabellings that there are.
    relabellings: f64,
    computation: PermutationComputation,
}

/// Answers a checked request.
pub(crate) fn run(simd: Simd, plan: &Plan<'_>, provenance: Provenance) -> PermutationOutput {
    let answers: Vec<Vec<Answer>> =
        plan.batches.par_iter().map(|batch| answer_batch(simd, plan, batch)).collect();
    output(plan.request, answers.into_iter().flatten().collect(), provenance)
}

/// A task whose relabellings have to be drawn, from this stream.
#[cfg(feature = "cuda")]
pub(crate) struct Drawn {
    pub(crate) stream: u32,
    pub(crate) task: Task,
}

/// Answers a checked request with another way of counting drawn relabellings; everything exact is done here.
///
/// # Errors
/// Those of `count`, which gives the counts of the statistic of each task.
#[cfg(feature = "cuda")]
pub(crate) fn run_with(
    simd: Simd,
    plan: &Plan<'_>,
    provenance: Provenance,
    count: impl FnOnce(&[Drawn]) -> Result<Vec<Counts>, KernelError>,
) -> Result<PermutationOutput, KernelError> {
    let parts: Vec<_> =
        plan.batches.par_iter().map(|batch| (batch.stream, without_drawing(simd, plan, batch))).collect();
    let (mut answers, mut waiting, mut drawn) = (Vec::new(), Vec::new(), Vec::new());
    for (stream, (done, rest)) in parts {
        answers.extend(done);
        for (answer, task) in rest {
            waiting.push(answer);
            drawn.push(Drawn { stream, task });
        }
    }
    if !drawn.is_empty() {
        let counts = count(&drawn)?;
        answers.extend(waiting.into_iter().zip(counts).map(|(answer, counts)| answer.drawn(counts)));
    }
    Ok(output(plan.request, answers, provenance))
}

fn answer_batch(simd: Simd, plan: &Plan<'_>, batch: &Batch) -> Vec<Answer> {
    let (mut answers, drawn) = without_drawing(simd, plan, batch);
    let (mut sums, mut welch, mut between) = (BTreeMap::<usize, Vec<_>>::new(), Vec::new(), Vec::new());
    for (answer, task) in drawn {
        match task {
            Task::Sum(task) => sums.entry(task.values.len()).or_default().push((answer, task)),
            Task::Welch(task) => welch.push((answer, task)),
            Task::Between(task) => between.push((answer, task)),
            Task::None | Task::Certain => answers.push(answer),
        }
    }
    let draws = ByMasks { simd, request: plan.request, batch };
    for (_, tasks) in sums {
        answers
            .extend(draws.count(tasks, &|buffers, block, masks| draws.block_of_sums(buffers, block, masks)));
    }
    answers.extend(draws.count(welch, &|buffers, block, masks| draws.block_of_welch(buffers, block, masks)));
    answers.extend(draws.count_between(between));
    answers
}

/// The answers of a batch that need no drawn relabellings, and the comparisons that do.
fn without_drawing(simd: Simd, plan: &Plan<'_>, batch: &Batch) -> (Vec<Answer>, Vec<(Answer, Task)>) {
    let request = plan.request;
    let problems: Vec<(u32, Problem)> = batch
        .comparisons
        .par_iter()
        .with_min_len(16)
        .map(|&comparison| (comparison, plan.problem(comparison)))
        .collect();
    let max_exact = request.max_exact as f64;
    let (mut answers, mut exact, mut split, mut on_lattice, mut drawn) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (comparison, Problem { statistic, flags, task }) in problems {
        let answer = Answer {
            comparison,
            statistic,
            flags,
            counts: Counts::default(),
            relabellings: f64::NAN,
            computation: PermutationComputation::None,
        };
        match task {
            Task::None => answers.push(answer),
            Task::Certain => {
                let counts = Counts { high: 1.0, low: 1.0, outside: 1.0, total: 1.0 };
                answers.push(Answer { counts, relabellings: 1.0, ..answer });
            }
            Task::Sum(task) => {
                let answer = Answer { relabellings: task.relabellings(), ..answer };
                let by_halves = answer.relabellings <= max_exact
                    || halves::sums_of_half(&task) * HALVES_SHARE <= max_exact;
                let position = if max_exact == 0.0 { None } else { Position::of(&task) };
                match position.filter(|position| !by_halves || position.is_cheaper_than_halves(&task)) {
                    Some(position) => on_lattice.push((answer, task, position)),
                    None if by_halves => exact.push((answer, Task::Sum(task))),
                    None => drawn.push((answer, Task::Sum(task))),
                }
            }
            Task::Welch(task) => {
                let relabellings = crate::permutation::problem::binomial(task.values.len() as u32, task.size);
                let answer = Answer { relabellings, ..answer };
                match task.as_sum() {
                    _ if relabellings > max_exact => drawn.push((answer, Task::Welch(task))),
                    Some(sum) => exact.push((answer, Task::Sum(sum))),
                    None => split.push((answer, task)),
                }
            }
            Task::Between(task) => {
                let answer = Answer { relabellings: task.relabellings(), ..answer };
                if answer.relabellings <= max_exact {
                    exact.push((answer, Task::Between(task)));
                } else {
                    drawn.push((answer, Task::Between(task)));
                }
            }
        }
    }
    answers.par_extend(exact.into_par_iter().map(|(answer, task)| {
        let counts = match task {
            Task::Sum(task) => task.oriented(halves::count(&task)),
            Task::Between(task) => splits::count_between(&task),
            Task::Welch(_) | Task::None | Task::Certain => Counts::default(),
        };
        Answer { counts, computation: PermutationComputation::Enumeration, ..answer }
    }));
    answers.extend(ByMasks { simd, request, batch }.count_splits(split));
    answers.extend(count_on_lattices(on_lattice));
    (answers, drawn)
}

/// Tasks on the same lattice (ranks without ties, for example) share their distribution.
fn count_on_lattices(tasks: Vec<(Answer, SumTask, Position)>) -> Vec<Answer> {
    let mut lattices: BTreeMap<&Lattice, usize> = BTreeMap::new();
    for (_, _, position) in &tasks {
        let next = lattices.len();
        lattices.entry(&position.lattice).or_insert(next);
    }
    let mut distinct: Vec<(&Lattice, usize)> =
        lattices.iter().map(|(lattice, index)| (*lattice, *index)).collect();
    distinct.sort_unstable_by_key(|(_, index)| *index);
    let distributions: Vec<Distribution> =
        distinct.par_iter().map(|(lattice, _)| lattice.distribution()).collect();
    let indices: Vec<usize> = tasks.iter().map(|(_, _, position)| lattices[&position.lattice]).collect();
    tasks
        .into_par_iter()
        .zip(indices)
        .map(|((answer, task, position), index)| {
            let counts = task.oriented(position.counts(&distributions[index]));
            Answer { counts, computation: PermutationComputation::Distribution, ..answer }
        })
        .collect()
}

/// Memory that is reused from block to block.
#[derive(Default)]
struct Buffers {
    side: tables::Buffers<SIDE>,
    one: tables::Buffers<1>,
    welch: tables::Buffers<2>,
    welch_side: tables::Buffers<{ 2 * SIDE }>,
}

/// Relabellings of one batch as masks.
struct ByMasks<'a> {
    simd: Simd,
    request: &'a PermutationRequest<'a>,
    batch: &'a Batch,
}

/// Tasks that draw masks.
trait Masked: Sync {
    fn values(&self) -> &[f64];
    fn size(&self) -> Option<u32>;
    fn orient(&self, counts: Counts) -> Counts;
}

impl Masked for SumTask {
    fn values(&self) -> &[f64] {
        &self.values
    }

    fn size(&self) -> Option<u32> {
        self.size
    }

    fn orient(&self, counts: Counts) -> Counts {
        self.oriented(counts)
    }
}

impl Masked for WelchTask {
    fn values(&self) -> &[f64] {
        &self.values
    }

    fn size(&self) -> Option<u32> {
        Some(self.size)
    }

    fn orient(&self, counts: Counts) -> Counts {
        counts
    }
}

impl ByMasks<'_> {
    fn stream(&self, tag: Tag) -> Stream {
        Stream { seed: self.request.seed, stream: self.batch.stream, tag, sub: 0 }
    }

    /// Draws masks, unit by unit, and counts the tasks under each, `SIDE` tasks at a time. All tasks have the
    /// same number of values.
    fn count<T: Masked + Send>(
        &self,
        tasks: Vec<(Answer, T)>,
        count_block: &(impl Fn(&mut Buffers, &[&T], &Masks) -> Vec<Counts> + Sync),
    ) -> Vec<Answer> {
        let Some((_, first)) = tasks.first() else { return Vec::new() };
        let (n, size) = (first.values().len(), first.size());
        let stream = self.stream(if size.is_some() { Tag::Subset } else { Tag::Signs });
        let draws = self.request.resamples as usize;
        let unit = unit(n);
        let masks = |index: usize| {
            let first = index * unit;
            masks::draw(self.simd, &stream, n as u32, size, first as u32, unit.min(draws - first))
        };
        let only_tasks: Vec<&T> = tasks.iter().map(|(_, task)| task).collect();
        let totals = counted(&only_tasks, draws.div_ceil(unit), masks, count_block);
        let answers = tasks.into_iter().zip(totals);
        answers.map(|((answer, task), counts)| answer.drawn(task.orient(counts))).collect()
    }

    /// Counts every split of the values of tasks of one size.
    fn count_splits(&self, tasks: Vec<(Answer, WelchTask)>) -> Vec<Answer> {
        let Some((first, task)) = tasks.first() else { return Vec::new() };
        let (n, size, splits) = (task.values.len(), task.size as usize, first.relabellings as usize);
        let unit = unit(n);
        let masks = |index: usize| {
            let first = index * unit;
            splits::masks(n, size, first as u64, unit.min(splits - first))
        };
        let only_tasks: Vec<&WelchTask> = tasks.iter().map(|(_, task)| task).collect();
        let block = |buffers: &mut Buffers, block: &[&WelchTask], masks: &Masks| {
            self.block_of_welch(buffers, block, masks)
        };
        let totals = counted(&only_tasks, splits.div_ceil(unit), masks, &block);
        let answers = tasks.into_iter().zip(totals);
        let computation = PermutationComputation::Enumeration;
        answers.map(|((answer, _), counts)| Answer { counts, computation, ..answer }).collect()
    }

    fn block_of_sums(&self, buffers: &mut Buffers, tasks: &[&SumTask], masks: &Masks) -> Vec<Counts> {
        if tasks.len() * 3 <= SIDE {
            return tasks
                .iter()
                .map(|task| self.side_of_sums::<1>(&mut buffers.one, [task], masks)[0])
                .collect();
        }
        // Lanes without a task of their own repeat the last one.
        let lanes = std::array::from_fn(|lane| tasks[lane.min(tasks.len() - 1)]);
        self.side_of_sums::<SIDE>(&mut buffers.side, lanes, masks)[..tasks.len()].to_vec()
    }

    fn side_of_sums<const L: usize>(
        &self,
        buffers: &mut tables::Buffers<L>,
        tasks: [&SumTask; L],
        masks: &Masks,
    ) -> [Counts; L] {
        let thresholds = tasks.map(SumTask::thresholds);
        let mut totals = [Counts::default(); L];
        let columns = tasks.map(|task| task.values.as_slice());
        tables::for_sums(self.simd, columns, masks, buffers, |sums, _| {
            let counts = count_sums(self.simd, sums, &thresholds);
            totals.iter_mut().zip(&counts).for_each(|(total, counts)| total.add(counts));
        });
        totals
    }

    fn block_of_welch(&self, buffers: &mut Buffers, tasks: &[&WelchTask], masks: &Masks) -> Vec<Counts> {
        if tasks.len() * 3 <= SIDE {
            let mut one =
                |task: &&WelchTask| self.side_of_welch::<1, 2>(&mut buffers.welch, [task], masks)[0];
            return tasks.iter().map(&mut one).collect();
        }
        let lanes = std::array::from_fn(|lane| tasks[lane.min(tasks.len() - 1)]);
        self.side_of_welch::<SIDE, { 2 * SIDE }>(&mut buffers.welch_side, lanes, masks)[..tasks.len()]
            .to_vec()
    }

    /// Sums of `L` tasks, then sums of their squares: `LL` is twice `L`.
    fn side_of_welch<const L: usize, const LL: usize>(
        &self,
        buffers: &mut tables::Buffers<LL>,
        tasks: [&WelchTask; L],
        masks: &Masks,
    ) -> [Counts; L] {
        let squares = tasks.map(|task| task.values.iter().map(|value| value * value).collect::<Vec<f64>>());
        let columns: [&[f64]; LL] = std::array::from_fn(|column| {
            if column < L { tasks[column].values.as_slice() } else { squares[column - L].as_slice() }
        });
        let forms = tasks.map(|task| task.form);
        let limits = [0, 1, 2].map(|limit| tasks.map(|task| task.limits()[limit]));
        let mut totals = [Counts::default(); L];
        let mut narrow = Vec::new();
        tables::for_sums(self.simd, columns, masks, buffers, |sums, masks_of_sums| {
            narrow.clear();
            let counts: [Counts; L] = count_welch(self.simd, &forms, &limits, sums, &mut narrow);
            totals.iter_mut().zip(&counts).for_each(|(total, counts)| total.add(counts));
            for index in &narrow {
                let mask = &masks_of_sums[index * masks.row..][..masks.row];
                for (lane, task) in tasks.iter().enumerate() {
                    if task.form.is_narrow(sums[*index][lane], sums[*index][L + lane]) {
                        let marked = |position: usize| mask[position / 8] >> (position % 8) & 1 == 1;
                        task.count(task.t_of_values(marked), &mut totals[lane]);
                    }
                }
            }
        });
        totals
    }

    /// Draws orders: the first values of an order form the first sample, the next the second, and so on.
    fn count_between(&self, tasks: Vec<(Answer, BetweenTask)>) -> Vec<Answer> {
        let sizes = &self.batch.sizes;
        let n: u32 = sizes.iter().sum();
        let stream = self.stream(Tag::Shuffle);
        let draws = self.request.resamples as usize;
        let unit = (MASK_BYTES / 4 / (n as usize).max(1)).clamp(1, DRAWS);
        let only_tasks: Vec<&BetweenTask> = tasks.iter().map(|(_, task)| task).collect();
        if only_tasks.is_empty() {
            return Vec::new();
        }
        let totals = (0..draws.div_ceil(unit))
            .into_par_iter()
            .map(|index| {
                let drawn = (index * unit) as u32..draws.min((index + 1) * unit) as u32;
                let orders: Vec<Vec<u32>> = drawn.map(|resample| stream.shuffle(n, resample)).collect();
                let of_block = |tasks: &[&BetweenTask]| {
                    let lane = |lane: usize| tasks[lane.min(tasks.len() - 1)];
                    let rows: Vec<[f64; SIDE]> =
                        (0..n as usize).map(|i| std::array::from_fn(|l| lane(l).values[i])).collect();
                    let mut counts = vec![Counts::default(); tasks.len()];
                    for order in &orders {
                        let between = self.simd.run(Between { rows: &rows, order, sizes });
                        for ((task, counts), between) in tasks.iter().zip(&mut counts).zip(between) {
                            task.count(between, counts);
                        }
                    }
                    counts
                };
                let blocks: Vec<Vec<Counts>> = only_tasks.par_chunks(SIDE).map(of_block).collect();
                blocks.concat()
            })
            .reduce(|| vec![Counts::default(); only_tasks.len()], added);
        tasks.into_iter().zip(totals).map(|((answer, _), counts)| answer.drawn(counts)).collect()
    }
}

/// Masks of `n` values that make one unit of work.
fn unit(n: usize) -> usize {
    (MASK_BYTES / n.div_ceil(8) / LANES * LANES).clamp(LANES, DRAWS)
}

/// Counts tasks of the same number of values under the masks of each unit, `SIDE` tasks at a time.
fn counted<T: Sync>(
    tasks: &[&T],
    units: usize,
    masks: impl Fn(usize) -> Masks + Sync,
    count_block: &(impl Fn(&mut Buffers, &[&T], &Masks) -> Vec<Counts> + Sync),
) -> Vec<Counts> {
    let of_unit = |index: usize| {
        let masks = masks(index);
        let blocks: Vec<Vec<Counts>> = tasks
            .par_chunks(SIDE)
            .map_init(Buffers::default, |buffers, block| count_block(buffers, block, &masks))
            .collect();
        blocks.concat()
    };
    (0..units).into_par_iter().map(of_unit).reduce(|| vec![Counts::default(); tasks.len()], added)
}

/// Whole numbers, so that the order of additions does not matter.
fn added(mut left: Vec<Counts>, right: Vec<Counts>) -> Vec<Counts> {
    left.iter_mut().zip(&right).for_each(|(left, right)| left.add(right));
    left
}

/// The sums of squares between samples under one order, for several tasks.
struct Between<'a> {
    rows: &'a [[f64; SIDE]],
    order: &'a [u32],
    sizes: &'a [u32],
}

impl Portable for Between<'_> {
    type Output = [f64; SIDE];

    #[inline(always)]
    fn compute(self) -> [f64; SIDE] {
        let mut between = [0.0; SIDE];
        let mut rest = self.order;
        for &size in self.sizes {
            let (members, later) = rest.split_at(size as usize);
            rest = later;
            let mut sums = [0.0; SIDE];
            for &member in members {
                for (sum, value) in sums.iter_mut().zip(&self.rows[member as usize]) {
                    *sum += value;
                }
            }
            for (between, sum) in between.iter_mut().zip(&sums) {
                *between += sum * sum / f64::from(size);
            }
        }
        between
    }
}

impl Answer {
    fn drawn(self, counts: Counts) -> Self {
        Self { counts, computation: PermutationComputation::Resampling, ..self }
    }

    /// The p-values: greater, less, two-sided, absolute and the smallest that can be reached.
    fn p_values(&self, statistic: PermutationStatistic) -> [f64; 5] {
        let Counts { high, low, outside, total } = self.counts;
        if total == 0.0 {
            return [f64::NAN; 5];
        }
        // Drawn relabellings have the observed one beside them.
        let observed = if self.computation == PermutationComputation::Resampling { 1.0 } else { 0.0 };
        let p = |count: f64| ((count + observed) / (total + observed)).min(1.0);
        let (greater, less) = (p(high), p(low));
        let least = (1.0 / self.relabellings).max(observed / (total + observed));
        if matches!(statistic, PermutationStatistic::AnovaF | PermutationStatistic::KruskalWallis) {
            return [greater, less, greater, greater, least];
        }
        [greater, less, (2.0 * greater.min(less)).min(1.0), p(outside), least]
    }
}

fn output(
    request: &PermutationRequest<'_>,
    mut answers: Vec<Answer>,
    provenance: Provenance,
) -> PermutationOutput {
    answers.sort_unstable_by_key(|answer| answer.comparison);
    let p_values: Vec<[f64; 5]> = answers.iter().map(|answer| answer.p_values(request.statistic)).collect();
    let column = |index: usize| p_values.iter().map(|p_values| p_values[index]).collect();
    let sizes = (0..answers.len()).map(|comparison| {
        let samples = samples_of(request, comparison);
        let size = |sample: &&[f64]| sample.len() as u32;
        match request.design {
            Design::Several(_) => (samples.iter().map(size).sum(), 0),
            _ => (samples.first().map_or(0, size), samples.get(1).map_or(0, size)),
        }
    });
    let (n, n_second) = sizes.unzip();
    PermutationOutput {
        statistic: answers.iter().map(|answer| answer.statistic).collect(),
        p_greater: column(0),
        p_less: column(1),
        p_two_sided: column(2),
        p_absolute: column(3),
        p_minimum: column(4),
        relabellings: answers.iter().map(|answer| answer.counts.total).collect(),
        computation: answers.iter().map(|answer| answer.computation).collect(),
        n,
        n_second,
        flags: answers.iter().map(|answer| answer.flags).collect(),
        provenance,
    }
}

/// The cost of a request as if everything were drawn. Rates per thread and second, measured on one server core;
/// only the order of magnitude matters.
pub(crate) fn estimate(set: InstructionSet, request: &PermutationRequest<'_>) -> Cost {
    let rate = match set {
        InstructionSet::Avx512 => 1e10,
        InstructionSet::Avx2 => 5e9,
        InstructionSet::Scalar => 1e9,
    };
    let threads = rayon::current_num_threads() as f64;
    let draws = f64::from(request.resamples);
    let values: usize = (0..request.comparisons())
        .map(|comparison| samples_of(request, comparison).iter().map(|sample| sample.len()).sum::<usize>())
        .sum();
    let look_ups = draws * values as f64 / 8.0;
    let tests = draws * request.comparisons() as f64;
    let weight = if request.statistic == PermutationStatistic::WelchT { 5.0 } else { 1.0 };
    Cost {
        operations: look_ups + tests,
        bytes: 8.0 * values as f64 + threads * ((MASK_BYTES + SIDE * 256 * 16 * 8 + DRAWS * SIDE * 8) as f64),
        seconds: weight * (look_ups + tests) / rate / threads,
    }
}
