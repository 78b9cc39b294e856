//! `iqm_ci`: the interquartile mean with its bootstrap interval, also over several tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use analysis::Nonfinite;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use kernels::{Method, Samples, Statistic, StratifiedRequest, stratified_bootstrap};

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
    /// Groups with one task go down as one batch; the others are resampled task by task.
    fn intervals(&self, groups: &Groups) -> Result<Vec<Interval>> {
        if groups.labels.is_empty() {
            return self.0.intervals(groups);
        }
        let several: Vec<bool> =
            groups.labels().map(|tasks| tasks.windows(2).any(|pair| pair[0] != pair[1])).collect();
        let mut single =
            Groups { offsets: vec![0], values: Vec::new(), keys: Vec::new(), labels: Vec::new() };
        for (values, several) in groups.values().zip(&several) {
            if !several {
                single.values.extend_from_slice(values);
            }
            single.offsets.push(single.values.len());
        }
        let mut intervals = self.0.intervals(&single)?;
        let tasks = groups.values().zip(groups.labels()).zip(several);
        for (interval, ((values, tasks), several)) in intervals.iter_mut().zip(tasks) {
            if several {
                *interval = self.over_tasks(values, tasks)?;
            }
        }
        Ok(intervals)
    }

    fn over_tasks(&self, values: &[f64], tasks: &[u32]) -> Result<Interval> {
        let nonfinite_count = values.iter().filter(|x| !x.is_finite()).count();
        if nonfinite_count > 0 && self.0.nonfinite == Nonfinite::Keep {
            return self.0.failed(values, nonfinite_count);
        }
        let mut by_task: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for (value, task) in values.iter().zip(tasks).filter(|(value, _)| value.is_finite()) {
            by_task.entry(*task).or_default().push(*value);
        }
        let mut scores = Vec::with_capacity(values.len());
        let mut offsets = vec![0_u32];
        for task in by_task.into_values() {
            scores.extend(task);
            match u32::try_from(scores.len()) {
                Ok(end) => offsets.push(end),
                Err(_) => return plan_err!("iqm_ci over more than 2^32 values: filter or group further"),
            }
        }
        let out = stratified_bootstrap(&StratifiedRequest {
            tasks: Samples { values: &scores, offsets: &offsets },
            statistic: self.0.statistic,
            level: self.0.level,
            resamples: self.0.resamples,
            seed: self.0.seed,
        })
        .map_err(|error| self.0.error(&error))?;
        let mut interval = Interval { count: out.n, nonfinite_count, ..Interval::default() };
        interval.take([out.estimate, out.low, out.high, out.se], out.flags);
        Ok(interval)
    }
}
