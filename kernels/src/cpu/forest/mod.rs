//! Growing regression trees on the CPU: one tree a task, integer histograms, the best split of all
//! parameters at each node.
//!
//! The count and the sum of a bin share one 64-bit word, so that a trial is one addition, and so is
//! a bin when cuts are compared: the sum is taken from the mean of the node and may be negative.
//! Subtrees that fit are copied into a block of their own and grown in the cache. Trials that a tree
//! did not draw travel along to their leaf, so that the out-of-bag prediction costs no second walk.

mod split;

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use rayon::prelude::*;

use crate::backend::Cost;
use crate::importance::{Encoded, Forest, ForestRequest, ImportanceError, Tree, draw_counts};
use crate::request::Provenance;
use crate::rng::{Stream, Tag};
use split::{Bins, COUNT_MAX, COUNT_SHIFT, Cut, RECIPROCALS, Split, Totals};

/// Trials of a subtree that is grown in a block of its own.
const BLOCK: usize = 4_096;

/// Fits a forest on the threads of the caller's pool.
pub(crate) fn fit(request: &ForestRequest<'_>, provenance: Provenance) -> Result<Forest, ImportanceError> {
    let encoded = request.prepare()?;
    let centre = encoded.centre();
    let trials = encoded.trials();
    let mut reciprocals = Box::new([0.0; RECIPROCALS]);
    for (count, reciprocal) in reciprocals.iter_mut().enumerate().skip(1) {
        *reciprocal = 1.0 / count as f64;
    }
    let unseen = Unseen {
        sums: std::iter::repeat_with(AtomicI64::default).take(trials).collect(),
        counts: std::iter::repeat_with(AtomicU32::default).take(trials).collect(),
    };
    let shared = Shared { request, encoded: &encoded, centre, reciprocals: &reciprocals, unseen: &unseen };
    let trees = (0..request.trees).into_par_iter().map(|tree| Grower::new(&shared, tree).grow()).collect();
    let out_of_bag_r2 = unseen.r2(&encoded.target);
    Ok(Forest { encoded, trees, seed: request.seed, centre, out_of_bag_r2, provenance })
}

/// Rates per thread and second, measured on one server core; only the order of magnitude matters.
pub(crate) fn estimate(request: &ForestRequest<'_>) -> Result<Cost, ImportanceError> {
    const ADDITIONS_RATE: f64 = 3e8;
    const NODE_BYTES: f64 = 18.0;
    request.check()?;
    let trials = request.trials.objective.len() as f64;
    let (parameters, trees) = (request.trials.parameters.len() as f64, f64::from(request.trees));
    // A tree draws this share of the trials and is about as deep as their logarithm.
    let drawn = 0.632 * trials;
    let levels = (1.1 * drawn.max(2.0).log2()).min(f64::from(request.max_depth));
    let operations = trees * parameters * drawn * levels;
    let threads = rayon::current_num_threads() as f64;
    Ok(Cost {
        operations,
        bytes: trials * (parameters + 16.0) + trees * 2.0 * drawn * NODE_BYTES + threads * 40.0 * drawn,
        seconds: operations / ADDITIONS_RATE / threads,
    })
}

/// What trees predict for trials they did not draw. Sums are integers, so that the order in which
/// trees add to them does not matter.
struct Unseen {
    sums: Vec<AtomicI64>,
    counts: Vec<AtomicU32>,
}

impl Unseen {
    fn add(&self, trial: usize, value: i64) {
        self.sums[trial].fetch_add(value, Ordering::Relaxed);
        self.counts[trial].fetch_add(1, Ordering::Relaxed);
    }

    /// Explained share of the variance of the trials that some tree did not draw.
    fn r2(&self, target: &[u32]) -> f64 {
        let predicted: Vec<(f64, f64)> = self
            .sums
            .iter()
            .zip(&self.counts)
            .zip(target)
            .filter_map(|((sum, count), &target)| {
                let count = count.load(Ordering::Relaxed);
                (count > 0)
                    .then(|| (sum.load(Ordering::Relaxed) as f64 / f64::from(count), f64::from(target)))
            })
            .collect();
        let n = predicted.len() as f64;
        let mean = predicted.iter().map(|&(_, target)| target).sum::<f64>() / n;
        let errors: f64 = predicted.iter().map(|&(prediction, target)| (target - prediction).powi(2)).sum();
        let total: f64 = predicted.iter().map(|&(_, target)| (target - mean).powi(2)).sum();
        if total > 0.0 { 1.0 - errors / total } else { f64::NAN }
    }
}

/// What all trees of a forest read.
struct Shared<'a> {
    request: &'a ForestRequest<'a>,
    encoded: &'a Encoded,
    centre: f64,
    /// 1/n, rounded once: gains multiply by it on every device.
    reciprocals: &'a [f64; RECIPROCALS],
    unseen: &'a Unseen,
}

