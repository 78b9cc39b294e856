//! Points of memtables in the order of a segment: (run, metric, context), then (step, fraction, time, arrival).

use crate::memtable::Memtable;
use crate::registry::Registry;
use crate::segment::points::SortedSeries;
use crate::series_index::{SeriesIndex, SeriesOrdinal};

/// The series of these memtables that `wanted` takes, in the order of a segment.
pub(crate) fn series_in(
    series: &SeriesIndex,
    memtables: &[&Memtable],
    wanted: impl Fn(SeriesOrdinal) -> bool,
) -> Vec<SeriesOrdinal> {
    let mut ordinals: Vec<SeriesOrdinal> = memtables
        .iter()
        .flat_map(|memtable| memtable.series())
        .filter(|ordinal| series.entries().get(*ordinal).is_some() && wanted(*ordinal))
        .collect();
    ordinals.sort_unstable();
    ordinals.dedup();
    ordinals.sort_by(|a, b| {
        let key = |ordinal: &SeriesOrdinal| {
            series.entries().get(*ordinal).map(|entry| (entry.run_id, entry.metric, entry.context))
        };
        key(a).cmp(&key(b))
    });
    ordinals
}

/// The points of one series over these memtables (oldest first), sorted; `None` when the series is unknown.
pub(crate) fn sorted(
    registry: &Registry,
    series: &SeriesIndex,
    memtables: &[&Memtable],
    ordinal: SeriesOrdinal,
) -> Option<SortedSeries> {
    let entry = series.entries().get(ordinal)?;
    let run = registry.runs().get(entry.run)?;
    let mut points = model::PointColumns::default();
    let mut attempts = Vec::new();
    for chunk in memtables.iter().flat_map(|memtable| memtable.chunks(ordinal)) {
        points.extend_from(&chunk.points);
        attempts.resize(points.len(), i32::try_from(chunk.attempt).unwrap_or(i32::MAX));
    }
    Some(SortedSeries::from_arrival(
        run.project().clone(),
        run.experiment().clone(),
        entry.key(),
        points,
        attempts,
    ))
}
