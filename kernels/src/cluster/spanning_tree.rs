//! The minimum spanning tree of mutual reachability (Campello et al. 2013) by Boruvka's algorithm, exactly.
//!
//! In each round every component but the largest finds its lightest edge outward. Lists of near neighbours prove most
//! of them: no point off a list is nearer than its last entry. Where they prove nothing, leaves are searched, from near
//! to far, as long as they can hold a lighter edge. Edges are ordered by (weight, lower point, higher point), so there
//! is one tree, however it is found.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use crate::cluster::knn::NeighbourLists;
use crate::cluster::leaves::{Leaves, Search};
use crate::cpu::simd::Simd;

/// An edge between two points, by their numbers; `weight` is a squared mutual reachability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Edge {
    pub(crate) weight: f64,
    pub(crate) low: u32,
    pub(crate) high: u32,
}

impl Edge {
    const NONE: Self = Self { weight: f64::INFINITY, low: u32::MAX, high: u32::MAX };

    fn new(weight: f64, first: u32, second: u32) -> Self {
        Self { weight, low: first.min(second), high: first.max(second) }
    }

    /// The one order of edges.
    pub(crate) fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.weight.total_cmp(&other.weight).then((self.low, self.high).cmp(&(other.low, other.high)))
    }

    fn is_before(&self, other: &Self) -> bool {
        self.order(other).is_lt()
    }
}

/// The edges of the tree, in order. `core` are squared core distances by position.
///
/// There are fewer than points less one only when lists or core distances are not those of the points, as of a device that
/// computes wrongly.
///
/// Without `exact`, a component that has a listed edge outward takes the lightest of these; only others search.
pub(crate) fn spanning_tree(
    simd: Simd,
    leaves: &Leaves,
    lists: &NeighbourLists,
    core: &[f64],
    exact: bool,
) -> Vec<Edge> {
    let points = leaves.points();
    let mut forest = Forest::new(points);
    let mut edges = Vec::with_capacity(points.saturating_sub(1));
    // What unlisted edges out of the component of a point weigh at least.
    let reach = |position| if exact { lists.reach(position) } else { 0.0 };
    let mut least: Vec<f64> = (0..points).map(|position| reach(position).max(core[position])).collect();
    let mut position_of = vec![0; points];
    leaves.order.iter().enumerate().for_each(|(position, &point)| position_of[point as usize] = position);
    while forest.count > 1 {
        let mut best = listed(leaves, lists, core, &forest);
        let round = Round::new(leaves, core, &forest, &least, &best, exact);
        let found: Vec<(usize, Edge)> = (0..leaves.len())
            .into_par_iter()
            .map_init(|| leaves.scratch(), |scratch, leaf| round.search(simd, leaf, scratch))
            .flatten_iter()
            .collect();
        let largest = round.largest;
        for &(position, edge) in &found {
            let component = forest.component[position] as usize;
            if edge.is_before(&best[component]) {
                best[component] = edge;
            }
        }
        for &(position, edge) in &found {
            let bound = best[forest.component[position] as usize].weight;
            least[position] = least[position].max(edge.weight.min(bound));
        }
        best[largest] = Edge::NONE;
        let before = edges.len();
        for edge in best {
            if edge.weight < f64::INFINITY
                && forest.join(position_of[edge.low as usize], position_of[edge.high as usize])
            {
                edges.push(edge);
            }
        }
        if edges.len() == before {
            break;
        }
        forest.renumber();
    }
    edges.sort_unstable_by(Edge::order);
    edges
}

/// The lightest listed edge out of each component.
fn listed(leaves: &Leaves, lists: &NeighbourLists, core: &[f64], forest: &Forest) -> Vec<Edge> {
    let component = &forest.component;
    let of_points: Vec<Edge> = (0..leaves.points())
        .into_par_iter()
        .map(|position| {
            let mut best = Edge::NONE;
            for (squared, other) in lists.of(position) {
                if squared > best.weight {
                    break;
                }
                if component[other] != component[position] {
                    let weight = squared.max(core[position]).max(core[other]);
                    let edge = Edge::new(weight, leaves.order[position], leaves.order[other]);
                    if edge.is_before(&best) {
                        best = edge;
                    }
                }
            }
            best
        })
        .collect();
    let mut best = vec![Edge::NONE; forest.count];
    for (edge, &component) in of_points.iter().zip(component) {
        if edge.is_before(&best[component as usize]) {
            best[component as usize] = *edge;
        }
    }
    best
}

