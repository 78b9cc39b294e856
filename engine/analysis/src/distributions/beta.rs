//! The regularized incomplete beta function.

use std::f64::consts::PI;

use statrs::function::gamma::ln_gamma;

use super::roots::root;

/// ln Gamma(x) minus Stirling's leading terms, for x >= 10.
///
/// Differences of ln Gamma at large arguments lose all digits; differences of this correction do not.
pub(crate) fn ln_gamma_correction(x: f64) -> f64 {
    // Coefficients B(2k) / (2k (2k-1)) of Stirling's series (DLMF 5.11.1).
    const COEFFICIENTS: [f64; 6] =
        [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0, -691.0 / 360_360.0];
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    COEFFICIENTS.iter().rev().fold(0.0, |sum, c| sum * square + c) * inverse
}

/// ln B(a, b) for a, b > 0, without cancellation at large arguments (Fullerton, SLATEC `dlbeta`).
pub(crate) fn ln_beta(a: f64, b: f64) -> f64 {
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    if small >= 10.0 {
        let correction =
            ln_gamma_correction(small) + ln_gamma_correction(large) - ln_gamma_correction(small + large);
        -0.5 * large.ln()
            + 0.5 * (2.0 * PI).ln()
            + correction
            + (small - 0.5) * (small / (small + large)).ln()
            + large * (-small / (small + large)).ln_1p()
    } else if large >= 10.0 {
        let correction = ln_gamma_correction(large) - ln_gamma_correction(small + large);
        ln_gamma(small) + correction + small - small * (small + large).ln()
            + (large - 0.5) * (-small / (small + large)).ln_1p()
    } else {
        ln_gamma(small) + (ln_gamma(large) - ln_gamma(small + large))
    }
}

/// I_x(a, b) for `x` and its complement `y = 1 - x`, both given so that neither loses digits near 0.
pub(crate) fn regularized_beta_pair(a: f64, b: f64, x: f64, y: f64) -> f64 {
    if a.is_nan() || b.is_nan() || x.is_nan() || a <= 0.0 || b <= 0.0 {
        return f64::NAN;
    }
    if x <= 0.0 {
        return 0.0;
    }
    if y <= 0.0 {
        return 1.0;
    }
    // The continued fraction converges quickly on this side of the mean (Numerical Recipes 6.4).
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - lower_beta(b, a, y, x);
    }
    lower_beta(a, b, x, y)
}

fn lower_beta(a: f64, b: f64, x: f64, y: f64) -> f64 {
    let ln_x = if x > 0.5 { (-y).ln_1p() } else { x.ln() };
    let ln_y = if y > 0.5 { (-x).ln_1p() } else { y.ln() };
    let ln_front = a * ln_x + b * ln_y - ln_beta(a, b) - a.ln();
    ln_front.exp() * continued_fraction(a, b, x)
}

/// Lentz's evaluation of the continued fraction DLMF 8.17.22.
fn continued_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let guard = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    // Convergence takes about sqrt(max(a, b)) terms; the limit covers arguments up to 1e10.
    for m in 1..200_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a - 1.0 + 2.0 * m) * (a + 2.0 * m));
        d = 1.0 / guard(1.0 + even * d);
        c = guard(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 1.0 + 2.0 * m));
        d = 1.0 / guard(1.0 + odd * d);
        c = guard(1.0 + odd / c);
        let factor = d * c;
        fraction *= factor;
        if (factor - 1.0).abs() < 1e-16 {
            break;
        }
    }
    fraction
}

/// The regularized incomplete beta function I_x(a, b), for a, b > 0 and x in [0, 1].
///
/// NaN where an argument is out of range.
pub fn regularized_beta(a: f64, b: f64, x: f64) -> f64 {
    if !(0.0..=1.0).contains(&x) {
        return f64::NAN;
    }
    regularized_beta_pair(a, b, x, 1.0 - x)
}

/// The x with I_x(a, b) = p; NaN where an argument is out of range.
pub fn beta_quantile(a: f64, b: f64, p: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) || a.is_nan() || b.is_nan() || a <= 0.0 || b <= 0.0 {
        return f64::NAN;
    }
    if p == 0.0 || p == 1.0 {
        return p;
    }
    let mean = a / (a + b);
    if regularized_beta(a, b, mean) < p {
        // Solve for the complement, which is the small side.
        return 1.0 - solve_lower(b, a, 1.0 - p);
    }
    solve_lower(a, b, p)
}

fn solve_lower(a: f64, b: f64, p: f64) -> f64 {
    // In ln x the function is nearly linear in the lower tail.
    let objective = |ln_x: f64| {
        let x = ln_x.exp();
        regularized_beta_pair(a, b, x, -ln_x.exp_m1()).ln() - p.ln()
    };
    let mut low = -1.0;
    while objective(low) > 0.0 {
        low *= 2.0;
        if low < -700.0 {
            return 0.0;
        }
    }
    root(low, 0.0, objective).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_forms_hold() {
        for x in [1e-12, 0.01, 0.3, 0.5, 0.77, 0.999] {
            assert!((regularized_beta(1.0, 1.0, x) / x - 1.0).abs() < 1e-13);
            assert!((regularized_beta(3.0, 1.0, x) / x.powi(3) - 1.0).abs() < 1e-13);
            let binomial = 1.0 - (1.0 - x).powi(5);
            assert!((regularized_beta(1.0, 5.0, x) - binomial).abs() < 1e-14);
        }
    }

    #[test]
    fn complement_and_quantile_agree_up_to_large_arguments() {
        for (a, b) in [(0.5, 0.5), (2.5, 0.5), (4.0, 3.0), (50.0, 1.0), (5000.0, 0.5), (4083.0, 5918.0)] {
            for p in [1e-12, 0.025, 0.5, 0.95] {
                let x = beta_quantile(a, b, p);
                let back = regularized_beta(a, b, x);
                assert!((back / p - 1.0).abs() < 1e-9, "{a} {b} {p}: {x} {back}");
                let whole = back + regularized_beta_pair(b, a, 1.0 - x, x);
                assert!((whole - 1.0).abs() < 1e-10, "{a} {b} {p}");
            }
        }
    }

    #[test]
    fn arguments_out_of_range_give_nan() {
        assert!(regularized_beta(0.0, 1.0, 0.5).is_nan());
        assert!(regularized_beta(1.0, 1.0, 1.5).is_nan());
        assert!(beta_quantile(1.0, 1.0, -0.1).is_nan());
    }
}
