//! `ema`: exponential smoothing along a window.

use analysis::{Decay, TensorboardAverage, WeightedAverage};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue, plan_err};
use datafusion::logical_expr::PartitionEvaluator;

use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};
use super::windowed::{Running, RunningEvaluator, WindowFunction};

pub(super) static DEFINITION: Definition = Definition {
    name: "ema",
    kind: FunctionKind::Window,
    summary: "Exponential smoothing in the order of the window. method 'tensorboard' (default) is the debiased smoothing \
              of TensorBoard, whose slider shows 1 - alpha: NaN and infinities pass through and do not count. method \
              'ewm' is pandas' ewm(...).mean() with adjust and ignore_na; there NaN is a missing value. NULLs stay \
              NULL. For eyes: tests run on raw values.",
    parameters: &[
        required("value", ArgumentKind::Value, "the value"),
        optional(
            "halflife",
            ArgumentKind::Number,
            "rows after which a weight has halved; give this or alpha",
        ),
        optional("alpha", ArgumentKind::Number, "weight of the newest value, above 0 and at most 1"),
        optional("method", ArgumentKind::Text, "'tensorboard' (default) or 'ewm'"),
        optional("adjust", ArgumentKind::Boolean, "ewm only: divide by the weights so far, default true"),
        optional(
            "ignore_na",
            ArgumentKind::Boolean,
            "ewm only: a NaN does not age older values, default false",
        ),
    ],
    returns: "double",
    example: "SELECT step, ema(value, alpha => 0.1) OVER (ORDER BY step) AS smooth\nFROM (VALUES (1, 0.9), (2, 0.7), (3, 0.8)) AS points(step, value)",
};

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Ema;

impl WindowFunction for Ema {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        DataType::Float64
    }

    fn evaluator(&self, constants: &Constants<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        let alpha = match (constants.number("halflife"), constants.number("alpha")) {
            (Some(halflife), None) => match Decay::HalfLife(halflife).alpha() {
                Ok(alpha) => alpha,
                Err(_) => return constants.refuse("halflife", halflife, "give a number above 0"),
            },
            (None, Some(alpha)) if alpha > 0.0 && alpha <= 1.0 => alpha,
            (None, Some(alpha)) => {
                return constants.refuse("alpha", alpha, "give a number above 0 and at most 1");
            }
            (None, None) => {
                return plan_err!(
                    "ema needs halflife or alpha: write ema(value, halflife => 10) or ema(value, alpha => 0.1)"
                );
            }
            (Some(_), Some(_)) => return plan_err!("ema takes halflife or alpha, not both"),
        };
        let (adjust, ignore_na) = (constants.boolean("adjust"), constants.boolean("ignore_na"));
        let external = |error: analysis::AnalysisError| DataFusionError::External(Box::new(error));
        match constants.text("method").unwrap_or("tensorboard") {
            "tensorboard" if adjust.is_some() || ignore_na.is_some() => {
                plan_err!("adjust and ignore_na belong to method => 'ewm'")
            }
            "tensorboard" => {
                let average = TensorboardAverage::new(1.0 - alpha).map_err(external)?;
                Ok(Box::new(RunningEvaluator(average)))
            }
            "ewm" => {
                let (adjust, ignore_na) = (adjust.unwrap_or(true), ignore_na.unwrap_or(false));
                let average =
                    WeightedAverage::new(Decay::Alpha(alpha), adjust, ignore_na).map_err(external)?;
                Ok(Box::new(RunningEvaluator(average)))
            }
            other => constants.refuse("method", format_args!("'{other}'"), "give 'tensorboard' or 'ewm'"),
        }
    }
}

impl Running for TensorboardAverage {
    fn next(&mut self, value: f64) -> ScalarValue {
        ScalarValue::Float64(Some(self.push(value)))
    }

    fn null(&self) -> ScalarValue {
        ScalarValue::Float64(None)
    }
}

impl Running for WeightedAverage {
    fn next(&mut self, value: f64) -> ScalarValue {
        ScalarValue::Float64(Some(self.push(value)))
    }

    fn null(&self) -> ScalarValue {
        ScalarValue::Float64(None)
    }
}
