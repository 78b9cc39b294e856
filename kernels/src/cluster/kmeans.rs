//! k-means: several restarts of Lloyd's iteration, each row assigned exactly.

use std::collections::HashMap;

use rayon::prelude::*;

use crate::cluster::agreement::adjusted_rand_index;
use crate::cluster::features::{Features, Points, squared_distance_to, squared_norm};
use crate::cluster::panels::{Panels, score_error};
use crate::cluster::seeding::{Seeder, Seeding, tiles};
use crate::cluster::{InvalidClustering, by_cpu};
use crate::cpu::distances::{Nearest, PANEL, ROWS};
use crate::cpu::simd::Simd;
use crate::error::KernelError;
use crate::request::Provenance;

/// Sums of rows are taken by at most this many blocks, which are then added in order.
const BLOCKS_MAX: usize = 256;
/// The least number of panels in a block.
const BLOCK_PANELS_MIN: usize = 32;
/// Up to this many coordinates restarts run side by side, above one after the other.
const SIDE_BY_SIDE_UP_TO: usize = 1 << 19;
/// How many restarts go on until no label changes.
const FINISHED: usize = 3;
/// More restarts than this are surely a mistake.
const RESTARTS_MAX: u32 = 10_000;

/// A request to [`crate::Backend::kmeans`].
#[derive(Debug, Clone, Copy)]
pub struct KmeansRequest<'a> {
    /// What to cluster. Columns of different units should be standardised.
    pub features: Features<'a>,
    /// Number of clusters, at least 1 and at most the number of rows.
    pub k: usize,
    /// Independent starts, of which the best is kept; at least 1.
    pub restarts: u32,
    /// Iterations of one restart at most.
    pub max_iterations: u32,
    /// A restart ends when the squared movements of all centroids add up to at most this share of the mean variance
    /// of the columns; the best three then go on until no label changes.
    pub tolerance: f64,
    /// How the first centroids are chosen.
    pub seeding: Seeding,
    /// Seed of the generator.
    pub seed: u64,
}

impl<'a> KmeansRequest<'a> {
    /// A request with the defaults: 10 restarts of at most 300 iterations, tolerance 1e-4, seed 0.
    pub fn new(features: Features<'a>, k: usize) -> Self {
        let seeding = Seeding::Auto;
        Self { features, k, restarts: 10, max_iterations: 300, tolerance: 1e-4, seeding, seed: 0 }
    }

    /// The same request with another number of restarts.
    pub fn restarts(self, restarts: u32) -> Self {
        Self { restarts, ..self }
    }

    /// The same request with another seed.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The same request with another way to choose the first centroids.
    pub fn seeding(self, seeding: Seeding) -> Self {
        Self { seeding, ..self }
    }

    pub(crate) fn check(&self) -> Result<(), InvalidClustering> {
        let Self { k, restarts, max_iterations, tolerance, .. } = *self;
        let parameter = |name, expected, got| Err(InvalidClustering::Parameter { name, expected, got });
        if k == 0 {
            return parameter("k", "at least 1", 0.0);
        }
        if restarts == 0 || restarts > RESTARTS_MAX {
            return parameter("restarts", "between 1 and 10000", f64::from(restarts));
        }
        if max_iterations == 0 {
            return parameter("max_iterations", "at least 1", 0.0);
        }
        if !tolerance.is_finite() || tolerance < 0.0 {
            return parameter("tolerance", "finite and not negative", tolerance);
        }
        let n = self.features.rows();
        if self.features.columns > 0 && k > n {
            return Err(InvalidClustering::KExceedsN { name: "k", k, n });
        }
        Ok(())
    }
}

