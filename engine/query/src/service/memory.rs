//! The memory of statements: one pool for all of them, of which each has a part that no other can take.
//!
//! Invariants
//! - What a statement holds counts for itself and, beyond its own floor, for the common part; both have a limit.
//! - A quarter of the pool is floors, one for each place; so a statement that begins always gets some memory, whatever
//!   the others hold. Statements beyond the number of places have no floor.
//! - Within a statement, what can go to disk or on with less leaves an eighth to what cannot, and shares the rest evenly:
//!   sorts from the beginning, others once half of it is taken.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use parking_lot::Mutex;

use super::stop::Stop;
use crate::error::QueryError;

/// The memory of all statements.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    size: usize,
    places: AtomicUsize,
    /// Statements that have a floor now.
    with_floor: AtomicUsize,
    /// Bytes beyond the floors.
    common: AtomicUsize,
}

impl SharedMemory {
    pub(crate) fn new(size: usize, places: usize) -> Self {
        Self {
            size,
            places: AtomicUsize::new(places.max(1)),
            with_floor: AtomicUsize::new(0),
            common: AtomicUsize::new(0),
        }
    }

    /// Bytes of all statements.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Says how many statements there may be at once. Called before there are any.
    pub(crate) fn set_places(&self, places: usize) {
        self.places.store(places.max(1), Ordering::Relaxed);
    }

    /// What one statement has for itself.
    fn floor(&self) -> usize {
        self.size / (4 * self.places.load(Ordering::Relaxed))
    }

    fn limit_of_common(&self) -> usize {
        self.size - self.floor() * self.places.load(Ordering::Relaxed)
    }

    fn try_take(&self, bytes: usize) -> bool {
        let limit = self.limit_of_common();
        let within = |used: usize| used.checked_add(bytes).filter(|total| *total <= limit);
        self.common.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
    }

    fn take(&self, bytes: usize) {
        self.common.fetch_add(bytes, Ordering::Relaxed);
    }

    fn give_back(&self, bytes: usize) {
        self.common.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl fmt::Display for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory of all statements ({} bytes)", self.size)
    }
}

/// For sessions of embedders, which have no limit of their own.
impl MemoryPool for SharedMemory {
    fn name(&self) -> &str {
        "statements"
    }

    fn grow(&self, _reservation: &MemoryReservation, additional: usize) {
        self.take(additional);
    }

    fn shrink(&self, _reservation: &MemoryReservation, shrink: usize) {
        self.give_back(shrink);
    }

    fn try_grow(&self, _reservation: &MemoryReservation, additional: usize) -> Result<()> {
        if self.try_take(additional) {
            return Ok(());
        }
        Err(DataFusionError::ResourcesExhausted(format!("{self}")))
    }

    fn reserved(&self) -> usize {
        self.common.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.size)
    }
}

/// The memory of one statement: its own limit within the limit of all statements.
#[derive(Debug)]
pub(crate) struct StatementMemory {
    all: Arc<SharedMemory>,
    stop: Arc<Stop>,
    limit: usize,
    /// Set once, before there is anything to hold.
    floor: OnceLock<usize>,
    held: Mutex<Held>,
}

/// Parts of a sort, `ExternalSorter[n]`, and what merges them, `ExternalSorterMerge[n]`.
const SORT: &str = "ExternalSorter";

/// A part of a sort needs about as much again to merge what it holds, and a merge takes all that it gets and goes on with
/// little: each keeps to its share from the beginning.
fn is_of_a_sort(consumer: &MemoryConsumer) -> bool {
    consumer.name().starts_with(SORT)
}

/// Whether a consumer goes on when it gets no more.
fn gives_way(consumer: &MemoryConsumer) -> bool {
    consumer.can_spill() || is_of_a_sort(consumer)
}

#[derive(Debug, Default)]
struct Held {
    /// Consumers that give way.
    yielding: usize,
    of_yielding: usize,
    of_others: usize,
    peak: usize,
}

impl Held {
    fn total(&self) -> usize {
        self.of_yielding + self.of_others
    }
}

impl StatementMemory {
    pub(crate) fn new(all: Arc<SharedMemory>, limit: usize, stop: Arc<Stop>) -> Self {
        Self { all, stop, limit, floor: OnceLock::new(), held: Mutex::default() }
    }

