//! `downsample_lttb`: a curve thinned to the points that keep its look.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, ListArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{DataFusionError, Result};

use super::collect::{CollectingFunction, Finish, Groups, RowKey};
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, required};

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

fn point_fields() -> Fields {
    Fields::from(vec![
        Field::new("step", DataType::Int64, false),
        Field::new("value", DataType::Float64, false),
    ])
}

fn item() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::Struct(point_fields()), false))
}

impl CollectingFunction for DownsampleLttb {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        DataType::List(item())
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        match constants.integer("n") {
            Some(count) if count >= 2 => {
                Ok(Arc::new(Call { count: usize::try_from(count).unwrap_or(usize::MAX) }))
            }
            Some(count) => constants.refuse("n", count, "give a number of points of at least 2"),
            None => constants.refuse("n", "NULL", "give a number of points of at least 2"),
        }
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
        let mut steps = Vec::new();
        let mut values = Vec::new();
        let mut lengths = Vec::with_capacity(groups.len());
        for (group_steps, group_values) in groups.keyed() {
            let mut points: Vec<(i64, f64)> =
                group_steps.iter().copied().zip(group_values.iter().copied()).collect();
            // By value too, so that the order of the rows does not matter.
            points.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.total_cmp(&b.1)));
            let x: Vec<f64> = points.iter().map(|p| p.0 as f64).collect();
            let y: Vec<f64> = points.iter().map(|p| p.1).collect();
            let chosen = analysis::lttb(&x, &y, self.count)
                .map_err(|error| DataFusionError::External(Box::new(error)))?;
            lengths.push(chosen.len());
            for index in chosen {
                steps.push(points[index].0);
                values.push(points[index].1);
            }
        }
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(steps)), Arc::new(Float64Array::from(values))];
        let points = StructArray::try_new(point_fields(), columns, None)?;
        Ok(Arc::new(ListArray::try_new(item(), OffsetBuffer::from_lengths(lengths), Arc::new(points), None)?))
    }
}
