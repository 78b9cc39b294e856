//! `mean_ci`: the mean with its Student t interval.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};

use super::collect::{CollectingFunction, Finish, Groups};
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};
use super::outcome::{INTERVAL, Interval, intervals, struct_type};

pub(super) static DEFINITION: Definition = Definition {
    name: "mean_ci",
    kind: FunctionKind::Aggregate,
    summary: "The mean of a sample with its Student t interval. NULLs do not count. One NaN or infinity makes the \
              interval NaN unless nonfinite => 'drop'; n_nonfinite counts them. The interval of a single value is \
              NULL; equal values give an interval without width and the warning zero_variance.",
    parameters: &[
        required("x", ArgumentKind::Value, "the values, one a run"),
        optional("level", ArgumentKind::Number, "confidence level, default 0.95"),
        optional("nonfinite", ArgumentKind::Text, "'keep' (default) or 'drop'"),
    ],
    returns: "struct(estimate, low, high, se, method, n, n_nonfinite, warning)",
    example: "SELECT mean_ci(x)['low'] AS low, mean_ci(x)['high'] AS high\nFROM (VALUES (0.81), (0.83), (0.80), (0.84)) AS runs(x)",
};

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct MeanCi;

impl CollectingFunction for MeanCi {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        struct_type(&INTERVAL)
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        Ok(Arc::new(Call { level: constants.level()?, nonfinite: constants.nonfinite()? }))
    }
}

#[derive(Debug)]
struct Call {
    level: f64,
    nonfinite: analysis::Nonfinite,
}

impl Finish for Call {
    fn finish(&self, groups: &Groups) -> Result<ArrayRef> {
        let results = groups.values().map(|values| self.interval(values)).collect::<Result<_>>()?;
        intervals("t", results)
    }
}

impl Call {
    fn interval(&self, values: &[f64]) -> Result<Interval> {
        let summary = analysis::describe(values, self.level, self.nonfinite)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        let failed = self.nonfinite == analysis::Nonfinite::Keep && summary.nonfinite_count > 0;
        let end = |side: usize| match summary.mean_interval {
            Some(interval) => Some(interval[side]),
            None => failed.then_some(f64::NAN),
        };
        let constant = summary.count > 1 && summary.standard_error == Some(0.0);
        Ok(Interval {
            estimate: summary.mean,
            low: end(0),
            high: end(1),
            standard_error: if failed { Some(f64::NAN) } else { summary.standard_error },
            count: summary.count,
            nonfinite_count: summary.nonfinite_count,
            warning: constant.then(|| "zero_variance".to_owned()),
        })
    }
}
