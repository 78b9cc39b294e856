//! The Delta logs and the data files: every commit, every checkpoint, every byte.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use futures::TryStreamExt;
use model::RunId;
use model::schema::Table;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::{Finding, MENDS, Meter, RESTORE, VerifyReport};
use crate::catalog::{AddedFile, Catalog, CatalogError, DataFile, commit_file};
use crate::error::Result;
use crate::flush::CHUNK_TAG;
use crate::segment::points::Reader;
use crate::segment::seal::SealedFile;

/// A data file that is damaged, to be explained further by the agreement of the tables.
#[derive(Debug)]
pub(super) struct BadFile {
    pub(super) table: Table,
    pub(super) path: String,
    pub(super) rows: u64,
    pub(super) runs: BTreeSet<RunId>,
    /// Whether `runs` are all that are affected.
    pub(super) runs_known: bool,
    findings: Vec<Finding>,
}

/// What the checks of logs and files leave for the checks between tables.
#[derive(Debug, Default)]
pub(super) struct Tables {
    tables: BTreeMap<Table, TableState>,
    pub(super) bad: Vec<BadFile>,
}

#[derive(Debug, Default)]
pub(super) struct TableState {
    table: Option<Table>,
    pub(super) files: Vec<AddedFile>,
    pub(super) last_seq: u64,
    /// Whether commits of the log are damaged, so that the files may not be all.
    pub(super) log_damaged: bool,
    /// Every data file that any commit named.
    named: HashSet<String>,
}

impl Tables {
    pub(super) fn add(&mut self, state: TableState) {
        if let Some(table) = state.table {
            self.tables.insert(table, state);
        }
    }

    pub(super) fn get(&self, table: Table) -> Option<&TableState> {
        self.tables.get(&table)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.tables.values().flat_map(|state| &state.files).map(|added| added.file.bytes).sum()
    }

    pub(super) fn is_bad(&self, table: Table, path: &str) -> bool {
        self.bad.iter().any(|bad| bad.table == table && bad.path == path)
    }

    pub(super) fn into_findings(self) -> impl Iterator<Item = Finding> {
        self.bad.into_iter().flat_map(BadFile::into_findings)
    }
}

impl BadFile {
    pub(super) fn into_findings(self) -> Vec<Finding> {
        let runs = self.runs;
        // The runs of a file stand at the first thing that is wrong with it, unless it knows its own.
        let with_runs = |(index, finding): (usize, Finding)| {
            if index == 0 && finding.run_count == 0 { finding.runs(runs.clone()) } else { finding }
        };
        self.findings.into_iter().enumerate().map(with_runs).collect()
    }
}

fn place(table: Table, file: &str) -> String {
    format!("tables/{}/{file}", table.name())
}

/// Checks every commit of a table and its checkpoints.
pub(super) async fn check_log(
    catalog: &Catalog,
    table: Table,
    report: &mut VerifyReport,
) -> Result<TableState> {
    let audit = catalog.audit_log(table).await?;
    let mut state = TableState { table: Some(table), ..TableState::default() };
    if audit.commits == 0 && audit.faults.is_empty() {
        if matches!(table, Table::Records(_)) {
            // If it ever held anything, the log says so, and reading the lake as a whole tells.
            let what =
                "the table does not exist: the lake was last written by a version that did not know it";
            report.notes.push(
                Finding::new("table.new", place(table, "_delta_log"), what)
                    .table(table)
                    .advice("the next writer makes it"),
            );
            return Ok(state);
        }
        report.add(
            Finding::new("table.missing", place(table, "_delta_log"), "the table does not exist")
                .table(table),
        );
        state.log_damaged = true;
        return Ok(state);
    }
    report.commits += audit.commits;
    for version in audit.leftovers {
        let what = "vacuum removed it, and a power cut brought it back; the log begins behind it";
        report.notes.push(
            Finding::new("commit.leftover", place(table, &commit_file(version)), what)
                .table(table)
                .advice("the next vacuum removes it; no reader reads it"),
        );
    }
    for (file, fault) in audit.faults {
        state.log_damaged = true;
        report.add(Finding::new("commit.damaged", place(table, &file), fault).table(table));
    }
    for (file, remark) in audit.contradictions {
        report.add(Finding::new("commit.contradiction", place(table, &file), remark).table(table));
    }
    for (file, fault) in audit.checkpoint_faults {
        report.add(Finding::new("checkpoint.damaged", place(table, &file), fault).table(table).advice(MENDS));
    }
    state.last_seq = audit.version.last_seq;
    state.files = audit.files;
    state.named = audit.named;
    Ok(state)
}

/// Checks every data file of a table.
pub(super) async fn check_files(
    catalog: &Catalog,
    table: Table,
    tables: &mut Tables,
    report: &mut VerifyReport,
    meter: &mut Meter,
) -> Result<()> {
    let store = catalog.store(table);
    let Some(state) = tables.tables.get(&table) else { return Ok(()) };
    let mut bad = Vec::new();
    let mut chunks: BTreeMap<&str, &str> = BTreeMap::new();
    for added in &state.files {
        let file = &added.file;
        report.files += 1;
        report.bytes += file.bytes;
        if let Some(chunk) = file.tags.get(CHUNK_TAG)
            && let Some(other) = chunks.insert(chunk, &file.path)
        {
            let what = format!("its rows (chunk {chunk}) are also in {other}: they count twice");
            report.add(Finding::new("data.doubled", place(table, &file.path), what).table(table));
        }
        if let Some(found) = check_file(table, &store, file).await? {
            bad.push(found);
        }
        meter.done(file.bytes, &place(table, &file.path));
    }
    orphans(table, store.as_ref(), state, report).await?;
    tables.bad.extend(bad);
    Ok(())
}

