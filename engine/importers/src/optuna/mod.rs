//! Optuna: its SQLite file and its journal. A trial is a run, a study is an experiment.
//!
//! Reported values are the metric `intermediate`; objectives are `value`, or `values_0` and so on, or as the study names
//! them. Distributions, states and attributes stand in tags `optuna.*`.

mod database;
mod journal;
mod study;

pub use self::journal::Journal;

use crate::error::Result;
use crate::report::Reporter;
use crate::source::{Candidate, Claim, ClaimedFile, Found, Search, Source, SourceKind, Unit};
use crate::sqlite;
use crate::table::TablePlan;

/// The source.
pub(crate) struct Optuna;

impl Source for Optuna {
    fn kind(&self) -> SourceKind {
        SourceKind::Optuna
    }

    fn claim(&self, file: &Candidate<'_>, _: &Search<'_>) -> Claim {
        let first = file.beginning.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let is_journal = first.starts_with(b"{") && journal::is_line(first);
        if is_journal || file.has_tables(&database::TABLES) { Claim::Read } else { Claim::No }
    }

    fn group(&self, files: Vec<ClaimedFile>, search: &Search<'_>) -> Found {
        sqlite::units(self.kind(), files, search).into()
    }

    fn read(&self, unit: &Unit, _: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        let beginning = crate::files::unpacked_beginning(&unit.path, reporter.limits, 16)?;
        if sqlite::is_database(&beginning) {
            database::read(unit, reporter)
        } else {
            journal::read(unit, reporter)
        }
    }
}
