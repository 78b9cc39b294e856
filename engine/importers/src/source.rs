//! Kinds of sources behind one trait: which files are theirs, which belong together, how they are planned and read.
//!
//! To add one, write a module with a type that implements [`Source`], give it a [`SourceKind`] and a place in
//! [`SOURCES`].

use std::cell::OnceCell;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use crate::error::{ImportError, Result};
use crate::files;
use crate::limits::Limits;
use crate::report::Reporter;
use crate::sqlite;
use crate::table::TablePlan;
use crate::table::mapping::Mapping;
use crate::{
    aslib, dvclive, exported, huggingface, lightning, lm_eval, megatron, mlflow, mlperf, monitor, neptune,
    open_lm, optuna, ray, sacred, search, table, tensorboard, trackio, wandb,
};

/// The kinds of files that can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceKind {
    /// Tables that `runlake export` wrote.
    Runlake,
    /// TensorBoard event files; each folder with event files is a run.
    TensorBoard,
    /// An MLflow store: a folder (`mlruns`) or a SQLite file.
    Mlflow,
    /// A Hugging Face `trainer_state.json`.
    HuggingFace,
    /// `.wandb` files of Weights & Biases.
    Wandb,
    /// Parquet files of a run's history that W&B's client downloaded.
    WandbHistory,
    /// Parquet files of the Neptune exporter.
    Neptune,
    /// An Optuna storage: a SQLite file or a journal.
    Optuna,
    /// `metrics.csv` and `hparams.yaml` of Lightning's CSV logger.
    Lightning,
    /// A folder of DVCLive with its tables in `plots/metrics`.
    Dvclive,
    /// A trial folder of Ray Tune.
    Ray,
    /// A run folder of Sacred's file storage.
    Sacred,
    /// A SQLite file of Trackio.
    Trackio,
    /// An MLPerf log with `:::MLLOG` records.
    Mlperf,
    /// A search of BOHB: `results.json` and `configs.json`.
    Bohb,
    /// A `runhistory.json` of SMAC.
    Smac,
    /// A search that DeepCAVE recorded: `history.jsonl` and `configs.json`.
    DeepCave,
    /// A history of AMLTK in Parquet.
    Amltk,
    /// A `monitor.csv` of stable-baselines3.
    Monitor,
    /// Golden values of Megatron-LM.
    Megatron,
    /// Results of the lm-evaluation-harness.
    LmEval,
    /// A model of an OpenLM study with its evaluations.
    OpenLm,
    /// An `algorithm_runs.arff` of the Algorithm Selection Library.
    Aslib,
    /// Delimited text.
    Csv,
    /// One JSON object a line.
    JsonLines,
    /// A JSON document with runs or rows.
    Json,
    /// Apache Parquet.
    Parquet,
    /// A file or stream in Arrow's own format.
    Arrow,
    /// Lines of free text that match the user's expression.
    Lines,
}

impl SourceKind {
    /// The word for this kind, which is also the `source` of its runs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Runlake => "runlake",
            Self::TensorBoard => "tensorboard",
            Self::Mlflow => "mlflow",
            Self::HuggingFace => "huggingface",
            Self::Wandb => "wandb",
            Self::WandbHistory => "wandb-history",
            Self::Neptune => "neptune",
            Self::Optuna => "optuna",
            Self::Lightning => "lightning",
            Self::Dvclive => "dvclive",
            Self::Ray => "ray",
            Self::Sacred => "sacred",
            Self::Trackio => "trackio",
            Self::Mlperf => "mlperf",
            Self::Bohb => "bohb",
            Self::Smac => "smac",
            Self::DeepCave => "deepcave",
            Self::Amltk => "amltk",
            Self::Monitor => "monitor",
            Self::Megatron => "megatron",
            Self::LmEval => "lm-eval",
            Self::OpenLm => "open-lm",
            Self::Aslib => "aslib",
            Self::Csv => "csv",
            Self::JsonLines => "jsonl",
            Self::Json => "json",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
            Self::Lines => "lines",
        }
    }

    /// Whether columns of this kind are given meanings by a mapping.
    pub fn is_table(self) -> bool {
        matches!(self, Self::Csv | Self::JsonLines | Self::Json | Self::Parquet | Self::Arrow | Self::Lines)
    }

    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        SOURCES.iter().map(|source| source.kind())
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is imported, and remembered as imported, at once: one file, or the files of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The kind.
    pub kind: SourceKind,
    /// Its identity: the file or folder, absolute and without links, so that it is the same from wherever the import
    /// started.
    pub location: PathBuf,
    /// The name of the run, or of the file that holds runs: the path relative to the root of the import.
    pub name: String,
    /// The files in the order in which they are read. Empty for folders that are listed when they are read. Files of an
    /// archive stand where they were laid out.
    pub files: Vec<PathBuf>,
    /// Where the file or folder is read: its location, or its place among the files of an archive.
    pub(crate) path: PathBuf,
    /// The archive that it stands in.
    pub(crate) archive: Option<Archived>,
}

