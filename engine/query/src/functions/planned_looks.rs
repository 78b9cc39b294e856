//! Looks that were planned, and bounds for looks at any time: `alpha_spent`, `group_sequential`,
//! `group_sequential_constant` and `time_uniform_bound`.

use analysis::Alternative;
use analysis::sequential::{
    SpendingFunction, constant_boundary, gamma_exponential_bound, normal_mixture_bound, stitched_bound,
};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arms::number;
use super::definition::{ArgumentKind, Definition, FunctionKind, Parameter, optional, required};
use super::outcome::{Cell, known, rows_type};
use super::row_by_row::{Found, Returns, Row, RowFunction};

const SPENDING: Parameter = optional(
    "spending",
    ArgumentKind::Text,
    "'pocock' (default), 'obrien_fleming' (or 'obf'), 'linear' or 'quadratic'",
);
const ALPHA: Parameter = optional("alpha", ArgumentKind::Number, "one-sided error rate in all, default 0.05");

/// The most looks of a constant, which integrates over all of them again and again.
const LOOKS_MAX: u64 = 20;

const SPENDINGS: [(&str, SpendingFunction); 5] = [
    ("pocock", SpendingFunction::Pocock),
    ("obrien_fleming", SpendingFunction::OBrienFleming),
    ("obf", SpendingFunction::OBrienFleming),
    ("linear", SpendingFunction::Linear),
    ("quadratic", SpendingFunction::Quadratic),
];

static ALPHA_SPENT: Definition = Definition {
    name: "alpha_spent",
    kind: FunctionKind::Scalar,
    summary: "How much of alpha a spending function (Lan & DeMets 1983) has spent once this share of the information is \
              there; all of it from 1 on.",
    parameters: &[
        required("share", ArgumentKind::Number, "the share of the planned runs, 0 to 1"),
        SPENDING,
        ALPHA,
    ],
    returns: "double",
    example: "SELECT share, alpha_spent(share, 'obrien_fleming') AS spent FROM (VALUES (0.25), (0.5), (1.0)) AS looks(share)",
};

static GROUP_SEQUENTIAL: Definition = Definition {
    name: "group_sequential",
    kind: FunctionKind::Scalar,
    summary: "The one-sided boundaries of planned looks (Lan & DeMets 1983), one row a look: the z statistic that it must \
              exceed, and the p-value p that it must stay below, with which t tests are compared. A policy of runlake \
              gate with look_sizes uses the same.",
    parameters: &[
        required(
            "shares",
            ArgumentKind::Numbers,
            "the share of the planned runs at each look, rising, above 0 and at most 1",
        ),
        SPENDING,
        ALPHA,
    ],
    returns: "list(struct(look, share, spent, z, p))",
    example: "SELECT look['share'] AS share, look['p'] AS p FROM (SELECT unnest(group_sequential([0.25, 0.5, 1.0])) AS look)",
};

static CONSTANT: Definition = Definition {
    name: "group_sequential_constant",
    kind: FunctionKind::Scalar,
    summary: "The constant of classic two-sided boundaries over equally spaced looks (Jennison & Turnbull 2000): Pocock's \
              z, the same at each look, or O'Brien and Fleming's, to be multiplied by sqrt(looks / look).",
    parameters: &[
        required("looks", ArgumentKind::Integer, "the number of looks, 1 to 20"),
        optional("shape", ArgumentKind::Text, "'pocock' (default), 'obrien_fleming' or 'obf'"),
        optional("alpha", ArgumentKind::Number, "two-sided error rate in all, default 0.05"),
    ],
    returns: "double",
    example: "SELECT group_sequential_constant(5, 'pocock') AS z",
};

