//! Numbers as people and programs write them in text files.

/// The double that a text spells: any decimal number, `inf`, `infinity` and `nan` in any case, with blanks around it.
/// Too large is infinite, too small is zero. Hexadecimal, `1_000`, `True` and foreign digits are not numbers.
///
/// ```
/// # use importers::number::parse_number;
/// assert_eq!(parse_number(" 1e400 "), Some(f64::INFINITY));
/// assert_eq!(parse_number("0x10"), None);
/// ```
pub fn parse_number(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

/// Like [`parse_number`], with a comma before the decimals (`1,5`).
pub fn parse_number_with_decimal_comma(text: &str) -> Option<f64> {
    let text = text.trim();
    if text.contains('.') {
        return None;
    }
    match text.split_once(',') {
        Some((whole, decimals)) if decimals.bytes().next().is_none_or(|b| b.is_ascii_digit()) => {
            format!("{whole}.{decimals}").parse().ok()
        }
        Some(_) => None,
        None => text.parse().ok(),
    }
}

/// A step and its fraction in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The whole step, rounded down.
    pub whole: i64,
    /// The fraction in millionths, `None` for a whole step.
    pub fraction: Option<i32>,
    /// Whether a millionth was not fine enough and the step was rounded.
    pub rounded: bool,
}

impl Step {
    /// A whole step.
    pub fn whole(step: i64) -> Self {
        Self { whole: step, fraction: None, rounded: false }
    }

    /// The step that a double stands for; `None` for what is not finite or beyond 64 bits.
    pub fn from_f64(number: f64) -> Option<Self> {
        // The bounds are exact doubles; the upper one is the first that does not fit.
        const TOO_LARGE: f64 = 9_223_372_036_854_775_808.0;
        if !(-TOO_LARGE..TOO_LARGE).contains(&number) {
            return None;
        }
        let floor = number.floor();
        // In range by the check above.
        #[allow(clippy::cast_possible_truncation)]
        let whole = floor as i64;
        let exact = (number - floor) * 1e6;
        let millionths = exact.round();
        // 0.1 is not exact in binary: what counts as exact is the nearest double of the rounded decimal.
        let rounded = (floor + millionths / 1e6) != number;
        #[allow(clippy::cast_possible_truncation)]
        let fraction = millionths as i32;
        Some(match fraction {
            0 => Self { whole, fraction: None, rounded },
            1_000_000 => Self { whole: whole.checked_add(1)?, fraction: None, rounded },
            _ => Self { whole, fraction: Some(fraction), rounded },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_commas_are_read_only_as_such() {
        assert_eq!(parse_number_with_decimal_comma("1,5"), Some(1.5));
        assert_eq!(parse_number_with_decimal_comma("-0,25"), Some(-0.25));
        assert_eq!(parse_number_with_decimal_comma("7"), Some(7.0));
        assert_eq!(parse_number_with_decimal_comma("1.5"), None);
        assert_eq!(parse_number_with_decimal_comma("1,5,0"), None);
        assert_eq!(parse_number_with_decimal_comma("1,inf"), None);
    }

    #[test]
    fn steps_keep_millionths_and_round_finer_ones() {
        assert_eq!(Step::from_f64(2.5), Some(Step { whole: 2, fraction: Some(500_000), rounded: false }));
        assert_eq!(Step::from_f64(-0.5), Some(Step { whole: -1, fraction: Some(500_000), rounded: false }));
        assert_eq!(Step::from_f64(0.1), Some(Step { whole: 0, fraction: Some(100_000), rounded: false }));
        assert_eq!(Step::from_f64(3.0), Some(Step::whole(3)));
        assert!(Step::from_f64(1.0 / 3.0).is_some_and(|s| s.rounded && s.fraction == Some(333_333)));
        assert_eq!(Step::from_f64(0.999_999_99).map(|s| (s.whole, s.fraction)), Some((1, None)));
        for number in [f64::NAN, f64::INFINITY, 9.3e18, -9.3e18] {
            assert_eq!(Step::from_f64(number), None);
        }
        assert_eq!(Step::from_f64(-9_223_372_036_854_775_808.0), Some(Step::whole(i64::MIN)));
    }
}
