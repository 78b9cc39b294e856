//! `changepoint`: where the level of a curve changes.

use std::ops::Range;

use analysis::{ChangepointScan, Changepoints};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue, internal_err};
use datafusion::logical_expr::PartitionEvaluator;

use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};
use super::windowed::WindowFunction;

pub(super) static DEFINITION: Definition = Definition {
    name: "changepoint",
    kind: FunctionKind::Window,
    summary: "Whether a new level begins here: the mean of the window rows before is compared with that of this and the \
              next ones by Student's t (moving sums, Eichinger & Kirch 2018), and no row nearby divides them more \
              clearly. At both ends windows are shorter, down to five rows. For values that vary about a level, such \
              as throughput; a trend is many levels. NaN, infinities and NULLs are left out of the means; NULLs stay \
              NULL.",
    parameters: &[
        required("value", ArgumentKind::Value, "the value"),
        optional("window", ArgumentKind::Integer, "rows on each side, from 5 to 1000, default 20"),
        optional(
            "alpha",
            ArgumentKind::Number,
            "p-value of a single row below which it counts, default 0.00001",
        ),
    ],
    returns: "boolean",
    example: "SELECT step FROM (\n  SELECT v AS step, changepoint(CASE WHEN v < 40 THEN 1.0 ELSE 1.5 END + 0.01 * (v % 3)) OVER (ORDER BY v) AS changed\n  FROM range(80) AS points(v)\n) WHERE changed",
};

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Changepoint;

impl WindowFunction for Changepoint {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        DataType::Boolean
    }

    fn evaluator(&self, constants: &Constants<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        let window = match constants.integer("window") {
            None => 20,
            Some(_) => constants.count("window", 5, "a number of rows")?,
        };
        let alpha = constants.number("alpha").unwrap_or(1e-5);
        let changepoints = Changepoints::new(window, alpha)
            .map_err(|error| DataFusionError::Plan(format!("{}: {error}", DEFINITION.name)))?;
        Ok(Box::new(Evaluator { reach: changepoints.reach(), scan: changepoints.scan(), answered: 0 }))
    }
}

/// Answers row by row, from the rows that lie within reach.
#[derive(Debug)]
struct Evaluator {
    scan: ChangepointScan,
    reach: usize,
    /// Rows of the partition that were answered.
    answered: usize,
}

impl PartitionEvaluator for Evaluator {
    /// The rows that one answer depends on. A range that ends with the rows so far makes the engine wait for more.
    fn get_range(&self, row: usize, row_count: usize) -> Result<Range<usize>> {
        Ok(row.saturating_sub(self.reach)..(row + self.reach).min(row_count))
    }

    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        let column = values[0].as_primitive::<Float64Type>();
        // The engine forgets rows before the range, so that only the distance to its start is known: it is the reach
        // once so many rows were answered.
        let row = self.answered.min(self.reach);
        self.answered += 1;
        if range.end > column.len() || range.start + row >= range.end {
            return internal_err!("changepoint was asked beyond its rows");
        }
        let number = |at| if column.is_null(at) { f64::NAN } else { column.value(at) };
        let numbers: Vec<f64> = range.clone().map(number).collect();
        let begins = self.scan.next(&numbers, row);
        Ok(ScalarValue::Boolean(column.is_valid(range.start + row).then_some(begins)))
    }

    fn supports_bounded_execution(&self) -> bool {
        true
    }
}
