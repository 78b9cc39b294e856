//! Cuts the drawn groups of a bootstrap into chunks that fit into the memory of a lane.
//!
//! What a group's numbers are does not depend on its chunk: a chunk only says which groups are on the device together,
//! and how many resamples of weights.

use crate::cpu::COUNTED_UP_TO;
use crate::cuda::bootstrap::{DRAWS_PER_CHUNK, PANEL};
use crate::cuda::lane::ALIGNMENT;
use crate::error::KernelError;
use crate::plan::{Batch, Plan, Shape};
use crate::request::Method;

/// Replicates that are on the device at once, if one group does not need more: enough to fill a large device, and
/// little enough that copies of the next chunk overlap with the computing of this one.
const REPLICATE_BYTES: usize = 256 << 20;
/// Weights that are on the device at once, if one panel does not need more: they stay in the second cache level.
const WEIGHT_BYTES: usize = 32 << 20;
/// Bytes of descriptions a group: tiles, centre, moments, ranks and ends.
const GROUP_BYTES: usize = 256;
/// Bytes of descriptions a piece.
const PIECE_BYTES: usize = 64;
/// Room for the gaps between the parts of a lane's memory.
const GAPS: usize = 24 * ALIGNMENT;

/// How the sums of one side come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Counts in 16 bits, times the sorted sample.
    Narrow,
    /// Counts in 32 bits.
    Wide,
    /// Draw by draw.
    Gathered,
}

impl Source {
    /// The source for samples of one size.
    pub(crate) fn of(n: u32, shape: Shape) -> Self {
        match shape {
            _ if n <= COUNTED_UP_TO => Self::Narrow,
            Shape::Mean => Self::Gathered,
            _ => Self::Wide,
        }
    }
}

/// Some groups of one batch.
#[derive(Debug, Clone)]
pub(crate) struct Piece<'a> {
    pub(crate) batch: &'a Batch,
    pub(crate) groups: &'a [u32],
}

/// What is on the device together.
#[derive(Debug, Clone)]
pub(crate) struct Chunk<'a> {
    pub(crate) pieces: Vec<Piece<'a>>,
    /// Resamples whose weights are there at once.
    pub(crate) stride: usize,
    /// Bytes for weights or for partial sums.
    pub(crate) scratch: usize,
    /// Bytes of all.
    pub(crate) bytes: usize,
}

/// Bytes that grow with what is in a chunk.
#[derive(Default, Clone, Copy)]
struct Need {
    data: usize,
    replicates: usize,
    /// Bytes of weights or partial sums a resample: narrow and wide of each side, and gathered. Only one of them is
    /// there at a time.
    scratch: [usize; 5],
}

impl Need {
    fn with_piece(mut self, batch: &Batch, shape: Shape) -> Self {
        self.data += PIECE_BYTES;
        let sizes = [batch.n, batch.n_second];
        for (side, n) in sizes.into_iter().enumerate() {
            match Source::of(n, shape) {
                Source::Narrow => self.scratch[2 * side] += 2 * n as usize,
                Source::Wide => self.scratch[2 * side + 1] += 4 * n as usize,
                Source::Gathered => {
                    let chunks = n.div_ceil(DRAWS_PER_CHUNK) as usize;
                    self.scratch[4] = self.scratch[4].max(2 * 8 * chunks);
                }
            }
        }
        self
    }

    fn with_group(mut self, batch: &Batch, columns: usize, resamples: usize) -> Self {
        self.data += GROUP_BYTES + 8 * (batch.n as usize + batch.n_second as usize);
        self.replicates += 8 * columns * resamples;
        self
    }

    fn scratch_per_resample(&self) -> usize {
        self.scratch.into_iter().max().unwrap_or(0)
    }

    fn without_scratch(&self) -> usize {
        self.data + self.replicates + GAPS
    }

    fn least(&self) -> usize {
        self.without_scratch() + PANEL * self.scratch_per_resample()
    }
}

