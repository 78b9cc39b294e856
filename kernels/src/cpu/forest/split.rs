//! The best split of a node: histograms of all parameters, and the gain of every cut.

use super::{Grower, Open};
use crate::importance::{CODES, CodeSet};

/// The count of a packed bin stands above its sum.
pub(super) const COUNT_SHIFT: u32 = 48;
/// The largest count of a packed bin: the sum of so many targets, less their mean, has its sign in
/// the 48 bits below.
pub(super) const COUNT_MAX: usize = (1 << 15) - 1;
/// Reciprocals are looked up by any count of a packed bin.
pub(super) const RECIPROCALS: usize = 1 << 16;
/// Below this many trials only the bins that occur are looked at.
const SPARSE: usize = 160;

/// A split of a node.
pub(super) struct Split {
    pub(super) gain: f64,
    pub(super) parameter: usize,
    pub(super) cut: Cut,
}

/// Which codes go left.
pub(super) enum Cut {
    /// The highest code that goes left.
    Below(u8),
    /// The codes that go left.
    Set(CodeSet),
}

impl Cut {
    #[inline(always)]
    pub(super) fn goes_left(&self, code: u8) -> bool {
        match self {
            Self::Below(highest) => code <= *highest,
            Self::Set(set) => set.contains(code),
        }
    }
}

/// Count and sum of the target of the trials of a node, and the mean that sums are taken from.
#[derive(Clone, Copy)]
pub(super) struct Totals {
    pub(super) count: u64,
    /// Whole part of the mean.
    pub(super) base: u64,
    /// Sum of the target minus `base`.
    pub(super) excess: i64,
}

