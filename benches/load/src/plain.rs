//! The same corpus as plain tables in Parquet files, as somebody would load them into another engine.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder, Int64Builder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datasets::SyntheticRun;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::error::{Result, io};

/// Rows that are written at once.
const ROWS: usize = 1 << 20;

/// The files while they are written: runs, params, tags, points.
pub(crate) struct PlainTables {
    runs: Table,
    params: Table,
    tags: Table,
    points: Table,
}

enum Column {
    Text(StringBuilder),
    Whole(Int64Builder),
    Number(Float64Builder),
}

struct Table {
    schema: SchemaRef,
    columns: Vec<Column>,
    rows: usize,
    writer: ArrowWriter<File>,
}

/// A value of a column.
enum Cell<'a> {
    Text(&'a str),
    Whole(Option<i64>),
    Number(Option<f64>),
}

impl Table {
    fn create(path: PathBuf, fields: &[(&str, DataType)]) -> Result<Self> {
        let fields: Vec<Field> =
            fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let file = File::create(&path).map_err(io(format!("write {}", path.display())))?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))?;
        let columns = empty(&schema);
        Ok(Self { schema, columns, rows: 0, writer })
    }

    fn push(&mut self, cells: &[Cell<'_>]) -> Result<()> {
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            match (column, cell) {
                (Column::Text(builder), Cell::Text(text)) => builder.append_value(text),
                (Column::Whole(builder), Cell::Whole(number)) => builder.append_option(*number),
                (Column::Number(builder), Cell::Number(number)) => builder.append_option(*number),
                // A cell of another type than its column is a mistake in this file; the row count would show it.
                _ => {}
            }
        }
        self.rows += 1;
        if self.rows >= ROWS { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<()> {
        self.rows = 0;
        let columns = std::mem::replace(&mut self.columns, empty(&self.schema));
        let finish = |column| -> ArrayRef {
            match column {
                Column::Text(mut builder) => Arc::new(builder.finish()),
                Column::Whole(mut builder) => Arc::new(builder.finish()),
                Column::Number(mut builder) => Arc::new(builder.finish()),
            }
        };
        let batch =
            RecordBatch::try_new(Arc::clone(&self.schema), columns.into_iter().map(finish).collect())?;
        self.writer.write(&batch)?;
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.write()?;
        self.writer.close()?;
        Ok(())
    }
}

fn empty(schema: &SchemaRef) -> Vec<Column> {
    let column = |field: &Arc<Field>| match field.data_type() {
        DataType::Int64 => Column::Whole(Int64Builder::new()),
        DataType::Float64 => Column::Number(Float64Builder::new()),
        _ => Column::Text(StringBuilder::new()),
    };
    schema.fields().iter().map(column).collect()
}

impl PlainTables {
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        let folder = folder.join("plain");
        std::fs::create_dir_all(&folder).map_err(io("make the folder of plain tables"))?;
        let text = || DataType::Utf8;
        let (whole, number) = (|| DataType::Int64, || DataType::Float64);
        Ok(Self {
            runs: Table::create(
                folder.join("runs.parquet"),
                &[
                    ("run_id", text()),
                    ("experiment", text()),
                    ("project", text()),
                    ("name", text()),
                    ("usr", text()),
                    ("status", text()),
                    ("host", text()),
                    ("start_ms", whole()),
                    ("end_ms", whole()),
                ],
            )?,
            params: Table::create(
                folder.join("params.parquet"),
                &[("run_id", text()), ("key", text()), ("value", text()), ("value_num", number())],
            )?,
            tags: Table::create(
                folder.join("tags.parquet"),
                &[("run_id", text()), ("key", text()), ("value", text())],
            )?,
            points: Table::create(
                folder.join("points.parquet"),
                &[
                    ("run_id", text()),
                    ("key", text()),
                    ("step", whole()),
                    ("ts_ms", whole()),
                    ("value", number()),
                ],
            )?,
        })
    }

    pub(crate) fn add(&mut self, run: &SyntheticRun) -> Result<()> {
        self.runs.push(&[
            Cell::Text(&run.id),
            Cell::Text(&run.experiment),
            Cell::Text(&run.project),
            Cell::Text(&run.name),
            Cell::Text(&run.user),
            Cell::Text(run.status.as_str()),
            Cell::Text(&run.host),
            Cell::Whole(Some(run.start_us / 1000)),
            Cell::Whole(run.end_us.map(|end| end / 1000)),
        ])?;
        for (key, value) in &run.params {
            let number = Cell::Number(value.trim().parse().ok());
            self.params.push(&[Cell::Text(&run.id), Cell::Text(key), Cell::Text(value), number])?;
        }
        for (key, value) in &run.tags {
            self.tags.push(&[Cell::Text(&run.id), Cell::Text(key), Cell::Text(value)])?;
        }
        for series in run.metrics() {
            let points = series.steps.iter().zip(&series.times_us).zip(&series.values);
            for ((step, time), value) in points {
                self.points.push(&[
                    Cell::Text(&run.id),
                    Cell::Text(&series.key),
                    Cell::Whole(Some(*step)),
                    Cell::Whole(Some(time / 1000)),
                    Cell::Number(Some(*value)),
                ])?;
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<()> {
        for table in [self.runs, self.params, self.tags, self.points] {
            table.finish()?;
        }
        Ok(())
    }
}
