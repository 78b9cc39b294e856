//! `trimmed_mean`: the mean without the largest and smallest values.

use std::sync::Arc;

use analysis::Nonfinite;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::collect::{CollectingFunction, Finish, Groups};
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};
use super::outcome::numbers;

pub(super) static DEFINITION: Definition = Definition {
    name: "trimmed_mean",
    kind: FunctionKind::Aggregate,
    summary: "The mean after a share of the values, rounded down, is cut off at each end. NULLs do not count; NULL for \
              an empty sample. A NaN gives NaN unless nonfinite => 'drop'; an infinity counts by its value, so that it \
              may be cut off.",
    parameters: &[
        required("x", ArgumentKind::Value, "the values"),
        optional("share", ArgumentKind::Number, "the share cut off at each end, below 0.5, default 0.2"),
        optional("nonfinite", ArgumentKind::Text, "'keep' (default) or 'drop'"),
    ],
    returns: "double",
    example: "SELECT trimmed_mean(x, 0.2) FROM (VALUES (0.1), (0.81), (0.83), (0.80), (9.0)) AS runs(x)",
};

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TrimmedMean;

impl CollectingFunction for TrimmedMean {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        DataType::Float64
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        let share = constants.number("share").unwrap_or(0.2);
        if !(0.0..0.5).contains(&share) {
            return constants.refuse("share", share, "give a number of at least 0 and below 0.5");
        }
        Ok(Arc::new(Call { share, nonfinite: constants.nonfinite()? }))
    }
}

#[derive(Debug)]
struct Call {
    share: f64,
    nonfinite: Nonfinite,
}

impl Finish for Call {
    fn finish(&self, groups: &Groups) -> Result<ArrayRef> {
        let of = |values: &[f64]| match self.nonfinite {
            // The only error is that of an empty sample, which is NULL in SQL.
            Nonfinite::Keep => analysis::trimmed_mean(values, self.share).ok(),
            Nonfinite::Drop => {
                let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
                analysis::trimmed_mean(&finite, self.share).ok()
            }
        };
        Ok(numbers(groups.values().map(of).collect()))
    }
}
