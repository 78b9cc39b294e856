//! Points gathered in leaves of near neighbours, and the search of one leaf for near points.
//!
//! A tree of cuts brings the points into an order in which some hundred successive ones lie close together. Only its
//! leaves are kept, each with a box and a ball around its points. A search multiplies tiles of rows with the
//! panels of a leaf in f32, in coordinates relative to the centre of the leaf, where they lose least; what may be near
//! enough, with a bound on the error, is measured again in f64. So nothing near is missed and all answers are exact.
//!
//! Where there are many features, balls and boxes are much larger than what is in them. How far two leaves are apart
//! along the line through their centres then says far more, and so does the distance of single points from the ball of
//! a leaf ([`Leaves::relevant_panels`]).

use rayon::prelude::*;

use crate::cluster::features::Points;
use crate::cluster::panels::{score_error, transpose};
use crate::cluster::partition::near_ones_together;
use crate::cpu::distances::{PANEL, PointPanel, ROWS, RowTile};
use crate::cpu::simd::Simd;

/// Panels of a leaf: small ones exclude more, large ones share more of the work that is done once a leaf.
const SMALL: usize = 2;
/// Panels of a leaf where there are so many features that leaves exclude little.
const LARGE: usize = 4;
/// From this many features on leaves are large.
const LARGE_FROM: usize = 16;
/// Centres that are nearer than this, as a square, say nothing about the gap between leaves.
const LEAST_GAP: f64 = 1e-30;
/// Leaves that are searched strictly from near to far, before the others in any order.
const NEAREST_FIRST: usize = 16;

/// What a search looks for.
pub(crate) trait Search {
    /// The squared distance beyond which nothing matters to a query; negative when nothing does.
    fn threshold(&self, query: usize) -> f64;
    /// A point at most that far from the query, perhaps the query itself.
    fn visit(&mut self, query: usize, position: usize, squared: f64);
}

/// Points in leaf order. A *position* is a place in that order.
#[derive(Debug)]
pub(crate) struct Leaves {
    features: usize,
    stride: usize,
    /// Panels of a leaf.
    leaf_panels: usize,
    /// The number of the point at each position.
    pub(crate) order: Vec<u32>,
    /// Coordinates by position, row-major.
    rows: Vec<f32>,
    /// Coordinates relative to the centre of the leaf, in panels.
    panels: Vec<f32>,
    biases: Vec<[f32; PANEL]>,
    centres: Vec<f32>,
    radii: Vec<f64>,
    low: Vec<f32>,
    high: Vec<f32>,
}

/// Working memory of one thread.
pub(crate) struct Scratch {
    rows: Vec<f32>,
    biases: Vec<f32>,
    /// The scores below which points do not matter.
    thresholds: Vec<f32>,
    /// Bounds on the errors of scores.
    errors: Vec<f64>,
    active: Vec<u32>,
    /// From the centre of one leaf to that of another.
    direction: Vec<f32>,
}

impl Scratch {
    /// Sets the threshold of a row from a squared distance.
    fn reach(&mut self, slot: usize, squared: f64) {
        self.thresholds[slot] = ((-0.5 * squared - self.errors[slot]) as f32).next_down();
    }
}

