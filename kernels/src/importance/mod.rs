//! Hyperparameter importance: which parameters of an experiment's trials matter.
//!
//! - [`functional_anova`]: the share of the variance over the search space that each parameter
//!   explains alone and each pair together, by a random forest and exact integrals. The default.
//! - [`ped_anova`]: what separates the best trials from the others. Another question.
//! - [`permutation_importance`] and [`impurity_decrease`], from the same forest.
//! - [`pool`]: one parameter over several experiments.
//! - [`tree_variance`]: the exact integrals for a tree of another package.
//!
//! The forest is fitted by a [`Backend`](crate::Backend); all else runs on the caller's threads.
//! Answers depend on trials, settings and seed alone, not on the order of trials or on threads.
//! Every importance has a standard error and an interval over resampled trials.
//!
//! # Where things are
//! `trials` (input and checks), `encode` (codes, bins, measures), `forest` (request and trees),
//! `boxes` (integrals), `parzen` (densities), `interval`, and one module for each method.

mod boxes;
mod encode;
mod error;
mod explicit;
mod fanova;
mod forest;
mod impurity;
mod interval;
mod parzen;
mod ped_anova;
mod permutation;
mod pooled;
mod table;
mod trials;

pub use encode::Measure;
pub(crate) use encode::{CODES, Encoded};
pub use error::ImportanceError;
pub use explicit::{TreeArrays, TreeVariance, tree_variance};
pub use fanova::{FanovaRequest, FunctionalAnova, PairTable, Pairs, functional_anova};
pub(crate) use forest::{CodeSet, Tree, draw_counts};
pub use forest::{Forest, ForestRequest, MAX_DEPTH, MAX_TREES, Warning};
pub use impurity::impurity_decrease;
pub use ped_anova::{Baseline, PedAnova, PedAnovaRequest, ped_anova};
pub use permutation::{PermutationImportanceRequest, permutation_importance};
pub use pooled::{PoolRequest, Pooled, pool};
pub use table::{Assessment, ParameterTable};
pub use trials::{
    Direction, MAX_LEVELS, MAX_PARAMETERS, MAX_TRIALS, MISSING, NumericSpace, Parameter, Scale, Trials,
};
