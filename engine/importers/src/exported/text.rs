//! Tables of an export in CSV and JSON lines, as columns of their types.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, SchemaRef};
use jiter::JsonValue;

use super::ExportForm;
use crate::error::{ImportError, Result};
use crate::files;
use crate::json;
use crate::number::parse_number;
use crate::report::Reporter;
use crate::sink::Place;
use crate::table::Cell;

const KIND: &str = "a table of a Runlake export";

/// The rows of one file. A row that cannot be taken is a rejection.
pub(super) struct TextRows {
    reader: BufReader<Box<dyn Read>>,
    record: Vec<u8>,
    longest: usize,
    /// Of CSV: where the column stands in a record, by its place in the schema.
    header: Option<Vec<Option<usize>>>,
    schema: SchemaRef,
    batch_rows: usize,
    /// Rows read so far, with those that were rejected.
    rows: u64,
    numbers: Vec<u64>,
}

impl TextRows {
    pub(super) fn open(
        path: &Path,
        form: ExportForm,
        schema: &SchemaRef,
        batch_rows: usize,
        reporter: &Reporter<'_>,
    ) -> Result<Self> {
        let unpacked = files::open_unpacked(path, reporter.limits, &reporter.bytes)?;
        let mut rows = Self {
            reader: BufReader::with_capacity(1 << 17, unpacked.reader),
            record: Vec::new(),
            longest: reporter.limits.line_bytes,
            header: None,
            schema: Arc::clone(schema),
            batch_rows,
            rows: 0,
            numbers: Vec::new(),
        };
        if form == ExportForm::Csv {
            rows.read_record(true).map_err(|reason| ImportError::unreadable(path, KIND, reason))?;
            let header = rows.header_of().map_err(|reason| ImportError::unreadable(path, KIND, reason))?;
            rows.header = Some(header);
        }
        Ok(rows)
    }

    /// Rows read so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// The numbers of the rows of the last batch.
    pub(super) fn numbers(&self) -> &[u64] {
        &self.numbers
    }

    pub(super) fn next(&mut self, path: &Path, reporter: &mut Reporter<'_>) -> Result<Option<RecordBatch>> {
        self.numbers.clear();
        let schema = Arc::clone(&self.schema);
        let mut columns: Vec<Column> =
            schema.fields().iter().map(|field| Column::new(field.data_type())).collect();
        while self.numbers.len() < self.batch_rows {
            let more = self
                .read_record(self.header.is_some())
                .map_err(|reason| ImportError::unreadable(path, KIND, reason))?;
            if !more {
                break;
            }
            self.rows = self.rows.saturating_add(1);
            match take_row(&self.record, self.header.as_deref(), &schema, &mut columns) {
                Ok(()) => self.numbers.push(self.rows),
                Err(reason) => {
                    reporter.reject(path, Place::Row(self.rows), "row.malformed", || reason)?;
                }
            }
        }
        if self.numbers.is_empty() {
            return Ok(None);
        }
        let columns = columns.into_iter().map(Column::finish).collect();
        RecordBatch::try_new(schema, columns)
            .map(Some)
            .map_err(|error| ImportError::unreadable(path, KIND, error.to_string()))
    }

    /// Reads a record into `record`, without its end; false at the end of the file. In CSV it goes on over line ends
    /// while a quote is open.
    fn read_record(&mut self, quotes: bool) -> std::result::Result<bool, String> {
        loop {
            self.record.clear();
            let mut searched = 0;
            let mut quoted = false;
            loop {
                let most = self.longest.saturating_add(1).saturating_sub(self.record.len()) as u64;
                let read = (&mut self.reader)
                    .take(most)
                    .read_until(b'\n', &mut self.record)
                    .map_err(|error| error.to_string())?;
                if self.record.len() > self.longest {
                    return Err(format!("a row is longer than {} bytes", self.longest));
                }
                if quotes {
                    let new = self.record.get(searched..).unwrap_or_default();
                    quoted ^= new.iter().filter(|byte| **byte == b'"').count() % 2 == 1;
                }
                searched = self.record.len();
                if read == 0 {
                    if quoted {
                        return Err("the file ends inside of quotes".to_owned());
                    }
                    break;
                }
                if !quoted {
                    break;
                }
            }
            if self.record.is_empty() {
                return Ok(false);
            }
            for end in [b'\n', b'\r'] {
                if self.record.last() == Some(&end) {
                    self.record.pop();
                }
            }
            // A line with nothing in it is no row.
            if !self.record.is_empty() {
                return Ok(true);
            }
        }
    }

