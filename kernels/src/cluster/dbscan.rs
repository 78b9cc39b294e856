//! DBSCAN: clusters of rows that are dense at one scale (Ester et al. 1996).

use rayon::prelude::*;

use crate::cluster::InvalidClustering;
use crate::cluster::features::{Features, Points};
use crate::cluster::leaves::{Leaves, Search};
use crate::cpu::simd::Simd;

/// Leaves whose pairs of near rows are held at once.
const LEAVES_AT_ONCE: usize = 64;

/// Rows near a query, with their squared distances.
struct Near<'a, V: FnMut(usize, usize, f64)> {
    squared: f64,
    visit: &'a mut V,
}

impl<V: FnMut(usize, usize, f64)> Search for Near<'_, V> {
    fn threshold(&self, _query: usize) -> f64 {
        self.squared
    }

    fn visit(&mut self, query: usize, position: usize, squared: f64) {
        (self.visit)(query, position, squared);
    }
}

/// Labels of clusters, numbered in the order of their first rows; -1 for noise. Runs on the CPU.
///
/// A row is a core row when at least `min_samples` rows, itself counted, lie within `radius`. Core rows within the
/// radius of each other share a cluster; another row joins that of the nearest core row within the radius, the lowest
/// of equally near ones.
///
/// # Errors
/// Bad shapes, values that are not finite, a radius that is negative or not finite, `min_samples` of 0.
///
/// ```
/// use kernels::cluster::{Features, dbscan};
/// let features = Features { values: &[0.0, 0.1, 0.2, 5.0, 5.1, 5.2, 9.0], columns: 1 };
/// assert_eq!(dbscan(features, 0.15, 2)?, [0, 0, 0, 1, 1, 1, -1]);
/// # Ok::<(), kernels::cluster::InvalidClustering>(())
/// ```
pub fn dbscan(
    features: Features<'_>,
    radius: f64,
    min_samples: usize,
) -> Result<Vec<i32>, InvalidClustering> {
    if !radius.is_finite() || radius < 0.0 {
        let (name, expected) = ("radius", "finite and not negative");
        return Err(InvalidClustering::Parameter { name, expected, got: radius });
    }
    if min_samples == 0 {
        return Err(InvalidClustering::Parameter { name: "min_samples", expected: "at least 1", got: 0.0 });
    }
    let simd = Simd::detect();
    let distinct = Points::new(features)?.distinct();
    let leaves = Leaves::new(&distinct.points);
    let scaled = radius * distinct.points.scale;
    let squared = scaled * scaled;
    let each_near = |leaf: usize, mut visit: &mut dyn FnMut(usize, usize, f64)| {
        let mut scratch = leaves.scratch();
        let mut search = Near { squared, visit: &mut visit };
        for (distance, other) in leaves.by_distance(simd, leaf, |_| true) {
            let other = other as usize;
            if f64::from(distance) <= squared {
                let relevant = leaves.relevant_panels(simd, [leaf, other], squared, &mut scratch);
                leaves.search(simd, other, relevant, leaves.positions(leaf), &mut search, &mut scratch);
            }
        }
    };
    let copies = |position: usize| distinct.count(leaves.order[position] as usize);
    let is_core: Vec<bool> = (0..leaves.len())
        .into_par_iter()
        .flat_map_iter(|leaf| {
            let range = leaves.positions(leaf);
            let mut counts = vec![0; range.len()];
            each_near(leaf, &mut |query, position, _| counts[query - range.start] += copies(position));
            counts.into_iter().map(|count| count >= min_samples).collect::<Vec<bool>>()
        })
        .collect();
    let mut parent: Vec<u32> = (0..leaves.points() as u32).collect();
    let mut joins: Vec<Option<(f64, u32, u32)>> = vec![None; leaves.points()];
    let all: Vec<usize> = (0..leaves.len()).collect();
    for part in all.chunks(LEAVES_AT_ONCE) {
        let found: Vec<Vec<(u32, u32, f64)>> = part
            .par_iter()
            .map(|&leaf| {
                let mut pairs = Vec::new();
                each_near(leaf, &mut |query, position, squared| {
                    // Of two core rows one direction is enough.
                    if is_core[position] && (!is_core[query] || position < query) {
                        pairs.push((query as u32, position as u32, squared));
                    }
                });
                pairs
            })
            .collect();
        for (query, position, squared) in found.into_iter().flatten() {
            if is_core[query as usize] {
                let (a, b) = (root(&mut parent, query), root(&mut parent, position));
                parent[a.max(b) as usize] = a.min(b);
            } else {
                let join = (squared, leaves.order[position as usize], position);
                let nearest = &mut joins[query as usize];
                if nearest.is_none_or(|(squared, number, _)| (join.0, join.1) < (squared, number)) {
                    *nearest = Some(join);
                }
            }
        }
    }
    let mut cluster_of_location = vec![None; leaves.points()];
    for (position, &location) in leaves.order.iter().enumerate() {
        let member =
            if is_core[position] { Some(position as u32) } else { joins[position].map(|join| join.2) };
        cluster_of_location[location as usize] = member.map(|member| root(&mut parent, member));
    }
    let mut numbers = std::collections::HashMap::new();
    let labels = (0..distinct.rows()).map(|row| {
        let Some(cluster) = cluster_of_location[distinct.location(row)] else { return -1 };
        let next = numbers.len() as i32;
        *numbers.entry(cluster).or_insert(next)
    });
    Ok(labels.collect())
}

fn root(parent: &mut [u32], node: u32) -> u32 {
    let mut node = node;
    while parent[node as usize] != node {
        parent[node as usize] = parent[parent[node as usize] as usize];
        node = parent[node as usize];
    }
    node
}
