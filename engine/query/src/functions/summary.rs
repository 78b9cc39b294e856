//! `summary`: location, spread and shape of one sample in one go.

use analysis::{AnalysisError, Nonfinite, Shape, quantile};

use super::arms::{NONFINITE, number};
use super::collect::RowKey;
use super::definition::{ArgumentKind, Definition, FunctionKind, optional, required};
use super::grouped::{GroupFunction, Prepare, Sample};
use super::outcome::Cell;
use super::row_by_row::Found;

/// Share of values that the winsorized mean pulls in at each end.
const WINSORIZED: f64 = 0.2;

static DEFINITION: Definition = Definition {
    name: "summary",
    kind: FunctionKind::Aggregate,
    summary: "Location, spread and shape of a sample: the mean with its t interval, order statistics (quantiles by linear \
              interpolation), the interquartile mean, the median absolute deviation from the median, skewness \
              (adjusted, G1) and excess kurtosis (G2), the winsorized mean (a fifth pulled in at each end), geometric \
              and harmonic means of values above 0. What a sample is too small or too even for is NULL. NULLs do not \
              count. One NaN makes all but n NaN or NULL unless nonfinite => 'drop'; an infinity counts by its value. \
              error is empty_sample.",
    parameters: &[
        required("x", ArgumentKind::Value, "the values, one a run"),
        optional("level", ArgumentKind::Number, "confidence level of the interval, default 0.95"),
        NONFINITE,
    ],
    returns: "struct(mean, low, high, se, variance, sd, min, q1, median, q3, max, iqm, mad, skewness, kurtosis, winsorized_mean, geometric_mean, harmonic_mean, n, n_nonfinite, error)",
    example: "SELECT s['mean'] AS mean, s['sd'] AS sd, s['median'] AS median\nFROM (SELECT summary(x) AS s FROM (VALUES (0.81), (0.83), (0.80), (0.84)) AS runs(x)) AS described",
};

pub(super) static FUNCTIONS: [GroupFunction; 1] = [GroupFunction {
    definition: &DEFINITION,
    fields: || {
        [
            "mean",
            "low",
            "high",
            "se",
            "variance",
            "sd",
            "min",
            "q1",
            "median",
            "q3",
            "max",
            "iqm",
            "mad",
            "skewness",
            "kurtosis",
            "winsorized_mean",
            "geometric_mean",
            "harmonic_mean",
        ]
        .map(number)
        .to_vec()
    },
    prepare: Prepare::Sample(|constants, _| {
        let level = constants.level()?;
        Ok((RowKey::None, Box::new(move |sample| described(sample, level))))
    }),
}];

fn described(sample: &Sample<'_>, level: f64) -> Found {
    let values = sample.values;
    if values.is_empty() {
        return (Vec::new(), Some(AnalysisError::EmptySample { sample: "the sample".into() }));
    }
    let summary = match analysis::describe(values, level, Nonfinite::Keep) {
        Ok(summary) => summary,
        Err(error) => return (Vec::new(), Some(error)),
    };
    // Shape is that of finite values alone.
    let shape = analysis::shape(values).ok();
    let end = |side: usize| summary.mean_interval.map(|interval| interval[side]);
    let of_shape = |of: fn(&Shape) -> Option<f64>| shape.as_ref().and_then(of);
    let cells = [
        summary.mean,
        end(0),
        end(1),
        summary.standard_error,
        summary.variance,
        summary.standard_deviation,
        summary.minimum,
        quantile(values, 0.25).ok(),
        summary.median,
        quantile(values, 0.75).ok(),
        summary.maximum,
        summary.interquartile_mean,
        summary.median_absolute_deviation,
        summary.skewness,
        of_shape(|shape| shape.kurtosis),
        analysis::winsorized_mean(values, WINSORIZED).ok(),
        of_shape(|shape| shape.geometric_mean),
        of_shape(|shape| shape.harmonic_mean),
    ];
    (cells.map(Cell::Number).to_vec(), None)
}
