//! The rows of one table of an export, whatever form it is written in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::text::TextRows;
use super::{ExportForm, ExportTable, ExportedFile, Manifest};
use crate::columnar::{self, caught};
use crate::error::{ImportError, Result};
use crate::report::Reporter;
use crate::sink::Place;

const BATCH_ROWS: usize = 8_192;

/// A table, read from its first file to its last. What cannot be read is a rejection, and so is a file that has fewer or
/// more rows than the manifest says.
pub(super) struct Table<'a> {
    folder: &'a Path,
    form: ExportForm,
    schema: SchemaRef,
    files: std::vec::IntoIter<ExportedFile>,
    open: Option<OpenFile>,
    /// The file of the last batch.
    path: PathBuf,
    /// The numbers of the rows of the last batch in its file, from 1.
    numbers: Vec<u64>,
}

struct OpenFile {
    told: ExportedFile,
    rows: Rows,
    read: u64,
}

enum Rows {
    Parquet { reader: ParquetRecordBatchReader, bytes_a_row: u64 },
    Text(Box<TextRows>),
}

impl<'a> Table<'a> {
    pub(super) fn open(folder: &'a Path, manifest: &Manifest, table: ExportTable) -> Self {
        let files: Vec<ExportedFile> = manifest.files_of(table).cloned().collect();
        Self {
            folder,
            form: manifest.form,
            schema: table.schema(),
            files: files.into_iter(),
            open: None,
            path: folder.to_owned(),
            numbers: Vec::new(),
        }
    }

    /// The file and place of a row of the last batch.
    pub(super) fn place(&self, row: usize) -> (PathBuf, Place) {
        (self.path.clone(), self.numbers.get(row).map_or(Place::File, |number| Place::Row(*number)))
    }

    /// The next rows, with the columns of [`ExportTable::schema`].
    pub(super) fn next(&mut self, reporter: &mut Reporter<'_>) -> Result<Option<RecordBatch>> {
        loop {
            let Some(open) = &mut self.open else {
                let Some(told) = self.files.next() else { return Ok(None) };
                self.path = self.folder.join(&told.file);
                match open_rows(&self.path, self.form, &self.schema, &told, reporter) {
                    Ok(rows) => self.open = Some(OpenFile { told, rows, read: 0 }),
                    Err(error @ ImportError::Sink(_)) => return Err(error),
                    Err(error) => {
                        reporter.reject(&self.path, Place::File, error.code(), || error.to_string())?
                    }
                }
                continue;
            };
            let batch = match &mut open.rows {
                Rows::Parquet { reader, bytes_a_row } => {
                    let batch = parquet_batch(&self.path, reader, &self.schema);
                    if let Ok(Some(batch)) = &batch {
                        let rows = batch.num_rows() as u64;
                        reporter.bytes.add(usize::try_from(bytes_a_row.saturating_mul(rows)).unwrap_or(0));
                        let first = open.read.saturating_add(1);
                        open.read = open.read.saturating_add(rows);
                        self.numbers = (first..=open.read).collect();
                    }
                    batch
                }
                Rows::Text(rows) => {
                    let batch = rows.next(&self.path, reporter);
                    open.read = rows.rows();
                    self.numbers.clear();
                    self.numbers.extend_from_slice(rows.numbers());
                    batch
                }
            };
            match batch {
                Ok(Some(batch)) => return Ok(Some(batch)),
                Ok(None) => {
                    let (told, read) = (open.told.rows, open.read);
                    if told != read {
                        reporter.reject(&self.path, Place::File, "export.rows", || {
                            format!("the export says that the file has {told} rows, it has {read}")
                        })?;
                    }
                }
                Err(error @ ImportError::Sink(_)) => return Err(error),
                Err(error) => {
                    let place = Place::Row(open.read.saturating_add(1));
                    reporter.reject(&self.path, place, "file.cut", || {
                        format!("nothing behind this row can be read: {error}")
                    })?;
                }
            }
            self.open = None;
        }
    }
}

fn open_rows(
    path: &Path,
    form: ExportForm,
    schema: &SchemaRef,
    told: &ExportedFile,
    reporter: &Reporter<'_>,
) -> Result<Rows> {
    if form != ExportForm::Parquet {
        return Ok(Rows::Text(Box::new(TextRows::open(path, form, schema, BATCH_ROWS, reporter)?)));
    }
    let (builder, _, size) = columnar::open(path, reporter.limits)?;
    let reader =
        caught(path, || builder.with_batch_size(BATCH_ROWS).build().map_err(|error| error.to_string()))?;
    Ok(Rows::Parquet { reader, bytes_a_row: size / told.rows.max(1) })
}

/// The wanted columns of the next batch, by their names, in the wanted types.
fn parquet_batch(
    path: &Path,
    reader: &mut ParquetRecordBatchReader,
    schema: &SchemaRef,
) -> Result<Option<RecordBatch>> {
    caught(path, || {
        let Some(batch) = reader.next().transpose().map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let column = batch
                .column_by_name(field.name())
                .ok_or_else(|| format!("it has no column {}", field.name()))?;
            columns.push(if column.data_type() == field.data_type() {
                Arc::clone(column)
            } else {
                cast(column, field.data_type()).map_err(|error| error.to_string())?
            });
        }
        RecordBatch::try_new(Arc::clone(schema), columns).map(Some).map_err(|error| error.to_string())
    })
}
