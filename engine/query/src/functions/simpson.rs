//! What a comparison is when strata are held equal, and whether pooling turned its sign (Simpson 1951): `simpson_check`
//! of means, `simpson_rates` of shares, `simpson_slopes` of slopes.

use std::collections::BTreeMap;

use analysis::{Alternative, AnalysisError};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arms::{A, ARM, Arms, B, LEVEL, X, number};
use super::bootstrap::Draws;
use super::collect::RowKey;
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, Parameter, required};
use super::grouped::{GroupFunction, OfSample, Prepare, Sample, found};
use super::outcome::{Cell, known, rows_field};
use super::row_by_row::Fields;

const STRATUM: Parameter = required(
    "stratum",
    ArgumentKind::Pair,
    "the column whose values are held equal: task, hardware, data set",
);

static CHECK: Definition = Definition {
    name: "simpson_check",
    kind: FunctionKind::Aggregate,
    summary: "Is mean(a) - mean(b) what it seems when the arms were not run on the same mix of tasks? pooled is the \
              difference over all runs, estimate the equal-weight mean of the differences within strata, with its \
              interval and p by Welch and Satterthwaite (NULL unless each stratum has two runs an arm and something \
              varies). reversal says that pooled has the other sign, full_reversal that every single stratum has. \
              least_squares weighs strata by their information, with one error for all. Strata that one arm lacks are \
              left out and counted in strata_one_sided. error is nonfinite_value, or pairing_mismatch where no stratum \
              has both arms.",
    parameters: &[X, ARM, A, B, STRATUM, LEVEL],
    returns: "struct(estimate, low, high, se, df, p, pooled, reversal, full_reversal, least_squares, least_squares_se, strata list(struct(stratum, difference)), strata_one_sided, n, n_nonfinite, error)",
    example: "SELECT s['pooled'] AS pooled, s['estimate'] AS within, s['reversal'] AS reversal\nFROM (SELECT simpson_check(x, arm, 'new', 'old', task) AS s FROM (VALUES (8.5, 'new', 'easy'), (8.4, 'new', 'easy'), (8.6, 'new', 'easy'), (2.5, 'new', 'hard'), (2.6, 'new', 'hard'), (9.0, 'old', 'easy'), (9.2, 'old', 'easy'), (3.0, 'old', 'hard'), (3.1, 'old', 'hard'), (3.2, 'old', 'hard')) AS runs(x, arm, task)) AS checked",
};

static RATES: Definition = Definition {
    name: "simpson_rates",
    kind: FunctionKind::Aggregate,
    summary: "The same question of shares: x is a hit (not 0) or a miss (0). pooled is the difference of the shares over the \
              strata together, estimate the one within them and odds_ratio their common odds ratio (Mantel & Haenszel 1959), chi2 \
              and p the Cochran-Mantel-Haenszel test; p_homogeneity that of one common odds ratio (Breslow & Day 1980). \
              Strata that one arm lacks are left out and counted in strata_one_sided. error is nonfinite_value, \
              empty_sample (no stratum has both arms) or zero_margin (no hit or no miss anywhere).",
    parameters: &[X, ARM, A, B, STRATUM],
    returns: "struct(estimate, odds_ratio, chi2, p, homogeneity, p_homogeneity, pooled, reversal, full_reversal, strata list(struct(stratum, difference)), strata_one_sided, n, n_nonfinite, error)",
    example: "SELECT simpson_rates(solved, arm, 'new', 'old', task)['reversal'] AS reversal\nFROM (VALUES (1, 'new', 'easy'), (1, 'new', 'easy'), (0, 'new', 'hard'), (1, 'old', 'easy'), (1, 'old', 'hard'), (0, 'old', 'hard')) AS answers(solved, arm, task)",
};

static SLOPES: Definition = Definition {
    name: "simpson_slopes",
    kind: FunctionKind::Aggregate,
    summary: "The same question of slopes: pooled is the slope of y on x over all runs, estimate the common slope when every \
              group has a level of its own, slopes that of each group (NULL where it has one x). reversal says that both \
              have different signs: larger models train slower, and yet more compute helps each. error is too_few_runs \
              (below three), zero_variance (one x in every group) or nonfinite_value.",
    parameters: &[
        required("x", ArgumentKind::Position, "what is varied"),
        required("y", ArgumentKind::Value, "what is measured"),
        required("group", ArgumentKind::Pair, "the column whose values are held equal"),
    ],
    returns: "struct(estimate, pooled, reversal, slopes list(struct(group, slope)), n, n_nonfinite, error)",
    example: "SELECT s['pooled'] AS pooled, s['estimate'] AS within\nFROM (SELECT simpson_slopes(x, y, size) AS s FROM (VALUES (1, 5.0, 'small'), (2, 4.0, 'small'), (4, 8.0, 'large'), (5, 7.0, 'large')) AS runs(x, y, size)) AS checked",
};

