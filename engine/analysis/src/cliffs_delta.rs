//! Cliff's delta with his interval (Cliff 1996).

use crate::describe::{check_level, finite_sample};
use crate::distributions::normal_quantile;
use crate::error::Result;

/// How much more often a value of one sample exceeds one of the other than the other way round.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct CliffsDelta {
    /// P(a > b) - P(a < b) over all pairs, from -1 to 1.
    pub delta: f64,
    /// The unbiased estimate of its variance, but not below (1 - delta^2) / (n m - 1).
    pub variance: f64,
    /// The asymmetric interval at `level`; `None` when the samples do not overlap, where the variance says nothing.
    pub interval: Option<[f64; 2]>,
    /// Confidence level of the interval.
    pub level: f64,
}

/// Cliff's delta of two independent samples.
///
/// # Errors
/// `empty_sample`, `nonfinite_value`, `too_few_runs` (fewer than two values in a sample),
/// `probability_out_of_range`.
pub fn cliffs_delta(a: &[f64], b: &[f64], level: f64) -> Result<CliffsDelta> {
    check_level(level)?;
    let (a, b) = (finite_sample("sample a", a, 2)?, finite_sample("sample b", b, 2)?);
    let (n, m) = (a.len() as f64, b.len() as f64);
    let mut ties = 0.0;
    let rows: Vec<f64> = a
        .iter()
        .map(|x| {
            let (below, not_above) = (b.partition_point(|y| y < x), b.partition_point(|y| y <= x));
            ties += (not_above - below) as f64;
            (below as f64 - (b.len() - not_above) as f64) / m
        })
        .collect();
    let columns = b.iter().map(|y| {
        let (below, not_above) = (a.partition_point(|x| x < y), a.partition_point(|x| x <= y));
        ((a.len() - not_above) as f64 - below as f64) / n
    });
    let delta = rows.iter().sum::<f64>() / n;
    let spread = |margins: &mut dyn Iterator<Item = f64>| margins.map(|d| (d - delta).powi(2)).sum::<f64>();
    let of_rows = spread(&mut rows.iter().copied());
    let of_columns = spread(&mut { columns });
    // Every pair is -1, 0 or 1, so that their squares are counted, not summed.
    let of_pairs = n * m - ties - n * m * delta * delta;
    let unbiased = (m * m * of_rows + n * n * of_columns - of_pairs) / (n * m * (n - 1.0) * (m - 1.0));
    let separated = delta.abs() == 1.0;
    let variance = if separated { 0.0 } else { unbiased.max((1.0 - delta * delta) / (n * m - 1.0)) };
    Ok(CliffsDelta {
        delta,
        variance,
        interval: (!separated).then(|| asymmetric(delta, variance, normal_quantile(0.5 * (1.0 + level)))),
        level,
    })
}

fn asymmetric(delta: f64, variance: f64, z: f64) -> [f64; 2] {
    let square = delta * delta;
    let reach = z * variance.sqrt() * ((1.0 - square).powi(2) + z * z * variance).sqrt();
    let divisor = 1.0 - square + z * z * variance;
    [(delta * (1.0 - square) - reach) / divisor, (delta * (1.0 - square) + reach) / divisor]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separated_samples_have_no_interval() {
        let effect = cliffs_delta(&[4.0, 5.0], &[1.0, 2.0], 0.95).unwrap();
        assert_eq!((effect.delta, effect.variance, effect.interval), (1.0, 0.0, None));
    }

    #[test]
    fn equal_samples_have_none_of_it() {
        let effect = cliffs_delta(&[1.0, 1.0, 1.0], &[1.0, 1.0], 0.95).unwrap();
        assert_eq!(effect.delta, 0.0);
        let [low, high] = effect.interval.unwrap();
        assert!(low < 0.0 && high > 0.0 && low >= -1.0 && high <= 1.0, "{low} {high}");
    }

    #[test]
    fn swapping_mirrors() {
        let (a, b) = ([1.0, 3.0, 2.0, 7.0], [2.0, 2.0, 9.0]);
        let (forth, back) = (cliffs_delta(&a, &b, 0.9).unwrap(), cliffs_delta(&b, &a, 0.9).unwrap());
        assert!((forth.delta + back.delta).abs() < 1e-15);
        assert!((forth.variance - back.variance).abs() < 1e-15);
    }

    #[test]
    fn one_value_is_too_few() {
        assert_eq!(cliffs_delta(&[1.0], &[1.0, 2.0], 0.95).unwrap_err().code(), "too_few_runs");
    }
}
