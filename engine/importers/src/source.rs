//! Finding out what stands at a path: which files belong to which tool.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use walkdir::WalkDir;

use crate::error::{ImportError, Result};
use crate::files::{self, ByteCount, Packing};
use crate::limits::Limits;
use crate::{huggingface, mlflow};

/// The kinds of files that can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceKind {
    /// TensorBoard event files; each folder with event files is a run.
    TensorBoard,
    /// An MLflow file store (`mlruns`).
    Mlflow,
    /// A Hugging Face `trainer_state.json`.
    HuggingFace,
    /// Delimited text.
    Csv,
    /// One JSON object a line.
    JsonLines,
    /// A JSON document with runs or rows.
    Json,
    /// Apache Parquet.
    Parquet,
}

impl SourceKind {
    /// The word for this kind, which is also the `source` of its runs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TensorBoard => "tensorboard",
            Self::Mlflow => "mlflow",
            Self::HuggingFace => "huggingface",
            Self::Csv => "csv",
            Self::JsonLines => "jsonl",
            Self::Json => "json",
            Self::Parquet => "parquet",
        }
    }

    /// Whether columns of this kind are given meanings by a mapping.
    pub fn is_table(self) -> bool {
        matches!(self, Self::Csv | Self::JsonLines | Self::Json | Self::Parquet)
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is imported, and remembered as imported, at once: one file, or the folder of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The kind.
    pub kind: SourceKind,
    /// The file or folder, absolute and without links, so that it is the same from wherever the import started.
    pub location: PathBuf,
    /// The name of the run, or of the file that holds runs: the path relative to the root of the import.
    pub name: String,
    /// The files, where they are few. Empty for folders that are listed when they are read.
    pub files: Vec<PathBuf>,
    /// What the format needs to know besides.
    pub(crate) detail: UnitDetail,
}

/// Facts about a unit that detection found and the import needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UnitDetail {
    None,
    Mlflow(mlflow::RunPlace),
    HuggingFace(huggingface::StatePlace),
}

impl Unit {
    /// All files that are read for this unit, in a fixed order.
    ///
    /// # Errors
    /// Fails when a folder cannot be listed.
    pub fn list_files(&self, limits: &Limits) -> Result<Vec<PathBuf>> {
        if self.files.is_empty() {
            mlflow::list_run_files(&self.location, limits)
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
        let names: Vec<String> = files.iter().map(|file| relative_name(&self.location, file)).collect();
        files::content_hash(names.iter().map(String::as_str).zip(files.iter().map(PathBuf::as_path)), limits)
    }
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
}

/// Everything that stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detection {
    /// The path, absolute and without links.
    pub root: PathBuf,
    /// What can be imported, by kind and path.
    pub sources: Vec<DetectedSource>,
    /// What is left, and why.
    pub unrecognised: Vec<Unrecognised>,
}

/// Looks at a file, a store or a tree, and says what can be imported from it. Links below the path are not followed.
///
/// # Errors
/// Fails when the path cannot be read, or holds more than the limits allow. That nothing was recognised is no error here:
/// the sources are then empty.
pub fn detect(path: &Path, limits: &Limits) -> Result<Detection> {
    let root = std::fs::canonicalize(path).map_err(ImportError::io(path, "finding the path"))?;
    let mut finder = Finder {
        root: root.clone(),
        limits,
        units: Vec::new(),
        unrecognised: Vec::new(),
        tensorboard: Vec::new(),
        trainer_states: Vec::new(),
        seen: 0,
    };
    if root.is_dir() {
        finder.folder()?;
    } else {
        finder.file(&root, true)?;
    }
    finder.finish()
}

struct Finder<'a> {
    root: PathBuf,
    limits: &'a Limits,
    /// Units with the path of their source and their bytes.
    units: Vec<(PathBuf, Unit, u64)>,
    unrecognised: Vec<Unrecognised>,
    /// Event files with their sizes.
    tensorboard: Vec<(PathBuf, u64)>,
    trainer_states: Vec<PathBuf>,
    seen: usize,
}