/// What the searches of one round share.
struct Round<'a> {
    leaves: &'a Leaves,
    core: &'a [f64],
    component: &'a [u32],
    least: &'a [f64],
    /// The component that need not search: every other one finds an edge.
    largest: usize,
    /// Whether each component looks for edges that are not listed.
    searches: Vec<bool>,
    /// Bits of the weight of the lightest edge that each component knows of; it only falls.
    bounds: Vec<AtomicU64>,
    /// The component of all points of a leaf, where there is one.
    pure: Vec<Option<u32>>,
    /// The smallest core distance in each leaf.
    least_core: Vec<f64>,
}

impl<'a> Round<'a> {
    fn new(
        leaves: &'a Leaves,
        core: &'a [f64],
        forest: &'a Forest,
        least: &'a [f64],
        best: &[Edge],
        exact: bool,
    ) -> Self {
        let component = &forest.component;
        let pure = (0..leaves.len()).map(|leaf| {
            let members = &component[leaves.positions(leaf)];
            members.first().copied().filter(|first| members.iter().all(|member| member == first))
        });
        let least_core = (0..leaves.len())
            .map(|leaf| core[leaves.positions(leaf)].iter().copied().fold(f64::INFINITY, f64::min));
        Self {
            leaves,
            core,
            component,
            least,
            searches: best.iter().map(|edge| exact || edge.weight == f64::INFINITY).collect(),
            largest: forest.largest(),
            bounds: best.iter().map(|edge| AtomicU64::new(edge.weight.to_bits())).collect(),
            pure: pure.collect(),
            least_core: least_core.collect(),
        }
    }

    fn bound(&self, component: u32) -> f64 {
        f64::from_bits(self.bounds[component as usize].load(Ordering::Relaxed))
    }

    /// Whether an unlisted edge of a point may be the one that its component looks for.
    fn is_open(&self, position: usize) -> bool {
        let component = self.component[position];
        let component_searches = component as usize != self.largest && self.searches[component as usize];
        component_searches && self.least[position] <= self.bound(component)
    }

    /// Looks for the lightest edges of the points of a leaf that lists do not decide. Returns these points with the
    /// lightest edge found, if it can be the lightest of the component.
    fn search(
        &self,
        simd: Simd,
        leaf: usize,
        scratch: &mut crate::cluster::leaves::Scratch,
    ) -> Vec<(usize, Edge)> {
        let range = self.leaves.positions(leaf);
        let open: Vec<usize> = range.clone().filter(|&position| self.is_open(position)).collect();
        if open.is_empty() {
            return Vec::new();
        }
        let mut search = EdgeSearch { round: self, first: range.start, best: vec![Edge::NONE; range.len()] };
        let farthest = |search: &EdgeSearch<'_>| {
            open.iter().map(|&position| search.threshold(position)).fold(-1.0, f64::max)
        };
        // Bounds only fall, so one that was taken earlier excludes too little, never too much.
        let mut most = farthest(&search);
        let mut queries = Vec::with_capacity(open.len());
        let of_others = |other: usize| self.pure[other].is_none() || self.pure[other] != self.pure[leaf];
        for (distance, other) in self.leaves.by_distance(simd, leaf, of_others) {
            let other = other as usize;
            let least = f64::from(distance).max(self.least_core[other]);
            if least > most {
                continue;
            }
            let relevant = self.leaves.relevant_panels(simd, [leaf, other], most, scratch);
            if relevant == 0 {
                continue;
            }
            queries.clear();
            queries.extend(open.iter().copied().filter(|&position| {
                self.pure[other] != Some(self.component[position]) && least <= search.threshold(position)
            }));
            if !queries.is_empty() {
                let queries = queries.iter().copied();
                self.leaves.search(simd, other, relevant, queries, &mut search, scratch);
            }
            most = farthest(&search);
        }
        open.into_iter().map(|position| (position, search.best[position - range.start])).collect()
    }
}

struct EdgeSearch<'a> {
    round: &'a Round<'a>,
    first: usize,
    best: Vec<Edge>,
}

impl Search for EdgeSearch<'_> {
    fn threshold(&self, query: usize) -> f64 {
        if self.round.is_open(query) { self.round.bound(self.round.component[query]) } else { -1.0 }
    }

    fn visit(&mut self, query: usize, position: usize, squared: f64) {
        let round = self.round;
        let component = round.component[query];
        if round.component[position] == component {
            return;
        }
        let weight = squared.max(round.core[query]).max(round.core[position]);
        let edge = Edge::new(weight, round.leaves.order[query], round.leaves.order[position]);
        let best = &mut self.best[query - self.first];
        if edge.is_before(best) {
            *best = edge;
            // Weights are not negative, so their bits are ordered as they are.
            round.bounds[component as usize].fetch_min(weight.to_bits(), Ordering::Relaxed);
        }
    }
}

/// Components of positions.
struct Forest {
    parent: Vec<u32>,
    /// The component of each position, from 0 without gaps.
    component: Vec<u32>,
    count: usize,
}

