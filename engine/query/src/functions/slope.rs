//! `slope`: how fast a curve rises.

use std::sync::Arc;

use analysis::Nonfinite;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::collect::{CollectingFunction, Finish, Groups, RowKey};
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};
use super::outcome::numbers;

pub(super) static DEFINITION: Definition = Definition {
    name: "slope",
    kind: FunctionKind::Aggregate,
    summary: "The slope of the least-squares line of value on step, per step. NULLs do not count; NULL below two \
              different steps. A NaN or infinity gives NaN unless nonfinite => 'drop'. The points of one run depend on \
              each other, so that no interval belongs to it.",
    parameters: &[
        required("step", ArgumentKind::Position, "the step, or any other number"),
        required("value", ArgumentKind::Value, "the value"),
        optional("nonfinite", ArgumentKind::Text, "'keep' (default) or 'drop'"),
    ],
    returns: "double",
    example: "SELECT slope(step, value) FROM (VALUES (0, 0.9), (10, 0.5), (20, 0.3)) AS points(step, value)",
};

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Slope;

impl CollectingFunction for Slope {
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
    fn row_key(&self) -> RowKey {
        RowKey::Position
    }

    fn finish(&self, groups: &Groups) -> Result<ArrayRef> {
        let slopes = groups.curves(self.nonfinite == Nonfinite::Drop);
        Ok(numbers(slopes.map(|(x, y)| analysis::slope(&x, &y)).collect()))
    }
}