/// The archive of a unit, and the folder in which its files are laid out for as long as a unit needs them.
#[derive(Debug, Clone)]
pub(crate) struct Archived {
    pub(crate) archive: PathBuf,
    pub(crate) folder: Arc<TempDir>,
}

impl PartialEq for Archived {
    fn eq(&self, other: &Self) -> bool {
        self.archive == other.archive && self.folder.path() == other.folder.path()
    }
}

impl Eq for Archived {}

impl Archived {
    /// A path among the files of the archive as the user knows it; any other path as it is.
    pub(crate) fn shown(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(self.folder.path()) {
            Ok(inner) if inner.as_os_str().is_empty() => self.archive.clone(),
            Ok(inner) => self.archive.join(inner),
            Err(_) => path.to_owned(),
        }
    }

    /// A message with the paths in it as the user knows them.
    pub(crate) fn shown_text(&self, text: &str) -> String {
        text.replace(&*self.folder.path().to_string_lossy(), &self.archive.to_string_lossy())
    }
}

impl Unit {
    pub(crate) fn new(kind: SourceKind, path: PathBuf, name: String, files: Vec<PathBuf>) -> Self {
        Self { kind, location: path.clone(), name, files, path, archive: None }
    }

    /// A unit of one file.
    pub(crate) fn of_file(kind: SourceKind, file: &Path, name: String) -> Self {
        Self::new(kind, file.to_owned(), name, vec![file.to_owned()])
    }

    /// A path of this unit as the user knows it.
    pub(crate) fn shown(&self, path: &Path) -> PathBuf {
        self.archive.as_ref().map_or_else(|| path.to_owned(), |archive| archive.shown(path))
    }

    /// A message with paths of this unit as the user knows them.
    pub(crate) fn shown_text(&self, text: String) -> String {
        self.archive.as_ref().map_or_else(|| text.clone(), |archive| archive.shown_text(&text))
    }

    /// All files that are read for this unit, in a fixed order.
    ///
    /// # Errors
    /// Fails when a folder cannot be listed.
    pub fn list_files(&self, limits: &Limits) -> Result<Vec<PathBuf>> {
        if self.files.is_empty() {
            source_of(self.kind).list_files(self, limits)
        } else {
            Ok(self.files.clone())
        }
    }

    /// A SHA-256 over the names and the content of [`Self::list_files`], as 64 hexadecimal digits.
    ///
    /// # Errors
    /// Fails when a file cannot be read.
    pub fn content_hash(&self, limits: &Limits) -> Result<String> {
        let files = self.list_files(limits)?;
        let names: Vec<String> =
            files.iter().map(|file| relative_name(&self.location, &self.shown(file))).collect();
        files::content_hash(names.iter().map(String::as_str).zip(files.iter().map(PathBuf::as_path)), limits)
    }
}

/// What detection knows while it looks around.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Search<'a> {
    /// The path of the import: a folder, or the file that was given.
    pub(crate) root: &'a Path,
    pub(crate) limits: &'a Limits,
    /// Whether the user gave an expression for lines of text.
    pub(crate) lines: bool,
}

impl Search<'_> {
    /// The name of a folder as a run: relative to the root, or its own where only a file in it was given.
    pub(crate) fn folder_name(&self, folder: &Path) -> String {
        if folder.starts_with(self.root) {
            relative_name(self.root, folder)
        } else {
            folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
        }
    }
}

