//! Small tables written down as a line of columns and a list of rows.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Int16Array, Int32Array, Int64Array, ListBuilder, StringArray,
    StringBuilder, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::types::{CHAR_MARK, OID_MARK};

/// One value of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f32),
    Text(String),
    Texts(Vec<String>),
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i32> for Cell {
    fn from(value: i32) -> Self {
        Self::Integer(i64::from(value))
    }
}

impl From<u32> for Cell {
    fn from(value: u32) -> Self {
        Self::Integer(i64::from(value))
    }
}

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Option<i64>> for Cell {
    fn from(value: Option<i64>) -> Self {
        value.map_or(Self::Null, Self::Integer)
    }
}

/// The columns that a line such as `oid:o relname:t` names: `o` object id, `s` `i` `l` whole numbers of 2, 4 and 8 bytes,
/// `f` real, `b` boolean, `c` character, `t` text, `z` time; doubled for a list.
pub(super) fn columns(line: &str) -> SchemaRef {
    let field = |word: &str| {
        let (name, kind) = word.split_once(':').unwrap_or((word, "t"));
        let marked = |data_type, mark: &str| {
            Field::new(name, data_type, true).with_metadata(HashMap::from([(mark.to_owned(), String::new())]))
        };
        match kind {
            "o" => marked(DataType::Int32, OID_MARK),
            "c" => marked(DataType::Utf8, CHAR_MARK),
            _ => Field::new(name, data_type(kind), true),
        }
    };
    Arc::new(Schema::new(line.split_whitespace().map(field).collect::<Vec<_>>()))
}

fn data_type(kind: &str) -> DataType {
    match kind {
        "s" => DataType::Int16,
        "i" => DataType::Int32,
        "l" => DataType::Int64,
        "f" => DataType::Float32,
        "b" => DataType::Boolean,
        "z" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "ss" => DataType::new_list(DataType::Int16, true),
        "oo" => DataType::new_list(DataType::Int32, true),
        "tt" => DataType::new_list(DataType::Utf8, true),
        _ => DataType::Utf8,
    }
}

/// A table of these rows; columns that a row does not name are NULL in it.
pub(super) fn table(schema: SchemaRef, rows: &[Vec<(&str, Cell)>]) -> Result<RecordBatch, ArrowError> {
    let cells = |name: &str| -> Vec<&Cell> {
        let cell = |row: &'_ Vec<(&str, Cell)>| row.iter().position(|(column, _)| *column == name);
        rows.iter().map(|row| cell(row).map_or(&Cell::Null, |at| &row[at].1)).collect()
    };
    let columns = schema.fields().iter().map(|field| column(field.data_type(), &cells(field.name())));
    let columns = columns.collect::<Vec<_>>();
    let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(schema, columns, &options)
}

fn column(data_type: &DataType, cells: &[&Cell]) -> ArrayRef {
    let integer = |cell: &&Cell| match cell {
        Cell::Integer(value) => Some(*value),
        _ => None,
    };
    match data_type {
        DataType::Int16 => {
            let narrow = |cell| integer(cell).and_then(|value| i16::try_from(value).ok());
            Arc::new(cells.iter().map(narrow).collect::<Int16Array>())
        }
        DataType::Int32 => {
            let narrow = |cell| integer(cell).and_then(|value| i32::try_from(value).ok());
            Arc::new(cells.iter().map(narrow).collect::<Int32Array>())
        }
        DataType::Int64 => Arc::new(cells.iter().map(integer).collect::<Int64Array>()),
        DataType::Float32 => {
            let float = |cell: &&Cell| match cell {
                Cell::Float(value) => Some(*value),
                _ => None,
            };
            Arc::new(cells.iter().map(float).collect::<Float32Array>())
        }
        DataType::Boolean => {
            let boolean = |cell: &&Cell| match cell {
                Cell::Boolean(value) => Some(*value),
                _ => None,
            };
            Arc::new(cells.iter().map(boolean).collect::<BooleanArray>())
        }
        DataType::Utf8 => {
            let text = |cell: &&'_ Cell| match cell {
                Cell::Text(value) => Some(value.clone()),
                _ => None,
            };
            Arc::new(cells.iter().map(text).collect::<StringArray>())
        }
        DataType::List(item) if item.data_type() == &DataType::Utf8 => {
            let mut lists = ListBuilder::new(StringBuilder::new()).with_field(Arc::clone(item));
            for cell in cells {
                match cell {
                    Cell::Texts(values) => lists.append_value(values.iter().map(Some)),
                    _ => lists.append_null(),
                }
            }
            Arc::new(lists.finish())
        }
        other => new_null_array(other, cells.len()),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn rows_fill_the_columns_that_they_name() {
        let schema = columns("oid:o name:t shown:b acl:tt");
        let rows = [
            vec![("oid", Cell::from(7)), ("name", "a".into()), ("acl", Cell::Texts(vec!["x".to_owned()]))],
            vec![("shown", true.into())],
        ];
        let batch = table(schema, &rows).unwrap();
        assert_eq!(batch.column(0).as_primitive::<Int32Type>().iter().collect::<Vec<_>>(), [Some(7), None]);
        assert_eq!(batch.column(1).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("a"), None]);
        assert!(batch.column(2).is_null(0) && batch.column(2).as_boolean().value(1));
        assert!(batch.column(3).is_null(1));
        assert_eq!(table(columns("a:i"), &[]).unwrap().num_rows(), 0);
    }
}
