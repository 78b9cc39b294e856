//! `bootstrap_ci`: a statistic with its bootstrap interval, all groups of a query in one batch.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Result;
use kernels::{Method, Statistic};

use super::bootstrap::{Bootstrap, Draws, LEVEL, NONFINITE, RESAMPLES, RESAMPLES_DEFAULT, SEED};
use super::collect::{CollectingFunction, Finish};
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};
use super::outcome::{INTERVAL, struct_type};

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
        optional(
            "statistic",
            ArgumentKind::Text,
            "'mean' (default), 'median', 'iqm', 'sum', 'variance' or 'stddev' (of the sample)",
        ),
        optional(
            "method",
            ArgumentKind::Text,
            "'bca' (default), 'percentile' (default of the median), 'basic' or 'bootstrap-t' (mean only)",
        ),
        LEVEL,
        RESAMPLES,
        SEED,
        NONFINITE,
    ],
    returns: "struct(estimate, low, high, se, method, n, n_nonfinite, warning)",
    example: "SELECT bootstrap_ci(x, statistic => 'median', level => 0.9, seed => 7)['low'] AS low\nFROM (VALUES (0.81), (0.83), (0.80), (0.84), (0.79)) AS runs(x)",
};

/// The function, with the device and seed of the session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct BootstrapCi {
    pub(super) draws: Draws,
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
            "sum" => Statistic::Sum,
            "variance" => Statistic::Variance,
            "stddev" => Statistic::StandardDeviation,
            other => {
                return constants.refuse(
                    "statistic",
                    format_args!("'{other}'"),
                    "give 'mean', 'median', 'iqm', 'sum', 'variance' or 'stddev'",
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
        Ok(Arc::new(Bootstrap {
            function: DEFINITION.name,
            device: self.draws.device,
            statistic,
            method,
            level: constants.level()?,
            resamples: constants.resamples(RESAMPLES_DEFAULT)?,
            seed: constants.seed(self.draws.seed)?,
            nonfinite: constants.nonfinite()?,
        }))
    }
}
