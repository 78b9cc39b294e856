//! `iqm_ci`: the interquartile mean with its bootstrap interval, also over several tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use analysis::Nonfinite;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use kernels::{Method, Samples, Statistic, Structure, StructuredRequest, structured_bootstrap};

use super::bootstrap::{Bootstrap, Draws, LEVEL, NONFINITE, RESAMPLES, RESAMPLES_DEFAULT, SEED};
use super::collect::{CollectingFunction, Finish, Groups, RowKey};
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};
use super::outcome::{INTERVAL, Interval, intervals, struct_type};

pub(super) static DEFINITION: Definition = Definition {
    name: "iqm_ci",
    kind: FunctionKind::Aggregate,
    summary: "The interquartile mean with its percentile bootstrap interval (Agarwal et al. 2021). With task, scores of \
              several tasks are taken together and runs are resampled within each task; NULL is a task too. NULL \
              values do not count. One NaN or infinity makes the interval NaN unless nonfinite => 'drop'. The interval \
              is NULL where nothing can be resampled: a single value, or one run in every task. warning is \
              bootstrap_undercovers below 20 values, or below 10 runs of a task.",
    parameters: &[
        required("x", ArgumentKind::Value, "the scores, one a run (and task)"),
        optional("task", ArgumentKind::Pair, "the column of tasks"),
        LEVEL,
        RESAMPLES,
        SEED,
        NONFINITE,
    ],
    returns: "struct(estimate, low, high, se, method, n, n_nonfinite, warning)",
    example: "SELECT iqm_ci(x, task, seed => 7)['estimate'] AS iqm\nFROM (VALUES (0.81, 'a'), (0.83, 'a'), (0.80, 'a'), (0.44, 'b'), (0.49, 'b'), (0.41, 'b')) AS scores(x, task)",
};

/// The function, with the device and seed of the session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct IqmCi {
    pub(super) draws: Draws,
}

impl CollectingFunction for IqmCi {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        struct_type(&INTERVAL)
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        Ok(Arc::new(Call(Bootstrap {
            function: DEFINITION.name,
            device: self.draws.device,
            statistic: Statistic::Iqm,
            method: Method::Percentile,
            level: constants.level()?,
            resamples: constants.resamples(RESAMPLES_DEFAULT)?,
            seed: constants.seed(self.draws.seed)?,
            nonfinite: constants.nonfinite()?,
        })))
    }
}

#[derive(Debug)]
struct Call(Bootstrap);

impl Finish for Call {
    fn row_key(&self) -> RowKey {
        RowKey::Stratum
    }

    fn finish(&self, groups: &Groups) -> Result<ArrayRef> {
        intervals("percentile", self.intervals(groups)?)
    }
}

impl Call {
    /// Groups with one task go down as one batch, those with several as another.
    fn intervals(&self, groups: &Groups) -> Result<Vec<Interval>> {
        if groups.labels.is_empty() {
            return self.0.intervals(groups);
        }
        let several: Vec<bool> =
            groups.labels().map(|tasks| tasks.windows(2).any(|pair| pair[0] != pair[1])).collect();
        let mut single = Groups {
            offsets: vec![0],
            values: Vec::new(),
            keys: Vec::new(),
            labels: Vec::new(),
            names: Arc::default(),
        };
        for (values, several) in groups.values().zip(&several) {
            if !several {
                single.values.extend_from_slice(values);
            }
            single.offsets.push(single.values.len());
        }
        let mut intervals = self.0.intervals(&single)?;
        let mut strata = Strata::default();
        for (group, (values, tasks)) in groups.values().zip(groups.labels()).enumerate() {
            if !several[group] {
                continue;
            }
            let nonfinite_count = values.iter().filter(|x| !x.is_finite()).count();
            if nonfinite_count > 0 && self.0.nonfinite == Nonfinite::Keep {
                intervals[group] = self.0.failed(values, nonfinite_count)?;
            } else {
                strata.push(group, values, tasks)?;
                intervals[group] = Interval { nonfinite_count, ..Interval::default() };
            }
        }
        if strata.groups.is_empty() {
            return Ok(intervals);
        }
        let samples = Samples { values: &strata.scores, offsets: &strata.ends };
        let plain = StructuredRequest::new(samples, Structure::Strata(&strata.task_ends), self.0.statistic);
        let Bootstrap { level, resamples, seed, .. } = self.0;
        let request = StructuredRequest { level, resamples, seed, ..plain };
        let out = structured_bootstrap(&request).map_err(|error| self.0.error(&error))?;
        for (at, group) in strata.groups.iter().enumerate() {
            let interval = &mut intervals[*group];
            interval.count = out.n[at] as usize;
            interval.take([out.estimate[at], out.low[at], out.high[at], out.se[at]], out.flags[at]);
        }
        Ok(intervals)
    }
}

/// The finite scores of some groups, task after task.
#[derive(Debug)]
struct Strata {
    groups: Vec<usize>,
    scores: Vec<f64>,
    /// Where each group ends, after a 0.
    ends: Vec<u32>,
    /// Where each task of each group ends, after a 0.
    task_ends: Vec<u32>,
}

impl Default for Strata {
    fn default() -> Self {
        Self { groups: Vec::new(), scores: Vec::new(), ends: vec![0], task_ends: vec![0] }
    }
}

impl Strata {
    fn push(&mut self, group: usize, values: &[f64], tasks: &[u32]) -> Result<()> {
        let mut by_task: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for (value, task) in values.iter().zip(tasks).filter(|(value, _)| value.is_finite()) {
            by_task.entry(*task).or_default().push(*value);
        }
        let mut end = 0;
        for task in by_task.into_values() {
            self.scores.extend(task);
            end = match u32::try_from(self.scores.len()) {
                Ok(end) => end,
                Err(_) => return plan_err!("iqm_ci over more than 2^32 values: filter or group further"),
            };
            self.task_ends.push(end);
        }
        self.groups.push(group);
        self.ends.push(end.max(self.ends.last().copied().unwrap_or_default()));
        Ok(())
    }
}