    /// Where the wanted columns stand, from the record that was read last.
    fn header_of(&self) -> std::result::Result<Vec<Option<usize>>, String> {
        let record = self.record.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.record);
        let text = std::str::from_utf8(record).map_err(|_| "it is not UTF-8".to_owned())?;
        let names = split(text)?;
        self.schema
            .fields()
            .iter()
            .map(|field| {
                let place = names.iter().position(|name| name.as_deref() == Some(field.name()));
                if place.is_none() && !field.is_nullable() {
                    return Err(format!("it has no column {}", field.name()));
                }
                Ok(place)
            })
            .collect()
    }
}

/// Appends a row to the columns: all of its cells, or none.
fn take_row(
    record: &[u8],
    header: Option<&[Option<usize>]>,
    schema: &SchemaRef,
    columns: &mut [Column],
) -> std::result::Result<(), String> {
    let wanted = schema.fields().iter();
    match header {
        Some(header) => {
            let text = std::str::from_utf8(record).map_err(|_| "the row is not UTF-8".to_owned())?;
            let fields = split(text)?;
            let cells = wanted.zip(header).map(|(field, place)| {
                let text = place.and_then(|place| fields.get(place)).and_then(Option::as_deref);
                cell_of_text(field, text)
            });
            append(columns, &cells.collect::<std::result::Result<Vec<_>, _>>()?);
        }
        None => {
            let JsonValue::Object(object) = json::parse(record)? else {
                return Err("the line holds no JSON object".to_owned());
            };
            let cells = wanted.map(|field| cell_of_json(field, json::get(&object, field.name())));
            append(columns, &cells.collect::<std::result::Result<Vec<_>, _>>()?);
        }
    }
    Ok(())
}

/// The fields of a CSV record: nothing between commas is `None`, quotes around nothing an empty text.
fn split(record: &str) -> std::result::Result<Vec<Option<std::borrow::Cow<'_, str>>>, String> {
    let mut fields = Vec::new();
    let mut rest = record;
    loop {
        let (field, behind) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let mut end = 0;
                loop {
                    let tail = quoted.get(end..).unwrap_or_default();
                    let Some(quote) = tail.find('"') else { return Err("a quote is not closed".to_owned()) };
                    end = end.saturating_add(quote);
                    if quoted.get(end.saturating_add(1)..).is_some_and(|next| next.starts_with('"')) {
                        end = end.saturating_add(2);
                    } else {
                        break;
                    }
                }
                let (text, behind) = (quoted.get(..end), quoted.get(end.saturating_add(1)..));
                let text = text.unwrap_or_default();
                let text = if text.contains('"') { text.replace("\"\"", "\"").into() } else { text.into() };
                (Some(text), behind.unwrap_or_default())
            }
            None => {
                let (text, behind) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
                if text.contains('"') {
                    return Err("a quote stands inside of a field without quotes".to_owned());
                }
                ((!text.is_empty()).then(|| text.into()), behind)
            }
        };
        fields.push(field);
        match behind.strip_prefix(',') {
            Some(next) => rest = next,
            None if behind.is_empty() => return Ok(fields),
            None => return Err("something stands behind a closed quote".to_owned()),
        }
    }
}

fn empty<'v>(field: &Field) -> std::result::Result<Cell<'v>, String> {
    if field.is_nullable() { Ok(Cell::Empty) } else { Err(format!("{} is missing", field.name())) }
}

fn wrong(field: &Field, found: &str) -> String {
    format!("{} is {:?}, which is not of its type", field.name(), crate::error::beginning(found))
}

fn cell_of_text<'v>(field: &Field, text: Option<&'v str>) -> std::result::Result<Cell<'v>, String> {
    let Some(text) = text else { return empty(field) };
    let cell = match field.data_type() {
        DataType::Utf8 => Some(Cell::Text(text)),
        DataType::Float64 => parse_number(text).map(Cell::Number),
        DataType::Boolean => text.parse().ok().map(Cell::Boolean),
        DataType::Int32 => text.parse::<i32>().ok().map(|integer| Cell::Integer(integer.into())),
        _ => text.parse().ok().map(Cell::Integer),
    };
    cell.ok_or_else(|| wrong(field, text))
}

