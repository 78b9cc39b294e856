//! A run in its place, as a row: what changed since its chunk was last put into columns.

use std::sync::Arc;

use model::Run;

/// Cost of a run, an experiment, a note beyond its texts: its columns, its places in vector and map. Estimated.
pub(super) const ROW_BYTES: usize = 768;
/// Cost of a param or tag beyond its texts.
pub(super) const PAIR_BYTES: usize = 96;

#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) run: Arc<Run>,
    /// The WAL number of the command that made the run. Points that came earlier belonged to a deleted run of the
    /// same id.
    pub(super) since: u64,
}

impl Slot {
    /// Bytes in memory, estimated.
    pub(super) fn bytes(&self) -> usize {
        let texts = |pair: (usize, usize)| PAIR_BYTES + pair.0 + pair.1;
        let params = self.run.params.iter().map(|(key, value)| (key.as_str().len(), value.as_str().len()));
        let tags = self.run.tags.iter().map(|(key, value)| (key.as_str().len(), value.as_str().len()));
        ROW_BYTES + params.chain(tags).map(texts).sum::<usize>()
    }
}
