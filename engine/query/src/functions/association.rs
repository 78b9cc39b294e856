//! Two numbers of each run: `correlation_test` and `linear_fit`.

use analysis::Correlation;

use super::arms::{LEVEL, NONFINITE, number};
use super::collect::RowKey;
use super::definition::{ArgumentKind, Definition, FunctionKind, Parameter, optional, required};
use super::grouped::{GroupFunction, Prepare, Sample, found};
use super::outcome::{Cell, known};

const X: Parameter = required("x", ArgumentKind::Position, "the first number, one a run");
const Y: Parameter = required("y", ArgumentKind::Value, "the second number");

static CORRELATION: Definition = Definition {
    name: "correlation_test",
    kind: FunctionKind::Aggregate,
    summary: "A correlation of two numbers of each run with its two-sided p-value: 'pearson' (default; with Fisher's \
              interval from four runs on), 'spearman' (by ranks) or 'kendall' (tau-b, exact without ties up to 33 runs). \
              Points of one curve depend on each other: correlate runs. Rows with a NULL do not count. error is \
              too_few_runs (below three), zero_variance or nonfinite_value.",
    parameters: &[
        X,
        Y,
        optional("method", ArgumentKind::Text, "'pearson' (default), 'spearman' or 'kendall'"),
        LEVEL,
        NONFINITE,
    ],
    returns: "struct(estimate, low, high, p, n, n_nonfinite, error)",
    example: "SELECT correlation_test(lr, loss, 'spearman')['p'] AS p\nFROM (VALUES (0.1, 2.1), (0.2, 1.9), (0.3, 1.8), (0.4, 1.2)) AS runs(lr, loss)",
};

static LINEAR_FIT: Definition = Definition {
    name: "linear_fit",
    kind: FunctionKind::Aggregate,
    summary: "The least-squares line of y on x over runs, with the standard error of its slope (n - 2 degrees of freedom). \
              For the points of one curve slope says how fast it rises, and no error belongs to it. error is \
              too_few_runs (below three), zero_variance (one x) or nonfinite_value.",
    parameters: &[X, Y, NONFINITE],
    returns: "struct(slope, intercept, slope_se, n, n_nonfinite, error)",
    example: "SELECT linear_fit(lr, loss)['slope'] AS slope\nFROM (VALUES (0.1, 2.1), (0.2, 1.9), (0.3, 1.8), (0.4, 1.2)) AS runs(lr, loss)",
};

/// Which correlation: x, y, level.
type Coefficient = fn(&[f64], &[f64], f64) -> analysis::Result<Correlation>;

const METHODS: [(&str, Coefficient); 3] = [
    ("pearson", analysis::pearson),
    ("spearman", |x, y, _| analysis::spearman(x, y)),
    ("kendall", |x, y, _| analysis::kendall(x, y)),
];

pub(super) static FUNCTIONS: [GroupFunction; 2] = [
    GroupFunction {
        definition: &CORRELATION,
        fields: || ["estimate", "low", "high", "p"].map(number).to_vec(),
        prepare: Prepare::Sample(|constants, _| {
            let (of, level) = (constants.one_of("method", &METHODS)?, constants.level()?);
            let answer = move |sample: &Sample<'_>| {
                let (x, y) = sample.points();
                found(of(&x, &y, level), |found| {
                    let end = |side: usize| Cell::Number(found.interval.map(|interval| interval[side]));
                    let number = |number| Cell::Number(Some(number));
                    vec![number(found.coefficient), end(0), end(1), number(found.p_two_sided.value())]
                })
            };
            Ok((RowKey::Position, Box::new(answer)))
        }),
    },
    GroupFunction {
        definition: &LINEAR_FIT,
        fields: || ["slope", "intercept", "slope_se"].map(number).to_vec(),
        prepare: Prepare::Sample(|_, _| {
            Ok((
                RowKey::Position,
                Box::new(|sample| {
                    let (x, y) = sample.points();
                    found(analysis::fit_line(&x, &y), |line| {
                        known([line.slope, line.intercept, line.slope_error])
                    })
                }),
            ))
        }),
    },
];
