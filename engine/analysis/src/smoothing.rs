//! Exponential smoothing of curves. Smoothed curves are for eyes; tests run on the values as logged.

use crate::error::{AnalysisError, Result};

/// TensorBoard's smoothing: a moving average started at 0 and debiased, `weight` given to the past.
///
/// NaN and infinite points come back unchanged and do not advance the average. A series of equal values comes
/// back unchanged. `weight` is clipped to [0, 1], NaN counts as 0, and a weight of 1 gives zeros, as there.
///
/// # Examples
/// ```
/// assert_eq!(analysis::ema_tensorboard(&[1.0, 0.5], 0.6), [1.0, 0.6875]);
/// ```
pub fn ema_tensorboard(values: &[f64], weight: f64) -> Vec<f64> {
    let weight = if weight.is_finite() { weight.clamp(0.0, 1.0) } else { 0.0 };
    if values.iter().all(|v| *v == values[0]) {
        return values.to_vec();
    }
    let mut last = 0.0;
    let mut remaining = 1.0;
    values
        .iter()
        .map(|&value| {
            if !value.is_finite() {
                return value;
            }
            last = weight * last + (1.0 - weight) * value;
            remaining *= weight;
            // With a weight of 1 nothing was ever added, and there is no bias to divide out.
            if weight == 1.0 { last } else { last / (1.0 - remaining) }
        })
        .collect()
}

/// How fast an exponentially weighted mean forgets, in the four ways of pandas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decay {
    /// Weight of the newest value, in (0, 1].
    Alpha(f64),
    /// Observations after which a weight has halved, above 0.
    HalfLife(f64),
    /// alpha = 2 / (span + 1), at least 1.
    Span(f64),
    /// Centre of mass: alpha = 1 / (1 + com), at least 0.
    CenterOfMass(f64),
}

impl Decay {
    /// The weight of the newest value.
    ///
    /// # Errors
    /// `alpha_out_of_range` for a value outside the range of its kind.
    pub fn alpha(self) -> Result<f64> {
        let (name, value, valid, expected, alpha) = match self {
            Self::Alpha(a) => ("alpha", a, a > 0.0 && a <= 1.0, "above 0 and at most 1", a),
            Self::HalfLife(h) => {
                ("halflife", h, h > 0.0 && h.is_finite(), "above 0", -(-std::f64::consts::LN_2 / h).exp_m1())
            }
            Self::Span(s) => ("span", s, s >= 1.0 && s.is_finite(), "at least 1", 2.0 / (s + 1.0)),
            Self::CenterOfMass(c) => ("com", c, c >= 0.0 && c.is_finite(), "at least 0", 1.0 / (1.0 + c)),
        };
        if valid { Ok(alpha) } else { Err(AnalysisError::AlphaOutOfRange { name, value, expected }) }
    }
}

/// The exponentially weighted mean of pandas: `Series.ewm(...).mean()`.
///
/// With `adjust` each output is the weighted mean of all values so far; without, the recursion
/// y = (1 - alpha) y + alpha x. NaN values repeat the last output; their positions still let weights decay
/// unless `ignore_na`.
///
/// # Errors
/// `alpha_out_of_range`.
pub fn ewm(values: &[f64], decay: Decay, adjust: bool, ignore_na: bool) -> Result<Vec<f64>> {
    let alpha = decay.alpha()?;
    let past = 1.0 - alpha;
    let new_weight = if adjust { 1.0 } else { alpha };
    let mut mean = f64::NAN;
    let mut old_weight = 1.0;
    let mut started = false;
    let smoothed = values.iter().map(|&value| {
        if !started {
            started = !value.is_nan();
            mean = value;
            return mean;
        }
        if value.is_nan() {
            if !ignore_na {
                old_weight *= past;
            }
            return mean;
        }
        old_weight *= past;
        // Equal values must not drift by rounding.
        if mean != value {
            mean = (old_weight * mean + new_weight * value) / (old_weight + new_weight);
        }
        old_weight = if adjust { old_weight + new_weight } else { 1.0 };
        mean
    });
    Ok(smoothed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_ways_to_say_a_decay_agree() {
        let alpha = |decay: Decay| decay.alpha().unwrap();
        assert_eq!(alpha(Decay::Span(3.0)), 0.5);
        assert_eq!(alpha(Decay::CenterOfMass(1.0)), 0.5);
        assert!((alpha(Decay::HalfLife(1.0)) - 0.5).abs() < 1e-15);
        for bad in [
            Decay::Alpha(1.1),
            Decay::Alpha(f64::NAN),
            Decay::HalfLife(0.0),
            Decay::Span(0.9),
            Decay::CenterOfMass(-1.0),
        ] {
            assert_eq!(bad.alpha().unwrap_err().code(), "alpha_out_of_range", "{bad:?}");
        }
    }

    #[test]
    fn leading_gaps_stay_gaps() {
        let smoothed = ewm(&[f64::NAN, 1.0, f64::NAN, 3.0], Decay::Alpha(0.5), false, true).unwrap();
        assert!(smoothed[0].is_nan());
        assert_eq!(smoothed[1..], [1.0, 1.0, 2.0]);
    }

    #[test]
    fn empty_in_empty_out() {
        assert!(ema_tensorboard(&[], 0.6).is_empty());
        assert!(ewm(&[], Decay::Alpha(0.5), true, true).unwrap().is_empty());
    }
}
