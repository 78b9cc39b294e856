//! Values of Arrow as clients read them: in text or in binary, under the type that their column was described with.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float32Array, Float64Array, Int16Array, Int32Array,
    Int64Array, ListArray, MapArray, PrimitiveArray, StringArray,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Field, IntervalMonthDayNanoType, IntervalUnit,
    Schema, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::{BufMut, BytesMut};
use runlake::query::postgres::{PgKind, PgType};

use super::array_text::put_element;
use super::dates::{EPOCH_DAYS, EPOCH_MICROS, put_date, put_interval, put_time, put_timestamp};
use super::messages::ColumnDescription;
use super::numbers::{put_double, put_numeric, put_single};
use crate::error::ServiceError;

/// Most columns of an answer.
pub(super) const COLUMNS: usize = 1_664;

/// What clients are told of the columns of an answer, sent in these formats.
pub(super) fn describe(schema: &Schema, binary: impl Fn(usize) -> bool) -> Vec<ColumnDescription> {
    let column = |(at, field): (usize, &Arc<Field>)| {
        let pg_type = PgType::of(field);
        let name = field.name().clone();
        ColumnDescription { name, oid: pg_type.oid(), length: pg_type.length(), binary: binary(at) }
    };
    schema.fields().iter().enumerate().map(column).collect()
}

/// The columns of one batch, ready to be written row by row.
pub(super) struct Rows {
    columns: Vec<(Column, bool)>,
    /// Rows of the batch.
    pub(super) count: usize,
    /// The next one.
    pub(super) at: usize,
}

impl Rows {
    pub(super) fn new(batch: &RecordBatch, binary: impl Fn(usize) -> bool) -> Result<Self, ServiceError> {
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns()).enumerate();
        let columns = columns
            .map(|(at, (field, array))| Ok((column(array, PgType::of(field)).map_err(encoding)?, binary(at))))
            .collect::<Result<_, ServiceError>>()?;
        Ok(Self { columns, count: batch.num_rows(), at: 0 })
    }

    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    /// Writes one value; false when it is NULL.
    pub(super) fn put(&self, column: usize, out: &mut BytesMut) -> Result<bool, ServiceError> {
        let Some((column, binary)) = self.columns.get(column) else { return Ok(false) };
        if *binary { column.put_binary(self.at, out) } else { column.put_text(self.at, out) }
    }
}

fn encoding(error: ArrowError) -> ServiceError {
    ServiceError::Internal {
        reason: "postgres.encoding",
        message: format!("an answer could not be encoded: {error}"),
    }
}

fn out_of_range(what: &str) -> ServiceError {
    ServiceError::Sql {
        reason: "sql.execution",
        message: format!("{what} is outside of what PostgreSQL's types can say; cast it to text"),
        position: None,
    }
}

/// A column in one of the forms that are written.
enum Column {
    Bool(BooleanArray),
    Int2(Int16Array),
    Int4(Int32Array),
    Int8(Int64Array),
    Oid(Int32Array),
    Float4(Float32Array),
    Float8(Float64Array),
    Text(StringArray),
    Bytea(BinaryArray),
    Date(PrimitiveArray<Date32Type>),
    Time(PrimitiveArray<Time64MicrosecondType>),
    Timestamp(PrimitiveArray<TimestampMicrosecondType>, bool),
    Interval(PrimitiveArray<IntervalMonthDayNanoType>),
    /// Decimals, written out.
    Numeric(StringArray),
    List(ListArray, u32, Box<Column>),
    Record(Option<NullBuffer>, Vec<(String, Column)>),
    JsonList(ListArray, Box<Column>),
    JsonMap(MapArray, Box<Column>, Box<Column>),
    /// What only Arrow can show.
    Shown(StringArray),
}

fn strict(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() })
}

