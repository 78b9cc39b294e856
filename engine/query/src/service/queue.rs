//! Who runs and who waits.
//!
//! Invariants
//! - No more statements run than there are slots, plus the reserved ones, which only short statements get.
//! - Callers take turns, not statements: a caller with a hundred waiting ones gets as many slots as one with a single one.
//!   Within a caller it is the order of arrival, but for short statements that find a reserved slot free.
//! - One caller never holds all slots nor all places in the queue, so another finds both. The owner of the lake, who
//!   has no name, may.
//! - Nobody waits while a slot is free that they may have.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::{QueryError, Result};

/// How many statements may run and wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) slots: usize,
    pub(super) reserved: usize,
    pub(super) waiting: usize,
    pub(super) wait: Duration,
}

impl Sizes {
    /// Slots that one caller may hold: one in four, at least one, is for the others.
    fn slots_of_one(&self, caller: &str) -> usize {
        if caller.is_empty() { self.slots } else { (self.slots - (self.slots / 4).max(1)).max(1) }
    }

    /// Places in the queue that one caller may hold.
    fn waiting_of_one(&self, caller: &str) -> usize {
        if caller.is_empty() { self.waiting } else { self.waiting.div_ceil(2) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Ordinary,
    Reserved,
}

#[derive(Debug)]
pub(crate) struct Queue {
    sizes: Sizes,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Ordinary slots that are taken, by caller.
    held: HashMap<Arc<str>, usize>,
    ordinary: usize,
    reserved: usize,
    waiting: HashMap<Arc<str>, VecDeque<Waiter>>,
    waiting_count: usize,
    /// Callers with waiting statements, the next one first.
    turns: VecDeque<Arc<str>>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    short: bool,
    granted: oneshot::Sender<Place>,
}

/// The right to run; given back on drop.
#[derive(Debug)]
pub(crate) struct Place {
    queue: Arc<Queue>,
    caller: Arc<str>,
    slot: Slot,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.give_back(&self.caller, self.slot);
    }
}

/// A place in the queue; leaves it on drop.
struct Waiting<'a> {
    queue: &'a Arc<Queue>,
    caller: &'a Arc<str>,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        let Some(of_caller) = state.waiting.get_mut(self.caller) else { return };
        let before = of_caller.len();
        of_caller.retain(|waiter| waiter.ticket != self.ticket);
        let gone = before - of_caller.len();
        if of_caller.is_empty() {
            state.forget(self.caller);
        }
        state.waiting_count -= gone;
    }
}

impl Queue {
    pub(super) fn new(sizes: Sizes) -> Self {
        let sizes = Sizes { slots: sizes.slots.max(1), ..sizes };
        Self { sizes, state: Mutex::default() }
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Statements that run and that wait.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.ordinary + state.reserved, state.waiting_count)
    }

    /// Waits for the right to run, until `deadline` at most.
    pub(super) async fn enter(
        self: &Arc<Self>,
        caller: &Arc<str>,
        short: bool,
        deadline: Instant,
    ) -> Result<Place> {
        let (ticket, granted) = {
            let mut state = self.state.lock();
            if let Some(slot) = state.free_for(&self.sizes, caller, short) {
                return Ok(self.take(&mut state, caller, slot));
            }
            let of_caller = state.waiting.get(caller).map_or(0, VecDeque::len);
            if state.waiting_count >= self.sizes.waiting {
                return Err(busy(format!("{} statements are waiting already", state.waiting_count)));
            }
            if of_caller >= self.sizes.waiting_of_one(caller) {
                return Err(busy(format!("{of_caller} of your statements are waiting already")));
            }
            state.wait(caller, short)
        };
        let _waiting = Waiting { queue: self, caller, ticket };
        let began = Instant::now();
        match tokio::time::timeout_at(deadline.min(began + self.sizes.wait), granted).await {
            Ok(Ok(place)) => Ok(place),
            // The sender goes only with the queue itself.
            Ok(Err(_)) => Err(busy("the engine is stopping".to_owned())),
            Err(_) => {
                let waited = began.elapsed().as_secs_f64();
                Err(busy(format!("no statement ended in the {waited:.1} s that this one waited")))
            }
        }
    }

    fn take(self: &Arc<Self>, state: &mut State, caller: &Arc<str>, slot: Slot) -> Place {
        match slot {
            Slot::Ordinary => {
                state.ordinary += 1;
                *state.held.entry(Arc::clone(caller)).or_default() += 1;
            }
            Slot::Reserved => state.reserved += 1,
        }
        Place { queue: Arc::clone(self), caller: Arc::clone(caller), slot }
    }

    fn give_back(self: &Arc<Self>, caller: &Arc<str>, slot: Slot) {
        let mut grants = Vec::new();
        {
            let mut state = self.state.lock();
            match slot {
                Slot::Ordinary => {
                    state.ordinary -= 1;
                    if let Some(held) = state.held.get_mut(caller) {
                        *held -= 1;
                        if *held == 0 {
                            state.held.remove(caller);
                        }
                    }
                }
                Slot::Reserved => state.reserved -= 1,
            }
            while let Some((caller, slot, granted)) = state.next(&self.sizes) {
                grants.push((granted, self.take(&mut state, &caller, slot)));
            }
        }
        for (granted, place) in grants {
            // Who is gone meanwhile gives it back by not taking it.
            drop(granted.send(place));
        }
    }
}

