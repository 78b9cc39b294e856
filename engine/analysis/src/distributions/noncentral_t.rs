//! The noncentral t distribution, for power and for intervals of standardized effects.

use super::beta::ln_gamma_correction;
use super::chi_squared::{chi_squared_cdf, chi_squared_sf};
use super::normal::ln_normal_cdf;
use super::roots::root;
use super::student_t::{student_t_cdf, student_t_sf};
use statrs::function::gamma::ln_gamma;

/// Beyond this statistic the two integrals are taken in the other order.
const SWAP_STATISTIC_MIN: f64 = 1e3;

/// P(T <= t) where T has `df` degrees of freedom and noncentrality `delta`.
///
/// P(T <= t) is the mean of Phi(t S - delta) over S = sqrt(chi2(df) / df). The integrand is positive, so that
/// no noncentrality is too large and both tails keep their relative accuracy (the series of AS 243 and of
/// Boost underflow near delta = 38).
pub fn noncentral_t_cdf(t: f64, df: f64, delta: f64) -> f64 {
    probability(t, df, delta, Side::Lower)
}

/// P(T > t) where T has `df` degrees of freedom and noncentrality `delta`.
pub fn noncentral_t_sf(t: f64, df: f64, delta: f64) -> f64 {
    probability(t, df, delta, Side::Upper)
}

/// The noncentrality at which P(T <= t) equals `p`, for 0 < p < 1.
///
/// The two values at p = 1 - alpha/2 and p = alpha/2 are the ends of the interval of the noncentrality
/// (Steiger & Fouladi 1997).
pub fn noncentral_t_parameter(t: f64, df: f64, p: f64) -> f64 {
    if !t.is_finite() || df.is_nan() || df <= 0.0 || !(p > 0.0 && p < 1.0) {
        return f64::NAN;
    }
    let objective = |delta: f64| noncentral_t_cdf(t, df, delta) - p;
    let mut width = 1.0 + 0.5 * t.abs();
    let (mut low, mut high) = (t - width, t + width);
    while objective(low) < 0.0 {
        width *= 2.0;
        low -= width;
    }
    while objective(high) > 0.0 {
        width *= 2.0;
        high += width;
    }
    root(low, high, objective)
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Lower,
    Upper,
}

fn probability(t: f64, df: f64, delta: f64, side: Side) -> f64 {
    if t.is_nan() || df.is_nan() || delta.is_nan() || df <= 0.0 || delta.is_infinite() {
        return f64::NAN;
    }
    if delta == 0.0 {
        return if side == Side::Lower { student_t_cdf(t, df) } else { student_t_sf(t, df) };
    }
    if t.is_infinite() {
        return if (t > 0.0) == (side == Side::Lower) { 1.0 } else { 0.0 };
    }
    if t.abs() > SWAP_STATISTIC_MIN {
        return probability_over_normal(t, df, delta, side);
    }
    let sign = if side == Side::Lower { 1.0 } else { -1.0 };
    let ln_constant = ln_scale(df);
    // Density of u = ln S, times the normal probability at that S.
    let ln_integrand = |u: f64| {
        let s = u.exp();
        ln_constant + df * (u - 0.5 * (s * s - 1.0)) + ln_normal_cdf(sign * (t * s - delta))
    };
    let (low, high) = support(df, ln_constant, &ln_integrand);
    integral(low, high, |u| ln_integrand(u).exp())
}

/// The same probability as the mean over Z of P(S >= (Z + delta) / t).
///
/// For large t the normal probability above turns into a step too narrow to integrate over; seen from the
/// normal variable, the integrand is smooth.
fn probability_over_normal(t: f64, df: f64, delta: f64, side: Side) -> f64 {
    // P(T <= t; delta) = P(T >= -t; -delta).
    let (t, delta, side) = match (t > 0.0, side) {
        (true, side) => (t, delta, side),
        (false, Side::Lower) => (-t, -delta, Side::Upper),
        (false, Side::Upper) => (-t, -delta, Side::Lower),
    };
    let density_at_zero = (1.0 / std::f64::consts::TAU).sqrt();
    integral(-12.0, 12.0, |z| {
        let ratio = ((z + delta) / t).max(0.0);
        let chi_squared = df * ratio * ratio;
        let tail = if side == Side::Lower {
            chi_squared_sf(chi_squared, df)
        } else {
            chi_squared_cdf(chi_squared, df)
        };
        density_at_zero * (-0.5 * z * z).exp() * tail
    })
}

/// The trapezoid rule, halving its step until it stands still: it converges geometrically for an analytic
/// function that vanishes at both ends.
fn integral(low: f64, high: f64, integrand: impl Fn(f64) -> f64) -> f64 {
    const INTERVALS_MAX: u32 = 1 << 15;
    let mut intervals = 32;
    let width = high - low;
    let mut mean =
        (0..=intervals).map(|i| integrand(low + f64::from(i) / f64::from(intervals) * width)).sum::<f64>()
            / f64::from(intervals);
    while intervals < INTERVALS_MAX {
        let middles: f64 = (0..intervals)
            .map(|i| integrand(low + (f64::from(i) + 0.5) / f64::from(intervals) * width))
            .sum();
        let refined = 0.5 * (mean + middles / f64::from(intervals));
        intervals *= 2;
        let done = (refined - mean).abs() <= 1e-13 * refined.abs();
        mean = refined;
        if done {
            break;
        }
    }
    (mean * width).min(1.0)
}

