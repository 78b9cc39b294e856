//! The bootstrap on a device: chunks of groups go through two lanes in turn, so that one is copied and judged while
//! the other computes. Numbers are those of the CPU backend, bit for bit.

use std::ops::Range;

use rayon::prelude::*;

use crate::cuda::CudaMemory;
use crate::cuda::chunk::{Chunk, Source, chunks};
use crate::cuda::device::{Device, RoundKeys};
use crate::cuda::lane::{Argument, Lane, Plain, Slice};
use crate::cuda::module::Family;
use crate::cuda::ranks::{Selected, WANTED, wanted};
use crate::describe::kept_ranks;
use crate::error::KernelError;
use crate::interval::{Interval, Target, sample_flags};
use crate::plan::{Centred, Plan, Shape};
use crate::request::{Computation, Method};
use crate::rng::{Stream, Tag};

/// Draws of a large sample that are summed before they join the total; as in `boot.cu`.
pub(crate) const DRAWS_PER_CHUNK: u32 = 4_096;
/// Weights are made for a multiple of so many resamples.
pub(crate) const PANEL: usize = 256;
/// Threads of a block.
const THREADS: u32 = 128;
/// Threads of a block that selects.
const SELECT_THREADS: u32 = 256;
/// Groups that a block of weighted sums serves.
const TILE_GROUPS: usize = 8;

/// `Side` of `boot.cu`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Side {
    weights: u64,
    n: u32,
    stream: u32,
    kept_from: u32,
    kept_to: u32,
}

/// `Tile` of `boot.cu`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Tile {
    values: u64,
    row: u32,
    side: u32,
    groups: u32,
    reserved: u32,
}

/// `Centre` of `boot.cu`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Centre {
    theta: f64,
    below: f64,
    at_or_below: f64,
    divisor: f64,
    location: f64,
}

/// `Moments` of `boot.cu`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Moments {
    sum: f64,
    square: f64,
    smallest: f64,
    largest: f64,
    around: u64,
    kept: u64,
}

// SAFETY: numbers without padding.
unsafe impl Plain for Side {}
// SAFETY: numbers without padding.
unsafe impl Plain for Tile {}
// SAFETY: numbers without padding.
unsafe impl Plain for Centre {}
// SAFETY: numbers without padding.
unsafe impl Plain for Moments {}

/// Which sample of the groups is summed; the numbers are those of `Role` in `boot.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Role {
    Alone = 0,
    First = 1,
    Second = 2,
}

/// Intervals of groups none of which is trivial, given as batches of the plan with the groups of each.
///
/// # Errors
/// [`KernelError::OutOfMemory`] when a single group does not fit into the device's memory or memory ran out mid-way,
/// and errors of the device. No interval is given then.
pub(crate) fn intervals(
    device: &Device,
    memory: CudaMemory,
    plan: &Plan<'_>,
    drawn: &[(usize, Vec<u32>)],
) -> Result<Vec<(u32, Interval)>, KernelError> {
    device.enter()?;
    let mut lanes = device.lanes()?;
    let held: usize = lanes.iter().map(Lane::bytes).sum();
    let budget = memory.bytes(device, held);
    // Two lanes share the memory; a group that does not fit so may still fit into all of it.
    let chunks = match chunks(plan, drawn, budget / 2) {
        Err(KernelError::OutOfMemory { .. }) => {
            let [first, second] = lanes;
            drop(second);
            lanes = [first, Lane::new(device)?];
            chunks(plan, drawn, budget)?.into_iter().map(|chunk| (0, chunk)).collect::<Vec<_>>()
        }
        cut => cut?.into_iter().enumerate().map(|(index, chunk)| (index % 2, chunk)).collect(),
    };
    let mut found = Vec::with_capacity(drawn.iter().map(|(_, groups)| groups.len()).sum());
    let mut running: Option<(usize, Submitted)> = None;
    for (lane, chunk) in &chunks {
        if let Some((same, _)) = &running
            && same == lane
        {
            finish(device, &lanes, plan, running.take(), &mut found)?;
        }
        let submitted = submit(device, &mut lanes[*lane], plan, chunk)?;
        finish(device, &lanes, plan, running.replace((*lane, submitted)), &mut found)?;
    }
    finish(device, &lanes, plan, running, &mut found)?;
    lanes.into_iter().for_each(|lane| device.put_back(lane));
    Ok(found)
}

/// A chunk whose replicates are computed, or will be when its lane gets there.
struct Submitted {
    groups: Vec<u32>,
    samples: Vec<Centred>,
    replicates: Slice<f64>,
    moments: Slice<Moments>,
    selected: Slice<u32>,
    ranks: Slice<u32>,
    ends: Slice<f64>,
}

