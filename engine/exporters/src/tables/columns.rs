//! Rows as Arrow columns, and these as row groups of Parquet, encoded on any thread.

use std::fs::File;
use std::io::Sink;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Int32Type, SchemaRef};
use importers::exported::ExportTable;
use model::{Run, RunId};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, TypePtr};

use super::Rows;
use crate::error::ExportError;
use crate::export::ExportedSeries;

/// Makes row groups of one table.
pub(super) struct RowGroups {
    schema: SchemaRef,
    root: TypePtr,
    properties: Arc<WriterProperties>,
    factory: ArrowRowGroupWriterFactory,
    name: &'static str,
}

impl RowGroups {
    pub(super) fn new(table: ExportTable) -> std::result::Result<Self, ExportError> {
        Self::try_new(table).map_err(ExportError::parquet(Path::new(table.as_str())))
    }

    fn try_new(table: ExportTable) -> Result<Self> {
        let schema = table.schema();
        let column = |name: &str| ColumnPath::from(name);
        // Steps and times rise by equal amounts; values have few equals.
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            .set_column_dictionary_enabled(column("step"), false)
            .set_column_encoding(column("step"), Encoding::DELTA_BINARY_PACKED)
            .set_column_dictionary_enabled(column("time"), false)
            .set_column_encoding(column("time"), Encoding::DELTA_BINARY_PACKED)
            .set_created_by(format!("runlake {}", env!("CARGO_PKG_VERSION")));
        let properties = Arc::new(properties.build());
        let root = ArrowSchemaConverter::new().convert(&schema)?.root_schema_ptr();
        // The factory takes from a writer what all writers of this schema have.
        let like: SerializedFileWriter<Sink> =
            SerializedFileWriter::new(std::io::sink(), Arc::clone(&root), Arc::clone(&properties))?;
        let factory = ArrowRowGroupWriterFactory::new(&like, Arc::clone(&schema));
        Ok(Self { schema, root, properties, factory, name: table.as_str() })
    }

    /// A writer of a file of this table.
    pub(super) fn writer(&self, file: File) -> Result<SerializedFileWriter<File>> {
        SerializedFileWriter::new(file, Arc::clone(&self.root), Arc::clone(&self.properties))
    }

    pub(super) fn encode(&self, rows: Rows<'_>) -> std::result::Result<Vec<ArrowColumnChunk>, ExportError> {
        debug_assert_eq!(rows.table().as_str(), self.name);
        self.try_encode(rows).map_err(ExportError::parquet(Path::new(self.name)))
    }

    fn try_encode(&self, rows: Rows<'_>) -> Result<Vec<ArrowColumnChunk>> {
        let columns =
            match rows {
                Rows::Runs(runs) => runs_columns(runs),
                Rows::Params(runs) => pairs(runs.iter().flat_map(|run| {
                    run.params.iter().map(|(key, value)| (run.id, key.as_str(), value.as_str()))
                })),
                Rows::Tags(runs) => pairs(runs.iter().flat_map(|run| {
                    run.tags.iter().map(|(key, value)| (run.id, key.as_str(), value.as_str()))
                })),
                Rows::Points(series) => points(series),
            };
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        // The number of a row group matters to encrypted files only.
        let writers = self.factory.create_column_writers(0)?;
        let mut chunks = Vec::with_capacity(writers.len());
        for ((mut writer, field), column) in
            writers.into_iter().zip(self.schema.fields()).zip(batch.columns())
        {
            for leaf in compute_leaves(field, column)? {
                writer.write(&leaf)?;
            }
            chunks.push(writer.close()?);
        }
        Ok(chunks)
    }
}

/// Appends a row group to a file.
pub(super) fn append(writer: &mut SerializedFileWriter<File>, chunks: Vec<ArrowColumnChunk>) -> Result<()> {
    let mut group = writer.next_row_group()?;
    for chunk in chunks {
        chunk.append_to_row_group(&mut group)?;
    }
    group.close().map(|_| ())
}

fn runs_columns(runs: &[Run]) -> Vec<ArrayRef> {
    let all = || runs.iter();
    let texts = |texts: StringArray| Arc::new(texts) as ArrayRef;
    let times = |times: TimestampMicrosecondArray| Arc::new(times.with_timezone("UTC")) as ArrayRef;
    vec![
        texts(StringArray::from_iter_values(all().map(|run| run.id.to_string()))),
        texts(StringArray::from_iter_values(all().map(|run| run.project.as_str()))),
        texts(StringArray::from_iter_values(all().map(|run| run.experiment.as_str()))),
        texts(StringArray::from_iter_values(all().map(|run| run.name.as_str()))),
        texts(StringArray::from_iter_values(all().map(|run| run.status.as_str()))),
        texts(all().map(|run| run.user.as_deref()).collect()),
        times(all().map(|run| run.start_time).collect()),
        times(all().map(|run| run.end_time).collect()),
        texts(all().map(|run| run.parent.map(|parent| parent.to_string())).collect()),
        texts(all().map(|run| run.source.as_deref()).collect()),
        texts(all().map(|run| run.source_run_id.as_deref()).collect()),
        texts(all().map(|run| run.git_commit.as_deref()).collect()),
        Arc::new(all().map(|run| Some(run.deleted)).collect::<BooleanArray>()),
    ]
}

fn pairs<'a>(pairs: impl Iterator<Item = (RunId, &'a str, &'a str)>) -> Vec<ArrayRef> {
    let (mut runs, mut keys, mut values) = (StringBuilder::new(), StringBuilder::new(), StringBuilder::new());
    for (run, key, value) in pairs {
        runs.append_value(run.to_string());
        keys.append_value(key);
        values.append_value(value);
    }
    vec![Arc::new(runs.finish()), Arc::new(keys.finish()), Arc::new(values.finish())]
}

fn points(series: &[ExportedSeries]) -> Vec<ArrayRef> {
    let rows: usize = series.iter().map(|series| series.points.len()).sum();
    let (mut runs, mut metrics, mut contexts) =
        (StringBuilder::new(), StringBuilder::new(), StringBuilder::new());
    let mut attempts: Vec<i32> = Vec::with_capacity(rows);
    let (mut steps, mut times, mut values) =
        (Vec::with_capacity(rows), Vec::with_capacity(rows), Vec::with_capacity(rows));
    let mut fractions = Int32Array::builder(rows);
    for ExportedSeries { key, points, attempts: of_points } in series {
        let (run, count) = (key.run.to_string(), points.len());
        runs.append_value_n(&run, count);
        metrics.append_value_n(key.metric.as_str(), count);
        match &key.context {
            Some(context) => contexts.append_value_n(context.as_str(), count),
            None => contexts.append_nulls(count),
        }
        attempts.extend_from_slice(of_points);
        steps.extend_from_slice(&points.steps);
        times.extend_from_slice(&points.times);
        values.extend_from_slice(&points.values);
        match &points.step_fractions {
            Some(of_points) => of_points.iter().for_each(|fraction| fractions.append_option(*fraction)),
            None => fractions.append_nulls(count),
        }
    }
    vec![
        Arc::new(runs.finish()),
        Arc::new(metrics.finish()),
        Arc::new(contexts.finish()),
        Arc::new(arrow::array::PrimitiveArray::<Int32Type>::from(attempts)),
        Arc::new(Int64Array::from(steps)),
        Arc::new(fractions.finish()),
        Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")),
        Arc::new(Float64Array::from(values)),
    ]
}
