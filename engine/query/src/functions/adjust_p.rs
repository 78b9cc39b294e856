//! `adjust_p`: p-values for having looked at many things.

use std::sync::Arc;

use analysis::Correction;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::logical_expr::PartitionEvaluator;

use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};
use super::windowed::WindowFunction;

pub(super) static DEFINITION: Definition = Definition {
    name: "adjust_p",
    kind: FunctionKind::Window,
    summary: "A p-value adjusted for all the p-values of its partition: what is at or below a level then is a finding at \
              that level. 'holm' (default; Holm 1979) bounds the chance of one false finding under any dependence, \
              'benjamini_hochberg' (1995) the share of false findings, for exploring; also 'bonferroni', 'sidak', \
              'holm_sidak', 'hochberg', 'hommel', 'benjamini_yekutieli' and 'none'. NULLs are not counted and stay NULL. \
              Holds a partition in memory.",
    parameters: &[
        required("p", ArgumentKind::Value, "the p-values, from 0 to 1"),
        optional("method", ArgumentKind::Text, "the correction, default 'holm'"),
    ],
    returns: "double",
    example: "SELECT metric, adjust_p(p) OVER () AS adjusted FROM (VALUES ('acc', 0.01), ('loss', 0.04), ('f1', 0.03)) AS tests(metric, p)",
};

const CORRECTIONS: [Correction; 9] = [
    Correction::None,
    Correction::Bonferroni,
    Correction::Sidak,
    Correction::Holm,
    Correction::HolmSidak,
    Correction::Hochberg,
    Correction::Hommel,
    Correction::BenjaminiHochberg,
    Correction::BenjaminiYekutieli,
];

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct AdjustP;

impl WindowFunction for AdjustP {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        DataType::Float64
    }

    fn evaluator(&self, constants: &Constants<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        let Some(name) = constants.text("method") else { return Ok(Box::new(Adjusting(Correction::Holm))) };
        match CORRECTIONS.into_iter().find(|correction| correction.name() == name) {
            Some(correction) => Ok(Box::new(Adjusting(correction))),
            None => {
                let allowed = CORRECTIONS.map(|correction| format!("'{}'", correction.name())).join(", ");
                constants.refuse("method", format_args!("'{name}'"), &format!("give one of {allowed}"))
            }
        }
    }
}

#[derive(Debug)]
struct Adjusting(Correction);

impl PartitionEvaluator for Adjusting {
    fn evaluate_all(&mut self, values: &[ArrayRef], _rows: usize) -> Result<ArrayRef> {
        let Some(p) = values.first().and_then(|column| column.as_primitive_opt::<Float64Type>()) else {
            return exec_err!("adjust_p takes a column of numbers");
        };
        let given: Vec<f64> = p.iter().flatten().collect();
        let adjusted = self
            .0
            .adjust(&given)
            .map_err(|error| DataFusionError::Execution(format!("{}: {error}", DEFINITION.name)))?;
        let mut adjusted = adjusted.into_iter();
        let column = (0..p.len()).map(|row| if p.is_valid(row) { adjusted.next() } else { None });
        Ok(Arc::new(column.collect::<Float64Array>()))
    }
}
