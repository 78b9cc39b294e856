//! All series of a lake with their statistics, by dense index.
//!
//! What a series is (run, metric, context) never changes and stands apart from its statistics, in three numbers: a
//! question that names a metric or a run passes over all others without touching more than those.

use std::sync::Arc;

use imbl::Vector;
use imbl::shared_ptr::DefaultSharedPtr;
use model::{Context, MetricName, RunId, SeriesKey, SeriesPoints, SeriesStatistics};

use crate::chunked::{Chunked, Cursor};
use crate::registry::RunOrdinal;

/// The dense number of a series, in order of its first point.
pub type SeriesOrdinal = u32;
/// The number of the name of a metric.
pub type MetricNumber = u32;

/// A map that is asked for every series of every batch. The hash is seeded in each process, and keys are limited in
/// number and length before they come here, so a faster hash than the standard one will do.
pub(crate) type FastMap<K, V> = imbl::GenericHashMap<K, V, foldhash::quality::RandomState, DefaultSharedPtr>;

/// One series.
#[derive(Debug, Clone, Copy)]
pub struct SeriesEntry<'a> {
    /// Its dense number.
    pub ordinal: SeriesOrdinal,
    /// The run.
    pub run_id: RunId,
    /// The ordinal of the run.
    pub run: RunOrdinal,
    /// The metric.
    pub metric: &'a MetricName,
    /// The context, when there is one.
    pub context: Option<&'a Context>,
    /// Statistics over all its acknowledged points.
    pub statistics: &'a SeriesStatistics,
}

impl SeriesEntry<'_> {
    /// Run, metric, context.
    pub fn key(&self) -> SeriesKey {
        SeriesKey { run: self.run_id, metric: self.metric.clone(), context: self.context.cloned() }
    }
}

/// What a series is, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    run: RunOrdinal,
    metric: MetricNumber,
    /// 0 for none, else the number of the context and one more.
    context: u32,
}

/// No series: that of a deleted run.
const GONE: Identity = Identity { run: RunOrdinal::MAX, metric: MetricNumber::MAX, context: 0 };

/// Texts by number; a text keeps its number.
#[derive(Debug, Clone)]
struct Names<T: Clone> {
    texts: Vector<T>,
    numbers: FastMap<T, u32>,
    bytes: usize,
}

