//! What `runlake export` writes as tables, taken back exactly: the description of an export, and its source.
//!
//! An export is a folder with a manifest, [`MANIFEST`], and the tables `runs`, `params`, `tags` and `points` in Parquet,
//! CSV or JSON lines. Params and tags stand in the order of their runs, points in the order of their series, so that it
//! is read in one pass. The writing side is the crate `exporters`; what both must agree on stands here.

mod reading;
mod runs;
mod series;
mod text;

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::error::{ImportError, Result};
use crate::files;
use crate::limits::Limits;
use crate::report::Reporter;
use crate::sink::Place;
use crate::source::{Folder, Found, FoundUnit, Search, Source, SourceKind, Unit, Unrecognised};
use crate::table::TablePlan;

/// The name of the file that makes a folder an export; it is written last.
pub const MANIFEST: &str = "runlake-export.json";
/// What [`Manifest::what`] says.
pub const WHAT: &str = "runlake export";
/// The version of the layout. A reader takes this one and older ones.
pub const VERSION: u32 = 1;

/// The tables of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportTable {
    /// A row for each run.
    Runs,
    /// A row for each param of a run.
    Params,
    /// A row for each tag of a run.
    Tags,
    /// A row for each point.
    Points,
}

impl ExportTable {
    /// All of them, in the order in which they are read.
    pub const ALL: [Self; 4] = [Self::Runs, Self::Params, Self::Tags, Self::Points];

    /// The name of the table, which is the beginning of the names of its files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Params => "params",
            Self::Tags => "tags",
            Self::Points => "points",
        }
    }

    /// The columns. Times are microseconds since 1970 UTC; in text they are whole numbers.
    pub fn schema(self) -> SchemaRef {
        let required = |name: &str, data_type: DataType| Field::new(name, data_type, false);
        let optional = |name: &str, data_type: DataType| Field::new(name, data_type, true);
        let time = model::schema::timestamp;
        let fields = match self {
            Self::Runs => vec![
                required("run_id", DataType::Utf8),
                required("project", DataType::Utf8),
                required("experiment", DataType::Utf8),
                required("name", DataType::Utf8),
                required("status", DataType::Utf8),
                optional("user", DataType::Utf8),
                optional("start_time", time()),
                optional("end_time", time()),
                optional("parent_run_id", DataType::Utf8),
                optional("source", DataType::Utf8),
                optional("source_run_id", DataType::Utf8),
                optional("git_commit", DataType::Utf8),
                required("deleted", DataType::Boolean),
            ],
            Self::Params | Self::Tags => vec![
                required("run_id", DataType::Utf8),
                required("key", DataType::Utf8),
                required("value", DataType::Utf8),
            ],
            Self::Points => vec![
                required("run_id", DataType::Utf8),
                required("metric", DataType::Utf8),
                optional("context", DataType::Utf8),
                required("attempt", DataType::Int32),
                required("step", DataType::Int64),
                optional("step_frac", DataType::Int32),
                required("time", time()),
                required("value", DataType::Float64),
            ],
        };
        Arc::new(Schema::new(fields))
    }
}

/// How the tables of an export are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportForm {
    /// Apache Parquet: every bit is kept.
    Parquet,
    /// RFC 4180 with a header; nothing between commas is null, `""` is an empty text.
    Csv,
    /// An object a line; what is null is left out, numbers that JSON has not are texts.
    Jsonl,
    /// No tables: event files of TensorBoard.
    TensorBoard,
    /// No tables: a file store of MLflow.
    Mlflow,
}

/// A file of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedFile {
    /// Its name in the folder of the export.
    pub file: String,
    /// The table that it is a part of.
    pub table: ExportTable,
    /// Its rows.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Something that a form of export cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// A stable code, such as `point.step_fraction`.
    pub code: String,
    /// What became of it.
    pub message: String,
    /// How often.
    pub count: u64,
}

