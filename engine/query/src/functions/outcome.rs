//! Results with several named numbers: one struct a group, built column by column.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, StringArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
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

/// One number, word, truth or list of a result.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    /// A double.
    Number(Option<f64>),
    /// A whole number.
    Count(Option<u64>),
    /// A stable word.
    Word(Option<&'static str>),
    /// A text of the data.
    Text(String),
    /// A truth.
    Truth(Option<bool>),
    /// Rows of their own, their cells in the order of the fields of the list's struct.
    Rows(Vec<Vec<Cell>>),
}

/// Cells of numbers that are known.
pub(super) fn known<const N: usize>(numbers: [f64; N]) -> Vec<Cell> {
    numbers.map(|number| Cell::Number(Some(number))).to_vec()
}

/// A field with a list of rows.
pub(super) fn rows_field(name: &'static str, fields: &[(&str, DataType)]) -> (&'static str, DataType) {
    (name, rows_type(fields))
}

/// The type of a list of rows.
pub(super) fn rows_type(fields: &[(&str, DataType)]) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(struct_type(fields), true)))
}

/// The struct array of rows of cells, which stand in the order of the fields. What is missing is NULL.
pub(super) fn struct_of_rows<R: AsRef<[Cell]>>(fields: &[(&str, DataType)], rows: &[R]) -> Result<ArrayRef> {
    let columns = fields.iter().enumerate().map(|(position, (_, data_type))| {
        column_of(data_type, rows.iter().map(move |row| row.as_ref().get(position)))
    });
    struct_array(fields, columns.collect::<Result<_>>()?)
}

/// The column of rows of cells: a struct takes all of them, any other type the first.
pub(super) fn column_of_rows<R: AsRef<[Cell]>>(data_type: &DataType, rows: &[R]) -> Result<ArrayRef> {
    let DataType::Struct(fields) = data_type else {
        return column_of(data_type, rows.iter().map(|row| row.as_ref().first()));
    };
    let fields: Vec<(&str, DataType)> =
        fields.iter().map(|field| (field.name().as_str(), field.data_type().clone())).collect();
    struct_of_rows(&fields, rows)
}

/// The column of one cell a row.
fn column_of<'a>(data_type: &DataType, cells: impl Iterator<Item = Option<&'a Cell>>) -> Result<ArrayRef> {
    Ok(match data_type {
        DataType::Float64 => Arc::new(
            cells
                .map(|cell| if let Some(Cell::Number(number)) = cell { *number } else { None })
                .collect::<Float64Array>(),
        ),
        DataType::Int64 => Arc::new(
            cells
                .map(|cell| if let Some(Cell::Count(count)) = cell { *count } else { None })
                .map(|count| count.map(|count| i64::try_from(count).unwrap_or(i64::MAX)))
                .collect::<Int64Array>(),
        ),
        DataType::Utf8 => Arc::new(
            cells
                .map(|cell| match cell {
                    Some(Cell::Word(word)) => *word,
                    Some(Cell::Text(text)) => Some(text.as_str()),
                    _ => None,
                })
                .collect::<StringArray>(),
        ),
        DataType::Boolean => Arc::new(
            cells
                .map(|cell| if let Some(Cell::Truth(truth)) = cell { *truth } else { None })
                .collect::<BooleanArray>(),
        ),
        DataType::List(item) => list_of(item, cells)?,
        other => return internal_err!("no column of results has the type {other}"),
    })
}

fn list_of<'a>(item: &Arc<Field>, cells: impl Iterator<Item = Option<&'a Cell>>) -> Result<ArrayRef> {
    let (mut lengths, mut given, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for cell in cells {
        let own = if let Some(Cell::Rows(own)) = cell { Some(own) } else { None };
        lengths.push(own.map_or(0, Vec::len));
        given.push(own.is_some());
        rows.extend(own.into_iter().flatten().map(Vec::as_slice));
    }
    let items = column_of_rows(item.data_type(), &rows)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, items, Some(NullBuffer::from(given)))?))
}
