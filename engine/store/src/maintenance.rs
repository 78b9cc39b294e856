//! What goes on in the background of an open lake: compaction after flushes, retention, vacuum, and the care of the Delta logs.
//! It yields to writers, and a failure here never reaches them.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use model::Command;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::compact::{self, CompactOptions, SkippedFile};
use crate::error::Result;
use crate::registry::RunRow;
use crate::store::Shared;
use crate::vacuum::{self, VacuumOptions};
use crate::wal::Record;
use crate::writer::Write;

/// How long after the last write the lake counts as idle.
const IDLE_AFTER: Duration = Duration::from_secs(1);
/// Runs that one command deletes.
const DELETED_AT_ONCE: usize = 10_000;
const MICROS_PER_DAY: i64 = 24 * 3600 * 1_000_000;
/// The pause after a failure of the background work.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(30);

/// When files are merged and removed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaintenanceConfig {
    /// Whether this goes on in the background; by hand it always can.
    pub background: bool,
    /// Wanted bytes of a file of `points`.
    pub file_bytes: u64,
    /// How many overlapping or small files must gather before they are merged; at least 2.
    pub width: usize,
    /// How many times larger than what lies on it a layer of files may be and still be merged with it. Larger means
    /// fewer files for a reader and more bytes written.
    pub ratio: f64,
    /// Bytes a second that compaction in the background reads and writes while the lake is written to.
    pub busy_bytes_per_second: u64,
    /// How long files stay that no version needs any more, for readers in other processes.
    pub keep_unnamed: Duration,
    /// How often files that nobody needs are looked for, and the retention of projects is applied.
    pub vacuum_every: Duration,
}

impl Default for MaintenanceConfig {
    fn default() -> Self {
        Self {
            background: true,
            file_bytes: 128 << 20,
            width: 4,
            ratio: 1.0,
            busy_bytes_per_second: 32 << 20,
            keep_unnamed: Duration::from_secs(24 * 3600),
            vacuum_every: Duration::from_secs(3600),
        }
    }
}

/// Bytes written since the lake was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriteVolume {
    /// Bytes of segments of `points` that flushes wrote.
    pub flushed: u64,
    /// Bytes of segments of `points` that compaction wrote.
    pub compacted: u64,
}

impl WriteVolume {
    /// How many bytes compaction wrote for each byte of a flush; `None` before the first flush.
    pub fn amplification(&self) -> Option<f64> {
        (self.flushed > 0).then(|| self.compacted as f64 / self.flushed as f64)
    }
}

/// What the parts of maintenance share.
#[derive(Debug, Default)]
pub(crate) struct Maintenance {
    /// Held by a compaction or a vacuum, so that no file is written by one and looked at by the other.
    pub(crate) alone: tokio::sync::Mutex<()>,
    wanted: Notify,
    flushed: AtomicU64,
    compacted: AtomicU64,
    /// Files that hold no point of a deleted run, and after how many deletions that was so.
    swept: Mutex<(u64, HashSet<String>)>,
    /// Files that could not be read.
    damaged: Mutex<Vec<SkippedFile>>,
    /// Tasks that end what they began also when nobody waits for them.
    running: Mutex<Vec<AbortHandle>>,
}

impl Maintenance {
    /// Asks for a look at what there is to do.
    pub(crate) fn want(&self) {
        self.wanted.notify_one();
    }

    pub(crate) fn note_flushed(&self, bytes: u64) {
        self.flushed.fetch_add(bytes, Ordering::Relaxed);
        self.want();
    }

