//! Points of one curve depend on their neighbours: `autocorrelation`, `ljung_box`, `curve_mean` and `block_bootstrap_ci`.

use analysis::{AnalysisError, Moments, Resampling};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use kernels::{
    BlockLength, BlockScheme, Flags, Samples, Statistic, Structure, StructuredRequest, structured_bootstrap,
};

use super::arms::{LEVEL, NONFINITE, number};
use super::bootstrap::{Draws, RESAMPLES, RESAMPLES_DEFAULT, SEED};
use super::collect::RowKey;
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, Parameter, optional, required};
use super::grouped::{GroupFunction, OfSample, Prepare, Sample, found};
use super::outcome::{Cell, known, rows_field};

/// The most lags of one call.
const LAGS_MAX: usize = 10_000;

const STEP: Parameter =
    required("step", ArgumentKind::Position, "the step, or any other number that orders points");
const VALUE: Parameter = required("value", ArgumentKind::Value, "the value");
const LAGS: Parameter =
    optional("lags", ArgumentKind::Integer, "how far back, in points, from 1 to 10000, default 10");

static AUTOCORRELATION: Definition = Definition {
    name: "autocorrelation",
    kind: FunctionKind::Aggregate,
    summary: "How much the points of a curve, in the order of their steps, resemble those so many points before: lags has a \
              row for each lag from 0 on. Autocovariances are over the same number of points, divided by the variance. \
              error is too_few_points, zero_variance or nonfinite_value.",
    parameters: &[STEP, VALUE, LAGS, NONFINITE],
    returns: "struct(lags list(struct(lag, correlation)), n, n_nonfinite, error)",
    example: "SELECT unnest(autocorrelation(v, sin(v), 3)['lags']) AS lag FROM range(50) AS points(v)",
};

static LJUNG_BOX: Definition = Definition {
    name: "ljung_box",
    kind: FunctionKind::Aggregate,
    summary: "The test of Ljung and Box (1978): are the first autocorrelations of a curve all zero, so that its points may \
              be taken for independent? error is too_few_points, zero_variance or nonfinite_value.",
    parameters: &[STEP, VALUE, LAGS, NONFINITE],
    returns: "struct(statistic, df, p, n, n_nonfinite, error)",
    example: "SELECT ljung_box(v, sin(v))['p'] AS p FROM range(50) AS points(v)",
};

static CURVE_MEAN: Definition = Definition {
    name: "curve_mean",
    kind: FunctionKind::Aggregate,
    summary: "The level of a part of one curve, whose points depend on each other: the mean with the t interval of ten \
              batch means (Schmeiser 1982), and beside it the percentile interval of a circular block bootstrap. \
              se_independent is what the error would be if points were independent, se_newey_west that of Newey and West \
              (1987), too small for strong dependence; n_effective is the number of independent points that would know \
              as much. still_correlated says that the part is too short for its interval. It says nothing about other \
              runs of the same recipe. error is too_few_points (below 20) or nonfinite_value.",
    parameters: &[STEP, VALUE, LEVEL, RESAMPLES, SEED, NONFINITE],
    returns: "struct(estimate, low, high, se, bootstrap_low, bootstrap_high, se_independent, se_newey_west, n_effective, batch_correlation, still_correlated, n, n_nonfinite, error)",
    example: "SELECT curve_mean(v, 0.8 + 0.01 * sin(v / 5.0), seed => 7)['se'] AS se FROM range(200) AS points(v)",
};