/// A node that is still to be split or closed.
#[derive(Clone, Copy)]
struct Open {
    node: u32,
    depth: u32,
    start: usize,
    end: usize,
    unseen_start: usize,
    unseen_end: usize,
    /// Names the node by the path to it, whatever the order in which nodes are made.
    path: u64,
}

struct Grower<'a> {
    shared: &'a Shared<'a>,
    number: u32,
    tree: Tree,
    /// The order in which parameters are tried; ties go to the first.
    order: Vec<usize>,
    /// Drawn trials: their row, count and count times target packed, and target.
    rows: Vec<u32>,
    packed: Vec<u64>,
    target: Vec<u32>,
    /// Trials that were not drawn.
    unseen: Vec<u32>,
    spare_rows: Vec<u32>,
    spare_packed: Vec<u64>,
    spare_target: Vec<u32>,
    /// Rows whose counts together fit in a packed bin.
    rows_per_flush: usize,
}

/// Splitmix64's last step, to spread the path of a node over 64 bits.
fn spread(path: u64) -> u64 {
    let mixed = (path ^ (path >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

impl<'a> Grower<'a> {
    fn new(shared: &'a Shared<'a>, number: u32) -> Self {
        let encoded = shared.encoded;
        let counts = draw_counts(shared.request.seed, number, encoded.trials());
        let drawn = counts.iter().filter(|&&count| count > 0).count();
        let mut grower = Self {
            shared,
            number,
            tree: Tree { decrease: vec![0.0; encoded.axes.len()], ..Tree::default() },
            order: Vec::new(),
            rows: Vec::with_capacity(drawn),
            packed: Vec::with_capacity(drawn),
            target: Vec::with_capacity(drawn),
            unseen: Vec::with_capacity(counts.len() - drawn),
            spare_rows: vec![0; drawn],
            spare_packed: vec![0; drawn],
            spare_target: vec![0; drawn],
            rows_per_flush: COUNT_MAX / usize::from(counts.iter().copied().max().unwrap_or(1).max(1)),
        };
        for ((&count, &target), row) in counts.iter().zip(&encoded.target).zip(0..) {
            if count == 0 {
                grower.unseen.push(row);
            } else {
                grower.rows.push(row);
                grower.packed.push((u64::from(count) << COUNT_SHIFT) + u64::from(count) * u64::from(target));
                grower.target.push(target);
            }
        }
        let stream = grower.stream(0);
        let order = stream.shuffle(encoded.axes.len() as u32, number);
        // A parameter with one code cannot split anything.
        let splits = |&parameter: &usize| {
            encoded.axes[parameter].counts.iter().filter(|&&count| count > 0).count() > 1
        };
        grower.order = order.into_iter().map(|parameter| parameter as usize).filter(splits).collect();
        grower
    }

    fn stream(&self, stream: u32) -> Stream {
        Stream { seed: self.shared.request.seed, stream, tag: Tag::ForestFeatures, sub: 0 }
    }

    fn grow(mut self) -> Tree {
        let node = self.tree.push();
        let (end, unseen_end) = (self.rows.len(), self.unseen.len());
        let root = Open { node, depth: 0, start: 0, end, unseen_start: 0, unseen_end, path: 1 };
        let columns: Vec<&[u8]> = self.shared.encoded.columns.iter().map(Vec::as_slice).collect();
        let mut bins = Bins::new();
        let mut open = vec![root];
        let mut block = Vec::new();
        let limit = BLOCK.min(self.rows_per_flush);
        while let Some(next) = open.pop() {
            let size = next.end - next.start;
            if size <= limit && self.shared.encoded.trials() > 2 * BLOCK {
                self.grow_block(next, &columns, &mut block, &mut bins);
            } else if size <= self.rows_per_flush {
                self.step(next, &columns, &mut open, |grower, columns, node, totals| {
                    grower.best_split(columns, node, totals, &mut bins)
                });
            } else {
                self.step(next, &columns, &mut open, |grower, columns, node, totals| {
                    grower.best_split_wide(columns, node, totals, &mut bins)
                });
            }
        }
        self.tree
    }

    /// Grows a subtree whose drawn trials are copied side by side before.
    fn grow_block(&mut self, root: Open, columns: &[&[u8]], block: &mut Vec<u8>, bins: &mut Bins) {
        let rows = &mut self.rows[root.start..root.end];
        block.clear();
        for column in columns {
            block.extend(rows.iter().map(|&row| column[row as usize]));
        }
        let size = rows.len();
        for (row, position) in rows.iter_mut().zip(0..) {
            *row = position;
        }
        let local: Vec<&[u8]> = block.chunks(size).collect();
        let mut open = vec![root];
        while let Some(next) = open.pop() {
            self.step(next, &local, &mut open, |grower, columns, node, totals| {
                grower.best_split(columns, node, totals, bins)
            });
        }
    }

    fn totals(&self, node: &Open) -> Totals {
        let (mut count, mut sum) = (0u64, 0u64);
        for (&packed, &target) in
            self.packed[node.start..node.end].iter().zip(&self.target[node.start..node.end])
        {
            count += packed >> COUNT_SHIFT;
            sum += (packed >> COUNT_SHIFT) * u64::from(target);
        }
        let base = sum / count;
        Totals { count, base, excess: (sum - base * count) as i64 }
    }

    /// Splits a node and opens its children, or closes it as a leaf.
    fn step(
        &mut self,
        node: Open,
        columns: &[&[u8]],
        open: &mut Vec<Open>,
        best_split: impl FnOnce(&Self, &[&[u8]], &Open, &Totals) -> Option<Split>,
    ) {
        let totals = self.totals(&node);
        let targets = &self.target[node.start..node.end];
        let splits = node.depth < self.shared.request.max_depth
            && totals.count >= 2 * u64::from(self.shared.request.min_leaf)
            && targets.iter().any(|&target| target != targets[0]);
        let split = if splits { best_split(self, columns, &node, &totals) } else { None };
        if splits {
            self.tree.additions += (targets.len() * self.order.len()) as u64;
        }
        let Some(split) = split else {
            self.close(&node, &totals);
            return;
        };
        let excess = totals.excess as f64;
        let before = excess * excess * self.reciprocal(totals.count);
        self.tree.decrease[split.parameter] += (split.gain - before).max(0.0);
        let middle = self.partition(&node, columns[split.parameter], &split.cut);
        let unseen_middle = self.partition_unseen(&node, split.parameter, &split.cut);
        let left = self.tree.push();
        self.tree.push();
        let at = node.node as usize;
        self.tree.parameter[at] = split.parameter as u16;
        self.tree.left[at] = left;
        self.tree.cut[at] = match split.cut {
            Cut::Below(highest) => u32::from(highest),
            Cut::Set(set) => {
                self.tree.sets.push(set);
                self.tree.sets.len() as u32 - 1
            }
        };
        let child = |side: u64| Open {
            node: left + side as u32,
            depth: node.depth + 1,
            path: spread(node.path.wrapping_mul(2).wrapping_add(side)),
            ..node
        };
        open.push(Open { start: middle, unseen_start: unseen_middle, ..child(1) });
        open.push(Open { end: middle, unseen_end: unseen_middle, ..child(0) });
    }

    fn close(&mut self, node: &Open, totals: &Totals) {
        let mean = totals.base as f64 + totals.excess as f64 / totals.count as f64;
        self.tree.value[node.node as usize] = mean - self.shared.centre;
        let predicted = libm::rint(mean) as i64;
        for &row in &self.unseen[node.unseen_start..node.unseen_end] {
            self.shared.unseen.add(row as usize, predicted);
        }
    }

    /// Moves the drawn trials that go left before the others, each side in its order.
    fn partition(&mut self, node: &Open, column: &[u8], cut: &Cut) -> usize {
        let (mut left, mut right) = (node.start, 0);
        for at in node.start..node.end {
            let (row, packed, target) = (self.rows[at], self.packed[at], self.target[at]);
            let goes_left = cut.goes_left(column[row as usize]);
            // Both writes are made, and the one that counts moves on: no branch to mispredict.
            self.rows[left] = row;
            self.packed[left] = packed;
            self.target[left] = target;
            self.spare_rows[right] = row;
            self.spare_packed[right] = packed;
            self.spare_target[right] = target;
            left += usize::from(goes_left);
            right += usize::from(!goes_left);
            if right == self.spare_rows.len() {
                break;
            }
        }
        self.rows[left..node.end].copy_from_slice(&self.spare_rows[..right]);
        self.packed[left..node.end].copy_from_slice(&self.spare_packed[..right]);
        self.target[left..node.end].copy_from_slice(&self.spare_target[..right]);
        left
    }

    fn partition_unseen(&mut self, node: &Open, parameter: usize, cut: &Cut) -> usize {
        let column = &self.shared.encoded.columns[parameter];
        let (mut left, mut end) = (node.unseen_start, node.unseen_end);
        // Their order within a leaf does not matter.
        while left < end {
            if cut.goes_left(column[self.unseen[left] as usize]) {
                left += 1;
            } else {
                end -= 1;
                self.unseen.swap(left, end);
            }
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::importance::{MISSING, Parameter, Trials};

    struct Data {
        number: Vec<f64>,
        coarse: Vec<f64>,
        codes: Vec<u32>,
        objective: Vec<f64>,
    }

    impl Data {
        fn new(trials: usize) -> Self {
            let mut state = 5u64;
            let mut uniform = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 11) as f64 / (1u64 << 53) as f64
            };
            let number: Vec<f64> = (0..trials).map(|_| uniform()).collect();
            let coarse: Vec<f64> = (0..trials).map(|_| (uniform() * 4.0).floor()).collect();
            let codes: Vec<u32> = (0..trials)
                .map(|_| (uniform() * 5.0) as u32)
                .map(|c| if c == 4 { MISSING } else { c })
                .collect();
            let levels = [3.0, 0.0, 2.0, 7.0];
            let objective = (0..trials)
                .map(|row| {
                    let level = levels.get(codes[row] as usize).copied().unwrap_or(1.0);
                    number[row] * coarse[row] + level + 0.3 * uniform()
                })
                .collect();
            Self { number, coarse, codes, objective }
        }

        fn parameters(&self) -> [Parameter<'_>; 3] {
            let categorical = Parameter::categorical(&self.codes, 4);
            [Parameter::linear(&self.number), Parameter::integer(&self.coarse), categorical]
        }
    }

    fn with_grower<T>(data: &Data, then: impl FnOnce(Grower<'_>) -> T) -> T {
        let parameters = data.parameters();
        let trials = Trials { parameters: &parameters, objective: &data.objective };
        let request = ForestRequest::new(trials).seed(3);
        let encoded = request.prepare().unwrap();
        let mut reciprocals = Box::new([0.0; RECIPROCALS]);
        (1..RECIPROCALS).for_each(|count| reciprocals[count] = 1.0 / count as f64);
        let unseen = Unseen {
            sums: std::iter::repeat_with(AtomicI64::default).take(encoded.trials()).collect(),
            counts: std::iter::repeat_with(AtomicU32::default).take(encoded.trials()).collect(),
        };
        let shared = Shared {
            request: &request,
            encoded: &encoded,
            centre: encoded.centre(),
            reciprocals: &reciprocals,
            unseen: &unseen,
        };
        then(Grower::new(&shared, 0))
    }

    #[test]
    fn packed_wide_and_blockwise_growth_give_the_same_tree() {
        let data = Data::new(10_000);
        let blockwise = with_grower(&data, |grower| grower.grow());
        for rows_per_flush in [50, 5_000] {
            let tree = with_grower(&data, |mut grower| {
                grower.rows_per_flush = rows_per_flush;
                grower.grow()
            });
            assert_eq!(tree.leaves(), blockwise.leaves());
            assert!(tree == blockwise, "{rows_per_flush}");
        }
    }

    /// Every split of the root by brute force: cuts of the ordered parameters, subsets of the levels.
    #[test]
    fn the_root_takes_the_split_that_explains_most() {
        let data = Data::new(300);
        with_grower(&data, |grower| {
            let encoded = grower.shared.encoded;
            let counts = draw_counts(3, 0, encoded.trials());
            let explained = |goes_left: &dyn Fn(usize) -> bool| {
                let mut sides = [(0.0, 0.0); 2];
                for (row, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                    let side = &mut sides[usize::from(!goes_left(row))];
                    let target = f64::from(encoded.target[row]) - grower.shared.centre;
                    *side = (side.0 + f64::from(count), side.1 + f64::from(count) * target);
                }
                sides.iter().filter(|side| side.0 > 0.0).map(|side| side.1 * side.1 / side.0).sum::<f64>()
            };
            let nothing = explained(&|_| true);
            let mut most: f64 = 0.0;
            for (parameter, axis) in encoded.axes.iter().enumerate() {
                let column = &encoded.columns[parameter];
                if axis.is_categorical() {
                    for subset in 0..1u32 << axis.codes() {
                        most = most.max(explained(&|row| subset >> column[row] & 1 == 1));
                    }
                } else {
                    for cut in 0..axis.codes() {
                        most = most.max(explained(&|row| usize::from(column[row]) <= cut));
                    }
                }
            }
            let tree = grower.grow();
            let parameter = usize::from(tree.parameter[0]);
            let cut = if tree.sets.is_empty() || !encoded.axes[parameter].is_categorical() {
                Cut::Below(tree.cut[0] as u8)
            } else {
                Cut::Set(tree.sets[tree.cut[0] as usize])
            };
            let got = explained(&|row| cut.goes_left(encoded.columns[parameter][row]));
            assert!((got - most).abs() < 1e-9 * most, "{got} {most}");
            assert!(got > nothing);
        });
    }

    #[test]
    fn packed_sums_keep_their_sign() {
        for (count, excess) in [(1u64, -5i64), (32_767, -(1 << 46)), (32_767, 1 << 46), (7, 0)] {
            let packed = (count << COUNT_SHIFT).wrapping_add(excess as u64);
            assert_eq!(split::unpack_centred(packed), (count, excess));
        }
    }
}
