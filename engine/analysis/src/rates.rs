//! Shares of runs: exact limits of a rate, and exact tests of two rates.

use crate::distributions::{beta_quantile, ln_beta, normal_quantile, regularized_beta};
use crate::error::{AnalysisError, Result};
use crate::t_test::Alternative;

/// The two-sided Clopper-Pearson interval of a rate of `hits` in `trials` at `level` (1934).
///
/// # Errors
/// `probability_out_of_range`, `empty_sample` (no trial), `invalid_argument` (more hits than trials).
pub fn clopper_pearson(hits: u64, trials: u64, level: f64) -> Result<[f64; 2]> {
    let tail = 0.5 * (1.0 + level);
    Ok([rate_lower_limit(hits, trials, tail)?, rate_upper_limit(hits, trials, tail)?])
}

/// The exact one-sided upper limit of a rate: with 0 of n and level 0.95 it is 1 - 0.05^(1/n).
///
/// # Errors
/// As [`clopper_pearson`].
pub fn rate_upper_limit(hits: u64, trials: u64, level: f64) -> Result<f64> {
    check_rate(hits, trials, level)?;
    if hits == trials {
        return Ok(1.0);
    }
    Ok(beta_quantile(hits as f64 + 1.0, (trials - hits) as f64, level))
}

/// The exact one-sided lower limit of a rate.
///
/// # Errors
/// As [`clopper_pearson`].
pub fn rate_lower_limit(hits: u64, trials: u64, level: f64) -> Result<f64> {
    check_rate(hits, trials, level)?;
    if hits == 0 {
        return Ok(0.0);
    }
    Ok(beta_quantile(hits as f64, (trials - hits) as f64 + 1.0, 1.0 - level))
}

