//! Statistics along a curve that need only what came before: one value in, one answer out.

use std::collections::VecDeque;

use crate::describe::quantile_of_sorted;
use crate::error::{AnalysisError, Result};

/// The largest window: its values are moved on each step.
pub const WINDOW_MAX: usize = 100_000;

/// Median absolute deviations to standard deviations of a normal distribution.
const MAD_TO_SD: f64 = 1.4826;

/// Numbers before a value below which nothing is a spike.
const SPIKE_HISTORY_MIN: usize = 5;

/// The largest window of spikes: half of it is looked at for each value.
const SPIKE_WINDOW_MAX: usize = 10_000;

/// The last values of a curve, also in order of size; a NaN takes a place and is no number.
#[derive(Debug, Clone)]
struct Window {
    size: usize,
    recent: VecDeque<f64>,
    numbers: Vec<f64>,
}

impl Window {
    fn new(size: usize) -> Result<Self> {
        if (1..=WINDOW_MAX).contains(&size) {
            return Ok(Self { size, recent: VecDeque::new(), numbers: Vec::new() });
        }
        Err(AnalysisError::InvalidArgument {
            name: "window",
            value: size.to_string(),
            expected: "from 1 to 100000 rows",
        })
    }

    fn push(&mut self, value: f64) {
        if self.recent.len() == self.size
            && let Some(oldest) = self.recent.pop_front()
            && !oldest.is_nan()
        {
            let at = self.numbers.partition_point(|v| v.total_cmp(&oldest).is_lt());
            self.numbers.remove(at);
        }
        self.recent.push_back(value);
        if !value.is_nan() {
            let at = self.numbers.partition_point(|v| v.total_cmp(&value).is_lt());
            self.numbers.insert(at, value);
        }
    }

    fn median(&self) -> Option<f64> {
        let upper = self.numbers.len() / 2;
        let above = *self.numbers.get(upper)?;
        if self.numbers.len() % 2 == 1 {
            return Some(above);
        }
        // Halves first, so that large values do not overflow; between a number and an infinity lies that infinity.
        Some(0.5 * self.numbers[upper - 1] + 0.5 * above)
    }
}

/// The median of the last values, as pandas' `rolling(window, min_periods=1).median()`; infinities count by value.
#[derive(Debug, Clone)]
pub struct RollingMedian(Window);

impl RollingMedian {
    /// Over `window` values, the newest among them.
    ///
    /// # Errors
    /// `invalid_argument` unless 1 <= window <= [`WINDOW_MAX`].
    pub fn new(window: usize) -> Result<Self> {
        Window::new(window).map(Self)
    }

    /// Takes the next value; NaN when the window holds no number.
    pub fn push(&mut self, value: f64) -> f64 {
        self.0.push(value);
        self.0.median().unwrap_or(f64::NAN)
    }
}

/// Values that stand out from those just before them: further than `threshold` scaled median absolute deviations from
/// the median of the last `window` values (the identifier of Hampel 1974, looking back only).
#[derive(Debug, Clone)]
pub struct Spikes {
    window: Window,
    threshold: f64,
}

impl Spikes {
    /// Against the `window` values before each one.
    ///
    /// # Errors
    /// `invalid_argument` unless 5 <= window <= 10,000 and threshold > 0.
    pub fn new(window: usize, threshold: f64) -> Result<Self> {
        let refuse = |name, value: String, expected| AnalysisError::InvalidArgument { name, value, expected };
        if !(SPIKE_HISTORY_MIN..=SPIKE_WINDOW_MAX).contains(&window) {
            return Err(refuse("window", window.to_string(), "from 5 to 10000 rows"));
        }
        if !(threshold > 0.0 && threshold.is_finite()) {
            return Err(refuse("threshold", threshold.to_string(), "a number above 0, such as 5"));
        }
        Ok(Self { window: Window::new(window)?, threshold })
    }

    /// Takes the next value and says whether it is a spike. NaN and infinities always are, and are not remembered.
    /// Nothing else is before five numbers have come, or while more than half of the window is one value.
    pub fn push(&mut self, value: f64) -> bool {
        if !value.is_finite() {
            return true;
        }
        let stands_out = self.stands_out(value);
        self.window.push(value);
        stands_out
    }

    fn stands_out(&self, value: f64) -> bool {
        let numbers = &self.window.numbers;
        if numbers.len() < SPIKE_HISTORY_MIN {
            return false;
        }
        let median = quantile_of_sorted(numbers, 0.5);
        let deviation = median_distance(numbers, median);
        deviation > 0.0 && (value - median).abs() > self.threshold * MAD_TO_SD * deviation
    }
}

/// The median of the distances of sorted numbers from `center`, without sorting the distances: they grow to both sides.
fn median_distance(numbers: &[f64], center: f64) -> f64 {
    let mut above = numbers.partition_point(|v| *v < center);
    let mut below = above;
    let (middle, even) = (numbers.len() / 2, numbers.len().is_multiple_of(2));
    let (mut last, mut nearest) = (0.0, 0.0);
    for _ in 0..=middle {
        let to_above = numbers.get(above).map(|v| v - center);
        let to_below = below.checked_sub(1).map(|at| center - numbers[at]);
        last = nearest;
        nearest = match (to_below, to_above) {
            (Some(left), Some(right)) if left <= right => {
                below -= 1;
                left
            }
            (_, Some(right)) => {
                above += 1;
                right
            }
            (Some(left), None) => {
                below -= 1;
                left
            }
            (None, None) => nearest,
        };
    }
    if even { 0.5 * last + 0.5 * nearest } else { nearest }
}

