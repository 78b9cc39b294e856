//! Tables of trials: what each parameter is, and the checks that every method shares.

use std::borrow::Cow;

use rayon::prelude::*;

use super::error::ImportanceError;

/// The code of a categorical parameter that has no value in a trial.
pub const MISSING: u32 = u32::MAX;
/// The largest number of parameters of one request.
pub const MAX_PARAMETERS: usize = 65_534;
/// The largest number of trials of one request.
pub const MAX_TRIALS: usize = 1 << 31;
/// The largest number of levels that a categorical parameter may declare.
pub const MAX_LEVELS: u32 = 1 << 24;

/// Whether small or large values of the objective are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Small is good, as for a loss.
    #[default]
    Minimize,
    /// Large is good, as for an accuracy.
    Maximize,
}

/// The scale on which a numeric parameter was searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// Differences count.
    #[default]
    Linear,
    /// Ratios count; all values are positive.
    Log,
}

impl Scale {
    /// A guess for parameters whose search space is not recorded: logarithmic when all values are
    /// positive, the largest is at least 100 times the smallest, and at least half of the distinct
    /// values lie in the lowest tenth of the range. NaN is passed over.
    ///
    /// ```
    /// use kernels::importance::Scale;
    /// assert_eq!(Scale::guess(&[1e-4, 3e-4, 1e-3, 0.1]), Scale::Log);
    /// assert_eq!(Scale::guess(&[1.0, 40.0, 90.0, 200.0]), Scale::Linear);
    /// ```
    pub fn guess(values: &[f64]) -> Self {
        let mut distinct: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
        distinct.sort_unstable_by(f64::total_cmp);
        distinct.dedup();
        let (Some(&low), Some(&high)) = (distinct.first(), distinct.last()) else { return Self::Linear };
        if low <= 0.0 || !high.is_finite() || high < 100.0 * low {
            return Self::Linear;
        }
        let tenth = low + (high - low) / 10.0;
        let in_lowest = distinct.partition_point(|&value| value <= tenth);
        if 2 * in_lowest >= distinct.len() { Self::Log } else { Self::Linear }
    }

    /// The coordinate in which the scale is linear.
    pub(crate) fn coordinate(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Log => libm::log(value),
        }
    }

    /// The value at a coordinate.
    pub(crate) fn value(self, coordinate: f64) -> f64 {
        match self {
            Self::Linear => coordinate,
            Self::Log => libm::exp(coordinate),
        }
    }
}

/// What was searched of a numeric parameter.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct NumericSpace {
    /// The scale of the search.
    pub scale: Scale,
    /// Lowest and highest value that could be chosen; `None` takes those that occur.
    pub range: Option<(f64, f64)>,
    /// The distance of neighbouring values of a stepped parameter, 1 for integers, `None` for a
    /// continuous one.
    pub step: Option<f64>,
}

/// The values of one parameter, one for each trial, and what they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Parameter<'a> {
    /// Numbers; NaN where the parameter has no value in the trial.
    Numeric {
        /// The values.
        values: &'a [f64],
        /// What was searched.
        space: NumericSpace,
    },
    /// Levels without an order; [`MISSING`] where the parameter has no value in the trial.
    Categorical {
        /// The level of each trial, below `levels`. Number the levels in an order that does not
        /// depend on the order of the trials (for example by name): it settles ties.
        codes: &'a [u32],
        /// How many levels there are.
        levels: u32,
    },
}

impl<'a> Parameter<'a> {
    /// A continuous parameter on a linear scale over the range of its values.
    pub fn linear(values: &'a [f64]) -> Self {
        Self::Numeric { values, space: NumericSpace::default() }
    }

    /// A continuous parameter on a logarithmic scale over the range of its values.
    pub fn log(values: &'a [f64]) -> Self {
        Self::Numeric { values, space: NumericSpace { scale: Scale::Log, ..NumericSpace::default() } }
    }

    /// Integers on a linear scale over the range of its values.
    pub fn integer(values: &'a [f64]) -> Self {
        Self::Numeric { values, space: NumericSpace { step: Some(1.0), ..NumericSpace::default() } }
    }

    /// A parameter without an order.
    pub fn categorical(codes: &'a [u32], levels: u32) -> Self {
        Self::Categorical { codes, levels }
    }

    /// The same parameter with a search range; a categorical one has none and stays as it is.
    pub fn range(self, low: f64, high: f64) -> Self {
        match self {
            Self::Numeric { values, space } => {
                Self::Numeric { values, space: NumericSpace { range: Some((low, high)), ..space } }
            }
            categorical => categorical,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Numeric { values, .. } => values.len(),
            Self::Categorical { codes, .. } => codes.len(),
        }
    }
}

/// The trials of one experiment.
///
/// A trial whose objective is not finite has failed: it is counted and left out. A parameter
/// without a value in a trial was inactive there (conditional parameters) or not recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trials<'a> {
    /// The parameters; answers are in this order.
    pub parameters: &'a [Parameter<'a>],
    /// The objective of each trial.
    pub objective: &'a [f64],
}