impl State {
    /// The slot that a statement may have now.
    fn free_for(&self, sizes: &Sizes, caller: &str, short: bool) -> Option<Slot> {
        let held = self.held.get(caller).copied().unwrap_or_default();
        if self.ordinary < sizes.slots && held < sizes.slots_of_one(caller) {
            return Some(Slot::Ordinary);
        }
        (short && self.reserved < sizes.reserved).then_some(Slot::Reserved)
    }

    fn wait(&mut self, caller: &Arc<str>, short: bool) -> (u64, oneshot::Receiver<Place>) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let (granted, grant) = oneshot::channel();
        let of_caller = self.waiting.entry(Arc::clone(caller)).or_default();
        if of_caller.is_empty() {
            self.turns.push_back(Arc::clone(caller));
        }
        of_caller.push_back(Waiter { ticket, short, granted });
        self.waiting_count += 1;
        (ticket, grant)
    }

    /// Takes the next waiting statement that may run out of the queue.
    fn next(&mut self, sizes: &Sizes) -> Option<(Arc<str>, Slot, oneshot::Sender<Place>)> {
        let (turn, at, slot) = self.turns.iter().enumerate().find_map(|(turn, caller)| {
            let of_caller = self.waiting.get(caller)?;
            of_caller
                .iter()
                .enumerate()
                .find_map(|(at, waiter)| Some((turn, at, self.free_for(sizes, caller, waiter.short)?)))
        })?;
        let caller = self.turns.remove(turn)?;
        let of_caller = self.waiting.get_mut(&caller)?;
        let waiter = of_caller.remove(at)?;
        self.waiting_count -= 1;
        if of_caller.is_empty() {
            self.waiting.remove(&caller);
        } else {
            self.turns.push_back(Arc::clone(&caller));
        }
        Some((caller, slot, waiter.granted))
    }

    fn forget(&mut self, caller: &Arc<str>) {
        self.waiting.remove(caller);
        self.turns.retain(|other| other != caller);
    }
}

