//! What is done to a lake beside writing and reading it: compaction, vacuum, retention, backup and restoring.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use store::disk::Disk;
use store::{CompactOptions, Store, StoreConfig, VacuumOptions, open_snapshot_on, verify_on};

use super::life::{Life, ROOT};
use crate::ledger::View;

/// Where the backups are.
const COPIES: &str = "/not-on-this-machine/copies";

/// A backup, and what the lake held then.
#[derive(Debug, Clone)]
pub(super) struct Backup {
    last_seq: u64,
    view: View,
}

impl Life {
    pub(super) async fn compact(&mut self) {
        let options = CompactOptions { full: self.random.chance(2), sweep: self.random.chance(2) };
        match self.store().compact(options).await {
            Ok(report) if !self.faults_are_on() => assert_eq!(report.skipped, [], "{}", self.context),
            Ok(_) => {}
            Err(error) => assert!(self.faults_are_on(), "{}: {error}", self.context),
        }
    }

    pub(super) async fn vacuum(&mut self) {
        let older_than = match self.random.below(4) {
            0 => None,
            1 => Some(Duration::from_hours(1 + self.random.below(24 * 300))),
            _ => Some(Duration::ZERO),
        };
        let options = VacuumOptions { older_than, dry_run: self.random.chance(6) };
        if let Err(error) = self.store().vacuum(options).await {
            assert!(self.faults_are_on(), "{}: {error}", self.context);
        }
    }

    /// Applies the retention of projects by the clock of the lake, wherever it has jumped.
    pub(super) async fn expire(&mut self) {
        let request = self.model.new_expiry(self.clock.load(Ordering::Relaxed));
        let arrival = self.model.arrive();
        match self.store().apply_retention().await {
            Ok(count) => {
                assert_eq!(count as u64, request.expires(), "{}", self.context);
                self.model.acknowledged(arrival, &request, false);
            }
            Err(_) if self.is_lost() => self.model.unanswered(arrival, &request),
            Err(error) => assert!(self.faults_are_on(), "{}: {error}", self.context),
        }
    }

    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.process())
    }

    pub(super) async fn back_up(&mut self) {
        if self.is_lost() {
            return;
        }
        let now = self.clock.load(Ordering::Relaxed);
        let failed_syncs = self.disk.failed_syncs();
        let copied =
            store::backup(Path::new(ROOT), Path::new(COPIES), self.disk(), Arc::new(move || now), None).await;
        self.failed_syncs_of_copies += self.disk.failed_syncs() - failed_syncs;
        match copied {
            Ok(report) => {
                self.model.figures.backups += 1;
                self.backups.push(Backup { last_seq: report.last_seq, view: self.model.view() });
            }
            Err(error) => assert!(self.faults_are_on(), "{}: {error}", self.context),
        }
    }

    /// Restores a backup, the newest or any other, and looks at what comes of it.
    pub(super) async fn restore(&mut self) {
        if self.backups.is_empty() || self.disk.is_off() {
            return;
        }
        let Backup { last_seq, view } = self.random.pick(&self.backups).clone();
        let target = PathBuf::from(format!("/not-on-this-machine/restored/{}", self.restored));
        self.restored += 1;
        let (disk, failed_syncs) = (self.disk(), self.disk.failed_syncs());
        let outcome = store::restore(Path::new(COPIES), &target, Some(last_seq), &disk, None);
        let is_there = disk.directory_exists(&target).unwrap_or_default();
        match &outcome {
            Ok(report) => assert_eq!((report.last_seq, is_there), (last_seq, true), "{}", self.context),
            Err(error) => assert!(self.faults_are_on(), "{}: {error}", self.context),
        }
        // It is there whole or not at all, also when the last sync failed.
        if is_there && !self.disk.is_off() {
            self.compare_restored(&target, &view).await;
        }
        self.failed_syncs_of_copies += self.disk.failed_syncs() - failed_syncs;
        for file in
            self.disk.files().into_iter().filter(|file| file.starts_with("/not-on-this-machine/restored"))
        {
            self.disk.delete(&file);
        }
    }

    async fn compare_restored(&mut self, target: &Path, expected: &View) {
        let context = format!("{}, restored", self.context);
        let compared: Result<(), store::StoreError> = async {
            let found = View::of(&open_snapshot_on(target, self.disk()).await?).await?;
            assert!(found == *expected, "{context}: {found:?}, backed up was {expected:?}");
            if self.random.chance(2) {
                let report = verify_on(target, self.disk()).await?;
                if !self.faults_are_on() {
                    assert_eq!(report.findings, [], "{context}");
                }
            } else {
                // It is a lake like any other.
                let clock = Arc::clone(&self.clock);
                let clock = Arc::new(move || clock.load(Ordering::Relaxed));
                let config = StoreConfig { disk: self.disk(), ..StoreConfig::new(target, clock) };
                let store = Store::open(config).await?;
                let flushed = store.flush().await;
                let found = View::of(&store.snapshot()).await;
                store.close().await;
                flushed?;
                assert!(found? == *expected, "{context}, open for writing");
            }
            Ok(())
        }
        .await;
        match compared {
            Ok(()) => self.model.figures.restored += 1,
            Err(error) => assert!(self.faults_are_on(), "{context}: {error}"),
        }
    }
}