/// The answer to a [`KmeansRequest`]. Clusters are numbered in the order of their first rows.
#[derive(Debug, Clone, PartialEq)]
pub struct KmeansOutput {
    /// The cluster of each row.
    pub labels: Vec<u32>,
    /// `clusters * columns` means, row-major.
    pub centroids: Vec<f64>,
    /// Rows of each cluster.
    pub sizes: Vec<u32>,
    /// Number of clusters: `k`, or fewer when there are fewer different rows.
    pub clusters: usize,
    /// Sum of squared distances of rows to their centroids.
    pub inertia: f64,
    /// Iterations of the best restart.
    pub iterations: u32,
    /// Whether no label changed at last.
    pub converged: bool,
    /// There are fewer different rows than `k`; each is a cluster of its own.
    pub fewer_distinct_points_than_k: bool,
    /// The inertia of every restart, in order; empty when there was nothing to search.
    pub restart_inertias: Vec<f64>,
    /// Mean adjusted Rand index between the best restart and the others: near 1 when the clusters do not depend on
    /// where one starts. NaN with a single restart.
    pub stability: f64,
    /// Where this was computed.
    pub provenance: Provenance,
}

/// The result of one restart, in the coordinates of [`Points`].
#[derive(Default)]
struct Lloyd {
    labels: Vec<u32>,
    centroids: Vec<f64>,
    inertia: f64,
    iterations: u32,
    converged: bool,
}

pub(crate) fn kmeans(simd: Simd, request: &KmeansRequest<'_>) -> Result<KmeansOutput, KernelError> {
    request.check()?;
    let points = Points::new(request.features)?;
    if let Some(labels) = few_locations(&points, request.k) {
        let mut output = finish(request.features, labels, 0, true);
        output.fewer_distinct_points_than_k = output.clusters < request.k;
        output.stability = 1.0;
        return Ok(output);
    }
    let search = Search::new(simd, &points, request);
    let one = |restart: u32| {
        let seeder = Seeder::new(simd, &points, &search.panels, request.seed, restart);
        let centroids = seeder.centroids(request.k, request.seeding);
        search.lloyd(centroids, search.threshold)
    };
    let mut runs: Vec<Lloyd> = if points.coordinates.len() <= SIDE_BY_SIDE_UP_TO {
        (0..request.restarts).into_par_iter().map(one).collect()
    } else {
        (0..request.restarts).map(one).collect()
    };
    // Which restart is best may only show when the best few have gone all the way.
    let mut by_inertia: Vec<usize> = (0..runs.len()).collect();
    by_inertia.sort_by(|&a, &b| runs[a].inertia.total_cmp(&runs[b].inertia));
    for &run in by_inertia.iter().take(FINISHED) {
        if !runs[run].converged {
            let Lloyd { centroids, iterations, .. } = std::mem::take(&mut runs[run]);
            let fine = search.lloyd(centroids, 0.0);
            runs[run] = Lloyd { iterations: iterations + fine.iterations, ..fine };
        }
    }
    let best =
        (0..runs.len()).reduce(|a, b| if runs[b].inertia < runs[a].inertia { b } else { a }).unwrap_or(0);
    let others = runs.par_iter().enumerate().filter(|(restart, _)| *restart != best);
    let agreements: Vec<f64> = others
        .map(|(_, run)| adjusted_rand_index(&run.labels, &runs[best].labels).unwrap_or(f64::NAN))
        .collect();
    let scale = points.scale * points.scale;
    let restart_inertias = runs.iter().map(|run| run.inertia / scale).collect();
    let run = runs.swap_remove(best);
    let mut output = finish(request.features, run.labels, run.iterations, run.converged);
    output.restart_inertias = restart_inertias;
    output.stability = agreements.iter().sum::<f64>() / agreements.len() as f64;
    Ok(output)
}

/// Labels by location, when there are at most `k` different rows.
fn few_locations(points: &Points, k: usize) -> Option<Vec<u32>> {
    let mut locations: HashMap<Vec<u32>, u32> = HashMap::new();
    let mut labels = Vec::new();
    for row in points.coordinates.chunks_exact(points.stride) {
        let next = locations.len() as u32;
        let key: Vec<u32> = row.iter().map(|value| value.to_bits()).collect();
        labels.push(*locations.entry(key).or_insert(next));
        if locations.len() > k {
            return None;
        }
    }
    Some(labels)
}

