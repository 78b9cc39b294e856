//! Aggregates that keep one point of each group: the last one, the best one.

use std::fmt::Debug;
use std::hash::Hash;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type, TimestampMicrosecondType};
use datafusion::common::{Result, ScalarValue, internal_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, Signature,
};

use super::definition::{ArgumentKind, Constants, Definition, Described, constants_of};

/// A point that may be kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) step: i64,
    /// The earliest time where none is given.
    pub(super) time: i64,
    pub(super) value: f64,
}

/// One call with its constants read: which point is kept, and what is told of it.
pub(super) trait Choice: Send + Sync + Debug {
    /// Whether a point may be kept at all.
    fn counts(&self, _candidate: &Candidate) -> bool {
        true
    }

    /// Whether a point takes the place of the one that is kept. Must be a strict order, so that the order of the rows
    /// does not matter.
    fn replaces(&self, candidate: &Candidate, kept: &Candidate) -> bool;

    /// One result a group, NULL for a group without a point.
    fn results(&self, kept: &[Option<Candidate>]) -> Result<ArrayRef>;
}

/// An aggregate that keeps one point.
pub(super) trait KeepingFunction:
    Debug + Clone + Send + Sync + PartialEq + Eq + Hash + 'static
{
    /// Its description: a value, a step, and maybe a time among the parameters.
    fn definition(&self) -> &'static Definition;

    /// Its type.
    fn return_type(&self) -> DataType;

    /// Checks the constants of a call.
    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Choice>>;
}

/// Makes a [`KeepingFunction`] an aggregate of DataFusion.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Keeping<F> {
    function: F,
    described: Described,
}

impl<F: KeepingFunction> Keeping<F> {
    pub(super) fn new(function: F) -> Self {
        Self { described: function.definition().into(), function }
    }

    fn kept(&self, arguments: &AccumulatorArgs<'_>) -> Result<Kept> {
        let definition = self.function.definition();
        if arguments.is_distinct {
            return plan_err!(
                "{}(DISTINCT ...) means the same as without DISTINCT: leave it out",
                definition.name
            );
        }
        let constants = constants_of(arguments.exprs);
        let choice = self.function.prepare(&Constants::new(definition, &constants)?)?;
        let at = |kind| definition.parameters.iter().position(|p| p.kind == kind);
        let (Some(value_at), Some(step_at)) = (at(ArgumentKind::Value), at(ArgumentKind::Step)) else {
            return internal_err!("{} has no value or no step", definition.name);
        };
        let time_at = at(ArgumentKind::Time).filter(|at| *at < arguments.exprs.len());
        Ok(Kept { choice, value_at, step_at, time_at, points: Vec::new() })
    }
}

impl<F: KeepingFunction> AggregateUDFImpl for Keeping<F> {
    fn name(&self) -> &str {
        self.function.definition().name
    }

    fn signature(&self) -> &Signature {
        &self.described.signature
    }

    fn return_type(&self, _argument_types: &[DataType]) -> Result<DataType> {
        Ok(self.function.return_type())
    }

    fn coerce_types(&self, argument_types: &[DataType]) -> Result<Vec<DataType>> {
        self.function.definition().coerce(argument_types)
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let mut kept = self.kept(&arguments)?;
        kept.points = vec![None];
        Ok(Box::new(OneGroup(kept)))
    }

    fn groups_accumulator_supported(&self, _arguments: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(
        &self,
        arguments: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(self.kept(&arguments)?))
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
        Some(&self.described.documentation)
    }
}

/// The kept point of each group.
#[derive(Debug)]
struct Kept {
    choice: Arc<dyn Choice>,
    value_at: usize,
    step_at: usize,
    time_at: Option<usize>,
    points: Vec<Option<Candidate>>,
}

impl Kept {
    fn offer(&mut self, group: usize, candidate: Candidate) {
        let slot = &mut self.points[group];
        if slot.as_ref().is_none_or(|kept| self.choice.replaces(&candidate, kept)) {
            *slot = Some(candidate);
        }
    }

    fn take(
        &mut self,
        arguments: &[ArrayRef],
        group_of: impl Fn(usize) -> usize,
        filter: Option<&BooleanArray>,
    ) {
        let values = arguments[self.value_at].as_primitive::<Float64Type>();
        let steps = arguments[self.step_at].as_primitive::<Int64Type>();
        let times = self.time_at.map(|at| arguments[at].as_primitive::<TimestampMicrosecondType>());
        for row in 0..values.len() {
            let counts = filter.is_none_or(|f| f.is_valid(row) && f.value(row));
            if counts && values.is_valid(row) && steps.is_valid(row) {
                let time = times.filter(|t| t.is_valid(row)).map_or(i64::MIN, |t| t.value(row));
                let candidate = Candidate { step: steps.value(row), time, value: values.value(row) };
                if self.choice.counts(&candidate) {
                    self.offer(group_of(row), candidate);
                }
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

/// The values of kept points.
pub(super) fn values_of(points: &[Option<Candidate>]) -> ArrayRef {
    Arc::new(points.iter().map(|p| p.map(|p| p.value)).collect::<Float64Array>())
}

/// The steps of kept points.
pub(super) fn steps_of(points: &[Option<Candidate>]) -> ArrayRef {
    Arc::new(points.iter().map(|p| p.map(|p| p.step)).collect::<Int64Array>())
}

fn state_of(points: &[Option<Candidate>]) -> Vec<ArrayRef> {
    let times = points.iter().map(|p| p.map(|p| p.time)).collect::<Int64Array>();
    vec![values_of(points), steps_of(points), Arc::new(times)]
}

impl GroupsAccumulator for Kept {
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
        let kept = emit_to.take_needed(&mut self.points);
        self.choice.results(&kept)
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
        let mut each = Self {
            choice: Arc::clone(&self.choice),
            value_at: self.value_at,
            step_at: self.step_at,
            time_at: self.time_at,
            points: vec![None; values[self.value_at].len()],
        };
        each.take(values, |row| row, filter);
        Ok(state_of(&each.points))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.points.capacity() * size_of::<Option<Candidate>>()
    }
}

#[derive(Debug)]
struct OneGroup(Kept);

impl Accumulator for OneGroup {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.take(values, |_| 0, None);
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&self.0.choice.results(&self.0.points)?, 0)
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
