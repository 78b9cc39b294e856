//! The values that a client binds, read into arrays of one value each.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int16Array,
    Int32Array, Int64Array, ListArray, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{CastOptions, cast_with_options, concat};
use arrow::datatypes::{DataType, Field};
use bytes::{Buf, Bytes};
use runlake::query::postgres::{PgKind, PgType};

use super::array_text::elements;
use super::dates::{EPOCH_DAYS, EPOCH_MICROS};
use super::errors::PgError;
use super::numbers::numeric_text;

/// Most elements of an array.
const ELEMENTS: usize = 100_000;
const UUID: u32 = 2_950;
const JSONB: u32 = 3_802;
/// Object ids that say nothing: zero and `unknown`.
const UNSAID: [u32; 2] = [0, 705];

/// The type of Arrow that a client declared, `None` where it said nothing.
pub(super) fn declared(oid: u32) -> Result<Option<DataType>, PgError> {
    if UNSAID.contains(&oid) {
        return Ok(None);
    }
    match PgType::from_oid(oid) {
        Some(pg_type) => Ok(Some(pg_type.data_type())),
        None => {
            Err(PgError::new("0A000", format!("parameters of the type with object id {oid} are not taken"))
                .with_hint("Send the value as text and cast it in the statement."))
        }
    }
}

/// One value, for the parameter with this number.
pub(super) fn value(
    bytes: Option<&Bytes>,
    binary: bool,
    oid: u32,
    data_type: &DataType,
    number: usize,
) -> Result<ArrayRef, PgError> {
    let Some(bytes) = bytes else { return Ok(new_null_array(data_type, 1)) };
    let described = PgType::of(&Field::new("", data_type.clone(), true));
    let pg_type = if UNSAID.contains(&oid) { described } else { PgType::from_oid(oid).unwrap_or(described) };
    let wrong = |what: &str| {
        let code = if binary { "22P03" } else { "22P02" };
        PgError::new(code, format!("parameter ${number}: {what}"))
    };
    let array = if binary {
        from_binary(bytes, oid, pg_type)
    } else {
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("the text is not UTF-8"))?;
        from_text(text, pg_type, data_type)
    };
    let array = array.ok_or_else(|| {
        let shown: String = if binary {
            format!("{} bytes", bytes.len())
        } else {
            format!("\"{}\"", String::from_utf8_lossy(bytes).chars().take(60).collect::<String>())
        };
        wrong(&format!("{shown} is no {}", pg_type.sql_name()))
    })?;
    if UNSAID.contains(&oid) && array.data_type() != data_type {
        return cast(&array, data_type)
            .ok_or_else(|| wrong(&format!("the value does not fit into {data_type}")));
    }
    Ok(array)
}

fn cast(array: &ArrayRef, to: &DataType) -> Option<ArrayRef> {
    cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() }).ok()
}

fn from_text(text: &str, pg_type: PgType, data_type: &DataType) -> Option<ArrayRef> {
    if pg_type.array {
        let elements = elements(text).filter(|elements| elements.len() <= ELEMENTS)?;
        let kind = PgType::scalar(pg_type.kind);
        let values = elements.iter().map(|element| match element {
            Some(text) => from_text(text, kind, &kind.data_type()),
            None => Some(new_null_array(&kind.data_type(), 1)),
        });
        return list(values.collect::<Option<Vec<_>>>()?, pg_type);
    }
    let plain: ArrayRef = Arc::new(StringArray::from(vec![text]));
    match pg_type.kind {
        PgKind::Text | PgKind::Char | PgKind::Json | PgKind::Interval => Some(plain),
        PgKind::Bytea => Some(Arc::new(BinaryArray::from(vec![bytes(text)?.as_slice()]))),
        PgKind::Numeric => number(text),
        PgKind::Bool => {
            let value = match text.trim().to_lowercase().as_str() {
                "t" | "true" | "1" | "on" | "y" | "yes" => true,
                "f" | "false" | "0" | "off" | "n" | "no" => false,
                _ => return None,
            };
            Some(Arc::new(BooleanArray::from(vec![value])))
        }
        // The exact type: a statement may ask for milliseconds, or for a narrower number.
        _ => {
            let trimmed: ArrayRef = Arc::new(StringArray::from(vec![text.trim()]));
            cast(&trimmed, data_type)
                .or_else(|| cast(&trimmed, &pg_type.data_type()))
                .filter(|a| a.null_count() == 0)
        }
    }
}