    /// Takes a floor, when one is left; called when the statement begins to run. One that waits has none.
    pub(crate) fn begin(&self) {
        self.floor.get_or_init(|| {
            let places = self.all.places.load(Ordering::Relaxed);
            let place = |taken: usize| (taken < places).then_some(taken + 1);
            let taken = self.all.with_floor.fetch_update(Ordering::Relaxed, Ordering::Relaxed, place);
            if taken.is_ok() { self.all.floor() } else { 0 }
        });
    }

    fn floor(&self) -> usize {
        self.floor.get().copied().unwrap_or_default()
    }

    /// Bytes held now.
    pub(crate) fn held(&self) -> usize {
        self.held.lock().total()
    }

    /// The most bytes held at once.
    pub(crate) fn peak(&self) -> usize {
        self.held.lock().peak
    }

    /// How much of a total lies beyond the floor.
    fn beyond(&self, total: usize) -> usize {
        total.saturating_sub(self.floor())
    }

    fn add(&self, held: &mut Held, yielding: bool, bytes: usize) {
        if yielding {
            held.of_yielding += bytes;
        } else {
            held.of_others += bytes;
        }
        held.peak = held.peak.max(held.total());
    }

    /// Whether the statement itself allows it.
    fn allows(&self, held: &Held, reservation: &MemoryReservation, additional: usize) -> bool {
        let Some(total) = held.total().checked_add(additional).filter(|total| *total <= self.limit) else {
            return false;
        };
        let consumer = reservation.consumer();
        if !gives_way(consumer) || (total <= self.limit / 2 && !is_of_a_sort(consumer)) {
            return true;
        }
        let for_yielding = (self.limit - self.limit / 8).saturating_sub(held.of_others);
        reservation.size() + additional <= for_yielding / held.yielding.max(1)
    }
}

impl Drop for StatementMemory {
    fn drop(&mut self) {
        if self.floor() > 0 {
            self.all.with_floor.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Display for StatementMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "statement memory ({} of {} bytes)", self.held(), self.limit)
    }
}

