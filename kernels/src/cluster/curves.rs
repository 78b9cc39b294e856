//! Curves of unequal steps: resampling to a common grid, and distances between them.

use rayon::prelude::*;

use crate::cluster::quality::distance;
use crate::cluster::{InvalidClustering, by_cpu};
use crate::cpu::simd::Simd;
use crate::cpu::warping::Warping;
use crate::error::KernelError;
use crate::request::Provenance;

/// All pairs of distances must fit in memory: 3.6 GB for this many curves.
const CURVES_MAX: usize = 30_000;
/// Curves are compared at this many positions at most.
const POINTS_MAX: usize = 1_024;

/// Curves: curve `c` has the points `offsets[c]..offsets[c + 1]`.
///
/// Steps are finite and never fall inside a curve; of several points at one step the last counts. Values that are not
/// finite are left out.
#[derive(Debug, Clone, Copy)]
pub struct Curves<'a> {
    /// Where the points lie, for example training steps.
    pub steps: &'a [f64],
    /// The values there, as many as steps.
    pub values: &'a [f64],
    /// Where each curve starts; the last element is the number of points.
    pub offsets: &'a [u32],
}

/// Where curves are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Grid {
    /// At equal steps, over the range that all curves cover.
    Common,
    /// At equal shares of each curve's own range: the shape counts, not the length.
    #[default]
    Own,
}

/// How far apart two resampled curves are.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum CurveMeasure {
    /// The root of the sum of squared differences.
    #[default]
    Euclidean,
    /// The root of the least sum of squared differences over alignments (dynamic time warping).
    Dtw {
        /// How many positions apart aligned points may be; `None` for any.
        window: Option<usize>,
    },
    /// The soft-DTW divergence (Blondel, Mensch & Vert 2021): soft-DTW less the mean of both curves' soft-DTW with
    /// themselves, so that equal curves are at 0. A sum of squares, not its root.
    SoftDtw {
        /// Smoothing, above 0, in squared units of the values.
        gamma: f64,
    },
}

/// A request to [`crate::Backend::curve_distances`].
#[derive(Debug, Clone, Copy)]
pub struct CurveRequest<'a> {
    /// The curves.
    pub curves: Curves<'a>,
    /// Positions at which curves are compared, from 2 to 1,024.
    pub points: usize,
    /// Where these lie.
    pub grid: Grid,
    /// The measure.
    pub measure: CurveMeasure,
    /// Whether each curve is first brought to mean 0 and standard deviation 1 (constant curves to 0), so that only
    /// its shape counts.
    pub normalise: bool,
}

impl<'a> CurveRequest<'a> {
    /// A request with the defaults: 64 points of each curve's own range, Euclidean, not normalised.
    pub fn new(curves: Curves<'a>) -> Self {
        Self { curves, points: 64, grid: Grid::Own, measure: CurveMeasure::Euclidean, normalise: false }
    }

    /// The same request with another measure.
    pub fn measure(self, measure: CurveMeasure) -> Self {
        Self { measure, ..self }
    }

    pub(crate) fn check(&self) -> Result<(), InvalidClustering> {
        let parameter = |name, expected, got| Err(InvalidClustering::Parameter { name, expected, got });
        if !(2..=POINTS_MAX).contains(&self.points) {
            return parameter("points", "between 2 and 1024", self.points as f64);
        }
        match self.measure {
            CurveMeasure::SoftDtw { gamma } if !gamma.is_finite() || gamma <= 0.0 => {
                parameter("gamma", "finite and above 0", gamma)
            }
            _ => Ok(()),
        }
    }
}

/// The answer to a [`CurveRequest`].
#[derive(Debug, Clone, PartialEq)]
pub struct CurveDistances {
    /// Number of curves.
    pub curves: usize,
    /// `curves * curves` distances, symmetric, with a zero diagonal.
    pub distances: Vec<f32>,
    /// Values that were left out because they are not finite, by curve.
    pub skipped: Vec<u32>,
    /// Where this was computed.
    pub provenance: Provenance,
}

