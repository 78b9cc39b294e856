//! Quarantine: damaged data files that the log can give back are set aside and made again from it.
//!
//! Only on the explicit word of a user. The newest commits of the table are taken back, up to a version whose files are
//! all sound and behind which the log has everything; the next open replays the log from there, as after a crash before
//! those commits. What the log cannot give back stays as it is and is named.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::schema::Table;

use crate::catalog::{Catalog, TableVersion};
use crate::disk::Disk;
use crate::error::{Result, StoreError};
use crate::lake_file::LakeFile;
use crate::layout::Layout;
use crate::lock::WriterLock;
use crate::verify::{Finding, file_findings};
use crate::wal;

/// What a quarantine did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QuarantineReport {
    /// Files that were set aside; the next open for writing makes their rows again from the log.
    pub set_aside: Vec<SetAside>,
    /// Damage that the log cannot give back. Nothing was changed there.
    pub left: Vec<Finding>,
}

/// A file that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// The table.
    pub table: &'static str,
    /// The file, relative to the lake.
    pub file: String,
    /// Where it is now, relative to the lake; `None` when it was missing.
    pub kept: Option<String>,
    /// Rows that it held.
    pub rows: u64,
}

/// Sets damaged data files aside that the log can give back.
///
/// # Errors
/// Another process writes, a Delta log or the log itself is damaged (mend that first), or the store refuses.
pub fn quarantine<'a>(
    root: &'a Path,
    disk: Arc<dyn Disk>,
    owner: &'a str,
) -> BoxFuture<'a, Result<QuarantineReport>> {
    async move {
        let layout = Layout::new(root);
        let Some(lake_file) = LakeFile::read(&*disk, &layout.lake_file())? else {
            return Err(StoreError::NoLake { path: root.display().to_string() });
        };
        let lake_id = lake_file.lake_id_bytes()?;
        let _lock = WriterLock::acquire(&*disk, &layout.lock_file(), owner)?;
        let catalog = Catalog::open_on(root, Arc::clone(&disk))?;
        let log_start = wal::first_seq(&layout.wal(), lake_id, &*disk)?;
        // All of it must be readable before anything is given up that it is to bring back.
        for record in wal::scan(layout.wal(), lake_id, Arc::clone(&disk)) {
            record?;
        }
        let mut report = QuarantineReport::default();
        for table in Table::ALL {
            let newest = catalog.load(table).await?;
            let mut checked = Checked { catalog: &catalog, table, findings: BTreeMap::new() };
            let mut bad = Vec::new();
            for file in &newest.files {
                if !checked.is_sound(file).await? {
                    bad.push(file.clone());
                }
            }
            if bad.is_empty() {
                continue;
            }
            let Some(sound) = checked.sound_version(log_start).await? else {
                for file in &bad {
                    report.left.extend(checked.findings.remove(&file.path).unwrap_or_default());
                }
                continue;
            };
            let reason = "set aside; the log has its rows".to_owned();
            fail::fail_point!("quarantine-before-take-back");
            catalog.take_back(table, sound, &reason).await?;
            for file in bad {
                fail::fail_point!("quarantine-before-set-aside");
                let kept = catalog.set_aside(table, &file.path, &reason).await?;
                let (table, rows) = (table.name(), file.rows);
                report.set_aside.push(SetAside {
                    table,
                    file: format!("tables/{table}/{}", file.path),
                    kept,
                    rows,
                });
            }
        }
        Ok(report)
    }
    .boxed()
}

/// Data files of one table that were checked.
struct Checked<'a> {
    catalog: &'a Catalog,
    table: Table,
    findings: BTreeMap<String, Vec<Finding>>,
}

impl Checked<'_> {
    async fn is_sound(&mut self, file: &crate::catalog::DataFile) -> Result<bool> {
        if !self.findings.contains_key(&file.path) {
            let findings = file_findings(self.catalog, self.table, file).await?;
            self.findings.insert(file.path.clone(), findings);
        }
        Ok(self.findings.get(&file.path).is_none_or(Vec::is_empty))
    }

    /// The newest version whose files are sound and behind which the log has everything.
    async fn sound_version(&mut self, log_start: Option<u64>) -> Result<Option<i64>> {
        let Some(log_start) = log_start else { return Ok(None) };
        let versions: Vec<TableVersion> = self.catalog.recent_versions(self.table).await?;
        for version in versions.iter().rev() {
            if log_start > version.last_seq.saturating_add(1) {
                return Ok(None);
            }
            let mut sound = true;
            for file in &version.files {
                sound = sound && self.is_sound(file).await?;
            }
            if sound {
                return Ok(version.version);
            }
        }
        Ok(None)
    }
}