/// A file that detection looks at.
#[derive(Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) path: &'a Path,
    /// The name in lower case.
    pub(crate) name: &'a str,
    /// The first bytes: at most 64 KiB.
    pub(crate) beginning: &'a [u8],
    /// Whether the user named this very file.
    pub(crate) given: bool,
    tables: OnceCell<Vec<String>>,
}

impl<'a> Candidate<'a> {
    pub(crate) fn new(path: &'a Path, name: &'a str, beginning: &'a [u8], given: bool) -> Self {
        Self { path, name, beginning, given, tables: OnceCell::new() }
    }

    /// The tables of a SQLite database; none of other files, and of databases that cannot be read.
    pub(crate) fn tables(&self) -> &[String] {
        self.tables.get_or_init(|| {
            if sqlite::is_database(self.beginning) {
                sqlite::table_names(self.path).unwrap_or_default()
            } else {
                Vec::new()
            }
        })
    }

    /// Whether it is a SQLite database that has all these tables.
    pub(crate) fn has_tables(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.tables().iter().any(|table| table == name))
    }

    /// Whether a regular file of this name stands in the same folder.
    pub(crate) fn has_sibling(&self, name: &str) -> bool {
        std::fs::symlink_metadata(self.path.with_file_name(name)).is_ok_and(|metadata| metadata.is_file())
    }
}

/// A folder that detection looks at, before the files in it.
#[derive(Debug)]
pub(crate) struct Folder<'a> {
    pub(crate) path: &'a Path,
    /// The names of its files, sorted.
    pub(crate) files: &'a [String],
}

/// What a source says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is not one of its files.
    No,
    /// It is read.
    Read,
}

/// A file that a source claimed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClaimedFile {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
}

/// A unit, the store that it belongs to, and the bytes of its files as far as they are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundUnit {
    pub(crate) store: PathBuf,
    pub(crate) unit: Unit,
    pub(crate) bytes: u64,
}

/// What a source makes of a folder, or of the files that it claimed.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) units: Vec<FoundUnit>,
    /// Of a folder: files that are put together with those of other folders, as if they had been claimed.
    pub(crate) files: Vec<ClaimedFile>,
    /// What is not read, and why.
    pub(crate) left: Vec<Unrecognised>,
}

impl From<Vec<FoundUnit>> for Found {
    fn from(units: Vec<FoundUnit>) -> Self {
        Self { units, ..Self::default() }
    }
}

/// One kind of source. Detection asks `folder` and `claim`, then `group`; planning asks `plan`; the import calls `read`,
/// which hands over what it reads in parts of bounded size. Of several sources that claim a file, the first in
/// [`SOURCES`] has it.
pub(crate) trait Source: Sync {
    fn kind(&self) -> SourceKind;

    /// Takes a folder with all that is in it; `None` when it is not one of this source.
    fn folder(&self, _folder: &Folder<'_>, _search: &Search<'_>) -> Option<Found> {
        None
    }

    /// Whether a file is one of this source.
    fn claim(&self, _file: &Candidate<'_>, _search: &Search<'_>) -> Claim {
        Claim::No
    }

    /// Puts claimed files together to units; each file by itself where the source has no other idea.
    fn group(&self, files: Vec<ClaimedFile>, search: &Search<'_>) -> Found {
        let unit = |file: ClaimedFile| FoundUnit {
            store: search.root.to_owned(),
            unit: Unit::of_file(self.kind(), &file.path, file_name_without_format(search.root, &file.path)),
            bytes: file.size,
        };
        files.into_iter().map(unit).collect::<Vec<_>>().into()
    }

    /// The files of a unit that names none.
    ///
    /// # Errors
    /// Fails when a folder cannot be listed.
    fn list_files(&self, unit: &Unit, _limits: &Limits) -> Result<Vec<PathBuf>> {
        Ok(unit.files.clone())
    }

    /// What the columns of a table mean; `None` for sources that know it.
    ///
    /// # Errors
    /// Fails when the file cannot be read, or the mapping does not fit it.
    fn plan(&self, _unit: &Unit, _mapping: Option<&Mapping>, _limits: &Limits) -> Result<Option<TablePlan>> {
        Ok(None)
    }

