//! Times as tools write them, turned into microseconds since 1970 UTC.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

/// Microseconds from a number whose unit is told by its size: below 1e11 seconds, below 1e14 milliseconds, below 1e17
/// microseconds, else nanoseconds (all in the years 1970 to 5138; a smaller unit would lie before 1974).
pub fn micros_from_number(number: f64) -> Option<i64> {
    let size = number.abs();
    let micros = if size < 1e11 {
        return micros_from_seconds(number);
    } else if size < 1e14 {
        number * 1e3
    } else if size < 1e17 {
        number
    } else {
        number / 1e3
    };
    round_to_i64(micros)
}

/// Microseconds from a whole number, exactly where a double would round.
pub fn micros_from_integer(number: i64) -> Option<i64> {
    match number.unsigned_abs() {
        0..100_000_000_000 => number.checked_mul(1_000_000),
        100_000_000_000..100_000_000_000_000 => number.checked_mul(1_000),
        100_000_000_000_000..100_000_000_000_000_000 => Some(number),
        // To the nearest microsecond.
        _ => number.checked_add(500).map(|n| n.div_euclid(1_000)),
    }
}

/// Microseconds from a whole number in a unit of which a second has so many, to the nearest.
pub fn micros_of_integer(number: i64, per_second: i64) -> Option<i64> {
    const MICROS: i64 = 1_000_000;
    if per_second <= MICROS {
        return number.checked_mul(MICROS / per_second.max(1));
    }
    let per_micro = per_second / MICROS;
    number.checked_add(per_micro / 2).map(|number| number.div_euclid(per_micro))
}

/// The same from any number.
pub fn micros_of_number(number: f64, per_second: i64) -> Option<i64> {
    let per_second = per_second as f64;
    // One exact factor, so that rounding happens once.
    round_to_i64(if per_second <= 1e6 { number * (1e6 / per_second) } else { number / (per_second / 1e6) })
}

/// Microseconds from seconds, to the nearest.
pub fn micros_from_seconds(seconds: f64) -> Option<i64> {
    round_to_i64(seconds * 1e6)
}

fn round_to_i64(number: f64) -> Option<i64> {
    let rounded = number.round();
    // Well inside of 64 bits, and beyond any calendar.
    if rounded.is_finite() && rounded.abs() < 9.0e18 {
        #[allow(clippy::cast_possible_truncation)]
        Some(rounded as i64)
    } else {
        None
    }
}

/// Microseconds from a text: RFC 3339, the same with a blank or without an offset (then UTC), a date, or a number.
pub fn micros_from_text(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(integer) = text.parse::<i64>() {
        return micros_from_integer(integer);
    }
    if let Some(number) = text.parse::<f64>().ok().filter(|n| n.is_finite()) {
        return micros_from_number(number);
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_micros());
    }
    for format in ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f%#z"] {
        if let Ok(time) = DateTime::parse_from_str(text, format) {
            return Some(time.timestamp_micros());
        }
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M:%S%.f"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return Some(time.and_utc().timestamp_micros());
        }
    }
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_told_by_the_size() {
        let expected = Some(1_750_000_000_000_000);
        for number in [1_750_000_000_i64, 1_750_000_000_000, 1_750_000_000_000_000, 1_750_000_000_000_000_000]
        {
            assert_eq!(micros_from_integer(number), expected, "{number}");
            assert_eq!(micros_from_number(number as f64), expected, "{number}");
            assert_eq!(micros_from_text(&number.to_string()), expected, "{number}");
        }
        assert_eq!(micros_from_text("1750000002.5"), Some(1_750_000_002_500_000));
        assert_eq!(micros_from_integer(i64::MAX), None);
        assert_eq!(micros_from_number(f64::NAN), None);
        assert_eq!(micros_from_number(1e300), None);
    }

    #[test]
    fn a_unit_that_is_said_counts_whatever_the_size() {
        for (number, per_second, micros) in [
            (12, 1, 12_000_000),
            (12, 1_000, 12_000),
            (-12, 1_000_000, -12),
            (12_499, 1_000_000_000, 12),
            (12_500, 1_000_000_000, 13),
        ] {
            assert_eq!(micros_of_integer(number, per_second), Some(micros), "{number} {per_second}");
            assert_eq!(micros_of_number(number as f64, per_second), Some(micros), "{number} {per_second}");
        }
        assert_eq!(micros_of_integer(i64::MAX, 1), None);
        assert_eq!(micros_of_number(f64::INFINITY, 1_000), None);
    }

    #[test]
    fn calendar_times_are_read() {
        let expected = Some(1_772_323_201_500_000);
        for text in [
            "2026-03-01T00:00:01.5Z",
            "2026-03-01T01:00:01.500+01:00",
            "2026-03-01 00:00:01.5",
            "2026-03-01 00:00:01.5+00:00",
            "2026-03-01T00:00:01.500000",
        ] {
            assert_eq!(micros_from_text(text), expected, "{text}");
        }
        assert_eq!(micros_from_text("2026-03-01"), Some(1_772_323_200_000_000));
        for text in ["", "soon", "12:30", "nan", "inf"] {
            assert_eq!(micros_from_text(text), None, "{text}");
        }
    }
}
