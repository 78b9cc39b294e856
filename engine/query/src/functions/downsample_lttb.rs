//! `downsample_lttb`: a curve thinned to the points that keep its look.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::collect::{CollectingFunction, Finish, Groups, RowKey};
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, required};
use super::thinned::{points_type, thinned};

pub(super) static DEFINITION: Definition = Definition {
    name: "downsample_lttb",
    kind: FunctionKind::Aggregate,
    summary: "A curve thinned to at most n points that keep its look: largest triangle three buckets (Steinarsson 2013, \
              buckets as in the thesis). Sorts by step, equal steps by value. NULL values do not count; a NaN or \
              infinity is chosen only where its bucket has no finite point.",
    parameters: &[
        required("step", ArgumentKind::Step, "the step"),
        required("value", ArgumentKind::Value, "the value"),
        required("n", ArgumentKind::Integer, "how many points to keep, at least 2"),
    ],
    returns: "list of struct(step, value)",
    example: "SELECT unnest(downsample_lttb(step, value, 3))\nFROM (VALUES (0, 0.0), (1, 0.1), (2, 9.0), (3, 0.1), (4, 0.0)) AS points(step, value)",
};

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct DownsampleLttb;

impl CollectingFunction for DownsampleLttb {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        points_type()
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        Ok(Arc::new(Call { count: constants.count("n", 2, "a number of points")? }))
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
        thinned(groups, |steps, values| analysis::lttb(steps, values, self.count))
    }
}
