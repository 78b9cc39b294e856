//! `auc`: the area under a curve.

use std::sync::Arc;

use analysis::Nonfinite;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::collect::{CollectingFunction, Finish, Groups, RowKey};
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};
use super::outcome::numbers;

pub(super) static DEFINITION: Definition = Definition {
    name: "auc",
    kind: FunctionKind::Aggregate,
    summary: "The area under a curve by the trapezoidal rule, whatever the order of the rows; values at equal steps count \
              as their mean. With normalized the area is divided by its width: the mean height of the curve. NULLs do \
              not count; NULL below two different steps. A NaN gives NaN unless nonfinite => 'drop'.",
    parameters: &[
        required(
            "step",
            ArgumentKind::Position,
            "the step, or any other number in whose order the curve runs",
        ),
        required("value", ArgumentKind::Value, "the value"),
        optional("normalized", ArgumentKind::Boolean, "divide by the width, default false"),
        optional("nonfinite", ArgumentKind::Text, "'keep' (default) or 'drop'"),
    ],
    returns: "double",
    example: "SELECT auc(step, value) FROM (VALUES (0, 0.0), (10, 0.5), (20, 0.75)) AS points(step, value)",
};

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Auc;

impl CollectingFunction for Auc {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        DataType::Float64
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        let normalized = constants.boolean("normalized").unwrap_or(false);
        Ok(Arc::new(Call { normalized, nonfinite: constants.nonfinite()? }))
    }
}

#[derive(Debug)]
struct Call {
    normalized: bool,
    nonfinite: Nonfinite,
}

impl Finish for Call {
    fn row_key(&self) -> RowKey {
        RowKey::Position
    }

    fn finish(&self, groups: &Groups) -> Result<ArrayRef> {
        let areas = groups.curves(self.nonfinite == Nonfinite::Drop);
        Ok(numbers(areas.map(|(x, y)| analysis::area_under_curve(&x, &y, self.normalized)).collect()))
    }
}
