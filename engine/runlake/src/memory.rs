//! The one memory limit of a process that serves a lake: how it is split, where it comes from, and the guard that
//! watches it.
//!
//! Invariants
//! - The parts of a [`MemoryPlan`] together are no more than its limit; each part is enforced where it is used.
//! - The guard refuses writes first; points of what a flush makes room for, and reads, go on. Nearer to the limit it ends
//!   the statement that holds the most memory, one at a time.

use std::time::{Duration, Instant};

use query::QueryService;
use store::{Store, StoreConfig};

use crate::error::{Error, Result};

const MIB: usize = 1 << 20;

/// Code that was ever run (100 MB: pages of the program's file count as its memory), stacks of threads, functions of the
/// SQL engine.
const PROGRAM: usize = 128 * MIB;
/// What encoding one row group of points takes, at a flush and at a merge; it does not shrink with the limit.
const ENCODING: usize = 64 * MIB;

/// How often the guard looks.
const LOOK: Duration = Duration::from_millis(100);

/// How long the allocator is left alone after it gave back what was free.
const GIVE_BACK_PAUSE: Duration = Duration::from_millis(250);

/// How long after the end of a statement its memory may take to come back, before another one is ended.
const END_PAUSE: Duration = Duration::from_millis(500);

/// How much of everything fits into one limit. Built by [`MemoryPlan::within`] alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// All of it, in bytes.
    pub limit: usize,
    /// Memtables, runs, series and the numbers of writers ([`StoreConfig::hard_limit_bytes`]).
    pub data: usize,
    /// The memtable at which a flush starts.
    pub flush: usize,
    /// Runs, series and the numbers of writers alone, out of `data`, where they count twice.
    pub resident: usize,
    /// Writes that wait for their sync, and the frames of the log that they become.
    pub in_flight: usize,
    /// A group of writes that is synced at once, out of `in_flight`.
    pub group: usize,
    /// The files that a flush and a merge write, which are made in memory, out of `encoding`.
    pub file: usize,
    /// What flushes and merges take beside the memtables.
    pub encoding: usize,
    /// Footers and chunk indexes of segments that readers keep.
    pub reader_cache: usize,
    /// All SQL statements together.
    pub queries: usize,
    /// One SQL statement, out of `queries`.
    pub statement: usize,
    /// SQL statements at once.
    pub statements: usize,
    /// Requests that are coming in, as they are on the wire.
    pub requests: usize,
    /// Requests that are decoded and have no place in the log yet.
    pub decoded: usize,
    /// Connections at once.
    pub connections: usize,
    /// What one connection may have received that nobody took yet.
    pub connection: usize,
}

impl MemoryPlan {
    /// The smallest limit, in bytes: 384 MB.
    pub const LEAST: usize = 384_000_000;
    /// The largest limit that is taken by default: beyond it, memory makes nothing faster.
    pub const MOST_BY_DEFAULT: usize = 4 << 30;

    /// Splits a limit. This is the one place where it is done.
    ///
    /// # Errors
    /// [`Error::Memory`] when it is less than [`Self::LEAST`].
    pub fn within(limit: usize) -> Result<Self> {
        if limit < Self::LEAST {
            return Err(Error::Memory { given_mb: limit / 1_000_000, least_mb: Self::LEAST / 1_000_000 });
        }
        let left = limit - PROGRAM - ENCODING;
        // The shares are 75 in all: the rest is for what lies between the parts, in the allocator's pages that are used
        // in part, and in buffers that are copied while they grow.
        let share = |percent: usize| left / 100 * percent;
        let file = share(3).min(128 * MIB);
        let data = share(30).min(1536 * MIB);
        let statements = (limit / (192 * MIB)).clamp(1, 8);
        let queries = share(12).min(2048 * MIB);
        let connection = (share(8) / 1024).clamp(128 << 10, 1 << 20);
        Ok(Self {
            limit,
            data,
            flush: (data / 5).min(128 * MIB),
            // Twice this leaves one and a half times `flush`.
            resident: data / 32 * 11,
            in_flight: share(6).min(128 * MIB),
            group: (share(6) / 8).min(4 * MIB),
            file,
            encoding: ENCODING + 2 * file,
            reader_cache: share(2).min(256 * MIB),
            queries,
            statement: (queries / 2).min(512 * MIB),
            statements,
            requests: share(4).clamp(8 * MIB, 128 * MIB),
            decoded: share(7).min(512 * MIB),
            connections: (share(8) / connection).min(1024),
            connection,
        })
    }

