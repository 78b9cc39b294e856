//! The inner loops of distances: tiles of rows times panels of points, for AVX-512, AVX2 with FMA, and portable code.
//!
//! A panel holds [`PANEL`] points, one feature after the other, so that the points of a panel lie in vector lanes; up
//! to [`ROWS`] rows are broadcast against it. The score of a point and a row is
//! `lane_bias + row_bias + x_1 y_1 + ... + x_d y_d`, a chain of fused multiply-adds over ascending features. With both
//! biases minus half the squared norms it is minus half the squared distance. All instruction sets give the same bits.
#![allow(unsafe_code)]

use crate::cpu::simd::{InstructionSet, Simd};

/// Points of a panel: three vectors of 16 lanes.
pub(crate) const PANEL: usize = 48;
/// Rows that are multiplied with a panel at once: with three vectors each they fill 24 registers.
pub(crate) const ROWS: usize = 8;

/// Scores of up to [`ROWS`] rows with the points of a panel.
pub(crate) type Scores = [[f32; PANEL]; ROWS];

/// The best and second best score of each point of a panel, and which row gave the best.
#[derive(Debug, Clone)]
pub(crate) struct Nearest {
    /// Largest score.
    pub(crate) best: [f32; PANEL],
    /// The row that gave it; the lowest one of several.
    pub(crate) row: [u32; PANEL],
    /// Second largest score.
    pub(crate) second: [f32; PANEL],
}

impl Nearest {
    pub(crate) fn new() -> Self {
        Self { best: [f32::NEG_INFINITY; PANEL], row: [0; PANEL], second: [f32::NEG_INFINITY; PANEL] }
    }
}

/// Up to [`ROWS`] rows of `stride` coordinates with their biases; what is multiplied with a panel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowTile<'a> {
    /// At least `biases.len() * stride` coordinates.
    pub(crate) coordinates: &'a [f32],
    /// Coordinates from one row to the next.
    pub(crate) stride: usize,
    /// One bias per row; their number is the number of rows.
    pub(crate) biases: &'a [f32],
}

/// [`PANEL`] points with their biases.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PointPanel<'a> {
    /// `features * PANEL` coordinates, one feature after the other.
    pub(crate) coordinates: &'a [f32],
    /// One bias per point.
    pub(crate) biases: &'a [f32; PANEL],
}

impl RowTile<'_> {
    fn check(&self, panel: PointPanel<'_>) -> usize {
        let features = panel.coordinates.len() / PANEL;
        assert!(panel.coordinates.len() == features * PANEL && features <= self.stride);
        assert!(self.biases.len() <= ROWS && self.coordinates.len() >= self.biases.len() * self.stride);
        features
    }
}

impl Simd {
    /// The scores of all rows of a tile with all points of a panel.
    pub(crate) fn scores(self, panel: PointPanel<'_>, tile: RowTile<'_>, scores: &mut Scores) {
        let features = tile.check(panel);
        match self.instruction_set() {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => {
                macro_rules! by_rows {
                    ($($rows:literal)*) => {
                        match tile.biases.len() {
                            // SAFETY: `Simd` only holds an instruction set that was detected on this processor;
                            // the sizes were checked above, and the tile holds this many rows.
                            $($rows => unsafe { x86::scores_avx512::<$rows>(panel, tile, features, scores) },)*
                            _ => {}
                        }
                    };
                }
                by_rows!(1 2 3 4 5 6 7 8);
            }
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => {
                for first in (0..tile.biases.len()).step_by(4) {
                    let biases = &tile.biases[first..tile.biases.len().min(first + 4)];
                    let part =
                        RowTile { coordinates: &tile.coordinates[first * tile.stride..], biases, ..tile };
                    let scores = &mut scores[first..];
                    // SAFETY: as above, with the number of rows of this part.
                    match biases.len() {
                        1 => unsafe { x86::scores_avx2::<1>(panel, part, features, scores) },
                        2 => unsafe { x86::scores_avx2::<2>(panel, part, features, scores) },
                        3 => unsafe { x86::scores_avx2::<3>(panel, part, features, scores) },
                        _ => unsafe { x86::scores_avx2::<4>(panel, part, features, scores) },
                    }
                }
            }
            _ => scores_portable(panel, tile, features, scores),
        }
    }