fn busy(message: String) -> QueryError {
    QueryError::Busy { message }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;

    use futures::FutureExt;

    use super::*;

    type Entering = Pin<Box<dyn Future<Output = Result<Place>>>>;

    struct Bench(Arc<Queue>);

    impl Bench {
        fn new(slots: usize, reserved: usize, waiting: usize) -> Self {
            Self::with_wait(slots, reserved, waiting, Duration::from_secs(10))
        }

        fn with_wait(slots: usize, reserved: usize, waiting: usize, wait: Duration) -> Self {
            Self(Arc::new(Queue::new(Sizes { slots, reserved, waiting, wait })))
        }

        /// A statement that has looked once whether it may run.
        fn begin(&self, caller: &str, short: bool) -> Result<Result<Place>, Entering> {
            let (queue, caller) = (Arc::clone(&self.0), Arc::<str>::from(caller));
            let deadline = Instant::now() + Duration::from_secs(60);
            let mut entering: Entering = Box::pin(async move { queue.enter(&caller, short, deadline).await });
            match (&mut entering).now_or_never() {
                Some(entered) => Ok(entered),
                None => Err(entering),
            }
        }

        fn enter(&self, caller: &str, short: bool) -> Place {
            match self.begin(caller, short) {
                Ok(entered) => entered.unwrap(),
                Err(_) => panic!("{caller} has to wait"),
            }
        }

        fn wait(&self, caller: &str, short: bool) -> Entering {
            match self.begin(caller, short) {
                Ok(entered) => panic!("{caller} did not wait: {entered:?}"),
                Err(entering) => entering,
            }
        }
    }

    fn has_entered(entering: &mut Entering) -> Option<Place> {
        entering.now_or_never().map(|entered| entered.unwrap())
    }

    #[tokio::test]
    async fn callers_take_turns_however_many_statements_wait() {
        let bench = Bench::new(2, 0, 1_000);
        // With two slots one caller has one.
        let mut running = vec![bench.enter("many", false), bench.enter("third", false)];
        let mut many: Vec<Entering> = (0..100).map(|_| bench.wait("many", false)).collect();
        let mut one = bench.wait("one", false);
        running.remove(1);
        let place = has_entered(&mut one).expect("the only statement of a caller comes before the hundred");
        assert!(many.iter_mut().all(|waiting| has_entered(waiting).is_none()), "one holds what it may hold");
        drop(running);
        let next = has_entered(&mut many[0]).expect("in the order of arrival");
        assert_eq!(bench.0.counts(), (2, 99));
        drop((place, next));
        drop(many);
        assert_eq!(bench.0.counts(), (0, 0));
    }

    #[tokio::test]
    async fn turns_go_round_and_nobody_holds_all_slots() {
        let bench = Bench::new(4, 0, 100);
        let first: Vec<Place> = (0..3).map(|_| bench.enter("a", false)).collect();
        let mut more_of_a: Vec<Entering> = (0..3).map(|_| bench.wait("a", false)).collect();
        let of_b = bench.enter("b", false);
        let mut more_of_b: Vec<Entering> = (0..3).map(|_| bench.wait("b", false)).collect();
        let mut of_c = bench.wait("c", false);
        drop(of_b);
        // It is the turn of `a`, but `a` holds its three.
        let b = has_entered(&mut more_of_b[0]).expect("b comes before c");
        drop(first);
        let a = has_entered(&mut more_of_a[0]).expect("a");
        let c = has_entered(&mut of_c).expect("c");
        let fourth = (has_entered(&mut more_of_b[1]), has_entered(&mut more_of_a[1]));
        assert!(fourth.0.is_some() && fourth.1.is_none(), "the turn of b again");
        drop((a, b, c));
    }

    #[tokio::test]
    async fn short_statements_pass_long_ones_by_the_reserved_slot() {
        let bench = Bench::new(1, 1, 10);
        let long = bench.enter("a", false);
        let mut waiting = bench.wait("a", false);
        let short = bench.enter("a", true);
        let mut second = bench.wait("a", true);
        drop(short);
        let short = has_entered(&mut second).expect("the reserved slot is for short ones alone");
        assert!(has_entered(&mut waiting).is_none());
        drop(long);
        assert!(has_entered(&mut waiting).is_some());
        drop(short);
    }

    #[tokio::test]
    async fn a_full_queue_and_a_greedy_caller_are_refused_and_the_owner_is_not() {
        let bench = Bench::new(1, 0, 4);
        let _running = bench.enter("a", false);
        let _two = [bench.wait("a", false), bench.wait("a", false)];
        let Ok(Err(refused)) = bench.begin("a", false) else { panic!("half of the queue is for others") };
        assert!(refused.to_string().contains("2 of your statements"), "{refused}");
        let _more = [bench.wait("b", false), bench.wait("", false)];
        let Ok(Err(refused)) = bench.begin("c", false) else { panic!("the queue is full") };
        assert_eq!(refused.code(), "sql.busy");
        assert!(refused.to_string().contains("4 statements are waiting"), "{refused}");

        let bench = Bench::new(3, 0, 4);
        let _all = [bench.enter("", false), bench.enter("", false), bench.enter("", false)];
        let _waiting: Vec<Entering> = (0..4).map(|_| bench.wait("", false)).collect();
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_and_leaves_no_trace() {
        let bench = Bench::with_wait(1, 0, 4, Duration::from_millis(300));
        let running = bench.enter("a", false);
        let error = bench.wait("b", false).await.unwrap_err();
        assert!(error.to_string().contains("0.3 s"), "{error}");
        let (queue, caller) = (Arc::clone(&bench.0), Arc::<str>::from("b"));
        let soon = Instant::now() + Duration::from_millis(100);
        let error = queue.enter(&caller, false, soon).await.unwrap_err();
        assert!(error.to_string().contains("0.1 s"), "its own time counts too: {error}");
        assert_eq!(bench.0.counts(), (1, 0));
        drop(running);
        assert_eq!(bench.0.counts(), (0, 0));
    }

    #[tokio::test]
    async fn a_place_for_one_that_went_away_goes_to_the_next() {
        let bench = Bench::new(1, 0, 10);
        let running = bench.enter("a", false);
        let gone = bench.wait("b", false);
        let mut next = bench.wait("c", false);
        drop(running);
        // It was granted its place and never took it.
        assert!(has_entered(&mut next).is_none());
        drop(gone);
        assert!(has_entered(&mut next).is_some());
        assert_eq!(bench.0.counts(), (0, 0));
    }
}
