//! How to compare with what the tools' own readers gave.

use std::collections::BTreeMap;
use std::path::Path;

use e2e::{ExpectedPoint, expected_points};
use model::PointColumns;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A point as the file has it: step, time and value as texts.
pub(crate) type TextPoint = (String, String, String);

/// All points by run and metric, in order.
pub(crate) fn points(folder: &Path) -> BTreeMap<(String, String), Vec<TextPoint>> {
    let mut points: BTreeMap<_, Vec<TextPoint>> = BTreeMap::new();
    for ExpectedPoint { run, metric, step, time, value } in expected_points(folder) {
        points.entry((run, metric)).or_default().push((step, time, value));
    }
    points
}

/// A double as Python's `repr` shows it: the shortest digits, an exponent below 1e-4 and from 1e16 on.
pub(crate) fn python_repr(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let shortest = format!("{number:e}");
    // Of two equally short and equally near texts Python takes the even one; 32-bit floats have such ties.
    let digits = shortest.split('e').next().unwrap().bytes().filter(u8::is_ascii_digit).count();
    let even = format!("{number:.*e}", digits - 1);
    let scientific = if even.parse() == Ok(number) { even } else { shortest };
    let (digits, exponent) = scientific.split_once('e').unwrap();
    let exponent: i32 = exponent.parse().unwrap();
    if number == 0.0 || (-4..16).contains(&exponent) {
        let after_point =
            usize::try_from(digits.bytes().filter(u8::is_ascii_digit).count() as i32 - 1 - exponent);
        return format!("{number:.*}", after_point.unwrap_or(0).max(1));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// The exact sum, rounded once (Shewchuk's algorithm, as Python's `fsum`).
pub(crate) fn exact_sum(values: impl Iterator<Item = f64>) -> f64 {
    let mut partials: Vec<f64> = Vec::new();
    for mut x in values {
        let mut kept = 0;
        for index in 0..partials.len() {
            let mut y = partials[index];
            if x.abs() < y.abs() {
                std::mem::swap(&mut x, &mut y);
            }
            let high = x + y;
            let low = y - (high - x);
            if low != 0.0 {
                partials[kept] = low;
                kept += 1;
            }
            x = high;
        }
        partials.truncate(kept);
        partials.push(x);
    }
    let Some(mut high) = partials.pop() else { return 0.0 };
    let mut low = 0.0;
    while let Some(y) = partials.pop() {
        let x = high;
        high = x + y;
        low = y - (high - x);
        if low != 0.0 {
            break;
        }
    }
    // Half-way cases look at the next partial.
    if let Some(next) = partials.last()
        && (low < 0.0) == (*next < 0.0)
        && low != 0.0
    {
        let y = low * 2.0;
        let x = high + y;
        if y == x - high {
            high = x;
        }
    }
    high
}

fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) => text.parse().unwrap(),
        other => other.as_f64().unwrap(),
    }
}

/// Compares a series with its entry: counts, ends, range, exact sum and the hash over every point.
pub(crate) fn check_series(what: &str, expected: &Value, points: &PointColumns) {
    let values = &points.values;
    let count = |test: fn(f64) -> bool| values.iter().filter(|v| test(**v)).count() as u64;
    let field = |name: &str| expected[name].as_u64().unwrap();
    assert_eq!(points.len() as u64, field("n"), "{what}: n");
    assert_eq!(count(f64::is_nan), field("n_nan"), "{what}: NaN");
    assert_eq!(count(|v| v == f64::INFINITY), field("n_posinf"), "{what}: inf");
    assert_eq!(count(|v| v == f64::NEG_INFINITY), field("n_neginf"), "{what}: -inf");
    let same = |name: &str, actual: f64| {
        let wanted = number(&expected[name]);
        let equal = wanted.to_bits() == actual.to_bits() || (wanted.is_nan() && actual.is_nan());
        assert!(equal, "{what}: {name} is {actual:?}, expected {wanted:?}");
    };
    same("last_value", *values.last().unwrap());
    let finite = || values.iter().copied().filter(|v| v.is_finite());
    if finite().next().is_some() {
        // -0.0 and 0.0 are equal as extremes.
        assert_eq!(number(&expected["min"]), finite().fold(f64::INFINITY, f64::min), "{what}: min");
        assert_eq!(number(&expected["max"]), finite().fold(f64::NEG_INFINITY, f64::max), "{what}: max");
        assert_eq!(number(&expected["sum"]), exact_sum(finite()), "{what}: sum");
    }
    let steps: Vec<String> = points.iter().map(|p| step_text(p.step, p.step_fraction)).collect();
    let step = |name: &str| match &expected[name] {
        Value::Null => None,
        other => Some(other.to_string()),
    };
    if let Some(first) = step("first_step") {
        assert_eq!(first, steps[0], "{what}: first step");
    }
    let Some(last) = step("last_step") else { return };
    assert_eq!(last, *steps.last().unwrap(), "{what}: last step");
    let mut hash = Sha256::new();
    for (step, value) in steps.iter().zip(values) {
        hash.update(format!("{step}\t{}\n", python_repr(*value)));
    }
    let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(expected["sha256"].as_str().unwrap(), hash, "{what}: hash");
}

fn step_text(step: i64, fraction: Option<i32>) -> String {
    match fraction {
        None => step.to_string(),
        Some(fraction) => python_repr(step as f64 + f64::from(fraction) / 1e6),
    }
}

/// Compares a series point by point with the file of points. `micros` turns the file's time into ours; without a time
/// in the file none is compared.
pub(crate) fn check_points(
    what: &str,
    expected: &[TextPoint],
    points: &PointColumns,
    micros: fn(&str) -> i64,
) {
    assert_eq!(points.len(), expected.len(), "{what}: number of points");
    for (index, ((step, time, value), point)) in expected.iter().zip(points.iter()).enumerate() {
        if !step.is_empty() {
            assert_eq!(*step, step_text(point.step, point.step_fraction), "{what}: step of point {index}");
        }
        let wanted: f64 = value.parse().unwrap();
        let equal = wanted.to_bits() == point.value.to_bits() || (wanted.is_nan() && point.value.is_nan());
        assert!(equal, "{what}: value of point {index} is {:?}, expected {value}", point.value);
        if !time.is_empty() {
            assert_eq!(micros(time), point.time, "{what}: time of point {index} from {time}");
        }
    }
}

#[test]
fn python_repr_is_what_python_shows() {
    for (number, text) in [
        (0.1, "0.1"),
        (1e16, "1e+16"),
        (123456789012345680.0, "1.2345678901234568e+17"),
        (1e15, "1000000000000000.0"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (-0.0, "-0.0"),
        (5e-324, "5e-324"),
        (f64::MAX, "1.7976931348623157e+308"),
        (2.5e-7, "2.5e-07"),
        (-3.0, "-3.0"),
        (120.0, "120.0"),
        (0.001, "0.001"),
    ] {
        assert_eq!(python_repr(number), text);
    }
    assert_eq!(exact_sum([1e100, 1.0, -1e100].into_iter()), 1.0);
}