impl Finder<'_> {
    fn folder(&mut self) -> Result<()> {
        let root = self.root.clone();
        let mut entries = WalkDir::new(&root)
            .follow_links(false)
            .max_depth(self.limits.depth)
            .sort_by_file_name()
            .into_iter();
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let path = error.path().unwrap_or(&root).to_owned();
                    self.leave(&path, &format!("cannot be listed: {error}"));
                    continue;
                }
            };
            let kind = entry.file_type();
            let path = entry.path();
            if kind.is_dir() {
                let hidden = entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".");
                // `.trash` is where MLflow keeps deleted experiments.
                if hidden && entry.file_name() != ".trash" {
                    self.leave(path, "hidden folder, not scanned; give it as the path to import it");
                    entries.skip_current_dir();
                } else if self.mlflow_folder(path)? {
                    entries.skip_current_dir();
                } else if entry.depth() == self.limits.depth {
                    self.leave(path, &format!("deeper than {} folders, not scanned", self.limits.depth));
                }
                continue;
            }
            self.seen = self.seen.saturating_add(1);
            self.check_count(self.seen)?;
            if kind.is_file() {
                let path = entry.into_path();
                self.file(&path, false)?;
            } else {
                self.leave(
                    path,
                    if kind.is_symlink() { "a link, not followed" } else { "not a regular file" },
                );
            }
        }
        Ok(())
    }

    fn check_count(&self, actual: usize) -> Result<()> {
        if actual > self.limits.files {
            return Err(ImportError::TooLarge {
                path: self.root.clone(),
                what: "the number of files and runs",
                actual: actual as u64,
                limit: self.limits.files as u64,
            });
        }
        Ok(())
    }

    /// Takes a folder of an MLflow store; `false` when it is none.
    fn mlflow_folder(&mut self, path: &Path) -> Result<bool> {
        let Some(found) = mlflow::detect_folder(path, self.limits) else { return Ok(false) };
        for (reason, file) in found.unreadable {
            self.leave(&file, &reason);
        }
        for unit in found.units {
            self.units.push((found.store.clone(), unit, 0));
        }
        self.check_count(self.units.len())?;
        Ok(true)
    }

    fn file(&mut self, path: &Path, given: bool) -> Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let (mut file, metadata) = match files::open_regular(path, self.limits) {
            Ok(opened) => opened,
            Err(error) if given => return Err(error),
            Err(error) => {
                self.leave(path, &error.to_string());
                return Ok(());
            }
        };
        if name.contains("tfevents") {
            self.tensorboard.push((path.to_owned(), metadata.len()));
            return Ok(());
        }
        if name == "trainer_state.json" {
            self.trainer_states.push(path.to_owned());
            return Ok(());
        }
        let (beginning, _) = files::read_prefix(&mut file, 64 << 10);
        let kind = match kind_of_table(&name, &beginning, given) {
            Ok(kind) => kind,
            Err(reason) => {
                self.leave(path, &reason);
                return Ok(());
            }
        };
        if kind == SourceKind::HuggingFace {
            self.trainer_states.push(path.to_owned());
            return Ok(());
        }
        let unit = Unit {
            kind,
            location: path.to_owned(),
            name: table_name(&self.root, path),
            files: vec![path.to_owned()],
            detail: UnitDetail::None,
        };
        self.units.push((self.root.clone(), unit, metadata.len()));
        Ok(())
    }

    fn leave(&mut self, path: &Path, reason: &str) {
        self.unrecognised.push(Unrecognised { path: path.to_owned(), reason: reason.to_owned() });
    }

    fn finish(mut self) -> Result<Detection> {
        self.group_event_files();
        let states = huggingface::group(&self.root, std::mem::take(&mut self.trainer_states), self.limits)?;
        for (unit, bytes) in states {
            self.units.push((self.root.clone(), unit, bytes));
        }
        let mut sources: Vec<DetectedSource> = Vec::new();
        for (path, unit, bytes) in self.units {
            match sources.iter_mut().find(|source| source.kind == unit.kind && source.path == path) {
                Some(source) => {
                    source.bytes = source.bytes.saturating_add(bytes);
                    source.units.push(unit);
                }
                None => sources.push(DetectedSource { kind: unit.kind, path, units: vec![unit], bytes }),
            }
        }
        sources.sort_by(|a, b| (a.kind, &a.path).cmp(&(b.kind, &b.path)));
        Ok(Detection { root: self.root, sources, unrecognised: self.unrecognised })
    }

    /// Each folder with event files is a run, as TensorBoard has it. The files of a run are read in the order of their
    /// names, which begin with the time at which they were made.
    fn group_event_files(&mut self) {
        let mut files = std::mem::take(&mut self.tensorboard);
        files.sort();
        let mut runs: Vec<(PathBuf, Vec<PathBuf>, u64)> = Vec::new();
        for (file, bytes) in files {
            let folder = file.parent().unwrap_or(Path::new("/")).to_owned();
            match runs.last_mut() {
                Some((last, files, sum)) if *last == folder => {
                    files.push(file);
                    *sum = sum.saturating_add(bytes);
                }
                _ => runs.push((folder, vec![file], bytes)),
            }
        }
        for (folder, files, bytes) in runs {
            let name = if folder.starts_with(&self.root) {
                relative_name(&self.root, &folder)
            } else {
                // One event file was given: its folder is the run.
                folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
            };
            let unit = Unit {
                kind: SourceKind::TensorBoard,
                location: folder,
                name,
                files,
                detail: UnitDetail::None,
            };
            self.units.push((self.root.clone(), unit, bytes));
        }
    }
}

