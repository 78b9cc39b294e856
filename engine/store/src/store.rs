//! The front door: open a lake for writing, append, apply, flush, take snapshots, close.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::schema::Table;
use model::{Command, PointBatch, WriterSequence};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore, oneshot};

use crate::catalog::Catalog;
use crate::committed::Committed;
use crate::compact::{self, CompactOptions, CompactReport};
use crate::config::StoreConfig;
use crate::error::{Result, StoreError};
use crate::flush::{self, FlushReport};
use crate::maintenance::{self, Maintenance, Throttle, WriteVolume};
use crate::open::{Opened, open_for_writing};
use crate::ownership::{Guard, Ownership};
use crate::registry::bytes_of_command;
use crate::segment::points::ReaderCache;
use crate::snapshot::Snapshot;
use crate::stale_log::{self, Adopted};
use crate::state::State;
use crate::vacuum::{self, VacuumOptions, VacuumReport};
use crate::wal::{Record, Wal, WriterWindow};
use crate::writer::{Acknowledgement, Control, Write, Writer};

/// Control requests that may wait; one flush and one close at a time make no more than a few.
const QUEUED_CONTROLS: usize = 16;
/// Bytes of footers and chunk indexes that readers keep: those of some million series. Decoding them again for each
/// question costs more than the question.
pub(crate) const READER_CACHE_BYTES: usize = 256 << 20;
/// The unit in which bytes in flight are counted, and what even an empty write takes.
const PERMIT_BYTES: usize = 1024;
/// How long a write waits while the process is near its memory limit before it is refused.
const WAIT_FOR_MEMORY: Duration = Duration::from_secs(5);
/// How often a write that waits for memory looks again.
const LOOK_FOR_MEMORY: Duration = Duration::from_millis(25);

/// A lake that is open for writing. Clones are handles to the same lake.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    writes: Sender<Write>,
    threads: Mutex<Option<Threads>>,
    adopted: OnceLock<Vec<Adopted>>,
}

struct Threads {
    writer: std::thread::JoinHandle<()>,
    flusher: tokio::task::JoinHandle<()>,
    maintainer: Option<tokio::task::JoinHandle<()>>,
    /// Given back when the threads have ended.
    ownership: Ownership,
}

/// What the writer thread, the flush and the readers share.
pub(crate) struct Shared {
    pub(crate) config: StoreConfig,
    pub(crate) state: RwLock<State>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) readers: Arc<ReaderCache>,
    /// The committed version of every table; held for the length of a flush, so that only one runs.
    tables: tokio::sync::Mutex<Committed>,
    pub(crate) maintenance: Maintenance,
    pub(crate) flush_wanted: Notify,
    pub(crate) handle: tokio::runtime::Handle,
    control: Sender<Control>,
    in_flight: Arc<Semaphore>,
    stopped: AtomicBool,
    /// Set while `tables` is locked: nothing may be committed any more.
    closed: AtomicBool,
    flush_failure: Mutex<Option<String>>,
    /// The memory limit in bytes while the process is near it, else 0.
    near_limit: AtomicUsize,
    /// Whether this process still is the writer.
    pub(crate) guard: Guard,
    /// The epoch that commits carry.
    pub(crate) epoch: u64,
}

impl Shared {
    pub(crate) fn send_control(&self, request: Control) -> Result<()> {
        self.control.send(request).map_err(|_| StoreError::Stopped)
    }

    /// Hands a record to the writer and waits until it is durable.
    pub(crate) async fn write(
        &self,
        writes: &Sender<Write>,
        record: Record,
        bytes: usize,
    ) -> Result<Acknowledgement> {
        self.enqueue(writes, record, bytes).await?.acknowledged().await
    }

    /// Hands a record to the writer, once there is room for it.
    async fn enqueue(&self, writes: &Sender<Write>, record: Record, bytes: usize) -> Result<PendingWrite> {
        // Commands stay possible: their share is bounded, and some of them make room.
        if matches!(record, Record::Points { .. }) {
            self.wait_for_memory().await?;
        }
        let most = self.config.in_flight_bytes / PERMIT_BYTES;
        let permits = (bytes / PERMIT_BYTES + 1).min(most.max(1));
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        let permit =
            Arc::clone(&self.in_flight).acquire_many_owned(permits).await.map_err(|_| StoreError::Stopped)?;
        let (reply, answer) = oneshot::channel();
        let write = Write { record, bytes, reply, _permit: permit };
        // The permits bound what waits here.
        writes.send(write).map_err(|_| StoreError::Stopped)?;
        Ok(PendingWrite { answer })
    }

