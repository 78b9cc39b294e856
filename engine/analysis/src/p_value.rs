//! P-values that never show as zero.

use std::fmt;

/// Below this a p-value is shown as "< 1e-300".
const SHOWN_MINIMUM: f64 = 1e-300;

/// A probability under a null hypothesis. Shows as `< 1e-300` instead of 0, also in JSON.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct PValue(f64);

impl PValue {
    /// Wraps a probability; values outside [0, 1] by rounding are moved to the end they passed.
    pub fn new(p: f64) -> Self {
        Self(p.clamp(0.0, 1.0))
    }

    /// The probability itself (0 where it underflowed).
    pub fn value(self) -> f64 {
        self.0
    }
}

impl fmt::Display for PValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            p if p < SHOWN_MINIMUM => write!(f, "< 1e-300"),
            p if p < 1e-4 => write!(f, "{p:.1e}"),
            p if p < 0.01 => write!(f, "{p:.4}"),
            p => write!(f, "{p:.3}"),
        }
    }
}

impl serde::Serialize for PValue {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 < SHOWN_MINIMUM {
            serializer.serialize_str("< 1e-300")
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PValue;

    #[test]
    fn zero_never_shows() {
        assert_eq!(PValue::new(0.0).to_string(), "< 1e-300");
        assert_eq!(serde_json::to_string(&PValue::new(0.0)).unwrap(), "\"< 1e-300\"");
        assert_eq!(serde_json::to_string(&PValue::new(0.25)).unwrap(), "0.25");
        assert_eq!(PValue::new(3.21e-9).to_string(), "3.2e-9");
        assert_eq!(PValue::new(0.04999).to_string(), "0.050");
    }
}
