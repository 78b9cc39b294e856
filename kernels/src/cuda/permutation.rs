//! Drawn relabellings on a device: masks and orders are drawn there, and only counts come back. Counts are those of
//! the CPU backend.
//!
//! Values and counts are small beside the work on them, so that one lane is enough: there is next to nothing to copy
//! while it computes.

use std::collections::BTreeMap;

use crate::cpu::permutation::Drawn;
use crate::cuda::CudaMemory;
use crate::cuda::device::{Device, RoundKeys};
use crate::cuda::lane::{ALIGNMENT, Argument, Lane, Plain, Slice};
use crate::cuda::module::Family;
use crate::error::KernelError;
use crate::permutation::PermutationRequest;
use crate::permutation::problem::{Counts, Task};
use crate::rng::{Stream, Tag};

/// Threads of a block, and draws that a block looks at together; as in `perm.cu`.
const THREADS: usize = 128;
const PANEL: usize = 1_024;
/// `SIGNS` of `perm.cu`.
const SIGNS: u32 = u32::MAX;
/// Counts of a block.
const COUNTS: usize = 3;
/// Masks that are on the device at once, if one panel does not need more: they stay in the second cache level.
const MASK_BYTES: usize = 32 << 20;
/// Blocks that fill a large device a few times over.
const BLOCKS: usize = 4_096;
/// Values and descriptions that are on the device at once.
const DATA_BYTES: usize = 256 << 20;
/// Room for the gaps between the parts of a lane's memory.
const GAPS: usize = 8 * ALIGNMENT;

/// `Drawer` of `perm.cu`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Drawer {
    place: u64,
    n: u32,
    stream: u32,
    purpose: u32,
    size: u32,
}

/// `Task` of `perm.cu`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct DeviceTask {
    values: u64,
    place: u64,
    n: u32,
    detail: u32,
    samples: u32,
    reserved: u32,
    limits: [f64; 4],
}

/// `Form` of `perm.cu`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Form([f64; 8]);

// SAFETY: numbers without padding.
unsafe impl Plain for Drawer {}
// SAFETY: numbers without padding.
unsafe impl Plain for DeviceTask {}
// SAFETY: numbers without padding.
unsafe impl Plain for Form {}

/// Tasks that one kernel counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Sums,
    Welch,
    Between,
}

impl Kind {
    fn kernels(self) -> [&'static str; 2] {
        match self {
            Self::Sums => ["draw_masks", "count_sums"],
            Self::Welch => ["draw_masks", "count_welch"],
            Self::Between => ["draw_orders", "count_between"],
        }
    }
}

/// What a task draws: kind, number of values, how many are marked (or [`SIGNS`]), and stream.
type Key = (Kind, u32, u32, u32);

fn key(drawn: &Drawn) -> Option<Key> {
    let (kind, n, size) = match &drawn.task {
        Task::Sum(task) => (Kind::Sums, task.values.len(), task.size.unwrap_or(SIGNS)),
        Task::Welch(task) => (Kind::Welch, task.values.len(), task.size),
        Task::Between(task) => (Kind::Between, task.values.len(), 0),
        Task::None | Task::Certain => return None,
    };
    Some((kind, n as u32, size, drawn.stream))
}

/// 32-bit words of one mask or order.
fn words((kind, n, ..): Key) -> usize {
    if kind == Kind::Between { n as usize } else { n.div_ceil(32) as usize }
}

/// Some tasks of one kind that are on the device together.
struct Chunk<'a> {
    kind: Kind,
    tasks: Vec<(usize, &'a Drawn)>,
    drawers: Vec<Drawer>,
    places: Vec<u64>,
    /// Draws whose masks are there at once.
    stride: usize,
    blocks_per_task: usize,
    bytes: usize,
}

