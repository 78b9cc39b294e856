//! Sums of marked values by tables (Arlazarov et al. 1970): the 256 sums of each chunk of eight values, so that a
//! relabelling costs one look-up for eight values. Several comparisons side by side share the masks.

use crate::cpu::masks::Masks;
use crate::cpu::simd::{Portable, Simd};
use crate::permutation::problem::chunk_sum;

/// Chunks whose tables are in use at a time: 16 * 256 * 8 comparisons * 8 bytes stay in the second cache level.
const CHUNKS_PER_TILE: usize = 16;
/// With fewer masks than this, tables are not worth making.
const TABLES_FROM: usize = 128;

/// For each mask, the sums over `L` columns of the values whose bits are set.
///
/// Chunks are added in ascending order, and within a chunk from the last value to the first.
pub(crate) fn sums<const L: usize>(simd: Simd, columns: [&[f64]; L], masks: &Masks) -> Vec<[f64; L]> {
    let count = masks.bytes.len() / masks.row.max(1);
    let mut sums = vec![[0.0; L]; count];
    if count < TABLES_FROM {
        simd.run(Direct { columns, masks, sums: &mut sums });
        return sums;
    }
    let mut tables = vec![[[0.0; L]; 256]; CHUNKS_PER_TILE.min(masks.row)];
    for from in (0..masks.row).step_by(CHUNKS_PER_TILE) {
        let chunks = from..masks.row.min(from + CHUNKS_PER_TILE);
        let tables = &mut tables[..chunks.len()];
        simd.run(Fill { columns, from, tables });
        simd.run(LookUp { tables, from, masks, sums: &mut sums });
    }
    sums
}

struct Fill<'a, const L: usize> {
    columns: [&'a [f64]; L],
    from: usize,
    tables: &'a mut [[[f64; L]; 256]],
}

impl<const L: usize> Portable for Fill<'_, L> {
    type Output = ();

    #[inline(always)]
    fn compute(self) {
        for (chunk, table) in self.tables.iter_mut().enumerate() {
            let start = 8 * (self.from + chunk);
            let mut values = [[0.0; L]; 8];
            for (bit, values) in values.iter_mut().enumerate() {
                for (value, column) in values.iter_mut().zip(&self.columns) {
                    *value = column.get(start + bit).copied().unwrap_or(0.0);
                }
            }
            for mask in 1..256usize {
                let rest = table[mask & (mask - 1)];
                let lowest = &values[mask.trailing_zeros() as usize];
                for ((out, rest), lowest) in table[mask].iter_mut().zip(rest).zip(lowest) {
                    *out = rest + lowest;
                }
            }
        }
    }
}

struct LookUp<'a, const L: usize> {
    tables: &'a [[[f64; L]; 256]],
    from: usize,
    masks: &'a Masks,
    sums: &'a mut [[f64; L]],
}

impl<const L: usize> Portable for LookUp<'_, L> {
    type Output = ();

    #[inline(always)]
    fn compute(self) {
        let row = self.masks.row;
        let chunks = self.tables.len();
        for (sums, mask) in self.sums.iter_mut().zip(self.masks.bytes.chunks_exact(row)) {
            let mut total = *sums;
            for (table, byte) in self.tables.iter().zip(&mask[self.from..self.from + chunks]) {
                for (total, part) in total.iter_mut().zip(&table[usize::from(*byte)]) {
                    *total += part;
                }
            }
            *sums = total;
        }
    }
}

struct Direct<'a, const L: usize> {
    columns: [&'a [f64]; L],
    masks: &'a Masks,
    sums: &'a mut [[f64; L]],
}

impl<const L: usize> Portable for Direct<'_, L> {
    type Output = ();

    #[inline(always)]
    fn compute(self) {
        for (sums, mask) in self.sums.iter_mut().zip(self.masks.bytes.chunks_exact(self.masks.row)) {
            for (sum, column) in sums.iter_mut().zip(&self.columns) {
                let mut total = 0.0;
                for (chunk, byte) in mask.iter().enumerate() {
                    total += chunk_sum(*byte, |bit| column[8 * chunk + bit]);
                }
                *sum = total;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::InstructionSet;
    use crate::permutation::problem::canonical_sum;

    #[test]
    fn tables_and_direct_sums_have_the_bits_of_the_canonical_order() {
        for n in [1usize, 8, 21, 130, 300] {
            let column = |c: usize| -> Vec<f64> { (0..n).map(|i| ((i * 13 + c) as f64 * 0.37).sin()).collect() };
            let columns: Vec<Vec<f64>> = (0..8).map(column).collect();
            let row = n.div_ceil(8);
            for count in [3, 200] {
                let bytes = (0..count * row)
                    .map(|i| {
                        let last = if i % row == row - 1 && n % 8 > 0 { (1u8 << (n % 8)) - 1 } else { 255 };
                        ((i * 2_654_435_761) >> 7) as u8 & last
                    })
                    .collect();
                let masks = Masks { bytes, row };
                for set in InstructionSet::ALL {
                    let Ok(simd) = Simd::named(set) else { continue };
                    let eight = sums::<8>(simd, std::array::from_fn(|c| columns[c].as_slice()), &masks);
                    let one = sums::<1>(simd, [&columns[3]], &masks);
                    for (index, mask) in masks.bytes.chunks_exact(row).enumerate() {
                        let marked = |i: usize| mask[i / 8] >> (i % 8) & 1 == 1;
                        for c in 0..8 {
                            let expected = canonical_sum(n, marked, |i| columns[c][i]);
                            assert_eq!(eight[index][c], expected, "{n} values, {set:?}");
                        }
                        assert_eq!(one[index][0], eight[index][3]);
                    }
                }
            }
        }
    }
}
