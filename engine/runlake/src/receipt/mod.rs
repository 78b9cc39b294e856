//! Receipts: what an import took of its source, series by series, kept in the lake and checked against it later.

mod check;
mod document;
mod keep;
mod write;

use std::collections::BTreeMap;

use model::{Context, MetricName, Point, PointColumns, RunId, SeriesKey, SeriesStatistics};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use check::{ReceiptCheck, SeriesDifference};
pub(crate) use keep::KeptReceipts;
pub use keep::{ReceiptContent, ReceiptSource};
pub(crate) use write::ReceiptWriter;

/// The version of the format.
pub(crate) const FORMAT: u32 = 1;

/// What an import took of its source: everything but its list of series, which may be long
/// (`docs/formats/receipt.md`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The version of the format.
    pub receipt: u32,
    /// Its name in the lake: the time of the import, and something to tell receipts of one second apart.
    pub id: String,
    /// The program that wrote it.
    pub created_by: String,
    /// When the import began, microseconds since 1970 UTC.
    pub time: i64,
    /// Whether the import came to its end; the next import goes on from the receipt of one that did not.
    pub complete: bool,
    /// The path that was imported, absolute.
    pub root: String,
    /// Runs of all units.
    pub runs: u64,
    /// Series in the list of series.
    pub series_count: u64,
    /// Points of these.
    pub points: u64,
    /// Points that this import added to the lake.
    pub new_points: u64,
    /// Points that are NaN.
    pub nan: u64,
    /// Points that are infinite.
    pub infinite: u64,
    /// Smallest and largest step.
    pub steps: Option<(i64, i64)>,
    /// Earliest and latest time, microseconds since 1970 UTC.
    pub times: Option<(i64, i64)>,
    /// Records that were rejected.
    pub rejected: u64,
    /// The same by code.
    pub rejected_by_code: BTreeMap<String, u64>,
    /// The first of them with their places.
    pub rejections: Vec<ReceiptRejection>,
    /// What was taken differently from how it stood there, or left out.
    pub remarks: Vec<ReceiptRejection>,
    /// Files that are of no known kind.
    pub left: Vec<ReceiptLeft>,
    /// Files and run folders, in the order in which they are read.
    pub units: Vec<ReceiptUnit>,
}

/// A file or a run folder that was imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptUnit {
    /// The kind of source.
    pub kind: String,
    /// The file or folder, absolute.
    pub location: String,
    /// A hash over the content and how its columns were mapped; empty when it could not be read.
    pub content_hash: String,
    /// Whether it was left unread, because an earlier import took the same content.
    pub unchanged: bool,
    /// Runs.
    pub runs: u64,
    /// Series.
    pub series: u64,
    /// Points.
    pub points: u64,
    /// Records that were rejected.
    pub rejected: u64,
}

/// Input that was not taken, or not as it stood there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptRejection {
    /// Its unit by number, from 0; `None` for files of no unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<u32>,
    /// The file.
    pub file: String,
    /// Where in it.
    pub place: String,
    /// A stable code.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// How often.
    pub count: u64,
}

/// A file that was left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptLeft {
    /// The path.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// What is known of the points of a series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// How many there are.
    pub points: u64,
    /// The sum of their [fingerprints](Point::fingerprint), as 16 hexadecimal digits: the same in whatever order and files
    /// they stand.
    #[serde(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub hash: u64,
}

impl Held {
    fn observe(&mut self, point: Point) {
        self.points += 1;
        self.hash = self.hash.wrapping_add(point.fingerprint());
    }
}

impl From<&SeriesStatistics> for Held {
    fn from(statistics: &SeriesStatistics) -> Self {
        Self { points: statistics.count, hash: statistics.fingerprint }
    }
}

/// A series of a receipt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReceiptSeries {
    /// The unit by number, from 0.
    pub unit: u32,
    /// The run.
    pub run: RunId,
    /// The metric.
    pub metric: MetricName,
    /// The context as a text of JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// How many points the source holds.
    pub points: u64,
    /// Their hash, as in [`Held`].
    #[serde(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub hash: u64,
    /// Points that are NaN.
    pub nan: u64,
    /// Points that are infinite.
    pub infinite: u64,
    /// Smallest and largest step.
    pub steps: (i64, i64),
    /// Earliest and latest time, microseconds since 1970 UTC.
    pub times: (i64, i64),
    /// What the lake held after the import, where that is more than the source's points: others wrote into the series too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lake: Option<Held>,
}

impl ReceiptSeries {
    fn of(unit: u32, key: SeriesKey, point: Point) -> Self {
        let SeriesKey { run, metric, context } = key;
        Self {
            unit,
            run,
            metric,
            context,
            points: 0,
            hash: 0,
            nan: 0,
            infinite: 0,
            steps: (point.step, point.step),
            times: (point.time, point.time),
            lake: None,
        }
    }

    fn observe(&mut self, points: &PointColumns) {
        for point in points.iter() {
            self.points += 1;
            self.hash = self.hash.wrapping_add(point.fingerprint());
            self.nan += u64::from(point.value.is_nan());
            self.infinite += u64::from(point.value.is_infinite());
            self.steps = (self.steps.0.min(point.step), self.steps.1.max(point.step));
            self.times = (self.times.0.min(point.time), self.times.1.max(point.time));
        }
    }

    /// What the source holds.
    pub fn source(&self) -> Held {
        Held { points: self.points, hash: self.hash }
    }

    /// What the lake should hold.
    pub fn expected(&self) -> Held {
        self.lake.unwrap_or(self.source())
    }

    /// Which series it is.
    pub fn key(&self) -> SeriesKey {
        SeriesKey { run: self.run, metric: self.metric.clone(), context: self.context.clone() }
    }
}

fn write_hash<S: Serializer>(hash: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{hash:016x}"))
}

fn read_hash<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    u64::from_str_radix(&text, 16)
        .map_err(|_| serde::de::Error::custom(format!("{text:?} is no hash of 16 hexadecimal digits")))
}
