//! `verify`: every file, every record and the invariants between the tables, without changing anything.

use std::collections::HashMap;
use std::sync::Arc;

use model::SeriesKey;
use model::schema::Table;

use crate::catalog::Catalog;
use crate::disk::{Disk, RealDisk};
use crate::error::{Result, StoreError};
use crate::lake_file::{LakeFile, LakeFileError};
use crate::layout::Layout;
use crate::location::Location;
use crate::open::{find_lake, log_of, open_snapshot_on};
use crate::snapshot::Snapshot;
use crate::wal;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file or table.
    pub place: String,
    /// What is wrong there, with the offset or row where there is one.
    pub what: String,
}

/// What a verification looked at and found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Everything that is wrong; empty when the lake is sound.
    pub findings: Vec<Finding>,
    /// Records of the log that were read.
    pub log_records: u64,
    /// Data files that were read whole.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Points in segments and in the log.
    pub points: u64,
    /// Runs in the registry.
    pub runs: u64,
}

impl VerifyReport {
    fn add(&mut self, place: impl Into<String>, what: impl ToString) {
        self.findings.push(Finding { place: place.into(), what: what.to_string() });
    }
}

/// Checks a lake: log records, Delta logs, every byte of every data file, and that the tables agree with each other. A
/// writer may be at work. Of a lake on an object store, the log is checked where it is on this machine.
///
/// # Errors
/// Only when there is no lake to look at, or its store does not answer; what is wrong with a lake is in the report.
pub async fn verify(location: impl Into<Location>) -> Result<VerifyReport> {
    verify_on(location, Arc::new(RealDisk)).await
}

/// [`verify`] over any disk.
///
/// # Errors
/// As [`verify`].
pub async fn verify_on(location: impl Into<Location>, disk: Arc<dyn Disk>) -> Result<VerifyReport> {
    let location = location.into();
    let mut report = VerifyReport::default();
    let (catalog, lake_file) = match find_lake(&location, &disk).await {
        Ok(found) => found,
        Err(StoreError::LakeFile(error @ (LakeFileError::TooNew { .. } | LakeFileError::Damaged { .. }))) => {
            report.add("runlake.json", error);
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    match log_of(&location, &disk, &catalog, &lake_file).await {
        Ok(Some(layout)) => verify_log(&disk, &layout, &lake_file, &mut report)?,
        Ok(None) => {}
        Err(error) => report.add("the log on this machine", error),
    }
    for table in Table::ALL {
        verify_table(&catalog, table, &mut report).await;
    }
    match open_snapshot_on(location, disk).await {
        Ok(snapshot) => verify_agreement(&snapshot, &mut report).await,
        Err(error) => report.add("the lake as a whole", format!("cannot be opened: {error}")),
    }
    Ok(report)
}

fn verify_log(
    disk: &Arc<dyn Disk>,
    layout: &Layout,
    lake_file: &LakeFile,
    report: &mut VerifyReport,
) -> Result<()> {
    let lake_id = lake_file.lake_id_bytes()?;
    for finding in wal::verify(&layout.wal(), lake_id, &**disk) {
        report
            .add(finding.file.display().to_string(), format!("offset {}: {}", finding.offset, finding.what));
    }
    for record in wal::scan(layout.wal(), lake_id, Arc::clone(disk)) {
        match record {
            Ok(_) => report.log_records += 1,
            // `wal::verify` has named it already, with more of its kind.
            Err(_) => break,
        }
    }
    Ok(())
}

async fn verify_table(catalog: &Catalog, table: Table, report: &mut VerifyReport) {
    match catalog.verify(table).await {
        Ok(findings) => findings.into_iter().for_each(|finding| {
            report.add(format!("table {}, {}", table.name(), finding.file), finding.detail);
        }),
        Err(error) => report.add(format!("table {}", table.name()), error),
    }
    let Ok(version) = catalog.load(table).await else { return };
    for file in &version.files {
        report.files += 1;
        report.bytes += file.bytes;
    }
}

/// The statistics of every series must count exactly the points that segments and log hold of it.
async fn verify_agreement(snapshot: &Snapshot, report: &mut VerifyReport) {
    let mut counts: HashMap<SeriesKey, u64> = HashMap::new();
    for file in snapshot.point_files() {
        let Ok(reader) = snapshot.open_segment(file).await else { continue };
        for series in reader.series().iter() {
            let metric = model::MetricName::new(series.metric);
            let context = series.context.map(model::Context::parse).transpose();
            let (Ok(metric), Ok(context)) = (metric, context) else {
                report.add(
                    &file.path,
                    format!("series {:?} of run {} has no valid name", series.metric, series.run),
                );
                continue;
            };
            if snapshot.registry().run(series.run).is_none() {
                report.add(
                    &file.path,
                    format!("it has points of run {}, which the runs table does not hold", series.run),
                );
            }
            *counts.entry(SeriesKey { run: series.run, metric, context }).or_default() += series.rows.rows;
        }
    }
    for series in snapshot.memtable_series(|_| true) {
        *counts.entry(series.key.clone()).or_default() += series.points.len() as u64;
    }
    report.runs = snapshot.registry().runs().len() as u64;
    report.points = counts.values().sum();
    for entry in snapshot.series().entries() {
        let found = counts.remove(&entry.key).unwrap_or_default();
        if found != entry.statistics.count {
            report.add(
                "table series",
                format!(
                    "run {}, metric {:?}: the statistics count {} points, segments and log hold {found}",
                    entry.key.run, entry.key.metric, entry.statistics.count
                ),
            );
        }
    }
    for key in counts.into_keys() {
        report.add(
            "table series",
            format!("run {}, metric {:?} has points and no statistics", key.run, key.metric),
        );
    }
}
