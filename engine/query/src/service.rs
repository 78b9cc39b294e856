//! The query service: who runs and who waits, what a statement may take, what is known of it, and answers that are kept.
//!
//! One service stands before a lake, whatever door a statement came through. A statement goes: kept answer, else queue,
//! snapshot, [`crate::run`]'s path, and its rows to the reader; dropping the answer ends all its work.
//!
//! | part | invariant |
//! |---|---|
//! | `queue` | callers take turns; the number of running and of waiting statements is bounded |
//! | `memory` | a statement has a floor of memory that no other can take |
//! | `spill` | temporary files have no name and a limit; the last user takes them away |
//! | `stop`, `stoppable` | one word ends a statement, also a join that never waits; its cause is what the reader is told |
//! | `journal` | every statement is in it from its arrival to its end, and a while longer |
//! | `results` | a kept answer is as fresh as the last acknowledged write |

mod engine;
mod journal;
mod length;
mod memory;
mod queue;
mod repeatable;
mod resources;
mod results;
mod spill;
mod stop;
mod stoppable;

use std::sync::Arc;
use std::time::Duration;

use async_stream::stream;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use store::Snapshot;
use tokio::time::Instant;

use crate::error::{QueryError, Result};
use crate::execute::{Answer, QueryOptions, Running, run_with};
use crate::session::SessionFactory;
use crate::tables::{Access, Notices};
use journal::Open;
use queue::{Queue, Sizes};
use results::{KeptAnswer, Key, Results};

pub(crate) use engine::{Engine, EngineView};
pub use engine::{JobReport, LakeState, LogFile};
pub use journal::{StatementReport, StatementState};
pub(crate) use queue::Place;
pub(crate) use repeatable::is_repeatable;
pub(crate) use resources::{Resources, SharedResources};
pub(crate) use stoppable::stoppable;

/// A statement with less memory than this is not worth ending for its memory.
const WORTH_ENDING: usize = 1 << 20;

/// How a service is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Statements that run at once.
    pub slots: usize,
    /// Statements more that may run when they only look at runs, series or the engine's own tables.
    pub reserved: usize,
    /// Statements that may wait.
    pub waiting: usize,
    /// How long one waits; its own time limit counts from its arrival too.
    pub wait: Duration,
    /// Bytes of answers that are kept for who asks the same again; 0 for none. One may have a sixteenth of it.
    pub kept_answers: usize,
}

impl Default for ServiceConfig {
    /// For one process that asks its own lake: much patience, and no kept answers.
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            slots: threads.max(4),
            reserved: 1,
            waiting: 4_096,
            wait: Duration::from_secs(3_600),
            kept_answers: 0,
        }
    }
}

impl ServiceConfig {
    /// For many callers: as many slots as threads, 32 waiting, ten seconds at most.
    pub fn shared() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            slots: threads,
            reserved: 1,
            waiting: 32,
            wait: Duration::from_secs(10),
            kept_answers: 32 << 20,
        }
    }
}

/// Numbers of a service, for those who watch over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServiceMetrics {
    /// Statements that run now.
    pub running: u64,
    /// Statements that wait now.
    pub waiting: u64,
    /// Statements that were answered.
    pub finished: u64,
    /// Statements that ended with an error, those refused by the queue included.
    pub failed: u64,
    /// Statements that were cancelled, or whose reader went away.
    pub cancelled: u64,
    /// Answers that were given again.
    pub kept_hits: u64,
    /// Statements for which no answer was kept.
    pub kept_misses: u64,
    /// Bytes of kept answers now.
    pub kept_bytes: u64,
    /// Memory that running statements hold now.
    pub memory: u64,
    /// Bytes in temporary files now.
    pub spill: u64,
    /// Temporary files now.
    pub spill_files: u64,
    /// Bytes written to temporary files since the start.
    pub spilled: u64,
}

/// The queue, the journal and the kept answers of one lake. Clones are the same service.
#[derive(Debug, Clone)]
pub struct QueryService {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    factory: Arc<SessionFactory>,
    queue: Arc<Queue>,
    results: Arc<Results>,
}