    pub(crate) fn note_compacted(&self, bytes: u64) {
        self.compacted.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn volume(&self) -> WriteVolume {
        WriteVolume {
            flushed: self.flushed.load(Ordering::Relaxed),
            compacted: self.compacted.load(Ordering::Relaxed),
        }
    }

    /// Whether the file held no point of a deleted run after this many deletions.
    pub(crate) fn is_swept(&self, file: &str, deletions: u64) -> bool {
        let swept = self.swept.lock();
        swept.0 == deletions && swept.1.contains(file)
    }

    pub(crate) fn note_swept(&self, file: &str, deletions: u64) {
        let mut swept = self.swept.lock();
        if swept.0 != deletions {
            *swept = (deletions, HashSet::new());
        }
        swept.1.insert(file.to_owned());
    }

    pub(crate) fn note_running(&self, task: AbortHandle) {
        let mut running = self.running.lock();
        running.retain(|task| !task.is_finished());
        running.push(task);
    }

    /// Ends everything at its next step, as when the process were killed.
    pub(crate) fn abort(&self) {
        self.running.lock().drain(..).for_each(|task| task.abort());
    }
}

/// Slows background work down while the lake is written to.
#[derive(Debug)]
pub(crate) struct Throttle {
    bytes_per_second: Option<u64>,
    last_seq: u64,
    changed: Option<Instant>,
}

impl Throttle {
    /// No limit: somebody waits for the work.
    pub(crate) fn none() -> Self {
        Self { bytes_per_second: None, last_seq: 0, changed: None }
    }

    pub(crate) fn background(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: Some(bytes_per_second.max(1)), ..Self::none() }
    }

    /// Waits as long as these bytes may take; not at all while nobody writes.
    pub(crate) async fn spend(&mut self, shared: &Shared, bytes: u64) {
        let Some(limit) = self.bytes_per_second else { return };
        let seq = shared.state.read().applied_seq;
        if seq != self.last_seq {
            self.last_seq = seq;
            self.changed = Some(Instant::now());
        }
        if self.changed.is_some_and(|changed| changed.elapsed() < IDLE_AFTER) {
            tokio::time::sleep(Duration::from_secs_f64(bytes as f64 / limit as f64)).await;
        }
    }
}

/// Looks after the lake until the task is aborted.
pub(crate) async fn run(shared: Arc<Shared>, writes: Sender<Write>) {
    let config = shared.config.maintenance;
    let mut vacuumed = Instant::now();
    loop {
        let until = config.vacuum_every.saturating_sub(vacuumed.elapsed());
        tokio::select! {
            () = shared.maintenance.wanted.notified() => {}
            () = tokio::time::sleep(until) => {}
        }
        if let Err(error) = round(&shared, &writes, &mut vacuumed).await {
            if shared.is_stopped() {
                return;
            }
            tracing::warn!(%error, "maintenance failed; it will be tried again");
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        }
    }
}

async fn round(shared: &Arc<Shared>, writes: &Sender<Write>, vacuumed: &mut Instant) -> Result<()> {
    let config = shared.config.maintenance;
    let mut throttle = Throttle::background(config.busy_bytes_per_second);
    let known = shared.maintenance.damaged.lock().clone();
    let report = compact::compact(shared, CompactOptions::default(), known, &mut throttle).await?;
    *shared.maintenance.damaged.lock() = report.skipped;
    if vacuumed.elapsed() >= config.vacuum_every {
        *vacuumed = Instant::now();
        expire(shared, writes).await?;
        vacuum::vacuum(shared, VacuumOptions::default()).await?;
    }
    Ok(())
}

/// Deletes the runs that ended longer ago than their project keeps them. Gives back how many.
pub(crate) async fn expire(shared: &Arc<Shared>, writes: &Sender<Write>) -> Result<usize> {
    let registry = shared.state.read().registry.clone();
    let now = (shared.config.clock)();
    let mut expired = Vec::new();
    for (project, days) in registry.retention() {
        let cutoff = now.saturating_sub(i64::from(days).saturating_mul(MICROS_PER_DAY));
        let ended =
            |run: &RunRow<'_>| run.project() == project && run.end_time().is_some_and(|end| end < cutoff);
        expired.extend(registry.runs().iter().filter(ended).map(|run| run.id()));
    }
    for runs in expired.chunks(DELETED_AT_ONCE) {
        let commands = vec![Command::DeleteRuns { runs: runs.to_vec() }];
        shared.write(writes, Record::Commands { writer: None, commands }, runs.len() * 40).await?;
    }
    Ok(expired.len())
}
