//! Tables in batches of Arrow, whatever file they stand in. Columns of scalars are read, also those in structures of a W&B
//! history; lists and other structures are counted and left.

use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, make_array};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Fields, Float64Type, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType,
};

use super::guess::{self, Sample};
use super::mapping::Mapping;
use super::rows::{Rows, TextNumbers};
use super::{Cell, TablePlan};
use crate::columnar::{self, caught_in};
use crate::error::{ImportError, Result};
use crate::limits::Limits;
use crate::report::Reporter;
use crate::sink::Place;
use crate::source::Unit;

/// How many rows a plan looks at.
pub(super) const SAMPLE_ROWS: usize = 1_000;
/// How many rows a batch should have.
pub(crate) const BATCH_ROWS: usize = 8_192;

/// An open file.
pub(super) struct Batches {
    /// What it is, for messages.
    pub(super) kind: &'static str,
    pub(super) schema: SchemaRef,
    /// The size of the file, and how many rows it has.
    pub(super) bytes: u64,
    pub(super) rows: u64,
    /// When the file was last written, microseconds since 1970 UTC.
    pub(super) modified: i64,
    pub(super) next: Box<dyn FnMut() -> std::result::Result<Option<RecordBatch>, String>>,
}

pub(super) fn plan(
    path: &Path,
    mut batches: Batches,
    mapping: Option<&Mapping>,
    limits: &Limits,
) -> Result<TablePlan> {
    let mut names = Vec::new();
    let fields = batches.schema.fields();
    flat_names(fields, "", nesting(fields), &mut names);
    // A structure's `a{b}` may stand beside a column `a.b`.
    let different = names.iter().collect::<std::collections::HashSet<_>>().len();
    if different < names.len() {
        names = super::csv::unique_names(&names);
    }
    let columns = names.len();
    if columns > limits.columns {
        return Err(ImportError::TooLarge {
            path: path.to_owned(),
            what: "the number of columns",
            actual: columns as u64,
            limit: limits.columns as u64,
        });
    }
    let mut sample = Sample::default();
    for name in &names {
        sample.column(name);
    }
    if let Some(batch) = caught_in(path, batches.kind, || (batches.next)())? {
        let columns = readable_columns(path, batches.kind, &batch)?;
        for row in 0..batch.num_rows().min(SAMPLE_ROWS) {
            sample.begin_row();
            for (index, column) in columns.iter().enumerate() {
                sample.add(index, column.cell(row), |_| None);
            }
        }
    }
    let (form, columns) = guess::decide(path, &sample, mapping)?;
    Ok(TablePlan { form, columns, ..TablePlan::empty() })
}

pub(super) fn import(
    unit: &Unit,
    mut batches: Batches,
    plan: &TablePlan,
    reporter: &mut Reporter<'_>,
) -> Result<()> {
    let file = unit.path.as_path();
    let mut rows = Rows::new(unit, plan, TextNumbers::NonFinite, batches.modified);
    if rows.is_single_run() {
        rows.set_companion(super::document::companion_params(file, reporter)?);
    }
    let mut number = 0_u64;
    loop {
        let batch = match caught_in(file, batches.kind, || (batches.next)()) {
            Ok(Some(batch)) => batch,
            Ok(None) => break,
            Err(error) => {
                let place = Place::Row(number.saturating_add(1));
                reporter.reject(file, place, "file.cut", || {
                    format!("nothing behind this row can be read: {error}")
                })?;
                break;
            }
        };
        let columns = readable_columns(file, batches.kind, &batch)?;
        for row in 0..batch.num_rows() {
            number = number.saturating_add(1);
            let cells: Vec<Cell<'_>> = columns.iter().map(|column| column.cell(row)).collect();
            rows.row(reporter, Place::Row(number), &cells)?;
        }
        let share = u128::from(batches.bytes) * batch.num_rows() as u128 / u128::from(batches.rows.max(1));
        reporter.bytes.add(usize::try_from(share).unwrap_or(0));
    }
    rows.finish(reporter)
}

/// A column in one of the few types that cells are made of.
pub(crate) enum Column {
    Integers(arrow::array::Int64Array),
    Numbers(arrow::array::Float64Array),
    /// Numbers that are exact only as text.
    Decimals(arrow::array::StringArray),
    Texts(arrow::array::StringArray),
    Booleans(arrow::array::BooleanArray),
    Times(arrow::array::TimestampMicrosecondArray),
    Other(ArrayRef),
}

