//! What statements wait, run and ran: the rows of `system.queries`.
//!
//! A statement is in exactly one of: waiting or running, and ended; of the ended ones the latest are kept.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::record_batch::RecordBatch;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::resources::Resources;
use crate::error::QueryError;

/// Ended statements that are kept.
const KEPT: usize = 500;
/// Characters of a text that are kept.
const TEXT_CHARACTERS: usize = 1_000;

/// Where a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementState {
    /// In the queue.
    Waiting,
    /// At work, or waiting for its reader.
    Running,
    /// All rows were read.
    Finished,
    /// It ended with an error.
    Failed,
    /// Somebody ended it, or its reader went away.
    Cancelled,
}

impl StatementState {
    /// The word in `system.queries`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A row of `system.queries`.
#[derive(Debug, Clone, PartialEq)]
pub struct StatementReport {
    /// Its number; later ones are larger.
    pub id: u64,
    /// Who asked; empty for the owner of the lake.
    pub caller: Arc<str>,
    /// The text, shortened.
    pub sql: Arc<str>,
    /// Where it is.
    pub state: StatementState,
    /// When it arrived, microseconds since 1970 UTC.
    pub started: i64,
    /// How long it waited for its turn.
    pub waited: Duration,
    /// Since it arrived, until its end.
    pub elapsed: Duration,
    /// Rows that were read.
    pub rows: u64,
    /// Their bytes in Arrow form.
    pub bytes: u64,
    /// The most memory that it held.
    pub memory: u64,
    /// Bytes that it wrote to temporary files.
    pub spilled: u64,
    /// Whether its answer was kept from an earlier one.
    pub cached: bool,
    /// Why it failed or was cancelled.
    pub error: Option<String>,
}

/// How many statements have ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ends {
    pub(super) finished: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
}

/// All statements of a process.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    next_id: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: BTreeMap<u64, Arc<Entry>>,
    ended: VecDeque<StatementReport>,
    ends: Ends,
}

impl Journal {
    /// All rows, the oldest first.
    pub(crate) fn reports(&self) -> Vec<StatementReport> {
        let (ended, open) = {
            let state = self.state.lock();
            (
                state.ended.iter().cloned().collect::<Vec<_>>(),
                state.open.values().cloned().collect::<Vec<_>>(),
            )
        };
        let mut all = ended;
        all.extend(open.iter().map(|entry| entry.report()));
        all.sort_unstable_by_key(|report| report.id);
        all
    }

    pub(super) fn ends(&self) -> Ends {
        self.state.lock().ends
    }

    /// A statement that nobody has ended yet.
    pub(super) fn open(&self, id: u64) -> Option<Arc<Entry>> {
        self.state.lock().open.get(&id).cloned()
    }

    /// All of them.
    pub(super) fn all_open(&self) -> Vec<Arc<Entry>> {
        self.state.lock().open.values().cloned().collect()
    }

    pub(super) fn begin(
        self: &Arc<Self>,
        caller: &Arc<str>,
        sql: &str,
        arrived: Instant,
        resources: Arc<Resources>,
    ) -> Open {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let entry = Arc::new(Entry {
            id,
            caller: Arc::clone(caller),
            sql: shortened(sql).into(),
            arrived,
            started: i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            progress: Mutex::new(Progress { state: StatementState::Waiting, waited: None }),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            resources,
        });
        self.state.lock().open.insert(id, Arc::clone(&entry));
        Open { journal: Arc::clone(self), entry, ended: false }
    }
}

/// A text in one line, without the blanks around it, cut.
fn shortened(sql: &str) -> String {
    let sql = sql.trim();
    match sql.char_indices().nth(TEXT_CHARACTERS) {
        Some((end, _)) => format!("{}…", &sql[..end]),
        None => sql.to_owned(),
    }
}

/// A statement that has not ended.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) caller: Arc<str>,
    sql: Arc<str>,
    arrived: Instant,
    started: i64,
    progress: Mutex<Progress>,
    rows: AtomicU64,
    bytes: AtomicU64,
    pub(super) resources: Arc<Resources>,
}

#[derive(Debug)]
struct Progress {
    state: StatementState,
    waited: Option<Duration>,
}

impl Entry {
    pub(super) fn is_running(&self) -> bool {
        self.progress.lock().state == StatementState::Running
    }

