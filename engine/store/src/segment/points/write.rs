//! Writing a segment of `points`.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use model::SeriesKey;
use model::schema::Table;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{BloomFilterPosition, EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::SortedSeries;
use super::encoding::ColumnEncodings;
use crate::segment::chunk_index::{self, ChunkIndexBuilder, IndexedSeries};
use crate::segment::statistics::FileStatistics;
use crate::segment::{CREATED_BY, Effort, EncodedSegment, ROW_GROUP_ROWS, Result, SegmentError, seal};

/// Columns of text; within a row group each is a dictionary.
const TEXT_COLUMNS: [&str; 5] = ["project", "experiment", "run_id", "metric", "context"];

/// The tag with the first series of a file: a JSON array of run id, metric and context (or null).
pub(crate) const FIRST_SERIES_TAG: &str = "first_series";
/// The tag with the last series of a file.
pub(crate) const LAST_SERIES_TAG: &str = "last_series";

fn series_text(series: &IndexedSeries<'_>) -> String {
    serde_json::json!([series.run.to_string(), series.metric, series.context]).to_string()
}

/// How the series of a segment follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SeriesOrder {
    /// By (run, metric, context): one run with all its metrics is one range of rows.
    #[default]
    RunFirst,
    /// By (metric, run, context): one metric of all runs is one range of rows.
    MetricFirst,
}

impl SeriesOrder {
    /// Compares two series in this order.
    pub fn compare(self, a: &SeriesKey, b: &SeriesKey) -> Ordering {
        match self {
            Self::RunFirst => a.cmp(b),
            Self::MetricFirst => (&a.metric, a.run, &a.context).cmp(&(&b.metric, b.run, &b.context)),
        }
    }
}

/// Encodes series into a segment, ordered by (run, metric, context).
///
/// # Errors
/// As [`write_in_order`].
pub fn write(series: impl IntoIterator<Item = SortedSeries>) -> Result<EncodedSegment> {
    write_in_order(series, SeriesOrder::RunFirst)
}

/// Encodes series into a segment. Empty series are left out.
///
/// # Errors
/// [`SegmentError::Order`] when the series are not strictly increasing in `order` or the points of one are not
/// sorted, [`SegmentError::Input`] when columns differ in length or there is no point at all.
pub fn write_in_order(
    series: impl IntoIterator<Item = SortedSeries>,
    order: SeriesOrder,
) -> Result<EncodedSegment> {
    let mut writer = PointWriter::new(order, Effort::Quick);
    for series in series {
        if writer.last.as_ref().is_some_and(|last| last.key == series.key) {
            let reason = "it comes twice".to_owned();
            return Err(SegmentError::Order { series: name(&series.key), reason });
        }
        writer.append(&series)?;
    }
    writer.finish()
}

fn name(key: &SeriesKey) -> String {
    let context = key.context.as_ref().map_or(String::new(), |context| format!(" {context}"));
    format!("{} {}{context}", key.run, key.metric)
}

fn check(series: &SortedSeries) -> Result<()> {
    let input = |reason| SegmentError::Input { table: Table::Points.name(), reason };
    series.points.check(&series.key.metric).map_err(|error| input(error.to_string()))?;
    if series.attempts.len() != series.points.len() {
        return Err(input(format!(
            "series {} has {} points and {} attempts",
            name(&series.key),
            series.points.len(),
            series.attempts.len()
        )));
    }
    match series.first_disorder() {
        Some(row) => Err(SegmentError::Order {
            series: name(&series.key),
            reason: format!("its point {row} belongs in front of point {}", row - 1),
        }),
        None => Ok(()),
    }
}

/// A text column of the row group that is being filled: distinct texts and a key for each row.
#[derive(Debug, Default)]
struct TextColumn {
    distinct: Vec<Arc<str>>,
    known: HashMap<Arc<str>, i32>,
    keys: Vec<Option<i32>>,
}

impl TextColumn {
    fn push(&mut self, text: Option<Arc<str>>, rows: usize) {
        let key = text.map(|text| {
            let next = self.distinct.len() as i32;
            let key = *self.known.entry(Arc::clone(&text)).or_insert(next);
            if key == next {
                self.distinct.push(text);
            }
            key
        });
        self.keys.resize(self.keys.len() + rows, key);
    }

    fn take(&mut self) -> ArrayRef {
        let column = std::mem::take(self);
        let values: StringArray = column.distinct.iter().map(|text| Some(text.as_ref())).collect();
        let keys: Int32Array = column.keys.into_iter().collect();
        // `new` cannot panic: every key was an index of `distinct`.
        Arc::new(DictionaryArray::<Int32Type>::new(keys, Arc::new(values)))
    }
}

#[derive(Debug, Clone, Copy)]
struct Bounds {
    steps: (i64, i64),
    times: (i64, i64),
}

