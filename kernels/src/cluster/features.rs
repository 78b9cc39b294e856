//! Rows of features as callers give them, and as distances are computed on them: checked, centred, scaled, in f32.

use std::hash::{BuildHasher, RandomState};

use rayon::prelude::*;

use crate::cluster::InvalidClustering;

/// Row numbers are 32 bits wide, and one value is kept free.
const MAX_ROWS: usize = u32::MAX as usize - 1;
/// Rows that are handled as one piece of work.
const ROWS_PER_TASK: usize = 4_096;
/// Centres are multiples of this share of the range, a power of two: so whole numbers and the like stay exact.
const CENTRE_STEP: f64 = 0.125;

/// A matrix of features, row after row.
///
/// Distances are computed between rows in f32 after the mean of each column was subtracted and all
/// columns were divided by one power of two, so large offsets and scales are harmless. Columns are
/// *not* standardised: do that first (see [`crate::cluster::embed`]) when they have different units.
#[derive(Debug, Clone, Copy)]
pub struct Features<'a> {
    /// `rows * columns` finite numbers, row-major.
    pub values: &'a [f64],
    /// Features of one row, at least 1.
    pub columns: usize,
}

impl<'a> Features<'a> {
    /// The number of rows (0 when there are no columns, which validation refuses).
    pub fn rows(&self) -> usize {
        self.values.len().checked_div(self.columns).unwrap_or(0)
    }

    /// The features of one row.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&self, row: usize) -> &'a [f64] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }

    /// Checks shape and finiteness.
    pub(crate) fn check(&self) -> Result<(), InvalidClustering> {
        let Self { values, columns } = *self;
        if columns == 0 || !values.len().is_multiple_of(columns) {
            return Err(InvalidClustering::FeatureShape { values: values.len(), columns });
        }
        if self.rows() > MAX_ROWS {
            return Err(InvalidClustering::TooManyRows { rows: self.rows(), max: MAX_ROWS });
        }
        if values.par_chunks(columns * ROWS_PER_TASK).all(|part| part.iter().all(|value| value.is_finite())) {
            return Ok(());
        }
        let bad: Vec<u32> = (0..self.rows() as u32)
            .filter(|&row| !self.row(row as usize).iter().all(|value| value.is_finite()))
            .collect();
        let row = bad.first().map_or(0, |&row| row as usize);
        let column = self.row(row).iter().position(|value| !value.is_finite()).unwrap_or(0);
        Err(InvalidClustering::NonFiniteFeature {
            row,
            column,
            value: self.row(row)[column],
            count: bad.len(),
            rows: bad.into_iter().take(InvalidClustering::ROWS_NAMED).collect(),
        })
    }
}

/// Features as distances use them: `coordinate = (value - centre of the column) * scale`, rounded to f32.
#[derive(Debug, Clone)]
pub(crate) struct Points {
    /// Number of rows.
    pub(crate) rows: usize,
    /// Features of a row.
    pub(crate) columns: usize,
    /// Coordinates from one row to the next: `columns` padded with zeros to a multiple of 4.
    pub(crate) stride: usize,
    /// `rows * stride` coordinates.
    pub(crate) coordinates: Vec<f32>,
    /// A power of two that brings the largest deviation below 1.
    pub(crate) scale: f64,
}

impl Points {
    /// Checks and converts features.
    pub(crate) fn new(features: Features<'_>) -> Result<Self, InvalidClustering> {
        features.check()?;
        let Features { values, columns } = features;
        let rows = features.rows();
        let stride = columns.next_multiple_of(4);
        let mut centre = column_means(features);
        let largest = largest_deviation(features, &centre);
        if !largest.is_finite() {
            let (name, expected) = ("the range of a feature", "finite");
            return Err(InvalidClustering::Parameter { name, expected, got: largest });
        }
        let scale = scale_below_one(largest);
        for mean in &mut centre {
            *mean = rounded(*mean, CENTRE_STEP / scale);
        }
        let mut coordinates = vec![0.0f32; rows * stride];
        coordinates
            .par_chunks_mut(stride * ROWS_PER_TASK)
            .zip(values.par_chunks(columns * ROWS_PER_TASK))
            .for_each(|(out, part)| {
                for (out, row) in out.chunks_exact_mut(stride).zip(part.chunks_exact(columns)) {
                    for ((out, value), mean) in out.iter_mut().zip(row).zip(&centre) {
                        // Adding zero turns -0 into +0, so equal rows have equal bits.
                        *out = ((value - mean) * scale) as f32 + 0.0;
                    }
                }
            });
        Ok(Self { rows, columns, stride, coordinates, scale })
    }

