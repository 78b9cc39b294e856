//! Growing regression trees on the CPU: one tree a task, integer histograms, the best split of all
//! parameters at each node.
//!
//! The count and the sum of a bin share one 64-bit word, so that a trial is one addition. Subtrees
//! that fit are copied into a block of their own and grown in the cache. Trials that a tree did not
//! draw travel along to their leaf, so that the out-of-bag prediction costs no second walk.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use rayon::prelude::*;

use crate::importance::{CODES, CodeSet, Encoded, Forest, ForestRequest, ImportanceError, Tree, draw_counts};
use crate::request::Provenance;
use crate::rng::{Stream, Tag};

/// Trials of a subtree that is grown in a block of its own.
const BLOCK: usize = 4_096;
/// The count of a packed bin stands above its sum.
const COUNT_SHIFT: u32 = 48;
/// The largest count of a packed bin.
const COUNT_MAX: usize = (1 << 16) - 1;
/// Below this many trials only the bins that occur are looked at.
const SPARSE: usize = 160;

/// Fits a forest on the threads of the caller's pool.
pub(crate) fn fit(request: &ForestRequest<'_>, provenance: Provenance) -> Result<Forest, ImportanceError> {
    let encoded = request.prepare()?;
    let centre = encoded.centre();
    let trials = encoded.trials();
    let reciprocals: Vec<f64> =
        (0..=trials.min(COUNT_MAX)).map(|n| if n == 0 { 0.0 } else { 1.0 / n as f64 }).collect();
    let unseen = Unseen {
        sums: std::iter::repeat_with(AtomicI64::default).take(trials).collect(),
        counts: std::iter::repeat_with(AtomicU32::default).take(trials).collect(),
    };
    let shared = Shared { request, encoded: &encoded, centre, reciprocals: &reciprocals, unseen: &unseen };
    let trees = (0..request.trees).into_par_iter().map(|tree| Grower::new(&shared, tree).grow()).collect();
    let out_of_bag_r2 = unseen.r2(&encoded.target);
    Ok(Forest { encoded, trees, seed: request.seed, centre, out_of_bag_r2, provenance })
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
    reciprocals: &'a [f64],
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

/// The best split of a node so far.
struct Split {
    gain: f64,
    parameter: usize,
    cut: Cut,
}

enum Cut {
    /// The highest code that goes left.
    Below(u8),
    /// The codes that go left.
    Set(CodeSet),
}

impl Cut {
    #[inline(always)]
    fn goes_left(&self, code: u8) -> bool {
        match self {
            Self::Below(highest) => code <= *highest,
            Self::Set(set) => set.contains(code),
        }
    }
}

/// Count and sum of the target of the trials of a node, and the mean that sums are taken from.
#[derive(Clone, Copy)]
struct Totals {
    count: u64,
    /// Whole part of the mean.
    base: u64,
    /// Sum of the target minus `base`.
    excess: i64,
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
        let mut bins = vec![0u64; CODES];
        let mut wide = vec![(0u64, 0u64); CODES];
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
                    grower.best_split_wide(columns, node, totals, &mut bins, &mut wide)
                });
            }
        }
        self.tree
    }

    /// Grows a subtree whose drawn trials are copied side by side before.
    fn grow_block(&mut self, root: Open, columns: &[&[u8]], block: &mut Vec<u8>, bins: &mut [u64]) {
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

    #[inline(always)]
    fn reciprocal(&self, count: u64) -> f64 {
        self.shared.reciprocals.get(count as usize).copied().unwrap_or_else(|| 1.0 / count as f64)
    }

    /// What a cut into these counts and sums explains: the sum over both sides of squared sum times
    /// reciprocal of the count.
    #[inline(always)]
    fn gain(&self, totals: &Totals, count: u64, excess: i64) -> f64 {
        let left = excess as f64;
        let right = (totals.excess - excess) as f64;
        left * left * self.reciprocal(count) + right * right * self.reciprocal(totals.count - count)
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

    /// Where in the order of parameters a node begins. Ties of parameters are the rule in small
    /// nodes, and must not all go to the same one.
    fn first_tried(&self, node: &Open) -> usize {
        let word = self.stream((node.path >> 32) as u32 | 1 << 31).block(node.path as u32, self.number)[0];
        ((u64::from(word) * self.order.len() as u64) >> 32) as usize
    }

    fn best_split(&self, columns: &[&[u8]], node: &Open, totals: &Totals, bins: &mut [u64]) -> Option<Split> {
        if self.order.is_empty() {
            return None;
        }
        let mut best = None;
        let first = self.first_tried(node);
        let (rows, packed) = (&self.rows[node.start..node.end], &self.packed[node.start..node.end]);
        let parameters = self.order[first..].iter().chain(&self.order[..first]).copied();
        if let (&[a, b], [_, _]) = (rows, packed)
            && self.shared.request.min_leaf == 1
        {
            return self.split_two(columns, parameters, a as usize, b as usize, totals, packed[0]);
        }
        for parameter in parameters {
            let column = columns[parameter];
            let axis = &self.shared.encoded.axes[parameter];
            let mut scan = Scan::new(self, totals, parameter, &mut best);
            if axis.is_categorical() {
                for (&row, &packed) in rows.iter().zip(packed) {
                    let bin = &mut bins[usize::from(column[row as usize])];
                    *bin = bin.wrapping_add(packed);
                }
                let codes = axis.codes();
                let occurring = bins[..codes].iter_mut().enumerate().filter(|(_, bin)| **bin != 0);
                let occurring = occurring.map(|(code, bin)| (code, unpack(std::mem::take(bin))));
                scan.levels(codes, occurring);
            } else if rows.len() < SPARSE {
                let mut occurring = [0u64; CODES / 64];
                for (&row, &packed) in rows.iter().zip(packed) {
                    let code = column[row as usize];
                    let bin = &mut bins[usize::from(code)];
                    *bin = bin.wrapping_add(packed);
                    occurring[usize::from(code >> 6)] |= 1 << (code & 63);
                }
                for (mut bits, word) in occurring.into_iter().zip(0..) {
                    while bits != 0 {
                        let code = word * 64 + bits.trailing_zeros() as usize;
                        bits &= bits - 1;
                        let (count, sum) = unpack(std::mem::take(&mut bins[code]));
                        scan.ordered(code, count, sum);
                    }
                }
            } else {
                for (&row, &packed) in rows.iter().zip(packed) {
                    let bin = &mut bins[usize::from(column[row as usize])];
                    *bin = bin.wrapping_add(packed);
                }
                for (code, bin) in bins[..axis.codes()].iter_mut().enumerate() {
                    let (count, sum) = unpack(std::mem::take(bin));
                    if count > 0 {
                        scan.ordered(code, count, sum);
                    }
                }
            }
        }
        best
    }

    /// The split of two trials: any parameter in which they differ takes them apart.
    fn split_two(
        &self,
        columns: &[&[u8]],
        mut parameters: impl Iterator<Item = usize>,
        a: usize,
        b: usize,
        totals: &Totals,
        first: u64,
    ) -> Option<Split> {
        let parameter = parameters.find(|&parameter| columns[parameter][a] != columns[parameter][b])?;
        let (code_a, code_b) = (columns[parameter][a], columns[parameter][b]);
        let (count, sum) = unpack(first);
        let codes = self.shared.encoded.axes[parameter].codes();
        if self.shared.encoded.axes[parameter].is_categorical() {
            let all = totals.base * totals.count + totals.excess as u64;
            let second = (usize::from(code_b), (totals.count - count, all - sum));
            let mut best = None;
            let levels = [(usize::from(code_a), (count, sum)), second].into_iter();
            Scan::new(self, totals, parameter, &mut best).levels(codes, levels);
            return best;
        }
        let gain = self.gain(totals, count, sum as i64 - (count * totals.base) as i64);
        let cut = Cut::Below(between(usize::from(code_a.min(code_b)), usize::from(code_a.max(code_b))));
        Some(Split { gain, parameter, cut })
    }

    fn best_split_wide(
        &self,
        columns: &[&[u8]],
        node: &Open,
        totals: &Totals,
        bins: &mut [u64],
        wide: &mut [(u64, u64)],
    ) -> Option<Split> {
        if self.order.is_empty() {
            return None;
        }
        let mut best = None;
        let first = self.first_tried(node);
        let (rows, packed) = (&self.rows[node.start..node.end], &self.packed[node.start..node.end]);
        for &parameter in self.order[first..].iter().chain(&self.order[..first]) {
            let column = columns[parameter];
            let axis = &self.shared.encoded.axes[parameter];
            let codes = axis.codes();
            for (rows, packed) in rows.chunks(self.rows_per_flush).zip(packed.chunks(self.rows_per_flush)) {
                for (&row, &packed) in rows.iter().zip(packed) {
                    let bin = &mut bins[usize::from(column[row as usize])];
                    *bin = bin.wrapping_add(packed);
                }
                for (bin, wide) in bins[..codes].iter_mut().zip(wide.iter_mut()) {
                    let (count, sum) = unpack(std::mem::take(bin));
                    *wide = (wide.0 + count, wide.1 + sum);
                }
            }
            let mut scan = Scan::new(self, totals, parameter, &mut best);
            let occurring = wide[..codes].iter_mut().enumerate().filter(|(_, bin)| bin.0 > 0);
            let occurring = occurring.map(|(code, bin)| (code, std::mem::take(bin)));
            if axis.is_categorical() {
                scan.levels(codes, occurring);
            } else {
                occurring.for_each(|(code, (count, sum))| scan.ordered(code, count, sum));
            }
        }
        best
    }
}

/// Count and sum of a packed bin.
#[inline(always)]
fn unpack(bin: u64) -> (u64, u64) {
    (bin >> COUNT_SHIFT, bin & ((1 << COUNT_SHIFT) - 1))
}

/// The cut between two neighbouring codes of a node: halfway, but a missing value (code 0) stays
/// alone.
#[inline(always)]
fn between(below: usize, above: usize) -> u8 {
    // Both are codes, at most 255.
    if below == 0 { 0 } else { ((below + above) / 2) as u8 }
}

/// Looks for the best cut of one parameter, bin by bin.
struct Scan<'a, 'b> {
    grower: &'a Grower<'a>,
    totals: &'a Totals,
    parameter: usize,
    best: &'b mut Option<Split>,
    best_gain: f64,
    previous: usize,
    count: u64,
    excess: i64,
}

impl<'a, 'b> Scan<'a, 'b> {
    fn new(
        grower: &'a Grower<'a>,
        totals: &'a Totals,
        parameter: usize,
        best: &'b mut Option<Split>,
    ) -> Self {
        let best_gain = best.as_ref().map_or(-1.0, |best| best.gain);
        Self { grower, totals, parameter, best, best_gain, previous: 0, count: 0, excess: 0 }
    }

    /// The gain of a cut before the next bin, when it is the best so far.
    #[inline(always)]
    fn better(&mut self) -> bool {
        let gain = self.grower.gain(self.totals, self.count, self.excess);
        let least = u64::from(self.grower.shared.request.min_leaf);
        if gain > self.best_gain && self.count >= least && self.totals.count - self.count >= least {
            self.best_gain = gain;
            return true;
        }
        false
    }

    /// Takes the next bin of an ordered parameter that is not empty.
    #[inline(always)]
    fn ordered(&mut self, code: usize, count: u64, sum: u64) {
        if self.count > 0 && self.better() {
            let cut = Cut::Below(between(self.previous, code));
            *self.best = Some(Split { gain: self.best_gain, parameter: self.parameter, cut });
        }
        self.count += count;
        self.excess += sum as i64 - (count * self.totals.base) as i64;
        self.previous = code;
    }

    /// Takes all levels that occur in the node, ascending. Ordered by their means, the best set is
    /// one of the beginnings (Fisher 1958). Levels that do not occur go where most trials go.
    fn levels(&mut self, codes: usize, occurring: impl Iterator<Item = (usize, (u64, u64))>) {
        let mut levels: Vec<(f64, usize, u64, i64)> = occurring
            .map(|(code, (count, sum))| {
                let excess = sum as i64 - (count * self.totals.base) as i64;
                (excess as f64 * self.grower.reciprocal(count), code, count, excess)
            })
            .collect();
        levels.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut cut_at = None;
        for (position, &(_, _, count, excess)) in levels.iter().enumerate() {
            if position > 0 && self.better() {
                cut_at = Some((position, self.count));
            }
            self.count += count;
            self.excess += excess;
        }
        let Some((position, left_count)) = cut_at else { return };
        let mut set = CodeSet::default();
        let insert = |set: &mut CodeSet, levels: &[(f64, usize, u64, i64)]| {
            levels.iter().for_each(|&(_, code, _, _)| set.insert(code as u8));
        };
        if 2 * left_count >= self.totals.count {
            let mut right = CodeSet::default();
            insert(&mut right, &levels[position..]);
            set = CodeSet::below(codes).without(right);
        } else {
            insert(&mut set, &levels[..position]);
        }
        let cut = Cut::Set(set);
        *self.best = Some(Split { gain: self.best_gain, parameter: self.parameter, cut });
    }
}
