//! Answers, one element for each parameter.

use super::encode::Axis;
use super::interval::Estimate;

/// On what the importance of a parameter rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Assessment {
    /// All trials that did not fail.
    AllTrials,
    /// The trials in which the parameter has a value (conditional parameters).
    WhereActive,
    /// The parameter has one value only; its importance is 0.
    Constant,
    /// The parameter has no value in any trial; its importance is NaN.
    Absent,
    /// The prediction is constant where the parameter is active, or too few trials have a value of
    /// it; its importance is NaN.
    NoVariance,
}

impl Assessment {
    pub(crate) fn of(axis: &Axis) -> Self {
        match (axis.active(), axis.is_constant()) {
            (0, _) => Self::Absent,
            (_, true) => Self::Constant,
            _ if axis.counts[0] > 0 => Self::WhereActive,
            _ => Self::AllTrials,
        }
    }

    /// A stable identifier, the same in the command line, SQL and JSON.
    pub fn code(self) -> &'static str {
        match self {
            Self::AllTrials => "all_trials",
            Self::WhereActive => "where_active",
            Self::Constant => "constant",
            Self::Absent => "absent",
            Self::NoVariance => "no_variance",
        }
    }
}

/// Importances of all parameters, in the order of the request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ParameterTable {
    /// The importance.
    pub importance: Vec<f64>,
    /// Its standard error; NaN when there is a single tree or no resample.
    pub se: Vec<f64>,
    /// Lower end of its interval; NaN with the standard error.
    pub low: Vec<f64>,
    /// Upper end of its interval; NaN with the standard error.
    pub high: Vec<f64>,
    /// Trials in which the parameter has a value.
    pub n: Vec<u32>,
    /// On what the importance rests.
    pub assessment: Vec<Assessment>,
}

impl ParameterTable {
    pub(crate) fn push(&mut self, estimate: Estimate, n: u32, assessment: Assessment) {
        let estimate = match assessment {
            Assessment::Constant => Estimate::exact(0.0),
            Assessment::Absent | Assessment::NoVariance => Estimate::ABSENT,
            _ => estimate,
        };
        self.importance.push(estimate.value);
        self.se.push(estimate.se);
        self.low.push(estimate.low);
        self.high.push(estimate.high);
        self.n.push(n);
        self.assessment.push(assessment);
    }

    /// The parameters from the most to the least important; those without a number last, equal
    /// ones in their order.
    pub fn ranking(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.importance.len()).collect();
        let key = |&parameter: &usize| -> f64 {
            let importance = self.importance[parameter];
            if importance.is_nan() { f64::INFINITY } else { -importance }
        };
        order.sort_by(|a, b| key(a).total_cmp(&key(b)));
        order
    }
}
