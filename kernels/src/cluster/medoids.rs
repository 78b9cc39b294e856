//! k-medoids: clusters around members, for any dissimilarity. FasterPAM (Schubert & Rousseeuw 2021), and CLARA
//! (Kaufman & Rousseeuw 1990) on samples where all pairs are too many.

use rayon::prelude::*;

use crate::cluster::InvalidClustering;
use crate::cluster::curves::mirror;
use crate::cluster::features::{Features, Points};
use crate::cpu::simd::Simd;
use crate::error::KernelError;
use crate::rng::{Stream, Tag, uniform, words64};

/// Above this many members samples are clustered by default: a matrix of 3.6 GB.
const EXACT_UP_TO: usize = 30_000;
/// Candidates for a swap that are tried side by side, at most.
const BATCH_MAX: usize = 256;
/// A swap must gain at least this share of the cost, so that rounding cannot make it go round in circles.
const LEAST_GAIN: f64 = 1e-9;

/// What is clustered.
#[derive(Debug, Clone, Copy)]
pub enum Members<'a> {
    /// A symmetric matrix of distances with a zero diagonal, row-major, for example of
    /// [`crate::Backend::curve_distances`].
    Matrix(&'a [f32]),
    /// Rows of features, with their Euclidean distances.
    Features(Features<'a>),
}

/// A request to [`kmedoids`].
#[derive(Debug, Clone, Copy)]
pub struct MedoidsRequest<'a> {
    /// What is clustered.
    pub members: Members<'a>,
    /// Number of clusters, at least 1 and at most the number of members.
    pub k: usize,
    /// Independent starts (or samples), of which the best is kept; at least 1.
    pub restarts: u32,
    /// Above this many rows of features, samples of `80 + 4 k` (at least 1,000) are clustered instead of all.
    pub exact_up_to: usize,
    /// Seed of the generator.
    pub seed: u64,
}

impl<'a> MedoidsRequest<'a> {
    /// A request with the defaults: 5 restarts, exact up to 30,000 rows, seed 0.
    pub fn new(members: Members<'a>, k: usize) -> Self {
        Self { members, k, restarts: 5, exact_up_to: EXACT_UP_TO, seed: 0 }
    }
}

/// The answer to a [`MedoidsRequest`].
#[derive(Debug, Clone, PartialEq)]
pub struct MedoidsOutput {
    /// The cluster of each member, numbered in the order of their medoids.
    pub labels: Vec<u32>,
    /// The medoid of each cluster, ascending.
    pub medoids: Vec<u32>,
    /// Members of each cluster.
    pub sizes: Vec<u32>,
    /// Sum of the distances of members to their medoids.
    pub cost: f64,
    /// Swaps of the best restart.
    pub swaps: u32,
    /// Whether only samples were searched for medoids.
    pub sampled: bool,
}

/// Clusters around the members that have the least sum of distances to the others: a local optimum, in which no swap
/// of a medoid for another member lowers the sum. Of equally near medoids a member takes the lowest.
///
/// # Errors
/// [`KernelError::Invalid`] for bad parameters, more clusters than members, bad features or distances.
///
/// ```
/// use kernels::cluster::{Features, Members, MedoidsRequest, kmedoids};
/// let features = Features { values: &[0.0, 1.0, 2.0, 50.0, 51.0, 90.0], columns: 1 };
/// let out = kmedoids(&MedoidsRequest::new(Members::Features(features), 2))?;
/// assert_eq!((out.medoids, out.cost), (vec![1, 4], 42.0));
/// # Ok::<(), kernels::KernelError>(())
/// ```
pub fn kmedoids(request: &MedoidsRequest<'_>) -> Result<MedoidsOutput, KernelError> {
    let MedoidsRequest { k, restarts, .. } = *request;
    let parameter = |name, got| InvalidClustering::Parameter { name, expected: "at least 1", got };
    if k == 0 {
        return Err(parameter("k", 0.0).into());
    }
    if restarts == 0 {
        return Err(parameter("restarts", 0.0).into());
    }
    match request.members {
        Members::Matrix(matrix) => {
            let size = checked_size(matrix)?;
            check_k(k, size)?;
            Ok(exact(request, matrix, size))
        }
        Members::Features(features) => {
            features.check()?;
            check_k(k, features.rows())?;
            let points = Points::new(features)?;
            if points.rows > request.exact_up_to {
                return Ok(sampled(request, &points));
            }
            let rows: Vec<u32> = (0..points.rows as u32).collect();
            Ok(exact(request, &pairs(&points, &rows), points.rows))
        }
    }
}

