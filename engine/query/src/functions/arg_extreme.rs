//! `arg_max` and `arg_min`: a value from the row with the largest or smallest other value.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, make_comparator};
use arrow::buffer::NullBuffer;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Documentation, GroupsAccumulator, Signature};

use super::arg_extreme_groups::Extremes;
use super::definition::{ArgumentKind, Definition, Described, FunctionKind, Parameter, required};

const PARAMETERS: [Parameter; 2] = [
    required("value", ArgumentKind::Any, "what is given back"),
    required("by", ArgumentKind::Any, "what decides"),
];

pub(super) static ARG_MAX: Definition = Definition {
    name: "arg_max",
    kind: FunctionKind::Aggregate,
    summary: "The value of the row in which by is largest; of equal by the smallest value. Rows in which either is NULL do \
              not count. NaN is larger than every number, as in max and ORDER BY: best leaves it out.",
    parameters: &PARAMETERS,
    returns: "as value",
    example: "SELECT arg_max(step, value) FROM (VALUES (1, 0.9), (2, 0.4), (3, 0.6)) AS points(step, value)",
};

pub(super) static ARG_MIN: Definition = Definition {
    name: "arg_min",
    kind: FunctionKind::Aggregate,
    summary: "The value of the row in which by is smallest; of equal by the smallest value. Rows in which either is NULL \
              do not count. NaN is larger than every number, as in min and ORDER BY.",
    parameters: &PARAMETERS,
    returns: "as value",
    example: "SELECT arg_min(step, value) FROM (VALUES (1, 0.9), (2, 0.4), (3, 0.6)) AS points(step, value)",
};

/// One of the two functions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ArgExtreme {
    wanted: Ordering,
    described: Described,
}

impl ArgExtreme {
    pub(super) fn largest() -> Self {
        Self { wanted: Ordering::Greater, described: (&ARG_MAX).into() }
    }

    pub(super) fn smallest() -> Self {
        Self { wanted: Ordering::Less, described: (&ARG_MIN).into() }
    }
}

impl AggregateUDFImpl for ArgExtreme {
    fn name(&self) -> &str {
        self.described.definition.name
    }

    fn signature(&self) -> &Signature {
        &self.described.signature
    }

    fn return_type(&self, argument_types: &[DataType]) -> Result<DataType> {
        match argument_types.first() {
            Some(value) => Ok(value.clone()),
            None => plan_err!("{} takes a value and what decides", self.described.definition.name),
        }
    }

    fn coerce_types(&self, argument_types: &[DataType]) -> Result<Vec<DataType>> {
        self.described.definition.coerce(argument_types)
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let null = |at: usize| ScalarValue::try_from(arguments.expr_fields[at].data_type());
        Ok(Box::new(Extreme { wanted: self.wanted, value: null(0)?, by: null(1)? }))
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        let types: Vec<&DataType> = arguments.expr_fields.iter().map(|field| field.data_type()).collect();
        Extremes::takes(&types)
    }

    fn create_groups_accumulator(
        &self,
        arguments: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let data_type = |at: usize| arguments.expr_fields[at].data_type();
        Ok(Box::new(Extremes::new(self.wanted, data_type(0), data_type(1))?))
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field = |name: &str, at: usize| {
            let data_type = arguments.input_fields[at].data_type().clone();
            Arc::new(Field::new(format_state_name(arguments.name, name), data_type, true))
        };
        Ok(vec![field("value", 0), field("by", 1)])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.described.documentation)
    }
}

/// The row that is best so far.
#[derive(Debug)]
struct Extreme {
    wanted: Ordering,
    value: ScalarValue,
    by: ScalarValue,
}

impl Extreme {
    fn take(&mut self, values: &ArrayRef, by: &ArrayRef) -> Result<()> {
        let options = SortOptions::default();
        let (compare_by, compare_values) =
            (make_comparator(by, by, options)?, make_comparator(values, values, options)?);
        let better = |a: usize, b: usize| match compare_by(a, b) {
            Ordering::Equal => compare_values(a, b).is_lt(),
            order => order == self.wanted,
        };
        // Also where NULL is not in a bitmap of its own, as in a column of nothing else.
        let (value_nulls, by_nulls) = (values.logical_nulls(), by.logical_nulls());
        let present =
            |nulls: &Option<NullBuffer>, row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        let mut best: Option<usize> = None;
        for row in 0..values.len() {
            let counts = present(&value_nulls, row) && present(&by_nulls, row);
            if counts && best.is_none_or(|best| better(row, best)) {
                best = Some(row);
            }
        }
        let Some(best) = best else { return Ok(()) };
        let (value, by) =
            (ScalarValue::try_from_array(values, best)?, ScalarValue::try_from_array(by, best)?);
        if self.by.is_null() || self.is_worse_than(&value, &by)? {
            // A slice of a batch must not keep the whole batch.
            self.value = value.compacted();
            self.by = by.compacted();
        }
        Ok(())
    }

    fn is_worse_than(&self, value: &ScalarValue, by: &ScalarValue) -> Result<bool> {
        Ok(match by.try_cmp(&self.by)? {
            Ordering::Equal => value.try_cmp(&self.value)?.is_lt(),
            order => order == self.wanted,
        })
    }
}

impl Accumulator for Extreme {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.take(&values[0], &values[1])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.value.size() + self.by.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), self.by.clone()])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.take(&states[0], &states[1])
    }
}
