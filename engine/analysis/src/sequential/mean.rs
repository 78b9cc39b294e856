//! Confidence sequences of a mean: known spread, unknown spread, and for large samples.

use serde::Serialize;

use crate::error::{AnalysisError, Result};
use crate::moments::Moments;

use super::{check_alpha, check_positive};

/// A mean with an interval that holds at all times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MeanSequence {
    /// Values so far.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Half the width of the interval; infinite while too few values exclude any mean.
    pub half_width: f64,
}

impl MeanSequence {
    /// Of values with these moments; one value alone excludes no mean.
    fn of(moments: &Moments, reach: impl Fn(&Moments) -> f64) -> Self {
        let count = moments.count();
        let half_width = if count < 2 { f64::INFINITY } else { reach(moments) };
        Self { count, mean: moments.mean().unwrap_or(0.0), half_width }
    }

    /// Both ends of the interval.
    pub fn interval(&self) -> [f64; 2] {
        [self.mean - self.half_width, self.mean + self.half_width]
    }

    /// The interval does not hold `reference`.
    pub fn excludes(&self, reference: f64) -> bool {
        let [low, high] = self.interval();
        reference < low || reference > high
    }
}

/// The t-mixture confidence sequence of a normal mean with unknown spread (Wang & Ramdas 2023): right-Haar over the
/// standard deviation, N(0, `g`) over the standardized mean. It may be looked at after every value.
///
/// half width = s / sqrt(n) sqrt((n - 1) (c - 1) / (1 - c / K)), K = 1 + n g, c = (K / alpha^2)^(1/n); infinite
/// while c >= K. The default `g` is 1.
///
/// # Errors
/// `alpha_out_of_range`, `invalid_argument` (g), `nonfinite_value`, `too_few_runs` (fewer than two values).
///
/// # Examples
/// ```
/// use analysis::sequential::t_mixture;
/// let values = [1.4137, 1.1415, 0.5764, 0.5896, 1.5147, 0.177, 0.5023, 0.4904, -0.1963, 0.7945];
/// assert!(t_mixture(&values, 1.0, 0.05)?.excludes(0.0));
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn t_mixture(values: &[f64], g: f64, alpha: f64) -> Result<MeanSequence> {
    check_alpha(alpha)?;
    check_positive("g", g)?;
    Ok(MeanSequence::of(&spread(values)?, |moments| t_mixture_reach(moments, g, alpha)))
}

/// The interval of [`t_mixture`] after each value; the first value alone excludes no mean.
///
/// # Errors
/// `alpha_out_of_range`, `invalid_argument` (g), `nonfinite_value`.
pub fn t_mixture_sequence(values: &[f64], g: f64, alpha: f64) -> Result<Vec<MeanSequence>> {
    check_alpha(alpha)?;
    check_positive("g", g)?;
    let interval =
        |moments: &Moments| MeanSequence::of(moments, |moments| t_mixture_reach(moments, g, alpha));
    Ok(running_moments(values)?.map(|moments| interval(&moments)).collect())
}

fn t_mixture_reach(moments: &Moments, g: f64, alpha: f64) -> f64 {
    let n = moments.count() as f64;
    let mixed = 1.0 + n * g;
    let c = ((mixed.ln() - 2.0 * alpha.ln()) / n).exp();
    if c >= mixed {
        return f64::INFINITY;
    }
    deviation(moments) / n.sqrt() * ((n - 1.0) * (c - 1.0) / (1.0 - c / mixed)).sqrt()
}

/// The logarithm of the e-value of [`t_mixture`] against a mean of `reference`: above ln(1/alpha) it is rejected.
///
/// # Errors
/// As [`t_mixture`], and `zero_variance`.
pub fn t_mixture_log_e(values: &[f64], reference: f64, g: f64) -> Result<f64> {
    check_positive("g", g)?;
    let moments = spread(values)?;
    let difference = moments.mean().unwrap_or(0.0) - reference;
    log_e_of(&moments, reference, g).ok_or(AnalysisError::ZeroVariance { difference })
}

