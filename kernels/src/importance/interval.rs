//! From one number for each resample to an estimate with an interval.

use libm::erfc;
use statrs::function::beta::beta_reg;
use statrs::function::erf::erfc_inv;

/// An estimate, its standard error and its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) value: f64,
    pub(crate) se: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Estimate {
    pub(crate) const ABSENT: Self = Self { value: f64::NAN, se: f64::NAN, low: f64::NAN, high: f64::NAN };

    /// A number without spread.
    pub(crate) fn exact(value: f64) -> Self {
        Self { value, se: 0.0, low: value, high: value }
    }

    /// The mean over trees that were each fitted on a resample of the trials, with their standard
    /// deviation as its standard error. That is the bootstrap's standard error of one tree, which
    /// the mean over trees does not exceed (Efron 2014), so that the interval is on the safe side.
    /// Ends are clipped to `bounds`.
    pub(crate) fn of_trees(replicates: &[f64], level: f64, bounds: (f64, f64)) -> Self {
        let n = replicates.len() as f64;
        let value = replicates.iter().sum::<f64>() / n;
        if replicates.len() < 2 {
            return Self { value, ..Self::ABSENT };
        }
        let se = (replicates.iter().map(|t| (t - value) * (t - value)).sum::<f64>() / (n - 1.0)).sqrt();
        Self::normal(value, se, level, bounds)
    }

    /// An estimate from the sample itself, with the standard deviation of its replicates.
    pub(crate) fn of_resamples(value: f64, replicates: &[f64], level: f64, bounds: (f64, f64)) -> Self {
        let Self { se, .. } = Self::of_trees(replicates, level, bounds);
        Self::normal(value, se, level, bounds)
    }

    fn normal(value: f64, se: f64, level: f64, (lowest, highest): (f64, f64)) -> Self {
        if se.is_nan() {
            return Self { value, ..Self::ABSENT };
        }
        let half = normal_quantile(0.5 + level / 2.0) * se;
        Self { value, se, low: (value - half).max(lowest), high: (value + half).min(highest) }
    }
}

/// Quantile of the standard normal distribution.
pub(crate) fn normal_quantile(probability: f64) -> f64 {
    let start = -std::f64::consts::SQRT_2 * erfc_inv(2.0 * probability);
    // One step of Newton's method removes what the approximation leaves.
    let error = normal_below(start) - probability;
    let density = libm::exp(-start * start / 2.0) / (2.0 * std::f64::consts::PI).sqrt();
    if density > 0.0 && error.is_finite() { start - error / density } else { start }
}

/// Probability of the standard normal distribution below a value.
pub(crate) fn normal_below(value: f64) -> f64 {
    0.5 * erfc(-value * std::f64::consts::FRAC_1_SQRT_2)
}

/// Probability of Student's distribution above a value that is not negative.
fn student_above(value: f64, freedom: f64) -> f64 {
    0.5 * beta_reg(freedom / 2.0, 0.5, freedom / (freedom + value * value))
}

/// Quantile of Student's distribution for a probability of at least one half.
pub(crate) fn student_quantile(probability: f64, freedom: f64) -> f64 {
    let tail = 1.0 - probability;
    let (mut low, mut high) = (0.0, 1.0);
    while student_above(high, freedom) > tail && high < 1e300 {
        (low, high) = (high, high * 2.0);
    }
    for _ in 0..200 {
        let middle = low / 2.0 + high / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if student_above(middle, freedom) > tail { low = middle } else { high = middle }
    }
    low / 2.0 + high / 2.0
}

/// Probability of the chi-squared distribution above a value.
pub(crate) fn chi_squared_above(value: f64, freedom: f64) -> f64 {
    if value <= 0.0 { 1.0 } else { statrs::function::gamma::gamma_ur(freedom / 2.0, value / 2.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        assert!((normal_quantile(0.975) - 1.959_963_984_540_054).abs() < 1e-12);
        for (probability, freedom, expected) in [
            (0.975, 1.0, 12.706_204_736_432_1),
            (0.975, 4.0, 2.776_445_105_197_79),
            (0.95, 30.0, 1.697_260_886_593_57),
            (0.9995, 2.0, 31.599_054_576_446_5),
        ] {
            let got = student_quantile(probability, freedom);
            assert!((got - expected).abs() < 1e-9 * expected, "{freedom}: {got}");
        }
        assert!((chi_squared_above(3.841_458_820_694_124, 1.0) - 0.05).abs() < 1e-9);
    }

    #[test]
    fn the_interval_of_trees_holds_their_mean_and_stays_in_bounds() {
        let estimate = Estimate::of_trees(&[0.1, 0.2, 0.3], 0.95, (0.0, 1.0));
        assert!((estimate.value - 0.2).abs() < 1e-15 && (estimate.se - 0.1).abs() < 1e-15);
        assert!((estimate.low - 0.004).abs() < 1e-4, "{estimate:?}");
        assert_eq!(Estimate::of_trees(&[0.0, 0.5], 0.99, (0.0, 1.0)).low, 0.0);
        assert!(Estimate::of_trees(&[0.3], 0.95, (0.0, 1.0)).low.is_nan());
    }
}
