//! The chi-squared distribution.

use statrs::function::gamma::{checked_gamma_lr, checked_gamma_ur};

use super::normal::normal_quantile;
use super::roots::root;

/// P(X <= x) with `df` degrees of freedom; NaN for `df <= 0`.
pub fn chi_squared_cdf(x: f64, df: f64) -> f64 {
    if x <= 0.0 {
        return if df > 0.0 { 0.0 } else { f64::NAN };
    }
    if x == f64::INFINITY {
        return 1.0;
    }
    checked_gamma_lr(0.5 * df, 0.5 * x).unwrap_or(f64::NAN)
}

/// P(X > x) with `df` degrees of freedom; NaN for `df <= 0`.
pub fn chi_squared_sf(x: f64, df: f64) -> f64 {
    if x <= 0.0 {
        return if df > 0.0 { 1.0 } else { f64::NAN };
    }
    if x == f64::INFINITY {
        return 0.0;
    }
    checked_gamma_ur(0.5 * df, 0.5 * x).unwrap_or(f64::NAN)
}

/// The x with P(X <= x) = p; NaN where an argument is out of range.
pub fn chi_squared_quantile(p: f64, df: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) || df.is_nan() || df <= 0.0 {
        return f64::NAN;
    }
    if p == 0.0 || p == 1.0 {
        return if p == 0.0 { 0.0 } else { f64::INFINITY };
    }
    let objective = |x: f64| chi_squared_cdf(x, df) - p;
    // Wilson & Hilferty 1931 gives the scale of the bracket.
    let spread = 2.0 / (9.0 * df);
    let guess = df * (1.0 - spread + normal_quantile(p) * spread.sqrt()).max(0.01).powi(3);
    let mut low = guess;
    while objective(low) > 0.0 && low > f64::MIN_POSITIVE {
        low *= 0.5;
    }
    let mut high = guess.max(1e-3);
    while objective(high) < 0.0 {
        high *= 2.0;
    }
    root(low, high, objective)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_degrees_are_exponential() {
        for p in [1e-6f64, 0.2, 0.5, 0.95] {
            let expected = -2.0 * (-p).ln_1p();
            assert!((chi_squared_quantile(p, 2.0) / expected - 1.0).abs() < 1e-12, "{p}");
        }
        assert!((chi_squared_sf(50.0, 2.0) / (-25.0f64).exp() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn quantile_inverts_the_distribution() {
        for df in [0.7, 1.0, 4.0, 38.0, 9998.0] {
            for p in [0.001, 0.2, 0.8, 0.999] {
                let x = chi_squared_quantile(p, df);
                assert!((chi_squared_cdf(x, df) / p - 1.0).abs() < 1e-10, "{df} {p}");
            }
        }
    }
}