    /// For each row of a tile the set of points whose score is at least the row's threshold, as bits.
    pub(crate) fn at_least(
        self,
        panel: PointPanel<'_>,
        tile: RowTile<'_>,
        thresholds: &[f32; ROWS],
    ) -> [u64; ROWS] {
        let features = tile.check(panel);
        #[cfg(target_arch = "x86_64")]
        if self.instruction_set() == InstructionSet::Avx512 && tile.biases.len() == ROWS {
            // SAFETY: the instruction set was detected, the sizes were checked, and the tile is full.
            return unsafe { x86::at_least_avx512(panel, tile, features, thresholds) };
        }
        let mut scores = [[0.0; PANEL]; ROWS];
        self.scores(panel, tile, &mut scores);
        let mut sets = [0; ROWS];
        for (row, set) in sets.iter_mut().enumerate().take(tile.biases.len()) {
            for (point, score) in scores[row].iter().enumerate() {
                *set |= u64::from(*score >= thresholds[row]) << point;
            }
        }
        let _ = features;
        sets
    }

    /// Takes the rows of a tile, which are rows `first..` of all, into account.
    pub(crate) fn nearest(self, panel: PointPanel<'_>, tile: RowTile<'_>, first: u32, nearest: &mut Nearest) {
        #[cfg(target_arch = "x86_64")]
        if self.instruction_set() == InstructionSet::Avx512 {
            let features = tile.check(panel);
            macro_rules! by_rows {
                ($($rows:literal)*) => {
                    match tile.biases.len() {
                        // SAFETY: the instruction set was detected, the sizes were checked, and the tile holds this
                        // many rows.
                        $($rows => unsafe {
                            x86::nearest_avx512::<$rows>(panel, tile, features, first, nearest)
                        },)*
                        _ => {}
                    }
                };
            }
            by_rows!(1 2 3 4 5 6 7 8);
            return;
        }
        let mut scores = [[0.0; PANEL]; ROWS];
        self.scores(panel, tile, &mut scores);
        self.update_nearest(&scores, tile.biases.len(), first, nearest);
    }

    /// Takes the first `rows` rows of scores, which are rows `first..` of all, into account.
    fn update_nearest(self, scores: &Scores, rows: usize, first: u32, nearest: &mut Nearest) {
        match self.instruction_set() {
            // SAFETY: `Simd` only holds an instruction set that was detected on this processor.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => unsafe { x86::update_nearest_avx2(scores, rows, first, nearest) },
            _ => update_nearest_generic(scores, rows, first, nearest),
        }
    }

    /// Adds to `sums[row][lane]` the smaller of the point's squared distance so far and the one that the score says.
    pub(crate) fn add_minima(
        self,
        scores: &Scores,
        rows: usize,
        so_far: &[f32; PANEL],
        sums: &mut [[f64; PANEL]; ROWS],
    ) {
        match self.instruction_set() {
            // SAFETY: `Simd` only holds an instruction set that was detected on this processor.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => unsafe { x86::add_minima_avx512(scores, rows, so_far, sums) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => unsafe { x86::add_minima_avx2(scores, rows, so_far, sums) },
            _ => add_minima_generic(scores, rows, so_far, sums),
        }
    }

    /// The squared distance of two rows of equal length in f64, always summed in the same order.
    #[inline]
    pub(crate) fn squared_distance(self, first: &[f32], second: &[f32]) -> f64 {
        match self.instruction_set() {
            // SAFETY: `Simd` only holds an instruction set that was detected on this processor.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => unsafe { x86::squared_distance_avx512(first, second) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => unsafe { x86::squared_distance_avx2(first, second) },
            _ => squared_distance_generic(first, second),
        }
    }

