//! A lake: open, write, ask, close.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::RecordBatch;
use datafusion::prelude::SessionContext;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::{Command, PointBatch, ProjectName, RunId, View, ViewName, WriterSequence};
use query::{
    Access as Visible, Answer, JobReport, LakeState, Located, LogFile, QueryError, QueryOptions,
    QueryService, ServiceConfig, SessionConfig, SessionFactory, ViewChange, WhenPresent,
};
use store::disk::RealDisk;
use store::{
    Acknowledgement, Adopted, CompactOptions, CompactReport, FlushReport, Location, ProgressSink, Snapshot,
    StaleLog, Store, StoreConfig, SyncPolicy, VacuumOptions, VacuumReport,
};

use crate::error::{Error, Result};
use crate::memory::{self, MemoryPlan};
use crate::run::{ActiveRun, RunOptions};

/// How a lake is opened.
#[derive(Clone, Default)]
pub struct LakeOptions {
    /// Who opens it, for the message that a second writer sees.
    pub owner: Option<String>,
    /// Bytes in the memtable at which a flush starts; `None` for the default of 128 MiB.
    pub flush_bytes: Option<usize>,
    /// The limit of the memory of this process, split; `None` for fixed sizes of each part and no watch over the whole.
    pub memory: Option<MemoryPlan>,
    /// Has the allocator of this process give back what is free; called from any thread when the memory comes near its
    /// limit. An allocator that keeps little needs none.
    pub give_back: Option<fn()>,
    /// What becomes of acknowledged writes in the log of this machine that a lake on an object store never got.
    pub stale_log: StaleLog,
    /// How many statements run and wait at once; for one program that asks its own lake when not given. With a memory
    /// limit there are no more slots than it has room for.
    pub queries: Option<ServiceConfig>,
    /// When a write is acknowledged.
    pub sync: SyncPolicy,
    /// Is told how far the open is when there is much log to read.
    pub progress: Option<ProgressSink>,
}

impl std::fmt::Debug for LakeOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LakeOptions").field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// A lake, open for writing or for reading only. Clones are handles to the same lake.
#[derive(Clone)]
pub struct Lake {
    inner: Arc<Inner>,
}

struct Inner {
    location: Location,
    access: Access,
    sessions: Arc<SessionFactory>,
    queries: QueryService,
    memory: Option<MemoryPlan>,
    /// Held from the look whether a view is there until it is kept.
    changing_views: tokio::sync::Mutex<()>,
    _guard: Option<Guard>,
}

