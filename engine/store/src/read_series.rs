//! Reading several series whole, in one pass over the segments, with the attempt of each point.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use futures::FutureExt as _;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use model::{PointColumns, RunId, SeriesKey};

use crate::error::Result;
use crate::segment::points::{Scan, SeriesSelection, SortedSeries};
use crate::snapshot::Snapshot;

/// Step, fraction, time, value and attempt in the schema of `points`.
const COLUMNS: [usize; 5] = [5, 6, 7, 8, 9];

impl Snapshot {
    /// All points of the wanted series, from segments and memory, in the order of `wanted`, which names each once. The
    /// points of each are sorted by (step, fraction, time, arrival). Series of runs that are not there are left out.
    ///
    /// All of them are held in memory at once: about 44 bytes a point.
    ///
    /// # Errors
    /// When a segment is missing or damaged.
    pub fn read_series<'a>(&'a self, wanted: &'a [SeriesKey]) -> BoxFuture<'a, Result<Vec<SortedSeries>>> {
        async move {
            let mut gathered: Vec<Gathered> = wanted.iter().map(|_| Gathered::default()).collect();
            self.gather_from_segments(wanted, &mut gathered).await?;
            let ordinals: HashMap<_, usize> = wanted
                .iter()
                .enumerate()
                .filter_map(|(number, key)| Some((self.series_entry(key)?.ordinal, number)))
                .collect();
            let number_of: HashMap<&SeriesKey, usize> = wanted.iter().zip(0..).collect();
            for series in self.memtable_series(|entry| ordinals.contains_key(&entry.ordinal)) {
                if let Some(into) = number_of.get(&series.key).and_then(|number| gathered.get_mut(*number)) {
                    into.points.extend_from(&series.points);
                    into.attempts.extend_from_slice(&series.attempts);
                }
            }
            let sorted = wanted.iter().zip(gathered).filter_map(|(key, Gathered { points, attempts })| {
                let run = self.registry().run(key.run)?;
                let (project, experiment) = (run.project().clone(), run.experiment().clone());
                Some(SortedSeries::from_arrival(project, experiment, key.clone(), points, attempts))
            });
            Ok(sorted.collect())
        }
        .boxed()
    }

    async fn gather_from_segments(&self, wanted: &[SeriesKey], gathered: &mut [Gathered]) -> Result<()> {
        let numbers: HashMap<(RunId, &str, Option<&str>), usize> = wanted
            .iter()
            .zip(0..)
            .map(|(key, number)| {
                let context = key.context.as_ref().map(|context| context.as_str());
                ((key.run, key.metric.as_str(), context), number)
            })
            .collect();
        let runs: BTreeSet<RunId> = wanted.iter().map(|key| key.run).collect();
        for file in self.point_files() {
            let contents = self.contents_of(file);
            let runs: Vec<RunId> = runs
                .iter()
                .copied()
                .filter(|run| contents.as_ref().is_none_or(|contents| contents.may_hold(*run)))
                .filter(|run| self.holds(file, *run))
                .collect();
            if runs.is_empty() {
                continue;
            }
            let reader = self.open_segment(file).await?;
            let index = reader.series();
            let positions = index.of_runs(runs.into_iter(), |series| {
                numbers.contains_key(&(series.run, series.metric, series.context))
            });
            if positions.is_empty() {
                continue;
            }
            // Rows come in the order of the positions, so their counts tell where each series ends.
            let mut places: Vec<(usize, usize)> = Vec::with_capacity(positions.len());
            for series in positions.iter().filter_map(|position| index.get(*position)) {
                if let Some(number) = numbers.get(&(series.run, series.metric, series.context)) {
                    // A segment has fewer than 2^32 rows.
                    places.push((*number, series.rows.rows as usize));
                }
            }
            let scan = Scan {
                selection: SeriesSelection::Positions(positions),
                projection: COLUMNS.to_vec(),
                ..Scan::all()
            };
            let (mut batches, _) = reader.scan(&scan)?;
            let mut places = places.into_iter();
            let mut place = places.next();
            while let Some(batch) = batches.try_next().await? {
                let mut row = 0;
                while let Some((number, left)) = place.filter(|_| row < batch.num_rows()) {
                    let end = batch.num_rows().min(row + left);
                    gathered[number].append(&batch, row..end);
                    place = if end - row < left { Some((number, left - (end - row))) } else { places.next() };
                    row = end;
                }
            }
        }
        Ok(())
    }
}

/// What was found of a series so far.
#[derive(Debug, Default)]
struct Gathered {
    points: PointColumns,
    attempts: Vec<i32>,
}

impl Gathered {
    /// Appends rows of a batch with [`COLUMNS`].
    fn append(&mut self, batch: &RecordBatch, rows: Range<usize>) {
        let points = &mut self.points;
        let fractions = batch.column(1).as_primitive::<Int32Type>().slice(rows.start, rows.len());
        if points.step_fractions.is_some() || fractions.null_count() < fractions.len() {
            let before = points.values.len();
            points.step_fractions.get_or_insert_with(|| vec![None; before]).extend(fractions.iter());
        }
        let (steps, times) = (
            batch.column(0).as_primitive::<Int64Type>(),
            batch.column(2).as_primitive::<TimestampMicrosecondType>(),
        );
        let (values, attempts) =
            (batch.column(3).as_primitive::<Float64Type>(), batch.column(4).as_primitive::<Int32Type>());
        points.steps.extend_from_slice(&steps.values()[rows.clone()]);
        points.times.extend_from_slice(&times.values()[rows.clone()]);
        points.values.extend_from_slice(&values.values()[rows.clone()]);
        self.attempts.extend_from_slice(&attempts.values()[rows]);
    }
}
