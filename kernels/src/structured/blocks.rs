//! The length of blocks by the rule of Politis & White 2004, as corrected by Patton, Politis & White 2009.

use crate::describe;
use crate::structured::BlockScheme;

/// The length of blocks that estimates the variance of the mean of a series with the least error, as a real number;
/// `None` for fewer than four values, a constant series or values that are not finite.
///
/// [`BlockScheme::Moving`] and [`BlockScheme::Circular`] have the same length. It is at most
/// `min(3 sqrt(n), n / 3)`, rounded up.
///
/// ```
/// let noise: Vec<f64> = (0..100).map(|i| f64::from(i * i % 97)).collect();
/// assert!(kernels::block_length(&noise, kernels::BlockScheme::Circular).is_some_and(|length| length < 10.0));
/// assert_eq!(kernels::block_length(&[1.0; 50], kernels::BlockScheme::Circular), None);
/// ```
pub fn block_length(values: &[f64], scheme: BlockScheme) -> Option<f64> {
    let (BlockScheme::Moving | BlockScheme::Circular) = scheme;
    let n = values.len();
    if n < 4 || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let scale = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    if scale == 0.0 {
        return None;
    }
    let shrink = crate::describe::exponent_above(scale);
    let scaled: Vec<f64> =
        values.iter().map(|&value| crate::describe::scale_by_power_of_two(value, -shrink)).collect();
    let mean = describe::mean(&scaled)?;
    let deviations: Vec<f64> = scaled.iter().map(|value| value - mean).collect();
    let count = n as f64;
    let longest = (3.0 * count.sqrt()).min(count / 3.0).ceil();
    // A run of this many small autocorrelations ends the search for the last one that matters.
    let run = (count.log10() as usize).max(5);
    let most_lags = (count.sqrt().ceil() as usize + run).min(n - 1);
    let negligible = 2.0 * (count.log10() / count).sqrt();
    let product = |lag: usize| -> f64 { deviations[lag..].iter().zip(&deviations).map(|(x, y)| x * y).sum() };
    let squares = |part: &[f64]| -> f64 { part.iter().map(|x| x * x).sum() };
    let mut covariances = Vec::with_capacity(most_lags + 1);
    let mut correlations = Vec::with_capacity(most_lags + 1);
    for lag in 0..=most_lags {
        let product = product(lag);
        covariances.push(product / count);
        let beside = squares(&deviations[(lag + 1).min(n)..]) * squares(&deviations[..n - (lag + 1).min(n)]);
        correlations.push((product / beside.sqrt()).abs());
    }
    if covariances[0] <= 0.0 {
        return None;
    }
    let last = (run..=most_lags)
        .find(|&lag| correlations[lag - run..lag].iter().all(|correlation| *correlation < negligible))
        .map(|lag| lag - run);
    let lags = last.map_or(most_lags, |last| (2 * last.max(1)).min(most_lags));
    // The flat-top window of Politis & Romano 1995.
    let (mut slope, mut spectrum) = (0.0, covariances[0]);
    for (lag, covariance) in covariances.iter().enumerate().take(lags + 1).skip(1) {
        let share = lag as f64 / lags as f64;
        let window = if share <= 0.5 { 1.0 } else { 2.0 * (1.0 - share) };
        slope += 2.0 * window * lag as f64 * covariance;
        spectrum += 2.0 * window * covariance;
    }
    let length = (2.0 * slope * slope / (4.0 / 3.0 * spectrum * spectrum) * count).cbrt();
    length.is_finite().then(|| length.min(longest))
}