static BLOCK_BOOTSTRAP: Definition = Definition {
    name: "block_bootstrap_ci",
    kind: FunctionKind::Aggregate,
    summary: "A statistic of one curve with the percentile interval of a block bootstrap, which resamples stretches of \
              neighbouring points: 'circular' (default; Politis & Romano 1992) or 'moving' (Künsch 1989). Without \
              block_length it is the one by the rule of Politis and White (2004), rounded up; optimal_length is that \
              rule's number. error is empty_sample, too_few_points (a single one) or nonfinite_value.",
    parameters: &[
        STEP,
        VALUE,
        optional(
            "statistic",
            ArgumentKind::Text,
            "'mean' (default), 'median', 'iqm', 'variance' or 'stddev'",
        ),
        optional("scheme", ArgumentKind::Text, "'circular' (default) or 'moving'"),
        optional("block_length", ArgumentKind::Integer, "points of a block, 1 or more"),
        LEVEL,
        RESAMPLES,
        SEED,
        NONFINITE,
    ],
    returns: "struct(estimate, low, high, se, block_length, optimal_length, n, n_nonfinite, error)",
    example: "SELECT block_bootstrap_ci(v, sin(v / 5.0), seed => 7)['block_length'] AS points FROM range(200) AS points(v)",
};

pub(super) static FUNCTIONS: [GroupFunction; 4] = [
    GroupFunction {
        definition: &AUTOCORRELATION,
        fields: || vec![rows_field("lags", &[("lag", DataType::Int64), number("correlation")])],
        prepare: Prepare::Sample(|constants, _| {
            let lags = lags(constants)?;
            of_curve(move |curve| {
                let correlations = analysis::autocorrelation(curve, lags)?;
                let row = |(lag, correlation)| vec![Cell::Count(Some(lag)), Cell::Number(Some(correlation))];
                Ok(vec![Cell::Rows((0..).zip(correlations).map(row).collect())])
            })
        }),
    },
    GroupFunction {
        definition: &LJUNG_BOX,
        fields: || ["statistic", "df", "p"].map(number).to_vec(),
        prepare: Prepare::Sample(|constants, _| {
            let lags = lags(constants)?;
            of_curve(move |curve| {
                let (statistic, p) = analysis::ljung_box(curve, lags)?;
                Ok(known([statistic, lags as f64, p.value()]))
            })
        }),
    },
    GroupFunction {
        definition: &CURVE_MEAN,
        fields: || {
            let mut fields = [
                "estimate",
                "low",
                "high",
                "se",
                "bootstrap_low",
                "bootstrap_high",
                "se_independent",
                "se_newey_west",
                "n_effective",
                "batch_correlation",
            ]
            .map(number)
            .to_vec();
            fields.push(("still_correlated", DataType::Boolean));
            fields
        },
        prepare: Prepare::Sample(|constants, draws| {
            let level = constants.level()?;
            let resampling = Resampling {
                resamples: constants.resamples(RESAMPLES_DEFAULT)?,
                seed: constants.seed(draws.seed)?,
            };
            of_curve(move |curve| curve_mean(curve, level, resampling))
        }),
    },
    GroupFunction {
        definition: &BLOCK_BOOTSTRAP,
        fields: || {
            let mut fields = ["estimate", "low", "high", "se"].map(number).to_vec();
            fields.extend([("block_length", DataType::Int64), number("optimal_length")]);
            fields
        },
        prepare: Prepare::Sample(block_bootstrap),
    },
];

fn lags(constants: &Constants<'_>) -> Result<usize> {
    let lags = match constants.integer("lags") {
        None => 10,
        Some(_) => constants.count("lags", 1, "a number of lags")?,
    };
    if lags > LAGS_MAX { constants.refuse("lags", lags, "give at most 10000") } else { Ok(lags) }
}

/// Answers from the values in the order of their steps.
fn of_curve(
    answer: impl Fn(&[f64]) -> analysis::Result<Vec<Cell>> + Send + Sync + 'static,
) -> Result<(RowKey, OfSample)> {
    let answer = move |sample: &Sample<'_>| found(answer(&sample.in_order()), |cells| cells);
    Ok((RowKey::Position, Box::new(answer)))
}