/// TensorBoard's smoothing, value by value: [`crate::ema_tensorboard`] for a weight below 1.
///
/// A series of equal values comes back unchanged here too; where other values follow, the equal ones before them
/// differ from that function in rounding at most.
#[derive(Debug, Clone)]
pub struct TensorboardAverage {
    weight: f64,
    last: f64,
    remaining: f64,
    /// The one value so far, while all are equal.
    only: Option<f64>,
    any: bool,
}

impl TensorboardAverage {
    /// With `weight` given to the past.
    ///
    /// # Errors
    /// `alpha_out_of_range` unless 0 <= weight < 1.
    pub fn new(weight: f64) -> Result<Self> {
        if !(0.0..1.0).contains(&weight) {
            return Err(AnalysisError::AlphaOutOfRange {
                name: "weight",
                value: weight,
                expected: "at least 0 and below 1",
            });
        }
        Ok(Self { weight, last: 0.0, remaining: 1.0, only: None, any: false })
    }

    /// Takes the next value. NaN and infinities come back and do not advance the average.
    pub fn push(&mut self, value: f64) -> f64 {
        if !value.is_finite() {
            return value;
        }
        self.only = match (self.any, self.only) {
            (false, _) => Some(value),
            (true, only) => only.filter(|only| *only == value),
        };
        self.any = true;
        self.last = self.weight * self.last + (1.0 - self.weight) * value;
        self.remaining *= self.weight;
        self.only.unwrap_or(self.last / (1.0 - self.remaining))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn medians(window: usize, values: &[f64]) -> Vec<f64> {
        let mut rolling = RollingMedian::new(window).unwrap();
        values.iter().map(|v| rolling.push(*v)).collect()
    }

    fn spikes(window: usize, threshold: f64, values: &[f64]) -> Vec<usize> {
        let mut spikes = Spikes::new(window, threshold).unwrap();
        values.iter().enumerate().filter(|(_, v)| spikes.push(**v)).map(|(i, _)| i).collect()
    }

    #[test]
    fn the_median_follows_and_forgets() {
        assert_eq!(medians(3, &[1.0, 5.0, 2.0, 9.0, 9.0]), [1.0, 3.0, 2.0, 5.0, 9.0]);
        assert_eq!(medians(1, &[1.0, -0.0, 2.0]), [1.0, -0.0, 2.0]);
    }

    #[test]
    fn a_nan_takes_a_place_and_is_no_number() {
        let got = medians(2, &[f64::NAN, 4.0, f64::NAN, f64::NAN, f64::INFINITY]);
        assert!(got[0].is_nan() && got[3].is_nan());
        assert_eq!((got[1], got[2], got[4]), (4.0, 4.0, f64::INFINITY));
        assert_eq!(medians(2, &[1.0, f64::INFINITY]), [1.0, f64::INFINITY]);
        assert_eq!(medians(2, &[f64::MAX, f64::MAX]), [f64::MAX; 2]);
    }

    #[test]
    fn a_spike_stands_out_from_what_was_before() {
        let mut values: Vec<f64> = (0..40).map(|i| 1.0 + 0.01 * f64::from(i % 5)).collect();
        values[20] = 9.0;
        values[30] = f64::NAN;
        values[31] = f64::NEG_INFINITY;
        assert_eq!(spikes(10, 5.0, &values), [20, 30, 31]);
        // The first five values have no history, and equal values have no spread.
        assert!(spikes(10, 5.0, &[1.0, 2.0, 900.0, 1.0, 2.0]).is_empty());
        assert!(spikes(10, 5.0, &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 900.0]).is_empty());
    }

    #[test]
    fn the_median_distance_is_that_of_sorted_distances() {
        let stream = kernels::rng::Stream { seed: 3, stream: 0, tag: kernels::rng::Tag::Other, sub: 0 };
        for size in 1..60_u32 {
            let mut numbers: Vec<f64> = (0..size).map(|i| f64::from(stream.block(i, size)[0] % 23)).collect();
            numbers.sort_by(f64::total_cmp);
            let median = quantile_of_sorted(&numbers, 0.5);
            let mut distances: Vec<f64> = numbers.iter().map(|v| (v - median).abs()).collect();
            distances.sort_by(f64::total_cmp);
            assert_eq!(median_distance(&numbers, median), quantile_of_sorted(&distances, 0.5), "{numbers:?}");
        }
    }

    #[test]
    fn windows_and_thresholds_without_sense_are_refused() {
        assert_eq!(RollingMedian::new(0).unwrap_err().code(), "invalid_argument");
        assert_eq!(RollingMedian::new(WINDOW_MAX + 1).unwrap_err().code(), "invalid_argument");
        assert_eq!(Spikes::new(4, 5.0).unwrap_err().code(), "invalid_argument");
        assert_eq!(Spikes::new(10_001, 5.0).unwrap_err().code(), "invalid_argument");
        assert_eq!(Spikes::new(10, f64::NAN).unwrap_err().code(), "invalid_argument");
        assert_eq!(TensorboardAverage::new(1.0).unwrap_err().code(), "alpha_out_of_range");
    }

    #[test]
    fn value_by_value_is_the_same_as_all_at_once() {
        let values = [0.1, 0.1, f64::NAN, 0.1, 0.9, f64::INFINITY, 0.4];
        let mut average = TensorboardAverage::new(0.6).unwrap();
        let got: Vec<f64> = values.iter().map(|v| average.push(*v)).collect();
        for (got, expected) in got.iter().zip(crate::ema_tensorboard(&values, 0.6)) {
            let near = (got - expected).abs() < 1e-15 || got == &expected;
            assert!(near || (got.is_nan() && expected.is_nan()), "{got} {expected}");
        }
        let mut average = TensorboardAverage::new(0.6).unwrap();
        assert_eq!([0.1; 4].map(|v| average.push(v)), [0.1; 4]);
    }
}