fn check_k(k: usize, n: usize) -> Result<(), InvalidClustering> {
    if k > n { Err(InvalidClustering::KExceedsN { name: "k", k, n }) } else { Ok(()) }
}

fn checked_size(matrix: &[f32]) -> Result<usize, InvalidClustering> {
    let size = matrix.len().isqrt();
    if size * size != matrix.len() {
        let (name, got, expected) = ("matrix of distances", matrix.len(), (size + 1) * (size + 1));
        return Err(InvalidClustering::Length { name, got, expected });
    }
    let bad = (0..size).into_par_iter().find_map_first(|row| {
        (0..=row).find_map(|column| {
            let value = matrix[row * size + column];
            let fine = value.is_finite() && value >= 0.0 && value == matrix[column * size + row];
            (!fine || (row == column && value != 0.0)).then_some((row, column, f64::from(value)))
        })
    });
    bad.map_or(Ok(size), |(row, column, value)| Err(InvalidClustering::BadDistance { row, column, value }))
}

/// Distances of all pairs of some rows.
fn pairs(points: &Points, rows: &[u32]) -> Vec<f32> {
    let size = rows.len();
    let simd = Simd::detect();
    let mut matrix = vec![0.0; size * size];
    matrix.par_chunks_mut(size.max(1)).enumerate().for_each(|(first, out)| {
        let row = points.row(rows[first] as usize);
        for (second, out) in out.iter_mut().enumerate().skip(first + 1) {
            *out = points.distance(simd.squared_distance(row, points.row(rows[second] as usize))) as f32;
        }
    });
    mirror(&mut matrix, size);
    matrix
}

fn exact(request: &MedoidsRequest<'_>, matrix: &[f32], size: usize) -> MedoidsOutput {
    let best = best_swapped(request, matrix, size);
    let sorted = sorted(best.medoids);
    let nearest = (0..size).into_par_iter().map(|member| {
        let distances = sorted.iter().map(|&medoid| matrix[medoid as usize * size + member]);
        nearest_of(distances.map(f64::from))
    });
    output(sorted.clone(), nearest.collect(), best.swaps, false)
}

/// The best of several restarts of FasterPAM.
fn best_swapped(request: &MedoidsRequest<'_>, matrix: &[f32], size: usize) -> Swapping {
    if request.k == 1 {
        let sum = |row: &[f32]| row.iter().map(|distance| f64::from(*distance)).sum::<f64>();
        let sums: Vec<f64> = matrix.par_chunks(size).map(sum).collect();
        let (cost, medoid) = nearest_of(sums.into_iter());
        return Swapping { medoids: vec![medoid], near: Vec::new(), cost, swaps: 0 };
    }
    let runs: Vec<Swapping> = (0..request.restarts)
        .map(|restart| {
            let medoids = seeds(matrix, size, request.k, request.seed, restart);
            let mut run = Swapping::new(matrix, size, medoids);
            run.swap_all(matrix);
            run
        })
        .collect();
    let first = Swapping { medoids: Vec::new(), near: Vec::new(), cost: f64::INFINITY, swaps: 0 };
    runs.into_iter().fold(first, |best, next| if next.cost < best.cost { next } else { best })
}