/// ln of 2 (df/2)^(df/2) e^(-df/2) / Gamma(df/2): the density of ln S at 0.
fn ln_scale(df: f64) -> f64 {
    let half = 0.5 * df;
    if half >= 10.0 {
        0.5 * (half / std::f64::consts::TAU).ln() + std::f64::consts::LN_2 - ln_gamma_correction(half)
    } else {
        std::f64::consts::LN_2 + half * half.ln() - half - ln_gamma(half)
    }
}

/// The range of u outside of which the integrand is below e^-45 of its largest value.
fn support(df: f64, ln_density_max: f64, ln_integrand: &impl Fn(f64) -> f64) -> (f64, f64) {
    const DROP: f64 = 45.0;
    const POINTS: u32 = 24;
    // The largest value is at least the one at the peak of the density, and the density is never below the integrand: no
    // point counts at which the density alone has fallen by this much. It decays as e^(df u) to the left.
    let fall = (ln_density_max - ln_integrand(0.0) + DROP).clamp(DROP, 800.0);
    let mut low = (-(fall + df) / df).max(-(2.0 * fall / df).sqrt() - fall / df);
    let mut high = (1.0 + 2.0 * fall / df).ln() * 0.5 + (fall / df).sqrt().min(4.0);
    for _ in 0..8 {
        let step = (high - low) / f64::from(POINTS);
        let values: [f64; POINTS as usize + 1] = std::array::from_fn(|i| ln_integrand(low + i as f64 * step));
        let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // One step more on each side holds the peak even where the grid missed it.
        let first = values.iter().position(|v| *v > largest - DROP).unwrap_or(0).saturating_sub(1);
        let last = values.iter().rposition(|v| *v > largest - DROP).map_or(values.len() - 1, |i| i + 1);
        let last = last.min(values.len() - 1);
        (low, high) = (low + first as f64 * step, low + last as f64 * step);
        if last - first > 3 * values.len() / 4 {
            break;
        }
    }
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tails_hold_ten_digits() {
        // mpmath quadrature at 40 digits, in 400 pieces.
        let cases = [
            (2.0, 4.0, 2.5, Side::Lower, 0.30114821065839725),
            (-3.0, 4.0, 2.5, Side::Lower, 2.069659046049652e-05),
            (1.685954460166736, 38.0, 9.486832980505138, Side::Lower, 9.069942551576697e-15),
            (20.0, 4.0, 2.5, Side::Upper, 0.0009490557688976977),
            (60.0, 58.0, 3.0, Side::Upper, 3.023950135909417e-45),
            (50.0, 1000.0, 48.0, Side::Upper, 0.09237672667788042),
            (0.5, 18.0, 30.0, Side::Lower, 3.3994236611462504e-190),
            (5.0, 2.0, 40.0, Side::Lower, 1.7673347804602862e-26),
        ];
        for (t, df, delta, side, expected) in cases {
            let error = probability(t, df, delta, side) / expected - 1.0;
            assert!(error.abs() < 1e-10, "{t} {df} {delta}: {error:e}");
        }
    }

    #[test]
    fn both_sides_add_up_to_one() {
        for (t, df, delta) in
            [(0.0, 1.0, 1.0), (2.1, 4.0, 2.5), (50.0, 1000.0, 48.0), (-3.0, 2.0, 6.0), (9.0, 38.0, 9.5)]
        {
            let whole = noncentral_t_cdf(t, df, delta) + noncentral_t_sf(t, df, delta);
            assert!((whole - 1.0).abs() < 1e-12, "{t} {df} {delta}: {whole}");
        }
    }

    #[test]
    fn zero_is_the_normal_probability_of_the_noncentrality() {
        // P(T <= 0) = Phi(-delta) whatever the degrees of freedom.
        for delta in [0.5, 3.0, 12.0, 30.0] {
            let expected = crate::distributions::normal_cdf(-delta);
            for df in [1.0, 7.3, 5000.0] {
                assert!((noncentral_t_cdf(0.0, df, delta) / expected - 1.0).abs() < 1e-11, "{delta} {df}");
            }
        }
    }

    #[test]
    fn large_noncentralities_stay_finite() {
        let p = noncentral_t_sf(1.685954460166736, 38.0, 3.0 * 10f64.sqrt());
        assert!(p > 0.9999999 && p <= 1.0, "{p}");
        let p = noncentral_t_cdf(100.0, 10.0, 100.0);
        assert!(p > 0.4 && p < 0.6, "{p}");
    }

    #[test]
    fn both_orders_of_integration_agree() {
        for (t, df, delta) in
            [(900.0, 4.0, 880.0), (-700.0, 9.0, -650.0), (300.0, 2.0, 500.0), (600.0, 98.0, 3.0)]
        {
            for side in [Side::Lower, Side::Upper] {
                let (direct, swapped) =
                    (probability(t, df, delta, side), probability_over_normal(t, df, delta, side));
                assert!((direct - swapped).abs() < 1e-11, "{t} {df} {delta}: {direct} {swapped}");
            }
        }
    }

    #[test]
    fn the_parameter_inverts_the_distribution() {
        for (t, df) in [(0.3, 4.0), (-2.0, 9.0), (329.0, 4.0), (11.0, 98.0), (1e9, 4.0), (-1e5, 38.0)] {
            for p in [0.025, 0.5, 0.975] {
                let delta = noncentral_t_parameter(t, df, p);
                assert!((noncentral_t_cdf(t, df, delta) - p).abs() < 1e-10, "{t} {df} {p}");
            }
        }
    }
}
