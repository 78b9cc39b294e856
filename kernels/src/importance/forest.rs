//! Regression forests on encoded trials: the request, the trees, and what follows from them alone.

use super::encode::Encoded;
use super::error::ImportanceError;
use super::trials::{Checked, Trials};
use crate::request::Provenance;
use crate::rng::{Stream, Tag};

/// The parameter of a node that is a leaf.
pub(crate) const LEAF: u16 = u16::MAX;
/// The largest number of trees.
pub const MAX_TREES: u32 = 1 << 16;
/// The greatest depth of a tree.
pub const MAX_DEPTH: u32 = 1 << 10;

/// A forest to fit. The defaults are those of [`ForestRequest::new`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ForestRequest<'a> {
    /// The trials.
    pub trials: Trials<'a>,
    /// Number of trees.
    pub trees: u32,
    /// Greatest depth of a tree.
    pub max_depth: u32,
    /// Fewest drawn trials in a leaf.
    pub min_leaf: u32,
    /// Seed of the generator.
    pub seed: u64,
}

impl<'a> ForestRequest<'a> {
    /// 64 trees of depth at most 64 with at least one trial in a leaf, seed 0.
    pub fn new(trials: Trials<'a>) -> Self {
        Self { trials, trees: 64, max_depth: 64, min_leaf: 1, seed: 0 }
    }

    /// The same request with another number of trees.
    pub fn trees(self, trees: u32) -> Self {
        Self { trees, ..self }
    }

    /// The same request with another seed.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Checks the settings.
    pub(crate) fn check(&self) -> Result<(), ImportanceError> {
        let setting =
            |name, expected, value: u32| ImportanceError::Setting { name, expected, value: value.into() };
        if self.trees == 0 || self.trees > MAX_TREES {
            return Err(setting("trees", "between 1 and 65536", self.trees));
        }
        if self.max_depth == 0 || self.max_depth > MAX_DEPTH {
            return Err(setting("max_depth", "between 1 and 1024", self.max_depth));
        }
        if self.min_leaf == 0 {
            return Err(setting("min_leaf", "at least 1", self.min_leaf));
        }
        Ok(())
    }

    /// Checks the request and encodes its trials.
    pub(crate) fn prepare(&self) -> Result<Encoded, ImportanceError> {
        self.check()?;
        let checked = Checked::new(&self.trials)?;
        let trials = checked.objective.len();
        let first = checked.objective[0];
        if checked.objective.iter().all(|&value| value == first) {
            return Err(ImportanceError::ZeroVariance { trials, value: first });
        }
        Ok(Encoded::new(&checked))
    }
}

/// The stream of which resample `tree` draws the trials of a tree.
pub(crate) fn draws(seed: u64) -> Stream {
    Stream { seed, stream: 0, tag: Tag::ForestBootstrap, sub: 0 }
}

/// The largest number of times that a trial counts in one tree.
const COUNT_MAX: u16 = (1 << 15) - 1;

/// How often a tree draws each trial.
pub(crate) fn draw_counts(seed: u64, tree: u32, trials: usize) -> Vec<u16> {
    let mut counts = vec![0u16; trials];
    for index in draws(seed).indices(trials as u32, tree).take(trials) {
        // No trial is drawn so often in practice; if one were, the sums of bins must still hold it.
        let count = &mut counts[index as usize];
        *count += u16::from(*count < COUNT_MAX);
    }
    counts
}

/// A set of codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CodeSet([u64; 4]);

impl CodeSet {
    pub(crate) fn insert(&mut self, code: u8) {
        self.0[usize::from(code >> 6)] |= 1 << (code & 63);
    }

    pub(crate) fn contains(&self, code: u8) -> bool {
        self.0[usize::from(code >> 6)] >> (code & 63) & 1 == 1
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & !other.0[word]))
    }

    /// All codes below a number.
    pub(crate) fn below(codes: usize) -> Self {
        let mut all = Self::default();
        (0..codes).for_each(|code| all.insert(code as u8));
        all
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        (0..256usize).filter(move |&code| self.contains(code as u8))
    }
}

/// One tree: a struct of arrays over its nodes, the root first. The right child follows the left.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tree {
    /// The parameter that a node splits, or [`LEAF`].
    pub(crate) parameter: Vec<u16>,
    /// Ordered parameter: the highest code that goes left. Categorical: the number of its set.
    pub(crate) cut: Vec<u32>,
    /// The left child; 0 in a leaf.
    pub(crate) left: Vec<u32>,
    /// Mean of the target in a leaf, minus the mean of all trials; 0 elsewhere.
    pub(crate) value: Vec<f64>,
    /// Codes that go left at the nodes that split a categorical parameter.
    pub(crate) sets: Vec<CodeSet>,
    /// Sum of squared deviations that the splits of each parameter removed.
    pub(crate) decrease: Vec<f64>,
    /// Trials times parameters that were looked at, over all nodes.
    pub(crate) additions: u64,
}

impl Tree {
    /// Adds a leaf without a value and returns its number.
    pub(crate) fn push(&mut self) -> u32 {
        let node = self.parameter.len() as u32;
        self.parameter.push(LEAF);
        self.cut.push(0);
        self.left.push(0);
        self.value.push(0.0);
        node
    }

    pub(crate) fn leaves(&self) -> usize {
        self.parameter.len().div_ceil(2)
    }
}

/// A fitted forest with the trials it was fitted on. Importances are made from it by
/// [`functional_anova`](super::functional_anova), [`impurity_decrease`](super::impurity_decrease)
/// and [`permutation_importance`](super::permutation_importance).
#[derive(Debug, Clone)]
pub struct Forest {
    pub(crate) encoded: Encoded,
    pub(crate) trees: Vec<Tree>,
    pub(crate) seed: u64,
    pub(crate) centre: f64,
    pub(crate) out_of_bag_r2: f64,
    pub(crate) provenance: Provenance,
}

