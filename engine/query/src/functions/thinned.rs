//! Curves thinned to some of their points: what the functions that do so share.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, ListArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{DataFusionError, Result};

use super::collect::Groups;

fn point_fields() -> Fields {
    Fields::from(vec![
        Field::new("step", DataType::Int64, false),
        Field::new("value", DataType::Float64, false),
    ])
}

fn item() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::Struct(point_fields()), false))
}

/// A list of points.
pub(super) fn points_type() -> DataType {
    DataType::List(item())
}

/// For each group the points that `choose` picks by their indices, given steps and values in the order of the steps.
pub(super) fn thinned(
    groups: &Groups,
    choose: impl Fn(&[f64], &[f64]) -> analysis::Result<Vec<usize>>,
) -> Result<ArrayRef> {
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
        let chosen = choose(&x, &y).map_err(|error| DataFusionError::External(Box::new(error)))?;
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
