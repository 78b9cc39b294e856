//! Looking again and again without being fooled: confidence sequences, spending of alpha, e-values.
//!
//! An interval of a fixed size holds at one look. What is here holds at every look at once (always-valid inference,
//! Robbins 1970; Howard et al. 2021), or shares the error rate among looks that were planned (Lan & DeMets 1983).

mod boundaries;
mod bounded;
mod mean;
mod spending;

pub use boundaries::{gamma_exponential_bound, normal_mixture_bound, rate_sequence, stitched_bound};
pub use bounded::{
    BoundedSequence, Guess, betting_sequence, empirical_bernstein_sequence, hoeffding_sequence,
};
pub use mean::{
    MeanSequence, asymptotic_half_width, asymptotic_sequence, normal_mixture_log_e,
    normal_mixture_log_e_sequence, normal_mixture_p_values, t_mixture, t_mixture_log_e,
    t_mixture_log_e_sequence, t_mixture_sequence,
};
pub use spending::{GroupSequential, SpendingFunction, constant_boundary, group_sequential};

use crate::error::{AnalysisError, Result};

/// The hypotheses that the e-BH procedure rejects at false discovery rate `alpha` (Wang & Ramdas 2022), as indices in
/// ascending order. It needs no independence.
///
/// # Errors
/// `alpha_out_of_range`, `nonfinite_value` (NaN), `invalid_argument` (a negative e-value).
///
/// # Examples
/// ```
/// assert_eq!(analysis::sequential::e_bh(&[40.0, 0.5, 25.0, 1.0], 0.1)?, [0, 2]);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn e_bh(e_values: &[f64], alpha: f64) -> Result<Vec<usize>> {
    if !(alpha > 0.0 && alpha < 1.0) {
        let expected = "above 0 and below 1";
        return Err(AnalysisError::AlphaOutOfRange { name: "alpha", value: alpha, expected });
    }
    let count = e_values.iter().filter(|e| e.is_nan()).count();
    if count > 0 {
        return Err(AnalysisError::NonfiniteValue { sample: "the e-values".into(), count });
    }
    if let Some(e) = e_values.iter().find(|e| **e < 0.0) {
        let expected = "0 or more";
        return Err(AnalysisError::InvalidArgument { name: "e-value", value: e.to_string(), expected });
    }
    let mut order: Vec<usize> = (0..e_values.len()).collect();
    order.sort_by(|&a, &b| e_values[b].total_cmp(&e_values[a]));
    let m = e_values.len() as f64;
    let found = (1..=order.len()).rev().find(|&k| e_values[order[k - 1]] >= m / (k as f64 * alpha));
    let mut rejected = order[..found.unwrap_or(0)].to_vec();
    rejected.sort_unstable();
    Ok(rejected)
}

/// Evidence of independent experiments on one hypothesis: the logarithm of the product of their e-values.
pub fn combined_log_e(e_values: &[f64]) -> f64 {
    e_values.iter().map(|e| e.ln()).sum()
}

pub(crate) fn check_alpha(alpha: f64) -> Result<()> {
    if alpha > 0.0 && alpha < 1.0 {
        return Ok(());
    }
    Err(AnalysisError::AlphaOutOfRange { name: "alpha", value: alpha, expected: "above 0 and below 1" })
}

pub(crate) fn check_positive(name: &'static str, value: f64) -> Result<()> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(AnalysisError::InvalidArgument {
        name,
        value: value.to_string(),
        expected: "a finite number above 0",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e_values_below_one_reject_nothing() {
        assert!(e_bh(&[0.5, 0.9, 1.0], 0.1).unwrap().is_empty());
        assert!(e_bh(&[], 0.1).unwrap().is_empty());
        assert_eq!(e_bh(&[f64::INFINITY, 0.0], 0.1).unwrap(), [0]);
        assert_eq!(e_bh(&[-1.0], 0.1).unwrap_err().code(), "invalid_argument");
        assert_eq!(e_bh(&[f64::NAN], 0.1).unwrap_err().code(), "nonfinite_value");
        assert!((combined_log_e(&[2.0, 0.5]) - 0.0).abs() < 1e-15);
    }
}
