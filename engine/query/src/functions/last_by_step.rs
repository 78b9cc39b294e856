//! `last_by_step`: the value at the largest step.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};
use super::kept::{Candidate, Choice, KeepingFunction, values_of};

pub(super) static DEFINITION: Definition = Definition {
    name: "last_by_step",
    kind: FunctionKind::Aggregate,
    summary: "The value at the largest step; of equal steps the one with the latest time, then the largest value (NaN \
              counts as larger than all), as metrics.* has it. NULL values and steps do not count; NaN does.",
    parameters: &[
        required("value", ArgumentKind::Value, "the value"),
        required("step", ArgumentKind::Step, "the step"),
        optional("time", ArgumentKind::Time, "the time, to tell equal steps apart"),
    ],
    returns: "double",
    example: "SELECT last_by_step(value, step)\nFROM (VALUES (1, 0.9), (3, 0.4), (2, 0.6)) AS points(step, value)",
};

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LastByStep;

impl KeepingFunction for LastByStep {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        DataType::Float64
    }

    fn prepare(&self, _constants: &Constants<'_>) -> Result<Arc<dyn Choice>> {
        Ok(Arc::new(Latest))
    }
}

#[derive(Debug)]
struct Latest;

impl Choice for Latest {
    fn replaces(&self, candidate: &Candidate, kept: &Candidate) -> bool {
        let by_place = (candidate.step, candidate.time).cmp(&(kept.step, kept.time));
        by_place.then_with(|| candidate.value.total_cmp(&kept.value)).is_gt()
    }

    fn results(&self, kept: &[Option<Candidate>]) -> Result<ArrayRef> {
        Ok(values_of(kept))
    }
}