impl Leaves {
    pub(crate) fn new(points: &Points) -> Self {
        let (features, stride) = (points.columns, points.stride);
        let simd = Simd::detect();
        let leaf_panels = if features >= LARGE_FROM { LARGE } else { SMALL };
        let size = leaf_panels * PANEL;
        let order = near_ones_together(simd, points, size);
        let mut rows = vec![0.0; points.rows * stride];
        rows.par_chunks_mut(stride)
            .zip(&order)
            .for_each(|(row, &point)| row.copy_from_slice(points.row(point as usize)));
        let count = points.rows.div_ceil(size);
        let mut leaves = Self {
            features,
            stride,
            leaf_panels,
            order,
            rows,
            panels: vec![0.0; count * leaf_panels * features * PANEL],
            biases: vec![[f32::NEG_INFINITY; PANEL]; count * leaf_panels],
            centres: vec![0.0; count * stride],
            radii: vec![0.0; count],
            low: vec![f32::INFINITY; count * stride],
            high: vec![f32::NEG_INFINITY; count * stride],
        };
        let panels = leaves.panels.par_chunks_mut(leaf_panels * features * PANEL);
        let biases = leaves.biases.par_chunks_mut(leaf_panels);
        let centres = leaves.centres.par_chunks_mut(stride).zip(&mut leaves.radii);
        let boxes = leaves.low.par_chunks_mut(stride).zip(leaves.high.par_chunks_mut(stride));
        let rows = leaves.rows.par_chunks(size * stride);
        rows.zip(panels.zip(biases)).zip(centres.zip(boxes)).for_each(
            |((rows, (panels, biases)), ((centre, radius), (low, high)))| {
                bound(rows, stride, low, high);
                mean(rows, stride, centre);
                let mut shifted = vec![0.0; rows.len()];
                let mut squares = Vec::with_capacity(size);
                for (row, out) in rows.chunks_exact(stride).zip(shifted.chunks_exact_mut(stride)) {
                    squares.push(simd.shifted(row, centre, out));
                }
                *radius = squares.iter().copied().fold(0.0, f64::max).sqrt() * (1.0 + slack(features));
                let parts = shifted.chunks(PANEL * stride).zip(squares.chunks(PANEL));
                for ((part, squares), (panel, biases)) in
                    parts.zip(panels.chunks_exact_mut(features * PANEL).zip(biases))
                {
                    transpose(part.chunks_exact(stride), features, panel);
                    for (bias, square) in biases.iter_mut().zip(squares) {
                        *bias = (-0.5 * square) as f32;
                    }
                }
            },
        );
        leaves
    }

    /// The number of points.
    pub(crate) fn points(&self) -> usize {
        self.order.len()
    }

    /// Points of a leaf; the last one may have fewer.
    pub(crate) fn leaf_size(&self) -> usize {
        self.leaf_panels * PANEL
    }

    /// The number of leaves.
    pub(crate) fn len(&self) -> usize {
        self.radii.len()
    }

    /// The positions of a leaf.
    pub(crate) fn positions(&self, leaf: usize) -> std::ops::Range<usize> {
        let size = self.leaf_size();
        leaf * size..self.points().min((leaf + 1) * size)
    }

    /// The coordinates at a position.
    pub(crate) fn row(&self, position: usize) -> &[f32] {
        &self.rows[position * self.stride..(position + 1) * self.stride]
    }

    /// The leaves that are wanted with a lower bound on their squared distance from a leaf; the nearest ones come
    /// first, in order.
    pub(crate) fn by_distance(
        &self,
        simd: Simd,
        leaf: usize,
        wanted: impl Fn(usize) -> bool,
    ) -> Vec<(f32, u32)> {
        let corners = |leaf: usize| {
            let range = leaf * self.stride..(leaf + 1) * self.stride;
            [&self.low[range.clone()], &self.high[range]]
        };
        let own = corners(leaf);
        let slack = slack(self.features);
        let own_centre = self.centre(leaf);
        // The larger of what the boxes and what the balls around both leaves say.
        let apart = |other: usize| {
            let boxes = f64::from(simd.box_distance(own, corners(other)));
            let centres = simd.squared_distance(own_centre, self.centre(other)).sqrt();
            let balls = (centres * (1.0 - slack) - self.radii[leaf] - self.radii[other]).max(0.0);
            (boxes.max(balls * balls) * (1.0 - 2.0 * slack)) as f32
        };
        let mut others: Vec<(f32, u32)> = (0..self.len())
            .filter(|&other| wanted(other))
            .map(|other| (apart(other), other as u32))
            .collect();
        let nearer = |a: &(f32, u32), b: &(f32, u32)| {
            // The leaf itself is the nearest, whatever overlaps with it.
            let rank = |entry: &(f32, u32)| if entry.1 as usize == leaf { -1.0 } else { entry.0 };
            rank(a).total_cmp(&rank(b)).then(a.1.cmp(&b.1))
        };
        if others.len() > NEAREST_FIRST {
            others.select_nth_unstable_by(NEAREST_FIRST - 1, nearer);
            others[..NEAREST_FIRST].sort_unstable_by(nearer);
        } else {
            others.sort_unstable_by(nearer);
        }
        others
    }

