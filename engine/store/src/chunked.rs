//! A vector in chunks that clones share: a clone costs nothing, a change copies one chunk that others hold, and whoever
//! goes through all of it goes through slices.

use std::sync::Arc;

use imbl::Vector;

/// A persistent vector whose chunks hold up to `N` elements.
#[derive(Debug, Clone)]
pub(crate) struct Chunked<T, const N: usize> {
    chunks: Vector<Arc<Vec<T>>>,
    len: usize,
}

impl<T, const N: usize> Default for Chunked<T, N> {
    fn default() -> Self {
        Self { chunks: Vector::new(), len: 0 }
    }
}

impl<T: Clone, const N: usize> Chunked<T, N> {
    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The element at a position.
    pub(crate) fn get(&self, position: usize) -> Option<&T> {
        self.chunks.get(position / N)?.get(position % N)
    }

    /// The element at a position, to be changed.
    pub(crate) fn get_mut(&mut self, position: usize) -> Option<&mut T> {
        Arc::make_mut(self.chunks.get_mut(position / N)?).get_mut(position % N)
    }

    /// Puts an element at the end.
    pub(crate) fn push(&mut self, element: T) {
        if self.len.is_multiple_of(N) {
            self.chunks.push_back(Arc::new(Vec::new()));
        }
        if let Some(last) = self.chunks.back_mut() {
            Arc::make_mut(last).push(element);
            self.len += 1;
        }
    }

    /// The slices that hold the elements from `start` up to `end`, each with the position of its first one.
    pub(crate) fn slices(&self, start: usize, end: usize) -> impl Iterator<Item = (usize, &[T])> + Clone {
        let end = end.min(self.len);
        let start = start.min(end);
        let chunks = self.chunks.iter().enumerate().skip(start / N).take(end.div_ceil(N) - start / N);
        chunks.filter_map(move |(number, chunk)| {
            let first = number * N;
            let (from, to) = (start.max(first), end.min(first + chunk.len()));
            (from < to).then(|| (from, &chunk[from - first..to - first]))
        })
    }

    /// The elements from `start` up to `end`, with their positions.
    pub(crate) fn range(&self, start: usize, end: usize) -> impl Iterator<Item = (usize, &T)> + Clone {
        self.slices(start, end).flat_map(|(first, slice)| (first..).zip(slice))
    }
}

/// Looks at elements one after another; near ones mostly stand in the chunk that it is at.
pub(crate) struct Cursor<'a, T, const N: usize> {
    of: &'a Chunked<T, N>,
    number: usize,
    chunk: &'a [T],
}

impl<'a, T: Clone, const N: usize> Cursor<'a, T, N> {
    pub(crate) fn new(of: &'a Chunked<T, N>) -> Self {
        Self { of, number: usize::MAX, chunk: &[] }
    }

    /// The element at a position.
    pub(crate) fn get(&mut self, position: usize) -> Option<&'a T> {
        if position / N != self.number {
            self.chunk = self.of.chunks.get(position / N)?.as_slice();
            self.number = position / N;
        }
        self.chunk.get(position % N)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_vector(
            values in prop::collection::vec(0..9_u8, 0..60), changes in prop::collection::vec((0..60_usize, 0..9_u8), 0..20),
            start in 0..70_usize, end in 0..70_usize,
        ) {
            let mut chunked = Chunked::<u8, 8>::default();
            values.iter().for_each(|value| chunked.push(*value));
            let before = chunked.clone();
            let mut expected = values.clone();
            for (position, value) in changes {
                match chunked.get_mut(position) {
                    Some(slot) => {
                        *slot = value;
                        expected[position] = value;
                    }
                    None => prop_assert!(position >= values.len()),
                }
            }
            prop_assert_eq!(chunked.len(), expected.len());
            let mut cursor = Cursor::new(&chunked);
            for position in (0..70).chain([end, start, start]) {
                prop_assert_eq!(cursor.get(position), expected.get(position));
            }
            let range: Vec<(usize, u8)> = chunked.range(start, end).map(|(at, value)| (at, *value)).collect();
            let all: Vec<(usize, u8)> = expected.iter().copied().enumerate().collect();
            let wanted = all.get(start.min(end).min(all.len())..end.min(all.len())).unwrap_or_default();
            let wanted = if start < end { wanted } else { &[] };
            prop_assert_eq!(range, wanted);
            prop_assert_eq!(before.range(0, 99).map(|(_, value)| *value).collect::<Vec<_>>(), values);
        }
    }
}