/// Wilson's score interval of a rate (1927), for display; claims use [`clopper_pearson`].
///
/// # Errors
/// As [`clopper_pearson`].
pub fn wilson(hits: u64, trials: u64, level: f64) -> Result<[f64; 2]> {
    check_rate(hits, trials, level)?;
    let (n, rate) = (trials as f64, hits as f64 / trials as f64);
    let z = normal_quantile(0.5 * (1.0 + level));
    let center = (rate + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (rate * (1.0 - rate) / n + z * z / (4.0 * n * n)).sqrt();
    // At the ends the interval reaches exactly 0 or 1; rounding must not leave a gap.
    let low = if hits == 0 { 0.0 } else { center - half };
    let high = if hits == trials { 1.0 } else { center + half };
    Ok([low, high])
}

/// The interval of Agresti & Coull (1998): the simple one after adding z^2 / 2 hits and as many misses.
///
/// # Errors
/// As [`clopper_pearson`].
pub fn agresti_coull(hits: u64, trials: u64, level: f64) -> Result<[f64; 2]> {
    check_rate(hits, trials, level)?;
    let z = normal_quantile(0.5 * (1.0 + level));
    let n = trials as f64 + z * z;
    let center = (hits as f64 + 0.5 * z * z) / n;
    let half = z * (center * (1.0 - center) / n).sqrt();
    Ok([(center - half).max(0.0), (center + half).min(1.0)])
}

/// The equal-tailed interval of the rate after Jeffreys' prior Beta(1/2, 1/2).
///
/// # Errors
/// As [`clopper_pearson`].
pub fn jeffreys(hits: u64, trials: u64, level: f64) -> Result<[f64; 2]> {
    check_rate(hits, trials, level)?;
    let (a, b) = (hits as f64 + 0.5, (trials - hits) as f64 + 0.5);
    let tail = 0.5 * (1.0 - level);
    Ok([beta_quantile(a, b, tail), beta_quantile(a, b, 1.0 - tail)])
}

pub(crate) fn check_rate(hits: u64, trials: u64, level: f64) -> Result<()> {
    crate::describe::check_level(level)?;
    if trials == 0 {
        return Err(AnalysisError::EmptySample { sample: "the set of trials".into() });
    }
    if hits > trials {
        return Err(AnalysisError::InvalidArgument {
            name: "hits",
            value: hits.to_string(),
            expected: "at most the number of trials",
        });
    }
    Ok(())
}

/// P(X >= hits) for X binomial with `trials` trials of probability `rate`.
///
/// # Errors
/// `probability_out_of_range`.
pub fn binomial_sf(hits: u64, trials: u64, rate: f64) -> Result<f64> {
    if !(0.0..=1.0).contains(&rate) {
        return Err(AnalysisError::ProbabilityOutOfRange { name: "rate", value: rate });
    }
    Ok(match hits {
        0 => 1.0,
        k if k > trials => 0.0,
        k => regularized_beta(k as f64, (trials - k) as f64 + 1.0, rate),
    })
}

/// McNemar's exact p-value (1947) for `b` and `c` discordant pairs, two-sided; 1 when there is none.
pub fn mcnemar_exact(b: u64, c: u64) -> f64 {
    let (more, all) = (b.max(c), b + c);
    binomial_sf(more, all, 0.5).map_or(1.0, |p| (2.0 * p).min(1.0))
}

/// Fisher's exact test of the table `[[a, b], [c, d]]` (rows are groups, first column the counted event).
///
/// `Greater` asks whether the event is more frequent in the first row. Two-sided sums the probabilities of all
/// tables no more likely than the observed one. A table with an empty row or column has p = 1.
///
/// # Examples
/// ```
/// use analysis::{Alternative, fisher_exact};
/// // 5 of 10 candidate runs failed, none of 10 baseline runs.
/// let p = fisher_exact([[5, 5], [0, 10]], Alternative::Greater);
/// assert!((p - 0.016253869969040248).abs() < 1e-12);
/// ```
pub fn fisher_exact(table: [[u64; 2]; 2], alternative: Alternative) -> f64 {
    let [[a, b], [c, d]] = table;
    let (row1, row2, column1) = (a + b, c + d, a + c);
    let lowest = column1.saturating_sub(row2);
    let highest = column1.min(row1);
    let ln_all = ln_choose(row1 + row2, column1);
    let probability = |x: u64| (ln_choose(row1, x) + ln_choose(row2, column1 - x) - ln_all).exp();
    let observed = probability(a);
    let p: f64 = match alternative {
        // Summed from the far end, small terms first.
        Alternative::Greater => (a..=highest).rev().map(probability).sum(),
        Alternative::Less => (lowest..=a).map(probability).sum(),
        Alternative::TwoSided => {
            // The factor keeps tables that are equally likely but for rounding.
            (lowest..=highest).map(probability).filter(|p| *p <= observed * (1.0 + 1e-7)).sum()
        }
    };
    p.min(1.0)
}

pub(crate) fn ln_choose(n: u64, k: u64) -> f64 {
    -(n as f64 + 1.0).ln() - ln_beta(k as f64 + 1.0, (n - k) as f64 + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_failure_in_n_runs_has_the_closed_form_limit() {
        for n in [1u64, 3, 5, 10, 20, 1000] {
            let expected = 1.0 - 0.05f64.powf(1.0 / n as f64);
            assert!((rate_upper_limit(0, n, 0.95).unwrap() - expected).abs() < 1e-12, "{n}");
        }
        assert_eq!(rate_upper_limit(4, 4, 0.95).unwrap(), 1.0);
    }

    #[test]
    fn five_of_five_hits_are_more_than_half() {
        assert!(rate_lower_limit(5, 5, 0.95).unwrap() > 0.5);
        assert!(rate_lower_limit(4, 4, 0.95).unwrap() < 0.5);
        assert_eq!(rate_lower_limit(6, 5, 0.95).unwrap_err().code(), "invalid_argument");
        assert_eq!(wilson(0, 0, 0.95).unwrap_err().code(), "empty_sample");
    }

    #[test]
    fn an_empty_column_proves_nothing() {
        assert_eq!(fisher_exact([[0, 5], [0, 7]], Alternative::TwoSided), 1.0);
        assert_eq!(fisher_exact([[0, 0], [3, 4]], Alternative::Greater), 1.0);
        assert_eq!(mcnemar_exact(0, 0), 1.0);
    }
}
