//! The value of a metric by run, for questions that take one number a run.

use std::collections::{HashMap, HashSet};

use model::{MetricName, RunId};
use store::{RunRow, SeriesEntry, Snapshot};

use crate::error::{Error, Result};

/// One metric in a snapshot.
pub(crate) struct Samples<'a> {
    snapshot: &'a Snapshot,
    metric: &'a MetricName,
}

impl<'a> Samples<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot, metric: &'a MetricName) -> Self {
        Self { snapshot, metric }
    }

    /// The last value of the metric by run: of the series without a context, else of the only one there is.
    pub(crate) fn last_values(&self, runs: &[RunRow<'_>]) -> Result<HashMap<RunId, f64>> {
        let wanted: HashSet<RunId> = runs.iter().map(|run| run.id()).collect();
        let mut found: HashMap<RunId, Vec<SeriesEntry<'_>>> = HashMap::new();
        let series = self.snapshot.series();
        let metric = series.metric_number(self.metric);
        let ordinals = series.entries().of_metrics(0..series.entries().end(), |of| Some(of) == metric);
        for entry in ordinals.into_iter().filter_map(|ordinal| series.entries().get(ordinal)) {
            if wanted.contains(&entry.run_id) {
                found.entry(entry.run_id).or_default().push(entry);
            }
        }
        found
            .into_iter()
            .map(|(run, entries)| {
                let plain = entries.iter().find(|entry| entry.context.is_none());
                match (plain, entries.as_slice()) {
                    (Some(entry), _) | (None, [entry]) => Ok((run, entry.statistics.last.value)),
                    (None, several) => Err(Error::AmbiguousContext {
                        metric: self.metric.to_string(),
                        run: run.to_string(),
                        count: several.len(),
                        contexts: several
                            .iter()
                            .take(3)
                            .filter_map(|entry| entry.context.map(ToString::to_string))
                            .collect::<Vec<_>>()
                            .join(", "),
                    }),
                }
            })
            .collect()
    }
}