impl Forest {
    fn new(points: usize) -> Self {
        let own: Vec<u32> = (0..points as u32).collect();
        Self { parent: own.clone(), component: own, count: points }
    }

    fn root(&mut self, position: usize) -> usize {
        let mut position = position;
        while self.parent[position] as usize != position {
            let above = self.parent[position] as usize;
            self.parent[position] = self.parent[above];
            position = above;
        }
        position
    }

    /// Joins the components of two positions, unless they are one already.
    fn join(&mut self, first: usize, second: usize) -> bool {
        let (first, second) = (self.root(first), self.root(second));
        self.parent[first.max(second)] = first.min(second) as u32;
        first != second
    }

    /// Numbers the components anew, in the order of their first positions.
    fn renumber(&mut self) {
        let mut next = 0;
        for position in 0..self.component.len() {
            let root = self.root(position);
            // The root is the lowest position of its component, so it has its number already.
            self.component[position] = if root == position {
                next += 1;
                next - 1
            } else {
                self.component[root]
            };
        }
        self.count = next as usize;
    }

    /// The component with most positions, the lowest of equals.
    fn largest(&self) -> usize {
        let mut sizes = vec![0u32; self.count];
        for &component in &self.component {
            sizes[component as usize] += 1;
        }
        (0..sizes.len()).reduce(|best, next| if sizes[next] > sizes[best] { next } else { best }).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::features::{Features, Points};

    /// Prim's algorithm on all pairs, in the same order of edges.
    fn by_all_pairs(points: &Points, core: &[f64]) -> Vec<Edge> {
        let n = points.rows;
        let mut best = vec![Edge::NONE; n];
        let mut inside = vec![false; n];
        let mut edges = Vec::new();
        let mut last = 0;
        for _ in 1..n {
            inside[last] = true;
            for other in (0..n).filter(|&other| !inside[other]) {
                let squared = Simd::detect().squared_distance(points.row(last), points.row(other));
                let edge = Edge::new(squared.max(core[last]).max(core[other]), last as u32, other as u32);
                if edge.is_before(&best[other]) {
                    best[other] = edge;
                }
            }
            let next = (0..n).filter(|&other| !inside[other]);
            let next = next.reduce(|a, b| if best[b].is_before(&best[a]) { b } else { a }).unwrap();
            edges.push(best[next]);
            last = next;
        }
        edges.sort_unstable_by(Edge::order);
        edges
    }

    fn check(values: &[f64], columns: usize, neighbours: usize) {
        let distinct = Points::new(Features { values, columns }).unwrap().distinct();
        let points = &distinct.points;
        let leaves = Leaves::new(points);
        let k = neighbours.min(points.rows - 1);
        for simd in crate::cpu::InstructionSet::ALL.into_iter().filter_map(|set| Simd::named(set).ok()) {
            let lists = NeighbourLists::new(simd, &leaves, k, None, |_| true);
            let nth = |position: usize| lists.of(position).nth(k / 2).unwrap().0;
            let core: Vec<f64> = (0..points.rows).map(nth).collect();
            let mut core_of_point = vec![0.0; points.rows];
            leaves.order.iter().zip(&core).for_each(|(&point, core)| core_of_point[point as usize] = *core);
            let edges = spanning_tree(simd, &leaves, &lists, &core, true);
            assert_eq!(edges, by_all_pairs(points, &core_of_point), "{} rows, k = {k}", points.rows);
        }
    }

    fn random(count: usize) -> impl Iterator<Item = f64> {
        let stream = crate::rng::Stream { seed: 5, stream: 0, tag: crate::rng::Tag::Other, sub: 9 };
        (0..count as u32).map(move |i| crate::rng::uniform(crate::rng::words64(stream.block(i, 0))[0]))
    }

    #[test]
    fn random_points_have_the_tree_of_all_pairs() {
        let values: Vec<f64> = random(5 * 700).collect();
        check(&values, 5, 8);
        check(&values, 35, 1);
        check(&values[..4], 2, 3);
    }

    #[test]
    fn tight_clusters_far_apart_have_the_tree_of_all_pairs() {
        let values: Vec<f64> = random(3 * 600)
            .enumerate()
            .map(|(i, value)| value * 1e-3 + f64::from(i as u32 / 3 % 7) * 100.0)
            .collect();
        check(&values, 3, 6);
    }

    #[test]
    fn ties_are_decided_by_the_numbers_of_points() {
        let grid: Vec<f64> = (0..400).flat_map(|i| [f64::from(i % 20), f64::from(i / 20)]).collect();
        check(&grid, 2, 1);
        check(&grid, 2, 5);
        let corners: Vec<f64> =
            (0..256).flat_map(|i| (0..8).map(move |bit| f64::from(i >> bit & 1))).collect();
        check(&corners, 8, 4);
    }
}