/// Cuts the groups, given as batches of the plan with what has to be drawn of each, in order.
///
/// # Errors
/// [`KernelError::OutOfMemory`] when a single group does not fit.
pub(crate) fn chunks<'a>(
    plan: &'a Plan<'_>,
    drawn: &'a [(usize, Vec<u32>)],
    budget: usize,
) -> Result<Vec<Chunk<'a>>, KernelError> {
    let resamples = plan.request.resamples as usize;
    let columns = if plan.request.method == Method::Studentized { 2 } else { 1 };
    let close = |pieces: Vec<Piece<'a>>, need: Need| {
        let whole = resamples.next_multiple_of(PANEL);
        let room = budget.saturating_sub(need.without_scratch()).min(WEIGHT_BYTES);
        let per_resample = need.scratch_per_resample();
        let stride = (room / per_resample.max(1) / PANEL * PANEL).clamp(PANEL, whole);
        let scratch = stride * per_resample;
        Chunk { pieces, stride, scratch, bytes: need.without_scratch() + scratch }
    };
    let mut chunks = Vec::new();
    let (mut pieces, mut need) = (Vec::new(), Need::default());
    for (index, groups) in drawn {
        let batch = &plan.batches[*index];
        let mut start = 0;
        let mut with_piece = need.with_piece(batch, plan.shape);
        for end in 1..=groups.len() {
            let more = with_piece.with_group(batch, columns, resamples);
            let full = more.least() > budget || more.replicates > REPLICATE_BYTES;
            let alone = pieces.is_empty() && end == start + 1;
            if !full || (alone && more.least() <= budget) {
                with_piece = more;
                continue;
            }
            if alone {
                return Err(KernelError::OutOfMemory { need: more.least() as u64, free: budget as u64 });
            }
            if end - 1 > start {
                pieces.push(Piece { batch, groups: &groups[start..end - 1] });
                need = with_piece;
            }
            chunks.push(close(std::mem::take(&mut pieces), need));
            need = Need::default();
            with_piece = need.with_piece(batch, plan.shape).with_group(batch, columns, resamples);
            if with_piece.least() > budget {
                return Err(KernelError::OutOfMemory {
                    need: with_piece.least() as u64,
                    free: budget as u64,
                });
            }
            start = end - 1;
        }
        pieces.push(Piece { batch, groups: &groups[start..] });
        need = with_piece;
    }
    if !pieces.is_empty() {
        chunks.push(close(pieces, need));
    }
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{BootstrapRequest, Samples, Statistic};

    fn groups_of(chunks: &[Chunk<'_>]) -> Vec<u32> {
        chunks.iter().flat_map(|chunk| &chunk.pieces).flat_map(|piece| piece.groups).copied().collect()
    }

    #[test]
    fn chunks_hold_every_group_once_and_keep_the_budget() {
        let sizes = [20u32; 50].into_iter().chain([7, 33, 5_000]);
        let mut offsets = vec![0];
        sizes.for_each(|size| offsets.push(offsets[offsets.len() - 1] + size));
        let values: Vec<f64> = (0..offsets[53]).map(f64::from).collect();
        let request = BootstrapRequest::new(Samples { values: &values, offsets: &offsets }, Statistic::Mean)
            .resamples(700);
        let plan = Plan::new(&request).unwrap();
        let drawn: Vec<(usize, Vec<u32>)> =
            plan.batches.iter().enumerate().map(|(index, batch)| (index, batch.groups.clone())).collect();
        let everything: Vec<u32> = drawn.iter().flat_map(|(_, groups)| groups).copied().collect();
        for (budget, expected) in [(1 << 30, 1), (200 << 10, 3), (50 << 10, 53)] {
            let chunks = chunks(&plan, &drawn, budget);
            if expected == 53 {
                // The large group alone needs 40,000 bytes of values and more of partial sums.
                let Err(KernelError::OutOfMemory { need, free }) = chunks else {
                    panic!("too little memory")
                };
                assert!(need > free && free == budget as u64);
                continue;
            }
            let chunks = chunks.unwrap();
            assert_eq!(groups_of(&chunks), everything);
            assert!(chunks.len() >= expected, "{} chunks", chunks.len());
            for chunk in &chunks {
                assert!(chunk.bytes <= budget && chunk.stride.is_multiple_of(PANEL) && chunk.stride >= PANEL);
            }
        }
    }
}
