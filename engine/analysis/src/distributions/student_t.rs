//! Student's t distribution.

use super::beta::{ln_beta, regularized_beta_pair};
use super::normal::normal_quantile;
use super::roots::root;

/// P(T > t) with `df` degrees of freedom (not necessarily whole), accurate in the upper tail.
///
/// NaN for `df <= 0` or NaN arguments.
pub fn student_t_sf(t: f64, df: f64) -> f64 {
    if t.is_nan() || df.is_nan() || df <= 0.0 {
        return f64::NAN;
    }
    if t.is_infinite() {
        return if t > 0.0 { 0.0 } else { 1.0 };
    }
    let upper = 0.5 * two_tails(t.abs(), df);
    if t >= 0.0 { upper } else { 1.0 - upper }
}

/// P(T <= t) with `df` degrees of freedom, accurate in the lower tail.
pub fn student_t_cdf(t: f64, df: f64) -> f64 {
    student_t_sf(-t, df)
}

/// I_x(df/2, 1/2) at x = df / (df + t^2): the probability outside (-t, t).
fn two_tails(t: f64, df: f64) -> f64 {
    let ratio = t / df.sqrt();
    if ratio > 1e150 {
        // t^2 overflows; the leading term of the tail is exact here.
        return (df * (1.0 / ratio).ln() - ln_beta(0.5 * df, 0.5) - (0.5 * df).ln()).exp();
    }
    let square = ratio * ratio;
    regularized_beta_pair(0.5 * df, 0.5, 1.0 / (1.0 + square), square / (1.0 + square))
}

/// The density of Student's t at `t` with `df` degrees of freedom.
pub fn student_t_pdf(t: f64, df: f64) -> f64 {
    (-0.5 * (df + 1.0) * (t * t / df).ln_1p() - ln_beta(0.5 * df, 0.5) - 0.5 * df.ln()).exp()
}

/// The t with P(T <= t) = p with `df` degrees of freedom; infinite at p = 0 and 1.
///
/// # Examples
/// ```
/// let t = analysis::distributions::student_t_quantile(0.975, 4.0);
/// assert!((t - 2.7764451051977987).abs() < 1e-13);
/// ```
pub fn student_t_quantile(p: f64, df: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) || df.is_nan() || df <= 0.0 {
        return f64::NAN;
    }
    if p == 0.5 {
        return 0.0;
    }
    if p > 0.5 {
        return upper_quantile(1.0 - p, df);
    }
    -upper_quantile(p, df)
}

/// The t with P(T > t) = p, for p < 1/2.
fn upper_quantile(p: f64, df: f64) -> f64 {
    if p == 0.0 {
        return f64::INFINITY;
    }
    let target = p.ln();
    let objective = |t: f64| student_t_sf(t, df).ln() - target;
    let mut high = -normal_quantile(p) + 1e-3;
    while objective(high) > 0.0 {
        high *= 2.0;
        if high > 1e300 {
            return f64::INFINITY;
        }
    }
    root(0.0, high, objective)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cauchy_and_two_degrees_have_closed_forms() {
        for t in [0.0f64, 1e-9, 0.3, 1.0, 7.0, 1e6, 1e160] {
            let cauchy = if t > 1.0 { (1.0 / t).atan() } else { 0.5 * std::f64::consts::PI - t.atan() };
            let expected = cauchy / std::f64::consts::PI;
            assert!((student_t_sf(t, 1.0) / expected - 1.0).abs() < 1e-12, "{t}");
        }
        for t in [0.1f64, 1.0, 3.0] {
            let expected = 0.5 * (1.0 - t / (2.0 + t * t).sqrt());
            assert!((student_t_sf(t, 2.0) / expected - 1.0).abs() < 1e-12, "{t}");
        }
    }

    #[test]
    fn deep_tails_do_not_underflow_early() {
        // Not only above zero: the tail of t(4) must fall by 10^-4 per factor 10.
        let p = student_t_sf(1e5, 60.0);
        assert!(p > 0.0 && p < 1e-200, "{p}");
        let slope = (student_t_sf(1e60, 4.0) / student_t_sf(1e61, 4.0)).log10();
        assert!((slope - 4.0).abs() < 1e-10);
    }

    #[test]
    fn quantile_inverts_the_distribution() {
        for df in [1.0, 1.37, 2.5, 9.0, 200.0, 1e6] {
            for p in [1e-200, 1e-10, 0.01, 0.2, 0.4999] {
                let t = student_t_quantile(p, df);
                if t.is_finite() {
                    assert!((student_t_cdf(t, df) / p - 1.0).abs() < 1e-9, "{df} {p} {t}");
                }
                assert_eq!(student_t_quantile(1.0 - p, df), -student_t_quantile(1.0 - (1.0 - p), df));
            }
        }
    }
}
