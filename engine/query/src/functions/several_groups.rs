//! Tests of several independent groups: `anova_test`, `bartlett_test`, `fligner_test`, `kruskal_test` and `levene_test`.

use analysis::{Center, GroupStatistic, GroupVariance};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arms::{NONFINITE, X, number};
use super::collect::RowKey;
use super::definition::{ArgumentKind, Definition, FunctionKind, Parameter, optional, required};
use super::grouped::{GroupFunction, OfSample, Prepare, found};
use super::outcome::Cell;
use super::row_by_row::Fields;

const GROUP: Parameter = required("group", ArgumentKind::Pair, "the column whose values are the groups");

/// What every one of them returns.
const RETURNS: &str = "struct(statistic, df, df_within, p, groups, n, n_nonfinite, error)";

static ANOVA: Definition = Definition {
    name: "anova_test",
    kind: FunctionKind::Aggregate,
    summary: "One-way analysis of variance: do several groups have one mean? Where groups of different size may be spread \
              differently ask with variances => 'unequal' (Welch 1951). error is too_few_runs (fewer than two groups), \
              zero_variance or nonfinite_value.",
    parameters: &[
        X,
        GROUP,
        optional("variances", ArgumentKind::Text, "'equal' (default) or 'unequal'"),
        NONFINITE,
    ],
    returns: RETURNS,
    example: "SELECT anova_test(x, lr)['p'] AS p\nFROM (VALUES (0.84, 'low'), (0.86, 'low'), (0.81, 'mid'), (0.83, 'mid'), (0.70, 'high'), (0.74, 'high')) AS runs(x, lr)",
};

static BARTLETT: Definition = Definition {
    name: "bartlett_test",
    kind: FunctionKind::Aggregate,
    summary: "Bartlett's test (1937): do several groups have one variance? The most powerful on normal values, wrong on \
              others: levene_test is not. error is too_few_runs, zero_variance or nonfinite_value.",
    parameters: &[X, GROUP, NONFINITE],
    returns: RETURNS,
    example: "SELECT bartlett_test(x, lr)['p'] AS p\nFROM (VALUES (0.84, 'low'), (0.86, 'low'), (0.81, 'mid'), (0.83, 'mid'), (0.70, 'high'), (0.94, 'high')) AS runs(x, lr)",
};

static FLIGNER: Definition = Definition {
    name: "fligner_test",
    kind: FunctionKind::Aggregate,
    summary: "The test of Fligner and Killeen (1976): are several groups spread alike, by the ranks of their deviations \
              from the median? error is too_few_runs, zero_variance or nonfinite_value.",
    parameters: &[X, GROUP, NONFINITE],
    returns: RETURNS,
    example: "SELECT fligner_test(x, lr)['p'] AS p\nFROM (VALUES (0.84, 'low'), (0.86, 'low'), (0.85, 'low'), (0.70, 'high'), (0.94, 'high'), (0.81, 'high')) AS runs(x, lr)",
};

static KRUSKAL: Definition = Definition {
    name: "kruskal_test",
    kind: FunctionKind::Aggregate,
    summary: "The test of Kruskal and Wallis (1952): do several groups lie at one level, by their ranks? With two groups it \
              is mann_whitney without its exact p-value. error is too_few_runs, zero_variance or nonfinite_value.",
    parameters: &[X, GROUP, NONFINITE],
    returns: RETURNS,
    example: "SELECT kruskal_test(x, lr)['p'] AS p\nFROM (VALUES (0.84, 'low'), (0.86, 'low'), (0.81, 'mid'), (0.83, 'mid'), (0.70, 'high'), (0.74, 'high')) AS runs(x, lr)",
};

static LEVENE: Definition = Definition {
    name: "levene_test",
    kind: FunctionKind::Aggregate,
    summary: "Levene's test (1960): are several groups spread alike? By the distances from the median (Brown & Forsythe \
              1974), which holds its error rate on skewed values, unless center says otherwise. error is too_few_runs, \
              zero_variance or nonfinite_value.",
    parameters: &[
        X,
        GROUP,
        optional("center", ArgumentKind::Text, "'median' (default), 'mean' or 'trimmed' (5 % off each end)"),
        NONFINITE,
    ],
    returns: RETURNS,
    example: "SELECT levene_test(x, lr)['p'] AS p\nFROM (VALUES (0.84, 'low'), (0.86, 'low'), (0.85, 'low'), (0.70, 'high'), (0.94, 'high'), (0.81, 'high')) AS runs(x, lr)",
};

fn fields() -> Fields {
    let numbers = ["statistic", "df", "df_within", "p"].map(number);
    numbers.into_iter().chain([("groups", DataType::Int64)]).collect()
}

pub(super) static FUNCTIONS: [GroupFunction; 5] = [
    GroupFunction {
        definition: &ANOVA,
        fields,
        prepare: Prepare::Sample(|constants, _| {
            let variances = [("equal", GroupVariance::Equal), ("unequal", GroupVariance::Unequal)];
            let variance = constants.one_of("variances", &variances)?;
            of_groups(move |groups| analysis::anova(groups, variance))
        }),
    },
    GroupFunction {
        definition: &BARTLETT,
        fields,
        prepare: Prepare::Sample(|_, _| of_groups(analysis::bartlett)),
    },
    GroupFunction {
        definition: &FLIGNER,
        fields,
        prepare: Prepare::Sample(|_, _| of_groups(analysis::fligner_killeen)),
    },
    GroupFunction {
        definition: &KRUSKAL,
        fields,
        prepare: Prepare::Sample(|_, _| of_groups(analysis::kruskal_wallis)),
    },
    GroupFunction {
        definition: &LEVENE,
        fields,
        prepare: Prepare::Sample(|constants, _| {
            let centers =
                [("median", Center::Median), ("mean", Center::Mean), ("trimmed", Center::TrimmedMean)];
            let center = constants.one_of("center", &centers)?;
            of_groups(move |groups| analysis::levene(groups, center))
        }),
    },
];

/// Rows without a group do not count.
fn of_groups(
    test: impl Fn(&[&[f64]]) -> analysis::Result<GroupStatistic> + Send + Sync + 'static,
) -> Result<(RowKey, OfSample)> {
    let answer: OfSample = Box::new(move |sample| {
        let groups = sample.by_label();
        found(test(&groups.values().map(Vec::as_slice).collect::<Vec<_>>()), |tested| {
            vec![
                Cell::Number(Some(tested.statistic)),
                Cell::Number(Some(tested.df_between)),
                Cell::Number(tested.df_within),
                Cell::Number(Some(tested.p.value())),
                Cell::Count(Some(groups.len() as u64)),
            ]
        })
    });
    Ok((RowKey::None, answer))
}
