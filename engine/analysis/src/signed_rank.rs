//! Wilcoxon's signed-rank test: are paired differences symmetric about zero?

use serde::Serialize;

use crate::describe::finite_sample;
use crate::distributions::normal_sf;
use crate::error::Result;
use crate::p_value::PValue;
use crate::ranks::{midranks, tie_sum};
use crate::t_test::Alternative;

/// Up to this many differences without ties and zeros the distribution is counted exactly.
const EXACT_MAX: usize = 50;

/// What becomes of differences that are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Zeros {
    /// Left out before ranking (Wilcoxon 1945).
    #[default]
    Dropped,
    /// Ranked, and their ranks left out (Pratt 1959).
    Pratt,
    /// Ranked, and half of their ranks given to each side.
    Split,
}

/// The result of a signed-rank test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SignedRank {
    /// Sum of the ranks of the positive differences.
    pub w_plus: f64,
    /// Sum of the ranks of the negative ones.
    pub w_minus: f64,
    /// P(W+ at least as large).
    pub p_greater: PValue,
    /// P(W+ at most as large).
    pub p_less: PValue,
    /// Twice the smaller one-sided p-value, at most 1.
    pub p_two_sided: PValue,
    /// Differences other than zero.
    pub nonzero: usize,
    /// The p-values are exact; otherwise normal, corrected for ties.
    pub exact: bool,
}

impl SignedRank {
    /// The p-value of an alternative about the differences.
    pub fn p_value(&self, alternative: Alternative) -> PValue {
        match alternative {
            Alternative::TwoSided => self.p_two_sided,
            Alternative::Greater => self.p_greater,
            Alternative::Less => self.p_less,
        }
    }
}

/// How p-values are computed where both ways are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RankDistribution {
    /// Exact where that can be counted, else normal with the correction for continuity.
    #[default]
    Automatic,
    /// Normal with the correction for continuity.
    Normal,
    /// Normal without it.
    NormalUncorrected,
}

/// Wilcoxon's signed-rank test of paired differences (1945).
///
/// It speaks about the symmetry of the differences, not about their mean. All differences zero give p = 1.
///
/// # Errors
/// `empty_sample`, `nonfinite_value`.
///
/// # Examples
/// ```
/// use analysis::{RankDistribution, Zeros, wilcoxon};
/// let test = wilcoxon(&[0.1, 0.3, 0.2, 0.5, 0.4], Zeros::Dropped, RankDistribution::Automatic)?;
/// assert_eq!((test.w_plus, test.p_greater.value()), (15.0, 1.0 / 32.0));
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn wilcoxon(differences: &[f64], zeros: Zeros, distribution: RankDistribution) -> Result<SignedRank> {
    let mut differences = finite_sample("the differences", differences, 1)?;
    let nonzero = differences.iter().filter(|d| **d != 0.0).count();
    let zero_count = (differences.len() - nonzero) as f64;
    if zeros == Zeros::Dropped {
        differences.retain(|d| *d != 0.0);
    }
    let sizes: Vec<f64> = differences.iter().map(|d| d.abs()).collect();
    let ranks = midranks(&sizes);
    let sum = |wanted: fn(f64) -> bool| -> f64 {
        ranks.iter().zip(&differences).filter(|(_, d)| wanted(**d)).map(|(rank, _)| rank).sum()
    };
    let (mut w_plus, mut w_minus) = (sum(|d| d > 0.0), sum(|d| d < 0.0));
    if zeros == Zeros::Split {
        let half = 0.5 * sum(|d| d == 0.0);
        (w_plus, w_minus) = (w_plus + half, w_minus + half);
    }
    let n = differences.len() as f64;
    let mut ties = tie_sum(&sizes);
    let untied = ties == 0.0 && zero_count == 0.0;
    let exact = distribution == RankDistribution::Automatic && untied && differences.len() <= EXACT_MAX;
    let (greater, less) = if nonzero == 0 {
        (1.0, 1.0)
    } else if exact {
        let tails = upper_tails(differences.len());
        // Without ties both sums are whole.
        (tails[w_plus as usize], tails[w_minus as usize])
    } else {
        let squares = |n: f64| n * (n + 1.0) * (2.0 * n + 1.0);
        let (mut center, mut variance) = (0.25 * n * (n + 1.0), squares(n));
        if zeros == Zeros::Pratt {
            // The ranks of the zeros are known and belong to neither side (Cureton 1967).
            center -= 0.25 * zero_count * (zero_count + 1.0);
            variance -= squares(zero_count);
            ties -= zero_count * (zero_count * zero_count - 1.0);
        }
        let deviation = ((variance - 0.5 * ties) / 24.0).sqrt();
        let correction = if distribution == RankDistribution::NormalUncorrected { 0.0 } else { 0.5 };
        let tail = |distance: f64| normal_sf((distance - correction) / deviation);
        (tail(w_plus - center), tail(center - w_plus))
    };
    Ok(SignedRank {
        w_plus,
        w_minus,
        p_greater: PValue::new(greater),
        p_less: PValue::new(less),
        p_two_sided: PValue::new((2.0 * greater.min(less)).min(1.0)),
        nonzero,
        exact,
    })
}

/// P(W+ >= w) for n differences without ties, for each w from 0 to n (n + 1) / 2.
fn upper_tails(n: usize) -> Vec<f64> {
    let most = n * (n + 1) / 2;
    let mut shares = vec![0.0; most + 1];
    shares[0] = 1.0;
    for rank in 1..=n {
        for w in (0..=most).rev() {
            let with = if w >= rank { shares[w - rank] } else { 0.0 };
            shares[w] = 0.5 * (shares[w] + with);
        }
    }
    for w in (0..most).rev() {
        shares[w] += shares[w + 1];
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_differences_have_eight_patterns() {
        // Sums 0, 1, 2, 3, 3, 4, 5, 6.
        let tails: Vec<f64> = upper_tails(3).iter().map(|t| t * 8.0).collect();
        assert_eq!(tails, [8.0, 7.0, 6.0, 5.0, 3.0, 2.0, 1.0]);
    }

    #[test]
    fn turning_the_signs_swaps_the_sides() {
        let d = [0.4, -0.1, 0.3, 0.0, 0.3, -0.2];
        let turned: Vec<f64> = d.iter().map(|d| -d).collect();
        for zeros in [Zeros::Dropped, Zeros::Pratt, Zeros::Split] {
            let forth = wilcoxon(&d, zeros, RankDistribution::Automatic).unwrap();
            let back = wilcoxon(&turned, zeros, RankDistribution::Automatic).unwrap();
            assert_eq!((forth.w_plus, forth.p_greater), (back.w_minus, back.p_less), "{zeros:?}");
            assert!(!forth.exact);
        }
    }

    #[test]
    fn nothing_but_zeros_proves_nothing() {
        let test = wilcoxon(&[0.0; 4], Zeros::Dropped, RankDistribution::Automatic).unwrap();
        assert_eq!((test.p_two_sided.value(), test.nonzero), (1.0, 0));
        assert_eq!(wilcoxon(&[], Zeros::Pratt, RankDistribution::Normal).unwrap_err().code(), "empty_sample");
    }
}
