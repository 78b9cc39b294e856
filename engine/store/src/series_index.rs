//! All series of a lake with their statistics, by dense index.

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

/// Every series that ever had a point. A clone is cheap.
#[derive(Debug, Clone, Default)]
pub struct SeriesIndex {
    entries: Vector<SeriesEntry>,
    ordinals: HashMap<SeriesKey, SeriesOrdinal>,
}

impl SeriesIndex {
    /// All series by ordinal.
    pub fn entries(&self) -> &Vector<SeriesEntry> {
        &self.entries
    }

    /// The series of this key.
    pub fn get(&self, key: &SeriesKey) -> Option<&SeriesEntry> {
        self.entries.get(*self.ordinals.get(key)? as usize)
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
        if let Some(entry) = self.entries.get_mut(ordinal as usize) {
            points.for_each(|point| entry.statistics.observe(point));
        }
        Some(ordinal)
    }

    /// Puts a series as it stands in a checkpoint at the next ordinal.
    pub(crate) fn restore(&mut self, entry: SeriesEntry) -> SeriesOrdinal {
        let ordinal = self.entries.len() as SeriesOrdinal;
        self.ordinals.insert(entry.key.clone(), ordinal);
        self.entries.push_back(entry);
        ordinal
    }

    /// Only the identity of a series whose statistics are known already (replay after a crash between the commits
    /// of `series` and `points`).
    pub(crate) fn known(&self, key: &SeriesKey) -> Option<SeriesOrdinal> {
        self.ordinal(key)
    }
}
