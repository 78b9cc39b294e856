//! `verify`: every file, every record and the invariants between the tables, without changing anything.
//!
//! Everything that is wrong is told, not only the first: which file, where in it, which table, how many rows of which
//! runs, and what to do.

mod agreement;
mod delta;
mod log;

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::RunId;
use model::schema::Table;
use serde::Serialize;

use crate::catalog::{Catalog, CatalogError};
use crate::disk::{Disk, RealDisk};
use crate::error::{Result, StoreError};
use crate::lake_file::LakeFileError;
use crate::location::Location;
use crate::open::{load_lake_file, log_of, open_snapshot_tolerant};

/// The most runs that a finding names; [`Finding::run_count`] tells how many there are.
pub(crate) const NAMED_RUNS: usize = 100;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Finding {
    /// What kind of damage, a stable word such as `log.record` or `data.checksum`.
    pub code: &'static str,
    /// The file, relative to the lake.
    pub place: String,
    /// The part of the file: an offset, a row group and column, a commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// What is wrong there.
    pub what: String,
    /// The table that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<&'static str>,
    /// Rows that cannot be read because of it; 0 when none or when that is not known.
    pub rows: u64,
    /// Runs with rows that cannot be read, the first hundred.
    pub runs: Vec<String>,
    /// How many runs these are.
    pub run_count: u64,
    /// What to do.
    pub advice: &'static str,
}

impl Finding {
    pub(crate) fn new(code: &'static str, place: impl Into<String>, what: impl ToString) -> Self {
        Self { code, place: place.into(), what: what.to_string(), advice: RESTORE, ..Self::default() }
    }

    pub(crate) fn part(self, part: impl Into<String>) -> Self {
        Self { part: Some(part.into()), ..self }
    }

    pub(crate) fn table(self, table: Table) -> Self {
        Self { table: Some(table.name()), ..self }
    }

    pub(crate) fn rows(self, rows: u64) -> Self {
        Self { rows, ..self }
    }

    pub(crate) fn runs(self, runs: impl IntoIterator<Item = RunId>) -> Self {
        let mut runs: Vec<RunId> = runs.into_iter().collect();
        runs.sort_unstable();
        runs.dedup();
        let run_count = runs.len() as u64;
        Self { runs: runs.iter().take(NAMED_RUNS).map(RunId::to_string).collect(), run_count, ..self }
    }

    pub(crate) fn advice(self, advice: &'static str) -> Self {
        Self { advice, ..self }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.place)?;
        if let Some(part) = &self.part {
            write!(f, ", {part}")?;
        }
        write!(f, ": {}", self.detail())
    }
}

impl Finding {
    /// Everything but the place, in one line.
    pub fn detail(&self) -> String {
        let mut text = self.what.clone();
        if self.rows > 0 {
            text.push_str(&format!("; {} rows cannot be read", self.rows));
        }
        if self.run_count > 0 {
            let shown: Vec<&str> = self.runs.iter().take(5).map(String::as_str).collect();
            let more = if self.run_count > 5 { ", …" } else { "" };
            text.push_str(&format!("; runs affected: {} ({}{more})", self.run_count, shown.join(", ")));
        }
        text.push_str("; ");
        text.push_str(self.advice);
        text
    }
}

/// What to do about most damage.
pub(crate) const RESTORE: &str = "try `runlake verify --quarantine`, which makes it again when the log can, or restore the file from a backup";
/// What to do about a damaged log.
pub(crate) const SALVAGE: &str =
    "restore the file from a backup, or keep what is readable with `runlake verify --salvage`";
/// What to do about what the next writer mends by itself.
pub(crate) const MENDS: &str = "the next open for writing makes it anew, nothing is lost";
/// What to do about a contradiction that no single file explains.
pub(crate) const REPORT: &str = "please report this; the points themselves are readable";

/// What is wrong with one data file.
pub(crate) async fn file_findings(
    catalog: &Catalog,
    table: Table,
    file: &crate::catalog::DataFile,
) -> Result<Vec<Finding>> {
    let bad = delta::check_file(table, &catalog.store(table), file).await?;
    Ok(bad.map(delta::BadFile::into_findings).unwrap_or_default())
}

/// What a verification looked at and found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Everything that is wrong; empty when the lake is sound.
    pub findings: Vec<Finding>,
    /// What is worth knowing and does no harm: files that no commit names, a write that was torn.
    pub notes: Vec<Finding>,
    /// Records of the log that were read.
    pub log_records: u64,
    /// Commits that were read.
    pub commits: u64,
    /// Data files that were read whole.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Points in segments and in the log.
    pub points: u64,
    /// Series in the lake.
    pub series: u64,
    /// Runs in the registry.
    pub runs: u64,
}

