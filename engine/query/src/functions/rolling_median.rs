//! `rolling_median`: smoothing that a single outlier does not move.

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::PartitionEvaluator;

use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, required};
use super::windowed::{Running, RunningEvaluator, WindowFunction};

pub(super) static DEFINITION: Definition = Definition {
    name: "rolling_median",
    kind: FunctionKind::Window,
    summary: "The median of the last n rows in the order of the window, this one among them; the first rows have fewer. NaN \
              takes a place and does not count, infinities count by value; NaN where no number is. NULLs stay NULL and \
              take no place. As pandas' rolling(n, min_periods=1).median(), but for infinities, which pandas drops.",
    parameters: &[
        required("value", ArgumentKind::Value, "the value"),
        required("n", ArgumentKind::Integer, "rows in the window, at most 100000"),
    ],
    returns: "double",
    example: "SELECT step, rolling_median(value, 3) OVER (ORDER BY step) AS smooth\nFROM (VALUES (1, 0.9), (2, 7.0), (3, 0.8)) AS points(step, value)",
};

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RollingMedian;

impl WindowFunction for RollingMedian {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        DataType::Float64
    }

    fn evaluator(&self, constants: &Constants<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        let rows = constants.count("n", 1, "a number of rows")?;
        match analysis::RollingMedian::new(rows) {
            Ok(median) => Ok(Box::new(RunningEvaluator(median))),
            Err(_) => constants.refuse("n", rows, "give at most 100000 rows"),
        }
    }
}

impl Running for analysis::RollingMedian {
    fn next(&mut self, value: f64) -> ScalarValue {
        ScalarValue::Float64(Some(self.push(value)))
    }

    fn null(&self) -> ScalarValue {
        ScalarValue::Float64(None)
    }
}