    /// Asks for a flush when there is more than this to flush: what only a reader holds is not made less by one.
    pub(crate) fn want_flush_of_more_than(&self, bytes: usize) {
        if self.state.read().active.bytes() > bytes {
            self.flush_wanted.notify_one();
        }
    }

    async fn wait_for_memory(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            let limit = self.near_limit.load(Ordering::Relaxed);
            // Below this, waiting brings nothing back: the allocator may keep what was freed, and gives it out again.
            let most = self.config.flush_bytes / 2;
            if limit == 0 || self.state.read().memtable_bytes() <= most {
                return Ok(());
            }
            self.want_flush_of_more_than(most / 2);
            if start.elapsed() > WAIT_FOR_MEMORY {
                return Err(StoreError::Memory { limit_mib: limit >> 20 });
            }
            tokio::time::sleep(LOOK_FOR_MEMORY).await;
        }
    }

    /// The right to commit. What became of an earlier commit that failed is found out first.
    pub(crate) async fn lock_tables(&self) -> Result<tokio::sync::MutexGuard<'_, Committed>> {
        let mut tables = self.tables.lock().await;
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Stopped);
        }
        if self.is_stopped() {
            return Err(self.stop_reason());
        }
        if let Some((Table::Points, version)) = tables.settle(&self.catalog).await? {
            self.state.write().take_over_points(version);
        }
        Ok(tables)
    }

    /// Runs a task to its end, also when the caller does not wait for it.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let task = self.handle.spawn(task);
        self.maintenance.note_running(task.abort_handle());
        match task.await {
            Ok(outcome) => outcome,
            Err(failure) if failure.is_panic() => std::panic::resume_unwind(failure.into_panic()),
            Err(_) => Err(StoreError::Stopped),
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire) || self.catalog.failed_sync().is_some() || self.guard.is_lost()
    }

    /// Why nothing is accepted any more.
    pub(crate) fn stop_reason(&self) -> StoreError {
        self.guard.lost().unwrap_or(StoreError::Stopped)
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub(crate) fn note_flush_failure(&self, failure: Option<String>) {
        if let Some(failure) = &failure {
            tracing::error!(%failure, "flush failed; it will be tried again");
        }
        *self.flush_failure.lock() = failure;
    }

    /// Why the last flush failed, as the end of a sentence; empty when it did not.
    pub(crate) fn flush_failure(&self) -> String {
        self.flush_failure.lock().as_ref().map(|failure| format!(" ({failure})")).unwrap_or_default()
    }
}

impl Store {
    /// Opens the lake for writing; a folder without a lake becomes one.
    ///
    /// Takes the writer lock, loads the tables, replays the log, then accepts writes.
    ///
    /// # Errors
    /// When another process writes, the lake is of a newer format or damaged (file and place are named), or the disk
    /// refuses.
    ///
    /// # Panics
    /// When called outside of a tokio runtime.
    pub fn open(config: StoreConfig) -> BoxFuture<'static, Result<Self>> {
        async move {
            let opened = open_for_writing(&config).await?;
            let Opened { ownership, epoch, catalog, tables, state, wal, windows, adopt } = opened;
            let (control, control_requests) = crossbeam_channel::bounded(QUEUED_CONTROLS);
            let (writes, write_requests) = crossbeam_channel::unbounded();
            let permits = (config.in_flight_bytes / PERMIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
            let shared = Arc::new(Shared {
                state: RwLock::new(state),
                catalog,
                readers: Arc::new(ReaderCache::new(config.reader_cache_bytes)),
                tables: tokio::sync::Mutex::new(Committed::new(tables, epoch, ownership.guard())),
                maintenance: Maintenance::default(),
                flush_wanted: Notify::new(),
                handle: tokio::runtime::Handle::current(),
                control,
                in_flight: Arc::new(Semaphore::new(permits)),
                stopped: AtomicBool::new(false),
                closed: AtomicBool::new(false),
                flush_failure: Mutex::new(None),
                near_limit: AtomicUsize::new(0),
                guard: ownership.guard(),
                epoch,
                config,
            });
            let writer = start_writer(&shared, wal, windows, write_requests, control_requests)?;
            let flusher = tokio::spawn(flush_when_wanted(Arc::clone(&shared)));
            let maintainer = shared.config.maintenance.background.then(|| {
                // There may be work left from the last time.
                shared.maintenance.want();
                tokio::spawn(maintenance::run(Arc::clone(&shared), writes.clone()))
            });
            let threads = Mutex::new(Some(Threads { writer, flusher, maintainer, ownership }));
            let adopted = OnceLock::new();
            let store = Self { inner: Arc::new(Inner { shared, writes, threads, adopted }) };
            let mut reports = Vec::with_capacity(adopt.len());
            for stale in adopt {
                let disk = Arc::clone(&store.inner.shared.config.disk);
                match stale_log::adopt(&store, &*disk, stale).await {
                    Ok(adopted) => reports.push(adopted),
                    Err(error) => {
                        store.close().await;
                        return Err(error);
                    }
                }
            }
            // Set here and nowhere else.
            let _ = store.inner.adopted.set(reports);
            Ok(store)
        }
        .boxed()
    }

