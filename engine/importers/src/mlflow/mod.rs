//! MLflow: the file store of 1.x to 3.x, and its SQLite file.

mod database;
mod file_store;
pub mod meta;
pub mod metric_line;

use std::collections::BTreeMap;
use std::path::PathBuf;

use model::RunId;

use crate::error::Result;
use crate::limits::Limits;
use crate::report::{Reporter, shortened};
use crate::sink::ImportedRun;
use crate::source::{Candidate, Claim, ClaimedFile, Folder, Found, Search, Source, SourceKind, Unit};
use crate::sqlite;
use crate::table::TablePlan;

/// The source.
pub(crate) struct Mlflow;

impl Source for Mlflow {
    fn kind(&self) -> SourceKind {
        SourceKind::Mlflow
    }

    fn folder(&self, folder: &Folder<'_>, search: &Search<'_>) -> Option<Found> {
        file_store::detect_folder(folder.path, search.limits)
    }

    fn claim(&self, file: &Candidate<'_>, _: &Search<'_>) -> Claim {
        if file.has_tables(&database::TABLES) { Claim::Read } else { Claim::No }
    }

    fn group(&self, files: Vec<ClaimedFile>, search: &Search<'_>) -> Found {
        sqlite::units(self.kind(), files, search).into()
    }

    fn list_files(&self, unit: &Unit, limits: &Limits) -> Result<Vec<PathBuf>> {
        file_store::list_run_files(&unit.path, limits)
    }

    fn read(&self, unit: &Unit, _: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        if unit.files.is_empty() { file_store::read(unit, reporter) } else { database::read(unit, reporter) }
    }
}

/// What MLflow keeps in tags although it belongs to the run. Versions before 1.30 have the name only there.
fn name_by_tags(
    run: &mut ImportedRun,
    tags: &BTreeMap<String, String>,
    name: Option<&str>,
    user: Option<&str>,
) {
    let tag = |key: &str| tags.get(key).map(String::as_str);
    if let Some(name) = name.filter(|name| !name.is_empty()).or_else(|| tag("mlflow.runName")) {
        run.name = shortened(name, model::limits::NAME_CHARACTERS);
    }
    run.user = tag("mlflow.user").or(user).filter(|user| !user.is_empty()).map(str::to_owned);
    run.parent = tag("mlflow.parentRunId").map(|id| RunId::imported(SourceKind::Mlflow.as_str(), id.trim()));
    run.git_commit = tag("mlflow.source.git.commit").map(|commit| commit.trim().to_owned());
}
