//! Exports as tables: `runs`, `params`, `tags` and `points` in Parquet, CSV or JSON lines.

mod columns;
mod text;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use importers::exported::{ExportForm, ExportTable, ExportedFile};
use model::Run;
use parquet::arrow::arrow_writer::ArrowColumnChunk;
use parquet::file::writer::SerializedFileWriter;

use crate::error::{ExportError, Result};
use crate::export::ExportedSeries;
use crate::losses::Losses;

/// How text is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// `.gz`, RFC 1952.
    Gzip,
    /// `.zst`, RFC 8878.
    Zstd,
}

/// Runs that are gathered before they are encoded.
const BATCH_RUNS: usize = 4_096;
/// A file that has grown to so many bytes is followed by another one.
const FILE_BYTES: u64 = 1 << 30;

/// Encoded rows of one table.
#[derive(Debug)]
pub(crate) struct Encoded {
    rows: u64,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// Whole lines, packed.
    Bytes(Vec<u8>),
    /// A row group.
    Columns(Vec<ArrowColumnChunk>),
}

/// Rows to encode.
#[derive(Clone, Copy)]
enum Rows<'a> {
    Runs(&'a [Run]),
    Params(&'a [Run]),
    Tags(&'a [Run]),
    Points(&'a [ExportedSeries]),
}

impl Rows<'_> {
    fn table(self) -> ExportTable {
        match self {
            Self::Runs(_) => ExportTable::Runs,
            Self::Params(_) => ExportTable::Params,
            Self::Tags(_) => ExportTable::Tags,
            Self::Points(_) => ExportTable::Points,
        }
    }

    fn count(self) -> usize {
        match self {
            Self::Runs(runs) => runs.len(),
            Self::Params(runs) => runs.iter().map(|run| run.params.len()).sum(),
            Self::Tags(runs) => runs.iter().map(|run| run.tags.len()).sum(),
            Self::Points(series) => series.iter().map(|series| series.points.len()).sum(),
        }
    }
}

/// Encodes rows of one table.
#[derive(Clone)]
pub(crate) struct Encoder(Arc<Encoding>);

enum Encoding {
    Parquet(columns::RowGroups),
    Text(text::Style, Compression),
}

impl Encoder {
    fn new(form: ExportForm, compression: Compression, table: ExportTable) -> Result<Self> {
        Ok(Self(Arc::new(match form {
            ExportForm::Csv => Encoding::Text(text::Style::Csv, compression),
            ExportForm::Jsonl => Encoding::Text(text::Style::JsonLines, compression),
            _ => Encoding::Parquet(columns::RowGroups::new(table)?),
        })))
    }

    fn encode(&self, rows: Rows<'_>, losses: &mut Losses) -> Result<Encoded> {
        let body = match self.0.as_ref() {
            Encoding::Parquet(groups) => Body::Columns(groups.encode(rows)?),
            Encoding::Text(style, compression) => {
                let mut out = Vec::new();
                style.encode(rows, &mut out, losses);
                Body::Bytes(packed(out, *compression)?)
            }
        };
        Ok(Encoded { rows: rows.count() as u64, body })
    }

    /// Encodes points.
    pub(crate) fn points(&self, series: &[ExportedSeries], losses: &mut Losses) -> Result<Encoded> {
        self.encode(Rows::Points(series), losses)
    }

    /// What stands at the beginning of each file.
    fn beginning(&self, table: ExportTable) -> Result<Vec<u8>> {
        match self.0.as_ref() {
            Encoding::Text(text::Style::Csv, compression) => packed(text::header(table), *compression),
            _ => Ok(Vec::new()),
        }
    }
}

/// A member of gzip or a frame of Zstandard by itself: packed one by one on any thread, they make one file together.
fn packed(bytes: Vec<u8>, compression: Compression) -> Result<Vec<u8>> {
    let failed = |source| ExportError::Io { path: PathBuf::from("points"), action: "packing", source };
    match compression {
        Compression::None => Ok(bytes),
        Compression::Gzip => {
            let out = Vec::with_capacity(bytes.len() / 4);
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::new(6));
            encoder.write_all(&bytes).and_then(|()| encoder.finish()).map_err(failed)
        }
        Compression::Zstd => zstd::bulk::compress(&bytes, 3).map_err(failed),
    }
}

/// The tables of an export.
pub(crate) struct Tables {
    runs: Table,
    params: Table,
    tags: Table,
    points: Table,
    waiting: Vec<Run>,
}

impl Tables {
    pub(crate) fn new(folder: &Path, form: ExportForm, compression: Compression) -> Result<Self> {
        let table = |table| Table::new(folder, form, compression, table);
        Ok(Self {
            runs: table(ExportTable::Runs)?,
            params: table(ExportTable::Params)?,
            tags: table(ExportTable::Tags)?,
            points: table(ExportTable::Points)?,
            waiting: Vec::new(),
        })
    }

    pub(crate) fn run(&mut self, run: &Run) -> Result<()> {
        self.waiting.push(run.clone());
        if self.waiting.len() >= BATCH_RUNS { self.write_runs() } else { Ok(()) }
    }

    fn write_runs(&mut self) -> Result<()> {
        let runs = std::mem::take(&mut self.waiting);
        for (table, rows) in [
            (&mut self.runs, Rows::Runs(&runs)),
            (&mut self.params, Rows::Params(&runs)),
            (&mut self.tags, Rows::Tags(&runs)),
        ] {
            let encoded = table.encoder.encode(rows, &mut Losses::default())?;
            table.append(encoded)?;
        }
        Ok(())
    }

    pub(crate) fn points_encoder(&mut self) -> Result<Encoder> {
        self.write_runs()?;
        Ok(self.points.encoder.clone())
    }

    pub(crate) fn append_points(&mut self, rows: Encoded) -> Result<()> {
        self.points.append(rows)
    }

    pub(crate) fn finish(mut self) -> Result<Vec<ExportedFile>> {
        self.write_runs()?;
        let mut files = Vec::new();
        for table in [self.runs, self.params, self.tags, self.points] {
            files.extend(table.finish()?);
        }
        Ok(files)
    }
}

/// The files of one table, one after another. There is one at least, so that every table can be read.
struct Table {
    folder: PathBuf,
    table: ExportTable,
    ending: String,
    encoder: Encoder,
    open: Option<OpenFile>,
    finished: Vec<ExportedFile>,
}

struct OpenFile {
    path: PathBuf,
    name: String,
    rows: u64,
    writer: Writer,
}

enum Writer {
    Text { file: BufWriter<File>, bytes: u64 },
    Parquet(Box<SerializedFileWriter<File>>),
}

impl Table {
    fn new(folder: &Path, form: ExportForm, compression: Compression, table: ExportTable) -> Result<Self> {
        let packing = match compression {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Zstd => ".zst",
        };
        let format = match form {
            ExportForm::Csv => "csv",
            ExportForm::Jsonl => "jsonl",
            _ => "parquet",
        };
        Ok(Self {
            folder: folder.to_owned(),
            table,
            ending: format!("{format}{packing}"),
            encoder: Encoder::new(form, compression, table)?,
            open: None,
            finished: Vec::new(),
        })
    }

    fn open(&mut self) -> Result<&mut OpenFile> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let number = self.finished.len() + 1;
                let name = match number {
                    1 => format!("{}.{}", self.table.as_str(), self.ending),
                    _ => format!("{}-{number}.{}", self.table.as_str(), self.ending),
                };
                let path = self.folder.join(&name);
                let file = File::create_new(&path).map_err(ExportError::io(&path, "making the file"))?;
                let writer = match self.encoder.0.as_ref() {
                    Encoding::Parquet(groups) => {
                        Writer::Parquet(Box::new(groups.writer(file).map_err(ExportError::parquet(&path))?))
                    }
                    Encoding::Text(..) => {
                        let beginning = self.encoder.beginning(self.table)?;
                        let mut file = BufWriter::new(file);
                        file.write_all(&beginning).map_err(ExportError::io(&path, "writing"))?;
                        Writer::Text { file, bytes: beginning.len() as u64 }
                    }
                };
                OpenFile { path, name, rows: 0, writer }
            }
        };
        Ok(self.open.insert(open))
    }

    fn append(&mut self, Encoded { rows, body }: Encoded) -> Result<()> {
        let open = self.open()?;
        if rows == 0 {
            return Ok(());
        }
        open.rows += rows;
        let bytes = match (&mut open.writer, body) {
            (Writer::Text { file, bytes }, Body::Bytes(content)) => {
                file.write_all(&content).map_err(ExportError::io(&open.path, "writing"))?;
                *bytes += content.len() as u64;
                *bytes
            }
            (Writer::Parquet(writer), Body::Columns(chunks)) => {
                columns::append(writer, chunks).map_err(ExportError::parquet(&open.path))?;
                writer.bytes_written() as u64
            }
            _ => {
                let reason = "the rows were encoded for another export".to_owned();
                return Err(ExportError::Options { reason });
            }
        };
        if bytes >= FILE_BYTES { self.close() } else { Ok(()) }
    }

    fn close(&mut self) -> Result<()> {
        let Some(OpenFile { path, name, rows, writer }) = self.open.take() else { return Ok(()) };
        let file = match writer {
            Writer::Text { file, .. } => {
                file.into_inner().map_err(|error| ExportError::io(&path, "writing")(error.into_error()))?
            }
            Writer::Parquet(writer) => writer.into_inner().map_err(ExportError::parquet(&path))?,
        };
        file.sync_all().map_err(ExportError::io(&path, "syncing"))?;
        let bytes = file.metadata().map_err(ExportError::io(&path, "looking at it"))?.len();
        self.finished.push(ExportedFile { file: name, table: self.table, rows, bytes });
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<ExportedFile>> {
        if self.finished.is_empty() {
            self.open()?;
        }
        self.close()?;
        Ok(self.finished)
    }
}
