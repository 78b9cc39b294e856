//! Window functions that look along the rows of a partition: what they share.
//!
//! All of them run row by row with a bounded look back and ahead, so that a partition is never held as a whole.

use std::fmt::Debug;
use std::hash::Hash;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{Documentation, LimitEffect, PartitionEvaluator, Signature, WindowUDFImpl};
use datafusion::physical_expr::PhysicalExpr;

use super::definition::{Constants, Definition, Described, constants_of};

/// A function along a window.
pub(super) trait WindowFunction:
    Debug + Clone + Send + Sync + PartialEq + Eq + Hash + 'static
{
    /// Its description; the first parameter is the column of values.
    fn definition(&self) -> &'static Definition;

    /// Its type.
    fn return_type(&self) -> DataType;

    /// Checks the constants of a call and starts before the first row of a partition.
    fn evaluator(&self, constants: &Constants<'_>) -> Result<Box<dyn PartitionEvaluator>>;
}

/// Makes a [`WindowFunction`] a window function of DataFusion.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Windowed<F> {
    function: F,
    described: Described,
}

impl<F: WindowFunction> Windowed<F> {
    pub(super) fn new(function: F) -> Self {
        Self { described: function.definition().into(), function }
    }
}

impl<F: WindowFunction> WindowUDFImpl for Windowed<F> {
    fn name(&self) -> &str {
        self.function.definition().name
    }

    fn signature(&self) -> &Signature {
        &self.described.signature
    }

    fn coerce_types(&self, argument_types: &[DataType]) -> Result<Vec<DataType>> {
        self.function.definition().coerce(argument_types)
    }

    fn field(&self, arguments: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(arguments.name(), self.function.return_type(), true)))
    }

    fn partition_evaluator(
        &self,
        arguments: PartitionEvaluatorArgs<'_>,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        let values = constants_of(arguments.input_exprs());
        self.function.evaluator(&Constants::new(self.function.definition(), &values)?)
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.described.documentation)
    }

    fn limit_effect(&self, _arguments: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}

/// A statistic that takes one value after another and needs nothing that comes later.
pub(super) trait Running: Debug + Send + 'static {
    /// The answer for the next value.
    fn next(&mut self, value: f64) -> ScalarValue;

    /// The answer for a NULL, which is not taken in.
    fn null(&self) -> ScalarValue;
}

/// Runs a [`Running`] over a partition.
#[derive(Debug)]
pub(super) struct RunningEvaluator<R>(pub(super) R);

impl<R: Running> PartitionEvaluator for RunningEvaluator<R> {
    fn is_causal(&self) -> bool {
        true
    }

    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        let column = values[0].as_primitive::<Float64Type>();
        if range.start >= column.len() {
            return internal_err!("a window function was asked beyond its rows");
        }
        if column.is_null(range.start) {
            return Ok(self.0.null());
        }
        Ok(self.0.next(column.value(range.start)))
    }

    fn supports_bounded_execution(&self) -> bool {
        true
    }
}