    fn report(&self) -> StatementReport {
        let elapsed = self.arrived.elapsed();
        let progress = self.progress.lock();
        let stopped = self.resources.stop().cause();
        StatementReport {
            id: self.id,
            caller: Arc::clone(&self.caller),
            sql: Arc::clone(&self.sql),
            // Its reader may take long to notice.
            state: if stopped.is_some() { StatementState::Cancelled } else { progress.state },
            started: self.started,
            waited: progress.waited.unwrap_or(elapsed),
            elapsed,
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            memory: self.resources.memory_peak() as u64,
            spilled: self.resources.spilled(),
            cached: false,
            error: stopped.map(|cause| cause.to_string()),
        }
    }
}

/// The open row of a statement. One that is dropped without a word was cancelled by its reader.
#[derive(Debug)]
pub(super) struct Open {
    journal: Arc<Journal>,
    entry: Arc<Entry>,
    ended: bool,
}

impl Open {
    /// It has a slot now.
    pub(super) fn note_running(&self) {
        let mut progress = self.entry.progress.lock();
        progress.state = StatementState::Running;
        progress.waited = Some(self.entry.arrived.elapsed());
    }

    pub(super) fn note_rows(&self, batch: &RecordBatch) {
        self.entry.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        self.entry.bytes.fetch_add(batch.get_array_memory_size() as u64, Ordering::Relaxed);
    }

    pub(super) fn finish(mut self, cached: bool) {
        self.end(StatementState::Finished, cached, None);
    }

    pub(super) fn fail(mut self, error: &QueryError) {
        let state = match error {
            QueryError::Cancelled { .. } => StatementState::Cancelled,
            _ => StatementState::Failed,
        };
        // The first line says what it is; the rest shows the place in the text.
        let message = error.to_string().lines().next().unwrap_or_default().to_owned();
        self.end(state, false, Some(message));
    }

    fn end(&mut self, state: StatementState, cached: bool, error: Option<String>) {
        self.ended = true;
        let report = StatementReport { state, cached, error, ..self.entry.report() };
        let mut journal = self.journal.state.lock();
        journal.open.remove(&self.entry.id);
        match state {
            StatementState::Failed => journal.ends.failed += 1,
            StatementState::Cancelled => journal.ends.cancelled += 1,
            _ => journal.ends.finished += 1,
        }
        if journal.ended.len() == KEPT {
            journal.ended.pop_front();
        }
        journal.ended.push_back(report);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.ended {
            self.end(StatementState::Cancelled, false, Some("its reader went away".to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::QueryLimits;
    use crate::service::resources::SharedResources;

    fn begin(journal: &Arc<Journal>, sql: &str) -> Open {
        let resources = Arc::new(SharedResources::new(1 << 20, 0, 1).statement(&QueryLimits::default()));
        journal.begin(&"somebody".into(), sql, Instant::now(), resources)
    }

    #[tokio::test]
    async fn each_end_has_its_state_and_the_latest_are_kept() {
        let journal = Arc::new(Journal::default());
        begin(&journal, "one").finish(true);
        begin(&journal, "two").fail(&QueryError::Time { seconds: 3 });
        begin(&journal, "three").fail(&QueryError::Cancelled { why: "by hand".to_owned() });
        drop(begin(&journal, "four"));
        let running = begin(&journal, "five");
        running.note_running();
        let waiting = begin(&journal, "six");
        let states: Vec<_> = journal.reports().iter().map(|row| (row.id, row.state.as_str())).collect();
        let expected = [
            (1, "finished"),
            (2, "failed"),
            (3, "cancelled"),
            (4, "cancelled"),
            (5, "running"),
            (6, "waiting"),
        ];
        assert_eq!(states, expected);
        assert!(journal.reports()[0].cached);
        assert!(journal.open(5).unwrap().is_running() && journal.open(4).is_none());
        assert_eq!(journal.ends(), Ends { finished: 1, failed: 1, cancelled: 2 });
        for _ in 0..KEPT {
            begin(&journal, "more").finish(false);
        }
        let rows = journal.reports();
        assert_eq!((rows.len(), rows[0].id), (KEPT + 2, running.entry.id));
        drop((running, waiting));
        assert_eq!(journal.reports().len(), KEPT);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(shortened("\n\n  SELECT 1 \n"), "SELECT 1");
        let long = shortened(&"é".repeat(5_000));
        assert!(long.chars().count() == TEXT_CHARACTERS + 1 && long.ends_with('…'));
    }
}
