//! Principal components: the directions along which rows of features vary most (Pearson 1901), for pictures of an
//! embedding in two dimensions and for fewer features before clustering.

use rayon::prelude::*;

use crate::cluster::InvalidClustering;
use crate::cluster::features::Features;

/// More columns than this would take minutes.
const COLUMNS_MAX: usize = 1_024;
/// Rows whose products are summed together; the sums are added in order.
const ROWS_PER_TASK: usize = 4_096;
/// Sweeps of rotations; some ten are enough for any matrix.
const SWEEPS_MAX: usize = 60;

/// Components of some rows, those with most variance first.
#[derive(Debug, Clone, PartialEq)]
pub struct PrincipalComponents {
    /// Features of a row.
    pub columns: usize,
    /// The mean of each feature.
    pub mean: Vec<f64>,
    /// Directions of length 1, `columns` numbers each. The largest number of a direction (the first of equals, by
    /// size) is positive.
    pub directions: Vec<f64>,
    /// The variance along each direction (divisor n - 1).
    pub variances: Vec<f64>,
    /// Each variance as a share of all; NaN where nothing varies.
    pub shares: Vec<f64>,
}

/// The `count` first principal components (fewer where there are fewer columns). Runs on the CPU.
///
/// Columns of different units should be standardised. The covariance matrix is rotated until it is diagonal (Jacobi
/// 1846), so a variance below 1e-15 of the largest is rounding.
///
/// # Errors
/// Bad shapes, values that are not finite, fewer than two rows, more than 1,024 columns, values so large that their
/// variance is not finite.
///
/// ```
/// use kernels::cluster::{Features, principal_components};
/// let features = Features { values: &[0.0, 1.0, 1.0, 2.0, 2.0, 3.0], columns: 2 };
/// let found = principal_components(features, 1)?;
/// assert!((found.directions[0] - 0.5f64.sqrt()).abs() < 1e-12 && (found.shares[0] - 1.0).abs() < 1e-12);
/// assert!((found.project(features)?[2] - 2.0f64.sqrt()).abs() < 1e-12);
/// # Ok::<(), kernels::cluster::InvalidClustering>(())
/// ```
pub fn principal_components(
    features: Features<'_>,
    count: usize,
) -> Result<PrincipalComponents, InvalidClustering> {
    features.check()?;
    let (rows, columns) = (features.rows(), features.columns);
    let parameter = |name, expected, got| Err(InvalidClustering::Parameter { name, expected, got });
    if rows < 2 {
        return parameter("rows", "at least 2", rows as f64);
    }
    if columns > COLUMNS_MAX {
        return parameter("columns", "at most 1024", columns as f64);
    }
    if count == 0 {
        return parameter("count", "at least 1", 0.0);
    }
    let mean = summed(features, columns, |row, sums| {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value / rows as f64);
    });
    let mut matrix = summed(features, columns * columns, |row, sums| {
        for (first, (value, centre)) in row.iter().zip(&mean).enumerate() {
            let deviation = value - centre;
            let others = row[..=first].iter().zip(&mean);
            for (sum, (other, centre)) in sums[first * columns..].iter_mut().zip(others) {
                *sum += deviation * (other - centre);
            }
        }
    });
    if let Some(got) = matrix.iter().copied().find(|sum| !sum.is_finite()) {
        return parameter("the variance of a feature", "finite", got);
    }
    for first in 0..columns {
        for second in 0..=first {
            let covariance = matrix[first * columns + second] / (rows - 1) as f64;
            matrix[first * columns + second] = covariance;
            matrix[second * columns + first] = covariance;
        }
    }
    let vectors = diagonalise(&mut matrix, columns);
    let variance = |component: usize| matrix[component * columns + component].max(0.0);
    let mut order: Vec<usize> = (0..columns).collect();
    order.sort_by(|&a, &b| variance(b).total_cmp(&variance(a)));
    let total: f64 = order.iter().map(|&component| variance(component)).sum();
    order.truncate(count);
    let variances: Vec<f64> = order.iter().map(|&component| variance(component)).collect();
    Ok(PrincipalComponents {
        columns,
        mean,
        directions: order
            .iter()
            .flat_map(|&component| oriented(&vectors[component * columns..(component + 1) * columns]))
            .collect(),
        shares: variances.iter().map(|variance| variance / total).collect(),
        variances,
    })
}

