//! A batch of points: what a writer hands over at once, and what is durable and visible whole or not at all.

use crate::context::Context;
use crate::error::{ModelError, Result};
use crate::id::RunId;
use crate::limits;
use crate::name::MetricName;
use crate::point::PointColumns;
use crate::series::SeriesKey;

/// Points of one series within a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesPoints {
    /// The run.
    pub run: RunId,
    /// The metric.
    pub metric: MetricName,
    /// The context, `None` when there is none.
    pub context: Option<Context>,
    /// Which attempt of the run logged the points; 0 is the first.
    pub attempt: u32,
    /// The points in order of arrival.
    pub points: PointColumns,
}

impl SeriesPoints {
    /// The key of the series.
    pub fn key(&self) -> SeriesKey {
        SeriesKey { run: self.run, metric: self.metric.clone(), context: self.context.clone() }
    }
}

/// A checked, non-empty batch.
#[derive(Debug, Clone, PartialEq)]
pub struct PointBatch {
    series: Vec<SeriesPoints>,
    point_count: usize,
}

impl PointBatch {
    /// Checks a batch. A series may occur more than once; its parts count in their order.
    ///
    /// # Errors
    /// Refuses a batch without points, columns of unequal length, step fractions out of range, and more than
    /// [`limits::BATCH_POINTS`] points or [`limits::BATCH_SERIES`] series.
    pub fn new(series: Vec<SeriesPoints>) -> Result<Self> {
        if series.len() > limits::BATCH_SERIES {
            let (count, limit) = (series.len(), limits::BATCH_SERIES);
            return Err(ModelError::BatchTooLarge { what: "series", count, limit });
        }
        let mut point_count = 0_usize;
        for part in &series {
            part.points.check(&part.metric)?;
            point_count = point_count.saturating_add(part.points.len());
        }
        if point_count == 0 {
            return Err(ModelError::EmptyBatch);
        }
        if point_count > limits::BATCH_POINTS {
            let (count, limit) = (point_count, limits::BATCH_POINTS);
            return Err(ModelError::BatchTooLarge { what: "points", count, limit });
        }
        Ok(Self { series, point_count })
    }

    /// The series of the batch.
    pub fn series(&self) -> &[SeriesPoints] {
        &self.series
    }

    /// The series of the batch, owned.
    pub fn into_series(self) -> Vec<SeriesPoints> {
        self.series
    }

    /// Number of points over all series, at least 1.
    pub fn point_count(&self) -> usize {
        self.point_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(count: usize) -> SeriesPoints {
        SeriesPoints {
            run: RunId::from_u128(1),
            metric: MetricName::new("loss").unwrap(),
            context: None,
            attempt: 0,
            points: PointColumns {
                steps: vec![0; count],
                step_fractions: None,
                times: vec![0; count],
                values: vec![0.0; count],
            },
        }
    }

    #[test]
    fn batches_are_neither_empty_nor_endless() {
        assert_eq!(PointBatch::new(vec![]).unwrap_err(), ModelError::EmptyBatch);
        assert_eq!(PointBatch::new(vec![part(0)]).unwrap_err(), ModelError::EmptyBatch);
        assert_eq!(PointBatch::new(vec![part(2), part(3)]).unwrap().point_count(), 5);
        let error = PointBatch::new(vec![part(limits::BATCH_POINTS), part(1)]).unwrap_err();
        assert_eq!(error.code(), "batch.too_large");
    }
}