fn cell_of_json<'v>(
    field: &Field,
    value: Option<&'v JsonValue<'_>>,
) -> std::result::Result<Cell<'v>, String> {
    let cell = match (value, field.data_type()) {
        (None | Some(JsonValue::Null), _) => return empty(field),
        (Some(JsonValue::Str(text)), DataType::Utf8) => Some(Cell::Text(text)),
        (Some(JsonValue::Bool(truth)), DataType::Boolean) => Some(Cell::Boolean(*truth)),
        (Some(JsonValue::Str(text)), DataType::Float64) if text == "-NaN" => Some(Cell::Number(-f64::NAN)),
        (Some(value), DataType::Float64) => json::number(value).map(Cell::Number),
        (Some(JsonValue::Int(integer)), DataType::Int32) => {
            i32::try_from(*integer).ok().map(|integer| Cell::Integer(integer.into()))
        }
        (Some(JsonValue::Int(integer)), DataType::Int64 | DataType::Timestamp(..)) => {
            Some(Cell::Integer(*integer))
        }
        _ => None,
    };
    cell.ok_or_else(|| wrong(field, &value.and_then(|value| json::text(value, 2)).unwrap_or_default()))
}

/// The values of a column, as they come.
enum Column {
    Text(StringBuilder),
    Integer(Int64Builder),
    Small(Int32Builder),
    Number(Float64Builder),
    Truth(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
}

impl Column {
    fn new(data_type: &DataType) -> Self {
        match data_type {
            DataType::Int64 => Self::Integer(Int64Builder::new()),
            DataType::Int32 => Self::Small(Int32Builder::new()),
            DataType::Float64 => Self::Number(Float64Builder::new()),
            DataType::Boolean => Self::Truth(BooleanBuilder::new()),
            DataType::Timestamp(..) => {
                Self::Time(TimestampMicrosecondBuilder::new().with_data_type(data_type.clone()))
            }
            _ => Self::Text(StringBuilder::new()),
        }
    }

    /// Takes a cell; one of another type, which does not come, is null.
    fn push(&mut self, cell: Cell<'_>) {
        match (self, cell) {
            (Self::Text(builder), Cell::Text(text)) => builder.append_value(text),
            (Self::Integer(builder), Cell::Integer(integer)) => builder.append_value(integer),
            (Self::Small(builder), Cell::Integer(integer)) => {
                builder.append_option(i32::try_from(integer).ok());
            }
            (Self::Number(builder), Cell::Number(number)) => builder.append_value(number),
            (Self::Truth(builder), Cell::Boolean(truth)) => builder.append_value(truth),
            (Self::Time(builder), Cell::Integer(micros)) => builder.append_value(micros),
            (Self::Text(builder), _) => builder.append_null(),
            (Self::Integer(builder), _) => builder.append_null(),
            (Self::Small(builder), _) => builder.append_null(),
            (Self::Number(builder), _) => builder.append_null(),
            (Self::Truth(builder), _) => builder.append_null(),
            (Self::Time(builder), _) => builder.append_null(),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Text(mut builder) => Arc::new(builder.finish()),
            Self::Integer(mut builder) => Arc::new(builder.finish()),
            Self::Small(mut builder) => Arc::new(builder.finish()),
            Self::Number(mut builder) => Arc::new(builder.finish()),
            Self::Truth(mut builder) => Arc::new(builder.finish()),
            Self::Time(mut builder) => Arc::new(builder.finish()),
        }
    }
}

fn append(columns: &mut [Column], cells: &[Cell<'_>]) {
    for (column, cell) in columns.iter_mut().zip(cells) {
        column.push(*cell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(record: &str) -> Vec<Option<String>> {
        split(record).unwrap().into_iter().map(|field| field.map(Into::into)).collect()
    }

    #[test]
    fn nothing_and_an_empty_text_are_told_apart() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            fields("a,,\"\",\"b\"\"c,\nd\",é"),
            [text("a"), None, text(""), text("b\"c,\nd"), text("é")]
        );
        assert_eq!(fields("a,"), [text("a"), None]);
        assert_eq!(fields("\"\"\"\""), [text("\"")]);
        for record in ["a\"b", "\"a", "\"a\"b", "\"a\"\""] {
            assert!(split(record).is_err(), "{record}");
        }
    }
}