    /// Writes `row - origin` to `out` and returns the squared norm of that in f64.
    pub(crate) fn shifted(self, row: &[f32], origin: &[f32], out: &mut [f32]) -> f64 {
        match self.instruction_set() {
            // SAFETY: `Simd` only holds an instruction set that was detected on this processor.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => unsafe { x86::shifted_avx512(row, origin, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => unsafe { x86::shifted_avx2(row, origin, out) },
            _ => shifted_generic(row, origin, out),
        }
    }

    /// The sum of products of two rows of equal length in f32, always in the same order.
    #[inline]
    pub(crate) fn dot(self, first: &[f32], second: &[f32]) -> f32 {
        match self.instruction_set() {
            // SAFETY: `Simd` only holds an instruction set that was detected on this processor.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => unsafe { x86::dot_avx512(first, second) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => unsafe { x86::dot_avx2(first, second) },
            _ => dot_generic(first, second),
        }
    }

    /// The smallest and the largest product of a direction with the points of successive panels; each is a chain of
    /// fused multiply-adds over ascending features.
    pub(crate) fn extent(self, panels: &[f32], direction: &[f32]) -> [f32; 2] {
        match self.instruction_set() {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => {
                assert!(panels.len().is_multiple_of(direction.len().max(1) * PANEL));
                // SAFETY: the instruction set was detected, and the panels are whole.
                unsafe { x86::extent_avx512(panels, direction) }
            }
            // SAFETY: the instruction set was detected.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => unsafe { x86::extent_avx2(panels, direction) },
            _ => extent_generic(panels, direction),
        }
    }

    /// The squared distance of two boxes, each given by its lowest and highest corner.
    pub(crate) fn box_distance(self, first: [&[f32]; 2], second: [&[f32]; 2]) -> f32 {
        match self.instruction_set() {
            // SAFETY: `Simd` only holds an instruction set that was detected on this processor.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => unsafe { x86::box_distance_avx512(first, second) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => unsafe { x86::box_distance_avx2(first, second) },
            _ => box_distance_generic(first, second),
        }
    }
}

/// The scores in software; where the processor has no fused multiply-add this is slow, but the same.
fn scores_portable(panel: PointPanel<'_>, tile: RowTile<'_>, features: usize, scores: &mut [[f32; PANEL]]) {
    for ((scores, bias), row) in
        scores.iter_mut().zip(tile.biases).zip(tile.coordinates.chunks_exact(tile.stride))
    {
        for (score, lane_bias) in scores.iter_mut().zip(panel.biases) {
            *score = lane_bias + bias;
        }
        for (value, points) in row[..features].iter().zip(panel.coordinates.chunks_exact(PANEL)) {
            for (score, point) in scores.iter_mut().zip(points) {
                *score = value.mul_add(*point, *score);
            }
        }
    }
}

#[inline(always)]
fn update_nearest_generic(scores: &Scores, rows: usize, first: u32, nearest: &mut Nearest) {
    for (scores, row) in scores[..rows].iter().zip(first..) {
        for (lane, &score) in scores.iter().enumerate() {
            let better = score > nearest.best[lane];
            let loser = if better { nearest.best[lane] } else { score };
            let second = nearest.second[lane];
            nearest.second[lane] = if loser > second { loser } else { second };
            nearest.row[lane] = if better { row } else { nearest.row[lane] };
            nearest.best[lane] = if better { score } else { nearest.best[lane] };
        }
    }
}

#[inline(always)]
fn add_minima_generic(scores: &Scores, rows: usize, so_far: &[f32; PANEL], sums: &mut [[f64; PANEL]; ROWS]) {
    for (scores, sums) in scores[..rows].iter().zip(sums) {
        for lane in 0..PANEL {
            let squared = scores[lane] * -2.0;
            let squared = if squared > 0.0 { squared } else { 0.0 };
            let squared = if squared < so_far[lane] { squared } else { so_far[lane] };
            sums[lane] += f64::from(squared);
        }
    }
}