pub(super) async fn check_file(
    table: Table,
    store: &Arc<dyn ObjectStore>,
    file: &DataFile,
) -> Result<Option<BadFile>> {
    let finding = |code, what: String| {
        Finding::new(code, place(table, &file.path), what).table(table).rows(file.rows).advice(RESTORE)
    };
    let mut bad = BadFile {
        table,
        path: file.path.clone(),
        rows: file.rows,
        runs: BTreeSet::new(),
        runs_known: false,
        findings: Vec::new(),
    };
    let path = Path::from(file.path.as_str());
    let found = match store.get(&path).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => {
            bad.findings.push(finding("data.missing", "the file does not exist".to_owned()));
            return Ok(Some(bad));
        }
        Err(error) => return Err(CatalogError::store(table.name(), error).into()),
    };
    let length = found.meta.size;
    let mut checksum = 0;
    let mut parts = found.into_stream();
    loop {
        match parts.try_next().await {
            Ok(Some(part)) => checksum = crc32c::crc32c_append(checksum, &part),
            Ok(None) => break,
            Err(error) => {
                bad.findings.push(finding("data.unreadable", format!("it cannot be read: {error}")));
                return Ok(Some(bad));
            }
        }
    }
    if length != file.bytes {
        let what = format!("it has {length} bytes, committed were {}", file.bytes);
        bad.findings.push(finding("data.length", what));
        return Ok(Some(bad));
    }
    // Which part it is tells how far the damage reaches; the checksum of the whole file tells that there is any.
    let is_whole = file.crc32c() == Some(checksum);
    match SealedFile::open(store.as_ref(), &path, file.bytes, table.name()).await {
        Err(error) => bad.findings.push(finding("data.structure", error.to_string())),
        Ok(sealed) => {
            let damaged = sealed.damaged_chunks(store.as_ref()).await;
            let reader = match table {
                Table::Points => Reader::of(Arc::clone(store), sealed).ok(),
                _ => None,
            };
            let mut groups = BTreeMap::new();
            for chunk in damaged {
                let mut found = finding("data.checksum", chunk.reason.clone()).part(chunk.part());
                if let Some(reader) = &reader {
                    let rows = reader.group_rows(chunk.row_group);
                    found.rows = rows.end - rows.start;
                    groups.insert(chunk.row_group, found.rows);
                    let runs: BTreeSet<RunId> = reader.runs_in(&rows).collect();
                    bad.runs.extend(&runs);
                    found = found.runs(runs);
                }
                bad.findings.push(found);
            }
            if !groups.is_empty() {
                bad.rows = groups.values().sum();
                bad.runs_known = true;
            }
        }
    }
    if !is_whole && bad.findings.is_empty() {
        let committed = file.tags.get("crc32c").map_or("none", String::as_str);
        let what = format!(
            "its CRC32C is {checksum:08x}, committed was {committed}: bytes outside of the data differ, no row is affected"
        );
        bad.findings.push(finding("data.checksum", what).rows(0));
        bad.rows = 0;
        bad.runs_known = true;
    }
    Ok((!bad.findings.is_empty()).then_some(bad))
}

/// Files that no commit names: rubbish of a crash, or of a commit that was lost.
async fn orphans(
    table: Table,
    store: &dyn ObjectStore,
    state: &TableState,
    report: &mut VerifyReport,
) -> Result<()> {
    let listed = match store.list_with_delimiter(None).await {
        Ok(listed) => listed.objects,
        Err(object_store::Error::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(CatalogError::store(table.name(), error).into()),
    };
    for object in listed {
        let name = object.location.to_string();
        if name.ends_with(".parquet") && !state.named.contains(&name) {
            let what = format!("no commit names this file of {} bytes", object.size);
            report.notes.push(
                Finding::new("data.orphan", place(table, &name), what)
                    .table(table)
                    .advice("vacuum removes it; no reader reads it"),
            );
        }
    }
    Ok(())
}

/// What a flush promises about the numbers of the tables.
pub(super) fn check_order(tables: &Tables, report: &mut VerifyReport) {
    let (Some(series), Some(points)) = (tables.get(Table::Series), tables.get(Table::Points)) else { return };
    if series.last_seq < points.last_seq && !series.log_damaged {
        let what = format!(
            "it holds everything up to log record {}, points up to {}: series commits first in every flush",
            series.last_seq, points.last_seq
        );
        report.add(Finding::new("table.order", "tables/series", what).table(Table::Series));
    }
    let mut last: Option<(&str, u64)> = None;
    for added in points.files.iter().filter(|added| added.is_flush) {
        if let Some((path, seq)) = last
            && added.first_seq <= seq
        {
            let what = format!(
                "it holds log records {} to {}, but {path} holds up to {seq}: rows count twice",
                added.first_seq, added.last_seq
            );
            report.add(
                Finding::new("data.doubled", place(Table::Points, &added.file.path), what)
                    .table(Table::Points)
                    .rows(added.file.rows),
            );
        }
        last = Some((&added.file.path, added.last_seq));
    }
}