/// Curves on one grid.
#[derive(Debug, Clone, PartialEq)]
pub struct ResampledCurves {
    /// Values of a curve.
    pub points: usize,
    /// `curves * points` values, curve after curve.
    pub values: Vec<f64>,
    /// Values that were left out because they are not finite, by curve.
    pub skipped: Vec<u32>,
}

impl Curves<'_> {
    /// The number of curves (0 when `offsets` is empty, which validation refuses).
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there are no curves.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Steps and values of a curve.
    pub(crate) fn curve(&self, curve: usize) -> (&[f64], &[f64]) {
        let range = self.offsets[curve] as usize..self.offsets[curve + 1] as usize;
        (&self.steps[range.clone()], &self.values[range])
    }

    pub(crate) fn check(&self) -> Result<(), InvalidClustering> {
        if self.steps.len() != self.values.len() {
            let (name, got, expected) = ("values", self.values.len(), self.steps.len());
            return Err(InvalidClustering::Length { name, got, expected });
        }
        let rises = self.offsets.windows(2).all(|ends| ends[0] <= ends[1]);
        let ends = (self.offsets.first(), self.offsets.last());
        if !rises || ends != (Some(&0), Some(&(self.steps.len() as u32))) {
            let got = self.offsets.last().map_or(0, |&end| end as usize);
            return Err(InvalidClustering::Length { name: "offsets", got, expected: self.steps.len() });
        }
        for curve in 0..self.len() {
            let steps = self.curve(curve).0;
            let bad =
                (0..steps.len()).find(|&at| !steps[at].is_finite() || (at > 0 && steps[at] < steps[at - 1]));
            if let Some(position) = bad {
                return Err(InvalidClustering::StepOrder { curve, position, step: steps[position] });
            }
        }
        Ok(())
    }
}

/// Brings curves to a grid by linear interpolation between neighbouring points. A curve with a single point is
/// constant.
///
/// # Errors
/// Bad shapes, steps that fall, a curve without a finite value, and with [`Grid::Common`] curves that share no range.
///
/// ```
/// use kernels::cluster::{Curves, Grid, resample_curves};
/// let curves = Curves { steps: &[0.0, 10.0, 0.0, 4.0], values: &[0.0, 1.0, 8.0, 4.0], offsets: &[0, 2, 4] };
/// let out = resample_curves(curves, 3, Grid::Own)?;
/// assert_eq!(out.values, [0.0, 0.5, 1.0, 8.0, 6.0, 4.0]);
/// # Ok::<(), kernels::cluster::InvalidClustering>(())
/// ```
pub fn resample_curves(
    curves: Curves<'_>,
    points: usize,
    grid: Grid,
) -> Result<ResampledCurves, InvalidClustering> {
    curves.check()?;
    if points < 2 {
        return Err(InvalidClustering::Parameter {
            name: "points",
            expected: "at least 2",
            got: points as f64,
        });
    }
    let finite: Vec<Vec<(f64, f64)>> =
        (0..curves.len()).into_par_iter().map(|curve| finite(curves, curve)).collect();
    if let Some(curve) = finite.iter().position(Vec::is_empty) {
        return Err(InvalidClustering::EmptyCurve { curve });
    }
    let first = |curve: &Vec<(f64, f64)>| curve[0].0;
    let last = |curve: &Vec<(f64, f64)>| curve[curve.len() - 1].0;
    let common = match grid {
        Grid::Own => None,
        Grid::Common => {
            let low = finite.iter().map(first).fold(f64::NEG_INFINITY, f64::max);
            let high = finite.iter().map(last).fold(f64::INFINITY, f64::min);
            if low > high {
                let expected = "a range of steps that all curves cover; use the grid of own ranges";
                return Err(InvalidClustering::Parameter { name: "grid", expected, got: high - low });
            }
            Some((low, high))
        }
    };
    let skipped = (0..curves.len())
        .map(|curve| curves.curve(curve).1.iter().filter(|value| !value.is_finite()).count() as u32)
        .collect();
    let mut values = vec![0.0; curves.len() * points];
    values.par_chunks_mut(points).zip(&finite).for_each(|(out, curve)| {
        let (low, high) = common.unwrap_or((first(curve), last(curve)));
        let mut right = 0;
        for (position, out) in out.iter_mut().enumerate() {
            let share = position as f64 / (points - 1) as f64;
            let step = if position + 1 == points { high } else { low + (high - low) * share };
            while right < curve.len() && curve[right].0 <= step {
                right += 1;
            }
            *out = match (right.checked_sub(1).map(|left| curve[left]), curve.get(right)) {
                (Some(left), Some(right)) => {
                    left.1 + (right.1 - left.1) * ((step - left.0) / (right.0 - left.0))
                }
                (Some(left), None) => left.1,
                (None, right) => right.map_or(f64::NAN, |right| right.1),
            };
        }
    });
    Ok(ResampledCurves { points, values, skipped })
}

