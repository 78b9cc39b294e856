//! Paired comparisons that need no means: `wilcoxon` by signed ranks, `mcnemar` for right and wrong answers, and
//! `paired_wins` by counting.

use analysis::{Alternative, AnalysisError, RankDistribution, Zeros};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arms::{A, ALTERNATIVE, ARM, B, LEVEL, NONFINITE, X, alternative, number};
use super::bootstrap::Draws;
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional};
use super::grouped::{GroupFunction, OfPairs, Prepare, found};
use super::outcome::{Cell, known};
use super::pairs::{PAIR, Pairs};

static WILCOXON: Definition = Definition {
    name: "wilcoxon",
    kind: FunctionKind::Aggregate,
    summary: "Wilcoxon's signed-rank test (1945) of the differences a - b of runs with the same pair. w is the sum of the \
              ranks of the positive differences, estimate their pseudomedian (Hodges and Lehmann 1963). Exact without \
              ties and zeros up to 50 pairs, else normal with corrections; method says which. It says nothing about \
              means. error is empty_sample, nonfinite_value, or pairing_mismatch where an arm has a pair twice.",
    parameters: &[
        X,
        ARM,
        A,
        B,
        PAIR,
        ALTERNATIVE,
        optional("zeros", ArgumentKind::Text, "differences of zero: 'drop' (default), 'pratt' or 'split'"),
        NONFINITE,
    ],
    returns: "struct(estimate, w, p, method, n, n_unpaired, n_nonfinite, error)",
    example: "SELECT wilcoxon(x, arm, 'new', 'old', seed)['p'] AS p\nFROM (VALUES (0.84, 'new', 1), (0.86, 'new', 2), (0.85, 'new', 3), (0.81, 'old', 1), (0.84, 'old', 2), (0.82, 'old', 3)) AS runs(x, arm, seed)",
};

static MCNEMAR: Definition = Definition {
    name: "mcnemar",
    kind: FunctionKind::Aggregate,
    summary: "McNemar's exact test (1947) of right (not 0) and wrong (0) answers of arms a and b to the same examples: \
              only the examples that one of them alone gets right count. estimate is the share right of a less that of \
              b, with its interval. It speaks about these two checkpoints, not about the recipes that made them. error \
              is too_few_runs, nonfinite_value, or pairing_mismatch where an arm has an example twice.",
    parameters: &[X, ARM, A, B, PAIR, LEVEL, NONFINITE],
    returns: "struct(estimate, low, high, se, p, only_a, only_b, n, n_unpaired, n_nonfinite, error)",
    example: "SELECT mcnemar(x, arm, 'new', 'old', question)['p'] AS p\nFROM (VALUES (1, 'new', 1), (1, 'new', 2), (1, 'new', 3), (0, 'old', 1), (1, 'old', 2), (0, 'old', 3)) AS answers(x, arm, question)",
};

static PAIRED_WINS: Definition = Definition {
    name: "paired_wins",
    kind: FunctionKind::Aggregate,
    summary: "The share of pairs in which arm a is larger than arm b, ties counting half (Bouthillier et al. 2021); without \
              pairs it is the estimate of prob_improvement. required_pairs says how many pairs show a share. error is \
              empty_sample, nonfinite_value, or pairing_mismatch where an arm has a pair twice.",
    parameters: &[X, ARM, A, B, PAIR, NONFINITE],
    returns: "struct(estimate, n, n_unpaired, n_nonfinite, error)",
    example: "SELECT paired_wins(x, arm, 'new', 'old', seed)['estimate'] AS wins\nFROM (VALUES (0.84, 'new', 1), (0.86, 'new', 2), (0.81, 'old', 1), (0.87, 'old', 2)) AS runs(x, arm, seed)",
};

pub(super) static FUNCTIONS: [GroupFunction; 3] = [
    GroupFunction {
        definition: &WILCOXON,
        fields: || vec![number("estimate"), number("w"), number("p"), ("method", DataType::Utf8)],
        prepare: Prepare::Pairs(wilcoxon),
    },
    GroupFunction {
        definition: &MCNEMAR,
        fields: || {
            let numbers = ["estimate", "low", "high", "se", "p"].map(number);
            numbers.into_iter().chain([("only_a", DataType::Int64), ("only_b", DataType::Int64)]).collect()
        },
        prepare: Prepare::Pairs(|constants, _| {
            let level = constants.level()?;
            Ok(Box::new(move |pairs| found(mcnemar(pairs, level), |cells| cells)))
        }),
    },
    GroupFunction {
        definition: &PAIRED_WINS,
        fields: || vec![number("estimate")],
        prepare: Prepare::Pairs(|_, _| {
            Ok(Box::new(|pairs| found(analysis::paired_wins(&pairs.a, &pairs.b), |wins| known([wins]))))
        }),
    },
];

fn wilcoxon(constants: &Constants<'_>, _: Draws) -> Result<OfPairs> {
    let zeros = constants
        .one_of("zeros", &[("drop", Zeros::Dropped), ("pratt", Zeros::Pratt), ("split", Zeros::Split)])?;
    let alternative = alternative(constants)?;
    Ok(Box::new(move |pairs| found(signed_ranks(pairs, zeros, alternative), |cells| cells)))
}

fn signed_ranks(pairs: &Pairs, zeros: Zeros, alternative: Alternative) -> analysis::Result<Vec<Cell>> {
    let differences = pairs.differences();
    let test = analysis::wilcoxon(&differences, zeros, RankDistribution::Automatic)?;
    let mut cells =
        known([analysis::pseudomedian(&differences)?, test.w_plus, test.p_value(alternative).value()]);
    cells.push(Cell::Word(Some(if test.exact { "exact" } else { "normal" })));
    Ok(cells)
}

fn mcnemar(pairs: &Pairs, level: f64) -> analysis::Result<Vec<Cell>> {
    let count = pairs.a.iter().chain(&pairs.b).filter(|value| !value.is_finite()).count();
    if count > 0 {
        return Err(AnalysisError::NonfiniteValue { sample: "the answers".into(), count });
    }
    let right = |values: &[f64]| -> Vec<bool> { values.iter().map(|&value| value != 0.0).collect() };
    let found = analysis::paired_answers(&right(&pairs.b), &right(&pairs.a), level)?;
    let [low, high] = found.interval;
    let mut cells = known([found.difference, low, high, found.standard_error, found.p_exact.value()]);
    cells.extend([Cell::Count(Some(found.table[1][0])), Cell::Count(Some(found.table[0][1]))]);
    Ok(cells)
}