fn column(array: &ArrayRef, pg_type: PgType) -> Result<Column, ArrowError> {
    if pg_type.array {
        let lists = as_list(array)?;
        let elements = column(lists.values(), PgType::scalar(pg_type.kind))?;
        return Ok(Column::List(lists, PgType::scalar(pg_type.kind).oid(), Box::new(elements)));
    }
    let to = |data_type: DataType| strict(array, &data_type);
    Ok(match pg_type.kind {
        PgKind::Bool => Column::Bool(to(DataType::Boolean)?.as_boolean().clone()),
        PgKind::Int2 => Column::Int2(to(DataType::Int16)?.as_primitive().clone()),
        PgKind::Int4 => Column::Int4(to(DataType::Int32)?.as_primitive().clone()),
        PgKind::Int8 => Column::Int8(to(DataType::Int64)?.as_primitive().clone()),
        PgKind::Oid => Column::Oid(to(DataType::Int32)?.as_primitive().clone()),
        PgKind::Float4 => Column::Float4(to(DataType::Float32)?.as_primitive().clone()),
        PgKind::Float8 => Column::Float8(to(DataType::Float64)?.as_primitive().clone()),
        PgKind::Text | PgKind::Char => Column::Text(to(DataType::Utf8)?.as_string().clone()),
        PgKind::Bytea => Column::Bytea(to(DataType::Binary)?.as_binary().clone()),
        PgKind::Date => Column::Date(to(DataType::Date32)?.as_primitive().clone()),
        PgKind::Time => Column::Time(to(DataType::Time64(TimeUnit::Microsecond))?.as_primitive().clone()),
        PgKind::Timestamp => Column::Timestamp(
            to(DataType::Timestamp(TimeUnit::Microsecond, None))?.as_primitive().clone(),
            false,
        ),
        PgKind::TimestampTz => {
            let utc = to(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?;
            Column::Timestamp(utc.as_primitive().clone(), true)
        }
        PgKind::Interval => {
            let interval = DataType::Interval(IntervalUnit::MonthDayNano);
            Column::Interval(to(interval)?.as_primitive().clone())
        }
        PgKind::Numeric => Column::Numeric(decimals(array)?),
        PgKind::Json => json_column(array)?,
    })
}

fn as_list(array: &ArrayRef) -> Result<ListArray, ArrowError> {
    let item = match array.data_type() {
        DataType::List(_) => return Ok(array.as_list::<i32>().clone()),
        DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => Arc::clone(item),
        DataType::Dictionary(_, values) => return as_list(&strict(array, values)?),
        other => return Err(ArrowError::CastError(format!("{other} is no list"))),
    };
    Ok(strict(array, &DataType::List(item))?.as_list::<i32>().clone())
}

fn decimals(array: &ArrayRef) -> Result<StringArray, ArrowError> {
    let array = match array.data_type() {
        DataType::Decimal128(..) | DataType::Decimal256(..) => Arc::clone(array),
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) => {
            strict(array, &DataType::Decimal128(38, *scale))?
        }
        DataType::Dictionary(_, values) => return decimals(&strict(array, values)?),
        _ => strict(array, &DataType::Decimal128(20, 0))?,
    };
    let rows = 0..array.len();
    Ok(match array.data_type() {
        DataType::Decimal256(..) => {
            let values = array.as_primitive::<Decimal256Type>();
            rows.map(|row| values.is_valid(row).then(|| values.value_as_string(row))).collect()
        }
        _ => {
            let values = array.as_primitive::<Decimal128Type>();
            rows.map(|row| values.is_valid(row).then(|| values.value_as_string(row))).collect()
        }
    })
}

/// A column that is written within JSON.
fn json_column(array: &ArrayRef) -> Result<Column, ArrowError> {
    Ok(match array.data_type() {
        DataType::Struct(fields) => {
            let record = array.as_struct();
            let columns = fields.iter().zip(record.columns());
            let columns = columns
                .map(|(field, child)| Ok::<_, ArrowError>((field.name().clone(), json_column(child)?)));
            Column::Record(record.nulls().cloned(), columns.collect::<Result<_, _>>()?)
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let (keys, values) = (json_column(map.keys())?, json_column(map.values())?);
            Column::JsonMap(map.clone(), Box::new(keys), Box::new(values))
        }
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(..)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => {
            let lists = as_list(array)?;
            let elements = json_column(lists.values())?;
            Column::JsonList(lists, Box::new(elements))
        }
        DataType::Dictionary(_, values) => json_column(&strict(array, values)?)?,
        other => match PgType::of(&Field::new("", other.clone(), true)) {
            PgType { kind: PgKind::Json, .. } => {
                let options = FormatOptions::default();
                let formatter = ArrayFormatter::try_new(array.as_ref(), &options)?;
                let shown =
                    (0..array.len()).map(|row| array.is_valid(row).then(|| formatter.value(row).to_string()));
                Column::Shown(shown.collect())
            }
            plain => column(array, plain)?,
        },
    })
}

