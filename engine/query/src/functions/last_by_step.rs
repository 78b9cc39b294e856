//! `last_by_step`: the value at the largest step.

use std::cmp::Ordering;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type, TimestampMicrosecondType};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, Signature,
};

use super::definition::{ArgumentKind, Definition, FunctionKind, optional, required};

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
#[derive(Debug, Clone)]
pub(super) struct LastByStep {
    signature: Signature,
    documentation: Arc<Documentation>,
}

impl LastByStep {
    pub(super) fn new() -> Self {
        Self { signature: DEFINITION.signature(), documentation: Arc::new(DEFINITION.documentation()) }
    }
}

impl PartialEq for LastByStep {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for LastByStep {}

impl std::hash::Hash for LastByStep {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        DEFINITION.name.hash(state);
    }
}

impl AggregateUDFImpl for LastByStep {
    fn name(&self) -> &str {
        DEFINITION.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _argument_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn coerce_types(&self, argument_types: &[DataType]) -> Result<Vec<DataType>> {
        DEFINITION.coerce(argument_types)
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        refuse_distinct(&arguments)?;
        Ok(Box::new(OneGroup(Latest { points: vec![None] })))
    }

    fn groups_accumulator_supported(&self, _arguments: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(
        &self,
        arguments: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        refuse_distinct(&arguments)?;
        Ok(Box::new(Latest { points: Vec::new() }))
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field = |name: &str, data_type: DataType| {
            Arc::new(Field::new(format_state_name(arguments.name, name), data_type, true))
        };
        let fields = [("value", DataType::Float64), ("step", DataType::Int64), ("time", DataType::Int64)];
        Ok(fields.into_iter().map(|(name, data_type)| field(name, data_type)).collect())
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

fn refuse_distinct(arguments: &AccumulatorArgs<'_>) -> Result<()> {
    if arguments.is_distinct {
        return plan_err!("last_by_step(DISTINCT ...) means the same as without DISTINCT: leave it out");
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    step: i64,
    time: i64,
    value: f64,
}

impl Candidate {
    fn is_after(&self, other: &Self) -> bool {
        let by_place = (self.step, self.time).cmp(&(other.step, other.time));
        by_place.then_with(|| self.value.total_cmp(&other.value)) == Ordering::Greater
    }
}

/// The latest point of each group.
#[derive(Debug)]
struct Latest {
    points: Vec<Option<Candidate>>,
}

impl Latest {
    fn offer(&mut self, group: usize, candidate: Candidate) {
        let slot = &mut self.points[group];
        if slot.as_ref().is_none_or(|latest| candidate.is_after(latest)) {
            *slot = Some(candidate);
        }
    }

    fn take(
        &mut self,
        arguments: &[ArrayRef],
        group_of: impl Fn(usize) -> usize,
        filter: Option<&BooleanArray>,
    ) {
        let values = arguments[0].as_primitive::<Float64Type>();
        let steps = arguments[1].as_primitive::<Int64Type>();
        let times = arguments.get(2).map(|times| times.as_primitive::<TimestampMicrosecondType>());
        for row in 0..values.len() {
            let counts = filter.is_none_or(|f| f.is_valid(row) && f.value(row));
            if counts && values.is_valid(row) && steps.is_valid(row) {
                let time = times.filter(|t| t.is_valid(row)).map_or(i64::MIN, |t| t.value(row));
                let candidate = Candidate { step: steps.value(row), time, value: values.value(row) };
                self.offer(group_of(row), candidate);
            }
        }
    }

    fn merge(&mut self, state: &[ArrayRef], group_of: impl Fn(usize) -> usize) {
        let values = state[0].as_primitive::<Float64Type>();
        let steps = state[1].as_primitive::<Int64Type>();
        let times = state[2].as_primitive::<Int64Type>();
        for row in (0..values.len()).filter(|&row| values.is_valid(row)) {
            let candidate =
                Candidate { step: steps.value(row), time: times.value(row), value: values.value(row) };
            self.offer(group_of(row), candidate);
        }
    }
}

fn values_of(points: &[Option<Candidate>]) -> ArrayRef {
    Arc::new(points.iter().map(|p| p.map(|p| p.value)).collect::<Float64Array>())
}

fn state_of(points: &[Option<Candidate>]) -> Vec<ArrayRef> {
    vec![
        values_of(points),
        Arc::new(points.iter().map(|p| p.map(|p| p.step)).collect::<Int64Array>()),
        Arc::new(points.iter().map(|p| p.map(|p| p.time)).collect::<Int64Array>()),
    ]
}

impl GroupsAccumulator for Latest {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.points.resize(total_num_groups, None);
        self.take(values, |row| group_indices[row], filter);
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(values_of(&emit_to.take_needed(&mut self.points)))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(state_of(&emit_to.take_needed(&mut self.points)))
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.points.resize(total_num_groups, None);
        self.merge(values, |row| group_indices[row]);
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut each = Self { points: vec![None; values[0].len()] };
        each.take(values, |row| row, filter);
        Ok(state_of(&each.points))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.points.capacity() * size_of::<Option<Candidate>>()
    }
}

#[derive(Debug)]
struct OneGroup(Latest);

impl Accumulator for OneGroup {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.take(values, |_| 0, None);
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.0.points[0].map(|p| p.value)))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        state_of(&self.0.points).iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge(states, |_| 0);
        Ok(())
    }
}