    /// All leaves with a lower bound of 0, in the order of how far their centres lie from that of a leaf, itself first.
    pub(crate) fn by_centre(&self, simd: Simd, leaf: usize) -> Vec<(f32, u32)> {
        let apart = |other: usize| simd.squared_distance(self.centre(leaf), self.centre(other));
        let mut others: Vec<(f64, u32)> = (0..self.len())
            .map(|other| (if other == leaf { -1.0 } else { apart(other) }, other as u32))
            .collect();
        others.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        others.into_iter().map(|(_, other)| (0.0, other)).collect()
    }

    pub(crate) fn scratch(&self) -> Scratch {
        let most = self.leaf_size() + ROWS;
        Scratch {
            rows: vec![0.0; most * self.stride],
            biases: vec![0.0; most],
            thresholds: vec![0.0; most],
            errors: vec![0.0; most],
            active: Vec::with_capacity(most),
            direction: vec![0.0; self.stride],
        }
    }

    fn centre(&self, leaf: usize) -> &[f32] {
        &self.centres[leaf * self.stride..(leaf + 1) * self.stride]
    }

    /// Which panels of the second leaf may hold points within a squared distance of points of the first, as bits.
    ///
    /// Told by two bounds that cost about as much as two rows of all pairs. The first are the extents of both leaves
    /// along the line through their centres: for points `x` and `y` relative to the centres `a` and `b` of their
    /// leaves and any direction `u`, `|(b + y) - (a + x)|` is at least `(u (b - a) + u y - u x) / |u|`, here with
    /// `u = b - a`. The second is the distance of each point of the second leaf from the ball around the first one.
    pub(crate) fn relevant_panels(
        &self,
        simd: Simd,
        [first, second]: [usize; 2],
        squared: f64,
        scratch: &mut Scratch,
    ) -> u32 {
        let all = (1 << self.leaf_panels) - 1;
        let direction = &mut scratch.direction;
        let length = simd.shifted(self.centre(second), self.centre(first), direction);
        let slack = slack(self.features);
        let reach = squared.sqrt() + self.radii[first];
        if length.sqrt() * (1.0 + slack) + self.radii[second] <= reach {
            return all;
        }
        let panel_size = self.features * PANEL;
        // The points of each leaf lie around its centre, so there is no gap where the centres are nearer than that.
        if length > squared && length > LEAST_GAP {
            let direction = &direction[..self.features];
            let extent = |leaf: usize| {
                let panels = leaf * self.leaf_panels * panel_size..(leaf + 1) * self.leaf_panels * panel_size;
                simd.extent(&self.panels[panels], direction)
            };
            let ([_, most], [least, _]) = (extent(first), extent(second));
            let error = slack * length.sqrt() * (self.radii[first] + self.radii[second]);
            let gap = length * (1.0 - slack) + f64::from(least) - f64::from(most) - error;
            if gap > 0.0 && gap * gap * (1.0 - slack) > squared * length * (1.0 + slack) {
                return 0;
            }
        }
        let square = simd.shifted(self.centre(first), self.centre(second), direction);
        let error = score_error(self.features, square.sqrt() * (1.0 + slack) + self.radii[second]);
        let threshold = ((-0.5 * reach * reach * (1.0 + slack) - error) as f32).next_down();
        let biases = [(-0.5 * square) as f32];
        let tile = RowTile { coordinates: direction, stride: self.stride, biases: &biases };
        let mut scores = [[0.0; PANEL]; ROWS];
        let mut relevant = 0;
        for panel in 0..self.leaf_panels {
            simd.scores(self.panel(second * self.leaf_panels + panel), tile, &mut scores);
            let nearest = scores[0].iter().copied().fold(f32::NEG_INFINITY, f32::max);
            relevant |= u32::from(nearest >= threshold) << panel;
        }
        relevant
    }