/// The end of what was appended: what comes next must stand behind it.
#[derive(Debug)]
struct Last {
    key: SeriesKey,
    place: (i64, i32, i64),
}

/// Writes a segment from series, or parts of series, that come in order.
///
/// Only encoded row groups and the one that is being filled are in memory.
pub(crate) struct PointWriter {
    last: Option<Last>,
    /// Begun with the first row group, which decides the encodings.
    writer: Option<ArrowWriter<Vec<u8>>>,
    schema: Arc<Schema>,
    order: SeriesOrder,
    effort: Effort,
    index: ChunkIndexBuilder,
    bounds: Option<Bounds>,
    texts: [TextColumn; 5],
    steps: Vec<i64>,
    fractions: Vec<Option<i32>>,
    times: Vec<i64>,
    values: Vec<f64>,
    attempts: Vec<i32>,
}

impl PointWriter {
    /// A writer of an empty segment.
    pub(crate) fn new(order: SeriesOrder, effort: Effort) -> Self {
        let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let fields: Vec<Field> = Table::Points
            .schema()
            .fields()
            .iter()
            .map(|field| match field.data_type() {
                DataType::Utf8 => field.as_ref().clone().with_data_type(text.clone()),
                _ => field.as_ref().clone(),
            })
            .collect();
        let schema = Arc::new(Schema::new(fields));
        Self {
            last: None,
            writer: None,
            schema,
            order,
            effort,
            index: ChunkIndexBuilder::default(),
            bounds: None,
            texts: Default::default(),
            steps: Vec::new(),
            fractions: Vec::new(),
            times: Vec::new(),
            values: Vec::new(),
            attempts: Vec::new(),
        }
    }

    /// Number of rows appended.
    pub(crate) fn rows(&self) -> u64 {
        self.index.rows()
    }

    /// The series that was appended last.
    pub(crate) fn last_series(&self) -> Option<&SeriesKey> {
        self.last.as_ref().map(|last| &last.key)
    }

    /// Appends a series, or more points of the series that was appended last. Nothing happens without points.
    ///
    /// # Errors
    /// As [`write_in_order`].
    pub(crate) fn append(&mut self, series: &SortedSeries) -> Result<()> {
        check(series)?;
        let Some(end) = series.points.len().checked_sub(1) else { return Ok(()) };
        let order = |reason| SegmentError::Order { series: name(&series.key), reason };
        match &self.last {
            Some(last) => match self.order.compare(&last.key, &series.key) {
                Ordering::Less => self.index.push(series),
                Ordering::Equal if last.place <= series.place(0) => self.index.extend(series),
                Ordering::Equal => {
                    return Err(order("its next points belong in front of its last".to_owned()));
                }
                Ordering::Greater => return Err(order(format!("it comes after {}", name(&last.key)))),
            },
            None => self.index.push(series),
        }
        self.last = Some(Last { key: series.key.clone(), place: series.place(end) });
        let points = &series.points;
        for (step, time) in points.steps.iter().zip(&points.times) {
            let bounds = self.bounds.get_or_insert(Bounds { steps: (*step, *step), times: (*time, *time) });
            bounds.steps = (bounds.steps.0.min(*step), bounds.steps.1.max(*step));
            bounds.times = (bounds.times.0.min(*time), bounds.times.1.max(*time));
        }
        let texts = [
            Some(series.project.shared()),
            Some(series.experiment.shared()),
            Some(series.key.run.to_string().into()),
            Some(series.key.metric.shared()),
            series.key.context.as_ref().map(|context| context.shared()),
        ];
        let mut from = 0;
        while from < points.len() {
            let rows = (points.len() - from).min(ROW_GROUP_ROWS - self.values.len());
            let to = from + rows;
            for (column, text) in self.texts.iter_mut().zip(&texts) {
                column.push(text.clone(), rows);
            }
            self.steps.extend_from_slice(&points.steps[from..to]);
            match &points.step_fractions {
                Some(fractions) => self.fractions.extend_from_slice(&fractions[from..to]),
                None => self.fractions.resize(self.fractions.len() + rows, None),
            }
            self.times.extend_from_slice(&points.times[from..to]);
            self.values.extend_from_slice(&points.values[from..to]);
            self.attempts.extend_from_slice(&series.attempts[from..to]);
            from = to;
            if self.values.len() == ROW_GROUP_ROWS {
                self.write_row_group()?;
            }
        }
        Ok(())
    }