/// What the kernels of one chunk are given.
struct Launches<'a> {
    device: &'a Device,
    lane: &'a mut Lane,
    plan: &'a Plan<'a>,
    chunk: &'a Chunk<'a>,
    values: Slice<f64>,
    replicates: Slice<f64>,
    /// The same as `replicates` when no variances are needed.
    variances: Slice<f64>,
    scratch: Slice<u64>,
    studentized: bool,
}

/// Copies a chunk to the device and starts everything up to the moments of its replicates.
fn submit(
    device: &Device,
    lane: &mut Lane,
    plan: &Plan<'_>,
    chunk: &Chunk<'_>,
) -> Result<Submitted, KernelError> {
    let groups: Vec<u32> = chunk.pieces.iter().flat_map(|piece| piece.groups).copied().collect();
    let samples: Vec<Centred> = groups
        .par_iter()
        .map(|&group| Centred::new(plan.first.group(group as usize), plan.second_group(group as usize)))
        .collect();
    let request = plan.request;
    let centres: Vec<Centre> = samples
        .iter()
        .map(|sample| {
            let target = Target::new(sample, plan.shape, request.method, request.level);
            let Target { theta, divisor, tie, .. } = target;
            Centre { theta, below: theta - tie, at_or_below: theta + tie, divisor, location: theta / divisor }
        })
        .collect();
    // While this thread waited for others, it may have worked for another device.
    device.enter()?;
    lane.reserve(device, chunk.bytes)?;
    let firsts: usize = samples.iter().map(|sample| sample.first.len()).sum();
    let seconds: usize = samples.iter().map(|sample| sample.second.len()).sum();
    let values = lane.take::<f64>(firsts + seconds)?;
    let resamples = request.resamples as usize;
    let replicates = lane.take::<f64>(groups.len() * resamples)?;
    let studentized = request.method == Method::Studentized;
    let variances = if studentized { lane.take::<f64>(groups.len() * resamples)? } else { replicates };
    let scratch = lane.take::<u64>(chunk.scratch.div_ceil(8))?;
    // The first samples of all groups, then the second ones.
    let flat: Vec<f64> = [Role::First, Role::Second]
        .into_iter()
        .flat_map(|role| samples.iter().flat_map(move |sample| sample_of(sample, role)).copied())
        .collect();
    lane.upload(device, values, &flat)?;
    let mut launches =
        Launches { device, lane, plan, chunk, values, replicates, variances, scratch, studentized };
    if plan.second.is_some() {
        launches.sums(Role::First, 0)?;
        launches.sums(Role::Second, firsts)?;
    } else {
        launches.sums(Role::Alone, 0)?;
    }
    let Launches { lane, .. } = launches;
    let (count, resamples) = (groups.len(), request.resamples);
    let device_centres = lane.take::<Centre>(count)?;
    lane.upload(device, device_centres, &centres)?;
    let moments = lane.take::<Moments>(count)?;
    let kernel = device.kernel(Family::Boot, "replicate_moments")?;
    let (number, studentized) = (count as u32, u32::from(studentized));
    let arguments: [&dyn Argument; 7] =
        [&replicates, &variances, &device_centres, &moments, &number, &resamples, &studentized];
    lane.launch(device, &kernel, count.div_ceil(THREADS as usize / 32), THREADS, &arguments)?;
    let selected = lane.take::<u32>(count)?;
    let ranks = lane.take::<u32>(WANTED * count)?;
    let ends = lane.take::<f64>(WANTED * count)?;
    Ok(Submitted { groups, samples, replicates, moments, selected, ranks, ends })
}

fn sample_of(sample: &Centred, role: Role) -> &[f64] {
    if role == Role::Second { &sample.second } else { &sample.first }
}

/// The counted sides of one role and width.
#[derive(Default)]
struct Counted {
    sides: Vec<Side>,
    tiles: Vec<Tile>,
    weights: u64,
}

