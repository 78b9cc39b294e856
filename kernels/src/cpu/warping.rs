//! Dynamic time warping, along anti-diagonals, whose cells do not depend on each other.
#![allow(unsafe_code)]

use crate::cpu::simd::{InstructionSet, Simd};

/// Working memory for curves of one length.
pub(crate) struct Warping {
    reversed: Vec<f64>,
    /// Costs on the diagonal being computed and on the two before, by position in the first curve from 1.
    diagonals: [Vec<f64>; 3],
}

impl Warping {
    pub(crate) fn new(length: usize) -> Self {
        Self { reversed: vec![0.0; length], diagonals: std::array::from_fn(|_| vec![0.0; length + 2]) }
    }

    /// The least sum of squared differences over all alignments of two curves of this length (Sakoe & Chiba 1978)
    /// whose positions differ by at most `window`; infinite for curves of no points.
    pub(crate) fn hard(&mut self, simd: Simd, first: &[f64], second: &[f64], window: usize) -> f64 {
        self.run(first, second, window, |cells| match simd.instruction_set() {
            // SAFETY: `Simd` only holds an instruction set that was detected on this processor.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => unsafe { hard_avx512(cells) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => unsafe { hard_avx2(cells) },
            _ => hard_generic(cells),
        })
    }

    /// The same with a soft minimum (Cuturi & Blondel 2017), `-gamma ln(sum of exp(-cost / gamma))`.
    pub(crate) fn soft(&mut self, simd: Simd, first: &[f64], second: &[f64], gamma: f64) -> f64 {
        self.run(first, second, first.len(), |cells| match simd.instruction_set() {
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => unsafe { soft_avx512(cells, gamma) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => unsafe { soft_avx2(cells, gamma) },
            _ => soft_generic(cells, gamma),
        })
    }

    fn run(&mut self, first: &[f64], second: &[f64], window: usize, mut fill: impl FnMut(Cells<'_>)) -> f64 {
        let length = first.len();
        assert!(second.len() == length && self.reversed.len() == length);
        for (reversed, value) in self.reversed.iter_mut().zip(second.iter().rev()) {
            *reversed = *value;
        }
        for diagonal in &mut self.diagonals {
            diagonal.fill(f64::INFINITY);
        }
        let [mut new, mut last, mut before] = self.diagonals.each_mut();
        before[0] = 0.0;
        for sum in 2..=2 * length {
            // Cells (i, sum - i) with both positions between 1 and length, and not farther apart than the window.
            let low = sum.saturating_sub(length).max(1).max(sum.saturating_sub(window).div_ceil(2));
            let high = (sum - 1).min(length).min((sum + window) / 2);
            if low <= high {
                fill(Cells {
                    out: &mut new[low..=high],
                    first: &first[low - 1..high],
                    second: &self.reversed[length + low - sum..=length + high - sum],
                    above: &last[low - 1..high],
                    beside: &last[low..=high],
                    corner: &before[low - 1..high],
                });
            }
            new[low - 1] = f64::INFINITY;
            new[high.max(low - 1) + 1] = f64::INFINITY;
            (new, last, before) = (before, new, last);
        }
        last.get(length).copied().filter(|_| length > 0).unwrap_or(f64::INFINITY)
    }
}

/// The cells of a diagonal with what they depend on.
struct Cells<'a> {
    out: &'a mut [f64],
    first: &'a [f64],
    second: &'a [f64],
    above: &'a [f64],
    beside: &'a [f64],
    corner: &'a [f64],
}

#[inline(always)]
fn least(first: f64, second: f64) -> f64 {
    if first < second { first } else { second }
}

#[inline(always)]
fn most(first: f64, second: f64) -> f64 {
    if first < second { second } else { first }
}

#[inline(always)]
fn for_each_cell(cells: Cells<'_>, minimum: impl Fn(f64, f64, f64) -> f64) {
    let count = cells.out.len();
    let (first, second) = (&cells.first[..count], &cells.second[..count]);
    let (above, beside, corner) = (&cells.above[..count], &cells.beside[..count], &cells.corner[..count]);
    for cell in 0..count {
        let difference = first[cell] - second[cell];
        cells.out[cell] = difference * difference + minimum(above[cell], beside[cell], corner[cell]);
    }
}

#[inline(always)]
fn hard_generic(cells: Cells<'_>) {
    for_each_cell(cells, |a, b, c| least(least(a, b), c));
}

#[inline(always)]
fn soft_generic(cells: Cells<'_>, gamma: f64) {
    let inverse = 1.0 / gamma;
    for_each_cell(cells, |a, b, c| {
        let (low, high) = (least(a, b), most(a, b));
        let (smallest, rest) = (least(low, c), most(low, c));
        let (middle, largest) = (least(rest, high), most(rest, high));
        // At least one of the three is finite inside of the matrix.
        let sum = 1.0 + exp((smallest - middle) * inverse) + exp((smallest - largest) * inverse);
        smallest - gamma * ln(sum)
    });
}

/// 1, 1/2, 1/3 and so on. Known when compiling, so that no lane divides.
const INVERSES: [f64; 13] = {
    let mut inverses = [0.0; 13];
    let mut i = 0;
    while i < inverses.len() {
        inverses[i] = 1.0 / (i + 1) as f64;
        i += 1;
    }
    inverses
};
/// 1, 1/3, 1/5 and so on.
const ODD_INVERSES: [f64; 10] = {
    let mut inverses = [0.0; 10];
    let mut i = 0;
    while i < inverses.len() {
        inverses[i] = 1.0 / (2 * i + 1) as f64;
        i += 1;
    }
    inverses
};

/// e to a power that is not positive, to 1e-15; 0 below -700. Without branches, so that it runs in vector lanes.
#[inline(always)]
fn exp(power: f64) -> f64 {
    const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    /// Adding and subtracting this rounds to the nearest integer.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let clamped = if power > -700.0 { power } else { -700.0 };
    let shifted = clamped * std::f64::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let rest = (clamped - whole * LN_2_HIGH) - whole * LN_2_LOW;
    let mut sum = 1.0;
    for inverse in INVERSES.iter().rev() {
        sum = 1.0 + sum * rest * inverse;
    }
    // The integer stands in the low bits of the sum; as an exponent it makes a power of two.
    let scale = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1.0f64.to_bits()));
    if power > -700.0 { sum * scale } else { 0.0 }
}

