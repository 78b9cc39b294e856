//! Lightning's CSV logger: `metrics.csv`, and `hparams.yaml` beside it, in a folder that is the run.

use crate::error::Result;
use crate::limits::Limits;
use crate::report::Reporter;
use crate::source::{Candidate, Claim, ClaimedFile, Found, FoundUnit, Search, Source, SourceKind, Unit};
use crate::table::mapping::Mapping;
use crate::table::{Table, TablePlan};

/// The source. What it reads is a table whose run is the folder.
pub(crate) struct Lightning;

const TABLE: Table = Table(SourceKind::Csv);

impl Source for Lightning {
    fn kind(&self) -> SourceKind {
        SourceKind::Lightning
    }

    fn claim(&self, file: &Candidate<'_>, _: &Search<'_>) -> Claim {
        let folder = file.path.parent().and_then(|folder| folder.file_name()).unwrap_or_default();
        let is_version = folder
            .to_string_lossy()
            .strip_prefix("version_")
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
        match file.name {
            "metrics.csv" if is_version || file.has_sibling("hparams.yaml") => Claim::Read,
            "hparams.yaml" if file.has_sibling("metrics.csv") => Claim::Read,
            _ => Claim::No,
        }
    }

    fn group(&self, files: Vec<ClaimedFile>, search: &Search<'_>) -> Found {
        let tables = files.into_iter().filter(|file| file.path.ends_with("metrics.csv"));
        let units = tables.map(|ClaimedFile { path, size }| {
            let hyperparameters = path.with_file_name("hparams.yaml");
            let mut unit =
                Unit::of_file(self.kind(), &path, search.folder_name(path.parent().unwrap_or(&path)));
            if std::fs::symlink_metadata(&hyperparameters).is_ok_and(|metadata| metadata.is_file()) {
                unit.files.push(hyperparameters);
            }
            FoundUnit { store: search.root.to_owned(), unit, bytes: size }
        });
        units.collect::<Vec<_>>().into()
    }

    fn plan(&self, unit: &Unit, mapping: Option<&Mapping>, limits: &Limits) -> Result<Option<TablePlan>> {
        TABLE.plan(unit, mapping, limits)
    }

    fn read(&self, unit: &Unit, plan: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        TABLE.read(unit, plan, reporter)
    }
}
