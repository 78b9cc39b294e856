//! What can be wrong with a request for clusters, neighbours or curves.

use thiserror::Error;

/// Why a request for clusters, neighbours or curves cannot be answered.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum InvalidClustering {
    /// The number of values is not a multiple of the number of columns, or there are no columns.
    #[error(
        "{values} feature values do not form whole rows of {columns} columns; give rows * columns values, with at least one column"
    )]
    FeatureShape {
        /// Values given.
        values: usize,
        /// Columns given.
        columns: usize,
    },
    /// There are more rows than row numbers of 32 bits can name.
    #[error("{rows} rows are too many: at most {max} can be clustered at once; sample the rows first")]
    TooManyRows {
        /// Rows given.
        rows: usize,
        /// The largest number accepted.
        max: usize,
    },
    /// A feature is NaN or infinite.
    #[error(
        "feature {value} in row {row}, column {column} is not finite ({count} such rows in all); drop or impute these rows first"
    )]
    NonFiniteFeature {
        /// The first row with such a value.
        row: usize,
        /// Its first column with such a value.
        column: usize,
        /// The value.
        value: f64,
        /// How many rows hold one.
        count: usize,
        /// The first of these rows, at most [`InvalidClustering::ROWS_NAMED`].
        rows: Vec<u32>,
    },
    /// More clusters, medoids or neighbours are asked for than there are rows to be them.
    #[error("{name} = {k} exceeds the {n} rows there are; ask for fewer or add rows")]
    KExceedsN {
        /// The parameter, for example `k` or `min_samples`.
        name: &'static str,
        /// What was asked for.
        k: usize,
        /// The largest that can be had.
        n: usize,
    },
    /// A parameter lies outside of its range.
    #[error("{name} must be {expected}, got {got}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// Its range in words.
        expected: &'static str,
        /// What was asked for.
        got: f64,
    },
    /// Two inputs that belong together differ in length.
    #[error("{name} has {got} elements, expected {expected}")]
    Length {
        /// The input.
        name: &'static str,
        /// Its length.
        got: usize,
        /// The length it must have.
        expected: usize,
    },
    /// A label is outside of the range that the call accepts.
    #[error("labels must name between {min} and {max} clusters, they name {got}")]
    LabelCount {
        /// Clusters named.
        got: usize,
        /// Fewest accepted.
        min: usize,
        /// Most accepted.
        max: usize,
    },
    /// A curve has no usable point.
    #[error("curve {curve} has no finite point; drop it, or count it as diverged")]
    EmptyCurve {
        /// The curve.
        curve: usize,
    },
    /// The steps of a curve fall or are not finite.
    #[error(
        "step {step} at position {position} of curve {curve} does not follow the one before; sort the curve by step"
    )]
    StepOrder {
        /// The curve.
        curve: usize,
        /// Position inside the curve.
        position: usize,
        /// The step found there.
        step: f64,
    },
    /// A distance is NaN, infinite or negative, or the matrix is not symmetric with a zero diagonal.
    #[error(
        "distance {value} between {row} and {column} is not part of a symmetric matrix of finite distances"
    )]
    BadDistance {
        /// Row of the matrix.
        row: usize,
        /// Column of the matrix.
        column: usize,
        /// The distance found there.
        value: f64,
    },
    /// The numerical parameter of a run is not usable on a log scale.
    #[error(
        "value {value} of parameter {parameter} in row {row} is not positive, as a log scale needs it; use a linear scale"
    )]
    LogOfNonPositive {
        /// The parameter.
        parameter: String,
        /// The row.
        row: usize,
        /// The value.
        value: f64,
    },
}

impl InvalidClustering {
    /// How many rows [`InvalidClustering::NonFiniteFeature`] names.
    pub const ROWS_NAMED: usize = 16;

    /// A stable identifier, the same in the command line, SQL and JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Self::FeatureShape { .. } | Self::Length { .. } => "bad_shape",
            Self::TooManyRows { .. } => "too_many_rows",
            Self::NonFiniteFeature { .. } => "nonfinite_feature",
            Self::KExceedsN { .. } => "k_exceeds_n",
            Self::Parameter { .. } => "parameter_out_of_range",
            Self::LabelCount { .. } => "bad_labels",
            Self::EmptyCurve { .. } => "empty_curve",
            Self::StepOrder { .. } => "bad_steps",
            Self::BadDistance { .. } => "bad_distance",
            Self::LogOfNonPositive { .. } => "log_of_nonpositive",
        }
    }
}