    /// What this open wrote into the lake from logs that had missed a take-over ([`StaleLog::Adopt`](crate::StaleLog)).
    pub fn adopted(&self) -> &[Adopted] {
        self.inner.adopted.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// Appends a batch of points. When this returns, the points are on disk and every new snapshot holds them.
    ///
    /// A batch with a [`WriterSequence`] that was seen before is acknowledged as a duplicate and not applied again.
    ///
    /// # Errors
    /// Nothing of the batch is applied: unknown run, disk full, or a store that stopped. An error after a lost
    /// connection to the store says nothing; send the batch again with the same sequence.
    pub async fn append(&self, batch: PointBatch, writer: Option<WriterSequence>) -> Result<Acknowledgement> {
        self.begin_append(batch, writer).await?.acknowledged().await
    }

    /// Gives a batch its place in the log, once there is room for it; what comes back waits until it is durable and
    /// holds no memory of the batch. Batches of a caller that awaits each call get their places in the order of the
    /// calls.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub async fn begin_append(
        &self,
        batch: PointBatch,
        writer: Option<WriterSequence>,
    ) -> Result<PendingWrite> {
        let bytes = bytes_of(&batch);
        self.inner.shared.enqueue(&self.inner.writes, Record::Points { writer, batch }, bytes).await
    }

    /// Says whether the process is near its memory limit of so many bytes. While it is, memtables may hold half of what
    /// starts a flush elsewhere: beyond it, points wait for the flush and are then refused; reads go on.
    pub fn note_memory(&self, near: Option<usize>) {
        self.inner.shared.near_limit.store(near.unwrap_or_default(), Ordering::Relaxed);
        if near.is_some() {
            self.inner.shared.want_flush_of_more_than(self.inner.shared.config.flush_bytes / 4);
        }
    }

    /// Applies registry commands, all or none.
    ///
    /// # Errors
    /// Nothing is applied: a command that does not fit the registry, disk full, or a store that stopped.
    pub async fn apply(
        &self,
        commands: Vec<Command>,
        writer: Option<WriterSequence>,
    ) -> Result<Acknowledgement> {
        let bytes = commands.iter().map(|command| 256 + bytes_of_command(command)).sum();
        self.write(Record::Commands { writer, commands }, bytes).await
    }

    async fn write(&self, record: Record, bytes: usize) -> Result<Acknowledgement> {
        self.inner.shared.write(&self.inner.writes, record, bytes).await
    }

