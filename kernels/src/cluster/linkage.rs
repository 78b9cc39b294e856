//! Agglomerative clustering by Lance-Williams updates, for up to some ten thousand rows.

use rayon::prelude::*;

use crate::cluster::InvalidClustering;
use crate::cluster::features::Features;
use crate::cluster::quality::distance;

/// All pairs of distances must fit in memory: 3.6 GB for this many rows.
const ROWS_MAX: usize = 30_000;

/// The distance between two clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LinkageMethod {
    /// Between their nearest rows.
    Single,
    /// Between their farthest rows.
    Complete,
    /// The mean over all pairs of rows.
    Average,
    /// The root of twice the growth of the sum of squares within clusters (Ward 1963).
    #[default]
    Ward,
}

/// One merge of two clusters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Merge {
    /// The cluster with the lower number: a row below `n`, or `n` plus the position of an earlier merge.
    pub first: u32,
    /// The other cluster.
    pub second: u32,
    /// Their distance.
    pub height: f64,
    /// Rows in both.
    pub size: u32,
}

/// A tree of merges.
#[derive(Debug, Clone, PartialEq)]
pub struct Linkage {
    /// Number of rows.
    pub rows: usize,
    /// One merge less than there are rows, by rising height.
    pub merges: Vec<Merge>,
}

/// Merges the nearest clusters until one is left; ties go to the lowest numbers.
///
/// Uses chains of nearest neighbours (Murtagh 1983), in O(n^2) time and memory.
///
/// # Errors
/// Bad shapes, values that are not finite, and more than 30,000 rows.
///
/// ```
/// use kernels::cluster::{Features, LinkageMethod, linkage};
/// let features = Features { values: &[0.0, 1.0, 9.0, 9.5], columns: 1 };
/// let tree = linkage(features, LinkageMethod::Average)?;
/// assert_eq!(tree.merges[0].height, 0.5);
/// assert_eq!(tree.cut(2)?, [0, 0, 1, 1]);
/// # Ok::<(), kernels::cluster::InvalidClustering>(())
/// ```
pub fn linkage(features: Features<'_>, method: LinkageMethod) -> Result<Linkage, InvalidClustering> {
    let mut distances = Condensed::new(features)?;
    let rows = distances.rows;
    if method == LinkageMethod::Ward {
        distances.values.par_iter_mut().for_each(|value| *value *= *value);
    }
    let mut found = if method == LinkageMethod::Single {
        nearest_first(&distances)
    } else {
        chains(&mut distances, method)
    };
    if method == LinkageMethod::Ward {
        found.iter_mut().for_each(|merge| merge.0 = merge.0.sqrt());
    }
    // A stable sort: of equally high merges the one found first stays first.
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(Linkage { rows, merges: number(rows, &found) })
}

impl Linkage {
    /// Labels of `k` clusters, numbered in the order of their first rows.
    ///
    /// # Errors
    /// `k` is 0 or exceeds the number of rows.
    pub fn cut(&self, k: usize) -> Result<Vec<u32>, InvalidClustering> {
        if k == 0 {
            return Err(InvalidClustering::Parameter { name: "k", expected: "at least 1", got: 0.0 });
        }
        if k > self.rows {
            return Err(InvalidClustering::KExceedsN { name: "k", k, n: self.rows });
        }
        let kept = &self.merges[..self.rows - k];
        let mut parent: Vec<u32> = (0..(self.rows + kept.len()) as u32).collect();
        for (position, merge) in kept.iter().enumerate() {
            let node = (self.rows + position) as u32;
            parent[merge.first as usize] = node;
            parent[merge.second as usize] = node;
        }
        // Parents have higher numbers than children.
        for node in (0..parent.len()).rev() {
            parent[node] = parent[parent[node] as usize];
        }
        let mut numbers = std::collections::HashMap::new();
        Ok(parent[..self.rows]
            .iter()
            .map(|root| {
                let next = numbers.len() as u32;
                *numbers.entry(*root).or_insert(next)
            })
            .collect())
    }

    /// The correlation between the distances of rows and the heights at which they come together (Sokal & Rohlf
    /// 1962); NaN when either does not vary.
    ///
    /// # Errors
    /// Features of another number of rows, or bad ones.
    pub fn cophenetic_correlation(&self, features: Features<'_>) -> Result<f64, InvalidClustering> {
        let distances = Condensed::new(features)?;
        if distances.rows != self.rows {
            let (name, got, expected) = ("features", distances.rows, self.rows);
            return Err(InvalidClustering::Length { name, got, expected });
        }
        let mut heights = Condensed { rows: self.rows, values: vec![0.0; distances.values.len()] };
        let mut members: Vec<Vec<usize>> = (0..self.rows).map(|row| vec![row]).collect();
        for merge in &self.merges {
            let first = std::mem::take(&mut members[merge.first as usize]);
            let second = std::mem::take(&mut members[merge.second as usize]);
            for &a in &first {
                for &b in &second {
                    heights.set(a, b, merge.height);
                }
            }
            members.push([first, second].concat());
        }
        let count = distances.values.len() as f64;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
        let (mean_a, mean_b) = (mean(&distances.values), mean(&heights.values));
        let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
        for (a, b) in distances.values.iter().zip(&heights.values) {
            ab += (a - mean_a) * (b - mean_b);
            aa += (a - mean_a) * (a - mean_a);
            bb += (b - mean_b) * (b - mean_b);
        }
        Ok(ab / (aa * bb).sqrt())
    }
}