/// CLARA: the medoids of a sample that serve all rows best.
fn sampled(request: &MedoidsRequest<'_>, points: &Points) -> MedoidsOutput {
    let simd = Simd::detect();
    let size = (80 + 4 * request.k).max(1_000).min(points.rows);
    let mut best: Option<MedoidsOutput> = None;
    for number in 0..request.restarts {
        let stream = Stream { seed: request.seed, stream: 0, tag: Tag::Subset, sub: 1 };
        let rows = stream.subset(points.rows as u32, size as u32, number);
        let one =
            MedoidsRequest { restarts: 1, seed: request.seed.wrapping_add(u64::from(number)), ..*request };
        let found = best_swapped(&one, &pairs(points, &rows), size);
        let medoids = sorted(found.medoids.iter().map(|&member| rows[member as usize]).collect());
        let nearest = (0..points.rows).into_par_iter().map(|row| {
            let row = points.row(row);
            let distances = medoids
                .iter()
                .map(|&medoid| points.distance(simd.squared_distance(row, points.row(medoid as usize))));
            nearest_of(distances)
        });
        let nearest = nearest.collect();
        let next = output(medoids, nearest, found.swaps, true);
        if best.as_ref().is_none_or(|best| next.cost < best.cost) {
            best = Some(next);
        }
    }
    // At least one restart was asked for, so there is a best one.
    best.unwrap_or_else(|| output(Vec::new(), Vec::new(), 0, true))
}

fn sorted(mut medoids: Vec<u32>) -> Vec<u32> {
    medoids.sort_unstable();
    medoids
}

fn nearest_of(distances: impl Iterator<Item = f64>) -> (f64, u32) {
    let mut best = (f64::INFINITY, 0);
    for (distance, number) in distances.zip(0..) {
        if distance < best.0 {
            best = (distance, number);
        }
    }
    best
}

fn output(medoids: Vec<u32>, nearest: Vec<(f64, u32)>, swaps: u32, sampled: bool) -> MedoidsOutput {
    let mut labels: Vec<u32> = nearest.iter().map(|entry| entry.1).collect();
    // Among equal members the lowest medoid would take all; each medoid at least stays in its own cluster.
    for (&medoid, label) in medoids.iter().zip(0..) {
        labels[medoid as usize] = label;
    }
    let mut sizes = vec![0; medoids.len()];
    for &label in &labels {
        sizes[label as usize] += 1;
    }
    let cost = nearest.iter().map(|entry| entry.0).sum();
    MedoidsOutput { labels, medoids, sizes, cost, swaps, sampled }
}

/// First medoids: each drawn in proportion to the squared distance from those before.
fn seeds(matrix: &[f32], size: usize, k: usize, seed: u64, restart: u32) -> Vec<u32> {
    let stream = Stream { seed, stream: 2, tag: Tag::KmeansSeeding, sub: 0 };
    let words = (0u32..).flat_map(|block| words64(stream.block(block, restart)));
    let mut squares = vec![1.0f64; size];
    let mut medoids: Vec<u32> = Vec::with_capacity(k);
    for word in words.take(k) {
        let mut rest = uniform(word) * squares.iter().sum::<f64>();
        let drawn = squares.iter().position(|square| {
            rest -= square;
            rest < 0.0
        });
        // Nothing is left to draw when the rest equals the medoids: then the lowest that is none.
        let next =
            drawn.or_else(|| (0..size).find(|&member| !medoids.contains(&(member as u32)))).unwrap_or(0);
        medoids.push(next as u32);
        for (square, distance) in squares.iter_mut().zip(&matrix[next * size..(next + 1) * size]) {
            let distance = f64::from(*distance) * f64::from(*distance);
            *square = if medoids.len() == 1 { distance } else { square.min(distance) };
        }
        squares[next] = 0.0;
    }
    medoids
}

/// The two nearest medoids of a member.
#[derive(Debug, Clone, Copy)]
struct Near {
    first: u32,
    first_distance: f32,
    second: u32,
    second_distance: f32,
}

/// Medoids on the way to a local optimum.
struct Swapping {
    medoids: Vec<u32>,
    near: Vec<Near>,
    cost: f64,
    swaps: u32,
}