/// The logarithm of the e-value of [`t_mixture_log_e`] after each value: 0 after the first, which is no evidence, and
/// `None` while all values are equal.
///
/// # Errors
/// `invalid_argument` (g), `nonfinite_value`.
pub fn t_mixture_log_e_sequence(values: &[f64], reference: f64, g: f64) -> Result<Vec<Option<f64>>> {
    check_positive("g", g)?;
    let log_e = |moments: Moments| match moments.count() {
        1 => Some(0.0),
        _ => log_e_of(&moments, reference, g),
    };
    Ok(running_moments(values)?.map(log_e).collect())
}

fn log_e_of(moments: &Moments, reference: f64, g: f64) -> Option<f64> {
    let deviation = deviation(moments);
    let n = moments.count() as f64;
    let mixed = 1.0 + n * g;
    let square = n * ((moments.mean()? - reference) / deviation).powi(2) / (n - 1.0);
    let log_e = 0.5 * n * (square.ln_1p() - (square / mixed).ln_1p()) - 0.5 * mixed.ln();
    (deviation > 0.0).then_some(log_e)
}

fn spread(values: &[f64]) -> Result<Moments> {
    Ok(Moments::of(&crate::describe::finite_sample("the sample", values, 2)?))
}

/// The moments of what came so far, after each value.
fn running_moments(values: &[f64]) -> Result<impl Iterator<Item = Moments> + '_> {
    check_finite(values)?;
    let mut so_far = Moments::of(&[]);
    Ok(values.iter().map(move |value| {
        so_far = so_far.merge(&Moments::of(&[*value]));
        so_far
    }))
}

fn deviation(moments: &Moments) -> f64 {
    moments.standard_deviation().unwrap_or(0.0)
}

fn check_finite(values: &[f64]) -> Result<()> {
    match values.iter().filter(|v| !v.is_finite()).count() {
        0 => Ok(()),
        count => Err(AnalysisError::NonfiniteValue { sample: "the sample".into(), count }),
    }
}

/// The logarithm of the likelihood ratio of a normal mixture N(0, `tau_squared`) over the mean against a mean of 0,
/// with known variance: the mixture sequential probability ratio test (Johari et al. 2017).
///
/// # Errors
/// `invalid_argument` unless both variances are above 0, `nonfinite_value`.
pub fn normal_mixture_log_e(values: &[f64], sigma_squared: f64, tau_squared: f64) -> Result<f64> {
    let ratios = normal_mixture_log_e_sequence(values, sigma_squared, tau_squared)?;
    Ok(ratios.last().copied().unwrap_or(0.0))
}

/// The always-valid p-value after each value: the smallest 1 / ratio so far, at most 1.
///
/// # Errors
/// As [`normal_mixture_log_e`].
pub fn normal_mixture_p_values(values: &[f64], sigma_squared: f64, tau_squared: f64) -> Result<Vec<f64>> {
    let mut smallest = 1.0f64;
    let lowered = |ln_ratio: f64| {
        smallest = smallest.min((-ln_ratio).exp());
        smallest
    };
    Ok(normal_mixture_log_e_sequence(values, sigma_squared, tau_squared)?.into_iter().map(lowered).collect())
}

/// The logarithm of the ratio of [`normal_mixture_log_e`] after each value.
///
/// # Errors
/// As [`normal_mixture_log_e`].
pub fn normal_mixture_log_e_sequence(
    values: &[f64],
    sigma_squared: f64,
    tau_squared: f64,
) -> Result<Vec<f64>> {
    check_positive("sigma_squared", sigma_squared)?;
    check_positive("tau_squared", tau_squared)?;
    check_finite(values)?;
    let mut sum = 0.0;
    let ratio = |(i, value): (usize, &f64)| {
        sum += value;
        let total = sigma_squared + (i + 1) as f64 * tau_squared;
        0.5 * (sigma_squared / total).ln() + 0.5 * sum * sum * tau_squared / (sigma_squared * total)
    };
    Ok(values.iter().enumerate().map(ratio).collect())
}

