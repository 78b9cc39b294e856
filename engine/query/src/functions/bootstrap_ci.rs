//! `bootstrap_ci`: a statistic with its bootstrap interval, all groups of a query in one batch.

use std::sync::Arc;

use analysis::Nonfinite;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, plan_err};
use kernels::{BootstrapRequest, Flags, Method, Policy, Samples, Statistic};

use super::collect::{CollectingFunction, Finish, Groups};
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};
use super::outcome::{INTERVAL, Interval, intervals, struct_type};

pub(super) static DEFINITION: Definition = Definition {
    name: "bootstrap_ci",
    kind: FunctionKind::Aggregate,
    summary: "A statistic of a sample with its bootstrap interval. All groups of a query are resampled in one batch; the \
              same seed gives the same answer on any device and number of threads, whatever the order of the rows. \
              NULLs do not count. One NaN or infinity makes the interval NaN unless nonfinite => 'drop'; n_nonfinite \
              counts them. The interval of a single value is NULL. warning names what to mind, such as \
              bootstrap_undercovers below 20 values.",
    parameters: &[
        required("x", ArgumentKind::Value, "the values, one a run"),
        optional("statistic", ArgumentKind::Text, "'mean' (default), 'median' or 'iqm'"),
        optional(
            "method",
            ArgumentKind::Text,
            "'bca' (default), 'percentile' (default of the median), 'basic' or 'bootstrap-t' (mean only)",
        ),
        optional("level", ArgumentKind::Number, "confidence level, default 0.95"),
        optional("resamples", ArgumentKind::Integer, "default 10000"),
        optional("seed", ArgumentKind::Integer, "default runlake.seed, which is 0 unless set"),
        optional("nonfinite", ArgumentKind::Text, "'keep' (default) or 'drop'"),
    ],
    returns: "struct(estimate, low, high, se, method, n, n_nonfinite, warning)",
    example: "SELECT bootstrap_ci(x, statistic => 'median', level => 0.9, seed => 7)['low'] AS low\nFROM (VALUES (0.81), (0.83), (0.80), (0.84), (0.79)) AS runs(x)",
};

/// The largest number of resamples of one call, so that one statement cannot hold a machine for hours.
const RESAMPLES_MAX: i64 = 1_000_000;

/// The function, with the device and seed of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BootstrapCi {
    device: Policy,
    seed: u64,
}

impl std::hash::Hash for BootstrapCi {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.seed.hash(state);
    }
}

impl BootstrapCi {
    pub(super) fn new(device: Policy, seed: u64) -> Self {
        Self { device, seed }
    }
}

impl CollectingFunction for BootstrapCi {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        struct_type(&INTERVAL)
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        let statistic = match constants.text("statistic").unwrap_or("mean") {
            "mean" => Statistic::Mean,
            "median" => Statistic::Median,
            "iqm" => Statistic::Iqm,
            other => {
                return constants.refuse(
                    "statistic",
                    format_args!("'{other}'"),
                    "give 'mean', 'median' or 'iqm'",
                );
            }
        };
        let method = match (constants.text("method"), statistic) {
            (None, Statistic::Median) => Method::Percentile,
            (None, _) => Method::Bca,
            (Some("percentile"), _) => Method::Percentile,
            (Some("basic"), _) => Method::Basic,
            (Some("bca"), _) => Method::Bca,
            (Some("bootstrap-t" | "studentized"), _) => Method::Studentized,
            (Some(other), _) => {
                let allowed = "give 'percentile', 'basic', 'bca' or 'bootstrap-t'";
                return constants.refuse("method", format_args!("'{other}'"), allowed);
            }
        };
        let resamples = match constants.integer("resamples").unwrap_or(10_000) {
            count @ 1..=RESAMPLES_MAX => count as u32,
            count => return constants.refuse("resamples", count, "give a number from 1 to 1000000"),
        };
        let seed = match constants.integer("seed").map(u64::try_from) {
            None => self.seed,
            Some(Ok(seed)) => seed,
            Some(Err(_)) => return constants.refuse("seed", "negative", "give a whole number of at least 0"),
        };
        let (level, nonfinite) = (constants.level()?, constants.nonfinite()?);
        Ok(Arc::new(Call { device: self.device, statistic, method, level, resamples, seed, nonfinite }))
    }
}

#[derive(Debug)]
struct Call {
    device: Policy,
    statistic: Statistic,
    method: Method,
    level: f64,
    resamples: u32,
    seed: u64,
    nonfinite: Nonfinite,
}

impl Finish for Call {
    fn finish(&self, groups: &Groups) -> Result<ArrayRef> {
        // Kernels take finite values only: groups with NaN or infinities are answered here.
        let mut values = Vec::with_capacity(groups.values.len());
        let mut offsets = vec![0_u32];
        let mut results = Vec::with_capacity(groups.len());
        for group in groups.values() {
            let nonfinite_count = group.iter().filter(|x| !x.is_finite()).count();
            let failed = nonfinite_count > 0 && self.nonfinite == Nonfinite::Keep;
            let mut result = Interval { nonfinite_count, ..Interval::default() };
            if failed {
                let nan = Some(f64::NAN);
                result = Interval {
                    estimate: self.estimate_with_nonfinite(group)?,
                    low: nan,
                    high: nan,
                    standard_error: nan,
                    count: group.len(),
                    ..result
                };
            } else {
                values.extend(group.iter().copied().filter(|x| x.is_finite()));
            }
            match u32::try_from(values.len()) {
                Ok(end) => offsets.push(end),
                Err(_) => {
                    return plan_err!("bootstrap_ci over more than 2^32 values: filter or group further");
                }
            }
            results.push((failed, result));
        }
        let backend = kernels::select(self.device).map_err(kernel_error)?.backend;
        let request = BootstrapRequest::new(Samples { values: &values, offsets: &offsets }, self.statistic)
            .method(self.method)
            .level(self.level)
            .resamples(self.resamples)
            .seed(self.seed);
        let output = backend.bootstrap(&request).map_err(kernel_error)?;
        for (group, (failed, result)) in results.iter_mut().enumerate() {
            if *failed {
                continue;
            }
            let flags = output.flags[group];
            result.count = output.n[group] as usize;
            let absent = flags.contains(Flags::ABSENT);
            let single = absent || flags.contains(Flags::DEGENERATE);
            let bounded = !single && !flags.contains(Flags::NO_INTERVAL);
            result.estimate = (!absent).then_some(output.estimate[group]);
            result.low = bounded.then_some(output.low[group]);
            result.high = bounded.then_some(output.high[group]);
            result.standard_error = (!single).then_some(output.se[group]);
            let words: Vec<&str> =
                flags.names().filter(|name| !matches!(*name, "absent" | "degenerate")).collect();
            result.warning = (!words.is_empty()).then(|| words.join(","));
        }
        let method = match self.method {
            Method::Percentile => "percentile",
            Method::Basic => "basic",
            Method::Bca => "bca",
            _ => "bootstrap-t",
        };
        intervals(method, results.into_iter().map(|(_, result)| result).collect())
    }
}

impl Call {
    fn estimate_with_nonfinite(&self, values: &[f64]) -> Result<Option<f64>> {
        let summary = analysis::describe(values, self.level, Nonfinite::Keep)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(match self.statistic {
            Statistic::Median => summary.median,
            Statistic::Iqm => summary.interquartile_mean,
            _ => summary.mean,
        })
    }
}

fn kernel_error(error: kernels::KernelError) -> DataFusionError {
    DataFusionError::Plan(format!("bootstrap_ci: {error}"))
}
