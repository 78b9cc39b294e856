//! Numbers as PostgreSQL writes them, and decimals in binary.

use std::fmt::Write as _;

use bytes::{Buf, BufMut, BytesMut};

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NOT_A_NUMBER: u16 = 0xC000;
/// Decimal digits in one digit of the binary form.
const GROUP: usize = 4;

/// A double in the fewest digits that give it back.
pub(super) fn put_double(out: &mut BytesMut, value: f64) {
    match special(value) {
        Some(text) => out.extend(text.as_bytes()),
        None => put_shortest(out, &format!("{value:e}"), 15),
    }
}

/// A single in the fewest digits that give it back.
pub(super) fn put_single(out: &mut BytesMut, value: f32) {
    match special(f64::from(value)) {
        Some(text) => out.extend(text.as_bytes()),
        None => put_shortest(out, &format!("{value:e}"), 6),
    }
}

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value.is_infinite() {
        Some(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        None
    }
}

/// `scientific` is `-1.25e3`; from `large` digits on, and below a ten-thousandth, an exponent is written.
fn put_shortest(out: &mut BytesMut, scientific: &str, large: i32) {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    out.extend(sign.as_bytes());
    // Writing to a buffer in memory cannot fail.
    if exponent < -4 || exponent >= large {
        out.extend(mantissa.as_bytes());
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out, "e{sign}{:02}", exponent.unsigned_abs());
    } else if exponent < 0 {
        let _ = write!(out, "0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1));
    } else {
        let whole = exponent as usize + 1;
        if digits.len() <= whole {
            let _ = write!(out, "{digits}{}", "0".repeat(whole - digits.len()));
        } else {
            let _ = write!(out, "{}.{}", &digits[..whole], &digits[whole..]);
        }
    }
}

/// A decimal, written out as `-12.50`, in binary; false when it is none.
pub(super) fn put_numeric(out: &mut BytesMut, decimal: &str) -> bool {
    let (sign, unsigned) = match decimal.strip_prefix('-') {
        Some(rest) => (NEGATIVE, rest),
        None => (POSITIVE, decimal),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit())
        || whole.len() + fraction.len() > 1_000
    {
        return false;
    }
    let whole = whole.trim_start_matches('0');
    let leading = whole.len().div_ceil(GROUP);
    let padded = format!(
        "{}{whole}{fraction}{}",
        "0".repeat(leading * GROUP - whole.len()),
        "0".repeat(fraction.len().div_ceil(GROUP) * GROUP - fraction.len())
    );
    let mut groups: Vec<i16> = padded
        .as_bytes()
        .chunks(GROUP)
        .map(|group| group.iter().fold(0, |n, d| n * 10 + i16::from(d - b'0')))
        .collect();
    let mut weight = leading as i16 - 1;
    while groups.first() == Some(&0) {
        groups.remove(0);
        weight -= 1;
    }
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let zero = groups.is_empty();
    out.put_i16(groups.len() as i16);
    out.put_i16(if zero { 0 } else { weight });
    out.put_u16(if zero { POSITIVE } else { sign });
    out.put_u16(fraction.len() as u16);
    for group in groups {
        out.put_i16(group);
    }
    true
}

/// A decimal in binary, written out; `None` when it is none, or no finite one.
pub(super) fn numeric_text(mut binary: &[u8]) -> Option<String> {
    if binary.len() < 8 {
        return None;
    }
    let (count, weight, sign, scale) =
        (binary.get_u16(), binary.get_i16(), binary.get_u16(), binary.get_u16());
    if sign == NOT_A_NUMBER {
        return Some("NaN".to_owned());
    }
    if binary.len() != usize::from(count) * 2
        || !matches!(sign, POSITIVE | NEGATIVE)
        || weight > 1_000
        || scale > 1_000
    {
        return None;
    }
    let groups: Vec<u16> = (0..count).map(|_| binary.get_u16()).collect();
    if groups.iter().any(|group| *group > 9_999) {
        return None;
    }
    let group = |at: i32| usize::try_from(at).ok().and_then(|at| groups.get(at)).copied().unwrap_or(0);
    let mut text = String::new();
    if sign == NEGATIVE {
        text.push('-');
    }
    let whole: String = (0..=i32::from(weight)).map(|at| format!("{:04}", group(at))).collect();
    let whole = whole.trim_start_matches('0');
    text.push_str(if whole.is_empty() { "0" } else { whole });
    let scale = usize::from(scale);
    if scale > 0 {
        let first = i32::from(weight) + 1;
        // Groups between the point and the first one that is there are zero.
        let fraction: String =
            (0..scale.div_ceil(GROUP) as i32).map(|at| format!("{:04}", group(first + at))).collect();
        text.push('.');
        text.push_str(&fraction[..scale]);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn double(value: f64) -> String {
        let mut out = BytesMut::new();
        put_double(&mut out, value);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn doubles_are_written_as_postgresql_does() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (-1234.5, "-1234.5"),
            (100_000.0, "100000"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (1.25e300, "1.25e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double(value), text);
        }
        let mut out = BytesMut::new();
        put_single(&mut out, 0.1);
        put_single(&mut out, 1e6);
        assert_eq!(out.as_ref(), b"0.11e+06");
    }

    #[test]
    fn decimals_are_grouped_by_four() {
        let binary = |text: &str| {
            let mut out = BytesMut::new();
            assert!(put_numeric(&mut out, text), "{text}");
            out.to_vec()
        };
        // As PostgreSQL sends 12345.678: two digits before the point, two behind it, weight 1, scale 3.
        assert_eq!(binary("12345.678"), [0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 0x09, 0x29, 0x1A, 0x7C]);
        assert_eq!(binary("0.00"), [0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(binary("-0.0001"), [0, 1, 0xFF, 0xFF, 0x40, 0, 0, 4, 0, 1]);
        assert!(!put_numeric(&mut BytesMut::new(), "1e5"));
    }

    proptest! {
        #[test]
        fn doubles_come_back_bit_for_bit(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let back: f64 = double(value).parse().unwrap();
            prop_assert!(back.to_bits() == bits || (back.is_nan() && value.is_nan()));
        }

        #[test]
        fn decimals_come_back(text in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?") {
            let mut out = BytesMut::new();
            prop_assert!(put_numeric(&mut out, &text));
            let back = numeric_text(&out).unwrap();
            let zero = !text.bytes().any(|b| (b'1'..=b'9').contains(&b));
            prop_assert_eq!(back, if zero { text.trim_start_matches('-') } else { &text });
        }

        #[test]
        fn no_bytes_make_it_panic(binary in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = numeric_text(&binary);
        }
    }
}