pub(super) static FUNCTIONS: [GroupFunction; 3] = [
    GroupFunction {
        definition: &CHECK,
        fields: || {
            let mut fields = ["estimate", "low", "high", "se", "df", "p", "pooled"].map(number).to_vec();
            fields.extend(REVERSALS);
            fields.extend(["least_squares", "least_squares_se"].map(number));
            fields.extend(strata_fields());
            fields
        },
        prepare: Prepare::Sample(|constants, _| {
            let level = constants.level()?;
            of_strata(constants, move |sample| means(sample, level))
        }),
    },
    GroupFunction {
        definition: &RATES,
        fields: || {
            let numbers =
                ["estimate", "odds_ratio", "chi2", "p", "homogeneity", "p_homogeneity", "pooled"].map(number);
            numbers.into_iter().chain(REVERSALS).chain(strata_fields()).collect()
        },
        prepare: Prepare::Sample(|constants, _| of_strata(constants, rates)),
    },
    GroupFunction {
        definition: &SLOPES,
        fields: || {
            let mut fields = ["estimate", "pooled"].map(number).to_vec();
            fields.push(("reversal", DataType::Boolean));
            fields.push(rows_field("slopes", &[("group", DataType::Utf8), number("slope")]));
            fields
        },
        prepare: Prepare::Sample(slopes),
    },
];

const REVERSALS: [(&str, DataType); 2] =
    [("reversal", DataType::Boolean), ("full_reversal", DataType::Boolean)];

fn strata_fields() -> Fields {
    vec![
        rows_field("strata", &[("stratum", DataType::Utf8), number("difference")]),
        ("strata_one_sided", DataType::Int64),
    ]
}

fn of_strata(
    constants: &Constants<'_>,
    compare: impl Fn(&Sample<'_>) -> analysis::Result<Vec<Cell>> + Send + Sync + 'static,
) -> Result<(RowKey, OfSample)> {
    let key = Arms::read(constants)?.row_key_with_pairs();
    Ok((key, Box::new(move |sample| found(compare(sample), |cells| cells))))
}

/// One row a name, with its number.
fn named<'a>(numbers: impl Iterator<Item = (&'a str, Option<f64>)>) -> Cell {
    Cell::Rows(
        numbers.map(|(name, number)| vec![Cell::Text(name.to_owned()), Cell::Number(number)]).collect(),
    )
}

fn truths(truths: [bool; 2]) -> [Cell; 2] {
    truths.map(|truth| Cell::Truth(Some(truth)))
}

fn means(sample: &Sample<'_>, level: f64) -> analysis::Result<Vec<Cell>> {
    let [candidate, baseline] = sample.arms_by_label();
    let found = analysis::stratified_difference(&baseline, &candidate)?;
    let mean = found.strata.values().sum::<f64>() / found.strata.len() as f64;
    let mut cells = match &found.adjusted {
        Some(test) => {
            let [low, high] = test.interval(level, Alternative::TwoSided)?;
            let (error, df) = (test.standard_error, test.degrees_of_freedom);
            known([test.difference, low, high, error, df, test.p_value(Alternative::TwoSided)])
        }
        None => [Some(mean), None, None, None, None, None].map(Cell::Number).to_vec(),
    };
    let fitted = analysis::least_squares_difference(&baseline, &candidate).ok();
    cells.push(Cell::Number(found.pooled));
    cells.extend(truths([found.reversal, found.full_reversal]));
    cells.push(Cell::Number(fitted.map(|fitted| fitted.difference)));
    cells.push(Cell::Number(fitted.map(|fitted| fitted.standard_error)));
    cells.push(named(found.strata.iter().map(|(stratum, difference)| (stratum.as_str(), Some(*difference)))));
    cells.push(Cell::Count(Some(found.one_sided.len() as u64)));
    Ok(cells)
}

fn rates(sample: &Sample<'_>) -> analysis::Result<Vec<Cell>> {
    let count = sample.values.iter().filter(|value| !value.is_finite()).count();
    if count > 0 {
        return Err(AnalysisError::NonfiniteValue { sample: "the answers".into(), count });
    }
    let [candidate, baseline] = sample.arms_by_label();
    let counts = |values: &Vec<f64>| {
        let hits = values.iter().filter(|value| **value != 0.0).count();
        [hits as u64, (values.len() - hits) as u64]
    };
    let both: BTreeMap<&str, [[u64; 2]; 2]> = candidate
        .iter()
        .filter_map(|(stratum, values)| Some((*stratum, [counts(values), counts(baseline.get(stratum)?)])))
        .collect();
    let found = analysis::stratified_rates(&both.values().copied().collect::<Vec<_>>())?;
    let mut cells = known([found.risk_difference, found.odds_ratio, found.statistic, found.p.value()]);
    cells.push(Cell::Number(found.homogeneity));
    cells.push(Cell::Number(found.p_homogeneity.map(|p| p.value())));
    cells.push(Cell::Number(Some(found.pooled)));
    cells.extend(truths([found.reversal, found.full_reversal]));
    cells.push(named(both.keys().copied().zip(found.strata.iter().copied().map(Some))));
    let one_sided = candidate.len() + baseline.len() - 2 * both.len();
    cells.push(Cell::Count(Some(one_sided as u64)));
    Ok(cells)
}

fn slopes(_: &Constants<'_>, _: Draws) -> Result<(RowKey, OfSample)> {
    let answer = |sample: &Sample<'_>| {
        let (x, y) = sample.points();
        // Groups are numbered in the order of their names.
        let mut numbers: BTreeMap<&str, u64> = sample.labels(0).map(|group| (group, 0)).collect();
        numbers.values_mut().zip(0..).for_each(|(number, next)| *number = next);
        let groups: Vec<u64> = sample.labels(0).map(|group| numbers[group]).collect();
        found(analysis::grouped_slopes(&x, &y, &groups), |found| {
            let mut cells = known([found.within, found.pooled]);
            cells.push(Cell::Truth(Some(found.reversal)));
            cells.push(named(numbers.keys().copied().zip(found.groups.iter().copied())));
            cells
        })
    };
    Ok((RowKey::Position, Box::new(answer)))
}