/// Counts of all tasks.
///
/// # Errors
/// [`KernelError::OutOfMemory`] when a single task does not fit into the device's memory, and errors of the device. No
/// count is given then.
pub(crate) fn count(
    device: &Device,
    memory: CudaMemory,
    request: &PermutationRequest<'_>,
    drawn: &[Drawn],
) -> Result<Vec<Counts>, KernelError> {
    device.enter()?;
    let [mut lane, other] = device.lanes()?;
    let budget = memory.bytes(device, lane.bytes() + other.bytes());
    device.put_back(other);
    let mut found = vec![Counts::default(); drawn.len()];
    for chunk in chunks(request, drawn, budget)? {
        let counts = run(device, &mut lane, request, &chunk)?;
        for ((index, drawn), counts) in chunk.tasks.iter().zip(counts) {
            found[*index] = match &drawn.task {
                Task::Sum(task) => task.oriented(counts),
                _ => counts,
            };
        }
    }
    device.put_back(lane);
    Ok(found)
}

/// Bytes that a task needs beside its masks: values, description, form or sizes, and counts.
fn data_bytes(drawn: &Drawn) -> usize {
    let (values, details) = match &drawn.task {
        Task::Sum(task) => (task.values.len(), 0),
        Task::Welch(task) => (task.values.len(), size_of::<Form>()),
        Task::Between(task) => (task.values.len(), 4 * task.sizes.len()),
        Task::None | Task::Certain => (0, 0),
    };
    8 * values + size_of::<DeviceTask>() + size_of::<Drawer>() + details
}

/// Cuts the tasks, in the order of what they draw.
///
/// # Errors
/// [`KernelError::OutOfMemory`] when a single task does not fit.
fn chunks<'a>(
    request: &PermutationRequest<'_>,
    drawn: &'a [Drawn],
    budget: usize,
) -> Result<Vec<Chunk<'a>>, KernelError> {
    let mut ordered: Vec<(Key, usize)> =
        drawn.iter().enumerate().filter_map(|(index, drawn)| key(drawn).map(|key| (key, index))).collect();
    ordered.sort_unstable();
    let mut chunks = Vec::new();
    let mut rest = &ordered[..];
    while let Some(&(first, _)) = rest.first() {
        let (mut data, mut mask_words, mut taken) = (GAPS, 0, 0);
        let mut before = None;
        for &(key, index) in rest.iter().take_while(|(key, _)| key.0 == first.0) {
            let more = data + data_bytes(&drawn[index]) + 4 * COUNTS;
            let more_words = mask_words + if before == Some(key) { 0 } else { words(key) };
            let need = more + 4 * more_words * PANEL;
            if need > budget || (taken > 0 && more > DATA_BYTES) {
                if taken == 0 {
                    return Err(KernelError::OutOfMemory { need: need as u64, free: budget as u64 });
                }
                break;
            }
            (data, mask_words, before) = (more, more_words, Some(key));
            taken += 1;
        }
        let (now, later) = rest.split_at(taken);
        rest = later;
        chunks.push(chunk(request, drawn, now, data, mask_words, budget));
    }
    Ok(chunks)
}