impl VerifyReport {
    pub(crate) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// How far a long operation is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes done.
    pub bytes_done: u64,
    /// Bytes in all, as far as known.
    pub bytes_total: u64,
    /// What is being worked on, such as a file.
    pub place: String,
}

/// Is told how far a long operation is.
pub type ProgressSink = Arc<dyn Fn(Progress) + Send + Sync>;

/// Counts bytes and tells them.
pub(crate) struct Meter {
    progress: Progress,
    sink: Option<ProgressSink>,
}

impl Meter {
    pub(crate) fn new(sink: Option<ProgressSink>) -> Self {
        Self { progress: Progress::default(), sink }
    }

    pub(crate) fn expect(&mut self, bytes: u64) {
        self.progress.bytes_total += bytes;
    }

    pub(crate) fn done(&mut self, bytes: u64, place: &str) {
        self.progress.bytes_done += bytes;
        self.progress.bytes_total = self.progress.bytes_total.max(self.progress.bytes_done);
        if let Some(sink) = &self.sink {
            place.clone_into(&mut self.progress.place);
            sink(self.progress.clone());
        }
    }
}

/// Checks a lake: log records, Delta logs, every byte of every data file, and that the tables agree with each other. A
/// writer may be at work. Of a lake on an object store, the log is checked where it is on this machine.
///
/// # Errors
/// Only when there is no lake to look at, or its store does not answer; what is wrong with a lake is in the report.
pub async fn verify(location: impl Into<Location>) -> Result<VerifyReport> {
    verify_with(location, Arc::new(RealDisk), None).await
}

/// [`verify`] over any disk.
///
/// # Errors
/// As [`verify`].
pub async fn verify_on(location: impl Into<Location>, disk: Arc<dyn Disk>) -> Result<VerifyReport> {
    verify_with(location, disk, None).await
}

/// [`verify_on`], telling how far it is.
///
/// # Errors
/// As [`verify`].
pub async fn verify_with(
    location: impl Into<Location>,
    disk: Arc<dyn Disk>,
    progress: Option<ProgressSink>,
) -> Result<VerifyReport> {
    check(location.into(), disk, progress).await
}

fn check(
    location: Location,
    disk: Arc<dyn Disk>,
    progress: Option<ProgressSink>,
) -> BoxFuture<'static, Result<VerifyReport>> {
    async move {
        let catalog = Catalog::at(&location, Arc::clone(&disk))?;
        let mut report = VerifyReport::default();
        let mut meter = Meter::new(progress);
        let lake_file = match load_lake_file(&location, &disk, &catalog).await {
            Ok(Some(lake_file)) => Some(lake_file),
            Ok(None) if !has_tables(&catalog).await? => {
                return Err(StoreError::NoLake { path: location.to_string() });
            }
            Ok(None) => {
                let what = "the file is missing, but tables are there";
                report.add(Finding::new("lake.missing", "runlake.json", what));
                None
            }
            Err(LakeFileError::TooNew { format, created_by }) => {
                return Err(LakeFileError::TooNew { format, created_by }.into());
            }
            Err(error @ LakeFileError::Store { .. }) => return Err(error.into()),
            Err(error) => {
                report.add(Finding::new("lake.damaged", "runlake.json", error));
                None
            }
        };
        let mut tables = delta::Tables::default();
        // Points first: a flush that goes on meanwhile commits them last, so that nothing looks as if it came too early.
        for table in Table::ALL.into_iter().rev() {
            tables.add(delta::check_log(&catalog, table, &mut report).await?);
        }
        meter.expect(tables.bytes());
        if let Some(lake_file) = &lake_file {
            match log_of(&location, &disk, &catalog, lake_file).await {
                Ok(Some(layout)) => log::check(&*disk, &layout, lake_file, &mut report, &mut meter)?,
                Ok(None) => {}
                Err(error) => report.add(Finding::new("log.unreadable", "the log on this machine", error)),
            }
        }
        for table in Table::ALL {
            delta::check_files(&catalog, table, &mut tables, &mut report, &mut meter).await?;
        }
        delta::check_order(&tables, &mut report);
        if lake_file.is_some() {
            match open_snapshot_tolerant(location, disk).await {
                Ok(snapshot) => agreement::check(&snapshot, &mut tables, &mut report).await,
                Err(error) => report.add(Finding::new(
                    "lake.unreadable",
                    "the lake as a whole",
                    format!("it cannot be opened: {error}"),
                )),
            }
        }
        report.findings.extend(tables.into_findings());
        Ok(report)
    }
    .boxed()
}

/// Whether there is anything of the table of points.
async fn has_tables(catalog: &Catalog) -> Result<bool> {
    let listed = catalog.store(Table::Points).list_with_delimiter(None).await;
    let listed = listed.map_err(|error| CatalogError::store(Table::Points.name(), error))?;
    Ok(!listed.objects.is_empty() || !listed.common_prefixes.is_empty())
}
