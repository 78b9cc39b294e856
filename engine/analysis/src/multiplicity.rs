//! P-values adjusted for looking at several hypotheses together.

use crate::error::{AnalysisError, Result};

/// Holm's step-down adjustment (1979): controls the chance of any false finding. In input order.
///
/// # Errors
/// `nonfinite_value` for a NaN, `probability_out_of_range`. An empty list gives an empty list.
///
/// # Examples
/// ```
/// let adjusted = analysis::holm(&[0.01, 0.04, 0.03])?;
/// assert_eq!(adjusted, [0.03, 0.06, 0.06]);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn holm(p: &[f64]) -> Result<Vec<f64>> {
    let order = ascending(p)?;
    let mut adjusted = vec![0.0; p.len()];
    let mut largest = 0.0f64;
    for (rank, &i) in order.iter().enumerate() {
        largest = largest.max((p.len() - rank) as f64 * p[i]).min(1.0);
        adjusted[i] = largest;
    }
    Ok(adjusted)
}

/// Benjamini and Hochberg's step-up adjustment (1995): controls the expected share of false findings.
///
/// # Errors
/// As [`holm`].
pub fn benjamini_hochberg(p: &[f64]) -> Result<Vec<f64>> {
    let order = ascending(p)?;
    let mut adjusted = vec![0.0; p.len()];
    let mut smallest = 1.0f64;
    for (rank, &i) in order.iter().enumerate().rev() {
        smallest = smallest.min(p.len() as f64 / (rank + 1) as f64 * p[i]);
        adjusted[i] = smallest;
    }
    Ok(adjusted)
}

fn ascending(p: &[f64]) -> Result<Vec<usize>> {
    let nan_count = p.iter().filter(|p| p.is_nan()).count();
    if nan_count > 0 {
        return Err(AnalysisError::NonfiniteValue {
            sample: "the list of p-values".into(),
            count: nan_count,
        });
    }
    if let Some(value) = p.iter().find(|p| !(0.0..=1.0).contains(*p)) {
        return Err(AnalysisError::ProbabilityOutOfRange { name: "p", value: *value });
    }
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    Ok(order)
}
