//! Run ids: 32 lowercase hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{ModelError, Result, beginning};

/// The namespace of run ids that are derived from another tool's id (itself a UUIDv5 of the DNS name `runlake.dev`).
const IMPORT_NAMESPACE: Uuid = Uuid::from_u128(0x5f4b_6d0e_9a57_5c2b_8a1d_1f64_7c1e_9a03);

/// The identity of a run: 128 bits, written as 32 lowercase hexadecimal digits.
///
/// Ids made by Runlake are UUIDv7 and therefore ordered by time; ids of other tools are kept when they have this form.
///
/// ```
/// # use model::RunId;
/// let id: RunId = "01890a5d96e07f2c8b1a6e0f5d3c2b1a".parse().unwrap();
/// assert_eq!(id.to_string(), "01890a5d96e07f2c8b1a6e0f5d3c2b1a");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(u128);

impl RunId {
    /// A new UUIDv7 from the time in milliseconds since 1970 and ten random bytes.
    pub fn from_time_and_random(unix_millis: u64, random: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(unix_millis, &random).into_uuid().as_u128())
    }

    /// The id of a run that comes from another tool: its own id when that is already 32 lowercase hexadecimal
    /// digits, else a UUIDv5 of the source and the id, the same on every machine and at every import.
    pub fn imported(source: &str, source_run_id: &str) -> Self {
        source_run_id.parse().unwrap_or_else(|_| {
            // The length prefix keeps ("ab", "c") and ("a", "bc") apart.
            let name = format!("{}:{source}{source_run_id}", source.len());
            Self(Uuid::new_v5(&IMPORT_NAMESPACE, name.as_bytes()).as_u128())
        })
    }

    /// The id as a number; ids sort the same as numbers and as text.
    pub fn as_u128(self) -> u128 {
        self.0
    }

    /// The id from its number.
    pub fn from_u128(number: u128) -> Self {
        Self(number)
    }
}

impl FromStr for RunId {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self> {
        let well_formed = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !well_formed {
            return Err(ModelError::RunId { text: beginning(text) });
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| ModelError::RunId { text: beginning(text) })
    }
}

impl TryFrom<String> for RunId {
    type Error = ModelError;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> String {
        id.to_string()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_mlflow_are_kept_and_others_are_derived() {
        let kept = RunId::imported("mlflow", "816b2fdd6e3c43dbb4c4aa925b920381");
        assert_eq!(kept.to_string(), "816b2fdd6e3c43dbb4c4aa925b920381");
        let derived = RunId::imported("tensorboard", "lr=0.1/seed_0");
        assert_eq!(derived, RunId::imported("tensorboard", "lr=0.1/seed_0"));
        assert_ne!(derived, RunId::imported("csv", "lr=0.1/seed_0"));
        assert_ne!(RunId::imported("ab", "c"), RunId::imported("a", "bc"));
    }

    #[test]
    fn new_ids_are_ordered_by_time() {
        let early = RunId::from_time_and_random(1_000, [255; 10]);
        let late = RunId::from_time_and_random(1_001, [0; 10]);
        assert!(early < late && early.to_string() < late.to_string());
    }

    #[test]
    fn upper_case_short_and_foreign_texts_are_refused() {
        for text in ["", "816B2FDD6E3C43DBB4C4AA925B920381", "816b", "+16b2fdd6e3c43dbb4c4aa925b920381"] {
            assert_eq!(text.parse::<RunId>().unwrap_err().code(), "run_id.malformed", "{text}");
        }
    }
}
