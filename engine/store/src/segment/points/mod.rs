//! Segments of the table `points`.

mod audit;
mod encoding;
mod pages;
mod read;
mod reader_cache;
mod write;

use model::{ExperimentName, PointColumns, ProjectName, SeriesKey};

pub use read::{PointStream, Pruning, Reader, Scan, SeriesSelection, TextColumns};
pub use reader_cache::{Contents, ReaderCache};
pub(crate) use write::{FIRST_SERIES_TAG, LAST_SERIES_TAG, PointWriter};
pub use write::{SeriesOrder, write, write_in_order};

/// The points of one series, sorted by (step, fraction, time, arrival).
#[derive(Debug, Clone, PartialEq)]
pub struct SortedSeries {
    /// The project of the run.
    pub project: ProjectName,
    /// The experiment of the run.
    pub experiment: ExperimentName,
    /// Run, metric and context.
    pub key: SeriesKey,
    /// The points, sorted.
    pub points: PointColumns,
    /// The attempt of each point, as many as there are points.
    pub attempts: Vec<i32>,
}

impl SortedSeries {
    /// Sorts points that stand in order of arrival; points of equal step, fraction and time keep that order.
    ///
    /// Points without a fraction count as fraction 0, as everywhere else. What is sorted already is not touched.
    ///
    /// # Panics
    /// When the columns differ in length ([`PointColumns::check`] tells).
    pub fn from_arrival(
        project: ProjectName,
        experiment: ExperimentName,
        key: SeriesKey,
        points: PointColumns,
        attempts: Vec<i32>,
    ) -> Self {
        let mut series = Self { project, experiment, key, points, attempts };
        if series.first_disorder().is_none() {
            return series;
        }
        let mut order: Vec<usize> = (0..series.points.len()).collect();
        order.sort_by_key(|row| series.place(*row));
        let points = &series.points;
        let sorted = PointColumns {
            steps: order.iter().map(|row| points.steps[*row]).collect(),
            step_fractions: points
                .step_fractions
                .as_ref()
                .map(|fractions| order.iter().map(|row| fractions[*row]).collect()),
            times: order.iter().map(|row| points.times[*row]).collect(),
            values: order.iter().map(|row| points.values[*row]).collect(),
        };
        series.attempts = order.iter().map(|row| series.attempts[*row]).collect();
        series.points = sorted;
        series
    }

    /// The place of a row in the order of its series.
    fn place(&self, row: usize) -> (i64, i32, i64) {
        let fraction = self.points.step_fractions.as_ref().and_then(|fractions| fractions[row]);
        (self.points.steps[row], fraction.unwrap_or(0), self.points.times[row])
    }

    /// The first row that comes before the one in front of it.
    pub(crate) fn first_disorder(&self) -> Option<usize> {
        (1..self.points.len()).find(|row| self.place(*row) < self.place(row - 1))
    }
}