/// The watch over the memory of the process; ends with the lake.
struct Guard(tokio::task::JoinHandle<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

enum Access {
    Write(Store),
    Read,
}

impl Lake {
    /// Opens the lake at `location` for writing, a folder or a URL such as `s3://bucket/prefix`; a place without a
    /// lake becomes one.
    ///
    /// # Errors
    /// When the location cannot be used, another process writes, or the lake is damaged or of a newer format.
    ///
    /// # Panics
    /// When called outside of a tokio runtime.
    pub async fn open(location: &str) -> Result<Self> {
        Self::open_with(&Location::parse(location)?, LakeOptions::default()).await
    }

    /// Opens the lake for writing with options.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with<'a>(location: &'a Location, options: LakeOptions) -> BoxFuture<'a, Result<Self>> {
        async move {
            let mut config = StoreConfig::new(location, Arc::new(now_micros));
            config.stale_log = options.stale_log;
            config.sync = options.sync;
            if let Some(owner) = options.owner {
                config.owner = owner;
            }
            if let Some(plan) = &options.memory {
                plan.limit_store(&mut config);
            }
            if let Some(bytes) = options.flush_bytes {
                config.flush_bytes = bytes;
                config.hard_limit_bytes = bytes.saturating_mul(4);
            }
            config.progress = options.progress;
            let store = Store::open(config).await?;
            let service = options.queries.unwrap_or_default();
            Self::new(location.clone(), Access::Write(store), service, options.memory, options.give_back)
        }
        .boxed()
    }

    /// Opens the lake for reading; a writer may be at work in another process.
    ///
    /// # Errors
    /// When there is no lake, or it is damaged or of a newer format.
    pub fn open_read_only<'a>(location: &'a Location) -> BoxFuture<'a, Result<Self>> {
        async move {
            let lake = Self::new(location.clone(), Access::Read, ServiceConfig::default(), None, None)?;
            lake.readable().await?;
            Ok(lake)
        }
        .boxed()
    }

    fn new(
        location: Location,
        access: Access,
        mut service: ServiceConfig,
        memory: Option<MemoryPlan>,
        give_back: Option<fn()>,
    ) -> Result<Self> {
        let mut config = SessionConfig::default();
        if let Some(plan) = memory {
            // Both are taken out of one share.
            service.kept_answers = service.kept_answers.min(plan.queries / 8);
            service.slots = service.slots.min(plan.statements);
            config.memory = plan.queries - service.kept_answers;
        }
        let sessions = Arc::new(SessionFactory::new(&config)?);
        let queries = QueryService::new(Arc::clone(&sessions), service);
        let guard = match (memory, &access) {
            (Some(plan), Access::Write(store)) => {
                let guard = memory::guard(plan, store.clone(), queries.clone(), give_back);
                Some(Guard(tokio::spawn(guard)))
            }
            _ => None,
        };
        if let Access::Write(store) = &access {
            let log = location.layout().ok().map(|layout| layout.wal());
            queries.show(Arc::new(Shown { store: store.clone(), log }));
        }
        Ok(Self {
            inner: Arc::new(Inner {
                location,
                access,
                sessions,
                queries,
                memory,
                changing_views: tokio::sync::Mutex::default(),
                _guard: guard,
            }),
        })
    }

    /// The memory limit that the lake was opened with.
    pub fn memory(&self) -> Option<&MemoryPlan> {
        self.inner.memory.as_ref()
    }

    /// Where the lake is.
    pub fn location(&self) -> &Location {
        &self.inner.location
    }

    /// What opening the lake wrote into it from logs that had missed a take-over ([`LakeOptions::stale_log`]).
    pub fn adopted(&self) -> &[Adopted] {
        match &self.inner.access {
            Access::Write(store) => store.adopted(),
            Access::Read => &[],
        }
    }

    /// The lake at this moment.
    ///
    /// # Errors
    /// Only on a lake that is open for reading: when it cannot be read.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        match &self.inner.access {
            Access::Write(store) => Ok(store.snapshot()),
            Access::Read => Ok(store::open_snapshot(self.location()).await?),
        }
    }

    /// The lake at this moment for SQL, which refuses damaged tables by itself: the others can be read.
    async fn readable(&self) -> Result<Snapshot> {
        match &self.inner.access {
            Access::Write(store) => Ok(store.snapshot()),
            Access::Read => Ok(store::open_snapshot_tolerant(self.location(), Arc::new(RealDisk)).await?),
        }
    }

    /// A DataFusion session over the lake at this moment, to join with the embedder's own tables.
    ///
    /// # Errors
    /// As [`Self::snapshot`].
    pub async fn session(&self) -> Result<SessionContext> {
        Ok(self.inner.sessions.session(&self.readable().await?))
    }

    /// The factory of sessions, for callers that stream results.
    pub fn sessions(&self) -> &SessionFactory {
        &self.inner.sessions
    }

    /// Runs one SQL statement and collects its rows.
    ///
    /// # Errors
    /// [`Error::Query`] points at the place in the statement.
    pub async fn sql(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        let answer = self.query(sql, QueryOptions::default()).await?;
        let schema = Arc::clone(&answer.schema);
        let mut batches = answer.collect().await?;
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(schema));
        }
        Ok(batches)
    }

    /// Runs one SQL statement and streams its rows. It waits for its turn among the other statements of this process;
    /// dropping the answer ends its work. `CREATE VIEW` and `DROP VIEW` are for the owner of the lake: the options name
    /// no caller.
    ///
    /// # Errors
    /// As [`Self::sql`]; the stream gives the errors of running.
    pub fn query<'a>(&'a self, sql: &'a str, options: QueryOptions) -> BoxFuture<'a, Result<Answer>> {
        async move {
            if options.caller.is_empty()
                && let Some(change) = query::view_change(sql)?
            {
                self.change_views(change).await?;
                return Ok(Answer::empty());
            }
            // A reader has to read the log to know how far the lake is, so nothing is gained by keeping its answers.
            let newest = match &self.inner.access {
                Access::Write(store) => Some(store.snapshot().last_seq()),
                Access::Read => None,
            };
            self.inner.queries.run(sql, options, newest, self.readable().boxed()).await
        }
        .boxed()
    }

    /// Keeps a view or lets go of one.
    ///
    /// # Errors
    /// [`Error::Query`] when the query of a view cannot be planned; when the name is taken or not there, unless the change
    /// says that this is fine; [`Error::ReadOnly`] on a lake that is open for reading.
    pub fn change_views(&self, change: ViewChange) -> BoxFuture<'_, Result<()>> {
        async move {
            let _turn = self.inner.changing_views.lock().await;
            let snapshot = self.store()?.snapshot();
            let there = |name: &ViewName| snapshot.registry().view(name.as_str()).is_some();
            let command = match change {
                ViewChange::Save { name, present: WhenPresent::Keep, .. } if there(&name) => return Ok(()),
                ViewChange::Save { name, present: WhenPresent::Refuse, .. } if there(&name) => {
                    let message = format!("there is a view {name} already");
                    let hint = Some(format!("Write CREATE OR REPLACE VIEW {name} to put this in its place."));
                    return Err(QueryError::Invalid(Located { message, place: None, hint }).into());
                }
                ViewChange::Save { name, sql, .. } => {
                    query::check_view(&self.inner.sessions, &snapshot, &name, &sql).await?;
                    Command::SaveView(View { name, sql, author: None, time: now_micros() })
                }
                ViewChange::Drop { name, if_exists: true } if !there(&name) => return Ok(()),
                ViewChange::Drop { name, .. } => Command::DropView { name },
            };
            self.apply(vec![command], None).await?;
            Ok(())
        }
        .boxed()
    }

    /// Ends a statement that waits or runs, by its number in `system.queries`; false when there is none.
    pub fn cancel_query(&self, id: u64) -> bool {
        self.inner.queries.cancel(id, &Visible::All, "")
    }

    /// The queue of statements, what is known of them, and its numbers.
    pub fn queries(&self) -> &QueryService {
        &self.inner.queries
    }

    /// The store, on a lake that is open for writing.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] otherwise.
    pub fn store(&self) -> Result<&Store> {
        match &self.inner.access {
            Access::Write(store) => Ok(store),
            Access::Read => Err(Error::ReadOnly { reason: "open it with Lake::open to write".to_owned() }),
        }
    }

    /// Applies registry commands, all or none.
    ///
    /// # Errors
    /// Nothing is applied.
    pub async fn apply(
        &self,
        commands: Vec<Command>,
        writer: Option<WriterSequence>,
    ) -> Result<Acknowledgement> {
        Ok(self.store()?.apply(commands, writer).await?)
    }

    /// Appends points; when this returns they are on disk and visible.
    ///
    /// # Errors
    /// Nothing is applied.
    pub async fn append(&self, batch: PointBatch, writer: Option<WriterSequence>) -> Result<Acknowledgement> {
        Ok(self.store()?.append(batch, writer).await?)
    }

    /// Starts a run.
    ///
    /// # Errors
    /// When a name is not valid or the store refuses.
    pub async fn start_run(&self, options: RunOptions) -> Result<ActiveRun> {
        ActiveRun::start(self.clone(), options).await
    }

    /// Writes everything that is only in the log and in memory into tables that any Delta reader reads.
    ///
    /// # Errors
    /// When a file or a commit cannot be written; nothing is lost.
    pub async fn flush(&self) -> Result<FlushReport> {
        Ok(self.store()?.flush().await?)
    }

    /// Merges files of `points` until there is nothing worth it; points of deleted runs are left out.
    ///
    /// # Errors
    /// When the store or a commit fails; a damaged file is left alone and named in the report.
    pub async fn compact(&self, options: CompactOptions) -> Result<CompactReport> {
        Ok(self.store()?.compact(options).await?)
    }

    /// Removes files that no recent version of a table needs.
    ///
    /// # Errors
    /// When the store fails; what was removed until then was not needed.
    pub async fn vacuum(&self, options: VacuumOptions) -> Result<VacuumReport> {
        Ok(self.store()?.vacuum(options).await?)
    }

    /// Deletes runs with everything that belongs to them, for good.
    ///
    /// # Errors
    /// When one of them is not in the lake; then none is deleted.
    pub async fn delete_runs(&self, runs: Vec<RunId>) -> Result<Acknowledgement> {
        self.apply(vec![Command::DeleteRuns { runs }], None).await
    }

    /// Deletes a project with its runs, experiments, decisions, notes and records, for good.
    ///
    /// # Errors
    /// When there is no such project.
    pub async fn delete_project(&self, project: ProjectName) -> Result<Acknowledgement> {
        self.apply(vec![Command::DeleteProject { project }], None).await
    }

    /// Says after how many days from its end a run of a project is deleted; `None` keeps runs for ever.
    ///
    /// # Errors
    /// When there is no such project, or the number of days is 0.
    pub async fn set_retention(&self, project: ProjectName, days: Option<u32>) -> Result<Acknowledgement> {
        self.apply(vec![Command::SetRetention { project, days }], None).await
    }

    /// Ends the lake's threads. What was acknowledged is on disk with or without this.
    pub async fn close(&self) {
        if let Access::Write(store) = &self.inner.access {
            store.close().await;
        }
    }
}

