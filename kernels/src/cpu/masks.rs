//! Drawn relabellings as bit masks: one bit a value, in the order of the pooled values, eight to a byte.

use crate::cpu::simd::{LANES, Portable, Simd, draw_words};
use crate::rng::Stream;

/// Masks of successive draws, one row of bytes each.
pub(crate) struct Masks {
    pub(crate) bytes: Vec<u8>,
    /// Bytes of one mask.
    pub(crate) row: usize,
}

/// Draws the masks `first..first + count` of `n` values; `first` must be a multiple of the lanes.
///
/// With a size, that many bits are set, by selection sampling; without, each bit is a coin.
pub(crate) fn draw(
    simd: Simd,
    stream: &Stream,
    n: u32,
    size: Option<u32>,
    first: u32,
    count: usize,
) -> Masks {
    let row = (n as usize).div_ceil(8);
    let mut bytes = vec![0; row * count];
    let panels = bytes.chunks_mut((row * LANES).max(1)).enumerate();
    for (panel, bytes) in panels {
        let first = first + (panel * LANES) as u32;
        match size {
            Some(size) => simd.run(Subsets { stream, n, size, first, row, bytes }),
            None => simd.run(Signs { stream, n, first, row, bytes }),
        }
    }
    Masks { bytes, row }
}

/// The words r0 to r3 of one block for all lanes.
#[inline(always)]
fn words32(stream: &Stream, block: u32, first: u32) -> [[u32; LANES]; 4] {
    let pairs = draw_words(stream, block, first);
    let mut words = [[0; LANES]; 4];
    for lane in 0..LANES {
        words[0][lane] = pairs[0][lane] as u32;
        words[1][lane] = (pairs[0][lane] >> 32) as u32;
        words[2][lane] = pairs[1][lane] as u32;
        words[3][lane] = (pairs[1][lane] >> 32) as u32;
    }
    words
}

struct Subsets<'a> {
    stream: &'a Stream,
    n: u32,
    size: u32,
    first: u32,
    row: usize,
    bytes: &'a mut [u8],
}

impl Portable for Subsets<'_> {
    type Output = ();

    #[inline(always)]
    fn compute(self) {
        let mut needed = [self.size; LANES];
        let mut bits = [0u32; LANES];
        for block in 0..self.n.div_ceil(4) {
            let words = words32(self.stream, block, self.first);
            for (j, words) in words.iter().enumerate() {
                let position = 4 * block + j as u32;
                if position >= self.n {
                    break;
                }
                let left = u64::from(self.n - position);
                for lane in 0..LANES {
                    let scaled = ((u64::from(words[lane]) * left) >> 32) as u32;
                    let taken = u32::from(scaled < needed[lane]);
                    needed[lane] -= taken;
                    bits[lane] |= taken << (position % 8);
                }
                if position % 8 == 7 || position + 1 == self.n {
                    for (lane, row) in self.bytes.chunks_exact_mut(self.row).enumerate() {
                        row[position as usize / 8] = bits[lane] as u8;
                    }
                    bits = [0; LANES];
                }
            }
        }
    }
}

struct Signs<'a> {
    stream: &'a Stream,
    n: u32,
    first: u32,
    row: usize,
    bytes: &'a mut [u8],
}

impl Portable for Signs<'_> {
    type Output = ();

    #[inline(always)]
    fn compute(self) {
        for block in 0..self.n.div_ceil(128) {
            let words = words32(self.stream, block, self.first);
            for (lane, row) in self.bytes.chunks_exact_mut(self.row).enumerate() {
                for (j, words) in words.iter().enumerate() {
                    for (byte, value) in words[lane].to_le_bytes().into_iter().enumerate() {
                        let place = 16 * block as usize + 4 * j + byte;
                        if let Some(out) = row.get_mut(place) {
                            *out = value;
                        }
                    }
                }
            }
        }
        if !self.n.is_multiple_of(8) {
            let last = (1u8 << (self.n % 8)) - 1;
            for row in self.bytes.chunks_exact_mut(self.row) {
                row[self.row - 1] &= last;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::InstructionSet;
    use crate::rng::Tag;

    #[test]
    fn masks_are_the_subsets_and_signs_of_the_contract() {
        let stream = |tag| Stream { seed: 0x0123_4567_89ab_cdef, stream: 3, tag, sub: 0 };
        for set in InstructionSet::ALL {
            let Ok(simd) = Simd::named(set) else { continue };
            for (n, size) in [(1, 1), (7, 3), (8, 4), (20, 8), (129, 60), (300, 299)] {
                let masks = draw(simd, &stream(Tag::Subset), n, Some(size), 32, 50);
                let signs = draw(simd, &stream(Tag::Signs), n, None, 32, 50);
                for draw in [0, 5, 31, 32, 49] {
                    let set_bits = |masks: &Masks| -> Vec<u32> {
                        let row = &masks.bytes[draw * masks.row..][..masks.row];
                        (0..8 * masks.row as u32)
                            .filter(|i| row[*i as usize / 8] >> (i % 8) & 1 == 1)
                            .collect()
                    };
                    let resample = 32 + draw as u32;
                    assert_eq!(set_bits(&masks), stream(Tag::Subset).subset(n, size, resample));
                    let words = stream(Tag::Signs).sign_words((n as usize).div_ceil(32), resample);
                    let turned: Vec<u32> =
                        (0..n).filter(|i| words[*i as usize / 32] >> (i % 32) & 1 == 1).collect();
                    assert_eq!(set_bits(&signs), turned);
                }
            }
        }
    }
}
