//! Finding out what stands at a path: which files belong to which tool, and which to none.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use walkdir::WalkDir;

use crate::archive::{self, LaidOut};
use crate::binary;
use crate::error::{ImportError, Result};
use crate::files::{self, Packing};
use crate::limits::Limits;
use crate::source::{
    Archived, Candidate, Claim, ClaimedFile, DetectedSource, Folder, FoundUnit, SOURCES, Search,
    Unrecognised, relative_name,
};
use crate::sqlite;
use crate::table;

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
    search(path, limits, false)
}

/// As [`detect`], for a mapping that takes lines of text apart: all text that is of no tool is found as lines.
///
/// # Errors
/// As [`detect`].
pub fn detect_lines(path: &Path, limits: &Limits) -> Result<Detection> {
    search(path, limits, true)
}

fn search(path: &Path, limits: &Limits, lines: bool) -> Result<Detection> {
    let root = std::fs::canonicalize(path).map_err(ImportError::io(path, "finding the path"))?;
    let mut finder = Finder::new(Search { root: &root, limits, lines }, 0);
    if root.is_dir() {
        finder.tree()?;
    } else {
        finder.file(&root, true)?;
    }
    let (sources, unrecognised) = finder.finish();
    Ok(Detection { root, sources, unrecognised })
}

/// Archives in archives are opened so deep.
const DEEPEST_ARCHIVE: usize = 2;

struct Finder<'a> {
    search: Search<'a>,
    /// The claimed files of each source, in the order of [`SOURCES`].
    claimed: Vec<Vec<ClaimedFile>>,
    units: Vec<FoundUnit>,
    unrecognised: Vec<Unrecognised>,
    /// Sources in archives.
    laid_out: Vec<DetectedSource>,
    /// Files and runs so far.
    seen: usize,
    /// How many archives are around what is looked at.
    depth: usize,
}

impl<'a> Finder<'a> {
    fn new(search: Search<'a>, depth: usize) -> Self {
        Self {
            search,
            claimed: SOURCES.iter().map(|_| Vec::new()).collect(),
            units: Vec::new(),
            unrecognised: Vec::new(),
            laid_out: Vec::new(),
            seen: 0,
            depth,
        }
    }

