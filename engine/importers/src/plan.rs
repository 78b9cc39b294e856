//! What will be read and how: made before anything is imported, to be shown to the user.

use std::fmt;
use std::path::{Path, PathBuf};

use model::{ExperimentName, ProjectName};

use crate::error::{ImportError, Result};
use crate::limits::Limits;
use crate::report::{Belonging, shortened};
use crate::source::{DetectedSource, SourceKind, Unit, source_of};
use crate::table::TablePlan;
use crate::table::mapping::Mapping;

/// How the user wants an import.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The meaning of columns; guessed where absent.
    pub mapping: Option<Mapping>,
    /// Mappings of tables at and below some paths, for where [`Self::mapping`] is absent; the one of the longest path counts.
    pub remembered: Vec<(PathBuf, Mapping)>,
    /// The experiment of all runs, whatever the source says.
    pub experiment: Option<ExperimentName>,
    /// The project of all runs.
    pub project: Option<ProjectName>,
    /// How much is read.
    pub limits: Limits,
}

impl Options {
    /// The mapping of a unit, and the path that it was remembered for.
    fn mapping_of(&self, unit: &Unit) -> (Option<&Mapping>, Option<&Path>) {
        if self.mapping.is_some() {
            return (self.mapping.as_ref(), None);
        }
        let fitting = self.remembered.iter().filter(|(path, _)| unit.location.starts_with(path));
        match fitting.max_by_key(|(path, _)| path.components().count()) {
            Some((path, mapping)) => (Some(mapping), Some(path)),
            None => (None, None),
        }
    }
}

/// A table file with its columns' meanings.
pub type PlannedTable = TablePlan;

/// One source of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedSource {
    /// The kind.
    pub kind: SourceKind,
    /// The root of the store, or of the import.
    pub path: PathBuf,
    /// What is read, in this order.
    pub units: Vec<Unit>,
    /// Bytes, as far as known.
    pub bytes: u64,
    /// The meanings of columns for each unit, or the error that it will be rejected with; `None` where the source knows
    /// them.
    pub tables: Vec<Result<Option<PlannedTable>, String>>,
}

/// Everything that an import will read, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The sources.
    pub sources: Vec<PlannedSource>,
    pub(crate) limits: Limits,
    pub(crate) belonging: Belonging,
}

impl Plan {
    /// Whether its files are read as files that are being written ([`Limits::growing`]).
    pub fn is_growing(&self) -> bool {
        self.limits.growing
    }
}

/// Decides how sources are read. Table files are opened, and their beginnings looked at.
///
/// # Errors
/// Fails when a mapping is given and names a column that the only file does not have, or when no source is given.
pub fn plan(sources: &[DetectedSource], options: &Options) -> Result<Plan> {
    let Some(first) = sources.first() else {
        return Err(ImportError::NothingRecognised {
            path: PathBuf::new(),
            hint: format!(
                "known are {}",
                SourceKind::all().map(SourceKind::as_str).collect::<Vec<_>>().join(", ")
            ),
        });
    };
    let limits = options.limits.clone();
    let single = sources.iter().map(|source| source.units.len()).sum::<usize>() == 1;
    let mut planned = Vec::new();
    for source in sources {
        let mut tables = Vec::new();
        for unit in &source.units {
            let (mapping, place) = options.mapping_of(unit);
            tables.push(match source_of(source.kind).plan(unit, mapping, &limits) {
                Ok(table) => Ok(table),
                // With one file the mapping is wrong; of several files one may be of another shape.
                Err(ImportError::Mapping { text, reason }) if single => {
                    let hint = place.map(|place| {
                        let place = place.display();
                        format!(
                            "; this mapping was kept when {place} was imported: give another one, or have the columns guessed"
                        )
                    });
                    return Err(ImportError::Mapping { text, reason: reason + &hint.unwrap_or_default() });
                }
                Err(error) => Err(error.to_string()),
            });
        }
        planned.push(PlannedSource {
            kind: source.kind,
            path: source.path.clone(),
            units: source.units.clone(),
            bytes: source.bytes,
            tables,
        });
    }
    // A folder gives its name; of a single file the unit knows a better name than `events.out.tfevents.17…`.
    let root = &first.path;
    let name = match first.units.as_slice() {
        [unit] if !root.is_dir() => Some(unit.name.clone()),
        _ => root.file_name().map(|name| name.to_string_lossy().into_owned()),
    };
    let fallback = name.map(|name| shortened(&name, model::limits::NAME_CHARACTERS));
    let fallback_experiment = match ExperimentName::new(fallback.as_deref().unwrap_or("imported")) {
        Ok(name) => name,
        Err(_) => ExperimentName::new("imported").map_err(|error| ImportError::Mapping {
            text: "experiment".to_owned(),
            reason: error.to_string(),
        })?,
    };
    let belonging = Belonging {
        project: options.project.clone(),
        experiment: options.experiment.clone(),
        fallback_experiment,
    };
    Ok(Plan { sources: planned, limits, belonging })
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        for source in &self.sources {
            let what = match (source.kind.is_table(), source.units.len()) {
                (true, 1) => "file",
                (true, _) => "files",
                (false, 1) => "run",
                (false, _) => "runs",
            };
            write!(f, "{}: {} {what} in {}", source.kind, source.units.len(), source.path.display())?;
            if source.bytes > 0 {
                write!(f, " ({} bytes)", source.bytes)?;
            }
            writeln!(f)?;
            for (index, unit) in source.units.iter().enumerate().take(SHOWN) {
                writeln!(f, "  {}", unit.name)?;
                match source.tables.get(index) {
                    Some(Ok(Some(table))) => write!(f, "{table}")?,
                    Some(Err(reason)) => writeln!(f, "    {reason}")?,
                    Some(Ok(None)) | None => {}
                }
            }
            if source.units.len() > SHOWN {
                writeln!(f, "  … and {} more", source.units.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}