impl Swapping {
    fn new(matrix: &[f32], size: usize, medoids: Vec<u32>) -> Self {
        let mut swapping = Self { medoids, near: Vec::new(), cost: 0.0, swaps: 0 };
        swapping.near = (0..size).map(|member| swapping.nearest(matrix, size, member)).collect();
        swapping.cost = swapping.total();
        swapping
    }

    fn total(&self) -> f64 {
        self.near.iter().map(|near| f64::from(near.first_distance)).sum()
    }

    fn nearest(&self, matrix: &[f32], size: usize, member: usize) -> Near {
        let infinite = f32::INFINITY;
        let mut near = Near { first: 0, first_distance: infinite, second: 0, second_distance: infinite };
        for (&medoid, number) in self.medoids.iter().zip(0..) {
            let distance = matrix[medoid as usize * size + member];
            if distance < near.first_distance {
                near = Near { second: near.first, second_distance: near.first_distance, ..near };
                near = Near { first: number, first_distance: distance, ..near };
            } else if distance < near.second_distance {
                near = Near { second: number, second_distance: distance, ..near };
            }
        }
        near
    }

    /// Swaps the first candidate that gains, again and again, until a whole round gains nothing.
    fn swap_all(&mut self, matrix: &[f32]) {
        let size = self.near.len();
        if self.medoids.len() >= size {
            return;
        }
        let mut losses = self.removal_losses();
        let (mut candidate, mut without_gain, mut batch) = (0, 0, 1);
        while without_gain < size {
            // The first gain in order counts, so the size of a batch does not change the answer.
            let tried: Vec<usize> =
                (0..batch.min(size - without_gain)).map(|i| (candidate + i) % size).collect();
            let gains =
                |&other: &usize| self.best_swap(&matrix[other * size..(other + 1) * size], other, &losses);
            let least = -LEAST_GAIN * self.cost;
            let found: Vec<(f64, usize)> = if batch >= 16 {
                tried.par_iter().map(gains).collect()
            } else {
                tried.iter().map(gains).collect()
            };
            match found.iter().position(|(change, _)| *change < least) {
                None => {
                    without_gain += tried.len();
                    candidate = (candidate + tried.len()) % size;
                    batch = (batch * 2).min(BATCH_MAX);
                }
                Some(place) => {
                    self.swap(matrix, tried[place], found[place].1);
                    losses = self.removal_losses();
                    without_gain = 0;
                    candidate = (tried[place] + 1) % size;
                    batch = (batch / 2).max(1);
                }
            }
        }
    }

    /// By how much the cost grows when a medoid is removed.
    fn removal_losses(&self) -> Vec<f64> {
        let mut losses = vec![0.0; self.medoids.len()];
        for near in &self.near {
            losses[near.first as usize] += f64::from(near.second_distance) - f64::from(near.first_distance);
        }
        losses
    }

    /// The change of the cost when a member replaces the medoid for which that is best.
    fn best_swap(&self, distances: &[f32], member: usize, losses: &[f64]) -> (f64, usize) {
        if self.medoids.contains(&(member as u32)) {
            return (0.0, 0);
        }
        let mut changes = losses.to_vec();
        let mut shared = 0.0;
        for (near, &distance) in self.near.iter().zip(distances) {
            if distance < near.first_distance {
                shared += f64::from(distance) - f64::from(near.first_distance);
                changes[near.first as usize] +=
                    f64::from(near.first_distance) - f64::from(near.second_distance);
            } else if distance < near.second_distance {
                changes[near.first as usize] += f64::from(distance) - f64::from(near.second_distance);
            }
        }
        let mut best = 0;
        for (number, change) in changes.iter().enumerate() {
            if *change < changes[best] {
                best = number;
            }
        }
        (changes[best] + shared, best)
    }

