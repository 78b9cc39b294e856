//! Counts of relabellings beyond their limits, for several comparisons side by side.
//!
//! The compiler does not find the vector form of these loops by itself, so that they are written out for AVX-512.
#![allow(unsafe_code)]

use crate::cpu::InstructionSet;
use crate::cpu::simd::{Portable, Simd};
use crate::permutation::problem::{Counts, Thresholds, WelchForm};

/// Comparisons that are computed side by side, one in each lane of a register.
pub(crate) const SIDE: usize = 8;

/// Counts the sums of each column that are extreme.
pub(crate) fn count_sums<const L: usize>(
    simd: Simd,
    sums: &[[f64; L]],
    thresholds: &[Thresholds; L],
) -> [Counts; L] {
    #[cfg(target_arch = "x86_64")]
    if L == SIDE && simd.instruction_set() == InstructionSet::Avx512 {
        let (sums, []) = sums.as_flattened().as_chunks::<SIDE>() else { return [Counts::default(); L] };
        let column =
            |of: fn(&Thresholds) -> f64| std::array::from_fn(|lane| of(&thresholds[lane.min(L - 1)]));
        let limits =
            [column(|t| t.high), column(|t| t.low), column(|t| t.outside[0]), column(|t| t.outside[1])];
        // SAFETY: the instruction set of `simd` was detected on this processor.
        let [high, low, outside] = unsafe { count_sums_avx512(sums, &limits) };
        return counts(high, low, outside, [sums.len() as u64; SIDE]);
    }
    simd.run(CountSums { sums, thresholds: *thresholds })
}

/// Counts the extreme t of each column, all but those that need their values: where a comparison has such a one, its
/// index is noted. `limits`: at least, at most, and at least in absolute value.
pub(crate) fn count_welch<const L: usize, const LL: usize>(
    simd: Simd,
    forms: &[WelchForm; L],
    limits: &[[f64; L]; 3],
    sums: &[[f64; LL]],
    narrow: &mut Vec<usize>,
) -> [Counts; L] {
    #[cfg(target_arch = "x86_64")]
    if L == SIDE && LL == 2 * SIDE && simd.instruction_set() == InstructionSet::Avx512 {
        let (sums, []) = sums.as_flattened().as_chunks::<{ 2 * SIDE }>() else {
            return [Counts::default(); L];
        };
        let columns: [[f64; SIDE]; 6] = std::array::from_fn(|column| {
            std::array::from_fn(|lane| forms[lane.min(L - 1)].numbers()[column])
        });
        let limits = limits.map(|limits| std::array::from_fn(|lane| limits[lane.min(L - 1)]));
        // SAFETY: the instruction set of `simd` was detected on this processor.
        let [high, low, outside, good] = unsafe { count_welch_avx512(&columns, &limits, sums, narrow) };
        return counts(high, low, outside, good);
    }
    simd.run(CountWelch { forms, limits, sums, narrow })
}

fn counts<const L: usize>(
    high: [u64; SIDE],
    low: [u64; SIDE],
    outside: [u64; SIDE],
    total: [u64; SIDE],
) -> [Counts; L] {
    std::array::from_fn(|lane| Counts {
        high: high[lane] as f64,
        low: low[lane] as f64,
        outside: outside[lane] as f64,
        total: total[lane] as f64,
    })
}

/// As the portable version, one row a step.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
fn count_sums_avx512(sums: &[[f64; SIDE]], limits: &[[f64; SIDE]; 4]) -> [[u64; SIDE]; 3] {
    use std::arch::x86_64::{
        _CMP_GE_OQ, _CMP_LE_OQ, _mm512_cmp_pd_mask, _mm512_loadu_pd, _mm512_mask_add_epi64,
        _mm512_set1_epi64, _mm512_storeu_si512,
    };

    // SAFETY: each array holds eight doubles.
    let [high, low, above, below] = limits.each_ref().map(|limit| unsafe { _mm512_loadu_pd(limit.as_ptr()) });
    let one = _mm512_set1_epi64(1);
    let mut totals = [_mm512_set1_epi64(0); 3];
    for row in sums {
        // SAFETY: a row holds eight doubles.
        let row = unsafe { _mm512_loadu_pd(row.as_ptr()) };
        let extreme = [
            _mm512_cmp_pd_mask::<_CMP_GE_OQ>(row, high),
            _mm512_cmp_pd_mask::<_CMP_LE_OQ>(row, low),
            _mm512_cmp_pd_mask::<_CMP_GE_OQ>(row, above) | _mm512_cmp_pd_mask::<_CMP_LE_OQ>(row, below),
        ];
        for (total, extreme) in totals.iter_mut().zip(extreme) {
            *total = _mm512_mask_add_epi64(*total, extreme, *total, one);
        }
    }
    let mut out = [[0; SIDE]; 3];
    for (out, total) in out.iter_mut().zip(totals) {
        // SAFETY: the array holds eight 64-bit integers.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), total) };
    }
    out
}

