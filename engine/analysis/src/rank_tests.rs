//! The Mann-Whitney test: does one sample tend to be larger than the other?
//!
//! It speaks about P(a > b), not about means: with unequal shapes it may reject equal means.

use std::collections::HashMap;
use std::sync::Arc;

use crate::describe::finite_sample;
use crate::distributions::normal_sf;
use crate::error::Result;
use crate::p_value::PValue;
use crate::ranks::tie_sum;
use crate::t_test::Alternative;

/// Up to this many pairs of values the exact distribution is used, when there are no ties.
const EXACT_PAIRS_MAX: usize = 10_000;

/// The result of a Mann-Whitney test.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct MannWhitney {
    /// U of sample a: pairs in which a is larger, ties counting half.
    pub u: f64,
    /// U / (n m) = P(a > b) + P(a = b) / 2.
    pub a12: f64,
    /// P(U at least as large) when both samples come from one distribution.
    pub p_greater: PValue,
    /// P(U at most as large).
    pub p_less: PValue,
    /// Twice the smaller one-sided p-value, at most 1.
    pub p_two_sided: PValue,
    /// The p-values are exact; otherwise normal, with corrections for ties and continuity.
    pub exact: bool,
}

impl MannWhitney {
    /// The p-value of an alternative about a against b.
    pub fn p_value(&self, alternative: Alternative) -> PValue {
        match alternative {
            Alternative::TwoSided => self.p_two_sided,
            Alternative::Greater => self.p_greater,
            Alternative::Less => self.p_less,
        }
    }
}

/// Mann-Whitney tests of many pairs of samples; keeps the exact distributions it has computed.
#[derive(Debug, Default)]
pub struct MannWhitneyTests {
    tails: HashMap<(usize, usize), Arc<[f64]>>,
    always_normal: bool,
}

impl MannWhitneyTests {
    /// Tests by the normal distribution, also where the exact one could be computed.
    pub fn normal() -> Self {
        Self { always_normal: true, ..Self::default() }
    }

    /// Tests two independent samples (Mann & Whitney 1947).
    ///
    /// # Errors
    /// `empty_sample`, `nonfinite_value`.
    ///
    /// # Examples
    /// ```
    /// let test = analysis::MannWhitneyTests::default().test(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0])?;
    /// assert_eq!((test.u, test.p_two_sided.value()), (0.0, 0.1));
    /// # Ok::<(), analysis::AnalysisError>(())
    /// ```
    pub fn test(&mut self, a: &[f64], b: &[f64]) -> Result<MannWhitney> {
        let (a, b) = (finite_sample("sample a", a, 1)?, finite_sample("sample b", b, 1)?);
        let pairs = a.len() as f64 * b.len() as f64;
        let u: f64 = a
            .iter()
            .map(|x| 0.5 * (b.partition_point(|y| y < x) + b.partition_point(|y| y <= x)) as f64)
            .sum();
        let pooled: Vec<f64> = a.iter().chain(&b).copied().collect();
        let ties = tie_sum(&pooled);
        let exact = !self.always_normal && ties == 0.0 && a.len().saturating_mul(b.len()) <= EXACT_PAIRS_MAX;
        let (greater, less) = if exact {
            let tails = self.tails_of(a.len(), b.len());
            (tails[u as usize], tails[(pairs - u) as usize])
        } else {
            normal_tails(u, a.len() as f64, b.len() as f64, ties)
        };
        Ok(MannWhitney {
            u,
            a12: u / pairs,
            p_greater: PValue::new(greater),
            p_less: PValue::new(less),
            p_two_sided: PValue::new((2.0 * greater.min(less)).min(1.0)),
            exact,
        })
    }

    /// P(U >= u) for each u from 0 to n m.
    fn tails_of(&mut self, n: usize, m: usize) -> Arc<[f64]> {
        let key = (n.min(m), n.max(m));
        Arc::clone(self.tails.entry(key).or_insert_with(|| upper_tails(key.0, key.1)))
    }
}