    fn tree(&mut self) -> Result<()> {
        let deepest = self.search.limits.depth;
        let mut entries = WalkDir::new(self.search.root)
            .follow_links(false)
            .max_depth(deepest)
            .sort_by_file_name()
            .into_iter();
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let path = error.path().unwrap_or(self.search.root).to_owned();
                    let reason = format!("cannot be listed: {error}");
                    self.unrecognised.push(Unrecognised::faulty(path, "folder.unreadable", reason));
                    continue;
                }
            };
            let kind = entry.file_type();
            let path = entry.path();
            if kind.is_dir() && is_aim(path) {
                self.unrecognised.push(Unrecognised::faulty(path.to_owned(), "aim.export_needed", AIM));
                entries.skip_current_dir();
                continue;
            }
            if kind.is_dir() {
                let hidden = entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".");
                // `.trash` is where MLflow keeps deleted experiments.
                if hidden && entry.file_name() != ".trash" {
                    let reason = "hidden folder, not scanned; give it as the path to import it";
                    self.unrecognised.push(Unrecognised::left(path.to_owned(), reason));
                    entries.skip_current_dir();
                } else if self.folder(path)? {
                    entries.skip_current_dir();
                } else if entry.depth() == deepest {
                    let reason = format!("deeper than {deepest} folders, not scanned");
                    self.unrecognised.push(Unrecognised::faulty(path.to_owned(), "folder.too_deep", reason));
                }
                continue;
            }
            self.count(1)?;
            if kind.is_file() {
                let path = entry.into_path();
                self.file(&path, false)?;
            } else {
                let reason = if kind.is_symlink() { "a link, not followed" } else { "not a regular file" };
                self.unrecognised.push(Unrecognised::left(path.to_owned(), reason));
            }
        }
        Ok(())
    }

    fn count(&mut self, more: usize) -> Result<()> {
        self.seen = self.seen.saturating_add(more);
        if self.seen > self.search.limits.files {
            return Err(ImportError::TooLarge {
                path: self.search.root.to_owned(),
                what: "the number of files and runs",
                actual: self.seen as u64,
                limit: self.search.limits.files as u64,
            });
        }
        Ok(())
    }

    /// Offers a folder to the sources; `false` when none takes it.
    fn folder(&mut self, path: &Path) -> Result<bool> {
        // A folder that cannot be listed is told by the walk.
        let Ok(listed) = std::fs::read_dir(path) else { return Ok(false) };
        let mut files: Vec<String> = listed
            .filter_map(std::result::Result::ok)
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .take(self.search.limits.files)
            .collect();
        files.sort_unstable();
        let folder = Folder { path, files: &files };
        for (source, claimed) in SOURCES.iter().zip(&mut self.claimed) {
            let Some(found) = source.folder(&folder, &self.search) else { continue };
            let count = found.units.len().saturating_add(found.files.len());
            claimed.extend(found.files);
            self.units.extend(found.units);
            self.unrecognised.extend(found.left);
            self.count(count)?;
            return Ok(true);
        }
        Ok(false)
    }

    fn file(&mut self, path: &Path, given: bool) -> Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let (mut file, metadata) = match files::open_regular(path, self.search.limits) {
            Ok(opened) => opened,
            Err(error) if given => return Err(error),
            Err(error) => {
                self.unrecognised.push(Unrecognised::of_error(path.to_owned(), &error));
                return Ok(());
            }
        };
        let (beginning, _) = files::read_prefix(&mut file, 64 << 10);
        let candidate = Candidate::new(path, &name, &beginning, given);
        for (source, claimed) in SOURCES.iter().zip(&mut self.claimed) {
            if source.claim(&candidate, &self.search) == Claim::Read {
                claimed.push(ClaimedFile { path: path.to_owned(), size: metadata.len() });
                return Ok(());
            }
        }
        match archive::form_of(path, &beginning, self.search.limits) {
            // Checkpoints of models are zip or tar too, and large.
            Some(_) if !given && !archive::is_named(&name) => {
                let reason = "an archive by its content, not by its name; give it as the path to import it";
                self.unrecognised.push(Unrecognised::left(path.to_owned(), reason));
            }
            Some(form) if self.depth < DEEPEST_ARCHIVE => return self.archive(path, form),
            Some(_) => {
                let reason = format!("an archive in {DEEPEST_ARCHIVE} others, not opened");
                self.unrecognised.push(Unrecognised::faulty(path.to_owned(), "archive.too_deep", reason));
            }
            None => self.unrecognised.push(unclaimed(&candidate, self.search.limits)),
        }
        Ok(())
    }

    /// Looks into an archive: what is found there has the archive's path in front of its own.
    fn archive(&mut self, path: &Path, form: archive::Form) -> Result<()> {
        let LaidOut { folder, left } = match archive::lay_out(path, form, self.search.limits) {
            Ok(laid_out) => laid_out,
            Err(error) => {
                self.unrecognised.push(Unrecognised::of_error(path.to_owned(), &error));
                return Ok(());
            }
        };
        let folder = Archived { archive: path.to_owned(), folder: Arc::new(folder) };
        let mut inner = Finder::new(Search { root: folder.folder.path(), ..self.search }, self.depth + 1);
        inner.tree()?;
        let seen = inner.seen;
        let (sources, unrecognised) = inner.finish();
        self.count(seen)?;
        let name = relative_name(
            self.search.root.parent().filter(|_| self.search.root == path).unwrap_or(self.search.root),
            path,
        );
        for mut source in sources {
            source.path = folder.shown(&source.path);
            for unit in &mut source.units {
                unit.location = folder.shown(&unit.location);
                // The root of the archive has the name of the folder that it was laid out in.
                unit.name = if unit.path == folder.folder.path() {
                    name.clone()
                } else {
                    format!("{name}/{}", unit.name)
                };
                // Of an archive in an archive the inner folder has the files, the outer one the name.
                unit.archive = Some(match unit.archive.take() {
                    Some(archived) => Archived { archive: folder.shown(&archived.archive), ..archived },
                    None => folder.clone(),
                });
            }
            self.laid_out.push(source);
        }
        let left = left.into_iter().chain(unrecognised);
        self.unrecognised.extend(left.map(|left| Unrecognised {
            path: folder.shown(&left.path),
            reason: folder.shown_text(&left.reason),
            fault: left.fault,
        }));
        Ok(())
    }

    fn finish(mut self) -> (Vec<DetectedSource>, Vec<Unrecognised>) {
        for (source, mut files) in SOURCES.iter().zip(std::mem::take(&mut self.claimed)) {
            files.sort();
            let found = source.group(files, &self.search);
            self.units.extend(found.units);
            self.unrecognised.extend(found.left);
        }
        let mut sources: Vec<DetectedSource> = Vec::new();
        for FoundUnit { store, unit, bytes } in self.units {
            match sources.iter_mut().rfind(|source| source.kind == unit.kind && source.path == store) {
                Some(source) => {
                    source.bytes = source.bytes.saturating_add(bytes);
                    source.units.push(unit);
                }
                None => {
                    sources.push(DetectedSource { kind: unit.kind, path: store, units: vec![unit], bytes })
                }
            }
        }
        sources.extend(self.laid_out);
        sources.sort_by(|a, b| (a.kind, &a.path).cmp(&(b.kind, &b.path)));
        (sources, self.unrecognised)
    }
}

