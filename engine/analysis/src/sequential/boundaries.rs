//! Curves that a sum with mean zero stays below at all times, by its intrinsic time v (its accumulated variance).

use statrs::function::gamma::{checked_gamma_lr, ln_gamma};

use crate::distributions::{ln_beta, ln_normal_cdf, root};
use crate::error::{AnalysisError, Result};
use crate::t_test::Alternative;

use super::{check_alpha, check_positive};

/// The scale of a two-sided normal mixture that is tightest at time `v` (Howard et al. 2021, eq. 26).
fn two_sided_scale(v: f64, alpha: f64) -> f64 {
    let ln = (1.0 / alpha).ln();
    v / (2.0 * ln + (1.0 + 2.0 * ln).ln())
}

fn one_sided_scale(v: f64, alpha: f64) -> f64 {
    two_sided_scale(v, 2.0 * alpha)
}

/// The normal mixture boundary at time `v`, tightest at `v_tightest` (Robbins 1970; Howard et al. 2021): a
/// sub-Gaussian sum passes it at any time with probability at most `alpha`. Two-sided: its absolute value.
///
/// # Errors
/// `alpha_out_of_range` (one-sided: alpha must be below 1/2), `invalid_argument` unless times are above 0.
///
/// # Examples
/// ```
/// use analysis::{Alternative, sequential::normal_mixture_bound};
/// let bound = normal_mixture_bound(0.5, 1.0, 0.05, Alternative::TwoSided)?;
/// assert!((bound - 2.1804123481845443).abs() < 1e-9);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn normal_mixture_bound(v: f64, v_tightest: f64, alpha: f64, alternative: Alternative) -> Result<f64> {
    check_alpha(alpha)?;
    check_positive("v", v)?;
    check_positive("v_tightest", v_tightest)?;
    if alternative == Alternative::TwoSided {
        let scale = two_sided_scale(v_tightest, alpha);
        return Ok(((v + scale) * ((v / scale).ln_1p() + 2.0 * (1.0 / alpha).ln())).sqrt());
    }
    crate::power::check_alpha(alpha)?;
    let scale = one_sided_scale(v_tightest, alpha);
    let ln_martingale = |s: f64| {
        let spread = v + scale;
        0.5 * (4.0 * scale / spread).ln() + 0.5 * s * s / spread + ln_normal_cdf(s / spread.sqrt())
    };
    Ok(crossing(ln_martingale, (1.0 / alpha).ln(), v.sqrt()))
}

/// The gamma-exponential mixture boundary at time `v` for sub-exponential sums of scale `c`, tightest at
/// `v_tightest` (Howard et al. 2021, proposition 9): the one for empirical-Bernstein bounds.
///
/// # Errors
/// `alpha_out_of_range` (alpha must be below 1/2), `invalid_argument` unless times and scale are above 0.
pub fn gamma_exponential_bound(v: f64, v_tightest: f64, c: f64, alpha: f64) -> Result<f64> {
    crate::power::check_alpha(alpha)?;
    for (name, value) in [("v", v), ("v_tightest", v_tightest), ("c", c)] {
        check_positive(name, value)?;
    }
    let scale = one_sided_scale(v_tightest, alpha);
    let square = c * c;
    let (a, start) = ((v + scale) / square, scale / square);
    let ln_lower_gamma = |shape: f64, x: f64| checked_gamma_lr(shape, x).map_or(f64::NEG_INFINITY, f64::ln);
    let leading = start * start.ln() - ln_gamma(start) - ln_lower_gamma(start, start);
    let ln_martingale = |s: f64| {
        let x = (c * s + v + scale) / square;
        leading + ln_gamma(a) + ln_lower_gamma(a, x) - a * x.ln() + (c * s + v) / square
    };
    Ok(crossing(ln_martingale, (1.0 / alpha).ln(), v.sqrt()))
}

/// The point above 0 at which a rising function reaches a goal.
fn crossing(function: impl Fn(f64) -> f64, goal: f64, scale: f64) -> f64 {
    let mut high = scale;
    while function(high) < goal && high < 1e300 {
        high *= 2.0;
    }
    root(0.0, high, |s| function(s) - goal)
}

/// The polynomially stitched boundary at time `v` (Howard et al. 2021, theorem 1): of the order of the law of the
/// iterated logarithm. It is constant before `v_first`; `s` and `eta` shape the spending over epochs (1.4 and 2), `c`
/// is the scale of a sub-gamma sum (0 for sub-Gaussian).
///
/// # Errors
/// `alpha_out_of_range`, `invalid_argument` unless v, v_first > 0, c >= 0, s > 1, eta > 1.
pub fn stitched_bound(v: f64, v_first: f64, c: f64, s: f64, eta: f64, alpha: f64) -> Result<f64> {
    check_alpha(alpha)?;
    check_positive("v", v)?;
    check_positive("v_first", v_first)?;
    for (name, value, least, allowed) in
        [("c", c, 0.0, c >= 0.0), ("s", s, 1.0, s > 1.0), ("eta", eta, 1.0, eta > 1.0)]
    {
        if !(allowed && value.is_finite()) {
            let expected =
                if least == 0.0 { "a finite number, 0 or more" } else { "a finite number above 1" };
            return Err(AnalysisError::InvalidArgument { name, value: value.to_string(), expected });
        }
    }
    let v = v.max(v_first);
    let epochs = s * (eta * v / v_first).ln().ln() + (zeta(s) / (alpha * eta.ln().powf(s))).ln();
    let k1 = (eta.powf(0.25) + eta.powf(-0.25)) * std::f64::consts::FRAC_1_SQRT_2;
    let k2 = 0.5 * (eta.sqrt() + 1.0);
    let linear = k2 * c * epochs;
    Ok((k1 * k1 * v * epochs + linear * linear).sqrt() + linear)
}

