//! Window functions that look along the rows of a partition: what they share.
//!
//! Most run row by row with a bounded look back and ahead, so that a partition is never held as a whole; those that
//! answer a partition in one go say so.

use std::fmt;
use std::fmt::Debug;
use std::hash::Hash;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, internal_err};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{Documentation, LimitEffect, PartitionEvaluator, Signature, WindowUDFImpl};
use datafusion::physical_expr::PhysicalExpr;

use super::definition::{Constants, Definition, Described, constants_of};
use super::outcome::{Cell, column_of_rows};

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

/// From all values of a partition in their order to the cells of each.
pub(super) type OfPartition = Box<dyn Fn(&[f64]) -> analysis::Result<Vec<Vec<Cell>>> + Send + Sync>;

/// Answers a partition in one go, holding it in memory. NULLs are not counted and stay NULL.
pub(super) struct WholePartition {
    pub(super) name: &'static str,
    pub(super) data_type: DataType,
    pub(super) answer: OfPartition,
}

impl Debug for WholePartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WholePartition").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartitionEvaluator for WholePartition {
    fn evaluate_all(&mut self, values: &[ArrayRef], _rows: usize) -> Result<ArrayRef> {
        let Some(column) = values.first().and_then(|column| column.as_primitive_opt::<Float64Type>()) else {
            return exec_err!("{} takes a column of numbers", self.name);
        };
        let given: Vec<f64> = column.iter().flatten().collect();
        let answers = (self.answer)(&given)
            .map_err(|error| DataFusionError::Execution(format!("{}: {error}", self.name)))?;
        let mut answers = answers.into_iter();
        let rows = (0..column.len())
            .map(|row| if column.is_valid(row) { answers.next().unwrap_or_default() } else { Vec::new() });
        column_of_rows(&self.data_type, &rows.collect::<Vec<_>>())
    }
}
