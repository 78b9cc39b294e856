//! Values of params and tags. The text is what the user logged; numbers are read from it.

use crate::error::Result;
use crate::limits;
use crate::name::check_length;
use crate::text::text_type;

macro_rules! value_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $limit:expr) => {
        text_type!($(#[$doc])* $name);

        impl $name {
            /// Checks the length and takes the text as it is; empty is allowed.
            ///
            /// # Errors
            /// Refuses a text over the limit.
            pub fn new(text: impl AsRef<str>) -> Result<Self> {
                let text = text.as_ref();
                Self::check(text)?;
                Ok(Self(text.into()))
            }

            /// Whether [`Self::new`] takes a text.
            ///
            /// # Errors
            /// As [`Self::new`].
            pub fn check(text: &str) -> Result<()> {
                check_length($what, text, $limit)
            }

            /// The number that the text spells, NULL for everything else. Blanks around it are ignored;
            /// `nan`, `inf` and `infinity` in any case are numbers.
            pub fn number(&self) -> Option<f64> {
                self.0.trim().parse().ok()
            }
        }
    };
}

value_type!(
    /// The value of a param: an input of a run, written once. At most 6,000 characters.
    ParamValue, "param value", limits::PARAM_VALUE_CHARACTERS
);
value_type!(
    /// The value of a tag: a label of a run, which may change. At most 8,000 characters.
    TagValue, "tag value", limits::TAG_VALUE_CHARACTERS
);

impl ParamValue {
    /// The value of a number that a tool kept as a double: the shortest text that reads back to the same bits,
    /// with `.0` where it is a whole number (so that its type stays a float).
    pub fn from_f64(number: f64) -> Self {
        Self(format!("{number:?}").into())
    }

    /// The value of a truth value: `true` or `false`.
    pub fn from_bool(truth: bool) -> Self {
        Self(if truth { "true" } else { "false" }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_and_texts_kept() {
        let value = ParamValue::new(" 1e-4 ").unwrap();
        assert_eq!(value.as_str(), " 1e-4 ");
        assert_eq!(value.number(), Some(1e-4));
        assert_eq!(ParamValue::new("adam").unwrap().number(), None);
        assert_eq!(ParamValue::new("").unwrap().number(), None);
        assert_eq!(ParamValue::new("0x10").unwrap().number(), None);
    }

    #[test]
    fn doubles_come_back_bit_for_bit() {
        for number in [32.0, 0.1, 1e300, -0.0, f64::MIN_POSITIVE, f64::INFINITY] {
            assert_eq!(ParamValue::from_f64(number).number().map(f64::to_bits), Some(number.to_bits()));
        }
    }

    #[test]
    fn values_over_the_limit_are_refused() {
        assert!(ParamValue::new("x".repeat(6_001)).is_err());
        assert!(TagValue::new("x".repeat(8_000)).is_ok());
    }
}
