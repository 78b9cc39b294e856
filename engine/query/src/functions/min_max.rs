//! `min` and `max` of doubles with NaNs among them.
//!
//! The engine's own answer in groups depends on the order of the rows: a NaN takes the place of what was found before it,
//! and the next number takes the place of the NaN. Here a NaN, of either sign, is greater than all numbers, as in
//! PostgreSQL and DuckDB: `min` is the smallest number as long as there is one, `max` tells that there was a NaN.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature, StatisticsArgs,
};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;

/// `min` or `max`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct MinMax {
    /// The engine's, for all but doubles.
    engine: Arc<AggregateUDF>,
    side: Side,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Side {
    Smallest,
    Largest,
}

impl Side {
    /// Whether `new` takes the place of `known`.
    fn is_better(self, new: f64, known: f64) -> bool {
        let order = match (new.is_nan(), known.is_nan()) {
            (false, false) => new.total_cmp(&known),
            (new, known) => new.cmp(&known),
        };
        order == if self == Self::Smallest { Ordering::Less } else { Ordering::Greater }
    }

    /// What everything else is at least as good as.
    fn worst(self) -> f64 {
        match self {
            Self::Smallest => f64::NAN,
            Self::Largest => f64::NEG_INFINITY,
        }
    }
}

impl MinMax {
    pub(super) fn smallest() -> Self {
        Self { engine: min_udaf(), side: Side::Smallest }
    }

    pub(super) fn largest() -> Self {
        Self { engine: max_udaf(), side: Side::Largest }
    }
}

fn is_double(args: &AccumulatorArgs<'_>) -> bool {
    *args.return_field.data_type() == DataType::Float64
}

impl AggregateUDFImpl for MinMax {
    fn name(&self) -> &str {
        self.engine.name()
    }

    fn signature(&self) -> &Signature {
        self.engine.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.engine.return_type(arg_types)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.engine.coerce_types(arg_types)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.engine.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if is_double(&args) {
            return Ok(Box::new(Best { side: self.side, value: None }));
        }
        self.engine.accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.engine.create_sliding_accumulator(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.engine.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        if !is_double(&args) {
            return self.engine.create_groups_accumulator(args);
        }
        let side = self.side;
        let take = move |known: &mut f64, new: f64| {
            if side.is_better(new, *known) {
                *known = new;
            }
        };
        let groups = PrimitiveGroupsAccumulator::<Float64Type, _>::new(&DataType::Float64, take);
        Ok(Box::new(groups.with_starting_value(side.worst())))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.engine.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.engine.reverse_udf()
    }

    fn is_descending(&self) -> Option<bool> {
        self.engine.is_descending()
    }

    fn value_from_stats(&self, statistics: &StatisticsArgs<'_>) -> Option<ScalarValue> {
        self.engine.value_from_stats(statistics)
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.engine.inner().set_monotonicity(data_type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.engine.documentation()
    }
}

/// The best of all rows.
#[derive(Debug)]
struct Best {
    side: Side,
    value: Option<f64>,
}

impl Accumulator for Best {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [values] = values else { return Ok(()) };
        for value in values.as_primitive::<Float64Type>().iter().flatten() {
            if self.value.is_none_or(|known| self.side.is_better(value, known)) {
                self.value = Some(value);
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.value))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}