impl Forest {
    /// Trials that were used.
    pub fn trials(&self) -> usize {
        self.encoded.trials()
    }

    /// Trials left out because their objective is not finite.
    pub fn failed(&self) -> usize {
        self.encoded.failed
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        self.encoded.axes.len()
    }

    /// Number of trees.
    pub fn trees(&self) -> usize {
        self.trees.len()
    }

    /// Leaves of all trees.
    pub fn leaves(&self) -> usize {
        self.trees.iter().map(Tree::leaves).sum()
    }

    /// Additions of a trial to a bin of a parameter that fitting took, over all nodes of all trees:
    /// the work that no fit of the same trees can do without.
    pub fn additions(&self) -> u64 {
        self.trees.iter().map(|tree| tree.additions).sum()
    }

    /// Share of the objective's variance that trees explain of trials they did not draw. NaN when
    /// every trial was drawn by every tree; negative when the mean would predict better.
    pub fn out_of_bag_r2(&self) -> f64 {
        self.out_of_bag_r2
    }

    /// Where the forest was fitted.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// Remarks that concern every importance made from this forest.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let (trials, parameters) = (self.trials(), self.parameters());
        if trials < TRIALS_PER_PARAMETER * parameters {
            warnings.push(Warning::FewTrials { trials, advised: TRIALS_PER_PARAMETER * parameters });
        }
        if self.out_of_bag_r2.is_nan() || self.out_of_bag_r2 < R2_MIN {
            warnings.push(Warning::PoorFit { out_of_bag_r2: self.out_of_bag_r2 });
        }
        warnings.extend(data_warnings(&self.encoded));
        warnings
    }
}

/// Remarks on the encoded trials, whatever is made of them.
fn data_warnings(encoded: &Encoded) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if encoded.failed > 0 {
        let trials = encoded.failed + encoded.trials();
        warnings.push(Warning::FailedTrials { failed: encoded.failed, trials });
    }
    if encoded.is_squeezed {
        warnings.push(Warning::Outliers);
    }
    let merged = encoded.axes.iter().enumerate().filter(|(_, axis)| axis.merged_levels > 0);
    warnings.extend(merged.map(|(parameter, axis)| Warning::MergedLevels {
        parameter,
        levels: axis.merged_levels,
        trials: axis.merged_trials,
    }));
    warnings
}

/// Trials that are advised for each parameter.
pub(crate) const TRIALS_PER_PARAMETER: usize = 10;
/// The share of explained variance below which importances tell little.
const R2_MIN: f64 = 0.5;

/// A remark on the answer as a whole.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Warning {
    /// Fewer than 10 trials for each parameter.
    FewTrials {
        /// Trials used.
        trials: usize,
        /// Trials advised.
        advised: usize,
    },
    /// The forest explains less than half of the variance of trials it did not see: importances
    /// then share out noise.
    PoorFit {
        /// See [`Forest::out_of_bag_r2`].
        out_of_bag_r2: f64,
    },
    /// Trials without a finite objective were left out.
    FailedTrials {
        /// Trials left out.
        failed: usize,
        /// All trials.
        trials: usize,
    },
    /// Half of the trials differ by less than a millionth of the objective's range: one or a few
    /// extreme trials decide everything. Take the logarithm of the objective or drop them.
    Outliers,
    /// A categorical parameter has more than 255 levels; the rare ones count as one, and what
    /// differs among them is not seen.
    MergedLevels {
        /// The parameter.
        parameter: usize,
        /// Levels that were merged.
        levels: u32,
        /// Trials with one of them.
        trials: u32,
    },
    /// Fewer than 5 trials are in the top quantile.
    FewTopTrials {
        /// Trials in it.
        trials: usize,
    },
    /// The top quantile holds all trials of the region; importances are all 0.
    TopIsRegion,
}

impl Warning {
    /// A stable identifier, the same in the command line, SQL and JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Self::FewTrials { .. } => "few_trials",
            Self::PoorFit { .. } => "poor_fit",
            Self::FailedTrials { .. } => "failed_trials",
            Self::Outliers => "objective_outliers",
            Self::MergedLevels { .. } => "merged_levels",
            Self::FewTopTrials { .. } => "few_top_trials",
            Self::TopIsRegion => "top_is_region",
        }
    }
}

impl std::fmt::Display for Warning {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::FewTrials { trials, advised } => {
                write!(formatter, "only {trials} trials; at least {advised} are advised")
            }
            Self::PoorFit { out_of_bag_r2 } => write!(
                formatter,
                "the forest explains {:.0} % of the variance of unseen trials; importances share out noise",
                100.0 * out_of_bag_r2
            ),
            Self::FailedTrials { failed, trials } => {
                write!(formatter, "{failed} of {trials} trials have no finite objective and are left out")
            }
            Self::Outliers => write!(
                formatter,
                "a few extreme trials stretch the objective; take its logarithm or drop them"
            ),
            Self::MergedLevels { parameter, levels, trials } => write!(
                formatter,
                "{levels} rare levels of parameter {parameter} ({trials} trials) count as one level"
            ),
            Self::FewTopTrials { trials } => {
                write!(formatter, "only {trials} trials are in the top quantile; at least 5 are advised")
            }
            Self::TopIsRegion => {
                write!(
                    formatter,
                    "the top quantile holds all trials of the region, so that all importances are 0"
                )
            }
        }
    }
}