impl Column {
    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bool(a) => a.is_null(row),
            Self::Int2(a) => a.is_null(row),
            Self::Int4(a) | Self::Oid(a) => a.is_null(row),
            Self::Int8(a) => a.is_null(row),
            Self::Float4(a) => a.is_null(row),
            Self::Float8(a) => a.is_null(row),
            Self::Text(a) | Self::Numeric(a) | Self::Shown(a) => a.is_null(row),
            Self::Bytea(a) => a.is_null(row),
            Self::Date(a) => a.is_null(row),
            Self::Time(a) => a.is_null(row),
            Self::Timestamp(a, _) => a.is_null(row),
            Self::Interval(a) => a.is_null(row),
            Self::List(a, ..) | Self::JsonList(a, _) => a.is_null(row),
            Self::JsonMap(a, ..) => a.is_null(row),
            Self::Record(nulls, _) => nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)),
        }
    }

    fn put_text(&self, row: usize, out: &mut BytesMut) -> Result<bool, ServiceError> {
        if self.is_null(row) {
            return Ok(false);
        }
        let mut buffer = itoa();
        match self {
            Self::Bool(a) => out.put_u8(if a.value(row) { b't' } else { b'f' }),
            Self::Int2(a) => out.extend(buffer.text(i64::from(a.value(row)))),
            Self::Int4(a) => out.extend(buffer.text(i64::from(a.value(row)))),
            Self::Oid(a) => out.extend(buffer.text(i64::from(a.value(row).cast_unsigned()))),
            Self::Int8(a) => out.extend(buffer.text(a.value(row))),
            Self::Float4(a) => put_single(out, a.value(row)),
            Self::Float8(a) => put_double(out, a.value(row)),
            Self::Text(a) | Self::Numeric(a) => out.extend(a.value(row).as_bytes()),
            Self::Bytea(a) => {
                out.extend(b"\\x");
                for byte in a.value(row) {
                    out.extend([hex(byte >> 4), hex(byte & 15)]);
                }
            }
            Self::Date(a) => in_range(put_date(out, a.value(row)), "a date")?,
            Self::Time(a) => in_range(put_time(out, a.value(row)), "a time")?,
            Self::Timestamp(a, zone) => in_range(put_timestamp(out, a.value(row), *zone), "a time")?,
            Self::Interval(a) => {
                let (months, days, nanos) = IntervalMonthDayNanoType::to_parts(a.value(row));
                put_interval(out, months, days, nanos / 1_000);
            }
            Self::List(lists, _, elements) => {
                out.put_u8(b'{');
                let offsets = lists.value_offsets();
                for at in offsets[row]..offsets[row + 1] {
                    if at > offsets[row] {
                        out.put_u8(b',');
                    }
                    let mut element = BytesMut::new();
                    if elements.put_text(at as usize, &mut element)? {
                        put_element(out, &element);
                    } else {
                        out.extend(b"NULL");
                    }
                }
                out.put_u8(b'}');
            }
            Self::Record(..) | Self::JsonList(..) | Self::JsonMap(..) | Self::Shown(_) => {
                self.put_json(row, out)?;
            }
        }
        Ok(true)
    }

    fn put_binary(&self, row: usize, out: &mut BytesMut) -> Result<bool, ServiceError> {
        if self.is_null(row) {
            return Ok(false);
        }
        match self {
            Self::Bool(a) => out.put_u8(u8::from(a.value(row))),
            Self::Int2(a) => out.put_i16(a.value(row)),
            Self::Int4(a) | Self::Oid(a) => out.put_i32(a.value(row)),
            Self::Int8(a) => out.put_i64(a.value(row)),
            Self::Float4(a) => out.put_f32(a.value(row)),
            Self::Float8(a) => out.put_f64(a.value(row)),
            Self::Text(a) => out.extend(a.value(row).as_bytes()),
            Self::Bytea(a) => out.extend(a.value(row)),
            Self::Date(a) => {
                let days = a.value(row).checked_sub(EPOCH_DAYS).ok_or_else(|| out_of_range("a date"))?;
                out.put_i32(days);
            }
            Self::Time(a) => out.put_i64(a.value(row)),
            Self::Timestamp(a, _) => {
                let micros = a.value(row).checked_sub(EPOCH_MICROS).ok_or_else(|| out_of_range("a time"))?;
                out.put_i64(micros);
            }
            Self::Interval(a) => {
                let (months, days, nanos) = IntervalMonthDayNanoType::to_parts(a.value(row));
                out.put_i64(nanos / 1_000);
                out.put_i32(days);
                out.put_i32(months);
            }
            Self::Numeric(a) => in_range(put_numeric(out, a.value(row)), "a number")?,
            Self::List(lists, oid, elements) => {
                let offsets = lists.value_offsets();
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                let nulls = range.clone().any(|at| elements.is_null(at));
                out.put_i32(i32::from(!range.is_empty()));
                out.put_i32(i32::from(nulls));
                out.put_u32(*oid);
                if !range.is_empty() {
                    out.put_i32(offsets[row + 1] - offsets[row]);
                    out.put_i32(1);
                }
                for at in range {
                    let begin = out.len();
                    out.put_i32(-1);
                    if elements.put_binary(at, out)? {
                        let length = i32::try_from(out.len() - begin - 4).unwrap_or(i32::MAX);
                        out[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
                    }
                }
            }
            Self::Record(..) | Self::JsonList(..) | Self::JsonMap(..) | Self::Shown(_) => {
                self.put_json(row, out)?;
            }
        }
        Ok(true)
    }

    /// As JSON; fields of records that are NULL are left out, and numbers that JSON does not have are texts, as
    /// PostgreSQL writes them.
    fn put_json(&self, row: usize, out: &mut BytesMut) -> Result<(), ServiceError> {
        if self.is_null(row) {
            out.extend(b"null");
            return Ok(());
        }
        match self {
            Self::Bool(a) => out.extend(if a.value(row) { &b"true"[..] } else { b"false" }),
            Self::Int2(_) | Self::Int4(_) | Self::Int8(_) | Self::Oid(_) | Self::Numeric(_) => {
                self.put_text(row, out)?;
            }
            Self::Float4(a) if a.value(row).is_finite() => {
                self.put_text(row, out)?;
            }
            Self::Float8(a) if a.value(row).is_finite() => {
                self.put_text(row, out)?;
            }
            Self::Text(a) | Self::Shown(a) => put_json_text(out, a.value(row)),
            Self::Record(_, fields) => {
                out.put_u8(b'{');
                let mut first = true;
                for (name, column) in fields {
                    if column.is_null(row) {
                        continue;
                    }
                    if !std::mem::take(&mut first) {
                        out.put_u8(b',');
                    }
                    put_json_text(out, name);
                    out.put_u8(b':');
                    column.put_json(row, out)?;
                }
                out.put_u8(b'}');
            }
            Self::JsonList(lists, elements) | Self::List(lists, _, elements) => {
                let offsets = lists.value_offsets();
                out.put_u8(b'[');
                for at in offsets[row]..offsets[row + 1] {
                    if at > offsets[row] {
                        out.put_u8(b',');
                    }
                    elements.put_json(at as usize, out)?;
                }
                out.put_u8(b']');
            }
            Self::JsonMap(map, keys, values) => {
                let offsets = map.value_offsets();
                out.put_u8(b'{');
                for at in offsets[row]..offsets[row + 1] {
                    if at > offsets[row] {
                        out.put_u8(b',');
                    }
                    let mut key = BytesMut::new();
                    keys.put_text(at as usize, &mut key)?;
                    put_json_text(out, &String::from_utf8_lossy(&key));
                    out.put_u8(b':');
                    values.put_json(at as usize, out)?;
                }
                out.put_u8(b'}');
            }
            _ => {
                let mut text = BytesMut::new();
                self.put_text(row, &mut text)?;
                put_json_text(out, &String::from_utf8_lossy(&text));
            }
        }
        Ok(())
    }
}

