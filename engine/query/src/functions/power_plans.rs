//! Plans of experiments: `power_t_test`, `required_runs`, `detectable_effect`, `cohens_h`, `power_proportions`,
//! `required_trials` and `required_pairs`.

use analysis::{Design, Sides};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arms::number;
use super::definition::{ArgumentKind, Definition, FunctionKind, Parameter, optional, required};
use super::outcome::{Cell, known};
use super::row_by_row::{Fields, Found, Returns, Row, RowFunction};

/// Runs beyond which no plan is made.
const RUNS_MAX: f64 = 1e9;

const EFFECT: Parameter = required(
    "effect",
    ArgumentKind::Number,
    "the true effect, in standard deviations (of differences for pairs)",
);
const RUNS: Parameter =
    required("n", ArgumentKind::Number, "runs of the first arm, or pairs; above 1, at most 1e9");
const ALPHA: Parameter = optional("alpha", ArgumentKind::Number, "level of the test, default 0.05");
const POWER: Parameter =
    optional("power", ArgumentKind::Number, "the wanted probability to show the effect, default 0.8");
const ALTERNATIVE: Parameter =
    optional("alternative", ArgumentKind::Text, "'two-sided' (default) or 'one-sided'");
const DESIGN: Parameter = optional("design", ArgumentKind::Text, "'two-sample' (default) or 'paired'");
const RATIO: Parameter = optional(
    "ratio",
    ArgumentKind::Number,
    "runs of the second arm for each run of the first, default 1; not for pairs",
);
const SHARE_A: Parameter = required("p1", ArgumentKind::Number, "the share in the first group, 0 to 1");
const SHARE_B: Parameter = required("p2", ArgumentKind::Number, "the share in the second group, 0 to 1");

static POWER_T_TEST: Definition = Definition {
    name: "power_t_test",
    kind: FunctionKind::Scalar,
    summary: "The probability that a t test shows a true effect, by the noncentral t distribution. A chart of it over n \
              says what more runs would buy.",
    parameters: &[EFFECT, RUNS, ALPHA, ALTERNATIVE, DESIGN, RATIO],
    returns: "double",
    example: "SELECT n, power_t_test(1.0, n, alternative => 'one-sided') AS power FROM (VALUES (5), (10), (20)) AS plans(n)",
};

static REQUIRED_RUNS: Definition = Definition {
    name: "required_runs",
    kind: FunctionKind::Scalar,
    summary: "How many runs an arm (or pairs) a t test needs to show a true effect with the wanted power: n is the whole \
              number to plan with, NULL beyond 10,000; n_exact the number at which the power is exactly that. error is \
              effect_is_zero.",
    parameters: &[EFFECT, POWER, ALPHA, ALTERNATIVE, DESIGN, RATIO],
    returns: "struct(n, n_exact, error)",
    example: "SELECT required_runs(1.0, alternative => 'one-sided')['n'] AS runs_an_arm",
};

static DETECTABLE_EFFECT: Definition = Definition {
    name: "detectable_effect",
    kind: FunctionKind::Scalar,
    summary: "The smallest true effect, in standard deviations, that a t test of n runs an arm (or pairs) shows with the \
              wanted power: the minimal detectable effect.",
    parameters: &[RUNS, POWER, ALPHA, ALTERNATIVE, DESIGN, RATIO],
    returns: "double",
    example: "SELECT detectable_effect(5, alternative => 'one-sided') AS in_standard_deviations",
};

static COHENS_H: Definition = Definition {
    name: "cohens_h",
    kind: FunctionKind::Scalar,
    summary: "Cohen's h (1988): the distance of two shares on the arcsine scale, on which plans for shares are made; \
              never negative.",
    parameters: &[SHARE_A, SHARE_B],
    returns: "double",
    example: "SELECT cohens_h(0.90, 0.92) AS h",
};

static POWER_PROPORTIONS: Definition = Definition {
    name: "power_proportions",
    kind: FunctionKind::Scalar,
    summary: "The probability that a test of two shares shows their true difference, with n trials in each group, by \
              Cohen's h and the normal distribution.",
    parameters: &[
        SHARE_A,
        SHARE_B,
        required("n", ArgumentKind::Number, "trials in each group, above 0"),
        ALPHA,
        ALTERNATIVE,
    ],
    returns: "double",
    example: "SELECT power_proportions(0.90, 0.92, 1000) AS power",
};

static REQUIRED_TRIALS: Definition = Definition {
    name: "required_trials",
    kind: FunctionKind::Scalar,
    summary: "How many trials (examples, episodes) in each group a test of two shares needs to show their true difference \
              with the wanted power, by Cohen's h: n is the whole number, n_exact the one before rounding up. error is \
              effect_is_zero.",
    parameters: &[SHARE_A, SHARE_B, POWER, ALPHA, ALTERNATIVE],
    returns: "struct(n, n_exact, error)",
    example: "SELECT required_trials(0.90, 0.92)['n'] AS examples_an_arm",
};