#[inline(always)]
fn squared_distance_generic(first: &[f32], second: &[f32]) -> f64 {
    const WIDE: usize = 8;
    let mut sums = [0.0f64; WIDE];
    let (whole, rest) = first.as_chunks::<WIDE>();
    let (other, other_rest) = second.as_chunks::<WIDE>();
    for (first, second) in whole.iter().zip(other) {
        for lane in 0..WIDE {
            let difference = f64::from(first[lane]) - f64::from(second[lane]);
            sums[lane] += difference * difference;
        }
    }
    for ((first, second), sum) in rest.iter().zip(other_rest).zip(&mut sums) {
        let difference = f64::from(*first) - f64::from(*second);
        *sum += difference * difference;
    }
    ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]))
}

#[inline(always)]
fn dot_generic(first: &[f32], second: &[f32]) -> f32 {
    const WIDE: usize = 16;
    let mut sums = [0.0f32; WIDE];
    for (first, second) in first.chunks(WIDE).zip(second.chunks(WIDE)) {
        for ((sum, first), second) in sums.iter_mut().zip(first).zip(second) {
            *sum += first * second;
        }
    }
    let halves: [f32; 8] = std::array::from_fn(|lane| sums[lane] + sums[lane + 8]);
    let quarters: [f32; 4] = std::array::from_fn(|lane| halves[lane] + halves[lane + 4]);
    (quarters[0] + quarters[2]) + (quarters[1] + quarters[3])
}

#[inline(always)]
fn extent_generic(panels: &[f32], direction: &[f32]) -> [f32; 2] {
    let mut extent = [f32::INFINITY, f32::NEG_INFINITY];
    for panel in panels.chunks_exact(direction.len().max(1) * PANEL) {
        let mut sums = [0.0f32; PANEL];
        for (value, points) in direction.iter().zip(panel.chunks_exact(PANEL)) {
            for (sum, point) in sums.iter_mut().zip(points) {
                *sum = value.mul_add(*point, *sum);
            }
        }
        for sum in sums {
            extent = [extent[0].min(sum), extent[1].max(sum)];
        }
    }
    extent
}

#[inline(always)]
fn shifted_generic(row: &[f32], origin: &[f32], out: &mut [f32]) -> f64 {
    const WIDE: usize = 16;
    let mut sums = [0.0f32; WIDE];
    let mut add = |row: &[f32], origin: &[f32], out: &mut [f32]| {
        for (((sum, out), row), origin) in sums.iter_mut().zip(out).zip(row).zip(origin) {
            let difference = row - origin;
            *out = difference;
            *sum += difference * difference;
        }
    };
    let (whole, rest) = row.as_chunks::<WIDE>();
    let (origin_whole, origin_rest) = origin.as_chunks::<WIDE>();
    let (out_whole, out_rest) = out.as_chunks_mut::<WIDE>();
    for ((row, origin), out) in whole.iter().zip(origin_whole).zip(out_whole) {
        add(row, origin, out);
    }
    add(rest, origin_rest, out_rest);
    let mut halves = [0.0f32; 8];
    for lane in 0..8 {
        halves[lane] = sums[lane] + sums[lane + 8];
    }
    let quarters: [f32; 4] = std::array::from_fn(|lane| halves[lane] + halves[lane + 4]);
    f64::from((quarters[0] + quarters[2]) + (quarters[1] + quarters[3]))
}

