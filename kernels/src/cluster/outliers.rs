//! Runs that lie apart from the others, and curves that diverged, are stuck, or spike.

use rayon::prelude::*;

use crate::cluster::InvalidClustering;
use crate::cluster::curves::{Curves, finite};
use crate::cluster::features::Features;
use crate::cluster::knn::{KnnRequest, Queries, nearest_neighbours};
use crate::cpu::simd::Simd;
use crate::error::KernelError;

/// What a median absolute deviation is multiplied with to estimate a standard deviation.
const MAD_TO_DEVIATION: f64 = 1.482_602_218_505_602;
/// What a mean absolute deviation is multiplied with to estimate a standard deviation.
const MEAN_TO_DEVIATION: f64 = 1.253_314_137_315_500_3;
/// Logarithms of distances that differ by less count as equal.
const EQUAL_WITHIN: f64 = 1e-6;
/// Points on each side that a running median looks at.
const MEDIAN_REACH: usize = 2;
/// Deviations smaller than this share of what curves typically gain are no spikes.
const SMALL_SHARE: f64 = 0.02;

/// How far rows lie from their neighbours, see [`row_outliers`].
#[derive(Debug, Clone, PartialEq)]
pub struct RowOutliers {
    /// Mean distance of each row to its `k` nearest rows.
    pub distances: Vec<f64>,
    /// Local outlier factor (Breunig et al. 2000): about 1 where the row is as densely surrounded as its neighbours,
    /// above where it is not. 1 inside of `k` equal rows; infinite beside such.
    pub factors: Vec<f64>,
    /// `ln(distance)` as a robust z score over all rows (median and median absolute deviation, or mean absolute
    /// deviation where that is 0); 0 where distances do not vary. Above 3.5 is far out (Iglewicz & Hoaglin 1993).
    pub scores: Vec<f64>,
}

/// Scores rows by the distances to their `k` nearest rows. Runs on the CPU.
///
/// # Errors
/// As for [`crate::Backend::nearest_neighbours`].
///
/// ```
/// use kernels::cluster::{Features, row_outliers};
/// let features = Features { values: &[1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 9.0], columns: 1 };
/// let out = row_outliers(features, 2)?;
/// assert!(out.scores[6] > 3.5 && out.scores[..6].iter().all(|score| *score < 3.5));
/// # Ok::<(), kernels::KernelError>(())
/// ```
pub fn row_outliers(features: Features<'_>, k: usize) -> Result<RowOutliers, KernelError> {
    let near = nearest_neighbours(Simd::detect(), &KnnRequest { features, k, queries: Queries::All })?;
    let lists = || near.distances.chunks_exact(k).zip(near.rows.chunks_exact(k));
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / k as f64;
    let distances: Vec<f64> = lists().map(|(distances, _)| mean(&mut distances.iter().copied())).collect();
    let reach = |row: u32| near.distances[row as usize * k + k - 1];
    let densities: Vec<f64> = lists()
        .map(|(distances, rows)| {
            1.0 / mean(&mut distances.iter().zip(rows).map(|(distance, &row)| distance.max(reach(row))))
        })
        .collect();
    let factors = lists()
        .zip(&densities)
        .map(|((_, rows), density)| {
            if density.is_infinite() {
                return 1.0;
            }
            mean(&mut rows.iter().map(|&row| densities[row as usize])) / density
        })
        .collect();
    let logs: Vec<f64> = distances.iter().map(|distance| distance.max(f64::MIN_POSITIVE).ln()).collect();
    let centre = median(logs.clone());
    let deviations: Vec<f64> = logs.iter().map(|log| (log - centre).abs()).collect();
    let mean_deviation = deviations.iter().sum::<f64>() / deviations.len() as f64;
    let middle_deviation = median(deviations);
    // Where more than half of the rows are equally far from their neighbours, the median would only see rounding.
    let spread = if middle_deviation > EQUAL_WITHIN {
        MAD_TO_DEVIATION * middle_deviation
    } else {
        MEAN_TO_DEVIATION * mean_deviation
    };
    let scores = logs.iter().map(|log| if spread > 0.0 { (log - centre) / spread } else { 0.0 }).collect();
    Ok(RowOutliers { distances, factors, scores })
}

/// Which values of a curve are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Goal {
    /// Low ones, such as losses.
    #[default]
    Low,
    /// High ones, such as accuracies.
    High,
}

/// A request to [`curve_outliers`]. The thresholds are conventions, not tests of significance.
#[derive(Debug, Clone, Copy)]
pub struct CurveOutlierRequest<'a> {
    /// The curves.
    pub curves: Curves<'a>,
    /// Which values are good.
    pub goal: Goal,
    /// A curve has diverged when it ends this share of a typical gain worse than its best value.
    pub diverged_above: f64,
    /// A curve is stuck when it lacks more than this share of a typical gain.
    pub stuck_above: f64,
    /// A curve spikes when a point lies this many robust deviations from its neighbours.
    pub spiking_above: f64,
}

impl<'a> CurveOutlierRequest<'a> {
    /// A request with the defaults: 0.5, 0.95 and 8.
    pub fn new(curves: Curves<'a>, goal: Goal) -> Self {
        Self { curves, goal, diverged_above: 0.5, stuck_above: 0.95, spiking_above: 8.0 }
    }
}

