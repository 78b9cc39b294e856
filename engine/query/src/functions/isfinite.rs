//! `isfinite`: neither NaN nor infinite.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use super::definition::{ArgumentKind, Definition, FunctionKind, required};

pub(super) static DEFINITION: Definition = Definition {
    name: "isfinite",
    kind: FunctionKind::Scalar,
    summary: "Whether a number is neither NaN nor infinite. NULL gives NULL: not recorded is not the same as diverged.",
    parameters: &[required("x", ArgumentKind::Value, "the number")],
    returns: "boolean",
    example: "SELECT count(*) FROM (VALUES (0.5), ('NaN'::double)) AS v(x) WHERE isfinite(x)",
};

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct IsFinite {
    signature: Signature,
}

impl IsFinite {
    pub(super) fn new() -> Self {
        let numeric = TypeSignature::Numeric(1);
        Self {
            signature: Signature::one_of(
                vec![numeric, TypeSignature::Exact(vec![DataType::Null])],
                Volatility::Immutable,
            ),
        }
    }
}

impl ScalarUDFImpl for IsFinite {
    fn name(&self) -> &str {
        DEFINITION.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(column) = columns.first() else {
            return datafusion::common::exec_err!("isfinite takes one number");
        };
        let numbers = cast(column, &DataType::Float64)?;
        let numbers = numbers.as_primitive::<Float64Type>();
        let finite = BooleanBuffer::collect_bool(numbers.len(), |row| numbers.values()[row].is_finite());
        let finite = BooleanArray::new(finite, numbers.nulls().cloned());
        Ok(ColumnarValue::Array(Arc::new(finite) as ArrayRef))
    }
}
