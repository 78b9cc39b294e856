//! `downsample_lttb` and `downsample_minmax`: a curve thinned to some of its points.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, ListArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{DataFusionError, Result};

use super::collect::{CollectingFunction, Finish, Groups, RowKey};
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, Parameter, required};

const STEP: Parameter = required("step", ArgumentKind::Step, "the step");
const VALUE: Parameter = required("value", ArgumentKind::Value, "the value");

pub(super) static LTTB: Definition = Definition {
    name: "downsample_lttb",
    kind: FunctionKind::Aggregate,
    summary: "A curve thinned to at most n points that keep its look: largest triangle three buckets (Steinarsson 2013, \
              buckets as in the thesis). Sorts by step, equal steps by value. NULL values do not count; a NaN or \
              infinity is chosen only where its bucket has no finite point.",
    parameters: &[STEP, VALUE, required("n", ArgumentKind::Integer, "how many points to keep, at least 2")],
    returns: "list of struct(step, value)",
    example: "SELECT unnest(downsample_lttb(step, value, 3))\nFROM (VALUES (0, 0.0), (1, 0.1), (2, 9.0), (3, 0.1), (4, 0.0)) AS points(step, value)",
};

pub(super) static MINMAX: Definition = Definition {
    name: "downsample_minmax",
    kind: FunctionKind::Aggregate,
    summary: "A curve thinned to at most n points: of equal parts of it the lowest and the highest point, and the first NaN \
              or infinity, so that no spike and no divergence vanishes from a picture. Sorts by step, equal steps by \
              value. NULL values do not count.",
    parameters: &[STEP, VALUE, required("n", ArgumentKind::Integer, "how many points to keep, at least 3")],
    returns: "list of struct(step, value)",
    example: "SELECT unnest(downsample_minmax(step, value, 4))\nFROM (VALUES (0, 0.0), (1, 0.1), (2, 9.0), (3, 0.1), (4, 0.2)) AS points(step, value)",
};

/// Which points are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Downsample {
    /// Those that keep the look of the curve.
    Lttb,
    /// The lowest and the highest of each part.
    Minmax,
}

impl Downsample {
    /// The fewest points that may be asked for.
    fn least(self) -> usize {
        match self {
            Self::Lttb => 2,
            Self::Minmax => 3,
        }
    }

    fn choose(self, steps: &[f64], values: &[f64], count: usize) -> analysis::Result<Vec<usize>> {
        match self {
            Self::Lttb => analysis::lttb(steps, values, count),
            Self::Minmax if values.len() <= count => Ok((0..values.len()).collect()),
            Self::Minmax => {
                // A part gives two points, three where it may hold one that is not finite.
                let each = if values.iter().all(|value| value.is_finite()) { 2 } else { 3 };
                Ok(analysis::downsample_minmax(values, count / each))
            }
        }
    }
}

impl CollectingFunction for Downsample {
    fn definition(&self) -> &'static Definition {
        match self {
            Self::Lttb => &LTTB,
            Self::Minmax => &MINMAX,
        }
    }

    fn return_type(&self) -> DataType {
        points_type()
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        Ok(Arc::new(Call { which: *self, count: constants.count("n", self.least(), "a number of points")? }))
    }
}

#[derive(Debug)]
struct Call {
    which: Downsample,
    count: usize,
}

impl Finish for Call {
    fn row_key(&self) -> RowKey {
        RowKey::Step
    }

    fn finish(&self, groups: &Groups) -> Result<ArrayRef> {
        thinned(groups, |steps, values| self.which.choose(steps, values, self.count))
    }
}

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
fn points_type() -> DataType {
    DataType::List(item())
}

/// For each group the points that `choose` picks by their indices, given steps and values in the order of the steps.
fn thinned(
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
