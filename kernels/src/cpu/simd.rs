//! The inner loops of the CPU backend, for AVX-512, AVX2 with FMA, and portable code.
//!
//! All instruction sets perform the same operations in the same order on each number, so their
//! results are equal bit for bit; a test holds them to it. This is the only module of the CPU
//! backend with `unsafe` code: calls of functions compiled for an instruction set that was
//! detected before, and vector loads and stores inside checked bounds.
#![allow(unsafe_code)]

use crate::error::{KernelError, Reason};
use crate::interval::squared_deviations;
use crate::rng::{MULTIPLIER_0, MULTIPLIER_1, ROUNDS, Stream, WEYL_0, WEYL_1, indices_per_word};

/// Resamples that are computed side by side; one panel of weights has this many columns.
pub(crate) const LANES: usize = 32;
/// Rows of a panel that are used for all samples before the next: 128 * 32 * 8 bytes fit in the
/// first cache level.
const TILE_ROWS: usize = 128;
/// Draws that are added up before they join the total of a large sample.
const DRAWS_PER_CHUNK: u32 = 4_096;

/// Calls the function compiled for the instruction set of `$simd`.
macro_rules! dispatch {
    ($simd:expr, $generic:ident, $avx2:ident, $avx512:ident ($($argument:expr),*)) => {
        match $simd.0 {
            // SAFETY: `Simd` only holds an instruction set that was detected on this processor.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => unsafe { $avx512($($argument),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => unsafe { $avx2($($argument),*) },
            _ => $generic($($argument),*),
        }
    };
}

/// The instruction sets that the CPU backend can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstructionSet {
    /// Portable code; multiply-add in software.
    Scalar,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F and DQ, besides AVX2 and FMA.
    Avx512,
}

impl InstructionSet {
    /// All instruction sets, slowest first.
    pub const ALL: [Self; 3] = [Self::Scalar, Self::Avx2, Self::Avx512];

    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "AVX2 + FMA",
            Self::Avx512 => "AVX-512",
        }
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            match self {
                Self::Scalar => true,
                Self::Avx2 => avx2,
                Self::Avx512 => {
                    avx2 && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq")
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Self::Scalar
        }
    }
}

/// An instruction set that this processor is known to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Simd(InstructionSet);

/// Portable code that is worth compiling for each instruction set. `compute` and everything that it calls must be
/// `#[inline(always)]`, or it is compiled for the oldest processor.
pub(crate) trait Portable {
    /// What it computes.
    type Output;
    /// Does the work.
    fn compute(self) -> Self::Output;
}