    /// Reads a unit and hands over its runs and points.
    ///
    /// # Errors
    /// What makes the whole unit unreadable, and errors of the sink. Anything smaller is a rejection.
    fn read(&self, unit: &Unit, plan: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()>;
}

/// All sources. Tools come before the formats that they write: a Lightning log is a CSV file too.
pub(crate) static SOURCES: [&dyn Source; 29] = [
    &exported::Exported,
    &tensorboard::TensorBoard,
    &mlflow::Mlflow,
    &huggingface::HuggingFace,
    &wandb::Wandb,
    &wandb::WandbHistory,
    &neptune::Neptune,
    &optuna::Optuna,
    &lightning::Lightning,
    &dvclive::Dvclive,
    &ray::Ray,
    &sacred::Sacred,
    &trackio::Trackio,
    &mlperf::Mlperf,
    &search::Bohb,
    &search::Smac,
    &search::DeepCave,
    &search::Amltk,
    &monitor::Monitor,
    &megatron::Megatron,
    &lm_eval::LmEval,
    &open_lm::OpenLm,
    &aslib::Aslib,
    &table::Table(SourceKind::Parquet),
    &table::Table(SourceKind::Arrow),
    &table::Table(SourceKind::Csv),
    &table::Table(SourceKind::JsonLines),
    &table::Table(SourceKind::Json),
    &table::Table(SourceKind::Lines),
];

/// The source of a kind.
pub(crate) fn source_of(kind: SourceKind) -> &'static dyn Source {
    SOURCES.into_iter().find(|source| source.kind() == kind).unwrap_or(&tensorboard::TensorBoard)
}

/// Files of one kind that belong together: a log folder, a store, or the tables of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetectedSource {
    /// The kind.
    pub kind: SourceKind,
    /// The root of the store, or of the import.
    pub path: PathBuf,
    /// The units in a fixed order.
    pub units: Vec<Unit>,
    /// Bytes of the units' files, as far as they are known without listing each run.
    pub bytes: u64,
}

/// A file or folder that is not imported, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrecognised {
    /// The path.
    pub path: PathBuf,
    /// Why it is left.
    pub reason: String,
    /// The stable code of what is wrong with it, such as `archive.damaged`; `None` for what was never to be imported, such
    /// as a file of no known kind.
    pub fault: Option<&'static str>,
}

impl Unrecognised {
    /// Something that is of no known kind, or which nobody asked for.
    pub fn left(path: PathBuf, reason: impl Into<String>) -> Self {
        Self { path, reason: reason.into(), fault: None }
    }

    /// Something that may hold runs and cannot be read.
    pub(crate) fn faulty(path: PathBuf, code: &'static str, reason: impl Into<String>) -> Self {
        Self { path, reason: reason.into(), fault: Some(code) }
    }

    /// What an error says of a file. Links and devices are never read: that is no fault.
    pub(crate) fn of_error(path: PathBuf, error: &ImportError) -> Self {
        match error {
            ImportError::NotRegular { .. } => Self::left(path, error.to_string()),
            _ => Self::faulty(path, error.code(), error.to_string()),
        }
    }
}

/// The name of a path below a root, with `/` between its parts; the name of the root itself for the root.
pub(crate) fn relative_name(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = below
        .components()
        .filter_map(|component| match component {
            Component::Normal(part) => Some(part.to_string_lossy()),
            _ => None,
        })
        .collect();
    if parts.is_empty() {
        root.file_name().map_or_else(|| ".".to_owned(), |name| name.to_string_lossy().into_owned())
    } else {
        parts.join("/")
    }
}

/// The name of a file: its path below the root without the endings that only tell its format.
pub(crate) fn file_name_without_format(root: &Path, path: &Path) -> String {
    let name = relative_name(root, path);
    let unpacked = ["gz", "zst"].iter().find_map(|ending| strip_ending(&name, ending)).unwrap_or(&name);
    ["csv", "tsv", "jsonl", "ndjson", "json", "parquet", "db", "sqlite", "sqlite3", "log"]
        .iter()
        .find_map(|ending| strip_ending(unpacked, ending))
        .unwrap_or(unpacked)
        .to_owned()
}

fn strip_ending<'a>(name: &'a str, ending: &str) -> Option<&'a str> {
    let (stem, found) = name.rsplit_once('.')?;
    (found.eq_ignore_ascii_case(ending) && !stem.is_empty() && !stem.ends_with('/')).then_some(stem)
}