    fn swap(&mut self, matrix: &[f32], member: usize, number: usize) {
        let size = self.near.len();
        self.medoids[number] = member as u32;
        let number = number as u32;
        for other in 0..size {
            let distance = matrix[member * size + other];
            let near = self.near[other];
            if near.first == number || near.second == number {
                self.near[other] = self.nearest(matrix, size, other);
            } else if distance < near.first_distance {
                let (second, second_distance) = (near.first, near.first_distance);
                self.near[other] = Near { first: number, first_distance: distance, second, second_distance };
            } else if distance < near.second_distance {
                self.near[other] = Near { second: number, second_distance: distance, ..near };
            }
        }
        self.cost = self.total();
        self.swaps += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(size: usize) -> Vec<f32> {
        let stream = Stream { seed: 3, stream: 0, tag: Tag::Other, sub: 4 };
        let place = |member: usize| {
            let words = words64(stream.block(member as u32, 0));
            [uniform(words[0]), uniform(words[1])]
        };
        let pair = |a: usize, b: usize| (place(a)[0] - place(b)[0]).hypot(place(a)[1] - place(b)[1]) as f32;
        (0..size * size).map(|i| pair(i / size, i % size)).collect()
    }

    fn cost(matrix: &[f32], size: usize, medoids: &[usize]) -> f64 {
        let nearest = |member: usize| {
            medoids.iter().map(|&medoid| matrix[medoid * size + member]).fold(f32::INFINITY, f32::min)
        };
        (0..size).map(|member| f64::from(nearest(member))).sum()
    }

    #[test]
    fn no_single_swap_improves_the_answer() {
        let size = 60;
        let matrix = matrix(size);
        for k in [1, 2, 5] {
            let out = kmedoids(&MedoidsRequest::new(Members::Matrix(&matrix), k)).unwrap();
            let medoids: Vec<usize> = out.medoids.iter().map(|&medoid| medoid as usize).collect();
            assert!((cost(&matrix, size, &medoids) - out.cost).abs() < 1e-9);
            for place in 0..k {
                for member in 0..size {
                    let mut swapped = medoids.clone();
                    swapped[place] = member;
                    assert!(cost(&matrix, size, &swapped) >= out.cost * (1.0 - 2e-9));
                }
            }
        }
    }

    #[test]
    fn two_medoids_are_the_best_of_all_pairs() {
        let size = 40;
        let matrix = matrix(size);
        let out = kmedoids(&MedoidsRequest::new(Members::Matrix(&matrix), 2)).unwrap();
        let pairs = (0..size).flat_map(|a| (0..a).map(move |b| [a, b]));
        let best = pairs.map(|pair| cost(&matrix, size, &pair)).fold(f64::INFINITY, f64::min);
        assert!((out.cost - best).abs() < 1e-6, "{} against {best}", out.cost);
    }

    #[test]
    fn a_bad_matrix_is_refused() {
        let code = |matrix: &[f32]| {
            kmedoids(&MedoidsRequest::new(Members::Matrix(matrix), 1)).err().map(|error| error.code())
        };
        assert_eq!(code(&[0.0, 1.0, 2.0, 0.0]), Some("bad_distance"));
        assert_eq!(code(&[0.0, f32::NAN, f32::NAN, 0.0]), Some("bad_distance"));
        assert_eq!(code(&[1.0]), Some("bad_distance"));
        assert_eq!(code(&[0.0, 1.0, 1.0]), Some("bad_shape"));
        assert_eq!(code(&[]), Some("k_exceeds_n"));
    }

    #[test]
    fn equal_members_and_k_of_all() {
        let out = kmedoids(&MedoidsRequest::new(Members::Matrix(&[0.0; 16]), 2)).unwrap();
        assert_eq!((out.cost, out.sizes.iter().sum::<u32>()), (0.0, 4));
        let matrix = matrix(7);
        let out = kmedoids(&MedoidsRequest::new(Members::Matrix(&matrix), 7)).unwrap();
        assert_eq!((out.cost, out.labels), (0.0, (0..7).collect::<Vec<u32>>()));
    }
}
