//! A bootstrap of all groups of a query in one batch: what the functions with bootstrap intervals share.

use analysis::Nonfinite;
use arrow::array::ArrayRef;
use datafusion::common::{DataFusionError, Result, plan_err};
use kernels::{BootstrapRequest, Flags, Method, Policy, Samples, Statistic};

use super::collect::{Finish, Groups};
use super::definition::{ArgumentKind, Parameter, optional};
use super::outcome::{Interval, intervals};

pub(super) const LEVEL: Parameter = optional("level", ArgumentKind::Number, "confidence level, default 0.95");
pub(super) const RESAMPLES: Parameter = optional("resamples", ArgumentKind::Integer, "default 10000");
pub(super) const SEED: Parameter =
    optional("seed", ArgumentKind::Integer, "default runlake.seed, which is 0 unless set");
pub(super) const NONFINITE: Parameter =
    optional("nonfinite", ArgumentKind::Text, "'keep' (default) or 'drop'");

/// Resamples where a call names no number.
pub(super) const RESAMPLES_DEFAULT: u32 = 10_000;

/// The device and seed of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Draws {
    /// Where resamples are drawn.
    pub(super) device: Policy,
    /// The seed of calls that name none.
    pub(super) seed: u64,
}

impl std::hash::Hash for Draws {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.seed.hash(state);
    }
}

/// One call of a function with a bootstrap interval.
#[derive(Debug)]
pub(super) struct Bootstrap {
    pub(super) function: &'static str,
    pub(super) device: Policy,
    pub(super) statistic: Statistic,
    pub(super) method: Method,
    pub(super) level: f64,
    pub(super) resamples: u32,
    pub(super) seed: u64,
    pub(super) nonfinite: Nonfinite,
}

impl Finish for Bootstrap {
    fn finish(&self, groups: &Groups) -> Result<ArrayRef> {
        let method = match self.method {
            Method::Percentile => "percentile",
            Method::Basic => "basic",
            Method::Bca => "bca",
            _ => "bootstrap-t",
        };
        intervals(method, self.intervals(groups)?)
    }
}

impl Bootstrap {
    /// One interval a group.
    pub(super) fn intervals(&self, groups: &Groups) -> Result<Vec<Interval>> {
        // Kernels take finite values only: groups with NaN or infinities are answered here.
        let mut values = Vec::with_capacity(groups.values.len());
        let mut offsets = vec![0_u32];
        let mut results = Vec::with_capacity(groups.len());
        for group in groups.values() {
            let nonfinite_count = group.iter().filter(|x| !x.is_finite()).count();
            let failed = nonfinite_count > 0 && self.nonfinite == Nonfinite::Keep;
            let result = if failed {
                self.failed(group, nonfinite_count)?
            } else {
                values.extend(group.iter().copied().filter(|x| x.is_finite()));
                Interval { nonfinite_count, ..Interval::default() }
            };
            match u32::try_from(values.len()) {
                Ok(end) => offsets.push(end),
                Err(_) => {
                    return plan_err!(
                        "{} over more than 2^32 values: filter or group further",
                        self.function
                    );
                }
            }
            results.push((failed, result));
        }
        let backend = kernels::select(self.device).map_err(|error| self.error(&error))?.backend;
        let request = BootstrapRequest::new(Samples { values: &values, offsets: &offsets }, self.statistic)
            .method(self.method)
            .level(self.level)
            .resamples(self.resamples)
            .seed(self.seed);
        let output = backend.bootstrap(&request).map_err(|error| self.error(&error))?;
        for (group, (failed, result)) in results.iter_mut().enumerate() {
            if *failed {
                continue;
            }
            let flags = output.flags[group];
            result.count = output.n[group] as usize;
            let numbers = [output.estimate[group], output.low[group], output.high[group], output.se[group]];
            result.take(numbers, flags);
        }
        Ok(results.into_iter().map(|(_, result)| result).collect())
    }

    /// The interval of a group with failed runs that are not dropped.
    pub(super) fn failed(&self, values: &[f64], nonfinite_count: usize) -> Result<Interval> {
        let nan = Some(f64::NAN);
        Ok(Interval {
            estimate: self.estimate_with_nonfinite(values)?,
            low: nan,
            high: nan,
            standard_error: nan,
            count: values.len(),
            nonfinite_count,
            warning: None,
        })
    }

    fn estimate_with_nonfinite(&self, values: &[f64]) -> Result<Option<f64>> {
        let summary = analysis::describe(values, self.level, Nonfinite::Keep)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(match self.statistic {
            Statistic::Median => summary.median,
            Statistic::Quantile(q) => analysis::quantile(values, q).ok(),
            Statistic::Iqm => summary.interquartile_mean,
            Statistic::Variance | Statistic::StandardDeviation => Some(f64::NAN),
            _ => summary.mean,
        })
    }

    pub(super) fn error(&self, error: &kernels::KernelError) -> DataFusionError {
        DataFusionError::Plan(format!("{}: {error}", self.function))
    }
}

impl Interval {
    /// Takes the numbers of a kernel (estimate, ends, standard error), as far as its remarks let them stand.
    pub(super) fn take(&mut self, [estimate, low, high, error]: [f64; 4], flags: Flags) {
        let absent = flags.contains(Flags::ABSENT);
        let single = absent || flags.contains(Flags::DEGENERATE);
        let bounded = !single && !flags.contains(Flags::NO_INTERVAL);
        self.estimate = (!absent).then_some(estimate);
        self.low = bounded.then_some(low);
        self.high = bounded.then_some(high);
        self.standard_error = (!single).then_some(error);
        let words: Vec<&str> =
            flags.names().filter(|name| !matches!(*name, "absent" | "degenerate")).collect();
        self.warning = (!words.is_empty()).then(|| words.join(","));
    }
}
