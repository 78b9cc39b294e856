//! `ema`: exponential smoothing along a window.

use std::sync::Arc;

use analysis::{Decay, ema_tensorboard, ewm};
use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue, plan_err};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{Documentation, LimitEffect, PartitionEvaluator, Signature, WindowUDFImpl};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;

use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};

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
#[derive(Debug)]
pub(super) struct Ema {
    signature: Signature,
    documentation: Documentation,
}

impl Ema {
    pub(super) fn new() -> Self {
        Self { signature: DEFINITION.signature(), documentation: DEFINITION.documentation() }
    }
}

impl PartialEq for Ema {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Ema {}

impl std::hash::Hash for Ema {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        DEFINITION.name.hash(state);
    }
}

impl WindowUDFImpl for Ema {
    fn name(&self) -> &str {
        DEFINITION.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, argument_types: &[DataType]) -> Result<Vec<DataType>> {
        DEFINITION.coerce(argument_types)
    }

    fn field(&self, arguments: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(arguments.name(), DataType::Float64, true)))
    }

    fn partition_evaluator(
        &self,
        arguments: PartitionEvaluatorArgs<'_>,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        let values: Vec<Option<ScalarValue>> = arguments
            .input_exprs()
            .iter()
            .map(|expression| expression.downcast_ref::<Literal>().map(|l| l.value().clone()))
            .collect();
        Ok(Box::new(Evaluator { smoothing: smoothing(&Constants::new(&DEFINITION, &values)?)? }))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn limit_effect(&self, _arguments: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}

#[derive(Debug, Clone, Copy)]
enum Smoothing {
    Tensorboard { weight: f64 },
    Weights { alpha: f64, adjust: bool, ignore_na: bool },
}

fn smoothing(constants: &Constants<'_>) -> Result<Smoothing> {
    let alpha = match (constants.number("halflife"), constants.number("alpha")) {
        (Some(halflife), None) if halflife > 0.0 => -(-std::f64::consts::LN_2 / halflife).exp_m1(),
        (Some(halflife), None) => return constants.refuse("halflife", halflife, "give a number above 0"),
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
    match constants.text("method").unwrap_or("tensorboard") {
        "tensorboard" => {
            if constants.boolean("adjust").is_some() || constants.boolean("ignore_na").is_some() {
                return plan_err!("adjust and ignore_na belong to method => 'ewm'");
            }
            Ok(Smoothing::Tensorboard { weight: 1.0 - alpha })
        }
        "ewm" => Ok(Smoothing::Weights {
            alpha,
            adjust: constants.boolean("adjust").unwrap_or(true),
            ignore_na: constants.boolean("ignore_na").unwrap_or(false),
        }),
        other => constants.refuse("method", format_args!("'{other}'"), "give 'tensorboard' or 'ewm'"),
    }
}

#[derive(Debug)]
struct Evaluator {
    smoothing: Smoothing,
}

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], _row_count: usize) -> Result<ArrayRef> {
        let column = values[0].as_primitive::<Float64Type>();
        let present: Vec<f64> = column.iter().flatten().collect();
        let smooth = match self.smoothing {
            Smoothing::Tensorboard { weight } => ema_tensorboard(&present, weight),
            Smoothing::Weights { alpha, adjust, ignore_na } => {
                ewm(&present, Decay::Alpha(alpha), adjust, ignore_na)
                    .map_err(|error| DataFusionError::External(Box::new(error)))?
            }
        };
        let mut smooth = smooth.into_iter();
        let result: Float64Array = column.iter().map(|value| value.and_then(|_| smooth.next())).collect();
        Ok(Arc::new(result))
    }
}
