//! Exact functional ANOVA of one tree: its leaves are boxes, and every integral is a sum over them.
//!
//! Of each leaf, value times volume goes to the cells of one axis (or to rectangles of two) as
//! differences at their ends, and running sums give the marginal in all cells: time in the order of
//! leaves plus cells, without a grid over all parameters. Hutter, Hoos and Leyton-Brown 2014.

use super::forest::{CodeSet, LEAF, Tree};

/// Leaves that are spread over all marginals before the next.
const BATCH: usize = 2_048;
/// A variance below this share of the mean square is all rounding.
const NO_VARIANCE: f64 = 1e-12;
/// Cells of all two-dimensional marginals that are held at a time.
const CELLS_AT_ONCE: usize = 1 << 22;

/// The measure of the codes of one parameter; it sums to 1, or to 0 for a parameter without room.
#[derive(Debug, Clone)]
pub(crate) struct AxisMeasure {
    pub(crate) of_codes: Vec<f64>,
    pub(crate) is_categorical: bool,
}

/// Variance of a tree's prediction over the search space, and its parts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parts {
    pub(crate) mean: f64,
    pub(crate) variance: f64,
    /// Variance of each single marginal that was asked for.
    pub(crate) mains: Vec<f64>,
    /// Variance of each pair's marginal beyond the two single ones.
    pub(crate) pairs: Vec<f64>,
}

/// What the leaves of a tree cut one axis into, coarser than its codes.
struct Cells {
    /// For an ordered axis: the number of cells at or below each code.
    ends: Vec<u32>,
    /// The measure of each cell.
    measure: Vec<f64>,
    /// For an ordered axis: the measure below each cell.
    below: Vec<f64>,
}

impl Cells {
    fn new(axis: &AxisMeasure, cuts: &[bool]) -> Self {
        let codes = axis.of_codes.len();
        if axis.is_categorical {
            return Self { ends: Vec::new(), measure: axis.of_codes.clone(), below: Vec::new() };
        }
        let mut cells = Self { ends: Vec::with_capacity(codes), measure: vec![0.0], below: vec![0.0] };
        for (code, &measure) in axis.of_codes.iter().enumerate() {
            let last = cells.measure.len() - 1;
            cells.measure[last] += measure;
            cells.ends.push(cells.measure.len() as u32);
            if cuts.get(code).copied().unwrap_or(false) && code + 1 < codes {
                cells.measure.push(0.0);
            }
        }
        for measure in &cells.measure {
            let below = cells.below[cells.below.len() - 1];
            cells.below.push(below + measure);
        }
        cells
    }

    fn len(&self) -> usize {
        self.measure.len()
    }

    fn mass(&self, side: &Side) -> f64 {
        match side {
            Side::Interval(low, high) if (*low, *high) == (0, self.len() as u32) => 1.0,
            Side::Interval(low, high) => self.below[*high as usize] - self.below[*low as usize],
            Side::Set(set) => {
                set.iter().take_while(|&code| code < self.len()).map(|code| self.measure[code]).sum()
            }
        }
    }
}

/// The extent of a box along one axis: cells from the first to before the second, or a set of codes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Side {
    Interval(u32, u32),
    Set(CodeSet),
}

/// One step of the walk over a tree.
enum Step {
    /// Goes to a node whose box has this side along an axis, of this mass, and this volume.
    Enter { node: u32, axis: usize, side: Side, mass: f64, volume: f64 },
    /// Comes back from it.
    Leave { axis: usize, side: Side, mass: f64 },
}

/// Leaves, one column for each axis that is looked at.
#[derive(Default)]
struct Batch {
    /// Value times volume.
    weights: Vec<f64>,
    /// Runs of cells of each leaf: where they begin in `runs`, for each axis; one end more.
    starts: Vec<Vec<u32>>,
    /// First cell and cell after the last.
    runs: Vec<Vec<(u32, u32)>>,
    masses: Vec<Vec<f64>>,
}

impl Batch {
    fn new(axes: usize) -> Self {
        Self {
            weights: Vec::with_capacity(BATCH),
            starts: vec![vec![0]; axes],
            runs: vec![Vec::with_capacity(BATCH); axes],
            masses: vec![Vec::with_capacity(BATCH); axes],
        }
    }