impl Grower<'_> {
    #[inline(always)]
    pub(super) fn reciprocal(&self, count: u64) -> f64 {
        self.shared.reciprocals.get(count as usize).copied().unwrap_or_else(|| 1.0 / count as f64)
    }

    /// What a cut into these counts and sums explains: the sum over both sides of squared sum times
    /// reciprocal of the count.
    #[inline(always)]
    pub(super) fn gain(&self, totals: &Totals, count: u64, excess: i64) -> f64 {
        let left = excess as f64;
        let right = totals.excess as f64 - left;
        left * left * self.reciprocal(count) + right * right * self.reciprocal(totals.count - count)
    }

    /// Where in the order of parameters a node begins. Ties of parameters are the rule in small
    /// nodes, and must not all go to the same one.
    pub(super) fn first_tried(&self, node: &Open) -> usize {
        let word = self.stream((node.path >> 32) as u32 | 1 << 31).block(node.path as u32, self.number)[0];
        ((u64::from(word) * self.order.len() as u64) >> 32) as usize
    }

    /// The best split of a node whose counts fit in packed bins.
    pub(super) fn best_split(
        &self,
        columns: &[&[u8]],
        node: &Open,
        totals: &Totals,
        bins: &mut Bins,
    ) -> Option<Split> {
        if self.order.is_empty() {
            return None;
        }
        let (rows, packed) = (&self.rows[node.start..node.end], &self.packed[node.start..node.end]);
        let first = self.first_tried(node);
        let mut parameters = self.order[first..].iter().chain(&self.order[..first]).copied();
        if let &[a, b] = rows
            && self.shared.request.min_leaf == 1
        {
            // Any parameter in which the two trials differ takes them apart, and all explain the same.
            let differs =
                |&parameter: &usize| columns[parameter][a as usize] != columns[parameter][b as usize];
            parameters = {
                let parameter = parameters.find(differs)?;
                let at = self.order.iter().position(|&other| other == parameter)?;
                self.order[at..=at].iter().chain(&self.order[..0]).copied()
            };
        }
        let Bins { packed: bins, centred, .. } = bins;
        centred.clear();
        centred.extend(packed.iter().map(|&drawn| drawn.wrapping_sub((drawn >> COUNT_SHIFT) * totals.base)));
        let mut best = Best::default();
        for parameter in parameters {
            let column = columns[parameter];
            let axis = &self.shared.encoded.axes[parameter];
            let before = best.gain;
            let mut cuts = Cuts {
                grower: self,
                totals,
                total: totals.excess as f64,
                best: &mut best,
                passed: 0,
                last: 0,
            };
            if axis.is_categorical() {
                for (&row, &drawn) in rows.iter().zip(&*centred) {
                    let bin = &mut bins[usize::from(column[row as usize])];
                    *bin = bin.wrapping_add(drawn);
                }
                let codes = axis.codes();
                let occurring = bins[..codes].iter_mut().enumerate().filter(|(_, bin)| **bin != 0);
                let occurring = occurring.map(|(code, bin)| {
                    let (count, excess) = unpack_centred(std::mem::take(bin));
                    (code, count, excess)
                });
                self.try_levels(parameter, codes, totals, occurring, &mut best);
                continue;
            }
            if rows.len() < SPARSE {
                let mut occurring = [0u64; CODES / 64];
                for (&row, &drawn) in rows.iter().zip(&*centred) {
                    let code = column[row as usize];
                    let bin = &mut bins[usize::from(code)];
                    *bin = bin.wrapping_add(drawn);
                    occurring[usize::from(code >> 6)] |= 1 << (code & 63);
                }
                for (mut bits, word) in occurring.into_iter().zip(0u8..) {
                    while bits != 0 {
                        let code = word * 64 + bits.trailing_zeros() as u8;
                        bits &= bits - 1;
                        cuts.take(code, std::mem::take(&mut bins[usize::from(code)]));
                    }
                }
            } else {
                for (&row, &drawn) in rows.iter().zip(&*centred) {
                    let bin = &mut bins[usize::from(column[row as usize])];
                    *bin = bin.wrapping_add(drawn);
                }
                for (code, bin) in (0..=u8::MAX).zip(bins[..axis.codes()].iter_mut()) {
                    let bin = std::mem::take(bin);
                    if bin != 0 {
                        cuts.take(code, bin);
                    }
                }
            }
            if best.gain > before {
                best.parameter = parameter;
                best.set = None;
            }
        }
        best.split()
    }

    /// The best split of a node whose counts need wide bins.
    pub(super) fn best_split_wide(
        &self,
        columns: &[&[u8]],
        node: &Open,
        totals: &Totals,
        bins: &mut Bins,
    ) -> Option<Split> {
        if self.order.is_empty() {
            return None;
        }
        let Bins { packed: bins, wide, .. } = bins;
        let mut best = Best::default();
        let first = self.first_tried(node);
        let (rows, packed) = (&self.rows[node.start..node.end], &self.packed[node.start..node.end]);
        for &parameter in self.order[first..].iter().chain(&self.order[..first]) {
            let column = columns[parameter];
            let axis = &self.shared.encoded.axes[parameter];
            let codes = axis.codes();
            for (rows, packed) in rows.chunks(self.rows_per_flush).zip(packed.chunks(self.rows_per_flush)) {
                for (&row, &drawn) in rows.iter().zip(packed) {
                    let bin = &mut bins[usize::from(column[row as usize])];
                    *bin = bin.wrapping_add(drawn);
                }
                for (bin, wide) in bins[..codes].iter_mut().zip(wide.iter_mut()) {
                    let (count, sum) = unpack(std::mem::take(bin));
                    *wide = (wide.0 + count, wide.1 + sum);
                }
            }
            let occurring = wide[..codes].iter_mut().enumerate().filter(|(_, bin)| bin.0 > 0);
            let occurring = occurring.map(|(code, bin)| {
                let (count, sum) = std::mem::take(bin);
                (code, count, sum as i64 - (count * totals.base) as i64)
            });
            if axis.is_categorical() {
                self.try_levels(parameter, codes, totals, occurring, &mut best);
                continue;
            }
            let (mut passed, mut passed_excess, mut last) = (0, 0, 0);
            for (code, count, excess) in occurring {
                if passed > 0 && self.is_better(totals, passed, passed_excess, &mut best) {
                    (best.parameter, best.set) = (parameter, None);
                    // Codes are at most 255.
                    (best.below, best.above) = (last, code as u8);
                }
                passed += count;
                passed_excess += excess;
                last = code as u8;
            }
        }
        best.split()
    }

    /// Whether a cut into these counts and sums is the best so far, which it then is.
    #[inline(always)]
    fn is_better(&self, totals: &Totals, count: u64, excess: i64, best: &mut Best) -> bool {
        let gain = self.gain(totals, count, excess);
        let least = u64::from(self.shared.request.min_leaf);
        if gain > best.gain && count >= least && totals.count - count >= least {
            best.gain = gain;
            return true;
        }
        false
    }

    /// Takes all levels that occur in the node, ascending. Ordered by their means, the best set is
    /// one of the beginnings (Fisher 1958). Levels that do not occur go where most trials go.
    fn try_levels(
        &self,
        parameter: usize,
        codes: usize,
        totals: &Totals,
        occurring: impl Iterator<Item = (usize, u64, i64)>,
        best: &mut Best,
    ) {
        let mut levels: Vec<(f64, usize, u64, i64)> = occurring
            .map(|(code, count, excess)| (excess as f64 * self.reciprocal(count), code, count, excess))
            .collect();
        levels.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let (mut passed, mut passed_excess, mut cut_at) = (0, 0, None);
        for (position, &(_, _, count, excess)) in levels.iter().enumerate() {
            if position > 0 && self.is_better(totals, passed, passed_excess, best) {
                cut_at = Some((position, passed));
            }
            passed += count;
            passed_excess += excess;
        }
        let Some((position, left_count)) = cut_at else { return };
        let of = |levels: &[(f64, usize, u64, i64)]| {
            let mut set = CodeSet::default();
            levels.iter().for_each(|&(_, code, _, _)| set.insert(code as u8));
            set
        };
        let set = if 2 * left_count >= totals.count {
            CodeSet::below(codes).without(of(&levels[position..]))
        } else {
            of(&levels[..position])
        };
        (best.parameter, best.set) = (parameter, Some(set));
    }
}

