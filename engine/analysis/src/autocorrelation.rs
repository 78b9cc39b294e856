//! Points of one curve depend on their neighbours: autocorrelation, and the level of a part of a curve in spite of it.

use serde::Serialize;

use kernels::{BlockLength, BlockScheme, Samples, Statistic, Structure, StructuredRequest};

use crate::describe::{check_level, t_interval};
use crate::distributions::chi_squared_sf;
use crate::error::{AnalysisError, Result};
use crate::moments::Moments;
use crate::p_value::PValue;
use crate::permutation::Resampling;

/// Parts whose means give the level of a curve; nine degrees of freedom.
const BATCHES: usize = 10;

/// Points of which a level is estimated: two for each batch.
const POINTS_MIN: usize = 2 * BATCHES;

/// Above this correlation of neighbouring batch means the interval is too short.
const BATCH_CORRELATION_MAX: f64 = 0.3;

/// Autocorrelations at lags 0 to `lags`: autocovariances over the same number of points, divided by the variance.
///
/// # Errors
/// `nonfinite_value`, `too_few_points` (no more points than lags), `zero_variance`.
///
/// # Examples
/// ```
/// let zigzag = [1.0, -1.0, 1.0, -1.0, 1.0, -1.0];
/// assert!(analysis::autocorrelation(&zigzag, 1)?[1] < -0.8);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn autocorrelation(values: &[f64], lags: usize) -> Result<Vec<f64>> {
    let covariances = autocovariances(values, lags)?;
    if covariances[0] == 0.0 {
        return Err(AnalysisError::ZeroVariance { difference: 0.0 });
    }
    Ok(covariances.iter().map(|covariance| covariance / covariances[0]).collect())
}

fn autocovariances(values: &[f64], lags: usize) -> Result<Vec<f64>> {
    let count = values.iter().filter(|v| !v.is_finite()).count();
    if count > 0 {
        return Err(AnalysisError::NonfiniteValue { sample: "the curve".into(), count });
    }
    if values.len() <= lags {
        return Err(AnalysisError::TooFewPoints { have: values.len(), need: lags + 1 });
    }
    let moments = Moments::of(values);
    if moments.is_constant() {
        return Ok(vec![0.0; lags + 1]);
    }
    let mean = moments.mean().unwrap_or(0.0);
    let deviations: Vec<f64> = values.iter().map(|v| v - mean).collect();
    let at = |lag: usize| deviations[lag..].iter().zip(&deviations).map(|(x, y)| x * y).sum::<f64>();
    Ok((0..=lags).map(|lag| at(lag) / values.len() as f64).collect())
}

/// The test of Ljung & Box (1978): are the first `lags` autocorrelations all zero? Statistic and p-value.
///
/// # Errors
/// As [`autocorrelation`]; `invalid_argument` for no lag.
pub fn ljung_box(values: &[f64], lags: usize) -> Result<(f64, PValue)> {
    if lags == 0 {
        let expected = "1 or more";
        return Err(AnalysisError::InvalidArgument { name: "lags", value: "0".into(), expected });
    }
    let n = values.len() as f64;
    let correlations = autocorrelation(values, lags)?;
    let parts = correlations.iter().enumerate().skip(1).map(|(lag, r)| r * r / (n - lag as f64));
    let statistic = n * (n + 2.0) * parts.sum::<f64>();
    Ok((statistic, PValue::new(chi_squared_sf(statistic, lags as f64))))
}

/// Newey and West's standard error of the mean of a curve (1987) with Bartlett's weights. Without a number of lags it
/// is floor(4 (n/100)^(2/9)). It is too small for strong autocorrelation; [`curve_level`] is not.
///
/// # Errors
/// As [`autocorrelation`], but a constant curve has an error of 0.
pub fn newey_west_error(values: &[f64], lags: Option<usize>) -> Result<f64> {
    let n = values.len() as f64;
    let lags = lags.unwrap_or((4.0 * (n / 100.0).powf(2.0 / 9.0)).floor() as usize);
    let covariances = autocovariances(values, lags)?;
    let weighted = |(lag, covariance): (usize, &f64)| {
        let weight = if lag == 0 { 1.0 } else { 2.0 * (1.0 - lag as f64 / (lags + 1) as f64) };
        weight * covariance
    };
    Ok((covariances.iter().enumerate().map(weighted).sum::<f64>().max(0.0) / n).sqrt())
}