#[inline(always)]
fn box_distance_generic(first: [&[f32]; 2], second: [&[f32]; 2]) -> f32 {
    let mut sums = [0.0f32; 8];
    let lows = first[0].chunks(8).zip(second[0].chunks(8));
    let highs = first[1].chunks(8).zip(second[1].chunks(8));
    for ((low, other_low), (high, other_high)) in lows.zip(highs) {
        for lane in 0..low.len() {
            let gap = (other_low[lane] - high[lane]).max(low[lane] - other_high[lane]);
            let gap = if gap > 0.0 { gap } else { 0.0 };
            sums[lane] += gap * gap;
        }
    }
    ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]))
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m512, _CMP_GE_OQ, _CMP_GT_OQ, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps,
        _mm256_storeu_ps, _mm512_add_ps, _mm512_cmp_ps_mask, _mm512_fmadd_ps, _mm512_loadu_ps,
        _mm512_loadu_si512, _mm512_mask_mov_epi32, _mm512_mask_mov_ps, _mm512_max_ps, _mm512_min_ps,
        _mm512_reduce_max_ps, _mm512_reduce_min_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
        _mm512_storeu_ps, _mm512_storeu_si512,
    };

    use super::{Nearest, PANEL, PointPanel, ROWS, RowTile, Scores};

    /// Vectors of a panel.
    const PARTS: usize = PANEL / 16;

    /// # Safety
    /// The tile holds `R` rows of at least `features` coordinates, the panel `features * PANEL` coordinates.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
    unsafe fn tile_avx512<const R: usize>(
        panel: PointPanel<'_>,
        tile: RowTile<'_>,
        features: usize,
    ) -> [[__m512; PARTS]; R] {
        let mut totals = [[_mm512_setzero_ps(); PARTS]; R];
        for part in 0..PARTS {
            // SAFETY: a panel has PARTS * 16 biases.
            let lanes = unsafe { _mm512_loadu_ps(panel.biases.as_ptr().add(part * 16)) };
            for (row, totals) in totals.iter_mut().enumerate() {
                totals[part] = _mm512_add_ps(lanes, _mm512_set1_ps(tile.biases[row]));
            }
        }
        let points = panel.coordinates.as_ptr();
        let rows = tile.coordinates.as_ptr();
        for feature in 0..features {
            // SAFETY: feature < features, and the caller promises features * PANEL coordinates.
            let lanes: [__m512; PARTS] = std::array::from_fn(|part| unsafe {
                _mm512_loadu_ps(points.add(feature * PANEL + part * 16))
            });
            for (row, totals) in totals.iter_mut().enumerate() {
                // SAFETY: row < R and feature < features <= stride, and the caller promises R rows.
                let value = _mm512_set1_ps(unsafe { *rows.add(row * tile.stride + feature) });
                for part in 0..PARTS {
                    totals[part] = _mm512_fmadd_ps(value, lanes[part], totals[part]);
                }
            }
        }
        totals
    }

    /// # Safety
    /// As for `tile_avx512`; and the processor has the instruction set.
    #[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
    pub(super) unsafe fn scores_avx512<const R: usize>(
        panel: PointPanel<'_>,
        tile: RowTile<'_>,
        features: usize,
        scores: &mut Scores,
    ) {
        // SAFETY: passed on.
        let totals = unsafe { tile_avx512::<R>(panel, tile, features) };
        for (totals, scores) in totals.iter().zip(scores) {
            for (part, total) in totals.iter().enumerate() {
                // SAFETY: a row of scores has PARTS * 16 elements.
                unsafe { _mm512_storeu_ps(scores.as_mut_ptr().add(part * 16), *total) };
            }
        }
    }

    /// # Safety
    /// As for `tile_avx512` with all rows; and the processor has the instruction set.
    #[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
    pub(super) unsafe fn at_least_avx512(
        panel: PointPanel<'_>,
        tile: RowTile<'_>,
        features: usize,
        thresholds: &[f32; ROWS],
    ) -> [u64; ROWS] {
        // SAFETY: passed on.
        let totals = unsafe { tile_avx512::<ROWS>(panel, tile, features) };
        let mut sets = [0; ROWS];
        for ((totals, set), threshold) in totals.iter().zip(&mut sets).zip(thresholds) {
            let threshold = _mm512_set1_ps(*threshold);
            let largest = _mm512_max_ps(_mm512_max_ps(totals[0], totals[1]), totals[2]);
            if _mm512_cmp_ps_mask::<_CMP_GE_OQ>(largest, threshold) == 0 {
                continue;
            }
            for (part, total) in totals.iter().enumerate() {
                *set |= u64::from(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(*total, threshold)) << (part * 16);
            }
        }
        sets
    }

    /// # Safety
    /// The tile holds `R` rows of at least `features` coordinates, the panel `features * PANEL` coordinates, `scores`
    /// at least `R` rows; and the processor has the instruction set.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn scores_avx2<const R: usize>(
        panel: PointPanel<'_>,
        tile: RowTile<'_>,
        features: usize,
        scores: &mut [[f32; PANEL]],
    ) {
        const PARTS: usize = 3;
        assert!(scores.len() >= R);
        for half in [0, PANEL / 2] {
            let mut totals = [[_mm256_set1_ps(0.0); PARTS]; R];
            for part in 0..PARTS {
                // SAFETY: a panel has 2 * PARTS * 8 biases.
                let lanes = unsafe { _mm256_loadu_ps(panel.biases.as_ptr().add(half + part * 8)) };
                for (row, totals) in totals.iter_mut().enumerate() {
                    totals[part] = _mm256_add_ps(lanes, _mm256_set1_ps(tile.biases[row]));
                }
            }
            let points = panel.coordinates.as_ptr();
            let rows = tile.coordinates.as_ptr();
            for feature in 0..features {
                for part in 0..PARTS {
                    // SAFETY: feature < features, and the caller promises features * PANEL coordinates.
                    let lanes = unsafe { _mm256_loadu_ps(points.add(feature * PANEL + half + part * 8)) };
                    for (row, totals) in totals.iter_mut().enumerate() {
                        // SAFETY: row < R and feature < features <= stride, and the caller promises R rows.
                        let value = _mm256_set1_ps(unsafe { *rows.add(row * tile.stride + feature) });
                        totals[part] = _mm256_fmadd_ps(value, lanes, totals[part]);
                    }
                }
            }
            for (row, totals) in totals.iter().enumerate() {
                for (part, total) in totals.iter().enumerate() {
                    // SAFETY: `scores` has at least R rows of PANEL elements.
                    unsafe { _mm256_storeu_ps(scores[row].as_mut_ptr().add(half + part * 8), *total) };
                }
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn update_nearest_avx2(scores: &Scores, rows: usize, first: u32, nearest: &mut Nearest) {
        super::update_nearest_generic(scores, rows, first, nearest);
    }

    /// # Safety
    /// As for `tile_avx512`; and the processor has the instruction set.
    #[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
    pub(super) unsafe fn nearest_avx512<const R: usize>(
        panel: PointPanel<'_>,
        tile: RowTile<'_>,
        features: usize,
        first: u32,
        nearest: &mut Nearest,
    ) {
        // SAFETY: passed on.
        let totals = unsafe { tile_avx512::<R>(panel, tile, features) };
        for part in 0..PARTS {
            let start = part * 16;
            // SAFETY: the arrays of `nearest` have PARTS * 16 elements.
            let (mut best, mut second, mut row) = unsafe {
                (
                    _mm512_loadu_ps(nearest.best.as_ptr().add(start)),
                    _mm512_loadu_ps(nearest.second.as_ptr().add(start)),
                    _mm512_loadu_si512(nearest.row.as_ptr().add(start).cast()),
                )
            };
            for (totals, number) in totals.iter().zip(first..) {
                let score = totals[part];
                let better = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(score, best);
                // The loser of the two takes part in the race for the second place.
                second = _mm512_max_ps(second, _mm512_mask_mov_ps(score, better, best));
                row = _mm512_mask_mov_epi32(row, better, _mm512_set1_epi32(number as i32));
                best = _mm512_mask_mov_ps(best, better, score);
            }
            // SAFETY: as above.
            unsafe {
                _mm512_storeu_ps(nearest.best.as_mut_ptr().add(start), best);
                _mm512_storeu_ps(nearest.second.as_mut_ptr().add(start), second);
                _mm512_storeu_si512(nearest.row.as_mut_ptr().add(start).cast(), row);
            }
        }
    }

    /// # Safety
    /// `panels` holds a multiple of `direction.len() * PANEL` coordinates; and the processor has the instruction set.
    #[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
    pub(super) unsafe fn extent_avx512(panels: &[f32], direction: &[f32]) -> [f32; 2] {
        let size = direction.len() * PANEL;
        let mut least = _mm512_set1_ps(f32::INFINITY);
        let mut most = _mm512_set1_ps(f32::NEG_INFINITY);
        // Two panels at a time: six chains keep both units busy.
        for pair in panels.chunks(2 * size) {
            let (first, second) = (pair.as_ptr(), pair[pair.len() - size..].as_ptr());
            let mut sums = [[_mm512_setzero_ps(); PARTS]; 2];
            for (feature, value) in direction.iter().enumerate() {
                let value = _mm512_set1_ps(*value);
                for (sums, panel) in sums.iter_mut().zip([first, second]) {
                    for (part, sum) in sums.iter_mut().enumerate() {
                        // SAFETY: both panels have `size` coordinates.
                        let points = unsafe { _mm512_loadu_ps(panel.add(feature * PANEL + part * 16)) };
                        *sum = _mm512_fmadd_ps(value, points, *sum);
                    }
                }
            }
            for sum in sums.into_iter().flatten() {
                (least, most) = (_mm512_min_ps(least, sum), _mm512_max_ps(most, sum));
            }
        }
        [_mm512_reduce_min_ps(least), _mm512_reduce_max_ps(most)]
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn extent_avx2(panels: &[f32], direction: &[f32]) -> [f32; 2] {
        super::extent_generic(panels, direction)
    }

    /// Compiles a portable function for AVX2 and AVX-512; the compiler never contracts or reorders operations.
    macro_rules! compile {
        ($($generic:ident => $avx2:ident, $avx512:ident ($($name:ident: $type:ty),*) $(-> $out:ty)?;)*) => {$(
            #[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
            pub(super) fn $avx512($($name: $type),*) $(-> $out)? {
                super::$generic($($name),*)
            }

            #[target_feature(enable = "avx2,fma")]
            pub(super) fn $avx2($($name: $type),*) $(-> $out)? {
                super::$generic($($name),*)
            }
        )*};
    }

    compile! {
        add_minima_generic => add_minima_avx2, add_minima_avx512
            (scores: &Scores, rows: usize, so_far: &[f32; PANEL], sums: &mut [[f64; PANEL]; ROWS]);
        squared_distance_generic => squared_distance_avx2, squared_distance_avx512
            (first: &[f32], second: &[f32]) -> f64;
        dot_generic => dot_avx2, dot_avx512 (first: &[f32], second: &[f32]) -> f32;
        shifted_generic => shifted_avx2, shifted_avx512 (row: &[f32], origin: &[f32], out: &mut [f32]) -> f64;
        box_distance_generic => box_distance_avx2, box_distance_avx512
            (first: [&[f32]; 2], second: [&[f32]; 2]) -> f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, salt: u32) -> Vec<f32> {
        (0..count as u32).map(|i| ((i ^ salt).wrapping_mul(2_654_435_761) >> 8) as f32 / 8e6 - 1.0).collect()
    }

    #[test]
    fn all_instruction_sets_give_the_same_bits() {
        for (features, rows) in [(1, 1), (2, 8), (5, 3), (16, 7), (33, 8), (64, 5)] {
            let stride = features + 3;
            let points = numbers(features * PANEL, 1);
            let coordinates = numbers(stride * rows, 2);
            let biases = numbers(rows, 3);
            let lanes: [f32; PANEL] = numbers(PANEL, 4).try_into().unwrap();
            let panel = PointPanel { coordinates: &points, biases: &lanes };
            let tile = RowTile { coordinates: &coordinates, stride, biases: &biases };
            let so_far = [0.7f32; PANEL];
            let answers: Vec<_> = InstructionSet::ALL
                .into_iter()
                .filter_map(|set| Simd::named(set).ok())
                .map(|simd| {
                    let mut scores = [[0.0; PANEL]; ROWS];
                    simd.scores(panel, tile, &mut scores);
                    let mut nearest = Nearest::new();
                    simd.nearest(panel, tile, 40, &mut nearest);
                    let mut sums = [[0.0; PANEL]; ROWS];
                    simd.add_minima(&scores, rows, &so_far, &mut sums);
                    let sets = simd.at_least(panel, tile, &[0.25; ROWS]);
                    let mut out = vec![0.0; stride];
                    let norm =
                        simd.shifted(&points[..stride.min(48)], &coordinates[..stride.min(48)], &mut out);
                    let panels = numbers(3 * features * PANEL, 5);
                    let extent = simd.extent(&panels, &coordinates[..features]);
                    let dot = simd.dot(&points[..stride.min(48)], &coordinates[..stride.min(48)]);
                    (scores, format!("{nearest:?}"), sums, sets, norm, extent, dot)
                })
                .collect();
            for answer in &answers {
                assert_eq!(answer, &answers[0], "{features} features, {rows} rows");
            }
            let expected = (0..features).fold(lanes[7] + biases[rows - 1], |sum, feature| {
                coordinates[(rows - 1) * stride + feature].mul_add(points[feature * PANEL + 7], sum)
            });
            assert_eq!(answers[0].0[rows - 1][7], expected);
            assert_eq!(answers[0].3[rows - 1] >> 7 & 1, u64::from(expected >= 0.25));
            let product = |point: usize| {
                (0..features).fold(0.0f32, |sum, feature| {
                    let at = point / PANEL * features * PANEL + feature * PANEL + point % PANEL;
                    coordinates[feature].mul_add(numbers(3 * features * PANEL, 5)[at], sum)
                })
            };
            let products: Vec<f32> = (0..3 * PANEL).map(product).collect();
            let [least, most] = answers[0].5;
            assert_eq!(least, products.iter().copied().fold(f32::INFINITY, f32::min));
            assert_eq!(most, products.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }

    #[test]
    fn the_nearest_row_is_the_first_of_equals() {
        // One feature that is 1 everywhere: the score is the row's coordinate.
        let panel = PointPanel { coordinates: &[1.0; PANEL], biases: &[0.0; PANEL] };
        let coordinates = [0.0, 2.0, 0.0, 0.0, 2.0, 1.0, 0.0, 0.0];
        let tile = RowTile { coordinates: &coordinates, stride: 1, biases: &[0.0; ROWS] };
        let first = RowTile { coordinates: &[1.5], stride: 1, biases: &[0.0] };
        for set in InstructionSet::ALL {
            let Ok(simd) = Simd::named(set) else { continue };
            let mut nearest = Nearest::new();
            simd.nearest(panel, first, 7, &mut nearest);
            simd.nearest(panel, tile, 8, &mut nearest);
            assert_eq!((nearest.row, nearest.best), ([9; PANEL], [2.0; PANEL]));
            assert_eq!(nearest.second, [2.0; PANEL]);
        }
    }

    #[test]
    fn boxes_that_overlap_have_distance_zero() {
        let (low, high) = ([0.0f32; 12], [1.0f32; 12]);
        let (mut far_low, mut far_high) = ([0.5f32; 12], [2.0f32; 12]);
        for set in InstructionSet::ALL {
            let Ok(simd) = Simd::named(set) else { continue };
            assert_eq!(simd.box_distance([&low, &high], [&far_low, &far_high]), 0.0);
        }
        (far_low[9], far_high[9]) = (4.0, 5.0);
        (far_low[2], far_high[2]) = (-6.0, -4.0);
        for set in InstructionSet::ALL {
            let Ok(simd) = Simd::named(set) else { continue };
            assert_eq!(simd.box_distance([&low, &high], [&far_low, &far_high]), 25.0);
        }
    }
}
