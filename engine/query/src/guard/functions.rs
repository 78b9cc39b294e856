//! Functions whose result can be much larger than the statement: the engine's own, behind a cap.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunction, TableFunctionArgs, TableFunctionImpl};
use datafusion::common::{DataFusionError, Result, ScalarValue, plan_err};
use datafusion::datasource::{TableProvider, TableType};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, TableProviderFilterPushDown,
};
use datafusion::physical_plan::ExecutionPlan;

/// What one call over one batch may return.
const OUTPUT_BYTES: u64 = 16 << 20;
/// Rows that `range(...)` and `generate_series(...)` give in FROM.
const SERIES_ROWS: i128 = 10_000_000;

/// Which arguments say how large a result gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Growth {
    /// Bytes of the first argument times the second.
    Repeat,
    /// Characters as many as the second argument says.
    Pad,
    /// The first argument as often as the second says.
    RepeatElement,
    /// Elements as many as the second argument says.
    Resize,
    /// As many as lie between two whole numbers.
    Range,
}

fn growth_of(name: &str) -> Option<Growth> {
    match name {
        "repeat" => Some(Growth::Repeat),
        "lpad" | "rpad" => Some(Growth::Pad),
        "array_repeat" => Some(Growth::RepeatElement),
        "array_resize" => Some(Growth::Resize),
        "range" | "generate_series" | "gen_series" => Some(Growth::Range),
        _ => None,
    }
}

/// The scalar functions, those that grow behind their cap.
pub(crate) fn guarded_scalar_functions(functions: Vec<Arc<ScalarUDF>>) -> Vec<Arc<ScalarUDF>> {
    functions
        .into_iter()
        .map(|function| match growth_of(function.name()) {
            Some(growth) => Arc::new(ScalarUDF::from(Capped { inner: function, growth })),
            None => function,
        })
        .collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Capped {
    inner: Arc<ScalarUDF>,
    growth: Growth,
}

impl ScalarUDFImpl for Capped {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, argument_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(argument_types)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(arguments)
    }

    fn coerce_types(&self, argument_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(argument_types)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let bytes = self.growth.bytes(&arguments)?;
        if bytes > OUTPUT_BYTES {
            return plan_err!(
                "{} would return about {} MiB for {} row(s), the limit is {} MiB",
                self.name(),
                bytes >> 20,
                arguments.number_rows,
                OUTPUT_BYTES >> 20
            );
        }
        self.inner.invoke_with_args(arguments)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

impl Growth {
    /// About how many bytes a call returns.
    fn bytes(self, arguments: &ScalarFunctionArgs) -> Result<u64> {
        let all_scalar = arguments.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if all_scalar { 1 } else { arguments.number_rows };
        let integers = |position: usize| -> Result<Option<arrow::array::ArrayRef>> {
            let Some(argument) = arguments.args.get(position) else { return Ok(None) };
            let array = argument.to_array(rows)?;
            if !array.data_type().is_integer() && array.data_type() != &DataType::Null {
                return Ok(None);
            }
            Ok(Some(arrow::compute::cast(&array, &DataType::Int64)?))
        };
        let at = |array: &arrow::array::ArrayRef, row: usize| -> i128 {
            let array = array.as_primitive::<Int64Type>();
            if array.is_valid(row) { i128::from(array.value(row)) } else { 0 }
        };
        let mut total: u128 = 0;
        match self {
            Self::Repeat => {
                let Some(counts) = integers(1)? else { return Ok(0) };
                let texts = arrow::compute::cast(&arguments.args[0].to_array(rows)?, &DataType::Utf8)?;
                let texts = texts.as_string::<i32>();
                for row in 0..rows {
                    let bytes = if texts.is_valid(row) { texts.value(row).len() } else { 0 };
                    total += at(&counts, row).max(0).unsigned_abs() * bytes as u128;
                }
            }
            Self::Pad | Self::Resize => {
                let Some(counts) = integers(1)? else { return Ok(0) };
                for row in 0..rows {
                    total += at(&counts, row).max(0).unsigned_abs() * 8;
                }
            }
            Self::RepeatElement => {
                let Some(counts) = integers(1)? else { return Ok(0) };
                let elements = arguments.args[0].to_array(rows)?;
                let each = (elements.get_array_memory_size() / rows.max(1)) as u128 + 8;
                for row in 0..rows {
                    total += at(&counts, row).max(0).unsigned_abs() * each;
                }
            }
            Self::Range => {
                let integer = |position: usize| integers(position);
                let (Some(first), second) = (integer(0)?, integer(1)?) else {
                    return plan_err!("range of anything but whole numbers is not allowed outside of FROM");
                };
                if second.is_none() && arguments.args.len() > 1 {
                    return plan_err!("range of anything but whole numbers is not allowed outside of FROM");
                }
                let third = integer(2)?;
                for row in 0..rows {
                    let (start, stop) = match &second {
                        Some(second) => (at(&first, row), at(second, row)),
                        None => (0, at(&first, row)),
                    };
                    let step = third.as_ref().map_or(1, |third| at(third, row)).abs().max(1);
                    total += ((stop - start).unsigned_abs() / step.unsigned_abs() + 1) * 8;
                }
            }
        }
        Ok(u64::try_from(total).unwrap_or(u64::MAX))
    }
}

/// The table functions, behind their cap.
pub(crate) fn guarded_table_functions(functions: Vec<Arc<TableFunction>>) -> Vec<Arc<TableFunction>> {
    functions
        .into_iter()
        .filter(|function| matches!(function.name(), "range" | "generate_series"))
        .map(|function| {
            let name = function.name().to_owned();
            Arc::new(TableFunction::new(name, Arc::new(CappedSeriesFunction { inner: function })))
        })
        .collect()
}

#[derive(Debug)]
struct CappedSeriesFunction {
    inner: Arc<TableFunction>,
}

impl TableFunctionImpl for CappedSeriesFunction {
    fn call_with_args(&self, arguments: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let integers: Option<Vec<i128>> = arguments
            .exprs()
            .iter()
            .map(|argument| match argument {
                Expr::Literal(ScalarValue::Int64(number), _) => number.map(i128::from),
                _ => None,
            })
            .collect();
        let count = match integers.as_deref() {
            Some([stop]) => *stop,
            Some([start, stop]) => stop - start,
            Some([start, stop, step]) => (stop - start) / if *step == 0 { 1 } else { *step },
            // Times are made one by one while they are read; the time limit ends them.
            _ => 0,
        };
        if count > SERIES_ROWS {
            return plan_err!("{} would give {count} rows, the limit is {SERIES_ROWS}", self.inner.name());
        }
        let inner = self.inner.create_table_provider_with_args(arguments)?;
        Ok(Arc::new(CappedSeries { inner }))
    }
}

/// A table of `range(...)` whose size was checked.
#[derive(Debug)]
pub(super) struct CappedSeries {
    inner: Arc<dyn TableProvider>,
}

#[async_trait]
impl TableProvider for CappedSeries {
    fn schema(&self) -> arrow::datatypes::SchemaRef {
        self.inner.schema()
    }

    fn table_type(&self) -> TableType {
        self.inner.table_type()
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.inner.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        self.inner.scan(session, projection, filters, limit).await
    }
}
