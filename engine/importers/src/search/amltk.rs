//! AMLTK's history as a data frame: a Parquet file with a row for each trial and columns `name`, `status`, `config:*`,
//! `metric:*`, `summary:*` and so on. Source: `amltk/optimization/history.py`, `trial.py`.

use crate::columnar;
use crate::error::Result;
use crate::limits::Limits;
use crate::report::Reporter;
use crate::source::{Candidate, Claim, Search, Source, SourceKind, Unit};
use crate::table::mapping::{Mapping, Role};
use crate::table::{Form, Table, TablePlan};

/// The source. What it reads is a table in which each row is a run.
pub(crate) struct Amltk;

const TABLE: Table = Table(SourceKind::Parquet);

impl Source for Amltk {
    fn kind(&self) -> SourceKind {
        SourceKind::Amltk
    }

    fn claim(&self, file: &Candidate<'_>, search: &Search<'_>) -> Claim {
        if !file.beginning.starts_with(b"PAR1") {
            return Claim::No;
        }
        let columns = columnar::column_names(file.path, search.limits);
        let has = |beginning: &str| columns.iter().any(|column| column.starts_with(beginning));
        if has("metric:") && has("config:") && columns.iter().any(|column| column == "status") {
            Claim::Read
        } else {
            Claim::No
        }
    }

    fn plan(&self, unit: &Unit, mapping: Option<&Mapping>, limits: &Limits) -> Result<Option<TablePlan>> {
        if mapping.is_some() {
            return TABLE.plan(unit, mapping, limits);
        }
        let columns = columnar::column_names(&unit.path, limits);
        let roles = columns.into_iter().filter_map(|column| {
            let role = match column.as_str() {
                // What the index of the data frame is called when it is written.
                "name" => Role::Run,
                "reported_at" => Role::Time,
                column => match column.split_once(':') {
                    Some(("config", key)) => Role::Param(key.to_owned()),
                    Some(("metric", _)) => return None,
                    _ => Role::Tag(format!("amltk.{column}")),
                },
            };
            Some((role, column))
        });
        TABLE.plan(unit, Some(&Mapping::of_columns(roles.collect(), Form::Results)), limits)
    }

    fn read(&self, unit: &Unit, plan: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        TABLE.read(unit, plan, reporter)
    }
}