/// Both one-sided p-values by the normal distribution.
fn normal_tails(u: f64, n: f64, m: f64, ties: f64) -> (f64, f64) {
    let all = n + m;
    let variance = n * m / 12.0 * ((all + 1.0) - ties / (all * (all - 1.0)));
    if variance <= 0.0 {
        return (1.0, 1.0);
    }
    let tail = |u: f64| normal_sf((u - 0.5 * n * m - 0.5) / variance.sqrt());
    (tail(u), tail(n * m - u))
}

/// P(U >= u) for samples of n and m distinct values: the share of the subsets of n of the n + m ranks with a sum at
/// least so large. Only sums of positive numbers, so that tails keep their digits.
fn upper_tails(n: usize, m: usize) -> Arc<[f64]> {
    let most = n * m;
    // ways[k][u]: sets of k ranks whose sum exceeds the smallest possible one by u.
    let mut ways = vec![vec![0.0_f64; most + 1]; n + 1];
    ways[0][0] = 1.0;
    for rank in 0..n + m {
        for k in (1..=n.min(rank + 1)).rev() {
            // As the k-th smallest of its set this rank (from 0) adds rank - (k - 1).
            let excess = rank + 1 - k;
            if excess > m {
                continue;
            }
            let (fewer, more) = ways.split_at_mut(k);
            // No member of the set adds more than this one.
            for u in excess..=k * excess {
                more[0][u] += fewer[k - 1][u - excess];
            }
        }
    }
    let counts = &ways[n];
    let mut tails = vec![0.0; most + 1];
    let mut sum = 0.0;
    for u in (0..=most).rev() {
        sum += counts[u];
        tails[u] = sum;
    }
    tails.iter().map(|tail| tail / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(a: &[f64], b: &[f64]) -> MannWhitney {
        MannWhitneyTests::default().test(a, b).unwrap()
    }

    #[test]
    fn the_exact_distribution_counts_all_subsets() {
        // 2 and 2 values: U is 0, 1, 2, 2, 3, 4 in the six arrangements.
        let tails = upper_tails(2, 2);
        assert_eq!(tails.iter().map(|t| t * 6.0).collect::<Vec<_>>(), [6.0, 5.0, 4.0, 2.0, 1.0]);
        let tails = upper_tails(3, 5);
        assert!((tails[15] - 1.0 / 56.0).abs() < 1e-16);
        assert_eq!(tails[0], 1.0);
        // Tails of both sides mirror each other.
        for u in 1..=15 {
            assert!((tails[u] + tails[15 - u + 1] - 1.0).abs() < 1e-14, "{u}");
        }
    }

    #[test]
    fn ties_and_size_decide_the_method() {
        assert!(test(&[1.0, 2.0], &[3.0]).exact);
        assert!(!test(&[1.0, 2.0], &[2.0]).exact);
        let many: Vec<f64> = (0..101).map(f64::from).collect();
        let others: Vec<f64> = many.iter().map(|v| v + 0.5).collect();
        assert!(!test(&many, &others).exact);
        assert!(test(&many[..100], &others[..100]).exact);
    }

    #[test]
    fn equal_values_prove_nothing() {
        let equal = test(&[0.5; 4], &[0.5; 5]);
        assert_eq!((equal.u, equal.a12, equal.p_two_sided.value()), (10.0, 0.5, 1.0));
    }

    #[test]
    fn swapping_the_samples_swaps_the_sides() {
        let (a, b) = ([0.3, 1.2, 0.7, 2.0], [0.1, 0.9, 0.4]);
        let (forth, back) = (test(&a, &b), test(&b, &a));
        assert_eq!(forth.p_greater, back.p_less);
        assert_eq!(forth.p_two_sided, back.p_two_sided);
        assert_eq!(forth.u + back.u, 12.0);
    }

    #[test]
    fn failed_runs_and_empty_arms_are_errors() {
        let mut tests = MannWhitneyTests::default();
        assert_eq!(tests.test(&[], &[1.0]).unwrap_err().code(), "empty_sample");
        assert_eq!(tests.test(&[f64::NAN], &[1.0]).unwrap_err().code(), "nonfinite_value");
    }
}
