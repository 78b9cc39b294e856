//! Answers that are kept for who asks the same again, as the panels of a dashboard do.
//!
//! Invariants
//! - A kept answer is given only over a snapshot with the sequence number of the one that it was computed over, with the
//!   same rights, settings and text. Every acknowledged write raises that number, so nobody sees an answer that lacks one.
//! - Only whole answers of repeatable statements without notices are kept. Each has a cap and all together have one, in
//!   bytes of memory; the least recently used go first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array as _, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::execution::cache::lru_queue::LruQueue;
use parking_lot::Mutex;

use crate::execute::QueryOptions;
use crate::parameters;

/// What an entry takes beside its rows and its key.
const ENTRY_BYTES: usize = 512;

/// What asks for the same answer over the same snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key(Arc<str>);

impl Key {
    pub(super) fn new(sql: &str, options: &QueryOptions) -> Self {
        // Taken apart by name, so that a new field does not compile until it is judged here. The limits are checked when
        // an answer is given, and who asks changes no answer: what it may see does.
        let QueryOptions { access, limits: _, settings, caller: _, dialect, parameters } = options;
        let given = parameters::shown(parameters);
        Self(format!("{access:?}\n{settings:?}\n{dialect:?}\n{given}\n{}", sql.trim()).into())
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(super) struct KeptAnswer {
    pub(super) schema: SchemaRef,
    /// One batch at most.
    pub(super) rows: Option<RecordBatch>,
}

impl KeptAnswer {
    fn bytes(&self) -> usize {
        self.rows.as_ref().map_or(0, RecordBatch::get_array_memory_size)
    }
}

#[derive(Debug)]
struct Kept {
    sequence: u64,
    bytes: usize,
    answer: KeptAnswer,
}

/// The kept answers of a lake.
pub(super) struct Results {
    limit: usize,
    limit_of_one: usize,
    state: Mutex<State>,
    hits: AtomicU64,
    misses: AtomicU64,
}

struct State {
    kept: LruQueue<Key, Kept>,
    bytes: usize,
}

impl std::fmt::Debug for Results {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Results").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Results {
    /// At most `limit` bytes in all; 0 keeps nothing.
    pub(super) fn new(limit: usize) -> Self {
        let state = Mutex::new(State { kept: LruQueue::new(), bytes: 0 });
        let (hits, misses) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { limit, limit_of_one: limit / 16, state, hits, misses }
    }

    pub(super) fn is_on(&self) -> bool {
        self.limit > 0
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Answers given again and asked for in vain, and bytes held.
    pub(super) fn counts(&self) -> (u64, u64, usize) {
        let bytes = self.state.lock().bytes;
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed), bytes)
    }

    /// The answer over a snapshot with this sequence number.
    pub(super) fn get(&self, key: &Key, sequence: u64, options: &QueryOptions) -> Option<KeptAnswer> {
        let found = {
            let mut state = self.state.lock();
            let found = state.kept.get(key);
            found.filter(|kept| kept.sequence == sequence).map(|kept| kept.answer.clone())
        };
        let within = |answer: &KeptAnswer| {
            let rows = answer.rows.as_ref().map_or(0, RecordBatch::num_rows);
            options.limits.rows.is_none_or(|limit| rows <= limit)
                && options.limits.bytes.is_none_or(|limit| answer.bytes() <= limit)
        };
        let answer = found.filter(within);
        let counter = if answer.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        answer
    }

    /// Begins to gather an answer.
    pub(super) fn gather(&self, schema: SchemaRef) -> Gathering {
        Gathering { schema, batches: Vec::new(), left: self.is_on().then_some(self.limit_of_one) }
    }

    /// Keeps a gathered answer, in place of the one over an older snapshot.
    pub(super) fn keep(&self, key: Key, sequence: u64, gathered: Gathering) {
        let Some(answer) = gathered.whole() else { return };
        let bytes = ENTRY_BYTES + key.0.len() + answer.bytes();
        if bytes > self.limit_of_one {
            return;
        }
        let mut state = self.state.lock();
        // A statement over an older snapshot may end later.
        if state.kept.peek(&key).is_some_and(|kept| kept.sequence > sequence) {
            return;
        }
        state.bytes += bytes;
        if let Some(before) = state.kept.put(key, Kept { sequence, bytes, answer }) {
            state.bytes -= before.bytes;
        }
        while state.bytes > self.limit {
            let Some((_, least)) = state.kept.pop() else { break };
            state.bytes -= least.bytes;
        }
    }
}

/// An answer on its way to its reader, kept as long as it is small.
#[derive(Debug)]
pub(super) struct Gathering {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    /// Bytes that it may still have; `None` once it is too large.
    left: Option<usize>,
}

impl Gathering {
    pub(super) fn add(&mut self, batch: &RecordBatch) {
        let Some(left) = self.left else { return };
        self.left = left.checked_sub(bytes_of_rows(batch));
        if self.left.is_some() {
            self.batches.push(batch.clone());
        } else {
            self.batches = Vec::new();
        }
    }