impl std::fmt::Debug for Lake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let writable = matches!(self.inner.access, Access::Write(_));
        f.debug_struct("Lake")
            .field("location", self.location())
            .field("writable", &writable)
            .finish_non_exhaustive()
    }
}

/// What the tables of `system` show of an open lake.
#[derive(Debug)]
struct Shown {
    store: Store,
    log: Option<PathBuf>,
}

impl LakeState for Shown {
    fn log_files(&self) -> Vec<LogFile> {
        let entries = self.log.as_ref().and_then(|log| std::fs::read_dir(log).ok());
        let file = |entry: std::fs::DirEntry| {
            let data = entry.metadata().ok().filter(|data| data.is_file())?;
            Some(LogFile { file: entry.file_name().to_string_lossy().into_owned(), bytes: data.len() })
        };
        let mut files: Vec<LogFile> = entries.into_iter().flatten().flatten().filter_map(file).collect();
        files.sort_unstable_by(|a, b| a.file.cmp(&b.file));
        files
    }

    fn jobs(&self) -> Vec<JobReport> {
        let written = self.store.write_volume();
        let waiting = self.store.snapshot().memtable_points();
        vec![
            JobReport { job: "flush", bytes: written.flushed, waiting_points: Some(waiting) },
            JobReport { job: "compaction", bytes: written.compacted, waiting_points: None },
        ]
    }
}

/// Microseconds since 1970 UTC.
pub(crate) fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