impl Launches<'_> {
    /// Sums of one sample of all groups, which begin at `start` of the values.
    fn sums(&mut self, role: Role, start: usize) -> Result<(), KernelError> {
        let (mut narrow, mut wide) = (Counted::default(), Counted::default());
        let mut gathered = Vec::new();
        let (mut row, mut place) = (0, start);
        for piece in &self.chunk.pieces {
            let n = if role == Role::Second { piece.batch.n_second } else { piece.batch.n };
            let groups = piece.groups.len();
            let counted = match Source::of(n, self.plan.shape) {
                Source::Narrow => Some(&mut narrow),
                Source::Wide => Some(&mut wide),
                Source::Gathered => None,
            };
            match counted {
                Some(counted) => counted.add(self, piece.batch.stream, n, row..row + groups, place),
                None => gathered.extend((0..groups).map(|group| {
                    (
                        n,
                        piece.batch.stream,
                        self.values.from(place + group * n as usize),
                        (row + group) as u32,
                    )
                })),
            }
            row += groups;
            place += groups * n as usize;
        }
        self.counted(role, &narrow, "count_draws_u16", "weighted_sums_u16")?;
        self.counted(role, &wide, "count_draws_u32", "weighted_sums_u32")?;
        for (n, stream, values, row) in gathered {
            self.gathered(role, n, stream, values, row)?;
        }
        Ok(())
    }

    fn purpose_and_keys(&self, role: Role) -> (u32, RoundKeys) {
        let sub = u32::from(role == Role::Second);
        let stream = Stream { seed: self.plan.request.seed, stream: 0, tag: Tag::Bootstrap, sub };
        (stream.purpose(), RoundKeys::new(stream.key()))
    }

    /// The resamples, as many as there is scratch for at a time: where they begin and how many.
    fn blocks_of_resamples(&self) -> impl Iterator<Item = (u32, u32)> + use<> {
        let (resamples, stride) = (self.plan.request.resamples, self.chunk.stride as u32);
        (0..resamples).step_by(stride as usize).map(move |first| (first, stride.min(resamples - first)))
    }

    fn counted(
        &mut self,
        role: Role,
        counted: &Counted,
        count_draws: &'static str,
        weighted_sums: &'static str,
    ) -> Result<(), KernelError> {
        if counted.sides.is_empty() {
            return Ok(());
        }
        let device = self.device;
        let sides = self.lane.take::<Side>(counted.sides.len())?;
        self.lane.upload(device, sides, &counted.sides)?;
        let tiles = self.lane.take::<Tile>(counted.tiles.len())?;
        self.lane.upload(device, tiles, &counted.tiles)?;
        let draw = device.kernel(Family::Boot, count_draws)?;
        let weighted_sums = if self.studentized { "weighted_sums_and_squares" } else { weighted_sums };
        let sum = device.kernel(Family::Boot, weighted_sums)?;
        let (purpose, keys) = self.purpose_and_keys(role);
        let (stride, resamples, role) = (self.chunk.stride as u32, self.plan.request.resamples, role as u32);
        let (weights, values, replicates) = (self.scratch, self.values, self.replicates);
        for (first, count) in self.blocks_of_resamples() {
            let blocks = counted.sides.len() * self.chunk.stride / THREADS as usize;
            let arguments: [&dyn Argument; 6] = [&weights, &sides, &purpose, &first, &stride, &keys];
            self.lane.launch(device, &draw, blocks, THREADS, &arguments)?;
            let mut arguments: Vec<&dyn Argument> = vec![&weights, &sides, &tiles, &values, &replicates];
            if self.studentized {
                arguments.push(&self.variances);
            }
            let numbers: [&dyn Argument; 5] = [&role, &first, &count, &stride, &resamples];
            arguments.extend(numbers);
            let blocks = counted.tiles.len() * self.chunk.stride / PANEL;
            self.lane.launch(device, &sum, blocks, THREADS, &arguments)?;
        }
        Ok(())
    }

    fn gathered(
        &self,
        role: Role,
        n: u32,
        stream: u32,
        values: Slice<f64>,
        row: u32,
    ) -> Result<(), KernelError> {
        let (device, lane) = (self.device, &*self.lane);
        let gather = device.kernel(Family::Boot, "gathered_sums")?;
        let add = device.kernel(Family::Boot, "gathered_replicates")?;
        let (purpose, keys) = self.purpose_and_keys(role);
        let (stride, resamples, role) = (self.chunk.stride as u32, self.plan.request.resamples, role as u32);
        let squares = u32::from(self.studentized);
        let (partial, replicates, variances) = (self.scratch, self.replicates, self.variances);
        let panels = self.chunk.stride / THREADS as usize;
        for (first, count) in self.blocks_of_resamples() {
            let arguments: [&dyn Argument; 9] =
                [&values, &partial, &n, &stream, &purpose, &first, &stride, &squares, &keys];
            lane.launch(device, &gather, n.div_ceil(DRAWS_PER_CHUNK) as usize * panels, THREADS, &arguments)?;
            let arguments: [&dyn Argument; 11] = [
                &partial,
                &replicates,
                &variances,
                &n,
                &row,
                &role,
                &first,
                &count,
                &stride,
                &resamples,
                &squares,
            ];
            lane.launch(device, &add, panels, THREADS, &arguments)?;
        }
        Ok(())
    }
}