    fn clear(&mut self) {
        self.weights.clear();
        self.runs.iter_mut().for_each(Vec::clear);
        self.masses.iter_mut().for_each(Vec::clear);
        self.starts.iter_mut().for_each(|starts| starts.truncate(1));
    }

    fn push(&mut self, column: usize, side: &Side, mass: f64, cells: usize) {
        let runs = &mut self.runs[column];
        match side {
            Side::Interval(low, high) => runs.push((*low, *high)),
            Side::Set(set) => {
                let first = runs.len();
                for code in set.iter().take_while(|&code| code < cells) {
                    let code = code as u32;
                    match runs[first..].last_mut() {
                        Some((_, end)) if *end == code => *end += 1,
                        _ => runs.push((code, code + 1)),
                    }
                }
            }
        }
        self.starts[column].push(runs.len() as u32);
        self.masses[column].push(mass);
    }

    fn runs(&self, column: usize, leaf: usize) -> &[(u32, u32)] {
        let starts = &self.starts[column];
        &self.runs[column][starts[leaf] as usize..starts[leaf + 1] as usize]
    }
}

/// Decomposes the variance of a tree's prediction when parameters are drawn independently from
/// their measures. `mains` and the members of `pairs` are numbers of axes.
pub(crate) fn decompose(
    tree: &Tree,
    axes: &[AxisMeasure],
    mains: &[usize],
    pairs: &[(usize, usize)],
) -> Parts {
    let cells = cells_of(tree, axes);
    let mut looked_at: Vec<usize> = mains.to_vec();
    looked_at.extend(pairs.iter().flat_map(|&(a, b)| [a, b]));
    looked_at.sort_unstable();
    looked_at.dedup();
    let column_of = |axis: usize| looked_at.binary_search(&axis).unwrap_or(usize::MAX);
    let mut singles: Vec<Vec<f64>> = looked_at.iter().map(|&axis| vec![0.0; cells[axis].len() + 1]).collect();
    let (mut sum, mut squares) = (0.0, 0.0);
    let mut batch = Batch::new(looked_at.len());
    walk(
        tree,
        &cells,
        axes,
        &looked_at,
        &mut batch,
        |batch| {
            for (column, single) in singles.iter_mut().enumerate() {
                add_single(single, batch, column);
            }
        },
        |value, volume| {
            sum += value * volume;
            squares += value * value * volume;
        },
    );
    let mean = sum;
    let spread = |marginal: &[f64], measure: &[f64]| -> f64 {
        marginal.iter().zip(measure).map(|(value, measure)| measure * (value - mean) * (value - mean)).sum()
    };
    let variances: Vec<f64> = singles
        .into_iter()
        .zip(&looked_at)
        .map(|(mut single, &axis)| {
            running_sum(&mut single);
            spread(&single, &cells[axis].measure)
        })
        .collect();
    let mut pair_variances = Vec::with_capacity(pairs.len());
    for some in pairs_at_once(pairs, &cells) {
        let mut grids: Vec<Grid> =
            some.iter().map(|&(a, b)| Grid::new(cells[a].len(), cells[b].len())).collect();
        walk(
            tree,
            &cells,
            axes,
            &looked_at,
            &mut batch,
            |batch| {
                for (grid, &(a, b)) in grids.iter_mut().zip(some) {
                    grid.add(batch, column_of(a), column_of(b));
                }
            },
            |_, _| (),
        );
        for (grid, &(a, b)) in grids.into_iter().zip(some) {
            let joint = grid.variance(&cells[a].measure, &cells[b].measure, mean);
            let alone = variances[column_of(a)] + variances[column_of(b)];
            pair_variances.push((joint - alone).max(0.0));
        }
    }
    let variance = squares - mean * mean;
    Parts {
        mean,
        variance: if variance > NO_VARIANCE * squares { variance } else { 0.0 },
        mains: mains.iter().map(|&axis| variances[column_of(axis)]).collect(),
        pairs: pair_variances,
    }
}