    /// The lake at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let shared = &self.inner.shared;
        let state = shared.state.read().clone();
        Snapshot::new(state, Arc::clone(&shared.catalog), Arc::clone(&shared.readers))
    }

    /// Writes everything that is only in the log and in memory into tables.
    ///
    /// # Errors
    /// When a file or a commit cannot be written; nothing is lost and the next flush tries again.
    pub fn flush<'a>(&'a self) -> BoxFuture<'a, Result<FlushReport>> {
        async move { flush::flush(&self.inner.shared).await }.boxed()
    }

    /// Merges segments of `points` until there is nothing worth it, as fast as it goes; points of deleted runs are
    /// left out. Writers and flushes go on meanwhile.
    ///
    /// # Errors
    /// When the store or a commit fails; what was merged before stays merged. A damaged file is no error: it is left
    /// alone and named in the report.
    pub fn compact<'a>(&'a self, options: CompactOptions) -> BoxFuture<'a, Result<CompactReport>> {
        async move { compact::compact(&self.inner.shared, options, Vec::new(), &mut Throttle::none()).await }
            .boxed()
    }

    /// Removes data files that no recent version and no snapshot of this process needs, and what no reader needs of
    /// the Delta logs.
    ///
    /// # Errors
    /// When the store fails; what was removed until then was not needed.
    pub fn vacuum<'a>(&'a self, options: VacuumOptions) -> BoxFuture<'a, Result<VacuumReport>> {
        async move {
            if options.older_than.is_some_and(|age| age.is_zero()) && !options.dry_run {
                // The log keeps the records of two flushes, and each must bring something new.
                for _ in 0..3 {
                    self.apply(Vec::new(), None).await?;
                    self.inner.shared.state.write().dirty.note_chunk(Table::Decisions, 0);
                    self.flush().await?;
                }
            }
            vacuum::vacuum(&self.inner.shared, options).await
        }
        .boxed()
    }

    /// Deletes the runs that ended longer ago than the retention of their project allows. Gives back how many. Happens
    /// in the background too.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn apply_retention<'a>(&'a self) -> BoxFuture<'a, Result<usize>> {
        async move { maintenance::expire(&self.inner.shared, &self.inner.writes).await }.boxed()
    }

    /// Bytes that flushes and compactions have written since the lake was opened.
    pub fn write_volume(&self) -> WriteVolume {
        self.inner.shared.maintenance.volume()
    }

    /// Says who writes, in the words that a second writer sees: a server knows its port only once it listens.
    ///
    /// # Errors
    /// When the lock file cannot be written.
    pub fn describe_owner(&self, owner: &str) -> Result<()> {
        match self.inner.threads.lock().as_mut() {
            Some(threads) => threads.ownership.describe(owner),
            None => Err(StoreError::Stopped),
        }
    }

    /// Whether the writer stopped for good after a failure of the log; the process should end with exit code 4.
    pub fn is_stopped(&self) -> bool {
        self.inner.shared.is_stopped()
    }

    /// Why the writer stopped for good, when it did.
    pub fn stop_reason(&self) -> Option<StoreError> {
        let shared = &self.inner.shared;
        shared.is_stopped().then(|| shared.stop_reason())
    }

    /// Stops accepting, commits what is queued, and ends the threads. The log holds what was not flushed.
    pub async fn close(&self) {
        let threads = self.inner.threads.lock().take();
        let Some(Threads { writer, flusher, maintainer, ownership }) = threads else { return };
        flusher.abort();
        if let Some(maintainer) = maintainer {
            // A merge that is under way is given up; what it wrote is named by no commit.
            maintainer.abort();
            drop(maintainer.await);
        }
        // A flush or a commit that is under way ends first: it holds this lock.
        let tables = self.inner.shared.tables.lock().await;
        self.inner.shared.closed.store(true, Ordering::Release);
        self.inner.shared.in_flight.close();
        if self.inner.shared.send_control(Control::Stop).is_ok() {
            let joined = tokio::task::spawn_blocking(move || writer.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the writer thread ended with a panic");
            }
        }
        drop(tables);
        ownership.release().await;
    }
}

/// Bytes of a batch in the queue: points, names, and the frame that it becomes.
fn bytes_of(batch: &PointBatch) -> usize {
    let columns = batch.series().iter().map(|part| part.points.reserved_bytes());
    // Half as much again for the frame.
    columns.sum::<usize>() * 3 / 2 + batch.series().len() * 256
}

/// A write that has its place in the log and is not durable yet.
#[derive(Debug)]
pub struct PendingWrite {
    answer: oneshot::Receiver<Result<Acknowledgement>>,
}

impl PendingWrite {
    /// Waits until it is durable and visible. Dropping this instead changes nothing for the write.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub async fn acknowledged(self) -> Result<Acknowledgement> {
        self.answer.await.map_err(|_| StoreError::Stopped)?
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A store that is dropped without `close` still ends its thread; what is queued is committed first.
        if let Some(Threads { writer, flusher, maintainer, ownership }) = self.threads.lock().take() {
            flusher.abort();
            if let Some(maintainer) = maintainer {
                maintainer.abort();
            }
            self.shared.closed.store(true, Ordering::Release);
            self.shared.maintenance.abort();
            if self.shared.send_control(Control::Stop).is_ok() {
                drop(writer.join());
            }
            // A lease that is not given back runs out.
            drop(ownership);
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("location", &self.inner.shared.config.location).finish_non_exhaustive()
    }
}

fn start_writer(
    shared: &Arc<Shared>,
    wal: Wal,
    windows: HashMap<String, WriterWindow>,
    writes: crossbeam_channel::Receiver<Write>,
    control: crossbeam_channel::Receiver<Control>,
) -> Result<std::thread::JoinHandle<()>> {
    let writer = Writer { wal, windows, shared: Arc::clone(shared) };
    std::thread::Builder::new()
        .name("runlake-writer".to_owned())
        .spawn(move || {
            let shared = Arc::clone(&writer.shared);
            let outcome =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writer.run(&writes, &control)));
            if outcome.is_err() {
                // Whatever the state is now, nothing more may be acknowledged on it.
                shared.stop();
            }
        })
        .map_err(|source| StoreError::Io { action: "start", path: "the writer thread".to_owned(), source })
}

async fn flush_when_wanted(shared: Arc<Shared>) {
    loop {
        shared.flush_wanted.notified().await;
        if flush::flush(&shared).await.is_err() {
            // The failure is noted; writers go on until the memtables are full, and every write over the mark asks again.
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    }
}