    fn panel(&self, panel: usize) -> PointPanel<'_> {
        let size = self.features * PANEL;
        PointPanel {
            coordinates: &self.panels[panel * size..(panel + 1) * size],
            biases: &self.biases[panel],
        }
    }

    /// Shows a search every point of some panels of a leaf that matters to one of the queries, which are at most as
    /// many positions as a leaf has.
    pub(crate) fn search(
        &self,
        simd: Simd,
        leaf: usize,
        relevant: u32,
        queries: impl Iterator<Item = usize>,
        search: &mut impl Search,
        scratch: &mut Scratch,
    ) {
        let stride = self.stride;
        let centre = &self.centres[leaf * stride..(leaf + 1) * stride];
        let radius = self.radii[leaf];
        let slack = slack(self.features);
        scratch.active.clear();
        for query in queries {
            let threshold = search.threshold(query);
            if threshold < 0.0 {
                continue;
            }
            let slot = scratch.active.len();
            let out = &mut scratch.rows[slot * stride..(slot + 1) * stride];
            let square = simd.shifted(self.row(query), centre, out);
            let norm = square.sqrt();
            let least = norm * (1.0 - slack) - radius;
            if least > 0.0 && least * least > threshold {
                continue;
            }
            scratch.biases[slot] = (-0.5 * square) as f32;
            scratch.errors[slot] = score_error(self.features, norm * (1.0 + slack) + radius);
            scratch.reach(slot, threshold);
            scratch.active.push(query as u32);
        }
        let active = scratch.active.len();
        // Rows that fill up the last tile find nothing.
        let filled_up = active.next_multiple_of(ROWS);
        scratch.biases[active..filled_up].fill(f32::NEG_INFINITY);
        scratch.thresholds[active..filled_up].fill(f32::INFINITY);
        for first in (0..active).step_by(ROWS) {
            for place in (0..self.leaf_panels).filter(|place| relevant >> place & 1 == 1) {
                let panel = leaf * self.leaf_panels + place;
                let tile = RowTile {
                    coordinates: &scratch.rows[first * stride..(first + ROWS) * stride],
                    stride,
                    biases: &scratch.biases[first..first + ROWS],
                };
                let points = self.panel(panel);
                let mut thresholds = [0.0; ROWS];
                thresholds.copy_from_slice(&scratch.thresholds[first..first + ROWS]);
                let sets = simd.at_least(points, tile, &thresholds);
                if sets == [0; ROWS] {
                    continue;
                }
                let start = panel * PANEL;
                let filled = self.points().saturating_sub(start).min(PANEL);
                for (slot, set) in (first..active).zip(sets) {
                    let query = scratch.active[slot] as usize;
                    let mut set = set & ((1 << filled) - 1);
                    if set == 0 {
                        continue;
                    }
                    while set != 0 {
                        let position = start + set.trailing_zeros() as usize;
                        set &= set - 1;
                        let squared = simd.squared_distance(self.row(query), self.row(position));
                        if squared <= search.threshold(query) {
                            search.visit(query, position, squared);
                        }
                    }
                    scratch.reach(slot, search.threshold(query));
                }
            }
        }
    }
}

/// A bound on the relative error of sums of squares of this many f32 numbers.
fn slack(features: usize) -> f64 {
    (features as f64 + 16.0) * 1.2e-7
}

/// The mean of some rows.
fn mean(rows: &[f32], stride: usize, mean: &mut [f32]) {
    let count = (rows.len() / stride) as f32;
    for row in rows.chunks_exact(stride) {
        mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += value / count);
    }
}

fn bound(rows: &[f32], stride: usize, low: &mut [f32], high: &mut [f32]) {
    for row in rows.chunks_exact(stride) {
        for ((low, high), value) in low.iter_mut().zip(high.iter_mut()).zip(row) {
            *low = low.min(*value);
            *high = high.max(*value);
        }
    }
}