/// Distances of all pairs of rows, the upper triangle row by row.
struct Condensed {
    rows: usize,
    values: Vec<f64>,
}

impl Condensed {
    fn new(features: Features<'_>) -> Result<Self, InvalidClustering> {
        features.check()?;
        let rows = features.rows();
        if rows > ROWS_MAX {
            return Err(InvalidClustering::TooManyRows { rows, max: ROWS_MAX });
        }
        let mut values = vec![0.0; rows * rows.saturating_sub(1) / 2];
        let mut rest = &mut values[..];
        let mut parts = Vec::with_capacity(rows);
        for row in 0..rows {
            let (part, after) = rest.split_at_mut(rows - row - 1);
            parts.push(part);
            rest = after;
        }
        parts.into_par_iter().enumerate().for_each(|(row, part)| {
            for (value, other) in part.iter_mut().zip(row + 1..) {
                *value = distance(features.row(row), features.row(other));
            }
        });
        Ok(Self { rows, values })
    }

    fn index(&self, first: usize, second: usize) -> usize {
        let (low, high) = (first.min(second), first.max(second));
        low * (2 * self.rows - low - 1) / 2 + high - low - 1
    }

    fn get(&self, first: usize, second: usize) -> f64 {
        self.values[self.index(first, second)]
    }

    fn set(&mut self, first: usize, second: usize, value: f64) {
        let index = self.index(first, second);
        self.values[index] = value;
    }
}

/// Prim's algorithm: the merges of single linkage are the edges of the minimum spanning tree.
fn nearest_first(distances: &Condensed) -> Vec<(f64, usize, usize)> {
    let rows = distances.rows;
    let mut best = vec![(f64::INFINITY, 0); rows];
    let mut outside: Vec<usize> = (1..rows).collect();
    let mut last = 0;
    let mut merges = Vec::with_capacity(rows.saturating_sub(1));
    while !outside.is_empty() {
        let mut nearest = 0;
        for (place, &row) in outside.iter().enumerate() {
            let distance = distances.get(last, row);
            if distance < best[row].0 {
                best[row] = (distance, last);
            }
            if best[row].0 < best[outside[nearest]].0 {
                nearest = place;
            }
        }
        let row = outside.remove(nearest);
        merges.push((best[row].0, best[row].1, row));
        last = row;
    }
    merges
}

/// Follows nearest neighbours until two are each other's; for linkages where a merge brings no two clusters nearer.
fn chains(distances: &mut Condensed, method: LinkageMethod) -> Vec<(f64, usize, usize)> {
    let rows = distances.rows;
    let mut sizes = vec![1.0f64; rows];
    let mut live: Vec<usize> = (0..rows).collect();
    let mut chain: Vec<usize> = Vec::new();
    let mut merges = Vec::with_capacity(rows.saturating_sub(1));
    while live.len() > 1 {
        if chain.is_empty() {
            chain.push(live[0]);
        }
        let (first, second, height) = loop {
            let end = chain[chain.len() - 1];
            // On a tie the chain turns back, so that it ends; else the lowest number wins.
            let before = chain.len().checked_sub(2).map(|place| chain[place]);
            let mut nearest = before.map_or((f64::INFINITY, end), |other| (distances.get(end, other), other));
            for &other in live.iter().filter(|&&other| other != end) {
                let distance = distances.get(end, other);
                if distance < nearest.0 {
                    nearest = (distance, other);
                }
            }
            if Some(nearest.1) == before {
                chain.truncate(chain.len() - 2);
                break (end.min(nearest.1), end.max(nearest.1), nearest.0);
            }
            chain.push(nearest.1);
        };
        merges.push((height, first, second));
        let (size_first, size_second) = (sizes[first], sizes[second]);
        let both = size_first + size_second;
        // The merged cluster takes the place of the second; merges are renumbered later.
        live.retain(|&row| row != first);
        for &other in live.iter().filter(|&&other| other != second) {
            let (a, b) = (distances.get(first, other), distances.get(second, other));
            let size = sizes[other];
            let merged = match method {
                LinkageMethod::Single => a.min(b),
                LinkageMethod::Complete => a.max(b),
                LinkageMethod::Average => (size_first * a + size_second * b) / both,
                LinkageMethod::Ward => {
                    ((size_first + size) * a + (size_second + size) * b - size * height) / (both + size)
                }
            };
            distances.set(second, other, merged);
        }
        sizes[second] = both;
    }
    merges
}

/// Gives clusters the numbers of their merges.
fn number(rows: usize, found: &[(f64, usize, usize)]) -> Vec<Merge> {
    let mut parent: Vec<u32> = (0..(rows + found.len()) as u32).collect();
    let mut sizes = vec![1; rows];
    let root = |parent: &mut Vec<u32>, node: usize| {
        let mut node = node;
        while parent[node] as usize != node {
            parent[node] = parent[parent[node] as usize];
            node = parent[node] as usize;
        }
        node
    };
    let mut merges = Vec::with_capacity(found.len());
    for &(height, first, second) in found {
        let (a, b) = (root(&mut parent, first), root(&mut parent, second));
        let node = sizes.len();
        (parent[a], parent[b]) = (node as u32, node as u32);
        let size = sizes[a] + sizes[b];
        sizes.push(size);
        merges.push(Merge { first: a.min(b) as u32, second: a.max(b) as u32, height, size });
    }
    merges
}
