//! Weights of resamples: how much each rank of the sample counts in each resample.
//!
//! They depend on (n, seed, stream, sub, statistic) alone, so groups of equal size share them and
//! their sums are one matrix product.

use rayon::prelude::*;

use crate::cpu::simd::{LANES, Simd};
use crate::describe::kept_ranks;
use crate::plan::Shape;
use crate::rng::Stream;

/// Largest sample whose resamples are held as counts.
pub(crate) const COUNTED_UP_TO: u32 = 4_096;
/// Most bytes that weights may take to be kept; larger ones are made again when needed.
const KEPT_BYTES: usize = 128 << 20;

/// The weights of all resamples of samples of one size.
pub(crate) struct Weights {
    simd: Simd,
    stream: Stream,
    n: u32,
    shape: Shape,
    /// Panel after panel, each `n * LANES` weights; empty when panels are made on demand.
    kept: Vec<u16>,
}

impl Weights {
    /// Prepares the weights of `panels * LANES` resamples. With `reused`, they are computed now and
    /// kept, unless they are too large.
    pub(crate) fn new(simd: Simd, stream: Stream, n: u32, shape: Shape, panels: usize, reused: bool) -> Self {
        let mut weights = Self { simd, stream, n, shape, kept: Vec::new() };
        let panel = n as usize * LANES;
        if reused && panel > 0 && panels * panel * 2 <= KEPT_BYTES {
            let mut kept = vec![0; panels * panel];
            kept.par_chunks_mut(panel).enumerate().for_each(|(index, out)| weights.count(index, out));
            weights.kept = kept;
        }
        weights
    }

    /// Writes the weights of one panel of resamples as doubles: `out[i * LANES + lane]`.
    pub(crate) fn panel(&self, index: usize, out: &mut Vec<f64>, counts: &mut Vec<u16>) {
        let size = self.n as usize * LANES;
        let source = if self.kept.is_empty() {
            counts.clear();
            counts.resize(size, 0);
            self.count(index, counts);
            counts
        } else {
            &self.kept[index * size..(index + 1) * size]
        };
        out.resize(size, 0.0);
        self.simd.widen(source, out);
    }

    fn count(&self, index: usize, out: &mut [u16]) {
        self.simd.count_draws(&self.stream, self.n, (index * LANES) as u32, out);
        if let Shape::Trimmed(fraction) = self.shape {
            let kept = kept_ranks(self.n as usize, fraction);
            keep_places(out, kept.start as u32, kept.end as u32);
        }
    }
}

/// Turns counts into the number of places of each rank that lie in `from..to` of the sorted resample.
fn keep_places(counts: &mut [u16], from: u32, to: u32) {
    let mut ends = [0u32; LANES];
    for row in counts.chunks_exact_mut(LANES) {
        for (count, end) in row.iter_mut().zip(&mut ends) {
            let start = *end;
            *end += u32::from(*count);
            *count = (*end).min(to).saturating_sub(start.max(from)) as u16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::multiset::rank_weights;
    use crate::rng::Tag;

    #[test]
    fn panels_hold_the_weights_of_each_resample_kept_or_not() {
        let stream = Stream { seed: 3, stream: 0, tag: Tag::Bootstrap, sub: 0 };
        for (n, shape) in [(13, Shape::Mean), (13, Shape::Trimmed(0.25)), (300, Shape::Trimmed(0.1))] {
            let kept = Weights::new(Simd::detect(), stream, n, shape, 2, true);
            let made = Weights::new(Simd::detect(), stream, n, shape, 2, false);
            assert!(!kept.kept.is_empty() && made.kept.is_empty());
            let (mut left, mut right) = (Vec::new(), Vec::new());
            kept.panel(1, &mut left, &mut Vec::new());
            made.panel(1, &mut right, &mut Vec::new());
            assert_eq!(left, right);
            for lane in [0, 17] {
                let mut counts = vec![0; n as usize];
                for index in stream.indices(n, (LANES + lane) as u32).take(n as usize) {
                    counts[index as usize] += 1;
                }
                let weights: Vec<f64> = left.iter().skip(lane).step_by(LANES).copied().collect();
                assert_eq!(weights, rank_weights(&counts, shape));
            }
        }
    }
}
