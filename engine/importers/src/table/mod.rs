//! Tables and documents of points: CSV, JSON lines, JSON, Parquet, Arrow; long (a metric's name and value in each row) or wide
//! (a column for each metric).
//!
//! Columns get their meaning from a [`mapping`], or it is guessed from their names and the first rows (`guess`).

mod arrow_file;
pub(crate) mod batches;
pub(crate) mod csv;
mod document;
pub(crate) mod guess;
mod json_lines;
pub(crate) mod lines;
pub mod mapping;
mod parquet_file;
mod pattern;
pub(crate) mod rows;
mod text;

use std::fmt;

use self::mapping::{ColumnType, Mapping, Role};
use crate::binary;
use crate::error::Result;
use crate::files::{self, Packing};
use crate::limits::Limits;
use crate::report::Reporter;
use crate::source::{Candidate, Claim, Search, Source, SourceKind, Unit};

pub use self::csv::{Dialect, fuzz_csv};
pub use self::json_lines::fuzz_json_lines;

/// The shape of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A column for each metric.
    Wide,
    /// Each row names a metric and gives its value.
    Long,
    /// Each row is a run: its columns are params.
    Runs,
    /// Each row is a run, also where names repeat: its columns of numbers are metrics with one point, the others params.
    Results,
    /// A JSON document whose entries are runs with a history each.
    Histories,
    /// There is nothing in the file.
    Empty,
}

/// What the first rows of a column hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// At least one number.
    Numbers,
    /// Texts, truth values or lists only.
    Other,
    /// Nothing.
    Nothing,
}

/// A column and what it feeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedColumn {
    /// The name; made unique by `#1`, `#2` where the file repeats it.
    pub name: String,
    /// Its roles. Without any it is a metric if it holds numbers (wide), a param (runs) or not imported.
    pub roles: Vec<Role>,
    /// What the first rows hold.
    pub content: Content,
    /// The values of the first rows, shortened; empty where there is none.
    pub first: Vec<String>,
    /// The type that the mapping gives it.
    pub column_type: Option<ColumnType>,
}

/// How a table file is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePlan {
    /// Its shape.
    pub form: Form,
    /// Its columns; more may come in files without a header.
    pub columns: Vec<PlannedColumn>,
    /// For delimited text: how it is delimited.
    pub dialect: Option<Dialect>,
    /// For lines of text: the expression that takes them apart.
    pub lines: Option<String>,
    /// The mapping that was given; `None` where everything was guessed.
    pub given: Option<Mapping>,
}

impl TablePlan {
    fn empty() -> Self {
        Self { form: Form::Empty, columns: Vec::new(), dialect: None, lines: None, given: None }
    }

    /// The mapping that gives the same plan.
    pub fn mapping(&self) -> Mapping {
        let roles = |column: &PlannedColumn| {
            column.roles.iter().map(|role| (role.clone(), column.name.clone())).collect()
        };
        let entries: Vec<Vec<(Role, String)>> = self.columns.iter().map(roles).collect();
        Mapping::of_plan(entries.concat(), self.form, self.given.as_ref())
    }

    fn given(&self) -> &Mapping {
        static NONE: std::sync::OnceLock<Mapping> = std::sync::OnceLock::new();
        self.given.as_ref().unwrap_or_else(|| NONE.get_or_init(Mapping::default))
    }
}

impl fmt::Display for TablePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 40;
        let form = match self.form {
            Form::Wide => "wide: a column for each metric",
            Form::Long => "long: a metric's name and value in each row",
            Form::Runs => "runs: a row for each run, columns are params",
            Form::Results => "results: a row for each run, columns of numbers are metrics",
            Form::Histories => "a list of runs with a history each",
            Form::Empty => "empty",
        };
        write!(f, "    {form}")?;
        if let Some(dialect) = &self.dialect {
            write!(f, "; {dialect}")?;
        }
        if let Some(lines) = &self.lines {
            write!(f, "; lines that match {lines}")?;
        }
        writeln!(f)?;
        for (role, value) in self.given().constants() {
            writeln!(f, "    {value:?} in all rows -> {role}")?;
        }
        for column in self.columns.iter().take(SHOWN) {
            write!(f, "    {:?} -> ", column.name)?;
            if column.roles.is_empty() {
                f.write_str(match (self.form, column.content) {
                    (Form::Runs, _) | (Form::Results, Content::Other) => "param",
                    (Form::Long, _) => "not imported",
                    (_, Content::Other) => "not imported (no numbers)",
                    _ => "metric",
                })?;
                if let Some((new, _)) = self.given().renames().iter().find(|(_, old)| *old == column.name) {
                    write!(f, " {new:?}")?;
                }
            }
            if let Some(column_type) = column.column_type {
                write!(f, " as {}", column_type.as_str())?;
            }
            for (index, role) in column.roles.iter().enumerate() {
                write!(f, "{}{role}", if index > 0 { ", " } else { "" })?;
            }
            if column.first.iter().any(|value| !value.is_empty()) {
                write!(f, "  ({})", column.first.join(" | "))?;
            }
            writeln!(f)?;
        }
        if self.columns.len() > SHOWN {
            writeln!(f, "    … and {} more columns", self.columns.len() - SHOWN)?;
        }
        Ok(())
    }
}

/// One value of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cell<'a> {
    /// Nothing, or null.
    Empty,
    /// A text; whether it may spell a number is the format's rule.
    Text(&'a str),
    /// A whole number.
    Integer(i64),
    /// Any number.
    Number(f64),
    /// A truth value.
    Boolean(bool),
    /// Microseconds since 1970 UTC.
    Time(i64),
    /// A list or another thing that is no scalar.
    Other,
}