fn cells_of(tree: &Tree, axes: &[AxisMeasure]) -> Vec<Cells> {
    let mut cuts: Vec<Vec<bool>> = axes.iter().map(|axis| vec![false; axis.of_codes.len()]).collect();
    for (&parameter, &cut) in tree.parameter.iter().zip(&tree.cut) {
        if parameter != LEAF && !axes[usize::from(parameter)].is_categorical {
            cuts[usize::from(parameter)][cut as usize] = true;
        }
    }
    axes.iter().zip(&cuts).map(|(axis, cuts)| Cells::new(axis, cuts)).collect()
}

/// Consecutive pairs whose grids are held together.
fn pairs_at_once<'a>(pairs: &'a [(usize, usize)], cells: &[Cells]) -> Vec<&'a [(usize, usize)]> {
    let mut parts = Vec::new();
    let (mut start, mut held) = (0, 0);
    for (position, &(a, b)) in pairs.iter().enumerate() {
        let grid = (cells[a].len() + 1) * (cells[b].len() + 1);
        if held + grid > CELLS_AT_ONCE && position > start {
            parts.push(&pairs[start..position]);
            (start, held) = (position, 0);
        }
        held += grid;
    }
    if start < pairs.len() {
        parts.push(&pairs[start..]);
    }
    parts
}

/// Visits all leaves whose box has a volume, left before right, in batches.
fn walk(
    tree: &Tree,
    cells: &[Cells],
    axes: &[AxisMeasure],
    looked_at: &[usize],
    batch: &mut Batch,
    mut on_batch: impl FnMut(&Batch),
    mut on_leaf: impl FnMut(f64, f64),
) {
    batch.clear();
    let mut sides: Vec<Side> = axes
        .iter()
        .zip(cells)
        .map(|(axis, cells)| {
            let all = cells.len();
            if axis.is_categorical { Side::Set(CodeSet::below(all)) } else { Side::Interval(0, all as u32) }
        })
        .collect();
    let mut masses = vec![1.0; axes.len()];
    let Some(&whole) = sides.first() else { return };
    let mut steps = vec![Step::Enter { node: 0, axis: 0, side: whole, mass: 1.0, volume: 1.0 }];
    while let Some(step) = steps.pop() {
        let (node, volume) = match step {
            Step::Leave { axis, side, mass } => {
                (sides[axis], masses[axis]) = (side, mass);
                continue;
            }
            Step::Enter { node, axis, side, mass, volume } => {
                steps.push(Step::Leave { axis, side: sides[axis], mass: masses[axis] });
                (sides[axis], masses[axis]) = (side, mass);
                (node as usize, volume)
            }
        };
        if tree.parameter[node] == LEAF {
            let value = tree.value[node];
            on_leaf(value, volume);
            batch.weights.push(value * volume);
            for (column, &axis) in looked_at.iter().enumerate() {
                batch.push(column, &sides[axis], masses[axis], cells[axis].len());
            }
            if batch.weights.len() == BATCH {
                on_batch(batch);
                batch.clear();
            }
            continue;
        }
        let axis = usize::from(tree.parameter[node]);
        let (left, right) = match sides[axis] {
            Side::Interval(low, high) => {
                let middle = cells[axis].ends[tree.cut[node] as usize].clamp(low, high);
                (Side::Interval(low, middle), Side::Interval(middle, high))
            }
            Side::Set(set) => {
                let goes_left = tree.sets[tree.cut[node] as usize];
                (Side::Set(set.and(goes_left)), Side::Set(set.without(goes_left)))
            }
        };
        for (side, child) in [(right, tree.left[node] + 1), (left, tree.left[node])] {
            let mass = cells[axis].mass(&side);
            // A box without volume adds nothing to any integral.
            if mass > 0.0 {
                let volume = volume * (mass / masses[axis]);
                steps.push(Step::Enter { node: child, axis, side, mass, volume });
            }
        }
    }
    if !batch.weights.is_empty() {
        on_batch(batch);
    }
}

