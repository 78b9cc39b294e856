//! How well a labelling fits its rows: silhouette, Davies-Bouldin and Calinski-Harabasz, in f64.

use rayon::prelude::*;

use crate::cluster::InvalidClustering;
use crate::cluster::features::Features;
use crate::cluster::kmeans::means;
use crate::rng::{Stream, Tag};

/// Pairs of rows times columns up to which [`silhouette`] uses every row.
const EXACT_UP_TO: u64 = 1 << 35;
/// Rows that a sampled silhouette looks at.
const SAMPLED_ROWS: u32 = 1_000;

/// The silhouette of a labelling (Rousseeuw 1987).
#[derive(Debug, Clone, PartialEq)]
pub struct Silhouette {
    /// Mean over [`Silhouette::rows`]: from -1 (wrong clusters) over 0 (overlapping) to 1 (well apart).
    pub mean: f64,
    /// The rows that were looked at, ascending: all of them, or a random sample. Distances are always to all rows.
    pub rows: Vec<u32>,
    /// The silhouette of each of these rows; 0 for the only row of a cluster.
    pub values: Vec<f64>,
    /// Whether only a sample of rows was looked at.
    pub sampled: bool,
    /// Standard error of `mean` from sampling; 0 when nothing was sampled.
    pub standard_error: f64,
}

/// The mean silhouette: exact while that is cheap, else of 1,000 rows drawn with the seed (`sampled` says so).
///
/// Rows with a negative label (noise) are left out altogether.
///
/// # Errors
/// Bad shapes, values that are not finite, labels of another length, and fewer than two clusters or as many
/// clusters as rows.
///
/// ```
/// use kernels::cluster::{Features, silhouette};
/// let features = Features { values: &[0.0, 0.1, 5.0, 5.1], columns: 1 };
/// assert!(silhouette(features, &[0, 0, 1, 1], 0)?.mean > 0.9);
/// # Ok::<(), kernels::cluster::InvalidClustering>(())
/// ```
pub fn silhouette(
    features: Features<'_>,
    labels: &[i32],
    seed: u64,
) -> Result<Silhouette, InvalidClustering> {
    let groups = Groups::new(features, labels)?;
    let n = groups.rows.len() as u32;
    let work = u64::from(n) * u64::from(n) * features.columns as u64;
    let sampled = work > EXACT_UP_TO && n > SAMPLED_ROWS;
    let positions = if sampled {
        Stream { seed, stream: 0, tag: Tag::Subset, sub: 0 }.subset(n, SAMPLED_ROWS, 0)
    } else {
        (0..n).collect()
    };
    let values: Vec<f64> =
        positions.par_iter().map(|&position| groups.silhouette(position as usize)).collect();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    // With the correction for a finite population.
    let share_left = 1.0 - count / f64::from(n);
    let standard_error = if sampled { (squares / (count - 1.0) / count * share_left).sqrt() } else { 0.0 };
    let rows = positions.iter().map(|&position| groups.rows[position as usize]).collect();
    Ok(Silhouette { mean, rows, values, sampled, standard_error })
}

/// The Davies-Bouldin index (1979): mean over clusters of the worst ratio of spread to separation; lower is better.
///
/// # Errors
/// As for [`silhouette`].
pub fn davies_bouldin(features: Features<'_>, labels: &[i32]) -> Result<f64, InvalidClustering> {
    let groups = Groups::new(features, labels)?;
    let (kept, columns) = (groups.features(), features.columns);
    let (centroids, _) = means(kept, &groups.labels, groups.sizes.len());
    let centroid = |cluster: usize| &centroids[cluster * columns..(cluster + 1) * columns];
    let mut spread = vec![0.0; groups.sizes.len()];
    for (row, &label) in groups.labels.iter().enumerate() {
        let label = label as usize;
        spread[label] += distance(kept.row(row), centroid(label)) / f64::from(groups.sizes[label]);
    }
    let clusters = groups.sizes.len();
    let worst = (0..clusters).map(|a| {
        let others = (0..clusters).filter(|&b| b != a);
        let ratios = others.map(|b| {
            let apart = distance(centroid(a), centroid(b));
            if apart == 0.0 { 0.0 } else { (spread[a] + spread[b]) / apart }
        });
        ratios.fold(0.0, f64::max)
    });
    Ok(worst.sum::<f64>() / clusters as f64)
}

