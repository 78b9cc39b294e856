//! `adjust_p`: p-values for having looked at many things.

use analysis::Correction;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::PartitionEvaluator;

use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};
use super::outcome::known;
use super::windowed::{OfPartition, WholePartition, WindowFunction};

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
        let choices = Correction::ALL.map(|correction| (correction.name(), correction));
        let correction = match constants.text("method") {
            Some(_) => constants.one_of("method", &choices)?,
            None => Correction::default(),
        };
        let answer: OfPartition = Box::new(move |p| {
            Ok(correction.adjust(p)?.into_iter().map(|adjusted| known([adjusted])).collect())
        });
        Ok(Box::new(WholePartition { name: DEFINITION.name, data_type: self.return_type(), answer }))
    }
}
