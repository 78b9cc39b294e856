//! Open segments in memory, and what is remembered of those that had to go.

use std::collections::HashMap;
use std::sync::Arc;

use model::RunId;
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::Mutex;

use super::read::Reader;
use crate::segment::Result;
use crate::segment::chunk_index::ChunkIndex;

/// Open segments of one store by path, up to a bound of memory; the one that was not used for longest goes first.
///
/// A segment never changes, so what has been checked once stays checked as long as it is in here.
#[derive(Debug)]
pub struct ReaderCache {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    readers: HashMap<Path, Open>,
    /// Of every segment that was open once.
    contents: HashMap<Path, Arc<Contents>>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Open {
    reader: Reader,
    bytes: usize,
    used: u64,
}

/// What a segment holds, as far as it decides whether the segment is opened at all: eight bytes a run.
#[derive(Debug)]
pub struct Contents {
    size: u64,
    series: usize,
    runs: Box<[u64]>,
}

impl Contents {
    fn new(size: u64, index: &ChunkIndex) -> Self {
        let mut runs: Vec<u64> = index.runs().map(short).collect();
        runs.sort_unstable();
        runs.dedup();
        Self { size, series: index.len(), runs: runs.into() }
    }

    /// Number of series.
    pub fn series(&self) -> usize {
        self.series
    }

    /// Whether the segment can hold points of a run. A yes may be wrong, a no is not.
    pub fn may_hold(&self, run: RunId) -> bool {
        self.runs.binary_search(&short(run)).is_ok()
    }
}

/// The half of an id that is random in both kinds of ids.
fn short(run: RunId) -> u64 {
    run.as_u128() as u64
}

impl ReaderCache {
    /// A cache of at most `limit` bytes of footers and chunk indexes.
    pub fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default() }
    }

    /// The open segment at `path`.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub async fn open(&self, store: &Arc<dyn ObjectStore>, path: &Path, size: u64) -> Result<Reader> {
        {
            let mut state = self.state.lock();
            state.clock += 1;
            let now = state.clock;
            if let Some(open) = state.readers.get_mut(path)
                && open.reader.file().size() == size
            {
                open.used = now;
                return Ok(open.reader.clone());
            }
        }
        let reader = Reader::open(Arc::clone(store), path, size).await?;
        let bytes = reader.memory();
        let known = self.contents(path, size).is_some();
        let contents = (!known).then(|| Arc::new(Contents::new(size, reader.series())));
        let mut state = self.state.lock();
        state.clock += 1;
        if let Some(contents) = contents {
            state.contents.insert(path.clone(), contents);
        }
        let open = Open { reader: reader.clone(), bytes, used: state.clock };
        if let Some(old) = state.readers.insert(path.clone(), open) {
            state.bytes -= old.bytes;
        }
        state.bytes += bytes;
        while state.bytes > self.limit && state.readers.len() > 1 {
            let oldest = state.readers.iter().min_by_key(|(_, open)| open.used).map(|(path, _)| path.clone());
            let Some(open) = oldest.and_then(|path| state.readers.remove(&path)) else { break };
            state.bytes -= open.bytes;
        }
        Ok(reader)
    }

    /// What the segment at `path` holds, when it was open once.
    pub(crate) fn contents(&self, path: &Path, size: u64) -> Option<Arc<Contents>> {
        self.state.lock().contents.get(path).filter(|contents| contents.size == size).cloned()
    }

    /// Forgets a segment, as after vacuum.
    pub fn forget(&self, path: &Path) {
        let mut state = self.state.lock();
        state.contents.remove(path);
        if let Some(open) = state.readers.remove(path) {
            state.bytes -= open.bytes;
        }
    }
}
