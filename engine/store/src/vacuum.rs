//! Vacuum: files that nobody needs any more are removed from the store.
//!
//! A data file goes when no version of its table within the last while names it, no snapshot of this process holds it,
//! and it is as old itself (so that one that was stored a moment ago may still be committed). What stands in
//! `quarantine/` stays.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use model::schema::Table;
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _};

use crate::catalog::CatalogError;
use crate::error::Result;
use crate::live;
use crate::store::Shared;

/// What a vacuum removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VacuumOptions {
    /// How long files stay that no version needs; `None` for what the lake is configured for (24 hours). Readers in
    /// other processes may fail on files that go earlier.
    pub older_than: Option<Duration>,
    /// Only tell what would be removed.
    pub dry_run: bool,
}

/// A file that was removed, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VacuumedFile {
    /// The name of the table.
    pub table: &'static str,
    /// The file, relative to the folder of the table.
    pub file: String,
    /// Its length.
    pub bytes: u64,
}

/// What a vacuum did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VacuumReport {
    /// Data files that were removed.
    pub files: Vec<VacuumedFile>,
    /// Files of Delta logs that were removed.
    pub log_files: u64,
    /// Data files that no version needs and that stay, since they are too young or a snapshot of this process holds them.
    pub kept: u64,
    /// Whether nothing was removed really.
    pub dry_run: bool,
}

impl VacuumReport {
    /// Bytes of the removed data files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

pub(crate) async fn vacuum(shared: &Arc<Shared>, options: VacuumOptions) -> Result<VacuumReport> {
    // No merge stores files meanwhile.
    let _alone = shared.maintenance.alone.lock().await;
    let older_than = options.older_than.unwrap_or(shared.config.maintenance.keep_unnamed);
    let now = (shared.config.clock)() / 1000;
    let cutoff = now.saturating_sub(i64::try_from(older_than.as_millis()).unwrap_or(i64::MAX));
    let is_old = |millis: i64| older_than.is_zero() || millis <= cutoff;
    let mut report = VacuumReport { dry_run: options.dry_run, ..VacuumReport::default() };
    for table in Table::ALL {
        let name = table.name();
        let store = shared.catalog.store(table);
        let failed = |error| CatalogError::store(name, error);
        let mut gone = Vec::new();
        {
            // No flush stores files while they are listed, so what is there is committed, or rubbish.
            let tables = shared.lock_tables().await?;
            let version = tables.version(table);
            let mut needed: HashSet<String> = version.files.iter().map(|file| file.path.clone()).collect();
            let mut held = shared.catalog.removed_when(table, |millis| !is_old(millis)).await?;
            if table == Table::Points {
                held.extend(live::files(shared.catalog.root()));
            }
            let listed = store.list_with_delimiter(None).await.map_err(failed)?;
            for object in listed.objects {
                let file = object.location.to_string();
                if !file.ends_with(".parquet") || needed.remove(&file) {
                    continue;
                }
                if held.contains(&file) || !is_old(object.last_modified.timestamp_millis()) {
                    report.kept += 1;
                } else {
                    gone.push(VacuumedFile { table: name, file, bytes: object.size });
                }
            }
        }
        if !options.dry_run {
            // A writer that was cut off may take files of its successor for rubbish.
            shared.guard.wait_here().await?;
            for file in &gone {
                fail::fail_point!("vacuum-before-delete");
                let path = Path::from(file.file.as_str());
                match store.delete(&path).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(failed(error).into()),
                }
                shared.readers.forget(&path);
            }
            fail::fail_point!("vacuum-before-log");
            let mut tables = shared.lock_tables().await?;
            shared.guard.wait_here().await?;
            if older_than.is_zero() {
                // The log names what was deleted until two checkpoints are younger than that.
                for _ in 0..2 {
                    let base = tables.version(table);
                    shared.catalog.checkpoint(table, &base).await?;
                    tables.touch(&shared.catalog, table, now).await?;
                }
                let last = tables.version(table);
                shared.catalog.checkpoint(table, &last).await?;
                if table == Table::Points {
                    shared.state.write().take_over_points(last);
                }
            } else {
                shared.catalog.checkpoint_if_due(table, &tables.version(table), is_old).await?;
            }
            report.log_files += shared.catalog.clean_log(table, is_old).await?;
        }
        report.files.append(&mut gone);
    }
    Ok(report)
}
