//! The series of one run by their names.

use std::collections::HashMap;
use std::path::Path;

use model::{MetricName, Point, RunId};

use crate::error::{Result, beginning};
use crate::report::{Reporter, SeriesIndex};
use crate::sink::Place;

/// Opens a series at its first point; points of names that cannot name a metric are rejections.
pub(crate) struct SeriesByName {
    run: RunId,
    opened: HashMap<String, Option<SeriesIndex>>,
}

impl SeriesByName {
    pub(crate) fn of(run: RunId) -> Self {
        Self { run, opened: HashMap::new() }
    }

    pub(crate) fn run(&self) -> RunId {
        self.run
    }

    pub(crate) fn point(
        &mut self,
        reporter: &mut Reporter<'_>,
        file: &Path,
        place: Place,
        name: &str,
        point: Point,
    ) -> Result<()> {
        let series = match self.opened.get(name) {
            Some(series) => *series,
            None => {
                let series = match MetricName::new(name) {
                    Ok(metric) => Some(reporter.series(file, self.run, metric, None)?),
                    Err(_) => None,
                };
                self.opened.insert(name.to_owned(), series);
                series
            }
        };
        match series {
            Some(series) => reporter.point(series, point),
            None => reporter.reject(file, place, "metric.refused", || {
                format!("the key {:?} cannot name a metric", beginning(name))
            }),
        }
    }
}