impl Counted {
    /// Adds the groups of one piece, which are the given rows of the chunk and begin at `place` of the values.
    fn add(&mut self, launches: &Launches<'_>, stream: u32, n: u32, rows: Range<usize>, place: usize) {
        let kept = match launches.plan.shape {
            Shape::Trimmed(fraction) => kept_ranks(n as usize, fraction),
            _ => 0..n as usize,
        };
        let side = self.sides.len() as u32;
        self.sides.push(Side {
            weights: self.weights,
            n,
            stream,
            kept_from: kept.start as u32,
            kept_to: kept.end as u32,
        });
        self.weights += u64::from(n) * launches.chunk.stride as u64;
        for row in rows.clone().step_by(TILE_GROUPS) {
            let values = (place + (row - rows.start) * n as usize) as u64;
            let groups = (rows.end - row).min(TILE_GROUPS) as u32;
            self.tiles.push(Tile { values, row: row as u32, side, groups, reserved: 0 });
        }
    }
}

/// Waits for a chunk and turns its replicates into intervals.
fn finish(
    device: &Device,
    lanes: &[Lane; 2],
    plan: &Plan<'_>,
    running: Option<(usize, Submitted)>,
    found: &mut Vec<(u32, Interval)>,
) -> Result<(), KernelError> {
    let Some((lane, submitted)) = running else { return Ok(()) };
    let (lane, resamples) = (&lanes[lane], plan.request.resamples as usize);
    let Submitted { groups, samples, replicates, moments, selected, ranks, ends } = submitted;
    device.enter()?;
    let moments = lane.download(device, moments)?;
    let target = |row: usize| Target::new(&samples[row], plan.shape, plan.request.method, plan.request.level);
    let share = |row: usize| moments[row].around as f64 / (2.0 * resamples as f64);
    let asked: Vec<Option<[u32; WANTED]>> = (0..groups.len())
        .into_par_iter()
        .map(|row| wanted(&target(row), share(row), moments[row].kept as usize))
        .collect();
    let rows: Vec<u32> = (0..).zip(&asked).filter_map(|(row, asked)| asked.map(|_| row)).collect();
    let wanted: Vec<u32> = asked.iter().flatten().flatten().copied().collect();
    device.enter()?;
    lane.upload(device, selected, &rows)?;
    lane.upload(device, ranks, &wanted)?;
    let kernel = device.kernel(Family::Boot, "select_ranks")?;
    // The moments are still where the kernel of the moments left them.
    let (moments_there, count) = (submitted.moments, plan.request.resamples);
    let arguments: [&dyn Argument; 6] = [&replicates, &moments_there, &selected, &ranks, &ends, &count];
    lane.launch(device, &kernel, rows.len(), SELECT_THREADS, &arguments)?;
    let values = lane.download(device, ends.first(WANTED * rows.len()))?;
    let mut by_row = vec![[f64::NAN; WANTED]; groups.len()];
    for (row, values) in rows.iter().zip(values.chunks_exact(WANTED)) {
        by_row[*row as usize].copy_from_slice(values);
    }
    found.par_extend((0..groups.len()).into_par_iter().map(|row| {
        let group = groups[row] as usize;
        let second = plan.second.as_ref().map(|second| second.group(group));
        let flags = sample_flags(plan.request.method, plan.first.group(group), second);
        let (target, moments) = (target(row), &moments[row]);
        let se = standard_deviation(moments, resamples) / target.divisor;
        let kept = moments.kept as usize;
        let dropped_share = (resamples - kept) as f64 / resamples as f64;
        let mut replicates = Selected { share: share(row), kept, values: by_row[row] };
        let ends = asked[row].and_then(|_| target.ends(&mut replicates));
        (groups[row], target.interval(ends, se, dropped_share, flags, Computation::Resampling))
    }));
    Ok(())
}

/// Standard deviation (divisor B - 1) of replicates; the same operations as on the CPU.
fn standard_deviation(moments: &Moments, resamples: usize) -> f64 {
    let count = resamples as f64;
    if count < 2.0 {
        return f64::NAN;
    }
    let Moments { sum, square, .. } = *moments;
    ((square - sum * (sum / count)).max(0.0) / (count - 1.0)).sqrt()
}