#[inline(always)]
fn run_generic<P: Portable>(work: P) -> P::Output {
    work.compute()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
fn run_avx512<P: Portable>(work: P) -> P::Output {
    run_generic(work)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<P: Portable>(work: P) -> P::Output {
    run_generic(work)
}

impl Simd {
    /// Runs portable code compiled for this instruction set. The compiler may use wider registers; it never
    /// contracts or reorders floating-point operations.
    pub(crate) fn run<P: Portable>(self, work: P) -> P::Output {
        dispatch!(self, run_generic, run_avx2, run_avx512(work))
    }

    /// The best available instruction set.
    pub(crate) fn detect() -> Self {
        let available = InstructionSet::ALL.into_iter().rev().find(|set| set.is_available());
        Self(available.unwrap_or(InstructionSet::Scalar))
    }

    /// A named instruction set, if there.
    pub(crate) fn named(set: InstructionSet) -> Result<Self, KernelError> {
        if set.is_available() {
            Ok(Self(set))
        } else {
            Err(KernelError::Unavailable(Reason::InstructionSetMissing(set.name())))
        }
    }

    pub(crate) fn instruction_set(self) -> InstructionSet {
        self.0
    }

    /// Adds to `counts[i * LANES + lane]` how often resample `first + lane` draws index i.
    /// `counts` holds `n * LANES` zeros before.
    pub(crate) fn count_draws(self, stream: &Stream, n: u32, first: u32, counts: &mut [u16]) {
        assert_eq!(counts.len(), n as usize * LANES);
        dispatch!(self, count_draws_generic, count_draws_avx2, count_draws_avx512(stream, n, first, counts));
    }

    /// `sums[c * LANES + lane] = sum over i of weights[i * LANES + lane] * columns[c][i]`, each as
    /// one chain of fused multiply-adds over ascending i.
    pub(crate) fn weighted_sums(self, weights: &[f64], columns: &[&[f64]], sums: &mut [f64]) {
        let rows = weights.len() / LANES;
        assert!(weights.len() == rows * LANES && sums.len() == columns.len() * LANES);
        assert!(columns.iter().all(|column| column.len() == rows));
        sums.fill(0.0);
        for tile in (0..rows).step_by(TILE_ROWS) {
            let tile = tile..rows.min(tile + TILE_ROWS);
            let weights = &weights[tile.start * LANES..tile.end * LANES];
            for (columns, sums) in columns.chunks(4).zip(sums.chunks_mut(4 * LANES)) {
                if let [a, b, c, d] = columns {
                    self.weighted_tile(weights, [a, b, c, d].map(|column| &column[tile.clone()]), sums);
                } else {
                    for (column, sums) in columns.iter().zip(sums.chunks_mut(LANES)) {
                        self.weighted_tile(weights, [&column[tile.clone()]], sums);
                    }
                }
            }
        }
    }

    fn weighted_tile<const C: usize>(self, weights: &[f64], columns: [&[f64]; C], sums: &mut [f64]) {
        dispatch!(
            self,
            weighted_tile_scalar,
            weighted_tile_avx2,
            weighted_tile_avx512(weights, columns, sums)
        );
    }

    /// `sums[c * LANES + lane]` = sum of `columns[c]` at the draws of resample `first + lane`, in
    /// draw order with plain additions, in chunks of 4,096 draws.
    pub(crate) fn gathered_sums(self, stream: &Stream, first: u32, columns: &[&[f64]], sums: &mut [f64]) {
        assert_eq!(sums.len(), columns.len() * LANES);
        dispatch!(
            self,
            gathered_sums_generic,
            gathered_sums_avx2,
            gathered_sums_avx512(stream, first, columns, sums)
        );
    }

    /// Weights as doubles.
    pub(crate) fn widen(self, weights: &[u16], out: &mut [f64]) {
        dispatch!(self, widen_generic, widen_avx2, widen_avx512(weights, out));
    }

    /// Weights times values as one chain of fused multiply-adds.
    pub(crate) fn chain(self, weights: &[f64], values: &[f64]) -> f64 {
        dispatch!(self, chain_generic, chain_avx2, chain_avx512(weights, values))
    }

    /// Sum and sum of squares of the differences from `near`. Lane l adds the values l, l + LANES,
    /// ... in order; then the lanes are added in order.
    pub(crate) fn deviation_sums(self, values: &[f64], near: f64) -> [f64; 2] {
        dispatch!(self, deviation_sums_generic, deviation_sums_avx2, deviation_sums_avx512(values, near))
    }

    /// How many values are below the first number plus how many are at or below the second.
    pub(crate) fn count_around(self, values: &[f64], below: f64, at_or_below: f64) -> u64 {
        dispatch!(
            self,
            count_around_generic,
            count_around_avx2,
            count_around_avx512(values, below, at_or_below)
        )
    }

    /// Adds the squared standard error of each resample's mean to `out`, from its sum and sum of squares.
    pub(crate) fn add_variances(self, sums: &[f64], squares: &[f64], n: f64, out: &mut [f64]) {
        dispatch!(
            self,
            add_variances_generic,
            add_variances_avx2,
            add_variances_avx512(sums, squares, n, out)
        );
    }

    /// Turns replicates into t statistics; not finite where the variance is 0.
    pub(crate) fn studentize(self, values: &mut [f64], variances: &[f64], divisor: f64, centre: f64) {
        dispatch!(
            self,
            studentize_generic,
            studentize_avx2,
            studentize_avx512(values, variances, divisor, centre)
        );
    }

    /// Copies the values at or below the first threshold to `low` and those at or above the
    /// second to `high`, in order, and says how many they are. Both buffers must be
    /// [`Simd::SLACK`] longer than `values`.
    pub(crate) fn tails(
        self,
        values: &[f64],
        thresholds: [f64; 2],
        low: &mut [f64],
        high: &mut [f64],
    ) -> [usize; 2] {
        match self.0 {
            // SAFETY: `Simd` only holds an instruction set that was detected on this processor.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => unsafe { tails_avx512(values, thresholds, low, high) },
            _ => tails_scalar(values, thresholds, low, high),
        }
    }

    /// By how much the buffers of [`Simd::tails`] are longer than the values.
    pub(crate) const SLACK: usize = 8;
}

/// The counter-based generator for `LANES` resamples at once: word pairs of one block.
#[inline(always)]
pub(super) fn draw_words(stream: &Stream, block: u32, first: u32) -> [[u64; LANES]; 2] {
    let [mut k0, mut k1] = stream.key();
    let mut c0 = [block; LANES];
    let mut c1 = [0; LANES];
    for (lane, c1) in c1.iter_mut().enumerate() {
        *c1 = first.wrapping_add(lane as u32);
    }
    let mut c2 = [stream.stream; LANES];
    let mut c3 = [stream.purpose(); LANES];
    for _ in 0..ROUNDS {
        for lane in 0..LANES {
            let p0 = u64::from(MULTIPLIER_0) * u64::from(c0[lane]);
            let p1 = u64::from(MULTIPLIER_1) * u64::from(c2[lane]);
            c0[lane] = (p1 >> 32) as u32 ^ c1[lane] ^ k0;
            c1[lane] = p1 as u32;
            c2[lane] = (p0 >> 32) as u32 ^ c3[lane] ^ k1;
            c3[lane] = p0 as u32;
        }
        k0 = k0.wrapping_add(WEYL_0);
        k1 = k1.wrapping_add(WEYL_1);
    }
    let mut words = [[0; LANES]; 2];
    for lane in 0..LANES {
        words[0][lane] = u64::from(c1[lane]) << 32 | u64::from(c0[lane]);
        words[1][lane] = u64::from(c3[lane]) << 32 | u64::from(c2[lane]);
    }
    words
}

/// Calls `draw` with the indices of all lanes, once for each of the `n` draws of a resample.
#[inline(always)]
fn for_each_draw(stream: &Stream, n: u32, first: u32, mut draw: impl FnMut(&[u32; LANES])) {
    let per_word = indices_per_word(n);
    let mut left = n;
    let mut indices = [0; LANES];
    for block in 0.. {
        for mut words in draw_words(stream, block, first) {
            for _ in 0..per_word {
                if left == 0 {
                    return;
                }
                left -= 1;
                for (word, index) in words.iter_mut().zip(&mut indices) {
                    // The 96-bit product word * n by two 64-bit halves.
                    let low = (*word & 0xFFFF_FFFF) * u64::from(n);
                    let high = (*word >> 32) * u64::from(n) + (low >> 32);
                    *index = (high >> 32) as u32;
                    *word = high << 32 | (low & 0xFFFF_FFFF);
                }
                draw(&indices);
            }
        }
    }
}

#[inline(always)]
fn count_draws_generic(stream: &Stream, n: u32, first: u32, counts: &mut [u16]) {
    for_each_draw(stream, n, first, |indices| {
        for (lane, &index) in indices.iter().enumerate() {
            counts[index as usize * LANES + lane] += 1;
        }
    });
}

#[inline(always)]
fn gathered_sums_generic(stream: &Stream, first: u32, columns: &[&[f64]], sums: &mut [f64]) {
    sums.fill(0.0);
    let n = columns.first().map_or(0, |column| column.len()) as u32;
    let mut chunk = vec![0.0; sums.len()];
    let mut drawn = 0;
    for_each_draw(stream, n, first, |indices| {
        for (column, chunk) in columns.iter().zip(chunk.chunks_exact_mut(LANES)) {
            for (sum, &index) in chunk.iter_mut().zip(indices) {
                *sum += column[index as usize];
            }
        }
        drawn += 1;
        if drawn % DRAWS_PER_CHUNK == 0 || drawn == n {
            for (sum, chunk) in sums.iter_mut().zip(&mut chunk) {
                *sum += *chunk;
                *chunk = 0.0;
            }
        }
    });
}

fn weighted_tile_scalar<const C: usize>(weights: &[f64], columns: [&[f64]; C], sums: &mut [f64]) {
    for (row, weights) in weights.chunks_exact(LANES).enumerate() {
        for (column, sums) in columns.iter().zip(sums.chunks_exact_mut(LANES)) {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum = weight.mul_add(column[row], *sum);
            }
        }
    }
}

/// Compiles a portable function a second and third time, for AVX2 and AVX-512. The compiler may
/// then use wider registers; it never contracts or reorders floating-point operations.
macro_rules! compile_for_instruction_sets {
    ($($generic:ident => $avx2:ident, $avx512:ident ($($name:ident: $type:ty),*) $(-> $out:ty)?;)*) => {$(
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
        fn $avx512($($name: $type),*) $(-> $out)? {
            $generic($($name),*)
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn $avx2($($name: $type),*) $(-> $out)? {
            $generic($($name),*)
        }
    )*};
}

compile_for_instruction_sets! {
    count_draws_generic => count_draws_avx2, count_draws_avx512
        (stream: &Stream, n: u32, first: u32, counts: &mut [u16]);
    gathered_sums_generic => gathered_sums_avx2, gathered_sums_large_avx512
        (stream: &Stream, first: u32, columns: &[&[f64]], sums: &mut [f64]);
    widen_generic => widen_avx2, widen_avx512 (weights: &[u16], out: &mut [f64]);
    deviation_sums_generic => deviation_sums_avx2, deviation_sums_avx512
        (values: &[f64], near: f64) -> [f64; 2];
    count_around_generic => count_around_avx2, count_around_avx512
        (values: &[f64], below: f64, at_or_below: f64) -> u64;
    add_variances_generic => add_variances_avx2, add_variances_avx512
        (sums: &[f64], squares: &[f64], n: f64, out: &mut [f64]);
    chain_generic => chain_avx2, chain_avx512 (weights: &[f64], values: &[f64]) -> f64;
    studentize_generic => studentize_avx2, studentize_avx512
        (values: &mut [f64], variances: &[f64], divisor: f64, centre: f64);
}

#[inline(always)]
fn widen_generic(weights: &[u16], out: &mut [f64]) {
    for (out, weight) in out.iter_mut().zip(weights) {
        *out = f64::from(*weight);
    }
}

#[inline(always)]
fn chain_generic(weights: &[f64], values: &[f64]) -> f64 {
    weights.iter().zip(values).fold(0.0, |sum, (weight, value)| weight.mul_add(*value, sum))
}

#[inline(always)]
fn deviation_sums_generic(values: &[f64], near: f64) -> [f64; 2] {
    let (mut sums, mut squares) = ([0.0f64; LANES], [0.0f64; LANES]);
    let whole = values.chunks_exact(LANES);
    let rest = whole.remainder();
    for chunk in whole {
        for lane in 0..LANES {
            let difference = chunk[lane] - near;
            sums[lane] += difference;
            squares[lane] += difference * difference;
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        let difference = value - near;
        sums[lane] += difference;
        squares[lane] += difference * difference;
    }
    [sums.iter().sum(), squares.iter().sum()]
}

#[inline(always)]
fn count_around_generic(values: &[f64], below: f64, at_or_below: f64) -> u64 {
    values.iter().map(|value| u64::from(*value < below) + u64::from(*value <= at_or_below)).sum()
}

#[inline(always)]
fn add_variances_generic(sums: &[f64], squares: &[f64], n: f64, out: &mut [f64]) {
    let divisor = n * (n - 1.0);
    for ((out, sum), square) in out.iter_mut().zip(sums).zip(squares) {
        *out += squared_deviations(*sum, *square, n) / divisor;
    }
}

#[inline(always)]
fn studentize_generic(values: &mut [f64], variances: &[f64], divisor: f64, centre: f64) {
    for (value, variance) in values.iter_mut().zip(variances) {
        *value = (*value / divisor - centre) / variance.sqrt();
    }
}

/// The tails of some values, see [`Simd::tails`].
fn tails_scalar(values: &[f64], thresholds: [f64; 2], low: &mut [f64], high: &mut [f64]) -> [usize; 2] {
    let (mut kept_low, mut kept_high) = (0, 0);
    for &value in values {
        low[kept_low] = value;
        kept_low += usize::from(value <= thresholds[0]);
        high[kept_high] = value;
        kept_high += usize::from(value >= thresholds[1]);
    }
    [kept_low, kept_high]
}

/// As the scalar version, eight values at a time.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
fn tails_avx512(values: &[f64], thresholds: [f64; 2], low: &mut [f64], high: &mut [f64]) -> [usize; 2] {
    use std::arch::x86_64::{
        _CMP_GE_OQ, _CMP_LE_OQ, _mm512_cmp_pd_mask, _mm512_loadu_pd, _mm512_maskz_compress_pd,
        _mm512_set1_pd, _mm512_storeu_pd,
    };

    const WIDTH: usize = 8;
    assert!(low.len() >= values.len() + WIDTH && high.len() >= values.len() + WIDTH);
    let (low_threshold, high_threshold) = (_mm512_set1_pd(thresholds[0]), _mm512_set1_pd(thresholds[1]));
    let (mut kept_low, mut kept_high) = (0, 0);
    let chunks = values.chunks_exact(WIDTH);
    let rest = chunks.remainder();
    for chunk in chunks {
        // SAFETY: the chunk holds WIDTH doubles.
        let chunk = unsafe { _mm512_loadu_pd(chunk.as_ptr()) };
        let is_low = _mm512_cmp_pd_mask::<_CMP_LE_OQ>(chunk, low_threshold);
        let is_high = _mm512_cmp_pd_mask::<_CMP_GE_OQ>(chunk, high_threshold);
        // SAFETY: no more values are kept than were read before, and the buffers are WIDTH longer
        // than `values`.
        unsafe {
            _mm512_storeu_pd(low.as_mut_ptr().add(kept_low), _mm512_maskz_compress_pd(is_low, chunk));
            _mm512_storeu_pd(high.as_mut_ptr().add(kept_high), _mm512_maskz_compress_pd(is_high, chunk));
        }
        kept_low += is_low.count_ones() as usize;
        kept_high += is_high.count_ones() as usize;
    }
    let [rest_low, rest_high] = tails_scalar(rest, thresholds, &mut low[kept_low..], &mut high[kept_high..]);
    [kept_low + rest_low, kept_high + rest_high]
}

/// As the portable version, with eight values gathered at a time.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
fn gathered_sums_avx512(stream: &Stream, first: u32, columns: &[&[f64]], sums: &mut [f64]) {
    use std::arch::x86_64::{
        __m256i, _mm256_loadu_si256, _mm512_add_pd, _mm512_i32gather_pd, _mm512_loadu_pd, _mm512_storeu_pd,
    };

    const WIDTH: usize = 8;
    let n = columns.first().map_or(0, |column| column.len());
    assert!(columns.iter().all(|column| column.len() == n));
    // Gathered indices are signed.
    let Ok(draws) = i32::try_from(n) else {
        return gathered_sums_large_avx512(stream, first, columns, sums);
    };
    sums.fill(0.0);
    let mut chunk = vec![0.0; sums.len()];
    let mut drawn = 0;
    for_each_draw(stream, draws as u32, first, |indices| {
        for (column, chunk) in columns.iter().zip(chunk.chunks_exact_mut(LANES)) {
            for (sums, indices) in chunk.chunks_exact_mut(WIDTH).zip(indices.chunks_exact(WIDTH)) {
                // SAFETY: both chunks hold WIDTH elements, and every index is below n, the length of
                // each column: it is the upper half of a 64-bit word times n.
                unsafe {
                    let indices = _mm256_loadu_si256(indices.as_ptr().cast::<__m256i>());
                    let values = _mm512_i32gather_pd::<8>(indices, column.as_ptr());
                    let total = _mm512_add_pd(_mm512_loadu_pd(sums.as_ptr()), values);
                    _mm512_storeu_pd(sums.as_mut_ptr(), total);
                }
            }
        }
        drawn += 1;
        if drawn % DRAWS_PER_CHUNK == 0 || drawn == draws as u32 {
            for (sum, chunk) in sums.iter_mut().zip(&mut chunk) {
                *sum += *chunk;
                *chunk = 0.0;
            }
        }
    });
}

/// Keeps the sums of `C` samples and 32 resamples in 4 * C registers of 8 doubles.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
fn weighted_tile_avx512<const C: usize>(weights: &[f64], columns: [&[f64]; C], sums: &mut [f64]) {
    use std::arch::x86_64::{_mm512_fmadd_pd, _mm512_loadu_pd, _mm512_set1_pd, _mm512_storeu_pd};

    const WIDTH: usize = 8;
    const PARTS: usize = LANES / WIDTH;
    let rows = weights.len() / LANES;
    assert!(sums.len() == C * LANES && columns.iter().all(|column| column.len() == rows));
    let mut totals = [[_mm512_set1_pd(0.0); PARTS]; C];
    for (c, totals) in totals.iter_mut().enumerate() {
        for (part, total) in totals.iter_mut().enumerate() {
            // SAFETY: `sums` holds C * LANES doubles; c < C and part * WIDTH + WIDTH <= LANES.
            *total = unsafe { _mm512_loadu_pd(sums.as_ptr().add(c * LANES + part * WIDTH)) };
        }
    }
    for row in 0..rows {
        let mut weight = [_mm512_set1_pd(0.0); PARTS];
        for (part, weight) in weight.iter_mut().enumerate() {
            // SAFETY: `weights` holds rows * LANES doubles; row < rows and the part ends within LANES.
            *weight = unsafe { _mm512_loadu_pd(weights.as_ptr().add(row * LANES + part * WIDTH)) };
        }
        for (column, totals) in columns.iter().zip(&mut totals) {
            // SAFETY: the columns have `rows` elements, checked above.
            let value = _mm512_set1_pd(unsafe { *column.get_unchecked(row) });
            for (total, weight) in totals.iter_mut().zip(weight) {
                *total = _mm512_fmadd_pd(weight, value, *total);
            }
        }
    }
    for (c, totals) in totals.iter().enumerate() {
        for (part, total) in totals.iter().enumerate() {
            // SAFETY: as for the loads of `sums`.
            unsafe { _mm512_storeu_pd(sums.as_mut_ptr().add(c * LANES + part * WIDTH), *total) };
        }
    }
}

/// As the AVX-512 version, in two passes of 8 resamples for `C` samples at a time, which fits
/// the 16 registers of AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn weighted_tile_avx2<const C: usize>(weights: &[f64], columns: [&[f64]; C], sums: &mut [f64]) {
    use std::arch::x86_64::{_mm256_fmadd_pd, _mm256_loadu_pd, _mm256_set1_pd, _mm256_storeu_pd};

    const WIDTH: usize = 4;
    const PARTS: usize = 2;
    let rows = weights.len() / LANES;
    assert!(sums.len() == C * LANES && columns.iter().all(|column| column.len() == rows));
    for lane in (0..LANES).step_by(PARTS * WIDTH) {
        let mut totals = [[_mm256_set1_pd(0.0); PARTS]; C];
        for (c, totals) in totals.iter_mut().enumerate() {
            for (part, total) in totals.iter_mut().enumerate() {
                // SAFETY: `sums` holds C * LANES doubles; lane + PARTS * WIDTH <= LANES.
                *total = unsafe { _mm256_loadu_pd(sums.as_ptr().add(c * LANES + lane + part * WIDTH)) };
            }
        }
        for row in 0..rows {
            let mut weight = [_mm256_set1_pd(0.0); PARTS];
            for (part, weight) in weight.iter_mut().enumerate() {
                // SAFETY: `weights` holds rows * LANES doubles; lane + PARTS * WIDTH <= LANES.
                *weight = unsafe { _mm256_loadu_pd(weights.as_ptr().add(row * LANES + lane + part * WIDTH)) };
            }
            for (column, totals) in columns.iter().zip(&mut totals) {
                // SAFETY: the columns have `rows` elements, checked above.
                let value = _mm256_set1_pd(unsafe { *column.get_unchecked(row) });
                for (total, weight) in totals.iter_mut().zip(weight) {
                    *total = _mm256_fmadd_pd(weight, value, *total);
                }
            }
        }
        for (c, totals) in totals.iter().enumerate() {
            for (part, total) in totals.iter().enumerate() {
                // SAFETY: as for the loads of `sums`.
                unsafe { _mm256_storeu_pd(sums.as_mut_ptr().add(c * LANES + lane + part * WIDTH), *total) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Tag;

    fn available() -> impl Iterator<Item = Simd> {
        InstructionSet::ALL.into_iter().filter_map(|set| Simd::named(set).ok())
    }

    fn stream() -> Stream {
        Stream { seed: 0x0123_4567_89ab_cdef, stream: 9, tag: Tag::Bootstrap, sub: 1 }
    }

    #[test]
    fn counts_are_those_of_the_contract_on_every_instruction_set() {
        for n in [1u32, 2, 7, 8, 20, 33, 100, 257, 1025, 4096] {
            for simd in available() {
                let mut counts = vec![0; n as usize * LANES];
                simd.count_draws(&stream(), n, 64, &mut counts);
                for lane in [0, 5, 31] {
                    let mut expected = vec![0u16; n as usize];
                    for index in stream().indices(n, 64 + lane as u32).take(n as usize) {
                        expected[index as usize] += 1;
                    }
                    let counted: Vec<u16> = counts.iter().skip(lane).step_by(LANES).copied().collect();
                    assert_eq!(counted, expected, "n = {n}, lane {lane}, {simd:?}");
                }
            }
        }
    }

    #[test]
    fn sums_have_the_same_bits_on_every_instruction_set() {
        for rows in [1usize, 3, 20, 127, 128, 129, 300] {
            for width in [1usize, 3, 4, 6] {
                let weights: Vec<f64> = (0..rows * LANES).map(|i| ((i * 7) % 5) as f64).collect();
                let columns: Vec<Vec<f64>> =
                    (0..width).map(|c| (0..rows).map(|i| ((i + c) as f64 * 0.37).sin()).collect()).collect();
                let columns: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
                let expected: Vec<f64> = (0..width * LANES)
                    .map(|out| {
                        let (column, lane) = (columns[out / LANES], out % LANES);
                        (0..rows).fold(0.0, |sum, i| weights[i * LANES + lane].mul_add(column[i], sum))
                    })
                    .collect();
                for simd in available() {
                    let mut sums = vec![f64::NAN; width * LANES];
                    simd.weighted_sums(&weights, &columns, &mut sums);
                    assert_eq!(sums, expected, "{rows} rows, {width} columns, {simd:?}");
                }
            }
        }
    }

    #[test]
    fn gathered_sums_follow_the_draws_in_chunks() {
        let n = 5_000u32;
        let column: Vec<f64> = (0..n).map(|i| (f64::from(i) * 0.11).cos()).collect();
        for simd in available() {
            let mut sums = vec![f64::NAN; 2 * LANES];
            simd.gathered_sums(&stream(), 32, &[&column, &column], &mut sums);
            for lane in 0..LANES {
                let draws: Vec<u32> = stream().indices(n, 32 + lane as u32).take(n as usize).collect();
                let chunk_sum = |chunk: &[u32]| chunk.iter().fold(0.0, |sum, &i| sum + column[i as usize]);
                let expected = draws.chunks(4_096).fold(0.0, |sum, chunk| sum + chunk_sum(chunk));
                assert_eq!(sums[lane], expected, "{simd:?}");
                assert_eq!(sums[LANES + lane], expected, "{simd:?}");
            }
        }
    }
}
