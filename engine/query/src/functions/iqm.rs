//! `iqm`: the interquartile mean.

use std::sync::Arc;

use analysis::Nonfinite;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::collect::{CollectingFunction, Finish, Groups};
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};
use super::outcome::numbers;

pub(super) static DEFINITION: Definition = Definition {
    name: "iqm",
    kind: FunctionKind::Aggregate,
    summary: "The interquartile mean (Agarwal et al. 2021): a quarter of the values, rounded down, is cut off at each \
              end. NULLs do not count; NULL for an empty sample. A NaN gives NaN unless nonfinite => 'drop'.",
    parameters: &[
        required("x", ArgumentKind::Value, "the values"),
        optional("nonfinite", ArgumentKind::Text, "'keep' (default) or 'drop'"),
    ],
    returns: "double",
    example: "SELECT iqm(x) FROM (VALUES (0.1), (0.81), (0.83), (0.80), (9.0)) AS runs(x)",
};

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Iqm;

impl CollectingFunction for Iqm {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        DataType::Float64
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        Ok(Arc::new(Call { nonfinite: constants.nonfinite()? }))
    }
}

#[derive(Debug)]
struct Call {
    nonfinite: Nonfinite,
}

impl Finish for Call {
    fn finish(&self, groups: &Groups) -> Result<ArrayRef> {
        let of = |values: &[f64]| match self.nonfinite {
            // The only error is that of an empty sample, which is NULL in SQL.
            Nonfinite::Keep => analysis::interquartile_mean(values).ok(),
            Nonfinite::Drop => {
                let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
                analysis::interquartile_mean(&finite).ok()
            }
        };
        Ok(numbers(groups.values().map(of).collect()))
    }
}
