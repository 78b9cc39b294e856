//! Data files as the catalog knows them.

use std::collections::{BTreeMap, HashMap};

use deltalake_core::kernel::{Add, Remove};
use serde_json::Value;

use crate::segment::EncodedSegment;

/// The tag with the last WAL number of the rows of a file: of two files with points of one series, the one with the
/// lower number has the points that arrived first.
pub(crate) const ARRIVAL_TAG: &str = "arrival";

/// A data file of a table: an `add` action of its Delta log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// Path relative to the folder of the table.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// Number of rows.
    pub rows: u64,
    /// Statistics as JSON: `numRecords`, `minValues`, `maxValues`, `nullCount`.
    pub stats: String,
    /// Tags: `crc32c` of the whole file, `kind`, `format`, `series`, and what the writer adds (`first_seq`, …).
    pub tags: BTreeMap<String, String>,
}

impl DataFile {
    /// The data file that a segment becomes under a path.
    pub fn of(path: impl Into<String>, segment: &EncodedSegment) -> Self {
        Self {
            path: path.into(),
            bytes: segment.bytes.len() as u64,
            rows: segment.rows,
            stats: segment.stats.clone(),
            tags: segment.tags.clone(),
        }
    }

    /// The CRC32C of the whole file, `None` when the tag is missing or malformed.
    pub fn crc32c(&self) -> Option<u32> {
        u32::from_str_radix(self.tags.get("crc32c")?, 16).ok()
    }

    /// The last WAL number whose rows the file may hold; 0 when it is not known.
    pub fn arrival(&self) -> u64 {
        self.tags.get(ARRIVAL_TAG).and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    pub(crate) fn to_add(&self, time: i64, data_change: bool) -> Add {
        Add {
            path: self.path.clone(),
            size: i64::try_from(self.bytes).unwrap_or(i64::MAX),
            modification_time: time,
            data_change,
            stats: Some(self.stats.clone()),
            tags: Some(self.tags.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect()),
            ..Add::default()
        }
    }

    pub(crate) fn to_remove(&self, time: i64, data_change: bool) -> Remove {
        Remove {
            path: self.path.clone(),
            data_change,
            deletion_timestamp: Some(time),
            extended_file_metadata: Some(true),
            partition_values: Some(HashMap::new()),
            size: i64::try_from(self.bytes).ok(),
            ..Remove::default()
        }
    }

    /// Reads an `add` action of a log.
    pub(crate) fn from_add(add: &Value) -> Result<Self, String> {
        let text =
            |key: &str| add.get(key).and_then(Value::as_str).ok_or_else(|| format!("an add has no {key}"));
        let stats = text("stats")?;
        let parsed: Value = serde_json::from_str(stats).map_err(|error| format!("stats: {error}"))?;
        let rows = parsed.get("numRecords").and_then(Value::as_u64).ok_or("stats have no numRecords")?;
        let bytes = add.get("size").and_then(Value::as_u64).ok_or("an add has no size")?;
        let tags = add.get("tags").and_then(Value::as_object).ok_or("an add has no tags")?;
        let tags =
            tags.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
        Ok(Self { path: decode_path(text("path")?)?, bytes, rows, stats: stats.to_owned(), tags })
    }
}

/// Paths in a log are percent-encoded.
pub(crate) fn decode_path(path: &str) -> Result<String, String> {
    object_store::path::Path::from_url_path(path).map(String::from).map_err(|error| error.to_string())
}