/// As the portable version, one row a step, with the same operations in the same order.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
fn count_welch_avx512(
    columns: &[[f64; SIDE]; 6],
    limits: &[[f64; SIDE]; 3],
    sums: &[[f64; 2 * SIDE]],
    narrow: &mut Vec<usize>,
) -> [[u64; SIDE]; 4] {
    use std::arch::x86_64::{
        _CMP_GE_OQ, _CMP_LE_OQ, _CMP_LT_OQ, _mm512_abs_pd, _mm512_add_pd, _mm512_cmp_pd_mask, _mm512_div_pd,
        _mm512_loadu_pd, _mm512_mask_add_epi64, _mm512_mul_pd, _mm512_set1_epi64, _mm512_set1_pd,
        _mm512_sqrt_pd, _mm512_storeu_si512, _mm512_sub_pd,
    };

    // SAFETY: each array holds eight doubles.
    let load = |values: &[f64; SIDE]| unsafe { _mm512_loadu_pd(values.as_ptr()) };
    let [total, total_squares, inverse, inverse_second, scale, scale_second] = columns.each_ref().map(load);
    let [high, low, far] = limits.each_ref().map(load);
    let share = _mm512_set1_pd(WelchForm::NARROW);
    let narrow_second = _mm512_mul_pd(share, total_squares);
    let one = _mm512_set1_epi64(1);
    let mut totals = [_mm512_set1_epi64(0); 4];
    for (index, row) in sums.iter().enumerate() {
        // SAFETY: a row holds twice eight doubles.
        let (sum, squares) =
            unsafe { (_mm512_loadu_pd(row.as_ptr()), _mm512_loadu_pd(row.as_ptr().add(SIDE))) };
        let rest = _mm512_sub_pd(total, sum);
        let (mean, mean_second) = (_mm512_mul_pd(sum, inverse), _mm512_mul_pd(rest, inverse_second));
        let within = _mm512_sub_pd(squares, _mm512_mul_pd(sum, mean));
        let within_second =
            _mm512_sub_pd(_mm512_sub_pd(total_squares, squares), _mm512_mul_pd(rest, mean_second));
        let bad = _mm512_cmp_pd_mask::<_CMP_LT_OQ>(within, _mm512_mul_pd(share, squares))
            | _mm512_cmp_pd_mask::<_CMP_LT_OQ>(within_second, narrow_second);
        let error = _mm512_add_pd(_mm512_mul_pd(within, scale), _mm512_mul_pd(within_second, scale_second));
        let t = _mm512_div_pd(_mm512_sub_pd(mean, mean_second), _mm512_sqrt_pd(error));
        let extreme = [
            _mm512_cmp_pd_mask::<_CMP_GE_OQ>(t, high) & !bad,
            _mm512_cmp_pd_mask::<_CMP_LE_OQ>(t, low) & !bad,
            _mm512_cmp_pd_mask::<_CMP_GE_OQ>(_mm512_abs_pd(t), far) & !bad,
            !bad,
        ];
        for (total, extreme) in totals.iter_mut().zip(extreme) {
            *total = _mm512_mask_add_epi64(*total, extreme, *total, one);
        }
        if bad != 0 {
            narrow.push(index);
        }
    }
    let mut out = [[0; SIDE]; 4];
    for (out, total) in out.iter_mut().zip(totals) {
        // SAFETY: the array holds eight 64-bit integers.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), total) };
    }
    out
}

/// Counts sums beyond the thresholds of each column.
struct CountSums<'a, const L: usize> {
    sums: &'a [[f64; L]],
    thresholds: [Thresholds; L],
}

