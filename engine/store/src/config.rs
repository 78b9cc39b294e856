//! Settings of a store, in one plain struct.

use std::sync::Arc;
use std::time::Duration;

use crate::disk::{Disk, RealDisk};
use crate::lease::LeaseTimes;
use crate::location::Location;
use crate::maintenance::MaintenanceConfig;
use crate::store::READER_CACHE_BYTES;
use crate::verify::ProgressSink;

/// Where the time comes from: microseconds since 1970 UTC. Only data carries times; order never depends on them.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// When a write counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncPolicy {
    /// An acknowledged write is on disk: each group of writes is synced before it is acknowledged.
    #[default]
    EveryGroup,
    /// An acknowledged write survives the end of the process; a power cut may take the last ones, at most those of
    /// this long.
    Interval(Duration),
}

/// How a store is opened.
#[derive(Clone)]
pub struct StoreConfig {
    /// Where the lake is, and where its log is when that is elsewhere.
    pub location: Location,
    /// Bytes in the memtable at which a flush starts by itself.
    pub flush_bytes: usize,
    /// Bytes in memtables (the active one, those being flushed, and those that a reader still holds) at which writers
    /// wait. What runs and series take counts too, twice, down to one and a half times `flush_bytes` for memtables.
    pub hard_limit_bytes: usize,
    /// Bytes that runs, series and the numbers of writers may take: they are in memory as long as they are in the lake.
    /// What would add to them beyond this is refused.
    pub resident_bytes: usize,
    /// Bytes of footers and chunk indexes that readers keep.
    pub reader_cache_bytes: usize,
    /// Bytes of writes that may wait for their group commit; further writers wait for room.
    pub in_flight_bytes: usize,
    /// Bytes after which a group commit is written without waiting for more.
    pub group_bytes: usize,
    /// Size of a WAL file.
    pub wal_file_bytes: u64,
    /// When a write is acknowledged.
    pub sync: SyncPolicy,
    /// The clock.
    pub clock: Clock,
    /// Where every local file is: the log, the lock, and the tables of a local lake. Tests put one here that fails.
    pub disk: Arc<dyn Disk>,
    /// Is told how far an open is that has much log to read.
    pub progress: Option<ProgressSink>,
    /// Compaction, vacuum and retention.
    pub maintenance: MaintenanceConfig,
    /// Who opens the lake, for the message that a second writer sees, such as `runlake serve on 127.0.0.1:7070`.
    pub owner: String,
    /// How long the writer's lease lasts, on an object store.
    pub lease: LeaseTimes,
    /// What becomes of a log that missed a take-over of its lake, on an object store.
    pub stale_log: StaleLog,
}

/// What becomes of acknowledged writes in the log of this machine that never came into a lake on an object store,
/// because a writer on another machine has taken the lake over since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StaleLog {
    /// The open is refused, and says how much it is.
    #[default]
    Refuse,
    /// They are written into the lake as it is now, once, behind everything that is there.
    Adopt,
    /// The log is moved into the folder `stale` beside it.
    SetAside,
}

impl StoreConfig {
    /// The defaults for a lake at a folder or location.
    pub fn new(location: impl Into<Location>, clock: Clock) -> Self {
        Self {
            location: location.into(),
            flush_bytes: 128 << 20,
            hard_limit_bytes: 512 << 20,
            resident_bytes: usize::MAX,
            reader_cache_bytes: READER_CACHE_BYTES,
            in_flight_bytes: 128 << 20,
            group_bytes: 4 << 20,
            wal_file_bytes: 64 << 20,
            sync: SyncPolicy::EveryGroup,
            clock,
            disk: Arc::new(RealDisk),
            progress: None,
            maintenance: MaintenanceConfig::default(),
            owner: "runlake".to_owned(),
            lease: LeaseTimes::default(),
            stale_log: StaleLog::default(),
        }
    }
}

impl std::fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            location,
            flush_bytes,
            hard_limit_bytes,
            resident_bytes,
            reader_cache_bytes,
            in_flight_bytes,
            group_bytes,
            wal_file_bytes,
            sync,
            clock: _,
            disk,
            progress: _,
            maintenance,
            owner,
            lease,
            stale_log,
        } = self;
        f.debug_struct("StoreConfig")
            .field("location", location)
            .field("flush_bytes", flush_bytes)
            .field("hard_limit_bytes", hard_limit_bytes)
            .field("resident_bytes", resident_bytes)
            .field("reader_cache_bytes", reader_cache_bytes)
            .field("in_flight_bytes", in_flight_bytes)
            .field("group_bytes", group_bytes)
            .field("wal_file_bytes", wal_file_bytes)
            .field("sync", sync)
            .field("disk", disk)
            .field("maintenance", maintenance)
            .field("owner", owner)
            .field("lease", lease)
            .field("stale_log", stale_log)
            .finish_non_exhaustive()
    }
}
