//! Asking SQL for what a golden vector expects: rows of an answer as JSON, in the notation of the golden files.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};
use serde_json::{Map, Value, json};

use crate::functions_golden::literal;
use crate::golden::{Vector, shown};
use crate::lake::Lake;

fn cell(column: &ArrayRef, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Float64 => shown(column.as_primitive::<Float64Type>().value(row)),
        DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(row)),
        DataType::UInt64 => json!(column.as_primitive::<UInt64Type>().value(row)),
        DataType::Boolean => json!(column.as_boolean().value(row)),
        DataType::Utf8 => json!(column.as_string::<i32>().value(row)),
        DataType::Utf8View => json!(column.as_string_view().value(row)),
        DataType::List(_) => {
            let list = column.as_list::<i32>().value(row);
            (0..list.len()).map(|item| cell(&list, item)).collect()
        }
        DataType::Struct(fields) => {
            let columns = column.as_struct().columns().iter();
            let cells =
                fields.iter().zip(columns).map(|(field, column)| (field.name().clone(), cell(column, row)));
            Value::Object(cells.collect())
        }
        other => panic!("say what {other} is in JSON"),
    }
}

/// Every row of an answer, an object with the names of its columns.
pub(crate) fn rows(lake: &Lake, sql: &str) -> Vec<Value> {
    let batches = lake.ask(sql).unwrap_or_else(|error| panic!("{sql}\n{error}"));
    let mut rows = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let schema = batch.schema();
            let cells = schema.fields().iter().zip(batch.columns());
            let object: Map<String, Value> =
                cells.map(|(field, column)| (field.name().clone(), cell(column, row))).collect();
            rows.push(Value::Object(object));
        }
    }
    rows
}

/// The one row of an answer.
pub(crate) fn row(lake: &Lake, sql: &str) -> Value {
    let mut rows = rows(lake, sql);
    assert_eq!(rows.len(), 1, "{sql}");
    rows.remove(0)
}

/// What a call gives over rows.
pub(crate) fn of(lake: &Lake, call: &str, from: &str) -> Value {
    row(lake, &format!("SELECT {call} AS s FROM {from}"))["s"].take()
}

/// What a call of constants gives.
pub(crate) fn scalar(lake: &Lake, call: &str) -> Value {
    row(lake, &format!("SELECT {call} AS s"))["s"].take()
}

/// A column of what a call gives along rows.
pub(crate) fn along(lake: &Lake, call: &str, from: &str) -> Vec<Value> {
    let sql = format!("SELECT {call} OVER (ORDER BY i) AS s FROM {from} ORDER BY i");
    rows(lake, &sql).into_iter().map(|mut row| row["s"].take()).collect()
}

/// Rows of cells as a table.
pub(crate) fn table(rows: impl IntoIterator<Item = String>, columns: &str) -> String {
    let rows: Vec<String> = rows.into_iter().map(|row| format!("({row})")).collect();
    if rows.is_empty() {
        let nothing: Vec<String> =
            columns.split(", ").map(|name| format!("NULL::double AS {name}")).collect();
        return format!("(SELECT {} WHERE false) AS t", nothing.join(", "));
    }
    format!("(VALUES {}) AS t({columns})", rows.join(","))
}

/// `t(i, x)`: the values with their places.
pub(crate) fn values(values: &[f64]) -> String {
    table(values.iter().enumerate().map(|(i, x)| format!("{i}, {}", literal(*x))), "i, x")
}

/// `t(i, x, arm)`: the arms of a vector with places, which pair them.
pub(crate) fn arms(vector: &Vector, names: &[&str]) -> String {
    let arm = |name: &&str| -> Vec<String> {
        let values = vector.input(name);
        values.iter().enumerate().map(|(i, x)| format!("{i}, {}, '{name}'", literal(*x))).collect()
    };
    table(names.iter().flat_map(arm), "i, x, arm")
}

/// A list of numbers.
pub(crate) fn list(values: &[f64]) -> String {
    format!("[{}]", values.iter().map(|value| literal(*value)).collect::<Vec<_>>().join(", "))
}

/// A field of each of several structs.
pub(crate) fn each(structs: &[Value], field: &str) -> Value {
    structs.iter().map(|one| one[field].clone()).collect()
}

/// The two ends of an interval.
pub(crate) fn ends(of: &Value) -> Value {
    json!([of["low"], of["high"]])
}

/// The code of a mistake in the question, which ends a statement with words of its own.
pub(crate) fn refused(lake: &Lake, sql: &str) -> &'static str {
    let message = lake.ask(sql).expect_err(sql).to_string();
    let words = [
        ("NaN or infinite values", "nonfinite_value"),
        ("is not a probability", "probability_out_of_range"),
        ("give a number from 0 to 1", "probability_out_of_range"),
        ("counts are 0 or more", "negative_count"),
        ("needs a margin above 0", "margin_required"),
        ("must not be negative", "margin_negative"),
        ("alpha", "alpha_out_of_range"),
    ];
    let code = words.iter().find(|(word, _)| message.contains(word));
    code.unwrap_or_else(|| panic!("{sql}: {message}")).1
}