/// Tells a table or document by name and beginning; the reason when it is none.
fn kind_of_table(name: &str, beginning: &[u8], given: bool) -> Result<SourceKind, String> {
    if beginning.starts_with(b"PAR1") || name.ends_with(".parquet") {
        return Ok(SourceKind::Parquet);
    }
    if beginning.starts_with(b"SQLite format 3\0") {
        return Err("a SQLite database, which is not imported".to_owned());
    }
    let stem = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    if [".csv", ".tsv"].iter().any(|ending| stem.ends_with(ending)) {
        return Ok(SourceKind::Csv);
    }
    if [".jsonl", ".ndjson"].iter().any(|ending| stem.ends_with(ending)) {
        return Ok(SourceKind::JsonLines);
    }
    let packed = Packing::of(beginning) != Packing::Plain;
    if stem.ends_with(".json") {
        let text = String::from_utf8_lossy(beginning);
        if text.contains("\"log_history\"") {
            return Ok(SourceKind::HuggingFace);
        }
        if given || text.contains("\"history\"") {
            return Ok(SourceKind::Json);
        }
        return Err(
            "JSON without runs or a history; give the file itself as the path to read its rows".to_owned()
        );
    }
    if given && !beginning.is_empty() && !packed && !beginning.contains(&0) {
        let first = beginning.iter().find(|byte| !byte.is_ascii_whitespace());
        return Ok(match first {
            Some(b'{') => SourceKind::JsonLines,
            Some(b'[') => SourceKind::Json,
            _ => SourceKind::Csv,
        });
    }
    Err("no known kind of log file".to_owned())
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

/// The name of a table file: its path below the root without the endings that only tell its format.
fn table_name(root: &Path, path: &Path) -> String {
    let name = relative_name(root, path);
    let unpacked = ["gz", "zst"].iter().find_map(|ending| strip_ending(&name, ending)).unwrap_or(&name);
    ["csv", "tsv", "jsonl", "ndjson", "json", "parquet"]
        .iter()
        .find_map(|ending| strip_ending(unpacked, ending))
        .unwrap_or(unpacked)
        .to_owned()
}

fn strip_ending<'a>(name: &'a str, ending: &str) -> Option<&'a str> {
    let (stem, found) = name.rsplit_once('.')?;
    (found.eq_ignore_ascii_case(ending) && !stem.is_empty() && !stem.ends_with('/')).then_some(stem)
}

/// Looks whether a small count of bytes at the beginning can be unpacked; used where a plan must not read a file whole.
pub(crate) fn unpacked_beginning(path: &Path, limits: &Limits, count: usize) -> Result<Vec<u8>> {
    let mut unpacked = files::open_unpacked(path, limits, &ByteCount::default())?;
    let (prefix, fault) = files::read_prefix(&mut unpacked.reader, count);
    match fault {
        Some(fault) if prefix.is_empty() => Err(ImportError::io(path, "reading")(fault)),
        _ => Ok(prefix),
    }
}
