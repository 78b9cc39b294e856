//! Rows for people and programs.

mod cells;
mod csv;

use std::io::{IsTerminal, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{JsonArray, LineDelimited};
use clap::ValueEnum;
use comfy_table::presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;

use crate::access::Rows;
use crate::exit::UsageError;
use cells::Cells;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Boxes for a terminal
    Table,
    /// Comma-separated values with a header; structs and lists as JSON
    Csv,
    /// One JSON array of objects
    Json,
    /// One JSON object a line
    Ndjson,
    /// A Markdown table
    Markdown,
    /// An Arrow IPC stream
    Arrow,
    /// A Parquet file
    Parquet,
}

/// A format, and how rows stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) format: Format,
    /// Each row as lines of name and value; for people only.
    pub(crate) expanded: bool,
}

impl Style {
    pub(crate) fn of(format: Format) -> Self {
        Self { format, expanded: false }
    }
}

/// Rows that a table shows at most; the other formats write all.
const TABLE_ROWS: usize = 1000;
/// Keys of a struct that a cell may show without a word about those that do not fit.
const KEYS_SHOWN: usize = 64;

/// Writes all rows to standard output and gives back how many; only a table holds them in memory.
pub(crate) async fn write(rows: Rows, style: Style) -> anyhow::Result<u64> {
    let out = std::io::stdout();
    let format = style.format;
    if matches!(format, Format::Arrow | Format::Parquet) && out.is_terminal() {
        return Err(
            UsageError("this format is binary; send it to a file: … > rows.parquet".to_owned()).into()
        );
    }
    let out = std::io::BufWriter::new(out);
    let notices = rows.notices.clone();
    let written = match format {
        // What has no columns is no answer to a question.
        Format::Table | Format::Markdown | Format::Csv if rows.schema.fields().is_empty() => Ok(0),
        Format::Table if style.expanded => write_expanded(rows, out).await,
        Format::Table | Format::Markdown => write_table(rows, format, out).await,
        Format::Csv => csv::write(rows, out).await,
        Format::Json => write_json(rows, out).await,
        Format::Ndjson => write_ndjson(rows, out).await,
        Format::Arrow => write_arrow(rows, out).await,
        Format::Parquet => write_parquet(rows, out).await,
    };
    for notice in notices.all() {
        eprintln!("notice: {notice}");
    }
    written
}

/// The rows that a person can look at, and whether there are more.
async fn first_rows(rows: &mut Rows) -> anyhow::Result<(Vec<RecordBatch>, usize, bool)> {
    let mut batches = Vec::new();
    let mut shown = 0;
    while let Some(batch) = rows.batches.try_next().await? {
        let room = TABLE_ROWS - shown;
        shown += batch.num_rows().min(room);
        batches.push(batch.slice(0, batch.num_rows().min(room)));
        if batch.num_rows() > room {
            return Ok((batches, shown, true));
        }
    }
    Ok((batches, shown, false))
}

async fn write_table(mut rows: Rows, format: Format, mut out: impl Write) -> anyhow::Result<u64> {
    let (batches, shown, more) = first_rows(&mut rows).await?;
    writeln!(out, "{}", table(&rows.schema, &batches, format == Format::Markdown)?)?;
    tell_what_is_left_out(&rows.schema, more, &mut out)?;
    out.flush()?;
    Ok(shown as u64)
}

async fn write_expanded(mut rows: Rows, mut out: impl Write) -> anyhow::Result<u64> {
    let (batches, shown, more) = first_rows(&mut rows).await?;
    let width = rows.schema.fields().iter().map(|field| field.name().chars().count()).max().unwrap_or(0);
    let mut number = 0;
    for batch in &batches {
        let columns = batch.columns().iter().map(Cells::new).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            number += 1;
            writeln!(out, "── row {number} ──")?;
            for (field, column) in rows.schema.fields().iter().zip(&columns) {
                writeln!(out, "{:width$} │ {}", field.name(), column.text(row))?;
            }
        }
    }
    tell_what_is_left_out(&rows.schema, more, &mut out)?;
    out.flush()?;
    Ok(shown as u64)
}

fn tell_what_is_left_out(schema: &Schema, more: bool, out: &mut impl Write) -> anyhow::Result<()> {
    for field in schema.fields() {
        if let DataType::Struct(keys) = field.data_type()
            && keys.len() > KEYS_SHOWN
        {
            let name = field.name();
            writeln!(
                out,
                "({name} has {} keys and shows what fits; name the ones you want, such as {name}['{}'], or use \
                 --format ndjson)",
                keys.len(),
                keys[0].name()
            )?;
        }
    }
    if more {
        writeln!(out, "(the first {TABLE_ROWS} rows; use --format csv, ndjson or parquet for all)")?;
    }
    Ok(())
}

/// The rows as a table for people.
pub(crate) fn table(schema: &SchemaRef, batches: &[RecordBatch], markdown: bool) -> anyhow::Result<Table> {
    let mut table = Table::new();
    table.load_preset(if markdown { ASCII_MARKDOWN } else { UTF8_FULL_CONDENSED });
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(schema.fields().iter().map(|field| Cell::new(field.name())));
    for batch in batches {
        let columns = batch.columns().iter().map(Cells::new).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            table.add_row(schema.fields().iter().zip(&columns).map(|(field, column)| {
                let alignment = match field.data_type().is_numeric() {
                    true => CellAlignment::Right,
                    false => CellAlignment::Left,
                };
                Cell::new(column.text(row)).set_alignment(alignment)
            }));
        }
    }
    Ok(table)
}

async fn write_json(mut rows: Rows, mut out: impl Write) -> anyhow::Result<u64> {
    let mut written = 0;
    let mut writer =
        arrow::json::WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(&mut out);
    while let Some(batch) = rows.batches.try_next().await? {
        written += batch.num_rows() as u64;
        writer.write(&batch)?;
    }
    writer.finish()?;
    writeln!(out)?;
    out.flush()?;
    Ok(written)
}

async fn write_ndjson(mut rows: Rows, mut out: impl Write) -> anyhow::Result<u64> {
    let mut written = 0;
    let mut writer =
        arrow::json::WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut out);
    while let Some(batch) = rows.batches.try_next().await? {
        written += batch.num_rows() as u64;
        writer.write(&batch)?;
    }
    writer.finish()?;
    out.flush()?;
    Ok(written)
}

async fn write_arrow(mut rows: Rows, out: impl Write) -> anyhow::Result<u64> {
    let mut written = 0;
    let mut writer = StreamWriter::try_new(out, &rows.schema)?;
    while let Some(batch) = rows.batches.try_next().await? {
        written += batch.num_rows() as u64;
        writer.write(&batch)?;
    }
    writer.finish()?;
    Ok(written)
}

async fn write_parquet(mut rows: Rows, out: impl Write + Send) -> anyhow::Result<u64> {
    let mut written = 0;
    let mut writer = ArrowWriter::try_new(out, rows.schema.clone(), None)?;
    while let Some(batch) = rows.batches.try_next().await? {
        written += batch.num_rows() as u64;
        writer.write(&batch)?;
    }
    writer.close()?;
    Ok(written)
}