/// `\x00ff`, or the older way in which only some bytes are written as `\000`.
fn bytes(text: &str) -> Option<Vec<u8>> {
    if let Some(digits) = text.strip_prefix("\\x") {
        let digits = digits.as_bytes();
        let value = |digit: u8| char::from(digit).to_digit(16);
        if digits.len() % 2 != 0 {
            return None;
        }
        let byte = |pair: &[u8]| Some((value(pair[0])? << 4 | value(pair[1])?) as u8);
        return digits.chunks(2).map(byte).collect();
    }
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        match (first, after) {
            (b'\\', [b'\\', after @ ..]) => {
                bytes.push(b'\\');
                rest = after;
            }
            (b'\\', [a, b, c, after @ ..]) => {
                let octal = std::str::from_utf8(&[*a, *b, *c]).ok().map(str::to_owned)?;
                bytes.push(u8::from_str_radix(&octal, 8).ok()?);
                rest = after;
            }
            (b'\\', _) => return None,
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    Some(bytes)
}

/// A decimal in the narrowest type that holds it exactly, else a double.
fn number(text: &str) -> Option<ArrayRef> {
    let text = text.trim();
    if let Ok(whole) = text.parse::<i64>() {
        return Some(Arc::new(Int64Array::from(vec![whole])));
    }
    let plain =
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.'));
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    if plain && digits <= 38 {
        let scale = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let exact = DataType::Decimal128(38, i8::try_from(scale).ok()?);
        let array: ArrayRef = Arc::new(StringArray::from(vec![text]));
        return cast(&array, &exact).filter(|array| array.null_count() == 0);
    }
    text.parse::<f64>().ok().map(|value| Arc::new(Float64Array::from(vec![value])) as ArrayRef)
}

fn from_binary(bytes: &Bytes, oid: u32, pg_type: PgType) -> Option<ArrayRef> {
    if pg_type.array {
        return from_binary_array(bytes.clone(), pg_type);
    }
    Some(match pg_type.kind {
        PgKind::Bool => Arc::new(BooleanArray::from(vec![u8::from_be_bytes(exactly(bytes)?) != 0])),
        PgKind::Int2 => Arc::new(Int16Array::from(vec![i16::from_be_bytes(exactly(bytes)?)])),
        PgKind::Int4 => Arc::new(Int32Array::from(vec![i32::from_be_bytes(exactly(bytes)?)])),
        PgKind::Int8 => Arc::new(Int64Array::from(vec![i64::from_be_bytes(exactly(bytes)?)])),
        PgKind::Oid => Arc::new(Int64Array::from(vec![i64::from(u32::from_be_bytes(exactly(bytes)?))])),
        PgKind::Float4 => Arc::new(Float32Array::from(vec![f32::from_be_bytes(exactly(bytes)?)])),
        PgKind::Float8 => Arc::new(Float64Array::from(vec![f64::from_be_bytes(exactly(bytes)?)])),
        PgKind::Date => {
            let days = i32::from_be_bytes(exactly(bytes)?).checked_add(EPOCH_DAYS)?;
            Arc::new(Date32Array::from(vec![days]))
        }
        PgKind::Time => Arc::new(Time64MicrosecondArray::from(vec![i64::from_be_bytes(exactly(bytes)?)])),
        PgKind::Timestamp | PgKind::TimestampTz => {
            let micros = i64::from_be_bytes(exactly(bytes)?).checked_add(EPOCH_MICROS)?;
            let moment = TimestampMicrosecondArray::from(vec![micros]);
            match pg_type.kind {
                PgKind::Timestamp => Arc::new(moment),
                _ => Arc::new(moment.with_timezone("UTC")),
            }
        }
        PgKind::Numeric => number(&numeric_text(bytes)?)?,
        PgKind::Bytea => Arc::new(BinaryArray::from(vec![bytes.as_ref()])),
        PgKind::Text if oid == UUID => {
            let id = uuid::Uuid::from_slice(bytes).ok()?;
            Arc::new(StringArray::from(vec![id.to_string()]))
        }
        PgKind::Json if oid == JSONB => text(bytes.strip_prefix(&[1])?)?,
        PgKind::Text | PgKind::Char | PgKind::Json => text(bytes)?,
        PgKind::Interval => return None,
    })
}

fn text(bytes: &[u8]) -> Option<ArrayRef> {
    Some(Arc::new(StringArray::from(vec![std::str::from_utf8(bytes).ok()?])))
}

fn exactly<const N: usize>(bytes: &Bytes) -> Option<[u8; N]> {
    bytes.as_ref().try_into().ok()
}

/// Dimensions, a flag, the type of the elements, their count and first index, then each with its length.
fn from_binary_array(mut bytes: Bytes, pg_type: PgType) -> Option<ArrayRef> {
    if bytes.len() < 12 {
        return None;
    }
    let (dimensions, _nulls, oid) = (bytes.get_i32(), bytes.get_i32(), bytes.get_u32());
    let kind = PgType::scalar(pg_type.kind);
    if dimensions == 0 {
        return list(Vec::new(), pg_type);
    }
    if dimensions != 1 || bytes.len() < 8 || PgType::from_oid(oid)? != kind {
        return None;
    }
    let count = usize::try_from(bytes.get_i32()).ok().filter(|count| *count <= ELEMENTS)?;
    bytes.advance(4);
    let mut values = Vec::new();
    for _ in 0..count {
        if bytes.len() < 4 {
            return None;
        }
        values.push(match bytes.get_i32() {
            -1 => new_null_array(&kind.data_type(), 1),
            length => {
                let length = usize::try_from(length).ok().filter(|length| *length <= bytes.len())?;
                from_binary(&bytes.split_to(length), oid, kind)?
            }
        });
    }
    list(values, pg_type)
}

/// One list of these values.
fn list(values: Vec<ArrayRef>, pg_type: PgType) -> Option<ArrayRef> {
    let of = PgType::scalar(pg_type.kind).data_type();
    let same = values.windows(2).all(|pair| pair[0].data_type() == pair[1].data_type());
    let values = if same {
        values
    } else {
        // Decimals come each with their own scale.
        values.iter().map(|value| cast(value, &of)).collect::<Option<Vec<_>>>()?
    };
    let elements = match values.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>().as_slice() {
        [] => new_null_array(&of, 0),
        all => concat(all).ok()?,
    };
    let field = Arc::new(Field::new_list_field(elements.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths([elements.len()]);
    Some(Arc::new(ListArray::new(field, offsets, elements, None)))
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};
    use bytes::{BufMut, BytesMut};
    use proptest::prelude::*;

    use super::*;

    fn oid(kind: PgKind) -> u32 {
        PgType::scalar(kind).oid()
    }

    fn of_text(text: &str, oid: u32, asked: &DataType) -> Result<ArrayRef, PgError> {
        let data_type = declared(oid)?.unwrap_or_else(|| asked.clone());
        value(Some(&Bytes::copy_from_slice(text.as_bytes())), false, oid, &data_type, 1)
    }

    #[test]
    fn texts_become_what_is_declared_or_asked_for() {
        let number = of_text("42", oid(PgKind::Int8), &DataType::Utf8).unwrap();
        assert_eq!(number.as_primitive::<Int64Type>().value(0), 42);
        let number = of_text(" 42 ", 0, &DataType::Int64).unwrap();
        assert_eq!(number.as_primitive::<Int64Type>().value(0), 42);
        let text = of_text("42", 0, &DataType::Utf8).unwrap();
        assert_eq!(text.as_string::<i32>().value(0), "42");
        for (text, expected) in
            [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("-inf", f64::NEG_INFINITY), ("1e-3", 0.001)]
        {
            let number = of_text(text, oid(PgKind::Float8), &DataType::Utf8).unwrap();
            let value = number.as_primitive::<Float64Type>().value(0);
            assert!(value == expected || (value.is_nan() && expected.is_nan()), "{text}");
        }
        for text in ["2024-01-02 03:04:05.5+01", "2024-01-02T02:04:05.500Z", "2024-01-02 02:04:05.5+00:00"] {
            let time = of_text(text, oid(PgKind::TimestampTz), &DataType::Utf8).unwrap();
            assert_eq!(
                time.as_primitive::<TimestampMicrosecondType>().value(0),
                1_704_161_045_500_000,
                "{text}"
            );
        }
        let exact = of_text("-12.50", oid(PgKind::Numeric), &DataType::Utf8).unwrap();
        assert_eq!(exact.as_primitive::<Decimal128Type>().value_as_string(0), "-12.50");
    }

    #[test]
    fn what_does_not_fit_is_an_error_with_its_place() {
        let error = of_text("x", oid(PgKind::Int8), &DataType::Utf8).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), ("22P02", "parameter $1: \"x\" is no bigint"));
        assert_eq!(of_text("", oid(PgKind::Float8), &DataType::Utf8).unwrap_err().code, "22P02");
        assert_eq!(declared(600).unwrap_err().code, "0A000");
        let short = value(Some(&Bytes::from_static(b"\0")), true, 20, &DataType::Int64, 3).unwrap_err();
        assert_eq!((short.code, short.message.as_str()), ("22P03", "parameter $3: 1 bytes is no bigint"));
    }

    #[test]
    fn arrays_come_in_both_forms() {
        let texts = of_text("{a,NULL,\"b c\"}", 1009, &DataType::Utf8).unwrap();
        let texts = texts.as_list::<i32>().value(0);
        assert_eq!(texts.as_string::<i32>().iter().collect::<Vec<_>>(), [Some("a"), None, Some("b c")]);
        let mut binary = BytesMut::new();
        for number in [1, 1, 20, 2, 1, 8_i32] {
            binary.put_i32(number);
        }
        binary.put_i64(7);
        binary.put_i32(-1);
        let numbers =
            value(Some(&binary.freeze()), true, 1016, &declared(1016).unwrap().unwrap(), 1).unwrap();
        let numbers = numbers.as_list::<i32>().value(0);
        assert_eq!(numbers.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(7), None]);
    }

    #[test]
    fn binary_moments_count_from_2000() {
        let time =
            value(Some(&Bytes::from_static(&[0; 8])), true, 1184, &declared(1184).unwrap().unwrap(), 1)
                .unwrap();
        assert_eq!(time.as_primitive::<TimestampMicrosecondType>().value(0), EPOCH_MICROS);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
            binary in any::<bool>(),
            kind in 0..PgKind::ALL.len(),
            array in any::<bool>(),
        ) {
            let pg_type = PgType { kind: PgKind::ALL[kind], array };
            let _ = value(Some(&Bytes::from(bytes)), binary, pg_type.oid(), &pg_type.data_type(), 1);
        }
    }
}