    /// Half of what this process may use: of the machine's memory, or of its control group's. At least
    /// [`Self::LEAST`], at most [`Self::MOST_BY_DEFAULT`].
    pub fn default_limit() -> usize {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let machine = read("/proc/meminfo").and_then(|text| kib_of(&text, "MemTotal:"));
        let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
        let group = groups.iter().find_map(|path| read(path)?.trim().parse::<usize>().ok());
        let available = machine.into_iter().chain(group).min().unwrap_or(2 * Self::LEAST);
        (available / 2).clamp(Self::LEAST, Self::MOST_BY_DEFAULT)
    }

    /// Sets the limits of a store.
    pub(crate) fn limit_store(&self, config: &mut StoreConfig) {
        config.flush_bytes = self.flush;
        config.hard_limit_bytes = self.data;
        config.resident_bytes = self.resident;
        config.in_flight_bytes = self.in_flight;
        config.group_bytes = self.group;
        config.reader_cache_bytes = self.reader_cache;
        config.maintenance.file_bytes = config.maintenance.file_bytes.min(self.file as u64);
    }

    /// The memory of this process from which on writes wait: what may still come in before the guard looks again fits
    /// above it.
    fn near(&self) -> usize {
        self.limit / 100 * 80
    }

    /// The memory of this process from which on the allocator is asked for what is free.
    fn worth_giving_back(&self) -> usize {
        self.limit / 100 * 65
    }

    /// The memory of this process from which on statements are ended.
    fn too_near(&self) -> usize {
        self.limit / 100 * 85
    }

    /// The memory of this process below which writes go on.
    fn relieved(&self) -> usize {
        self.limit / 100 * 74
    }
}

/// Watches the memory of this process, and has the store refuse writes while it is near the limit; still nearer, it ends
/// the largest statement. Before both it has `give_back` give back what is free. Runs until it is dropped; does nothing
/// where there is no `/proc`.
pub(crate) async fn guard(plan: MemoryPlan, store: Store, queries: QueryService, give_back: Option<fn()>) {
    let mut near = false;
    let mut given_back: Option<Instant> = None;
    let mut ended: Option<Instant> = None;
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        let Some(mut used) = own_memory() else { return };
        if let Some(give_back) = give_back
            && used > plan.worth_giving_back()
            && given_back.is_none_or(|last| last.elapsed() >= GIVE_BACK_PAUSE)
        {
            given_back = Some(Instant::now());
            // It fails only when the runtime ends.
            let _ = tokio::task::spawn_blocking(give_back).await;
            used = own_memory().unwrap_or(used);
        }
        if used > plan.too_near()
            && ended.is_none_or(|last| last.elapsed() >= END_PAUSE)
            && let Some((statement, bytes)) = queries.cancel_largest()
        {
            ended = Some(Instant::now());
            let (used_mb, held_mb) = (used / 1_000_000, bytes / 1_000_000);
            tracing::warn!(
                used_mb,
                statement,
                held_mb,
                "near the memory limit: the largest statement was ended"
            );
        }
        let now = used > if near { plan.relieved() } else { plan.near() };
        if std::mem::replace(&mut near, now) != now {
            store.note_memory(near.then_some(plan.limit));
            if near {
                tracing::warn!(used_mb = used / 1_000_000, "near the memory limit: writes wait for a flush");
            }
        }
    }
}

