//! Whether a lake still holds what a receipt says: every point of its series is read and hashed again.

use std::collections::{BTreeSet, HashMap};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use futures::TryStreamExt;
use model::{Context, MetricName, Point, RunId, SeriesKey};
use query::QueryOptions;
use store::{SeriesOrdinal, Snapshot};

use super::{Held, ReceiptContent};
use crate::error::{Error, Result};
use crate::lake::Lake;

/// Differences that are told one by one; all are counted.
const TOLD: usize = 1_000;
/// Up to so many runs are named in the query for their points; with more, all points are read.
const NAMED_RUNS: usize = 1_000;

/// What came of checking a lake against a receipt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReceiptCheck {
    /// Series of the receipt.
    pub series: u64,
    /// Points that the lake should hold in them.
    pub points: u64,
    /// Series that are not in the lake.
    pub missing: u64,
    /// Series that hold other points.
    pub changed: u64,
    /// The first of both.
    pub differences: Vec<SeriesDifference>,
}

impl ReceiptCheck {
    /// Whether the lake holds exactly what the receipt says.
    pub fn is_equal(&self) -> bool {
        self.missing + self.changed == 0
    }
}

/// A series that is not as the receipt says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesDifference {
    /// Which one.
    pub key: SeriesKey,
    /// What the receipt says.
    pub expected: Held,
    /// What the lake holds; `None` when the series is not there.
    pub found: Option<Held>,
}

/// A series of the receipt that the lake has.
struct Checked {
    expected: Held,
    found: Held,
    /// Where it stands in the receipt last: a later entry of the same series is the newer one.
    entry: u64,
}

impl Lake {
    /// Checks that the lake holds exactly the points that a receipt lists. Reads all points of its runs; what is held in
    /// memory is a few bytes a series.
    ///
    /// # Errors
    /// [`Error::Receipt`] when it is no receipt, [`Error::Query`] when points cannot be read.
    pub async fn verify_receipt(&self, receipt: &ReceiptContent) -> Result<ReceiptCheck> {
        let snapshot = self.snapshot().await?;
        let (mut entries, mut runs) = (0_u64, BTreeSet::new());
        let mut checked: HashMap<SeriesOrdinal, Checked> = HashMap::new();
        receipt.for_each_series(&mut |series| {
            if runs.len() <= NAMED_RUNS {
                runs.insert(series.run);
            }
            if let Some(ordinal) = ordinal(&snapshot, &series.key()) {
                let fresh = Checked { expected: series.expected(), found: Held::default(), entry: entries };
                checked.insert(ordinal, fresh);
            }
            entries += 1;
        })?;
        if !checked.is_empty() {
            self.hash_points(&snapshot, &runs, &mut checked).await?;
        }
        let mut check = ReceiptCheck::default();
        let mut entry = 0;
        let mut absent = std::collections::HashSet::new();
        receipt.for_each_series(&mut |series| {
            let number = entry;
            entry += 1;
            let key = series.key();
            let (expected, found) = match ordinal(&snapshot, &key).and_then(|ordinal| checked.get(&ordinal)) {
                Some(checked) if checked.entry != number => return,
                Some(checked) => (checked.expected, Some(checked.found)),
                None if !absent.insert(key.clone()) => return,
                None => (series.expected(), None),
            };
            check.series += 1;
            check.points += expected.points;
            if found == Some(expected) {
                return;
            }
            *(if found.is_none() { &mut check.missing } else { &mut check.changed }) += 1;
            if check.differences.len() < TOLD {
                check.differences.push(SeriesDifference { key, expected, found });
            }
        })?;
        Ok(check)
    }

    async fn hash_points(
        &self,
        snapshot: &Snapshot,
        runs: &BTreeSet<RunId>,
        checked: &mut HashMap<SeriesOrdinal, Checked>,
    ) -> Result<()> {
        let mut statement =
            "SELECT run_id, metric, context, step, step_frac, time, value FROM points".to_owned();
        if runs.len() <= NAMED_RUNS {
            let named: Vec<String> = runs.iter().map(|run| format!("'{run}'")).collect();
            statement = format!("{statement} WHERE run_id IN ({})", named.join(", "));
        }
        let mut rows = self.query(&statement, QueryOptions::default()).await?.batches;
        while let Some(batch) = rows.try_next().await? {
            hash_rows(snapshot, &batch, checked)?;
        }
        Ok(())
    }
}

fn ordinal(snapshot: &Snapshot, key: &SeriesKey) -> Option<SeriesOrdinal> {
    snapshot.series().ordinal(key, snapshot.registry().ordinal(key.run)?)
}

/// Adds the rows of a batch to their series.
fn hash_rows(
    snapshot: &Snapshot,
    batch: &RecordBatch,
    checked: &mut HashMap<SeriesOrdinal, Checked>,
) -> Result<()> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let types = [
        DataType::Utf8,
        DataType::Utf8,
        DataType::Utf8,
        DataType::Int64,
        DataType::Int32,
        time,
        DataType::Float64,
    ];
    let columns = batch
        .columns()
        .iter()
        .zip(&types)
        .map(|(column, wanted)| cast(column, wanted))
        .collect::<Result<Vec<_>, _>>()?;
    let [runs, metrics, contexts, steps, fractions, times, values] = columns.as_slice() else {
        return Ok(());
    };
    let (runs, metrics, contexts) =
        (runs.as_string::<i32>(), metrics.as_string::<i32>(), contexts.as_string::<i32>());
    let (steps, fractions) = (steps.as_primitive::<Int64Type>(), fractions.as_primitive::<Int32Type>());
    let (times, values) =
        (times.as_primitive::<TimestampMicrosecondType>(), values.as_primitive::<Float64Type>());
    let context_of = |row: usize| contexts.is_valid(row).then(|| contexts.value(row));
    let mut last: Option<(usize, Option<SeriesOrdinal>)> = None;
    for row in 0..batch.num_rows() {
        // The rows of a series stand together.
        let known = last.filter(|(at, _)| {
            runs.value(*at) == runs.value(row)
                && metrics.value(*at) == metrics.value(row)
                && context_of(*at) == context_of(row)
        });
        let series = match known {
            Some((_, series)) => series,
            None => {
                let run: RunId = runs.value(row).parse().map_err(Error::Model)?;
                let metric = MetricName::new(metrics.value(row)).map_err(Error::Model)?;
                let context = context_of(row).map(Context::parse).transpose().map_err(Error::Model)?;
                ordinal(snapshot, &SeriesKey { run, metric, context })
            }
        };
        last = Some((row, series));
        if let Some(checked) = series.and_then(|series| checked.get_mut(&series)) {
            checked.found.observe(Point {
                step: steps.value(row),
                step_fraction: fractions.is_valid(row).then(|| fractions.value(row)),
                time: times.value(row),
                value: values.value(row),
            });
        }
    }
    Ok(())
}
