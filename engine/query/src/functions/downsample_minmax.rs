//! `downsample_minmax`: a curve thinned to its lowest and highest points.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::collect::{CollectingFunction, Finish, Groups, RowKey};
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, required};
use super::thinned::{points_type, thinned};

pub(super) static DEFINITION: Definition = Definition {
    name: "downsample_minmax",
    kind: FunctionKind::Aggregate,
    summary: "A curve thinned to at most n points: of equal parts of it the lowest and the highest point, and the first NaN \
              or infinity, so that no spike and no divergence vanishes from a picture. Sorts by step, equal steps by \
              value. NULL values do not count.",
    parameters: &[
        required("step", ArgumentKind::Step, "the step"),
        required("value", ArgumentKind::Value, "the value"),
        required("n", ArgumentKind::Integer, "how many points to keep, at least 3"),
    ],
    returns: "list of struct(step, value)",
    example: "SELECT unnest(downsample_minmax(step, value, 4))\nFROM (VALUES (0, 0.0), (1, 0.1), (2, 9.0), (3, 0.1), (4, 0.2)) AS points(step, value)",
};

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct DownsampleMinmax;

impl CollectingFunction for DownsampleMinmax {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        points_type()
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        Ok(Arc::new(Call { count: constants.count("n", 3, "a number of points")? }))
    }
}

#[derive(Debug)]
struct Call {
    count: usize,
}

impl Finish for Call {
    fn row_key(&self) -> RowKey {
        RowKey::Step
    }

    fn finish(&self, groups: &Groups) -> Result<ArrayRef> {
        thinned(groups, |_, values| {
            if values.len() <= self.count {
                return Ok((0..values.len()).collect());
            }
            // A part gives two points, three where it may hold one that is not finite.
            let each = if values.iter().all(|value| value.is_finite()) { 2 } else { 3 };
            Ok(analysis::downsample_minmax(values, self.count / each))
        })
    }
}
