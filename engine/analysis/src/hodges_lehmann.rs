//! Hodges and Lehmann's estimates of location (1963): medians of differences, robust beside a rank test.

use crate::describe::finite_sample;
use crate::error::{AnalysisError, Result};

/// The most differences that are looked at: their memory is 80 MB.
const DIFFERENCES_MAX: usize = 10_000_000;

/// The median of all differences between a value of `a` and one of `b`.
///
/// # Errors
/// `empty_sample`, `nonfinite_value`, `invalid_argument` (more than ten million pairs).
///
/// # Examples
/// ```
/// assert_eq!(analysis::hodges_lehmann(&[3.0, 4.0, 90.0], &[1.0, 2.0])?, 2.5);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn hodges_lehmann(a: &[f64], b: &[f64]) -> Result<f64> {
    let (a, b) = (finite_sample("sample a", a, 1)?, finite_sample("sample b", b, 1)?);
    check_pairs(a.len().saturating_mul(b.len()))?;
    Ok(median(a.iter().flat_map(|x| b.iter().map(move |y| x - y)).collect()))
}

/// The median of the means of all pairs of values, each also with itself (Walsh averages): a robust center of paired
/// differences.
///
/// # Errors
/// As [`hodges_lehmann`].
pub fn pseudomedian(values: &[f64]) -> Result<f64> {
    let values = finite_sample("the sample", values, 1)?;
    check_pairs(values.len().saturating_mul(values.len() + 1) / 2)?;
    let from = |i: usize| values[i..].iter().map(move |y| (i, *y));
    let averages = (0..values.len()).flat_map(from).map(|(i, y)| 0.5 * values[i] + 0.5 * y);
    Ok(median(averages.collect()))
}

fn check_pairs(pairs: usize) -> Result<()> {
    if pairs <= DIFFERENCES_MAX {
        return Ok(());
    }
    Err(AnalysisError::InvalidArgument {
        name: "samples",
        value: format!("{pairs} pairs"),
        expected: "at most ten million pairs of values; compare medians of so large samples",
    })
}

/// The median of values that are not empty and hold no NaN.
fn median(mut values: Vec<f64>) -> f64 {
    let middle = values.len() / 2;
    let upper = *values.select_nth_unstable_by(middle, f64::total_cmp).1;
    if values.len() % 2 == 1 {
        return upper;
    }
    let lower = values[..middle].iter().copied().fold(f64::NEG_INFINITY, f64::max);
    0.5 * lower + 0.5 * upper
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_even_and_odd_numbers() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(vec![7.0]), 7.0);
        assert_eq!(pseudomedian(&[1.0, 2.0, 9.0]).unwrap(), 3.5);
    }

    #[test]
    fn huge_samples_are_refused() {
        let many = vec![1.0; 4_000];
        assert_eq!(hodges_lehmann(&many, &many).unwrap_err().code(), "invalid_argument");
        assert_eq!(pseudomedian(&[]).unwrap_err().code(), "empty_sample");
    }
}