/// Histograms of one parameter of one node, empty between two uses.
pub(super) struct Bins {
    packed: [u64; CODES],
    /// Count and sum.
    wide: [(u64, u64); CODES],
    /// The packed trials of a node with their targets taken from its mean.
    centred: Vec<u64>,
}

impl Bins {
    pub(super) fn new() -> Self {
        Self { packed: [0; CODES], wide: [(0, 0); CODES], centred: Vec::new() }
    }
}

/// The best split so far.
struct Best {
    gain: f64,
    parameter: usize,
    /// The two neighbouring codes that an ordered parameter is cut between.
    below: u8,
    above: u8,
    /// The codes of a categorical parameter that go left.
    set: Option<CodeSet>,
}

impl Default for Best {
    fn default() -> Self {
        // Less than any gain: trials that differ are taken apart even where nothing is explained yet.
        Self { gain: -1.0, parameter: 0, below: 0, above: 0, set: None }
    }
}

impl Best {
    fn split(self) -> Option<Split> {
        if self.gain < 0.0 {
            return None;
        }
        // Halfway, but a missing value (code 0) stays alone.
        let middle = if self.below == 0 { 0 } else { self.below + (self.above - self.below) / 2 };
        let cut = self.set.map_or(Cut::Below(middle), Cut::Set);
        Some(Split { gain: self.gain, parameter: self.parameter, cut })
    }
}

/// Looks for the best cut of one ordered parameter, bin by bin.
struct Cuts<'a, 'b> {
    grower: &'a Grower<'a>,
    totals: &'a Totals,
    /// Sum of all targets, taken from the mean.
    total: f64,
    best: &'b mut Best,
    /// All bins so far, packed.
    passed: u64,
    last: u8,
}

impl Cuts<'_, '_> {
    /// Takes the next bin that is not empty.
    #[inline(always)]
    fn take(&mut self, code: u8, bin: u64) {
        if self.passed != 0 {
            self.try_cut(code);
        }
        self.passed = self.passed.wrapping_add(bin);
        self.last = code;
    }

    /// Compares the cut between the bins that are passed and the next.
    #[inline(always)]
    fn try_cut(&mut self, next: u8) {
        let (count, excess) = unpack_centred(self.passed);
        let reciprocals = self.grower.shared.reciprocals;
        let left = excess as f64;
        let right = self.total - left;
        let rest = self.totals.count - count;
        // The operations of `gain`; counts fit in 16 bits here.
        let gain = left * left * reciprocals[usize::from(count as u16)]
            + right * right * reciprocals[usize::from(rest as u16)];
        if gain > self.best.gain {
            let least = u64::from(self.grower.shared.request.min_leaf);
            if count >= least && rest >= least {
                self.best.gain = gain;
                (self.best.below, self.best.above) = (self.last, next);
            }
        }
    }
}

/// Count and sum of a packed bin.
#[inline(always)]
fn unpack(bin: u64) -> (u64, u64) {
    (bin >> COUNT_SHIFT, bin & ((1 << COUNT_SHIFT) - 1))
}

/// Count and sum of a packed bin whose sum may be negative.
#[inline(always)]
pub(super) fn unpack_centred(bin: u64) -> (u64, i64) {
    let excess = ((bin << (64 - COUNT_SHIFT)) as i64) >> (64 - COUNT_SHIFT);
    (bin.wrapping_sub(excess as u64) >> COUNT_SHIFT, excess)
}
