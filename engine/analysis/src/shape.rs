//! Other centers of one sample, and the shape of its distribution.

use serde::Serialize;

use crate::describe::finite_sample;
use crate::error::{AnalysisError, Result};
use crate::moments::{Compensated, Moments};

/// Centers and shape of one sample of finite values. `None` where a quantity is undefined.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Shape {
    /// Geometric mean; only of values above 0.
    pub geometric_mean: Option<f64>,
    /// Harmonic mean; only of values above 0.
    pub harmonic_mean: Option<f64>,
    /// Skewness of the values themselves, g1.
    pub skewness_biased: Option<f64>,
    /// Excess kurtosis of the values themselves, g2.
    pub kurtosis_biased: Option<f64>,
    /// Its estimate for a population, G2; from four values.
    pub kurtosis: Option<f64>,
}

/// The shape of a sample.
///
/// # Errors
/// `empty_sample`, `nonfinite_value`.
///
/// # Examples
/// ```
/// let shape = analysis::shape(&[1.0, 2.0, 4.0])?;
/// assert!((shape.geometric_mean.unwrap() - 2.0).abs() < 1e-15);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn shape(values: &[f64]) -> Result<Shape> {
    let sorted = finite_sample("the sample", values, 1)?;
    let n = sorted.len() as f64;
    let mean_of = |of: fn(f64) -> f64| {
        let mut sum = Compensated::default();
        sorted.iter().for_each(|v| sum.add(of(*v)));
        sum.value() / n
    };
    let positive = sorted[0] > 0.0;
    let moments = Moments::of(&sorted);
    let standardized = |power: i32| {
        let (mean, sd) = (moments.mean()?, moments.standard_deviation()? * ((n - 1.0) / n).sqrt());
        if sd == 0.0 || !sd.is_finite() {
            return None;
        }
        let mut sum = Compensated::default();
        sorted.iter().for_each(|v| sum.add(((v - mean) / sd).powi(power)));
        Some(sum.value() / n)
    };
    let kurtosis_biased = standardized(4).map(|kurtosis| kurtosis - 3.0);
    Ok(Shape {
        geometric_mean: positive.then(|| mean_of(f64::ln).exp()),
        harmonic_mean: positive.then(|| 1.0 / mean_of(f64::recip)),
        skewness_biased: standardized(3),
        kurtosis_biased,
        kurtosis: kurtosis_biased
            .filter(|_| n > 3.0)
            .map(|g2| (n - 1.0) / ((n - 2.0) * (n - 3.0)) * ((n + 1.0) * g2 + 6.0)),
    })
}

/// The mean after the floor(`share` n) smallest values were set to the next larger one, and the largest likewise.
///
/// # Errors
/// `empty_sample`, `nonfinite_value`, `probability_out_of_range` unless 0 <= share < 1/2.
pub fn winsorized_mean(values: &[f64], share: f64) -> Result<f64> {
    if !(0.0..0.5).contains(&share) {
        return Err(AnalysisError::ProbabilityOutOfRange { name: "share", value: share });
    }
    Ok(Moments::of(&winsorized(values, share)?).mean().unwrap_or(f64::NAN))
}

/// The values in ascending order, `share` of each end pulled in.
pub(crate) fn winsorized(values: &[f64], share: f64) -> Result<Vec<f64>> {
    let mut sorted = finite_sample("the sample", values, 1)?;
    let cut = (share * sorted.len() as f64).floor() as usize;
    let (low, high) = (sorted[cut], sorted[sorted.len() - 1 - cut]);
    sorted.iter_mut().for_each(|v| *v = v.clamp(low, high));
    Ok(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_and_negative_samples_have_less_shape() {
        let constant = shape(&[0.1; 5]).unwrap();
        assert_eq!((constant.skewness_biased, constant.kurtosis), (None, None));
        assert!((constant.harmonic_mean.unwrap() - 0.1).abs() < 1e-16);
        assert_eq!(shape(&[-1.0, 1.0]).unwrap().geometric_mean, None);
        assert_eq!(shape(&[]).unwrap_err().code(), "empty_sample");
    }

    #[test]
    fn the_ends_are_pulled_in() {
        assert_eq!(winsorized_mean(&[1.0, 2.0, 3.0, 4.0, 100.0], 0.2).unwrap(), 3.0);
        assert_eq!(winsorized_mean(&[1.0], 0.5).unwrap_err().code(), "probability_out_of_range");
    }
}
