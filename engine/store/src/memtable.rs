//! The memtable: acknowledged points that no segment holds yet, by series.
//!
//! Invariants
//! - Memtables together equal the replay of the WAL since the last commit of `points`.
//! - Points of a series stay in order of arrival.
//! - A clone is cheap and never changes; a writer copies at most the open chunk of the series that it touches.

use std::sync::{Arc, Weak};

use imbl::Vector;
use model::PointColumns;

use crate::series_index::{FastMap, SeriesOrdinal};

/// Points after which a chunk is sealed: small enough that copying an open chunk (24 KiB) costs microseconds.
const CHUNK_POINTS: usize = 1024;
/// Cost of a series beyond its points, estimated: its place in the map, its buffer.
const SERIES_BYTES: usize = 384;
/// Cost of a chunk beyond its points: its place in the vector, its columns, what the allocator keeps beside them.
const CHUNK_BYTES: usize = 256;

/// Points of one attempt in order of arrival.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chunk {
    pub(crate) attempt: u32,
    pub(crate) points: PointColumns,
}

#[derive(Debug, Clone, Default)]
struct SeriesBuffer {
    sealed: Vector<Arc<Chunk>>,
    open: Chunk,
}

/// Points in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memtable {
    series: FastMap<SeriesOrdinal, Arc<SeriesBuffer>>,
    bytes: usize,
    points: u64,
    through: u64,
    /// Shared by all clones: tells whether somebody still holds these points.
    held: Arc<()>,
}

/// Points that were let go here and that somebody may still hold.
#[derive(Debug, Clone)]
pub(crate) struct Released {
    held: Weak<()>,
    bytes: usize,
}

impl Released {
    /// Bytes that are still held.
    pub(crate) fn bytes(&self) -> usize {
        if self.held.strong_count() > 0 { self.bytes } else { 0 }
    }
}

impl Memtable {
    /// The last WAL number whose points are here; of a memtable that takes no more.
    pub(crate) fn through(&self) -> u64 {
        self.through
    }

    /// Says that points up to this WAL number are here and that no more will come.
    pub(crate) fn freeze(&mut self, through: u64) {
        self.through = through;
    }

    /// Bytes held, what the buffers have in reserve included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is left of this memtable when it is let go here: readers may hold it.
    pub(crate) fn released(&self) -> Released {
        Released { held: Arc::downgrade(&self.held), bytes: self.bytes }
    }

    /// Number of points held.
    pub(crate) fn points(&self) -> u64 {
        self.points
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.points == 0
    }

    /// Appends points of a series.
    pub(crate) fn append(&mut self, series: SeriesOrdinal, attempt: u32, points: &PointColumns) {
        let mut added = 0;
        let slot = self.series.entry(series).or_insert_with(|| {
            added += SERIES_BYTES;
            Arc::default()
        });
        let buffer = Arc::make_mut(slot);
        let open = &mut buffer.open;
        let before = open.points.reserved_bytes();
        if !open.points.is_empty() && (open.attempt != attempt || open.points.len() >= CHUNK_POINTS) {
            let mut sealed = std::mem::take(open);
            // Doubling may have left as much room as there are points, and no more will come.
            sealed.points.shrink_to_fit();
            added += CHUNK_BYTES + sealed.points.reserved_bytes();
            buffer.sealed.push_back(Arc::new(sealed));
        }
        open.attempt = attempt;
        open.points.extend_from(points);
        added += open.points.reserved_bytes();
        self.bytes = (self.bytes + added).saturating_sub(before);
        self.points += points.len() as u64;
    }