impl Column {
    pub(crate) fn cell(&self, row: usize) -> Cell<'_> {
        macro_rules! valid {
            ($array:ident, $make:expr) => {
                if $array.is_null(row) { Cell::Empty } else { $make($array.value(row)) }
            };
        }
        match self {
            Self::Integers(array) => valid!(array, Cell::Integer),
            Self::Numbers(array) => valid!(array, Cell::Number),
            Self::Decimals(array) => {
                valid!(array, |text: &str| text.parse().map_or(Cell::Other, Cell::Number))
            }
            Self::Texts(array) => valid!(array, Cell::Text),
            Self::Booleans(array) => valid!(array, Cell::Boolean),
            Self::Times(array) => valid!(array, Cell::Time),
            Self::Other(array) if array.is_null(row) => Cell::Empty,
            Self::Other(_) => Cell::Other,
        }
    }
}

fn readable_columns(path: &Path, kind: &'static str, batch: &RecordBatch) -> Result<Vec<Column>> {
    readable_to(path, kind, batch, nesting(batch.schema_ref().fields()))
}

/// The columns of a batch of Parquet in the order of [`flat_names`].
pub(crate) fn flat_readable(path: &Path, batch: &RecordBatch, depth: usize) -> Result<Vec<Column>> {
    readable_to(path, columnar::KIND, batch, depth)
}

fn readable_to(path: &Path, kind: &'static str, batch: &RecordBatch, depth: usize) -> Result<Vec<Column>> {
    let mut columns = Vec::new();
    for array in batch.columns() {
        flat_columns(array, depth, &mut columns);
    }
    let readable = |array| caught_in(path, kind, || readable(array).map_err(|error| error.to_string()));
    columns.iter().map(readable).collect()
}

/// How deep structures are taken apart where they are nested values.
pub(crate) const DEEPEST: usize = 8;

/// In a history that W&B exported structures are nested values; elsewhere not.
fn nesting(fields: &Fields) -> usize {
    if fields.iter().any(|field| field.name() == "_step") { DEEPEST } else { 0 }
}

/// Whether a structure is one of nested values: W&B's images, tables and other media name their `_type`.
fn is_nested(children: &Fields) -> bool {
    !children.is_empty() && children.iter().all(|child| child.name() != "_type")
}

/// The names of a file's columns; those of structures that are taken apart are joined with dots.
pub(crate) fn flat_names(fields: &Fields, above: &str, depth: usize, out: &mut Vec<String>) {
    for field in fields {
        let name = if above.is_empty() { field.name().clone() } else { format!("{above}.{}", field.name()) };
        match field.data_type() {
            DataType::Struct(children) if depth > 0 && is_nested(children) => {
                flat_names(children, &name, depth.saturating_sub(1), out);
            }
            _ => out.push(name),
        }
    }
}

/// The columns in the order of [`flat_names`]; what stands in a structure that is null is null.
fn flat_columns(array: &ArrayRef, depth: usize, out: &mut Vec<ArrayRef>) {
    match array.as_struct_opt() {
        Some(structure) if depth > 0 && is_nested(structure.fields()) => {
            for child in structure.columns() {
                let nulls = NullBuffer::union(structure.nulls(), child.nulls());
                let masked = match structure.nulls() {
                    None => None,
                    Some(_) => child.to_data().into_builder().nulls(nulls).build().ok(),
                };
                let child = masked.map_or_else(|| child.clone(), make_array);
                flat_columns(&child, depth.saturating_sub(1), out);
            }
        }
        _ => out.push(array.clone()),
    }
}

fn readable(array: &ArrayRef) -> std::result::Result<Column, arrow::error::ArrowError> {
    let to = |wanted: &DataType| cast(array, wanted);
    Ok(match array.data_type() {
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32 => Column::Integers(to(&DataType::Int64)?.as_primitive::<Int64Type>().clone()),
        DataType::UInt64 | DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            Column::Numbers(to(&DataType::Float64)?.as_primitive::<Float64Type>().clone())
        }
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => Column::Decimals(to(&DataType::Utf8)?.as_string::<i32>().clone()),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            Column::Texts(to(&DataType::Utf8)?.as_string::<i32>().clone())
        }
        DataType::Dictionary(_, value) => match value.as_ref() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                Column::Texts(to(&DataType::Utf8)?.as_string::<i32>().clone())
            }
            other => readable(&to(other)?)?,
        },
        DataType::Boolean => Column::Booleans(array.as_boolean().clone()),
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            let micros = to(&DataType::Timestamp(TimeUnit::Microsecond, None))?;
            Column::Times(micros.as_primitive::<TimestampMicrosecondType>().clone())
        }
        _ => Column::Other(array.clone()),
    })
}
