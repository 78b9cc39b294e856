//! Exact nearest neighbours.

use rayon::prelude::*;

use crate::cluster::features::{Distinct, Features, Points};
use crate::cluster::leaves::{Leaves, Search};
use crate::cluster::{InvalidClustering, by_cpu};
use crate::cpu::simd::Simd;
use crate::error::KernelError;
use crate::request::Provenance;

/// Up to this many queries are compared with every row; building leaves would take longer.
const DIRECT_UP_TO: usize = 64;
/// Rows that one thread compares at a time.
const ROWS_PER_TASK: usize = 8_192;

/// Whose neighbours are wanted.
#[derive(Debug, Clone, Copy)]
pub enum Queries<'a> {
    /// Those of every row.
    All,
    /// Those of some rows.
    Rows(&'a [u32]),
}

/// A request to [`crate::Backend::nearest_neighbours`].
#[derive(Debug, Clone, Copy)]
pub struct KnnRequest<'a> {
    /// The rows. Columns of different units should be standardised.
    pub features: Features<'a>,
    /// Neighbours of each row, the row itself not counted; at least 1 and less than the number of rows.
    pub k: usize,
    /// Whose neighbours.
    pub queries: Queries<'a>,
}

/// The answer to a [`KnnRequest`].
#[derive(Debug, Clone, PartialEq)]
pub struct KnnOutput {
    /// Neighbours of each query.
    pub k: usize,
    /// `queries * k` row numbers, nearest first, the lowest of equally near ones first.
    pub rows: Vec<u32>,
    /// Their Euclidean distances.
    pub distances: Vec<f64>,
    /// Where this was computed.
    pub provenance: Provenance,
}

impl KnnRequest<'_> {
    pub(crate) fn check(&self) -> Result<(), InvalidClustering> {
        let n = self.features.rows();
        if self.k == 0 {
            return Err(InvalidClustering::Parameter { name: "k", expected: "at least 1", got: 0.0 });
        }
        if self.features.columns > 0 && self.k >= n {
            let n = n.saturating_sub(1);
            return Err(InvalidClustering::KExceedsN { name: "k", k: self.k, n });
        }
        if let Queries::Rows(rows) = self.queries
            && let Some(row) = rows.iter().find(|&&row| row as usize >= n)
        {
            let expected = "the number of a row";
            return Err(InvalidClustering::Parameter { name: "query", expected, got: f64::from(*row) });
        }
        Ok(())
    }
}

pub(crate) fn nearest_neighbours(simd: Simd, request: &KnnRequest<'_>) -> Result<KnnOutput, KernelError> {
    request.check()?;
    let k = request.k;
    let distinct = Points::new(request.features)?.distinct();
    let locations = distinct.points.rows;
    let wanted = k.min(locations - 1);
    let all: Vec<u32>;
    let queries = match request.queries {
        Queries::All => {
            all = (0..distinct.rows() as u32).collect();
            &all[..]
        }
        Queries::Rows(rows) => rows,
    };
    let mut output = KnnOutput {
        k,
        rows: vec![0; queries.len() * k],
        distances: vec![0.0; queries.len() * k],
        provenance: by_cpu(),
    };
    let out = output.rows.par_chunks_mut(k).zip(output.distances.par_chunks_mut(k)).zip(queries);
    if wanted == 0 || queries.len() <= DIRECT_UP_TO {
        out.for_each(|((rows, distances), &row)| {
            let list = direct(simd, &distinct.points, distinct.location(row as usize), wanted);
            expand(&distinct, row, &list, rows, distances);
        });
    } else {
        let leaves = Leaves::new(&distinct.points);
        let mut needed = vec![false; locations];
        queries.iter().for_each(|&row| needed[distinct.location(row as usize)] = true);
        let lists = NeighbourLists::new(simd, &leaves, wanted, None, |location| needed[location]);
        let mut position_of = vec![0u32; locations];
        leaves
            .order
            .iter()
            .zip(0..)
            .for_each(|(&location, position)| position_of[location as usize] = position);
        out.for_each(|((rows, distances), &row)| {
            let position = position_of[distinct.location(row as usize)] as usize;
            let list: Vec<(f64, u32)> =
                lists.of(position).map(|(squared, position)| (squared, leaves.order[position])).collect();
            expand(&distinct, row, &list, rows, distances);
        });
    }
    Ok(output)
}

