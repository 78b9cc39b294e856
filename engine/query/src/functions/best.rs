//! `best`: the smallest or largest value with its step.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::Result;

use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, required};
use super::kept::{Candidate, Choice, KeepingFunction, steps_of, values_of};

pub(super) static DEFINITION: Definition = Definition {
    name: "best",
    kind: FunctionKind::Aggregate,
    summary: "The smallest ('min') or largest ('max') value with its step; of equal values the one at the smallest step. \
              NULLs, NaN and infinities do not count, as in min, argmin_step, max and argmax_step of the table series, \
              which has the same without reading points. NULL where no finite value is.",
    parameters: &[
        required("value", ArgumentKind::Value, "the value"),
        required("step", ArgumentKind::Step, "the step"),
        required("direction", ArgumentKind::Text, "'min' or 'max'"),
    ],
    returns: "struct(value, step)",
    example: "SELECT best(value, step, 'min')['step'] AS step\nFROM (VALUES (1, 0.9), (2, 0.4), (3, 0.6)) AS points(step, value)",
};

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Best;

fn fields() -> Fields {
    Fields::from(vec![
        Field::new("value", DataType::Float64, true),
        Field::new("step", DataType::Int64, true),
    ])
}

impl KeepingFunction for Best {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        DataType::Struct(fields())
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Choice>> {
        match constants.text("direction") {
            Some("min") => Ok(Arc::new(Extreme { better: Ordering::Less })),
            Some("max") => Ok(Arc::new(Extreme { better: Ordering::Greater })),
            Some(other) => constants.refuse("direction", format_args!("'{other}'"), "give 'min' or 'max'"),
            None => constants.refuse("direction", "NULL", "give 'min' or 'max'"),
        }
    }
}

#[derive(Debug)]
struct Extreme {
    better: Ordering,
}

impl Choice for Extreme {
    fn counts(&self, candidate: &Candidate) -> bool {
        candidate.value.is_finite()
    }

    fn replaces(&self, candidate: &Candidate, kept: &Candidate) -> bool {
        match candidate.value.partial_cmp(&kept.value) {
            // Zeros of both signs at one step: a fixed one of them.
            Some(Ordering::Equal) => {
                (candidate.step.cmp(&kept.step)).then_with(|| candidate.value.total_cmp(&kept.value)).is_lt()
            }
            order => order == Some(self.better),
        }
    }

    fn results(&self, kept: &[Option<Candidate>]) -> Result<ArrayRef> {
        let present = NullBuffer::from_iter(kept.iter().map(Option::is_some));
        let columns = vec![values_of(kept), steps_of(kept)];
        Ok(Arc::new(StructArray::try_new(fields(), columns, Some(present))?))
    }
}
