//! Checking a segment of `points` against its own chunk index: all columns decoded, all statistics computed anew.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use futures::TryStreamExt;
use model::{Point, SeriesStatistics};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;

use super::read::Reader;
use crate::segment::chunk_index::IndexedSeries;
use crate::segment::seal::CheckedBytes;
use crate::segment::{Result, SegmentError};

/// The most contradictions that are told of one file.
const TOLD: usize = 20;

/// What a series of a segment was found to be while its rows go by.
struct Seen {
    position: usize,
    rows: u64,
    statistics: Option<SeriesStatistics>,
    last: Option<(i64, i32, i64)>,
}

impl Reader {
    /// Decodes every row of the file, compares it with the chunk index, and hands out every series with its
    /// statistics. Gives back what does not fit.
    ///
    /// # Errors
    /// Damage: the file must have passed its checksums before.
    pub(crate) async fn audit(
        &self,
        each: &mut (dyn FnMut(&IndexedSeries<'_>, &SeriesStatistics) + Send),
    ) -> Result<Vec<String>> {
        let (store, file) = self.parts();
        let path = file.path().to_string();
        let bytes = CheckedBytes { file: Arc::clone(file), store: Arc::clone(store) };
        let mut batches = ParquetRecordBatchStreamBuilder::new_with_metadata(bytes, file.metadata().clone())
            .with_batch_size(crate::segment::PAGE_ROWS)
            .build()
            .map_err(|error| SegmentError::parquet(&path, error))?;
        let mut wrong = Vec::new();
        let mut seen = Seen { position: 0, rows: 0, statistics: None, last: None };
        while let Some(batch) =
            batches.try_next().await.map_err(|error| SegmentError::parquet(&path, error))?
        {
            let columns = Columns::of(&batch)
                .ok_or_else(|| file.corrupt("record batch", "a column is missing or has another type"))?;
            for row in 0..batch.num_rows() {
                self.audit_row(&columns, row, &mut seen, &mut wrong, each);
            }
        }
        if seen.position < self.series().len() {
            wrong.push(format!("the rows end in series {} of {}", seen.position, self.series().len()));
        }
        wrong.truncate(TOLD);
        Ok(wrong)
    }

    fn audit_row(
        &self,
        columns: &Columns<'_>,
        row: usize,
        seen: &mut Seen,
        wrong: &mut Vec<String>,
        each: &mut (dyn FnMut(&IndexedSeries<'_>, &SeriesStatistics) + Send),
    ) {
        let Some(series) = self.series().get(seen.position) else {
            if wrong.len() < TOLD {
                wrong.push("there are rows behind the last series of the chunk index".to_owned());
            }
            return;
        };
        let at = seen.rows;
        let mut tell = |what: String| {
            if wrong.len() < TOLD {
                wrong.push(format!("series {} of run {}, row {}: {what}", series.metric, series.run, at));
            }
        };
        let run = series.run.to_string();
        let texts = [series.project, series.experiment, &run, series.metric];
        for (column, expected) in columns.texts.iter().zip(texts) {
            if column.value(row) != expected {
                tell(format!("the column says {:?}, the chunk index {expected:?}", column.value(row)));
            }
        }
        let context = columns.context.is_valid(row).then(|| columns.context.value(row));
        if context != series.context {
            tell(format!("the context is {context:?}, in the chunk index {:?}", series.context));
        }
        let point = columns.point(row);
        let place = (point.step, point.step_fraction.unwrap_or(0), point.time);
        if seen.last.is_some_and(|last| place < last) {
            tell("it comes before the row in front of it".to_owned());
        }
        seen.last = Some(place);
        match &mut seen.statistics {
            Some(statistics) => statistics.observe(point),
            empty => *empty = Some(SeriesStatistics::of(point)),
        }
        seen.rows += 1;
        if seen.rows < series.rows.rows {
            return;
        }
        if let Some(statistics) = seen.statistics.take() {
            if (statistics.first_step, statistics.last_step)
                != (series.rows.first_step, series.rows.last_step)
            {
                tell(format!(
                    "its steps are {} to {}, the chunk index says {} to {}",
                    statistics.first_step,
                    statistics.last_step,
                    series.rows.first_step,
                    series.rows.last_step
                ));
            }
            each(&series, &statistics);
        }
        *seen = Seen { position: seen.position + 1, rows: 0, statistics: None, last: None };
    }
}

/// The columns of a batch.
struct Columns<'a> {
    texts: [&'a StringArray; 4],
    context: &'a StringArray,
    steps: &'a arrow::array::Int64Array,
    fractions: &'a arrow::array::Int32Array,
    times: &'a arrow::array::TimestampMicrosecondArray,
    values: &'a arrow::array::Float64Array,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Option<Self> {
        let column = |name| batch.column_by_name(name);
        let text = |name| column(name).and_then(|column| column.as_string_opt::<i32>());
        Some(Self {
            texts: [text("project")?, text("experiment")?, text("run_id")?, text("metric")?],
            context: text("context")?,
            steps: column("step")?.as_primitive_opt::<Int64Type>()?,
            fractions: column("step_frac")?.as_primitive_opt::<Int32Type>()?,
            times: column("time")?.as_primitive_opt::<TimestampMicrosecondType>()?,
            values: column("value")?.as_primitive_opt::<Float64Type>()?,
        })
    }

    fn point(&self, row: usize) -> Point {
        Point {
            step: self.steps.value(row),
            step_fraction: self.fractions.is_valid(row).then(|| self.fractions.value(row)),
            time: self.times.value(row),
            value: self.values.value(row),
        }
    }
}