impl PrincipalComponents {
    /// Where rows lie along the directions: as many numbers a row as there are components.
    ///
    /// # Errors
    /// Rows with another number of columns, and values that are not finite.
    pub fn project(&self, features: Features<'_>) -> Result<Vec<f64>, InvalidClustering> {
        features.check()?;
        if features.columns != self.columns {
            let (got, expected) = (features.columns, self.columns);
            return Err(InvalidClustering::Length { name: "columns", got, expected });
        }
        let mut out = vec![0.0; features.rows() * self.variances.len()];
        out.par_chunks_mut(self.variances.len()).zip(features.values.par_chunks(self.columns)).for_each(
            |(out, row)| {
                for (out, direction) in out.iter_mut().zip(self.directions.chunks_exact(self.columns)) {
                    let deviations = row.iter().zip(&self.mean).map(|(value, mean)| value - mean);
                    *out = deviations.zip(direction).map(|(deviation, part)| deviation * part).sum();
                }
            },
        );
        Ok(out)
    }
}

/// Sums over all rows, block by block, so that their order does not depend on threads.
fn summed(features: Features<'_>, count: usize, add: impl Fn(&[f64], &mut [f64]) + Sync) -> Vec<f64> {
    let blocks: Vec<Vec<f64>> = features
        .values
        .par_chunks(features.columns * ROWS_PER_TASK)
        .map(|rows| {
            let mut sums = vec![0.0; count];
            rows.chunks_exact(features.columns).for_each(|row| add(row, &mut sums));
            sums
        })
        .collect();
    let mut total = vec![0.0; count];
    for block in blocks {
        total.iter_mut().zip(block).for_each(|(total, sum)| *total += sum);
    }
    total
}

/// Rotates a symmetric matrix until it is diagonal; returns the directions, row by row.
fn diagonalise(matrix: &mut [f64], size: usize) -> Vec<f64> {
    let mut vectors = vec![0.0; size * size];
    (0..size).for_each(|place| vectors[place * size + place] = 1.0);
    for _ in 0..SWEEPS_MAX {
        let mut rotated = false;
        for first in 0..size {
            for second in first + 1..size {
                let off = matrix[first * size + second];
                let [a, b] = [matrix[first * size + first], matrix[second * size + second]];
                // Below the rounding of both variances there is nothing left to remove.
                if off.abs() <= f64::EPSILON * (a.abs() * b.abs()).sqrt() || off.abs() < f64::MIN_POSITIVE {
                    continue;
                }
                rotated = true;
                let ratio = (b - a) / (2.0 * off);
                let tangent = 1.0f64.copysign(ratio) / (ratio.abs() + ratio.hypot(1.0));
                let cosine = 1.0 / tangent.hypot(1.0);
                let sine = tangent * cosine;
                for place in 0..size {
                    let [x, y] = [matrix[place * size + first], matrix[place * size + second]];
                    matrix[place * size + first] = cosine * x - sine * y;
                    matrix[place * size + second] = sine * x + cosine * y;
                }
                rotate_rows(matrix, size, [first, second], [cosine, sine]);
                rotate_rows(&mut vectors, size, [first, second], [cosine, sine]);
                matrix[first * size + second] = 0.0;
                matrix[second * size + first] = 0.0;
            }
        }
        if !rotated {
            break;
        }
    }
    vectors
}

fn rotate_rows(matrix: &mut [f64], size: usize, [first, second]: [usize; 2], [cosine, sine]: [f64; 2]) {
    let (before, after) = matrix.split_at_mut(second * size);
    let rows = before[first * size..(first + 1) * size].iter_mut().zip(&mut after[..size]);
    for (x, y) in rows {
        (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
    }
}

/// The direction whose largest number is positive.
fn oriented(direction: &[f64]) -> Vec<f64> {
    let largest =
        direction.iter().copied().reduce(|best, next| if next.abs() > best.abs() { next } else { best });
    let sign = if largest.is_some_and(|largest| largest < 0.0) { -1.0 } else { 1.0 };
    direction.iter().map(|value| value * sign).collect()
}
