//! Telling new points from those that a lake holds already.

use std::collections::HashMap;

use model::{Point, PointColumns};

/// The points of one series that were there before an import, as a multiset: a source that holds a point twice gets it
/// in twice, and importing the source again adds it no third time.
#[derive(Debug, Default)]
pub(crate) struct KnownPoints {
    counts: HashMap<(i64, Option<i32>, i64, u64), u32>,
}

impl KnownPoints {
    pub(crate) fn new(points: &PointColumns) -> Self {
        let mut known = Self::default();
        for point in points.iter() {
            *known.counts.entry(identity(point)).or_default() += 1;
        }
        known
    }

    /// The points that are not there yet. Each one that is there is used up.
    pub(crate) fn new_ones(&mut self, points: PointColumns) -> PointColumns {
        if self.counts.is_empty() {
            return points;
        }
        let mut new = PointColumns::default();
        for point in points.iter() {
            match self.counts.get_mut(&identity(point)) {
                Some(count) if *count > 0 => *count -= 1,
                _ => new.push(point),
            }
        }
        new
    }
}

fn identity(point: Point) -> (i64, Option<i32>, i64, u64) {
    (point.step, point.step_fraction, point.time, point.value.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(points: &[(i64, f64)]) -> PointColumns {
        let mut columns = PointColumns::default();
        points.iter().for_each(|(step, value)| {
            columns.push(Point { step: *step, step_fraction: None, time: 0, value: *value });
        });
        columns
    }

    #[test]
    fn twins_are_counted_and_nan_is_equal_to_itself() {
        let source = columns(&[(1, 0.5), (1, 0.5), (2, f64::NAN), (3, -0.0)]);
        let mut known = KnownPoints::new(&source);
        assert!(known.new_ones(source.clone()).is_empty());
        let mut known = KnownPoints::new(&source);
        let grown = columns(&[(1, 0.5), (1, 0.5), (1, 0.5), (2, f64::NAN), (3, 0.0)]);
        assert_eq!(known.new_ones(grown).steps, [1, 3]);
        assert_eq!(KnownPoints::default().new_ones(source).len(), 4);
    }
}
