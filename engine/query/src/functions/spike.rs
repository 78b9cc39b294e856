//! `spike`: values that stand out from those just before them.

use analysis::Spikes;
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::PartitionEvaluator;

use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};
use super::windowed::{Running, RunningEvaluator, WindowFunction};

pub(super) static DEFINITION: Definition = Definition {
    name: "spike",
    kind: FunctionKind::Window,
    summary: "Whether a value is further than threshold scaled median absolute deviations (1.4826 MAD) from the median of \
              the rows just before it (Hampel 1974, looking back only). NaN and infinities always are. Nothing else is \
              before five numbers have come, or while more than half of the window is one value. NULLs stay NULL.",
    parameters: &[
        required("value", ArgumentKind::Value, "the value"),
        optional("window", ArgumentKind::Integer, "rows before it, from 5 to 10000, default 50"),
        optional("threshold", ArgumentKind::Number, "default 5"),
    ],
    returns: "boolean",
    example: "SELECT step FROM (\n  SELECT step, spike(value, 10) OVER (ORDER BY step) AS spiked\n  FROM (VALUES (1, 1.0), (2, 1.1), (3, 0.9), (4, 1.2), (5, 1.0), (6, 9.0)) AS points(step, value)\n) WHERE spiked",
};

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Spike;

impl WindowFunction for Spike {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        DataType::Boolean
    }

    fn evaluator(&self, constants: &Constants<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        let window = match constants.integer("window") {
            None => 50,
            Some(_) => constants.count("window", 5, "a number of rows")?,
        };
        let threshold = constants.number("threshold").unwrap_or(5.0);
        let spikes = Spikes::new(window, threshold)
            .map_err(|error| DataFusionError::Plan(format!("{}: {error}", DEFINITION.name)))?;
        Ok(Box::new(RunningEvaluator(spikes)))
    }
}

impl Running for Spikes {
    fn next(&mut self, value: f64) -> ScalarValue {
        ScalarValue::Boolean(Some(self.push(value)))
    }

    fn null(&self) -> ScalarValue {
        ScalarValue::Boolean(None)
    }
}