/// A chunk of the tasks that are named.
fn chunk<'a>(
    request: &PermutationRequest<'_>,
    drawn: &'a [Drawn],
    named: &[(Key, usize)],
    data: usize,
    mask_words: usize,
    budget: usize,
) -> Chunk<'a> {
    let kind = named.first().map_or(Kind::Sums, |(key, _)| key.0);
    let whole = (request.resamples as usize).next_multiple_of(PANEL);
    let room = budget.saturating_sub(data).min(MASK_BYTES);
    let stride = (room / (4 * mask_words.max(1)) / PANEL * PANEL).clamp(PANEL, whole);
    let scratch = 4 * mask_words * stride;
    // The first count of each task is in `data`; others only as far as there is room.
    let for_counts = budget.saturating_sub(data + scratch) / (4 * COUNTS) / named.len() + 1;
    let blocks_per_task = BLOCKS.div_ceil(named.len()).min(stride / PANEL).min(for_counts);
    let tag = match kind {
        Kind::Between => Tag::Shuffle,
        _ => Tag::Subset,
    };
    let purpose = |tag| Stream { seed: request.seed, stream: 0, tag, sub: 0 }.purpose();
    let (mut drawers, mut places) = (Vec::new(), BTreeMap::new());
    let mut next = 0;
    for &(key, _) in named {
        places.entry(key).or_insert_with(|| {
            let place = next;
            next += (words(key) * stride) as u64;
            let (_, n, size, stream) = key;
            let purpose = purpose(if kind == Kind::Sums && size == SIGNS { Tag::Signs } else { tag });
            drawers.push(Drawer { place, n, stream, purpose, size });
            place
        });
    }
    Chunk {
        kind,
        tasks: named.iter().map(|&(_, index)| (index, &drawn[index])).collect(),
        drawers,
        places: named.iter().map(|(key, _)| places[key]).collect(),
        stride,
        blocks_per_task,
        bytes: data + scratch + 4 * COUNTS * (blocks_per_task - 1) * named.len(),
    }
}

/// The tasks of a chunk as the kernels take them.
#[derive(Default)]
struct Described {
    tasks: Vec<DeviceTask>,
    values: Vec<f64>,
    forms: Vec<Form>,
    sizes: Vec<u32>,
}

impl Described {
    fn new(chunk: &Chunk<'_>) -> Self {
        let mut out = Self::default();
        for ((_, drawn), &place) in chunk.tasks.iter().zip(&chunk.places) {
            let mut task = DeviceTask { values: out.values.len() as u64, place, ..DeviceTask::default() };
            let values = match &drawn.task {
                Task::Sum(sum) => {
                    let limits = sum.thresholds();
                    task.limits = [limits.high, limits.low, limits.outside[0], limits.outside[1]];
                    &sum.values[..]
                }
                Task::Welch(welch) => {
                    task.detail = out.forms.len() as u32;
                    let [a, b, c, d, e, f] = welch.form.numbers();
                    let [n, n_second] = welch.form.sizes();
                    out.forms.push(Form([a, b, c, d, e, f, n, n_second]));
                    let [high, low, outside] = welch.limits();
                    task.limits = [high, low, outside, f64::NAN];
                    &welch.values
                }
                Task::Between(between) => {
                    task.detail = out.sizes.len() as u32;
                    task.samples = between.sizes.len() as u32;
                    out.sizes.extend(&between.sizes);
                    let [high, low] = between.limits();
                    task.limits = [high, low, f64::NAN, f64::NAN];
                    &between.values
                }
                Task::None | Task::Certain => &[],
            };
            task.n = values.len() as u32;
            out.values.extend_from_slice(values);
            out.tasks.push(task);
        }
        out
    }
}