    fn write_row_group(&mut self) -> Result<()> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => {
                let encodings = ColumnEncodings::of(&self.times, &self.values)?;
                let options = ArrowWriterOptions::new()
                    .with_properties(properties(self.order, self.effort, encodings))
                    .with_skip_arrow_metadata(true);
                ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&self.schema), options)
                    .map_err(|error| SegmentError::parquet(Table::Points.name(), error))?
            }
        };
        let mut columns: Vec<ArrayRef> = self.texts.iter_mut().map(TextColumn::take).collect();
        columns.push(Arc::new(Int64Array::from(std::mem::take(&mut self.steps))));
        columns.push(Arc::new(Int32Array::from(std::mem::take(&mut self.fractions))));
        let times = TimestampMicrosecondArray::from(std::mem::take(&mut self.times));
        columns.push(Arc::new(times.with_timezone("UTC")));
        columns.push(Arc::new(Float64Array::from(std::mem::take(&mut self.values))));
        columns.push(Arc::new(Int32Array::from(std::mem::take(&mut self.attempts))));
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(|error| {
            SegmentError::Input { table: Table::Points.name(), reason: error.to_string() }
        })?;
        let failed = |error| SegmentError::parquet(Table::Points.name(), error);
        writer.write(&batch).map_err(failed)?;
        writer.flush().map_err(failed)?;
        self.writer = Some(writer);
        Ok(())
    }

    /// Ends the segment.
    ///
    /// # Errors
    /// [`SegmentError::Input`] when there is no point.
    pub(crate) fn finish(mut self) -> Result<EncodedSegment> {
        if !self.values.is_empty() {
            self.write_row_group()?;
        }
        let index = self.index.finish();
        let (Some(bounds), Some(writer)) = (self.bounds, self.writer) else {
            let reason = "there is no point to write".to_owned();
            return Err(SegmentError::Input { table: Table::Points.name(), reason });
        };
        let packed = index.encode().map_err(|error| SegmentError::Input {
            table: Table::Points.name(),
            reason: error.to_string(),
        })?;
        let bytes = seal::finish(writer, Table::Points.name(), vec![(chunk_index::KEY.to_owned(), packed)])?;

        let mut statistics = FileStatistics::new(index.rows());
        let runs = index.iter().map(|series| series.run);
        if let Some((low, high)) = runs.clone().min().zip(runs.max()) {
            statistics.bounds("run_id", low.to_string().into(), high.to_string().into());
        }
        let metrics = index.iter().map(|series| series.metric);
        if let Some((low, high)) = metrics.clone().min().zip(metrics.max()) {
            statistics.bounds("metric", low.into(), high.into());
        }
        statistics.bounds("step", bounds.steps.0.into(), bounds.steps.1.into());
        statistics.times("time", bounds.times.0, bounds.times.1);
        let mut segment =
            EncodedSegment::new(bytes, index.rows(), statistics.into_json(), Table::Points.name());
        segment.tags.insert("series".to_owned(), index.len().to_string());
        let order = match self.order {
            SeriesOrder::RunFirst => "run",
            SeriesOrder::MetricFirst => "metric",
        };
        segment.tags.insert("order".to_owned(), order.to_owned());
        if self.order == SeriesOrder::RunFirst
            && let Some((first, last)) = index.get(0).zip(index.get(index.len().wrapping_sub(1)))
        {
            segment.tags.insert(FIRST_SERIES_TAG.to_owned(), series_text(&first));
            segment.tags.insert(LAST_SERIES_TAG.to_owned(), series_text(&last));
        }
        Ok(segment)
    }
}

fn properties(order: SeriesOrder, effort: Effort, encodings: ColumnEncodings) -> WriterProperties {
    let schema = Table::Points.schema();
    let sorting = match order {
        SeriesOrder::RunFirst => ["run_id", "metric", "context", "step"],
        SeriesOrder::MetricFirst => ["metric", "run_id", "context", "step"],
    };
    let sorting = sorting
        .iter()
        .filter_map(|name| schema.index_of(name).ok())
        .map(|column| SortingColumn { column_idx: column as i32, descending: false, nulls_first: true })
        .collect();
    let mut properties = encodings
        .apply(WriterProperties::builder())
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(effort.compression())
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        // All column chunks come first, so that what is behind them is one tail under one checksum.
        .set_bloom_filter_position(BloomFilterPosition::End)
        .set_sorting_columns(Some(sorting))
        // Parquet's bounds of doubles leave out NaN and say nothing of -0.0: whoever prunes by them is wrong.
        .set_column_statistics_enabled(ColumnPath::from("value"), EnabledStatistics::None);
    for column in TEXT_COLUMNS {
        properties =
            properties.set_column_dictionary_page_size_limit(ColumnPath::from(column), 64 * 1024 * 1024);
    }
    for column in ["run_id", "metric"] {
        properties = properties
            .set_column_bloom_filter_enabled(ColumnPath::from(column), true)
            .set_column_bloom_filter_fpp(ColumnPath::from(column), 0.01)
            .set_column_bloom_filter_max_ndv(ColumnPath::from(column), 4_096);
    }
    properties.build()
}