    /// The answer in buffers of its own: a few rows must not keep the large buffers that they are a part of.
    fn whole(self) -> Option<KeptAnswer> {
        self.left?;
        let rows = match self.batches.as_slice() {
            [] => None,
            // One batch alone is not copied when it is put together.
            [one] => {
                let all = UInt32Array::from_iter_values(0..u32::try_from(one.num_rows()).ok()?);
                Some(take_record_batch(one, &all).ok()?)
            }
            batches => Some(concat_batches(&self.schema, batches).ok()?),
        };
        Some(KeptAnswer { schema: self.schema, rows })
    }
}

/// The bytes of the rows alone, without those of the buffers around them.
fn bytes_of_rows(batch: &RecordBatch) -> usize {
    let of_column = |column: &arrow::array::ArrayRef| {
        column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
    };
    batch.columns().iter().map(of_column).sum()
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::guard::QueryLimits;
    use crate::session::Settings;
    use crate::tables::{Access, OnCorrupt};

    fn key(sql: &str) -> Key {
        Key::new(sql, &QueryOptions::default())
    }

    fn batch(rows: i64) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("x", DataType::Int64, false)]);
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        RecordBatch::try_new(Arc::new(schema), vec![values]).unwrap()
    }

    fn keep(results: &Results, sql: &str, sequence: u64, rows: i64) {
        let batch = batch(rows);
        let mut gathering = results.gather(batch.schema());
        gathering.add(&batch);
        results.keep(key(sql), sequence, gathering);
    }

    fn rows(results: &Results, sql: &str, sequence: u64) -> Option<usize> {
        let answer = results.get(&key(sql), sequence, &QueryOptions::default())?;
        Some(answer.rows.map_or(0, |rows| rows.num_rows()))
    }

    #[test]
    fn an_answer_is_for_its_own_snapshot_only() {
        let results = Results::new(1 << 20);
        keep(&results, "a", 7, 3);
        assert_eq!(rows(&results, "a", 7), Some(3));
        assert_eq!(rows(&results, "a", 8), None);
        assert_eq!(rows(&results, "b", 7), None);
        keep(&results, "a", 8, 4);
        keep(&results, "a", 7, 3);
        assert_eq!((rows(&results, "a", 7), rows(&results, "a", 8)), (None, Some(4)));
        let (hits, misses, bytes) = results.counts();
        assert_eq!((hits, misses), (2, 3));
        assert!(bytes > ENTRY_BYTES && bytes < 2 * ENTRY_BYTES, "{bytes}");
    }

    #[test]
    fn what_changes_an_answer_changes_the_key() {
        let base = QueryOptions::default();
        let same = QueryOptions {
            limits: QueryLimits { rows: Some(3), ..QueryLimits::default() },
            caller: "somebody".to_owned(),
            ..base.clone()
        };
        assert_eq!(Key::new("SELECT 1", &base), Key::new(" SELECT 1\n", &same));
        let others = [
            QueryOptions { access: Access::Projects(Arc::default()), ..base.clone() },
            QueryOptions { settings: Settings { seed: 1, ..Settings::default() }, ..base.clone() },
            QueryOptions {
                settings: Settings { on_corrupt: OnCorrupt::Skip, ..Settings::default() },
                ..base.clone()
            },
        ];
        for other in others {
            assert_ne!(Key::new("SELECT 1", &base), Key::new("SELECT 1", &other), "{other:?}");
        }
    }

    #[test]
    fn large_answers_are_not_kept_and_the_least_used_go_first() {
        let results = Results::new(64 << 10);
        keep(&results, "large", 1, 1_000);
        assert_eq!(rows(&results, "large", 1), None, "8,000 bytes are more than a sixteenth");
        // About 2 KiB each.
        for number in 0..100 {
            keep(&results, &number.to_string(), 1, 150);
            assert!(results.counts().2 <= 64 << 10);
            assert_eq!(rows(&results, "0", 1), Some(150), "the first one is used again and again");
        }
        assert_eq!(rows(&results, "1", 1), None);
        assert_eq!(rows(&results, "99", 1), Some(150));
    }

    #[test]
    fn a_few_rows_of_a_large_batch_are_small() {
        let results = Results::new(64 << 10);
        let slice = batch(100_000).slice(50, 10);
        let mut gathering = results.gather(slice.schema());
        gathering.add(&slice);
        results.keep(key("a"), 1, gathering);
        assert_eq!(rows(&results, "a", 1), Some(10));
        assert!(results.counts().2 < 2_000, "{:?}", results.counts());
    }

    #[test]
    fn a_caller_with_a_smaller_limit_does_not_get_a_larger_answer() {
        let results = Results::new(1 << 20);
        keep(&results, "a", 1, 10);
        let limits = QueryLimits { rows: Some(9), ..QueryLimits::default() };
        assert!(results.get(&key("a"), 1, &QueryOptions { limits, ..QueryOptions::default() }).is_none());
        assert!(!Results::new(0).is_on());
    }
}