impl<const L: usize> Portable for CountSums<'_, L> {
    type Output = [Counts; L];

    #[inline(always)]
    fn compute(self) -> [Counts; L] {
        let (mut high, mut low, mut outside) = ([0u64; L], [0u64; L], [0u64; L]);
        let highs: [f64; L] = std::array::from_fn(|l| self.thresholds[l].high);
        let lows: [f64; L] = std::array::from_fn(|l| self.thresholds[l].low);
        let above: [f64; L] = std::array::from_fn(|l| self.thresholds[l].outside[0]);
        let below: [f64; L] = std::array::from_fn(|l| self.thresholds[l].outside[1]);
        for sums in self.sums {
            for lane in 0..L {
                high[lane] += u64::from(sums[lane] >= highs[lane]);
                low[lane] += u64::from(sums[lane] <= lows[lane]);
                outside[lane] += u64::from((sums[lane] >= above[lane]) | (sums[lane] <= below[lane]));
            }
        }
        std::array::from_fn(|lane| Counts {
            high: high[lane] as f64,
            low: low[lane] as f64,
            outside: outside[lane] as f64,
            total: self.sums.len() as f64,
        })
    }
}

/// Counts relabellings of Welch's t for `L` tasks, all but those that need their values: where a task has such a one,
/// its index is noted.
struct CountWelch<'a, const L: usize, const LL: usize> {
    forms: &'a [WelchForm; L],
    /// At least, at most, and at least in absolute value.
    limits: &'a [[f64; L]; 3],
    sums: &'a [[f64; LL]],
    narrow: &'a mut Vec<usize>,
}

impl<const L: usize, const LL: usize> Portable for CountWelch<'_, L, LL> {
    type Output = [Counts; L];

    #[inline(always)]
    fn compute(self) -> Self::Output {
        let [high, low, far] = *self.limits;
        let forms = *self.forms;
        let (mut highs, mut lows, mut outside, mut good) = ([0u64; L], [0u64; L], [0u64; L], [0u64; L]);
        for (index, sums) in self.sums.iter().enumerate() {
            let mut narrow = [0u64; L];
            for lane in 0..L {
                let (sum, squares) = (sums[lane], sums[L + lane]);
                let t = forms[lane].t(sum, squares);
                narrow[lane] = u64::from(forms[lane].is_narrow(sum, squares));
                let wide = 1 - narrow[lane];
                highs[lane] += wide & u64::from(t >= high[lane]);
                lows[lane] += wide & u64::from(t <= low[lane]);
                outside[lane] += wide & u64::from(t.abs() >= far[lane]);
                good[lane] += wide;
            }
            if narrow.iter().fold(0, |any, narrow| any | narrow) > 0 {
                self.narrow.push(index);
            }
        }
        std::array::from_fn(|lane| Counts {
            high: highs[lane] as f64,
            low: lows[lane] as f64,
            outside: outside[lane] as f64,
            total: good[lane] as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_instruction_sets_count_the_same() {
        let value = |i: usize| ((i * 37 % 101) as f64 - 50.0) / 64.0;
        let sums: Vec<[f64; SIDE]> = (0..70).map(|row| std::array::from_fn(|l| value(row * 8 + l))).collect();
        let thresholds: [Thresholds; SIDE] = std::array::from_fn(|l| Thresholds {
            high: value(l + 3),
            low: value(l + 9),
            outside: [value(l).abs(), -value(l).abs()],
        });
        let forms: [WelchForm; SIDE] =
            std::array::from_fn(|l| WelchForm::new(5.0 + l as f64, 7.0, value(l + 5), 4.0 + l as f64));
        let limits = [0.5, -0.25, 0.75].map(|limit| std::array::from_fn(|l| limit + value(l) / 8.0));
        let pairs: Vec<[f64; 2 * SIDE]> = (0..70)
            .map(|row| {
                std::array::from_fn(
                    |c| if c < SIDE { value(row * 3 + c) } else { 2.0 * value(row + c).abs() },
                )
            })
            .collect();
        let run = |simd| {
            let mut narrow = Vec::new();
            let welch = count_welch(simd, &forms, &limits, &pairs, &mut narrow);
            (count_sums(simd, &sums, &thresholds), welch, narrow)
        };
        let expected = run(Simd::named(InstructionSet::Scalar).unwrap());
        assert!(!expected.2.is_empty() && expected.1.iter().any(|counts| counts.high > 0.0));
        for set in InstructionSet::ALL {
            if let Ok(simd) = Simd::named(set) {
                assert_eq!(run(simd), expected, "{set:?}");
            }
        }
    }
}
