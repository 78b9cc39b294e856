//! Segments of all tables but `points`: record batches in, record batches out, under the same seal.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute;
use arrow::datatypes::{DataType, Schema};
use futures::TryStreamExt;
use model::schema::Table;
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::file::properties::{BloomFilterPosition, EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::seal::{self, CheckedBytes, SealedFile};
use super::statistics::FileStatistics;
use super::{CREATED_BY, Effort, EncodedSegment, PAGE_ROWS, ROW_GROUP_ROWS, Result, SegmentError};

/// Encodes rows of a table into a segment. The order of the rows is kept.
///
/// # Errors
/// [`SegmentError::Input`] when the batch does not have the schema of the table.
pub fn write_batch(table: Table, batch: &RecordBatch) -> Result<EncodedSegment> {
    write_batch_with(table, batch, Vec::new())
}

/// The same with keys and values in the footer, under its seal.
///
/// # Errors
/// As [`write_batch`].
pub fn write_batch_with(
    table: Table,
    batch: &RecordBatch,
    metadata: Vec<(String, String)>,
) -> Result<EncodedSegment> {
    let name = table.name();
    let schema = table.schema();
    if shape(batch.schema_ref()) != shape(&schema) {
        let reason = format!("its schema is {:?}", batch.schema_ref());
        return Err(SegmentError::Input { table: name, reason });
    }
    // Takes over the nullability of the table and refuses nulls where it has none.
    let batch = RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec())
        .map_err(|error| SegmentError::Input { table: name, reason: error.to_string() })?;
    let mut properties = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Effort::Quick.compression())
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
        .set_bloom_filter_position(BloomFilterPosition::End);
    for field in schema.fields().iter().filter(|field| field.data_type() == &DataType::Float64) {
        // Bounds of doubles leave out NaN: whoever prunes by them is wrong.
        properties = properties
            .set_column_statistics_enabled(ColumnPath::from(field.name().as_str()), EnabledStatistics::None);
    }
    let options =
        ArrowWriterOptions::new().with_properties(properties.build()).with_skip_arrow_metadata(true);
    let failed = |error| SegmentError::parquet(name, error);
    let mut writer =
        ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema), options).map_err(failed)?;
    writer.write(&batch).map_err(failed)?;
    let bytes = seal::finish(writer, name, metadata)?;
    let rows = batch.num_rows() as u64;
    let mut statistics = FileStatistics::new(rows);
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        statistics.nulls(field.name(), column.null_count() as u64);
    }
    Ok(EncodedSegment::new(bytes, rows, statistics.into_json(), name))
}

/// Reads and checks a whole segment of `size` bytes.
///
/// # Errors
/// [`SegmentError::Missing`] and [`SegmentError::Corrupt`] name the file and its damaged part.
pub async fn read_all(
    table: Table,
    store: Arc<dyn ObjectStore>,
    path: &Path,
    size: u64,
) -> Result<RecordBatch> {
    Ok(read_sealed(table, store, path, size).await?.0)
}

/// The same with the opened file, whose footer may hold more.
///
/// # Errors
/// As [`read_all`].
pub(crate) async fn read_sealed(
    table: Table,
    store: Arc<dyn ObjectStore>,
    path: &Path,
    size: u64,
) -> Result<(RecordBatch, Arc<SealedFile>)> {
    let file = Arc::new(SealedFile::open(store.as_ref(), path, size, table.name()).await?);
    let schema = table.schema();
    if shape(file.metadata().schema()) != shape(&schema) {
        return Err(file.corrupt("schema", format!("it is not that of {}", table.name())));
    }
    let bytes = CheckedBytes { file: Arc::clone(&file), store };
    let batches: Vec<RecordBatch> =
        ParquetRecordBatchStreamBuilder::new_with_metadata(bytes, file.metadata().clone())
            .with_batch_size(ROW_GROUP_ROWS)
            .build()
            .map_err(|error| SegmentError::parquet(path.as_ref(), error))?
            .try_collect()
            .await
            .map_err(|error| SegmentError::parquet(path.as_ref(), error))?;
    let rows = compute::concat_batches(file.metadata().schema(), &batches)
        .and_then(|batch| RecordBatch::try_new(schema, batch.columns().to_vec()))
        .map_err(|error| file.corrupt("record batch", error.to_string()))?;
    Ok((rows, file))
}

/// Names and types of the columns, without nullability and metadata.
fn shape(schema: &Schema) -> Vec<(&str, &DataType)> {
    schema.fields().iter().map(|field| (field.name().as_str(), field.data_type())).collect()
}