/// The Calinski-Harabasz index (1974): variance between clusters over variance within; higher is better. Infinite
/// when no cluster has any spread.
///
/// # Errors
/// As for [`silhouette`].
pub fn calinski_harabasz(features: Features<'_>, labels: &[i32]) -> Result<f64, InvalidClustering> {
    let groups = Groups::new(features, labels)?;
    let (kept, columns) = (groups.features(), features.columns);
    let (n, clusters) = (groups.labels.len(), groups.sizes.len());
    let (centroids, _) = means(kept, &groups.labels, clusters);
    let (all, _) = means(kept, &vec![0; n], 1);
    let square = |a: &[f64], b: &[f64]| distance(a, b).powi(2);
    let rows = groups.labels.iter().enumerate();
    let within: f64 = rows
        .map(|(row, &label)| square(kept.row(row), &centroids[label as usize * columns..][..columns]))
        .sum();
    let between: f64 = centroids
        .chunks_exact(columns)
        .zip(&groups.sizes)
        .map(|(centroid, &size)| f64::from(size) * square(centroid, &all))
        .sum();
    Ok(between / (clusters as f64 - 1.0) / (within / (n - clusters) as f64))
}

/// The rows that belong to clusters, with labels from 0 without gaps.
struct Groups {
    /// Original row numbers.
    rows: Vec<u32>,
    labels: Vec<u32>,
    sizes: Vec<u32>,
    values: Vec<f64>,
    columns: usize,
}

impl Groups {
    fn new(features: Features<'_>, labels: &[i32]) -> Result<Self, InvalidClustering> {
        features.check()?;
        if labels.len() != features.rows() {
            let (name, got, expected) = ("labels", labels.len(), features.rows());
            return Err(InvalidClustering::Length { name, got, expected });
        }
        let rows: Vec<u32> = (0..labels.len() as u32).filter(|&row| labels[row as usize] >= 0).collect();
        let mut names: Vec<i32> = rows.iter().map(|&row| labels[row as usize]).collect();
        names.sort_unstable();
        names.dedup();
        let max = rows.len().saturating_sub(1);
        if names.len() < 2 || names.len() > max {
            return Err(InvalidClustering::LabelCount { got: names.len(), min: 2, max });
        }
        let numbers: Vec<u32> = rows
            .iter()
            .map(|&row| names.partition_point(|name| *name < labels[row as usize]) as u32)
            .collect();
        let mut sizes = vec![0u32; names.len()];
        for &label in &numbers {
            sizes[label as usize] += 1;
        }
        let values = rows.iter().flat_map(|&row| features.row(row as usize)).copied().collect();
        Ok(Self { rows, labels: numbers, sizes, values, columns: features.columns })
    }

    fn features(&self) -> Features<'_> {
        Features { values: &self.values, columns: self.columns }
    }

    fn silhouette(&self, position: usize) -> f64 {
        let own = self.labels[position] as usize;
        if self.sizes[own] == 1 {
            return 0.0;
        }
        let row = self.features().row(position);
        let mut sums = vec![0.0; self.sizes.len()];
        for (other, &label) in self.values.chunks_exact(self.columns).zip(&self.labels) {
            sums[label as usize] += distance(row, other);
        }
        let inside = sums[own] / f64::from(self.sizes[own] - 1);
        let outside = sums.iter().zip(&self.sizes).enumerate().filter(|(cluster, _)| *cluster != own);
        let outside = outside.map(|(_, (sum, size))| sum / f64::from(*size)).fold(f64::INFINITY, f64::min);
        let larger = inside.max(outside);
        if larger == 0.0 { 0.0 } else { (outside - inside) / larger }
    }
}

/// The Euclidean distance, always summed in the same order.
pub(crate) fn distance(first: &[f64], second: &[f64]) -> f64 {
    const WIDE: usize = 8;
    let (whole, rest) = first.as_chunks::<WIDE>();
    let (other, other_rest) = second.as_chunks::<WIDE>();
    let mut sums = [0.0; WIDE];
    for (first, second) in whole.iter().zip(other) {
        for lane in 0..WIDE {
            let difference = first[lane] - second[lane];
            sums[lane] += difference * difference;
        }
    }
    for ((first, second), sum) in rest.iter().zip(other_rest).zip(&mut sums) {
        *sum += (first - second) * (first - second);
    }
    sums.iter().sum::<f64>().sqrt()
}