/// The memory that this process has in use, in bytes.
fn own_memory() -> Option<usize> {
    kib_of(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

fn kib_of(text: &str, field: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_ascii_whitespace().next()?.parse::<usize>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::{FutureExt, StreamExt};
    use query::{QueryOptions, ServiceConfig, SessionConfig, SessionFactory};

    use super::*;

    fn total(plan: &MemoryPlan) -> usize {
        PROGRAM
            + plan.data
            + plan.in_flight
            + plan.encoding
            + plan.reader_cache
            + plan.queries
            + plan.requests
            + plan.decoded
            + plan.connections * plan.connection
    }

    #[test]
    fn the_parts_are_no_more_than_the_limit() {
        for limit in (384..70_000).step_by(37).map(|mb| mb * 1_000_000) {
            let plan = MemoryPlan::within(limit).unwrap();
            assert!(total(&plan) <= limit / 100 * 96, "{limit}: {} in {plan:?}", total(&plan));
            assert!(plan.group <= plan.in_flight && plan.statement <= plan.queries, "{plan:?}");
            assert!(2 * plan.resident + 3 * plan.flush / 2 <= plan.data, "{plan:?}");
            assert!(plan.connections >= 64 && plan.statements >= 1, "{plan:?}");
            // The largest message must fit in twice.
            assert!(plan.requests >= 8 * MIB && plan.in_flight >= 8 * MIB, "{plan:?}");
        }
    }

    #[test]
    fn a_large_limit_is_used_where_it_helps() {
        let plan = MemoryPlan::within(8 << 30).unwrap();
        assert_eq!((plan.flush, plan.file, plan.connections), (128 * MIB, 128 * MIB, 1024));
        assert!(plan.queries >= 900 * MIB);
    }

    #[test]
    fn too_small_a_limit_is_refused_with_the_least() {
        let error = MemoryPlan::within(MemoryPlan::LEAST - 1).unwrap_err();
        assert_eq!(error.code(), "memory.too_small");
        assert!(error.to_string().contains("384 MB"), "{error}");
    }

    #[test]
    fn the_default_is_within_bounds_and_this_process_has_memory() {
        let limit = MemoryPlan::default_limit();
        assert!((MemoryPlan::LEAST..=MemoryPlan::MOST_BY_DEFAULT).contains(&limit));
        assert_eq!(kib_of("VmPeak:\t 9 kB\nVmRSS:\t   12 kB\n", "VmRSS:"), Some(12 << 10));
        assert_eq!(own_memory().is_some(), cfg!(target_os = "linux"));
    }

    #[tokio::test(flavor = "multi_thread")]
    #[cfg(target_os = "linux")]
    async fn nearer_than_near_the_largest_statement_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(StoreConfig::new(folder.path().join("lake"), Arc::new(|| 0))).await.unwrap();
        let session = SessionConfig { memory: 256 << 20, spill: 1 << 30, threads: 2 };
        let factory = Arc::new(SessionFactory::new(&session).unwrap());
        let queries = QueryService::new(factory, ServiceConfig::default());
        let sql = "SELECT x FROM range(10000000) AS t(x) ORDER BY x % 7919, x";
        let snapshot = async { Ok::<_, query::QueryError>(store.snapshot()) }.boxed();
        let mut answer = queries.run(sql, QueryOptions::default(), None, snapshot).await.unwrap();
        // This process has far more than that.
        let plan = MemoryPlan { limit: MIB, ..MemoryPlan::within(MemoryPlan::LEAST).unwrap() };
        let guard = tokio::spawn(guard(plan, store.clone(), queries.clone(), None));
        let error = answer.batches.next().await.unwrap().unwrap_err();
        assert!(error.code() == "sql.busy" && error.to_string().contains("memory limit"), "{error}");
        guard.abort();
        store.close().await;
    }
}
