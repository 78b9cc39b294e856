//! Merging segments of `points`, series by series, without ever holding more than a few row groups of each.
//!
//! Invariants
//! - The points of a series come out in the order in which readers saw them before: by (step, fraction, time), equal ones
//!   by file, oldest first, then by position. Every bit of a value stays.
//! - Only what was checked is written: a file is opened anew, so that each of its column chunks is read and compared
//!   with its CRC32C before a row of it is decoded.

use std::sync::Arc;

use arrow::array::{
    Array, AsArray, Float64Array, Int32Array, Int64Array, PrimitiveArray, RecordBatch,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{ArrowPrimitiveType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use futures::TryStreamExt;
use model::schema::Table;
use model::{Context, ExperimentName, MetricName, ModelError, PointColumns, ProjectName, RunId, SeriesKey};
use object_store::ObjectStore;
use object_store::path::Path;

use crate::catalog::DataFile;
use crate::segment::points::{PointStream, Reader, Scan, SeriesSelection, SortedSeries};
use crate::segment::{ROW_GROUP_ROWS, SegmentError};

/// Step, fraction, time, value and attempt in the schema of `points`.
const COLUMNS: [usize; 5] = [5, 6, 7, 8, 9];

/// What went wrong, and with which input.
#[derive(Debug)]
pub(super) struct InputError {
    /// The path of the input.
    pub(super) path: String,
    /// What is wrong with it.
    pub(super) error: SegmentError,
}

/// Rows that were decoded and not yet taken.
#[derive(Debug)]
struct Rows {
    steps: Int64Array,
    fractions: Int32Array,
    times: TimestampMicrosecondArray,
    values: Float64Array,
    attempts: Int32Array,
    from: usize,
}

impl Rows {
    fn new(batch: &RecordBatch) -> Option<Self> {
        fn column<T: ArrowPrimitiveType>(batch: &RecordBatch, at: usize) -> Option<PrimitiveArray<T>> {
            batch.columns().get(at)?.as_primitive_opt::<T>().cloned()
        }
        Some(Self {
            steps: column::<Int64Type>(batch, 0)?,
            fractions: column::<Int32Type>(batch, 1)?,
            times: column::<TimestampMicrosecondType>(batch, 2)?,
            values: column::<Float64Type>(batch, 3)?,
            attempts: column::<Int32Type>(batch, 4)?,
            from: 0,
        })
    }

    fn left(&self) -> usize {
        self.values.len() - self.from
    }

    /// Where the row `ahead` rows after the next one stands in its series.
    fn place(&self, ahead: usize) -> (i64, i32, i64) {
        let row = self.from + ahead;
        let fraction = if self.fractions.is_valid(row) { self.fractions.value(row) } else { 0 };
        (self.steps.value(row), fraction, self.times.value(row))
    }

    /// Moves the next `count` rows to the end of a series.
    fn take_into(&mut self, count: usize, series: &mut SortedSeries) {
        let rows = self.from..self.from + count;
        let points = &mut series.points;
        let before = points.steps.len();
        points.steps.extend_from_slice(&self.steps.values()[rows.clone()]);
        points.times.extend_from_slice(&self.times.values()[rows.clone()]);
        points.values.extend_from_slice(&self.values.values()[rows.clone()]);
        series.attempts.extend_from_slice(&self.attempts.values()[rows.clone()]);
        if points.step_fractions.is_some() || rows.clone().any(|row| self.fractions.is_valid(row)) {
            let fractions = points.step_fractions.get_or_insert_with(|| vec![None; before]);
            fractions.extend(rows.map(|row| self.fractions.is_valid(row).then(|| self.fractions.value(row))));
        }
        self.from += count;
    }
}

/// One input on its way from its first series to its last.
struct Input {
    path: String,
    reader: Reader,
    stream: PointStream,
    /// The series that are taken, as positions in the chunk index.
    positions: Vec<usize>,
    /// The current one.
    at: usize,
    /// Rows of the current series that were not taken yet.
    left: u64,
    rows: Option<Rows>,
}

impl Input {
    async fn open(
        store: &Arc<dyn ObjectStore>,
        file: &DataFile,
        keep: &(dyn Fn(&DataFile, RunId) -> bool + Send + Sync),
    ) -> Result<Self, SegmentError> {
        let reader = Reader::open(Arc::clone(store), &Path::from(file.path.as_str()), file.bytes).await?;
        // The texts come from the chunk index. Their columns are read for nothing but this: a damaged file must not
        // vanish behind a sound one before somebody was told.
        let schema = Table::Points.schema();
        let is_text =
            |column: &str| schema.fields().iter().take(COLUMNS[0]).any(|field| field.name() == column);
        reader.file().verify_columns(store.as_ref(), is_text).await?;
        let mut last: Option<(RunId, bool)> = None;
        let mut positions = Vec::new();
        for series in reader.series().iter() {
            let kept = match last {
                Some((run, kept)) if run == series.run => kept,
                _ => keep(file, series.run),
            };
            last = Some((series.run, kept));
            if kept {
                positions.push(series.position);
            }
        }
        let scan = Scan {
            selection: SeriesSelection::Positions(positions.clone()),
            projection: COLUMNS.to_vec(),
            ..Scan::all()
        };
        let (stream, _) = reader.scan(&scan)?;
        let mut input =
            Self { path: file.path.clone(), reader, stream, positions, at: 0, left: 0, rows: None };
        input.left = input.series_rows();
        Ok(input)
    }

    fn position(&self) -> Option<usize> {
        self.positions.get(self.at).copied()
    }

    fn series_rows(&self) -> u64 {
        self.position().and_then(|at| self.reader.series().get(at)).map_or(0, |series| series.rows.rows)
    }

    /// The current series; `None` behind the last one.
    fn key(&self) -> Option<(RunId, &str, Option<&str>)> {
        let series = self.reader.series().get(self.position()?)?;
        Some((series.run, series.metric, series.context))
    }

    fn next_series(&mut self) {
        self.at += 1;
        self.left = self.series_rows();
    }

    /// An empty part of the current series.
    fn empty_series(&self) -> Result<Option<SortedSeries>, SegmentError> {
        let Some(series) = self.position().and_then(|at| self.reader.series().get(at)) else {
            return Ok(None);
        };
        let named = || -> Result<SortedSeries, ModelError> {
            Ok(SortedSeries {
                project: ProjectName::new(series.project)?,
                experiment: ExperimentName::new(series.experiment)?,
                key: SeriesKey {
                    run: series.run,
                    metric: MetricName::new(series.metric)?,
                    context: series.context.map(Context::parse).transpose()?,
                },
                points: PointColumns::default(),
                attempts: Vec::new(),
            })
        };
        named().map(Some).map_err(|error| self.reader.file().corrupt("chunk index", error.to_string()))
    }

    /// Makes sure that the next row of the current series is decoded.
    async fn fill(&mut self) -> Result<(), SegmentError> {
        while self.left > 0 && self.rows.as_ref().is_none_or(|rows| rows.left() == 0) {
            let Some(batch) = self.stream.try_next().await? else {
                return Err(self
                    .reader
                    .file()
                    .corrupt("rows", "it has fewer rows than its chunk index names"));
            };
            let rows = Rows::new(&batch);
            self.rows =
                Some(rows.ok_or_else(|| self.reader.file().corrupt("schema", "it is not that of points"))?);
        }
        Ok(())
    }
}

/// The series of several files as one sorted stream of parts.
pub(super) struct Merge<'a> {
    store: Arc<dyn ObjectStore>,
    /// The files that were not opened yet, the one with the lowest first series last.
    waiting: Vec<(DataFile, super::plan::Extent)>,
    /// The open ones, those of the oldest arrival first.
    open: Vec<(u64, Input)>,
    /// Which runs are kept of a file.
    keep: &'a (dyn Fn(&DataFile, RunId) -> bool + Send + Sync),
}

impl<'a> Merge<'a> {
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        mut files: Vec<(DataFile, super::plan::Extent)>,
        keep: &'a (dyn Fn(&DataFile, RunId) -> bool + Send + Sync),
    ) -> Self {
        files.sort_by(|a, b| b.1.low.cmp(&a.1.low));
        Self { store, waiting: files, open: Vec::new(), keep }
    }

    /// About a row group of parts of series, in order; the last part may go on in the next answer. Empty at the end.
    pub(super) async fn next_parts(&mut self) -> Result<Vec<SortedSeries>, InputError> {
        let mut parts = Vec::new();
        let mut rows = 0;
        while rows < ROW_GROUP_ROWS {
            self.open_due().await?;
            let Some(part) = self.next_part(ROW_GROUP_ROWS - rows).await? else { break };
            rows += part.points.len();
            parts.push(part);
        }
        Ok(parts)
    }

    /// Opens every file that may hold the lowest series that is left.
    async fn open_due(&mut self) -> Result<(), InputError> {
        loop {
            let lowest = self.open.iter().filter_map(|(_, input)| input.key()).min();
            let due = match (self.waiting.last(), lowest) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some((_, extent)), Some((run, metric, context))) => extent.begins_by(run, metric, context),
            };
            if !due {
                return Ok(());
            }
            let Some((file, _)) = self.waiting.pop() else { return Ok(()) };
            let opened = Input::open(&self.store, &file, self.keep).await;
            let input = opened.map_err(|error| InputError { path: file.path.clone(), error })?;
            if input.position().is_some() {
                let arrival = file.arrival();
                let at = self.open.partition_point(|(other, _)| *other <= arrival);
                self.open.insert(at, (arrival, input));
            }
        }
    }

    /// Up to `most` rows of the lowest series that is left.
    async fn next_part(&mut self, most: usize) -> Result<Option<SortedSeries>, InputError> {
        let Some(lowest) = self.open.iter().filter_map(|(_, input)| input.key()).min() else {
            return Ok(None);
        };
        let mut sources: Vec<usize> =
            (0..self.open.len()).filter(|at| self.open[*at].1.key() == Some(lowest)).collect();
        let Some(first) = sources.first() else { return Ok(None) };
        let wrong = |input: &Input, error| InputError { path: input.path.clone(), error };
        let first = &self.open[*first].1;
        let Some(mut part) = first.empty_series().map_err(|error| wrong(first, error))? else {
            return Ok(None);
        };
        while part.points.len() < most && !sources.is_empty() {
            for at in &sources {
                let input = &mut self.open[*at].1;
                if let Err(error) = input.fill().await {
                    return Err(wrong(input, error));
                }
            }
            // The lowest row, of equal ones that of the oldest file; and how far it may go before another's turn comes.
            let places =
                || sources.iter().filter_map(|at| Some((self.open[*at].1.rows.as_ref()?.place(0), *at)));
            let Some((_, turn)) = places().min() else { break };
            let limit = places().filter(|(_, at)| *at != turn).min();
            let (_, input) = &mut self.open[turn];
            let Some(rows) = &mut input.rows else { break };
            let available = rows.left().min(usize::try_from(input.left).unwrap_or(usize::MAX));
            let available = available.min(most - part.points.len());
            let count = match limit {
                Some(limit) => first_behind(rows, available, |place| (place, turn) > limit),
                None => available,
            };
            rows.take_into(count, &mut part);
            input.left -= count as u64;
            if input.left == 0 {
                input.next_series();
                sources.retain(|at| *at != turn);
            }
        }
        self.open.retain(|(_, input)| input.position().is_some());
        Ok(Some(part))
    }
}

/// The number of leading rows, of the next `count` ones, that are not `behind`; at least one.
fn first_behind(rows: &Rows, count: usize, behind: impl Fn((i64, i32, i64)) -> bool) -> usize {
    let (mut low, mut high) = (1, count);
    while low < high {
        let middle = low.midpoint(high);
        if behind(rows.place(middle)) { high = middle } else { low = middle + 1 }
    }
    low.min(count)
}
