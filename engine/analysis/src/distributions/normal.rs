//! The standard normal distribution.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use libm::erfc;
use statrs::function::erf::erfc_inv;

/// P(Z <= x) of a standard normal Z.
pub fn normal_cdf(x: f64) -> f64 {
    0.5 * erfc(-x * FRAC_1_SQRT_2)
}

/// P(Z > x) of a standard normal Z, accurate in the upper tail.
pub fn normal_sf(x: f64) -> f64 {
    0.5 * erfc(x * FRAC_1_SQRT_2)
}

/// The x with P(Z <= x) = p; infinite at p = 0 and 1, NaN outside [0, 1].
pub fn normal_quantile(p: f64) -> f64 {
    if p.is_nan() || !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    if p == 0.5 {
        return 0.0;
    }
    if p == 0.0 || p == 1.0 {
        return if p == 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let start = -std::f64::consts::SQRT_2 * erfc_inv(2.0 * p);
    // One Halley step removes what the rational approximation of the inverse leaves.
    let error = if start < 0.0 { normal_cdf(start) - p } else { (1.0 - p) - normal_sf(start) };
    let density = (-0.5 * start * start).exp() / (2.0 * PI).sqrt();
    if density == 0.0 || !start.is_finite() {
        return start;
    }
    let step = error / density;
    start - step / (1.0 + 0.5 * start * step)
}

/// ln P(Z <= x), finite also where the probability underflows.
pub(crate) fn ln_normal_cdf(x: f64) -> f64 {
    if x < -20.0 {
        // Asymptotic series of the Mills ratio (Abramowitz & Stegun 26.2.12); at -20 the sixth term is 1e-13.
        let inverse = 1.0 / (x * x);
        let mut term = 1.0;
        let mut sum = 1.0;
        for k in 0..10 {
            let next = -term * (2 * k + 1) as f64 * inverse;
            if next.abs() >= term.abs() || next.abs() < 1e-17 {
                break;
            }
            term = next;
            sum += term;
        }
        -0.5 * x * x - (-x).ln() - 0.5 * (2.0 * PI).ln() + sum.ln()
    } else if x > 5.0 {
        (-normal_sf(x)).ln_1p()
    } else {
        normal_cdf(x).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_keep_their_relative_accuracy() {
        // mpmath ncdf at 30 digits.
        for (x, expected) in
            [(-1.0, 0.15865525393145705), (-10.0, 7.619853024160527e-24), (-37.0, 5.725571222524577e-300)]
        {
            assert!((normal_cdf(x) / expected - 1.0).abs() < 1e-12, "{x}: {}", normal_cdf(x));
            assert!((ln_normal_cdf(x) - f64::ln(expected)).abs() < 1e-12, "{x}");
        }
        assert!((ln_normal_cdf(-50.0) + 1254.8313611394).abs() < 1e-9);
    }

    #[test]
    fn quantile_inverts_the_distribution() {
        for p in [1e-300, 1e-20, 0.001, 0.025, 0.3, 0.5, 0.9, 0.975, 0.9999] {
            let x = normal_quantile(p);
            assert!((normal_cdf(x) / p - 1.0).abs() < 1e-11, "{p} {x}");
        }
        assert!(normal_quantile(1.1).is_nan());
        assert_eq!(normal_quantile(0.0), f64::NEG_INFINITY);
    }
}