impl<T: Clone> Default for Names<T> {
    fn default() -> Self {
        Self { texts: Vector::new(), numbers: FastMap::default(), bytes: 0 }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Names<T> {
    fn find(&self, text: &T) -> Option<u32> {
        self.numbers.get(text).copied()
    }

    fn number(&mut self, text: &T, bytes: usize) -> u32 {
        if let Some(number) = self.find(text) {
            return number;
        }
        self.bytes += NAME_BYTES + bytes;
        let number = self.texts.len() as u32;
        self.texts.push_back(text.clone());
        self.numbers.insert(text.clone(), number);
        number
    }

    fn get(&self, number: u32) -> Option<&T> {
        self.texts.get(number as usize)
    }
}

/// The series of a run: ranges of ordinals, mostly one.
#[derive(Debug, Clone)]
struct OfRun {
    id: RunId,
    first: SeriesOrdinal,
    count: u32,
    more: Option<Arc<Vec<(SeriesOrdinal, u32)>>>,
}

/// Every series that has a point. A clone is cheap.
#[derive(Debug, Clone, Default)]
pub struct SeriesIndex {
    metrics: Names<MetricName>,
    contexts: Names<Context>,
    /// How many series there are of each metric, by its number.
    of_metrics: Vector<u32>,
    /// By ordinal; the place of a series of a deleted run stays empty.
    identities: Chunked<Identity, 1024>,
    statistics: Chunked<Option<SeriesStatistics>, 128>,
    ordinals: FastMap<Identity, SeriesOrdinal>,
    /// By the ordinal of the run.
    of_runs: Vector<Option<OfRun>>,
}

/// Cost of a series: its numbers, its statistics, its places in vectors and map. Estimated.
const ENTRY_BYTES: usize = 320;
/// Cost of a name beyond its text.
const NAME_BYTES: usize = 96;

/// Bytes that the index takes for a series at most; a name that other series have costs nothing more.
pub(crate) fn bytes_of(key: &SeriesKey) -> usize {
    let context = key.context.as_ref().map_or(0, |context| NAME_BYTES + context.as_str().len());
    ENTRY_BYTES + NAME_BYTES + key.metric.as_str().len() + context
}

impl<'a> IntoIterator for SeriesEntries<'a> {
    type Item = SeriesEntry<'a>;
    type IntoIter = Box<dyn Iterator<Item = SeriesEntry<'a>> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
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

    /// One more than the largest ordinal.
    pub fn end(&self) -> SeriesOrdinal {
        self.0.identities.len() as SeriesOrdinal
    }

    /// The series of this ordinal; `None` when its run was deleted.
    pub fn get(&self, ordinal: SeriesOrdinal) -> Option<SeriesEntry<'a>> {
        let identity = *self.0.identities.get(ordinal as usize)?;
        let statistics = self.0.statistics.get(ordinal as usize)?.as_ref()?;
        self.0.entry(ordinal, identity, statistics)
    }

    /// The series of these ordinals, without those of deleted runs.
    pub fn at(&self, ordinals: &[SeriesOrdinal]) -> Vec<SeriesEntry<'a>> {
        let index = self.0;
        let mut identities = Cursor::new(&index.identities);
        let mut statistics = Cursor::new(&index.statistics);
        // A table of all names only where more rows ask for them than there are.
        let names: Vec<&MetricName> = match index.metrics.texts.len() <= ordinals.len() {
            true => index.metrics.texts.iter().collect(),
            false => Vec::new(),
        };
        let metric_of = |number: MetricNumber| match names.get(number as usize) {
            Some(name) => Some(*name),
            None => index.metrics.get(number),
        };
        let mut last: Option<(RunOrdinal, RunId)> = None;
        let mut entry_at = |ordinal: SeriesOrdinal| {
            let identity = identities.get(ordinal as usize)?;
            let statistics = statistics.get(ordinal as usize)?.as_ref()?;
            let run_id = match last {
                Some((run, id)) if run == identity.run => id,
                _ => {
                    let id = index.of_run(identity.run)?.id;
                    last = Some((identity.run, id));
                    id
                }
            };
            let context = match identity.context {
                0 => None,
                number => Some(index.contexts.get(number - 1)?),
            };
            let metric = metric_of(identity.metric)?;
            Some(SeriesEntry { ordinal, run_id, run: identity.run, metric, context, statistics })
        };
        ordinals.iter().filter_map(|ordinal| entry_at(*ordinal)).collect()
    }

    /// The run of the series of this ordinal.
    pub fn run_of(&self, ordinal: SeriesOrdinal) -> Option<RunOrdinal> {
        let identity = self.0.identities.get(ordinal as usize)?;
        (*identity != GONE).then_some(identity.run)
    }