/// Numbers the clusters by their first rows and computes what is reported from the features themselves.
fn finish(features: Features<'_>, mut labels: Vec<u32>, iterations: u32, converged: bool) -> KmeansOutput {
    let mut numbers: HashMap<u32, u32> = HashMap::new();
    for label in &mut labels {
        let next = numbers.len() as u32;
        *label = *numbers.entry(*label).or_insert(next);
    }
    let clusters = numbers.len();
    let (centroids, sizes) = means(features, &labels, clusters);
    KmeansOutput {
        inertia: inertia(features, &labels, &centroids),
        labels,
        centroids,
        sizes,
        clusters,
        iterations,
        converged,
        fewer_distinct_points_than_k: false,
        restart_inertias: Vec::new(),
        stability: f64::NAN,
        provenance: by_cpu(),
    }
}

/// Means of clusters and their sizes. Each mean starts from the cluster's first row, so offsets cost no digits.
pub(crate) fn means(features: Features<'_>, labels: &[u32], clusters: usize) -> (Vec<f64>, Vec<u32>) {
    let columns = features.columns;
    let mut origins = vec![0; clusters];
    for (row, &label) in labels.iter().enumerate().rev() {
        origins[label as usize] = row;
    }
    let block = (labels.len().div_ceil(BLOCKS_MAX)).max(BLOCK_PANELS_MIN * PANEL);
    let parts: Vec<(Vec<f64>, Vec<u32>)> = labels
        .par_chunks(block)
        .zip(features.values.par_chunks(block * columns))
        .map(|(labels, values)| {
            let (mut sums, mut sizes) = (vec![0.0; clusters * columns], vec![0u32; clusters]);
            for (&label, row) in labels.iter().zip(values.chunks_exact(columns)) {
                let label = label as usize;
                let origin = features.row(origins[label]);
                let sums = &mut sums[label * columns..(label + 1) * columns];
                for ((sum, value), origin) in sums.iter_mut().zip(row).zip(origin) {
                    *sum += value - origin;
                }
                sizes[label] += 1;
            }
            (sums, sizes)
        })
        .collect();
    let (mut centroids, mut sizes) = (vec![0.0; clusters * columns], vec![0u32; clusters]);
    for (sums, counts) in parts {
        centroids.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        sizes.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
    }
    for ((centroid, size), origin) in centroids.chunks_exact_mut(columns).zip(&sizes).zip(origins) {
        for (value, origin) in centroid.iter_mut().zip(features.row(origin)) {
            *value = origin + *value / f64::from(*size);
        }
    }
    (centroids, sizes)
}

fn inertia(features: Features<'_>, labels: &[u32], centroids: &[f64]) -> f64 {
    let columns = features.columns;
    let block = BLOCK_PANELS_MIN * PANEL;
    let sums: Vec<f64> = labels
        .par_chunks(block)
        .zip(features.values.par_chunks(block * columns))
        .map(|(labels, values)| {
            let rows = labels.iter().zip(values.chunks_exact(columns));
            let squares = rows.map(|(&label, row)| {
                let centroid = &centroids[label as usize * columns..];
                row.iter().zip(centroid).map(|(value, mean)| (value - mean) * (value - mean)).sum::<f64>()
            });
            squares.sum()
        })
        .collect();
    sums.iter().sum()
}

/// The data of a request, laid out for assignment.
struct Search<'a> {
    simd: Simd,
    points: &'a Points,
    panels: Panels,
    /// The largest norm in each panel, for bounds of errors.
    norms: Vec<f64>,
    k: usize,
    max_iterations: u32,
    /// Squared movement of all centroids that ends a restart.
    threshold: f64,
    block_panels: usize,
}

/// Sums of the rows of each cluster.
struct Sums {
    sums: Vec<f64>,
    sizes: Vec<i64>,
}

