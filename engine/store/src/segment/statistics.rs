//! Statistics of a data file as Delta's `add` action wants them.

use chrono::{DateTime, Datelike};
use serde_json::{Map, Value, json};

/// Smallest and largest values by column; columns whose bounds cannot be said safely are left out.
#[derive(Debug, Default)]
pub(crate) struct FileStatistics {
    rows: u64,
    minima: Map<String, Value>,
    maxima: Map<String, Value>,
    nulls: Map<String, Value>,
}

impl FileStatistics {
    pub(crate) fn new(rows: u64) -> Self {
        Self { rows, ..Self::default() }
    }

    /// Bounds of a column without nulls.
    pub(crate) fn bounds(&mut self, column: &str, low: Value, high: Value) {
        self.minima.insert(column.to_owned(), low);
        self.maxima.insert(column.to_owned(), high);
        self.nulls(column, 0);
    }

    /// Bounds of a column of times in microseconds; years that Delta readers cannot parse are left out.
    pub(crate) fn times(&mut self, column: &str, low: i64, high: i64) {
        if let Some((low, high)) = timestamp(low).zip(timestamp(high)) {
            self.bounds(column, low, high);
        }
    }

    pub(crate) fn nulls(&mut self, column: &str, count: u64) {
        self.nulls.insert(column.to_owned(), count.into());
    }

    pub(crate) fn into_json(self) -> String {
        json!({
            "numRecords": self.rows,
            "minValues": self.minima,
            "maxValues": self.maxima,
            "nullCount": self.nulls,
        })
        .to_string()
    }
}

fn timestamp(micros: i64) -> Option<Value> {
    let time = DateTime::from_timestamp_micros(micros)?;
    (1..=9999).contains(&time.year()).then(|| time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string().into())
}
