//! Results with several named numbers: one struct a group, built column by column.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, internal_err};

/// The fields of a struct result.
pub(super) fn struct_type(fields: &[(&str, DataType)]) -> DataType {
    DataType::Struct(struct_fields(fields))
}

fn struct_fields(fields: &[(&str, DataType)]) -> Fields {
    fields.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect()
}

/// The struct array of one column a field.
pub(super) fn struct_array(fields: &[(&str, DataType)], columns: Vec<ArrayRef>) -> Result<ArrayRef> {
    Ok(Arc::new(StructArray::try_new(struct_fields(fields), columns, None)?))
}

/// A column of doubles.
pub(super) fn numbers(values: Vec<Option<f64>>) -> ArrayRef {
    Arc::new(Float64Array::from(values))
}

/// A column of counts.
pub(super) fn counts(values: Vec<usize>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values.into_iter().map(|n| n as i64)))
}

/// A column of texts.
pub(super) fn texts<T: AsRef<str>>(values: Vec<Option<T>>) -> ArrayRef {
    Arc::new(values.iter().map(|text| text.as_ref().map(AsRef::as_ref)).collect::<StringArray>())
}

/// The fields of an estimate with its interval.
pub(super) const INTERVAL: [(&str, DataType); 8] = [
    ("estimate", DataType::Float64),
    ("low", DataType::Float64),
    ("high", DataType::Float64),
    ("se", DataType::Float64),
    ("method", DataType::Utf8),
    ("n", DataType::Int64),
    ("n_nonfinite", DataType::Int64),
    ("warning", DataType::Utf8),
];

/// An estimate with its interval, as far as the sample allows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Interval {
    /// The statistic of the sample; NULL for an empty one.
    pub(super) estimate: Option<f64>,
    /// Lower end; NULL where there is none.
    pub(super) low: Option<f64>,
    /// Upper end.
    pub(super) high: Option<f64>,
    /// Standard error.
    pub(super) standard_error: Option<f64>,
    /// Values used.
    pub(super) count: usize,
    /// Values that are NaN or infinite, used or dropped.
    pub(super) nonfinite_count: usize,
    /// Stable words, separated by commas.
    pub(super) warning: Option<String>,
}

/// One struct of [`INTERVAL`] for each element.
pub(super) fn intervals(method: &str, intervals: Vec<Interval>) -> Result<ArrayRef> {
    let column = |of: fn(&Interval) -> Option<f64>| numbers(intervals.iter().map(of).collect());
    let columns = vec![
        column(|i| i.estimate),
        column(|i| i.low),
        column(|i| i.high),
        column(|i| i.standard_error),
        texts(intervals.iter().map(|_| Some(method)).collect()),
        counts(intervals.iter().map(|i| i.count).collect()),
        counts(intervals.iter().map(|i| i.nonfinite_count).collect()),
        texts(intervals.iter().map(|i| i.warning.as_deref()).collect()),
    ];
    struct_array(&INTERVAL, columns)
}

/// One number, word or truth of a result.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    /// A double.
    Number(Option<f64>),
    /// A whole number.
    Count(Option<u64>),
    /// A stable word.
    Word(Option<&'static str>),
    /// A truth.
    Truth(Option<bool>),
}

/// The struct array of rows of cells, which stand in the order of the fields.
pub(super) fn struct_of_rows(fields: &[(&str, DataType)], rows: &[Vec<Cell>]) -> Result<ArrayRef> {
    let columns = fields.iter().enumerate().map(|(position, (name, data_type))| {
        let cells = rows.iter().map(|row| row.get(position));
        Ok(match data_type {
            DataType::Float64 => Arc::new(
                cells
                    .map(|cell| if let Some(Cell::Number(number)) = cell { *number } else { None })
                    .collect::<Float64Array>(),
            ) as ArrayRef,
            DataType::Int64 => Arc::new(
                cells
                    .map(|cell| if let Some(Cell::Count(count)) = cell { *count } else { None })
                    .map(|count| count.map(|count| i64::try_from(count).unwrap_or(i64::MAX)))
                    .collect::<Int64Array>(),
            ),
            DataType::Utf8 => Arc::new(
                cells
                    .map(|cell| if let Some(Cell::Word(word)) = cell { *word } else { None })
                    .collect::<StringArray>(),
            ),
            DataType::Boolean => Arc::new(
                cells
                    .map(|cell| if let Some(Cell::Truth(truth)) = cell { *truth } else { None })
                    .collect::<BooleanArray>(),
            ),
            other => return internal_err!("no column of results has the type {other} of {name}"),
        })
    });
    struct_array(fields, columns.collect::<Result<_>>()?)
}