    /// Takes a series out.
    pub(crate) fn remove(&mut self, series: SeriesOrdinal) {
        if let Some(buffer) = self.series.remove(&series) {
            let chunks = || buffer.sealed.iter().map(Arc::as_ref);
            let points = chunks().map(|chunk| chunk.points.len()).sum::<usize>() + buffer.open.points.len();
            let bytes = chunks().map(|chunk| CHUNK_BYTES + chunk.points.reserved_bytes()).sum::<usize>()
                + buffer.open.points.reserved_bytes();
            self.bytes = self.bytes.saturating_sub(SERIES_BYTES + bytes);
            self.points = self.points.saturating_sub(points as u64);
        }
    }

    /// The series that have points here.
    pub(crate) fn series(&self) -> impl Iterator<Item = SeriesOrdinal> + '_ {
        self.series.keys().copied()
    }

    /// The chunks of a series in order of arrival.
    pub(crate) fn chunks(&self, series: SeriesOrdinal) -> impl Iterator<Item = &Chunk> + '_ {
        self.series.get(&series).into_iter().flat_map(|buffer| {
            buffer
                .sealed
                .iter()
                .map(Arc::as_ref)
                .chain((!buffer.open.points.is_empty()).then_some(&buffer.open))
        })
    }
}

#[cfg(test)]
mod tests {
    use model::Point;

    use super::*;

    fn columns(range: std::ops::Range<i64>) -> PointColumns {
        let mut columns = PointColumns::default();
        range.for_each(|step| {
            columns.push(Point { step, step_fraction: None, time: step, value: step as f64 })
        });
        columns
    }

    fn steps(memtable: &Memtable, series: SeriesOrdinal) -> Vec<i64> {
        memtable.chunks(series).flat_map(|chunk| chunk.points.steps.clone()).collect()
    }

    #[test]
    fn points_keep_their_order_over_chunks_and_attempts() {
        let mut memtable = Memtable::default();
        memtable.append(3, 0, &columns(0..1500));
        memtable.append(3, 0, &columns(1500..1510));
        memtable.append(3, 1, &columns(1400..1402));
        assert_eq!(memtable.points(), 1512);
        let attempts: Vec<_> = memtable.chunks(3).map(|chunk| (chunk.attempt, chunk.points.len())).collect();
        assert_eq!(attempts, [(0, 1500), (0, 10), (1, 2)]);
        assert_eq!(steps(&memtable, 3), (0..1510).chain(1400..1402).collect::<Vec<_>>());
    }

    #[test]
    fn bytes_are_those_of_the_buffers_and_go_with_the_series() {
        let mut memtable = Memtable::default();
        for _ in 0..40 {
            memtable.append(0, 0, &columns(0..100));
        }
        let (points, most) = (memtable.points() as usize * 24, memtable.bytes());
        assert!((points..points * 2).contains(&most), "{most} bytes for points of {points}");
        memtable.append(1, 0, &columns(0..1));
        assert!(memtable.bytes() >= most + SERIES_BYTES + 24);
        memtable.remove(0);
        memtable.remove(1);
        assert_eq!((memtable.bytes(), memtable.points()), (0, 0));
    }

    #[test]
    fn what_was_let_go_counts_as_long_as_a_reader_holds_it() {
        let mut memtable = Memtable::default();
        memtable.append(0, 0, &columns(0..100));
        let reader = memtable.clone();
        memtable.append(0, 0, &columns(0..100));
        let released = memtable.released();
        let bytes = memtable.bytes();
        drop(memtable);
        assert_eq!(released.bytes(), bytes);
        drop(reader);
        assert_eq!(released.bytes(), 0);
    }

    #[test]
    fn a_clone_never_changes() {
        let mut memtable = Memtable::default();
        memtable.append(0, 0, &columns(0..5));
        let snapshot = memtable.clone();
        memtable.append(0, 0, &columns(5..9));
        memtable.append(1, 0, &columns(0..1));
        assert_eq!(steps(&snapshot, 0), (0..5).collect::<Vec<_>>());
        assert_eq!(snapshot.series().count(), 1);
        assert_eq!(steps(&memtable, 0), (0..9).collect::<Vec<_>>());
    }
}