    /// The coordinates of one row, padding included.
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.coordinates[row * self.stride..(row + 1) * self.stride]
    }

    /// Back from a squared distance of coordinates to a distance of features.
    pub(crate) fn distance(&self, squared: f64) -> f64 {
        squared.sqrt() / self.scale
    }

    /// The same points without repeated rows.
    pub(crate) fn distinct(self) -> Distinct {
        let hasher = RandomState::new();
        let mut by_hash: Vec<(u64, u32)> = self
            .coordinates
            .par_chunks(self.stride)
            .enumerate()
            .map(|(row, coordinates)| (hash_row(&hasher, coordinates), row as u32))
            .collect();
        by_hash.par_sort_unstable();
        // The first copy of each row; in a run of equal hashes almost always all rows are equal.
        let mut first_copy: Vec<u32> = (0..self.rows as u32).collect();
        let mut repeated = false;
        for run in by_hash.chunk_by(|a, b| a.0 == b.0).filter(|run| run.len() > 1) {
            let mut firsts: Vec<u32> = Vec::new();
            for &(_, row) in run {
                let known = firsts.iter().find(|&&first| self.row(first as usize) == self.row(row as usize));
                match known {
                    Some(first) => {
                        first_copy[row as usize] = *first;
                        repeated = true;
                    }
                    None => firsts.push(row),
                }
            }
        }
        drop(by_hash);
        if !repeated {
            return Distinct { points: self, location_of_row: None, copies: Vec::new(), offsets: Vec::new() };
        }
        let mut first_rows: Vec<u32> = Vec::new();
        // First copies come before the others, so their locations are known by then.
        let mut location_of_row: Vec<u32> = Vec::with_capacity(self.rows);
        for (row, &first) in first_copy.iter().enumerate() {
            if first as usize == row {
                location_of_row.push(first_rows.len() as u32);
                first_rows.push(first);
            } else {
                location_of_row.push(location_of_row[first as usize]);
            }
        }
        let mut offsets = vec![0u32; first_rows.len() + 1];
        for &location in &location_of_row {
            offsets[location as usize + 1] += 1;
        }
        for location in 1..offsets.len() {
            offsets[location] += offsets[location - 1];
        }
        let mut next = offsets.clone();
        let mut copies = vec![0; self.rows];
        for (row, &location) in location_of_row.iter().enumerate() {
            copies[next[location as usize] as usize] = row as u32;
            next[location as usize] += 1;
        }
        let coordinates = first_rows.iter().flat_map(|&row| self.row(row as usize)).copied().collect();
        let points = Self { rows: first_rows.len(), coordinates, ..self };
        Distinct { points, location_of_row: Some(location_of_row), copies, offsets }
    }
}

/// Different rows, and which original rows are copies of each.
///
/// Without repeated rows, locations are rows.
#[derive(Debug)]
pub(crate) struct Distinct {
    /// One row per location, in the order of their first copies.
    pub(crate) points: Points,
    location_of_row: Option<Vec<u32>>,
    copies: Vec<u32>,
    offsets: Vec<u32>,
}

impl Distinct {
    /// The number of original rows.
    pub(crate) fn rows(&self) -> usize {
        self.location_of_row.as_ref().map_or(self.points.rows, Vec::len)
    }

    /// Where an original row lies.
    pub(crate) fn location(&self, row: usize) -> usize {
        self.location_of_row.as_ref().map_or(row, |locations| locations[row] as usize)
    }

    /// How many original rows lie at a location.
    pub(crate) fn count(&self, location: usize) -> usize {
        if self.location_of_row.is_none() {
            return 1;
        }
        (self.offsets[location + 1] - self.offsets[location]) as usize
    }

    /// The original rows at a location, ascending.
    pub(crate) fn copies(&self, location: usize) -> impl Iterator<Item = u32> + '_ {
        let single = self.location_of_row.is_none().then_some(location as u32);
        let several = if single.is_some() {
            &[][..]
        } else {
            &self.copies[self.offsets[location] as usize..self.offsets[location + 1] as usize]
        };
        single.into_iter().chain(several.iter().copied())
    }
}

/// Which rows collide does not change the answer, so the hash may differ from process to process.
fn hash_row(hasher: &RandomState, row: &[f32]) -> u64 {
    let words = row.iter().map(|value| u64::from(value.to_bits()));
    let mixed = words.fold(0x9E37_79B9_7F4A_7C15, |hash: u64, word| {
        (hash.rotate_left(23) ^ word).wrapping_mul(0xD6E8_FEB8_6659_FD93)
    });
    hasher.hash_one(mixed)
}

/// Means by fixed blocks of rows, added in order. The sum of halves cannot overflow where values can.
fn column_means(features: Features<'_>) -> Vec<f64> {
    let Features { values, columns } = features;
    let rows = features.rows() as f64;
    let sums: Vec<Vec<f64>> = values
        .par_chunks(columns * ROWS_PER_TASK)
        .map(|part| {
            let mut sums = vec![0.0; columns];
            for row in part.chunks_exact(columns) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += value / rows;
                }
            }
            sums
        })
        .collect();
    let mut means = vec![0.0; columns];
    for sums in sums {
        for (mean, sum) in means.iter_mut().zip(sums) {
            *mean += sum;
        }
    }
    means
}