static REQUIRED_PAIRS: Definition = Definition {
    name: "required_pairs",
    kind: FunctionKind::Scalar,
    summary: "How many pairs of runs show that one method wins more than half of the time when it truly wins a share of \
              p_win (Noether 1987, as Bouthillier et al. 2021 plan with it), one-sided: n is the whole number, n_exact \
              the one before rounding up.",
    parameters: &[
        required(
            "p_win",
            ArgumentKind::Number,
            "the share of pairs that it truly wins, above 0.5 and below 1",
        ),
        optional("power", ArgumentKind::Number, "the wanted probability to show it, above 0.5, default 0.8"),
        ALPHA,
    ],
    returns: "struct(n, n_exact, error)",
    example: "SELECT required_pairs(0.75, power => 0.95)['n'] AS pairs",
};

fn number_needed() -> Returns {
    let fields: Fields = vec![("n", DataType::Int64), number("n_exact")];
    Returns::Struct(fields)
}

pub(super) static FUNCTIONS: [RowFunction; 7] = [
    RowFunction { definition: &POWER_T_TEST, returns: Returns::number, answer: power_t_test },
    RowFunction { definition: &REQUIRED_RUNS, returns: number_needed, answer: required_runs },
    RowFunction { definition: &DETECTABLE_EFFECT, returns: Returns::number, answer: detectable_effect },
    RowFunction { definition: &COHENS_H, returns: Returns::number, answer: cohens_h },
    RowFunction { definition: &POWER_PROPORTIONS, returns: Returns::number, answer: power_proportions },
    RowFunction { definition: &REQUIRED_TRIALS, returns: number_needed, answer: required_trials },
    RowFunction { definition: &REQUIRED_PAIRS, returns: number_needed, answer: required_pairs },
];

fn sides(row: &Row<'_>) -> Result<Sides> {
    row.one_of("alternative", &[("two-sided", Sides::Two), ("one-sided", Sides::One)])
}

fn wanted(row: &Row<'_>) -> f64 {
    row.number("power").unwrap_or(0.8)
}

fn design(row: &Row<'_>) -> Result<Design> {
    let paired = row.one_of("design", &[("two-sample", false), ("paired", true)])?;
    match row.number("ratio") {
        Some(ratio) if paired => row.refuse("ratio", ratio, "leave it out: pairs have one of each"),
        Some(ratio) if !(ratio > 0.0 && ratio.is_finite()) => {
            row.refuse("ratio", ratio, "give a number above 0")
        }
        _ if paired => Ok(Design::Paired),
        ratio => Ok(Design::TwoSample { ratio: ratio.unwrap_or(1.0) }),
    }
}

fn runs(row: &Row<'_>) -> Result<f64> {
    let runs = row.given("n");
    if runs <= RUNS_MAX { Ok(runs) } else { row.refuse("n", runs, "give a number of runs up to 1e9") }
}

fn power_t_test(row: &Row<'_>) -> Result<Found> {
    let found = analysis::power(design(row)?, row.given("effect"), runs(row)?, row.alpha(), sides(row)?);
    row.found(found, |power| known([power]))
}

fn required_runs(row: &Row<'_>) -> Result<Found> {
    let (design, sides, effect) = (design(row)?, sides(row)?, row.given("effect"));
    let (alpha, wanted) = (row.alpha(), wanted(row));
    let found = analysis::required_runs(design, effect, alpha, wanted, sides, 2)
        .and_then(|whole| Ok((whole, analysis::exact_runs(design, effect, alpha, wanted, sides)?)));
    row.found(found, |(whole, exact)| {
        vec![Cell::Count(whole.map(|runs| runs as u64)), Cell::Number(Some(exact))]
    })
}

fn detectable_effect(row: &Row<'_>) -> Result<Found> {
    let found = analysis::detectable_effect(design(row)?, runs(row)?, row.alpha(), wanted(row), sides(row)?);
    row.found(found, |effect| known([effect]))
}

fn cohens_h(row: &Row<'_>) -> Result<Found> {
    row.found(analysis::cohens_h(row.given("p1"), row.given("p2")), |h| known([h]))
}

fn power_proportions(row: &Row<'_>) -> Result<Found> {
    let sides = sides(row)?;
    let power = analysis::cohens_h(row.given("p1"), row.given("p2"))
        .and_then(|h| analysis::rate_power(h, row.given("n"), row.alpha(), sides));
    row.found(power, |power| known([power]))
}

fn required_trials(row: &Row<'_>) -> Result<Found> {
    let sides = sides(row)?;
    let found = analysis::required_trials(row.given("p1"), row.given("p2"), row.alpha(), wanted(row), sides);
    row.found(found, rounded_up)
}

fn required_pairs(row: &Row<'_>) -> Result<Found> {
    let (share, wanted) = (row.given("p_win"), wanted(row));
    if !(share > 0.5 && share < 1.0) {
        return row.refuse("p_win", share, "give a share above 0.5 and below 1");
    }
    if !(wanted > 0.5 && wanted < 1.0) {
        return row.refuse("power", wanted, "give a probability above 0.5 and below 1");
    }
    row.found(analysis::noether_pairs(share, row.alpha(), 1.0 - wanted), rounded_up)
}

/// A number that is planned for, whole and exact.
fn rounded_up(exact: f64) -> Vec<Cell> {
    let whole = exact.is_finite().then(|| exact.ceil() as u64);
    vec![Cell::Count(whole), Cell::Number(Some(exact))]
}