/// Counts the tasks of one chunk.
fn run(
    device: &Device,
    lane: &mut Lane,
    request: &PermutationRequest<'_>,
    chunk: &Chunk<'_>,
) -> Result<Vec<Counts>, KernelError> {
    let described = Described::new(chunk);
    lane.reserve(device, chunk.bytes)?;
    let values = given(device, lane, &described.values)?;
    let tasks = given(device, lane, &described.tasks)?;
    let drawers = given(device, lane, &chunk.drawers)?;
    let forms = given(device, lane, &described.forms)?;
    let sizes = given(device, lane, &described.sizes)?;
    let blocks = chunk.tasks.len() * chunk.blocks_per_task;
    let counts = lane.take::<u32>(COUNTS * blocks)?;
    let mask_words: usize = chunk.drawers.iter().map(|drawer| words((chunk.kind, drawer.n, 0, 0))).sum();
    let masks = lane.take::<u32>(mask_words * chunk.stride)?;
    let [draw, count] = chunk.kind.kernels();
    let (draw, count) = (device.kernel(Family::Perm, draw)?, device.kernel(Family::Perm, count)?);
    let keys = RoundKeys::new(Stream { seed: request.seed, stream: 0, tag: Tag::Subset, sub: 0 }.key());
    let (stride, blocks_per_task) = (chunk.stride as u32, chunk.blocks_per_task as u32);
    for first in (0..request.resamples).step_by(chunk.stride) {
        let arguments: [&dyn Argument; 5] = [&masks, &drawers, &first, &stride, &keys];
        let panels = chunk.stride / THREADS;
        lane.launch(device, &draw, chunk.drawers.len() * panels, THREADS as u32, &arguments)?;
        let (there, afresh) = (stride.min(request.resamples - first), u32::from(first == 0));
        let details: &dyn Argument = if chunk.kind == Kind::Between { &sizes } else { &forms };
        let arguments: [&dyn Argument; 9] =
            [&masks, &tasks, details, &values, &counts, &there, &stride, &blocks_per_task, &afresh];
        lane.launch(device, &count, blocks, THREADS as u32, &arguments)?;
    }
    let counts = lane.download(device, counts)?;
    let total = f64::from(request.resamples);
    let of_task = |blocks: &[u32]| {
        let mut sums = [0u64; COUNTS];
        for counts in blocks.chunks_exact(COUNTS) {
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += u64::from(*count));
        }
        let [high, low, outside] = sums.map(|sum| sum as f64);
        Counts { high, low, outside, total }
    };
    Ok(counts.chunks_exact(COUNTS * chunk.blocks_per_task).map(of_task).collect())
}

/// Values that were copied to the next part of a lane's memory.
fn given<T: Plain>(device: &Device, lane: &mut Lane, values: &[T]) -> Result<Slice<T>, KernelError> {
    let slice = lane.take::<T>(values.len())?;
    lane.upload(device, slice, values)?;
    Ok(slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permutation::problem::Problem;
    use crate::permutation::{Design, PermutationStatistic};
    use crate::request::Samples;

    fn drawn(n: usize, stream: u32, statistic: PermutationStatistic) -> Drawn {
        let values: Vec<f64> = (0..n).map(|i| ((i * 37 % 101) as f64).sin()).collect();
        let (first, second) = values.split_at(n / 2);
        let design = Design::TwoSamples(Samples { values: &[], offsets: &[] });
        Drawn { stream, task: Problem::new(&[first, second], design, statistic).task }
    }

    #[test]
    fn chunks_hold_every_task_once_and_keep_the_budget() {
        let mut all: Vec<Drawn> = Vec::new();
        for i in 0..60 {
            let statistic =
                if i % 3 == 0 { PermutationStatistic::WelchT } else { PermutationStatistic::MeanDifference };
            all.push(drawn(20 + i % 7, (i % 2) as u32, statistic));
        }
        let samples = Samples { values: &[], offsets: &[0] };
        let request =
            PermutationRequest::new(samples, Design::TwoSamples(samples), PermutationStatistic::WelchT);
        for budget in [1 << 30, 100 << 10, 40 << 10] {
            let chunks = chunks(&request, &all, budget).unwrap();
            let mut seen: Vec<usize> =
                chunks.iter().flat_map(|chunk| chunk.tasks.iter().map(|(index, _)| *index)).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..60).collect::<Vec<usize>>());
            assert_eq!(chunks.len() == 2, budget >= 100 << 10, "{} chunks", chunks.len());
            for chunk in &chunks {
                assert!(
                    chunk.bytes <= budget && chunk.stride.is_multiple_of(PANEL) && chunk.blocks_per_task > 0
                );
            }
        }
        let Err(KernelError::OutOfMemory { need, free }) = chunks(&request, &all, 4 << 10) else {
            panic!("one panel of masks needs 4 KiB alone")
        };
        assert!(need > free && free == 4 << 10);
    }
}
