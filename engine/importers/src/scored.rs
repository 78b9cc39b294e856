//! Runs that a document tells as a whole: a configuration, and what was measured of it.

use std::path::Path;

use model::{Point, RunId, RunStatus};

use crate::configuration::Params;
use crate::error::Result;
use crate::number::Step;
use crate::report::Reporter;
use crate::series::SeriesByName;
use crate::sink::{Place, RunFacts, TimeSource};
use crate::source::Unit;

/// A run with all that is known of it.
#[derive(Debug, Clone)]
pub(crate) struct Scored {
    /// What tells it from the other runs of its unit; empty for the only one.
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) params: Params,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) status: RunStatus,
    pub(crate) scores: Vec<Score>,
}

/// A point of a run; without a time it gets one that stays the same.
#[derive(Debug, Clone)]
pub(crate) struct Score {
    pub(crate) metric: String,
    pub(crate) step: Step,
    pub(crate) time: Option<i64>,
    pub(crate) value: f64,
    pub(crate) place: Place,
}

impl Scored {
    pub(crate) fn new(key: String, name: String) -> Self {
        let (params, tags, scores) = (Params::new(), Vec::new(), Vec::new());
        Self { key, name, params, tags, status: RunStatus::Finished, scores }
    }

    /// The run's identity: where it stands, and its key there.
    fn source_run_id(&self, unit: &Unit) -> String {
        let location = unit.location.to_string_lossy();
        if self.key.is_empty() { location.into_owned() } else { format!("{location}#{}", self.key) }
    }

    /// Hands on the run and its points; what stands in `file` was last written at `modified`.
    pub(crate) fn hand_on(
        self,
        unit: &Unit,
        file: &Path,
        modified: i64,
        reporter: &mut Reporter<'_>,
    ) -> Result<RunId> {
        let mut run = reporter.blank_run(unit.kind, self.source_run_id(unit), &self.name);
        run.status = self.status;
        let id = run.id;
        let first = self.scores.iter().filter_map(|score| score.time).min();
        let base = match first {
            Some(first) if self.scores.iter().all(|score| score.time.is_some()) => first,
            // The start of the run must be what its points are counted from: a second import asks for it.
            _ => {
                run.time_source = TimeSource::FileModified;
                reporter.fallback_time(id, modified)
            }
        };
        run.start_time = Some(base);
        for (key, value) in &self.params {
            reporter.param(&mut run.params, file, key, value)?;
        }
        for (key, value) in &self.tags {
            reporter.tag(&mut run.tags, file, key, value)?;
        }
        reporter.run(run)?;
        let mut series = SeriesByName::of(id);
        let mut last = base;
        for (number, score) in (0_i64..).zip(&self.scores) {
            let Score { metric, step, time, value, place } = score;
            if step.rounded {
                reporter.remark(file, *place, "step.rounded", "", 1, || {
                    "steps are rounded to millionths".to_owned()
                });
            }
            let time = time.unwrap_or(base.saturating_add(number));
            last = last.max(time);
            let point = Point { step: step.whole, step_fraction: step.fraction, time, value: *value };
            series.point(reporter, file, *place, metric, point)?;
        }
        reporter.facts(id, RunFacts { end_time: Some(last), ..RunFacts::default() })?;
        // The next one is another run.
        reporter.close_series()?;
        Ok(id)
    }
}
