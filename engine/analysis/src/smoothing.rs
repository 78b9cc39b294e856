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

/// The exponentially weighted mean of pandas, value by value: see [`ewm`].
#[derive(Debug, Clone)]
pub struct WeightedAverage {
    past: f64,
    new_weight: f64,
    adjust: bool,
    ignore_na: bool,
    mean: f64,
    old_weight: f64,
    started: bool,
}

impl WeightedAverage {
    /// Starts before the first value.
    ///
    /// # Errors
    /// `alpha_out_of_range`.
    pub fn new(decay: Decay, adjust: bool, ignore_na: bool) -> Result<Self> {
        let alpha = decay.alpha()?;
        Ok(Self {
            past: 1.0 - alpha,
            new_weight: if adjust { 1.0 } else { alpha },
            adjust,
            ignore_na,
            mean: f64::NAN,
            old_weight: 1.0,
            started: false,
        })
    }

    /// Takes the next value and gives the mean so far.
    pub fn push(&mut self, value: f64) -> f64 {
        if !self.started {
            self.started = !value.is_nan();
            self.mean = value;
            return value;
        }
        if value.is_nan() {
            if !self.ignore_na {
                self.old_weight *= self.past;
            }
            return self.mean;
        }
        self.old_weight *= self.past;
        // Equal values must not drift by rounding.
        if self.mean != value {
            let weights = self.old_weight + self.new_weight;
            self.mean = (self.old_weight * self.mean + self.new_weight * value) / weights;
        }
        self.old_weight = if self.adjust { self.old_weight + self.new_weight } else { 1.0 };
        self.mean
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
    let mut average = WeightedAverage::new(decay, adjust, ignore_na)?;
    Ok(values.iter().map(|value| average.push(*value)).collect())
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