/// What a new assignment of some rows changes; without changes the sums are not even there.
#[derive(Default)]
struct Change {
    sums: Vec<f64>,
    sizes: Vec<i64>,
    changed: usize,
}

impl<'a> Search<'a> {
    fn new(simd: Simd, points: &'a Points, request: &KmeansRequest<'_>) -> Self {
        let panels = Panels::new(points);
        let block_panels = panels.len().div_ceil(BLOCKS_MAX).max(BLOCK_PANELS_MIN);
        let squares: Vec<f64> = points.coordinates.par_chunks(points.stride).map(squared_norm).collect();
        // Coordinates are centred, so this is the mean variance of the columns.
        let variance = squares.iter().sum::<f64>() / points.rows as f64 / points.columns as f64;
        Self {
            simd,
            points,
            panels,
            norms: squares
                .chunks(PANEL)
                .map(|panel| panel.iter().copied().fold(0.0, f64::max).sqrt())
                .collect(),
            k: request.k,
            max_iterations: request.max_iterations,
            threshold: request.tolerance * variance,
            block_panels,
        }
    }

    /// Lloyd's iteration.
    fn lloyd(&self, mut centroids: Vec<f64>, threshold: f64) -> Lloyd {
        let mut labels = vec![u32::MAX; self.points.rows];
        let mut sums = Sums { sums: vec![0.0; self.k * self.points.stride], sizes: vec![0; self.k] };
        let mut iterations = 0;
        let mut converged = false;
        while iterations < self.max_iterations && !converged {
            iterations += 1;
            let changed = self.assign(&centroids, &mut labels, &mut sums);
            let filled = self.fill_empty(&centroids, &mut labels, &mut sums);
            converged = changed + filled == 0;
            let moved = self.update(&mut centroids, &sums);
            if moved <= threshold && threshold > 0.0 {
                break;
            }
        }
        let inertia = self.inertia(&centroids, &labels);
        Lloyd { labels, centroids, inertia, iterations, converged }
    }

    /// Gives every row the label of its nearest centroid, the lowest of equals; returns how many labels changed.
    fn assign(&self, centroids: &[f64], labels: &mut [u32], sums: &mut Sums) -> usize {
        let stride = self.points.stride;
        let rounded: Vec<f32> = centroids.iter().map(|value| *value as f32).collect();
        let squares: Vec<f64> = rounded.chunks_exact(stride).map(squared_norm).collect();
        let biases: Vec<f32> = squares.iter().map(|square| (-0.5 * square) as f32).collect();
        let longest = squares.iter().copied().fold(0.0, f64::max).sqrt();
        let block_rows = self.block_panels * PANEL;
        let changes: Vec<Change> = labels
            .par_chunks_mut(block_rows)
            .enumerate()
            .map(|(block, labels)| {
                let mut change = Change::default();
                for (panel, labels) in (block * self.block_panels..).zip(labels.chunks_mut(PANEL)) {
                    let mut nearest = Nearest::new();
                    for (tile, first) in tiles(&rounded, stride, &biases).zip((0..).step_by(ROWS)) {
                        self.simd.nearest(self.panels.panel(panel), tile, first, &mut nearest);
                    }
                    let error = score_error(self.points.columns, self.norms[panel] + longest);
                    // Both scores may be wrong, and their difference is rounded once more.
                    let least_lead = (2.01 * error) as f32;
                    let first = panel * PANEL;
                    for (lane, row) in nearest.row.iter_mut().enumerate().take(labels.len()) {
                        let certain = nearest.best[lane] - nearest.second[lane] > least_lead;
                        if !certain {
                            *row = exactly_nearest(self.points.row(first + lane), centroids);
                        }
                    }
                    if nearest.row[..labels.len()] != *labels {
                        self.relabel(first, &nearest.row, labels, &mut change);
                    }
                }
                change
            })
            .collect();
        let mut changed = 0;
        for change in changes {
            sums.sums.iter_mut().zip(&change.sums).for_each(|(total, sum)| *total += sum);
            sums.sizes.iter_mut().zip(&change.sizes).for_each(|(total, size)| *total += size);
            changed += change.changed;
        }
        changed
    }