fn largest_deviation(features: Features<'_>, means: &[f64]) -> f64 {
    let Features { values, columns } = features;
    let of_rows = |rows: &[f64]| {
        let deviations = rows
            .chunks_exact(columns)
            .flat_map(|row| row.iter().zip(means).map(|(value, mean)| (value - mean).abs()));
        deviations.fold(0.0, f64::max)
    };
    values.par_chunks(columns * ROWS_PER_TASK).map(of_rows).reduce(|| 0.0, f64::max)
}

/// The nearest multiple of a step, as far as it can be represented.
fn rounded(value: f64, step: f64) -> f64 {
    let multiple = (value / step).round() * step;
    if multiple.is_finite() { multiple } else { value }
}

/// The power of two that brings `largest` into `[0.5, 1)`, as far as exponents reach.
fn scale_below_one(largest: f64) -> f64 {
    if largest == 0.0 {
        return 1.0;
    }
    let exponent = largest.log2().floor() + 1.0;
    // Beyond 2^1000 the scale itself, or its inverse, would not be a normal number.
    (-exponent).clamp(-1_000.0, 1_000.0).exp2()
}

/// The squared distance of a padded row and a centroid of the same stride.
#[inline]
pub(crate) fn squared_distance_to(row: &[f32], centroid: &[f64]) -> f64 {
    let mut sums = [0.0f64; 4];
    for (row, centroid) in row.chunks_exact(4).zip(centroid.chunks_exact(4)) {
        for lane in 0..4 {
            let difference = f64::from(row[lane]) - centroid[lane];
            sums[lane] += difference * difference;
        }
    }
    (sums[0] + sums[2]) + (sums[1] + sums[3])
}

/// The squared length of a padded row.
pub(crate) fn squared_norm(row: &[f32]) -> f64 {
    let mut sums = [0.0f64; 4];
    for row in row.chunks_exact(4) {
        for lane in 0..4 {
            sums[lane] += f64::from(row[lane]) * f64::from(row[lane]);
        }
    }
    (sums[0] + sums[2]) + (sums[1] + sums[3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::Simd;

    #[test]
    fn an_offset_of_1e15_keeps_distances() {
        let values = [1e15 + 1.0, 1e15 + 4.0, 1e15 + 8.0];
        let points = Points::new(Features { values: &values, columns: 1 }).unwrap();
        let distance = |a, b| points.distance(Simd::detect().squared_distance(points.row(a), points.row(b)));
        assert!((distance(0, 1) - 3.0).abs() < 1e-5 && (distance(0, 2) - 7.0).abs() < 1e-5);
    }

    #[test]
    fn huge_and_tiny_values_neither_overflow_nor_vanish() {
        for size in [1e300, 1e-300, f64::MIN_POSITIVE] {
            let values = [0.0, 0.0, size, 0.0];
            let points = Points::new(Features { values: &values, columns: 2 }).unwrap();
            let distance = points.distance(Simd::detect().squared_distance(points.row(0), points.row(1)));
            assert!((distance / size - 1.0).abs() < 1e-6, "{size:e}: {distance:e}");
        }
    }

    #[test]
    fn repeated_rows_share_a_location() {
        let values = [1.0, 0.0, 1.0, -0.0, 2.0];
        let distinct = Points::new(Features { values: &values, columns: 1 }).unwrap().distinct();
        assert_eq!(distinct.points.rows, 3);
        assert_eq!((0..5).map(|row| distinct.location(row)).collect::<Vec<_>>(), [0, 1, 0, 1, 2]);
        assert_eq!(distinct.copies(1).collect::<Vec<_>>(), [1, 3]);
        assert_eq!((distinct.count(2), distinct.rows()), (1, 5));
    }

    #[test]
    fn bad_rows_are_named() {
        let values = [0.0, 1.0, f64::NAN, 1.0, 2.0, f64::INFINITY];
        let error = Points::new(Features { values: &values, columns: 2 }).err().unwrap();
        assert_eq!(error.code(), "nonfinite_feature");
        let InvalidClustering::NonFiniteFeature { row, column, count, rows, .. } = error else {
            panic!("{error}")
        };
        assert_eq!((row, column, count, rows), (1, 0, 2, vec![1, 2]));
        assert_eq!(Features { values: &values, columns: 4 }.check().err().unwrap().code(), "bad_shape");
        assert_eq!(Features { values: &[], columns: 0 }.check().err().unwrap().code(), "bad_shape");
    }
}