/// The finite points of a curve, the last one of each step.
pub(crate) fn finite(curves: Curves<'_>, curve: usize) -> Vec<(f64, f64)> {
    let (steps, values) = curves.curve(curve);
    let mut points: Vec<(f64, f64)> = Vec::with_capacity(steps.len());
    for (&step, &value) in steps.iter().zip(values).filter(|(_, value)| value.is_finite()) {
        if points.last().is_some_and(|last| last.0 == step) {
            points.pop();
        }
        points.push((step, value));
    }
    points
}

pub(crate) fn curve_distances(simd: Simd, request: &CurveRequest<'_>) -> Result<CurveDistances, KernelError> {
    request.check()?;
    let count = request.curves.len();
    if count > CURVES_MAX {
        return Err(InvalidClustering::TooManyRows { rows: count, max: CURVES_MAX }.into());
    }
    let mut resampled = resample_curves(request.curves, request.points, request.grid)?;
    if request.normalise {
        resampled.values.par_chunks_mut(request.points).for_each(normalise);
    }
    let curve = |curve: usize| &resampled.values[curve * request.points..(curve + 1) * request.points];
    let itself: Vec<f64> = match request.measure {
        CurveMeasure::SoftDtw { gamma } => (0..count)
            .into_par_iter()
            .map_init(
                || Warping::new(request.points),
                |warping, row| warping.soft(simd, curve(row), curve(row), gamma),
            )
            .collect(),
        _ => Vec::new(),
    };
    let mut distances = vec![0.0f32; count * count];
    distances.par_chunks_mut(count.max(1)).enumerate().for_each_init(
        || Warping::new(request.points),
        |warping, (row, out)| {
            for (other, out) in out.iter_mut().enumerate().skip(row + 1) {
                let (a, b) = (curve(row), curve(other));
                *out = match request.measure {
                    CurveMeasure::Euclidean => distance(a, b),
                    CurveMeasure::Dtw { window } => {
                        warping.hard(simd, a, b, window.unwrap_or(request.points)).sqrt()
                    }
                    CurveMeasure::SoftDtw { gamma } => {
                        let between = warping.soft(simd, a, b, gamma);
                        (between - 0.5 * (itself[row] + itself[other])).max(0.0)
                    }
                } as f32;
            }
        },
    );
    mirror(&mut distances, count);
    Ok(CurveDistances { curves: count, distances, skipped: resampled.skipped, provenance: by_cpu() })
}

/// Copies the upper triangle of a square matrix to the lower one, in blocks that fit in a cache.
pub(crate) fn mirror(matrix: &mut [f32], size: usize) {
    const BLOCK: usize = 64;
    for first in (0..size).step_by(BLOCK) {
        for second in (first..size).step_by(BLOCK) {
            for row in second..size.min(second + BLOCK) {
                for column in first..row.min(first + BLOCK) {
                    matrix[row * size + column] = matrix[column * size + row];
                }
            }
        }
    }
}

fn normalise(curve: &mut [f64]) {
    let count = curve.len() as f64;
    let mean = curve.iter().sum::<f64>() / count;
    curve.iter_mut().for_each(|value| *value -= mean);
    let deviation = (curve.iter().map(|value| value * value).sum::<f64>() / count).sqrt();
    if deviation > 0.0 {
        curve.iter_mut().for_each(|value| *value /= deviation);
    }
}