/// The logarithm of a number from 1 to 3, to 1e-13.
#[inline(always)]
fn ln(number: f64) -> f64 {
    let halve = number >= 1.5;
    let near_one = if halve { 0.5 * number } else { number };
    let offset = if halve { std::f64::consts::LN_2 } else { 0.0 };
    let ratio = (near_one - 1.0) / (near_one + 1.0);
    let square = ratio * ratio;
    let mut sum = 0.0;
    for inverse in ODD_INVERSES.iter().rev() {
        sum = sum * square + inverse;
    }
    offset + 2.0 * ratio * sum
}

/// Compiles a portable function for AVX2 and AVX-512; the compiler never contracts or reorders operations.
macro_rules! compile {
    ($($generic:ident => $avx2:ident, $avx512:ident ($($name:ident: $type:ty),*);)*) => {$(
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
        fn $avx512($($name: $type),*) {
            $generic($($name),*);
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn $avx2($($name: $type),*) {
            $generic($($name),*);
        }
    )*};
}

compile! {
    hard_generic => hard_avx2, hard_avx512 (cells: Cells<'_>);
    soft_generic => soft_avx2, soft_avx512 (cells: Cells<'_>, gamma: f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The textbook recurrence, row by row.
    fn by_rows(a: &[f64], b: &[f64], window: usize, minimum: impl Fn(f64, f64, f64) -> f64) -> f64 {
        let mut costs = vec![vec![f64::INFINITY; b.len() + 1]; a.len() + 1];
        costs[0][0] = 0.0;
        for i in 1..=a.len() {
            for j in (1..=b.len()).filter(|j| i.abs_diff(*j) <= window) {
                let cost = (a[i - 1] - b[j - 1]).powi(2);
                costs[i][j] = cost + minimum(costs[i - 1][j], costs[i][j - 1], costs[i - 1][j - 1]);
            }
        }
        costs[a.len()][b.len()]
    }

    fn curve(length: usize, salt: f64) -> Vec<f64> {
        (0..length).map(|i| (i as f64 * 0.37 + salt).sin() + salt * (i as f64).sqrt()).collect()
    }

    #[test]
    fn anti_diagonals_give_what_rows_give() {
        for length in [1, 2, 3, 9, 33, 100] {
            let (a, b) = (curve(length, 0.2), curve(length, 1.1));
            let mut warping = Warping::new(length);
            for simd in InstructionSet::ALL.into_iter().filter_map(|set| Simd::named(set).ok()) {
                for window in [0, 1, 5, length] {
                    let expected = by_rows(&a, &b, window, |a, b, c| a.min(b).min(c));
                    let got = warping.hard(simd, &a, &b, window);
                    assert!(
                        (got - expected).abs() <= 1e-12 * expected,
                        "{length} {window}: {got} {expected}"
                    );
                }
                for gamma in [0.01, 1.0, 30.0] {
                    let soft = |a: f64, b: f64, c: f64| {
                        let least = a.min(b).min(c);
                        let sum: f64 = [a, b, c].iter().map(|x| ((least - x) / gamma).exp()).sum();
                        least - gamma * sum.ln()
                    };
                    let expected = by_rows(&a, &b, length, soft);
                    let got = warping.soft(simd, &a, &b, gamma);
                    assert!((got - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{length} {gamma}");
                }
            }
        }
    }

    #[test]
    fn exp_and_ln_are_accurate() {
        for step in 0..7_000 {
            let power = -f64::from(step) * 0.1;
            assert!((exp(power) / power.exp() - 1.0).abs() < 4e-15 || power < -699.0, "exp({power})");
            let number = 1.0 + f64::from(step) / 3_500.0;
            assert!((ln(number) - number.ln()).abs() < 2e-13, "ln({number})");
        }
        assert_eq!((exp(-1e9), exp(f64::NEG_INFINITY), exp(0.0), ln(1.0)), (0.0, 0.0, 1.0, 0.0));
    }
}
