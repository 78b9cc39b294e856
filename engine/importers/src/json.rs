//! JSON as tools really write it: with bare `NaN` and `Infinity`, and sometimes very deep.

use std::borrow::Cow;

use jiter::JsonValue;

/// Parses a document; `NaN`, `Infinity` and `-Infinity` are numbers.
///
/// # Errors
/// The reason with its line and column.
pub(crate) fn parse(text: &[u8]) -> Result<JsonValue<'_>, String> {
    JsonValue::parse(text, true)
        .map_err(|error| format!("not JSON: {} at byte {}", error.error_type, error.index))
}

/// The number that a value stands for. Texts count only where they spell what JSON has no number for.
pub(crate) fn number(value: &JsonValue<'_>) -> Option<f64> {
    match value {
        // To the nearest double, as every tool has it.
        JsonValue::Int(integer) => Some(*integer as f64),
        JsonValue::BigInt(integer) => integer.to_string().parse().ok(),
        JsonValue::Float(float) => Some(*float),
        JsonValue::Str(text) => non_finite(text),
        _ => None,
    }
}

/// The words that tools write into strings because JSON has no such numbers.
pub(crate) fn non_finite(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// The value of a key; the last one where it is there more than once, as in most readers.
pub(crate) fn get<'v, 'j>(
    object: &'v [(Cow<'j, str>, JsonValue<'j>)],
    key: &str,
) -> Option<&'v JsonValue<'j>> {
    object.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
}

/// A scalar as text, as a param or tag shows it: no quotes, whole floats with `.0`; arrays as JSON; `None` for null.
pub(crate) fn text(value: &JsonValue<'_>, depth: usize) -> Option<String> {
    match value {
        JsonValue::Null => None,
        JsonValue::Str(text) => Some(text.to_string()),
        JsonValue::Float(float) => Some(format!("{float:?}")),
        other => {
            let mut out = String::new();
            write(other, &mut out, depth);
            Some(out)
        }
    }
}

/// As [`text`], where a null says something too: a param that was set to nothing.
pub(crate) fn text_or_null(value: &JsonValue<'_>, depth: usize) -> String {
    text(value, depth).unwrap_or_else(|| "null".to_owned())
}

fn write(value: &JsonValue<'_>, out: &mut String, depth: usize) {
    use std::fmt::Write;
    // Writing to a String cannot fail.
    let _ = match value {
        JsonValue::Null => out.write_str("null"),
        JsonValue::Bool(truth) => write!(out, "{truth}"),
        JsonValue::Int(integer) => write!(out, "{integer}"),
        JsonValue::BigInt(integer) => write!(out, "{integer}"),
        JsonValue::Float(float) => write!(out, "{float:?}"),
        JsonValue::Str(text) => write!(out, "{}", serde_json::Value::String(text.to_string())),
        JsonValue::Array(_) | JsonValue::Object(_) if depth == 0 => out.write_str("…"),
        JsonValue::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, out, depth.saturating_sub(1));
            }
            out.write_char(']')
        }
        JsonValue::Object(entries) => {
            out.push('{');
            for (index, (key, item)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                let _ = write!(out, "{}:", serde_json::Value::String(key.to_string()));
                write(item, out, depth.saturating_sub(1));
            }
            out.write_char('}')
        }
    };
}

/// Calls `leaf` for every value of an object that is no object itself, or an empty one, with its keys joined by dots.
///
/// # Errors
/// The key that is nested deeper than `depth`.
pub(crate) fn flatten<'v, 'j>(
    object: &'v [(Cow<'j, str>, JsonValue<'j>)],
    depth: usize,
    path: &mut String,
    leaf: &mut dyn FnMut(&str, &'v JsonValue<'j>),
) -> Result<(), String> {
    if depth == 0 {
        return Err(path.trim_end_matches('.').to_owned());
    }
    for (key, value) in object {
        let length = path.len();
        path.push_str(key);
        match value {
            // An empty object is a value: nothing below it would tell that it is there.
            JsonValue::Object(inner) if !inner.is_empty() => {
                path.push('.');
                flatten(inner, depth.saturating_sub(1), path, leaf)?;
            }
            other => leaf(path, other),
        }
        path.truncate(length);
    }
    Ok(())
}

/// Calls `leaf` for everything in a value, with the keys to it joined by `joint`: with the number where it is one, with
/// `None` where it is not. Images, tables and other media of W&B and Trackio are objects that name their `_type`: none.
///
/// # Errors
/// The path that is nested deeper than `depth`.
pub(crate) fn sort_numbers(
    value: &JsonValue<'_>,
    path: &mut String,
    joint: char,
    depth: usize,
    leaf: &mut dyn FnMut(&str, Option<f64>),
) -> Result<(), String> {
    match value {
        JsonValue::Object(object) if !object.is_empty() && get(object, "_type").is_none() => {
            let Some(depth) = depth.checked_sub(1) else { return Err(path.clone()) };
            for (key, value) in object.iter() {
                let length = path.len();
                if length > 0 {
                    path.push(joint);
                }
                path.push_str(key);
                sort_numbers(value, path, joint, depth, leaf)?;
                path.truncate(length);
            }
        }
        value => leaf(path, number(value)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_words_are_numbers_but_not_inside_of_texts() {
        let value = parse(
            br#"{"a": NaN, "b": -Infinity, "c": "NaN, \"Infinity", "d": 1e400, "e": 12345678901234567890}"#,
        )
        .unwrap();
        let JsonValue::Object(object) = &value else { panic!("an object") };
        assert!(number(get(object, "a").unwrap()).unwrap().is_nan());
        assert_eq!(number(get(object, "b").unwrap()), Some(f64::NEG_INFINITY));
        assert_eq!(number(get(object, "c").unwrap()), None);
        assert_eq!(number(get(object, "d").unwrap()), Some(f64::INFINITY));
        assert_eq!(number(get(object, "e").unwrap()), Some(12345678901234567890.0));
    }

    #[test]
    fn doubles_are_read_to_the_nearest() {
        for text in ["2.6260365178839336", "5e-324", "1.7976931348623157e308", "0.1", "9007199254740993"] {
            let value = parse(text.as_bytes()).unwrap();
            assert_eq!(
                number(&value).map(f64::to_bits),
                text.parse::<f64>().ok().map(f64::to_bits),
                "{text}"
            );
        }
    }

    #[test]
    fn depth_is_bounded_twice() {
        let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
        assert!(parse(deep.as_bytes()).is_err());
        let value = parse(b"{\"a\":{\"b\":{\"c\":1}}}").unwrap();
        let JsonValue::Object(object) = &value else { panic!("an object") };
        assert_eq!(flatten(object, 2, &mut String::new(), &mut |_, _| ()), Err("a.b".to_owned()));
        assert!(flatten(object, 3, &mut String::new(), &mut |key, _| assert_eq!(key, "a.b.c")).is_ok());
    }
}
