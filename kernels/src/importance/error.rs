//! What can be wrong with a request for importances.

use thiserror::Error;

/// Why importances cannot be computed. Parameters and rows are counted from 0, as in the request.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ImportanceError {
    /// A column is longer or shorter than the objective.
    #[error("parameter {parameter} has {values} values, but the objective has {objective}")]
    ColumnLength {
        /// The parameter.
        parameter: usize,
        /// Its number of values.
        values: usize,
        /// The number of values of the objective.
        objective: usize,
    },
    /// No parameter at all.
    #[error("no parameter is given; importances need at least one")]
    NoParameters,
    /// More parameters than a node of a tree can name.
    #[error("{0} parameters are given; at most {max} can be assessed together", max = super::MAX_PARAMETERS)]
    TooManyParameters(usize),
    /// More trials than a row number can name.
    #[error("{0} trials are given; at most {max} can be assessed together", max = super::MAX_TRIALS)]
    TooManyTrials(usize),
    /// Fewer than two trials have a finite objective.
    #[error(
        "only {usable} of {trials} trials have a finite objective; importances need at least 2, and mean something from about 10 a parameter"
    )]
    TooFewTrials {
        /// Trials with a finite objective.
        usable: usize,
        /// All trials.
        trials: usize,
    },
    /// All finite values of the objective are equal.
    #[error("all {trials} finite values of the objective equal {value}; there is no variance to explain")]
    ZeroVariance {
        /// Trials with a finite objective.
        trials: usize,
        /// Their common value.
        value: f64,
    },
    /// A number of a parameter is infinite.
    #[error(
        "parameter {parameter} is infinite at row {row}; use NaN where it has no value, or make it categorical"
    )]
    InfiniteParameter {
        /// The parameter.
        parameter: usize,
        /// The row.
        row: usize,
    },
    /// A logarithmic parameter has a value that is not positive.
    #[error(
        "parameter {parameter} is {value} at row {row}, but its scale is logarithmic; use a linear scale"
    )]
    NotPositive {
        /// The parameter.
        parameter: usize,
        /// The row.
        row: usize,
        /// The value.
        value: f64,
    },
    /// A code is not below the number of levels.
    #[error("parameter {parameter} has code {code} at row {row}, but only {levels} levels")]
    Code {
        /// The parameter.
        parameter: usize,
        /// The row.
        row: usize,
        /// The code found.
        code: u32,
        /// The number of levels.
        levels: u32,
    },
    /// A categorical parameter declares more levels than are accepted.
    #[error("parameter {parameter} declares {levels} levels; at most {max} are accepted", max = super::MAX_LEVELS)]
    Levels {
        /// The parameter.
        parameter: usize,
        /// The number of levels.
        levels: u32,
    },
    /// The range of a parameter is empty, not finite, or not positive on a logarithmic scale.
    #[error("the range of parameter {parameter} is {low} to {high}, which its scale cannot have")]
    Range {
        /// The parameter.
        parameter: usize,
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// The step of a parameter is not a positive number.
    #[error("the step of parameter {parameter} is {step}; it must be positive and finite")]
    Step {
        /// The parameter.
        parameter: usize,
        /// The step.
        step: f64,
    },
    /// A value lies outside of the range of its parameter.
    #[error("parameter {parameter} is {value} at row {row}, outside of its range {low} to {high}")]
    OutOfRange {
        /// The parameter.
        parameter: usize,
        /// The row.
        row: usize,
        /// The value.
        value: f64,
        /// Lower end of the range.
        low: f64,
        /// Upper end of the range.
        high: f64,
    },
    /// A number of the request is outside of what it may be.
    #[error("{name} must be {expected}, got {value}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        value: f64,
    },
    /// A pair names a parameter that there is not, or the same parameter twice.
    #[error("pair ({first}, {second}) does not name two of the {parameters} parameters")]
    Pair {
        /// First parameter of the pair.
        first: usize,
        /// Second parameter of the pair.
        second: usize,
        /// How many parameters there are.
        parameters: usize,
    },
    /// Arrays that should describe a tree do not.
    #[error("the arrays describe no tree: {0}")]
    Tree(&'static str),
    /// Effects, standard errors and offsets of a pooling do not fit together.
    #[error("pooling: {0}")]
    Pooling(&'static str),
}

impl ImportanceError {
    /// A stable identifier, the same in the command line, SQL and JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ColumnLength { .. } => "column_length",
            Self::NoParameters => "no_parameters",
            Self::TooManyParameters(_) => "too_many_parameters",
            Self::TooManyTrials(_) => "too_many_trials",
            Self::TooFewTrials { .. } => "too_few_trials",
            Self::ZeroVariance { .. } => "zero_variance",
            Self::InfiniteParameter { .. } => "infinite_parameter",
            Self::NotPositive { .. } => "log_of_nonpositive",
            Self::Code { .. } => "code_out_of_range",
            Self::Levels { .. } => "too_many_levels",
            Self::Range { .. } => "bad_range",
            Self::Step { .. } => "bad_step",
            Self::OutOfRange { .. } => "value_out_of_range",
            Self::Setting { .. } => "setting_out_of_range",
            Self::Pair { .. } => "bad_pair",
            Self::Tree(_) => "bad_tree",
            Self::Pooling(_) => "bad_pooling",
        }
    }
}