/// Half the width of the asymptotic confidence sequence (Waudby-Smith et al. 2024, theorem 2.2), tuned by
/// `rho_squared`. It holds for large samples only: below ten values 8-10 % fall outside at a level of 5 %.
///
/// # Errors
/// As [`t_mixture`].
pub fn asymptotic_half_width(values: &[f64], rho_squared: f64, alpha: f64) -> Result<f64> {
    check_alpha(alpha)?;
    check_positive("rho_squared", rho_squared)?;
    Ok(asymptotic_reach(&spread(values)?, rho_squared, alpha))
}

/// The interval with the half width of [`asymptotic_half_width`] after each value; the first value alone excludes no
/// mean.
///
/// # Errors
/// `alpha_out_of_range`, `invalid_argument` (rho_squared), `nonfinite_value`.
pub fn asymptotic_sequence(values: &[f64], rho_squared: f64, alpha: f64) -> Result<Vec<MeanSequence>> {
    check_alpha(alpha)?;
    check_positive("rho_squared", rho_squared)?;
    let interval = |moments: &Moments| {
        MeanSequence::of(moments, |moments| asymptotic_reach(moments, rho_squared, alpha))
    };
    Ok(running_moments(values)?.map(|moments| interval(&moments)).collect())
}

fn asymptotic_reach(moments: &Moments, rho_squared: f64, alpha: f64) -> f64 {
    let n = moments.count() as f64;
    let deviation = deviation(moments) * ((n - 1.0) / n).sqrt();
    let scaled = n * rho_squared + 1.0;
    deviation * (2.0 * scaled / (n * n * rho_squared) * (scaled.sqrt() / alpha).ln()).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_after_each_value_is_that_of_the_values_so_far() {
        let values = [0.3, 0.3, 0.4, 1.1, 0.2, 0.8, 0.5, 0.7];
        let near = |a: f64, b: f64| a == b || (a - b).abs() < 1e-12;
        let exact = t_mixture_sequence(&values, 1.0, 0.05).unwrap();
        let asymptotic = asymptotic_sequence(&values, 0.3, 0.05).unwrap();
        let evidence = t_mixture_log_e_sequence(&values, 0.1, 1.0).unwrap();
        assert!(exact[0].half_width.is_infinite() && asymptotic[0].half_width.is_infinite());
        assert_eq!(evidence[..2], [Some(0.0), None]);
        for n in 2..=values.len() {
            let so_far = &values[..n];
            assert!(near(exact[n - 1].half_width, t_mixture(so_far, 1.0, 0.05).unwrap().half_width));
            let half = asymptotic_half_width(so_far, 0.3, 0.05).unwrap();
            assert!(near(asymptotic[n - 1].half_width, half));
            match t_mixture_log_e(so_far, 0.1, 1.0) {
                Ok(log_e) => assert!(near(evidence[n - 1].unwrap(), log_e)),
                Err(error) => assert_eq!((error.code(), evidence[n - 1]), ("zero_variance", None)),
            }
        }
        assert_eq!(t_mixture_sequence(&[f64::NAN], 1.0, 0.05).unwrap_err().code(), "nonfinite_value");
    }

    #[test]
    fn the_interval_ends_where_the_evidence_reaches_its_limit() {
        let values = [0.3, 0.9, 0.4, 1.1, 0.2, 0.8, 0.5, 0.7];
        let sequence = t_mixture(&values, 1.0, 0.05).unwrap();
        for end in sequence.interval() {
            let log_e = t_mixture_log_e(&values, end, 1.0).unwrap();
            assert!((log_e - 20f64.ln()).abs() < 1e-10, "{log_e}");
        }
    }

    #[test]
    fn two_values_exclude_nothing() {
        assert_eq!(t_mixture(&[1.0, 1.1], 1.0, 0.05).unwrap().half_width, f64::INFINITY);
        assert_eq!(t_mixture(&[1.0], 1.0, 0.05).unwrap_err().code(), "too_few_runs");
        assert_eq!(t_mixture_log_e(&[1.0, 1.0], 0.0, 1.0).unwrap_err().code(), "zero_variance");
        assert_eq!(normal_mixture_p_values(&[0.0], 0.0, 1.0).unwrap_err().code(), "invalid_argument");
        assert_eq!(normal_mixture_log_e(&[], 1.0, 1.0).unwrap(), 0.0);
    }
}
