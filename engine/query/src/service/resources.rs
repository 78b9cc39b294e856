//! What one statement uses: memory, temporary files, and the word to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::common::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::runtime_env::RuntimeEnv;

use super::memory::{SharedMemory, StatementMemory};
use super::spill::{SpillSpace, StatementSpill};
use super::stop::Stop;
use crate::error::QueryError;
use crate::guard::QueryLimits;

/// What all statements share.
#[derive(Debug)]
pub(crate) struct SharedResources {
    pub(crate) memory: Arc<SharedMemory>,
    pub(crate) spill: Arc<SpillSpace>,
}

impl SharedResources {
    /// Memory and disk of all statements in bytes, and how many of them there may be at once.
    pub(crate) fn new(memory: usize, spill: u64, places: usize) -> Self {
        Self { memory: Arc::new(SharedMemory::new(memory, places)), spill: Arc::new(SpillSpace::new(spill)) }
    }

    /// Bytes of memory and of disk of all statements.
    pub(crate) fn sizes(&self) -> (usize, u64) {
        (self.memory.size(), self.spill.limit())
    }

    /// The disk of embedders' sessions, which have no limit of their own.
    pub(crate) fn disk_of_sessions(&self) -> DiskManagerMode {
        let limit = self.spill.limit();
        if limit == 0 {
            return DiskManagerMode::Disabled;
        }
        let spill = StatementSpill::new(Arc::clone(&self.spill), limit, Arc::default());
        DiskManagerMode::Custom(Arc::new(spill))
    }

    /// What a statement with these limits uses.
    pub(crate) fn statement(&self, limits: &QueryLimits) -> Resources {
        let stop = Arc::new(Stop::default());
        let spill = limits.spill.min(self.spill.limit());
        Resources {
            memory: Arc::new(StatementMemory::new(
                Arc::clone(&self.memory),
                limits.memory,
                Arc::clone(&stop),
            )),
            spill: (spill > 0)
                .then(|| Arc::new(StatementSpill::new(Arc::clone(&self.spill), spill, Arc::clone(&stop)))),
            stop,
            repeatable: AtomicBool::new(false),
        }
    }
}

/// What one statement uses.
#[derive(Debug)]
pub(crate) struct Resources {
    memory: Arc<StatementMemory>,
    spill: Option<Arc<StatementSpill>>,
    stop: Arc<Stop>,
    repeatable: AtomicBool,
}

impl Resources {
    /// Has the engine take memory and disk for this statement, which begins to run.
    pub(crate) fn give_to(&self, environment: &mut RuntimeEnv) {
        self.memory.begin();
        environment.memory_pool = Arc::clone(&self.memory) as Arc<dyn MemoryPool>;
        let mode = match &self.spill {
            Some(spill) => DiskManagerMode::Custom(Arc::clone(spill) as _),
            None => DiskManagerMode::Disabled,
        };
        // Only a mode with folders can fail; then the environment keeps its own, which spills nothing.
        if let Ok(disk) = DiskManagerBuilder::default().with_mode(mode).build() {
            environment.disk_manager = Arc::new(disk);
        }
    }

    pub(crate) fn stop(&self) -> &Arc<Stop> {
        &self.stop
    }

    pub(crate) fn memory_held(&self) -> usize {
        self.memory.held()
    }

    pub(crate) fn memory_peak(&self) -> usize {
        self.memory.peak()
    }

    pub(crate) fn spilled(&self) -> u64 {
        self.spill.as_ref().map_or(0, |spill| spill.written())
    }

    /// Notes whether the same statement gives the same answer over the same snapshot.
    pub(crate) fn note_repeatable(&self, repeatable: bool) {
        self.repeatable.store(repeatable, Ordering::Relaxed);
    }

    pub(crate) fn is_repeatable(&self) -> bool {
        self.repeatable.load(Ordering::Relaxed)
    }

    /// What is behind an error of the engine, when it is something that happened to this statement from outside.
    pub(crate) fn cause_of(&self, error: &DataFusionError) -> Option<QueryError> {
        let out_of_memory = || matches!(error.find_root(), DataFusionError::ResourcesExhausted(_));
        self.stop.cause().or_else(|| self.stop.crowded().filter(|_| out_of_memory()))
    }
}