/// What to do with a repository of Aim, whose store only Aim can read.
const AIM: &str = "a repository of Aim, whose store only Aim itself can read: write its metrics to a table with Aim's Python \
     package, as docs/guide/sources/aim.md shows, and import that";

/// Whether a folder is a repository of Aim: a `.aim`, or a copy of one under another name.
fn is_aim(folder: &Path) -> bool {
    let is_dir = |name: &str| folder.join(name).is_dir();
    is_dir("meta") && is_dir("seqs") && folder.join("run_metadata.sqlite").is_file()
}

/// Why no source claimed a file.
fn unclaimed(file: &Candidate<'_>, limits: &Limits) -> Unrecognised {
    let path = file.path.to_owned();
    if sqlite::is_database(file.beginning) {
        return match sqlite::table_names(file.path) {
            Ok(tables) => {
                let named = tables.iter().take(8).map(String::as_str).collect::<Vec<_>>().join(", ");
                let reason = format!("a SQLite database of no known tool; its tables are {named}");
                Unrecognised::left(path, reason)
            }
            Err(error) => Unrecognised::of_error(path, &error),
        };
    }
    if let Some((code, reason)) = archive::false_name(file.name) {
        return Unrecognised::faulty(path, code, reason);
    }
    if file.name.ends_with(".json") {
        let reason = "JSON without runs or a history; give the file itself as the path to read its rows";
        return Unrecognised::left(path, reason);
    }
    if ["-wal", "-shm", "-journal"].iter().any(|ending| file.name.ends_with(ending)) {
        let reason = "a side file of a SQLite database, read with it where it holds something";
        return Unrecognised::left(path, reason);
    }
    if file.beginning.is_empty() {
        return Unrecognised::left(path, "an empty file");
    }
    if let Some(kind) = binary::kind_of(file.beginning) {
        let reason = format!("{kind}, which is not read");
        // A packed table is one that was meant to be imported.
        return match table::is_packed_name(file.name) {
            true => {
                let reason = format!("{reason}; unpack it, or pack it with gzip or Zstandard");
                Unrecognised::faulty(path, "file.packing", reason)
            }
            false => Unrecognised::left(path, reason),
        };
    }
    if Packing::of(file.beginning) == Packing::Plain {
        return Unrecognised::left(path, "no known kind of log file");
    }
    match files::unpacked_beginning(file.path, limits, 512) {
        Ok(_) => Unrecognised::left(path, "compressed, and its name tells no known kind of log file"),
        Err(error) => Unrecognised::of_error(path, &error),
    }
}