/// As [`nearest_neighbours`], with lists that a device makes: of points and queries (numbers of points, ascending) the
/// given number of nearest points each, in order.
#[cfg(feature = "cuda")]
pub(crate) fn nearest_neighbours_by(
    request: &KnnRequest<'_>,
    lists: impl FnOnce(&Points, &[u32], usize) -> Result<Vec<(f64, u32)>, KernelError>,
) -> Result<KnnOutput, KernelError> {
    request.check()?;
    let k = request.k;
    let distinct = Points::new(request.features)?.distinct();
    let wanted = k.min(distinct.points.rows - 1);
    let queries: Vec<u32> = match request.queries {
        Queries::All => (0..distinct.rows() as u32).collect(),
        Queries::Rows(rows) => rows.to_vec(),
    };
    let mut asked: Vec<u32> = queries.iter().map(|&row| distinct.location(row as usize) as u32).collect();
    asked.sort_unstable();
    asked.dedup();
    let found =
        if wanted == 0 || asked.is_empty() { Vec::new() } else { lists(&distinct.points, &asked, wanted)? };
    let provenance = Provenance { backend: "cuda", ..by_cpu() };
    let (rows, distances) = (vec![0; queries.len() * k], vec![0.0; queries.len() * k]);
    let mut output = KnnOutput { k, rows, distances, provenance };
    let out = output.rows.par_chunks_mut(k).zip(output.distances.par_chunks_mut(k)).zip(&queries);
    out.for_each(|((rows, distances), &row)| {
        let location = distinct.location(row as usize) as u32;
        let place = asked.partition_point(|&other| other < location);
        let list = found.get(place * wanted..(place + 1) * wanted).unwrap_or_default();
        expand(&distinct, row, list, rows, distances);
    });
    Ok(output)
}

/// From near locations to near rows.
fn expand(distinct: &Distinct, row: u32, list: &[(f64, u32)], rows: &mut [u32], distances: &mut [f64]) {
    let k = rows.len();
    let own = distinct.copies(distinct.location(row as usize)).filter(|&copy| copy != row);
    let mut found: Vec<(f64, u32)> = own.take(k).map(|copy| (0.0, copy)).collect();
    for &(squared, location) in list {
        if found.len() >= k && found[k - 1].0 < squared {
            break;
        }
        found.extend(distinct.copies(location as usize).take(k).map(|copy| (squared, copy)));
    }
    found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    for ((row, distance), (squared, neighbour)) in rows.iter_mut().zip(distances).zip(found) {
        *row = neighbour;
        *distance = distinct.points.distance(squared);
    }
}

/// The nearest locations by comparison with all.
fn direct(simd: Simd, points: &Points, location: usize, k: usize) -> Vec<(f64, u32)> {
    if k == 0 {
        return Vec::new();
    }
    let query = points.row(location);
    let parts: Vec<Vec<(f64, u32)>> = points
        .coordinates
        .par_chunks(ROWS_PER_TASK * points.stride)
        .enumerate()
        .map(|(task, rows)| {
            let mut nearest = NearestFew::new(1, k);
            for (row, other) in rows.chunks_exact(points.stride).zip(task * ROWS_PER_TASK..) {
                if other != location {
                    nearest.add(0, simd.squared_distance(query, row), other as u32, other as u32);
                }
            }
            nearest.of(0).iter().map(|entry| (entry.squared, entry.number)).collect()
        })
        .collect();
    let mut all = parts.concat();
    all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    all.truncate(k);
    all
}

/// One near point.
#[derive(Debug, Clone, Copy)]
struct Entry {
    squared: f64,
    /// Decides between equally near points.
    number: u32,
    position: u32,
}

impl Entry {
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.squared.total_cmp(&other.squared).then(self.number.cmp(&other.number))
    }
}

/// The k nearest points so far of several queries, and others that came since. Putting each in its place would cost more
/// than measuring it; so they are parted from the farther ones whenever there are twice as many as wanted.
struct NearestFew {
    k: usize,
    entries: Vec<Entry>,
    counts: Vec<usize>,
    /// A distance within which the k nearest are known to lie.
    thresholds: Vec<f64>,
}

impl NearestFew {
    fn new(queries: usize, k: usize) -> Self {
        let none = Entry { squared: f64::INFINITY, number: u32::MAX, position: u32::MAX };
        let thresholds = vec![f64::INFINITY; queries];
        Self { k, entries: vec![none; queries * 2 * k], counts: vec![0; queries], thresholds }
    }

    fn add(&mut self, query: usize, squared: f64, number: u32, position: u32) {
        if squared > self.thresholds[query] {
            return;
        }
        let (k, count) = (self.k, self.counts[query]);
        let entries = &mut self.entries[query * 2 * k..(query + 1) * 2 * k];
        entries[count] = Entry { squared, number, position };
        self.counts[query] = count + 1;
        if count + 1 == k && self.thresholds[query] == f64::INFINITY {
            self.thresholds[query] = entries[..k].iter().map(|entry| entry.squared).fold(0.0, f64::max);
        } else if count + 1 == 2 * k {
            entries.select_nth_unstable_by(k - 1, Entry::order);
            self.counts[query] = k;
            self.thresholds[query] = entries[k - 1].squared;
        }
    }

    /// The nearest points of a query, in order.
    fn of(&mut self, query: usize) -> &[Entry] {
        let k = self.k;
        let entries = &mut self.entries[query * 2 * k..][..self.counts[query]];
        entries.sort_unstable_by(Entry::order);
        &entries[..entries.len().min(k)]
    }
}

/// The nearest points of every position, nearest first.
#[derive(Debug)]
pub(crate) struct NeighbourLists {
    k: usize,
    squared: Vec<f64>,
    positions: Vec<u32>,
}