/// Riemann's zeta function for s > 1, by Euler and Maclaurin.
fn zeta(s: f64) -> f64 {
    const TERMS: i32 = 20;
    let n = f64::from(TERMS);
    let sum: f64 = (1..TERMS).rev().map(|k| f64::from(k).powf(-s)).sum();
    let tail = n.powf(1.0 - s) / (s - 1.0) + 0.5 * n.powf(-s);
    // B(2k) / (2k)!
    let corrections = [1.0 / 12.0, -1.0 / 720.0, 1.0 / 30_240.0, -1.0 / 1_209_600.0];
    let mut factor = s * n.powf(-s - 1.0);
    let mut rest = 0.0;
    for (k, correction) in corrections.into_iter().enumerate() {
        rest += correction * factor;
        let k = 2.0 * k as f64;
        factor *= (s + k + 1.0) * (s + k + 2.0) / (n * n);
    }
    sum + tail + rest
}

/// The interval of a rate that holds at all times, from `hits` in `trials` now, tightest at `trials_tightest`: a
/// beta-binomial mixture (Howard et al. 2021).
///
/// # Errors
/// `alpha_out_of_range`, `empty_sample`, `invalid_argument` (more hits than trials).
pub fn rate_sequence(hits: u64, trials: u64, trials_tightest: u64, alpha: f64) -> Result<[f64; 2]> {
    /// The level at which the mixture is tuned, whatever the level of the interval.
    const TUNED_AT: f64 = 0.05;
    check_alpha(alpha)?;
    crate::rates::check_rate(hits, trials, 0.95)?;
    check_positive("trials_tightest", trials_tightest as f64)?;
    let (k, n) = (hits as f64, trials as f64);
    let ln_martingale = |p: f64| {
        let q = 1.0 - p;
        let excess = two_sided_scale(trials_tightest as f64 * p * q, TUNED_AT) - p * q;
        let r = excess.max(1e-3 * p * q);
        let (a, b) = (r / q, r / p);
        ln_beta(a + k, b + n - k) - ln_beta(a, b) - k * p.ln() - (n - k) * q.ln()
    };
    let rate = k / n;
    let outside = |p: f64| ln_martingale(p) - (1.0 / alpha).ln();
    let (least, most) = (1e-12, 1.0 - 1e-12);
    let end = |limit: f64| {
        let inner = rate.clamp(least, most);
        if outside(limit) <= 0.0 || inner == limit { limit } else { root(limit, inner, outside) }
    };
    let low = if hits == 0 { 0.0 } else { end(least) };
    Ok([low, if hits == trials { 1.0 } else { end(most) }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeta_of_two_and_four_are_known() {
        let square = std::f64::consts::PI * std::f64::consts::PI;
        assert!((zeta(2.0) - square / 6.0).abs() < 1e-13);
        assert!((zeta(4.0) - square * square / 90.0).abs() < 1e-13);
    }

    #[test]
    fn one_sided_boundaries_lie_below_two_sided_ones() {
        for v in [0.5, 3.0, 100.0] {
            let one = normal_mixture_bound(v, 1.0, 0.05, Alternative::Greater).unwrap();
            let two = normal_mixture_bound(v, 1.0, 0.05, Alternative::TwoSided).unwrap();
            let exponential = gamma_exponential_bound(v, 1.0, 1.0, 0.05).unwrap();
            assert!(one < two && two < exponential, "{one} {two} {exponential}");
        }
    }

    #[test]
    fn senseless_arguments_are_refused() {
        assert_eq!(stitched_bound(1.0, 1.0, 0.0, 1.0, 2.0, 0.05).unwrap_err().code(), "invalid_argument");
        assert_eq!(stitched_bound(1.0, 0.0, 0.0, 1.4, 2.0, 0.05).unwrap_err().code(), "invalid_argument");
        assert_eq!(rate_sequence(1, 0, 10, 0.05).unwrap_err().code(), "empty_sample");
        assert_eq!(
            normal_mixture_bound(1.0, 1.0, 1.0, Alternative::TwoSided).unwrap_err().code(),
            "alpha_out_of_range"
        );
    }

    #[test]
    fn without_a_hit_the_interval_begins_at_zero() {
        let [low, high] = rate_sequence(0, 50, 50, 0.05).unwrap();
        assert!(low == 0.0 && high > 0.05 && high < 0.5, "{high}");
        let [low, high] = rate_sequence(50, 50, 50, 0.05).unwrap();
        assert!(high == 1.0 && low < 0.95 && low > 0.5, "{low}");
    }
}
