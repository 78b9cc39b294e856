//! Permutation importance: how much worse trees predict trials they did not draw when the values of
//! one parameter are shuffled among them.

use rayon::prelude::*;

use super::encode::Encoded;
use super::error::ImportanceError;
use super::forest::{Forest, LEAF, Tree, draw_counts};
use super::interval::Estimate;
use super::table::{Assessment, ParameterTable};
use super::trials::check_level;
use crate::rng::{Stream, Tag};

/// What to shuffle. The defaults are those of [`PermutationImportanceRequest::default`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PermutationImportanceRequest {
    /// Most trials a tree is asked about; of more, a random part is taken.
    pub trials_per_tree: u32,
    /// Confidence level of the two-sided intervals, strictly between 0 and 1.
    pub level: f64,
}

impl Default for PermutationImportanceRequest {
    /// At most 16,384 trials a tree, level 0.95.
    fn default() -> Self {
        Self { trials_per_tree: 16_384, level: 0.95 }
    }
}

/// The mean increase of the squared error of trees on trials they did not draw when one parameter
/// is shuffled, as a share of the objective's variance (Breiman 2001). Interactions count for all
/// of their parameters, so that importances need not sum to anything; an irrelevant parameter is
/// near 0 on either side. A conditional parameter is shuffled among the trials where it is active.
///
/// # Errors
/// [`ImportanceError::Setting`] for a level or a number of trials.
pub fn permutation_importance(
    forest: &Forest,
    request: &PermutationImportanceRequest,
) -> Result<ParameterTable, ImportanceError> {
    check_level(request.level)?;
    if request.trials_per_tree < 2 {
        let value = f64::from(request.trials_per_tree);
        return Err(ImportanceError::Setting { name: "trials_per_tree", expected: "at least 2", value });
    }
    let encoded = &forest.encoded;
    let of_centre = |&target: &u32| (f64::from(target) - forest.centre).powi(2);
    let variance = encoded.target.iter().map(of_centre).sum::<f64>() / encoded.trials() as f64;
    let of_trees: Vec<Vec<f64>> = forest
        .trees
        .par_iter()
        .enumerate()
        .map(|(number, tree)| increases(forest, tree, number as u32, request.trials_per_tree))
        .collect();
    let mut table = ParameterTable::default();
    for (parameter, axis) in encoded.axes.iter().enumerate() {
        let shares = of_trees.iter().filter_map(|increases| increases.get(parameter).copied());
        let shares: Vec<f64> =
            shares.filter(|increase| !increase.is_nan()).map(|increase| increase / variance).collect();
        let (estimate, assessment) = if shares.is_empty() {
            let assessment = match Assessment::of(axis) {
                Assessment::AllTrials | Assessment::WhereActive => Assessment::NoVariance,
                other => other,
            };
            (Estimate::ABSENT, assessment)
        } else {
            let unbounded = (f64::NEG_INFINITY, f64::INFINITY);
            (Estimate::of_trees(&shares, request.level, unbounded), Assessment::of(axis))
        };
        table.push(estimate, axis.active(), assessment);
    }
    Ok(table)
}

/// The increase of the mean squared error of one tree for each parameter; NaN where fewer than two
/// of its trials have a value. Empty when the tree drew all trials.
fn increases(forest: &Forest, tree: &Tree, number: u32, most: u32) -> Vec<f64> {
    let encoded = &forest.encoded;
    let drawn = draw_counts(forest.seed, number, encoded.trials());
    let mut rows: Vec<u32> =
        (0u32..).zip(&drawn).filter(|&(_, &count)| count == 0).map(|(row, _)| row).collect();
    if rows.len() > most as usize {
        let stream = Stream { seed: forest.seed, stream: 0, tag: Tag::Subset, sub: 0 };
        rows =
            stream.subset(rows.len() as u32, most, number).into_iter().map(|at| rows[at as usize]).collect();
    }
    if rows.is_empty() {
        return Vec::new();
    }
    let words = encoded.axes.len().div_ceil(64);
    let mut on_path = vec![0u64; rows.len() * words];
    let error = |row: u32, prediction: f64| {
        (f64::from(encoded.target[row as usize]) - forest.centre - prediction).powi(2)
    };
    let errors: Vec<f64> = rows
        .iter()
        .zip(on_path.chunks_mut(words))
        .map(|(&row, on_path)| {
            let prediction = predict(tree, encoded, |parameter| {
                on_path[parameter / 64] |= 1 << (parameter % 64);
                encoded.columns[parameter][row as usize]
            });
            error(row, prediction)
        })
        .collect();
    let increase = |parameter: usize| {
        let column = &encoded.columns[parameter];
        let active: Vec<usize> = (0..rows.len()).filter(|&at| column[rows[at] as usize] != 0).collect();
        if active.len() < 2 {
            return f64::NAN;
        }
        // Numbers of parameters are below 2^16, those of streams too.
        let stream = Stream { seed: forest.seed, stream: 0, tag: Tag::Shuffle, sub: parameter as u32 };
        let order = stream.shuffle(active.len() as u32, number);
        let mut sum = 0.0;
        for (&at, from) in active.iter().zip(order) {
            if on_path[at * words + parameter / 64] >> (parameter % 64) & 1 == 0 {
                continue;
            }
            let shuffled = column[rows[active[from as usize]] as usize];
            let row = rows[at];
            if shuffled == column[row as usize] {
                continue;
            }
            let prediction = predict(tree, encoded, |other| {
                if other == parameter { shuffled } else { encoded.columns[other][row as usize] }
            });
            sum += error(row, prediction) - errors[at];
        }
        sum / active.len() as f64
    };
    (0..encoded.axes.len()).map(increase).collect()
}

/// The value of the leaf that codes lead to.
fn predict(tree: &Tree, encoded: &Encoded, mut code: impl FnMut(usize) -> u8) -> f64 {
    let mut node = 0;
    while tree.parameter[node] != LEAF {
        let parameter = usize::from(tree.parameter[node]);
        let (cut, code) = (tree.cut[node], code(parameter));
        let goes_left = if encoded.axes[parameter].is_categorical() {
            tree.sets[cut as usize].contains(code)
        } else {
            u32::from(code) <= cut
        };
        node = tree.left[node] as usize + usize::from(!goes_left);
    }
    tree.value[node]
}
