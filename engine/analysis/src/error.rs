//! The errors of this crate and their stable codes.

/// Why a statistic or a verdict could not be computed.
///
/// [`AnalysisError::code`] is the identifier that the command line, SQL and JSON all show;
/// codes never change their meaning.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AnalysisError {
    /// A sample holds no value at all.
    #[error("{sample} is empty: log at least one finite value, or widen the filter that selects it")]
    EmptySample {
        /// Which sample, in words.
        sample: String,
    },
    /// A sample is too small for the method.
    #[error("{sample}: {have} given, at least {need} needed; add runs with other seeds")]
    TooFewRuns {
        /// Which sample, in words.
        sample: String,
        /// Finite values present.
        have: usize,
        /// Finite values the method needs.
        need: usize,
    },
    /// A test was asked for on a sample that holds NaN or an infinity.
    #[error(
        "{sample} holds NaN or infinite values ({count}): these runs failed; drop them by name or use the gate, which counts them"
    )]
    NonfiniteValue {
        /// Which sample, in words.
        sample: String,
        /// How many values are not finite.
        count: usize,
    },
    /// All values of every sample are equal, so that there is no spread to test against.
    #[error(
        "all values are identical (difference {difference}): is the seed applied, or was one run logged several times?"
    )]
    ZeroVariance {
        /// The exact difference of the means (or the mean of the differences).
        difference: f64,
    },
    /// All values of one sample lie above all of the other, so that nothing tells how far apart they are.
    #[error("the samples do not overlap: an effect of this kind has no interval here")]
    DegenerateSeparation,
    /// Pairs were asked for but the two samples do not pair up.
    #[error("the runs do not pair up: {detail}")]
    PairingMismatch {
        /// What does not match.
        detail: String,
    },
    /// A probability lies outside [0, 1].
    #[error("{name} = {value} is not a probability between 0 and 1")]
    ProbabilityOutOfRange {
        /// Name of the argument.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// A significance level or smoothing factor lies outside its range.
    #[error("{name} = {value} is out of range: {expected}")]
    AlphaOutOfRange {
        /// Name of the argument.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The allowed range, in words.
        expected: &'static str,
    },
    /// A required sample size was asked for an effect of zero.
    #[error("an effect of 0 can never be detected: give the smallest effect worth having")]
    EffectIsZero,
    /// A gate was asked for "not worse" or "equivalent" without saying by how much.
    #[error("mode {mode} needs a margin above 0: say which loss would still be acceptable")]
    MarginRequired {
        /// The mode.
        mode: &'static str,
    },
    /// A margin is below zero or not a number.
    #[error("margin {value} must not be negative: give its size, the direction is known from the metric")]
    MarginNegative {
        /// The margin.
        value: f64,
    },
    /// A relative margin has no size because the baseline mean is zero within its own error.
    #[error(
        "a relative margin is undefined: the baseline mean {mean} is 0 within its standard error {standard_error}; give an absolute margin"
    )]
    RelativeMarginUndefined {
        /// Mean of the baseline.
        mean: f64,
        /// Its standard error.
        standard_error: f64,
    },
    /// Every baseline run failed.
    #[error("no baseline run has a finite final metric (runs: {runs}): nothing to compare with")]
    NoFiniteBaseline {
        /// Baseline runs given.
        runs: usize,
    },
    /// One run appears in both arms.
    #[error("run {run} is both a baseline and a candidate: choose filters that do not overlap")]
    RunInBothArms {
        /// The run.
        run: String,
    },
    /// A row or a column of a table of counts is empty.
    #[error("a row or a column of the table is empty: there is nothing to compare it with")]
    ZeroMargin,
    /// A count is below zero.
    #[error("{count} is not a count: counts are 0 or more")]
    NegativeCount {
        /// The value given.
        count: i64,
    },
    /// A curve has too few points for the method.
    #[error("{have} points given, at least {need} needed: take a longer part of the curve")]
    TooFewPoints {
        /// Points given.
        have: usize,
        /// Points needed.
        need: usize,
    },
    /// A gate policy cannot be used as it stands.
    #[error("the gate policy is not valid: {detail}")]
    PolicyInvalid {
        /// What is wrong with it, and where.
        detail: String,
    },
    /// An argument has a value that makes no sense.
    #[error("{name} = {value} is not allowed: {expected}")]
    InvalidArgument {
        /// Name of the argument.
        name: &'static str,
        /// Its value, as text.
        value: String,
        /// What is allowed, in words.
        expected: &'static str,
    },
    /// The kernels refused or failed.
    #[error(transparent)]
    Kernel(#[from] kernels::KernelError),
}

impl AnalysisError {
    /// The stable identifier of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::EmptySample { .. } => "empty_sample",
            Self::TooFewRuns { .. } => "too_few_runs",
            Self::NonfiniteValue { .. } => "nonfinite_value",
            Self::ZeroVariance { .. } => "zero_variance",
            Self::DegenerateSeparation => "degenerate_separation",
            Self::PairingMismatch { .. } => "pairing_mismatch",
            Self::ProbabilityOutOfRange { .. } => "probability_out_of_range",
            Self::AlphaOutOfRange { .. } => "alpha_out_of_range",
            Self::EffectIsZero => "effect_is_zero",
            Self::MarginRequired { .. } => "margin_required",
            Self::MarginNegative { .. } => "margin_negative",
            Self::RelativeMarginUndefined { .. } => "relative_margin_undefined",
            Self::NoFiniteBaseline { .. } => "no_finite_baseline",
            Self::RunInBothArms { .. } => "run_in_both_arms",
            Self::ZeroMargin => "zero_margin",
            Self::NegativeCount { .. } => "negative_count",
            Self::TooFewPoints { .. } => "too_few_points",
            Self::PolicyInvalid { .. } => "policy_invalid",
            Self::InvalidArgument { .. } => "invalid_argument",
            Self::Kernel(error) => error.code(),
        }
    }

    /// Whether the mistake lies in the data (nothing to judge) rather than in how the question was asked.
    pub fn is_data_error(&self) -> bool {
        matches!(
            self,
            Self::EmptySample { .. }
                | Self::TooFewRuns { .. }
                | Self::NonfiniteValue { .. }
                | Self::ZeroVariance { .. }
                | Self::DegenerateSeparation
                | Self::PairingMismatch { .. }
                | Self::RelativeMarginUndefined { .. }
                | Self::NoFiniteBaseline { .. }
                | Self::ZeroMargin
                | Self::TooFewPoints { .. }
        )
    }
}

/// Results of this crate.
pub type Result<T> = std::result::Result<T, AnalysisError>;