/// The answer to a [`CurveOutlierRequest`], one element per curve.
///
/// A curve gains its first level less its best value, where a level is the median of a tenth of its points (at least
/// one); a typical gain is the median over curves that gain at all. Curves without a finite value have diverged.
#[derive(Debug, Clone, PartialEq)]
pub struct CurveOutliers {
    /// Last level less best value, in typical gains; infinite when a value of the last tenth is not finite.
    pub divergence: Vec<f64>,
    /// The part of a typical gain that the curve lacks: 1 when it gained nothing, 0 or less when it gained as usual.
    pub stuckness: Vec<f64>,
    /// The largest distance of a point from the median of itself and two points on each side, in robust deviations
    /// of the curve (or in fiftieths of a typical gain, where these are larger). NaN below five finite points.
    pub spikiness: Vec<f64>,
    /// Whether the curve has diverged.
    pub diverged: Vec<bool>,
    /// Whether the curve is stuck.
    pub stuck: Vec<bool>,
    /// Whether the curve spikes.
    pub spiking: Vec<bool>,
    /// The typical gain; 0 when no curve gains.
    pub typical_gain: f64,
}

/// What one curve tells.
struct Shape {
    gain: f64,
    relapse: f64,
    largest_deviation: f64,
    typical_deviation: f64,
    ends_finite: bool,
}

/// Finds curves that diverged, are stuck, or spike. Runs on the CPU.
///
/// # Errors
/// Bad shapes, steps that fall, and thresholds that are NaN.
///
/// ```
/// use kernels::cluster::{CurveOutlierRequest, Curves, Goal, curve_outliers};
/// let steps: Vec<f64> = (0..4).flat_map(|_| (0..50).map(f64::from)).collect();
/// let mut values: Vec<f64> = steps.iter().map(|step| (-step / 10.0).exp()).collect();
/// values[50..100].fill(1.0);
/// values[149] = f64::NAN;
/// values[170] = 5.0;
/// let curves = Curves { steps: &steps, values: &values, offsets: &[0, 50, 100, 150, 200] };
/// let out = curve_outliers(&CurveOutlierRequest::new(curves, Goal::Low))?;
/// assert_eq!(out.stuck, [false, true, false, false]);
/// assert_eq!(out.diverged, [false, false, true, false]);
/// assert_eq!(out.spiking, [false, false, false, true]);
/// # Ok::<(), kernels::cluster::InvalidClustering>(())
/// ```
pub fn curve_outliers(request: &CurveOutlierRequest<'_>) -> Result<CurveOutliers, InvalidClustering> {
    request.curves.check()?;
    let thresholds = [
        ("diverged_above", request.diverged_above),
        ("stuck_above", request.stuck_above),
        ("spiking_above", request.spiking_above),
    ];
    if let Some((name, got)) = thresholds.into_iter().find(|(_, threshold)| threshold.is_nan()) {
        return Err(InvalidClustering::Parameter { name, expected: "a number", got });
    }
    let shapes: Vec<Option<Shape>> =
        (0..request.curves.len()).into_par_iter().map(|curve| shape(request, curve)).collect();
    let gains: Vec<f64> =
        shapes.iter().flatten().map(|shape| shape.gain).filter(|gain| *gain > 0.0).collect();
    let typical_gain = if gains.is_empty() { 0.0 } else { median(gains) };
    let in_gains = |value: f64| if value == 0.0 { 0.0 } else { value / typical_gain };
    let column = |of: &dyn Fn(&Shape) -> f64, absent: f64| -> Vec<f64> {
        shapes.iter().map(|shape| shape.as_ref().map_or(absent, of)).collect()
    };
    let divergence = column(
        &|shape| if shape.ends_finite { in_gains(shape.relapse) } else { f64::INFINITY },
        f64::INFINITY,
    );
    let stuckness = column(&|shape| 1.0 - in_gains(shape.gain), f64::NAN);
    let spikiness = column(
        &|shape| {
            let unit = shape.typical_deviation.max(SMALL_SHARE * typical_gain);
            if shape.largest_deviation == 0.0 { 0.0 } else { shape.largest_deviation / unit }
        },
        f64::NAN,
    );
    let above = |values: &[f64], threshold: f64| values.iter().map(|value| *value > threshold).collect();
    Ok(CurveOutliers {
        diverged: above(&divergence, request.diverged_above),
        stuck: above(&stuckness, request.stuck_above),
        spiking: above(&spikiness, request.spiking_above),
        divergence,
        stuckness,
        spikiness,
        typical_gain,
    })
}

/// The shape of a curve, turned so that low values are good; `None` without a finite value.
fn shape(request: &CurveOutlierRequest<'_>, curve: usize) -> Option<Shape> {
    let sign = if request.goal == Goal::Low { 1.0 } else { -1.0 };
    let values: Vec<f64> = finite(request.curves, curve).into_iter().map(|(_, value)| sign * value).collect();
    let best = values.iter().copied().reduce(f64::min)?;
    let all = request.curves.curve(curve).1;
    let tenth = |count: usize| count.div_ceil(10);
    let level = |part: &[f64]| median(part.to_vec());
    let (first, last) = (tenth(values.len()), values.len() - tenth(values.len()));
    let mut deviations: Vec<f64> = values
        .windows(2 * MEDIAN_REACH + 1)
        .map(|window| (window[MEDIAN_REACH] - median(window.to_vec())).abs())
        .collect();
    let largest_deviation = deviations.iter().copied().reduce(f64::max).unwrap_or(f64::NAN);
    // Points that are their own median tell nothing about noise.
    deviations.retain(|deviation| *deviation > 0.0);
    let typical = if deviations.is_empty() { 0.0 } else { MAD_TO_DEVIATION * median(deviations) };
    Some(Shape {
        gain: level(&values[..first]) - best,
        relapse: level(&values[last..]) - best,
        largest_deviation,
        typical_deviation: typical,
        ends_finite: all[all.len() - tenth(all.len())..].iter().all(|value| value.is_finite()),
    })
}

/// The middle value, or the mean of the two middle ones; NaN of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    crate::describe::quantile_sorted(&values, 0.5).unwrap_or(f64::NAN)
}