struct ListSearch<'a> {
    order: &'a [u32],
    first: usize,
    lists: NearestFew,
}

impl Search for ListSearch<'_> {
    fn threshold(&self, query: usize) -> f64 {
        self.lists.thresholds[query - self.first]
    }

    fn visit(&mut self, query: usize, position: usize, squared: f64) {
        if position != query {
            self.lists.add(query - self.first, squared, self.order[position], position as u32);
        }
    }
}

impl NeighbourLists {
    /// The `k` nearest points of the points that are needed; `k` is less than the number of points. The lists of
    /// points that are not needed hold nothing of use.
    ///
    /// With a number of leaves `near`, only points of the leaf itself and of that many others around are found, and of
    /// more leaves as long as a list is not full.
    pub(crate) fn new(
        simd: Simd,
        leaves: &Leaves,
        k: usize,
        near: Option<usize>,
        needed: impl Fn(usize) -> bool + Sync,
    ) -> Self {
        let points = leaves.points();
        let (mut squared, mut positions) = (vec![0.0; points * k], vec![0; points * k]);
        let size = leaves.leaf_size() * k;
        squared.par_chunks_mut(size).zip(positions.par_chunks_mut(size)).enumerate().for_each_init(
            || leaves.scratch(),
            |scratch, (leaf, (squared, positions))| {
                let range = leaves.positions(leaf);
                let queries: Vec<usize> =
                    range.clone().filter(|&position| needed(leaves.order[position] as usize)).collect();
                if queries.is_empty() {
                    return;
                }
                let lists = NearestFew::new(range.len(), k);
                let mut search = ListSearch { order: &leaves.order, first: range.start, lists };
                let farthest = |search: &ListSearch<'_>| {
                    queries.iter().map(|&query| search.threshold(query)).fold(0.0, f64::max)
                };
                let mut most = farthest(&search);
                let others = match near {
                    Some(_) => leaves.by_centre(simd, leaf),
                    None => leaves.by_distance(simd, leaf, |_| true),
                };
                for (place, (distance, other)) in others.into_iter().enumerate() {
                    if near.is_some_and(|near| place > near) && most.is_finite() {
                        break;
                    }
                    if f64::from(distance) > most {
                        continue;
                    }
                    let other = other as usize;
                    let relevant = leaves.relevant_panels(simd, [leaf, other], most, scratch);
                    if relevant > 0 {
                        let queries = queries.iter().copied();
                        leaves.search(simd, other, relevant, queries, &mut search, scratch);
                        most = farthest(&search);
                    }
                }
                let out = squared.chunks_mut(k).zip(positions.chunks_mut(k));
                for (query, (squared, positions)) in out.enumerate() {
                    for (place, entry) in search.lists.of(query).iter().enumerate() {
                        squared[place] = entry.squared;
                        positions[place] = entry.position;
                    }
                }
            },
        );
        Self { k, squared, positions }
    }

    /// Squared distances and positions of the nearest points of a position, nearest first.
    pub(crate) fn of(&self, position: usize) -> impl Iterator<Item = (f64, usize)> + '_ {
        let range = position * self.k..(position + 1) * self.k;
        self.squared[range.clone()]
            .iter()
            .zip(&self.positions[range])
            .map(|(&squared, &position)| (squared, position as usize))
    }

    /// From exact lists of all points by their numbers.
    pub(crate) fn of_locations(leaves: &Leaves, k: usize, lists: &[(f64, u32)]) -> Self {
        let mut position_of = vec![0u32; leaves.points()];
        leaves.order.iter().zip(0..).for_each(|(&point, position)| position_of[point as usize] = position);
        let entries = || leaves.order.iter().flat_map(|&point| &lists[point as usize * k..][..k]);
        let squared = entries().map(|(squared, _)| *squared).collect();
        let positions = entries().map(|(_, point)| position_of[*point as usize]).collect();
        Self { k, squared, positions }
    }

    /// The share of the nearest points that lists have, by exact lists of up to `sample` points.
    pub(crate) fn recall(&self, simd: Simd, leaves: &Leaves, points: &Points, sample: usize) -> f64 {
        let count = leaves.points();
        let sampled: Vec<usize> = (0..count).step_by(count.div_ceil(sample)).collect();
        let found = sampled.iter().map(|&position| {
            let exact = direct(simd, points, leaves.order[position] as usize, self.k);
            let farthest = exact.last().map_or(0.0, |last| last.0);
            self.of(position).take_while(|(squared, _)| *squared <= farthest).count()
        });
        found.sum::<usize>() as f64 / (sampled.len() * self.k) as f64
    }

    /// The squared distance within which every point is listed, apart from points just that far away.
    pub(crate) fn reach(&self, position: usize) -> f64 {
        // A list of all other points reaches everywhere.
        if self.k + 1 >= self.positions.len() / self.k.max(1) {
            return f64::INFINITY;
        }
        self.squared[(position + 1) * self.k - 1]
    }
}