/// The description of an export: the content of [`MANIFEST`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`WHAT`].
    pub what: String,
    /// [`VERSION`].
    pub version: u32,
    /// The form.
    pub form: ExportForm,
    /// Which runs were chosen, as the user wrote it; all where empty.
    #[serde(default)]
    pub selection: String,
    /// Which metrics were chosen; all where empty.
    #[serde(default)]
    pub metrics: String,
    /// Runs.
    pub runs: u64,
    /// Series.
    pub series: u64,
    /// Points.
    pub points: u64,
    /// The files of tables, each table's in the order in which they are read.
    pub files: Vec<ExportedFile>,
    /// What is not in the export, or differs, because the form cannot hold it.
    #[serde(default)]
    pub losses: Vec<Loss>,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// The reason, when it is none, is of a newer version, or names files outside of its folder.
    pub fn parse(content: &[u8]) -> std::result::Result<Self, String> {
        let manifest: Self = serde_json::from_slice(content).map_err(|error| error.to_string())?;
        if manifest.what != WHAT {
            return Err(format!("it is no {WHAT}"));
        }
        if manifest.version > VERSION {
            return Err(format!(
                "it has version {}, this program reads up to {VERSION}; import it with a newer one",
                manifest.version
            ));
        }
        for ExportedFile { file, .. } in &manifest.files {
            let mut parts = Path::new(file).components();
            if !matches!((parts.next(), parts.next()), (Some(Component::Normal(name)), None) if name == file.as_str())
            {
                return Err(format!(
                    "{:?} is no name of a file in its folder",
                    crate::error::beginning(file)
                ));
            }
        }
        Ok(manifest)
    }

    fn read(folder: &Path, limits: &Limits) -> Result<Self> {
        let file = folder.join(MANIFEST);
        Self::parse(&files::read_whole(&file, limits)?)
            .map_err(|reason| ImportError::unreadable(&file, "a Runlake export", reason))
    }

    fn files_of(&self, table: ExportTable) -> impl Iterator<Item = &ExportedFile> {
        self.files.iter().filter(move |file| file.table == table)
    }
}

/// The source.
pub(crate) struct Exported;

impl Source for Exported {
    fn kind(&self) -> SourceKind {
        SourceKind::Runlake
    }

    fn folder(&self, folder: &Folder<'_>, search: &Search<'_>) -> Option<Found> {
        if !folder.files.iter().any(|name| name == MANIFEST) {
            return None;
        }
        let path = folder.path;
        let manifest = match Manifest::read(path, search.limits) {
            Ok(manifest) => manifest,
            Err(error) => {
                let left = vec![Unrecognised::of_error(path.to_owned(), &error)];
                return Some(Found { left, ..Found::default() });
            }
        };
        // Event files and file stores are read as what they are.
        if matches!(manifest.form, ExportForm::TensorBoard | ExportForm::Mlflow) {
            return None;
        }
        let tables = ExportTable::ALL.into_iter().flat_map(|table| manifest.files_of(table));
        let names = std::iter::once(MANIFEST).chain(tables.map(|file| file.file.as_str()));
        let files: Vec<PathBuf> = names.map(|name| path.join(name)).collect();
        let bytes = manifest.files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.bytes));
        let unit = Unit::new(self.kind(), path.to_owned(), search.folder_name(path), files);
        Some(vec![FoundUnit { store: search.root.to_owned(), unit, bytes }].into())
    }

    fn read(&self, unit: &Unit, _: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        let folder = unit.path.as_path();
        let manifest = Manifest::read(folder, reporter.limits)?;
        let table = |table| reading::Table::open(folder, &manifest, table);
        let known = runs::read(
            table(ExportTable::Runs),
            table(ExportTable::Params),
            table(ExportTable::Tags),
            reporter,
        )?;
        series::read(table(ExportTable::Points), &known, reporter)?;
        for loss in &manifest.losses {
            let Loss { code, message, count } = loss;
            reporter.remark(folder, Place::File, "export.loss", code, *count, || {
                format!("told by the export: {message}")
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_of_strangers_name_no_files_elsewhere() {
        let with = |file: &str, version: u32, what: &str| {
            let text = format!(
                r#"{{"what":{what:?},"version":{version},"form":"csv","runs":0,"series":0,"points":0,
                   "files":[{{"file":{file:?},"table":"runs","rows":1,"bytes":1}}]}}"#
            );
            Manifest::parse(text.as_bytes())
        };
        assert!(with("runs.csv", VERSION, WHAT).is_ok());
        for file in ["../runs.csv", "/etc/passwd", "a/b.csv", "", ".", "runs.csv/"] {
            assert!(with(file, VERSION, WHAT).is_err(), "{file}");
        }
        assert!(with("runs.csv", VERSION + 1, WHAT).unwrap_err().contains("newer"));
        assert!(with("runs.csv", VERSION, "another").is_err());
        assert!(Manifest::parse(b"{}").is_err());
    }
}