    /// Gives the rows of a panel new labels and adds the difference that makes.
    fn relabel(&self, first: usize, new: &[u32; PANEL], labels: &mut [u32], change: &mut Change) {
        let stride = self.points.stride;
        if change.sums.is_empty() {
            change.sums = vec![0.0; self.k * stride];
            change.sizes = vec![0; self.k];
        }
        for (lane, label) in labels.iter_mut().enumerate().filter(|(lane, label)| **label != new[*lane]) {
            let row = self.points.row(first + lane);
            if *label != u32::MAX {
                let sums = &mut change.sums[*label as usize * stride..];
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum -= f64::from(*value));
                change.sizes[*label as usize] -= 1;
            }
            *label = new[lane];
            let sums = &mut change.sums[*label as usize * stride..];
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
            change.sizes[*label as usize] += 1;
            change.changed += 1;
        }
    }

    /// Gives each empty cluster the row that lies farthest from its centroid.
    /// Returns how many that are.
    fn fill_empty(&self, centroids: &[f64], labels: &mut [u32], sums: &mut Sums) -> usize {
        let stride = self.points.stride;
        let empty: Vec<usize> = (0..self.k).filter(|&cluster| sums.sizes[cluster] == 0).collect();
        if empty.is_empty() {
            return 0;
        }
        let mut far: Vec<(f64, usize)> =
            self.squared_distances(centroids, labels).into_iter().zip(0..).collect();
        far.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut far = far.into_iter().map(|(_, row)| row);
        let count = empty.len();
        for cluster in empty {
            let Some(row) = far.by_ref().find(|&row| sums.sizes[labels[row] as usize] > 1) else { break };
            let old = labels[row] as usize;
            for (feature, value) in self.points.row(row).iter().enumerate() {
                sums.sums[old * stride + feature] -= f64::from(*value);
                sums.sums[cluster * stride + feature] = f64::from(*value);
            }
            sums.sizes[old] -= 1;
            sums.sizes[cluster] = 1;
            labels[row] = cluster as u32;
        }
        count
    }

    /// Moves the centroids to the means and returns the sum of their squared movements.
    fn update(&self, centroids: &mut [f64], sums: &Sums) -> f64 {
        let stride = self.points.stride;
        let mut moved = 0.0;
        for (cluster, centroid) in centroids.chunks_exact_mut(stride).enumerate() {
            if sums.sizes[cluster] == 0 {
                continue;
            }
            let size = sums.sizes[cluster] as f64;
            for (value, sum) in centroid.iter_mut().zip(&sums.sums[cluster * stride..]) {
                let mean = sum / size;
                moved += (mean - *value) * (mean - *value);
                *value = mean;
            }
        }
        moved
    }

    fn squared_distances(&self, centroids: &[f64], labels: &[u32]) -> Vec<f64> {
        let stride = self.points.stride;
        labels
            .par_iter()
            .zip(self.points.coordinates.par_chunks(stride))
            .map(|(&label, row)| squared_distance_to(row, &centroids[label as usize * stride..]))
            .collect()
    }

    fn inertia(&self, centroids: &[f64], labels: &[u32]) -> f64 {
        self.squared_distances(centroids, labels).iter().sum()
    }
}

/// The centroid nearest to a row by distances in f64, the lowest of equals.
fn exactly_nearest(row: &[f32], centroids: &[f64]) -> u32 {
    let mut best = (f64::INFINITY, 0);
    for (centroid, number) in centroids.chunks_exact(row.len()).zip(0..) {
        let squared = squared_distance_to(row, centroid);
        if squared < best.0 {
            best = (squared, number);
        }
    }
    best.1
}
