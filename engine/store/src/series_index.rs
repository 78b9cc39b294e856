//! All series of a lake with their statistics, by dense index.

use std::collections::HashSet;

use imbl::Vector;
use imbl::shared_ptr::DefaultSharedPtr;
use model::{SeriesKey, SeriesPoints, SeriesStatistics};

use crate::registry::RunOrdinal;

/// The dense number of a series, in order of its first point.
pub type SeriesOrdinal = u32;

/// A map that is asked for every series of every batch. The hash is seeded in each process, and keys are limited in
/// number and length before they come here, so a faster hash than the standard one will do.
pub(crate) type FastMap<K, V> = imbl::GenericHashMap<K, V, foldhash::quality::RandomState, DefaultSharedPtr>;

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
    ordinals: FastMap<SeriesKey, SeriesOrdinal>,
    bytes: usize,
}

/// Cost of a series beyond the texts of its name, estimated from the sizes of entry and key, their places in vector and
/// map, and two allocations of text.
const ENTRY_BYTES: usize = 768;

/// Bytes that the index takes for a series.
pub(crate) fn bytes_of(key: &SeriesKey) -> usize {
    ENTRY_BYTES
        + key.metric.as_str().len()
        + key.context.as_ref().map_or(0, |context| context.as_str().len() + 32)
}

impl<'a> IntoIterator for SeriesEntries<'a> {
    type Item = &'a SeriesEntry;
    type IntoIter = std::iter::Flatten<imbl::vector::Iter<'a, Option<SeriesEntry>, DefaultSharedPtr>>;

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
    /// Bytes that the index takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

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

    /// The ordinal of the series of a part of a batch. `guess` is looked at first: the series of a run mostly stand in
    /// the order in which its batches name them.
    pub(crate) fn find(&self, part: &SeriesPoints, guess: SeriesOrdinal) -> Option<SeriesOrdinal> {
        let guessed = self.entries().get(guess as usize).is_some_and(|entry| {
            let key = &entry.key;
            key.run == part.run && key.metric == part.metric && key.context == part.context
        });
        if guessed { Some(guess) } else { self.ordinal(&part.key()) }
    }

    /// Takes in points of a series and returns its ordinal; `None` when there are no points. `guess` as in
    /// [`Self::find`].
    pub(crate) fn observe(
        &mut self,
        part: &SeriesPoints,
        run: RunOrdinal,
        guess: SeriesOrdinal,
    ) -> Option<SeriesOrdinal> {
        let mut points = part.points.iter();
        let ordinal = match self.find(part, guess) {
            Some(ordinal) => ordinal,
            None => {
                let statistics = SeriesStatistics::of(points.next()?);
                self.restore(SeriesEntry { key: part.key(), run, statistics })
            }
        };
        if let Some(Some(entry)) = self.entries.get_mut(ordinal as usize) {
            points.for_each(|point| entry.statistics.observe(point));
        }
        Some(ordinal)
    }

    /// Puts a series as it stands in a checkpoint at the next ordinal.
    pub(crate) fn restore(&mut self, entry: SeriesEntry) -> SeriesOrdinal {
        let ordinal = self.entries.len() as SeriesOrdinal;
        self.bytes += bytes_of(&entry.key);
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
            self.bytes = self.bytes.saturating_sub(bytes_of(&entry.key));
        }
    }
}