/// The level of a part of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CurveLevel {
    /// Mean of the points.
    pub mean: f64,
    /// Standard error from the means of ten batches.
    pub standard_error: f64,
    /// The t interval with nine degrees of freedom at `level`. Covers 94 % for 95 at an autocorrelation of 0.9 and
    /// 1,000 points.
    pub interval: [f64; 2],
    /// The percentile interval of a circular block bootstrap with blocks of [`kernels::block_length`] (Politis & White
    /// 2004), beside it: covers 89 %.
    pub bootstrap_interval: [f64; 2],
    /// Confidence level of both.
    pub level: f64,
    /// Correlation of neighbouring batch means; 0 when they are all equal.
    pub batch_correlation: f64,
    /// That correlation is above 0.3: the batches still depend on each other, so that a longer part is needed.
    pub still_correlated: bool,
    /// Points.
    pub points: usize,
}

/// The level of a part of a curve within one run, by means of ten batches (Schmeiser 1982). Nothing is said about
/// other runs of the same recipe.
///
/// Points that do not fill the last batch are put into the first ones, one each.
///
/// # Errors
/// `too_few_points` (fewer than 20), `nonfinite_value`, `probability_out_of_range`, `invalid_argument` (resamples).
pub fn curve_level(values: &[f64], level: f64, resampling: Resampling) -> Result<CurveLevel> {
    check_level(level)?;
    let count = values.iter().filter(|v| !v.is_finite()).count();
    if count > 0 {
        return Err(AnalysisError::NonfiniteValue { sample: "the curve".into(), count });
    }
    let points = values.len();
    if points < POINTS_MIN {
        return Err(AnalysisError::TooFewPoints { have: points, need: POINTS_MIN });
    }
    let (size, longer) = (points / BATCHES, points % BATCHES);
    let mut rest = values;
    let mut means = Vec::with_capacity(BATCHES);
    for batch in 0..BATCHES {
        let (own, others) = rest.split_at(size + usize::from(batch < longer));
        rest = others;
        means.extend(Moments::of(own).mean());
    }
    let mean = Moments::of(values).mean().unwrap_or(0.0);
    let standard_error = Moments::of(&means).standard_error().unwrap_or(0.0);
    let batch_correlation = autocorrelation(&means, 1).map_or(0.0, |correlations| correlations[1]);
    Ok(CurveLevel {
        mean,
        standard_error,
        interval: t_interval(mean, standard_error, (BATCHES - 1) as f64, level),
        bootstrap_interval: block_bootstrap(values, mean, level, resampling)?,
        level,
        batch_correlation,
        still_correlated: batch_correlation > BATCH_CORRELATION_MAX,
        points,
    })
}

fn block_bootstrap(values: &[f64], mean: f64, level: f64, resampling: Resampling) -> Result<[f64; 2]> {
    let refused = |value: String, expected| AnalysisError::InvalidArgument { name: "curve", value, expected };
    let end = u32::try_from(values.len())
        .map_err(|_| refused(format!("{} points", values.len()), "below 2^32 points"))?;
    if Moments::of(values).is_constant() {
        return Ok([mean; 2]);
    }
    let offsets = [0, end];
    let samples = Samples { values, offsets: &offsets };
    let structure = Structure::Blocks { length: BlockLength::Automatic, scheme: BlockScheme::Circular };
    let request = StructuredRequest {
        level,
        resamples: resampling.resamples,
        seed: resampling.seed,
        ..StructuredRequest::new(samples, structure, Statistic::Mean)
    };
    let out = kernels::structured_bootstrap(&request)
        .map_err(|error| refused(error.to_string(), "what a block bootstrap can resample"))?;
    Ok([out.low[0], out.high[0]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drifting_curve_is_seen_in_its_batches() {
        let drift: Vec<f64> = (0..200).map(f64::from).collect();
        let level = curve_level(&drift, 0.95, Resampling::default()).unwrap();
        assert!(level.still_correlated && level.batch_correlation > 0.5);
        let zigzag: Vec<f64> = (0..200).map(|i| f64::from(i * 7 % 11)).collect();
        let level = curve_level(&zigzag, 0.95, Resampling::default()).unwrap();
        assert!(!level.still_correlated);
        for [low, high] in [level.interval, level.bootstrap_interval] {
            assert!(low < level.mean && level.mean < high);
        }
    }

    #[test]
    fn short_and_constant_curves_are_told() {
        let code = |values: &[f64]| curve_level(values, 0.95, Resampling::default()).map_err(|e| e.code());
        assert_eq!(code(&[0.5, 0.6]).unwrap_err(), "too_few_points");
        assert_eq!(code(&[f64::NAN; 30]).unwrap_err(), "nonfinite_value");
        let constant = code(&[0.1; 25]).unwrap();
        assert_eq!((constant.interval, constant.bootstrap_interval), ([0.1; 2], [0.1; 2]));
        assert_eq!(autocorrelation(&[1.0; 5], 2).unwrap_err().code(), "zero_variance");
        assert_eq!(newey_west_error(&[1.0; 5], None).unwrap(), 0.0);
    }
}