impl QueryService {
    /// A service over the sessions of a factory; there is one for each factory.
    pub fn new(factory: Arc<SessionFactory>, config: ServiceConfig) -> Self {
        let ServiceConfig { slots, reserved, waiting, wait, kept_answers } = config;
        let queue = Arc::new(Queue::new(Sizes { slots, reserved, waiting, wait }));
        factory.resources().memory.set_places(slots + reserved);
        // A second service on the same factory would have its own queue; the tables show the first.
        let _ = factory.engine().service.set(config);
        let results = Arc::new(Results::new(kept_answers));
        Self { inner: Arc::new(Inner { factory, queue, results }) }
    }

    /// Has the tables of `system` show what the lake tells of itself.
    pub fn show(&self, lake: Arc<dyn LakeState>) {
        // The first one stays.
        let _ = self.inner.factory.engine().lake.set(lake);
    }

    /// Answers one statement.
    ///
    /// `snapshot` is taken when the statement has its turn, so that one that waits holds nothing of the lake. `newest` is
    /// the sequence number of a snapshot taken now, where that costs nothing; without it no answer is kept.
    ///
    /// # Errors
    /// As [`crate::run`]; [`QueryError::Busy`] when there is no place in the queue or no turn in time.
    pub fn run<'a, E>(
        &'a self,
        sql: &'a str,
        options: QueryOptions,
        newest: Option<u64>,
        snapshot: BoxFuture<'a, Result<Snapshot, E>>,
    ) -> BoxFuture<'a, Result<Answer, E>>
    where
        E: From<QueryError> + std::fmt::Display + Send + 'a,
    {
        async move {
            let arrived = Instant::now();
            let Inner { factory, queue, results } = &*self.inner;
            let caller: Arc<str> = options.caller.as_str().into();
            let resources = Arc::new(factory.resources().statement(&options.limits));
            let open = factory.engine().journal.begin(&caller, sql, arrived, Arc::clone(&resources));
            let key = newest.filter(|_| results.is_on()).map(|newest| (Key::new(sql, &options), newest));
            if let Some(kept) = key.as_ref().and_then(|(key, newest)| results.get(key, *newest, &options)) {
                return Ok(given_again(kept, open));
            }
            let deadline = arrived + options.limits.time;
            let entering = queue.enter(&caller, length::is_short(sql), deadline);
            let place = tokio::select! {
                biased;
                cause = resources.stop().stopped() => Err(cause),
                entered = entering => entered,
            };
            let place = match place {
                Ok(place) => place,
                Err(error) => {
                    open.fail(&error);
                    return Err(error.into());
                }
            };
            open.note_running();
            let too_late = QueryError::Time { seconds: options.limits.time.as_secs() };
            let snapshot = tokio::select! {
                biased;
                cause = resources.stop().stopped() => Err(cause),
                taken = tokio::time::timeout_at(deadline, snapshot) => match taken {
                    Ok(Ok(snapshot)) => Ok(snapshot),
                    Ok(Err(error)) => {
                        open.fail(&QueryError::Storage { message: error.to_string() });
                        return Err(error);
                    }
                    Err(_) => Err(too_late),
                },
            };
            let snapshot = match snapshot {
                Ok(snapshot) => snapshot,
                Err(error) => {
                    open.fail(&error);
                    return Err(error.into());
                }
            };
            let running = Running { resources: Arc::clone(&resources), arrived, held: Some(place) };
            match run_with(factory, &snapshot, sql, options, running).await {
                Ok(answer) if answer.settings.is_some() => {
                    open.finish(false);
                    Ok(answer)
                }
                Ok(answer) => {
                    // A damaged snapshot may say less than the next one with the same number.
                    let keep = key
                        .filter(|_| snapshot.damage().is_empty() && resources.is_repeatable())
                        .map(|(key, _)| (key, snapshot.last_seq(), Arc::clone(results)));
                    Ok(watched(answer, open, resources, keep))
                }
                Err(error) => {
                    open.fail(&error);
                    Err(error.into())
                }
            }
        }
        .boxed()
    }

    /// Ends a statement that waits or runs; false when there is none with this number that the caller may end. A caller
    /// who does not see all projects may end only its own.
    pub fn cancel(&self, id: u64, access: &Access, caller: &str) -> bool {
        let open = self.inner.factory.engine().journal.open(id);
        let Some(entry) = open.filter(|entry| *access == Access::All || *entry.caller == *caller) else {
            return false;
        };
        entry.resources.stop().cancel(QueryError::Cancelled { why: "it was cancelled".to_owned() });
        true
    }

    /// Ends the running statement that holds the most memory, because the process is near its limit. Gives back its
    /// number and its bytes; none when no statement holds enough to be worth it.
    pub fn cancel_largest(&self) -> Option<(u64, usize)> {
        let running = self.inner.factory.engine().journal.all_open();
        let (bytes, entry) = running
            .iter()
            .filter(|entry| entry.is_running() && entry.resources.stop().cause().is_none())
            .map(|entry| (entry.resources.memory_held(), entry))
            .filter(|(bytes, _)| *bytes >= WORTH_ENDING)
            .max_by_key(|(bytes, _)| *bytes)?;
        entry.resources.stop().cancel(QueryError::Busy {
            message: format!(
                "the process is near its memory limit and this statement held the most, {} MiB",
                bytes >> 20
            ),
        });
        Some((entry.id, bytes))
    }

    /// All statements that wait or run, and the latest of those that ended.
    pub fn statements(&self) -> Vec<StatementReport> {
        self.inner.factory.engine().journal.reports()
    }

    /// The numbers of now.
    pub fn metrics(&self) -> ServiceMetrics {
        let Inner { factory, queue, results } = &*self.inner;
        let (running, waiting) = queue.counts();
        let (kept_hits, kept_misses, kept_bytes) = results.counts();
        let journal = &factory.engine().journal;
        let (ends, spill) = (journal.ends(), &factory.resources().spill);
        let memory: usize = journal.all_open().iter().map(|entry| entry.resources.memory_held()).sum();
        ServiceMetrics {
            running: running as u64,
            waiting: waiting as u64,
            finished: ends.finished,
            failed: ends.failed,
            cancelled: ends.cancelled,
            kept_hits,
            kept_misses,
            kept_bytes: kept_bytes as u64,
            memory: memory as u64,
            spill: spill.used(),
            spill_files: spill.files() as u64,
            spilled: spill.written(),
        }
    }

    /// How many statements may run and wait.
    pub fn config(&self) -> ServiceConfig {
        let Sizes { slots, reserved, waiting, wait } = self.inner.queue.sizes();
        ServiceConfig { slots, reserved, waiting, wait, kept_answers: self.inner.results.limit() }
    }
}