    /// Run and metric of the series of these ordinals, rising; `None` for those of deleted runs.
    pub fn numbers<'b>(
        &self,
        ordinals: &'b [SeriesOrdinal],
    ) -> impl Iterator<Item = Option<(RunOrdinal, MetricNumber)>> + use<'a, 'b> {
        let mut identities = Cursor::new(&self.0.identities);
        ordinals.iter().map(move |ordinal| {
            let identity = identities.get(*ordinal as usize).filter(|identity| **identity != GONE)?;
            Some((identity.run, identity.metric))
        })
    }

    /// All series in order of their first point.
    pub fn iter(&self) -> impl Iterator<Item = SeriesEntry<'a>> + Clone + use<'a> {
        self.range(0..self.end())
    }

    /// The series with ordinals in this range.
    pub fn range(
        &self,
        ordinals: std::ops::Range<SeriesOrdinal>,
    ) -> impl Iterator<Item = SeriesEntry<'a>> + Clone + use<'a> {
        let index = self.0;
        let (start, end) = (ordinals.start as usize, ordinals.end as usize);
        let both = index.identities.range(start, end).zip(index.statistics.range(start, end));
        both.filter_map(move |((ordinal, identity), (_, statistics))| {
            index.entry(ordinal as SeriesOrdinal, *identity, statistics.as_ref()?)
        })
    }

    /// The series with ordinals in this range whose metric `wanted` takes, by the numbers of metrics.
    pub fn of_metrics(
        &self,
        ordinals: std::ops::Range<SeriesOrdinal>,
        wanted: impl Fn(MetricNumber) -> bool,
    ) -> Vec<SeriesOrdinal> {
        let mut found = Vec::new();
        for (first, identities) in self.0.identities.slices(ordinals.start as usize, ordinals.end as usize) {
            let taken = (first as SeriesOrdinal..).zip(identities);
            let taken = taken.filter(|(_, identity)| wanted(identity.metric) && **identity != GONE);
            found.extend(taken.map(|(ordinal, _)| ordinal));
        }
        found
    }

    /// How many series a run has.
    pub fn count_of_run(&self, run: RunOrdinal) -> usize {
        self.0.of_run(run).map_or(0, |of_run| {
            let more = of_run.more.iter().flat_map(|more| more.iter().map(|(_, count)| *count as usize));
            of_run.count as usize + more.sum::<usize>()
        })
    }

    /// The series of a run, in order of their first point.
    pub fn of_run(&self, run: RunOrdinal) -> impl Iterator<Item = SeriesEntry<'a>> + use<'a> {
        let entries = *self;
        self.0.ordinals_of_run(run).into_iter().filter_map(move |ordinal| entries.get(ordinal))
    }
}