fn curve_mean(curve: &[f64], level: f64, resampling: Resampling) -> analysis::Result<Vec<Cell>> {
    let found = analysis::curve_level(curve, level, resampling)?;
    let independent = Moments::of(curve).standard_error().unwrap_or(0.0);
    let ([low, high], [bootstrap_low, bootstrap_high]) = (found.interval, found.bootstrap_interval);
    let mut cells = known([
        found.mean,
        low,
        high,
        found.standard_error,
        bootstrap_low,
        bootstrap_high,
        independent,
        analysis::newey_west_error(curve, None)?,
    ]);
    let spread = found.standard_error > 0.0;
    let effective = curve.len() as f64 * (independent / found.standard_error).powi(2);
    cells.push(Cell::Number(spread.then_some(effective)));
    cells.push(Cell::Number(Some(found.batch_correlation)));
    cells.push(Cell::Truth(Some(found.still_correlated)));
    Ok(cells)
}

const STATISTICS: [(&str, Statistic); 5] = [
    ("mean", Statistic::Mean),
    ("median", Statistic::Median),
    ("iqm", Statistic::Iqm),
    ("variance", Statistic::Variance),
    ("stddev", Statistic::StandardDeviation),
];

/// The constants of one call of the block bootstrap.
#[derive(Debug, Clone, Copy)]
struct Blocks {
    statistic: Statistic,
    scheme: BlockScheme,
    length: Option<u32>,
    level: f64,
    resampling: Resampling,
}

fn block_bootstrap(constants: &Constants<'_>, draws: Draws) -> Result<(RowKey, OfSample)> {
    let schemes = [("circular", BlockScheme::Circular), ("moving", BlockScheme::Moving)];
    let length = match constants.integer("block_length") {
        None => None,
        Some(_) => {
            let length = constants.count("block_length", 1, "a number of points")?;
            Some(u32::try_from(length).unwrap_or(u32::MAX))
        }
    };
    let blocks = Blocks {
        statistic: constants.one_of("statistic", &STATISTICS)?,
        scheme: constants.one_of("scheme", &schemes)?,
        length,
        level: constants.level()?,
        resampling: Resampling {
            resamples: constants.resamples(RESAMPLES_DEFAULT)?,
            seed: constants.seed(draws.seed)?,
        },
    };
    of_curve(move |curve| blocks.interval(curve))
}

impl Blocks {
    fn interval(&self, curve: &[f64]) -> analysis::Result<Vec<Cell>> {
        let count = curve.iter().filter(|value| !value.is_finite()).count();
        if count > 0 {
            return Err(AnalysisError::NonfiniteValue { sample: "the curve".into(), count });
        }
        let Ok(end) = u32::try_from(curve.len()) else {
            let expected = "below 2^32 points";
            let value = format!("{} points", curve.len());
            return Err(AnalysisError::InvalidArgument { name: "curve", value, expected });
        };
        if end == 0 {
            return Err(AnalysisError::EmptySample { sample: "the curve".into() });
        }
        let optimal = kernels::block_length(curve, self.scheme);
        // As the automatic length is made of the rule's number.
        let length = self.length.unwrap_or(optimal.map_or(1, |length| length.ceil() as u32)).clamp(1, end);
        let structure = Structure::Blocks { length: BlockLength::Points(length), scheme: self.scheme };
        let offsets = [0, end];
        let samples = Samples { values: curve, offsets: &offsets };
        let out = structured_bootstrap(&StructuredRequest {
            level: self.level,
            resamples: self.resampling.resamples,
            seed: self.resampling.seed,
            ..StructuredRequest::new(samples, structure, self.statistic)
        })?;
        if out.flags[0].contains(Flags::DEGENERATE) {
            return Err(AnalysisError::TooFewPoints { have: curve.len(), need: length as usize + 1 });
        }
        let mut cells = known([out.estimate[0], out.low[0], out.high[0], out.se[0]]);
        cells.extend([Cell::Count(Some(u64::from(length))), Cell::Number(optimal)]);
        Ok(cells)
    }
}