/// An answer that was kept.
fn given_again(kept: KeptAnswer, open: Open) -> Answer {
    let KeptAnswer { schema, rows } = kept;
    let batches = stream! {
        let open = open;
        if let Some(rows) = rows {
            open.note_rows(&rows);
            yield Ok(rows);
        }
        open.finish(true);
    };
    Answer { schema, batches: Box::pin(batches), settings: None, notices: Notices::default() }
}

/// An answer on its way: it has its row in the journal, ends at the word to stop, and is kept when it is small and whole.
fn watched(
    answer: Answer,
    open: Open,
    resources: Arc<Resources>,
    keep: Option<(Key, u64, Arc<Results>)>,
) -> Answer {
    let Answer { schema, batches, settings, notices } = answer;
    let gathering = keep.as_ref().map(|(_, _, results)| results.gather(Arc::clone(&schema)));
    let told = notices.clone();
    let batches = stream! {
        let (open, mut batches, mut gathering) = (open, batches, gathering);
        loop {
            let next = tokio::select! {
                biased;
                cause = resources.stop().stopped() => Some(Err(cause)),
                next = batches.next() => next,
            };
            match next {
                Some(Ok(batch)) => {
                    open.note_rows(&batch);
                    if let Some(gathering) = &mut gathering {
                        gathering.add(&batch);
                    }
                    yield Ok(batch);
                }
                Some(Err(error)) => {
                    // The work ends before the reader hears of it.
                    drop(batches);
                    open.fail(&error);
                    yield Err(error);
                    return;
                }
                None => {
                    if let (Some(gathered), Some((key, sequence, results))) = (gathering, keep)
                        && told.all().is_empty()
                    {
                        results.keep(key, sequence, gathered);
                    }
                    open.finish(false);
                    return;
                }
            }
        }
    };
    Answer { schema, batches: Box::pin(batches), settings, notices }
}