/// Trials that passed all checks, failed ones left out.
#[derive(Debug, Clone)]
pub(crate) struct Checked<'a> {
    pub(crate) parameters: Vec<CheckedParameter<'a>>,
    pub(crate) objective: Cow<'a, [f64]>,
    pub(crate) failed: usize,
}

/// One parameter of [`Checked`].
#[derive(Debug, Clone)]
pub(crate) enum CheckedParameter<'a> {
    Numeric { values: Cow<'a, [f64]>, scale: Scale, low: f64, high: f64, step: Option<f64> },
    Categorical { codes: Cow<'a, [u32]>, levels: u32 },
}

impl<'a> Checked<'a> {
    pub(crate) fn new(trials: &Trials<'a>) -> Result<Self, ImportanceError> {
        let (parameters, objective) = (trials.parameters, trials.objective);
        if parameters.is_empty() {
            return Err(ImportanceError::NoParameters);
        }
        if parameters.len() > MAX_PARAMETERS {
            return Err(ImportanceError::TooManyParameters(parameters.len()));
        }
        if objective.len() > MAX_TRIALS {
            return Err(ImportanceError::TooManyTrials(objective.len()));
        }
        for (parameter, column) in parameters.iter().enumerate() {
            if column.len() != objective.len() {
                let (values, objective) = (column.len(), objective.len());
                return Err(ImportanceError::ColumnLength { parameter, values, objective });
            }
        }
        let usable = objective.iter().filter(|value| value.is_finite()).count();
        if usable < 2 {
            return Err(ImportanceError::TooFewTrials { usable, trials: objective.len() });
        }
        let failed = objective.len() - usable;
        let checked: Result<Vec<_>, ImportanceError> = parameters
            .par_iter()
            .enumerate()
            .map(|(index, column)| check(index, column, objective))
            .collect();
        Ok(Self { parameters: checked?, objective: kept(objective, objective, failed), failed })
    }
}

/// The elements whose trial did not fail.
fn kept<'a, T: Copy>(column: &'a [T], objective: &[f64], failed: usize) -> Cow<'a, [T]> {
    if failed == 0 {
        return Cow::Borrowed(column);
    }
    let of_usable = column.iter().zip(objective).filter(|(_, value)| value.is_finite());
    Cow::Owned(of_usable.map(|(&element, _)| element).collect())
}

/// Checks all trials, failed ones too: what is wrong there is wrong in the data.
fn check<'a>(
    parameter: usize,
    column: &Parameter<'a>,
    objective: &[f64],
) -> Result<CheckedParameter<'a>, ImportanceError> {
    let failed = objective.iter().filter(|value| !value.is_finite()).count();
    match *column {
        Parameter::Numeric { values, space } => {
            let NumericSpace { scale, range, step } = space;
            if let Some(row) = values.iter().position(|value| value.is_infinite()) {
                return Err(ImportanceError::InfiniteParameter { parameter, row });
            }
            if scale == Scale::Log
                && let Some(row) = values.iter().position(|&value| value <= 0.0)
            {
                return Err(ImportanceError::NotPositive { parameter, row, value: values[row] });
            }
            if let Some(step) = step
                && !(step > 0.0 && step.is_finite())
            {
                return Err(ImportanceError::Step { parameter, step });
            }
            let (low, high) = match range {
                Some((low, high)) => {
                    let sound = low <= high && (high - low).is_finite();
                    if !sound || (scale == Scale::Log && low <= 0.0) {
                        return Err(ImportanceError::Range { parameter, low, high });
                    }
                    if let Some(row) = values.iter().position(|&value| value < low || value > high) {
                        let value = values[row];
                        return Err(ImportanceError::OutOfRange { parameter, row, value, low, high });
                    }
                    (low, high)
                }
                None => {
                    let used = values.iter().zip(objective).filter(|(_, objective)| objective.is_finite());
                    let used = used.map(|(&value, _)| value);
                    let (low, high) = used.fold((f64::NAN, f64::NAN), |(low, high), value| {
                        (f64::min(low, value), f64::max(high, value))
                    });
                    if (high - low).is_infinite() {
                        return Err(ImportanceError::Range { parameter, low, high });
                    }
                    (low, high)
                }
            };
            let values = kept(values, objective, failed);
            Ok(CheckedParameter::Numeric { values, scale, low, high, step })
        }
        Parameter::Categorical { codes, levels } => {
            if levels > MAX_LEVELS {
                return Err(ImportanceError::Levels { parameter, levels });
            }
            if let Some(row) = codes.iter().position(|&code| code >= levels && code != MISSING) {
                return Err(ImportanceError::Code { parameter, row, code: codes[row], levels });
            }
            Ok(CheckedParameter::Categorical { codes: kept(codes, objective, failed), levels })
        }
    }
}

/// A setting that must be strictly between 0 and 1.
pub(crate) fn check_level(level: f64) -> Result<(), ImportanceError> {
    if level > 0.0 && level < 1.0 {
        return Ok(());
    }
    Err(ImportanceError::Setting { name: "level", expected: "strictly between 0 and 1", value: level })
}