static BOUND: Definition = Definition {
    name: "time_uniform_bound",
    kind: FunctionKind::Scalar,
    summary: "What a sum with mean zero stays below at all times, but with probability alpha, by its intrinsic time v (its \
              accumulated variance; Howard et al. 2021): 'normal_mixture' (default) for sub-Gaussian sums, two-sided \
              unless alternative => 'greater'; 'gamma_exponential' for sub-exponential ones of scale c; 'stitched', of \
              the order of the law of the iterated logarithm, constant before the time tightest. Divided by n it is the \
              half width of a confidence sequence.",
    parameters: &[
        required("v", ArgumentKind::Number, "intrinsic time, above 0"),
        required(
            "tightest",
            ArgumentKind::Number,
            "the time at which it is tightest; the first one of 'stitched'",
        ),
        optional("method", ArgumentKind::Text, "the bound, default 'normal_mixture'"),
        ALPHA,
        optional(
            "alternative",
            ArgumentKind::Text,
            "of 'normal_mixture': 'two-sided' (default) or 'greater'",
        ),
        optional("c", ArgumentKind::Number, "scale, default 1; of 'stitched' 0, which is sub-Gaussian"),
        optional(
            "s",
            ArgumentKind::Number,
            "of 'stitched': how alpha falls from epoch to epoch, default 1.4",
        ),
        optional("eta", ArgumentKind::Number, "of 'stitched': how epochs grow, default 2"),
    ],
    returns: "double",
    example: "SELECT v, time_uniform_bound(v, 10) / v AS half_width FROM (VALUES (5), (10), (100)) AS t(v)",
};

pub(super) static FUNCTIONS: [RowFunction; 4] = [
    RowFunction { definition: &ALPHA_SPENT, returns: Returns::number, answer: alpha_spent },
    RowFunction {
        definition: &GROUP_SEQUENTIAL,
        returns: || {
            Returns::One(rows_type(&[
                ("look", DataType::Int64),
                number("share"),
                number("spent"),
                number("z"),
                number("p"),
            ]))
        },
        answer: group_sequential,
    },
    RowFunction { definition: &CONSTANT, returns: Returns::number, answer: constant },
    RowFunction { definition: &BOUND, returns: Returns::number, answer: bound },
];

fn alpha_spent(row: &Row<'_>) -> Result<Found> {
    let (share, alpha) = (row.given("share"), row.alpha());
    let spending = row.one_of("spending", &SPENDINGS)?;
    if !(0.0..=1.0).contains(&share) {
        return row.refuse("share", share, "give a share from 0 to 1");
    }
    if !(alpha > 0.0 && alpha < 0.5) {
        return row.refuse("alpha", alpha, "give a number above 0 and below 0.5");
    }
    Ok((known([spending.spent(share, alpha)]), None))
}

fn group_sequential(row: &Row<'_>) -> Result<Found> {
    let (shares, alpha) = (row.numbers("shares")?, row.alpha());
    let spending = row.one_of("spending", &SPENDINGS)?;
    row.found(analysis::sequential::group_sequential(&shares, spending, alpha), |found| {
        let looks = shares.iter().zip(found.z.iter().zip(&found.nominal_p)).enumerate();
        let look = |(look, (share, (z, p))): (usize, (&f64, (&f64, &f64)))| {
            let mut cells = vec![Cell::Count(Some(look as u64 + 1))];
            cells.extend(known([*share, spending.spent(*share, alpha), *z, *p]));
            cells
        };
        vec![Cell::Rows(looks.map(look).collect())]
    })
}

fn constant(row: &Row<'_>) -> Result<Found> {
    let shape = row.one_of("shape", &SPENDINGS[..3])?;
    let looks = match row.count("looks")? {
        looks @ 1..=LOOKS_MAX => looks as usize,
        looks => return row.refuse("looks", looks, "give a number from 1 to 20"),
    };
    row.found(constant_boundary(looks, shape, row.alpha()), |constant| known([constant]))
}

/// Which bound.
#[derive(Debug, Clone, Copy)]
enum Bound {
    NormalMixture,
    GammaExponential,
    Stitched,
}

const BOUNDS: [(&str, Bound); 3] = [
    ("normal_mixture", Bound::NormalMixture),
    ("gamma_exponential", Bound::GammaExponential),
    ("stitched", Bound::Stitched),
];

fn bound(row: &Row<'_>) -> Result<Found> {
    let (v, tightest, alpha) = (row.given("v"), row.given("tightest"), row.alpha());
    let alternative = row
        .one_of("alternative", &[("two-sided", Alternative::TwoSided), ("greater", Alternative::Greater)])?;
    let number = |name, default| row.number(name).unwrap_or(default);
    let found = match row.one_of("method", &BOUNDS)? {
        Bound::NormalMixture => normal_mixture_bound(v, tightest, alpha, alternative),
        Bound::GammaExponential => gamma_exponential_bound(v, tightest, number("c", 1.0), alpha),
        Bound::Stitched => {
            stitched_bound(v, tightest, number("c", 0.0), number("s", 1.4), number("eta", 2.0), alpha)
        }
    };
    row.found(found, |bound| known([bound]))
}
