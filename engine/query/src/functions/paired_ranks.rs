//! Paired tests that need no means: `wilcoxon` by signed ranks, `mcnemar` for right and wrong answers.

use std::sync::Arc;

use analysis::{Alternative, AnalysisError, RankDistribution, Zeros};
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arms::{A, ALTERNATIVE, ARM, Arms, B, LEVEL, NONFINITE, X, alternative, number};
use super::collect::{CollectingFunction, Finish, Groups, RowKey};
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional};
use super::outcome::Cell;
use super::pairs::{PAIR, Pairs, compare_pairs, paired_type};

pub(super) static WILCOXON: Definition = Definition {
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

pub(super) static MCNEMAR: Definition = Definition {
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

static RANK_FIELDS: [(&str, DataType); 4] =
    [number("estimate"), number("w"), number("p"), ("method", DataType::Utf8)];

static ANSWER_FIELDS: [(&str, DataType); 7] = [
    number("estimate"),
    number("low"),
    number("high"),
    number("se"),
    number("p"),
    ("only_a", DataType::Int64),
    ("only_b", DataType::Int64),
];

/// Which test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum PairedRanks {
    Wilcoxon,
    Mcnemar,
}

impl PairedRanks {
    fn fields(self) -> &'static [(&'static str, DataType)] {
        match self {
            Self::Wilcoxon => &RANK_FIELDS,
            Self::Mcnemar => &ANSWER_FIELDS,
        }
    }
}

impl CollectingFunction for PairedRanks {
    fn definition(&self) -> &'static Definition {
        match self {
            Self::Wilcoxon => &WILCOXON,
            Self::Mcnemar => &MCNEMAR,
        }
    }

    fn return_type(&self) -> DataType {
        paired_type(self.fields())
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        let test = match self {
            Self::Wilcoxon => {
                let zeros = match constants.text("zeros") {
                    None | Some("drop") => Zeros::Dropped,
                    Some("pratt") => Zeros::Pratt,
                    Some("split") => Zeros::Split,
                    Some(other) => {
                        let allowed = "give 'drop', 'pratt' or 'split'";
                        return constants.refuse("zeros", format_args!("'{other}'"), allowed);
                    }
                };
                Test::Wilcoxon { zeros, alternative: alternative(constants)? }
            }
            Self::Mcnemar => Test::Mcnemar { level: constants.level()? },
        };
        Ok(Arc::new(Call { arms: Arms::read(constants)?, test, fields: self.fields() }))
    }
}

#[derive(Debug)]
enum Test {
    Wilcoxon { zeros: Zeros, alternative: Alternative },
    Mcnemar { level: f64 },
}

impl Test {
    fn cells(&self, pairs: &Pairs) -> analysis::Result<Vec<Cell>> {
        match self {
            Self::Wilcoxon { zeros, alternative } => {
                let differences = pairs.differences();
                let test = analysis::wilcoxon(&differences, *zeros, RankDistribution::Automatic)?;
                Ok(vec![
                    Cell::Number(Some(analysis::pseudomedian(&differences)?)),
                    Cell::Number(Some(test.w_plus)),
                    Cell::Number(Some(test.p_value(*alternative).value())),
                    Cell::Word(Some(if test.exact { "exact" } else { "normal" })),
                ])
            }
            Self::Mcnemar { level } => {
                if let Some(count) = nonfinite(pairs) {
                    return Err(AnalysisError::NonfiniteValue { sample: "the answers".into(), count });
                }
                let right =
                    |values: &[f64]| -> Vec<bool> { values.iter().map(|&value| value != 0.0).collect() };
                let found = analysis::paired_answers(&right(&pairs.b), &right(&pairs.a), *level)?;
                let [low, high] = found.interval;
                let numbers = [found.difference, low, high, found.standard_error, found.p_exact.value()];
                let mut cells = numbers.map(|number| Cell::Number(Some(number))).to_vec();
                cells.extend([Cell::Count(Some(found.table[1][0])), Cell::Count(Some(found.table[0][1]))]);
                Ok(cells)
            }
        }
    }
}

fn nonfinite(pairs: &Pairs) -> Option<usize> {
    let count = pairs.a.iter().chain(&pairs.b).filter(|value| !value.is_finite()).count();
    (count > 0).then_some(count)
}

#[derive(Debug)]
struct Call {
    arms: Arms,
    test: Test,
    fields: &'static [(&'static str, DataType)],
}

impl Finish for Call {
    fn row_key(&self) -> RowKey {
        self.arms.row_key_with_pairs()
    }

    fn finish(&self, groups: &Groups) -> Result<ArrayRef> {
        compare_pairs(&self.arms, groups, self.fields, |pairs| match self.test.cells(pairs) {
            Ok(cells) => (cells, None),
            Err(error) => (Vec::new(), Some(error)),
        })
    }
}
