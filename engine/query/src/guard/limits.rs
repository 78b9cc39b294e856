//! The limits of one statement.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};

/// What one statement may cost. The defaults are those of remote callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryLimits {
    /// Bytes of SQL text.
    pub text_bytes: usize,
    /// Tokens.
    pub tokens: usize,
    /// Operators: arithmetic, comparisons, AND, OR, NOT, casts, subscripts.
    pub operators: usize,
    /// Levels of parentheses, brackets and CASE.
    pub nesting: usize,
    /// Joins, commas between tables not counted.
    pub joins: usize,
    /// UNION, INTERSECT and EXCEPT.
    pub unions: usize,
    /// Memory in bytes.
    pub memory: usize,
    /// Time for planning and running together.
    pub time: Duration,
    /// Rows of the result; `None` for no limit.
    pub rows: Option<usize>,
    /// Bytes of the result in Arrow form; `None` for no limit.
    pub bytes: Option<usize>,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            text_bytes: 1 << 20,
            tokens: 50_000,
            operators: 1_000,
            nesting: 64,
            joins: 32,
            unions: 128,
            memory: 512 << 20,
            time: Duration::from_secs(60),
            rows: Some(1_000_000),
            bytes: Some(256 << 20),
        }
    }
}

impl QueryLimits {
    /// For the owner of the lake on the own machine: no cap on the result, an hour, and 4 GiB; the shape of a
    /// statement stays capped, since that guards the process.
    pub fn local() -> Self {
        Self { memory: 4 << 30, time: Duration::from_secs(3_600), rows: None, bytes: None, ..Self::default() }
    }
}

/// The memory of one statement: its own limit within the limit of all statements.
#[derive(Debug)]
pub(crate) struct StatementMemory {
    all: Arc<dyn MemoryPool>,
    limit: usize,
    used: AtomicUsize,
}

impl StatementMemory {
    pub(crate) fn new(all: Arc<dyn MemoryPool>, limit: usize) -> Self {
        Self { all, limit, used: AtomicUsize::new(0) }
    }
}

impl fmt::Display for StatementMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "statement memory ({} of {} bytes)", self.used.load(Ordering::Relaxed), self.limit)
    }
}

impl MemoryPool for StatementMemory {
    fn name(&self) -> &str {
        "statement"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.all.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.all.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.all.grow(reservation, additional);
        self.used.fetch_add(additional, Ordering::Relaxed);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.all.shrink(reservation, shrink);
        self.used.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let within = |used: usize| used.checked_add(additional).filter(|total| *total <= self.limit);
        if self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_err() {
            return Err(DataFusionError::ResourcesExhausted(format!("{self}")));
        }
        let grown = self.all.try_grow(reservation, additional);
        if grown.is_err() {
            self.used.fetch_sub(additional, Ordering::Relaxed);
        }
        grown
    }

    fn reserved(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}