impl SeriesIndex {
    fn entry<'a>(
        &'a self,
        ordinal: SeriesOrdinal,
        identity: Identity,
        statistics: &'a SeriesStatistics,
    ) -> Option<SeriesEntry<'a>> {
        let context = match identity.context {
            0 => None,
            number => Some(self.contexts.get(number - 1)?),
        };
        Some(SeriesEntry {
            ordinal,
            run_id: self.of_run(identity.run)?.id,
            run: identity.run,
            metric: self.metrics.get(identity.metric)?,
            context,
            statistics,
        })
    }

    /// Bytes that the index takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.ordinals.len() * ENTRY_BYTES + self.metrics.bytes + self.contexts.bytes
    }

    fn of_run(&self, run: RunOrdinal) -> Option<&OfRun> {
        self.of_runs.get(run as usize)?.as_ref()
    }

    /// All series by ordinal.
    pub fn entries(&self) -> SeriesEntries<'_> {
        SeriesEntries(self)
    }

    /// The metrics that have a series, with their numbers, in order of their first point.
    pub fn metrics(&self) -> impl Iterator<Item = (MetricNumber, &MetricName)> {
        (0..).zip(&self.metrics.texts).filter(|(number, _)| self.of_metrics.get(*number as usize) > Some(&0))
    }

    /// The number of a metric.
    pub fn metric_number(&self, metric: &MetricName) -> Option<MetricNumber> {
        self.metrics.find(metric)
    }

    /// The series of this key; the run is the one with this ordinal.
    pub fn get(&self, key: &SeriesKey, run: RunOrdinal) -> Option<SeriesEntry<'_>> {
        self.entries().get(self.ordinal(key, run)?)
    }

    /// The ordinal of a series; the run is the one with this ordinal.
    pub fn ordinal(&self, key: &SeriesKey, run: RunOrdinal) -> Option<SeriesOrdinal> {
        self.ordinal_of(run, &key.metric, key.context.as_ref())
    }

    /// The ordinal of the series of a run.
    pub fn ordinal_of(
        &self,
        run: RunOrdinal,
        metric: &MetricName,
        context: Option<&Context>,
    ) -> Option<SeriesOrdinal> {
        let context = match context {
            None => 0,
            Some(context) => self.contexts.find(context)? + 1,
        };
        self.ordinals.get(&Identity { run, metric: self.metrics.find(metric)?, context }).copied()
    }

    /// The ordinal of the series of a part of a batch. `guess` is looked at first: the series of a run mostly stand in
    /// the order in which its batches name them.
    pub(crate) fn find(
        &self,
        part: &SeriesPoints,
        run: RunOrdinal,
        guess: SeriesOrdinal,
    ) -> Option<SeriesOrdinal> {
        let guessed = self.identities.get(guess as usize).is_some_and(|identity| {
            identity.run == run
                && self.metrics.get(identity.metric) == Some(&part.metric)
                && match (&part.context, identity.context) {
                    (None, 0) => true,
                    (Some(context), number @ 1..) => self.contexts.get(number - 1) == Some(context),
                    _ => false,
                }
        });
        if guessed { Some(guess) } else { self.ordinal_of(run, &part.metric, part.context.as_ref()) }
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
        let ordinal = match self.find(part, run, guess) {
            Some(ordinal) => ordinal,
            None => {
                let statistics = SeriesStatistics::of(points.next()?);
                self.restore(part.run, run, &part.metric, part.context.as_ref(), statistics)
            }
        };
        if let Some(Some(statistics)) = self.statistics.get_mut(ordinal as usize) {
            points.for_each(|point| statistics.observe(point));
        }
        Some(ordinal)
    }

    /// Puts a series as it stands in a checkpoint at the next ordinal.
    pub(crate) fn restore(
        &mut self,
        run_id: RunId,
        run: RunOrdinal,
        metric: &MetricName,
        context: Option<&Context>,
        statistics: SeriesStatistics,
    ) -> SeriesOrdinal {
        let ordinal = self.identities.len() as SeriesOrdinal;
        let metric = self.metrics.number(metric, metric.as_str().len());
        let context = context.map_or(0, |context| self.contexts.number(context, context.as_str().len()) + 1);
        let identity = Identity { run, metric, context };
        while self.of_metrics.len() <= identity.metric as usize {
            self.of_metrics.push_back(0);
        }
        self.of_metrics[identity.metric as usize] += 1;
        self.ordinals.insert(identity, ordinal);
        self.identities.push(identity);
        self.statistics.push(Some(statistics));
        self.note_of_run(run, run_id, ordinal);
        ordinal
    }

    fn note_of_run(&mut self, run: RunOrdinal, id: RunId, ordinal: SeriesOrdinal) {
        while self.of_runs.len() <= run as usize {
            self.of_runs.push_back(None);
        }
        let of_run = &mut self.of_runs[run as usize];
        let Some(of_run) = of_run else {
            *of_run = Some(OfRun { id, first: ordinal, count: 1, more: None });
            return;
        };
        if of_run.more.is_none() && of_run.first + of_run.count == ordinal {
            of_run.count += 1;
            return;
        }
        let more = Arc::make_mut(of_run.more.get_or_insert_default());
        match more.last_mut() {
            Some((first, count)) if *first + *count == ordinal => *count += 1,
            _ => more.push((ordinal, 1)),
        }
    }

    fn ordinals_of_run(&self, run: RunOrdinal) -> Vec<SeriesOrdinal> {
        let Some(of_run) = self.of_run(run) else { return Vec::new() };
        let more = of_run.more.iter().flat_map(|more| more.iter().copied());
        std::iter::once((of_run.first, of_run.count))
            .chain(more)
            .flat_map(|(first, count)| first..first + count)
            .collect()
    }

    /// Leaves places empty until the next ordinal is at least this one.
    pub(crate) fn restore_gap(&mut self, until: SeriesOrdinal) {
        while self.identities.len() < until as usize {
            self.identities.push(GONE);
            self.statistics.push(None);
        }
    }

    /// Takes out the series of a run and gives back their ordinals; their places stay empty.
    pub(crate) fn remove_of_run(&mut self, run: RunOrdinal) -> Vec<SeriesOrdinal> {
        let ordinals = self.ordinals_of_run(run);
        for ordinal in &ordinals {
            let Some(identity) = self.identities.get_mut(*ordinal as usize) else { continue };
            let identity = std::mem::replace(identity, GONE);
            self.ordinals.remove(&identity);
            if let Some(count) = self.of_metrics.get_mut(identity.metric as usize) {
                *count -= 1;
            }
            if let Some(statistics) = self.statistics.get_mut(*ordinal as usize) {
                *statistics = None;
            }
        }
        if let Some(of_run) = self.of_runs.get_mut(run as usize) {
            *of_run = None;
        }
        ordinals
    }
}

