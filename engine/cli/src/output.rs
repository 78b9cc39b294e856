//! Rows for people and programs.

use std::io::{IsTerminal, Write};

use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{JsonArray, LineDelimited};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use clap::ValueEnum;
use comfy_table::presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;

use crate::access::Rows;
use crate::exit::UsageError;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Boxes for a terminal
    Table,
    /// Comma-separated values with a header
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

/// Rows that a table shows at most; the other formats write all.
const TABLE_ROWS: usize = 1000;

/// Writes all rows to standard output; only a table holds them in memory.
pub(crate) async fn write(rows: Rows, format: Format) -> anyhow::Result<()> {
    let out = std::io::stdout();
    if matches!(format, Format::Arrow | Format::Parquet) && out.is_terminal() {
        return Err(
            UsageError("this format is binary; send it to a file: … > rows.parquet".to_owned()).into()
        );
    }
    let out = std::io::BufWriter::new(out);
    let notices = rows.notices.clone();
    let written = match format {
        Format::Table | Format::Markdown => write_table(rows, format, out).await,
        Format::Csv => write_csv(rows, out).await,
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

async fn write_table(mut rows: Rows, format: Format, mut out: impl Write) -> anyhow::Result<()> {
    let mut batches = Vec::new();
    let mut shown = 0;
    let mut more = false;
    while let Some(batch) = rows.batches.try_next().await? {
        let room = TABLE_ROWS - shown;
        more |= batch.num_rows() > room;
        shown += batch.num_rows().min(room);
        batches.push(batch.slice(0, batch.num_rows().min(room)));
        if more {
            break;
        }
    }
    writeln!(out, "{}", table(&rows.schema, &batches, format == Format::Markdown)?)?;
    if more {
        writeln!(out, "(the first {TABLE_ROWS} rows; use --format csv, ndjson or parquet for all)")?;
    }
    out.flush()?;
    Ok(())
}

/// The rows as a table for people.
pub(crate) fn table(schema: &SchemaRef, batches: &[RecordBatch], markdown: bool) -> anyhow::Result<Table> {
    let mut table = Table::new();
    table.load_preset(if markdown { ASCII_MARKDOWN } else { UTF8_FULL_CONDENSED });
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(schema.fields().iter().map(|field| Cell::new(field.name())));
    let options = FormatOptions::default().with_null("").with_display_error(true);
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            table.add_row(schema.fields().iter().zip(&columns).map(|(field, column)| {
                let text = column.value(row).to_string();
                let text = if is_number(field.data_type()) { text } else { shortened(&text) };
                let alignment =
                    if is_number(field.data_type()) { CellAlignment::Right } else { CellAlignment::Left };
                Cell::new(text).set_alignment(alignment)
            }));
        }
    }
    Ok(table)
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
}

/// Long texts are cut in tables, and line ends shown as such: one row is one line.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 120;
    let one_line = text.replace('\n', "⏎").replace('\r', "");
    if one_line.chars().count() <= LONGEST {
        return one_line;
    }
    one_line.chars().take(LONGEST - 1).chain(['…']).collect()
}

async fn write_csv(mut rows: Rows, out: impl Write) -> anyhow::Result<()> {
    if let Some(field) = rows.schema.fields().iter().find(|field| field.data_type().is_nested()) {
        return Err(UsageError(format!(
            "column {:?} is nested and CSV has no form for it; select its fields, or use --format json",
            field.name()
        ))
        .into());
    }
    let mut writer = WriterBuilder::new().with_header(true).build(out);
    let mut any = false;
    while let Some(batch) = rows.batches.try_next().await? {
        any = true;
        writer.write(&batch)?;
    }
    if !any {
        writer.write(&RecordBatch::new_empty(rows.schema))?;
    }
    Ok(())
}

async fn write_json(mut rows: Rows, mut out: impl Write) -> anyhow::Result<()> {
    let mut writer =
        arrow::json::WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(&mut out);
    while let Some(batch) = rows.batches.try_next().await? {
        writer.write(&batch)?;
    }
    writer.finish()?;
    writeln!(out)?;
    Ok(())
}

async fn write_ndjson(mut rows: Rows, out: impl Write) -> anyhow::Result<()> {
    let mut writer =
        arrow::json::WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(out);
    while let Some(batch) = rows.batches.try_next().await? {
        writer.write(&batch)?;
    }
    writer.finish()?;
    Ok(())
}

async fn write_arrow(mut rows: Rows, out: impl Write) -> anyhow::Result<()> {
    let mut writer = StreamWriter::try_new(out, &rows.schema)?;
    while let Some(batch) = rows.batches.try_next().await? {
        writer.write(&batch)?;
    }
    writer.finish()?;
    Ok(())
}

async fn write_parquet(mut rows: Rows, out: impl Write + Send) -> anyhow::Result<()> {
    let mut writer = ArrowWriter::try_new(out, rows.schema.clone(), None)?;
    while let Some(batch) = rows.batches.try_next().await? {
        writer.write(&batch)?;
    }
    writer.close()?;
    Ok(())
}
