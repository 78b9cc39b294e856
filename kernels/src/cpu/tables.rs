//! Sums of marked values by tables (Arlazarov et al. 1970): the 256 sums of each chunk of eight values, so that a
//! relabelling costs one look-up for eight values. Several comparisons side by side share the masks.

use crate::cpu::masks::Masks;
use crate::cpu::simd::{Portable, Simd};
use crate::permutation::problem::chunk_sum;

/// Chunks whose tables are in use at a time: 16 * 256 * 8 comparisons * 8 bytes stay in the second cache level.
const CHUNKS_PER_TILE: usize = 16;
/// With fewer masks than this, tables are not worth making.
const TABLES_FROM: usize = 128;
/// Masks whose sums are handed on together while they are in the first cache level.
const TOGETHER: usize = 256;

/// Memory that is reused from call to call.
#[derive(Default)]
pub(crate) struct Buffers<const L: usize> {
    tables: Vec<[[f64; L]; 256]>,
    sums: Vec<[f64; L]>,
}

/// For each mask, the sums over `L` columns of the values whose bits are set: `visit` gets the sums of successive
/// masks, with these masks.
///
/// Chunks are added in ascending order, and within a chunk from the last value to the first.
pub(crate) fn for_sums<const L: usize>(
    simd: Simd,
    columns: [&[f64]; L],
    masks: &Masks,
    buffers: &mut Buffers<L>,
    mut visit: impl FnMut(&[[f64; L]], &[u8]),
) {
    let row = masks.row;
    let count = masks.bytes.len() / row.max(1);
    let Buffers { tables, sums } = buffers;
    tables.resize(CHUNKS_PER_TILE.min(row), [[0.0; L]; 256]);
    if count >= TABLES_FROM && row <= CHUNKS_PER_TILE {
        simd.run(Fill { columns, from: 0, tables: &mut tables[..row] });
        sums.resize(TOGETHER.max(sums.len()), [0.0; L]);
        for masks in masks.bytes.chunks(TOGETHER * row) {
            let sums = &mut sums[..masks.len() / row];
            simd.run(LookUpAll { tables: &tables[..row], masks, sums });
            visit(sums, masks);
        }
        return;
    }
    sums.clear();
    sums.resize(count, [0.0; L]);
    if count < TABLES_FROM {
        simd.run(Direct { columns, masks, sums });
    } else {
        for from in (0..row).step_by(CHUNKS_PER_TILE) {
            let tables = &mut tables[..CHUNKS_PER_TILE.min(row - from)];
            simd.run(Fill { columns, from, tables });
            simd.run(LookUp { tables, from, masks: &masks.bytes, row, sums });
        }
    }
    visit(sums, &masks.bytes);
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
    masks: &'a [u8],
    row: usize,
    sums: &'a mut [[f64; L]],
}

impl<const L: usize> Portable for LookUp<'_, L> {
    type Output = ();

    #[inline(always)]
    fn compute(self) {
        let chunks = self.tables.len();
        for (sums, mask) in self.sums.iter_mut().zip(self.masks.chunks_exact(self.row)) {
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

/// Look-ups in the tables of all chunks.
struct LookUpAll<'a, const L: usize> {
    tables: &'a [[[f64; L]; 256]],
    masks: &'a [u8],
    sums: &'a mut [[f64; L]],
}

impl<const L: usize> LookUpAll<'_, L> {
    /// The number of chunks as a constant spares the inner loop.
    #[inline(always)]
    fn of_chunks<const C: usize>(&mut self) -> bool {
        let Some((tables, [])) = self.tables.split_first_chunk::<C>() else { return false };
        let (masks, _) = self.masks.as_chunks::<C>();
        for (sums, mask) in self.sums.iter_mut().zip(masks) {
            let mut total = [0.0; L];
            for (table, byte) in tables.iter().zip(mask) {
                let part = &table[usize::from(*byte)];
                for lane in 0..L {
                    total[lane] += part[lane];
                }
            }
            *sums = total;
        }
        true
    }
}

impl<const L: usize> Portable for LookUpAll<'_, L> {
    type Output = ();

    #[inline(always)]
    fn compute(mut self) {
        let few = self.of_chunks::<1>()
            || self.of_chunks::<2>()
            || self.of_chunks::<3>()
            || self.of_chunks::<4>()
            || self.of_chunks::<5>()
            || self.of_chunks::<6>();
        if !few {
            let row = self.tables.len();
            self.sums.fill([0.0; L]);
            LookUp { tables: self.tables, from: 0, masks: self.masks, row, sums: self.sums }.compute();
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
            let column =
                |c: usize| -> Vec<f64> { (0..n).map(|i| ((i * 13 + c) as f64 * 0.37).sin()).collect() };
            let columns: Vec<Vec<f64>> = (0..8).map(column).collect();
            let row = n.div_ceil(8);
            for count in [3, 700] {
                let bytes = (0..count * row)
                    .map(|i| {
                        let last = if i % row == row - 1 && n % 8 > 0 { (1u8 << (n % 8)) - 1 } else { 255 };
                        ((i * 2_654_435_761) >> 7) as u8 & last
                    })
                    .collect();
                let masks = Masks { bytes, row };
                for set in InstructionSet::ALL {
                    let Ok(simd) = Simd::named(set) else { continue };
                    let (mut eight, mut one) = (Vec::new(), Vec::new());
                    let eight_columns: [&[f64]; 8] = std::array::from_fn(|c| columns[c].as_slice());
                    for_sums(simd, eight_columns, &masks, &mut Buffers::default(), |sums, _| {
                        eight.extend_from_slice(sums)
                    });
                    for_sums(simd, [&columns[3]], &masks, &mut Buffers::default(), |sums: &[[f64; 1]], _| {
                        one.extend_from_slice(sums);
                    });
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
