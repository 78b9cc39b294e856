//! The values of metrics by run, for questions that take one number a run.

use std::collections::HashMap;

use model::{MetricName, RunId};
use store::{RunRow, SeriesEntry, Snapshot};

use crate::error::{Error, Result};

/// The last value of each metric by run: of the series without a context, else of the only one there is. One pass over
/// the series of the runs, however many metrics are asked for.
pub(crate) fn last_values(
    snapshot: &Snapshot,
    metrics: &[MetricName],
    runs: &[RunRow<'_>],
) -> Result<Vec<HashMap<RunId, f64>>> {
    let places: HashMap<&MetricName, usize> =
        metrics.iter().enumerate().map(|(place, metric)| (metric, place)).collect();
    let mut values: Vec<HashMap<RunId, f64>> = vec![HashMap::new(); metrics.len()];
    let (registry, series) = (snapshot.registry(), snapshot.series().entries());
    let mut of_run: Vec<(usize, SeriesEntry<'_>)> = Vec::new();
    for run in runs {
        let Some(ordinal) = registry.ordinal(run.id()) else { continue };
        of_run.clear();
        of_run.extend(series.of_run(ordinal).filter_map(|entry| Some((*places.get(entry.metric)?, entry))));
        of_run.sort_by_key(|(place, _)| *place);
        for of_metric in of_run.chunk_by(|a, b| a.0 == b.0) {
            let Some((place, only)) = of_metric.first() else { continue };
            let entry = match of_metric.iter().find(|(_, entry)| entry.context.is_none()) {
                Some((_, plain)) => plain,
                None if of_metric.len() == 1 => only,
                None => return Err(ambiguous(of_metric)),
            };
            if let Some(values) = values.get_mut(*place) {
                values.insert(run.id(), entry.statistics.last.value);
            }
        }
    }
    Ok(values)
}

/// The last value of one metric by run.
///
/// # Errors
/// As [`last_values`].
pub(crate) fn last_values_of(
    snapshot: &Snapshot,
    metric: &MetricName,
    runs: &[RunRow<'_>],
) -> Result<HashMap<RunId, f64>> {
    Ok(last_values(snapshot, std::slice::from_ref(metric), runs)?.pop().unwrap_or_default())
}

fn ambiguous(of_metric: &[(usize, SeriesEntry<'_>)]) -> Error {
    let first = of_metric.first().map(|(_, entry)| entry);
    Error::AmbiguousContext {
        metric: first.map(|entry| entry.metric.to_string()).unwrap_or_default(),
        run: first.map(|entry| entry.run_id.to_string()).unwrap_or_default(),
        count: of_metric.len(),
        contexts: of_metric
            .iter()
            .take(3)
            .filter_map(|(_, entry)| entry.context.map(ToString::to_string))
            .collect::<Vec<_>>()
            .join(", "),
    }
}