/// Adds the leaves of a batch to the differences of one marginal.
fn add_single(single: &mut [f64], batch: &Batch, column: usize) {
    let last = single.len() - 1;
    let mut everywhere = 0.0;
    for (leaf, (&weight, &mass)) in batch.weights.iter().zip(&batch.masses[column]).enumerate() {
        let weight = weight / mass;
        for &(low, high) in batch.runs(column, leaf) {
            if (low, high as usize) == (0, last) {
                everywhere += weight;
            } else {
                single[low as usize] += weight;
                single[high as usize] -= weight;
            }
        }
    }
    single[0] += everywhere;
}

fn running_sum(differences: &mut [f64]) {
    let mut sum = 0.0;
    for value in differences {
        sum += *value;
        *value = sum;
    }
}

/// The differences of a two-dimensional marginal, one row and column more than there are cells.
struct Grid {
    columns: usize,
    differences: Vec<f64>,
}

impl Grid {
    fn new(rows: usize, columns: usize) -> Self {
        Self { columns: columns + 1, differences: vec![0.0; (rows + 1) * (columns + 1)] }
    }

    fn add(&mut self, batch: &Batch, first: usize, second: usize) {
        let (columns, masses) = (self.columns, (&batch.masses[first], &batch.masses[second]));
        let last_row = self.differences.len() / columns - 1;
        let mut everywhere = 0.0;
        for (leaf, &weight) in batch.weights.iter().enumerate() {
            let weight = weight / (masses.0[leaf] * masses.1[leaf]);
            for &(top, bottom) in batch.runs(first, leaf) {
                let (top, bottom) = (top as usize, bottom as usize);
                for &(low, high) in batch.runs(second, leaf) {
                    let (low, high) = (low as usize, high as usize);
                    // What lies past the last row or column is never read.
                    if (top, bottom, low, high) == (0, last_row, 0, columns - 1) {
                        everywhere += weight;
                        continue;
                    }
                    self.differences[top * columns + low] += weight;
                    if high + 1 < columns {
                        self.differences[top * columns + high] -= weight;
                    }
                    if bottom < last_row {
                        self.differences[bottom * columns + low] -= weight;
                        self.differences[bottom * columns + high] += weight;
                    }
                }
            }
        }
        self.differences[0] += everywhere;
    }

