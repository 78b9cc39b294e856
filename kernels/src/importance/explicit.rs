//! Functional ANOVA of a tree that is given as arrays, for example one of another package.

use super::boxes::{AxisMeasure, decompose};
use super::encode::{Axis, Measure};
use super::error::ImportanceError;
use super::forest::{LEAF, Tree};

/// A regression tree over a box with a uniform measure: node `i` splits `feature[i]` at
/// `threshold[i]` (values up to it go left), or is a leaf with `value[i]` where the feature is
/// negative. Node 0 is the root.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TreeArrays<'a> {
    /// The feature of each node, negative in a leaf.
    pub feature: &'a [i32],
    /// The threshold of each node that is no leaf.
    pub threshold: &'a [f64],
    /// Left child of each node that is no leaf.
    pub left: &'a [i32],
    /// Right child of each node that is no leaf.
    pub right: &'a [i32],
    /// The prediction of each leaf.
    pub value: &'a [f64],
    /// Lower end of the box in each feature.
    pub low: &'a [f64],
    /// Upper end of the box in each feature.
    pub high: &'a [f64],
}

/// Variance of a tree's prediction over its box.
#[derive(Debug, Clone, PartialEq)]
pub struct TreeVariance {
    /// Mean prediction.
    pub mean: f64,
    /// Variance of the prediction.
    pub variance: f64,
    /// Part of each feature alone.
    pub main: Vec<f64>,
    /// Part of each pair beyond its two features alone: (0, 1), (0, 2), and so on.
    pub pair: Vec<f64>,
}

/// Decomposes the variance of one tree exactly (Hutter, Hoos and Leyton-Brown 2014).
///
/// # Errors
/// [`ImportanceError::Tree`] when the arrays describe no tree or the box has no volume.
///
/// ```
/// use kernels::importance::{TreeArrays, tree_variance};
/// let tree = TreeArrays {
///     feature: &[0, -1, -1],
///     threshold: &[0.25, 0.0, 0.0],
///     left: &[1, -1, -1],
///     right: &[2, -1, -1],
///     value: &[0.0, 4.0, 0.0],
///     low: &[0.0],
///     high: &[1.0],
/// };
/// let parts = tree_variance(&tree)?;
/// assert_eq!((parts.mean, parts.variance), (1.0, 3.0));
/// # Ok::<(), kernels::importance::ImportanceError>(())
/// ```
pub fn tree_variance(arrays: &TreeArrays<'_>) -> Result<TreeVariance, ImportanceError> {
    let nodes = arrays.feature.len();
    let features = arrays.low.len();
    let lengths = [arrays.threshold.len(), arrays.left.len(), arrays.right.len(), arrays.value.len()];
    if nodes == 0 || lengths.iter().any(|&length| length != nodes) || arrays.high.len() != features {
        return Err(ImportanceError::Tree("their lengths differ or are 0"));
    }
    if features == 0 || features >= usize::from(LEAF) {
        return Err(ImportanceError::Tree("there is no feature, or too many"));
    }
    let has_room = |(low, high): (&f64, &f64)| high > low && (high - low).is_finite();
    if !arrays.low.iter().zip(arrays.high).all(has_room) {
        return Err(ImportanceError::Tree("the box has no volume or no end"));
    }
    let mut edges: Vec<Vec<f64>> =
        arrays.low.iter().zip(arrays.high).map(|(&low, &high)| vec![low, high]).collect();
    for (&feature, &threshold) in arrays.feature.iter().zip(arrays.threshold) {
        if feature < 0 {
            continue;
        }
        let Some(edges) = edges.get_mut(feature as usize) else {
            return Err(ImportanceError::Tree("a node names a feature that there is not"));
        };
        if threshold.is_nan() {
            return Err(ImportanceError::Tree("a threshold is NaN"));
        }
        if threshold > edges[0] && threshold < edges[1] {
            edges.push(threshold);
        }
    }
    for edges in &mut edges {
        edges.sort_unstable_by(f64::total_cmp);
        edges.dedup();
    }
    let (mut tree, offset) = convert(arrays, &edges)?;
    tree.value.iter_mut().zip(&tree.parameter).for_each(|(value, &parameter)| {
        *value = if parameter == LEAF { *value - offset } else { 0.0 };
    });
    let axes: Vec<AxisMeasure> = edges
        .into_iter()
        .map(|edges| {
            let axis = Axis::of_edges(edges);
            AxisMeasure { of_codes: axis.measure(Measure::Scale, &axis.counts), is_categorical: false }
        })
        .collect();
    let mains: Vec<usize> = (0..features).collect();
    let pairs: Vec<(usize, usize)> =
        mains.iter().flat_map(|&a| (a + 1..features).map(move |b| (a, b))).collect();
    let parts = decompose(&tree, &axes, &mains, &pairs);
    Ok(TreeVariance {
        mean: parts.mean + offset,
        variance: parts.variance,
        main: parts.mains,
        pair: parts.pairs,
    })
}

/// The tree with codes for thresholds and children side by side, and the mean of its leaves.
fn convert(arrays: &TreeArrays<'_>, edges: &[Vec<f64>]) -> Result<(Tree, f64), ImportanceError> {
    let mut tree = Tree::default();
    let root = tree.push();
    let mut open = vec![(0usize, root)];
    let (mut sum, mut leaves) = (0.0, 0.0);
    while let Some((from, to)) = open.pop() {
        let to = to as usize;
        if arrays.feature[from] < 0 {
            if !arrays.value[from].is_finite() {
                return Err(ImportanceError::Tree("a leaf has no finite value"));
            }
            tree.value[to] = arrays.value[from];
            (sum, leaves) = (sum + arrays.value[from], leaves + 1.0);
            continue;
        }
        let left = tree.push();
        let right = tree.push();
        // A tree has each node once; more means that nodes share children or go round in circles.
        if tree.parameter.len() > arrays.feature.len() {
            return Err(ImportanceError::Tree("a node is the child of two"));
        }
        let feature = arrays.feature[from] as usize;
        let edges = &edges[feature];
        tree.parameter[to] = feature as u16;
        tree.left[to] = left;
        // Code 0 has no room; code c ends at edge c. A threshold at or below the box is code 0.
        tree.cut[to] = (edges.partition_point(|&edge| edge <= arrays.threshold[from]).max(1) - 1) as u32;
        for (child, place) in [(arrays.right[from], right), (arrays.left[from], left)] {
            let inside = usize::try_from(child).ok().filter(|&child| child < arrays.feature.len());
            let Some(child) = inside else {
                return Err(ImportanceError::Tree("a child is no node"));
            };
            open.push((child, place));
        }
    }
    Ok((tree, sum / leaves))
}