impl MemoryPool for StatementMemory {
    fn name(&self) -> &str {
        "statement"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.held.lock().yielding += usize::from(gives_way(consumer));
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        let mut held = self.held.lock();
        held.yielding = held.yielding.saturating_sub(usize::from(gives_way(consumer)));
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        let mut held = self.held.lock();
        let before = self.beyond(held.total());
        self.add(&mut held, gives_way(reservation.consumer()), additional);
        self.all.take(self.beyond(held.total()) - before);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        let mut held = self.held.lock();
        let before = self.beyond(held.total());
        let yielding = gives_way(reservation.consumer());
        let of = if yielding { &mut held.of_yielding } else { &mut held.of_others };
        *of = of.saturating_sub(shrink);
        self.all.give_back(before - self.beyond(held.total()));
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        // Work that computes for long without a pause ends here at the latest.
        if let Some(cause) = self.stop.cause() {
            return Err(DataFusionError::External(Box::new(cause)));
        }
        let mut held = self.held.lock();
        let refused = |total: usize| {
            let (who, held) = (reservation.consumer().name(), reservation.size());
            let limit = self.limit;
            DataFusionError::ResourcesExhausted(format!(
                "{who} holds {held} bytes and needs {additional} more, the statement holds {total} of {limit}"
            ))
        };
        if !self.allows(&held, reservation, additional) {
            return Err(refused(held.total()));
        }
        let total = held.total();
        if !self.all.try_take(self.beyond(total + additional) - self.beyond(total)) {
            self.stop.note_crowded(QueryError::Busy {
                message: format!(
                    "other statements hold the memory: this one has {} MiB of its {} MiB",
                    total >> 20,
                    self.limit >> 20
                ),
            });
            return Err(refused(total));
        }
        self.add(&mut held, gives_way(reservation.consumer()), additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.held()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(all: &Arc<SharedMemory>, limit: usize) -> Arc<dyn MemoryPool> {
        let memory = StatementMemory::new(Arc::clone(all), limit, Arc::default());
        memory.begin();
        Arc::new(memory)
    }

    fn consumer(pool: &Arc<dyn MemoryPool>, can_spill: bool) -> MemoryReservation {
        MemoryConsumer::new("test").with_can_spill(can_spill).register(pool)
    }

    #[test]
    fn a_greedy_statement_leaves_the_floors_of_the_others() {
        // Two places: a floor of 125 each, 750 in common.
        let all = Arc::new(SharedMemory::new(1_000, 2));
        let (greedy, modest) = (statement(&all, 10_000), statement(&all, 10_000));
        let of_greedy = consumer(&greedy, false);
        of_greedy.try_grow(875).unwrap();
        assert!(of_greedy.try_grow(1).is_err(), "the rest is the floor of another");
        let of_modest = consumer(&modest, false);
        of_modest.try_grow(125).unwrap();
        assert!(of_modest.try_grow(1).is_err());
        of_greedy.shrink(500);
        of_modest.try_grow(500).unwrap();
        drop((of_greedy, of_modest));
        assert_eq!((all.reserved(), greedy.reserved(), modest.reserved()), (0, 0, 0));
    }

    #[test]
    fn a_floor_comes_back_with_its_statement() {
        let all = Arc::new(SharedMemory::new(1_000, 1));
        let first = statement(&all, 10_000);
        let of_second = {
            let second = statement(&all, 10_000);
            consumer(&second, false)
        };
        consumer(&first, false).try_grow(1_000).unwrap();
        of_second.try_grow(750).unwrap();
        assert!(of_second.try_grow(1).is_err(), "one place, one floor");
        drop((first, of_second));
        let third = statement(&all, 10_000);
        consumer(&third, false).try_grow(1_000).unwrap();
        assert_eq!(all.reserved(), 0);
    }

    #[test]
    fn who_waits_takes_no_floor() {
        let all = Arc::new(SharedMemory::new(1_000, 1));
        let waiting = StatementMemory::new(Arc::clone(&all), 10_000, Arc::default());
        consumer(&statement(&all, 10_000), false).try_grow(1_000).unwrap();
        waiting.begin();
        consumer(&(Arc::new(waiting) as Arc<dyn MemoryPool>), false).try_grow(1_000).unwrap();
        assert_eq!(all.with_floor.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn its_own_limit_holds_also_where_there_is_more() {
        let all = Arc::new(SharedMemory::new(1_000_000, 2));
        let one = statement(&all, 500);
        let held = consumer(&one, false);
        held.try_grow(500).unwrap();
        assert!(held.try_grow(1).is_err());
        assert!(held.try_grow(usize::MAX).is_err());
        held.grow(100);
        assert_eq!(one.reserved(), 600);
    }

    #[test]
    fn what_gives_way_leaves_room_for_what_cannot_and_shares_evenly() {
        let all = Arc::new(SharedMemory::new(1_000_000, 1));
        let one = statement(&all, 800);
        let (first, second) = (consumer(&one, true), consumer(&one, true));
        // Half is for whoever comes first.
        first.try_grow(400).unwrap();
        assert!(first.try_grow(1).is_err(), "beyond its share of (800 - 100) / 2");
        second.try_grow(350).unwrap();
        assert!(second.try_grow(1).is_err());
        let rest = consumer(&one, false);
        rest.try_grow(50).unwrap();
        assert!(rest.try_grow(1).is_err());
        // What was spilled is there for the others.
        first.shrink(400);
        rest.try_grow(400).unwrap();
        assert!(second.try_grow(1).is_err(), "the memory of others shrinks the shares");
        drop(second);
        assert_eq!(one.reserved(), 450);
    }

    #[test]
    fn sorts_keep_to_their_share_and_leave_as_much_to_merge() {
        let all = Arc::new(SharedMemory::new(1_000_000, 1));
        let one = statement(&all, 800);
        let sort = MemoryConsumer::new("ExternalSorter[0]").with_can_spill(true).register(&one);
        let merge = MemoryConsumer::new("ExternalSorterMerge[0]").register(&one);
        sort.try_grow(350).unwrap();
        assert!(sort.try_grow(1).is_err());
        merge.try_grow(350).unwrap();
        assert!(merge.try_grow(1).is_err());
        consumer(&one, false).try_grow(100).unwrap();
    }

    #[test]
    fn a_stopped_statement_gets_no_more_memory_and_a_crowded_one_knows_why() {
        let all = Arc::new(SharedMemory::new(1_000, 1));
        let stop = Arc::new(Stop::default());
        let memory = Arc::new(StatementMemory::new(all, 10_000, Arc::clone(&stop)));
        memory.begin();
        let one: Arc<dyn MemoryPool> = Arc::clone(&memory) as Arc<dyn MemoryPool>;
        let held = consumer(&one, false);
        held.try_grow(900).unwrap();
        assert!(held.try_grow(101).is_err());
        assert_eq!(stop.crowded().unwrap().code(), "sql.busy");
        stop.cancel(QueryError::Cancelled { why: "by a test".to_owned() });
        assert!(held.try_grow(1).is_err());
        drop(held);
        assert_eq!((memory.held(), memory.peak()), (0, 900));
    }
}
