//! All series of a lake with their statistics, by dense index.

use std::collections::HashSet;

use imbl::{HashMap, Vector};
use model::{PointColumns, SeriesKey, SeriesStatistics};

use crate::registry::RunOrdinal;

/// The dense number of a series, in order of its first point.
pub type SeriesOrdinal = u32;

/// One series.
#[derive(Debug, Clone)]
pub struct SeriesEntry {
    /// Run, metric, context.
    pub key: SeriesKey,
    /// The ordinal of the run.
    pub run: RunOrdinal,
    /// Statistics over all its acknowledged points.
    pub statistics: SeriesStatistics,
}

/// Every series that has a point. A clone is cheap.
#[derive(Debug, Clone, Default)]
pub struct SeriesIndex {
    /// By ordinal; the place of a series of a deleted run stays empty.
    entries: Vector<Option<SeriesEntry>>,
    ordinals: HashMap<SeriesKey, SeriesOrdinal>,
}

impl<'a> IntoIterator for SeriesEntries<'a> {
    type Item = &'a SeriesEntry;
    type IntoIter =
        std::iter::Flatten<imbl::vector::Iter<'a, Option<SeriesEntry>, imbl::shared_ptr::DefaultSharedPtr>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.entries.iter().flatten()
    }
}

/// The series of an index by ordinal, without those of deleted runs.
#[derive(Debug, Clone, Copy)]
pub struct SeriesEntries<'a>(&'a SeriesIndex);

impl<'a> SeriesEntries<'a> {
    /// Number of series.
    pub fn len(&self) -> usize {
        self.0.ordinals.len()
    }

    /// Whether there are no series.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The series of this ordinal; `None` when its run was deleted.
    pub fn get(&self, ordinal: usize) -> Option<&'a SeriesEntry> {
        self.0.entries.get(ordinal)?.as_ref()
    }

    /// All series in order of their first point.
    pub fn iter(&self) -> impl Iterator<Item = &'a SeriesEntry> + Clone + use<'a> {
        self.0.entries.iter().flatten()
    }

    /// The series with ordinals in this range.
    pub(crate) fn range(
        &self,
        ordinals: std::ops::Range<usize>,
    ) -> impl Iterator<Item = &'a SeriesEntry> + Clone + use<'a> {
        let entries = &self.0.entries;
        let end = ordinals.end.min(entries.len());
        entries.focus().narrow(ordinals.start.min(end)..end).into_iter().flatten()
    }
}

impl SeriesIndex {
    /// All series by ordinal.
    pub fn entries(&self) -> SeriesEntries<'_> {
        SeriesEntries(self)
    }

    /// The series of this key.
    pub fn get(&self, key: &SeriesKey) -> Option<&SeriesEntry> {
        self.entries().get(*self.ordinals.get(key)? as usize)
    }

    /// The ordinal of a series.
    pub fn ordinal(&self, key: &SeriesKey) -> Option<SeriesOrdinal> {
        self.ordinals.get(key).copied()
    }

    /// Takes in points of a series and returns its ordinal; `None` when there are no points.
    pub(crate) fn observe(
        &mut self,
        key: SeriesKey,
        run: RunOrdinal,
        points: &PointColumns,
    ) -> Option<SeriesOrdinal> {
        let mut points = points.iter();
        let ordinal = match self.ordinal(&key) {
            Some(ordinal) => ordinal,
            None => self.restore(SeriesEntry { key, run, statistics: SeriesStatistics::of(points.next()?) }),
        };
        if let Some(Some(entry)) = self.entries.get_mut(ordinal as usize) {
            points.for_each(|point| entry.statistics.observe(point));
        }
        Some(ordinal)
    }

    /// Puts a series as it stands in a checkpoint at the next ordinal.
    pub(crate) fn restore(&mut self, entry: SeriesEntry) -> SeriesOrdinal {
        let ordinal = self.entries.len() as SeriesOrdinal;
        self.ordinals.insert(entry.key.clone(), ordinal);
        self.entries.push_back(Some(entry));
        ordinal
    }

    /// Leaves places empty until the next ordinal is at least this one.
    pub(crate) fn restore_gap(&mut self, until: SeriesOrdinal) {
        while self.entries.len() < until as usize {
            self.entries.push_back(None);
        }
    }

    /// The series of these runs.
    pub(crate) fn of_runs(&self, runs: &HashSet<RunOrdinal>) -> Vec<SeriesOrdinal> {
        (0..)
            .zip(&self.entries)
            .filter(|(_, entry)| entry.as_ref().is_some_and(|e| runs.contains(&e.run)))
            .map(|(ordinal, _)| ordinal)
            .collect()
    }

    /// Takes a series out; its place stays empty.
    pub(crate) fn remove(&mut self, ordinal: SeriesOrdinal) {
        if let Some(entry) = self.entries.get_mut(ordinal as usize).and_then(Option::take) {
            self.ordinals.remove(&entry.key);
        }
    }

    /// Only the identity of a series whose statistics are known already (replay after a crash between the commits
    /// of `series` and `points`).
    pub(crate) fn known(&self, key: &SeriesKey) -> Option<SeriesOrdinal> {
        self.ordinal(key)
    }
}
