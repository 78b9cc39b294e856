//! An order of points in which near ones come together: cuts between two centres, again and again.
//!
//! Each cut is made where two means of a sample of the points meet (a few rounds of 2-means), so that groups which lie
//! apart stay whole; a median along one feature would cut through them, and a leaf with parts of two groups is near
//! everything. Only the order comes from here, and no answer depends on it.

use rayon::prelude::*;

use crate::cluster::features::Points;
use crate::cpu::simd::Simd;

/// Points that a cut is chosen by, at most.
const SAMPLE: usize = 1_024;
/// Rounds of 2-means.
const ROUNDS: usize = 4;
/// Each side gets at least one part in so many.
const LEAST_PART: usize = 8;
/// Below this many points both sides of a cut are handled by one thread.
const PARALLEL_FROM: usize = 8_192;

/// The numbers of all points; every `leaf` successive ones, from the first, form a leaf.
pub(crate) fn near_ones_together(simd: Simd, points: &Points, leaf: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..points.rows as u32).collect();
    divide(simd, points, &mut order, leaf);
    order
}

fn divide(simd: Simd, points: &Points, order: &mut [u32], leaf: usize) {
    let leaves = order.len().div_ceil(leaf);
    if leaves < 2 {
        order.sort_unstable();
        return;
    }
    let middle = {
        let cut = Cut::new(simd, points, order);
        let side = |&point: &u32| (cut.side(simd, points.row(point as usize)), point);
        let mut sides: Vec<(f32, u32)> = order.par_iter().with_min_len(PARALLEL_FROM).map(side).collect();
        let below = sides.iter().filter(|(side, _)| *side < 0.0).count();
        let least = (leaves / LEAST_PART).max(1);
        let middle = ((below + leaf / 2) / leaf).clamp(least, leaves - least) * leaf;
        sides.select_nth_unstable_by(middle, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        order.iter_mut().zip(&sides).for_each(|(point, side)| *point = side.1);
        middle
    };
    let (left, right) = order.split_at_mut(middle);
    if left.len() + right.len() >= PARALLEL_FROM {
        rayon::join(|| divide(simd, points, left, leaf), || divide(simd, points, right, leaf));
    } else {
        divide(simd, points, left, leaf);
        divide(simd, points, right, leaf);
    }
}

/// A hyperplane halfway between two means.
struct Cut {
    direction: Vec<f32>,
    threshold: f32,
}

impl Cut {
    fn new(simd: Simd, points: &Points, order: &[u32]) -> Self {
        let sample: Vec<&[f32]> = order
            .iter()
            .step_by(order.len().div_ceil(SAMPLE))
            .map(|&point| points.row(point as usize))
            .collect();
        let (feature, mean) = widest(&sample, points.columns);
        let mut direction = vec![0.0; points.stride];
        direction[feature] = 1.0;
        let mut cut = Self { direction, threshold: mean };
        for _ in 0..ROUNDS {
            let Some(next) = cut.refined(simd, &sample) else { break };
            cut = next;
        }
        cut
    }

    fn side(&self, simd: Simd, row: &[f32]) -> f32 {
        simd.dot(&self.direction, row) - self.threshold
    }

    /// The cut between the means of both sides, if there is a point on each.
    fn refined(&self, simd: Simd, sample: &[&[f32]]) -> Option<Self> {
        let stride = self.direction.len();
        let mut sums = [vec![0.0f64; stride], vec![0.0f64; stride]];
        let mut counts = [0usize; 2];
        for row in sample {
            let side = usize::from(self.side(simd, row) >= 0.0);
            counts[side] += 1;
            sums[side].iter_mut().zip(*row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        if counts.contains(&0) {
            return None;
        }
        let mean = |side: usize, feature: usize| sums[side][feature] / counts[side] as f64;
        let direction: Vec<f32> =
            (0..stride).map(|feature| (mean(1, feature) - mean(0, feature)) as f32).collect();
        let middle: Vec<f32> =
            (0..stride).map(|feature| ((mean(1, feature) + mean(0, feature)) / 2.0) as f32).collect();
        let threshold = simd.dot(&direction, &middle);
        Some(Self { direction, threshold })
    }
}

/// The feature with the largest variance, and its mean.
fn widest(sample: &[&[f32]], columns: usize) -> (usize, f32) {
    let (mut sums, mut squares) = (vec![0.0f64; columns], vec![0.0f64; columns]);
    for row in sample {
        for ((sum, square), value) in sums.iter_mut().zip(&mut squares).zip(*row) {
            *sum += f64::from(*value);
            *square += f64::from(*value) * f64::from(*value);
        }
    }
    let count = sample.len() as f64;
    let variance = |feature: usize| squares[feature] - sums[feature] * sums[feature] / count;
    let feature = (0..columns).reduce(|best, next| if variance(next) > variance(best) { next } else { best });
    let feature = feature.unwrap_or(0);
    (feature, (sums[feature] / count) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::features::Features;
    use crate::rng::{Stream, Tag, uniform, words64};

    fn points(rows: usize, columns: usize, of: impl Fn(usize, usize, f64) -> f64) -> Points {
        let stream = Stream { seed: 3, stream: 0, tag: Tag::Other, sub: 1 };
        let random = |i: usize| uniform(words64(stream.block(i as u32, 0))[0]);
        let values: Vec<f64> = (0..rows * columns).map(|i| of(i / columns, i % columns, random(i))).collect();
        Points::new(Features { values: &values, columns }).unwrap()
    }

    #[test]
    fn every_point_has_one_place() {
        for rows in [1, 95, 96, 97, 500, 10_000] {
            let points = points(rows, 5, |row, _, random| if row % 3 == 0 { 1.0 } else { random });
            let mut order = near_ones_together(Simd::detect(), &points, 96);
            order.sort_unstable();
            assert!(order.into_iter().eq(0..rows as u32));
        }
    }

    #[test]
    fn groups_that_lie_apart_stay_whole() {
        // Seven groups in 16 dimensions: a leaf with points of two groups exists only where they meet in the order.
        let centre = |group: usize, column: usize| f64::from((group * 37 + column * 11) as u32 % 13) * 3.0;
        let points = points(7 * 960, 16, |row, column, random| centre(row % 7, column) + random);
        let order = near_ones_together(Simd::detect(), &points, 96);
        let mixed = order.chunks(96).filter(|leaf| leaf.iter().any(|row| row % 7 != leaf[0] % 7)).count();
        assert!(mixed <= 6, "{mixed} of 70 leaves hold two groups");
    }

    #[test]
    fn points_that_hardly_differ_are_divided_all_the_same() {
        let points = points(400, 2, |row, _, _| if row == 7 { 1.0 } else { f64::from(row as u32) * 1e-30 });
        assert_eq!(near_ones_together(Simd::detect(), &points, 96).len(), 400);
    }
}