fn put_json_text(out: &mut BytesMut, text: &str) {
    // Writing to a buffer in memory cannot fail.
    let _ = serde_json::to_writer(out.writer(), text);
}

fn in_range(written: bool, what: &str) -> Result<(), ServiceError> {
    if written { Ok(()) } else { Err(out_of_range(what)) }
}

fn hex(digit: u8) -> u8 {
    match digit {
        0..=9 => b'0' + digit,
        _ => b'a' + digit - 10,
    }
}

/// Whole numbers as text without an allocation for each.
struct Digits {
    bytes: [u8; 20],
}

fn itoa() -> Digits {
    Digits { bytes: [0; 20] }
}

impl Digits {
    fn text(&mut self, value: i64) -> &[u8] {
        let mut at = self.bytes.len();
        let mut rest = value.unsigned_abs();
        loop {
            at -= 1;
            self.bytes[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if value < 0 {
            at -= 1;
            self.bytes[at] = b'-';
        }
        &self.bytes[at..]
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Decimal128Array, DictionaryArray, DurationSecondArray, IntervalYearMonthArray, LargeStringArray,
        ListBuilder, NullArray, StringBuilder, StructArray, TimestampNanosecondArray, UInt64Array,
    };
    use arrow::datatypes::Int32Type;

    use super::*;

    fn shown(array: ArrayRef, binary: bool) -> Vec<Option<Vec<u8>>> {
        let field = Field::new("x", array.data_type().clone(), true);
        let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![array]).unwrap();
        let mut rows = Rows::new(&batch, |_| binary).unwrap();
        let mut values = Vec::new();
        while rows.at < rows.count {
            let mut out = BytesMut::new();
            values.push(rows.put(0, &mut out).unwrap().then(|| out.to_vec()));
            rows.at += 1;
        }
        values
    }

    fn texts(array: impl Array + 'static) -> Vec<Option<String>> {
        let values = shown(Arc::new(array), false).into_iter();
        values.map(|value| value.map(|bytes| String::from_utf8(bytes).unwrap())).collect()
    }

    fn some<const N: usize>(values: [&str; N]) -> Vec<Option<String>> {
        values.map(|value| Some(value.to_owned())).to_vec()
    }

    #[test]
    fn plain_values_are_written_in_text() {
        assert_eq!(texts(BooleanArray::from(vec![Some(true), None])), [Some("t".to_owned()), None]);
        assert_eq!(
            texts(Int64Array::from(vec![i64::MIN, 0, i64::MAX])),
            some(["-9223372036854775808", "0", "9223372036854775807"])
        );
        assert_eq!(texts(UInt64Array::from(vec![u64::MAX])), some(["18446744073709551615"]));
        assert_eq!(
            texts(Float64Array::from(vec![0.1, -0.0, f64::NAN, f64::NEG_INFINITY])),
            some(["0.1", "-0", "NaN", "-Infinity"])
        );
        assert_eq!(texts(BinaryArray::from(vec![&b"\x00\xff"[..]])), some(["\\x00ff"]));
        assert_eq!(texts(LargeStringArray::from(vec!["ä"])), some(["ä"]));
        assert_eq!(texts(NullArray::new(1)), [None]);
        let words: DictionaryArray<Int32Type> = vec!["a", "b", "a"].into_iter().collect();
        assert_eq!(texts(words), some(["a", "b", "a"]));
        let decimals = Decimal128Array::from(vec![-12_345]).with_precision_and_scale(38, 2).unwrap();
        assert_eq!(texts(decimals), some(["-123.45"]));
        let times = TimestampNanosecondArray::from(vec![1_500_000_000]).with_timezone("+02:00");
        assert_eq!(texts(times), some(["1970-01-01 00:00:01.5+00"]));
        assert_eq!(texts(DurationSecondArray::from(vec![90])), some(["00:01:30"]));
        assert_eq!(texts(IntervalYearMonthArray::from(vec![13])), some(["1 year 1 mon"]));
    }

    #[test]
    fn plain_values_are_written_in_binary() {
        let one = |array: ArrayRef| shown(array, true).remove(0).unwrap();
        assert_eq!(one(Arc::new(Int64Array::from(vec![-2]))), (-2_i64).to_be_bytes());
        assert_eq!(one(Arc::new(Float64Array::from(vec![-0.0]))), (-0.0_f64).to_be_bytes());
        let nan = f64::from_bits(0x7ff8_0000_0000_0123);
        assert_eq!(one(Arc::new(Float64Array::from(vec![nan]))), nan.to_bits().to_be_bytes());
        let time = TimestampNanosecondArray::from(vec![(EPOCH_MICROS + 7) * 1_000]).with_timezone("UTC");
        assert_eq!(one(Arc::new(time)), 7_i64.to_be_bytes());
        assert_eq!(one(Arc::new(BooleanArray::from(vec![true]))), [1]);
    }

    #[test]
    fn lists_are_arrays_in_both_forms() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("a b"), None]);
        lists.append_value(Vec::<Option<&str>>::new());
        lists.append_null();
        let lists = lists.finish();
        let expected = [Some("{\"a b\",NULL}".to_owned()), Some("{}".to_owned()), None];
        assert_eq!(texts(lists.clone()), expected);
        let binary = shown(Arc::new(lists), true);
        let mut expected = Vec::new();
        for number in [1, 1, 25, 2, 1, 3_i32] {
            expected.extend(number.to_be_bytes());
        }
        expected.extend(b"a b");
        expected.extend((-1_i32).to_be_bytes());
        assert_eq!(binary[0].as_ref().unwrap(), &expected);
        assert_eq!(binary[1].as_ref().unwrap().len(), 12);
        assert!(binary[2].is_none());
        let numbers = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some([Some(1), Some(2)]),
            Some([Some(3), Some(4)]),
        ]);
        assert_eq!(texts(numbers.slice(1, 1)), some(["{3,4}"]), "a slice begins where it begins");
    }

    #[test]
    fn records_are_json_without_what_is_null() {
        let record = StructArray::from(vec![
            (
                Arc::new(Field::new("lr", DataType::Float64, true)),
                Arc::new(Float64Array::from(vec![Some(0.1), None])) as ArrayRef,
            ),
            (
                Arc::new(Field::new("loss \"x\"", DataType::Float64, true)),
                Arc::new(Float64Array::from(vec![f64::NAN, 1e20])),
            ),
            (
                Arc::new(Field::new("name", DataType::Utf8, true)),
                Arc::new(StringArray::from(vec![Some("a\nb"), None])),
            ),
        ]);
        let expected =
            ["{\"lr\":0.1,\"loss \\\"x\\\"\":\"NaN\",\"name\":\"a\\nb\"}", "{\"loss \\\"x\\\"\":1e+20}"];
        assert_eq!(texts(record.clone()), some(expected));
        for text in texts(record.clone()).into_iter().flatten() {
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
        let binary = shown(Arc::new(record), true);
        assert_eq!(binary[1].as_ref().unwrap(), expected[1].as_bytes());
    }

    #[test]
    fn a_time_that_cannot_be_said_is_an_error() {
        let times = TimestampNanosecondArray::from(vec![0]);
        assert!(texts(times).len() == 1);
        let days = arrow::array::Date32Array::from(vec![i32::MAX]);
        let field = Field::new("x", DataType::Date32, true);
        let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(days)]).unwrap();
        let rows = Rows::new(&batch, |_| false).unwrap();
        assert_eq!(rows.put(0, &mut BytesMut::new()).unwrap_err().reason(), "sql.execution");
    }
}