    /// Variance of the marginal around a mean.
    fn variance(mut self, first: &[f64], second: &[f64], mean: f64) -> f64 {
        let mut above = vec![0.0; self.columns];
        let mut variance = 0.0;
        for (row, &row_measure) in self.differences.chunks_mut(self.columns).zip(first) {
            for (value, above) in row.iter().zip(&mut above) {
                *above += value;
            }
            let mut marginal = 0.0;
            let mut of_row = 0.0;
            for (difference, &measure) in above.iter().zip(second) {
                marginal += difference;
                of_row += measure * (marginal - mean) * (marginal - mean);
            }
            variance += row_measure * of_row;
        }
        variance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pseudo-random numbers below a bound, the same in every run.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % bound
        }
    }

    fn axes(numbers: &mut Numbers) -> Vec<AxisMeasure> {
        let axis = |codes: usize, is_categorical: bool, numbers: &mut Numbers| {
            let weights: Vec<f64> = (0..codes).map(|_| numbers.below(4) as f64).collect();
            let total: f64 = weights.iter().sum::<f64>() + 1.0;
            let mut of_codes: Vec<f64> = weights.iter().map(|weight| weight / total).collect();
            of_codes[codes - 1] += 1.0 / total;
            AxisMeasure { of_codes, is_categorical }
        };
        vec![axis(6, false, numbers), axis(5, true, numbers), axis(4, false, numbers), axis(3, true, numbers)]
    }

    fn tree(axes: &[AxisMeasure], splits: usize, numbers: &mut Numbers) -> Tree {
        let mut tree = Tree::default();
        tree.push();
        for _ in 0..splits {
            let leaves: Vec<usize> =
                (0..tree.parameter.len()).filter(|&n| tree.parameter[n] == LEAF).collect();
            let node = leaves[numbers.below(leaves.len() as u64) as usize];
            let parameter = numbers.below(axes.len() as u64) as usize;
            tree.parameter[node] = parameter as u16;
            if axes[parameter].is_categorical {
                let mut set = CodeSet::default();
                (0..axes[parameter].of_codes.len())
                    .filter(|_| numbers.below(2) == 0)
                    .for_each(|code| set.insert(code as u8));
                tree.cut[node] = tree.sets.len() as u32;
                tree.sets.push(set);
            } else {
                tree.cut[node] = numbers.below(axes[parameter].of_codes.len() as u64) as u32;
            }
            tree.left[node] = tree.push();
            tree.push();
        }
        for node in 0..tree.parameter.len() {
            tree.value[node] = numbers.below(100) as f64 / 10.0 - 5.0;
        }
        tree
    }

    fn predict(tree: &Tree, axes: &[AxisMeasure], point: &[usize]) -> f64 {
        let mut node = 0;
        while tree.parameter[node] != LEAF {
            let parameter = usize::from(tree.parameter[node]);
            let cut = tree.cut[node] as usize;
            let goes_left = if axes[parameter].is_categorical {
                tree.sets[cut].contains(point[parameter] as u8)
            } else {
                point[parameter] <= cut
            };
            node = tree.left[node] as usize + usize::from(!goes_left);
        }
        tree.value[node]
    }

    /// Mean and variance, and the variance of the marginal of some axes, over all combinations of codes.
    fn by_grid(tree: &Tree, axes: &[AxisMeasure], of: &[usize]) -> (f64, f64) {
        let mut points = vec![(Vec::new(), 1.0)];
        for axis in axes {
            let next = points.iter().flat_map(|(point, weight)| {
                axis.of_codes.iter().enumerate().map(move |(code, measure)| {
                    let mut point: Vec<usize> = point.clone();
                    point.push(code);
                    (point, weight * measure)
                })
            });
            points = next.collect();
        }
        let mut marginal = std::collections::BTreeMap::<Vec<usize>, (f64, f64)>::new();
        for (point, weight) in &points {
            let key = of.iter().map(|&axis| point[axis]).collect();
            let cell = marginal.entry(key).or_default();
            *cell = (cell.0 + weight, cell.1 + weight * predict(tree, axes, point));
        }
        let mean: f64 = marginal.values().map(|(_, sum)| sum).sum();
        let inside = marginal.values().filter(|(weight, _)| *weight > 0.0);
        (mean, inside.map(|(weight, sum)| weight * (sum / weight - mean).powi(2)).sum())
    }

    #[test]
    fn integrals_equal_sums_over_the_full_grid() {
        let mut numbers = Numbers(7);
        for splits in [0, 1, 2, 5, 20, 60] {
            for _ in 0..5 {
                let axes = axes(&mut numbers);
                let tree = tree(&axes, splits, &mut numbers);
                let pairs = [(0, 1), (0, 2), (1, 3), (2, 3)];
                let parts = decompose(&tree, &axes, &[0, 1, 2, 3], &pairs);
                let (mean, variance) = by_grid(&tree, &axes, &[0, 1, 2, 3]);
                assert!((parts.mean - mean).abs() < 1e-12 && (parts.variance - variance).abs() < 1e-11);
                for (axis, main) in parts.mains.iter().enumerate() {
                    assert!((main - by_grid(&tree, &axes, &[axis]).1).abs() < 1e-11, "{splits} {axis}");
                }
                for (&(a, b), pair) in pairs.iter().zip(&parts.pairs) {
                    let expected = by_grid(&tree, &axes, &[a, b]).1 - parts.mains[a] - parts.mains[b];
                    assert!((pair - expected).abs() < 1e-11, "{splits} {a} {b}: {pair} {expected}");
                }
            }
        }
    }

    #[test]
    fn pairs_are_taken_in_parts_that_fit() {
        let wide = AxisMeasure { of_codes: vec![1.0 / 1_500.0; 1_500], is_categorical: false };
        let cuts = vec![true; 1_500];
        let cells: Vec<Cells> = (0..3).map(|_| Cells::new(&wide, &cuts)).collect();
        let pairs = [(0, 1), (0, 2), (1, 2)];
        let parts = pairs_at_once(&pairs, &cells);
        assert_eq!(parts, [&pairs[..1], &pairs[1..2], &pairs[2..]]);
        assert!(pairs_at_once(&[], &cells).is_empty());
    }
}
