//! `quantile_ci`: a quantile with its bootstrap interval.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Result;
use kernels::{Method, Statistic};

use super::bootstrap::{Bootstrap, Draws, LEVEL, NONFINITE, RESAMPLES_DEFAULT};
use super::collect::{CollectingFunction, Finish};
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};
use super::outcome::{INTERVAL, struct_type};

pub(super) static DEFINITION: Definition = Definition {
    name: "quantile_ci",
    kind: FunctionKind::Aggregate,
    summary: "A quantile (linear interpolation, type 7) with its bootstrap interval. The distribution of resampled \
              quantiles is computed exactly, nothing is drawn, so there is no seed. NULLs do not count. One NaN or \
              infinity makes the interval NaN unless nonfinite => 'drop'. The interval of a single value is NULL. \
              warning is bootstrap_undercovers below 20 values.",
    parameters: &[
        required("x", ArgumentKind::Value, "the values, one a run"),
        required("q", ArgumentKind::Number, "which quantile, from 0 to 1"),
        LEVEL,
        optional("method", ArgumentKind::Text, "'percentile' (default) or 'basic'"),
        NONFINITE,
    ],
    returns: "struct(estimate, low, high, se, method, n, n_nonfinite, warning)",
    example: "SELECT quantile_ci(x, 0.5)['low'] AS low\nFROM (VALUES (0.81), (0.83), (0.80), (0.84), (0.79)) AS runs(x)",
};

/// The function, with the device of the session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct QuantileCi {
    pub(super) draws: Draws,
}

impl CollectingFunction for QuantileCi {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        struct_type(&INTERVAL)
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        let q = match constants.number("q") {
            Some(q) if (0.0..=1.0).contains(&q) => q,
            Some(q) => return constants.refuse("q", q, "give a number from 0 to 1, such as 0.9"),
            None => return constants.refuse("q", "NULL", "give a number from 0 to 1, such as 0.9"),
        };
        let method = match constants.text("method") {
            None | Some("percentile") => Method::Percentile,
            Some("basic") => Method::Basic,
            Some(other) => {
                return constants.refuse("method", format_args!("'{other}'"), "give 'percentile' or 'basic'");
            }
        };
        Ok(Arc::new(Bootstrap {
            function: DEFINITION.name,
            device: self.draws.device,
            statistic: Statistic::Quantile(q),
            method,
            level: constants.level()?,
            resamples: RESAMPLES_DEFAULT,
            seed: self.draws.seed,
            nonfinite: constants.nonfinite()?,
        }))
    }
}
