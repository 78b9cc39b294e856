//! Mean decrease of impurity: how much of the squared deviation the splits of each parameter remove.

use super::error::ImportanceError;
use super::forest::Forest;
use super::interval::Estimate;
use super::table::{Assessment, ParameterTable};
use super::trials::check_level;

/// The share of each parameter in what the splits of the trees explain (Breiman et al. 1984;
/// Breiman 2001), with an interval at `level`. Shares sum to 1. Biased towards continuous and
/// noisy parameters, since every split of noise counts: not a default.
///
/// # Errors
/// [`ImportanceError::Setting`] when the level is not strictly between 0 and 1.
pub fn impurity_decrease(forest: &Forest, level: f64) -> Result<ParameterTable, ImportanceError> {
    check_level(level)?;
    let shares = shares(forest);
    let mut table = ParameterTable::default();
    for (parameter, axis) in forest.encoded.axes.iter().enumerate() {
        let of_trees: Vec<f64> = shares.iter().map(|shares| shares[parameter]).collect();
        let assessment = Assessment::of(axis);
        let estimate = if of_trees.is_empty() {
            Estimate::ABSENT
        } else {
            Estimate::of_trees(&of_trees, level, (0.0, 1.0))
        };
        table.push(estimate, axis.active(), assessment);
    }
    Ok(table)
}

/// The shares of each tree that split anything.
pub(crate) fn shares(forest: &Forest) -> Vec<Vec<f64>> {
    let of_tree = |decrease: &Vec<f64>| {
        let total: f64 = decrease.iter().sum();
        (total > 0.0).then(|| decrease.iter().map(|part| part / total).collect())
    };
    forest.trees.iter().filter_map(|tree| of_tree(&tree.decrease)).collect()
}