#[cfg(test)]
mod tests {
    use model::Point;

    use super::*;

    fn put(index: &mut SeriesIndex, run: RunOrdinal, metric: &str, context: Option<&str>) -> SeriesOrdinal {
        let point = Point { step: 0, step_fraction: None, time: 0, value: f64::from(run) };
        let metric = MetricName::new(metric).unwrap();
        let context = context.map(|context| Context::parse(context).unwrap());
        let id = RunId::from_u128(u128::from(run) + 100);
        index.restore(id, run, &metric, context.as_ref(), SeriesStatistics::of(point))
    }

    fn key(run: u128, metric: &str) -> SeriesKey {
        SeriesKey { run: RunId::from_u128(run), metric: MetricName::new(metric).unwrap(), context: None }
    }

    #[test]
    fn series_are_found_by_key_by_run_and_by_metric() {
        let mut index = SeriesIndex::default();
        for (run, metric, context) in [
            (0, "loss", None),
            (0, "acc", None),
            (1, "loss", None),
            (0, "loss", Some("{\"a\":1}")),
            (0, "lr", None),
        ] {
            put(&mut index, run, metric, context);
        }
        assert_eq!(index.ordinal(&key(101, "loss"), 1), Some(2));
        assert_eq!(index.ordinal(&key(101, "acc"), 1), None);
        let of_run: Vec<_> = index.entries().of_run(0).map(|entry| entry.ordinal).collect();
        assert_eq!(of_run, [0, 1, 3, 4]);
        let loss = index.metric_number(&MetricName::new("loss").unwrap()).unwrap();
        assert_eq!(index.entries().of_metrics(0..9, |metric| metric == loss), [0, 2, 3]);
        assert_eq!(index.entries().of_metrics(1..3, |metric| metric == loss), [2]);
        let entry = index.entries().get(3).unwrap();
        assert_eq!((entry.run_id.as_u128(), entry.context.map(Context::as_str)), (100, Some("{\"a\":1}")));
    }

    #[test]
    fn what_is_taken_out_leaves_its_place_empty() {
        let mut index = SeriesIndex::default();
        for (run, metric) in [(0, "loss"), (1, "loss"), (1, "acc"), (0, "acc")] {
            put(&mut index, run, metric, None);
        }
        let before = index.clone();
        assert_eq!(index.remove_of_run(1), [1, 2]);
        assert_eq!(index.remove_of_run(1), [] as [SeriesOrdinal; 0]);
        assert_eq!(index.entries().iter().map(|entry| entry.ordinal).collect::<Vec<_>>(), [0, 3]);
        assert_eq!((index.entries().len(), index.entries().end()), (2, 4));
        assert_eq!(index.entries().of_metrics(0..4, |_| true), [0, 3]);
        assert_eq!(put(&mut index, 2, "acc", None), 4);
        assert_eq!(before.entries().len(), 4);
        assert_eq!(index.metrics().map(|(_, metric)| metric.as_str()).collect::<Vec<_>>(), ["loss", "acc"]);
        index.remove_of_run(0);
        assert_eq!(index.metrics().map(|(_, metric)| metric.as_str()).collect::<Vec<_>>(), ["acc"]);
    }
}