/// The source of a table format.
pub(crate) struct Table(pub(crate) SourceKind);

impl Source for Table {
    fn kind(&self) -> SourceKind {
        self.0
    }

    fn claim(&self, file: &Candidate<'_>, search: &Search<'_>) -> Claim {
        // Where the user says how lines are read, every text is lines.
        let claimed = match (self.0, search.lines) {
            (SourceKind::Lines, lines) => lines && is_text(file, search),
            (_, true) => false,
            (kind, false) => kind_of(file, search.limits) == Some(kind),
        };
        if claimed { Claim::Read } else { Claim::No }
    }

    /// Looks at the beginning of a file and decides what its columns mean.
    fn plan(&self, unit: &Unit, mapping: Option<&Mapping>, limits: &Limits) -> Result<Option<TablePlan>> {
        let plan = match self.0 {
            SourceKind::JsonLines => json_lines::plan,
            SourceKind::Json => document::plan,
            SourceKind::Parquet => parquet_file::plan,
            SourceKind::Arrow => arrow_file::plan,
            SourceKind::Lines => pattern::plan,
            _ => csv::plan,
        };
        let mut plan = plan(&unit.path, mapping, limits)?;
        if let Some(mapping) = mapping.filter(|_| plan.form != Form::Empty) {
            guess::give_types(&unit.path, mapping, plan.form, &mut plan.columns)?;
            plan.given = Some(mapping.clone());
        }
        Ok(Some(plan))
    }

    fn read(&self, unit: &Unit, plan: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        let Some(plan) = plan else { return Ok(()) };
        if plan.form == Form::Empty {
            reporter.remark(&unit.path, crate::sink::Place::File, "file.empty", "", 1, || {
                "the file is empty".to_owned()
            });
            return Ok(());
        }
        match self.0 {
            SourceKind::JsonLines => json_lines::import(unit, plan, reporter),
            SourceKind::Json => document::import(unit, plan, reporter),
            SourceKind::Parquet => parquet_file::import(unit, plan, reporter),
            SourceKind::Arrow => arrow_file::import(unit, plan, reporter),
            SourceKind::Lines => pattern::import(unit, plan, reporter),
            _ => csv::import(unit, plan, reporter),
        }
    }
}

/// Whether a file holds text, as far as its beginning tells.
fn is_text(file: &Candidate<'_>, search: &Search<'_>) -> bool {
    let holds_text =
        |bytes: &[u8]| !bytes.is_empty() && !bytes.contains(&0) && binary::kind_of(bytes).is_none();
    match Packing::of(file.beginning) {
        Packing::Plain => holds_text(file.beginning),
        _ => files::unpacked_beginning(file.path, search.limits, 4_096).is_ok_and(|bytes| holds_text(&bytes)),
    }
}

/// The endings of Arrow's files and streams, and of Feather, which became the same.
fn is_arrow_name(name: &str) -> bool {
    [".arrow", ".arrows", ".feather", ".ipc"].iter().any(|ending| name.ends_with(ending))
}

/// Whether a name promises text.
fn is_text_name(name: &str) -> bool {
    let stem = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    [".csv", ".tsv", ".jsonl", ".ndjson", ".json"].iter().any(|ending| stem.ends_with(ending))
}

/// Whether a name is one of a table that is packed in a way that is not read.
pub(crate) fn is_packed_name(name: &str) -> bool {
    let endings = [".xz", ".bz2", ".lz4", ".7z", ".z", ".rar"];
    endings.iter().find_map(|ending| name.strip_suffix(ending)).is_some_and(is_text_name)
}

/// Tells a table or document by name and beginning. A file that the user named may have any name.
fn kind_of(file: &Candidate<'_>, limits: &Limits) -> Option<SourceKind> {
    let Candidate { name, beginning, given, .. } = *file;
    if beginning.starts_with(b"PAR1") || name.ends_with(".parquet") {
        return Some(SourceKind::Parquet);
    }
    if beginning.starts_with(arrow_file::MARK) || is_arrow_name(name) {
        return Some(SourceKind::Arrow);
    }
    // What holds no text is no table, whatever its name says; a table of a false name is told as one that cannot be read.
    if given && binary::kind_of(beginning).is_some() && !is_text_name(name) {
        return None;
    }
    let stem = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    if [".csv", ".tsv"].iter().any(|ending| stem.ends_with(ending)) {
        return Some(SourceKind::Csv);
    }
    if [".log", ".txt"].iter().any(|ending| name.ends_with(ending)) && csv::is_log(beginning) {
        return Some(SourceKind::Csv);
    }
    if [".jsonl", ".ndjson"].iter().any(|ending| stem.ends_with(ending)) {
        return Some(SourceKind::JsonLines);
    }
    if stem.ends_with(".json") {
        let is_log = || match Packing::of(beginning) {
            Packing::Plain => document::is_log(beginning),
            _ => files::unpacked_beginning(file.path, limits, 64 << 10)
                .is_ok_and(|beginning| document::is_log(&beginning)),
        };
        return (given || is_log()).then_some(SourceKind::Json);
    }
    if given && !beginning.is_empty() && Packing::of(beginning) == Packing::Plain && !beginning.contains(&0) {
        let first = beginning.iter().find(|byte| !byte.is_ascii_whitespace());
        return Some(match first {
            Some(b'{') => SourceKind::JsonLines,
            Some(b'[') => SourceKind::Json,
            _ => SourceKind::Csv,
        });
    }
    None
}
