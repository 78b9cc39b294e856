//! Exponential smoothing in the two forms that people know: TensorBoard's slider and pandas' `ewm`.

/// TensorBoard's smoothing: `last = w * last + (1 - w) * x`, shown as `last / (1 - w^k)` so that the start is not
/// drawn towards zero.
///
/// Points that are NaN or infinite pass through and do not count; a series whose values are all equal is left as it
/// is; `weight` is clipped to [0, 1], a NaN weight counts as 0, and a weight of 1 gives 0.
///
/// ```
/// # use query::curve::tensorboard_smoothing;
/// assert_eq!(tensorboard_smoothing(&[1.0, 2.0], 0.5), [1.0, 5.0 / 3.0]);
/// ```
pub fn tensorboard_smoothing(values: &[f64], weight: f64) -> Vec<f64> {
    if values.windows(2).all(|pair| pair[0] == pair[1]) {
        return values.to_vec();
    }
    let weight = if weight.is_nan() { 0.0 } else { weight.clamp(0.0, 1.0) };
    let mut last = 0.0;
    let mut count = 0_i32;
    values
        .iter()
        .map(|&value| {
            if !value.is_finite() {
                return value;
            }
            last = weight * last + (1.0 - weight) * value;
            count = count.saturating_add(1);
            // With a weight of 1 nothing ever comes in and there is nothing to undo.
            let debias = if weight == 1.0 { 1.0 } else { 1.0 - weight.powi(count) };
            last / debias
        })
        .collect()
}

/// How [`exponential_moving_average`] weighs, in pandas' words.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExponentialWeights {
    /// Weight of the newest value, in (0, 1].
    pub alpha: f64,
    /// Divide by the sum of the weights so far (true), or start from the first value (false).
    pub adjust: bool,
    /// Whether a missing value lets the older weights decay (false) or not (true).
    pub ignore_missing: bool,
}

/// pandas' `ewm(alpha, adjust, ignore_na).mean()`; NaN is a missing value, and stays the answer until the first value.
pub fn exponential_moving_average(values: &[f64], weights: ExponentialWeights) -> Vec<f64> {
    let new_weight = if weights.adjust { 1.0 } else { weights.alpha };
    let mut mean = f64::NAN;
    let mut old_weight = 1.0;
    values
        .iter()
        .map(|&value| {
            let present = !value.is_nan();
            if mean.is_nan() {
                if present {
                    mean = value;
                }
            } else if present || !weights.ignore_missing {
                old_weight *= 1.0 - weights.alpha;
                if present {
                    if mean != value {
                        mean = (old_weight * mean + new_weight * value) / (old_weight + new_weight);
                    }
                    old_weight = if weights.adjust { old_weight + new_weight } else { 1.0 };
                }
            }
            mean
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_and_odd_weights() {
        assert_eq!(tensorboard_smoothing(&[2.0, 2.0], 0.9), [2.0, 2.0]);
        assert_eq!(tensorboard_smoothing(&[1.0, 2.0], f64::NAN), [1.0, 2.0]);
        assert_eq!(tensorboard_smoothing(&[1.0, 2.0], 1.0), [0.0, 0.0]);
        assert_eq!(tensorboard_smoothing(&[1.0, 2.0], 7.0), [0.0, 0.0]);
        assert!(tensorboard_smoothing(&[], 0.5).is_empty());
    }

    #[test]
    fn what_is_not_finite_passes_through() {
        let smooth = tensorboard_smoothing(&[1.0, f64::NAN, f64::INFINITY, 1.0, 3.0], 0.5);
        assert!(smooth[1].is_nan() && smooth[2] == f64::INFINITY);
        assert_eq!(smooth[3], 1.0);
    }
}
